//! A whole run: look, plan, make the new PKI, drive, report; or take an interrupted run up again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use kubecert_core::check;
use kubecert_core::event::{Event, Happening, RunOutcome};
use kubecert_core::exec::Execution;
use kubecert_core::intent::{Intent, Why};
use kubecert_core::inventory::Inventory;
use kubecert_core::material::{ChainForm, Part};
use kubecert_core::model::{Cluster, Generation, Layout, NodeName, RunId, TrustDomain};
use kubecert_core::plan::{Plan, StepId};
use kubecert_core::planner::{self, Naming};
use kubecert_core::record::{JOURNAL_SCHEMA, Record, What};
use kubecert_core::report::Report;
use kubecert_pki::Certificate;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::adopt;
use crate::autoscaler;
use crate::availability::{Clients, Probe, Sample};
use crate::driver;
use crate::issue::{self, MakeError};
use crate::journal::{self, Journal};
use crate::left_behind::{may_be_left_behind, without_left_behind};
use crate::observe;
use crate::ports::{Credentials, PortResult, Ports};
use crate::reboot;
use crate::reporting;
pub use crate::resumable::Misfit;
use crate::resumable::{self, Remains};
pub use crate::run_error::RunError;
use crate::rundir::{RunDir, State};
use crate::samples::{self, Recorder};
use crate::steps;
use crate::vault::{PkiSet, Vault, VaultError};

/// Writes what the operator keeps of a cluster's PKI when the new one is in force: `apimodel.json`, kubeconfigs, PEM files,
/// objects in another cluster.
#[async_trait]
pub trait OperatorFiles: Send + Sync {
    /// Called once the new PKI is made and nothing on the cluster is touched yet: the backup of the old files and the
    /// output directory with the new ones. What could not be written at the end is refused here.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be written, or could not be written at the end.
    async fn announce(&self, vault: &Vault) -> PortResult<()>;

    /// Called when the new PKI is in force. May be called again after an interruption.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be written.
    async fn write(&self, vault: &Vault) -> PortResult<()>;

    /// What still carries the old PKI once all is written, each as a sentence: files that could not be brought up to
    /// date, and what new nodes are made from.
    fn leftovers(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What the operator decides while a run is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    /// Whether to wait before the old CA is dropped.
    pub hold: bool,
    /// Agents that are left as they are, since they cannot be reached.
    pub leave_behind: Vec<NodeName>,
    /// What may go on needing the old CA when it is dropped, by the names that the run shows.
    pub drop_anyway: Vec<String>,
    /// Whether all machines are restarted through the cloud at the end.
    pub reboot: bool,
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
    /// Which interrupted run is meant; `None` for the latest.
    pub only: Option<RunId>,
    /// The program, for the journal: `kubecert 0.1.0`.
    pub program: String,
    /// What the operator decides beyond the plan.
    pub decisions: Decisions,
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

/// What an execution is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    /// To bring a new PKI.
    Rotate,
    /// To bring a cluster back whose certificates have ended.
    Recover,
    /// To put everything back as it was.
    Undo,
    /// To see what harm a plan does that is wrong on purpose.
    #[cfg(feature = "wrong-plans")]
    Harm,
}

impl Errand {
    /// Whether what is about to be done is looked at once more before it is done, beyond the plan's own barriers.
    pub(crate) const fn is_guarded(self) -> bool {
        match self {
            Errand::Rotate | Errand::Undo => true,
            // There is no quorum to be kept.
            Errand::Recover => false,
            #[cfg(feature = "wrong-plans")]
            Errand::Harm => false,
        }
    }
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
    pub(crate) errand: Errand,
    pub(crate) cluster: Cluster,
    pub(crate) decisions: Decisions,
    /// When each step was begun for the first time.
    begun: Mutex<BTreeMap<StepId, Timestamp>>,
}

impl Context {
    /// A step is begun, perhaps not for the first time.
    pub(crate) fn begins(&self, step: StepId) {
        let now = self.ports.clock.now();
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).entry(step).or_insert(now);
    }

    /// When a step was begun for the first time.
    pub(crate) fn first_begun(&self, step: StepId) -> Timestamp {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.get(&step).copied().unwrap_or_else(|| self.ports.clock.now())
    }

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
        let clients =
            Clients { old: self.informed(Generation::Old), updated: self.informed(Generation::New) };
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

