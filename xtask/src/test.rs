//! `cargo xtask test`: everything, from the repository's rules to rotations of a real cluster.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use tempfile::NamedTempFile;

use crate::cmd::{CommandExt as _, cmd};
use crate::ended;
use crate::interop::{self, Interop};
use crate::kubeadm;
use crate::lab::StandIn;
use crate::outage;
use crate::reasons;
use crate::rotation::{self, Lab};
use crate::rules;
use crate::shapes;

/// Which part of requests may fail on a machine that is busy with other things.
const TOLERATED: f64 = 0.05;

#[derive(Args)]
pub(crate) struct Test {
    /// Let nothing be left out: what cannot run here is a failure
    #[arg(long)]
    all: bool,
    /// Leave out what needs root and a real cluster
    #[arg(long, conflicts_with = "all")]
    no_lab: bool,
    /// Run nothing but what needs a real cluster
    #[arg(long, conflicts_with_all = ["all", "no_lab"])]
    lab_only: bool,
    /// Run only what has these words in its name
    #[arg(long, value_name = "WORDS", conflicts_with = "all")]
    only: Option<String>,
}

/// Runs everything and says at the end what did not run, and why.
pub(crate) fn run(args: &Test) -> Result<()> {
    let mut suite = Suite { only: args.only.clone(), left_out: Vec::new(), failed: Vec::new() };
    if is_root() {
        suite.run("packages", crate::lab::setup);
    }
    if args.lab_only {
        suite.leave_out("everything but rotations of a real cluster", "--lab-only", false);
    } else {
        without_cluster(&mut suite);
    }
    if args.no_lab {
        suite.leave_out("rotations of a real cluster", "--no-lab", false);
    } else if !is_root() {
        suite.leave_out("rotations of a real cluster", "the lab's machines need root", args.all);
    } else {
        // Before anything is measured, since building takes both cores for minutes.
        suite.run("programs of the lab", programs);
        // What compares figures has the machine for itself.
        suite.run("refusals and a rotation of a real cluster", real_rotation);
        suite.run("rotations of a real cluster onto a given PKI, and without the CA's key", other_rotations);
        suite.run("rotations of a real cluster for other reasons, and of one trust domain", reasons::run);
        suite.run("a real cluster of kubeadm's", kubeadm::current);
        let name = "a real cluster with played Windows agents, of a generated model";
        match shapes::corpus() {
            Some(_) => suite.run(name, shapes::windows),
            None => suite.leave_out(name, "the corpus is not beside this repository", false),
        }
        // It mostly waits, for the power to be off and for kubelets, and its machines are its own.
        let beside = suite.only.is_none().then(|| Beside::start(OUTAGES));
        suite.run("rotation of a real cluster, killed in each phase", killed_rotation);
        suite.run("a rotation with restarts through Azure", azure_rotation);
        suite.run("a real cluster whose certificates have ended", ended::run);
        suite.run("a real cluster of one master, with AD FS", shapes::one_master);
        suite.run("a real cluster of kubeadm's, of Kubernetes 1.20", kubeadm::oldest);
        match beside {
            Some(beside) => suite.run(OUTAGES, || beside?.end()),
            None => suite.run(OUTAGES, outage::run),
        }
    }
    suite.close()
}

/// What needs no root.
fn without_cluster(suite: &mut Suite) {
    suite.run("format", || cargo(&["fmt", "--all", "--check"]));
    suite.run("lints", || {
        cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
    });
    suite.run("repository rules", rules::check);
    // They are a workspace of their own, so nothing else would notice that they have stopped compiling.
    suite.run("fuzz targets compile", || {
        cargo(&["check", "--locked", "--all-targets", "--manifest-path", "fuzz/Cargo.toml"])
    });
    suite.run("tests", || cargo(&["test", "--workspace", "--locked"]));
    // The exhaustive model check of five nodes takes a minute without optimisation, so plain `cargo test` leaves it out.
    suite.run("model check", || cargo(&["test", "--locked", "-p", "kubecert-core", "--", "--ignored"]));
    if shapes::corpus().is_none() {
        suite.leave_out("the corpus of generated api models", "it is not beside this repository", false);
    }
    suite.run("demonstration", demo);
    let name = "the vendor's published client library against our authority";
    match Interop::available() {
        Ok(copies) => suite.run(name, || interop::run(&copies)),
        Err(why) => suite.leave_out(name, &why, false),
    }
    suite.leave_out("fuzzing", "it builds for minutes and runs for hours: `cargo xtask fuzz --all`", false);
}

/// The name of the suite that runs beside the others.
const OUTAGES: &str = "outages of a real site";

/// A suite that runs in a process of its own, beside the others.
struct Beside {
    process: Child,
    log: NamedTempFile,
}

impl Beside {
    fn start(name: &str) -> Result<Self> {
        let log = NamedTempFile::new()?;
        let file = log.reopen()?;
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = cmd(&program.to_string_lossy(), ["test", "--lab-only", "--only", name]);
        command.stdout(file.try_clone()?).stderr(file);
        Ok(Self { process: command.spawn().with_context(|| format!("cannot start {name}"))?, log })
    }

    /// Waits for its end, and shows what it has said.
    fn end(mut self) -> Result<()> {
        let status = self.process.wait()?;
        eprint!("{}", fs::read_to_string(self.log.path())?);
        ensure!(status.success(), "it ended with {status}");
        Ok(())
    }
}

/// What has run, and what has not.
struct Suite {
    only: Option<String>,
    left_out: Vec<String>,
    failed: Vec<String>,
}

