//! What running servers present, and whom they let in: their memory, not their files.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::super::network;
use super::super::spec::{Node, Role, Spec};
use super::verdict::{Verdict, ensure};
use super::{Case, subject, verified_by};
use crate::cmd::CommandExt as _;

/// A port that speaks TLS, with a path to ask for and the client certificate that may.
struct Server {
    what: &'static str,
    port: u16,
    path: &'static str,
    client: &'static str,
}

pub(super) const ETCD_PEER: u16 = 2380;

const MASTER: &[Server] = &[
    Server { what: "API server", port: 443, path: "/api/v1/namespaces/default", client: "kubectlClient" },
    Server { what: "etcd", port: 2379, path: "/health", client: "etcdclient" },
    Server { what: "etcd peer", port: ETCD_PEER, path: "/members", client: "etcdpeer0" },
];
const KUBELET: Server = Server { what: "kubelet", port: 10250, path: "/pods", client: "client" };

pub(super) fn check(case: &Case, verdict: &mut Verdict) {
    for node in case.spec.members() {
        let servers = if node.role == Role::Master { MASTER } else { &[] };
        for server in servers.iter().chain([&KUBELET]) {
            one(case, node, server, verdict);
        }
    }
}

/// What a kubelet presents that verifies nobody.
pub(super) fn presents(case: &Case, node: &Node, verdict: &mut Verdict) {
    presented(case, node, &KUBELET, &hello(case, node, &KUBELET), verdict);
}

fn presented(case: &Case, node: &Node, server: &Server, hello: &Result<String>, verdict: &mut Verdict) {
    let name = format!("{}: {} (:{})", node.short, server.what, server.port);
    verdict.check(&format!("{name} presents one certificate, of the new CA"), || {
        let text = hello.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
        let chain = text.matches("BEGIN CERTIFICATE").count();
        ensure(chain == 1, format!("it sends {chain} certificates"))?;
        let leaf = tempfile::NamedTempFile::new()?;
        let begin = text.find("-----BEGIN CERTIFICATE").context("no certificate")?;
        std::fs::write(leaf.path(), &text[begin..])?;
        verified_by(&case.new.join("ca.crt"), leaf.path())
    });
}

fn one(case: &Case, node: &Node, server: &Server, verdict: &mut Verdict) {
    let name = format!("{}: {} (:{})", node.short, server.what, server.port);
    let hello = hello(case, node, server);
    presented(case, node, server, &hello, verdict);
    verdict.check(&format!("{name} asks for clients of the new CA and not of the old"), || {
        let text = hello.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
        let names = ca_names(text);
        let (old, new) = (subject(&case.old.join("ca.crt"))?, subject(&case.new.join("ca.crt"))?);
        ensure(names.contains(&new), format!("it asks for {}", names.join(" | ")))?;
        ensure(old == new || !names.contains(&old), format!("it still asks for {old}"))
    });
    verdict.check(&format!("{name} serves a new client"), || {
        let answer = ask(case, node, server, &case.new)?;
        ensure(answer == "200", format!("it answers {answer}"))
    });
    verdict.check(&format!("{name} refuses an old client"), || match ask(case, node, server, &case.old) {
        // Over TLS 1.3 a refusal comes after the handshake, as a broken connection: both count.
        Err(_refused) => Ok(()),
        Ok(answer) => ensure(answer == "401" || answer == "000", format!("it answers {answer}")),
    });
}

/// What openssl shows of a handshake: the chain sent and the CA names asked for.
fn hello(case: &Case, node: &Node, server: &Server) -> Result<String> {
    let client = |kind: &str| path(&case.new, server.client, kind);
    handshake(&near(case, node, server)?, node, server.port, &client("crt"), &client("key"))
}

/// The same of any port of a node, seen from a network namespace.
pub(super) fn handshake(ns: &str, node: &Node, port: u16, crt: &Path, key: &Path) -> Result<String> {
    let address = format!("{}:{port}", node.ip);
    let (crt, key) = (crt.to_string_lossy(), key.to_string_lossy());
    let connect = ["openssl", "s_client", "-showcerts", "-nameopt", "rfc2253", "-connect", &address];
    let args = [&["timeout", "5"], connect.as_slice(), &["-cert", &crt, "-key", &key]].concat();
    let output = network::inside(ns, &args).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !text.contains("BEGIN CERTIFICATE") {
        bail!("no TLS at {address}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(text)
}

fn ca_names(hello: &str) -> Vec<String> {
    let lines =
        hello.lines().skip_while(|line| !line.starts_with("Acceptable client certificate CA names")).skip(1);
    lines.take_while(|line| line.contains('=') && !line.starts_with("Requested")).map(str::to_owned).collect()
}

/// The HTTP status that a client with the certificate of `pki` gets; the server itself is held to be right.
fn ask(case: &Case, node: &Node, server: &Server, pki: &Path) -> Result<String> {
    let url = format!("https://{}:{}{}", node.ip, server.port, server.path);
    let client = |kind: &str| path(pki, server.client, kind);
    status(&near(case, node, server)?, &url, &client("crt"), &client("key"), &[])
}

/// The HTTP status of an answer to a client with this certificate, and with these further arguments of curl's.
pub(super) fn status(ns: &str, url: &str, crt: &Path, key: &Path, more: &[&str]) -> Result<String> {
    let (crt, key) = (crt.to_string_lossy(), key.to_string_lossy());
    let fixed = ["curl", "--http1.1", "-sS", "-k", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}"];
    network::inside(ns, &[fixed.as_slice(), &["--cert", &crt, "--key", &key, url], more].concat()).read()
}

/// The network of a place from which the server takes calls.
///
/// An etcd peer compares its caller's address with the certificate, which names masters only: it is called from where it
/// runs. The other servers are called from elsewhere, as a diversion left on their own node must not hide them.
fn near(case: &Case, node: &Node, server: &Server) -> Result<String> {
    if server.port == ETCD_PEER { Ok(case.spec.netns(node)) } else { outside(&case.spec) }
}

/// A network that reaches the nodes' own addresses, as the operator's side cannot: the load balancer's.
pub(super) fn outside(spec: &Spec) -> Result<String> {
    let balancer = spec.nodes.iter().find(|node| node.role == Role::Balancer).context("no load balancer")?;
    Ok(spec.netns(balancer))
}

/// What a front proxy says beside its certificate, to be believed.
pub(super) const ON_BEHALF: [&str; 4] =
    ["-H", "X-Remote-User: judge", "-H", "X-Remote-Group: system:masters"];

fn path(pki: &Path, name: &str, kind: &str) -> PathBuf {
    pki.join(format!("{name}.{kind}"))
}
