//! What each process reads, and when: the reload matrix as data.

use std::collections::BTreeMap;
use std::time::Duration;

use kubecert_core::layout::{self, certificate_file, manifest_file, windows};
use kubecert_core::manifest::flag_values;
use kubecert_core::model::{Component, KubernetesVersion, Role};
use kubecert_pki::{Certificate, Fingerprint};

use crate::certs::{BundleId, Material, Store};
use crate::files::Disk;

/// What a process uses some material for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Slot {
    /// Its leaf as a server.
    Serving,
    /// The CAs of its clients.
    ClientCa,
    /// An API server: the CAs of front proxies.
    RequestHeaderCa,
    /// An API server: its leaf towards aggregated API servers.
    ProxyClient,
    /// An API server: its leaf towards etcd.
    EtcdClient,
    /// An API server: the CAs of etcd.
    EtcdCa,
    /// An API server: its leaf towards kubelets.
    KubeletClient,
    /// An API server: keys whose tokens it accepts.
    TokenVerify,
    /// Key that signs tokens.
    TokenSign,
    /// etcd: its leaf towards its peers, as server and as client.
    Peer,
    /// etcd: the CAs of its peers.
    PeerCa,
    /// The CAs of the API server.
    ServerCa,
    /// Its leaf as a client of the API server.
    Client,
    /// The controller manager: what it publishes.
    RootCa,
    /// The controller manager: the CA with which it signs requests.
    Signer,
}

/// When a process looks at its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loading {
    /// Once.
    AtStart,
    /// For each connection.
    PerHandshake,
    /// As soon as it is told of a change.
    Watched,
    /// Every so often, counted from its start.
    Polled(Duration),
}

/// What kind of thing the files make up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Certificates that are trusted.
    Roots,
    /// A chain and its key, which must fit.
    Pair,
    /// A CA, exactly one certificate, and its key (T17).
    Signer,
    /// Keys.
    Keys,
    /// The certificates of CAs in a kubeconfig.
    KubeconfigRoots,
    /// The client certificate in a kubeconfig, with its key.
    KubeconfigPair,
}

/// Where a process gets something from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) slot: Slot,
    pub(crate) files: Vec<String>,
    pub(crate) shape: Shape,
    pub(crate) loading: Loading,
}

/// Why something cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoadError(pub(crate) String);

/// A running process.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) started: Duration,
    /// The text that it was started with: manifest, environment file.
    pub(crate) definition: String,
    pub(crate) sources: Vec<Source>,
    pub(crate) memory: BTreeMap<Slot, Material>,
    /// The client CAs as they were at its start, which a kubelet goes on to advertise before 1.36.
    pub(crate) first_client_ca: Material,
    /// A controller manager: the key that signed its controllers' tokens.
    pub(crate) controllers: Option<Fingerprint>,
}

/// How long fsnotify takes to reach a component's own queue, a little generously.
pub(crate) const WATCH_DELAY: Duration = Duration::from_millis(300);
/// How often API servers and kubelets look at files before Kubernetes 1.23, which brought fsnotify (commit 0737519ac).
const POLL: Duration = Duration::from_secs(60);
/// `CertCallbackRefreshDuration` of client-go's `transport/cert_rotation.go`.
const CLIENT_POLL: Duration = Duration::from_secs(300);

/// The file that starts a component: its manifest, or its unit's environment file.
pub(crate) fn definition_file(component: Component) -> String {
    match component {
        Component::Etcd => "/etc/default/etcd".to_owned(),
        Component::Kubelet => "/etc/default/kubelet".to_owned(),
        Component::ApiServer | Component::ControllerManager | Component::Scheduler | Component::KubeProxy => {
            manifest_file(component)
        }
    }
}

/// The components whose processes run on a node of that role; kube-proxy is a pod.
pub(crate) const fn components(role: Role) -> &'static [Component] {
    match role {
        Role::ControlPlane => &[
            Component::Etcd,
            Component::ApiServer,
            Component::ControllerManager,
            Component::Scheduler,
            Component::Kubelet,
        ],
        Role::Agent => &[Component::Kubelet],
    }
}

/// Whether a component is a static pod.
pub(crate) const fn is_static_pod(component: Component) -> bool {
    matches!(component, Component::ApiServer | Component::ControllerManager | Component::Scheduler)
}

