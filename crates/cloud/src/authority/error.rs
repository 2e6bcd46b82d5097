//! Why something about an authority did not work.

use std::fmt;

use super::code::{MocCode, Refusal};

/// Why it did not work: what was being done to what, the cause, and what to do.
///
/// It holds no secret: neither tokens nor keys are ever part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityError {
    /// What was being done, as a fragment: "cannot log in at 10.0.0.4:65000".
    pub what: String,
    /// The cause as a fragment.
    pub cause: String,
    /// The domain code, where it comes to one: an answer's, or what we have seen ourselves.
    pub code: Option<MocCode>,
    /// What the operator can do, as a sentence.
    pub remedy: Option<String>,
}

impl AuthorityError {
    pub(crate) fn new(what: impl Into<String>, cause: impl fmt::Display) -> Self {
        Self { what: what.into(), cause: cause.to_string(), code: None, remedy: None }
    }

    pub(super) fn refused(what: impl Into<String>, refusal: &Refusal) -> Self {
        Self::new(what, refusal).code(refusal.code)
    }

    #[must_use]
    pub(super) fn code(mut self, code: MocCode) -> Self {
        self.code = Some(code);
        self
    }

    #[must_use]
    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl fmt::Display for AuthorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.cause)
    }
}

impl std::error::Error for AuthorityError {}

/// What is said wherever a time does not fit: the credential may be at fault, or the clock.
pub(super) fn or_the_clock(now: jiff::Timestamp, remedy: &str) -> String {
    format!("{remedy} Should that not be so, this machine's clock is wrong: it says {}.", whole_seconds(now))
}

/// Instants as they are told to people.
pub(super) fn whole_seconds(time: jiff::Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_second(time.as_second()).unwrap_or(time)
}
