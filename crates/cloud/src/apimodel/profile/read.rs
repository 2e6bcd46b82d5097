//! Reading profiles: the files that operators give, and the object inside a model.

use serde_json::{Map, Value};
use thiserror::Error;

use super::entry::{PEER_CERTIFICATES, PEER_PRIVATE_KEYS};
use super::{CertificateProfile, Entry};
use crate::apimodel::error::ApiModelError;
use crate::apimodel::reader::{Node, type_name};

impl CertificateProfile {
    /// Reads a `--certificate-profile` file.
    ///
    /// Two shapes are in use, and both are accepted: the flat object that the ancestor reads, and the one wrapped in
    /// `{"certificateProfile": {…}}` that its manual shows (and it rejects). Keys count in any case.
    ///
    /// # Errors
    ///
    /// [`ProfileReadError`] when the text is not a JSON object, has an unknown key, or a value of another type than
    /// text.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProfileReadError> {
        let document: Value =
            serde_json::from_slice(bytes).map_err(|source| ProfileReadError::NotJson { source })?;
        let outer = object(&document, "the document")?;
        let Some((wrapper, inner)) = outer.iter().find(|(key, _)| key.eq_ignore_ascii_case(WRAPPER)) else {
            return read_object(outer, AlsoAllowed::ApiVersion);
        };
        match outer.keys().find(|key| *key != wrapper && !key.eq_ignore_ascii_case(API_VERSION)) {
            Some(key) => Err(ProfileReadError::UnknownKey { key: key.clone() }),
            None => read_object(object(inner, wrapper)?, AlsoAllowed::Nothing),
        }
    }

    /// Reads the object inside a model, whose keys have been checked already.
    pub(in crate::apimodel) fn read(node: &Node<'_>) -> Result<Self, ApiModelError> {
        let mut profile = Self::default();
        for entry in Entry::all(0) {
            let pair = profile.pair_mut(entry);
            pair.certificate = node.text(&entry.certificate_key())?;
            pair.private_key = node.text(&entry.private_key_key())?.map(Into::into);
        }
        profile.set_peers(node.texts(PEER_CERTIFICATES)?, node.texts(PEER_PRIVATE_KEYS)?);
        Ok(profile)
    }

    fn set_peers(&mut self, certificates: Vec<String>, private_keys: Vec<String>) {
        for (index, pem) in certificates.into_iter().enumerate() {
            self.pair_mut(Entry::EtcdPeer(index)).certificate = Some(pem).filter(|pem| !pem.is_empty());
        }
        for (index, pem) in private_keys.into_iter().enumerate() {
            let present = !pem.is_empty();
            self.pair_mut(Entry::EtcdPeer(index)).private_key = present.then(|| pem.into());
        }
    }
}

/// Why a `--certificate-profile` file cannot be read.
#[derive(Debug, Error)]
pub enum ProfileReadError {
    /// The bytes are not one JSON document in UTF-8.
    #[error("the certificate profile is not JSON; `kubecert generate` writes one to compare with")]
    NotJson {
        /// The JSON parser's own account, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// A value of another type, for example `null` for the whole.
    #[error(
        "{key} in the certificate profile is {found}, expected {expected}; `kubecert generate` writes one to compare with"
    )]
    WrongType {
        /// The key, or `the document`.
        key: String,
        /// The type that belongs there.
        expected: &'static str,
        /// The type that is there.
        found: &'static str,
    },
    /// A key that a profile does not have.
    #[error("unknown key {key} in the certificate profile; check its spelling, or remove it")]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// The same key twice, perhaps in different case.
    #[error("{key} stands in the certificate profile twice; keep one of them")]
    DuplicateKey {
        /// The second one.
        key: String,
    },
}

enum AlsoAllowed {
    ApiVersion,
    Nothing,
}

