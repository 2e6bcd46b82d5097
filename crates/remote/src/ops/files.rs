//! Reading, backing up and removing files.

use kubecert_core::model::{NodeName, RunId};
use kubecert_engine::ports::{Fault, PortError, PortResult};
use zeroize::Zeroizing;

use super::{QUICK, backup_directory, checked_path, lines, not_understood};
use crate::exec::{Exec, Job};

/// Reads a whole file; `None` if there is none.
pub(crate) async fn read(
    exec: &dyn Exec,
    node: &NodeName,
    path: &str,
) -> PortResult<Option<Zeroizing<Vec<u8>>>> {
    let what = format!("cannot read {path} on {node}");
    checked_path(path, &what)?;
    let job = Job::new("read", &[include_str!("../scripts/read.sh")], QUICK, &what).arg(path);
    let output = exec.run(job).await?;
    if let Some(content) = output.stdout.strip_prefix(b"present\n") {
        Ok(Some(Zeroizing::new(content.to_vec())))
    } else if output.stdout.as_slice() == b"absent\n" {
        Ok(None)
    } else {
        // The answer may hold the file's content, so it is not quoted.
        Err(not_understood(&what, "neither present nor absent"))
    }
}

/// Copies files to the run's backup directory on the node, once.
pub(crate) async fn back_up(
    exec: &dyn Exec,
    node: &NodeName,
    run: &RunId,
    paths: &[String],
) -> PortResult<()> {
    let what = format!("cannot back up {} on {node}", summary(paths));
    let backup = backup_directory(run, &what)?;
    for path in paths {
        checked_path(path, &what)?;
    }
    let job = Job::new("back-up", &[include_str!("../scripts/back_up.sh")], QUICK, what)
        .arg(backup)
        .input(lines(paths.iter().map(String::as_str)));
    exec.run(job).await.map(drop)
}

/// How many names a path must have at least that may be removed with all that is below it: `/etc/kubernetes/kubecert` has
/// three. What is above belongs to others as well.
const REMOVABLE_DEPTH: usize = 3;

/// Removes files and directories.
pub(crate) async fn remove(exec: &dyn Exec, node: &NodeName, paths: &[String]) -> PortResult<()> {
    let what = format!("cannot remove {} on {node}", summary(paths));
    for path in paths {
        let depth = checked_path(path, &what)?.split('/').skip(1).count();
        // What scripts leave in /tmp lies right below it.
        let least = if path.starts_with("/tmp/") { REMOVABLE_DEPTH - 1 } else { REMOVABLE_DEPTH };
        if depth < least {
            return Err(PortError::new(
                Fault::Unexpected,
                what,
                format!("{path} is too near to the root to be ours"),
            ));
        }
    }
    let job = Job::new("remove", &[include_str!("../scripts/remove.sh")], QUICK, what)
        .input(lines(paths.iter().map(String::as_str)));
    exec.run(job).await.map(drop)
}

/// The paths as an error names them.
pub(super) fn summary(paths: &[String]) -> String {
    match paths {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}
