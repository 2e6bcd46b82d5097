//! Plans: phases of steps, with a barrier at the end of each phase.
//!
//! A plan is data. Order, batches, contents, limits are all fixed in it; whoever carries it out has no choices. Within
//! a phase a step starts as soon as the steps that it comes after are done; a phase starts only when the barrier of the
//! one before has been met by evidence about *running processes*.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::intent::{Intent, Limits, Scope, Strategy, Why};
use crate::inventory::{CaBundleHolder, CaRef, ObjectRef, Server, WorkloadRef};
use crate::material::{ChainForm, Content, Part};
use crate::model::{ClusterName, Component, Generation, LeafId, NodeName, TrustDomain};

/// A plan for one cluster, made from one inventory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of this format.
    pub schema: u32,
    /// The cluster it is for.
    pub cluster: ClusterName,
    /// The reason.
    pub why: Why,
    /// What becomes of the CA, and in which way.
    pub strategy: Strategy,
    /// The trust domains that it is limited to.
    #[serde(default)]
    pub scope: Scope,
    /// The limits that it keeps.
    #[serde(default)]
    pub limits: Limits,
    /// CAs to be made, before anything is touched.
    pub authorities: Vec<AuthorityOrder>,
    /// Leaves to be issued, before anything is touched.
    pub leaves: Vec<LeafOrder>,
    /// Key pairs without a certificate to be made, before anything is touched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_pairs: Vec<KeyPairOrder>,
    /// What is done, in order.
    pub phases: Vec<Phase>,
    /// What is left as it is, and why.
    pub kept: Vec<Kept>,
    /// What the operator should know beforehand: effects, restarts, pods that are re-created.
    pub notices: Vec<String>,
}

impl Plan {
    /// The version of this format that this program writes and reads.
    pub const SCHEMA: u32 = 1;

    /// Whether it is for this: the same reason and scope, and the strategy if one is insisted on.
    pub fn is_for(&self, intent: &Intent) -> bool {
        let strategy = intent.strategy.is_none_or(|strategy| strategy == self.strategy);
        self.why == intent.why && self.scope == intent.scope && strategy
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.phases.iter().all(|phase| phase.steps.is_empty())
    }

    /// All steps, in the order of their ids.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.phases.iter().flat_map(|phase| &phase.steps)
    }

    /// The step with that id.
    pub fn step(&self, id: StepId) -> Option<&Step> {
        self.steps().find(|step| step.id == id)
    }

    /// The files that a component on a node has to be younger than when a phase ends, by the phase's waits and barrier.
    pub fn started_after(&self, phase: PhaseName, node: &NodeName, component: Component) -> Vec<String> {
        let awaited = |step: &Step| match &step.action {
            Action::Await { predicates } => predicates.clone(),
            _ => Vec::new(),
        };
        let wanted = |predicate: Predicate| match predicate {
            Predicate::StartedAfter { node: of, component: which, files } => {
                (of == *node && which == component).then_some(files)
            }
            Predicate::ControllerManagerLeads { files } => {
                (component == Component::ControllerManager).then_some(files)
            }
            _ => None,
        };
        let phases = self.phases.iter().filter(|part| part.name == phase);
        let files: BTreeSet<String> = phases
            .flat_map(|part| part.steps.iter().flat_map(awaited).chain(part.barrier.iter().cloned()))
            .filter_map(wanted)
            .flatten()
            .collect();
        files.into_iter().collect()
    }
}

/// A new CA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityOrder {
    /// Whose leaves it is to sign.
    pub domain: TrustDomain,
    /// Its subject's common name. For another key always another than the old CA's (equal names mislead verifiers and
    /// blind the probes); for the same key the old one, since that is what leaves name as their issuer.
    pub common_name: String,
    /// The certificate whose shape (extensions, lifetime, key) it takes over, as PEM.
    pub like: String,
    /// Its key.
    pub key: KeyOrder,
    /// Whether the old CA signs a cross certificate for it.
    pub cross_signed: bool,
}

/// A leaf to be issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafOrder {
    /// Its name.
    pub id: LeafId,
    /// Which CA signs it.
    pub domain: TrustDomain,
    /// What it looks like.
    pub shape: LeafShape,
    /// Its key.
    pub key: KeyOrder,
}

/// A key pair that has no certificate: the one that signs service-account tokens, where that is no TLS key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPairOrder {
    /// Its name.
    pub id: LeafId,
    /// Its algorithm and size, for example `rsa-2048`.
    pub algorithm: String,
}

