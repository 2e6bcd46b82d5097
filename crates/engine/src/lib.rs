//! The shell around the pure core: ports to the world, the one loop that drives a plan, journal, lock, run directory.
//!
//! [`run`] is the entry: it observes, plans, makes the new PKI and drives the plan to its end, or takes an interrupted
//! run up again.

pub mod facts;
pub mod issue;
pub mod journal;
pub mod kubeconfig;
pub mod observe;
pub mod ports;
pub mod predicate;
pub mod run;
pub mod rundir;
pub mod vault;
pub mod verify;

mod availability;
mod driver;
mod reporting;
mod steps;
