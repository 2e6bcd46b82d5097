//! The invariants, looked at after every change, on the real certificates.
//!
//! I1: every live client would accept its live server on a new connection, and the other way round. I2: the same if any
//! one process restarted at this instant. Whichever controller manager led, it would publish and sign what is good (I5).
//! Tokens of whoever may still present one are accepted by every API server.
//! At most one etcd member is away on kubecert's account.
//!
//! Most changes concern one node or one pod, and what an API server presents and trusts changes seldom. So nodes and pods
//! are looked at again only if they changed themselves, or if what API servers hold did.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use kubecert_core::model::{Component, NodeName};
use kubecert_pki::{Fingerprint, Usage};

use crate::certs::BundleId;
use crate::lifecycle::Fresh;
use crate::pods::Job;
use crate::process::Slot;
use crate::world::World;

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When it began, by the cluster's clock.
    pub at: Timestamp,
    /// What.
    pub what: String,
}

/// What has changed since the monitor last looked.
#[derive(Debug, Default)]
pub(crate) struct Dirt {
    all: bool,
    plane: bool,
    nodes: BTreeSet<NodeName>,
    pods: BTreeSet<u32>,
}

impl Dirt {
    /// Something about a machine: its files, its processes.
    pub(crate) fn node(&mut self, node: &NodeName) {
        if !self.nodes.contains(node) {
            self.nodes.insert(node.clone());
        }
    }

    /// Something about a pod; it may be gone.
    pub(crate) fn pod(&mut self, pod: u32) {
        self.pods.insert(pod);
    }

    /// Something about the control plane, or about objects in the API.
    pub(crate) const fn plane(&mut self) {
        self.plane = true;
    }

    /// Whatever there is.
    pub(crate) const fn everything(&mut self) {
        self.all = true;
    }

    pub(crate) fn is_any(&self) -> bool {
        self.all || self.plane || !self.nodes.is_empty() || !self.pods.is_empty()
    }
}

/// Whom a violation concerns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Plane,
    Node(NodeName),
    Pod(u32),
}

/// What the monitor knows.
#[derive(Debug, Default)]
pub(crate) struct Monitor {
    /// What is violated at present, so that each violation is recorded once, when it begins.
    violated: BTreeMap<Subject, BTreeSet<String>>,
    servers: Vec<Server>,
}

/// What a running API server holds, and would hold after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Server {
    node: NodeName,
    serving: [BundleId; 2],
    client_ca: [BundleId; 2],
    kubelet_client: [BundleId; 2],
    proxy_client: [BundleId; 2],
    keys: [Vec<Fingerprint>; 2],
}

/// As it runs, and as it would after a restart: the index into what holds both.
const FRESH: [Fresh; 2] = [Fresh::Running, Fresh::Restarted];
/// Both processes as they run; then with either of them restarted.
const STATES: [(usize, usize, &str); 3] =
    [(0, 0, ""), (1, 0, ", if the client restarted now"), (0, 1, ", if the server restarted now")];
/// One process as it runs, and restarted.
const ALONE: [(usize, &str); 2] = [(0, ""), (1, ", if it restarted now")];

/// How old the look may be on which the restart of an etcd member is decided.
const GATE: Duration = Duration::from_secs(10);

type Found = BTreeSet<String>;

