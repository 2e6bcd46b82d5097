//! `cargo xtask campaign sim`: as many seeds as are wanted, on all cores.

use std::process::ExitCode;

use anyhow::Result;
#[cfg(feature = "campaign")]
use anyhow::bail;
use clap::Args;

#[cfg(not(feature = "campaign"))]
use crate::cmd::exit_code;

#[derive(Args)]
pub(crate) struct Sim {
    /// How many runs
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    seeds: u64,
    /// The seed of the first run; each failing seed reproduces alone with `--first-seed SEED --seeds 1`
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    first_seed: u64,
    /// How many runs at the same time; as many as there are cores if not given
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Tell everything that happens in each run, for looking into a failing one
    #[arg(long)]
    trace: bool,
}

/// The crates whose code decides how fast a simulated rotation is.
#[cfg(not(feature = "campaign"))]
const HOT: [&str; 4] = ["kubecert-core", "kubecert-pki", "kubecert-engine", "kubecert-sim"];

/// Builds the simulator optimised, which a developer's `cargo xtask` does not need otherwise, and goes on there.
#[cfg(not(feature = "campaign"))]
pub(crate) fn run(args: &Sim) -> Result<ExitCode> {
    use anyhow::Context as _;

    let mut command =
        std::process::Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    command.current_dir(crate::rules::root()).args(["run", "--quiet", "--package", "xtask"]);
    command.args(["--features", "campaign"]);
    for name in HOT {
        command.arg("--config").arg(format!("profile.dev.package.{name}.opt-level=2"));
    }
    command.args(["--", "campaign", "sim"]);
    command.args(["--seeds", &args.seeds.to_string(), "--first-seed", &args.first_seed.to_string()]);
    if let Some(jobs) = args.jobs {
        command.args(["--jobs", &jobs.to_string()]);
    }
    if args.trace {
        command.arg("--trace");
    }
    Ok(exit_code(command.status().context("cannot build the campaign")?))
}

/// Runs them, a thread for each core, and prints what became of them.
#[cfg(feature = "campaign")]
pub(crate) fn run(args: &Sim) -> Result<ExitCode> {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex, PoisonError};
    use std::thread;
    use std::time::Instant;

    use anyhow::Context as _;
    use kubecert_sim::campaign::{Tally, run_seed};

    let began = Instant::now();
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = args.jobs.unwrap_or(cores).max(1);
    let scratch = scratch()?;
    let next = AtomicU64::new(0);
    let tally = Mutex::new(Tally::default());
    let tell = |text: String| eprintln!("[{:>6.1} s] {text}", began.elapsed().as_secs_f64());
    let one = |seed: u64| -> Result<()> {
        let trace = args.trace;
        let events = move |event: kubecert_sim::campaign::RunEvent| {
            if trace {
                println!("{} {:?}", event.at, event.what);
            }
        };
        let started = Instant::now();
        let verdict = run_seed(seed, scratch.path(), Arc::new(events))
            .with_context(|| format!("cannot play seed {seed}"))?;
        if trace {
            println!("{}\n{}", verdict.scenario, verdict.history.join("\n"));
        }
        if !verdict.held() {
            let lines = verdict.history.iter().map(|line| format!("\n    {line}")).collect::<String>();
            let wrong = verdict.wrong.iter().map(|line| format!("\n  ! {line}")).collect::<String>();
            tell(format!("FAILED {}{lines}{wrong}", verdict.scenario));
        } else if started.elapsed() > SLOW {
            tell(format!("took {:.1} s: {}", started.elapsed().as_secs_f64(), verdict.scenario));
        }
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.add(&verdict);
        if tally.runs().is_multiple_of(PROGRESS_EVERY) {
            tell(format!("{} of {} runs, {} failed", tally.runs(), args.seeds, tally.failing().len()));
        }
        Ok(())
    };
    let results: Vec<Result<()>> = thread::scope(|scope| {
        let worker = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= args.seeds {
                    return Ok(());
                }
                one(args.first_seed + number)?;
            }
        };
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| bail!("a run has panicked")))
            .collect()
    });
    results.into_iter().collect::<Result<Vec<()>>>()?;
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{tally}");
    println!(
        "seeds={} failed={} wall_s={:.1}",
        tally.runs(),
        tally.failing().len(),
        began.elapsed().as_secs_f64()
    );
    Ok(if tally.failing().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// From what time on a run is named as slow.
#[cfg(feature = "campaign")]
const SLOW: std::time::Duration = std::time::Duration::from_secs(20);
/// After how many runs it is told how far the campaign is.
#[cfg(feature = "campaign")]
const PROGRESS_EVERY: u64 = 250;

/// A directory in memory where there is one: every run syncs hundreds of records.
#[cfg(feature = "campaign")]
fn scratch() -> Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("kubecert-campaign-");
    Ok(builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir())?)
}
