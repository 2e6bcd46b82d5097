//! Who calls Azure, and how that is proven.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::rsa;
use kubecert_pki::{Certificate, KeyAlgorithm, PrivateKey, parse_pem_certificates};
use secrecy::SecretString;

/// Who issues tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentitySystem {
    /// Microsoft Entra ID, for Azure, the sovereign clouds and connected stacks.
    EntraId,
    /// Active Directory Federation Services, for stacks without a connection.
    AdFs,
}

/// How it is proven who calls.
#[derive(Clone)]
pub enum Credential {
    /// A service principal's secret.
    Secret {
        /// The client id.
        client: String,
        /// The secret.
        secret: SecretString,
    },
    /// A service principal's certificate.
    Certificate {
        /// The client id.
        client: String,
        /// The certificate with its key.
        certificate: Arc<ClientCertificate>,
    },
    /// The session of the Azure CLI.
    Cli {
        /// The program, `az` by its path or name. It is run directly, never by a shell.
        program: PathBuf,
        /// The subscription whose tenant is meant.
        subscription: String,
    },
    /// A code that a person types in a browser.
    Device {
        /// The client id of the ancestor's own application; see [`Credential::device`].
        client: String,
        /// Shows the person what to do, with the address and the code.
        show: Arc<dyn Fn(&str) + Send + Sync>,
    },
}

impl Credential {
    /// A code in a browser, for the ancestor's application of that cloud.
    pub fn device(cloud: &str, show: Arc<dyn Fn(&str) + Send + Sync>) -> Self {
        let government = cloud.eq_ignore_ascii_case("AzureUSGovernmentCloud");
        let client = if government { GOVERNMENT_APPLICATION } else { APPLICATION };
        Self::Device { client: client.to_owned(), show }
    }

    /// Whether tokens can be had from AD FS in this way: only secrets and certificates are known there.
    pub fn works_with(&self, identity: IdentitySystem) -> bool {
        identity == IdentitySystem::EntraId || matches!(self, Self::Secret { .. } | Self::Certificate { .. })
    }
}

/// The ancestor's application for sign-in by device code.
const APPLICATION: &str = "76e0feec-6b7f-41f0-81a7-b1b944520261";
/// The same in the US government's cloud.
const GOVERNMENT_APPLICATION: &str = "e8b7f94b-85c9-47f4-964a-98dafd7fc2d8";

/// Names the way, and never what it is proven with.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret { client, .. } => write!(f, "Secret of {client}"),
            Self::Certificate { client, .. } => write!(f, "Certificate of {client}"),
            Self::Cli { program, .. } => write!(f, "Session of {}", program.display()),
            Self::Device { client, .. } => write!(f, "Device code for {client}"),
        }
    }
}

/// Why a certificate or its key is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// No certificate in the text.
    #[error(
        "the certificate is of no use: {why}; a PEM file is expected that begins with the client's own certificate"
    )]
    Certificate {
        /// Why.
        why: String,
    },
    /// No private key, or one that cannot be used.
    #[error(
        "the private key is of no use: {why}; an RSA key in PEM is expected, PKCS#1 or PKCS#8, without a passphrase"
    )]
    Key {
        /// Why.
        why: String,
    },
    /// They do not belong together.
    #[error("the private key is not the certificate's; give the two that were made together")]
    Mismatch,
}

/// A service principal's certificate with its private key.
pub struct ClientCertificate {
    /// The client's own first, then those above it.
    chain: Vec<Certificate>,
    key: rsa::KeyPair,
}

impl ClientCertificate {
    /// Reads both from PEM: the certificate with any chain after it, and an RSA key in PKCS#1 or PKCS#8.
    ///
    /// # Errors
    ///
    /// [`CredentialError`], which repeats nothing of the texts.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, CredentialError> {
        let unusable_key = |why: String| CredentialError::Key { why };
        let chain = parse_pem_certificates(certificate)
            .map_err(|error| CredentialError::Certificate { why: error.to_string() })?;
        let own = chain
            .first()
            .ok_or_else(|| CredentialError::Certificate { why: "there is none in it".to_owned() })?;
        let key = PrivateKey::from_pem(key).map_err(|error| unusable_key(error.to_string()))?;
        if !matches!(key.algorithm(), KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096) {
            // Assertions of Entra ID's documentation are RS256 or PS256; AD FS takes RS256.
            return Err(unusable_key(format!("it is {}", key.algorithm())));
        }
        if !key.matches(own) {
            return Err(CredentialError::Mismatch);
        }
        let der = key.to_pkcs8_der().map_err(|error| unusable_key(error.to_string()))?;
        let key = rsa::KeyPair::from_pkcs8(&der).map_err(|error| unusable_key(error.to_string()))?;
        Ok(Self { chain, key })
    }

    pub(crate) fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    pub(crate) fn key(&self) -> &rsa::KeyPair {
        &self.key
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").field("chain", &self.chain.len()).finish_non_exhaustive()
    }
}
