//! kubeadm's layout: the plan that replaces its three CAs, and the way back from it.

use super::tests::listed;
use super::undo::there_and_back;
use crate::check;
use crate::intent::{Intent, Scope, Signer, Strategy, Why};
use crate::inventory::{Inventory, Observed};
use crate::plan::{Action, PhaseName, Plan};
use crate::planner::{self, RefusalReason};
use crate::restarts::restarts;
use crate::testing::{Shape, Style, end_soon, kubeadm, naming, replace_ca};

fn planned(inventory: &Inventory) -> Plan {
    planner::plan(inventory, &replace_ca(None), &naming()).unwrap()
}

#[test]
fn all_three_cas_are_replaced_without_breaking_anything() {
    for (masters, agents) in [(1, 0), (1, 2), (3, 0), (3, 2), (5, 1)] {
        for minor in [20, 24, 34] {
            for style in [Style::Block, Style::Json] {
                let inventory = kubeadm(&Shape { minor, style, ..Shape::sized(masters, agents) });
                let plan = planned(&inventory);
                assert_eq!(plan.strategy, Strategy::CrossSigned);
                assert_eq!(plan.authorities.len(), 3);
                let found = check::plan(&plan, &inventory);
                assert!(found.is_empty(), "{masters}+{agents}, 1.{minor}\n{}", listed(&found));
            }
        }
    }
}

/// Whoever is restarted is told why.
#[test]
fn every_restart_has_a_reason() {
    let inventory = kubeadm(&Shape::sized(3, 1));
    for why in [Why::ReplaceCa, Why::Compromised] {
        let plan = planner::plan(&inventory, &Intent::new(why), &naming()).unwrap();
        for restart in restarts(&plan) {
            assert!(!restart.why.contains("whatever it has read"), "{restart:?}");
            let of_tokens = restart.why.contains("token of the old key");
            assert!(!of_tokens || why == Why::Compromised, "{restart:?}");
        }
    }
}

#[test]
fn it_goes_back_from_every_step() {
    for minor in [20, 34] {
        let inventory = kubeadm(&Shape { minor, ..Shape::sized(2, 1) });
        let plan = planned(&inventory);
        let found = there_and_back(&plan, &inventory, |_, _| true);
        assert!(found.is_empty(), "1.{minor}\n{found}");
    }
}

/// Where a key may be in wrong hands, the one that signs tokens changes, too, and no token of the old key is left.
#[test]
fn a_stolen_token_key_is_replaced_and_goes_back() {
    for minor in [20, 34] {
        let inventory = kubeadm(&Shape { minor, ..Shape::sized(3, 1) });
        let intent = Intent::new(Why::Compromised);
        let plan = planner::plan(&inventory, &intent, &naming()).unwrap();
        assert_eq!(plan.key_pairs.len(), 1);
        let found = check::plan(&plan, &inventory);
        assert!(found.is_empty(), "1.{minor}\n{}", listed(&found));
        let found = there_and_back(&plan, &inventory, |position, last| last as usize == position % 3);
        assert!(found.is_empty(), "1.{minor}\n{found}");
        let mut forgetful = plan.clone();
        for step in forgetful.phases.iter_mut().flat_map(|phase| &mut phase.steps) {
            if let Action::Write { files } = &mut step.action {
                files.retain(|file| !file.path.ends_with("pki/sa.pub"));
            }
        }
        assert!(!check::plan(&forgetful, &inventory).is_empty(), "the old token key is good at the end");
    }
}

/// What is there without need is not made, and what the operator has taken away does not come back.
#[test]
fn keys_of_cas_are_written_where_they_were() {
    let mut inventory = kubeadm(&Shape::sized(3, 0));
    for node in inventory.nodes.values_mut() {
        if let Observed::Seen(facts) = node {
            facts.files.retain(|file| !file.path.ends_with("front-proxy-ca.key"));
            facts.files.retain(|file| !file.path.ends_with("super-admin.conf"));
        }
    }
    let plan = planned(&inventory);
    assert!(check::plan(&plan, &inventory).is_empty());
    let written = plan.steps().filter_map(|step| match &step.action {
        Action::Write { files } => Some(files),
        _ => None,
    });
    let mut paths =
        written.flatten().map(|file| file.path.as_str()).filter(|path| !path.contains("kubecert"));
    assert!(!paths.any(|path| path.contains("super-admin") || path.ends_with("front-proxy-ca.key")));
}

