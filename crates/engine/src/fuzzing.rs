//! Entries to private parsers, for the fuzz targets in `fuzz/` and for nobody else.

use kubecert_core::record::Record;

use crate::{journal, rundir};

/// Reads the bytes of a journal. Returns its records and how many bytes hold them; `None` if they are refused.
pub fn journal(bytes: &[u8]) -> Option<(Vec<Record>, usize)> {
    journal::parse(bytes).ok()
}

/// A line of a journal that holds this JSON, with its checksum. A fuzzer does not find checksums.
pub fn journal_line(json: &str) -> String {
    journal::sealed(json)
}

/// Reads a vault's index; tells whether it is one.
pub fn vault_index(bytes: &[u8]) -> bool {
    rundir::read_index(bytes).is_ok()
}
