//! The KMS plugins of a cluster: what comes before anything that needs its API server.
//!
//! Each control plane has a plugin, with which its API server decrypts Secrets, and which logs in at the authority by a login file
//! on that machine. Once the token in it has ended and the machine was restarted, the plugin is not let in, and the API server
//! stays down. The documented repair writes Secrets through that very API server, so it cannot begin. The way out is known from
//! the field (aksArc issue 127): a new login file to the machines, then another process of the plugin, then all else.
//!
//! Here that is done over SSH alone. Only what keeps a plugin out is seen to: what merely ends soon is renewed together with the
//! other places of its identity, by those who come later. These find the newest token here, so that it is not rotated again.

use std::time::Duration;

use kubecert_cloud::arc::{Place, Site, Source};
use kubecert_cloud::authority::Reason;
use kubecert_core::assess::Class;
use kubecert_engine::ports::Restarted;
use tokio::time::{Instant, sleep};

use super::How;
use super::administrator::{self, Administrator, Own};
use super::holdings::{Held, Holdings};
use super::places::Elsewhere;
use super::renewal;
use super::report::{self, Item, Outcome, Report, What};
use crate::errors::{CliError, Kind};

/// How long the API server may take to answer once the plugins have new login files. The kubelet starts a container that has died
/// again and again after up to five minutes (`MaxContainerBackOff`), and an API server takes up to two to be there.
const API_SERVER_LIMIT: Duration = Duration::from_secs(7 * 60);

/// How often it is asked. Each attempt tries for some seconds by itself.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// The login files of a cluster's plugins that need no API server to be reached.
fn places<'a>(site: &'a Site, cluster: &str) -> impl Iterator<Item = &'a Source> {
    let cluster = cluster.to_owned();
    site.sources.iter().filter(move |source| {
        source.class == Class::KmsPlugin
            && source.cluster.as_deref() == Some(cluster.as_str())
            && matches!(source.place, Place::Login(_) | Place::Remote(_))
    })
}

