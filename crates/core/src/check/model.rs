//! Exhaustive checks: every order in which a driver may take the steps of a plan.
//!
//! Restarts, crashes and reload lags need no enumeration, they are in the sets that a [`World`] is made of; what is
//! left is the order of steps. Two reductions keep it small.
//!
//! *A step is taken as one*, although it has several effects and others may happen in between; everything is checked
//! after each effect all the same. What is never visited is a state in which two steps are both half done. The rules
//! about trust and tokens relate two processes at a time, value by value; so such a state is covered if each value in it
//! was there before the step, or is there after it, because the other step, half done, is visited with either. This
//! "before or after" is not taken on faith but is a property of the model ("no value in passing"). The rule about
//! control planes in hand counts, rather than relates; that no two of them can be in hand at once is checked on the
//! graph of the steps ([`super::form`]).
//!
//! *A chain of steps is taken as one* where each has no other successor than the next, and that no other predecessor;
//! the same argument and the same property hold. The largest clusters are checked this way, the others also without.

use std::fmt;
use std::hash::{Hash, Hasher};

use stateright::{Checker, Model, Property};

use super::Runner;
use crate::intent::{Intent, Scope, Strategy, Why};
use crate::inventory::Inventory;
use crate::plan::{Phase, Plan, Step, StepId};
use crate::testing::{Shape, end_soon, naming, replace_ca};
use crate::world::World;

/// Steps that are taken as one, with what must be done before.
struct Piece {
    steps: Vec<Step>,
    after: u128,
}

/// A plan, cut into pieces by phase.
struct Orders {
    plan: Plan,
    start: Runner,
    pieces: Vec<Vec<Piece>>,
}

#[derive(Clone)]
struct Position {
    phase: usize,
    /// The pieces of this phase that are done.
    done: u128,
    runner: Runner,
    violated: bool,
    in_passing: bool,
}

/// Short: the checker prints whole paths of these.
impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { phase, done, violated, in_passing, .. } = self;
        write!(f, "phase {phase}, done {done:b}, violated {violated}, in passing {in_passing}")
    }
}

impl Position {
    fn key(&self) -> (usize, u128, bool, bool, &World) {
        (self.phase, self.done, self.violated, self.in_passing, &self.runner.world)
    }
}

impl PartialEq for Position {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Position {}

impl Hash for Position {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.key().hash(hasher);
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Move {
    Take(usize),
    Pass,
}

impl Orders {
    fn new(shape: &Shape, strategy: Strategy, chains: bool) -> Self {
        Self::of(&shape.inventory(), &replace_ca(Some(strategy)), chains)
    }

    fn of(inventory: &Inventory, intent: &Intent, chains: bool) -> Self {
        let plan = crate::planner::plan(inventory, intent, &naming()).unwrap();
        let start = Runner::new(&plan, inventory);
        let pieces = plan.phases.iter().map(|phase| cut(phase, chains)).collect();
        Self { plan, start, pieces }
    }

    /// Takes a piece; whether a rule was broken, and whether something was held in passing only.
    fn take(runner: &mut Runner, piece: &Piece) -> (bool, bool) {
        let before = runner.world.everything();
        let mut between = Vec::new();
        let mut violated = false;
        for step in &piece.steps {
            violated |= !runner.step_with(step, |world| between.push(world.everything())).is_empty();
        }
        let after = runner.world.everything();
        let in_passing = between.iter().any(|values| {
            values
                .iter()
                .zip(before.iter().zip(&after))
                .any(|(now, (before, after))| !before.union(*after).covers(*now))
        });
        (violated, in_passing)
    }
}

impl Model for Orders {
    type State = Position;
    type Action = Move;

    fn init_states(&self) -> Vec<Position> {
        let mut runner = self.start.clone();
        let violated = !runner.enter(&self.plan.phases[0], &self.plan.kept).is_empty();
        vec![Position { phase: 0, done: 0, runner, violated, in_passing: false }]
    }

    fn actions(&self, state: &Position, actions: &mut Vec<Move>) {
        let Some(pieces) = self.pieces.get(state.phase) else { return };
        let free = |(_, piece): &(usize, &Piece)| piece.after & !state.done == 0;
        let left = pieces.iter().enumerate().filter(|(at, _)| state.done & (1 << at) == 0);
        actions.extend(left.filter(free).map(|(at, _)| Move::Take(at)));
        if state.done.count_ones() as usize == pieces.len() {
            actions.push(Move::Pass);
        }
    }

