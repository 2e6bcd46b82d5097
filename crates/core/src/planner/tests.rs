//! What the planner refuses, and that it is a function of its arguments.

use super::{RefusalReason, plan};
use crate::intent::{Intent, Scope, Strategy, Why};
use crate::inventory::{Inventory, Observed, Server};
use crate::layout::certificate_file;
use crate::model::NodeName;
use crate::plan::KeyOrder;
use crate::testing::{Shape, authority, end_soon, naming, replace_ca};

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
    // A process that ends again and again is seen running now and then.
    refuses(
        |it| {
            let server = Server::ApiServer(first_node(it));
            it.servers.retain(|(of, _)| of != &server);
            it.servers.push((server, Observed::Unreadable("connection refused".to_owned())));
        },
        &["kube-apiserver on", "does not answer (connection refused)", "see its log"],
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
            api.nodes[1].operating_system = "windows".to_owned();
            api.nodes[4].operating_system = "plan9".to_owned();
        },
        &["is not Ready", "control plane k8s-master-1-1 runs Windows", "k8s-linux-1-1 runs plan9"],
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

fn renew() -> Intent {
    Intent::new(Why::Renew)
}

/// The kinds of leaves that end soon in an inventory, as the plan names them.
#[track_caller]
fn due(shape: &Shape, chosen: impl Fn(&str) -> bool) -> crate::plan::Plan {
    let mut inventory = shape.inventory();
    end_soon(&mut inventory, chosen);
    plan(&inventory, &renew(), &naming()).expect("a plan")
}

fn refused(inventory: &Inventory, intent: &Intent) -> String {
    plan(inventory, intent, &naming()).expect_err("a refusal").to_string()
}

#[test]
fn with_nothing_due_renewing_is_the_empty_plan() {
    let inventory = Shape::default().inventory();
    let empty = plan(&inventory, &renew(), &naming()).expect("a plan");
    assert!(empty.is_empty());
    let kept: Vec<&str> = empty.kept.iter().map(|kept| kept.id.as_str()).collect();
    assert!(kept.contains(&"certificate apiserver"), "{kept:?}");
    assert!(kept.contains(&"/etc/kubernetes/certs/kubeletserver.crt on k8s-linux-1-0"), "{kept:?}");
    assert!(empty.kept.iter().all(|kept| kept.why.contains("valid until 2055-")), "{:?}", empty.kept);
}

#[test]
fn only_what_is_due_is_renewed_and_the_api_server_keeps_its_key() {
    let plan = due(&Shape::default(), |name| ["apiserver", "etcdclient"].contains(&name));
    let ordered: Vec<(&str, bool)> =
        plan.leaves.iter().map(|order| (order.id.as_str(), order.key == KeyOrder::Same)).collect();
    assert_eq!(ordered, [("apiserver", true), ("etcdclient", false)]);
    assert!(plan.authorities.is_empty());
    assert!(plan.kept.iter().any(|kept| kept.id == "certificate client"));
    let writes_the_key = plan.steps().any(|step| match &step.action {
        crate::plan::Action::Write { files } => {
            files.iter().any(|file| file.path == certificate_file("apiserver.key"))
        }
        _ => false,
    });
    assert!(!writes_the_key);
    assert_eq!(crate::restarts::restarts(&plan), []);
}

/// The reload matrix, as restarts.
#[test]
fn only_what_does_not_read_again_is_restarted() {
    let restarted = |minor, kubelet_clients, chosen: fn(&str) -> bool| -> Vec<String> {
        let shape = Shape { minor, kubelet_clients, ..Shape::default() };
        let plan = due(&shape, chosen);
        let restarts = crate::restarts::restarts(&plan);
        restarts.iter().map(|restart| format!("{} on {}", restart.what, restart.nodes.len())).collect()
    };
    let none: [&str; 0] = [];
    assert_eq!(restarted(34, true, |name| name.starts_with("etcd") || name == "apiserver"), none);
    assert_eq!(restarted(34, true, |name| name == "client"), none);
    assert_eq!(restarted(34, true, |name| name.starts_with("k8s-")), none);
    assert_eq!(restarted(30, true, |name| name.starts_with("k8s-")), ["kubelet on 5"]);
    assert_eq!(restarted(34, false, |name| name == "client"), ["kubelet on 5"]);
    assert_eq!(restarted(24, true, |name| name == "client"), ["kube-apiserver on 3"]);
    assert_eq!(restarted(34, true, |name| name == "system:node:k8s-linux-1-1"), ["kubelet on 1"]);
    let secret = restarted(34, true, |name| name == "extension.aggregated.svc");
    assert_eq!(secret, ["deployment aggregated/extension on 0"]);
}

#[test]
fn the_front_proxys_leaf_cannot_be_renewed_alone() {
    let mut inventory = Shape::default().inventory();
    end_soon(&mut inventory, |name| name == "aggregator");
    for scope in [Scope::All, Scope::FrontProxy] {
        let said = refused(&inventory, &Intent { scope, ..renew() });
        assert!(said.contains("--why replace-ca --scope front-proxy"), "{said}");
    }
    let cluster = plan(&inventory, &Intent { scope: Scope::ClusterCa, ..renew() }, &naming());
    assert!(cluster.expect("a plan").is_empty());
    end_soon(&mut inventory, |name| name == "client");
    let both = plan(&inventory, &renew(), &naming()).expect("a plan");
    assert!(both.notices[0].contains("--scope front-proxy"), "{:?}", both.notices);
    let kept = both.kept.iter().find(|kept| kept.id.contains("proxy.crt")).expect("it is kept");
    assert!(kept.why.contains("nobody has its CA's key"), "{kept:?}");
}

