//! The way back holds every invariant from every point of every plan, and ends where the rotation began.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::back::go_back;
use super::tests::{listed, planned, shapes};
use super::{Runner, form};
use crate::intent::{Intent, Scope, Strategy, Why};
use crate::inventory::Inventory;
use crate::plan::{PhaseName, Plan};
use crate::planner::{Progress, undo};
use crate::testing::{Shape, end_soon, naming};
use crate::world::World;

/// Whether the step at which the rotation stops has had its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    Done,
    BegunWithEffect,
    BegunWithout,
}

/// Goes back from where a rotation stopped, and says what was wrong.
fn back(
    mut runner: Runner,
    begin: &World,
    plan: &Plan,
    inventory: &Inventory,
    progress: &Progress,
) -> String {
    let back = undo(plan, inventory, progress).unwrap();
    let mut found = form(&back);
    found.retain(|violation| !violation.why.contains("nothing has put there"));
    found.extend(go_back(&mut runner, &back));
    let mut text = listed(&found);
    for (after, before) in runner.world.processes().iter().zip(begin.processes()) {
        if after.settled() != before.settled() {
            text += &format!("{} holds {:?} and held {:?}\n", after.who, after.settled(), before.settled());
        }
    }
    for pod in &runner.world.pods {
        let before = begin.pods.iter().find(|before| before.name == pod.name).unwrap();
        let kept = back.kept.iter().any(|kept| kept.id == pod.name.to_string());
        if !kept && (pod.roots, pod.token) != (before.roots, before.token) {
            text += &format!("{} may hold {:?} and {:?}\n", pod.name, pod.roots, pod.token);
        }
    }
    let objects = |world: &World| {
        let tokens: Vec<_> = world.token_secrets.iter().map(|secret| secret.token).collect();
        let servers: Vec<_> = world.pod_servers.iter().map(|server| server.presented).collect();
        format!("{:?}", (world.published, tokens, servers, &world.ca_bundles, world.extension, world.ours))
    };
    if objects(&runner.world) != objects(begin) {
        text += &format!("{} was {}\n", objects(&runner.world), objects(begin));
    }
    for node in runner.world.nodes().to_vec() {
        let disk = runner.world.disk(&node.name).unwrap();
        let left: Vec<&str> = disk.changed().collect();
        if !left.is_empty() {
            text += &format!("on {} these are not as they were: {left:?}\n", node.name);
        }
    }
    text
}

/// Rotates, stops at each step for which `stops` says so, in each way, and goes back from there.
pub(super) fn there_and_back(
    plan: &Plan,
    inventory: &Inventory,
    stops: impl Fn(usize, Last) -> bool,
) -> String {
    let mut runner = Runner::new(plan, inventory);
    let begin = runner.world.clone();
    let mut progress = Progress::default();
    let mut position = 0;
    let mut text = String::new();
    for phase in plan.phases.iter().take_while(|phase| phase.name < PhaseName::Drop) {
        runner.enter(phase, &plan.kept);
        for step in &phase.steps {
            let before = runner.clone();
            progress.begun.insert(step.id);
            runner.step(step);
            let mut done = progress.clone();
            done.done.insert(step.id);
            let ways = [
                (Last::BegunWithout, &before, &progress),
                (Last::BegunWithEffect, &runner, &progress),
                (Last::Done, &runner, &done),
            ];
            for (last, runner, progress) in ways.into_iter().filter(|(last, ..)| stops(position, *last)) {
                let found = back(runner.clone(), &begin, plan, inventory, progress);
                if !found.is_empty() {
                    text += &format!("stopped at step {position}, {} ({last:?}):\n{found}", step.title);
                }
            }
            progress = done;
            position += 1;
        }
        runner.leave(phase);
    }
    text
}

fn steps_before_drop(plan: &Plan) -> usize {
    steps_before(plan, PhaseName::Drop)
}

fn steps_before(plan: &Plan, name: PhaseName) -> usize {
    plan.phases.iter().take_while(|phase| phase.name < name).map(|phase| phase.steps.len()).sum()
}

/// From anywhere in a plan that leaves the cluster CA's key as it is.
#[test]
fn every_reason_goes_back_from_every_step() {
    let scoped = |why, scope| Intent { scope, ..Intent::new(why) };
    let intents =
        [Intent::new(Why::Renew), Intent::new(Why::ExtendCa), scoped(Why::ReplaceCa, Scope::FrontProxy)];
    for intent in intents {
        for minor in [24, 34] {
            let mut inventory = Shape { minor, ..Shape::sized(2, 1) }.inventory();
            if intent.why == Why::Renew {
                end_soon(&mut inventory, |name| !["ca", "proxyClientCA", "aggregator"].contains(&name));
            }
            let plan = crate::planner::plan(&inventory, &intent, &naming()).unwrap();
            let before_finish = steps_before(&plan, PhaseName::Finish);
            let found = there_and_back(&plan, &inventory, |position, _| position < before_finish);
            assert!(found.is_empty(), "{} {minor}\n{found}", intent.why);
            // From then on backups may be gone.
            let all = plan.steps().map(|step| step.id).collect();
            let progress = Progress { begun: all, done: BTreeSet::new() };
            assert_eq!(undo(&plan, &inventory, &progress), Err(crate::plan::PlanError::PastReturn));
        }
    }
}

#[test]
fn the_usual_cluster_goes_back_from_every_step() {
    for strategy in [Strategy::CrossSigned, Strategy::Bundled] {
        let (plan, inventory) = planned(&Shape::default(), strategy);
        // All of the three ways at each third step, and each step in one of them.
        let stops = |position: usize, last: Last| position.is_multiple_of(3) || last as usize == position % 3;
        let found = there_and_back(&plan, &inventory, stops);
        assert!(found.is_empty(), "{strategy}\n{found}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_cluster_goes_back_from_any_step(
        shape in shapes(),
        bundled in any::<bool>(),
        stop in 0..400_usize,
        last in prop_oneof![Just(Last::Done), Just(Last::BegunWithEffect), Just(Last::BegunWithout)],
    ) {
        let strategy = if bundled { Strategy::Bundled } else { Strategy::CrossSigned };
        let (plan, inventory) = planned(&shape, strategy);
        let stop = stop % steps_before_drop(&plan);
        let found = there_and_back(&plan, &inventory, |at, way| at == stop && way == last);
        prop_assert!(found.is_empty(), "{found}");

    }
}
