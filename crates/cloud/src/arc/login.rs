//! Login files: YAML with a token, and the roots of the cloud agent that it is for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kubecert_core::assess::Material;
use kubecert_pki::read_pem_certificates;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::{Found, token};

/// What of a login file tells how long it is good. Everything else in it is for whoever logs in.
#[derive(Deserialize)]
struct Login {
    token: Option<SecretString>,
    certificate: Option<String>,
}

/// Reads a login file, as it is or as a whole in base64, as the appliance's configuration holds it.
pub(super) fn read(found: &mut Found<'_>, place: &str, text: &str) -> Result<(), String> {
    let decoded = STANDARD.decode(text.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let login: Login = serde_saphyr::from_str(decoded.as_deref().unwrap_or(text))
        .map_err(|_| "it is no login file: it is not YAML with a token".to_owned())?;
    let Some(token) = login.token.filter(|token| !token.expose_secret().is_empty()) else {
        return Err("it is no login file, or an empty one: it has no token".to_owned());
    };
    let life = token::life(token.expose_secret())?;
    found.add(found.source.class, place, Material::Token, life);
    if let Some(bundle) = login.certificate {
        roots(found, place, &bundle)?;
    }
    Ok(())
}

/// Roots in base64 of PEM.
pub(super) fn roots(found: &mut Found<'_>, place: &str, bundle: &str) -> Result<(), String> {
    let pem = STANDARD.decode(bundle.trim()).map_err(|_| "its roots are not in base64".to_owned())?;
    for certificate in read_pem_certificates(pem) {
        let certificate = certificate.map_err(|error| format!("its roots: {error}"))?;
        found.certificate(place, &certificate, true);
        found.seen.roots.push(certificate);
    }
    Ok(())
}
