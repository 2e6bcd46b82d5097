//! Agents that are left as they are, since they cannot be reached, until `resume --node` brings them up to date.

use kubecert_core::inventory::Inventory;
use kubecert_core::model::NodeName;
use kubecert_core::plan::Kept;

use crate::run::RunError;
use crate::rundir::RunDir;

/// Only agents that the run knows can be left behind: a control plane that keeps the old PKI would keep its cluster from
/// coming to an end.
pub(crate) fn may_be_left_behind(run: &RunDir, node: &NodeName) -> Result<(), RunError> {
    let before: Inventory = run.read_json("before.json")?;
    if before.cluster.agents().any(|agent| &agent.name == node) {
        return Ok(());
    }
    Err(RunError::CannotLeaveBehind {
        node: node.clone(),
        agents: before.cluster.agents().map(|agent| agent.name.clone()).collect(),
    })
}

/// The inventory without the agents that are left behind, and what the plan says of them.
pub(crate) fn without_left_behind(
    inventory: &Inventory,
    nodes: &[NodeName],
) -> Result<(Inventory, Vec<Kept>), RunError> {
    let mut inventory = inventory.clone();
    let mut kept = Vec::new();
    for node in nodes {
        if !inventory.cluster.agents().any(|agent| &agent.name == node) {
            let agents = inventory.cluster.agents().map(|agent| agent.name.clone()).collect();
            return Err(RunError::CannotLeaveBehind { node: node.clone(), agents });
        }
        inventory.cluster.nodes.retain(|known| &known.name != node);
        inventory.nodes.remove(node);
        inventory.servers.retain(|(server, _)| server.node() != node);
        kept.push(Kept {
            id: format!("node {node}"),
            why: format!(
                "is left behind, as asked for; it is cut off from the cluster once the old CA is dropped, until `kubecert resume --node {node}`"
            ),
        });
    }
    Ok((inventory, kept))
}
