//! Where clusters keep what, and with which mode and owner: AKS engine's here (reference: the node layout of AKS engine's
//! `parts/k8s/cloud-init`, both generations), kubeadm's in [`kubeadm`], and in `places.rs` what both have, by layout.

pub mod kubeadm;
mod places;

pub use places::{Kubeconfig, Pair};

use crate::model::{Component, LeafId, NodeName, OperatingSystem};
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

/// The link to the serving certificate that a kubelet has asked the cluster for (`serverTLSBootstrap`; client-go
/// `util/certificate/certificate_store.go`, with the name that `pkg/kubelet/certificate/kubelet.go` gives it).
pub fn kubelet_server_link() -> String {
    format!("{KUBELET_PKI}/kubelet-server-current.pem")
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

/// The key pair that signs service-account tokens, where it is no TLS key. It has no certificate.
pub fn service_account() -> LeafId {
    LeafId::from("service-account/key")
}

/// Whether a description of the cluster has a place for that leaf: those of nodes and of Secrets, and the front proxy's,
/// are in the cluster only.
pub fn is_described(leaf: &LeafId) -> bool {
    !leaf.as_str().contains('/') && *leaf != front_proxy()
}

/// What kubecert keeps on a node of that system while a run is under way.
pub const fn stage(system: OperatingSystem) -> &'static str {
    match system {
        OperatingSystem::Linux => STAGE,
        OperatingSystem::Windows => windows::STAGE,
    }
}

/// Whether a file lies in kubecert's own directory, on a node of whatever system.
pub fn is_staged(path: &str) -> bool {
    [STAGE, kubeadm::TRANSITION, windows::STAGE].iter().any(|stage| path.starts_with(stage))
}

/// The file of the CAs that a node of that system trusts.
pub fn roots_file(system: OperatingSystem) -> String {
    match system {
        OperatingSystem::Linux => certificate_file("ca.crt"),
        OperatingSystem::Windows => windows::ROOTS.to_owned(),
    }
}

/// Where a kubelet finds its own client certificate at its start.
pub fn kubelet_client_file(system: OperatingSystem) -> String {
    match system {
        OperatingSystem::Linux => kubelet_client_link(),
        OperatingSystem::Windows => windows::KUBELET_CLIENT.to_owned(),
    }
}

/// A kubelet's serving certificate and key: these and `.crt` or `.key`.
pub fn kubelet_serving(system: OperatingSystem) -> String {
    match system {
        OperatingSystem::Linux => certificate_file("kubeletserver"),
        OperatingSystem::Windows => windows::KUBELET_SERVING.to_owned(),
    }
}

/// The unit, or service, of the kubelet.
pub const fn kubelet_unit(system: OperatingSystem) -> &'static str {
    match system {
        OperatingSystem::Linux => "kubelet.service",
        OperatingSystem::Windows => windows::KUBELET_SERVICE,
    }
}

/// Whether a path is that of a certificate that nodes of whatever system keep at a fixed place: one of AKS engine's, or
/// the kubelet's own present one, rather than what the kubelet has left behind.
pub fn is_certificate_path(path: &str) -> bool {
    let ours = [CERTIFICATES, kubeadm::PKI].iter().any(|directory| path.starts_with(directory));
    (ours && !is_staged(path)) || windows::CERTIFICATES.contains(&path)
}

/// Windows agents (AKS engine's `parts/k8s/windowskubeletfunc.ps1`, `pkg/api/defaults-kubelet.go`, kubeletstart.ps1; the
/// kubelet's own directory is named without a drive there, and its service runs on drive C).
pub mod windows {
    /// The directory of everything that AKS engine installs.
    pub const DIRECTORY: &str = r"c:\k";
    /// The CAs by which the kubelet verifies its clients.
    pub const ROOTS: &str = r"c:\k\ca.crt";
    /// The kubeconfig of kubelet and kube-proxy, which holds CA, client certificate and key.
    pub const KUBECONFIG: &str = r"c:\k\config";
    /// What kubecert keeps while a run is under way; removed at its end.
    pub const STAGE: &str = r"c:\k\kubecert";
    /// To what kubecert and the ancestor append what they do.
    pub const LOG: &str = r"c:\k\rotate-certs.log";
    /// AKS engine's own script, which resets the node's network and starts its services.
    pub const NODE_RESET: &str = r"c:\k\windowsnodereset.ps1";
    /// The directory in which the kubelet keeps the certificates that it makes or asks for itself.
    pub const KUBELET_PKI: &str = r"c:\var\lib\kubelet\pki";
    /// The link to the kubelet's client certificate, which it asks the cluster for.
    pub const KUBELET_CLIENT: &str = r"c:\var\lib\kubelet\pki\kubelet-client-current.pem";
    /// The kubelet's serving certificate and key without their ends: self-signed by the kubelet where there are none
    /// (`cmd/kubelet/app/server.go`, InitializeTLS, since AKS engine sets no `--tls-cert-file` on Windows).
    pub const KUBELET_SERVING: &str = r"c:\var\lib\kubelet\pki\kubelet";
    /// The service of the kubelet. Starting it runs kubeletstart.ps1, which restarts kube-proxy's service as well.
    pub const KUBELET_SERVICE: &str = "kubelet";
    /// Files with certificates that are in use.
    pub const CERTIFICATES: [&str; 4] =
        [ROOTS, KUBECONFIG, KUBELET_CLIENT, r"c:\var\lib\kubelet\pki\kubelet.crt"];
}

/// Readable by all: certificates.
pub fn public() -> Access {
    Access { mode: 0o644, owner: "root:root".to_owned() }
}

/// Readable by root: keys.
pub fn private() -> Access {
    Access { mode: 0o600, owner: "root:root".to_owned() }
}
