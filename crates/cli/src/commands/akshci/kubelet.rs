//! A cluster's own Kubernetes certificates: those of its control plane and of its kubelets.

use jiff::Timestamp;
use kubecert_cloud::arc::Site;
use kubecert_core::intent::{Intent, Limits, Why};
use kubecert_engine::run as engine;

use super::How;
use crate::args::{ClusterSource, GlobalArgs, KeySource, StateArgs};
use crate::commands::cluster::Named;
use crate::commands::look::print_plan;
use crate::commands::recover::{self, Brought};
use crate::commands::rotate::{Consent, Wanted, carry_out, run_error};
use crate::commands::runtime::{self, Wired};
use crate::commands::target::Reach;
use crate::errors::{CliError, Kind};
use crate::exit::Exit;

/// All leaves are due within so many days: what `-Force` means.
const EVER: u32 = 36_500;

/// Brings the Kubernetes layer of a cluster back where something has ended, and renews what is due. The layers before it are
/// good when this is called.
pub(super) fn fix_kubelet_credentials(
    global: &GlobalArgs,
    site: &Site,
    how: &How,
    cluster: &str,
) -> Result<Exit, CliError> {
    let file = site.clusters.get(cluster).and_then(|access| access.cluster_file.clone());
    let file = file.ok_or_else(|| {
        let said =
            format!("the site file of {} does not say how the machines of {cluster} are reached", site.name);
        CliError::new(Kind::Input, said)
            .hint(format!("Name a cluster file: `clusters: [{{name: {cluster}, cluster-file: FILE}}]`."))
            .hint("Nothing was changed.")
    })?;
    let source = ClusterSource::File(file);
    let named = Named::read(&source)?;
    how.ask(&format!("Renew the Kubernetes certificates of {cluster}?"))?;
    let state = StateArgs { state_dir: None }.state_dir()?.join(named.name().as_str());
    let key = how.ssh_key.clone().map(|path| KeySource::File { path, passphrase_fd: None });
    let reach = Reach { host: None, port: None, user: None, key, known_hosts: None };
    let renew = Intent {
        limits: Limits { renew_within_days: how.force.then_some(EVER), ..Limits::default() },
        ..Intent::new(Why::Renew)
    };
    if how.what_if {
        return would_be(global, &named, &reach, state, &renew);
    }
    let consent = Consent::given();
    let brought = recover::bring_back(global, named, &reach, &state, &consent)?;
    if brought == Brought::OtherRun || (brought == Brought::Back && !how.force) {
        return Ok(Exit::Done);
    }
    let named = Named::read(&source)?;
    runtime::with(global, |wired: Wired| async move {
        let setup = named.connect(&reach, state, wired.wires()).await?;
        carry_out(global, setup, &renew, Wanted::Fresh, &consent, wired).await
    })
}

/// Shows the plan that would be carried out.
fn would_be(
    global: &GlobalArgs,
    named: &Named,
    reach: &Reach,
    state: std::path::PathBuf,
    renew: &Intent,
) -> Result<Exit, CliError> {
    runtime::with(global, |wired: Wired| async move {
        let setup = named.connect(reach, state, wired.wires()).await?;
        let inventory = engine::look(&setup).await.map_err(run_error)?;
        drop(setup);
        wired.end().await;
        let now = Timestamp::now();
        let back = engine::plan(&inventory, &Intent::new(Why::Recover), now).map_err(run_error)?;
        if back.is_empty() {
            print_plan(global, &engine::plan(&inventory, renew, now).map_err(run_error)?)?;
        } else {
            print_plan(global, &back)?;
        }
        Ok(Exit::Done)
    })
}
