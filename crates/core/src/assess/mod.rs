//! What an outage or a missed update has hit, or would hit, at a site of AKS Arc: an infrastructure layer, and clusters on it.
//!
//! Two answers stand side by side. By *policy*: what the vendor's documents say of an outage of that length
//! ([`policy`]). As *measured*: what the credentials themselves say ([`measured`]). The first needs nothing but two
//! numbers and is coarse; the second is exact for what could be read, and *unknown* for the rest. Where they disagree, a
//! sentence says so.
//!
//! Everything here is pure: what was read, and what time it is, are arguments.

mod api;
mod credential;
mod doctor;
mod measured;
mod policy;
mod rule;
mod shutdown;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use api::{ApiLooks, ApiSight, CrashingPod, OuterService, ServingRequest};
pub use credential::{Class, Credential, Evidence, Material, Renewal};
pub use doctor::{Diagnosis, Stranger, Trouble, doctor};
pub use measured::{Finding, Heals, measured};
pub use policy::{Profile, policy};
pub use rule::Rule;
pub use shutdown::{Due, Shutdown, shutdown};

/// What ends together, and is repaired by the same command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// The cloud agent, the hosts' agents, and all that manages machines, networks and secrets for the site.
    Infrastructure,
    /// What a cluster's own components use to talk to the infrastructure.
    ClusterInfrastructure,
    /// The agents of load balancers.
    LoadBalancer,
    /// A cluster's own PKI, on its control plane.
    Kubernetes,
    /// The kubelets of a cluster's workers.
    KubernetesWorkers,
}

impl Layer {
    /// All of them, in the order of repair: whoever comes later needs those before.
    pub const ALL: [Layer; 5] = [
        Layer::Infrastructure,
        Layer::Kubernetes,
        Layer::ClusterInfrastructure,
        Layer::LoadBalancer,
        Layer::KubernetesWorkers,
    ];
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layer::Infrastructure => "infrastructure",
            Layer::ClusterInfrastructure => "cluster-infrastructure",
            Layer::LoadBalancer => "load-balancer",
            Layer::Kubernetes => "kubernetes",
            Layer::KubernetesWorkers => "kubernetes-workers",
        })
    }
}

/// Whether something was hit. The order is from good to bad; what is not known is never good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It goes on by itself.
    NotImpacted,
    /// It cannot be told.
    Unknown,
    /// It has ended, or needs somebody's hands.
    Impacted,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::NotImpacted => "not-impacted",
            Verdict::Unknown => "unknown",
            Verdict::Impacted => "impacted",
        })
    }
}

/// How long a site was off, or will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Outage {
    /// How long everything was off; zero if it was not. Less than zero counts as zero.
    pub off_for: SignedDuration,
    /// How long ago the last update was, at the end of the outage; `None` if nobody knows.
    pub since_update: Option<SignedDuration>,
}

/// A verdict with the rule that it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Which rule says so; `None` where nothing was there to be judged.
    pub rule: Option<Rule>,
    /// Why, in a sentence.
    pub why: String,
    /// What to do, in a sentence.
    pub action: String,
}

/// What is said of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerAssessment {
    /// Which one.
    pub layer: Layer,
    /// By the documents.
    pub policy: Verdict,
    /// By what was looked at; [`Verdict::Unknown`] where nothing was.
    pub measured: Verdict,
    /// How many of its credentials were looked at, be they readable or not.
    pub looked_at: usize,
    /// The rule that decides: of what was measured if that says anything, else of the documents.
    pub rule: Option<Rule>,
    /// By the documents, in full.
    pub by_policy: Judgement,
    /// By what was looked at, in full.
    pub by_measurement: Judgement,
    /// Where the two disagree, a sentence about it.
    pub disagreement: Option<String>,
}

