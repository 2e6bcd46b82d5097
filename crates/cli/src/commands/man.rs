//! `kubecert man`.

use std::path::Path;

use clap::Command;

use crate::args::{self, ManArgs};
use crate::errors::CliError;
use crate::exit::Exit;

/// Writes `kubecert.1` and a page for each verb, `kubecert-<verb>.1`.
pub(crate) fn run(args: &ManArgs) -> Result<Exit, CliError> {
    super::create_directory(&args.directory)?;
    let mut command = args::command().disable_help_subcommand(true);
    command.build();
    page(&args.directory, command.clone())?;
    for verb in command.get_subcommands() {
        let name = format!("kubecert-{}", verb.get_name());
        page(
            &args.directory,
            verb.clone().name(name.clone()).bin_name(format!("kubecert {}", verb.get_name())),
        )?;
    }
    Ok(Exit::Done)
}

fn page(directory: &Path, command: Command) -> Result<(), CliError> {
    let file = directory.join(format!("{}.1", command.get_name()));
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text)?;
    super::write_file(&file, text)
}
