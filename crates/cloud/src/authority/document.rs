//! What an authority keeps, and how it changes. No files and no clock here; `store.rs` has those.

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::code::{MocCode, Refusal};
use super::error::whole_seconds;
use super::login_file::ClientType;

/// The format that this program writes. Who finds a higher one must not touch the file; a field that is added with a default
/// does not raise it.
pub(super) const SCHEMA: u32 = 1;

/// What happens to a token when its identity gets a new one.
///
/// Which of the two the vendor's agents do is not public; both are assumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OldTokens {
    /// Assumed: it is refused at once. The default, since a token is rotated when somebody may have seen it.
    #[default]
    Refused,
    /// Assumed: it is good until its own end.
    UntilTheyEnd,
}

impl fmt::Display for OldTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::UntilTheyEnd => "until-they-end",
        })
    }
}

impl std::str::FromStr for OldTokens {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Refused, Self::UntilTheyEnd]
            .into_iter()
            .find(|one| one.to_string() == text)
            .ok_or_else(|| format!("{text:?} is neither refused nor until-they-end"))
    }
}

/// How long things are good. The defaults are the vendor's documented ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifetimes {
    /// The CA: 365 days.
    pub ca_s: i64,
    /// Client certificates, and the servers' own: 90 days.
    pub certificate_s: i64,
    /// Tokens: 90 days.
    pub token_s: i64,
}

const DAY_S: i64 = 86_400;

impl Default for Lifetimes {
    fn default() -> Self {
        Self { ca_s: 365 * DAY_S, certificate_s: 90 * DAY_S, token_s: 90 * DAY_S }
    }
}

/// Everything.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) schema: u32,
    /// The authority's name, which its CA and its tokens carry.
    pub(super) name: String,
    /// A random id that never changes; those that were made before there were such ids have none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) deployment_id: String,
    /// Under which names and addresses it is reached; the first one stands in login files.
    pub(super) hosts: Vec<String>,
    pub(super) location: String,
    pub(super) port: u16,
    pub(super) login_port: u16,
    pub(super) lifetimes: Lifetimes,
    pub(super) old_tokens: OldTokens,
    /// The one that signs first; during an overlap the old one after it.
    pub(super) roots: Vec<Root>,
    pub(super) overlap_ends: Option<Timestamp>,
    pub(super) token_key: Sealed,
    pub(super) identities: BTreeMap<String, Identity>,
    pub(super) assignments: Vec<Assignment>,
}

/// A CA.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Root {
    /// PEM.
    pub(super) certificate: String,
    /// PEM. An old root has none any more: all that it still had to sign is `by_old` of its successor.
    pub(super) key: Option<Sealed>,
    /// This CA's certificate as signed by the old one, for those who know that one only.
    pub(super) by_old: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    /// Never changes, and stands in its certificates: who has a certificate of a deleted identity is not a new one of the
    /// same name.
    pub(super) id: String,
    pub(super) client_type: ClientType,
    pub(super) location: String,
    pub(super) token_s: i64,
    pub(super) revoked: Option<Timestamp>,
    /// Raised with each change.
    pub(super) version: u64,
    /// The tokens that are good, the newest last.
    pub(super) tokens: Vec<Token>,
}

/// A token that was given out; not the token itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Token {
    pub(super) id: String,
    pub(super) begins: Timestamp,
    pub(super) ends: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Assignment {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) role: String,
    pub(super) identity: String,
}

/// A secret that is written only where a document is stored.
#[derive(Clone)]
pub(super) struct Sealed(pub(super) SecretString);

impl Sealed {
    pub(super) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(..)")
    }
}

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SecretString::deserialize(deserializer).map(Self)
    }
}

impl Document {
    /// Whether two roots are accepted at `now`, and until when. Assumed: an overlap ends by itself at its time.
    pub(super) fn overlap(&self, now: Timestamp) -> Option<Timestamp> {
        self.overlap_ends.filter(|ends| now < *ends && self.roots.len() > 1)
    }

    /// The roots that are accepted at `now`.
    pub(super) fn accepted(&self, now: Timestamp) -> &[Root] {
        let count = if self.overlap(now).is_some() { 2 } else { 1 };
        &self.roots[..count.min(self.roots.len())]
    }

    /// Puts a new CA in front. The old one's key is forgotten.
    pub(super) fn replace_root(&mut self, new: Root, overlap_ends: Timestamp) {
        self.roots.truncate(1);
        for old in &mut self.roots {
            old.key = None;
            old.by_old = None;
        }
        self.roots.insert(0, new);
        self.overlap_ends = Some(overlap_ends);
    }

    /// Drops the old root.
    pub(super) fn finish_overlap(&mut self) {
        self.roots.truncate(1);
        for root in &mut self.roots {
            root.by_old = None;
        }
        self.overlap_ends = None;
    }

