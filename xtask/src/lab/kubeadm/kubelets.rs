//! Kubelets that ask the cluster for their serving certificates (`serverTLSBootstrap`), and whoever approves.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::PKI;
use crate::cmd::CommandExt as _;
use crate::lab::cache::wait_for;
use crate::lab::cluster::kubectl;
use crate::lab::spec::Spec;

/// How long kubelets may take to ask, and to write down what they get.
const PATIENCE: Duration = Duration::from_secs(300);
/// The requests for serving certificates that nobody has decided about.
const PENDING: &str = r#"{range .items[?(@.spec.signerName=="kubernetes.io/kubelet-serving")]}{.metadata.name}{" "}{.status}{"\n"}{end}"#;

/// What API servers are told so that they verify kubelets, as kubeadm's configuration has it.
pub(super) fn api_server_arguments(spec: &Spec, old: bool) -> String {
    let (flag, path) = ("kubelet-certificate-authority", format!("/{PKI}/ca.crt"));
    match (spec.signed_kubelets, old) {
        (true, true) => format!("{{{flag}: {path}}}"),
        (true, false) => format!("[{{name: {flag}, value: {path}}}]"),
        (false, true) => "{}".to_owned(),
        (false, false) => "[]".to_owned(),
    }
}

/// Approves what kubelets ask for until each has its certificate.
pub(super) fn approve(spec: &Spec) -> Result<()> {
    let has = |root: std::path::PathBuf| {
        root.join("var/lib/kubelet/pki/kubelet-server-current.pem").symlink_metadata().is_ok()
    };
    wait_for(PATIENCE, || {
        let path = format!("jsonpath={PENDING}");
        let listed = kubectl(spec, &["get", "certificatesigningrequests", "-o", &path]).read();
        for line in listed.unwrap_or_default().lines() {
            if let Some((name, "{}")) = line.split_once(' ') {
                // What cannot be approved now is there the next time.
                let _tried_again = kubectl(spec, &["certificate", "approve", name]).read();
            }
        }
        spec.members().all(|node| has(spec.root(node)))
    })
    .context("not every kubelet has got a serving certificate")
}
