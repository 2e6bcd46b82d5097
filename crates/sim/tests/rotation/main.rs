//! Whole rotations on simulated clusters, by the real engine and planner.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod interrupted;
mod support;
mod whole;
mod wrong;
