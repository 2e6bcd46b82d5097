//! The outages that are gone through.

use crate::lab::site::Aged;

/// An outage, what is told of it, and what repairs it.
pub(crate) struct Outage {
    pub(crate) name: &'static str,
    /// What has little life left when it begins.
    pub(crate) aged: &'static [Aged],
    pub(crate) then: Then,
    /// What the documents are asked: words of `assess`.
    pub(crate) asked: &'static [&'static str],
    /// Which layers are hit by the documents; all others are not.
    pub(crate) by_the_documents: &'static [&'static str],
    /// Which layers are hit as measured, and which cannot be known; all others are not.
    pub(crate) hit: &'static [&'static str],
    pub(crate) unknown: &'static [&'static str],
    /// Commands in a wrong order, and words of the reason why they are refused.
    pub(crate) refused: Vec<(Vec<String>, String)>,
    /// What repairs it.
    pub(crate) repair: Vec<Vec<String>>,
}

/// What becomes of the machines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    GoesOff,
    StaysOn,
}

const INFRASTRUCTURE: &str = "infrastructure";
const KUBERNETES: &str = "kubernetes";
const WORKERS: &str = "kubernetes-workers";
const CLUSTER: &str = "cluster-infrastructure";
const BALANCER: &str = "load-balancer";

/// All of them, in an order in which each begins where the one before has ended.
pub(crate) fn all(cluster: &str) -> Vec<Outage> {
    let line = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let update = line(&["Update-AksHciCertificates"]);
    let of_cluster =
        |more: &[&str]| line(&[&["Update-AksHciClusterCertificates", "-Name", cluster], more].concat());
    let kubelets = of_cluster(&["-FixKubeletCredentials"]);
    let cloud = of_cluster(&["-FixCloudCredentials", "-PatchLoadBalancer"]);
    let infrastructure_first = "infrastructure of";
    let control_plane_first = "control plane of cluster";
    vec![
        Outage {
            name: "off for less than the residual",
            aged: &[],
            then: Then::GoesOff,
            asked: &["--off-for", "12h", "--since-update", "10d"],
            by_the_documents: &[],
            hit: &[],
            unknown: &[],
            refused: vec![],
            repair: vec![],
        },
        Outage {
            name: "off for longer than the Kubernetes layer lasts",
            aged: &[Aged::Kubernetes],
            then: Then::GoesOff,
            asked: &["--off-for", "5d", "--since-update", "10d"],
            by_the_documents: &[KUBERNETES, WORKERS],
            hit: &[KUBERNETES, WORKERS],
            // What is in Secrets of a cluster that is down cannot be read.
            unknown: &[CLUSTER],
            refused: vec![(cloud.clone(), control_plane_first.to_owned())],
            repair: vec![kubelets.clone()],
        },
        Outage {
            name: "off for longer than the infrastructure lasts",
            aged: &[Aged::Kubernetes, Aged::Infrastructure],
            then: Then::GoesOff,
            asked: &["--off-for", "35d", "--since-update", "50d"],
            by_the_documents: &[INFRASTRUCTURE, KUBERNETES, WORKERS, CLUSTER, BALANCER],
            hit: &[INFRASTRUCTURE, KUBERNETES, WORKERS, CLUSTER, BALANCER],
            unknown: &[],
            refused: vec![
                (kubelets.clone(), infrastructure_first.to_owned()),
                (cloud.clone(), infrastructure_first.to_owned()),
            ],
            repair: vec![update.clone(), kubelets, cloud.clone()],
        },
        Outage {
            name: "not updated for long, and never off",
            aged: &[Aged::ClusterTokens],
            then: Then::StaysOn,
            asked: &["--off-for", "0s", "--since-update", "100d"],
            by_the_documents: &[INFRASTRUCTURE, CLUSTER, BALANCER],
            hit: &[CLUSTER],
            unknown: &[],
            refused: vec![],
            repair: vec![update, cloud.clone()],
        },
        Outage {
            name: "not updated for long, then restarted: no Secret can be decrypted",
            aged: &[Aged::ClusterTokens],
            then: Then::GoesOff,
            asked: &["--off-for", "0s", "--since-update", "100d"],
            by_the_documents: &[INFRASTRUCTURE, CLUSTER, BALANCER],
            hit: &[CLUSTER],
            unknown: &[],
            refused: vec![],
            repair: vec![cloud],
        },
        Outage {
            name: "off for longer than everything lasts, brought back by one command",
            aged: &[Aged::Kubernetes, Aged::Infrastructure],
            then: Then::GoesOff,
            asked: &["--off-for", "35d", "--since-update", "50d"],
            by_the_documents: &[INFRASTRUCTURE, KUBERNETES, WORKERS, CLUSTER, BALANCER],
            hit: &[INFRASTRUCTURE, KUBERNETES, WORKERS, CLUSTER, BALANCER],
            unknown: &[],
            refused: vec![],
            repair: vec![line(&["recover", "--yes"])],
        },
    ]
}

impl Outage {
    /// Whether nobody gets at the target cluster's API after it.
    pub(crate) fn cluster_is_down(&self) -> bool {
        self.then == Then::GoesOff && !self.aged.is_empty()
    }

    /// Whether its leaves have ended, so that its kubelets do not even start.
    pub(crate) fn kubelets_are_down(&self) -> bool {
        self.aged.contains(&Aged::Kubernetes)
    }
}
