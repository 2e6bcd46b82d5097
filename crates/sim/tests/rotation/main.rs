//! Whole rotations on simulated clusters, by the real engine and planner.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod adopt;
mod bad_input;
mod bad_undo;
mod external;
mod interrupted;
mod machines;
mod recover;
mod support;
mod undo;
mod whole;
mod why;
mod windows;
mod wrong;
mod wrong_plans;
