//! Handshakes, answered from memory.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kubecert_core::inventory::Server;
use kubecert_core::model::{Component, NodeName};
use kubecert_engine::ports::{Credentials, Fault, Handshake, PortError, PortResult, Probe};
use kubecert_pki::Usage;

use super::{Known, is_administrator};
use crate::certs::BundleId;
use crate::cluster::Shared;
use crate::process::Slot;
use crate::world::World;

/// A round trip through the node and a handshake.
const HANDSHAKE: Duration = Duration::from_millis(40);
/// From which version on a kubelet names the client CAs that it has now, not those of its start (PR #136762).
const KUBELET_NAMES_CURRENT: u16 = 36;

/// TLS probes.
pub(crate) struct SimProbe {
    shared: Arc<Shared>,
}

impl SimProbe {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

#[async_trait]
impl Probe for SimProbe {
    async fn handshake(&self, server: &Server) -> PortResult<Handshake> {
        let what = format!("cannot shake hands with {server}");
        self.shared
            .call_on(server.node(), &what, HANDSHAKE, |world| {
                let shown = shown(world, server)
                    .ok_or_else(|| PortError::new(Fault::Unreachable, what.as_str(), "connection refused"))?;
                let ders = |bundle: BundleId| world.store.certificates(bundle).iter();
                let chain: Vec<Vec<u8>> = ders(shown.chain).map(|found| found.der().to_vec()).collect();
                if chain.is_empty() {
                    return Err(PortError::new(
                        Fault::Failed,
                        what.as_str(),
                        "the server has no usable certificate",
                    ));
                }
                let mut client_ca_names: Vec<Vec<u8>> = Vec::new();
                for ca in shown.named.iter().flat_map(|bundle| ders(*bundle)) {
                    let name = ca.subject().der().to_vec();
                    if !client_ca_names.contains(&name) {
                        client_ca_names.push(name);
                    }
                }
                Ok(Handshake { chain, client_ca_names })
            })
            .await
    }

    async fn get(&self, server: &Server, credentials: &Credentials, path: &str) -> PortResult<u16> {
        let what = format!("cannot ask {server} for {path}");
        let node = server.node();
        self.shared
            .call_on(node, &what, HANDSHAKE, |world| get(world, &what, server, credentials, path))
            .await
    }
}

/// What a server shows: its chain, and the bundles whose names it sends.
struct Shown {
    chain: BundleId,
    named: Vec<BundleId>,
}

fn process(server: &Server) -> (&NodeName, Component, Slot) {
    match server {
        Server::ApiServer(node) => (node, Component::ApiServer, Slot::Serving),
        Server::EtcdClient(node) => (node, Component::Etcd, Slot::Serving),
        Server::EtcdPeer(node) => (node, Component::Etcd, Slot::Peer),
        Server::Kubelet(node) => (node, Component::Kubelet, Slot::Serving),
    }
}

fn shown(world: &mut World, server: &Server) -> Option<Shown> {
    let (node, component, slot) = process(server);
    if !world.listens(node, component) {
        return None;
    }
    let chain = world.loaded(node, component, slot);
    let named = match server {
        Server::ApiServer(_) => vec![
            world.loaded(node, component, Slot::ClientCa),
            world.loaded(node, component, Slot::RequestHeaderCa),
        ],
        Server::EtcdClient(_) => vec![world.loaded(node, component, Slot::ClientCa)],
        Server::EtcdPeer(_) => vec![world.loaded(node, component, Slot::PeerCa)],
        Server::Kubelet(_) if world.version.at_least(KUBELET_NAMES_CURRENT) => {
            vec![world.loaded(node, component, Slot::ClientCa)]
        }
        Server::Kubelet(_) => vec![world.process(node, component)?.first_client_ca.certificates],
    };
    Some(Shown { chain, named })
}

fn get(
    world: &mut World,
    what: &str,
    server: &Server,
    credentials: &Credentials,
    path: &str,
) -> PortResult<u16> {
    let (node, component, _) = process(server);
    let shown =
        shown(world, server).ok_or_else(|| PortError::new(Fault::Unreachable, what, "connection refused"))?;
    let now = world.moment();
    let client = Known::of(world, credentials);
    if !world.store.accepts(shown.chain, client.roots, Usage::ServerAuth, now) {
        return Err(PortError::new(
            Fault::Unexpected,
            what,
            "its certificate is signed by an unknown authority",
        ));
    }
    let roots = match server {
        Server::EtcdPeer(_) => world.loaded(node, component, Slot::PeerCa),
        _ => world.loaded(node, component, Slot::ClientCa),
    };
    let identity = client.identity.filter(|chain| world.store.accepts(*chain, roots, Usage::ClientAuth, now));
    let allowed = identity.is_some_and(|identity| is_administrator(&world.store, identity));
    Ok(match (server, identity) {
        (Server::EtcdClient(_) | Server::EtcdPeer(_), None) => {
            return Err(PortError::new(Fault::Refused, what, "tls: bad certificate"));
        }
        (Server::EtcdClient(_) | Server::EtcdPeer(_), Some(_)) if world.etcd_healthy(node) => 200,
        (Server::EtcdClient(_) | Server::EtcdPeer(_), Some(_)) => 503,
        // AKS engine sets --anonymous-auth=false (T28).
        (Server::ApiServer(_) | Server::Kubelet(_), None) => 401,
        (Server::ApiServer(_) | Server::Kubelet(_), Some(_)) if !allowed => 403,
        (Server::ApiServer(_), Some(_)) if world.api_ready(node) => 200,
        (Server::ApiServer(_), Some(_)) if path.starts_with("/readyz") => 500,
        (Server::ApiServer(_), Some(_)) => 503,
        (Server::Kubelet(_), Some(_)) => 200,
    })
}
