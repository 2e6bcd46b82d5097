//! Tests of kubecert-pki against independent judges: openssl, Go, rustls-webpki, rcgen, and the corpus.
//!
//! One binary, because linking aws-lc into seven takes longer than running them.

#![expect(clippy::unwrap_used, reason = "in a test, a failure that panics is a finding")]

mod common;
mod corpus;
mod cross_sign;
mod csr;
mod issue;
mod keys;
mod lenient;
mod reissue;
