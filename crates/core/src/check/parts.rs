//! What a plan names, and whether it will be there.

use std::collections::BTreeMap;

use crate::inventory::CaRef;
use crate::material::{ChainForm, Content, Part};
use crate::model::{Generation, TrustDomain};
use crate::plan::{Action, KeyOrder, Plan, Predicate, StepId};

/// Every part that the steps of a plan name, each with the first step that does.
pub(super) fn named(plan: &Plan) -> BTreeMap<Part, StepId> {
    let mut found = BTreeMap::new();
    for step in plan.steps() {
        let mut add = |part: Part| {
            found.entry(part).or_insert(step.id);
        };
        match &step.action {
            Action::Write { files } => {
                files.iter().flat_map(|file| parts(&file.content)).for_each(&mut add);
            }
            Action::ReplaceStaticPod { manifest, .. } => parts(manifest).into_iter().for_each(&mut add),
            Action::SetCaBundle { roots, .. } | Action::PublishClusterInfo { roots } => {
                roots.iter().cloned().for_each(&mut add)
            }
            Action::WriteTlsSecret { leaf, .. } => add(Part::Leaf(leaf.clone(), Generation::New)),
            Action::UseCredentials { roots, .. } => roots.iter().copied().map(authority).for_each(&mut add),
            Action::ShareFrontProxy => add(Part::Ca(TrustDomain::FrontProxy, Generation::New)),
            Action::Await { predicates } => predicates.iter().flat_map(seen).for_each(&mut add),
            _ => {}
        }
    }
    for phase in &plan.phases {
        let Some(last) = phase.steps.last() else { continue };
        for part in phase.barrier.iter().flat_map(seen) {
            found.entry(part).or_insert(last.id);
        }
    }
    found
}

const fn authority(ca: CaRef) -> Part {
    Part::Ca(ca.domain, ca.generation)
}

fn parts(content: &Content) -> Vec<Part> {
    match content {
        Content::Parts(parts) | Content::KubeconfigRoots(parts) => parts.clone(),
        Content::Kubeconfig { roots, chain, key } => {
            roots.iter().chain(chain).chain([key]).cloned().collect()
        }
        Content::Text(_) | Content::Link(_) | Content::Original => Vec::new(),
    }
}

fn seen(predicate: &Predicate) -> Vec<Part> {
    match predicate {
        Predicate::Presents { leaf, generation, form, .. } => {
            let mut parts = vec![Part::Leaf(leaf.clone(), *generation)];
            if *form == ChainForm::WithCross {
                parts.push(Part::Cross(TrustDomain::Cluster));
            }
            parts
        }
        Predicate::Advertises { cas, .. }
        | Predicate::RootsPublished { cas }
        | Predicate::TokenSecretsCarry { cas }
        | Predicate::ExtensionTrusts { cas } => cas.iter().copied().map(authority).collect(),
        Predicate::AcceptsClientsOf { ca, .. }
        | Predicate::RefusesClientsOf { ca, .. }
        | Predicate::HoldsLeafOf { ca, .. } => vec![authority(*ca)],
        _ => Vec::new(),
    }
}

/// Whether a part was there before the run, or is made for it.
pub(super) fn is_ordered(plan: &Plan, part: &Part) -> bool {
    let ca = |wanted: TrustDomain| plan.authorities.iter().find(|order| order.domain == wanted);
    let leaf = |wanted| plan.leaves.iter().find(|order| &order.id == wanted);
    let pair = |wanted| plan.key_pairs.iter().any(|order| &order.id == wanted);
    match part {
        Part::Ca(domain, Generation::New) | Part::CaKey(domain, Generation::New) => ca(*domain).is_some(),
        Part::Cross(domain) => ca(*domain).is_some_and(|order| order.cross_signed),
        Part::Leaf(id, Generation::New) => leaf(id).is_some(),
        Part::LeafKey(id, Generation::New) => {
            leaf(id).is_some_and(|order| order.key != KeyOrder::Same) || pair(id)
        }
        Part::PublicKey(id, Generation::New) => pair(id),
        Part::Ca(_, Generation::Old)
        | Part::CaKey(_, Generation::Old)
        | Part::Leaf(_, Generation::Old)
        | Part::LeafKey(_, Generation::Old)
        | Part::PublicKey(_, Generation::Old) => true,
    }
}
