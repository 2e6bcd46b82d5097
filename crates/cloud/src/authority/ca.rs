//! What the CA signs, and what it refuses.
//!
//! The checks of a renewal, their order, and the extensions that it writes are those of the public library (`pkg/certs`,
//! `CertificateAuthority`). What goes beyond it is marked as assumed.

use jiff::{SignedDuration, Timestamp};
use kubecert_pki::{
    Certificate, ChainError, Criticality, Csr, ExtendedKeyUsage, Extension, Issuer, KeyUsage, Serial,
    Template, Usage, Validity, issue, parse_pem_certificates, verify_chain,
};

use super::code::{MocCode, Refusal};
use super::request::RENEWAL;

/// The original certificate, as DER, in one that was renewed.
pub(super) const ORIGINAL: &str = "1.3.6.1.4.1.311.104.1.2";
/// How often a certificate was renewed, as an ASN.1 INTEGER.
pub(super) const RENEWALS: &str = "1.3.6.1.4.1.311.104.1.3";
/// Whose certificate it is (RFC 5755 §4.4.2 has the identifier). Its bytes are the identity's, assumed: its permanent id.
pub(super) const ACCESS_IDENTITY: &str = "1.3.6.1.5.5.7.10.2";

const SUBJECT_ALT_NAME: &str = "2.5.29.17";

/// What somebody who signs needs to know.
#[derive(Clone, Copy)]
pub(super) struct Ca<'a> {
    /// Who signs.
    pub(super) signer: &'a Issuer,
    /// Whose certificates are accepted: the signer's, and during an overlap the old root's.
    pub(super) roots: &'a [Certificate],
    pub(super) now: Timestamp,
}

/// What a certificate is to be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose<'a> {
    /// An identity's client certificate.
    Client { id: &'a str },
    /// Assumed: what `CertificateAgent/Sign` gives, for servers of the site such as load balancers' agents. It has no
    /// identity, so that nobody is let in with it.
    Server,
}

/// Whether somebody's certificate was revoked.
pub(super) type Revoked<'a> = &'a dyn Fn(&Certificate) -> Option<String>;

impl Ca<'_> {
    /// Signs a first certificate: name and alternative names are the request's, the rest is ours.
    pub(super) fn first(
        &self,
        csr: &str,
        purpose: Purpose<'_>,
        lasts: SignedDuration,
    ) -> Result<Certificate, Refusal> {
        let csr = read(csr)?;
        let (usages, purposes) = match purpose {
            Purpose::Client { .. } => (vec![KeyUsage::DigitalSignature], vec![ExtendedKeyUsage::ClientAuth]),
            Purpose::Server => (
                vec![KeyUsage::DigitalSignature, KeyUsage::KeyEncipherment],
                vec![ExtendedKeyUsage::ClientAuth, ExtendedKeyUsage::ServerAuth],
            ),
        };
        let mut shape =
            Template::builder(csr.subject().clone()).key_usage(usages).extended_key_usage(purposes);
        let wanted = csr.template().extensions();
        if let Some(names) = wanted.iter().find(|extension| extension.oid() == SUBJECT_ALT_NAME) {
            shape = shape.extension(names.clone());
        }
        if let Purpose::Client { id } = purpose {
            shape = shape.extension(extension(ACCESS_IDENTITY, id.as_bytes())?);
        }
        let shape = shape.build().map_err(|error| unusable(&error))?;
        self.sign(&shape, &csr, lasts)
    }

    /// Renews a certificate, with the same content and the same length of life.
    ///
    /// `supplied` is the certificate that came beside the request.
    pub(super) fn renew(
        &self,
        csr: &str,
        supplied: Option<&Certificate>,
        revoked: Revoked<'_>,
    ) -> Result<(Certificate, Certificate), Refusal> {
        // 1: the request is signed by its own key; `read` sees to that.
        let csr = read(csr)?;
        // 2: two certificates at least came with it.
        let proof = csr.template().extensions().iter().find(|extension| extension.oid() == RENEWAL);
        let proof = proof.and_then(|extension| parse_pem_certificates(extension.value()).ok());
        let proof = proof.unwrap_or_default();
        let [vouching, old, intermediates @ ..] = proof.as_slice() else {
            return Err(Refusal::new(
                MocCode::InvalidInput,
                "the request does not carry the certificate to be renewed and a proof of its key",
            ));
        };
        // 3: it is the one that was supplied.
        if supplied.is_some_and(|supplied| supplied != old) {
            return Err(Refusal::new(
                MocCode::InvalidInput,
                "the certificate in the request is not the one beside it",
            ));
        }
        // 4: it is ours, and good now.
        verify_chain(old, intermediates, self.roots, self.now, Usage::ClientAuth)
            .map_err(|error| not_ours(&error))?;
        // 5: its key vouches for the new one.
        if vouching.signed_by(old).is_err() {
            return Err(Refusal::new(
                MocCode::Failed,
                "the proof in the request is not signed with the key of the certificate to be renewed",
            ));
        }
        // 6: which is the one of the request.
        if vouching.public_key() != csr.public_key() {
            return Err(Refusal::new(MocCode::Failed, "the request's key is not the one in its proof"));
        }
        // 7: nobody has revoked it.
        if let Some(why) = revoked(old) {
            return Err(Refusal::new(MocCode::Revoked, why));
        }
        let lasts = old.not_after().duration_since(old.not_before());
        let shape = renewed_shape(old)?;
        Ok((self.sign(&shape, &csr, lasts)?, old.clone()))
    }

    /// Who a certificate is, if it is ours and good now: the id in it.
    pub(super) fn holder(&self, chain: &[Certificate]) -> Result<String, Refusal> {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Err(Refusal::new(
                MocCode::NoAuthenticationInformation,
                "no client certificate was presented",
            ));
        };
        verify_chain(leaf, intermediates, self.roots, self.now, Usage::ClientAuth)
            .map_err(|error| not_ours(&error))?;
        holder_id(leaf).ok_or_else(|| {
            Refusal::new(MocCode::AccessDenied, "the client certificate is nobody's: it names no identity")
        })
    }

    fn sign(&self, shape: &Template, csr: &Csr, lasts: SignedDuration) -> Result<Certificate, Refusal> {
        let ends = self.now.checked_add(lasts).map_err(|error| unusable(&error))?;
        let validity = Validity::new(self.now, ends).map_err(|error| unusable(&error))?;
        let serial = Serial::random().map_err(|error| unusable(&error))?;
        // No certificate outlives its CA: `issue` cuts it off, unlike the public library.
        issue(shape, csr.public_key(), self.signer, validity, &serial).map_err(|error| unusable(&error))
    }
}

