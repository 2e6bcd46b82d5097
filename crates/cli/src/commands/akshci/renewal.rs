//! What of the identities' holdings is due, and its renewal.
//!
//! An identity has one token at a time, which may lie in several places; so all places of an identity get its new login file
//! together. A run that is cut off between the authority and a place leaves a token behind that is not the newest one: the next
//! run sees that by the token's id, and takes the newest one from where it lies, or makes another where it lies nowhere.

use std::path::Path;

use kubecert_cloud::arc::{Place, Source};
use kubecert_cloud::authority::{
    AccessFile, AccessLock, LoginFile, MocCode, Reason, When, access_due, learn_roots, login, login_due,
};
use kubecert_engine::ports::{Holder, Restarted};

use super::administrator::Administrator;
use super::holdings::{Held, Holdings, Kept, described};
use super::places::{Elsewhere, may_write_file};
use super::report::{Item, Outcome, Report, What};
use super::{How, told};
use crate::commands::authority::own_names;
use crate::errors::{CliError, Kind};

/// Renews what is due, and tells what cannot be.
pub(super) async fn renew(
    holdings: Holdings<'_>,
    administrator: &mut Administrator<'_>,
    how: &How,
    elsewhere: &impl Elsewhere,
    report: &mut Report,
) -> Result<(), CliError> {
    for (item, error) in holdings.troubles {
        report.failed(item, error, how)?;
    }
    for held in &holdings.identities {
        how.tell(|| format!("looking at identity {}", held.name));
        let beyond_reach = holdings.beyond_reach.iter().find(|source| held.may_be_in(source)).copied();
        renew_all_of(held, beyond_reach, administrator, how, elsewhere, report).await?;
    }
    Ok(())
}

/// Renews what is due of one identity, of which one more place may be `beyond_reach`.
async fn renew_all_of(
    held: &Held<'_>,
    beyond_reach: Option<&Source>,
    administrator: &mut Administrator<'_>,
    how: &How,
    elsewhere: &impl Elsewhere,
    report: &mut Report,
) -> Result<(), CliError> {
    let id = match known(held, administrator) {
        Ok(id) => id,
        Err(error) => {
            let Some(first) = held.sources().next() else { return Ok(()) };
            let what = if held.logins.is_empty() { What::Certificate } else { What::Token };
            return report.failed(Item::of(first, what, &held.name), error, how);
        }
    };
    let newest = match tokens(held, (&id, beyond_reach), administrator, how, elsewhere, report).await {
        Ok(login) => login,
        Err(Stopped::Whole(error)) => return Err(error),
        Err(Stopped::Identity) => return Ok(()),
    };
    for kept in &held.accesses {
        let Place::Access(path) = &kept.source.place else { continue };
        if administrator.is_own(path) {
            continue;
        }
        let item = Item::of(kept.source, What::Certificate, &held.name);
        let present = held.logins.iter().find_map(|login| login.content.as_ref());
        match certificate(kept, path, newest.as_ref().or(present), administrator, how).await {
            Ok(Some((outcome, reason, ends))) => report.credentials.push(item.due(outcome, &reason, ends)),
            Ok(None) => {
                let ends = kept.content.as_ref().map(|access| access.certificate().not_after());
                report.credentials.push(item.not_due(ends));
            }
            Err(error) => report.failed(item, error, how)?,
        }
    }
    Ok(())
}

/// Why an identity's renewal ends before its end.
enum Stopped {
    /// Nothing more is done with this identity.
    Identity,
    /// Nothing more is done at all.
    Whole(CliError),
}

