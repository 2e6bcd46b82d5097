//! Kubelets that present what the cluster CA has signed for them (`serverTLSBootstrap`).

use super::tests::listed;
use super::undo::there_and_back;
use crate::check;
use crate::intent::{Intent, Why};
use crate::inventory::{Inventory, Observed};
use crate::layout::{KUBELET_PKI, kubelet_server, kubelet_server_link};
use crate::plan::{Action, PhaseName, Plan};
use crate::planner;
use crate::restarts::restarts;
use crate::testing::{Kubelets, Shape, end_soon, kubeadm_with, naming, replace_ca};

const SIGNED: [Kubelets; 2] = [Kubelets::Asking, Kubelets::Verified];

fn planned(inventory: &Inventory, why: Why) -> Plan {
    planner::plan(inventory, &Intent::new(why), &naming()).unwrap()
}

/// The same plan without what it writes for kubelets' serving certificates.
fn forgetful(plan: &Plan, phase: PhaseName) -> Plan {
    let mut plan = plan.clone();
    for step in plan.phases.iter_mut().filter(|of| of.name == phase).flat_map(|of| &mut of.steps) {
        if let Action::Write { files } = &mut step.action {
            files.retain(|file| !file.path.contains("/kubelet-server-"));
        }
    }
    plan
}

#[test]
fn they_get_leaves_of_the_new_ca_that_both_cas_vouch_for() {
    for kubelets in SIGNED {
        for (masters, agents, minor) in [(1, 0, 34), (3, 2, 20), (3, 2, 34)] {
            let inventory = kubeadm_with(&Shape { minor, ..Shape::sized(masters, agents) }, kubelets);
            for why in [Why::ReplaceCa, Why::Compromised] {
                let plan = planned(&inventory, why);
                let found = check::plan(&plan, &inventory);
                assert!(found.is_empty(), "{kubelets:?} {masters}+{agents} 1.{minor}\n{}", listed(&found));
                for node in &inventory.cluster.nodes {
                    assert!(plan.leaves.iter().any(|order| order.id == kubelet_server(&node.name)));
                }
                let unexplained =
                    restarts(&plan).into_iter().find(|restart| restart.why.contains("whatever it has read"));
                assert_eq!(unexplained, None);
                let found = check::plan(&forgetful(&plan, PhaseName::Switch), &inventory);
                assert!(!found.is_empty(), "nobody misses new serving certificates");
            }
        }
    }
}

#[test]
fn they_go_back_from_every_step() {
    for kubelets in SIGNED {
        let inventory = kubeadm_with(&Shape::sized(2, 1), kubelets);
        let plan = planned(&inventory, Why::ReplaceCa);
        let found = there_and_back(&plan, &inventory, |_, _| true);
        assert!(found.is_empty(), "{kubelets:?}\n{found}");
    }
}

/// Where API servers verify kubelets, a new leaf alone is refused by those that hold the old CA until their last visit.
#[test]
fn without_the_cross_certificate_they_are_refused() {
    let inventory = kubeadm_with(&Shape::sized(3, 1), Kubelets::Verified);
    let mut plan = planned(&inventory, Why::ReplaceCa);
    for step in plan.phases.iter_mut().flat_map(|phase| &mut phase.steps) {
        let Action::Write { files } = &mut step.action else { continue };
        for file in files.iter_mut().filter(|file| file.path.contains("/kubelet-server-")) {
            if let crate::material::Content::Parts(parts) = &mut file.content {
                parts.retain(|part| !matches!(part, crate::material::Part::Cross(_)));
            }
        }
    }
    let found = listed(&check::plan(&plan, &inventory));
    assert!(found.contains("kubelet on"), "{found}");
}

#[test]
fn what_is_due_is_renewed_and_goes_back() {
    for kubelets in SIGNED {
        let mut inventory = kubeadm_with(&Shape::sized(2, 1), kubelets);
        assert!(planned(&inventory, Why::Renew).is_empty());
        end_soon(&mut inventory, |name| name.starts_with("kubelet-server/"));
        let plan = planned(&inventory, Why::Renew);
        let ids: Vec<&str> = plan.leaves.iter().map(|order| order.id.as_str()).collect();
        assert!(ids.len() == 3 && ids.iter().all(|id| id.starts_with("kubelet-server/")), "{ids:?}");
        let found = check::plan(&plan, &inventory);
        assert!(found.is_empty(), "{kubelets:?}\n{}", listed(&found));
        assert!(!check::plan(&forgetful(&plan, PhaseName::Switch), &inventory).is_empty());
        let before = plan.phases.iter().take_while(|phase| phase.name < PhaseName::Finish);
        let before: usize = before.map(|phase| phase.steps.len()).sum();
        let found = there_and_back(&plan, &inventory, |position, _| position < before);
        assert!(found.is_empty(), "{kubelets:?}\n{found}");
    }
}

#[test]
fn what_has_ended_is_brought_back_with_the_rest() {
    for authorities_too in [false, true] {
        let mut inventory = kubeadm_with(&Shape::sized(3, 2), Kubelets::Verified);
        end_soon(&mut inventory, |name| authorities_too || !name.ends_with("ca"));
        let files = inventory.nodes.values().filter_map(Observed::seen).flat_map(|facts| &facts.files);
        let first = files.flat_map(|file| &file.certificates).map(|held| held.not_after).min();
        inventory.taken = first.unwrap();
        inventory.api = Observed::Unreadable("connection refused".to_owned());
        inventory.etcd = Observed::Unreadable("no member answers".to_owned());
        let plan = planned(&inventory, Why::Recover);
        let found = check::plan(&plan, &inventory);
        assert!(found.is_empty(), "{}", listed(&found));
        assert_eq!(
            plan.leaves.iter().filter(|order| order.id.as_str().contains("kubelet-server/")).count(),
            5
        );
    }
}

/// What a CA of somebody else's has signed is left to whoever runs that, and named.
#[test]
fn a_foreign_signer_is_left_alone() {
    let mut inventory = kubeadm_with(&Shape::sized(2, 1), Kubelets::Asking);
    let link = kubelet_server_link();
    for node in inventory.nodes.values_mut() {
        let Observed::Seen(facts) = node else { continue };
        for file in facts.files.iter_mut().filter(|file| file.path == link) {
            file.certificates.iter_mut().for_each(|leaf| leaf.signed_by = None);
        }
    }
    let plan = planner::plan(&inventory, &replace_ca(None), &naming()).unwrap();
    assert!(check::plan(&plan, &inventory).is_empty());
    let kept = plan.kept.iter().filter(|kept| kept.id.starts_with(&link)).count();
    assert_eq!(kept, 3);
    let touched = plan.steps().any(|step| match &step.action {
        Action::Write { files } => {
            files.iter().any(|file| file.path.starts_with(&format!("{KUBELET_PKI}/kubelet-server")))
        }
        _ => false,
    });
    assert!(!touched);
}
