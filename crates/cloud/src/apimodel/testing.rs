//! What tests of this module share: a small model, and keys that cost no time.

use jiff::Timestamp;
use kubecert_pki::{KeyAlgorithm, PrivateKey};

use super::{ApiModel, Entry, GeneratedPki, Term, new_certificate_profile};

/// The time in tests.
pub(super) fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

/// A new PKI on elliptic curves, which take no time.
pub(super) fn pki(model: &ApiModel) -> GeneratedPki {
    let source = |_: Entry, _: KeyAlgorithm| PrivateKey::generate(KeyAlgorithm::EcdsaP256);
    new_certificate_profile(model, Term::of_the_ancestor(now()), &source).unwrap()
}
