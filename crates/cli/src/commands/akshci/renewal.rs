//! What identities hold in a site's files and Secrets: what of it is due, and its renewal.
//!
//! An identity has one token at a time, which may lie in several places; so all places of an identity get its new login file
//! together. A run that is cut off between the authority and a place leaves a token behind that is not the newest one: the next
//! run sees that by the token's id, and makes another.

use std::path::Path;

use kubecert_cloud::arc::{Place, Source};
use kubecert_cloud::authority::{
    AccessFile, AccessLock, LoginFile, MocCode, Reason, When, access_due, learn_roots, login, login_due,
};
use zeroize::Zeroizing;

use super::administrator::Administrator;
use super::places::{Secrets, may_write_file, read_file};
use super::report::{Item, Outcome, Report, What};
use super::{How, told};
use crate::commands::authority::own_names;
use crate::errors::{CliError, Kind};

/// What was read of the places of a layer, by identity.
#[derive(Default)]
pub(super) struct Holdings<'a> {
    identities: Vec<Held<'a>>,
    /// What cannot be anybody's.
    troubles: Vec<(Item, CliError)>,
}

/// What one identity holds.
struct Held<'a> {
    name: String,
    logins: Vec<Kept<'a, LoginFile>>,
    accesses: Vec<Kept<'a, AccessFile>>,
}

/// A place, what is in it, and what that means; neither where there is nothing.
struct Kept<'a, T> {
    source: &'a Source,
    bytes: Zeroizing<Vec<u8>>,
    content: Option<T>,
}

/// A place that was read.
enum Read<'a> {
    Login(Kept<'a, LoginFile>),
    Access(Kept<'a, AccessFile>),
}

impl<'a> Holdings<'a> {
    /// Reads all login files and access files among these sources. Changes nothing.
    ///
    /// # Errors
    ///
    /// When a cluster with a Secret does not answer: then nothing at all is begun.
    pub(super) async fn read(
        sources: impl Iterator<Item = &'a Source>,
        secrets: &impl Secrets,
    ) -> Result<Self, CliError> {
        let mut holdings = Self::default();
        let mut nameless = Vec::new();
        for source in sources {
            let read = match read_place(source, secrets).await? {
                None => continue,
                Some(Ok(read)) => read,
                Some(Err(error)) => {
                    holdings.trouble(source, error);
                    continue;
                }
            };
            match identity(&read) {
                Ok(Some(name)) => holdings.add(name, read),
                Ok(None) => nameless.push(read),
                Err(error) => holdings.trouble(source, error),
            }
        }
        // An empty place is of the identity that its holder has in another place.
        for read in nameless {
            let source = read.source();
            let of_holder = |held: &&Held<'_>| held.sources().any(|other| same_holder(source, other));
            match holdings.identities.iter().find(of_holder).map(|held| held.name.clone()) {
                Some(name) => holdings.add(name, read),
                None => holdings.trouble(source, nobodys(source)),
            }
        }
        Ok(holdings)
    }

    /// Whether there is nothing to renew, and nothing to complain of.
    pub(super) fn is_empty(&self) -> bool {
        self.identities.is_empty() && self.troubles.is_empty()
    }

    fn add(&mut self, name: String, read: Read<'a>) {
        let at = self.identities.iter().position(|held| held.name == name).unwrap_or_else(|| {
            self.identities.push(Held { name, logins: Vec::new(), accesses: Vec::new() });
            self.identities.len() - 1
        });
        match read {
            Read::Login(kept) => self.identities[at].logins.push(kept),
            Read::Access(kept) => self.identities[at].accesses.push(kept),
        }
    }

    fn trouble(&mut self, source: &Source, error: CliError) {
        let what = if matches!(source.place, Place::Access(_)) { What::Certificate } else { What::Token };
        let item = Item { identity: source.identity.clone(), ..Item::of(source, what, "") };
        self.troubles.push((item, error));
    }
}

impl Held<'_> {
    fn sources(&self) -> impl Iterator<Item = &Source> {
        self.logins.iter().map(|kept| kept.source).chain(self.accesses.iter().map(|kept| kept.source))
    }
}

impl<'a> Read<'a> {
    fn source(&self) -> &'a Source {
        match self {
            Read::Login(kept) => kept.source,
            Read::Access(kept) => kept.source,
        }
    }
}

