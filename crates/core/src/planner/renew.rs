//! Leaves only, from the CA in force.

use super::{Naming, Refusal, RefusalReason};
use crate::intent::{Intent, Strategy};
use crate::inventory::{Inventory, Observed};
use crate::plan::{Kept, Plan};

/// The empty plan where nothing is due.
///
/// Renewing due leaves without touching the CA is not offered yet, and refused by name rather than answered with a plan
/// that does more than was asked.
pub(super) fn plan(inventory: &Inventory, intent: &Intent, naming: &Naming) -> Result<Plan, Refusal> {
    let within = i64::from(intent.limits.renew_within_days) * 86_400;
    let mut due = Vec::new();
    let mut kept = Vec::new();
    let mut unreadable = Vec::new();
    for (name, node) in &inventory.nodes {
        let facts = match node {
            Observed::Seen(facts) => facts,
            Observed::Unreadable(why) => {
                unreadable.push(RefusalReason::NodeUnreadable(name.clone(), why.clone()));
                continue;
            }
        };
        for file in &facts.files {
            let Some(leaf) = file.certificates.first().filter(|leaf| !leaf.is_ca) else { continue };
            let id = format!("{} on {name}", file.path);
            if leaf.not_after.as_second() - naming.now.as_second() <= within {
                due.push(id);
            } else {
                kept.push(Kept { id, why: format!("valid until {}", leaf.not_after.strftime("%F")) });
            }
        }
    }
    if !unreadable.is_empty() {
        return Err(Refusal { reasons: unreadable });
    }
    if !due.is_empty() {
        return Err(Refusal { reasons: vec![RefusalReason::RenewDue(due)] });
    }
    Ok(Plan {
        schema: Plan::SCHEMA,
        cluster: inventory.cluster.name.clone(),
        why: intent.why,
        strategy: intent.strategy.unwrap_or(Strategy::CrossSigned),
        authorities: Vec::new(),
        leaves: Vec::new(),
        phases: Vec::new(),
        kept,
        notices: Vec::new(),
    })
}
