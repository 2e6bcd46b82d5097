//! The shell around the pure core: ports to the world, the one loop that drives a plan, journal, lock, run directory.
//!
//! [`run`] is the entry: it observes, plans, makes the new PKI and drives the plan to its end, or takes an interrupted
//! run up again.

pub mod catch_up;
pub mod external;
pub mod facts;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod issue;
pub mod journal;
pub mod kubeconfig;
pub mod observe;
pub mod pending;
pub mod ports;
pub mod predicate;
pub mod run;
mod run_error;
pub mod rundir;
pub mod undo;
pub mod vault;
pub mod verify;

mod adopt;
mod autoscaler;
mod availability;
mod driver;
mod left_behind;
mod private;
mod proof;
mod reboot;
mod reconstruct;
mod reporting;
mod resumable;
mod samples;
mod steps;
