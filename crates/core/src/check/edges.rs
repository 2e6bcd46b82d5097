//! Who talks to whom, and whether they accept each other (I1, I2, I5).

use std::fmt;

use super::{Invariant, Violation};
use crate::intent::Strategy;
use crate::model::{Component, Generation, NodeName, TrustDomain};
use crate::plan::PhaseName;
use crate::world::{Ended, Generations, Kind, Presented, Process, Rules, Slot, Value, Values, World};

/// I1: every client accepts its server, and every server its clients.
///
/// A diversion does not count here: a node's timer takes it away if kubecert is no more, so that whatever is true behind
/// it must be good enough without it.
pub fn trust(world: &World) -> Vec<Violation> {
    let mut violations = of_etcd(world);
    let rules = world.rules(TrustDomain::Cluster);
    let mut check = |client: &dyn fmt::Display, server: &dyn fmt::Display, edge: Edge| {
        edge.judge(client, server, rules, &mut violations);
    };
    let clients = api_clients(world);
    for server in world.each(Component::ApiServer) {
        let who = server.who.as_ref();
        for client in &clients {
            with_client(server, client, &mut check);
        }
        for kubelet in world.each(Component::Kubelet) {
            with_kubelet(server, kubelet, &mut check);
        }
        for pod in &world.pod_servers {
            let name = format_args!("pods with Secret {}", pod.secret);
            for (holder, roots) in &world.ca_bundles {
                check(
                    &format_args!("{who} through {holder}"),
                    &name,
                    Edge::of(Some(Values::held(*roots)), Some(pod.presented)),
                );
            }
        }
    }
    let rules = world.rules(TrustDomain::FrontProxy);
    for server in world.each(Component::ApiServer) {
        for pod in &world.pod_servers {
            let name = format_args!("pods with Secret {}", pod.secret);
            let edge = Edge::back(server.possible(Slot::ProxyClient), Some(Values::held(world.extension)));
            edge.judge(server.who.as_ref(), &name, rules, &mut violations);
        }
    }
    violations
}

/// What etcd's members make of each other and of their clients.
fn of_etcd(world: &World) -> Vec<Violation> {
    let mut violations = among_members(world);
    let rules = world.rules(world.layout.etcd_domain());
    for etcd in world.each(Component::Etcd) {
        let member = etcd.who.as_ref();
        // A member's gRPC gateway dials its own client port with its server certificate.
        let gateway = Edge::of(etcd.possible(Slot::ClientCa), etcd.possible(Slot::Serving));
        gateway.judge(member, member, rules, &mut violations);
        for server in world.each(Component::ApiServer) {
            // API servers of both layouts know their own member only (`--etcd-servers=https://127.0.0.1:2379`), but the
            // others are as good, and other installations name them all.
            with_etcd(server, etcd, rules, &mut violations);
        }
    }
    violations
}

/// What an API server, as a client, and an etcd member make of each other.
fn with_etcd(server: &Process, etcd: &Process, rules: Rules, violations: &mut Vec<Violation>) {
    let (who, member) = (server.who.as_ref(), etcd.who.as_ref());
    let there = Edge::of(server.possible(Slot::EtcdCa), etcd.possible(Slot::Serving));
    there.judge(who, member, rules, violations);
    let back = Edge::back(server.possible(Slot::EtcdClient), etcd.possible(Slot::ClientCa));
    back.judge(who, member, rules, violations);
}

/// What etcd's members make of each other, and of us.
fn among_members(world: &World) -> Vec<Violation> {
    let mut violations = Vec::new();
    let rules = world.rules(world.layout.etcd_domain());
    let mut check = |client: &dyn fmt::Display, server: &dyn fmt::Display, edge: Edge| {
        edge.judge(client, server, rules, &mut violations);
    };
    let ours = Some(Values::one(Value::Presents(world.ours.1)));
    let our_roots = Some(Values::held(world.ours_of_etcd));
    for member in world.each(Component::Etcd) {
        let who = member.who.as_ref();
        check(&"kubecert", who, Edge::of(our_roots, member.possible(Slot::Serving)));
        check(&"kubecert", who, Edge::back(ours, member.possible(Slot::ClientCa)));
        for peer in world.each(Component::Etcd) {
            let other = peer.who.as_ref();
            check(who, other, Edge::of(member.possible(Slot::PeerCa), peer.possible(Slot::Peer)));
            check(who, other, Edge::back(member.possible(Slot::Peer), peer.possible(Slot::PeerCa)));
        }
    }
    violations
}

