//! The cluster's whole state, and what happens in it as time goes by.
//!
//! There are no tasks in the background: whoever enters the world first lets everything happen that was due before
//! ([`World::advance`]), each event at its own moment and in order. So a run of a simulation is a function of the seed
//! and of what is done to it when, and dropping the engine's future in the middle leaves nothing behind.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use kubecert_core::model::{Cluster, Component, KubernetesVersion, Node, NodeName, Role};

use crate::certs::{Material, Store};
use crate::chance::Chance;
use crate::etcd::EtcdCluster;
use crate::faults::{Ailments, Disturbance};
use crate::files::{Disk, File};
use crate::lifecycle::Fresh;
use crate::monitor::{Dirt, Monitor, Violation};
use crate::objects::Objects;
use crate::pods::WorkloadLog;
use crate::process::{Process, Slot};
use crate::routing::LoadBalancer;
use crate::time::moment;

/// A machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) node: Node,
    pub(crate) address: std::net::IpAddr,
    pub(crate) disk: Disk,
    /// What components would load if they restarted now, and what processes read at each handshake: looked up often,
    /// and forgotten whenever a file or a process changes.
    pub(crate) from_disk: BTreeMap<(Component, Fresh), FromDisk>,
    pub(crate) processes: BTreeMap<Component, Process>,
    /// Counts stops of a component, so that a start that was due before the last stop is void.
    pub(crate) epochs: BTreeMap<Component, u64>,
    pub(crate) diversion: Option<DivertedTo>,
    /// Units that run besides the components: health monitors.
    pub(crate) units: BTreeMap<String, bool>,
    /// Counts pauses of units and diversions, so that an old timer is void.
    pub(crate) timers: u64,
    /// Failed checks in a row, by monitor.
    pub(crate) failed_checks: BTreeMap<String, u32>,
    /// Copies by run and path; `None` for a file that was absent.
    pub(crate) backups: BTreeMap<(String, String), Option<File>>,
    /// What kubecert did here, as the node's own log would have it.
    pub(crate) log: Vec<String>,
    pub(crate) last_pid: u32,
    /// When a component's process last ended.
    pub(crate) ended: BTreeMap<Component, Duration>,
    /// What is the matter with it.
    pub(crate) ailments: Ailments,
}

/// What a component would load, and the files that this depends on.
#[derive(Clone, Debug)]
pub(crate) struct FromDisk {
    pub(crate) loaded: BTreeMap<Slot, Material>,
    pub(crate) paths: Vec<String>,
}

/// Where new connections to an API server go instead.
#[derive(Clone, Debug)]
pub(crate) struct DivertedTo {
    pub(crate) node: NodeName,
    pub(crate) timer: u64,
}

/// Something that is due.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A component starts, unless it was stopped again since.
    Start { node: NodeName, component: Component, epoch: u64 },
    /// A process looks at its files again.
    Reload { node: NodeName, component: Component, pid: u32, slot: Slot },
    /// Kubelet compares a manifest with what runs.
    StaticPod { node: NodeName, component: Component },
    /// A timer on the node takes the diversion away.
    DiversionEnds { node: NodeName, timer: u64 },
    /// A timer on the node starts paused units again.
    UnitsResume { node: NodeName, units: Vec<String> },
    /// The health monitors of a node look.
    HealthCheck { node: NodeName },
    /// etcd members dial each other, and elect.
    Etcd,
    /// A controller manager tries to lead, or leads.
    ControllerManager { node: NodeName, pid: u32 },
    /// A kubelet reports.
    Kubelet { node: NodeName, pid: u32 },
    /// The load balancer looks at its backends.
    LoadBalancer,
    /// An API server brings `extension-apiserver-authentication` up to date.
    Extension { node: NodeName },
    /// Pods of a namespace see what is mounted anew.
    Volumes { pod: u32 },
    /// Aggregated API servers see the ConfigMap that they watch.
    Informers,
    /// A pod calls the API.
    Call { pod: u32 },
    /// A pod that reads a node's files reads its client certificate again.
    PodClient { pod: u32 },
    /// The next pod of a rollout is replaced.
    Replace { seat: u32 },
    /// A pod's predecessor goes.
    Succeed { pod: u32 },
    /// Something breaks, for a while.
    Breaks { disturbance: Disturbance, lasts: Duration },
    /// What broke is whole again.
    Mends { disturbance: Disturbance },
    /// An API server ends with an error.
    Crashes { node: NodeName, pid: u32 },
    /// A machine that was switched off answers again.
    Booted { node: NodeName },
}

