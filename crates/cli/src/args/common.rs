//! Arguments that several verbs share.

use std::env;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use kubecert_core::intent::{Scope, Strategy, Why};
use kubecert_core::model::NodeName;
use kubecert_engine::run::Decisions;

use crate::errors::{CliError, Kind};

/// Arguments that every verb takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct GlobalArgs {
    /// Form of the result on standard output; with json, progress and errors are JSON lines too
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Text, value_name = "FORM")]
    pub(crate) output: Output,
    /// Show only failures and the ends of phases while a run goes on
    #[arg(long, global = true)]
    pub(crate) quiet: bool,
    /// Log what is done in detail; secrets never appear
    #[arg(long, global = true)]
    pub(crate) debug: bool,
    /// When to use colours and moving progress; auto means on a terminal
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub(crate) color: Colour,
}

impl GlobalArgs {
    /// Whether to use colours on a stream that is, or is not, a terminal. `NO_COLOR` (no-color.org) counts unless the
    /// command line says otherwise.
    pub(crate) fn colours(&self, terminal: bool) -> bool {
        match self.color {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }
}

/// Form of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal
    Auto,
    /// In any case
    Always,
    /// In no case
    Never,
}

/// Which cluster: exactly one way of naming it is given.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cluster")]
#[group(required = true, multiple = false)]
pub(crate) struct ClusterArgs {
    /// The apimodel.json that AKS engine generated for the cluster
    #[arg(short = 'm', long, value_name = "FILE")]
    pub(crate) api_model: Option<PathBuf>,
    /// The cluster file of a cluster that kubeadm made; it may say how to reach the nodes, too
    #[arg(short = 'c', long, value_name = "FILE")]
    pub(crate) cluster: Option<PathBuf>,
}

impl ClusterArgs {
    /// How the cluster is named.
    pub(crate) fn source(&self) -> ClusterSource {
        match (&self.cluster, &self.api_model) {
            (Some(file), _) => ClusterSource::File(file.clone()),
            // clap has seen to it that one is given; an empty path reads as a file that does not exist.
            (None, model) => ClusterSource::ApiModel(model.clone().unwrap_or_default()),
        }
    }
}

/// How a cluster is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClusterSource {
    /// By an apimodel.
    ApiModel(PathBuf),
    /// By a cluster file.
    File(PathBuf),
}

/// Which cluster of AKS engine's.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ApiModelArgs {
    /// The apimodel.json that AKS engine generated for the cluster
    #[arg(short = 'm', long, value_name = "FILE")]
    pub(crate) api_model: PathBuf,
}

/// How to reach the nodes.
#[derive(Debug, Args)]
#[command(next_help_heading = "SSH")]
pub(crate) struct SshArgs {
    /// Name or address of the SSH host through which all nodes are reached; a cluster file may name it
    #[arg(long, value_name = "HOST")]
    pub(crate) ssh_host: Option<String>,
    /// Port of the SSH host; without it 22, or 50001 where the masters are a scale set
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) ssh_port: Option<u16>,
    /// User on the SSH host and the nodes; without it, the one that the apimodel or the cluster file names
    #[arg(long, value_name = "USER")]
    pub(crate) ssh_user: Option<String>,
    /// With what to log in.
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// Host keys of the SSH host and the nodes; keys met for the first time are added to it
    #[arg(long, value_name = "FILE")]
    pub(crate) known_hosts: Option<PathBuf>,
}

/// With what to log in to the SSH host and the nodes.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// Private key for the SSH host and the nodes; the passphrase of an encrypted one is asked for on the terminal
    #[arg(long, value_name = "FILE")]
    pub(crate) linux_ssh_private_key: Option<PathBuf>,
    /// Log in with the keys of the SSH agent that SSH_AUTH_SOCK names, rather than with --linux-ssh-private-key
    #[arg(long, conflicts_with = "linux_ssh_private_key")]
    pub(crate) ssh_agent: bool,
    /// Read the private key's passphrase from this file descriptor, up to the end of its first line
    #[arg(long, value_name = "N", conflicts_with = "ssh_agent", value_parser = clap::value_parser!(u32).range(..=MOST_DESCRIPTORS))]
    pub(crate) passphrase_fd: Option<u32>,
}

/// A number beyond is a mistake: shells know one digit, and no system allows a process more than this by default.
const MOST_DESCRIPTORS: i64 = 1_048_575;

/// Where the private key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// In a file; its passphrase comes from a file descriptor, or from whoever sits at the terminal.
    File {
        /// The file.
        path: PathBuf,
        /// The descriptor.
        passphrase_fd: Option<u32>,
    },
    /// With the agent at this socket.
    Agent(PathBuf),
}

impl KeySource {
    /// What is said where nothing tells which key.
    pub(crate) fn missing() -> CliError {
        CliError::new(Kind::Usage, "--linux-ssh-private-key must be specified")
            .hint("Name the file of the private key for the SSH host and the nodes, or use --ssh-agent.")
    }
}

impl KeyArgs {
    /// What the arguments mean. The environment is read here.
    pub(crate) fn source(&self) -> Result<KeySource, CliError> {
        self.given()?.ok_or_else(KeySource::missing)
    }

