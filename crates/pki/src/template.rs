//! The shape of a certificate: everything but serial, validity, key, key identifiers, issuer and signature.

use std::collections::BTreeSet;

use crate::certificate::Certificate;
use crate::extension::{self, BasicConstraints, Criticality, Extension};
use crate::name::{DistinguishedName, NameError};
use crate::san::{SanError, SubjectAltName};
use crate::usage::{ExtendedKeyUsage, KeyUsage};

/// What two certificates have in common when one is the re-issue of the other.
///
/// Subject and extensions are held as bytes and in order. Key identifiers are held too, as placeholders: [`issue`]
/// puts new values in their place.
///
/// [`issue`]: crate::issue
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pub(crate) subject: DistinguishedName,
    pub(crate) extensions: Vec<Extension>,
}

impl Template {
    /// The shape of an existing certificate.
    ///
    /// A version 1 certificate has no extensions, and its re-issue is a version 3 certificate that has only key
    /// identifiers: the same to Go and OpenSSL, and acceptable to rustls, which refuses version 1.
    pub fn from_certificate(certificate: &Certificate) -> Self {
        Self { subject: certificate.subject().clone(), extensions: certificate.extensions().to_vec() }
    }

    /// Starts a new shape.
    pub fn builder(subject: DistinguishedName) -> TemplateBuilder {
        TemplateBuilder {
            subject,
            kind: Kind::Leaf,
            key_usage: BTreeSet::from([KeyUsage::DigitalSignature, KeyUsage::KeyEncipherment]),
            extended_key_usage: Vec::new(),
            sans: Vec::new(),
            extensions: Vec::new(),
        }
    }

    /// A shape with a subject and nothing else, as most signing requests have it; see [`Template::with_sans`] and
    /// [`Template::with_extension`].
    pub fn bare(subject: DistinguishedName) -> Self {
        Self { subject, extensions: Vec::new() }
    }

    /// A CA as kubeadm and AKS engine make it: CA:TRUE without a path length, `digitalSignature`, `keyEncipherment` and
    /// `keyCertSign`.
    ///
    /// # Errors
    ///
    /// Never in practice: only if DER's limits were exceeded.
    pub fn ca(subject: DistinguishedName) -> Result<Self, TemplateError> {
        Self::builder(subject).certificate_authority().build()
    }

    /// A client that acts as the given user in the given group, e.g. `client` in `system:masters`.
    ///
    /// # Errors
    ///
    /// When a name is empty.
    pub fn admin(user: &str, group: &str) -> Result<Self, TemplateError> {
        Self::builder(DistinguishedName::user(user, &[group])?)
            .extended_key_usage([ExtendedKeyUsage::ClientAuth])
            .build()
    }

    /// A kubelet as a client of the API server: user `system:node:<node>` in group `system:nodes`.
    ///
    /// # Errors
    ///
    /// When the node's name is empty.
    pub fn kubelet_client(node: &str) -> Result<Self, TemplateError> {
        Self::builder(node_subject(node)?).extended_key_usage([ExtendedKeyUsage::ClientAuth]).build()
    }

    /// A kubelet as a server, with the names and addresses under which the API server dials it.
    ///
    /// The subject is the one that the Kubernetes signer `kubernetes.io/kubelet-serving` asks for.
    ///
    /// # Errors
    ///
    /// When the node's name is empty, or a name cannot be encoded.
    pub fn kubelet_serving(
        node: &str,
        sans: impl IntoIterator<Item = SubjectAltName>,
    ) -> Result<Self, TemplateError> {
        Self::builder(node_subject(node)?)
            .extended_key_usage([ExtendedKeyUsage::ServerAuth])
            .sans(sans)
            .build()
    }

    /// The API server as a client of aggregated API servers, e.g. `front-proxy-client`, or `aggregator` with the group
    /// `system:masters` as AKS engine has it.
    ///
    /// # Errors
    ///
    /// When a name is empty.
    pub fn front_proxy_client(user: &str, groups: &[&str]) -> Result<Self, TemplateError> {
        Self::builder(DistinguishedName::user(user, groups)?)
            .extended_key_usage([ExtendedKeyUsage::ClientAuth])
            .build()
    }

