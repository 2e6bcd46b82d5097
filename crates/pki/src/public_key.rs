//! Public keys, and the signatures they verify.

use std::fmt;

use der::asn1::{ObjectIdentifier, UintRef};
use der::{Decode as _, Encode as _, Sequence};

use crate::algorithm::KeyAlgorithm;
use crate::pem;
use crate::wire::RawPublicKey;

const RSA: ObjectIdentifier = const_oid::db::rfc5912::RSA_ENCRYPTION;
const EC: ObjectIdentifier = const_oid::db::rfc5912::ID_EC_PUBLIC_KEY;
const ED25519: ObjectIdentifier = const_oid::db::rfc8410::ID_ED_25519;
const P256: ObjectIdentifier = const_oid::db::rfc5912::SECP_256_R_1;
const P384: ObjectIdentifier = const_oid::db::rfc5912::SECP_384_R_1;

/// A public key as a DER `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7), of any kind.
///
/// Two keys are equal when kind and key agree; spellings of the algorithm's parameters do not count.
#[derive(Clone)]
pub struct PublicKey {
    der: Vec<u8>,
    kind: PublicKeyKind,
    /// The contents of the `subjectPublicKey` bit string.
    key: Vec<u8>,
    /// The contents of the `AlgorithmIdentifier`, without its own tag and length.
    algorithm: Vec<u8>,
}

impl PublicKey {
    /// Reads a DER `SubjectPublicKeyInfo`. Keys of unknown kinds are read too, as [`PublicKeyKind::Other`].
    ///
    /// # Errors
    ///
    /// When the bytes are not that structure, or an RSA key in it is malformed.
    pub fn from_der(der: &[u8]) -> Result<Self, PublicKeyError> {
        Self::read(der).map_err(|source| PublicKeyError::Malformed(source.to_string()))
    }

    /// Reads a PEM `PUBLIC KEY`.
    ///
    /// # Errors
    ///
    /// When there is no such block, or it does not hold a public key.
    pub fn from_pem(text: &str) -> Result<Self, PublicKeyError> {
        let block =
            pem::blocks(text.as_bytes()).into_iter().flatten().find(|block| block.label == "PUBLIC KEY");
        Self::from_der(&block.ok_or(PublicKeyError::NoBlock)?.contents)
    }

    fn read(der: &[u8]) -> der::Result<Self> {
        let raw = RawPublicKey::from_der(der)?;
        let key = raw.key.raw_bytes().to_vec();
        let curve = raw.algorithm.parameters.and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
        let kind = match (raw.algorithm.oid, curve) {
            (RSA, _) => PublicKeyKind::Rsa { bits: rsa_bits(&key)? },
            (EC, Some(P256)) => PublicKeyKind::EcdsaP256,
            (EC, Some(P384)) => PublicKeyKind::EcdsaP384,
            (ED25519, _) => PublicKeyKind::Ed25519,
            (EC, Some(curve)) => PublicKeyKind::Other(curve.to_string()),
            (other, _) => PublicKeyKind::Other(other.to_string()),
        };
        let algorithm = raw.algorithm.to_der()?;
        let algorithm = der::asn1::AnyRef::try_from(algorithm.as_slice())?.value().to_vec();
        Ok(Self { der: der.to_vec(), kind, key, algorithm })
    }

    /// The DER `SubjectPublicKeyInfo`.
    pub fn spki_der(&self) -> &[u8] {
        &self.der
    }

    /// The PEM block `PUBLIC KEY` (PKIX), as service-account verification takes it.
    ///
    /// # Errors
    ///
    /// Only for a key too large to be written.
    pub fn to_pem(&self) -> Result<String, PublicKeyError> {
        pem::encode("PUBLIC KEY", &self.der).map_err(|source| PublicKeyError::Malformed(source.to_string()))
    }

    /// What kind of key it is.
    pub fn kind(&self) -> &PublicKeyKind {
        &self.kind
    }

