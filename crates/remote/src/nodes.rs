//! The port `Nodes` over SSH: one bastion connection, and through it at most one session a node, for a few dozen nodes at
//! a time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable as _};
use kubecert_core::inventory::{FileFacts, NodeFacts, ProcessFacts};
use kubecert_core::model::{Component, Node, NodeName, OperatingSystem, RunId};
use kubecert_engine::ports::{
    AuditedClient, Diversion, Fault, FileBytes, Holder, Listening, NodeQuestion, Nodes, PortError,
    PortResult, Restarted, StartedBy, Stream, WrittenFile,
};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use crate::config::SshConfig;
use crate::exec::{Exec, Job, Output};
use crate::ops::{self, Restart};
use crate::session::Session;

/// How many handshakes are under way at once.
///
/// sshd begins to drop connections at random when ten are not logged in yet (`MaxStartups 10:30:100`). All nodes are
/// reached through the bastion, but the handshakes are with different sshds; eight keeps clear of the limit even where
/// names of several nodes lead to one machine.
const HANDSHAKES: usize = 8;

/// How many sessions to nodes are open at once.
///
/// Each is a connection that the bastion's sshd makes for us, a descriptor of the 1,024 that it may have by default, and
/// about 100 KiB here; so a cluster of thousands of nodes is visited with the sessions of a few dozen. What is longest
/// idle is closed for what is needed next. More than twice the agents that are in hand at the same time
/// (`Limits::agents_at_once`), so that no node is logged in to again in the course of its visit; fewer than the tunnels
/// that a session allows, so that a tunnel that is about to close is in nobody's way.
const SESSIONS: usize = 48;

/// How long is waited for a session to become idle before it is looked for again. A tunnel ends without telling.
const IDLE: Duration = Duration::from_millis(500);

/// How a node is tried again that does not answer: after 0.5 s and after 1 s.
///
/// Enough for an sshd that drops a connection because others log in at the same time, or that restarts; a node that is
/// away for longer is the caller's to wait for.
fn retry() -> ExponentialBuilder {
    ExponentialBuilder::default().with_min_delay(Duration::from_millis(500)).with_max_times(2).with_jitter()
}

/// A place for one session that is opened when it is first needed, and again when it has broken.
type Slot = Arc<Mutex<Option<Open>>>;

/// A session that is open, and its place among those that may be.
#[derive(Debug)]
struct Open {
    session: Arc<Session>,
    /// When it was last asked for.
    used: Instant,
    _place: OwnedSemaphorePermit,
}

impl Open {
    /// Whether nobody uses it or is about to.
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.session) == 1 && self.session.is_idle()
    }
}

/// The nodes of one cluster, over SSH.
#[derive(Debug)]
pub struct SshNodes {
    config: Arc<SshConfig>,
    bastion: Mutex<Option<Arc<Session>>>,
    nodes: std::sync::Mutex<BTreeMap<NodeName, Slot>>,
    /// What nodes run that do not run Linux.
    systems: std::sync::Mutex<BTreeMap<NodeName, OperatingSystem>>,
    learnt: std::sync::Mutex<BTreeMap<NodeName, IpAddr>>,
    /// The slots of the sessions that are open.
    open: std::sync::Mutex<Vec<Slot>>,
    places: Arc<Semaphore>,
    /// Held by the one who looks for a place; the others stand in line behind it, however many they are.
    turn: Mutex<()>,
    /// Told whenever a session may have become idle.
    idle: Notify,
    handshakes: Semaphore,
}

impl SshNodes {
    /// Logs in to the bastion, so that what is wrong with host, user, key or host key is told before anything is done.
    ///
    /// # Errors
    ///
    /// When the bastion cannot be reached, is not who it was, or does not let us in.
    pub async fn connect_bastion(config: SshConfig) -> PortResult<Self> {
        let nodes = Self {
            config: Arc::new(config),
            bastion: Mutex::default(),
            nodes: std::sync::Mutex::default(),
            systems: std::sync::Mutex::default(),
            learnt: std::sync::Mutex::default(),
            open: std::sync::Mutex::default(),
            places: Arc::new(Semaphore::new(SESSIONS)),
            turn: Mutex::default(),
            idle: Notify::new(),
            handshakes: Semaphore::new(HANDSHAKES),
        };
        nodes.bastion().await?;
        Ok(nodes)
    }

