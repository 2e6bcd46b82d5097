//! A fresh look that believes nothing: is this cluster of one PKI, and is that the one of the description?
//!
//! Shares no code with the planner and knows nothing of any run. It works on an inventory alone, and everything that
//! could not be read counts as not as it should be.

mod kubeadm;

use std::collections::BTreeSet;

use jiff::Timestamp;
use kubecert_core::inventory::{CertificateFacts, Inventory, NodeFacts, Observed, Server};
use kubecert_core::layout;
use kubecert_core::model::{Layout, LeafId, NodeName, OperatingSystem, TrustDomain};
use kubecert_core::report::Verified;

/// Looks at everything in the inventory.
pub fn verify(inventory: &Inventory, now: Timestamp) -> Vec<Verified> {
    let Some(ca) = inventory.current_ca() else {
        return vec![verified("the description", false, "it holds no CA")];
    };
    let mut results = vec![verified("CA of the description", ca.not_after > now, validity(ca))];
    for (name, node) in &inventory.nodes {
        match node {
            Observed::Unreadable(why) => results.push(verified(format!("node {name}"), false, why)),
            Observed::Seen(facts) => {
                match (inventory.cluster.layout, inventory.cluster.node(name)) {
                    (Layout::Kubeadm, Some(node)) => {
                        results.extend(kubeadm::files(inventory, node, facts, now));
                    }
                    _ => results.extend(files(inventory, ca, name, facts, now)),
                }
                if let Some(left) = facts.files.iter().find(|file| layout::is_staged(&file.path)) {
                    results.push(verified(format!("{} on {name}", left.path), false, "left by a run"));
                }
            }
        }
    }
    match inventory.cluster.layout {
        Layout::AksEngine => results.extend(front_proxies(inventory)),
        Layout::Kubeadm => results.extend(kubeadm::shared(inventory)),
    }
    for (server, facts) in &inventory.servers {
        let Some(ca) = ca_of(inventory, server) else {
            results.push(verified(format!("the CA of {server}"), false, "no control plane shows it"));
            continue;
        };
        results.push(match facts {
            Observed::Unreadable(why) => verified(format!("what {server} presents"), false, why),
            Observed::Seen(facts) => match (inventory.cluster.layout, server) {
                (Layout::Kubeadm, Server::Kubelet(_)) => kubeadm::presents(server, &facts.chain, ca, now),
                _ => presents(server, &facts.chain, ca, now),
            },
        });
        if let (Observed::Seen(facts), true) = (facts, trusts_clients(server)) {
            results.push(trusts(inventory, server, &facts.client_ca_names, ca));
        }
    }
    results.extend(api(inventory, ca));
    results.extend(etcd(inventory));
    results
}

/// Every certificate file of a node: in force, and of the CA of the description.
fn files(
    inventory: &Inventory,
    ca: &CertificateFacts,
    node: &NodeName,
    facts: &NodeFacts,
    now: Timestamp,
) -> Vec<Verified> {
    let mut results = Vec::new();
    let link = layout::kubelet_client_link();
    let of_interest =
        facts.files.iter().filter(|file| layout::is_certificate_path(&file.path) || file.path == link);
    for file in of_interest.filter(|file| !file.certificates.is_empty()) {
        let what = format!("{} on {node}", file.path);
        let base = file.path.rsplit(['/', '\\']).next().unwrap_or_default().trim_end_matches(".crt");
        let Some(leaf) = file.certificates.first() else { continue };
        let (ok, found) = if leaf.not_after <= now {
            (false, format!("ended on {}", leaf.not_after.strftime("%F")))
        } else if file.path == layout::windows::KUBECONFIG {
            kubeconfig(inventory, ca, &file.certificates)
        } else if base == "ca" {
            let same = file.certificates.len() == 1 && leaf.fingerprint == ca.fingerprint;
            (same, format!("{} certificates, {}", file.certificates.len(), short(leaf)))
        } else if base.starts_with("proxy") {
            continue;
        } else if file.certificates.len() > 1 {
            (false, format!("{} certificates where one is expected", file.certificates.len()))
        } else {
            let described = inventory.description.certificates.get(&LeafId::from(base));
            match described {
                Some(described) => (
                    described.fingerprint == leaf.fingerprint,
                    format!("{}, {}", short(leaf), validity(leaf)),
                ),
                None if is_kubelet_serving(&file.path) => of_kubelet(leaf, ca),
                None => (is_of(leaf, ca), issued(leaf)),
            }
        };
        results.push(verified(what, ok, found));
    }
    results
}

