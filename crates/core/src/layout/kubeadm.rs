//! Where kubeadm keeps what (`cmd/kubeadm/app/constants/constants.go` and `phases/certs/certlist.go` of kubernetes 1.20
//! to 1.36).

use crate::model::Component;

/// The directory of everything.
pub const DIRECTORY: &str = "/etc/kubernetes";
/// The directory of certificates and keys. Static pods see it, and nothing beside it.
pub const PKI: &str = "/etc/kubernetes/pki";
/// Files that processes read while two generations are about, where static pods see them.
pub const TRANSITION: &str = "/etc/kubernetes/pki/kubecert";
/// The kubelet's kubeconfig: the CA within, its client certificate by its path.
pub const KUBELET: &str = "/etc/kubernetes/kubelet.conf";
/// The key pair of service-account tokens: this and `.key` or `.pub`.
pub const SERVICE_ACCOUNT: &str = "/etc/kubernetes/pki/sa";

/// Kubeconfigs of control planes that hold their credentials, by their names without an ending, and what reads them.
/// `super-admin` is there from 1.29 on.
pub const KUBECONFIGS: [(&str, Option<Component>); 4] = [
    ("admin", None),
    ("super-admin", None),
    ("controller-manager", Some(Component::ControllerManager)),
    ("scheduler", Some(Component::Scheduler)),
];
