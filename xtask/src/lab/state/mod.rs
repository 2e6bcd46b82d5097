//! Judging a rotated cluster from outside.
//!
//! Nothing here shares code with kubecert: certificates are read by openssl, servers are asked by openssl and curl,
//! objects by kubectl. Each check prints one line that starts with PASS or FAIL, and one FAIL makes the command fail.
//! "Old" is what [`super::snapshot`] has kept from before, "new" is what the operator's API model says now.

mod files;
mod kubeadm;
mod objects;
mod servers;
mod verdict;
mod windows;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::Value;

use self::verdict::{Verdict, ensure};
use super::spec::Spec;
use super::{Layout, Named, pki, snapshot};
use crate::cmd::{CommandExt as _, cmd};

#[derive(Args)]
pub(crate) struct StateArgs {
    #[command(flatten)]
    lab: Named,
    /// The state before the rotation [default: as `lab up` has left it]
    #[arg(long, value_name = "DIR")]
    before: Option<PathBuf>,
    /// The operator's directory after the rotation: apimodel.json, kubeconfig/ [default: the one `lab up` has made]
    #[arg(long, value_name = "DIR")]
    after: Option<PathBuf>,
    /// Also fail if a workload's call has failed since this time, in seconds since 1970
    #[arg(long, value_name = "T")]
    since: Option<f64>,
    /// What must be new since the state before, in a cluster of kubeadm's [default if given: everything]
    #[arg(long, value_name = "WHAT", num_args = 0.., value_delimiter = ',')]
    rotated: Option<Vec<kubeadm::Rotated>>,
    /// Everything must be as it was before, byte for byte; in a cluster of kubeadm's
    #[arg(long, conflicts_with = "rotated")]
    undone: bool,
    /// Print only what failed
    #[arg(long)]
    quiet: bool,
}

/// What the checks are about.
struct Case {
    spec: Spec,
    /// The snapshot from before.
    before: PathBuf,
    /// The operator's directory now.
    after: PathBuf,
    /// The PKI that the operator's model holds now, as files; see [`pki::from_profile`].
    new: PathBuf,
    /// And the one from before.
    old: PathBuf,
}

pub(crate) fn state(args: &StateArgs) -> Result<ExitCode> {
    let spec = Spec::load(&args.lab.name)?;
    let before = args.before.clone().unwrap_or_else(|| snapshot::before(&spec));
    if spec.layout == Layout::Kubeadm {
        return kubeadm::state(args, spec, before);
    }
    if args.rotated.is_some() || args.undone {
        bail!("--rotated and --undone are for clusters of kubeadm's; this one is always judged as rotated");
    }
    let after = args.after.clone().unwrap_or_else(|| spec.output());
    let scratch = tempfile::tempdir()?;
    let case = Case { new: scratch.path().join("new"), old: scratch.path().join("old"), spec, before, after };
    unpack(&case.after.join("apimodel.json"), &case.new)?;
    unpack(&case.before.join("output/apimodel.json"), &case.old)?;

    let mut verdict = Verdict::new(args.quiet);
    operator(&case, &mut verdict);
    files::check(&case, &mut verdict);
    servers::check(&case, &mut verdict);
    windows::check(&case, &mut verdict);
    objects::check(&case, args.since, &mut verdict);
    Ok(verdict.close())
}

/// Writes the PKI in an API model as files.
fn unpack(model: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let json = read_json(model)?;
    let profile = json.pointer("/properties/certificateProfile").and_then(Value::as_object);
    let profile = profile.with_context(|| format!("{} has no certificateProfile", model.display()))?;
    pki::from_profile(profile, to)
}

/// The operator's own files.
fn operator(case: &Case, verdict: &mut Verdict) {
    verdict.check("operator: the model differs in certificateProfile only", || {
        let without = |path: &Path| -> Result<String> {
            let mut json = read_json(path)?;
            json["properties"].as_object_mut().context("no properties")?.shift_remove("certificateProfile");
            Ok(serde_json::to_string(&json)?)
        };
        let (old, new) = (case.before.join("output/apimodel.json"), case.after.join("apimodel.json"));
        ensure(without(&old)? == without(&new)?, "other keys differ")
    });
    let mut names: Vec<_> =
        fs::read_dir(&case.old).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names {
        let name = name.to_string_lossy().into_owned();
        verdict.check(&format!("operator: {name} in the model is new"), || {
            let new = fs::read(case.new.join(&name)).context("it is missing")?;
            ensure(new != fs::read(case.old.join(&name))?, "it is the old one")
        });
        if let Some(base) = name.strip_suffix(".crt") {
            verdict.check(
                &format!("operator: {name} in the model is of the new CA and fits its key"),
                || {
                    verified_by(&case.new.join("ca.crt"), &case.new.join(&name))?;
                    let key = case.new.join(format!("{base}.key"));
                    ensure(
                        public_of_certificate(&case.new.join(&name))? == public_of_key(&key)?,
                        "key and certificate differ",
                    )
                },
            );
        }
    }
    verdict.check("operator: the kubeconfig holds the new CA", || {
        let config = read_json(&kubeconfig(case))?;
        let ca =
            config["clusters"][0]["cluster"]["certificate-authority-data"].as_str().context("no CA in it")?;
        let decoded = cmd("base64", ["-d"]).feed(ca)?;
        ensure(decoded.trim() == fs::read_to_string(case.new.join("ca.crt"))?.trim(), "it holds another CA")
    });
}

fn kubeconfig(case: &Case) -> PathBuf {
    case.after.join(format!("kubeconfig/kubeconfig.{}.json", case.spec.location))
}

fn read_json(path: &Path) -> Result<Value> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", path.display()))
}

/// Has openssl verify the first certificate of a file against one CA and nothing else.
fn verified_by(ca: &Path, certificate: &Path) -> Result<()> {
    cmd("openssl", ["verify", "-no-CApath", "-no-CAstore", "-CAfile", &ca.to_string_lossy()])
        .arg(certificate)
        .read()?;
    Ok(())
}

fn public_of_certificate(path: &Path) -> Result<String> {
    cmd("openssl", ["x509", "-noout", "-pubkey", "-in", &path.to_string_lossy()]).read()
}

fn public_of_key(path: &Path) -> Result<String> {
    cmd("openssl", ["pkey", "-pubout", "-in", &path.to_string_lossy()]).read()
}

fn subject(path: &Path) -> Result<String> {
    let text =
        cmd("openssl", ["x509", "-noout", "-subject", "-nameopt", "rfc2253", "-in", &path.to_string_lossy()])
            .read()?;
    Ok(text.trim().trim_start_matches("subject=").to_owned())
}
