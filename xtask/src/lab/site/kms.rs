//! The KMS plugins of the target cluster: static pods on its control planes, by which the API servers encrypt Secrets, and
//! which are nobody without the authority.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::holders::KMS_LOGIN;
use super::{Site, infrastructure};
use crate::cmd::{CommandExt as _, cmd};
use crate::lab::cache::wait_for;
use crate::lab::spec::{Node, Spec, source};
use crate::lab::template::{directory, lay_tree};
use crate::lab::{StandIn, cluster, node};

/// What the API server's manifest is given, and where in it.
const MANIFEST: [(&str, &str); 3] = [
    ("    - kube-apiserver\n", "    - --encryption-provider-config=/etc/kubernetes/kms/encryption.yaml\n"),
    (
        "    volumeMounts:\n",
        "    - mountPath: /etc/kubernetes/kms\n      name: kms\n      readOnly: true\n    - mountPath: /run/kmsplugin\n      name: kms-socket\n",
    ),
    (
        "  volumes:\n",
        "  - hostPath:\n      path: /etc/kubernetes/kms\n      type: Directory\n    name: kms\n  - hostPath:\n      path: /run/kmsplugin\n      type: DirectoryOrCreate\n    name: kms-socket\n",
    ),
];
const API_SERVER: &str = "etc/kubernetes/manifests/kube-apiserver.yaml";
/// How long a kubelet may take to start a static pod whose manifest has changed, and the API server to be ready.
const RESTART_PATIENCE: Duration = Duration::from_secs(300);

/// Puts the plugin on all control planes, has the API servers use it, and encrypts all Secrets.
pub(super) fn furnish(site: &Site) -> Result<()> {
    let spec = &site.target;
    let program = StandIn::Kms.build()?;
    let key = cmd("openssl", ["rand", "-hex", "16"]).read()?.trim().to_owned();
    for control_plane in spec.masters() {
        let root = spec.root(control_plane);
        infrastructure::install(&program, &root, StandIn::Kms.name())?;
        directory(&root.join("etc/kubernetes/kms"), 0o700, (0, 0))?;
        // Every plugin must decrypt what another has encrypted.
        super::write_private(&root.join("etc/kubernetes/kms/key"), &key)?;
        let login_directory = KMS_LOGIN.rsplit_once('/').context("no directory")?.0.to_owned();
        let values = [("LOGIN", KMS_LOGIN.to_owned()), ("LOGIN_DIRECTORY", login_directory)];
        lay_tree(&source().join("site/control-plane"), &root, &values)?;
    }
    for control_plane in spec.masters() {
        let socket = ["test", "-S", "/run/kmsplugin/kms.sock"];
        wait_for(RESTART_PATIENCE, || {
            node::enter(spec, control_plane, &socket).is_ok_and(|mut test| test.succeeds())
        })
        .with_context(|| format!("the KMS plugin of {} does not run", control_plane.short))?;
    }
    // All at once: nobody needs the API yet, and each takes half a minute.
    let before: Vec<_> =
        spec.masters().map(|control_plane| (control_plane, api_server(spec, control_plane))).collect();
    for (control_plane, _) in &before {
        use_it(spec, control_plane)?;
    }
    for (control_plane, old) in before {
        let again = || {
            let now = api_server(spec, control_plane);
            now.is_some() && now != old && ready(spec, control_plane)
        };
        wait_for(RESTART_PATIENCE, again).with_context(|| {
            format!("the API server of {} does not come back with the KMS plugin", control_plane.short)
        })?;
    }
    let secrets = cluster::kubectl(spec, &["get", "secrets", "-A", "-o", "json"]).read()?;
    cluster::kubectl(spec, &["replace", "-f", "-"]).feed(&secrets).map(drop)
}

/// Has a node's API server encrypt by the plugin, once the kubelet has seen its manifest.
fn use_it(spec: &Spec, node: &Node) -> Result<()> {
    let path = spec.root(node).join(API_SERVER);
    let mut text = fs::read_to_string(&path)?;
    for (after, new) in MANIFEST {
        let at = text.find(after).with_context(|| format!("no {after:?} in the manifest"))? + after.len();
        text.insert_str(at, new);
    }
    // Under a name that the kubelet does not read, then as a whole.
    let partial = spec.root(node).join("etc/kubernetes/kms/manifest");
    fs::write(&partial, text)?;
    fs::rename(partial, path)?;
    Ok(())
}

/// The process of a node's API server.
fn api_server(spec: &Spec, on: &Node) -> Option<String> {
    node::enter(spec, on, &["pgrep", "-x", "kube-apiserver"]).ok()?.read().ok()
}

/// Whether a node's own API server is ready.
fn ready(spec: &Spec, on: &Node) -> bool {
    let url = "https://127.0.0.1:6443/readyz";
    node::enter(spec, on, &["curl", "-sfk", "--max-time", "3", url]).is_ok_and(|mut curl| curl.succeeds())
}
