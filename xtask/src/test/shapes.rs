//! Clusters of other shapes than the example's, as the ancestor generates them for real: the documented command line
//! rotates each of them.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use super::tolerated;
use crate::cmd::CommandExt as _;
use crate::rotation::{self, Lab};
use crate::rules;

/// The generated api models, where they are beside this repository.
pub(super) fn corpus() -> Option<PathBuf> {
    let named = std::env::var_os("KUBECERT_CORPUS").map(PathBuf::from);
    named.or_else(|| Some(rules::root().join("../shared/corpus"))).filter(|corpus| corpus.is_dir())
}

/// Two cores that serve all nodes of a cluster are busy with signatures by the ancestor's keys of 4096 bits, which says
/// nothing of a rotation. The cluster of one master has such keys.
pub(super) const SMALL_KEYS: &[&str] = &["--rsa-bits", "2048"];

/// Three masters and an agent on Azure Stack Hub with Microsoft Entra ID, of a generated model; where there is none, of the
/// example.
pub(super) fn stack() -> Result<Lab> {
    match model("aks-engine-azurestack-0.85-stack-1.34-3m-3l") {
        Ok(model) => Lab::up("test", &[SMALL_KEYS, &["--agents", "1", "--api-model", &model]].concat()),
        Err(_) => Lab::up("test", &[SMALL_KEYS, &["--agents", "1"]].concat()),
    }
}

/// One master, and AD FS. Its API cannot but be away while its one API server restarts.
pub(super) fn one_master() -> Result<()> {
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
pub(super) fn windows() -> Result<()> {
    let program = rotation::kubecert()?;
    let model = model("aks-engine-azurestack-0.85-stack-1.33-3m-win")?;
    let lab = Lab::up("test", &[SMALL_KEYS, &["--api-model", &model, "--agents", "1"]].concat())?;
    lab.rotate_certs(&program, &[])?.show()?;
    told(&lab)?;
    lab.judge()?;
    tolerated(&lab.report()?)?;
    lab.down()
}

/// Azure is asked beforehand; a dry run changes nothing; with `--reboot` every machine is restarted, and the cluster is as
/// after any rotation.
pub(super) fn azure() -> Result<()> {
    let program = rotation::kubecert()?;
    let lab = stack()?;
    let wrong = lab.rotate_certs_with_secret(&program, "wrong")?.output()?;
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    ensure!(
        wrong.status.code() == Some(1) && said.contains("AADSTS7000215"),
        "with a wrong secret it said: {said}"
    );

    let plan = lab.rotate_certs(&program, &["--dry-run"])?.read()?;
    ensure!(plan.contains("switch"), "a dry run shows no plan: {plan}");
    ensure!(lab.report().is_err(), "a dry run has left a report");
    ensure!(!lab.directory()?.join("_rotate_certs_output").exists(), "a dry run has written files");

    let before = leaders(&lab)?;
    lab.rotate_certs(&program, &["--reboot"])?.show()?;
    for ((node, old), (_, new)) in before.iter().zip(leaders(&lab)?) {
        ensure!(*old != new, "the machine of {node} was not restarted");
    }
    let report = lab.report()?;
    let notices = report.pointer("/notices").and_then(serde_json::Value::as_array);
    let told = notices.into_iter().flatten().filter_map(serde_json::Value::as_str);
    let told = told.filter(|notice| notice.contains("was restarted through Azure")).count();
    ensure!(told == before.len(), "the report tells of {told} restarts, there are {} machines", before.len());
    lab.judge_in_time()?;
    lab.verb(&program, "verify", &[])?.show().context("verify is not content")?;
    lab.down()
}

/// The first process of each machine: another one after a restart.
fn leaders(lab: &Lab) -> Result<Vec<(String, Option<u32>)>> {
    let members = crate::lab::members(lab.name())?;
    members.into_iter().map(|(short, name, _)| Ok((name, crate::lab::leader(lab.name(), &short)?))).collect()
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
