//! Tokens: had when they are needed, kept while they last, renewed before they end.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use kubecert_engine::ports::Fault;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::assertion;
use super::credential::{Credential, IdentitySystem};
use super::error::AzureError;
use super::http::{Answer, Http, Repeat};
use super::{cli_token, device, token_error};

/// How long before its end a token is renewed, unless it is short-lived: long enough that no call in flight outlives it.
const RENEW_BEFORE: Duration = Duration::from_secs(300);
/// How long a token is taken to last whose issuer does not say; Entra ID's shortest is an hour.
const UNSAID: Duration = Duration::from_secs(600);

/// A token that was had.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) secret: SecretString,
    /// Renews it without a person, after a sign-in by device code.
    pub(crate) renewal: Option<SecretString>,
    pub(crate) ends: Instant,
    renew_at: Instant,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("ends", &self.ends).finish_non_exhaustive()
    }
}

impl Token {
    pub(crate) fn lasting(secret: SecretString, renewal: Option<SecretString>, lasts: Duration) -> Self {
        let now = Instant::now();
        // A token of a few minutes is used for half of them.
        let renew_after = lasts.saturating_sub(RENEW_BEFORE).max(lasts / 2);
        Self { secret, renewal, ends: now + lasts, renew_at: now + renew_after }
    }

    /// Reads the answer of a token endpoint (`expires_in` is text in Entra ID's first version and a number elsewhere).
    pub(crate) fn read(what: &str, answer: &Answer) -> Result<Self, AzureError> {
        #[derive(Deserialize)]
        struct Body {
            access_token: SecretString,
            refresh_token: Option<SecretString>,
            expires_in: Option<Value>,
        }
        let body: Body = serde_json::from_slice(&answer.body).map_err(|error| {
            // The error says where, not what.
            let why = format!("the answer holds no token (line {}, column {})", error.line(), error.column());
            AzureError::new(Fault::Unexpected, what, why)
                .remedy("Check that activeDirectoryEndpoint in the api model, or --azure-env, is right.")
        })?;
        let seconds = body.expires_in.as_ref().and_then(|value| match value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        });
        let lasts = seconds.map_or(UNSAID, Duration::from_secs);
        Ok(Self::lasting(body.access_token, body.refresh_token, lasts))
    }
}

/// Where tokens come from.
pub(crate) struct Issuer {
    /// The tenant's endpoint without what follows it, as `https://login.microsoftonline.com/<tenant>/`.
    pub(crate) authority: String,
    /// For whom tokens are.
    pub(crate) audience: String,
}

impl Issuer {
    /// AD FS has one tenant, whose name is `adfs`; a login endpoint may end with it already.
    pub(crate) fn new(login: &str, identity: IdentitySystem, tenant: &str, audience: &str) -> Self {
        let authority = match identity {
            IdentitySystem::EntraId => format!("{login}{tenant}/"),
            IdentitySystem::AdFs => {
                let bare = login.trim_end_matches('/');
                let bare = bare.strip_suffix("/adfs").unwrap_or(bare);
                format!("{bare}/adfs/")
            }
        };
        Self { authority, audience: audience.to_owned() }
    }

    /// The token endpoint.
    pub(crate) fn endpoint(&self) -> String {
        format!("{}oauth2/token", self.authority)
    }
}

/// Tokens for one audience.
pub(crate) struct Tokens {
    issuer: Issuer,
    credential: Credential,
    kept: Mutex<Option<Token>>,
}

impl Tokens {
    pub(crate) fn new(issuer: Issuer, credential: Credential) -> Self {
        Self { issuer, credential, kept: Mutex::new(None) }
    }

    /// A token that lasts for a call. Who comes while one is being had waits for that one.
    pub(crate) async fn get(&self, http: &Http) -> Result<SecretString, AzureError> {
        let mut kept = self.kept.lock().await;
        let now = Instant::now();
        if let Some(token) = kept.as_ref().filter(|token| now < token.renew_at) {
            return Ok(token.secret.clone());
        }
        match self.acquire(http, kept.as_ref().and_then(|token| token.renewal.clone())).await {
            Ok(token) => {
                let secret = token.secret.clone();
                *kept = Some(token);
                Ok(secret)
            }
            // One that has not ended still serves, while who issues them is out of reach.
            Err(error) => match kept.as_ref().filter(|token| error.is_transient() && now < token.ends) {
                Some(token) => Ok(token.secret.clone()),
                None => Err(error),
            },
        }
    }