    async fn bastion(&self) -> PortResult<Arc<Session>> {
        let mut slot = self.bastion.lock().await;
        if let Some(session) = slot.as_ref().filter(|session| !session.is_closed()) {
            return Ok(Arc::clone(session));
        }
        let SshConfig { bastion_host: host, bastion_port: port, connect_timeout, .. } = &*self.config;
        let what = format!("cannot reach the SSH host {host}:{port}");
        let opening = async {
            let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(|source| {
                PortError::new(Fault::Unreachable, &what, source).remedy(
                    "See that the name is right, that its sshd runs, and that no firewall is in between.",
                )
            })?;
            // Nagle's algorithm would hold back the small messages of which all that is done here consists.
            let _ = stream.set_nodelay(true);
            Session::open(&self.config, OperatingSystem::Linux, host, *port, stream).await
        };
        let session = match timeout(*connect_timeout, opening).await {
            Ok(session) => Arc::new(session?),
            Err(_) => {
                let cause = format!("no login within {} s", connect_timeout.as_secs());
                return Err(PortError::new(Fault::Timeout, what, cause)
                    .remedy("See that its sshd runs and that no firewall is in between."));
            }
        };
        session.hasten().await;
        *slot = Some(Arc::clone(&session));
        Ok(session)
    }

    /// The session to a node. A node that does not answer is tried again a little later.
    async fn session(&self, node: &NodeName) -> PortResult<Arc<Session>> {
        let slot = {
            let mut nodes = self.nodes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            Arc::clone(nodes.entry(node.clone()).or_default())
        };
        // Whoever comes second waits for the first one's handshake instead of starting another.
        let mut inner = slot.lock().await;
        if let Some(open) = inner.as_mut().filter(|open| !open.session.is_closed()) {
            open.used = Instant::now();
            return Ok(Arc::clone(&open.session));
        }
        if inner.take().is_some() {
            self.open_slots().retain(|other| !Arc::ptr_eq(other, &slot));
        }
        let place = self.place().await;
        let session = (|| self.open(node)).retry(retry()).when(PortError::is_transient).await?;
        let session = Arc::new(session);
        *inner = Some(Open { session: Arc::clone(&session), used: Instant::now(), _place: place });
        self.open_slots().push(Arc::clone(&slot));
        Ok(session)
    }