/// The id of the identity's newest token, if the authority knows it, and it was not revoked.
fn known(held: &Held<'_>, administrator: &Administrator<'_>) -> Result<String, CliError> {
    let place = held.sources().next().map(|source| source.place.to_string()).unwrap_or_default();
    let host = &administrator.address.host;
    let Some(info) = administrator.identities.get(&held.name) else {
        let said =
            format!("identity {}, which {place} is of, is not known to the authority at {host}", held.name);
        return Err(CliError::new(Kind::Input, said).hint(format!(
            "Should it be another authority's, take the place out of this site file; should it have been deleted, create it again: `kubecert authority identity create {} --out FILE`.",
            held.name
        )));
    };
    if info.revoked {
        let said =
            format!("identity {}, which {place} is of, was revoked at the authority at {host}", held.name);
        return Err(CliError::new(Kind::Input, said).hint(
            "Nobody gets in as this identity any more, and a new token would not help; create another identity for its holder.",
        ));
    }
    // Roots of another authority, and a token that is not ours: a namesake, whose file is not to be overwritten.
    let foreign = held.logins.iter().find(|kept| {
        let Some(login) = &kept.content else { return false };
        !login.roots.iter().any(|root| administrator.roots.contains(root))
            && login.token_id().as_deref() != Some(info.id.as_str())
    });
    if let Some(kept) = foreign {
        let said = format!(
            "{} is of another authority: it trusts none of the CAs of the one at {host}, and its token is not from there",
            described(kept.source)
        );
        return Err(CliError::new(Kind::Input, said).hint(format!(
            "Nothing was written. If it is to be replaced, move it away and name its identity in the site file (`identity: {}`).",
            held.name
        )));
    }
    Ok(info.id.clone())
}

/// Puts the identity's newest token into all of its login files of which one is due: as it lies in one of them, or a new one.
async fn tokens(
    held: &Held<'_>,
    (newest, beyond_reach): (&str, Option<&Source>),
    administrator: &mut Administrator<'_>,
    how: &How,
    elsewhere: &impl Elsewhere,
    report: &mut Report,
) -> Result<Option<LoginFile>, Stopped> {
    let reasons = held.logins.iter().map(|kept| due(kept, newest, administrator, how));
    let mut reasons: Vec<Option<Reason>> = reasons.collect();
    let ends = |login: Option<&LoginFile>| login.and_then(|login| login.life().ok()).map(|(_, ends)| ends);
    let item = |kept: &Kept<'_, LoginFile>| Item::of(kept.source, What::Token, &held.name);
    let any_due = reasons.iter().any(Option::is_some);
    let present = held.logins.iter().zip(&reasons).filter(|(_, reason)| reason.is_none());
    // Without the ids of tokens nobody knows which one is the newest.
    let present = present
        .filter_map(|(kept, _)| kept.content.as_ref())
        .find(|login| !newest.is_empty() && login.token_id().as_deref() == Some(newest));
    if any_due && present.is_none() {
        // Those that are not due by themselves become so, since the identity has another token then.
        for reason in &mut reasons {
            reason.get_or_insert(Reason::Superseded);
        }
    }
    let mut wanted = Vec::new();
    for (kept, reason) in held.logins.iter().zip(reasons) {
        match reason {
            None => report.credentials.push(item(kept).not_due(ends(kept.content.as_ref()))),
            Some(reason) => wanted.push((kept, reason)),
        }
    }
    let Some((first, _)) = wanted.first() else { return Ok(None) };
    if how.what_if {
        for (kept, reason) in wanted {
            let would = item(kept).due(Outcome::WouldBeRenewed, &reason, ends(kept.content.as_ref()));
            let restart = holder(kept).map(|holder| format!("{holder} would be restarted"));
            report.credentials.push(Item { restart, ..would });
        }
        return Ok(None);
    }
    // The old token may end with the new one's beginning. So nothing is asked for that cannot be put where it belongs.
    if let (Some(source), None) = (beyond_reach, present) {
        let said = format!("{} cannot be read, and may be of identity {}", described(source), held.name);
        let error = CliError::new(Kind::Node, said)
            .hint(format!("Identity {} has its token still; nothing of it was changed.", held.name))
            .hint("Make that machine answer and run the same command again. Should the file there be another identity's, name that in the site file (`identity: NAME`); should the machine be no more, take it out.");
        report.failed(item(first), error, how).map_err(Stopped::Whole)?;
        return Err(Stopped::Identity);
    }
    for (kept, _) in &wanted {
        if let Err(error) = may_write(kept, elsewhere).await {
            let error =
                error.hint(format!("Identity {} has its token still; nothing of it was changed.", held.name));
            report.failed(item(kept), error, how).map_err(Stopped::Whole)?;
            return Err(Stopped::Identity);
        }
    }
    let login = match present {
        Some(login) => login.clone(),
        None => match administrator.client.rotate(&held.name).await {
            Ok(login) => {
                how.tell(|| format!("identity {} has a new token", held.name));
                login
            }
            Err(error) => {
                report.failed(item(first), told(error), how).map_err(Stopped::Whole)?;
                return Err(Stopped::Identity);
            }
        },
    };
    let mut restarts = Restarts::GoOn;
    for (kept, reason) in wanted {
        if let Err(error) = write(kept, &login, elsewhere).await {
            let error = error.hint(format!(
                "Identity {} has a new token, and this place has not; run the same command again, which goes on there.",
                held.name
            ));
            report.failed(item(kept), error, how).map_err(Stopped::Whole)?;
            continue;
        }
        match restart(kept, restarts, elsewhere).await {
            Ok(restart) => {
                let renewed = item(kept).due(Outcome::Renewed, &reason, ends(Some(&login)));
                report.credentials.push(Item { restart, ..renewed });
            }
            Err(error) => {
                restarts = Restarts::Stopped;
                report.failed(item(kept), error, how).map_err(Stopped::Whole)?;
            }
        }
    }
    Ok(Some(login))
}

