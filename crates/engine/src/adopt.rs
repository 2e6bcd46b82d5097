//! A run whose directory is lost: what the nodes show of it, so that a new one can bring it to an end.
//!
//! Nodes hold the originals of all that the lost run has changed, and control planes the new CA with its key and the API
//! server's new pair, whose key signs tokens. With these a plan is made as the lost run made it, from the originals, and
//! carried out from its beginning under the lost run's id: every step of it is idempotent, what it accepts and presents on
//! the way is what the lost run did, and backups that are there are never overwritten.

use std::collections::BTreeMap;

use kubecert_core::inventory::{FileFacts, Inventory, NodeFacts, Observed};
use kubecert_core::layout;
use kubecert_core::model::{Component, LeafId, NodeName, RunId, TrustDomain};
use kubecert_pki::{Certificate, PrivateKey, parse_pem_certificates};

use crate::observe;
use crate::ports::{Fault, PortError, PortResult};
use crate::run::Setup;
use crate::vault::PkiSet;

/// What a lost run has left.
pub(crate) struct Adopted {
    /// Its id, below which nodes keep the originals.
    pub(crate) run: RunId,
    /// The cluster as it was before it.
    pub(crate) inventory: Inventory,
    /// The new CA, and the API server's new pair.
    pub(crate) pending: PkiSet,
}

/// Looks for what a lost run has left on the nodes; `None` if there is nothing.
///
/// # Errors
///
/// Refuses where it has gone so far, or its remains are so incomplete, that it cannot be brought to an end from them.
pub(crate) async fn find(setup: &Setup, inventory: &Inventory) -> PortResult<Option<Adopted>> {
    let nodes = &setup.ports.nodes;
    let mut originals: BTreeMap<NodeName, Vec<FileFacts>> = BTreeMap::new();
    let mut run: Option<RunId> = None;
    for node in &inventory.cluster.nodes {
        if inventory.nodes.get(&node.name).and_then(Observed::seen).is_none() {
            continue;
        }
        let question = observe::question(&inventory.cluster, node.role);
        let Some((of, files)) = nodes.remains(&node.name, &question).await? else { continue };
        if run.get_or_insert_with(|| of.clone()) != &of {
            return Err(refused("nodes hold the originals of different runs"));
        }
        originals.insert(node.name.clone(), files);
    }
    let Some(run) = run else { return Ok(None) };
    let pending = pending(setup, inventory).await?;
    let Some(pending) = pending else {
        // The lost run has staged nothing yet, so that it has changed nothing.
        return Ok(None);
    };
    if dropped(inventory, &pending) {
        return Err(refused("it has begun to drop the old CA"));
    }
    let mut before = inventory.clone();
    for (node, files) in originals {
        if let Some(Observed::Seen(facts)) = before.nodes.get_mut(&node) {
            put_originals(facts, files);
        }
    }
    observe::name_signers(&mut before, &setup.old.authorities.values().cloned().collect::<Vec<_>>());
    signed_before(&mut before, &pending);
    Ok(Some(Adopted { run, inventory: before, pending }))
}

/// A certificate in a Secret that the pending CA has signed was signed by the old one before.
fn signed_before(inventory: &mut Inventory, pending: &PkiSet) {
    let old = inventory.current_ca().map(|ca| ca.fingerprint.clone());
    let Some(new) = pending.authorities.get(&TrustDomain::Cluster) else { return };
    let Observed::Seen(api) = &mut inventory.api else { return };
    for facts in api.tls_secrets.iter_mut().flat_map(|secret| &mut secret.chain) {
        let signed = Certificate::from_pem(&facts.pem).is_ok_and(|leaf| leaf.signed_by(new).is_ok());
        if signed {
            facts.signed_by.clone_from(&old);
        }
    }
}

fn refused(why: &str) -> PortError {
    PortError::new(
        Fault::Refused,
        "a run is under way whose records are not here, and it cannot be brought to an end",
        why,
    )
    .remedy(
        "Put the run's directory back below the state directory (see --state-dir) and use `kubecert resume`.",
    )
}

/// Each file as it was before the lost run; what that has added goes.
fn put_originals(facts: &mut NodeFacts, originals: Vec<FileFacts>) {
    for original in originals {
        match facts.files.iter_mut().find(|file| file.path == original.path) {
            Some(file) => *file = original,
            None => facts.files.push(original),
        }
    }
    facts.files.sort_by(|a, b| a.path.cmp(&b.path));
}

/// The new CA and the API server's new pair, from the first control plane that has them.
async fn pending(setup: &Setup, inventory: &Inventory) -> PortResult<Option<PkiSet>> {
    let nodes = &setup.ports.nodes;
    for node in inventory.cluster.control_planes() {
        let read = |name: &'static str| async move {
            let bytes = nodes.read(&node.name, &layout::transition_file(name)).await?;
            PortResult::Ok(
                bytes.map(|bytes| zeroize::Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned())),
            )
        };
        let (Some(ca), Some(ca_key), Some(leaf), Some(leaf_key)) = (
            read("ca.crt").await?,
            read("ca.key").await?,
            read("apiserver.crt").await?,
            read("apiserver.key").await?,
        ) else {
            continue;
        };
        let bad = |error: &dyn std::fmt::Display| {
            refused(&format!("what it has staged on {} is damaged: {error}", node.name))
        };
        let first = |pem: &str| -> PortResult<Certificate> {
            let found = parse_pem_certificates(pem.as_bytes()).map_err(|error| bad(&error))?;
            found.into_iter().next().ok_or_else(|| bad(&"it holds no certificate"))
        };
        let key = |pem: &str| PrivateKey::from_pem(pem).map_err(|error| bad(&error));
        let mut set = PkiSet::default();
        set.authorities.insert(TrustDomain::Cluster, first(&ca)?);
        set.authority_keys.insert(TrustDomain::Cluster, key(&ca_key)?);
        set.leaves.insert(LeafId::from("apiserver"), first(&leaf)?);
        set.leaf_keys.insert(LeafId::from("apiserver"), key(&leaf_key)?);
        if let (Some(ca), Some(ca_key)) = (read("proxy-ca.crt").await?, read("proxy-ca.key").await?) {
            set.authorities.insert(TrustDomain::FrontProxy, first(&ca)?);
            set.authority_keys.insert(TrustDomain::FrontProxy, key(&ca_key)?);
        }
        return Ok(Some(set));
    }
    Ok(None)
}

/// Whether an API server does not accept the old CA any more: it names the new one alone.
fn dropped(inventory: &Inventory, pending: &PkiSet) -> bool {
    let new = pending.authorities.get(&TrustDomain::Cluster).map(|ca| ca.subject().to_string());
    let old = inventory.current_ca().map(|ca| ca.subject.clone());
    inventory.servers.iter().any(|(server, facts)| {
        let names = facts.seen().map(|facts| &facts.client_ca_names);
        matches!(server, kubecert_core::inventory::Server::ApiServer(_))
            && names.is_some_and(|names| {
                new.as_ref().is_some_and(|new| names.contains(new))
                    && !old.as_ref().is_some_and(|old| names.contains(old))
            })
    })
}

/// Whether control planes run on files that only a run puts there.
pub(crate) fn half_rotated(inventory: &Inventory) -> bool {
    inventory.cluster.control_planes().any(|node| {
        let facts = inventory.nodes.get(&node.name).and_then(Observed::seen);
        [Component::ApiServer, Component::ControllerManager].iter().any(|component| {
            facts
                .and_then(|facts| facts.file(&layout::manifest_file(*component))?.text.as_deref())
                .is_some_and(|text| text.contains(layout::STAGE))
        })
    })
}
