//! What control planes read while two generations are about, in the cross-signed plan: files of ours, manifests that name
//! them, and what takes their place.

use super::common::{
    KUBELET_CA_FLAG, Master, Scene, cluster_ca, front_proxy_pair, of_pair, staged_authorities,
};
use crate::layout::{self, certificate_file, manifest_file};
use crate::material::{ChainForm, Content, Part, chain};
use crate::model::{Component, Generation, Layout, LeafId, Node, TrustDomain};
use crate::plan::{FileWrite, PlanError};

const OLD: Generation = Generation::Old;
const NEW: Generation = Generation::New;

/// The files that a control plane's processes read while two generations are about.
pub(super) fn files(scene: &Scene<'_>, master: &Master<'_>) -> Vec<FileWrite> {
    let leaf = scene.layout.api_server(master.node).leaf;
    let key = |generation| vec![Part::LeafKey(leaf.clone(), generation)];
    let crossed = chain(&leaf, TrustDomain::Cluster, ChainForm::WithCross);
    let mut files = vec![
        scene.staged("client-ca.crt", vec![cluster_ca(OLD), cluster_ca(NEW)], layout::public()),
        scene.staged("ca.crt", vec![cluster_ca(NEW)], layout::public()),
        scene.staged("ca.key", vec![Part::CaKey(TrustDomain::Cluster, NEW)], layout::private()),
        scene.staged("apiserver.key", key(NEW), layout::private()),
        scene.staged("apiserver.crt", crossed, layout::public()),
    ];
    if master.verifies_kubelets() {
        files.push(scene.staged(KUBELET_CA, vec![cluster_ca(OLD)], layout::public()));
    }
    if scene.tokens_change {
        if scene.layout.tokens_hang_on_tls_key() {
            files.push(scene.staged("token-old.key", key(OLD), layout::private()));
        } else {
            let pair = layout::service_account;
            let public = |generation| vec![Part::PublicKey(pair(), generation)];
            files.push(scene.staged("token-old.pub", public(OLD), layout::public()));
            files.push(scene.staged("token-new.pub", public(NEW), layout::public()));
            files.push(scene.staged("token-new.key", vec![Part::LeafKey(pair(), NEW)], layout::private()));
        }
        files.push(token_signing_key(scene, master, first_signer(scene, master)));
    }
    files.extend(staged_authorities(scene));
    files
}

/// The CA by which API servers verify kubelets until their last visit: the old one vouches for what kubelets have and, by
/// the cross certificate, for what they come to have.
const KUBELET_CA: &str = "kubelet-ca.crt";

/// The key that an API server signs tokens with, in a file of its own: when it changes, the manifest does not, and the
/// kubelet starts a process that has ended again at once where it would take its time over another manifest.
pub(super) const TOKEN_SIGNING_KEY: &str = "token-signing.key";

pub(super) fn token_signing_key(scene: &Scene<'_>, master: &Master<'_>, signer: Generation) -> FileWrite {
    let key = Part::LeafKey(token_key(scene, master), signer);
    scene.staged(TOKEN_SIGNING_KEY, vec![key], layout::private())
}

/// Whose key signs tokens.
pub(super) fn token_key(scene: &Scene<'_>, master: &Master<'_>) -> LeafId {
    if scene.layout.tokens_hang_on_tls_key() {
        scene.layout.api_server(master.node).leaf
    } else {
        layout::service_account()
    }
}

/// Which key an API server signs tokens with after its first visit: the old one, but for the last one visited. All the
/// others accept tokens of both keys by then.
fn first_signer(scene: &Scene<'_>, master: &Master<'_>) -> Generation {
    let last = scene.masters.last().is_some_and(|last| last.node.name == master.node.name);
    if last { NEW } else { OLD }
}

/// The API server's manifest while two generations are about: everything that the run changes is read from the
/// transition directory, so that files at their usual places can change without being read in between.
pub(super) fn api_server_manifest(scene: &Scene<'_>, master: &Master<'_>) -> Result<Content, PlanError> {
    let at = |name| scene.layout.transition_file(name);
    let mut flags: Vec<(&str, &[String])> = Vec::new();
    let (client_ca, certificate, key) = ([at("client-ca.crt")], [at("apiserver.crt")], [at("apiserver.key")]);
    flags.extend([
        ("client-ca-file", &client_ca[..]),
        ("tls-cert-file", &certificate[..]),
        ("tls-private-key-file", &key[..]),
    ]);
    let kubelet_ca = [at(KUBELET_CA)];
    flags.push((KUBELET_CA_FLAG, &kubelet_ca[..]));
    let both = match scene.layout {
        Layout::AksEngine => ["token-old.key", "apiserver.key"],
        Layout::Kubeadm => ["token-old.pub", "token-new.pub"],
    };
    let (both, signing) = (both.map(at), [at(TOKEN_SIGNING_KEY)]);
    if scene.tokens_change {
        flags.push(("service-account-key-file", &both[..]));
        flags.push(("service-account-signing-key-file", &signing[..]));
    }
    master.apiserver_manifest(&flags)
}

