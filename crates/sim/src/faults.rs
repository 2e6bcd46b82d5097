//! What goes wrong, and when: at calls of ports, counted; and in the cluster itself, at a time and for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::SignedDuration;
use kubecert_core::model::{Component, NodeName};

use crate::lifecycle::BOOT;
use crate::process::is_static_pod;
use crate::world::{Event, Machine, World};

/// What happens at a call of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The call fails before it has done anything.
    FailsBefore,
    /// The call does its work, but the answer is lost.
    AnswerLost,
    /// The caller is cut off before the call has done anything: the call never returns, and
    /// [`crate::SimCluster::cut_off`] does.
    CutOffBefore,
    /// The caller is cut off after the call has done its work.
    CutOffAfter,
}

/// What breaks in the cluster, whoever works on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disturbance {
    /// The node is switched off and on.
    Reboot(NodeName),
    /// The etcd member on that node ends, and does not start until this is over.
    EtcdDies(NodeName),
    /// Nobody reaches the node over SSH; the cluster itself does.
    Unreachable(NodeName),
    /// The node's network is gone: SSH, its kubelet's reports, its etcd member's peers, its API server's clients.
    CutOff(NodeName),
    /// The disk below `/etc/kubernetes` is full: nothing can be written.
    DiskFull(NodeName),
    /// The kubelet goes on running, but once it ends it does not start until this is over.
    KubeletStaysAway(NodeName),
    /// The API server ends a second after each start; the kubelet waits longer each time.
    ApiServerCrashes(NodeName),
    /// The node's clock is off by so many milliseconds.
    ClockOff(NodeName, i64),
    /// The load balancer accepts no connection.
    BalancerGone,
}

impl Disturbance {
    /// The node that it happens to, if it happens to one.
    pub const fn node(&self) -> Option<&NodeName> {
        match self {
            Self::Reboot(node)
            | Self::EtcdDies(node)
            | Self::Unreachable(node)
            | Self::CutOff(node)
            | Self::DiskFull(node)
            | Self::KubeletStaysAway(node)
            | Self::ApiServerCrashes(node)
            | Self::ClockOff(node, _) => Some(node),
            Self::BalancerGone => None,
        }
    }
}

/// How long a crashing API server runs.
const CRASHES_AFTER: Duration = Duration::from_secs(1);
/// Kubelet's back-off for a container that ends again and again: twice as long each time, from 10 s to five minutes
/// (`MaxContainerBackOff`, `pkg/kubelet/kubelet.go`).
const BACK_OFF: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(300)];

/// What is the matter with a machine: how many disturbances of each kind last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ailments {
    pub(crate) unreachable: u32,
    pub(crate) cut_off: u32,
    pub(crate) disk_full: u32,
    /// Components that do not start.
    away: BTreeMap<Component, u32>,
    /// Components that a fault has taken away, until they are back.
    lost: BTreeSet<Component>,
    crashing: u32,
    /// How often the API server has crashed in a row.
    crashes: u32,
    /// By how much the clock is off, in milliseconds.
    pub(crate) clock_ms: i64,
}

impl Ailments {
    /// Whether a component may not start at present.
    pub(crate) fn holds(&self, component: Component) -> bool {
        self.away.get(&component).is_some_and(|held| *held > 0)
    }
}

impl World {
    /// Lets something break after a delay, for a while.
    pub(crate) fn disturb_after(&mut self, delay: Duration, disturbance: Disturbance, lasts: Duration) {
        self.after(delay, Event::Breaks { disturbance, lasts });
    }

    pub(crate) fn breaks(&mut self, disturbance: Disturbance, lasts: Duration) {
        self.dirt.plane();
        if let Disturbance::Reboot(node) = &disturbance {
            self.reboot(node);
            return;
        }
        self.ail(&disturbance, true);
        match &disturbance {
            Disturbance::EtcdDies(node) => {
                self.lose(node, Component::Etcd);
                self.start_after(node, Component::Etcd, Duration::ZERO);
            }
            Disturbance::ApiServerCrashes(node) => self.crash(node),
            Disturbance::CutOff(node) => self.etcd.forget(node),
            _ => {}
        }
        self.broken.push(disturbance.clone());
        self.after(lasts, Event::Mends { disturbance });
    }

    pub(crate) fn mends(&mut self, disturbance: &Disturbance) {
        let Some(position) = self.broken.iter().position(|broken| broken == disturbance) else { return };
        self.broken.remove(position);
        self.dirt.plane();
        self.ail(disturbance, false);
        match disturbance {
            Disturbance::EtcdDies(node) => self.start_after(node, Component::Etcd, Duration::ZERO),
            Disturbance::KubeletStaysAway(node) => self.start_after(node, Component::Kubelet, Duration::ZERO),
            _ => {}
        }
    }

    /// Nothing breaks any more, and what is broken is mended.
    pub(crate) fn mend_everything(&mut self) {
        self.forget_events(|event| matches!(event, Event::Breaks { .. } | Event::Mends { .. }));
        for disturbance in self.broken.clone() {
            self.mends(&disturbance);
        }
    }

