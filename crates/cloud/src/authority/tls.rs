//! Both sides of TLS.
//!
//! A client accepts a server whose chain leads to a root that it knows, or whose certificate it knows itself: old deployments
//! have the server's own certificate in their files, flagged as a CA, which rustls's own verifier refuses as a server's.
//!
//! A server asks for a client certificate without insisting on one, as the public library does, and has its key proven. Who it
//! is of is decided call by call: so a revocation counts on connections that are open already, and who is refused is told why.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use kubecert_engine::ports::Clock;
use kubecert_pki::{Certificate, ChainError, PrivateKey, Usage, verify_chain, verify_server_name};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ResolvesServerCert;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};

/// What gRPC is negotiated as.
const ALPN: &[u8] = b"h2";

/// Why a client has refused a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Distrust {
    /// None of the known roots leads to it.
    Stranger(String),
    /// It is known, and its time has not come, or is over.
    Time(String),
    /// Anything else.
    Other(String),
}

/// What the verifier has found; empty as long as it has found nothing wrong.
pub(super) type Verdict = Arc<Mutex<Option<Distrust>>>;

/// A client's side.
pub(super) fn client_config(
    roots: &[Certificate],
    identity: Option<(&[Certificate], &PrivateKey)>,
    clock: &Arc<dyn Clock>,
    verdict: &Verdict,
) -> Result<Arc<ClientConfig>, String> {
    let provider = provider();
    let known = KnownServer {
        roots: roots.to_vec(),
        clock: ClockOf(Arc::clone(clock)),
        verdict: Arc::clone(verdict),
        provider: Arc::clone(&provider),
    };
    let identity = identity.map(|(chain, key)| certified_key(chain, key, &provider)).transpose()?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(known))
        .with_client_cert_resolver(Arc::new(Always(identity)));
    // A resumed session skips both certificates, and what they are now is what matters.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// Whether a server asks for client certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientCertificates {
    Asked,
    Ignored,
}

/// A server's side.
pub(super) fn server_config(
    own: Arc<dyn ResolvesServerCert>,
    clients: ClientCertificates,
) -> Result<Arc<ServerConfig>, String> {
    let provider = provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = match clients {
        ClientCertificates::Asked => builder.with_client_cert_verifier(Arc::new(Possession(provider))),
        ClientCertificates::Ignored => builder.with_no_client_auth(),
    }
    .with_cert_resolver(own);
    // As with clients: a resumed session would be judged by the certificate of another day.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// A chain and its key, as rustls wants them.
pub(super) fn certified_key(
    chain: &[Certificate],
    key: &PrivateKey,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, String> {
    let der = key.to_pkcs8_der().map_err(|error| error.to_string())?;
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.as_slice())).clone_key();
    let key = provider.key_provider.load_private_key(der).map_err(|error| error.to_string())?;
    let chain = chain.iter().map(|certificate| CertificateDer::from(certificate.der()).into_owned());
    Ok(Arc::new(CertifiedKey::new(chain.collect(), key)))
}

/// The cryptography that all of kubecert uses, named explicitly: a process default would depend on who came first.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Whether a server is one that a client knows.
pub(super) fn judge(
    chain: &[Certificate],
    name: &str,
    roots: &[Certificate],
    now: Timestamp,
) -> Result<(), Distrust> {
    let (leaf, intermediates) =
        chain.split_first().ok_or_else(|| Distrust::Other("it presents no certificate".to_owned()))?;
    let told = |error: ChainError| {
        let text = error.to_string();
        // A CA that was made anew has the old one's name, which verifiers take for a wrong signature.
        let signed = |root: &Certificate| chain.iter().any(|presented| presented.signed_by(root).is_ok());
        match error {
            ChainError::UnknownIssuer { .. } | ChainError::NoRoots => Distrust::Stranger(text),
            ChainError::Refused(_) if !roots.iter().any(signed) => {
                Distrust::Stranger(format!("none of them has signed the certificate of `{}`", leaf.subject()))
            }
            ChainError::NotYet { .. }
            | ChainError::Ended { .. }
            | ChainError::DeadRoot { .. }
            | ChainError::DeadIntermediate { .. } => Distrust::Time(text),
            _ => Distrust::Other(text),
        }
    };
    if roots.contains(leaf) {
        // Known by itself: only its time counts besides its name.
        let good = leaf.not_before() <= now && now.as_second() <= leaf.not_after().as_second();
        if !good {
            let (begins, ends) = (leaf.not_before(), leaf.not_after());
            return Err(Distrust::Time(format!("its certificate is good from {begins} to {ends}")));
        }
    } else {
        verify_chain(leaf, intermediates, roots, now, Usage::ServerAuth).map_err(told)?;
    }
    verify_server_name(leaf, name).map_err(told)
}

struct ClockOf(Arc<dyn Clock>);

impl std::fmt::Debug for ClockOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClockOf(..)")
    }
}

/// Verifies servers.
#[derive(Debug)]
struct KnownServer {
    roots: Vec<Certificate>,
    clock: ClockOf,
    verdict: Verdict,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for KnownServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = std::iter::once(end_entity).chain(intermediates);
        let chain: Result<Vec<Certificate>, _> = chain.map(|der| Certificate::from_der(der)).collect();
        let now = self.clock.0.now();
        let judged = match chain {
            Ok(chain) => judge(&chain, &server_name.to_str(), &self.roots, now),
            Err(error) => Err(Distrust::Other(error.to_string())),
        };
        judged.map(|()| ServerCertVerified::assertion()).map_err(|distrust| {
            *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(distrust);
            rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Has clients prove that they hold the keys of what they present, and asks no more.
#[derive(Debug)]
struct Possession(Arc<CryptoProvider>);

impl ClientCertVerifier for Possession {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        // Not here but with each call: see the head of this file.
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Presents one certificate to whoever asks, or none. A server that was started with an old CA may name only that one; whether
/// it accepts ours is for it to say.
#[derive(Debug)]
struct Always(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Always {
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
