//! The files on the nodes: new where they hold credentials, and as they were everywhere else.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::super::node;
use super::super::spec::{Node, Role, Spec};
use super::verdict::{Verdict, ensure};
use super::{Case, public_of_certificate, public_of_key, verified_by};
use crate::cmd::{CommandExt as _, cmd};

const CERTS: &str = "etc/kubernetes/certs";

/// What must be there byte for byte as before, with nothing added.
const KEPT: &[&str] =
    &["etc/kubernetes", "etc/default", "etc/environment", "etc/systemd/system", "var/lib/kubelet/kubeconfig"];

pub(super) fn check(case: &Case, verdict: &mut Verdict) {
    for node in case.spec.members() {
        certificates(case, node, verdict);
        kubelet(case, node, verdict);
        verdict.check(&format!("{}: everything beside the credentials is as it was", node.short), || {
            kept(case, node)
        });
        verdict.check(&format!("{}: no file holds an old key or the old CA", node.short), || {
            no_old_material(case, node)
        });
        nothing_left(&case.spec, node, verdict);
    }
    let masters: Vec<_> = case.spec.masters().collect();
    for file in ["proxy-ca.crt", "proxy.crt", "proxy.key"] {
        verdict.check(&format!("masters: {file} is the same on all"), || {
            let all: Result<BTreeSet<_>, _> =
                masters.iter().map(|node| fs::read(case.spec.root(node).join(CERTS).join(file))).collect();
            ensure(all?.len() == 1, "they differ")
        });
    }
}

/// Every file of the certificate directory: the same names, modes and owners as before, other bytes, right issuer.
fn certificates(case: &Case, node: &Node, verdict: &mut Verdict) {
    let (old, new) = (old_root(case, node).join(CERTS), case.spec.root(node).join(CERTS));
    let names = |dir: &Path| -> BTreeSet<String> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    verdict.check(&format!("{}: {CERTS} has the same files as before", node.short), || {
        let difference: Vec<_> = names(&old).symmetric_difference(&names(&new)).cloned().collect();
        ensure(difference.is_empty(), format!("differs by {}", difference.join(", ")))
    });
    for name in names(&old) {
        verdict.check(&format!("{}: {name} is new, with its mode and owner", node.short), || {
            let (was, is) = (fs::metadata(old.join(&name))?, fs::metadata(new.join(&name))?);
            ensure(fs::read(old.join(&name))? != fs::read(new.join(&name))?, "it is the old one")?;
            let rights =
                |file: &fs::Metadata| format!("{:o} {}:{}", file.mode() & 0o7777, file.uid(), file.gid());
            ensure(rights(&was) == rights(&is), format!("was {}, is {}", rights(&was), rights(&is)))
        });
        let Some(base) = name.strip_suffix(".crt").filter(|base| *base != "proxy-ca") else { continue };
        verdict.check(
            &format!("{}: {name} is one certificate of the right CA and fits its key", node.short),
            || {
                let path = new.join(&name);
                let count = fs::read_to_string(&path)?.matches("BEGIN CERTIFICATE").count();
                ensure(count == 1, format!("it holds {count} certificates"))?;
                let ca = if base == "proxy" { new.join("proxy-ca.crt") } else { case.new.join("ca.crt") };
                verified_by(&ca, &path)?;
                let key = new.join(format!("{base}.key"));
                ensure(
                    !key.exists() || public_of_certificate(&path)? == public_of_key(&key)?,
                    "the key is another's",
                )
            },
        );
        let in_model = case.new.join(&name);
        if in_model.exists() {
            verdict.check(&format!("{}: {name} is the one in the model", node.short), || {
                let same =
                    fs::read_to_string(in_model)?.trim() == fs::read_to_string(new.join(&name))?.trim();
                ensure(same, "it is another")
            });
        }
    }
}

