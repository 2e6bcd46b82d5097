//! A bastion and nodes for `fanout`: in one process of ours, or as real sshds. All listen on loopback, with keys and
//! configuration of their own, and end with the benchmark.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::measured::Figures;
use crate::cmd::{CommandExt as _, cmd};

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(30);
/// Where Debian's package puts it; sshd must be called by its whole path.
const SSHD: &str = "/usr/sbin/sshd";

/// A node: its name, its port, and the directory that files go to.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) port: u16,
    pub(super) directory: PathBuf,
}

/// A bastion and nodes behind it.
pub(super) struct Servers {
    pub(super) bastion_port: u16,
    pub(super) nodes: Vec<Node>,
    /// Host keys of all of them, under the names by which both clients look for them.
    pub(super) known_hosts: PathBuf,
    children: Vec<Child>,
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.children {
            // One that has ended already is what is wanted.
            let _ended = child.kill();
            let _status = child.wait();
        }
    }
}

impl Servers {
    /// One process that stands for the bastion and for as many nodes as are wanted.
    pub(super) fn in_process(program: &Path, directory: &Path, count: usize) -> Result<Self> {
        let key = keygen(&directory.join("host"), &["-t", "ed25519"])?;
        let mut child = Command::new(program)
            .args(["servers", "--host-key"])
            .arg(directory.join("host"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the servers")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut servers = Self {
            bastion_port: 0,
            nodes: Vec::new(),
            known_hosts: directory.join("known_hosts"),
            children: vec![child],
        };
        let lines: Vec<String> = BufReader::new(stdout).lines().take(2).collect::<Result<_, _>>()?;
        let figures = Figures::read(lines.iter().map(String::as_str));
        servers.bastion_port = figures.text("bastion_port")?.parse()?;
        let port = figures.text("node_port")?.parse()?;
        let node = |index| Node { name: name(index), port, directory: directory.join(name(index)) };
        servers.nodes = (0..count).map(node).collect();
        let keys: Vec<&str> = vec![&key; count];
        servers.write_known_hosts(&key, &keys)?;
        Ok(servers)
    }

    /// An sshd for the bastion and one for each node.
    pub(super) fn real(directory: &Path, user_key: &Path, count: usize) -> Result<Self> {
        // sshd wants this directory, which only its service makes.
        fs::create_dir_all("/run/sshd").context("cannot make /run/sshd, which sshd wants")?;
        let known_hosts = directory.join("known_hosts");
        let mut servers = Self { bastion_port: 0, nodes: Vec::new(), known_hosts, children: Vec::new() };
        let (bastion_port, bastion_key) = servers.sshd(directory, "bastion", user_key)?;
        servers.bastion_port = bastion_port;
        let mut keys = Vec::new();
        for index in 0..count {
            let (port, key) = servers.sshd(directory, &name(index), user_key)?;
            let node = Node { name: name(index), port, directory: directory.join(name(index)).join("base") };
            fs::create_dir_all(&node.directory)?;
            servers.nodes.push(node);
            keys.push(key);
        }
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        servers.write_known_hosts(&bastion_key, &keys)?;
        Ok(servers)
    }

    /// Whether real ones can be had here.
    pub(super) fn real_can_run() -> bool {
        Path::new(SSHD).exists() && cmd("id", ["-u"]).read().is_ok_and(|id| id.trim() == "0")
    }

    fn sshd(&mut self, directory: &Path, name: &str, user_key: &Path) -> Result<(u16, String)> {
        let home = directory.join(name);
        fs::create_dir_all(&home)?;
        let key = keygen(&home.join("host"), &["-t", "ed25519"])?;
        // A port that was free a moment ago.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let shown = home.display();
        let text = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {shown}/host\nPidFile none\nUsePAM no\nStrictModes no\n\
             PasswordAuthentication no\nPermitRootLogin yes\nAuthorizedKeysFile {}.pub\nMaxStartups 200\n\
             SetEnv KUBECERT_LOG={shown}/log/kubecert.log KUBECERT_BASE={shown}/base\n",
            user_key.display()
        );
        fs::write(home.join("sshd.conf"), text)?;
        let child = Command::new(SSHD)
            .args(["-D", "-E"])
            .arg(home.join("sshd.log"))
            .arg("-f")
            .arg(home.join("sshd.conf"))
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start sshd")?;
        self.children.push(child);
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            ensure!(began.elapsed() < START, "sshd {name} does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok((port, key))
    }

    /// kubecert looks for `[name]:port`, and ssh for the name of `HostKeyAlias`.
    fn write_known_hosts(&self, bastion: &str, keys: &[&str]) -> Result<()> {
        let mut text = format!("[127.0.0.1]:{},bastion {bastion}\n", self.bastion_port);
        for (node, key) in self.nodes.iter().zip(keys) {
            text.push_str(&format!("[{}]:{},{} {key}\n", node.name, node.port, node.name));
        }
        fs::write(&self.known_hosts, text).context("cannot write the host keys")
    }
}

fn name(index: usize) -> String {
    format!("k8s-linux-1-{index}")
}

/// Makes a key, and returns its public half.
pub(super) fn keygen(path: &Path, kind: &[&str]) -> Result<String> {
    cmd("ssh-keygen", ["-q", "-N", "", "-C", "", "-f"]).arg(path).args(kind).show()?;
    let public = fs::read_to_string(path.with_extension("pub"))?;
    Ok(public.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}