    fn next_state(&self, state: &Position, action: Move) -> Option<Position> {
        let mut next = state.clone();
        match action {
            Move::Take(at) => {
                let (violated, in_passing) = Self::take(&mut next.runner, &self.pieces[state.phase][at]);
                next.done |= 1 << at;
                next.violated |= violated;
                next.in_passing |= in_passing;
            }
            Move::Pass => {
                next.violated |= !next.runner.leave(&self.plan.phases[state.phase]).is_empty();
                next.phase += 1;
                next.done = 0;
                if let Some(phase) = self.plan.phases.get(next.phase) {
                    next.violated |= !next.runner.enter(phase, &self.plan.kept).is_empty();
                }
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("every invariant", |_, state: &Position| !state.violated),
            Property::always("no value in passing", |_, state: &Position| !state.in_passing),
            Property::eventually("the end", |model: &Self, state: &Position| {
                state.phase == model.plan.phases.len()
            }),
        ]
    }
}

/// Cuts a phase into steps, or into chains of steps.
fn cut(phase: &Phase, chains: bool) -> Vec<Piece> {
    let followers = |id: StepId| phase.steps.iter().filter(move |step| step.after.contains(&id)).count();
    let mut groups: Vec<Vec<&Step>> = Vec::new();
    for step in &phase.steps {
        let chain = groups.iter_mut().find(|group| {
            chains && group.last().is_some_and(|last| step.after == [last.id] && followers(last.id) == 1)
        });
        match chain {
            Some(chain) => chain.push(step),
            None => groups.push(vec![step]),
        }
    }
    assert!(groups.len() < 128, "{} steps do not fit a set of 128", groups.len());
    let place = |id: &StepId| groups.iter().position(|group| group.iter().any(|step| step.id == *id));
    groups
        .iter()
        .map(|group| Piece {
            after: group[0].after.iter().filter_map(place).fold(0, |after, at| after | 1 << at),
            steps: group.iter().map(|step| (*step).clone()).collect(),
        })
        .collect()
}

#[track_caller]
fn explored(shape: &Shape, strategy: Strategy, chains: bool) -> usize {
    all_visited(Orders::new(shape, strategy, chains))
}

#[track_caller]
fn all_visited(orders: Orders) -> usize {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = orders.checker().threads(threads).spawn_bfs().join();
    checker.assert_properties();
    checker.unique_state_count()
}

/// A cluster without the workloads, whose steps are many and alike.
fn plain(control_planes: usize, agents: usize) -> Shape {
    Shape { workloads: false, aggregated: false, monitors: false, ..Shape::sized(control_planes, agents) }
}

fn counts(strategy: Strategy, sizes: &[(usize, usize)], chains: bool) -> Vec<usize> {
    sizes.iter().map(|(masters, agents)| explored(&plain(*masters, *agents), strategy, chains)).collect()
}

#[test]
fn every_order_on_small_clusters() {
    let sizes = [(1, 0), (1, 1), (2, 0)];
    let found = [Strategy::CrossSigned, Strategy::Bundled].map(|strategy| counts(strategy, &sizes, false));
    assert_eq!(found, [[52, 93, 181], [136, 504, 492]]);
}

/// Renewing in a cluster in which everything that can be restarted for a leaf is, extending, the front proxy alone.
#[test]
fn every_order_for_every_reason() {
    let intents = [
        Intent::new(Why::Renew),
        Intent::new(Why::ExtendCa),
        Intent { scope: Scope::FrontProxy, ..Intent::new(Why::ReplaceCa) },
    ];
    let found = intents.map(|intent| {
        [(1, 1), (2, 0), (2, 1)].map(|(masters, agents)| {
            let mut inventory = Shape { minor: 24, ..plain(masters, agents) }.inventory();
            end_soon(&mut inventory, |name| !["ca", "proxyClientCA", "aggregator"].contains(&name));
            if intent.why != Why::Renew {
                inventory = Shape { minor: 24, ..plain(masters, agents) }.inventory();
            }
            all_visited(Orders::of(&inventory, &intent, true))
        })
    });
    assert_eq!(found, [[15, 15, 27], [39, 38, 73], [17, 34, 34]]);
}

#[test]
fn every_order_of_chains_on_middling_clusters() {
    let sizes = [(2, 1)];
    let found = [Strategy::CrossSigned, Strategy::Bundled].map(|strategy| counts(strategy, &sizes, true));
    assert_eq!(found, [[113], [166]]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes a minute without optimisation; `cargo xtask test` runs it with")]
fn every_order_of_chains_on_five_nodes() {
    let found =
        [Strategy::CrossSigned, Strategy::Bundled].map(|strategy| counts(strategy, &[(3, 0), (3, 2)], true));
    assert_eq!(found, [[131, 384], [142, 554]]);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes a minute without optimisation; `cargo xtask test` runs it with")]
fn every_order_of_chains_with_workloads() {
    let shape = Shape { monitors: false, ..Shape::sized(2, 1) };
    let found = [Strategy::CrossSigned, Strategy::Bundled].map(|strategy| explored(&shape, strategy, true));
    assert_eq!(found, [274, 282]);
}