    /// Whom certificates of this shape are for.
    pub fn subject(&self) -> &DistinguishedName {
        &self.subject
    }

    /// The extensions in order.
    pub fn extensions(&self) -> &[Extension] {
        &self.extensions
    }

    /// The same shape for another subject.
    #[must_use]
    pub fn with_subject(self, subject: DistinguishedName) -> Self {
        Self { subject, ..self }
    }

    /// The same shape with other subject alternative names, in the place of the old ones.
    ///
    /// # Errors
    ///
    /// When a name cannot be encoded.
    pub fn with_sans(
        mut self,
        sans: impl IntoIterator<Item = SubjectAltName>,
    ) -> Result<Self, TemplateError> {
        let sans: Vec<_> = sans.into_iter().collect();
        if sans.is_empty() {
            self.extensions.retain(|extension| extension.object_identifier() != extension::SUBJECT_ALT_NAME);
            return Ok(self);
        }
        self.put(san_extension(&sans)?);
        Ok(self)
    }

    /// The same shape with this extension, in the place of one of its kind or else at the end.
    #[must_use]
    pub fn with_extension(mut self, extension: Extension) -> Self {
        self.put(extension);
        self
    }

    /// Whether certificates of this shape are CAs.
    pub fn is_ca(&self) -> bool {
        let found = self.find(extension::BASIC_CONSTRAINTS);
        found.is_some_and(|found| {
            BasicConstraints::from_der(found.value()).is_ok_and(|constraints| constraints.ca)
        })
    }

    /// The subject alternative names in order; none where the extension is not there or cannot be read.
    pub fn sans(&self) -> Vec<SubjectAltName> {
        let found = self.find(extension::SUBJECT_ALT_NAME);
        found.and_then(|found| SubjectAltName::list_from_der(found.value()).ok()).unwrap_or_default()
    }

    /// The key usages; `None` where the extension is not there or cannot be read.
    pub fn key_usage(&self) -> Option<BTreeSet<KeyUsage>> {
        self.find(extension::KEY_USAGE).and_then(|found| KeyUsage::set_from_der(found.value()).ok())
    }

    /// The extended key usages in order; `None` where the extension is not there or cannot be read.
    pub fn extended_key_usage(&self) -> Option<Vec<ExtendedKeyUsage>> {
        let found = self.find(extension::EXTENDED_KEY_USAGE)?;
        ExtendedKeyUsage::list_from_der(found.value()).ok()
    }

    /// The same shape as a CA: what version 1 roots leave out is added, what is there stays.
    pub(crate) fn into_ca(mut self) -> Result<Self, TemplateError> {
        if !self.is_ca() {
            self.put(
                BasicConstraints { ca: true, path_len: None }
                    .to_extension()
                    .map_err(TemplateError::encode)?,
            );
        }
        let mut usage = self.key_usage().unwrap_or_else(|| BTreeSet::from([KeyUsage::DigitalSignature]));
        if usage.insert(KeyUsage::KeyCertSign) {
            self.put(key_usage_extension(&usage)?);
        }
        Ok(self)
    }

    /// Replaces the extension of the same kind in its place, or adds it at the end.
    pub(crate) fn put(&mut self, new: Extension) {
        match self.extensions.iter_mut().find(|old| old.object_identifier() == new.object_identifier()) {
            Some(old) => *old = new,
            None => self.extensions.push(new),
        }
    }

    pub(crate) fn find(&self, oid: der::asn1::ObjectIdentifier) -> Option<&Extension> {
        self.extensions.iter().find(|extension| extension.object_identifier() == oid)
    }
}

/// Makes a [`Template`] from nothing. A leaf with `digitalSignature` and `keyEncipherment` unless told otherwise.
#[derive(Clone, Debug)]
#[must_use]
pub struct TemplateBuilder {
    subject: DistinguishedName,
    kind: Kind,
    key_usage: BTreeSet<KeyUsage>,
    extended_key_usage: Vec<ExtendedKeyUsage>,
    sans: Vec<SubjectAltName>,
    extensions: Vec<Extension>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Leaf,
    Ca,
}

