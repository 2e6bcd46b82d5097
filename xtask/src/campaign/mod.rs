//! `cargo xtask campaign`: rotations while everything goes wrong that can, and what became of them.

mod lab;
mod sim;
mod wrong;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum Campaign {
    /// Seeded runs over random clusters in memory, with random faults at random points
    Sim(sim::Sim),
    /// A real cluster of the lab, with a fault at a time: kills, cut connections, full disks, dead members
    Lab(lab::LabArgs),
    /// Plans that are wrong on purpose, carried out on a real cluster: what they break must be seen to break
    Wrong(wrong::Wrong),
}

/// Runs a campaign; the exit code is 0 only if everything held.
pub(crate) fn run(campaign: &Campaign) -> Result<ExitCode> {
    match campaign {
        Campaign::Sim(args) => sim::run(args),
        Campaign::Lab(args) => lab::run(args),
        Campaign::Wrong(args) => wrong::run(args),
    }
}
