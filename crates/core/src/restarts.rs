//! What a plan restarts, how often, and why: told from its actions alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::inventory::{ObjectRef, WorkloadRef};
use crate::layout::{self, KUBELET_PKI, certificate_file, manifest_file};
use crate::model::{Component, Layout, NodeName};
use crate::plan::{Action, Plan, Step, Target};

/// Something that is restarted equally often and for the same reasons on some nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// What.
    pub what: Restarted,
    /// Where; empty for what runs wherever Kubernetes has put it.
    pub nodes: Vec<NodeName>,
    /// How often, on each of them.
    pub times: usize,
    /// Why, as a clause: "it reads the CAs that it trusts at its start only".
    pub why: String,
}

/// What is restarted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restarted {
    /// A component of a node.
    Component(Component),
    /// The pods of a workload, one after another.
    Workload(WorkloadRef),
    /// A pod without a controller, which is deleted and created again.
    Pod(ObjectRef),
}

impl fmt::Display for Restarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Restarted::Component(component) => component.fmt(f),
            Restarted::Workload(workload) => workload.fmt(f),
            Restarted::Pod(pod) => write!(f, "pod {pod}"),
        }
    }
}

/// What was counted of one component on one node.
#[derive(Default)]
struct Count {
    times: usize,
    reasons: BTreeSet<&'static str>,
    /// Files that have changed on the node since the last restart.
    changed: BTreeSet<String>,
}

/// Everything that `plan` restarts, components before workloads before pods.
pub fn restarts(plan: &Plan) -> Vec<Restart> {
    let mut changed: BTreeMap<&NodeName, Vec<(usize, String)>> = BTreeMap::new();
    let mut counts: BTreeMap<(Component, &NodeName), Count> = BTreeMap::new();
    let mut seen: BTreeMap<(Component, &NodeName), usize> = BTreeMap::new();
    let mut pods: BTreeMap<Restarted, usize> = BTreeMap::new();
    for (position, step) in plan.steps().enumerate() {
        match (&step.action, &step.target) {
            (Action::Write { files }, Target::Node(node)) => {
                let paths = files.iter().map(|file| (position, file.path.clone()));
                changed.entry(node).or_default().extend(paths);
            }
            (Action::Roll { workload }, _) => {
                *pods.entry(Restarted::Workload(workload.clone())).or_default() += 1;
            }
            (Action::RecreatePod { pod }, _) => {
                *pods.entry(Restarted::Pod(pod.clone())).or_default() += 1;
            }
            (action, Target::Node(node)) => {
                let Some(component) = restarted_by(action) else { continue };
                let since = seen.insert((component, node), position).unwrap_or(0);
                let count = counts.entry((component, node)).or_default();
                count.times += 1;
                let files = changed.get(node).map(Vec::as_slice).unwrap_or_default();
                // A file that one phase writes may be read by a restart in the next, so only what came before the last
                // restart of the same component is left out.
                count.changed =
                    files.iter().filter(|(at, _)| *at >= since).map(|(_, path)| path.clone()).collect();
                let reasons = reasons(component, step, &count.changed);
                count.reasons.extend(reasons);
            }
            _ => {}
        }
    }
    let mut restarts: Vec<Restart> = Vec::new();
    for ((component, node), count) in counts {
        let why = match count.reasons.iter().copied().collect::<Vec<_>>().join("; ") {
            none if none.is_empty() => "whatever it has read before may be outdated".to_owned(),
            why => why,
        };
        let what = Restarted::Component(component);
        let alike = restarts
            .iter_mut()
            .find(|other| other.what == what && other.times == count.times && other.why == why);
        match alike {
            Some(other) => other.nodes.push(node.clone()),
            None => restarts.push(Restart { what, nodes: vec![node.clone()], times: count.times, why }),
        }
    }
    let why = why_pods(plan);
    restarts.extend(pods.into_iter().map(|(what, times)| Restart {
        what,
        nodes: Vec::new(),
        times,
        why: why.to_owned(),
    }));
    restarts
}

const fn restarted_by(action: &Action) -> Option<Component> {
    match action {
        Action::ReplaceStaticPod { component, .. }
        | Action::EndProcess { component }
        | Action::RestartUnit { component, .. }
        | Action::StartAfresh { component, .. } => Some(*component),
        _ => None,
    }
}