    fn open_slots(&self) -> std::sync::MutexGuard<'_, Vec<Slot>> {
        self.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A place for one more session. Where there is none, the session that is longest idle is closed; where none is idle,
    /// one of them becomes so when its script has ended, which takes no longer than the script's limit.
    async fn place(&self) -> OwnedSemaphorePermit {
        let _turn = self.turn.lock().await;
        loop {
            if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                return place;
            }
            match self.take_longest_idle() {
                Some(open) => open.session.close().await,
                None => drop(timeout(IDLE, self.idle.notified()).await),
            }
        }
    }

    fn take_longest_idle(&self) -> Option<Open> {
        let mut slots = self.open_slots();
        // A slot that is locked is about to be used.
        let used =
            |slot: &Slot| slot.try_lock().ok()?.as_ref().filter(|open| open.is_idle()).map(|open| open.used);
        let idle = slots.iter().enumerate().filter_map(|(at, slot)| Some((used(slot)?, at)));
        let (_, at) = idle.min()?;
        let open = slots[at].try_lock().ok()?.take_if(|open| open.is_idle())?;
        slots.swap_remove(at);
        Some(open)
    }

    fn system(&self, node: &NodeName) -> OperatingSystem {
        let systems = self.systems.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        systems.get(node).copied().unwrap_or_default()
    }

    fn is_windows(&self, node: &NodeName) -> bool {
        self.system(node) == OperatingSystem::Windows
    }

    const fn way<'a>(&'a self, node: &'a NodeName) -> Way<'a> {
        Way { nodes: self, node }
    }

    async fn open(&self, node: &NodeName) -> PortResult<Session> {
        let config = &self.config;
        let what = format!("cannot reach node {node} through {}", config.bastion_host);
        let learnt = self.learnt.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(node).copied();
        let learnt = learnt.filter(|_| config.by_learnt_address).map(|address| address.to_string());
        let (address, port) = match config.addresses.get(node) {
            Some((address, port)) => (address.as_str(), *port),
            None => (learnt.as_deref().unwrap_or(node.as_str()), config.node_port),
        };
        let bastion = self.bastion().await?;
        // The semaphore is never closed, so that waiting for it cannot fail.
        let _permit = self.handshakes.acquire().await;
        let opening = async {
            let tunnel = bastion.tunnel(address, port).await.map_err(|mut error| {
                error.remedy.get_or_insert_with(|| {
                    format!(
                        "See that {address} resolves on the SSH host, that the node runs, and that its sshd listens on \
                         port {port}."
                    )
                });
                error
            })?;
            Session::open(config, self.system(node), node.as_str(), port, tunnel).await
        };
        match timeout(config.connect_timeout, opening).await {
            Ok(session) => session,
            Err(_) => {
                let cause = format!("no login within {} s", config.connect_timeout.as_secs());
                Err(PortError::new(Fault::Timeout, what, cause)
                    .remedy("See that the node runs, and that its sshd answers from the SSH host."))
            }
        }
    }
}

/// The way to one node.
struct Way<'a> {
    nodes: &'a SshNodes,
    node: &'a NodeName,
}

#[async_trait]
impl Exec for Way<'_> {
    async fn output(&self, job: &Job) -> PortResult<Output> {
        let session = self.nodes.session(self.node).await?;
        let output = match session.begin(job).await {
            Ok(started) => session.finish(job, started).await,
            // A session that died unnoticed shows only when it is used. Nothing has been done yet, so a new one serves.
            Err(error) if error.is_transient() && session.is_closed() => {
                let session = self.nodes.session(self.node).await?;
                let started = session.begin(job).await?;
                session.finish(job, started).await
            }
            Err(error) => Err(error),
        };
        drop(session);
        self.nodes.idle.notify_one();
        output
    }
}

#[async_trait]
impl Nodes for SshNodes {
    fn learn(&self, nodes: &[Node]) {
        let mut systems = self.systems.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        systems.extend(nodes.iter().map(|node| (node.name.clone(), node.system)));
        let mut learnt = self.learnt.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        learnt.extend(nodes.iter().filter_map(|node| Some((node.name.clone(), node.address?))));
    }

    async fn connect(&self, node: &NodeName) -> PortResult<()> {
        let connected = self.session(node).await.map(drop);
        self.idle.notify_one();
        connected
    }

    async fn look(&self, node: &NodeName, question: &NodeQuestion) -> PortResult<NodeFacts> {
        if self.is_windows(node) {
            return ops::windows::look(&self.way(node), node, question).await;
        }
        ops::look(&self.way(node), node, question).await
    }

    async fn read(&self, node: &NodeName, path: &str) -> PortResult<Option<Zeroizing<Vec<u8>>>> {
        if self.is_windows(node) {
            return ops::windows::read(&self.way(node), node, path).await;
        }
        ops::read(&self.way(node), node, path).await
    }

    async fn remains(
        &self,
        node: &NodeName,
        question: &NodeQuestion,
    ) -> PortResult<Option<(RunId, Vec<FileFacts>)>> {
        if self.is_windows(node) {
            return ops::windows::remains(&self.way(node), node, question).await;
        }
        ops::remains(&self.way(node), node, question).await
    }

