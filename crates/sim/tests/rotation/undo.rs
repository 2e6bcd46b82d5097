//! From anywhere before the old CA is dropped, everything can be put back as it was.

use std::collections::BTreeMap;
use std::time::Duration;

use kubecert_core::event::RunOutcome;
use kubecert_core::intent::{Intent, Scope, Strategy, Why};
use kubecert_core::model::NodeName;
use kubecert_engine::run::{Ended, RunError, look};
use kubecert_engine::undo::undo;
use kubecert_sim::{SimConfig, Trouble};

use crate::support::{Bench, assert_finished, assert_rotated, assert_unharmed, replace_ca};

/// Every file of every node.
pub(crate) fn files(bench: &Bench) -> BTreeMap<NodeName, BTreeMap<String, String>> {
    let nodes = bench.sim.node_names();
    nodes.into_iter().map(|node| (node.clone(), bench.sim.files(&node))).collect()
}

async fn go_back(bench: &Bench) -> Result<Ended, RunError> {
    Ok(undo(bench.setup(bench.sim.old_pki()), |_| true).await?.unwrap())
}

/// Everything is of the old PKI again, and nothing else.
pub(crate) async fn assert_as_before(bench: &Bench, before: &BTreeMap<NodeName, BTreeMap<String, String>>) {
    for (node, now) in files(bench) {
        let changed: Vec<&String> = now
            .iter()
            .filter(|(path, digest)| before[&node].get(*path) != Some(digest))
            .map(|(path, _)| path)
            // What a kubelet on Windows was issued meanwhile lies beside what it has again.
            .filter(|path| before[&node].contains_key(*path) || !path.contains(r"\kubelet-client-"))
            .collect();
        let gone: Vec<&String> = before[&node].keys().filter(|path| !now.contains_key(*path)).collect();
        assert!(changed.is_empty() && gone.is_empty(), "on {node} {changed:?} changed, {gone:?} are gone");
    }
    let setup = bench.setup(bench.sim.old_pki());
    let inventory = look(&setup).await.unwrap();
    let ca = inventory.current_ca().unwrap().fingerprint.clone();
    for (server, facts) in &inventory.servers {
        let facts = facts.seen().unwrap_or_else(|| panic!("{server} cannot be asked"));
        assert_eq!(facts.chain.len(), 1, "{server} presents a chain");
        let own = matches!(server, kubecert_core::inventory::Server::Kubelet(_));
        assert!(
            own || facts.chain[0].signed_by.as_ref() == Some(&ca),
            "{server} presents a leaf of another CA"
        );
        let new = facts.client_ca_names.iter().find(|name| name.ends_with("-g2"));
        assert_eq!(new, None, "{server} still trusts the new CA");
    }
    let api = inventory.api.seen().unwrap();
    assert!(api.published_roots.values().all(|roots| *roots == [ca.clone()]), "{:?}", api.published_roots);
    assert!(api.nodes.iter().all(|node| node.ready));
    for (holder, roots) in &api.ca_bundles {
        let roots: Vec<&String> = roots.iter().map(|root| &root.fingerprint).collect();
        assert_eq!(roots, [&ca], "{holder}");
    }
    assert!(bench.sim.diverted().is_empty());
}

fn intent(strategy: Strategy) -> Intent {
    Intent { strategy: Some(strategy), ..replace_ca() }
}

/// Rotates until the call of a port at which it is cut off; whether it was.
async fn cut_off_at(bench: &Bench, strategy: Strategy, call: u64) -> bool {
    bench.sim.trouble(call, Trouble::CutOffAfter);
    let intent = intent(strategy);
    tokio::select! {
        ended = bench.rotate_as(bench.sim.old_pki(), &intent) => { ended.unwrap(); false }
        () = bench.sim.cut_off() => true,
    }
}

/// A run that is cut off at each n-th call of a port goes back, until it has dropped the old CA.
async fn goes_back_from_everywhere(strategy: Strategy, stride: usize, first: u64) {
    let config = SimConfig { windows_agents: 1, ..SimConfig::new(3, 1) };
    let mut undone = 0;
    for call in (first..).step_by(stride) {
        let bench = Bench::new(&config);
        let before = files(&bench);
        if !cut_off_at(&bench, strategy, call).await {
            break;
        }
        bench.sim.pass(Duration::from_secs(call % 3 * 7)).await;
        match go_back(&bench).await {
            Ok(ended) => {
                assert_eq!(ended.report.outcome, RunOutcome::Undone, "from call {call}");
                assert_as_before(&bench, &before).await;
                undone += 1;
            }
            Err(RunError::PastReturn { .. }) => break,
            // Cut off before it had touched anything.
            Err(RunError::NothingToUndo { .. }) => {}
            Err(error) => panic!("from call {call}: {error}"),
        }
        assert_unharmed(&bench.sim);
    }
    assert!(undone > 5, "only {undone} runs were undone");
}

