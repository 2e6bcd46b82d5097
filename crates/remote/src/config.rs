//! What is needed to reach the nodes.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kubecert_core::model::NodeName;
use kubecert_engine::ports::{Fault, PortError, PortResult};
use russh::keys::{Error as KeyError, PrivateKey, decode_secret_key};
use zeroize::Zeroizing;

use crate::hostkeys::HostKeys;

/// How to reach the nodes: through one bastion, with one user and one key.
#[derive(Debug)]
pub struct SshConfig {
    /// The bastion's name or address, usually the first control plane's public one.
    pub bastion_host: String,
    /// The bastion's SSH port.
    pub bastion_port: u16,
    /// The user on the bastion and on the nodes, who may use sudo without a password, or is root.
    pub user: String,
    /// That user's private key, or the agent that holds it.
    pub private_key: UserKey,
    /// Who is who.
    pub host_keys: HostKeys,
    /// The nodes' SSH port as seen from the bastion.
    pub node_port: u16,
    /// Where nodes are found whose names the bastion cannot resolve: name, then address and port. Host keys are looked for
    /// under the node's name and that port all the same.
    pub addresses: BTreeMap<NodeName, (String, u16)>,
    /// Whether nodes that are not among [`SshConfig::addresses`] are reached at the address that was learnt of them, where
    /// one was, rather than by their name.
    pub by_learnt_address: bool,
    /// Who logs in to nodes that run Windows; `None` where the cluster's description tells of nobody.
    pub windows: Option<WindowsLogin>,
    /// How long the way to a host, greeting and authentication together may take.
    pub connect_timeout: Duration,
}

impl SshConfig {
    /// The default of [`SshConfig::connect_timeout`].
    ///
    /// Twenty seconds: sshd looks up the client's name (up to ten seconds where DNS is broken), and a login through PAM
    /// on a loaded node takes some more.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

    /// A configuration with port 22 everywhere, names that the bastion resolves, and the default timeout.
    pub fn new(
        bastion_host: impl Into<String>,
        user: impl Into<String>,
        private_key: UserKey,
        host_keys: HostKeys,
    ) -> Self {
        Self {
            bastion_host: bastion_host.into(),
            bastion_port: 22,
            user: user.into(),
            private_key,
            host_keys,
            node_port: 22,
            addresses: BTreeMap::new(),
            by_learnt_address: false,
            windows: None,
            connect_timeout: Self::CONNECT_TIMEOUT,
        }
    }
}

/// Who logs in to Windows nodes: an administrator there, with the key that opens the other nodes if the node knows it, and
/// with the password otherwise.
#[derive(Clone, Debug)]
pub struct WindowsLogin {
    /// The user's name.
    pub user: String,
    /// The password, if there is one.
    pub password: Option<Password>,
}

/// A user's password. Its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes a password.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

/// What a user proves with who they are.
#[derive(Clone)]
pub struct UserKey(Identity);

/// Where the private key is.
#[derive(Clone)]
pub(crate) enum Identity {
    /// Here. Its memory is wiped when it is dropped.
    Key(Arc<PrivateKey>),
    /// With the agent that listens at this socket, which signs and never shows it.
    Agent(PathBuf),
}

impl UserKey {
    /// The keys of the SSH agent that listens at `socket`. It is asked at each login, in the order in which it names its
    /// keys.
    pub const fn agent(socket: PathBuf) -> Self {
        Self(Identity::Agent(socket))
    }

    /// Reads a private key without a passphrase from a file.
    ///
    /// # Errors
    ///
    /// When there is no such file, or as with [`UserKey::parse`].
    pub fn load(path: &Path) -> PortResult<Self> {
        KeyFile::read(path)?.unlock(None)
    }

    /// Reads a private key from the text of a file, whose name only serves the error: OpenSSH, PKCS#1, PKCS#8, SEC1.
    ///
    /// # Errors
    ///
    /// When the text is no private key, or one under a passphrase.
    pub fn parse(text: &str, file: &str) -> PortResult<Self> {
        KeyFile { text: Zeroizing::new(text.to_owned()), file: file.to_owned() }.unlock(None)
    }

    pub(crate) const fn identity(&self) -> &Identity {
        &self.0
    }
}

impl fmt::Debug for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Identity::Key(key) => write!(f, "UserKey({})", key.algorithm()),
            Identity::Agent(socket) => write!(f, "UserKey(agent at {})", socket.display()),
        }
    }
}

/// A private key's file, which may be under a passphrase.
pub struct KeyFile {
    text: Zeroizing<String>,
    /// As messages name it.
    file: String,
}