    async fn audited_clients(&self, node: &NodeName, log: &str) -> PortResult<Vec<AuditedClient>> {
        ops::audited_clients(&self.way(node), node, log).await
    }

    async fn back_up(&self, node: &NodeName, run: &RunId, paths: &[String]) -> PortResult<()> {
        if self.is_windows(node) {
            return ops::windows::back_up(&self.way(node), node, run, paths).await;
        }
        ops::back_up(&self.way(node), node, run, paths).await
    }

    async fn write(
        &self,
        node: &NodeName,
        run: &RunId,
        files: Vec<FileBytes>,
    ) -> PortResult<Vec<WrittenFile>> {
        if self.is_windows(node) {
            return ops::windows::write(&self.way(node), node, run, files).await;
        }
        ops::write(&self.way(node), node, run, files).await
    }

    async fn remove(&self, node: &NodeName, paths: &[String]) -> PortResult<()> {
        if self.is_windows(node) {
            return ops::windows::remove(&self.way(node), node, paths).await;
        }
        ops::remove(&self.way(node), node, paths).await
    }

    async fn pause_units(&self, node: &NodeName, units: &[String], expires: Duration) -> PortResult<()> {
        ops::pause_units(&self.way(node), node, units, expires).await
    }

    async fn resume_units(&self, node: &NodeName, units: &[String]) -> PortResult<()> {
        ops::resume_units(&self.way(node), node, units).await
    }

    async fn divert(&self, node: &NodeName, diversion: &Diversion) -> PortResult<()> {
        ops::divert(&self.way(node), node, diversion).await
    }

    async fn undivert(&self, node: &NodeName) -> PortResult<()> {
        ops::undivert(&self.way(node), node).await
    }

    async fn replace_static_pod(
        &self,
        node: &NodeName,
        run: &RunId,
        component: Component,
        manifest: FileBytes,
        grace: Duration,
    ) -> PortResult<ProcessFacts> {
        let restart = Restart { run, component, manifest, grace };
        ops::replace_static_pod(&self.way(node), node, restart).await
    }

    async fn end_process(&self, node: &NodeName, component: Component) -> PortResult<ProcessFacts> {
        ops::end_process(&self.way(node), node, component).await
    }

    async fn restart_unit(
        &self,
        node: &NodeName,
        unit: &str,
        component: Component,
    ) -> PortResult<ProcessFacts> {
        if self.is_windows(node) {
            return ops::windows::restart_unit(&self.way(node), node, unit, component).await;
        }
        ops::restart_unit(&self.way(node), node, unit, component).await
    }

    async fn restart_holder(&self, node: &NodeName, holder: &Holder, file: &str) -> PortResult<Restarted> {
        if self.is_windows(node) {
            let what = format!("cannot restart {holder}, which reads {file}, on {node}");
            return Err(PortError::new(Fault::Unexpected, what, "holders are not restarted on Windows"));
        }
        ops::restart_holder(&self.way(node), node, holder, file).await
    }

    async fn reload_unit(&self, node: &NodeName, unit: &str, port: u16) -> PortResult<Listening> {
        ops::listening(&self.way(node), node, (unit, port), ops::Reload::First).await
    }

    async fn listening(&self, node: &NodeName, unit: &str, port: u16) -> PortResult<Listening> {
        ops::listening(&self.way(node), node, (unit, port), ops::Reload::No).await
    }

    async fn start_afresh(
        &self,
        node: &NodeName,
        unit: &str,
        component: Component,
        forget: &[String],
    ) -> PortResult<(ProcessFacts, StartedBy)> {
        ops::windows::start_afresh(&self.way(node), node, unit, component, forget).await
    }

    async fn dial(&self, node: &NodeName, host: &str, port: u16) -> PortResult<Box<dyn Stream>> {
        Ok(Box::new(self.session(node).await?.tunnel(host, port).await?))
    }
}
