//! `cargo xtask fuzz`: coverage-guided fuzzing of everything that kubecert parses. See docs/fuzzing.md.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::cmd::{CommandExt as _, cmd};
use crate::rules;

/// How instrumented code is built. What `cargo fuzz` passes too, without a sanitizer: the crates under test are without
/// unsafe code, and sanitizers need a nightly compiler.
const INSTRUMENTED: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";
/// How long one input may take, in seconds. Parsers take microseconds; ten seconds is a hang even on a loaded machine.
const INPUT_TIMEOUT_S: u32 = 10;
/// How much memory a target may take, in MiB: inputs are kilobytes, and the corpus in memory takes some tens of MiB.
const MEMORY_MIB: u32 = 1024;
/// The longest input, in bytes. Longer ones reach nothing new and are slow.
const LONGEST: u32 = 2048;

#[derive(Args)]
pub(crate) struct Fuzz {
    /// What to fuzz: a name from fuzz/targets
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    target: Option<String>,
    /// Everything in fuzz/targets, one after another
    #[arg(long)]
    all: bool,
    /// How many inputs to try on each target
    #[arg(long, default_value_t = 10_000_000, value_name = "N")]
    runs: u64,
}

/// What a target's run came to.
struct Done {
    executions: u64,
    per_second: u64,
    edges: u64,
}

/// Builds the targets and runs them; ends with the first input that one of them fails on.
pub(crate) fn run(args: &Fuzz) -> Result<()> {
    let fuzz = rules::root().join("fuzz");
    let known = targets(&fuzz)?;
    let chosen: Vec<&String> = match &args.target {
        Some(wanted) => known.iter().filter(|name| *name == wanted).collect(),
        None => known.iter().collect(),
    };
    ensure!(!chosen.is_empty(), "there is no such target; there are {}", known.join(", "));
    let output = output_directory();
    let programs = build(&fuzz, &output, &chosen)?;
    for name in chosen {
        eprintln!("fuzzing {name}, {} inputs; log in {}", args.runs, log_file(&output, name).display());
        let done = fuzz_one(&fuzz, &output, &programs.join(name), name, args.runs)?;
        println!(
            "target={name} executions={} panics=0 executions_per_second={} edges={}",
            done.executions, done.per_second, done.edges
        );
    }
    Ok(())
}

fn targets(fuzz: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(fuzz.join("targets"))? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Where everything goes that fuzzing makes; instrumented code has other flags and would evict the usual build.
fn output_directory() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| rules::root().join("target"), PathBuf::from);
    target.join("fuzz")
}

fn log_file(output: &Path, name: &str) -> PathBuf {
    output.join("logs").join(format!("{name}.log"))
}

/// Builds, and returns the directory of the programs.
fn build(fuzz: &Path, output: &Path, targets: &[&String]) -> Result<PathBuf> {
    let version = cmd("rustc", ["--version", "--verbose"]).read()?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let mut command = cmd("cargo", ["build", "--locked", "--release", "--target", host]);
    for target in targets {
        command.args(["--bin", target.as_str()]);
    }
    // With a target named, the flags are not for build scripts and macros.
    command.env("RUSTFLAGS", INSTRUMENTED).env("CARGO_TARGET_DIR", output);
    command.current_dir(fuzz).show()?;
    Ok(output.join(host).join("release"))
}

fn fuzz_one(fuzz: &Path, output: &Path, program: &Path, name: &str, runs: u64) -> Result<Done> {
    let corpus = output.join("corpus").join(name);
    let failures = output.join("failures").join(name);
    let log = log_file(output, name);
    for directory in [Some(corpus.as_path()), Some(failures.as_path()), log.parent()].into_iter().flatten() {
        fs::create_dir_all(directory)?;
    }
    let mut command = Command::new(program);
    // What is found goes into the first directory; the seeds in the second are only read.
    command.arg(&corpus).arg(fuzz.join("corpus").join(name));
    command
        .arg(format!("-runs={runs}"))
        .arg(format!("-max_len={LONGEST}"))
        .arg(format!("-timeout={INPUT_TIMEOUT_S}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg(format!("-artifact_prefix={}/", failures.display()))
        .arg("-print_final_stats=1");
    let dictionary = fuzz.join("dictionaries").join(name);
    if dictionary.exists() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    let status = command
        .stderr(File::create(&log)?)
        .status()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    if !status.success() {
        let input = said.lines().filter_map(|line| line.split_once("Test unit written to ")).next_back();
        let input = input.map_or("(no input was written)", |(_, input)| input);
        let reason =
            said.lines().find(|line| line.contains("panicked at") || line.contains("ERROR: libFuzzer"));
        bail!(
            "target {name} fails on {input}: {}; try it again with `{} {input}`, all is in {}",
            reason.unwrap_or_default(),
            program.display(),
            log.display()
        );
    }
    let figure = |what: &str| {
        let line = said.lines().filter_map(|line| line.strip_prefix(what)).next_back();
        line.and_then(|line| line.trim_start_matches([':', ' ']).parse().ok())
    };
    let edges = said.rsplit_once(" cov: ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    Ok(Done {
        executions: figure("stat::number_of_executed_units")
            .context("libFuzzer did not say how many it tried")?,
        per_second: figure("stat::average_exec_per_sec").unwrap_or_default(),
        edges: edges.unwrap_or_default(),
    })
}
