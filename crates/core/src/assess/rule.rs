//! The rules by which is judged, by their names.

use std::fmt;

use serde::{Serialize, Serializer};

/// Where a verdict comes from. `P` rules are read out of documents, `V` rules are about what was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Not off, and updated in time.
    P1,
    /// Not off and not updated, where tokens are renewed by themselves.
    P2,
    /// Not updated for longer than tokens live: they have ended, which shows at the next restart.
    P3,
    /// Off for no longer than every certificate of Kubernetes surely lasts.
    P4,
    /// Off for so long that a certificate of Kubernetes may have ended, or not.
    P5,
    /// Off for longer than the certificates of Kubernetes last.
    P6,
    /// Off for longer than the infrastructure's certificates surely last.
    P7,
    /// Off for longer than any token lasts.
    P8,
    /// Off for longer than the infrastructure's CA lasts.
    P10,
    /// The infrastructure's CA has ended.
    V1,
    /// A server of the infrastructure presents a certificate that has ended.
    V2,
    /// An administrator's certificate has ended, and the token to have it again has not.
    V3,
    /// An administrator's token has ended.
    V4,
    /// A client's certificate has ended, and the token to have it again has not.
    V5,
    /// A client's token has ended.
    V6,
    /// A certificate of a cluster's API server, etcd or of their clients has ended.
    V7,
    /// What the plugin that decrypts Secrets needs has ended.
    V8,
    /// A kubelet's client certificate has ended.
    V9,
    /// Nobody approves kubelets' serving certificates any more, or one has ended.
    V10,
    /// A load balancer's agent cannot be reached any more.
    V11,
    /// A kubeconfig has ended.
    V12,
    /// It will end before a planned outage does.
    V13,
    /// A clock is wrong, so that no end can be judged.
    V14,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
