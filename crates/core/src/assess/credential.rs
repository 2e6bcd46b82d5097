//! Which credentials a site has, and what is known of each class.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Layer, Pairs};

/// What a credential is for. Lifetimes and renewal are the documented ones; what can be read of a credential goes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The infrastructure's CA, which the cloud agent holds.
    RootCa,
    /// What the cloud agent presents to its clients.
    CloudAgent,
    /// What a host's agent presents to the cloud agent.
    NodeAgentServer,
    /// By what a host's agent is known to the cloud agent.
    NodeAgent,
    /// The command line that alone has every right.
    Administrator,
    /// The command line that drives the management cluster.
    Appliance,
    /// The infrastructure provider of Cluster API in the management cluster.
    InfrastructureProvider,
    /// The operator that reconciles clusters and their add-ons.
    CloudOperator,
    /// The resource bridge of Azure Local.
    ResourceBridge,
    /// An identity that an administrator has made.
    Identity,
    /// The plugin that decrypts a cluster's Secrets.
    KmsPlugin,
    /// The storage driver of a cluster.
    CsiDriver,
    /// What approves and issues certificates in a cluster.
    CertificateManager,
    /// The cloud provider of a cluster, which asks for load balancers.
    CloudProvider,
    /// What holds a control plane's virtual address.
    KubeVip,
    /// What a load balancer's agent presents to the cloud agent.
    LoadBalancerAgent,
    /// A cluster's own CA, that of its etcd, or that of its front proxy.
    ClusterCa,
    /// A leaf of a cluster's control plane: API server, etcd, their clients, administrators' kubeconfigs on its nodes.
    ControlPlane,
    /// A kubelet's client certificate.
    KubeletClient,
    /// A kubelet's serving certificate.
    KubeletServing,
    /// A kubeconfig in the hands of a person.
    Kubeconfig,
    /// The serving certificate of a webhook.
    Webhook,
}

/// How a credential is renewed when nobody does anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Renewal {
    /// By its holder, while it runs, from 30 % of its life on.
    BySelf,
    /// By its holder, if that is used in the last 30 % of its life.
    OnUse,
    /// With an update of the site.
    OnUpdate,
    /// By its cluster, while that runs.
    ByCluster,
    /// By nobody.
    Never,
}

impl Class {
    /// To what it belongs.
    pub const fn layer(self) -> Layer {
        match self {
            Class::RootCa
            | Class::CloudAgent
            | Class::NodeAgentServer
            | Class::NodeAgent
            | Class::Administrator
            | Class::Appliance
            | Class::InfrastructureProvider
            | Class::CloudOperator
            | Class::ResourceBridge
            | Class::Identity => Layer::Infrastructure,
            Class::KmsPlugin
            | Class::CsiDriver
            | Class::CertificateManager
            | Class::CloudProvider
            | Class::KubeVip => Layer::ClusterInfrastructure,
            Class::LoadBalancerAgent => Layer::LoadBalancer,
            Class::ClusterCa | Class::ControlPlane | Class::Kubeconfig | Class::Webhook => Layer::Kubernetes,
            Class::KubeletClient | Class::KubeletServing => Layer::KubernetesWorkers,
        }
    }

    /// How it is renewed.
    pub const fn renewal(self, material: Material) -> Renewal {
        match (self, material) {
            (
                Class::RootCa
                | Class::ClusterCa
                | Class::Kubeconfig
                | Class::Identity
                | Class::LoadBalancerAgent,
                _,
            ) => Renewal::Never,
            (Class::Administrator | Class::Appliance, Material::Certificate) => Renewal::OnUse,
            (Class::ControlPlane | Class::KubeletClient | Class::KubeletServing | Class::Webhook, _) => {
                Renewal::ByCluster
            }
            (_, Material::Token) => Renewal::OnUpdate,
            (_, Material::Certificate) => Renewal::BySelf,
        }
    }

