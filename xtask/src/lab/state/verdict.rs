//! The lines that the judgement consists of.

use std::process::ExitCode;

use anyhow::{Result, bail};

/// Counts and prints what passed and what failed.
pub(super) struct Verdict {
    quiet: bool,
    passed: usize,
    failed: usize,
}

impl Verdict {
    pub(super) fn new(quiet: bool) -> Self {
        Self { quiet, passed: 0, failed: 0 }
    }

    /// One check. An error is a failure too: what could not be looked at is not in order.
    pub(super) fn check(&mut self, name: &str, look: impl FnOnce() -> Result<()>) {
        match look() {
            Ok(()) => {
                self.passed += 1;
                if !self.quiet {
                    println!("PASS {name}");
                }
            }
            Err(error) => {
                self.failed += 1;
                let said = format!("{error:#}").replace('\n', " ");
                println!("FAIL {name}: {}", said.chars().take(400).collect::<String>());
            }
        }
    }

    /// Prints the sums and says how the program should end.
    pub(super) fn close(self) -> ExitCode {
        println!("passed={} failed={}", self.passed, self.failed);
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// An error with this text unless the condition holds.
pub(super) fn ensure(condition: bool, otherwise: impl std::fmt::Display) -> Result<()> {
    if !condition {
        bail!("{otherwise}");
    }
    Ok(())
}
