//! What the operator wants, why, and within which limits.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why credentials are replaced; each reason has a plan of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// Leaves that are due get new ones from the CA in force. No trust changes.
    Renew,
    /// The CA is replaced by a new one with another key.
    ReplaceCa,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Renew => "renew",
            Why::ReplaceCa => "replace-ca",
        })
    }
}

/// How a CA is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// New leaves carry the new CA's certificate as signed by the old CA, so that whoever trusts either CA accepts
    /// them; trust then moves over at leisure. Needs the old CA to be valid and its key.
    CrossSigned,
    /// Trust grows to both CAs, leaves change, trust shrinks. For when the old CA's key cannot be had.
    Bundled,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Strategy::CrossSigned => "cross-signed",
            Strategy::Bundled => "bundled",
        })
    }
}

/// What a run is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The reason.
    pub why: Why,
    /// A strategy that the operator insists on; `None` lets the planner take the best that is possible.
    pub strategy: Option<Strategy>,
    /// Limits that the plan keeps.
    pub limits: Limits,
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
    /// With [`Why::Renew`], leaves that end within so many days are due.
    pub renew_within_days: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { agents_at_once: 20, renew_within_days: 30 }
    }
}
