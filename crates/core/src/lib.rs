//! The pure half of kubecert: what a cluster is, what was seen of it, what is to be done, and whether that is safe.
//!
//! Nothing here does I/O, reads a clock or draws a random number; everything is a function of its arguments. That is
//! what lets the planner, the simulator, the property tests and the model checker share one set of rules.
//!
//! * [`model`]: names, nodes, components, trust domains, generations of a PKI.
//! * [`material`]: what files and Secrets are made of, symbolically; a plan never holds a secret.
//! * [`inventory`]: what was observed, with the certificates in full.
//! * [`layout`]: where AKS engine keeps what; [`manifest`]: flags of static pods.
//! * [`intent`]: what the operator wants, why, and within which limits.
//! * [`plan`]: phases, steps, predicates; [`planner`] makes one, [`exec`] walks through it.
//! * [`world`]: the symbolic cluster on which a plan is tried out, and [`check`] with the invariants I1 to I11.
//! * [`record`]: the journal's records; [`event`]: what front-ends may know; [`report`]: what is left at the end.

pub mod assess;
pub mod check;
pub mod event;
pub mod exec;
pub mod intent;
pub mod inventory;
pub mod layout;
pub mod manifest;
pub mod material;
pub mod model;
pub mod plan;
pub mod planner;
pub mod record;
pub mod report;
pub mod restarts;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod world;
