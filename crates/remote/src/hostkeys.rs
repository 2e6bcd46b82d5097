//! Whom we speak to: host keys of the bastion and of the nodes behind it.
//!
//! A host that nobody has told us about is taken at its word once, and its key is pinned in a file of the cluster's own.
//! From then on, and for every host that the user's own files name, only the known keys are accepted; a revoked key
//! never is. Nodes behind the bastion are judged like the bastion, under their own names.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use kubecert_engine::ports::{Fault, PortError, PortResult};
use russh::keys::{Algorithm, HashAlg, PublicKey};

use crate::known_hosts::{self, Kind, KnownKey, KnownKeys, lookup_name};

/// A host was met for the first time, and its key pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstContact {
    /// The host as `known_hosts` names it: `host` or `[host]:port`.
    pub host: String,
    /// Kind of the key, for example `ssh-ed25519`.
    pub algorithm: String,
    /// The key's fingerprint as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// The file that it is pinned in.
    pub pinned_in: PathBuf,
}

type Listener = Arc<dyn Fn(&FirstContact) + Send + Sync>;

/// The host keys that are known, and where new ones are kept.
pub struct HostKeys {
    pinned: PathBuf,
    known: Mutex<Known>,
    listener: Option<Listener>,
}

/// What the files hold.
struct Known {
    keys: KnownKeys,
    /// How many lines our own file has.
    pinned_lines: usize,
}

impl HostKeys {
    /// Reads our own file of pinned keys, one per cluster since node names are unique only there, and further
    /// `known_hosts` files that are never written to. Files that do not exist hold no keys.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or a line in it revokes a key that cannot be read.
    pub fn load(pinned: impl Into<PathBuf>, further: &[PathBuf]) -> PortResult<Self> {
        let pinned = pinned.into();
        let mut keys = KnownKeys::default();
        for file in std::iter::once(&pinned).chain(further) {
            keys.extend(known_hosts::read(file)?);
        }
        let pinned_lines = fs::read_to_string(&pinned).map_or(0, |text| text.lines().count());
        Ok(Self { pinned, known: Mutex::new(Known { keys, pinned_lines }), listener: None })
    }

    /// Calls `listener` for each host that is met for the first time.
    #[must_use]
    pub fn on_first_contact(mut self, listener: impl Fn(&FirstContact) + Send + Sync + 'static) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// Accepts a host's key, or says why not. A host that is met for the first time is pinned before it is accepted.
    pub(crate) fn accept(&self, host: &str, port: u16, key: &PublicKey) -> PortResult<()> {
        let name = lookup_name(host, port);
        let what = format!("will not speak to {name}");
        let fingerprint = key.fingerprint(HashAlg::Sha256);
        // Judging and pinning are one act, so that two sessions to one new host do not pin it twice.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let about = |kind| known.keys.about(&name, kind);
        let same = |known: &&KnownKey| known.key().key_data() == key.key_data();
        if let Some(revoked) = about(Kind::Revoked).find(same) {
            let cause = format!("its host key {fingerprint} is revoked in {}", revoked.place());
            return Err(PortError::new(Fault::Refused, what, cause)
                .remedy("Whoever answers holds a key that must not be trusted. Give the host a new key."));
        }
        if about(Kind::Trusted).any(|known| same(&known)) {
            return Ok(());
        }
        if let Some(other) = about(Kind::Trusted).next() {
            let cause = format!(
                "its host key has changed: it shows {fingerprint}, and {} says otherwise",
                other.place()
            );
            return Err(PortError::new(Fault::Refused, what, cause).remedy(format!(
                "Find out why. If the machine was reinstalled, remove the old key (`ssh-keygen -R '{name}' -f FILE`, \
                 with the file named above); if not, somebody may be in between."
            )));
        }
        let contact = FirstContact {
            host: name.clone(),
            algorithm: key.algorithm().to_string(),
            fingerprint: fingerprint.to_string(),
            pinned_in: self.pinned.clone(),
        };
        let line = self.pin(&name, key, known.pinned_lines + 1)?;
        known.pinned_lines += 1;
        known.keys.extend(line);
        drop(known);
        tracing::warn!(host = %contact.host, fingerprint = %contact.fingerprint, "first contact: pinned its host key");
        if let Some(listener) = &self.listener {
            listener(&contact);
        }
        Ok(())
    }

    /// The kinds of key to ask the host for: those that are known first, so that a host with several keys shows one that
    /// we can recognise.
    pub(crate) fn preferred(&self, host: &str, port: u16) -> Vec<Algorithm> {
        let name = lookup_name(host, port);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known: Vec<Algorithm> =
            known.keys.about(&name, Kind::Trusted).map(|known| known.key().algorithm()).collect();
        let is_known = |algorithm: &Algorithm| match algorithm {
            Algorithm::Rsa { .. } => known.iter().any(|known| matches!(known, Algorithm::Rsa { .. })),
            other => known.contains(other),
        };
        // What the library offers, without RSA over SHA-1.
        let offered =
            russh::Preferred::DEFAULT.key.iter().filter(|one| !matches!(one, Algorithm::Rsa { hash: None }));
        let (mut first, rest): (Vec<_>, Vec<_>) = offered.cloned().partition(is_known);
        first.extend(rest);
        first
    }

    /// Appends a line, its `number`th, to our own file, in one write, and returns it as it will be read.
    fn pin(&self, name: &str, key: &PublicKey, number: usize) -> PortResult<Option<KnownKey>> {
        let failed = |cause: &dyn std::fmt::Display| {
            PortError::new(
                Fault::Failed,
                format!("cannot pin the host key of {name} in {}", self.pinned.display()),
                cause,
            )
            .remedy("Make that file and its directory writable.")
        };
        let text = key.to_openssh().map_err(|source| failed(&source))?;
        // The comment is whatever the key came with; it does not belong into our file.
        let text = text.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        let line = format!("{name} {text}\n");
        append(&self.pinned, &line).map_err(|source| failed(&source))?;
        known_hosts::read_line(&self.pinned, number, &line)
    }
}

impl std::fmt::Debug for HostKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostKeys").field("pinned", &self.pinned).finish_non_exhaustive()
    }
}

