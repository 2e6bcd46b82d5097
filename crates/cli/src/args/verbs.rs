//! The arguments of each verb, `rotate-certs` apart.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

use super::common::{ClusterArgs, HowArgs, SshArgs, StateArgs};

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Which cluster.
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// How to reach its nodes.
    #[command(flatten)]
    pub(crate) ssh: SshArgs,
    /// Certificates that end within so many days need attention
    #[arg(long, value_name = "DAYS", default_value_t = 30, help_heading = "Check")]
    pub(crate) within: u32,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// Which cluster.
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// How to reach its nodes.
    #[command(flatten)]
    pub(crate) ssh: SshArgs,
    /// Why and how.
    #[command(flatten)]
    pub(crate) how: HowArgs,
    /// Write the plan to this file, for `rotate --plan`
    #[arg(long, value_name = "FILE", help_heading = "Rotation")]
    pub(crate) out: Option<PathBuf>,
}

/// Arguments of `rotate`.
#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    /// Which cluster.
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// How to reach its nodes.
    #[command(flatten)]
    pub(crate) ssh: SshArgs,
    /// Why and how.
    #[command(flatten)]
    pub(crate) how: HowArgs,
    /// Carry out the plan in this file, if the cluster is still as it was when the plan was made
    #[arg(long, value_name = "FILE", conflicts_with_all = ["why", "strategy"], help_heading = "Rotation")]
    pub(crate) plan: Option<PathBuf>,
    /// Do not ask; without it, the cluster's name must be typed before anything changes
    #[arg(long, help_heading = "Rotation")]
    pub(crate) yes: bool,
    /// Where the run is recorded.
    #[command(flatten)]
    pub(crate) state: StateArgs,
}

/// Arguments of `resume`.
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// Which cluster.
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// How to reach its nodes.
    #[command(flatten)]
    pub(crate) ssh: SshArgs,
    /// Directory of the run; without it, the cluster's latest unfinished one
    #[arg(long, value_name = "DIR", help_heading = "Records")]
    pub(crate) run_dir: Option<PathBuf>,
    /// Do not ask; without it, the cluster's name must be typed before anything changes
    #[arg(long, help_heading = "Rotation")]
    pub(crate) yes: bool,
    /// Where runs are recorded.
    #[command(flatten)]
    pub(crate) state: StateArgs,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Which cluster.
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// How to reach its nodes.
    #[command(flatten)]
    pub(crate) ssh: SshArgs,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Directory of the run, or its report.json; without it, the latest run in the state directory
    #[arg(value_name = "RUN_DIR")]
    pub(crate) run_dir: Option<PathBuf>,
    /// Write the HTML page to this file instead of showing the report
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) html: Option<PathBuf>,
    /// Where runs are recorded.
    #[command(flatten)]
    pub(crate) state: StateArgs,
}

/// Arguments of `generate`.
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// Which cluster.
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Directory to write the files into; it is created if need be
    #[arg(long, value_name = "DIR", help_heading = "Files")]
    pub(crate) output_directory: PathBuf,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Control-plane nodes
    #[arg(long, value_name = "N", default_value_t = 3, help_heading = "Cluster in memory", value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(crate) control_planes: u8,
    /// Agents
    #[arg(long, value_name = "N", default_value_t = 3, help_heading = "Cluster in memory", value_parser = clap::value_parser!(u16).range(0..=500))]
    pub(crate) agents: u16,
    /// Seed of all that is random; equal seeds give equal runs
    #[arg(long, value_name = "NUMBER", default_value_t = 1, help_heading = "Cluster in memory")]
    pub(crate) seed: u64,
    /// Why and how.
    #[command(flatten)]
    pub(crate) how: HowArgs,
    /// Where the run is recorded.
    #[command(flatten)]
    pub(crate) state: StateArgs,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Directory to write the pages into; it is created if need be
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}
