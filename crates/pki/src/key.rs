//! Private keys.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256,
};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::algorithm::KeyAlgorithm;
use crate::certificate::Certificate;
use crate::key_encoding::{from_pkcs1, from_pkcs8, from_sec1, to_pkcs8, to_traditional};
use crate::pem::{self, PemError};
use crate::public_key::PublicKey;

/// A private key, held by aws-lc, which overwrites it when it is freed.
///
/// There is no `Serialize`, and `Debug` shows only the public half. Clones share one key.
#[derive(Clone)]
pub struct PrivateKey(Arc<Inner>);

struct Inner {
    pair: Pair,
    algorithm: KeyAlgorithm,
    public: PublicKey,
}

pub(crate) enum Pair {
    Rsa(rsa::KeyPair),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl PrivateKey {
    /// Generates a key.
    ///
    /// RSA takes its time: 4096 bits about a second, now and then several. Call it off the async threads, and before
    /// anything is touched.
    ///
    /// # Errors
    ///
    /// When the system has no randomness to give.
    pub fn generate(algorithm: KeyAlgorithm) -> Result<Self, KeyError> {
        let rsa = |size| rsa::KeyPair::generate(size).map(Pair::Rsa);
        let pair = match algorithm {
            KeyAlgorithm::Rsa2048 => rsa(KeySize::Rsa2048),
            KeyAlgorithm::Rsa3072 => rsa(KeySize::Rsa3072),
            KeyAlgorithm::Rsa4096 => rsa(KeySize::Rsa4096),
            KeyAlgorithm::EcdsaP256 => {
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map(Pair::Ecdsa)
            }
            KeyAlgorithm::EcdsaP384 => {
                EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).map(Pair::Ecdsa)
            }
            KeyAlgorithm::Ed25519 => Ed25519KeyPair::generate().map(Pair::Ed25519),
        };
        Self::from_pair(pair.map_err(|_| KeyError::Generate { algorithm })?)
    }

    /// Reads the one private key of a PEM text: PKCS#1 `RSA PRIVATE KEY`, SEC1 `EC PRIVATE KEY` or PKCS#8 `PRIVATE KEY`.
    ///
    /// Other blocks around it (certificates, `EC PARAMETERS`) are skipped, as in the kubelet's own
    /// `kubelet-client-current.pem`.
    ///
    /// # Errors
    ///
    /// Says which of these it is: no key, several keys, an encrypted key, a kind or size that kubecert cannot use, a
    /// damaged key.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let mut keys = Vec::new();
        let mut others = Vec::new();
        for block in pem::blocks(text.as_bytes()) {
            let block = block?;
            match block.label.ends_with("PRIVATE KEY") {
                true => keys.push(block),
                false => others.push(block.label),
            }
        }
        let count = keys.len();
        let block = keys.pop().ok_or(KeyError::NoKey { found: others.join(", ") })?;
        if count > 1 {
            return Err(KeyError::SeveralKeys { count });
        }
        if block.encrypted {
            return Err(KeyError::Encrypted { label: block.label });
        }
        let pair = match block.label.as_str() {
            "PRIVATE KEY" => from_pkcs8(&block.contents),
            "RSA PRIVATE KEY" => from_pkcs1(&block.contents),
            "EC PRIVATE KEY" => from_sec1(&block.contents),
            other => Err(KeyError::Unsupported { kind: format!("PEM block `{other}`") }),
        };
        Self::from_pair(pair?)
    }

    fn from_pair(pair: Pair) -> Result<Self, KeyError> {
        let spki: PublicKeyX509Der<'_> = match &pair {
            Pair::Rsa(pair) => pair.public_key().as_der(),
            Pair::Ecdsa(pair) => pair.public_key().as_der(),
            Pair::Ed25519(pair) => pair.public_key().as_der(),
        }
        .map_err(|_| KeyError::Encode)?;
        let public = PublicKey::from_der(spki.as_ref()).map_err(|_| KeyError::Encode)?;
        let algorithm = public.kind().algorithm();
        let algorithm = algorithm.ok_or_else(|| KeyError::Unsupported { kind: public.kind().to_string() })?;
        Ok(Self(Arc::new(Inner { pair, algorithm, public })))
    }

    /// The PEM text of the key. `Pkcs1OrSec1` of an Ed25519 key is PKCS#8, since it has no older encoding.
    ///
    /// # Errors
    ///
    /// Only when memory runs out inside of aws-lc.
    pub fn to_pem(&self, encoding: KeyEncoding) -> Result<PrivateKeyPem, KeyError> {
        let (label, der) = match encoding {
            KeyEncoding::Pkcs8 => ("PRIVATE KEY", to_pkcs8(&self.0.pair)?),
            KeyEncoding::Pkcs1OrSec1 => to_traditional(&self.0.pair)?,
        };
        Ok(PrivateKeyPem(SecretString::from(pem::encode(label, &der)?)))
    }

    /// The key as PKCS#8 DER, as TLS libraries take it.
    ///
    /// # Errors
    ///
    /// Only when memory runs out inside of aws-lc.
    pub fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        to_pkcs8(&self.0.pair)
    }

    /// The key's kind and size.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.0.algorithm
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.0.public
    }

    /// The DER `SubjectPublicKeyInfo` of the public half.
    pub fn spki_der(&self) -> &[u8] {
        self.0.public.spki_der()
    }

    /// The public half as a PEM block `PUBLIC KEY`, as `--service-account-key-file` takes it.
    ///
    /// # Errors
    ///
    /// Never in practice; see [`PublicKey::to_pem`].
    pub fn public_key_pem(&self) -> Result<String, KeyError> {
        self.0.public.to_pem().map_err(|_| KeyError::Encode)
    }

    /// Whether the certificate is for this key.
    pub fn matches(&self, certificate: &Certificate) -> bool {
        self.0.public == *certificate.public_key()
    }

    /// Signs `message`; the algorithm is that of [`KeyAlgorithm::signature_algorithm_der`].
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        let signature = match &self.0.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map(|()| signature)
            }
            Pair::Ecdsa(pair) => pair.sign(&random, message).map(|signature| signature.as_ref().to_vec()),
            Pair::Ed25519(pair) => pair.try_sign(message).map(|signature| signature.as_ref().to_vec()),
        };
        signature.map_err(|_| KeyError::Sign)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey([REDACTED] of {:?})", self.0.public)
    }
}

