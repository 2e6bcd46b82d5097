//! What front-ends may know of a run while it goes on.
//!
//! Lines, bars and JSON are all folds over the same stream. No event holds a secret: the types here cannot.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{ClusterName, RunId};
use crate::plan::{PhaseName, StepId, Target};

/// An event, with the time at which it happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// By the operator's clock.
    pub at: Timestamp,
    /// What happened.
    pub what: Happening,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Happening {
    /// The cluster is being looked at.
    Observing {
        /// What exactly, as a person reads it.
        what: String,
    },
    /// Keys and certificates are being made.
    Issuing {
        /// How many are done.
        done: usize,
        /// How many there are.
        total: usize,
    },
    /// The plan begins, or goes on.
    RunStarted {
        /// The run.
        run: RunId,
        /// The cluster.
        cluster: ClusterName,
        /// Its phases with the number of their steps.
        phases: Vec<(PhaseName, usize)>,
        /// Steps that an earlier process has already done.
        done_before: usize,
    },
    /// A phase begins.
    PhaseStarted {
        /// Which one.
        phase: PhaseName,
    },
    /// A step begins.
    StepStarted {
        /// Which one.
        step: StepId,
        /// Its phase.
        phase: PhaseName,
        /// Where it acts.
        target: Target,
        /// What it does.
        title: String,
        /// Which try, from 1.
        attempt: u32,
    },
    /// A step waits for something.
    StepWaiting {
        /// Which one.
        step: StepId,
        /// For what.
        what: String,
    },
    /// A step is done.
    StepDone {
        /// Which one.
        step: StepId,
        /// How long it took, in milliseconds.
        ms: u64,
        /// What shows that it is done.
        evidence: String,
    },
    /// A try of a step failed.
    StepFailed {
        /// Which one.
        step: StepId,
        /// Why.
        error: String,
        /// Whether it is tried again.
        again: bool,
    },
    /// A phase's steps are done and its barrier is being looked at.
    BarrierWaiting {
        /// Which phase.
        phase: PhaseName,
        /// What does not hold yet; empty at first.
        missing: Vec<String>,
    },
    /// A phase is over.
    PhaseDone {
        /// Which one.
        phase: PhaseName,
        /// How long it took, in milliseconds.
        ms: u64,
    },
    /// One request of the availability probe, if it failed.
    ProbeFailed {
        /// As which client.
        client: String,
        /// Why.
        error: String,
    },
    /// Something worth telling that changes nothing.
    Notice {
        /// A sentence.
        text: String,
    },
    /// The run is over.
    RunFinished {
        /// How.
        outcome: RunOutcome,
    },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOutcome {
    /// Everything planned was done and verified.
    Finished,
    /// Everything that the run had changed was put back and verified.
    Undone,
    /// There was nothing to do.
    NothingToDo,
    /// It stopped at a safe point; resuming goes on.
    Stopped {
        /// Why.
        reason: String,
    },
}