    /// The key identifier by RFC 7093 §2 method 1: the leftmost 160 bits of the SHA-256 of the key's bit string.
    ///
    /// Not SHA-1 (RFC 5280 §4.2.1.2), only because FIPS builds and scanners frown on it; the value has no meaning but
    /// to be the same in SKI and AKI. A certificate's *own* identifier may have been made in another way: see
    /// [`Certificate::key_id`](crate::Certificate::key_id).
    pub fn derived_key_id(&self) -> KeyId {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.key);
        KeyId(digest.as_ref()[..20].to_vec())
    }

    /// Whether this key made `signature` over `message`, by the algorithm whose `AlgorithmIdentifier` contents are given.
    pub(crate) fn verify(
        &self,
        algorithm: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        // The algorithms are those with which webpki verifies chains, so both of our ways agree on what is supported.
        let known = webpki::ALL_VERIFICATION_ALGS
            .iter()
            .filter(|known| known.signature_alg_id().as_ref() == algorithm);
        let mut known = known.filter(|known| known.public_key_alg_id().as_ref() == self.algorithm).peekable();
        if known.peek().is_none() {
            return Err(SignatureError::Unsupported {
                key: self.kind.clone(),
                algorithm: hex::encode(algorithm),
            });
        }
        match known.any(|known| known.verify_signature(&self.key, message, signature).is_ok()) {
            true => Ok(()),
            false => Err(SignatureError::Mismatch),
        }
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.key == other.key
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.kind, self.derived_key_id())
    }
}

/// The kind and size of a public key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PublicKeyKind {
    /// RSA.
    Rsa {
        /// Bits of the modulus.
        bits: u32,
    },
    /// ECDSA on NIST P-256.
    EcdsaP256,
    /// ECDSA on NIST P-384.
    EcdsaP384,
    /// Ed25519.
    Ed25519,
    /// Anything else, by the object identifier of its curve or algorithm.
    Other(String),
}

impl PublicKeyKind {
    /// The algorithm with which kubecert can generate such a key, if it can.
    pub fn algorithm(&self) -> Option<KeyAlgorithm> {
        match self {
            Self::Rsa { bits: 2048 } => Some(KeyAlgorithm::Rsa2048),
            Self::Rsa { bits: 3072 } => Some(KeyAlgorithm::Rsa3072),
            Self::Rsa { bits: 4096 } => Some(KeyAlgorithm::Rsa4096),
            Self::EcdsaP256 => Some(KeyAlgorithm::EcdsaP256),
            Self::EcdsaP384 => Some(KeyAlgorithm::EcdsaP384),
            Self::Ed25519 => Some(KeyAlgorithm::Ed25519),
            Self::Rsa { .. } | Self::Other(_) => None,
        }
    }
}

/// As [`KeyAlgorithm`] spells it, or `rsa-<bits>`, or the object identifier.
impl fmt::Display for PublicKeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa { bits } => write!(f, "rsa-{bits}"),
            Self::EcdsaP256 => f.write_str("ecdsa-p256"),
            Self::EcdsaP384 => f.write_str("ecdsa-p384"),
            Self::Ed25519 => f.write_str("ed25519"),
            Self::Other(oid) => f.write_str(oid),
        }
    }
}

/// The value of a subject or authority key identifier, shown as hexadecimal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub(crate) Vec<u8>);

impl KeyId {
    /// The raw octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

fn rsa_bits(key: &[u8]) -> der::Result<u32> {
    let key = RsaPublicKey::from_der(key)?;
    let modulus = key.modulus.as_bytes();
    let leading = modulus.first().map_or(0, |byte| byte.leading_zeros());
    Ok((u32::try_from(modulus.len()).unwrap_or(u32::MAX)).saturating_mul(8).saturating_sub(leading))
}

/// Why something is not a public key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// No PEM block `PUBLIC KEY`.
    #[error("no PEM block `PUBLIC KEY`")]
    NoBlock,
    /// The structure is not a public key.
    #[error("public key is malformed: {0}")]
    Malformed(String),
}

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The issuer's name is not that of the certificate said to be the issuer.
    #[error("issuer is `{issuer}`, not `{subject}`")]
    OtherIssuer {
        /// The issuer that the certificate names.
        issuer: String,
        /// The subject of the certificate that was tried.
        subject: String,
    },
    /// The signature was made by another key, or something was altered.
    #[error("signature was not made by this key")]
    Mismatch,
    /// Neither right nor wrong: the combination is not supported (SHA-1 and MD5 are not, on purpose).
    #[error("signatures of a {key} key with algorithm {algorithm} are not supported")]
    Unsupported {
        /// The key's kind.
        key: PublicKeyKind,
        /// The contents of the `AlgorithmIdentifier`, as hexadecimal DER.
        algorithm: String,
    },
}
