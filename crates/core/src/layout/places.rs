//! Where each layout keeps what: the one table that plans, the symbolic world and the looks at nodes go by.

use super::{CERTIFICATES, KUBELET_PKI, STAGE, TRANSITION, kubeadm, windows};
use crate::model::{Component, Layout, LeafId, Node, OperatingSystem, TrustDomain};

/// A leaf and its key in two files side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Whose.
    pub leaf: LeafId,
    /// Which CA signs it.
    pub domain: TrustDomain,
    /// The path of both without their endings.
    pub base: String,
}

impl Pair {
    /// The certificate's file.
    pub fn certificate(&self) -> String {
        format!("{}.crt", self.base)
    }

    /// The key's file.
    pub fn key(&self) -> String {
        format!("{}.key", self.base)
    }
}

/// A kubeconfig that holds CA, client certificate and key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubeconfig {
    /// Whose certificate it holds.
    pub leaf: LeafId,
    /// Its file.
    pub path: String,
    /// What reads it, at its start; `None` for people.
    pub reader: Option<Component>,
}

impl Layout {
    /// The directory of all certificates.
    pub const fn certificates(self) -> &'static str {
        match self {
            Layout::AksEngine => CERTIFICATES,
            Layout::Kubeadm => kubeadm::PKI,
        }
    }

    /// The directories of certificates on a node.
    pub fn directories(self) -> Vec<String> {
        match self {
            Layout::AksEngine => vec![CERTIFICATES.to_owned()],
            Layout::Kubeadm => vec![kubeadm::PKI.to_owned(), format!("{}/etcd", kubeadm::PKI)],
        }
    }

    /// A file in [`Layout::certificates`].
    pub fn certificate_file(self, name: &str) -> String {
        format!("{}/{name}", self.certificates())
    }

    /// A file that processes read while two generations are about, at a place that static pods see.
    pub fn transition_file(self, name: &str) -> String {
        match self {
            Layout::AksEngine => format!("{TRANSITION}/{name}"),
            Layout::Kubeadm => format!("{}/{name}", kubeadm::TRANSITION),
        }
    }

    /// What kubecert keeps on a node of that system while a run is under way.
    pub fn stages(self, system: OperatingSystem) -> Vec<String> {
        match (self, system) {
            (_, OperatingSystem::Windows) => vec![windows::STAGE.to_owned()],
            (Layout::AksEngine, _) => vec![STAGE.to_owned()],
            (Layout::Kubeadm, _) => vec![STAGE.to_owned(), kubeadm::TRANSITION.to_owned()],
        }
    }

    /// The file of the CAs by which a node of that system verifies kubelet's clients.
    pub fn roots_file(self, system: OperatingSystem) -> String {
        match system {
            OperatingSystem::Linux => self.certificate_file("ca.crt"),
            OperatingSystem::Windows => windows::ROOTS.to_owned(),
        }
    }

    /// The files on a node of that system that a kubelet takes the CA of the API servers from, at its start.
    pub fn kubelet_roots(self, system: OperatingSystem) -> Vec<String> {
        match (self, system) {
            (_, OperatingSystem::Windows) => vec![windows::ROOTS.to_owned(), windows::KUBECONFIG.to_owned()],
            (Layout::AksEngine, _) => vec![self.roots_file(system)],
            (Layout::Kubeadm, _) => vec![kubeadm::KUBELET.to_owned()],
        }
    }

    /// The domain of etcd's certificates.
    pub const fn etcd_domain(self) -> TrustDomain {
        match self {
            Layout::AksEngine => TrustDomain::Cluster,
            Layout::Kubeadm => TrustDomain::Etcd,
        }
    }

    /// The file by which etcd's members and clients verify each other.
    pub fn etcd_ca(self) -> String {
        match self {
            Layout::AksEngine => self.certificate_file("ca.crt"),
            Layout::Kubeadm => self.certificate_file("etcd/ca.crt"),
        }
    }

    /// The certificate of a domain's CA, and its key where the layout keeps it on control planes.
    pub fn authority(self, domain: TrustDomain) -> (String, Option<String>) {
        let at = |base: &str, key: bool| {
            let file = |ending: &str| self.certificate_file(&format!("{base}.{ending}"));
            (file("crt"), key.then(|| file("key")))
        };
        match (self, domain) {
            (_, TrustDomain::Cluster) | (Layout::AksEngine, TrustDomain::Etcd) => at("ca", true),
            (Layout::Kubeadm, TrustDomain::Etcd) => at("etcd/ca", true),
            // AKS engine's script keeps no key of that CA.
            (Layout::AksEngine, TrustDomain::FrontProxy) => at("proxy-ca", false),
            (Layout::Kubeadm, TrustDomain::FrontProxy) => at("front-proxy-ca", true),
        }
    }

    /// The CA by which aggregated API servers know the API servers.
    pub fn front_proxy_ca(self) -> String {
        self.authority(TrustDomain::FrontProxy).0
    }

    /// What an API server presents to its clients.
    pub fn api_server(self, node: &Node) -> Pair {
        self.own_or_shared(node, TrustDomain::Cluster, "apiserver", "apiserver")
    }

    /// What an API server presents to aggregated API servers.
    pub fn front_proxy(self, node: &Node) -> Pair {
        match self {
            Layout::AksEngine => {
                let base = self.certificate_file("proxy");
                Pair { leaf: super::front_proxy(), domain: TrustDomain::FrontProxy, base }
            }
            Layout::Kubeadm => {
                let name = "front-proxy-client";
                self.own_or_shared(node, TrustDomain::FrontProxy, name, name)
            }
        }
    }

    /// What an etcd member presents to its clients.
    pub fn etcd_server(self, node: &Node) -> Pair {
        match self {
            Layout::AksEngine => self.shared("etcdserver"),
            Layout::Kubeadm => self.own_or_shared(node, TrustDomain::Etcd, "etcd-server", "etcd/server"),
        }
    }

    /// What an etcd member presents to its peers.
    pub fn etcd_peer(self, node: &Node) -> Pair {
        match self {
            Layout::AksEngine => self.shared(super::etcd_peer(node.index).as_str()),
            Layout::Kubeadm => self.own_or_shared(node, TrustDomain::Etcd, "etcd-peer", "etcd/peer"),
        }
    }

    /// What the API server of a control plane presents to kubelets.
    pub fn kubelet_client(self, node: &Node) -> Pair {
        match self {
            Layout::AksEngine => self.shared("client"),
            Layout::Kubeadm => {
                let name = "apiserver-kubelet-client";
                self.own_or_shared(node, TrustDomain::Cluster, name, name)
            }
        }
    }

    /// The leaves of a control plane that are read for each handshake.
    pub fn hot(self, node: &Node) -> Vec<Pair> {
        let etcd = |leaf, name| self.own_or_shared(node, TrustDomain::Etcd, leaf, name);
        let clients = match self {
            Layout::AksEngine => vec![self.shared("etcdclient")],
            Layout::Kubeadm => vec![
                etcd("etcd-healthcheck-client", "etcd/healthcheck-client"),
                etcd("apiserver-etcd-client", "apiserver-etcd-client"),
            ],
        };
        let mut pairs = vec![self.etcd_server(node), self.etcd_peer(node)];
        pairs.extend(clients);
        pairs.push(self.kubelet_client(node));
        pairs
    }

    /// The kubeconfigs of a control plane that hold their credentials. `user` is the administrator's name in AKS engine's
    /// layout.
    pub fn kubeconfigs(self, node: &Node, user: &str) -> Vec<Kubeconfig> {
        match self {
            Layout::AksEngine => {
                let path = super::admin_kubeconfig(user);
                vec![Kubeconfig { leaf: LeafId::from("kubectlClient"), path, reader: None }]
            }
            Layout::Kubeadm => kubeadm::KUBECONFIGS
                .iter()
                .map(|(name, reader)| Kubeconfig {
                    leaf: LeafId::new(format!("{name}/{}", node.name)),
                    path: format!("{}/{name}.conf", kubeadm::DIRECTORY),
                    reader: *reader,
                })
                .collect(),
        }
    }

    /// The paths of the same, which are alike on all control planes.
    pub fn kubeconfig_paths(self, user: &str) -> Vec<String> {
        match self {
            Layout::AksEngine => vec![super::admin_kubeconfig(user)],
            Layout::Kubeadm => {
                let path = |(name, _): &(&str, _)| format!("{}/{name}.conf", kubeadm::DIRECTORY);
                kubeadm::KUBECONFIGS.iter().map(path).collect()
            }
        }
    }

    /// The kubeconfig in which a kubelet finds the CA, where it names the kubelet's own certificate by its path.
    pub const fn kubelet_kubeconfig(self) -> Option<&'static str> {
        match self {
            Layout::AksEngine => None,
            Layout::Kubeadm => Some(kubeadm::KUBELET),
        }
    }

    /// A kubelet's serving certificate, where the layout makes one that is not the kubelet's own business.
    pub fn kubelet_serving(self, node: &Node) -> Option<Pair> {
        let base = match (self, node.system) {
            (_, OperatingSystem::Windows) => windows::KUBELET_SERVING.to_owned(),
            (Layout::AksEngine, _) => self.certificate_file("kubeletserver"),
            (Layout::Kubeadm, _) => return None,
        };
        Some(Pair { leaf: super::kubelet_server(&node.name), domain: TrustDomain::Cluster, base })
    }

    /// The certificate of a kubelet's serving pair, wherever it comes from.
    pub fn kubelet_serving_file(self, system: OperatingSystem) -> String {
        match (self, system) {
            (Layout::Kubeadm, OperatingSystem::Linux) => format!("{KUBELET_PKI}/kubelet.crt"),
            _ => format!("{}.crt", super::kubelet_serving(system)),
        }
    }

    /// Whether the API server's TLS key signs service-account tokens, so that a new one ends them.
    pub const fn tokens_hang_on_tls_key(self) -> bool {
        matches!(self, Layout::AksEngine)
    }

    /// Whether etcd is a systemd unit rather than a static pod.
    pub const fn etcd_unit(self) -> Option<&'static str> {
        match self {
            Layout::AksEngine => Some("etcd.service"),
            Layout::Kubeadm => None,
        }
    }

    /// The components of a control plane that are static pods.
    pub const fn static_pods(self) -> &'static [Component] {
        match self {
            Layout::AksEngine => &[Component::ApiServer, Component::ControllerManager, Component::Scheduler],
            Layout::Kubeadm => {
                &[Component::Etcd, Component::ApiServer, Component::ControllerManager, Component::Scheduler]
            }
        }
    }

    /// A leaf that all nodes share, of the cluster domain.
    fn shared(self, name: &str) -> Pair {
        Pair { leaf: LeafId::from(name), domain: TrustDomain::Cluster, base: self.certificate_file(name) }
    }

    /// A leaf that each kubeadm node has of its own and that AKS engine's nodes share.
    fn own_or_shared(self, node: &Node, domain: TrustDomain, leaf: &str, file: &str) -> Pair {
        let leaf = match self {
            Layout::AksEngine => LeafId::from(leaf),
            Layout::Kubeadm => LeafId::new(format!("{leaf}/{}", node.name)),
        };
        Pair { leaf, domain, base: self.certificate_file(file) }
    }
}
