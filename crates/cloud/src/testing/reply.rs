//! Answers.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use serde_json::{Value, json};

/// An answer.
pub(super) type Reply = Response<Full<Bytes>>;

/// JSON with a status.
pub(super) fn json(status: u16, body: &Value) -> Reply {
    with(status, &[("content-type", "application/json")], body.to_string())
}

/// Anything.
pub(super) fn with(status: u16, headers: &[(&str, &str)], body: String) -> Reply {
    let mut reply = Response::builder().status(status);
    for (name, value) in headers {
        reply = reply.header(*name, *value);
    }
    reply.body(Full::new(Bytes::from(body))).unwrap_or_default()
}

/// A refusal as Resource Manager puts it.
pub(super) fn refusal(status: u16, code: &str, message: &str) -> Reply {
    json(status, &json!({"error": {"code": code, "message": message}}))
}

/// A refusal as who issues tokens puts it.
pub(super) fn no_token(status: u16, error: &str, description: &str) -> Reply {
    json(status, &json!({"error": error, "error_description": format!("{description}\r\nTrace ID: none")}))
}
