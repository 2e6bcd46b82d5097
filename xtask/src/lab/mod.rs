//! The lab: real clusters on this machine.
//!
//! A node is a booted systemd machine (`systemd-nspawn`) with a network namespace of its own; a cluster is such nodes
//! on a bridge that lives in a private "switch" namespace, so that nothing of it is seen or changed outside. What runs
//! on the nodes is real: sshd, containerd, etcd, the kubelet, Kubernetes. `docs/lab.md` tells how and why.
//!
//! The modules follow the order of [`up`]: [`cache`] and [`base`] bring what is made once, [`model`] and [`pki`] say
//! what the cluster is, [`network`], [`node`] and [`layout`] build it, [`cluster`] and [`workloads`] fill it. In the
//! other layout, [`kubeadm`] stands in the place of [`model`], [`pki`] and [`layout`].

pub(crate) mod azure;
mod base;
mod cache;
mod cluster;
mod dated;
mod down;
mod enter;
mod kubeadm;
mod layout;
mod login;
mod manifest;
mod model;
mod network;
mod node;
mod pki;
pub(crate) mod site;
mod snapshot;
mod spec;
mod stand_in;
mod state;
mod template;
mod up;
mod windows;
mod wllog;
mod workloads;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

pub(crate) use cache::{install_packages as setup, prepare};
pub(crate) use dated::{Issuer, Life, first_certificate};
pub(crate) use enter::{
    changed_objects, leader, members, on_cable, on_node, on_switch, operator, operator_directory,
    public_name, take_snapshot,
};
pub(crate) use kubeadm::{End, check_secrets, forget_secrets, let_end, make_secrets};
pub(crate) use network::inside;
pub(crate) use stand_in::StandIn;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Build a cluster; one of the same name is removed first
    Up(Up),
    /// Remove a cluster and everything that belongs to it
    Down(Named),
    /// Say which clusters stand and how they are
    Status(Status),
    /// Run a command on a node (m0, a1, lb, or the node's full name) as root
    Exec(Exec),
    /// Run a command where the operator sits: outside of the cluster, with its public name and address in reach
    Run(RunArgs),
    /// Restart a node as its cloud would, and wait until it has booted
    Reboot(Reboot),
    /// Let the certificates of a cluster of kubeadm's end yesterday, and restart what reads them
    LetEnd(LetEnd),
    /// Print `export` lines that tell other programs about the cluster
    Env(Named),
    /// Sum up the calls that the workloads have made, and those that failed
    WorkloadLog(wllog::WorkloadLog),
    /// Judge a rotated cluster from outside, with openssl, curl and kubectl only
    State(state::StateArgs),
}

/// Which lab is meant.
#[derive(Args, Clone)]
pub(crate) struct Named {
    /// Which lab; several can stand side by side
    #[arg(long, default_value = "default")]
    pub(crate) name: String,
}

#[derive(Args)]
pub(crate) struct Up {
    /// How the cluster is laid out, or a whole site
    what: What,
    #[command(flatten)]
    lab: Named,
    /// The API model to build from [default: the one in examples/]
    #[arg(long, value_name = "FILE")]
    api_model: Option<PathBuf>,
    /// How many masters, instead of what the model says; kubeadm's layout has 3
    #[arg(long, value_name = "N")]
    control_planes: Option<usize>,
    /// How many Linux agents, instead of what the model says; kubeadm's layout has 1
    #[arg(long, value_name = "N")]
    agents: Option<usize>,
    /// How Azure's side knows who somebody is (azure_ad or adfs), instead of what the model says
    #[arg(long, value_name = "SYSTEM", value_parser = ["azure_ad", "adfs"])]
    identity_system: Option<String>,
    /// Which generation of Kubernetes to run, whatever the model says
    #[arg(long, default_value = "1.34")]
    kubernetes: Kubernetes,
    #[command(flatten)]
    pki: pki::Wanted,
    /// Let kubelets ask the cluster for serving certificates, and API servers verify these; for kubeadm's layout
    #[arg(long)]
    signed_kubelets: bool,
    /// Leave out the workloads that watch the API from inside
    #[arg(long)]
    no_workloads: bool,
    /// Seconds until the health monitors on the masters make their first check; real nodes wait 300
    #[arg(long, default_value_t = 20, value_name = "SECONDS")]
    monitor_first_check: u32,
}

/// What can be built.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// As AKS engine lays a cluster out: etcd as a unit, static pods, one CA for everything
    AksEngine,
    /// Made by kubeadm: etcd as a static pod, and CAs of their own for etcd and the front proxy
    Kubeadm,
    /// A site as AKS Arc has it: an authority on a host, and two clusters of kubeadm's with credentials of it
    Site,
}

impl What {
    /// How its clusters are laid out.
    const fn layout(self) -> Layout {
        match self {
            Self::AksEngine => Layout::AksEngine,
            Self::Kubeadm | Self::Site => Layout::Kubeadm,
        }
    }
}

/// How a cluster is laid out.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Layout {
    AksEngine,
    Kubeadm,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kubernetes {
    #[value(name = "1.34")]
    V1_34,
    #[value(name = "1.20")]
    V1_20,
}

#[derive(Args)]
pub(crate) struct Status {
    /// Only this one
    #[arg(long)]
    name: Option<String>,
}

#[derive(Args)]
pub(crate) struct Exec {
    /// The node: m0, a1, lb, or its full name
    node: String,
    #[command(flatten)]
    lab: Named,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Reboot {
    /// The node: m0, a1, or its full name
    node: String,
    #[command(flatten)]
    lab: Named,
}

#[derive(Args)]
pub(crate) struct LetEnd {
    #[command(flatten)]
    lab: Named,
    /// The CAs too, not only what they have signed
    #[arg(long)]
    with_ca: bool,
}

#[derive(Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    lab: Named,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

pub(crate) fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up(args) => up::up(&args)?,
        Command::Down(args) => down::down(&args.name)?,
        Command::Status(args) => enter::status(args.name.as_deref())?,
        Command::Exec(args) => return enter::exec(&args),
        Command::Run(args) => return enter::run(&args),
        Command::Reboot(args) => azure::reboot(&args.lab.name, &args.node)?,
        Command::LetEnd(args) => {
            let what = if args.with_ca { kubeadm::End::Everything } else { kubeadm::End::Leaves };
            kubeadm::let_end(&args.lab.name, what)?;
        }
        Command::Env(args) => enter::env(&args.name)?,
        Command::WorkloadLog(args) => wllog::workload_log(&args)?,
        Command::State(args) => return state::state(&args),
    }
    Ok(ExitCode::SUCCESS)
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::AksEngine => "aks-engine",
            Self::Kubeadm => "kubeadm",
        })
    }
}
