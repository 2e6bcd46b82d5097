//! `kubecert rehearse`: what a rotation of one's own cluster would do, tried out in memory.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::sync::Arc;

use kubecert_core::model::{KubernetesVersion, TrustDomain};
use kubecert_core::report::Report;
use kubecert_sim::SimConfig;
use kubecert_sim::campaign::{self, Fault, FaultKind, Scenario, Verdict, Way};
use serde::Serialize;

use super::rotate::intent;
use super::runtime::{self, Wired};
use super::target::Described;
use crate::args::{GlobalArgs, Output, RehearseArgs};
use crate::errors::{CliError, Kind};
use crate::exit::Exit;
use crate::human::numbers::grouped;
use crate::human::paint::Paint;
use crate::human::plural::{self, count};
use crate::render::report_text;

/// How many failed calls of workloads are told one by one.
const CALLS_TOLD: usize = 10;

/// Rehearses.
pub(crate) fn run(global: &GlobalArgs, args: &RehearseArgs) -> Result<Exit, CliError> {
    if args.list_faults {
        super::print(&faults())?;
        return Ok(Exit::Done);
    }
    let described = Described::read(args.api_model.as_deref().unwrap_or(Path::new("")))?;
    described.check_shape()?;
    let scenario = scenario(&described, args)?;
    let scratch = tempfile::tempdir()
        .map_err(|error| CliError::because(Kind::Input, "cannot make a temporary directory", error))?;
    runtime::with(global, |wired: Wired| async move {
        let events = wired.wires().events;
        let told = scenario.clone();
        // On a thread and a clock of its own, which runs as fast as the machine can.
        let played = tokio::task::spawn_blocking(move || {
            campaign::run(&scenario, scratch.path(), Arc::new(move |event| drop(events.send(event))))
        });
        let verdict = played
            .await
            .map_err(io::Error::other)
            .and_then(|played| played)
            .map_err(|error| CliError::because(Kind::Input, "the cluster cannot be rehearsed", error))?;
        wired.end().await;
        match global.output {
            Output::Json => {
                let json =
                    serde_json::to_string_pretty(&Rehearsed::of(&told, &verdict)).map_err(|error| {
                        CliError::because(Kind::Internal, "cannot write the rehearsal as JSON", error)
                    })?;
                super::print(&(json + "\n"))?;
            }
            Output::Text => {
                let paint = Paint::when(global.colours(io::stdout().is_terminal()));
                super::print(&text(&told, &verdict, paint))?;
            }
        }
        Ok(if verdict.held() { Exit::Done } else { Exit::Failed })
    })
}

/// The cluster of an apimodel as the simulator builds it, and what is to go wrong.
fn scenario(described: &Described, args: &RehearseArgs) -> Result<Scenario, CliError> {
    let model = &described.model;
    let version = KubernetesVersion::parse(&model.kubernetes().version).ok_or_else(|| {
        let why = format!("{} is no version of Kubernetes", model.kubernetes().version);
        CliError::because(Kind::Input, "the cluster cannot be rehearsed", why)
    })?;
    let pools: Vec<(String, usize)> = model
        .agent_pools()
        .iter()
        .map(|pool| (pool.name.clone(), usize::try_from(pool.count).unwrap_or(usize::MAX)))
        .collect();
    let agents = pools.iter().map(|(_, count)| count).sum();
    let mut config = SimConfig::new(model.master_names().len(), agents);
    config.name = described.name().to_string();
    config.pools = pools;
    config.cluster_id = Some(model.cluster_id().as_str().to_owned());
    // A model that was not deployed yet need not know where it will be.
    config.endpoint = model.server_url().ok().map(|url| url.trim_start_matches("https://").to_owned());
    config.version = version;
    config.seed = args.seed;
    let without_ca_key = model.certificate_profile().is_some()
        && !described.pki()?.authority_keys.contains_key(&TrustDomain::Cluster);
    let faults = if args.random_faults {
        Fault::random(args.seed)
    } else {
        args.faults.iter().map(|chosen| Fault::chosen(chosen.kind, chosen.percent * 10, args.seed)).collect()
    };
    Ok(Scenario::rehearsal(config, intent(&args.how), without_ca_key, faults))
}

/// All faults by name.
fn faults() -> String {
    let line = |kind: FaultKind| format!("{:<22} {}\n", kind.name(), kind.about());
    FaultKind::ALL.into_iter().map(line).collect()
}

