//! Good plans pass; deliberately wrong ones do not.

use proptest::prelude::*;
use proptest::strategy::Strategy as _;

use super::*;
use crate::intent::Strategy;
use crate::layout::{certificate_file, manifest_file};
use crate::material::{Content, Part};
use crate::model::{Component, Generation, TrustDomain};
use crate::plan::{Action, FileWrite, Phase, PhaseName, Step, Target};
use crate::testing::{Shape, Style, naming, replace_ca};

const CROSS: Strategy = Strategy::CrossSigned;
const BUNDLED: Strategy = Strategy::Bundled;

pub(super) fn planned(shape: &Shape, strategy: Strategy) -> (Plan, Inventory) {
    let inventory = shape.inventory();
    let plan = crate::planner::plan(&inventory, &replace_ca(Some(strategy)), &naming()).unwrap();
    (plan, inventory)
}

pub(super) fn listed(violations: &[Violation]) -> String {
    violations.iter().map(|violation| format!("{violation}\n")).collect()
}

#[track_caller]
fn accepted(shape: &Shape, strategy: Strategy) {
    let (plan, inventory) = planned(shape, strategy);
    let found = super::plan(&plan, &inventory);
    assert!(found.is_empty(), "{shape:?}\n{}", listed(&found));
}

/// Spoils a good plan, and expects the checker to say so.
#[track_caller]
fn refused(strategy: Strategy, expected: Invariant, spoil: impl FnOnce(&mut Plan)) -> String {
    let (mut plan, inventory) = planned(&Shape::default(), strategy);
    spoil(&mut plan);
    let found = super::plan(&plan, &inventory);
    assert!(found.iter().any(|violation| violation.invariant == expected), "{}", listed(&found));
    listed(&found)
}

pub(super) fn phase(plan: &mut Plan, name: PhaseName) -> &mut Phase {
    plan.phases.iter_mut().find(|phase| phase.name == name).unwrap()
}

/// Takes steps out, and lets those that came after them come after what they came after.
pub(super) fn remove(phase: &mut Phase, unwanted: impl Fn(&Step) -> bool) {
    while let Some(position) = phase.steps.iter().position(&unwanted) {
        let gone = phase.steps.remove(position);
        for step in &mut phase.steps {
            if let Some(at) = step.after.iter().position(|after| *after == gone.id) {
                step.after.remove(at);
                step.after.extend(gone.after.iter().copied());
                step.after.sort_unstable();
                step.after.dedup();
            }
        }
    }
}

pub(super) fn writes(step: &mut Step) -> Option<&mut Vec<FileWrite>> {
    match &mut step.action {
        Action::Write { files } => Some(files),
        _ => None,
    }
}

#[test]
fn plans_for_the_usual_cluster_are_right() {
    accepted(&Shape::default(), CROSS);
    accepted(&Shape::default(), BUNDLED);
}

#[test]
fn plans_for_unusual_clusters_are_right() {
    let bare = Shape {
        front_proxy: false,
        kubelet_clients: false,
        monitors: false,
        workloads: false,
        aggregated: false,
        ..Shape::sized(1, 0)
    };
    for strategy in [CROSS, BUNDLED] {
        accepted(&bare, strategy);
        accepted(&Shape { minor: 20, ..Shape::default() }, strategy);
        accepted(&Shape { job_pods: 2, ..Shape::default() }, strategy);
        accepted(&Shape { style: Style::Json, ..Shape::default() }, strategy);
    }
}

/// I7.
#[test]
fn the_same_inventory_gives_the_same_plan() {
    for strategy in [CROSS, BUNDLED] {
        let text = || serde_json::to_string(&planned(&Shape::default(), strategy).0).unwrap();
        assert_eq!(text(), text());
    }
}

/// I6, the part that is left when nothing is due.
#[test]
fn nothing_due_is_an_empty_plan() {
    let intent = crate::intent::Intent { why: crate::intent::Why::Renew, ..replace_ca(None) };
    let inventory = Shape::default().inventory();
    let plan = crate::planner::plan(&inventory, &intent, &naming()).unwrap();
    assert!(plan.is_empty());
    assert_eq!(super::plan(&plan, &inventory), []);
}

/// Objects whose `caBundle` holds the CA are kept for a stated reason where nothing is known of what they verify.
#[test]
fn a_ca_bundle_without_a_known_server_is_not_forgotten() {
    let mut inventory = Shape::default().inventory();
    if let crate::inventory::Observed::Seen(api) = &mut inventory.api {
        api.tls_secrets.clear();
    }
    for strategy in [CROSS, BUNDLED] {
        let plan = crate::planner::plan(&inventory, &replace_ca(Some(strategy)), &naming()).unwrap();
        let found = super::plan(&plan, &inventory);
        assert!(found.is_empty(), "{}", listed(&found));
    }
}

