//! The run directory: plan, journal, inventories, vault, report.
//!
//! `<state>/<cluster>/lock` keeps a second operator out; `<state>/<cluster>/<run>/` holds one run each. Directories are 0700, files
//! 0600; every file is written under a temporary name, synced and renamed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use kubecert_core::material::Part;
use kubecert_core::model::{Generation, LeafId, RunId};
use kubecert_core::plan::Plan;
use kubecert_pki::{Certificate, KeyEncoding, PrivateKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::ports::{Fault, Keep, PortError, PortResult};
use crate::private::{self, NotPrivate};
use crate::vault::{PkiSet, Vault};

/// Why the run directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// A file cannot be read or written.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file holds something else than it should.
    #[error("cannot read {}: {why}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A file is of another format.
    #[error("{} has format {found}, and this program knows format {known} only", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The format of this program.
        known: u32,
    },
    /// Somebody else works on this cluster.
    #[error("another kubecert works on this cluster (lock {})", path.display())]
    Locked {
        /// The lock.
        path: PathBuf,
    },
    /// Others may read or change it.
    #[error(transparent)]
    NotPrivate(#[from] NotPrivate),
}

impl RunDirError {
    /// What the operator can do.
    pub fn remedy(&self) -> String {
        match self {
            Self::Io { what: "read", path, source } if source.kind() == io::ErrorKind::NotFound => lost(path),
            Self::Io { path, .. } => format!(
                "Make {} accessible to the user that kubecert runs as, and see that its disk has room; then run the \
                 same command again.",
                path.display()
            ),
            Self::Content { path, .. } => lost(path),
            Self::Format { path, .. } => format!(
                "Go on with the version of kubecert that wrote {}; nothing was changed in it.",
                path.display()
            ),
            Self::Locked { path } => format!(
                "Wait until the other one has ended; `fuser {}` tells its process id. The lock goes with the process.",
                path.display()
            ),
            Self::NotPrivate(error) => error.remedy(),
        }
    }
}

/// The way on when a file of a run's directory is lost: nothing else knows what it held.
pub(crate) fn lost(path: &Path) -> String {
    let below = path.parent().unwrap_or(path);
    let run = if below.ends_with(VAULT) || below.ends_with(REQUESTED) {
        below.parent().unwrap_or(below)
    } else {
        below
    };
    format!(
        "Restore {} from a copy of the run's directory. If there is none, move {} to a safe place outside of the state \
         directory (the cluster may use the keys in it by now) and run `kubecert check`, then `kubecert rotate`: they \
         look at the cluster afresh.",
        path.display(),
        run.display()
    )
}

/// All runs of one cluster, locked against a second operator for as long as this lives.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    _lock: File,
}

