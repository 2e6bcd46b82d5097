//! The state of a run, as far as events tell it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kubecert_core::event::{Event, Happening, RunOutcome};
use kubecert_core::plan::{PhaseName, StepId};

use crate::human::time;

/// The state of a run.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// When the first event happened.
    pub(super) started: Option<Timestamp>,
    /// When the latest event happened.
    pub(super) latest: Option<Timestamp>,
    /// The cluster's name.
    pub(super) cluster: Option<String>,
    /// What is looked at or made before the first phase.
    pub(super) preamble: Option<String>,
    /// The phases, in order.
    pub(super) phases: Vec<PhaseState>,
    /// Steps in hand.
    pub(super) active: BTreeMap<StepId, ActiveStep>,
    /// Requests of the availability probe that failed.
    pub(super) probe_failed: usize,
    /// The latest of them: when, as which client, and why.
    pub(super) probe_error: Option<(Timestamp, String, String)>,
    /// How the run ended.
    pub(super) outcome: Option<RunOutcome>,
}

/// The state of a phase.
#[derive(Debug)]
pub(super) struct PhaseState {
    /// Which one.
    pub(super) name: PhaseName,
    /// Steps in it.
    pub(super) total: usize,
    /// Steps of it that are done.
    pub(super) done: usize,
    /// When it began.
    pub(super) started: Option<Timestamp>,
    /// How long it took, once it is over.
    pub(super) ms: Option<u64>,
    /// What its barrier lacks, while the barrier is being looked at.
    pub(super) barrier: Option<Vec<String>>,
}

/// A step in hand.
#[derive(Clone, Debug)]
pub(super) struct ActiveStep {
    /// Its phase.
    pub(super) phase: PhaseName,
    /// Where it acts.
    pub(super) target: String,
    /// What it does.
    pub(super) title: String,
    /// What it waits for.
    pub(super) waits: Option<String>,
    /// When this try began.
    pub(super) since: Timestamp,
    /// Which try.
    pub(super) attempt: u32,
}

impl Progress {
    /// Takes an event in. Returns the step that it ended, if it ended one.
    pub(super) fn take(&mut self, event: &Event) -> Option<ActiveStep> {
        self.started.get_or_insert(event.at);
        self.latest = Some(event.at);
        match &event.what {
            Happening::Observing { what } => self.preamble = Some(format!("looking at {what}")),
            Happening::Issuing { done, total } => {
                self.preamble = Some(format!("making keys and certificates, {done} of {total}"));
            }
            Happening::RunStarted { cluster, phases, done_before, .. } => {
                self.begin(cluster.as_str(), phases, *done_before);
            }
            Happening::PhaseStarted { phase } => {
                self.preamble = None;
                if let Some(state) = self.phase(*phase) {
                    state.started = Some(event.at);
                }
            }
            Happening::StepStarted { step, phase, target, title, attempt } => {
                let active = ActiveStep {
                    phase: *phase,
                    target: target.to_string(),
                    title: title.clone(),
                    waits: None,
                    since: event.at,
                    attempt: *attempt,
                };
                self.active.insert(*step, active);
            }
            Happening::StepWaiting { step, what } => {
                if let Some(active) = self.active.get_mut(step) {
                    active.waits = Some(what.clone());
                }
            }
            Happening::StepDone { step, .. } => {
                let ended = self.active.remove(step)?;
                if let Some(state) = self.phase(ended.phase) {
                    state.done += 1;
                }
                return Some(ended);
            }
            Happening::StepFailed { step, .. } => return self.active.remove(step),
            Happening::BarrierWaiting { phase, missing } => {
                if let Some(state) = self.phase(*phase) {
                    state.barrier = Some(missing.clone());
                }
            }
            Happening::PhaseDone { phase, ms } => {
                if let Some(state) = self.phase(*phase) {
                    state.ms = Some(*ms);
                    state.barrier = None;
                }
            }
            Happening::ProbeFailed { client, error } => {
                self.probe_failed += 1;
                self.probe_error = Some((event.at, client.clone(), error.clone()));
            }
            Happening::Notice { .. } => {}
            Happening::RunFinished { outcome } => {
                self.preamble = None;
                self.outcome = Some(outcome.clone());
            }
        }
        None
    }

    /// Seconds since the first event.
    pub(super) fn elapsed(&self, now: Timestamp) -> f64 {
        self.started.map_or(0.0, |started| time::between(started, now))
    }

    fn begin(&mut self, cluster: &str, phases: &[(PhaseName, usize)], done_before: usize) {
        self.cluster = Some(cluster.to_owned());
        self.preamble = None;
        // Phases run one after another, so steps that were done before fill them from the front.
        let mut before = done_before;
        self.phases = phases
            .iter()
            .map(|&(name, total)| {
                let done = before.min(total);
                before -= done;
                PhaseState { name, total, done, started: None, ms: None, barrier: None }
            })
            .collect();
    }

    fn phase(&mut self, name: PhaseName) -> Option<&mut PhaseState> {
        self.phases.iter_mut().find(|phase| phase.name == name)
    }
}
