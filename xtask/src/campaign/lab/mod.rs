//! `cargo xtask campaign lab`: a real cluster is rotated while things break, one after the other.
//!
//! Every scenario begins with a cluster in order. It has to end finished, or refused with nothing touched, or stopped at
//! a safe point with the API answering, from where a resumed run finishes. What has changed is judged by `lab state`, which
//! shares no code with kubecert, and a prober of its own measures for how long the API did not answer. Scenarios share
//! one cluster; one that fails spoils it, and the next gets a fresh one.

mod cut;
mod faults;
mod kill;
mod lost;
mod outsider;
mod probe;
mod stage;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::Serialize;

use self::faults::{Ended, SCENARIOS, Scenario};
use self::stage::{Stage, Then};
use crate::rotation::{self, Lab};

#[derive(Args)]
pub(crate) struct LabArgs {
    /// Only these scenarios
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Kill kubecert at so many records of its journal rather than at every one
    #[arg(long, value_name = "K")]
    sample: Option<usize>,
    /// What is to become of runs that a fault has stopped
    #[arg(long, value_enum, value_name = "WHAT", default_value = "resume")]
    then: Then,
    /// Say which scenarios there are, and do nothing
    #[arg(long)]
    list: bool,
    /// Where the table and the progress of all runs are written [default: campaign-lab in cargo's target directory]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The program to run [default: kubecert, built for release]
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
    /// Use this lab, which stands already, and leave it standing
    #[arg(long, value_name = "NAME")]
    lab: Option<String>,
}

/// A line of the table.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    fault: &'static str,
    held: bool,
    /// How kubecert ended each time, and what it said last.
    exits: Vec<(Option<i32>, String)>,
    /// The longest time between two answers of the API, in seconds.
    api_gap_s: f64,
    api_requests: usize,
    api_failed: usize,
    /// What failed requests said, and how often.
    api_errors: BTreeMap<String, usize>,
    end: String,
    notes: Vec<String>,
    wall_s: f64,
}

/// Plays the scenarios; the exit code is 0 only if all of them ended well.
pub(crate) fn run(args: &LabArgs) -> Result<ExitCode> {
    if args.list {
        for scenario in SCENARIOS {
            println!("{:<20} {}", scenario.name, scenario.fault);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = chosen(&args.only)?;
    let program = match &args.program {
        Some(program) => {
            program.canonicalize().with_context(|| format!("cannot find {}", program.display()))?
        }
        None => rotation::kubecert()?,
    };
    let out = args.out.clone().unwrap_or_else(|| rotation::target().join("campaign-lab"));
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let mut rows = Vec::new();
    let mut stage: Option<Stage> = None;
    for scenario in chosen {
        let ready = match stage.take() {
            Some(stage) => stage,
            None => {
                let lab = match &args.lab {
                    Some(name) => Lab::standing(name)?,
                    None => Lab::up("campaign", &[])?,
                };
                Stage::new(lab, &program, &out, args.sample, args.then)?
            }
        };
        let (row, ready) = play(scenario, ready);
        let held = row.held;
        rows.push(row);
        write_table(&out, &rows)?;
        if held {
            stage = Some(ready);
        } else if args.lab.is_some() {
            eprintln!("The lab may be spoiled: the scenarios that are left are not played.");
            break;
        } else {
            ready.lab.down()?;
        }
    }
    if let (Some(stage), None) = (stage, &args.lab) {
        stage.lab.down()?;
    }
    print!("{}", table(&rows));
    println!("The same table and the progress of all runs are in {}.", out.display());
    let held = rows.iter().filter(|row| row.held).count();
    println!("scenarios={} held={held}", rows.len());
    Ok(if held == rows.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn chosen(only: &[String]) -> Result<Vec<&'static Scenario>> {
    if let Some(unknown) = only.iter().find(|name| SCENARIOS.iter().all(|scenario| scenario.name != **name)) {
        bail!("there is no scenario {unknown:?}; --list says which there are");
    }
    Ok(SCENARIOS
        .iter()
        .filter(|scenario| only.is_empty() || only.iter().any(|name| name == scenario.name))
        .collect())
}

/// Plays one scenario on a cluster in order, and judges what is left.
fn play(scenario: &'static Scenario, mut stage: Stage) -> (Row, Stage) {
    eprintln!("\n== {}: {}", scenario.name, scenario.fault);
    let clock = Instant::now();
    let mut began = clock;
    let mut seen = None;
    let mut all = || -> Result<Ended> {
        stage.begin(scenario.name).context("the cluster is not in order before the scenario")?;
        began = Instant::now();
        let ended = (scenario.play)(&mut stage);
        // What the judge does to a cluster is not the fault's.
        seen = Some(stage.probe.since(began));
        let ended = ended?;
        if !matches!(ended, Ended::Refused | Ended::Undone) {
            // A node that has just come back still starts its pods.
            stage.healthy()?;
            stage.judge()?;
        }
        Ok(ended)
    };
    let result = all();
    let seen = seen.unwrap_or_else(|| stage.probe.since(began));
    let row = Row {
        name: scenario.name,
        fault: scenario.fault,
        held: result.is_ok(),
        exits: stage.ends.iter().map(|end| (end.code, end.said.clone())).collect(),
        api_gap_s: seen.gap.as_secs_f64(),
        api_requests: seen.requests,
        api_failed: seen.failed,
        api_errors: seen.errors,
        end: match &result {
            Ok(ended) => ended.text().to_owned(),
            Err(error) => format!("FAILED: {error:#}"),
        },
        notes: stage.notes.clone(),
        wall_s: clock.elapsed().as_secs_f64(),
    };
    eprintln!("== {}: {}, API gap {:.1} s, {:.0} s", row.name, row.end, row.api_gap_s, row.wall_s);
    (row, stage)
}

/// The table as people read it; Markdown, so that it can stand in a document.
fn table(rows: &[Row]) -> String {
    let mut text = String::from("| fault | what happened | API gap | end |\n|--|--|--|--|\n");
    for row in rows {
        let happened: Vec<String> = row
            .exits
            .iter()
            .map(|(code, said)| {
                let code = code.map_or_else(|| "killed".to_owned(), |code| format!("exit {code}"));
                if said == "finished" { code } else { format!("{code}: {}", shortened(said)) }
            })
            .chain(row.notes.iter().cloned())
            .collect();
        text += &format!(
            "| {} ({}) | {} | {:.1} s, {} of {} requests failed | {} |\n",
            row.fault,
            row.name,
            happened.join("; then ").replace('|', "/"),
            row.api_gap_s,
            row.api_failed,
            row.api_requests,
            row.end.replace('|', "/").replace('\n', " "),
        );
    }
    text
}

/// The beginning of a message.
fn shortened(said: &str) -> String {
    const LENGTH: usize = 240;
    if said.chars().count() > LENGTH {
        said.chars().take(LENGTH).chain(['…']).collect()
    } else {
        said.to_owned()
    }
}

fn write_table(out: &Path, rows: &[Row]) -> Result<()> {
    fs::write(out.join("campaign-lab.md"), table(rows))?;
    fs::write(out.join("campaign-lab.json"), serde_json::to_vec_pretty(rows)?)?;
    Ok(())
}
