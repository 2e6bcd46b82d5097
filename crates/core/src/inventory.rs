//! What was observed of a cluster.
//!
//! An inventory is read-only evidence: certificates in full, digests of files, what running processes present and
//! trust. What could not be read is [`Observed::Unreadable`] with the reason, never absent and never "fine".

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{Cluster, Component, Generation, KubernetesVersion, LeafId, NodeName, TrustDomain};

/// A fact, or why it could not be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Observed<T> {
    /// It was read.
    Seen(T),
    /// It could not be read, for this reason.
    Unreadable(String),
}

impl<T> Observed<T> {
    /// The fact, if it was read.
    pub const fn seen(&self) -> Option<&T> {
        match self {
            Observed::Seen(fact) => Some(fact),
            Observed::Unreadable(_) => None,
        }
    }
}

/// A certificate as read from a file, a Secret or a handshake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFacts {
    /// SHA-256 over the DER, lower-case hexadecimal.
    pub fingerprint: String,
    /// The whole certificate as PEM, so that it can serve as a template.
    pub pem: String,
    /// The subject, RFC 4514.
    pub subject: String,
    /// The issuer, RFC 4514.
    pub issuer: String,
    /// The serial number, lower-case hexadecimal.
    pub serial: String,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// Whether it may sign certificates.
    pub is_ca: bool,
    /// DNS names and addresses, as text, in order.
    pub sans: Vec<String>,
    /// Algorithm and size of the public key, for example `rsa-4096`.
    pub key: String,
    /// Fingerprint of the CA, among those that the observation knows, whose key really signed it. Names prove nothing:
    /// AKS engine calls every CA `ca`.
    #[serde(default)]
    pub signed_by: Option<String>,
}

/// A file on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// Absolute path.
    pub path: String,
    /// Permission bits, for example `0o600`.
    pub mode: u32,
    /// `user:group`.
    pub owner: String,
    /// SHA-256 of the content, lower-case hexadecimal.
    pub sha256: String,
    /// Last change of the content.
    pub modified: Timestamp,
    /// Certificates found in it, in order.
    pub certificates: Vec<CertificateFacts>,
    /// The content of a file that holds no secret (a manifest, a unit's environment file); `None` for all others.
    pub text: Option<String>,
    /// The target, where the path is a symbolic link.
    pub link: Option<String>,
}

/// A running process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessFacts {
    /// Which one.
    pub component: Component,
    /// Its id on the node.
    pub pid: u32,
    /// When it started, by the node's clock.
    pub started: Timestamp,
}

/// What one node shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// The host name it gives itself.
    pub hostname: String,
    /// Its clock minus ours, in milliseconds, corrected by half the round trip.
    pub clock_offset_ms: i64,
    /// Free bytes on the file system of `/etc/kubernetes`.
    pub free_bytes: u64,
    /// Files that were asked for and exist.
    pub files: Vec<FileFacts>,
    /// Processes of interest that run.
    pub processes: Vec<ProcessFacts>,
    /// Units among those asked for that are active, for example `etcd-monitor.service`.
    pub active_units: Vec<String>,
    /// Tools that a rotation needs and that are missing, for example `iptables`.
    pub missing_tools: Vec<String>,
}

impl NodeFacts {
    /// The file at that path.
    pub fn file(&self, path: &str) -> Option<&FileFacts> {
        self.files.iter().find(|file| file.path == path)
    }
}

/// A TLS server of the cluster, as the probes address it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Server {
    /// `kube-apiserver` of a control-plane node, asked on the node itself so that a diversion does not mislead.
    ApiServer(NodeName),
    /// An etcd member's client port.
    EtcdClient(NodeName),
    /// An etcd member's peer port.
    EtcdPeer(NodeName),
    /// A kubelet.
    Kubelet(NodeName),
}

impl Server {
    /// The node it runs on.
    pub const fn node(&self) -> &NodeName {
        match self {
            Server::ApiServer(node)
            | Server::EtcdClient(node)
            | Server::EtcdPeer(node)
            | Server::Kubelet(node) => node,
        }
    }

    /// What serves there.
    pub const fn component(&self) -> Component {
        match self {
            Server::ApiServer(_) => Component::ApiServer,
            Server::EtcdClient(_) | Server::EtcdPeer(_) => Component::Etcd,
            Server::Kubelet(_) => Component::Kubelet,
        }
    }

    /// The port on that node, given the cluster's API port.
    pub const fn port(&self, api_port: u16) -> u16 {
        match self {
            Server::ApiServer(_) => api_port,
            Server::EtcdClient(_) => 2379,
            Server::EtcdPeer(_) => 2380,
            Server::Kubelet(_) => 10250,
        }
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self {
            Server::ApiServer(_) => "kube-apiserver",
            Server::EtcdClient(_) => "etcd (clients)",
            Server::EtcdPeer(_) => "etcd (peers)",
            Server::Kubelet(_) => "kubelet",
        };
        write!(f, "{kind} on {}", self.node())
    }
}

/// What a running server shows in a handshake, without any credential of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// The certificates it presents, leaf first.
    pub chain: Vec<CertificateFacts>,
    /// Subjects (RFC 4514) of the client CAs that it names in its CertificateRequest. Empty if it asks for none.
    pub client_ca_names: Vec<String>,
}

/// A node as the Kubernetes API knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: NodeName,
    /// `InternalIP`, if any.
    pub address: Option<std::net::IpAddr>,
    /// `linux` or `windows`.
    pub operating_system: String,
    /// Whether its condition Ready is True.
    pub ready: bool,
    /// Last heartbeat of its Lease in `kube-node-lease`, if any.
    pub renewed: Option<Timestamp>,
}

