//! Replaces the credentials in a kubeconfig and leaves every other byte as it was.
//!
//! Masters of AKS engine keep an administrator's kubeconfig whose server differs from cluster to cluster (a private
//! address, `https://localhost`); writing it anew would lose that. Only the three base64 values change, in YAML and in
//! JSON alike.

use std::ops::Range;

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
    /// An entry has no value on its line, or one that is not base64.
    #[error("the value of {key} in the kubeconfig is not base64 on the line of its key")]
    Value {
        /// Which entry.
        key: &'static str,
    },
}

/// The kubeconfig with other roots, client certificate and key, each given as PEM.
///
/// It stays what it is in kind: one whose user logs in in another way (an `auth-provider` for Azure Active Directory, an
/// `exec` plugin) gets the roots alone.
///
/// # Errors
///
/// Fails if one of the three is not there exactly once, with a value in base64 on the same line.
pub fn replace_credentials(
    kubeconfig: &[u8],
    roots: &[u8],
    certificate: &[u8],
    key: &[u8],
) -> Result<Zeroizing<Vec<u8>>, KubeconfigError> {
    let text = std::str::from_utf8(kubeconfig).map_err(|_| KubeconfigError::NotText)?;
    let mut text = Zeroizing::new(text.to_owned());
    let all = [
        ("certificate-authority-data", roots),
        ("client-certificate-data", certificate),
        ("client-key-data", key),
    ];
    let concerned = if logs_in_otherwise(&text) { &all[..1] } else { &all[..] };
    for (entry, value) in concerned.iter().copied() {
        let encoded = Zeroizing::new(STANDARD.encode(value));
        text = replace_value(&text, entry, &encoded)?;
    }
    Ok(Zeroizing::new(text.as_bytes().to_vec()))
}

/// The kubeconfig with other roots, given as PEM; how its user logs in stays as it is.
///
/// # Errors
///
/// Fails if its roots are not there exactly once, with a value in base64 on the same line.
pub fn replace_roots(kubeconfig: &[u8], roots: &[u8]) -> Result<Zeroizing<Vec<u8>>, KubeconfigError> {
    let text = std::str::from_utf8(kubeconfig).map_err(|_| KubeconfigError::NotText)?;
    let text = replace_value(text, "certificate-authority-data", &STANDARD.encode(roots))?;
    Ok(Zeroizing::new(text.as_bytes().to_vec()))
}

/// The roots in a kubeconfig, as they stand there: PEM.
///
/// # Errors
///
/// As [`replace_roots`].
pub fn roots(kubeconfig: &[u8]) -> Result<Vec<u8>, KubeconfigError> {
    const KEY: &str = "certificate-authority-data";
    let text = std::str::from_utf8(kubeconfig).map_err(|_| KubeconfigError::NotText)?;
    let range = only_value(text, KEY)?;
    STANDARD.decode(&text[range]).map_err(|_| KubeconfigError::Value { key: KEY })
}

/// The client certificate and key in a kubeconfig, as they stand there: PEM.
///
/// # Errors
///
/// Fails if one of the two is not there exactly once, with a value in base64 on the same line.
pub fn client_credentials(kubeconfig: &[u8]) -> Result<[Zeroizing<Vec<u8>>; 2], KubeconfigError> {
    let text = std::str::from_utf8(kubeconfig).map_err(|_| KubeconfigError::NotText)?;
    let value = |key| -> Result<Zeroizing<Vec<u8>>, KubeconfigError> {
        let range = only_value(text, key)?;
        STANDARD.decode(&text[range]).map(Zeroizing::new).map_err(|_| KubeconfigError::Value { key })
    };
    Ok([value("client-certificate-data")?, value("client-key-data")?])
}

/// Whether the user of a kubeconfig has no certificate at all, but another way in.
fn logs_in_otherwise(text: &str) -> bool {
    let certificate = ["client-certificate-data", "client-key-data"].iter().any(|key| text.contains(key));
    !certificate && ["auth-provider", "exec"].iter().any(|way| has_key(text, way))
}

/// Whether a key stands somewhere in YAML or JSON, with a mapping or list behind it.
fn has_key(text: &str, key: &str) -> bool {
    text.match_indices(key).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + key.len()..].trim_start_matches(['"', '\'']).trim_start();
        before.is_none_or(|c| c.is_whitespace() || "\"'{,".contains(c)) && after.starts_with(':')
    })
}

