//! The domain codes of the wire API, and how they travel.
//!
//! Numbers and the way of travelling are public (`github.com/microsoft/moc`, folders `pkg/errors/codes` and `pkg/errors`):
//! a gRPC status with a detail of type `moc.Error`. Its client reads the detail where the status is `Unknown`, and looks for
//! the code's word in the text otherwise, so that the word always ends the text here.

use std::fmt;

use bytes::Bytes;
use prost::Message as _;
use tonic::{Code, Status};

use super::wire::{Any, MocError, RpcStatus};

/// What an authority says is the matter. Codes that neither side needs are [`MocCode::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MocCode {
    /// 1.
    NotFound,
    /// 4.
    InvalidInput,
    /// 6.
    NotSupported,
    /// 7.
    AlreadyExists,
    /// 11.
    Failed,
    /// 29: a certificate or token has ended.
    Expired,
    /// 30: an identity was revoked.
    Revoked,
    /// 31.
    Timeout,
    /// 33: a token is no token, or is another authority's.
    InvalidToken,
    /// 40: the caller may not do that.
    AccessDenied,
    /// 43: the caller has not said who it is.
    NoAuthenticationInformation,
    /// 50: what was asked beforehand could not be done.
    PreCheckFailed,
    /// Any other.
    Other(u32),
}

/// Each code with its number and its word, as the public library writes it into texts.
const KNOWN: &[(MocCode, u32, &str)] = &[
    (MocCode::NotFound, 1, "Not Found"),
    (MocCode::InvalidInput, 4, "Invalid Input"),
    (MocCode::NotSupported, 6, "Not Supported"),
    (MocCode::AlreadyExists, 7, "Already Exists"),
    (MocCode::Failed, 11, "Failed"),
    (MocCode::Expired, 29, "Expired"),
    (MocCode::Revoked, 30, "Revoked"),
    (MocCode::Timeout, 31, "Timed out"),
    (MocCode::InvalidToken, 33, "InvalidToken"),
    (MocCode::AccessDenied, 40, "Access is denied"),
    (MocCode::NoAuthenticationInformation, 43, "NoAuthenticationInformation"),
    (MocCode::PreCheckFailed, 50, "PreCheckFailed"),
];

/// What a refused token is answered with, in the words that are known from the field.
const VALID_TOKEN_REQUIRED: &str = "Valid Token Required";

/// The type of the detail, as protobuf's `Any` names it.
const DETAIL_TYPE: &str = "type.googleapis.com/moc.Error";

impl MocCode {
    /// The number on the wire.
    pub fn number(self) -> u32 {
        match self {
            Self::Other(number) => number,
            _ => KNOWN.iter().find(|(code, ..)| *code == self).map_or(0, |(_, number, _)| *number),
        }
    }

    /// The code with this number.
    pub fn from_number(number: u32) -> Self {
        KNOWN.iter().find(|(_, known, _)| *known == number).map_or(Self::Other(number), |(code, ..)| *code)
    }

    fn word(self) -> &'static str {
        KNOWN.iter().find(|(code, ..)| *code == self).map_or("Unknown Reason", |(_, _, word)| *word)
    }
}

impl fmt::Display for MocCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(number) => write!(f, "code {number}"),
            _ => f.write_str(self.word()),
        }
    }
}

/// Why an authority does not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}: {code}")]
pub struct Refusal {
    /// The domain code.
    pub code: MocCode,
    /// Why, as a fragment without secrets.
    pub message: String,
    /// Whether it is about the token that came along.
    of_token: OfToken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OfToken {
    No,
    Yes,
}

impl Refusal {
    pub(super) fn new(code: MocCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), of_token: OfToken::No }
    }

    /// A refused token: `Unauthenticated`, and the words that public clients look for.
    pub(super) fn token(code: MocCode, why: impl fmt::Display) -> Self {
        Self { code, message: format!("{VALID_TOKEN_REQUIRED}: {why}"), of_token: OfToken::Yes }
    }

    /// As it goes over the wire.
    pub(super) fn to_status(&self) -> Status {
        // Only these two have statuses of their own in the public library; `Unknown` is what makes clients read the detail.
        let code = match self.code {
            _ if self.of_token == OfToken::Yes => Code::Unauthenticated,
            MocCode::NoAuthenticationInformation => Code::Unauthenticated,
            MocCode::NotFound => Code::NotFound,
            MocCode::AlreadyExists => Code::AlreadyExists,
            _ => Code::Unknown,
        };
        let text = self.to_string();
        let error = MocError { message: text.clone(), code: self.code.number(), parameters: String::new() };
        let detail = Any { type_url: DETAIL_TYPE.to_owned(), value: error.encode_to_vec() };
        let details = RpcStatus { code: code as i32, message: text.clone(), details: vec![detail] };
        Status::with_details(code, text, Bytes::from(details.encode_to_vec()))
    }
}

/// The domain code and the text of a status: from its detail, or else as well as status and text tell.
pub(super) fn understand(status: &Status) -> (MocCode, String) {
    let details = RpcStatus::decode(status.details()).unwrap_or_default().details;
    let detail = details.iter().find(|detail| detail.type_url.ends_with("/moc.Error"));
    if let Some(error) = detail.and_then(|detail| MocError::decode(detail.value.as_slice()).ok()) {
        return (MocCode::from_number(error.code), error.message);
    }
    let text = status.message().to_owned();
    let by_text = || {
        let found = KNOWN.iter().find(|(_, _, word)| text.ends_with(word));
        found.map(|(code, ..)| *code)
    };
    let code = match status.code() {
        Code::NotFound => MocCode::NotFound,
        Code::AlreadyExists => MocCode::AlreadyExists,
        Code::Unauthenticated => by_text().unwrap_or(MocCode::InvalidToken),
        Code::PermissionDenied => MocCode::AccessDenied,
        Code::DeadlineExceeded => MocCode::Timeout,
        Code::Unimplemented => MocCode::NotSupported,
        // 34 is the library's own "unknown".
        _ => by_text().unwrap_or(MocCode::Other(34)),
    };
    (code, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_survive_the_wire() {
        for (code, number, _) in KNOWN {
            assert_eq!((code.number(), MocCode::from_number(*number)), (*number, *code));
            let refusal = Refusal::new(*code, "it is so");
            assert_eq!(understand(&refusal.to_status()), (*code, refusal.to_string()));
        }
        assert_eq!(MocCode::from_number(34), MocCode::Other(34));
    }

    #[test]
    fn a_refused_token_says_what_public_clients_look_for() {
        let status = Refusal::token(MocCode::Expired, "it ended yesterday").to_status();
        assert_eq!(status.code(), Code::Unauthenticated);
        assert_eq!(status.message(), "Valid Token Required: it ended yesterday: Expired");
    }

    #[test]
    fn without_a_detail_the_text_tells() {
        let told = understand(&Status::unknown("Certificate has expired: Expired"));
        assert_eq!(told.0, MocCode::Expired);
        assert_eq!(understand(&Status::unauthenticated("Valid Token Required")).0, MocCode::InvalidToken);
        assert_eq!(understand(&Status::unknown("?")).0, MocCode::Other(34));
    }
}
