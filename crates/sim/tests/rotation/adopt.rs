//! A run whose directory is lost is brought to an end from what the nodes hold of it.

use std::time::Duration;

use kubecert_engine::run::RunError;
use kubecert_sim::{SimConfig, Trouble};

use crate::support::{Bench, assert_finished, assert_rotated, assert_unharmed};

/// Cuts a run off at that call of a port and loses its records, unless it ended before; whether it had passed the point of
/// no return.
async fn lost_at(bench: &Bench, call: u64) -> Option<bool> {
    bench.sim.trouble(call, Trouble::CutOffAfter);
    let cut_off = tokio::select! {
        ended = bench.rotate() => { ended.unwrap(); false }
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
    let config = SimConfig::new(3, 2);
    let (mut finished, mut dropped) = (0, 0);
    for call in (90..).step_by(61) {
        let bench = Bench::new(&config);
        let Some(was_dropped) = lost_at(&bench, call).await else { break };
        bench.sim.pass(Duration::from_secs(30)).await;
        dropped += usize::from(was_dropped);
        match bench.rotate().await {
            Ok(ended) => {
                assert_finished(&ended);
                assert_rotated(&bench).await;
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