/// Renews what is due of one identity.
async fn renew_all_of(
    held: &Held<'_>,
    administrator: &mut Administrator<'_>,
    how: &How,
    secrets: &impl Secrets,
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
    let newest = match tokens(held, &id, administrator, how, secrets, report).await {
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

/// Renews what is due, and tells what cannot be.
pub(super) async fn renew(
    holdings: Holdings<'_>,
    administrator: &mut Administrator<'_>,
    how: &How,
    secrets: &impl Secrets,
    report: &mut Report,
) -> Result<(), CliError> {
    for (item, error) in holdings.troubles {
        report.failed(item, error, how)?;
    }
    for held in &holdings.identities {
        how.tell(|| format!("looking at identity {}", held.name));
        renew_all_of(held, administrator, how, secrets, report).await?;
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

/// Gives the identity a new token where one of its login files is due, and puts it into all of them.
async fn tokens(
    held: &Held<'_>,
    newest: &str,
    administrator: &mut Administrator<'_>,
    how: &How,
    secrets: &impl Secrets,
    report: &mut Report,
) -> Result<Option<LoginFile>, Stopped> {
    let now = how.clock.now();
    let due = |kept: &Kept<'_, LoginFile>| match &kept.content {
        None => Some(Reason::Absent),
        Some(_) if how.force => Some(Reason::Forced),
        Some(login) => login_due(login, newest, &administrator.roots, now),
    };
    let due: Vec<Option<Reason>> = held.logins.iter().map(due).collect();
    let ends = |login: Option<&LoginFile>| login.and_then(|login| login.life().ok()).map(|(_, ends)| ends);
    let item = |kept: &Kept<'_, LoginFile>| Item::of(kept.source, What::Token, &held.name);
    if due.iter().all(Option::is_none) {
        for kept in &held.logins {
            report.credentials.push(item(kept).not_due(ends(kept.content.as_ref())));
        }
        return Ok(None);
    }
    // Those that are not due by themselves become so, since the identity has another token then.
    let why = |reason: &Option<Reason>| reason.clone().unwrap_or(Reason::Superseded);
    if how.what_if {
        for (kept, reason) in held.logins.iter().zip(&due) {
            let ends = ends(kept.content.as_ref());
            report.credentials.push(item(kept).due(Outcome::WouldBeRenewed, &why(reason), ends));
        }
        return Ok(None);
    }
    // The old token may end with the new one's beginning. So nothing is asked for that cannot be put where it belongs.
    for kept in &held.logins {
        if let Err(error) = may_write(kept, secrets).await {
            let error =
                error.hint(format!("Identity {} has its token still; nothing of it was changed.", held.name));
            report.failed(item(kept), error, how).map_err(Stopped::Whole)?;
            return Err(Stopped::Identity);
        }
    }
    let login = match administrator.client.rotate(&held.name).await {
        Ok(login) => login,
        Err(error) => {
            let Some(first) = held.logins.first() else { return Ok(None) };
            report.failed(item(first), told(error), how).map_err(Stopped::Whole)?;
            return Err(Stopped::Identity);
        }
    };
    how.tell(|| format!("identity {} has a new token", held.name));
    for (kept, reason) in held.logins.iter().zip(&due) {
        match write(kept, &login, secrets).await {
            Ok(()) => {
                let ends = ends(Some(&login));
                report.credentials.push(item(kept).due(Outcome::Renewed, &why(reason), ends));
            }
            Err(error) => {
                let error = error.hint(format!(
                    "Identity {} has a new token, and this place has not; run the same command again, which makes another.",
                    held.name
                ));
                report.failed(item(kept), error, how).map_err(Stopped::Whole)?;
            }
        }
    }
    Ok(Some(login))
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

/// Reads a place; `None` for places that hold neither login files nor access files.
async fn read_place<'a>(
    source: &'a Source,
    secrets: &impl Secrets,
) -> Result<Option<Result<Read<'a>, CliError>>, CliError> {
    let nothing = Zeroizing::default;
    let bytes = match &source.place {
        Place::Secret(place) => match secrets.read(place).await? {
            Some(bytes) => Ok(Some(bytes)),
            None => Err(CliError::new(Kind::Cluster, format!("there is no {place}")).hint(
                "Correct its name in the site file, or let whoever reads it make the Secret; only what is there is replaced.",
            )),
        },
        Place::Login(path) | Place::Access(path) => read_file(path).map_err(|error| {
            CliError::because(Kind::Input, format!("cannot use {}", described(source)), error)
                .hint("Run it as a user who may read it, or correct the path in the site file.")
        }),
        Place::Kubeconfig(_) | Place::Certificates(_) | Place::Server(_) => return Ok(None),
    };
    let bytes = match bytes {
        Ok(bytes) => bytes.unwrap_or_else(nothing),
        Err(error) => return Ok(Some(Err(error))),
    };
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text,
        Err(_) => return Ok(Some(Err(unusable(source, "it is no text".to_owned())))),
    };
    // Nothing at all is lost when it is replaced; what cannot be understood may be somebody's.
    let empty = text.trim().is_empty();
    Ok(Some(match &source.place {
        Place::Access(_) if empty => Ok(Read::Access(Kept { source, content: None, bytes })),
        Place::Access(_) => match AccessFile::parse(text) {
            Ok(access) => Ok(Read::Access(Kept { source, content: Some(access), bytes })),
            Err(why) => Err(unusable(source, why)),
        },
        _ if empty => Ok(Read::Login(Kept { source, content: None, bytes })),
        _ => match LoginFile::parse(text) {
            Ok(login) => Ok(Read::Login(Kept { source, content: Some(login), bytes })),
            Err(why) => Err(unusable(source, why)),
        },
    }))
}

/// Whose a place is: as the site file says, or as it says itself; `None` where neither does.
fn identity(read: &Read<'_>) -> Result<Option<String>, CliError> {
    let own = match read {
        Read::Login(kept) => kept.content.as_ref().map(|login| login.name.clone()),
        Read::Access(kept) => kept.content.as_ref().map(|access| {
            let name = Some(access.identity.clone()).filter(|name| !name.is_empty());
            name.or_else(|| access.certificate().subject().last_common_name()).unwrap_or_default()
        }),
    };
    let source = read.source();
    match (&source.identity, own.filter(|name| !name.is_empty())) {
        (Some(named), Some(own)) if *named != own => {
            let said = format!("{} is of identity {own}, and the site file says {named}", described(source));
            Err(CliError::new(Kind::Input, said).hint("Correct the site file, or put the right file there."))
        }
        (Some(named), _) => Ok(Some(named.clone())),
        (None, own) => Ok(own),
    }
}

/// An error of a place whose content cannot be understood.
fn unusable(source: &Source, why: String) -> CliError {
    let remedy = match &source.place {
        Place::Access(path) => format!(
            "Nothing was written. Move {} away and run the same command again: it is made anew by logging in.",
            path.display()
        ),
        _ => "Nothing was written. If it is to be replaced, empty it, and name its identity in the site file (`identity: NAME`).".to_owned(),
    };
    CliError::because(Kind::Input, format!("cannot use {}", described(source)), why).hint(remedy)
}

/// An error of an empty place of which nobody knows whose it is.
fn nobodys(source: &Source) -> CliError {
    CliError::because(
        Kind::Input,
        format!("cannot use {}", described(source)),
        "it is empty, or not there, and nothing says whose it is",
    )
    .hint("Name its identity in the site file: `identity: NAME`; then a new one is made.")
}

fn described(source: &Source) -> String {
    match &source.place {
        Place::Access(path) => format!("access file {}", path.display()),
        Place::Secret(place) => format!("the login file in {place}"),
        place => format!("login file {place}"),
    }
}

/// Whether two places are of one holder.
fn same_holder(one: &Source, other: &Source) -> bool {
    (one.class, &one.cluster, &one.holder) == (other.class, &other.cluster, &other.holder)
}

async fn may_write(kept: &Kept<'_, LoginFile>, secrets: &impl Secrets) -> Result<(), CliError> {
    match &kept.source.place {
        Place::Secret(place) => secrets.may_replace(place, &kept.bytes).await,
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
    secrets: &impl Secrets,
) -> Result<(), CliError> {
    match &kept.source.place {
        Place::Login(path) => login.write(path).map_err(told),
        Place::Secret(place) => secrets.replace(place, &kept.bytes, login.to_yaml().as_bytes()).await,
        _ => Ok(()),
    }
}
