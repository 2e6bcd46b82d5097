//! Issuing certificates.

use der::Encode as _;

use crate::algorithm::KeyAlgorithm;
use crate::certificate::{Certificate, CertificateError, Version};
use crate::extension::{self, Extension};
use crate::key::{KeyError, PrivateKey};
use crate::name::DistinguishedName;
use crate::public_key::{KeyId, PublicKey};
use crate::serial::Serial;
use crate::template::{Template, TemplateError};
use crate::usage::KeyUsage;
use crate::validity::{Validity, ValidityError};
use crate::wire;

/// A CA that can sign: a certificate together with its key.
#[derive(Clone, Debug)]
pub struct Issuer {
    // Invariant: `key` is the certificate's, and the certificate may sign others; kept by `new`.
    certificate: Certificate,
    key: PrivateKey,
}

impl Issuer {
    /// Puts certificate and key together.
    ///
    /// A self-signed version 1 certificate counts as a CA, as it does for OpenSSL and Go when it is a root.
    ///
    /// # Errors
    ///
    /// When the key is another's, or the certificate is not a CA's.
    pub fn new(certificate: Certificate, key: PrivateKey) -> Result<Self, IssuerError> {
        let subject = || certificate.subject().to_string();
        if !key.matches(&certificate) {
            return Err(IssuerError::OtherKey { subject: subject() });
        }
        let old_root = certificate.version() == Version::V1 && certificate.is_self_signed();
        if !certificate.is_ca() && !old_root {
            return Err(IssuerError::NotACa { subject: subject() });
        }
        if certificate.key_usage().is_some_and(|usage| !usage.contains(&KeyUsage::KeyCertSign)) {
            return Err(IssuerError::MayNotSign { subject: subject() });
        }
        Ok(Self { certificate, key })
    }

    /// The CA's certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The CA's private key.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }
}

/// Issues a certificate of the given shape for the given key.
///
/// Taken from the template byte for byte: the subject, and all extensions in their order but SKI and AKI. Those two are
/// replaced in their place or added at the end, the AKI by key alone. The validity is clipped to the issuer's, so that
/// no chain ends before its leaf says it does (I10). The result is always of version 3.
///
/// # Errors
///
/// When the issuer's validity leaves nothing of `validity`.
pub fn issue(
    template: &Template,
    public_key: &PublicKey,
    issuer: &Issuer,
    validity: Validity,
    serial: &Serial,
) -> Result<Certificate, IssueError> {
    let ca = &issuer.certificate;
    let validity = validity.clipped_to(ca.validity()?)?;
    let ids = KeyIds { subject: public_key.derived_key_id(), authority: Some(ca.key_id()) };
    build(template, public_key, ids, ca.subject(), &issuer.key, validity, serial)
}

/// Makes a new root: shape and subject from the template, which becomes a CA's where it is not one yet.
///
/// For the successor of an existing CA take `Template::from_certificate(old).with_subject(next_ca_subject(..)?)`. The
/// root gets an SKI; an AKI (its own key) only if the template has one, as roots of Go and kubeadm have none.
///
/// # Errors
///
/// When the shape cannot be made a CA's.
pub fn self_signed_ca(
    template: &Template,
    key: &PrivateKey,
    validity: Validity,
    serial: &Serial,
) -> Result<Certificate, IssueError> {
    let ski = key.public_key().derived_key_id();
    self_signed(template.clone().into_ca()?, key, ski, validity, serial)
}

/// Re-issues a root with the same key, name and key identifier, so that every leaf it has signed stays valid
/// (`extend-ca`).
///
/// The key identifier is kept even if we would have derived another one: leaves carry it as their AKI.
///
/// # Errors
///
/// When the issuer is not a root.
pub fn same_key_reissue_ca(
    old: &Issuer,
    validity: Validity,
    serial: &Serial,
) -> Result<Certificate, IssueError> {
    let certificate = &old.certificate;
    if !certificate.is_self_signed() {
        return Err(IssueError::NotARoot { subject: certificate.subject().to_string() });
    }
    let template = Template::from_certificate(certificate).into_ca()?;
    self_signed(template, &old.key, certificate.key_id(), validity, serial)
}

/// Makes the cross certificate: the new CA's name, key and shape, signed by the old CA.
///
/// Sent along with a leaf of the new CA, it makes the leaf acceptable to those who trust only the old CA, and does not
/// disturb those who trust the new one. Its SKI is the new CA's, its AKI the old one's, and it ends no later than the
/// old CA.
///
/// # Errors
///
/// When both CAs share a name (the certificate would look self-signed and be ignored), when `new_ca` is not a CA, when
/// the old CA's path length allows no CA below it, or when the old CA's validity leaves nothing.
pub fn cross_sign(
    new_ca: &Certificate,
    old: &Issuer,
    validity: Validity,
    serial: &Serial,
) -> Result<Certificate, IssueError> {
    let ca = &old.certificate;
    let subject = || new_ca.subject().to_string();
    if new_ca.subject() == ca.subject() {
        return Err(IssueError::SameSubject { subject: subject() });
    }
    if !new_ca.is_ca() {
        return Err(IssueError::NotACa { subject: subject() });
    }
    if ca.path_len() == Some(0) {
        return Err(IssueError::PathLength { subject: ca.subject().to_string() });
    }
    let validity = validity.clipped_to(ca.validity()?)?;
    let ids = KeyIds { subject: new_ca.key_id(), authority: Some(ca.key_id()) };
    build(
        &Template::from_certificate(new_ca),
        new_ca.public_key(),
        ids,
        ca.subject(),
        &old.key,
        validity,
        serial,
    )
}