#[test]
fn a_chain_that_only_the_new_ca_vouches_for_is_refused_too_early() {
    let found = refused(CROSS, Invariant::Trust, |plan| {
        for step in &mut phase(plan, PhaseName::Introduce).steps {
            for file in writes(step).into_iter().flatten() {
                if let Content::Parts(parts) = &mut file.content {
                    parts.retain(|part| !matches!(part, Part::Cross(_)));
                }
            }
        }
    });
    assert!(
        found.contains("etcd on k8s-master-1-0 -> etcd on k8s-master-1-1: the client may trust old"),
        "{found}"
    );
}

#[test]
fn a_serving_leaf_without_its_cross_certificate_is_refused() {
    let found = refused(CROSS, Invariant::Trust, |plan| {
        for step in &mut phase(plan, PhaseName::Prepare).steps {
            for file in
                writes(step).into_iter().flatten().filter(|file| file.path.ends_with("/apiserver.crt"))
            {
                if let Content::Parts(parts) = &mut file.content {
                    parts.truncate(1);
                }
            }
        }
    });
    assert!(found.contains("kubelet on k8s-linux-1-1 -> kube-apiserver on k8s-master-1-1"), "{found}");
}

#[test]
fn a_barrier_that_looks_at_nothing_is_refused() {
    for (strategy, name) in
        [(CROSS, PhaseName::Introduce), (CROSS, PhaseName::Switch), (BUNDLED, PhaseName::Introduce)]
    {
        refused(strategy, Invariant::Form, |plan| phase(plan, name).barrier.clear());
    }
}

#[test]
fn a_barrier_that_leaves_a_server_out_is_refused() {
    let found = refused(CROSS, Invariant::Form, |plan| {
        phase(plan, PhaseName::Drop)
            .barrier
            .retain(|predicate| !predicate.to_string().contains("k8s-master-1-2"));
    });
    assert!(found.contains("it leaves out"), "{found}");
}

/// Without the barrier in between, the second phase may begin while the first is under way: here, as early as can be.
#[test]
fn phases_without_a_barrier_between_them_are_refused() {
    for strategy in [CROSS, BUNDLED] {
        refused(strategy, Invariant::Trust, |plan| {
            let position = plan.phases.iter().position(|phase| phase.name == PhaseName::Introduce).unwrap();
            let introduce = plan.phases.remove(position);
            plan.phases.push(Phase { steps: introduce.steps, barrier: Vec::new(), name: PhaseName::Finish });
        });
    }
}

#[test]
fn an_old_token_key_that_goes_before_the_tokens_is_refused() {
    for strategy in [CROSS, BUNDLED] {
        let found = refused(strategy, Invariant::Tokens, |plan| {
            for phase in &mut plan.phases {
                remove(phase, |step| matches!(step.action, Action::RenewTokenSecret { .. }));
            }
        });
        assert!(found.contains("Secret default/legacy-token"), "{found}");
        let found = refused(strategy, Invariant::Tokens, |plan| {
            for phase in &mut plan.phases {
                remove(phase, |step| step.title.contains("restart statefulset"));
            }
        });
        assert!(found.contains("statefulset default/keeper"), "{found}");
    }
}

#[test]
fn a_new_token_key_that_signs_before_all_verify_it_is_refused() {
    let old = crate::layout::transition_file("token-old.key");
    let new = crate::layout::transition_file("apiserver.key");
    let early = format!("--service-account-signing-key-file={new}");
    refused(BUNDLED, Invariant::Tokens, |plan| {
        for step in &mut phase(plan, PhaseName::Introduce).steps {
            if let Action::ReplaceStaticPod { manifest: Content::Text(text), .. } = &mut step.action {
                *text = text.replace(&format!("--service-account-signing-key-file={old}"), &early);
            }
        }
    });
    refused(CROSS, Invariant::Tokens, |plan| {
        for file in phase(plan, PhaseName::Prepare).steps.iter_mut().filter_map(writes).flatten() {
            if file.path.ends_with("/token-signing.key") {
                file.content = Content::one(Part::LeafKey("apiserver".into(), Generation::New));
            }
        }
    });
}