/// The id of the identity that a certificate is for.
pub(super) fn holder_id(certificate: &Certificate) -> Option<String> {
    let found = certificate.extensions().iter().find(|extension| extension.oid() == ACCESS_IDENTITY)?;
    let id = String::from_utf8(found.value().to_vec()).ok()?;
    Some(id).filter(|id| !id.is_empty())
}

/// How often a certificate was renewed.
pub(super) fn renewals(certificate: &Certificate) -> u64 {
    let found = certificate.extensions().iter().find(|extension| extension.oid() == RENEWALS);
    // An INTEGER: tag, a length below 128, then the number with the highest byte first.
    match found.map(Extension::value) {
        Some([0x02, length, number @ ..]) if usize::from(*length) == number.len() && number.len() <= 9 => {
            number.iter().fold(0_u64, |sum, byte| sum.wrapping_shl(8) | u64::from(*byte))
        }
        _ => 0,
    }
}

fn renewed_shape(old: &Certificate) -> Result<Template, Refusal> {
    let original = old.extensions().iter().find(|extension| extension.oid() == ORIGINAL);
    let original = original.map_or_else(|| old.der().to_vec(), |extension| extension.value().to_vec());
    let count = integer(renewals(old).saturating_add(1));
    Ok(Template::from_certificate(old)
        .with_extension(extension(ORIGINAL, &original)?)
        .with_extension(extension(RENEWALS, &count)?))
}

/// A DER INTEGER.
fn integer(number: u64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(7);
    let mut digits = bytes[zeros..].to_vec();
    // A highest bit that is set would make it negative.
    if digits[0] & 0x80 != 0 {
        digits.insert(0, 0);
    }
    let length = u8::try_from(digits.len()).unwrap_or_default();
    [vec![0x02, length], digits].concat()
}

fn extension(oid: &str, value: &[u8]) -> Result<Extension, Refusal> {
    Extension::new(oid, Criticality::Optional, value).map_err(|error| unusable(&error))
}

fn read(csr: &str) -> Result<Csr, Refusal> {
    Csr::from_pem(csr).map_err(|error| Refusal::new(MocCode::InvalidInput, error.to_string()))
}

fn unusable(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(MocCode::Failed, format!("the certificate cannot be signed: {error}"))
}

fn not_ours(error: &ChainError) -> Refusal {
    let code = match error {
        ChainError::Ended { .. } => MocCode::Expired,
        _ => MocCode::Failed,
    };
    Refusal::new(code, format!("the client certificate is not accepted: {error}"))
}

#[cfg(test)]
#[path = "ca_tests.rs"]
mod tests;
