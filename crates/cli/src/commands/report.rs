//! `kubecert report`.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use kubecert_core::report::Report;

use crate::args::{GlobalArgs, Output, ReportArgs};
use crate::errors::{CliError, Kind};
use crate::exit::Exit;
use crate::human::paint::Paint;
use crate::render::{report_html, report_text};

/// The file in a run's directory that this verb reads.
const FILE: &str = "report.json";

/// Shows a run, or writes its page.
pub(crate) fn run(global: &GlobalArgs, args: &ReportArgs) -> Result<Exit, CliError> {
    let file = match &args.run_dir {
        Some(path) if path.is_dir() => path.join(FILE),
        Some(path) => path.clone(),
        None => latest(&args.state.state_dir()?)?,
    };
    let report = read(&file)?;
    if let Some(page) = &args.html {
        let html = report_html::render(&report)
            .map_err(|error| CliError::because(Kind::Internal, "cannot render the page", error))?;
        super::write_file(page, html)?;
        return Ok(Exit::Done);
    }
    match global.output {
        Output::Json => {
            let json = serde_json::to_string_pretty(&report).map_err(|error| {
                CliError::because(Kind::Internal, "cannot write the report as JSON", error)
            })?;
            super::print(&(json + "\n"))?;
        }
        Output::Text => {
            let paint = Paint::when(global.colours(io::stdout().is_terminal()));
            super::print(&report_text::render(&report, paint))?;
        }
    }
    Ok(Exit::Done)
}

/// Reads a report, and refuses one of a format that this program does not know.
fn read(file: &Path) -> Result<Report, CliError> {
    let unusable = |why: String| CliError::new(Kind::Input, format!("{}: {why}", file.display()));
    let text = fs::read_to_string(file).map_err(|error| {
        CliError::because(Kind::Input, format!("cannot read {}", file.display()), error)
            .hint("A run writes its report when it ends; `kubecert resume` ends an interrupted one.")
    })?;
    let value: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| CliError::because(Kind::Input, format!("{} is not JSON", file.display()), error))?;
    // The version is looked at before the rest, which another version may not even have.
    match value.get("schema").and_then(serde_json::Value::as_u64) {
        Some(schema) if schema == u64::from(Report::SCHEMA) => {}
        Some(schema) => {
            let why = format!("the report has format {schema}, this program reads format {}", Report::SCHEMA);
            return Err(unusable(why).hint("Use the version of kubecert that made the run."));
        }
        None => return Err(unusable("this is not a report of kubecert".to_owned())),
    }
    serde_json::from_value(value)
        .map_err(|error| CliError::because(Kind::Input, format!("{} is damaged", file.display()), error))
}

/// The report of the latest run of any cluster: `<state>/<cluster>/<run>/report.json`, where runs are named so that they
/// sort by their start.
fn latest(state: &Path) -> Result<PathBuf, CliError> {
    let below = |directory: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(directory).into_iter().flatten();
        entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect()
    };
    below(state)
        .iter()
        .flat_map(|cluster| below(cluster))
        .filter(|run| run.join(FILE).is_file())
        .max_by(|one, other| one.file_name().cmp(&other.file_name()))
        .map(|run| run.join(FILE))
        .ok_or_else(|| {
            CliError::new(Kind::Input, format!("there is no finished run in {}", state.display()))
                .hint("Name the directory of a run, or the state directory with --state-dir.")
                .hint("`kubecert demo` makes a run to look at.")
        })
}
