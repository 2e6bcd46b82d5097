//! A node's disk.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use kubecert_pki::Fingerprint;
use zeroize::Zeroizing;

/// A file or a symbolic link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) content: Stored,
    pub(crate) mode: u32,
    pub(crate) owner: String,
    /// The cluster's age at the last change of the content.
    pub(crate) modified: Duration,
    /// By how much the node's clock was off then.
    pub(crate) clock_error: SignedDuration,
}

/// What a path holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Bytes, and their SHA-256, which is asked for again and again.
    Bytes(Zeroizing<Vec<u8>>, Fingerprint),
    Link(String),
}

impl Stored {
    pub(crate) fn bytes(bytes: Zeroizing<Vec<u8>>) -> Self {
        let digest = Fingerprint::of(&bytes);
        Self::Bytes(bytes, digest)
    }
}

/// All files of a node by absolute path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    files: BTreeMap<String, File>,
}

impl Disk {
    /// The file at a path, with links followed.
    pub(crate) fn follow(&self, path: &str) -> Option<&File> {
        let mut file = self.files.get(path)?;
        // A link to a link to a link is more than any layout has; a loop must end.
        for _ in 0..4 {
            match &file.content {
                Stored::Bytes(..) => return Some(file),
                Stored::Link(target) => file = self.files.get(target)?,
            }
        }
        None
    }

    /// The bytes at a path, with links followed.
    pub(crate) fn bytes(&self, path: &str) -> Option<&[u8]> {
        self.known(path).map(|(bytes, _)| bytes)
    }

    /// The bytes at a path and their SHA-256, with links followed.
    pub(crate) fn known(&self, path: &str) -> Option<(&[u8], Fingerprint)> {
        match &self.follow(path)?.content {
            Stored::Bytes(bytes, digest) => Some((bytes, *digest)),
            Stored::Link(_) => None,
        }
    }

    /// The text at a path, with links followed.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        std::str::from_utf8(self.bytes(path)?).ok()
    }

    /// What lies at the path itself.
    pub(crate) fn entry(&self, path: &str) -> Option<&File> {
        self.files.get(path)
    }

    pub(crate) fn put(&mut self, path: &str, file: File) {
        self.files.insert(path.to_owned(), file);
    }

    /// Removes a file, or a directory with all that is in it. Returns what was removed.
    pub(crate) fn remove(&mut self, path: &str) -> Vec<String> {
        let gone: Vec<String> = self
            .files
            .keys()
            .filter(|found| *found == path || below(found, path).is_some())
            .cloned()
            .collect();
        for path in &gone {
            self.files.remove(path);
        }
        gone
    }

    /// The path itself if it is a file, or the files directly in it if it is a directory.
    pub(crate) fn list(&self, path: &str) -> Vec<String> {
        if self.files.contains_key(path) {
            return vec![path.to_owned()];
        }
        self.files
            .keys()
            .filter(|found| below(found, path).is_some_and(|rest| !rest.contains(['/', '\\'])))
            .cloned()
            .collect()
    }

    /// All paths.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }
}

/// What of a file's path is below a directory, on either system.
fn below<'a>(file: &'a str, directory: &str) -> Option<&'a str> {
    file.strip_prefix(directory.trim_end_matches('/'))?.strip_prefix(['/', '\\'])
}
