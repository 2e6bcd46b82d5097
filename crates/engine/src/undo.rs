//! The way back of an interrupted run, by a plan and a journal of its own in the same run directory.

use std::collections::BTreeMap;

use kubecert_core::check;
use kubecert_core::exec::Execution;
use kubecert_core::intent::Why;
use kubecert_core::inventory::Inventory;
use kubecert_core::model::ClusterName;
use kubecert_core::plan::Plan;
use kubecert_core::planner;
use kubecert_core::record::{JOURNAL_SCHEMA, Record, What};
use sha2::{Digest, Sha256};

use crate::adopt;
use crate::journal::Journal;
use crate::reconstruct;
use crate::resumable::{self, Misfit, Remains};
use crate::run::{self, Ended, Errand, RunError, Setup, Way};
use crate::rundir::{self, RunDir, State};

/// The plan of the way back, in the run directory.
const PLAN: &str = "undo-plan.json";
/// Its journal.
const JOURNAL: &str = "undo.jsonl";

/// Puts everything back that the interrupted run of this cluster has changed. `agreed` is shown the plan before anything is
/// touched; if it says no, nothing is. An undo that was interrupted itself goes on.
///
/// # Errors
///
/// Refuses where there is no such run, or it has begun to drop the old CA; fails where the run's records do not fit
/// together or cannot be kept.
pub async fn undo(setup: Setup, agreed: impl FnOnce(&Plan) -> bool) -> Result<Option<Ended>, RunError> {
    let state = State::open(&setup.state)?;
    let run = match run::interrupted(&setup, &state)? {
        Some(run) => run,
        // Its records may be lost, or on another machine.
        None => match reconstruct::lost_run(&setup, &state).await? {
            Some(run) => run,
            None => return Err(RunError::NothingToUndo { why: why_nothing(&state)? }),
        },
    };
    let Remains { plan, vault, records } = resumable::read(&run, &setup.cluster.name)?;
    if records.iter().any(|record| record.what == What::Adopted) {
        let why = "it took over a run whose records were lost, so that nobody knows what objects were before"
            .to_owned();
        return Err(RunError::NotResumable { run: run.run().clone(), why: Misfit::NoWayBack { why } });
    }
    if records.iter().any(|record| record.what == What::TrustDropped) {
        return Err(RunError::PastReturn { run: run.run().clone() });
    }
    if plan.why == Why::Recover {
        return Err(RunError::Recovering { run: run.run().clone() });
    }
    let started = records.first().map_or_else(|| setup.ports.clock.now(), |record| record.at);
    let (back, mut undo_journal, before) = match resumed(&run, &setup.cluster.name)? {
        Some((back, journal, records)) => (back, journal, records),
        None => {
            let back = make(&run, &plan, &records)?;
            if !agreed(&back) {
                return Ok(None);
            }
            if records.iter().any(|record| record.what == What::Reconstructed) {
                adopt::end_diversions(&setup, &run.read_json("before.json")?).await?;
            }
            // From here nothing goes forward any more, whatever becomes of this process.
            let (mut journal, _) = Journal::open(&run.journal())?;
            journal.append(&[Record { at: setup.ports.clock.now(), what: What::Undoing }])?;
            run.write_json(PLAN, &back)?;
            let bound = What::Bound {
                schema: JOURNAL_SCHEMA,
                run: run.run().clone(),
                cluster: back.cluster.clone(),
                plan: digest(&run)?,
                program: setup.program.clone(),
            };
            let first = [Record { at: setup.ports.clock.now(), what: bound }];
            (back, Journal::begin(&run.path().join(JOURNAL), &first)?, Vec::new())
        }
    };
    let execution = if before.is_empty() {
        Execution::start(back)
    } else {
        undo_journal.append(&[Record { at: setup.ports.clock.now(), what: What::Resumed }])?;
        Execution::resume(back, before.iter().map(|record| &record.what))?
    };
    let begun: BTreeMap<_, _> = run::first_begun(&before);
    let way = Way { run, vault, execution, journal: undo_journal, started, begun, errand: Errand::Undo };
    run::carry_out(setup, way).await.map(Some)
}

/// Plans the way back, and has it tried out by code that shares none with the planner.
fn make(run: &RunDir, plan: &Plan, records: &[Record]) -> Result<Plan, RunError> {
    let not = |why: String| RunError::NotResumable { run: run.run().clone(), why: Misfit::NoWayBack { why } };
    let before: Inventory = run.read_json("before.json")?;
    let progress = Execution::progress(records.iter().map(|record| &record.what));
    let back = planner::undo(plan, &before, &progress).map_err(|error| not(error.to_string()))?;
    let violations = check::way_back(plan, &before, &progress, &back);
    if violations.is_empty() { Ok(back) } else { Err(RunError::Unsound { violations }) }
}

/// An undo that was begun and not finished: its plan, its journal, its records.
fn resumed(run: &RunDir, cluster: &ClusterName) -> Result<Option<(Plan, Journal, Vec<Record>)>, RunError> {
    let path = run.path().join(JOURNAL);
    if !path.exists() {
        return Ok(None);
    }
    let (journal, records) = Journal::open(&path)?;
    let misfit = |why| RunError::NotResumable { run: run.run().clone(), why };
    let agreed = resumable::check_binding(run, &path, cluster, &records).map_err(misfit)?;
    let plan = run.path().join(PLAN);
    if *agreed != digest(run)? {
        return Err(misfit(Misfit::PlanChanged { plan }));
    }
    Ok(Some((rundir::read_plan(&plan)?, journal, records)))
}

fn digest(run: &RunDir) -> Result<String, RunError> {
    let bytes = run.read(PLAN)?;
    Ok(hex::encode(Sha256::digest(bytes)))
}

/// Why there is nothing to undo: what became of the latest run.
fn why_nothing(state: &State) -> Result<String, RunError> {
    let Some(latest) = state.latest()? else {
        return Ok("no run of this cluster is recorded here".to_owned());
    };
    let run = latest.run();
    Ok(if latest.path().join(JOURNAL).exists() {
        format!("run {run} was undone already, and nothing was changed since")
    } else {
        format!(
            "run {run} is finished, and the old CA is trusted by nobody any more; `kubecert rotate` replaces what it made"
        )
    })
}
