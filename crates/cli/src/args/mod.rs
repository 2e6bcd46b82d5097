//! What may be typed.
//!
//! One type per verb, declared with clap; help, manual pages and completions come from the same declarations. Only what
//! is built is offered. The environment is read here and nowhere deeper.

mod akshci;
mod ancestor;
mod authority;
mod azure;
mod cloud;
mod cmdlets;
mod common;
mod examples;
mod faults;
mod rotate_certs;
mod site;
mod verbs;

use std::ffi::OsString;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub(crate) use akshci::{
    CmdletArgs, ErrorAction, RepairCertsArgs, RepairClusterArgs, RotateCaCertificateArgs,
    UpdateCertificatesArgs, UpdateClusterArgs,
};
pub(crate) use authority::{
    AuthorityArgs, AuthorityVerb, ClientArgs, IdentityVerb, InitArgs, ListRolesArgs, LoginArgs, RenewArgs,
    RoleVerb, RotateCaArgs, ServeArgs, SideArgs,
};
pub(crate) use common::{ClusterSource, GlobalArgs, HowArgs, KeySource, Output, SshArgs, StateArgs};
pub(crate) use rotate_certs::{AuthMethod, AzureEnvironment, IdentitySystem, RotateCertsArgs};
pub(crate) use site::{AssessArgs, DoctorArgs, ShutdownCheckArgs};
pub(crate) use verbs::{
    CheckArgs, CompletionsArgs, DemoArgs, GenerateArgs, ManArgs, PlanArgs, RecoverArgs, RehearseArgs,
    ReportArgs, ResumeArgs, RotateArgs, RunArgs, SignerArgs, VerifyArgs,
};

use crate::errors::CliError;
use crate::exit::Exit;

/// Finds, explains and rotates every credential of a self-managed Kubernetes cluster
///
/// kubecert keeps the API answering while it replaces certificates, keys and tokens, and leaves a report that proves it.
/// Results go to standard output, progress and errors to standard error.
#[derive(Debug, Parser)]
#[command(name = "kubecert", version, after_help = examples::TOP, max_term_width = 110, subcommand_required = true)]
pub(crate) struct Cli {
    /// Arguments that every verb takes.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

impl Cli {
    /// How the program ends where `exit` is what the verb came to: `rotate-certs` knows 0 and 1 only.
    pub(crate) const fn exit(&self, exit: Exit) -> Exit {
        match self.verb {
            Verb::RotateCerts(_) => exit.as_ancestor(),
            _ => exit,
        }
    }
}

/// The verbs, in the order in which a person meets them.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show every credential: where it is, who issued it, when it ends, whether the running process presents it
    #[command(after_help = examples::CHECK)]
    Check(CheckArgs),
    /// Show what would be done and why, and write a plan file
    #[command(after_help = examples::PLAN)]
    Plan(PlanArgs),
    /// Make a plan, or take one from a file, and carry it out
    #[command(after_help = examples::ROTATE)]
    Rotate(RotateArgs),
    /// Go on with an interrupted run
    #[command(after_help = examples::RESUME)]
    Resume(ResumeArgs),
    /// Put everything back as it was before an interrupted run, until it has dropped the old CA
    #[command(after_help = examples::UNDO)]
    Undo(RunArgs),
    /// Bring back a cluster whose certificates have ended, or whose API does not answer, over SSH
    #[command(after_help = examples::RECOVER)]
    Recover(RecoverArgs),
    /// Look again, independently of any plan, and say whether the cluster is as it should be
    #[command(after_help = examples::VERIFY)]
    Verify(VerifyArgs),
    /// Say which layers of an AKS Arc site an outage or a missed update has hit, or would hit
    #[command(after_help = examples::ASSESS)]
    Assess(AssessArgs),
    /// Say for how long an AKS Arc site may be switched off, and what to renew before
    #[command(after_help = examples::SHUTDOWN_CHECK)]
    ShutdownCheck(ShutdownCheckArgs),
    /// Name the known troubles of an AKS Arc site: whose credential is behind each, and the repair
    #[command(after_help = examples::DOCTOR)]
    Doctor(DoctorArgs),
    /// Be the authority of an AKS Arc site's infrastructure layer, or a client of one
    #[command(after_help = examples::AUTHORITY)]
    Authority(Box<AuthorityArgs>),
    /// Show a run as text, JSON or one HTML page
    #[command(after_help = examples::REPORT)]
    Report(ReportArgs),
    /// Write a new set of certificates for an apimodel, as files and as a certificate profile
    #[command(after_help = examples::GENERATE)]
    Generate(GenerateArgs),
    /// Try out in memory what a rotation of one's own cluster would do, and what if something went wrong
    #[command(after_help = examples::REHEARSE)]
    Rehearse(RehearseArgs),
    /// Rotate a cluster that exists only in memory: no root, no network, under a minute
    #[command(after_help = examples::DEMO)]
    Demo(DemoArgs),
    /// Rotate as `aks-engine rotate-certs` did: the same flags, files and exit codes
    #[command(name = "rotate-certs", after_help = examples::ROTATE_CERTS)]
    RotateCerts(Box<RotateCertsArgs>),
    /// Renew what the components of an AKS Arc site's infrastructure have at their authority, where it is due
    #[command(name = "Update-AksHciCertificates", after_help = examples::UPDATE_CERTIFICATES)]
    UpdateAksHciCertificates(UpdateCertificatesArgs),
    /// Renew what a cluster's components have at the authority, or say how its Kubernetes certificates are renewed
    #[command(name = "Update-AksHciClusterCertificates", after_help = examples::UPDATE_CLUSTER_CERTIFICATES)]
    UpdateAksHciClusterCertificates(UpdateClusterArgs),
    /// The former name of Update-AksHciCertificates
    #[command(name = "Repair-AksHciCerts", after_help = examples::REPAIR_CERTS)]
    RepairAksHciCerts(RepairCertsArgs),
    /// The former name of Update-AksHciClusterCertificates
    #[command(name = "Repair-AksHciClusterCerts", after_help = examples::REPAIR_CLUSTER_CERTS)]
    RepairAksHciClusterCerts(RepairClusterArgs),
    /// Put a new CA in the place of the authority's, which accepts the old one for a while longer
    #[command(name = "Invoke-AksHciRotateCACertificate", after_help = examples::ROTATE_CA_CERTIFICATE)]
    InvokeAksHciRotateCaCertificate(RotateCaCertificateArgs),
    /// Print a completion script for a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions(CompletionsArgs),
    /// Write the manual pages into a directory
    #[command(after_help = examples::MAN)]
    Man(ManArgs),
}

