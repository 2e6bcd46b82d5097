//! The bundled plan for AKS engine's layout: trust grows, leaves change, trust shrinks.
//!
//! For when the old CA's key cannot be had, so that nothing can vouch for the new CA to those who know only the old one.
//! Every process has to learn of the new CA before any server presents a leaf of it, and processes read their trust when
//! they start; so each is restarted once more than with cross certificates, and clients outside of the cluster need a
//! bundle of both CAs before the second phase. In order:
//!
//! 1. *prepare*: backups; new files staged; monitors at rest.
//! 2. *introduce*: `ca.crt` holds both CAs on every node, and every process comes to hold both: kubelets, schedulers and
//!    controller managers are restarted, etcd and the API servers in visits, workloads are renewed once both CAs are
//!    published. The controller manager issues with the old CA from a file of its own meanwhile, since its signer takes
//!    exactly one certificate. API servers verify tokens of both keys.
//! 3. *switch*: all leaves are replaced; the API servers are visited to sign tokens with the new key, then the controller
//!    managers come to issue with the new CA, and workloads are renewed for their tokens.
//! 4. *drop*: `ca.crt` holds the new CA alone; manifests are the original ones; etcd, API servers, controller managers,
//!    schedulers and kubelets are restarted on it.
//! 5. *finish*: traces are removed, the operator's files are written.
//!
//! The old CA's key stays where it is on the nodes until nobody reads it any more; nothing here needs a copy of it.

use super::builder::{Numbers, PhaseBuilder};
use super::common::{
    Master, Scene, ca, cluster_ca, front_proxy_pair, front_proxy_roots, pair, staged_authorities,
};
use super::cross_signed::{
    admin_kubeconfig, advertised, end, finish, renew_secrets, renew_workloads, replace_apiserver,
    replace_controller_manager, restart_etcd, started_after, yield_leadership,
};
use super::kubelet::{kubelet_presents, restart_kubelet};
use super::told::{kept, notices};
use super::{Naming, windows};
use crate::intent::{Intent, Strategy};
use crate::inventory::Inventory;
use crate::layout::{self, certificate_file, manifest_file, transition_file};
use crate::material::{ChainForm, Content, Part};
use crate::model::{Component, Generation, Layout, LeafId, Node, OperatingSystem, TrustDomain};
use crate::plan::{Action, FileWrite, Phase, PhaseName, Plan, PlanError, Predicate, StepId, Target};

const OLD: Generation = Generation::Old;
const NEW: Generation = Generation::New;
const BOTH: [Generation; 2] = [OLD, NEW];

pub(super) fn plan(inventory: &Inventory, intent: &Intent, naming: &Naming) -> Result<Plan, PlanError> {
    let scene = Scene::new(inventory, intent.scope, naming)?;
    let mut numbers = Numbers::default();
    let phases = vec![
        prepare(&scene, &mut numbers),
        introduce(&scene, intent, &mut numbers)?,
        switch(&scene, intent, &mut numbers)?,
        drop_trust(&scene, intent, &mut numbers),
        finish(&scene, &mut numbers),
    ];
    let mut notices = notices(&scene);
    notices.push(
        "Clients outside of the cluster need a kubeconfig that trusts both CAs before the phase \"switch\"; one that trusts the old CA alone is refused from then on."
            .to_owned(),
    );
    notices
        .push("Every workload is restarted twice: to learn of the new CA, and for its new token.".to_owned());
    notices.push("Pods go on trusting both CAs until they are restarted the next time.".to_owned());
    Ok(Plan {
        authorities: scene.authorities(false)?,
        leaves: scene.leaves()?,
        phases,
        kept: kept(&scene),
        notices,
        ..super::frame(inventory, intent, Strategy::Bundled)
    })
}

