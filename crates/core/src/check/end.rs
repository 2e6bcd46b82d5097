//! What a cluster has come to when a plan is through: nobody was left out, and nothing of what was to go is left.

use std::collections::BTreeSet;

use super::{Invariant, Violation};
use crate::intent::{Strategy, Why};
use crate::model::{Component, Generation, LeafId, TrustDomain};
use crate::plan::{AuthorityOrder, KeyOrder, Plan};
use crate::world::{Generations, Kind, PodName, Process, Slot, Value, World};

/// Where a process keeps CAs of the cluster domain.
const ROOTS: [Slot; 7] = [
    Slot::ClientCa,
    Slot::PeerCa,
    Slot::EtcdCa,
    Slot::KubeletCa,
    Slot::ApiRoots,
    Slot::PublishedCa,
    Slot::Issuer,
];
/// Where a process keeps token keys.
const TOKEN_KEYS: [Slot; 2] = [Slot::TokenKeys, Slot::TokenSigner];

/// Checks a world on which every step of a plan was tried out.
///
/// Each leaf that was issued is presented by whoever presents it at all. Where the CA is replaced, servers trust and sign
/// with the new one and its token key alone, so that tokens of the old key are refused. Where it keeps its key, nobody
/// holds its former certificate, which will end. Where it stays, tokens stay good.
pub fn end(plan: &Plan, world: &World) -> Vec<Violation> {
    let mut violations = presented(plan, world);
    let kept = |name: &PodName| plan.kept.iter().any(|kept| kept.id == name.to_string());
    let pods = world.pods.iter().filter(|pod| !kept(&pod.name));
    match world.strategy {
        Strategy::SameCa => {
            violations.extend(held(world, &TOKEN_KEYS, Generations::OLD, |_| true));
            violations.extend(held(world, &ROOTS, Generations::OLD, |_| true));
        }
        Strategy::SameKey => {
            violations.extend(held(world, &TOKEN_KEYS, Generations::OLD, |_| true));
            violations.extend(held(world, &ROOTS, Generations::NEW, |_| true));
            for pod in pods.filter(|pod| pod.roots.perhaps() != Generations::NEW) {
                violations.push(left(pod.name.to_string(), "it may hold the former certificate of the CA"));
            }
            let bundles = world.ca_bundles.iter().filter(|(_, held)| *held != Generations::NEW);
            violations
                .extend(bundles.map(|(holder, _)| {
                    left(holder.to_string(), "it holds the former certificate of the CA")
                }));
        }
        Strategy::CrossSigned | Strategy::Bundled => {
            // With bundles kube-proxy and other pods go on trusting both CAs until they are restarted the next time.
            let reached = |process: &Process| {
                world.strategy == Strategy::CrossSigned
                    || process.who.kind != Kind::Component(Component::KubeProxy)
            };
            let keys = if world.tokens_change { Generations::NEW } else { Generations::OLD };
            violations.extend(held(world, &TOKEN_KEYS, keys, |_| true));
            violations.extend(held(world, &ROOTS, Generations::NEW, reached));
            for pod in pods {
                if pod.token.perhaps() != keys {
                    violations.push(left(pod.name.to_string(), "its token may be of the old key"));
                }
                // With bundles pods go on trusting both CAs until they are restarted the next time.
                if world.strategy == Strategy::CrossSigned && pod.roots.perhaps() != Generations::NEW {
                    violations.push(left(pod.name.to_string(), "it may hold the old CA"));
                }
            }
        }
    }
    let front_proxy = plan.authorities.iter().any(|order| order.domain == TrustDomain::FrontProxy);
    let wanted = if front_proxy { Generations::NEW } else { Generations::OLD };
    violations.extend(held(world, &[Slot::RequestHeaderCa], wanted, |_| true));
    violations
}

fn is_new_front_proxy(order: &AuthorityOrder) -> bool {
    order.domain == TrustDomain::FrontProxy && order.key != KeyOrder::Same && !order.cross_signed
}

fn left(subject: String, why: &str) -> Violation {
    Violation::new(Invariant::Complete, subject, format!("at the end {why}"))
}

/// Each leaf that the plan orders is what its holders come to present.
fn presented(plan: &Plan, world: &World) -> Vec<Violation> {
    let ordered: BTreeSet<&LeafId> = plan.leaves.iter().map(|order| &order.id).collect();
    let mut violations = Vec::new();
    for process in world.processes() {
        for (leaf, values) in process.presenting().filter(|(leaf, _)| ordered.contains(leaf)) {
            if values.presented().any(|presented| presented.generation() == Generation::Old) {
                let why = format!("it presents the old certificate {leaf}");
                violations.push(left(process.who.to_string(), &why));
            }
        }
    }
    violations
}

/// Processes that come to hold anything else than `wanted` in some slots.
fn held(
    world: &World,
    slots: &[Slot],
    wanted: Generations,
    concerned: impl Fn(&Process) -> bool,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    for process in world.processes().iter().filter(|process| concerned(process)) {
        for slot in slots {
            let Some(values) = process.expected(*slot) else { continue };
            let all = values.generations().all(|held| held == wanted);
            if !all || values.may_be(Value::Holds(Generations::NONE)) {
                let why = format!("its {slot:?} is not the {wanted} one alone");
                violations.push(left(process.who.to_string(), &why));
            }
        }
    }
    violations
}

/// Whether a plan orders what its strategy says, and names nothing new that it does not order.
pub fn orders(plan: &Plan) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut wrong = |subject: String, why: &str| {
        violations.push(Violation::new(Invariant::Form, subject, why));
    };
    for order in &plan.authorities {
        // Where a cluster is brought back, a front proxy that has ended goes along.
        let fits = match plan.strategy {
            Strategy::CrossSigned => {
                order.key != KeyOrder::Same && order.cross_signed == (order.domain != TrustDomain::FrontProxy)
            }
            Strategy::Bundled => order.key != KeyOrder::Same && !order.cross_signed,
            Strategy::SameKey => order.key == KeyOrder::Same && !order.cross_signed,
            Strategy::SameCa => false,
        } || plan.why == Why::Recover && is_new_front_proxy(order);
        if !fits {
            let subject = format!("the order of the {} CA", order.domain);
            wrong(subject, &format!("it does not fit strategy {}", plan.strategy));
        }
        if !plan.scope.covers(order.domain) {
            wrong(format!("the order of the {} CA", order.domain), "its domain is out of scope");
        }
    }
    for order in plan.leaves.iter().filter(|order| !plan.scope.covers(order.domain)) {
        wrong(format!("the order of certificate {}", order.id), "its domain is out of scope");
    }
    for (what, step) in super::parts::named(plan) {
        if !super::parts::is_ordered(plan, &what) {
            violations.push(
                Violation::new(Invariant::Form, format!("{what:?}"), "it is named, but nothing orders it")
                    .at(step),
            );
        }
    }
    violations
}
