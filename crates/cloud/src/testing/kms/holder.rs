//! What the plugin has at the authority: a client certificate in memory, and a login file from which it came.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kubecert_engine::ports::Clock;
use kubecert_pki::SubjectAltName;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tonic::Status;

use crate::authority::{AccessFile, Address, AuthorityError, Client, LoginFile, MocCode, When, login, renew};

/// How long is waited between two logins, or two renewals. The vendor's plugin does not log in at a faster pace, so that an API
/// server that asks many times a second does not become a burden of the authority.
pub const LOGIN_PAUSE: Duration = Duration::from_secs(10);

pub(super) struct Holder {
    login_file: PathBuf,
    address: Option<Address>,
    clock: Arc<dyn Clock>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// Never written anywhere: who restarts has to log in.
    access: Option<AccessFile>,
    /// When a certificate was asked for, and what came of it if that was nothing.
    asked: Option<(Instant, Option<AuthorityError>)>,
}

impl Holder {
    pub(super) fn new(login_file: PathBuf, address: Option<Address>, clock: Arc<dyn Clock>) -> Self {
        Self { login_file, address, clock, held: Mutex::default() }
    }

    /// Whether the authority accepts us at this moment: it is asked.
    ///
    /// # Errors
    ///
    /// `Unauthenticated` where it does not, `Unavailable` where it cannot be asked, each with its reason.
    pub(super) async fn accepted(&self) -> Result<(), Status> {
        let mut held = self.held.lock().await;
        let accepted = self.accepted_with(&mut held).await;
        accepted.map_err(|error| {
            eprintln!("{} refused: {error}", self.clock.now());
            refusal(&error)
        })
    }

    /// Logs in where there is no certificate, and renews one whose time has come.
    pub(super) async fn keep(&self) {
        let mut held = self.held.lock().await;
        let before = held.asked.as_ref().map(|(asked, _)| *asked);
        let kept = self.access(&mut held).await;
        let asked = held.asked.as_ref().map(|(asked, _)| *asked) != before;
        match kept {
            Err(error) if asked => eprintln!("{} no certificate: {error}", self.clock.now()),
            _ => {}
        }
    }

    async fn accepted_with(&self, held: &mut Held) -> Result<(), AuthorityError> {
        let (access, address) = self.access(held).await?;
        let asked = match Client::connect(&access, &address, &self.clock).await {
            Ok(mut client) => client.monitor().await.map(drop),
            Err(error) => Err(error),
        };
        if asked.as_ref().is_err_and(of_identity) {
            // It is of no use any more. The next request finds none and logs in, if the pause is over.
            held.access = None;
        }
        asked
    }

    /// A certificate that is good by its time, and where to present it.
    async fn access(&self, held: &mut Held) -> Result<(AccessFile, Address), AuthorityError> {
        let now = self.clock.now();
        let good = held.access.take().filter(|access| access.check_time("cannot go on", now).is_ok());
        let waits = held.asked.as_ref().is_some_and(|(asked, _)| asked.elapsed() < LOGIN_PAUSE);
        let Some(access) = good else {
            if let Some((_, Some(error))) = held.asked.as_ref().filter(|_| waits) {
                return Err(error.clone());
            }
            return match self.log_in().await {
                Ok((access, address)) => {
                    eprintln!("{} logged in as {}", self.clock.now(), access.identity);
                    held.asked = Some((Instant::now(), None));
                    held.access = Some(access.clone());
                    Ok((access, address))
                }
                Err(error) => {
                    held.asked = Some((Instant::now(), Some(error.clone())));
                    Err(error)
                }
            };
        };
        let address = self.address.clone().map_or_else(|| self.read().map(|(_, address)| address), Ok);
        let access = match (&address, waits) {
            (Ok(address), false) if access.renewal_due() <= now => {
                held.asked = Some((Instant::now(), None));
                match renew(&access, address, When::Due, &self.clock).await {
                    Ok(renewed) => {
                        eprintln!("{} renewed the certificate of {}", self.clock.now(), access.identity);
                        renewed.unwrap_or(access)
                    }
                    Err(error) => {
                        eprintln!("{} cannot renew: {error}", self.clock.now());
                        access
                    }
                }
            }
            _ => access,
        };
        held.access = Some(access.clone());
        Ok((access, address?))
    }

    async fn log_in(&self) -> Result<(AccessFile, Address), AuthorityError> {
        let (file, address) = self.read()?;
        let names = [SubjectAltName::dns("localhost")];
        login(&file, &address, &names, &self.clock).await.map(|access| (access, address))
    }

    /// The login file as it is now: it may have been replaced.
    fn read(&self) -> Result<(LoginFile, Address), AuthorityError> {
        let file = LoginFile::read(&self.login_file)?;
        let address = self.address.clone().or_else(|| file.address.clone());
        let address = address.ok_or_else(|| {
            let what = format!("cannot log in as {}", file.name);
            AuthorityError::new(what, "neither the login file nor --authority says where the authority is")
        })?;
        Ok((file, address))
    }
}

/// Whether the authority has refused the identity, and not only this attempt.
fn of_identity(error: &AuthorityError) -> bool {
    matches!(
        error.code,
        Some(
            MocCode::Expired
                | MocCode::Revoked
                | MocCode::InvalidToken
                | MocCode::AccessDenied
                | MocCode::NoAuthenticationInformation
        )
    )
}

fn refusal(error: &AuthorityError) -> Status {
    match of_identity(error) {
        true => Status::unauthenticated(error.to_string()),
        false => Status::unavailable(error.to_string()),
    }
}
