//! `kubecert check`, `plan` and `verify`: the verbs that only look.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use jiff::Timestamp;
use kubecert_core::inventory::Inventory;
use kubecert_core::plan::Plan;
use kubecert_core::report::Verified;
use kubecert_core::restarts::{Restart, restarts};
use kubecert_engine::{pending, run, verify};
use serde::Serialize;

use super::cluster::Named;
use super::rotate::{intent, run_error};
use super::runtime::{self, Wired};
use super::target::Reach;
use crate::args::{CheckArgs, GlobalArgs, Output, PlanArgs, SshArgs, VerifyArgs};
use crate::errors::{CliError, Kind};
use crate::exit::Exit;
use crate::human::paint::Paint;
use crate::render::{check_table, plan_text};

/// `kubecert check`.
pub(crate) fn check(global: &GlobalArgs, args: &CheckArgs) -> Result<Exit, CliError> {
    let named = Named::read(&args.cluster.source())?;
    let pending = pending::pending(&args.state.state_dir()?.join(named.name().as_str()));
    looking(global, &named, &args.ssh, |inventory| {
        let now = Timestamp::now();
        let table = check_table::Table::of(&inventory, now, args.within);
        match global.output {
            Output::Json => super::print(&table.json(pending.as_ref())?)?,
            Output::Text => {
                if let Some(pending) = &pending {
                    super::print(&format!("{pending}\n\n"))?;
                }
                let paint = Paint::when(global.colours(io::stdout().is_terminal()));
                super::print(&table.text(paint))?;
            }
        }
        Ok(if table.has_findings() { Exit::Findings } else { Exit::Done })
    })
}

/// `kubecert plan`.
pub(crate) fn plan(global: &GlobalArgs, args: &PlanArgs) -> Result<Exit, CliError> {
    let named = Named::read(&args.cluster.source())?;
    named.check_supported()?;
    looking(global, &named, &args.ssh, |inventory| {
        let plan = run::plan(&inventory, &intent(&args.how), Timestamp::now()).map_err(run_error)?;
        let json = || {
            serde_json::to_string_pretty(&plan)
                .map_err(|error| CliError::because(Kind::Internal, "cannot write the plan as JSON", error))
        };
        if let Some(file) = &args.out {
            super::write_file(file, json()? + "\n")?;
        }
        print_plan(global, &plan)?;
        Ok(Exit::Done)
    })
}

/// Shows a plan as the result.
pub(super) fn print_plan(global: &GlobalArgs, plan: &Plan) -> Result<(), CliError> {
    match global.output {
        Output::Json => super::print(&(shown(plan)? + "\n")),
        Output::Text => {
            let paint = Paint::when(global.colours(io::stdout().is_terminal()));
            super::print(&plan_text::render(plan, paint))
        }
    }
}

/// The plan for programs, with what it restarts, which follows from it.
fn shown(plan: &Plan) -> Result<String, CliError> {
    #[derive(Serialize)]
    struct Shown<'a> {
        #[serde(flatten)]
        plan: &'a Plan,
        restarts: Vec<Restart>,
    }
    serde_json::to_string_pretty(&Shown { plan, restarts: restarts(plan) })
        .map_err(|error| CliError::because(Kind::Internal, "cannot write the plan as JSON", error))
}

/// `kubecert verify`.
pub(crate) fn verify(global: &GlobalArgs, args: &VerifyArgs) -> Result<Exit, CliError> {
    let named = Named::read(&args.cluster.source())?;
    looking(global, &named, &args.ssh, |inventory| {
        let results = verify::verify(&inventory, Timestamp::now());
        match global.output {
            Output::Json => {
                let json = serde_json::to_string_pretty(&results).map_err(|error| {
                    CliError::because(Kind::Internal, "cannot write the result as JSON", error)
                })?;
                super::print(&(json + "\n"))?;
            }
            Output::Text => {
                super::print(&text(&results, Paint::when(global.colours(io::stdout().is_terminal()))))?
            }
        }
        Ok(if results.iter().all(|result| result.ok) { Exit::Done } else { Exit::Findings })
    })
}

/// Connects, looks, and hands over what was seen.
fn looking(
    global: &GlobalArgs,
    named: &Named,
    ssh: &SshArgs,
    then: impl FnOnce(Inventory) -> Result<Exit, CliError>,
) -> Result<Exit, CliError> {
    let reach = Reach::try_from(ssh)?;
    // Looking keeps no records, but host keys are pinned where the runs of the cluster are.
    let state = crate::args::StateArgs { state_dir: None };
    let state: PathBuf = state.state_dir()?.join(named.name().as_str());
    runtime::with(global, |wired: Wired| async move {
        let setup = named.connect(&reach, state, wired.wires()).await?;
        let inventory = run::look(&setup).await.map_err(run_error)?;
        // The front-end listens for as long as anything could still tell it something.
        drop(setup);
        wired.end().await;
        then(inventory)
    })
}

fn text(results: &[Verified], paint: Paint) -> String {
    let mut text = String::new();
    for result in results {
        let mark = if result.ok { paint.green("ok  ") } else { paint.red("FAIL") };
        text.push_str(&format!("{mark} {}", result.what));
        if !result.found.is_empty() {
            text.push_str(&paint.dim(&format!(" ({})", result.found)));
        }
        text.push('\n');
    }
    let bad = results.iter().filter(|result| !result.ok).count();
    text.push_str(&match bad {
        0 => format!("\nAll {} things looked at are as they should be.\n", results.len()),
        bad => format!("\n{bad} of {} things looked at are not as they should be.\n", results.len()),
    });
    text
}
