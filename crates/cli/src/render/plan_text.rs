//! A plan for people: what would be done and why, in order, and what it disturbs.

use kubecert_core::intent::{Scope, Strategy, Why};
use kubecert_core::model::{Component, TrustDomain};
use kubecert_core::plan::{Action, Phase, Plan, Step, Target};
use kubecert_core::restarts::{Restart, Restarted, restarts};

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
        self::phase(index + 1, plan, phase, paint, &mut text);
    }
    kept(plan, &mut text);
    text
}

fn reason(plan: &Plan) -> String {
    let leaves = count(plan.leaves.len(), plural::CERTIFICATE);
    let replace = || format!("replace {} and {leaves}", count(plan.authorities.len(), plural::AUTHORITY));
    let what = match plan.why {
        Why::Renew => format!("renew {leaves}"),
        Why::ExtendCa => "give the certificate authority a longer life".to_owned(),
        Why::ReplaceCa => replace(),
        Why::Recover => format!("bring back a cluster that has ended, with {leaves}"),
        Why::Compromised => format!("{}, since a key is in wrong hands", replace()),
    };
    match plan.scope {
        Scope::All => what,
        scope => format!("{what} (scope {scope})"),
    }
}

fn strategy(plan: &Plan) -> &'static str {
    if !plan.scope.covers(TrustDomain::Cluster) {
        return "The front proxy's CA alone: trust grows to both CAs, the certificate changes, trust shrinks. API servers\n\
                read all three files again by themselves.";
    }
    match plan.strategy {
        Strategy::SameCa => "The certificate authority stays, so no trust changes.",
        Strategy::SameKey => {
            "Strategy same-key: the CA gets another certificate for its key and its name. Holders of either accept every\n\
             certificate that there is, so none of those changes; what is restarted is restarted to forget the former one."
        }
        Strategy::CrossSigned => {
            "Strategy cross-signed: the old CA vouches for the new one, so both old and new trust accept every new\n\
             certificate from the moment it is presented. It is the gentlest way, possible since the old CA is valid and\n\
             its key is at hand."
        }
        Strategy::Bundled => {
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
    let is_component = |restart: &&Restart| matches!(restart.what, Restarted::Component(_));
    if !restarts.iter().any(|restart| is_component(&restart)) {
        line("No process of the cluster is restarted.".to_owned());
    }
    for restart in restarts.iter().filter(is_component) {
        let times = count(restart.times, plural::RESTART);
        let names: Vec<String> = restart.nodes.iter().map(ToString::to_string).collect();
        let on = match names.len() {
            1 => String::new(),
            many => format!("each of {}: ", count(many, plural::NODE)),
        };
        line(format!("{:<24} {times} on {on}{}", restart.what.to_string(), some(&names, 4)));
        line(format!("{:<24}   {}", "", restart.why));
    }
    let pods = |wanted: fn(&Restarted) -> bool| restarts.iter().filter(move |restart| wanted(&restart.what));
    let rolled: Vec<&Restart> = pods(|what| matches!(what, Restarted::Workload(_))).collect();
    if let Some(first) = rolled.first() {
        let often = rolled.iter().map(|restart| restart.times).max().unwrap_or(1);
        let each = if often > 1 { format!(", {} each", count(often, plural::TIME)) } else { String::new() };
        line(format!(
            "{} restarted pod by pod, as `kubectl rollout restart` does{each}",
            count(rolled.len(), plural::WORKLOAD)
        ));
        line(format!("{:<24}   {}", "", first.why));
        let names: Vec<String> = rolled.iter().map(|restart| restart.what.to_string()).collect();
        line(format!("{:<24}   {}", "", some(&names, 8)));
    }
    let recreated = pods(|what| matches!(what, Restarted::Pod(_))).count();
    if recreated > 0 {
        let pods = count(recreated, plural::POD);
        line(format!("{pods} without a controller deleted and created again; each is away for some seconds"));
    }
    let api_servers =
        restarts.iter().any(|restart| restart.what == Restarted::Component(Component::ApiServer));
    if plan.steps().any(|step| matches!(step.action, Action::Divert { .. })) {
        line(
            "The API keeps answering: new connections to the API server in hand go to a neighbour."
                .to_owned(),
        );
    } else if api_servers {
        line("The API does not answer while its only server restarts.".to_owned());
    }
    line("It can be interrupted at any time; the same command goes on.".to_owned());
}

fn phase(number: usize, plan: &Plan, phase: &Phase, paint: Paint, text: &mut String) {
    let heading = format!("{number}. {}", phase.name);
    let steps = count(phase.steps.len(), plural::STEP);
    text.push_str(&format!(
        "\n{} ({steps})\n   {}\n",
        paint.bold(&heading),
        phase_in_words(phase.name, plan.strategy, plan.scope)
    ));
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

/// What is kept; what is kept for the same reason is told together.
fn kept(plan: &Plan, text: &mut String) {
    if plan.kept.is_empty() {
        return;
    }
    let mut by_reason: Vec<(&str, Vec<String>)> = Vec::new();
    for kept in &plan.kept {
        match by_reason.iter_mut().find(|(why, _)| *why == kept.why) {
            Some((_, ids)) => ids.push(kept.id.clone()),
            None => by_reason.push((&kept.why, vec![kept.id.clone()])),
        }
    }
    text.push_str("\nKept as they are\n");
    for (why, ids) in by_reason {
        text.push_str(&format!("  - {}: {why}\n", some(&ids, 6)));
    }
}

#[cfg(test)]
mod tests {
    use kubecert_core::intent::Limits;
    use kubecert_core::inventory::{ObjectRef, WorkloadKind, WorkloadRef};
    use kubecert_core::model::{ClusterName, LeafId, NodeName};
    use kubecert_core::plan::{
        AuthorityOrder, Kept, KeyOrder, LeafOrder, LeafShape, Patience, PhaseName, Predicate, StepId,
    };

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
            scope: Scope::All,
            limits: Limits::default(),
            authorities: vec![AuthorityOrder {
                domain: TrustDomain::Cluster,
                common_name: "ca 2026-11-21".to_owned(),
                like: String::new(),
                key: KeyOrder::New("rsa-4096".to_owned()),
                cross_signed: true,
            }],
            leaves: vec![LeafOrder {
                id: LeafId::from("apiserver"),
                domain: TrustDomain::Cluster,
                shape: LeafShape::Like(String::new()),
                key: KeyOrder::New("rsa-4096".to_owned()),
            }],
            key_pairs: Vec::new(),
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
          etcd                     1 restart on each of 3 nodes: k8s-master-0, k8s-master-1 and k8s-master-2
                                     whatever it has read before may be outdated
          kube-apiserver           2 restarts on k8s-master-0
                                     whatever it has read before may be outdated
          kube-apiserver           1 restart on each of 2 nodes: k8s-master-1 and k8s-master-2
                                     whatever it has read before may be outdated
          1 workload restarted pod by pod, as `kubectl rollout restart` does
                                     its pods hold the old CA and a token of the old key
                                     deployment default/prober
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

    /// Everything for which there is a reason is told with it, for each reason to rotate.
    #[test]
    fn plans_for_other_reasons_say_what_they_restart_and_what_they_keep() {
        let mut plan = sample();
        plan.why = Why::Renew;
        plan.strategy = Strategy::SameCa;
        plan.authorities.clear();
        plan.phases.retain(|phase| phase.name == PhaseName::Switch);
        plan.kept = ["a", "b", "c"]
            .map(|id| Kept { id: format!("certificate {id}"), why: "valid until 2055-11-14".to_owned() })
            .into();
        let text = render(&plan, Paint::PLAIN);
        assert!(text.starts_with("Plan for cluster lab: renew 1 certificate\n"), "{text}");
        assert!(text.contains("No process of the cluster is restarted."), "{text}");
        assert!(text.contains("may have read their serving certificate"), "{text}");
        assert!(text.contains("take the place of those that are due"), "{text}");
        let kept = "certificate a, certificate b and certificate c: valid until 2055-11-14";
        assert!(text.contains(kept), "{text}");

        plan.why = Why::Compromised;
        plan.strategy = Strategy::Bundled;
        plan.scope = Scope::FrontProxy;
        let text = render(&plan, Paint::PLAIN);
        assert!(text.contains("since a key is in wrong hands (scope front-proxy)"), "{text}");
        assert!(text.contains("The front proxy's CA alone"), "{text}");

        plan.why = Why::ExtendCa;
        plan.strategy = Strategy::SameKey;
        plan.scope = Scope::All;
        let text = render(&plan, Paint::PLAIN);
        assert!(text.contains("give the certificate authority a longer life"), "{text}");
    }
}