/// The mistakes that a plan for this layout might make are found by the check.
#[test]
fn what_is_left_out_is_found() {
    let inventory = kubeadm(&Shape::sized(3, 1));
    let paths = [
        "/etc/kubernetes/controller-manager.conf",
        "/etc/kubernetes/scheduler.conf",
        "/etc/kubernetes/kubelet.conf",
        "/etc/kubernetes/pki/etcd/ca.crt",
        "/etc/kubernetes/pki/etcd/server.crt",
        "/etc/kubernetes/pki/front-proxy-client.crt",
        "/etc/kubernetes/super-admin.conf",
    ];
    for path in paths {
        let mut plan = planned(&inventory);
        for step in plan.phases.iter_mut().flat_map(|phase| &mut phase.steps) {
            if let Action::Write { files } = &mut step.action {
                files.retain(|file| file.path != path);
            }
        }
        assert!(!check::plan(&plan, &inventory).is_empty(), "nothing misses {path}");
    }
    // An etcd member that is never restarted goes on trusting the old CA.
    let mut plan = planned(&inventory);
    for phase in plan.phases.iter_mut().filter(|phase| phase.name == PhaseName::Drop) {
        for step in &mut phase.steps {
            if matches!(step.action, Action::EndProcess { component: crate::model::Component::Etcd }) {
                step.action = Action::Await { predicates: Vec::new() };
            }
        }
    }
    assert!(!check::plan(&plan, &inventory).is_empty());
}

/// What these certificates leave of a cluster when they have ended.
fn ended(shape: &Shape, which: impl Fn(&str) -> bool) -> Inventory {
    let mut inventory = kubeadm(shape);
    end_soon(&mut inventory, which);
    let files = inventory.nodes.values().filter_map(Observed::seen).flat_map(|facts| &facts.files);
    let first = files.flat_map(|file| &file.certificates).map(|held| held.not_after).min();
    inventory.taken = first.unwrap();
    inventory.api = Observed::Unreadable("connection refused".to_owned());
    inventory.etcd = Observed::Unreadable("no member answers".to_owned());
    inventory
}

#[test]
fn what_has_ended_is_brought_back() {
    let cas = ["ca", "etcd-ca", "front-proxy-ca"];
    for (masters, agents) in [(1, 0), (3, 2)] {
        for minor in [20, 34] {
            let shape = Shape { minor, ..Shape::sized(masters, agents) };
            for (authorities, inventory) in [
                (0, ended(&shape, |name| !cas.contains(&name))),
                (3, ended(&shape, |_| true)),
                (3, ended(&shape, |name| name == "etcd-ca")),
            ] {
                let intent = Intent::new(Why::Recover);
                let plan = planner::plan(&inventory, &intent, &naming()).unwrap();
                assert_eq!(plan.authorities.len(), authorities);
                let found = check::plan(&plan, &inventory);
                assert!(found.is_empty(), "{masters}+{agents} 1.{minor} {authorities}\n{}", listed(&found));
            }
        }
    }
    // Without the CA's key somebody else signs leaves, and cannot give the CA a longer life.
    let external = Intent { signer: Signer::External, ..Intent::new(Why::Recover) };
    for (authority, planned) in [(false, true), (true, false)] {
        let mut keyless = ended(&Shape::sized(3, 2), |name| authority || !cas.contains(&name));
        keyless.description.ca_key = false;
        assert_eq!(planner::plan(&keyless, &external, &naming()).is_ok(), planned);
        let refusal = planner::plan(&keyless, &Intent::new(Why::Recover), &naming()).unwrap_err();
        assert_eq!(refusal.reasons, [RefusalReason::RecoverWithoutKey]);
    }
    let well = kubeadm(&Shape::sized(3, 1));
    assert!(planner::plan(&well, &Intent::new(Why::Recover), &naming()).unwrap().is_empty());
}

/// What is due gets successors of the CAs in force, wherever it is; what is not due stays.
#[test]
fn what_is_due_is_renewed_and_goes_back() {
    for minor in [24, 34] {
        let mut inventory = kubeadm(&Shape { minor, ..Shape::sized(2, 1) });
        let intent = Intent::new(Why::Renew);
        assert!(planner::plan(&inventory, &intent, &naming()).unwrap().is_empty());
        let some = |name: &str| name.starts_with("apiserver") || name.starts_with("controller-manager");
        for which in [&some as &dyn Fn(&str) -> bool, &|name| !name.ends_with("ca")] {
            end_soon(&mut inventory, which);
            let plan = planner::plan(&inventory, &intent, &naming()).unwrap();
            assert!(plan.authorities.is_empty() && !plan.is_empty());
            let found = check::plan(&plan, &inventory);
            assert!(found.is_empty(), "1.{minor}\n{}", listed(&found));
            let before = plan.phases.iter().take_while(|phase| phase.name < PhaseName::Finish);
            let before: usize = before.map(|phase| phase.steps.len()).sum();
            let found = there_and_back(&plan, &inventory, |position, last| {
                position < before && last as usize == position % 3
            });
            assert!(found.is_empty(), "1.{minor}\n{found}");
        }
    }
}

