//! The ancestor's way, for who wants it: every machine is restarted through the cloud, one at a time.
//!
//! A rotation does not need it; processes have been restarted already, and proven to run on the new PKI. So this is not
//! part of the plan (see ARCHITECTURE.md): it comes after the plan's end and before the run's, and only its own progress
//! is remembered. Between two machines stands the same evidence as between two nodes of the plan.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kubecert_core::event::RunOutcome;
use kubecert_core::inventory::Inventory;
use kubecert_core::model::{Component, NodeName, Role};
use kubecert_core::plan::Predicate;
use serde::{Deserialize, Serialize};

use crate::ports::{NodeQuestion, PortError};
use crate::predicate;
use crate::run::{Context, RunError};

/// How long a machine may take until its node serves again, from the moment that the cloud has restarted it: the ancestor
/// waits as long.
const NODE_PATIENCE: Duration = Duration::from_secs(20 * 60);
/// How long the cluster may take until it is well before the first machine goes.
const READY_PATIENCE: Duration = Duration::from_secs(240);
/// How long between two looks whether a machine has come up.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// The times of processes on old nodes are whole seconds.
const CLOCK_GRAIN: SignedDuration = SignedDuration::from_secs(1);

/// What is remembered of it.
const FILE: &str = "reboots.json";

/// All machines, in order.
#[derive(Default, Serialize, Deserialize)]
struct Progress {
    machines: Vec<Reboot>,
}

/// One machine.
#[derive(Serialize, Deserialize)]
struct Reboot {
    node: NodeName,
    role: Role,
    /// When it was about to be restarted, by our clock.
    begun: Option<Timestamp>,
    /// When its node served again.
    done: Option<Timestamp>,
}

/// Remembers that it was asked for, so that whoever resumes the run knows. Nothing happens yet.
pub(crate) fn ask(context: &Context) -> Result<(), RunError> {
    if !context.decisions.reboot || context.run.path().join(FILE).exists() {
        return Ok(());
    }
    let before: Inventory = context.run.read_json("before.json")?;
    let reboot = |node: &kubecert_core::model::Node| Reboot {
        node: node.name.clone(),
        role: node.role,
        begun: None,
        done: None,
    };
    // Masters first and in their order, as the plan visits them.
    let machines = before.cluster.control_planes().chain(before.cluster.agents()).map(reboot).collect();
    Ok(context.run.write_json(FILE, &Progress { machines })?)
}

