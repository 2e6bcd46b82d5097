//! The invariants, as functions that planner, simulator, property tests and model checker share.
//!
//! They judge a [`World`], a [`Plan`], an [`Inventory`], and share no code with the planner. In short:
//!
//! | | |
//! |--|--|
//! | I1 | every client trusts its server and the other way round, whatever restarts at that instant |
//! | I2 | every token that may be in use is accepted by every API server |
//! | I3 | one control plane at a time; an API server ends only while new connections go elsewhere |
//! | I4 | what API servers and etcd accept only grows before the old CA is dropped, and only shrinks from then on |
//! | I5 | a CA leaves a trust store only when nothing that it issued is in use |
//! | I6 | doing a started step again leads to the same state; planning on the result gives the empty plan |
//! | I7 | the plan is a function of its inputs |
//! | I8 | until the old CA is dropped, everything that was changed can be put back |
//! | I9 | every credential and trust store is renewed, or kept for a stated reason |
//! | I10 | a leaf's validity lies within its issuer's |
//! | I11 | no two CAs of one domain share a name, unless they share the key |

mod back;
mod complete;
mod edges;
mod end;
mod form;
mod order;
mod parts;
mod run;

use std::fmt;

pub use back::way_back;
pub use complete::{complete, leaves_of_old_pki, names, no_secret, validity};
pub use edges::{in_use, tokens, trust};
pub use end::{end, orders};
pub use form::form;
pub use run::{Acceptance, Runner, acceptance, one_at_a_time, only_grows, run};

use crate::inventory::Inventory;
use crate::plan::{Plan, StepId};
use crate::world::World;

/// Which rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// I1: trust on both sides of every connection.
    Trust,
    /// I2: tokens.
    Tokens,
    /// I3: one control plane at a time.
    OneAtATime,
    /// I4: trust grows, then shrinks.
    OnlyGrows,
    /// I5: no CA is dropped that is in use.
    InUse,
    /// I6: again is the same.
    Again,
    /// I7: deterministic.
    Deterministic,
    /// I8: undo is possible.
    Undo,
    /// I9: nothing is forgotten.
    Complete,
    /// I10: validity.
    Validity,
    /// I11: names, and no secret anywhere.
    Names,
    /// The plan is well-formed and comes to its end.
    Form,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Invariant::Trust => "I1",
            Invariant::Tokens => "I2",
            Invariant::OneAtATime => "I3",
            Invariant::OnlyGrows => "I4",
            Invariant::InUse => "I5",
            Invariant::Again => "I6",
            Invariant::Deterministic => "I7",
            Invariant::Undo => "I8",
            Invariant::Complete => "I9",
            Invariant::Validity => "I10",
            Invariant::Names => "I11",
            Invariant::Form => "form",
        })
    }
}

/// A rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Violation {
    /// Which rule.
    pub invariant: Invariant,
    /// Between whom, or on what.
    pub subject: String,
    /// Why.
    pub why: String,
    /// In the course of which step, if it came up while a plan was tried out.
    pub step: Option<StepId>,
}

impl Violation {
    pub(crate) fn new(invariant: Invariant, subject: impl Into<String>, why: impl Into<String>) -> Self {
        Self { invariant, subject: subject.into(), why: why.into(), step: None }
    }

    pub(crate) fn at(mut self, step: StepId) -> Self {
        self.step = Some(step);
        self
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.invariant, self.subject, self.why)?;
        match self.step {
            Some(step) => write!(f, " (step {step})"),
            None => Ok(()),
        }
    }
}

/// Checks a finished plan: its form, that it forgets nothing, and every invariant after every effect of every step when
/// it is tried out on the symbolic cluster. Empty if it may be applied.
///
/// Not [`validity`]: an inventory shows what others have issued, and AKS engine's leaves end seconds after their CA. That
/// one is for what we have issued ourselves.
pub fn plan(plan: &Plan, inventory: &Inventory) -> Vec<Violation> {
    let mut violations = form(plan);
    violations.extend(orders(plan));
    violations.extend(complete(plan, inventory));
    violations.extend(names(plan, inventory));
    violations.extend(no_secret(plan));
    violations.extend(run(plan, inventory));
    violations
}

/// The invariants that hold in every state: I1 to I3 and I5.
pub fn state(world: &World) -> Vec<Violation> {
    let mut violations = trust(world);
    violations.extend(tokens(world));
    violations.extend(one_at_a_time(world));
    violations.extend(in_use(world));
    violations
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_incremental;
#[cfg(test)]
mod tests_kubeadm;
#[cfg(test)]
mod tests_kubelets;
#[cfg(test)]
mod tests_recover;
#[cfg(test)]
mod tests_why;
#[cfg(test)]
mod tests_windows;
#[cfg(test)]
mod undo;
