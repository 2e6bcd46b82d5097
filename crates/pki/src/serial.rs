//! Serial numbers of certificates that we issue.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A certificate's serial number as we issue it: a positive integer of at most 20 octets (RFC 5280 §4.1.2.2).
///
/// A plan fixes its serials when it is made, so the type is serialisable: lower-case hexadecimal, no separators.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Serial(Vec<u8>);

/// How many octets a random serial has: 128 bits, as AKS engine's and kubeadm's own serials have at most.
const RANDOM_LEN: usize = 16;

/// The most octets that RFC 5280 allows.
const MAX_LEN: usize = 20;

impl Serial {
    /// Draws a random serial of exactly 16 octets.
    ///
    /// The highest bit is cleared, so that the integer is positive without a leading zero octet; the next one is set,
    /// so that the length never varies. 126 random bits remain, far above the 64 that the CA/Browser Forum asks for.
    ///
    /// # Errors
    ///
    /// When the operating system has no randomness to give.
    pub fn random() -> Result<Self, SerialError> {
        let mut bytes = [0_u8; RANDOM_LEN];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| SerialError::NoRandomness)?;
        bytes[0] = (bytes[0] & 0x7f) | 0x40;
        Ok(Self(bytes.to_vec()))
    }

    /// Takes a big-endian unsigned integer. Leading zeros do not matter.
    ///
    /// # Errors
    ///
    /// For zero, and for more than 20 octets once encoded (an integer with its highest bit set needs one more).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SerialError> {
        let start = bytes.iter().position(|byte| *byte != 0).ok_or(SerialError::Zero)?;
        let bytes = bytes[start..].to_vec();
        let encoded = bytes.len() + usize::from(bytes[0] >= 0x80);
        if encoded > MAX_LEN {
            return Err(SerialError::TooLong { octets: encoded });
        }
        Ok(Self(bytes))
    }

    /// The big-endian unsigned integer, without leading zeros.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The DER INTEGER.
    pub(crate) fn to_der(&self) -> der::Result<Vec<u8>> {
        let pad: &[u8] = if self.0[0] >= 0x80 { &[0] } else { &[] };
        crate::wire::tagged(der::Tag::Integer, &[pad, &self.0].concat())
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl FromStr for Serial {
    type Err = SerialError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = hex::decode(text).map_err(|_| SerialError::NotHex(text.to_owned()))?;
        Self::from_bytes(&bytes)
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> Self {
        serial.to_string()
    }
}

impl TryFrom<String> for Serial {
    type Error = SerialError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Why something is not a serial number that we would issue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SerialError {
    /// The system's random generator failed.
    #[error("the system's random generator failed")]
    NoRandomness,
    /// Serials are positive.
    #[error("serial number is zero")]
    Zero,
    /// RFC 5280 allows 20 octets.
    #[error("serial number takes {octets} octets, at most 20 are allowed")]
    TooLong {
        /// Octets of the encoded integer.
        octets: usize,
    },
    /// The text is not hexadecimal.
    #[error("serial number `{0}` is not hexadecimal")]
    NotHex(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_serials_differ_and_keep_their_length() {
        let serials: Vec<_> = (0..64).map(|_| Serial::random().unwrap()).collect();
        assert!(serials.iter().all(|serial| serial.to_der().unwrap().len() == 2 + RANDOM_LEN));
        let unique: std::collections::BTreeSet<_> = serials.iter().collect();
        assert_eq!(unique.len(), serials.len());
    }

    #[test]
    fn bounds() {
        assert_eq!(Serial::from_bytes(&[0, 0]), Err(SerialError::Zero));
        assert_eq!(Serial::from_bytes(&[]), Err(SerialError::Zero));
        assert!(Serial::from_bytes(&[0x7f; 20]).is_ok());
        assert_eq!(Serial::from_bytes(&[0x80; 20]), Err(SerialError::TooLong { octets: 21 }));
        assert_eq!("00ff".parse::<Serial>().unwrap().to_der().unwrap(), [2, 2, 0, 0xff]);
        assert_eq!("xy".parse::<Serial>(), Err(SerialError::NotHex("xy".into())));
    }
}
