//! A run's report as one page that needs nothing else.

use askama::Template;
use kubecert_core::report::{ClientReport, PhaseReport, Report, StepReport};

use super::svg::gantt::Gantt;
use super::svg::timeline::Timeline;
use super::svg::trust::{Rests, Trust, words};
use super::svg::{Page, phase_class};
use super::verdict::{Mood, Verdict};
use crate::human::numbers::{grouped, short_fingerprint};
use crate::human::plural::{self, count, noun};
use crate::human::time;

/// The page.
pub(crate) fn render(report: &Report) -> Result<String, askama::Error> {
    HtmlReport::new(report).render()
}

/// Everything that the page shows. The template escapes whatever it is given; only pictures, which are templates that
/// escape by themselves, are marked as safe.
#[derive(Template)]
#[template(path = "report.html")]
struct HtmlReport<'a> {
    report: &'a Report,
    verdict: Verdict,
    figures: Vec<Figure>,
    timelines: Vec<Timeline>,
    gantts: Vec<Gantt>,
    clients: Vec<ClientRow>,
    lanes_left_out: usize,
    trust: Vec<Trust>,
    connections: Vec<Connection>,
    phases: Vec<PhaseRow<'a>>,
    steps: Vec<StepRow<'a>>,
    credentials: Vec<CredentialRow<'a>>,
    verified: String,
    silent: usize,
    unknown: bool,
    started: String,
    finished: String,
    wall: String,
    version: &'static str,
}

struct Figure {
    value: String,
    name: String,
    detail: String,
}

struct ClientRow {
    name: String,
    requests: String,
    failed: String,
    gap: String,
}

struct Connection {
    client: String,
    server: String,
    stages: Vec<(String, Rests, String)>,
}

struct PhaseRow<'a> {
    class: &'static str,
    name: String,
    what: &'static str,
    start: String,
    wall: String,
    barrier: String,
    steps: String,
    evidence: &'a [String],
}

struct StepRow<'a> {
    id: u32,
    phase: String,
    target: &'a str,
    title: &'a str,
    start: String,
    wall: String,
    attempts: u32,
    evidence: &'a str,
}

struct CredentialRow<'a> {
    id: &'a str,
    subject: &'a str,
    before: Option<String>,
    before_whole: &'a str,
    after: String,
    after_whole: &'a str,
    ends: String,
    lasts: String,
}

impl<'a> HtmlReport<'a> {
    fn new(report: &'a Report) -> Self {
        let pages = [Page::Wide, Page::Narrow];
        let gantts: Vec<Gantt> = pages.iter().filter_map(|&page| Gantt::new(report, page)).collect();
        let measured = report.api.timeline.len() as f64;
        Self {
            report,
            verdict: Verdict::on(report),
            figures: figures(report),
            timelines: pages.iter().filter_map(|&page| Timeline::new(report, page)).collect(),
            clients: report.api.clients.iter().map(client_row).collect(),
            lanes_left_out: gantts.first().map_or(0, |gantt| gantt.left_out),
            gantts,
            trust: report.trust.iter().map(|stage| Trust::new(stage, &report.trust)).collect(),
            connections: connections(report),
            phases: before_row(report)
                .into_iter()
                .chain(report.phases.iter().map(|phase| phase_row(report, phase)))
                .collect(),
            steps: report.steps.iter().map(step_row).collect(),
            credentials: credential_rows(report),
            verified: verified(report),
            silent: report.api.timeline.iter().filter(|bucket| bucket.ok == 0).count(),
            // A second more or less at either end is the clock's, not a hole.
            unknown: measured > 0.0 && measured + 2.0 < report.wall_s,
            started: time::second(report.started),
            finished: time::second(report.finished),
            wall: time::seconds(report.wall_s),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

fn figures(report: &Report) -> Vec<Figure> {
    let api = &report.api;
    let mut figures = vec![
        Figure {
            value: time::seconds(report.wall_s),
            name: "from start to end".to_owned(),
            detail: match report.resumed {
                0 => String::new(),
                times => format!("taken up again {}", count(times, plural::TIME)),
            },
        },
        Figure {
            value: grouped(report.credentials.replaced as u64),
            name: format!("{} replaced", noun(report.credentials.replaced as u64, plural::CREDENTIAL)),
            detail: match report.credentials.kept.len() {
                0 => String::new(),
                kept => format!("{kept} kept"),
            },
        },
    ];
    if api.requests == 0 {
        return figures;
    }
    figures.push(Figure {
        value: grouped(api.failed),
        name: format!("of {} failed", count(api.requests as usize, plural::REQUEST)),
        detail: match api.timed_out {
            0 => format!("{} needed a retry", grouped(api.failed_first_try)),
            late => format!(
                "{} needed a retry, {} had no answer in time",
                grouped(api.failed_first_try),
                grouped(late)
            ),
        },
    });
    figures.push(Figure {
        value: time::millis(api.longest_gap_ms),
        name: "longest time between two answers".to_owned(),
        detail: String::new(),
    });
    figures.push(Figure {
        value: time::millis(api.median_ms),
        name: "median time of an answer".to_owned(),
        detail: format!("99th percentile {}", time::millis(api.p99_ms)),
    });
    figures
}

fn client_row(client: &ClientReport) -> ClientRow {
    ClientRow {
        name: match client.client.as_str() {
            "old" => "old: trusts only the old CA".to_owned(),
            "updated" => "updated: has been given the new certificates".to_owned(),
            other => other.to_owned(),
        },
        requests: grouped(client.requests),
        failed: grouped(client.failed),
        gap: time::millis(client.longest_gap_ms),
    }
}

fn verified(report: &Report) -> String {
    match report.verification.iter().filter(|result| !result.ok).count() {
        0 => "After the run everything was looked at again, without regard to the plan.".to_owned(),
        wrong => format!(
            "When everything was looked at again after the run, {} turned up.",
            count(wrong, plural::FAULT)
        ),
    }
}

/// Each connection once, with its state at every stage.
fn connections(report: &Report) -> Vec<Connection> {
    let mut connections: Vec<Connection> = Vec::new();
    for stage in &report.trust {
        for edge in &stage.edges {
            let state = (stage.stage.clone(), Rests::of(edge), words(edge));
            match connections
                .iter_mut()
                .find(|known| known.client == edge.client && known.server == edge.server)
            {
                Some(known) => known.stages.push(state),
                None => connections.push(Connection {
                    client: edge.client.clone(),
                    server: edge.server.clone(),
                    stages: vec![state],
                }),
            }
        }
    }
    connections
}

fn before_row(report: &Report) -> Option<PhaseRow<'_>> {
    super::before_phases(report).map(|seconds| PhaseRow {
        class: "p-before",
        name: "before".to_owned(),
        what: super::BEFORE_IN_WORDS,
        start: time::seconds(0.0),
        wall: time::seconds(seconds),
        barrier: String::new(),
        steps: String::new(),
        evidence: &[],
    })
}

fn phase_row<'a>(report: &Report, phase: &'a PhaseReport) -> PhaseRow<'a> {
    PhaseRow {
        class: phase_class(phase.name),
        name: phase.name.to_string(),
        what: super::phase_in_words(phase.name, report.strategy, report.scope),
        start: time::seconds(phase.start_s),
        wall: time::seconds(phase.wall_s),
        barrier: time::seconds(phase.barrier_s),
        steps: grouped(phase.steps as u64),
        evidence: &phase.evidence,
    }
}

