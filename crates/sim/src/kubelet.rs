//! Kubelets report, and nodes are Ready or not.

use std::time::Duration;

use kubecert_core::inventory::NodeStatus;
use kubecert_core::model::{Component, NodeName};

use crate::world::{Event, World};

/// How long until a kubelet tries again whose report did not get through.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// How often it renews its Lease (`nodeLeaseDurationSeconds` 40, a quarter of it).
const RENEW: Duration = Duration::from_secs(10);
/// When the controllers give a node up that does not report (`node-monitor-grace-period`).
const GRACE: Duration = Duration::from_secs(40);
/// From its start until a kubelet reports Ready.
const READY_AFTER: Duration = Duration::from_secs(2);

impl World {
    pub(crate) fn kubelet_tick(&mut self, node: &NodeName, pid: u32) {
        let Some(started) = self.process(node, Component::Kubelet).filter(|process| process.pid == pid)
        else {
            return;
        };
        let started = started.started;
        if self.component_calls(node, Component::Kubelet).is_none() {
            self.after(TRY_AGAIN, Event::Kubelet { node: node.clone(), pid });
            return;
        }
        let now = self.now;
        let ready_at = started + READY_AFTER;
        let next = if now < ready_at { ready_at } else { now + RENEW };
        self.at(next, Event::Kubelet { node: node.clone(), pid });
        let clock_error = self.clock_error(node);
        let state = self.objects.nodes.entry(node.clone()).or_default();
        state.ready = now >= ready_at;
        state.renewed = now;
        state.clock_error = clock_error;
    }

    /// Whether the API shows a node as Ready.
    pub(crate) fn node_ready(&self, node: &NodeName) -> bool {
        self.objects.nodes.get(node).is_some_and(|state| state.ready && self.now < state.renewed + GRACE)
    }

    /// All nodes as the API knows them.
    pub(crate) fn node_statuses(&self) -> Vec<NodeStatus> {
        let status = |name: NodeName| NodeStatus {
            address: self.machines.get(&name).map(|machine| machine.address),
            operating_system: "linux".to_owned(),
            ready: self.node_ready(&name),
            renewed: self
                .objects
                .nodes
                .get(&name)
                .map(|state| self.moment_at(state.renewed) + state.clock_error),
            name,
        };
        self.node_names().into_iter().map(status).collect()
    }
}
