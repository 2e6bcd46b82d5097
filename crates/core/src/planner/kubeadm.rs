//! What a cluster of kubeadm's must be like for a plan to be made for it, beyond what any cluster must.

use super::common::KUBELET_CA_FLAG;
use super::{Refusal, RefusalReason};
use crate::intent::{Intent, Scope, Strategy, Why};
use crate::inventory::{CertificateFacts, Inventory, NodeFacts, Observed};
use crate::layout::manifest_file;
use crate::manifest::flag_values;
use crate::model::{Component, Layout, Node, NodeName, TrustDomain};

const PLACE: Layout = Layout::Kubeadm;

/// Checks that what is wanted is built for this layout.
pub(super) fn intent(intent: &Intent) -> Result<(), Refusal> {
    let built = match intent.why {
        Why::ReplaceCa | Why::Compromised => {
            matches!(intent.strategy, None | Some(Strategy::CrossSigned))
        }
        Why::Renew => matches!(intent.strategy, None | Some(Strategy::SameCa)),
        Why::Recover => true,
        Why::ExtendCa => false,
    };
    if built && intent.scope == Scope::All {
        return Ok(());
    }
    Err(RefusalReason::NotForLayout(intent.to_string()).into())
}

/// Checks that the CAs can be replaced, and names everything that stands against it.
pub(super) fn replacing(inventory: &Inventory) -> Result<(), Refusal> {
    let mut reasons = Vec::new();
    if inventory.current_ca().is_some() && !inventory.description.ca_key {
        let wanted = "replacing a CA whose key is on no control plane";
        reasons.push(RefusalReason::NotForLayout(wanted.to_owned()));
    }
    for (node, facts) in control_planes(inventory) {
        reasons.extend(other_authorities(inventory, node, facts));
        reasons.extend(foreign_flags(&node.name, facts));
    }
    if reasons.is_empty() { Ok(()) } else { Err(Refusal { reasons }) }
}

/// Checks that what is restarted starts again.
///
/// A controller manager that is to sign and has no key ends at its start; in external CA mode kubeadm leaves both flags
/// empty (`cmd/kubeadm/app/phases/controlplane/manifests.go`, `getControllerManagerCommand`). One that runs has read the
/// key before it was taken away.
pub(super) fn controllers_start(inventory: &Inventory) -> Result<(), Refusal> {
    let gone = |(node, facts): (&Node, &NodeFacts)| {
        let manifest = facts.file(&manifest_file(Component::ControllerManager))?.text.as_deref()?;
        let key = *flag_values(manifest, "cluster-signing-key-file").last()?;
        let looked_at = key.starts_with(PLACE.certificates());
        let gone = looked_at && facts.file(key).is_none();
        gone.then(|| RefusalReason::SigningKeyGone(node.name.clone(), key.to_owned()))
    };
    let reasons: Vec<_> = control_planes(inventory).filter_map(gone).collect();
    if reasons.is_empty() { Ok(()) } else { Err(Refusal { reasons }) }
}

fn control_planes(inventory: &Inventory) -> impl Iterator<Item = (&Node, &NodeFacts)> {
    inventory.cluster.control_planes().filter_map(|node| {
        let facts = inventory.nodes.get(&node.name).and_then(Observed::seen)?;
        Some((node, facts))
    })
}

/// CAs of etcd and of the front proxy that are not those of the first control plane.
fn other_authorities(
    inventory: &Inventory,
    node: &Node,
    facts: &NodeFacts,
) -> impl Iterator<Item = RefusalReason> {
    let held = |facts: &NodeFacts, domain| -> Option<CertificateFacts> {
        facts.file(&PLACE.authority(domain).0)?.certificates.first().cloned()
    };
    let first = control_planes(inventory).next();
    let other = [TrustDomain::Etcd, TrustDomain::FrontProxy].into_iter().filter_map(move |domain| {
        let (first, of_first) = first?;
        let same = match (held(of_first, domain), held(facts, domain)) {
            (Some(one), Some(other)) => one.fingerprint == other.fingerprint,
            _ => false,
        };
        let path = PLACE.authority(domain).0;
        let why = format!("{path} on node {} is not that of node {}", node.name, first.name);
        (!same).then_some(RefusalReason::Layout(why))
    });
    other.collect::<Vec<_>>().into_iter()
}

/// Flags of static pods that make of it another cluster than kubeadm makes.
fn foreign_flags(node: &NodeName, facts: &NodeFacts) -> Vec<RefusalReason> {
    let manifest = |component| facts.file(&manifest_file(component)).and_then(|file| file.text.as_deref());
    let mut reasons = Vec::new();
    let mut not_built = |what: String| reasons.push(RefusalReason::NotForLayout(what));
    if manifest(Component::Etcd).is_none() {
        not_built(format!("a cluster with external etcd (no {} on {node})", manifest_file(Component::Etcd)));
    }
    // Without its manifest nothing is planned for a node anyway.
    let Some(api_server) = manifest(Component::ApiServer) else { return reasons };
    let expected = PLACE.authority(TrustDomain::Cluster).0;
    if let Some(by) = flag_values(api_server, KUBELET_CA_FLAG).iter().find(|path| **path != expected) {
        not_built(format!(
            "a cluster whose API servers verify kubelets by another CA than the cluster's (--{KUBELET_CA_FLAG}={by} on {node})"
        ));
    }
    if let Some(other) = flag_values(api_server, "client-ca-file").iter().find(|path| **path != expected) {
        not_built(format!("a cluster with another certificatesDir (--client-ca-file={other} on {node})"));
    }
    reasons
}
