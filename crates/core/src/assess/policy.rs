//! The verdict by what the vendor's documents say.
//!
//! The documents contradict each other, and releases differ; each [`Profile`] is one reading of them, and an answer
//! always names its profile. Sources: "Update certificates in AKS enabled by Azure Arc" (its two tables),
//! "Certificates overview", the known-issues pages of security and workload clusters, and what's-new of Azure Local
//! 2402 and 2405.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::{Judgement, Layer, Outage, Rule, Verdict};

/// Which documents are believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// The two tables of the update page, to the letter: any outage hits Kubernetes, 30 days hit the infrastructure,
    /// and a missed update hits nothing.
    Tables2024,
    /// All documents together, the strictest where they contradict each other.
    #[default]
    Documented,
    /// Releases before April 2022: the infrastructure's certificates and tokens last 60 days.
    Legacy2022,
    /// Azure Local from 2405 on: Kubernetes repairs itself, tokens are renewed by themselves.
    Azurelocal2405,
}

impl Profile {
    /// All of them.
    pub const ALL: [Profile; 4] =
        [Profile::Tables2024, Profile::Documented, Profile::Legacy2022, Profile::Azurelocal2405];

    const fn bounds(self) -> Bounds {
        match self {
            Profile::Tables2024 => Bounds {
                kubernetes_lasts: SignedDuration::ZERO,
                kubernetes_ends: Some(SignedDuration::from_secs(1)),
                infrastructure: days(30),
                tokens: None,
            },
            // Renewal begins at 30 % of 90 days, so that 27 days are sure, and no more.
            Profile::Documented => Bounds {
                kubernetes_lasts: days(1),
                kubernetes_ends: Some(days(4)),
                infrastructure: days(27),
                tokens: Some(days(90)),
            },
            Profile::Legacy2022 => Bounds {
                kubernetes_lasts: days(1),
                kubernetes_ends: Some(days(4)),
                infrastructure: days(18),
                tokens: Some(days(60)),
            },
            Profile::Azurelocal2405 => Bounds {
                kubernetes_lasts: days(7),
                kubernetes_ends: None,
                infrastructure: days(27),
                tokens: None,
            },
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Profile::Tables2024 => "tables-2024",
            Profile::Documented => "documented",
            Profile::Legacy2022 => "legacy-2022",
            Profile::Azurelocal2405 => "azurelocal-2405",
        })
    }
}

/// There is no such profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no profile {0}; there are tables-2024, documented, legacy-2022 and azurelocal-2405")]
pub struct UnknownProfile(String);

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|profile| profile.to_string() == text);
        found.ok_or_else(|| UnknownProfile(text.to_owned()))
    }
}

/// How long things last by a profile.
struct Bounds {
    /// Off for so long and no longer, and Kubernetes is surely untouched.
    kubernetes_lasts: SignedDuration,
    /// Off for so long or longer, and Kubernetes is surely hit; `None` where it repairs itself.
    kubernetes_ends: Option<SignedDuration>,
    /// Off for so long or longer, and the infrastructure is hit.
    infrastructure: SignedDuration,
    /// Not updated for longer than that, and tokens have ended; `None` where they are renewed by themselves.
    tokens: Option<SignedDuration>,
}

/// Off for so long or longer, and no token of 90 days is left, that of the administrator among them.
const EVERY_TOKEN: SignedDuration = days(90);
/// Off for so long or longer, and the infrastructure's CA, which lives for a year, has ended.
const CA: SignedDuration = days(365);
/// After how long without an update it is worth a look whether tokens are renewed by themselves.
const WATCH_TOKENS: SignedDuration = days(90);

const fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

/// Judges every layer.
///
/// A longer outage, or a longer time since the last update, never makes a verdict better. Exactly at a limit counts as
/// the documents have it: an outage of exactly 30 days hits what 30 days hit, an update of exactly 90 days ago is in time.
pub fn policy(profile: Profile, outage: &Outage) -> BTreeMap<Layer, Judgement> {
    let bounds = profile.bounds();
    let off = outage.off_for.max(SignedDuration::ZERO);
    let infrastructure = [Layer::Infrastructure, Layer::ClusterInfrastructure, Layer::LoadBalancer];
    let kubernetes = [Layer::Kubernetes, Layer::KubernetesWorkers];
    let first =
        infrastructure.map(|layer| (layer, of_infrastructure(layer, &bounds, off, outage.since_update)));
    let second = kubernetes.map(|layer| (layer, of_kubernetes(layer, &bounds, off)));
    first.into_iter().chain(second).collect()
}

