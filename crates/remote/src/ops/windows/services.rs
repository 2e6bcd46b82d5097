//! Restarting services on Windows.

use std::time::Duration;

use kubecert_core::inventory::ProcessFacts;
use kubecert_core::model::{Component, NodeName};
use kubecert_engine::ports::{PortResult, StartedBy};
use zeroize::Zeroizing;

use super::super::process::process_facts;
use super::super::{MARGIN, checked_word, not_understood, text};
use super::{checked_path, list, parts};
use crate::exec::{Exec, Job};

/// How long a process may take to end once its service was stopped. nssm, which runs AKS engine's services, asks a process
/// to end in three ways, of which each may take 1.5 s by default, and then ends it.
const GOODBYE: Duration = Duration::from_secs(30);

/// How long a kubelet may take to appear. kubeletstart.ps1 makes the pod network anew before, with fixed pauses of ten and
/// twenty seconds.
const APPEARS: Duration = Duration::from_secs(90);

/// How long a kubelet may take to appear and to have got a client certificate: requests are approved and signed within a
/// second, and a kubelet that is refused asks again after at most two minutes.
const ASKS: Duration = Duration::from_secs(180);

/// After how much more than all else may take the node starts the service by itself.
const SAFETY: Duration = Duration::from_secs(60);

/// Restarts a service and waits until its process runs.
pub(crate) async fn restart_unit(
    exec: &dyn Exec,
    node: &NodeName,
    unit: &str,
    component: Component,
) -> PortResult<ProcessFacts> {
    let what = format!("cannot restart {unit} on {node}");
    let limit = GOODBYE * 2 + APPEARS + MARGIN;
    let input = list(head(unit, component, APPEARS, limit + SAFETY, &what)?, []);
    let job = Job::windows("restart-unit", parts("restart-unit"), limit, &what).input(Zeroizing::new(input));
    process_facts(&exec.run(job).await?, component, &what)
}

/// Stops a service, removes what its process makes anew, and starts it; resets the node where that is not enough.
pub(crate) async fn start_afresh(
    exec: &dyn Exec,
    node: &NodeName,
    unit: &str,
    component: Component,
    forget: &[String],
) -> PortResult<(ProcessFacts, StartedBy)> {
    let what = format!("cannot start {unit} on {node} afresh");
    for path in forget {
        checked_path(path, &what)?;
    }
    // Once by the service, then the reset itself, then once more.
    let limit = GOODBYE * 2 + ASKS * 3 + MARGIN;
    let head = head(unit, component, ASKS, limit + SAFETY, &what)?;
    let input = list(head, forget.iter().map(String::as_str));
    let job = Job::windows("start-afresh", parts("start-afresh"), limit, &what).input(Zeroizing::new(input));
    let output = exec.run(job).await?;
    let by = match text(&output, &what)?.lines().next() {
        Some("way restarted") => StartedBy::Restart,
        Some("way node-reset") => StartedBy::NodeReset,
        line => return Err(not_understood(&what, line.unwrap_or_default())),
    };
    Ok((process_facts(&output, component, &what)?, by))
}

/// The lines with which both scripts begin.
fn head(
    unit: &str,
    component: Component,
    patience: Duration,
    expires: Duration,
    what: &str,
) -> PortResult<Vec<String>> {
    Ok(vec![
        checked_word(unit, what)?.to_owned(),
        component.process_name().to_owned(),
        GOODBYE.as_secs().to_string(),
        patience.as_secs().to_string(),
        expires.as_secs().to_string(),
    ])
}
