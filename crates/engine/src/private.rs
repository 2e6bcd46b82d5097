//! Whether files with private keys are their owner's alone.
//!
//! Who can change a run's directory decides what is done to the cluster, and who can read it holds the cluster's keys. So
//! a directory that others could get at is refused, not repaired: only the operator can find out what happened to it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::rundir::RunDirError;

/// What group and others may not have.
const OTHERS: u32 = 0o077;
/// Of these, what lets them change something.
const WRITE: u32 = 0o022;

/// Why a file or directory is not its owner's alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPrivate {
    /// Its permissions are too wide.
    #[error("others than its owner may {} {} (mode {mode:04o}), which may hold private keys", if mode & WRITE == 0 { "read" } else { "change" }, path.display())]
    Mode {
        /// What.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is another user's.
    #[error("{} belongs to user {owner}, and kubecert runs as user {us}", path.display())]
    Owner {
        /// What.
        path: PathBuf,
        /// The number of the user that it belongs to.
        owner: u32,
        /// The number of the user that the program runs as.
        us: u32,
    },
}

impl NotPrivate {
    /// What the operator can do.
    pub fn remedy(&self) -> String {
        match self {
            Self::Mode { path, mode } if mode & WRITE == 0 => format!(
                "Find out who could read {0}. If nobody did, close it, `chmod go-rwx {0}`, and run the same command \
                 again. If somebody may have, its keys are known to others and have to be replaced once more.",
                path.display()
            ),
            Self::Mode { path, .. } => format!(
                "Find out who could change {0}. If nobody did, close it, `chmod go-rwx {0}`, and run the same command \
                 again. If somebody may have, restore the directory from a copy first.",
                path.display()
            ),
            Self::Owner { path, owner, us } => format!(
                "Run kubecert as user {owner}; or, if that user may know the cluster's keys and has changed nothing, \
                 take it over, `chown {us} {}`, and run the same command again.",
                path.display()
            ),
        }
    }
}

/// Checks one file or directory; a link is followed.
///
/// # Errors
///
/// Fails if it cannot be looked at, belongs to another user, or others have any right to it.
pub(crate) fn check_one(path: &Path) -> Result<(), RunDirError> {
    check(path, OTHERS)
}

/// Checks a run's directory and everything in it. Its own files (plan, journal, report) hold no secret, and an operator may
/// let others read a report; what lies in the directories below holds keys.
///
/// # Errors
///
/// As [`check_one`], for the first thing that is not as it should be.
pub(crate) fn check_run(directory: &Path) -> Result<(), RunDirError> {
    check_all(directory, WRITE)
}

fn check_all(directory: &Path, files: u32) -> Result<(), RunDirError> {
    check(directory, OTHERS)?;
    let list = |source: io::Error| RunDirError::Io { what: "list", path: directory.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(list)? {
        paths.push(entry.map_err(list)?.path());
    }
    paths.sort();
    for path in paths {
        // A link to a directory could lead round in circles; none is ever made here.
        let is_directory = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
        if is_directory { check_all(&path, OTHERS)? } else { check(&path, files)? }
    }
    Ok(())
}

fn check(path: &Path, forbidden: u32) -> Result<(), RunDirError> {
    let metadata = fs::metadata(path).map_err(|source| RunDirError::Io {
        what: "open",
        path: path.to_owned(),
        source,
    })?;
    let us = rustix::process::geteuid().as_raw();
    Ok(judge(path, forbidden, metadata.mode(), metadata.uid(), us)?)
}

fn judge(path: &Path, forbidden: u32, mode: u32, owner: u32, us: u32) -> Result<(), NotPrivate> {
    let path = || path.to_owned();
    if owner != us {
        return Err(NotPrivate::Owner { path: path(), owner, us });
    }
    if mode & forbidden != 0 {
        return Err(NotPrivate::Mode { path: path(), mode: mode & 0o7777 });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn any_right_of_others_and_any_other_owner_is_refused() {
        let path = Path::new("/state/c/run");
        for mode in [0o700, 0o600, 0o400, 0o40700, 0o100_600] {
            assert_eq!(judge(path, OTHERS, mode, 0, 0), Ok(()), "{mode:o}");
        }
        for bit in [0o001, 0o002, 0o004, 0o010, 0o020, 0o040] {
            let error = judge(path, OTHERS, 0o700 | bit, 7, 7).unwrap_err();
            assert!(error.to_string().contains("/state/c/run"), "{error}");
            let word = if bit & WRITE == 0 { "read" } else { "change" };
            assert!(error.to_string().contains(word), "{error}");
            assert!(error.remedy().contains("chmod go-rwx /state/c/run"), "{}", error.remedy());
        }
        let error = judge(path, OTHERS, 0o700, 1000, 0).unwrap_err();
        assert_eq!(error.to_string(), "/state/c/run belongs to user 1000, and kubecert runs as user 0");
        assert!(error.remedy().contains("chown 0 /state/c/run"), "{}", error.remedy());
    }

    #[test]
    fn everything_below_a_directory_counts() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let vault = directory.path().join("vault");
        fs::create_dir(&vault).unwrap();
        fs::set_permissions(&vault, fs::Permissions::from_mode(0o700)).unwrap();
        let file = vault.join("001.pem");
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let report = directory.path().join("report.html");
        fs::write(&report, "x").unwrap();
        fs::set_permissions(&report, fs::Permissions::from_mode(0o644)).unwrap();
        check_run(directory.path()).unwrap();
        for (path, wrong, right, word) in [
            (&report, 0o664, 0o600, "report.html"),
            (&file, 0o640, 0o600, "001.pem"),
            (&vault, 0o750, 0o700, "vault"),
        ] {
            fs::set_permissions(path, fs::Permissions::from_mode(wrong)).unwrap();
            let error = check_run(directory.path()).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains(&format!("{wrong:04o}")), "{error}");
            fs::set_permissions(path, fs::Permissions::from_mode(right)).unwrap();
        }
        check_one(directory.path()).unwrap();
    }
}
