//! The outer structure of certificates, requests and keys, with every part we do not change left as raw DER.
//!
//! `x509-cert` decodes and encodes these structures too, but its certificate type cannot be taken apart and put
//! together again (its fields are private), it refuses long or negative serials in the default profile, and it sorts
//! or rejects sets that are out of order. Real clusters hold such certificates. [`AnyRef`] keeps tag and contents as
//! they are, so a part that goes in comes out byte for byte.

use der::asn1::{AnyRef, BitStringRef, OctetStringRef};
use der::{Decode as _, Encode as _, Reader as _, Sequence};

/// `Certificate` of RFC 5280 §4.1.
#[derive(Clone, Debug, Sequence)]
pub(crate) struct RawCertificate<'a> {
    pub(crate) tbs: AnyRef<'a>,
    pub(crate) signature_algorithm: AnyRef<'a>,
    pub(crate) signature: BitStringRef<'a>,
}

/// `TBSCertificate` of RFC 5280 §4.1. `version` is 0 for v1, 2 for v3.
#[derive(Clone, Debug, Sequence)]
pub(crate) struct RawTbs<'a> {
    #[asn1(context_specific = "0", default = "Default::default")]
    pub(crate) version: u8,
    pub(crate) serial: AnyRef<'a>,
    pub(crate) signature_algorithm: AnyRef<'a>,
    pub(crate) issuer: AnyRef<'a>,
    pub(crate) validity: AnyRef<'a>,
    pub(crate) subject: AnyRef<'a>,
    pub(crate) public_key: AnyRef<'a>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    pub(crate) issuer_unique_id: Option<BitStringRef<'a>>,
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT", optional = "true")]
    pub(crate) subject_unique_id: Option<BitStringRef<'a>>,
    #[asn1(context_specific = "3", optional = "true")]
    pub(crate) extensions: Option<Vec<AnyRef<'a>>>,
}

/// `Extension` of RFC 5280 §4.1.
#[derive(Clone, Debug, Sequence)]
pub(crate) struct RawExtension<'a> {
    pub(crate) oid: der::asn1::ObjectIdentifier,
    #[asn1(default = "Default::default")]
    pub(crate) critical: bool,
    pub(crate) value: &'a OctetStringRef,
}

/// `SubjectPublicKeyInfo` of RFC 5280 §4.1.
#[derive(Clone, Debug, Sequence)]
pub(crate) struct RawPublicKey<'a> {
    pub(crate) algorithm: RawAlgorithm<'a>,
    pub(crate) key: BitStringRef<'a>,
}

/// `AlgorithmIdentifier` of RFC 5280 §4.1.1.2.
#[derive(Clone, Debug, Sequence)]
pub(crate) struct RawAlgorithm<'a> {
    pub(crate) oid: der::asn1::ObjectIdentifier,
    #[asn1(optional = "true")]
    pub(crate) parameters: Option<AnyRef<'a>>,
}

/// `CertificationRequest` of RFC 2986 §4.2.
#[derive(Clone, Debug, Sequence)]
pub(crate) struct RawRequest<'a> {
    pub(crate) info: AnyRef<'a>,
    pub(crate) signature_algorithm: AnyRef<'a>,
    pub(crate) signature: BitStringRef<'a>,
}

/// `CertificationRequestInfo` of RFC 2986 §4.1. Old tools leave out the empty attributes, which the RFC does not allow.
#[derive(Clone, Debug, Sequence)]
pub(crate) struct RawRequestInfo<'a> {
    pub(crate) version: u8,
    pub(crate) subject: AnyRef<'a>,
    pub(crate) public_key: AnyRef<'a>,
    /// `[0] IMPLICIT SET OF Attribute`, tag included.
    #[asn1(optional = "true")]
    pub(crate) attributes: Option<AnyRef<'a>>,
}

/// `Attribute` of RFC 2986 §4.1.
#[derive(Clone, Debug, Sequence)]
pub(crate) struct RawAttribute<'a> {
    pub(crate) oid: der::asn1::ObjectIdentifier,
    pub(crate) values: AnyRef<'a>,
}

/// The elements of a constructed value, whatever their order and tags.
///
/// # Errors
///
/// When the contents are not a row of DER values.
pub(crate) fn children(contents: &[u8]) -> der::Result<Vec<AnyRef<'_>>> {
    let mut reader = der::SliceReader::new(contents)?;
    let mut found = Vec::new();
    while !reader.is_finished() {
        found.push(AnyRef::decode(&mut reader)?);
    }
    Ok(found)
}

/// Puts DER values, each complete with its own tag, into one SEQUENCE.
///
/// # Errors
///
/// Only when the result would exceed DER's length limit.
pub(crate) fn sequence(parts: &[&[u8]]) -> der::Result<Vec<u8>> {
    tagged(der::Tag::Sequence, &parts.concat())
}

/// Puts a tag and a length before `contents`.
///
/// # Errors
///
/// Only when the result would exceed DER's length limit.
pub(crate) fn tagged(tag: der::Tag, contents: &[u8]) -> der::Result<Vec<u8>> {
    AnyRef::new(tag, contents)?.to_der()
}

/// The signed structure `SEQUENCE { body, algorithm, BIT STRING }` that certificates and requests share.
///
/// # Errors
///
/// Only when the result would exceed DER's length limit.
pub(crate) fn signed(body: &[u8], algorithm: &[u8], signature: &[u8]) -> der::Result<Vec<u8>> {
    sequence(&[body, algorithm, &BitStringRef::from_bytes(signature)?.to_der()?])
}
