//! The invariants, looked at after every change, on the real certificates.
//!
//! I1: every live client would accept its live server on a new connection, and the other way round. I2: the same if any
//! one process restarted at this instant. Whichever controller manager led, it would publish and sign what is good (I5).
//! Tokens of whoever may still present one are accepted by every API server.
//! At most one etcd member is away.

use std::collections::BTreeSet;

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

/// One side of a connection.
#[derive(Clone, Copy, Debug)]
struct Side<'a> {
    node: &'a NodeName,
    component: Component,
    fresh: Fresh,
}

impl World {
    /// Records what is violated and was not before.
    pub(crate) fn watch(&mut self) {
        let found = self.violations_now();
        let began: Vec<String> = found.difference(&self.violated).cloned().collect();
        self.violated = found;
        for what in began {
            self.violate(what);
        }
    }

    pub(crate) fn violate(&mut self, what: String) {
        let at = self.moment();
        self.violations.push(Violation { at, what });
    }

    fn violations_now(&mut self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let masters = self.masters();
        let nodes = self.node_names();
        for server in &masters {
            self.check_etcd_client(server, &mut found);
            for client in &masters {
                for component in [Component::ControllerManager, Component::Scheduler] {
                    self.check_api_client(client, component, server, &mut found);
                }
                if client != server {
                    self.check_peers(client, server, &mut found);
                }
            }
            for node in &nodes {
                self.check_api_client(node, Component::Kubelet, server, &mut found);
                self.check_kubelet(server, node, &mut found);
            }
            self.check_pods(server, &mut found);
            self.check_tokens(server, &masters, &mut found);
            for leader in &masters {
                self.check_leader(leader, server, &mut found);
            }
        }
        let away = masters.iter().filter(|node| !self.listens(node, Component::Etcd)).count();
        if away > 1 {
            found.insert(format!("{away} etcd members are away at once"));
        }
        found
    }

