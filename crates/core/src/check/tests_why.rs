//! Plans for every reason and every scope: good ones pass, deliberately wrong ones do not.

use proptest::prelude::*;

use super::tests::{listed, phase, remove, shapes, shuffled, writes};
use super::*;
use crate::intent::{Intent, Scope, Strategy, Why};
use crate::layout::{certificate_file, kubelet_server};
use crate::material::{Content, Part};
use crate::model::{Component, Generation, TrustDomain};
use crate::plan::{Action, KeyOrder, PhaseName, Predicate};
use crate::testing::{Shape, end_soon, naming};

fn scoped(why: Why, scope: Scope) -> Intent {
    Intent { scope, ..Intent::new(why) }
}

/// Every leaf but the front proxy's, which nobody can renew.
fn all_leaves(name: &str) -> bool {
    !["ca", "proxyClientCA", "aggregator"].contains(&name)
}

fn planned(shape: &Shape, intent: &Intent, due: impl Fn(&str) -> bool) -> (Plan, Inventory) {
    let mut inventory = shape.inventory();
    if intent.why == Why::Renew {
        end_soon(&mut inventory, due);
    }
    let plan = crate::planner::plan(&inventory, intent, &naming()).unwrap();
    (plan, inventory)
}

#[track_caller]
fn accepted(shape: &Shape, intent: &Intent) -> Plan {
    let (plan, inventory) = planned(shape, intent, all_leaves);
    let found = super::plan(&plan, &inventory);
    assert!(found.is_empty(), "{intent:?} {shape:?}\n{}", listed(&found));
    assert!(!plan.is_empty());
    plan
}

/// Spoils a good plan, and expects the checker to say so.
#[track_caller]
fn refused(shape: &Shape, intent: &Intent, expected: (Invariant, &str), spoil: impl FnOnce(&mut Plan)) {
    let (mut plan, inventory) = planned(shape, intent, all_leaves);
    spoil(&mut plan);
    let found = super::plan(&plan, &inventory);
    let said = |violation: &Violation| {
        violation.invariant == expected.0 && violation.to_string().contains(expected.1)
    };
    assert!(found.iter().any(said), "nothing says {expected:?}:\n{}", listed(&found));
}

fn intents() -> Vec<Intent> {
    let bundled = Intent { strategy: Some(Strategy::Bundled), ..Intent::new(Why::Compromised) };
    vec![
        Intent::new(Why::Renew),
        scoped(Why::Renew, Scope::ClusterCa),
        Intent::new(Why::ExtendCa),
        scoped(Why::ExtendCa, Scope::ClusterCa),
        Intent::new(Why::Compromised),
        bundled,
        scoped(Why::ReplaceCa, Scope::ClusterCa),
        Intent { strategy: Some(Strategy::Bundled), ..scoped(Why::ReplaceCa, Scope::ClusterCa) },
        scoped(Why::ReplaceCa, Scope::FrontProxy),
        scoped(Why::Compromised, Scope::FrontProxy),
    ]
}

#[test]
fn plans_for_every_reason_and_scope_are_right() {
    for intent in intents() {
        accepted(&Shape::default(), &intent);
        for minor in [20, 24, 25, 31] {
            accepted(&Shape { minor, ..Shape::default() }, &intent);
        }
        accepted(
            &Shape { kubelet_clients: false, monitors: false, job_pods: 2, ..Shape::default() },
            &intent,
        );
        accepted(&Shape::sized(1, 0), &intent);
        if intent.scope != Scope::FrontProxy {
            let bare =
                Shape { front_proxy: false, aggregated: false, workloads: false, ..Shape::sized(2, 1) };
            accepted(&bare, &intent);
        }
    }
}

#[test]
fn the_same_inventory_gives_the_same_plan() {
    for intent in intents() {
        let text = || serde_json::to_string(&planned(&Shape::default(), &intent, all_leaves).0).unwrap();
        assert_eq!(text(), text());
        let read: Plan = serde_json::from_str(&text()).unwrap();
        assert_eq!(read, planned(&Shape::default(), &intent, all_leaves).0);
    }
}

#[test]
fn the_front_proxys_own_plan_restarts_nothing() {
    let plan = accepted(&Shape::default(), &scoped(Why::ReplaceCa, Scope::FrontProxy));
    assert_eq!(crate::restarts::restarts(&plan), []);
    let domains: Vec<TrustDomain> = plan.authorities.iter().map(|order| order.domain).collect();
    assert_eq!(domains, [TrustDomain::FrontProxy]);
    assert_eq!(plan.leaves.len(), 1);
}

