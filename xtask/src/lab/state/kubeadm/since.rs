//! What has changed since the snapshot: everything that a rotation was to replace, or nothing at all.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::super::super::kubeadm::{ADMIN_CONF, API_PORT, PKI, first};
use super::super::super::spec::{Node, Role};
use super::super::super::{cluster, node, snapshot, workloads};
use super::super::objects::{AGGREGATED_POD, ask_aggregated, list, name_of, token_is_refused};
use super::super::verdict::{Verdict, ensure};
use super::super::{public_of_certificate, read_json};
use super::objects::items;
use super::servers::{KUBELET, MASTER, as_front_proxy, ask};
use super::{AUTHORITIES, CLUSTER, Case, ETCD, LEAVES, Rotated, decoded};
use crate::cmd::{CommandExt as _, cmd};

/// What an undone rotation leaves byte for byte as it was, below a node's root.
const KEPT: [&str; 4] = [
    "etc/kubernetes",
    "var/lib/kubelet/config.yaml",
    "var/lib/kubelet/kubeadm-flags.env",
    "var/lib/kubelet/pki",
];

/// What these parts of a rotation replace is new, and what was before is refused and nowhere held.
pub(super) fn rotated(case: &Case, what: &[Rotated], verdict: &mut Verdict) {
    for (ca, part) in AUTHORITIES.iter().filter(|(_, part)| what.contains(part)) {
        verdict.check(&format!("since: {ca} has another key"), || {
            let old = old_pki(case, first(&case.spec)?).join(format!("{ca}.crt"));
            ensure(public_of_certificate(&old)? != public_of_certificate(&case.ca(ca))?, "it is the old one")
        });
        verdict.check(&format!("since: no object holds the old {ca}"), || no_object(case, ca));
        for node in case.spec.members() {
            verdict.check(&format!("{}: no file holds the old {ca}", node.short), || no_file(case, node, ca));
        }
        match part {
            Rotated::FrontProxyCa => disbelieved(case, verdict),
            _of_clients => refused(case, ca, verdict),
        }
    }
    for (leaf, ca) in LEAVES {
        let by_ca = AUTHORITIES.iter().any(|(name, part)| *name == ca && what.contains(part));
        if !by_ca && !what.contains(&Rotated::Leaves) {
            continue;
        }
        for node in case.spec.masters() {
            verdict.check(&format!("{}: {leaf} is new", node.short), || {
                let file = format!("{leaf}.crt");
                let (old, new) = (old_pki(case, node).join(&file), case.pki_of(node).join(&file));
                ensure(fs::read(old)? != fs::read(new)?, "it is the old one")
            });
        }
    }
    if what.contains(&Rotated::ClusterCa) || what.contains(&Rotated::Leaves) {
        for node in case.spec.masters() {
            for file in ["admin.conf", "controller-manager.conf", "scheduler.conf"] {
                verdict.check(&format!("{}: {file} is new", node.short), || {
                    let path = format!("etc/kubernetes/{file}");
                    let (old, new) = (old_root(case, node).join(&path), case.spec.root(node).join(&path));
                    ensure(fs::read(old)? != fs::read(new)?, "it is the old one")
                });
            }
        }
    }
    for node in case.spec.members() {
        verdict.check(&format!("{}: everything beside the credentials is as it was", node.short), || {
            let (old, new) = (old_root(case, node), case.spec.root(node));
            let below = "etc/kubernetes";
            same_listing(&old.join(below), &new.join(below))?;
            let manifests = "etc/kubernetes/manifests";
            let beside = KEPT[1..3].iter().chain((node.role == Role::Master).then_some(&manifests));
            beside.into_iter().try_for_each(|path| same(&old.join(path), &new.join(path)))
        });
    }
    if what.contains(&Rotated::ClusterCa) {
        verdict.check("since: the old administrator's kubeconfig is refused", || {
            let old = old_root(case, first(&case.spec)?).join(ADMIN_CONF);
            let answer = case.kubectl(&old, &["get", "namespace", "default"]);
            ensure(answer.is_err(), "it still works")
        });
    }
    if what.contains(&Rotated::ServiceAccounts) {
        verdict.check("since: the key that signs tokens is new", || {
            let old = old_pki(case, first(&case.spec)?).join("sa.pub");
            ensure(fs::read(old)? != fs::read(case.pki.join("sa.pub"))?, "it is the old one")
        });
        verdict.check("since: an old token is refused", || old_token(case));
    }
}

/// Servers refuse clients of the old CA.
fn refused(case: &Case, ca: &str, verdict: &mut Verdict) {
    for node in case.spec.members() {
        let masters = if node.role == Role::Master { MASTER.as_slice() } else { &[] };
        let servers = masters.iter().chain([&KUBELET]);
        for server in servers.filter(|server| server.what.starts_with("etcd") == (ca == ETCD)) {
            verdict.check(&format!("{}: {} refuses a client of before", node.short, server.what), || {
                let old = old_pki(case, first(&case.spec)?);
                match ask(case, node, server, &old) {
                    // Over TLS 1.3 a refusal comes after the handshake, as a broken connection: both count.
                    Err(_refused) => Ok(()),
                    Ok(answer) => ensure(answer == "401" || answer == "000", format!("it answers {answer}")),
                }
            });
        }
    }
}