fn prepare(scene: &Scene<'_>, numbers: &mut Numbers) -> Phase {
    let apiserver = LeafId::from("apiserver");
    let mut transition = vec![
        scene.staged("ca-old.crt", vec![cluster_ca(OLD)], layout::public()),
        scene.staged("ca.crt", vec![cluster_ca(NEW)], layout::public()),
        scene.staged("ca.key", vec![Part::CaKey(TrustDomain::Cluster, NEW)], layout::private()),
        scene.staged("token-old.key", vec![Part::LeafKey(apiserver.clone(), OLD)], layout::private()),
        scene.staged("apiserver.key", vec![Part::LeafKey(apiserver, NEW)], layout::private()),
    ];
    transition.extend(staged_authorities(scene));
    let mut phase = PhaseBuilder::new(PhaseName::Prepare, numbers);
    scene.prepare(&mut phase, |_| transition.clone());
    phase.barrier([Predicate::EtcdHealthy]);
    // New connections will be diverted to neighbours, and a kubelet that starts asks one of them for its node.
    phase.barrier(scene.masters.iter().map(Master::ready));
    phase.build()
}

fn introduce(scene: &Scene<'_>, intent: &Intent, numbers: &mut Numbers) -> Result<Phase, PlanError> {
    let mut phase = PhaseBuilder::new(PhaseName::Introduce, numbers);
    let credentials = Action::UseCredentials {
        roots: BOTH.map(|generation| ca(TrustDomain::Cluster, generation)).to_vec(),
        identity: OLD,
        form: ChainForm::Bare,
    };
    phase.step(Target::Operator, "trust both CAs", credentials, []);
    let mut kubelets: Vec<StepId> = Vec::new();
    let mut controller_managers = Vec::new();
    let mut before: Vec<StepId> = Vec::new();
    for master in &scene.masters {
        // First of all: the signer follows its file, and two certificates in it would stop it.
        let manifest = master.controller_manager_manifest(&[(
            "cluster-signing-cert-file",
            &[transition_file("ca-old.crt")],
        )])?;
        let after = kubelets.last().copied();
        let split = replace_controller_manager(&mut phase, master, manifest, after);
        let mut files = vec![roots_file(&BOTH)];
        if scene.front_proxy_ca().is_some() {
            files.push(front_proxy_roots(scene, &BOTH));
        }
        files.extend(admin_kubeconfig(scene, &master.node.name).map(|file| with_both(file, OLD)));
        let written = phase.step(master.target(), "trust both CAs", Action::Write { files }, [split]);
        let scheduler = end(&mut phase, master, Component::Scheduler, [written]);
        let controller_manager = end(&mut phase, master, Component::ControllerManager, [scheduler]);
        controller_managers.push(controller_manager);
        kubelets.push(restart_kubelet_for_trust(&mut phase, master.node, [controller_manager]));
    }
    for (master, kubelet) in scene.masters.iter().zip(kubelets.clone()) {
        let manifest = transition_manifest(master, OLD)?;
        let visited = scene.visit(
            &mut phase,
            master,
            before.into_iter().chain([kubelet]),
            |phase, begin| {
                let begin = yield_leadership(phase, master, begin);
                let replaced = replace_apiserver(phase, master, manifest, [begin]);
                restart_etcd(phase, master, [replaced])
            },
            vec![
                Predicate::EtcdHealthy,
                master.ready(),
                master.apiserver_advertises(advertised(scene, &BOTH, &BOTH)),
            ],
        );
        before = vec![visited];
    }
    kubelets.extend(agents(&scene.agents, intent, &mut phase, &[], |phase, node, after| {
        let on = Target::Node(node.name.clone());
        let files = trust_files(node, &BOTH, OLD);
        let written = phase.step(on, "trust both CAs", Action::Write { files }, after.iter().copied());
        Some(restart_kubelet_for_trust(phase, node, [written]))
    }));
    let published = wait_until_published(&mut phase, &BOTH, controller_managers);
    let ready: Vec<StepId> = before.into_iter().chain(kubelets).chain([published]).collect();
    renew_workloads(scene, &mut phase, &ready);
    for master in &scene.masters {
        phase.barrier([
            master.ready(),
            master.apiserver_advertises(advertised(scene, &BOTH, &BOTH)),
            started_after(
                master,
                Component::ApiServer,
                vec![manifest_file(Component::ApiServer), certificate_file("ca.crt")],
            ),
            started_after(
                master,
                Component::ControllerManager,
                vec![manifest_file(Component::ControllerManager), certificate_file("ca.crt")],
            ),
            started_after(master, Component::Scheduler, vec![certificate_file("ca.crt")]),
            started_after(master, Component::Etcd, vec![certificate_file("ca.crt")]),
            master.etcd_advertises(&BOTH),
            Predicate::AcceptsClientsOf { node: master.node.name.clone(), ca: ca(TrustDomain::Cluster, NEW) },
        ]);
    }
    for node in scene.nodes() {
        phase.barrier(kubelet_trusts(scene.layout, node));
    }
    if scene.front_proxy_ca().is_some() {
        let cas = BOTH.map(|generation| ca(TrustDomain::FrontProxy, generation)).to_vec();
        phase.barrier([Predicate::ExtensionTrusts { cas }]);
    }
    phase.barrier(published_predicates(&BOTH));
    phase.barrier([Predicate::EtcdHealthy]);
    Ok(phase.build())
}

