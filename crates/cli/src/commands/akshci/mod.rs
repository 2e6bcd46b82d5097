//! The cmdlets of AKS Arc, carried out against an authority that speaks the public wire API.
//!
//! What the vendor's cmdlets do inside is not public. Names, parameters, layers and their order are documented; which calls,
//! files and Secrets stand behind them is inferred from the documents and the public API, and marked as assumed in the names of
//! tests. Conforming with the vendor's is not claimed.
//!
//! * `administrator.rs`: who asks the authority. `places.rs`: where login files are. `holdings.rs`: whose they are.
//!   `renewal.rs`: what is due, and its renewal.
//! * `order.rs`: which layer comes first. `cluster.rs`, `load_balancer.rs`, `kubelet.rs`: a cluster's layers. `rotate_ca.rs`: the CA.
//! * `kms.rs`: what comes before anything that needs a cluster's API server.
//! * `whole.rs`: all layers of a site in their order, for `recover --site`.
//! * `report.rs`: what was done.
//!
//! First everything is read, and what stands in the way is told with nothing touched. Then identity by identity: whether the
//! new token can be put where it belongs is tried out before the old one is given up.

mod administrator;
mod cluster;
mod holdings;
mod kms;
mod kubelet;
mod load_balancer;
mod order;
mod places;
mod renewal;
mod report;
mod rotate_ca;
mod ssh;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_kms;
#[cfg(test)]
mod tests_refused;
mod whole;

use std::future::Future;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::Arc;

use console::Term;
use jiff::Timestamp;
use kubecert_cloud::arc::{Seen, Site, Source};
use kubecert_cloud::authority::AuthorityError;
use kubecert_cluster::KubeClient;
use kubecert_core::assess::Layer;
use kubecert_engine::ports::Clock;

use crate::args::{
    CmdletArgs, ErrorAction, GlobalArgs, RepairCertsArgs, RepairClusterArgs, RotateCaCertificateArgs,
    UpdateCertificatesArgs, UpdateClusterArgs,
};
use crate::errors::{CliError, Kind};
use crate::exit::Exit;
use administrator::{Administrator, Own};
use cluster::Target;
use holdings::Holdings;
use kms::Repaired;
use places::{Elsewhere, OverThere};
use report::Report;

/// How a cmdlet goes about it.
pub(super) struct How {
    /// Whether what is not due is renewed, too.
    pub(super) force: bool,
    /// Whether it is only said what would be done.
    pub(super) what_if: bool,
    /// Whether somebody is asked before anything changes.
    pub(super) confirm: bool,
    /// Whether each step is told.
    pub(super) verbose: bool,
    /// What becomes of the rest when something fails.
    pub(super) errors: ErrorAction,
    /// The private key for the site's machines, if not the site file's.
    pub(super) ssh_key: Option<PathBuf>,
    /// What time it is.
    pub(super) clock: Arc<dyn Clock>,
}

impl How {
    fn of(common: &CmdletArgs, force: bool, ssh_key: Option<PathBuf>) -> Self {
        Self {
            force,
            what_if: common.what_if,
            confirm: common.confirm,
            verbose: common.verbose,
            errors: common.error_action,
            ssh_key,
            clock: Arc::new(SystemClock),
        }
    }

    /// Tells a step to whoever wants to know.
    fn tell(&self, step: impl FnOnce() -> String) {
        if self.verbose {
            eprintln!("VERBOSE: {}", step());
        }
    }

    /// Asks whoever sits at the terminal, if that is wanted.
    fn ask(&self, what: &str) -> Result<(), CliError> {
        if !self.confirm || self.what_if {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            return Err(CliError::new(
                Kind::Usage,
                "-Confirm: there is nobody to ask, since this is no terminal",
            )
            .hint("Leave it out, or use -WhatIf to see what would be done."));
        }
        let terminal = Term::stderr();
        let unheard = |error| CliError::because(Kind::Input, "cannot ask for confirmation", error);
        terminal.write_str(&format!("{what} [y/N] ")).map_err(unheard)?;
        let answer = terminal.read_line().map_err(unheard)?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(CliError::new(Kind::Input, "it was not confirmed; nothing was changed")),
        }
    }
}

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// `Update-AksHciCertificates`.
pub(super) fn update(global: &GlobalArgs, args: &UpdateCertificatesArgs) -> Result<Exit, CliError> {
    let how = How::of(&args.common, args.force, None);
    let site = super::assess::read_site(&args.common.site()?)?;
    run(async {
        infrastructure(&site, &how, &OverThere::of(&site, how.ssh_key.as_deref())).await?.end(global, &how)
    })
}

/// `Repair-AksHciCerts`.
pub(super) fn repair(global: &GlobalArgs, args: &RepairCertsArgs) -> Result<Exit, CliError> {
    let how = How::of(&args.common, false, args.ssh_private_key_file.clone());
    let site = super::assess::read_site(&args.common.site()?)?;
    run(async {
        infrastructure(&site, &how, &OverThere::of(&site, how.ssh_key.as_deref())).await?.end(global, &how)
    })
}

/// `Update-AksHciClusterCertificates`.
pub(super) fn update_cluster(global: &GlobalArgs, args: &UpdateClusterArgs) -> Result<Exit, CliError> {
    let how = How::of(&args.common, args.force, None);
    let site = super::assess::read_site(&args.common.site()?)?;
    let target = &args.target;
    if target.fix_kubelet_credentials {
        return of_kubelets(global, &site, &how, &target.name);
    }
    let load_balancers = target.patch_load_balancer;
    of_cluster(global, &site, &how, &Target { name: &target.name, load_balancers })
}

