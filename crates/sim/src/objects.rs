//! What the Kubernetes API holds, as far as a rotation cares.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use kubecert_core::inventory::{CaBundleHolder, ObjectRef, WorkloadRef};
use kubecert_core::model::NodeName;
use kubecert_pki::Fingerprint;

use crate::certs::{BundleId, Material};
use crate::pods::{Pod, Seat};

/// Everything in the API.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    /// `kube-root-ca.crt` by namespace.
    pub(crate) roots: BTreeMap<String, BundleId>,
    /// `kube-system/extension-apiserver-authentication`.
    pub(crate) extension: Option<Extension>,
    pub(crate) token_secrets: BTreeMap<ObjectRef, TokenSecretState>,
    pub(crate) tls_secrets: BTreeMap<ObjectRef, TlsSecretState>,
    pub(crate) ca_bundles: BTreeMap<CaBundleHolder, BundleId>,
    pub(crate) workloads: BTreeMap<WorkloadRef, WorkloadState>,
    /// Bare pods by name, with the stamp of their re-creation; `None` while one is deleted and not yet created again.
    pub(crate) bare_pods: BTreeMap<ObjectRef, Option<BarePod>>,
    pub(crate) pods: BTreeMap<u32, Pod>,
    pub(crate) seats: BTreeMap<u32, Seat>,
    pub(crate) last_number: u32,
    pub(crate) lease: LeaseState,
    pub(crate) nodes: BTreeMap<NodeName, NodeState>,
    /// What objects were before a run changed them, as a run's backup would hold it.
    pub(crate) remembered: Vec<Remembered>,
    /// Whether the availability probe's object is there, and what was written to it last.
    pub(crate) availability: Option<u64>,
    /// The Deployment of the cluster-autoscaler, if there is one.
    pub(crate) autoscaler: Option<AutoscalerState>,
}

/// The cluster-autoscaler's Deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutoscalerState {
    /// Its replicas.
    pub replicas: u32,
    /// What is remembered on it.
    pub remembered: Option<u32>,
}

/// What an object was, as far as a run changes it.
#[derive(Clone, Debug)]
pub(crate) enum Remembered {
    TlsSecret(TlsSecretState),
    Token(Option<Fingerprint>),
    CaBundle(BundleId),
    Stamp(Option<String>),
}

/// The two entries of `extension-apiserver-authentication`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extension {
    pub(crate) client_ca: BundleId,
    pub(crate) request_header_ca: BundleId,
}

/// A service-account token Secret.
#[derive(Clone, Debug)]
pub(crate) struct TokenSecretState {
    pub(crate) service_account: String,
    pub(crate) roots: BundleId,
    /// Whose key signed the token; `None` while it is blank.
    pub(crate) signer: Option<Fingerprint>,
    pub(crate) stamp: Option<String>,
}

/// A TLS Secret.
#[derive(Clone, Debug)]
pub(crate) struct TlsSecretState {
    pub(crate) pair: Material,
    pub(crate) roots: BundleId,
    pub(crate) mounted_by: Vec<WorkloadRef>,
}

/// A workload controller.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkloadState {
    pub(crate) generation: u64,
    pub(crate) stamp: Option<String>,
    /// The seats with which a rollout begins, as many as may be under way at once.
    pub(crate) first: Vec<u32>,
}

/// A pod that nobody controls.
#[derive(Clone, Debug)]
pub(crate) struct BarePod {
    pub(crate) stamp: Option<String>,
}

/// The controller manager's lease.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeaseState {
    pub(crate) holder: String,
    pub(crate) acquired: Duration,
    pub(crate) renewed: Duration,
    /// By how much its holder's clock is off.
    pub(crate) clock_error: SignedDuration,
}

/// A node as the API knows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeState {
    pub(crate) ready: bool,
    pub(crate) renewed: Duration,
    /// By how much the node's clock was off then.
    pub(crate) clock_error: SignedDuration,
}
