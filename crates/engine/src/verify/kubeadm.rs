//! What is particular to kubeadm's layout: three CAs, leaves of each control plane's own, kubeconfigs that hold their
//! credentials.

use std::collections::BTreeSet;

use jiff::Timestamp;
use kubecert_core::inventory::{CertificateFacts, Inventory, NodeFacts, Observed, Server};
use kubecert_core::layout::kubeadm;
use kubecert_core::model::{Layout, Node, TrustDomain};
use kubecert_core::report::Verified;

use super::{all_or, is_kin, is_of, issued, short, validity, verified};

const DOMAINS: [TrustDomain; 3] = [TrustDomain::Cluster, TrustDomain::Etcd, TrustDomain::FrontProxy];

/// The CA of a domain: the description's for the cluster, for the others the one on the first control plane that shows it.
pub(super) fn authority(inventory: &Inventory, domain: TrustDomain) -> Option<&CertificateFacts> {
    if domain == TrustDomain::Cluster {
        return inventory.current_ca();
    }
    let path = Layout::Kubeadm.authority(domain).0;
    let mut seen = inventory
        .cluster
        .control_planes()
        .filter_map(|node| inventory.nodes.get(&node.name)?.seen()?.file(&path)?.certificates.first());
    seen.next()
}

/// Every certificate of a node: in force, and of the CA that it should be of.
pub(super) fn files(inventory: &Inventory, node: &Node, facts: &NodeFacts, now: Timestamp) -> Vec<Verified> {
    let place = Layout::Kubeadm;
    let serving = place.kubelet_serving_file(node.system);
    let kubeconfigs: BTreeSet<String> = place.kubeconfig_paths("").into_iter().collect();
    let mut results = Vec::new();
    for file in facts.files.iter().filter(|file| !file.certificates.is_empty()) {
        let Some(leaf) = file.certificates.last() else { continue };
        let is_root = DOMAINS.into_iter().find(|domain| place.authority(*domain).0 == file.path);
        let (ok, found) = if let Some(ended) = file.certificates.iter().find(|held| held.not_after <= now) {
            (false, format!("{} ended on {}", ended.subject, ended.not_after.strftime("%F")))
        } else if let Some(domain) = is_root {
            roots(authority(inventory, domain), &file.certificates)
        } else if file.path == kubeadm::KUBELET {
            roots(inventory.current_ca(), &file.certificates)
        } else if kubeconfigs.contains(&file.path) {
            kubeconfig(inventory.current_ca(), &file.certificates)
        } else if file.path == serving && leaf.signed_by.is_none() {
            (true, format!("made by the kubelet itself, {}", validity(leaf)))
        } else if file.certificates.len() > 1 {
            (false, format!("{} certificates where one is expected", file.certificates.len()))
        } else {
            let ca = authority(inventory, domain_of(node, &file.path));
            (ca.is_some_and(|ca| is_of(leaf, ca)), issued(leaf))
        };
        results.push(verified(format!("{} on {}", file.path, node.name), ok, found));
    }
    results
}

/// What a kubelet presents: of the cluster CA where it asks for a certificate (`serverTLSBootstrap`), else one that it has
/// signed with a CA of its own, which it presents along (`util/cert`, GenerateSelfSignedCertKey).
pub(super) fn presents(
    server: &Server,
    chain: &[CertificateFacts],
    ca: &CertificateFacts,
    now: Timestamp,
) -> Verified {
    let what = format!("what {server} presents");
    match chain.first() {
        None => verified(what, false, "nothing"),
        Some(leaf) if is_of(leaf, ca) => verified(what, leaf.not_after > now, issued(leaf)),
        // The operator's own (`tlsCertFile`), unless it was left behind by a rotation.
        Some(leaf) if !is_self_made(leaf) => {
            let former = is_kin(&leaf.issuer, &ca.subject);
            verified(what, !former && leaf.not_after > now, issued(leaf))
        }
        Some(leaf) => {
            let ok = leaf.signed_by.is_none() && leaf.not_after > now;
            verified(what, ok, format!("made by the kubelet itself, {}", validity(leaf)))
        }
    }
}

/// The CAs and the key pair of service-account tokens are the same on all control planes.
pub(super) fn shared(inventory: &Inventory) -> Vec<Verified> {
    let place = Layout::Kubeadm;
    let mut paths: Vec<String> = DOMAINS.map(|domain| place.authority(domain).0).into();
    paths.extend(["pub", "key"].map(|ending| format!("{}.{ending}", kubeadm::SERVICE_ACCOUNT)));
    paths
        .into_iter()
        .filter_map(|path| {
            let held = inventory.cluster.control_planes().filter_map(|node| {
                let facts = inventory.nodes.get(&node.name).and_then(Observed::seen)?;
                facts.file(&path).map(|file| file.sha256.as_str())
            });
            let held: BTreeSet<&str> = held.collect();
            let versions = vec!["another on each"; held.len().saturating_sub(1)];
            (!held.is_empty()).then(|| {
                verified(
                    format!("{path} on all control planes"),
                    held.len() == 1,
                    all_or(held.len(), &versions),
                )
            })
        })
        .collect()
}

