//! The client against the authority, over real TLS on loopback, on a clock that the tests set.
//!
//! Tests whose names end with `_as_assumed` rest on no public knowledge of the vendor's agents.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod agents;
mod files;
mod foreign;
mod kms;
mod lifecycle;
mod overlap;
mod refusals;
mod rights;
mod support;
