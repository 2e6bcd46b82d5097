//! Whether a plan is well-formed.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::order::Order;
use super::{Invariant, Violation};
use crate::intent::{Strategy, Why};
use crate::inventory::Server;
use crate::model::{Component, Generation, LeafId, NodeName};
use crate::plan::{Action, Phase, PhaseName, Plan, Predicate, Step, StepId, Target};

/// Checks what can be said without trying the plan out.
pub fn form(plan: &Plan) -> Vec<Violation> {
    let mut violations = phases_in_order(plan);
    violations.extend(ids(plan));
    let servers = servers(plan);
    for phase in &plan.phases {
        let order = Order::of(phase);
        violations.extend(diversions(phase, &order));
        // A cluster that does not serve has no control plane that the others could stand in for.
        if plan.why != Why::Recover {
            violations.extend(control_planes_in_line(phase, &order));
        }
        violations.extend(files_before_restarts(phase, &order));
        violations.extend(barrier_names_all(phase, &servers, plan.strategy));
    }
    violations.extend(staged_before_use(plan));
    violations.extend(leaves_are_seen(plan));
    violations
}

fn violation(subject: impl Into<String>, why: impl Into<String>) -> Violation {
    Violation::new(Invariant::Form, subject, why)
}

fn phases_in_order(plan: &Plan) -> Vec<Violation> {
    plan.phases
        .windows(2)
        .filter(|pair| pair[0].name >= pair[1].name)
        .map(|pair| {
            violation(format!("phase {}", pair[1].name), format!("it follows phase {}", pair[0].name))
        })
        .collect()
}

/// Ids are unique, and steps come after earlier steps of the same phase.
fn ids(plan: &Plan) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut seen = BTreeSet::new();
    for phase in &plan.phases {
        let mut here: HashSet<StepId> = HashSet::with_capacity(phase.steps.len());
        for step in &phase.steps {
            if !seen.insert(step.id) {
                violations.push(violation(step.title.clone(), "its id is taken").at(step.id));
            }
            for after in step.after.iter().filter(|after| !here.contains(after)) {
                let why = format!("it comes after {after}, which is no earlier step of its phase");
                violations.push(violation(step.title.clone(), why).at(step.id));
            }
            here.insert(step.id);
        }
    }
    violations
}

/// Each diversion is taken away by a later step of its phase, with what it is for in between.
fn diversions(phase: &Phase, order: &Order<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for step in phase.steps.iter().filter(|step| matches!(step.action, Action::Divert { .. })) {
        let back = phase.steps.iter().find(|candidate| {
            candidate.action == Action::Undivert
                && candidate.target == step.target
                && order.comes_after(candidate.id, step.id)
        });
        if back.is_none() {
            violations.push(violation(step.title.clone(), "nothing takes the diversion away").at(step.id));
        }
    }
    violations
}

/// Steps that take an API server or an etcd member down are in line over the nodes: no two of them could run at the same
/// time, whatever the driver does.
fn control_planes_in_line(phase: &Phase, order: &Order<'_>) -> Vec<Violation> {
    let restarts: Vec<(&Step, &NodeName)> = phase
        .steps
        .iter()
        .filter_map(|step| match (&step.action, &step.target) {
            (
                Action::Divert { .. }
                | Action::ReplaceStaticPod { component: Component::ApiServer, .. }
                | Action::EndProcess { component: Component::ApiServer }
                | Action::EndProcess { component: Component::Etcd }
                | Action::RestartUnit { component: Component::Etcd, .. },
                Target::Node(node),
            ) => Some((step, node)),
            _ => None,
        })
        .collect();
    let mut violations = Vec::new();
    for (position, (step, node)) in restarts.iter().enumerate() {
        for (earlier, other) in &restarts[..position] {
            if node != other && !order.comes_after(step.id, earlier.id) {
                let why = format!("it may run at the same time as {} on {other}", earlier.title);
                violations.push(
                    Violation::new(Invariant::OneAtATime, format!("{} on {node}", step.title), why)
                        .at(step.id),
                );
            }
        }
    }
    violations
}

/// On one node, the files that a process may read change before or after it is restarted, never meanwhile: otherwise
/// nobody knows which of them the new process has read.
fn files_before_restarts(phase: &Phase, order: &Order<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut restarts: HashMap<&Target, Vec<(&Step, Component)>> = HashMap::new();
    for step in &phase.steps {
        if let Action::ReplaceStaticPod { component, .. }
        | Action::EndProcess { component }
        | Action::RestartUnit { component, .. }
        | Action::StartAfresh { component, .. } = step.action
        {
            restarts.entry(&step.target).or_default().push((step, component));
        }
    }
    for change in &phase.steps {
        let paths: Vec<&str> = match &change.action {
            Action::Write { files } => files.iter().map(|file| file.path.as_str()).collect(),
            Action::Remove { paths } => paths.iter().map(String::as_str).collect(),
            _ => continue,
        };
        for (restart, component) in restarts.get(&change.target).into_iter().flatten() {
            let concerned = paths.iter().any(|path| may_read(*component, path));
            let in_line =
                order.comes_after(change.id, restart.id) || order.comes_after(restart.id, change.id);
            if concerned && !in_line {
                let why =
                    format!("it may change files while {} ({}) is under way", restart.title, restart.id);
                violations
                    .push(violation(format!("{} on {}", change.title, change.target), why).at(change.id));
            }
        }
    }
    violations
}