impl State {
    /// Opens, creates if needed, and locks.
    ///
    /// # Errors
    ///
    /// Fails if others may look into the directory, somebody else holds the lock, or it cannot be used.
    pub fn open(path: &Path) -> Result<Self, RunDirError> {
        make_private_directory(path)?;
        private::check_one(path)?;
        let lock_path = path.join("lock");
        let io = |source| RunDirError::Io { what: "open", path: lock_path.clone(), source };
        let mut options = File::options();
        let options = options.create(true).truncate(false).write(true).mode(0o600);
        let lock = options.open(&lock_path).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {
                let state = Self { path: path.to_owned(), _lock: lock };
                state.sweep();
                Ok(state)
            }
            Err(fs::TryLockError::WouldBlock) => Err(RunDirError::Locked { path: lock_path }),
            Err(fs::TryLockError::Error(source)) => Err(io(source)),
        }
    }

    /// Destroys keys that a process could not destroy any more, since it ended just after its run had finished. What
    /// cannot be removed now is tried again the next time.
    fn sweep(&self) {
        for run in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if run.path().join(FINISHED).exists() {
                for secret in SECRET {
                    let _again_next_time = fs::remove_dir_all(run.path().join(secret));
                }
            }
        }
    }

    /// Creates the directory of a new run.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be created.
    pub fn create(&self, run: RunId) -> Result<RunDir, RunDirError> {
        let path = self.path.join(run.as_str());
        make_private_directory(&path.join(VAULT))?;
        make_private_directory(&path.join(BACKUP))?;
        Ok(RunDir { path, run })
    }

    /// The latest run with a journal, whatever became of it.
    ///
    /// # Errors
    ///
    /// Fails if the directory cannot be listed, or others may read or change the run's directory.
    pub fn latest(&self) -> Result<Option<RunDir>, RunDirError> {
        let latest = self.paths()?.into_iter().rev().find(|path| path.join(JOURNAL).exists());
        latest.as_deref().map(RunDir::open).transpose()
    }

    fn paths(&self) -> Result<Vec<PathBuf>, RunDirError> {
        paths(&self.path)
    }

    /// Runs that wait for certificates that were requested elsewhere, the latest first.
    ///
    /// # Errors
    ///
    /// Fails if the directory cannot be listed, or others may read or change a run's directory.
    pub(crate) fn waiting(&self) -> Result<Vec<RunDir>, RunDirError> {
        waiting(&self.path)
    }

    /// Runs that have a journal and no `finished` mark, the latest first.
    ///
    /// A journal begins with its first records, all at once. A process that ended before that has touched nothing, and
    /// there is no journal; one that is empty was emptied, and reading it says so.
    ///
    /// # Errors
    ///
    /// Fails if the directory cannot be listed, or others may read or change a run's directory.
    pub fn unfinished(&self) -> Result<Vec<RunDir>, RunDirError> {
        let paths = self.paths()?;
        let open = |path: &PathBuf| path.join(JOURNAL).exists() && !path.join(FINISHED).exists();
        paths.iter().rev().filter(|path| open(path)).map(|path| RunDir::open(path)).collect()
    }
}

/// Runs below a cluster's state directory that wait for certificates, the latest first; told without a lock.
///
/// # Errors
///
/// As [`State::waiting`].
pub(crate) fn waiting(state: &Path) -> Result<Vec<RunDir>, RunDirError> {
    let paths = paths(state)?;
    paths.iter().rev().filter(|path| waits(path)).map(|path| RunDir::open(path)).collect()
}

/// Whether a run's directory holds keys for which certificates were requested, and the run has not begun.
fn waits(run: &Path) -> bool {
    let there = |name: &str| run.join(name).exists();
    run.join(REQUESTED).join(INDEX).exists() && !there(JOURNAL) && !there(FINISHED)
}

/// Everything in a cluster's state directory, in order: ids of runs begin with the time.
fn paths(state: &Path) -> Result<Vec<PathBuf>, RunDirError> {
    let list = |source| RunDirError::Io { what: "list", path: state.to_owned(), source };
    let mut paths: Vec<PathBuf> =
        fs::read_dir(state).map_err(list)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    Ok(paths)
}

/// Which file of the vault holds what.
#[derive(Serialize, Deserialize)]
pub(crate) struct Entry {
    item: Part,
    file: String,
}

/// Reads a plan, be it of a run or one that the operator keeps.
///
/// # Errors
///
/// Fails if it cannot be read, is of another format, or is not a plan.
pub fn read_plan(path: &Path) -> Result<Plan, RunDirError> {
    let content =
        |error: serde_json::Error| RunDirError::Content { path: path.to_owned(), why: error.to_string() };
    let value: serde_json::Value = serde_json::from_slice(&read_file(path)?).map_err(content)?;
    // The format comes before everything else, which another format may tell in other words.
    match value.get("schema").and_then(serde_json::Value::as_u64) {
        Some(found) if found != u64::from(Plan::SCHEMA) => {
            Err(RunDirError::Format { path: path.to_owned(), found, known: Plan::SCHEMA })
        }
        _ => serde_json::from_value(value).map_err(content),
    }
}