/// Restarts what is left to be restarted; the outcome is that of the run.
pub(crate) async fn reboot(
    context: &Arc<Context>,
    left_behind: &BTreeSet<NodeName>,
    cancelled: &tokio::sync::watch::Receiver<bool>,
) -> Result<RunOutcome, RunError> {
    if !context.run.path().join(FILE).exists() {
        return Ok(RunOutcome::Finished);
    }
    let mut progress: Progress = context.run.read_json(FILE)?;
    progress.machines.retain(|machine| !left_behind.contains(&machine.node));
    let open = progress.machines.iter().filter(|machine| machine.done.is_none());
    let open: Vec<String> = open.map(|machine| machine.node.to_string()).collect();
    let Some(machines) = context.ports.machines.clone() else {
        if !open.is_empty() {
            context.notice(format!(
                "The machines of {} were not restarted, since this command does not call Azure. The rotation does not need it.",
                open.join(", ")
            ));
        }
        return Ok(RunOutcome::Finished);
    };
    let all = progress.machines.len();
    if !open.is_empty() {
        context.notice(announcement(&progress, open.len()));
    }
    for index in 0..all {
        if progress.machines[index].done.is_some() {
            continue;
        }
        if *cancelled.borrow() {
            return Ok(stopped(
                "the operator wants to stop; the machines that are left are restarted by the same command",
            ));
        }
        let node = progress.machines[index].node.clone();
        if let Err(missing) = wait_well(context, &progress, None, READY_PATIENCE).await {
            return Ok(stopped(&format!("the machine of {node} is not restarted yet: {missing}")));
        }
        let began = context.ports.clock.now();
        let since = *progress.machines[index].begun.get_or_insert(began);
        context.run.write_json(FILE, &progress)?;
        // Where an earlier process was cut off, the machine may have been restarted already.
        let restarted = match context.ports.nodes.connect(&node).await {
            Ok(()) if since < began => is_up_since(context, &node, since).await,
            _ => Ok(false),
        };
        if !restarted.unwrap_or(false)
            && let Err(error) = machines.restart(&node).await
        {
            let remedy = error.remedy.as_deref().map(|remedy| format!(" ({remedy})")).unwrap_or_default();
            return Ok(stopped(&format!("{error}{remedy}")));
        }
        if let Err(missing) = wait_up(context, &node, since).await {
            return Ok(stopped(&format!("{node} does not come back after its restart: {missing}")));
        }
        if let Err(missing) = wait_well(context, &progress, Some(&node), NODE_PATIENCE).await {
            return Ok(stopped(&format!("{node} does not serve after its restart: {missing}")));
        }
        progress.machines[index].done = Some(context.ports.clock.now());
        context.run.write_json(FILE, &progress)?;
        let seconds = context.ms_since(began) / 1000;
        context.notice(format!(
            "The machine of {node} was restarted through Azure and serves again, after {seconds} s ({} of {all}).",
            index + 1
        ));
    }
    Ok(RunOutcome::Finished)
}

fn announcement(progress: &Progress, open: usize) -> String {
    let masters = progress.machines.iter().filter(|machine| machine.role == Role::ControlPlane).count();
    let api = match masters {
        1 => "the API is away while the only master starts",
        _ => "connections to a master break when it goes, and the others serve",
    };
    format!("{open} machines are restarted through Azure now, one at a time; {api}.")
}

fn stopped(reason: &str) -> RunOutcome {
    RunOutcome::Stopped { reason: reason.to_owned() }
}

/// Whether the node's kubelet was started after that moment: then so was the machine, since nothing else ends it here.
async fn is_up_since(context: &Context, node: &NodeName, since: Timestamp) -> Result<bool, PortError> {
    let question = NodeQuestion { components: vec![Component::Kubelet], ..NodeQuestion::default() };
    let facts = context.ports.nodes.look(node, &question).await?;
    let offset = SignedDuration::from_millis(facts.clock_offset_ms);
    let started = facts
        .processes
        .iter()
        .filter(|process| process.component == Component::Kubelet)
        .map(|process| process.started);
    Ok(started.max().is_some_and(|started| started + CLOCK_GRAIN >= since + offset))
}

async fn wait_up(context: &Context, node: &NodeName, since: Timestamp) -> Result<(), String> {
    let mut last = "its kubelet has not started anew".to_owned();
    let up = async {
        loop {
            match is_up_since(context, node, since).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
    };
    let waited = tokio::time::timeout(NODE_PATIENCE, up).await;
    waited.map_err(|_| last)
}

/// Waits until every API server and etcd member is well, and that node where one is named.
async fn wait_well(
    context: &Context,
    progress: &Progress,
    node: Option<&NodeName>,
    patience: Duration,
) -> Result<(), String> {
    let masters = progress.machines.iter().filter(|machine| machine.role == Role::ControlPlane);
    let mut wanted: Vec<Predicate> =
        masters.map(|master| Predicate::ApiServerReady { node: master.node.clone() }).collect();
    wanted.push(Predicate::EtcdHealthy);
    wanted.extend(node.map(|node| Predicate::NodeReady { node: node.clone() }));
    let credentials = context.credentials();
    let scene = predicate::Scene { ports: &context.ports, vault: &context.vault, credentials: &credentials };
    predicate::wait(scene, &wanted, patience, |_| {}).await.map(drop).map_err(|missing| missing.join("; "))
}
