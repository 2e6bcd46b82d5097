//! A whole rotation of a fresh lab cluster.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::rotation::{self, Lab, Measured};

#[derive(Args)]
pub(crate) struct Rotate {
    /// Another program with the same command line, run on a fresh cluster of the same kind
    #[arg(long, value_name = "PROGRAM")]
    beside: Option<PathBuf>,
    /// Leave the cluster standing
    #[arg(long)]
    keep: bool,
}

/// Rotates, and prints the figures.
pub(super) fn run(args: &Rotate) -> Result<()> {
    let program = rotation::kubecert()?;
    let ours = once(&program, args.keep)?;
    let line = line(&ours)?;
    if let Some(other) = &args.beside {
        let lab = Lab::up("bench", &[])?;
        let (wall, workload_failed) = beside(&lab, other)?;
        lab.down()?;
        println!("beside: wall_s={wall:.1} workload_failed={workload_failed}");
    }
    println!("{line}");
    Ok(())
}

fn once(program: &Path, keep: bool) -> Result<Measured> {
    let lab = Lab::up("bench", &[])?;
    let measured = rotation::rotate(&lab, program)?;
    if !keep {
        lab.down()?;
    }
    Ok(measured)
}

/// Another program leaves no report of ours: what the workloads saw is the measure.
fn beside(lab: &Lab, program: &Path) -> Result<(f64, u64)> {
    let program = program.canonicalize().with_context(|| format!("cannot find {}", program.display()))?;
    let began = rotation::now();
    let status = lab.rotate_certs(&program, &[])?.status()?;
    let wall = rotation::now() - began;
    eprintln!("{} ended with {status}", program.display());
    Ok((wall, rotation::failed_calls(lab, began)?.1))
}

fn line(measured: &Measured) -> Result<String> {
    let number = |pointer| rotation::number(&measured.report, pointer);
    Ok(format!(
        "wall_s={:.1} longest_gap_ms={} failed={} workload_failed={}",
        measured.wall_s,
        number("/api/longest_gap_ms")?,
        number("/api/failed")?,
        measured.workload.1
    ))
}
