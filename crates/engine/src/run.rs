//! A whole run: look, plan, make the new PKI, drive, report; or take an interrupted run up again.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use kubecert_core::check;
use kubecert_core::event::{Event, Happening, RunOutcome};
use kubecert_core::exec::{Execution, ReplayError};
use kubecert_core::intent::Intent;
use kubecert_core::inventory::Inventory;
use kubecert_core::material::{ChainForm, Part};
use kubecert_core::model::{Cluster, Generation, RunId, TrustDomain};
use kubecert_core::plan::Plan;
use kubecert_core::planner::{self, Naming, Refusal};
use kubecert_core::record::{JOURNAL_SCHEMA, Record, What};
use kubecert_core::report::Report;
use kubecert_pki::Certificate;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::availability::{Clients, Probe, Sample};
use crate::driver;
use crate::issue::{self, MakeError};
use crate::journal::{Journal, JournalError};
use crate::observe;
use crate::ports::{Credentials, PortError, PortResult, Ports};
use crate::reporting;
use crate::rundir::{RunDir, RunDirError, State};
use crate::steps;
use crate::vault::{PkiSet, Vault, VaultError};

/// Writes the operator's own files when the new PKI is in force: `apimodel.json`, kubeconfigs, PEM files.
pub trait OperatorFiles: Send + Sync {
    /// Called once the new PKI is made and nothing on the cluster is touched yet: the backup of the old files and the
    /// output directory with the new ones.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be written.
    fn announce(&self, vault: &Vault) -> PortResult<()>;

    /// Called when the new PKI is in force. May be called again after an interruption.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be written.
    fn write(&self, vault: &Vault) -> PortResult<()>;
}

/// Why there is no run, or why it ended without a safe stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No plan can be made.
    #[error("the cluster cannot be rotated as it is")]
    Refused(#[source] Refusal),
    /// The plan breaks an invariant: a fault of the planner, which the check has caught.
    #[error("the plan that was made is not safe, so nothing was touched: {}", violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Unsound {
        /// What it breaks.
        violations: Vec<check::Violation>,
    },
    /// The new PKI cannot be made.
    #[error(transparent)]
    Make(#[from] MakeError),
    /// The vault does not hold what is needed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The run directory cannot be used.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// The journal does not fit the plan.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// A port failed outside of any step.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The run directory is not what it should be.
    #[error("run {run} cannot be resumed: {why}")]
    NotResumable {
        /// Which run.
        run: RunId,
        /// Why.
        why: String,
    },
}

/// What a run needs.
pub struct Setup {
    /// The world.
    pub ports: Ports,
    /// The cluster with its control planes; agents are learnt from the API.
    pub cluster: Cluster,
    /// The PKI in force, as the operator's description holds it.
    pub old: PkiSet,
    /// New certificates that the operator gives; whatever it lacks is made.
    pub given: Option<PkiSet>,
    /// The operator's files.
    pub operator: Arc<dyn OperatorFiles>,
    /// Where run directories and the lock are.
    pub state: PathBuf,
    /// The program, for the journal: `kubecert 0.1.0`.
    pub program: String,
    /// Takes events.
    pub events: Arc<dyn Fn(Event) + Send + Sync>,
    /// Becomes true when the operator wants to stop.
    pub cancelled: watch::Receiver<bool>,
}

impl Setup {
    fn tell(&self, what: Happening) {
        (self.events)(Event { at: self.ports.clock.now(), what });
    }
}

/// The administrator's credentials of before the run.
fn first_credentials(vault: &Vault) -> Result<Credentials, VaultError> {
    let old = [Part::Ca(TrustDomain::Cluster, Generation::Old)];
    vault.administrator(&old, Generation::Old, ChainForm::Bare)
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// What is reported.
    pub report: Report,
    /// Where it is kept; `None` if there was nothing to do.
    pub run: Option<RunDir>,
}

/// What steps share while a run is under way.
pub(crate) struct Context {
    pub(crate) ports: Ports,
    pub(crate) vault: Vault,
    pub(crate) run: RunDir,
    pub(crate) operator: Arc<dyn OperatorFiles>,
    credentials: Mutex<Credentials>,
    events: Arc<dyn Fn(Event) + Send + Sync>,
    notices: Mutex<Vec<String>>,
    probe: Mutex<Option<Probe>>,
}

