//! The operations on Windows nodes: which script, which input, how its answer is read.

mod files;
mod look;
mod services;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_scripts;

pub(crate) use files::{back_up, read, remove, write};
pub(crate) use look::{look, remains};
pub(crate) use services::{restart_unit, start_afresh};

use kubecert_engine::ports::{Fault, PortError, PortResult};

/// The parts that each operation's script is made of, by the operation's name. The endpoint of the tests knows scripts by
/// them.
pub(crate) const SCRIPTS: [(&str, &[&str]); 8] = [
    ("look", &[include_str!("../../scripts/windows/look.ps1")]),
    ("read", &[include_str!("../../scripts/windows/read.ps1")]),
    ("remains", &[include_str!("../../scripts/windows/remains.ps1")]),
    ("back-up", &[BACKUP, include_str!("../../scripts/windows/back_up.ps1")]),
    ("write", &[BACKUP, FILES, include_str!("../../scripts/windows/write.ps1")]),
    ("remove", &[include_str!("../../scripts/windows/remove.ps1")]),
    ("restart-unit", &[SERVICE, include_str!("../../scripts/windows/restart_unit.ps1")]),
    ("start-afresh", &[SERVICE, include_str!("../../scripts/windows/start_afresh.ps1")]),
];

const BACKUP: &str = include_str!("../../scripts/windows/backup.ps1");
const FILES: &str = include_str!("../../scripts/windows/files.ps1");
const SERVICE: &str = include_str!("../../scripts/windows/service.ps1");

/// The parts of an operation's script.
fn parts(name: &str) -> &'static [&'static str] {
    SCRIPTS.iter().find(|(of, _)| *of == name).map_or(&[], |(_, parts)| *parts)
}

/// Takes only absolute paths without surprises: a drive, and names of letters, digits and a few signs. What a wildcard, a
/// stream (`a:b`), a reserved name's dot at the end or a line break could do is thereby out of reach.
fn checked_path<'a>(path: &'a str, what: &str) -> PortResult<&'a str> {
    let sound = |name: &str| {
        !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "._- ".contains(c))
            && !name.starts_with(' ')
            && !name.ends_with(['.', ' '])
    };
    let bytes = path.as_bytes();
    let has_drive = bytes.len() > 3 && bytes[0].is_ascii_alphabetic() && path[1..].starts_with(":\\");
    if has_drive && path[3..].split('\\').all(sound) {
        Ok(path)
    } else {
        let cause = format!("`{}` is not a plain absolute path of Windows", path.escape_debug());
        Err(PortError::new(Fault::Unexpected, what, cause))
    }
}

/// One item a line, and a full stop.
fn list<'a>(head: impl IntoIterator<Item = String>, items: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut text = String::new();
    for line in head.into_iter().chain(items.into_iter().map(str::to_owned)).chain([".".to_owned()]) {
        text.push_str(&line);
        text.push('\n');
    }
    text.into_bytes()
}
