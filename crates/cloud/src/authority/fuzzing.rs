//! Entries to private parsers, for the fuzz targets in `fuzz/` and for nobody else.

use std::sync::LazyLock;

use jiff::Timestamp;
use kubecert_pki::{Certificate, Issuer, PrivateKey};
use prost::Message as _;

use super::ca::Ca;
use super::live::first_root;
use super::token::TokenKey;
use super::wire::{
    AuthenticationRequest, CertificateRequest, IdentityCertificateRequest, RoleRequest, RpcStatus,
};

/// A year and a day, from the beginning of time on.
const LASTS_S: i64 = 366 * 86_400;

static SIGNER: LazyLock<Option<Issuer>> = LazyLock::new(|| {
    let root = first_root("fuzzed", now(), LASTS_S).ok()?;
    let key = PrivateKey::from_pem(root.key.as_ref()?.expose()).ok()?;
    Issuer::new(Certificate::from_pem(&root.certificate).ok()?, key).ok()
});

static TOKENS: LazyLock<Option<TokenKey>> = LazyLock::new(|| TokenKey::new(&TokenKey::generate().ok()?).ok());

/// Whether a token that nobody has signed is taken for one.
pub fn token(text: &str) -> bool {
    TOKENS.as_ref().is_some_and(|key| key.check(text, "fuzzed", now()).is_ok())
}

/// Whether a request for a renewal is granted that nobody can have a certificate for.
pub fn renewal(csr: &str) -> bool {
    let Some(signer) = SIGNER.as_ref() else { return false };
    let roots = [signer.certificate().clone()];
    Ca { signer, roots: &roots, now: now() }.renew(csr, None, &|_| None).is_ok()
}

/// Messages that anybody may send, before it is known who has.
pub fn messages(bytes: &[u8]) {
    let _ = AuthenticationRequest::decode(bytes);
    let _ = IdentityCertificateRequest::decode(bytes);
    let _ = CertificateRequest::decode(bytes);
    let _ = RoleRequest::decode(bytes);
    let _ = RpcStatus::decode(bytes);
}

/// A fixed time, so that a failure is one at any other.
fn now() -> Timestamp {
    Timestamp::from_second(86_400).unwrap_or(Timestamp::UNIX_EPOCH)
}