impl Context {
    pub(crate) fn credentials(&self) -> Credentials {
        self.credentials.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_credentials(&self, credentials: Credentials) {
        *self.credentials.lock().unwrap_or_else(PoisonError::into_inner) = credentials;
    }

    pub(crate) fn tell(&self, what: Happening) {
        (self.events)(Event { at: self.ports.clock.now(), what });
    }

    /// Milliseconds since then, by the cluster's clock: a simulated one runs faster than ours.
    pub(crate) fn ms_since(&self, began: Timestamp) -> u64 {
        u64::try_from(self.ports.clock.now().duration_since(began).as_millis()).unwrap_or(0)
    }

    pub(crate) fn notice(&self, text: String) {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).push(text.clone());
        self.tell(Happening::Notice { text });
    }

    /// From here both kinds of clients are promised to work.
    pub(crate) fn on_introduced(&self) {
        let clients = Clients { old: self.client(Generation::Old), updated: self.client(Generation::New) };
        self.set_clients(clients);
    }

    /// From here only updated clients are promised to work.
    pub(crate) fn on_drop(&self) {
        self.set_clients(Clients { old: None, updated: self.client(Generation::New) });
    }

    fn set_clients(&self, clients: Clients) {
        if let Some(probe) = self.probe.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            probe.set(clients);
        }
    }

    fn client(&self, generation: Generation) -> Option<Credentials> {
        let roots = [Part::Ca(TrustDomain::Cluster, generation)];
        self.vault.administrator(&roots, generation, ChainForm::Bare).ok()
    }
}

/// Looks at the cluster, with the credentials of the description.
///
/// # Errors
///
/// Fails if the description lacks the administrator's credentials. What cannot be read is part of the inventory.
pub async fn look(setup: &Setup) -> Result<Inventory, RunError> {
    let vault = Vault { old: setup.old.clone(), ..Vault::default() };
    setup.ports.api.use_credentials(vec![first_credentials(&vault)?]).await?;
    let etcd = etcd_credentials(&vault, Generation::Old)?;
    setup.ports.etcd.use_credentials(vec![etcd]).await?;
    setup.tell(Happening::Observing { what: format!("cluster {}", setup.cluster.name) });
    Ok(observe::inventory(&setup.ports, &setup.cluster, &setup.old).await)
}

/// Plans, from an inventory.
///
/// # Errors
///
/// Refuses where the plan would not be safe, by the planner's own judgement or by that of the check, which shares no
/// code with it.
pub fn plan(inventory: &Inventory, intent: &Intent, now: Timestamp) -> Result<Plan, RunError> {
    let naming = Naming { now, stamp: now.strftime("%Y-%m-%d-%H-%M-%S").to_string() };
    let plan = planner::plan(inventory, intent, &naming).map_err(RunError::Refused)?;
    let violations = check::plan(&plan, inventory);
    if violations.is_empty() { Ok(plan) } else { Err(RunError::Unsound { violations }) }
}

/// The interrupted run of this very cluster, if there is one.
///
/// A directory may hold runs of another cluster that had the same name; they are left alone.
fn interrupted(setup: &Setup, state: &State) -> Result<Option<RunDir>, RunError> {
    let Some(ours) = setup.old.authorities.get(&TrustDomain::Cluster) else { return Ok(None) };
    for run in state.unfinished()? {
        // Once the operator's files are written, the description holds the new CA.
        let vault = run.read_vault()?;
        let known = [&vault.old, &vault.new].map(|set| set.authorities.get(&TrustDomain::Cluster));
        if known.contains(&Some(ours)) {
            return Ok(Some(run));
        }
    }
    Ok(None)
}