/// Appends a line durably. If the file does not end with a line break, as after somebody's editor, one comes first.
fn append(path: &Path, line: &str) -> std::io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let mut file = fs::OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let mut last = *b"\n";
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let line = if last == *b"\n" { line.to_owned() } else { format!("\n{line}") };
    file.write_all(line.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const TWO: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK2pr+Bfus1hvPof4Wb/plZCzSbqadHH0u+/f4ODtKnE";

    fn key(text: &str) -> PublicKey {
        text.parse().expect("a key")
    }

    #[test]
    fn first_contact_pins_and_is_told_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let pinned = dir.path().join("clusters/c1/known_hosts");
        let told = Arc::new(Mutex::new(Vec::new()));
        let listener = Arc::clone(&told);
        let keys = HostKeys::load(&pinned, &[])
            .expect("no file is fine")
            .on_first_contact(move |contact| listener.lock().expect("no panic").push(contact.host.clone()));
        keys.accept("Node1", 2222, &key(ONE)).expect("first contact");
        keys.accept("node1", 2222, &key(ONE)).expect("known now");
        let changed = keys.accept("node1", 2222, &key(TWO)).expect_err("another key");
        assert_eq!(changed.fault, Fault::Refused);
        assert!(changed.cause.contains("has changed") && changed.cause.contains("line 1"), "{changed}");
        assert_eq!(*told.lock().expect("no panic"), ["[node1]:2222"]);
        assert_eq!(fs::read_to_string(&pinned).expect("it is there"), format!("[node1]:2222 {ONE}\n"));
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&pinned).expect("it is there").permissions().mode() & 0o777, 0o600);
        // Another run finds it.
        let again = HostKeys::load(&pinned, &[]).expect("it is read");
        assert!(again.accept("node1", 2222, &key(TWO)).is_err());
        assert!(again.accept("node1", 2222, &key(ONE)).is_ok());
        assert!(again.accept("node1", 22, &key(TWO)).is_ok(), "another port is another host");
    }

    #[test]
    fn several_keys_count_and_a_revoked_one_never() {
        let dir = tempfile::tempdir().expect("a directory");
        let users = dir.path().join("known_hosts");
        fs::write(&users, format!("node* {ONE}\nnode1 {TWO}\n@revoked * {TWO}\n")).expect("it is written");
        let keys =
            HostKeys::load(dir.path().join("pinned"), std::slice::from_ref(&users)).expect("it is read");
        assert!(keys.accept("node1", 22, &key(ONE)).is_ok());
        let revoked = keys.accept("node1", 22, &key(TWO)).expect_err("revoked");
        assert!(revoked.cause.contains("revoked"), "{revoked}");
        assert!(keys.accept("unknown", 22, &key(TWO)).is_err(), "revoked for everybody");
        assert!(!dir.path().join("pinned").exists(), "nothing was pinned");
    }

    #[test]
    fn known_kinds_of_key_are_asked_for_first() {
        let dir = tempfile::tempdir().expect("a directory");
        let users = dir.path().join("known_hosts");
        let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHwf2HMM5TRXvo2SQJjs\
                     NkiDD5KqiiNjrGVv3UUh+mMT5RHxiRtOnlqvjhQtBq0VpmpCV/PwUdhOig4vkbqAcEc=";
        fs::write(&users, format!("node1 {ecdsa}\n")).expect("it is written");
        let keys = HostKeys::load(dir.path().join("pinned"), &[users]).expect("it is read");
        assert!(matches!(keys.preferred("node1", 22)[0], Algorithm::Ecdsa { .. }));
        assert_eq!(keys.preferred("node2", 22)[0], Algorithm::Ed25519);
        assert!(!keys.preferred("node1", 22).contains(&Algorithm::Rsa { hash: None }));
    }

    #[test]
    fn a_file_without_a_last_line_break_is_not_broken() {
        let dir = tempfile::tempdir().expect("a directory");
        let pinned = dir.path().join("pinned");
        fs::write(&pinned, format!("node1 {ONE}")).expect("it is written");
        let keys = HostKeys::load(&pinned, &[]).expect("it is read");
        keys.accept("node2", 22, &key(TWO)).expect("first contact");
        assert_eq!(fs::read_to_string(&pinned).expect("it is there"), format!("node1 {ONE}\nnode2 {TWO}\n"));
    }
}
