//! Plans that are wrong on purpose.
//!
//! Each takes one thing away that a plan is safe by. The check must refuse it, and where it is carried out all the same,
//! on the simulator or on a real cluster, what [`Mutation::expected`] says must be seen to fail: otherwise neither the
//! check nor the simulator nor the lab proves anything about the plans that are right.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::check::Invariant;
use crate::layout::{certificate_file, transition_file};
use crate::material::{ChainForm, Content, Part};
use crate::model::{Component, Generation, LeafId, NodeName, TrustDomain};
use crate::plan::{Action, FileWrite, PhaseName, Plan, Predicate, Step, StepId, Target};

/// One way to make a plan wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mutation {
    /// Nothing is waited for: barriers and waits are empty.
    NoBarrier,
    /// API servers present the new leaf without the cross certificate while clients trust the old CA alone.
    LeafBeforeTrust,
    /// All etcd members are restarted on the new CA at the same time, without any gate.
    AllEtcdAtOnce,
    /// The old CA is dropped while one kubelet still holds it.
    DropWithOneKubeletLeft,
    /// API servers accept and sign tokens of the new key alone, while tokens of the old one are in use.
    TokenKeyTooEarly,
}

/// What is seen to fail when a wrong plan is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expected {
    /// Requests to the API find nobody who answers: connections are refused, or servers are not ready.
    ApiUnavailable,
    /// Clients that trust the old CA alone refuse an API server's certificate: signed by an unknown authority.
    OldClientsRefuseServer,
    /// etcd has no leader, or API servers do not trust it, so that no API server is ready.
    EtcdLost,
    /// A node's kubelet reports no more, so that the node is NotReady after a while: it and the API servers do not trust
    /// each other.
    NodeNotReady,
    /// API servers answer 401 to pods that present tokens of the old key.
    TokensRefused,
}

/// Why a plan cannot be made wrong in that way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("plan cannot be broken by {mutation}: {why}")]
pub struct NotApplicable {
    /// In which way.
    pub mutation: Mutation,
    /// Why not.
    pub why: &'static str,
}

/// A name that is no mutation's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown wrong plan `{0}`; there are: {known}", known = Mutation::ALL.map(Mutation::name).join(", "))]
pub struct UnknownMutation(pub String);

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::NoBarrier,
        Self::LeafBeforeTrust,
        Self::AllEtcdAtOnce,
        Self::DropWithOneKubeletLeft,
        Self::TokenKeyTooEarly,
    ];

    /// Its name, as it is written on a command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoBarrier => "no-barrier",
            Self::LeafBeforeTrust => "leaf-before-trust",
            Self::AllEtcdAtOnce => "all-etcd-at-once",
            Self::DropWithOneKubeletLeft => "drop-with-one-kubelet-left",
            Self::TokenKeyTooEarly => "token-key-too-early",
        }
    }

    /// The invariant that the check must find broken, perhaps among others.
    pub const fn breaks(self) -> Invariant {
        match self {
            Self::NoBarrier => Invariant::Form,
            Self::LeafBeforeTrust | Self::AllEtcdAtOnce => Invariant::Trust,
            Self::DropWithOneKubeletLeft => Invariant::Complete,
            Self::TokenKeyTooEarly => Invariant::Tokens,
        }
    }

    /// What must be seen to fail when it is carried out all the same.
    pub const fn expected(self) -> Expected {
        match self {
            Self::NoBarrier => Expected::ApiUnavailable,
            Self::LeafBeforeTrust => Expected::OldClientsRefuseServer,
            Self::AllEtcdAtOnce => Expected::EtcdLost,
            Self::DropWithOneKubeletLeft => Expected::NodeNotReady,
            Self::TokenKeyTooEarly => Expected::TokensRefused,
        }
    }

    /// Makes a plan wrong.
    ///
    /// # Errors
    ///
    /// Fails if the plan has nothing that this could take away.
    pub fn apply(self, plan: &Plan) -> Result<Plan, NotApplicable> {
        let mut plan = plan.clone();
        let not = |why| Err(NotApplicable { mutation: self, why });
        match self {
            Self::NoBarrier => no_barrier(&mut plan),
            Self::LeafBeforeTrust if plan.authorities.iter().any(|order| order.cross_signed) => {
                leaf_before_trust(&mut plan);
            }
            Self::LeafBeforeTrust => return not("it has no cross certificate to be left out"),
            Self::AllEtcdAtOnce => all_etcd_at_once(&mut plan),
            Self::DropWithOneKubeletLeft => match left_behind(&plan) {
                Some(node) => leave_behind(&mut plan, &node),
                None => return not("it restarts no kubelet but on control planes"),
            },
            Self::TokenKeyTooEarly => token_key_too_early(&mut plan),
        }
        Ok(plan)
    }
}

impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mutation {
    type Err = UnknownMutation;

    fn from_str(name: &str) -> Result<Self, UnknownMutation> {
        let found = Self::ALL.into_iter().find(|mutation| mutation.name() == name);
        found.ok_or_else(|| UnknownMutation(name.to_owned()))
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ApiUnavailable => "requests to the API find nobody who answers",
            Self::OldClientsRefuseServer => {
                "clients that trust the old CA alone refuse an API server's certificate"
            }
            Self::EtcdLost => "no API server is ready, since etcd is lost",
            Self::NodeNotReady => "the node that was left out is NotReady",
            Self::TokensRefused => "API servers refuse tokens of the old key with 401",
        })
    }
}

fn steps(plan: &mut Plan) -> impl Iterator<Item = &mut Step> {
    plan.phases.iter_mut().flat_map(|phase| &mut phase.steps)
}

fn predicates(plan: &mut Plan) -> impl Iterator<Item = &mut Vec<Predicate>> {
    plan.phases.iter_mut().flat_map(|phase| {
        let awaited = phase.steps.iter_mut().filter_map(|step| match &mut step.action {
            Action::Await { predicates } => Some(predicates),
            _ => None,
        });
        awaited.chain(std::iter::once(&mut phase.barrier))
    })
}

fn files(plan: &mut Plan) -> impl Iterator<Item = &mut FileWrite> {
    steps(plan).flat_map(|step| match &mut step.action {
        Action::Write { files } => files.as_mut_slice(),
        _ => &mut [],
    })
}

fn no_barrier(plan: &mut Plan) {
    predicates(plan).for_each(Vec::clear);
}

fn leaf_before_trust(plan: &mut Plan) {
    let apiserver = LeafId::from("apiserver");
    for file in files(plan) {
        if let Content::Parts(parts) = &mut file.content
            && parts.first() == Some(&Part::Leaf(apiserver.clone(), Generation::New))
        {
            parts.retain(|part| !matches!(part, Part::Cross(_)));
        }
    }
    // The plan is to go on: what it looks for is what it brings about.
    for predicate in predicates(plan).flatten() {
        if let Predicate::Presents { leaf, form, .. } = predicate
            && *leaf == apiserver
        {
            *form = ChainForm::Bare;
        }
    }
}

/// In the phase *introduce* every member is given its bare leaves and the new CA alone, and restarted.
fn all_etcd_at_once(plan: &mut Plan) {
    let mut number = plan.steps().map(|step| step.id.0).max().unwrap_or_default();
    let own = ["etcdserver", "etcdpeer", "etcdclient"];
    let holds_own =
        |files: &[FileWrite]| files.iter().any(|file| file.path.starts_with(&certificate_file("etcdserver")));
    for phase in plan.phases.iter_mut().filter(|phase| phase.name == PhaseName::Introduce) {
        let mut restarts = Vec::new();
        for step in &mut phase.steps {
            let Action::Write { files } = &mut step.action else { continue };
            if !holds_own(files) {
                continue;
            }
            for file in files.iter_mut() {
                let is_own = own.iter().any(|name| file.path.starts_with(&certificate_file(name)));
                if let (true, Content::Parts(parts)) = (is_own, &mut file.content) {
                    parts.retain(|part| !matches!(part, Part::Cross(_)));
                }
            }
            let content = Content::one(Part::Ca(TrustDomain::Cluster, Generation::New));
            files.push(FileWrite { path: certificate_file("ca.crt"), content, access: None });
            number += 1;
            restarts.push(Step {
                id: StepId(number),
                title: "restart etcd".to_owned(),
                target: step.target.clone(),
                action: Action::RestartUnit { unit: "etcd.service".to_owned(), component: Component::Etcd },
                after: vec![step.id],
                patience: step.patience,
            });
        }
        phase.steps.extend(restarts);
    }
    for predicates in predicates(plan) {
        predicates.retain(|predicate| {
            let of_etcd = matches!(
                predicate,
                Predicate::Presents { server, .. } | Predicate::Advertises { server, .. }
                    if matches!(server, crate::inventory::Server::EtcdClient(_) | crate::inventory::Server::EtcdPeer(_))
            );
            !of_etcd && *predicate != Predicate::EtcdHealthy
        });
    }
}

