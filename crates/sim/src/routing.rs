//! Which API server a connection reaches: load balancer, diversions.

use std::time::Duration;

use kubecert_core::model::{Component, NodeName};
use kubecert_pki::{Fingerprint, Usage};

use crate::certs::BundleId;
use crate::process::Slot;
use crate::world::{Event, World};

/// How often the load balancer connects to each backend (Azure's default probe interval).
pub(crate) const BALANCER_PERIOD: Duration = Duration::from_secs(5);
/// After how many failures in a row it stops sending new connections (Azure's default).
const BALANCER_FALLS: u32 = 2;
/// From listening to ready: post-start hooks, informers.
const HOOKS: Duration = Duration::from_millis(800);

/// A load balancer with a plain TCP check.
#[derive(Debug)]
pub(crate) struct LoadBalancer {
    backends: Vec<(NodeName, u32)>,
    turn: usize,
    /// How many disturbances keep it away.
    pub(crate) gone: u32,
}

impl LoadBalancer {
    pub(crate) fn new(members: &[NodeName]) -> Self {
        Self { backends: members.iter().map(|node| (node.clone(), 0)).collect(), turn: 0, gone: 0 }
    }

    /// The backend of the next connection; all of them if none passes its check, as Azure does.
    pub(crate) fn next(&mut self) -> Option<NodeName> {
        let up: Vec<&NodeName> =
            self.backends.iter().filter(|(_, falls)| *falls < BALANCER_FALLS).map(|(node, _)| node).collect();
        let up = if up.is_empty() { self.backends.iter().map(|(node, _)| node).collect() } else { up };
        self.turn = self.turn.wrapping_add(1);
        up.get(self.turn % up.len().max(1)).map(|node| (*node).clone())
    }
}

/// Who calls, and what it trusts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    pub(crate) roots: BundleId,
    /// The name under which it dials; `None` where the address is known to fit.
    pub(crate) name: Option<&'a str>,
    pub(crate) certificate: Option<BundleId>,
    pub(crate) token: Option<Fingerprint>,
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    /// Nobody listens.
    ConnectionRefused,
    /// It is not ready, or its etcd is not.
    Unavailable,
    /// The caller does not trust the server.
    ServerNotTrusted,
    /// 401.
    Unauthorized,
}

impl CallError {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            CallError::ConnectionRefused => "connection refused",
            CallError::Unavailable => "the server is not ready",
            CallError::ServerNotTrusted => "certificate signed by unknown authority",
            CallError::Unauthorized => "401 Unauthorized",
        }
    }
}

impl World {
    /// Where a new connection to the API's port of a node ends up.
    pub(crate) fn route(&self, node: &NodeName) -> NodeName {
        let mut at = node.clone();
        // A diversion to a node that is diverted itself goes on; a circle must end.
        for _ in 0..self.cluster.nodes.len() {
            match self.machines.get(&at).and_then(|machine| machine.diversion.as_ref()) {
                Some(diversion) => at = diversion.node.clone(),
                None => break,
            }
        }
        at
    }

    /// The API server that a connection through the public endpoint reaches.
    pub(crate) fn through_balancer(&mut self, from: Option<&NodeName>) -> Option<NodeName> {
        let backend = self.balancer.next()?;
        self.reached(from, &backend).filter(|_| self.balancer.gone == 0)
    }

    /// The API server that a connection to a node's port reaches, if it comes about.
    pub(crate) fn reached(&self, from: Option<&NodeName>, node: &NodeName) -> Option<NodeName> {
        let server = self.route(node);
        // What is diverted on a node has reached that node first.
        (self.connects(from, node) && self.connects(Some(node), &server)).then_some(server)
    }

    /// The API server that a process on that node reaches: its own on a control plane, any through the load balancer
    /// elsewhere.
    pub(crate) fn api_for_node(&mut self, node: &NodeName) -> Option<NodeName> {
        if self.is_master(node) { self.reached(Some(node), node) } else { self.through_balancer(Some(node)) }
    }

    /// Whether an API server would answer `/readyz` with ok.
    pub(crate) fn api_ready(&mut self, node: &NodeName) -> bool {
        let warm = Self::warm_up(Component::ApiServer) + HOOKS;
        let up = self
            .process(node, Component::ApiServer)
            .is_some_and(|process| self.now >= process.started + warm);
        up && self.etcd_serves(node) && self.reaches_etcd(node)
    }

    /// Whether an API server and the etcd member beside it accept each other.
    fn reaches_etcd(&mut self, node: &NodeName) -> bool {
        let now = self.moment();
        let client = self.loaded(node, Component::ApiServer, Slot::EtcdClient);
        let roots = self.loaded(node, Component::ApiServer, Slot::EtcdCa);
        let server = self.loaded(node, Component::Etcd, Slot::Serving);
        let server_roots = self.loaded(node, Component::Etcd, Slot::ClientCa);
        self.store.accepts(server, roots, Usage::ServerAuth, now)
            && self.store.accepts(client, server_roots, Usage::ClientAuth, now)
    }

    /// One request to one API server on a new connection.
    pub(crate) fn call(&mut self, server: &NodeName, caller: Caller<'_>) -> Result<(), CallError> {
        if !self.listens(server, Component::ApiServer) {
            return Err(CallError::ConnectionRefused);
        }
        let now = self.moment();
        let chain = self.loaded(server, Component::ApiServer, Slot::Serving);
        let named = caller.name.is_none_or(|name| self.store.is_named(chain, name));
        if !named || !self.store.accepts(chain, caller.roots, Usage::ServerAuth, now) {
            return Err(CallError::ServerNotTrusted);
        }
        if !self.api_ready(server) {
            return Err(CallError::Unavailable);
        }
        let roots = self.loaded(server, Component::ApiServer, Slot::ClientCa);
        let by_certificate =
            caller.certificate.is_some_and(|chain| self.store.accepts(chain, roots, Usage::ClientAuth, now));
        let by_token = caller.token.is_some_and(|token| self.accepts_token(server, token));
        if by_certificate || by_token { Ok(()) } else { Err(CallError::Unauthorized) }
    }

    /// Whether an API server accepts tokens of that key.
    pub(crate) fn accepts_token(&self, server: &NodeName, key: Fingerprint) -> bool {
        self.process(server, Component::ApiServer)
            .and_then(|process| process.memory.get(&Slot::TokenVerify))
            .is_some_and(|keys| keys.keys.contains(&key))
    }

    pub(crate) fn load_balancer_tick(&mut self) {
        self.after(BALANCER_PERIOD, Event::LoadBalancer);
        let backends: Vec<NodeName> = self.balancer.backends.iter().map(|(node, _)| node.clone()).collect();
        for (position, node) in backends.iter().enumerate() {
            let server = self.reached(None, node);
            let passes = server.is_some_and(|server| self.listens(&server, Component::ApiServer));
            if let Some((_, falls)) = self.balancer.backends.get_mut(position) {
                *falls = if passes { 0 } else { falls.saturating_add(1) };
            }
        }
    }
}
