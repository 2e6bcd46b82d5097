//! The journal: JSON Lines, one record a line, each with a checksum, durable before the act that it announces.
//!
//! A line is `<crc32 of the JSON, 8 hex digits> <JSON>`. A torn last line is what a power cut leaves; it announces
//! nothing that was done, since the act waits for the sync, and is cut off. A damaged line anywhere else means that the
//! file cannot be trusted, and stops.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use kubecert_core::record::Record;

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
    /// A line that is not the last one is damaged.
    #[error("line {line} of journal {} is damaged; the run cannot be resumed from it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
}

/// A journal that is open for appending.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Creates an empty journal; fails if there is one.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be created or the directory cannot be synced.
    pub fn create(path: &Path) -> Result<Self, JournalError> {
        let io = |what| move |source| JournalError::Io { what, path: path.to_owned(), source };
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .read(true)
            .mode(0o600)
            .open(path)
            .map_err(io("create"))?;
        if let Some(directory) = path.parent() {
            File::open(directory)
                .and_then(|directory| directory.sync_all())
                .map_err(io("sync the directory of"))?;
        }
        Ok(Self { file, path: path.to_owned() })
    }

    /// Opens a journal, returns its records and cuts a torn last line off.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read or a line that is not the last one is damaged.
    pub fn open(path: &Path) -> Result<(Self, Vec<Record>), JournalError> {
        let io = |what| move |source| JournalError::Io { what, path: path.to_owned(), source };
        let mut file = OpenOptions::new().read(true).append(true).open(path).map_err(io("open"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io("read"))?;
        let (records, valid) =
            parse(&bytes).map_err(|line| JournalError::Damaged { path: path.to_owned(), line })?;
        if valid < bytes.len() {
            file.set_len(valid as u64).and_then(|()| file.sync_all()).map_err(io("mend"))?;
            file.seek(SeekFrom::End(0)).map_err(io("mend"))?;
        }
        Ok((Self { file, path: path.to_owned() }, records))
    }

    /// Appends records and returns when they are durable.
    ///
    /// # Errors
    ///
    /// Fails if they cannot be written or synced; then nothing that they announce may be done.
    pub fn append(&mut self, records: &[Record]) -> Result<(), JournalError> {
        let io = |source| JournalError::Io { what: "write", path: self.path.clone(), source };
        let mut lines = String::new();
        for record in records {
            lines.push_str(&line(record).map_err(|error| io(error.into()))?);
        }
        self.file.write_all(lines.as_bytes()).and_then(|()| self.file.sync_data()).map_err(io)
    }
}

fn line(record: &Record) -> Result<String, serde_json::Error> {
    let json = serde_json::to_string(record)?;
    Ok(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())))
}

/// The records, and how many bytes hold them; or the number of the damaged line.
fn parse(bytes: &[u8]) -> Result<(Vec<Record>, usize), usize> {
    let mut records = Vec::new();
    let mut valid = 0;
    for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let end = valid + line.len();
        match parse_line(line) {
            Some(record) => {
                records.push(record);
                valid = end;
            }
            None if end == bytes.len() => break,
            None => return Err(index + 1),
        }
    }
    Ok((records, valid))
}

fn parse_line(line: &[u8]) -> Option<Record> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (sum, json) = line.split_once(' ')?;
    let sum = u32::from_str_radix(sum, 16).ok()?;
    (sum == crc32fast::hash(json.as_bytes())).then(|| serde_json::from_str(json).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use kubecert_core::plan::StepId;
    use kubecert_core::record::What;

    use super::*;

    fn records() -> Vec<Record> {
        (1..=3)
            .map(|step| Record {
                at: jiff::Timestamp::UNIX_EPOCH,
                what: What::Started { step: StepId(step), attempt: 1 },
            })
            .collect()
    }

    #[test]
    fn what_was_appended_is_read_again_and_a_torn_tail_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.jsonl");
        Journal::create(&path).unwrap().append(&records()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (mut journal, read) = Journal::open(&path).unwrap();
            assert!(records().starts_with(&read));
            journal.append(&records()).unwrap();
            assert_eq!(Journal::open(&path).unwrap().1.len(), read.len() + 3);
        }
    }

    #[test]
    fn a_damaged_line_in_the_middle_stops() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.jsonl");
        Journal::create(&path).unwrap().append(&records()).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(Journal::open(&path), Err(JournalError::Damaged { line: 1, .. })));
    }

    #[test]
    fn a_second_journal_never_overwrites_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal.jsonl");
        Journal::create(&path).unwrap();
        assert!(Journal::create(&path).is_err());
    }
}