/// Makes a certificate by which the holder of one key vouches for another: shape and key are the new ones, and it is signed
/// with the holder's key in the holder's name.
///
/// It is no link of any chain, since the holder is no CA and nobody trusts it: whoever knows the holder's certificate sees by
/// the signature that its key was there. Renewals in the infrastructure of AKS Arc rest on it.
///
/// # Errors
///
/// When `key` is not the holder's.
pub fn vouch(
    holder: &Certificate,
    key: &PrivateKey,
    template: &Template,
    public_key: &PublicKey,
    validity: Validity,
    serial: &Serial,
) -> Result<Certificate, IssueError> {
    if !key.matches(holder) {
        return Err(IssueError::OtherKey { subject: holder.subject().to_string() });
    }
    let ids = KeyIds { subject: public_key.derived_key_id(), authority: None };
    build(template, public_key, ids, holder.subject(), key, validity, serial)
}

fn self_signed(
    template: Template,
    key: &PrivateKey,
    ski: KeyId,
    validity: Validity,
    serial: &Serial,
) -> Result<Certificate, IssueError> {
    let authority = template.find(extension::AUTHORITY_KEY_ID).is_some().then(|| ski.clone());
    let ids = KeyIds { subject: ski, authority };
    build(&template, key.public_key(), ids, template.subject(), key, validity, serial)
}

struct KeyIds {
    subject: KeyId,
    authority: Option<KeyId>,
}

fn build(
    template: &Template,
    public_key: &PublicKey,
    ids: KeyIds,
    issuer: &DistinguishedName,
    key: &PrivateKey,
    validity: Validity,
    serial: &Serial,
) -> Result<Certificate, IssueError> {
    let tbs = tbs(template, public_key, ids, issuer, key.algorithm(), validity, serial);
    let tbs = tbs.map_err(|source| IssueError::Encode(source.to_string()))?;
    let signature = key.sign(&tbs)?;
    let der = wire::signed(&tbs, key.algorithm().signature_algorithm_der(), &signature);
    Ok(Certificate::from_der(&der.map_err(|source| IssueError::Encode(source.to_string()))?)?)
}

fn tbs(
    template: &Template,
    public_key: &PublicKey,
    ids: KeyIds,
    issuer: &DistinguishedName,
    algorithm: KeyAlgorithm,
    validity: Validity,
    serial: &Serial,
) -> der::Result<Vec<u8>> {
    let mut shape = template.clone();
    shape.put(extension::subject_key_id(ids.subject.as_bytes())?);
    if let Some(authority) = ids.authority {
        shape.put(extension::authority_key_id(authority.as_bytes())?);
    }
    let extensions: Vec<&[u8]> = shape.extensions.iter().map(Extension::der).collect();
    wire::sequence(&[
        // Version 3 is the integer 2.
        &explicit(0, &2_u8.to_der()?)?,
        &serial.to_der()?,
        algorithm.signature_algorithm_der(),
        issuer.der(),
        &validity.to_der()?,
        shape.subject.der(),
        public_key.spki_der(),
        &explicit(3, &wire::sequence(&extensions)?)?,
    ])
}

fn explicit(number: u32, contents: &[u8]) -> der::Result<Vec<u8>> {
    wire::tagged(der::Tag::ContextSpecific { constructed: true, number: der::TagNumber(number) }, contents)
}

/// Why certificate and key are not a CA.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// The key is not the certificate's.
    #[error("private key does not belong to the certificate of `{subject}`")]
    OtherKey {
        /// The certificate's subject.
        subject: String,
    },
    /// The certificate is not a CA's.
    #[error("certificate of `{subject}` is not a CA's")]
    NotACa {
        /// The certificate's subject.
        subject: String,
    },
    /// The certificate is a CA's, but its key usage lacks `keyCertSign`.
    #[error("certificate of `{subject}` may not sign certificates by its key usage")]
    MayNotSign {
        /// The certificate's subject.
        subject: String,
    },
}

/// Why a certificate could not be issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The key is not the one of the certificate in whose name is signed.
    #[error("the key given for {subject} is another's")]
    OtherKey {
        /// Whose certificate.
        subject: String,
    },
    /// Nothing is left of the validity within the issuer's.
    #[error("no validity within the issuer's")]
    Validity(#[from] ValidityError),
    /// The shape is not to be had.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// Both CAs have the same name; see [`next_ca_subject`](crate::next_ca_subject).
    #[error("old and new CA are both named `{subject}`")]
    SameSubject {
        /// The name.
        subject: String,
    },
    /// What was to be cross-signed is not a CA.
    #[error("certificate of `{subject}` is not a CA's")]
    NotACa {
        /// The certificate's subject.
        subject: String,
    },
    /// What was to be re-issued with the same key is not self-signed.
    #[error("certificate of `{subject}` is not self-signed")]
    NotARoot {
        /// The certificate's subject.
        subject: String,
    },
    /// The old CA's path length constraint is zero; use the bundled plan.
    #[error("CA `{subject}` allows no CA below it (path length 0)")]
    PathLength {
        /// The old CA's subject.
        subject: String,
    },
    /// The key could not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The encoder refused.
    #[error("certificate cannot be encoded: {0}")]
    Encode(String),
    /// What we made cannot be read back, for example because a public key of another kind is malformed.
    #[error("issued certificate cannot be read back")]
    ReadBack(#[from] CertificateError),
}