/// Why a login file is due.
pub(super) fn due(
    kept: &Kept<'_, LoginFile>,
    newest: &str,
    administrator: &Administrator<'_>,
    how: &How,
) -> Option<Reason> {
    match &kept.content {
        None => Some(Reason::Absent),
        Some(_) if how.force => Some(Reason::Forced),
        Some(login) => login_due(login, newest, &administrator.roots, how.clock.now()),
    }
}

/// Whether those who hold an identity's token are restarted. After one that did not come back, the others go on with what they
/// have: what is wrong with the first may be wrong with all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Restarts {
    GoOn,
    Stopped,
}

fn holder<'a>(kept: &'a Kept<'_, LoginFile>) -> Option<&'a Holder> {
    match &kept.source.place {
        Place::Remote(place) => place.restart.as_ref(),
        _ => None,
    }
}

/// Restarts who reads a login file that was written, and says what became of it.
async fn restart(
    kept: &Kept<'_, LoginFile>,
    restarts: Restarts,
    elsewhere: &impl Elsewhere,
) -> Result<Option<String>, CliError> {
    let (Place::Remote(place), Some(holder)) = (&kept.source.place, holder(kept)) else { return Ok(None) };
    let by_hand = |error: CliError| {
        error.hint("The new login file is there.").hint(format!("On {}: {}.", place.machine, by_hand(holder)))
    };
    if restarts == Restarts::Stopped {
        let said = format!("{holder} on {} was not restarted, since one before it failed", place.machine);
        return Err(by_hand(CliError::new(Kind::Node, said)));
    }
    Ok(elsewhere.restart(place).await.map_err(by_hand)?.map(|restarted| outcome(holder, restarted)))
}

/// What became of a holder, as a fragment.
pub(super) fn outcome(holder: &Holder, restarted: Restarted) -> String {
    match restarted {
        Restarted::Yes => format!("{holder} was restarted"),
        Restarted::NotNeeded => format!("{holder} has begun with it already"),
        Restarted::NotRunning => format!("{holder} does not run, and begins with it"),
    }
}

/// How somebody at the machine restarts a holder.
pub(super) fn by_hand(holder: &Holder) -> String {
    match holder {
        Holder::Unit(name) => format!("`systemctl restart {name}`"),
        Holder::StaticPod(name) => format!(
            "end the main process of its container (`crictl ps`, then `crictl stop CONTAINER`), or move the manifest of {name} out of the kubelet's directory and back after a minute"
        ),
    }
}