impl KeyFile {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// When there is no such file, or it cannot be read.
    pub fn read(path: &Path) -> PortResult<Self> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|source| {
            let cause = match source.kind() {
                ErrorKind::NotFound => "there is no such file".to_owned(),
                ErrorKind::InvalidData => "it is not a private key".to_owned(),
                _ => source.to_string(),
            };
            PortError::new(Fault::Refused, format!("cannot use the SSH key in {file}"), cause)
                .remedy("Name the file of the private key that belongs to the administrator's public key.")
        })?;
        Ok(Self { text, file })
    }

    /// Whether it takes a passphrase to use it.
    pub fn is_encrypted(&self) -> bool {
        decode_secret_key(&self.text, None).is_err_and(|source| is_encrypted(&self.text, &source))
    }

    /// Takes the key out of the file: OpenSSH, PKCS#1, PKCS#8, SEC1.
    ///
    /// # Errors
    ///
    /// When the text is no private key, or one under another passphrase, or under one and none is given.
    pub fn unlock(&self, passphrase: Option<&str>) -> PortResult<UserKey> {
        let what = || format!("cannot use the SSH key in {}", self.file);
        let refused = |cause: String| PortError::new(Fault::Refused, what(), cause);
        let text = self.text.as_str();
        let given = passphrase.filter(|_| self.is_encrypted());
        match (decode_secret_key(text, given), given) {
            (Ok(key), _) => Ok(UserKey(Identity::Key(Arc::new(key)))),
            (Err(source), None) if is_encrypted(text, &source) => Err(refused(
                "it is encrypted, and no passphrase was given".to_owned(),
            )
            .remedy(
                "Run the command on a terminal, which asks for the passphrase; or give the passphrase with \
                     --passphrase-fd, or the key by way of an agent with --ssh-agent.",
            )),
            (Err(_), Some(_)) if is_unknown_cipher(text) => Err(refused(
                "it is encrypted in an old way that is not read (of PEM's own only AES-128-CBC is)"
                    .to_owned(),
            )
            .remedy(
                "Write it anew (`ssh-keygen -p -f FILE`), or give it by way of an agent with --ssh-agent.",
            )),
            (Err(_), Some(_)) => Err(refused("the passphrase is not this key's".to_owned())
                .remedy("Give the passphrase with which the key was encrypted.")),
            (Err(source), None) => Err(refused(no_key(text, &source)).remedy(
                "Give the private key that belongs to the administrator's public key of the cluster.",
            )),
        }
    }
}

/// Says which file it is, never what it holds.
impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyFile({})", self.file)
    }
}

/// Whether a key is encrypted in PEM's own way (RFC 1421) with another cipher than the library reads.
fn is_unknown_cipher(text: &str) -> bool {
    text.contains("Proc-Type: 4,ENCRYPTED") && !text.contains("DEK-Info: AES-128-CBC")
}

/// Whether what stopped us is a passphrase. The library says so for OpenSSH's format only.
fn is_encrypted(text: &str, source: &KeyError) -> bool {
    matches!(source, KeyError::KeyIsEncrypted)
        || text.contains("Proc-Type: 4,ENCRYPTED")
        || text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || (text.starts_with("PuTTY-User-Key-File-") && !text.contains("Encryption: none"))
}

fn no_key(text: &str, source: &KeyError) -> String {
    let trimmed = text.trim_start();
    if trimmed.is_empty() {
        "it is empty".to_owned()
    } else if trimmed.starts_with("ssh-") || trimmed.starts_with("ecdsa-") || trimmed.contains("PUBLIC KEY") {
        "it is a public key".to_owned()
    } else if !trimmed.contains("PRIVATE KEY") {
        "it is not a private key".to_owned()
    } else {
        format!("it is not a private key that can be read: {source}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn keygen(args: &[&str]) -> (String, String) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        let done = Command::new("ssh-keygen").args(["-q", "-f"]).arg(&path).args(args).status();
        assert!(done.expect("ssh-keygen runs").success());
        let read = |path: &std::path::Path| std::fs::read_to_string(path).expect("it is there");
        (read(&path), read(&path.with_extension("pub")))
    }

    #[test]
    fn keys_of_every_kind_are_read() {
        for args in [
            &["-t", "rsa", "-b", "2048", "-N", ""][..],
            &["-t", "rsa", "-b", "2048", "-N", "", "-m", "PEM"],
            &["-t", "rsa", "-b", "2048", "-N", "", "-m", "PKCS8"],
            &["-t", "ed25519", "-N", ""],
            &["-t", "ecdsa", "-N", ""],
        ] {
            let (private, public) = keygen(args);
            assert!(UserKey::parse(&private, "id").is_ok(), "{args:?}");
            let file = KeyFile { text: Zeroizing::new(private), file: "id".to_owned() };
            assert!(!file.is_encrypted());
            assert!(file.unlock(Some("needless")).is_ok(), "{args:?}");
            let refused = UserKey::parse(&public, "id.pub").expect_err("a public key");
            assert!(refused.to_string().ends_with("it is a public key"), "{refused}");
        }
    }

    #[test]
    fn encrypted_keys_are_told_from_broken_ones() {
        for args in [
            &["-t", "ed25519", "-N", "secret"][..],
            &["-t", "rsa", "-b", "2048", "-N", "secret", "-m", "PEM"],
            &["-t", "rsa", "-b", "2048", "-N", "secret", "-m", "PKCS8"],
        ] {
            let text = keygen(args).0;
            let refused = UserKey::parse(&text, "id").expect_err("encrypted");
            assert!(refused.cause.contains("encrypted"), "{refused}");
            assert!(refused.remedy.is_some());
            let file = KeyFile { text: Zeroizing::new(text), file: "id".to_owned() };
            assert!(file.is_encrypted());
            assert!(file.unlock(Some("secret")).is_ok(), "{args:?}");
            let refused = file.unlock(Some("hunter2")).expect_err("another passphrase");
            assert!(refused.cause.contains("not this key's"), "{refused}");
            assert!(!refused.to_string().contains("hunter2"));
        }
        for (text, cause) in [
            ("", "it is empty"),
            ("hello", "it is not a private key"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "can be read"),
            ("-----BEGIN RSA PRIVATE KEY-----\n", "can be read"),
        ] {
            let refused = UserKey::parse(text, "id").expect_err("no key");
            assert!(refused.cause.contains(cause), "{refused}");
        }
    }
}
