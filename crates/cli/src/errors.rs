//! Errors as the operator meets them: what failed, why, and what to do about it.
//!
//! Libraries return errors that say what went wrong; a verb decides who must act ([`Kind`]) and adds hints. One function
//! prints them and one yields the exit code, so that no verb invents its own way.

use std::error::Error;
use std::fmt;
use std::io;

use serde_json::json;

use crate::exit::Exit;
use crate::human::paint::Paint;

/// Who must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The command line is wrong in a way that only shows after parsing it.
    Usage,
    /// A file that the operator gave (an apimodel, a key, a plan, a run directory) cannot be used.
    Input,
    /// A node, its SSH server or the SSH host in front of it.
    Node,
    /// The cluster: its API, etcd, a certificate in force.
    Cluster,
    /// The run stopped at a safe point; `resume` goes on.
    Stopped,
    /// Nobody reads our output any more.
    BrokenPipe,
    /// A fault of this program.
    Internal,
}

/// An error with its causes and with hints.
#[derive(Debug)]
pub(crate) struct CliError {
    /// Who must act.
    pub(crate) kind: Kind,
    /// What failed; [`Error::source`] leads to the causes.
    pub(crate) error: Box<dyn Error + Send + Sync>,
    /// Sentences about what to do.
    pub(crate) hints: Vec<String>,
}

impl CliError {
    /// An error of its own, or a sentence fragment.
    pub(crate) fn new(kind: Kind, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, error: error.into(), hints: Vec::new() }
    }

    /// `message`, caused by `source`.
    pub(crate) fn because(
        kind: Kind,
        message: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::new(kind, Because { message: message.into(), source: source.into() })
    }

    /// Adds a hint: a sentence that says what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// How the program ends because of it.
    pub(crate) const fn exit(&self) -> Exit {
        match self.kind {
            Kind::Usage => Exit::Usage,
            Kind::Stopped => Exit::Stopped,
            // The reader has seen what it wanted, as with `kubecert check | head`.
            Kind::BrokenPipe => Exit::Done,
            Kind::Input | Kind::Node | Kind::Cluster | Kind::Internal => Exit::Failed,
        }
    }

    /// The error for people, each cause and hint on a line of its own. Empty for a broken pipe.
    pub(crate) fn text(&self, paint: Paint) -> String {
        if self.kind == Kind::BrokenPipe {
            return String::new();
        }
        let mut text = format!("{} {}\n", paint.red("error:"), self.error);
        for cause in self.causes() {
            text.push_str(&format!("  {} {cause}\n", paint.dim("caused by:")));
        }
        let hints = self.hints.iter().map(String::as_str).chain(match self.kind {
            Kind::Internal => Some("This is a fault in kubecert; please report it with the lines above."),
            _ => None,
        });
        for hint in hints {
            text.push_str(&format!("  {} {hint}\n", paint.cyan("hint:")));
        }
        text
    }

    /// The error as one line of JSON.
    pub(crate) fn json(&self) -> String {
        let causes: Vec<String> = self.causes().collect();
        json!({"error": self.error.to_string(), "caused_by": causes, "hints": self.hints}).to_string()
    }

    fn causes(&self) -> impl Iterator<Item = String> + '_ {
        let mut next = self.error.source();
        std::iter::from_fn(move || {
            let cause = next?;
            next = cause.source();
            Some(cause.to_string())
        })
    }
}

impl From<io::Error> for CliError {
    /// For writing results to standard output; errors about files deserve [`CliError::because`] with the path.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Kind::BrokenPipe, error),
            _ => Self::because(Kind::Input, "cannot write the result", error),
        }
    }
}

/// A message with a cause of any type.
#[derive(Debug)]
struct Because {
    message: String,
    source: Box<dyn Error + Send + Sync>,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Because {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_and_hints_stand_on_lines_of_their_own() {
        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
        let error = CliError::because(Kind::Node, "cannot reach the SSH host 10.0.0.4", refused)
            .hint("Check --ssh-host and --ssh-port.");
        insta::assert_snapshot!(error.text(Paint::PLAIN), @"
        error: cannot reach the SSH host 10.0.0.4
          caused by: connection refused
          hint: Check --ssh-host and --ssh-port.
        ");
        insta::assert_snapshot!(error.json(), @r#"{"error":"cannot reach the SSH host 10.0.0.4","caused_by":["connection refused"],"hints":["Check --ssh-host and --ssh-port."]}"#);
        assert_eq!(error.exit(), Exit::Failed);
    }

    #[test]
    fn a_broken_pipe_is_success_and_says_nothing() {
        let error = CliError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((error.exit(), error.text(Paint::PLAIN).as_str()), (Exit::Done, ""));
    }
}
