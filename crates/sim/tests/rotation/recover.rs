//! Clusters whose certificates have ended, brought back.

use std::time::Duration;

use kubecert_core::event::RunOutcome;
use kubecert_core::inventory::Observed;
use kubecert_core::model::{Node, OperatingSystem, Role, TrustDomain};
use kubecert_engine::run::{Ended, RunError, Setup, look, recover};
use kubecert_engine::undo::undo;
use kubecert_engine::vault::PkiSet;
use kubecert_sim::{Disturbance, SimConfig};

use crate::support::{Bench, assert_finished, assert_rotated, assert_unharmed};

/// Leaves last a day from the start, the kubelets' own ten days, and the site was off for longer than that.
pub(crate) fn ended(control_planes: usize, agents: usize) -> SimConfig {
    let config = SimConfig::new(control_planes, agents);
    SimConfig { leaves_last_days: Some(1), off_for_days: Some(12), ..config }
}

/// As long as AKS engine's CA lasts, and some more.
const BEYOND_THE_CA: u32 = 30 * 365 + 10;

/// What a recovery needs: with the agents that the model names, as the program has it.
pub(crate) fn setup(bench: &Bench, old: PkiSet) -> Setup {
    let mut setup = bench.setup(old);
    let agents = bench.sim.node_names().into_iter().filter(|name| name.as_str().contains("linuxpool"));
    setup.cluster.nodes.extend(agents.enumerate().map(|(index, name)| Node {
        name,
        role: Role::Agent,
        system: OperatingSystem::Linux,
        index,
        address: None,
    }));
    setup
}

/// Brings the cluster back as the program does.
async fn bring_back(bench: &Bench, old: PkiSet) -> Result<Ended, RunError> {
    recover(setup(bench, old), |_, _| true).await
}

/// Every node is Ready, all serve, and nothing breaks for a while.
pub(crate) async fn assert_well(bench: &Bench, pki: PkiSet) {
    bench.sim.pass(Duration::from_secs(30)).await;
    bench.sim.watch_from_now();
    bench.sim.pass(Duration::from_secs(30)).await;
    assert_unharmed(&bench.sim);
    let inventory = look(&bench.setup(pki)).await.unwrap();
    assert!(inventory.api.seen().unwrap().nodes.iter().all(|node| node.ready));
    assert!(inventory.etcd.seen().unwrap().iter().all(|member| member.healthy));
    assert!(bench.sim.paused().is_empty());
}

