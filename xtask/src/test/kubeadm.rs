//! Clusters that kubeadm made, rotated, taken back, let to end and brought back: judged by openssl, curl, kubectl and kubeadm.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::tolerated;
use crate::cmd::CommandExt as _;
use crate::lab::{self, End};
use crate::rotation::{self, Lab};

/// Three control planes and an agent of the current generation, whose API servers verify kubelets: all three CAs are
/// replaced, once killed on the way; a rotation that was held is taken back; then everything ends, and is brought back.
pub(super) fn current() -> Result<()> {
    let program = rotation::kubecert()?;
    let lab = Lab::up_as("kubeadm", "test", &["--signed-kubelets"])?;
    refusals(&lab, &program)?;
    lab::make_secrets(lab.name())?;
    let before = snapshot(&lab)?;
    let words = ["--yes", "-o", "json"];
    let killed = rotation::kill_in(lab.process(&program, "rotate", &words)?, "switch", 8)?;
    ensure!(killed.is_none(), "it ended before step 8 of phase switch began: {killed:?}");
    lab.verb(&program, "rotate", &["--yes"])?.show()?;
    replaced(&lab, &program, &before, CERTIFICATES)?;
    lab::check_secrets(lab.name()).context("Cluster API's Secrets have not followed")?;
    tolerated(&lab.report()?)?;
    taken_back(&lab, &program)?;
    lab::forget_secrets(lab.name())?;
    // That the leaves alone have ended is gone through by the outages of a site.
    lab::let_end(lab.name(), End::Everything)?;
    brought_back(&lab, &program)?;
    let before = snapshot(&lab)?;
    let rotated = lab.verb(&program, "rotate", &["--yes", "--why", "compromised"])?.show();
    rotated.context("what was brought back cannot be rotated")?;
    replaced(&lab, &program, &before, EVERYTHING)?;
    lab.down()
}

/// The same generation as AKS engine's oldest: a rotation, with one control plane.
pub(super) fn oldest() -> Result<()> {
    let program = rotation::kubecert()?;
    let lab = Lab::up_as("kubeadm", "test", &["--kubernetes", "1.20", "--control-planes", "1"])?;
    let before = snapshot(&lab)?;
    lab.verb(&program, "rotate", &["--yes"])?.show()?;
    replaced(&lab, &program, &before, CERTIFICATES)?;
    lab.down()
}

/// What is not built for this layout is refused before anything is touched, by its name.
fn refusals(lab: &Lab, program: &Path) -> Result<()> {
    let refused = lab.verb(program, "rotate", &["--yes", "--why", "extend-ca"])?.output()?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(1) && said.contains("kubeadm"), "it was not refused: {said}");
    let checked = lab.verb(program, "verify", &[])?.output()?;
    ensure!(checked.status.success(), "a fresh cluster is not as it should be");
    Ok(())
}

/// A rotation that is held before the old CAs go leads back to where it began, byte for byte.
fn taken_back(lab: &Lab, program: &Path) -> Result<()> {
    let before = snapshot(lab)?;
    let held = lab.verb(program, "rotate", &["--yes", "--hold"])?.output()?;
    let said = String::from_utf8_lossy(&held.stderr).into_owned();
    ensure!(held.status.code() == Some(4), "it was not held: {said}");
    lab.verb(program, "undo", &["--yes"])?.show()?;
    judged(lab, program, &["--undone", "--before", &before.path().to_string_lossy()])
}

/// Nothing but SSH answers, and afterwards everything works.
fn brought_back(lab: &Lab, program: &Path) -> Result<()> {
    let refused = lab.verb(program, "rotate", &["--yes"])?.output()?;
    ensure!(!refused.status.success(), "a cluster that has ended was rotated");
    lab.verb(program, "recover", &["--yes"])?.show()?;
    let again = lab.verb(program, "recover", &["--yes"])?.read()?;
    ensure!(again.contains("nothing was done"), "after bringing it back, that says: {again}");
    Ok(())
}

/// What is new after all three CAs were replaced.
const CERTIFICATES: &str = "cluster-ca,etcd-ca,front-proxy-ca,leaves";
/// And with them the key that signs tokens.
const EVERYTHING: &str = "cluster-ca,etcd-ca,front-proxy-ca,leaves,service-accounts";

/// These are new since then, and all is well.
fn replaced(lab: &Lab, program: &Path, before: &TempDir, what: &str) -> Result<()> {
    judged(lab, program, &["--rotated", what, "--before", &before.path().to_string_lossy()])
}

/// Foreign tools find one PKI, and so does the program.
fn judged(lab: &Lab, program: &Path, more: &[&str]) -> Result<()> {
    lab.judge_in_time_as(more)?;
    lab.verb(program, "verify", &[])?.show().context("verify is not content")
}

fn snapshot(lab: &Lab) -> Result<TempDir> {
    let directory = tempfile::tempdir()?;
    lab::take_snapshot(lab.name(), directory.path())?;
    Ok(directory)
}
