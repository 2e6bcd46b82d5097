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
}

/// The values of a flag, in order; a flag may be given several times.
pub fn flag_values<'a>(manifest: &'a str, flag: &str) -> Vec<&'a str> {
    occurrences(manifest, flag).into_iter().map(|found| &manifest[found.value]).collect()
}

/// Replaces all occurrences of a flag by one occurrence for each value, where the first one stood.
///
/// # Errors
///
/// Fails if the flag does not occur.
pub fn set_flag(manifest: &str, flag: &str, values: &[&str]) -> Result<String, ManifestError> {
    let found = occurrences(manifest, flag);
    let Some(first) = found.first() else {
        return Err(ManifestError::FlagAbsent { flag: flag.to_owned() });
    };
    let rendered = values
        .iter()
        .map(|value| first.render(manifest, flag, value))
        .collect::<Vec<_>>()
        .join(first.separator(manifest));
    let mut edited = manifest.to_owned();
    for (position, occurrence) in found.iter().enumerate().rev() {
        if position == 0 {
            edited.replace_range(occurrence.item.clone(), &rendered);
        } else {
            edited.replace_range(occurrence.with_separator(manifest), "");
        }
    }
    Ok(edited)
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
    fn render(&self, _manifest: &str, flag: &str, value: &str) -> String {
        match self.quote {
            Some(quote) => format!("{quote}--{flag}={value}{quote}"),
            None => format!("--{flag}={value}"),
        }
    }

    fn separator<'a>(&self, manifest: &'a str) -> &'a str {
        match &self.block_prefix {
            // A new line with the same indentation and dash: the line break before the prefix and the prefix itself.
            Some(prefix) => &manifest[prefix.start.saturating_sub(1)..prefix.end],
            None => ", ",
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
    manifest
        .match_indices(&needle)
        .filter_map(|(at, _)| occurrence(manifest, at, at + needle.len()))
        .collect()
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
