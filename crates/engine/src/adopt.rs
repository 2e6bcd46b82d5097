//! A run whose directory is lost: what the nodes show of it, so that a new one can bring it to an end.
//!
//! Nodes hold the originals of all that the lost run has changed, and control planes the new CA with its key and the API
//! server's new pair, whose key signs tokens. With these a plan is made as the lost run made it, from the originals, and
//! carried out from its beginning under the lost run's id: every step of it is idempotent, what it accepts and presents on
//! the way is what the lost run did, and backups that are there are never overwritten.
//!
//! Where an API server has stopped to accept the old CA, the lost run had passed the point of no return, and with it every
//! barrier before. To begin anew would bring back what is gone (the old key would sign tokens again, which servers that
//! have dropped it refuse); so the plan is taken up at that point, with the leaves that are in use.
//!
//! Where the new CA's key is nowhere any more, nothing can be brought to an end with that CA; `reconstruct` leads back.

use std::collections::{BTreeMap, BTreeSet};

use kubecert_core::inventory::{FileFacts, Inventory, NodeFacts, Observed, Server, ServerFacts};
use kubecert_core::layout;
use kubecert_core::model::{Component, Layout, LeafId, NodeName, RunId, TrustDomain};
use kubecert_core::plan::{Action, Phase, PhaseName, Plan, Predicate, Step, StepId, Target};
use kubecert_core::record::What;
use kubecert_pki::{Certificate, PrivateKey, parse_pem_certificates};

use crate::kubeconfig::client_credentials;
use crate::observe;
use crate::ports::{Credentials, Fault, Identity, PortError, PortResult, Ports};
use crate::run::Setup;
use crate::vault::{PkiSet, pkcs8};

/// What a lost run has left.
pub(crate) struct Adopted {
    /// Its id, below which nodes keep the originals.
    pub(crate) run: RunId,
    /// The cluster as it was before it.
    pub(crate) inventory: Inventory,
    /// The new CA, and what it has signed that has to stay.
    pub(crate) pending: PkiSet,
    /// How far it had come.
    pub(crate) point: Point,
}

/// Where a lost run is taken up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// At its beginning.
    Beginning,
    /// With bundles, at the beginning of *switch*: somebody presents a certificate of the new CA, so that everybody trusts
    /// it, and nobody would trust it any more if the lost run began anew.
    Switch,
    /// At the point of no return.
    TrustDropped {
        /// Control planes that have had their last visit. What later steps change shows on them already, so that waiting
        /// again for how they were right after the visit could not end.
        visited: BTreeSet<NodeName>,
    },
}

impl Point {
    /// What a journal of the lost run would hold up to there.
    pub(crate) fn behind(&self, plan: &Plan) -> Vec<What> {
        let (at, evidence) = match self {
            Self::Beginning => return Vec::new(),
            Self::Switch => (PhaseName::Switch, "a server presents a certificate of the new CA"),
            Self::TrustDropped { .. } => {
                (PhaseName::Drop, "an API server does not accept the old CA any more")
            }
        };
        let mut records = Vec::new();
        for phase in plan.phases.iter().filter(|phase| phase.name < at) {
            let done = |step: &Step| What::Done { step: step.id, evidence: evidence.to_owned() };
            records.extend(phase.steps.iter().map(done));
            records.push(What::BarrierMet { phase: phase.name, evidence: vec![evidence.to_owned()] });
        }
        let Self::TrustDropped { visited } = self else { return records };
        records.push(What::TrustDropped);
        let last_visits = plan.phases.iter().filter(|phase| phase.name == PhaseName::Drop);
        let last_visits = last_visits.flat_map(|phase| visits(phase, visited));
        let evidence = "its servers do not accept the old CA any more";
        records.extend(last_visits.map(|step| What::Done { step, evidence: evidence.to_owned() }));
        records
    }
}

