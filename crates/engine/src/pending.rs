//! Whether a run of a cluster has not ended, told without a lock: for verbs that only look.

use std::path::Path;

use jiff::Timestamp;
use kubecert_core::model::RunId;
use kubecert_core::record::What;
use serde::Serialize;

use crate::journal;

/// A run that has begun and not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pending {
    /// Which one.
    pub run: RunId,
    /// When its last record was written.
    pub since: Timestamp,
    /// Where it stands.
    pub state: PendingState,
}

/// Where a run that has not ended stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PendingState {
    /// The operator lets it wait before the old CA is dropped.
    Held,
    /// It was interrupted before the old CA was dropped.
    Interrupted,
    /// It was interrupted after it had begun to drop the old CA.
    PastReturn,
    /// It is being undone.
    Undoing,
}

impl std::fmt::Display for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { run, since, state } = self;
        let since = since.strftime("%F %H:%M UTC");
        match state {
            PendingState::Held => write!(
                f,
                "Run {run} is held before the old CA is dropped since {since}: both CAs are trusted. `kubecert resume` goes on, `kubecert undo` goes back."
            ),
            PendingState::Interrupted => write!(
                f,
                "Run {run} was interrupted ({since}). `kubecert resume` goes on, `kubecert undo` goes back."
            ),
            PendingState::PastReturn => write!(
                f,
                "Run {run} was interrupted ({since}) after it had begun to drop the old CA. `kubecert resume` goes on."
            ),
            PendingState::Undoing => {
                write!(f, "Run {run} is being undone ({since}). `kubecert undo` goes on with that.")
            }
        }
    }
}

/// The latest run below a cluster's state directory that has not ended, if its journal can be read.
pub fn pending(state: &Path) -> Option<Pending> {
    let mut runs: Vec<_> = std::fs::read_dir(state).ok()?.flatten().map(|entry| entry.path()).collect();
    runs.sort();
    let run = runs.into_iter().rev().find(|run| run.join("journal.jsonl").exists())?;
    if run.join("finished").exists() {
        return None;
    }
    let records = journal::read(&run.join("journal.jsonl")).ok()?;
    let told = |what: &What| records.iter().any(|record| record.what == *what);
    let stops = records.iter().rev().find(|record| !matches!(record.what, What::Stopped { .. }))?;
    let state = if told(&What::Undoing) {
        PendingState::Undoing
    } else if told(&What::TrustDropped) {
        PendingState::PastReturn
    } else if stops.what == What::Held {
        PendingState::Held
    } else {
        PendingState::Interrupted
    };
    let name = run.file_name()?.to_string_lossy().into_owned();
    Some(Pending { run: RunId::new(name), since: records.last()?.at, state })
}
