//! The assertion that a service principal signs with its certificate's key (RFC 7523).
//!
//! Header and claims are as Microsoft documents them ("Microsoft identity platform application authentication
//! certificate credentials") and as the ancestor's library sends them: RS256, the certificate's SHA-1 as `x5t`, and the
//! certificates themselves as `x5c`, which AD FS and issuers by name need.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use kubecert_engine::ports::Fault;
use serde_json::json;
use zeroize::Zeroizing;

use super::credential::ClientCertificate;
use super::error::AzureError;

/// How long an assertion is good for, in seconds: it is used at once, and clocks differ by minutes at most.
const LASTS_S: i64 = 600;
/// How much earlier it begins, in seconds, for servers whose clock is behind ours.
const BEGINS_EARLIER_S: i64 = 60;

/// Signs an assertion that `client` is who it says, for the token endpoint `audience` only.
pub(crate) fn sign(
    certificate: &ClientCertificate,
    client: &str,
    audience: &str,
    now: Timestamp,
) -> Result<Zeroizing<String>, AzureError> {
    let failed = |why: &str| AzureError::new(Fault::Failed, "cannot sign who calls Azure", why);
    let random = SystemRandom::new();
    let mut id = [0_u8; 16];
    random.fill(&mut id).map_err(|_| failed("this machine has no randomness to give"))?;
    let certificates: Vec<String> =
        certificate.chain().iter().map(|certificate| STANDARD.encode(certificate.der())).collect();
    let own = certificate.chain().first().ok_or_else(|| failed("there is no certificate"))?;
    let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, own.der()));
    let header = json!({"alg": "RS256", "typ": "JWT", "x5t": thumbprint, "x5c": certificates});
    let now = now.as_second();
    let claims = json!({
        "aud": audience,
        "iss": client,
        "sub": client,
        "jti": hex::encode(id),
        "nbf": now - BEGINS_EARLIER_S,
        "exp": now + LASTS_S,
    });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let key = certificate.key();
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature)
        .map_err(|_| failed("the key does not sign"))?;
    Ok(Zeroizing::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
}
