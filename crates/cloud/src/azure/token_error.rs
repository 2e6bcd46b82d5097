//! What who issues tokens says when there is none, and what to do about it.

use kubecert_engine::ports::Fault;
use serde::Deserialize;

use super::error::{AzureError, first_line};
use super::http::Answer;

/// RFC 6749's error, with Entra ID's own numbers.
#[derive(Deserialize)]
struct Body {
    error: String,
    #[serde(default)]
    error_description: String,
}

/// The `error` of an answer, for whoever waits for another one.
pub(crate) fn kind(answer: &Answer) -> Option<String> {
    serde_json::from_slice::<Body>(&answer.body).ok().map(|body| body.error)
}

/// The refusal of a token as an error.
pub(crate) fn refusal(what: &str, answer: &Answer) -> AzureError {
    let Ok(body) = serde_json::from_slice::<Body>(&answer.body) else {
        return AzureError::new(
            Fault::Unexpected,
            what,
            format!("the answer is {}, without a reason", answer.status),
        )
        .status(answer.status)
        .remedy("Check that activeDirectoryEndpoint in the api model, or --azure-env, is right.");
    };
    let number = number(&body.error_description);
    let code = number.clone().unwrap_or_else(|| body.error.clone());
    let cause = match first_line(&body.error_description) {
        empty if empty.is_empty() => body.error.clone(),
        line => line,
    };
    let error = AzureError::new(Fault::Refused, what, cause).code(code).status(answer.status);
    match remedy(number.as_deref(), &body.error) {
        Some(remedy) => error.remedy(remedy),
        None => error,
    }
}

/// Entra ID's number of an error, `AADSTS7000215`, or AD FS's, `MSIS9659`.
fn number(description: &str) -> Option<String> {
    let start = description.find("AADSTS").or_else(|| description.find("MSIS"))?;
    let number = description[start..].chars().take_while(char::is_ascii_alphanumeric).collect::<String>();
    (number.len() > 4).then_some(number)
}

/// What to do, by Entra ID's documented numbers ("Microsoft Entra authentication and authorization error codes"), and by
/// RFC 6749's words where there is none.
fn remedy(number: Option<&str>, error: &str) -> Option<&'static str> {
    Some(match (number, error) {
        (Some("AADSTS7000215"), _) => "The client secret is wrong: give the secret's value, not its id.",
        (Some("AADSTS7000222"), _) => {
            "The client secret has ended: make a new one for the service principal."
        }
        (Some("AADSTS700016"), _) => {
            "The tenant does not know this client: check --client-id, and that --subscription-id is of the same tenant."
        }
        (Some("AADSTS90002"), _) => "The tenant does not exist: check --subscription-id and --azure-env.",
        (Some("AADSTS700027" | "AADSTS7000272"), _) => {
            "The certificate is not one of the service principal's: add it there, or check --certificate-path and --private-key-path."
        }
        (Some("AADSTS700024"), _) => "The assertion is not valid now: set this machine's clock right.",
        (Some("AADSTS500011"), _) => {
            "The audience is unknown to the tenant: check serviceManagementEndpoint in the api model, or --azure-env."
        }
        (_, "invalid_client" | "unauthorized_client") => {
            "Check --client-id, and the secret or certificate of the service principal."
        }
        (_, "invalid_resource") => {
            "The audience is unknown: check serviceManagementEndpoint in the api model, or --azure-env."
        }
        (_, "expired_token" | "code_expired") => "The code was not typed in time: run the command again.",
        (_, "authorization_declined" | "access_denied") => "The sign-in was declined: run the command again.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_issuers_words_become_a_cause_and_a_remedy() {
        let answer = |body: &str| Answer {
            status: 401,
            headers: reqwest::header::HeaderMap::new(),
            body: body.as_bytes().to_vec(),
        };
        let error = refusal(
            "cannot get a token",
            &answer(
                r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided.\r\nTrace ID: 1"}"#,
            ),
        );
        assert_eq!(
            error.to_string(),
            "cannot get a token: AADSTS7000215: Invalid client secret provided (AADSTS7000215)"
        );
        assert!(error.remedy.unwrap().contains("not its id"));
        let adfs = refusal("w", &answer(r#"{"error":"invalid_client","error_description":"MSIS9659: odd"}"#));
        assert_eq!((adfs.code.as_deref(), adfs.remedy.is_some()), (Some("MSIS9659"), true));
        assert!(refusal("w", &answer("<html>")).remedy.is_some());
    }
}