/// The whole answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Assessment {
    /// The version of this format.
    pub schema: u32,
    /// Which documents the policy is taken from.
    pub profile: Profile,
    /// What it was asked about.
    pub outage: Outage,
    /// When it was judged.
    pub at: Timestamp,
    /// All layers, in the order of repair.
    pub layers: Vec<LayerAssessment>,
    /// What was looked at, credential by credential.
    pub credentials: Vec<Finding>,
}

impl Assessment {
    /// The version of the format that this program writes.
    pub const SCHEMA: u32 = 1;

    /// The worst of what is known best: of each layer the measured verdict where something was measured.
    pub fn verdict(&self) -> Verdict {
        let decided =
            |layer: &LayerAssessment| if layer.looked_at == 0 { layer.policy } else { layer.measured };
        self.layers.iter().map(decided).max().unwrap_or(Verdict::Unknown)
    }
}

/// Judges an outage that has ended at `at`, or that has not been one, by policy and by what could be read by then.
pub fn assess(profile: Profile, outage: Outage, credentials: &[Credential], at: Timestamp) -> Assessment {
    let by_policy = policy(profile, &outage);
    let findings = measured(credentials, at);
    let layers = Layer::ALL.into_iter().map(|layer| {
        let by_policy = by_policy.get(&layer).cloned().unwrap_or_else(|| nothing_said(layer));
        let by_measurement = of_layer(layer, &findings);
        LayerAssessment {
            layer,
            policy: by_policy.verdict,
            measured: by_measurement.verdict,
            looked_at: findings.iter().filter(|finding| finding.class.layer() == layer).count(),
            rule: by_measurement.rule.or(by_policy.rule),
            disagreement: disagreement(layer, &by_policy, &by_measurement),
            by_policy,
            by_measurement,
        }
    });
    let layers = layers.collect();
    Assessment { schema: Assessment::SCHEMA, profile, outage, at, layers, credentials: findings }
}

fn nothing_said(layer: Layer) -> Judgement {
    Judgement {
        verdict: Verdict::Unknown,
        rule: None,
        why: format!("the documents say nothing of {layer}"),
        action: "Measure.".to_owned(),
    }
}

/// The worst of a layer's credentials; the first of those that are equally bad.
fn of_layer(layer: Layer, findings: &[Finding]) -> Judgement {
    let own: Vec<&Finding> = findings.iter().filter(|finding| finding.class.layer() == layer).collect();
    let worst = own.iter().rev().max_by_key(|finding| finding.judgement.verdict);
    let Some(worst) = worst else {
        return Judgement {
            verdict: Verdict::Unknown,
            rule: None,
            why: "nothing of it was looked at".to_owned(),
            action: "Name its servers and files in the site file.".to_owned(),
        };
    };
    if worst.judgement.verdict != Verdict::NotImpacted {
        let judgement = &worst.judgement;
        return Judgement { why: format!("{}: {}", worst.name, judgement.why), ..judgement.clone() };
    }
    let first = own.iter().filter_map(|finding| finding.not_after).min();
    let until =
        first.map_or_else(String::new, |end| format!(", the first until {}", end.strftime("%F %H:%M UTC")));
    let judgement = &worst.judgement;
    Judgement { why: format!("all {} that were looked at are valid{until}", own.len()), ..judgement.clone() }
}

fn disagreement(layer: Layer, policy: &Judgement, measured: &Judgement) -> Option<String> {
    let rule = policy.rule.map_or_else(String::new, |rule| format!(" (rule {rule})"));
    match (policy.verdict, measured.verdict) {
        (Verdict::Impacted, Verdict::NotImpacted) => Some(format!(
            "The documents expect {layer} to be hit{rule}, but what was looked at is valid: nothing has to be repaired."
        )),
        (Verdict::NotImpacted, Verdict::Impacted) => Some(format!(
            "The documents expect {layer} to be untouched{rule}, but it is not: {}.",
            measured.why
        )),
        _ => None,
    }
}

/// Credentials by what holds them, for pairs of a certificate and the token that it can be had again with.
type Pairs<'a> = BTreeMap<(Class, Option<&'a str>, &'a str), Vec<&'a Credential>>;
