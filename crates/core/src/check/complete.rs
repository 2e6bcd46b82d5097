//! Whether a plan forgets something, and what can be said of names, validity and secrets (I9 to I11).

use std::collections::BTreeSet;
use std::io::{self, Write as _};

use super::{Invariant, Violation};
use crate::intent::{Scope, Why};
use crate::inventory::{CertificateFacts, FileFacts, Inventory, NodeFacts, Observed};
use crate::layout::{KUBELET_PKI, kubelet_client_link, kubelet_server_link};
use crate::model::{Layout, OperatingSystem, TrustDomain};
use crate::plan::{Action, KeyOrder, Plan, Target};

/// I9: everything that the reason of the plan concerns, as the inventory shows it, is renewed by some step, or kept for
/// a stated reason.
pub fn complete(plan: &Plan, inventory: &Inventory) -> Vec<Violation> {
    let done = Done::of(plan);
    let mut forgotten: Vec<String> = Vec::new();
    // A CA that can gain nothing stays as it is, for a stated reason, and everybody who holds it with it.
    let extends = plan.authorities.iter().any(|order| order.domain == TrustDomain::Cluster);
    if plan.why == Why::ExtendCa && !extends {
        forgotten.push("the cluster CA".to_owned());
        return missing(plan, &done, forgotten);
    }
    for (name, node) in &inventory.nodes {
        // What is left as a whole is left for the reason that the plan states.
        if plan.why == Why::Recover && plan.kept.iter().any(|kept| kept.id == format!("node {name}")) {
            continue;
        }
        match node {
            Observed::Seen(facts) => {
                let files = concerned(plan, facts, inventory);
                let missing = files.filter(|path| !done.files.contains(&(name.as_str(), path.as_str())));
                forgotten.extend(missing.map(|path| format!("{path} on {name}")));
            }
            Observed::Unreadable(_) => forgotten.push(format!("node {name}")),
        }
    }
    let cluster = plan.scope.covers(TrustDomain::Cluster);
    if cluster && plan.why != Why::ExtendCa {
        let described = inventory.description.certificates.iter().filter(|(leaf, facts)| {
            leaf.as_str() != "ca" && (plan.why != Why::Recover || has_ended(facts, inventory))
        });
        forgotten.extend(described.map(|(leaf, _)| format!("certificate {leaf}")));
    }
    if cluster
        && plan.why != Why::Recover
        && let Some(api) = inventory.api.seen()
    {
        let ca = inventory.current_ca().map(|ca| ca.fingerprint.as_str());
        let ours = |certificate: &CertificateFacts| {
            ca.is_some()
                && (certificate.signed_by.as_deref() == ca || Some(certificate.fingerprint.as_str()) == ca)
        };
        let held = api.tls_secrets.iter().filter(|secret| secret.chain.first().is_some_and(ours));
        forgotten.extend(held.map(|secret| format!("TLS Secret {}", secret.object)));
        if plan.why != Why::Renew {
            forgotten.extend(api.workloads.iter().map(ToString::to_string));
            forgotten.extend(api.bare_pods.iter().chain(&api.job_pods).map(|pod| format!("pod {pod}")));
            let root = |certificate: &CertificateFacts| {
                ours(certificate) && certificate.subject == certificate.issuer
            };
            let holders = api.ca_bundles.iter().filter(|(_, roots)| roots.iter().any(root));
            forgotten.extend(holders.map(|(holder, _)| holder.to_string()));
        }
        if plan.why.replaces_everything() {
            forgotten
                .extend(api.token_secrets.iter().map(|secret| format!("token Secret {}", secret.object)));
        }
    }
    let mut violations = missing(plan, &done, forgotten);
    violations.extend(due(plan, inventory));
    violations
}

/// Those of some things that are neither renewed nor kept.
fn missing(plan: &Plan, done: &Done<'_>, concerned: Vec<String>) -> Vec<Violation> {
    let kept: BTreeSet<&str> = plan.kept.iter().map(|kept| kept.id.as_str()).collect();
    concerned
        .into_iter()
        .filter(|id| !done.objects.contains(id) && !kept.contains(id.as_str()))
        .map(|id| {
            Violation::new(Invariant::Complete, id, "it is neither renewed nor kept for a stated reason")
        })
        .collect()
}

/// I9 for the reason `renew`: what the description holds and is due is renewed.
fn due(plan: &Plan, inventory: &Inventory) -> Vec<Violation> {
    if plan.why != Why::Renew || !plan.scope.covers(TrustDomain::Cluster) {
        return Vec::new();
    }
    let leaves = inventory.description.certificates.iter().filter(|(leaf, facts)| {
        leaf.as_str() != "ca" && plan.limits.is_due(facts.not_before, facts.not_after, inventory.taken)
    });
    leaves
        .filter(|(leaf, _)| !plan.leaves.iter().any(|order| &order.id == *leaf))
        .map(|(leaf, _)| {
            Violation::new(Invariant::Complete, format!("certificate {leaf}"), "it is due and not renewed")
        })
        .collect()
}

