//! Calls of Azure Resource Manager: a token with each, its language, its errors.

use kubecert_engine::ports::Fault;
use reqwest::{Method, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use secrecy::ExposeSecret as _;

use super::error::{AzureError, first_line};
use super::http::{Answer, Http, Repeat};
use super::token::Tokens;

/// How many pages of a list are read at most; a page has some hundred machines.
const MOST_PAGES: usize = 200;

/// Resource Manager, for one subscription.
pub(crate) struct Arm {
    pub(crate) http: Http,
    pub(crate) tokens: Tokens,
    base: Url,
    language: String,
    subscription: String,
}

impl Arm {
    pub(crate) fn new(
        http: Http,
        tokens: Tokens,
        resource_manager: &str,
        language: &str,
        subscription: &str,
    ) -> Result<Self, AzureError> {
        let base = Url::parse(resource_manager).map_err(|error| {
            AzureError::new(Fault::Refused, format!("cannot call {resource_manager}"), error)
                .remedy("Correct resourceManagerEndpoint in the api model.")
        })?;
        let (language, subscription) = (language.to_owned(), subscription.to_owned());
        Ok(Self { http, tokens, base, language, subscription })
    }

    /// The address of something in the subscription; each segment is escaped.
    pub(crate) fn url(&self, segments: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["subscriptions", &self.subscription]).extend(segments);
        }
        url.query_pairs_mut().extend_pairs(query);
        url
    }

    /// Sends a request with a token; a token that is refused as ended is replaced once.
    pub(crate) async fn send(&self, what: &str, method: &Method, url: &Url) -> Result<Answer, AzureError> {
        if url.origin() != self.base.origin() {
            // Where the next page or an operation's state is, the answer says; a token goes to nobody else all the same.
            let why = format!("it leads to another server, {}", url.host_str().unwrap_or("?"));
            return Err(AzureError::new(Fault::Unexpected, what, why));
        }
        let repeat = if *method == Method::GET { Repeat::Always } else { Repeat::IfNotDone };
        let mut renewed = false;
        loop {
            let token = self.tokens.get(&self.http).await?;
            let request = || {
                let request = self.http.client.request(method.clone(), url.clone());
                let request = request
                    .bearer_auth(token.expose_secret())
                    .header(reqwest::header::ACCEPT_LANGUAGE, &self.language);
                // Without a body HTTP wants its length all the same (ARM answers 411 otherwise).
                if *method == Method::POST {
                    request.header(reqwest::header::CONTENT_LENGTH, 0)
                } else {
                    request
                }
            };
            let answer = self.http.send(what, repeat, request).await?;
            if answer.status == 401 && !renewed {
                renewed = true;
                self.tokens.refuse(&token).await;
                continue;
            }
            return if answer.status < 400 { Ok(answer) } else { Err(refusal(what, &answer)) };
        }
    }

    /// Gets one thing.
    pub(crate) async fn get<T: DeserializeOwned>(&self, what: &str, url: &Url) -> Result<T, AzureError> {
        let answer = self.send(what, &Method::GET, url).await?;
        read(what, &answer)
    }

    /// Gets a list with all its pages.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        what: &str,
        first: Url,
    ) -> Result<Vec<T>, AzureError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", bound = "T: DeserializeOwned")]
        struct Page<T> {
            value: Vec<T>,
            next_link: Option<String>,
        }
        let mut all = Vec::new();
        let mut next = first;
        for _ in 0..MOST_PAGES {
            let page: Page<T> = self.get(what, &next).await?;
            all.extend(page.value);
            let Some(link) = page.next_link.filter(|link| !link.is_empty()) else { return Ok(all) };
            next = Url::parse(&link).map_err(|error| {
                AzureError::new(Fault::Unexpected, what, format!("odd next page: {error}"))
            })?;
        }
        Err(AzureError::new(Fault::Unexpected, what, format!("the list has more than {MOST_PAGES} pages")))
    }
}

/// Reads an answer's JSON.
pub(crate) fn read<T: DeserializeOwned>(what: &str, answer: &Answer) -> Result<T, AzureError> {
    serde_json::from_slice(&answer.body).map_err(|error| {
        AzureError::new(Fault::Unexpected, what, format!("the answer is odd: {error}")).status(answer.status)
    })
}

/// An error as Resource Manager puts it: `{"error": {"code", "message"}}`, or the two without the wrapping.
#[derive(Deserialize)]
pub(crate) struct Refusal {
    #[serde(default)]
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) message: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Wrapped {
    Inside { error: Refusal },
    Bare(Refusal),
}

