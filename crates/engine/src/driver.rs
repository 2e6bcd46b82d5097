//! The one loop that drives an [`Execution`]: what it says is made durable, then done; what came of it is told back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kubecert_core::event::{Happening, RunOutcome};
use kubecert_core::exec::{Command, Execution, Outcome};
use kubecert_core::plan::{Action, PhaseName, Plan, Predicate, Step, StepId, Target};
use kubecert_core::record::{Record, What};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::journal::Journal;
use crate::ports::Fault;
use crate::predicate;
use crate::proof;
use crate::run::{Context, RunError};
use crate::steps;

/// How long before a failed step is tried again: long enough for a connection to be made anew or a process to be
/// started by its supervisor.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long a barrier may be waited for; the slowest thing behind one is a file that is polled once a minute.
const BARRIER_PATIENCE: Duration = Duration::from_secs(240);
/// How long taking back a diversion may take on the way out.
const WAY_OUT_PATIENCE: Duration = Duration::from_secs(30);

/// What happens to the world while the loop runs.
enum Message {
    Outcome(Outcome),
    /// What the proof that nobody needs the old CA has come to: records, and the outcome.
    Proof(Vec<What>, Outcome),
    Cancelled,
}

/// Drives to the end, or to a safe stop.
pub(crate) async fn drive(
    context: &Arc<Context>,
    execution: &mut Execution,
    journal: &mut Journal,
    mut cancelled: tokio::sync::watch::Receiver<bool>,
) -> Result<RunOutcome, RunError> {
    let (sender, mut receiver) = mpsc::unbounded_channel::<Message>();
    let mut tasks = JoinSet::new();
    let mut phases = PhaseClock::default();
    let watcher = {
        let sender = sender.clone();
        tokio::spawn(async move {
            if cancelled.wait_for(|cancelled| *cancelled).await.is_ok() {
                let _ = sender.send(Message::Cancelled);
            }
        })
    };
    let outcome =
        drive_on(context, execution, journal, &mut phases, &sender, &mut receiver, &mut tasks).await;
    watcher.abort();
    phases.finish(context);
    let outcome = match outcome {
        // Without its records nothing more may be done, but what must not outlive the run can still be taken back.
        Err(RunError::Journal(source)) => {
            tasks.shutdown().await;
            leave(context, execution).await;
            return Err(RunError::Unrecorded { source });
        }
        outcome => outcome?,
    };
    if let RunOutcome::Stopped { reason } = &outcome {
        leave(context, execution).await;
        record(context, journal, What::Stopped { reason: reason.clone() })?;
    }
    Ok(outcome)
}

/// The loop itself.
async fn drive_on(
    context: &Arc<Context>,
    execution: &mut Execution,
    journal: &mut Journal,
    phases: &mut PhaseClock,
    sender: &mpsc::UnboundedSender<Message>,
    receiver: &mut mpsc::UnboundedReceiver<Message>,
    tasks: &mut JoinSet<()>,
) -> Result<RunOutcome, RunError> {
    loop {
        phases.follow(context, execution);
        let mut end = None;
        for command in execution.commands() {
            match command {
                Command::Start { step, attempt } => {
                    let Some(step) = execution.plan().step(step).cloned() else { continue };
                    record(context, journal, What::Started { step: step.id, attempt })?;
                    context.begins(step.id);
                    let phase = phase_of(execution, step.id);
                    let younger_than = younger_than(execution.plan(), phase, &step);
                    let work = Work { step, phase, attempt, younger_than };
                    tasks.spawn(try_step(context.clone(), work, sender.clone()));
                }
                Command::CheckBarrier { phase } => {
                    let predicates = barrier(execution, phase);
                    tasks.spawn(check_barrier(context.clone(), phase, predicates, sender.clone()));
                }
                Command::AnnounceDrop => {
                    tasks.spawn(prove(context.clone(), execution.plan().clone(), sender.clone()));
                }
                Command::Finish => {
                    record(context, journal, What::Finished)?;
                    end = Some(RunOutcome::Finished);
                }
                Command::Stop { reason } => end = Some(RunOutcome::Stopped { reason }),
            }
        }
        if let Some(end) = end {
            return Ok(end);
        }
        match receiver.recv().await {
            Some(Message::Outcome(outcome)) => {
                // Plans that change no trust have no introduction.
                if let Outcome::BarrierMet { phase: PhaseName::Introduce | PhaseName::Switch, .. } = outcome {
                    context.on_introduced();
                }
                if let Some(what) = execution.handle(outcome) {
                    record(context, journal, what)?;
                }
            }
            Some(Message::Proof(records, outcome)) => {
                for what in records {
                    record(context, journal, what)?;
                }
                let dropped = outcome == Outcome::DropAnnounced;
                if let Some(what) = execution.handle(outcome) {
                    record(context, journal, what)?;
                }
                if dropped {
                    context.on_drop();
                }
            }
            Some(Message::Cancelled) => {
                execution.handle(Outcome::Cancelled);
            }
            None => return Ok(RunOutcome::Stopped { reason: "the driver lost its workers".to_owned() }),
        }
        while tasks.try_join_next().is_some() {}
    }
}

