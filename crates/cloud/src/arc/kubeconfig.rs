//! Kubeconfigs: the clients' certificates and tokens in them, and the CAs that they trust.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kubecert_core::assess::Material;
use kubecert_pki::read_pem_certificates;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::{Found, content, token};

/// `k8s.io/client-go/tools/clientcmd/api/v1`, as far as it is about credentials.
#[derive(Deserialize)]
struct Kubeconfig {
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedCluster {
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    certificate_authority_data: Option<String>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate_data: Option<String>,
    client_certificate: Option<String>,
    token: Option<SecretString>,
}

/// Reads a kubeconfig.
pub(super) fn read(found: &mut Found<'_>, place: &str, text: &str) -> Result<(), String> {
    let config: Kubeconfig = serde_saphyr::from_str(text)
        .map_err(|_| "it is no kubeconfig: it is not YAML with users".to_owned())?;
    let before = found.seen.credentials.len();
    for NamedUser { name, user } in config.users {
        if let Some(data) = user.client_certificate_data {
            let pem = STANDARD
                .decode(data.trim())
                .map_err(|_| format!("the certificate of {name} is not in base64"))?;
            first(found, place, &name, &pem)?;
        } else if let Some(file) = user.client_certificate {
            let beside = Path::new(place).parent().unwrap_or(Path::new(".")).join(file);
            let pem = content(&beside)
                .map_err(|why| format!("the certificate of {name}, {}: {why}", beside.display()))?;
            first(found, place, &name, pem.as_bytes())?;
        }
        if let Some(token) = user.token {
            let life = token::life(token.expose_secret()).map_err(|why| format!("user {name}: {why}"))?;
            found.add(found.source.class, place, Material::Token, life);
        }
    }
    if found.seen.credentials.len() == before {
        return Err("no user in it has a certificate or a token".to_owned());
    }
    for NamedCluster { cluster } in config.clusters {
        let Some(data) = cluster.certificate_authority_data else { continue };
        let pem = STANDARD.decode(data.trim()).map_err(|_| "the CA in it is not in base64".to_owned())?;
        for certificate in read_pem_certificates(pem) {
            let certificate = certificate.map_err(|error| format!("the CA in it: {error}"))?;
            found.certificate(place, &certificate, true);
        }
    }
    Ok(())
}

/// The leaf is the first of them.
fn first(found: &mut Found<'_>, place: &str, user: &str, pem: &[u8]) -> Result<(), String> {
    match read_pem_certificates(pem).into_iter().next() {
        None => Err(format!("the certificate of {user} is empty")),
        Some(Err(error)) => Err(format!("the certificate of {user}: {error}")),
        Some(Ok(certificate)) => {
            found.certificate(place, &certificate, false);
            Ok(())
        }
    }
}
