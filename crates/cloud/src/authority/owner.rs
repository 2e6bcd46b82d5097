//! What the owner of an authority's directory does with it: make it, and change who may come in.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use kubecert_engine::ports::Clock;
use kubecert_pki::{Certificate, SubjectAltName};
use serde::Serialize;

use super::agent::{self, AgentInfo};
use super::assignments::assign;
use super::code::{MocCode, Refusal};
use super::document::{Document, Identity, Lifetimes, OldTokens, SCHEMA, check_name};
use super::error::AuthorityError;
use super::live::{Live, first_root, new_id, next_root, sealed};
use super::login_file::{Address, ClientType, LoginFile};
use super::roles::{self, RoleInfo};
use super::store::{Stamp, Store};
use super::token::{Claims, TokenKey};

/// The identity that every authority begins with.
pub const FIRST_IDENTITY: &str = "admin";

/// How an authority is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name, which its CA and its tokens carry.
    pub name: String,
    /// Under which names and addresses it is reached; the first one stands in login files.
    pub hosts: Vec<String>,
    /// The location that login files name; it may be empty.
    pub location: String,
    /// Where it takes everything but logins, as login files say; 0 until it is served.
    pub port: u16,
    /// Where it takes logins, likewise.
    pub login_port: u16,
    /// How long things are good.
    pub lifetimes: Lifetimes,
    /// What happens to a token when its identity gets a new one.
    pub old_tokens: OldTokens,
}

/// A new identity.
#[derive(Clone, Debug)]
pub struct NewIdentity {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub client_type: ClientType,
    /// The location's name; it may be empty.
    pub location: String,
    /// How long each of its tokens is good; the authority's own way if it does not say.
    pub token_lasts: Option<SignedDuration>,
}

/// An identity as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IdentityInfo {
    /// Its name.
    pub name: String,
    /// The id of its newest token, as the wire API has it; empty without one.
    pub id: String,
    /// What it is for.
    pub client_type: ClientType,
    /// The location's name; it may be empty.
    pub location: String,
    /// Whether it was revoked.
    pub revoked: bool,
    /// How long each of its tokens is good, in seconds.
    pub token_lasts_s: i64,
    /// When its newest token ends, where that is known: the wire API does not tell.
    pub token_ends: Option<Timestamp>,
}

/// Which CAs an authority accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// The one that signs first.
    pub roots: Vec<Certificate>,
    /// One CA, or two.
    pub status: Status,
}

/// Whether a CA is being replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// There is one CA.
    Single,
    /// The one before is still accepted.
    Overlap {
        /// Until when, where that is known: the wire API does not tell.
        until: Option<Timestamp>,
    },
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Single => "Single",
            Self::Overlap { .. } => "Overlap",
        })
    }
}

/// An authority in its directory. Several processes may have the same one open.
pub struct Authority {
    store: Store,
    clock: Arc<dyn Clock>,
    /// The document as it was read last, and which version that was.
    live: Mutex<Option<(Stamp, Arc<Live>)>>,
}

impl Authority {
    /// Makes an authority: a CA, a key for tokens, and [`FIRST_IDENTITY`], whose login file is returned.
    ///
    /// # Errors
    ///
    /// When a setting is not usable, there is one already, or it cannot be written.
    pub fn init(
        directory: &Path,
        settings: &Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, LoginFile), AuthorityError> {
        let what = || format!("cannot make an authority in {}", directory.display());
        let failed = |cause: String| AuthorityError::new(what(), cause);
        let refused = |refusal: Refusal| AuthorityError::refused(what(), &refusal);
        check_name(&settings.name).map_err(refused)?;
        check_settings(settings).map_err(failed)?;
        let now = clock.now();
        let document = Document {
            schema: SCHEMA,
            name: settings.name.clone(),
            deployment_id: new_id().map_err(failed)?,
            hosts: settings.hosts.clone(),
            location: settings.location.clone(),
            port: settings.port,
            login_port: settings.login_port,
            lifetimes: settings.lifetimes,
            old_tokens: settings.old_tokens,
            roots: vec![first_root(&settings.name, now, settings.lifetimes.ca_s).map_err(failed)?],
            overlap_ends: None,
            token_key: TokenKey::generate().and_then(|key| sealed(&key)).map_err(failed)?,
            identities: Default::default(),
            assignments: Vec::new(),
        };
        let store = Store::create(directory, &document)?;
        let authority = Self { store, clock, live: Mutex::default() };
        let first = NewIdentity {
            name: FIRST_IDENTITY.to_owned(),
            client_type: ClientType::Admin,
            location: settings.location.clone(),
            token_lasts: None,
        };
        let login = authority.create_identity(&first)?;
        Ok((authority, login))
    }

    /// Opens an authority.
    ///
    /// # Errors
    ///
    /// When there is none, others than its owner could get at it, or it is damaged.
    pub fn open(directory: &Path, clock: Arc<dyn Clock>) -> Result<Self, AuthorityError> {
        let authority = Self { store: Store::open(directory)?, clock, live: Mutex::default() };
        authority.live()?;
        Ok(authority)
    }

