//! The symbolic cluster on which a plan is tried out.
//!
//! Files are [`Content`], not bytes; processes hold what the flags of their manifests name. What makes it more than a
//! simulation is that memory is a *set*: since any process may restart at any instant, and since a changed file reaches a
//! process "some time later", each slot of a process has all values that it may have by now ([`Values`]). A file that is
//! read at start adds a value whenever it changes, and only a start that the plan brings about, and sees, leaves the
//! present one alone. A file that is re-read adds a value, too, and only an observation leaves one alone. So what holds
//! for all combinations of possible values holds for every interleaving of restarts, crashes and reloads; nobody has to
//! enumerate them.
//!
//! What is not modelled: leases, quorum arithmetic (one control plane at a time is a rule of [`crate::check`]), what a
//! kubelet that rotates its own certificate does between the flip of its link and its restart, time.

mod disk;
mod effect;
mod enact;
mod observe;
mod places;
mod process;
mod source;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

pub use disk::{Disk, KeptKeys};
pub use effect::Effect;
pub use enact::Impossible;
use places::Places;
pub use process::{Health, Process, Who};
pub use source::{Kind, Reload, Slot};
pub(crate) use value::{Ended, Rules};
pub use value::{Generations, Kinship, Presented, Value, Values};

use crate::intent::{Strategy, Why};
use crate::inventory::{
    CaBundleHolder, CertificateFacts, Inventory, NodeFacts, ObjectRef, Observed, WorkloadKind, WorkloadRef,
};
use crate::layout::{
    self, kubelet_client, kubelet_client_file, kubelet_server, kubelet_server_link, manifest_file,
};
use crate::material::{Content, Part};
use crate::model::{
    Cluster, Component, Generation, Layout, Node, NodeName, OperatingSystem, Role, TrustDomain,
};
use crate::plan::{KeyOrder, PhaseName, Plan};

/// The environment file of AKS engine's etcd unit.
const ETCD_ENVIRONMENT: &str = "/etc/default/etcd";

/// Pods of one workload, or one pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PodName {
    /// The pods of a workload.
    Of(WorkloadRef),
    /// A pod that nobody controls.
    Bare(ObjectRef),
    /// A pod of a Job.
    Job(ObjectRef),
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PodName::Of(workload) => write!(f, "a pod of {workload}"),
            PodName::Bare(pod) | PodName::Job(pod) => write!(f, "pod {pod}"),
        }
    }
}

/// What a pod holds that calls the API with its service account.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Which one.
    pub name: Arc<PodName>,
    /// The CAs that it read at its start, and never again: a client that reads them afresh is covered by that.
    pub roots: Values,
    /// The keys that signed its token.
    pub token: Values,
}

/// A token that lives in a Secret.
#[derive(Clone, Debug)]
pub struct TokenHolder {
    /// Which Secret.
    pub object: Arc<ObjectRef>,
    /// Whether pods of its service account mount it by themselves.
    pub listed: bool,
    /// The keys that may have signed it.
    pub token: Values,
}

/// A server in a pod whose leaf the cluster CA signed: an aggregated API server, or a webhook.
#[derive(Clone, Debug)]
pub struct PodServer {
    /// The Secret with its leaf.
    pub secret: Arc<ObjectRef>,
    /// Whose pods present it.
    pub mounted_by: Arc<Vec<WorkloadRef>>,
    /// What the Secret holds.
    pub stored: Presented,
    /// What its pods may present: one that reads the Secret at its start, one that re-reads it.
    pub presented: Values,
}

/// What of a world may have changed. An effect touches a handful of processes, and there are thousands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touched {
    /// Positions of processes.
    pub(crate) processes: BTreeSet<usize>,
    /// Whether it may be something of [`World::everything_else`].
    pub(crate) elsewhere: bool,
}

