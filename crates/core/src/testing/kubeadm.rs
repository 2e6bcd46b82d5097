//! Synthetic clusters in kubeadm's layout.

use super::{Shape, authority, fingerprint, issued, text};
use crate::inventory::{CertificateFacts, FileFacts, Inventory, NodeFacts, Observed, Server, ServerFacts};
use crate::layout::{self, kubeadm, manifest_file};
use crate::model::{Component, Layout, LeafId, Node, Role, TrustDomain};

/// What the kubelets of a cluster present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kubelets {
    /// What each has made itself.
    SelfSigned,
    /// What the cluster CA has signed for them (`serverTLSBootstrap`).
    Asking,
    /// The same, and API servers verify it (`--kubelet-certificate-authority`).
    Verified,
}

/// The cluster of a shape as kubeadm would have made it, before anything was rotated.
pub fn kubeadm(shape: &Shape) -> Inventory {
    kubeadm_with(shape, Kubelets::SelfSigned)
}

/// The same, with kubelets that present something else.
pub fn kubeadm_with(shape: &Shape, kubelets: Kubelets) -> Inventory {
    let shape = Shape { monitors: false, kubelet_clients: true, front_proxy: true, ..shape.clone() };
    let mut inventory = shape.inventory();
    inventory.cluster.layout = Layout::Kubeadm;
    inventory.cluster.api_port = 6443;
    let nodes = inventory.cluster.nodes.clone();
    inventory.description.certificates = [
        ("ca", authority("ca")),
        ("kubectlClient", issued("kubernetes-admin", "ca")),
        ("etcdclient", issued("kube-etcd-healthcheck-client", "etcd-ca")),
    ]
    .map(|(leaf, certificate)| (LeafId::from(leaf), certificate))
    .into();
    for node in &nodes {
        if let Some(Observed::Seen(facts)) = inventory.nodes.get_mut(&node.name) {
            furnish(&shape, node, facts, kubelets);
        }
    }
    for (server, facts) in &mut inventory.servers {
        let Some(node) = nodes.iter().find(|node| node.name == *server.node()) else { continue };
        let shows = |leaf: &LeafId, issuer: &str, names: &[&str]| ServerFacts {
            chain: vec![issued(leaf.as_str(), issuer)],
            client_ca_names: names.iter().map(|name| format!("CN={name}")).collect(),
        };
        *facts = Observed::Seen(match server {
            Server::ApiServer(_) => {
                shows(&Layout::Kubeadm.api_server(node).leaf, "ca", &["ca", "front-proxy-ca"])
            }
            Server::EtcdClient(_) => shows(&Layout::Kubeadm.etcd_server(node).leaf, "etcd-ca", &["etcd-ca"]),
            Server::EtcdPeer(_) => shows(&Layout::Kubeadm.etcd_peer(node).leaf, "etcd-ca", &["etcd-ca"]),
            Server::Kubelet(name) if kubelets != Kubelets::SelfSigned => {
                shows(&layout::kubelet_server(name), "ca", &["ca"])
            }
            Server::Kubelet(name) => {
                let mut facts = shows(&layout::kubelet_server(name), "nobody", &["ca"]);
                facts.chain.iter_mut().for_each(|leaf| leaf.signed_by = None);
                facts
            }
        });
    }
    inventory
}

