//! Writing files: many in one round trip, each atomically, each read back.

use std::collections::VecDeque;

use kubecert_core::model::{NodeName, RunId};
use kubecert_engine::ports::{Fault, FileBytes, FileContent, PortError, PortResult, WrittenFile};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{QUICK, backup_directory, checked_path, checked_word, files, not_understood, text};
use crate::exec::{Exec, Job};

/// The functions that write files, for `static_pod.sh` too.
pub(super) const FILES: &str = include_str!("../scripts/files.sh");

/// Writes files in order, each atomically.
pub(crate) async fn write(
    exec: &dyn Exec,
    node: &NodeName,
    run: &RunId,
    list: Vec<FileBytes>,
) -> PortResult<Vec<WrittenFile>> {
    let paths: Vec<String> = list.iter().map(|file| file.path.clone()).collect();
    let what = format!("cannot write {} on {node}", files::summary(&paths));
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let mut input = Zeroizing::new(Vec::new());
    let mut wanted = VecDeque::new();
    for (file, path) in list.iter().zip(&paths) {
        wanted.push_back((path.as_str(), append(&mut input, file, &what)?));
    }
    input.extend_from_slice(b".\n");
    // Thousands of nodes may wait for their turn at once, and once is enough for the contents.
    drop(list);
    let job = Job::new("write", &[FILES, include_str!("../scripts/write.sh")], QUICK, &what)
        .arg(backup_directory(run, &what)?)
        .input(input);
    let output = exec.run(job).await?;
    answered(text(&output, &what)?, wanted, &what)
}

/// Reads what a script says of each file, and compares it with what was wanted: path and, where it is known, digest.
pub(super) fn answered(
    answer: &str,
    mut wanted: VecDeque<(&str, Option<String>)>,
    what: &str,
) -> PortResult<Vec<WrittenFile>> {
    let mut written = Vec::with_capacity(wanted.len());
    for line in answer.lines() {
        let file = written_file(line).ok_or_else(|| not_understood(what, line))?;
        let Some((path, digest)) = wanted.pop_front() else { return Err(not_understood(what, line)) };
        if file.path != path {
            return Err(not_understood(what, line));
        }
        if digest.is_some_and(|digest| digest != file.sha256) {
            let cause = format!("{path} holds something else than was written");
            return Err(PortError::new(Fault::Failed, what, cause).remedy(
                "Something on the node writes to the same file; stop it, then run the same command again.",
            ));
        }
        written.push(file);
    }
    match wanted.front() {
        Some((path, _)) => {
            Err(PortError::new(Fault::Unexpected, what, format!("nothing was said about {path}")))
        }
        None => Ok(written),
    }
}

/// Appends one file as `write.sh` and `static_pod.sh` read it. Returns the digest that it must have afterwards, if that
/// is known here.
pub(super) fn append(
    input: &mut Zeroizing<Vec<u8>>,
    file: &FileBytes,
    what: &str,
) -> PortResult<Option<String>> {
    let path = checked_path(&file.path, what)?;
    match &file.bytes {
        FileContent::Bytes(bytes) => {
            let digest = hex::encode(Sha256::digest(bytes));
            let (mode, owner) = match &file.access {
                Some(access) => (format!("{:o}", access.mode & 0o7777), checked_word(&access.owner, what)?),
                None => ("-".to_owned(), "-"),
            };
            let header = format!("file {mode} {owner} {} {digest}\n{path}\n", bytes.len());
            input.extend_from_slice(header.as_bytes());
            input.extend_from_slice(bytes);
            Ok(Some(digest))
        }
        FileContent::Link(target) => {
            if target.is_empty() || target.chars().any(char::is_control) {
                let cause = format!("`{}` cannot be the target of a link", target.escape_debug());
                return Err(PortError::new(Fault::Unexpected, what, cause));
            }
            input.extend_from_slice(format!("link\n{path}\n{target}\n").as_bytes());
            Ok(None)
        }
        FileContent::Original => {
            input.extend_from_slice(format!("original\n{path}\n").as_bytes());
            Ok(None)
        }
    }
}

/// Reads `written|unchanged DIGEST PATH`. The digest is `-` where there is no file to be read.
fn written_file(line: &str) -> Option<WrittenFile> {
    let mut parts = line.splitn(3, ' ');
    let unchanged = match parts.next()? {
        "written" => false,
        "unchanged" => true,
        _ => return None,
    };
    let sha256 = match parts.next()? {
        "-" => String::new(),
        digest => digest.to_owned(),
    };
    Some(WrittenFile { path: parts.next()?.to_owned(), sha256, unchanged })
}
