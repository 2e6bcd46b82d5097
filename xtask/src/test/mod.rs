//! `cargo xtask test`: everything, from the repository's rules to rotations of a real cluster.

mod ended;
mod kubeadm;
mod outage;
mod reasons;
mod shapes;
mod stack;
mod suite;

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use crate::cmd::{CommandExt as _, cmd};
use crate::interop::{self, Interop};
use crate::lab::{self, StandIn};
use crate::rotation;
use crate::rules;
use suite::{Needs, OnLab, Suite, on_lab};

#[derive(Args)]
pub(crate) struct Test {
    /// Let nothing be left out but for want of time (see --within): what cannot run here is a failure
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
    /// After the first real cluster, begin with none that would not be done with after so many minutes, going by how fast
    /// those before were
    #[arg(long, value_name = "MINUTES")]
    within: Option<u64>,
}

/// What needs a real cluster. Where there is no time for all, what is missed least is last.
///
/// How long each takes is what `--within` reckons with, on two slow cores (AMD EPYC, 2.25 GHz): of the first two as measured, of
/// the others reckoned from their parts.
const ON_LABS: &[OnLab] = &[
    on_lab("refusals, and rotations of a real cluster", 480, stack::run),
    on_lab("a real cluster of kubeadm's", 480, kubeadm::current),
    on_lab("outages of a real site", 1000, outage::run),
    on_lab("rotations of a real cluster for other reasons", 600, reasons::run),
    on_lab(
        "rotations of a real cluster onto a given PKI, and without the CA's key",
        400,
        reasons::run_others,
    ),
    on_lab("a real cluster whose certificates have ended", 200, ended::run),
    on_lab("a real cluster of kubeadm's, of Kubernetes 1.20", 330, kubeadm::oldest),
    OnLab {
        needs: Needs::Corpus,
        ..on_lab("a real cluster with played Windows agents", 300, shapes::windows)
    },
    on_lab("a rotation with restarts through Azure", 400, shapes::azure),
    on_lab("a real cluster of one master, with AD FS", 150, shapes::one_master),
];

/// Runs everything and says at the end what did not run, and why.
pub(crate) fn run(args: &Test) -> Result<()> {
    let mut suite =
        Suite::new(args.only.clone(), args.within.map(|minutes| Duration::from_secs(minutes * 60)));
    if is_root() {
        suite.run("packages", lab::setup);
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
        // One after the other: a rotation is measured by the requests that fail meanwhile.
        for test in ON_LABS {
            suite.run_on_lab(test);
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

/// Builds what runs in labs.
fn programs() -> Result<()> {
    lab::prepare()?;
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

/// Which part of requests may be refused or cut off.
const REFUSED: f64 = 0.02;
/// Which part may have no answer in time, and which where the median shows that this machine, whose processors all nodes of a
/// cluster share, is [`STARVED_MS`] slow: then that says nothing of the rotation.
const LATE: f64 = 0.1;
const LATE_WHEN_STARVED: f64 = 0.5;
const STARVED_MS: f64 = 200.0;
/// For how long none at all may be answered. Elsewhere, a rotation takes the API away for minutes.
const LONGEST_GAP_MS: f64 = 15_000.0;

/// Whether so few requests failed that the API was there throughout.
fn tolerated(report: &serde_json::Value) -> Result<()> {
    let number = |name| rotation::number(report, &format!("/api/{name}"));
    let (requests, failed, late) = (number("requests")?, number("failed")?, number("timed_out")?);
    let gap = number("longest_gap_ms")?;
    ensure!(
        failed - late <= requests * REFUSED,
        "{} of {requests} requests to the API were refused",
        failed - late
    );
    ensure!(
        late <= requests * may_be_late(report)?,
        "{late} of {requests} requests to the API had no answer in time"
    );
    ensure!(gap <= LONGEST_GAP_MS, "for {gap} ms no request to the API was answered");
    Ok(())
}

/// Which part of the requests during a rotation may have had no answer in time.
fn may_be_late(report: &serde_json::Value) -> Result<f64> {
    let starved = rotation::number(report, "/api/median_ms")? > STARVED_MS;
    Ok(if starved { LATE_WHEN_STARVED } else { LATE })
}

fn cargo(args: &[&str]) -> Result<()> {
    cmd("cargo", args).current_dir(rules::root()).show()
}

pub(crate) fn is_root() -> bool {
    cmd("id", ["-u"]).read().is_ok_and(|id| id.trim() == "0")
}
