//! Judging a cluster that kubeadm has made.
//!
//! What is in force is what the first control plane's PKI directory holds; everything else is compared with that. Whether
//! it is new is asked only with `--rotated`, whether it is old only with `--undone`: both compare with what
//! [`super::super::snapshot`] has kept.

mod files;
mod objects;
mod servers;
mod since;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::ValueEnum;
use serde_json::Value;

use super::super::kubeadm::{PKI, first};
use super::super::network;
use super::super::spec::{Node, Spec};
use super::StateArgs;
use super::verdict::{Verdict, ensure};
use crate::cmd::{CommandExt as _, cmd};

/// Something that a rotation replaces.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Rotated {
    /// The cluster's CA, and all that it has signed
    ClusterCa,
    /// etcd's CA, and all that it has signed
    EtcdCa,
    /// The front proxy's CA, and its one leaf
    FrontProxyCa,
    /// The key that signs tokens
    ServiceAccounts,
    /// All leaves, whatever becomes of the CAs
    Leaves,
}

/// The CAs, by the names of their files in the PKI directory, and which part of a rotation replaces them.
const AUTHORITIES: [(&str, Rotated); 3] =
    [(CLUSTER, Rotated::ClusterCa), (ETCD, Rotated::EtcdCa), (FRONT_PROXY, Rotated::FrontProxyCa)];
const CLUSTER: &str = "ca";
const ETCD: &str = "etcd/ca";
const FRONT_PROXY: &str = "front-proxy-ca";

/// The leaves in the PKI directory, and who signs them.
const LEAVES: [(&str, &str); 7] = [
    ("apiserver", CLUSTER),
    ("apiserver-kubelet-client", CLUSTER),
    ("apiserver-etcd-client", ETCD),
    ("front-proxy-client", FRONT_PROXY),
    ("etcd/server", ETCD),
    ("etcd/peer", ETCD),
    ("etcd/healthcheck-client", ETCD),
];

/// What the checks are about.
struct Case {
    spec: Spec,
    /// The snapshot from before.
    before: PathBuf,
    /// The first control plane's PKI directory: what is in force.
    pki: PathBuf,
    scratch: tempfile::TempDir,
}

pub(super) fn state(args: &StateArgs, spec: Spec, before: PathBuf) -> Result<ExitCode> {
    let pki = spec.root(first(&spec)?).join(PKI);
    let case = Case { spec, before, pki, scratch: tempfile::tempdir()? };
    let mut verdict = Verdict::new(args.quiet);
    files::check(&case, &mut verdict);
    servers::check(&case, &mut verdict);
    objects::check(&case, args.since, &mut verdict);
    if let Some(what) = &args.rotated {
        let all = Rotated::value_variants();
        since::rotated(&case, if what.is_empty() { all } else { what }, &mut verdict);
    }
    if args.undone {
        since::undone(&case, &mut verdict);
    }
    Ok(verdict.close())
}

impl Case {
    /// The certificate in force of a CA.
    fn ca(&self, name: &str) -> PathBuf {
        self.pki.join(format!("{name}.crt"))
    }

    /// A node's PKI directory.
    fn pki_of(&self, node: &Node) -> PathBuf {
        self.spec.root(node).join(PKI)
    }

    /// Fails unless the text is this CA's certificate, and nothing else.
    fn is_ca(&self, name: &str, text: &str) -> Result<()> {
        ensure(text.trim() == fs::read_to_string(self.ca(name))?.trim(), "it holds something else")
    }

    /// Where the text lies as a file of its own, for openssl.
    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.scratch.path().join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// A kubeconfig as kubectl reads it.
    fn kubeconfig(&self, path: &Path) -> Result<Value> {
        let program = self.spec.programs.join("bin/kubectl");
        let mut view = cmd(&program.to_string_lossy(), ["config", "view", "--raw", "--output=json"]);
        let text = view.arg("--kubeconfig").arg(path).read()?;
        Ok(serde_json::from_str(&text)?)
    }

    /// kubectl on the operator's side with some kubeconfig.
    fn kubectl(&self, kubeconfig: &Path, args: &[&str]) -> Result<String> {
        let program = self.spec.programs.join("bin/kubectl").to_string_lossy().into_owned();
        let kubeconfig = kubeconfig.to_string_lossy();
        let fixed = [&*program, "--kubeconfig", &*kubeconfig, "--request-timeout=10s"];
        network::inside(&self.spec.switch(), &[&fixed, args].concat()).read()
    }
}

/// What a kubeconfig or a Secret holds in base64.
fn decoded(value: &Value) -> Result<String> {
    let text = value.as_str().context("it is missing")?;
    Ok(String::from_utf8(BASE64.decode(text)?)?)
}

/// The certificates in a text, each as PEM.
fn certificates(text: &str) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let blocks = text.split("-----BEGIN CERTIFICATE-----").skip(1);
    blocks
        .filter_map(|block| Some(format!("-----BEGIN CERTIFICATE-----{}{END}\n", block.split(END).next()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_told_from_what_stands_between_them() {
        let one = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let two = one.replace("AAAA", "BBBB");
        let text = format!("depth=0\n{one}---\n{two}-----BEGIN RSA PRIVATE KEY-----\n");
        assert_eq!(certificates(&text), [one.to_owned(), two]);
    }
}