/// Takes back what must not outlive a run that stops: diversions (where the node's own API server serves again) and
/// paused monitors. What cannot be taken back now, a timer on the node takes back.
async fn leave(context: &Arc<Context>, execution: &Execution) {
    for step in execution.open() {
        let Target::Node(node) = &step.target else { continue };
        match &step.action {
            Action::Divert { .. } => {
                let credentials = context.credentials();
                let scene = predicate::Scene {
                    ports: &context.ports,
                    vault: &context.vault,
                    credentials: &credentials,
                };
                let ready = [Predicate::ApiServerReady { node: node.clone() }];
                let taken_back = match predicate::wait(scene, &ready, WAY_OUT_PATIENCE, |_| {}).await {
                    Ok(_) => context.ports.nodes.undivert(node).await.map_err(|error| error.to_string()),
                    Err(missing) => Err(missing.join("; ")),
                };
                if let Err(why) = taken_back {
                    context.notice(format!(
                        "New connections to {node} stay diverted, since it does not serve ({why}); a timer on the node ends that."
                    ));
                }
            }
            Action::PauseUnits { units } => {
                if let Err(error) = context.ports.nodes.resume_units(node, units).await {
                    context.notice(format!(
                        "{} on {node} stay paused ({error}); a timer on the node starts them.",
                        units.join(", ")
                    ));
                }
            }
            _ => {}
        }
    }
}

/// A step that is to be tried.
struct Work {
    step: Step,
    phase: PhaseName,
    attempt: u32,
    /// Files that the process which the step restarts has to be younger than.
    younger_than: Vec<String>,
}

fn younger_than(plan: &Plan, phase: PhaseName, step: &Step) -> Vec<String> {
    match (&step.target, &step.action) {
        (Target::Node(node), Action::ReplaceStaticPod { component, .. }) => {
            plan.started_after(phase, node, *component)
        }
        _ => Vec::new(),
    }
}

async fn try_step(context: Arc<Context>, work: Work, sender: mpsc::UnboundedSender<Message>) {
    let Work { step, phase, attempt, younger_than } = work;
    if attempt > 1 {
        tokio::time::sleep(TRY_AGAIN_AFTER).await;
    }
    let began = context.ports.clock.now();
    tracing::debug!(step = step.id.0, attempt, target = %step.target, title = %step.title, "begins");
    context.tell(Happening::StepStarted {
        step: step.id,
        phase,
        target: step.target.clone(),
        title: step.title.clone(),
        attempt,
    });
    let mut waiting = |what: String| context.tell(Happening::StepWaiting { step: step.id, what });
    // An Await ends itself with what is missing; the margin lets it.
    let patience = Duration::from_secs(u64::from(step.patience.timeout_s) + 5);
    let result =
        tokio::time::timeout(patience, steps::perform(&context, &step, &younger_than, &mut waiting)).await;
    let ms = context.ms_since(began);
    let outcome = match result {
        Ok(Ok(evidence)) => {
            context.tell(Happening::StepDone { step: step.id, ms, evidence: evidence.clone() });
            Outcome::Done { step: step.id, evidence }
        }
        Ok(Err(error)) => {
            let stale = stale_nodes(&context, &step.action).await;
            let again = error.fault != Fault::Refused;
            let remedy = error.remedy.as_deref().map(|remedy| format!(" ({remedy})")).unwrap_or_default();
            Outcome::Failed { step: step.id, error: format!("{error}{remedy}"), again, stale }
        }
        Err(_) => Outcome::Failed {
            step: step.id,
            error: format!("it took longer than {} s", step.patience.timeout_s),
            again: true,
            stale: Vec::new(),
        },
    };
    tracing::debug!(step = step.id.0, ms, ?outcome, "ends");
    if let Outcome::Failed { error, again, .. } = &outcome {
        let again = *again && attempt < step.patience.attempts;
        context.tell(Happening::StepFailed { step: step.id, error: error.clone(), again });
    }
    // The loop is gone only when the run is.
    let _ = sender.send(Message::Outcome(outcome));
}