    /// Forgets what time has made meaningless.
    pub(super) fn tidy(&mut self, now: Timestamp) {
        if self.overlap_ends.is_some() && self.overlap(now).is_none() {
            self.finish_overlap();
        }
        for identity in self.identities.values_mut() {
            identity.tokens.retain(|token| now < token.ends);
        }
    }

    /// The identity of that name.
    pub(super) fn identity(&self, name: &str) -> Result<&Identity, Refusal> {
        self.identities.get(name).ok_or_else(|| no_identity(name))
    }

    /// Name and record of the identity that a certificate's id is of.
    pub(super) fn by_id(&self, id: &str) -> Result<(&str, &Identity), Refusal> {
        let found = self.identities.iter().find(|(_, identity)| identity.id == id);
        let (name, identity) = found.ok_or_else(|| {
            Refusal::new(MocCode::Revoked, "the identity of the client certificate does not exist any more")
        })?;
        identity.not_revoked(name)?;
        Ok((name, identity))
    }

    /// Adds an identity without a token.
    pub(super) fn create(&mut self, name: &str, identity: Identity) -> Result<(), Refusal> {
        check_name(name)?;
        if self.identities.contains_key(name) {
            let message = format!("there is an identity {name} already");
            return Err(Refusal::new(MocCode::AlreadyExists, message));
        }
        self.identities.insert(name.to_owned(), identity);
        Ok(())
    }

    /// Gives an identity a new token; what becomes of the old one is [`OldTokens`]' matter.
    pub(super) fn rotate(&mut self, name: &str, token_id: String, now: Timestamp) -> Result<Token, Refusal> {
        let old_tokens = self.old_tokens;
        let identity = self.identities.get_mut(name).ok_or_else(|| no_identity(name))?;
        // Assumed: who was revoked does not come back by a new token. Delete the identity, and create it again.
        identity.not_revoked(name)?;
        if old_tokens == OldTokens::Refused {
            identity.tokens.clear();
        }
        let ends = now.checked_add(SignedDuration::from_secs(identity.token_s));
        let ends = ends.map_err(|_| Refusal::new(MocCode::InvalidInput, "the token would never end"))?;
        let token = Token { id: token_id, begins: now, ends };
        identity.tokens.push(token.clone());
        identity.version += 1;
        Ok(token)
    }

    /// Revokes an identity: its tokens and all its certificates. Doing it again changes nothing.
    pub(super) fn revoke(&mut self, name: &str, now: Timestamp) -> Result<(), Refusal> {
        let identity = self.identities.get_mut(name).ok_or_else(|| no_identity(name))?;
        if identity.revoked.is_none() {
            identity.revoked = Some(whole_seconds(now));
            identity.tokens.clear();
            identity.version += 1;
        }
        Ok(())
    }

    /// Deletes an identity and what was assigned to it.
    pub(super) fn delete(&mut self, name: &str) -> Result<(), Refusal> {
        self.identities.remove(name).ok_or_else(|| no_identity(name))?;
        self.assignments.retain(|assignment| assignment.identity != name);
        Ok(())
    }

    /// Whether a token that was signed by us is one of its identity's.
    pub(super) fn accepts(&self, name: &str, token_id: &str) -> Result<&Identity, Refusal> {
        let identity = self.identities.get(name);
        let identity = identity
            .ok_or_else(|| Refusal::token(MocCode::InvalidToken, format!("there is no identity {name}")))?;
        if identity.revoked.is_some() {
            return Err(Refusal::token(MocCode::Revoked, format!("identity {name} was revoked")));
        }
        if !identity.tokens.iter().any(|token| token.id == token_id) {
            let why = format!("identity {name} was given a newer one");
            return Err(Refusal::token(MocCode::Revoked, why));
        }
        Ok(identity)
    }
}

impl Identity {
    pub(super) fn not_revoked(&self, name: &str) -> Result<(), Refusal> {
        match self.revoked {
            None => Ok(()),
            Some(when) => {
                Err(Refusal::new(MocCode::Revoked, format!("identity {name} was revoked at {when}")))
            }
        }
    }
}

/// What a name may be: it stands in a certificate's subject, in file names and on terminals.
pub(super) fn check_name(name: &str) -> Result<(), Refusal> {
    /// RFC 5280's upper bound of a common name.
    const LONGEST: usize = 64;
    let fits = |character: char| character.is_ascii_alphanumeric() || "-._@".contains(character);
    if name.is_empty() || name.len() > LONGEST || !name.chars().all(fits) {
        return Err(Refusal::new(
            MocCode::InvalidInput,
            "a name has 1 to 64 letters, digits and characters of \"-._@\"",
        ));
    }
    Ok(())
}

fn no_identity(name: &str) -> Refusal {
    Refusal::new(MocCode::NotFound, format!("there is no identity {name:?}"))
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
