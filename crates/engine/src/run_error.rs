//! Why there is no run, or why one ended without a safe stop; and the way on.

use kubecert_core::check;
use kubecert_core::exec::ReplayError;
use kubecert_core::model::{NodeName, RunId};
use kubecert_core::planner::Refusal;

use crate::external::Complaint;
use crate::issue::MakeError;
use crate::journal::JournalError;
use crate::ports::PortError;
use crate::resumable::Misfit;
use crate::rundir::RunDirError;
use crate::vault::VaultError;

/// Why there is no run, or why it ended without a safe stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No plan can be made.
    #[error("the cluster cannot be rotated as it is")]
    Refused(#[source] Refusal),
    /// The plan breaks an invariant: a fault of the planner, which the check has caught.
    #[error("the plan that was made is not safe, so nothing was touched: {}", violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Unsound {
        /// What it breaks.
        violations: Vec<check::Violation>,
    },
    /// The new PKI cannot be made.
    #[error(transparent)]
    Make(#[from] MakeError),
    /// The vault does not hold what is needed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The run goes on no further, since its journal cannot be written; it can be resumed.
    #[error("the run has stopped, since it cannot keep its records any more")]
    Unrecorded {
        /// Why.
        #[source]
        source: JournalError,
    },
    /// The run directory cannot be used.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// The journal does not fit the plan.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// A port failed outside of any step.
    #[error(transparent)]
    Port(#[from] PortError),
    /// An interrupted run is for something else than what is asked for now.
    #[error(
        "run {run} has not ended and is for something else ({was}; asked for: {asked}); nothing was touched"
    )]
    OtherPurpose {
        /// Which run.
        run: RunId,
        /// What it is for.
        was: String,
        /// What is asked for now.
        asked: String,
    },
    /// The run that the operator names is not one that can be taken up.
    #[error("run {run} is not an unfinished run of this cluster; nothing was touched")]
    NotThatRun {
        /// Which run.
        run: RunId,
    },
    /// The old CA has left trust stores, so that there is no way back.
    #[error(
        "run {run} cannot be undone: it has begun to drop the old CA, and servers refuse what is of the old PKI; `kubecert resume` finishes it, and a new `kubecert rotate` replaces what it made"
    )]
    PastReturn {
        /// Which run.
        run: RunId,
    },
    /// A run has not ended, and asks for no certificates meanwhile.
    #[error("run {run} has not ended, so no certificates are asked for; nothing was touched")]
    NotEnded {
        /// Which run.
        run: RunId,
    },
    /// There is nothing that somebody else has to sign.
    #[error("the keys of all CAs that sign what is due are at hand, so nobody else has to sign")]
    NobodyElseSigns,
    /// Certificates that were given are not those that were asked for.
    #[error("the certificates that were given cannot be used; nothing was touched")]
    Unfit {
        /// What is wrong with them.
        complaints: Vec<Complaint>,
    },
    /// What was before the run is nothing to go back to.
    #[error(
        "run {run} cannot be undone: it brings back a cluster whose certificates had ended, so that what was before it would not work either; `kubecert resume` finishes it"
    )]
    Recovering {
        /// Which run.
        run: RunId,
    },
    /// There is no run to be undone.
    #[error("there is nothing to undo: {why}")]
    NothingToUndo {
        /// Why.
        why: String,
    },
    /// Control planes run on files of a run that nobody knows anything else of.
    #[error(
        "control planes run on files of a run that was begun, and neither its records nor its backups can be found"
    )]
    HalfRotated,
    /// A node that is to be left behind, or to catch up, is no agent.
    #[error("{node} is no agent of this cluster; its agents are {}", list(agents))]
    CannotLeaveBehind {
        /// Which one.
        node: NodeName,
        /// Those that can.
        agents: Vec<NodeName>,
    },
    /// The run directory is not what it should be.
    #[error("run {run} cannot be resumed: {why}; nothing was touched")]
    NotResumable {
        /// Which run.
        run: RunId,
        /// Why.
        why: Misfit,
    },
}

impl RunError {
    /// What the operator can do, where an error of the run's own records says so.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Journal(error) => Some(error.remedy()),
            Self::RunDir(error) => Some(error.remedy()),
            Self::NotResumable { why, .. } => Some(why.remedy()),
            Self::OtherPurpose { .. } => Some(
                "`kubecert resume` finishes that run, `kubecert undo` takes it back; then ask again.".to_owned(),
            ),
            Self::NotThatRun { .. } => Some(
                "`kubecert report` shows how the latest run ended; without --run-dir the latest unfinished one is taken."
                    .to_owned(),
            ),
            Self::NotEnded { .. } => {
                Some("`kubecert resume` finishes that run, `kubecert undo` takes it back; then ask again.".to_owned())
            }
            Self::NobodyElseSigns => {
                Some("Leave --csr-out away: `kubecert rotate --why renew` signs by itself.".to_owned())
            }
            Self::Make(MakeError::NoIssuer { .. }) => Some(
                "Put the key where it belongs, beside the CA's certificate; or, to renew certificates, have requests                  signed by whoever has it: `kubecert rotate --why renew --csr-out DIR`. Nothing was touched."
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

fn list(nodes: &[NodeName]) -> String {
    if nodes.is_empty() {
        return "none".to_owned();
    }
    nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ")
}
