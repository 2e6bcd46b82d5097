//! The execution of a plan as a state machine without I/O.
//!
//! The driver asks [`Execution::commands`] what to do, makes the answer durable, does it, and tells the outcome to
//! [`Execution::handle`]. After an interruption [`Execution::resume`] rebuilds the same state from the journal. Every
//! action is idempotent, so a step that was started and not finished is simply started again: its port looks first.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::NodeName;
use crate::plan::{Action, PhaseName, Plan, Step, StepId, Target};
use crate::planner::Progress;
use crate::record::What;

/// What the driver is to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Try a step; the journal must say so first.
    Start {
        /// Which one.
        step: StepId,
        /// Which try, from 1.
        attempt: u32,
    },
    /// Look whether the barrier of a phase is met.
    CheckBarrier {
        /// Which phase.
        phase: PhaseName,
    },
    /// See that nobody needs the old CA any more, and record that there is no way back from here.
    AnnounceDrop,
    /// Everything is done.
    Finish,
    /// Nothing more can be done safely; what runs has ended.
    Stop {
        /// Why.
        reason: String,
    },
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A step is done.
    Done {
        /// Which one.
        step: StepId,
        /// What shows it.
        evidence: String,
    },
    /// A try failed.
    Failed {
        /// Which step.
        step: StepId,
        /// Why.
        error: String,
        /// Whether trying again is of use: a refusal will be a refusal again.
        again: bool,
        /// Nodes with a process that is older than the files that it was restarted for.
        stale: Vec<NodeName>,
    },
    /// The barrier is met.
    BarrierMet {
        /// Whose.
        phase: PhaseName,
        /// What was observed.
        evidence: Vec<String>,
    },
    /// The barrier was not met in time.
    BarrierMissed {
        /// Whose.
        phase: PhaseName,
        /// What does not hold.
        missing: Vec<String>,
        /// Nodes with a process that is older than the files that it was restarted for.
        stale: Vec<NodeName>,
    },
    /// The point of no return is recorded.
    DropAnnounced,
    /// The old CA cannot be dropped yet, or is not to be.
    DropBlocked {
        /// Why.
        reason: String,
    },
    /// The operator wants to stop.
    Cancelled,
}

/// Why a journal does not fit its plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The journal names a step that the plan does not have.
    #[error(
        "the journal names step {step}, which the plan does not have; plan and journal do not belong together"
    )]
    UnknownStep {
        /// Which one.
        step: StepId,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not yet tried, or to be tried again; so many tries were made by this process.
    Waiting(u32),
    Running(u32),
    Done,
}

/// A plan under way.
#[derive(Clone, Debug)]
pub struct Execution {
    plan: Plan,
    states: BTreeMap<StepId, State>,
    /// Steps of earlier phases whose effect does not outlive the process or a timer, to be done again after a resume
    /// before anything else: diversions, paused units, credentials in use.
    again: BTreeSet<StepId>,
    /// Nodes whose steps of this phase were done a second time, since a process there was older than its files.
    redone: BTreeSet<(PhaseName, NodeName)>,
    barriers: BTreeSet<PhaseName>,
    checking: bool,
    dropped: bool,
    announcing: bool,
    stopping: Option<String>,
    ended: bool,
    left_behind: BTreeSet<NodeName>,
}

impl Execution {
    /// Begins a plan.
    pub fn start(plan: Plan) -> Self {
        let states = plan.steps().map(|step| (step.id, State::Waiting(0))).collect();
        Self {
            plan,
            states,
            again: BTreeSet::new(),
            redone: BTreeSet::new(),
            barriers: BTreeSet::new(),
            checking: false,
            dropped: false,
            announcing: false,
            stopping: None,
            ended: false,
            left_behind: BTreeSet::new(),
        }
    }

