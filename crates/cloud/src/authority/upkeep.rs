//! When what a client has is due to be renewed, and why.
//!
//! A token or a certificate is due once 30 % of its life is left. Besides, it is due where it leads nowhere although its time is
//! not over: a token that another one has followed, roots without the authority's newest CA, a certificate of a CA that is being
//! replaced. So a run that was cut off between the authority and a file is finished by the next one.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use kubecert_pki::Certificate;
use serde::{Serialize, Serializer};

use super::access_file::{AccessFile, RENEW_BELOW_PERCENT};
use super::login_file::LoginFile;

/// Why something is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Somebody wants it.
    Forced,
    /// There is nothing yet.
    Absent,
    /// Its time is over.
    Ended(Timestamp),
    /// Little of its life is left.
    EndsSoon(Timestamp),
    /// It does not say when it ends.
    Endless(String),
    /// The identity was given another token since.
    Superseded,
    /// The authority's newest CA is not among its roots.
    UnknownRoot,
    /// It is of another CA than the authority's newest one, which is being replaced, and ends with that; or was.
    OldCa,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forced => f.write_str("-force was given"),
            Self::Absent => f.write_str("there was none"),
            Self::Ended(at) => write!(f, "it ended at {at}"),
            Self::EndsSoon(at) => {
                write!(f, "it ends at {at}, and {RENEW_BELOW_PERCENT} % of its life or less is left")
            }
            Self::Endless(why) => f.write_str(why),
            Self::Superseded => f.write_str("its identity has another token by now"),
            Self::UnknownRoot => f.write_str("it does not know the authority's newest CA"),
            Self::OldCa => f.write_str("it is not of the authority's newest CA"),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a login file is due; `newest` is the id of its identity's newest token, and `roots` are the authority's, the one that
/// signs first.
pub fn login_due(login: &LoginFile, newest: &str, roots: &[Certificate], now: Timestamp) -> Option<Reason> {
    match login.life() {
        Err(why) => return Some(Reason::Endless(why)),
        // A token is not good any more at its `exp` (RFC 7519 §4.1.4).
        Ok((_, ends)) if now >= ends => return Some(Reason::Ended(ends)),
        Ok((begins, ends)) if little_is_left(begins, ends, now) => return Some(Reason::EndsSoon(ends)),
        Ok(_) => {}
    }
    // An authority that does not say the ids of tokens says nothing about which is the newest.
    if !newest.is_empty() && login.token_id().is_some_and(|id| id != newest) {
        return Some(Reason::Superseded);
    }
    missing(&login.roots, roots).then_some(Reason::UnknownRoot)
}

/// Why an access file is due.
pub fn access_due(access: &AccessFile, roots: &[Certificate], now: Timestamp) -> Option<Reason> {
    server_due(access.certificate(), roots, now)
        .or_else(|| missing(&access.roots, roots).then_some(Reason::UnknownRoot))
}

/// Why a certificate by itself is due.
pub fn server_due(certificate: &Certificate, roots: &[Certificate], now: Timestamp) -> Option<Reason> {
    let (begins, ends) = (certificate.not_before(), certificate.not_after());
    // The last second counts in full (RFC 5280 §4.1.2.5).
    if now.as_second() > ends.as_second() {
        return Some(Reason::Ended(ends));
    }
    if little_is_left(begins, ends, now) {
        return Some(Reason::EndsSoon(ends));
    }
    let of_newest = roots.first().is_none_or(|newest| certificate.signed_by(newest).is_ok());
    (!of_newest).then_some(Reason::OldCa)
}

/// Whether the newest of the authority's CAs is unknown.
fn missing(known: &[Certificate], roots: &[Certificate]) -> bool {
    roots.iter().filter(|root| root.is_ca()).any(|root| !known.contains(root))
}

fn little_is_left(begins: Timestamp, ends: Timestamp, now: Timestamp) -> bool {
    let life = ends.duration_since(begins).as_millis();
    let left = ends.duration_since(now).max(SignedDuration::ZERO).as_millis();
    left * 100 <= life * i128::from(RENEW_BELOW_PERCENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_hundredths_are_little_and_one_second_more_is_not() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (begins, ends) = (at(1_000_000), at(1_001_000));
        assert!(!little_is_left(begins, ends, at(1_000_699)));
        assert!(little_is_left(begins, ends, at(1_000_700)));
        assert!(little_is_left(begins, ends, at(2_000_000)));
        assert!(!little_is_left(begins, ends, at(0)), "a clock far behind finds nothing due");
    }

    #[test]
    fn certificates_are_due_by_time_and_by_their_ca() {
        let begins = Timestamp::from_second(1_800_000_000).unwrap();
        let later = |seconds| begins.checked_add(SignedDuration::from_secs(seconds)).unwrap();
        let root = |name| {
            let root = super::super::live::first_root(name, begins, 1_000_000).unwrap();
            Certificate::from_pem(&root.certificate).unwrap()
        };
        let (own, other) = (root("a"), root("a"));
        let alone = std::slice::from_ref(&own);
        assert_eq!(server_due(&own, &[own.clone(), other.clone()], later(10)), None);
        assert_eq!(server_due(&own, &[other.clone(), own.clone()], later(10)), Some(Reason::OldCa));
        assert_eq!(server_due(&own, alone, later(800_000)), Some(Reason::EndsSoon(own.not_after())));
        assert_eq!(server_due(&own, alone, later(2_000_000)), Some(Reason::Ended(own.not_after())));
        assert!(missing(alone, &[other]) && !missing(alone, alone));
    }
}