/// A cluster, symbolically. See the module's description.
#[derive(Clone, Debug)]
pub struct World {
    /// What becomes of the cluster CA.
    pub(crate) strategy: Strategy,
    /// What has ended before the run began.
    pub(crate) ended: Ended,
    /// How the cluster is laid out.
    pub(crate) layout: Layout,
    /// Whether the key that signs tokens changes.
    pub(crate) tokens_change: bool,
    kept_keys: Arc<KeptKeys>,
    pub(crate) phase: PhaseName,
    /// Whether pods mount token Secrets rather than bound tokens, and read the CA from there.
    legacy_pods: bool,
    admin_kubeconfig: Arc<str>,
    version: crate::model::KubernetesVersion,
    nodes: Arc<Vec<Node>>,
    places: Arc<Places>,
    disks: Vec<Disk>,
    pub(crate) processes: Vec<Process>,
    /// What may have changed since somebody asked; see [`World::take_touched`].
    touched: Touched,
    pub(crate) diverted: BTreeSet<NodeName>,
    pub(crate) paused: BTreeSet<(NodeName, String)>,
    /// `kube-root-ca.crt`.
    pub(crate) published: Values,
    /// The `ca.crt` of token Secrets.
    secret_roots: Values,
    pub(crate) pods: Vec<Pod>,
    pub(crate) token_secrets: Vec<TokenHolder>,
    pub(crate) pod_servers: Vec<PodServer>,
    pub(crate) ca_bundles: Vec<(Arc<CaBundleHolder>, Generations)>,
    /// The front-proxy CAs that `extension-apiserver-authentication` holds for sure.
    pub(crate) extension: Generations,
    /// What kubecert itself trusts and presents.
    pub(crate) ours: (Generations, Presented),
    /// What it trusts of etcd's CAs.
    pub(crate) ours_of_etcd: Generations,
}

impl World {
    /// The cluster as an inventory shows it, everything of the old generation, with what a plan orders for it.
    ///
    /// Nodes that could not be read have the files of their layout and no static pods.
    pub fn from_inventory(inventory: &Inventory, plan: &Plan) -> Self {
        let orders_ca = plan.authorities.iter().any(|order| order.domain == TrustDomain::Cluster);
        let strategy = if orders_ca { plan.strategy } else { Strategy::SameCa };
        let kept_keys = Arc::new(kept_keys(plan));
        let mut cluster = inventory.cluster.clone();
        // A node that a recovery leaves out is away, and is brought back by a plan of its own.
        let left = |node: &Node| plan.kept.iter().any(|kept| kept.id == format!("node {}", node.name));
        cluster.nodes.retain(|node| plan.why != Why::Recover || !left(node));
        let cluster = &cluster;
        let admin = administrators(cluster);
        let habits =
            source::Habits { layout: cluster.layout, version: cluster.version, admin_kubeconfig: &admin };
        let facts = |node: &Node| inventory.nodes.get(&node.name).and_then(Observed::seen);
        let mut disks = Vec::new();
        let mut processes = Vec::new();
        let mut counts = Vec::new();
        let api = inventory.api.seen();
        let proxies = api
            .is_some_and(|api| api.workloads.iter().any(|workload| is_node_proxy(cluster.layout, workload)));
        for node in &cluster.nodes {
            let disk = Disk::new(files(cluster, node, facts(node))).keeping(&kept_keys);
            // There kube-proxy is a service rather than a pod.
            let proxies = proxies || node.system == OperatingSystem::Windows;
            let begin = processes.len();
            for kind in kinds(node.role, proxies) {
                let Some(text) = text_of(cluster.layout, &disk, kind) else { continue };
                let sources = source::sources(kind, node, habits, &disk, text);
                let who = Who { node: node.name.clone(), kind, role: node.role };
                let mut process = Process::new(who, sources, &disk);
                if kind == Kind::Component(Component::ControllerManager) {
                    process.set(Slot::Token, Values::one(source::signed_with(Generation::Old)));
                }
                processes.push(process);
            }
            counts.push(processes.len() - begin);
            disks.push(disk);
        }
        let old = Values::held(Generations::OLD);
        let ended = ended(plan);
        let mut world = Self {
            strategy,
            ended,
            layout: cluster.layout,
            tokens_change: cluster.layout.tokens_hang_on_tls_key() || !plan.key_pairs.is_empty(),
            kept_keys,
            phase: PhaseName::Prepare,
            legacy_pods: !cluster.version.at_least(22),
            admin_kubeconfig: admin.into(),
            version: cluster.version,
            nodes: Arc::new(cluster.nodes.clone()),
            places: Arc::new(Places::new(&cluster.nodes, &counts, &processes)),
            disks,
            processes,
            touched: Touched::default(),
            diverted: BTreeSet::new(),
            paused: BTreeSet::new(),
            published: old,
            secret_roots: old,
            pods: Vec::new(),
            token_secrets: Vec::new(),
            pod_servers: Vec::new(),
            ca_bundles: Vec::new(),
            extension: Generations::OLD,
            ours: (Generations::OLD, Presented::Old),
            ours_of_etcd: Generations::OLD,
        };
        // Who trusts an ended CA alone is served by nobody, and has to be restarted whatever this run does.
        if let Some(api) = api.filter(|_| ended != Ended::Authority) {
            world.take_api(inventory, api);
        }
        world
    }