impl TemplateBuilder {
    /// Makes it a CA: CA:TRUE, and `keyCertSign` besides the other usages.
    pub fn certificate_authority(mut self) -> Self {
        self.kind = Kind::Ca;
        self.key_usage.insert(KeyUsage::KeyCertSign);
        self
    }

    /// Replaces the key usages.
    pub fn key_usage(mut self, usages: impl IntoIterator<Item = KeyUsage>) -> Self {
        self.key_usage = usages.into_iter().collect();
        self
    }

    /// Sets the purposes, in order. Without any, the extension is left out.
    pub fn extended_key_usage(mut self, usages: impl IntoIterator<Item = ExtendedKeyUsage>) -> Self {
        self.extended_key_usage = usages.into_iter().collect();
        self
    }

    /// Sets the subject alternative names, in order. Without any, the extension is left out.
    pub fn sans(mut self, sans: impl IntoIterator<Item = SubjectAltName>) -> Self {
        self.sans = sans.into_iter().collect();
        self
    }

    /// Adds an extension of any other kind.
    pub fn extension(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    /// Puts everything together, in the order in which Go's `x509.CreateCertificate` writes extensions.
    ///
    /// # Errors
    ///
    /// When a name or purpose cannot be encoded, or an extension of the same kind was given twice.
    pub fn build(self) -> Result<Template, TemplateError> {
        let mut extensions = Vec::new();
        if !self.key_usage.is_empty() {
            extensions.push(key_usage_extension(&self.key_usage)?);
        }
        if !self.extended_key_usage.is_empty() {
            let value =
                ExtendedKeyUsage::list_to_der(&self.extended_key_usage).map_err(TemplateError::encode)?;
            let built = Extension::of(extension::EXTENDED_KEY_USAGE, Criticality::Optional, &value);
            extensions.push(built.map_err(TemplateError::encode)?);
        }
        let constraints = BasicConstraints { ca: self.kind == Kind::Ca, path_len: None };
        extensions.push(constraints.to_extension().map_err(TemplateError::encode)?);
        if !self.sans.is_empty() {
            extensions.push(san_extension(&self.sans)?);
        }
        extensions.extend(self.extensions);
        let mut seen = BTreeSet::new();
        if let Some(twice) = extensions.iter().find(|extension| !seen.insert(extension.oid())) {
            return Err(TemplateError::Twice(twice.oid()));
        }
        Ok(Template { subject: self.subject, extensions })
    }
}

fn node_subject(node: &str) -> Result<DistinguishedName, NameError> {
    if node.is_empty() {
        return Err(NameError::Empty);
    }
    DistinguishedName::user(&format!("system:node:{node}"), &["system:nodes"])
}

fn key_usage_extension(usage: &BTreeSet<KeyUsage>) -> Result<Extension, TemplateError> {
    let value = KeyUsage::set_to_der(usage).map_err(TemplateError::encode)?;
    Extension::of(extension::KEY_USAGE, Criticality::Critical, &value).map_err(TemplateError::encode)
}

fn san_extension(sans: &[SubjectAltName]) -> Result<Extension, TemplateError> {
    let value = SubjectAltName::list_to_der(sans)?;
    Extension::of(extension::SUBJECT_ALT_NAME, Criticality::Optional, &value).map_err(TemplateError::encode)
}

/// Why there is no such shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The subject.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A subject alternative name.
    #[error(transparent)]
    San(#[from] SanError),
    /// RFC 5280 §4.2 allows each extension once.
    #[error("extension {0} is given twice")]
    Twice(String),
    /// The encoder refused.
    #[error("certificate shape cannot be encoded: {0}")]
    Encode(String),
}

impl TemplateError {
    fn encode(source: der::Error) -> Self {
        Self::Encode(source.to_string())
    }
}