fn switch(scene: &Scene<'_>, intent: &Intent, numbers: &mut Numbers) -> Result<Phase, PlanError> {
    let mut phase = PhaseBuilder::new(PhaseName::Switch, numbers);
    let both = || vec![cluster_ca(OLD), cluster_ca(NEW)];
    let credentials = Action::UseCredentials {
        roots: BOTH.map(|generation| ca(TrustDomain::Cluster, generation)).to_vec(),
        identity: NEW,
        form: ChainForm::Bare,
    };
    phase.step(Target::Operator, "use the new client certificate from here on", credentials, []);
    let mut kubelets: Vec<StepId> = Vec::new();
    for master in &scene.masters {
        let mut files = master.hot_leaves(ChainForm::Bare);
        files.extend(pair(&LeafId::from("apiserver"), ChainForm::Bare, &certificate_file("apiserver")));
        if scene.front_proxy_ca().is_some() {
            files.extend(front_proxy_pair(scene, master.node));
        }
        files.extend(scene.kubelet_files(master.node, both()));
        files.extend(admin_kubeconfig(scene, &master.node.name).map(|file| with_both(file, NEW)));
        let after = kubelets.last().copied();
        let written = phase.step(master.target(), "present new certificates", Action::Write { files }, after);
        let scheduler = end(&mut phase, master, Component::Scheduler, [written]);
        kubelets.push(restart_kubelet(scene, &mut phase, master.node, [scheduler]));
    }
    let mut before: Vec<StepId> = Vec::new();
    for (master, kubelet) in scene.masters.iter().zip(kubelets.clone()) {
        let manifest = transition_manifest(master, NEW)?;
        let visited = scene.visit(
            &mut phase,
            master,
            before.into_iter().chain([kubelet]),
            |phase, begin| replace_apiserver(phase, master, manifest, [begin]),
            vec![
                master.ready(),
                master.apiserver_presents(ChainForm::Bare),
                master.apiserver_advertises(advertised(scene, &BOTH, &BOTH)),
            ],
        );
        before = vec![visited];
    }
    // The controllers' own tokens are of the new key, too, if they are restarted after the API servers.
    let mut controller_managers = before.clone();
    for master in &scene.masters {
        let manifest = master.controller_manager_manifest(&[
            ("cluster-signing-cert-file", &[transition_file("ca.crt")]),
            ("cluster-signing-key-file", &[transition_file("ca.key")]),
        ])?;
        let after = controller_managers.last().copied();
        controller_managers.push(replace_controller_manager(&mut phase, master, manifest, after));
    }
    let renew = |phase: &mut PhaseBuilder<'_>, node: &Node, after: &[StepId]| {
        let on = Target::Node(node.name.clone());
        let files = scene.kubelet_files(node, both());
        let written = phase.step(on, "write new files", Action::Write { files }, after.iter().copied());
        Some(restart_kubelet(scene, phase, node, [written]))
    };
    let linux = scene.agents_of(OperatingSystem::Linux);
    kubelets.extend(agents(&linux, intent, &mut phase, &[], renew));
    let released = release_lease(&mut phase, controller_managers);
    let leads = phase.step(
        Target::Api,
        "wait until a controller manager with the new keys leads",
        Action::Await {
            predicates: vec![Predicate::ControllerManagerLeads {
                files: vec![manifest_file(Component::ControllerManager)],
            }],
        },
        [released],
    );
    // These ask for their own certificate, so that nobody may issue with the old CA any more.
    let windows = scene.agents_of(OperatingSystem::Windows);
    kubelets.extend(agents(&windows, intent, &mut phase, &[leads], renew));
    let secrets = renew_secrets(scene, &mut phase);
    let tokens: Vec<StepId> = scene
        .inventory
        .api
        .seen()
        .into_iter()
        .flat_map(|api| &api.token_secrets)
        .map(|secret| {
            let action = Action::RenewTokenSecret { secret: secret.object.clone() };
            phase.step(
                Target::Api,
                format!("sign the token in Secret {} anew", secret.object),
                action,
                [leads],
            )
        })
        .collect();
    let ready: Vec<StepId> =
        before.into_iter().chain(kubelets).chain(secrets).chain(tokens).chain([leads]).collect();
    renew_workloads(scene, &mut phase, &ready);
    for master in &scene.masters {
        phase.barrier(master.etcd_presents(ChainForm::Bare));
        phase.barrier([
            master.ready(),
            master.apiserver_presents(ChainForm::Bare),
            started_after(
                master,
                Component::ApiServer,
                vec![
                    manifest_file(Component::ApiServer),
                    certificate_file("client.crt"),
                    certificate_file("etcdclient.crt"),
                ],
            ),
            started_after(
                master,
                Component::ControllerManager,
                vec![manifest_file(Component::ControllerManager), certificate_file("client.crt")],
            ),
            started_after(master, Component::Scheduler, vec![certificate_file("client.crt")]),
        ]);
    }
    for node in scene.nodes() {
        phase.barrier(kubelet_trusts(scene.layout, node));
        phase.barrier(kubelet_presents(scene, node));
        phase.barrier([Predicate::StartedAfter {
            node: node.name.clone(),
            component: Component::Kubelet,
            files: scene.kubelet_start_files(node),
        }]);
        if !scene.forgotten(node).is_empty() {
            phase.barrier([windows::holds_new_client(node)]);
        }
    }
    phase.barrier([Predicate::EtcdHealthy, Predicate::AggregatedApisAvailable]);
    Ok(phase.build())
}

