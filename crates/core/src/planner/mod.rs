//! The planner: from what was seen and what is wanted to a plan, or to the reasons why not.
//!
//! Pure: the same inventory, intent and naming give the same plan, byte for byte (invariant I7).

mod builder;
mod bundled;
mod common;
mod cross_signed;
mod preflight;
mod renew;
#[cfg(test)]
mod tests;

use jiff::Timestamp;

pub use preflight::{MAX_CLOCK_OFFSET_MS, MIN_FREE_BYTES, RefusalReason};

use crate::intent::{Intent, Strategy, Why};
use crate::inventory::Inventory;
use crate::plan::{Plan, PlanError};

/// What would otherwise be random or read from a clock, fixed by the caller so that the plan is a function of its
/// arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// When the plan is made.
    pub now: Timestamp,
    /// The file-name stamp of kubelets' client certificates, as kubelet writes it: `2026-11-21-20-15-30`.
    pub stamp: String,
}

/// Why there is no plan: everything that stands against it, each with its remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Refusal {
    /// The reasons, none of which hides another.
    pub reasons: Vec<RefusalReason>,
}

/// Makes the plan that does what `intent` wants to the cluster that `inventory` shows.
///
/// # Errors
///
/// Refuses where the cluster is not in a state in which the plan would be safe, with every reason at once.
pub fn plan(inventory: &Inventory, intent: &Intent, naming: &Naming) -> Result<Plan, Refusal> {
    if intent.why == Why::Renew {
        return renew::plan(inventory, intent, naming);
    }
    let strategy = preflight::strategy(inventory, intent, naming)?;
    preflight::check(inventory, naming)?;
    let planned = match strategy {
        Strategy::CrossSigned => cross_signed::plan(inventory, intent, naming),
        Strategy::Bundled => bundled::plan(inventory, intent, naming),
    };
    planned.map_err(|error: PlanError| Refusal { reasons: vec![RefusalReason::Layout(error.to_string())] })
}