/// The node that [`Mutation::DropWithOneKubeletLeft`] leaves behind: the last one that is no control plane.
pub fn left_behind(plan: &Plan) -> Option<NodeName> {
    let masters: BTreeSet<&Target> = plan
        .steps()
        .filter(|step| matches!(step.action, Action::ReplaceStaticPod { .. }))
        .map(|step| &step.target)
        .collect();
    let restarts = plan.steps().filter(|step| {
        matches!(step.action, Action::RestartUnit { component: Component::Kubelet, .. })
            && !masters.contains(&step.target)
    });
    restarts.filter_map(|step| node_of(&step.target)).last().cloned()
}

const fn node_of(target: &Target) -> Option<&NodeName> {
    match target {
        Target::Node(node) => Some(node),
        Target::Api | Target::Etcd | Target::Operator => None,
    }
}

/// Takes everything out that happens on a node between preparations and tidying up, and whatever waits for it.
fn leave_behind(plan: &mut Plan, node: &NodeName) {
    let about = |predicate: &Predicate| match predicate {
        Predicate::Presents { server, .. } | Predicate::Advertises { server, .. } => server.node() == node,
        Predicate::StartedAfter { node: other, .. } | Predicate::NodeReady { node: other } => other == node,
        _ => false,
    };
    for phase in &mut plan.phases {
        if !matches!(phase.name, PhaseName::Prepare | PhaseName::Finish) {
            let gone: BTreeMap<StepId, Vec<StepId>> = phase
                .steps
                .iter()
                .filter(|step| node_of(&step.target) == Some(node))
                .map(|step| (step.id, step.after.clone()))
                .collect();
            phase.steps.retain(|step| !gone.contains_key(&step.id));
            for step in &mut phase.steps {
                // Whatever came after a step that is gone comes after those that it came after.
                while let Some(position) = step.after.iter().position(|before| gone.contains_key(before)) {
                    let before = step.after.remove(position);
                    step.after.extend(gone.get(&before).into_iter().flatten());
                }
                step.after.sort_unstable();
                step.after.dedup();
            }
        }
        phase.barrier.retain(|predicate| !about(predicate));
    }
}

fn token_key_too_early(plan: &mut Plan) {
    let (old, new) = (transition_file("token-old.key"), transition_file("apiserver.key"));
    for step in steps(plan) {
        match &mut step.action {
            Action::ReplaceStaticPod {
                component: Component::ApiServer,
                manifest: Content::Text(text),
                ..
            } => {
                *text = text.replace(&old, &new);
            }
            Action::Write { files } => {
                for file in files.iter_mut().filter(|file| file.path.ends_with("/token-signing.key")) {
                    let key = Part::LeafKey(LeafId::from("apiserver"), Generation::New);
                    file.content = Content::one(key);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check;
    use crate::intent::Strategy;
    use crate::testing::{Shape, naming, replace_ca};

    #[test]
    fn each_is_refused_by_the_check_for_the_right_reason() {
        let inventory = Shape::default().inventory();
        for strategy in [Strategy::CrossSigned, Strategy::Bundled] {
            let plan = crate::planner::plan(&inventory, &replace_ca(Some(strategy)), &naming()).unwrap();
            assert_eq!(check::plan(&plan, &inventory), []);
            for mutation in Mutation::ALL {
                let wrong = match mutation.apply(&plan) {
                    Ok(wrong) => wrong,
                    Err(_) if strategy == Strategy::Bundled => continue,
                    Err(error) => panic!("{error}"),
                };
                assert_ne!(wrong, plan, "{mutation} changes nothing");
                let found = check::plan(&wrong, &inventory);
                assert!(
                    found.iter().any(|violation| violation.invariant == mutation.breaks()),
                    "{mutation} ({strategy}) must break {}, and breaks {:?}",
                    mutation.breaks(),
                    found.iter().take(4).map(ToString::to_string).collect::<Vec<_>>()
                );
            }
        }
    }

    #[test]
    fn names_are_read_again() {
        for mutation in Mutation::ALL {
            assert_eq!(mutation.name().parse(), Ok(mutation));
        }
        assert!("nothing".parse::<Mutation>().is_err());
    }
}