/// Which key a certificate is to be for. Written as one word: `same`, or an algorithm with its size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum KeyOrder {
    /// A new one of this algorithm and size, for example `rsa-2048`.
    New(String),
    /// The one that the present certificate is for.
    Same,
}

/// [`KeyOrder::Same`] as it is written; no algorithm is called so.
const SAME_KEY: &str = "same";

impl From<String> for KeyOrder {
    fn from(text: String) -> Self {
        if text == SAME_KEY { KeyOrder::Same } else { KeyOrder::New(text) }
    }
}

impl From<KeyOrder> for String {
    fn from(order: KeyOrder) -> Self {
        match order {
            KeyOrder::New(algorithm) => algorithm,
            KeyOrder::Same => SAME_KEY.to_owned(),
        }
    }
}

/// What a leaf looks like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeafShape {
    /// Like the present one, given as PEM: subject, names, usages and unknown extensions survive.
    Like(String),
    /// A kubelet's client certificate: `CN=system:node:<node>`, `O=system:nodes`, client authentication.
    KubeletClient(NodeName),
    /// A kubelet's serving certificate: `CN=<node>`, the node's name and address as SANs, server authentication. AKS
    /// engine's own is self-signed and marked as a CA, which no strict verifier accepts as a leaf.
    KubeletServer(NodeName, Option<IpAddr>),
    /// The API server's certificate towards aggregated API servers: `CN=aggregator`, `O=system:masters`.
    FrontProxyClient,
}

/// Something that is left as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Which credential.
    pub id: String,
    /// Why.
    pub why: String,
}

/// The phases of a rotation and, before them in order, those of an undo, which leads back to before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseName {
    /// Undo: what the phase *switch* changed is put back; every server still accepts clients of both generations.
    Return,
    /// Undo: what the phase *introduce* changed is put back; the new CA leaves every trust store.
    Retract,
    /// Undo: staged files and backups are removed.
    Restore,
    /// Originals are backed up on the nodes, new files are staged beside them. Nothing changes its behaviour.
    Prepare,
    /// Every server comes to present a leaf that holders of either CA accept, and to accept clients of both.
    Introduce,
    /// Trust, issuing and tokens move to the new PKI; workloads are renewed.
    Switch,
    /// The old CA and the old token key leave every trust store. From here there is no way back.
    Drop,
    /// Traces of the run are removed; the operator's files are brought up to date.
    Finish,
}

impl fmt::Display for PhaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PhaseName::Return => "return",
            PhaseName::Retract => "retract",
            PhaseName::Restore => "restore",
            PhaseName::Prepare => "prepare",
            PhaseName::Introduce => "introduce",
            PhaseName::Switch => "switch",
            PhaseName::Drop => "drop",
            PhaseName::Finish => "finish",
        })
    }
}

/// A phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// Which one.
    pub name: PhaseName,
    /// Its steps.
    pub steps: Vec<Step>,
    /// What must hold, observed on running processes, before the next phase may start.
    pub barrier: Vec<Predicate>,
}

/// A step's number, unique within its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(pub u32);

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Something that is done once, and may safely be done again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its number.
    pub id: StepId,
    /// What it does, as a person reads it: "restart etcd".
    pub title: String,
    /// Where.
    pub target: Target,
    /// What.
    pub action: Action,
    /// Steps of the same phase that must be done before.
    pub after: Vec<StepId>,
    /// How often it may be tried and how long each try may take.
    pub patience: Patience,
}

/// Where a step acts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// On a node.
    Node(NodeName),
    /// Through the Kubernetes API.
    Api,
    /// Through etcd.
    Etcd,
    /// On the operator's own machine.
    Operator,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Node(node) => node.fmt(f),
            Target::Api => f.write_str("API"),
            Target::Etcd => f.write_str("etcd"),
            Target::Operator => f.write_str("here"),
        }
    }
}

/// Limits of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patience {
    /// How often it is tried before the run stops.
    pub attempts: u32,
    /// How long one try may take, in seconds.
    pub timeout_s: u32,
}

/// A file to be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileWrite {
    /// Absolute path.
    pub path: String,
    /// What it is to hold.
    pub content: Content,
    /// Mode and owner; `None` keeps those of the file that is there.
    pub access: Option<Access>,
}

/// Mode and owner of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// `user:group`.
    pub owner: String,
}

