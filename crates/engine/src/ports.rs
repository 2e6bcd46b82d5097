//! The ports: everything the engine may ask of the world, as traits.
//!
//! Adapters (`remote`, `cluster`, `sim`) implement them; third-party types stop at their door. Every operation is
//! idempotent, so that a step can be done again after an interruption, and every error names the thing, the cause and
//! the remedy.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use kubecert_core::inventory::{
    ApiFacts, CaBundleHolder, EtcdMember, FileFacts, NodeFacts, NodeStatus, ObjectRef, ProcessFacts, Server,
    WorkloadRef,
};
use kubecert_core::model::{Component, Node, NodeName, RunId};
use kubecert_core::plan::{Access, ApiObject};
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

/// Who must act on an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It did not answer, or the connection broke: trying again may help.
    Unreachable,
    /// It took longer than it may: trying again may help.
    Timeout,
    /// It answered, and refused (credentials, permissions, a changed host key): the operator must act.
    Refused,
    /// It answered, and the operation failed there.
    Failed,
    /// It answered something that we do not understand.
    Unexpected,
}

/// Why a port could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}: {cause}")]
pub struct PortError {
    /// Who must act.
    pub fault: Fault,
    /// What was being done to what, as a fragment: "cannot write /etc/kubernetes/certs/ca.crt on k8s-master-1-0".
    pub what: String,
    /// The cause as a fragment, the whole chain of it in one line.
    pub cause: String,
    /// What the operator can do, as a sentence.
    pub remedy: Option<String>,
}

impl PortError {
    /// An error without a remedy.
    pub fn new(fault: Fault, what: impl Into<String>, cause: impl fmt::Display) -> Self {
        Self { fault, what: what.into(), cause: cause.to_string(), remedy: None }
    }

    /// The same with a remedy.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Whether trying the same again may help.
    pub const fn is_transient(&self) -> bool {
        matches!(self.fault, Fault::Unreachable | Fault::Timeout)
    }
}

/// What ports return.
pub type PortResult<T> = Result<T, PortError>;

/// A byte stream to somewhere in the cluster.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What to look at on a node.
#[derive(Clone, Debug, Default)]
pub struct NodeQuestion {
    /// Absolute paths of files or directories (one level deep) whose facts are wanted. Symbolic links are followed.
    pub paths: Vec<String>,
    /// Those among them whose text is wanted too; they hold no secret.
    pub texts: Vec<String>,
    /// Components whose processes are wanted.
    pub components: Vec<Component>,
    /// Units of which is asked whether they are active.
    pub units: Vec<String>,
    /// Tools that must be there.
    pub tools: Vec<String>,
}

/// A file to write on a node, with its bytes.
pub struct FileBytes {
    /// Absolute path.
    pub path: String,
    /// The content, or the target of a symbolic link.
    pub bytes: FileContent,
    /// Mode and owner; `None` keeps those of the file that is there.
    pub access: Option<Access>,
}

/// The content of a [`FileBytes`].
pub enum FileContent {
    /// A regular file with these bytes, wiped from memory after use.
    Bytes(Zeroizing<Vec<u8>>),
    /// A symbolic link.
    Link(String),
    /// The bytes, mode and owner that the run's backup on the node holds. A file recorded as absent is removed.
    Original,
}

impl fmt::Debug for FileBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileBytes").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A file as it was found after writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenFile {
    /// Absolute path.
    pub path: String,
    /// SHA-256 read back from the node, lower-case hexadecimal.
    pub sha256: String,
    /// Whether the file already held exactly this and was left alone.
    pub unchanged: bool,
}

/// New connections to this node's API server go to a neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diversion {
    /// This node's own address.
    pub from: IpAddr,
    /// The neighbour's address.
    pub to: IpAddr,
    /// The API's port on both.
    pub port: u16,
    /// After this time a timer on the node takes the rules away, whatever became of kubecert.
    pub expires: Duration,
}

