//! The key that encrypts keys: 32 bytes in a file, readable by its owner alone. The vendor's lies with the cloud agent; here it is
//! local, so that what fails without the authority fails for that reason and no other.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use zeroize::Zeroizing;

const KEY_LENGTH: usize = 32;

/// The largest plaintext. API servers encrypt seeds of 32 bytes, and refuse ciphertexts from 1 kB on.
const LARGEST: usize = 512;

pub(super) struct LocalKey {
    key: RandomizedNonceKey,
    id: String,
}

impl LocalKey {
    /// The key of a file, which is made where there is none.
    pub(super) fn read_or_make(path: &Path) -> io::Result<Self> {
        let mut bytes = Zeroizing::new(vec![0; KEY_LENGTH]);
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("there is no randomness"))?;
        // Whoever comes first makes it; API servers of a cluster have one key.
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(mut file) => {
                file.write_all(&bytes)?;
                file.sync_all()?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                bytes = Zeroizing::new(std::fs::read(path)?);
            }
            Err(error) => return Err(error),
        }
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes);
        let key = key.map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, format!("it has not {KEY_LENGTH} bytes"))
        })?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
        let id = hex::encode(digest.as_ref().get(..8).unwrap_or_default());
        Ok(Self { key, id })
    }

    /// How API servers call it.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Nonce, ciphertext and tag, in this order.
    pub(super) fn encrypt(&self, plaintext: &[u8]) -> Result<Vec<u8>, &'static str> {
        if plaintext.len() > LARGEST {
            return Err("it is too large: keys and seeds are encrypted here, and nothing else");
        }
        let mut sealed = Zeroizing::new(Vec::with_capacity(plaintext.len() + AES_256_GCM.tag_len()));
        sealed.extend_from_slice(plaintext);
        let nonce = self.key.seal_in_place_append_tag(Aad::from(self.id.as_bytes()), &mut *sealed);
        let nonce = nonce.map_err(|_| "it cannot be encrypted")?;
        Ok([nonce.as_ref().as_slice(), &sealed].concat())
    }

    pub(super) fn decrypt(&self, ciphertext: &[u8], key_id: &str) -> Result<Vec<u8>, &'static str> {
        if key_id != self.id {
            return Err("it was encrypted by another key");
        }
        let (nonce, sealed) = ciphertext.split_at_checked(NONCE_LEN).ok_or("it is too short")?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| "it is too short")?;
        let mut opened = Zeroizing::new(sealed.to_vec());
        let plaintext = self.key.open_in_place(nonce, Aad::from(self.id.as_bytes()), &mut opened);
        plaintext
            .map(|plaintext| plaintext.to_vec())
            .map_err(|_| "it is damaged, or was encrypted by another key")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_key_stays_and_damage_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let key = LocalKey::read_or_make(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut sealed = key.encrypt(b"seed").unwrap();
        let again = LocalKey::read_or_make(&path).unwrap();
        assert_eq!(again.decrypt(&sealed, key.id()).unwrap(), b"seed");
        assert_ne!(sealed, key.encrypt(b"seed").unwrap(), "no nonce is used twice");
        assert!(again.decrypt(&sealed, "another").is_err() && again.decrypt(&sealed[..5], key.id()).is_err());
        sealed[NONCE_LEN] ^= 1;
        assert!(again.decrypt(&sealed, key.id()).is_err());
        assert!(key.encrypt(&[0; LARGEST + 1]).is_err());
        std::fs::write(&path, "short").unwrap();
        assert!(LocalKey::read_or_make(&path).is_err());
    }
}
