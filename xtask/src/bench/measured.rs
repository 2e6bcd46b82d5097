//! Programs that measure themselves: how they are built and run, and how their figures are read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use cargo_metadata::Message;

use crate::cmd::{CommandExt as _, cmd};
use crate::rules::root;

/// Builds the program that measures itself from `benches/` of a crate, for release.
pub(super) fn program(package: &str, name: &str) -> Result<PathBuf> {
    eprintln!("building {name}");
    let format = "--message-format=json-render-diagnostics";
    let args = ["bench", "--locked", "--no-run", "--quiet", "-p", package, "--bench", name, format];
    let mut cargo = cmd("cargo", args);
    let output = cargo.current_dir(root()).stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("benchmark {name} cannot be built");
    }
    for message in Message::parse_stream(output.stdout.as_slice()) {
        if let Message::CompilerArtifact(artifact) = message?
            && artifact.target.name == name
            && let Some(executable) = artifact.executable
        {
            return Ok(executable.into());
        }
    }
    bail!("cargo did not say where benchmark {name} is")
}

/// What a program said of itself.
pub(super) struct Figures(BTreeMap<String, String>);

impl Figures {
    /// Runs a program to its end and takes its lines `name=value`.
    pub(super) fn of(command: &mut Command) -> Result<Self> {
        let text = command.read()?;
        Ok(Self::read(text.lines()))
    }

    /// Takes lines `name=value`.
    pub(super) fn read<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let pairs = lines.into_iter().filter_map(|line| line.split_once('='));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// A figure as it was said.
    pub(super) fn text(&self, name: &str) -> Result<&str> {
        self.0.get(name).map(String::as_str).with_context(|| format!("the program did not say {name}"))
    }

    /// A figure as a number.
    pub(super) fn number(&self, name: &str) -> Result<f64> {
        let text = self.text(name)?;
        text.parse().with_context(|| format!("{name} is no number but {text}"))
    }
}

/// What a foreign program took.
pub(super) struct Took {
    pub(super) wall: Duration,
    /// Of the program and all that it waited for.
    pub(super) processor: Duration,
}

/// Runs a foreign program, whose output nobody wants.
pub(super) fn time(command: &mut Command) -> Result<Took> {
    let (began, before) = (Instant::now(), children_time()?);
    let output = command.stdout(Stdio::null()).output().context("cannot run a program to compare with")?;
    if !output.status.success() {
        bail!("{:?} failed: {}", command.get_program(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(Took { wall: began.elapsed(), processor: children_time()?.saturating_sub(before) })
}

/// How long all processes have run that were waited for (`cutime` and `cstime` of proc(5), in ticks of which Linux counts
/// a hundred a second towards programs).
fn children_time() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/self/stat").context("cannot read /proc/self/stat")?;
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks = fields.skip(13).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// Milliseconds, as figures are given.
pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Prints a table whose first row is the head, columns aligned to the right.
pub(super) fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        println!("{}", cells.join("  ").trim_end());
    }
}

/// A row of a table.
pub(super) fn row<T: ToString>(cells: impl IntoIterator<Item = T>) -> Vec<String> {
    cells.into_iter().map(|cell| cell.to_string()).collect()
}
