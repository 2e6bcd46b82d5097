//! Whether a plan forgets something, and what can be said of names, validity and secrets (I9 to I11).

use std::collections::BTreeSet;

use super::{Invariant, Violation};
use crate::intent::Why;
use crate::inventory::{CertificateFacts, Inventory, NodeFacts, Observed};
use crate::layout::{KUBELET_PKI, kubelet_client_link};
use crate::model::TrustDomain;
use crate::plan::{Action, Plan, Target};

/// I9: everything of the old PKI that the inventory shows is renewed by some step, or kept for a stated reason.
pub fn complete(plan: &Plan, inventory: &Inventory) -> Vec<Violation> {
    if plan.why != Why::ReplaceCa {
        return Vec::new();
    }
    let done = Done::of(plan);
    let mut forgotten: Vec<String> = Vec::new();
    for (name, node) in &inventory.nodes {
        match node {
            Observed::Seen(facts) => {
                let files = files_of_old_pki(facts, inventory);
                let missing = files.filter(|path| !done.files.contains(&(name.as_str(), path.as_str())));
                forgotten.extend(missing.map(|path| format!("{path} on {name}")));
            }
            Observed::Unreadable(_) => forgotten.push(format!("node {name}")),
        }
    }
    for leaf in inventory.description.certificates.keys().filter(|leaf| leaf.as_str() != "ca") {
        if !plan.leaves.iter().any(|order| &order.id == leaf) {
            forgotten.push(format!("certificate {leaf}"));
        }
    }
    if let Some(api) = inventory.api.seen() {
        let ca = inventory.current_ca().map(|ca| ca.fingerprint.as_str());
        let ours = |certificate: &CertificateFacts| {
            ca.is_some()
                && (certificate.signed_by.as_deref() == ca || Some(certificate.fingerprint.as_str()) == ca)
        };
        forgotten.extend(api.workloads.iter().map(ToString::to_string));
        forgotten.extend(api.bare_pods.iter().chain(&api.job_pods).map(|pod| format!("pod {pod}")));
        forgotten.extend(api.token_secrets.iter().map(|secret| format!("token Secret {}", secret.object)));
        let held = api.tls_secrets.iter().filter(|secret| secret.chain.first().is_some_and(ours));
        forgotten.extend(held.map(|secret| format!("TLS Secret {}", secret.object)));
        let holders = api.ca_bundles.iter().filter(|(_, roots)| roots.iter().any(ours));
        forgotten.extend(holders.map(|(holder, _)| holder.to_string()));
    }
    forgotten
        .into_iter()
        .filter(|id| !done.objects.contains(id) && !plan.kept.iter().any(|kept| &kept.id == id))
        .map(|id| {
            Violation::new(Invariant::Complete, id, "it is neither renewed nor kept for a stated reason")
        })
        .collect()
}

/// Files on a node with a certificate of the old PKI. What kubelet has left behind beside its present certificate is
/// used by nobody.
fn files_of_old_pki<'a>(facts: &'a NodeFacts, inventory: &'a Inventory) -> impl Iterator<Item = String> + 'a {
    let mut authorities: BTreeSet<&str> =
        inventory.current_ca().map(|ca| ca.fingerprint.as_str()).into_iter().collect();
    let front_proxy = facts.file(&crate::layout::certificate_file("proxy-ca.crt"));
    authorities.extend(
        front_proxy
            .and_then(|file| file.certificates.first())
            .map(|certificate| certificate.fingerprint.as_str()),
    );
    facts
        .files
        .iter()
        .filter(move |file| {
            file.certificates.iter().any(|certificate| {
                authorities.contains(certificate.fingerprint.as_str())
                    || certificate.signed_by.as_deref().is_some_and(|by| authorities.contains(by))
            })
        })
        .filter(|file| !file.path.starts_with(KUBELET_PKI) || file.path == kubelet_client_link())
        .filter(|file| !file.path.starts_with(crate::layout::STAGE))
        .map(|file| file.path.clone())
}

/// What a plan renews.
#[derive(Default)]
struct Done<'a> {
    files: BTreeSet<(&'a str, &'a str)>,
    objects: BTreeSet<String>,
}

