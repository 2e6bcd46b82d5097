//! The planner: from what was seen and what is wanted to a plan, or to the reasons why not.
//!
//! Pure: the same inventory, intent and naming give the same plan, byte for byte (invariant I7).

mod builder;
mod bundled;
mod catch_up;
mod common;
mod compromised;
mod cross_signed;
mod extend;
mod front_proxy;
mod kubeadm;
mod kubelet;
mod mirror;
mod preflight;
mod recover;
mod refusal;
mod renew;
#[cfg(test)]
mod tests;
mod told;
mod transition;
mod undo;
mod windows;

use jiff::Timestamp;

pub use catch_up::catch_up;
pub use preflight::{MAX_CLOCK_OFFSET_MS, MIN_FREE_BYTES};
pub use refusal::RefusalReason;
pub use undo::{Progress, undo};

use crate::intent::{Intent, Strategy, Why};
use crate::inventory::Inventory;
use crate::model::{Layout, TrustDomain};
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
    preflight::intent(inventory, intent)?;
    match intent.why {
        Why::Renew => renew::plan(inventory, intent, naming),
        Why::ExtendCa => extend::plan(inventory, intent, naming),
        Why::Recover => recover::plan(inventory, intent, naming),
        Why::ReplaceCa | Why::Compromised => {
            let mut plan = replace(inventory, intent, naming)?;
            if intent.why == Why::Compromised {
                plan.notices.extend(compromised::notices(intent.scope, inventory));
            }
            Ok(plan)
        }
    }
}

/// The plan that replaces the CAs in scope.
fn replace(inventory: &Inventory, intent: &Intent, naming: &Naming) -> Result<Plan, Refusal> {
    if !intent.scope.covers(TrustDomain::Cluster) {
        preflight::front_proxy(inventory)?;
        preflight::check(inventory, naming)?;
        return front_proxy::plan(inventory, intent, naming).map_err(refused);
    }
    if inventory.cluster.layout == Layout::Kubeadm {
        kubeadm::replacing(inventory)?;
    }
    let strategy = preflight::strategy(inventory, intent, naming)?;
    preflight::check(inventory, naming)?;
    let planned = match strategy {
        Strategy::Bundled => bundled::plan(inventory, intent, naming),
        _ => cross_signed::plan(inventory, intent, naming),
    };
    planned.map_err(refused)
}

fn refused(error: PlanError) -> Refusal {
    RefusalReason::Layout(error.to_string()).into()
}

/// A plan without anything to do.
fn frame(inventory: &Inventory, intent: &Intent, strategy: Strategy) -> Plan {
    Plan {
        schema: Plan::SCHEMA,
        cluster: inventory.cluster.name.clone(),
        why: intent.why,
        strategy,
        scope: intent.scope,
        limits: intent.limits.clone(),
        authorities: Vec::new(),
        leaves: Vec::new(),
        key_pairs: Vec::new(),
        phases: Vec::new(),
        kept: Vec::new(),
        notices: Vec::new(),
    }
}
