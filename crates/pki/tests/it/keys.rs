//! Private keys: encodings compared with openssl's, refusals, secrecy.

use kubecert_pki::{KeyAlgorithm, KeyEncoding, KeyError, PrivateKey, PublicKey};

use crate::common::{ca, key, openssl, quick_key};

#[test]
fn every_kind_survives_every_encoding() {
    for algorithm in KeyAlgorithm::ALL {
        let key = key(algorithm, 1);
        assert_eq!(key.algorithm(), algorithm);
        for encoding in [KeyEncoding::Pkcs1OrSec1, KeyEncoding::Pkcs8] {
            let pem = key.to_pem(encoding).unwrap();
            let read = PrivateKey::from_pem(pem.expose()).unwrap();
            assert_eq!(read.spki_der(), key.spki_der());
            assert_eq!(read.to_pem(encoding).unwrap().expose(), pem.expose());
        }
        let public = key.public_key_pem().unwrap();
        assert_eq!(PublicKey::from_pem(&public).unwrap(), *key.public_key());
    }
}

#[test]
fn openssl_writes_the_same_bytes() {
    for algorithm in KeyAlgorithm::ALL {
        let key = key(algorithm, 1);
        let pkcs8 = key.to_pem(KeyEncoding::Pkcs8).unwrap();
        let traditional = key.to_pem(KeyEncoding::Pkcs1OrSec1).unwrap();
        for input in [&pkcs8, &traditional] {
            let Some(theirs) = openssl(&["pkey"], input.expose()) else { return };
            assert_eq!(theirs, pkcs8.expose(), "{algorithm} as PKCS#8");
            // openssl has no other encoding of Ed25519 either, and says so by failing.
            if algorithm != KeyAlgorithm::Ed25519 {
                let Some(theirs) = openssl(&["pkey", "-traditional"], input.expose()) else { return };
                assert_eq!(theirs, traditional.expose(), "{algorithm} in its own encoding");
            }
            let Some(theirs) = openssl(&["pkey", "-pubout"], input.expose()) else { return };
            assert_eq!(theirs, key.public_key_pem().unwrap(), "{algorithm} public key");
        }
        let Some(verdict) = openssl(&["pkey", "-check", "-noout"], pkcs8.expose()) else { return };
        assert_eq!(verdict.trim(), "Key is valid", "{algorithm}");
    }
    let rsa = key(KeyAlgorithm::Rsa2048, 1).to_pem(KeyEncoding::Pkcs1OrSec1).unwrap();
    let Some(verdict) = openssl(&["rsa", "-check", "-noout"], rsa.expose()) else { return };
    assert_eq!(verdict.trim(), "RSA key ok");
}

#[test]
fn keys_of_openssl_are_read() {
    let curve = |name: &'static str| vec!["ecparam", "-genkey", "-name", name];
    for (args, algorithm) in [
        (vec!["genrsa", "-traditional", "2048"], KeyAlgorithm::Rsa2048),
        (vec!["genrsa", "2048"], KeyAlgorithm::Rsa2048),
        // With an `EC PARAMETERS` block before the key.
        (curve("prime256v1"), KeyAlgorithm::EcdsaP256),
        (curve("secp384r1"), KeyAlgorithm::EcdsaP384),
        (vec!["genpkey", "-algorithm", "ed25519"], KeyAlgorithm::Ed25519),
    ] {
        let Some(pem) = openssl(&args, "") else { return };
        assert_eq!(PrivateKey::from_pem(&pem).unwrap().algorithm(), algorithm, "{args:?}");
    }
    for args in [curve("secp521r1"), curve("secp256k1"), vec!["genpkey", "-algorithm", "x25519"]] {
        let Some(pem) = openssl(&args, "") else { return };
        assert!(matches!(PrivateKey::from_pem(&pem), Err(KeyError::Unsupported { .. })), "{args:?}");
    }
    let Some(small) = openssl(&["genrsa", "1024"], "") else { return };
    assert!(matches!(PrivateKey::from_pem(&small), Err(KeyError::Malformed { .. })));
}

#[test]
fn encrypted_keys_are_named_as_such() {
    let plain = quick_key().to_pem(KeyEncoding::Pkcs8).unwrap();
    for extra in [&[][..], &["-traditional"]] {
        let args = [&["pkey", "-aes256", "-passout", "pass:x"], extra].concat();
        let Some(pem) = openssl(&args, plain.expose()) else { return };
        assert!(matches!(PrivateKey::from_pem(&pem), Err(KeyError::Encrypted { .. })), "{pem}");
    }
}

#[test]
fn what_is_not_one_key_is_refused() {
    let certificate = ca("ca", quick_key()).certificate().to_pem();
    let pem = quick_key().to_pem(KeyEncoding::Pkcs8).unwrap();
    let refused = |text: &str| PrivateKey::from_pem(text).unwrap_err();
    assert_eq!(refused(""), KeyError::NoKey { found: String::new() });
    assert_eq!(refused(&certificate), KeyError::NoKey { found: "CERTIFICATE".into() });
    assert_eq!(refused(&pem.expose().repeat(2)), KeyError::SeveralKeys { count: 2 });
    assert!(PrivateKey::from_pem(&(certificate + pem.expose())).is_ok(), "as in kubelet-client-current.pem");
    assert!(matches!(refused(&pem.expose()[..80]), KeyError::Pem(_)));
    let other = pem.expose().replace("PRIVATE KEY", "OPENSSH PRIVATE KEY");
    assert_eq!(refused(&other), KeyError::Unsupported { kind: "PEM block `OPENSSH PRIVATE KEY`".into() });
    let wrong = pem.expose().replace("PRIVATE KEY", "RSA PRIVATE KEY");
    assert!(matches!(refused(&wrong), KeyError::Malformed { label: "RSA PRIVATE KEY", .. }));
}

#[test]
fn nothing_secret_is_shown() {
    let key = quick_key();
    let pem = key.to_pem(KeyEncoding::Pkcs8).unwrap();
    let secret = pem.expose().lines().nth(1).unwrap().to_owned();
    let shown = format!("{key:?} {pem:?} {:?}", ca("ca", key.clone()));
    assert!(!shown.contains(&secret) && shown.contains("REDACTED"), "{shown}");
    assert_eq!(key.to_pem(KeyEncoding::Pkcs8).unwrap().to_bytes().as_slice(), pem.expose().as_bytes());
}