#[test]
fn all_etcd_members_at_once_are_refused() {
    for strategy in [CROSS, BUNDLED] {
        let found = refused(strategy, Invariant::OneAtATime, |plan| {
            let phase = phase(plan, PhaseName::Drop);
            let restarts =
                |step: &Step| matches!(step.action, Action::RestartUnit { component: Component::Etcd, .. });
            let etcd: Vec<Step> = phase.steps.iter().filter(|step| restarts(step)).cloned().collect();
            remove(phase, restarts);
            let last = phase.steps.last().unwrap().id;
            phase.steps.extend(etcd.into_iter().map(|step| Step { after: vec![last], ..step }));
        });
        assert!(found.contains("in hand at the same time"), "{found}");
        assert!(found.contains("it may run at the same time"), "{found}");
    }
}

#[test]
fn an_api_server_that_ends_undiverted_is_refused() {
    let found = refused(CROSS, Invariant::OneAtATime, |plan| {
        for phase in &mut plan.phases {
            remove(phase, |step| matches!(step.action, Action::Divert { .. }));
        }
    });
    assert!(found.contains("while new connections still go to its node"), "{found}");
}

#[test]
fn a_diversion_that_stays_is_refused() {
    refused(CROSS, Invariant::Form, |plan| {
        for phase in &mut plan.phases {
            remove(phase, |step| step.action == Action::Undivert);
        }
    });
}

#[test]
fn an_old_ca_that_goes_while_a_kubelet_uses_it_is_refused() {
    let found = refused(CROSS, Invariant::InUse, |plan| {
        let on = |step: &Step| step.target == Target::Node("k8s-linux-1-1".into());
        remove(phase(plan, PhaseName::Switch), on);
        let phase = phase(plan, PhaseName::Switch);
        phase.barrier.retain(|predicate| !predicate.to_string().contains("k8s-linux-1-1"));
    });
    assert!(found.contains("without the old CA, which kubelet on k8s-linux-1-1 relies on"), "{found}");
    refused(BUNDLED, Invariant::Trust, |plan| {
        for name in [PhaseName::Introduce, PhaseName::Switch, PhaseName::Drop] {
            let phase = phase(plan, name);
            remove(phase, |step| step.target == Target::Node("k8s-linux-1-1".into()));
            phase.barrier.retain(|predicate| !predicate.to_string().contains("k8s-linux-1-1"));
        }
    });
}

/// A kubelet that is told of its new files, but not restarted, never comes to hold them.
#[test]
fn a_file_on_a_disk_proves_nothing() {
    let found = refused(CROSS, Invariant::Form, |plan| {
        remove(phase(plan, PhaseName::Switch), |step| {
            matches!(step.action, Action::RestartUnit { component: Component::Kubelet, .. })
        });
    });
    assert!(found.contains("waits for something that nothing brings about"), "{found}");
}

#[test]
fn a_signing_file_with_two_certificates_is_refused() {
    for strategy in [CROSS, BUNDLED] {
        let found = refused(strategy, Invariant::Trust, |plan| {
            for file in plan.phases.iter_mut().flat_map(|phase| &mut phase.steps).filter_map(writes).flatten()
            {
                if file.path.ends_with("/ca.crt") {
                    let both = [Generation::Old, Generation::New].map(|g| Part::Ca(TrustDomain::Cluster, g));
                    file.content = Content::Parts(both.into());
                }
            }
        });
        assert!(found.contains("holds 2 certificates, and the signer wants exactly one"), "{found}");
    }
}

#[test]
fn a_change_without_a_backup_is_refused() {
    let found = refused(CROSS, Invariant::Undo, |plan| {
        remove(phase(plan, PhaseName::Prepare), |step| {
            step.target == Target::Node("k8s-master-1-1".into())
                && matches!(step.action, Action::BackUp { .. })
        });
    });
    assert!(found.contains(&format!("{} on k8s-master-1-1", certificate_file("etcdserver.key"))), "{found}");
}

#[test]
fn a_forgotten_credential_is_refused() {
    let found = refused(CROSS, Invariant::Complete, |plan| {
        for phase in &mut plan.phases {
            remove(phase, |step| {
                matches!(step.action, Action::WriteTlsSecret { .. } | Action::RecreatePod { .. })
            });
        }
    });
    assert!(found.contains("TLS Secret aggregated/serving"), "{found}");
    assert!(found.contains("pod default/lonely"), "{found}");
}

#[test]
fn a_name_that_is_taken_is_refused() {
    refused(CROSS, Invariant::Names, |plan| plan.authorities[0].common_name = "ca".to_owned());
}