/// How a private key is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEncoding {
    /// The key's own structure: PKCS#1 for RSA, SEC1 for ECDSA. AKS engine reads nothing but PKCS#1.
    Pkcs1OrSec1,
    /// PKCS#8, the same for all kinds.
    Pkcs8,
}

/// The PEM text of a private key: overwritten when dropped, redacted in `Debug`, without `Display` and `Serialize`.
#[derive(Clone)]
pub struct PrivateKeyPem(SecretString);

impl PrivateKeyPem {
    /// The text. Whoever calls this answers for where it goes.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The text's bytes, in a buffer that is overwritten when dropped.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.expose().as_bytes().to_vec())
    }
}

impl fmt::Debug for PrivateKeyPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKeyPem([REDACTED])")
    }
}

/// What can be wrong with a private key. No variant holds any of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Key generation failed.
    #[error("no {algorithm} key could be generated: the random generator failed")]
    Generate {
        /// What was to be generated.
        algorithm: KeyAlgorithm,
    },
    /// A block is not PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// There is no private key.
    #[error("no private key in the PEM text (found: {})", if found.is_empty() { "nothing" } else { found })]
    NoKey {
        /// Labels of the blocks that there are.
        found: String,
    },
    /// There is more than one, and nothing says which is meant.
    #[error("{count} private keys in one PEM text, expected one")]
    SeveralKeys {
        /// How many.
        count: usize,
    },
    /// The key is protected by a passphrase, which kubecert does not ask for; decrypt it with `openssl pkey` first.
    #[error("private key `{label}` is encrypted")]
    Encrypted {
        /// The block's label.
        label: String,
    },
    /// A kind or size of key that kubecert does not work with.
    #[error("private key of an unsupported kind: {kind}")]
    Unsupported {
        /// The kind: an object identifier, a size, a PEM label.
        kind: String,
    },
    /// The bytes are not such a key, or its parts contradict each other.
    #[error("`{label}` does not hold a usable private key: {detail}")]
    Malformed {
        /// The block's label.
        label: &'static str,
        /// The decoder's words.
        detail: String,
    },
    /// The key could not be encoded.
    #[error("private key cannot be encoded")]
    Encode,
    /// The key could not sign.
    #[error("private key could not sign")]
    Sign,
}