/// Takes an interrupted run up again if there is one, else looks, plans and begins one.
///
/// `agreed` is shown the plan before anything is touched; if it says no, nothing is.
///
/// # Errors
///
/// Fails where nothing can be begun, or where the run's own records cannot be kept.
pub async fn rotate(
    setup: Setup,
    intent: &Intent,
    agreed: impl FnOnce(&Plan, &Inventory) -> bool,
) -> Result<Ended, RunError> {
    let state = State::open(&setup.state)?;
    if let Some(run) = interrupted(&setup, &state)? {
        return go_on(setup, run).await;
    }
    let started = setup.ports.clock.now();
    let inventory = look(&setup).await?;
    let plan = plan(&inventory, intent, setup.ports.clock.now())?;
    if plan.is_empty() {
        setup.tell(Happening::RunFinished { outcome: RunOutcome::NothingToDo });
        return Ok(Ended { report: reporting::nothing(&plan, &inventory, started), run: None });
    }
    if !agreed(&plan, &inventory) {
        let outcome =
            RunOutcome::Stopped { reason: "the plan was not agreed to; nothing was touched".to_owned() };
        let mut report = reporting::nothing(&plan, &inventory, started);
        "stopped".clone_into(&mut report.result);
        report.outcome = outcome;
        return Ok(Ended { report, run: None });
    }
    let run = state.create(new_run_id(started)?)?;
    let vault = Arc::new(make(&setup, &plan, &inventory).await?);
    run.write_json("before.json", &inventory)?;
    let digest = run.write_plan(&plan)?;
    run.write_vault(&vault)?;
    setup.operator.announce(&vault)?;
    let mut journal = Journal::create(&run.journal())?;
    let bound = What::Bound {
        schema: JOURNAL_SCHEMA,
        run: run.run().clone(),
        cluster: plan.cluster.clone(),
        plan: digest,
        program: setup.program.clone(),
    };
    let issued = What::Issued { certificates: certificates_digest(&vault) };
    let at = setup.ports.clock.now();
    journal.append(&[Record { at, what: bound }, Record { at, what: issued }])?;
    let execution = Execution::start(plan);
    carry_out(setup, run, Arc::unwrap_or_clone(vault), execution, journal, started).await
}

/// Takes the interrupted run of this cluster up again; `None` if there is none.
///
/// # Errors
///
/// Fails where the run's own records do not fit together or cannot be kept.
pub async fn resume(setup: Setup) -> Result<Option<Ended>, RunError> {
    let state = State::open(&setup.state)?;
    match interrupted(&setup, &state)? {
        Some(run) => go_on(setup, run).await.map(Some),
        None => Ok(None),
    }
}

async fn go_on(setup: Setup, run: RunDir) -> Result<Ended, RunError> {
    let not = |why: String| RunError::NotResumable { run: run.run().clone(), why };
    let (mut journal, records) = Journal::open(&run.journal())?;
    let plan: Plan = run.read_json("plan.json")?;
    check_binding(&setup, &run, &records).map_err(not)?;
    let vault = run.read_vault()?;
    let digest = certificates_digest(&vault);
    let issued = records.iter().find_map(|record| match &record.what {
        What::Issued { certificates } => Some(certificates),
        _ => None,
    });
    if issued != Some(&digest) {
        return Err(RunError::NotResumable {
            run: run.run().clone(),
            why: "its vault does not hold the certificates that its journal names".to_owned(),
        });
    }
    let execution = Execution::resume(plan, records.iter().map(|record| &record.what))?;
    let started = records.first().map_or_else(|| setup.ports.clock.now(), |record| record.at);
    journal.append(&[Record { at: setup.ports.clock.now(), what: What::Resumed }])?;
    carry_out(setup, run, vault, execution, journal, started).await
}

fn check_binding(setup: &Setup, run: &RunDir, records: &[Record]) -> Result<(), String> {
    let Some(Record { what: What::Bound { schema, cluster, plan, .. }, .. }) = records.first() else {
        return Err("its journal does not begin with what it belongs to".to_owned());
    };
    if *schema != JOURNAL_SCHEMA {
        return Err(format!("its journal has format {schema}, and this program knows {JOURNAL_SCHEMA}"));
    }
    if *cluster != setup.cluster.name {
        return Err(format!("it belongs to cluster {cluster}, not {}", setup.cluster.name));
    }
    let digest = run.plan_digest().map_err(|error| error.to_string())?;
    if *plan != digest {
        return Err("its plan.json was changed after it was agreed to".to_owned());
    }
    Ok(())
}