    /// Both processes as they run; then with either of them restarted.
    fn states() -> [(Fresh, Fresh, &'static str); 3] {
        [
            (Fresh::Running, Fresh::Running, ""),
            (Fresh::Restarted, Fresh::Running, ", if the client restarted now"),
            (Fresh::Running, Fresh::Restarted, ", if the server restarted now"),
        ]
    }

    fn of(&mut self, side: Side<'_>, slot: Slot) -> BundleId {
        self.material(side.node, side.component, slot, side.fresh).certificates
    }

    /// Checks one connection. `names` are the slots: the client's roots and leaf, the server's leaf and roots.
    fn check(
        &mut self,
        client: (&NodeName, Component),
        server: (&NodeName, Component),
        slots: [Slot; 4],
        found: &mut BTreeSet<String>,
    ) {
        if self.process(client.0, client.1).is_none() || self.process(server.0, server.1).is_none() {
            return;
        }
        let now = self.moment();
        for (client_fresh, server_fresh, when) in Self::states() {
            let client = Side { node: client.0, component: client.1, fresh: client_fresh };
            let server = Side { node: server.0, component: server.1, fresh: server_fresh };
            let [roots, leaf] = [slots[0], slots[1]].map(|slot| self.of(client, slot));
            let [serving, server_roots] = [slots[2], slots[3]].map(|slot| self.of(server, slot));
            let names = || {
                format!("{} on {} and {} on {}", client.component, client.node, server.component, server.node)
            };
            if !self.store.accepts(serving, roots, Usage::ServerAuth, now) {
                found.insert(format!("{}: the client does not trust the server{when}", names()));
            }
            if !self.store.accepts(leaf, server_roots, Usage::ClientAuth, now) {
                found.insert(format!("{}: the server does not trust the client{when}", names()));
            }
        }
    }

    fn check_etcd_client(&mut self, node: &NodeName, found: &mut BTreeSet<String>) {
        let slots = [Slot::EtcdCa, Slot::EtcdClient, Slot::Serving, Slot::ClientCa];
        self.check((node, Component::ApiServer), (node, Component::Etcd), slots, found);
    }

    fn check_api_client(
        &mut self,
        node: &NodeName,
        component: Component,
        server: &NodeName,
        found: &mut BTreeSet<String>,
    ) {
        let slots = [Slot::ServerCa, Slot::Client, Slot::Serving, Slot::ClientCa];
        self.check((node, component), (server, Component::ApiServer), slots, found);
    }

    fn check_peers(&mut self, from: &NodeName, to: &NodeName, found: &mut BTreeSet<String>) {
        if self.process(from, Component::Etcd).is_none() || self.process(to, Component::Etcd).is_none() {
            return;
        }
        for (client, server, when) in Self::states() {
            if !self.peers_accept(from, to, [client, server]) {
                found.insert(format!("etcd on {from} and etcd on {to} do not trust each other{when}"));
            }
        }
    }

    /// An API server does not verify kubelets in this layout (T21), but they verify it.
    fn check_kubelet(&mut self, server: &NodeName, node: &NodeName, found: &mut BTreeSet<String>) {
        if self.process(server, Component::ApiServer).is_none()
            || self.process(node, Component::Kubelet).is_none()
        {
            return;
        }
        let now = self.moment();
        for (client, kubelet, when) in Self::states() {
            let client = Side { node: server, component: Component::ApiServer, fresh: client };
            let kubelet = Side { node, component: Component::Kubelet, fresh: kubelet };
            let leaf = self.of(client, Slot::KubeletClient);
            let roots = self.of(kubelet, Slot::ClientCa);
            if !self.store.accepts(leaf, roots, Usage::ClientAuth, now) {
                found.insert(format!("kubelet on {node} does not trust kube-apiserver on {server}{when}"));
            }
        }
    }

    /// The leader can change at any time, so every controller manager must publish and sign what is good (I5).
    fn check_leader(&mut self, leader: &NodeName, server: &NodeName, found: &mut BTreeSet<String>) {
        let (manager, api) = ((leader, Component::ControllerManager), (server, Component::ApiServer));
        if self.process(manager.0, manager.1).is_none() || self.process(api.0, api.1).is_none() {
            return;
        }
        let now = self.moment();
        for (manager_fresh, api_fresh, when) in Self::states() {
            let roots = self.material(manager.0, manager.1, Slot::RootCa, manager_fresh).certificates;
            let signs = self.material(manager.0, manager.1, Slot::TokenSign, manager_fresh).keys;
            let serving = self.material(api.0, api.1, Slot::Serving, api_fresh).certificates;
            let verifies = self.material(api.0, api.1, Slot::TokenVerify, api_fresh).keys;
            if !self.store.accepts(serving, roots, Usage::ServerAuth, now) {
                found.insert(format!(
                    "what the controller manager on {leader} would publish does not trust kube-apiserver on {server}{when}"
                ));
            }
            if signs.iter().any(|key| !verifies.contains(key)) {
                found.insert(format!(
                    "kube-apiserver on {server} would refuse tokens that the controller manager on {leader} signs{when}"
                ));
            }
        }
    }

    fn check_pods(&mut self, server: &NodeName, found: &mut BTreeSet<String>) {
        if self.process(server, Component::ApiServer).is_none() {
            return;
        }
        let now = self.moment();
        for fresh in [Fresh::Running, Fresh::Restarted] {
            let when = if fresh == Fresh::Restarted { ", if it restarted now" } else { "" };
            let side = Side { node: server, component: Component::ApiServer, fresh };
            let serving = self.of(side, Slot::Serving);
            let client_roots = self.of(side, Slot::ClientCa);
            let proxy = self.of(side, Slot::ProxyClient);
            let pods: Vec<_> = self.objects.pods.values().cloned().collect();
            for pod in pods {
                let name = format!("{}/{}", pod.namespace, pod.name);
                for (series, roots) in [("file", pod.mounted), ("memory", pod.cached)] {
                    if !self.store.accepts(serving, roots, Usage::ServerAuth, now) {
                        found.insert(format!(
                            "pod {name} does not trust kube-apiserver on {server} by its {series}{when}"
                        ));
                    }
                }
                if let Some(client) = pod.client
                    && !self.store.accepts(client, client_roots, Usage::ClientAuth, now)
                {
                    found.insert(format!("kube-apiserver on {server} does not trust pod {name}{when}"));
                }
                if pod.job == Job::Aggregated
                    && !self.store.accepts(proxy, pod.request_header_ca, Usage::ClientAuth, now)
                {
                    found.insert(format!("pod {name} does not trust the front proxy of {server}{when}"));
                }
            }
            let published: Vec<(String, BundleId)> =
                self.objects.roots.iter().map(|(namespace, roots)| (namespace.clone(), *roots)).collect();
            for (namespace, roots) in published {
                if !self.store.accepts(serving, roots, Usage::ServerAuth, now) {
                    found.insert(format!(
                        "a new pod in {namespace} would not trust kube-apiserver on {server}{when}"
                    ));
                }
            }
        }
        let bundles: Vec<BundleId> = self.objects.ca_bundles.values().copied().collect();
        let serving: Vec<(String, BundleId)> = self
            .objects
            .pods
            .values()
            .filter(|pod| pod.job == Job::Aggregated)
            .map(|pod| (pod.name.clone(), pod.serving))
            .collect();
        for (name, chain) in serving {
            if bundles.iter().any(|roots| !self.store.accepts(chain, *roots, Usage::ServerAuth, now)) {
                found.insert(format!("an APIService does not trust pod {name}"));
            }
        }
    }

    /// Every token that may still be presented is accepted by every API server, as it runs and after a restart.
    fn check_tokens(&mut self, server: &NodeName, masters: &[NodeName], found: &mut BTreeSet<String>) {
        if self.process(server, Component::ApiServer).is_none() {
            return;
        }
        let mut tokens: Vec<(String, Fingerprint)> = Vec::new();
        for pod in self.objects.pods.values() {
            tokens.extend(pod.token.map(|token| (format!("of pod {}/{}", pod.namespace, pod.name), token)));
        }
        for (secret, state) in &self.objects.token_secrets {
            tokens.extend(state.signer.map(|token| (format!("in Secret {secret}"), token)));
        }
        for node in masters {
            tokens.extend(self.token_signer(node).map(|token| (format!("that {node} signs"), token)));
            let controllers =
                self.process(node, Component::ControllerManager).and_then(|process| process.controllers);
            tokens.extend(controllers.map(|token| (format!("of the controllers on {node}"), token)));
        }
        for fresh in [Fresh::Running, Fresh::Restarted] {
            let keys = self.material(server, Component::ApiServer, Slot::TokenVerify, fresh).keys;
            let when = if fresh == Fresh::Restarted { ", if it restarted now" } else { "" };
            for (whose, token) in &tokens {
                if !keys.contains(token) {
                    found.insert(format!(
                        "kube-apiserver on {server} does not accept the token {whose}{when}"
                    ));
                }
            }
        }
    }
}