#[tokio::test(start_paused = true)]
async fn leaves_that_ended_are_renewed_and_then_the_ca_is_replaced() {
    let bench = Bench::new(&ended(3, 2));
    // Without being told to bring it back, nobody touches it, and the way on is named.
    let refused = bench.rotate().await.unwrap_err();
    let RunError::Refused(refusal) = refused else { panic!("{refused}") };
    assert!(refusal.to_string().contains("rotate-certs --force"), "{refusal}");

    let old = bench.sim.old_pki();
    assert_finished(&bring_back(&bench, old.clone()).await.unwrap());
    let renewed = bench.operator.new_pki().unwrap();
    let [before, after] = [&old, &renewed].map(|pki| pki.authorities.get(&TrustDomain::Cluster).cloned());
    assert_eq!(before, after, "the CA stays");
    let again = bring_back(&bench, renewed.clone()).await.unwrap();
    assert_eq!(again.report.outcome, RunOutcome::NothingToDo);
    bench.sim.pass(Duration::from_secs(30)).await;
    let inventory = look(&bench.setup(renewed.clone())).await.unwrap();
    assert!(inventory.api.seen().unwrap().nodes.iter().all(|node| node.ready));

    assert_finished(&bench.rotate_from(renewed).await.unwrap());
    assert_rotated(&bench).await;
    assert_well(&bench, bench.operator.new_pki().unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_ca_that_ended_is_certified_anew() {
    let config = SimConfig { off_for_days: Some(BEYOND_THE_CA), leaves_last_days: None, ..ended(3, 1) };
    let bench = Bench::new(&config);
    let old = bench.sim.old_pki();
    assert_finished(&bring_back(&bench, old.clone()).await.unwrap());
    let renewed = bench.operator.new_pki().unwrap();
    let [before, after] = [&old, &renewed].map(|pki| &pki.authorities[&TrustDomain::Cluster]);
    assert_eq!(before.public_key(), after.public_key());
    assert!(after.not_after() > before.not_after());
    assert_finished(&bench.rotate_from(renewed).await.unwrap());
    assert_rotated(&bench).await;
    assert_well(&bench, bench.operator.new_pki().unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn one_control_plane_is_brought_back() {
    let bench = Bench::new(&ended(1, 1));
    assert_finished(&bring_back(&bench, bench.sim.old_pki()).await.unwrap());
    let renewed = bench.operator.new_pki().unwrap();
    let inventory = look(&bench.setup(renewed)).await.unwrap();
    assert!(inventory.api.seen().is_some());
}

/// Cut off after any number of events, it goes on with the same certificates; there is no way back.
#[tokio::test(start_paused = true)]
async fn it_goes_on_where_it_was_cut_off_and_cannot_be_undone() {
    for events in [20, 50, 80, 110] {
        let bench = Bench::new(&ended(3, 1));
        bench.cut_off_after(events);
        tokio::select! {
            done = bring_back(&bench, bench.sim.old_pki()) => panic!("it ended: {done:?}"),
            () = bench.cut.notified() => {}
        }
        let undone = undo(bench.setup(bench.sim.old_pki()), |_| true).await.unwrap_err();
        let (RunError::Recovering { .. } | RunError::NothingToUndo { .. }) = undone else {
            panic!("{undone}")
        };
        let resumed = bring_back(&bench, bench.sim.old_pki()).await.unwrap();
        assert_finished(&resumed);
        let renewed = bench.operator.new_pki().unwrap();
        let inventory = look(&bench.setup(renewed)).await.unwrap();
        assert!(inventory.api.seen().is_some(), "after {events} events");
    }
}

/// An agent that is away is left, and is brought back alone when it comes back.
#[tokio::test(start_paused = true)]
async fn an_agent_may_come_back_later() {
    let bench = Bench::new(&ended(3, 2));
    let away = bench.sim.node_names().pop().unwrap();
    bench.sim.disturb(Duration::ZERO, Disturbance::CutOff(away.clone()), Duration::from_secs(3_600));
    assert_finished(&bring_back(&bench, bench.sim.old_pki()).await.unwrap());
    bench.sim.mend();
    bench.sim.pass(Duration::from_secs(60)).await;
    assert!(!bench.sim.is_ready(&away));
    let renewed = bench.operator.new_pki().unwrap();
    let late = bring_back(&bench, renewed.clone()).await.unwrap();
    assert_finished(&late);
    assert!(bench.sim.is_ready(&away));
    let nodes: Vec<_> = late.report.steps.iter().map(|step| step.target.clone()).collect();
    assert!(nodes.iter().all(|target| !target.contains("master")), "{nodes:?}");
    let inventory = look(&bench.setup(renewed)).await.unwrap();
    assert!(inventory.nodes.values().all(|node| matches!(node, Observed::Seen(_))));
}

#[tokio::test(start_paused = true)]
async fn where_all_is_well_there_is_nothing_to_bring_back() {
    let bench = Bench::new(&SimConfig::new(3, 1));
    let ended = bring_back(&bench, bench.sim.old_pki()).await.unwrap();
    assert_eq!(ended.report.outcome, RunOutcome::NothingToDo);
    assert_unharmed_after(&bench).await;
}

async fn assert_unharmed_after(bench: &Bench) {
    bench.sim.pass(Duration::from_secs(60)).await;
    assert_unharmed(&bench.sim);
}

/// Agents that run Windows ask the cluster for their certificates, so they wait until the others are back.
#[tokio::test(start_paused = true)]
async fn windows_agents_come_back_after_the_others() {
    let bench = Bench::new(&SimConfig { windows_agents: 2, ..ended(3, 1) });
    assert_finished(&bring_back(&bench, bench.sim.old_pki()).await.unwrap());
    let renewed = bench.operator.new_pki().unwrap();
    // The API, which answers now, knows them.
    let again = bring_back(&bench, renewed.clone()).await.unwrap();
    assert_finished(&again);
    let told = again.report.notices.iter().find(|notice| notice.contains("control planes are well"));
    assert!(
        told.is_some_and(|notice| notice.contains("1000k8s010") && !notice.contains("linuxpool")),
        "{told:?}"
    );
    let third = bring_back(&bench, renewed.clone()).await.unwrap();
    assert_eq!(third.report.outcome, RunOutcome::NothingToDo);
    bench.sim.pass(Duration::from_secs(30)).await;
    assert_finished(&bench.rotate_from(renewed).await.unwrap());
    assert_rotated(&bench).await;
    assert_well(&bench, bench.operator.new_pki().unwrap()).await;
}
