//! A plan for people: what would be done and why, in order, and what it disturbs.

use std::collections::BTreeMap;

use kubecert_core::intent::{Strategy, Why};
use kubecert_core::model::Component;
use kubecert_core::plan::{Action, Phase, PhaseName, Plan, Step, Target};

use super::phase_in_words;
use crate::human::paint::Paint;
use crate::human::plural::{self, count, some};

/// The plan as text, each line ended.
pub(crate) fn render(plan: &Plan, paint: Paint) -> String {
    if plan.is_empty() {
        let mut text = format!(
            "{} Nothing of cluster {} is due.\n",
            paint.green("There is nothing to do."),
            plan.cluster
        );
        kept(plan, &mut text);
        return text;
    }
    let headline = format!("Plan for cluster {}: {}", plan.cluster, reason(plan));
    let mut text = format!("{}\n{}\n", paint.bold(&headline), strategy(plan));
    effect(plan, paint, &mut text);
    if !plan.notices.is_empty() {
        text.push_str(&format!("\n{}\n", paint.bold("To know beforehand")));
        plan.notices.iter().for_each(|notice| text.push_str(&format!("  - {notice}\n")));
    }
    for (index, phase) in plan.phases.iter().enumerate() {
        self::phase(index + 1, phase, paint, &mut text);
    }
    kept(plan, &mut text);
    text
}

fn reason(plan: &Plan) -> String {
    let leaves = count(plan.leaves.len(), plural::CERTIFICATE);
    match plan.why {
        Why::Renew => format!("renew {leaves}"),
        Why::ReplaceCa => {
            format!("replace {} and {leaves}", count(plan.authorities.len(), plural::AUTHORITY))
        }
    }
}

fn strategy(plan: &Plan) -> &'static str {
    match (plan.why, plan.strategy) {
        (Why::Renew, _) => "The certificate authority stays, so no trust changes.",
        (Why::ReplaceCa, Strategy::CrossSigned) => {
            "Strategy cross-signed: the old CA vouches for the new one, so both old and new trust accept every new\n\
             certificate from the moment it is presented. It is the gentlest way, possible since the old CA is valid and\n\
             its key is at hand."
        }
        (Why::ReplaceCa, Strategy::Bundled) => {
            "Strategy bundled: trust grows to both CAs, certificates change, trust shrinks. It restarts more than\n\
             cross-signed, and needs neither the old CA's key nor its validity."
        }
    }
}

/// What the plan disturbs, told from its actions alone.
fn effect(plan: &Plan, paint: Paint, text: &mut String) {
    text.push_str(&format!("\n{}\n", paint.bold("Expected effect")));
    let mut line = |line: String| text.push_str(&format!("  {line}\n"));
    let restarts = restarts(plan);
    if restarts.is_empty() {
        line("No process of the cluster is restarted.".to_owned());
    }
    for (component, nodes) in &restarts {
        let (fewest, most) = (nodes.values().min().unwrap_or(&0), nodes.values().max().unwrap_or(&0));
        let each = if fewest == most { most.to_string() } else { format!("{fewest} to {most}") };
        let total = count(nodes.values().sum(), plural::RESTART);
        let on = count(nodes.len(), plural::NODE);
        line(format!("{:<24} {total}: {each} on each of {on}", component.process_name()));
    }
    let of = |wanted: fn(&Action) -> bool| plan.steps().filter(|step| wanted(&step.action)).count();
    let rolled = of(|action| matches!(action, Action::Roll { .. }));
    if rolled > 0 {
        line(format!(
            "{} restarted pod by pod, as `kubectl rollout restart` does",
            count(rolled, plural::WORKLOAD)
        ));
    }
    let recreated = of(|action| matches!(action, Action::RecreatePod { .. }));
    if recreated > 0 {
        let pods = count(recreated, plural::POD);
        line(format!("{pods} without a controller deleted and created again; each is away for some seconds"));
    }
    if of(|action| matches!(action, Action::Divert { .. })) > 0 {
        line(
            "The API keeps answering: new connections to the API server in hand go to a neighbour."
                .to_owned(),
        );
    } else if restarts.contains_key(&Component::ApiServer) {
        line("The API does not answer while its only server restarts.".to_owned());
    }
    if plan.phases.iter().any(|phase| phase.name == PhaseName::Drop && !phase.steps.is_empty()) {
        line("It can be interrupted at any time; the same command goes on.".to_owned());
    }
}

