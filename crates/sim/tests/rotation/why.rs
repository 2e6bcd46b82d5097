//! For each reason and scope a whole run: what it is for has come about, the rest is as it was, and nobody was disturbed.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use kubecert_core::event::RunOutcome;
use kubecert_core::intent::{Intent, Scope, Why};
use kubecert_core::inventory::{Inventory, Observed};
use kubecert_core::layout::{certificate_file, kubelet_client_link};
use kubecert_core::model::{Component, KubernetesVersion, LeafId, NodeName, TrustDomain};
use kubecert_engine::run::{Ended, look, plan};
use kubecert_engine::vault::PkiSet;
use kubecert_sim::{SimConfig, Trouble};

use crate::support::{Bench, assert_finished, assert_rotated, assert_unharmed};

pub(crate) fn config(planes: usize, agents: usize, minor: u16) -> SimConfig {
    SimConfig { version: KubernetesVersion { major: 1, minor }, ..SimConfig::new(planes, agents) }
}

/// Leaves that are due for [`Intent::new`] of renewing.
pub(crate) fn ending_soon(planes: usize, agents: usize, minor: u16) -> SimConfig {
    SimConfig { leaves_last_days: Some(20), ..config(planes, agents, minor) }
}

fn scoped(why: Why, scope: Scope) -> Intent {
    Intent { scope, ..Intent::new(why) }
}

/// Carries an intent out on a fresh cluster, undisturbed.
async fn carried_out(config: &SimConfig, intent: &Intent) -> (Bench, Ended) {
    let bench = Bench::new(config);
    let ended = bench.rotate_as(bench.sim.old_pki(), intent).await.unwrap();
    assert_finished(&ended);
    assert_eq!((ended.report.why, ended.report.scope), (intent.why, intent.scope));
    assert_eq!(ended.report.api.failed, 0, "{:?}", ended.report.api);
    assert!(ended.report.api.requests > 100, "{:?}", ended.report.api);
    assert_unharmed(&bench.sim);
    (bench, ended)
}

/// What the cluster shows to whoever holds the operator's files of after the run.
async fn after(bench: &Bench) -> (PkiSet, Inventory) {
    let new = bench.operator.new_pki().unwrap();
    let inventory = look(&bench.setup(new.clone())).await.unwrap();
    (new, inventory)
}

/// The fingerprints of a file's certificates, by node.
fn fingerprints(inventory: &Inventory, path: &str) -> BTreeMap<NodeName, Vec<String>> {
    let held = |facts: &kubecert_core::inventory::NodeFacts| {
        let file = facts.file(path)?;
        Some(file.certificates.iter().map(|held| held.fingerprint.clone()).collect())
    };
    inventory.nodes.iter().filter_map(|(node, facts)| Some((node.clone(), held(facts.seen()?)?))).collect()
}

/// The processes of all nodes: which, and since when.
fn processes(inventory: &Inventory) -> BTreeMap<(NodeName, Component), u32> {
    let seen = |(node, facts): (&NodeName, &Observed<kubecert_core::inventory::NodeFacts>)| {
        let processes = facts.seen().unwrap().processes.clone();
        processes
            .into_iter()
            .map(|process| ((node.clone(), process.component), process.pid))
            .collect::<Vec<_>>()
    };
    inventory.nodes.iter().flat_map(seen).collect()
}

pub(crate) async fn before(bench: &Bench) -> Inventory {
    look(&bench.setup(bench.sim.old_pki())).await.unwrap()
}

/// Doing it again finds nothing to do.
async fn assert_done(bench: &Bench, intent: &Intent) {
    let again = bench.rotate_as(bench.operator.new_pki().unwrap(), intent).await.unwrap();
    assert_eq!(again.report.outcome, RunOutcome::NothingToDo);
}

fn key_of(set: &PkiSet, leaf: &str) -> Vec<u8> {
    set.leaf_keys.get(&LeafId::from(leaf)).unwrap().spki_der().to_vec()
}