async fn make(setup: &Setup, plan: &Plan, inventory: &Inventory) -> Result<Vault, RunError> {
    let mut old = setup.old.clone();
    know_front_proxy(&mut old, inventory);
    let vault =
        Vault { old, new: setup.given.clone().unwrap_or_default(), cross: std::collections::BTreeMap::new() };
    let now = setup.ports.clock.now();
    let (plan, events) = (plan.clone(), setup.events.clone());
    // Keys are made on all cores, away from the loop that answers timers and sockets.
    let made = tokio::task::spawn_blocking(move || {
        let progress = |done, total| events(Event { at: now, what: Happening::Issuing { done, total } });
        issue::make(&plan, vault, now, &progress)
    });
    match made.await {
        Ok(made) => Ok(made?),
        Err(error) => {
            Err(MakeError::Failed { what: "the new PKI".to_owned(), why: error.to_string() }.into())
        }
    }
}

async fn carry_out(
    setup: Setup,
    run: RunDir,
    vault: Vault,
    mut execution: Execution,
    mut journal: Journal,
    started: Timestamp,
) -> Result<Ended, RunError> {
    let credentials = first_credentials(&vault)?;
    let context = Arc::new(Context {
        ports: setup.ports.clone(),
        vault,
        run: run.clone(),
        operator: setup.operator.clone(),
        credentials: Mutex::new(credentials.clone()),
        events: setup.events.clone(),
        notices: Mutex::new(Vec::new()),
        probe: Mutex::new(None),
    });
    start_credentials(&context, &execution, &credentials).await?;
    begin_probe(&context, &execution).await;
    setup.tell(Happening::RunStarted {
        run: run.run().clone(),
        cluster: execution.plan().cluster.clone(),
        phases: execution.plan().phases.iter().map(|phase| (phase.name, phase.steps.len())).collect(),
        done_before: execution.done(),
    });
    let outcome = driver::drive(&context, &mut execution, &mut journal, setup.cancelled.clone()).await?;
    let samples = end_probe(&context).await;
    keep_samples(&run, &samples)?;
    let (_, records) = Journal::open(&run.journal())?;
    let report = reporting::build(&reporting::Material {
        context: &context,
        plan: execution.plan(),
        records: &records,
        samples: &all_samples(&run, samples),
        outcome: &outcome,
        started,
        notices: context.notices.lock().unwrap_or_else(PoisonError::into_inner).clone(),
    });
    if outcome == RunOutcome::Finished {
        let mut cluster = setup.cluster.clone();
        cluster.version = setup.cluster.version;
        let after = observe::inventory(&setup.ports, &cluster, &context.vault.new).await;
        run.write_json("after.json", &after)?;
    }
    run.write_json("report.json", &report)?;
    if outcome == RunOutcome::Finished {
        run.finish()?;
    }
    setup.tell(Happening::RunFinished { outcome });
    Ok(Ended { report, run: Some(run) })
}

/// Gives the ports credentials that work at this point of the run: those of the description, and the new ones beside
/// them if the run was cut off.
async fn start_credentials(
    context: &Context,
    execution: &Execution,
    first: &Credentials,
) -> Result<(), RunError> {
    let vault = &context.vault;
    let both: Vec<Part> =
        [Generation::Old, Generation::New].map(|g| Part::Ca(TrustDomain::Cluster, g)).into();
    let form = if vault.cross.is_empty() { ChainForm::Bare } else { ChainForm::WithCross };
    let mut api = vec![first.clone()];
    let mut etcd = vec![etcd_credentials(vault, Generation::Old)?];
    if execution.done() > 0 {
        api.insert(0, vault.administrator(&both, Generation::New, form)?);
        api.push(vault.administrator(&both, Generation::Old, form)?);
        etcd.insert(0, steps::etcd_client(context, &both, Generation::New)?);
        etcd.push(steps::etcd_client(context, &both, Generation::Old)?);
    }
    context.ports.api.use_credentials(api).await?;
    context.ports.etcd.use_credentials(etcd).await?;
    Ok(())
}

