//! Plans that bring a cluster back: good ones pass, deliberately wrong ones do not.

use super::tests::listed;
use super::*;
use crate::intent::{Intent, Strategy, Why};
use crate::inventory::{CertificateFacts, Observed};
use crate::layout::{certificate_file, kubelet_client_link};
use crate::material::{Content, Part};
use crate::model::{Component, Generation, Role, TrustDomain};
use crate::plan::{Action, KeyOrder, PhaseName, Predicate, Step, Target};
use crate::planner::RefusalReason;
use crate::testing::{Shape, end_soon, naming};

fn leaves(name: &str) -> bool {
    !["ca", "proxyClientCA", "aggregator"].contains(&name)
}

/// A cluster of which these certificates have ended, so that nothing but its nodes answers.
fn ended(shape: &Shape, which: impl Fn(&str) -> bool) -> Inventory {
    let mut inventory = shape.inventory();
    end_soon(&mut inventory, which);
    // What ends soon has ended a while later.
    let later = inventory.description.certificates.values().map(|facts| facts.not_after).min();
    inventory.taken = later.into_iter().chain(soonest(&inventory)).min().unwrap();
    inventory.api = Observed::Unreadable("connection refused".to_owned());
    inventory.etcd = Observed::Unreadable("no member answers".to_owned());
    inventory
}

fn soonest(inventory: &Inventory) -> Option<jiff::Timestamp> {
    let files = inventory.nodes.values().filter_map(Observed::seen).flat_map(|facts| &facts.files);
    files.flat_map(|file| &file.certificates).map(|facts: &CertificateFacts| facts.not_after).min()
}

fn planned(inventory: &Inventory) -> Plan {
    crate::planner::plan(inventory, &Intent::new(Why::Recover), &naming()).unwrap()
}

#[track_caller]
fn accepted(inventory: &Inventory) -> Plan {
    let plan = planned(inventory);
    let found = super::plan(&plan, inventory);
    assert!(found.is_empty(), "{}", listed(&found));
    plan
}

#[track_caller]
fn refused(expected: (Invariant, &str), spoil: impl FnOnce(&mut Plan)) {
    let inventory = ended(&Shape::default(), leaves);
    let mut plan = planned(&inventory);
    spoil(&mut plan);
    let found = super::plan(&plan, &inventory);
    let said = |violation: &Violation| {
        violation.invariant == expected.0 && violation.to_string().contains(expected.1)
    };
    assert!(found.iter().any(said), "nothing says {expected:?}:\n{}", listed(&found));
}

fn steps(plan: &mut Plan, which: impl Fn(&Step) -> bool) -> Vec<&mut Step> {
    plan.phases.iter_mut().flat_map(|phase| &mut phase.steps).filter(|step| which(step)).collect()
}

#[test]
fn clusters_of_all_sizes_are_brought_back() {
    for (planes, agents) in [(1, 0), (1, 2), (3, 2), (5, 1)] {
        for minor in [20, 24, 34] {
            let shape = Shape { minor, ..Shape::sized(planes, agents) };
            let plan = accepted(&ended(&shape, leaves));
            assert_eq!(plan.strategy, Strategy::SameCa);
            assert!(plan.authorities.is_empty());
            let signer = plan.leaves.iter().find(|order| order.id.as_str() == "apiserver").unwrap();
            assert_eq!(signer.key, KeyOrder::Same, "tokens stay good");
            assert!(plan.phases.iter().all(|phase| phase.name != PhaseName::Drop));
        }
    }
}

#[test]
fn the_ca_and_the_front_proxy_may_have_ended_too() {
    let plan = accepted(&ended(&Shape::default(), |_| true));
    assert_eq!(plan.strategy, Strategy::SameKey);
    let domains: Vec<_> =
        plan.authorities.iter().map(|order| (order.domain, order.key == KeyOrder::Same)).collect();
    assert_eq!(domains, [(TrustDomain::Cluster, true), (TrustDomain::FrontProxy, false)]);
    let without = Shape { front_proxy: false, kubelet_clients: false, ..Shape::default() };
    accepted(&ended(&without, |_| true));
}

#[test]
fn an_api_that_does_not_answer_is_reason_enough() {
    let mut inventory = Shape::default().inventory();
    inventory.api = Observed::Unreadable("connection refused".to_owned());
    assert!(!accepted(&inventory).is_empty());
    assert!(accepted(&Shape::default().inventory()).is_empty());
}

#[test]
fn agents_that_come_back_late_are_brought_back_alone() {
    let mut inventory = Shape::default().inventory();
    let late = inventory.cluster.agents().next().unwrap().name.clone();
    let taken = inventory.taken;
    let Some(Observed::Seen(facts)) = inventory.nodes.get_mut(&late) else { panic!("it is seen") };
    for file in facts.files.iter_mut().filter(|file| !file.path.ends_with("/ca.crt")) {
        file.certificates.iter_mut().for_each(|certificate| certificate.not_after = taken);
    }
    let plan = accepted(&inventory);
    let alone = |step: &Step| step.target == Target::Node(late.clone());
    assert!(!plan.is_empty() && plan.steps().all(alone), "{:#?}", plan.steps().find(|step| !alone(step)));
    let ids: Vec<_> = plan.leaves.iter().map(|order| order.id.to_string()).collect();
    assert_eq!(ids, [format!("kubelet-server/{late}"), format!("kubelet-client/{late}")]);
}

