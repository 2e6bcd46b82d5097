//! Resource Manager: who may come in, and what there is.

use hyper::Method;
use serde_json::json;

use super::jwt::Bad;
use super::machines;
use super::reply::{Reply, json, refusal, with};
use super::server::{Asked, State};

/// The version in which each kind of thing may be asked for, besides machines.
const PROVIDERS: &str = "2018-05-01";
const SUBSCRIPTIONS: &str = "2016-06-01";

/// Answers `/subscriptions/...`.
pub(super) fn answer(state: &std::sync::Arc<State>, asked: &Asked) -> Reply {
    let path: Vec<String> = asked.path.split('/').filter(|part| !part.is_empty()).map(decoded).collect();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let [_, subscription, rest @ ..] = &path[..] else {
        return refusal(404, "InvalidSubscriptionId", "There is no subscription in the address.");
    };
    if !subscription.eq_ignore_ascii_case(&state.config.subscription) {
        let text = format!("The subscription '{subscription}' could not be found.");
        return refusal(404, "SubscriptionNotFound", &text);
    }
    let Some(version) = asked.query.get("api-version") else {
        return refusal(400, "MissingApiVersionParameter", "The api-version query parameter is required.");
    };
    if let Err(reply) = authorize(state, asked) {
        return *reply;
    }
    if asked.method == Method::POST && asked.length.is_none() {
        return with(411, &[], "Length Required".to_owned());
    }
    let is = |wanted: &str| version == wanted;
    match (&asked.method, rest) {
        (&Method::GET, []) if is(SUBSCRIPTIONS) => {
            json(200, &json!({"subscriptionId": subscription, "state": "Enabled"}))
        }
        (&Method::GET, ["providers"]) if is(PROVIDERS) => providers(state),
        (&Method::POST, ["providers", name, "register"]) if is(PROVIDERS) => {
            state
                .registered
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .insert((*name).to_owned());
            json(200, &json!({"namespace": name, "registrationState": "Registering"}))
        }
        (&Method::GET, ["providers", "Microsoft.Compute", "locations", _, "operations", id]) => {
            machines::operation(state, id, false)
        }
        (&Method::GET, ["providers", "Microsoft.Compute", "locations", _, "results", id]) => {
            machines::operation(state, id, true)
        }
        (_, ["resourceGroups", group, "providers", "Microsoft.Compute", rest @ ..]) => {
            if !group.eq_ignore_ascii_case(&state.config.resource_group) {
                let text = format!("Resource group '{group}' could not be found.");
                return refusal(404, "ResourceGroupNotFound", &text);
            }
            if !state.config.stack.versions().contains(&version.as_str()) {
                let text = format!("The api-version '{version}' is not supported by Microsoft.Compute.");
                return refusal(400, "NoRegisteredProviderFound", &text);
            }
            machines::answer(state, asked, rest)
        }
        _ => refusal(
            400,
            "InvalidApiVersionParameter",
            &format!("The api-version '{version}' is invalid here."),
        ),
    }
}

/// A segment of a path without its escapes.
fn decoded(segment: &str) -> String {
    let url = reqwest::Url::parse(&format!("https://s/?{}", segment.replace('+', "%2B")));
    let first = url.ok().and_then(|url| url.query_pairs().next().map(|(key, _)| key.into_owned()));
    first.unwrap_or_else(|| segment.to_owned())
}

/// Answers `GET /metadata/endpoints`, as an Azure Stack Hub does.
pub(super) fn metadata(state: &State) -> Reply {
    json(
        200,
        &json!({
            "galleryEndpoint": "https://gallery.invalid/",
            "graphEndpoint": "https://graph.windows.net/",
            "portalEndpoint": "https://portal.invalid/",
            "authentication": {"loginEndpoint": state.login(), "audiences": [state.config.audience]},
        }),
    )
}

fn authorize(state: &State, asked: &Asked) -> Result<(), Box<Reply>> {
    let Some(token) = asked.authorization.as_deref().and_then(|value| value.strip_prefix("Bearer ")) else {
        let challenge = format!(
            "Bearer authorization_uri=\"{}{}\", error=\"invalid_token\", error_description=\"The authentication failed because of missing 'Authorization' header.\"",
            state.login(),
            state.config.tenant
        );
        let body = json!({"error": {"code": "AuthenticationFailed", "message": "Authentication failed."}});
        return Err(Box::new(with(401, &[("www-authenticate", &challenge)], body.to_string())));
    };
    let (code, message) = match state.signer.check(token, &state.config.audience) {
        Ok(()) => return Ok(()),
        Err(Bad::Expired) => ("ExpiredAuthenticationToken", "The access token has expired."),
        Err(Bad::Audience) => {
            ("InvalidAuthenticationTokenAudience", "The access token is for another audience.")
        }
        Err(Bad::Invalid) => ("InvalidAuthenticationToken", "The access token is invalid."),
    };
    Err(Box::new(refusal(401, code, message)))
}

fn providers(state: &State) -> Reply {
    let registered = state.registered.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let versions = state.config.stack.versions();
    let one = |name: &str| {
        let types: Vec<_> = match name {
            "Microsoft.Compute" => ["virtualMachines", "virtualMachineScaleSets"]
                .iter()
                .map(|kind| json!({"resourceType": kind, "apiVersions": versions}))
                .collect(),
            _ => Vec::new(),
        };
        let known = registered.contains(name);
        json!({
            "namespace": name,
            "registrationState": if known { "Registered" } else { "NotRegistered" },
            "resourceTypes": types,
        })
    };
    let all: Vec<_> = ["Microsoft.Compute", "Microsoft.Network", "Microsoft.Storage"].map(one).into();
    json(200, &json!({"value": all}))
}
