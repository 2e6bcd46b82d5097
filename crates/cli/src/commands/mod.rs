//! One file for each verb.

mod akshci;
mod assess;
mod authority;
mod azure;
mod cluster;
mod completions;
mod demo;
mod external;
mod files;
mod generate;
mod given_plan;
mod given_profile;
#[cfg(test)]
mod judge;
mod keeper;
mod kubeadm;
mod login;
mod look;
mod man;
mod management;
mod recover;
mod rehearse;
mod report;
mod rotate;
mod runtime;
mod symptoms;
mod target;

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use crate::args::{Cli, Verb};
use crate::errors::{CliError, Kind};
use crate::exit::Exit;

/// Does what the command line says.
pub(crate) fn run(cli: &Cli) -> Result<Exit, CliError> {
    match &cli.verb {
        Verb::Completions(args) => completions::run(args),
        Verb::Man(args) => man::run(args),
        Verb::Report(args) => report::run(&cli.global, args),
        Verb::Check(args) => look::check(&cli.global, args),
        Verb::Plan(args) => look::plan(&cli.global, args),
        Verb::Assess(args) => assess::assess(&cli.global, args),
        Verb::ShutdownCheck(args) => assess::shutdown_check(&cli.global, args),
        Verb::Doctor(args) => assess::doctor(&cli.global, args),
        Verb::Authority(args) => authority::run(&cli.global, args),
        Verb::Verify(args) => look::verify(&cli.global, args),
        Verb::Rotate(args) => rotate::rotate(&cli.global, args),
        Verb::Resume(args) => rotate::resume(&cli.global, args),
        Verb::Undo(args) => rotate::undo(&cli.global, args),
        Verb::Recover(args) => recover::recover(&cli.global, args),
        Verb::RotateCerts(args) => rotate::rotate_certs(&cli.global, args),
        Verb::UpdateAksHciCertificates(args) => akshci::update(&cli.global, args),
        Verb::UpdateAksHciClusterCertificates(args) => akshci::update_cluster(&cli.global, args),
        Verb::RepairAksHciCerts(args) => akshci::repair(&cli.global, args),
        Verb::RepairAksHciClusterCerts(args) => akshci::repair_cluster(&cli.global, args),
        Verb::InvokeAksHciRotateCaCertificate(args) => akshci::rotate_ca(&cli.global, args),
        Verb::Generate(args) => generate::run(args),
        Verb::Rehearse(args) => rehearse::run(&cli.global, args),
        Verb::Demo(args) => demo::run(&cli.global, args),
    }
}

/// Writes a result to standard output.
fn print(result: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(result.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Creates the directory and those above it.
fn create_directory(path: &Path) -> Result<(), CliError> {
    fs::create_dir_all(path)
        .map_err(|error| CliError::because(Kind::Input, format!("cannot create {}", path.display()), error))
}

/// Writes a file that is no secret.
fn write_file(path: &Path, content: impl AsRef<[u8]>) -> Result<(), CliError> {
    fs::write(path, content)
        .map_err(|error| CliError::because(Kind::Input, format!("cannot write {}", path.display()), error))
}
