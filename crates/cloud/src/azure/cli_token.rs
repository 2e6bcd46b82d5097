//! Tokens of the Azure CLI's session: `az account get-access-token`.
//!
//! Its output is documented, not recorded: JSON with `accessToken`, `expiresOn` (local time) and, since version 2.54,
//! `expires_on` (seconds since 1970).

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use kubecert_engine::ports::Fault;
use secrecy::SecretString;
use serde::Deserialize;
use tokio::process::Command;
use zeroize::Zeroizing;

use super::error::{AzureError, first_line};
use super::token::Token;

/// How long `az` may take. It is slow to start, and may have to ask for a token itself.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a token is taken to last when an old `az` says its end in local time only. `az` gives out tokens that last at
/// least five minutes more.
const AT_LEAST: Duration = Duration::from_secs(300);

/// Runs `az` itself, with nothing on its standard input and no shell between.
pub(crate) async fn get(program: &Path, audience: &str, subscription: &str) -> Result<Token, AzureError> {
    let what = "cannot get a token from the Azure CLI";
    let error = |fault, cause: String| {
        AzureError::new(fault, what, cause).remedy(
            "Sign in with `az login` (and `az cloud set` for the right cloud), or use another --auth-method.",
        )
    };
    let mut command = Command::new(program);
    command
        .args(["account", "get-access-token", "--output", "json", "--resource", audience])
        .args(["--subscription", subscription])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = match tokio::time::timeout(PATIENCE, command.output()).await {
        Err(_) => return Err(error(Fault::Timeout, format!("it took longer than {} s", PATIENCE.as_secs()))),
        Ok(Err(cause)) => {
            return Err(error(Fault::Refused, format!("{} does not run: {cause}", program.display())));
        }
        Ok(Ok(output)) => output,
    };
    let said = Zeroizing::new(output.stdout);
    if !output.status.success() {
        let why = first_line(&String::from_utf8_lossy(&output.stderr));
        return Err(error(Fault::Refused, if why.is_empty() { output.status.to_string() } else { why }));
    }
    let session: Session = serde_json::from_slice(&said).map_err(|_| {
        error(Fault::Unexpected, "its output is not what `az account get-access-token` prints".to_owned())
    })?;
    let lasts = session.expires_on.map_or(AT_LEAST, |ends| {
        Duration::from_secs(u64::try_from(ends - Timestamp::now().as_second()).unwrap_or(0))
    });
    Ok(Token::lasting(session.access_token, None, lasts))
}

#[derive(Deserialize)]
struct Session {
    #[serde(rename = "accessToken")]
    access_token: SecretString,
    expires_on: Option<i64>,
}
