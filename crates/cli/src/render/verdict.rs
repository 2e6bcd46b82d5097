//! A run in two sentences: what text and page say first.

use kubecert_core::event::RunOutcome;
use kubecert_core::intent::Why;
use kubecert_core::model::TrustDomain;
use kubecert_core::report::Report;

use crate::human::numbers::grouped;
use crate::human::plural::{self, count};
use crate::human::time;

/// A longer time between two answers than this is told in the headline although no request failed: a person who waits
/// notices a second.
const NOTICEABLE_MS: u64 = 1000;

/// How good the news is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// All is well.
    Good,
    /// Somebody should look.
    Attention,
}

/// The verdict.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// How good the news is.
    pub(crate) mood: Mood,
    /// The first sentence.
    pub(crate) headline: String,
    /// What was done.
    pub(crate) done: String,
    /// What clients saw.
    pub(crate) seen: String,
}

impl Verdict {
    /// The verdict on a run.
    pub(crate) fn on(report: &Report) -> Self {
        let wrong = report.verification.iter().filter(|result| !result.ok).count();
        let (mood, headline) = match &report.outcome {
            RunOutcome::Stopped { .. } => (Mood::Attention, "The run stopped at a safe point.".to_owned()),
            _ if wrong > 0 => {
                let text = format!("The verification found {}.", count(wrong, plural::FAULT));
                (Mood::Attention, text)
            }
            RunOutcome::Undone => (Mood::Good, "Everything is as it was before the run.".to_owned()),
            RunOutcome::NothingToDo => (Mood::Good, "There was nothing to do.".to_owned()),
            RunOutcome::Finished => availability(report),
        };
        Self { mood, headline, done: done(report), seen: seen(report) }
    }
}

fn availability(report: &Report) -> (Mood, String) {
    let api = &report.api;
    // No request is no evidence, and what is unknown is never called well.
    if api.requests == 0 {
        return (
            Mood::Attention,
            "Finished; whether the API answered meanwhile was not measured.".to_owned(),
        );
    }
    match (api.failed, api.longest_gap_ms) {
        (0, 0..=NOTICEABLE_MS) => (Mood::Good, "The API answered throughout.".to_owned()),
        (0, gap) => (Mood::Good, format!("The API answered throughout, once after {}.", time::millis(gap))),
        (failed, gap) => {
            let failed = count(failed as usize, plural::REQUEST);
            (
                Mood::Attention,
                format!("{failed} to the API failed; the longest gap was {}.", time::millis(gap)),
            )
        }
    }
}

fn done(report: &Report) -> String {
    let cluster = &report.cluster;
    let replaced = count(report.credentials.replaced, plural::CREDENTIAL);
    let took = time::seconds(report.wall_s);
    let resumed = match report.resumed {
        0 => String::new(),
        times => format!(", taken up again {}", count(times, plural::TIME)),
    };
    let cluster_ca = report.scope.covers(TrustDomain::Cluster);
    match (&report.outcome, report.why) {
        (RunOutcome::Undone, _) => format!(
            "What the run had changed on cluster {cluster} was put back: files byte for byte, objects as they were, every component on the old certificates."
        ),
        (RunOutcome::NothingToDo, _) => format!("No credential of cluster {cluster} was due."),
        (RunOutcome::Stopped { reason }, Why::Recover) => format!(
            "Cluster {cluster} is not back yet; the run has stopped after {took}, and goes on where it stopped. Why it stopped: {reason}"
        ),
        (RunOutcome::Finished, Why::Recover) => {
            format!(
                "Cluster {cluster} is back: {replaced} {} renewed in {took}{resumed}.",
                plural::were(report.credentials.replaced)
            )
        }
        (RunOutcome::Stopped { reason }, _) => {
            format!(
                "Cluster {cluster} serves; {replaced} had been replaced after {took}. Why it stopped: {reason}"
            )
        }
        (RunOutcome::Finished, Why::Renew) => {
            format!(
                "{replaced} of cluster {cluster} {} renewed in {took}{resumed}.",
                plural::were(report.credentials.replaced)
            )
        }
        (RunOutcome::Finished, Why::ExtendCa) => {
            format!(
                "The certificate authority of cluster {cluster} was given a longer life in {took}{resumed}."
            )
        }
        (RunOutcome::Finished, Why::ReplaceCa | Why::Compromised) if !cluster_ca => {
            format!("The front proxy's certificates of cluster {cluster} were replaced in {took}{resumed}.")
        }
        (RunOutcome::Finished, Why::ReplaceCa | Why::Compromised) => {
            format!(
                "{replaced} of cluster {cluster} {} replaced in {took}{resumed}, the certificate authority among them.",
                plural::were(report.credentials.replaced),
            )
        }
    }
}

fn seen(report: &Report) -> String {
    let api = &report.api;
    if api.requests == 0 {
        return String::new();
    }
    let first = match api.failed_first_try {
        0 => String::new(),
        tries => format!(" ({} needed a retry)", grouped(tries)),
    };
    let failed = match (api.failed, api.timed_out) {
        (0, _) => "none failed".to_owned(),
        (failed, 0) => format!("{} failed", grouped(failed)),
        (failed, late) if late == failed => {
            format!("{} failed for want of an answer in time", grouped(failed))
        }
        (failed, late) => {
            format!("{} failed, {} of them for want of an answer in time", grouped(failed), grouped(late))
        }
    };
    format!(
        "Of {} to the API, {failed}{first}; the longest time between two answers was {}.",
        count(api.requests as usize, plural::REQUEST),
        time::millis(api.longest_gap_ms),
    )
}
