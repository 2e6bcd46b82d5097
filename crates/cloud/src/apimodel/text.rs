//! Finding values in JSON text by byte range.
//!
//! `serde_json` gives values but not where they stood, and a file that must keep every other byte is edited by range.
//! All functions here take text that `serde_json` has already accepted as one document; that is why they need not
//! report syntax errors. On other text they return nonsense, but never panic.

use std::ops::Range;

/// One `"key": value` of an object.
#[derive(Debug)]
pub(super) struct Member {
    /// The key with its escapes resolved.
    pub(super) key: String,
    /// Where the key's opening quote is.
    pub(super) key_start: usize,
    /// The value, without surrounding white space.
    pub(super) value: Range<usize>,
}

/// The range of the document's one value.
pub(super) fn document(text: &str) -> Range<usize> {
    let start = skip_space(text.as_bytes(), 0);
    start..value_end(text.as_bytes(), start)
}

/// The members of the object at `object`; empty when something else stands there.
pub(super) fn members(text: &str, object: &Range<usize>) -> Vec<Member> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    if bytes.get(object.start) != Some(&b'{') {
        return found;
    }
    let mut at = skip_space(bytes, object.start + 1);
    while bytes.get(at) == Some(&b'"') {
        let key_start = at;
        let key_end = string_end(bytes, at);
        let key =
            text.get(key_start..key_end).and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default();
        let start = skip_space(bytes, skip_byte(bytes, skip_space(bytes, key_end), b':'));
        let end = value_end(bytes, start);
        found.push(Member { key, key_start, value: start..end });
        at = skip_space(bytes, skip_byte(bytes, skip_space(bytes, end), b','));
    }
    found
}

/// The items of the array at `array`; empty when something else stands there.
pub(super) fn items(text: &str, array: &Range<usize>) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    if bytes.get(array.start) != Some(&b'[') {
        return found;
    }
    let mut at = skip_space(bytes, array.start + 1);
    while at < bytes.len() && bytes[at] != b']' {
        let end = value_end(bytes, at);
        found.push(at..end);
        // A step of at least one byte keeps the loop finite on text that is not JSON.
        at = skip_space(bytes, skip_byte(bytes, skip_space(bytes, end), b',')).max(at + 1);
    }
    found
}

fn skip_space(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count()
}

fn skip_byte(bytes: &[u8], at: usize, wanted: u8) -> usize {
    if bytes.get(at) == Some(&wanted) { at + 1 } else { at }
}

/// The end of the value that starts at `start`. Depth is counted, not recursed into, so nesting costs no stack.
fn value_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0usize;
    let mut at = start;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = string_end(bytes, at),
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            _ if depth > 0 => {
                at += 1;
                continue;
            }
            _ => at = scalar_end(bytes, at),
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

fn scalar_end(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n');
    start + rest.iter().take_while(|byte| !ends(byte)).count()
}

/// The end of the string whose opening quote is at `start`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_with_their_ranges() {
        let text = r#" { "a\"b" : [1, {"x":"}"}] ,"c":-1.5e3, "d":"\\", "e": {} } "#;
        let found = members(text, &document(text));
        let seen: Vec<_> = found.iter().map(|m| (m.key.as_str(), &text[m.value.clone()])).collect();
        assert_eq!(seen, [("a\"b", r#"[1, {"x":"}"}]"#), ("c", "-1.5e3"), ("d", r#""\\""#), ("e", "{}")]);
        let list: Vec<_> = items(text, &found[0].value).into_iter().map(|range| &text[range]).collect();
        assert_eq!(list, ["1", r#"{"x":"}"}"#]);
    }

    #[test]
    fn other_values_have_no_members() {
        assert!(members("[1]", &(0..3)).is_empty());
        assert!(items("{}", &(0..2)).is_empty());
        assert!(items("[]", &(0..2)).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics_on_text_that_is_not_json(text in "[\\[\\]{}:,\"\\\\a1 é]{0,40}") {
            let whole = document(&text);
            members(&text, &whole);
            items(&text, &whole);
        }
    }
}
