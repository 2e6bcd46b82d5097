//! The journal: JSON Lines, one record a line, each with a checksum, durable before the act that it announces.
//!
//! A line is `<crc32 of the JSON, 8 hex digits> <JSON>`. A torn last line, one without its line break, is what a power
//! cut leaves; it announces nothing that was done, since the act waits for the sync, and is cut off before the next
//! record is written. A damaged line anywhere else, or a whole last line that is damaged, means that the file cannot be
//! trusted, and stops: the record that cannot be read may be the point of no return.
//!
//! Reading never changes the file, so that a run that is refused leaves it as it was.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use kubecert_core::record::{JOURNAL_SCHEMA, Record};

use crate::rundir::lost;

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read or written.
    #[error("cannot {what} journal {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds nothing. A journal begins with its first records, so somebody or something has emptied it.
    #[error("journal {} is empty; what its run has done is not known any more", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A line is damaged.
    #[error("line {line} of journal {} is damaged; what its run has done is not known any more", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// A line is whole, but this program does not know what it tells.
    #[error("line {line} of journal {} tells something that this program does not know", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// It is of another format.
    #[error("journal {} has format {found}, and this program knows format {JOURNAL_SCHEMA} only", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The program that wrote it, if it says so.
        program: Option<String>,
    },
}

impl JournalError {
    /// What the operator can do.
    pub fn remedy(&self) -> String {
        match self {
            Self::Io { path, .. } => format!(
                "Make {} readable and writable for the user that kubecert runs as, and see that its disk has room; \
                 then run the same command again.",
                path.display()
            ),
            Self::Empty { path } | Self::Damaged { path, .. } => lost(path),
            Self::Unknown { path, .. } | Self::Format { path, program: None, .. } => format!(
                "Go on with the version of kubecert that wrote {}; nothing was changed in it.",
                path.display()
            ),
            Self::Format { path, program: Some(program), .. } => {
                format!("Go on with {program}, which wrote {}; nothing was changed in it.", path.display())
            }
        }
    }
}

/// A journal that is open for appending.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    /// Where a torn last line begins, until it is cut off.
    torn_at: Option<u64>,
}

impl Journal {
    /// Creates a journal that begins with these records; fails if there is one. There is either no journal or one that
    /// says what it belongs to, whenever the power is cut.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be created or the directory cannot be synced.
    pub fn begin(path: &Path, records: &[Record]) -> Result<Self, JournalError> {
        let io = |what| move |source| JournalError::Io { what, path: path.to_owned(), source };
        let directory = path.parent().unwrap_or_else(|| Path::new("."));
        let mut file = tempfile::Builder::new()
            .prefix(".kubecert-")
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(directory)
            .map_err(io("create"))?;
        let text = lines(records).map_err(|error| io("create")(error.into()))?;
        file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(io("create"))?;
        file.persist_noclobber(path).map_err(|error| io("create")(error.error))?;
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(io("sync the directory of"))?;
        Self::open(path).map(|(journal, _)| journal)
    }

    /// Opens a journal and returns its records. A torn last line is cut off when the next record is written, so that a
    /// run that is refused after all has its journal as it was.
    ///
    /// # Errors
    ///
    /// As [`read`], and if the file may not be written.
    pub fn open(path: &Path) -> Result<(Self, Vec<Record>), JournalError> {
        let io = |what| move |source| JournalError::Io { what, path: path.to_owned(), source };
        let mut file = OpenOptions::new().read(true).append(true).open(path).map_err(io("open"))?;
        let (records, valid, all) = read_from(&mut file, path)?;
        let torn_at = (valid < all).then_some(valid as u64);
        Ok((Self { file, path: path.to_owned(), torn_at }, records))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends records and returns when they are durable.
    ///
    /// # Errors
    ///
    /// Fails if they cannot be written or synced; then nothing that they announce may be done.
    pub fn append(&mut self, records: &[Record]) -> Result<(), JournalError> {
        let io = |source| JournalError::Io { what: "write", path: self.path.clone(), source };
        let text = lines(records).map_err(|error| io(error.into()))?;
        if let Some(length) = self.torn_at {
            self.file.set_len(length).and_then(|()| self.file.sync_all()).map_err(io)?;
            self.torn_at = None;
        }
        self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data()).map_err(io)
    }
}

