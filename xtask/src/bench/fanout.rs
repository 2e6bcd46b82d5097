//! The agents' files staged on many nodes through one bastion, by kubecert and by the `ssh` binary.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};

use super::Size;
use super::measured::{Figures, Took, milliseconds, program, row, table, time};
use super::sshds::{Node, Servers, keygen};
use crate::cmd::cmd;
use crate::rules::root;

/// Nodes behind servers in one process, which cost so little that thousands can stand for a cluster.
const IN_PROCESS: &[usize] = &[10, 100, 1_000, 5_000];
/// Nodes with an sshd each.
const REAL: &[usize] = &[10, 50, 100];
const QUICK_IN_PROCESS: &[usize] = &[10, 100];
const QUICK_REAL: &[usize] = &[5];
/// The most nodes that the `ssh` binary is asked to visit: it needs two processes for each.
const MOST_BY_SSH: usize = 100;
/// How many `ssh` run at once.
const SSH_AT_ONCE: &str = "16";
/// What an agent gets, as the measured program sends it.
const FILES: [(&str, usize); 6] = [
    ("kubeletserver.crt", 1_300),
    ("kubeletserver.key", 1_679),
    ("client.crt", 1_350),
    ("client.key", 1_679),
    ("kubelet-client.pem", 3_000),
    ("ca.crt", 1_800),
];

/// Stages, and prints the figures.
pub(super) fn run(size: &Size) -> Result<()> {
    let program = program("kubecert-remote", "fanout")?;
    let (in_process, real) = if size.quick { (QUICK_IN_PROCESS, QUICK_REAL) } else { (IN_PROCESS, REAL) };
    let mut rows = vec![row([
        "servers",
        "nodes",
        "wall ms",
        "processor ms/node",
        "peak MiB",
        "KiB/node",
        "ssh: wall ms",
        "processor ms/node",
        "ssh/kubecert: wall",
        "processor",
    ])];
    let mut line = Vec::new();
    let mut measure = |kind: &str, count: usize| -> Result<()> {
        let directory = tempfile::tempdir()?;
        let key = directory.path().join("user");
        keygen(&key, &["-t", "rsa", "-b", "2048"])?;
        let start = |directory: &Path| match kind {
            "sshd" => Servers::real(directory, &key, count),
            _ => Servers::in_process(&program, directory, count),
        };
        let ours = {
            let home = directory.path().join("ours");
            fs::create_dir(&home)?;
            by_kubecert(&program, &start(&home)?, &home, &key)?
        };
        let foreign = if count > MOST_BY_SSH {
            None
        } else {
            let home = directory.path().join("ssh");
            fs::create_dir(&home)?;
            Some(by_ssh(&start(&home)?, &home, &key)?)
        };
        ensure!(ours.text("failed")? == "0", "{} of {count} nodes failed", ours.text("failed")?);
        rows.push(shown(kind, count, &ours, foreign.as_ref())?);
        let name = kind.replace(' ', "_");
        line.push(format!(
            "{name}_{count}_cpu_ms_per_node={:.2} {name}_{count}_kib_per_node={:.0}",
            ours.number("cpu_ms")? / count as f64,
            kib_each(&ours, count)?
        ));
        Ok(())
    };
    for count in in_process {
        measure("in process", *count)?;
    }
    if Servers::real_can_run() {
        for count in real {
            measure("sshd", *count)?;
        }
    } else {
        eprintln!("left out: real sshds, which need root and the package openssh-server");
    }
    table(&rows);
    println!("{}", line.join(" "));
    Ok(())
}

fn shown(kind: &str, count: usize, ours: &Figures, foreign: Option<&Took>) -> Result<Vec<String>> {
    let (wall, processor) = (ours.number("wall_ms")?, ours.number("cpu_ms")?);
    let mut cells = row([
        kind.to_owned(),
        count.to_string(),
        format!("{wall:.0}"),
        format!("{:.2}", processor / count as f64),
        format!("{:.1}", ours.number("peak_mib")?),
        format!("{:.0}", kib_each(ours, count)?),
    ]);
    if let Some(foreign) = foreign {
        let (foreign_wall, foreign_processor) = (milliseconds(foreign.wall), milliseconds(foreign.processor));
        cells.extend([
            format!("{foreign_wall:.0}"),
            format!("{:.1}", foreign_processor / count as f64),
            format!("{:.1}", foreign_wall / wall),
            format!("{:.1}", foreign_processor / processor),
        ]);
    }
    Ok(cells)
}

