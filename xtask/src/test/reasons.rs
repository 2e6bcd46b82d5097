//! Rotations for other reasons than a new CA, on a real cluster, judged by openssl, curl and kubectl.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::shapes::SMALL_KEYS;
use super::tolerated;
use crate::cmd::CommandExt as _;
use crate::lab;
use crate::rotation::{self, Lab};

/// The leaves of the lab are due, and its CA ends before what is issued next would.
const AGED: &[&str] = &["--leaf-days", "20", "--ca-days", "500", "--rsa-bits", "2048"];
/// How long until the node agents and controllers of a cluster have calmed down after a rotation.
const CALM: Duration = Duration::from_secs(240);

/// One cluster: its leaves are renewed, its CA gets a longer life, its front proxy another CA, and at last everything goes
/// because a key was stolen.
pub(super) fn run() -> Result<()> {
    let program = rotation::kubecert()?;
    let lab = Lab::up("test", AGED)?;
    renew(&lab, &program)?;
    extend(&lab, &program)?;
    front_proxy(&lab, &program)?;
    compromised(&lab, &program)?;
    lab.down()
}

/// Another: it gets a PKI that the operator gives, and then one without the CA's key.
pub(super) fn run_others() -> Result<()> {
    let program = rotation::kubecert()?;
    let lab = Lab::up("test", SMALL_KEYS)?;
    given(&lab, &program)?;
    bundled(&lab, &program)?;
    lab.down()
}

/// Leaves that are due get successors of the same CA; nothing else changes, and then nothing is due.
fn renew(lab: &Lab, program: &Path) -> Result<()> {
    let before = Seen::of(lab)?;
    rotate(lab, program, &["--why", "renew"])?;
    let after = Seen::of(lab)?;
    ensure!(after.ca == before.ca, "renewing has changed the CA");
    ensure!(after.front_proxy_ca == before.front_proxy_ca, "renewing has changed the front proxy's CA");
    for (server, was) in &before.servers {
        let is = after.servers.get(server).with_context(|| format!("{server} does not answer"))?;
        ensure!(is.fingerprint != was.fingerprint, "{server} presents its old certificate");
        ensure!(is.issuer == was.issuer, "{server} presents a certificate of another issuer");
    }
    let again = lab.verb(program, "rotate", &["--why", "renew", "--yes"])?.read()?;
    ensure!(again.contains("Nothing is due"), "after renewing, renewing says: {again}");
    works(lab)
}

/// The CA's key stays, so that every leaf of it stays good; its certificate lives longer.
fn extend(lab: &Lab, program: &Path) -> Result<()> {
    let before = Seen::of(lab)?;
    rotate(lab, program, &["--why", "extend-ca"])?;
    let after = Seen::of(lab)?;
    ensure!(after.ca.fingerprint != before.ca.fingerprint, "the CA's certificate is the old one");
    ensure!(after.ca.public_key == before.ca.public_key, "the CA's key has changed");
    ensure!(after.ca.subject == before.ca.subject, "the CA has another name");
    works(lab)
}

/// The front proxy has a new CA, and the cluster the old one.
fn front_proxy(lab: &Lab, program: &Path) -> Result<()> {
    let before = Seen::of(lab)?;
    rotate(lab, program, &["--scope", "front-proxy"])?;
    let after = Seen::of(lab)?;
    ensure!(after.ca == before.ca, "the cluster's CA has changed");
    ensure!(
        after.front_proxy_ca.public_key != before.front_proxy_ca.public_key,
        "the front proxy's CA is the old one"
    );
    works(lab)
}

/// Everything is new, and a token that the old key has signed is worth nothing.
fn compromised(lab: &Lab, program: &Path) -> Result<()> {
    let token = kubectl(lab, &["create", "token", "default", "--duration", "8h"])?;
    ensure!(status(lab, token.trim())? == "200", "a fresh token is refused before the rotation");
    let snapshot = tempfile::tempdir()?;
    lab::take_snapshot(lab.name(), snapshot.path())?;
    rotate(lab, program, &["--why", "compromised"])?;
    lab.judge_since(snapshot.path())?;
    // Whoever only renews leaves what is not due, such as the kubelets' own serving certificates.
    lab.verb(program, "verify", &[])?.show().context("verify is not content")?;
    ensure!(status(lab, token.trim())? == "401", "a token of the stolen key is still accepted");
    works(lab)
}

/// Onto a PKI that the operator gives.
fn given(lab: &Lab, program: &Path) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let profile = lab.generate(program, directory.path())?;
    rotate_certs(lab, program, &["--certificate-profile", &profile])
}

