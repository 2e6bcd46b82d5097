//! Letting the certificates of a kubeadm cluster end for real: issued again with dates in the past, and everything restarted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{PKI, first};
use crate::cmd::CommandExt as _;
use crate::lab::cache::wait_for;
use crate::lab::spec::{Node, Role, Spec};
use crate::lab::{Issuer, Layout, Life, cluster, first_certificate, node};

/// What has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The leaves of all three CAs
    Leaves,
    /// And the CAs themselves
    Everything,
}

/// The CAs' certificates, in the PKI directory.
const AUTHORITIES: [&str; 3] = ["ca.crt", "etcd/ca.crt", "front-proxy-ca.crt"];
/// How long a kubelet may take to start a killed static pod again; it waits longer each time.
const RESTART_PATIENCE: Duration = Duration::from_secs(300);
const KUBELET_PKI: &str = "var/lib/kubelet/pki";

/// Lets the certificates of the lab `name` end yesterday, and restarts all that reads them.
///
/// Afterwards etcd, controller managers and schedulers run, and nobody accepts anybody. The kubelets do not run: with a
/// client certificate that has ended and nothing to ask for another with, kubeadm's kubelet ends as soon as it starts. So
/// nobody starts the API servers again, which end when they cannot reach etcd. Serving certificates that kubelets have made
/// themselves stay as they are, and so does what the cluster's objects hold.
pub(crate) fn let_end(name: &str, what: End) -> Result<()> {
    let spec = Spec::load(name)?;
    if spec.layout != Layout::Kubeadm {
        bail!("{name} is no cluster of kubeadm's");
    }
    let yesterday = Life { from: "400 days ago".to_owned(), until: "1 day ago".to_owned() };
    put_ends(&spec, what, &yesterday)?;
    let before: Vec<_> = spec.masters().map(|node| (node, processes(&spec, node))).collect();
    for (node, _) in &before {
        let kill = "pkill -KILL -x etcd; pkill -KILL '^kube-(apiserver|controller|scheduler)'";
        node::enter(&spec, node, &["sh", "-c", kill])?.show()?;
    }
    for (node, old) in &before {
        // Not yet its kubelet, as that has to start them again.
        let again = || {
            let new = processes(&spec, node);
            new.iter().zip(old).all(|(new, old)| !new.is_empty() && new.is_disjoint(old))
        };
        wait_for(RESTART_PATIENCE, again)
            .with_context(|| format!("the control plane did not come back on {}", node.short))?;
    }
    for node in spec.members() {
        node::enter(&spec, node, &["systemctl", "restart", "kubelet"])?.read()?;
    }
    wait_for(RESTART_PATIENCE, || {
        !cluster::kubectl(&spec, &["--request-timeout=2s", "get", "--raw", "/readyz"]).succeeds()
    })
    .context("the API answers still")
}

/// Gives certificates another life, in all files that hold them. Restarts nothing.
pub(crate) fn put_ends(spec: &Spec, what: End, life: &Life) -> Result<()> {
    let successors = successors(spec, what, life)?;
    for path in holders(spec)? {
        replace(&path, &successors)?;
    }
    Ok(())
}

