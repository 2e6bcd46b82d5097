//! SIGKILL at every record of a rotation's journal.
//!
//! The journal is watched from outside, and the process is killed as soon as a record is there at which none was killed
//! before; then the run is resumed, until it finishes by itself. A record that is there only for as long as it takes the
//! next one to follow can be missed; the summary says how many were.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::faults::Ended;
use super::stage::{Run, Stage};

/// How often the journal is looked at: the sync of a record takes longer.
const PAUSE: Duration = Duration::from_micros(300);
/// How long a process may take until a new record appears.
const PATIENCE: Duration = Duration::from_secs(400);
/// How many times a run may stop by itself at a safe point, since a cluster under constant interruption may be slow.
const STOPS: usize = 5;

/// How many records the journal of a rotation of three masters and two agents has, roughly.
const RECORDS: usize = 330;

/// Kills a rotation at every record, or at some if the campaign is a sample.
pub(super) fn everywhere(stage: &mut Stage) -> Result<Ended> {
    let every = stage.sample.map_or(1, |sample| RECORDS.div_ceil(sample.max(1)));
    let former = stage.journal()?;
    let mut seen = Records::default();
    let (mut lives, mut stops) = (0, 0);
    let began = Instant::now();
    let journal = loop {
        lives += 1;
        let run = if lives == 1 { stage.rotate()? } else { stage.start("resume", &["--yes"])? };
        match live(stage, run, former.as_deref(), &mut seen, every)? {
            None if lives % 20 == 0 => {
                let last = seen.last.as_str();
                eprintln!("    {lives} processes, {:.0} s, now at {last}", began.elapsed().as_secs_f64());
            }
            None => {}
            Some(run) => {
                if stage.safe(run)? {
                    break stage.journal()?.context("there is no journal")?;
                }
                stops += 1;
                ensure!(stops <= STOPS, "it stops again and again");
            }
        }
    };
    let all: BTreeSet<String> = records(&journal).iter().map(key).collect();
    let missed: Vec<&str> = all.difference(&seen.killed).map(String::as_str).collect();
    let said = format!(
        "{} kills, at {} of {} different records, {stops} stops of its own, {:.0} s; never the last record at a kill: {}",
        lives - 1 - stops,
        all.intersection(&seen.killed).count(),
        all.len(),
        began.elapsed().as_secs_f64(),
        if missed.is_empty() { "none".to_owned() } else { missed.join(", ") }
    );
    eprintln!("    {said}");
    stage.note(said);
    Ok(Ended::Finished)
}

/// Kills a rotation in the middle of each phase in which it can still be undone, and undoes it each time.
pub(super) fn and_undo(stage: &mut Stage) -> Result<Ended> {
    /// Into each phase so many steps, in the middle of a visit where there is one.
    const POINTS: [(&str, usize); 4] = [("prepare", 4), ("introduce", 9), ("switch", 8), ("switch", 24)];
    for (phase, steps) in POINTS {
        stage.healthy()?;
        at_step(stage, phase, steps)?;
        eprintln!("    killed at step {steps} of phase {phase}");
        stage.undo()?;
    }
    Ok(Ended::Undone)
}

/// Starts a rotation, and kills it when so many steps of a phase have begun.
pub(super) fn at_step(stage: &mut Stage, phase: &str, steps: usize) -> Result<()> {
    let left = Cell::new(steps);
    let mut run = stage.rotate()?;
    let there = run.until(|told| {
        if told.event == "step-started" && told.phase == phase {
            left.set(left.get() - 1);
        }
        left.get() == 0
    })?;
    ensure!(there, "the run ended before step {steps} of phase {phase}");
    run.kill()
}

/// Which records there were.
#[derive(Default)]
struct Records {
    /// At which a process was to be killed.
    tried: BTreeSet<String>,
    /// Which were the last ones when a process was killed.
    killed: BTreeSet<String>,
    last: String,
}

/// Watches one process and kills it at the first record that is new, or at the `every`th. `None` if it was killed, the
/// process if it has ended by itself.
fn live(
    stage: &Stage,
    mut run: Run,
    former: Option<&Path>,
    seen: &mut Records,
    every: usize,
) -> Result<Option<Run>> {
    let began = Instant::now();
    let mut journal = stage.journal()?.filter(|path| Some(path.as_path()) != former);
    // What earlier processes have left.
    let mut known = journal.as_deref().map_or(0, |journal| records(journal).len());
    let mut length = 0;
    let mut fresh = Vec::new();
    loop {
        if journal.is_none() {
            journal = stage.journal()?.filter(|path| Some(path.as_path()) != former);
        }
        if let Some(path) = &journal {
            let now = fs::metadata(path).map_or(0, |metadata| metadata.len());
            if now > length {
                length = now;
                let records = records(path);
                let added = records.get(known..).unwrap_or_default().iter().map(key);
                fresh.extend(added.filter(|key| !seen.tried.contains(key)));
                known = records.len();
                if fresh.len() >= every {
                    run.kill()?;
                    seen.last = self::records(path).last().map(key).context("the journal is empty")?;
                    seen.killed.insert(seen.last.clone());
                    seen.tried.insert(seen.last.clone());
                    seen.tried.extend(fresh);
                    return Ok(None);
                }
            }
        }
        if run.has_ended()? {
            return Ok(Some(run));
        }
        if began.elapsed() > PATIENCE {
            run.kill()?;
            bail!("no new record appeared in time");
        }
        std::thread::sleep(PAUSE);
    }
}

/// The whole records of a journal.
fn records(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .filter_map(|line| serde_json::from_str(line.get(9..)?).ok())
        .collect()
}

/// What tells a record from others, and is the same when a step is begun again.
fn key(record: &Value) -> String {
    match &record["what"] {
        Value::String(kind) => kind.clone(),
        Value::Object(what) => match what.iter().next() {
            Some((kind, about)) => {
                let about = about.get("step").or_else(|| about.get("phase")).map(Value::to_string);
                format!("{kind} {}", about.unwrap_or_default()).trim().to_owned()
            }
            None => String::new(),
        },
        other => other.to_string(),
    }
}
