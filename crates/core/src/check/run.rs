//! Tries a plan out (I1 to I6 and I8).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::edges::{Need, is_bystander, of_bystanders, unanswered};
use super::{Invariant, Violation};
use crate::intent::Strategy;
use crate::inventory::Inventory;
use crate::model::{Component, NodeName, Role, TrustDomain};
use crate::plan::{Action, Phase, PhaseName, Plan, Predicate, Step, Target};
use crate::world::{
    Disk, Effect, Ended, Generations, Health, Impossible, Kind, Kinship, Process, Slot, Values, Who, World,
};

/// Tries a plan out in the order of its ids, and checks everything after every effect.
pub fn run(plan: &Plan, inventory: &Inventory) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut runner = Runner::new(plan, inventory);
    for phase in &plan.phases {
        violations.extend(runner.enter(phase, &plan.kept));
        for step in &phase.steps {
            violations.extend(runner.step(step));
        }
        violations.extend(runner.leave(phase));
    }
    violations.extend(super::end(plan, &runner.world));
    first_of_each(violations)
}

/// What is wrong in one state is mostly wrong in the next one, too; the first is the one to look at.
pub(super) fn first_of_each(mut violations: Vec<Violation>) -> Vec<Violation> {
    let mut seen = BTreeSet::new();
    violations.retain(|violation| {
        seen.insert((violation.invariant, violation.subject.clone(), violation.why.clone()))
    });
    violations
}

/// What has become possible that was not.
enum Fresh {
    Nothing,
    /// These processes, which nobody but the API servers has to do with, may hold something else.
    Bystanders(Vec<usize>),
    /// Something that others depend on, too.
    Anything,
}

/// Replaces values by those of now; whether any of these was not possible before.
fn take_in(before: &mut [Values], now: impl IntoIterator<Item = Values>) -> bool {
    let mut grew = false;
    for (before, now) in before.iter_mut().zip(now) {
        grew |= !before.covers(now);
        *before = now;
    }
    grew
}

/// Walks a world through a plan, in any order that the caller likes, and checks the invariants on the way.
#[derive(Clone, Debug)]
pub struct Runner {
    /// The world as it is now.
    pub world: World,
    /// All that is possible in it, as of the last look.
    possible: Vec<Values>,
    /// Files that were backed up, by node.
    backed_up: Arc<BTreeMap<NodeName, BTreeSet<String>>>,
}

impl Runner {
    /// Before the first phase.
    pub fn new(plan: &Plan, inventory: &Inventory) -> Self {
        let world = World::from_inventory(inventory, plan);
        Self { possible: world.everything(), world, backed_up: Arc::default() }
    }

    /// Begins a phase.
    pub fn enter(&mut self, phase: &Phase, kept: &[crate::plan::Kept]) -> Vec<Violation> {
        self.world.enter(phase.name);
        // What is left behind works until the servers change to what it does not know.
        let left_behind = match self.world.strategy {
            Strategy::CrossSigned => Some(PhaseName::Drop),
            Strategy::Bundled => Some(PhaseName::Switch),
            Strategy::SameCa | Strategy::SameKey => None,
        };
        let is_left_behind = left_behind.is_some_and(|from| phase.name >= from);
        if is_left_behind || (left_behind.is_some() && phase.name == PhaseName::Retract) {
            for kept in kept {
                self.world.forget_pod(&kept.id);
            }
        }
        self.look_at_everything();
        if self.is_recovering() { Vec::new() } else { super::state(&self.world) }
    }

    /// Whether the cluster has not been brought back yet: nobody accepts anybody, so that there is nothing that a step could
    /// break, but much that it could wait for in vain.
    fn is_recovering(&self) -> bool {
        self.world.ended != Ended::Nothing && self.world.phase() <= PhaseName::Switch
    }

    /// Does a step, and checks after each of its effects.
    pub fn step(&mut self, step: &Step) -> Vec<Violation> {
        self.step_with(step, |_| {})
    }

