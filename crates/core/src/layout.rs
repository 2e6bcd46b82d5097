//! Where AKS engine keeps what, and with which mode and owner (reference: the node layout of AKS engine's
//! `parts/k8s/cloud-init`, both generations).

use crate::model::{Component, LeafId, NodeName};
use crate::plan::Access;

/// The directory of all certificates.
pub const CERTIFICATES: &str = "/etc/kubernetes/certs";
/// The directory of static pods.
pub const MANIFESTS: &str = "/etc/kubernetes/manifests";
/// What kubecert keeps on a node while a run is under way; removed at its end.
pub const STAGE: &str = "/etc/kubernetes/kubecert";
/// Files that processes read while two generations are about; below [`STAGE`].
pub const TRANSITION: &str = "/etc/kubernetes/kubecert/transition";
/// The directory in which kubelet keeps the certificates that it rotates itself.
pub const KUBELET_PKI: &str = "/var/lib/kubelet/pki";
/// Units of AKS engine that restart etcd and the API server when they do not answer, and so would fight a rotation.
pub const MONITORS: [&str; 3] =
    ["etcd-monitor.service", "apiserver-monitor.service", "kubelet-monitor.service"];
/// Tools that a rotation needs on a node.
pub const TOOLS: [&str; 8] = ["sh", "sudo", "sha256sum", "stat", "mv", "sync", "systemctl", "systemd-run"];
/// Tools that a rotation needs on a control-plane node besides.
pub const CONTROL_PLANE_TOOLS: [&str; 1] = ["iptables"];

/// What AKS engine's own script leaves on masters after it has made the front proxy's certificates, private keys among
/// it (`parts/k8s/cloud-init/artifacts/generateproxycerts.sh`).
pub const FRONT_PROXY_LEFTOVERS: [&str; 5] = [
    "/tmp/proxy-client-ca.key",
    "/tmp/proxy-client-ca.crt",
    "/tmp/proxy-client.key",
    "/tmp/proxy-client.csr",
    "/tmp/proxy-client.crt",
];

/// A file in [`CERTIFICATES`].
pub fn certificate_file(name: &str) -> String {
    format!("{CERTIFICATES}/{name}")
}

/// A file in [`TRANSITION`].
pub fn transition_file(name: &str) -> String {
    format!("{TRANSITION}/{name}")
}

/// The manifest of a static pod.
pub fn manifest_file(component: Component) -> String {
    format!("{MANIFESTS}/{}.yaml", component.process_name())
}

/// The administrator's kubeconfig on control planes.
pub fn admin_kubeconfig(user: &str) -> String {
    format!("/home/{user}/.kube/config")
}

/// The link to kubelet's present client certificate.
pub fn kubelet_client_link() -> String {
    format!("{KUBELET_PKI}/kubelet-client-current.pem")
}

/// The leaf of an etcd member towards its peers.
pub fn etcd_peer(index: usize) -> LeafId {
    LeafId::new(format!("etcdpeer{index}"))
}

/// A kubelet's client certificate.
pub fn kubelet_client(node: &NodeName) -> LeafId {
    LeafId::new(format!("kubelet-client/{node}"))
}

/// A kubelet's serving certificate.
pub fn kubelet_server(node: &NodeName) -> LeafId {
    LeafId::new(format!("kubelet-server/{node}"))
}

/// The API server's certificate towards aggregated API servers.
pub fn front_proxy() -> LeafId {
    LeafId::from("front-proxy")
}

/// Whether a description of the cluster has a place for that leaf: those of nodes and of Secrets, and the front proxy's,
/// are in the cluster only.
pub fn is_described(leaf: &LeafId) -> bool {
    !leaf.as_str().contains('/') && *leaf != front_proxy()
}

/// Readable by all: certificates.
pub fn public() -> Access {
    Access { mode: 0o644, owner: "root:root".to_owned() }
}

/// Readable by root: keys.
pub fn private() -> Access {
    Access { mode: 0o600, owner: "root:root".to_owned() }
}