fn of_infrastructure(
    layer: Layer,
    bounds: &Bounds,
    off: SignedDuration,
    since_update: Option<SignedDuration>,
) -> Judgement {
    let judged = |verdict, rule, why: String, action: &str| Judgement {
        verdict,
        rule: Some(rule),
        why,
        action: action.to_owned(),
    };
    if let Some((rule, why)) = beyond(bounds, off) {
        return judged(Verdict::Impacted, rule, why, repair(layer));
    }
    match (bounds.tokens, since_update) {
        (Some(last), Some(since)) if since > last => {
            let when = if off.is_zero() { "; it works until something restarts" } else { "" };
            let why =
                format!("the last update was {} ago, and tokens last {}{when}", told(since), told(last));
            return judged(Verdict::Impacted, Rule::P3, why, repair(layer));
        }
        (Some(last), None) => {
            let why = format!(
                "tokens last {} from an update on, and nobody has said when the last was",
                told(last)
            );
            return judged(Verdict::Unknown, Rule::P3, why, "Say it with --since-update, or measure.");
        }
        _ => {}
    }
    if off.is_zero() && since_update.is_some_and(|since| since > WATCH_TOKENS) {
        let why = "tokens are said to be renewed by themselves".to_owned();
        return judged(Verdict::NotImpacted, Rule::P2, why, "Measure once, to see that they are.");
    }
    let why = format!("the infrastructure's certificates last {} at least", told(bounds.infrastructure));
    judged(Verdict::NotImpacted, short(bounds, off), why, "Nothing.")
}

fn of_kubernetes(layer: Layer, bounds: &Bounds, off: SignedDuration) -> Judgement {
    let judged = |verdict, rule, why: String, action: &str| Judgement {
        verdict,
        rule: Some(rule),
        why,
        action: action.to_owned(),
    };
    if let Some((rule, why)) = beyond(bounds, off) {
        return judged(Verdict::Impacted, rule, why, repair(layer));
    }
    if off.is_zero() {
        return judged(Verdict::NotImpacted, Rule::P1, "it was not off".to_owned(), "Nothing.");
    }
    let lasts = told(bounds.kubernetes_lasts);
    if off <= bounds.kubernetes_lasts {
        let why = format!("certificates are renewed early enough to last {lasts}");
        return judged(Verdict::NotImpacted, Rule::P4, why, "Nothing.");
    }
    match bounds.kubernetes_ends {
        Some(ends) if off >= ends => {
            let why = format!("certificates of Kubernetes do not outlast {} off", told(off));
            judged(Verdict::Impacted, Rule::P6, why, repair(layer))
        }
        Some(ends) => {
            let why =
                format!("certificates end between {lasts} and {} after they were last renewed", told(ends));
            judged(Verdict::Unknown, Rule::P5, why, "Measure, and repair what has ended.")
        }
        None => {
            let why = format!(
                "after more than {lasts} certificates end, and are said to be repaired by themselves"
            );
            judged(Verdict::Unknown, Rule::P5, why, "Wait for the repair, then measure.")
        }
    }
}

/// What an outage does that is too long for everything.
fn beyond(bounds: &Bounds, off: SignedDuration) -> Option<(Rule, String)> {
    if off >= CA {
        return Some((
            Rule::P10,
            "the infrastructure's CA lives for a year, and nobody can repair a client without it".to_owned(),
        ));
    }
    if off >= EVERY_TOKEN && off >= bounds.infrastructure {
        return Some((Rule::P8, "every token has ended by now, the administrator's among them".to_owned()));
    }
    let limit = told(bounds.infrastructure);
    (off >= bounds.infrastructure)
        .then(|| (Rule::P7, format!("no certificate is sure to outlast {limit} off")))
}

/// The rule under which the infrastructure outlasts an outage.
fn short(bounds: &Bounds, off: SignedDuration) -> Rule {
    if off.is_zero() {
        Rule::P1
    } else if off <= bounds.kubernetes_lasts {
        Rule::P4
    } else if bounds.kubernetes_ends.is_none_or(|ends| off < ends) {
        Rule::P5
    } else {
        Rule::P6
    }
}

fn repair(layer: Layer) -> &'static str {
    match layer {
        Layer::Infrastructure => "First of all: Update-AksHciCertificates.",
        Layer::Kubernetes => {
            "After the infrastructure: Update-AksHciClusterCertificates -name CLUSTER -fixKubeletCredentials, then a new kubeconfig."
        }
        Layer::ClusterInfrastructure => {
            "After the control plane: Update-AksHciClusterCertificates -name CLUSTER -fixCloudCredentials -patchLoadBalancer."
        }
        Layer::LoadBalancer => {
            "With the cluster's infrastructure: Update-AksHciClusterCertificates -name CLUSTER -fixCloudCredentials -patchLoadBalancer."
        }
        Layer::KubernetesWorkers => "Last: wait until workers are replaced, or replace them.",
    }
}

/// A duration as people say it.
pub(super) fn told(duration: SignedDuration) -> String {
    let (hours, seconds) = (duration.as_hours(), duration.as_secs());
    match (hours / 24, hours) {
        (days, _) if days >= 2 || (days == 1 && hours == 24) => {
            format!("{days} day{}", if days == 1 { "" } else { "s" })
        }
        (_, hours) if hours >= 1 => format!("{hours} hour{}", if hours == 1 { "" } else { "s" }),
        _ => format!("{seconds} second{}", if seconds == 1 { "" } else { "s" }),
    }
}
