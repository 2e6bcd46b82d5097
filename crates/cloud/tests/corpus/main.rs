//! Tests over real models, made with the ancestor's own program, of both generations.
//!
//! They are not part of this project, so they run where they are found (`KUBECERT_CORPUS`, or `../shared/corpus`
//! beside the checkout) and say so where they are not. Each model holds certificates that the ancestor itself
//! computed, which makes it an independent judge of what we compute.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod generating;
mod reading;
mod support;