    /// Goes on with a plan from what the journal remembers.
    ///
    /// # Errors
    ///
    /// Fails if the journal names steps that the plan does not have.
    pub fn resume<'a>(plan: Plan, records: impl IntoIterator<Item = &'a What>) -> Result<Self, ReplayError> {
        let mut execution = Self::start(plan);
        for record in records {
            match record {
                What::Done { step, .. } => {
                    let state =
                        execution.states.get_mut(step).ok_or(ReplayError::UnknownStep { step: *step })?;
                    *state = State::Done;
                }
                What::Started { step, .. } | What::Failed { step, .. } => {
                    if !execution.states.contains_key(step) {
                        return Err(ReplayError::UnknownStep { step: *step });
                    }
                }
                What::BarrierMet { phase, .. } => {
                    execution.barriers.insert(*phase);
                }
                What::LeftBehind { node } => execution.leave_behind(node),
                What::TrustDropped => execution.dropped = true,
                // A process that was cut off after this record may not have put the run to rest; it is finished again.
                What::Finished
                | What::Bound { .. }
                | What::Issued { .. }
                | What::Adopted
                | What::Reconstructed
                | What::Resumed
                | What::Undoing
                | What::Held
                | What::DropAnyway { .. }
                | What::Proven { .. }
                | What::Stopped { .. } => {}
            }
        }
        execution.again = execution.fleeting();
        let left = execution.left_behind.clone();
        execution.again.retain(|id| {
            let target = execution.plan.step(*id).map(|step| &step.target);
            !matches!(target, Some(Target::Node(node)) if left.contains(node))
        });
        Ok(execution)
    }

    /// Leaves a node as it is from here on: its steps count as done.
    pub fn leave_behind(&mut self, node: &NodeName) {
        let here = |step: &&Step| matches!(&step.target, Target::Node(of) if of == node);
        for step in self.plan.steps().filter(here) {
            self.states.insert(step.id, State::Done);
            self.again.remove(&step.id);
        }
        self.left_behind.insert(node.clone());
    }

    /// The nodes that were left behind.
    pub const fn left_behind(&self) -> &BTreeSet<NodeName> {
        &self.left_behind
    }

    /// The plan.
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How far it has come, by what a journal tells.
    pub fn progress<'a>(records: impl IntoIterator<Item = &'a What>) -> Progress {
        let mut progress = Progress::default();
        for record in records {
            match record {
                What::Started { step, .. } => drop(progress.begun.insert(*step)),
                What::Done { step, .. } => drop(progress.done.insert(*step)),
                _ => {}
            }
        }
        progress
    }

    /// How many steps are done.
    pub fn done(&self) -> usize {
        self.states.values().filter(|state| **state == State::Done).count()
    }

    /// Whether the point of no return is behind.
    pub const fn is_past_return(&self) -> bool {
        self.dropped
    }

    /// Whether the plan was carried out to its end.
    pub const fn is_finished(&self) -> bool {
        self.ended
    }

    /// The phase under way, if any is left.
    pub fn phase(&self) -> Option<PhaseName> {
        self.plan.phases.iter().map(|phase| phase.name).find(|name| !self.barriers.contains(name))
    }

    /// Steps whose counterpart has not been done: what has to be taken back on the way out.
    pub fn open(&self) -> Vec<&Step> {
        self.plan.steps().filter(|step| self.states[&step.id] == State::Done && self.is_open(step)).collect()
    }

    /// What to do next. Each command is given once; its outcome must be told before more can follow from it.
    pub fn commands(&mut self) -> Vec<Command> {
        if self.ended || self.checking || self.announcing {
            return Vec::new();
        }
        let running = self.states.values().any(|state| matches!(state, State::Running(_)));
        if let Some(reason) = &self.stopping {
            if running {
                return Vec::new();
            }
            self.ended = true;
            return vec![Command::Stop { reason: reason.clone() }];
        }
        if !self.again.is_empty() {
            return if running { Vec::new() } else { self.start_again() };
        }
        let Some(name) = self.phase() else {
            self.ended = true;
            return vec![Command::Finish];
        };
        if name == PhaseName::Drop && !self.dropped {
            self.announcing = true;
            return vec![Command::AnnounceDrop];
        }
        let Some(phase) = self.plan.phases.iter().find(|phase| phase.name == name) else { return Vec::new() };
        if phase.steps.iter().all(|step| self.states[&step.id] == State::Done) {
            self.checking = true;
            return vec![Command::CheckBarrier { phase: name }];
        }
        let ready: Vec<StepId> = phase
            .steps
            .iter()
            .filter(|step| matches!(self.states[&step.id], State::Waiting(_)))
            .filter(|step| step.after.iter().all(|before| self.states.get(before) == Some(&State::Done)))
            .map(|step| step.id)
            .collect();
        ready.into_iter().map(|step| self.begin(step)).collect()
    }

    /// Takes in what came of a command and returns what the journal must hold before [`Execution::commands`] is asked again.
    pub fn handle(&mut self, outcome: Outcome) -> Option<What> {
        match outcome {
            Outcome::Done { step, evidence } => {
                self.states.insert(step, State::Done);
                self.again.remove(&step);
                Some(What::Done { step, evidence })
            }
            Outcome::Failed { step, error, again, stale } => {
                let attempt = match self.states.get(&step) {
                    Some(State::Running(attempt)) => *attempt,
                    _ => 0,
                };
                self.states.insert(step, State::Waiting(attempt));
                let attempts = self.plan.step(step).map_or(0, |step| step.patience.attempts);
                let last = !(again && attempt < attempts);
                if last && self.stopping.is_none() && !self.redo(&stale) {
                    let title = self
                        .plan
                        .step(step)
                        .map(|step| format!("{} on {}", step.title, step.target))
                        .unwrap_or_default();
                    self.stopping = Some(format!("cannot {title}: {error}"));
                }
                Some(What::Failed { step, error })
            }
            Outcome::BarrierMet { phase, evidence } => {
                self.checking = false;
                self.barriers.insert(phase);
                Some(What::BarrierMet { phase, evidence })
            }
            Outcome::BarrierMissed { phase, missing, stale } => {
                self.checking = false;
                if self.redo(&stale) {
                    return None;
                }
                self.stopping = Some(format!(
                    "phase {phase} cannot end, since this does not hold: {}",
                    missing.join("; ")
                ));
                None
            }
            Outcome::DropAnnounced => {
                self.announcing = false;
                self.dropped = true;
                Some(What::TrustDropped)
            }
            Outcome::DropBlocked { reason } => {
                self.announcing = false;
                self.stopping.get_or_insert(reason);
                None
            }
            Outcome::Cancelled => {
                if self.stopping.is_none() {
                    self.stopping = Some("the operator asked to stop".to_owned());
                }
                None
            }
        }
    }

    /// Lets the steps of this phase on some nodes be done again, with the waits that they come after: once for each node.
    ///
    /// A process that was restarted and yet is older than its files has had them changed under it since (configuration
    /// management that puts files back), or its node's clock was set meanwhile. To do a step again is always safe, and
    /// nothing else would ever make that barrier hold. Returns whether there is anything to be done again.
    fn redo(&mut self, nodes: &[NodeName]) -> bool {
        let Some(name) = self.phase() else { return false };
        let fresh: BTreeSet<&NodeName> =
            nodes.iter().filter(|node| self.redone.insert((name, (*node).clone()))).collect();
        let Some(phase) = self.plan.phases.iter().find(|phase| phase.name == name) else { return false };
        let mut wanted: BTreeSet<StepId> = phase
            .steps
            .iter()
            .filter(|step| matches!(&step.target, Target::Node(node) if fresh.contains(node)))
            .map(|step| step.id)
            .collect();
        if wanted.is_empty() {
            return false;
        }
        // Steps come after those that they name, so one pass from the last to the first finds everything before.
        let mut before: BTreeSet<StepId> = BTreeSet::new();
        for step in phase.steps.iter().rev() {
            if wanted.contains(&step.id) || before.contains(&step.id) {
                before.extend(&step.after);
            }
            if before.contains(&step.id) && matches!(step.action, Action::Await { .. }) {
                wanted.insert(step.id);
            }
        }
        for step in wanted {
            if !matches!(self.states.get(&step), Some(State::Running(_))) {
                self.states.insert(step, State::Waiting(0));
            }
        }
        true
    }

    fn begin(&mut self, step: StepId) -> Command {
        let attempt = match self.states.get(&step) {
            Some(State::Waiting(tries)) => tries + 1,
            _ => 1,
        };
        self.states.insert(step, State::Running(attempt));
        Command::Start { step, attempt }
    }

    fn start_again(&mut self) -> Vec<Command> {
        let steps: Vec<StepId> = self.again.iter().copied().collect();
        steps.into_iter().map(|step| self.begin(step)).collect()
    }

    /// Done steps whose effect may be gone by now although it is still wanted.
    fn fleeting(&self) -> BTreeSet<StepId> {
        let mut steps: BTreeSet<StepId> = self.open().into_iter().map(|step| step.id).collect();
        // Credentials in use are in this process's memory only; the last ones that were set count.
        let credentials = self
            .plan
            .steps()
            .filter(|step| matches!(step.action, Action::UseCredentials { .. }))
            .filter(|step| self.states[&step.id] == State::Done)
            .map(|step| step.id)
            .max();
        steps.extend(credentials);
        steps
    }

    /// Whether a done step has a counterpart on the same target that is not done.
    fn is_open(&self, step: &Step) -> bool {
        let pending = |counterpart: fn(&Action) -> bool| {
            self.plan
                .steps()
                .filter(|other| {
                    other.id > step.id && other.target == step.target && counterpart(&other.action)
                })
                .min_by_key(|other| other.id)
                .is_some_and(|other| self.states[&other.id] != State::Done)
        };
        match step.action {
            Action::Divert { .. } => pending(|action| matches!(action, Action::Undivert)),
            Action::PauseUnits { .. } => pending(|action| matches!(action, Action::ResumeUnits { .. })),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::intent::{Limits, Scope, Strategy, Why};
    use crate::model::ClusterName;
    use crate::plan::{Patience, Phase, Target};

    fn step(id: u32, action: Action, after: &[u32]) -> Step {
        Step {
            id: StepId(id),
            title: "act".to_owned(),
            target: Target::Node("m0".into()),
            action,
            after: after.iter().copied().map(StepId).collect(),
            patience: Patience { attempts: 2, timeout_s: 1 },
        }
    }

    fn plan() -> Plan {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let divert = Action::Divert { from: address, to: address, port: 443 };
        Plan {
            schema: Plan::SCHEMA,
            cluster: ClusterName::from("test"),
            why: Why::ReplaceCa,
            strategy: Strategy::CrossSigned,
            scope: Scope::All,
            limits: Limits::default(),
            authorities: Vec::new(),
            leaves: Vec::new(),
            key_pairs: Vec::new(),
            phases: vec![
                Phase {
                    name: PhaseName::Introduce,
                    steps: vec![
                        step(1, divert, &[]),
                        step(2, Action::Await { predicates: Vec::new() }, &[1]),
                        step(3, Action::Undivert, &[2]),
                    ],
                    barrier: Vec::new(),
                },
                Phase {
                    name: PhaseName::Drop,
                    steps: vec![step(4, Action::Remove { paths: Vec::new() }, &[])],
                    barrier: Vec::new(),
                },
            ],
            kept: Vec::new(),
            notices: Vec::new(),
        }
    }

    fn done(step: u32) -> Outcome {
        Outcome::Done { step: StepId(step), evidence: String::new() }
    }

    #[test]
    fn steps_wait_for_those_before_them_and_phases_for_barriers() {
        let mut execution = Execution::start(plan());
        assert_eq!(execution.commands(), [Command::Start { step: StepId(1), attempt: 1 }]);
        assert_eq!(execution.commands(), []);
        execution.handle(done(1));
        assert_eq!(execution.commands(), [Command::Start { step: StepId(2), attempt: 1 }]);
        execution.handle(done(2));
        execution.commands();
        execution.handle(done(3));
        assert_eq!(execution.commands(), [Command::CheckBarrier { phase: PhaseName::Introduce }]);
        execution.handle(Outcome::BarrierMet { phase: PhaseName::Introduce, evidence: Vec::new() });
        assert_eq!(execution.commands(), [Command::AnnounceDrop]);
        assert_eq!(execution.handle(Outcome::DropAnnounced), Some(What::TrustDropped));
        assert_eq!(execution.commands(), [Command::Start { step: StepId(4), attempt: 1 }]);
        execution.handle(done(4));
        execution.commands();
        execution.handle(Outcome::BarrierMet { phase: PhaseName::Drop, evidence: Vec::new() });
        assert_eq!(execution.commands(), [Command::Finish]);
    }

    #[test]
    fn a_refusal_stops_at_once_and_a_failure_after_the_last_try() {
        for (again, tries) in [(false, 1), (true, 2)] {
            let mut execution = Execution::start(plan());
            for attempt in 1..=tries {
                assert_eq!(execution.commands(), [Command::Start { step: StepId(1), attempt }]);
                let stale = Vec::new();
                execution.handle(Outcome::Failed { step: StepId(1), error: "no".to_owned(), again, stale });
            }
            assert!(matches!(execution.commands().as_slice(), [Command::Stop { .. }]));
        }
    }

    /// Whoever was cut off between the last record and putting the run to rest puts it to rest.
    #[test]
    fn a_run_that_has_finished_finishes_again() {
        let records: Vec<What> = (1..=4)
            .map(|step| What::Done { step: StepId(step), evidence: String::new() })
            .chain(
                [PhaseName::Introduce, PhaseName::Drop]
                    .map(|phase| What::BarrierMet { phase, evidence: Vec::new() }),
            )
            .chain([What::TrustDropped, What::Finished])
            .collect();
        let mut execution = Execution::resume(plan(), &records).unwrap();
        assert_eq!(execution.commands(), [Command::Finish]);
    }

    /// A process that is older than its files is restarted once more, with everything around its restart.
    #[test]
    fn a_stale_node_is_visited_again_once() {
        let mut execution = Execution::start(plan());
        for step in 1..=3 {
            execution.commands();
            execution.handle(done(step));
        }
        let missed = || Outcome::BarrierMissed {
            phase: PhaseName::Introduce,
            missing: vec!["etcd on m0 has started with its new files".to_owned()],
            stale: vec!["m0".into()],
        };
        assert_eq!(execution.commands(), [Command::CheckBarrier { phase: PhaseName::Introduce }]);
        assert_eq!(execution.handle(missed()), None);
        for step in 1..=3 {
            assert_eq!(execution.commands(), [Command::Start { step: StepId(step), attempt: 1 }]);
            execution.handle(done(step));
        }
        assert_eq!(execution.commands(), [Command::CheckBarrier { phase: PhaseName::Introduce }]);
        execution.handle(missed());
        assert!(matches!(execution.commands().as_slice(), [Command::Stop { .. }]));
    }

    #[test]
    fn after_a_resume_open_diversions_are_made_again_first() {
        let records = [
            What::Done { step: StepId(1), evidence: String::new() },
            What::Started { step: StepId(2), attempt: 1 },
        ];
        let mut execution = Execution::resume(plan(), &records).unwrap();
        assert_eq!(execution.open().len(), 1);
        assert_eq!(execution.commands(), [Command::Start { step: StepId(1), attempt: 1 }]);
        execution.handle(done(1));
        assert_eq!(execution.commands(), [Command::Start { step: StepId(2), attempt: 1 }]);
        let unknown = [What::Done { step: StepId(9), evidence: String::new() }];
        assert_eq!(
            Execution::resume(plan(), &unknown).unwrap_err(),
            ReplayError::UnknownStep { step: StepId(9) }
        );
    }
}
