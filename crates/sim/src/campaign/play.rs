//! A run, with all its interruptions, to its end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kubecert_core::event::{Event, RunOutcome};
use kubecert_core::model::TrustDomain;
use kubecert_core::report::Report;
use kubecert_engine::issue::chain;
use kubecert_engine::ports::PortResult;
use kubecert_engine::run::{Ended, OperatorFiles, RunError, Setup, resume, rotate};
use kubecert_engine::rundir::{RunDirError, State};
use kubecert_engine::undo::undo;
use kubecert_engine::vault::{PkiSet, Vault};
use tokio::sync::watch;

use super::judge;
use super::scenario::{FaultKind, Scenario};
use crate::cluster::SimCluster;
use crate::faults::{Disturbance, Trouble};
use crate::pods::WorkloadLog;

/// How often the operator tries while things are still broken, besides once for each time that kubecert was killed.
const TRIES: usize = 3;
/// How often the operator tries once nothing breaks any more.
const TRIES_WHEN_MENDED: usize = 3;
/// How long after the last fault the cluster is left alone: the longest back-off of a crashing container, and what it
/// takes until nodes are Ready.
const CALM: Duration = Duration::from_secs(400);
/// What nobody waits for: a process of kubecert that takes longer hangs.
const HANGS: Duration = Duration::from_secs(6 * 3600);

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// In one go.
    Finished,
    /// After at least one interruption or safe stop.
    Resumed,
    /// By going back: everything is as it was.
    Undone,
    /// Not at all.
    Stuck,
}

/// What became of a seed.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The seed.
    pub seed: u64,
    /// The run in words.
    pub scenario: String,
    /// The kinds of faults that were planned.
    pub faults: Vec<FaultKind>,
    /// How it ended.
    pub way: Way,
    /// How many processes of kubecert it took.
    pub processes: usize,
    /// How each of them ended.
    pub history: Vec<String>,
    /// Everything that is not as it must be; empty if the run held.
    pub wrong: Vec<String>,
    /// How long it took by the cluster's clock.
    pub virtual_time: Duration,
    /// The report of the last process that has left one.
    pub report: Option<Report>,
    /// What workloads saw.
    pub workloads: WorkloadLog,
}

impl Verdict {
    /// Whether everything held.
    pub fn held(&self) -> bool {
        self.wrong.is_empty()
    }
}

/// An operator whose files are kept in memory.
#[derive(Default)]
struct Operator {
    written: Mutex<Option<PkiSet>>,
}

impl Operator {
    fn pki(&self) -> Option<PkiSet> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl OperatorFiles for Operator {
    async fn announce(&self, _: &Vault) -> PortResult<()> {
        Ok(())
    }

    async fn write(&self, vault: &Vault) -> PortResult<()> {
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = Some(vault.new.clone());
        Ok(())
    }
}

/// Everything that a run needs beside its scenario.
struct Stage<'a> {
    scenario: &'a Scenario,
    sim: SimCluster,
    operator: Arc<Operator>,
    state: PathBuf,
    events: Arc<dyn Fn(Event) + Send + Sync>,
    /// How many events there were.
    seen: Arc<AtomicU64>,
    /// What is to happen at which event.
    at_event: Arc<Mutex<BTreeMap<u64, FaultKind>>>,
    wrong: Arc<Mutex<Vec<String>>>,
    report: Mutex<Option<Report>>,
}

/// How one process of kubecert ended.
enum Attempt {
    Killed,
    Hung,
    Finished,
    Undone,
    /// There is no way back any more.
    PastReturn,
    Stopped(String),
    Failed(String),
}

