//! What an inventory says about credentials, and what of it needs attention.
//!
//! A certificate that lies on several nodes at the same path is one credential with several places. Whether a running
//! process presents it is told by comparing with the leaf that a handshake showed; a file whose subject and names are
//! those of a presented leaf, yet is another certificate, was replaced without the process taking notice.

mod findings;
#[cfg(test)]
pub(super) mod sample;

use std::collections::HashMap;

use jiff::Timestamp;
use kubecert_core::inventory::{CertificateFacts, Inventory, NodeFacts};
use kubecert_core::model::{Layout, NodeName};
use serde::Serialize;

pub(crate) use findings::Finding;

use crate::human::time;

/// The place of what the operator's own description of the cluster holds.
const DESCRIPTION: &str = "apimodel";

/// The place of what is kept in the Kubernetes API.
const API: &str = "API";

/// The result of `check`.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    /// Version of this format.
    pub(crate) schema: u32,
    /// The cluster.
    pub(crate) cluster: String,
    /// When it was looked at.
    pub(crate) taken: Timestamp,
    /// Every credential that was seen.
    pub(crate) credentials: Vec<Row>,
    /// What needs attention, the most urgent first.
    pub(crate) findings: Vec<Finding>,
}

/// A credential.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// Nodes it lies on, or what else holds it.
    pub(crate) places: Vec<String>,
    /// Its path or name there.
    pub(crate) what: String,
    /// Its subject.
    pub(crate) subject: String,
    /// Who issued it.
    pub(crate) issuer: String,
    /// SHA-256 fingerprint.
    pub(crate) fingerprint: String,
    /// Algorithm and size of its key.
    pub(crate) key: String,
    /// When it ends.
    pub(crate) not_after: Timestamp,
    /// The same, as seen from now.
    pub(crate) ends: String,
    /// Whether a running process presents it.
    pub(crate) presented: Presented,
}

/// Whether a running process presents a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Presented {
    /// It does.
    Yes,
    /// It presents another one of the same subject and names.
    No,
    /// No server that was asked has anything to do with it.
    NotServed,
}

impl Check {
    /// The version of this format.
    pub(crate) const SCHEMA: u32 = 1;

    /// What the inventory says, as seen from `now`.
    pub(crate) fn of(inventory: &Inventory, now: Timestamp, within_days: u32) -> Self {
        let mut credentials = Rows { now, rows: Vec::new(), positions: HashMap::new() };
        let mut leaves: HashMap<&NodeName, Vec<&CertificateFacts>> = HashMap::new();
        for (server, facts) in &inventory.servers {
            if let Some(leaf) = facts.seen().and_then(|facts| facts.chain.first()) {
                leaves.entry(server.node()).or_default().push(leaf);
            }
        }
        // A cluster of kubeadm's is described by what its nodes hold.
        let described = inventory.description.certificates.iter();
        for (leaf, certificate) in described.filter(|_| inventory.cluster.layout == Layout::AksEngine) {
            credentials.add(DESCRIPTION, leaf.as_str(), certificate, Presented::NotServed);
        }
        for (node, facts) in &inventory.nodes {
            if let Some(facts) = facts.seen() {
                let served = leaves.get(node).map_or(&[][..], Vec::as_slice);
                credentials.node(served, node, facts);
            }
        }
        if let Some(api) = inventory.api.seen() {
            for secret in &api.tls_secrets {
                let what = format!("secret {}", secret.object);
                secret
                    .chain
                    .iter()
                    .take(1)
                    .for_each(|leaf| credentials.add(API, &what, leaf, Presented::NotServed));
            }
            for (holder, roots) in &api.ca_bundles {
                let what = format!("caBundle of {holder}");
                roots.iter().for_each(|root| credentials.add(API, &what, root, Presented::NotServed));
            }
        }
        Self {
            schema: Self::SCHEMA,
            cluster: inventory.cluster.name.to_string(),
            taken: inventory.taken,
            findings: findings::of(inventory, &credentials.rows, now, within_days),
            credentials: credentials.rows,
        }
    }
}

/// Rows as they are gathered.
struct Rows {
    now: Timestamp,
    rows: Vec<Row>,
    /// Where the rows with a fingerprint stand.
    positions: HashMap<String, Vec<usize>>,
}

impl Rows {
    fn node(&mut self, served: &[&CertificateFacts], node: &NodeName, facts: &NodeFacts) {
        for file in &facts.files {
            let several = file.certificates.len() > 1;
            for (index, certificate) in file.certificates.iter().enumerate() {
                let what = if several { format!("{} ({})", file.path, index + 1) } else { file.path.clone() };
                self.add(node.as_str(), &what, certificate, presented(served, certificate));
            }
        }
    }

    fn add(&mut self, place: &str, what: &str, certificate: &CertificateFacts, presented: Presented) {
        let alike = self.positions.entry(certificate.fingerprint.clone()).or_default();
        let same = |at: &&usize| self.rows[**at].what == what && self.rows[**at].presented == presented;
        if let Some(at) = alike.iter().find(same) {
            let places = &mut self.rows[*at].places;
            // Places come one after the other, so that one that is there already is the last one.
            if places.last().is_none_or(|last| last != place) {
                places.push(place.to_owned());
            }
            return;
        }
        alike.push(self.rows.len());
        self.rows.push(Row {
            places: vec![place.to_owned()],
            what: what.to_owned(),
            subject: certificate.subject.clone(),
            issuer: certificate.issuer.clone(),
            fingerprint: certificate.fingerprint.clone(),
            key: certificate.key.clone(),
            not_after: certificate.not_after,
            ends: time::relative(self.now, certificate.not_after),
            presented,
        });
    }
}

/// What the servers of the node make of a certificate in one of its files.
fn presented(served: &[&CertificateFacts], file: &CertificateFacts) -> Presented {
    let mut result = Presented::NotServed;
    for leaf in served {
        if leaf.fingerprint == file.fingerprint {
            return Presented::Yes;
        }
        if leaf.subject == file.subject && leaf.sans == file.sans {
            result = Presented::No;
        }
    }
    result
}
