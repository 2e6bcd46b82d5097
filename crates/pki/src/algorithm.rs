//! The key algorithms that kubecert generates, and the signatures that go with them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A kind of key that kubecert can generate, load and sign with.
///
/// `Display`, `FromStr` and serde agree on one spelling: `rsa-2048`, `rsa-3072`, `rsa-4096`, `ecdsa-p256`,
/// `ecdsa-p384`, `ed25519`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum KeyAlgorithm {
    /// RSA with a modulus of 2048 bits.
    Rsa2048,
    /// RSA with a modulus of 3072 bits.
    Rsa3072,
    /// RSA with a modulus of 4096 bits, which is what AKS engine uses for everything.
    Rsa4096,
    /// ECDSA on the curve NIST P-256.
    EcdsaP256,
    /// ECDSA on the curve NIST P-384.
    EcdsaP384,
    /// Ed25519 (RFC 8032). Browsers and some Java clients refuse it in certificates; Kubernetes' own parts accept it.
    Ed25519,
}

impl KeyAlgorithm {
    /// Every algorithm, weakest RSA first.
    pub const ALL: [Self; 6] =
        [Self::Rsa2048, Self::Rsa3072, Self::Rsa4096, Self::EcdsaP256, Self::EcdsaP384, Self::Ed25519];

    /// The spelling used on the command line and in plans.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::Ed25519 => "ed25519",
        }
    }

    /// The DER of the `AlgorithmIdentifier` of a signature made with such a key.
    ///
    /// RSA signs with PKCS#1 v1.5 and SHA-256 whatever its size (RFC 4055 §5, NULL parameters required), because that
    /// is what every client of every Kubernetes version verifies. ECDSA uses the hash of its curve's strength
    /// (RFC 5758 §3.2), Ed25519 has no choice (RFC 8410 §3).
    pub(crate) const fn signature_algorithm_der(self) -> &'static [u8] {
        match self {
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => {
                b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00"
            }
            Self::EcdsaP256 => b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02",
            Self::EcdsaP384 => b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03",
            Self::Ed25519 => b"\x30\x05\x06\x03\x2b\x65\x70",
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeyAlgorithm {
    type Err = UnknownKeyAlgorithm;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| UnknownKeyAlgorithm(text.to_owned()))
    }
}

impl From<KeyAlgorithm> for String {
    fn from(algorithm: KeyAlgorithm) -> Self {
        algorithm.as_str().to_owned()
    }
}

impl TryFrom<String> for KeyAlgorithm {
    type Error = UnknownKeyAlgorithm;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// A key algorithm's name that kubecert does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown key algorithm `{0}`, expected rsa-2048, rsa-3072, rsa-4096, ecdsa-p256, ecdsa-p384 or ed25519"
)]
pub struct UnknownKeyAlgorithm(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spelling_round_trips() {
        for algorithm in KeyAlgorithm::ALL {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
            let json = serde_json::to_string(&algorithm).unwrap();
            assert_eq!(json, format!("\"{algorithm}\""));
            assert_eq!(serde_json::from_str::<KeyAlgorithm>(&json).unwrap(), algorithm);
        }
        assert_eq!("RSA-4096".parse(), Ok(KeyAlgorithm::Rsa4096));
        assert_eq!("dsa".parse::<KeyAlgorithm>(), Err(UnknownKeyAlgorithm("dsa".into())));
    }
}
