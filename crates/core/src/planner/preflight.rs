//! What must be so before anything is touched.

use std::fmt;

use super::{Naming, Refusal};
use crate::intent::{Intent, Strategy};
use crate::inventory::{Inventory, NodeFacts, Observed};
use crate::layout;
use crate::model::{Component, LeafId, Node, NodeName, Role};

/// How far a node's clock may be from the operator's, in milliseconds. New certificates are back-dated by more than
/// this, and Kubernetes' own leases tolerate seconds, not minutes.
pub const MAX_CLOCK_OFFSET_MS: i64 = 60_000;
/// How much room `/etc/kubernetes` must have: backups and staged files take well below 1 MiB; less than this means that
/// the disk is about to be full anyway.
pub const MIN_FREE_BYTES: u64 = 32 * 1024 * 1024;

/// One reason why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// A node could not be looked at.
    NodeUnreadable(NodeName, String),
    /// A node's clock differs too much.
    ClockOffset(NodeName, i64),
    /// A node has too little room.
    DiskFull(NodeName, u64),
    /// A node lacks tools.
    MissingTools(NodeName, Vec<String>),
    /// A node is not Ready.
    NodeNotReady(NodeName),
    /// A node that kubecert cannot manage yet.
    WindowsNode(NodeName),
    /// A node of the description that the API does not know.
    NodeUnknown(NodeName),
    /// The Kubernetes API could not be asked.
    ApiUnreadable(String),
    /// etcd could not be asked.
    EtcdUnreadable(String),
    /// An etcd member is not healthy: restarting another would lose the quorum.
    EtcdMemberUnhealthy(String),
    /// A component does not run.
    NotRunning(NodeName, Component),
    /// A node holds another CA than the description: half a rotation, or the wrong description.
    OtherCa(NodeName, String),
    /// A node holds another certificate than the description where the key matters.
    OtherCertificate(NodeName, LeafId),
    /// The description has no CA certificate.
    NoCa,
    /// The CA in force has ended.
    CaEnded(String),
    /// A certificate in use has ended.
    LeafEnded(NodeName, String, String),
    /// The cross-signed plan was asked for and is not possible.
    NoCaKey,
    /// Files are not laid out as expected.
    Layout(String),
    /// Leaves are due but renewing them alone is not offered yet.
    RenewDue(Vec<String>),
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodeUnreadable(node, why) => write!(f, "node {node} cannot be looked at ({why})"),
            Self::ClockOffset(node, ms) => write!(
                f,
                "the clock of node {node} differs from this machine's by {:.1} s; bring it to within {} s (NTP) first",
                *ms as f64 / 1000.0,
                MAX_CLOCK_OFFSET_MS / 1000
            ),
            Self::DiskFull(node, free) => write!(
                f,
                "node {node} has {} MiB free for /etc/kubernetes; make room for at least {} MiB",
                free / 1_048_576,
                MIN_FREE_BYTES / 1_048_576
            ),
            Self::MissingTools(node, tools) => write!(f, "node {node} lacks {}; install it", tools.join(", ")),
            Self::NodeNotReady(node) => {
                write!(f, "node {node} is not Ready; repair it, or remove it from the cluster, first")
            }
            Self::WindowsNode(node) => write!(f, "node {node} runs Windows, which kubecert cannot rotate yet"),
            Self::NodeUnknown(node) => write!(f, "node {node} of the api model is not known to the Kubernetes API"),
            Self::ApiUnreadable(why) => write!(f, "the Kubernetes API cannot be asked ({why})"),
            Self::EtcdUnreadable(why) => write!(f, "etcd cannot be asked ({why})"),
            Self::EtcdMemberUnhealthy(member) => write!(
                f,
                "etcd member {member} is not healthy; with it away, restarting another could lose the quorum: repair it first"
            ),
            Self::NotRunning(node, component) => write!(f, "{component} does not run on node {node}; start it first"),
            Self::OtherCa(node, fingerprint) => write!(
                f,
                "node {node} holds a CA (sha256 {}…) that is not the api model's; it was rotated with another model, or a rotation was interrupted: use the model, or the run directory, that belongs to it",
                &fingerprint[..fingerprint.len().min(16)]
            ),
            Self::OtherCertificate(node, leaf) => write!(
                f,
                "certificate {leaf} on node {node} is not the api model's, so its key, which also signs service-account tokens, is not known here; use the model that belongs to the cluster"
            ),
            Self::NoCa => f.write_str("the api model holds no CA certificate"),
            Self::CaEnded(when) => {
                write!(f, "the CA has ended on {when}; a cluster that has ended needs recovery, which kubecert does not offer yet")
            }
            Self::LeafEnded(node, file, when) => write!(
                f,
                "{file} on node {node} has ended on {when}; a cluster that has ended needs recovery, which kubecert does not offer yet"
            ),
            Self::NoCaKey => f.write_str(
                "the cross-signed plan needs the old CA's private key, and the api model does not hold one that fits; take --strategy bundled",
            ),
            Self::Layout(why) => f.write_str(why),
            Self::RenewDue(leaves) => write!(
                f,
                "{} due, but renewing leaves alone is not offered yet; use --why replace-ca",
                match leaves.as_slice() {
                    [one] => format!("{one} is"),
                    many => format!("{} are", many.join(", ")),
                }
            ),
        }
    }
}