    /// The same, if they say anything.
    pub(crate) fn given(&self) -> Result<Option<KeySource>, CliError> {
        if let Some(path) = &self.linux_ssh_private_key {
            return Ok(Some(KeySource::File { path: path.clone(), passphrase_fd: self.passphrase_fd }));
        }
        if !self.ssh_agent {
            return Ok(None);
        }
        let socket = env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty());
        socket.map(|socket| Some(KeySource::Agent(socket.into()))).ok_or_else(|| {
            CliError::new(Kind::Input, "--ssh-agent: SSH_AUTH_SOCK is not set, so there is no agent to ask").hint(
                "Start one (`eval $(ssh-agent)`, then `ssh-add KEY`), or name the key's file with --linux-ssh-private-key.",
            )
        })
    }
}

/// What the operator decides beyond the plan.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Decisions")]
pub(crate) struct DecisionArgs {
    /// Stop before the old CA is dropped, for as long as you like; both CAs are trusted meanwhile, and `kubecert resume`
    /// goes on
    #[arg(long)]
    pub(crate) hold: bool,
    /// Drop the old CA although this still needs it: a name as the run shows it, for example "pod default/tool"
    #[arg(long, value_name = "NAME", action = clap::ArgAction::Append)]
    pub(crate) drop_anyway: Vec<String>,
    /// Leave an agent that cannot be reached as it is; `kubecert resume --node NODE` brings it up to date later
    #[arg(long, value_name = "NODE", action = clap::ArgAction::Append)]
    pub(crate) leave_behind: Vec<String>,
}

impl DecisionArgs {
    /// The same for the engine.
    pub(crate) fn decisions(&self) -> Decisions {
        Decisions {
            hold: self.hold,
            drop_anyway: self.drop_anyway.clone(),
            leave_behind: self.leave_behind.iter().map(|node| NodeName::from(node.as_str())).collect(),
            reboot: false,
        }
    }
}

/// Why and how to rotate.
#[derive(Debug, Args)]
#[command(next_help_heading = "Rotation")]
pub(crate) struct HowArgs {
    /// The reason, which decides what is replaced
    #[arg(long, value_enum, default_value_t = WhyArg::ReplaceCa, value_name = "REASON")]
    pub(crate) why: WhyArg,
    /// How to replace the CA; without it, the best way that is possible
    #[arg(long, value_enum, value_name = "STRATEGY")]
    pub(crate) strategy: Option<StrategyArg>,
    /// The trust domains to which it is limited
    #[arg(long, value_enum, default_value_t = ScopeArg::All, value_name = "SCOPE")]
    pub(crate) scope: ScopeArg,
    /// With renew, certificates that end within so many days are due; without it 30, or the last third of a shorter life
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(0..=36_500))]
    pub(crate) renew_within: Option<u32>,
}

impl HowArgs {
    /// The reason.
    pub(crate) const fn why(&self) -> Why {
        match self.why {
            WhyArg::Renew => Why::Renew,
            WhyArg::ExtendCa => Why::ExtendCa,
            WhyArg::ReplaceCa => Why::ReplaceCa,
            WhyArg::Compromised => Why::Compromised,
        }
    }

    /// The trust domains.
    pub(crate) const fn scope(&self) -> Scope {
        match self.scope {
            ScopeArg::All => Scope::All,
            ScopeArg::ClusterCa => Scope::ClusterCa,
            ScopeArg::EtcdCa => Scope::EtcdCa,
            ScopeArg::FrontProxy => Scope::FrontProxy,
        }
    }

    /// The strategy that the operator insists on.
    pub(crate) fn strategy(&self) -> Option<Strategy> {
        self.strategy.map(|strategy| match strategy {
            StrategyArg::CrossSigned => Strategy::CrossSigned,
            StrategyArg::Bundled => Strategy::Bundled,
        })
    }
}

/// [`Why`] as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WhyArg {
    /// Certificates that are due get new ones from the CA in force; no trust changes
    Renew,
    /// The CA lasts longer, with the same key; no certificate under it changes
    ExtendCa,
    /// The CA and everything under it is replaced
    ReplaceCa,
    /// The same, since a key is in wrong hands: without waiting, and with what to look at besides
    Compromised,
}

/// [`Scope`] as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScopeArg {
    /// Everything that the cluster has
    All,
    /// The CA of servers and clients; etcd and service-account tokens hang on it in AKS engine's layout
    ClusterCa,
    /// The CA of etcd, where it has one of its own
    EtcdCa,
    /// The CA by which aggregated API servers know the API servers; nothing is restarted
    FrontProxy,
}

/// [`Strategy`] as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StrategyArg {
    /// The old CA vouches for the new one; one restart a process
    CrossSigned,
    /// Trust grows to both CAs, certificates change, trust shrinks
    Bundled,
}

/// Where runs are recorded.
#[derive(Debug, Args)]
#[command(next_help_heading = "Records")]
pub(crate) struct StateArgs {
    /// Directory that holds the records of runs [env: KUBECERT_STATE_DIR] [default: $XDG_STATE_HOME/kubecert or
    /// ~/.local/state/kubecert]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

impl StateArgs {
    /// The directory that holds the records of runs, as `<cluster>/<run>` below it.
    ///
    /// The environment is read here and not by clap, so that verbs without the flag find the same directory.
    pub(crate) fn state_dir(&self) -> Result<PathBuf, CliError> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        self.state_dir
            .clone()
            .or_else(|| set("KUBECERT_STATE_DIR"))
            .or_else(|| set("XDG_STATE_HOME").map(|state| state.join("kubecert")))
            .or_else(|| set("HOME").map(|home| home.join(".local/state/kubecert")))
            .ok_or_else(|| {
                CliError::new(Kind::Input, "no directory for the records of runs: HOME is not set")
                    .hint("Give one with --state-dir.")
            })
    }
}