/// The steps of a phase that make up the visits of some control planes, up to the wait for the API server.
fn visits(phase: &Phase, nodes: &BTreeSet<NodeName>) -> BTreeSet<StepId> {
    let of_visit = |step: &Step| matches!(&step.target, Target::Node(node) if nodes.contains(node));
    let served = |step: &Step| {
        match &step.action {
        Action::Await { predicates } => predicates.iter().any(
            |predicate| matches!(predicate, Predicate::Advertises { server: Server::ApiServer(node), .. } if nodes.contains(node)),
        ),
        _ => false,
    }
    };
    let mut steps = BTreeSet::new();
    // Steps come after those that they name, so one pass from the last to the first finds everything before.
    for step in phase.steps.iter().rev().filter(|step| of_visit(step)) {
        if served(step) || steps.contains(&step.id) {
            steps.insert(step.id);
            steps.extend(&step.after);
        }
    }
    steps.retain(|id| phase.steps.iter().any(|step| step.id == *id && of_visit(step)));
    steps
}

/// Looks for what a lost run has left on the nodes; `None` if there is nothing.
///
/// # Errors
///
/// Refuses where its remains are so incomplete that it cannot be brought to an end from them.
pub(crate) async fn find(setup: &Setup, inventory: &Inventory) -> PortResult<Option<Adopted>> {
    if originals(setup, inventory).await?.is_none() {
        return Ok(None);
    }
    if setup.cluster.layout == Layout::Kubeadm {
        return Err(refused("a run of this cluster was begun and its records are not here").remedy(
            "Put the run's directory back below the state directory (see --state-dir) and use `kubecert resume` or \
             `kubecert undo`; with kubeadm's layout a run cannot be brought to an end without them yet.",
        ));
    }
    // A lost run that has staged nothing yet has changed nothing.
    let Some(Staged { pki: pending, cross }) = staged(setup, inventory).await? else { return Ok(None) };
    if !pending.authority_keys.contains_key(&TrustDomain::Cluster) {
        return Err(refused("the key of its new CA is on no control plane any more").remedy(
            "Put the run's directory back below the state directory (see --state-dir) and use `kubecert resume`; or \
             take the run back with `kubecert undo`, then rotate onto another new CA.",
        ));
    }
    let known = in_use(setup, inventory, &pending).await?;
    // What asked with the old certificates alone saw only those who still accept them.
    let inventory = look_again(setup, &known).await?;
    let Some((run, originals)) = originals(setup, &inventory).await? else { return Ok(None) };
    let (point, pending) = if dropped(&inventory, &pending) {
        everybody_has_switched(&inventory, &pending, &setup.decisions.leave_behind)?;
        // With bundles kubelets start once more, and show then what they have.
        let known = if cross.is_none() { with_kubelets(setup, &inventory, known).await? } else { known };
        (Point::TrustDropped { visited: visited(&inventory, &pending) }, known)
    } else if cross.is_none() && is_presented(&inventory, &pending) {
        (Point::Switch, known)
    } else {
        (Point::Beginning, pending)
    };
    let inventory = before(setup, inventory, originals, &pending);
    Ok(Some(Adopted { run, inventory, pending, point }))
}

pub(crate) type Originals = BTreeMap<NodeName, Vec<FileFacts>>;

/// The lost run, and the files of each node as it had found them.
pub(crate) async fn originals(
    setup: &Setup,
    inventory: &Inventory,
) -> PortResult<Option<(RunId, Originals)>> {
    let mut originals = Originals::new();
    let mut run: Option<RunId> = None;
    for node in &inventory.cluster.nodes {
        if inventory.nodes.get(&node.name).and_then(Observed::seen).is_none() {
            continue;
        }
        let question = observe::question(&inventory.cluster, node.role, node.system);
        let Some((of, files)) = setup.ports.nodes.remains(&node.name, &question).await? else { continue };
        if run.get_or_insert_with(|| of.clone()) != &of {
            return Err(refused("nodes hold the originals of different runs"));
        }
        originals.insert(node.name.clone(), files);
    }
    Ok(run.map(|run| (run, originals)))
}

/// The cluster as it was before the lost run.
pub(crate) fn before(
    setup: &Setup,
    mut inventory: Inventory,
    originals: Originals,
    pending: &PkiSet,
) -> Inventory {
    for (node, files) in originals {
        if let Some(Observed::Seen(facts)) = inventory.nodes.get_mut(&node) {
            put_originals(facts, files);
        }
    }
    observe::name_signers(&mut inventory, &setup.old.authorities.values().cloned().collect::<Vec<_>>());
    signed_before(&mut inventory, pending);
    inventory
}