/// Where the CAs' keys are kept elsewhere, leaves are renewed if somebody else signs, and nothing else is done.
#[test]
fn what_an_external_ca_signs_is_renewed_and_goes_back() {
    let mut inventory = kubeadm(&Shape::sized(2, 1));
    inventory.description.ca_key = false;
    end_soon(&mut inventory, |name| !name.ends_with("ca"));
    let ours = Intent::new(Why::Renew);
    let external = Intent { signer: Signer::External, ..ours.clone() };
    let refused = |inventory: &Inventory, intent: &Intent| {
        planner::plan(inventory, intent, &naming()).unwrap_err().to_string()
    };
    let mut keyless = inventory.clone();
    for facts in keyless.nodes.values_mut() {
        let Observed::Seen(facts) = facts else { continue };
        facts.files.retain(|file| !file.path.ends_with("ca.key"));
    }
    let gone = refused(&keyless, &external);
    assert!(gone.contains("would not start again") && gone.contains("/etc/kubernetes/pki/ca.key"), "{gone}");
    for facts in keyless.nodes.values_mut() {
        let Observed::Seen(facts) = facts else { continue };
        for text in facts.files.iter_mut().filter_map(|file| file.text.as_mut()) {
            for (flag, path) in [("cert", "crt"), ("key", "key")] {
                let named = format!("--cluster-signing-{flag}-file=/etc/kubernetes/pki/ca.{path}");
                *text = text.replace(&named, &format!("--cluster-signing-{flag}-file="));
            }
        }
    }
    let said = refused(&keyless, &ours);
    assert!(said.contains("more are due") && said.contains("--csr-out DIR"), "{said}");
    let plan = planner::plan(&keyless, &external, &naming()).unwrap();
    assert!(plan.authorities.is_empty());
    // All that the planner would order if the keys were there.
    inventory.description.ca_key = true;
    assert_eq!(plan.leaves, planner::plan(&inventory, &ours, &naming()).unwrap().leaves);
    let found = check::plan(&plan, &keyless);
    assert!(found.is_empty(), "{}", listed(&found));
    let before = plan.phases.iter().take_while(|phase| phase.name < PhaseName::Finish);
    let before: usize = before.map(|phase| phase.steps.len()).sum();
    let found =
        there_and_back(&plan, &keyless, |position, last| position < before && last as usize == position % 3);
    assert!(found.is_empty(), "{found}");
    for why in [Why::ReplaceCa, Why::Compromised, Why::ExtendCa] {
        let said = refused(&keyless, &Intent { signer: Signer::External, ..Intent::new(why) });
        assert!(said.contains(&format!("--why {why} needs the CA's private key")), "{said}");
    }
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    let inventory = kubeadm(&Shape::sized(3, 1));
    let intents = [
        Intent::new(Why::ExtendCa),
        Intent { scope: Scope::EtcdCa, ..Intent::new(Why::ReplaceCa) },
        replace_ca(Some(Strategy::Bundled)),
    ];
    for intent in intents {
        let refusal = planner::plan(&inventory, &intent, &naming()).unwrap_err();
        let [RefusalReason::NotForLayout(_)] = refusal.reasons.as_slice() else {
            panic!("{intent}: {refusal}");
        };
    }
}

/// A cluster that somebody has made another of is not taken for one of kubeadm's.
#[test]
fn what_kubeadm_does_not_make_is_refused() {
    let spoilt = |spoil: &dyn Fn(&mut crate::inventory::FileFacts)| {
        let mut inventory = kubeadm(&Shape::sized(3, 1));
        let last = inventory.cluster.control_planes().last().unwrap().name.clone();
        let Some(Observed::Seen(facts)) = inventory.nodes.get_mut(&last) else { panic!("it is seen") };
        facts.files.iter_mut().for_each(spoil);
        planner::plan(&inventory, &replace_ca(None), &naming()).unwrap_err().to_string()
    };
    let flag = |file: &mut crate::inventory::FileFacts, from: &str, to: &str| {
        file.text = file.text.take().map(|text| text.replace(from, to));
    };
    let verified = spoilt(&|file| {
        flag(file, "\"--etcd-cafile", "\"--kubelet-certificate-authority=/x\", \"--etcd-cafile")
    });
    assert!(verified.contains("verify kubelets"), "{verified}");
    let elsewhere =
        spoilt(&|file| flag(file, "client-ca-file=/etc/kubernetes/pki", "client-ca-file=/srv/pki"));
    assert!(elsewhere.contains("certificatesDir"), "{elsewhere}");
    let external = spoilt(&|file| {
        if file.path.ends_with("etcd.yaml") {
            file.text = None;
        }
    });
    assert!(external.contains("external etcd"), "{external}");
    let mixed = spoilt(&|file| {
        if file.path.ends_with("etcd/ca.crt") {
            file.certificates[0].fingerprint = "another".to_owned();
        }
    });
    assert!(mixed.contains("etcd/ca.crt on node"), "{mixed}");
    let mut keyless = kubeadm(&Shape { ca_key: false, ..Shape::sized(3, 1) });
    keyless.description.ca_key = false;
    let refusal = planner::plan(&keyless, &replace_ca(None), &naming()).unwrap_err();
    assert!(refusal.to_string().contains("key is on no control plane"), "{refusal}");
}
