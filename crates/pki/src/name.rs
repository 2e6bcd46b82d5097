//! Distinguished names, kept byte for byte.

use std::fmt;

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode as _, Encode as _, Sequence, Tag, Tagged as _};
use x509_cert::name::Name;

use crate::wire;

const COMMON_NAME: ObjectIdentifier = const_oid::db::rfc4519::COMMON_NAME;
const ORGANIZATION: ObjectIdentifier = const_oid::db::rfc4519::ORGANIZATION_NAME;

/// A distinguished name (RFC 5280 §4.1.2.4) as raw DER.
///
/// Equality is equality of bytes. That is stricter than RFC 5280 §7.1 (which ignores case and folds blanks) and exactly
/// what Go, rustls and, for names it has canonicalised alike, OpenSSL do when they look for an issuer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DistinguishedName(Vec<u8>);

impl DistinguishedName {
    /// Takes the DER of a `Name`.
    ///
    /// # Errors
    ///
    /// When it is not one SEQUENCE. What is inside is not looked at: odd names must survive.
    pub fn from_der(der: &[u8]) -> Result<Self, NameError> {
        let sequence = AnyRef::try_from(der).map_err(NameError::encode)?;
        match sequence.tag() {
            Tag::Sequence => Ok(Self(der.to_vec())),
            other => Err(NameError::Encode(format!("expected a SEQUENCE, found {other}"))),
        }
    }

    /// The name `CN=<name>`.
    ///
    /// # Errors
    ///
    /// When the name is empty.
    pub fn common_name(name: &str) -> Result<Self, NameError> {
        Self::user(name, &[])
    }

    /// What Kubernetes reads as a user: each group as its own `O=`, then `CN=<user>`, the order of Go's `pkix.Name`.
    ///
    /// Go itself would put several organisations into *one* multi-valued RDN; one RDN each means the same to every
    /// reader and is what openssl can write too.
    ///
    /// # Errors
    ///
    /// When user or a group is empty.
    pub fn user(user: &str, groups: &[&str]) -> Result<Self, NameError> {
        let parts = groups.iter().map(|group| (ORGANIZATION, *group)).chain([(COMMON_NAME, user)]);
        let rdns = parts.map(|(oid, text)| rdn(oid, Tag::Utf8String, text)).collect::<Result<Vec<_>, _>>()?;
        wire::tagged(Tag::Sequence, &rdns.concat()).map(Self).map_err(NameError::encode)
    }

    /// The DER of the `Name`.
    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// The text of the last common name, which is the one Kubernetes takes as the user.
    pub fn last_common_name(&self) -> Option<String> {
        self.values(COMMON_NAME).pop()
    }

    /// The texts of all organisations in order, which Kubernetes takes as groups.
    pub fn organizations(&self) -> Vec<String> {
        self.values(ORGANIZATION)
    }

    fn values(&self, oid: ObjectIdentifier) -> Vec<String> {
        let attributes = attributes(&self.0).unwrap_or_default();
        attributes.iter().filter(|found| found.oid == oid).filter_map(|found| text(found.value)).collect()
    }

    pub(crate) fn from_any(any: AnyRef<'_>) -> der::Result<Self> {
        any.tag().assert_eq(Tag::Sequence)?;
        any.to_der().map(Self)
    }
}

/// The string form of RFC 4514: most specific part first, `+` within multi-valued parts. A name that cannot be taken
/// apart is shown as `#` and hexadecimal DER.
impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Name::from_der(&self.0) {
            Ok(name) => name.fmt(f),
            Err(_) => write!(f, "#{}", hex::encode(&self.0)),
        }
    }
}

impl fmt::Debug for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DistinguishedName({self})")
    }
}

/// The name for the CA that follows `old`: the last common name gets the next generation's suffix, `ca` becomes
/// `ca-g2`, `ca-g2` becomes `ca-g3`. Everything else stays byte for byte, the string's type included.
///
/// The new CA must not share its name with the old one. AKS engine's CA has neither rivals nor, in old clusters, a key
/// identifier; with two roots of one name and RSA keys in a bundle, OpenSSL then takes whichever comes *first* and fails
/// on the signature. A cross certificate whose issuer equals its subject looks self-signed and is ignored. And servers
/// announce the client CAs they trust by name only, so that a probe from outside could not tell old from new.
///
/// # Errors
///
/// When there is no common name, or it is in a string type that cannot take the suffix (BMPString), or the generation
/// is beyond counting.
pub fn next_ca_subject(old: &DistinguishedName) -> Result<DistinguishedName, NameError> {
    let mut rdns = Vec::new();
    let mut done = false;
    let outer = AnyRef::try_from(old.der()).map_err(NameError::encode)?;
    for set in wire::children(outer.value()).map_err(NameError::encode)?.into_iter().rev() {
        let mut members = Vec::new();
        for member in wire::children(set.value()).map_err(NameError::encode)?.into_iter().rev() {
            let attribute: Attribute<'_> = member.decode_as().map_err(NameError::encode)?;
            let take = !done && attribute.oid == COMMON_NAME;
            members.push(match take {
                true => next_common_name(&attribute)?,
                false => member.to_der().map_err(NameError::encode)?,
            });
            done |= take;
        }
        // X.690 §11.6: the elements of a SET OF stand in the order of their encodings.
        members.sort();
        rdns.push(wire::tagged(set.tag(), &members.concat()).map_err(NameError::encode)?);
    }
    if !done {
        return Err(NameError::NoCommonName(old.to_string()));
    }
    rdns.reverse();
    wire::tagged(Tag::Sequence, &rdns.concat()).map(DistinguishedName).map_err(NameError::encode)
}