/// What is pending, and the leaves of its CA that are in use on control planes, with their keys.
pub(crate) async fn in_use(setup: &Setup, inventory: &Inventory, pending: &PkiSet) -> PortResult<PkiSet> {
    let mut known = pending.clone();
    let nodes = &setup.ports.nodes;
    let described: Vec<LeafId> =
        setup.old.leaves.keys().filter(|leaf| layout::is_described(leaf)).cloned().collect();
    for node in inventory.cluster.control_planes() {
        for leaf in &described {
            let file = |ending: &str| layout::certificate_file(&format!("{leaf}.{ending}"));
            let certificate = nodes.read(&node.name, &file("crt")).await?;
            let key = nodes.read(&node.name, &file("key")).await?;
            if let (Some(certificate), Some(key)) = (certificate, key) {
                take(&mut known, TrustDomain::Cluster, leaf, &certificate, &key);
            }
        }
        let kubeconfig = layout::admin_kubeconfig(&inventory.cluster.admin_user);
        let [certificate, key] = ["proxy.crt", "proxy.key"].map(layout::certificate_file);
        let pair = (nodes.read(&node.name, &certificate).await?, nodes.read(&node.name, &key).await?);
        if let (Some(certificate), Some(key)) = pair {
            take(&mut known, TrustDomain::FrontProxy, &layout::front_proxy(), &certificate, &key);
        }
        if let Some(kubeconfig) = nodes.read(&node.name, &kubeconfig).await?
            && let Ok([certificate, key]) = client_credentials(&kubeconfig)
        {
            take(&mut known, TrustDomain::Cluster, &LeafId::from("kubectlClient"), &certificate, &key);
        }
    }
    Ok(known)
}

/// What is known, and the kubelets' serving certificates of the pending CA with their keys.
async fn with_kubelets(setup: &Setup, inventory: &Inventory, mut known: PkiSet) -> PortResult<PkiSet> {
    let nodes = &setup.ports.nodes;
    for node in &inventory.cluster.nodes {
        if inventory.nodes.get(&node.name).and_then(Observed::seen).is_none() {
            continue;
        }
        let serving = layout::kubelet_serving(node.system);
        let certificate = nodes.read(&node.name, &format!("{serving}.crt")).await?;
        let key = nodes.read(&node.name, &format!("{serving}.key")).await?;
        if let (Some(certificate), Some(key)) = (certificate, key) {
            take(&mut known, TrustDomain::Cluster, &layout::kubelet_server(&node.name), &certificate, &key);
        }
    }
    Ok(known)
}

/// Keeps a pair if the pending CA has signed it, and the key is its.
fn take(pending: &mut PkiSet, domain: TrustDomain, leaf: &LeafId, certificate: &[u8], key: &[u8]) {
    let first = parse_pem_certificates(certificate).ok().and_then(|found| found.into_iter().next());
    let key = std::str::from_utf8(key).ok().and_then(|pem| PrivateKey::from_pem(pem).ok());
    let (Some(ca), Some(certificate), Some(key)) = (pending.authorities.get(&domain), first, key) else {
        return;
    };
    if certificate.signed_by(ca).is_ok() && key.matches(&certificate) {
        pending.leaves.insert(leaf.clone(), certificate);
        pending.leaf_keys.insert(leaf.clone(), key);
    }
}

/// The cluster, as it shows itself to clients of the pending CA and to those of the old one.
pub(crate) async fn look_again(setup: &Setup, known: &PkiSet) -> PortResult<Inventory> {
    let roots: Vec<Vec<u8>> = [known, &setup.old]
        .iter()
        .filter_map(|set| Some(set.authorities.get(&TrustDomain::Cluster)?.der().to_vec()))
        .collect();
    let credentials = |leaf: &str| -> PortResult<Vec<Credentials>> {
        let leaf = LeafId::from(leaf);
        let pairs = [known, &setup.old]
            .into_iter()
            .filter_map(|set| Some((set.leaves.get(&leaf)?, set.leaf_keys.get(&leaf)?)));
        let identities = pairs.map(|(certificate, key)| {
            let key = pkcs8(key).map_err(|error| refused(&error.to_string()))?;
            let identity = Identity { chain: vec![certificate.der().to_vec()], key };
            Ok(Credentials { roots: roots.clone(), identity: Some(identity) })
        });
        identities.collect()
    };
    let Ports { api, etcd, .. } = &setup.ports;
    api.use_credentials(credentials("client")?).await?;
    etcd.use_credentials(credentials("etcdclient")?).await?;
    Ok(observe::inventory(&setup.ports, &setup.cluster, &setup.old).await)
}

