//! Windows nodes, played: the lab has no Windows.
//!
//! Each is a process in the node's network that speaks SSH as Windows' OpenSSH does towards kubecert and is a kubelet
//! towards the API: `crates/remote/examples/windows-node`. Its drive C is a directory. What it shows of Windows, and what it
//! cannot, is in `docs/windows.md`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::cache::wait_for;
use super::cluster;
use super::model::Model;
use super::node::pid_in;
use super::spec::{Node, Spec, write_private};
use super::stand_in::StandIn;
use crate::cmd::{CommandExt as _, cmd};

/// The directory in which `c` stands for a node's drive C.
pub(super) fn drives(spec: &Spec, node: &Node) -> PathBuf {
    spec.dir().join("nodes").join(&node.short)
}

/// Makes a node's drive: what AKS engine and a kubelet have put there.
pub(crate) fn furnish(spec: &Spec, node: &Node) -> Result<()> {
    let c = drives(spec, node).join("c");
    let (k, pki) = (c.join("k"), c.join("var/lib/kubelet/pki"));
    fs::create_dir_all(&k)?;
    fs::create_dir_all(&pki)?;
    fs::create_dir_all(spec.node_state(node))?;
    let read = |file: &str| -> Result<Vec<u8>> {
        fs::read(spec.output().join(file)).with_context(|| format!("cannot read {file}"))
    };
    let data = |file: &str| read(file).map(|bytes| BASE64.encode(bytes));
    // Out-File ends lines as Windows does.
    let ca = String::from_utf8_lossy(&read("ca.crt")?).replace('\n', "\r\n");
    write(&k.join("ca.crt"), &ca)?;
    let name = &spec.dns_prefix;
    let kubeconfig = format!(
        "---\napiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: \"{}\"\n    server: https://{}:443\n  name: \"{name}\"\ncontexts:\n- context:\n    cluster: \"{name}\"\n    user: \"{name}-admin\"\n  name: \"{name}\"\ncurrent-context: \"{name}\"\nkind: Config\nusers:\n- name: \"{name}-admin\"\n  user:\n    client-certificate-data: \"{}\"\n    client-key-data: \"{}\"\n",
        data("ca.crt")?,
        spec.internal_ip,
        data("client.crt")?,
        data("client.key")?
    );
    write(&k.join("config"), &kubeconfig.replace('\n', "\r\n"))?;
    // A kubelet without a serving certificate makes one for itself.
    let subject = format!("/CN={}@1", node.name);
    let (certificate, key) = (pki.join("kubelet.crt"), pki.join("kubelet.key"));
    cmd("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "365", "-subj", &subject])
        .arg("-keyout")
        .arg(key)
        .arg("-out")
        .arg(certificate)
        .read()?;
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Starts a node's process, which outlives us.
pub(crate) fn start(spec: &Spec, node: &Node, model: &Model, ssh_key: &str) -> Result<()> {
    let (user, password) = model.windows_login()?;
    let settings = spec.node_state(node).join("settings");
    let mut text = format!(
        "root={}\nname={}\naddress={}\nkubectl={}\nversion={}\nuser={user}\n",
        drives(spec, node).display(),
        node.name,
        node.ip,
        spec.programs.join("bin/kubectl").display(),
        spec.kubernetes,
    );
    match password {
        Some(password) => text += &format!("password={password}\n"),
        None => text += &format!("keys={ssh_key}\n"),
    }
    write_private(&settings, &text)?;
    let console = spec.dir().join("console");
    fs::create_dir_all(&console)?;
    let log = fs::File::create(console.join(format!("{}.log", node.short)))?;
    let state = spec.node_state(node);
    let script = "echo $$ >\"$0/windows.pid\" && exec ip netns exec \"$1\" \"$2\" \"$0/settings\"";
    cmd("setsid", ["--fork", "sh", "-c", script])
        .arg(state)
        .arg(spec.netns(node))
        .arg(StandIn::WindowsNode.build()?)
        .current_dir("/")
        .stdout(log.try_clone()?)
        .stderr(log)
        .show()
}

/// Waits until the API shows all of them as Ready.
pub(crate) fn wait(spec: &Spec) -> Result<()> {
    let ready = |node: &Node| {
        let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        let asked = cluster::kubectl(spec, &["get", "node", &node.name, "-o", path]).read();
        asked.is_ok_and(|status| status.trim() == "True")
    };
    wait_for(Duration::from_secs(300), || spec.windows.iter().all(ready))
        .context("not all Windows nodes became Ready; see console/ in the lab's directory")
}

/// Ends the processes of a lab's Windows nodes, by what it keeps of its nodes.
pub(crate) fn stop(states: &Path) -> Result<()> {
    let states = fs::read_dir(states).into_iter().flatten().flatten().map(|entry| entry.path());
    for state in states {
        let pid = || pid_in(&state.join("windows.pid"), StandIn::WindowsNode.name());
        let Some(found) = pid() else { continue };
        cmd("kill", [found.to_string()]).read()?;
        wait_for(Duration::from_secs(10), || pid().is_none())
            .with_context(|| format!("cannot stop {}", state.display()))?;
    }
    Ok(())
}
