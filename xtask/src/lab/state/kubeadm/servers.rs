//! What running servers present, and whom they let in: their memory, not their files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::super::super::kubeadm::API_PORT;
use super::super::super::spec::{Node, Role};
use super::super::servers::{ETCD_PEER, ON_BEHALF, handshake, outside, status};
use super::super::verdict::{Verdict, ensure};
use super::files::{KUBELET_SERVER, kubelet_own};
use super::{Case, certificates};
use crate::cmd::{CommandExt as _, cmd};

/// A port that speaks TLS, the file that it should present, what to ask it for, and as whom.
pub(super) struct Server {
    pub(super) what: &'static str,
    port: u16,
    /// Below the node's root.
    file: &'static str,
    path: &'static str,
    /// A pair of files in the PKI directory.
    client: &'static str,
}

/// The servers of a control plane, but for its kubelet.
pub(super) const MASTER: [Server; 3] = [
    Server {
        what: "API server",
        port: API_PORT,
        file: "etc/kubernetes/pki/apiserver.crt",
        path: "/api/v1/namespaces/default",
        client: "apiserver-kubelet-client",
    },
    Server {
        what: "etcd",
        port: 2379,
        file: "etc/kubernetes/pki/etcd/server.crt",
        path: "/health",
        client: "apiserver-etcd-client",
    },
    Server {
        what: "etcd peer",
        port: ETCD_PEER,
        file: "etc/kubernetes/pki/etcd/peer.crt",
        path: "/members",
        client: "etcd/peer",
    },
];
/// A kubelet presents a certificate that it has signed itself unless it asks the cluster for one, and lets the API servers
/// in.
pub(super) const KUBELET: Server = Server {
    what: "kubelet",
    port: 10250,
    file: "var/lib/kubelet/pki/kubelet.crt",
    path: "/pods",
    client: "apiserver-kubelet-client",
};

pub(super) fn check(case: &Case, verdict: &mut Verdict) {
    for node in case.spec.members() {
        let servers = if node.role == Role::Master { MASTER.as_slice() } else { &[] };
        for server in servers.iter().chain([&KUBELET]) {
            let name = format!("{}: {} (:{})", node.short, server.what, server.port);
            verdict.check(&format!("{name} presents what its file holds"), || presents(case, node, server));
            verdict.check(&format!("{name} serves a client of today"), || {
                let answer = ask(case, node, server, &case.pki)?;
                ensure(answer == "200", format!("it answers {answer}"))
            });
        }
    }
    for node in case.spec.masters() {
        verdict.check(&format!("{}: the API server believes the front proxy of today", node.short), || {
            let answer = as_front_proxy(case, node, &case.pki)?;
            ensure(answer == "200", format!("it answers {answer}"))
        });
    }
}

fn presents(case: &Case, node: &Node, server: &Server) -> Result<()> {
    let (crt, key) = client(server, &case.pki);
    let hello = handshake(&near(case, server)?, node, server.port, &crt, &key)?;
    let sent = certificates(&hello);
    let asked = || kubelet_own(case, node, KUBELET_SERVER);
    let file = match server.what {
        "kubelet" if case.spec.signed_kubelets => asked()?,
        _ => case.spec.root(node).join(server.file),
    };
    let held = certificates(&fs::read_to_string(file)?);
    let fingerprint = |of: &[String]| -> Result<String> {
        let first = of.first().context("no certificate")?;
        cmd("openssl", ["x509", "-noout", "-fingerprint", "-sha256"]).feed(first)
    };
    ensure(fingerprint(&sent)? == fingerprint(&held)?, "it presents another")?;
    ensure(
        sent.len() == held.len(),
        format!("it sends {} certificates, the file has {}", sent.len(), held.len()),
    )
}

/// The HTTP status that a client with the certificate of this PKI directory gets.
pub(super) fn ask(case: &Case, node: &Node, server: &Server, pki: &Path) -> Result<String> {
    let (crt, key) = client(server, pki);
    let url = format!("https://{}:{}{}", node.ip, server.port, server.path);
    status(&near(case, server)?, &url, &crt, &key, &[])
}

/// The HTTP status that a front proxy with the certificate of this PKI directory gets from an API server.
pub(super) fn as_front_proxy(case: &Case, node: &Node, pki: &Path) -> Result<String> {
    let [api_server, ..] = &MASTER;
    let url = format!("https://{}:{API_PORT}{}", node.ip, api_server.path);
    let file = |kind: &str| pki.join(format!("front-proxy-client.{kind}"));
    status(&near(case, api_server)?, &url, &file("crt"), &file("key"), &ON_BEHALF)
}

fn client(server: &Server, pki: &Path) -> (PathBuf, PathBuf) {
    (pki.join(format!("{}.crt", server.client)), pki.join(format!("{}.key", server.client)))
}

/// An etcd peer compares its caller's address with the certificate: it is called as what `client` names, the first
/// control plane. The other servers are called from elsewhere, as a diversion left on their own node must not hide them.
fn near(case: &Case, server: &Server) -> Result<String> {
    match case.spec.masters().next().filter(|_| server.port == ETCD_PEER) {
        Some(first) => Ok(case.spec.netns(first)),
        None => outside(&case.spec),
    }
}