/// A client that an API server's audit log shows, with the certificate that it presented.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditedClient {
    /// SHA-256 of the certificate, lower-case hexadecimal (`authentication.kubernetes.io/credential-id`, Kubernetes 1.32
    /// and later).
    pub fingerprint: String,
    /// The user that it names.
    pub user: String,
    /// The program, as it calls itself.
    pub agent: String,
    /// From where the last request came.
    pub source: String,
    /// The first and the last request in the log.
    pub first: Timestamp,
    /// See [`AuditedClient::first`].
    pub last: Timestamp,
}

/// Who listens on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// The unit's main process.
    pub process: u32,
    /// The kernel's numbers of the listening sockets.
    pub sockets: Vec<u64>,
}

impl Listening {
    /// Whether every socket of `before` listens still, and its main process is the same: nobody who was waiting to be accepted
    /// was sent away. A restart has other sockets.
    pub fn goes_on_from(&self, before: &Listening) -> bool {
        self.process == before.process && before.sockets.iter().all(|socket| self.sockets.contains(socket))
    }
}

/// What holds a credential on a machine and reads its file at its start, without being a component of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A systemd unit.
    Unit(String),
    /// A static pod, by the name in its manifest.
    StaticPod(String),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit(name) => write!(f, "unit {name}"),
            Self::StaticPod(name) => write!(f, "static pod {name}"),
        }
    }
}

/// What became of a holder that was to be restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restarted {
    /// Another process runs, started after the file came.
    Yes,
    /// The process that runs was started after the file came already.
    NotNeeded,
    /// Nothing of it runs: whoever starts it starts it with the file as it is now.
    NotRunning,
}

/// How a component came to run that was started without what it makes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartedBy {
    /// By its service.
    Restart,
    /// By AKS engine's reset of the whole node, since the service alone did not bring it about.
    NodeReset,
}

/// The nodes, over SSH.
///
/// Everything that is done on a node is appended to `/var/log/azure/rotate-certs.log` there (on Windows to
/// `c:\k\rotate-certs.log`), without secrets.
#[async_trait]
pub trait Nodes: Send + Sync {
    /// Tells what the nodes run, before any of them is spoken to; one of which nothing was told runs Linux.
    fn learn(&self, nodes: &[Node]) {
        let _all_alike = nodes;
    }

    /// Opens the session to a node, so that later calls are quick and errors come early.
    async fn connect(&self, node: &NodeName) -> PortResult<()>;

    /// Looks at files, processes, units, clock and disk. Changes nothing.
    async fn look(&self, node: &NodeName, question: &NodeQuestion) -> PortResult<NodeFacts>;

    /// Reads a whole file; `None` if there is none.
    async fn read(&self, node: &NodeName, path: &str) -> PortResult<Option<Zeroizing<Vec<u8>>>>;

    /// Copies files to the run's backup directory on the node, keeping mode, owner and times. Copies that are there
    /// are never overwritten; files that do not exist are recorded as absent.
    async fn back_up(&self, node: &NodeName, run: &RunId, paths: &[String]) -> PortResult<()>;

    /// Writes files in order, each atomically: temporary file in the same directory, mode and owner before content,
    /// sync, rename, directory sync, digest read back.
    async fn write(
        &self,
        node: &NodeName,
        run: &RunId,
        files: Vec<FileBytes>,
    ) -> PortResult<Vec<WrittenFile>>;

    /// Removes files and directories; those that are absent are fine.
    async fn remove(&self, node: &NodeName, paths: &[String]) -> PortResult<()>;

    /// Stops units; a timer on the node starts them again after `expires`.
    async fn pause_units(&self, node: &NodeName, units: &[String], expires: Duration) -> PortResult<()>;

    /// Starts units again and takes the timer away.
    async fn resume_units(&self, node: &NodeName, units: &[String]) -> PortResult<()>;

    /// Diverts new connections. Rules that are there already are not doubled; the timer starts anew.
    async fn divert(&self, node: &NodeName, diversion: &Diversion) -> PortResult<()>;

