//! Logging in with the keys of an SSH agent.

use std::path::Path;
use std::time::Duration;

use kubecert_engine::ports::{Fault, PortError, PortResult};
use russh::client::{AuthResult, Handle};
use russh::keys::agent::client::AgentClient;
use tokio::time::timeout;

use crate::fault::protocol_error;
use crate::session::{Guard, signature_hash};

/// How many of its keys are tried. sshd ends a connection after six refused ones (`MaxAuthTries`), and then says nothing
/// of use any more.
const KEYS: usize = 5;

/// How long the agent may take to list its keys. One that asks its user to confirm does so when it signs.
const LISTING: Duration = Duration::from_secs(10);

/// Logs in with the first of the agent's keys that the host accepts; whether it accepts any of those tried.
pub(crate) async fn authenticate(
    handle: &mut Handle<Guard>,
    user: &str,
    what: &str,
    socket: &Path,
) -> PortResult<bool> {
    let trouble = |why: String| {
        let cause = format!("the SSH agent at {} {why}", socket.display());
        PortError::new(Fault::Refused, what, cause)
            .remedy("See that `ssh-add -l` lists the administrator's key where you run this.")
    };
    let opening = async {
        let mut agent = AgentClient::connect_uds(socket).await?;
        let identities = agent.request_identities().await?;
        Ok::<_, russh::keys::Error>((agent, identities))
    };
    let (mut agent, identities) = match timeout(LISTING, opening).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(source)) => return Err(trouble(format!("cannot be asked: {source}"))),
        Err(_) => return Err(trouble("does not answer".to_owned())),
    };
    let keys: Vec<_> = identities.iter().map(|identity| identity.public_key().into_owned()).collect();
    if keys.is_empty() {
        return Err(trouble("holds no key".to_owned()));
    }
    for key in keys.iter().take(KEYS) {
        let hash = signature_hash(handle, key.algorithm().is_rsa(), what).await?;
        match handle.authenticate_publickey_with(user, key.clone(), hash, &mut agent).await {
            Ok(AuthResult::Success) => return Ok(true),
            Ok(AuthResult::Failure { .. }) => {}
            // The agent would not sign with this one (its user said no, or it is locked); another may do.
            Err(russh::AgentAuthError::Key(_)) => {}
            Err(russh::AgentAuthError::Send(_)) => {
                return Err(protocol_error(what, &russh::Error::Disconnect));
            }
        }
    }
    Ok(false)
}