    fn take_api(&mut self, inventory: &Inventory, api: &crate::inventory::ApiFacts) {
        let old = Values::held(Generations::OLD);
        let pod = |name| Pod { name: Arc::new(name), roots: old, token: old };
        let layout = self.layout;
        let workloads = api.workloads.iter().filter(|workload| !is_node_proxy(layout, workload)).cloned();
        self.pods = workloads
            .map(PodName::Of)
            .chain(api.bare_pods.iter().cloned().map(PodName::Bare))
            .chain(api.job_pods.iter().cloned().map(PodName::Job))
            .map(pod)
            .collect();
        self.token_secrets = api
            .token_secrets
            .iter()
            .map(|secret| TokenHolder {
                object: Arc::new(secret.object.clone()),
                listed: secret.listed,
                token: old,
            })
            .collect();
        let ca = inventory.current_ca().map(|ca| &ca.fingerprint);
        self.pod_servers = api
            .tls_secrets
            .iter()
            .filter(|secret| {
                secret.chain.first().is_some_and(|leaf| ca.is_some() && leaf.signed_by.as_ref() == ca)
            })
            .map(|secret| PodServer {
                secret: Arc::new(secret.object.clone()),
                mounted_by: Arc::new(secret.mounted_by.clone()),
                stored: Presented::Old,
                presented: Values::one(Value::Presents(Presented::Old)),
            })
            .collect();
        self.ca_bundles = api
            .ca_bundles
            .iter()
            .filter(|(_, roots)| roots.iter().any(|root| names_ca(inventory, root)))
            .map(|(holder, _)| (Arc::new(holder.clone()), Generations::OLD))
            .collect();
    }

    /// How the CAs of a domain before and after the run are related.
    pub fn kinship(&self, domain: TrustDomain) -> Kinship {
        let kin = self.kept_keys.authorities.contains(&domain);
        if kin { Kinship::OneKey } else { Kinship::Strangers }
    }

    /// By which rules certificates of a domain are accepted.
    pub(crate) fn rules(&self, domain: TrustDomain) -> Rules {
        let ended = if domain == TrustDomain::FrontProxy { Ended::Nothing } else { self.ended };
        Rules { kinship: self.kinship(domain), ended }
    }

    /// Begins a phase; clients outside of the cluster go by it.
    pub fn enter(&mut self, phase: PhaseName) {
        self.phase = phase;
    }

    /// The phase it is in.
    pub const fn phase(&self) -> PhaseName {
        self.phase
    }

