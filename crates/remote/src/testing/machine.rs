//! The machine behind the endpoint: a directory for drive C, access lists, a kubelet.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;

/// What runs as the service `kubelet`.
#[async_trait]
pub trait Kubelet: Send + Sync {
    /// Starts it, with kube-proxy; whether the service came to run.
    async fn start(&self) -> bool;

    /// Ends it, with kube-proxy.
    async fn stop(&self);

    /// Its process id and start, while it runs.
    fn process(&self) -> Option<(u32, SystemTime)>;

    /// AKS engine's `windowsnodereset.ps1`: ends everything, makes the network anew, starts the kubelet.
    async fn reset(&self);
}

/// Inherited access on drive C: the system and administrators may do everything, users may read.
const INHERITED: &str = "D:AI(A;ID;FA;;;SY)(A;ID;FA;;;BA)(A;ID;0x1200a9;;;BU)";
/// What `common.ps1` gives to files with keys.
pub(super) const PRIVATE: &str = "D:P(A;;FA;;;SY)(A;;FA;;;BA)";

/// A Windows machine.
pub struct Machine {
    root: PathBuf,
    hostname: String,
    kubelet: Arc<dyn Kubelet>,
    /// Access lists that are not inherited, by path.
    access: Mutex<BTreeMap<String, String>>,
    acts: Mutex<Vec<String>>,
}

impl Machine {
    /// A machine whose drive C lies in `root`.
    pub fn new(root: impl Into<PathBuf>, hostname: impl Into<String>, kubelet: Arc<dyn Kubelet>) -> Self {
        Self {
            root: root.into(),
            hostname: hostname.into(),
            kubelet,
            access: Mutex::default(),
            acts: Mutex::default(),
        }
    }

    /// What was done here, in order: operations, files and services; no contents.
    pub fn acts(&self) -> Vec<String> {
        locked(&self.acts).clone()
    }

    /// Who may do what with a file, in the security descriptor definition language.
    pub fn access(&self, path: &str) -> String {
        locked(&self.access).get(path).cloned().unwrap_or_else(|| INHERITED.to_owned())
    }

    /// Where a path of Windows lies in a directory that stands for its drives.
    pub fn place(root: &Path, path: &str) -> PathBuf {
        let drive = path.chars().next().unwrap_or('c').to_ascii_lowercase().to_string();
        let rest = path.get(2..).unwrap_or_default();
        rest.split('\\').filter(|part| !part.is_empty()).fold(root.join(drive), |at, part| at.join(part))
    }

    pub(super) fn act(&self, what: impl Into<String>) {
        locked(&self.acts).push(what.into());
    }

    pub(super) fn hostname(&self) -> &str {
        &self.hostname
    }

    pub(super) fn kubelet(&self) -> &dyn Kubelet {
        self.kubelet.as_ref()
    }

    pub(super) fn at(&self, path: &str) -> PathBuf {
        Self::place(&self.root, path)
    }

    /// The target of a link, as Windows names it.
    pub(super) fn link(&self, path: &str) -> Option<String> {
        let target = fs::read_link(self.at(path)).ok()?;
        let Ok(below) = target.strip_prefix(&self.root) else { return Some(target.display().to_string()) };
        let mut parts = below.iter().map(|part| part.to_string_lossy().into_owned());
        let drive = parts.next()?;
        Some(format!(r"{drive}:\{}", parts.collect::<Vec<_>>().join(r"\")))
    }

    /// Whether something is at a path, be it a link that leads nowhere.
    pub(super) fn is_there(&self, path: &str) -> bool {
        fs::symlink_metadata(self.at(path)).is_ok()
    }

    pub(super) fn set_access(&self, path: &str, sddl: &str) -> io::Result<()> {
        let mode = if sddl == PRIVATE { 0o600 } else { 0o644 };
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode))?;
        locked(&self.access).insert(path.to_owned(), sddl.to_owned());
        self.act(format!("access {path} {}", if sddl == PRIVATE { "private" } else { "open" }));
        Ok(())
    }

    /// As `files.ps1` does: an empty file beside its place, its access list, its content, the disk.
    pub(super) fn make_ready(&self, path: &str, bytes: &[u8], sddl: &str) -> io::Result<String> {
        let directory = path.rsplit_once('\\').map_or(path, |(directory, _)| directory);
        let temporary = format!(r"{directory}\.kubecert.{:x}", rand_like(path));
        OpenOptions::new().write(true).create_new(true).open(self.at(&temporary))?;
        self.set_access(&temporary, sddl)?;
        let mut file = OpenOptions::new().write(true).open(self.at(&temporary))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(temporary)
    }

    pub(super) fn put_in_place(&self, temporary: &str, path: &str, sddl: &str) -> io::Result<()> {
        fs::rename(self.at(temporary), self.at(path))?;
        locked(&self.access).remove(temporary);
        self.set_access(path, sddl)?;
        File::options().write(true).open(self.at(path))?.set_modified(SystemTime::now())?;
        self.act(format!("wrote {path}"));
        Ok(())
    }

    pub(super) fn put_link(&self, path: &str, target: &str) -> io::Result<()> {
        let _ = fs::remove_file(self.at(path));
        symlink(self.at(target), self.at(path))?;
        self.act(format!("linked {path}"));
        Ok(())
    }

    pub(super) fn remove(&self, path: &str) -> io::Result<()> {
        let at = self.at(path);
        if fs::symlink_metadata(&at)?.is_dir() {
            fs::remove_dir_all(at)?;
        } else {
            fs::remove_file(at)?;
        }
        locked(&self.access).remove(path);
        self.act(format!("removed {path}"));
        Ok(())
    }

    /// Appends a line to the node's log.
    pub(super) fn log(&self, act: &str, text: &str) {
        let line = format!("kubecert {act}: {text}\r\n");
        let log =
            OpenOptions::new().append(true).create(true).open(self.at(kubecert_core::layout::windows::LOG));
        if let Ok(mut log) = log {
            let _ = log.write_all(line.as_bytes());
        }
    }
}

/// A number that no two files beside each other share at the same time.
fn rand_like(path: &str) -> u128 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_nanos().wrapping_add(path.len() as u128)
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
