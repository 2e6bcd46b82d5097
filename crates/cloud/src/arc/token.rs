//! How long a JWT is good, as it says itself.
//!
//! The signature is not looked at: whoever wants to know when a token ends need not believe anything else in it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use kubecert_core::assess::Evidence;
use serde::Deserialize;

/// The claims of RFC 7519 §4.1 that are about time, in seconds since 1970, perhaps with a fraction; and the token's id.
#[derive(Deserialize)]
struct Claims {
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
    jti: Option<String>,
}

/// Its life, or why that cannot be read.
pub(crate) fn life(token: &str) -> Result<Evidence, String> {
    let claims = claims(token)?;
    let Some(exp) = claims.exp else { return Err("its token does not say when it ends".to_owned()) };
    let time = |seconds: f64| {
        let outside = || "its token names a time that no calendar has".to_owned();
        // A fraction is cut off: to end earlier is the safe side. The cast saturates, and the range is checked.
        Timestamp::from_second(seconds as i64).map_err(|_| outside())
    };
    let not_before = claims.nbf.or(claims.iat).map_or(Ok(Timestamp::MIN), time)?;
    Ok(Evidence::Seen { not_before, not_after: time(exp)? })
}

/// Its id, if it has one.
pub(crate) fn id(token: &str) -> Option<String> {
    claims(token).ok()?.jti
}

fn claims(token: &str) -> Result<Claims, String> {
    let mut parts = token.trim().split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("its token is no JWT".to_owned());
    };
    let payload = URL_SAFE_NO_PAD
        .decode(payload.trim_end_matches('='))
        .map_err(|_| "its token is no JWT: its middle part is not in base64url".to_owned())?;
    serde_json::from_slice(&payload)
        .map_err(|_| "its token is no JWT: its middle part does not hold claims".to_owned())
}
