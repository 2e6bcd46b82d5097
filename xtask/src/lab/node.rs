//! One node: its root file system, its boot, and entering it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::cache::NodeTemplate;
use super::spec::{Node, Role, Spec, source};
use super::template::{directory, write};
use crate::cmd::{CommandExt as _, cmd};

/// Mounts the memory in which all nodes of a lab keep what they write.
///
/// Not the disk: etcd syncs each write, and with three members on one shared disk the lab would measure that disk.
pub(crate) fn mount_memory(spec: &Spec) -> Result<()> {
    let dir = spec.dir().join("nodes");
    fs::create_dir_all(&dir)?;
    cmd("mount", ["-t", "tmpfs", "-o", "size=12g,mode=755", "tmpfs", &dir.to_string_lossy()]).read()?;
    Ok(())
}

/// Puts a node's root together: what it writes over the Kubernetes layer over the base.
pub(crate) fn make_root(spec: &Spec, node: &Node, base: &Path, template: &NodeTemplate) -> Result<()> {
    let dir = spec.dir().join("nodes").join(&node.short);
    let root = spec.root(node);
    for part in ["upper", "work", "root"] {
        fs::create_dir_all(dir.join(part))?;
    }
    fs::create_dir_all(spec.node_state(node))?;
    let options = format!(
        "lowerdir={}:{},upperdir={},workdir={}",
        template.layer.display(),
        base.display(),
        dir.join("upper").display(),
        dir.join("work").display()
    );
    cmd("mount", ["-t", "overlay", "overlay", "-o", &options, &root.to_string_lossy()]).read()?;
    clone_containerd(template, &containerd(spec, node), node.role)?;
    identify(spec, node, &root)
}

/// Starts a node; its loop keeps it up over reboots.
pub(crate) fn boot(spec: &Spec, node: &Node) -> Result<()> {
    let console = spec.dir().join("console");
    fs::create_dir_all(&console)?;
    let log = fs::File::create(console.join(format!("{}.log", node.short)))?;
    let cgroup = format!("{}/{}", spec.cgroup(), node.short);
    // A session of its own, so that the node outlives us and our terminal.
    cmd("setsid", ["--fork", "bash"])
        .arg(source().join("node-loop.sh"))
        .arg(spec.node_state(node))
        .arg(spec.root(node))
        .arg(format!("kcl-{}-{}", spec.name, node.short))
        .arg(&node.name)
        .arg(spec.netns(node))
        .arg(cgroup)
        .arg(containerd(spec, node))
        .current_dir("/")
        .stdout(log.try_clone()?)
        .stderr(log)
        .show()
}

/// Waits until the node has booted.
pub(crate) fn wait_booted(spec: &Spec, node: &Node, limit: Duration) -> Result<()> {
    let start = Instant::now();
    while !(leader(spec, node).is_some()
        && enter(spec, node, &["systemctl", "is-active", "--quiet", "multi-user.target"])?.succeeds())
    {
        if start.elapsed() > limit {
            bail!(
                "{} did not boot in {} s; see {}",
                node.short,
                limit.as_secs(),
                spec.dir().join("console").display()
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A command inside a node, as root.
pub(crate) fn enter(spec: &Spec, node: &Node, command: &[&str]) -> Result<Command> {
    let leader = leader(spec, node).with_context(|| format!("{} is not running", node.short))?.to_string();
    let mut nsenter = cmd("nsenter", [&["-t", &leader, "-a", "--"], command].concat());
    nsenter
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root");
    if let Some(term) = std::env::var_os("TERM") {
        nsenter.env("TERM", term);
    }
    Ok(nsenter)
}

/// The process id of the node's systemd, if it runs: the child of its systemd-nspawn.
pub(crate) fn leader(spec: &Spec, node: &Node) -> Option<u32> {
    let nspawn = pid_in(&spec.node_state(node).join("nspawn.pid"), "systemd-nspawn")?;
    let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == "systemd")
    })
}

/// The process whose id a file holds, if its command line still has `word`: ids are used again.
pub(crate) fn pid_in(file: &Path, word: &str) -> Option<u32> {
    let pid: u32 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    String::from_utf8_lossy(&line).contains(word).then_some(pid)
}

/// Where a node's containerd keeps its state: on the disk, as an overlay cannot be the upper layer of another.
fn containerd(spec: &Spec, node: &Node) -> PathBuf {
    spec.dir().join("containerd").join(&node.short)
}

/// Copies the template by hard links; only the databases are written to, and are copied for real.
fn clone_containerd(template: &NodeTemplate, to: &Path, role: Role) -> Result<()> {
    fs::create_dir_all(to)?;
    if role == Role::Balancer {
        return Ok(());
    }
    let script = "cp -al \"$0/.\" \"$1\" && cd \"$0\" && find . -name '*.db' -exec cp --remove-destination {} \"$1/{}\" \\;";
    cmd("sh", ["-c".as_ref(), script.as_ref(), template.containerd.as_os_str(), to.as_os_str()]).read()?;
    Ok(())
}

/// Gives a node its identity: host name, machine id, host keys, the names of its neighbours.
fn identify(spec: &Spec, node: &Node, root: &Path) -> Result<()> {
    let etc = root.join("etc");
    write(&etc.join("hostname"), &format!("{}\n", node.name), 0o644, (0, 0))?;
    let id = fs::read_to_string("/proc/sys/kernel/random/uuid")?.replace('-', "");
    write(&etc.join("machine-id"), &id, 0o444, (0, 0))?;
    write(&etc.join("resolv.conf"), "", 0o644, (0, 0))?;
    let mut hosts = format!("127.0.0.1 localhost\n{} {}\n", spec.public_ip, spec.fqdn);
    for other in spec.members().chain(&spec.windows).chain(spec.hosts()) {
        hosts += &format!("{} {}\n", other.ip, other.name);
    }
    for (ip, name) in &spec.neighbours {
        hosts += &format!("{ip} {name}\n");
    }
    write(&etc.join("hosts"), &hosts, 0o644, (0, 0))?;
    directory(&root.join("var/log/journal"), 0o755, (0, 0))?;
    for kind in ["ed25519", "ecdsa"] {
        let key = etc.join(format!("ssh/ssh_host_{kind}_key"));
        cmd("ssh-keygen", ["-q", "-t", kind, "-N", "", "-C", &node.name, "-f", &key.to_string_lossy()])
            .read()?;
    }
    Ok(())
}
