//! What a cmdlet has done: for people, or as JSON.

use std::fmt::Write as _;
use std::io;

use jiff::Timestamp;
use kubecert_cloud::arc::{Site, Source};
use kubecert_cloud::authority::Reason;
use serde::Serialize;
use serde_json::json;

use super::How;
use crate::args::{ErrorAction, GlobalArgs, Output};
use crate::errors::{CliError, Kind};
use crate::exit::Exit;
use crate::human::paint::Paint;
use crate::human::time::{minute, relative};

/// The version of the format.
const SCHEMA: u32 = 1;

/// Everything that was looked at, and what became of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: u32,
    site: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    at: Timestamp,
    pub(super) what_if: bool,
    pub(super) credentials: Vec<Item>,
    #[serde(skip)]
    pub(super) errors: Vec<CliError>,
}

/// One credential in one place.
#[derive(Debug, Serialize)]
pub(super) struct Item {
    pub(super) outcome: Outcome,
    pub(super) what: What,
    /// Whose it is at the authority; nobody's for a server's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) identity: Option<String>,
    pub(super) holder: String,
    pub(super) place: String,
    /// Why it was due, or why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
    /// What became of who reads it at its start, where the site file names somebody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) restart: Option<String>,
    /// When it ends, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) not_after: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum What {
    /// A login file with its token.
    Token,
    /// A client's certificate.
    Certificate,
    /// A server's certificate.
    ServerCertificate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    Renewed,
    WouldBeRenewed,
    NotDue,
    Failed,
}

impl Item {
    /// What becomes of a credential at a place of the site.
    pub(super) fn of(source: &Source, what: What, identity: &str) -> Self {
        Self {
            outcome: Outcome::NotDue,
            what,
            identity: Some(identity.to_owned()),
            holder: source.holder.clone(),
            place: source.place.to_string(),
            why: None,
            restart: None,
            not_after: None,
        }
    }

    pub(super) fn not_due(self, ends: Option<Timestamp>) -> Self {
        Self { not_after: ends, ..self }
    }

    pub(super) fn due(self, outcome: Outcome, why: &Reason, ends: Option<Timestamp>) -> Self {
        Self { outcome, why: Some(why.to_string()), not_after: ends, ..self }
    }

    fn line(&self, now: Timestamp) -> String {
        let what = match self.what {
            What::Token => "token",
            What::Certificate => "certificate",
            What::ServerCertificate => "server's certificate",
        };
        let outcome = match self.outcome {
            Outcome::Renewed => "renewed",
            Outcome::WouldBeRenewed => "would be renewed",
            Outcome::NotDue => "not due",
            Outcome::Failed => "failed",
        };
        let whose = self.identity.as_deref().unwrap_or(&self.holder);
        let mut line = format!("{outcome:16}  {what} of {whose} in {}", self.place);
        if let Some(why) = &self.why {
            // Writing to a string cannot fail.
            let _ = write!(line, ": {why}");
        }
        if let Some(ends) = self.not_after.filter(|_| self.outcome != Outcome::Failed) {
            let _ = write!(line, "; good until {} ({})", minute(ends), relative(now, ends));
        }
        if let Some(restart) = &self.restart {
            let _ = write!(line, "; {restart}");
        }
        line
    }
}

impl Report {
    pub(super) fn new(site: &Site, cluster: Option<&str>, how: &How) -> Self {
        Self {
            schema: SCHEMA,
            site: site.name.clone(),
            cluster: cluster.map(str::to_owned),
            at: how.clock.now(),
            what_if: how.what_if,
            credentials: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Takes down that something failed; the error itself where the rest is to be left as it is.
    pub(super) fn failed(&mut self, item: Item, error: CliError, how: &How) -> Result<(), CliError> {
        self.credentials.push(Item { outcome: Outcome::Failed, why: Some(chain(&error)), ..item });
        if how.errors == ErrorAction::Stop {
            let done = self.count(Outcome::Renewed);
            return Err(error.hint(format!(
                "-ErrorAction Stop: what came before was renewed ({done}), what comes after was left as it is."
            )));
        }
        self.errors.push(error);
        Ok(())
    }

    pub(super) fn count(&self, outcome: Outcome) -> usize {
        self.credentials.iter().filter(|item| item.outcome == outcome).count()
    }

    /// Takes over what was done before, as a part of the same.
    pub(super) fn take_in(&mut self, before: Report) {
        self.credentials.splice(0..0, before.credentials);
        self.errors.splice(0..0, before.errors);
    }

    /// Leaves out that a place is not due which was seen to before in the same run.
    pub(super) fn tell_once(&mut self) {
        let seen_to = |item: &&Item| item.outcome != Outcome::NotDue || item.restart.is_some();
        let places: Vec<(What, String)> =
            self.credentials.iter().filter(seen_to).map(|item| (item.what, item.place.clone())).collect();
        self.credentials.retain(|item| {
            seen_to(&item) || !places.iter().any(|(what, place)| (*what, place) == (item.what, &item.place))
        });
    }

    /// Shows it, its errors on standard error, and says how the program ends.
    pub(super) fn end(self, global: &GlobalArgs, how: &How) -> Result<Exit, CliError> {
        if how.errors == ErrorAction::Continue {
            let paint = Paint::when(global.colours(io::IsTerminal::is_terminal(&io::stderr())));
            for error in &self.errors {
                match global.output {
                    Output::Text => eprint!("{}", error.text(paint)),
                    Output::Json => eprintln!("{}", error.json()),
                }
            }
        }
        match global.output {
            Output::Text => super::super::print(&self.text())?,
            Output::Json => {
                let mut json = json!(self);
                json["renewed"] = json!(self.count(Outcome::Renewed));
                json["failed"] = json!(self.count(Outcome::Failed));
                super::super::print(&format!("{json:#}\n"))?;
            }
        }
        Ok(if self.errors.is_empty() { Exit::Done } else { Exit::Failed })
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for item in &self.credentials {
            text.push_str(item.line(self.at).trim_end());
            text.push('\n');
        }
        let (renewed, would) = (self.count(Outcome::Renewed), self.count(Outcome::WouldBeRenewed));
        let (not_due, failed) = (self.count(Outcome::NotDue), self.count(Outcome::Failed));
        let done = match self.what_if {
            true => format!("{would} would be renewed"),
            false => format!("{renewed} renewed"),
        };
        let _ = writeln!(text, "{}: {done}, {not_due} not due, {failed} failed.", self.site);
        text
    }
}

/// An error and its causes in one line.
pub(super) fn chain(error: &CliError) -> String {
    let mut causes = vec![error.error.to_string()];
    let mut next = error.error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes.join(": ")
}

/// Where nothing of what was asked for is described.
pub(super) fn nothing_described(site: &Site, what: &str) -> CliError {
    CliError::new(Kind::Input, format!("the site file of {} names no {what}", site.name))
        .hint("docs/aks-arc.md shows how login files, access files and Secrets are named.")
}
