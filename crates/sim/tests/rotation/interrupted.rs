//! Cut off anywhere, the run goes on with the same new PKI to the same end.

use std::time::Duration;

use kubecert_engine::run::{Ended, RunError};
use kubecert_pki::Certificate;
use kubecert_sim::{SimConfig, Trouble};

use crate::support::{Bench, assert_finished, assert_rotated, assert_unharmed};

/// Runs until it ends or is cut off; `None` if it was cut off.
async fn until_cut_off(bench: &Bench) -> Option<Result<Ended, RunError>> {
    tokio::select! {
        ended = bench.rotate() => Some(ended),
        () = bench.sim.cut_off() => None,
        () = bench.cut.notified() => None,
    }
}

/// How many calls of ports a whole run makes.
async fn calls_of_a_run(config: &SimConfig) -> u64 {
    let bench = Bench::new(config);
    assert_finished(&bench.rotate().await.unwrap());
    bench.sim.calls()
}

/// The certificates that the vault holds, if there is a vault yet.
fn vault(bench: &Bench) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let runs = std::fs::read_dir(bench.state()).ok()?;
    let directories = runs.flatten().map(|entry| entry.path().join("vault")).filter(|path| path.is_dir());
    for directory in directories {
        for entry in std::fs::read_dir(directory).ok()?.flatten() {
            let text = std::fs::read(entry.path()).unwrap_or_default();
            found.extend(Certificate::from_pem(&text).ok().map(|found| found.fingerprint().to_string()));
        }
    }
    found.sort();
    (!found.is_empty()).then_some(found)
}

/// Runs and resumes until the end, with a pause after each cut, and looks that nothing was harmed.
async fn resumed_to_the_end(bench: &Bench, cuts: usize, pause: Duration) {
    let mut first_vault = None;
    let mut found = 0;
    let ended = loop {
        match until_cut_off(bench).await {
            Some(ended) => break ended.unwrap(),
            None => {
                found += 1;
                first_vault = first_vault.or_else(|| vault(bench));
                bench.sim.pass(pause).await;
            }
        }
    };
    assert_eq!(found, cuts);
    assert_finished(&ended);
    assert_unharmed(&bench.sim);
    assert_rotated(bench).await;
    let new: Vec<String> = bench
        .operator
        .new_pki()
        .unwrap()
        .leaves
        .values()
        .map(|leaf| leaf.fingerprint().to_string())
        .collect();
    if let Some(vault) = first_vault {
        assert!(new.iter().all(|leaf| vault.contains(leaf)), "the run went on with another PKI");
    }
}

/// Every how many calls or events a run is cut off; `KUBECERT_SIM_STRIDE=1` tries them all.
fn stride(otherwise: usize) -> usize {
    std::env::var("KUBECERT_SIM_STRIDE").ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// How long until somebody runs kubecert again: at once, or when processes have come up.
const PAUSES: [Duration; 2] = [Duration::ZERO, Duration::from_secs(10)];

/// Every so many calls a fresh cluster, cut off there and resumed.
async fn cut_off_at_calls(trouble: Trouble) {
    let config = SimConfig::new(3, 1);
    let calls = calls_of_a_run(&config).await;
    assert!(calls > 300, "{calls}");
    // The last calls look at the finished cluster; how many there are depends on what was waited for.
    for (position, call) in (1..=calls.saturating_sub(60)).step_by(stride(127)).enumerate() {
        let bench = Bench::new(&config);
        bench.sim.trouble(call, trouble);
        println!("cut off at call {call} of {calls}");
        resumed_to_the_end(&bench, 1, PAUSES[position % PAUSES.len()]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn cut_off_before_any_call() {
    cut_off_at_calls(Trouble::CutOffBefore).await;
}

#[tokio::test(start_paused = true)]
async fn cut_off_after_any_call() {
    cut_off_at_calls(Trouble::CutOffAfter).await;
}

/// Each record of the journal is followed by an event, so this cuts between any two records.
#[tokio::test(start_paused = true)]
async fn cut_off_at_any_event() {
    let config = SimConfig::new(3, 1);
    let whole = Bench::new(&config);
    assert_finished(&whole.rotate().await.unwrap());
    let events = whole.events();
    assert!(events > 200, "{events}");
    for (position, event) in (1..events - 10).step_by(stride(41)).enumerate() {
        let bench = Bench::new(&config);
        bench.cut_off_after(event);
        println!("cut off at event {event} of {events}");
        resumed_to_the_end(&bench, 1, PAUSES[position % PAUSES.len()]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn cut_off_again_and_again() {
    let bench = Bench::new(&SimConfig::new(3, 1));
    let calls = [60, 90, 140, 200, 280, 420, 500];
    for call in calls {
        bench.sim.trouble(call, Trouble::CutOffAfter);
    }
    resumed_to_the_end(&bench, calls.len(), Duration::from_secs(1)).await;
}

/// Lost connections and lost answers are tried again.
#[tokio::test(start_paused = true)]
async fn calls_that_fail() {
    for trouble in [Trouble::FailsBefore, Trouble::AnswerLost] {
        let bench = Bench::new(&SimConfig::new(3, 1));
        for call in (60..700).step_by(41) {
            bench.sim.trouble(call, trouble);
        }
        let ended = bench.rotate().await.unwrap();
        assert_finished(&ended);
        assert_unharmed(&bench.sim);
        assert_rotated(&bench).await;
    }
}

/// Where kubecert never comes back, timers on the nodes take away what it left: diversions after ten minutes, the rest
/// of monitors after an hour. Whoever runs it then still gets to the end.
#[tokio::test(start_paused = true)]
async fn timers_on_the_nodes_clean_up() {
    let bench = Bench::new(&SimConfig::new(3, 0));
    {
        let run = bench.rotate();
        tokio::pin!(run);
        while bench.sim.diverted().is_empty() {
            let ended = tokio::time::timeout(Duration::from_millis(20), &mut run).await;
            assert!(ended.is_err(), "it ended without a diversion");
        }
    }
    bench.sim.pass(Duration::from_secs(620)).await;
    assert_eq!(bench.sim.diverted(), []);
    resumed_to_the_end(&bench, 0, Duration::ZERO).await;
}
