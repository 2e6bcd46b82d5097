//! Plans that are wrong on purpose, carried out all the same: what they are expected to break must be seen to break.

use std::time::Duration;

use kubecert_core::model::{KubernetesVersion, NodeName};
use kubecert_core::testing::wrong::{Expected, Mutation, left_behind};
use kubecert_engine::run::{look, plan};
use kubecert_sim::{SimCluster, SimConfig};

use crate::support::{Bench, replace_ca};

/// Long enough for a node whose kubelet cannot report to be given up, and for a health check that fails.
const AFTERWARDS: Duration = Duration::from_secs(90);
/// What nobody waits for.
const HANGS: Duration = Duration::from_secs(3 * 3600);

/// Whether what is expected has been seen, by whoever used the cluster.
fn seen(sim: &SimCluster, expected: Expected, left: Option<&NodeName>) -> bool {
    let log = sim.workload_log();
    let failed = |why: &[&str]| log.failures.iter().any(|failed| why.contains(&failed.why.as_str()));
    let unavailable = failed(&["connection refused", "the server is not ready"]);
    match expected {
        Expected::ApiUnavailable => unavailable,
        Expected::OldClientsRefuseServer => failed(&["certificate signed by unknown authority"]),
        Expected::EtcdLost => {
            let away = |what: &str| what.contains("etcd members are away at once");
            unavailable && sim.violations().iter().any(|violation| away(&violation.what))
        }
        Expected::NodeNotReady => left.is_some_and(|node| !sim.is_ready(node)),
        Expected::TokensRefused => failed(&["401 Unauthorized"]),
    }
}

async fn fails_as_expected(mutation: Mutation) {
    for minor in [20, 34] {
        let version = KubernetesVersion { major: 1, minor };
        let bench = Bench::new(&SimConfig { version, ..SimConfig::new(3, 3) });
        let inventory = look(&bench.setup(bench.sim.old_pki())).await.unwrap();
        let right = plan(&inventory, &replace_ca(), inventory.taken).unwrap();
        let left = left_behind(&right);
        let ended = tokio::time::timeout(HANGS, bench.rotate_wrong(mutation)).await;
        println!("{mutation} on 1.{minor}: {:?}", ended.unwrap().map(|ended| ended.report.outcome));
        bench.sim.pass(AFTERWARDS).await;
        let expected = mutation.expected();
        assert!(
            seen(&bench.sim, expected, left.as_ref()),
            "{mutation} on 1.{minor}: {expected}: not seen; {:#?}",
            bench.sim.violations().iter().take(5).collect::<Vec<_>>()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn without_barriers() {
    fails_as_expected(Mutation::NoBarrier).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_leaf_before_its_ca_is_trusted() {
    fails_as_expected(Mutation::LeafBeforeTrust).await;
}

#[tokio::test(start_paused = true)]
async fn all_etcd_members_at_once() {
    fails_as_expected(Mutation::AllEtcdAtOnce).await;
}

#[tokio::test(start_paused = true)]
async fn the_old_ca_dropped_with_one_kubelet_left() {
    fails_as_expected(Mutation::DropWithOneKubeletLeft).await;
}

#[tokio::test(start_paused = true)]
async fn the_new_token_key_too_early() {
    fails_as_expected(Mutation::TokenKeyTooEarly).await;
}

/// The same eyes see nothing in a plan that is right.
#[tokio::test(start_paused = true)]
async fn a_right_plan_shows_none_of_it() {
    let bench = Bench::new(&SimConfig::new(3, 3));
    let inventory = look(&bench.setup(bench.sim.old_pki())).await.unwrap();
    let left = left_behind(&plan(&inventory, &replace_ca(), inventory.taken).unwrap());
    bench.rotate().await.unwrap();
    bench.sim.pass(AFTERWARDS).await;
    for mutation in Mutation::ALL {
        assert!(!seen(&bench.sim, mutation.expected(), left.as_ref()), "{mutation}");
    }
}
