//! Sign-in by a code that a person types in a browser (RFC 8628, in the first version that Entra ID speaks).
//!
//! Documented, not recorded: `POST <authority>oauth2/devicecode`, then `POST <authority>oauth2/token` with
//! `grant_type=device_code` until the person has signed in. The ancestor keeps such tokens in a file; we do not.

use std::time::Duration;

use kubecert_engine::ports::Fault;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::error::AzureError;
use super::http::{Http, Repeat};
use super::token::{Issuer, Token};
use super::token_error;

/// How long a person has at most, whatever the issuer allows; Entra ID's codes last 15 minutes.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// How long between two questions, where the issuer does not say (RFC 8628, section 3.2).
const PAUSE: Duration = Duration::from_secs(5);

/// Shows the person what to do, and waits for the sign-in.
pub(crate) async fn sign_in(
    http: &Http,
    issuer: &Issuer,
    client: &str,
    show: &(dyn Fn(&str) + Send + Sync),
) -> Result<Token, AzureError> {
    let what = format!("cannot sign in at {}", issuer.authority);
    let begin = format!("{}oauth2/devicecode", issuer.authority);
    let form = [("client_id", client), ("resource", issuer.audience.as_str())];
    let request = || http.client.post(&begin).query(&[("api-version", "1.0")]).form(&form);
    let answer = http.send(&what, Repeat::Always, request).await?;
    if answer.status != 200 {
        return Err(token_error::refusal(&what, &answer));
    }
    let code: Code = serde_json::from_slice(&answer.body)
        .map_err(|_| AzureError::new(Fault::Unexpected, what.clone(), "the answer holds no code"))?;
    show(&code.message());
    let pause = seconds(code.interval.as_ref()).unwrap_or(PAUSE);
    let ends = Instant::now() + seconds(code.expires_in.as_ref()).unwrap_or(LONGEST).min(LONGEST);
    let url = issuer.endpoint();
    let form = [
        ("grant_type", "device_code"),
        ("client_id", client),
        ("resource", issuer.audience.as_str()),
        ("code", code.device_code.expose_secret()),
    ];
    while Instant::now() < ends {
        tokio::time::sleep(pause).await;
        let request = || http.client.post(&url).query(&[("api-version", "1.0")]).form(&form);
        let answer = http.send(&what, Repeat::Always, request).await?;
        match (answer.status, token_error::kind(&answer).as_deref()) {
            (200, _) => return Token::read(&what, &answer),
            (_, Some("authorization_pending")) => {}
            (_, Some("slow_down")) => tokio::time::sleep(pause).await,
            _ => return Err(token_error::refusal(&what, &answer)),
        }
    }
    Err(AzureError::new(Fault::Timeout, what, "the code was not typed in time")
        .remedy("Run the command again, or use another --auth-method."))
}

#[derive(Deserialize)]
struct Code {
    user_code: String,
    device_code: SecretString,
    #[serde(alias = "verification_uri")]
    verification_url: String,
    expires_in: Option<Value>,
    interval: Option<Value>,
}

impl Code {
    fn message(&self) -> String {
        format!(
            "To sign in, open {} in a browser and type the code {}.",
            self.verification_url, self.user_code
        )
    }
}

/// Seconds, as a number or as text.
fn seconds(value: Option<&Value>) -> Option<Duration> {
    let seconds = match value? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    seconds.map(Duration::from_secs)
}
