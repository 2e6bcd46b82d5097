//! The way back from a rotation that leaves the cluster CA's key as it is: renewing, extending, the front proxy alone.
//!
//! There old and new are accepted alike (or, for the front proxy, are both accepted between its phases), so that the way
//! back may take the same steps in the same order as the way forth, each putting back what it had changed: originals for
//! new files, the same restarts behind the same diversions, the same waits for what was there before. A node on which
//! nothing was begun is left alone.

use std::collections::{BTreeMap, BTreeSet};

use super::builder::{Numbers, PhaseBuilder};
use super::common::{Scene, ca};
use super::undo::Progress;
use crate::inventory::CaRef;
use crate::layout;
use crate::material::{ChainForm, Content};
use crate::model::{Generation, NodeName, OperatingSystem, TrustDomain};
use crate::plan::{
    Action, ApiObject, FileWrite, Phase, PhaseName, Plan, PlanError, Predicate, StepId, Target,
};

const OLD: Generation = Generation::Old;
const NEW: Generation = Generation::New;

/// The phases of the way back. `diverted` are control planes whose new connections may still go elsewhere.
///
/// # Errors
///
/// Fails where backups may be gone already.
pub(super) fn phases(
    plan: &Plan,
    scene: &Scene<'_>,
    progress: &Progress,
    diverted: &BTreeSet<NodeName>,
) -> Result<Vec<Phase>, PlanError> {
    let began = |name: PhaseName| {
        let phase = plan.phases.iter().find(|phase| phase.name == name);
        phase.filter(|phase| phase.steps.iter().any(|step| progress.begun.contains(&step.id)))
    };
    if began(PhaseName::Finish).is_some() {
        return Err(PlanError::PastReturn);
    }
    let mut numbers = Numbers::default();
    let mut phases = Vec::new();
    let mut open = Some(diverted);
    for (of, name) in [(PhaseName::Switch, PhaseName::Return), (PhaseName::Introduce, PhaseName::Retract)] {
        let Some(phase) = began(of) else { continue };
        let before = plan.phases.iter().rfind(|before| before.name < of && before.name != PhaseName::Prepare);
        let mirror = Mirror { scene, progress, phase, before };
        phases.push(mirror.phase(name, open.take().unwrap_or(&BTreeSet::new()), &mut numbers));
    }
    let mut restore = PhaseBuilder::new(PhaseName::Restore, &mut numbers);
    if !phases.is_empty() && !plan.authorities.is_empty() && scene.present_front_proxy_ca().is_some() {
        let title = "let aggregated API servers forget the new CA";
        restore.step(Target::Api, title, Action::RebuildExtensionAuthentication, []);
        let cas = [TrustDomain::FrontProxy, TrustDomain::Cluster].map(|domain| ca(domain, OLD)).to_vec();
        restore.barrier([Predicate::ExtensionTrusts { cas }]);
    }
    for step in plan.steps().filter(|step| progress.begun.contains(&step.id)) {
        match &step.action {
            Action::PauseUnits { units } => {
                let action = Action::ResumeUnits { units: units.clone() };
                restore.step(step.target.clone(), "resume monitors", action, []);
            }
            Action::BackUp { .. } => {
                let node = match &step.target {
                    Target::Node(name) => scene.inventory.cluster.node(name),
                    _ => None,
                };
                let system = node.map_or(OperatingSystem::Linux, |node| node.system);
                let action = Action::Remove { paths: scene.layout.stages(system) };
                restore.step(step.target.clone(), "remove backups and staged files", action, []);
            }
            _ => {}
        }
    }
    restore.barrier(scene.masters.iter().map(super::common::Master::ready));
    restore.barrier([Predicate::EtcdHealthy]);
    phases.push(restore.build());
    Ok(phases)
}

struct Mirror<'a> {
    scene: &'a Scene<'a>,
    progress: &'a Progress,
    /// What is put back.
    phase: &'a Phase,
    /// The phase to whose end that leads, if that is not the beginning.
    before: Option<&'a Phase>,
}

