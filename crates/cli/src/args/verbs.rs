//! The arguments of each verb, `rotate-certs` apart.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

use super::common::{ApiModelArgs, ClusterArgs, DecisionArgs, HowArgs, SshArgs, StateArgs};

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
    /// Where runs are recorded; one that has not ended is told.
    #[command(flatten)]
    pub(crate) state: StateArgs,
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
    #[arg(long, value_name = "FILE", conflicts_with_all = ["why", "strategy", "scope", "renew_within", "csr_out", "certificates"], help_heading = "Rotation")]
    pub(crate) plan: Option<PathBuf>,
    /// Who signs.
    #[command(flatten)]
    pub(crate) signer: SignerArgs,
    /// Do not ask; without it, the cluster's name must be typed before anything changes
    #[arg(long, help_heading = "Rotation")]
    pub(crate) yes: bool,
    /// What is decided beforehand.
    #[command(flatten)]
    pub(crate) decisions: DecisionArgs,
    /// Where the run is recorded.
    #[command(flatten)]
    pub(crate) state: StateArgs,
    /// Make the plan wrong in this way, and skip the check
    #[cfg(feature = "wrong-plans")]
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) break_plan: Option<kubecert_core::testing::wrong::Mutation>,
}

/// Who signs, where the keys of CAs are kept elsewhere.
#[derive(Debug, Args)]
#[command(next_help_heading = "Rotation")]
pub(crate) struct SignerArgs {
    /// Where keys of CAs are kept elsewhere: write a signing request for each certificate that is due into this
    /// directory, and touch nothing; with renew
    #[arg(long, value_name = "DIR", conflicts_with = "certificates")]
    pub(crate) csr_out: Option<PathBuf>,
    /// Go on with the certificates in this directory, which were signed for the requests that --csr-out wrote there
    #[arg(long, value_name = "DIR")]
    pub(crate) certificates: Option<PathBuf>,
}

/// Arguments of `recover`.
#[derive(Debug, Args)]
pub(crate) struct RecoverArgs {
    /// Which cluster.
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// The site file of AKS Arc, for all layers of a site in the order in which they depend on each other
    #[arg(long, value_name = "FILE", group = "ClusterArgs", conflicts_with_all = ["csr_out", "certificates"], help_heading = "Cluster")]
    pub(crate) site: Option<PathBuf>,
    /// How to reach its nodes.
    #[command(flatten)]
    pub(crate) ssh: SshArgs,
    /// Who signs.
    #[command(flatten)]
    pub(crate) signer: SignerArgs,
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
    /// What an interrupted verb needs to go on.
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// What is decided by now.
    #[command(flatten)]
    pub(crate) decisions: DecisionArgs,
    /// Bring this agent, which an earlier run has left behind, to the certificates in force; nothing else is touched
    #[arg(long, value_name = "NODE", help_heading = "Rotation", conflicts_with_all = ["hold", "drop_anyway", "leave_behind"])]
    pub(crate) node: Option<String>,
}

/// Which interrupted run. The arguments of `undo`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
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
    pub(crate) cluster: ApiModelArgs,
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

/// Arguments of `rehearse`.
#[derive(Debug, Args)]
pub(crate) struct RehearseArgs {
    /// The apimodel.json that AKS engine generated for the cluster
    #[arg(
        short = 'm',
        long,
        value_name = "FILE",
        required_unless_present = "list_faults",
        help_heading = "Cluster"
    )]
    pub(crate) api_model: Option<PathBuf>,
    /// Why and how.
    #[command(flatten)]
    pub(crate) how: HowArgs,
    /// Let this go wrong, after so many per cent of the run, 50 if not given; may be given several times
    #[arg(long = "fault", value_name = "NAME[@PERCENT]", value_parser = super::faults::chosen, help_heading = "Faults")]
    pub(crate) faults: Vec<super::faults::Chosen>,
    /// Let things go wrong by chance
    #[arg(long, conflicts_with = "faults", help_heading = "Faults")]
    pub(crate) random_faults: bool,
    /// Seed of all that is random; equal seeds give equal rehearsals
    #[arg(long, value_name = "NUMBER", default_value_t = 1, help_heading = "Faults")]
    pub(crate) seed: u64,
    /// List what can go wrong, and do nothing else
    #[arg(long, help_heading = "Faults")]
    pub(crate) list_faults: bool,
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