/// Decides how the CA is replaced: cross-signed wherever the old CA is valid and its key is there.
pub(super) fn strategy(inventory: &Inventory, intent: &Intent, naming: &Naming) -> Result<Strategy, Refusal> {
    let refuse = |reason| Err(Refusal { reasons: vec![reason] });
    let Some(ca) = inventory.current_ca() else { return refuse(RefusalReason::NoCa) };
    if ca.not_after <= naming.now {
        return refuse(RefusalReason::CaEnded(ca.not_after.strftime("%F").to_string()));
    }
    match (intent.strategy, inventory.description.ca_key) {
        (Some(Strategy::CrossSigned), false) => refuse(RefusalReason::NoCaKey),
        (Some(strategy), _) => Ok(strategy),
        (None, true) => Ok(Strategy::CrossSigned),
        (None, false) => Ok(Strategy::Bundled),
    }
}

/// Checks everything, and names everything that stands against a plan.
pub(super) fn check(inventory: &Inventory, naming: &Naming) -> Result<(), Refusal> {
    let mut reasons = Vec::new();
    for node in &inventory.cluster.nodes {
        match inventory.nodes.get(&node.name) {
            Some(Observed::Seen(facts)) => check_node(inventory, node, facts, naming, &mut reasons),
            Some(Observed::Unreadable(why)) => {
                reasons.push(RefusalReason::NodeUnreadable(node.name.clone(), why.clone()));
            }
            None => {
                reasons.push(RefusalReason::NodeUnreadable(node.name.clone(), "it was not asked".to_owned()))
            }
        }
    }
    check_api(inventory, &mut reasons);
    match &inventory.etcd {
        Observed::Unreadable(why) => reasons.push(RefusalReason::EtcdUnreadable(why.clone())),
        Observed::Seen(members) => reasons.extend(
            members
                .iter()
                .filter(|member| !member.healthy)
                .map(|member| RefusalReason::EtcdMemberUnhealthy(member.name.clone())),
        ),
    }
    if reasons.is_empty() { Ok(()) } else { Err(Refusal { reasons }) }
}

fn check_node(
    inventory: &Inventory,
    node: &Node,
    facts: &NodeFacts,
    naming: &Naming,
    reasons: &mut Vec<RefusalReason>,
) {
    let name = || node.name.clone();
    if facts.clock_offset_ms.abs() > MAX_CLOCK_OFFSET_MS {
        reasons.push(RefusalReason::ClockOffset(name(), facts.clock_offset_ms));
    }
    if facts.free_bytes < MIN_FREE_BYTES {
        reasons.push(RefusalReason::DiskFull(name(), facts.free_bytes));
    }
    if !facts.missing_tools.is_empty() {
        reasons.push(RefusalReason::MissingTools(name(), facts.missing_tools.clone()));
    }
    let expected: &[Component] = match node.role {
        Role::ControlPlane => &[
            Component::Etcd,
            Component::ApiServer,
            Component::ControllerManager,
            Component::Scheduler,
            Component::Kubelet,
        ],
        Role::Agent => &[Component::Kubelet],
    };
    for component in expected {
        if !facts.processes.iter().any(|process| process.component == *component) {
            reasons.push(RefusalReason::NotRunning(name(), *component));
        }
    }
    check_certificates(inventory, node, facts, naming, reasons);
}

fn check_certificates(
    inventory: &Inventory,
    node: &Node,
    facts: &NodeFacts,
    naming: &Naming,
    reasons: &mut Vec<RefusalReason>,
) {
    let first =
        |file: &str| facts.file(&layout::certificate_file(file)).and_then(|file| file.certificates.first());
    match (first("ca.crt"), inventory.current_ca()) {
        (Some(there), Some(ours)) if there.fingerprint != ours.fingerprint => {
            reasons.push(RefusalReason::OtherCa(node.name.clone(), there.fingerprint.clone()));
            return;
        }
        (None, _) => {
            let missing = layout::certificate_file("ca.crt");
            reasons.push(RefusalReason::Layout(format!("node {} has no readable {missing}", node.name)));
            return;
        }
        _ => {}
    }
    let apiserver = LeafId::from("apiserver");
    if node.role == Role::ControlPlane
        && let (Some(there), Some(ours)) =
            (first("apiserver.crt"), inventory.description.certificates.get(&apiserver))
        && there.fingerprint != ours.fingerprint
    {
        reasons.push(RefusalReason::OtherCertificate(node.name.clone(), apiserver));
    }
    for file in facts.files.iter().filter(|file| file.path.starts_with(layout::CERTIFICATES)) {
        if let Some(ended) =
            file.certificates.first().filter(|certificate| certificate.not_after <= naming.now)
        {
            let when = ended.not_after.strftime("%F").to_string();
            reasons.push(RefusalReason::LeafEnded(node.name.clone(), file.path.clone(), when));
        }
    }
}

fn check_api(inventory: &Inventory, reasons: &mut Vec<RefusalReason>) {
    let api = match &inventory.api {
        Observed::Seen(api) => api,
        Observed::Unreadable(why) => {
            reasons.push(RefusalReason::ApiUnreadable(why.clone()));
            return;
        }
    };
    for node in &inventory.cluster.nodes {
        match api.nodes.iter().find(|status| status.name == node.name) {
            None => reasons.push(RefusalReason::NodeUnknown(node.name.clone())),
            Some(status) if status.operating_system == "windows" => {
                reasons.push(RefusalReason::WindowsNode(node.name.clone()));
            }
            Some(status) if !status.ready => reasons.push(RefusalReason::NodeNotReady(node.name.clone())),
            Some(_) => {}
        }
    }
}