fn drop_trust(scene: &Scene<'_>, intent: &Intent, numbers: &mut Numbers) -> Phase {
    let mut phase = PhaseBuilder::new(PhaseName::Drop, numbers);
    let credentials = Action::UseCredentials {
        roots: vec![ca(TrustDomain::Cluster, NEW)],
        identity: NEW,
        form: ChainForm::Bare,
    };
    let begin = phase.step(Target::Operator, "trust the new CA alone", credentials, []);
    let mut kubelets: Vec<StepId> = Vec::new();
    let mut controller_managers = Vec::new();
    for master in &scene.masters {
        let mut files = vec![roots_file(&[NEW])];
        let key = Content::one(Part::CaKey(TrustDomain::Cluster, NEW));
        files.push(FileWrite { path: certificate_file("ca.key"), content: key, access: None });
        if scene.front_proxy_ca().is_some() {
            files.push(front_proxy_roots(scene, &[NEW]));
        }
        files.extend(admin_kubeconfig(scene, &master.node.name));
        let after = kubelets.last().copied().unwrap_or(begin);
        let written = phase.step(master.target(), "trust the new CA alone", Action::Write { files }, [after]);
        let scheduler = end(&mut phase, master, Component::Scheduler, [written]);
        let controller_manager =
            replace_controller_manager(&mut phase, master, Content::Original, [scheduler]);
        controller_managers.push(controller_manager);
        kubelets.push(restart_kubelet(scene, &mut phase, master.node, [controller_manager]));
    }
    let mut before: Vec<StepId> = Vec::new();
    for (master, kubelet) in scene.masters.iter().zip(kubelets) {
        let visited = scene.visit(
            &mut phase,
            master,
            before.into_iter().chain([kubelet]),
            |phase, begin| {
                let begin = yield_leadership(phase, master, begin);
                let replaced = replace_apiserver(phase, master, Content::Original, [begin]);
                restart_etcd(phase, master, [replaced])
            },
            vec![
                Predicate::EtcdHealthy,
                master.ready(),
                master.apiserver_presents(ChainForm::Bare),
                master.apiserver_advertises(advertised(scene, &[NEW], &[NEW])),
            ],
        );
        before = vec![visited];
    }
    agents(&scene.agents, intent, &mut phase, &[], |phase, node, after| {
        let on = Target::Node(node.name.clone());
        let files = trust_files(node, &[NEW], NEW);
        let after: Vec<StepId> = after.iter().copied().chain([begin]).collect();
        let written = phase.step(on, "trust the new CA alone", Action::Write { files }, after);
        Some(match node.system {
            OperatingSystem::Linux => restart_kubelet(scene, phase, node, [written]),
            // It has asked for its certificate already.
            OperatingSystem::Windows => restart_kubelet_for_trust(phase, node, [written]),
        })
    });
    wait_until_published(&mut phase, &[NEW], controller_managers);
    if scene.front_proxy_ca().is_some() {
        phase.step(
            Target::Etcd,
            "share the new front-proxy certificates",
            Action::ShareFrontProxy,
            before.clone(),
        );
    }
    if scene.tls_secrets().next().is_some() {
        for holder in scene.ca_bundles() {
            let action = Action::SetCaBundle { holder: holder.clone(), roots: vec![cluster_ca(NEW)] };
            phase.step(Target::Api, format!("drop the old CA from {holder}"), action, before.iter().copied());
        }
    }
    for master in &scene.masters {
        phase.barrier(master.etcd_presents(ChainForm::Bare));
        phase.barrier([
            started_after(master, Component::Etcd, vec![certificate_file("ca.crt")]),
            master.etcd_advertises(&[NEW]),
            master.apiserver_presents(ChainForm::Bare),
            master.apiserver_advertises(advertised(scene, &[NEW], &[NEW])),
            started_after(
                master,
                Component::ControllerManager,
                vec![manifest_file(Component::ControllerManager), certificate_file("ca.crt")],
            ),
            started_after(master, Component::Scheduler, vec![certificate_file("ca.crt")]),
        ]);
    }
    for node in scene.nodes() {
        phase.barrier(kubelet_trusts(scene.layout, node));
    }
    phase.barrier(published_predicates(&[NEW]));
    phase.barrier([Predicate::EtcdHealthy]);
    phase.build()
}

