//! Certificates as they are found.

use std::collections::BTreeSet;
use std::fmt;

use der::{Decode as _, Encode as _};
use jiff::Timestamp;

use crate::extension::{self, BasicConstraints, Extension};
use crate::fingerprint::Fingerprint;
use crate::name::DistinguishedName;
use crate::pem::{self, PemError};
use crate::public_key::{KeyId, PublicKey, PublicKeyKind, SignatureError};
use crate::san::SubjectAltName;
use crate::usage::{ExtendedKeyUsage, KeyUsage};
use crate::validity::{Validity, ValidityError};
use crate::wire::{RawCertificate, RawTbs};

/// An X.509 certificate: its DER and what we read from it. Two certificates are equal when their DER is.
///
/// Reading is lenient where looking at a cluster must not fail: version 1, serials that are long, negative or zero,
/// names in odd encodings, extensions that are unknown or malformed (see [`Certificate::malformed_extensions`]).
#[derive(Clone)]
pub struct Certificate {
    der: Vec<u8>,
    tbs: Vec<u8>,
    signature_algorithm: Vec<u8>,
    signature: Vec<u8>,
    version: Version,
    serial: Vec<u8>,
    issuer: DistinguishedName,
    subject: DistinguishedName,
    not_before: Timestamp,
    not_after: Timestamp,
    public_key: PublicKey,
    extensions: Vec<Extension>,
    facts: Facts,
}

/// The standard extensions, as far as they are present and well-formed.
#[derive(Clone, Debug, Default)]
struct Facts {
    sans: Vec<SubjectAltName>,
    key_usage: Option<BTreeSet<KeyUsage>>,
    extended_key_usage: Option<Vec<ExtendedKeyUsage>>,
    basic_constraints: Option<BasicConstraints>,
    subject_key_id: Option<KeyId>,
    authority_key_id: Option<KeyId>,
    malformed: Vec<String>,
}

