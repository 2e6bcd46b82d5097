//! The three encodings of private keys: PKCS#8 (RFC 5208), PKCS#1 (RFC 8017 A.1.2) and SEC1 (RFC 5915).

use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der, Pkcs8V1Der};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair,
};
use der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use der::{Decode as _, Reader as _, SliceReader};
use zeroize::Zeroizing;

use crate::key::{KeyError, Pair};
use crate::wire::RawAlgorithm;

const RSA: ObjectIdentifier = const_oid::db::rfc5912::RSA_ENCRYPTION;
const EC: ObjectIdentifier = const_oid::db::rfc5912::ID_EC_PUBLIC_KEY;
const ED25519: ObjectIdentifier = const_oid::db::rfc8410::ID_ED_25519;
const P256: ObjectIdentifier = const_oid::db::rfc5912::SECP_256_R_1;
const P384: ObjectIdentifier = const_oid::db::rfc5912::SECP_384_R_1;

/// Reads a PKCS#8 `PrivateKeyInfo` of any supported kind.
pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Pair, KeyError> {
    let (algorithm, _) = split_pkcs8(der).map_err(malformed("PRIVATE KEY"))?;
    let curve = algorithm.parameters.and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
    match (algorithm.oid, curve) {
        (RSA, _) => rsa::KeyPair::from_pkcs8(der).map(Pair::Rsa).map_err(malformed("PRIVATE KEY")),
        (EC, Some(curve)) => EcdsaKeyPair::from_pkcs8(curve_algorithm(curve)?, der)
            .map(Pair::Ecdsa)
            .map_err(malformed("PRIVATE KEY")),
        (ED25519, _) => Ed25519KeyPair::from_pkcs8(der).map(Pair::Ed25519).map_err(malformed("PRIVATE KEY")),
        (other, _) => Err(KeyError::Unsupported { kind: other.to_string() }),
    }
}

/// Reads a PKCS#1 `RSAPrivateKey`.
pub(crate) fn from_pkcs1(der: &[u8]) -> Result<Pair, KeyError> {
    rsa::KeyPair::from_der(der).map(Pair::Rsa).map_err(malformed("RSA PRIVATE KEY"))
}

/// Reads a SEC1 `ECPrivateKey`, which must name its curve (RFC 5915 §3 requires it outside of PKCS#8).
pub(crate) fn from_sec1(der: &[u8]) -> Result<Pair, KeyError> {
    let curve = sec1_curve(der).map_err(malformed("EC PRIVATE KEY"))?;
    let curve =
        curve.ok_or_else(|| KeyError::Unsupported { kind: "elliptic curve without a name".into() })?;
    let pair = EcdsaKeyPair::from_private_key_der(curve_algorithm(curve)?, der);
    pair.map(Pair::Ecdsa).map_err(malformed("EC PRIVATE KEY"))
}

/// The PKCS#8 (version 1) encoding.
pub(crate) fn to_pkcs8(pair: &Pair) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let failed = |_| KeyError::Encode;
    let der = match pair {
        Pair::Rsa(pair) => AsDer::<Pkcs8V1Der<'_>>::as_der(pair).map_err(failed)?.as_ref().to_vec(),
        Pair::Ecdsa(pair) => pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec(),
        // Version 2 adds the public key, which openssl 3.0 cannot read.
        Pair::Ed25519(pair) => pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec(),
    };
    Ok(Zeroizing::new(der))
}

/// The encoding of the key's own kind and its PEM label: PKCS#1, SEC1, or PKCS#8 where there is no other (Ed25519).
pub(crate) fn to_traditional(pair: &Pair) -> Result<(&'static str, Zeroizing<Vec<u8>>), KeyError> {
    match pair {
        Pair::Rsa(_) => {
            let pkcs8 = to_pkcs8(pair)?;
            let (_, inner) = split_pkcs8(&pkcs8).map_err(|_| KeyError::Encode)?;
            Ok(("RSA PRIVATE KEY", Zeroizing::new(inner.to_vec())))
        }
        Pair::Ecdsa(pair) => {
            let der: EcPrivateKeyRfc5915Der<'_> =
                pair.private_key().as_der().map_err(|_| KeyError::Encode)?;
            Ok(("EC PRIVATE KEY", Zeroizing::new(der.as_ref().to_vec())))
        }
        Pair::Ed25519(_) => Ok(("PRIVATE KEY", to_pkcs8(pair)?)),
    }
}

pub(crate) fn curve_algorithm(curve: ObjectIdentifier) -> Result<&'static EcdsaSigningAlgorithm, KeyError> {
    match curve {
        P256 => Ok(&ECDSA_P256_SHA256_ASN1_SIGNING),
        P384 => Ok(&ECDSA_P384_SHA384_ASN1_SIGNING),
        other => Err(KeyError::Unsupported { kind: format!("elliptic curve {other}") }),
    }
}

/// Algorithm and contents of a `PrivateKeyInfo`; what follows them (attributes, public key) is of no interest.
fn split_pkcs8(der: &[u8]) -> der::Result<(RawAlgorithm<'_>, &[u8])> {
    let outer = AnyRef::try_from(der)?;
    let mut reader = SliceReader::new(outer.value())?;
    let _version: u8 = reader.decode()?;
    let algorithm = RawAlgorithm::decode(&mut reader)?;
    let key = <&OctetStringRef>::decode(&mut reader)?;
    Ok((algorithm, key.as_bytes()))
}

fn sec1_curve(der: &[u8]) -> der::Result<Option<ObjectIdentifier>> {
    let outer = AnyRef::try_from(der)?;
    let mut reader = SliceReader::new(outer.value())?;
    let _version: u8 = reader.decode()?;
    let _key = <&OctetStringRef>::decode(&mut reader)?;
    reader.context_specific::<ObjectIdentifier>(der::TagNumber(0), der::TagMode::Explicit)
}

/// Errors of decoders say what is wrong with the structure, never what is in it.
fn malformed<E: std::fmt::Display>(label: &'static str) -> impl Fn(E) -> KeyError {
    move |source| KeyError::Malformed { label, detail: source.to_string() }
}