/// The point of no return is passed only when every node has its new certificates, but for those that were left behind.
fn everybody_has_switched(
    inventory: &Inventory,
    pending: &PkiSet,
    left_behind: &[NodeName],
) -> PortResult<()> {
    let Some(ca) = pending.authorities.get(&TrustDomain::Cluster) else { return Ok(()) };
    let client = layout::certificate_file("client.crt");
    let behind = inventory.nodes.iter().filter_map(|(name, facts)| {
        let facts = facts.seen()?;
        let leaf = match facts.file(&client) {
            Some(file) => file.certificates.first()?,
            // A kubelet on Windows has one of its own, or the shared one behind the CA in its kubeconfig.
            None => {
                let own = facts.file(layout::windows::KUBELET_CLIENT);
                own.or_else(|| facts.file(layout::windows::KUBECONFIG))?.certificates.last()?
            }
        };
        let new = Certificate::from_pem(&leaf.pem).is_ok_and(|leaf| leaf.signed_by(ca).is_ok());
        (!new && !left_behind.contains(name)).then(|| name.to_string())
    });
    let behind: Vec<String> = behind.collect();
    if behind.is_empty() {
        return Ok(());
    }
    Err(refused(&format!("{} still present certificates of the old CA", behind.join(", "))).remedy(format!(
        "Leave them behind with --leave-behind {}, then bring each to the new PKI with `kubecert resume --node NODE`.",
        behind.join(" --leave-behind ")
    )))
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

/// What a lost run has staged on control planes.
pub(crate) struct Staged {
    /// The new CA, its key where it is found, and the API server's new key, with its certificate if that is staged.
    pub(crate) pki: PkiSet,
    /// What follows the API server's new certificate: the new CA's, as the old CA has signed it.
    pub(crate) cross: Option<Certificate>,
}

/// The new CA and the API server's new pair, from the first control plane that has them.
///
/// # Errors
///
/// Fails where a node does not answer, or holds what cannot be read.
pub(crate) async fn staged(setup: &Setup, inventory: &Inventory) -> PortResult<Option<Staged>> {
    let mut found: Option<Staged> = None;
    for node in inventory.cluster.control_planes() {
        let read = |path: String| async move {
            let bytes = setup.ports.nodes.read(&node.name, &path).await?;
            PortResult::Ok(
                bytes.map(|bytes| zeroize::Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned())),
            )
        };
        let transition = |name: &str| read(layout::transition_file(name));
        let bad = |error: &dyn std::fmt::Display| {
            refused(&format!("what it has staged on {} is damaged: {error}", node.name))
        };
        let chain = |pem: &str| {
            parse_pem_certificates(pem.as_bytes()).map(Vec::into_iter).map_err(|error| bad(&error))
        };
        let first = |pem: &str| chain(pem)?.next().ok_or_else(|| bad(&"it holds no certificate"));
        let key = |pem: &str| PrivateKey::from_pem(pem).map_err(|error| bad(&error));
        if found.is_none()
            && let (Some(ca), Some(leaf_key)) =
                (transition("ca.crt").await?, transition("apiserver.key").await?)
        {
            let mut pki = PkiSet::default();
            pki.authorities.insert(TrustDomain::Cluster, first(&ca)?);
            pki.leaf_keys.insert(LeafId::from("apiserver"), key(&leaf_key)?);
            // With bundles the certificate is not staged: it goes to its place at once.
            let mut presented = match transition("apiserver.crt").await? {
                Some(pem) => chain(&pem)?,
                None => Vec::new().into_iter(),
            };
            if let Some(leaf) = presented.next() {
                pki.leaves.insert(LeafId::from("apiserver"), leaf);
            }
            if let (Some(ca), Some(ca_key)) =
                (transition("proxy-ca.crt").await?, transition("proxy-ca.key").await?)
            {
                pki.authorities.insert(TrustDomain::FrontProxy, first(&ca)?);
                pki.authority_keys.insert(TrustDomain::FrontProxy, key(&ca_key)?);
            }
            found = Some(Staged { pki, cross: presented.next() });
        }
        let Some(Staged { pki, .. }) = &mut found else { continue };
        // Once the run issues with the new CA, the key lies where AKS engine keeps it, too.
        for path in [layout::transition_file("ca.key"), layout::certificate_file("ca.key")] {
            let Some(pem) = read(path).await? else { continue };
            let ca = pki.authorities.get(&TrustDomain::Cluster);
            if let Some(key) = key(&pem).ok().filter(|key| ca.is_some_and(|ca| key.matches(ca))) {
                pki.authority_keys.insert(TrustDomain::Cluster, key);
                return Ok(found);
            }
        }
    }
    Ok(found)
}

