//! Flags in static-pod manifests, read and edited as text.
//!
//! A manifest is never parsed and written again: comments, order and quoting are the operator's, and at the end of a run
//! the file must be byte for byte what it was. Three spellings occur: one flag a line in a block list (kubeadm), quoted
//! flags in a flow list on one line (AKS engine's `command` and `args`), and JSON.

use std::ops::Range;

/// Why a manifest cannot be edited.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The flag is not there, so that the place to put it is unknown.
    #[error("flag --{flag} is not in the manifest")]
    FlagAbsent {
        /// Its name without dashes.
        flag: String,
    },
    /// The flag stands there in a spelling that is none of the three, so that an edit would not mean what it should.
    #[error("flag --{flag} is written in the manifest in a way that cannot be edited safely")]
    Unclear {
        /// Its name without dashes.
        flag: String,
    },
}

/// The values of a flag, in order; a flag may be given several times.
pub fn flag_values<'a>(manifest: &'a str, flag: &str) -> Vec<&'a str> {
    occurrences(manifest, flag).into_iter().map(|found| &manifest[found.value]).collect()
}

/// Replaces all occurrences of a flag by one occurrence for each value, where the first one stood.
///
/// # Errors
///
/// Fails if the flag does not occur, or if the edited text would not say what it should.
pub fn set_flag(manifest: &str, flag: &str, values: &[&str]) -> Result<String, ManifestError> {
    let found = occurrences(manifest, flag);
    let Some(first) = found.first() else {
        return Err(ManifestError::FlagAbsent { flag: flag.to_owned() });
    };
    let unclear = || ManifestError::Unclear { flag: flag.to_owned() };
    let rendered: Vec<String> = values.iter().map(|value| first.render(flag, value)).collect();
    let rendered = match rendered.as_slice() {
        [] => return Err(unclear()),
        [only] => only.clone(),
        several => several.join(first.separator(manifest).ok_or_else(unclear)?),
    };
    let mut edited = manifest.to_owned();
    for (position, occurrence) in found.iter().enumerate().rev() {
        if position == 0 {
            edited.replace_range(occurrence.item.clone(), &rendered);
        } else {
            edited.replace_range(occurrence.with_separator(manifest), "");
        }
    }
    // Text that is edited rather than parsed is read again: a component that does not start is worse than an error.
    if flag_values(&edited, flag) == values { Ok(edited) } else { Err(unclear()) }
}

/// Where a flag stands.
struct Occurrence {
    /// The list item: the quoted string, or everything after `- ` on its line.
    item: Range<usize>,
    /// The value within it.
    value: Range<usize>,
    /// The quote, if it is quoted.
    quote: Option<char>,
    /// In a block list, the text before the item on its line.
    block_prefix: Option<Range<usize>>,
}

impl Occurrence {
    fn render(&self, flag: &str, value: &str) -> String {
        match self.quote {
            Some(quote) => format!("{quote}--{flag}={value}{quote}"),
            None => format!("--{flag}={value}"),
        }
    }

    /// What stands between two items of the list; `None` where the flag is not in a list that we know.
    fn separator<'a>(&self, manifest: &'a str) -> Option<&'a str> {
        match &self.block_prefix {
            // A new line with the same indentation and dash: the line break before the prefix and the prefix itself.
            Some(prefix) => prefix.start.checked_sub(1).map(|start| &manifest[start..prefix.end]),
            None => manifest[..self.item.start].trim_end().ends_with(['[', ',']).then_some(", "),
        }
    }

    /// The item together with what separates it from the item before.
    fn with_separator(&self, manifest: &str) -> Range<usize> {
        let start = match &self.block_prefix {
            Some(prefix) => prefix.start.saturating_sub(1),
            None => manifest[..self.item.start].trim_end_matches([' ', '\n', ',']).len(),
        };
        start..self.item.end
    }
}

fn occurrences(manifest: &str, flag: &str) -> Vec<Occurrence> {
    let needle = format!("--{flag}=");
    let mut found: Vec<Occurrence> = Vec::new();
    for (at, _) in manifest.match_indices(&needle) {
        // What stands within another's quotes is part of its value, and a quote closes one item or opens another.
        let last = found.last().map_or(0, |last| last.item.end);
        found.extend(occurrence(manifest, at, at + needle.len()).filter(|next| next.item.start >= last));
    }
    found
}

