//! Machines, scale sets, and operations on them.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use hyper::Method;
use serde_json::{Value, json};

use super::config::{Operations, StandInMachine};
use super::reply::{Reply, json, refusal, with};
use super::server::{Asked, OperationState, State};

/// Answers what follows `Microsoft.Compute/`.
pub(super) fn answer(state: &Arc<State>, asked: &Asked, rest: &[&str]) -> Reply {
    let machines = &state.config.machines;
    let expanded = asked.query.get("$expand").is_some_and(|what| what == "instanceView");
    let single = |name: &str| {
        machines.iter().find(|machine| machine.set.is_none() && machine.node.eq_ignore_ascii_case(name))
    };
    let instance = |set: &str, id: &str| {
        let id = id.parse::<usize>().ok()?;
        machines.iter().filter(|machine| machine.set.as_deref() == Some(set)).nth(id)
    };
    match (&asked.method, rest) {
        (&Method::GET, ["virtualMachines"]) => {
            let all = machines.iter().filter(|machine| machine.set.is_none());
            page(state, asked, all.map(|machine| shown(state, machine, None, expanded)).collect())
        }
        (&Method::GET, ["virtualMachines", name]) => match single(name) {
            Some(machine) => json(200, &shown(state, machine, None, expanded)),
            None => nothing(name),
        },
        (&Method::POST, ["virtualMachines", name, "restart"]) => match single(name) {
            Some(machine) => restart(state, machine),
            None => nothing(name),
        },
        (&Method::GET, ["virtualMachineScaleSets"]) => {
            let sets: BTreeSet<_> = machines.iter().filter_map(|machine| machine.set.as_deref()).collect();
            page(state, asked, sets.into_iter().map(|set| json!({"name": set})).collect())
        }
        (&Method::GET, ["virtualMachineScaleSets", set, kind]) if is_instances(kind) => {
            let all = machines.iter().filter(|machine| machine.set.as_deref() == Some(set)).enumerate();
            page(state, asked, all.map(|(id, one)| shown(state, one, Some((set, id)), expanded)).collect())
        }
        (&Method::GET, ["virtualMachineScaleSets", set, kind, id]) if is_instances(kind) => {
            match instance(set, id) {
                Some(machine) => {
                    json(200, &shown(state, machine, Some((set, id.parse().unwrap_or(0))), expanded))
                }
                None => nothing(id),
            }
        }
        (&Method::POST, ["virtualMachineScaleSets", set, kind, id, "restart"]) if is_instances(kind) => {
            match instance(set, id) {
                Some(machine) => restart(state, machine),
                None => nothing(id),
            }
        }
        _ => refusal(404, "InvalidResourceType", "The resource type could not be found."),
    }
}

/// Answers how an operation is: by its body, or by the status alone.
pub(super) fn operation(state: &State, id: &str, by_status: bool) -> Reply {
    let operations = state.operations.lock().unwrap_or_else(PoisonError::into_inner);
    let found = id.parse::<usize>().ok().and_then(|id| operations.get(id));
    let Some(operation) = found else { return nothing(id) };
    let retry = [("retry-after", "0"), ("content-type", "application/json")];
    match (operation, by_status) {
        (OperationState::InProgress, true) => with(202, &retry, String::new()),
        (OperationState::Succeeded, true) => with(200, &[], String::new()),
        (OperationState::Failed(why), true) => refusal(409, "VMStartTimedOut", why),
        (OperationState::InProgress, false) => with(200, &retry, json!({"status": "InProgress"}).to_string()),
        (OperationState::Succeeded, false) => json(200, &json!({"status": "Succeeded"})),
        (OperationState::Failed(why), false) => {
            json(200, &json!({"status": "Failed", "error": {"code": "VMStartTimedOut", "message": why}}))
        }
    }
}

/// Paths know no case, and the ancestor writes this part in lower case.
fn is_instances(kind: &str) -> bool {
    kind.eq_ignore_ascii_case("virtualMachines")
}

fn nothing(name: &str) -> Reply {
    refusal(404, "ResourceNotFound", &format!("The resource '{name}' was not found."))
}

fn shown(state: &State, machine: &StandInMachine, instance: Option<(&str, usize)>, expanded: bool) -> Value {
    let mut shown = json!({"properties": {"osProfile": {"computerName": machine.node}}});
    match instance {
        None => shown["name"] = machine.node.as_str().into(),
        Some((set, id)) => {
            shown["name"] = format!("{set}_{id}").into();
            shown["instanceId"] = id.to_string().into();
        }
    }
    if expanded {
        let power = state.power(&machine.node);
        shown["properties"]["instanceView"] = json!({"statuses": [
            {"code": "ProvisioningState/succeeded"},
            {"code": format!("PowerState/{power}")},
        ]});
    }
    shown
}

fn page(state: &State, asked: &Asked, all: Vec<Value>) -> Reply {
    let from: usize = asked.query.get("$skiptoken").and_then(|token| token.parse().ok()).unwrap_or(0);
    let size = state.config.page.max(1);
    let mut body = json!({"value": all.iter().skip(from).take(size).collect::<Vec<_>>()});
    if from + size < all.len() {
        let query: Vec<String> = asked
            .query
            .iter()
            .filter(|(key, _)| *key != "$skiptoken")
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let base = state.resource_manager();
        let base = base.trim_end_matches('/');
        body["nextLink"] =
            format!("{base}{}?{}&$skiptoken={}", asked.path, query.join("&"), from + size).into();
    }
    json(200, &body)
}

fn restart(state: &Arc<State>, machine: &StandInMachine) -> Reply {
    if state.power(&machine.node) != "running" {
        return refusal(
            409,
            "OperationNotAllowed",
            "The machine is not running, or is being restarted already.",
        );
    }
    let id = {
        let mut operations = state.operations.lock().unwrap_or_else(PoisonError::into_inner);
        operations.push(OperationState::InProgress);
        operations.len() - 1
    };
    state.set_power(&machine.node, "starting");
    let (worker, node) = (Arc::clone(state), machine.node.clone());
    tokio::spawn(async move {
        let ended = (worker.hook)(node.clone()).await;
        worker.set_power(&node, "running");
        let ended = match ended {
            Ok(()) => OperationState::Succeeded,
            Err(why) => OperationState::Failed(why),
        };
        let mut operations = worker.operations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(operation) = operations.get_mut(id) {
            *operation = ended;
        }
    });
    let link = |kind: &str| {
        let base = state.resource_manager();
        let subscription = &state.config.subscription;
        format!(
            "{base}subscriptions/{subscription}/providers/Microsoft.Compute/locations/local/{kind}/{id}?api-version=2017-03-30"
        )
    };
    let (state_link, location) = (link("operations"), link("results"));
    let mut headers = vec![("retry-after", "0"), ("location", location.as_str())];
    if state.config.operations == Operations::ByState {
        headers.push(("azure-asyncoperation", state_link.as_str()));
    }
    with(202, &headers, String::new())
}
