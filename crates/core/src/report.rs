//! The report of a run, as `report.json` holds it and as text and HTML show it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::RunOutcome;
use crate::intent::{Scope, Strategy, Why};
use crate::model::{ClusterName, RunId};
use crate::plan::{Kept, PhaseName};

/// What a run did, how long it took, and what its clients saw meanwhile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this format; see [`Report::SCHEMA`].
    pub schema: u32,
    /// The run.
    pub run: RunId,
    /// The cluster.
    pub cluster: ClusterName,
    /// `finished`, `nothing-to-do` or `stopped`.
    pub result: String,
    /// The full outcome, with the reason where the run stopped.
    pub outcome: RunOutcome,
    /// Why credentials were replaced.
    pub why: Why,
    /// By which strategy.
    pub strategy: Strategy,
    /// The trust domains that the run was limited to.
    #[serde(default)]
    pub scope: Scope,
    /// When the first process of the run began.
    pub started: Timestamp,
    /// When the run ended.
    pub finished: Timestamp,
    /// Seconds from start to end, the time between processes included.
    pub wall_s: f64,
    /// How often a process took the run up again.
    pub resumed: usize,
    /// What the run's own clients saw.
    pub api: ApiReport,
    /// The phases.
    pub phases: Vec<PhaseReport>,
    /// Each step with its time, so that every second can be accounted for.
    pub steps: Vec<StepReport>,
    /// What became of the credentials.
    pub credentials: CredentialReport,
    /// Who trusts whom: before, during and after.
    pub trust: Vec<TrustStage>,
    /// Results of the verification at the end.
    pub verification: Vec<Verified>,
    /// Things the operator should know.
    pub notices: Vec<String>,
}

impl Report {
    /// The version of this format that this program writes and reads. It goes up when a field changes its meaning or
    /// goes away; new fields do not change it.
    pub const SCHEMA: u32 = 1;
}

/// Availability of the API as the run's own probe saw it, through the cluster's public endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ApiReport {
    /// Requests made; each reads and writes.
    pub requests: u64,
    /// Requests that failed even after one retry.
    pub failed: u64,
    /// Those of them whose retry had no answer in time: machines or the way to them were slow, and nobody refused them. Reports
    /// of earlier versions do not tell.
    #[serde(default)]
    pub timed_out: u64,
    /// Requests that failed at the first try.
    pub failed_first_try: u64,
    /// Longest time between two successes, in milliseconds.
    pub longest_gap_ms: u64,
    /// Median and 99th percentile of the time of a successful request, in milliseconds.
    pub median_ms: u64,
    /// See [`ApiReport::median_ms`].
    pub p99_ms: u64,
    /// Per client: its name, requests and failures.
    pub clients: Vec<ClientReport>,
    /// The timeline: one bucket a second from the start.
    pub timeline: Vec<Bucket>,
}

/// What one of the probe's clients saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientReport {
    /// `old` trusts only the old CA and presents an old certificate; `updated` has been given the new ones.
    pub client: String,
    /// Requests made.
    pub requests: u64,
    /// Requests that failed even after one retry.
    pub failed: u64,
    /// Longest time between two successes, in milliseconds.
    pub longest_gap_ms: u64,
}

/// One second of the timeline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Seconds since the start.
    pub second: u64,
    /// Requests that succeeded.
    pub ok: u32,
    /// Requests that failed even after one retry.
    pub failed: u32,
    /// Slowest success, in milliseconds.
    pub slowest_ms: u32,
}

/// A phase's time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseReport {
    /// Which one.
    pub name: PhaseName,
    /// Seconds after the run's start.
    pub start_s: f64,
    /// Seconds it took, its barrier included.
    pub wall_s: f64,
    /// Seconds of it that its barrier took.
    pub barrier_s: f64,
    /// Its steps.
    pub steps: usize,
    /// What met its barrier.
    pub evidence: Vec<String>,
}

/// A step's time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Its number.
    pub id: u32,
    /// Its phase.
    pub phase: PhaseName,
    /// Where it acted.
    pub target: String,
    /// What it did.
    pub title: String,
    /// Seconds after the run's start.
    pub start_s: f64,
    /// Seconds it took.
    pub wall_s: f64,
    /// Tries it needed.
    pub attempts: u32,
    /// What showed that it was done.
    pub evidence: String,
}

/// What became of the credentials.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CredentialReport {
    /// How many were replaced.
    pub replaced: usize,
    /// Each of them.
    pub items: Vec<Replaced>,
    /// What was left as it is, and why.
    pub kept: Vec<Kept>,
}

/// A credential that was replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replaced {
    /// Its name.
    pub id: String,
    /// SHA-256 fingerprint before, if there was one.
    pub before: Option<String>,
    /// SHA-256 fingerprint after.
    pub after: String,
    /// Its subject after.
    pub subject: String,
    /// End of its validity after.
    pub not_after: Timestamp,
}

/// Who trusts whom at one stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrustStage {
    /// `before`, `during` or `after`.
    pub stage: String,
    /// The edges.
    pub edges: Vec<TrustEdge>,
}

/// A client that verifies a server, and is verified by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TrustEdge {
    /// The client.
    pub client: String,
    /// The server.
    pub server: String,
    /// The CAs by which the client verifies the server: `old`, `new`, `old+new`; `extended` is another certificate of the
    /// old CA, for the same key.
    pub client_trusts: String,
    /// What the server presents: `old`, `new`, `new+cross`; `renewed` is a new leaf of the old CA.
    pub server_presents: String,
    /// The CAs by which the server verifies the client; empty where it does not.
    pub server_trusts: String,
    /// What the client presents; empty where it presents no certificate.
    pub client_presents: String,
}

/// One result of the verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// What was looked at.
    pub what: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found.
    pub found: String,
}
