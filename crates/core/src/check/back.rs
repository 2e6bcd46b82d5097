//! Tries the way back out, from where a rotation stopped.

use super::run::{Runner, first_of_each};
use super::{Violation, form};
use crate::inventory::Inventory;
use crate::plan::{Phase, PhaseName, Plan, Step};
use crate::planner::Progress;

/// Checks the way back of a rotation that has come as far as `progress` says: its form, and every invariant after every
/// effect of every step, from a cluster on which each step that was begun and not done has had its effect or not. Empty if
/// it may be applied.
pub fn way_back(plan: &Plan, inventory: &Inventory, progress: &Progress, back: &Plan) -> Vec<Violation> {
    let mut violations = form(back);
    // What was staged is there since the rotation's first phase.
    violations.retain(|violation| !violation.why.ends_with("which nothing has put there"));
    for with_effect in [true, false] {
        let mut runner = rotated(plan, inventory, progress, with_effect);
        violations.extend(go_back(&mut runner, back));
    }
    first_of_each(violations)
}

/// The cluster as far as the rotation has come.
fn rotated(plan: &Plan, inventory: &Inventory, progress: &Progress, with_effect: bool) -> Runner {
    let mut runner = Runner::new(plan, inventory);
    let mut earlier: Option<&Phase> = None;
    for phase in plan.phases.iter().take_while(|phase| phase.name < PhaseName::Drop) {
        let begun = |step: &&Step| progress.begun.contains(&step.id);
        if !phase.steps.iter().any(|step| begun(&step)) {
            break;
        }
        // That a phase was begun proves that the barrier before it was met.
        if let Some(earlier) = earlier {
            runner.leave(earlier);
        }
        runner.enter(phase, &plan.kept);
        for step in phase.steps.iter().filter(begun) {
            if progress.done.contains(&step.id) || with_effect {
                runner.step(step);
            }
        }
        earlier = Some(phase);
    }
    runner
}

/// Goes back, and says what breaks on the way.
pub(super) fn go_back(runner: &mut Runner, back: &Plan) -> Vec<Violation> {
    let mut violations = Vec::new();
    for phase in &back.phases {
        violations.extend(runner.enter(phase, &back.kept));
        for step in &phase.steps {
            violations.extend(runner.step(step));
        }
        violations.extend(runner.leave(phase));
    }
    violations
}