/// A CA that was extended a moment ago: nothing is forgotten by leaving it as it is, if that is said.
#[test]
fn a_ca_that_can_gain_nothing_is_kept() {
    let mut inventory = Shape::default().inventory();
    let fresh = |ca: &mut crate::inventory::CertificateFacts| ca.not_before = naming().now;
    inventory.description.certificates.entry("ca".into()).and_modify(fresh);
    let mut plan = crate::planner::plan(&inventory, &Intent::new(Why::ExtendCa), &naming()).unwrap();
    assert!(plan.is_empty() && super::plan(&plan, &inventory).is_empty());
    plan.kept.clear();
    assert!(listed(&super::plan(&plan, &inventory)).contains("the cluster CA"));
}

/// Neither renewing nor extending has a point of no return.
#[test]
fn renewing_and_extending_can_be_undone_to_the_end() {
    for why in [Why::Renew, Why::ExtendCa] {
        let plan = accepted(&Shape::default(), &Intent::new(why));
        assert!(plan.phases.iter().all(|phase| phase.name != PhaseName::Drop));
    }
    refused(&Shape::default(), &Intent::new(Why::Renew), (Invariant::Undo, "etcdserver.key"), |plan| {
        remove(phase(plan, PhaseName::Prepare), |step| matches!(step.action, Action::BackUp { .. }));
    });
}

/// Trap T26: the API server's key is the token key.
#[test]
fn a_renewed_api_server_with_a_new_key_voids_every_token() {
    let at = certificate_file("apiserver");
    refused(&Shape::default(), &Intent::new(Why::Renew), (Invariant::Tokens, "its token may be"), |plan| {
        let order = plan.leaves.iter_mut().find(|order| order.id.as_str() == "apiserver").unwrap();
        order.key = KeyOrder::from("rsa-4096".to_owned());
        for file in phase(plan, PhaseName::Switch).steps.iter_mut().filter_map(writes) {
            if file.iter().any(|file| file.path == format!("{at}.crt")) {
                file.push(crate::plan::FileWrite {
                    path: format!("{at}.key"),
                    content: Content::one(Part::LeafKey("apiserver".into(), Generation::New)),
                    access: None,
                });
            }
        }
    });
}

#[test]
fn whoever_reads_its_leaf_once_and_is_not_restarted_is_found() {
    let shape = Shape { minor: 24, ..Shape::default() };
    for component in [Component::Kubelet, Component::ApiServer] {
        let left = (Invariant::Complete, "at the end it presents the old certificate");
        refused(&shape, &Intent::new(Why::Renew), left, |plan| {
            remove(phase(plan, PhaseName::Switch), |step| match step.action {
                Action::RestartUnit { component: of, .. } | Action::EndProcess { component: of } => {
                    of == component
                }
                _ => false,
            });
        });
    }
}

#[test]
fn a_due_leaf_that_is_kept_is_found() {
    let due = (Invariant::Complete, "certificate client: it is due and not renewed");
    refused(&Shape::default(), &Intent::new(Why::Renew), due, |plan| {
        plan.leaves.retain(|order| order.id.as_str() != "client");
        plan.kept.push(crate::plan::Kept { id: "certificate client".to_owned(), why: "why not".to_owned() });
    });
}

#[test]
fn a_new_ca_where_none_is_ordered_is_found() {
    let unordered = (Invariant::Form, "it is named, but nothing orders it");
    for intent in [Intent::new(Why::Renew), scoped(Why::ReplaceCa, Scope::FrontProxy)] {
        refused(&Shape::default(), &intent, unordered, |plan| {
            let files = phase(plan, PhaseName::Switch).steps.iter_mut().filter_map(writes).next().unwrap();
            files.push(crate::plan::FileWrite {
                path: certificate_file("ca.crt"),
                content: Content::one(Part::Ca(TrustDomain::Cluster, Generation::New)),
                access: None,
            });
        });
    }
}

#[test]
fn a_leaf_that_nobody_has_seen_presented_is_found() {
    let unseen = (Invariant::Form, "no barrier sees it presented");
    refused(&Shape::default(), &Intent::new(Why::Renew), unseen, |plan| {
        let leaf = kubelet_server(&"k8s-linux-1-1".into());
        phase(plan, PhaseName::Switch)
            .barrier
            .retain(|predicate| !matches!(predicate, Predicate::Presents { leaf: of, .. } if *of == leaf));
    });
}