    /// Forgets a token that was refused, unless another has been had since.
    pub(crate) async fn refuse(&self, refused: &SecretString) {
        let mut kept = self.kept.lock().await;
        if let Some(token) = kept.as_mut()
            && token.secret.expose_secret() == refused.expose_secret()
        {
            let now = Instant::now();
            (token.ends, token.renew_at) = (now, now);
        }
    }

    async fn acquire(&self, http: &Http, renewal: Option<SecretString>) -> Result<Token, AzureError> {
        let what = format!("cannot get a token from {}", self.issuer.authority);
        match &self.credential {
            Credential::Secret { client, secret } => {
                let fields = || {
                    vec![("client_id", client.clone()), ("client_secret", secret.expose_secret().to_owned())]
                };
                self.by_client(http, &what, fields).await
            }
            Credential::Certificate { client, certificate } => {
                let assertion =
                    assertion::sign(certificate, client, &self.issuer.endpoint(), Timestamp::now())?;
                let fields = || {
                    vec![
                        ("client_id", client.clone()),
                        ("client_assertion_type", ASSERTION_TYPE.to_owned()),
                        ("client_assertion", assertion.to_string()),
                    ]
                };
                self.by_client(http, &what, fields).await
            }
            Credential::Cli { program, subscription } => {
                cli_token::get(program, &self.issuer.audience, subscription).await
            }
            Credential::Device { client, show } => match renewal {
                Some(renewal) => self.by_renewal(http, &what, client, &renewal).await,
                None => device::sign_in(http, &self.issuer, client, &**show).await,
            },
        }
    }

    /// `grant_type=client_credentials` with a `resource`, as the record of the ancestor shows it.
    async fn by_client(
        &self,
        http: &Http,
        what: &str,
        fields: impl Fn() -> Vec<(&'static str, String)>,
    ) -> Result<Token, AzureError> {
        let form = || {
            let mut form = fields();
            form.push(("grant_type", "client_credentials".to_owned()));
            form.push(("resource", self.issuer.audience.clone()));
            form
        };
        self.post(http, what, form).await
    }

    async fn by_renewal(
        &self,
        http: &Http,
        what: &str,
        client: &str,
        renewal: &SecretString,
    ) -> Result<Token, AzureError> {
        let form = || {
            vec![
                ("grant_type", "refresh_token".to_owned()),
                ("client_id", client.to_owned()),
                ("resource", self.issuer.audience.clone()),
                ("refresh_token", renewal.expose_secret().to_owned()),
            ]
        };
        let mut token = self.post(http, what, form).await?;
        // An issuer need not give a new one each time.
        token.renewal.get_or_insert_with(|| renewal.clone());
        Ok(token)
    }

    async fn post(
        &self,
        http: &Http,
        what: &str,
        form: impl Fn() -> Vec<(&'static str, String)>,
    ) -> Result<Token, AzureError> {
        let url = self.issuer.endpoint();
        let request = || http.client.post(&url).query(&[("api-version", "1.0")]).form(&form());
        let answer = http.send(what, Repeat::Always, request).await?;
        if answer.status != 200 {
            return Err(token_error::refusal(what, &answer));
        }
        Token::read(what, &answer)
    }
}

/// What an assertion is, to a token endpoint (RFC 7523, section 2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ad_fs_has_one_tenant() {
        for login in ["https://adfs.local/", "https://adfs.local/adfs/", "https://adfs.local/adfs"] {
            let issuer = Issuer::new(login, IdentitySystem::AdFs, "ignored", "a");
            assert_eq!(issuer.endpoint(), "https://adfs.local/adfs/oauth2/token");
        }
        let issuer = Issuer::new("https://login/", IdentitySystem::EntraId, "t", "a");
        assert_eq!(issuer.endpoint(), "https://login/t/oauth2/token");
    }

    #[test]
    fn tokens_are_renewed_before_they_end() {
        let secret = || SecretString::from("s");
        let hour = Token::lasting(secret(), None, Duration::from_secs(3600));
        assert_eq!(hour.ends - hour.renew_at, RENEW_BEFORE);
        let short = Token::lasting(secret(), None, Duration::from_secs(10));
        assert_eq!(short.ends - short.renew_at, Duration::from_secs(5));
        assert!(!format!("{hour:?}").contains("\"s\""));
    }
}