fn furnish(shape: &Shape, node: &Node, facts: &mut NodeFacts, kubelets: Kubelets) {
    let place = Layout::Kubeadm;
    facts.files.retain(|file| file.path.starts_with(layout::KUBELET_PKI));
    let mut serving = issued(node.name.as_str(), "nobody");
    serving.signed_by = None;
    let mut put = |path: String, certificates: Vec<CertificateFacts>| {
        facts.files.push(FileFacts { path, certificates, ..text("", String::new()) });
    };
    put(place.kubelet_serving_file(node.system), vec![serving]);
    if kubelets != Kubelets::SelfSigned {
        put(layout::kubelet_server_link(), vec![issued(layout::kubelet_server(&node.name).as_str(), "ca")]);
    }
    put(place.roots_file(node.system), vec![authority("ca")]);
    put(kubeadm::KUBELET.to_owned(), vec![authority("ca")]);
    if node.role == Role::Agent {
        without_text(facts);
        return;
    }
    let domains = [
        (TrustDomain::Cluster, "ca"),
        (TrustDomain::Etcd, "etcd-ca"),
        (TrustDomain::FrontProxy, "front-proxy-ca"),
    ];
    for (domain, name) in domains {
        let (certificate, key) = place.authority(domain);
        put(certificate, vec![authority(name)]);
        key.into_iter().for_each(|key| put(key, Vec::new()));
    }
    let mut pairs = place.hot(node);
    pairs.extend([place.api_server(node), place.front_proxy(node)]);
    for pair in pairs {
        let issuer = domains.iter().find(|(domain, _)| *domain == pair.domain).map_or("ca", |(_, name)| name);
        put(pair.certificate(), vec![issued(pair.leaf.as_str(), issuer)]);
        put(pair.key(), Vec::new());
    }
    for own in place.kubeconfigs(node, "") {
        put(own.path, vec![authority("ca"), issued(own.leaf.as_str(), "ca")]);
    }
    for ending in ["key", "pub"] {
        put(format!("{}.{ending}", kubeadm::SERVICE_ACCOUNT), Vec::new());
    }
    without_text(facts);
    let manifests = [
        (Component::ApiServer, api_server(place, kubelets)),
        (Component::ControllerManager, controller_manager(place)),
        (Component::Etcd, etcd(place)),
    ];
    for (component, flags) in manifests {
        let manifest = shape.manifest(component.process_name(), &flags);
        facts.files.push(text(&manifest_file(component), manifest));
    }
}

fn without_text(facts: &mut NodeFacts) {
    for file in &mut facts.files {
        file.text = None;
        file.sha256 = fingerprint(&file.path);
    }
}

/// The flags of `cmd/kubeadm/app/phases/controlplane/manifests.go` that name files.
fn api_server(place: Layout, kubelets: Kubelets) -> Vec<String> {
    let at = |file: &str| place.certificate_file(file);
    let mut flags = vec![
        format!("--client-ca-file={}", at("ca.crt")),
        format!("--etcd-cafile={}", at("etcd/ca.crt")),
        format!("--etcd-certfile={}", at("apiserver-etcd-client.crt")),
        format!("--etcd-keyfile={}", at("apiserver-etcd-client.key")),
        "--etcd-servers=https://127.0.0.1:2379".to_owned(),
        format!("--kubelet-client-certificate={}", at("apiserver-kubelet-client.crt")),
        format!("--kubelet-client-key={}", at("apiserver-kubelet-client.key")),
        format!("--proxy-client-cert-file={}", at("front-proxy-client.crt")),
        format!("--proxy-client-key-file={}", at("front-proxy-client.key")),
        format!("--requestheader-client-ca-file={}", at("front-proxy-ca.crt")),
        format!("--service-account-key-file={}", at("sa.pub")),
        format!("--service-account-signing-key-file={}", at("sa.key")),
        format!("--tls-cert-file={}", at("apiserver.crt")),
        format!("--tls-private-key-file={}", at("apiserver.key")),
    ];
    if kubelets == Kubelets::Verified {
        flags.push(format!("--kubelet-certificate-authority={}", at("ca.crt")));
    }
    flags
}

fn controller_manager(place: Layout) -> Vec<String> {
    let at = |file: &str| place.certificate_file(file);
    vec![
        format!("--client-ca-file={}", at("ca.crt")),
        format!("--cluster-signing-cert-file={}", at("ca.crt")),
        format!("--cluster-signing-key-file={}", at("ca.key")),
        "--kubeconfig=/etc/kubernetes/controller-manager.conf".to_owned(),
        format!("--root-ca-file={}", at("ca.crt")),
        format!("--service-account-private-key-file={}", at("sa.key")),
    ]
}

/// The flags of `cmd/kubeadm/app/phases/etcd/local.go`.
fn etcd(place: Layout) -> Vec<String> {
    let at = |file: &str| place.certificate_file(file);
    vec![
        format!("--cert-file={}", at("etcd/server.crt")),
        format!("--key-file={}", at("etcd/server.key")),
        format!("--peer-cert-file={}", at("etcd/peer.crt")),
        format!("--peer-key-file={}", at("etcd/peer.key")),
        format!("--peer-trusted-ca-file={}", at("etcd/ca.crt")),
        format!("--trusted-ca-file={}", at("etcd/ca.crt")),
    ]
}