    /// Whoever comes first is needed to renew those that come later.
    pub(super) const fn rank(self) -> u8 {
        match self {
            Class::RootCa => 0,
            Class::CloudAgent | Class::NodeAgentServer => 1,
            Class::Administrator => 2,
            Class::NodeAgent
            | Class::Appliance
            | Class::InfrastructureProvider
            | Class::CloudOperator
            | Class::ResourceBridge
            | Class::Identity => 3,
            Class::ClusterCa => 4,
            Class::ControlPlane | Class::Webhook => 5,
            Class::KmsPlugin
            | Class::CsiDriver
            | Class::CertificateManager
            | Class::CloudProvider
            | Class::KubeVip => 6,
            Class::LoadBalancerAgent => 7,
            Class::KubeletClient | Class::KubeletServing => 8,
            Class::Kubeconfig => 9,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::RootCa => "root CA",
            Class::CloudAgent => "cloud agent",
            Class::NodeAgentServer => "node agent's server",
            Class::NodeAgent => "node agent",
            Class::Administrator => "administrator",
            Class::Appliance => "appliance",
            Class::InfrastructureProvider => "infrastructure provider",
            Class::CloudOperator => "cloud operator",
            Class::ResourceBridge => "resource bridge",
            Class::Identity => "identity",
            Class::KmsPlugin => "KMS plugin",
            Class::CsiDriver => "CSI driver",
            Class::CertificateManager => "certificate manager",
            Class::CloudProvider => "cloud provider",
            Class::KubeVip => "kube-vip",
            Class::LoadBalancerAgent => "load balancer agent",
            Class::ClusterCa => "cluster CA",
            Class::ControlPlane => "control plane",
            Class::KubeletClient => "kubelet client",
            Class::KubeletServing => "kubelet serving",
            Class::Kubeconfig => "kubeconfig",
            Class::Webhook => "webhook",
        })
    }
}

/// What a credential is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Material {
    /// An X.509 certificate: its last second is still valid (RFC 5280 §4.1.2.5).
    Certificate,
    /// A JWT: at `exp` it has ended (RFC 7519 §4.1.4).
    Token,
}

/// What was found out about the life of a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// It was read.
    Seen {
        /// From when it is valid.
        not_before: Timestamp,
        /// Until when.
        not_after: Timestamp,
    },
    /// It was asked for and could not be read, so nothing is known of it.
    Unreadable {
        /// Why.
        why: String,
    },
}

/// A credential of a site, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// What it is for.
    pub class: Class,
    /// Of which cluster it is, if of one.
    pub cluster: Option<String>,
    /// Who holds it: a host, a component, a person.
    pub holder: String,
    /// Where it was read: a file or an address.
    pub place: String,
    /// What it is made of.
    pub material: Material,
    /// What is known of its life.
    pub evidence: Evidence,
    /// Whether it is on storage that does not outlive its holder's process, so that a restart loses it.
    pub ephemeral: bool,
}

impl Credential {
    /// How it is called where people read it.
    pub fn name(&self) -> String {
        let material = match self.material {
            Material::Certificate => "certificate",
            Material::Token => "token",
        };
        let cluster =
            self.cluster.as_ref().map_or_else(String::new, |cluster| format!(" of cluster {cluster}"));
        format!("{material} of {}{cluster} ({}, {})", self.holder, self.class, self.place)
    }

    /// Whether it has ended at that moment; `None` if that is not known.
    pub fn has_ended(&self, at: Timestamp) -> Option<bool> {
        match (&self.evidence, self.material) {
            (Evidence::Unreadable { .. }, _) => None,
            (Evidence::Seen { not_after, .. }, Material::Certificate) => Some(at > *not_after),
            (Evidence::Seen { not_after, .. }, Material::Token) => Some(at >= *not_after),
        }
    }

    /// The last second at which it is good, if its life is known.
    pub fn last_good(&self) -> Option<Timestamp> {
        let end = self.not_after()?;
        match self.material {
            Material::Certificate => Some(end),
            Material::Token => end.checked_sub(SignedDuration::from_secs(1)).ok(),
        }
    }

    /// When it ends, if that is known.
    pub const fn not_after(&self) -> Option<Timestamp> {
        match &self.evidence {
            Evidence::Seen { not_after, .. } => Some(*not_after),
            Evidence::Unreadable { .. } => None,
        }
    }

    /// The same holder's credentials.
    pub(super) fn key(&self) -> (Class, Option<&str>, &str) {
        (self.class, self.cluster.as_deref(), &self.holder)
    }
}

/// Credentials by their holders.
pub(super) fn pairs(credentials: &[Credential]) -> Pairs<'_> {
    let mut pairs = Pairs::new();
    for credential in credentials {
        pairs.entry(credential.key()).or_default().push(credential);
    }
    pairs
}