    /// Adds an identity, and returns its login file: the only place where its token will ever be.
    ///
    /// # Errors
    ///
    /// When there is one of that name, or the name cannot be one.
    pub fn create_identity(&self, new: &NewIdentity) -> Result<LoginFile, AuthorityError> {
        self.change(&format!("cannot create identity {}", new.name), |document, live, now| {
            create(document, new)?;
            rotate(document, live, &new.name, now)
        })
    }

    /// Gives an identity a new token, and returns its login file.
    ///
    /// # Errors
    ///
    /// When there is no such identity, or it was revoked.
    pub fn rotate_identity(&self, name: &str) -> Result<LoginFile, AuthorityError> {
        self.change(&format!("cannot rotate identity {name}"), |document, live, now| {
            rotate(document, live, name, now)
        })
    }

    /// Revokes an identity: its tokens and all its certificates count no more, at once.
    ///
    /// # Errors
    ///
    /// When there is no such identity.
    pub fn revoke_identity(&self, name: &str) -> Result<(), AuthorityError> {
        self.change(&format!("cannot revoke identity {name}"), |document, _, now| document.revoke(name, now))
    }

    /// Gives an identity a role.
    ///
    /// # Errors
    ///
    /// When there is no such identity or role, or it has that role already.
    pub fn assign_role(&self, name: &str, role: &str) -> Result<(), AuthorityError> {
        self.change(&format!("cannot give identity {name} the role {role}"), |document, _, _| {
            assign(document, "", role, name).map(drop)
        })
    }

    /// All identities, by name.
    ///
    /// # Errors
    ///
    /// When the authority cannot be read.
    pub fn identities(&self) -> Result<Vec<IdentityInfo>, AuthorityError> {
        let live = self.live()?;
        Ok(live.document.identities.iter().map(|(name, identity)| info(name, identity)).collect())
    }

    /// Puts a new CA in the old one's place; the old one is accepted for `overlap` longer.
    ///
    /// From then on the new one signs. The authority presents its new certificate with a proof by the old CA, so that clients
    /// that know only the old one go on; each gets to know the new one by a new login file.
    ///
    /// # Errors
    ///
    /// During an overlap: three CAs at a time would leave nobody who knows them all.
    pub fn rotate_ca(&self, overlap: SignedDuration) -> Result<Monitor, AuthorityError> {
        let what = "cannot rotate the CA";
        self.change(what, |document, live, now| {
            if let Some(ends) = document.overlap(now) {
                let message = format!("an overlap is under way, until {ends}; `--finish` ends it now");
                return Err(Refusal::new(MocCode::Failed, message));
            }
            let ends = now.checked_add(overlap).map_err(|error| failed(error.to_string()))?;
            let root = next_root(&live.signer, now, document.lifetimes.ca_s).map_err(failed)?;
            document.replace_root(root, ends);
            Ok(())
        })?;
        self.monitor()
    }

    /// Ends an overlap: who knows only the old CA is a stranger from then on. Without one, nothing happens.
    ///
    /// # Errors
    ///
    /// When the authority cannot be read or written.
    pub fn finish_overlap(&self) -> Result<Monitor, AuthorityError> {
        self.change("cannot end the overlap", |document, _, _| {
            document.finish_overlap();
            Ok(())
        })?;
        self.monitor()
    }

    /// Which CAs are accepted.
    ///
    /// # Errors
    ///
    /// When the authority cannot be read.
    pub fn monitor(&self) -> Result<Monitor, AuthorityError> {
        let (live, now) = (self.live()?, self.now());
        Ok(monitor(&live, now))
    }

    /// What it says of itself.
    ///
    /// # Errors
    ///
    /// When the authority cannot be read.
    pub fn info(&self) -> Result<AgentInfo, AuthorityError> {
        let (live, now) = (self.live()?, self.now());
        Ok(agent::info(&live, now))
    }

