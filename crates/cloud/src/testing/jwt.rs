//! Tokens that the stand-in signs, and assertions that it checks.

use std::io;
use std::sync::{Arc, LazyLock};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use kubecert_pki::Certificate;
use serde_json::{Value, json};

/// Signs access tokens, and knows its own again.
pub(super) struct Signer(Arc<KeyPair>);

/// One key for all servers of a process: it takes its time, and tests start many.
static KEY: LazyLock<Option<Arc<KeyPair>>> =
    LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).ok().map(Arc::new));

/// Why a token is refused, by Resource Manager's codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    Invalid,
    Expired,
    Audience,
}

impl Signer {
    pub(super) fn new() -> io::Result<Self> {
        KEY.clone().map(Self).ok_or_else(|| io::Error::other("no key can be made"))
    }

    pub(super) fn sign(&self, audience: &str, client: &str, lasts_s: u64) -> String {
        let now = Timestamp::now().as_second();
        let ends = now + i64::try_from(lasts_s).unwrap_or(i64::MAX / 2);
        // The same client may ask twice in a second, and shall get two tokens.
        let unique = Timestamp::now().as_nanosecond().to_string();
        let claims = json!({"aud": audience, "appid": client, "nbf": now, "exp": ends, "uti": unique});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": "RS256", "typ": "JWT"})), part(&claims));
        let mut signature = vec![0; self.0.public_modulus_len()];
        match self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature) {
            Ok(()) => format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)),
            Err(_) => String::new(),
        }
    }

    pub(super) fn check(&self, token: &str, audience: &str) -> Result<(), Bad> {
        let public = self.0.public_key().as_der().map_err(|_| Bad::Invalid)?;
        let (_, claims) = open(token, public.as_ref()).ok_or(Bad::Invalid)?;
        if claims["exp"].as_i64().unwrap_or(0) <= Timestamp::now().as_second() {
            return Err(Bad::Expired);
        }
        if claims["aud"] != audience { Err(Bad::Audience) } else { Ok(()) }
    }
}

/// Checks a client's assertion as RFC 7523 and Entra ID's documentation want it; says what is wrong with it.
pub(super) fn check_assertion(
    assertion: &str,
    client: &str,
    certificate: &Certificate,
    audience: &str,
) -> Result<(), &'static str> {
    let (header, claims) = open(assertion, certificate.public_key().spki_der())
        .ok_or("its signature is not the certificate's")?;
    let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate.der()));
    let now = Timestamp::now().as_second();
    let at = |claim: &str| claims[claim].as_i64();
    match () {
        () if header["alg"] != "RS256" => Err("it is not RS256"),
        () if header["x5t"] != thumbprint.as_str() => Err("its x5t is of another certificate"),
        () if claims["iss"] != client || claims["sub"] != client => Err("it is of another client"),
        () if claims["aud"] != audience => Err("it is for another audience"),
        () if claims["jti"].as_str().is_none_or(str::is_empty) => Err("it has no jti"),
        () if at("exp").is_none_or(|ends| ends <= now) => Err("it has ended"),
        () if at("nbf").is_none_or(|begins| begins > now) => Err("it is not valid yet"),
        () => Ok(()),
    }
}

/// Header and claims of a token whose signature is right.
fn open(token: &str, public_key: &[u8]) -> Option<(Value, Value)> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public_key);
    key.verify(signed.as_bytes(), &signature).ok()?;
    let part = |text: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok();
    Some((part(header)?, part(claims)?))
}
