//! A document whose keys and certificates have been read.

use jiff::Timestamp;
use kubecert_pki::{
    Certificate, DistinguishedName, Issuer, KeyAlgorithm, KeyEncoding, PrivateKey, Serial, Template,
    Validity, cross_sign, next_ca_subject, self_signed_ca,
};
use secrecy::SecretString;

use super::ca::Ca;
use super::document::{Document, Root, Sealed};
use super::token::TokenKey;

/// The kind of the CA's keys. Public clients verify it, and a handshake costs a tenth of RSA's.
const CA_KEY: KeyAlgorithm = KeyAlgorithm::EcdsaP256;

/// A document that is known to be usable.
pub(super) struct Live {
    pub(super) document: Document,
    pub(super) signer: Issuer,
    /// All roots, the signer's first.
    roots: Vec<Certificate>,
    /// The signer's certificate as signed by the old CA, for clients that know only that one.
    pub(super) by_old: Option<Certificate>,
    pub(super) token_key: TokenKey,
}

impl Live {
    pub(super) fn new(document: Document) -> Result<Self, String> {
        let read = |pem: &str| Certificate::from_pem(pem).map_err(|error| format!("its CA: {error}"));
        let roots: Vec<Certificate> =
            document.roots.iter().map(|root| read(&root.certificate)).collect::<Result<_, _>>()?;
        let (first, certificate) = document.roots.first().zip(roots.first()).ok_or("it has no CA")?;
        let key = first.key.as_ref().ok_or("its CA has no key")?;
        let key =
            PrivateKey::from_pem(key.expose()).map_err(|error| format!("the key of its CA: {error}"))?;
        let signer = Issuer::new(certificate.clone(), key).map_err(|error| format!("its CA: {error}"))?;
        let by_old = first.by_old.as_deref().map(read).transpose()?;
        let token_key = PrivateKey::from_pem(document.token_key.expose())
            .map_err(|error| format!("the key of its tokens: {error}"))?;
        let token_key = TokenKey::new(&token_key)?;
        Ok(Self { document, signer, roots, by_old, token_key })
    }

    /// The roots that are accepted at `now`.
    pub(super) fn accepted(&self, now: Timestamp) -> &[Certificate] {
        &self.roots[..self.document.accepted(now).len().min(self.roots.len())]
    }

    pub(super) fn ca(&self, now: Timestamp) -> Ca<'_> {
        Ca { signer: &self.signer, roots: self.accepted(now), now }
    }
}

/// A key as it is stored.
pub(super) fn sealed(key: &PrivateKey) -> Result<Sealed, String> {
    let pem = key.to_pem(KeyEncoding::Pkcs8).map_err(|error| error.to_string())?;
    Ok(Sealed(SecretString::from(pem.expose())))
}

/// The first CA of an authority.
pub(super) fn first_root(name: &str, now: Timestamp, lasts_s: i64) -> Result<Root, String> {
    let subject = DistinguishedName::common_name(name).map_err(|error| error.to_string())?;
    let (certificate, key) = root(subject, now, lasts_s)?;
    Ok(Root { certificate: certificate.to_pem(), key: Some(sealed(&key)?), by_old: None })
}

/// The CA that follows `old`, with a name of its own, and signed by it where it is still good.
pub(super) fn next_root(old: &Issuer, now: Timestamp, lasts_s: i64) -> Result<Root, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let subject = next_ca_subject(old.certificate().subject()).map_err(|error| text(&error))?;
    let (certificate, key) = root(subject, now, lasts_s)?;
    let serial = Serial::random().map_err(|error| text(&error))?;
    let validity = certificate.validity().map_err(|error| text(&error))?;
    let alive = now < old.certificate().not_after();
    // Where the old CA has ended, nobody accepts anything by way of it, and there is nothing to be kept alive.
    let by_old = alive.then(|| cross_sign(&certificate, old, validity, &serial)).transpose();
    let by_old = by_old.map_err(|error| text(&error))?.map(|certificate| certificate.to_pem());
    Ok(Root { certificate: certificate.to_pem(), key: Some(sealed(&key)?), by_old })
}

fn root(
    subject: DistinguishedName,
    now: Timestamp,
    lasts_s: i64,
) -> Result<(Certificate, PrivateKey), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let key = PrivateKey::generate(CA_KEY).map_err(|error| text(&error))?;
    let validity = Validity::back_dated(now, jiff::SignedDuration::from_secs(lasts_s));
    let serial = Serial::random().map_err(|error| text(&error))?;
    let shape = Template::ca(subject).map_err(|error| text(&error))?;
    let certificate = self_signed_ca(&shape, &key, validity.map_err(|error| text(&error))?, &serial)
        .map_err(|error| text(&error))?;
    Ok((certificate, key))
}

/// A random id in the form of a GUID (RFC 9562 §5.4), as identities and tokens have them.
pub(super) fn new_id() -> Result<String, String> {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "this machine has no randomness to give")?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex::encode(bytes);
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}