/// Which generation a CA's name says it is: `ca-g3` is 3, and a name without such a suffix is 1.
pub fn ca_generation(name: &DistinguishedName) -> u32 {
    name.last_common_name().map_or(1, |name| split_generation(&name).1)
}

fn next_common_name(attribute: &Attribute<'_>) -> Result<Vec<u8>, NameError> {
    let tag = attribute.value.tag();
    let old = text(attribute.value).ok_or_else(|| NameError::StringType(tag.to_string()))?;
    let (base, generation) = split_generation(&old);
    let next =
        generation.checked_add(1).ok_or_else(|| NameError::Encode(format!("`{old}` has no successor")))?;
    let value = wire::tagged(tag, format!("{base}-g{next}").as_bytes()).map_err(NameError::encode)?;
    wire::sequence(&[&COMMON_NAME.to_der().map_err(NameError::encode)?, &value]).map_err(NameError::encode)
}

/// `ca-g10` is `ca` and 10; only numbers from 2 without leading zeros are suffixes of ours.
fn split_generation(name: &str) -> (&str, u32) {
    let split = name.rsplit_once("-g").and_then(|(base, digits)| {
        let ours =
            !base.is_empty() && !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.parse().ok().filter(|number| *number >= 2)?;
        ours.then_some((base, number))
    });
    split.unwrap_or((name, 1))
}

#[derive(Clone, Debug, Sequence)]
struct Attribute<'a> {
    oid: ObjectIdentifier,
    value: AnyRef<'a>,
}

fn attributes(name: &[u8]) -> der::Result<Vec<Attribute<'_>>> {
    let mut found = Vec::new();
    for set in wire::children(AnyRef::try_from(name)?.value())? {
        for member in wire::children(set.value())? {
            found.push(member.decode_as()?);
        }
    }
    Ok(found)
}

/// The text of a string whose encoding is a superset of ASCII.
fn text(value: AnyRef<'_>) -> Option<String> {
    let readable =
        matches!(value.tag(), Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::TeletexString);
    readable.then(|| std::str::from_utf8(value.value()).ok().map(str::to_owned)).flatten()
}

fn rdn(oid: ObjectIdentifier, tag: Tag, text: &str) -> Result<Vec<u8>, NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    let attribute = Attribute { oid, value: AnyRef::new(tag, text.as_bytes()).map_err(NameError::encode)? };
    let member = attribute.to_der().map_err(NameError::encode)?;
    wire::tagged(Tag::Set, &member).map_err(NameError::encode)
}

/// Why there is no such name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A part of a name must not be empty.
    #[error("part of a distinguished name is empty")]
    Empty,
    /// A CA without a common name cannot be renamed by it.
    #[error("name `{0}` has no common name to derive the next one from")]
    NoCommonName(String),
    /// The common name is in a string type that is not a superset of ASCII.
    #[error("common name is a {0}, which cannot take a suffix")]
    StringType(String),
    /// The bytes are not a name, or cannot be encoded.
    #[error("distinguished name is malformed: {0}")]
    Encode(String),
}

impl NameError {
    fn encode(source: der::Error) -> Self {
        Self::Encode(source.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;

    fn name(text: &str) -> DistinguishedName {
        DistinguishedName(Name::from_str(text).unwrap().to_der().unwrap())
    }

    #[test]
    fn users_and_groups_are_read_back() {
        let name = DistinguishedName::user("system:node:a", &["system:nodes", "ops"]).unwrap();
        assert_eq!(name.to_string(), "CN=system:node:a,O=ops,O=system:nodes");
        assert_eq!(name.organizations(), ["system:nodes", "ops"]);
        assert_eq!(name.last_common_name().as_deref(), Some("system:node:a"));
        assert_eq!(DistinguishedName::user("", &[]), Err(NameError::Empty));
    }

    #[test]
    fn generations_count_on() {
        for (old, new) in [
            ("CN=ca", "CN=ca-g2"),
            ("CN=ca-g2", "CN=ca-g3"),
            ("CN=ca-g9", "CN=ca-g10"),
            ("CN=ca-g1", "CN=ca-g1-g2"),
            ("CN=ca-g02", "CN=ca-g02-g2"),
            ("CN=-g2", "CN=-g2-g2"),
            ("CN=kubernetes,O=a+O=b", "CN=kubernetes-g2,O=a+O=b"),
            ("CN=last,OU=x,CN=first", "CN=last-g2,OU=x,CN=first"),
            ("O=x+CN=ca", "CN=ca-g2+O=x"),
        ] {
            let next = next_ca_subject(&name(old)).unwrap();
            assert_eq!(next, name(new), "{old} became {next}");
            assert_eq!(ca_generation(&next), ca_generation(&name(old)) + 1);
        }
    }

    #[test]
    fn names_without_a_common_name_have_no_successor() {
        assert_eq!(next_ca_subject(&name("O=x")), Err(NameError::NoCommonName("O=x".into())));
        assert!(next_ca_subject(&name("CN=ca-g4294967295")).is_err());
    }

    #[test]
    fn odd_names_are_shown_as_hex() {
        let odd = DistinguishedName::from_der(&[0x30, 2, 5, 0]).unwrap();
        assert_eq!(odd.to_string(), "#30020500");
        assert!(DistinguishedName::from_der(&[5, 0]).is_err());
    }
}
