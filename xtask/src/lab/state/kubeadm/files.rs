//! The files on the nodes: PKI directories, kubeconfigs, the kubelets' own certificates.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::super::super::node;
use super::super::super::spec::{Node, Role};
use super::super::files::nothing_left;
use super::super::verdict::{Verdict, ensure};
use super::super::{public_of_certificate, public_of_key, verified_by};
use super::{AUTHORITIES, CLUSTER, Case, LEAVES, certificates, decoded};
use crate::cmd::{CommandExt as _, cmd};

const KUBECONFIGS: [&str; 5] =
    ["admin.conf", "super-admin.conf", "controller-manager.conf", "scheduler.conf", "kubelet.conf"];
/// What all control planes have alike.
const SHARED: [&str; 8] = [
    "ca.crt",
    "ca.key",
    "etcd/ca.crt",
    "etcd/ca.key",
    "front-proxy-ca.crt",
    "front-proxy-ca.key",
    "sa.key",
    "sa.pub",
];

pub(super) fn check(case: &Case, verdict: &mut Verdict) {
    for node in case.spec.members() {
        let name = &node.short;
        match node.role {
            Role::Master => pki(case, node, verdict),
            Role::Agent | Role::Balancer | Role::Host => {
                verdict.check(&format!("{name}: its CA is the cluster's"), || {
                    case.is_ca(CLUSTER, &fs::read_to_string(case.pki_of(node).join("ca.crt"))?)
                });
            }
        }
        for file in KUBECONFIGS {
            let path = case.spec.root(node).join("etc/kubernetes").join(file);
            // An agent has but one, and only the first control plane has the second.
            if path.exists()
                || node.role == Role::Master && file != "super-admin.conf"
                || file == "kubelet.conf"
            {
                verdict.check(&format!("{name}: {file} holds the cluster's CA and a client of it"), || {
                    kubeconfig(case, node, &path)
                });
            }
        }
        verdict.check(&format!("{name}: the kubelet's client certificate is of the cluster's CA"), || {
            let path = kubelet_own(case, node, KUBELET_CLIENT)?;
            pair(case, &fs::read_to_string(&path)?, &path, &case.ca(CLUSTER))
        });
        if case.spec.signed_kubelets {
            verdict.check(
                &format!("{name}: the kubelet's serving certificate is of the cluster's CA"),
                || {
                    let path = kubelet_own(case, node, KUBELET_SERVER)?;
                    pair(case, &fs::read_to_string(&path)?, &path, &case.ca(CLUSTER))?;
                    let wanted = format!("IP Address:{}", node.ip);
                    let sans = cmd("openssl", ["x509", "-noout", "-ext", "subjectAltName", "-in"])
                        .arg(&path)
                        .read()?;
                    ensure(sans.contains(&wanted), format!("it is for {}", sans.trim()))
                },
            );
        }
        nothing_left(&case.spec, node, verdict);
        verdict.check(&format!("{name}: no file of ours is left"), || no_leftover(case, node));
    }
    for file in SHARED {
        verdict.check(&format!("control planes: {file} is the same on all"), || {
            let all: Result<BTreeSet<_>, _> =
                case.spec.masters().map(|node| fs::read(case.pki_of(node).join(file))).collect();
            ensure(all?.len() == 1, "they differ")
        });
    }
    verdict.check("control planes: the three CAs have three keys", || {
        let keys: Result<BTreeSet<_>> =
            AUTHORITIES.iter().map(|(ca, _)| public_of_certificate(&case.ca(ca))).collect();
        ensure(keys?.len() == AUTHORITIES.len(), "some share one")
    });
}

