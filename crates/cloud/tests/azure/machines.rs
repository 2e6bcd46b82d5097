//! Which machines there are, how they are, and their restart.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kubecert_cloud::azure::IdentitySystem;
use kubecert_cloud::testing::{Hook, Operations, StandIn, StandInConfig};
use kubecert_core::model::NodeName;
use kubecert_engine::ports::{MachinePower, Machines as _};

use super::support::*;

#[tokio::test]
async fn all_machines_are_listed_over_all_pages_as_documented() {
    let stand_in = start(config()).await;
    stand_in.set_power("k8s-master-1-1", "deallocated");
    stand_in.set_power("k8s-pool-1-vmss00000a", "stopped");
    let azure = connect(&client(&stand_in, IdentitySystem::EntraId, secret())).await.unwrap();
    let machines = azure.list().await.unwrap();
    let shown: Vec<String> = machines
        .iter()
        .map(|machine| format!("{} = {}: {}", machine.node, machine.resource, machine.power))
        .collect();
    assert_eq!(
        shown,
        [
            "k8s-master-1-0 = virtual machine k8s-master-1-0: running",
            "k8s-master-1-1 = virtual machine k8s-master-1-1: deallocated",
            "k8s-master-1-2 = virtual machine k8s-master-1-2: running",
            "1122k8s010 = virtual machine 1122K8S010: running",
            "k8s-pool-1-vmss000000 = instance 0 of scale set k8s-pool-1-vmss: running",
            "k8s-pool-1-vmss00000a = instance 1 of scale set k8s-pool-1-vmss: stopped",
            "k8s-pool-1-vmss00000b = instance 2 of scale set k8s-pool-1-vmss: running",
        ]
    );
    // The ancestor's own call, in the shape of the record.
    let looks =
        stand_in.calls().into_iter().filter(|call| call.line.ends_with("/virtualMachines/k8s-master-1-0"));
    for look in looks {
        assert_eq!(look.query.get("$expand").map(String::as_str), Some("instanceView"));
    }
}

#[tokio::test]
async fn how_a_machine_is_can_be_asked_again() {
    let stand_in = start(config()).await;
    let azure = connect(&client(&stand_in, IdentitySystem::EntraId, secret())).await.unwrap();
    for node in ["k8s-master-1-0", "k8s-pool-1-vmss00000b"] {
        let node = NodeName::from(node);
        assert_eq!(azure.power(&node).await.unwrap(), MachinePower::Running);
        stand_in.set_power(node.as_str(), "starting");
        assert_eq!(azure.power(&node).await.unwrap(), MachinePower::Not("starting".to_owned()));
    }
}

#[tokio::test]
async fn a_restart_is_followed_to_its_end_however_the_end_is_told_as_documented() {
    for operations in [Operations::ByState, Operations::ByLocation] {
        let (hook, restarts) = counting();
        let stand_in = StandIn::start(StandInConfig { operations, ..config() }, hook).await.unwrap();
        let azure = connect(&client(&stand_in, IdentitySystem::EntraId, secret())).await.unwrap();
        for (done, node) in ["k8s-master-1-0", "1122k8s010", "k8s-pool-1-vmss00000a"].iter().enumerate() {
            azure.restart(&NodeName::from(*node)).await.unwrap();
            assert_eq!(restarts.load(Ordering::SeqCst) as usize, done + 1, "the restart is over on return");
        }
        let asked: Vec<_> = stand_in.calls().into_iter().map(|call| call.line).collect();
        assert!(asked.iter().any(|line| line.ends_with("/virtualMachines/1122K8S010/restart")));
        assert!(asked.iter().any(|line| line.ends_with("/k8s-pool-1-vmss/virtualmachines/1/restart")));
    }
}

#[tokio::test]
async fn a_restart_that_fails_in_azure_says_why() {
    for operations in [Operations::ByState, Operations::ByLocation] {
        let hook: Hook =
            Arc::new(|_| Box::pin(async { Err("The machine did not start in time.".to_owned()) }));
        let stand_in = StandIn::start(StandInConfig { operations, ..config() }, hook).await.unwrap();
        let azure = connect(&client(&stand_in, IdentitySystem::EntraId, secret())).await.unwrap();
        let error = azure.restart(&NodeName::from("k8s-master-1-0")).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot restart virtual machine k8s-master-1-0: The machine did not start in time (VMStartTimedOut)"
        );
    }
}

#[tokio::test]
async fn an_operation_without_an_end_is_given_up() {
    let hook: Hook = Arc::new(|_| Box::pin(std::future::pending()));
    let stand_in = StandIn::start(config(), hook).await.unwrap();
    let mut own = client(&stand_in, IdentitySystem::EntraId, secret());
    own.http.pace.operation_patience = Duration::from_millis(200);
    let error = connect(&own).await.unwrap().restart(&NodeName::from("k8s-master-1-0")).await.unwrap_err();
    assert!(error.cause.contains("has not ended"), "{error}");
}

#[tokio::test]
async fn a_machine_that_is_being_restarted_is_not_restarted_again() {
    let hook: Hook = Arc::new(|_| Box::pin(std::future::pending()));
    let stand_in = StandIn::start(config(), hook).await.unwrap();
    stand_in.set_power("k8s-master-1-0", "starting");
    let azure = connect(&client(&stand_in, IdentitySystem::EntraId, secret())).await.unwrap();
    let error = azure.restart(&NodeName::from("k8s-master-1-0")).await.unwrap_err();
    assert!(error.cause.contains("OperationNotAllowed"), "{error}");
}
