//! Three masters on Azure Stack Hub: what must be refused, a rotation that nobody notices, and one that is killed in each phase.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::{may_be_late, shapes, tolerated};
use crate::cmd::{CommandExt as _, cmd};
use crate::lab;
use crate::rotation::{self, Lab};

/// One cluster for all of it.
pub(super) fn run() -> Result<()> {
    let program = rotation::kubecert()?;
    let lab = shapes::stack()?;
    refusals(&lab, &program).context("refusals")?;
    rotated(&lab, &program).context("the rotation")?;
    killed(&lab, &program).context("the rotation that is killed in each phase")?;
    lab.down()
}

/// Point by point what must be seen after a rotation: the command exits 0, foreign tools find one new PKI everywhere, no
/// client and no workload was refused, and running it again with nothing due does nothing.
fn rotated(lab: &Lab, program: &Path) -> Result<()> {
    let measured = rotation::rotate(lab, program)?;
    let failed = rotation::number(&measured.report, "/api/failed")?;
    eprintln!(
        "wall {:.0} s, longest gap {} ms, {failed} requests failed",
        measured.wall_s,
        rotation::number(&measured.report, "/api/longest_gap_ms")?
    );
    lab.judge()?;
    tolerated(&measured.report)?;
    let (calls, lost) = measured.workload;
    ensure!(
        lost as f64 <= calls as f64 * may_be_late(&measured.report)?,
        "{lost} of {calls} calls of workloads failed"
    );
    lab.verb(program, "verify", &[])?.show().context("verify is not content")?;
    let renewed = lab.verb(program, "rotate", &["--why", "renew", "--yes"])?.read()?;
    ensure!(renewed.contains("Nothing is due"), "with nothing due, rotate says: {renewed}");
    Ok(())
}

/// What must be refused with an error that names it, before anything is touched.
fn refusals(lab: &Lab, program: &Path) -> Result<()> {
    let refused = |command: &mut Command, words: &[&str]| -> Result<()> {
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1), "it ended with {} and said: {said}", output.status);
        for word in words {
            ensure!(said.contains(word), "its error does not say {word:?}: {said}");
        }
        eprintln!("  refused: {}", said.lines().find(|line| line.starts_with("error")).unwrap_or_default());
        Ok(())
    };
    refused(&mut lab.rotate_certs_at(program, "westus2", &[])?, &["location", "westus2"])?;

    let directory = tempfile::tempdir()?;
    let nothing = directory.path().join("nothing");
    let nothing = nothing.to_string_lossy().into_owned();
    refused(&mut lab.rotate_certs_with_key(program, &nothing)?, &["--linux-ssh-private-key", &nothing])?;
    let encrypted = directory.path().join("encrypted").to_string_lossy().into_owned();
    cmd("ssh-keygen", ["-q", "-t", "ed25519", "-N", "secret", "-f", &encrypted]).show()?;
    refused(&mut lab.rotate_certs_with_key(program, &encrypted)?, &["encrypted", "passphrase"])?;

    // The node behind the SSH host is another than it was.
    let pinned = directory.path().join("known_hosts").to_string_lossy().into_owned();
    let other = directory.path().join("other").to_string_lossy().into_owned();
    cmd("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", &other]).show()?;
    let key = std::fs::read_to_string(format!("{other}.pub"))?;
    std::fs::write(&pinned, format!("{} {key}", lab.node_name("m2")?))?;
    refused(
        &mut lab.rotate_certs(program, &["--known-hosts", &pinned])?,
        &[&lab.node_name("m2")?, "changed"],
    )?;

    // With one etcd member away, another that restarts would lose the quorum.
    lab.exec("m2", &["systemctl", "stop", "etcd-monitor", "etcd"])?;
    let result = refused(&mut lab.rotate_certs(program, &[])?, &["etcd", &lab.node_name("m2")?]);
    lab.exec("m2", &["systemctl", "start", "etcd", "etcd-monitor"])?;
    result?;
    lab.wait_until_healthy(program)
}

/// The same, but the program is killed once in each phase and started again with the same command.
fn killed(lab: &Lab, program: &Path) -> Result<()> {
    lab.wait_until_healthy(program)?;
    let before = tempfile::tempdir()?;
    lab::take_snapshot(lab.name(), before.path())?;
    // Steps into each phase at which it is killed: in the middle of a visit where there is one.
    for (phase, steps) in [("prepare", 4), ("introduce", 9), ("switch", 20), ("drop", 6), ("finish", 3)] {
        kill(lab, program, phase, steps)?;
    }
    lab.rotate_certs(program, &[])?.show()?;
    lab.judge_since(before.path())?;
    let report = lab.report()?;
    ensure!(rotation::number(&report, "/resumed")? >= 5.0, "the report does not know of the interruptions");
    Ok(())
}

fn kill(lab: &Lab, program: &Path, phase: &str, steps: usize) -> Result<()> {
    eprintln!("  killing in phase {phase}");
    match rotation::kill_in(lab.rotate_certs(program, &["-o", "json"])?, phase, steps)? {
        None => Ok(()),
        Some(status) => bail!("it ended with {status} before step {steps} of phase {phase} began"),
    }
}
