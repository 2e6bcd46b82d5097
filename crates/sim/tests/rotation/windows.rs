//! Clusters with Windows agents.

use kubecert_core::intent::{Intent, Strategy, Why};
use kubecert_core::layout::windows;
use kubecert_core::model::{KubernetesVersion, OperatingSystem};
use kubecert_engine::run::look;
use kubecert_sim::{SimConfig, Trouble};

use crate::support::{Bench, assert_finished, assert_rotated, assert_unharmed, replace_ca};

fn config(minor: u16) -> SimConfig {
    let version = KubernetesVersion { major: 1, minor };
    SimConfig { windows_agents: 2, version, ..SimConfig::new(3, 1) }
}

/// What the Windows agents hold after a whole run: files of the new PKI, and a client certificate that the cluster issued.
async fn assert_windows_rotated(bench: &Bench) {
    let new = bench.operator.new_pki().unwrap();
    let setup = bench.setup(new);
    let inventory = look(&setup).await.unwrap();
    let ca = inventory.current_ca().unwrap().fingerprint.clone();
    let mut seen = 0;
    for node in inventory.cluster.agents().filter(|node| node.system == OperatingSystem::Windows) {
        let facts = inventory.nodes[&node.name].seen().unwrap();
        let signed = |path: &str| {
            let certificates = &facts.file(path).unwrap_or_else(|| panic!("no {path}")).certificates;
            certificates.iter().all(|held| held.fingerprint == ca || held.signed_by.as_ref() == Some(&ca))
        };
        assert!(windows::CERTIFICATES.iter().all(|path| signed(path)), "{}", node.name);
        assert_eq!(facts.file(windows::KUBECONFIG).unwrap().mode, 0o600);
        assert!(!facts.files.iter().any(|file| file.path.starts_with(windows::STAGE)));
        let log = bench.sim.node_log(&node.name);
        assert!(log.iter().any(|line| line == "kubelet got a client certificate"), "{log:?}");
        assert!(bench.sim.is_ready(&node.name));
        seen += 1;
    }
    assert_eq!(seen, 2);
}

async fn rotated(config: &SimConfig, intent: &Intent) -> Bench {
    let bench = Bench::new(config);
    let ended = bench.rotate_as(bench.sim.old_pki(), intent).await.unwrap();
    assert_finished(&ended);
    assert_eq!(ended.report.api.failed, 0, "{:?}", ended.report.api);
    assert_unharmed(&bench.sim);
    bench
}

#[tokio::test(start_paused = true)]
async fn the_ca_is_replaced_with_cross_certificates_and_with_bundles() {
    for (strategy, minor) in
        [(Strategy::CrossSigned, 34), (Strategy::Bundled, 34), (Strategy::CrossSigned, 22)]
    {
        let bench = rotated(&config(minor), &Intent { strategy: Some(strategy), ..replace_ca() }).await;
        assert_rotated(&bench).await;
        assert_windows_rotated(&bench).await;
    }
}

#[tokio::test(start_paused = true)]
async fn leaves_are_renewed_and_the_ca_is_extended() {
    let renew = SimConfig { leaves_last_days: Some(10), ..config(34) };
    for (config, why) in [(renew, Why::Renew), (config(34), Why::ExtendCa)] {
        rotated(&config, &Intent::new(why)).await;
    }
}

/// A run that is cut off in the middle of an agent's visit, and resumed.
#[tokio::test(start_paused = true)]
async fn a_run_that_is_cut_off_anywhere_goes_on() {
    let mut resumed = 0;
    for call in (150..).step_by(67) {
        let bench = Bench::new(&config(34));
        bench.sim.trouble(call, Trouble::CutOffAfter);
        let cut_off = tokio::select! {
            ended = bench.rotate() => { assert_finished(&ended.unwrap()); false }
            () = bench.sim.cut_off() => true,
        };
        if !cut_off {
            break;
        }
        let ended = kubecert_engine::run::resume(bench.setup(bench.sim.old_pki())).await.unwrap().unwrap();
        assert_finished(&ended);
        assert_unharmed(&bench.sim);
        assert_windows_rotated(&bench).await;
        resumed += 1;
    }
    assert!(resumed > 3, "only {resumed} runs were resumed");
}