/// The API server's manifest while tokens of two keys are about. Its leaf and its client CAs stay at their places, since
/// it re-reads those.
fn transition_manifest(master: &Master<'_>, signer: Generation) -> Result<Content, PlanError> {
    let (old, new) = (transition_file("token-old.key"), transition_file("apiserver.key"));
    let signer = if signer == OLD { old.clone() } else { new.clone() };
    master.apiserver_manifest(&[
        ("service-account-key-file", &[old, new]),
        ("service-account-signing-key-file", &[signer]),
    ])
}

/// The file of the CAs that everybody on a node trusts.
pub(super) fn roots_file(generations: &[Generation]) -> FileWrite {
    FileWrite {
        path: certificate_file("ca.crt"),
        content: Content::Parts(generations.iter().map(|generation| cluster_ca(*generation)).collect()),
        access: None,
    }
}

/// The files of the CAs that a node trusts; on Windows they stand beside the shared client certificate of `identity`.
pub(super) fn trust_files(node: &Node, generations: &[Generation], identity: Generation) -> Vec<FileWrite> {
    match node.system {
        OperatingSystem::Linux => vec![roots_file(generations)],
        OperatingSystem::Windows => windows::trust_files(generations, identity),
    }
}

/// The administrator's kubeconfig with both CAs.
fn with_both(file: FileWrite, identity: Generation) -> FileWrite {
    let leaf = LeafId::from("kubectlClient");
    let content = Content::Kubeconfig {
        roots: vec![cluster_ca(OLD), cluster_ca(NEW)],
        chain: vec![Part::Leaf(leaf.clone(), identity)],
        key: Part::LeafKey(leaf, identity),
    };
    FileWrite { content, ..file }
}