fn etcd_credentials(vault: &Vault, generation: Generation) -> Result<Credentials, VaultError> {
    let leaf = kubecert_core::model::LeafId::from("etcdclient");
    let root = vault.certificate(&Part::Ca(TrustDomain::Cluster, generation))?;
    let certificate = vault.certificate(&Part::Leaf(leaf.clone(), generation))?;
    let key = crate::vault::pkcs8(vault.key(&Part::LeafKey(leaf, generation))?)?;
    Ok(Credentials {
        roots: vec![root.der().to_vec()],
        identity: Some(crate::ports::Identity { chain: vec![certificate.der().to_vec()], key }),
    })
}

async fn begin_probe(context: &Arc<Context>, execution: &Execution) {
    let old = context.client(Generation::Old);
    let updated = context.client(Generation::New);
    let preparing = if execution.is_past_return() { &updated } else { &old };
    if let Some(credentials) = preparing
        && let Err(error) = context.ports.availability.prepare(credentials).await
    {
        context.notice(format!("The API's availability is not measured: {error}."));
        return;
    }
    let clients = if execution.is_past_return() {
        Clients { old: None, updated }
    } else {
        let introduced =
            execution.phase().is_some_and(|phase| phase > kubecert_core::plan::PhaseName::Introduce);
        Clients { old, updated: updated.filter(|_| introduced) }
    };
    let events = context.events.clone();
    let failed = move |sample: &Sample| {
        let what = Happening::ProbeFailed {
            client: sample.client.clone(),
            error: sample.first_error.clone().unwrap_or_default(),
        };
        events(Event { at: sample.end, what });
    };
    let probe =
        Probe::start(context.ports.availability.clone(), context.ports.clock.clone(), clients, failed);
    *context.probe.lock().unwrap_or_else(PoisonError::into_inner) = Some(probe);
}

async fn end_probe(context: &Arc<Context>) -> Vec<Sample> {
    let probe = context.probe.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(probe) = probe else { return Vec::new() };
    let samples = probe.end().await;
    for client in [Generation::New, Generation::Old].into_iter().filter_map(|g| context.client(g)) {
        if context.ports.availability.clean_up(&client).await.is_ok() {
            break;
        }
    }
    samples
}

/// Keeps what the probe saw beside what earlier processes of the same run have kept.
fn keep_samples(run: &RunDir, samples: &[Sample]) -> Result<(), RunDirError> {
    let number = (1..).find(|number| !run.path().join(samples_file(*number)).exists()).unwrap_or(1);
    run.write_json(&samples_file(number), &samples)
}

fn all_samples(run: &RunDir, own: Vec<Sample>) -> Vec<Sample> {
    let mut all: Vec<Sample> = (1..)
        .map_while(|number| run.read_json::<Vec<Sample>>(&samples_file(number)).ok())
        .flatten()
        .collect();
    if all.is_empty() {
        all = own;
    }
    all
}

fn samples_file(number: usize) -> String {
    format!("probe-{number}.json")
}

/// The front proxy's old CA is on the nodes only.
fn know_front_proxy(old: &mut PkiSet, inventory: &Inventory) {
    let path = kubecert_core::layout::certificate_file("proxy-ca.crt");
    let pem = inventory
        .cluster
        .control_planes()
        .filter_map(|node| inventory.nodes.get(&node.name)?.seen()?.file(&path)?.certificates.first())
        .map(|certificate| certificate.pem.clone())
        .next();
    if let Some(certificate) = pem.and_then(|pem| Certificate::from_pem(&pem).ok()) {
        old.authorities.insert(TrustDomain::FrontProxy, certificate);
    }
}

fn certificates_digest(vault: &Vault) -> String {
    hex::encode(Sha256::digest(vault.fingerprints().join("\n")))
}

fn new_run_id(now: Timestamp) -> Result<RunId, RunError> {
    let ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
    // A ULID's 80 random bits, from the same generator that serial numbers come from.
    let serial = kubecert_pki::Serial::random()
        .map_err(|error| MakeError::Failed { what: "a run's id".to_owned(), why: error.to_string() })?;
    let random = serial.as_bytes().iter().fold(0_u128, |bits, byte| (bits << 8) | u128::from(*byte));
    Ok(RunId::new(ulid::Ulid::from_parts(ms, random & ((1 << 80) - 1)).to_string()))
}