impl World {
    /// Records what is violated and was not before.
    pub(crate) fn watch(&mut self) {
        if self.unwatched {
            return;
        }
        let dirt = std::mem::take(&mut self.dirt);
        let masters = self.masters();
        let servers: Vec<Server> = masters.iter().filter_map(|node| self.server(node)).collect();
        let moved = dirt.all || servers != self.monitor.servers;
        let mut found: Vec<(Subject, Found)> = Vec::new();
        let nodes: Vec<NodeName> =
            if moved { self.node_names() } else { dirt.nodes.iter().cloned().collect() };
        for node in nodes {
            let broken = self.check_node(&node, &servers);
            found.push((Subject::Node(node), broken));
        }
        let pods: Vec<u32> = if moved {
            let gone = self.monitor.violated.keys().filter_map(|subject| match subject {
                Subject::Pod(pod) => Some(*pod),
                _ => None,
            });
            self.objects.pods.keys().copied().chain(gone).collect()
        } else {
            dirt.pods.iter().copied().collect()
        };
        for pod in pods {
            found.push((Subject::Pod(pod), self.check_pod(pod, &servers)));
        }
        if moved || dirt.plane || dirt.nodes.iter().any(|node| self.is_master(node)) {
            found.push((Subject::Plane, self.check_plane(&masters, &servers)));
        }
        self.monitor.servers = servers;
        for (subject, broken) in found {
            let before = self.monitor.violated.remove(&subject).unwrap_or_default();
            for what in broken.difference(&before) {
                self.violate(what.clone());
            }
            if !broken.is_empty() {
                self.monitor.violated.insert(subject, broken);
            }
        }
    }

    pub(crate) fn violate(&mut self, what: String) {
        if self.unwatched {
            return;
        }
        let at = self.moment();
        self.violations.push(Violation { at, what });
    }

    fn both(&mut self, node: &NodeName, component: Component, slot: Slot) -> [BundleId; 2] {
        FRESH.map(|fresh| {
            self.held(node, component, slot, fresh).map_or(BundleId::EMPTY, |held| held.certificates)
        })
    }

    fn both_keys(&mut self, node: &NodeName, component: Component, slot: Slot) -> [Vec<Fingerprint>; 2] {
        FRESH.map(|fresh| {
            self.held(node, component, slot, fresh).map(|held| held.keys.clone()).unwrap_or_default()
        })
    }

    fn server(&mut self, node: &NodeName) -> Option<Server> {
        self.process(node, Component::ApiServer)?;
        Some(Server {
            node: node.clone(),
            serving: self.both(node, Component::ApiServer, Slot::Serving),
            client_ca: self.both(node, Component::ApiServer, Slot::ClientCa),
            kubelet_client: self.both(node, Component::ApiServer, Slot::KubeletClient),
            proxy_client: self.both(node, Component::ApiServer, Slot::ProxyClient),
            keys: self.both_keys(node, Component::ApiServer, Slot::TokenVerify),
        })
    }

    fn serves(&mut self, chain: BundleId, roots: BundleId) -> bool {
        let now = self.moment();
        self.store.accepts(chain, roots, Usage::ServerAuth, now)
    }

    fn admits(&mut self, chain: BundleId, roots: BundleId) -> bool {
        let now = self.moment();
        self.store.accepts(chain, roots, Usage::ClientAuth, now)
    }

    /// Checks one connection, given what the client trusts and presents, and what the server presents and trusts.
    fn check(&mut self, names: [&dyn std::fmt::Display; 2], sides: [[BundleId; 2]; 4], found: &mut Found) {
        let [roots, leaf, serving, server_roots] = sides;
        for (client, server, when) in STATES {
            if !self.serves(serving[server], roots[client]) {
                found.insert(format!(
                    "{} and {}: the client does not trust the server{when}",
                    names[0], names[1]
                ));
            }
            if !self.admits(leaf[client], server_roots[server]) {
                found.insert(format!(
                    "{} and {}: the server does not trust the client{when}",
                    names[0], names[1]
                ));
            }
        }
    }

    fn check_api_client(
        &mut self,
        node: &NodeName,
        component: Component,
        servers: &[Server],
        found: &mut Found,
    ) {
        if self.process(node, component).is_none() {
            return;
        }
        let roots = self.both(node, component, Slot::ServerCa);
        let leaf = self.both(node, component, Slot::Client);
        for server in servers {
            let names: [&dyn std::fmt::Display; 2] = [
                &format_args!("{component} on {node}"),
                &format_args!("{} on {}", Component::ApiServer, server.node),
            ];
            self.check(names, [roots, leaf, server.serving, server.client_ca], found);
        }
    }