/// Restarts by component and node.
fn restarts(plan: &Plan) -> BTreeMap<Component, BTreeMap<String, usize>> {
    let mut restarts: BTreeMap<Component, BTreeMap<String, usize>> = BTreeMap::new();
    for step in plan.steps() {
        let component = match &step.action {
            Action::ReplaceStaticPod { component, .. }
            | Action::EndProcess { component }
            | Action::RestartUnit { component, .. } => *component,
            _ => continue,
        };
        *restarts.entry(component).or_default().entry(step.target.to_string()).or_default() += 1;
    }
    restarts
}

fn phase(number: usize, phase: &Phase, paint: Paint, text: &mut String) {
    let heading = format!("{number}. {}", phase.name);
    let steps = count(phase.steps.len(), plural::STEP);
    text.push_str(&format!("\n{} ({steps})\n   {}\n", paint.bold(&heading), phase_in_words(phase.name)));
    for (targets, steps) in alike(phase) {
        let names: Vec<String> = targets.iter().map(ToString::to_string).collect();
        let each = if names.len() > 1 { ", each:" } else { ":" };
        text.push_str(&format!("   {}{each}\n", paint.cyan(&some(&names, 4))));
        steps.iter().for_each(|step| text.push_str(&format!("     - {}\n", step.title)));
    }
    if !phase.barrier.is_empty() {
        text.push_str(&format!("   {}\n", paint.yellow("goes on only when running processes show that")));
        for predicate in &phase.barrier {
            text.push_str(&format!("     - {predicate}\n"));
        }
    }
}

/// Steps by target, in the order of their first steps; targets where the same is done are told together.
fn alike(phase: &Phase) -> Vec<(Vec<&Target>, Vec<&Step>)> {
    let mut by_target: Vec<(&Target, Vec<&Step>)> = Vec::new();
    for step in &phase.steps {
        match by_target.iter_mut().find(|(target, _)| *target == &step.target) {
            Some((_, steps)) => steps.push(step),
            None => by_target.push((&step.target, vec![step])),
        }
    }
    let mut groups: Vec<(Vec<&Target>, Vec<&Step>)> = Vec::new();
    for (target, steps) in by_target {
        let same = |other: &Vec<&Step>| {
            other.iter().map(|step| &step.title).eq(steps.iter().map(|step| &step.title))
        };
        match groups.iter_mut().find(|(_, other)| same(other)) {
            Some((targets, _)) => targets.push(target),
            None => groups.push((vec![target], steps)),
        }
    }
    groups
}

fn kept(plan: &Plan, text: &mut String) {
    if plan.kept.is_empty() {
        return;
    }
    text.push_str("\nKept as they are\n");
    plan.kept.iter().for_each(|kept| text.push_str(&format!("  - {}: {}\n", kept.id, kept.why)));
}

#[cfg(test)]
mod tests {
    use kubecert_core::inventory::{ObjectRef, WorkloadKind, WorkloadRef};
    use kubecert_core::model::{ClusterName, LeafId, NodeName, TrustDomain};
    use kubecert_core::plan::{AuthorityOrder, Kept, LeafOrder, LeafShape, Patience, Predicate, StepId};

    use super::*;

