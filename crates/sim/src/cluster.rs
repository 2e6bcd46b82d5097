//! The door: a cluster to be rotated, looked at, and disturbed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use kubecert_core::model::{Cluster, NodeName, Role};
use kubecert_engine::ports::{Fault, PortError, PortResult, Ports};
use kubecert_engine::vault::PkiSet;
use tokio::sync::Notify;

use crate::builder;
use crate::config::SimConfig;
use crate::faults::{Disturbance, Faults, Trouble};
use crate::monitor::Violation;
use crate::objects::AutoscalerState;
use crate::pods::WorkloadLog;
use crate::ports::{SimApi, SimAvailability, SimEtcd, SimNodes, SimProbe};
use crate::time::VirtualTime;
use crate::world::World;

/// Why a cluster cannot be simulated.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// A key or certificate cannot be made.
    #[error("cannot make the simulated cluster's PKI")]
    Pki(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What was asked for does not make a working cluster.
    #[error("cannot build the simulated cluster: {0}")]
    Build(String),
}

impl SimError {
    pub(crate) fn pki(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Pki(Box::new(error))
    }
}

/// A cluster in memory. Clones are the same cluster.
#[derive(Clone, Debug)]
pub struct SimCluster {
    shared: Arc<Shared>,
    old: PkiSet,
}

impl SimCluster {
    /// Builds a cluster that has been running for a while.
    ///
    /// # Errors
    ///
    /// Fails if no working cluster can be made of `config`.
    pub fn new(config: &SimConfig) -> Result<Self, SimError> {
        let (world, old) = builder::build(config)?;
        let handed_over = world.now;
        let off = SignedDuration::from_hours(i64::from(config.off_for_days.unwrap_or(0)) * 24);
        let start = config.start.checked_add(off).unwrap_or(config.start);
        let time = VirtualTime::new(start, config.speed.factor());
        let shared = Shared {
            world: Mutex::new(world),
            faults: Mutex::new(Faults::default()),
            cut_off: Notify::new(),
            time,
            handed_over,
        };
        Ok(Self { shared: Arc::new(shared), old })
    }

    /// New ports, as a new process of kubecert would open them. Ports that were given out before are dead from now on
    /// if their owner was cut off.
    pub fn ports(&self) -> Ports {
        self.shared.faults().cut_off = false;
        Ports {
            nodes: Arc::new(SimNodes::new(self.shared.clone())),
            probe: Arc::new(SimProbe::new(self.shared.clone())),
            api: Arc::new(SimApi::new(self.shared.clone())),
            etcd: Arc::new(SimEtcd::new(self.shared.clone())),
            availability: Arc::new(SimAvailability::new(self.shared.clone())),
            clock: Arc::new(self.shared.time),
            machines: None,
        }
    }

    /// The PKI as the operator's description of the cluster holds it.
    pub fn old_pki(&self) -> PkiSet {
        self.old.clone()
    }

    /// The operator's description: control planes only, since agents are learnt from the API.
    pub fn cluster(&self) -> Cluster {
        let mut cluster = self.shared.enter().cluster.clone();
        cluster.nodes.retain(|node| node.role == Role::ControlPlane);
        cluster
    }

    /// All nodes.
    pub fn node_names(&self) -> Vec<NodeName> {
        self.shared.enter().node_names()
    }

    /// What invariants broke so far, and when.
    pub fn violations(&self) -> Vec<Violation> {
        self.shared.enter().violations.clone()
    }

    /// What workloads have seen so far.
    pub fn workload_log(&self) -> WorkloadLog {
        self.shared.enter().log.clone()
    }

    /// How many calls of ports there were.
    pub fn calls(&self) -> u64 {
        self.shared.faults().calls
    }

    /// Lets something go wrong at a call of a port, counted from 1 over the cluster's life.
    pub fn trouble(&self, call: u64, trouble: Trouble) {
        self.shared.faults().plan(call, trouble);
    }

