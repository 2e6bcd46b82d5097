//! What a client asks to be signed.

use jiff::Timestamp;
use kubecert_pki::{
    Certificate, Criticality, Csr, DistinguishedName, Extension, KeyAlgorithm, PrivateKey, Serial,
    SubjectAltName, Template, Validity, to_pem_chain, vouch,
};

/// The extension of a signing request by which a certificate is renewed (public library, `pkg/certs`).
pub(super) const RENEWAL: &str = "1.3.6.1.4.1.311.104.1.1";

/// What the certificate is called by which the old key vouches for the new one.
const VOUCHING_NAME: &str = "CSR Key";

/// A signing request, and the key that it is for.
pub(super) struct Request {
    pub(super) csr: Csr,
    pub(super) key: PrivateKey,
}

/// Makes a key and asks for a first certificate for it: RSA 2048, since public clients renew no other.
pub(super) fn first(name: &str, sans: &[SubjectAltName]) -> Result<Request, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let key = PrivateKey::generate(KeyAlgorithm::Rsa2048).map_err(|error| text(&error))?;
    let subject = DistinguishedName::common_name(name).map_err(|error| text(&error))?;
    let shape = Template::bare(subject).with_sans(sans.iter().cloned()).map_err(|error| text(&error))?;
    let csr = Csr::create(&shape, &key).map_err(|error| text(&error))?;
    Ok(Request { csr, key })
}

/// Makes a key of the same kind and asks for the renewal of a certificate, with a proof that the old key was there.
///
/// The request carries, as concatenated PEM, a throw-away certificate of the new key signed with the old one, the old
/// certificate, and intermediates if there are any.
pub(super) fn renewal(
    chain: &[Certificate],
    old_key: &PrivateKey,
    now: Timestamp,
) -> Result<Request, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let old = chain.first().ok_or("there is no certificate to be renewed")?;
    let key = PrivateKey::generate(old_key.algorithm()).map_err(|error| text(&error))?;
    let name = DistinguishedName::common_name(VOUCHING_NAME).map_err(|error| text(&error))?;
    let validity = Validity::new(now.min(old.not_before()), old.not_after()).map_err(|error| text(&error))?;
    let serial = Serial::from_bytes(&[1]).map_err(|error| text(&error))?;
    let vouching = vouch(old, old_key, &Template::bare(name), key.public_key(), validity, &serial)
        .map_err(|error| text(&error))?;
    let proof = to_pem_chain(std::iter::once(&vouching).chain(chain));
    let proof = Extension::new(RENEWAL, Criticality::Optional, proof.as_bytes());
    let shape = Template::bare(old.subject().clone())
        .with_sans(old.sans().iter().cloned())
        .map_err(|error| text(&error))?
        .with_extension(proof.map_err(|error| text(&error))?);
    let csr = Csr::create(&shape, &key).map_err(|error| text(&error))?;
    Ok(Request { csr, key })
}
