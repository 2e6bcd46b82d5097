//! What must be so before anything is touched.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Naming, Refusal, RefusalReason};
use crate::intent::{Intent, Scope, Signer, Strategy, Why};
use crate::inventory::{Inventory, NodeFacts, NodeStatus, Observed};
use crate::layout::{self, windows};
use crate::model::{Component, Layout, LeafId, Node, NodeName, OperatingSystem, Role, TrustDomain};

/// How far a node's clock may be from the operator's, in milliseconds. New certificates are back-dated by more than
/// this, and Kubernetes' own leases tolerate seconds, not minutes.
pub const MAX_CLOCK_OFFSET_MS: i64 = 60_000;
/// How much room `/etc/kubernetes` must have: backups and staged files take well below 1 MiB; less than this means that
/// the disk is about to be full anyway.
pub const MIN_FREE_BYTES: u64 = 32 * 1024 * 1024;

/// From this minor version on API servers re-read the certificate that they present to aggregated API servers
/// (kube-aggregator 3edc7f11).
const FRONT_PROXY_IS_READ_AGAIN_SINCE: u16 = 20;

/// Checks that what is wanted makes sense for this layout.
pub(super) fn intent(inventory: &Inventory, intent: &Intent) -> Result<(), Refusal> {
    if intent.signer == Signer::External && !matches!(intent.why, Why::Renew | Why::Recover) {
        return Err(RefusalReason::ExternalSigner(intent.why).into());
    }
    if inventory.cluster.layout == Layout::Kubeadm {
        return super::kubeadm::intent(intent);
    }
    if intent.scope == Scope::EtcdCa {
        return Err(RefusalReason::EtcdSharesTheCa.into());
    }
    let fits = match intent.why {
        Why::Renew => matches!(intent.strategy, None | Some(Strategy::SameCa)),
        Why::ExtendCa => matches!(intent.strategy, None | Some(Strategy::SameKey)),
        Why::Recover => intent.strategy.is_none(),
        Why::ReplaceCa | Why::Compromised if !intent.scope.covers(TrustDomain::Cluster) => {
            matches!(intent.strategy, None | Some(Strategy::Bundled))
        }
        Why::ReplaceCa | Why::Compromised => {
            matches!(intent.strategy, None | Some(Strategy::CrossSigned | Strategy::Bundled))
        }
    };
    if let (false, Some(strategy)) = (fits, intent.strategy) {
        return Err(RefusalReason::StrategyUnfit(strategy, intent.why, intent.scope).into());
    }
    let has_front_proxy = inventory
        .cluster
        .control_planes()
        .filter_map(|node| inventory.nodes.get(&node.name)?.seen())
        .any(|facts| facts.file(&layout::certificate_file("proxy-ca.crt")).is_some());
    // Nodes that cannot be read are reported as such, later.
    let all_seen = inventory.nodes.values().all(|node| node.seen().is_some());
    if intent.scope == Scope::FrontProxy && !has_front_proxy && all_seen {
        return Err(RefusalReason::NoFrontProxy.into());
    }
    Ok(())
}

/// Checks that the front proxy's certificates can be replaced by themselves.
pub(super) fn front_proxy(inventory: &Inventory) -> Result<(), Refusal> {
    if inventory.cluster.version.at_least(FRONT_PROXY_IS_READ_AGAIN_SINCE) {
        return Ok(());
    }
    Err(RefusalReason::FrontProxyNeedsRestart(inventory.cluster.version).into())
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
    check_servers(inventory, &mut reasons);
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

/// Checks what a recovery needs: control planes that can be entered, with good clocks, room and tools, and with the CA and
/// the token key of the description. Whether anything runs or answers does not matter; agents may stay away.
pub(super) fn recovery(inventory: &Inventory, naming: &Naming) -> Result<(), Refusal> {
    let mut reasons = Vec::new();
    for node in &inventory.cluster.nodes {
        let facts = match (inventory.nodes.get(&node.name), node.role) {
            (Some(Observed::Seen(facts)), _) => facts,
            (Some(Observed::Unreadable(why)), Role::ControlPlane) => {
                reasons.push(RefusalReason::NodeUnreadable(node.name.clone(), why.clone()));
                continue;
            }
            (None, Role::ControlPlane) => {
                reasons.push(RefusalReason::NodeUnreadable(node.name.clone(), "it was not asked".to_owned()));
                continue;
            }
            (_, Role::Agent) => continue,
        };
        check_machine(node, facts, &mut reasons);
        if node.role == Role::ControlPlane {
            let mut found = Vec::new();
            check_certificates(inventory, node, facts, naming, &mut found);
            found.retain(|reason| !matches!(reason, RefusalReason::LeafEnded(..)));
            reasons.extend(found);
        }
    }
    if reasons.is_empty() { Ok(()) } else { Err(Refusal { reasons }) }
}

fn check_machine(node: &Node, facts: &NodeFacts, reasons: &mut Vec<RefusalReason>) {
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
}

fn check_node(
    inventory: &Inventory,
    node: &Node,
    facts: &NodeFacts,
    naming: &Naming,
    reasons: &mut Vec<RefusalReason>,
) {
    check_machine(node, facts, reasons);
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
            reasons.push(RefusalReason::NotRunning(node.name.clone(), *component));
        }
    }
    check_certificates(inventory, node, facts, naming, reasons);
}