/// Reads a vault's index.
pub(crate) fn read_index(bytes: &[u8]) -> serde_json::Result<Vec<Entry>> {
    serde_json::from_slice(bytes)
}

/// The directory of one run.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
    run: RunId,
}

const JOURNAL: &str = "journal.jsonl";
const FINISHED: &str = "finished";
const VAULT: &str = "vault";
const BACKUP: &str = "backup";
/// Keys for which certificates were requested elsewhere, from before the run begins.
const REQUESTED: &str = "requested";
/// The file that tells what the files of a vault are.
const INDEX: &str = "index.json";
/// What of a run does not outlive its end. The backup holds what Secrets held before the run.
const SECRET: [&str; 3] = [VAULT, BACKUP, REQUESTED];
const PLAN: &str = "plan.json";

impl RunDir {
    /// Opens the directory of an existing run.
    ///
    /// # Errors
    ///
    /// Fails if it does not exist, or others may read or change it or anything in it.
    pub fn open(path: &Path) -> Result<Self, RunDirError> {
        private::check_run(path)?;
        let run = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self { path: path.to_owned(), run: RunId::new(run) })
    }

    /// Which run.
    pub const fn run(&self) -> &RunId {
        &self.run
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The journal's file.
    pub fn journal(&self) -> PathBuf {
        self.path.join(JOURNAL)
    }

    /// Writes a file as indented JSON.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be written durably.
    pub fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<(), RunDirError> {
        let path = self.path.join(name);
        let mut bytes = serde_json::to_vec_pretty(value)
            .map_err(|error| RunDirError::Content { path: path.clone(), why: error.to_string() })?;
        bytes.push(b'\n');
        write_private(&path, &bytes)
    }

    /// Reads a JSON file.
    ///
    /// # Errors
    ///
    /// Fails if it is not there or holds something else.
    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<T, RunDirError> {
        let path = self.path.join(name);
        let bytes = read_file(&path)?;
        serde_json::from_slice(&bytes).map_err(|error| RunDirError::Content { path, why: error.to_string() })
    }

    /// Reads any file.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be read.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, RunDirError> {
        read_file(&self.path.join(name))
    }

    /// Writes any file.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be written durably.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RunDirError> {
        write_private(&self.path.join(name), bytes)
    }

    /// Writes the plan and returns its digest, which the journal binds itself to.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be written durably.
    pub fn write_plan(&self, plan: &Plan) -> Result<String, RunDirError> {
        self.write_json(PLAN, plan)?;
        self.plan_digest()
    }

    /// The plan's file.
    pub fn plan(&self) -> PathBuf {
        self.path.join(PLAN)
    }

    /// SHA-256 of `plan.json`.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be read.
    pub fn plan_digest(&self) -> Result<String, RunDirError> {
        let bytes = read_file(&self.plan())?;
        Ok(hex::encode(Sha256::digest(bytes)))
    }

    /// Puts both generations of the PKI to rest: the new one, so that an interrupted run goes on with it, and the old
    /// one, since the operator's description may hold the new one before the run has ended. The index comes last, so
    /// that a vault without one is known to be incomplete.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be written durably.
    pub fn write_vault(&self, vault: &Vault) -> Result<(), RunDirError> {
        self.write_items(VAULT, vault)
    }

    /// Puts keys to rest for which certificates are requested elsewhere. The run waits from then on, and touches nothing
    /// before it has a journal.
    ///
    /// # Errors
    ///
    /// Fails if they cannot be written durably.
    pub(crate) fn write_requested(&self, keys: BTreeMap<LeafId, PrivateKey>) -> Result<(), RunDirError> {
        make_private_directory(&self.path.join(REQUESTED))?;
        let new = PkiSet { leaf_keys: keys, ..PkiSet::default() };
        self.write_items(REQUESTED, &Vault { new, ..Vault::default() })
    }

    /// Reads the keys for which certificates were requested.
    ///
    /// # Errors
    ///
    /// Fails if they are not complete.
    pub(crate) fn read_requested(&self) -> Result<BTreeMap<LeafId, PrivateKey>, RunDirError> {
        Ok(self.read_items(REQUESTED)?.new.leaf_keys)
    }

    /// Where the keys are for which certificates were requested.
    pub fn requested(&self) -> PathBuf {
        self.path.join(REQUESTED)
    }

    /// Whether it waits for certificates, and has not begun.
    pub(crate) fn is_waiting(&self) -> bool {
        waits(&self.path)
    }

    /// Destroys a run that waits for certificates, with its keys.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be removed; its keys are then removed the next time that the state directory is opened.
    pub(crate) fn withdraw(&self) -> Result<(), RunDirError> {
        self.finish()?;
        let path = self.path.clone();
        fs::remove_dir_all(&path).map_err(|source| RunDirError::Io { what: "remove", path, source })
    }

    fn write_items(&self, directory: &str, vault: &Vault) -> Result<(), RunDirError> {
        let directory = self.path.join(directory);
        let mut index: Vec<Entry> = Vec::new();
        let mut put = |item: Part, bytes: Zeroizing<Vec<u8>>| -> Result<(), RunDirError> {
            let file = format!("{:03}.pem", index.len() + 1);
            write_private(&directory.join(&file), &bytes)?;
            index.push(Entry { item, file });
            Ok(())
        };
        let key_pem = |key: &PrivateKey| {
            key.to_pem(KeyEncoding::Pkcs8)
                .map(|pem| pem.to_bytes())
                .map_err(|error| RunDirError::Content { path: directory.clone(), why: error.to_string() })
        };
        let pem = |certificate: &Certificate| Zeroizing::new(certificate.to_pem().into_bytes());
        for (generation, set) in [(Generation::Old, &vault.old), (Generation::New, &vault.new)] {
            for (domain, certificate) in &set.authorities {
                put(Part::Ca(*domain, generation), pem(certificate))?;
            }
            for (domain, key) in &set.authority_keys {
                put(Part::CaKey(*domain, generation), key_pem(key)?)?;
            }
            for (leaf, certificate) in &set.leaves {
                put(Part::Leaf(leaf.clone(), generation), pem(certificate))?;
            }
            for (leaf, key) in &set.leaf_keys {
                put(Part::LeafKey(leaf.clone(), generation), key_pem(key)?)?;
            }
        }
        for (domain, certificate) in &vault.cross {
            put(Part::Cross(*domain), pem(certificate))?;
        }
        let path = directory.join(INDEX);
        let bytes = serde_json::to_vec_pretty(&index)
            .map_err(|error| RunDirError::Content { path: path.clone(), why: error.to_string() })?;
        write_private(&path, &bytes)
    }

    /// The file that tells what the files of the vault are.
    pub fn vault_index(&self) -> PathBuf {
        self.path.join(VAULT).join(INDEX)
    }

    /// Reads both generations of the PKI.
    ///
    /// # Errors
    ///
    /// Fails if it is not complete.
    pub fn read_vault(&self) -> Result<Vault, RunDirError> {
        self.read_items(VAULT)
    }

    fn read_items(&self, directory: &str) -> Result<Vault, RunDirError> {
        let directory = self.path.join(directory);
        let index_path = directory.join(INDEX);
        let index = read_index(&read_file(&index_path)?)
            .map_err(|error| RunDirError::Content { path: index_path.clone(), why: error.to_string() })?;
        let mut vault = Vault::default();
        for Entry { item, file } in index {
            let path = directory.join(&file);
            if Path::new(&file).file_name() != Some(OsStr::new(&file)) {
                let (path, why) = (index_path, format!("it names {file}, which is not a file beside it"));
                return Err(RunDirError::Content { path, why });
            }
            let content = |why: String| RunDirError::Content { path: path.clone(), why };
            let text = Zeroizing::new(fs::read_to_string(&path).map_err(|source| RunDirError::Io {
                what: "read",
                path: path.clone(),
                source,
            })?);
            let certificate =
                || Certificate::from_pem(text.as_bytes()).map_err(|error| content(error.to_string()));
            let key = || PrivateKey::from_pem(&text).map_err(|error| content(error.to_string()));
            match item {
                Part::Ca(domain, generation) => {
                    drop(vault.set_mut(generation).authorities.insert(domain, certificate()?))
                }
                Part::CaKey(domain, generation) => {
                    drop(vault.set_mut(generation).authority_keys.insert(domain, key()?))
                }
                Part::Leaf(leaf, generation) => {
                    drop(vault.set_mut(generation).leaves.insert(leaf, certificate()?))
                }
                Part::LeafKey(leaf, generation) => {
                    drop(vault.set_mut(generation).leaf_keys.insert(leaf, key()?))
                }
                Part::Cross(domain) => drop(vault.cross.insert(domain, certificate()?)),
                // Public halves are told by their keys, and are never kept.
                Part::PublicKey(..) => {
                    return Err(content("the vault keeps no public keys".to_owned()));
                }
            }
        }
        Ok(vault)
    }

    /// Marks the run as finished and destroys the keys at rest: the new ones are where they belong by now, the old ones are
    /// of no use.
    ///
    /// # Errors
    ///
    /// Fails if the mark cannot be written or the vault cannot be removed.
    pub fn finish(&self) -> Result<(), RunDirError> {
        self.write(FINISHED, b"")?;
        for secret in SECRET {
            let path = self.path.join(secret);
            match fs::remove_dir_all(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(RunDirError::Io { what: "remove", path, source });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Keep for RunDir {
    async fn put(&self, name: &str, bytes: &[u8]) -> PortResult<()> {
        self.write(&format!("{BACKUP}/{name}"), bytes)
            .map_err(|error| PortError::new(Fault::Failed, format!("cannot keep {name}"), error))
    }

    async fn get(&self, name: &str) -> PortResult<Option<Vec<u8>>> {
        match fs::read(self.path.join(BACKUP).join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(PortError::new(Fault::Failed, format!("cannot read {name} again"), error)),
        }
    }
}

/// Writes a file that only its owner may read: temporary name, sync, rename, sync of the directory.
///
/// # Errors
///
/// Fails if any of that fails; then the file is as it was.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), RunDirError> {
    let io = |source| RunDirError::Io { what: "write", path: path.to_owned(), source };
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".kubecert-")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(directory)
        .map_err(io)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(io)?;
    file.persist(path).map_err(|error| io(error.error))?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(io)
}

fn read_file(path: &Path) -> Result<Vec<u8>, RunDirError> {
    fs::read(path).map_err(|source| RunDirError::Io { what: "read", path: path.to_owned(), source })
}

fn make_private_directory(path: &Path) -> Result<(), RunDirError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| RunDirError::Io {
        what: "create",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_has_touched_nothing_is_not_taken_up() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(&directory.path().join("c")).unwrap();
        let run = state.create(RunId::new("01A")).unwrap();
        assert_eq!(state.unfinished().unwrap().len(), 0);
        write_private(&run.journal(), b"").unwrap();
        assert_eq!(
            state.unfinished().unwrap().len(),
            1,
            "whoever empties a journal does not make a run unbegun"
        );
        run.write(FINISHED, b"").unwrap();
        assert_eq!(state.unfinished().unwrap().len(), 0);
    }

    #[test]
    fn keys_of_a_finished_run_do_not_outlive_a_crash() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(&directory.path().join("c")).unwrap();
        let [done, open] = ["01A", "01B"].map(|run| state.create(RunId::new(run)).unwrap());
        done.write(FINISHED, b"").unwrap();
        drop(state);
        drop(State::open(&directory.path().join("c")).unwrap());
        assert!(!done.path().join(VAULT).exists());
        assert!(open.path().join(VAULT).exists());
    }
}
