//! A small sample of the campaign, for every `cargo test`; `cargo xtask campaign sim` plays thousands.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::{Arc, Mutex};

use kubecert_sim::SimConfig;
use kubecert_sim::campaign::{Fault, FaultKind, RunEvent, Scenario, Tally, Verdict, Way, run, run_seed};

/// How many seeds are played.
const SEEDS: usize = 24;
/// The largest cluster among them: what is slow without optimisation stays with the campaign.
const MOST_NODES: usize = 9;

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn small(seed: &u64) -> bool {
    let config = Scenario::of(*seed).config;
    config.control_planes + config.agents <= MOST_NODES
}

fn told(verdict: &Verdict) -> (Way, Vec<String>, Vec<String>, std::time::Duration) {
    (verdict.way, verdict.history.clone(), verdict.wrong.clone(), verdict.virtual_time)
}

#[test]
fn a_sample_of_seeds_holds() {
    let scratch = scratch();
    let mut tally = Tally::default();
    for seed in (1..).filter(small).take(SEEDS) {
        let verdict = run_seed(seed, scratch.path(), Arc::new(|_| {})).unwrap();
        assert!(verdict.held(), "{}\n{:#?}\n{:#?}", verdict.scenario, verdict.history, verdict.wrong);
        tally.add(&verdict);
    }
    println!("{tally}");
    assert_eq!((tally.runs(), tally.failing()), (24, &[] as &[u64]));
}

/// Keys differ, what happens does not.
#[test]
fn a_seed_reproduces_from_its_number() {
    let scratch = scratch();
    let disturbed = |seed: &u64| small(seed) && Scenario::of(*seed).faults.len() >= 2;
    for seed in (100..).filter(disturbed).take(3) {
        let one = run_seed(seed, scratch.path(), Arc::new(|_| {})).unwrap();
        let other = run_seed(seed, scratch.path(), Arc::new(|_| {})).unwrap();
        assert_eq!(told(&one), told(&other), "{}", one.scenario);
    }
}

/// When something happened, and what kind of thing.
type Trace = Vec<(jiff::Timestamp, String)>;

/// Each kind of fault does something: alone, in the middle of a run, it leaves a trace in how the run goes.
#[test]
fn every_kind_of_fault_is_felt() {
    let scratch = scratch();
    let play = |faults: Vec<Fault>| {
        let intent = Scenario::of(1).intent;
        let scenario = Scenario::rehearsal(SimConfig::new(3, 1), intent, false, faults);
        let trace: Arc<Mutex<Trace>> = Arc::default();
        let kept = trace.clone();
        let events = move |event: RunEvent| {
            let kind = format!("{:?}", event.what).split(' ').next().unwrap_or_default().to_owned();
            kept.lock().unwrap().push((event.at, kind));
        };
        let verdict = run(&scenario, scratch.path(), Arc::new(events)).unwrap();
        let trace = trace.lock().unwrap().clone();
        (verdict, trace)
    };
    let (undisturbed, usual) = play(Vec::new());
    assert!(undisturbed.held() && undisturbed.way == Way::Finished, "{:?}", undisturbed.wrong);
    for kind in FaultKind::ALL {
        let at = if kind == FaultKind::EtcdDeadFromStart { 0 } else { 400 };
        let (verdict, trace) = play(vec![Fault::chosen(kind, at, 7)]);
        assert!(verdict.held(), "{kind}: {:#?}\n{:#?}", verdict.history, verdict.wrong);
        // A second operator is refused at the door; the other two need not delay anything.
        if !matches!(kind, FaultKind::SecondOperator | FaultKind::ClockOff | FaultKind::KubeletStaysAway) {
            let same = verdict.workloads.failures.len() == undisturbed.workloads.failures.len();
            assert!(!same || trace != usual, "{kind} is not felt");
        }
    }
}