/// An expired root is rejected even beside another one of its key.
#[test]
fn whoever_still_holds_the_former_root_is_found() {
    let intent = Intent::new(Why::ExtendCa);
    for (component, says) in [
        (Component::Etcd, "its ClientCa is not the new one alone"),
        (Component::ApiServer, "its EtcdCa is not the new one alone"),
        (Component::Scheduler, "its ApiRoots is not the new one alone"),
        (Component::Kubelet, "its ApiRoots is not the new one alone"),
    ] {
        refused(&Shape::default(), &intent, (Invariant::Complete, says), |plan| {
            remove(phase(plan, PhaseName::Switch), |step| match step.action {
                Action::RestartUnit { component: of, .. } | Action::EndProcess { component: of } => {
                    of == component
                }
                _ => false,
            });
        });
    }
    let holds = (Invariant::Complete, "it may hold the former certificate of the CA");
    refused(&Shape::default(), &intent, holds, |plan| {
        remove(phase(plan, PhaseName::Switch), |step| matches!(step.action, Action::Roll { .. }));
    });
    let bundle = (Invariant::Complete, "it holds the former certificate of the CA");
    refused(&Shape::default(), &intent, bundle, |plan| {
        remove(phase(plan, PhaseName::Switch), |step| matches!(step.action, Action::SetCaBundle { .. }));
    });
}

/// With another name leaves would name an issuer whom nobody knows.
#[test]
fn an_extended_ca_with_another_name_is_found() {
    let intent = Intent::new(Why::ExtendCa);
    refused(&Shape::default(), &intent, (Invariant::Names, "its leaves name"), |plan| {
        plan.authorities[0].common_name = "ca-g2".to_owned();
    });
    let new_key = (Invariant::Form, "does not fit strategy same-key");
    refused(&Shape::default(), &intent, new_key, |plan| {
        plan.authorities[0].key = KeyOrder::from("rsa-4096".to_owned());
    });
}

/// Whatever else is wrong with it: with another key the same plan cuts everybody off.
#[test]
fn an_extended_ca_with_another_key_cuts_everybody_off() {
    refused(&Shape::default(), &Intent::new(Why::ExtendCa), (Invariant::Trust, "may trust new"), |plan| {
        plan.authorities[0].key = KeyOrder::from("rsa-4096".to_owned());
    });
}

/// What compromised is for: tokens of the old key are void at the end.
#[test]
fn an_old_token_key_that_stays_is_found() {
    let stays = (Invariant::Complete, "its TokenKeys is not the new one alone");
    for intent in intents().into_iter().filter(|intent| intent.why == Why::Compromised) {
        if intent.scope == Scope::FrontProxy {
            continue;
        }
        refused(&Shape::default(), &intent, stays, |plan| {
            remove(phase(plan, PhaseName::Drop), |step| {
                matches!(step.action, Action::ReplaceStaticPod { component: Component::ApiServer, .. })
            });
        });
    }
}

#[test]
fn a_front_proxy_ca_that_goes_before_its_leaf_is_refused() {
    let intent = scoped(Why::ReplaceCa, Scope::FrontProxy);
    let trusts = (Invariant::Trust, "the server may trust new, the client may present an old leaf");
    // Nobody waits until the API servers have read the new pair.
    refused(&Shape::default(), &intent, trusts, |plan| {
        phase(plan, PhaseName::Switch)
            .barrier
            .retain(|predicate| !matches!(predicate, Predicate::ReadAgain { .. }));
    });
    let early = (Invariant::Trust, "the server may trust old, the client may present a new leaf");
    refused(&Shape::default(), &intent, early, |plan| {
        let position = plan.phases.iter().position(|phase| phase.name == PhaseName::Introduce).unwrap();
        plan.phases.remove(position);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Any cluster, any reason, any leaves that are due, any order that the plan allows, killed and resumed anywhere.
    #[test]
    fn any_order_of_steps_is_safe(
        shape in shapes(),
        which in 0..10_usize,
        due in any::<u64>(),
        choices in prop::collection::vec(0..64_usize, 1..64),
        killed in prop::collection::btree_set(0..120_usize, 0..12),
    ) {
        let intent = intents().swap_remove(which);
        let shape = Shape { front_proxy: shape.front_proxy || intent.scope == Scope::FrontProxy, ..shape };
        let chosen = |name: &str| {
            let bits = name.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
            all_leaves(name) && (due >> (bits % 64)) & 1 == 1
        };
        let (plan, inventory) = planned(&shape, &intent, chosen);
        let mut runner = Runner::new(&plan, &inventory);
        let mut found = Vec::new();
        let mut position = 0;
        for phase in &plan.phases {
            found.extend(runner.enter(phase, &plan.kept));
            for step in shuffled(phase, &choices) {
                found.extend(runner.step(&step));
                if killed.contains(&position) {
                    found.extend(runner.step(&step));
                }
                position += 1;
            }
            found.extend(runner.leave(phase));
        }
        found.extend(end(&plan, &runner.world));
        prop_assert!(found.is_empty(), "{:?} {:?}\n{}", shape, intent, listed(&found));
        prop_assert!(super::plan(&plan, &inventory).is_empty());
    }
}
