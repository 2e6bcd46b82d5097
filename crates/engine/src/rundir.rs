//! The run directory: plan, journal, inventories, vault, report.
//!
//! `<state>/<cluster>/lock` keeps a second operator out; `<state>/<cluster>/<run>/` holds one run each. Directories are 0700, files
//! 0600; every file is written under a temporary name, synced and renamed.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use kubecert_core::material::Part;
use kubecert_core::model::{Generation, RunId};
use kubecert_core::plan::Plan;
use kubecert_pki::{Certificate, KeyEncoding, PrivateKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::ports::{Fault, Keep, PortError, PortResult};
use crate::vault::Vault;

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
    /// Somebody else works on this cluster.
    #[error("another kubecert works on this cluster (lock {})", path.display())]
    Locked {
        /// The lock.
        path: PathBuf,
    },
    /// Others may read it.
    #[error("{} is readable by others than its owner; it holds private keys: chmod -R go-rwx it after finding out who read it", path.display())]
    TooOpen {
        /// The directory.
        path: PathBuf,
    },
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
    /// Fails if somebody else holds the lock, or the directory cannot be used.
    pub fn open(path: &Path) -> Result<Self, RunDirError> {
        make_private_directory(path)?;
        let lock_path = path.join("lock");
        let io = |source| RunDirError::Io { what: "open", path: lock_path.clone(), source };
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(RunDirError::Locked { path: lock_path }),
            Err(fs::TryLockError::Error(source)) => Err(io(source)),
        }
    }

    /// Creates the directory of a new run.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be created.
    pub fn create(&self, run: RunId) -> Result<RunDir, RunDirError> {
        let path = self.path.join(run.as_str());
        make_private_directory(&path.join("vault"))?;
        make_private_directory(&path.join("backup"))?;
        Ok(RunDir { path, run })
    }

    /// Runs that have a journal and no `finished` mark, the latest first.
    ///
    /// # Errors
    ///
    /// Fails if the directory cannot be listed, or a run's directory is open to others.
    pub fn unfinished(&self) -> Result<Vec<RunDir>, RunDirError> {
        let entries = fs::read_dir(&self.path).map_err(|source| RunDirError::Io {
            what: "list",
            path: self.path.clone(),
            source,
        })?;
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        let open = |path: &PathBuf| path.join(JOURNAL).exists() && !path.join(FINISHED).exists();
        paths.iter().rev().filter(|path| open(path)).map(|path| RunDir::open(path)).collect()
    }
}

/// Which file of the vault holds what.
#[derive(Serialize, Deserialize)]
struct Entry {
    item: Part,
    file: String,
}

/// The directory of one run.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
    run: RunId,
}

const JOURNAL: &str = "journal.jsonl";
const FINISHED: &str = "finished";

impl RunDir {
    /// Opens the directory of an existing run.
    ///
    /// # Errors
    ///
    /// Fails if it does not exist or others may read it.
    pub fn open(path: &Path) -> Result<Self, RunDirError> {
        let metadata = fs::metadata(path).map_err(|source| RunDirError::Io {
            what: "open",
            path: path.to_owned(),
            source,
        })?;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(RunDirError::TooOpen { path: path.to_owned() });
        }
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
        let bytes =
            fs::read(&path).map_err(|source| RunDirError::Io { what: "read", path: path.clone(), source })?;
        serde_json::from_slice(&bytes).map_err(|error| RunDirError::Content { path, why: error.to_string() })
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
        self.write_json("plan.json", plan)?;
        self.plan_digest()
    }

    /// SHA-256 of `plan.json`.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be read.
    pub fn plan_digest(&self) -> Result<String, RunDirError> {
        let path = self.path.join("plan.json");
        let bytes = fs::read(&path).map_err(|source| RunDirError::Io { what: "read", path, source })?;
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
        let mut index: Vec<Entry> = Vec::new();
        let mut put = |item: Part, bytes: Zeroizing<Vec<u8>>| -> Result<(), RunDirError> {
            let file = format!("{:03}.pem", index.len() + 1);
            write_private(&self.path.join("vault").join(&file), &bytes)?;
            index.push(Entry { item, file });
            Ok(())
        };
        let key_pem = |key: &PrivateKey| {
            key.to_pem(KeyEncoding::Pkcs8).map(|pem| pem.to_bytes()).map_err(|error| RunDirError::Content {
                path: self.path.join("vault"),
                why: error.to_string(),
            })
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
        self.write_json("vault/index.json", &index)
    }

    /// Reads both generations of the PKI.
    ///
    /// # Errors
    ///
    /// Fails if it is not complete.
    pub fn read_vault(&self) -> Result<Vault, RunDirError> {
        let index: Vec<Entry> = self.read_json("vault/index.json")?;
        let mut vault = Vault::default();
        for Entry { item, file } in index {
            let path = self.path.join("vault").join(file);
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
        let vault = self.path.join("vault");
        match fs::remove_dir_all(&vault) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(RunDirError::Io { what: "remove", path: vault, source })
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Keep for RunDir {
    async fn put(&self, name: &str, bytes: &[u8]) -> PortResult<()> {
        self.write(&format!("backup/{name}"), bytes)
            .map_err(|error| PortError::new(Fault::Failed, format!("cannot keep {name}"), error))
    }

    async fn get(&self, name: &str) -> PortResult<Option<Vec<u8>>> {
        match fs::read(self.path.join("backup").join(name)) {
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

fn make_private_directory(path: &Path) -> Result<(), RunDirError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| RunDirError::Io {
        what: "create",
        path: path.to_owned(),
        source,
    })
}
