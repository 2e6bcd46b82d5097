//! What a cluster's components have at the authority, and its load balancers.

use kubecert_cloud::arc::{Site, Source};
use kubecert_core::assess::Layer;

use super::administrator::{Administrator, Own};
use super::holdings::Holdings;
use super::kms::{self, Repaired};
use super::places::Elsewhere;
use super::renewal;
use super::report::{Report, nothing_described};
use super::{How, load_balancer, order};
use crate::errors::{CliError, Kind};

/// Which cluster, and whether its load balancers' certificates are meant, too.
pub(super) struct Target<'a> {
    pub(super) name: &'a str,
    pub(super) load_balancers: bool,
}

/// The name of a cluster whose own PKI may be seen to: those of the layers before it are good.
///
/// # Errors
///
/// Refuses a cluster that the site does not know, and the wrong order.
pub(super) async fn kubelets_may_follow<'a>(
    site: &'a Site,
    how: &How,
    name: &str,
    elsewhere: &impl Elsewhere,
) -> Result<&'a str, CliError> {
    let name = known(site, name)?;
    order::infrastructure_first(site, elsewhere, how.clock.now()).await?;
    Ok(name)
}

/// Renews what a cluster's components have at the authority, if the layers before that are good.
pub(super) async fn update(
    site: &Site,
    how: &How,
    target: &Target<'_>,
    elsewhere: &impl Elsewhere,
) -> Result<Report, CliError> {
    let name = known(site, target.name)?;
    order::infrastructure_first(site, elsewhere, how.clock.now()).await?;
    let load_balancers = target.load_balancers;
    order::control_plane_first(site, name, elsewhere, how.clock.now()).await?;
    let balancers = match load_balancers {
        true => site.clusters.get(name).map(|access| access.load_balancers.as_slice()).unwrap_or_default(),
        false => &[],
    };
    if load_balancers && balancers.is_empty() {
        return Err(nothing_described(site, &format!("load balancer of cluster {name}"))
            .hint("A cluster without load balancers of this kind needs no -PatchLoadBalancer."));
    }
    let of_components = |source: &&Source| {
        source.class.layer() == Layer::ClusterInfrastructure && source.cluster.as_deref() == Some(name)
    };
    let mut report = Report::new(site, Some(name), how);
    let read = Holdings::read(site.sources.iter().filter(of_components), elsewhere).await;
    let holdings = match read {
        Ok(holdings) => holdings,
        // The API server that gives out Secrets may be down for want of its KMS plugin.
        Err(unanswered) => match kms::repair(site, how, name, elsewhere).await? {
            Repaired::NothingDue if !kms::are_named(site, name) => {
                return Err(unanswered.hint(
                    "Should its KMS plugins not be let in by the authority, name their login files on the control planes (`login` and `on`, with `restart`): they are renewed first then.",
                ));
            }
            Repaired::NothingDue => return Err(unanswered),
            Repaired::Done(before) => {
                let goes_on = before.errors.is_empty() && !before.what_if;
                report.take_in(before);
                if !goes_on {
                    eprintln!("What else of cluster {name} is due is seen once its API server answers.");
                    return Ok(report);
                }
                eprintln!(
                    "The KMS plugins of cluster {name} have new login files; its API server is waited for."
                );
                let again = async {
                    kms::await_api_server(site, name, elsewhere).await?;
                    Holdings::read(site.sources.iter().filter(of_components), elsewhere).await
                };
                match again.await {
                    Ok(holdings) => holdings,
                    Err(error) => {
                        report.errors.push(error);
                        return Ok(report);
                    }
                }
            }
        },
    };
    if holdings.is_empty() && balancers.is_empty() {
        return Err(nothing_described(site, &format!("login file, access file or Secret of cluster {name}")));
    }
    let mut administrator = Administrator::open(site, how).await?;
    how.ask(&format!("Renew the cloud credentials of cluster {name} of {}?", site.name))?;
    administrator.renew_itself(Own::IfEnded, how, &mut report).await?;
    renewal::renew(holdings, &mut administrator, how, elsewhere, &mut report).await?;
    for balancer in balancers {
        load_balancer::patch(balancer, site, &mut administrator, how, &mut report).await?;
    }
    if kms::was_renewed(site, name, &report)
        && let Err(error) = kms::await_api_server(site, name, elsewhere).await
    {
        report.errors.push(error);
    }
    report.tell_once();
    Ok(report)
}

/// The cluster that is meant, as the site file spells it: PowerShell's users do not mind the case.
fn known<'a>(site: &'a Site, name: &str) -> Result<&'a str, CliError> {
    let names = site.cluster_names();
    if let Some(exact) = names.iter().find(|known| **known == name) {
        return Ok(exact);
    }
    let mut alike = names.iter().filter(|known| known.eq_ignore_ascii_case(name));
    if let (Some(one), None) = (alike.next(), alike.next()) {
        return Ok(one);
    }
    let error = CliError::new(Kind::Input, format!("the site file of {} knows no cluster {name}", site.name));
    Err(match names.is_empty() {
        true => error.hint("It knows none; name each with `clusters: [{name: NAME, kubeconfig: FILE}]`."),
        false => {
            let names: Vec<&str> = names.into_iter().collect();
            error.hint(format!("It knows {}.", names.join(", ")))
        }
    })
}