    /// Takes any diversion of ours away, and its timer.
    async fn undivert(&self, node: &NodeName) -> PortResult<()>;

    /// Puts a static pod's manifest in place (temporary file outside the manifest directory, rename into it), lets
    /// requests in flight finish for `grace`, then ends the old process and waits until another one runs.
    /// If the manifest is already there byte for byte and the process is younger than it, nothing happens.
    async fn replace_static_pod(
        &self,
        node: &NodeName,
        run: &RunId,
        component: Component,
        manifest: FileBytes,
        grace: Duration,
    ) -> PortResult<ProcessFacts>;

    /// Ends a process that something else starts again, and waits until another one runs.
    async fn end_process(&self, node: &NodeName, component: Component) -> PortResult<ProcessFacts>;

    /// Restarts a unit and waits until its process runs.
    async fn restart_unit(
        &self,
        node: &NodeName,
        unit: &str,
        component: Component,
    ) -> PortResult<ProcessFacts>;

    /// Restarts a holder of `file` whose process was started before that file came to its place, and waits until another one
    /// runs. One that does not run is left so.
    async fn restart_holder(&self, node: &NodeName, holder: &Holder, file: &str) -> PortResult<Restarted> {
        let what = format!("cannot restart {holder}, which reads {file}, on {node}");
        Err(PortError::new(Fault::Unexpected, what, "only components are restarted here"))
    }

    /// Reloads a unit that listens on `port`, and says what listened there before.
    async fn reload_unit(&self, node: &NodeName, unit: &str, port: u16) -> PortResult<Listening> {
        let _nowhere = port;
        let what = format!("cannot reload {unit} on {node}");
        Err(PortError::new(Fault::Unexpected, what, "units are not reloaded here"))
    }

    /// What listens on `port` for a unit. Changes nothing.
    async fn listening(&self, node: &NodeName, unit: &str, port: u16) -> PortResult<Listening> {
        let what = format!("cannot see whether {unit} listens on port {port} of {node}");
        Err(PortError::new(Fault::Unexpected, what, "sockets are not looked at here"))
    }

    /// Stops a service, removes `forget`, starts it again, and waits until its process runs and has made the first of them
    /// anew. Windows only.
    async fn start_afresh(
        &self,
        node: &NodeName,
        unit: &str,
        component: Component,
        forget: &[String],
    ) -> PortResult<(ProcessFacts, StartedBy)> {
        let _nowhere = (unit, forget);
        let what = format!("cannot start {component} on {node} afresh");
        Err(PortError::new(Fault::Unexpected, what, "no node here runs Windows"))
    }

    /// What a run has left on the node: its id, and the files of the question as that run found them. `None` where no run
    /// has backed anything up.
    async fn remains(
        &self,
        node: &NodeName,
        question: &NodeQuestion,
    ) -> PortResult<Option<(RunId, Vec<FileFacts>)>>;

    /// The clients with certificates that an API server's audit log on the node shows; none where the log does not tell
    /// credentials.
    async fn audited_clients(&self, node: &NodeName, log: &str) -> PortResult<Vec<AuditedClient>>;

    /// Opens a TCP connection from the node to `host:port`.
    async fn dial(&self, node: &NodeName, host: &str, port: u16) -> PortResult<Box<dyn Stream>>;
}

/// A client's identity: certificate chain as DER, leaf first, and its private key as PKCS#8 DER.
#[derive(Clone)]
pub struct Identity {
    /// The chain.
    pub chain: Vec<Vec<u8>>,
    /// The key, wiped from memory after use.
    pub key: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("chain", &self.chain.len()).finish_non_exhaustive()
    }
}

/// What a client trusts and presents.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Trusted roots as DER.
    pub roots: Vec<Vec<u8>>,
    /// Who the client is; `None` for an anonymous one.
    pub identity: Option<Identity>,
}

/// What a server showed in a handshake.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// The certificates that it presented as DER, leaf first.
    pub chain: Vec<Vec<u8>>,
    /// The client CAs that it names, as DER of their Names. Empty if it asks for no client certificate.
    pub client_ca_names: Vec<Vec<u8>>,
}

