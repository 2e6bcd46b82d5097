//! Which layer comes first: the infrastructure, then a cluster's control plane, then what its components have at the
//! authority, with its load balancers. Whoever comes later needs those before: to reach machines, and to write Secrets.

use jiff::Timestamp;
use kubecert_cloud::arc::{self, Place, Seen, Site, Source};
use kubecert_cluster::presented;
use kubecert_core::assess::{Class, Credential, Finding, Heals, Layer, Verdict, measured};
use kubecert_engine::issue::chain;

use super::places::{self, Elsewhere};
use crate::errors::{CliError, Kind};

/// Refuses what comes too early for a cluster's control plane: the infrastructure must be good.
pub(super) async fn infrastructure_first(
    site: &Site,
    elsewhere: &impl Elsewhere,
    now: Timestamp,
) -> Result<(), CliError> {
    let found = look(site, |source| source.class.layer() == Layer::Infrastructure, elsewhere).await?;
    let hit = measured(&found, now).into_iter().find(|finding| {
        finding.judgement.verdict == Verdict::Impacted
            && matches!(finding.heals, Heals::Repair | Heals::OnTheHost)
    });
    let Some(finding) = hit else { return Ok(()) };
    let error = too_early(
        format!("the infrastructure of {} comes first", site.name),
        &finding,
        "Run `kubecert Update-AksHciCertificates` first, then this again: through what has ended, no cluster can be repaired.",
    );
    // Nobody who has rights is left: the cmdlet cannot help, either.
    Err(match finding.heals {
        Heals::OnTheHost => error.hint(finding.judgement.action),
        _ => error,
    })
}

/// Refuses what comes too early for a cluster's components: its control plane must be good.
pub(super) async fn control_plane_first(
    site: &Site,
    cluster: &str,
    elsewhere: &impl Elsewhere,
    now: Timestamp,
) -> Result<(), CliError> {
    let found = control_plane(site, cluster, elsewhere, now).await?;
    let hit = found.into_iter().find(|finding| finding.judgement.verdict == Verdict::Impacted);
    let Some(finding) = hit else { return Ok(()) };
    Err(too_early(
        format!("the control plane of cluster {cluster} comes first"),
        &finding,
        &format!(
            "Run `kubecert Update-AksHciClusterCertificates -Name {cluster} -FixKubeletCredentials` first, then this again: no Secret can be written through an API server that nobody trusts."
        ),
    ))
}

/// Whether a cluster's control plane is known to be good: something of it could be read, and nothing of that has ended.
pub(super) async fn control_plane_is_good(
    site: &Site,
    cluster: &str,
    elsewhere: &impl Elsewhere,
    now: Timestamp,
) -> bool {
    let is = |verdict| move |finding: &Finding| finding.judgement.verdict == verdict;
    match control_plane(site, cluster, elsewhere, now).await {
        Ok(found) => found.iter().any(is(Verdict::NotImpacted)) && !found.iter().any(is(Verdict::Impacted)),
        Err(_) => false,
    }
}

/// What is known of a cluster's control plane.
async fn control_plane(
    site: &Site,
    cluster: &str,
    elsewhere: &impl Elsewhere,
    now: Timestamp,
) -> Result<Vec<Finding>, CliError> {
    let of_control_plane = |source: &Source| {
        source.class.layer() == Layer::Kubernetes
            && !matches!(source.class, Class::Kubeconfig | Class::Webhook)
            && source.cluster.as_deref() == Some(cluster)
    };
    Ok(measured(&look(site, of_control_plane, elsewhere).await?, now))
}

fn too_early(what: String, finding: &Finding, first: &str) -> CliError {
    let cause = format!("{}: {}", finding.name, finding.judgement.why);
    CliError::because(Kind::Input, what, cause).hint(first).hint("Nothing was changed.")
}

/// Looks at some of a site's credentials. What cannot be read is told as that, and stands in nobody's way here.
async fn look(
    site: &Site,
    wanted: impl Fn(&Source) -> bool,
    elsewhere: &impl Elsewhere,
) -> Result<Vec<Credential>, CliError> {
    let mut found = Vec::new();
    for source in site.sources.iter().filter(|source| wanted(source)) {
        let seen: Seen = match &source.place {
            Place::Server(address) => {
                let shown = presented(address).await.map(|handshake| handshake.chain);
                arc::presented(source, shown.map_err(|error| chain(&error)))
            }
            // A management cluster that is down stands in everybody's way; one machine does not, nor does a cluster that is
            // about to be repaired.
            Place::Secret(secret) if secret.cluster.is_none() => {
                places::seen(source, Ok(elsewhere.read(&source.place).await?))
            }
            _ => places::look_at(source, elsewhere).await.unwrap_or_else(|| arc::read(source)),
        };
        found.extend(seen.credentials);
    }
    Ok(found)
}