impl Certificate {
    /// Reads DER.
    ///
    /// # Errors
    ///
    /// [`CertificateError::Unparsed`] with the fingerprint, so that an inventory can still tell this certificate from
    /// others.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let unparsed =
            |detail: String| CertificateError::Unparsed { fingerprint: Fingerprint::of(der), detail };
        Self::read(der).map_err(|source| unparsed(source.to_string()))
    }

    /// Reads the first certificate of a PEM text.
    ///
    /// # Errors
    ///
    /// When there is none, or the first one cannot be read.
    pub fn from_pem(text: impl AsRef<[u8]>) -> Result<Self, CertificateError> {
        read_pem_certificates(text).into_iter().next().ok_or(CertificateError::NoCertificate)?
    }

    fn read(der: &[u8]) -> der::Result<Self> {
        let raw = RawCertificate::from_der(der)?;
        let tbs = raw.tbs.to_der()?;
        let body = RawTbs::from_der(&tbs)?;
        let (not_before, not_after) = Validity::from_der(body.validity)?;
        let public_key = body.public_key.to_der()?;
        let extensions = body
            .extensions
            .into_iter()
            .flatten()
            .map(Extension::from_any)
            .collect::<der::Result<Vec<_>>>()?;
        Ok(Self {
            signature_algorithm: raw.signature_algorithm.value().to_vec(),
            signature: raw.signature.raw_bytes().to_vec(),
            version: Version::from_raw(body.version)?,
            serial: body.serial.value().to_vec(),
            issuer: DistinguishedName::from_any(body.issuer)?,
            subject: DistinguishedName::from_any(body.subject)?,
            not_before,
            not_after,
            public_key: PublicKey::from_der(&public_key).map_err(|_| der::ErrorKind::Failed.to_error())?,
            facts: Facts::read(&extensions),
            extensions,
            der: der.to_vec(),
            tbs,
        })
    }

    /// The DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// One PEM block, 64 columns, ending with a newline.
    pub fn to_pem(&self) -> String {
        // The encoder fails only beyond the sizes that the decoder has accepted.
        pem::encode("CERTIFICATE", &self.der).unwrap_or_default()
    }

    /// SHA-256 of the DER.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }

    /// The X.509 version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whom the certificate is for.
    pub fn subject(&self) -> &DistinguishedName {
        &self.subject
    }

    /// Who signed it.
    pub fn issuer(&self) -> &DistinguishedName {
        &self.issuer
    }

    /// The contents of the serial number's INTEGER, as they are: big-endian, two's complement.
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// The serial number as lower-case hexadecimal, without the leading zero octet that only keeps it positive.
    pub fn serial_hex(&self) -> String {
        match self.serial.as_slice() {
            [0, rest @ ..] if !rest.is_empty() => hex::encode(rest),
            all => hex::encode(all),
        }
    }

    /// The first second in which the certificate counts.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// The last second in which the certificate counts; [`Timestamp::MAX`] for "no end" (RFC 5280 §4.1.2.5).
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Both ends of the validity.
    ///
    /// # Errors
    ///
    /// When the end is not after the beginning.
    pub fn validity(&self) -> Result<Validity, ValidityError> {
        Validity::new(self.not_before, self.not_after)
    }

    /// The subject alternative names in order; empty when there are none.
    pub fn sans(&self) -> &[SubjectAltName] {
        &self.facts.sans
    }

    /// The key usage; `None` when the extension is absent, which means "anything".
    pub fn key_usage(&self) -> Option<&BTreeSet<KeyUsage>> {
        self.facts.key_usage.as_ref()
    }

    /// The purposes in order; `None` when the extension is absent, which means "anything".
    pub fn extended_key_usage(&self) -> Option<&[ExtendedKeyUsage]> {
        self.facts.extended_key_usage.as_deref()
    }

    /// Whether the basic constraints say CA:TRUE. Version 1 roots say nothing; see [`Issuer::new`](crate::Issuer::new).
    pub fn is_ca(&self) -> bool {
        self.facts.basic_constraints.is_some_and(|constraints| constraints.ca)
    }

    /// How many CA certificates may stand between this CA and a leaf; `None` when that is not limited.
    pub fn path_len(&self) -> Option<u8> {
        self.facts.basic_constraints.and_then(|constraints| constraints.path_len)
    }

    /// The subject key identifier (SKI).
    pub fn ski(&self) -> Option<&KeyId> {
        self.facts.subject_key_id.as_ref()
    }

    /// The authority key identifier (AKI), when it is given by key.
    pub fn aki(&self) -> Option<&KeyId> {
        self.facts.authority_key_id.as_ref()
    }

    /// What leaves of this CA carry as AKI: its SKI, or [`PublicKey::derived_key_id`] when it has none.
    pub fn key_id(&self) -> KeyId {
        self.ski().cloned().unwrap_or_else(|| self.public_key.derived_key_id())
    }

    /// The public key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Kind and size of the public key.
    pub fn key_algorithm(&self) -> &PublicKeyKind {
        self.public_key.kind()
    }

    /// All extensions in order.
    pub fn extensions(&self) -> &[Extension] {
        &self.extensions
    }

    /// The object identifiers of standard extensions that are there but could not be read, and count as absent.
    pub fn malformed_extensions(&self) -> &[String] {
        &self.facts.malformed
    }

    /// Whether subject and issuer agree and the certificate's own key made the signature.
    ///
    /// A signature by an algorithm that we do not support counts as its own: names are all there is to go by.
    pub fn is_self_signed(&self) -> bool {
        !matches!(self.signed_by(self), Err(SignatureError::OtherIssuer { .. } | SignatureError::Mismatch))
    }

    /// Checks that `issuer` has the issuer's name and that its key made the signature; validity is not looked at.
    ///
    /// # Errors
    ///
    /// Says whether name or signature is wrong, or the signature's algorithm is not supported.
    pub fn signed_by(&self, issuer: &Certificate) -> Result<(), SignatureError> {
        if self.issuer != issuer.subject {
            let (issuer, subject) = (self.issuer.to_string(), issuer.subject.to_string());
            return Err(SignatureError::OtherIssuer { issuer, subject });
        }
        issuer.public_key.verify(&self.signature_algorithm, &self.tbs, &self.signature)
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} by {}, {})", self.subject, self.issuer, self.fingerprint())
    }
}