/// What a component that is started with `definition` reads.
pub(crate) fn sources(
    component: Component,
    definition: &str,
    version: KubernetesVersion,
    disk: &Disk,
) -> Vec<Source> {
    let watched = if version.at_least(23) { Loading::Watched } else { Loading::Polled(POLL) };
    let client = if version.at_least(19) { Loading::Polled(CLIENT_POLL) } else { Loading::AtStart };
    if component == Component::Kubelet && disk.entry(windows::KUBECONFIG).is_some() {
        return windows_kubelet(disk, watched);
    }
    let mut found = Vec::new();
    let mut add = |slot, flags: &[&str], shape, loading| {
        let files: Vec<String> =
            flags.iter().flat_map(|flag| flag_values(definition, flag)).map(str::to_owned).collect();
        if !files.is_empty() {
            found.push(Source { slot, files, shape, loading });
        }
    };
    match component {
        Component::ApiServer => {
            let kubelet = if version.at_least(25) { client } else { Loading::AtStart };
            add(Slot::Serving, &["tls-cert-file", "tls-private-key-file"], Shape::Pair, watched);
            add(Slot::ClientCa, &["client-ca-file"], Shape::Roots, watched);
            add(Slot::RequestHeaderCa, &["requestheader-client-ca-file"], Shape::Roots, watched);
            add(
                Slot::ProxyClient,
                &["proxy-client-cert-file", "proxy-client-key-file"],
                Shape::Pair,
                watched,
            );
            add(Slot::EtcdClient, &["etcd-certfile", "etcd-keyfile"], Shape::Pair, Loading::PerHandshake);
            add(Slot::EtcdCa, &["etcd-cafile"], Shape::Roots, Loading::AtStart);
            add(
                Slot::KubeletClient,
                &["kubelet-client-certificate", "kubelet-client-key"],
                Shape::Pair,
                kubelet,
            );
            add(Slot::TokenVerify, &["service-account-key-file"], Shape::Keys, Loading::AtStart);
            add(Slot::TokenSign, &["service-account-signing-key-file"], Shape::Keys, Loading::AtStart);
        }
        Component::ControllerManager => {
            add(Slot::RootCa, &["root-ca-file"], Shape::Roots, Loading::AtStart);
            add(
                Slot::Signer,
                &["cluster-signing-cert-file", "cluster-signing-key-file"],
                Shape::Signer,
                watched,
            );
            add(Slot::TokenSign, &["service-account-private-key-file"], Shape::Keys, Loading::AtStart);
        }
        Component::Kubelet => {
            // ReloadKubeletServerCertificateFile is on by default since 1.31.
            let serving = if version.at_least(31) { watched } else { Loading::AtStart };
            add(Slot::ClientCa, &["client-ca-file"], Shape::Roots, watched);
            add(Slot::Serving, &["tls-cert-file", "tls-private-key-file"], Shape::Pair, serving);
        }
        Component::Etcd => {
            add(Slot::Serving, &["cert-file", "key-file"], Shape::Pair, Loading::PerHandshake);
            add(Slot::Peer, &["peer-cert-file", "peer-key-file"], Shape::Pair, Loading::PerHandshake);
            add(Slot::ClientCa, &["trusted-ca-file"], Shape::Roots, Loading::AtStart);
            add(Slot::PeerCa, &["peer-trusted-ca-file"], Shape::Roots, Loading::AtStart);
        }
        Component::Scheduler | Component::KubeProxy => {}
    }
    if component != Component::Etcd && component != Component::ApiServer {
        found.push(Source {
            slot: Slot::ServerCa,
            files: vec![certificate_file("ca.crt")],
            shape: Shape::Roots,
            // Also in 1.36 kubelet bakes its roots in; the others come to reload theirs.
            loading: match component {
                Component::Kubelet => Loading::AtStart,
                _ if version.at_least(36) => client,
                _ => Loading::AtStart,
            },
        });
        let own = layout::kubelet_client_link();
        let (files, loading) = match component {
            // Kubelet's certificate manager keeps what it found at its start (T32).
            Component::Kubelet if disk.follow(&own).is_some() => (vec![own], Loading::AtStart),
            _ => (vec![certificate_file("client.crt"), certificate_file("client.key")], client),
        };
        found.push(Source { slot: Slot::Client, files, shape: Shape::Pair, loading });
    }
    found
}