fn stride(otherwise: usize) -> usize {
    std::env::var("KUBECERT_SIM_STRIDE").ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[tokio::test(start_paused = true)]
async fn a_cross_signed_run_goes_back_from_everywhere() {
    goes_back_from_everywhere(Strategy::CrossSigned, stride(29), 60).await;
}

#[tokio::test(start_paused = true)]
async fn a_bundled_run_goes_back_from_everywhere() {
    goes_back_from_everywhere(Strategy::Bundled, stride(43), 60).await;
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_is_cut_off_goes_on() {
    let config = SimConfig::new(3, 1);
    let whole = {
        let bench = Bench::new(&config);
        assert!(cut_off_at(&bench, Strategy::CrossSigned, 420).await);
        go_back(&bench).await.unwrap();
        bench.sim.calls()
    };
    for call in (430..whole).step_by(stride(41)) {
        let bench = Bench::new(&config);
        let before = files(&bench);
        assert!(cut_off_at(&bench, Strategy::CrossSigned, 420).await);
        bench.sim.trouble(call, Trouble::CutOffBefore);
        let ended = tokio::select! {
            ended = go_back(&bench) => ended.unwrap(),
            () = bench.sim.cut_off() => {
                // Neither `rotate` nor `resume` goes forward any more.
                let refused = bench.rotate().await.unwrap_err();
                assert!(refused.to_string().contains("it is being undone"), "{refused}");
                go_back(&bench).await.unwrap()
            }
        };
        assert_eq!(ended.report.outcome, RunOutcome::Undone);
        assert_as_before(&bench, &before).await;
        assert_unharmed(&bench.sim);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_went_back_can_be_rotated() {
    let bench = Bench::new(&SimConfig::new(3, 1));
    assert!(cut_off_at(&bench, Strategy::CrossSigned, 400).await);
    go_back(&bench).await.unwrap();
    let refused = go_back(&bench).await.unwrap_err();
    assert!(refused.to_string().contains("was undone already"), "{refused}");
    assert_finished(&bench.rotate().await.unwrap());
    assert_unharmed(&bench.sim);
    assert_rotated(&bench).await;
    let refused = undo(bench.setup(bench.operator.new_pki().unwrap()), |_| true).await.unwrap_err();
    assert!(refused.to_string().contains("is finished"), "{refused}");
}

/// What leaves the cluster CA's key as it is goes back, too, for as long as its backups are there.
#[tokio::test(start_paused = true)]
async fn every_reason_goes_back() {
    let front_proxy = Intent { scope: Scope::FrontProxy, ..Intent::new(Why::ReplaceCa) };
    let version = kubecert_core::model::KubernetesVersion { major: 1, minor: 24 };
    let config = SimConfig { leaves_last_days: Some(20), version, ..SimConfig::new(3, 1) };
    for intent in [Intent::new(Why::Renew), Intent::new(Why::ExtendCa), front_proxy] {
        let whole = Bench::new(&config);
        assert_finished(&whole.rotate_as(whole.sim.old_pki(), &intent).await.unwrap());
        let calls = whole.sim.calls();
        let mut undone = 0;
        for part in [4, 5, 6, 7] {
            let bench = Bench::new(&config);
            let before = files(&bench);
            let call = calls * part / 12;
            bench.sim.trouble(call, Trouble::CutOffAfter);
            let cut = tokio::select! {
                ended = bench.rotate_as(bench.sim.old_pki(), &intent) => Some(ended),
                () = bench.sim.cut_off() => None,
            };
            assert!(cut.is_none(), "it was not cut off");
            println!("{}: cut off at call {call} of {calls}", intent.why);
            bench.sim.pass(Duration::from_secs(5)).await;
            match go_back(&bench).await {
                Ok(ended) => {
                    assert_eq!(ended.report.outcome, RunOutcome::Undone);
                    assert_as_before(&bench, &before).await;
                    assert_unharmed(&bench.sim);
                    undone += 1;
                }
                Err(error) => {
                    let said = error.to_string();
                    assert!(said.contains("cannot be undone") && said.contains("resume"), "{said}");
                    assert_finished(&bench.rotate_as(bench.sim.old_pki(), &intent).await.unwrap());
                }
            }
        }
        assert!(undone > 1, "only {undone} runs of {} were undone", intent.why);
    }
}