#[test]
fn what_stands_against_renewing_and_extending_is_named_with_its_remedy() {
    let all = |name: &str| name != "ca";
    let without_key = Shape { ca_key: false, ..Shape::default() };
    let mut inventory = without_key.inventory();
    end_soon(&mut inventory, all);
    let said = refused(&inventory, &Intent { scope: Scope::ClusterCa, ..renew() });
    assert!(said.contains("more are due") && said.contains("--why replace-ca"), "{said}");
    let said = refused(&inventory, &Intent::new(Why::ExtendCa));
    assert!(said.contains("private key") && said.contains("--why replace-ca"), "{said}");

    let mut inventory = Shape::default().inventory();
    end_soon(&mut inventory, |name| ["ca", "client"].contains(&name));
    let said = refused(&inventory, &renew());
    assert!(said.contains("--why extend-ca first"), "{said}");

    let front_proxy = Intent { scope: Scope::FrontProxy, ..Intent::new(Why::ExtendCa) };
    let said = refused(&inventory, &front_proxy);
    assert!(said.contains("cannot get a longer life") && said.contains("--scope front-proxy"), "{said}");

    let issued = crate::testing::issued("ca", "upper");
    inventory.description.certificates.insert("ca".into(), issued);
    let said = refused(&inventory, &Intent::new(Why::ExtendCa));
    assert!(said.contains("no root") && said.contains("CN=upper"), "{said}");
}

#[test]
fn scopes_and_strategies_that_make_no_sense_are_refused() {
    let inventory = Shape::default().inventory();
    let scoped = |why, scope| Intent { scope, ..Intent::new(why) };
    for why in [Why::Renew, Why::ExtendCa, Why::ReplaceCa, Why::Compromised] {
        let said = refused(&inventory, &scoped(why, Scope::EtcdCa));
        assert!(said.contains("no CA of its own") && said.contains("--scope cluster-ca"), "{said}");
    }
    let bare = Shape { front_proxy: false, aggregated: false, ..Shape::default() }.inventory();
    let said = refused(&bare, &scoped(Why::ReplaceCa, Scope::FrontProxy));
    assert!(said.contains("has no front proxy"), "{said}");
    let old = Shape { minor: 19, ..Shape::default() }.inventory();
    let said = refused(&old, &scoped(Why::ReplaceCa, Scope::FrontProxy));
    assert!(said.contains("1.19") && said.contains("leave --scope away"), "{said}");
    for (why, strategy) in [
        (Why::Renew, Strategy::Bundled),
        (Why::ExtendCa, Strategy::CrossSigned),
        (Why::ReplaceCa, Strategy::SameKey),
        (Why::Compromised, Strategy::SameCa),
    ] {
        let intent = Intent { strategy: Some(strategy), ..Intent::new(why) };
        assert!(refused(&inventory, &intent).contains("leave --strategy away"));
    }
}

#[test]
fn a_ca_that_cannot_gain_is_left_alone() {
    let mut inventory = Shape::default().inventory();
    let fresh = |ca: &mut crate::inventory::CertificateFacts| ca.not_before = naming().now;
    inventory.description.certificates.entry("ca".into()).and_modify(fresh);
    let plan = plan(&inventory, &Intent::new(Why::ExtendCa), &naming()).expect("a plan");
    assert!(plan.is_empty(), "{plan:?}");
    assert!(plan.kept[0].why.contains("as long as a new certificate would be"), "{:?}", plan.kept);
}

#[test]
fn whoever_was_compromised_is_told_what_a_rotation_does_not_end() {
    let inventory = Shape { job_pods: 1, ..Shape::default() }.inventory();
    let plan = plan(&inventory, &Intent::new(Why::Compromised), &naming()).expect("a plan");
    let told = plan.notices.join("\n");
    for word in [
        "Every Secret",
        "Service-account tokens",
        "Token Secrets",
        "CertificateSigningRequests",
        "ClusterRoleBindings",
        "webhooks",
        "DaemonSets",
        "Kubeconfigs",
        "snapshots of etcd",
        "virtual machines",
        "encryption at rest",
        "front proxy",
        "Jobs",
    ] {
        assert!(told.contains(word), "{told}\ndoes not say {word:?}");
    }
    assert!(!Why::Compromised.may_hold() && Why::ReplaceCa.may_hold());
    // Until the phase "drop" it is the plan that replaces the CA.
    let other = super::plan(&inventory, &Intent::new(Why::ReplaceCa), &naming()).expect("a plan");
    assert_eq!(other.phases, plan.phases);
    assert!(plan.notices.len() > other.notices.len());
}

/// Each restart with a reason, for every reason to rotate.
#[test]
fn every_restart_has_a_reason() {
    for why in [Why::Renew, Why::ExtendCa, Why::ReplaceCa, Why::Compromised] {
        for (minor, ca_key) in [(20, true), (34, true), (34, false)] {
            let mut inventory = Shape { minor, ca_key, ..Shape::default() }.inventory();
            end_soon(&mut inventory, |name| name != "ca" && name != "aggregator");
            let Ok(plan) = plan(&inventory, &Intent::new(why), &naming()) else {
                assert!(!ca_key && !why.replaces_everything());
                continue;
            };
            let restarts = crate::restarts::restarts(&plan);
            assert!(!restarts.is_empty());
            for restart in restarts {
                assert!(!restart.why.is_empty(), "{why}: {restart:?}");
                assert!(!restart.why.contains("whatever it has read"), "{why}: {restart:?}");
            }
        }
    }
}
