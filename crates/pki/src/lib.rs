//! Keys and certificates: reading, re-issuing in the same shape, cross-signing, checking.
//!
//! Everything here is a function of its arguments: no files, no network, no clock. `now` is a parameter wherever it
//! matters, and randomness is drawn in exactly two places, [`PrivateKey::generate`] and [`Serial::random`]
//! (ECDSA signatures draw their nonce inside aws-lc).
//!
//! Three ideas carry the crate:
//!
//! * **Raw bytes are the truth.** A [`Certificate`] keeps its DER; a [`DistinguishedName`] and an [`Extension`] are
//!   their DER plus a parsed view. What we do not understand we can therefore still copy.
//! * **Re-issue by template.** [`Template::from_certificate`] takes subject and extensions byte for byte and in order;
//!   [`issue`] replaces serial, validity, public key, key identifiers, issuer and signature, and nothing else. A name
//!   with two `O=` values keeps both: losing one is a change of privileges.
//! * **A new CA has a new name.** See [`next_ca_subject`] for why, and [`cross_sign`] for the certificate that lets
//!   those who only trust the old CA accept leaves of the new one.
//!
//! ```
//! use kubecert_pki::{cross_sign, issue, self_signed_ca, verify_chain};
//! use kubecert_pki::{DistinguishedName, Issuer, KeyAlgorithm, PrivateKey, Serial, Template, Usage, Validity};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now: jiff::Timestamp = "2026-11-21T12:00:00Z".parse()?;
//! let years = |n: i64| Validity::back_dated(now, jiff::SignedDuration::from_hours(n * 8760));
//! let ca = |name: &str| -> Result<Issuer, Box<dyn std::error::Error>> {
//!     let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
//!     let shape = Template::ca(DistinguishedName::common_name(name)?)?;
//!     Ok(Issuer::new(self_signed_ca(&shape, &key, years(10)?, &Serial::random()?)?, key)?)
//! };
//! let (old, new) = (ca("ca")?, ca("ca-g2")?);
//! let cross = cross_sign(new.certificate(), &old, years(10)?, &Serial::random()?)?;
//!
//! let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
//! let shape = Template::admin("client", "system:masters")?;
//! let leaf = issue(&shape, key.public_key(), &new, years(1)?, &Serial::random()?)?;
//!
//! // Who trusts only the old CA accepts the new leaf when the cross certificate comes with it.
//! verify_chain(&leaf, &[cross], &[old.certificate().clone()], now, Usage::ClientAuth)?;
//! # Ok(())
//! # }
//! ```

mod algorithm;
mod certificate;
mod csr;
mod extension;
mod fingerprint;
mod issue;
mod key;
mod key_encoding;
mod name;
mod pem;
mod public_key;
mod san;
mod serial;
mod template;
mod usage;
mod validity;
mod verify;
mod wire;

pub use algorithm::{KeyAlgorithm, UnknownKeyAlgorithm};
pub use certificate::{
    Certificate, CertificateError, Version, parse_pem_certificates, read_pem_certificates, to_pem_chain,
};
pub use csr::{Csr, CsrError};
pub use extension::{Criticality, Extension, ExtensionError};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use issue::{
    IssueError, Issuer, IssuerError, cross_sign, issue, same_key_reissue_ca, self_signed_ca, vouch,
};
pub use key::{KeyEncoding, KeyError, PrivateKey, PrivateKeyPem};
pub use name::{DistinguishedName, NameError, ca_generation, next_ca_subject};
pub use pem::PemError;
pub use public_key::{KeyId, PublicKey, PublicKeyError, PublicKeyKind, SignatureError};
pub use san::{SanError, SubjectAltName};
pub use serial::{Serial, SerialError};
pub use template::{Template, TemplateBuilder, TemplateError};
pub use usage::{ExtendedKeyUsage, KeyUsage};
pub use validity::{BACK_DATE, Validity, ValidityError};
pub use verify::{ChainError, Judge, Usage, Verified, verify_chain, verify_server_name};
