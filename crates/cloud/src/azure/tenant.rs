//! Which tenant a subscription is of: Resource Manager tells it to whoever asks without a token.

use std::time::Duration;

use kubecert_engine::ports::Fault;

use super::arm;
use super::cloud::Cloud;
use super::error::AzureError;
use super::http::{Http, Repeat};

/// The version in which the ancestor asks.
const API_VERSION: &str = "2016-06-01";
/// How long one answer may take. The ancestor waits 150 minutes without a word where there is no route.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks for the subscription and expects to be sent away, with the tenant's address in `WWW-Authenticate`.
pub(crate) async fn discover(http: &Http, cloud: &Cloud, subscription: &str) -> Result<String, AzureError> {
    let what = format!("cannot find the tenant of subscription {subscription}");
    let url = format!("{}subscriptions/{subscription}", cloud.resource_manager);
    let request = || http.client.get(&url).query(&[("api-version", API_VERSION)]).timeout(PATIENCE);
    let answer = http.send(&what, Repeat::Always, request).await?;
    if answer.status != 401 {
        return Err(match answer.status {
            200..=299 => AzureError::new(Fault::Unexpected, what, format!("it answers {}", answer.status)),
            _ => arm::refusal(&what, &answer),
        });
    }
    answer.header("www-authenticate").and_then(tenant).ok_or_else(|| {
        AzureError::new(Fault::Unexpected, what, "the answer does not name it")
            .status(401)
            .remedy("Check --azure-env, and with Azure Stack Hub --identity-system.")
    })
}

/// The last part of the path of `authorization_uri`.
fn tenant(header: &str) -> Option<String> {
    let (_, rest) =
        header.split_once("authorization_uri=").or_else(|| header.split_once("authorization="))?;
    let rest = rest.trim_start();
    let uri = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => rest.split([',', ' ']).next()?,
    };
    let path = uri.strip_prefix("https://")?.split_once('/')?.1;
    let tenant = path.trim_end_matches('/').rsplit('/').next()?;
    // It becomes part of an address to which a secret is sent.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    (!tenant.is_empty() && tenant.bytes().all(plain)).then(|| tenant.to_owned())
}

#[cfg(test)]
mod tests {
    use super::tenant;

    #[test]
    fn the_tenant_is_the_end_of_the_authorization_uri() {
        let header =
            r#"Bearer authorization_uri="https://login.windows.net/3f2c8d5e", error="invalid_token""#;
        assert_eq!(tenant(header).as_deref(), Some("3f2c8d5e"));
        assert_eq!(tenant("Bearer authorization=https://l/t/, x=y").as_deref(), Some("t"));
        for odd in
            ["", "Bearer", r#"Bearer authorization_uri="https://l/""#, r#"authorization_uri="https://l/a?b""#]
        {
            assert_eq!(tenant(odd), None, "{odd}");
        }
    }
}
