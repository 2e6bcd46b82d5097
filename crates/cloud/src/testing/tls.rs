//! A private root, and a certificate under it, as an Azure Stack Hub has.

use std::io;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A server's side of TLS, and the root that clients must trust.
pub(super) struct Identity {
    pub(super) config: Arc<ServerConfig>,
    pub(super) root_pem: String,
    pub(super) root_der: Vec<u8>,
}

pub(super) fn identity(names: &[String]) -> io::Result<Identity> {
    let other = |error: rcgen::Error| io::Error::other(error.to_string());
    let mut params = CertificateParams::new(Vec::new()).map_err(other)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "Stand-in for an Azure Stack Hub, root");
    let key = KeyPair::generate().map_err(other)?;
    let root = params.self_signed(&key).map_err(other)?;
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().map_err(other)?;
    let mut params = CertificateParams::new(names.to_vec()).map_err(other)?;
    params.distinguished_name.push(DnType::CommonName, "Stand-in for an Azure Stack Hub");
    params.use_authority_key_identifier_extension = true;
    let leaf = params.signed_by(&key, &issuer).map_err(other)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .map_err(io::Error::other)?;
    Ok(Identity { config: Arc::new(config), root_pem: root.pem(), root_der: root.der().to_vec() })
}
