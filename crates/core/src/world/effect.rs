//! Actions taken apart: between any two effects of a step, the program may be killed.

use crate::inventory::{CaBundleHolder, ObjectRef, WorkloadRef};
use crate::layout::{self, Pair};
use crate::material::{ChainForm, Content, Part};
use crate::model::{
    Component, Generation, Layout, LeafId, Node, NodeName, OperatingSystem, Role, TrustDomain,
};
use crate::plan::{Action, ApiObject, Predicate, Step, Target};

use super::World;
use super::value::{Generations, Presented};

/// The smallest thing that a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A file's content changes.
    Write(NodeName, String, Content),
    /// A file or directory goes.
    Remove(NodeName, String),
    /// A manifest changes. Nothing follows from that alone: until the old process has ended it is as before, and from
    /// then on as after [`Effect::End`], so that both sides of the moment in between are looked at anyway.
    Place(NodeName, Component, String, Content),
    /// A process ends; something starts it again.
    End(NodeName, Component),
    /// A process has started.
    Start(NodeName, Component),
    /// A kubelet ends, its own client certificate goes, and the one that starts asks the cluster for another.
    Afresh(NodeName, Component, Vec<String>),
    /// New connections to a node's API server go elsewhere.
    Divert(NodeName),
    /// They go there again.
    Undivert(NodeName),
    /// A TLS Secret holds another leaf.
    TlsSecret(ObjectRef, LeafId, ChainForm),
    /// A `caBundle` holds these CAs.
    CaBundle(CaBundleHolder, Generations),
    /// All pods of a workload are new ones.
    Roll(WorkloadRef),
    /// A pod without a controller is a new one.
    Recreate(ObjectRef),
    /// The token in a Secret is a new one.
    RenewToken(ObjectRef),
    /// A TLS Secret holds the leaf again that it held when the run began.
    OldTlsSecret(ObjectRef),
    /// A token Secret holds the token again that it held when the run began.
    OldToken(ObjectRef),
    /// The API servers have written `extension-apiserver-authentication` anew.
    RebuildExtension,
    /// kubecert itself uses these from now on: CAs of the API servers, CAs of etcd, a leaf.
    Credentials(Generations, Generations, Presented),
    /// Something was waited for and seen.
    See(Predicate),
    /// Units stopped.
    Pause(NodeName, Vec<String>),
    /// Units started again.
    Resume(NodeName, Vec<String>),
    /// Something outside of what is modelled.
    Nothing,
}

impl World {
    /// The effects of a step, in order. A step that makes no sense on its target has the reason instead.
    ///
    /// # Errors
    ///
    /// Fails if an action that belongs on a node is aimed elsewhere.
    pub fn effects(step: &Step) -> Result<Vec<Effect>, String> {
        let node = || match &step.target {
            Target::Node(node) => Ok(node.clone()),
            other => Err(format!("step {} acts on a node but is aimed at {other}", step.id)),
        };
        let restart = |node: NodeName, component| {
            [Effect::End(node.clone(), component), Effect::Start(node, component)]
        };
        Ok(match &step.action {
            Action::Write { files } => {
                let node = node()?;
                files
                    .iter()
                    .map(|file| Effect::Write(node.clone(), file.path.clone(), file.content.clone()))
                    .collect()
            }
            Action::Remove { paths } => {
                let node = node()?;
                paths.iter().map(|path| Effect::Remove(node.clone(), path.clone())).collect()
            }
            Action::PauseUnits { units } => vec![Effect::Pause(node()?, units.clone())],
            Action::ResumeUnits { units } => vec![Effect::Resume(node()?, units.clone())],
            Action::Divert { .. } => vec![Effect::Divert(node()?)],
            Action::Undivert => vec![Effect::Undivert(node()?)],
            Action::ReplaceStaticPod { component, path, manifest } => {
                let node = node()?;
                let placed = Effect::Place(node.clone(), *component, path.clone(), manifest.clone());
                [placed].into_iter().chain(restart(node, *component)).collect()
            }
            Action::EndProcess { component } | Action::RestartUnit { component, .. } => {
                restart(node()?, *component).into()
            }
            Action::StartAfresh { component, forget, .. } => {
                let node = node()?;
                let afresh = Effect::Afresh(node.clone(), *component, forget.clone());
                vec![afresh, Effect::Start(node, *component)]
            }
            Action::WriteTlsSecret { secret, leaf, form } => {
                vec![Effect::TlsSecret(secret.clone(), leaf.clone(), *form)]
            }
            Action::SetCaBundle { holder, roots } => {
                vec![Effect::CaBundle(holder.clone(), Generations::of_roots(roots, TrustDomain::Cluster))]
            }
            Action::Roll { workload } => vec![Effect::Roll(workload.clone())],
            Action::RecreatePod { pod } => vec![Effect::Recreate(pod.clone())],
            Action::RenewTokenSecret { secret } => vec![Effect::RenewToken(secret.clone())],
            Action::PutBack { object } => vec![match object {
                ApiObject::TlsSecret(secret) => Effect::OldTlsSecret(secret.clone()),
                ApiObject::TokenSecret(secret) => Effect::OldToken(secret.clone()),
                ApiObject::CaBundle(holder) => Effect::CaBundle(holder.clone(), Generations::OLD),
                // Who joins takes it and shakes hands: any leaf that is presented by then fits either CA.
                ApiObject::ClusterInfo => Effect::Nothing,
                ApiObject::Workload(workload) => Effect::Roll(workload.clone()),
                ApiObject::Pod(pod) => Effect::Recreate(pod.clone()),
            }],
            Action::RebuildExtensionAuthentication => vec![Effect::RebuildExtension],
            Action::UseCredentials { roots, identity, form } => {
                let held = |domain| {
                    let of = roots.iter().filter(|ca| ca.domain == domain);
                    of.fold(Generations::NONE, |sum, ca| sum.union(Generations::one(ca.generation)))
                };
                let cluster = held(TrustDomain::Cluster);
                // Where etcd has no CA of its own, none is named.
                let etcd = match held(TrustDomain::Etcd) {
                    Generations::NONE => cluster,
                    etcd => etcd,
                };
                vec![Effect::Credentials(cluster, etcd, Presented::new(*identity, *form))]
            }
            Action::Await { predicates } => predicates.iter().cloned().map(Effect::See).collect(),
            Action::BackUp { .. }
            | Action::ReleaseLease
            | Action::YieldEtcdLeadership { .. }
            | Action::ShareFrontProxy
            | Action::PublishClusterInfo { .. }
            | Action::WriteOperatorFiles => vec![Effect::Nothing],
        })
    }