    /// Lets something break in the cluster after a delay, and lasts how long.
    pub fn disturb(&self, after: Duration, disturbance: Disturbance, lasts: Duration) {
        let mut world = self.shared.enter();
        world.disturb_after(after, disturbance, lasts);
        // What is to break at once does so before anybody looks.
        let now = world.now;
        world.advance(now);
    }

    /// Nothing goes wrong any more: what is broken is mended, and what was to break does not.
    pub fn mend(&self) {
        self.shared.faults().forget();
        let mut world = self.shared.enter();
        world.mend_everything();
        world.settle();
    }

    /// Waits until a caller was cut off. Whoever drives the caller's future drops it then.
    pub async fn cut_off(&self) {
        self.shared.cut_off.notified().await;
    }

    /// Looks after invariants from here on, in a cluster that was switched off before it was handed over.
    pub fn watch_from_now(&self) {
        let mut world = self.shared.enter();
        world.unwatched = false;
        world.violations.clear();
        world.log = WorkloadLog::default();
        world.monitor = crate::monitor::Monitor::default();
        world.dirt.everything();
    }

    /// Switches a node off and on.
    pub fn reboot(&self, node: &NodeName) {
        let mut world = self.shared.enter();
        world.reboot(node);
        world.settle();
    }

    /// Gives the cluster an autoscaler.
    pub fn add_autoscaler(&self, replicas: u32) {
        self.shared.enter().objects.autoscaler = Some(AutoscalerState { replicas, remembered: None });
    }

    /// Somebody scales the autoscaler, as an addon manager does that applies its manifest.
    pub fn scale_autoscaler(&self, replicas: u32) {
        if let Some(state) = &mut self.shared.enter().objects.autoscaler {
            state.replicas = replicas;
        }
    }

    /// The autoscaler at present.
    pub fn autoscaler(&self) -> Option<AutoscalerState> {
        self.shared.enter().objects.autoscaler
    }

    /// Lets the cluster's time pass.
    pub async fn pass(&self, span: Duration) {
        self.shared.time.sleep(span).await;
    }

    /// The nodes whose new connections are diverted at present.
    pub fn diverted(&self) -> Vec<NodeName> {
        let world = self.shared.enter();
        let diverted = world.machines.values().filter(|machine| machine.diversion.is_some());
        diverted.map(|machine| machine.node.name.clone()).collect()
    }

    /// Whether the API shows a node as Ready at present.
    pub fn is_ready(&self, node: &NodeName) -> bool {
        self.shared.enter().node_ready(node)
    }

    /// The units that are paused at present.
    pub fn paused(&self) -> Vec<(NodeName, String)> {
        let world = self.shared.enter();
        let paused = |machine: &crate::world::Machine| -> Vec<(NodeName, String)> {
            let stopped = machine.units.iter().filter(|(_, runs)| !**runs);
            stopped.map(|(unit, _)| (machine.node.name.clone(), unit.clone())).collect()
        };
        world.machines.values().flat_map(paused).collect()
    }

    /// SHA-256, mode and owner of every file of a node by path; of a link, the SHA-256 of what it leads to.
    pub fn files(&self, node: &NodeName) -> BTreeMap<String, String> {
        let world = self.shared.enter();
        let Some(machine) = world.machines.get(node) else { return BTreeMap::new() };
        let digest = |path: &str| {
            let entry = machine.disk.entry(path);
            let access = entry.map(|file| format!("{:o} {}", file.mode, file.owner)).unwrap_or_default();
            let digest = machine.disk.known(path).map(|(_, digest)| digest.to_string());
            (path.to_owned(), format!("{} {access}", digest.unwrap_or_default()))
        };
        machine.disk.paths().map(digest).collect()
    }

    /// Somebody removes a file from a node.
    pub fn remove_file(&self, node: &NodeName, path: &str) {
        if let Some(machine) = self.shared.enter().machines.get_mut(node) {
            drop(machine.disk.remove(path));
        }
    }

