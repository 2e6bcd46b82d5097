//! The journal's records.
//!
//! A record is durable before the act that it announces. `Started` without `Done` therefore means "look", never "redo"
//! and never "skip".

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{ClusterName, NodeName, RunId};
use crate::plan::{PhaseName, StepId};

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When it was written, by the operator's clock.
    pub at: Timestamp,
    /// What happened.
    pub what: What,
}

/// What a record tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The first record: binds the journal to a run, a cluster and a plan.
    Bound {
        /// Version of the journal's format.
        schema: u32,
        /// The run.
        run: RunId,
        /// The cluster.
        cluster: ClusterName,
        /// SHA-256 of `plan.json`, lower-case hexadecimal.
        plan: String,
        /// The program that wrote it, for example `kubecert 0.1.0`.
        program: String,
    },
    /// All keys and certificates of the plan are in the vault; the digest covers them.
    Issued {
        /// SHA-256 over all new certificates, lower-case hexadecimal.
        certificates: String,
    },
    /// The run takes over one whose records were lost; what objects were before that one is not known.
    Adopted,
    /// The records were lost and made anew from what the nodes show; the run can only be taken back.
    Reconstructed,
    /// A process took the run up again.
    Resumed,
    /// A step is about to be tried.
    Started {
        /// Which one.
        step: StepId,
        /// Which try, from 1.
        attempt: u32,
    },
    /// A step was done, with what shows it.
    Done {
        /// Which one.
        step: StepId,
        /// What was observed.
        evidence: String,
    },
    /// A try failed.
    Failed {
        /// Which step.
        step: StepId,
        /// Why.
        error: String,
    },
    /// A phase's barrier was met by observation.
    BarrierMet {
        /// The phase that ended.
        phase: PhaseName,
        /// What was observed.
        evidence: Vec<String>,
    },
    /// The run waits before that point, as the operator wishes.
    Held,
    /// The operator lets the old CA go although this still needs it, or may.
    DropAnyway {
        /// Its name, as the run has shown it.
        name: String,
    },
    /// An agent that cannot be reached is left as it is; `resume --node` brings it to the new PKI later.
    LeftBehind {
        /// Which one.
        node: NodeName,
    },
    /// Nobody needs the old CA any more, but for what the operator has named.
    Proven {
        /// What shows it.
        evidence: Vec<String>,
    },
    /// The point of no return: the old CA is about to leave trust stores.
    TrustDropped,
    /// The operator wants everything back as it was; from here the run only goes back, by a journal of its own.
    Undoing,
    /// The run ended well.
    Finished,
    /// The run stopped at a safe point.
    Stopped {
        /// Why.
        reason: String,
    },
}

/// The version of the journal's format that this program writes and reads.
pub const JOURNAL_SCHEMA: u32 = 1;