fn step_row(step: &StepReport) -> StepRow<'_> {
    StepRow {
        id: step.id,
        phase: step.phase.to_string(),
        target: &step.target,
        title: &step.title,
        start: time::seconds(step.start_s),
        wall: time::seconds(step.wall_s),
        attempts: step.attempts,
        evidence: &step.evidence,
    }
}

fn credential_rows(report: &Report) -> Vec<CredentialRow<'_>> {
    report
        .credentials
        .items
        .iter()
        .map(|item| CredentialRow {
            id: &item.id,
            subject: &item.subject,
            before: item.before.as_deref().map(short_fingerprint),
            before_whole: item.before.as_deref().unwrap_or_default(),
            after: short_fingerprint(&item.after),
            after_whole: &item.after,
            ends: time::date(item.not_after),
            lasts: time::relative(report.finished, item.not_after),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = render(&sample::report()).unwrap();
        for forbidden in ["http://", "https://", "src=", "<script", "@import", "<link"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert!(page.contains("The API answered throughout") || page.contains("failed; the longest gap"));
    }

    #[test]
    fn what_a_cluster_says_is_text_and_never_markup() {
        let mut report = sample::report();
        let evil = "<script>alert('\"1\"')</script>";
        report.notices.push(evil.to_owned());
        report.steps[0].title = evil.to_owned();
        report.steps[1].target = evil.to_owned();
        report.trust[0].edges[0].client = evil.to_owned();
        report.credentials.items[0].subject = evil.to_owned();
        assert!(!render(&report).unwrap().contains("<script"));
    }

    #[test]
    fn an_empty_report_renders() {
        let mut report = sample::report();
        report.phases.clear();
        report.steps.clear();
        report.trust.clear();
        report.verification.clear();
        report.notices.clear();
        report.api = Default::default();
        report.credentials = Default::default();
        report.outcome = kubecert_core::event::RunOutcome::NothingToDo;
        let page = render(&report).unwrap();
        assert!(page.contains("There was nothing to do."));
        assert!(!page.contains("<svg class=\"chart"));
    }

    /// Writes the sample where `KUBECERT_SAMPLE` says, for looking at it in a browser.
    #[test]
    #[ignore = "writes files to look at"]
    fn write_the_sample() {
        let directory = std::path::PathBuf::from(std::env::var_os("KUBECERT_SAMPLE").unwrap());
        let report = sample::report();
        std::fs::write(directory.join("report.json"), serde_json::to_string_pretty(&report).unwrap())
            .unwrap();
        std::fs::write(directory.join("report.html"), render(&report).unwrap()).unwrap();
        let mut good = report;
        good.api.failed = 0;
        good.api.timeline[36].failed = 0;
        std::fs::write(directory.join("good.html"), render(&good).unwrap()).unwrap();
    }
}
