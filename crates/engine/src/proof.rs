//! Before the old CA leaves any trust store: the proof that nobody needs it, or who does, by name.
//!
//! The barriers before have shown on running processes that every server presents a new leaf. What they cannot show is
//! looked at here: certificates of the old CA that lie on nodes, pods that hold it, and clients that nobody knew of.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use kubecert_core::exec::Outcome;
use kubecert_core::intent::Strategy;
use kubecert_core::inventory::{Inventory, Observed};
use kubecert_core::manifest::flag_values;
use kubecert_core::model::{Component, TrustDomain};
use kubecert_core::plan::Plan;
use kubecert_core::record::What;
use kubecert_core::{check, layout};

use crate::observe;
use crate::ports::{AuditedClient, Fault, OldPod, PortResult};
use crate::run::Context;

/// How long pods that something starts again may take to be replaced, within their disruption budgets.
const RENEW_PATIENCE: Duration = Duration::from_secs(600);
/// How long between two looks at them.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How requests of this program call themselves; its own probe goes on using the old certificate on purpose.
const OWN_AGENT: &str = "kubecert/";

/// Something that still needs the old CA, or may.
struct Blocker {
    /// As the operator names it.
    name: String,
    why: String,
}

/// What was found.
#[derive(Default)]
struct Found {
    blockers: Vec<Blocker>,
    evidence: Vec<String>,
}

/// Looks whether anybody needs the old CA, and decides with what the operator has decided.
pub(crate) async fn prove(context: &Context, plan: &Plan) -> (Vec<What>, Outcome) {
    if !context.errand.is_guarded() {
        return (Vec::new(), Outcome::DropAnnounced);
    }
    let found = match look(context, plan).await {
        Ok(found) => found,
        Err(error) => {
            let reason = format!("it cannot be told whether anybody still needs the old CA: {error}");
            return (Vec::new(), Outcome::DropBlocked { reason });
        }
    };
    decide(context, found)
}

fn decide(context: &Context, found: Found) -> (Vec<What>, Outcome) {
    let decisions = &context.decisions;
    let Found { blockers, mut evidence } = found;
    let names: BTreeSet<&str> = blockers.iter().map(|blocker| blocker.name.as_str()).collect();
    let list = |blockers: &[&Blocker]| {
        blockers
            .iter()
            .map(|blocker| format!("{} ({})", blocker.name, blocker.why))
            .collect::<Vec<_>>()
            .join("; ")
    };
    let mut records: Vec<What> = Vec::new();
    for name in decisions.drop_anyway.iter().filter(|name| names.contains(name.as_str())) {
        records.push(What::DropAnyway { name: name.clone() });
        evidence.push(format!("{name} still needs the old CA, and the operator lets it go all the same"));
    }
    let left: Vec<&Blocker> =
        blockers.iter().filter(|blocker| !decisions.drop_anyway.contains(&blocker.name)).collect();
    if decisions.hold {
        records.push(What::Held);
        let state = if left.is_empty() {
            "nothing that is known needs the old CA any more".to_owned()
        } else {
            format!("these still need the old CA: {}", list(&left))
        };
        let reason = format!(
            "it is held before the old CA is dropped, as asked for; both CAs are trusted, and {state}"
        );
        return (records, Outcome::DropBlocked { reason });
    }
    let unknown: Vec<&String> =
        decisions.drop_anyway.iter().filter(|name| !names.contains(name.as_str())).collect();
    // A name that blocked once and does no more is fine; one that never did is a mistake while others block.
    if !left.is_empty() {
        let mut reason = format!("the old CA cannot be dropped, since these still need it: {}", list(&left));
        if !unknown.is_empty() {
            let unknown: Vec<String> = unknown.iter().map(|name| format!("\"{name}\"")).collect();
            reason += &format!(". --drop-anyway {} names nothing of it", unknown.join(", "));
        }
        reason += ". Renew them, or name each with --drop-anyway";
        return (records, Outcome::DropBlocked { reason });
    }
    records.push(What::Proven { evidence });
    (records, Outcome::DropAnnounced)
}