/// Looks from outside whether every leaf is a new one of the same CA.
pub(crate) async fn assert_renewed(bench: &Bench) {
    let old = bench.sim.old_pki();
    let (new, inventory) = after(bench).await;
    assert_eq!(new.authorities.get(&TrustDomain::Cluster), old.authorities.get(&TrustDomain::Cluster));
    let ca = new.authorities.get(&TrustDomain::Cluster).unwrap().fingerprint().to_string();
    let soon = inventory.taken.checked_add(SignedDuration::from_hours(24 * 31)).unwrap();
    for (server, facts) in &inventory.servers {
        let chain = &facts.seen().unwrap().chain;
        assert_eq!(chain.len(), 1, "{server}");
        assert_eq!(chain[0].signed_by.as_ref(), Some(&ca), "{server}");
        assert!(chain[0].not_after > soon, "{server} presents what ends on {}", chain[0].not_after);
    }
    for leaf in old.leaves.keys() {
        let certificate = new.leaves.get(leaf).unwrap();
        assert!(certificate.not_after() > soon, "{leaf}");
        let kept = key_of(&new, leaf.as_str()) == key_of(&old, leaf.as_str());
        assert_eq!(kept, leaf.as_str() == "apiserver", "the key of {leaf}");
    }
    for (node, facts) in &inventory.nodes {
        for file in facts.seen().unwrap().files.iter().filter(|file| !file.path.ends_with("proxy.crt")) {
            let in_use = file.path.starts_with("/etc/") || file.path == kubelet_client_link();
            for leaf in file.certificates.iter().filter(|_| in_use) {
                assert!(leaf.not_after > soon, "{} on {node}", file.path);
            }
        }
    }
    let api = inventory.api.seen().unwrap();
    assert!(api.tls_secrets.iter().all(|secret| secret.chain[0].not_after > soon));
    assert!(api.nodes.iter().all(|node| node.ready));
}

#[tokio::test(start_paused = true)]
async fn renewing_what_is_due() {
    for (planes, agents, minor) in [(3, 2, 34), (3, 1, 30), (3, 1, 24), (5, 0, 20)] {
        let config = ending_soon(planes, agents, minor);
        let (bench, ended) = carried_out(&config, &Intent::new(Why::Renew)).await;
        assert_renewed(&bench).await;
        assert_done(&bench, &Intent::new(Why::Renew)).await;
        let restarted = |title: &str| ended.report.steps.iter().filter(|step| step.title == title).count();
        assert_eq!(restarted("restart etcd"), 0);
        assert_eq!(restarted("restart kube-apiserver"), if minor < 25 { planes } else { 0 });
        // The kubelets of this cluster have client certificates of their own, which are due as well.
        assert_eq!(restarted("restart kubelet"), planes + agents);
    }
}