fn occurrence(manifest: &str, at: usize, value_start: usize) -> Option<Occurrence> {
    let before = manifest[..at].chars().next_back();
    let quote = before.filter(|c| *c == '"' || *c == '\'');
    // Something like `x--flag=` is another word.
    if quote.is_none() && before.is_some_and(|c| !c.is_whitespace() && c != '[' && c != ',') {
        return None;
    }
    let rest = &manifest[value_start..];
    let length = match quote {
        Some(quote) => rest.find(quote)?,
        None => rest.find(['\n', ',', ']', ' ', '\r']).unwrap_or(rest.len()),
    };
    let value = value_start..value_start + length;
    let item = match quote {
        Some(_) => at - 1..value.end + 1,
        None => at..value.end,
    };
    let line_start = manifest[..item.start].rfind('\n').map_or(0, |newline| newline + 1);
    let prefix = &manifest[line_start..item.start];
    let block_prefix = (prefix.trim() == "-").then_some(line_start..item.start);
    Some(Occurrence { item, value, quote, block_prefix })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "spec:\n  containers:\n  - command:\n    - kube-apiserver\n    - --client-ca-file=/a\n    - \"--service-account-key-file=/k\"\n    - --v=2\n";
    const FLOW: &str = r#"    args: ["--client-ca-file=/a", "--service-account-key-file=/k", "--v=2"]"#;

    #[test]
    fn a_block_list_keeps_its_shape() {
        let edited = set_flag(BLOCK, "service-account-key-file", &["/k", "/n"]).unwrap();
        assert!(edited.contains(
            "    - \"--service-account-key-file=/k\"\n    - \"--service-account-key-file=/n\"\n    - --v=2"
        ));
        assert_eq!(flag_values(&edited, "service-account-key-file"), ["/k", "/n"]);
        assert_eq!(set_flag(&edited, "service-account-key-file", &["/k"]).unwrap(), BLOCK);
    }

    #[test]
    fn a_flow_list_keeps_its_shape() {
        let edited = set_flag(FLOW, "service-account-key-file", &["/k", "/n"]).unwrap();
        assert_eq!(
            edited,
            r#"    args: ["--client-ca-file=/a", "--service-account-key-file=/k", "--service-account-key-file=/n", "--v=2"]"#
        );
        assert_eq!(set_flag(&edited, "service-account-key-file", &["/k"]).unwrap(), FLOW);
    }

    /// Found by the fuzz target `manifest`.
    #[test]
    fn what_is_none_of_the_spellings_is_refused_and_never_garbled() {
        let within = r#"["--client-ca-file= --client-ca-file=/x"]"#;
        assert_eq!(flag_values(within, "client-ca-file"), [" --client-ca-file=/x"]);
        assert_eq!(set_flag(within, "client-ca-file", &["/a"]).as_deref(), Ok(r#"["--client-ca-file=/a"]"#));
        let broken = "[\n--client-ca-file=/a\"b:c, \"--client-ca-file=/a\"0\"--x,=/k\"]";
        let unclear = ManifestError::Unclear { flag: "client-ca-file".to_owned() };
        match set_flag(broken, "client-ca-file", &["/a", "/b"]) {
            Ok(edited) => assert_eq!(flag_values(&edited, "client-ca-file"), ["/a", "/b"]),
            Err(error) => assert_eq!(error, unclear),
        }
        assert_eq!(set_flag("--client-ca-file=/a", "client-ca-file", &["/a b"]), Err(unclear.clone()));
        // Words of a command line are no list.
        for line in [" - --client-ca-file=/a", "command: kube-apiserver --client-ca-file=/a"] {
            assert!(set_flag(line, "client-ca-file", &["/b"]).is_ok(), "{line}");
            assert_eq!(set_flag(line, "client-ca-file", &["/a", "/b"]), Err(unclear.clone()), "{line}");
        }
        assert_eq!(set_flag(FLOW, "client-ca-file", &[]), Err(unclear.clone()));
        // One quote between two flags: it closes the first item, so it does not open a second one.
        let shared = r#"["--client-ca-file=/k, "--client-ca-file=/l'1"]"#;
        assert_eq!(flag_values(shared, "client-ca-file"), ["/k, "]);
        assert!(
            set_flag(shared, "client-ca-file", &["/a"])
                .is_ok_and(|text| text.starts_with(r#"["--client-ca-file=/a""#))
        );
    }

    #[test]
    fn a_flag_that_only_ends_alike_is_another_flag() {
        let text = "    - --requestheader-client-ca-file=/r\n    - --client-ca-file=/a\n";
        assert_eq!(flag_values(text, "client-ca-file"), ["/a"]);
        assert_eq!(
            set_flag(text, "proxy-client-cert-file", &["/x"]),
            Err(ManifestError::FlagAbsent { flag: "proxy-client-cert-file".to_owned() })
        );
    }
}
