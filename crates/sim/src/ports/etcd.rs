//! etcd, each member through its own node.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kubecert_core::inventory::EtcdMember;
use kubecert_core::model::{Component, NodeName};
use kubecert_engine::ports::{Credentials, Etcd, Fault, PortError, PortResult};
use kubecert_pki::Usage;
use zeroize::Zeroizing;

use super::Known;
use crate::cluster::Shared;
use crate::process::Slot;
use crate::world::World;

/// A request through the node.
const REQUEST: Duration = Duration::from_millis(40);

/// etcd.
pub(crate) struct SimEtcd {
    shared: Arc<Shared>,
    credentials: Mutex<Vec<Credentials>>,
}

impl SimEtcd {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared, credentials: Mutex::new(Vec::new()) }
    }

    fn credentials(&self) -> Vec<Credentials> {
        self.credentials.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Etcd for SimEtcd {
    async fn use_credentials(&self, credentials: Vec<Credentials>) -> PortResult<()> {
        *self.credentials.lock().unwrap_or_else(PoisonError::into_inner) = credentials;
        Ok(())
    }

    async fn members(&self) -> PortResult<Vec<EtcdMember>> {
        let credentials = self.credentials();
        self.shared
            .call("cannot list etcd's members", REQUEST, |world| {
                let members = world.etcd.members.clone();
                Ok(members.iter().map(|node| member(world, node, &credentials)).collect())
            })
            .await
    }

    async fn yield_leadership(&self, from: &NodeName, to: &NodeName) -> PortResult<()> {
        let what = format!("cannot let etcd on {to} lead instead of {from}");
        let credentials = self.credentials();
        self.shared
            .call(&what, REQUEST, |world| {
                if !accepted(world, from, &credentials) {
                    return Err(PortError::new(Fault::Refused, what.as_str(), "tls: bad certificate"));
                }
                if world.yield_leadership(from, to) {
                    Ok(())
                } else {
                    Err(PortError::new(
                        Fault::Unreachable,
                        what.as_str(),
                        "the other member is not able to lead",
                    ))
                }
            })
            .await
    }

    async fn get(&self, key: &str) -> PortResult<Option<Vec<u8>>> {
        let what = format!("cannot read {key} from etcd");
        let credentials = self.credentials();
        self.shared
            .call(&what, REQUEST, |world| {
                any_member(world, &what, &credentials)?;
                Ok(world.etcd.data.get(key).cloned())
            })
            .await
    }

    async fn put(&self, pairs: &[(String, Zeroizing<Vec<u8>>)]) -> PortResult<()> {
        let what = "cannot write to etcd";
        let credentials = self.credentials();
        self.shared
            .call(what, REQUEST, |world| {
                any_member(world, what, &credentials)?;
                for (key, value) in pairs {
                    world.etcd.data.insert(key.clone(), value.to_vec());
                }
                Ok(())
            })
            .await
    }
}

fn member(world: &mut World, node: &NodeName, credentials: &[Credentials]) -> EtcdMember {
    let healthy = world.etcd_healthy(node) && accepted(world, node, credentials);
    let (applied_index, committed_index) = world.raft_indices(node);
    let position = world.etcd.members.iter().position(|member| member == node).unwrap_or_default();
    EtcdMember {
        id: format!(
            "{:016x}",
            0x8e9e_05c5_2164_694d_u64.rotate_left(u32::try_from(position * 7).unwrap_or(0))
        ),
        name: node.to_string(),
        healthy,
        leader: healthy && world.etcd.leader.as_ref() == Some(node),
        term: world.etcd.term,
        applied_index: if healthy { applied_index } else { 0 },
        committed_index: if healthy { committed_index } else { 0 },
    }
}

/// Whether the member on that node and one of our credentials accept each other.
fn accepted(world: &mut World, node: &NodeName, credentials: &[Credentials]) -> bool {
    if !world.listens(node, Component::Etcd) || !world.reachable(node) {
        return false;
    }
    let now = world.moment();
    let chain = world.loaded(node, Component::Etcd, Slot::Serving);
    let roots = world.loaded(node, Component::Etcd, Slot::ClientCa);
    credentials.iter().any(|credentials| {
        let client = Known::of(world, credentials);
        world.store.accepts(chain, client.roots, Usage::ServerAuth, now)
            && client
                .identity
                .is_some_and(|identity| world.store.accepts(identity, roots, Usage::ClientAuth, now))
    })
}

fn any_member(world: &mut World, what: &str, credentials: &[Credentials]) -> PortResult<()> {
    let members = world.etcd.members.clone();
    if members.iter().any(|node| world.etcd_healthy(node) && accepted(world, node, credentials)) {
        return Ok(());
    }
    Err(PortError::new(Fault::Unreachable, what, "no member answers"))
}
