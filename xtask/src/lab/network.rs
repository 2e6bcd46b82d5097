//! The lab's networks: a bridge in a namespace of its own, and a namespace for each node.
//!
//! The switch namespace plays three parts. It is the subnet, with a bridge that all nodes are plugged into. It is the
//! subnet's route table, which knows on which node each range of pods lives. And it is where the operator sits: there
//! only the public address can be reached, so that what works in the lab works through a bastion.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::spec::{Node, Role, Spec};
use crate::cmd::{CommandExt as _, cmd};

/// Public addresses are from the range for documentation (RFC 5737).
const OPERATOR: &str = "203.0.113.1/24";

/// What all nodes' pods have their addresses from.
const PODS: &str = "10.244.0.0/16";

/// Makes the switch.
pub(crate) fn make_switch(spec: &Spec) -> Result<()> {
    // Hundreds of systemds and containerds watch files; with the kernel's default of 128 they fail in strange ways.
    for (key, value) in [("max_user_instances", "8192"), ("max_user_watches", "1048576")] {
        raise(Path::new("/proc/sys/fs/inotify").join(key).as_path(), value)?;
    }
    let ns = spec.switch();
    cmd("ip", ["netns", "add", &ns]).read()?;
    let script = format!(
        "link set lo up\nlink add br0 type bridge\nlink set br0 up\naddr add {}/16 dev br0\naddr add {OPERATOR} dev br0\n",
        spec.gateway()
    );
    batch(&ns, &script)?;
    inside(&ns, &["sh", "-c", SWITCH_SETTINGS]).read()?;
    let network = spec.node_network();
    for network in [&*network, PODS] {
        let refuse = [
            "iptables",
            "-w",
            "-A",
            "OUTPUT",
            "-d",
            network,
            "-p",
            "tcp",
            "-j",
            "REJECT",
            "--reject-with",
            "tcp-reset",
        ];
        inside(&ns, &refuse).read()?;
    }
    Ok(())
}

/// Routing for the nodes; no redirects, as sender and next hop are on one link; no filtering of bridged frames.
const SWITCH_SETTINGS: &str = "cd /proc/sys/net
echo 1 >ipv4/ip_forward
for f in ipv4/conf/*/send_redirects; do echo 0 >$f; done
[ ! -e bridge/bridge-nf-call-iptables ] || echo 0 >bridge/bridge-nf-call-iptables";

/// Makes a node's namespace and plugs it in.
pub(crate) fn plug_in(spec: &Spec, node: &Node) -> Result<()> {
    let (switch, ns, port) = (spec.switch(), spec.netns(node), format!("v{}", node.short));
    cmd("ip", ["netns", "add", &ns]).read()?;
    batch(
        &switch,
        &format!("link add {port} type veth peer name eth0 netns {ns}\nlink set {port} master br0 up\n"),
    )?;
    let mut script = format!(
        "link set lo up\naddr add {}/16 dev eth0\nlink set eth0 up\nroute add default via {}\n",
        node.ip,
        spec.gateway()
    );
    if node.role == Role::Balancer {
        script +=
            &format!("addr add {}/16 dev eth0\naddr add {}/24 dev eth0\n", spec.internal_ip, spec.public_ip);
    }
    if let Some(public) = node.public_ip {
        script += &format!("addr add {public}/24 dev eth0\n");
    }
    batch(&ns, &script)?;
    if node.is_member() {
        batch(&switch, &format!("route add {} via {}\n", node.pod_cidr, node.ip))?;
    }
    Ok(())
}

/// What `/etc/hosts` says in the operator's namespace: the cluster's public name, its neighbours' and Azure's, and no
/// other machine's.
pub(crate) fn write_operator_names(spec: &Spec) -> Result<()> {
    let dir = Path::new("/etc/netns").join(spec.switch());
    fs::create_dir_all(&dir)?;
    let azure = spec.azure.as_ref().map(|azure| azure.hosts_line()).unwrap_or_default();
    let neighbours: String = spec.neighbours.iter().map(|(ip, name)| format!("{ip} {name}\n")).collect();
    let hosts = format!("127.0.0.1 localhost\n{} {}\n{neighbours}{azure}", spec.public_ip, spec.fqdn);
    fs::write(dir.join("hosts"), hosts)?;
    // No name server: a name that is not in the file fails at once instead of leaving the lab.
    fs::write(dir.join("resolv.conf"), "")?;
    Ok(())
}

/// A command in a network namespace, with the `/etc` files that belong to it.
pub(crate) fn inside(ns: &str, command: &[&str]) -> std::process::Command {
    cmd("ip", [&["netns", "exec", ns], command].concat())
}

/// The namespaces that belong to the lab `name`, whether its description still exists or not.
pub(crate) fn namespaces_of(name: &str) -> Vec<String> {
    let (switch, nodes) = (format!("kcl.{name}"), format!("kcl.{name}."));
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|ns| *ns == switch || ns.starts_with(&nodes)).collect()
}

fn batch(ns: &str, script: &str) -> Result<()> {
    cmd("ip", ["-netns", ns, "-batch", "-"]).feed(script)?;
    Ok(())
}

/// Raises a limit of the kernel; never lowers it.
fn raise(path: &Path, value: &str) -> Result<()> {
    let now = fs::read_to_string(path)?;
    if now.trim().parse::<u64>().unwrap_or(0) < value.parse()? {
        fs::write(path, value)?;
    }
    Ok(())
}