async fn look(context: &Context, plan: &Plan) -> PortResult<Found> {
    let mut found = Found::default();
    let replaced = matches!(plan.strategy, Strategy::CrossSigned | Strategy::Bundled);
    if !plan.scope.covers(TrustDomain::Cluster) || !replaced {
        found
            .evidence
            .push("the cluster CA's key stays, so that whatever it has issued is accepted".to_owned());
        return Ok(found);
    }
    pods(context, plan, &mut found).await?;
    let inventory = observe::inventory(&context.ports, &context.cluster, &context.vault.old).await;
    files(&inventory, plan, &mut found);
    clients(context, &inventory, &mut found).await;
    Ok(found)
}

/// Pods that started before the present roots were published: those that something starts again are replaced, the others
/// are named.
async fn pods(context: &Context, plan: &Plan, found: &mut Found) -> PortResult<()> {
    let api = &context.ports.api;
    let kept = |pod: &OldPod| plan.kept.iter().any(|kept| kept.id == format!("pod {}", pod.pod));
    let renewable = |pod: &OldPod| pod.controller.as_deref().is_some_and(|kind| kind != "Job");
    let mut replaced = BTreeSet::new();
    let began = context.ports.clock.now();
    let left = loop {
        let old = api.old_pods().await?;
        let renewable: Vec<&OldPod> = old.iter().filter(|pod| renewable(pod)).collect();
        let patient = context.ms_since(began) < u64::try_from(RENEW_PATIENCE.as_millis()).unwrap_or(u64::MAX);
        if renewable.is_empty() || !patient {
            break old;
        }
        for pod in renewable {
            match api.evict(&pod.pod, &pod.uid).await {
                Ok(()) => drop(replaced.insert(pod.pod.clone())),
                // Its budget allows nobody to go now; the next look may find another pod of it ready.
                Err(error) if error.fault == Fault::Timeout => {}
                Err(error) => return Err(error),
            }
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    };
    for pod in &left {
        let since = format!("started {}, the present roots are of {}", pod.started, pod.published);
        if kept(pod) {
            found.evidence.push(format!("pod {} is left to finish ({since})", pod.pod));
            continue;
        }
        let why = match pod.controller.as_deref() {
            None => format!("nothing would start it again; {since}"),
            Some("Job") => format!("a Job's; {since}"),
            Some(kind) => format!("its {kind} has not replaced it within its disruption budget; {since}"),
        };
        found.blockers.push(Blocker { name: format!("pod {}", pod.pod), why });
    }
    if !replaced.is_empty() {
        let names: Vec<String> = replaced.iter().map(ToString::to_string).collect();
        found
            .evidence
            .push(format!("pods that no workload's rollout had reached were replaced: {}", names.join(", ")));
    }
    if left.is_empty() {
        found.evidence.push("every pod was started after the new CA was published".to_owned());
    }
    Ok(())
}

/// Certificates of the old CA on nodes that no step replaces.
fn files(inventory: &Inventory, plan: &Plan, found: &mut Found) {
    let mut looked_at = 0;
    for (name, node) in &inventory.nodes {
        if plan.kept.iter().any(|kept| kept.id == format!("node {name}")) {
            continue;
        }
        match node {
            Observed::Seen(facts) => {
                looked_at += 1;
                for path in check::leaves_of_old_pki(facts, inventory) {
                    let why = "it was issued by the old CA".to_owned();
                    found.blockers.push(Blocker { name: format!("{path} on {name}"), why });
                }
            }
            Observed::Unreadable(why) => {
                let why = format!("it cannot be read: {why}");
                found.blockers.push(Blocker { name: format!("node {name}"), why });
            }
        }
    }
    found.evidence.push(format!("{looked_at} nodes hold no leaf of the old CA"));
}

/// Clients whose certificates nobody knew of, as the audit logs show them.
async fn clients(context: &Context, inventory: &Inventory, found: &mut Found) {
    let known = known_certificates(context, inventory);
    let (begun, now) = (context.began(), context.ports.clock.now());
    let subjects: BTreeSet<String> =
        context.vault.old.leaves.values().filter_map(|leaf| leaf.subject().last_common_name()).collect();
    let mut seen: BTreeMap<String, AuditedClient> = BTreeMap::new();
    let mut told = false;
    for node in context.cluster.control_planes() {
        let Some(log) = audit_log(inventory, &node.name) else { continue };
        match context.ports.nodes.audited_clients(&node.name, &log).await {
            Ok(clients) => {
                told |= !clients.is_empty();
                for client in clients {
                    merge(&mut seen, client);
                }
            }
            Err(error) => found.evidence.push(format!("{log} on {} cannot be read: {error}", node.name)),
        }
    }
    if !told {
        found.evidence.push(format!(
            "who presents which client certificate is not told by the audit logs (Kubernetes {}.{}; it is from 1.32 on, where auditing is configured), so clients outside of the cluster cannot be seen",
            inventory.cluster.version.major, inventory.cluster.version.minor
        ));
        return;
    }
    let (mut ours, mut others) = (0, 0);
    for client in seen.into_values() {
        // The kubelets' own are replaced, and each node was seen to be Ready with its new one.
        let kubelet = client.user.starts_with("system:node:");
        if known.contains(&client.fingerprint) || kubelet || client.agent.starts_with(OWN_AGENT) {
            ours += 1;
        } else if client.last < begun || (subjects.contains(&client.user) && client.last < now) {
            // Of an earlier run: replaced since, be it by that one or by this one.
            ours += 1;
        } else if client.first < begun {
            // Before the run began there was no other CA.
            let name = format!("client {}", client.user);
            let why = format!(
                "certificate sha256 {}…, {} from {}, last seen {}",
                client.fingerprint.get(..16).unwrap_or_default(),
                client.agent,
                client.source,
                client.last
            );
            found.blockers.push(Blocker { name, why });
        } else {
            others += 1;
        }
    }
    found.evidence.push(format!(
        "the audit logs show {ours} client certificates that the run knows, and {others} that were first seen after it began"
    ));
}

fn merge(seen: &mut BTreeMap<String, AuditedClient>, client: AuditedClient) {
    match seen.get_mut(&client.fingerprint) {
        Some(known) => {
            known.first = known.first.min(client.first);
            if client.last > known.last {
                *known = AuditedClient { first: known.first, ..client };
            }
        }
        None => drop(seen.insert(client.fingerprint.clone(), client)),
    }
}

/// Fingerprints of all certificates that the run replaces or has made.
fn known_certificates(context: &Context, inventory: &Inventory) -> BTreeSet<String> {
    let vault = &context.vault;
    let leaves = vault.old.leaves.values().chain(vault.new.leaves.values());
    let mut known: BTreeSet<String> = leaves.map(|leaf| leaf.fingerprint().to_string()).collect();
    let before: Option<Inventory> = context.run.read_json("before.json").ok();
    for inventory in before.iter().chain([inventory]) {
        for facts in inventory.nodes.values().filter_map(Observed::seen) {
            known.extend(
                facts.files.iter().flat_map(|file| &file.certificates).map(|found| found.fingerprint.clone()),
            );
        }
    }
    known
}

/// Where an API server writes its audit log, by its manifest.
fn audit_log(inventory: &Inventory, node: &kubecert_core::model::NodeName) -> Option<String> {
    let facts = inventory.nodes.get(node)?.seen()?;
    let manifest = facts.file(&layout::manifest_file(Component::ApiServer))?.text.as_deref()?;
    flag_values(manifest, "audit-log-path")
        .last()
        .map(|path| (*path).to_owned())
        .filter(|path| path.starts_with('/'))
}

/// The moment before which a certificate cannot be of the new CA.
impl Context {
    fn began(&self) -> Timestamp {
        self.first_begun(kubecert_core::plan::StepId(1))
    }
}