/// TLS probes: what a running server presents and trusts, seen from outside.
///
/// The server is reached through its own node, so that neither a load balancer nor a diversion stands between: the API
/// server and etcd's client port at 127.0.0.1, etcd's peer port and the kubelet at the node's own address.
#[async_trait]
pub trait Probe: Send + Sync {
    /// Shakes hands without a credential and verifies nothing.
    async fn handshake(&self, server: &Server) -> PortResult<Handshake>;

    /// Sends `GET path` with these credentials and returns the HTTP status. A refusal of the client certificate, which
    /// with TLS 1.3 shows only on the first read, is [`Fault::Refused`].
    async fn get(&self, server: &Server, credentials: &Credentials, path: &str) -> PortResult<u16>;
}

/// Progress of a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rollout {
    /// All pods are of the new template and ready.
    Complete,
    /// Not yet; a fragment that says what is missing: "1 of 2 pods updated".
    Under(String),
}

/// The lease of the controller manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// `holderIdentity`: the host name, an underscore and a random part.
    pub holder: String,
    /// `acquireTime`.
    pub acquired: Option<Timestamp>,
    /// `renewTime`.
    pub renewed: Option<Timestamp>,
}

impl Lease {
    /// The host name of the holder; empty if there is none.
    pub fn host(&self) -> &str {
        self.holder.split('_').next().unwrap_or_default()
    }
}

/// What `extension-apiserver-authentication` holds, as PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtensionAuthentication {
    /// `client-ca-file`.
    pub client_ca: String,
    /// `requestheader-client-ca-file`.
    pub requestheader_client_ca: String,
}

/// A pod that holds the roots of its namespace as they were before they changed last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldPod {
    /// Which one.
    pub pod: ObjectRef,
    /// Its uid.
    pub uid: String,
    /// The kind of what controls it; `None` for a bare pod.
    pub controller: Option<String>,
    /// When the container of it that has run longest was started.
    pub started: Timestamp,
    /// When the roots of its namespace changed last.
    pub published: Timestamp,
}

/// The Kubernetes API, through the cluster's public endpoint.
#[async_trait]
pub trait KubeApi: Send + Sync {
    /// Sets the credentials to use from now on. The first is tried first; the others where it is not accepted.
    async fn use_credentials(&self, credentials: Vec<Credentials>) -> PortResult<()>;

    /// Everything that an inventory wants.
    async fn look(&self) -> PortResult<ApiFacts>;

    /// The nodes.
    async fn nodes(&self) -> PortResult<Vec<NodeStatus>>;

    /// `kube-root-ca.crt` of each namespace: namespace and PEM (empty if it is not there yet).
    async fn published_roots(&self) -> PortResult<Vec<(String, String)>>;

    /// `ca.crt` of each service-account token Secret, as PEM.
    async fn token_secret_roots(&self) -> PortResult<Vec<(ObjectRef, String)>>;

    /// The controller manager's lease.
    async fn controller_manager_lease(&self) -> PortResult<Lease>;

    /// Releases the controller manager's lease as its holder would, if `holder` still holds it: another may take it at
    /// once. An adapter that cannot do this lets it run out.
    async fn release_controller_manager_lease(&self, holder: &str) -> PortResult<()> {
        let _runs_out = holder;
        Ok(())
    }

    /// `kube-system/extension-apiserver-authentication`; `None` while it does not exist.
    async fn extension_authentication(&self) -> PortResult<Option<ExtensionAuthentication>>;

    /// Writes these CAs into it in the place of those that are there; the API servers add what they trust besides. That it
    /// does not exist is fine.
    async fn rebuild_extension_authentication(&self, only: &ExtensionAuthentication) -> PortResult<()>;

    /// Starts a rollout by the annotation `kubectl.kubernetes.io/restartedAt` with this value; a workload that already
    /// has this value is left alone.
    async fn restart(&self, workload: &WorkloadRef, stamp: &str) -> PortResult<()>;

