//! From one PKI to the next, undisturbed.

use std::time::Duration;

use kubecert_core::intent::{Intent, Strategy, Why};
use kubecert_core::model::{KubernetesVersion, NodeName};
use kubecert_core::planner::{self, Naming};
use kubecert_engine::run::{look, plan};
use kubecert_pki::KeyAlgorithm;
use kubecert_sim::{SimConfig, Speed};

use crate::support::{Bench, assert_finished, assert_rotated, assert_unharmed, replace_ca};

async fn rotated(config: &SimConfig) -> Bench {
    let bench = Bench::new(config);
    let ended = bench.rotate().await.unwrap();
    assert_finished(&ended);
    assert_eq!(ended.report.api.failed, 0, "{:?}", ended.report.api);
    assert_unharmed(&bench.sim);
    assert_rotated(&bench).await;
    bench
}

#[tokio::test(start_paused = true)]
async fn three_control_planes_and_two_agents() {
    rotated(&SimConfig::new(3, 2)).await;
}

#[tokio::test(start_paused = true)]
async fn five_control_planes() {
    rotated(&SimConfig::new(5, 3)).await;
}

#[tokio::test(start_paused = true)]
async fn control_planes_alone() {
    rotated(&SimConfig::new(3, 0)).await;
}

/// Before fsnotify files are polled once a minute, and the run has to wait for that.
#[tokio::test(start_paused = true)]
async fn a_cluster_that_polls() {
    rotated(&SimConfig { version: KubernetesVersion { major: 1, minor: 20 }, ..SimConfig::new(3, 2) }).await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_of_today() {
    rotated(&SimConfig { version: KubernetesVersion { major: 1, minor: 36 }, ..SimConfig::new(3, 2) }).await;
}

#[tokio::test(start_paused = true)]
async fn other_keys() {
    rotated(&SimConfig { key: KeyAlgorithm::EcdsaP384, ..SimConfig::new(3, 1) }).await;
}

#[tokio::test(start_paused = true)]
async fn whatever_chance_brings() {
    for seed in 2..6 {
        rotated(&SimConfig { seed, ..SimConfig::new(3, 2) }).await;
    }
}

/// The API of a single control plane is away while its API server restarts; trust and tokens are not.
#[tokio::test(start_paused = true)]
async fn one_control_plane() {
    let bench = Bench::new(&SimConfig::new(1, 2));
    let ended = bench.rotate().await.unwrap();
    assert_finished(&ended);
    let violations = bench.sim.violations();
    assert!(violations.is_empty(), "{violations:#?}");
    let log = bench.sim.workload_log();
    let bad = |why: &str| why != "connection refused" && why != "the server is not ready";
    let harmed: Vec<_> = log.failures.iter().filter(|failed| bad(&failed.why)).collect();
    assert!(harmed.is_empty(), "{harmed:#?}");
    assert_rotated(&bench).await;
}

/// In time that runs: the demonstration must be over in well under a minute.
#[tokio::test]
async fn at_full_speed() {
    let bench = Bench::new(&SimConfig { speed: Speed::Factor(60.0), ..SimConfig::new(3, 2) });
    let ended = bench.rotate().await.unwrap();
    assert_finished(&ended);
    assert!(bench.sim.violations().is_empty(), "{:#?}", bench.sim.violations());
}

#[tokio::test(start_paused = true)]
async fn the_same_inventory_gives_the_same_plan() {
    let bench = Bench::new(&SimConfig::new(3, 2));
    let inventory = look(&bench.setup(bench.sim.old_pki())).await.unwrap();
    let now = inventory.taken;
    let naming = Naming { now, stamp: "2026-11-21-12-00-00".to_owned() };
    let first = planner::plan(&inventory, &replace_ca(), &naming).unwrap();
    assert_eq!(first, planner::plan(&inventory, &replace_ca(), &naming).unwrap());
    assert!(!first.is_empty());
}

/// Where the old CA's key cannot be had.
#[tokio::test(start_paused = true)]
async fn with_bundles() {
    for (planes, agents, minor) in [(3, 2, 34), (3, 1, 20), (5, 0, 34)] {
        let version = KubernetesVersion { major: 1, minor };
        let bench = Bench::new(&SimConfig { version, ..SimConfig::new(planes, agents) });
        let mut old = bench.sim.old_pki();
        old.authority_keys.clear();
        let ended = bench.rotate_as(old, &replace_ca()).await.unwrap();
        assert_finished(&ended);
        assert_eq!(ended.report.strategy, Strategy::Bundled);
        assert_unharmed(&bench.sim);
        assert_rotated(&bench).await;
    }
}

/// On the result nothing is due, and the old description does not fit any more.
#[tokio::test(start_paused = true)]
async fn planning_on_the_result() {
    let bench = rotated(&SimConfig::new(3, 2)).await;
    let setup = bench.setup(bench.operator.new_pki().unwrap());
    let inventory = look(&setup).await.unwrap();
    let renew = Intent::new(Why::Renew);
    let renewal = plan(&inventory, &renew, inventory.taken).unwrap();
    assert!(renewal.is_empty(), "{renewal:#?}");

    let setup = bench.setup(bench.sim.old_pki());
    let inventory = look(&setup).await.unwrap();
    let refused = plan(&inventory, &replace_ca(), inventory.taken);
    assert!(refused.is_err());
}

/// From one generation to the next and the next: what a run leaves behind is a cluster that can be rotated.
#[tokio::test(start_paused = true)]
async fn again_and_again() {
    let bench = rotated(&SimConfig::new(3, 1)).await;
    let second = bench.rotate_from(bench.operator.new_pki().unwrap()).await.unwrap();
    assert_finished(&second);
    assert_unharmed(&bench.sim);
    assert_rotated(&bench).await;
}

/// Files and flags are those of a freshly deployed cluster again.
#[tokio::test(start_paused = true)]
async fn paths_and_manifests_are_what_they_were() {
    let bench = Bench::new(&SimConfig::new(3, 2));
    let nodes = bench.sim.node_names();
    let before: Vec<_> = nodes.iter().map(|node| bench.sim.files(node)).collect();
    let ended = bench.rotate().await.unwrap();
    assert_finished(&ended);
    for (node, before) in nodes.iter().zip(before) {
        let after = bench.sim.files(node);
        let is_new = |path: &&String| !before.contains_key(*path) && !path.contains("/kubelet-client-");
        let left: Vec<_> = after.keys().filter(is_new).collect();
        assert!(left.is_empty(), "left on {node}: {left:?}");
        for (path, digest) in before {
            let definition = path.contains("/manifests/") || path.contains("/default/");
            let same = after.get(&path) == Some(&digest);
            if definition {
                assert!(same, "{path} on {node} is not what it was");
            }
            if path.contains("/certs/") {
                assert!(!same, "{path} on {node} was not replaced");
            }
        }
    }
}

/// A node that reboots in the middle comes back with what is on its disk, and the run goes on or stops safely.
#[tokio::test(start_paused = true)]
async fn a_node_that_reboots_in_the_middle() {
    for after in [5_u64, 20, 35, 50, 65, 80] {
        let bench = Bench::new(&SimConfig::new(3, 2));
        let node: NodeName = bench.sim.node_names()[1].clone();
        let reboot = async {
            bench.sim.pass(Duration::from_secs(after)).await;
            bench.sim.reboot(&node);
        };
        let (ended, ()) = tokio::join!(bench.rotate(), reboot);
        let mut ended = ended.unwrap();
        if ended.report.result != "finished" {
            bench.sim.pass(Duration::from_secs(60)).await;
            ended = bench.rotate().await.unwrap();
        }
        assert_finished(&ended);
        // A cluster of three bears one member less; a rotation of another one meanwhile would be one too many.
        let violations = bench.sim.violations();
        let trust: Vec<_> =
            violations.iter().filter(|violation| !violation.what.contains("away at once")).collect();
        assert!(trust.is_empty(), "reboot after {after} s: {trust:#?}");
        assert_rotated(&bench).await;
    }
}
