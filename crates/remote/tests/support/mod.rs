//! Real sshds on loopback: a bastion and nodes behind it, which differ by port and host key.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kubecert_core::model::NodeName;
use kubecert_remote::{FirstContact, HostKeys, SshConfig, UserKey};
use tempfile::TempDir;

/// What AKS engine's images allow, and nothing else.
pub(crate) const AKS_ENGINE: &str = "KexAlgorithms curve25519-sha256@libssh.org\n\
    MACs hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com,umac-128-etm@openssh.com,hmac-sha2-512,hmac-sha2-256,umac-128@openssh.com\n\
    Ciphers chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes128-gcm@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr\n";

/// An sshd that ends with the test.
pub(crate) struct Sshd {
    child: Child,
    pub(crate) port: u16,
    key: PathBuf,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory, a user's key, and sshds.
pub(crate) struct Bed {
    pub(crate) dir: TempDir,
    pub(crate) told: Arc<Mutex<Vec<FirstContact>>>,
}

impl Bed {
    /// `None`, and a word about it, where no sshd can be run.
    pub(crate) fn new() -> Option<Self> {
        let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout == b"0\n");
        if !root || !Path::new("/usr/sbin/sshd").exists() {
            eprintln!("skipped: needs root and /usr/sbin/sshd (apt-get install openssh-server)");
            return None;
        }
        // sshd wants this directory, which only its service makes.
        fs::create_dir_all("/run/sshd").expect("made");
        let bed = Self { dir: tempfile::tempdir().expect("a directory"), told: Arc::default() };
        bed.keygen("user", &["-t", "rsa", "-b", "2048"]);
        Some(bed)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn keygen(&self, name: &str, args: &[&str]) -> PathBuf {
        let path = self.path(name);
        let _ = fs::remove_file(&path);
        let done = Command::new("ssh-keygen").args(["-q", "-N", "", "-f"]).arg(&path).args(args).status();
        assert!(done.expect("ssh-keygen runs").success());
        path
    }

    /// Starts an sshd with a host key of its own.
    pub(crate) fn sshd(&self, name: &str, more: &str) -> Sshd {
        let key = self.keygen(&format!("{name}.key"), &["-t", "ed25519"]);
        // A port that was free a moment ago.
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        self.sshd_with(name, more, port, key)
    }

    /// Starts one again on the same port, with this host key.
    pub(crate) fn sshd_with(&self, name: &str, more: &str, port: u16, key: PathBuf) -> Sshd {
        let dir = self.dir.path().display();
        let config = self.path(&format!("{name}.conf"));
        let text = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nPidFile none\nUsePAM no\nStrictModes no\n\
             PasswordAuthentication no\nPermitRootLogin yes\nAuthorizedKeysFile {dir}/user.pub\n\
             SetEnv KUBECERT_LOG={dir}/azure/{name}.log KUBECERT_BASE={dir}/{name}/base\n{more}",
            key.display()
        );
        fs::write(&config, text).expect("written");
        let mut child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-E"])
            .arg(self.path(&format!("{name}.sshd.log")))
            .arg("-f")
            .arg(&config)
            .stdin(Stdio::null())
            .spawn()
            .expect("sshd runs");
        let limit = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                child.try_wait().expect("a child").is_none() && Instant::now() < limit,
                "sshd {name} does not start"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Sshd { child, port, key }
    }

    pub(crate) fn user_key(&self) -> UserKey {
        UserKey::load(&self.path("user")).expect("a key")
    }

    pub(crate) fn host_keys(&self) -> HostKeys {
        let told = Arc::clone(&self.told);
        HostKeys::load(self.path("state/known_hosts"), &[self.path("users_known_hosts")])
            .expect("they are read")
            .on_first_contact(move |contact| told.lock().expect("no panic").push(contact.clone()))
    }

    /// The way through `bastion` to `nodes`.
    pub(crate) fn config(&self, bastion: &Sshd, nodes: &[(&str, &Sshd)]) -> SshConfig {
        let address =
            |(name, sshd): &(&str, &Sshd)| (NodeName::from(*name), ("127.0.0.1".to_owned(), sshd.port));
        SshConfig {
            bastion_port: bastion.port,
            addresses: nodes.iter().map(address).collect(),
            ..SshConfig::new("127.0.0.1", "root", self.user_key(), self.host_keys())
        }
    }
}

impl Sshd {
    /// The public half of the host key, as in `known_hosts`.
    pub(crate) fn public_key(&self) -> String {
        fs::read_to_string(self.key.with_extension("key.pub")).expect("it is there").trim().to_owned()
    }

    /// Ends the sshd and every connection that it serves.
    pub(crate) fn stop(self) -> (u16, PathBuf) {
        let _ = Command::new("pkill").args(["-P", &self.child.id().to_string()]).status();
        (self.port, self.key.clone())
    }
}
