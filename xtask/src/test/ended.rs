//! A real cluster whose certificates ended yesterday: refused without `--force`, brought back and rotated with it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use super::shapes::SMALL_KEYS;
use crate::cmd::CommandExt as _;
use crate::lab::{self, Issuer, Life, first_certificate};
use crate::rotation::{self, Lab};

/// Where nodes keep certificates, below their root.
const CERTIFICATES: &str = "etc/kubernetes/certs";
/// The link to a kubelet's own client certificate, below the node's root.
const KUBELET_CLIENT: &str = "var/lib/kubelet/pki/kubelet-client-current.pem";

/// One cluster. Its leaves are issued anew by its own CA with dates in the past, and everything is restarted on them.
pub(super) fn run() -> Result<()> {
    let program = rotation::kubecert()?;
    let lab = Lab::up("ended", SMALL_KEYS)?;
    let result = bring_back(&lab, &program);
    if result.is_ok() {
        lab.down()?;
    }
    result
}

fn bring_back(lab: &Lab, program: &Path) -> Result<()> {
    let_end(lab)?;
    let refused = lab.verb(program, "plan", &[])?.output()?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && said.contains("rotate-certs --force"), "it was not refused: {said}");
    lab.rotate_certs(program, &["--force"])?.show()?;
    lab.judge()?;
    lab.verb(program, "verify", &[])?.show().context("verify is not content")
}

/// Lets every leaf of the cluster CA end yesterday, and restarts all that reads them.
fn let_end(lab: &Lab) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let operator = lab.directory()?;
    let issuer = Issuer::new(scratch.path(), &operator)?;
    let yesterday = Life { from: "400 days ago".to_owned(), until: "1 day ago".to_owned() };
    let mut successors: BTreeMap<String, String> = BTreeMap::new();
    let members = lab::members(lab.name())?;
    let mut places: Vec<(PathBuf, PathBuf)> = Vec::new();
    for directory in members.iter().map(|(_, _, root)| root.join(CERTIFICATES)).chain([operator.clone()]) {
        for entry in
            fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?
        {
            let path = entry?.path();
            let key = path.with_extension("key");
            if path.extension().is_some_and(|ending| ending == "crt") && key.exists() {
                places.push((path, key));
            }
        }
    }
    for (_, _, root) in &members {
        let link = root.join(KUBELET_CLIENT);
        if let Ok(target) = fs::read_link(&link) {
            let target = target
                .strip_prefix("/")
                .map(|below| root.join(below))
                .unwrap_or_else(|_| link.parent().unwrap_or(root).join(&target));
            places.push((target.clone(), target));
        }
    }
    for (certificate, key) in &places {
        let text = fs::read_to_string(certificate)?;
        let Some(old) = first_certificate(&text) else {
            bail!("{} holds no certificate", certificate.display())
        };
        if !issuer.has_signed(old)? {
            continue;
        }
        if !successors.contains_key(old) {
            successors.insert(old.to_owned(), issuer.again(old, key, &yesterday)?);
        }
        // In place, so that mode and owner stay.
        fs::write(certificate, text.replacen(old, &successors[old], 1))?;
    }
    let model = operator.join("apimodel.json");
    let mut text = fs::read_to_string(&model)?;
    for (old, new) in &successors {
        text = text.replace(&escaped(old), &escaped(new));
    }
    fs::write(&model, text)?;
    for (short, _, _) in &members {
        let script = "systemctl stop kubelet; \
                      pkill -KILL '^kube-(apiserver|controller|scheduler)'; \
                      systemctl cat etcd.service >/dev/null 2>&1 && systemctl restart --no-block etcd; \
                      systemctl start --no-block kubelet";
        lab::on_node(lab.name(), short, &["sh", "-c", script])?.show()?;
    }
    Ok(())
}

/// A text as it stands in JSON, without the quotes.
fn escaped(text: &str) -> String {
    text.replace('\n', "\\n")
}