/// Where a wait has failed: nodes with a process that is older than the files that it was restarted for.
async fn stale_nodes(context: &Context, action: &Action) -> Vec<kubecert_core::model::NodeName> {
    let Action::Await { predicates } = action else { return Vec::new() };
    let credentials = context.credentials();
    let scene = predicate::Scene { ports: &context.ports, vault: &context.vault, credentials: &credentials };
    predicate::stale_nodes(scene, predicates).await
}

async fn prove(context: Arc<Context>, plan: Plan, sender: mpsc::UnboundedSender<Message>) {
    context.tell(Happening::BarrierWaiting { phase: PhaseName::Switch, missing: Vec::new() });
    let (records, outcome) = proof::prove(&context, &plan).await;
    let _ = sender.send(Message::Proof(records, outcome));
}

async fn check_barrier(
    context: Arc<Context>,
    phase: PhaseName,
    predicates: Vec<Predicate>,
    sender: mpsc::UnboundedSender<Message>,
) {
    context.tell(Happening::BarrierWaiting { phase, missing: Vec::new() });
    let credentials = context.credentials();
    let scene = predicate::Scene { ports: &context.ports, vault: &context.vault, credentials: &credentials };
    let waited = predicate::wait(scene, &predicates, BARRIER_PATIENCE, |missing| {
        context.tell(Happening::BarrierWaiting { phase, missing: missing.to_vec() });
    })
    .await;
    let outcome = match waited {
        Ok(evidence) => Outcome::BarrierMet { phase, evidence },
        Err(missing) => {
            let stale = predicate::stale_nodes(scene, &predicates).await;
            Outcome::BarrierMissed { phase, missing, stale }
        }
    };
    let _ = sender.send(Message::Outcome(outcome));
}

fn record(context: &Context, journal: &mut Journal, what: What) -> Result<(), RunError> {
    let record = Record { at: context.ports.clock.now(), what };
    journal.append(std::slice::from_ref(&record))?;
    Ok(())
}

fn phase_of(execution: &Execution, id: StepId) -> PhaseName {
    let phases = &execution.plan().phases;
    phases
        .iter()
        .find(|phase| phase.steps.iter().any(|step| step.id == id))
        .map_or(PhaseName::Prepare, |phase| phase.name)
}

fn barrier(execution: &Execution, name: PhaseName) -> Vec<Predicate> {
    let phases = &execution.plan().phases;
    let mut barrier =
        phases.iter().find(|phase| phase.name == name).map(|phase| phase.barrier.clone()).unwrap_or_default();
    barrier.retain(|predicate| !predicate.node().is_some_and(|node| execution.left_behind().contains(node)));
    barrier
}

/// Tells when phases begin and end.
#[derive(Default)]
struct PhaseClock {
    began: HashMap<PhaseName, Timestamp>,
    current: Option<PhaseName>,
}

impl PhaseClock {
    fn follow(&mut self, context: &Context, execution: &Execution) {
        let now = execution.phase();
        if now == self.current {
            return;
        }
        self.finish(context);
        if let Some(phase) = now {
            self.began.insert(phase, context.ports.clock.now());
            context.tell(Happening::PhaseStarted { phase });
        }
        self.current = now;
    }

    fn finish(&mut self, context: &Context) {
        if let Some(phase) = self.current.take()
            && let Some(began) = self.began.get(&phase)
        {
            let ms = context.ms_since(*began);
            context.tell(Happening::PhaseDone { phase, ms });
        }
    }
}