    /// A node's kubelet, as a client and as a server of API servers, which do not verify kubelets in this layout (T21).
    fn check_node(&mut self, node: &NodeName, servers: &[Server]) -> Found {
        let mut found = Found::new();
        if self.process(node, Component::Kubelet).is_none() {
            return found;
        }
        self.check_api_client(node, Component::Kubelet, servers, &mut found);
        let roots = self.both(node, Component::Kubelet, Slot::ClientCa);
        for server in servers {
            for (client, kubelet, when) in STATES {
                if !self.admits(server.kubelet_client[client], roots[kubelet]) {
                    found.insert(format!(
                        "kubelet on {node} does not trust kube-apiserver on {}{when}",
                        server.node
                    ));
                }
            }
        }
        found
    }

    /// A pod as a client, and as an aggregated API server.
    fn check_pod(&mut self, number: u32, servers: &[Server]) -> Found {
        let mut found = Found::new();
        let Some(pod) = self.objects.pods.get(&number).cloned() else { return found };
        let name = format!("{}/{}", pod.namespace, pod.name);
        for server in servers {
            let node = &server.node;
            for (fresh, when) in ALONE {
                for (series, roots) in [("file", pod.mounted), ("memory", pod.cached)] {
                    if !self.serves(server.serving[fresh], roots) {
                        found.insert(format!(
                            "pod {name} does not trust kube-apiserver on {node} by its {series}{when}"
                        ));
                    }
                }
                if let Some(client) = pod.client
                    && !self.admits(client, server.client_ca[fresh])
                {
                    found.insert(format!("kube-apiserver on {node} does not trust pod {name}{when}"));
                }
                if pod.job == Job::Aggregated
                    && !self.admits(server.proxy_client[fresh], pod.request_header_ca)
                {
                    found.insert(format!("pod {name} does not trust the front proxy of {node}{when}"));
                }
                if pod.token.is_some_and(|token| !server.keys[fresh].contains(&token)) {
                    found.insert(format!(
                        "kube-apiserver on {node} does not accept the token of pod {name}{when}"
                    ));
                }
            }
        }
        if pod.job == Job::Aggregated {
            let bundles: Vec<BundleId> = self.objects.ca_bundles.values().copied().collect();
            if bundles.iter().any(|roots| !self.serves(pod.serving, *roots)) {
                found.insert(format!("an APIService does not trust pod {}", pod.name));
            }
        }
        found
    }

    fn check_plane(&mut self, masters: &[NodeName], servers: &[Server]) -> Found {
        let mut found = Found::new();
        for server in servers {
            self.check_etcd_client(&server.node, &mut found);
            self.check_published(server, &mut found);
            self.check_tokens(server, masters, &mut found);
            for leader in masters {
                self.check_leader(leader, server, &mut found);
            }
        }
        for node in masters {
            for component in [Component::ControllerManager, Component::Scheduler] {
                self.check_api_client(node, component, servers, &mut found);
            }
            for other in masters.iter().filter(|other| *other != node) {
                self.check_peers(node, other, &mut found);
            }
        }
        let away: Vec<&NodeName> =
            masters.iter().filter(|node| !self.listens(node, Component::Etcd)).collect();
        // What a fault takes away besides is the fault's doing.
        if away.iter().filter(|node| !self.is_lost(node, Component::Etcd)).count() > 1 {
            found.insert(format!("{} etcd members are away at once", away.len()));
        }
        found
    }

    /// kubecert is about to restart an etcd member: no other may have been away for longer than a gate takes to be passed.
    pub(crate) fn watch_etcd_restart(&mut self, node: &NodeName) {
        let members = self.etcd.members.clone();
        let now = self.now;
        for other in members.iter().filter(|other| *other != node) {
            let since =
                self.machines.get(other).and_then(|machine| machine.ended.get(&Component::Etcd).copied());
            let away = since.filter(|_| !self.listens(other, Component::Etcd));
            if let Some(away) = away.map(|since| now.saturating_sub(since)).filter(|away| *away > GATE) {
                let seconds = away.as_secs();
                self.violate(format!(
                    "etcd on {node} is restarted although etcd on {other} has been away for {seconds} s"
                ));
            }
        }
    }