/// What an API server and one of its clients make of each other.
fn with_client(
    server: &Process,
    client: &ApiClient<'_>,
    check: &mut impl FnMut(&dyn fmt::Display, &dyn fmt::Display, Edge),
) {
    let who = server.who.as_ref();
    check(&client.who, who, Edge::of(client.roots, server.possible(Slot::Serving)));
    check(&client.who, who, Edge::back(client.leaf, server.possible(Slot::ClientCa)));
}

/// What an API server, as a client, and a kubelet make of each other.
fn with_kubelet(
    server: &Process,
    kubelet: &Process,
    check: &mut impl FnMut(&dyn fmt::Display, &dyn fmt::Display, Edge),
) {
    let (who, node) = (server.who.as_ref(), kubelet.who.as_ref());
    // Without `--kubelet-certificate-authority` any certificate will do; AKS engine's are self-signed.
    check(who, node, Edge::of(server.possible(Slot::KubeletCa), kubelet.possible(Slot::Serving)));
    check(who, node, Edge::back(server.possible(Slot::KubeletClient), kubelet.possible(Slot::ClientCa)));
}

/// Whether nobody but API servers has to do with a process, and no token of its own is among what it holds: then
/// [`of_bystanders`] says all that I1, I2 and I5 say of it.
pub(super) fn is_bystander(process: &Process) -> bool {
    matches!(
        process.who.kind,
        Kind::Administrator
            | Kind::Component(Component::Kubelet | Component::KubeProxy | Component::Scheduler)
    ) && process.possible(Slot::Token).is_none()
}

/// I1 and I5 for these bystanders alone: what [`trust`] and [`in_use`] say beyond what they said before the bystanders
/// came to hold something else.
pub(super) fn of_bystanders(world: &World, bystanders: &[&Process]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let rules = world.rules(TrustDomain::Cluster);
    let mut check = |client: &dyn fmt::Display, server: &dyn fmt::Display, edge: Edge| {
        edge.judge(client, server, rules, &mut violations);
    };
    let clients: Vec<ApiClient<'_>> = bystanders.iter().map(|process| ApiClient::of(process)).collect();
    for server in world.each(Component::ApiServer) {
        for client in &clients {
            with_client(server, client, &mut check);
        }
        for kubelet in bystanders {
            if kubelet.who.kind == Kind::Component(Component::Kubelet) {
                with_kubelet(server, kubelet, &mut check);
            }
        }
    }
    violations.extend(in_use_by(world, &clients));
    violations
}

/// I2: every token that may be in use, or may be signed at any moment, is accepted by every API server.
pub fn tokens(world: &World) -> Vec<Violation> {
    let mut violations = Vec::new();
    let signing = world.anywhere(Component::ApiServer, Slot::TokenSigner);
    let minting = world.anywhere(Component::ControllerManager, Slot::TokenSigner);
    for server in world.each(Component::ApiServer) {
        let Some(keys) = server.possible(Slot::TokenKeys) else { continue };
        let surely = keys.surely();
        let mut check = |holder: &dyn fmt::Display, token: Values| {
            if !surely.holds(token.perhaps()) {
                violations.push(Violation::new(
                    Invariant::Tokens,
                    format!("{holder} -> {}", server.who),
                    format!("its token may be signed with the {} key, and the {surely} key is all that surely verifies it", token.perhaps()),
                ));
            }
        };
        check(&"a token that an API server signs", signing);
        check(&"a token that a controller manager signs", minting);
        for pod in &world.pods {
            check(pod.name.as_ref(), pod.token);
        }
        for secret in &world.token_secrets {
            check(&format_args!("Secret {}", secret.object), secret.token);
        }
        for process in world.token_holders() {
            if let Some(token) = process.possible(Slot::Token) {
                check(process.who.as_ref(), token);
            }
        }
    }
    violations
}

/// I5: where an API server or an etcd member may be without a CA, nothing is in use that only this CA vouches for.
///
/// I1 says the same of each connection; this says it of each store, and also covers leaves that nobody may be presenting
/// at the moment but that lie on a disk where a process would pick them up.
pub fn in_use(world: &World) -> Vec<Violation> {
    in_use_by(world, &api_clients(world))
}