/// Whether an API server does not accept the old CA any more: it names the new one alone.
pub(crate) fn dropped(inventory: &Inventory, pending: &PkiSet) -> bool {
    let of_api = |server: &Server| matches!(server, Server::ApiServer(_));
    renounced(inventory, pending).any(|(server, _)| of_api(server))
}

/// Whether any server presents a certificate of the new CA.
fn is_presented(inventory: &Inventory, pending: &PkiSet) -> bool {
    let Some(ca) = pending.authorities.get(&TrustDomain::Cluster) else { return false };
    let mut presented = inventory.servers.iter().filter_map(|(_, facts)| facts.seen()?.chain.first());
    presented.any(|leaf| Certificate::from_pem(&leaf.pem).is_ok_and(|leaf| leaf.signed_by(ca).is_ok()))
}

/// Control planes whose API server and etcd member have both done with the old CA, and present their leaves alone.
fn visited(inventory: &Inventory, pending: &PkiSet) -> BTreeSet<NodeName> {
    let done: Vec<&Server> = renounced(inventory, pending)
        .filter(|(_, facts)| facts.chain.len() == 1)
        .map(|(server, _)| server)
        .collect();
    let names = inventory.cluster.control_planes().map(|node| node.name.clone());
    names
        .filter(|name| {
            done.contains(&&Server::ApiServer(name.clone()))
                && done.contains(&&Server::EtcdClient(name.clone()))
        })
        .collect()
}

/// Servers that name the new CA among those of their clients, and not the old one.
fn renounced<'a>(
    inventory: &'a Inventory,
    pending: &PkiSet,
) -> impl Iterator<Item = (&'a Server, &'a ServerFacts)> {
    let new = pending.authorities.get(&TrustDomain::Cluster).map(|ca| ca.subject().to_string());
    let old = inventory.current_ca().map(|ca| ca.subject.clone());
    inventory.servers.iter().filter_map(move |(server, facts)| {
        let facts = facts.seen()?;
        let names =
            |name: &Option<String>| name.as_ref().is_some_and(|name| facts.client_ca_names.contains(name));
        (names(&new) && !names(&old)).then_some((server, facts))
    })
}

/// Takes away what the lost run diverts yet. Another run may visit the control planes in another order, and two that
/// divert to each other serve nobody.
pub(crate) async fn end_diversions(setup: &Setup, inventory: &Inventory) -> PortResult<()> {
    for node in inventory.cluster.control_planes() {
        setup.ports.nodes.undivert(&node.name).await?;
    }
    Ok(())
}

/// Whether control planes run on files that only a run puts there.
pub(crate) fn half_rotated(inventory: &Inventory) -> bool {
    inventory.cluster.control_planes().any(|node| {
        let facts = inventory.nodes.get(&node.name).and_then(Observed::seen);
        [Component::ApiServer, Component::ControllerManager].iter().any(|component| {
            facts
                .and_then(|facts| facts.file(&layout::manifest_file(*component))?.text.as_deref())
                .is_some_and(|text| {
                    text.contains(layout::STAGE) || text.contains(layout::kubeadm::TRANSITION)
                })
        })
    })
}