/// The CA of what a server presents.
fn ca_of<'a>(inventory: &'a Inventory, server: &Server) -> Option<&'a CertificateFacts> {
    let domain = match server {
        Server::EtcdClient(_) | Server::EtcdPeer(_) => inventory.cluster.layout.etcd_domain(),
        Server::ApiServer(_) | Server::Kubelet(_) => TrustDomain::Cluster,
    };
    kubeadm::authority(inventory, domain)
}

/// A Windows node's kubeconfig: the CA, and the shared client certificate.
fn kubeconfig(inventory: &Inventory, ca: &CertificateFacts, held: &[CertificateFacts]) -> (bool, String) {
    let described = inventory.description.certificates.get(&LeafId::from("client"));
    let ok = matches!(held, [root, leaf] if root.fingerprint == ca.fingerprint
        && described.is_some_and(|described| described.fingerprint == leaf.fingerprint));
    (ok, format!("{} certificates, {}", held.len(), held.last().map(short).unwrap_or_default()))
}

/// The front proxy's files are the same on all control planes: AKS engine's own rotation has been seen to leave them
/// different, and nothing tells until an aggregated API is asked through another master.
fn front_proxies(inventory: &Inventory) -> Vec<Verified> {
    ["proxy-ca.crt", "proxy.crt"]
        .into_iter()
        .filter_map(|name| {
            let path = layout::certificate_file(name);
            let seen: BTreeSet<&str> = inventory
                .cluster
                .control_planes()
                .filter_map(|node| inventory.nodes.get(&node.name)?.seen()?.file(&path))
                .map(|file| file.sha256.as_str())
                .collect();
            (!seen.is_empty()).then(|| {
                verified(
                    format!("{name} on all control planes"),
                    seen.len() == 1,
                    format!("{} versions", seen.len()),
                )
            })
        })
        .collect()
}

fn presents(server: &Server, chain: &[CertificateFacts], ca: &CertificateFacts, now: Timestamp) -> Verified {
    let what = format!("what {server} presents");
    match chain {
        [] => verified(what, false, "nothing"),
        [leaf] => {
            let (ok, found) = match server {
                Server::Kubelet(_) => of_kubelet(leaf, ca),
                _ => (is_of(leaf, ca), issued(leaf)),
            };
            verified(what, ok && leaf.not_after > now, found)
        }
        [leaf, ..] => {
            verified(what, false, format!("{} with {} further certificates", leaf.subject, chain.len() - 1))
        }
    }
}

/// A kubelet before 1.36 names the CAs that it had at its start although it verifies with those on disk, so its list
/// proves nothing (`pkg/kubelet/server`, fixed by Kubernetes PR 136762).
const fn trusts_clients(server: &Server) -> bool {
    !matches!(server, Server::Kubelet(_))
}

fn trusts(inventory: &Inventory, server: &Server, names: &[String], ca: &CertificateFacts) -> Verified {
    let path = inventory.cluster.layout.front_proxy_ca();
    let front_proxy = inventory
        .nodes
        .get(server.node())
        .and_then(Observed::seen)
        .and_then(|facts| facts.file(&path))
        .and_then(|file| file.certificates.first());
    let mut expected = BTreeSet::from([ca.subject.as_str()]);
    if let (Server::ApiServer(_), Some(front_proxy)) = (server, front_proxy) {
        expected.insert(&front_proxy.subject);
    }
    let named: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    verified(format!("whose clients {server} trusts"), named == expected, names.join(", "))
}

