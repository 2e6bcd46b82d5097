//! Clusters of other shapes than the example's, as the ancestor generates them for real: the documented command line
//! rotates each of them.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use crate::cmd::CommandExt as _;
use crate::rotation::{self, Lab};
use crate::rules;
use crate::test::tolerated;

/// The generated api models, where they are beside this repository.
pub(crate) fn corpus() -> Option<PathBuf> {
    let named = std::env::var_os("KUBECERT_CORPUS").map(PathBuf::from);
    named.or_else(|| Some(rules::root().join("../shared/corpus"))).filter(|corpus| corpus.is_dir())
}

/// Three masters and three agents on Azure Stack Hub with Microsoft Entra ID, of a generated model; where there is none,
/// the example's three masters and two agents.
pub(crate) fn stack() -> Result<Lab> {
    match model("aks-engine-azurestack-0.85-stack-1.34-3m-3l") {
        Ok(model) => Lab::up("test", &["--api-model", &model]),
        Err(_) => Lab::up("test", &[]),
    }
}

/// One master, and AD FS. Its API cannot but be away while its one API server restarts.
pub(crate) fn one_master() -> Result<()> {
    let program = rotation::kubecert()?;
    let arguments = ["--control-planes", "1", "--agents", "1", "--identity-system", "adfs"];
    let lab = Lab::up("test", &arguments)?;
    let plan = lab.rotate_certs(&program, &["--dry-run"])?.read()?;
    ensure!(plan.contains("one control plane"), "the outage is not announced: {plan}");
    lab.rotate_certs(&program, &[])?.show()?;
    told(&lab)?;
    lab.judge_in_time()?;
    lab.down()
}

/// Windows agents beside Linux ones.
pub(crate) fn windows() -> Result<()> {
    let program = rotation::kubecert()?;
    let model = model("aks-engine-azurestack-0.85-stack-1.33-3m-win")?;
    let lab = Lab::up("test", &["--api-model", &model, "--agents", "1"])?;
    lab.rotate_certs(&program, &[])?.show()?;
    told(&lab)?;
    lab.judge()?;
    tolerated(&lab.report()?)?;
    lab.down()
}

fn model(name: &str) -> Result<String> {
    let corpus = corpus().context("there is no corpus")?;
    Ok(corpus.join("apimodels").join(name).join("apimodel.json").to_string_lossy().into_owned())
}

fn told(lab: &Lab) -> Result<()> {
    let report = lab.report()?;
    eprintln!(
        "wall {:.0} s, longest gap {} ms, {} of {} requests failed",
        rotation::number(&report, "/wall_s")?,
        rotation::number(&report, "/api/longest_gap_ms")?,
        rotation::number(&report, "/api/failed")?,
        rotation::number(&report, "/api/requests")?
    );
    Ok(())
}
