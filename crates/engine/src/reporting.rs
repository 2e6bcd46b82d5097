//! Builds the report of a run from its plan, its journal and what the probe saw.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kubecert_core::event::RunOutcome;
use kubecert_core::intent::Strategy;
use kubecert_core::inventory::Inventory;
use kubecert_core::material::Part;
use kubecert_core::model::{Generation, LeafId, TrustDomain};
use kubecert_core::plan::{LeafShape, PhaseName, Plan, StepId};
use kubecert_core::record::{Record, What};
use kubecert_core::report::{
    ApiReport, CredentialReport, PhaseReport, Replaced, Report, StepReport, TrustEdge, TrustStage, Verified,
};
use kubecert_pki::Certificate;

use crate::availability::{Sample, summary};
use crate::run::Context;
use crate::vault::Vault;

/// What a report is made of.
pub(crate) struct Material<'a> {
    pub(crate) context: &'a Context,
    pub(crate) plan: &'a Plan,
    pub(crate) records: &'a [Record],
    pub(crate) samples: &'a [Sample],
    pub(crate) outcome: &'a RunOutcome,
    pub(crate) started: Timestamp,
    pub(crate) notices: Vec<String>,
}

/// The report of a run.
pub(crate) fn build(material: &Material<'_>) -> Report {
    let finished = material.context.ports.clock.now();
    let started = material.started;
    let seconds = |time: Timestamp| seconds_between(started, time);
    let result = match material.outcome {
        RunOutcome::Finished => "finished",
        RunOutcome::Undone => "undone",
        RunOutcome::NothingToDo => "nothing-to-do",
        RunOutcome::Stopped { .. } => "stopped",
    };
    let mut notices = material.plan.notices.clone();
    notices.extend(material.notices.iter().cloned());
    Report {
        schema: Report::SCHEMA,
        run: material.context.run.run().clone(),
        cluster: material.plan.cluster.clone(),
        result: result.to_owned(),
        outcome: material.outcome.clone(),
        why: material.plan.why,
        strategy: material.plan.strategy,
        scope: material.plan.scope,
        started,
        finished,
        wall_s: seconds(finished),
        resumed: material.records.iter().filter(|record| record.what == What::Resumed).count(),
        api: summary(material.samples, started),
        phases: phases(material, seconds),
        steps: steps(material.plan, material.records, seconds),
        credentials: credentials(&material.context.vault, material.plan),
        trust: trust(material.plan),
        verification: verification(material.plan, material.records),
        notices,
    }
}

/// The report where nothing was to be done.
pub(crate) fn nothing(plan: &Plan, inventory: &Inventory, started: Timestamp) -> Report {
    Report {
        schema: Report::SCHEMA,
        run: kubecert_core::model::RunId::from(""),
        cluster: plan.cluster.clone(),
        result: "nothing-to-do".to_owned(),
        outcome: RunOutcome::NothingToDo,
        why: plan.why,
        strategy: plan.strategy,
        scope: plan.scope,
        started,
        finished: inventory.taken,
        wall_s: seconds_between(started, inventory.taken),
        resumed: 0,
        api: ApiReport::default(),
        phases: Vec::new(),
        steps: Vec::new(),
        credentials: CredentialReport { replaced: 0, items: Vec::new(), kept: plan.kept.clone() },
        trust: Vec::new(),
        verification: Vec::new(),
        notices: plan.notices.clone(),
    }
}

fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    let ms = to.duration_since(from).as_millis();
    // Milliseconds of a run are far below 2^52.
    (ms as f64) / 1000.0
}

fn phases(material: &Material<'_>, seconds: impl Fn(Timestamp) -> f64) -> Vec<PhaseReport> {
    let mut begin = 0.0;
    let mut reports = Vec::new();
    for phase in &material.plan.phases {
        let ids: Vec<StepId> = phase.steps.iter().map(|step| step.id).collect();
        let times = material.records.iter().filter(|record| match &record.what {
            What::Started { step, .. } | What::Done { step, .. } | What::Failed { step, .. } => {
                ids.contains(step)
            }
            _ => false,
        });
        let times: Vec<f64> = times.map(|record| seconds(record.at)).collect();
        let met = material.records.iter().find_map(|record| match &record.what {
            What::BarrierMet { phase: name, evidence } if *name == phase.name => {
                Some((seconds(record.at), evidence.clone()))
            }
            _ => None,
        });
        let Some(first) = times.first().copied() else { continue };
        let last = times.last().copied().unwrap_or(first);
        let start = if reports.is_empty() { first } else { begin };
        let (end, evidence) = met.unwrap_or((last, Vec::new()));
        begin = end;
        reports.push(PhaseReport {
            name: phase.name,
            start_s: start,
            wall_s: end - start,
            barrier_s: end - last,
            steps: phase.steps.len(),
            evidence,
        });
    }
    reports
}

fn steps(plan: &Plan, records: &[Record], seconds: impl Fn(Timestamp) -> f64) -> Vec<StepReport> {
    let mut reports: BTreeMap<StepId, StepReport> = BTreeMap::new();
    for record in records {
        let at = seconds(record.at);
        match &record.what {
            What::Started { step: id, attempt } => {
                let Some((phase, step)) = find(plan, *id) else { continue };
                reports
                    .entry(*id)
                    .and_modify(|report| report.attempts = report.attempts.max(*attempt))
                    .or_insert_with(|| StepReport {
                        id: id.0,
                        phase,
                        target: step.target.to_string(),
                        title: step.title.clone(),
                        start_s: at,
                        wall_s: 0.0,
                        attempts: *attempt,
                        evidence: String::new(),
                    });
            }
            What::Done { step: id, evidence } => {
                if let Some(report) = reports.get_mut(id) {
                    report.wall_s = at - report.start_s;
                    report.evidence.clone_from(evidence);
                }
            }
            What::Failed { step: id, error } => {
                if let Some(report) = reports.get_mut(id) {
                    report.wall_s = at - report.start_s;
                    report.evidence = format!("failed: {error}");
                }
            }
            _ => {}
        }
    }
    reports.into_values().collect()
}