/// Neither API servers nor the aggregated API believe a front proxy of the old CA.
fn disbelieved(case: &Case, verdict: &mut Verdict) {
    let refused =
        |answer: String| ensure(["401", "403"].contains(&answer.as_str()), format!("it answers {answer}"));
    for node in case.spec.masters() {
        verdict.check(&format!("{}: the API server refuses the front proxy of before", node.short), || {
            refused(as_front_proxy(case, node, &old_pki(case, first(&case.spec)?))?)
        });
    }
    if !workloads::has_aggregated(&case.spec) {
        return;
    }
    verdict.check("aggregated API: it refuses the front proxy of before", || {
        let pki = old_pki(case, first(&case.spec)?);
        let pod = cluster::kubectl(&case.spec, &AGGREGATED_POD).read()?;
        let file = |kind: &str| pki.join(format!("front-proxy-client.{kind}"));
        refused(ask_aggregated(&case.spec, &pod, &case.ca(CLUSTER), &file("crt"), &file("key"))?)
    });
}

fn no_object(case: &Case, ca: &str) -> Result<()> {
    let old = fs::read_to_string(old_pki(case, first(&case.spec)?).join(format!("{ca}.crt")))?;
    let line = middle(&old)?;
    // Inside base64 text is shifted by none, one or two bytes; whole files start without a shift.
    let encoded = BASE64.encode(old.trim_end());
    let encoded = encoded.get(400..600).context("a short CA")?;
    let mut holders = Vec::new();
    for kind in snapshot::KINDS {
        let objects = items(case, kind)?;
        let holds = |item: &&Value| {
            let text = item.to_string();
            text.contains(line) || text.contains(encoded)
        };
        holders.extend(objects.iter().filter(holds).map(|item| format!("{kind} {}", name_of(item))));
    }
    ensure(holders.is_empty(), holders.join(", "))
}

/// Searches the node for the bodies of the old CA and of its key, plain and as kubeconfigs hold them.
fn no_file(case: &Case, node: &Node, ca: &str) -> Result<()> {
    let pki = old_pki(case, first(&case.spec)?);
    let mut patterns = String::new();
    for kind in ["crt", "key"] {
        let text = fs::read_to_string(pki.join(format!("{ca}.{kind}")))?;
        let encoded = BASE64.encode(&text);
        patterns += &format!("{}\n{}\n", middle(&text)?, encoded.get(400..600).context("a short file")?);
    }
    let search = "grep -rlF -f /dev/stdin /etc /home /root /tmp /var/tmp /opt /var/lib/kubelet/pki \
                  /var/lib/kubelet/config.yaml 2>/dev/null || true";
    let found = node::enter(&case.spec, node, &["sh", "-c", search])?.feed(&patterns)?;
    let found: Vec<_> = found.lines().collect();
    ensure(found.is_empty(), found.join(", "))
}

/// A line that no other file has: the first ones of keys and certificates can be alike.
fn middle(text: &str) -> Result<&str> {
    text.lines().filter(|line| !line.starts_with('-')).nth(8).context("a short file")
}

/// The token of a Secret from before.
fn old_token(case: &Case) -> Result<()> {
    let secrets = read_json(&case.before.join("secrets.json"))?;
    let token = list(&secrets)
        .iter()
        .find(|item| item["type"] == "kubernetes.io/service-account-token")
        .context("there was none")?;
    let token = decoded(&token["data"]["token"])?;
    let api = format!("{}:{API_PORT}", case.spec.fqdn);
    token_is_refused(&case.spec, &api, &case.ca(CLUSTER), &token)
}

/// Every file and object is as it was.
pub(super) fn undone(case: &Case, verdict: &mut Verdict) {
    for node in case.spec.members() {
        for path in KEPT {
            verdict.check(&format!("{}: {path} is as it was", node.short), || {
                same(&old_root(case, node).join(path), &case.spec.root(node).join(path))
            });
        }
    }
    verdict.check("API: every object is as it was", || {
        let changed = snapshot::changed_objects(&case.spec, &case.before)?;
        ensure(changed.is_empty(), changed.join("; "))
    });
}

/// Compares contents, then what [`same_listing`] compares.
fn same(old: &Path, new: &Path) -> Result<()> {
    let output = cmd("diff", ["-rq", "--no-dereference"]).arg(old).arg(new).output()?;
    let said = String::from_utf8_lossy(&output.stdout).trim().replace('\n', "; ");
    ensure(output.status.success(), said)?;
    same_listing(old, new)
}

/// Compares names, modes, owners and what links lead to.
fn same_listing(old: &Path, new: &Path) -> Result<()> {
    let listed = |path: &Path| -> Result<String> {
        cmd("sh", ["-c", "find \"$0\" -printf '%P %m %U:%G %l\\n' | sort"]).arg(path).read()
    };
    let (old, new) = (listed(old)?, listed(new)?);
    let differing = new.lines().find(|line| !old.lines().any(|other| other == *line));
    ensure(old == new, differing.unwrap_or("something is missing"))
}

fn old_root(case: &Case, node: &Node) -> PathBuf {
    case.before.join("nodes").join(&node.short)
}

fn old_pki(case: &Case, node: &Node) -> PathBuf {
    old_root(case, node).join(PKI)
}
