//! Seeded runs over random clusters with random faults at random points.
//!
//! Everything about a run follows from its seed: the cluster, what goes wrong and when, and how whoever operates it goes
//! on after an interruption. So a failing seed reproduces from its number alone; key bytes differ, what happens does not.
//!
//! * `scenario`: what a seed stands for; `play`: the run, with all its interruptions; `judge`: whether it was as it must
//!   be; `tally`: many of them in a table.

mod judge;
mod play;
mod scenario;
mod tally;

pub use kubecert_core::event::Event as RunEvent;
pub use play::{Verdict, Way, play};
pub use scenario::{Fault, FaultKind, Scenario};
pub use tally::Tally;

use std::path::Path;
use std::sync::Arc;

/// Plays one seed. `scratch` is where the run directory may be made; `events` is told what happens.
///
/// # Errors
///
/// Fails only where the run cannot be played at all; what goes wrong in it is part of the verdict.
pub fn run_seed(
    seed: u64,
    scratch: &Path,
    events: Arc<dyn Fn(RunEvent) + Send + Sync>,
) -> std::io::Result<Verdict> {
    run(&Scenario::of(seed), scratch, events)
}

/// Plays a scenario, on a runtime and a clock of its own: the clock runs as fast as the machine can.
///
/// # Errors
///
/// As [`run_seed`].
pub fn run(
    scenario: &Scenario,
    scratch: &Path,
    events: Arc<dyn Fn(RunEvent) + Send + Sync>,
) -> std::io::Result<Verdict> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(play(scenario, scratch, events))
}
