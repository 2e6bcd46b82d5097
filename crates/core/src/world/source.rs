//! What a process reads from where: the flags of its manifest, and what comes of the files that they name.
//!
//! Which file is read when is Kubernetes' and etcd's business, read in their sources: `options/serving.go`,
//! `options/authentication.go`, `storagebackend/factory/etcd3.go` and `dynamiccertificates` of kubernetes/apiserver
//! v0.20.15, v0.32.3, v0.36.0; `cmd/kube-controller-manager/app/certificates.go` and `cmd/kubelet/app/auth.go` of
//! kubernetes 1.20, 1.32, 1.36; `client/pkg/transport/listener.go` of etcd v3.4.13 and later.

use crate::layout::{
    certificate_file, kubelet_client_file, kubelet_client_link, kubelet_server_link, windows,
};
use crate::manifest::flag_values;
use crate::material::{ChainForm, Content, Part};
use crate::model::{
    Component, Generation, KubernetesVersion, Layout, LeafId, Node, OperatingSystem, TrustDomain,
};

use super::disk::{Disk, KeptKeys, is_at_or_below};
use super::value::{Generations, Presented, Value};

/// What kind of process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A component.
    Component(Component),
    /// A person, or a unit like AKS engine's `label-nodes`, that runs `kubectl` with the administrator's kubeconfig on
    /// a control plane. Each call is a process of its own, so it always holds what is on the disk.
    Administrator,
}

/// What a process keeps in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The leaf that a server presents.
    Serving,
    /// The CAs whose clients a server accepts.
    ClientCa,
    /// An etcd member's leaf towards its peers, as a server and as a client.
    Peer,
    /// The CAs that an etcd member accepts its peers by.
    PeerCa,
    /// The front-proxy CAs that an API server tells aggregated API servers.
    RequestHeaderCa,
    /// An API server's leaf towards aggregated API servers.
    ProxyClient,
    /// The CAs by which an API server verifies etcd.
    EtcdCa,
    /// An API server's leaf towards etcd.
    EtcdClient,
    /// The CAs by which an API server verifies kubelets, if it does.
    KubeletCa,
    /// An API server's leaf towards kubelets.
    KubeletClient,
    /// The keys by which an API server verifies tokens.
    TokenKeys,
    /// The key with which tokens are signed.
    TokenSigner,
    /// The CAs by which a client verifies API servers.
    ApiRoots,
    /// A client's leaf towards API servers.
    ApiClient,
    /// The CAs that a controller manager publishes to pods.
    PublishedCa,
    /// The CA with which a controller manager answers certificate signing requests.
    Issuer,
    /// The keys that signed the tokens which a process uses itself.
    Token,
}

impl Slot {
    /// How many there are.
    pub(crate) const COUNT: usize = Slot::Token as usize + 1;
}

/// When a changed file reaches a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// When it starts, and not before.
    AtStart,
    /// By itself, some time later.
    Later,
    /// At once: it reads the file for each use.
    Always,
}

/// Where one slot comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) slot: Slot,
    pub(super) from: From,
    pub(super) reload: Reload,
}

/// The files behind a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// The CAs of a domain in a file.
    Roots(TrustDomain, String),
    /// A leaf with its key.
    Pair { domain: TrustDomain, certificate: String, key: String },
    /// Keys or certificates by which tokens are verified.
    Keys(Vec<String>),
    /// A CA's certificate with its key.
    Issuer { certificate: String, key: String },
    /// The CAs in a kubeconfig.
    KubeconfigRoots(String),
    /// The leaf in a kubeconfig.
    KubeconfigClient(String),
    /// A leaf with its key in one file, which its process has asked the cluster for; while there is none, the leaf in a
    /// kubeconfig, with which it asks.
    Requested { own: String, kubeconfig: String },
}

impl From {
    pub(super) fn paths(&self) -> Vec<&str> {
        match self {
            From::Roots(_, path) | From::KubeconfigRoots(path) | From::KubeconfigClient(path) => vec![path],
            From::Pair { certificate, key, .. } | From::Issuer { certificate, key } => vec![certificate, key],
            From::Keys(paths) => paths.iter().map(String::as_str).collect(),
            From::Requested { own, kubeconfig } => vec![own, kubeconfig],
        }
    }

