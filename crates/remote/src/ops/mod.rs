//! The operations: which script, which input, how its answer is read. Nothing here knows what carries a script.

mod audit;
mod divert;
mod files;
mod holder;
mod look;
mod process;
mod reload;
mod units;
pub(crate) mod windows;
mod write;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests_files;
#[cfg(test)]
mod tests_holder;
#[cfg(test)]
mod tests_look;
#[cfg(test)]
mod tests_process;
#[cfg(test)]
mod tests_reload;
#[cfg(test)]
mod tests_scripts;

pub(crate) use audit::audited_clients;
pub(crate) use divert::{divert, undivert};
pub(crate) use files::{back_up, read, remove};
pub(crate) use holder::restart_holder;
#[cfg(feature = "fuzzing")]
pub(crate) use look::answered;
pub(crate) use look::{look, remains};
pub(crate) use process::{Restart, end_process, replace_static_pod, restart_unit};
pub(crate) use reload::{Reload, listening};
pub(crate) use units::{pause_units, resume_units};
pub(crate) use write::write;

use std::time::Duration;

use kubecert_core::model::RunId;
use kubecert_engine::ports::{Fault, PortError, PortResult};
use zeroize::Zeroizing;

use crate::exec::Output;

/// How long an operation may take that only reads or writes some files or rules.
///
/// Two minutes: a node under load with a slow disk needs seconds for a sync, and a login shell behind PAM another few.
const QUICK: Duration = Duration::from_secs(120);

/// How far a script's own limits stay below the limit of its job, so that its explanation arrives.
const MARGIN: Duration = Duration::from_secs(20);

/// Takes only absolute paths without surprises: no line breaks, which would end a line of a list, and no `.` or `..`.
fn checked_path<'a>(path: &'a str, what: &str) -> PortResult<&'a str> {
    let sound = path.starts_with('/')
        && path.len() > 1
        && !path.chars().any(|c| c.is_control() || c == '\\')
        && path[1..].split('/').all(|part| !matches!(part, "" | "." | ".."));
    if sound {
        Ok(path)
    } else {
        Err(PortError::new(
            Fault::Unexpected,
            what,
            format!("`{}` is not a plain absolute path", path.escape_debug()),
        ))
    }
}

/// Takes names of units, tools, modes and owners that cannot be mistaken for options or several words.
fn checked_word<'a>(word: &'a str, what: &str) -> PortResult<&'a str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:@\\".contains(c);
    if !word.is_empty() && !word.starts_with('-') && word.chars().all(plain) {
        Ok(word)
    } else {
        Err(PortError::new(Fault::Unexpected, what, format!("`{}` is not a plain name", word.escape_debug())))
    }
}

/// The run's backup directory, below the base directory that the scripts know.
fn backup_directory(run: &RunId, what: &str) -> PortResult<String> {
    Ok(format!("{}/backup", checked_word(run.as_str(), what)?))
}

/// One item a line.
fn lines<'a>(items: impl IntoIterator<Item = &'a str>) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::new());
    for item in items {
        text.extend_from_slice(item.as_bytes());
        text.push(b'\n');
    }
    text
}

/// The answer as text.
fn text<'a>(output: &'a Output, what: &str) -> PortResult<&'a str> {
    std::str::from_utf8(&output.stdout).map_err(|source| {
        PortError::new(Fault::Unexpected, what, format!("its answer is not text: {source}"))
    })
}

/// An answer that we do not understand. The line is quoted: it holds facts about files, never their content.
fn not_understood(what: &str, line: &str) -> PortError {
    let start: String = line.chars().take(120).collect();
    PortError::new(Fault::Unexpected, what, format!("the answer `{start}` is not understood"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_and_words_pass() {
        for good in ["/etc/kubernetes/certs/ca.crt", "/var/lib/my app/x", "/a"] {
            assert!(checked_path(good, "").is_ok(), "{good}");
        }
        for bad in ["", "/", "etc/x", "/etc/../shadow", "/etc/./x", "/etc//x", "/etc/", "/etc/a\nb", "/a\\b"]
        {
            assert!(checked_path(bad, "").is_err(), "{bad:?}");
        }
        assert!(checked_word("etcd-monitor.service", "").is_ok());
        for bad in ["", "-h", "a b", "a;b", "$(id)", "a\nb"] {
            assert!(checked_word(bad, "").is_err(), "{bad:?}");
        }
    }
}
