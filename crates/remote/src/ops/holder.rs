//! Restarting what holds a credential, once its file is another one.

use std::time::Duration;

use kubecert_core::model::NodeName;
use kubecert_engine::ports::{Holder, PortResult, Restarted};

use super::process::{NEXT_PROCESS, PROCESSES, UNIT_RESTART, hundredths};
use super::{MARGIN, checked_path, checked_word, not_understood, text};
use crate::exec::{Exec, Job};

/// How long a container of a static pod may take to end by itself after SIGTERM. The plugins that are meant finish nothing, and
/// who asks them waits meanwhile.
const GOODBYE: Duration = Duration::from_secs(5);

/// Restarts a holder whose process is older than the file, and waits until another one runs.
pub(crate) async fn restart_holder(
    exec: &dyn Exec,
    node: &NodeName,
    holder: &Holder,
    file: &str,
) -> PortResult<Restarted> {
    let what = format!("cannot restart {holder}, which reads {file}, on {node}");
    let (kind, name) = match holder {
        Holder::Unit(name) => ("unit", name),
        Holder::StaticPod(name) => ("static-pod", name),
    };
    let parts = [PROCESSES, include_str!("../scripts/restart_holder.sh")];
    let job = Job::new("restart-holder", &parts, GOODBYE + NEXT_PROCESS + MARGIN, &what)
        .arg(kind)
        .arg(checked_word(name, &what)?)
        .arg(checked_path(file, &what)?)
        .arg(UNIT_RESTART.as_secs())
        .arg(hundredths(GOODBYE))
        .arg(hundredths(NEXT_PROCESS));
    let output = exec.run(job).await?;
    match text(&output, &what)?.trim() {
        "restarted" => Ok(Restarted::Yes),
        "not-needed" => Ok(Restarted::NotNeeded),
        "not-running" => Ok(Restarted::NotRunning),
        answer => Err(not_understood(&what, answer)),
    }
}
