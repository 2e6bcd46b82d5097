//! The files of one node, symbolically.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::material::{Content, Part};
use crate::model::{LeafId, TrustDomain};

/// Whose new certificate is for the key that there was before, so that either certificate fits either key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptKeys {
    /// Leaves.
    pub leaves: BTreeSet<LeafId>,
    /// CAs, by domain.
    pub authorities: BTreeSet<TrustDomain>,
}

/// The files of one node. Cheap to clone until one of them changes.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: Arc<BTreeMap<String, Content>>,
    /// What the files were when the run began, for [`Content::Original`].
    originals: Arc<BTreeMap<String, Content>>,
    /// A digest of all files, kept up to date by [`Disk::put`] and [`Disk::remove`], so that worlds can be compared
    /// and hashed without walking through manifests.
    digest: u64,
    kept_keys: Arc<KeptKeys>,
}

impl Disk {
    /// A disk on which the run begins.
    pub fn new(files: BTreeMap<String, Content>) -> Self {
        let digest = files.iter().fold(0, |digest, (path, content)| digest ^ digest_of(path, content));
        let files = Arc::new(files);
        Self { originals: Arc::clone(&files), files, digest, kept_keys: Arc::default() }
    }

    /// The same disk, where the new certificates of some keep their keys.
    #[must_use]
    pub fn keeping(mut self, kept_keys: &Arc<KeptKeys>) -> Self {
        self.kept_keys = Arc::clone(kept_keys);
        self
    }

    /// Whose keys stay.
    pub(super) fn kept_keys(&self) -> &KeptKeys {
        &self.kept_keys
    }

    /// The digest of all files.
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// What a file holds, links not followed.
    pub fn file(&self, path: &str) -> Option<&Content> {
        self.files.get(path)
    }

    /// Whether the run found a file there.
    pub fn had(&self, path: &str) -> bool {
        self.originals.contains_key(path)
    }

    /// The paths whose content is not what the run found, new ones included.
    pub fn changed(&self) -> impl Iterator<Item = &str> {
        self.files
            .iter()
            .filter(|(path, content)| self.originals.get(*path) != Some(content))
            .map(|(path, _)| path.as_str())
    }

    /// Writes a file. [`Content::Original`] brings back what the run found; where it found none,
    /// what is there now goes; `None` for a manifest that never was.
    pub(super) fn put(&mut self, path: &str, content: &Content) -> Option<()> {
        let content = match content {
            Content::Original if !self.originals.contains_key(path) => {
                // A component without its manifest would be gone, which nobody can mean.
                (!path.starts_with(crate::layout::MANIFESTS)).then_some(())?;
                self.remove(path);
                return Some(());
            }
            Content::Original => self.originals.get(path)?.clone(),
            other => other.clone(),
        };
        self.digest ^= digest_of(path, &content);
        if let Some(before) = Arc::make_mut(&mut self.files).insert(path.to_owned(), content) {
            self.digest ^= digest_of(path, &before);
        }
        Some(())
    }

    /// Removes a file, or a directory with all below it.
    pub(super) fn remove(&mut self, path: &str) {
        let gone: Vec<String> =
            self.files.keys().filter(|file| is_at_or_below(file, path)).cloned().collect();
        for file in gone {
            if let Some(before) = Arc::make_mut(&mut self.files).remove(&file) {
                self.digest ^= digest_of(&file, &before);
            }
        }
    }

    /// The file at a path, one link followed.
    pub fn resolve(&self, path: &str) -> Option<&Content> {
        match self.files.get(path)? {
            Content::Link(target) => self.files.get(target),
            content => Some(content),
        }
    }

    /// The parts of the file at a path, one link followed; `None` if it is absent or made of something else.
    pub fn parts(&self, path: &str) -> Option<&[Part]> {
        match self.resolve(path)? {
            Content::Parts(parts) => Some(parts),
            _ => None,
        }
    }

    /// The text of the file at a path.
    pub fn text(&self, path: &str) -> Option<&str> {
        match self.resolve(path)? {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Whether a file is at a path, or below it as a directory, on either system.
pub(super) fn is_at_or_below(file: &str, path: &str) -> bool {
    let rest = file.strip_prefix(path.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '\\']))
}

fn digest_of(path: &str, content: &Content) -> u64 {
    let mut hasher = DefaultHasher::new();
    (path, content).hash(&mut hasher);
    hasher.finish()
}
