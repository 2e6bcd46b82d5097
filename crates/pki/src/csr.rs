//! Certificate signing requests (PKCS#10, RFC 2986).

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode as _, Encode as _, Tag, TagNumber, Tagged as _};

use crate::extension::{self, Extension};
use crate::key::{KeyError, PrivateKey};
use crate::name::DistinguishedName;
use crate::pem::{self, PemError};
use crate::public_key::{PublicKey, SignatureError};
use crate::template::Template;
use crate::wire::{self, RawAttribute, RawRequest, RawRequestInfo};

const EXTENSION_REQUEST: ObjectIdentifier = const_oid::db::rfc5912::ID_EXTENSION_REQ;
const ATTRIBUTES: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };

/// A signing request whose own signature has been verified.
#[derive(Clone, Debug)]
pub struct Csr {
    der: Vec<u8>,
    public_key: PublicKey,
    template: Template,
}

impl Csr {
    /// Makes a request for a certificate of the given shape. Key identifiers are the issuer's business and left out.
    ///
    /// # Errors
    ///
    /// When the key cannot sign.
    pub fn create(template: &Template, key: &PrivateKey) -> Result<Self, CsrError> {
        let info = request_info(template, key).map_err(CsrError::malformed)?;
        let signature = key.sign(&info)?;
        let der = wire::signed(&info, key.algorithm().signature_algorithm_der(), &signature);
        Self::from_der(&der.map_err(CsrError::malformed)?)
    }

    /// Reads DER and verifies that the requester holds the key.
    ///
    /// # Errors
    ///
    /// When the bytes are not a request, or its signature is wrong.
    pub fn from_der(der: &[u8]) -> Result<Self, CsrError> {
        let raw = RawRequest::from_der(der).map_err(CsrError::malformed)?;
        let info = raw.info.to_der().map_err(CsrError::malformed)?;
        let body = RawRequestInfo::from_der(&info).map_err(CsrError::malformed)?;
        let public_key = body.public_key.to_der().map_err(CsrError::malformed)?;
        let public_key =
            PublicKey::from_der(&public_key).map_err(|source| CsrError::Malformed(source.to_string()))?;
        public_key.verify(raw.signature_algorithm.value(), &info, raw.signature.raw_bytes())?;
        let subject = DistinguishedName::from_any(body.subject).map_err(CsrError::malformed)?;
        let extensions = requested(body.attributes).map_err(CsrError::malformed)?;
        Ok(Self { der: der.to_vec(), public_key, template: Template { subject, extensions } })
    }

    /// Reads the first PEM `CERTIFICATE REQUEST` (or `NEW CERTIFICATE REQUEST`).
    ///
    /// # Errors
    ///
    /// As [`Csr::from_der`], and when there is no such block.
    pub fn from_pem(text: impl AsRef<[u8]>) -> Result<Self, CsrError> {
        let wanted = |label: &str| matches!(label, "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST");
        let mut blocks = pem::blocks(text.as_ref()).into_iter();
        let block = blocks.find(|block| block.as_ref().map_or(true, |block| wanted(&block.label)));
        Self::from_der(&block.ok_or(CsrError::NoRequest)??.contents)
    }

    /// The DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// One PEM block `CERTIFICATE REQUEST`.
    pub fn to_pem(&self) -> String {
        // The encoder fails only beyond the sizes that the decoder has accepted.
        pem::encode("CERTIFICATE REQUEST", &self.der).unwrap_or_default()
    }

    /// The key to be certified.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The shape that is asked for. Whoever signs it as it is grants all of it, CA:TRUE included: check before.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// Whom the certificate is to be for.
    pub fn subject(&self) -> &DistinguishedName {
        self.template.subject()
    }
}

fn request_info(template: &Template, key: &PrivateKey) -> der::Result<Vec<u8>> {
    let ours = [extension::SUBJECT_KEY_ID, extension::AUTHORITY_KEY_ID];
    let wanted = template.extensions().iter().filter(|found| !ours.contains(&found.object_identifier()));
    let wanted: Vec<&[u8]> = wanted.map(Extension::der).collect();
    let attribute = match wanted.is_empty() {
        true => Vec::new(),
        false => {
            let values = wire::tagged(Tag::Set, &wire::sequence(&wanted)?)?;
            wire::sequence(&[&EXTENSION_REQUEST.to_der()?, &values])?
        }
    };
    let version = 0_u8.to_der()?;
    let attributes = wire::tagged(ATTRIBUTES, &attribute)?;
    wire::sequence(&[&version, template.subject().der(), key.spki_der(), &attributes])
}

fn requested(attributes: Option<AnyRef<'_>>) -> der::Result<Vec<Extension>> {
    let Some(attributes) = attributes else { return Ok(Vec::new()) };
    attributes.tag().assert_eq(ATTRIBUTES)?;
    let mut extensions = Vec::new();
    for attribute in wire::children(attributes.value())? {
        let attribute: RawAttribute<'_> = attribute.decode_as()?;
        if attribute.oid != EXTENSION_REQUEST {
            continue;
        }
        for list in wire::children(attribute.values.value())? {
            for found in wire::children(list.value())? {
                extensions.push(Extension::from_any(found)?);
            }
        }
    }
    Ok(extensions)
}

/// Why there is no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// The text holds no request.
    #[error("no certificate request in the PEM text")]
    NoRequest,
    /// A block is not PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The bytes are not a request.
    #[error("certificate request is malformed: {0}")]
    Malformed(String),
    /// The requester does not hold the key.
    #[error("certificate request is not signed by its own key")]
    Signature(#[from] SignatureError),
    /// The key could not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl CsrError {
    fn malformed(source: der::Error) -> Self {
        Self::Malformed(source.to_string())
    }
}
