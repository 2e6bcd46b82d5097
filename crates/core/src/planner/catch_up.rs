//! Brings one agent that was left behind to the PKI in force.

use super::Naming;
use super::builder::{Numbers, PhaseBuilder};
use super::common::Scene;
use super::kubelet::restart_kubelet;
use crate::intent::{Limits, Scope, Strategy, Why};
use crate::inventory::Inventory;
use crate::layout;
use crate::material::Part;
use crate::model::{Generation, NodeName, OperatingSystem, TrustDomain};
use crate::plan::{
    Action, KeyOrder, LeafOrder, LeafShape, Phase, PhaseName, Plan, PlanError, Predicate, Target,
};

/// Plans the catching up of an agent: its files are written and its kubelet is restarted. Nothing else is touched.
///
/// The PKI in force is what the description holds; in the plan it is the new generation, as for any agent of a rotation.
///
/// # Errors
///
/// Fails where the inventory does not have the node, or lacks what a plan needs.
pub fn catch_up(inventory: &Inventory, node: &NodeName, naming: &Naming) -> Result<Plan, PlanError> {
    let mut scene = Scene::new(inventory, Scope::All, naming)?;
    scene.left_behind = true;
    let agent = scene
        .agents
        .iter()
        .copied()
        .find(|agent| &agent.name == node)
        .ok_or_else(|| PlanError::AddressUnknown { node: node.clone() })?;
    let mut numbers = Numbers::default();
    let mut prepare = PhaseBuilder::new(PhaseName::Prepare, &mut numbers);
    let on = || Target::Node(node.clone());
    prepare.step(on(), "back up", Action::BackUp { paths: scene.changed_files(agent) }, []);
    let prepare = prepare.build();
    let mut switch = PhaseBuilder::new(PhaseName::Switch, &mut numbers);
    let files = scene.kubelet_files(agent, vec![Part::Ca(TrustDomain::Cluster, Generation::New)]);
    let written = switch.step(on(), "write new files", Action::Write { files }, []);
    restart_kubelet(&scene, &mut switch, agent, [written]);
    switch.barrier([Predicate::NodeReady { node: node.clone() }]);
    let switch = switch.build();
    let mut finish = PhaseBuilder::new(PhaseName::Finish, &mut numbers);
    let remove = Action::Remove { paths: scene.layout.stages(agent.system) };
    finish.step(on(), "remove backups and staged files", remove, []);
    let leaf = |id, shape| LeafOrder {
        id,
        domain: TrustDomain::Cluster,
        shape,
        key: KeyOrder::New("rsa-2048".to_owned()),
    };
    let serving = scene
        .layout
        .kubelet_serving(agent)
        .map(|serving| leaf(serving.leaf, LeafShape::KubeletServer(node.clone(), agent.address)));
    let mut leaves: Vec<LeafOrder> = serving.into_iter().collect();
    if scene.has_kubelet_client(node) && agent.system == OperatingSystem::Linux {
        leaves.push(leaf(layout::kubelet_client(node), LeafShape::KubeletClient(node.clone())));
    }
    if let Some(present) = scene.kubelet_server(node) {
        leaves.push(leaf(layout::kubelet_server(node), LeafShape::Like(present.pem.clone())));
    }
    let phases: Vec<Phase> = vec![prepare, switch, finish.build()];
    Ok(Plan {
        schema: Plan::SCHEMA,
        cluster: inventory.cluster.name.clone(),
        why: Why::ReplaceCa,
        strategy: Strategy::CrossSigned,
        scope: Scope::All,
        limits: Limits::default(),
        authorities: Vec::new(),
        leaves,
        key_pairs: Vec::new(),
        phases,
        kept: Vec::new(),
        notices: vec![format!("Only node {node} is touched: it gets certificates of the CA in force.")],
    })
}
