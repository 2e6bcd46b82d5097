//! Kubeconfigs: the clients' certificates and tokens in them, and the CAs that they trust.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kubecert_core::assess::Material;
use kubecert_pki::{Certificate, PrivateKey, parse_pem_certificates, read_pem_certificates};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use zeroize::Zeroizing;

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

/// A way to a cluster's API: what the current context of a kubeconfig says.
#[derive(Debug)]
pub struct ClusterLogin {
    /// The API server's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whom to trust as that server.
    pub roots: Vec<Certificate>,
    /// The client's certificate, the leaf first.
    pub chain: Vec<Certificate>,
    /// The client's key.
    pub key: PrivateKey,
}

/// Why a kubeconfig cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot use kubeconfig {}: {why}", path.display())]
pub struct KubeconfigError {
    /// Which one.
    pub path: PathBuf,
    /// Why.
    pub why: String,
}

/// A kubeconfig, as far as it takes to log in with it.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Whole {
    current_context: Option<String>,
    #[serde(default)]
    contexts: Vec<Entry<Context>>,
    #[serde(default)]
    clusters: Vec<Entry<WholeCluster>>,
    #[serde(default)]
    users: Vec<Entry<WholeUser>>,
}

#[derive(Deserialize)]
struct Entry<T> {
    name: String,
    #[serde(alias = "context", alias = "cluster", alias = "user")]
    value: T,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct WholeCluster {
    server: String,
    certificate_authority_data: Option<String>,
    certificate_authority: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct WholeUser {
    client_certificate_data: Option<String>,
    client_certificate: Option<PathBuf>,
    client_key_data: Option<SecretString>,
    client_key: Option<PathBuf>,
}

impl ClusterLogin {
    /// Reads the current context of a kubeconfig. Users without a client certificate (tokens, plugins) are not supported.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or does not hold a server, its CA, and a client certificate with its key.
    pub fn read(path: &Path) -> Result<Self, KubeconfigError> {
        let directory = path.parent().unwrap_or(Path::new("."));
        let text = content(path);
        text.and_then(|text| Self::parse(&text, directory))
            .map_err(|why| KubeconfigError { path: path.to_owned(), why })
    }

    fn parse(text: &str, directory: &Path) -> Result<Self, String> {
        let whole: Whole = serde_saphyr::from_str(text)
            .map_err(|_| "it is no kubeconfig: it is not YAML with clusters and users".to_owned())?;
        let wanted = whole.current_context.filter(|name| !name.is_empty());
        let wanted = wanted.ok_or("it has no current context")?;
        let context = whole.contexts.into_iter().find(|entry| entry.name == wanted);
        let context = context.ok_or_else(|| format!("it has no context {wanted}"))?.value;
        let cluster = whole.clusters.into_iter().find(|entry| entry.name == context.cluster);
        let cluster = cluster.ok_or_else(|| format!("it has no cluster {}", context.cluster))?.value;
        let user = whole.users.into_iter().find(|entry| entry.name == context.user);
        let user = user.ok_or_else(|| format!("it has no user {}", context.user))?.value;

        let (host, port) = endpoint(&cluster.server)?;
        let pem = |data: Option<Zeroizing<String>>,
                   file: Option<PathBuf>,
                   what: &str|
         -> Result<Zeroizing<String>, String> {
            if let Some(data) = data {
                let bytes = STANDARD.decode(data.trim()).map_err(|_| format!("{what} is not in base64"))?;
                let bytes = Zeroizing::new(bytes);
                let text = std::str::from_utf8(&bytes).map_err(|_| format!("{what} is no PEM"))?;
                return Ok(Zeroizing::new(text.to_owned()));
            }
            let file = file.ok_or_else(|| format!("it has no {what}"))?;
            let file = directory.join(file);
            content(&file).map_err(|why| format!("{what}, {}: {why}", file.display()))
        };
        let certificates =
            |text: &str, what: &str| parse_pem_certificates(text).map_err(|error| format!("{what}: {error}"));
        let roots = pem(
            cluster.certificate_authority_data.map(Zeroizing::new),
            cluster.certificate_authority,
            "certificate-authority",
        )?;
        let roots = certificates(&roots, "certificate-authority")?;
        let chain = pem(
            user.client_certificate_data.map(Zeroizing::new),
            user.client_certificate,
            "client-certificate",
        )?;
        let chain = certificates(&chain, "client-certificate")?;
        let key = user.client_key_data.map(|data| Zeroizing::new(data.expose_secret().to_owned()));
        let key = pem(key, user.client_key, "client-key")?;
        let key = PrivateKey::from_pem(&key).map_err(|error| format!("client-key: {error}"))?;
        if !chain.first().is_some_and(|leaf| key.matches(leaf)) {
            return Err("its client-key does not fit its client-certificate".to_owned());
        }
        Ok(Self { host, port, roots, chain, key })
    }
}

/// The port of HTTPS.
const HTTPS: u16 = 443;

fn endpoint(server: &str) -> Result<(String, u16), String> {
    let wrong = || format!("its server {server:?} is no https://HOST:PORT");
    let rest = server.strip_prefix("https://").ok_or_else(wrong)?.trim_end_matches('/');
    if rest.is_empty() || rest.contains(['/', '@', '?', '#']) {
        return Err(wrong());
    }
    // An IPv6 address stands in brackets, before its port if there is one.
    match rest.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
        Some((host, port)) => Ok((host.to_owned(), port.parse().map_err(|_| wrong())?)),
        None => Ok((rest.to_owned(), HTTPS)),
    }
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