impl<'a> Done<'a> {
    fn of(plan: &'a Plan) -> Self {
        let mut done = Self::default();
        done.objects.extend(plan.leaves.iter().map(|order| format!("certificate {}", order.id)));
        for step in plan.steps() {
            match (&step.action, &step.target) {
                (Action::Write { files }, Target::Node(node)) => {
                    done.files.extend(files.iter().map(|file| (node.as_str(), file.path.as_str())));
                }
                (Action::Roll { workload }, _) => {
                    done.objects.insert(workload.to_string());
                }
                (Action::RecreatePod { pod }, _) => {
                    done.objects.insert(format!("pod {pod}"));
                }
                (Action::RenewTokenSecret { secret }, _) => {
                    done.objects.insert(format!("token Secret {secret}"));
                }
                (Action::WriteTlsSecret { secret, .. }, _) => {
                    done.objects.insert(format!("TLS Secret {secret}"));
                }
                (Action::SetCaBundle { holder, .. }, _) => {
                    done.objects.insert(holder.to_string());
                }
                _ => {}
            }
        }
        done
    }
}

/// I10: the validity of every leaf lies within that of the CA that signed it, among the certificates given.
///
/// Go's verifier asks the whole chain at the present moment only, so a leaf that outlives its CA is accepted until the CA
/// ends and refused afterwards: its own dates are then a lie.
pub fn validity<'a>(certificates: impl IntoIterator<Item = &'a CertificateFacts> + Clone) -> Vec<Violation> {
    let issuers = certificates.clone();
    certificates
        .into_iter()
        .filter_map(|leaf| {
            let by = leaf.signed_by.as_ref()?;
            let issuer = issuers.clone().into_iter().find(|issuer| &issuer.fingerprint == by)?;
            Some(Violation::new(Invariant::Validity, leaf.subject.clone(), within(leaf, issuer)?))
        })
        .collect()
}

/// Why a leaf's validity does not lie within its issuer's.
fn within(leaf: &CertificateFacts, issuer: &CertificateFacts) -> Option<String> {
    if leaf.not_after > issuer.not_after {
        return Some(format!("it ends {}, after its issuer's {}", leaf.not_after, issuer.not_after));
    }
    (leaf.not_before >= leaf.not_after).then(|| "it ends before it begins".to_owned())
}

/// I11: a new CA has another common name than the old CA of its domain, and than any other new one of its domain.
pub fn names(plan: &Plan, inventory: &Inventory) -> Vec<Violation> {
    let mut seen: BTreeSet<(TrustDomain, String)> = BTreeSet::new();
    if let Some(ca) = inventory.current_ca() {
        seen.extend(common_name(&ca.subject).map(|name| (TrustDomain::Cluster, name)));
    }
    for facts in inventory.nodes.values().filter_map(Observed::seen) {
        let file = facts.file(&crate::layout::certificate_file("proxy-ca.crt"));
        let subject = file.and_then(|file| file.certificates.first()).map(|ca| ca.subject.as_str());
        seen.extend(subject.and_then(common_name).map(|name| (TrustDomain::FrontProxy, name)));
    }
    plan.authorities
        .iter()
        .filter(|order| !seen.insert((order.domain, order.common_name.clone())))
        .map(|order| {
            let subject = format!("new CA of the {} domain", order.domain);
            Violation::new(Invariant::Names, subject, format!("its name {} is taken", order.common_name))
        })
        .collect()
}

fn common_name(subject: &str) -> Option<String> {
    subject.split(',').find_map(|part| part.trim().strip_prefix("CN=")).map(ToOwned::to_owned)
}

/// I11: nothing that is written down holds a private key. Plans, records, events and reports are made of types that
/// have no place for one; this looks at what a plan really says.
pub fn no_secret(plan: &Plan) -> Vec<Violation> {
    match serde_json::to_string(plan) {
        Ok(text) if !text.contains("PRIVATE KEY") => Vec::new(),
        Ok(_) => vec![Violation::new(Invariant::Names, "the plan", "it holds a private key")],
        Err(error) => {
            vec![Violation::new(Invariant::Form, "the plan", format!("it cannot be written: {error}"))]
        }
    }
}
