//! `kms-stand-in --login-file FILE [--authority HOST[:PORT[:LOGIN-PORT]]] --socket PATH --key FILE`: serves what
//! [`kubecert_cloud::testing::kms`] describes, for the lab. What it does and refuses is told on standard error.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use jiff::Timestamp;
use kubecert_cloud::authority::{Address, DEFAULT_LOGIN_PORT, DEFAULT_PORT};
use kubecert_cloud::testing::kms::{KmsConfig, KmsPlugin};
use kubecert_engine::ports::Clock;
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str =
    "usage: kms-stand-in --login-file FILE [--authority HOST[:PORT[:LOGIN-PORT]]] --socket PATH --key FILE";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kms-stand-in: {error}");
            ExitCode::FAILURE
        }
    }
}

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let config = config(std::env::args().skip(1))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        // The main process of a container has no default for it: without a handler it would stay.
        let mut end = signal(SignalKind::terminate())?;
        let plugin = KmsPlugin::start(config, Arc::new(SystemClock)).await?;
        tokio::select! {
            () = plugin.serve() => {}
            _ = end.recv() => {}
        }
        Ok(())
    })
}

fn config(mut words: impl Iterator<Item = String>) -> Result<KmsConfig, String> {
    let (mut login_file, mut authority, mut socket, mut key) = (None, None, None, None);
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word, words.next()),
        };
        let value = value.ok_or_else(|| format!("{name} needs a value; {USAGE}"))?;
        match name.as_str() {
            "--login-file" => login_file = Some(PathBuf::from(value)),
            "--authority" => authority = Some(address(&value)?),
            "--socket" => socket = Some(PathBuf::from(value)),
            "--key" => key = Some(PathBuf::from(value)),
            _ => return Err(format!("{name} is not known; {USAGE}")),
        }
    }
    let needed =
        |value: Option<PathBuf>, name: &str| value.ok_or_else(|| format!("{name} is missing; {USAGE}"));
    Ok(KmsConfig {
        login_file: needed(login_file, "--login-file")?,
        authority,
        socket: needed(socket, "--socket")?,
        key: needed(key, "--key")?,
    })
}

fn address(text: &str) -> Result<Address, String> {
    let wrong = || format!("--authority {text} is not HOST[:PORT[:LOGIN-PORT]]");
    let mut parts = text.split(':');
    let host = parts.next().filter(|host| !host.is_empty()).ok_or_else(wrong)?.to_owned();
    let mut port = |usual| parts.next().map_or(Ok(usual), |port| port.parse().map_err(|_| wrong()));
    let (port, login_port) = (port(DEFAULT_PORT)?, port(DEFAULT_LOGIN_PORT)?);
    match parts.next() {
        None => Ok(Address { host, port, login_port }),
        Some(_) => Err(wrong()),
    }
}