/// Why pods are restarted.
fn why_pods(plan: &Plan) -> &'static str {
    use crate::intent::Strategy;
    // AKS engine's tokens hang on the API server's key.
    let tokens_stay =
        plan.key_pairs.is_empty() && plan.leaves.iter().all(|order| order.id.as_str() != "apiserver");
    match plan.strategy {
        Strategy::SameCa => "its pods may have read their serving certificate at their start only",
        Strategy::SameKey => {
            "its pods may hold the former certificate of the CA, which they read at their start only"
        }
        Strategy::CrossSigned if tokens_stay => "its pods hold the old CA",
        Strategy::CrossSigned => "its pods hold the old CA and a token of the old key",
        Strategy::Bundled => {
            "its pods must learn of the new CA before servers use it, and need a token of the new key"
        }
    }
}

/// Why a component is restarted, by what has changed that it reads at its start only.
fn reasons(component: Component, step: &Step, changed: &BTreeSet<String>) -> Vec<&'static str> {
    let is = |name: &str| changed.contains(&certificate_file(name));
    // The same of kubeadm's layout, below `/etc/kubernetes`.
    let is_kubeadm = |name: &str| changed.contains(&format!("{}/{name}", layout::kubeadm::DIRECTORY));
    let starts = |prefix: &str| changed.iter().any(|path| path.starts_with(prefix));
    let mut reasons = Vec::new();
    if matches!(&step.action, Action::ReplaceStaticPod { path, .. } if *path == manifest_file(component)) {
        reasons.push("its flags name other files for the time being, or the usual ones again");
    }
    match component {
        Component::Etcd if is("ca.crt") || is_kubeadm("pki/etcd/ca.crt") => {
            reasons.push("it reads the CA of its clients and peers at its start only");
        }
        Component::ApiServer => {
            if is("ca.crt") || is_kubeadm("pki/etcd/ca.crt") {
                reasons.push("it reads the CA of etcd at its start only");
            }
            if is("client.crt") {
                reasons.push("its connections to kubelets go on with the certificate of its start");
            }
            let staged = [Layout::AksEngine, Layout::Kubeadm].map(|at| at.transition_file("token-signing"));
            if staged.iter().any(|file| starts(file)) {
                reasons.push("it reads the key that signs tokens at its start only");
            }
        }
        Component::ControllerManager => {
            if is("ca.crt") || is_kubeadm("pki/ca.crt") {
                reasons.push("it reads the CA that it publishes, and that it trusts, at its start only");
            }
            if is_kubeadm("controller-manager.conf") {
                reasons.push("it reads its kubeconfig, with its own certificate, at its start only");
            }
        }
        Component::Scheduler | Component::KubeProxy => {
            if is_kubeadm("scheduler.conf") {
                reasons.push("it reads its kubeconfig, with its own certificate, at its start only");
            }
            if is("ca.crt") {
                reasons.push("it reads the CA that it trusts at its start only");
            }
            if is("client.crt") {
                reasons.push("it is to use its new client certificate at once");
            }
        }
        Component::Kubelet => {
            if is("ca.crt") || is_kubeadm("kubelet.conf") {
                reasons.push("it reads the CA that it trusts at its start only");
            }
            if is("kubeletserver.crt") {
                reasons.push("it reads its serving certificate at its start only");
            }
            let roots = layout::windows::ROOTS;
            let serving = format!("{}.crt", layout::windows::KUBELET_SERVING);
            if changed.contains(roots) || changed.contains(layout::windows::KUBECONFIG) {
                reasons.push("it reads its kubeconfig with the CA that it trusts at its start only");
            }
            if changed.contains(&serving) {
                reasons.push("it reads its serving certificate at its start only");
            }
            if matches!(step.action, Action::StartAfresh { .. }) {
                reasons.push("it is to ask for a client certificate of the new CA");
            }
            if starts(&format!("{KUBELET_PKI}/kubelet-server")) {
                reasons.push("it reads its serving certificate at its start only");
            }
            if starts(&format!("{KUBELET_PKI}/kubelet-client")) || is("client.crt") {
                reasons.push("it reads its client certificate at its start only");
            }
        }
        _ => {}
    }
    reasons
}
