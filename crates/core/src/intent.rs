//! What the operator wants, why, and within which limits.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::TrustDomain;

/// Why credentials are replaced; each reason has a plan of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// Leaves that are due get new ones from the CA in force. No trust changes.
    Renew,
    /// The CA gets a new certificate for the same key, which lasts longer. No leaf changes.
    ExtendCa,
    /// The CA is replaced by a new one with another key.
    ReplaceCa,
    /// The CA is replaced since its key, or another credential of the cluster, is in wrong hands.
    Compromised,
    /// Certificates have ended, and the cluster is brought back; the CA stays, or keeps its key.
    Recover,
}

impl Why {
    /// Whether every credential under the CA is replaced, the CA among them.
    pub const fn replaces_everything(self) -> bool {
        matches!(self, Why::ReplaceCa | Why::Compromised)
    }

    /// Whether a run may wait with both CAs trusted before the old one is dropped. Where the old one is in wrong hands,
    /// each hour of it is an hour in which the wrong hands are let in.
    pub const fn may_hold(self) -> bool {
        matches!(self, Why::ReplaceCa)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Renew => "renew",
            Why::ExtendCa => "extend-ca",
            Why::ReplaceCa => "replace-ca",
            Why::Compromised => "compromised",
            Why::Recover => "recover",
        })
    }
}

/// Which trust domains a run is limited to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// All that the cluster has.
    #[default]
    All,
    /// The CA of servers and clients, and in AKS engine's layout of etcd and of service-account tokens with it.
    ClusterCa,
    /// A CA of etcd's own, where etcd has one.
    EtcdCa,
    /// The CA by which aggregated API servers recognise the API servers.
    FrontProxy,
}

impl Scope {
    /// Whether that domain is within it.
    pub const fn covers(self, domain: TrustDomain) -> bool {
        match (self, domain) {
            (Scope::All, _)
            | (Scope::ClusterCa, TrustDomain::Cluster)
            | (Scope::EtcdCa, TrustDomain::Etcd)
            | (Scope::FrontProxy, TrustDomain::FrontProxy) => true,
            (Scope::ClusterCa | Scope::EtcdCa, TrustDomain::FrontProxy)
            | (Scope::EtcdCa | Scope::FrontProxy, TrustDomain::Cluster)
            | (Scope::ClusterCa | Scope::FrontProxy, TrustDomain::Etcd) => false,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scope::All => "all",
            Scope::ClusterCa => "cluster-ca",
            Scope::EtcdCa => "etcd-ca",
            Scope::FrontProxy => "front-proxy",
        })
    }
}

/// What becomes of a CA, and in which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// New leaves carry the new CA's certificate as signed by the old CA, so that whoever trusts either CA accepts
    /// them; trust then moves over at leisure. Needs the old CA to be valid and its key.
    CrossSigned,
    /// Trust grows to both CAs, leaves change, trust shrinks. For when the old CA's key cannot be had.
    Bundled,
    /// The CA stays, and leaves are issued anew by it: whoever trusts it accepts old and new ones alike.
    SameCa,
    /// The CA gets another certificate for its key and name: whoever trusts either certificate accepts every leaf.
    SameKey,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Strategy::CrossSigned => "cross-signed",
            Strategy::Bundled => "bundled",
            Strategy::SameCa => "same-ca",
            Strategy::SameKey => "same-key",
        })
    }
}

/// Who signs the certificates that a run brings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signer {
    /// kubecert, with the keys of the CAs.
    #[default]
    Ours,
    /// For CAs whose keys are not at hand, whoever has them: kubecert makes keys and signing requests, and is given
    /// certificates.
    External,
}

/// What a run is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The reason.
    pub why: Why,
    /// A strategy that the operator insists on; `None` lets the planner take the best that is possible.
    pub strategy: Option<Strategy>,
    /// The trust domains that it is limited to.
    pub scope: Scope,
    /// Limits that the plan keeps.
    pub limits: Limits,
    /// Who signs. Anybody else than kubecert signs leaves alone, so that the CA has to stay as it is.
    #[serde(default)]
    pub signer: Signer,
}

impl Intent {
    /// Everything for that reason, in the best way that is possible, within the usual limits.
    pub fn new(why: Why) -> Self {
        Self { why, strategy: None, scope: Scope::All, limits: Limits::default(), signer: Signer::Ours }
    }
}

impl fmt::Display for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, scope {}", self.why, self.scope)?;
        match self.strategy {
            Some(strategy) => write!(f, ", {strategy}"),
            None => Ok(()),
        }
    }
}

/// How much may be in hand at once, and from when a leaf counts as due.
///
/// There is no limit for control planes and etcd members here: it is one, always. A cluster of five members survives
/// two losses, but a member that restarts may also fail to come back, and the second loss should be the hardware's
/// choice rather than ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Agents whose kubelet may be restarted at the same time. A kubelet's restart leaves its pods running, but each
    /// comes back with a burst of requests (tokens for all its pods, a full re-list), which the API servers must bear.
    pub agents_at_once: usize,
    /// With [`Why::Renew`], leaves that end within so many days are due; without it, [`Limits::RENEW_WITHIN_DAYS`] for
    /// what lives long, and the last third of its life for what lives less than three times that.
    #[serde(default)]
    pub renew_within_days: Option<u32>,
}

impl Limits {
    /// From how many days before its end a long-lived leaf counts as due.
    pub const RENEW_WITHIN_DAYS: u32 = 30;

    /// Whether something with this validity is due.
    ///
    /// The last third of a short life is cert-manager's default, too (`renewBefore` of a `Certificate`): a leaf that
    /// lives for 20 days would otherwise be due from its first day on, and renewing would never be done.
    pub fn is_due(&self, not_before: Timestamp, not_after: Timestamp, now: Timestamp) -> bool {
        let within = match self.renew_within_days {
            Some(days) => i64::from(days) * DAY,
            None => (i64::from(Self::RENEW_WITHIN_DAYS) * DAY)
                .min((not_after.as_second() - not_before.as_second()) / 3),
        };
        not_after.as_second() - now.as_second() <= within
    }
}

/// In seconds.
const DAY: i64 = 86_400;

impl Default for Limits {
    fn default() -> Self {
        Self { agents_at_once: 20, renew_within_days: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + day * DAY).unwrap()
    }

    #[test]
    fn long_lives_are_due_in_their_last_month_and_short_ones_in_their_last_third() {
        let usual = Limits::default();
        assert!(!usual.is_due(day(0), day(365), day(334)));
        assert!(usual.is_due(day(0), day(365), day(335)));
        assert!(!usual.is_due(day(0), day(21), day(0)));
        assert!(!usual.is_due(day(0), day(21), day(13)));
        assert!(usual.is_due(day(0), day(21), day(14)));
        assert!(usual.is_due(day(0), day(21), day(22)), "what has ended is due");
    }

    #[test]
    fn what_the_operator_says_holds_for_short_lives_too() {
        let limits = Limits { renew_within_days: Some(30), ..Limits::default() };
        assert!(limits.is_due(day(0), day(21), day(0)));
        assert!(!limits.is_due(day(0), day(40), day(9)));
    }
}
