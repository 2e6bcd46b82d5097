//! What is different on Windows agents.
//!
//! There one kubeconfig, `c:\k\config`, holds the CA, the shared client certificate and its key for kubelet and kube-proxy
//! alike, and nothing but the kubelet's clients are verified by `c:\k\ca.crt`. The kubelet asks the cluster for a client
//! certificate of its own when it starts without one, as the ancestor lets it do, rather than being given one: its store
//! wants a symbolic link, which nothing can replace atomically there. So whoever issues must be the new CA by then. Its
//! serving certificate is one of the cluster CA afterwards, as on other nodes.
//!
//! A start of the kubelet's service runs AKS engine's kubeletstart.ps1, which makes the node's pod network anew and restarts
//! kube-proxy. No way around that is known, so that each agent is restarted as seldom as can be.

use super::builder::PhaseBuilder;
use super::common::{Scene, ca, cluster_ca, pair};
use crate::layout::windows;
use crate::material::{ChainForm, Content, Part, chain};
use crate::model::{Component, Generation, LeafId, Node, OperatingSystem, TrustDomain};
use crate::plan::{Action, FileWrite, Predicate, StepId, Target};
use crate::{layout, model::NodeName};

impl Scene<'_> {
    /// The agents of a system, in order.
    pub(super) fn agents_of(&self, system: OperatingSystem) -> Vec<&Node> {
        self.agents.iter().copied().filter(|node| node.system == system).collect()
    }
}

/// The kubeconfig of kubelet and kube-proxy. It holds a key, so that it comes to be readable by the system and by
/// administrators alone.
pub(super) fn kubeconfig(roots: Vec<Part>, identity: Generation) -> FileWrite {
    let leaf = LeafId::from("client");
    let shown = match identity {
        Generation::Old => vec![Part::Leaf(leaf.clone(), Generation::Old)],
        Generation::New => chain(&leaf, TrustDomain::Cluster, ChainForm::Bare),
    };
    let content = Content::Kubeconfig { roots, chain: shown, key: Part::LeafKey(leaf, identity) };
    FileWrite { path: windows::KUBECONFIG.to_owned(), content, access: Some(layout::private()) }
}

/// The files of the CAs that an agent trusts, with the shared client certificate of that generation.
pub(super) fn trust_files(generations: &[Generation], identity: Generation) -> Vec<FileWrite> {
    let roots: Vec<Part> = generations.iter().map(|generation| cluster_ca(*generation)).collect();
    let content = Content::Parts(roots.clone());
    vec![FileWrite { path: windows::ROOTS.to_owned(), content, access: None }, kubeconfig(roots, identity)]
}

/// A kubelet's new serving certificate. The key comes to be readable by the system and by administrators alone.
pub(super) fn serving(node: &NodeName) -> [FileWrite; 2] {
    let [key, certificate] = pair(&layout::kubelet_server(node), ChainForm::Bare, windows::KUBELET_SERVING);
    [FileWrite { access: Some(layout::private()), ..key }, certificate]
}

/// Restarts a kubelet; where `forget` names its own client certificate, it asks for another one.
pub(super) fn restart(
    phase: &mut PhaseBuilder<'_>,
    node: &Node,
    forget: Vec<String>,
    after: impl IntoIterator<Item = StepId>,
) -> StepId {
    let (unit, component) = (windows::KUBELET_SERVICE.to_owned(), Component::Kubelet);
    let (title, action) = if forget.is_empty() {
        ("restart kubelet", Action::RestartUnit { unit, component })
    } else {
        let title = "restart kubelet and let it ask for a certificate";
        (title, Action::StartAfresh { unit, component, forget })
    };
    phase.step(Target::Node(node.name.clone()), title, action, after)
}

/// That the kubelet's own client certificate is one of the new CA.
pub(super) fn holds_new_client(node: &Node) -> Predicate {
    Predicate::HoldsLeafOf {
        node: node.name.clone(),
        path: windows::KUBELET_CLIENT.to_owned(),
        ca: ca(TrustDomain::Cluster, Generation::New),
    }
}

/// What an operator has to know beforehand.
pub(super) fn notices(scene: &Scene<'_>) -> Vec<String> {
    let agents: Vec<&str> =
        scene.agents_of(OperatingSystem::Windows).into_iter().map(|node| node.name.as_str()).collect();
    if agents.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "Windows nodes {}: a start of the kubelet's service makes the node's pod network anew (AKS engine's \
         kubeletstart.ps1), so that its pods are unreachable for some seconds up to a minute; these nodes are taken in waves.",
        agents.join(", ")
    )]
}