    /// Whether the file at `path`, or one below it, is read, by its name or through a link.
    pub(super) fn reads(&self, disk: &Disk, path: &str) -> bool {
        let concerns = |file: &str| is_at_or_below(file, path);
        let linked = |file: &str| matches!(disk.file(file), Some(Content::Link(target)) if concerns(target));
        self.paths().into_iter().any(|file| concerns(file) || linked(file))
    }
}

/// What came of reading the files behind a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Loaded {
    /// This value, and whose leaf it is, for a leaf.
    Value(Value, Option<LeafId>),
    /// Certificate and key do not belong together: the moment between two renames.
    Torn,
    /// Something is missing or of the wrong kind; a process that starts now would not come up.
    Broken(String),
}

/// Reads the files behind a slot as they are now.
pub(super) fn load(disk: &Disk, from: &From) -> Loaded {
    let missing = |path: &str| Loaded::Broken(format!("{path} is missing or of another kind"));
    let kept = disk.kept_keys();
    match from {
        From::Roots(domain, path) => match disk.parts(path) {
            Some(parts) => roots(parts, *domain, path),
            None => missing(path),
        },
        From::Pair { domain, certificate, key } => match (disk.parts(certificate), disk.parts(key)) {
            (Some(chain), Some(key)) => pair(kept, chain, key, *domain, certificate),
            (None, _) => missing(certificate),
            (_, None) => missing(key),
        },
        From::Keys(paths) => {
            let mut held = Generations::NONE;
            for path in paths {
                let Some(parts) = disk.parts(path) else { return missing(path) };
                for part in parts {
                    match part {
                        Part::LeafKey(leaf, _) | Part::Leaf(leaf, _) if kept.leaves.contains(leaf) => {
                            held = held.union(Generations::OLD);
                        }
                        Part::LeafKey(_, generation)
                        | Part::PublicKey(_, generation)
                        | Part::Leaf(_, generation) => {
                            held = held.union(Generations::one(*generation));
                        }
                        _ => return Loaded::Broken(format!("{path} holds something that is no key")),
                    }
                }
            }
            Loaded::Value(Value::Holds(held), None)
        }
        From::Issuer { certificate, key } => match (disk.parts(certificate), disk.parts(key)) {
            (Some(certificates), Some(key)) => issuer(kept, certificates, key, certificate),
            (None, _) => missing(certificate),
            (_, None) => missing(key),
        },
        From::KubeconfigRoots(path) => match disk.resolve(path) {
            Some(Content::Kubeconfig { roots: parts, .. } | Content::KubeconfigRoots(parts)) => {
                roots(parts, TrustDomain::Cluster, path)
            }
            _ => missing(path),
        },
        From::Requested { own, kubeconfig } => {
            let loaded = match disk.parts(own) {
                Some(parts) => pair(kept, parts, &[], TrustDomain::Cluster, own),
                None => load(disk, &From::KubeconfigClient(kubeconfig.clone())),
            };
            // Whose leaf it is differs between the two.
            match loaded {
                Loaded::Value(value, _) => Loaded::Value(value, None),
                other => other,
            }
        }
        From::KubeconfigClient(path) => match disk.resolve(path) {
            Some(Content::Kubeconfig { chain, key, .. }) => {
                pair(kept, chain, std::slice::from_ref(key), TrustDomain::Cluster, path)
            }
            _ => missing(path),
        },
    }
}

fn roots(parts: &[Part], domain: TrustDomain, path: &str) -> Loaded {
    if parts.iter().any(|part| !matches!(part, Part::Ca(of, _) if *of == domain)) {
        return Loaded::Broken(format!("{path} holds something that is no CA of the {domain} domain"));
    }
    match Generations::of_roots(parts, domain) {
        Generations::NONE => Loaded::Broken(format!("{path} holds no CA")),
        held => Loaded::Value(Value::Holds(held), None),
    }
}