/// Plays a scenario to its end, and judges it.
///
/// # Errors
///
/// Fails only where it cannot be played at all.
pub async fn play(
    scenario: &Scenario,
    scratch: &Path,
    events: Arc<dyn Fn(Event) + Send + Sync>,
) -> std::io::Result<Verdict> {
    let began = tokio::time::Instant::now();
    let sim = SimCluster::new(&scenario.config).map_err(std::io::Error::other)?;
    let state = scratch.join(format!("seed-{}", scenario.seed));
    let stage = Stage {
        scenario,
        sim,
        operator: Arc::default(),
        state: state.clone(),
        events,
        seen: Arc::default(),
        at_event: Arc::default(),
        wrong: Arc::default(),
        report: Mutex::default(),
    };
    let before = judge::Before::of(&stage.sim, &stage.setup(stage.old_pki()).0).await;
    stage.plan_faults();
    let (way, history) = stage.to_the_end().await;
    let mut wrong = std::mem::take(&mut *stage.wrong.lock().unwrap_or_else(PoisonError::into_inner));
    stage.sim.mend();
    if way == Way::Undone {
        wrong.extend(judge::undone(&stage.sim, &before, &stage.setup(stage.old_pki()).0).await);
    } else if way == Way::Stuck {
        wrong.push(format!(
            "it can neither be finished nor undone: {}",
            history.last().cloned().unwrap_or_default()
        ));
    } else if let Some(pki) = stage.operator.pki() {
        wrong.extend(judge::finished(&stage.sim, &before, &stage.setup(pki).0).await);
    }
    wrong.extend(judge::harm(scenario, &stage.sim));
    match std::fs::remove_dir_all(&state) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    Ok(Verdict {
        seed: scenario.seed,
        scenario: scenario.to_string(),
        faults: scenario.faults.iter().map(|fault| fault.kind).collect(),
        way,
        processes: history.len(),
        history,
        wrong,
        virtual_time: began.elapsed(),
        report: stage.report.lock().unwrap_or_else(PoisonError::into_inner).take(),
        workloads: stage.sim.workload_log(),
    })
}