fn read_object(
    members: &Map<String, Value>,
    also_allowed: AlsoAllowed,
) -> Result<CertificateProfile, ProfileReadError> {
    let mut profile = CertificateProfile::default();
    let mut seen = Vec::new();
    let (mut certificates, mut private_keys) = (Vec::new(), Vec::new());
    for (key, value) in members {
        let lower = key.to_ascii_lowercase();
        if seen.contains(&lower) {
            return Err(ProfileReadError::DuplicateKey { key: key.clone() });
        }
        let is = |name: &str| name.eq_ignore_ascii_case(key);
        if let Some(entry) = Entry::all(0).find(|entry| is(&entry.certificate_key())) {
            profile.pair_mut(entry).certificate = text(value, key)?;
        } else if let Some(entry) = Entry::all(0).find(|entry| is(&entry.private_key_key())) {
            profile.pair_mut(entry).private_key = text(value, key)?.map(Into::into);
        } else if is(PEER_CERTIFICATES) {
            certificates = texts(value, key)?;
        } else if is(PEER_PRIVATE_KEYS) {
            private_keys = texts(value, key)?;
        } else if !(is(API_VERSION) && matches!(also_allowed, AlsoAllowed::ApiVersion)) {
            return Err(ProfileReadError::UnknownKey { key: key.clone() });
        }
        seen.push(lower);
    }
    profile.set_peers(certificates, private_keys);
    Ok(profile)
}

fn object<'a>(value: &'a Value, key: &str) -> Result<&'a Map<String, Value>, ProfileReadError> {
    value.as_object().ok_or_else(|| wrong_type(value, key, "an object"))
}

/// A text; `null` and the empty one count as absent.
fn text(value: &Value, key: &str) -> Result<Option<String>, ProfileReadError> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        _ => Err(wrong_type(value, key, "a text")),
    }
}

fn texts(value: &Value, key: &str) -> Result<Vec<String>, ProfileReadError> {
    let items = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(items) => items,
        _ => return Err(wrong_type(value, key, "an array of texts")),
    };
    let item = |(index, item)| text(item, &format!("{key}[{index}]")).map(Option::unwrap_or_default);
    items.iter().enumerate().map(item).collect()
}

fn wrong_type(value: &Value, key: &str, expected: &'static str) -> ProfileReadError {
    ProfileReadError::WrongType { key: key.to_owned(), expected, found: type_name(value) }
}

const WRAPPER: &str = "certificateProfile";
const API_VERSION: &str = "apiVersion";

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str) -> String {
        CertificateProfile::parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn both_shapes_and_any_case_are_read() {
        let flat = r#"{"apiVersion": "vlabs", "CACERTIFICATE": "C", "etcdPeerPrivateKeys": ["K"]}"#;
        let wrapped = r#"{"CertificateProfile": {"caCertificate": "C", "etcdPeerPrivateKeys": ["K"]}}"#;
        let [flat, wrapped] = [flat, wrapped].map(|text| CertificateProfile::parse(text.as_bytes()).unwrap());
        assert_eq!(flat.certificate(Entry::Ca), Some("C"));
        assert!(flat == wrapped);
    }

    #[test]
    fn bad_files_are_errors_that_name_the_key() {
        let cases = [
            ("null", "the document in the certificate profile is null, expected an object"),
            (r#"{"certificateProfile": null}"#, "certificateProfile in the certificate profile is null"),
            (r#"{"certificateProfile": {"apiVersion": "vlabs"}}"#, "unknown key apiVersion"),
            (r#"{"certificateProfile": {}, "caCertificate": ""}"#, "unknown key caCertificate"),
            (r#"{"caCertificat": ""}"#, "unknown key caCertificat "),
            (
                r#"{"caCertificate": 1}"#,
                "caCertificate in the certificate profile is a number, expected a text",
            ),
            (
                r#"{"caCertificate": "", "CaCertificate": ""}"#,
                "CaCertificate stands in the certificate profile twice",
            ),
            (r#"{"etcdPeerCertificates": "x"}"#, "expected an array of texts"),
            (r#"{"etcdPeerCertificates": ["", {}]}"#, "etcdPeerCertificates[1] in the"),
            ("", "is not JSON"),
        ];
        for (text, expected) in cases {
            let error = complaint(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
