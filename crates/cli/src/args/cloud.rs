//! What `rotate-certs` takes for Azure beyond its ancestor's flags.

use std::path::PathBuf;

use clap::Args;

/// Arguments about Azure that the ancestor does not have.
#[derive(Debug, Args)]
#[command(next_help_heading = "Beyond the ancestor's")]
pub(crate) struct CloudArgs {
    /// Root certificate of an Azure Stack Hub's endpoints, PEM, beside those that this machine trusts
    #[arg(long, value_name = "FILE")]
    pub(crate) azure_root_certificate: Option<PathBuf>,
    /// Restart every machine through Azure at the end, one at a time, each when all is well again; the rotation does not
    /// need it
    #[arg(long)]
    pub(crate) reboot: bool,
    /// Do every check, show the plan, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}