/// What each node added to the memory of the process at its peak.
fn kib_each(ours: &Figures, count: usize) -> Result<f64> {
    Ok((ours.number("peak_mib")? - ours.number("before_mib")?) * 1024.0 / count as f64)
}

/// By kubecert's own port to nodes, in a process of its own.
fn by_kubecert(program: &Path, servers: &Servers, home: &Path, key: &Path) -> Result<Figures> {
    let list = home.join("nodes");
    let line = |node: &Node| format!("{} {} {}\n", node.name, node.port, node.directory.display());
    fs::write(&list, servers.nodes.iter().map(line).collect::<String>())?;
    let mut command = cmd(&program.to_string_lossy(), ["client", "--bastion-port"]);
    command.arg(servers.bastion_port.to_string()).arg("--key").arg(key);
    command.arg("--known-hosts").arg(&servers.known_hosts).arg("--nodes").arg(list);
    Figures::of(&mut command)
}

/// By `ssh`, which runs the same script on the same input, and waits for the same answer.
fn by_ssh(servers: &Servers, home: &Path, key: &Path) -> Result<Took> {
    let script = script()?;
    let config = configuration(servers, home, key)?;
    let inputs = home.join("inputs");
    fs::create_dir(&inputs)?;
    for node in &servers.nodes {
        fs::write(inputs.join(&node.name), format!("{script}{}", input(&node.directory)))?;
    }
    let names: String = servers.nodes.iter().map(|node| format!("{}\n", node.name)).collect();
    fs::write(home.join("names"), names)?;
    let remote = format!(
        r#"exec /bin/sh -c "text=\$(head -c \"\$1\") && shift && eval \"\$text\"" kubecert-write {} 01BENCH/backup"#,
        script.len()
    );
    let local = format!(
        "out=$(ssh -F '{}' {{}} '{remote}' <'{}/{{}}') && [ \"$(echo \"$out\" | grep -c ^written)\" = {} ]",
        config.display(),
        inputs.display(),
        FILES.len()
    );
    let mut command = cmd("xargs", ["-P", SSH_AT_ONCE, "-I", "{}", "-a"]);
    time(command.arg(home.join("names")).args(["sh", "-c", &local])).context("ssh did not reach every node")
}

/// What every operation's script is made of, in the order of the adapter.
fn script() -> Result<String> {
    let scripts = root().join("crates/remote/src/scripts");
    ["common.sh", "files.sh", "write.sh"]
        .into_iter()
        .map(|name| fs::read_to_string(scripts.join(name)).with_context(|| format!("cannot read {name}")))
        .collect()
}

/// The list of files as `write.sh` reads it.
fn input(directory: &Path) -> String {
    let mut input = String::new();
    for (name, length) in FILES {
        let content = "x".repeat(length);
        let digest = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let path = directory.join(name);
        input.push_str(&format!("file 600 root:root {length} {digest}\n{}\n{content}", path.display()));
    }
    input + ".\n"
}

fn configuration(servers: &Servers, home: &Path, key: &Path) -> Result<PathBuf> {
    let mut text = format!("Host bastion\nPort {}\nHostKeyAlias bastion\n", servers.bastion_port);
    for node in &servers.nodes {
        let (name, port) = (&node.name, node.port);
        text.push_str(&format!("Host {name}\nPort {port}\nHostKeyAlias {name}\nProxyJump bastion\n"));
    }
    text.push_str(&format!(
        "Host *\nHostName 127.0.0.1\nUser root\nIdentityFile {}\nIdentitiesOnly yes\nUserKnownHostsFile {}\n\
         GlobalKnownHostsFile none\nStrictHostKeyChecking yes\nBatchMode yes\n",
        key.display(),
        servers.known_hosts.display()
    ));
    let path = home.join("ssh_config");
    fs::write(&path, text)?;
    Ok(path)
}