/// An object of the API that a run changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApiObject {
    /// A TLS Secret: its certificate, its key, its roots.
    TlsSecret(ObjectRef),
    /// A service-account token Secret: its token.
    TokenSecret(ObjectRef),
    /// The `caBundle` of an object.
    CaBundle(CaBundleHolder),
    /// `kube-public/cluster-info`: the CA that joining nodes are told.
    ClusterInfo,
    /// A workload: the annotation of its pods, and the pods.
    Workload(WorkloadRef),
    /// A pod that nobody controls.
    Pod(ObjectRef),
}

impl fmt::Display for ApiObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApiObject::TlsSecret(secret) => write!(f, "TLS Secret {secret}"),
            ApiObject::TokenSecret(secret) => write!(f, "token Secret {secret}"),
            ApiObject::CaBundle(holder) => write!(f, "caBundle of {holder}"),
            ApiObject::ClusterInfo => f.write_str("ConfigMap kube-public/cluster-info"),
            ApiObject::Workload(workload) => workload.fmt(f),
            ApiObject::Pod(pod) => write!(f, "pod {pod}"),
        }
    }
}

/// What a step does.
///
/// Every action is idempotent: doing it again after an interruption leads to the same state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Copies files, with mode, owner and times, to the run's backup directory on the node, once: a copy that is there
    /// is never overwritten.
    BackUp {
        /// Absolute paths; those that do not exist are recorded as absent.
        paths: Vec<String>,
    },
    /// Writes files, each atomically, in the given order.
    Write {
        /// The files.
        files: Vec<FileWrite>,
    },
    /// Removes files and directories.
    Remove {
        /// Absolute paths.
        paths: Vec<String>,
    },
    /// Stops units that would fight the rotation, for example `etcd-monitor`. A timer on the node starts them again if
    /// kubecert is no more.
    PauseUnits {
        /// Unit names.
        units: Vec<String>,
    },
    /// Starts them again and takes the timer away.
    ResumeUnits {
        /// Unit names.
        units: Vec<String>,
    },
    /// Diverts new connections to this node's API server to a neighbour. A timer on the node takes the rules away if
    /// kubecert is no more.
    Divert {
        /// This node's own address.
        from: IpAddr,
        /// The neighbour's address.
        to: IpAddr,
        /// The API's port on both.
        port: u16,
    },
    /// Takes the diversion away.
    Undivert,
    /// Puts a static pod's manifest in place and sees the old process end; the kubelet starts the new one.
    ReplaceStaticPod {
        /// Whose manifest.
        component: Component,
        /// Where it lies.
        path: String,
        /// The manifest.
        manifest: Content,
    },
    /// Ends a static pod's process; the kubelet starts it again from the same manifest.
    EndProcess {
        /// Which one.
        component: Component,
    },
    /// Restarts a systemd unit.
    RestartUnit {
        /// Its name.
        unit: String,
        /// The component that it runs.
        component: Component,
    },
    /// Stops a service, removes what its process makes anew when it starts without, and starts it again.
    StartAfresh {
        /// The service's name.
        unit: String,
        /// The component that it runs.
        component: Component,
        /// Absolute paths of what goes; the first is there again before this ends.
        forget: Vec<String>,
    },
    /// Lets another etcd member lead, if the one on this node does.
    YieldEtcdLeadership {
        /// The node whose member should lead.
        to: NodeName,
    },
    /// Writes the front proxy's pair and CA to the etcd keys through which AKS engine's masters share them.
    ShareFrontProxy,
    /// Replaces certificate and key in a TLS Secret.
    WriteTlsSecret {
        /// Which one.
        secret: ObjectRef,
        /// The new leaf.
        leaf: LeafId,
        /// With or without the cross certificate.
        form: ChainForm,
    },
    /// Replaces the `caBundle` of an object.
    SetCaBundle {
        /// Which one.
        holder: CaBundleHolder,
        /// The roots.
        roots: Vec<Part>,
    },
    /// Tells joining nodes these CAs, in `kube-public/cluster-info`.
    PublishClusterInfo {
        /// The roots.
        roots: Vec<Part>,
    },
    /// Restarts the pods of a workload by the annotation that `kubectl rollout restart` uses, and sees the rollout
    /// complete.
    Roll {
        /// Which one.
        workload: WorkloadRef,
    },
    /// Deletes a pod that nobody controls and creates it again with the same name and specification.
    RecreatePod {
        /// Which one.
        pod: ObjectRef,
    },
    /// Lets the controller manager sign the token of a service-account token Secret anew.
    RenewTokenSecret {
        /// Which one.
        secret: ObjectRef,
    },
    /// Puts an object of the API back as it was before this run changed it; one that the run did not change is left
    /// alone. Pods that were started since the run began are started afresh.
    PutBack {
        /// Which one.
        object: ApiObject,
    },
    /// Takes the CAs that go out of `kube-system/extension-apiserver-authentication`, which by itself only ever grows; the
    /// API servers add what they trust. It is there all along, for whoever starts meanwhile.
    RebuildExtensionAuthentication,
    /// Releases the controller managers' lease if the process that held it has been replaced. A controller manager
    /// releases it by itself when it ends in good order, and its successor need not wait until it runs out; one that was
    /// ended by a signal does not.
    ReleaseLease,
    /// Sets which credentials kubecert itself uses towards the API and etcd from now on.
    UseCredentials {
        /// The CAs it trusts.
        roots: Vec<CaRef>,
        /// The generation of its client certificate, and whether it presents the cross certificate.
        identity: Generation,
        /// With or without the cross certificate; nothing for [`Generation::Old`].
        form: ChainForm,
    },
    /// Brings `apimodel.json`, the kubeconfigs and the PEM files on the operator's machine up to date.
    WriteOperatorFiles,
    /// Waits until all of these hold.
    Await {
        /// What must hold.
        predicates: Vec<Predicate>,
    },
}