    /// The same, and lets somebody look after each effect.
    pub(super) fn step_with(&mut self, step: &Step, mut look: impl FnMut(&World)) -> Vec<Violation> {
        let mut violations = Vec::new();
        self.back_up(step);
        let effects = match World::effects(step) {
            Ok(effects) => effects,
            Err(why) => return vec![Violation::new(Invariant::Form, step.title.clone(), why).at(step.id)],
        };
        let recovering = self.is_recovering();
        if recovering && step.target == Target::Api && !matches!(step.action, Action::Await { .. }) {
            violations.extend(unanswered(&self.world, Need::Api));
        }
        for effect in effects {
            violations.extend(self.can_be_undone(&effect));
            if recovering {
                violations.extend(self.can_be_seen(&effect));
            } else {
                violations.extend(self.ends_safely(&effect));
            }
            let before = acceptance(&self.world);
            match self.world.enact(&effect) {
                Ok(()) => {}
                Err(error) => {
                    let subject = step.title.clone();
                    violations.push(Violation::new(Invariant::Form, subject, error.to_string()));
                    if matches!(error, Impossible::Never(_)) {
                        continue;
                    }
                    break;
                }
            }
            look(&self.world);
            if recovering {
                self.look_at_everything();
                continue;
            }
            violations.extend(only_grows(&before, &self.world));
            violations.extend(super::one_at_a_time(&self.world));
            // The other rules speak of what is possible, so that only something newly possible can break them.
            match self.look() {
                Fresh::Nothing => {}
                Fresh::Bystanders(positions) => {
                    let processes = self.world.processes();
                    let bystanders: Vec<&Process> = positions.iter().map(|at| &processes[*at]).collect();
                    violations.extend(of_bystanders(&self.world, &bystanders));
                }
                Fresh::Anything => {
                    violations.extend(super::trust(&self.world));
                    violations.extend(super::tokens(&self.world));
                    violations.extend(super::in_use(&self.world));
                }
            }
            if let Effect::Write(node, path, _) | Effect::Remove(node, path) = &effect {
                violations
                    .extend(startable(&self.world, node, false, |process, disk| process.reads(disk, path)));
            }
        }
        if let (Target::Node(node), false) = (&step.target, matches!(step.action, Action::Await { .. })) {
            violations.extend(startable(&self.world, node, true, |_, _| true));
        }
        violations.into_iter().map(|violation| violation.at(step.id)).collect()
    }

    /// Passes a phase's barrier.
    pub fn leave(&mut self, phase: &Phase) -> Vec<Violation> {
        let mut violations = Vec::new();
        for predicate in &phase.barrier {
            if !self.world.observe(predicate) {
                let subject = format!("barrier of phase {}", phase.name);
                let why = format!("waits for something that nothing brings about: {predicate}");
                violations.push(Violation::new(Invariant::Form, subject, why));
            }
        }
        if !self.world.diverted.is_empty() {
            let subject = format!("phase {}", phase.name);
            violations.push(Violation::new(Invariant::OneAtATime, subject, "it leaves a diversion behind"));
        }
        if matches!(phase.name, PhaseName::Finish | PhaseName::Restore) && !self.world.paused.is_empty() {
            let subject = format!("phase {}", phase.name);
            violations.push(Violation::new(Invariant::Form, subject, "it leaves units paused"));
        }
        self.look_at_everything();
        if !self.is_recovering() || phase.name == PhaseName::Switch {
            violations.extend(super::state(&self.world));
        }
        violations
    }

    /// Takes in all that is possible, as at the beginning or after a phase.
    fn look_at_everything(&mut self) {
        self.world.take_touched();
        self.possible = self.world.everything();
    }

