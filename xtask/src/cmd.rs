//! Running other programs, with errors that say which one failed and what it said.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail};

/// Makes a command from its program and arguments.
pub(crate) fn cmd<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    command
}

/// What [`Command`] lacks for scripts: to succeed or to say why not.
pub(crate) trait CommandExt {
    /// Runs it and returns its standard output; an error holds what it wrote to standard error.
    fn read(&mut self) -> Result<String>;
    /// As [`CommandExt::read`], with `input` on standard input.
    fn feed(&mut self, input: &str) -> Result<String>;
    /// Runs it with our own standard streams, and fails when it fails.
    fn show(&mut self) -> Result<()>;
    /// Runs it silently and tells whether it succeeded.
    fn succeeds(&mut self) -> bool;
}

impl CommandExt for Command {
    fn read(&mut self) -> Result<String> {
        let output = self.output().with_context(|| format!("cannot run {}", line(self)))?;
        finished(self, output)
    }

    fn feed(&mut self, input: &str) -> Result<String> {
        self.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.spawn().with_context(|| format!("cannot run {}", line(self)))?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        let input = input.to_owned();
        // In a thread of its own: a program may well write much before it has read all.
        let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output()?;
        // A program that did not want all of its input is judged by its exit status.
        let _unread = writer.join();
        finished(self, output)
    }

    fn show(&mut self) -> Result<()> {
        let status = self.status().with_context(|| format!("cannot run {}", line(self)))?;
        if !status.success() {
            bail!("{} failed with {status}", line(self));
        }
        Ok(())
    }

    fn succeeds(&mut self) -> bool {
        self.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }
}

/// The exit code that passes a child's status on as a shell does.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn finished(command: &Command, output: std::process::Output) -> Result<String> {
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let err = String::from_utf8_lossy(&output.stderr);
        let said = if err.trim().is_empty() { out.trim() } else { err.trim() };
        bail!("{} failed with {}: {said}", line(command), output.status);
    }
    Ok(out)
}

fn line(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    let line = words.join(" ");
    if line.chars().count() > 200 { line.chars().take(200).chain(['…']).collect() } else { line }
}