/// A control plane's PKI directory.
fn pki(case: &Case, node: &Node, verdict: &mut Verdict) {
    let (name, pki) = (&node.short, case.pki_of(node));
    let of = |file: &str, kind: &str| pki.join(format!("{file}.{kind}"));
    let pairs = AUTHORITIES.iter().map(|(ca, _)| (*ca, *ca)).chain(LEAVES);
    for (file, ca) in pairs {
        verdict.check(&format!("{name}: {file}.crt is one certificate of {ca}.crt and fits its key"), || {
            pair(case, &fs::read_to_string(of(file, "crt"))?, &of(file, "key"), &of(ca, "crt"))
        });
    }
    verdict.check(&format!("{name}: sa.pub belongs to sa.key"), || {
        let public = fs::read_to_string(of("sa", "pub"))?;
        ensure(public_of_key(&of("sa", "key"))? == public, "it is another's, or holds more than one")
    });
    verdict.check(&format!("{name}: no file is missing in pki or has been added"), || {
        let files = AUTHORITIES.iter().map(|(ca, _)| *ca).chain(LEAVES.iter().map(|(leaf, _)| *leaf));
        let mut expected: BTreeSet<PathBuf> =
            files.flat_map(|file| [of(file, "crt"), of(file, "key")]).collect();
        expected.extend([of("sa", "key"), of("sa", "pub"), pki.join("etcd")]);
        let mut found = BTreeSet::new();
        for directory in [pki.clone(), pki.join("etcd")] {
            for entry in fs::read_dir(directory)? {
                found.insert(entry?.path());
            }
        }
        let odd: Vec<_> =
            found.symmetric_difference(&expected).map(|path| path.display().to_string()).collect();
        ensure(odd.is_empty(), odd.join(", "))
    });
    verdict.check(&format!("{name}: private keys are root's alone"), || {
        for file in SHARED.iter().filter(|file| file.ends_with(".key")).map(|file| pki.join(file)) {
            let found = fs::metadata(&file)?;
            let rights = (found.mode() & 0o7777, found.uid(), found.gid());
            ensure(
                rights == (0o600, 0, 0),
                format!("{} is {:o} {}:{}", file.display(), rights.0, rights.1, rights.2),
            )?;
        }
        Ok(())
    });
    verdict.check(&format!("{name}: kubeadm finds every certificate alive"), || {
        let said = node::enter(&case.spec, node, &["kubeadm", "certs", "check-expiration"])?.read()?;
        let alive = said.lines().filter(|line| line.contains(" UTC ")).count();
        // Ten, and the super administrator's where there is one, and the three CAs.
        ensure(alive >= 13 && !said.contains("<invalid>"), said.trim())
    });
}

/// One certificate of a CA that is in force now, and the key that belongs to it.
pub(super) fn pair(case: &Case, text: &str, key: &Path, ca: &Path) -> Result<()> {
    let all = certificates(text);
    ensure(all.len() == 1, format!("it holds {} certificates", all.len()))?;
    let path = case.file("pair.crt", &all[0])?;
    verified_by(ca, &path)?;
    ensure(public_of_certificate(&path)? == public_of_key(key)?, "the key is another's")
}

fn kubeconfig(case: &Case, node: &Node, path: &Path) -> Result<()> {
    let config = case.kubeconfig(path)?;
    let authority =
        decoded(&config["clusters"][0]["cluster"]["certificate-authority-data"]).context("its CA")?;
    case.is_ca(CLUSTER, &authority)?;
    let user = &config["users"][0]["user"];
    if user["client-certificate-data"].is_null() {
        let named = user["client-certificate"].as_str().context("it names no client certificate")?;
        return ensure(named == KUBELET_CLIENT, format!("it names {named}"))
            .and_then(|()| kubelet_own(case, node, KUBELET_CLIENT).map(|_found| ()));
    }
    let key = case.file("kubeconfig.key", decoded(&user["client-key-data"])?)?;
    pair(case, &decoded(&user["client-certificate-data"])?, &key, &case.ca(CLUSTER))
}

const KUBELET_CLIENT: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";
pub(super) const KUBELET_SERVER: &str = "/var/lib/kubelet/pki/kubelet-server-current.pem";

/// The file that a link of a kubelet's leads to, as the host sees it.
pub(super) fn kubelet_own(case: &Case, node: &Node, link: &str) -> Result<PathBuf> {
    let link = case.spec.root(node).join(link.trim_start_matches('/'));
    // An absolute link, which from here leads astray: only its last part counts.
    let target = fs::read_link(&link).context("there is none")?;
    Ok(link.with_file_name(target.file_name().context("an odd link")?))
}

fn no_leftover(case: &Case, node: &Node) -> Result<()> {
    let root = case.spec.root(node);
    let mut find = cmd("find", ["etc", "home", "opt", "root", "srv", "tmp", "usr/local", "var"]);
    find.args(["-xdev", "-path", "var/lib/containerd", "-prune", "-o"]);
    let found =
        find.args(["-name", "*kubecert*", "-not", "-name", "*kubecert-lab*", "-print"]).current_dir(root);
    let mut left: Vec<_> = found.read()?.lines().map(str::to_owned).collect();
    // What lies in memory is to be seen from inside only.
    let inside =
        ["find", "/run", "/tmp", "/dev/shm", "-name", "*kubecert*", "-not", "-name", "*kubecert-lab*"];
    // It may meet directories of pods that are just going.
    let output = node::enter(&case.spec, node, &inside)?.output()?;
    left.extend(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned));
    ensure(left.is_empty(), left.join(", "))
}