#[test]
fn what_is_away_is_left_or_stands_against_it() {
    let mut inventory = ended(&Shape::default(), leaves);
    let names = |role| inventory.cluster.nodes.iter().find(|node| node.role == role).unwrap().name.clone();
    let (plane, agent) = (names(Role::ControlPlane), names(Role::Agent));
    inventory.nodes.insert(agent.clone(), Observed::Unreadable("no route".to_owned()));
    let plan = accepted(&inventory);
    assert!(plan.kept.iter().any(|kept| kept.id == format!("node {agent}")), "{:?}", plan.kept);
    inventory.nodes.insert(plane, Observed::Unreadable("no route".to_owned()));
    let intent = Intent::new(Why::Recover);
    let refusal = crate::planner::plan(&inventory, &intent, &naming()).unwrap_err();
    assert!(matches!(refusal.reasons.as_slice(), [RefusalReason::NodeUnreadable(..)]), "{refusal}");
    let without = ended(&Shape { ca_key: false, ..Shape::default() }, leaves);
    let refusal = crate::planner::plan(&without, &intent, &naming()).unwrap_err();
    assert_eq!(refusal.reasons, [RefusalReason::RecoverWithoutKey]);
}

#[test]
fn a_member_of_etcd_that_keeps_its_ended_certificate_is_noticed() {
    refused((Invariant::Trust, "etcd on"), |plan| {
        let first = steps(plan, |step| matches!(step.action, Action::Write { .. })).remove(0);
        let Action::Write { files } = &mut first.action else { return };
        files.retain(|file| !file.path.contains("etcdpeer"));
    });
}

#[test]
fn nothing_is_asked_of_an_api_server_before_etcd_is_back() {
    refused((Invariant::Trust, "an old leaf"), |plan| {
        let switch = plan.phases.iter_mut().find(|phase| phase.name == PhaseName::Switch).unwrap();
        let at = switch.steps.iter().position(|step| matches!(step.action, Action::Write { .. })).unwrap();
        let ready =
            switch.barrier.iter().find(|p| matches!(p, Predicate::ApiServerReady { .. })).unwrap().clone();
        switch.steps[at].action = Action::Await { predicates: vec![ready] };
    });
}

#[test]
fn a_process_that_is_not_restarted_is_noticed() {
    for (component, what) in
        [(Component::Kubelet, "kubelet on"), (Component::ControllerManager, "manager on")]
    {
        refused((Invariant::Trust, what), |plan| {
            for step in steps(plan, |step| match step.action {
                Action::RestartUnit { component: of, .. } | Action::EndProcess { component: of } => {
                    of == component
                }
                _ => false,
            }) {
                step.action = Action::Await { predicates: Vec::new() };
            }
        });
    }
}

#[test]
fn other_wrong_plans_are_refused() {
    refused((Invariant::Undo, "changes without a backup"), |plan| {
        steps(plan, |step| matches!(step.action, Action::BackUp { .. })).remove(0).action =
            Action::Await { predicates: Vec::new() };
    });
    refused((Invariant::Complete, "kubectlClient"), |plan| {
        plan.leaves.retain(|order| order.id.as_str() != "kubectlClient");
    });
    refused((Invariant::Complete, &kubelet_client_link()), |plan| {
        for step in steps(plan, |step| matches!(step.action, Action::Write { .. })) {
            let Action::Write { files } = &mut step.action else { continue };
            files.retain(|file| file.path != kubelet_client_link());
        }
    });
    refused((Invariant::Form, "paused"), |plan| {
        for step in steps(plan, |step| matches!(step.action, Action::ResumeUnits { .. })) {
            step.action = Action::Await { predicates: Vec::new() };
        }
    });
    refused((Invariant::Trust, "do not belong together"), |plan| {
        for step in steps(plan, |step| matches!(step.action, Action::Write { .. })) {
            let Action::Write { files } = &mut step.action else { continue };
            for file in files.iter_mut().filter(|file| file.path == certificate_file("client.key")) {
                file.content = Content::one(Part::LeafKey("client".into(), Generation::Old));
            }
        }
    });
}

/// The ancestor leaves every member's files on every control plane. They are of the old CA, and go.
#[test]
fn what_the_ancestor_left_of_other_members_goes() {
    let mut inventory = Shape::default().inventory();
    let first = inventory.cluster.control_planes().next().unwrap().name.clone();
    let Some(Observed::Seen(facts)) = inventory.nodes.get_mut(&first) else { panic!("it is seen") };
    let own = facts.files.iter().find(|file| file.path == certificate_file("etcdpeer0.crt")).unwrap().clone();
    for name in ["etcdpeer1.crt", "etcdpeer1.key"] {
        facts.files.push(crate::inventory::FileFacts { path: certificate_file(name), ..own.clone() });
    }
    for strategy in [Strategy::CrossSigned, Strategy::Bundled] {
        let intent = crate::testing::replace_ca(Some(strategy));
        let plan = crate::planner::plan(&inventory, &intent, &naming()).unwrap();
        let found = super::plan(&plan, &inventory);
        assert!(found.is_empty(), "{}", listed(&found));
        let removed = plan.steps().filter_map(|step| match &step.action {
            Action::Remove { paths } => Some(paths.clone()),
            _ => None,
        });
        let removed: Vec<String> = removed.flatten().filter(|path| path.contains("etcdpeer")).collect();
        assert_eq!(removed, ["etcdpeer1.crt", "etcdpeer1.key"].map(certificate_file));
    }
}
