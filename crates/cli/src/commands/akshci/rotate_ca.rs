//! The rotation of the authority's CA.

use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kubecert_cloud::arc::Site;
use kubecert_cloud::authority::{Authority, Monitor, Status};
use serde_json::json;

use super::{How, told};
use crate::args::{GlobalArgs, Output};
use crate::commands::authority::{monitor_json, monitor_text};
use crate::errors::{CliError, Kind};
use crate::exit::Exit;

/// For how long the old CA is accepted beside the new one: as `authority rotate` does when nothing is said. Clients that run
/// renew within 63 days of 90; those that do not are told by `Update-AksHciCertificates`, for which a month is enough.
const OVERLAP: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What became of it.
#[derive(Debug)]
pub(super) struct Rotated {
    monitor: Monitor,
    done: Done,
    now: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    Rotated,
    WouldRotate,
    /// An overlap is under way, so that it was done lately.
    NotDue,
}

/// Puts a new CA in the old one's place. During an overlap nothing is done: it was, and is not over yet.
pub(super) fn rotate(site: &Site, file: &Path, how: &How) -> Result<Rotated, CliError> {
    let directory = site.authority.as_ref().ok_or_else(|| {
        CliError::new(Kind::Input, format!("the site file {} does not say where the authority's directory is", file.display()))
            .hint("No call of the wire API rotates the CA: run it on the authority's machine, with `authority: DIR` in the site file, or `kubecert authority rotate --dir DIR`.")
    })?;
    let authority = Authority::open(directory, Arc::clone(&how.clock)).map_err(told)?;
    let monitor = authority.monitor().map_err(told)?;
    let now = how.clock.now();
    if monitor.status != Status::Single {
        return Ok(Rotated { monitor, done: Done::NotDue, now });
    }
    if how.what_if {
        return Ok(Rotated { monitor, done: Done::WouldRotate, now });
    }
    how.ask(&format!("Replace the CA of the authority of {}?", site.name))?;
    let monitor = authority.rotate_ca(OVERLAP).map_err(told)?;
    Ok(Rotated { monitor, done: Done::Rotated, now })
}

impl Rotated {
    /// Shows it.
    pub(super) fn show(&self, global: &GlobalArgs) -> Result<Exit, CliError> {
        match global.output {
            Output::Text => super::super::print(&self.text())?,
            Output::Json => {
                let mut json = monitor_json(&self.monitor);
                json["done"] = json!(match self.done {
                    Done::Rotated => "rotated",
                    Done::WouldRotate => "would-be-rotated",
                    Done::NotDue => "not-due",
                });
                super::super::print(&format!("{json:#}\n"))?;
            }
        }
        Ok(Exit::Done)
    }

    pub(super) fn text(&self) -> String {
        let first = match self.done {
            Done::Rotated => "The CA was replaced.",
            Done::WouldRotate => "The CA would be replaced.",
            Done::NotDue => "The CA was replaced before, and the overlap is not over: nothing was done.",
        };
        let next = match self.done {
            Done::WouldRotate => "",
            _ => {
                "Have every client know the new CA before the old one ends: `kubecert Update-AksHciCertificates`, then \
                  `kubecert Update-AksHciClusterCertificates -FixCloudCredentials -PatchLoadBalancer` for each cluster.\n"
            }
        };
        format!("{first}\n{}{next}", monitor_text(&self.monitor, self.now))
    }
}
