//! Reading, backing up, writing and removing files on Windows.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kubecert_core::layout::windows::STAGE;
use kubecert_core::model::{NodeName, RunId};
use kubecert_core::plan::Access;
use kubecert_engine::ports::{Fault, FileBytes, FileContent, PortError, PortResult, WrittenFile};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::super::files::summary;
use super::super::write::answered;
use super::super::{QUICK, checked_word, not_understood, text};
use super::{checked_path, list, parts};
use crate::exec::{Exec, Job};

/// The run's backup directory, below the base directory that the scripts know.
fn backup_directory(run: &RunId, what: &str) -> PortResult<String> {
    Ok(format!(r"{}\backup", checked_word(run.as_str(), what)?))
}

/// Reads a whole file; `None` if there is none.
pub(crate) async fn read(
    exec: &dyn Exec,
    node: &NodeName,
    path: &str,
) -> PortResult<Option<Zeroizing<Vec<u8>>>> {
    let what = format!("cannot read {path} on {node}");
    let input = format!("{}\n", checked_path(path, &what)?).into_bytes();
    let job = Job::windows("read", parts("read"), QUICK, &what).input(Zeroizing::new(input));
    let output = exec.run(job).await?;
    let mut lines = text(&output, &what)?.lines();
    // The answer may hold the file's content, so it is not quoted.
    let odd = || not_understood(&what, "neither present nor absent");
    match lines.next() {
        Some("absent") => Ok(None),
        Some("present") => {
            let content = STANDARD.decode(lines.next().unwrap_or_default()).map_err(|_| odd())?;
            Ok(Some(Zeroizing::new(content)))
        }
        _ => Err(odd()),
    }
}

/// Copies files to the run's backup directory on the node, once, and keeps their access lists.
pub(crate) async fn back_up(
    exec: &dyn Exec,
    node: &NodeName,
    run: &RunId,
    paths: &[String],
) -> PortResult<()> {
    let what = format!("cannot back up {} on {node}", summary(paths));
    for path in paths {
        checked_path(path, &what)?;
    }
    let input = list([backup_directory(run, &what)?], paths.iter().map(String::as_str));
    let job = Job::windows("back-up", parts("back-up"), QUICK, what).input(Zeroizing::new(input));
    exec.run(job).await.map(drop)
}

/// Writes files in order, each atomically.
pub(crate) async fn write(
    exec: &dyn Exec,
    node: &NodeName,
    run: &RunId,
    files: Vec<FileBytes>,
) -> PortResult<Vec<WrittenFile>> {
    let paths: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
    let what = format!("cannot write {} on {node}", summary(&paths));
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let mut input = Zeroizing::new(format!("{}\n", backup_directory(run, &what)?).into_bytes());
    let mut wanted = VecDeque::new();
    for (file, path) in files.iter().zip(&paths) {
        wanted.push_back((path.as_str(), append(&mut input, file, &what)?));
    }
    input.extend_from_slice(b".\n");
    drop(files);
    let job = Job::windows("write", parts("write"), QUICK, &what).input(input);
    let output = exec.run(job).await?;
    answered(text(&output, &what)?, wanted, &what)
}

/// Appends one file as `write.ps1` reads it. Returns the digest that it must have afterwards, if that is known here.
fn append(input: &mut Zeroizing<Vec<u8>>, file: &FileBytes, what: &str) -> PortResult<Option<String>> {
    let path = checked_path(&file.path, what)?;
    match &file.bytes {
        FileContent::Bytes(bytes) => {
            let digest = hex::encode(Sha256::digest(bytes));
            let access = access(file.access.as_ref(), path, what)?;
            input.extend_from_slice(format!("bytes {access} {digest}\n{path}\n").as_bytes());
            let content = Zeroizing::new(STANDARD.encode(bytes));
            input.extend_from_slice(content.as_bytes());
            input.push(b'\n');
            Ok(Some(digest))
        }
        FileContent::Original => {
            input.extend_from_slice(format!("original\n{path}\n").as_bytes());
            Ok(None)
        }
        FileContent::Link(_) => {
            let cause =
                format!("{path} is to be a symbolic link, which nothing replaces atomically on Windows");
            Err(PortError::new(Fault::Unexpected, what, cause))
        }
    }
}

/// The access list that a file gets. There are no modes; what others may not read is closed to everybody but the system
/// and administrators.
fn access(access: Option<&Access>, path: &str, what: &str) -> PortResult<&'static str> {
    match access {
        None => Ok("keep"),
        Some(access) if access.mode & 0o077 == 0 => Ok("private"),
        Some(access) => {
            let cause = format!("{path} is to have mode {:o}, which Windows does not know", access.mode);
            Err(PortError::new(Fault::Unexpected, what, cause))
        }
    }
}

/// Removes files and directories of kubecert's own.
pub(crate) async fn remove(exec: &dyn Exec, node: &NodeName, paths: &[String]) -> PortResult<()> {
    let what = format!("cannot remove {} on {node}", summary(paths));
    for path in paths {
        let ours = checked_path(path, &what)?.strip_prefix(STAGE);
        if !ours.is_some_and(|rest| rest.is_empty() || rest.starts_with('\\')) {
            let cause = format!("{path} is not below {STAGE}");
            return Err(PortError::new(Fault::Unexpected, what, cause));
        }
    }
    let input = list([], paths.iter().map(String::as_str));
    let job = Job::windows("remove", parts("remove"), QUICK, what).input(Zeroizing::new(input));
    exec.run(job).await.map(drop)
}