impl Suite {
    fn run(&mut self, name: &str, test: impl FnOnce() -> Result<()>) {
        if self.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            self.leave_out(name, "--only", false);
            return;
        }
        eprintln!("\n== {name}");
        let began = Instant::now();
        match test() {
            Ok(()) => eprintln!("== {name}: ok, {:.0} s", began.elapsed().as_secs_f64()),
            Err(error) => {
                eprintln!("== {name}: FAILED, {:.0} s: {error:#}", began.elapsed().as_secs_f64());
                self.failed.push(name.to_owned());
            }
        }
    }

    fn leave_out(&mut self, name: &str, why: &str, fails: bool) {
        let line = format!("{name} ({why})");
        if fails { &mut self.failed } else { &mut self.left_out }.push(line);
    }

    fn close(self) -> Result<()> {
        eprintln!();
        for name in &self.left_out {
            eprintln!("did not run: {name}");
        }
        if !self.failed.is_empty() {
            bail!("failed: {}", self.failed.join(", "));
        }
        eprintln!("all that ran passed");
        Ok(())
    }
}

/// Builds what of ours runs in labs.
fn programs() -> Result<()> {
    rotation::kubecert()?;
    StandIn::ALL.into_iter().try_for_each(|program| program.build().map(drop))
}

fn demo() -> Result<()> {
    let program = rotation::kubecert()?;
    let state = tempfile::tempdir()?;
    let mut command = Command::new(program);
    command.args(["demo", "--quiet"]).env("KUBECERT_STATE_DIR", state.path());
    command.show()
}

/// Point by point what must be seen after a rotation: the command exits 0, foreign tools find one new PKI everywhere, no
/// client and no workload was refused, and running it again with nothing due does nothing.
fn real_rotation() -> Result<()> {
    let program = rotation::kubecert()?;
    let lab = shapes::stack()?;
    refusals(&lab, &program)?;
    let measured = rotation::rotate(&lab, &program)?;
    let failed = rotation::number(&measured.report, "/api/failed")?;
    eprintln!(
        "wall {:.0} s, longest gap {} ms, {failed} requests failed",
        measured.wall_s,
        rotation::number(&measured.report, "/api/longest_gap_ms")?
    );
    lab.judge()?;
    tolerated(&measured.report)?;
    let (calls, lost) = measured.workload;
    ensure!(lost as f64 <= calls as f64 * TOLERATED, "{lost} of {calls} calls of workloads failed");
    lab.verb(&program, "verify", &[])?.show().context("verify is not content")?;
    let renewed = lab.verb(&program, "rotate", &["--why", "renew", "--yes"])?.read()?;
    ensure!(renewed.contains("Nothing is due"), "with nothing due, rotate says: {renewed}");
    lab.down()
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
fn killed_rotation() -> Result<()> {
    let program = rotation::kubecert()?;
    let lab = Lab::up("test", &[])?;
    // Steps into each phase at which it is killed: in the middle of a visit where there is one.
    for (phase, steps) in [("prepare", 4), ("introduce", 9), ("switch", 20), ("drop", 6), ("finish", 3)] {
        kill(&lab, &program, phase, steps)?;
    }
    lab.rotate_certs(&program, &[])?.show()?;
    lab.judge()?;
    let report = lab.report()?;
    ensure!(rotation::number(&report, "/resumed")? >= 5.0, "the report does not know of the interruptions");
    lab.down()
}

/// Onto a PKI that the operator gives; then from a model that lacks the CA's key, which takes the bundled plan.
fn other_rotations() -> Result<()> {
    let program = rotation::kubecert()?;
    let lab = Lab::up("test", &[])?;
    let given = tempfile::tempdir()?;
    let profile = lab.generate(&program, given.path())?;
    lab.rotate_certs(&program, &["--certificate-profile", &profile])?.show()?;
    lab.judge()?;
    tolerated(&lab.report()?)?;

    lab.forget_ca_key()?;
    lab.wait_until_healthy(&program)?;
    lab.rotate_certs(&program, &[])?.show()?;
    lab.judge()?;
    let report = lab.report()?;
    let strategy = report.pointer("/strategy").and_then(serde_json::Value::as_str);
    ensure!(strategy == Some("bundled"), "without the CA's key its strategy was {strategy:?}");
    tolerated(&report)?;
    lab.down()
}

/// Azure is asked beforehand; a dry run changes nothing; with `--reboot` every machine is restarted, and the cluster is as
/// after any rotation.
fn azure_rotation() -> Result<()> {
    let program = rotation::kubecert()?;
    let lab = shapes::stack()?;
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

/// Exact figures are for `cargo xtask bench`; here a machine that is busy with other things may let a request time out,
/// while a break of trust would fail hundreds.
pub(crate) fn tolerated(report: &serde_json::Value) -> Result<()> {
    let (failed, requests) =
        (rotation::number(report, "/api/failed")?, rotation::number(report, "/api/requests")?);
    ensure!(failed <= requests * TOLERATED, "{failed} of {requests} requests to the API failed");
    Ok(())
}

fn kill(lab: &Lab, program: &Path, phase: &str, steps: usize) -> Result<()> {
    eprintln!("  killing in phase {phase}");
    match rotation::kill_in(lab.rotate_certs(program, &["-o", "json"])?, phase, steps)? {
        None => Ok(()),
        Some(status) => bail!("it ended with {status} before step {steps} of phase {phase} began"),
    }
}

fn cargo(args: &[&str]) -> Result<()> {
    cmd("cargo", args).current_dir(rules::root()).show()
}

pub(crate) fn is_root() -> bool {
    cmd("id", ["-u"]).read().is_ok_and(|id| id.trim() == "0")
}