    /// Takes in what is possible after an effect, and says what was not possible before it. Nothing but what the world
    /// says it touched is looked at, since an effect touches few processes and there are thousands.
    fn look(&mut self) -> Fresh {
        let mut fresh = Fresh::Nothing;
        let (of_processes, elsewhere) =
            self.possible.split_at_mut(self.world.processes().len() * Slot::COUNT);
        let touched = self.world.take_touched();
        for at in touched.processes {
            let process = &self.world.processes()[at];
            let before = &mut of_processes[at * Slot::COUNT..][..Slot::COUNT];
            let grew = take_in(before, process.everything());
            fresh = match (fresh, grew) {
                (fresh, false) => fresh,
                (Fresh::Bystanders(mut all), true) if is_bystander(process) => {
                    all.push(at);
                    Fresh::Bystanders(all)
                }
                (Fresh::Nothing, true) if is_bystander(process) => Fresh::Bystanders(vec![at]),
                (_, true) => Fresh::Anything,
            };
        }
        if touched.elsewhere && take_in(elsewhere, self.world.everything_else()) {
            fresh = Fresh::Anything;
        }
        debug_assert_eq!(self.possible, self.world.everything(), "the world did not say what it touched");
        fresh
    }

    /// I1 in a cluster that is being brought back: what a step waits for can be seen only if those answer who are asked.
    fn can_be_seen(&self, effect: &Effect) -> Vec<Violation> {
        let Effect::See(predicate) = effect else { return Vec::new() };
        let need = match predicate {
            Predicate::EtcdHealthy => Need::Etcd,
            Predicate::ApiServerReady { node }
            | Predicate::AcceptsClientsOf { node, .. }
            | Predicate::RefusesClientsOf { node, .. } => Need::ApiServer(node),
            Predicate::NodeReady { node } => Need::Kubelet(node),
            Predicate::ControllerManagerLeads { .. }
            | Predicate::RootsPublished { .. }
            | Predicate::TokenSecretsCarry { .. } => Need::ControllerManagers,
            Predicate::ExtensionTrusts { .. } | Predicate::AggregatedApisAvailable => Need::Api,
            _ => return Vec::new(),
        };
        unanswered(&self.world, need)
    }

    fn back_up(&mut self, step: &Step) {
        if let (Action::BackUp { paths }, Target::Node(node)) = (&step.action, &step.target) {
            Arc::make_mut(&mut self.backed_up).entry(node.clone()).or_default().extend(paths.iter().cloned());
        }
    }

    /// I8: what changes before the old CA is dropped lies in a backup, or below kubecert's own directory.
    fn can_be_undone(&self, effect: &Effect) -> Option<Violation> {
        let (node, paths) = match effect {
            Effect::Write(node, path, _) | Effect::Place(node, _, path, _) | Effect::Remove(node, path) => {
                (node, std::slice::from_ref(path))
            }
            Effect::Afresh(node, _, forget) => (node, forget.as_slice()),
            _ => return None,
        };
        if self.world.phase() >= PhaseName::Drop {
            return None;
        }
        let saved = |path: &String| self.backed_up.get(node).is_some_and(|paths| paths.contains(path));
        let path = paths.iter().find(|path| !crate::layout::is_staged(path) && !saved(path))?;
        Some(Violation::new(Invariant::Undo, format!("{path} on {node}"), "it changes without a backup"))
    }

    /// I3: an API server, or the etcd member that it depends on, ends only while new connections go elsewhere.
    fn ends_safely(&self, effect: &Effect) -> Option<Violation> {
        let several =
            || self.world.nodes().iter().filter(|node| node.role == Role::ControlPlane).nth(1).is_some();
        match effect {
            Effect::End(node, component @ (Component::ApiServer | Component::Etcd))
                if !self.world.diverted.contains(node) && several() =>
            {
                let why = "it ends while new connections still go to its node";
                Some(Violation::new(Invariant::OneAtATime, format!("{component} on {node}"), why))
            }
            Effect::Undivert(node) => {
                let process = self.world.process(node, Component::ApiServer)?;
                (process.health != Health::Serving).then(|| {
                    let why = "new connections go to it before it was seen to serve";
                    Violation::new(Invariant::OneAtATime, process.who.to_string(), why)
                })
            }
            _ => None,
        }
    }
}