fn find(plan: &Plan, id: StepId) -> Option<(PhaseName, &kubecert_core::plan::Step)> {
    plan.phases.iter().find_map(|phase| Some((phase.name, phase.steps.iter().find(|step| step.id == id)?)))
}

fn credentials(vault: &Vault, plan: &Plan) -> CredentialReport {
    let mut items = Vec::new();
    for order in &plan.authorities {
        if let Some(after) = vault.new.authorities.get(&order.domain) {
            let before = vault.old.authorities.get(&order.domain);
            items.push(replaced(format!("{} CA", order.domain), before, after));
        }
    }
    for order in &plan.leaves {
        let Ok(after) = vault.certificate(&Part::Leaf(order.id.clone(), Generation::New)) else { continue };
        let before = match &order.shape {
            LeafShape::Like(pem) => Certificate::from_pem(pem).ok(),
            _ => None,
        };
        items.push(replaced(order.id.to_string(), before.as_ref(), after));
    }
    CredentialReport { replaced: items.len(), items, kept: plan.kept.clone() }
}

fn replaced(id: String, before: Option<&Certificate>, after: &Certificate) -> Replaced {
    Replaced {
        id,
        before: before.map(|certificate| certificate.fingerprint().to_string()),
        after: after.fingerprint().to_string(),
        subject: after.subject().to_string(),
        not_after: after.not_after(),
    }
}

/// Who trusts whom, by kind of component, as the plan's phases establish it.
fn trust(plan: &Plan) -> Vec<TrustStage> {
    let cluster = plan.authorities.iter().any(|order| order.domain == TrustDomain::Cluster);
    let front_proxy = plan.leaves.iter().any(|order| order.id == LeafId::from("front-proxy"));
    let stage = |name: &str, trusts: &str, presents: &str, server_trusts: &str| TrustStage {
        stage: name.to_owned(),
        edges: edges(front_proxy, trusts, presents, server_trusts),
    };
    // What clients trust, what both sides present, and what servers trust.
    let stages = match plan.strategy {
        Strategy::CrossSigned => [("old", "new+cross", "old+new"), ("new", "new", "new")],
        Strategy::Bundled if cluster || front_proxy => [("old+new", "old", "old+new"), ("new", "new", "new")],
        Strategy::SameKey => [("old or extended", "old", "old or extended"), ("extended", "old", "extended")],
        Strategy::SameCa | Strategy::Bundled => [("old", "old or renewed", "old"), ("old", "renewed", "old")],
    };
    let [during, after] = stages;
    let mut stages = vec![
        stage("before", "old", "old", "old"),
        stage("during", during.0, during.1, during.2),
        stage("after", after.0, after.1, after.2),
    ];
    if front_proxy && !cluster {
        // Nothing else is touched.
        for stage in &mut stages {
            stage.edges.retain(|edge| edge.server == AGGREGATED);
        }
    }
    stages
}

/// How servers behind the aggregation layer are called in the report.
const AGGREGATED: &str = "aggregated API servers";

fn edges(front_proxy: bool, trusts: &str, presents: &str, server_trusts: &str) -> Vec<TrustEdge> {
    let edge = |client: &str, server: &str, certificate: bool| TrustEdge {
        client: client.to_owned(),
        server: server.to_owned(),
        client_trusts: trusts.to_owned(),
        server_presents: presents.to_owned(),
        server_trusts: if certificate { server_trusts.to_owned() } else { String::new() },
        client_presents: if certificate { presents.to_owned() } else { String::new() },
    };
    let mut edges = vec![
        edge("kube-apiserver", "etcd", true),
        edge("etcd", "etcd peers", true),
        edge("kubelet", "kube-apiserver", true),
        edge("kube-controller-manager", "kube-apiserver", true),
        edge("kube-scheduler", "kube-apiserver", true),
        edge("kube-proxy", "kube-apiserver", true),
        edge("administrators", "kube-apiserver", true),
        edge("pods", "kube-apiserver", false),
    ];
    if front_proxy {
        edges.push(edge("kube-apiserver", AGGREGATED, true));
    }
    edges
}

/// What the last barriers observed is the verification: every line was seen on a running process.
fn verification(plan: &Plan, records: &[Record]) -> Vec<Verified> {
    // Where no CA is dropped, the switch is the last that changes anything.
    let drops = plan.phases.iter().any(|phase| phase.name == PhaseName::Drop);
    let decides = |phase: PhaseName| match phase {
        PhaseName::Drop | PhaseName::Finish | PhaseName::Retract | PhaseName::Restore => true,
        PhaseName::Switch => !drops,
        _ => false,
    };
    records
        .iter()
        .filter_map(|record| match &record.what {
            What::Proven { evidence } => Some(evidence),
            What::BarrierMet { phase, evidence } if decides(*phase) => Some(evidence),
            _ => None,
        })
        .flatten()
        .map(|evidence| {
            let (what, found) = evidence.rsplit_once(" (").unwrap_or((evidence, ""));
            Verified { what: what.to_owned(), ok: true, found: found.trim_end_matches(')').to_owned() }
        })
        .collect()
}