/// Whether a component may read a file. Only control-plane pods have flags that a plan points elsewhere.
fn may_read(component: Component, path: &str) -> bool {
    match component {
        Component::Scheduler | Component::KubeProxy => ["ca.crt", "client.crt", "client.key"]
            .iter()
            .map(|file| crate::layout::certificate_file(file))
            .chain([format!("{}/scheduler.conf", crate::layout::kubeadm::DIRECTORY)])
            .any(|file| path == file),
        Component::Kubelet | Component::Etcd => !crate::layout::is_staged(path),
        Component::ApiServer | Component::ControllerManager => true,
    }
}

/// Whose new leaf a handshake shows, in some handshake it is looked for.
fn leaves_are_seen(plan: &Plan) -> Vec<Violation> {
    let seen: BTreeSet<&LeafId> = plan
        .phases
        .iter()
        .flat_map(|phase| &phase.barrier)
        .filter_map(|predicate| match predicate {
            Predicate::Presents { leaf, generation: Generation::New, .. } => Some(leaf),
            _ => None,
        })
        .collect();
    let shown = |leaf: &str| {
        let kind = leaf.split('/').next().unwrap_or_default();
        ["apiserver", "etcdserver", "etcd-server", "etcd-peer", "kubelet-server"].contains(&kind)
            || leaf.starts_with("etcdpeer")
    };
    plan.leaves
        .iter()
        .filter(|order| shown(order.id.as_str()) && !seen.contains(&order.id))
        .map(|order| violation(format!("certificate {}", order.id), "no barrier sees it presented"))
        .collect()
}

/// All servers that a plan speaks of.
fn servers(plan: &Plan) -> BTreeSet<Server> {
    let mut servers = BTreeSet::new();
    for step in plan.steps() {
        let Target::Node(node) = &step.target else { continue };
        match &step.action {
            Action::ReplaceStaticPod { component: Component::ApiServer, .. }
            | Action::EndProcess { component: Component::ApiServer } => {
                servers.insert(Server::ApiServer(node.clone()));
            }
            Action::RestartUnit { component: Component::Etcd, .. }
            | Action::EndProcess { component: Component::Etcd } => {
                servers.insert(Server::EtcdClient(node.clone()));
                servers.insert(Server::EtcdPeer(node.clone()));
            }
            Action::RestartUnit { component: Component::Kubelet, .. }
            | Action::StartAfresh { component: Component::Kubelet, .. } => {
                servers.insert(Server::Kubelet(node.clone()));
            }
            _ => {}
        }
    }
    servers
}

/// A barrier that looks at one server of a kind looks at all of them, and the barriers of the phases that change what is
/// presented or trusted look at something.
fn barrier_names_all(phase: &Phase, servers: &BTreeSet<Server>, strategy: Strategy) -> Vec<Violation> {
    // Certificates of one key bear one name, so that no handshake tells them apart.
    let start_will_do = matches!(strategy, Strategy::SameCa | Strategy::SameKey);
    let subject = || format!("barrier of phase {}", phase.name);
    let named: BTreeSet<&Server> = phase
        .barrier
        .iter()
        .filter_map(|predicate| match predicate {
            Predicate::Presents { server, .. } => Some(server),
            _ => None,
        })
        .collect();
    let kinds: HashSet<_> = named.iter().map(|server| std::mem::discriminant(*server)).collect();
    let mut violations = Vec::new();
    // Where leaves are renewed, those of one kind need not be due on all nodes.
    let all_alike = strategy != Strategy::SameCa;
    for server in servers.iter().filter(|_| all_alike) {
        let alike = kinds.contains(&std::mem::discriminant(server));
        if alike && !named.contains(server) {
            violations.push(violation(subject(), format!("it leaves out {server}")));
        }
    }
    let decides = matches!(phase.name, PhaseName::Introduce | PhaseName::Switch | PhaseName::Drop);
    let api_servers = servers.iter().filter(|server| matches!(server, Server::ApiServer(_)));
    if decides && !phase.steps.is_empty() {
        for server in api_servers {
            let looked_at = phase.barrier.iter().any(|predicate| match predicate {
                Predicate::Presents { server: named, .. } | Predicate::Advertises { server: named, .. } => {
                    named == server
                }
                Predicate::StartedAfter { node, component: Component::ApiServer, .. } => {
                    start_will_do && node == server.node()
                }
                _ => false,
            });
            if !looked_at {
                violations.push(violation(subject(), format!("it does not look at {server}")));
            }
        }
    }
    violations
}

/// A manifest names no file of kubecert's own directory that was not put there before.
fn staged_before_use(plan: &Plan) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut staged: BTreeSet<(&NodeName, &str)> = BTreeSet::new();
    for step in plan.steps() {
        let Target::Node(node) = &step.target else { continue };
        match &step.action {
            Action::Write { files } => staged.extend(files.iter().map(|file| (node, file.path.as_str()))),
            Action::ReplaceStaticPod { manifest: crate::material::Content::Text(text), .. } => {
                for path in mentioned(text) {
                    if !staged.contains(&(node, path)) {
                        let why = format!("its manifest names {path}, which nothing has put there");
                        violations.push(violation(step.title.clone(), why).at(step.id));
                    }
                }
            }
            _ => {}
        }
    }
    violations
}

/// Files below kubecert's own directory that a text names.
fn mentioned(text: &str) -> impl Iterator<Item = &str> {
    let stages = [crate::layout::STAGE, crate::layout::kubeadm::TRANSITION];
    stages.into_iter().flat_map(|stage| text.match_indices(stage)).map(|(at, _)| {
        let rest = &text[at..];
        let end = rest.find(|c: char| c.is_whitespace() || "\"',]".contains(c)).unwrap_or(rest.len());
        &rest[..end]
    })
}
