//! Getting hold of the operator's private key.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read as _};

use console::Term;
use kubecert_remote::{KeyFile, UserKey};
use secrecy::{ExposeSecret as _, SecretString};

use super::target::port_error;
use crate::args::KeySource;
use crate::errors::{CliError, Kind};

/// How often a passphrase is asked for, as `ssh` does.
const ASKED: usize = 3;

/// A longer passphrase is a mistake: some other file is being read.
const LONGEST: u64 = 4096;

/// The key, ready to use. Where it is encrypted, whoever sits at the terminal is asked, unless the passphrase comes from
/// a file descriptor.
pub(super) fn user_key(source: &KeySource) -> Result<UserKey, CliError> {
    let (path, descriptor) = match source {
        KeySource::Agent(socket) => return Ok(UserKey::agent(socket.clone())),
        KeySource::File { path, passphrase_fd } => (path, *passphrase_fd),
    };
    let file = KeyFile::read(path).map_err(port_error)?;
    if !file.is_encrypted() {
        return file.unlock(None).map_err(port_error);
    }
    if let Some(descriptor) = descriptor {
        let passphrase = read_passphrase(descriptor)?;
        return file.unlock(Some(passphrase.expose_secret())).map_err(port_error);
    }
    if !io::stdin().is_terminal() {
        return file.unlock(None).map_err(port_error);
    }
    let mut tried = 1;
    loop {
        let passphrase = ask(&format!("Passphrase for {}: ", path.display()))?;
        match file.unlock(Some(passphrase.expose_secret())) {
            Err(error) if tried < ASKED => {
                eprintln!("{error}");
                tried += 1;
            }
            result => return result.map_err(port_error),
        }
    }
}

/// Asks on the terminal, which does not show what is typed.
fn ask(question: &str) -> Result<SecretString, CliError> {
    let unreadable = |error| CliError::because(Kind::Input, "cannot ask for the passphrase", error);
    let terminal = Term::stderr();
    terminal.write_str(question).map_err(unreadable)?;
    terminal.read_secure_line().map(SecretString::from).map_err(unreadable)
}

/// Reads the first line that a file descriptor has to give.
fn read_passphrase(descriptor: u32) -> Result<SecretString, CliError> {
    let about = || format!("cannot read the passphrase from file descriptor {descriptor}");
    let unreadable = |error: io::Error| {
        CliError::because(Kind::Input, about(), error)
            .hint(format!("Open it in the shell: kubecert … --passphrase-fd {descriptor} {descriptor}< FILE"))
    };
    // The descriptor itself cannot be taken over without unsafe code; its name opens the same pipe or file.
    let file = File::open(format!("/dev/fd/{descriptor}")).map_err(unreadable)?;
    let mut line = String::new();
    BufReader::new(file.take(LONGEST)).read_line(&mut line).map_err(unreadable)?;
    let passphrase = SecretString::from(line.trim_end_matches(['\r', '\n']).to_owned());
    zeroize::Zeroize::zeroize(&mut line);
    if passphrase.expose_secret().is_empty() {
        return Err(CliError::new(Kind::Input, about()).hint("It gives nothing, or an empty line."));
    }
    Ok(passphrase)
}
