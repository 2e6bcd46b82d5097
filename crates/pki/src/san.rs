//! Subject alternative names.

use std::fmt;
use std::net::IpAddr;

use der::asn1::AnyRef;
use der::{Class, Encode as _, Tag, TagNumber, Tagged as _};
use serde::{Deserialize, Serialize};

use crate::wire;

/// One name of the subject alternative name extension (RFC 5280 §4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SubjectAltName {
    /// A DNS name, possibly with a wildcard.
    Dns(String),
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// A mail address.
    Email(String),
    /// A URI, for example a SPIFFE identity.
    Uri(String),
    /// Anything else, or one of the above that is malformed: the whole `GeneralName` as hexadecimal DER.
    Other(String),
}

const EMAIL: u32 = 1;
const DNS: u32 = 2;
const URI: u32 = 6;
const IP: u32 = 7;

impl SubjectAltName {
    /// A DNS name.
    pub fn dns(name: impl Into<String>) -> Self {
        Self::Dns(name.into())
    }

    /// An IP address.
    pub fn ip(address: impl Into<IpAddr>) -> Self {
        Self::Ip(address.into())
    }

    pub(crate) fn list_from_der(der: &[u8]) -> der::Result<Vec<Self>> {
        let sequence = AnyRef::try_from(der)?;
        sequence.tag().assert_eq(Tag::Sequence)?;
        Ok(wire::children(sequence.value())?.into_iter().map(Self::from_general_name).collect())
    }

    pub(crate) fn list_to_der(list: &[Self]) -> Result<Vec<u8>, SanError> {
        let names = list.iter().map(Self::to_general_name).collect::<Result<Vec<_>, _>>()?;
        wire::tagged(Tag::Sequence, &names.concat()).map_err(|source| SanError::Encode(source.to_string()))
    }

    fn from_general_name(name: AnyRef<'_>) -> Self {
        let text =
            || std::str::from_utf8(name.value()).ok().filter(|text| text.is_ascii()).map(str::to_owned);
        let tag = name.tag();
        let known = match (tag.class(), tag.number().value()) {
            (Class::ContextSpecific, EMAIL) => text().map(Self::Email),
            (Class::ContextSpecific, DNS) => text().map(Self::Dns),
            (Class::ContextSpecific, URI) => text().map(Self::Uri),
            (Class::ContextSpecific, IP) => address(name.value()).map(Self::Ip),
            _ => None,
        };
        known.unwrap_or_else(|| Self::Other(hex::encode(name.to_der().unwrap_or_default())))
    }

    fn to_general_name(&self) -> Result<Vec<u8>, SanError> {
        let encode = |number: u32, contents: &[u8]| {
            let tag = Tag::ContextSpecific { constructed: false, number: TagNumber(number) };
            wire::tagged(tag, contents).map_err(|source| SanError::Encode(source.to_string()))
        };
        let text = |number: u32, text: &str| match text.is_ascii() && !text.is_empty() {
            true => encode(number, text.as_bytes()),
            false => Err(SanError::NotAscii(text.to_owned())),
        };
        match self {
            Self::Email(mail) => text(EMAIL, mail),
            Self::Dns(name) => text(DNS, name),
            Self::Uri(uri) => text(URI, uri),
            Self::Ip(IpAddr::V4(address)) => encode(IP, &address.octets()),
            Self::Ip(IpAddr::V6(address)) => encode(IP, &address.octets()),
            Self::Other(der) => {
                let bytes = hex::decode(der).ok().filter(|bytes| AnyRef::try_from(bytes.as_slice()).is_ok());
                bytes.ok_or_else(|| SanError::Encode(format!("`{der}` is not hexadecimal DER")))
            }
        }
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(octets).ok().map(IpAddr::from))
}

/// As `openssl x509 -text` prints names: `DNS:localhost`, `IP Address:127.0.0.1`, `email:`, `URI:`.
impl fmt::Display for SubjectAltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "DNS:{name}"),
            Self::Ip(address) => write!(f, "IP Address:{address}"),
            Self::Email(mail) => write!(f, "email:{mail}"),
            Self::Uri(uri) => write!(f, "URI:{uri}"),
            Self::Other(der) => write!(f, "other:{der}"),
        }
    }
}

/// Why a name cannot be put into a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SanError {
    /// Names are IA5 strings; international names must be in their ASCII form first.
    #[error("subject alternative name `{0}` is empty or not ASCII")]
    NotAscii(String),
    /// The encoder refused.
    #[error("subject alternative name cannot be encoded: {0}")]
    Encode(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_round_trips_in_order() {
        let list = vec![
            SubjectAltName::dns("kubernetes.default.svc"),
            SubjectAltName::ip([10, 0, 0, 1]),
            SubjectAltName::Email("a@example.com".into()),
            SubjectAltName::ip(std::net::Ipv6Addr::LOCALHOST),
            SubjectAltName::Uri("spiffe://cluster.local/ns/a".into()),
        ];
        let der = SubjectAltName::list_to_der(&list).unwrap();
        assert_eq!(SubjectAltName::list_from_der(&der).unwrap(), list);
    }

    #[test]
    fn what_is_odd_is_kept() {
        let odd = hex::decode("30058703010203").unwrap();
        let names = SubjectAltName::list_from_der(&odd).unwrap();
        assert_eq!(names, [SubjectAltName::Other("8703010203".into())]);
        assert_eq!(SubjectAltName::list_to_der(&names).unwrap(), odd);
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let umlaut = [SubjectAltName::dns("bücher.example")];
        assert_eq!(SubjectAltName::list_to_der(&umlaut), Err(SanError::NotAscii("bücher.example".into())));
        assert!(SubjectAltName::list_to_der(&[SubjectAltName::Other("zz".into())]).is_err());
    }
}