    /// How far a rollout is. A workload that no longer exists is complete.
    async fn rollout(&self, workload: &WorkloadRef) -> PortResult<Rollout>;

    /// Deletes a bare pod and creates it again from its specification, marked with `stamp`; waits until it is Ready. A
    /// pod already marked with `stamp` is only waited for. A specification is kept in `keep` before the deletion, and
    /// taken from there if an earlier attempt was cut off between deletion and creation.
    async fn recreate_pod(&self, pod: &ObjectRef, stamp: &str, keep: &dyn Keep) -> PortResult<()>;

    /// Blanks `token` in a service-account token Secret and waits until the controller manager has signed a new one; a
    /// Secret already marked with `stamp` is only waited for.
    async fn renew_token_secret(&self, secret: &ObjectRef, stamp: &str) -> PortResult<()>;

    /// Replaces `tls.crt` and `tls.key` of a TLS Secret, and `ca.crt` where it has one.
    async fn write_tls_secret(
        &self,
        secret: &ObjectRef,
        chain: &str,
        key: &Zeroizing<String>,
        roots: &str,
    ) -> PortResult<()>;

    /// Replaces a `caBundle` by this PEM.
    async fn set_ca_bundle(&self, holder: &CaBundleHolder, roots: &str) -> PortResult<()>;

    /// Replaces the CAs in `kube-public/cluster-info`, given as PEM; whether there is one.
    async fn publish_cluster_info(&self, roots: &str) -> PortResult<bool> {
        let _nowhere = roots;
        let what = "cannot write configmap kube-public/cluster-info";
        Err(PortError::new(Fault::Unexpected, what, "no cluster here has one"))
    }

    /// Keeps what an object is before the run changes it, once: what is kept already stays.
    async fn remember(&self, object: &ApiObject, keep: &dyn Keep) -> PortResult<()>;

    /// Puts an object back as it was when it was remembered; one that was not is left alone. Pods of a workload that
    /// were created before that moment are replaced, a few at a time and within their disruption budgets, since the
    /// files that they mount follow what is published with delay; a bare pod is created again.
    async fn put_back(
        &self,
        object: &ApiObject,
        created_before: Timestamp,
        keep: &dyn Keep,
    ) -> PortResult<()>;

    /// Pods that run, mount the roots of their namespace, and were started before those changed last.
    async fn old_pods(&self) -> PortResult<Vec<OldPod>>;

    /// One round of replacing the pods of a DaemonSet that were created before that moment, on all nodes but those: a tenth
    /// at a time, and the next when those are ready.
    async fn replace_daemon_pods(
        &self,
        workload: &WorkloadRef,
        created_before: Timestamp,
        except: &[NodeName],
    ) -> PortResult<Rollout>;

    /// Asks a pod to go within its disruption budget; only the one with that uid. That it is gone is fine.
    async fn evict(&self, pod: &ObjectRef, uid: &str) -> PortResult<()>;

    /// APIServices served by an aggregated API server that are not Available, with their messages.
    async fn unavailable_aggregated_apis(&self) -> PortResult<Vec<(String, String)>>;

    /// Scales the Deployment `kube-system/cluster-autoscaler` to zero, and remembers on it in the same request how many
    /// replicas it had ([`AUTOSCALER_ANNOTATION`]). One that is remembered already keeps what is remembered. An adapter
    /// whose clusters have none says so.
    async fn pause_autoscaler(&self) -> PortResult<Autoscaler> {
        Ok(Autoscaler::Absent)
    }

    /// Gives it its replicas back, and says how many; `None` where nothing is remembered. One that somebody else has
    /// scaled meanwhile stays as it is and only forgets.
    async fn resume_autoscaler(&self) -> PortResult<Option<u32>> {
        Ok(None)
    }
}

/// Where it is remembered how many replicas the cluster-autoscaler had.
pub const AUTOSCALER_ANNOTATION: &str = "kubecert/replicas-before-rotation";

