//! A run whose directory is lost is brought to an end from what the nodes hold of it.

use std::time::Duration;

use kubecert_engine::run::RunError;
use kubecert_sim::{SimConfig, Trouble};

use crate::support::{Bench, assert_finished, assert_rotated, assert_unharmed};

/// Cuts a run off at that call of a port and loses its records; whether it was cut off.
async fn lost_at(bench: &Bench, call: u64) -> bool {
    bench.sim.trouble(call, Trouble::CutOffAfter);
    let cut_off = tokio::select! {
        ended = bench.rotate() => { ended.unwrap(); false }
        () = bench.sim.cut_off() => true,
    };
    for entry in std::fs::read_dir(bench.state()).unwrap().flatten() {
        if entry.path().is_dir() {
            std::fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    cut_off
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_records_are_lost_is_finished_by_another() {
    let config = SimConfig::new(3, 2);
    let mut finished = 0;
    for call in (90..).step_by(97) {
        let bench = Bench::new(&config);
        if !lost_at(&bench, call).await {
            break;
        }
        bench.sim.pass(Duration::from_secs(5)).await;
        match bench.rotate().await {
            Ok(ended) => {
                assert_finished(&ended);
                assert_rotated(&bench).await;
                finished += 1;
            }
            // Past the point of no return, which is said and leaves everything as it is.
            Err(RunError::Port(error)) => {
                assert!(error.to_string().contains("it has begun to drop the old CA"), "{error}");
                break;
            }
            Err(RunError::Refused(refusal)) if finished > 2 => {
                assert!(!refusal.reasons.is_empty());
                break;
            }
            Err(error) => panic!("from call {call}: {error}"),
        }
        assert_unharmed(&bench.sim);
    }
    assert!(finished > 2, "only {finished} runs were finished");
}