/// Agents in waves; `visit` adds the steps of one and returns the last, if it added any.
pub(super) fn agents(
    agents: &[&Node],
    intent: &Intent,
    phase: &mut PhaseBuilder<'_>,
    before: &[StepId],
    visit: impl Fn(&mut PhaseBuilder<'_>, &Node, &[StepId]) -> Option<StepId>,
) -> Vec<StepId> {
    let mut all = Vec::new();
    let mut before: Vec<StepId> = before.to_vec();
    for wave in agents.chunks(intent.limits.agents_at_once.max(1)) {
        before = wave.iter().filter_map(|node| visit(phase, node, &before)).collect();
        all.extend(&before);
    }
    all
}

/// Restarts a kubelet whose certificates are still the old ones.
pub(super) fn restart_kubelet_for_trust(
    phase: &mut PhaseBuilder<'_>,
    node: &Node,
    after: impl IntoIterator<Item = StepId>,
) -> StepId {
    let on = Target::Node(node.name.clone());
    let unit = layout::kubelet_unit(node.system).to_owned();
    let action = Action::RestartUnit { unit, component: Component::Kubelet };
    let restarted = phase.step(on.clone(), "restart kubelet", action, after);
    let predicates = kubelet_trusts(Layout::AksEngine, node).to_vec();
    phase.step(on, "wait until the node is Ready", Action::Await { predicates }, [restarted])
}

pub(super) fn kubelet_trusts(layout: Layout, node: &Node) -> [Predicate; 2] {
    let name = || node.name.clone();
    let files = layout.kubelet_roots(node.system);
    [
        Predicate::StartedAfter { node: name(), component: Component::Kubelet, files },
        Predicate::NodeReady { node: name() },
    ]
}

pub(super) fn published_predicates(generations: &[Generation]) -> [Predicate; 2] {
    let cas = || generations.iter().map(|generation| ca(TrustDomain::Cluster, *generation)).collect();
    [Predicate::RootsPublished { cas: cas() }, Predicate::TokenSecretsCarry { cas: cas() }]
}

pub(super) fn wait_until_published(
    phase: &mut PhaseBuilder<'_>,
    generations: &[Generation],
    after: impl IntoIterator<Item = StepId>,
) -> StepId {
    let released = release_lease(phase, after);
    let files = vec![manifest_file(Component::ControllerManager), certificate_file("ca.crt")];
    let mut predicates = vec![Predicate::ControllerManagerLeads { files }];
    predicates.extend(published_predicates(generations));
    phase.step(Target::Api, "wait until it is published", Action::Await { predicates }, [released])
}

/// Lets a controller manager that runs lead at once, rather than after the lease of one that has ended has run out.
/// Lets the next controller manager lead at once.
pub(super) fn release_lease(phase: &mut PhaseBuilder<'_>, after: impl IntoIterator<Item = StepId>) -> StepId {
    let title = "release the lease of the former controller manager";
    phase.step(Target::Api, title, Action::ReleaseLease, after)
}