fn in_use_by(world: &World, clients: &[ApiClient<'_>]) -> Vec<Violation> {
    let mut violations = Vec::new();
    // What has ended is of no use to anybody, and what replaces it is I1's business.
    if world.ended != Ended::Nothing {
        return violations;
    }
    for server in world.each(Component::ApiServer) {
        let Some(accepted) = server.possible(Slot::ClientCa) else { continue };
        let kinship = world.kinship(TrustDomain::Cluster);
        let surely = accepted.surely_as(kinship);
        for generation in [Generation::Old, Generation::New] {
            let ca = Generations::one(generation);
            if surely.holds(ca) {
                continue;
            }
            let needing = clients.iter().filter(|client| {
                client.leaf.is_some_and(|leaf| leaf.presented().any(|leaf| needs(leaf, generation)))
            });
            violations.extend(needing.map(|client| {
                Violation::new(
                    Invariant::InUse,
                    server.who.to_string(),
                    format!("it may be without the {ca} CA, which {} relies on", client.who),
                )
            }));
        }
    }
    violations
}

const fn needs(leaf: Presented, ca: Generation) -> bool {
    matches!((leaf, ca), (Presented::Old, Generation::Old) | (Presented::NewBare, Generation::New))
}

/// One direction of a connection: who verifies, and what is presented. Either may be unknown, or not used.
struct Edge {
    verifier: Option<Values>,
    presented: Option<Values>,
    client_verifies: bool,
}

impl Edge {
    /// The client verifies the server.
    const fn of(verifier: Option<Values>, presented: Option<Values>) -> Self {
        Self { verifier, presented, client_verifies: true }
    }

    /// The server verifies the client.
    const fn back(presented: Option<Values>, verifier: Option<Values>) -> Self {
        Self { verifier, presented, client_verifies: false }
    }

    fn judge(
        &self,
        client: &dyn fmt::Display,
        server: &dyn fmt::Display,
        rules: Rules,
        violations: &mut Vec<Violation>,
    ) {
        let (Some(verifier), Some(presented)) = (self.verifier, self.presented) else { return };
        for held in verifier.generations() {
            for leaf in presented.presented() {
                if !rules.accepts(held, leaf) {
                    let why = if self.client_verifies {
                        format!("the client may trust {held}, the server may present {leaf}")
                    } else {
                        format!("the server may trust {held}, the client may present {leaf}")
                    };
                    violations.push(Violation::new(Invariant::Trust, format!("{client} -> {server}"), why));
                }
            }
        }
    }
}

/// A client of the API servers.
struct ApiClient<'a> {
    who: Name<'a>,
    roots: Option<Values>,
    leaf: Option<Values>,
}

impl<'a> ApiClient<'a> {
    const fn of(process: &'a Process) -> Self {
        Self {
            who: Name::Process(process),
            roots: process.possible(Slot::ApiRoots),
            leaf: process.possible(Slot::ApiClient),
        }
    }
}

enum Name<'a> {
    Process(&'a Process),
    Pod(&'a crate::world::Pod),
    Fixed(&'static str),
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Process(process) => process.who.fmt(f),
            Name::Pod(pod) => pod.name.fmt(f),
            Name::Fixed(name) => f.write_str(name),
        }
    }
}

fn api_clients(world: &World) -> Vec<ApiClient<'_>> {
    let mut clients: Vec<ApiClient<'_>> = world
        .processes
        .iter()
        .filter(|process| {
            !matches!(process.who.kind, Kind::Component(Component::ApiServer | Component::Etcd))
        })
        .map(ApiClient::of)
        .collect();
    clients.extend(world.pods.iter().map(|pod| ApiClient {
        who: Name::Pod(pod),
        roots: Some(pod.roots),
        leaf: None,
    }));
    clients.push(ApiClient {
        who: Name::Fixed("kubecert"),
        roots: Some(Values::held(world.ours.0)),
        leaf: Some(Values::one(Value::Presents(world.ours.1))),
    });
    // What the controller manager issues for a request is the leaf alone, without the cross certificate (seen live;
    // `pkg/controller/certificates/signer/signer.go` returns one certificate), and a kubelet may ask at any time.
    let issuing = world.anywhere(Component::ControllerManager, Slot::Issuer);
    let mut issued = Values::default();
    for held in issuing.generations() {
        // A CA that stays issues what is good now, whatever of its leaves has ended.
        let good = held.holds(Generations::NEW) || world.ended == Ended::Leaves;
        let leaf = if good { Presented::NewBare } else { Presented::Old };
        issued.join(Values::one(Value::Presents(leaf)));
    }
    clients.push(ApiClient {
        who: Name::Fixed("a freshly issued certificate"),
        roots: None,
        leaf: Some(issued),
    });
    // Whoever is outside of a cluster that has ended has ended with it.
    if world.ended == Ended::Nothing {
        clients.extend(outside(world.strategy, world.phase));
    }
    clients
}