/// A rehearsal for programs.
#[derive(Serialize)]
struct Rehearsed<'a> {
    /// `finished`, `resumed`, `undone` or `stuck`.
    result: &'static str,
    /// Whether it would come to its end with nothing broken.
    held: bool,
    cluster: &'a str,
    control_planes: usize,
    agents: usize,
    version: String,
    faults: Vec<String>,
    /// How each process of kubecert would end.
    processes: &'a [String],
    /// What would be broken.
    wrong: &'a [String],
    workload_calls: u64,
    workload_calls_failed: usize,
    report: Option<&'a Report>,
}

impl<'a> Rehearsed<'a> {
    fn of(scenario: &'a Scenario, verdict: &'a Verdict) -> Self {
        Self {
            result: result(verdict.way),
            held: verdict.held(),
            cluster: &scenario.config.name,
            control_planes: scenario.config.control_planes,
            agents: scenario.config.agents,
            version: scenario.config.version.to_string(),
            faults: scenario.faults.iter().map(ToString::to_string).collect(),
            processes: &verdict.history,
            wrong: &verdict.wrong,
            workload_calls: verdict.workloads.calls,
            workload_calls_failed: verdict.workloads.failures.len(),
            report: verdict.report.as_ref(),
        }
    }
}

const fn result(way: Way) -> &'static str {
    match way {
        Way::Finished => "finished",
        Way::Resumed => "resumed",
        Way::Undone => "undone",
        Way::Stuck => "stuck",
    }
}

/// A rehearsal for people.
fn text(scenario: &Scenario, verdict: &Verdict, paint: Paint) -> String {
    let config = &scenario.config;
    let mut text = String::new();
    let mut line = |line: &str| {
        let _infallible = writeln!(text, "{line}");
    };
    line(&format!(
        "Rehearsal of {}: {}, {}, Kubernetes {}",
        config.name,
        count(config.control_planes, plural::CONTROL_PLANE),
        count(config.agents, plural::AGENT),
        config.version,
    ));
    for fault in &scenario.faults {
        line(&format!("  with {fault}: {}", fault.kind.about()));
    }
    let headline = match (verdict.held(), verdict.way) {
        (true, Way::Finished) => paint.green("It would finish in one go."),
        (true, Way::Resumed) => paint.green("It would finish, after it was interrupted and resumed."),
        (true, _) => paint.green("It would be undone."),
        (false, Way::Stuck) => paint.red("It would not come to an end."),
        (false, _) => paint.red("It would come to an end, but not as it should."),
    };
    line(&format!("\n{headline}"));
    if verdict.history.len() > 1 || verdict.way == Way::Stuck {
        line(&format!("\n{}", paint.bold("How it would go")));
        for (position, ended) in verdict.history.iter().enumerate() {
            line(&format!("  {}. {ended}", position + 1));
        }
    }
    if !verdict.wrong.is_empty() {
        line(&format!("\n{}", paint.bold("What would be wrong")));
        for wrong in &verdict.wrong {
            line(&format!("  {wrong}"));
        }
    }
    line(&format!("\n{}", paint.bold("Workloads")));
    let failures = &verdict.workloads.failures;
    line(&format!("  {} calls, {} failed", grouped(verdict.workloads.calls), failures.len()));
    for failed in failures.iter().take(CALLS_TOLD) {
        line(&format!("  {} {}: {}", failed.at.strftime("%T"), failed.pod, failed.why));
    }
    if failures.len() > CALLS_TOLD {
        line(&format!("  and {} more", failures.len() - CALLS_TOLD));
    }
    if let Some(report) = &verdict.report {
        line(&format!("\n{}", paint.bold("Restarts")));
        for (title, nodes) in restarts(report) {
            line(&format!("  {title}: {nodes}"));
        }
        line(&format!("\n{}", paint.bold("The report of the run")));
        line("");
        text.push_str(&report_text::render(report, paint));
    }
    text
}

/// How often what is restarted.
fn restarts(report: &Report) -> BTreeMap<String, String> {
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for step in report.steps.iter().filter(|step| step.title.starts_with("restart ")) {
        *found.entry(&step.title).or_default() += 1;
    }
    found
        .into_iter()
        .map(|(title, times)| (title.trim_start_matches("restart ").to_owned(), count(times, plural::TIME)))
        .collect()
}
