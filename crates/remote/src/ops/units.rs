//! Pausing and resuming systemd units.

use std::time::Duration;

use kubecert_core::model::NodeName;
use kubecert_engine::ports::PortResult;
use sha2::{Digest, Sha256};

use super::{QUICK, checked_word};
use crate::exec::{Exec, Job};

/// The functions that set timers on the node, for `divert.sh` too.
pub(super) const TIMERS: &str = include_str!("../scripts/timers.sh");

/// Stops units; a timer on the node starts them again after `expires`.
pub(crate) async fn pause_units(
    exec: &dyn Exec,
    node: &NodeName,
    units: &[String],
    expires: Duration,
) -> PortResult<()> {
    if units.is_empty() {
        return Ok(());
    }
    let what = format!("cannot pause {} on {node}", units.join(", "));
    let job = Job::new("pause", &[TIMERS, include_str!("../scripts/pause_units.sh")], QUICK, &what)
        .arg(set_name(units))
        .arg(seconds(expires));
    exec.run(with_units(job, units, &what)?).await.map(drop)
}

/// Starts units again and takes the timer away.
pub(crate) async fn resume_units(exec: &dyn Exec, node: &NodeName, units: &[String]) -> PortResult<()> {
    if units.is_empty() {
        return Ok(());
    }
    let what = format!("cannot resume {} on {node}", units.join(", "));
    let job = Job::new("resume", &[TIMERS, include_str!("../scripts/resume_units.sh")], QUICK, &what)
        .arg(set_name(units));
    exec.run(with_units(job, units, &what)?).await.map(drop)
}

/// Whole seconds, at least one: systemd takes zero for "at once".
pub(super) fn seconds(duration: Duration) -> u64 {
    duration.as_millis().div_ceil(1000).clamp(1, 86_400 * 7) as u64
}

fn with_units(mut job: Job, units: &[String], what: &str) -> PortResult<Job> {
    for unit in units {
        job = job.arg(checked_word(unit, what)?);
    }
    Ok(job)
}

/// The same name for the same units in whatever order, so that resuming finds the timer that pausing has set, and two
/// different pauses do not take each other's timer away.
fn set_name(units: &[String]) -> String {
    let mut sorted: Vec<&str> = units.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    hex::encode(&Sha256::digest(sorted.join(" "))[..6])
}
