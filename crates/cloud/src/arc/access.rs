//! Access files: JSON with a client's certificate and key, and the roots of the cloud agent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kubecert_pki::{PrivateKey, parse_pem_certificates};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Found, login};

/// The keys are written as here; each value is base64 of PEM.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Access {
    client_certificate: Option<String>,
    client_key: Option<SecretString>,
    cloud_certificate: Option<String>,
}

/// Reads an access file.
pub(super) fn read(found: &mut Found<'_>, place: &str, text: &str) -> Result<(), String> {
    let access: Access =
        serde_json::from_str(text).map_err(|_| "it is no access file: it is not JSON".to_owned())?;
    let Some(certificate) = access.client_certificate.filter(|text| !text.is_empty()) else {
        return Err("it is no access file, or an empty one: it has no ClientCertificate".to_owned());
    };
    let pem = |what: &str, text: &str| {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| format!("its {what} is not in base64"))?;
        Ok::<_, String>(Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()))
    };
    let chain = parse_pem_certificates(pem("ClientCertificate", &certificate)?.as_bytes())
        .map_err(|error| format!("its ClientCertificate: {error}"))?;
    let Some(leaf) = chain.first() else { return Err("its ClientCertificate is empty".to_owned()) };
    if let Some(key) = access.client_key {
        let key = PrivateKey::from_pem(&pem("ClientKey", key.expose_secret())?)
            .map_err(|error| format!("its ClientKey: {error}"))?;
        if !key.matches(leaf) {
            return Err("its key does not fit its certificate, so that nobody can use it".to_owned());
        }
    }
    found.certificate(place, leaf, false);
    match access.cloud_certificate {
        Some(bundle) => login::roots(found, place, &bundle),
        None => Ok(()),
    }
}