/// Where the kubelets' own certificates last, nothing at all is restarted.
#[tokio::test(start_paused = true)]
async fn renewing_without_any_restart() {
    let bench = Bench::new(&config(3, 2, 34));
    let inventory = before(&bench).await;
    let mut intent = scoped(Why::Renew, Scope::ClusterCa);
    // In 29 years all but the kubelets' own end, and so does the CA: which is refused.
    intent.limits.renew_within_days = Some(30 * 365);
    let refused = plan(&inventory, &intent, inventory.taken).unwrap_err();
    assert!(format!("{refused:?}").contains("CaEndsFirst"), "{refused:?}");
    intent.limits.renew_within_days = Some(400);
    let due = plan(&inventory, &intent, inventory.taken).unwrap();
    assert!(due.leaves.iter().all(|order| order.id.as_str().starts_with("kubelet-client/")), "{due:?}");
    assert_eq!(due.leaves.len(), 5);
    intent.limits.renew_within_days = Some(30);
    assert!(plan(&inventory, &intent, inventory.taken).unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn extending_the_ca() {
    for (planes, agents, minor) in [(3, 2, 34), (3, 1, 20)] {
        let intent = Intent::new(Why::ExtendCa);
        let (bench, _) = carried_out(&config(planes, agents, minor), &intent).await;
        let old = bench.sim.old_pki();
        let (new, inventory) = after(&bench).await;
        let ca = |set: &PkiSet| set.authorities.get(&TrustDomain::Cluster).unwrap().clone();
        assert_ne!(ca(&new), ca(&old));
        assert!(ca(&new).not_after() > ca(&old).not_after());
        assert_eq!(ca(&new).subject(), ca(&old).subject());
        assert_eq!(ca(&new).public_key().spki_der(), ca(&old).public_key().spki_der());
        assert_eq!(new.leaves, old.leaves);
        let root = ca(&new).fingerprint().to_string();
        for (node, held) in fingerprints(&inventory, &certificate_file("ca.crt")) {
            assert_eq!(held, std::slice::from_ref(&root), "ca.crt on {node}");
        }
        let api = inventory.api.seen().unwrap();
        assert!(api.published_roots.values().all(|roots| *roots == [root.clone()]));
        assert!(api.token_secrets.iter().all(|secret| secret.roots == [root.clone()]));
        for (holder, roots) in &api.ca_bundles {
            assert!(roots.iter().all(|held| held.fingerprint == root), "{holder}");
        }
        let setup = bench.setup(new);
        look(&setup).await.unwrap();
        let extension = setup.ports.api.extension_authentication().await.unwrap().unwrap();
        assert!(!extension.client_ca.contains(&ca(&old).to_pem()));
        assert_done(&bench, &intent).await;
    }
}

/// Every process is younger than the root that it must have read, so that none is left with the former one.
#[tokio::test(start_paused = true)]
async fn nobody_is_left_with_the_former_root() {
    let bench = Bench::new(&config(3, 2, 34));
    let earlier = processes(&before(&bench).await);
    assert_finished(&bench.rotate_as(bench.sim.old_pki(), &Intent::new(Why::ExtendCa)).await.unwrap());
    let later = processes(&after(&bench).await.1);
    assert_eq!(earlier.len(), 3 * 5 + 2);
    for (process, pid) in &earlier {
        assert_ne!(later.get(process), Some(pid), "{process:?} was not restarted");
    }
}

#[tokio::test(start_paused = true)]
async fn a_compromised_cluster() {
    for ca_key in [true, false] {
        let bench = Bench::new(&config(3, 1, 34));
        let mut old = bench.sim.old_pki();
        if !ca_key {
            old.authority_keys.clear();
        }
        let ended = bench.rotate_as(old, &Intent::new(Why::Compromised)).await.unwrap();
        assert_finished(&ended);
        assert_unharmed(&bench.sim);
        assert_rotated(&bench).await;
        assert!(ended.report.notices.iter().any(|notice| notice.contains("Every Secret")));
        // Every API server verifies tokens by its usual file alone, which holds the new key, and is younger than that.
        let (new, inventory) = after(&bench).await;
        assert_ne!(key_of(&new, "apiserver"), key_of(&bench.sim.old_pki(), "apiserver"));
        for node in inventory.cluster.control_planes() {
            let facts = inventory.nodes.get(&node.name).unwrap().seen().unwrap();
            let manifest = facts.file("/etc/kubernetes/manifests/kube-apiserver.yaml").unwrap();
            let key = certificate_file("apiserver.key");
            let keys = kubecert_core::manifest::flag_values(
                manifest.text.as_ref().unwrap(),
                "service-account-key-file",
            );
            assert_eq!(keys, [&key]);
            let written = facts.file(&key).unwrap().modified;
            let server = facts.processes.iter().find(|process| process.component == Component::ApiServer);
            assert!(server.unwrap().started > written);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_front_proxy_alone() {
    for minor in [34, 20] {
        let bench = Bench::new(&config(3, 1, minor));
        let earlier = before(&bench).await;
        let intent = scoped(Why::ReplaceCa, Scope::FrontProxy);
        let ended = bench.rotate_as(bench.sim.old_pki(), &intent).await.unwrap();
        assert_finished(&ended);
        assert_eq!(ended.report.api.failed, 0, "{:?}", ended.report.api);
        assert_unharmed(&bench.sim);
        let (new, later) = after(&bench).await;
        assert_eq!(processes(&earlier), processes(&later), "something was restarted");
        assert_eq!(new.leaves.get(&"apiserver".into()), bench.sim.old_pki().leaves.get(&"apiserver".into()));
        for name in ["proxy-ca.crt", "proxy.crt"] {
            let path = certificate_file(name);
            let (was, is) = (fingerprints(&earlier, &path), fingerprints(&later, &path));
            assert!(is.values().all(|held| held.len() == 1), "{is:?}");
            assert!(is.iter().all(|(node, held)| was.get(node) != Some(held)), "{name} was not replaced");
        }
        let same = certificate_file("ca.crt");
        assert_eq!(fingerprints(&earlier, &same), fingerprints(&later, &same));
        let setup = bench.setup(new.clone());
        look(&setup).await.unwrap();
        let ports = &setup.ports;
        let extension = ports.api.extension_authentication().await.unwrap().unwrap();
        let pem = new.authorities.get(&TrustDomain::FrontProxy).unwrap().to_pem();
        assert_eq!(extension.requestheader_client_ca.trim(), pem.trim());
        assert_eq!(ports.api.unavailable_aggregated_apis().await.unwrap(), []);
        // An hour later everybody has read everything again.
        bench.sim.pass(Duration::from_secs(3600)).await;
        assert_unharmed(&bench.sim);
    }
}

#[tokio::test(start_paused = true)]
async fn the_cluster_ca_alone() {
    for ca_key in [true, false] {
        let bench = Bench::new(&config(3, 1, 34));
        let earlier = before(&bench).await;
        let mut old = bench.sim.old_pki();
        if !ca_key {
            old.authority_keys.clear();
        }
        let ended = bench.rotate_as(old, &scoped(Why::ReplaceCa, Scope::ClusterCa)).await.unwrap();
        assert_finished(&ended);
        assert_unharmed(&bench.sim);
        let (_, later) = after(&bench).await;
        for name in ["proxy-ca.crt", "proxy.crt"] {
            let path = certificate_file(name);
            assert_eq!(fingerprints(&earlier, &path), fingerprints(&later, &path));
        }
        let path = certificate_file("ca.crt");
        let (was, is) = (fingerprints(&earlier, &path), fingerprints(&later, &path));
        assert!(is.iter().all(|(node, held)| was.get(node) != Some(held)));
    }
}

/// Cut off anywhere, each goes on with the same new certificates to the same end.
#[tokio::test(start_paused = true)]
async fn cut_off_and_resumed() {
    let stride = std::env::var("KUBECERT_SIM_STRIDE").ok().and_then(|text| text.parse().ok()).unwrap_or(97);
    for intent in
        [Intent::new(Why::Renew), Intent::new(Why::ExtendCa), scoped(Why::ReplaceCa, Scope::FrontProxy)]
    {
        let config = ending_soon(3, 1, 24);
        let whole = Bench::new(&config);
        assert_finished(&whole.rotate_as(whole.sim.old_pki(), &intent).await.unwrap());
        let calls = whole.sim.calls();
        for call in (20..calls.saturating_sub(60)).step_by(stride) {
            let bench = Bench::new(&config);
            bench.sim.trouble(call, Trouble::CutOffAfter);
            println!("{}: cut off at call {call} of {calls}", intent.why);
            let cut = tokio::select! {
                ended = bench.rotate_as(bench.sim.old_pki(), &intent) => Some(ended),
                () = bench.sim.cut_off() => None,
            };
            assert!(cut.is_none(), "it was not cut off");
            bench.sim.pass(Duration::from_secs(5)).await;
            assert_finished(&bench.rotate_as(bench.sim.old_pki(), &intent).await.unwrap());
            assert_unharmed(&bench.sim);
            let (new, inventory) = after(&bench).await;
            let root = new.authorities.get(&TrustDomain::Cluster).unwrap().fingerprint().to_string();
            let held = fingerprints(&inventory, &certificate_file("ca.crt"));
            assert!(held.values().all(|held| *held == [root.clone()]));
            if intent.why == Why::Renew {
                assert_renewed(&bench).await;
            }
        }
    }
}
