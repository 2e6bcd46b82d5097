//! What kubelets read, in the new generation, and how it comes into force.

use super::builder::PhaseBuilder;
use super::common::{Scene, pair};
use super::windows;
use crate::inventory::{CertificateFacts, Server};
use crate::layout::{self, certificate_file};
use crate::material::{ChainForm, Content, Part, chain};
use crate::model::{Component, Generation, Layout, LeafId, Node, NodeName, OperatingSystem, TrustDomain};
use crate::plan::{Action, FileWrite, Predicate, StepId, Target};

impl<'a> Scene<'a> {
    /// Whether a kubelet has a client certificate of its own, rather than the shared one only.
    pub(super) fn has_kubelet_client(&self, node: &NodeName) -> bool {
        let system = self.inventory.cluster.node(node).map_or(OperatingSystem::Linux, |node| node.system);
        self.facts(node).is_some_and(|facts| facts.file(&layout::kubelet_client_file(system)).is_some())
    }

    /// The serving certificate that a kubelet has asked the cluster for, where the cluster CA signed it. Of another CA it is
    /// the business of whoever runs that.
    pub(super) fn kubelet_server(&self, node: &NodeName) -> Option<&'a CertificateFacts> {
        let ca = self.inventory.current_ca().map(|ca| &ca.fingerprint);
        let file = self.facts(node)?.file(&layout::kubelet_server_link())?;
        let ours = |leaf: &CertificateFacts| leaf.signed_by.is_some() && leaf.signed_by.as_ref() == ca;
        file.certificates.first().filter(|leaf| self.left_behind || ours(leaf))
    }

    /// Whose leaf a kubelet presents, where that is not its own business.
    pub(super) fn kubelet_serving(&self, node: &Node) -> Option<LeafId> {
        let asked = || self.kubelet_server(&node.name).map(|_| layout::kubelet_server(&node.name));
        self.layout.kubelet_serving(node).map(|pair| pair.leaf).or_else(asked)
    }

    /// The files of kubelet on a node in the new generation, its trust being `roots`.
    pub(super) fn kubelet_files(&self, node: &Node, roots: Vec<Part>) -> Vec<FileWrite> {
        let mut files = Vec::new();
        if node.system == OperatingSystem::Windows {
            files.extend(windows::serving(&node.name));
            files.push(windows::kubeconfig(roots.clone(), Generation::New));
            files.push(FileWrite {
                path: layout::roots_file(node.system),
                content: Content::Parts(roots),
                access: None,
            });
            return files;
        }
        if let Some(serving) = self.layout.kubelet_serving(node) {
            files.extend(pair(&serving.leaf, ChainForm::Bare, &serving.base));
        }
        let master = self.masters.iter().any(|master| master.node.name == node.name);
        if self.layout == Layout::AksEngine && !master {
            files.extend(pair(&LeafId::from("client"), ChainForm::Bare, &certificate_file("client")));
        }
        if self.has_kubelet_client(&node.name) {
            files.extend(self.kubelet_client_files(node));
        }
        files.extend(self.kubelet_server_files(node));
        if let Some(path) = self.layout.kubelet_kubeconfig() {
            let content = Content::KubeconfigRoots(roots.clone());
            files.push(FileWrite { path: path.to_owned(), content, access: None });
        }
        let path = self.layout.roots_file(node.system);
        files.push(FileWrite { path, content: Content::Parts(roots), access: None });
        files
    }

    /// A kubelet's own new client certificate, and the link to it.
    pub(super) fn kubelet_client_files(&self, node: &Node) -> [FileWrite; 2] {
        let leaf = layout::kubelet_client(&node.name);
        [
            kept_by_kubelet(leaf, ChainForm::Bare, self.kubelet_client_file()),
            linked(layout::kubelet_client_link(), self.kubelet_client_file()),
        ]
    }

    /// A kubelet's new serving certificate and the link to it, where it has asked the cluster for the present one.
    pub(super) fn kubelet_server_files(&self, node: &Node) -> Vec<FileWrite> {
        if self.kubelet_server(&node.name).is_none() {
            return Vec::new();
        }
        let leaf = layout::kubelet_server(&node.name);
        let pem = kept_by_kubelet(leaf, self.kubelets_present, self.kubelet_server_file());
        vec![pem, linked(layout::kubelet_server_link(), self.kubelet_server_file())]
    }

    /// What a kubelet is to make anew at its start: its own client certificate, where it has one and asks for another.
    pub(super) fn forgotten(&self, node: &Node) -> Vec<String> {
        let asks = node.system == OperatingSystem::Windows && self.has_kubelet_client(&node.name);
        asks.then(|| layout::kubelet_client_file(node.system)).into_iter().collect()
    }

    /// Where kubelet's new client certificate goes, named as kubelet itself would.
    pub(super) fn kubelet_client_file(&self) -> String {
        format!("{}/kubelet-client-{}.pem", layout::KUBELET_PKI, self.naming.stamp)
    }

    /// Where kubelet's new serving certificate goes, named as kubelet itself would.
    pub(super) fn kubelet_server_file(&self) -> String {
        format!("{}/kubelet-server-{}.pem", layout::KUBELET_PKI, self.naming.stamp)
    }

    /// Files that kubelet reads at its start only, so that its process must be younger.
    pub(super) fn kubelet_start_files(&self, node: &Node) -> Vec<String> {
        let mut files = self.layout.kubelet_roots(node.system);
        files.extend(self.layout.kubelet_serving(node).map(|serving| serving.certificate()));
        if self.has_kubelet_client(&node.name) && node.system == OperatingSystem::Linux {
            files.push(self.kubelet_client_file());
        }
        files.extend(self.kubelet_server(&node.name).map(|_| self.kubelet_server_file()));
        files
    }
}

