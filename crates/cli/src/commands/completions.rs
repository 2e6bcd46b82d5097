//! `kubecert completions`.

use crate::args::{self, CompletionsArgs};
use crate::errors::CliError;
use crate::exit::Exit;

/// Prints the script.
pub(crate) fn run(args: &CompletionsArgs) -> Result<Exit, CliError> {
    // Into memory first: the generator panics where writing fails, and a closed pipe is no fault.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut args::command(), "kubecert", &mut script);
    super::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
