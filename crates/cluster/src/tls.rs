//! TLS clients that live through a change of the CA.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use kubecert_engine::ports::{Credentials, Fault, Identity, PortError, PortResult};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};

/// A client configuration that trusts and presents what the credentials say.
///
/// The server's certificate has to carry one of `names`, whichever name the connection was opened to; without names it
/// has to carry that one.
///
/// The chain is sent as it was given and always, also to a server that does not name its issuer: a server that was
/// started with the old CA names only that one, and whether it accepts the cross certificate is for it to say.
///
/// Sessions are not resumed. A resumed session skips both certificates, and what they are *now* is what everything
/// here is about.
pub(crate) fn client_config(
    credentials: &Credentials,
    names: &[ServerName<'static>],
) -> PortResult<ClientConfig> {
    let provider = provider();
    let verifier = Verifier { inner: verifier(&credentials.roots, &provider)?, names: names.to_vec() };
    let identity =
        credentials.identity.as_ref().map(|identity| certified_key(identity, &provider)).transpose()?;
    config(provider, Arc::new(verifier), Arc::new(AlwaysPresent(identity)))
}

/// A client configuration with a verifier and a source of client certificates of one's own.
pub(crate) fn config(
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
    resolver: Arc<dyn ResolvesClientCert>,
) -> PortResult<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| PortError::new(Fault::Unexpected, "cannot set up TLS", error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(resolver);
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The cryptography that all of kubecert uses, named explicitly: a process default would depend on who came first.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The server name for an address.
pub(crate) fn address_name(address: IpAddr) -> ServerName<'static> {
    ServerName::IpAddress(address.into())
}

/// Configurations by credentials, so that a probe that asks many times a second does not parse keys each time.
#[derive(Default)]
pub(crate) struct ConfigCache(Mutex<Vec<(Credentials, Arc<ClientConfig>)>>);

impl ConfigCache {
    /// How many are kept. A run has two kinds of clients (old trust and new), and each is re-issued at most once or
    /// twice; the oldest goes first.
    const MOST: usize = 8;

    /// The configuration for these credentials, made at their first use.
    pub(crate) fn config(&self, credentials: &Credentials) -> PortResult<Arc<ClientConfig>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = kept.iter().find(|(known, _)| same(known, credentials)) {
            return Ok(config.clone());
        }
        let config = Arc::new(client_config(credentials, &[])?);
        if kept.len() == Self::MOST {
            kept.remove(0);
        }
        kept.push((credentials.clone(), config.clone()));
        Ok(config)
    }
}

/// Whether two credentials are the same. The certificate determines the key, so the key is not looked at.
fn same(one: &Credentials, other: &Credentials) -> bool {
    let chain =
        |credentials: &Credentials| credentials.identity.as_ref().map(|identity| identity.chain.clone());
    one.roots == other.roots && chain(one) == chain(other)
}

fn verifier(roots: &[Vec<u8>], provider: &Arc<CryptoProvider>) -> PortResult<Arc<WebPkiServerVerifier>> {
    let mut store = RootCertStore::empty();
    let mut unusable = None;
    for root in roots {
        // Only name and key of an anchor count. Its dates do not either: a root that has ended is still an anchor
        // here, unlike in Go, which is why expiry is looked at elsewhere and never inferred from a connection.
        if let Err(error) = store.add(CertificateDer::from_slice(root).into_owned()) {
            tracing::warn!(%error, "a trusted root cannot be used for TLS");
            unusable = Some(error);
        }
    }
    if store.is_empty() {
        let cause = unusable.map_or_else(|| "there is none".to_owned(), |error| error.to_string());
        return Err(PortError::new(Fault::Refused, "cannot use the trusted roots", cause)
            .remedy("Check that the cluster's CA certificate is complete."));
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone())
        .build()
        .map_err(|error| PortError::new(Fault::Unexpected, "cannot use the trusted roots", error))
}

fn certified_key(identity: &Identity, provider: &CryptoProvider) -> PortResult<Arc<CertifiedKey>> {
    let error = |cause: &dyn std::fmt::Display| {
        PortError::new(Fault::Refused, "cannot use the client certificate", cause)
            .remedy("Check that certificate and private key are complete and belong together.")
    };
    if identity.chain.is_empty() {
        return Err(error(&"there is no certificate in it"));
    }
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key.as_slice())).clone_key();
    let key = provider.key_provider.load_private_key(key).map_err(|cause| error(&cause))?;
    let chain = identity.chain.iter().map(|der| CertificateDer::from_slice(der).into_owned()).collect();
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

/// Presents one certificate to whoever asks, or none.
#[derive(Debug)]
struct AlwaysPresent(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for AlwaysPresent {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _sigschemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

/// Verifies chain and signature as rustls does, and that the certificate carries one of several names.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    names: Vec<ServerName<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verify =
            |name| self.inner.verify_server_cert(end_entity, intermediates, name, ocsp_response, now);
        let mut verdict = None;
        for name in &self.names {
            match verify(name) {
                Ok(verified) => return Ok(verified),
                Err(error) => verdict = Some(error),
            }
        }
        verdict.map_or_else(|| verify(server_name), Err)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
