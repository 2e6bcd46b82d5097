//! Why Azure did not do what it was asked.

use std::fmt;
use std::time::Duration;

use kubecert_engine::ports::{Fault, PortError};

/// Why a call to Azure, or to who issues its tokens, failed.
///
/// It holds no secret: neither tokens nor the fields of a token request are ever part of it.
#[derive(Clone, Debug)]
pub struct AzureError {
    /// Who must act.
    pub fault: Fault,
    /// What was being done, as a fragment: "cannot restart virtual machine k8s-master-1-0".
    pub what: String,
    /// Azure's own code (`AuthorizationFailed`, `ResourceNotFound`, `invalid_client`), where it gave one.
    pub code: Option<String>,
    /// The cause as a fragment.
    pub cause: String,
    /// What the operator can do, as a sentence.
    pub remedy: Option<String>,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// How long the server wants to be left alone.
    pub retry_after: Option<Duration>,
}

impl AzureError {
    pub(crate) fn new(fault: Fault, what: impl Into<String>, cause: impl fmt::Display) -> Self {
        Self {
            fault,
            what: what.into(),
            code: None,
            cause: cause.to_string(),
            remedy: None,
            status: None,
            retry_after: None,
        }
    }

    #[must_use]
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    #[must_use]
    pub(crate) fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    #[must_use]
    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Whether Azure gave this code.
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(code))
    }

    /// Whether trying the same again may help: too many calls, a server's own fault, or a connection that broke.
    pub(crate) fn is_transient(&self) -> bool {
        match self.status {
            Some(status) => status == 429 || status == 408 || (500..600).contains(&status),
            None => matches!(self.fault, Fault::Unreachable | Fault::Timeout),
        }
    }
}

impl fmt::Display for AzureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.what)?;
        match &self.code {
            Some(code) => write!(f, "{} ({code})", self.cause),
            None => f.write_str(&self.cause),
        }
    }
}

impl std::error::Error for AzureError {}

impl From<AzureError> for PortError {
    fn from(error: AzureError) -> Self {
        let cause = match &error.code {
            Some(code) => format!("{} ({code})", error.cause),
            None => error.cause,
        };
        PortError { fault: error.fault, what: error.what, cause, remedy: error.remedy }
    }
}

/// One line of a text that may have several, and that may be long: error messages come with traces and time stamps.
pub(crate) fn first_line(text: &str) -> String {
    /// Longer messages say nothing that the beginning does not.
    const LONGEST: usize = 400;
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("");
    let end = line.char_indices().nth(LONGEST).map_or(line.len(), |(at, _)| at);
    line[..end].trim_end_matches('.').to_owned()
}
