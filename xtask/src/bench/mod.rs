//! `cargo xtask bench`: figures, for people as a table, and as one last line `name=value …`.
//!
//! What is measured runs in processes of its own, built for release from the `benches/` of the crates; here they are
//! started, set beside something foreign, and shown. `docs/benchmarks.md` holds what came of it, on which machine.

mod check;
mod fanout;
mod issue;
mod measured;
mod plan;
mod rotate;
mod sshds;

use anyhow::Result;
use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub(crate) enum Bench {
    /// A whole rotation of a fresh lab cluster
    Rotate(rotate::Rotate),
    /// A plan and its independent check, up to 5,000 nodes
    Plan(Size),
    /// 50,000 certificates read, chained and reported, beside openssl
    Check(Size),
    /// The new PKI of 1,000 nodes, beside the crypto library alone
    Issue(Size),
    /// The agents' files staged on up to 5,000 nodes over SSH, beside the ssh binary
    Fanout(Size),
}

#[derive(Args)]
pub(crate) struct Size {
    /// Small sizes, in seconds: that it runs, not how fast
    #[arg(long)]
    quick: bool,
}

/// Runs a benchmark.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Rotate(args) => rotate::run(args),
        Bench::Plan(size) => plan::run(size),
        Bench::Check(size) => check::run(size),
        Bench::Issue(size) => issue::run(size),
        Bench::Fanout(size) => fanout::run(size),
    }
}
