//! Certificate extensions, understood or not.

use der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use der::{Decode as _, Encode as _};

use crate::wire::{self, RawExtension};

pub(crate) const SUBJECT_KEY_ID: ObjectIdentifier = const_oid::db::rfc5280::ID_CE_SUBJECT_KEY_IDENTIFIER;
pub(crate) const AUTHORITY_KEY_ID: ObjectIdentifier = const_oid::db::rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER;
pub(crate) const BASIC_CONSTRAINTS: ObjectIdentifier = const_oid::db::rfc5280::ID_CE_BASIC_CONSTRAINTS;
pub(crate) const KEY_USAGE: ObjectIdentifier = const_oid::db::rfc5280::ID_CE_KEY_USAGE;
pub(crate) const EXTENDED_KEY_USAGE: ObjectIdentifier = const_oid::db::rfc5280::ID_CE_EXT_KEY_USAGE;
pub(crate) const SUBJECT_ALT_NAME: ObjectIdentifier = const_oid::db::rfc5280::ID_CE_SUBJECT_ALT_NAME;

/// One extension (RFC 5280 §4.2): its DER, and what every extension has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    // Invariant: `der` is the encoding of the other three fields, in whatever spelling it was read.
    der: Vec<u8>,
    oid: ObjectIdentifier,
    critical: bool,
    value: Vec<u8>,
}

impl Extension {
    /// An extension from its dotted object identifier and the DER of its value.
    ///
    /// # Errors
    ///
    /// When `oid` is not an object identifier.
    pub fn new(oid: &str, criticality: Criticality, value: &[u8]) -> Result<Self, ExtensionError> {
        let oid = ObjectIdentifier::new(oid).map_err(|_| ExtensionError::BadOid(oid.to_owned()))?;
        Self::of(oid, criticality, value).map_err(|source| ExtensionError::Encode(source.to_string()))
    }

    pub(crate) fn of(oid: ObjectIdentifier, criticality: Criticality, value: &[u8]) -> der::Result<Self> {
        let critical = criticality == Criticality::Critical;
        let raw = RawExtension { oid, critical, value: OctetStringRef::new(value)? };
        Ok(Self { der: raw.to_der()?, oid, critical, value: value.to_vec() })
    }

    pub(crate) fn from_any(any: AnyRef<'_>) -> der::Result<Self> {
        let der = any.to_der()?;
        let raw = RawExtension::from_der(&der)?;
        let (oid, critical, value) = (raw.oid, raw.critical, raw.value.as_bytes().to_vec());
        Ok(Self { der, oid, critical, value })
    }

    /// The dotted object identifier.
    pub fn oid(&self) -> String {
        self.oid.to_string()
    }

    pub(crate) fn object_identifier(&self) -> ObjectIdentifier {
        self.oid
    }

    /// Whether a reader that does not know the extension must refuse the certificate.
    pub fn is_critical(&self) -> bool {
        self.critical
    }

    /// The DER inside of the extension's OCTET STRING.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// The whole extension's DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

/// Whether an extension is marked critical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Criticality {
    /// A reader that does not know the extension must refuse.
    Critical,
    /// A reader that does not know the extension may go on.
    Optional,
}

/// The `BasicConstraints` of RFC 5280 §4.2.1.9.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BasicConstraints {
    pub(crate) ca: bool,
    /// How many CA certificates may follow below this one.
    pub(crate) path_len: Option<u8>,
}

impl BasicConstraints {
    pub(crate) fn from_der(der: &[u8]) -> der::Result<Self> {
        let read = x509_cert::ext::pkix::BasicConstraints::from_der(der)?;
        Ok(Self { ca: read.ca, path_len: read.path_len_constraint })
    }

    pub(crate) fn to_extension(self) -> der::Result<Extension> {
        let value =
            x509_cert::ext::pkix::BasicConstraints { ca: self.ca, path_len_constraint: self.path_len };
        Extension::of(BASIC_CONSTRAINTS, Criticality::Critical, &value.to_der()?)
    }
}

/// The subject key identifier's value (RFC 5280 §4.2.1.2): an OCTET STRING.
pub(crate) fn subject_key_id(id: &[u8]) -> der::Result<Extension> {
    let value = wire::tagged(der::Tag::OctetString, id)?;
    // RFC 5280 §4.2.1.2 and §4.2.1.1: conforming CAs mark both key identifiers as non-critical.
    Extension::of(SUBJECT_KEY_ID, Criticality::Optional, &value)
}

/// The authority key identifier with only `keyIdentifier` (RFC 5280 §4.2.1.1).
///
/// Issuer name and serial, which openssl can add, pin one certificate of the CA rather than its key: chains would break
/// when the CA is re-issued with the same key, or when a cross certificate stands in for it.
pub(crate) fn authority_key_id(id: &[u8]) -> der::Result<Extension> {
    let tag = der::Tag::ContextSpecific { constructed: false, number: der::TagNumber(0) };
    Extension::of(AUTHORITY_KEY_ID, Criticality::Optional, &wire::sequence(&[&wire::tagged(tag, id)?])?)
}

pub(crate) fn read_subject_key_id(value: &[u8]) -> der::Result<Vec<u8>> {
    Ok(der::asn1::OctetString::from_der(value)?.as_bytes().to_vec())
}

/// `None` when the extension names its authority in another way than by key.
pub(crate) fn read_authority_key_id(value: &[u8]) -> der::Result<Option<Vec<u8>>> {
    let sequence = AnyRef::try_from(value)?;
    let parts = wire::children(sequence.value())?;
    let wanted = der::Tag::ContextSpecific { constructed: false, number: der::TagNumber(0) };
    Ok(parts.into_iter().find(|part| der::Tagged::tag(part) == wanted).map(|part| part.value().to_vec()))
}

/// Why there is no such extension.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    /// The text is not a dotted object identifier.
    #[error("`{0}` is not an object identifier")]
    BadOid(String),
    /// The encoder refused.
    #[error("extension cannot be encoded: {0}")]
    Encode(String),
}