/// Reads the records of a journal and changes nothing. What stands in a torn last line is left out.
///
/// # Errors
///
/// Fails if the file cannot be read, is empty, is of another format, or a line is damaged.
pub fn read(path: &Path) -> Result<Vec<Record>, JournalError> {
    let io = |source| JournalError::Io { what: "open", path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io)?;
    read_from(&mut file, path).map(|(records, ..)| records)
}

/// The records, how many bytes hold them, and how many there are.
fn read_from(file: &mut File, path: &Path) -> Result<(Vec<Record>, usize, usize), JournalError> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|source| JournalError::Io {
        what: "read",
        path: path.to_owned(),
        source,
    })?;
    let path = || path.to_owned();
    match parse(&bytes) {
        Ok((records, _)) if records.is_empty() => Err(JournalError::Empty { path: path() }),
        Ok((records, valid)) => Ok((records, valid, bytes.len())),
        Err(Flaw::Damaged { line }) => Err(JournalError::Damaged { path: path(), line }),
        Err(Flaw::Unknown { line }) => Err(JournalError::Unknown { path: path(), line }),
        Err(Flaw::Format { found, program }) => Err(JournalError::Format { path: path(), found, program }),
    }
}

fn lines(records: &[Record]) -> serde_json::Result<String> {
    records.iter().map(|record| Ok(sealed(&serde_json::to_string(record)?))).collect()
}

/// JSON with its checksum, as a line.
pub(crate) fn sealed(json: &str) -> String {
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
}

/// What is wrong with the bytes of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// A whole line is not what was written.
    Damaged { line: usize },
    /// A line is what was written, and not understood.
    Unknown { line: usize },
    /// The first record names another format.
    Format { found: u64, program: Option<String> },
}

/// The records, and how many bytes hold them.
pub(crate) fn parse(bytes: &[u8]) -> Result<(Vec<Record>, usize), Flaw> {
    let mut records = Vec::new();
    let mut valid = 0;
    for (index, whole) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        let Some(line) = whole.strip_suffix(b"\n") else {
            // Torn. But a whole record behind which something else stands than its line break was damaged afterwards.
            return match whole.split_last().and_then(|(_, line)| unsealed(line)) {
                Some(_) => Err(Flaw::Damaged { line: number }),
                None => Ok((records, valid)),
            };
        };
        let json = unsealed(line).ok_or(Flaw::Damaged { line: number })?;
        // The format comes before everything else, which another format may tell in other words.
        if index == 0
            && let Some((found, program)) = other_format(json)
        {
            return Err(Flaw::Format { found, program });
        }
        records.push(serde_json::from_str(json).map_err(|_| Flaw::Unknown { line: number })?);
        valid += whole.len();
    }
    Ok((records, valid))
}

/// The JSON of a line without its line break, if it fits its checksum.
fn unsealed(line: &[u8]) -> Option<&str> {
    let (sum, json) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    (sum.len() == 8 && u32::from_str_radix(sum, 16).ok()? == crc32fast::hash(json.as_bytes())).then_some(json)
}

/// The format that a first record names, with the program, if it is another one than ours.
fn other_format(json: &str) -> Option<(u64, Option<String>)> {
    let record: serde_json::Value = serde_json::from_str(json).ok()?;
    let found = record.pointer("/what/bound/schema")?.as_u64()?;
    let program = record.pointer("/what/bound/program").and_then(|program| program.as_str());
    (found != u64::from(JOURNAL_SCHEMA)).then(|| (found, program.map(str::to_owned)))
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
