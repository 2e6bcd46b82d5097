//! PEM, read the way files on old nodes are written.
//!
//! RFC 7468 parsers refuse what openssl, editors and templating leave behind: text before and between the blocks,
//! other line lengths, CRLF, blanks at line ends, encryption headers. We must read those files, and for keys we must
//! be able to say *why* a block is of no use (encrypted, a public key, an OpenSSH key), so blocks are found here and
//! only their base64 is left to a library. Writing is strict: 64 columns, LF, by `pem-rfc7468`.

use std::iter::Peekable;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// One PEM block.
pub(crate) struct Block {
    /// What stands after `BEGIN`, e.g. `CERTIFICATE`.
    pub(crate) label: String,
    /// Whether RFC 1421 headers say that the contents are encrypted (`Proc-Type: 4,ENCRYPTED`).
    pub(crate) encrypted: bool,
    /// The decoded contents; empty when encrypted.
    pub(crate) contents: Zeroizing<Vec<u8>>,
}

/// Finds all blocks, in order. Text outside of blocks is skipped.
pub(crate) fn blocks(text: &[u8]) -> Vec<Result<Block, PemError>> {
    // Lossy is enough: inside blocks everything is ASCII, and a replacement character there fails as base64.
    let text = Zeroizing::new(String::from_utf8_lossy(text).into_owned());
    let mut found = Vec::new();
    let mut lines = text.lines().map(str::trim).peekable();
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(DASHES)) else {
            continue;
        };
        found.push(block(label, &mut lines));
    }
    found
}

/// Encodes one block, ending with a newline.
///
/// # Errors
///
/// Only for contents that no computer holds.
pub(crate) fn encode(label: &str, contents: &[u8]) -> Result<String, PemError> {
    der::pem::encode_string(label, der::pem::LineEnding::LF, contents)
        .map_err(|source| PemError::Encode { label: label.to_owned(), detail: source.to_string() })
}

fn block<'a>(
    label: &str,
    lines: &mut Peekable<impl Iterator<Item = &'a str> + Clone>,
) -> Result<Block, PemError> {
    let end = format!("-----END {label}-----");
    // Room for all of it at once: a string that grows leaves copies of a key behind.
    let mut body = Zeroizing::new(String::with_capacity(room(lines.clone(), &end)));
    let mut encrypted = label == "ENCRYPTED PRIVATE KEY";
    // A block that is cut off must not take the next one with it.
    while let Some(line) = lines.next_if(|line| !line.starts_with(BEGIN)) {
        if line == end {
            let contents = match encrypted {
                true => Vec::new(),
                false => STANDARD.decode(body.as_bytes()).map_err(|source| PemError::Base64 {
                    label: label.to_owned(),
                    detail: source.to_string(),
                })?,
            };
            return Ok(Block { label: label.to_owned(), encrypted, contents: Zeroizing::new(contents) });
        }
        if let Some((name, value)) = line.split_once(':') {
            encrypted |= name == "Proc-Type" && value.contains("ENCRYPTED");
            continue;
        }
        body.extend(line.chars().filter(|c| !c.is_whitespace()));
    }
    Err(PemError::Unterminated { label: label.to_owned() })
}

/// How many bytes a block can have at most: those up to its end, or to the next block's beginning, not those of the whole
/// text, which may begin a block on each of its lines.
fn room<'a>(lines: impl Iterator<Item = &'a str>, end: &str) -> usize {
    lines.take_while(|line| *line != end && !line.starts_with(BEGIN)).map(str::len).sum()
}

/// What can be wrong with a PEM block. No variant holds any of the contents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// A block begins but does not end.
    #[error("PEM block `{label}` has no end line")]
    Unterminated {
        /// The block's label.
        label: String,
    },
    /// What is between the lines is not base64.
    #[error("PEM block `{label}` is not base64: {detail}")]
    Base64 {
        /// The block's label.
        label: String,
        /// The decoder's words: a position, never the contents.
        detail: String,
    },
    /// The contents cannot be written as PEM.
    #[error("contents of `{label}` cannot be written as PEM: {detail}")]
    Encode {
        /// The block's label.
        label: String,
        /// The encoder's words.
        detail: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_around_blocks_and_odd_lines_are_read() {
        let text = "Certificate:\r\n    Data:\r\n-----BEGIN A-----\r\nAQ \r\n I=\r\n-----END A-----\r\nbye\n\
                    -----BEGIN B-----\nAw==\n-----END B-----";
        let found: Vec<_> = blocks(text.as_bytes()).into_iter().map(Result::unwrap).collect();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].label.as_str(), found[0].contents.as_slice()), ("A", &[1, 2][..]));
        assert_eq!((found[1].label.as_str(), found[1].contents.as_slice()), ("B", &[3][..]));
    }

    #[test]
    fn broken_blocks_are_named() {
        let cut = blocks(b"-----BEGIN A-----\nAQI=\n");
        assert_eq!(cut[0].as_ref().err(), Some(&PemError::Unterminated { label: "A".into() }));
        let junk = blocks(b"-----BEGIN A-----\n!!!!\n-----END A-----\n");
        assert!(matches!(&junk[0], Err(PemError::Base64 { label, .. }) if label == "A"));
    }

    /// Each block once took as much memory as the whole text, and that was overwritten with zeros at its end: some
    /// hundred kilobytes of such lines kept the program busy for minutes.
    #[test]
    fn a_text_that_begins_many_blocks_costs_no_more_than_its_length() {
        let text = "-----BEGIN A-----\nAQI=\n".repeat(20_000);
        assert_eq!(room(text.lines().skip(1), "-----END A-----"), 4);
        assert_eq!(blocks(text.as_bytes()).len(), 20_000);
    }

    #[test]
    fn a_block_that_is_cut_off_leaves_the_next_one_whole() {
        let found = blocks(b"-----BEGIN A-----\nAQI=\n-----BEGIN B-----\nAw==\n-----END B-----\n");
        assert_eq!(found[0].as_ref().err(), Some(&PemError::Unterminated { label: "A".into() }));
        assert_eq!(found[1].as_ref().ok().map(|block| block.contents.to_vec()), Some(vec![3]));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn encrypted_blocks_are_marked() {
        let old = b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAQI=\n-----END RSA PRIVATE KEY-----\n";
        assert!(blocks(old)[0].as_ref().unwrap().encrypted);
    }
}
