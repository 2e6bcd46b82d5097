//! What a simulated cluster is made of.

use jiff::Timestamp;
use kubecert_core::model::KubernetesVersion;
use kubecert_pki::KeyAlgorithm;

/// The shape of a simulated cluster.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// The cluster's name.
    pub name: String,
    /// How many control planes: 1, 3 or 5.
    pub control_planes: usize,
    /// How many agents.
    pub agents: usize,
    /// How many agents run Windows, besides; no pod is placed on them.
    pub windows_agents: usize,
    /// The Linux agents' pools, by name and size; one pool with all of them if there is none. Sizes add up to `agents`.
    pub pools: Vec<(String, usize)>,
    /// The number in the nodes' names; made of the seed if it is not known.
    pub cluster_id: Option<String>,
    /// The public name of the API; made of the cluster's name if it is not known.
    pub endpoint: Option<String>,
    /// The Kubernetes version, which decides what is reloaded without a restart.
    pub version: KubernetesVersion,
    /// Decides everything that is left to chance but the keys: delays, who takes a lease over, which backend is taken.
    pub seed: u64,
    /// The algorithm of all keys. Real clusters of this layout have RSA 4096, which takes seconds a key to make.
    pub key: KeyAlgorithm,
    /// How many days from its start its leaves last, the front proxy's apart; `None` means as long as its CA, which is how
    /// clusters of this layout are deployed.
    pub leaves_last_days: Option<u32>,
    /// For how many days everything was switched off before the cluster is handed over, so that certificates may have ended
    /// meanwhile. Then nobody looks after invariants until [`crate::SimCluster::watch_from_now`].
    pub off_for_days: Option<u32>,
    /// Whether workloads run that call the API every second.
    pub workloads: Workloads,
    /// How fast the cluster's time runs.
    pub speed: Speed,
    /// The cluster's time when it is made.
    pub start: Timestamp,
}

/// Which workloads run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workloads {
    /// kube-proxy only, without which no pod would reach the API.
    Minimal,
    /// A Deployment, a StatefulSet, a bare pod, an aggregated API server, a legacy token Secret besides.
    All,
}

/// How fast the cluster's time runs, as seen from tokio's clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// As fast as tokio's. With tokio's clock paused that is as fast as the machine can.
    Even,
    /// So many times faster than tokio's, for demonstrations in real time.
    Factor(f64),
}

impl Speed {
    pub(crate) fn factor(self) -> f64 {
        match self {
            Speed::Even => 1.0,
            Speed::Factor(factor) if factor.is_finite() && factor > 0.0 => factor,
            Speed::Factor(_) => 1.0,
        }
    }
}

/// The start of a cluster whose time does not matter, in seconds since 1970: 2026-11-21T12:00:00Z.
const START: i64 = 1_795_262_400;

impl SimConfig {
    /// A cluster of that many nodes, of Kubernetes 1.34, with all workloads, at tokio's own speed and with quick keys.
    pub fn new(control_planes: usize, agents: usize) -> Self {
        Self {
            name: "demo".to_owned(),
            control_planes,
            agents,
            windows_agents: 0,
            pools: Vec::new(),
            cluster_id: None,
            endpoint: None,
            version: KubernetesVersion { major: 1, minor: 34 },
            seed: 1,
            key: KeyAlgorithm::EcdsaP256,
            leaves_last_days: None,
            off_for_days: None,
            workloads: Workloads::All,
            speed: Speed::Even,
            start: Timestamp::from_second(START).unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }
}
