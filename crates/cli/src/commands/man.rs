//! `kubecert man`.

use std::path::Path;

use clap::Command;

use crate::args::{self, ManArgs};
use crate::errors::CliError;
use crate::exit::Exit;

/// Writes `kubecert.1` and a page for each verb, `kubecert-<verb>.1`, and for those below it, `kubecert-<verb>-<verb>.1`.
pub(crate) fn run(args: &ManArgs) -> Result<Exit, CliError> {
    super::create_directory(&args.directory)?;
    let mut command = args::command().disable_help_subcommand(true);
    command.build();
    page(&args.directory, command.clone())?;
    verbs(&args.directory, &command, "kubecert")?;
    Ok(Exit::Done)
}

/// The pages of everything below a command whose words are these.
fn verbs(directory: &Path, command: &Command, words: &str) -> Result<(), CliError> {
    for verb in command.get_subcommands() {
        let words = format!("{words} {}", verb.get_name());
        page(directory, verb.clone().name(words.replace(' ', "-")).bin_name(words.clone()))?;
        verbs(directory, verb, &words)?;
    }
    Ok(())
}

fn page(directory: &Path, command: Command) -> Result<(), CliError> {
    let file = directory.join(format!("{}.1", command.get_name()));
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text)?;
    super::write_file(&file, text)
}