    fn check_etcd_client(&mut self, node: &NodeName, found: &mut Found) {
        if self.process(node, Component::Etcd).is_none() {
            return;
        }
        let sides = [
            self.both(node, Component::ApiServer, Slot::EtcdCa),
            self.both(node, Component::ApiServer, Slot::EtcdClient),
            self.both(node, Component::Etcd, Slot::Serving),
            self.both(node, Component::Etcd, Slot::ClientCa),
        ];
        let names: [&dyn std::fmt::Display; 2] = [
            &format_args!("{} on {node}", Component::ApiServer),
            &format_args!("{} on {node}", Component::Etcd),
        ];
        self.check(names, sides, found);
    }

    fn check_peers(&mut self, from: &NodeName, to: &NodeName, found: &mut Found) {
        if self.process(from, Component::Etcd).is_none() || self.process(to, Component::Etcd).is_none() {
            return;
        }
        for (client, server, when) in STATES {
            if !self.peers_accept(from, to, [FRESH[client], FRESH[server]]) {
                found.insert(format!("etcd on {from} and etcd on {to} do not trust each other{when}"));
            }
        }
    }

    /// The leader can change at any time, so every controller manager must publish and sign what is good (I5).
    fn check_leader(&mut self, leader: &NodeName, server: &Server, found: &mut Found) {
        if self.process(leader, Component::ControllerManager).is_none() {
            return;
        }
        let roots = self.both(leader, Component::ControllerManager, Slot::RootCa);
        let signs = self.both_keys(leader, Component::ControllerManager, Slot::TokenSign);
        for (manager, api, when) in STATES {
            if !self.serves(server.serving[api], roots[manager]) {
                found.insert(format!(
                    "what the controller manager on {leader} would publish does not trust kube-apiserver on {}{when}",
                    server.node
                ));
            }
            if signs[manager].iter().any(|key| !server.keys[api].contains(key)) {
                found.insert(format!(
                    "kube-apiserver on {} would refuse tokens that the controller manager on {leader} signs{when}",
                    server.node
                ));
            }
        }
    }

    fn check_published(&mut self, server: &Server, found: &mut Found) {
        let published: Vec<(String, BundleId)> =
            self.objects.roots.iter().map(|(namespace, roots)| (namespace.clone(), *roots)).collect();
        for (fresh, when) in ALONE {
            for (namespace, roots) in &published {
                if !self.serves(server.serving[fresh], *roots) {
                    found.insert(format!(
                        "a new pod in {namespace} would not trust kube-apiserver on {}{when}",
                        server.node
                    ));
                }
            }
        }
    }

    /// Every token that may still be presented is accepted by every API server, as it runs and after a restart.
    fn check_tokens(&mut self, server: &Server, masters: &[NodeName], found: &mut Found) {
        let mut tokens: Vec<(String, Fingerprint)> = Vec::new();
        for (secret, state) in &self.objects.token_secrets {
            tokens.extend(state.signer.map(|token| (format!("in Secret {secret}"), token)));
        }
        for node in masters {
            tokens.extend(self.token_signer(node).map(|token| (format!("that {node} signs"), token)));
            let controllers =
                self.process(node, Component::ControllerManager).and_then(|process| process.controllers);
            tokens.extend(controllers.map(|token| (format!("of the controllers on {node}"), token)));
        }
        for (fresh, when) in ALONE {
            for (whose, token) in &tokens {
                if !server.keys[fresh].contains(token) {
                    found.insert(format!(
                        "kube-apiserver on {} does not accept the token {whose}{when}",
                        server.node
                    ));
                }
            }
        }
    }
}