/// From a model that lacks the CA's key, which takes the bundled plan.
fn bundled(lab: &Lab, program: &Path) -> Result<()> {
    lab.forget_ca_key()?;
    rotate_certs(lab, program, &[])?;
    let report = lab.report()?;
    let strategy = report.pointer("/strategy").and_then(serde_json::Value::as_str);
    ensure!(strategy == Some("bundled"), "without the CA's key its strategy was {strategy:?}");
    Ok(())
}

/// By the ancestor's command line.
fn rotate_certs(lab: &Lab, program: &Path, how: &[&str]) -> Result<()> {
    lab.wait_until_healthy(program)?;
    let before = tempfile::tempdir()?;
    lab::take_snapshot(lab.name(), before.path())?;
    lab.rotate_certs(program, how)?.show()?;
    lab.judge_since(before.path())?;
    tolerated(&lab.report()?)
}

fn rotate(lab: &Lab, program: &Path, how: &[&str]) -> Result<()> {
    lab.wait_until_healthy(program)?;
    lab.verb(program, "rotate", &[how, &["--yes"]].concat())?.show()?;
    let report = lab.report()?;
    eprintln!(
        "{}: wall {:.0} s, longest gap {} ms, {} of {} requests failed",
        how.join(" "),
        rotation::number(&report, "/wall_s")?,
        rotation::number(&report, "/api/longest_gap_ms")?,
        rotation::number(&report, "/api/failed")?,
        rotation::number(&report, "/api/requests")?
    );
    tolerated(&report)
}

/// What openssl shows of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    fingerprint: String,
    subject: String,
    issuer: String,
    public_key: String,
}

/// The certificates of a cluster, as its first master's files and its servers show them.
struct Seen {
    ca: Shown,
    front_proxy_ca: Shown,
    /// By node and port.
    servers: BTreeMap<String, Shown>,
}

impl Seen {
    fn of(lab: &Lab) -> Result<Self> {
        let mut servers = BTreeMap::new();
        for node in ["m0", "m1", "m2"] {
            for port in ["443", "2379"] {
                let ask =
                    format!("openssl s_client -connect 127.0.0.1:{port} </dev/null 2>/dev/null | {SHOW}");
                servers.insert(format!("{node}:{port}"), shown(lab, node, &ask)?);
            }
        }
        let file = |name: &str| shown(lab, "m0", &format!("{SHOW} -in /etc/kubernetes/certs/{name}"));
        Ok(Self { ca: file("ca.crt")?, front_proxy_ca: file("proxy-ca.crt")?, servers })
    }
}

const SHOW: &str = "openssl x509 -noout -fingerprint -sha256 -subject -issuer -pubkey";

fn shown(lab: &Lab, node: &str, script: &str) -> Result<Shown> {
    let text = lab::on_node(lab.name(), node, &["sh", "-c", script])?.read()?;
    let line = |start: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(start)).map(str::to_owned);
        found.with_context(|| format!("openssl on {node} shows no {start}"))
    };
    Ok(Shown {
        fingerprint: line("sha256 Fingerprint")?,
        subject: line("subject")?,
        issuer: line("issuer")?,
        public_key: text.lines().skip_while(|line| !line.starts_with("-----BEGIN PUBLIC")).collect(),
    })
}

/// Nodes are Ready, the aggregated API answers, and a Secret can be written and read.
fn works(lab: &Lab) -> Result<()> {
    let began = Instant::now();
    loop {
        let ready = kubectl(
            lab,
            &["get", "nodes", "-o", "jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].status}"],
        )?;
        let served = kubectl(
            lab,
            &[
                "get",
                "apiservices",
                "-o",
                "jsonpath={.items[*].status.conditions[?(@.type==\"Available\")].status}",
            ],
        )?;
        if [&ready, &served].iter().all(|all| all.split_whitespace().all(|status| status == "True")) {
            break;
        }
        ensure!(began.elapsed() < CALM, "nodes are Ready: {ready}; APIs are Available: {served}");
        std::thread::sleep(Duration::from_secs(1));
    }
    kubectl(lab, &["create", "secret", "generic", "written-after", "--from-literal=a=b"])?;
    kubectl(lab, &["delete", "secret", "written-after"]).map(drop)
}

fn kubectl(lab: &Lab, words: &[&str]) -> Result<String> {
    lab::operator(lab.name(), &[&["kubectl"], words].concat())?.read()
}

/// The status of a request with a token.
fn status(lab: &Lab, token: &str) -> Result<String> {
    let url = format!("https://{}/api", lab::public_name(lab.name())?);
    let header = format!("Authorization: Bearer {token}");
    let words = ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "-H", &header, &url];
    Ok(lab::operator(lab.name(), &words)?.read()?.trim().to_owned())
}
