//! Replaces the credentials in a kubeconfig and leaves every other byte as it was.
//!
//! Masters of AKS engine keep an administrator's kubeconfig whose server differs from cluster to cluster (a private
//! address, `https://localhost`); writing it anew would lose that. Only the three base64 values change, in YAML and in
//! JSON alike.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Why a kubeconfig cannot be edited.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KubeconfigError {
    /// It is not text.
    #[error("the kubeconfig is not UTF-8")]
    NotText,
    /// It does not hold its credentials inline, or holds several.
    #[error("the kubeconfig has {found} entries {key} where one is expected")]
    Entries {
        /// Which entry.
        key: &'static str,
        /// How many there are.
        found: usize,
    },
}

/// The kubeconfig with other roots, client certificate and key, each given as PEM.
///
/// # Errors
///
/// Fails if one of the three is not there exactly once.
pub fn replace_credentials(
    kubeconfig: &[u8],
    roots: &[u8],
    certificate: &[u8],
    key: &[u8],
) -> Result<Zeroizing<Vec<u8>>, KubeconfigError> {
    let text = std::str::from_utf8(kubeconfig).map_err(|_| KubeconfigError::NotText)?;
    let mut text = Zeroizing::new(text.to_owned());
    for (entry, value) in [
        ("certificate-authority-data", roots),
        ("client-certificate-data", certificate),
        ("client-key-data", key),
    ] {
        let encoded = Zeroizing::new(STANDARD.encode(value));
        text = replace_value(&text, entry, &encoded)?;
    }
    Ok(Zeroizing::new(text.as_bytes().to_vec()))
}

fn replace_value(text: &str, key: &'static str, value: &str) -> Result<Zeroizing<String>, KubeconfigError> {
    let found: Vec<usize> = text.match_indices(key).map(|(at, _)| at + key.len()).collect();
    let [after] = found.as_slice() else { return Err(KubeconfigError::Entries { key, found: found.len() }) };
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    let rest = &text[*after..];
    let start = rest.find(is_base64).unwrap_or(rest.len());
    let length = rest[start..].find(|c: char| !is_base64(c)).unwrap_or(rest.len() - start);
    let (start, end) = (after + start, after + start + length);
    Ok(Zeroizing::new([&text[..start], value, &text[end..]].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_and_json_keep_everything_else() {
        let yaml = "clusters:\n- cluster:\n    certificate-authority-data: QQ==\n    server: https://localhost\nusers:\n- user:\n    client-certificate-data: Qg==\n    client-key-data: Qw==\n";
        let json = r#"{"certificate-authority-data": "QQ==", "server": "https://localhost", "client-certificate-data":"Qg==", "client-key-data": "Qw=="}"#;
        for text in [yaml, json] {
            let edited = replace_credentials(text.as_bytes(), b"roots", b"leaf", b"key").unwrap();
            let expected =
                text.replace("QQ==", "cm9vdHM=").replace("Qg==", "bGVhZg==").replace("Qw==", "a2V5");
            assert_eq!(std::str::from_utf8(&edited).unwrap(), expected);
        }
        assert_eq!(
            replace_credentials(b"users: []", b"", b"", b""),
            Err(KubeconfigError::Entries { key: "certificate-authority-data", found: 0 })
        );
    }
}
