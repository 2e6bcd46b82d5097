//! Ending processes and seeing the next ones run.

use std::time::Duration;

use jiff::Timestamp;
use kubecert_core::inventory::ProcessFacts;
use kubecert_core::model::{Component, NodeName, RunId};
use kubecert_engine::ports::{Fault, FileBytes, FileContent, PortError, PortResult};
use zeroize::Zeroizing;

use super::{MARGIN, backup_directory, checked_word, not_understood, text, write};
use crate::exec::{Exec, Job, Output};

/// The functions that find processes, for `look.sh` too.
pub(super) const PROCESSES: &str = include_str!("../scripts/processes.sh");

/// How long the kubelet, or systemd, may take to start the next process.
///
/// The kubelet starts a container within a second or two, but a container that has just died twice is held back for ten
/// and then for twenty and forty seconds; kubelets that miss the file's change see it at the next check after twenty.
pub(super) const NEXT_PROCESS: Duration = Duration::from_secs(150);

/// How long a process may take to end by itself after SIGTERM before it is killed.
///
/// The control plane's components end within a second unless a shutdown delay is configured; waiting longer only makes
/// the gap longer, since nobody sends them new connections any more.
const GOODBYE: Duration = Duration::from_secs(15);

/// The same for an API server: it does not end by itself while clients keep watches open, up to a minute, and whoever
/// sends a request meanwhile has been diverted before.
const GOODBYE_WITH_WATCHES: Duration = Duration::from_secs(1);

/// How long `systemctl restart` may take. etcd reports ready once it has a leader, which on a loaded node takes several
/// elections; systemd's own default for a start is 90 s.
pub(super) const UNIT_RESTART: Duration = Duration::from_secs(120);

/// How long a unit's process may take to be seen once `systemctl restart` has returned. What a unit does before it is done
/// by then; one whose process is not there has failed, and its last words are worth more than more patience.
const UNIT_PROCESS: Duration = Duration::from_secs(30);

/// A static pod to be replaced.
pub(crate) struct Restart<'a> {
    /// The run whose backup holds the original.
    pub(crate) run: &'a RunId,
    /// Whose manifest.
    pub(crate) component: Component,
    /// The manifest.
    pub(crate) manifest: FileBytes,
    /// What requests in flight are given.
    pub(crate) grace: Duration,
}

/// Puts a static pod's manifest in place, ends the old process, waits for the new one.
pub(crate) async fn replace_static_pod(
    exec: &dyn Exec,
    node: &NodeName,
    restart: Restart<'_>,
) -> PortResult<ProcessFacts> {
    let Restart { run, component, manifest, grace } = restart;
    let what = format!("cannot replace {} on {node}", manifest.path);
    if matches!(manifest.bytes, FileContent::Link(_)) {
        return Err(PortError::new(Fault::Unexpected, what, "a manifest cannot be a symbolic link"));
    }
    let mut input = Zeroizing::new(Vec::new());
    write::append(&mut input, &manifest, &what)?;
    let parts = [super::units::TIMERS, write::FILES, PROCESSES, include_str!("../scripts/static_pod.sh")];
    let job = Job::new("static-pod", &parts, grace + NEXT_PROCESS + MARGIN, &what)
        .arg(backup_directory(run, &what)?)
        .arg(component.process_name())
        .arg(hundredths(grace))
        .arg(hundredths(NEXT_PROCESS))
        .input(input);
    process_facts(&exec.run(job).await?, component, &what)
}

/// Ends a process that something else starts again, and waits until another one runs.
pub(crate) async fn end_process(
    exec: &dyn Exec,
    node: &NodeName,
    component: Component,
) -> PortResult<ProcessFacts> {
    let what = format!("cannot restart {component} on {node}");
    let parts = [PROCESSES, include_str!("../scripts/end_process.sh")];
    let goodbye = if component == Component::ApiServer { GOODBYE_WITH_WATCHES } else { GOODBYE };
    let job = Job::new("end-process", &parts, goodbye + NEXT_PROCESS + MARGIN, &what)
        .arg(component.process_name())
        .arg(hundredths(goodbye))
        .arg(hundredths(NEXT_PROCESS));
    process_facts(&exec.run(job).await?, component, &what)
}

/// Restarts a unit and waits until its process runs.
pub(crate) async fn restart_unit(
    exec: &dyn Exec,
    node: &NodeName,
    unit: &str,
    component: Component,
) -> PortResult<ProcessFacts> {
    let what = format!("cannot restart {unit} on {node}");
    let parts = [PROCESSES, include_str!("../scripts/restart_unit.sh")];
    let job = Job::new("restart-unit", &parts, UNIT_RESTART + UNIT_PROCESS + MARGIN, &what)
        .arg(checked_word(unit, &what)?)
        .arg(component.process_name())
        .arg(UNIT_RESTART.as_secs())
        .arg(hundredths(UNIT_PROCESS));
    process_facts(&exec.run(job).await?, component, &what)
}

/// The kernel's unit for the start of a process.
pub(super) fn hundredths(duration: Duration) -> u128 {
    duration.as_millis().div_ceil(10)
}

/// A start in hundredths of a second since the epoch.
pub(super) fn start(hundredths: &str) -> Option<Timestamp> {
    Timestamp::from_millisecond(hundredths.parse::<i64>().ok()?.checked_mul(10)?).ok()
}

/// Reads `process PID START`.
pub(super) fn process_facts(output: &Output, component: Component, what: &str) -> PortResult<ProcessFacts> {
    let answer = text(output, what)?;
    let parsed = answer.lines().last().and_then(|line| {
        let (pid, started) = line.strip_prefix("process ")?.split_once(' ')?;
        Some(ProcessFacts { component, pid: pid.parse().ok()?, started: start(started)? })
    });
    parsed.ok_or_else(|| not_understood(what, answer))
}