/// Whether the site file names any.
pub(super) fn are_named(site: &Site, cluster: &str) -> bool {
    places(site, cluster).next().is_some()
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Repaired {
    /// Nothing keeps a plugin out.
    NothingDue,
    /// Something was done or could not be done, or would be.
    Done(Report),
}

/// Puts new login files where the plugins of a cluster cannot get in with theirs, and restarts them.
///
/// # Errors
///
/// When the authority cannot be asked for what the files say is due. A machine that cannot be reached is an error in the report, and then nothing of the
/// identities that may be there is rotated.
pub(super) async fn repair(
    site: &Site,
    how: &How,
    cluster: &str,
    elsewhere: &impl Elsewhere,
) -> Result<Repaired, CliError> {
    if !are_named(site, cluster) {
        return Ok(Repaired::NothingDue);
    }
    // What is asked for by force is renewed where all else is.
    let how = &How { force: false, ssh_key: how.ssh_key.clone(), clock: how.clock.clone(), ..*how };
    how.tell(|| format!("looking at the KMS plugin of cluster {cluster}"));
    let mut holdings = Holdings::read(places(site, cluster), elsewhere).await?;
    let mut report = Report::new(site, Some(cluster), how);
    let by_files = !holdings.troubles.is_empty() || ended(&holdings, how);
    if !by_files && !administrator::is_named(site) {
        return Ok(Repaired::NothingDue);
    }
    let mut administrator = match Administrator::open(site, how).await {
        Ok(administrator) => administrator,
        Err(error) if by_files => return Err(error),
        // By the files nothing is due; that the authority cannot be asked is no reason to leave a cluster as it is.
        Err(error) => {
            eprintln!(
                "Whether the KMS plugin of cluster {cluster} has its newest token is not known: {}.",
                report::chain(&error)
            );
            return Ok(Repaired::NothingDue);
        }
    };
    holdings.identities.retain(|held| keeps_out(held, &administrator, how));
    if holdings.is_empty() {
        return finish(site, how, cluster, elsewhere, report).await;
    }
    how.ask(&format!("Renew the login files of the KMS plugin of cluster {cluster} of {}?", site.name))?;
    administrator.renew_itself(Own::IfEnded, how, &mut report).await?;
    renewal::renew(holdings, &mut administrator, how, elsewhere, &mut report).await?;
    Ok(Repaired::Done(report))
}

/// Goes on after a run that was cut off between file and restart: nothing is due by the files, and the API server does not answer.
async fn finish(
    site: &Site,
    how: &How,
    cluster: &str,
    elsewhere: &impl Elsewhere,
    mut report: Report,
) -> Result<Repaired, CliError> {
    if how.what_if || readable(site, cluster, elsewhere).await.is_ok() {
        return Ok(Repaired::NothingDue);
    }
    for source in places(site, cluster) {
        let Place::Remote(place) = &source.place else { continue };
        let Some(holder) = &place.restart else { continue };
        let item = Item::of(source, What::Token, source.identity.as_deref().unwrap_or_default());
        match elsewhere.restart(place).await {
            Ok(Some(restarted @ Restarted::Yes)) => {
                let restart = Some(renewal::outcome(holder, restarted));
                report.credentials.push(Item { restart, ..item });
            }
            Ok(_) => {}
            Err(error) => {
                let by_hand = format!("On {}: {}.", place.machine, renewal::by_hand(holder));
                report.failed(item, error.hint(by_hand), how)?;
                break;
            }
        }
    }
    Ok(match report.credentials.is_empty() {
        true => Repaired::NothingDue,
        false => Repaired::Done(report),
    })
}

/// Whether one of them has nothing that the authority would accept, as far as the files themselves tell.
fn ended(holdings: &Holdings<'_>, how: &How) -> bool {
    let now = how.clock.now();
    let mut logins = holdings.identities.iter().flat_map(|held| &held.logins);
    logins.any(|kept| match kept.content.as_ref().map(|login| login.life()) {
        Some(Ok((_, ends))) => now >= ends,
        Some(Err(_)) | None => true,
    })
}

/// Whether a plugin with one of an identity's login files is not let in when it logs in the next time.
fn keeps_out(held: &Held<'_>, administrator: &Administrator<'_>, how: &How) -> bool {
    let Some(info) = administrator.identities.get(&held.name).filter(|info| !info.revoked) else {
        return true;
    };
    held.logins.iter().any(|kept| match renewal::due(kept, &info.id, administrator, how) {
        Some(Reason::Absent | Reason::Ended(_) | Reason::Endless(_) | Reason::Superseded) => true,
        // An authority of which it knows no CA at all is a stranger to it.
        Some(Reason::UnknownRoot) => kept
            .content
            .as_ref()
            .is_some_and(|login| !login.roots.iter().any(|root| administrator.roots.contains(root))),
        Some(Reason::Forced | Reason::EndsSoon(_) | Reason::OldCa) | None => false,
    })
}

/// Whether a report says that a plugin of the cluster has a new login file.
pub(super) fn was_renewed(site: &Site, cluster: &str, report: &Report) -> bool {
    let renewed = |place: &str| {
        let mut items = report.credentials.iter();
        items.any(|item| item.outcome == Outcome::Renewed && item.place == place)
    };
    places(site, cluster).any(|source| renewed(&source.place.to_string()))
}

/// Waits until the cluster's API server answers, and gives out the Secrets that the site file names in it.
///
/// # Errors
///
/// When it does not in time, with its last word; at once where asking cannot help.
pub(super) async fn await_api_server(
    site: &Site,
    cluster: &str,
    elsewhere: &impl Elsewhere,
) -> Result<(), CliError> {
    let limit = Instant::now() + API_SERVER_LIMIT;
    let mut told = false;
    loop {
        let Err(error) = readable(site, cluster, elsewhere).await else { return Ok(()) };
        if error.kind == Kind::Input {
            return Err(error);
        }
        if Instant::now() >= limit {
            return Err(error.hint(format!(
                "The KMS plugins of cluster {cluster} have new login files, and its API server has not come back within {} min: see the logs of the plugin and of the API server on its control planes.",
                API_SERVER_LIMIT.as_secs() / 60
            ))
            .hint("The same command goes on from here."));
        }
        if !told {
            eprintln!(
                "Waiting until the API server of cluster {cluster} answers, at most {} min; the kubelet takes its time over what has died often.",
                API_SERVER_LIMIT.as_secs() / 60
            );
            told = true;
        }
        sleep(ASK_EVERY).await;
    }
}

/// Whether the API server answers and can decrypt.
async fn readable(site: &Site, cluster: &str, elsewhere: &impl Elsewhere) -> Result<(), CliError> {
    elsewhere.answers(cluster).await?;
    for source in &site.sources {
        if matches!(&source.place, Place::Secret(place) if place.cluster.as_deref() == Some(cluster)) {
            elsewhere.read(&source.place).await?;
        }
    }
    Ok(())
}