/// What must answer before something can be asked or brought about, in a cluster of which parts do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need<'a> {
    /// etcd, with a quorum of members.
    Etcd,
    /// The API server of this node.
    ApiServer(&'a NodeName),
    /// All API servers.
    Api,
    /// All API servers, and the kubelet of this node with them.
    Kubelet(&'a NodeName),
    /// All API servers, and the controller managers with them.
    ControllerManagers,
}

/// Why something would be asked of those who cannot answer yet: all connections that the answer depends on, each of which
/// one side refuses for sure or perhaps.
pub(super) fn unanswered(world: &World, need: Need<'_>) -> Vec<Violation> {
    let mut violations = among_members(world);
    if need == Need::Etcd {
        return violations;
    }
    let needed = |server: &&Process| !matches!(need, Need::ApiServer(node) if *node != server.who.node);
    for server in world.each(Component::ApiServer).filter(needed) {
        for etcd in world.each(Component::Etcd).filter(|etcd| etcd.who.node == server.who.node) {
            with_etcd(server, etcd, world.rules(world.layout.etcd_domain()), &mut violations);
        }
    }
    let rules = world.rules(TrustDomain::Cluster);
    let mut check = |client: &dyn fmt::Display, server: &dyn fmt::Display, edge: Edge| {
        edge.judge(client, server, rules, &mut violations);
    };
    let ours = Some(Values::one(Value::Presents(world.ours.1)));
    let our_roots = Some(Values::held(world.ours.0));
    let me = ApiClient { who: Name::Fixed("kubecert"), roots: our_roots, leaf: ours };
    for server in world.each(Component::ApiServer).filter(needed) {
        with_client(server, &me, &mut check);
        for process in world.processes() {
            let concerned = match (need, process.who.kind) {
                (Need::Kubelet(node), Kind::Component(Component::Kubelet)) => *node == process.who.node,
                (Need::ControllerManagers, Kind::Component(Component::ControllerManager)) => true,
                _ => false,
            };
            if concerned {
                with_client(server, &ApiClient::of(process), &mut check);
            }
        }
    }
    violations
}

/// Clients beyond the plan's reach, and how long they are promised to work.
///
/// With cross certificates one that knows the old CA works until that is dropped, and one that was given the new CA works
/// from the end of the introduction. Where the CA stays, or keeps its key, nobody notices anything. With bundles one that
/// knows the old CA alone works until servers present new leaves (and again when an undo has put those back), one that
/// knows both works throughout, and one that knows the new CA alone works once all do.
fn outside<'a>(strategy: Strategy, phase: PhaseName) -> impl Iterator<Item = ApiClient<'a>> {
    let client = |who, roots, leaf| ApiClient {
        who: Name::Fixed(who),
        roots: Some(Values::held(roots)),
        leaf: Some(Values::one(Value::Presents(leaf))),
    };
    let (old_until, new_from) = match strategy {
        Strategy::CrossSigned => (Some(PhaseName::Drop), Some(PhaseName::Switch)),
        Strategy::Bundled => (Some(PhaseName::Switch), Some(PhaseName::Drop)),
        Strategy::SameKey => (None, Some(PhaseName::Prepare)),
        Strategy::SameCa => (None, None),
    };
    let both_known = strategy != Strategy::SameCa;
    let old_works = old_until.is_none_or(|until| phase < until);
    let old_accepted = old_until.is_none() || phase < PhaseName::Drop;
    let new_works = new_from.is_some_and(|from| phase >= from);
    [
        (old_works && (strategy != Strategy::Bundled || phase != PhaseName::Return))
            .then(|| client("a client of the old CA", Generations::OLD, Presented::Old)),
        (both_known && old_accepted)
            .then(|| client("a client of the old CA that knows both", Generations::BOTH, Presented::Old)),
        new_works.then(|| client("a client of the new CA", Generations::NEW, Presented::NewBare)),
        // It may present its new certificate as soon as it is told that both are accepted.
        (both_known && phase >= PhaseName::Switch)
            .then(|| client("a client of the new CA that knows both", Generations::BOTH, Presented::NewBare)),
    ]
    .into_iter()
    .flatten()
}