/// The files of a node that hold something that the reason concerns: for a longer life the CA itself, for new leaves
/// leaves, and for another CA whatever is of the old one.
fn concerned<'a>(
    plan: &'a Plan,
    facts: &'a NodeFacts,
    inventory: &'a Inventory,
) -> Box<dyn Iterator<Item = String> + 'a> {
    let ca = inventory.current_ca().map(|ca| ca.fingerprint.as_str());
    // Those that hold a leaf of their own behind the CA.
    let kubeconfigs = match inventory.cluster.layout {
        Layout::AksEngine => Vec::new(),
        Layout::Kubeadm => Layout::Kubeadm.kubeconfig_paths(""),
    };
    match plan.why {
        Why::ReplaceCa | Why::Compromised => Box::new(files_of_old_pki(plan.scope, facts, inventory)),
        Why::ExtendCa => Box::new(
            in_use(facts)
                .filter(move |file| {
                    file.certificates.iter().any(|held| Some(held.fingerprint.as_str()) == ca)
                })
                .map(|file| file.path.clone()),
        ),
        Why::Recover => Box::new(
            in_use(facts)
                .filter(move |file| {
                    let looked_at =
                        if kubeconfigs.contains(&file.path) { file.certificates.len() } else { 1 };
                    let mut held = file.certificates.iter().take(looked_at);
                    let ended = held.any(|held| has_ended(held, inventory));
                    // Who holds an ended CA has to come to hold the one in force.
                    ended && plan.scope.covers(domain_of(&file.path))
                })
                .map(|file| file.path.clone()),
        ),
        Why::Renew => Box::new(
            in_use(facts)
                .filter(move |file| is_presented(file) || kubeconfigs.contains(&file.path))
                .filter(|file| !is_described(&file.path, inventory))
                .filter(|file| plan.scope.covers(domain_of(&file.path)))
                .map(|file| file.path.clone()),
        ),
    }
}

fn has_ended(certificate: &CertificateFacts, inventory: &Inventory) -> bool {
    certificate.not_after <= inventory.taken
}

/// Whether it is presented rather than trusted. AKS engine's own serving certificates of kubelets are marked as CAs.
fn is_presented(file: &FileFacts) -> bool {
    let serving = [OperatingSystem::Linux, OperatingSystem::Windows].map(crate::layout::kubelet_serving);
    let kubelet = serving.iter().any(|base| file.path.strip_prefix(base.as_str()) == Some(".crt"));
    file.certificates.first().is_some_and(|certificate| !certificate.is_ca || kubelet)
}

/// Whose certificates a file is for.
fn domain_of(path: &str) -> TrustDomain {
    let front_proxy = ["proxy.crt", "proxy-ca.crt"].map(crate::layout::certificate_file);
    if front_proxy.iter().any(|file| file == path) { TrustDomain::FrontProxy } else { TrustDomain::Cluster }
}

/// Whether a file is the copy of a certificate that the description holds, and stands and falls with that.
fn is_described(path: &str, inventory: &Inventory) -> bool {
    let base = path.strip_prefix(crate::layout::CERTIFICATES).and_then(|rest| rest.strip_suffix(".crt"));
    base.is_some_and(|base| {
        let leaf = crate::model::LeafId::from(base.trim_start_matches('/'));
        inventory.description.certificates.contains_key(&leaf)
    })
}

/// Files that some process may read. What kubelet has left behind beside its present certificate is used by nobody.
fn in_use(facts: &NodeFacts) -> impl Iterator<Item = &FileFacts> {
    facts
        .files
        .iter()
        .filter(|file| {
            let links = [kubelet_client_link(), kubelet_server_link()];
            !file.path.starts_with(KUBELET_PKI) || links.contains(&file.path)
        })
        .filter(|file| {
            let own = crate::layout::windows::KUBELET_PKI;
            !file.path.starts_with(own) || crate::layout::is_certificate_path(&file.path)
        })
        .filter(|file| !crate::layout::is_staged(&file.path))
}

/// Files on a node with a certificate of the old PKI.
fn files_of_old_pki<'a>(
    scope: Scope,
    facts: &'a NodeFacts,
    inventory: &'a Inventory,
) -> impl Iterator<Item = String> + 'a {
    let cluster = inventory.current_ca().filter(|_| scope.covers(TrustDomain::Cluster));
    let mut authorities: BTreeSet<&str> = cluster.map(|ca| ca.fingerprint.as_str()).into_iter().collect();
    let layout = inventory.cluster.layout;
    for domain in [TrustDomain::Etcd, TrustDomain::FrontProxy] {
        let own = domain == TrustDomain::FrontProxy || layout.etcd_domain() == domain;
        let file = facts.file(&layout.authority(domain).0).filter(|_| own && scope.covers(domain));
        let first = file.and_then(|file| file.certificates.first());
        authorities.extend(first.map(|certificate| certificate.fingerprint.as_str()));
    }
    in_use(facts)
        .filter(move |file| {
            file.certificates.iter().any(|certificate| {
                authorities.contains(certificate.fingerprint.as_str())
                    || certificate.signed_by.as_deref().is_some_and(|by| authorities.contains(by))
            })
        })
        .map(|file| file.path.clone())
}

