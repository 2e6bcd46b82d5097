//! What needs attention.

use jiff::{SignedDuration, Timestamp};
use kubecert_core::inventory::{CertificateFacts, Inventory, Observed, Server};
use serde::Serialize;

use super::Row;
use crate::human::plural::some;
use crate::human::time;

/// Something that needs attention.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    /// What kind.
    pub(crate) kind: FindingKind,
    /// What, as a person reads it.
    pub(crate) text: String,
    /// What to do about it.
    pub(crate) remedy: Option<String>,
    /// The end that it is about.
    pub(crate) ends: Option<Timestamp>,
}

/// Kinds of findings, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FindingKind {
    /// A certificate has ended.
    Expired,
    /// A certificate ends soon.
    EndsSoon,
    /// A running process presents a certificate that is in no file of its node.
    NotOnDisk,
    /// Something could not be read; whether it is well is not known.
    Unreadable,
}

impl FindingKind {
    /// One word for it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            FindingKind::Expired => "expired",
            FindingKind::EndsSoon => "ends soon",
            FindingKind::NotOnDisk => "differs",
            FindingKind::Unreadable => "unreadable",
        }
    }
}

/// What needs attention, the most urgent first.
pub(super) fn of(inventory: &Inventory, rows: &[Row], now: Timestamp, within_days: u32) -> Vec<Finding> {
    let soon =
        now.saturating_add(SignedDuration::from_hours(24 * i64::from(within_days))).unwrap_or(Timestamp::MAX);
    let mut findings: Vec<Finding> = rows.iter().filter_map(|row| lifetime(row, now, soon)).collect();
    findings.extend(served(inventory, now, soon));
    findings.extend(unreadable(inventory));
    findings
        .sort_by(|one, other| (one.kind, one.ends, &one.text).cmp(&(other.kind, other.ends, &other.text)));
    findings
}

fn lifetime(row: &Row, now: Timestamp, soon: Timestamp) -> Option<Finding> {
    let kind = judge(row.not_after, now, soon)?;
    let ends = if kind == FindingKind::Expired { "ended" } else { "ends" };
    Some(Finding {
        kind,
        text: format!("{} on {} {ends} {}", row.what, some(&row.places, 3), row.ends),
        remedy: None,
        ends: Some(row.not_after),
    })
}

fn judge(not_after: Timestamp, now: Timestamp, soon: Timestamp) -> Option<FindingKind> {
    match not_after {
        end if end <= now => Some(FindingKind::Expired),
        end if end <= soon => Some(FindingKind::EndsSoon),
        _ => None,
    }
}

/// Leaves that servers present and that no file on their node holds: what rows cannot tell.
fn served(inventory: &Inventory, now: Timestamp, soon: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (server, facts) in &inventory.servers {
        let Some(leaf) = facts.seen().and_then(|facts| facts.chain.first()) else { continue };
        if !is_missing(inventory, server, leaf) {
            continue;
        }
        findings.push(Finding {
            kind: FindingKind::NotOnDisk,
            text: format!("{server} presents a certificate that is in no file on the node"),
            remedy: Some("Its process has not read the present files; it needs a restart.".to_owned()),
            ends: None,
        });
        if let Some(kind) = judge(leaf.not_after, now, soon) {
            let ends = if kind == FindingKind::Expired { "ended" } else { "ends" };
            findings.push(Finding {
                kind,
                text: format!("what {server} presents {ends} {}", time::relative(now, leaf.not_after)),
                remedy: None,
                ends: Some(leaf.not_after),
            });
        }
    }
    findings
}

/// Whether the node's files were read and none holds the leaf. Where they could not be read, that is a finding of its
/// own and this one would be a guess.
fn is_missing(inventory: &Inventory, server: &Server, leaf: &CertificateFacts) -> bool {
    let Some(facts) = inventory.nodes.get(server.node()).and_then(Observed::seen) else { return false };
    let mut on_disk = facts.files.iter().flat_map(|file| &file.certificates);
    !on_disk.any(|certificate| certificate.fingerprint == leaf.fingerprint)
}

fn unreadable(inventory: &Inventory) -> Vec<Finding> {
    let nodes = inventory.nodes.iter().map(|(node, facts)| (format!("node {node}"), why(facts)));
    let servers = inventory.servers.iter().map(|(server, facts)| (server.to_string(), why(facts)));
    let api =
        [("the Kubernetes API".to_owned(), why(&inventory.api)), ("etcd".to_owned(), why(&inventory.etcd))];
    let finding = |(what, why): (String, Option<&str>)| {
        why.map(|why| Finding {
            kind: FindingKind::Unreadable,
            text: format!("{what} could not be read: {why}"),
            remedy: Some("Nothing is known about its credentials until it can be.".to_owned()),
            ends: None,
        })
    };
    nodes.chain(servers).chain(api).filter_map(finding).collect()
}

const fn why<T>(observed: &Observed<T>) -> Option<&str> {
    match observed {
        Observed::Seen(_) => None,
        Observed::Unreadable(why) => Some(why.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Check, sample};
    use super::*;

    #[test]
    fn the_most_urgent_comes_first() {
        let check = Check::of(&sample::inventory(), sample::now(), 30);
        let kinds: Vec<FindingKind> = check.findings.iter().map(|finding| finding.kind).collect();
        use FindingKind::{EndsSoon, Expired, NotOnDisk, Unreadable};
        assert_eq!(kinds, [Expired, EndsSoon, NotOnDisk, Unreadable, Unreadable]);
    }

    #[test]
    fn the_limit_is_the_operators() {
        let check = Check::of(&sample::inventory(), sample::now(), 3);
        assert!(check.findings.iter().all(|finding| finding.kind != FindingKind::EndsSoon));
    }
}