    /// Leaves a pod out from here on: somebody has decided that it may be left behind.
    pub fn forget_pod(&mut self, id: &str) {
        self.pods.retain(|pod| pod.name.to_string() != id);
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The files of a node.
    pub fn disk(&self, node: &NodeName) -> Option<&Disk> {
        self.position(node).map(|position| &self.disks[position])
    }

    /// All processes.
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// The processes of one component.
    pub(crate) fn each(&self, component: Component) -> impl Iterator<Item = &Process> + Clone {
        self.places.of(component).iter().map(|at| &self.processes[*at])
    }

    /// The processes of one node.
    pub(crate) fn on(&self, node: &NodeName) -> &[Process] {
        &self.processes[self.places.on(node)]
    }

    /// The processes that use a token of their own.
    pub(crate) fn token_holders(&self) -> impl Iterator<Item = &Process> {
        self.places.token_holders().iter().map(|at| &self.processes[*at])
    }

    /// One process.
    pub(crate) fn process(&self, node: &NodeName, component: Component) -> Option<&Process> {
        self.on(node).iter().find(|process| process.who.kind == Kind::Component(component))
    }

    /// The same, to change it: the only way to do so, [`World::touch`] apart.
    fn process_mut(&mut self, node: &NodeName, component: Component) -> Option<&mut Process> {
        let mut there = self.places.on(node);
        let at = there.find(|at| self.processes[*at].who.kind == Kind::Component(component))?;
        Some(self.touch(at))
    }

    /// A process, to change it.
    fn touch(&mut self, at: usize) -> &mut Process {
        self.touched.processes.insert(at);
        &mut self.processes[at]
    }

    /// What may have changed since the last call.
    pub(crate) fn take_touched(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }

    fn position(&self, node: &NodeName) -> Option<usize> {
        self.places.node(node)
    }

    /// What a slot may hold over all processes of a component.
    pub(crate) fn anywhere(&self, component: Component, slot: Slot) -> Values {
        self.each(component)
            .filter_map(|process| process.possible(slot))
            .fold(Values::default(), Values::union)
    }

    /// The keys with which a token may be signed that a controller asks for: from an API server, where those sign at all.
    pub(crate) fn controller_signers(&self) -> Values {
        let bound = self.anywhere(Component::ApiServer, Slot::TokenSigner);
        if bound == Values::default() { self.token_signers() } else { bound }
    }

    /// The keys with which a token may be signed that a pod gets now.
    pub(crate) fn token_signers(&self) -> Values {
        let bound = self.anywhere(Component::ApiServer, Slot::TokenSigner);
        if !self.legacy_pods && bound != Values::default() {
            return bound;
        }
        let listed = self.token_secrets.iter().filter(|secret| secret.listed);
        listed.fold(
            bound.union(self.anywhere(Component::ControllerManager, Slot::TokenSigner)),
            |sum, secret| sum.union(secret.token),
        )
    }

    /// Everything that may be held anywhere, in a fixed order: each process with all its slots, then the rest.
    pub(crate) fn everything(&self) -> Vec<Values> {
        let processes = self.processes.iter().flat_map(Process::everything);
        processes.chain(self.everything_else()).collect()
    }

    /// What may be held elsewhere than in the modelled processes, in a fixed order.
    pub(crate) fn everything_else(&self) -> impl Iterator<Item = Values> {
        let pods = self.pods.iter().flat_map(|pod| [pod.roots, pod.token]);
        pods.chain(self.token_secrets.iter().map(|secret| secret.token))
            .chain(self.pod_servers.iter().map(|server| server.presented))
            .chain(self.ca_bundles.iter().map(|(_, held)| Values::held(*held)))
            .chain([self.published, Values::held(self.extension), Values::held(self.ours.0)])
            .chain([Values::held(self.ours_of_etcd)])
            .chain([Values::one(Value::Presents(self.ours.1))])
    }

    fn state(&self) -> impl Hash + PartialEq + '_ {
        let processes: Vec<_> = self
            .processes
            .iter()
            .map(|process| (process.health, &process.fields, &process.changed))
            .collect();
        let disks: Vec<u64> = self.disks.iter().map(Disk::digest).collect();
        let pods: Vec<_> = self.pods.iter().map(|pod| (pod.roots, pod.token)).collect();
        let tokens: Vec<_> = self.token_secrets.iter().map(|secret| secret.token).collect();
        let servers: Vec<_> =
            self.pod_servers.iter().map(|server| (server.stored, server.presented)).collect();
        let bundles: Vec<_> = self.ca_bundles.iter().map(|(_, held)| *held).collect();
        (
            (self.phase, disks, processes, &self.diverted, &self.paused),
            (self.published, self.secret_roots, pods, tokens, servers, bundles, self.extension, self.ours),
            self.ours_of_etcd,
        )
    }
}

/// Worlds of one cluster are equal if nothing can tell them apart.
impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        let state = |world: &Self| {
            let mut hasher = std::hash::DefaultHasher::new();
            world.hash(&mut hasher);
            hasher.finish()
        };
        state(self) == state(other)
    }
}

impl Eq for World {}

impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.state().hash(hasher);
    }
}

/// What has ended where a plan brings a cluster back. One that renews the certificates of agents alone is made for a
/// cluster in which the others are good.
fn ended(plan: &Plan) -> Ended {
    let all = plan.leaves.iter().any(|order| order.id.as_str().split('/').next() == Some("apiserver"));
    match plan.why {
        Why::Recover if plan.authorities.iter().any(|order| order.domain == TrustDomain::Cluster) => {
            Ended::Authority
        }
        Why::Recover if all => Ended::Leaves,
        _ => Ended::Nothing,
    }
}

/// Whose keys stay: those that the plan says so of, and those of CAs that it does not order.
fn kept_keys(plan: &Plan) -> KeptKeys {
    let same = |key: &KeyOrder| *key == KeyOrder::Same;
    let replaced = |domain: TrustDomain| {
        plan.authorities.iter().any(|order| order.domain == domain && !same(&order.key))
    };
    let domains = [TrustDomain::Cluster, TrustDomain::Etcd, TrustDomain::FrontProxy];
    KeptKeys {
        leaves: plan.leaves.iter().filter(|order| same(&order.key)).map(|order| order.id.clone()).collect(),
        authorities: domains.into_iter().filter(|domain| !replaced(*domain)).collect(),
    }
}

/// Whether a workload is a kube-proxy that uses the node's kubeconfig rather than a service account, as AKS engine's does.
fn is_node_proxy(layout: Layout, workload: &WorkloadRef) -> bool {
    layout == Layout::AksEngine && is_kube_proxy(workload)
}