impl Stage<'_> {
    fn plan_faults(&self) {
        let nodes = self.sim.node_names();
        let planes = self.scenario.config.control_planes;
        let (calls, duration) = (self.scenario.calls(), self.scenario.duration());
        let so_far = self.sim.calls();
        for fault in &self.scenario.faults {
            let share = u64::from(fault.at);
            let call = so_far + 1 + calls * share / 1000;
            let at = duration * u32::from(fault.at) / 1000;
            let any = nodes[fault.node % nodes.len()].clone();
            let plane = nodes[fault.node % planes].clone();
            let trouble = |trouble| self.sim.trouble(call, trouble);
            let disturb = |disturbance| self.sim.disturb(at, disturbance, fault.lasts);
            match fault.kind {
                FaultKind::CallFails => trouble(Trouble::FailsBefore),
                FaultKind::AnswerLost => trouble(Trouble::AnswerLost),
                FaultKind::KilledBefore => trouble(Trouble::CutOffBefore),
                FaultKind::KilledAfter => trouble(Trouble::CutOffAfter),
                FaultKind::Reboot => disturb(Disturbance::Reboot(any)),
                FaultKind::EtcdDeadFromStart | FaultKind::EtcdDies => disturb(Disturbance::EtcdDies(plane)),
                FaultKind::Unreachable => disturb(Disturbance::Unreachable(any)),
                FaultKind::CutOff => disturb(Disturbance::CutOff(any)),
                FaultKind::DiskFull => disturb(Disturbance::DiskFull(any)),
                FaultKind::KubeletStaysAway => disturb(Disturbance::KubeletStaysAway(any)),
                FaultKind::ApiServerCrashes => disturb(Disturbance::ApiServerCrashes(plane)),
                FaultKind::ClockOff => disturb(Disturbance::ClockOff(any, fault.clock_ms)),
                FaultKind::BalancerGone => disturb(Disturbance::BalancerGone),
                FaultKind::OperatorStops | FaultKind::SecondOperator => {
                    // Each step has two events or a few more; each makes one or two calls.
                    let mut at_event = self.at_event.lock().unwrap_or_else(PoisonError::into_inner);
                    at_event.insert(1 + calls * share / 3000, fault.kind);
                }
            }
        }
    }

    fn old_pki(&self) -> PkiSet {
        let mut old = self.sim.old_pki();
        if self.scenario.without_ca_key {
            old.authority_keys.remove(&TrustDomain::Cluster);
        }
        old
    }

    /// A process of kubecert, and what keeps it from being asked to stop for as long as it is held.
    fn setup(&self, pki: PkiSet) -> (Setup, Arc<watch::Sender<bool>>) {
        let (cancel, cancelled) = watch::channel(false);
        let cancel = Arc::new(cancel);
        let (events, seen, at_event) = (self.events.clone(), self.seen.clone(), self.at_event.clone());
        let (stop, state, wrong) = (Arc::downgrade(&cancel), self.state.clone(), self.wrong.clone());
        let events = move |event: Event| {
            let number = 1 + seen.fetch_add(1, Ordering::Relaxed);
            let due = at_event.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
            match due {
                Some(FaultKind::OperatorStops) => {
                    if let Some(stop) = stop.upgrade() {
                        stop.send_replace(true);
                    }
                }
                Some(FaultKind::SecondOperator)
                    if !matches!(State::open(&state), Err(RunDirError::Locked { .. })) =>
                {
                    let mut wrong = wrong.lock().unwrap_or_else(PoisonError::into_inner);
                    wrong.push("a second operator was not refused".to_owned());
                }
                _ => {}
            }
            events(event);
        };
        let setup = Setup {
            ports: self.sim.ports(),
            cluster: self.sim.cluster(),
            old: pki,
            given: None,
            operator: self.operator.clone(),
            state: self.state.clone(),
            only: None,
            program: "campaign".to_owned(),
            decisions: kubecert_engine::run::Decisions::default(),
            events: Arc::new(events),
            cancelled,
        };
        (setup, cancel)
    }

    /// As the operator would: again and again, until the run is at its end.
    async fn to_the_end(&self) -> (Way, Vec<String>) {
        let mut history = Vec::new();
        let mut pauses = self.scenario.pauses.iter().cycle();
        let mut tries = 0;
        let mut mended = false;
        let mut goes_back = false;
        let mut may_go_back = self.scenario.gives_up;
        loop {
            let attempt = self.attempt(goes_back).await;
            may_go_back &= !matches!(attempt, Attempt::PastReturn);
            goes_back = may_go_back;
            let (ended, counts) = match attempt {
                Attempt::Finished => {
                    history.push("finished".to_owned());
                    let way = if history.len() == 1 { Way::Finished } else { Way::Resumed };
                    return (way, history);
                }
                Attempt::Undone => {
                    history.push("undone".to_owned());
                    return (Way::Undone, history);
                }
                Attempt::Hung => {
                    history.push(format!("it hangs: no end after {} h", HANGS.as_secs() / 3600));
                    return (Way::Stuck, history);
                }
                Attempt::Killed => ("killed".to_owned(), false),
                Attempt::PastReturn => ("there is no way back any more".to_owned(), false),
                Attempt::Stopped(why) => (format!("stopped: {why}"), true),
                Attempt::Failed(why) => (format!("failed: {why}"), true),
            };
            history.push(ended);
            tries += usize::from(counts);
            if mended && tries >= TRIES_WHEN_MENDED {
                return (Way::Stuck, history);
            }
            if !mended && tries >= TRIES {
                self.sim.mend();
                self.sim.pass(CALM).await;
                (mended, tries) = (true, 0);
            } else {
                self.sim.pass(pauses.next().copied().unwrap_or_default()).await;
            }
        }
    }

    /// One process of kubecert.
    async fn attempt(&self, goes_back: bool) -> Attempt {
        let work = async { if goes_back { self.go_back().await } else { self.go_on().await } };
        let ended = tokio::select! {
            biased;
            ended = tokio::time::timeout(HANGS, work) => ended,
            () = self.sim.cut_off() => return Attempt::Killed,
        };
        match ended {
            Err(_) => Attempt::Hung,
            Ok(Err(RunError::PastReturn { .. })) => Attempt::PastReturn,
            // Either nothing was touched yet, or everything is finished.
            Ok(Err(RunError::NothingToUndo { .. })) if self.operator.pki().is_none() => Attempt::Undone,
            Ok(Err(RunError::NothingToUndo { .. }) | Ok(None)) => Attempt::Finished,
            Ok(Err(error)) => Attempt::Failed(chain(&error)),
            Ok(Ok(Some(ended))) => {
                let attempt = match &ended.report.outcome {
                    RunOutcome::Finished | RunOutcome::NothingToDo => Attempt::Finished,
                    RunOutcome::Undone => Attempt::Undone,
                    RunOutcome::Stopped { reason } => Attempt::Stopped(reason.clone()),
                };
                *self.report.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended.report);
                attempt
            }
        }
    }

    /// Goes back, with the description as it is by now.
    async fn go_back(&self) -> Result<Option<Ended>, RunError> {
        let (setup, _running) = self.setup(self.operator.pki().unwrap_or_else(|| self.old_pki()));
        undo(setup, |_| true).await
    }

    /// Goes on with an interrupted run if there is one, else begins one, with the description as it is by now.
    async fn go_on(&self) -> Result<Option<Ended>, RunError> {
        let written = self.operator.pki();
        let (setup, _running) = self.setup(written.clone().unwrap_or_else(|| self.old_pki()));
        if let Some(ended) = resume(setup).await? {
            return Ok(Some(ended));
        }
        let (setup, _running) = self.setup(written.clone().unwrap_or_else(|| self.old_pki()));
        if written.is_some() {
            return Ok(None);
        }
        rotate(setup, &self.scenario.intent, |_, _| true).await.map(Some)
    }
}