/// The cluster-autoscaler, after it was asked to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Autoscaler {
    /// There is none.
    Absent,
    /// Somebody else has scaled it to zero.
    Off,
    /// It rests, and had so many replicas.
    Paused {
        /// How many.
        replicas: u32,
    },
}

/// A place that survives kubecert, for what would be lost if it were cut off (the run directory's backup).
#[async_trait]
pub trait Keep: Send + Sync {
    /// Stores bytes under a name, durably, before it returns.
    async fn put(&self, name: &str, bytes: &[u8]) -> PortResult<()>;

    /// What was stored under that name.
    async fn get(&self, name: &str) -> PortResult<Option<Vec<u8>>>;
}

/// etcd, each member through its own node at 127.0.0.1:2379.
#[async_trait]
pub trait Etcd: Send + Sync {
    /// Sets the credentials to use from now on. The first is tried first; the others where it is not accepted.
    async fn use_credentials(&self, credentials: Vec<Credentials>) -> PortResult<()>;

    /// Each member's state; a member that does not answer is listed as not healthy.
    async fn members(&self) -> PortResult<Vec<EtcdMember>>;

    /// If the member on `from` leads, lets the one on `to` lead instead.
    async fn yield_leadership(&self, from: &NodeName, to: &NodeName) -> PortResult<()>;

    /// The value of a key.
    async fn get(&self, key: &str) -> PortResult<Option<Vec<u8>>>;

    /// Sets keys, all in one transaction.
    async fn put(&self, pairs: &[(String, Zeroizing<Vec<u8>>)]) -> PortResult<()>;
}

/// One request of the availability probe: a read and a write through the cluster's public endpoint over a connection of
/// its own.
#[async_trait]
pub trait Availability: Send + Sync {
    /// Creates the object that the probe writes to.
    async fn prepare(&self, credentials: &Credentials) -> PortResult<()>;

    /// One read and one write; the number makes each write different.
    async fn once(&self, credentials: &Credentials, number: u64) -> PortResult<()>;

    /// Removes the object.
    async fn clean_up(&self, credentials: &Credentials) -> PortResult<()>;
}

/// How a machine of the cloud is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachinePower {
    /// It runs.
    Running,
    /// It does not, in the cloud's own word: `deallocated`, `stopped`, `starting`.
    Not(String),
    /// The cloud does not say.
    Unknown,
}

impl fmt::Display for MachinePower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running"),
            Self::Not(state) => f.write_str(state),
            Self::Unknown => f.write_str("in a state that the cloud does not tell"),
        }
    }
}

/// A machine of the cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The node that it is, or would be.
    pub node: NodeName,
    /// What the cloud calls it, for people: `virtual machine k8s-master-11223509-0`.
    pub resource: String,
    /// How it is.
    pub power: MachinePower,
}

/// The machines, as the cloud that runs them knows them.
#[async_trait]
pub trait Machines: Send + Sync {
    /// All machines that could be nodes of the cluster, and perhaps others beside them.
    async fn list(&self) -> PortResult<Vec<Machine>>;

    /// How one is.
    async fn power(&self, node: &NodeName) -> PortResult<MachinePower>;

    /// Restarts one, and waits until the cloud has done so. Whether the node serves again is for others to see.
    async fn restart(&self, node: &NodeName) -> PortResult<()>;
}

/// The clock. What it promises: it never goes back within one process.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Everything together.
#[derive(Clone)]
pub struct Ports {
    /// The nodes.
    pub nodes: std::sync::Arc<dyn Nodes>,
    /// The TLS probes.
    pub probe: std::sync::Arc<dyn Probe>,
    /// The Kubernetes API.
    pub api: std::sync::Arc<dyn KubeApi>,
    /// etcd.
    pub etcd: std::sync::Arc<dyn Etcd>,
    /// The availability probe.
    pub availability: std::sync::Arc<dyn Availability>,
    /// The clock.
    pub clock: std::sync::Arc<dyn Clock>,
    /// The machines, where the cloud that runs them may be asked.
    pub machines: Option<std::sync::Arc<dyn Machines>>,
}