    fn sample() -> Plan {
        let node = |index: usize| Target::Node(NodeName::new(format!("k8s-master-{index}")));
        let mut id = 0;
        let mut step = |target: Target, title: &str, action: Action| {
            id += 1;
            let patience = Patience { attempts: 3, timeout_s: 60 };
            Step { id: StepId(id), title: title.to_owned(), target, action, after: Vec::new(), patience }
        };
        let etcd = || Action::RestartUnit { unit: "etcd".to_owned(), component: Component::Etcd };
        let api = || Action::EndProcess { component: Component::ApiServer };
        let divert = || Action::Divert { from: [10, 0, 0, 5].into(), to: [10, 0, 0, 6].into(), port: 443 };
        let mut introduce = Vec::new();
        for index in 0..3 {
            introduce.push(step(node(index), "divert new connections to a neighbour", divert()));
            introduce.push(step(node(index), "restart etcd", etcd()));
            introduce.push(step(node(index), "restart kube-apiserver", api()));
        }
        let prober = WorkloadRef {
            kind: WorkloadKind::Deployment,
            namespace: "default".to_owned(),
            name: "prober".to_owned(),
        };
        let lonely = ObjectRef { namespace: "default".to_owned(), name: "lonely".to_owned() };
        let switch = vec![
            step(Target::Api, "roll deployment default/prober", Action::Roll { workload: prober }),
            step(Target::Api, "re-create pod default/lonely", Action::RecreatePod { pod: lonely }),
        ];
        let drop = vec![step(node(0), "restart kube-apiserver without the old CA", api())];
        let phase = |name, steps, barrier| Phase { name, steps, barrier };
        Plan {
            schema: Plan::SCHEMA,
            cluster: ClusterName::from("lab"),
            why: Why::ReplaceCa,
            strategy: Strategy::CrossSigned,
            authorities: vec![AuthorityOrder {
                domain: TrustDomain::Cluster,
                common_name: "ca 2026-11-21".to_owned(),
                like: String::new(),
                key: "rsa-4096".to_owned(),
                cross_signed: true,
            }],
            leaves: vec![LeafOrder {
                id: LeafId::from("apiserver"),
                domain: TrustDomain::Cluster,
                shape: LeafShape::Like(String::new()),
                key: "rsa-4096".to_owned(),
            }],
            phases: vec![
                phase(
                    PhaseName::Introduce,
                    introduce,
                    vec![Predicate::EtcdHealthy, Predicate::AggregatedApisAvailable],
                ),
                phase(PhaseName::Switch, switch, Vec::new()),
                phase(PhaseName::Drop, drop, Vec::new()),
            ],
            kept: vec![Kept {
                id: "secret web/tls".to_owned(),
                why: "it is signed by another CA".to_owned(),
            }],
            notices: vec!["Pod default/lonely is away for some seconds.".to_owned()],
        }
    }

    #[test]
    fn a_plan_says_what_why_and_what_it_disturbs() {
        insta::assert_snapshot!(render(&sample(), Paint::PLAIN), @"
        Plan for cluster lab: replace 1 certificate authority and 1 certificate
        Strategy cross-signed: the old CA vouches for the new one, so both old and new trust accept every new
        certificate from the moment it is presented. It is the gentlest way, possible since the old CA is valid and
        its key is at hand.

        Expected effect
          etcd                     3 restarts: 1 on each of 3 nodes
          kube-apiserver           4 restarts: 1 to 2 on each of 3 nodes
          1 workload restarted pod by pod, as `kubectl rollout restart` does
          1 pod without a controller deleted and created again; each is away for some seconds
          The API keeps answering: new connections to the API server in hand go to a neighbour.
          It can be interrupted at any time; the same command goes on.

        To know beforehand
          - Pod default/lonely is away for some seconds.

        1. introduce (9 steps)
           Every server comes to present a certificate that holders of either CA accept, and to accept clients of both.
           k8s-master-0, k8s-master-1 and k8s-master-2, each:
             - divert new connections to a neighbour
             - restart etcd
             - restart kube-apiserver
           goes on only when running processes show that
             - every etcd member is healthy and caught up
             - aggregated APIs are Available

        2. switch (2 steps)
           Trust, issuing and tokens move to the new CA; workloads are renewed.
           API:
             - roll deployment default/prober
             - re-create pod default/lonely

        3. drop (1 step)
           The old CA and the old token key leave every trust store. From here there is no way back.
           k8s-master-0:
             - restart kube-apiserver without the old CA

        Kept as they are
          - secret web/tls: it is signed by another CA
        ");
    }

    #[test]
    fn an_empty_plan_says_so() {
        let mut plan = sample();
        plan.phases.clear();
        insta::assert_snapshot!(render(&plan, Paint::PLAIN), @"
        There is nothing to do. Nothing of cluster lab is due.

        Kept as they are
          - secret web/tls: it is signed by another CA
        ");
    }
}
