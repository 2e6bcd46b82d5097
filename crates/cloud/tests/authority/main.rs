//! The client against the authority, over real TLS on loopback, on a clock that the tests set.
//!
//! Tests whose names end with `_as_assumed` rest on no public knowledge of the vendor's agents.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod files;
mod foreign;
mod lifecycle;
mod overlap;
mod refusals;
mod rights;
mod support;