fn replace_value(text: &str, key: &'static str, value: &str) -> Result<Zeroizing<String>, KubeconfigError> {
    let range = only_value(text, key)?;
    Ok(Zeroizing::new([&text[..range.start], value, &text[range.end..]].concat()))
}

/// Where the value of a key stands that is there once.
fn only_value(text: &str, key: &'static str) -> Result<Range<usize>, KubeconfigError> {
    let found: Vec<usize> = text.match_indices(key).map(|(at, _)| at + key.len()).collect();
    let [after] = found.as_slice() else { return Err(KubeconfigError::Entries { key, found: found.len() }) };
    value_range(text, *after).ok_or(KubeconfigError::Value { key })
}

/// Where the value of a key stands that ends before `after`: behind its quote, if it has one, blanks and a colon. A value
/// that is not there must not let us take the next word of the file for it.
fn value_range(text: &str, after: usize) -> Option<Range<usize>> {
    let blank = |c: char| c == ' ' || c == '\t';
    let quote = |c: char| c == '"' || c == '\'';
    let rest = &text[after..];
    let value = rest.strip_prefix(quote).unwrap_or(rest).trim_start_matches(blank);
    let value = value.strip_prefix(':')?.trim_start_matches(blank);
    let open = value.chars().next().filter(|c| quote(*c));
    let value = if open.is_some() { &value[1..] } else { value };
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    let length = value.find(|c| !is_base64(c)).unwrap_or(value.len());
    let next = value[length..].chars().next();
    let ends = match open {
        Some(_) => next == open,
        None => next.is_none_or(|c| c.is_ascii_whitespace() || c == ',' || c == '}'),
    };
    let start = text.len() - value.len();
    (length > 0 && ends).then_some(start..start + length)
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
            let roots_alone = replace_roots(text.as_bytes(), b"roots").unwrap();
            assert_eq!(std::str::from_utf8(&roots_alone).unwrap(), text.replace("QQ==", "cm9vdHM="));
            assert_eq!(roots(&roots_alone).unwrap(), b"roots");
            let [certificate, key] = client_credentials(&edited).unwrap();
            assert_eq!((&certificate[..], &key[..]), (&b"leaf"[..], &b"key"[..]));
        }
        assert_eq!(
            replace_credentials(b"users: []", b"", b"", b""),
            Err(KubeconfigError::Entries { key: "certificate-authority-data", found: 0 })
        );
    }

    #[test]
    fn who_logs_in_otherwise_goes_on_doing_so() {
        let yaml = "clusters:\n- cluster:\n    certificate-authority-data: QQ==\n    server: https://localhost\nusers:\n- user:\n    auth-provider:\n      name: azure\n";
        let json = r#"{"certificate-authority-data": "QQ==", "user": {"auth-provider":{"name":"azure","config":{}}}}"#;
        for text in [yaml, json] {
            let edited = replace_credentials(text.as_bytes(), b"roots", b"leaf", b"key").unwrap();
            assert_eq!(std::str::from_utf8(&edited).unwrap(), text.replace("QQ==", "cm9vdHM="));
        }
        // Half a pair is damage, and a name that only looks like another way in is none.
        for bad in ["client-key-data: Qw==\nauth-provider:\n", "server: https://exec\n", "name: my-exec\n"] {
            let text = format!("certificate-authority-data: QQ==\n{bad}");
            assert!(replace_credentials(text.as_bytes(), b"r", b"c", b"k").is_err(), "{bad}");
        }
    }

    /// Found by the fuzz target `kubeconfig`: the next word of the file was taken for a value that was not there.
    #[test]
    fn a_value_that_is_not_there_is_an_error() {
        let rest = "client-certificate-data: Qg==\nclient-key-data: Qw==\n";
        for bad in ["", " ''", " |\n  QQ==", "\n    server: https://a", " QQ==!", " \"QQ==", "6 QQ=="] {
            let colon = if bad.starts_with('6') { "" } else { ":" };
            let text = format!("certificate-authority-data{colon}{bad}\n{rest}");
            let edited = replace_credentials(text.as_bytes(), b"r", b"c", b"k");
            assert_eq!(edited, Err(KubeconfigError::Value { key: "certificate-authority-data" }), "{bad:?}");
        }
        let flow =
            b"{certificate-authority-data: QQ==, client-certificate-data: 'Qg==', client-key-data: Qw==}";
        let edited = replace_credentials(flow, b"r", b"c", b"k").unwrap();
        assert_eq!(
            edited.as_slice(),
            b"{certificate-authority-data: cg==, client-certificate-data: 'Yw==', client-key-data: aw==}"
        );
    }
}
