//! What identities hold in a site's places, as it was read before anything is begun.

use kubecert_cloud::arc::{Place, Source};
use kubecert_cloud::authority::{AccessFile, LoginFile};
use zeroize::Zeroizing;

use super::places::{Elsewhere, read_file};
use super::report::{Item, What};
use crate::errors::{CliError, Kind};

/// What was read of the places of a layer, by identity.
#[derive(Default)]
pub(super) struct Holdings<'a> {
    pub(super) identities: Vec<Held<'a>>,
    /// What cannot be anybody's.
    pub(super) troubles: Vec<(Item, CliError)>,
    /// The places among those that could not be read, since their machines did not let us: they may be of any identity.
    pub(super) beyond_reach: Vec<&'a Source>,
}

/// What one identity holds.
pub(super) struct Held<'a> {
    pub(super) name: String,
    pub(super) logins: Vec<Kept<'a, LoginFile>>,
    pub(super) accesses: Vec<Kept<'a, AccessFile>>,
}

/// A place, what is in it, and what that means; neither where there is nothing.
pub(super) struct Kept<'a, T> {
    pub(super) source: &'a Source,
    pub(super) bytes: Zeroizing<Vec<u8>>,
    pub(super) content: Option<T>,
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
        elsewhere: &impl Elsewhere,
    ) -> Result<Self, CliError> {
        let mut holdings = Self::default();
        let mut nameless = Vec::new();
        for source in sources {
            let read = match read_place(source, elsewhere).await? {
                None => continue,
                Some(Ok(read)) => read,
                Some(Err(error)) => {
                    if matches!(source.place, Place::Remote(_)) {
                        holdings.beyond_reach.push(source);
                    }
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
    /// Whether a place that was not read may be of this identity: by its name, or since it is of the same class and cluster.
    pub(super) fn may_be_in(&self, source: &Source) -> bool {
        match &source.identity {
            Some(name) => *name == self.name,
            None => self.sources().any(|own| (own.class, &own.cluster) == (source.class, &source.cluster)),
        }
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = &Source> {
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

/// Reads a place; `None` for places that hold neither login files nor access files.
async fn read_place<'a>(
    source: &'a Source,
    elsewhere: &impl Elsewhere,
) -> Result<Option<Result<Read<'a>, CliError>>, CliError> {
    let nothing = Zeroizing::default;
    let bytes = match &source.place {
        Place::Remote(_) => elsewhere.read(&source.place).await,
        Place::Secret(place) => match elsewhere.read(&source.place).await? {
            Some(bytes) => Ok(Some(bytes)),
            None => Err(CliError::new(Kind::Cluster, format!("there is no {place}")).hint(
                "Correct its name in the site file, or let whoever reads it make the Secret; only what is there is replaced.",
            )),
        },
        Place::Login(path) | Place::Access(path) => read_file(path).map_err(|error| {
            CliError::because(Kind::Input, format!("cannot use {}", described(source)), error)
                .hint("Run it as a user who may read it, or correct the path in the site file.")
        }),
        Place::Kubeconfig(_) | Place::Certificates(_) | Place::RemoteCertificates(_) | Place::Server(_) => {
            return Ok(None);
        }
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

pub(super) fn described(source: &Source) -> String {
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
