//! A run whose directory is lost is brought to an end from what the nodes hold of it.

use std::collections::BTreeMap;
use std::time::Duration;

use kubecert_core::event::RunOutcome;
use kubecert_core::intent::{Intent, Strategy};
use kubecert_core::layout;
use kubecert_core::model::NodeName;
use kubecert_engine::run::{Misfit, RunError};
use kubecert_engine::undo::undo;
use kubecert_sim::{SimConfig, Trouble};

use crate::support::{Bench, assert_finished, assert_rotated, assert_unharmed, replace_ca};
use crate::undo::{assert_as_before, files};

/// Cuts a run off at that call of a port and loses its records, unless it ended before; whether it had passed the point of
/// no return.
async fn lost_at(bench: &Bench, intent: &Intent, call: u64) -> Option<bool> {
    bench.sim.trouble(call, Trouble::CutOffAfter);
    let cut_off = tokio::select! {
        ended = bench.rotate_as(bench.sim.old_pki(), intent) => { ended.unwrap(); false }
        () = bench.sim.cut_off() => true,
    };
    let mut dropped = false;
    for run in std::fs::read_dir(bench.state()).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        let journal = std::fs::read_to_string(run.path().join("journal.jsonl")).unwrap();
        dropped |= journal.contains("trust-dropped");
        std::fs::remove_dir_all(run.path()).unwrap();
    }
    cut_off.then_some(dropped)
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_records_are_lost_is_finished_by_another() {
    is_finished_by_another(&replace_ca(), 61).await;
}

#[tokio::test(start_paused = true)]
async fn a_bundled_run_whose_records_are_lost_is_finished_by_another() {
    is_finished_by_another(&Intent { strategy: Some(Strategy::Bundled), ..replace_ca() }, 167).await;
}

async fn is_finished_by_another(intent: &Intent, stride: usize) {
    let config = SimConfig::new(3, 2);
    let (mut finished, mut dropped) = (0, 0);
    for call in (90..).step_by(stride) {
        let bench = Bench::new(&config);
        let Some(was_dropped) = lost_at(&bench, intent, call).await else { break };
        bench.sim.pass(Duration::from_secs(30)).await;
        dropped += usize::from(was_dropped);
        match bench.rotate_as(bench.sim.old_pki(), intent).await {
            Ok(ended) => {
                assert_finished(&ended);
                assert_rotated(&bench).await;
                assert!(bench.sim.paused().is_empty());
                finished += 1;
            }
            // The operator's files were written: whoever looks at them finds the cluster rotated, as it is.
            Err(RunError::Refused(_)) if bench.operator.new_pki().is_some() => break,
            Err(error) => panic!("from call {call}: {error:?}"),
        }
        assert_unharmed(&bench.sim);
    }
    assert!(finished > 4, "only {finished} runs were finished");
    assert!(dropped > 1, "only {dropped} of them had dropped the old CA");
}

/// Removes the key of the new CA from every control plane, be it staged or in its place.
fn lose_key(bench: &Bench, before: &BTreeMap<NodeName, BTreeMap<String, String>>) {
    let in_place = layout::certificate_file("ca.key");
    for node in bench.sim.node_names() {
        bench.sim.remove_file(&node, &layout::transition_file("ca.key"));
        if bench.sim.files(&node).get(&in_place) != before[&node].get(&in_place) {
            bench.sim.remove_file(&node, &in_place);
        }
    }
}

/// Where the new CA's key is lost, too, the run is taken back, and another one rotates onto another new CA; once the run
/// has changed objects whose originals are lost with its records, it says so and touches nothing.
#[tokio::test(start_paused = true)]
async fn a_run_whose_new_ca_has_no_key_any_more_is_taken_back() {
    let config = SimConfig::new(3, 2);
    let (mut undone, mut too_late) = (0, 0);
    for call in (60..).step_by(67) {
        let bench = Bench::new(&config);
        let before = files(&bench);
        let Some(was_dropped) = lost_at(&bench, &replace_ca(), call).await else { break };
        bench.sim.pass(Duration::from_secs(30)).await;
        if was_dropped {
            break;
        }
        lose_key(&bench, &before);
        match bench.rotate().await {
            Err(RunError::Port(error)) => assert!(error.to_string().contains("key of its new CA"), "{error}"),
            // It was cut off before it had staged anything.
            Ok(ended) => {
                assert_finished(&ended);
                continue;
            }
            Err(error) => panic!("from call {call}: {error:?}"),
        }
        match undo(bench.setup(bench.sim.old_pki()), |_| true).await {
            Ok(ended) => {
                assert_eq!(ended.unwrap().report.outcome, RunOutcome::Undone);
                assert_as_before(&bench, &before).await;
                assert!(bench.sim.paused().is_empty());
                assert_unharmed(&bench.sim);
                let ended = bench.rotate().await.unwrap();
                assert_finished(&ended);
                assert_rotated(&bench).await;
                assert_unharmed(&bench.sim);
                undone += 1;
            }
            Err(RunError::NotResumable { why: Misfit::ObjectsUnknown, .. }) => too_late += 1,
            Err(error) => panic!("from call {call}: {error:?}"),
        }
    }
    assert!(undone > 3 && too_late > 0, "{undone} were taken back, {too_late} could not be");
}