#[test]
fn a_front_proxy_leaf_that_nobody_was_told_of_is_refused() {
    refused(CROSS, Invariant::Trust, |plan| {
        let introduce = phase(plan, PhaseName::Introduce);
        for files in introduce.steps.iter_mut().filter_map(writes) {
            files.retain(|file| !file.path.ends_with("/proxy-ca.crt"));
        }
    });
}

#[test]
fn removing_the_stage_under_a_running_server_is_refused() {
    let found = refused(CROSS, Invariant::Trust, |plan| {
        remove(phase(plan, PhaseName::Drop), |step| {
            step.target == Target::Node("k8s-master-1-1".into())
                && matches!(&step.action, Action::ReplaceStaticPod { path, .. } if *path == manifest_file(Component::ApiServer))
        });
    });
    assert!(found.contains("it would not start"), "{found}");
}

#[test]
fn units_that_stay_paused_are_refused() {
    refused(CROSS, Invariant::Form, |plan| {
        remove(phase(plan, PhaseName::Finish), |step| matches!(step.action, Action::ResumeUnits { .. }));
    });
}

#[test]
fn a_leaf_that_outlives_its_issuer_is_found() {
    let ca = crate::testing::authority("ca");
    let mut leaf = crate::testing::issued("leaf", "ca");
    assert_eq!(validity([&ca, &leaf]), []);
    leaf.not_after = jiff::Timestamp::from_second(ca.not_after.as_second() + 1).unwrap();
    assert_eq!(validity([&ca, &leaf]).len(), 1);
}

/// The order in which a driver might start the steps of a phase: any that respects what comes after what.
pub(super) fn shuffled(phase: &Phase, choices: &[usize]) -> Vec<Step> {
    let mut left: Vec<&Step> = phase.steps.iter().collect();
    let mut order: Vec<Step> = Vec::new();
    let mut choices = choices.iter().cycle();
    while !left.is_empty() {
        let free: Vec<usize> = (0..left.len())
            .filter(|at| left[*at].after.iter().all(|id| order.iter().any(|done| done.id == *id)))
            .collect();
        let chosen = free[choices.next().copied().unwrap_or_default() % free.len()];
        order.push(left.remove(chosen).clone());
    }
    order
}

pub(super) fn shapes() -> impl proptest::strategy::Strategy<Value = Shape> {
    let style = prop_oneof![Just(Style::Flow), Just(Style::Block), Just(Style::Json)];
    let minor = prop_oneof![Just(20_u16), Just(22), Just(24), Just(31), Just(34)];
    let flags = prop::array::uniform5(any::<bool>());
    (1..=5_usize, (0..=6_usize, 0..=2_usize), minor, style, flags, 0..5_usize, 0..2_usize).prop_map(
        |(control_planes, (agents, windows_agents), minor, style, flags, leader, job_pods)| Shape {
            control_planes,
            agents,
            windows_agents,
            minor,
            style,
            front_proxy: flags[0] || flags[4],
            kubelet_clients: flags[1],
            monitors: flags[2],
            workloads: flags[3],
            aggregated: flags[4],
            ca_key: true,
            leader: leader % control_planes,
            job_pods,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Any cluster, any order that the plan allows, killed and resumed anywhere: a step that was started is done again
    /// from its beginning, and everything holds after each effect of both tries.
    #[test]
    fn any_order_of_steps_is_safe(
        shape in shapes(),
        bundled in any::<bool>(),
        choices in prop::collection::vec(0..64_usize, 1..64),
        killed in prop::collection::btree_set(0..120_usize, 0..12),
    ) {
        let (plan, inventory) = planned(&shape, if bundled { BUNDLED } else { CROSS });
        let mut runner = Runner::new(&plan, &inventory);
        let mut uninterrupted = Runner::new(&plan, &inventory);
        let mut found = Vec::new();
        let mut position = 0;
        for phase in &plan.phases {
            found.extend(runner.enter(phase, &plan.kept));
            uninterrupted.enter(phase, &plan.kept);
            for step in shuffled(phase, &choices) {
                found.extend(runner.step(&step));
                if killed.contains(&position) {
                    found.extend(runner.step(&step));
                }
                position += 1;
            }
            for step in &phase.steps {
                uninterrupted.step(step);
            }
            found.extend(runner.leave(phase));
            uninterrupted.leave(phase);
        }
        prop_assert!(found.is_empty(), "{}", listed(&found));
        // I6: whatever the order and however often, the end is the same.
        prop_assert!(runner.world == uninterrupted.world);
        prop_assert!(form(&plan).is_empty());
        prop_assert!(complete(&plan, &inventory).is_empty());
    }
}
