//! What observations say about a world.

use crate::inventory::{CaRef, Server};
use crate::model::{Component, LeafId, NodeName, TrustDomain};
use crate::plan::Predicate;

use super::World;
use super::process::{Health, Process};
use super::source::Slot;
use super::value::{Generations, Presented, Value, Values};

impl World {
    /// Waits for `predicate`, and takes what it proves: where it holds, values that contradict it are no longer
    /// possible. `false` if nothing that the plan has done so far brings it about, so that the wait would not end.
    pub fn observe(&mut self, predicate: &Predicate) -> bool {
        match predicate {
            Predicate::Presents { server, leaf, generation, form } => {
                self.presents(server, leaf, Presented::new(*generation, *form))
            }
            Predicate::Advertises { server, cas } => self.advertises(server, cas),
            Predicate::ApiServerReady { node } => self.proven(node, Component::ApiServer),
            Predicate::NodeReady { node } => self.proven(node, Component::Kubelet),
            Predicate::EtcdHealthy => {
                let nodes: Vec<NodeName> =
                    self.each(Component::Etcd).map(|process| process.who.node.clone()).collect();
                nodes.iter().all(|node| self.proven(node, Component::Etcd))
            }
            Predicate::StartedAfter { node, component, files } => {
                self.process(node, *component).is_some_and(|process| started_after(process, files))
            }
            // Whichever leads: the lease may stay with one that was not restarted for as long as that one lives.
            Predicate::ControllerManagerLeads { files } => {
                let mut all = self.each(Component::ControllerManager);
                all.all(|process| started_after(process, files))
            }
            Predicate::RootsPublished { cas } => {
                let value = Values::held(generations(cas, TrustDomain::Cluster));
                self.all_publish(value) && {
                    self.published = value;
                    self.touched.elsewhere = true;
                    true
                }
            }
            Predicate::TokenSecretsCarry { cas } => {
                let value = Values::held(generations(cas, TrustDomain::Cluster));
                self.all_publish(value) && {
                    self.secret_roots = value;
                    self.touched.elsewhere = true;
                    true
                }
            }
            Predicate::ExtensionTrusts { cas } => {
                let wanted = generations(cas, TrustDomain::FrontProxy);
                let written = self
                    .each(Component::ApiServer)
                    .filter_map(|process| process.expected(Slot::RequestHeaderCa))
                    .fold(self.extension, |sum, values| sum.union(values.surely()));
                written == wanted && {
                    self.extension = wanted;
                    self.touched.elsewhere = true;
                    true
                }
            }
            Predicate::AcceptsClientsOf { node, ca } => self.narrow(node, *ca, true),
            Predicate::RefusesClientsOf { node, ca } => self.narrow(node, *ca, false),
            Predicate::HoldsLeafOf { node, path, ca } => {
                let Some(disk) = self.disk(node).cloned() else { return false };
                self.process_mut(node, Component::Kubelet).is_some_and(|process| {
                    process.reads(&disk, path)
                        && process.health != Health::Ended
                        && process.holds(Slot::ApiClient, ca.generation)
                })
            }
            Predicate::AggregatedApisAvailable => true,
            Predicate::ReadAgain { node, component, files, .. } => {
                let Some(disk) = self.disk(node).cloned() else { return false };
                self.process_mut(node, *component).is_some_and(|process| {
                    process.has_read(&disk, files);
                    process.health != Health::Ended
                })
            }
        }
    }

    fn presents(&mut self, server: &Server, leaf: &LeafId, presented: Presented) -> bool {
        let (component, slot) = match server {
            Server::ApiServer(_) => (Component::ApiServer, Slot::Serving),
            Server::EtcdClient(_) => (Component::Etcd, Slot::Serving),
            Server::EtcdPeer(_) => (Component::Etcd, Slot::Peer),
            Server::Kubelet(_) => (Component::Kubelet, Slot::Serving),
        };
        self.process_mut(server.node(), component).is_some_and(|process| {
            process.health != Health::Ended
                && process.leaf(slot) == Some(leaf)
                && process.seen(slot, Value::Presents(presented))
        })
    }

    /// An API server names the union of its client CAs and its request-header CAs (`pkg/server/config.go` of
    /// kubernetes/apiserver), so that the two are told apart by domain.
    fn advertises(&mut self, server: &Server, cas: &[CaRef]) -> bool {
        let component = match server {
            Server::ApiServer(_) => Component::ApiServer,
            Server::EtcdClient(_) | Server::EtcdPeer(_) => Component::Etcd,
            // A kubelet names the CAs of its start while it verifies by those of the file (until Kubernetes 1.36).
            Server::Kubelet(_) => return false,
        };
        let slot = if matches!(server, Server::EtcdPeer(_)) { Slot::PeerCa } else { Slot::ClientCa };
        let domain = match component {
            Component::Etcd => self.layout.etcd_domain(),
            _ => TrustDomain::Cluster,
        };
        let Some(process) = self.process_mut(server.node(), component) else { return false };
        let front_proxy = generations(cas, TrustDomain::FrontProxy);
        let header = match (component, process.expected(Slot::RequestHeaderCa)) {
            (Component::ApiServer, Some(_)) => process.seen(Slot::RequestHeaderCa, Value::Holds(front_proxy)),
            _ => front_proxy == Generations::NONE,
        };
        header
            && process.health != Health::Ended
            && process.seen(slot, Value::Holds(generations(cas, domain)))
    }

    fn proven(&mut self, node: &NodeName, component: Component) -> bool {
        match self.process_mut(node, component) {
            Some(process) if process.health != Health::Ended => {
                process.health = Health::Serving;
                true
            }
            _ => false,
        }
    }

    fn all_publish(&self, value: Values) -> bool {
        let mut all = self.each(Component::ControllerManager).filter_map(|p| p.expected(Slot::PublishedCa));
        all.all(|published| published == value)
    }

    fn narrow(&mut self, node: &NodeName, ca: CaRef, accepted: bool) -> bool {
        let wanted = Generations::one(ca.generation);
        let Some(process) = self.process_mut(node, Component::ApiServer) else { return false };
        let Some(field) = &mut process.fields[Slot::ClientCa as usize] else { return false };
        let fits = |held: Generations| held.holds(wanted) == accepted;
        if ca.domain != TrustDomain::Cluster || !field.expected.generations().all(fits) {
            return false;
        }
        field.possible.retain(fits);
        true
    }
}

fn started_after(process: &Process, files: &[String]) -> bool {
    process.health != Health::Ended && files.iter().all(|file| !process.changed.contains(file))
}

fn generations(cas: &[CaRef], domain: TrustDomain) -> Generations {
    cas.iter()
        .filter(|ca| ca.domain == domain)
        .fold(Generations::NONE, |sum, ca| sum.union(Generations::one(ca.generation)))
}
