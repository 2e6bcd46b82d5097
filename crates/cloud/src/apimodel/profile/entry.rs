//! What the members of a profile are called, in JSON and as files.

use std::fmt;

/// One certificate with its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entry {
    /// The CA of everything but the front proxy.
    Ca,
    /// The API servers' TLS certificate; its key also signs service-account tokens.
    ApiServer,
    /// The one client certificate of all components and all kubelets.
    Client,
    /// The administrator's client certificate.
    KubeConfig,
    /// What etcd presents to its clients.
    EtcdServer,
    /// What the API servers present to etcd.
    EtcdClient,
    /// What the etcd member on the master of this index presents to the others, as client and as server.
    EtcdPeer(usize),
}

impl Entry {
    /// All entries of a cluster with so many masters, the CA first, in the ancestor's order.
    pub fn all(masters: usize) -> impl Iterator<Item = Entry> {
        let single = [
            Entry::Ca,
            Entry::ApiServer,
            Entry::Client,
            Entry::KubeConfig,
            Entry::EtcdServer,
            Entry::EtcdClient,
        ];
        single.into_iter().chain((0..masters).map(Entry::EtcdPeer))
    }

    /// The name of its files without the ending: `apiserver`, `etcdpeer0`.
    pub fn file_base(self) -> String {
        match self {
            Entry::Ca => "ca".to_owned(),
            Entry::ApiServer => "apiserver".to_owned(),
            Entry::Client => "client".to_owned(),
            Entry::KubeConfig => "kubectlClient".to_owned(),
            Entry::EtcdServer => "etcdserver".to_owned(),
            Entry::EtcdClient => "etcdclient".to_owned(),
            Entry::EtcdPeer(index) => format!("etcdpeer{index}"),
        }
    }

    /// The JSON key of the certificate, with the index for a peer: `etcdPeerCertificates[0]`.
    pub fn certificate_key(self) -> String {
        match self {
            Entry::EtcdPeer(index) => format!("{PEER_CERTIFICATES}[{index}]"),
            single => format!("{}Certificate", single.json_stem()),
        }
    }

    /// The JSON key of the private key, with the index for a peer: `etcdPeerPrivateKeys[0]`.
    pub fn private_key_key(self) -> String {
        match self {
            Entry::EtcdPeer(index) => format!("{PEER_PRIVATE_KEYS}[{index}]"),
            single => format!("{}PrivateKey", single.json_stem()),
        }
    }

    fn json_stem(self) -> &'static str {
        match self {
            Entry::Ca => "ca",
            Entry::ApiServer => "apiServer",
            Entry::Client => "client",
            Entry::KubeConfig => "kubeConfig",
            Entry::EtcdServer => "etcdServer",
            Entry::EtcdClient => "etcdClient",
            Entry::EtcdPeer(_) => "etcdPeer",
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file_base())
    }
}

/// The JSON key of the array of peer certificates.
pub(super) const PEER_CERTIFICATES: &str = "etcdPeerCertificates";

/// The JSON key of the array of peer keys.
pub(super) const PEER_PRIVATE_KEYS: &str = "etcdPeerPrivateKeys";
