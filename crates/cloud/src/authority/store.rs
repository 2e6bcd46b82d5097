//! Where an authority keeps its document: one JSON file, for its owner alone.
//!
//! The file is replaced as a whole: written under another name, synced, renamed, and the directory synced. Who changes it holds
//! a lock from reading until writing, so that a server and the command line can work on the same directory; who only reads
//! needs none, since a file is either the old or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use kubecert_engine::issue::chain;
use zeroize::Zeroizing;

use super::document::{Document, SCHEMA};
use super::error::AuthorityError;
use crate::apimodel::write_private;

const FILE: &str = "authority.json";
const LOCK: &str = "authority.lock";

/// What group and others may not have of the directory and its file.
const OTHERS: u32 = 0o077;

/// The largest document that is read: a hundred thousand identities.
const LARGEST: u64 = 64 << 20;

/// How long somebody else may hold the lock. It is held while a file of some kilobytes is written and synced; a disk that takes
/// longer than this is broken.
const LOCK_LIMIT: Duration = Duration::from_secs(20);

/// Tells one version of the file from another: a renamed file has another inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp(u64, i64, i64, u64);

/// A directory.
#[derive(Clone, Debug)]
pub(super) struct Store {
    directory: PathBuf,
}

/// Held while a document is changed.
pub(super) struct Lock {
    _file: File,
}

impl Store {
    /// An existing one.
    pub(super) fn open(directory: &Path) -> Result<Self, AuthorityError> {
        let store = Self { directory: directory.to_owned() };
        for path in [directory, &store.file()] {
            store.check_private(path)?;
        }
        Ok(store)
    }

    /// A new one, in a directory that is made or empty of authorities.
    pub(super) fn create(directory: &Path, document: &Document) -> Result<Self, AuthorityError> {
        let store = Self { directory: directory.to_owned() };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| store.failed("cannot make", directory, &error))?;
        let metadata =
            fs::metadata(directory).map_err(|error| store.failed("cannot use", directory, &error))?;
        private(directory, &metadata)?;
        let _lock = store.lock()?;
        if store.file().exists() {
            let what = format!("cannot make an authority in {}", directory.display());
            return Err(AuthorityError::new(what, "there is one already").remedy(
                "Use it, or name another directory. Removing it makes all its clients strangers to any other.",
            ));
        }
        store.write(document)?;
        Ok(store)
    }

    fn file(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    /// Which version of the document there is.
    pub(super) fn stamp(&self) -> Result<Stamp, AuthorityError> {
        let metadata =
            fs::metadata(self.file()).map_err(|error| self.failed("cannot read", &self.file(), &error))?;
        Ok(Stamp(metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.size()))
    }

    /// Reads the document.
    pub(super) fn read(&self) -> Result<Document, AuthorityError> {
        let path = self.file();
        let read = || -> io::Result<Zeroizing<Vec<u8>>> {
            let file = File::open(&path)?;
            let length = file.metadata()?.len().min(LARGEST);
            // As long as the file, so that no piece of a key is left behind where the buffer has grown.
            let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1));
            file.take(LARGEST).read_to_end(&mut text)?;
            Ok(text)
        };
        let text = read().map_err(|error| self.failed("cannot read", &path, &error))?;
        let damaged = |cause: String| {
            AuthorityError::new(format!("cannot use {}", path.display()), cause).remedy(
                "It is never written in part, so that somebody else or a disk has changed it. Nothing was touched; restore it \
                 from a copy.",
            )
        };
        // What serde says names a line and a column and no content, but for a variant's name, which is no secret.
        let document: Document =
            serde_json::from_slice(&text).map_err(|error| damaged(format!("it is damaged ({error})")))?;
        if document.schema != SCHEMA {
            let cause = format!("it has format {}, and this program knows {SCHEMA}", document.schema);
            return Err(AuthorityError::new(format!("cannot use {}", path.display()), cause)
                .remedy("Use the version of kubecert that has written it, or a later one."));
        }
        if document.roots.is_empty() || document.hosts.is_empty() {
            return Err(damaged("it has no CA, or no address".to_owned()));
        }
        Ok(document)
    }

    /// Replaces the document; the lock must be held.
    pub(super) fn write(&self, document: &Document) -> Result<(), AuthorityError> {
        let path = self.file();
        let failed = |cause: String| {
            AuthorityError::new(format!("cannot write {}", path.display()), cause)
                .remedy("What was there before is unchanged. Give the disk room, and do the same again.")
        };
        let mut text = Zeroizing::new(Vec::with_capacity(128 << 10));
        serde_json::to_writer_pretty(&mut *text, document).map_err(|error| failed(error.to_string()))?;
        write_private(&path, &text).map_err(|error| failed(chain(&error)))
    }

    /// Waits for the lock.
    pub(super) fn lock(&self) -> Result<Lock, AuthorityError> {
        let path = self.directory.join(LOCK);
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(|error| self.failed("cannot lock", &path, &error))?;
        // `lock` has no time limit of its own, so that it waits on a thread of its own.
        let (got, answer) = mpsc::channel();
        thread::spawn(move || {
            let locked = file.lock().map(|()| file);
            // Who does not wait any more has given up; the lock goes with the file.
            let _ = got.send(locked);
        });
        match answer.recv_timeout(LOCK_LIMIT) {
            Ok(Ok(file)) => Ok(Lock { _file: file }),
            Ok(Err(error)) => Err(self.failed("cannot lock", &path, &error)),
            Err(_) => Err(AuthorityError::new(
                format!("cannot lock {}", path.display()),
                format!("another process holds it for more than {} s", LOCK_LIMIT.as_secs()),
            )
            .remedy("Find out what that process waits for, and run the same command again.")),
        }
    }

    fn check_private(&self, path: &Path) -> Result<(), AuthorityError> {
        let metadata = fs::metadata(path).map_err(|error| {
            self.failed("cannot use", path, &error).remedy(
                "Name the directory that `kubecert authority init` has made, as the user that has made it.",
            )
        })?;
        private(path, &metadata)
    }

    fn failed(&self, what: &str, path: &Path, error: &io::Error) -> AuthorityError {
        AuthorityError::new(format!("{what} {}", path.display()), error)
    }
}

/// A directory or file with keys that others could get at is refused, not repaired: only the operator can find out what
/// happened to it.
fn private(path: &Path, metadata: &fs::Metadata) -> Result<(), AuthorityError> {
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    let what = format!("cannot use {}", path.display());
    let cause = format!("others than its owner may get at it (mode {mode:04o}), and it holds private keys");
    Err(AuthorityError::new(what, cause).remedy(format!(
        "Find out who could. If nobody did, close it, `chmod go-rwx {}`, and run the same command again. If somebody may have, \
         restore it from a copy, close it, and rotate the CA and all identities.",
        path.display()
    )))
}