/// Something that can be observed. Used as a precondition, as a barrier and for the final verification alike: what can
/// be planned can be checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Predicate {
    /// In a handshake the server presents this generation of its leaf, in this form.
    Presents {
        /// The server.
        server: Server,
        /// The leaf.
        leaf: LeafId,
        /// Its generation.
        generation: Generation,
        /// With or without the cross certificate.
        form: ChainForm,
    },
    /// In a handshake the server names exactly these as the client CAs that it trusts.
    Advertises {
        /// The server.
        server: Server,
        /// The CAs.
        cas: Vec<CaRef>,
    },
    /// The API server of this node answers `/readyz` with ok, asked on the node itself.
    ApiServerReady {
        /// The node.
        node: NodeName,
    },
    /// Every etcd member answers a linearizable read, and has applied the log up to the leader's committed index.
    EtcdHealthy,
    /// The component's process on this node started after these files last changed.
    StartedAfter {
        /// The node.
        node: NodeName,
        /// The component.
        component: Component,
        /// Absolute paths.
        files: Vec<String>,
    },
    /// The node's condition Ready is True and its heartbeat is younger than its kubelet's process.
    NodeReady {
        /// The node.
        node: NodeName,
    },
    /// A controller manager that was started with the new CA holds the lease.
    ControllerManagerLeads {
        /// Files that must not be younger than the leader's process.
        files: Vec<String>,
    },
    /// `kube-root-ca.crt` in every namespace holds exactly these CAs.
    RootsPublished {
        /// The CAs.
        cas: Vec<CaRef>,
    },
    /// The `ca.crt` of every service-account token Secret holds exactly these CAs.
    TokenSecretsCarry {
        /// The CAs.
        cas: Vec<CaRef>,
    },
    /// `extension-apiserver-authentication` holds exactly these request-header CAs and (at least) these client CAs.
    ExtensionTrusts {
        /// The request-header and client CAs.
        cas: Vec<CaRef>,
    },
    /// A throw-away client certificate of this CA is accepted by the API server of this node.
    AcceptsClientsOf {
        /// The node.
        node: NodeName,
        /// The CA.
        ca: CaRef,
    },
    /// A client certificate of this CA is refused by the API server of this node.
    RefusesClientsOf {
        /// The node.
        node: NodeName,
        /// The CA.
        ca: CaRef,
    },
    /// The first certificate in this file on this node is one that the CA signed. For what nobody presents to us: a
    /// kubelet's client certificate that the cluster issued.
    HoldsLeafOf {
        /// The node.
        node: NodeName,
        /// Absolute path.
        path: String,
        /// The CA.
        ca: CaRef,
    },
    /// Aggregated APIs are Available.
    AggregatedApisAvailable,
    /// The component's process on this node has read these files again, and whoever follows it has followed: they have
    /// lain unchanged for longer than that takes. For what no handshake shows.
    ReadAgain {
        /// The node.
        node: NodeName,
        /// The component.
        component: Component,
        /// Absolute paths.
        files: Vec<String>,
        /// After how many seconds, at the latest, the process has looked.
        seconds: u32,
    },
}