fn api(inventory: &Inventory, ca: &CertificateFacts) -> Vec<Verified> {
    let api = match &inventory.api {
        Observed::Seen(api) => api,
        Observed::Unreadable(why) => return vec![verified("the Kubernetes API", false, why)],
    };
    let ours = [ca.fingerprint.clone()];
    let other = |roots: &[String]| roots != ours.as_slice();
    let namespaces: Vec<&str> =
        api.published_roots.iter().filter(|(_, roots)| other(roots)).map(|(name, _)| name.as_str()).collect();
    let secrets: Vec<String> = api
        .token_secrets
        .iter()
        .filter(|secret| other(&secret.roots))
        .map(|secret| secret.object.to_string())
        .collect();
    let bundles: Vec<String> = api
        .ca_bundles
        .iter()
        .filter(|(_, roots)| {
            roots
                .iter()
                .any(|root| root.is_ca && root.subject != ca.subject && is_kin(&root.subject, &ca.subject))
        })
        .map(|(holder, _)| holder.to_string())
        .collect();
    let unready: Vec<&str> =
        api.nodes.iter().filter(|node| !node.ready).map(|node| node.name.as_str()).collect();
    vec![
        verified(
            "CA published in every namespace",
            namespaces.is_empty(),
            all_or(api.published_roots.len(), &namespaces),
        ),
        verified("CA in every token Secret", secrets.is_empty(), all_or(api.token_secrets.len(), &secrets)),
        verified("no former CA in any caBundle", bundles.is_empty(), all_or(api.ca_bundles.len(), &bundles)),
        verified("every node is Ready", unready.is_empty(), all_or(api.nodes.len(), &unready)),
    ]
}

fn etcd(inventory: &Inventory) -> Vec<Verified> {
    match &inventory.etcd {
        Observed::Unreadable(why) => vec![verified("etcd", false, why)],
        Observed::Seen(members) => {
            let bad: Vec<&str> =
                members.iter().filter(|member| !member.healthy).map(|member| member.name.as_str()).collect();
            vec![verified(
                "every etcd member is healthy",
                bad.is_empty() && !members.is_empty(),
                all_or(members.len(), &bad),
            )]
        }
    }
}

fn all_or<T: AsRef<str>>(count: usize, bad: &[T]) -> String {
    match bad {
        [] => format!("{count} looked at"),
        bad => bad.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", "),
    }
}

/// Whether the CA really signed it.
fn is_of(leaf: &CertificateFacts, ca: &CertificateFacts) -> bool {
    leaf.signed_by.as_ref() == Some(&ca.fingerprint)
}

/// Where a kubelet keeps what it presents.
fn is_kubelet_serving(path: &str) -> bool {
    [OperatingSystem::Linux, OperatingSystem::Windows]
        .into_iter()
        .any(|system| path.strip_suffix(".crt") == Some(&layout::kubelet_serving(system)))
}

/// What a kubelet presents: of the CA once kubecert has replaced it, and before that self-signed, as AKS engine makes it
/// (`parts/k8s/cloud-init/artifacts/cse_config.sh`). Nobody verifies it there: the API servers are not told by whom.
fn of_kubelet(leaf: &CertificateFacts, ca: &CertificateFacts) -> (bool, String) {
    if leaf.subject == leaf.issuer {
        return (true, format!("self-signed, as nodes make it, {}", validity(leaf)));
    }
    (is_of(leaf, ca), issued(leaf))
}

fn issued(leaf: &CertificateFacts) -> String {
    format!("issued by {}, {}", leaf.issuer, validity(leaf))
}

/// Whether a CA is named as an earlier or later generation of another: `ca`, `ca-g2`, `ca-g3`.
fn is_kin(one: &str, other: &str) -> bool {
    fn stem(name: &str) -> &str {
        name.rsplit_once("-g").map_or(name, |(stem, _)| stem)
    }
    stem(one) == stem(other)
}

fn validity(certificate: &CertificateFacts) -> String {
    format!("valid until {}", certificate.not_after.strftime("%F"))
}

fn short(certificate: &CertificateFacts) -> String {
    format!("sha256 {}…", &certificate.fingerprint[..certificate.fingerprint.len().min(16)])
}

fn verified(what: impl Into<String>, ok: bool, found: impl Into<String>) -> Verified {
    Verified { what: what.into(), ok, found: found.into() }
}