    /// A client that was told of one generation only, where the plan promises that it works until the old CA is
    /// dropped. Without cross certificates clients have to know both CAs.
    fn client(&self, generation: Generation) -> Option<Credentials> {
        let one = [self.vault.authority(TrustDomain::Cluster, generation)];
        let both = self.both_roots();
        // Where no CA is ordered, the one in force is all that there is to know.
        let roots = if self.vault.cross.is_empty() { &both[..] } else { &one[..] };
        self.vault.administrator(roots, generation, ChainForm::Bare).ok()
    }

    /// The certificates of the cluster CA, old and new, as far as there are two.
    fn both_roots(&self) -> Vec<Part> {
        let mut both: Vec<Part> = [Generation::Old, Generation::New]
            .map(|generation| self.vault.authority(TrustDomain::Cluster, generation))
            .into();
        both.dedup();
        both
    }

    /// A client as it has to be while leaves of both CAs are about: without a cross certificate it needs both roots, which
    /// is what the bundled plan asks of clients before its phase *switch*.
    fn informed(&self, generation: Generation) -> Option<Credentials> {
        if !self.vault.cross.is_empty() {
            return self.client(generation);
        }
        let roots = self.both_roots();
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
    let etcd = etcd_credentials(&vault, setup.cluster.layout, Generation::Old)?;
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
pub(crate) fn interrupted(setup: &Setup, state: &State) -> Result<Option<RunDir>, RunError> {
    let Some(ours) = setup.old.authorities.get(&TrustDomain::Cluster) else { return Ok(None) };
    let meant = |run: &RunDir| setup.only.as_ref().is_none_or(|only| only == run.run());
    for run in state.unfinished()?.into_iter().filter(meant) {
        // A journal of another format comes with a vault that may be of another format too, and says so better.
        journal::read(&run.journal())?;
        // Once the operator's files are written, the description holds the new CA.
        let vault = run.read_vault()?;
        let known = [&vault.old, &vault.new].map(|set| set.authorities.get(&TrustDomain::Cluster));
        if known.contains(&Some(ours)) {
            return Ok(Some(run));
        }
    }
    match &setup.only {
        Some(run) => Err(RunError::NotThatRun { run: run.clone() }),
        None => Ok(None),
    }
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
    let planned = |inventory: &Inventory, now| plan(inventory, intent, now);
    begin(setup, None, Some(intent), Errand::Rotate, planned, agreed).await
}

/// Brings a cluster back whose certificates have ended, or whose API does not answer: an interrupted run goes on if there
/// is one, else a plan is made of what can be seen over SSH alone. Where all is well there is nothing to do.
///
/// `setup.cluster` should name the agents that its description knows, since the API may not be there to tell them.
///
/// # Errors
///
/// As [`rotate`].
pub async fn recover(
    setup: Setup,
    agreed: impl FnOnce(&Plan, &Inventory) -> bool,
) -> Result<Ended, RunError> {
    let intent = Intent::new(Why::Recover);
    begin(setup, None, None, Errand::Recover, |inventory, now| plan(inventory, &intent, now), agreed).await
}

/// As [`rotate`], with a plan that is made wrong on purpose and is not checked: to see, on a cluster made for it, that
/// what the check refuses does harm. Never part of a release.
///
/// # Errors
///
/// As [`rotate`].
#[cfg(feature = "wrong-plans")]
pub async fn rotate_wrong(
    setup: Setup,
    intent: &Intent,
    make_wrong: impl FnOnce(&Plan) -> PortResult<Plan>,
    agreed: impl FnOnce(&Plan, &Inventory) -> bool,
) -> Result<Ended, RunError> {
    let wrong = |inventory: &Inventory, now| Ok(make_wrong(&plan(inventory, intent, now)?)?);
    begin(setup, None, Some(intent), Errand::Harm, wrong, agreed).await
}

/// `waiting` is the run that has the keys of the certificates in `setup.given`; `None` begins another. `purpose` is what an
/// interrupted run has to be for if it is to be gone on with; `None` takes any.
pub(crate) async fn begin(
    setup: Setup,
    waiting: Option<RunDir>,
    purpose: Option<&Intent>,
    errand: Errand,
    planned: impl FnOnce(&Inventory, Timestamp) -> Result<Plan, RunError>,
    agreed: impl FnOnce(&Plan, &Inventory) -> bool,
) -> Result<Ended, RunError> {
    let state = State::open(&setup.state)?;
    if let Some(run) = interrupted(&setup, &state)? {
        return go_on(setup, run, purpose).await;
    }
    let started = setup.ports.clock.now();
    let inventory = look(&setup).await?;
    let mut setup = setup;
    let (inventory, lost) = match adopt::find(&setup, &inventory).await? {
        Some(adopted) => {
            setup.tell(Happening::Notice {
                text: format!(
                    "Run {} was begun and its records are not here; it is brought to an end from what the nodes hold of it.",
                    adopted.run
                ),
            });
            setup.given = Some(adopted.pending);
            (adopted.inventory, Some((adopted.run, adopted.point)))
        }
        None if adopt::half_rotated(&inventory) => return Err(RunError::HalfRotated),
        None => (inventory, None),
    };
    let (inventory, kept) = without_left_behind(&inventory, &setup.decisions.leave_behind)?;
    let mut plan = planned(&inventory, setup.ports.clock.now())?;
    plan.kept.extend(kept);
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
    if lost.is_some() {
        adopt::end_diversions(&setup, &inventory).await?;
    }
    let run = match (&lost, waiting) {
        (Some((run, _)), _) => state.create(run.clone())?,
        // Another process may have begun it since it was read, before the lock was ours.
        (None, Some(run)) if !run.is_waiting() => {
            return Err(RunError::NotThatRun { run: run.run().clone() });
        }
        (None, Some(run)) => run,
        (None, None) => state.create(new_run_id(started)?)?,
    };
    let vault = Arc::new(make(&setup, &plan, &inventory).await?);
    run.write_json("before.json", &inventory)?;
    let digest = run.write_plan(&plan)?;
    run.write_vault(&vault)?;
    setup.operator.announce(&vault).await?;
    let bound = What::Bound {
        schema: JOURNAL_SCHEMA,
        run: run.run().clone(),
        cluster: plan.cluster.clone(),
        plan: digest,
        program: setup.program.clone(),
    };
    let issued = What::Issued { certificates: certificates_digest(&vault) };
    let at = setup.ports.clock.now();
    let mut first = vec![Record { at, what: bound }, Record { at, what: issued }];
    if let Some((_, point)) = &lost {
        let behind = point.behind(&plan);
        first.extend(std::iter::once(What::Adopted).chain(behind).map(|what| Record { at, what }));
    }
    let journal = Journal::begin(&run.journal(), &first)?;
    let execution = Execution::resume(plan, first.iter().map(|record| &record.what))?;
    let (vault, begun) = (Arc::unwrap_or_clone(vault), BTreeMap::new());
    let way = Way { run, vault, execution, journal, started, begun, errand };
    carry_out(setup, way).await
}

/// Takes the interrupted run of this cluster up again; `None` if there is none.
///
/// # Errors
///
/// Fails where the run's own records do not fit together or cannot be kept.
pub async fn resume(setup: Setup) -> Result<Option<Ended>, RunError> {
    let state = State::open(&setup.state)?;
    match interrupted(&setup, &state)? {
        Some(run) => go_on(setup, run, None).await.map(Some),
        None => Ok(None),
    }
}

async fn go_on(setup: Setup, run: RunDir, purpose: Option<&Intent>) -> Result<Ended, RunError> {
    let Remains { plan, vault, records } = resumable::read(&run, &setup.cluster.name)?;
    if let Some(asked) = purpose
        && !plan.is_for(asked)
    {
        let was = Intent { strategy: Some(plan.strategy), scope: plan.scope, ..Intent::new(plan.why) };
        let (was, asked) = (was.to_string(), asked.to_string());
        return Err(RunError::OtherPurpose { run: run.run().clone(), was, asked });
    }
    if records.iter().any(|record| matches!(record.what, What::Undoing | What::Reconstructed)) {
        return Err(RunError::NotResumable { run: run.run().clone(), why: Misfit::BeingUndone });
    }
    first_credentials(&vault)?;
    let (mut journal, _) = Journal::open(&run.journal())?;
    let mut execution = Execution::resume(plan, records.iter().map(|record| &record.what))?;
    for node in &setup.decisions.leave_behind {
        if execution.left_behind().contains(node) {
            continue;
        }
        may_be_left_behind(&run, node)?;
        let what = What::LeftBehind { node: node.clone() };
        journal.append(&[Record { at: setup.ports.clock.now(), what }])?;
        execution.leave_behind(node);
    }
    let started = records.first().map_or_else(|| setup.ports.clock.now(), |record| record.at);
    journal.append(&[Record { at: setup.ports.clock.now(), what: What::Resumed }])?;
    let begun = first_begun(&records);
    let mut setup = setup;
    // What was decided before holds on.
    setup.decisions.drop_anyway.extend(records.iter().filter_map(|record| match &record.what {
        What::DropAnyway { name } => Some(name.clone()),
        _ => None,
    }));
    let errand = if execution.plan().why == Why::Recover { Errand::Recover } else { Errand::Rotate };
    let way = Way { run, vault, execution, journal, started, begun, errand };
    carry_out(setup, way).await
}

/// When each step was begun for the first time, by a journal.
pub(crate) fn first_begun(records: &[Record]) -> BTreeMap<StepId, Timestamp> {
    let mut begun = BTreeMap::new();
    for record in records {
        if let What::Started { step, .. } = record.what {
            begun.entry(step).or_insert(record.at);
        }
    }
    begun
}

async fn make(setup: &Setup, plan: &Plan, inventory: &Inventory) -> Result<Vault, RunError> {
    let mut old = setup.old.clone();
    know_front_proxy(&mut old, inventory);
    let mut vault = Vault { old, new: setup.given.clone().unwrap_or_default(), cross: BTreeMap::new() };
    vault.know_models(plan);
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

/// A plan under way, forwards or back.
pub(crate) struct Way {
    pub(crate) run: RunDir,
    pub(crate) vault: Vault,
    pub(crate) execution: Execution,
    pub(crate) journal: Journal,
    /// When the run began, by its first record.
    pub(crate) started: Timestamp,
    pub(crate) begun: BTreeMap<StepId, Timestamp>,
    pub(crate) errand: Errand,
}

pub(crate) async fn carry_out(setup: Setup, way: Way) -> Result<Ended, RunError> {
    let Way { run, vault, mut execution, mut journal, started, begun, errand } = way;
    let credentials = first_credentials(&vault)?;
    // A run that goes on looks at nothing before it acts.
    let before: Option<Inventory> = run.read_json("before.json").ok();
    if let Some(before) = before {
        setup.ports.nodes.learn(&before.cluster.nodes);
    }
    let context = Arc::new(Context {
        ports: setup.ports.clone(),
        vault,
        run: run.clone(),
        operator: setup.operator.clone(),
        credentials: Mutex::new(credentials.clone()),
        events: setup.events.clone(),
        notices: Mutex::new(Vec::new()),
        probe: Mutex::new(None),
        errand,
        cluster: setup.cluster.clone(),
        decisions: setup.decisions.clone(),
        begun: Mutex::new(begun),
    });
    let fresh = |record: &Record| matches!(record.what, What::Bound { .. } | What::Issued { .. });
    let began = errand == Errand::Undo || !journal::read(journal.path())?.iter().all(fresh);
    start_credentials(&context, began, &credentials).await?;
    begin_probe(&context, &execution, errand).await;
    setup.tell(Happening::RunStarted {
        run: run.run().clone(),
        cluster: execution.plan().cluster.clone(),
        phases: execution.plan().phases.iter().map(|phase| (phase.name, phase.steps.len())).collect(),
        done_before: execution.done(),
    });
    reboot::ask(&context)?;
    let rest = autoscaler::pause(&context).await;
    let mut outcome = driver::drive(&context, &mut execution, &mut journal, setup.cancelled.clone()).await;
    if matches!(outcome, Ok(RunOutcome::Finished)) && errand == Errand::Rotate {
        outcome = reboot::reboot(&context, execution.left_behind(), &setup.cancelled).await;
    }
    autoscaler::resume(&context, rest).await;
    let mut outcome = outcome?;
    if outcome == RunOutcome::Finished {
        setup.operator.leftovers().into_iter().for_each(|left| context.notice(left));
    }
    if outcome == RunOutcome::Finished && errand == Errand::Undo {
        outcome = RunOutcome::Undone;
    }
    let samples = end_probe(&context).await;
    let records = journal::read(journal.path())?;
    let report = reporting::build(&reporting::Material {
        context: &context,
        plan: execution.plan(),
        records: &records,
        samples: &samples::all(&run, samples, errand),
        outcome: &outcome,
        started,
        notices: context.notices.lock().unwrap_or_else(PoisonError::into_inner).clone(),
    });
    let in_force = match outcome {
        RunOutcome::Finished => Some(context.vault.result()),
        RunOutcome::Undone => Some(context.vault.old.clone()),
        RunOutcome::NothingToDo | RunOutcome::Stopped { .. } => None,
    };
    if let Some(in_force) = &in_force {
        let after = observe::inventory(&setup.ports, &setup.cluster, in_force).await;
        run.write_json("after.json", &after)?;
    }
    run.write_json("report.json", &report)?;
    if in_force.is_some() {
        run.finish()?;
    }
    setup.tell(Happening::RunFinished { outcome });
    Ok(Ended { report, run: Some(run) })
}

/// Gives the ports credentials that work at this point of the run: those of the description, and the new ones beside
/// them if the run was cut off.
async fn start_credentials(context: &Context, began: bool, first: &Credentials) -> Result<(), RunError> {
    let vault = &context.vault;
    let layout = context.cluster.layout;
    let both = |domain| {
        let mut both: Vec<Part> =
            [Generation::Old, Generation::New].map(|generation| vault.authority(domain, generation)).into();
        both.dedup();
        both
    };
    let (both, of_etcd) = (both(TrustDomain::Cluster), both(layout.etcd_domain()));
    let form = if vault.cross.is_empty() { ChainForm::Bare } else { ChainForm::WithCross };
    let mut api = vec![first.clone()];
    let mut etcd = vec![etcd_credentials(vault, layout, Generation::Old)?];
    if began {
        api.insert(0, vault.administrator(&both, Generation::New, form)?);
        api.push(vault.administrator(&both, Generation::Old, form)?);
        etcd.insert(0, steps::etcd_client(context, &of_etcd, Generation::New)?);
        etcd.push(steps::etcd_client(context, &of_etcd, Generation::Old)?);
    }
    context.ports.api.use_credentials(api).await?;
    context.ports.etcd.use_credentials(etcd).await?;
    Ok(())
}

fn etcd_credentials(
    vault: &Vault,
    layout: Layout,
    generation: Generation,
) -> Result<Credentials, VaultError> {
    let leaf = kubecert_core::model::LeafId::from("etcdclient");
    let root = vault.certificate(&Part::Ca(layout.etcd_domain(), generation))?;
    let certificate = vault.certificate(&Part::Leaf(leaf.clone(), generation))?;
    let key = crate::vault::pkcs8(vault.key(&Part::LeafKey(leaf, generation))?)?;
    Ok(Credentials {
        roots: vec![root.der().to_vec()],
        identity: Some(crate::ports::Identity { chain: vec![certificate.der().to_vec()], key }),
    })
}

async fn begin_probe(context: &Arc<Context>, execution: &Execution, errand: Errand) {
    // Nobody is promised anything by a cluster that is being brought back.
    if errand == Errand::Recover {
        return;
    }
    let old = context.client(Generation::Old);
    // On the way back nobody is promised that what was given out new goes on working.
    let updated = context.client(Generation::New).filter(|_| errand != Errand::Undo);
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
        if introduced {
            Clients { old: context.informed(Generation::Old), updated: context.informed(Generation::New) }
        } else {
            Clients { old, updated: None }
        }
    };
    let events = context.events.clone();
    let mut recorder = Recorder::begin(&context.run, errand);
    let seen = move |sample: &Sample| {
        recorder.take(sample);
        if let Some(error) = sample.first_error.clone() {
            let what = Happening::ProbeFailed { client: sample.client.clone(), error };
            events(Event { at: sample.end, what });
        }
    };
    let probe = Probe::start(context.ports.availability.clone(), context.ports.clock.clone(), clients, seen);
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

/// The front proxy's old CA is on the nodes only.
pub(crate) fn know_front_proxy(old: &mut PkiSet, inventory: &Inventory) {
    let path = inventory.cluster.layout.front_proxy_ca();
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

pub(crate) fn certificates_digest(vault: &Vault) -> String {
    hex::encode(Sha256::digest(vault.fingerprints().join("\n")))
}

pub(crate) fn new_run_id(now: Timestamp) -> Result<RunId, RunError> {
    let ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
    // A ULID's 80 random bits, from the same generator that serial numbers come from.
    let serial = kubecert_pki::Serial::random()
        .map_err(|error| MakeError::Failed { what: "a run's id".to_owned(), why: error.to_string() })?;
    let random = serial.as_bytes().iter().fold(0_u128, |bits, byte| (bits << 8) | u128::from(*byte));
    Ok(RunId::new(ulid::Ulid::from_parts(ms, random & ((1 << 80) - 1)).to_string()))
}