/// Restarts a kubelet and waits until it serves with its new files.
pub(super) fn restart_kubelet(
    scene: &Scene<'_>,
    phase: &mut PhaseBuilder<'_>,
    node: &Node,
    after: impl IntoIterator<Item = StepId>,
) -> StepId {
    let on = Target::Node(node.name.clone());
    let forgotten = scene.forgotten(node);
    let mut predicates = vec![
        Predicate::StartedAfter {
            node: node.name.clone(),
            component: Component::Kubelet,
            files: scene.kubelet_start_files(node),
        },
        Predicate::NodeReady { node: node.name.clone() },
    ];
    predicates.extend(kubelet_presents(scene, node));
    if !forgotten.is_empty() {
        predicates.push(windows::holds_new_client(node));
    }
    let restarted = match node.system {
        OperatingSystem::Windows => windows::restart(phase, node, forgotten, after),
        OperatingSystem::Linux => {
            let unit = layout::kubelet_unit(node.system).to_owned();
            let action = Action::RestartUnit { unit, component: Component::Kubelet };
            phase.step(on.clone(), "restart kubelet", action, after)
        }
    };
    phase.step(on, "wait until the node is Ready", Action::Await { predicates }, [restarted])
}

/// What a kubelet must present, where its serving certificate is not its own business.
pub(super) fn kubelet_presents(scene: &Scene<'_>, node: &Node) -> Option<Predicate> {
    let leaf = scene.kubelet_serving(node)?;
    let by_layout = scene.layout.kubelet_serving(node).is_some();
    let form = if by_layout { ChainForm::Bare } else { scene.kubelets_present };
    Some(Predicate::Presents {
        server: Server::Kubelet(node.name.clone()),
        leaf,
        generation: Generation::New,
        form,
    })
}

/// Leaf and key in one file, as kubelet keeps its own.
fn kept_by_kubelet(leaf: LeafId, form: ChainForm, path: String) -> FileWrite {
    let mut parts = chain(&leaf, TrustDomain::Cluster, form);
    parts.push(Part::LeafKey(leaf, Generation::New));
    FileWrite { path, content: Content::Parts(parts), access: Some(layout::private()) }
}

fn linked(path: String, to: String) -> FileWrite {
    FileWrite { path, content: Content::Link(to), access: None }
}
