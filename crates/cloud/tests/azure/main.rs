//! The client for Azure against the server that stands for Azure, over real TLS.
//!
//! Tests whose names end with `_as_documented` rest on Microsoft's documentation alone: no record of a real Azure or of
//! the ancestor shows what they assume.

mod calls;
mod machines;
mod support;
mod tokens;