fn pair(kept: &KeptKeys, chain: &[Part], key: &[Part], domain: TrustDomain, path: &str) -> Loaded {
    let Some((Part::Leaf(leaf, generation), rest)) = chain.split_first() else {
        return Loaded::Broken(format!("{path} does not begin with a leaf"));
    };
    // kubelet keeps certificate and key in one file.
    let (rest, key) = match rest.split_last() {
        Some((Part::LeafKey(of, key), rest)) => (rest, (of, *key)),
        _ => match key {
            [Part::LeafKey(of, key)] => (rest, (of, *key)),
            _ => return Loaded::Broken(format!("the key beside {path} is none")),
        },
    };
    let form = match rest {
        [] => ChainForm::Bare,
        [Part::Cross(of)] if *of == domain => ChainForm::WithCross,
        _ => return Loaded::Broken(format!("{path} holds more than a leaf and a cross certificate")),
    };
    if key.0 != leaf || (key.1 != *generation && !kept.leaves.contains(leaf)) {
        return Loaded::Torn;
    }
    Loaded::Value(Value::Presents(Presented::new(*generation, form)), Some(leaf.clone()))
}

/// The controller manager's signer takes exactly one certificate: with two it logs "expected 1 certificate, found 2" and
/// leaves requests unsigned (`pkg/controller/certificates/signer/ca_provider.go`, Kubernetes 1.20 to 1.36).
fn issuer(kept: &KeptKeys, certificates: &[Part], key: &[Part], path: &str) -> Loaded {
    match (certificates, key) {
        ([Part::Ca(TrustDomain::Cluster, certificate)], [Part::CaKey(TrustDomain::Cluster, key)]) => {
            if certificate == key || kept.authorities.contains(&TrustDomain::Cluster) {
                Loaded::Value(Value::Holds(Generations::one(*certificate)), None)
            } else {
                Loaded::Torn
            }
        }
        ([_], _) => Loaded::Broken(format!("{path} and its key are no CA")),
        (many, _) => Loaded::Broken(format!(
            "{path} holds {} certificates, and the signer wants exactly one",
            many.len()
        )),
    }
}

/// A cluster, as far as it decides where its processes read what from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits<'a> {
    pub(super) layout: Layout,
    pub(super) version: KubernetesVersion,
    /// The administrator's kubeconfig on control planes.
    pub(super) admin_kubeconfig: &'a str,
}