    /// The roles of those names, or all of them for no name.
    ///
    /// # Errors
    ///
    /// When there is no role of one of those names.
    pub fn roles(&self, names: &[String]) -> Result<Vec<RoleInfo>, AuthorityError> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = roles::wanted(&names);
        let found = found.map_err(|refusal| AuthorityError::refused("cannot list roles", &refusal))?;
        Ok(found.iter().map(roles::shown).collect())
    }

    /// Remembers where it is served, for login files.
    pub(super) fn served_at(&self, port: u16, login_port: u16) -> Result<(), AuthorityError> {
        let live = self.live()?;
        if (live.document.port, live.document.login_port) == (port, login_port) {
            return Ok(());
        }
        self.change("cannot remember the ports", |document, _, _| {
            (document.port, document.login_port) = (port, login_port);
            Ok(())
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The document as it is now, read again if somebody has changed it.
    pub(super) fn live(&self) -> Result<Arc<Live>, AuthorityError> {
        let mut kept = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        // Before reading: should it change in between, it is read once more at the next call.
        let stamp = self.store.stamp()?;
        if let Some((_, live)) = kept.as_ref().filter(|(known, _)| *known == stamp) {
            return Ok(Arc::clone(live));
        }
        let live = Arc::new(self.read()?);
        *kept = Some((stamp, Arc::clone(&live)));
        Ok(live)
    }

    /// Changes the document, or says why not in the owner's words.
    fn change<T>(
        &self,
        what: &str,
        act: impl FnOnce(&mut Document, &Live, Timestamp) -> Result<T, Refusal>,
    ) -> Result<T, AuthorityError> {
        self.alter(act)?.map_err(|refusal| AuthorityError::refused(what, &refusal))
    }

    /// Changes the document: all of it or nothing, and one at a time.
    pub(super) fn alter<T>(
        &self,
        act: impl FnOnce(&mut Document, &Live, Timestamp) -> Result<T, Refusal>,
    ) -> Result<Result<T, Refusal>, AuthorityError> {
        let _lock = self.store.lock()?;
        let live = self.read()?;
        let now = self.now();
        let mut document = live.document.clone();
        document.tidy(now);
        let done = match act(&mut document, &live, now) {
            Ok(done) => done,
            Err(refusal) => return Ok(Err(refusal)),
        };
        // What could not be read again must not be written.
        Live::new(document.clone())
            .map_err(|cause| AuthorityError::new("cannot change the authority", cause))?;
        self.store.write(&document)?;
        Ok(Ok(done))
    }

    fn read(&self) -> Result<Live, AuthorityError> {
        Live::new(self.store.read()?).map_err(|cause| {
            AuthorityError::new("cannot use the authority", cause)
                .remedy("Somebody else has changed it. Nothing was touched; restore it from a copy.")
        })
    }
}

/// Adds an identity to a document.
pub(super) fn create(document: &mut Document, new: &NewIdentity) -> Result<(), Refusal> {
    let token_s = new.token_lasts.map_or(document.lifetimes.token_s, |lasts| lasts.as_secs());
    if token_s <= 0 {
        return Err(Refusal::new(MocCode::InvalidInput, "a token cannot be good for less than a second"));
    }
    let identity = Identity {
        id: new_id().map_err(failed)?,
        client_type: new.client_type,
        location: new.location.clone(),
        token_s,
        revoked: None,
        version: 1,
        tokens: Vec::new(),
    };
    document.create(&new.name, identity)
}

/// Gives an identity a new token, in a login file.
pub(super) fn rotate(
    document: &mut Document,
    live: &Live,
    name: &str,
    now: Timestamp,
) -> Result<LoginFile, Refusal> {
    let token = document.rotate(name, new_id().map_err(failed)?, now)?;
    let claims = Claims {
        name: name.to_owned(),
        jti: token.id,
        iat: token.begins.as_second(),
        exp: token.ends.as_second(),
        iss: document.name.clone(),
    };
    let identity = document.identity(name)?;
    Ok(LoginFile {
        name: name.to_owned(),
        token: live.token_key.sign(&claims).map_err(failed)?,
        roots: live.accepted(now).to_vec(),
        client_type: identity.client_type,
        address: document.hosts.first().map(|host| Address {
            host: host.clone(),
            port: document.port,
            login_port: document.login_port,
        }),
        location: identity.location.clone(),
    })
}

pub(super) fn monitor(live: &Live, now: Timestamp) -> Monitor {
    let status = match live.document.overlap(now) {
        Some(until) => Status::Overlap { until: Some(until) },
        None => Status::Single,
    };
    Monitor { roots: live.accepted(now).to_vec(), status }
}

pub(super) fn info(name: &str, identity: &Identity) -> IdentityInfo {
    let newest = identity.tokens.last();
    IdentityInfo {
        name: name.to_owned(),
        id: newest.map(|token| token.id.clone()).unwrap_or_default(),
        client_type: identity.client_type,
        location: identity.location.clone(),
        revoked: identity.revoked.is_some(),
        token_lasts_s: identity.token_s,
        token_ends: newest.map(|token| token.ends),
    }
}

/// The names and addresses of an authority, as its certificate carries them.
pub(super) fn sans(hosts: &[String]) -> Vec<SubjectAltName> {
    hosts
        .iter()
        .map(|host| match host.parse::<std::net::IpAddr>() {
            Ok(address) => SubjectAltName::ip(address),
            Err(_) => SubjectAltName::dns(host),
        })
        .collect()
}

fn check_settings(settings: &Settings) -> Result<(), String> {
    if settings.hosts.is_empty() {
        return Err("it has no name or address under which it is reached".to_owned());
    }
    for host in &settings.hosts {
        let address = host.parse::<std::net::IpAddr>().is_ok();
        let fits = |character: char| character.is_ascii_alphanumeric() || "-.".contains(character);
        if !address && (host.is_empty() || host.len() > 253 || !host.chars().all(fits)) {
            return Err(format!("{host:?} is neither a DNS name nor an address"));
        }
    }
    let Lifetimes { ca_s, certificate_s, token_s } = settings.lifetimes;
    if [ca_s, certificate_s, token_s].iter().any(|seconds| *seconds <= 0) {
        return Err("nothing can be good for less than a second".to_owned());
    }
    Ok(())
}

fn failed(cause: String) -> Refusal {
    Refusal::new(MocCode::Failed, cause)
}