    /// The files on which a layout starts out, on a node of that role; text files and kubeconfigs apart.
    pub(super) fn original_files(layout: Layout, node: &Node, front_proxy: bool) -> Vec<(String, Content)> {
        let old = Generation::Old;
        if node.system == OperatingSystem::Windows {
            return windows_files(&node.name);
        }
        let pair = |pair: Pair| {
            let key = Content::one(Part::LeafKey(pair.leaf.clone(), old));
            [(pair.certificate(), Content::one(Part::Leaf(pair.leaf.clone(), old))), (pair.key(), key)]
        };
        let authority = |domain| {
            let (certificate, key) = layout.authority(domain);
            let key = key.map(|key| (key, Content::one(Part::CaKey(domain, old))));
            (certificate, Content::one(Part::Ca(domain, old)), key)
        };
        let (certificate, content, key) = authority(TrustDomain::Cluster);
        let mut files = vec![(certificate, content)];
        match layout {
            Layout::AksEngine => files.extend(pair(layout.kubelet_client(node))),
            Layout::Kubeadm => files.push((
                layout::kubeadm::KUBELET.to_owned(),
                Content::KubeconfigRoots(vec![Part::Ca(TrustDomain::Cluster, old)]),
            )),
        }
        files.extend(layout.kubelet_serving(node).into_iter().flat_map(pair));
        if node.role == Role::ControlPlane {
            files.extend(key);
            files.extend(pair(layout.api_server(node)));
            files.extend(layout.hot(node).into_iter().flat_map(pair));
            let mut domains = Vec::new();
            domains.extend((layout.etcd_domain() == TrustDomain::Etcd).then_some(TrustDomain::Etcd));
            if front_proxy {
                domains.push(TrustDomain::FrontProxy);
                files.extend(pair(layout.front_proxy(node)));
            }
            for (certificate, content, key) in domains.into_iter().map(authority) {
                files.push((certificate, content));
                files.extend(key);
            }
            if !layout.tokens_hang_on_tls_key() {
                let at = |ending: &str| format!("{}.{ending}", layout::kubeadm::SERVICE_ACCOUNT);
                let pair = layout::service_account;
                files.push((at("key"), Content::one(Part::LeafKey(pair(), old))));
                files.push((at("pub"), Content::one(Part::PublicKey(pair(), old))));
            }
        }
        files
    }
}

/// What a Windows agent starts out with, its own client certificate apart.
fn windows_files(node: &NodeName) -> Vec<(String, Content)> {
    use crate::layout::windows;
    let old = Generation::Old;
    let roots = vec![Part::Ca(TrustDomain::Cluster, old)];
    let (client, serving) = (LeafId::from("client"), crate::layout::kubelet_server(node));
    let base = windows::KUBELET_SERVING;
    let kubeconfig = Content::Kubeconfig {
        roots: roots.clone(),
        chain: vec![Part::Leaf(client.clone(), old)],
        key: Part::LeafKey(client, old),
    };
    vec![
        (windows::ROOTS.to_owned(), Content::Parts(roots)),
        (windows::KUBECONFIG.to_owned(), kubeconfig),
        (format!("{base}.crt"), Content::one(Part::Leaf(serving.clone(), old))),
        (format!("{base}.key"), Content::one(Part::LeafKey(serving, old))),
    ]
}