/// Whether a workload is Kubernetes' own kube-proxy.
pub(crate) fn is_kube_proxy(workload: &WorkloadRef) -> bool {
    workload.kind == WorkloadKind::DaemonSet
        && workload.namespace == "kube-system"
        && workload.name.starts_with("kube-proxy")
}

fn kinds(role: Role, proxies: bool) -> Vec<Kind> {
    let mut kinds = vec![Kind::Component(Component::Kubelet)];
    if proxies {
        kinds.push(Kind::Component(Component::KubeProxy));
    }
    if role == Role::ControlPlane {
        kinds.extend(
            [Component::Etcd, Component::ApiServer, Component::ControllerManager, Component::Scheduler]
                .map(Kind::Component),
        );
        kinds.push(Kind::Administrator);
    }
    kinds
}

/// The text with a process's flags; a static pod whose manifest was not read is not modelled.
fn text_of(layout: Layout, disk: &Disk, kind: Kind) -> Option<&str> {
    match kind {
        Kind::Component(component @ (Component::ApiServer | Component::ControllerManager)) => {
            disk.text(&manifest_file(component))
        }
        Kind::Component(Component::Etcd) if layout.etcd_unit().is_none() => {
            disk.text(&manifest_file(Component::Etcd))
        }
        Kind::Component(Component::Etcd) => Some(disk.text(ETCD_ENVIRONMENT).unwrap_or_default()),
        _ => Some(""),
    }
}

/// The kubeconfig with which people administer the cluster on its control planes.
fn administrators(cluster: &Cluster) -> String {
    match cluster.layout {
        Layout::AksEngine => layout::admin_kubeconfig(&cluster.admin_user),
        Layout::Kubeadm => format!("{}/admin.conf", layout::kubeadm::DIRECTORY),
    }
}

fn files(cluster: &Cluster, node: &Node, facts: Option<&NodeFacts>) -> BTreeMap<String, Content> {
    let layout = cluster.layout;
    let front_proxy = facts.is_some_and(|facts| facts.file(&layout.front_proxy_ca()).is_some());
    let original = World::original_files(layout, node, front_proxy);
    let mut files: BTreeMap<String, Content> = original.into_iter().collect();
    let old = Generation::Old;
    let there = |path: &str| facts.is_some_and(|facts| facts.file(path).is_some());
    if node.role == Role::ControlPlane {
        for own in layout.kubeconfigs(node, &cluster.admin_user).into_iter().filter(|own| there(&own.path)) {
            let kubeconfig = Content::Kubeconfig {
                roots: vec![Part::Ca(TrustDomain::Cluster, old)],
                chain: vec![Part::Leaf(own.leaf.clone(), old)],
                key: Part::LeafKey(own.leaf, old),
            };
            files.insert(own.path, kubeconfig);
        }
    }
    for file in facts.into_iter().flat_map(|facts| &facts.files) {
        if let Some(text) = &file.text {
            files.entry(file.path.clone()).or_insert_with(|| Content::Text(text.clone()));
        }
    }
    let mut own = vec![(kubelet_client_file(node.system), kubelet_client(&node.name))];
    if layout == Layout::Kubeadm && node.system == OperatingSystem::Linux {
        own.push((kubelet_server_link(), kubelet_server(&node.name)));
    }
    for (path, leaf) in own {
        let Some(link) = facts.and_then(|facts| facts.file(&path)) else { continue };
        // One that a CA of somebody else's has signed concerns nobody here.
        let foreign = || link.certificates.first().is_some_and(|leaf| leaf.signed_by.is_none());
        if path == kubelet_server_link() && foreign() {
            continue;
        }
        let (directory, separator) = match node.system {
            OperatingSystem::Linux => (crate::layout::KUBELET_PKI, '/'),
            OperatingSystem::Windows => (crate::layout::windows::KUBELET_PKI, '\\'),
        };
        let target = link.link.clone().unwrap_or_else(|| path.replace("-current.pem", "-old.pem"));
        let is_whole = target.contains(separator);
        let target = if is_whole { target } else { format!("{directory}{separator}{target}") };
        let pem = Content::Parts(vec![Part::Leaf(leaf.clone(), old), Part::LeafKey(leaf, old)]);
        files.insert(path, Content::Link(target.clone()));
        files.insert(target, pem);
    }
    files
}

/// Whether a root is the CA in force, or the certificate that its key had before.
fn names_ca(inventory: &Inventory, root: &CertificateFacts) -> bool {
    inventory.current_ca().is_some_and(|ca| {
        let same_key =
            root.signed_by.as_deref() == Some(ca.fingerprint.as_str()) && root.issuer == root.subject;
        root.fingerprint == ca.fingerprint || same_key
    })
}