type Renewed = (Outcome, Reason, Option<jiff::Timestamp>);

/// Renews an access file where it is due; logs in where there is none, or its certificate has ended.
async fn certificate(
    kept: &Kept<'_, AccessFile>,
    path: &Path,
    login_file: Option<&LoginFile>,
    administrator: &Administrator<'_>,
    how: &How,
) -> Result<Option<Renewed>, CliError> {
    let now = how.clock.now();
    let reason = match &kept.content {
        None => Some(Reason::Absent),
        Some(_) if how.force => Some(Reason::Forced),
        Some(access) => access_due(access, &administrator.roots, now),
    };
    let Some(reason) = reason else { return Ok(None) };
    if how.what_if {
        let ends = kept.content.as_ref().map(|access| access.certificate().not_after());
        return Ok(Some((Outcome::WouldBeRenewed, reason, ends)));
    }
    let _lock = AccessLock::take(path).map_err(told)?;
    let address = &administrator.address;
    let log_in = async |why: String| match login_file {
        Some(file) => {
            login(file, address, &own_names(), &how.clock).await.map_err(|error| told(error).hint(why))
        }
        None => Err(CliError::new(Kind::Input, format!("cannot log in for access file {}", path.display()))
            .hint(why)
            .hint("Name its identity's login file in the site file: `login: FILE`, with the same holder.")),
    };
    let mut access = match (&kept.content, &reason) {
        (None, _) => log_in(format!("There is no access file {} yet.", path.display())).await?,
        (Some(access), Reason::UnknownRoot) => access.clone(),
        (Some(access), _) => match renew_file(access, administrator, how).await {
            Ok(access) => access,
            // As public clients do: what has ended cannot be renewed, and the token is there for that.
            Err(error) if error.code == Some(MocCode::Expired) => {
                log_in(format!("Access file {}: {error}.", path.display())).await?
            }
            Err(error) => {
                return Err(told(error).hint(format!("Access file {} is as it was.", path.display())));
            }
        },
    };
    if reason != Reason::UnknownRoot {
        access.write(path).map_err(told)?;
    }
    if let Some(learned) = learn_roots(&access, address, &how.clock).await.map_err(told)? {
        learned.write(path).map_err(told)?;
        access = learned;
    }
    Ok(Some((Outcome::Renewed, reason, Some(access.certificate().not_after()))))
}

async fn renew_file(
    access: &AccessFile,
    administrator: &Administrator<'_>,
    how: &How,
) -> Result<AccessFile, kubecert_cloud::authority::AuthorityError> {
    let renewed = kubecert_cloud::authority::renew(access, &administrator.address, When::Always, &how.clock);
    Ok(renewed.await?.unwrap_or_else(|| access.clone()))
}

async fn may_write(kept: &Kept<'_, LoginFile>, elsewhere: &impl Elsewhere) -> Result<(), CliError> {
    match &kept.source.place {
        place @ (Place::Secret(_) | Place::Remote(_)) => elsewhere.may_replace(place, &kept.bytes).await,
        Place::Login(path) => may_write_file(path).map_err(|error| {
            CliError::because(Kind::Input, format!("cannot write login file {}", path.display()), error)
                .hint("Make its directory, or run it as a user who may write there.")
        }),
        _ => Ok(()),
    }
}

/// Puts a login file where it belongs, in the form that was there.
async fn write(
    kept: &Kept<'_, LoginFile>,
    login: &LoginFile,
    elsewhere: &impl Elsewhere,
) -> Result<(), CliError> {
    match &kept.source.place {
        Place::Login(path) => login.write(path).map_err(told),
        place @ (Place::Secret(_) | Place::Remote(_)) => {
            elsewhere.replace(place, &kept.bytes, login.to_yaml().as_bytes()).await
        }
        _ => Ok(()),
    }
}
