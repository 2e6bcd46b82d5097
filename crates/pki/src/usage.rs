//! What a key may be used for, as certificates say it.

use std::collections::BTreeSet;
use std::fmt;

use der::asn1::{BitStringRef, ObjectIdentifier};
use der::{Decode as _, Encode as _};
use serde::{Deserialize, Serialize};

use crate::wire;

/// One bit of the key usage extension (RFC 5280 §4.2.1.3), in the order of the bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KeyUsage {
    /// Signing handshakes and tokens.
    DigitalSignature,
    /// Also called non-repudiation.
    ContentCommitment,
    /// RSA key transport, as TLS up to 1.2 can use it.
    KeyEncipherment,
    /// Encrypting data with the key itself.
    DataEncipherment,
    /// Diffie-Hellman.
    KeyAgreement,
    /// Signing certificates.
    KeyCertSign,
    /// Signing revocation lists.
    CrlSign,
    /// Only encipher, with `KeyAgreement`.
    EncipherOnly,
    /// Only decipher, with `KeyAgreement`.
    DecipherOnly,
}

impl KeyUsage {
    /// Every usage; a usage's place is the number of its bit.
    pub const ALL: [Self; 9] = [
        Self::DigitalSignature,
        Self::ContentCommitment,
        Self::KeyEncipherment,
        Self::DataEncipherment,
        Self::KeyAgreement,
        Self::KeyCertSign,
        Self::CrlSign,
        Self::EncipherOnly,
        Self::DecipherOnly,
    ];

    pub(crate) fn set_from_der(der: &[u8]) -> der::Result<BTreeSet<Self>> {
        let bits = BitStringRef::from_der(der)?;
        Ok(Self::ALL.into_iter().zip(bits.bits()).filter_map(|(usage, set)| set.then_some(usage)).collect())
    }

    /// DER wants trailing zero bits of a named bit list cut off (X.690 §11.2.2).
    pub(crate) fn set_to_der(set: &BTreeSet<Self>) -> der::Result<Vec<u8>> {
        let mut bytes = [0_u8; 2];
        let mut used = 0;
        for (bit, _) in Self::ALL.into_iter().enumerate().filter(|(_, usage)| set.contains(usage)) {
            bytes[bit / 8] |= 0x80 >> (bit % 8);
            used = bit + 1;
        }
        let length = used.div_ceil(8);
        let unused = u8::try_from(length * 8 - used).unwrap_or_default();
        BitStringRef::new(unused, &bytes[..length])?.to_der()
    }
}

impl fmt::Display for KeyUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DigitalSignature => "digitalSignature",
            Self::ContentCommitment => "contentCommitment",
            Self::KeyEncipherment => "keyEncipherment",
            Self::DataEncipherment => "dataEncipherment",
            Self::KeyAgreement => "keyAgreement",
            Self::KeyCertSign => "keyCertSign",
            Self::CrlSign => "cRLSign",
            Self::EncipherOnly => "encipherOnly",
            Self::DecipherOnly => "decipherOnly",
        })
    }
}

/// One purpose of the extended key usage extension (RFC 5280 §4.2.1.12).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ExtendedKeyUsage {
    /// TLS server.
    ServerAuth,
    /// TLS client.
    ClientAuth,
    /// `anyExtendedKeyUsage`.
    Any,
    /// Any other purpose, by its dotted object identifier.
    Other(String),
}

const SERVER_AUTH: ObjectIdentifier = const_oid::db::rfc5280::ID_KP_SERVER_AUTH;
const CLIENT_AUTH: ObjectIdentifier = const_oid::db::rfc5280::ID_KP_CLIENT_AUTH;
const ANY: ObjectIdentifier = const_oid::db::rfc5280::ANY_EXTENDED_KEY_USAGE;

impl ExtendedKeyUsage {
    pub(crate) fn list_from_der(der: &[u8]) -> der::Result<Vec<Self>> {
        Ok(Vec::<ObjectIdentifier>::from_der(der)?.into_iter().map(Self::from).collect())
    }

    pub(crate) fn list_to_der(list: &[Self]) -> der::Result<Vec<u8>> {
        let encoded = list.iter().map(|usage| usage.oid()?.to_der()).collect::<der::Result<Vec<_>>>()?;
        wire::tagged(der::Tag::Sequence, &encoded.concat())
    }

    fn oid(&self) -> der::Result<ObjectIdentifier> {
        Ok(match self {
            Self::ServerAuth => SERVER_AUTH,
            Self::ClientAuth => CLIENT_AUTH,
            Self::Any => ANY,
            Self::Other(dotted) => {
                ObjectIdentifier::new(dotted).map_err(|_| der::ErrorKind::OidMalformed.to_error())?
            }
        })
    }
}

impl From<ObjectIdentifier> for ExtendedKeyUsage {
    fn from(oid: ObjectIdentifier) -> Self {
        match oid {
            SERVER_AUTH => Self::ServerAuth,
            CLIENT_AUTH => Self::ClientAuth,
            ANY => Self::Any,
            other => Self::Other(other.to_string()),
        }
    }
}

impl fmt::Display for ExtendedKeyUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServerAuth => "serverAuth",
            Self::ClientAuth => "clientAuth",
            Self::Any => "anyExtendedKeyUsage",
            Self::Other(dotted) => dotted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_usage_bits_agree_with_openssl() {
        // `openssl asn1parse` of a CA made by AKS engine: digitalSignature, keyEncipherment, keyCertSign.
        let set =
            BTreeSet::from([KeyUsage::DigitalSignature, KeyUsage::KeyEncipherment, KeyUsage::KeyCertSign]);
        assert_eq!(KeyUsage::set_to_der(&set).unwrap(), [3, 2, 2, 0xa4]);
        assert_eq!(KeyUsage::set_from_der(&[3, 2, 2, 0xa4]).unwrap(), set);
    }

    #[test]
    fn every_single_bit_round_trips() {
        for usage in KeyUsage::ALL {
            let set = BTreeSet::from([usage]);
            assert_eq!(KeyUsage::set_from_der(&KeyUsage::set_to_der(&set).unwrap()).unwrap(), set);
        }
        assert_eq!(KeyUsage::set_to_der(&BTreeSet::new()).unwrap(), [3, 1, 0]);
    }

    #[test]
    fn purposes_round_trip_in_order() {
        let list = vec![
            ExtendedKeyUsage::ClientAuth,
            ExtendedKeyUsage::Other("1.2.3.4".into()),
            ExtendedKeyUsage::Any,
        ];
        let der = ExtendedKeyUsage::list_to_der(&list).unwrap();
        assert_eq!(ExtendedKeyUsage::list_from_der(&der).unwrap(), list);
        assert!(ExtendedKeyUsage::list_to_der(&[ExtendedKeyUsage::Other("x".into())]).is_err());
    }
}
