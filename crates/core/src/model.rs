//! Names and shapes that every other module speaks of.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Declares a string newtype that is an identifier: ordered, hashable, printable, serialised as the bare string.
macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the identifier as it is.
            pub fn new(value: impl Into<String>) -> Self {
                Self(value.into())
            }

            /// The identifier's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(value: &str) -> Self {
                Self(value.to_owned())
            }
        }
    };
}

identifier! {
    /// A cluster's name: the DNS prefix for AKS engine, the `clusterName` for kubeadm.
    ClusterName
}
identifier! {
    /// A node's name in Kubernetes, which is also its host name.
    NodeName
}
identifier! {
    /// A leaf certificate within one cluster, named by its file base (`apiserver`, `etcdpeer0`) or, where each node has
    /// its own, by kind and node (`kubelet-client/k8s-master-1-0`).
    LeafId
}
identifier! {
    /// A run of kubecert: a ULID, so that runs sort by their start.
    RunId
}

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs the API server, the controller manager, the scheduler and an etcd member.
    ControlPlane,
    /// Runs workloads only.
    Agent,
}

/// What a node runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperatingSystem {
    /// Linux, also where a record of an earlier kubecert does not say.
    #[default]
    Linux,
    /// Windows; agents only.
    Windows,
}

impl OperatingSystem {
    /// Reads what Kubernetes says of a node (`status.nodeInfo.operatingSystem`); nothing for what kubecert does not know.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "linux" => Some(Self::Linux),
            "windows" => Some(Self::Windows),
            _ => None,
        }
    }
}

/// A machine of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// What it is for.
    pub role: Role,
    /// Its position among the nodes of its role, from 0. For control planes of AKS engine also the etcd peer's index.
    pub index: usize,
    /// The address at which other nodes reach it. Unknown for agents until the Kubernetes API was asked.
    pub address: Option<IpAddr>,
    /// What it runs.
    #[serde(default)]
    pub system: OperatingSystem,
}

/// A process that presents or verifies certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    /// The etcd member on a control-plane node.
    Etcd,
    /// `kube-apiserver`.
    ApiServer,
    /// `kube-controller-manager`.
    ControllerManager,
    /// `kube-scheduler`.
    Scheduler,
    /// `kubelet`.
    Kubelet,
    /// `kube-proxy`.
    KubeProxy,
}

impl Component {
    /// The name of the process and of its static pod or unit.
    pub const fn process_name(self) -> &'static str {
        match self {
            Component::Etcd => "etcd",
            Component::ApiServer => "kube-apiserver",
            Component::ControllerManager => "kube-controller-manager",
            Component::Scheduler => "kube-scheduler",
            Component::Kubelet => "kubelet",
            Component::KubeProxy => "kube-proxy",
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.process_name())
    }
}

/// A set of certificates that are verified against the same root.
///
/// AKS engine has two: one CA signs for servers, clients and etcd alike; the front proxy has a CA of its own. kubeadm has
/// a third one for etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrustDomain {
    /// Servers and clients, and etcd where that has no CA of its own.
    Cluster,
    /// etcd's members and clients, where they have a CA of their own.
    Etcd,
    /// The API server as a client of aggregated API servers.
    FrontProxy,
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrustDomain::Cluster => "cluster",
            TrustDomain::Etcd => "etcd",
            TrustDomain::FrontProxy => "front-proxy",
        })
    }
}

/// Which PKI something belongs to: the one before the run, or the one that the run brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generation {
    /// In force before the run.
    Old,
    /// Brought by the run.
    New,
}

/// How a cluster's files and processes are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// AKS engine, on Azure and Azure Stack Hub: etcd and kubelet as systemd units, control planes as static pods,
    /// one CA for all but the front proxy, service-account tokens signed with the API server's TLS key.
    AksEngine,
    /// kubeadm, with stacked etcd: all control planes and etcd as static pods, CAs of their own for etcd and for the front
    /// proxy, each control plane with leaves of its own, kubeconfigs that hold their credentials, a key pair of their own
    /// for service-account tokens.
    Kubeadm,
}

/// A Kubernetes version, of which only major and minor decide anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KubernetesVersion {
    /// Always 1 so far.
    pub major: u16,
    /// For example 34.
    pub minor: u16,
}

impl KubernetesVersion {
    /// Reads `1.34`, `1.34.4` or `v1.34.4-lab`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim_start_matches('v').split('.');
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok()?;
        Some(Self { major, minor })
    }

    /// Whether this is at least `1.minor`.
    pub const fn at_least(self, minor: u16) -> bool {
        self.major > 1 || self.minor >= minor
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The cluster as its description (an apimodel) and the Kubernetes API together tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its name.
    pub name: ClusterName,
    /// How it is laid out.
    pub layout: Layout,
    /// Its version.
    pub version: KubernetesVersion,
    /// The name under which clients reach the API, without scheme and port.
    pub endpoint: String,
    /// The port of the API at [`Cluster::endpoint`] and on each control plane.
    pub api_port: u16,
    /// The user in whose home directory control planes keep an administrator's kubeconfig.
    pub admin_user: String,
    /// All nodes, control planes first, each role in the order of [`Node::index`].
    pub nodes: Vec<Node>,
}

impl Cluster {
    /// The control-plane nodes, in order.
    pub fn control_planes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.role == Role::ControlPlane)
    }

    /// The agents, in order.
    pub fn agents(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.role == Role::Agent)
    }

    /// The node of that name.
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.iter().find(|node| &node.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_api_server_prints_them() {
        let version = |major, minor| Some(KubernetesVersion { major, minor });
        assert_eq!(KubernetesVersion::parse("v1.34.4"), version(1, 34));
        assert_eq!(KubernetesVersion::parse("1.20"), version(1, 20));
        assert_eq!(KubernetesVersion::parse("1.21+"), version(1, 21));
        assert_eq!(KubernetesVersion::parse("latest"), None);
    }
}