/// A command line that was understood.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// What it says.
    pub(crate) cli: Cli,
    /// Sentences about it that the operator should read.
    pub(crate) notices: Vec<String>,
}

/// Why there is nothing to run.
#[derive(Debug)]
pub(crate) enum NotRun {
    /// Help or the version was asked for, or clap says what is wrong and shows the usage.
    Clap {
        /// It prints itself.
        error: clap::Error,
        /// How the program ends.
        exit: Exit,
    },
    /// Something that clap cannot know.
    Other {
        /// What.
        error: CliError,
        /// How the program ends.
        exit: Exit,
    },
}

/// Understands a command line; the first of `argv` is the program's name.
pub(crate) fn parse_from(argv: impl IntoIterator<Item = OsString>) -> Result<Parsed, NotRun> {
    let typed: Vec<OsString> = argv.into_iter().collect();
    if let Some(cmdlet) =
        cmdlets::translate(&typed).map_err(|error| NotRun::Other { exit: error.exit(), error })?
    {
        let notices = cmdlets::notices(&cmdlet);
        let cli = parse(&cmdlet).map_err(|error| {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            NotRun::Clap { error, exit }
        })?;
        return Ok(Parsed { cli, notices });
    }
    if !ancestor::is_called(&typed) {
        let cli = parse(&typed).map_err(|error| {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            NotRun::Clap { error, exit }
        })?;
        return Ok(Parsed { cli, notices: Vec::new() });
    }
    let typed = ancestor::translate(typed).map_err(|error| NotRun::Other { error, exit: Exit::Failed })?;
    let notices = ancestor::notices(&typed);
    let mut cli = parse(&typed).map_err(|error| {
        let exit = if error.use_stderr() { Exit::Failed } else { Exit::Done };
        NotRun::Clap { error, exit }
    })?;
    if let Verb::RotateCerts(args) = &mut cli.verb {
        args.called_as = ancestor::called_as(&typed);
    }
    Ok(Parsed { cli, notices })
}

/// The whole command line as clap knows it: for manual pages and completions.
///
/// Which arguments a verb needs depends on how it names its cluster: a cluster file may say how the nodes are reached, and
/// an apimodel does not.
pub(crate) fn command() -> clap::Command {
    /// The verbs that may be given a cluster file.
    const WITH_CLUSTER_FILE: [&str; 7] = ["check", "plan", "rotate", "resume", "undo", "recover", "verify"];
    const KEY: &str = "linux_ssh_private_key";
    let key = |verb: clap::Command| verb.mut_arg(KEY, |arg| arg.required_unless_present("ssh_agent"));
    let mut command = Cli::command().mut_subcommand("rotate-certs", key);
    for verb in WITH_CLUSTER_FILE {
        // A site file says it for all its clusters.
        let told: &[&str] = if verb == "recover" { &["cluster", "site"] } else { &["cluster"] };
        command = command.mut_subcommand(verb, |verb| {
            let key = [told, &["ssh_agent"]].concat();
            verb.mut_arg(KEY, |arg| arg.required_unless_present_any(key))
                .mut_arg("ssh_host", |arg| arg.required_unless_present_any(told))
        });
    }
    command
}

fn parse(typed: &[OsString]) -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches_from(typed)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command()))
}

#[cfg(test)]
mod tests;
