//! The client for Azure against the server that stands for Azure, over real TLS.
//!
//! Tests whose names end with `_as_documented` rest on Microsoft's documentation alone: no record of a real Azure or of
//! the ancestor shows what they assume.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod calls;
mod machines;
mod support;
mod tokens;