/// A process that runs need not serve: one that ends again and again is seen running now and then.
fn check_servers(inventory: &Inventory, reasons: &mut Vec<RefusalReason>) {
    for (server, facts) in &inventory.servers {
        let Observed::Unreadable(why) = facts else { continue };
        // A node that cannot be looked at has been named, with the cause.
        if let Some(Observed::Seen(node)) = inventory.nodes.get(server.node())
            && node.processes.iter().any(|process| process.component == server.component())
        {
            reasons.push(RefusalReason::NoAnswer(server.clone(), why.clone()));
        }
    }
}

fn check_certificates(
    inventory: &Inventory,
    node: &Node,
    facts: &NodeFacts,
    naming: &Naming,
    reasons: &mut Vec<RefusalReason>,
) {
    let place = inventory.cluster.layout;
    let first = |path: &str| facts.file(path).and_then(|file| file.certificates.first());
    let roots = place.roots_file(node.system);
    let there = facts.file(&roots).and_then(|file| file.certificates.first());
    match (there, inventory.current_ca()) {
        (Some(there), Some(ours)) if there.fingerprint != ours.fingerprint => {
            reasons.push(RefusalReason::OtherCa(node.name.clone(), there.fingerprint.clone()));
            return;
        }
        (None, _) => {
            reasons.push(RefusalReason::Layout(format!("node {} has no readable {roots}", node.name)));
            return;
        }
        _ => {}
    }
    let apiserver = LeafId::from("apiserver");
    if node.role == Role::ControlPlane
        && let (Some(there), Some(ours)) =
            (first(&place.api_server(node).certificate()), inventory.description.certificates.get(&apiserver))
        && there.fingerprint != ours.fingerprint
    {
        reasons.push(RefusalReason::OtherCertificate(node.name.clone(), apiserver));
    }
    if node.system == OperatingSystem::Windows {
        let wanted = [windows::KUBECONFIG.to_owned(), format!("{}.crt", windows::KUBELET_SERVING)];
        for path in
            wanted.iter().filter(|path| facts.file(path).is_none_or(|file| file.certificates.is_empty()))
        {
            reasons.push(RefusalReason::Layout(format!("node {} has no readable {path}", node.name)));
        }
    }
    if let Some(path) = place.kubelet_kubeconfig()
        && facts.file(path).is_none_or(|file| file.certificates.len() != 1)
    {
        // kubeadm before 1.17 left the client certificate of control planes within (kubernetes/kubeadm#1753).
        let why = "should hold the CA, and name kubelet-client-current.pem as its client certificate and key";
        reasons.push(RefusalReason::Layout(format!("{path} on node {} {why}", node.name)));
    }
    for file in facts.files.iter().filter(|file| layout::is_certificate_path(&file.path)) {
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
    let known: BTreeMap<&NodeName, &NodeStatus> =
        api.nodes.iter().map(|status| (&status.name, status)).collect();
    for node in &inventory.cluster.nodes {
        match known.get(&node.name) {
            None => reasons.push(RefusalReason::NodeUnknown(node.name.clone())),
            Some(NodeStatus { address: Some(told), .. }) if other_address(node, *told) => {
                reasons.push(RefusalReason::OtherAddress(node.name.clone(), node.address, *told));
            }
            Some(status) if OperatingSystem::named(&status.operating_system).is_none() => {
                let system = status.operating_system.clone();
                reasons.push(RefusalReason::UnknownSystem(node.name.clone(), system));
            }
            Some(status) if status.operating_system == "windows" && node.role == Role::ControlPlane => {
                reasons.push(RefusalReason::WindowsControlPlane(node.name.clone()));
            }
            Some(NodeStatus { address: Some(told), .. }) if other_address(node, *told) => {
                reasons.push(RefusalReason::OtherAddress(node.name.clone(), node.address, *told));
            }
            Some(status) if !status.ready => reasons.push(RefusalReason::NodeNotReady(node.name.clone())),
            Some(_) => {}
        }
    }
}

/// Whether a control plane is elsewhere than its description says: machines of a scale set may have been made anew. What
/// is diverted and asked by its address would be another machine. Addresses of different families cannot be compared.
fn other_address(node: &Node, told: IpAddr) -> bool {
    node.role == Role::ControlPlane
        && node.address.is_some_and(|ours| ours.is_ipv4() == told.is_ipv4() && ours != told)
}
