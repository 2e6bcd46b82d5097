//! Bringing the cluster itself to life, once its nodes have booted.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use super::cache::wait_for;
use super::spec::{Role, Spec, source};
use super::template::fill;
use super::{Layout, kubeadm, network, node};
use crate::cmd::CommandExt as _;

/// kubectl on the operator's side.
///
/// With kubeadm, the kubeconfig that counts is the first control plane's: nothing renews the operator's copy of it.
pub(crate) fn kubectl(spec: &Spec, args: &[&str]) -> Command {
    let program = spec.programs.join("bin/kubectl").to_string_lossy().into_owned();
    let kubeconfig = match (spec.layout, spec.masters().next()) {
        (Layout::Kubeadm, Some(first)) => spec.root(first).join(kubeadm::ADMIN_CONF),
        _the_operators => spec.kubeconfig(),
    };
    let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
    network::inside(&spec.switch(), &[&[&*program, &*kubeconfig], args].concat())
}

/// Writes the operator's kubeconfig, in JSON as the ancestor does.
pub(crate) fn write_kubeconfig(spec: &Spec) -> Result<()> {
    let data = |file: &str| -> Result<String> {
        Ok(BASE64.encode(fs::read(spec.output().join(file)).with_context(|| format!("cannot read {file}"))?))
    };
    let (name, user) = (&spec.dns_prefix, format!("{}-admin", spec.dns_prefix));
    let config = json!({
        "apiVersion": "v1",
        "clusters": [{
            "cluster": {
                "certificate-authority-data": data("ca.crt")?,
                "server": format!("https://{}", spec.fqdn),
            },
            "name": name,
        }],
        "contexts": [{ "context": { "cluster": name, "user": user }, "name": name }],
        "current-context": name,
        "kind": "Config",
        "users": [{
            "name": user,
            "user": {
                "client-certificate-data": data("kubectlClient.crt")?,
                "client-key-data": data("kubectlClient.key")?,
            },
        }],
    });
    let path = spec.kubeconfig();
    fs::create_dir_all(path.parent().context("no directory for the kubeconfig")?)?;
    super::template::write(&path, &serde_json::to_string_pretty(&config)?, 0o600, (0, 0))
}

/// Has every master make or take over the front-proxy certificates; the first one's are shared through etcd.
pub(crate) fn make_front_proxy(spec: &Spec) -> Result<()> {
    std::thread::scope(|scope| {
        let masters: Vec<_> = spec
            .masters()
            .map(|master| {
                scope.spawn(move || {
                    let script = "set -a; . /etc/environment; exec /etc/kubernetes/generate-proxy-certs.sh";
                    node::enter(spec, master, &["bash", "-c", script])?.read()
                })
            })
            .collect();
        masters.into_iter().try_for_each(|master| {
            master.join().unwrap_or_else(|_| anyhow::bail!("a front-proxy thread failed")).map(|_output| ())
        })
    })
}

/// Starts the kubelets, and with them the control plane.
///
/// Only now, not at boot: a static pod whose files are not all there yet fails, and waits ten seconds for its next turn.
pub(crate) fn start_kubelets(spec: &Spec) -> Result<()> {
    for member in spec.members() {
        node::enter(spec, member, &["systemctl", "enable", "--quiet", "--now", "kubelet"])?.read()?;
    }
    Ok(())
}

/// Starts the health monitors, last of all: they would "repair" a cluster that is not up yet.
pub(crate) fn start_monitors(spec: &Spec) -> Result<()> {
    for master in spec.masters() {
        let units = ["etcd-monitor", "apiserver-monitor"];
        node::enter(
            spec,
            master,
            &[&["systemctl", "enable", "--quiet", "--now"], units.as_slice()].concat(),
        )?
        .read()?;
    }
    Ok(())
}

pub(crate) fn wait_api(spec: &Spec) -> Result<()> {
    wait_for(Duration::from_secs(400), || kubectl(spec, &["get", "--raw", "/readyz"]).succeeds())
        .context("the API did not become ready")
}

/// Waits until every node is Ready.
pub(crate) fn wait_nodes(spec: &Spec) -> Result<()> {
    let expected = spec.members().count();
    wait_for(Duration::from_secs(400), || {
        let nodes = kubectl(spec, &["get", "nodes", "--no-headers"]).read().unwrap_or_default();
        nodes.lines().filter(|line| line.split_whitespace().nth(1) == Some("Ready")).count() == expected
    })
    .context("not all nodes became Ready")
}

/// Waits until the mirror pods of the control plane and every kube-proxy run.
///
/// A kubelet that came up before the API did has failed to make its mirror pods, and tries again only with its next
/// round, after a minute. A restart makes it try at once; the pods themselves do not notice.
pub(crate) fn wait_control_plane(spec: &Spec) -> Result<()> {
    let static_pods = static_pods(spec);
    let expected = spec.masters().count() * static_pods.len() + spec.members().count();
    let complete = || running(spec, "kube-system") == (expected, expected);
    if wait_for(Duration::from_secs(4), complete).is_err() {
        let pods = kubectl(spec, &["-n", "kube-system", "get", "pods", "-o", "name"]).read()?;
        for master in spec.masters() {
            if !static_pods.iter().all(|pod| pods.contains(&format!("pod/{pod}-{}\n", master.name))) {
                node::enter(spec, master, &["systemctl", "restart", "kubelet"])?.read()?;
            }
        }
    }
    wait_for(Duration::from_secs(400), complete).context("kube-system is not complete")
}

fn static_pods(spec: &Spec) -> [&'static str; 4] {
    let fourth = match spec.layout {
        Layout::AksEngine => "kube-addon-manager",
        Layout::Kubeadm => "etcd",
    };
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", fourth]
}

/// What the ancestor's addon manager would apply.
pub(crate) fn apply_addons(spec: &Spec) -> Result<()> {
    let text = fs::read_to_string(source().join("aks-engine/kube-proxy.yaml"))?;
    apply(spec, &fill(&text, &[("VERSION", spec.kubernetes.clone())])?)
}

/// Applies manifests on the server, which leaves no copy of them in an annotation; tried again for a while, as a new API server takes seconds until all of it works.
pub(crate) fn apply(spec: &Spec, manifests: &str) -> Result<()> {
    let mut last = Ok(());
    let done = wait_for(Duration::from_secs(180), || {
        last = kubectl(spec, &["apply", "--server-side", "--force-conflicts", "-f", "-"])
            .feed(manifests)
            .map(|_output| ());
        last.is_ok()
    });
    done.or(last)
}

/// How many pods in a namespace are Running with all their containers ready, and how many there are.
pub(crate) fn running(spec: &Spec, namespace: &str) -> (usize, usize) {
    let pods = kubectl(spec, &["-n", namespace, "get", "pods", "--no-headers"]).read().unwrap_or_default();
    let ready = |line: &&str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let full = words.get(1).and_then(|ready| ready.split_once('/')).is_some_and(|(up, all)| up == all);
        full && words.get(2) == Some(&"Running")
    };
    (pods.lines().filter(ready).count(), pods.lines().count())
}

/// How many agents there are: so many pods a workload of one a node has.
pub(crate) fn agents(spec: &Spec) -> usize {
    spec.nodes.iter().filter(|node| node.role == Role::Agent).count()
}
