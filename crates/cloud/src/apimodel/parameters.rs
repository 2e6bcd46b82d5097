//! `azuredeploy.parameters.json`: what a deployment of the ancestor's template takes its certificates from.
//!
//! Its names and its encoding (PEM in base64, below `value`) are those of the ancestor's `params_k8s.go`. Only the texts of
//! those values are replaced; every other byte stays.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;

use super::profile::{CertificateProfile, Entry};
use super::text::{self, Member};

/// The name of the file, beside the model.
pub const PARAMETERS_FILE: &str = "azuredeploy.parameters.json";

/// The text of the file.
pub struct Parameters(SecretString);

/// The file with another PKI.
#[derive(Debug)]
pub struct UpdatedParameters {
    /// Its text, which holds private keys.
    pub text: SecretString,
    /// The certificates and keys that it takes from a Key Vault, and that are as they were.
    pub references: Vec<String>,
    /// Those that it does not have at all.
    pub absent: Vec<String>,
}

/// Why the file is not what it should be.
#[derive(Debug, Error)]
pub enum ParametersError {
    /// It is not one JSON document.
    #[error("it is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// It has no parameters.
    #[error("it has no parameters")]
    NoParameters,
}

impl Parameters {
    /// Reads the text of the file.
    ///
    /// # Errors
    ///
    /// [`ParametersError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ParametersError> {
        // Only whether it is JSON: whatever it holds stays where it is.
        let _valid: serde::de::IgnoredAny =
            serde_json::from_slice(bytes).map_err(ParametersError::NotJson)?;
        let text = String::from_utf8_lossy(bytes).into_owned();
        if text::members(&text, &parameters(&text)).is_empty() {
            return Err(ParametersError::NoParameters);
        }
        Ok(Self(text.into()))
    }

    /// The text with the certificates and keys of `profile`.
    pub fn with_profile(&self, profile: &CertificateProfile) -> UpdatedParameters {
        let text = self.0.expose_secret();
        let members = text::members(text, &parameters(text));
        let (mut references, mut absent) = (Vec::new(), Vec::new());
        let mut edits: Vec<(Range<usize>, SecretString)> = Vec::new();
        for (name, pem) in wanted(profile) {
            let Some(parameter) = find(&members, &name) else {
                absent.push(name);
                continue;
            };
            match find(&text::members(text, &parameter.value), "value") {
                // Base64 needs no escapes in JSON.
                Some(value) => {
                    let encoded = format!("\"{}\"", STANDARD.encode(pem.expose_secret()));
                    edits.push((value.value.clone(), encoded.into()));
                }
                None => references.push(name),
            }
        }
        edits.sort_by_key(|(range, _)| range.start);
        let mut new = String::with_capacity(text.len() * 2);
        let mut at = 0;
        for (range, value) in &edits {
            new.push_str(&text[at..range.start]);
            new.push_str(value.expose_secret());
            at = range.end;
        }
        new.push_str(&text[at..]);
        UpdatedParameters { text: new.into(), references, absent }
    }
}

/// The range of `parameters`; of the whole document where it is nothing but parameters.
fn parameters(text: &str) -> Range<usize> {
    let document = text::document(text);
    let members = text::members(text, &document);
    find(&members, "parameters").map_or(document, |member| member.value.clone())
}

fn find<'a>(members: &'a [Member], name: &str) -> Option<&'a Member> {
    members.iter().find(|member| member.key.eq_ignore_ascii_case(name))
}

/// Each parameter with what belongs there.
fn wanted(profile: &CertificateProfile) -> Vec<(String, SecretString)> {
    // `etcdPeerCertificates[0]` of the model is `etcdPeerCertificate0` among the parameters.
    let flat = |key: String| key.replace("s[", "").replace(']', "");
    let mut wanted = Vec::new();
    for entry in Entry::all(profile.etcd_peers()) {
        if let Some(certificate) = profile.certificate(entry) {
            wanted.push((flat(entry.certificate_key()), SecretString::from(certificate.to_owned())));
        }
        if let Some(key) = profile.private_key(entry) {
            wanted.push((flat(entry.private_key_key()), key.clone()));
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> CertificateProfile {
        CertificateProfile::default().with(Entry::Ca, "ca\n".to_owned(), "ca key\n".into()).with(
            Entry::EtcdPeer(0),
            "peer\n".to_owned(),
            "peer key\n".into(),
        )
    }

    const TEXT: &str = r#"{
  "$schema": "http://schema.management.azure.com/schemas/2015-01-01/deploymentParameters.json#",
  "contentVersion": "1.0.0.0",
  "parameters": {
    "caCertificate": {
      "value": "b2xk"
    },
    "caPrivateKey": { "reference": { "keyVault": { "id": "/subscriptions/x" }, "secretName": "value" } },
    "cloudproviderConfig": { "value": { "cloudProviderBackoffJitter": "1", "value": 1.0 } },
    "etcdPeerPrivateKey0": {"value": "b2xk"}
  }
}
"#;

    #[test]
    fn only_the_certificates_change() {
        let updated = Parameters::parse(TEXT.as_bytes()).unwrap().with_profile(&profile());
        let ca = STANDARD.encode("ca\n");
        let peer = STANDARD.encode("peer key\n");
        let expected = TEXT.replacen("b2xk", &ca, 1).replacen("b2xk", &peer, 1);
        assert_eq!(updated.text.expose_secret(), expected);
        assert_eq!(updated.references, ["caPrivateKey"]);
        assert_eq!(updated.absent, ["etcdPeerCertificate0"]);
        let again = Parameters::parse(expected.as_bytes()).unwrap().with_profile(&profile());
        assert_eq!(again.text.expose_secret(), expected);
        assert!(!format!("{updated:?}").contains(&peer));
    }

    #[test]
    fn parameters_without_their_frame_are_read_too() {
        let bare = r#"{"caCertificate":{"value":"b2xk"}}"#;
        let updated = Parameters::parse(bare.as_bytes()).unwrap().with_profile(&profile());
        assert_eq!(updated.text.expose_secret(), &bare.replace("b2xk", &STANDARD.encode("ca\n")));
    }

    #[test]
    fn other_files_are_refused() {
        assert!(matches!(Parameters::parse(b"{"), Err(ParametersError::NotJson(_))));
        for odd in ["{}", "[]", r#"{"parameters": []}"#] {
            assert!(matches!(Parameters::parse(odd.as_bytes()), Err(ParametersError::NoParameters)), "{odd}");
        }
    }
}
