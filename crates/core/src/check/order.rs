//! What comes after what in a phase.

use std::collections::{HashMap, HashSet};

use crate::plan::{Phase, StepId};

/// The order of the steps of one phase, so that a question about two of them need not walk through thousands.
pub(super) struct Order<'a> {
    phase: &'a Phase,
    positions: HashMap<StepId, usize>,
    /// Whether steps come after earlier ones only, as they must. Then nothing before a step leads to it.
    backward: bool,
}

impl<'a> Order<'a> {
    pub(super) fn of(phase: &'a Phase) -> Self {
        let mut positions = HashMap::with_capacity(phase.steps.len());
        for (position, step) in phase.steps.iter().enumerate() {
            positions.entry(step.id).or_insert(position);
        }
        let backward = phase.steps.iter().enumerate().all(|(position, step)| {
            step.after.iter().all(|after| positions.get(after).is_none_or(|before| *before < position))
        });
        Self { phase, positions, backward }
    }

    /// Whether one step comes after another, directly or not.
    pub(super) fn comes_after(&self, step: StepId, earlier: StepId) -> bool {
        let Some(goal) = self.positions.get(&earlier).copied() else { return false };
        let mut waiting: Vec<usize> = self.positions.get(&step).copied().into_iter().collect();
        let mut seen = HashSet::new();
        while let Some(position) = waiting.pop() {
            let after = &self.phase.steps[position].after;
            if after.contains(&earlier) {
                return true;
            }
            let next = after.iter().filter_map(|id| self.positions.get(id).copied());
            let next = next.filter(|position| !self.backward || *position > goal);
            waiting.extend(next.filter(|position| seen.insert(*position)));
        }
        false
    }
}
