//! Clusters with Windows agents: good plans hold every invariant, and the mistakes that only they know are found.

use super::Invariant;
use super::tests::{listed, planned};
use crate::intent::{Intent, Strategy, Why};
use crate::layout::windows;
use crate::model::{Component, OperatingSystem};
use crate::plan::{Action, Phase, PhaseName, Plan, Predicate, Step, Target};
use crate::testing::{Shape, end_soon, naming};

fn shape() -> Shape {
    Shape { windows_agents: 2, ..Shape::sized(3, 1) }
}

const STRATEGIES: [Strategy; 2] = [Strategy::CrossSigned, Strategy::Bundled];

fn phase(plan: &mut Plan, name: PhaseName) -> &mut Phase {
    plan.phases.iter_mut().find(|phase| phase.name == name).expect("it has that phase")
}

fn on_windows(step: &Step) -> bool {
    matches!(&step.target, Target::Node(node) if node.as_str().starts_with("1000k8s01"))
}

/// Spoils a good plan, and expects the checker to say so.
#[track_caller]
fn refused(strategy: Strategy, invariant: Invariant, says: &str, spoil: impl FnOnce(&mut Plan)) {
    let (mut plan, inventory) = planned(&shape(), strategy);
    spoil(&mut plan);
    let found = super::plan(&plan, &inventory);
    let named = found.iter().any(|found| found.invariant == invariant && found.to_string().contains(says));
    assert!(named, "{strategy}: nothing says `{says}` of {invariant:?}:\n{}", listed(&found));
}

#[test]
fn every_reason_holds_for_windows_agents_with_and_without_certificates_of_their_own() {
    for kubelet_clients in [true, false] {
        let shape = Shape { kubelet_clients, ..shape() };
        for strategy in STRATEGIES {
            let (plan, inventory) = planned(&shape, strategy);
            let found = super::plan(&plan, &inventory);
            assert!(found.is_empty(), "{strategy}\n{}", listed(&found));
        }
        for why in [Why::Renew, Why::ExtendCa] {
            let mut inventory = shape.inventory();
            if why == Why::Renew {
                end_soon(&mut inventory, |name| !["ca", "proxyClientCA", "aggregator"].contains(&name));
            }
            let plan = crate::planner::plan(&inventory, &Intent::new(why), &naming()).expect("a plan");
            let found = super::plan(&plan, &inventory);
            assert!(found.is_empty(), "{why}\n{}", listed(&found));
            let restarted = plan.steps().filter(|step| on_windows(step)).filter(|step| {
                matches!(step.action, Action::RestartUnit { component: Component::Kubelet, .. })
            });
            assert_eq!(restarted.count(), 2, "{why} restarts each kubelet once");
        }
    }
}

/// What a Windows agent goes through in a whole rotation: one restart, since each makes its pod network anew.
#[test]
fn a_windows_agent_is_restarted_once_and_asks_for_its_certificate() {
    let (plan, inventory) = planned(&shape(), Strategy::CrossSigned);
    assert!(inventory.cluster.agents().any(|node| node.system == OperatingSystem::Windows));
    let titles: Vec<&str> = plan
        .steps()
        .filter(|step| matches!(&step.target, Target::Node(node) if node.as_str() == "1000k8s010"))
        .map(|step| step.title.as_str())
        .collect();
    let expected = [
        "back up",
        "write new files",
        "restart kubelet and let it ask for a certificate",
        "wait until the node is Ready",
        "remove backups and staged files",
    ];
    assert_eq!(titles, expected);
    assert!(plan.notices.iter().any(|notice| notice.contains("1000k8s010, 1000k8s011")));
    for step in plan.steps().filter(|step| on_windows(step)) {
        if let Action::Write { files } = &step.action {
            let private: Vec<&str> = files
                .iter()
                .filter(|file| file.access.as_ref().is_some_and(|access| access.mode == 0o600))
                .map(|file| file.path.as_str())
                .collect();
            let key = format!("{}.key", windows::KUBELET_SERVING);
            assert_eq!(private, [key.as_str(), windows::KUBECONFIG]);
        }
    }
}

#[test]
fn asking_while_the_old_ca_issues_is_found() {
    refused(
        Strategy::CrossSigned,
        Invariant::Form,
        "waits for something that nothing brings about",
        |plan| {
            let switch = phase(plan, PhaseName::Switch);
            let (mut early, late): (Vec<Step>, Vec<Step>) = switch.steps.drain(..).partition(on_windows);
            early.iter_mut().for_each(|step| step.after.retain(|id| *id > late[late.len() - 1].id));
            switch.steps = early.into_iter().chain(late).collect();
        },
    );
}

#[test]
fn a_kubelet_that_keeps_its_old_certificate_is_found() {
    for strategy in STRATEGIES {
        refused(strategy, Invariant::Form, "waits for something that nothing brings about", |plan| {
            for step in &mut phase(plan, PhaseName::Switch).steps {
                if let Action::StartAfresh { unit, component, .. } = step.action.clone() {
                    step.action = Action::RestartUnit { unit, component };
                }
            }
        });
        // Even if nobody looks, its certificate is of no use once the old CA goes.
        refused(strategy, Invariant::Trust, "kubelet on 1000k8s010", |plan| {
            let switch = phase(plan, PhaseName::Switch);
            let looks = |predicate: &Predicate| matches!(predicate, Predicate::HoldsLeafOf { .. });
            switch.barrier.retain(|predicate| !looks(predicate));
            for step in &mut switch.steps {
                match step.action.clone() {
                    Action::StartAfresh { unit, component, .. } => {
                        step.action = Action::RestartUnit { unit, component };
                    }
                    Action::Await { mut predicates } => {
                        predicates.retain(|predicate| !looks(predicate));
                        step.action = Action::Await { predicates };
                    }
                    _ => {}
                }
            }
        });
    }
}

#[test]
fn what_is_forgotten_without_a_backup_is_found() {
    refused(Strategy::CrossSigned, Invariant::Undo, "kubelet-client-current.pem", |plan| {
        for step in &mut phase(plan, PhaseName::Prepare).steps {
            if let Action::BackUp { paths } = &mut step.action {
                paths.retain(|path| path != windows::KUBELET_CLIENT);
            }
        }
    });
}

#[test]
fn a_kubeconfig_that_is_left_alone_is_found() {
    for strategy in STRATEGIES {
        refused(strategy, Invariant::Complete, r"c:\k\config", |plan| {
            for step in plan.phases.iter_mut().flat_map(|phase| &mut phase.steps) {
                if let Action::Write { files } = &mut step.action {
                    files.retain(|file| file.path != windows::KUBECONFIG);
                }
            }
        });
    }
}
