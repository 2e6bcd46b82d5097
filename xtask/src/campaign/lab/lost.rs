//! The operator's machine is lost in the middle of a rotation, and the run's records with it.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::faults::Ended;
use super::kill;
use super::stage::Stage;

/// The new CA's key, where a rotation stages it.
const STAGED_KEY: &str = "/etc/kubernetes/kubecert/transition/ca.key";

/// Loses the records in the middle of *switch*, and again past the point of no return; the same command finishes each time
/// what the nodes hold.
pub(super) fn records(stage: &mut Stage) -> Result<Ended> {
    for (phase, steps) in [("switch", 16), ("drop", 6)] {
        stage.healthy()?;
        lose(stage, phase, steps)?;
        let run = stage.rotate()?;
        let end = stage.end(run)?;
        ensure!(end.code == Some(0), "it did not finish what was begun in phase {phase}");
    }
    Ok(Ended::FinishedLater)
}

/// Loses the new CA's key, too: nothing can finish that run, and it is taken back.
pub(super) fn records_and_key(stage: &mut Stage) -> Result<Ended> {
    lose(stage, "introduce", 14)?;
    for master in ["m0", "m1", "m2"] {
        stage.on(master, &format!("rm {STAGED_KEY}"))?;
    }
    let run = stage.rotate()?;
    let end = stage.end(run)?;
    ensure!(end.code == Some(1), "it was not refused");
    ensure!(end.said.contains("kubecert undo"), "it does not say what to do: {}", end.said);
    stage.undo()?;
    Ok(Ended::Undone)
}

/// Kills a rotation when so many steps of a phase have begun, and removes its directory.
fn lose(stage: &mut Stage, phase: &str, steps: usize) -> Result<()> {
    kill::at_step(stage, phase, steps)?;
    let journal = stage.journal()?.context("there is no journal")?;
    let directory = journal.parent().context("the journal lies nowhere")?;
    eprintln!("    killed at step {steps} of phase {phase}; {} is removed", directory.display());
    fs::remove_dir_all(directory).with_context(|| format!("cannot remove {}", directory.display()))
}