/// The process ids of a control plane's static pods, by program.
fn processes(spec: &Spec, node: &Node) -> Vec<BTreeSet<String>> {
    // As the kernel knows them, cut after 15 letters.
    let programs = ["etcd", "kube-apiserver", "kube-controller", "kube-scheduler"];
    let ids = |name: &str| {
        // It fails where there is none.
        let found = node::enter(spec, node, &["pgrep", "-x", name]).and_then(|mut pgrep| pgrep.read());
        found.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    programs.into_iter().map(ids).collect()
}

/// The certificate that stands in the place of each that the cluster's CAs have signed, and of these if they end too.
fn successors(spec: &Spec, what: End, life: &Life) -> Result<BTreeMap<String, String>> {
    let scratch = tempfile::tempdir()?;
    let pki = spec.root(first(spec)?).join(PKI);
    let mut issuers = Vec::new();
    for (number, file) in AUTHORITIES.iter().enumerate() {
        let own = scratch.path().join(number.to_string());
        fs::create_dir(&own)?;
        issuers.push(Issuer::of(&own, pki.join(file))?);
    }
    let mut successors = BTreeMap::new();
    for path in holders(spec)? {
        let Some((certificate, key)) = pair(&path)? else { continue };
        if successors.contains_key(&certificate) {
            continue;
        }
        for issuer in &issuers {
            if issuer.has_signed(&certificate)? {
                let file = scratch.path().join("key");
                fs::write(&file, &key)?;
                successors.insert(certificate.clone(), issuer.again(&certificate, &file, life)?);
            }
        }
    }
    if what == End::Everything {
        for (issuer, file) in issuers.iter().zip(AUTHORITIES) {
            successors.insert(fs::read_to_string(pki.join(file))?, issuer.itself_again(life)?);
        }
    }
    Ok(successors)
}

/// All files with certificates: PKI directories, kubeconfigs with the operator's own, kubelets' client certificates.
fn holders(spec: &Spec) -> Result<Vec<PathBuf>> {
    let mut all = vec![spec.kubeconfig()];
    for node in spec.members() {
        let root = spec.root(node);
        let mut directories = vec![root.join("etc/kubernetes"), root.join(PKI), root.join(KUBELET_PKI)];
        if node.role == Role::Master {
            directories.push(root.join(PKI).join("etcd"));
        }
        for directory in directories {
            let context = || format!("cannot read {}", directory.display());
            for entry in fs::read_dir(&directory).with_context(context)? {
                let path = entry?.path();
                let ending = path.extension().unwrap_or_default();
                // The link leads astray from here, and what it leads to is beside it.
                if ["crt", "conf", "pem"].iter().any(|known| ending == *known) && !path.is_symlink() {
                    all.push(path);
                }
            }
        }
    }
    Ok(all)
}

/// A file's leaf and its key: together in one file, in one kubeconfig, or in two files. `None` where there is no key.
fn pair(path: &Path) -> Result<Option<(String, String)>> {
    let text = fs::read_to_string(path)?;
    let found = match path.extension().and_then(|ending| ending.to_str()) {
        Some("conf") => (data(&text, "client-certificate-data")?, data(&text, "client-key-data")?),
        Some("crt") => (Some(text), fs::read_to_string(path.with_extension("key")).ok()),
        _with_its_key => (Some(text.clone()), Some(text)),
    };
    Ok(match found {
        (Some(text), Some(key)) => first_certificate(&text).map(|certificate| (certificate.to_owned(), key)),
        _incomplete => None,
    })
}

/// What a kubeconfig holds in base64 under a key.
fn data(kubeconfig: &str, key: &str) -> Result<Option<String>> {
    let line = kubeconfig.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(':'));
    line.map(|value| Ok(String::from_utf8(BASE64.decode(value.trim())?)?)).transpose()
}

/// Puts the successors into a file, in place, so that mode and owner stay.
fn replace(path: &Path, successors: &BTreeMap<String, String>) -> Result<()> {
    let text = fs::read_to_string(path)?;
    let mut changed = text.clone();
    for (old, new) in successors {
        changed = changed.replace(old, new).replace(&BASE64.encode(old), &BASE64.encode(new));
    }
    if changed != text {
        fs::write(path, changed).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_takes_its_place_plain_and_in_a_kubeconfig() {
        let one = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let two = one.replace("AAAA", "BBBB");
        let successors = BTreeMap::from([(one.to_owned(), two.clone())]);
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.conf");
        let config = |certificate: &str| {
            format!(
                "users:\n- user:\n    client-certificate-data: {}\n    x: {certificate}",
                BASE64.encode(certificate)
            )
        };
        fs::write(&path, config(one)).expect("a file");
        replace(&path, &successors).expect("to be replaced");
        let text = fs::read_to_string(&path).expect("a file");
        assert_eq!(text, config(&two));
        assert_eq!(data(&text, "client-certificate-data").expect("base64").as_deref(), Some(&*two));
    }
}
