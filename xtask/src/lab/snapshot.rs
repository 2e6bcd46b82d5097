//! A copy of what a rotation may change, taken when a lab stands; [`super::state`] judges by it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::cluster::kubectl;
use super::spec::Spec;
use crate::cmd::{CommandExt as _, cmd};

/// The node files that hold credentials, or that a rotation must leave as they are.
const PATHS: &[&str] = &[
    "etc/kubernetes",
    "etc/default/etcd",
    "etc/default/kubelet",
    "etc/default/health-monitor",
    "etc/environment",
    "etc/systemd/system",
    "var/lib/kubelet/kubeconfig",
    "var/lib/kubelet/pki",
    "home",
];

/// Where the state before any rotation lies.
pub(crate) fn before(spec: &Spec) -> PathBuf {
    spec.dir().join("before")
}

/// Copies the PKI, the nodes' files and the cluster's Secrets and ConfigMaps to `to`.
pub(crate) fn take(spec: &Spec, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    cmd("cp", ["-a".as_ref(), spec.output().as_os_str(), to.join("output").as_os_str()]).read()?;
    for node in spec.members() {
        let target = to.join("nodes").join(&node.short);
        fs::create_dir_all(&target)?;
        let root = spec.root(node);
        let present: Vec<_> =
            PATHS.iter().filter(|path| root.join(path).symlink_metadata().is_ok()).collect();
        let mut copy = cmd("cp", ["-a", "--parents", "-t", &target.to_string_lossy()]);
        copy.args(present).current_dir(root).read()?;
    }
    for kind in [
        "secrets",
        "configmaps",
        "apiservices",
        "validatingwebhookconfigurations",
        "mutatingwebhookconfigurations",
    ] {
        let objects = kubectl(spec, &["get", kind, "--all-namespaces", "-o", "json"]).read()?;
        fs::write(to.join(format!("{kind}.json")), objects)?;
    }
    Ok(())
}