/// The controller manager's manifest while it publishes and issues with the new CA, and its files do not hold that yet.
pub(super) fn issuing_manifest(scene: &Scene<'_>, master: &Master<'_>) -> Result<Content, PlanError> {
    let at = |name| [scene.layout.transition_file(name)];
    let token = match scene.layout {
        Layout::AksEngine => at("apiserver.key"),
        Layout::Kubeadm => at("token-new.key"),
    };
    let (certificate, key) = (at("ca.crt"), at("ca.key"));
    let mut flags: Vec<(&str, &[String])> = vec![
        ("root-ca-file", &certificate[..]),
        ("cluster-signing-cert-file", &certificate[..]),
        ("cluster-signing-key-file", &key[..]),
    ];
    if scene.tokens_change {
        flags.push(("service-account-private-key-file", &token[..]));
    }
    master.controller_manager_manifest(&flags)
}

/// Who reads a kubeconfig.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// This component.
    Component(Component),
    /// Another one, or people.
    Other(Component),
}

/// The kubeconfigs of a control plane for a reader, in the new generation. AKS engine's components have none that holds
/// its credentials.
pub(super) fn kubeconfigs(scene: &Scene<'_>, node: &Node, reader: Reader) -> Vec<FileWrite> {
    let wanted = |own: &layout::Kubeconfig| match reader {
        Reader::Component(component) => own.reader == Some(component),
        Reader::Other(component) => own.reader != Some(component),
    };
    scene.kubeconfigs(node).into_iter().filter(wanted).map(|own| scene.new_kubeconfig(own)).collect()
}

/// What changes on a control plane when its trust and its issuing move over.
pub(super) fn control_plane_files(scene: &Scene<'_>, master: &Master<'_>) -> Vec<FileWrite> {
    let mut files = scene.kubelet_files(master.node, vec![cluster_ca(NEW)]);
    let (trusted, key) = scene.layout.authority(TrustDomain::Cluster);
    let keys = scene.authority_files(master.node, TrustDomain::Cluster);
    files.extend(keys.into_iter().filter(|file| file.path != trusted && Some(&file.path) == key.as_ref()));
    if scene.layout.etcd_domain() == TrustDomain::Etcd {
        files.extend(scene.authority_files(master.node, TrustDomain::Etcd));
    }
    if scene.front_proxy_ca().is_some() {
        files.extend(front_proxy_pair(scene, master.node));
        // The CA itself was extended, and shrinks last.
        let (trusted, _) = scene.layout.authority(TrustDomain::FrontProxy);
        let keys = scene.authority_files(master.node, TrustDomain::FrontProxy);
        files.extend(keys.into_iter().filter(|file| file.path != trusted));
    }
    files.extend(kubeconfigs(scene, master.node, Reader::Other(Component::ControllerManager)));
    files
}

/// What a component of a control plane reads at its start only, among what the phase *switch* changes.
pub(super) fn read_at_start(scene: &Scene<'_>, master: &Master<'_>, component: Component) -> Vec<String> {
    let aks_engine = scene.layout == Layout::AksEngine;
    let own = scene.kubeconfigs(master.node).into_iter().filter(|own| own.reader == Some(component));
    let mut files: Vec<String> = own.map(|own| own.path).collect();
    match component {
        Component::ApiServer => {
            files.push(manifest_file(component));
            if scene.tokens_change {
                files.push(scene.layout.transition_file(TOKEN_SIGNING_KEY));
            }
        }
        Component::ControllerManager => {
            files.extend([manifest_file(component), scene.layout.authority(TrustDomain::Cluster).0]);
            files.extend(token_file(scene, master));
        }
        _ if aks_engine => files.extend([certificate_file("ca.crt"), certificate_file("client.crt")]),
        _ => {}
    }
    files
}

/// The file of the key with which controller managers sign tokens, at its usual place; `None` where it stays.
pub(super) fn token_file(scene: &Scene<'_>, master: &Master<'_>) -> Option<String> {
    let path = match scene.layout {
        Layout::AksEngine => scene.layout.api_server(master.node).key(),
        Layout::Kubeadm => format!("{}.key", layout::kubeadm::SERVICE_ACCOUNT),
    };
    scene.tokens_change.then_some(path)
}

/// What comes to its usual place once nobody reads it any more: the serving certificate, and the keys of tokens.
pub(super) fn settled_files(scene: &Scene<'_>, master: &Master<'_>) -> Vec<FileWrite> {
    let mut files = of_pair(&scene.layout.api_server(master.node), ChainForm::Bare).to_vec();
    if !scene.key_pairs().is_empty() {
        let (base, pair) = (layout::kubeadm::SERVICE_ACCOUNT, layout::service_account);
        let write = |ending: &str, part| FileWrite {
            path: format!("{base}.{ending}"),
            content: Content::one(part),
            access: None,
        };
        files.push(write("key", Part::LeafKey(pair(), NEW)));
        files.push(write("pub", Part::PublicKey(pair(), NEW)));
    }
    files
}