/// Where a process on a node reads what from. `disk` shows what a kubelet has of its own; `text` is the manifest, or the
/// unit's environment file.
pub(super) fn sources(kind: Kind, node: &Node, habits: Habits<'_>, disk: &Disk, text: &str) -> Vec<Source> {
    let Habits { layout, version, admin_kubeconfig } = habits;
    let own_client = disk.had(&kubelet_client_file(node.system));
    let flag = |name: &str| flag_values(text, name).last().map(|value| (*value).to_owned());
    let mut found = Found(Vec::new());
    match kind {
        Kind::Component(Component::ApiServer) => apiserver(&mut found, text, habits),
        Kind::Component(Component::ControllerManager) => {
            found.roots(Slot::PublishedCa, TrustDomain::Cluster, flag("root-ca-file"), Reload::AtStart);
            // Both are empty where the CA's key is kept elsewhere (kubeadm's external CA mode): then it signs nothing.
            let named = |name: &str| flag(name).filter(|path| !path.is_empty());
            if let (Some(certificate), Some(key)) =
                (named("cluster-signing-cert-file"), named("cluster-signing-key-file"))
            {
                found.add(Slot::Issuer, From::Issuer { certificate, key }, Reload::Later);
            }
            if let Some(key) = flag("service-account-private-key-file") {
                found.add(Slot::TokenSigner, From::Keys(vec![key]), Reload::AtStart);
            }
            found.kubeconfig_of(Component::ControllerManager, node, layout);
        }
        Kind::Component(Component::Kubelet | Component::KubeProxy)
            if node.system == OperatingSystem::Windows =>
        {
            let own_client = own_client && kind == Kind::Component(Component::Kubelet);
            found.windows_agent(own_client);
            if kind == Kind::Component(Component::Kubelet) {
                let base = windows::KUBELET_SERVING;
                let (certificate, key) = (format!("{base}.crt"), format!("{base}.key"));
                let domain = TrustDomain::Cluster;
                // It is the kubelet's own to make; that it is read again while it runs is nowhere promised.
                found.pair(Slot::Serving, domain, Some(certificate), Some(key), Reload::AtStart);
                found.roots(Slot::ClientCa, domain, Some(windows::ROOTS.to_owned()), Reload::Later);
            }
        }
        Kind::Component(component @ (Component::Scheduler | Component::KubeProxy)) => {
            found.kubeconfig_of(component, node, layout);
        }
        Kind::Component(Component::Etcd) => {
            let (server, peer) = (layout.etcd_server(node), layout.etcd_peer(node));
            let or = |name: &str, file: String| Some(flag(name).unwrap_or(file));
            let (certificate, key) = (or("cert-file", server.certificate()), or("key-file", server.key()));
            found.pair(Slot::Serving, server.domain, certificate, key, Reload::Later);
            let certificate = or("peer-cert-file", peer.certificate());
            found.pair(Slot::Peer, peer.domain, certificate, or("peer-key-file", peer.key()), Reload::Later);
            let trusted = or("trusted-ca-file", layout.etcd_ca());
            found.roots(Slot::ClientCa, server.domain, trusted, Reload::AtStart);
            let peers = or("peer-trusted-ca-file", layout.etcd_ca());
            found.roots(Slot::PeerCa, peer.domain, peers, Reload::AtStart);
        }
        Kind::Component(Component::Kubelet) if layout == Layout::Kubeadm => {
            let domain = TrustDomain::Cluster;
            found.roots(Slot::ClientCa, domain, Some(layout.roots_file(node.system)), Reload::Later);
            let kubeconfig = layout.kubelet_kubeconfig().unwrap_or_default().to_owned();
            found.add(Slot::ApiRoots, From::KubeconfigRoots(kubeconfig), Reload::AtStart);
            let own = Some(kubelet_client_link());
            found.pair(Slot::ApiClient, domain, own.clone(), own, Reload::AtStart);
            // What it has made itself is of no CA, and nobody verifies it.
            let asked = Some(kubelet_server_link()).filter(|link| disk.had(link));
            found.pair(Slot::Serving, domain, asked.clone(), asked, Reload::AtStart);
        }
        Kind::Component(Component::Kubelet) => {
            let at = |file: &str| Some(certificate_file(file));
            let (domain, reload) = (TrustDomain::Cluster, Reload::AtStart);
            // On by default from 1.31: ReloadKubeletServerCertificateFile.
            let serving = if version.at_least(31) { Reload::Later } else { reload };
            found.pair(Slot::Serving, domain, at("kubeletserver.crt"), at("kubeletserver.key"), serving);
            found.roots(Slot::ClientCa, domain, at("ca.crt"), Reload::Later);
            found.roots(Slot::ApiRoots, domain, at("ca.crt"), reload);
            // A kubelet that rotates its own certificate takes that; otherwise the shared one of its kubeconfig.
            let (certificate, key) = if own_client {
                (Some(kubelet_client_link()), Some(kubelet_client_link()))
            } else {
                (at("client.crt"), at("client.key"))
            };
            found.pair(Slot::ApiClient, domain, certificate, key, reload);
        }
        Kind::Administrator => {
            let path = admin_kubeconfig.to_owned();
            found.add(Slot::ApiRoots, From::KubeconfigRoots(path.clone()), Reload::Always);
            found.add(Slot::ApiClient, From::KubeconfigClient(path), Reload::Always);
        }
    }
    found.0
}

