//! What stands around a rotation in a cloud: machines that are restarted at its end, and an autoscaler that rests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kubecert_core::event::RunOutcome;
use kubecert_core::model::NodeName;
use kubecert_engine::ports::{Fault, Machine, MachinePower, Machines, PortError, PortResult};
use kubecert_engine::run::{Ended, RunError, resume, rotate};
use kubecert_sim::{SimCluster, SimConfig, Trouble};

use crate::support::{Bench, assert_finished, assert_rotated, replace_ca};

/// A cloud around the simulated cluster.
struct Cloud {
    sim: SimCluster,
    restarted: Mutex<Vec<NodeName>>,
    /// The node whose restart fails, for once.
    fails: Mutex<Option<NodeName>>,
    /// What was not well in the cluster at the moment of a restart.
    unwell: Mutex<Vec<String>>,
}

impl Cloud {
    fn around(bench: &Bench) -> Arc<Self> {
        let (restarted, fails, unwell) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { sim: bench.sim.clone(), restarted, fails, unwell })
    }

    fn restarted(&self) -> Vec<String> {
        self.restarted.lock().unwrap().iter().map(ToString::to_string).collect()
    }
}

#[async_trait]
impl Machines for Cloud {
    async fn list(&self) -> PortResult<Vec<Machine>> {
        Ok(Vec::new())
    }

    async fn power(&self, _: &NodeName) -> PortResult<MachinePower> {
        Ok(MachinePower::Running)
    }

    async fn restart(&self, node: &NodeName) -> PortResult<()> {
        if self.fails.lock().unwrap().as_ref() == Some(node) {
            *self.fails.lock().unwrap() = None;
            return Err(PortError::new(Fault::Failed, format!("cannot restart {node}"), "409"));
        }
        for other in self.sim.node_names() {
            if !self.sim.is_ready(&other) {
                self.unwell.lock().unwrap().push(format!("{other} at the restart of {node}"));
            }
        }
        self.restarted.lock().unwrap().push(node.clone());
        self.sim.reboot(node);
        // The cloud says that it is done when the machine has been told to start, not when its node serves.
        self.sim.pass(Duration::from_secs(2)).await;
        Ok(())
    }
}

/// Rotates with restarts at the end.
async fn rotate_with(bench: &Bench, cloud: Option<&Arc<Cloud>>) -> Result<Ended, RunError> {
    let mut setup = bench.setup(bench.sim.old_pki());
    setup.ports.machines = cloud.map(|cloud| Arc::clone(cloud) as Arc<dyn Machines>);
    setup.decisions.reboot = cloud.is_some();
    rotate(setup, &replace_ca(), |_, _| true).await
}

fn all(bench: &Bench) -> Vec<String> {
    let cluster = bench.sim.cluster();
    let masters: Vec<String> = cluster.nodes.iter().map(|node| node.name.to_string()).collect();
    let agents = bench.sim.node_names().into_iter().map(|node| node.to_string());
    let agents: Vec<String> = agents.filter(|node| !masters.contains(node)).collect();
    [masters, agents].concat()
}

