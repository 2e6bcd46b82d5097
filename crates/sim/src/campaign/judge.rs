//! Whether a run was as it must be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kubecert_core::layout::{is_staged, windows};
use kubecert_core::model::NodeName;
use kubecert_engine::issue::chain;
use kubecert_engine::run::{Setup, look};
use kubecert_engine::verify::verify;

use super::scenario::Scenario;
use crate::cluster::SimCluster;

/// How long a cluster may take until it is as it should be, once nothing breaks any more.
const SETTLES_WITHIN: Duration = Duration::from_secs(600);
/// How often it is looked at meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How many of many are told.
const FEW: usize = 8;

/// The cluster as it was before the run.
pub(super) struct Before {
    files: BTreeMap<NodeName, BTreeMap<String, String>>,
    /// What a rotated cluster would have better.
    shortcomings: BTreeSet<String>,
}

impl Before {
    /// Looks at the cluster as a fresh one.
    pub(super) async fn of(sim: &SimCluster, setup: &Setup) -> Self {
        Self { files: files(sim), shortcomings: verified(setup).await.into_iter().collect() }
    }
}

fn files(sim: &SimCluster) -> BTreeMap<NodeName, BTreeMap<String, String>> {
    sim.node_names().into_iter().map(|node| (node.clone(), sim.files(&node))).collect()
}

/// What is not as it must be after a run that has finished.
pub(super) async fn finished(sim: &SimCluster, before: &Before, setup: &Setup) -> Vec<String> {
    let mut wrong = settled(sim, setup, &BTreeSet::new()).await;
    for (node, after) in files(sim) {
        let Some(before) = before.files.get(&node) else { continue };
        for (path, digest) in before {
            let definition = path.contains("/manifests/") || path.contains("/default/");
            if definition && after.get(path) != Some(digest) {
                wrong.push(format!("{path} on {node} is not what it was"));
            }
        }
        let new = after.keys().filter(|path| !before.contains_key(*path));
        for path in new.filter(|path| is_staged(path) || !is_kubelets(path)) {
            wrong.push(format!("{path} is left on {node}"));
        }
    }
    wrong.extend(left_open(sim));
    wrong.truncate(FEW);
    wrong
}

/// What is not as it was after a run that has been undone.
pub(super) async fn undone(sim: &SimCluster, before: &Before, setup: &Setup) -> Vec<String> {
    let mut wrong = settled(sim, setup, &before.shortcomings).await;
    for (node, after) in files(sim) {
        let Some(before) = before.files.get(&node) else { continue };
        let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        // What a kubelet on Windows was issued since stays beside what it has again; nobody reads it.
        let issued = |path: &String| {
            path.starts_with(windows::KUBELET_PKI) && is_kubelets(path) && !before.contains_key(path)
        };
        let changed = paths.into_iter().filter(|path| before.get(*path) != after.get(*path));
        for path in changed.filter(|path| !issued(path)) {
            wrong.push(format!("{path} on {node} is not what it was"));
        }
    }
    wrong.extend(left_open(sim));
    wrong.truncate(FEW);
    wrong
}

/// What must not outlive a run.
fn left_open(sim: &SimCluster) -> Vec<String> {
    let diverted = sim.diverted().into_iter().map(|node| format!("connections to {node} are still diverted"));
    let paused = sim.paused().into_iter().map(|(node, unit)| format!("{unit} on {node} is still paused"));
    diverted.chain(paused).collect()
}

/// What is not as it should be once the cluster has had its time.
async fn settled(sim: &SimCluster, setup: &Setup, known: &BTreeSet<String>) -> Vec<String> {
    let mut waited = Duration::ZERO;
    loop {
        let mut wrong = verified(setup).await;
        wrong.retain(|what| !known.contains(what));
        if wrong.is_empty() || waited >= SETTLES_WITHIN {
            return wrong;
        }
        sim.pass(LOOK_AGAIN).await;
        waited += LOOK_AGAIN;
    }
}

async fn verified(setup: &Setup) -> Vec<String> {
    match look(setup).await {
        Err(error) => vec![format!("the cluster cannot be looked at: {}", chain(&error))],
        Ok(inventory) => verify(&inventory, inventory.taken)
            .into_iter()
            .filter(|verified| !verified.ok)
            .map(|verified| format!("not as it should be: {}: {}", verified.what, verified.found))
            .collect(),
    }
}

/// What the run has done to the cluster and to whoever used it.
pub(super) fn harm(scenario: &Scenario, sim: &SimCluster) -> Vec<String> {
    let violations = sim.violations();
    let mut wrong: Vec<String> = violations
        .iter()
        .take(FEW)
        .map(|violation| format!("at {}: {}", violation.at, violation.what))
        .collect();
    if violations.len() > FEW {
        wrong.push(format!("and {} more violations", violations.len() - FEW));
    }
    // Whoever cannot be reached is one thing, and a fault's doing; whoever is not trusted is our doing.
    let strict = scenario.faults.iter().all(|fault| fault.kind.spares_the_cluster())
        && scenario.config.control_planes >= 3;
    let log = sim.workload_log();
    let ours = log.failures.iter().filter(|failed| strict || failed.is_trust());
    let told: Vec<String> = ours
        .take(FEW)
        .map(|failed| {
            format!("at {}: {}'s call failed ({}): {}", failed.at, failed.pod, failed.series, failed.why)
        })
        .collect();
    wrong.extend(told);
    wrong
}

/// Whether a file is one in which a kubelet keeps a client certificate.
fn is_kubelets(path: &str) -> bool {
    path.contains("/kubelet-client-") || path.contains(r"\kubelet-client-")
}
