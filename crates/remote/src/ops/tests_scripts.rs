//! The scripts as texts: every shell takes them, and shellcheck has nothing to say.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::exec::assemble;

/// Every script with the parts that it is sent with.
fn scripts() -> Vec<(&'static str, String)> {
    let timers = super::units::TIMERS;
    let (files, processes) = (super::write::FILES, super::process::PROCESSES);
    [
        ("audit", vec![include_str!("../scripts/audit.sh")]),
        ("back_up", vec![include_str!("../scripts/back_up.sh")]),
        ("divert", vec![timers, include_str!("../scripts/divert.sh")]),
        ("end_process", vec![processes, include_str!("../scripts/end_process.sh")]),
        ("look", vec![processes, include_str!("../scripts/look.sh")]),
        ("pause_units", vec![timers, include_str!("../scripts/pause_units.sh")]),
        ("read", vec![include_str!("../scripts/read.sh")]),
        ("reload_unit", vec![include_str!("../scripts/reload_unit.sh")]),
        ("remains", vec![include_str!("../scripts/remains.sh")]),
        ("remove", vec![include_str!("../scripts/remove.sh")]),
        ("restart_holder", vec![processes, include_str!("../scripts/restart_holder.sh")]),
        ("restart_unit", vec![processes, include_str!("../scripts/restart_unit.sh")]),
        ("resume_units", vec![timers, include_str!("../scripts/resume_units.sh")]),
        ("static_pod", vec![timers, files, processes, include_str!("../scripts/static_pod.sh")]),
        ("undivert", vec![timers, include_str!("../scripts/undivert.sh")]),
        ("write", vec![files, include_str!("../scripts/write.sh")]),
    ]
    .into_iter()
    .map(|(name, parts)| (name, assemble(&parts)))
    .collect()
}

/// Feeds a script to a program; `None` if there is no such program.
fn feed(program: &str, args: &[&str], script: &str) -> Option<String> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(script.as_bytes()).ok()?;
    let done = child.wait_with_output().ok()?;
    Some(String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr))
}

#[test]
fn every_shell_takes_them() {
    for (name, script) in scripts() {
        for shell in ["sh", "bash", "dash"] {
            match feed(shell, &["-n"], &script) {
                Some(said) => assert!(said.is_empty(), "{name} in {shell}: {said}"),
                None => println!("skipped: there is no {shell}"),
            }
        }
    }
}

#[test]
fn shellcheck_has_nothing_to_say() {
    for (name, script) in scripts() {
        // Each script is sent with functions and variables that not all of them use (SC2034, SC2317).
        match feed("shellcheck", &["-s", "sh", "-e", "SC2034,SC2317", "-S", "style", "-"], &script) {
            Some(said) => assert!(said.is_empty(), "{name}: {said}"),
            None => return println!("skipped: there is no shellcheck"),
        }
    }
}