#[tokio::test(start_paused = true)]
async fn machines_are_restarted_one_at_a_time_and_only_when_all_is_well() {
    let bench = Bench::new(&SimConfig::new(3, 2));
    let cloud = Cloud::around(&bench);
    let ended = rotate_with(&bench, Some(&cloud)).await.unwrap();
    assert_finished(&ended);
    assert_eq!(cloud.restarted(), all(&bench), "masters in their order, then agents, each once");
    assert_eq!(*cloud.unwell.lock().unwrap(), Vec::<String>::new());
    assert_rotated(&bench).await;
    let told = ended.report.notices.iter().filter(|notice| notice.contains("serves again")).count();
    assert_eq!(told, all(&bench).len());
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_fails_stops_the_run_and_the_rest_is_done_by_the_next() {
    let bench = Bench::new(&SimConfig::new(3, 2));
    let cloud = Cloud::around(&bench);
    let all = all(&bench);
    *cloud.fails.lock().unwrap() = Some(NodeName::new(all[1].clone()));
    let ended = rotate_with(&bench, Some(&cloud)).await.unwrap();
    let RunOutcome::Stopped { reason } = &ended.report.outcome else { panic!("{:?}", ended.report.outcome) };
    assert!(reason.contains(&all[1]) && reason.contains("409"), "{reason}");
    let ended = rotate_with(&bench, Some(&cloud)).await.unwrap();
    assert_finished(&ended);
    assert_eq!(cloud.restarted(), all, "nothing twice");
    assert_rotated(&bench).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_cut_off_between_restarts_goes_on_with_them() {
    let whole = Bench::new(&SimConfig::new(3, 2));
    rotate_with(&whole, Some(&Cloud::around(&whole))).await.unwrap();
    let calls = whole.sim.calls();
    let rotation = Bench::new(&SimConfig::new(3, 2));
    rotate_with(&rotation, None).await.unwrap();
    let before = rotation.sim.calls();
    assert!(calls > before + 20);
    for cut in [before + 5, before + (calls - before) / 2, calls - 5] {
        let bench = Bench::new(&SimConfig::new(3, 2));
        let cloud = Cloud::around(&bench);
        bench.sim.trouble(cut, Trouble::CutOffAfter);
        let ended = loop {
            tokio::select! {
                ended = rotate_with(&bench, Some(&cloud)) => break ended.unwrap(),
                () = bench.sim.cut_off() => {}
            }
        };
        assert_finished(&ended);
        let restarted = cloud.restarted();
        for node in all(&bench) {
            let times = restarted.iter().filter(|other| **other == node).count();
            assert!((1..=2).contains(&times), "{node} was restarted {times} times (cut {cut})");
        }
        assert!(restarted.len() <= all(&bench).len() + 1, "{restarted:?}");
        assert_rotated(&bench).await;
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_resumes_without_the_cloud_says_what_was_not_restarted() {
    let bench = Bench::new(&SimConfig::new(3, 2));
    let cloud = Cloud::around(&bench);
    *cloud.fails.lock().unwrap() = Some(NodeName::new(all(&bench)[2].clone()));
    rotate_with(&bench, Some(&cloud)).await.unwrap();
    let setup = bench.setup(bench.sim.old_pki());
    let ended = resume(setup).await.unwrap().unwrap();
    assert_finished(&ended);
    let told = ended.report.notices.iter().find(|notice| notice.contains("were not restarted")).unwrap();
    assert!(told.contains(&all(&bench)[2]) && !told.contains(&all(&bench)[0]), "{told}");
}

#[tokio::test(start_paused = true)]
async fn the_autoscaler_rests_and_works_again() {
    let bench = Bench::new(&SimConfig::new(3, 2));
    bench.sim.add_autoscaler(2);
    let ended = rotate_with(&bench, None).await.unwrap();
    assert_finished(&ended);
    let state = bench.sim.autoscaler().unwrap();
    assert_eq!((state.replicas, state.remembered), (2, None));
    assert!(ended.report.notices.iter().any(|notice| notice.contains("works again, with 2 replicas")));
    // One that somebody has switched off stays so.
    let off = Bench::new(&SimConfig::new(3, 2));
    off.sim.add_autoscaler(0);
    assert_finished(&rotate_with(&off, None).await.unwrap());
    let state = off.sim.autoscaler().unwrap();
    assert_eq!((state.replicas, state.remembered), (0, None));
}

/// An addon manager wakes it every minute.
#[tokio::test(start_paused = true)]
async fn an_autoscaler_that_is_woken_is_put_to_rest_again() {
    let bench = Bench::new(&SimConfig::new(3, 2));
    bench.sim.add_autoscaler(2);
    let mut slept_again = 0;
    let manager = async {
        loop {
            bench.sim.pass(Duration::from_secs(20)).await;
            let before = bench.sim.autoscaler().unwrap().replicas;
            bench.sim.scale_autoscaler(2);
            bench.sim.pass(Duration::from_secs(15)).await;
            slept_again += u32::from(before == 0 && bench.sim.autoscaler().unwrap().replicas == 0);
        }
    };
    tokio::select! {
        ended = rotate_with(&bench, None) => assert_finished(&ended.unwrap()),
        () = manager => {}
    }
    assert!(slept_again > 1, "it was at rest again {slept_again} times");
    let state = bench.sim.autoscaler().unwrap();
    assert_eq!((state.replicas, state.remembered), (2, None));
}

#[tokio::test(start_paused = true)]
async fn the_autoscaler_works_again_however_the_run_went() {
    let whole = Bench::new(&SimConfig::new(3, 2));
    whole.sim.add_autoscaler(3);
    assert_finished(&rotate_with(&whole, None).await.unwrap());
    let calls = whole.sim.calls();
    let mut rested = 0;
    for cut in (1..8).map(|eighth| calls * eighth / 8) {
        let bench = Bench::new(&SimConfig::new(3, 2));
        bench.sim.add_autoscaler(3);
        bench.sim.trouble(cut, Trouble::CutOffBefore);
        let cut_off = tokio::select! {
            _ = rotate_with(&bench, None) => false,
            () = bench.sim.cut_off() => true,
        };
        assert!(cut_off);
        let state = bench.sim.autoscaler().unwrap();
        if state.replicas == 0 {
            rested += 1;
            assert_eq!(state.remembered, Some(3), "what it had is on the object itself");
        }
        assert_finished(&rotate_with(&bench, None).await.unwrap());
        let state = bench.sim.autoscaler().unwrap();
        assert_eq!((state.replicas, state.remembered), (3, None), "cut {cut}");
    }
    assert!(rested > 3, "it rested at {rested} of the cuts");
}