/// The kubelet's own client certificate, and the administrator's kubeconfig on masters.
fn kubelet(case: &Case, node: &Node, verdict: &mut Verdict) {
    let root = case.spec.root(node);
    verdict.check(&format!("{}: the kubelet's client certificate is of the new CA", node.short), || {
        let pki = root.join("var/lib/kubelet/pki");
        // An absolute link, which from here leads astray: only its last part counts.
        let link = fs::read_link(pki.join("kubelet-client-current.pem")).context("there is none")?;
        verified_by(&case.new.join("ca.crt"), &pki.join(link.file_name().context("an odd link")?))
    });
    if node.role == Role::Master {
        let path = format!("home/{}/.kube/config", case.spec.admin);
        verdict.check(&format!("{}: {path} is the operator's new kubeconfig", node.short), || {
            let here: serde_json::Value = serde_json::from_slice(&fs::read(root.join(&path))?)?;
            ensure(here == super::read_json(&super::kubeconfig(case))?, "it is another")
        });
    }
}

fn kept(case: &Case, node: &Node) -> Result<()> {
    let mut differences = Vec::new();
    for path in KEPT {
        let (old, new) = (old_root(case, node).join(path), case.spec.root(node).join(path));
        if !old.exists() {
            continue;
        }
        let mut diff = cmd("diff", ["-rq", "--no-dereference", "--exclude=certs"]);
        let output = diff.arg(&old).arg(&new).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        // `before` copies only some files of etc/default.
        let added_default =
            |line: &&str| *path == "etc/default" && line.starts_with("Only in") && !line.contains("before");
        differences.extend(said.lines().filter(|line| !added_default(line)).map(str::to_owned));
    }
    ensure(differences.is_empty(), differences.join("; "))
}

/// Searches the node for the body of each old key and of the old CA.
fn no_old_material(case: &Case, node: &Node) -> Result<()> {
    let mut patterns = String::new();
    let old_certs = old_root(case, node).join(CERTS);
    let keys = |dir: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "key")).collect()
    };
    let mut sources = keys(&case.old);
    sources.extend(keys(&old_certs));
    sources.push(case.old.join("ca.crt"));
    for path in sources {
        // A line from the middle: the first ones of keys and certificates can be alike.
        let text = fs::read_to_string(&path)?;
        if let Some(line) = text.lines().filter(|line| !line.starts_with('-')).nth(8) {
            patterns += &format!("{line}\n");
        }
    }
    let search = "grep -rlF -f /dev/stdin /etc /home /root /tmp /var/tmp /var/lib/kubelet/pki /var/lib/kubelet/kubeconfig \
                  /var/log/azure /opt 2>/dev/null || true";
    let found = node::enter(&case.spec, node, &["sh", "-c", search])?.feed(&patterns)?;
    let found: Vec<_> = found.lines().collect();
    ensure(found.is_empty(), found.join(", "))
}

/// Nothing of a rotation's own is in the node's packet filter or among its units.
pub(super) fn nothing_left(spec: &Spec, node: &Node, verdict: &mut Verdict) {
    verdict.check(&format!("{}: no nat rule of ours is left", node.short), || no_diversion(spec, node));
    verdict.check(&format!("{}: no unit of ours is left", node.short), || {
        let list = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "kubecert*", "run-*"];
        let units = node::enter(spec, node, &list)?.read()?;
        let ours: Vec<_> = units
            .lines()
            .filter(|line| line.contains("kubecert") && !line.contains("kubecert-lab"))
            .collect();
        ensure(ours.is_empty(), ours.join("; "))
    });
}

/// The built-in chains may lead to kube-proxy's and the CNI plugins' chains only.
fn no_diversion(spec: &Spec, node: &Node) -> Result<()> {
    let rules = node::enter(spec, node, &["iptables-save", "-t", "nat"])?.read()?;
    let ours = |line: &&str| {
        let builtin = ["-A PREROUTING ", "-A OUTPUT ", "-A POSTROUTING ", "-A INPUT "]
            .iter()
            .any(|chain| line.starts_with(chain));
        let known = ["-j KUBE-", "-j CNI-"].iter().any(|target| line.contains(target));
        (builtin && !known) || line.to_lowercase().contains("kubecert")
    };
    let left: Vec<_> = rules.lines().filter(ours).collect();
    ensure(left.is_empty(), left.join("; "))
}

fn old_root(case: &Case, node: &Node) -> PathBuf {
    case.before.join("nodes").join(&node.short)
}