/// `Repair-AksHciClusterCerts`.
pub(super) fn repair_cluster(global: &GlobalArgs, args: &RepairClusterArgs) -> Result<Exit, CliError> {
    let how = How::of(&args.common, args.force, args.ssh_private_key_file.clone());
    let site = super::assess::read_site(&args.common.site()?)?;
    if args.fix_kubelet_credentials {
        return of_kubelets(global, &site, &how, &args.name);
    }
    of_cluster(global, &site, &how, &Target { name: &args.name, load_balancers: false })
}

/// `Invoke-AksHciRotateCACertificate`.
pub(super) fn rotate_ca(global: &GlobalArgs, args: &RotateCaCertificateArgs) -> Result<Exit, CliError> {
    let how = How::of(&args.common, false, None);
    let file = args.common.site()?;
    rotate_ca::rotate(&super::assess::read_site(&file)?, &file, &how)?.show(global)
}

/// What is in Secrets and on other machines of a site, for those who only look; each with the number that it came with.
pub(super) async fn fetched(
    site: &Site,
    sources: impl Iterator<Item = (usize, Source)>,
) -> Vec<(usize, Source, Seen)> {
    let elsewhere = OverThere::of(site, None);
    let mut found = Vec::new();
    for (number, source) in sources {
        let seen = places::look_at(&source, &elsewhere).await.unwrap_or_default();
        found.push((number, source, seen));
    }
    found
}

/// The Kubernetes API of a cluster of a site (`None`: the management cluster), for those who only look; or why there is none.
pub(super) async fn kubernetes(site: &Site, cluster: Option<&str>) -> Result<Arc<KubeClient>, String> {
    OverThere::of(site, None).client(cluster).await.map_err(|error| report::chain(&error))
}

/// `recover --site`: all layers, in the order in which they depend on each other.
pub(super) fn recover_site(
    global: &GlobalArgs,
    file: &std::path::Path,
    ssh_key: Option<PathBuf>,
    agreed: bool,
) -> Result<Exit, CliError> {
    if !agreed && !io::stdin().is_terminal() {
        return Err(CliError::new(Kind::Usage, "nobody is there to agree")
            .hint("Give --yes, or run the command on a terminal."));
    }
    let site = super::assess::read_site(file)?;
    let how = How {
        force: false,
        what_if: false,
        confirm: !agreed,
        verbose: false,
        errors: ErrorAction::Continue,
        ssh_key,
        clock: Arc::new(SystemClock),
    };
    whole::recover(global, &site, &how)
}

fn of_kubelets(global: &GlobalArgs, site: &Site, how: &How, name: &str) -> Result<Exit, CliError> {
    let elsewhere = OverThere::of(site, how.ssh_key.as_deref());
    let name = run(cluster::kubelets_may_follow(site, how, name, &elsewhere))?;
    match of_plugin(global, site, how, name)? {
        Exit::Done => kubelet::fix_kubelet_credentials(global, site, how, name),
        // Without its plugin no API server comes back, whatever certificates it has.
        other => Ok(other),
    }
}

/// What keeps the KMS plugin of a cluster from logging in; says nothing where that is nothing.
fn of_plugin(global: &GlobalArgs, site: &Site, how: &How, cluster: &str) -> Result<Exit, CliError> {
    run(async {
        let elsewhere = OverThere::of(site, how.ssh_key.as_deref());
        let report = match kms::repair(site, how, cluster, &elsewhere).await? {
            Repaired::NothingDue => return Ok(Exit::Done),
            Repaired::Done(report) => report,
        };
        // An API server that lacked nothing else comes back by itself, and its layer is not to be brought back for that.
        if report.errors.is_empty()
            && !how.what_if
            && order::control_plane_is_good(site, cluster, &elsewhere, how.clock.now()).await
            && let Err(error) = kms::await_api_server(site, cluster, &elsewhere).await
        {
            eprintln!(
                "The API server of cluster {cluster} has not come back by itself: {}.",
                report::chain(&error)
            );
        }
        report.end(global, how)
    })
}

fn of_cluster(global: &GlobalArgs, site: &Site, how: &How, target: &Target<'_>) -> Result<Exit, CliError> {
    run(async {
        cluster::update(site, how, target, &OverThere::of(site, how.ssh_key.as_deref()))
            .await?
            .end(global, how)
    })
}

/// The infrastructure's layer: everything that its components have at their authority.
async fn infrastructure(site: &Site, how: &How, elsewhere: &impl Elsewhere) -> Result<Report, CliError> {
    let of_layer = |source: &&Source| source.class.layer() == Layer::Infrastructure;
    let holdings = Holdings::read(site.sources.iter().filter(of_layer), elsewhere).await?;
    let mut report = Report::new(site, None, how);
    let mut administrator = Administrator::open(site, how).await?;
    how.ask(&format!("Renew the infrastructure credentials of {}?", site.name))?;
    administrator.renew_itself(Own::IfDue, how, &mut report).await?;
    renewal::renew(holdings, &mut administrator, how, elsewhere, &mut report).await?;
    Ok(report)
}

fn run<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::because(Kind::Internal, "cannot start", error))?;
    runtime.block_on(work)
}

/// An authority's error, with its remedy as a hint.
fn told(error: AuthorityError) -> CliError {
    super::authority::told(error)
}