/// I3: at most one control plane has an API server or an etcd member that nobody has seen serve since it was restarted,
/// and at most one is diverted.
pub fn one_at_a_time(world: &World) -> Vec<Violation> {
    let mut away: BTreeSet<&NodeName> = world.diverted.iter().collect();
    away.extend(
        world
            .each(Component::ApiServer)
            .chain(world.each(Component::Etcd))
            .filter(|process| process.health != Health::Serving)
            .map(|process| &process.who.node),
    );
    if away.len() < 2 {
        return Vec::new();
    }
    let names = away.into_iter().map(NodeName::as_str).collect::<Vec<_>>().join(" and ");
    vec![Violation::new(Invariant::OneAtATime, names, "they are in hand at the same time")]
}

/// What an API server or an etcd member accepts its clients by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acceptance {
    who: Arc<Who>,
    slot: Slot,
    held: Generations,
}

/// What API servers and etcd members accept, in the order of the processes.
pub fn acceptance(world: &World) -> Vec<Acceptance> {
    let stores = [Slot::ClientCa, Slot::PeerCa, Slot::RequestHeaderCa, Slot::TokenKeys];
    world
        .each(Component::ApiServer)
        .chain(world.each(Component::Etcd))
        .flat_map(|process| {
            stores.into_iter().filter_map(|slot| {
                let held = process.expected(slot)?.surely_as(kinship(world, slot));
                Some(Acceptance { who: Arc::clone(&process.who), slot, held })
            })
        })
        .collect()
}

/// How what is accepted there before and after the run is related. Tokens are verified by keys, which are what they are.
fn kinship(world: &World, slot: Slot) -> Kinship {
    match slot {
        Slot::ClientCa => world.kinship(TrustDomain::Cluster),
        Slot::PeerCa => world.kinship(world.layout.etcd_domain()),
        Slot::RequestHeaderCa => world.kinship(TrustDomain::FrontProxy),
        _ => Kinship::Strangers,
    }
}

/// I4: what API servers and etcd members accept only grows before the old CA is dropped; from then on what an API server
/// accepts only shrinks, and what an etcd member accepts has the new CA. When the new CA is retracted, it only shrinks.
///
/// With cross certificates an etcd member goes from the old CA to the new one in a single start, since all its clients
/// present leaves that both accept; that is I1's business. Kubelets are left out for the same reason: their only clients
/// with certificates are the API servers.
pub fn only_grows(before: &[Acceptance], after: &World) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (before, after_) in before.iter().zip(acceptance(after)) {
        let (was, is) = (before.held, after_.held);
        let api_server = before.who.kind == Kind::Component(Component::ApiServer);
        let why = if after.phase() == PhaseName::Retract {
            (!was.holds(is)).then_some("grows while the new CA is retracted")
        } else if after.phase() < PhaseName::Drop {
            (!is.holds(was)).then_some("shrinks before the old CA is dropped")
        } else if api_server {
            (!was.holds(is)).then_some("grows after the old CA was dropped")
        } else {
            (was != is && !is.holds(Generations::NEW)).then_some("goes back")
        };
        if let Some(why) = why {
            let why = format!("its {:?} {why}: from {was} to {is}", before.slot);
            violations.push(Violation::new(Invariant::OnlyGrows, before.who.to_string(), why));
        }
    }
    violations
}

/// I1 once more: a process that restarts at this instant must come up. `settled` says that nobody is in the middle of
/// replacing a pair on that node.
fn startable(
    world: &World,
    node: &NodeName,
    settled: bool,
    concerned: impl Fn(&Process, &Disk) -> bool,
) -> Vec<Violation> {
    let Some(disk) = world.disk(node) else { return Vec::new() };
    let here = world.on(node).iter().filter(|process| concerned(process, disk));
    here.flat_map(|process| {
        let reasons = process.broken(disk, settled).into_iter();
        reasons.map(|why| {
            Violation::new(Invariant::Trust, process.who.to_string(), format!("it would not start: {why}"))
        })
    })
    .collect()
}
