//! etcd: members that dial each other, a leader, a quorum.
//!
//! Connections between members live on until one side ends, whatever becomes of files (T14); only a new one is verified.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kubecert_core::model::{Component, NodeName};
use kubecert_pki::Usage;

use crate::certs::BundleId;
use crate::lifecycle::Fresh;
use crate::process::Slot;
use crate::world::{Event, World};

/// How often a member tries to dial a peer (`rafthttp` dials every 100 ms).
pub(crate) const DIAL_PERIOD: Duration = Duration::from_millis(100);
/// Between the loss of a leader and the next: the election time-out, 1 s, and a little luck.
const ELECTION_MS: (u64, u64) = (1000, 1500);
/// How long a member takes to catch up after its start.
const CATCH_UP: Duration = Duration::from_millis(200);
/// How long the API bears an etcd without a leader: requests wait rather than fail.
const PATIENCE: Duration = Duration::from_millis(2000);

/// The members together.
#[derive(Debug)]
pub(crate) struct EtcdCluster {
    pub(crate) members: Vec<NodeName>,
    /// Established connections, dialling member first.
    links: BTreeSet<(NodeName, NodeName)>,
    pub(crate) leader: Option<NodeName>,
    leaderless_since: Duration,
    election_at: Option<Duration>,
    pub(crate) term: u64,
    pub(crate) data: BTreeMap<String, Vec<u8>>,
}

impl EtcdCluster {
    pub(crate) fn new(members: &[NodeName]) -> Self {
        Self {
            members: members.to_vec(),
            links: BTreeSet::new(),
            leader: None,
            leaderless_since: Duration::ZERO,
            election_at: None,
            term: 1,
            data: BTreeMap::new(),
        }
    }

    /// A member is gone, and its connections with it.
    pub(crate) fn forget(&mut self, member: &NodeName) {
        self.links.retain(|(from, to)| from != member && to != member);
    }

    fn connected(&self, a: &NodeName, b: &NodeName) -> bool {
        a == b || self.links.contains(&(a.clone(), b.clone())) && self.links.contains(&(b.clone(), a.clone()))
    }

    const fn quorum(&self) -> usize {
        self.members.len() / 2 + 1
    }

    fn has_quorum(&self, member: &NodeName) -> bool {
        self.members.iter().filter(|other| self.connected(member, other)).count() >= self.quorum()
    }
}

impl World {
    /// Whether `from` could open a connection to its peer `to`.
    pub(crate) fn peers_accept(&mut self, from: &NodeName, to: &NodeName, fresh: [Fresh; 2]) -> bool {
        let now = self.moment();
        let mut get = |node, slot, fresh| {
            self.held(node, Component::Etcd, slot, fresh).map_or(BundleId::EMPTY, |held| held.certificates)
        };
        let [client, roots] = [Slot::Peer, Slot::PeerCa].map(|slot| get(from, slot, fresh[0]));
        let [server, server_roots] = [Slot::Peer, Slot::PeerCa].map(|slot| get(to, slot, fresh[1]));
        self.store.accepts(server, roots, Usage::ServerAuth, now)
            && self.store.accepts(client, server_roots, Usage::ClientAuth, now)
    }

    /// Whether the member on that node takes part: reads and writes through it succeed.
    pub(crate) fn etcd_serves(&self, node: &NodeName) -> bool {
        if !self.listens(node, Component::Etcd) {
            return false;
        }
        match &self.etcd.leader {
            Some(leader) => self.etcd.connected(node, leader) && self.etcd.has_quorum(leader),
            None => self.now.saturating_sub(self.etcd.leaderless_since) < PATIENCE,
        }
    }

    /// Whether the member on that node answers a linearizable read at once.
    pub(crate) fn etcd_healthy(&self, node: &NodeName) -> bool {
        self.etcd.leader.is_some() && self.etcd_serves(node)
    }

    /// How far a member has applied the log, and how far the log is.
    pub(crate) fn raft_indices(&self, node: &NodeName) -> (u64, u64) {
        let committed = 1_000 + u64::try_from(self.now.as_millis() / 100).unwrap_or_default();
        let behind = self
            .process(node, Component::Etcd)
            .is_none_or(|process| self.now < process.started + Self::warm_up(Component::Etcd) + CATCH_UP);
        (if behind { committed.saturating_sub(50) } else { committed }, committed)
    }

    pub(crate) fn etcd_tick(&mut self) {
        self.after(DIAL_PERIOD, Event::Etcd);
        let members = self.etcd.members.clone();
        let alive: Vec<NodeName> =
            members.iter().filter(|node| self.listens(node, Component::Etcd)).cloned().collect();
        for from in &alive {
            self.found(from, Component::Etcd);
            for to in alive.iter().filter(|to| *to != from) {
                let link = (from.clone(), to.clone());
                if !self.etcd.links.contains(&link)
                    && self.connects(Some(from), to)
                    && self.peers_accept(from, to, [Fresh::Running; 2])
                {
                    self.etcd.links.insert(link);
                }
            }
        }
        let leads = |world: &Self, node: &NodeName| alive.contains(node) && world.etcd.has_quorum(node);
        if self.etcd.leader.as_ref().is_some_and(|leader| leads(self, leader)) {
            return;
        }
        if self.etcd.leader.take().is_some() {
            self.etcd.leaderless_since = self.now;
            self.etcd.election_at = None;
        }
        let candidate = alive.iter().find(|node| leads(self, node)).cloned();
        match (candidate, self.etcd.election_at) {
            (Some(candidate), Some(when)) if self.now >= when => {
                self.etcd.leader = Some(candidate);
                self.etcd.term += 1;
                self.etcd.election_at = None;
            }
            (Some(_), Some(_)) => {}
            (Some(_), None) => {
                self.etcd.election_at = Some(self.now + self.chance.span_ms(ELECTION_MS.0, ELECTION_MS.1));
            }
            (None, _) => self.etcd.election_at = None,
        }
    }

    /// Lets another member lead at once.
    pub(crate) fn yield_leadership(&mut self, from: &NodeName, to: &NodeName) -> bool {
        if self.etcd.leader.as_ref() != Some(from) {
            return true;
        }
        if !self.etcd_healthy(to) || !self.etcd.has_quorum(to) {
            return false;
        }
        self.etcd.leader = Some(to.clone());
        self.etcd.term += 1;
        true
    }
}