/// Whether a kubelet has made a certificate itself, by the name that it gives the CA of its own.
fn is_self_made(leaf: &CertificateFacts) -> bool {
    leaf.issuer.contains("-ca@")
}

fn roots(ca: Option<&CertificateFacts>, held: &[CertificateFacts]) -> (bool, String) {
    let same = matches!((ca, held), (Some(ca), [held]) if held.fingerprint == ca.fingerprint);
    (same, format!("{} certificates, {}", held.len(), held.first().map(short).unwrap_or_default()))
}

fn kubeconfig(ca: Option<&CertificateFacts>, held: &[CertificateFacts]) -> (bool, String) {
    match (ca, held) {
        (Some(ca), [root, leaf]) => (root.fingerprint == ca.fingerprint && is_of(leaf, ca), issued(leaf)),
        _ => (false, format!("{} certificates where a CA and a client's are expected", held.len())),
    }
}

/// Whose certificates a file on a node is for.
fn domain_of(node: &Node, path: &str) -> TrustDomain {
    let mut pairs = Layout::Kubeadm.hot(node);
    pairs.push(Layout::Kubeadm.front_proxy(node));
    let own = pairs.iter().find(|pair| pair.certificate() == path).map(|pair| pair.domain);
    own.unwrap_or(TrustDomain::Cluster)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubecert_core::testing::{Kubelets, Shape, kubeadm as inventory, kubeadm_with, naming};

    /// All that is not as it should be, in a cluster that something was done to.
    fn findings(change: impl Fn(&mut NodeFacts)) -> Vec<String> {
        let mut inventory = inventory(&Shape::sized(2, 1));
        for node in inventory.nodes.values_mut().take(2) {
            if let Observed::Seen(facts) = node {
                change(facts);
            }
        }
        let results = super::super::verify(&inventory, naming().now);
        results.into_iter().filter(|result| !result.ok).map(|result| result.what).collect()
    }

    /// What the kubelets present, where each is judged good.
    fn presented(kubelets: Kubelets, change: impl Fn(&mut CertificateFacts)) -> Vec<bool> {
        let mut inventory = kubeadm_with(&Shape::sized(2, 1), kubelets);
        for (server, facts) in &mut inventory.servers {
            if let (Server::Kubelet(_), Observed::Seen(facts)) = (server, facts) {
                facts.chain.iter_mut().for_each(&change);
            }
        }
        let results = super::super::verify(&inventory, naming().now);
        let kubelets = results.into_iter().filter(|result| result.what.starts_with("what kubelet"));
        kubelets.map(|result| result.ok).collect()
    }

    /// What was left behind by a rotation is not taken for what an operator has given a kubelet.
    #[test]
    fn kubelets_present_their_own_or_what_is_of_the_cluster_ca() {
        for kubelets in [Kubelets::SelfSigned, Kubelets::Asking, Kubelets::Verified] {
            assert_eq!(presented(kubelets, |_| {}), [true; 3], "{kubelets:?}");
            let ended = presented(kubelets, |leaf| leaf.not_after = Timestamp::UNIX_EPOCH);
            assert_eq!(ended, [false; 3], "{kubelets:?}");
        }
        let issued_by = |issuer: &str, leaf: &mut CertificateFacts| {
            leaf.signed_by = None;
            leaf.issuer = issuer.to_owned();
        };
        let former = presented(Kubelets::Asking, |leaf| issued_by("CN=ca-g2", leaf));
        assert_eq!(former, [false; 3]);
        let given = presented(Kubelets::Asking, |leaf| issued_by("CN=hospital", leaf));
        assert_eq!(given, [true; 3]);
    }

    #[test]
    fn a_fresh_cluster_is_as_it_should_be_and_each_harm_is_named() {
        assert_eq!(findings(|_| {}), [""; 0]);
        let certificate = |path: &'static str, change: fn(&mut CertificateFacts)| {
            findings(move |facts| {
                for file in facts.files.iter_mut().filter(|file| file.path.ends_with(path)) {
                    file.certificates.iter_mut().for_each(change);
                }
            })
        };
        for path in ["pki/apiserver.crt", "etcd/peer.crt", "front-proxy-client.crt", "scheduler.conf"] {
            let other = certificate(path, |held| held.signed_by = Some("another CA".to_owned()));
            let ended = certificate(path, |held| held.not_after = Timestamp::UNIX_EPOCH);
            for found in [other, ended] {
                assert!(
                    !found.is_empty() && found.iter().all(|what| what.contains(path)),
                    "{path}: {found:?}"
                );
            }
        }
        let found = certificate("kubelet.conf", |held| held.fingerprint = "another".to_owned());
        assert!(found.iter().all(|what| what.contains("kubelet.conf")) && !found.is_empty(), "{found:?}");
    }

    #[test]
    fn agents_hold_no_certificate_of_etcd() {
        let inventory = inventory(&Shape::sized(1, 1));
        let agent = inventory.cluster.agents().next().unwrap();
        let facts = inventory.nodes[&agent.name].seen().unwrap();
        let results = files(&inventory, agent, facts, naming().now);
        assert!(results.iter().all(|result| result.ok && !result.what.contains("etcd")), "{results:?}");
    }
}