/// Leaves on a node that the old cluster CA has signed, the CA itself apart.
pub fn leaves_of_old_pki<'a>(
    facts: &'a NodeFacts,
    inventory: &'a Inventory,
) -> impl Iterator<Item = String> + 'a {
    let old = inventory.current_ca().map(|ca| ca.fingerprint.as_str());
    files_of_old_pki(Scope::ClusterCa, facts, inventory).filter(move |path| {
        let leaf = facts.file(path).and_then(|file| file.certificates.first());
        leaf.is_some_and(|leaf| !leaf.is_ca && old.is_some() && leaf.signed_by.as_deref() == old)
    })
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
                (Action::StartAfresh { forget, .. }, Target::Node(node)) => {
                    done.files.extend(forget.iter().map(|path| (node.as_str(), path.as_str())));
                }
                // What is not there any more is nobody's credential.
                (Action::Remove { paths }, Target::Node(node)) => {
                    done.files.extend(paths.iter().map(|path| (node.as_str(), path.as_str())));
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

/// I11: a new CA has another common name than the old CA of its domain, and than any other new one of its domain; one
/// that keeps its key keeps its name.
pub fn names(plan: &Plan, inventory: &Inventory) -> Vec<Violation> {
    let mut seen: BTreeSet<(TrustDomain, String)> = BTreeSet::new();
    if let Some(ca) = inventory.current_ca() {
        seen.extend(common_name(&ca.subject).map(|name| (TrustDomain::Cluster, name)));
    }
    let layout = inventory.cluster.layout;
    let own = [TrustDomain::Etcd, TrustDomain::FrontProxy];
    let own = own
        .into_iter()
        .filter(|domain| *domain == TrustDomain::FrontProxy || layout.etcd_domain() == TrustDomain::Etcd);
    for domain in own {
        for facts in inventory.nodes.values().filter_map(Observed::seen) {
            let file = facts.file(&layout.authority(domain).0);
            let subject = file.and_then(|file| file.certificates.first()).map(|ca| ca.subject.as_str());
            seen.extend(subject.and_then(common_name).map(|name| (domain, name)));
        }
    }
    let mut violations = Vec::new();
    for order in &plan.authorities {
        let known = !seen.insert((order.domain, order.common_name.clone()));
        let name = &order.common_name;
        let why = match (order.key == KeyOrder::Same, known) {
            (false, true) => format!("its name {name} is taken"),
            (true, false) => format!("its name {name} is not the one that its leaves name"),
            _ => continue,
        };
        let subject = format!("new CA of the {} domain", order.domain);
        violations.push(Violation::new(Invariant::Names, subject, why));
    }
    violations
}

fn common_name(subject: &str) -> Option<String> {
    subject.split(',').find_map(|part| part.trim().strip_prefix("CN=")).map(ToOwned::to_owned)
}

/// I11: nothing that is written down holds a private key. Plans, records, events and reports are made of types that
/// have no place for one; this looks at what a plan really says.
pub fn no_secret(plan: &Plan) -> Vec<Violation> {
    let mut search = Search::default();
    let written = {
        let mut writer = io::BufWriter::with_capacity(64 * 1024, &mut search);
        serde_json::to_writer(&mut writer, plan).and_then(|()| writer.flush().map_err(serde_json::Error::io))
    };
    match written {
        Ok(()) if !search.found => Vec::new(),
        Ok(()) => vec![Violation::new(Invariant::Names, "the plan", "it holds a private key")],
        Err(error) => {
            vec![Violation::new(Invariant::Form, "the plan", format!("it cannot be written: {error}"))]
        }
    }
}

/// Looks for private keys in what is written to it, and keeps nothing of it but the end that the beginning of one might
/// be: the plan of a large cluster has tens of megabytes.
#[derive(Default)]
struct Search {
    tail: Vec<u8>,
    found: bool,
}

impl Search {
    const WANTED: &[u8] = b"PRIVATE KEY";

    fn holds(text: &[u8]) -> bool {
        text.windows(Self::WANTED.len()).any(|window| window == Self::WANTED)
    }
}

impl io::Write for Search {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let overlap = Self::WANTED.len() - 1;
        let head = text.len().min(overlap);
        self.tail.extend_from_slice(&text[..head]);
        self.found |= Self::holds(&self.tail) || Self::holds(text);
        if text.len() >= overlap {
            self.tail.clear();
            self.tail.extend_from_slice(&text[text.len() - overlap..]);
        } else {
            self.tail.drain(..self.tail.len().saturating_sub(overlap));
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_is_found_however_it_is_cut() {
        let text = b"-----BEGIN RSA PRIVATE KEY-----";
        for size in 1..=text.len() {
            let mut search = Search::default();
            for piece in text.chunks(size) {
                search.write_all(piece).unwrap();
            }
            assert!(search.found, "in pieces of {size}");
        }
        let mut search = Search::default();
        for piece in ["PRIVATE", " ", "", "KE", "y", "PRIVATE", "KEY"] {
            search.write_all(piece.as_bytes()).unwrap();
        }
        assert!(!search.found);
    }
}