/// An answer that is a refusal, as an error.
pub(crate) fn refusal(what: &str, answer: &Answer) -> AzureError {
    let refusal = match serde_json::from_slice::<Wrapped>(&answer.body) {
        Ok(Wrapped::Inside { error } | Wrapped::Bare(error)) => error,
        Err(_) => Refusal { code: String::new(), message: String::new() },
    };
    from_refusal(what, &refusal, Some(answer.status))
}

/// The same, for an operation that ended with one.
pub(crate) fn from_refusal(what: &str, refusal: &Refusal, status: Option<u16>) -> AzureError {
    let fault = match status {
        Some(400..=428 | 430..=499) => Fault::Refused,
        Some(429) => Fault::Unreachable,
        _ => Fault::Failed,
    };
    let cause = match (first_line(&refusal.message), status) {
        (line, _) if !line.is_empty() => line,
        (_, Some(status)) => format!("Azure answers {status}"),
        (_, None) => "it failed, without a reason".to_owned(),
    };
    let mut error = AzureError::new(fault, what, cause);
    error.status = status;
    if !refusal.code.is_empty() {
        error = error.code(refusal.code.clone());
    }
    match remedy(&refusal.code, status) {
        Some(remedy) => error.remedy(remedy),
        None => error,
    }
}

/// What to do, by ARM's documented codes ("Troubleshoot common Azure deployment errors") and HTTP's statuses.
fn remedy(code: &str, status: Option<u16>) -> Option<&'static str> {
    Some(match (code, status) {
        ("InvalidAuthenticationTokenTenant", _) => {
            "The token is of another tenant than the subscription: check --subscription-id and --client-id."
        }
        ("InvalidAuthenticationTokenAudience", _) => {
            "The token is for another cloud: check --azure-env, or serviceManagementEndpoint in the api model."
        }
        ("ExpiredAuthenticationToken", _) => "Set this machine's clock right, and run the command again.",
        ("AuthorizationFailed" | "LinkedAuthorizationFailed", _) => {
            "Give the caller Microsoft.Compute/virtualMachines/read, /instanceView/read and /restart/action (and the same of virtualMachineScaleSets) on the resource group, for example by the role Virtual Machine Contributor."
        }
        ("SubscriptionNotFound" | "InvalidSubscriptionId", _) => {
            "Check --subscription-id, and that --azure-env is the cloud it is in."
        }
        ("ResourceGroupNotFound", _) => "Check --resource-group and --subscription-id.",
        ("ResourceNotFound" | "NotFound", _) => {
            "Check --resource-group, and that the machine has its original name."
        }
        ("NoRegisteredProviderFound" | "InvalidApiVersionParameter" | "InvalidResourceType", _) => {
            "This Azure does not know the version that was asked for: update the Azure Stack Hub."
        }
        ("MissingSubscriptionRegistration", _) => {
            "Register the resource provider Microsoft.Compute in the subscription."
        }
        ("ScopeLocked", _) => "Take the lock off the resource group for the time of the rotation.",
        (_, Some(401)) => "Check --client-id, --azure-env and the credentials.",
        (_, Some(403)) => "Give the caller rights on the resource group.",
        (_, Some(409)) => {
            "Something else is being done with the resource: wait for it, and run the command again."
        }
        (_, Some(429)) => {
            "Too many calls are made in this subscription: wait some minutes, and run the command again."
        }
        (_, Some(500..=599)) => {
            "Azure has trouble of its own: see its status page, and run the command again."
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, headers: reqwest::header::HeaderMap::new(), body: body.as_bytes().to_vec() }
    }

    #[test]
    fn errors_keep_azures_code_and_message() {
        let body = r#"{"error":{"code":"AuthorizationFailed","message":"The client 'x' does not have authorization."}}"#;
        let error = refusal("cannot restart m", &answer(403, body));
        assert_eq!(
            error.to_string(),
            "cannot restart m: The client 'x' does not have authorization (AuthorizationFailed)"
        );
        assert!(error.remedy.as_deref().unwrap().contains("restart/action"));
        assert_eq!(error.fault, Fault::Refused);
        let bare = refusal("w", &answer(404, r#"{"code":"ResourceNotFound","message":"gone"}"#));
        assert!(bare.is("resourcenotfound"));
        let nothing = refusal("w", &answer(502, "<html>"));
        assert_eq!((nothing.to_string().as_str(), nothing.is_transient()), ("w: Azure answers 502", true));
    }
}
