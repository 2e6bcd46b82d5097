//! `kubecert`: finds, explains, rotates and recovers every credential of a Kubernetes cluster.
//!
//! [`args`] says what may be typed, [`commands`] has a file for each verb, [`ui`] shows what goes on, [`render`] shows
//! what came of it. Only this crate reads the environment, the home directory and the terminal.

mod args;
mod commands;
mod errors;
mod exit;
mod human;
mod render;
mod ui;

use std::env;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use args::{NotRun, Output, Parsed};
use errors::CliError;
use exit::Exit;
use human::paint::Paint;

fn main() -> ExitCode {
    match args::parse_from(env::args_os()) {
        Ok(parsed) => run(&parsed).into(),
        Err(NotRun::Clap { error, exit }) => {
            // Help into a closed pipe is help enough.
            let _ = error.print();
            exit.into()
        }
        Err(NotRun::Other { error, exit }) => {
            show(&error, Output::Text, Paint::when(io::stderr().is_terminal()));
            exit.into()
        }
    }
}

fn run(parsed: &Parsed) -> Exit {
    let global = &parsed.cli.global;
    let paint = Paint::when(global.colours(io::stderr().is_terminal()));
    for notice in &parsed.notices {
        let _ = writeln!(io::stderr(), "{} {notice}", paint.yellow("note:"));
    }
    if global.debug {
        log_in_detail();
    }
    let exit = commands::run(&parsed.cli).unwrap_or_else(|error| {
        show(&error, global.output, paint);
        error.exit()
    });
    parsed.cli.exit(exit)
}

/// Lets kubecert's own crates tell what they do; libraries stay silent, since nobody has read what they would say of keys.
fn log_in_detail() {
    let own = "kubecert=debug,kubecert_engine=debug,kubecert_remote=debug,kubecert_cluster=debug,kubecert_cloud=debug";
    tracing_subscriber::fmt().with_env_filter(own).with_writer(io::stderr).init();
}

fn show(error: &CliError, output: Output, paint: Paint) {
    let text = match output {
        Output::Text => error.text(paint),
        Output::Json => error.json() + "\n",
    };
    // Where standard error cannot be written to, the exit code is all that is left.
    let _ = io::stderr().write_all(text.as_bytes());
}