fn apiserver(found: &mut Found, text: &str, habits: Habits<'_>) {
    let (version, etcd) = (habits.version, habits.layout.etcd_domain());
    let flag = |name: &str| flag_values(text, name).last().map(|value| (*value).to_owned());
    let cluster = TrustDomain::Cluster;
    found.pair(Slot::Serving, cluster, flag("tls-cert-file"), flag("tls-private-key-file"), Reload::Later);
    found.roots(Slot::ClientCa, cluster, flag("client-ca-file"), Reload::Later);
    let header = flag("requestheader-client-ca-file");
    found.roots(Slot::RequestHeaderCa, TrustDomain::FrontProxy, header, Reload::Later);
    let (certificate, key) = (flag("proxy-client-cert-file"), flag("proxy-client-key-file"));
    found.pair(Slot::ProxyClient, TrustDomain::FrontProxy, certificate, key, Reload::Later);
    found.roots(Slot::EtcdCa, etcd, flag("etcd-cafile"), Reload::AtStart);
    found.pair(Slot::EtcdClient, etcd, flag("etcd-certfile"), flag("etcd-keyfile"), Reload::Later);
    // Before 1.25 the transport to kubelets keeps the pair of its first connection (kubernetes/kubernetes#114588).
    let reload = if version.at_least(25) { Reload::Later } else { Reload::AtStart };
    let (certificate, key) = (flag("kubelet-client-certificate"), flag("kubelet-client-key"));
    found.pair(Slot::KubeletClient, cluster, certificate, key, reload);
    found.roots(Slot::KubeletCa, cluster, flag("kubelet-certificate-authority"), Reload::AtStart);
    let keys: Vec<String> =
        flag_values(text, "service-account-key-file").into_iter().map(ToOwned::to_owned).collect();
    // Without the flag the serving key verifies tokens (`pkg/kubeapiserver/options/authentication.go`, Complete).
    let keys = if keys.is_empty() { flag("tls-private-key-file").into_iter().collect() } else { keys };
    found.add(Slot::TokenKeys, From::Keys(keys), Reload::AtStart);
    if let Some(key) = flag("service-account-signing-key-file") {
        found.add(Slot::TokenSigner, From::Keys(vec![key]), Reload::AtStart);
    }
}

/// Collects the slots of a process; what its flags do not name it does not hold.
struct Found(Vec<Source>);

impl Found {
    fn add(&mut self, slot: Slot, from: From, reload: Reload) {
        self.0.push(Source { slot, from, reload });
    }

    fn roots(&mut self, slot: Slot, domain: TrustDomain, path: Option<String>, reload: Reload) {
        if let Some(path) = path {
            self.add(slot, From::Roots(domain, path), reload);
        }
    }

    fn pair(
        &mut self,
        slot: Slot,
        domain: TrustDomain,
        certificate: Option<String>,
        key: Option<String>,
        reload: Reload,
    ) {
        if let (Some(certificate), Some(key)) = (certificate, key) {
            self.add(slot, From::Pair { domain, certificate, key }, reload);
        }
    }

    /// The kubeconfig of a Windows agent holds its credentials itself, and nothing reads it again.
    fn windows_agent(&mut self, own_client: bool) {
        let kubeconfig = windows::KUBECONFIG.to_owned();
        self.add(Slot::ApiRoots, From::KubeconfigRoots(kubeconfig.clone()), Reload::AtStart);
        let client = if own_client {
            From::Requested { own: windows::KUBELET_CLIENT.to_owned(), kubeconfig }
        } else {
            From::KubeconfigClient(kubeconfig)
        };
        self.add(Slot::ApiClient, client, Reload::AtStart);
    }

    /// The kubeconfig of a component. kubeadm's hold their credentials themselves, and nothing reads them again.
    fn kubeconfig_of(&mut self, component: Component, node: &Node, layout: Layout) {
        if layout == Layout::AksEngine {
            return self.kubeconfig();
        }
        let own = layout.kubeconfigs(node, "").into_iter().find(|own| own.reader == Some(component));
        if let Some(own) = own {
            self.add(Slot::ApiRoots, From::KubeconfigRoots(own.path.clone()), Reload::AtStart);
            self.add(Slot::ApiClient, From::KubeconfigClient(own.path), Reload::AtStart);
        }
    }

    /// AKS engine's `/var/lib/kubelet/kubeconfig` names its files by path. The CA is read at start (client-go re-reads
    /// it from 1.36 on only, `transport/ca_rotation.go`), the pair within five minutes (`transport/cert_rotation.go`).
    fn kubeconfig(&mut self) {
        let at = |file: &str| Some(certificate_file(file));
        self.roots(Slot::ApiRoots, TrustDomain::Cluster, at("ca.crt"), Reload::AtStart);
        self.pair(Slot::ApiClient, TrustDomain::Cluster, at("client.crt"), at("client.key"), Reload::Later);
    }
}

/// The generation of a token's signer, as a value.
pub(super) const fn signed_with(generation: Generation) -> Value {
    Value::Holds(Generations::one(generation))
}