impl Mirror<'_> {
    fn phase(&self, name: PhaseName, diverted: &BTreeSet<NodeName>, numbers: &mut Numbers) -> Phase {
        let mut phase = PhaseBuilder::new(name, numbers);
        let mut first: Vec<StepId> = Vec::new();
        for master in self.scene.masters.iter().filter(|master| diverted.contains(&master.node.name)) {
            let predicates = vec![Predicate::EtcdHealthy, master.ready()];
            let ready = phase.step(
                master.target(),
                "wait until it serves",
                Action::Await { predicates },
                first.iter().copied(),
            );
            first = vec![phase.step(master.target(), "take the diversion away", Action::Undivert, [ready])];
        }
        let touched: BTreeSet<&Target> = self
            .phase
            .steps
            .iter()
            .filter(|step| self.progress.begun.contains(&step.id))
            .map(|step| &step.target)
            .collect();
        let mut stands_for: BTreeMap<StepId, Vec<StepId>> = BTreeMap::new();
        for step in &self.phase.steps {
            let mut after: Vec<StepId> =
                step.after.iter().filter_map(|id| stands_for.get(id)).flatten().copied().collect();
            after.extend(&first);
            let on_node = matches!(step.target, Target::Node(_));
            let wanted = !on_node || touched.contains(&step.target);
            let ids = match self.action(&step.action).filter(|_| wanted) {
                Some((title, action)) => {
                    let title = title.unwrap_or_else(|| step.title.clone());
                    vec![phase.step(step.target.clone(), title, action, after)]
                }
                None => after,
            };
            stands_for.insert(step.id, ids);
        }
        phase.barrier(self.barrier());
        phase.build()
    }

    /// What puts back what an action has done, with another title where it is another action.
    fn action(&self, action: &Action) -> Option<(Option<String>, Action)> {
        let put_back =
            |object: ApiObject| Some((Some(format!("put {object} back")), Action::PutBack { object }));
        match action {
            Action::Write { files } => {
                // Last written, first put back: a link points elsewhere before its target goes.
                let original = |file: &FileWrite| FileWrite {
                    path: file.path.clone(),
                    content: Content::Original,
                    access: None,
                };
                let files = files.iter().rev().map(original).collect();
                Some((Some("put files back".to_owned()), Action::Write { files }))
            }
            Action::UseCredentials { roots, .. } => {
                let roots = old_ones(roots);
                let action = Action::UseCredentials { roots, identity: OLD, form: ChainForm::Bare };
                Some((Some("use the credentials of before".to_owned()), action))
            }
            Action::WriteTlsSecret { secret, .. } => put_back(ApiObject::TlsSecret(secret.clone())),
            Action::SetCaBundle { holder, .. } => put_back(ApiObject::CaBundle(holder.clone())),
            Action::Roll { workload } => put_back(ApiObject::Workload(workload.clone())),
            Action::RecreatePod { pod } => put_back(ApiObject::Pod(pod.clone())),
            Action::Await { predicates } => {
                let predicates: Vec<Predicate> = predicates.iter().filter_map(of_before).collect();
                (!predicates.is_empty()).then_some((None, Action::Await { predicates }))
            }
            other => Some((None, other.clone())),
        }
    }

    /// What was seen when the phase to which this leads had ended, and that this phase's own changes have been read.
    fn barrier(&self) -> Vec<Predicate> {
        let own = |predicate: &Predicate| match (predicate, self.before) {
            (Predicate::Advertises { .. }, Some(_)) => None,
            (predicate, _) => of_before(predicate),
        };
        let mut all: Vec<Predicate> = self.phase.barrier.iter().filter_map(own).collect();
        all.extend(self.before.iter().flat_map(|before| before.barrier.iter().cloned()));
        let mut barrier: Vec<Predicate> = Vec::new();
        for predicate in all {
            if !barrier.contains(&predicate) {
                barrier.push(predicate);
            }
        }
        barrier
    }
}

fn old_ones(cas: &[CaRef]) -> Vec<CaRef> {
    let mut old: Vec<CaRef> = cas.iter().map(|ca| CaRef { generation: OLD, ..*ca }).collect();
    old.dedup();
    old
}

/// The same of what there was before; nothing for what cannot be told of it.
fn of_before(predicate: &Predicate) -> Option<Predicate> {
    Some(match predicate {
        // The old certificates of nodes are known to the nodes alone.
        Predicate::Presents { leaf, generation: NEW, .. } if !layout::is_described(leaf) => return None,
        Predicate::Presents { server, leaf, form, .. } => {
            Predicate::Presents { server: server.clone(), leaf: leaf.clone(), generation: OLD, form: *form }
        }
        Predicate::Advertises { server, cas } => {
            let mut cas = old_ones(cas);
            cas.sort_unstable();
            cas.dedup();
            Predicate::Advertises { server: server.clone(), cas }
        }
        Predicate::RootsPublished { cas } => Predicate::RootsPublished { cas: old_ones(cas) },
        Predicate::TokenSecretsCarry { cas } => Predicate::TokenSecretsCarry { cas: old_ones(cas) },
        // It only grows until it is written anew, which is the last thing that an undo does.
        Predicate::ExtensionTrusts { .. } => return None,
        // A file that is not there any more is not read either; that its process is younger than the others shows.
        Predicate::StartedAfter { node, component, files } => {
            let files = files.iter().filter(|file| !file.starts_with(layout::KUBELET_PKI)).cloned().collect();
            Predicate::StartedAfter { node: node.clone(), component: *component, files }
        }
        other => other.clone(),
    })
}