impl Facts {
    fn read(extensions: &[Extension]) -> Self {
        let mut facts = Self::default();
        for extension in extensions {
            if facts.read_one(extension).is_err() {
                facts.malformed.push(extension.oid());
            }
        }
        facts
    }

    fn read_one(&mut self, extension: &Extension) -> der::Result<()> {
        let value = extension.value();
        match extension.object_identifier() {
            extension::SUBJECT_ALT_NAME => self.sans = SubjectAltName::list_from_der(value)?,
            extension::KEY_USAGE => self.key_usage = Some(KeyUsage::set_from_der(value)?),
            extension::EXTENDED_KEY_USAGE => {
                self.extended_key_usage = Some(ExtendedKeyUsage::list_from_der(value)?)
            }
            extension::BASIC_CONSTRAINTS => self.basic_constraints = Some(BasicConstraints::from_der(value)?),
            extension::SUBJECT_KEY_ID => {
                self.subject_key_id = Some(KeyId(extension::read_subject_key_id(value)?));
            }
            extension::AUTHORITY_KEY_ID => {
                self.authority_key_id = extension::read_authority_key_id(value)?.map(KeyId);
            }
            _ => {}
        }
        Ok(())
    }
}

/// All certificates of a PEM text, in order; blocks of other kinds (keys) are skipped.
///
/// # Errors
///
/// When there is none, or one of them cannot be read. See [`read_pem_certificates`] for going on regardless.
pub fn parse_pem_certificates(text: impl AsRef<[u8]>) -> Result<Vec<Certificate>, CertificateError> {
    let found = read_pem_certificates(text).into_iter().collect::<Result<Vec<_>, _>>()?;
    if found.is_empty() { Err(CertificateError::NoCertificate) } else { Ok(found) }
}

/// All certificates of a PEM text, in order, each read or not: for looking at what there is.
pub fn read_pem_certificates(text: impl AsRef<[u8]>) -> Vec<Result<Certificate, CertificateError>> {
    let blocks = pem::blocks(text.as_ref()).into_iter();
    let wanted = |label: &str| matches!(label, "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE");
    let certificates = blocks.filter(|block| match block {
        Ok(block) => wanted(&block.label),
        Err(
            PemError::Unterminated { label }
            | PemError::Base64 { label, .. }
            | PemError::Encode { label, .. },
        ) => wanted(label),
    });
    certificates.map(|block| Certificate::from_der(&block?.contents)).collect()
}

/// The PEM blocks of the given certificates one after another: a chain (leaf first, then the cross certificate) or a
/// bundle of roots.
pub fn to_pem_chain<'a>(certificates: impl IntoIterator<Item = &'a Certificate>) -> String {
    certificates.into_iter().map(Certificate::to_pem).collect()
}

/// The version of a certificate's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// No extensions. `openssl x509 -req` makes these by default, and rustls refuses them.
    V1,
    /// Hardly ever seen.
    V2,
    /// With extensions.
    V3,
}

impl Version {
    fn from_raw(raw: u8) -> der::Result<Self> {
        match raw {
            0 => Ok(Self::V1),
            1 => Ok(Self::V2),
            2 => Ok(Self::V3),
            _ => Err(der::ErrorKind::Value { tag: der::Tag::Integer }.to_error()),
        }
    }
}

/// Why there is no certificate to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The text holds no certificate.
    #[error("no certificate in the PEM text")]
    NoCertificate,
    /// A block is not PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The bytes are not a certificate that we can read; all we know of it is its fingerprint.
    #[error("certificate with SHA-256 {fingerprint} cannot be read: {detail}")]
    Unparsed {
        /// The fingerprint of the bytes as they are.
        fingerprint: Fingerprint,
        /// The decoder's words.
        detail: String,
    },
}