impl Predicate {
    /// The node that it looks at, if it is about one.
    pub const fn node(&self) -> Option<&NodeName> {
        match self {
            Predicate::Presents { server, .. } | Predicate::Advertises { server, .. } => Some(server.node()),
            Predicate::ApiServerReady { node }
            | Predicate::StartedAfter { node, .. }
            | Predicate::ReadAgain { node, .. }
            | Predicate::NodeReady { node }
            | Predicate::HoldsLeafOf { node, .. }
            | Predicate::AcceptsClientsOf { node, .. }
            | Predicate::RefusesClientsOf { node, .. } => Some(node),
            Predicate::EtcdHealthy
            | Predicate::ControllerManagerLeads { .. }
            | Predicate::RootsPublished { .. }
            | Predicate::TokenSecretsCarry { .. }
            | Predicate::ExtensionTrusts { .. }
            | Predicate::AggregatedApisAvailable => None,
        }
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |cas: &[CaRef]| {
            cas.iter()
                .map(|ca| {
                    let generation = match ca.generation {
                        Generation::Old => "old",
                        Generation::New => "new",
                    };
                    format!("{generation} {} CA", ca.domain)
                })
                .collect::<Vec<_>>()
                .join(" and ")
        };
        match self {
            Predicate::Presents { server, leaf, generation: Generation::New, .. } => {
                write!(f, "{server} presents the new certificate {leaf}")
            }
            Predicate::Presents { server, leaf, .. } => {
                write!(f, "{server} presents the old certificate {leaf}")
            }
            Predicate::Advertises { server, cas } => {
                write!(f, "{server} trusts clients of the {}", list(cas))
            }
            Predicate::ApiServerReady { node } => write!(f, "kube-apiserver on {node} is ready"),
            Predicate::EtcdHealthy => f.write_str("every etcd member is healthy and caught up"),
            Predicate::StartedAfter { node, component, .. } => {
                write!(f, "{component} on {node} has started with its new files")
            }
            Predicate::NodeReady { node } => write!(f, "node {node} is Ready"),
            Predicate::ControllerManagerLeads { .. } => {
                f.write_str("a controller manager with the new files leads")
            }
            Predicate::RootsPublished { cas } => write!(f, "every namespace publishes the {}", list(cas)),
            Predicate::TokenSecretsCarry { cas } => write!(f, "every token Secret carries the {}", list(cas)),
            Predicate::ExtensionTrusts { cas } => {
                write!(f, "aggregated API servers are told to trust the {}", list(cas))
            }
            Predicate::AcceptsClientsOf { node, ca } => {
                write!(f, "kube-apiserver on {node} accepts clients of the {}", list(&[*ca]))
            }
            Predicate::RefusesClientsOf { node, ca } => {
                write!(f, "kube-apiserver on {node} refuses clients of the {}", list(&[*ca]))
            }
            Predicate::HoldsLeafOf { node, path, ca } => {
                write!(f, "{path} on {node} holds a certificate of the {}", list(&[*ca]))
            }
            Predicate::AggregatedApisAvailable => f.write_str("aggregated APIs are Available"),
            Predicate::ReadAgain { node, component, .. } => {
                write!(f, "{component} on {node} has read its new files")
            }
        }
    }
}

/// Why a plan cannot be made for a cluster laid out like this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A static pod's manifest was not read.
    #[error("manifest {path} on node {node} cannot be read")]
    ManifestUnreadable {
        /// The node.
        node: NodeName,
        /// Absolute path.
        path: String,
    },
    /// A static pod's manifest lacks a flag.
    #[error("manifest {path} on node {node} cannot be edited: {source}")]
    Manifest {
        /// The node.
        node: NodeName,
        /// Absolute path.
        path: String,
        /// Why.
        source: crate::manifest::ManifestError,
    },
    /// A control plane's address is not known.
    #[error("the address of node {node} is not known")]
    AddressUnknown {
        /// The node.
        node: NodeName,
    },
    /// A certificate that serves as a template was not read.
    #[error("certificate {leaf} cannot be read, so there is nothing to re-issue it from")]
    TemplateUnknown {
        /// Which one.
        leaf: LeafId,
    },
    /// The run has begun to remove its backups.
    #[error(
        "it has begun to remove its backups, so that it cannot be undone any more; `kubecert resume` finishes it"
    )]
    PastReturn,
    /// There is nothing to rotate on.
    #[error("the cluster has no control plane")]
    NoControlPlane,
}
