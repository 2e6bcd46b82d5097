//! What the planner refuses, and that it is a function of its arguments.

use super::{Naming, RefusalReason, plan};
use crate::intent::{Intent, Limits, Strategy, Why};
use crate::inventory::{Inventory, Observed};
use crate::layout::certificate_file;
use crate::model::NodeName;
use crate::testing::{Shape, authority, naming, replace_ca};

/// Spoils a good inventory, and checks that the refusal names what was spoilt.
#[track_caller]
fn refuses(spoil: impl FnOnce(&mut Inventory), words: &[&str]) {
    let mut inventory = Shape::default().inventory();
    spoil(&mut inventory);
    let refusal = plan(&inventory, &replace_ca(None), &naming()).expect_err("a refusal");
    let said = refusal.to_string();
    for word in words {
        assert!(said.contains(word), "{said:?} does not say {word:?}");
    }
}

fn first_node(inventory: &Inventory) -> NodeName {
    inventory.cluster.nodes[0].name.clone()
}

fn with_facts(inventory: &mut Inventory, change: impl FnOnce(&mut crate::inventory::NodeFacts)) {
    let name = first_node(inventory);
    let Some(Observed::Seen(facts)) = inventory.nodes.get_mut(&name) else { panic!("no facts of {name}") };
    change(facts);
}

#[test]
fn what_stands_against_a_plan_is_named_with_its_remedy() {
    refuses(|it| with_facts(it, |facts| facts.clock_offset_ms = -185_000), &["clock", "185.0 s", "NTP"]);
    refuses(|it| with_facts(it, |facts| facts.free_bytes = 1024), &["0 MiB free", "make room"]);
    refuses(
        |it| with_facts(it, |facts| facts.missing_tools = vec!["iptables".to_owned()]),
        &["lacks iptables"],
    );
    refuses(
        |it| with_facts(it, |facts| facts.processes.clear()),
        &["etcd does not run", "kubelet does not run"],
    );
    refuses(
        |it| {
            let name = first_node(it);
            it.nodes.insert(name, Observed::Unreadable("no route to host".to_owned()));
        },
        &["cannot be looked at", "no route to host"],
    );
    refuses(
        |it| it.api = Observed::Unreadable("connection refused".to_owned()),
        &["Kubernetes API cannot be asked"],
    );
    refuses(
        |it| {
            let Observed::Seen(members) = &mut it.etcd else { panic!("no members") };
            members[1].healthy = false;
        },
        &["etcd member", "quorum"],
    );
    refuses(
        |it| {
            let Observed::Seen(api) = &mut it.api else { panic!("no API") };
            api.nodes[0].ready = false;
            api.nodes[4].operating_system = "windows".to_owned();
        },
        &["is not Ready", "runs Windows"],
    );
}

#[test]
fn another_ca_on_a_node_is_half_a_rotation_or_the_wrong_model() {
    let change = |facts: &mut crate::inventory::NodeFacts| {
        let path = certificate_file("ca.crt");
        let Some(file) = facts.files.iter_mut().find(|file| file.path == path) else { panic!("no {path}") };
        file.certificates = vec![authority("ca-g2")];
    };
    refuses(|it| with_facts(it, change), &["not the api model's", "run directory"]);
}

#[test]
fn every_reason_is_given_at_once() {
    let mut inventory = Shape::default().inventory();
    with_facts(&mut inventory, |facts| {
        facts.clock_offset_ms = 90_000;
        facts.free_bytes = 0;
    });
    inventory.etcd = Observed::Unreadable("refused".to_owned());
    let refusal = plan(&inventory, &replace_ca(None), &naming()).expect_err("a refusal");
    assert_eq!(refusal.reasons.len(), 3, "{refusal}");
}

#[test]
fn the_strategy_follows_from_what_is_known() {
    let strategy = |ca_key, wanted| {
        let inventory = Shape { ca_key, ..Shape::default() }.inventory();
        plan(&inventory, &replace_ca(wanted), &naming()).map(|plan| plan.strategy)
    };
    assert_eq!(strategy(true, None), Ok(Strategy::CrossSigned));
    assert_eq!(strategy(false, None), Ok(Strategy::Bundled));
    assert_eq!(strategy(true, Some(Strategy::Bundled)), Ok(Strategy::Bundled));
    let refusal = strategy(false, Some(Strategy::CrossSigned)).expect_err("a refusal");
    assert_eq!(refusal.reasons, [RefusalReason::NoCaKey]);
}

#[test]
fn a_plan_is_a_function_of_its_arguments() {
    let inventory = Shape::default().inventory();
    let made = || {
        plan(&inventory, &replace_ca(None), &naming()).map(|plan| serde_json::to_string(&plan).expect("JSON"))
    };
    assert_eq!(made(), made());
}

#[test]
fn with_nothing_due_renewing_is_the_empty_plan_and_with_something_due_it_is_refused() {
    let inventory = Shape::default().inventory();
    let intent = |days| Intent {
        why: Why::Renew,
        strategy: None,
        limits: Limits { renew_within_days: days, ..Limits::default() },
    };
    let Naming { now, stamp } = naming();
    let naming = Naming { now, stamp };
    let empty = plan(&inventory, &intent(0), &naming).expect("a plan");
    assert!(empty.is_empty() && !empty.kept.is_empty());
    let refusal = plan(&inventory, &intent(40_000), &naming).expect_err("a refusal");
    assert!(refusal.to_string().contains("replace-ca"), "{refusal}");
}
