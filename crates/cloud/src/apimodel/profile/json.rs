//! A profile as JSON, laid out as the ancestor lays it out.

use secrecy::{ExposeSecret, SecretString};

use super::entry::{PEER_CERTIFICATES, PEER_PRIVATE_KEYS};
use super::{CertificateProfile, Entry};

impl CertificateProfile {
    /// The profile as a file for `--certificate-profile`, in the flat form, which the ancestor reads as well.
    pub fn to_json(&self) -> SecretString {
        let mut text =
            self.to_json_styled(&Style::Lines { newline: "\n", base: String::new(), unit: "  ".to_owned() });
        text.push('\n');
        text.into()
    }

    /// The object alone, without anything around it. Empty values are left out.
    pub(in crate::apimodel) fn to_json_styled(&self, style: &Style) -> String {
        let mut members = Vec::new();
        for entry in Entry::all(0) {
            members.extend(self.certificate(entry).map(|pem| (entry.certificate_key(), quoted(pem))));
            let key =
                self.private_key(entry).map(|pem| (entry.private_key_key(), quoted(pem.expose_secret())));
            members.extend(key);
        }
        let peers = || (0..self.etcd_peers()).map(Entry::EtcdPeer);
        let certificates: Vec<_> = peers().map(|peer| self.certificate(peer)).collect();
        let keys: Vec<_> =
            peers().map(|peer| self.private_key(peer).map(|key| key.expose_secret())).collect();
        members.extend(list(&certificates, style).map(|list| (PEER_CERTIFICATES.to_owned(), list)));
        members.extend(list(&keys, style).map(|list| (PEER_PRIVATE_KEYS.to_owned(), list)));

        let members =
            members.into_iter().map(|(key, value)| format!("{}:{}{value}", quoted(&key), style.space()));
        style.bracketed('{', members.collect(), 0, '}')
    }
}

/// How JSON is laid out.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::apimodel) enum Style {
    /// All on one line, without spaces.
    Compact,
    /// One member a line.
    Lines {
        /// The end of a line.
        newline: &'static str,
        /// The indentation of the line on which the object begins.
        base: String,
        /// One step of indentation.
        unit: String,
    },
}

impl Style {
    fn space(&self) -> &'static str {
        match self {
            Style::Compact => "",
            Style::Lines { .. } => " ",
        }
    }

    /// `items` between brackets, where the opening one stands `depth` steps in.
    fn bracketed(&self, open: char, items: Vec<String>, depth: usize, close: char) -> String {
        match self {
            _ if items.is_empty() => format!("{open}{close}"),
            Style::Compact => format!("{open}{}{close}", items.join(",")),
            Style::Lines { newline, base, unit } => {
                let outer = format!("{newline}{base}{}", unit.repeat(depth));
                let inner = format!("{outer}{unit}");
                format!("{open}{inner}{}{outer}{close}", items.join(&format!(",{inner}")))
            }
        }
    }
}

/// An array without the absent values at its end; nothing when none is present.
fn list(values: &[Option<&str>], style: &Style) -> Option<String> {
    let length = values.iter().rposition(Option::is_some)? + 1;
    let items = values.iter().take(length).map(|value| quoted(value.unwrap_or_default()));
    Some(style.bracketed('[', items.collect(), 1, ']'))
}

/// `text` as a JSON string.
///
/// PEM has none of the characters (`<`, `>`, `&`) that Go's encoder escapes and `serde_json` does not, so both write
/// the same bytes.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> CertificateProfile {
        CertificateProfile::default()
            .with(Entry::Ca, "C\n".to_owned(), "K\n".into())
            .with(Entry::EtcdPeer(0), "P".to_owned(), "Q".into())
            .with(Entry::EtcdPeer(1), "R".to_owned(), "".into())
    }

    #[test]
    fn the_order_and_the_lines_are_the_ancestors() {
        insta::assert_snapshot!(profile().to_json().expose_secret(), @r#"
        {
          "caCertificate": "C\n",
          "caPrivateKey": "K\n",
          "etcdPeerCertificates": [
            "P",
            "R"
          ],
          "etcdPeerPrivateKeys": [
            "Q"
          ]
        }
        "#);
    }

    #[test]
    fn what_is_written_reads_back() {
        for json in [profile().to_json(), profile().to_json_styled(&Style::Compact).into()] {
            assert!(CertificateProfile::parse(json.expose_secret().as_bytes()).unwrap() == profile());
        }
    }
}
