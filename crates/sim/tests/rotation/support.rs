//! What all these tests share.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kubecert_core::event::{Event, RunOutcome};
use kubecert_core::intent::{Intent, Why};
use kubecert_core::model::TrustDomain;
use kubecert_core::plan::Plan;
use kubecert_core::testing::wrong::Mutation;
use kubecert_engine::ports::{Fault, PortError, PortResult};
use kubecert_engine::run::{Ended, OperatorFiles, RunError, Setup, look, rotate, rotate_wrong};
use kubecert_engine::vault::{PkiSet, Vault};
use kubecert_sim::{SimCluster, SimConfig};
use tokio::sync::Notify;

/// An operator whose files are kept in memory.
#[derive(Default)]
pub(crate) struct Operator {
    written: Mutex<Option<PkiSet>>,
}

impl Operator {
    /// The PKI that was written, if it was.
    pub(crate) fn new_pki(&self) -> Option<PkiSet> {
        self.written.lock().unwrap().clone()
    }
}

#[async_trait]
impl OperatorFiles for Operator {
    async fn announce(&self, _vault: &Vault) -> PortResult<()> {
        Ok(())
    }

    async fn write(&self, vault: &Vault) -> PortResult<()> {
        *self.written.lock().unwrap() = Some(vault.result());
        Ok(())
    }
}

/// A cluster with whoever operates it.
pub(crate) struct Bench {
    pub(crate) sim: SimCluster,
    pub(crate) operator: Arc<Operator>,
    pub(crate) state: tempfile::TempDir,
    cancel: tokio::sync::watch::Sender<bool>,
    /// After how many events the run is cut off.
    cut_at_event: Arc<AtomicI64>,
    pub(crate) cut: Arc<Notify>,
}

impl Bench {
    pub(crate) fn new(config: &SimConfig) -> Self {
        Self {
            sim: SimCluster::new(config).unwrap(),
            operator: Arc::new(Operator::default()),
            state: quick_directory(),
            cancel: tokio::sync::watch::channel(false).0,
            cut_at_event: Arc::new(AtomicI64::new(i64::MAX)),
            cut: Arc::new(Notify::new()),
        }
    }

    pub(crate) fn setup(&self, old: PkiSet) -> Setup {
        let print = std::env::var_os("KUBECERT_SIM_PRINT").is_some();
        let (left, cut) = (self.cut_at_event.clone(), self.cut.clone());
        Setup {
            ports: self.sim.ports(),
            cluster: self.sim.cluster(),
            old,
            given: None,
            operator: self.operator.clone(),
            state: self.state.path().to_owned(),
            only: None,
            program: "test".to_owned(),
            decisions: kubecert_engine::run::Decisions::default(),
            events: Arc::new(move |event: Event| {
                if print {
                    println!("{event:?}");
                }
                if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                    cut.notify_one();
                }
            }),
            cancelled: self.cancel.subscribe(),
        }
    }

    /// Rotates, or goes on where a run was cut off.
    pub(crate) async fn rotate(&self) -> Result<Ended, RunError> {
        self.rotate_from(self.sim.old_pki()).await
    }

    /// The same with another PKI in force.
    pub(crate) async fn rotate_from(&self, old: PkiSet) -> Result<Ended, RunError> {
        self.rotate_as(old, &replace_ca()).await
    }

    /// The same as the operator wants it.
    pub(crate) async fn rotate_as(&self, old: PkiSet, intent: &Intent) -> Result<Ended, RunError> {
        rotate(self.setup(old), intent, |_, _| true).await
    }

    /// Carries out a plan that was made wrong.
    pub(crate) async fn rotate_wrong(&self, mutation: Mutation) -> Result<Ended, RunError> {
        let make_wrong = |plan: &Plan| {
            mutation.apply(plan).map_err(|error| PortError::new(Fault::Failed, "cannot make it wrong", error))
        };
        rotate_wrong(self.setup(self.sim.old_pki()), &replace_ca(), make_wrong, |_, _| true).await
    }

    /// Lets the run be cut off after so many events.
    pub(crate) fn cut_off_after(&self, events: i64) {
        self.cut_at_event.store(events, Ordering::Relaxed);
    }

    /// How many events there were, if no cut was planned.
    pub(crate) fn events(&self) -> i64 {
        i64::MAX - self.cut_at_event.load(Ordering::Relaxed)
    }

    pub(crate) fn state(&self) -> &Path {
        self.state.path()
    }
}

/// A directory in memory where there is one: runs sync every record, and hundreds of runs on a disk take minutes.
fn quick_directory() -> tempfile::TempDir {
    let mut builder = tempfile::Builder::new();
    let private = builder.permissions(Permissions::from_mode(0o700));
    private.tempdir_in("/dev/shm").or_else(|_| private.tempdir()).unwrap()
}

pub(crate) fn replace_ca() -> Intent {
    Intent::new(Why::ReplaceCa)
}

/// Says what broke, if anything did.
pub(crate) fn assert_unharmed(sim: &SimCluster) {
    let violations = sim.violations();
    assert!(
        violations.is_empty(),
        "{} violations: {:#?}",
        violations.len(),
        &violations[..violations.len().min(12)]
    );
    let log = sim.workload_log();
    assert!(
        log.failures.is_empty(),
        "{} of {} calls failed: {:#?}",
        log.failures.len(),
        log.calls,
        log.failures.first()
    );
    assert!(log.calls > 100, "only {} calls were made", log.calls);
}

pub(crate) fn assert_finished(ended: &Ended) {
    assert_eq!(ended.report.outcome, RunOutcome::Finished, "{:#?}", ended.report.outcome);
}

/// Looks from outside whether everything is of the new PKI that the operator holds, and nothing of the old one.
pub(crate) async fn assert_rotated(bench: &Bench) {
    let new = bench.operator.new_pki().unwrap();
    let setup = bench.setup(new.clone());
    let inventory = look(&setup).await.unwrap();
    let ca = new.authorities.get(&TrustDomain::Cluster).unwrap().fingerprint().to_string();
    for (server, facts) in &inventory.servers {
        let facts = facts.seen().unwrap_or_else(|| panic!("{server} cannot be asked"));
        assert_eq!(facts.chain.len(), 1, "{server} presents a chain");
        assert_eq!(facts.chain[0].signed_by.as_ref(), Some(&ca), "{server} presents a leaf of another CA");
        let old = facts.client_ca_names.iter().find(|name| *name == "CN=ca" || *name == "CN=proxyClientCA");
        assert_eq!(old, None, "{server} still trusts the old CA");
    }
    for node in &inventory.cluster.nodes {
        let facts = inventory.nodes[&node.name].seen().unwrap();
        let bundle = facts.file(&kubecert_core::layout::roots_file(node.system)).unwrap();
        assert_eq!(bundle.certificates.len(), 1);
        assert_eq!(bundle.certificates[0].fingerprint, ca);
    }
    let api = inventory.api.seen().unwrap();
    assert!(api.published_roots.values().all(|roots| *roots == [ca.clone()]), "{:?}", api.published_roots);
    assert!(api.token_secrets.iter().all(|secret| secret.roots == [ca.clone()]));
    assert!(api.nodes.iter().all(|node| node.ready));
    assert!(inventory.etcd.seen().unwrap().iter().all(|member| member.healthy));
    for (holder, roots) in &api.ca_bundles {
        let roots: Vec<&String> = roots.iter().map(|root| &root.fingerprint).collect();
        assert_eq!(roots, [&ca], "{holder}");
    }
    assert_eq!(setup.ports.api.unavailable_aggregated_apis().await.unwrap(), []);
}
