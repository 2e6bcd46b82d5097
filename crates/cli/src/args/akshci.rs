//! The cmdlets of AKS Arc as verbs. What is typed comes here after `cmdlets.rs` has understood it as PowerShell would.

use std::env;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::errors::{CliError, Kind};

/// Arguments of `Update-AksHciCertificates`.
#[derive(Debug, Args)]
#[command(
    override_usage = "kubecert Update-AksHciCertificates [-Force] [-Site FILE] [-WhatIf] [-Confirm] [-Verbose] [-o FORM]"
)]
pub(crate) struct UpdateCertificatesArgs {
    /// Renew everything, also what is not due
    #[arg(long, help_heading = "Parameters")]
    pub(crate) force: bool,
    /// Which site, and how.
    #[command(flatten)]
    pub(crate) common: CmdletArgs,
}

/// Arguments of `Update-AksHciClusterCertificates`.
#[derive(Debug, Args)]
#[command(
    override_usage = "kubecert Update-AksHciClusterCertificates -Name NAME -FixCloudCredentials [-PatchLoadBalancer] [-Force] [-Site FILE]\n       \
                      kubecert Update-AksHciClusterCertificates -Name NAME -FixKubeletCredentials [-Force] [-Site FILE]"
)]
pub(crate) struct UpdateClusterArgs {
    /// Which cluster, and which of its layers.
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Renew everything, also what is not due
    #[arg(long, help_heading = "Parameters")]
    pub(crate) force: bool,
    /// Which site, and how.
    #[command(flatten)]
    pub(crate) common: CmdletArgs,
}

/// Arguments of `Repair-AksHciCerts`.
#[derive(Debug, Args)]
#[command(override_usage = "kubecert Repair-AksHciCerts [-SshPrivateKeyFile FILE] [-Site FILE]")]
pub(crate) struct RepairCertsArgs {
    /// The private key for the site's machines; without it, the site file's
    #[arg(long = "sshPrivateKeyFile", value_name = "FILE", help_heading = "Parameters")]
    pub(crate) ssh_private_key_file: Option<PathBuf>,
    /// Which site, and how.
    #[command(flatten)]
    pub(crate) common: CmdletArgs,
}

/// Arguments of `Repair-AksHciClusterCerts`.
#[derive(Debug, Args)]
#[command(
    override_usage = "kubecert Repair-AksHciClusterCerts -Name NAME (-FixCloudCredentials | -FixKubeletCredentials) [-Force] [-SshPrivateKeyFile FILE] [-Site FILE]"
)]
pub(crate) struct RepairClusterArgs {
    /// The cluster's name
    #[arg(long, value_name = "NAME", required = true, help_heading = "Parameters")]
    pub(crate) name: String,
    /// The credentials that the cluster's components have at the cloud agent
    #[arg(long = "fixCloudCredentials", help_heading = "Parameters")]
    pub(crate) fix_cloud_credentials: bool,
    /// The Kubernetes certificates of the cluster's control plane
    #[arg(long = "fixKubeletCredentials", help_heading = "Parameters")]
    pub(crate) fix_kubelet_credentials: bool,
    /// Renew everything, also what is not due
    #[arg(long, help_heading = "Parameters")]
    pub(crate) force: bool,
    /// The private key for the site's machines; without it, the site file's
    #[arg(long = "sshPrivateKeyFile", value_name = "FILE", help_heading = "Parameters")]
    pub(crate) ssh_private_key_file: Option<PathBuf>,
    /// Which site, and how.
    #[command(flatten)]
    pub(crate) common: CmdletArgs,
}

/// Arguments of `Invoke-AksHciRotateCACertificate`.
#[derive(Debug, Args)]
#[command(
    override_usage = "kubecert Invoke-AksHciRotateCACertificate [-Site FILE] [-WhatIf] [-Confirm] [-o FORM]"
)]
pub(crate) struct RotateCaCertificateArgs {
    /// Which site, and how.
    #[command(flatten)]
    pub(crate) common: CmdletArgs,
}

/// Which cluster, and which of its layers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Parameters")]
pub(crate) struct TargetArgs {
    /// The cluster's name
    #[arg(long, value_name = "NAME", required = true)]
    pub(crate) name: String,
    /// The credentials that the cluster's components have at the cloud agent
    #[arg(long = "fixCloudCredentials")]
    pub(crate) fix_cloud_credentials: bool,
    /// With -FixCloudCredentials: the certificates of its load balancers' agents, too
    #[arg(long = "patchLoadBalancer")]
    pub(crate) patch_load_balancer: bool,
    /// The Kubernetes certificates of the cluster's control plane
    #[arg(long = "fixKubeletCredentials")]
    pub(crate) fix_kubelet_credentials: bool,
}

/// What all cmdlets take: the site, and PowerShell's common parameters as far as they mean something to a program.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common parameters")]
pub(crate) struct CmdletArgs {
    /// The site file: which credentials there are, and where each is [env: KUBECERT_SITE]
    #[arg(long, value_name = "FILE")]
    pub(crate) site: Option<PathBuf>,
    /// Say what would be renewed, and change nothing
    #[arg(long = "whatIf")]
    pub(crate) what_if: bool,
    /// Ask before anything is changed
    #[arg(long)]
    pub(crate) confirm: bool,
    /// Say what is looked at and done
    #[arg(long)]
    pub(crate) verbose: bool,
    /// What becomes of the rest when one credential cannot be renewed
    #[arg(long = "errorAction", value_enum, ignore_case = true, default_value_t = ErrorAction::Continue, value_name = "WHAT")]
    pub(crate) error_action: ErrorAction,
}

/// What becomes of the rest when something fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub(crate) enum ErrorAction {
    /// It is told, and the rest goes on
    Continue,
    /// It is told, and the rest is left as it is
    Stop,
    /// It shows in the result and the exit code only, and the rest goes on
    SilentlyContinue,
    /// The same
    Ignore,
}

impl CmdletArgs {
    /// The site file. The environment is read here.
    pub(crate) fn site(&self) -> Result<PathBuf, CliError> {
        let set = || env::var_os("KUBECERT_SITE").filter(|value| !value.is_empty()).map(PathBuf::from);
        self.site.clone().or_else(set).ok_or_else(|| {
            CliError::new(Kind::Usage, "nothing says which site it is about")
                .hint("Name its site file with -Site FILE, or set KUBECERT_SITE; docs/aks-arc.md shows one.")
        })
    }
}
