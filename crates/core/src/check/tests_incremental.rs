//! Looking at what an effect touched finds what looking at everything finds.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{Invariant, Runner, in_use, tokens, trust};
use crate::intent::Strategy;
use crate::inventory::Inventory;
use crate::material::{Content, Part};
use crate::plan::{Action, Plan};
use crate::testing::{Shape, naming, replace_ca};
use crate::world::World;

/// What is wrong, without the step: the same fault may be seen first at another one.
type Found = BTreeSet<(Invariant, String, String)>;

/// The rules about trust, tokens and use as [`super::run`] checks them, and as they are checked by looking at everything
/// after each effect.
fn both(plan: &Plan, inventory: &Inventory) -> (Found, Found) {
    let mut runner = Runner::new(plan, inventory);
    let (mut quick, mut thorough) = (Vec::new(), Vec::new());
    let everything = |world: &World| [trust(world), tokens(world), in_use(world)].concat();
    for phase in &plan.phases {
        quick.extend(runner.enter(phase, &plan.kept));
        thorough.extend(everything(&runner.world));
        for step in &phase.steps {
            quick.extend(runner.step_with(step, |world| thorough.extend(everything(world))));
        }
        quick.extend(runner.leave(phase));
        thorough.extend(everything(&runner.world));
    }
    // A process that would not come up is told under I1, too, and is nothing that a state shows.
    let found = |violations: Vec<super::Violation>| {
        violations
            .into_iter()
            .filter(|v| matches!(v.invariant, Invariant::Trust | Invariant::Tokens | Invariant::InUse))
            .filter(|v| !v.why.starts_with("it would not start"))
            .map(|v| (v.invariant, v.subject, v.why))
            .collect()
    };
    (found(quick), found(thorough))
}

/// Makes a plan wrong: steps are left out, waits wait for nothing, leaves lose their cross certificates.
fn spoil(plan: &mut Plan, left_out: &BTreeSet<usize>, without_waits: bool, without_cross: bool) {
    let mut position = 0;
    for phase in &mut plan.phases {
        phase.steps.retain(|_| {
            position += 1;
            !left_out.contains(&position)
        });
        for step in &mut phase.steps {
            match &mut step.action {
                Action::Await { predicates } if without_waits => predicates.clear(),
                Action::Write { files } if without_cross => {
                    for file in files {
                        if let Content::Parts(parts) = &mut file.content {
                            parts.retain(|part| !matches!(part, Part::Cross(_)));
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_overlooked(
        bundled in any::<bool>(),
        (planes, agents) in (1..=3_usize, 0..=3_usize),
        left_out in prop::collection::btree_set(0..140_usize, 0..10),
        without_waits in any::<bool>(),
        without_cross in any::<bool>(),
    ) {
        let inventory = Shape::sized(planes, agents).inventory();
        let strategy = if bundled { Strategy::Bundled } else { Strategy::CrossSigned };
        let mut plan = crate::planner::plan(&inventory, &replace_ca(Some(strategy)), &naming()).unwrap();
        spoil(&mut plan, &left_out, without_waits, without_cross);
        let (quick, thorough) = both(&plan, &inventory);
        prop_assert_eq!(quick, thorough);
    }
}

/// The comparison means something only if there is something to be found.
#[test]
fn spoilt_plans_are_wrong() {
    let inventory = Shape::default().inventory();
    let mut plan = crate::planner::plan(&inventory, &replace_ca(None), &naming()).unwrap();
    spoil(&mut plan, &BTreeSet::from([3, 30, 60]), true, true);
    let (quick, thorough) = both(&plan, &inventory);
    assert!(quick.len() > 10, "{quick:?}");
    assert_eq!(quick, thorough);
}