/// What the kubelet of a Windows agent reads: its kubeconfig holds its credentials.
fn windows_kubelet(disk: &Disk, watched: Loading) -> Vec<Source> {
    let source = |slot, files: &[&str], shape, loading| {
        let files = files.iter().map(|file| (*file).to_owned()).collect();
        Source { slot, files, shape, loading }
    };
    let kubeconfig = [windows::KUBECONFIG];
    let base = windows::KUBELET_SERVING;
    let serving = [format!("{base}.crt"), format!("{base}.key")];
    let own = disk.follow(windows::KUBELET_CLIENT).is_some();
    vec![
        source(Slot::ClientCa, &[windows::ROOTS], Shape::Roots, watched),
        Source {
            slot: Slot::Serving,
            files: serving.to_vec(),
            shape: Shape::Pair,
            loading: Loading::AtStart,
        },
        source(Slot::ServerCa, &kubeconfig, Shape::KubeconfigRoots, Loading::AtStart),
        if own {
            source(Slot::Client, &[windows::KUBELET_CLIENT], Shape::Pair, Loading::AtStart)
        } else {
            source(Slot::Client, &kubeconfig, Shape::KubeconfigPair, Loading::AtStart)
        },
    ]
}

/// Reads a source from disk.
pub(crate) fn load(source: &Source, disk: &Disk, store: &mut Store) -> Result<Material, LoadError> {
    let mut loaded = Material::empty();
    let mut parts = Vec::with_capacity(source.files.len());
    for path in &source.files {
        let (bytes, digest) = disk.known(path).ok_or_else(|| LoadError(format!("{path} is not there")))?;
        let part = store.parse(bytes, digest);
        if part.certificates != BundleId::EMPTY {
            parts.push(part.certificates);
        }
        if source.shape == Shape::Keys && part.keys.is_empty() && parts.is_empty() {
            return Err(LoadError(format!("{path} holds no key")));
        }
        loaded.keys.extend(part.keys);
    }
    let mut joined = store.join(&parts);
    if matches!(source.shape, Shape::KubeconfigRoots | Shape::KubeconfigPair) {
        let roots = source.shape == Shape::KubeconfigRoots;
        let all = store.certificates(joined).iter().map(|found| Certificate::clone(found));
        let wanted = all.filter(|found| found.is_ca() == roots).collect();
        joined = store.bundle(wanted);
    }
    let certificates = store.certificates(joined);
    if source.shape == Shape::Keys {
        loaded.keys.extend(certificates.iter().map(|found| Fingerprint::of(found.public_key().spki_der())));
        return Ok(loaded);
    }
    if certificates.is_empty() {
        return Err(LoadError(format!("{} holds no certificate", source.files.join(" and "))));
    }
    if source.shape == Shape::Signer && certificates.len() != 1 {
        return Err(LoadError(format!(
            "expected 1 certificate in {}, found {}",
            source.files.join(" and "),
            certificates.len()
        )));
    }
    loaded.certificates = joined;
    if matches!(source.shape, Shape::Pair | Shape::Signer | Shape::KubeconfigPair)
        && !loaded.keys.first().is_some_and(|key| store.fits(loaded.certificates, *key))
    {
        return Err(LoadError(format!("certificate and key in {} do not fit", source.files.join(" and "))));
    }
    Ok(loaded)
}

/// Everything that a process reads at its start.
///
/// A controller manager starts without a usable signer; all others end when something is missing.
pub(crate) fn load_all(
    sources: &[Source],
    disk: &Disk,
    store: &mut Store,
) -> Result<BTreeMap<Slot, Material>, LoadError> {
    let mut memory = BTreeMap::new();
    for source in sources.iter().filter(|source| source.loading != Loading::PerHandshake) {
        match load(source, disk, store) {
            Ok(material) => {
                memory.insert(source.slot, material);
            }
            Err(_) if source.slot == Slot::Signer => {}
            Err(error) => return Err(error),
        }
    }
    Ok(memory)
}