/// What kind of workload controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkloadKind {
    /// `apps/v1` DaemonSet.
    DaemonSet,
    /// `apps/v1` Deployment.
    Deployment,
    /// `apps/v1` StatefulSet.
    StatefulSet,
}

/// A workload controller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkloadRef {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for WorkloadRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            WorkloadKind::DaemonSet => "daemonset",
            WorkloadKind::Deployment => "deployment",
            WorkloadKind::StatefulSet => "statefulset",
        };
        write!(f, "{kind} {}/{}", self.namespace, self.name)
    }
}

/// A namespaced object, where its kind is clear from the place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An object that carries a `caBundle`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaBundleHolder {
    /// `apiregistration.k8s.io/v1` APIService.
    ApiService(String),
    /// A webhook of a ValidatingWebhookConfiguration: configuration name, webhook name.
    ValidatingWebhook(String, String),
    /// A webhook of a MutatingWebhookConfiguration: configuration name, webhook name.
    MutatingWebhook(String, String),
    /// The conversion webhook of a CustomResourceDefinition.
    CustomResourceConversion(String),
}

impl std::fmt::Display for CaBundleHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CaBundleHolder::ApiService(name) => write!(f, "apiservice {name}"),
            CaBundleHolder::ValidatingWebhook(name, hook) => write!(f, "validating webhook {name}/{hook}"),
            CaBundleHolder::MutatingWebhook(name, hook) => write!(f, "mutating webhook {name}/{hook}"),
            CaBundleHolder::CustomResourceConversion(name) => {
                write!(f, "conversion of custom resource {name}")
            }
        }
    }
}

/// A `kubernetes.io/tls` Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsSecret {
    /// Which one.
    pub object: ObjectRef,
    /// The certificates in `tls.crt`, leaf first.
    pub chain: Vec<CertificateFacts>,
    /// The certificates in `ca.crt`, if it has that entry.
    pub roots: Vec<CertificateFacts>,
    /// Workloads whose pods mount it.
    pub mounted_by: Vec<WorkloadRef>,
}

/// A service-account token Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenSecret {
    /// Which one.
    pub object: ObjectRef,
    /// The service account it is for.
    pub service_account: String,
    /// Whether the service account lists it, so that pods mount it by themselves (Kubernetes before 1.24).
    pub listed: bool,
    /// The fingerprints of the certificates in its `ca.crt`.
    pub roots: Vec<String>,
}

/// What the Kubernetes API shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiFacts {
    /// Its version.
    pub version: KubernetesVersion,
    /// All nodes.
    pub nodes: Vec<NodeStatus>,
    /// All Deployments, DaemonSets and StatefulSets.
    pub workloads: Vec<WorkloadRef>,
    /// Pods without a controller that are not mirrors of static pods.
    pub bare_pods: Vec<ObjectRef>,
    /// Pods of Jobs that run.
    pub job_pods: Vec<ObjectRef>,
    /// Service-account token Secrets.
    pub token_secrets: Vec<TokenSecret>,
    /// TLS Secrets.
    pub tls_secrets: Vec<TlsSecret>,
    /// Objects with a `caBundle`, with the certificates in it.
    pub ca_bundles: Vec<(CaBundleHolder, Vec<CertificateFacts>)>,
    /// `kube-root-ca.crt` of each namespace, as fingerprints.
    pub published_roots: BTreeMap<String, Vec<String>>,
}

/// An etcd member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcdMember {
    /// Its id, hexadecimal.
    pub id: String,
    /// Its name, which AKS engine makes the node's name.
    pub name: String,
    /// Whether it answered a linearizable read just now.
    pub healthy: bool,
    /// Whether it leads.
    pub leader: bool,
    /// Its raft term.
    pub term: u64,
    /// How far it has applied the log.
    pub applied_index: u64,
    /// The leader's committed index when this was read.
    pub committed_index: u64,
}

/// What the operator's own description of the cluster holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescriptionFacts {
    /// The certificates by file base: `ca`, `apiserver`, `client`, `kubectlClient`, `etcdserver`, `etcdclient`, `etcdpeer0`….
    pub certificates: BTreeMap<LeafId, CertificateFacts>,
    /// Whether the CA's private key is there and fits the CA's certificate.
    pub ca_key: bool,
}

/// Everything that was seen, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Version of this format.
    pub schema: u32,
    /// When the observation ended.
    pub taken: Timestamp,
    /// The cluster with all its nodes.
    pub cluster: Cluster,
    /// The operator's description of it.
    pub description: DescriptionFacts,
    /// Its nodes.
    pub nodes: BTreeMap<NodeName, Observed<NodeFacts>>,
    /// Its TLS servers. A list of pairs, since JSON has only strings as keys.
    pub servers: Vec<(Server, Observed<ServerFacts>)>,
    /// What its API shows.
    pub api: Observed<ApiFacts>,
    /// Its etcd members.
    pub etcd: Observed<Vec<EtcdMember>>,
}

impl Inventory {
    /// The version of this format that this program writes and reads.
    pub const SCHEMA: u32 = 1;

    /// The CA in force, if the description has it.
    pub fn current_ca(&self) -> Option<&CertificateFacts> {
        self.description.certificates.get(&LeafId::from("ca"))
    }
}

/// A CA by domain and generation, as predicates and reports name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CaRef {
    /// Whose leaves it signs.
    pub domain: TrustDomain,
    /// Old or new.
    pub generation: Generation,
}
