//! `azure-stand-in CONFIG`: serves what [`kubecert_cloud::testing`] describes, for the lab.
//!
//! The configuration is JSON: the server's own under `server`; under `restart` the words of a command that restarts a
//! node, to which the node's name is added; under `root` the file that gets the root certificate once it serves.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use kubecert_cloud::testing::{Hook, StandIn, StandInConfig};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    server: StandInConfig,
    restart: Vec<String>,
    root: PathBuf,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("azure-stand-in: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("give the configuration's file")?;
    let config: Config = serde_json::from_slice(&std::fs::read(path)?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let server = StandIn::start(config.server, restarting_with(config.restart)).await?;
        std::fs::write(&config.root, server.root_pem())?;
        server.serve().await?;
        Ok(())
    })
}

/// Runs the command for each restart; what it says when it fails is why the operation failed.
fn restarting_with(words: Vec<String>) -> Hook {
    let words = Arc::new(words);
    Arc::new(move |node| {
        let words = Arc::clone(&words);
        Box::pin(async move {
            let (program, arguments) = words.split_first().ok_or("no command restarts nodes")?;
            let mut command = tokio::process::Command::new(program);
            command.args(arguments).arg(&node).stdin(std::process::Stdio::null());
            let output =
                command.output().await.map_err(|error| format!("{program} does not run: {error}"))?;
            match output.status.success() {
                true => Ok(()),
                false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            }
        })
    })
}
