//! What is done with each input. A target fails by panicking: where a parser does, or where what it promises does not hold.

#![forbid(unsafe_code)]

mod authority;
mod cluster;
mod node;
mod pki;
mod run;
mod site;

/// One function for each binary in `targets/`.
pub mod targets {
    pub use crate::authority::authority;
    pub use crate::cluster::{apimodel, certificate_profile, cluster_file, kubeconfig, manifest};
    pub use crate::node::{known_hosts, look};
    pub use crate::pki::{certificate, csr, private_key};
    pub use crate::run::{journal, run_directory};
    pub use crate::site::site;
}

/// The first byte, which chooses what is done, and the rest.
fn choice(data: &[u8]) -> Option<(u8, &[u8])> {
    data.split_first().map(|(first, rest)| (*first, rest))
}