    fn ail(&mut self, disturbance: &Disturbance, begins: bool) {
        if matches!(disturbance, Disturbance::BalancerGone) {
            count(&mut self.balancer.gone, begins);
        }
        let Some(machine) = disturbance.node().and_then(|node| self.machines.get_mut(node)) else { return };
        let Machine { ailments, .. } = machine;
        match disturbance {
            Disturbance::Unreachable(_) => count(&mut ailments.unreachable, begins),
            Disturbance::CutOff(_) => count(&mut ailments.cut_off, begins),
            Disturbance::DiskFull(_) => count(&mut ailments.disk_full, begins),
            Disturbance::EtcdDies(_) => count(ailments.away.entry(Component::Etcd).or_default(), begins),
            Disturbance::KubeletStaysAway(_) => {
                count(ailments.away.entry(Component::Kubelet).or_default(), begins);
            }
            Disturbance::ApiServerCrashes(_) => {
                count(&mut ailments.crashing, begins);
                ailments.crashes = 0;
            }
            Disturbance::ClockOff(_, ms) => ailments.clock_ms += if begins { *ms } else { -*ms },
            Disturbance::Reboot(_) | Disturbance::BalancerGone => {}
        }
    }

    /// An API server that has started crashes soon, if it is to.
    pub(crate) fn may_crash(&mut self, node: &NodeName, component: Component, pid: u32) {
        let ails = self.machines.get(node).is_some_and(|machine| machine.ailments.crashing > 0);
        if ails && component == Component::ApiServer {
            self.after(CRASHES_AFTER, Event::Crashes { node: node.clone(), pid });
        }
    }

    pub(crate) fn crashes(&mut self, node: &NodeName, pid: u32) {
        let ails = self.machines.get(node).is_some_and(|machine| machine.ailments.crashing > 0);
        let runs = self.process(node, Component::ApiServer).is_some_and(|process| process.pid == pid);
        if ails && runs {
            self.crash(node);
        }
    }

    /// A fault ends a component's process.
    fn lose(&mut self, node: &NodeName, component: Component) {
        if let Some(machine) = self.machines.get_mut(node) {
            machine.ailments.lost.insert(component);
        }
        self.stop_process(node, component);
    }

    /// Whether a component is away because of a fault.
    pub(crate) fn is_lost(&self, node: &NodeName, component: Component) -> bool {
        self.machines.get(node).is_some_and(|machine| machine.ailments.lost.contains(&component))
    }

    /// A component is back.
    pub(crate) fn found(&mut self, node: &NodeName, component: Component) {
        if let Some(machine) = self.machines.get_mut(node) {
            machine.ailments.lost.remove(&component);
        }
    }

    fn crash(&mut self, node: &NodeName) {
        self.lose(node, Component::ApiServer);
        let Some(machine) = self.machines.get_mut(node) else { return };
        let wait = BACK_OFF[0] * 2_u32.pow(machine.ailments.crashes.min(5));
        machine.ailments.crashes += 1;
        machine.log.push("kube-apiserver has ended with an error".to_owned());
        self.start_after(node, Component::ApiServer, wait.min(BACK_OFF[1]));
    }

    /// Switches a machine off and on: diversions and memory are gone, files stay.
    pub(crate) fn reboot(&mut self, node: &NodeName) {
        /// How much later than units static pods start: their kubelet must run first.
        const STATIC_PODS_LATER: Duration = Duration::from_millis(1200);
        let Some(machine) = self.machines.get_mut(node) else { return };
        let role = machine.node.role;
        machine.diversion = None;
        machine.timers += 1;
        machine.ailments.unreachable += 1;
        for running in machine.units.values_mut() {
            *running = true;
        }
        for component in crate::process::components(role) {
            self.lose(node, *component);
            let later = if is_static_pod(*component) { STATIC_PODS_LATER } else { Duration::ZERO };
            self.start_after(node, *component, BOOT + later);
        }
        self.after(BOOT, Event::Booted { node: node.clone() });
        self.node_rebooted(node, BOOT);
    }

    pub(crate) fn booted(&mut self, node: &NodeName) {
        if let Some(machine) = self.machines.get_mut(node) {
            count(&mut machine.ailments.unreachable, false);
        }
    }

    /// By how much a node's clock is off.
    pub(crate) fn clock_error(&self, node: &NodeName) -> SignedDuration {
        self.machines.get(node).map(Machine::clock_error).unwrap_or_default()
    }

    /// Whether the node can be reached over SSH.
    pub(crate) fn reachable(&self, node: &NodeName) -> bool {
        self.machines
            .get(node)
            .is_none_or(|machine| machine.ailments.unreachable == 0 && !machine.is_cut_off())
    }

    /// Whether a connection within the cluster's network comes about. Outsiders come from `None`.
    pub(crate) fn connects(&self, from: Option<&NodeName>, to: &NodeName) -> bool {
        let cut_off = |node: &NodeName| self.machines.get(node).is_some_and(Machine::is_cut_off);
        from == Some(to) || !(cut_off(to) || from.is_some_and(cut_off))
    }
}

impl Machine {
    /// By how much the node's clock is off.
    pub(crate) fn clock_error(&self) -> SignedDuration {
        SignedDuration::from_millis(self.ailments.clock_ms)
    }

    pub(crate) const fn is_cut_off(&self) -> bool {
        self.ailments.cut_off > 0
    }
}

const fn count(counter: &mut u32, begins: bool) {
    *counter = if begins { *counter + 1 } else { counter.saturating_sub(1) };
}

/// When what happens at calls.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// How many calls there were.
    pub(crate) calls: u64,
    due: BTreeMap<u64, Trouble>,
    /// Whether the caller was cut off: nothing that it does has an effect any more.
    pub(crate) cut_off: bool,
}

impl Faults {
    /// Counts a call, and says what happens to it.
    pub(crate) fn next(&mut self) -> Option<Trouble> {
        self.calls += 1;
        self.due.remove(&self.calls)
    }

    pub(crate) fn plan(&mut self, call: u64, trouble: Trouble) {
        self.due.insert(call, trouble);
    }

    pub(crate) fn forget(&mut self) {
        self.due.clear();
    }
}
