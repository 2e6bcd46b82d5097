//! What the project's developers run beside cargo itself: `cargo xtask …`.

mod bench;
mod campaign;
mod cmd;
mod fuzz;
mod interop;
mod lab;
mod rotation;
mod rules;
mod test;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Lab, tests, generators and repository rules of kubecert")]
enum Xtask {
    /// Real clusters on this machine, for tests, benchmarks and demonstrations
    #[command(subcommand)]
    Lab(lab::Command),
    /// Install the Debian or Ubuntu packages that the lab needs on this machine
    Setup,
    /// Run every test, from the repository's rules to rotations of a real cluster
    Test(test::Test),
    /// Rotations while everything goes wrong that can
    #[command(subcommand)]
    Campaign(campaign::Campaign),
    /// Measure
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Feed everything that is parsed with millions of inputs that coverage chooses
    Fuzz(fuzz::Fuzz),
    /// Run the vendor's published Go client library against our authority
    Interop(interop::Interop),
    /// Check the rules of the repository that a compiler does not
    Rules,
}

fn main() -> ExitCode {
    let result = match Xtask::parse() {
        Xtask::Lab(command) => lab::run(command),
        Xtask::Setup => lab::setup().map(|()| ExitCode::SUCCESS),
        Xtask::Test(args) => test::run(&args).map(|()| ExitCode::SUCCESS),
        Xtask::Campaign(campaign) => campaign::run(&campaign),
        Xtask::Bench(bench) => bench::run(&bench).map(|()| ExitCode::SUCCESS),
        Xtask::Fuzz(args) => fuzz::run(&args).map(|()| ExitCode::SUCCESS),
        Xtask::Interop(args) => interop::run(&args).map(|()| ExitCode::SUCCESS),
        Xtask::Rules => rules::check().map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