/// The cluster.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) version: KubernetesVersion,
    pub(crate) cluster: Cluster,
    pub(crate) start: Timestamp,
    pub(crate) now: Duration,
    pub(crate) chance: Chance,
    pub(crate) store: Store,
    pub(crate) machines: BTreeMap<NodeName, Machine>,
    pub(crate) etcd: EtcdCluster,
    pub(crate) objects: Objects,
    pub(crate) balancer: LoadBalancer,
    pub(crate) log: WorkloadLog,
    pub(crate) violations: Vec<Violation>,
    /// What the monitor knows of the world as it was when it last looked.
    pub(crate) monitor: Monitor,
    /// What has changed since then.
    pub(crate) dirt: Dirt,
    /// Whether nobody looks after invariants.
    pub(crate) unwatched: bool,
    /// What is broken at present.
    pub(crate) broken: Vec<Disturbance>,
    queue: BTreeMap<(Duration, u64), Event>,
    sequence: u64,
}

impl World {
    pub(crate) fn new(cluster: Cluster, start: Timestamp, seed: u64, store: Store, objects: Objects) -> Self {
        let members = cluster.control_planes().map(|node| node.name.clone()).collect::<Vec<_>>();
        Self {
            version: cluster.version,
            start,
            now: Duration::ZERO,
            chance: Chance::new(seed),
            store,
            machines: BTreeMap::new(),
            etcd: EtcdCluster::new(&members),
            objects,
            balancer: LoadBalancer::new(&members),
            log: WorkloadLog::default(),
            violations: Vec::new(),
            monitor: Monitor::default(),
            dirt: Dirt::default(),
            unwatched: false,
            broken: Vec::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            cluster,
        }
    }

    /// The cluster's time.
    pub(crate) fn moment(&self) -> Timestamp {
        self.moment_at(self.now)
    }

    pub(crate) fn moment_at(&self, age: Duration) -> Timestamp {
        moment(self.start, age)
    }

    pub(crate) fn masters(&self) -> Vec<NodeName> {
        self.cluster.control_planes().map(|node| node.name.clone()).collect()
    }

    pub(crate) fn node_names(&self) -> Vec<NodeName> {
        self.cluster.nodes.iter().map(|node| node.name.clone()).collect()
    }

    pub(crate) fn is_master(&self, node: &NodeName) -> bool {
        self.cluster.node(node).is_some_and(|node| node.role == Role::ControlPlane)
    }

    pub(crate) fn process(&self, node: &NodeName, component: Component) -> Option<&Process> {
        self.machines.get(node)?.processes.get(&component)
    }

    pub(crate) fn process_mut(&mut self, node: &NodeName, component: Component) -> Option<&mut Process> {
        self.machines.get_mut(node)?.processes.get_mut(&component)
    }

    /// Lets something happen after a delay.
    pub(crate) fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now + delay, event);
    }

    pub(crate) fn at(&mut self, when: Duration, event: Event) {
        self.sequence += 1;
        self.queue.insert((when.max(self.now), self.sequence), event);
    }

    /// Takes events back that were to come.
    pub(crate) fn forget_events(&mut self, which: impl Fn(&Event) -> bool) {
        self.queue.retain(|_, event| !which(event));
    }

    /// Lets everything happen that is due until the cluster has that age.
    pub(crate) fn advance(&mut self, age: Duration) {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > age {
                break;
            }
            let ((when, _), event) = entry.remove_entry();
            self.now = self.now.max(when);
            self.happen(event);
            self.settle();
        }
        self.now = self.now.max(age);
    }

    /// Looks whether the last change broke anything.
    pub(crate) fn settle(&mut self) {
        if self.dirt.is_any() {
            self.watch();
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start { node, component, epoch } => self.start_if_wanted(&node, component, epoch),
            Event::Reload { node, component, pid, slot } => self.reload(&node, component, pid, slot),
            Event::StaticPod { node, component } => self.sync_static_pod(&node, component),
            Event::DiversionEnds { node, timer } => self.end_diversion(&node, timer),
            Event::UnitsResume { node, units } => self.timer_resumes(&node, &units),
            Event::HealthCheck { node } => self.health_check(&node),
            Event::Etcd => self.etcd_tick(),
            Event::ControllerManager { node, pid } => self.controller_manager_tick(&node, pid),
            Event::Kubelet { node, pid } => self.kubelet_tick(&node, pid),
            Event::LoadBalancer => self.load_balancer_tick(),
            Event::Extension { node } => self.extension_sync(&node),
            Event::Volumes { pod } => self.sync_volumes(pod),
            Event::Informers => self.sync_informers(),
            Event::Call { pod } => self.pod_calls(pod),
            Event::PodClient { pod } => self.reload_pod_client(pod),
            Event::Replace { seat } => self.replace_pod(seat),
            Event::Succeed { pod } => self.succeed(pod),
            Event::Breaks { disturbance, lasts } => self.breaks(disturbance, lasts),
            Event::Mends { disturbance } => self.mends(&disturbance),
            Event::Crashes { node, pid } => self.crashes(&node, pid),
            Event::Booted { node } => self.booted(&node),
        }
    }
}
