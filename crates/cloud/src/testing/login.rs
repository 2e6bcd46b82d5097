//! The token endpoints of Microsoft Entra ID (its first version) and of AD FS.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use kubecert_pki::Certificate;
use serde_json::json;

use super::jwt;
use super::reply::{Reply, json, no_token};
use super::server::State;

/// Another audience that the issuer knows, and Resource Manager does not accept.
const GRAPH: &str = "https://graph.windows.net/";

/// A form's fields.
type Form = BTreeMap<String, String>;

/// Answers `POST /<tenant>/oauth2/<end>`.
pub(super) fn answer(state: &State, tenant: &str, end: &str, body: &[u8]) -> Reply {
    let config = &state.config;
    let adfs = tenant == "adfs";
    if !adfs && tenant != config.tenant {
        return no_token(400, "invalid_request", &format!("AADSTS90002: Tenant '{tenant}' not found."));
    }
    let form: Form = form(body);
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let resource = field("resource");
    if ![config.audience.as_str(), GRAPH].contains(&resource) {
        let text =
            format!("AADSTS500011: The resource principal named {resource} was not found in the tenant.");
        return no_token(400, "invalid_resource", &text);
    }
    match (end, field("grant_type")) {
        ("devicecode", _) if !adfs => device_code(state),
        ("token", "device_code") if !adfs => by_device(state, &form),
        ("token", "refresh_token") if field("refresh_token") == RENEWAL => {
            token(state, resource, "person", true)
        }
        ("token", "refresh_token") => {
            no_token(400, "invalid_grant", "AADSTS700082: The refresh token has expired.")
        }
        ("token", "client_credentials") => match by_client(state, tenant, &form) {
            Ok(client) => token(state, resource, &client, false),
            Err(refusal) => *refusal,
        },
        ("token", other) => no_token(
            400,
            "unsupported_grant_type",
            &format!("AADSTS70003: The grant '{other}' is not supported."),
        ),
        _ => no_token(404, "not_found", "There is nothing here."),
    }
}

/// The renewal that every person gets.
const RENEWAL: &str = "stand-in-renewal";

fn token(state: &State, resource: &str, client: &str, renewable: bool) -> Reply {
    state.issued.fetch_add(1, Ordering::SeqCst);
    let lasts = state.config.token_lasts_s;
    let mut body = json!({
        "token_type": "Bearer",
        // Text, as the first version of Entra ID has it.
        "expires_in": lasts.to_string(),
        "resource": resource,
        "access_token": state.signer.sign(resource, client, lasts),
    });
    if renewable {
        body["refresh_token"] = RENEWAL.into();
    }
    json(200, &body)
}

fn by_client(state: &State, tenant: &str, form: &Form) -> Result<String, Box<Reply>> {
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let id = field("client_id");
    let refuse = |status, error: &str, text: &str| Err(Box::new(no_token(status, error, text)));
    let Some(client) = state.config.clients.iter().find(|client| client.id == id) else {
        let text =
            format!("AADSTS700016: Application with identifier '{id}' was not found in the directory.");
        return refuse(400, "unauthorized_client", &text);
    };
    if let Some(assertion) = form.get("client_assertion") {
        if field("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
            return refuse(400, "invalid_request", "AADSTS900144: client_assertion_type is wrong.");
        }
        let audience = format!("{}{tenant}/oauth2/token", state.login());
        let certificate = client.certificate.as_deref().and_then(|pem| Certificate::from_pem(pem).ok());
        let judged = match &certificate {
            None => Err("no certificate is registered"),
            Some(certificate) => jwt::check_assertion(assertion, id, certificate, &audience),
        };
        return match judged {
            Ok(()) => Ok(id.to_owned()),
            Err(why) => {
                refuse(401, "invalid_client", &format!("AADSTS700027: Client assertion is refused: {why}."))
            }
        };
    }
    if client.secret.as_deref().is_some_and(|secret| secret == field("client_secret")) {
        return Ok(id.to_owned());
    }
    refuse(401, "invalid_client", "AADSTS7000215: Invalid client secret provided.")
}

fn device_code(state: &State) -> Reply {
    state.polls.store(0, Ordering::SeqCst);
    json(
        200,
        &json!({
            "user_code": "ABCD1234",
            "device_code": "stand-in-device",
            "verification_url": "https://microsoft.com/devicelogin",
            "expires_in": "900",
            "interval": "0",
        }),
    )
}

fn by_device(state: &State, form: &Form) -> Reply {
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    if field("code") != "stand-in-device" {
        return no_token(400, "bad_verification_code", "AADSTS70019: The code is unknown.");
    }
    if state.polls.fetch_add(1, Ordering::SeqCst) < state.config.device_polls {
        return no_token(400, "authorization_pending", "AADSTS70016: The person has not typed the code yet.");
    }
    token(state, field("resource"), "person", true)
}

/// A form's fields, as browsers encode them.
fn form(body: &[u8]) -> Form {
    let url = reqwest::Url::parse(&format!("https://form/?{}", String::from_utf8_lossy(body)));
    url.map(|url| url.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned())).collect())
        .unwrap_or_default()
}
