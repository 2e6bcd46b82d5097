//! Staging the agents' files on many nodes through one bastion: `fanout client` is what is measured, `fanout servers` are
//! SSH servers of the same machine, which stand for the bastion and all nodes. Run by `cargo xtask bench`.

mod client;
#[path = "../../../engine/benches/figures/mod.rs"]
mod figures;
mod servers;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("client") => client::run(),
        Some("servers") => servers::run(),
        other => panic!("client or servers, not {other:?}"),
    }
}