    /// What kubecert and the node's own supervisors did on a node, without secrets.
    pub fn node_log(&self, node: &NodeName) -> Vec<String> {
        self.shared.enter().machines.get(node).map(|machine| machine.log.clone()).unwrap_or_default()
    }
}

/// How long the SSH adapter tries to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) fn unreachable(what: &str) -> PortError {
    PortError::new(Fault::Unreachable, what, "the connection timed out")
}

/// What all ports share.
#[derive(Debug)]
pub(crate) struct Shared {
    world: Mutex<World>,
    faults: Mutex<Faults>,
    cut_off: Notify,
    pub(crate) time: VirtualTime,
    /// The world's age when it was handed over.
    handed_over: Duration,
}

impl Shared {
    /// The world as it is now.
    pub(crate) fn enter(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.advance(self.handed_over + self.time.age());
        world
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call of a port: a delay, one atomic change of the world, and whatever goes wrong with it.
    pub(crate) async fn call<T>(
        &self,
        what: &str,
        delay: Duration,
        act: impl FnOnce(&mut World) -> PortResult<T> + Send,
    ) -> PortResult<T> {
        let trouble = self.faults().next();
        match trouble {
            Some(Trouble::FailsBefore) => {
                self.time.sleep(delay).await;
                return Err(PortError::new(Fault::Unreachable, what, "the connection was reset"));
            }
            Some(Trouble::CutOffBefore) => self.never(true).await,
            Some(Trouble::AnswerLost | Trouble::CutOffAfter) | None => {}
        }
        self.time.sleep(delay).await;
        if self.faults().cut_off {
            self.never(false).await;
        }
        let outcome = {
            let mut world = self.enter();
            let outcome = act(&mut world);
            world.settle();
            outcome
        };
        match trouble {
            Some(Trouble::AnswerLost) => {
                Err(PortError::new(Fault::Unreachable, what, "the connection broke before the answer came"))
            }
            Some(Trouble::CutOffAfter) => {
                self.never(true).await;
                outcome
            }
            _ => outcome,
        }
    }

    /// A call to a node over SSH, which fails where the node cannot be reached.
    pub(crate) async fn call_on<T>(
        &self,
        node: &NodeName,
        what: &str,
        delay: Duration,
        act: impl FnOnce(&mut World) -> PortResult<T> + Send,
    ) -> PortResult<T> {
        let there = self.enter().reachable(node);
        let delay = if there { delay } else { CONNECT_TIMEOUT };
        self.call(what, delay, |world| {
            if there && world.reachable(node) { act(world) } else { Err(unreachable(what)) }
        })
        .await
    }

    /// A call that is not counted, so that how many there are does not depend on how long things take: the
    /// availability probe's.
    pub(crate) async fn call_unplanned<T>(
        &self,
        delay: Duration,
        act: impl FnOnce(&mut World) -> PortResult<T> + Send,
    ) -> PortResult<T> {
        self.time.sleep(delay).await;
        if self.faults().cut_off {
            self.never(false).await;
        }
        act(&mut self.enter())
    }

    /// Looks again and again until `ready` gives something or fails, and gives up after `patience`.
    pub(crate) async fn wait_until<T>(
        &self,
        what: &str,
        patience: Duration,
        mut ready: impl FnMut(&mut World) -> PortResult<Option<T>> + Send,
    ) -> PortResult<T> {
        /// How often the cluster is looked at while something is waited for.
        const LOOK_AGAIN: Duration = Duration::from_millis(50);
        let mut waited = Duration::ZERO;
        loop {
            let found = ready(&mut self.enter())?;
            if let Some(found) = found {
                return Ok(found);
            }
            if waited >= patience {
                return Err(PortError::new(Fault::Timeout, what, "it did not happen in time"));
            }
            self.time.sleep(LOOK_AGAIN).await;
            waited += LOOK_AGAIN;
        }
    }

    /// The caller is no more: it never comes back from here.
    async fn never(&self, tell: bool) {
        self.faults().cut_off = true;
        if tell {
            self.cut_off.notify_one();
        }
        std::future::pending::<()>().await;
    }
}
