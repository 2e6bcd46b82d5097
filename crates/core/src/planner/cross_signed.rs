//! The cross-signed plan.
//!
//! New leaves are presented together with the new CA's certificate as signed by the old CA, so that holders of either CA
//! accept them; no trust bundle is ever needed on the side of clients. In order:
//!
//! 1. *prepare*: backups; new files staged beside the old ones; monitors at rest.
//! 2. *introduce*: etcd's and the clients' leaves, all read per handshake, are replaced on every control plane. Then each
//!    API server is visited once: it presents the new leaf, trusts clients of both CAs and accepts tokens of both keys.
//!    The last one visited signs tokens with the new key at once, since all others accept those by then.
//! 3. *switch*: trust files hold the new CA alone; kubelets and schedulers are restarted on it; the controller manager
//!    publishes and issues with it; the other API servers come to sign with the new token key; then the workloads are
//!    renewed, so that nobody holds the old CA or an old token any more.
//! 4. *drop*: each control plane is visited a last time: its own manifest again, byte for byte, and etcd restarted on the
//!    new CA; the cross certificate leaves all files, and kubelets that present it are restarted.
//! 5. *finish*: traces are removed, the operator's files are written.
//!
//! Trust of etcd and of the API servers towards etcd needs no change of any path: it is read at their start, and they
//! start for the last time when the file of etcd's CA holds the new one alone.
//!
//! With kubeadm's layout the token key is no TLS key and stays, so that the API servers have one visit less; and the
//! kubeconfigs that hold their credentials themselves are written before what reads them is restarted.

use super::builder::{Numbers, PhaseBuilder};
use super::bundled::agents;
use super::common::{
    Master, Running, Scene, ca, cluster_ca, front_proxy_roots, restart_in_order, tls_secret_leaf,
};
use super::kubelet::{kubelet_presents, restart_kubelet};
use super::told::{kept, notices};
use super::transition;
use super::{Naming, windows};
use crate::intent::{Intent, Strategy, Why};
use crate::inventory::{CaRef, Inventory};
use crate::layout::{self, manifest_file};
use crate::material::{ChainForm, Content, Part, chain};
use crate::model::{Component, Generation, Layout, LeafId, Node, OperatingSystem, Role, TrustDomain};
use crate::plan::{Action, FileWrite, Phase, PhaseName, Plan, PlanError, Predicate, StepId, Target};

const OLD: Generation = Generation::Old;
const NEW: Generation = Generation::New;

pub(super) fn plan(inventory: &Inventory, intent: &Intent, naming: &Naming) -> Result<Plan, PlanError> {
    let mut scene = Scene::new(inventory, intent.scope, naming)?;
    // A key that signs tokens and is no TLS key changes only where it may be in wrong hands.
    scene.tokens_change |= intent.why == Why::Compromised;
    // Whoever verifies kubelets holds either CA until workloads and API servers have been restarted.
    scene.kubelets_present = ChainForm::WithCross;
    let mut numbers = Numbers::default();
    let mut phases = vec![
        prepare(&scene, &mut numbers),
        introduce(&scene, &mut numbers)?,
        switch(&scene, intent, &mut numbers)?,
    ];
    scene.kubelets_present = ChainForm::Bare;
    phases.extend([drop_trust(&scene, intent, &mut numbers), finish(&scene, &mut numbers)]);
    Ok(Plan {
        authorities: scene.authorities(true)?,
        leaves: scene.leaves()?,
        key_pairs: scene.key_pairs(),
        phases,
        kept: kept(&scene),
        notices: notices(&scene),
        ..super::frame(inventory, intent, Strategy::CrossSigned)
    })
}

fn prepare(scene: &Scene<'_>, numbers: &mut Numbers) -> Phase {
    let mut phase = PhaseBuilder::new(PhaseName::Prepare, numbers);
    scene.prepare(&mut phase, |master| transition::files(scene, master));
    phase.barrier([Predicate::EtcdHealthy]);
    // New connections will be diverted to neighbours, and a kubelet that starts asks one of them for its node.
    phase.barrier(scene.masters.iter().map(Master::ready));
    phase.build()
}

fn introduce(scene: &Scene<'_>, numbers: &mut Numbers) -> Result<Phase, PlanError> {
    let mut phase = PhaseBuilder::new(PhaseName::Introduce, numbers);
    let credentials = phase.step(
        Target::Operator,
        "use the new client certificate from here on",
        Action::UseCredentials {
            roots: scene.our_roots(&[OLD, NEW]),
            identity: NEW,
            form: ChainForm::WithCross,
        },
        [],
    );
    let hot: Vec<StepId> = scene
        .masters
        .iter()
        .map(|master| {
            let mut files = master.hot_leaves(ChainForm::WithCross);
            if scene.front_proxy_ca().is_some() {
                files.push(front_proxy_roots(scene, &[OLD, NEW]));
            }
            phase.step(
                master.target(),
                "present new etcd and client certificates",
                Action::Write { files },
                [credentials],
            )
        })
        .collect();
    let mut gate: Vec<Predicate> =
        scene.masters.iter().flat_map(|master| master.etcd_presents(ChainForm::WithCross)).collect();
    gate.push(Predicate::EtcdHealthy);
    let mut before = phase.step(
        Target::Etcd,
        "wait until every etcd member presents its new certificate",
        Action::Await { predicates: gate },
        hot,
    );
    for master in &scene.masters {
        let manifest = transition::api_server_manifest(scene, master)?;
        before = scene.visit(
            &mut phase,
            master,
            [before],
            |phase, begin| replace_apiserver(phase, master, manifest, [begin]),
            vec![
                master.ready(),
                master.apiserver_presents(ChainForm::WithCross),
                master.apiserver_advertises(advertised(scene, &[OLD, NEW], &[OLD, NEW])),
            ],
        );
    }
    for master in &scene.masters {
        phase.barrier(master.etcd_presents(ChainForm::WithCross));
        phase.barrier([
            master.ready(),
            master.apiserver_presents(ChainForm::WithCross),
            master.apiserver_advertises(advertised(scene, &[OLD, NEW], &[OLD, NEW])),
            started_after(master, Component::ApiServer, vec![manifest_file(Component::ApiServer)]),
            Predicate::AcceptsClientsOf { node: master.node.name.clone(), ca: ca(TrustDomain::Cluster, NEW) },
        ]);
    }
    if scene.front_proxy_ca().is_some() {
        let cas = [OLD, NEW].map(|generation| ca(TrustDomain::FrontProxy, generation));
        phase.barrier([Predicate::ExtensionTrusts { cas: cas.to_vec() }]);
    }
    Ok(phase.build())
}

fn switch(scene: &Scene<'_>, intent: &Intent, numbers: &mut Numbers) -> Result<Phase, PlanError> {
    let mut phase = PhaseBuilder::new(PhaseName::Switch, numbers);
    // The controller managers first, since what they publish takes longest to arrive everywhere; one after the other, so
    // that there is one to lead at any time.
    let mut controller_managers: Vec<StepId> = Vec::new();
    for master in &scene.masters {
        let manifest = transition::issuing_manifest(scene, master)?;
        let mut after = controller_managers.last().copied();
        let files = transition::kubeconfigs(
            scene,
            master.node,
            transition::Reader::Component(Component::ControllerManager),
        );
        if !files.is_empty() {
            let title = "give kube-controller-manager new credentials";
            after = Some(phase.step(master.target(), title, Action::Write { files }, after));
        }
        controller_managers.push(replace_controller_manager(&mut phase, master, manifest, after));
    }
    let released = phase.step(
        Target::Api,
        "release the lease of the former controller manager",
        Action::ReleaseLease,
        controller_managers.iter().copied(),
    );
    let published = phase.step(
        Target::Api,
        "wait until the new CA is published",
        Action::Await {
            predicates: vec![
                Predicate::ControllerManagerLeads {
                    files: vec![manifest_file(Component::ControllerManager)],
                },
                Predicate::RootsPublished { cas: vec![ca(TrustDomain::Cluster, NEW)] },
                Predicate::TokenSecretsCarry { cas: vec![ca(TrustDomain::Cluster, NEW)] },
            ],
        },
        [released],
    );

    // Then one control plane after the other: its files, its kubelet, a visit so that it signs tokens with the new key
    // (the last one does already), its scheduler.
    let mut before: Vec<StepId> = Vec::new();
    let mut done = Vec::new();
    for (position, master) in scene.masters.iter().enumerate() {
        let files = transition::control_plane_files(scene, master);
        let after = before.iter().copied().chain([controller_managers[position]]);
        let flipped =
            phase.step(master.target(), "trust and issue with the new CA", Action::Write { files }, after);
        let kubelet = restart_kubelet(scene, &mut phase, master.node, [flipped]);
        let is_last = position + 1 == scene.masters.len();
        let signing = if is_last || !scene.tokens_change {
            kubelet
        } else {
            scene.visit(
                &mut phase,
                master,
                [kubelet],
                |phase, begin| sign_with_new_key(scene, phase, master, begin),
                vec![
                    master.ready(),
                    master.apiserver_presents(ChainForm::WithCross),
                    master.apiserver_advertises(advertised(scene, &[OLD, NEW], &[OLD, NEW])),
                ],
            )
        };
        done.push(phase.step(
            master.target(),
            "restart kube-scheduler",
            Action::EndProcess { component: Component::Scheduler },
            [signing],
        ));
        before = vec![signing];
    }
    let signing = before;

    // Agents, in waves; those that ask for their own certificate when nobody issues with the old CA any more.
    let mut wave_before: Vec<StepId> = vec![released];
    let linux = scene.agents_of(OperatingSystem::Linux);
    let windows = scene.agents_of(OperatingSystem::Windows);
    let at_once = intent.limits.agents_at_once.max(1);
    for (wave, begin) in linux
        .chunks(at_once)
        .map(|wave| (wave, None))
        .chain(windows.chunks(at_once).map(|wave| (wave, Some(published))))
    {
        wave_before.extend(begin);
        let mut wave_done = Vec::new();
        for node in wave {
            let on = Target::Node(node.name.clone());
            let files = scene.kubelet_files(node, vec![cluster_ca(NEW)]);
            let written = phase.step(on, "write new files", Action::Write { files }, wave_before.clone());
            wave_done.push(restart_kubelet(scene, &mut phase, node, [written]));
        }
        done.extend(&wave_done);
        wave_before = wave_done;
    }

    if scene.layout == Layout::Kubeadm {
        let action = Action::PublishClusterInfo { roots: vec![cluster_ca(NEW)] };
        done.push(phase.step(Target::Api, "tell joining nodes the new CA", action, [published]));
    }
    let secrets = renew_secrets(scene, &mut phase);
    let tokens: Vec<StepId> = scene
        .inventory
        .api
        .seen()
        .into_iter()
        .filter(|_| scene.tokens_change)
        .flat_map(|api| &api.token_secrets)
        .map(|secret| {
            phase.step(
                Target::Api,
                format!("sign the token in Secret {} anew", secret.object),
                Action::RenewTokenSecret { secret: secret.object.clone() },
                signing.iter().copied().chain([published]),
            )
        })
        .collect();
    let ready: Vec<StepId> = done.iter().chain(&secrets).chain(&tokens).copied().chain([published]).collect();
    let rolled = renew_workloads(scene, &mut phase, &ready);

    // Flags and files of a freshly deployed cluster, for what no API server reads any more: they all read the transition
    // directory until their last visit. This restart also gives the controllers tokens of the new key.
    let renewed: Vec<StepId> = if rolled.is_empty() { ready } else { rolled };
    for master in &scene.masters {
        let files = transition::settled_files(scene, master);
        let written = phase.step(
            master.target(),
            "put the new serving certificate in its place",
            Action::Write { files },
            renewed.iter().copied(),
        );
        replace_controller_manager(&mut phase, master, Content::Original, [written]);
    }
    for master in &scene.masters {
        let both = advertised(scene, &[OLD, NEW], &[OLD, NEW]);
        phase.barrier([
            master.apiserver_presents(ChainForm::WithCross),
            master.apiserver_advertises(both),
            started_after(
                master,
                Component::ApiServer,
                transition::read_at_start(scene, master, Component::ApiServer),
            ),
            started_after(
                master,
                Component::ControllerManager,
                transition::read_at_start(scene, master, Component::ControllerManager),
            ),
            started_after(
                master,
                Component::Scheduler,
                transition::read_at_start(scene, master, Component::Scheduler),
            ),
        ]);
    }
    for node in scene.nodes() {
        phase.barrier([
            Predicate::StartedAfter {
                node: node.name.clone(),
                component: Component::Kubelet,
                files: scene.kubelet_start_files(node),
            },
            Predicate::NodeReady { node: node.name.clone() },
        ]);
        phase.barrier(kubelet_presents(scene, node));
        if !scene.forgotten(node).is_empty() {
            phase.barrier([windows::holds_new_client(node)]);
        }
    }
    phase.barrier([
        Predicate::RootsPublished { cas: vec![ca(TrustDomain::Cluster, NEW)] },
        Predicate::TokenSecretsCarry { cas: vec![ca(TrustDomain::Cluster, NEW)] },
        Predicate::AggregatedApisAvailable,
    ]);
    Ok(phase.build())
}

fn drop_trust(scene: &Scene<'_>, intent: &Intent, numbers: &mut Numbers) -> Phase {
    let mut phase = PhaseBuilder::new(PhaseName::Drop, numbers);
    // etcd members trust the old CA alone until each of them is restarted below, so our own certificate towards them
    // needs the cross certificate for as long.
    let credentials = |form| Action::UseCredentials { roots: scene.our_roots(&[NEW]), identity: NEW, form };
    let mut before =
        phase.step(Target::Operator, "trust the new CA alone", credentials(ChainForm::WithCross), []);
    for master in &scene.masters {
        let etcd_yields_to = master.neighbour.as_ref().map(|(name, _)| name.clone());
        before = scene.visit(
            &mut phase,
            master,
            [before],
            |phase, begin| {
                let begin = match etcd_yields_to {
                    Some(to) => phase.step(
                        master.target(),
                        "let another etcd member lead",
                        Action::YieldEtcdLeadership { to },
                        [begin],
                    ),
                    None => begin,
                };
                let replaced = replace_apiserver(phase, master, Content::Original, [begin]);
                restart_etcd(phase, master, [replaced])
            },
            vec![
                Predicate::EtcdHealthy,
                master.ready(),
                master.apiserver_presents(ChainForm::Bare),
                master.apiserver_advertises(advertised(scene, &[NEW], &[OLD, NEW])),
            ],
        );
    }
    let bare = credentials(ChainForm::Bare);
    phase.step(Target::Operator, "drop the cross certificate from our own credentials", bare, [before]);
    let mut last = Vec::new();
    for master in &scene.masters {
        let mut files = master.hot_certificates(ChainForm::Bare);
        if scene.front_proxy_ca().is_some() {
            files.push(front_proxy_roots(scene, &[NEW]));
        }
        last.push(phase.step(
            master.target(),
            "drop the cross certificate",
            Action::Write { files },
            [before],
        ));
    }
    drop_from_kubelets(scene, intent, &mut phase, last.clone());
    if scene.front_proxy_ca().is_some() && scene.layout == Layout::AksEngine {
        phase.step(Target::Etcd, "share the new front-proxy certificates", Action::ShareFrontProxy, last);
    }
    for holder in scene.ca_bundles() {
        if scene.tls_secrets().next().is_some() {
            let action = Action::SetCaBundle { holder: holder.clone(), roots: vec![cluster_ca(NEW)] };
            phase.step(Target::Api, format!("drop the old CA from {holder}"), action, [before]);
        }
    }
    for master in &scene.masters {
        phase.barrier(master.etcd_presents(ChainForm::Bare));
        phase.barrier([
            started_after(master, Component::Etcd, vec![scene.layout.etcd_ca()]),
            master.etcd_advertises(&[NEW]),
            master.apiserver_presents(ChainForm::Bare),
            master.apiserver_advertises(advertised(scene, &[NEW], &[NEW])),
        ]);
    }
    for node in scene.nodes().filter(|node| !scene.kubelet_server_files(node).is_empty()) {
        phase.barrier(kubelet_presents(scene, node));
    }
    phase.barrier([Predicate::EtcdHealthy]);
    phase.build()
}

/// Kubelets whose serving certificates somebody may verify come to present them alone.
fn drop_from_kubelets(scene: &Scene<'_>, intent: &Intent, phase: &mut PhaseBuilder<'_>, after: Vec<StepId>) {
    let visit = |phase: &mut PhaseBuilder<'_>, node: &Node, after: &[StepId]| {
        let files = scene.kubelet_server_files(node);
        if files.is_empty() {
            return None;
        }
        let (on, title) = (Target::Node(node.name.clone()), "drop the cross certificate from kubelet's");
        let written = phase.step(on, title, Action::Write { files }, after.iter().copied());
        Some(restart_kubelet(scene, phase, node, [written]))
    };
    let mut before = after;
    for master in &scene.masters {
        before = visit(phase, master.node, &before).map_or(before, |done| vec![done]);
    }
    agents(&scene.agents, intent, phase, &before, visit);
}

pub(super) fn finish(scene: &Scene<'_>, numbers: &mut Numbers) -> Phase {
    let mut phase = PhaseBuilder::new(PhaseName::Finish, numbers);
    forget_old_clients(scene, &mut phase, NEW);
    for node in scene.nodes() {
        clean_up(scene, &mut phase, node);
    }
    for master in &scene.masters {
        let paths = scene.foreign_peers(master.node);
        if !paths.is_empty() {
            let title = "remove the old keys of other etcd members";
            phase.step(master.target(), title, Action::Remove { paths }, []);
        }
    }
    let title = match scene.layout {
        Layout::AksEngine => "write apimodel.json and kubeconfigs",
        Layout::Kubeadm => "write the operator's kubeconfig",
    };
    phase.step(Target::Operator, title, Action::WriteOperatorFiles, []);
    for master in &scene.masters {
        phase.barrier([
            Predicate::RefusesClientsOf { node: master.node.name.clone(), ca: ca(TrustDomain::Cluster, OLD) },
            master.ready(),
        ]);
    }
    phase.barrier([Predicate::EtcdHealthy, Predicate::AggregatedApisAvailable]);
    for node in scene.nodes() {
        phase.barrier([Predicate::NodeReady { node: node.name.clone() }]);
    }
    phase.build()
}

/// Lets the API servers write anew what they tell aggregated API servers, which only ever grows by itself. `cluster` is
/// the generation of the client CA that is in force.
pub(super) fn forget_old_clients(scene: &Scene<'_>, phase: &mut PhaseBuilder<'_>, cluster: Generation) {
    if scene.present_front_proxy_ca().is_none() {
        return;
    }
    phase.step(
        Target::Api,
        "let aggregated API servers forget the old CAs",
        Action::RebuildExtensionAuthentication,
        [],
    );
    let front_proxy = if scene.front_proxy_ca().is_some() { NEW } else { OLD };
    let cas = vec![ca(TrustDomain::FrontProxy, front_proxy), ca(TrustDomain::Cluster, cluster)];
    phase.barrier([Predicate::ExtensionTrusts { cas }]);
}

/// Resumes what was paused on a node, and removes what the run has left there.
pub(super) fn clean_up(scene: &Scene<'_>, phase: &mut PhaseBuilder<'_>, node: &Node) {
    let on = Target::Node(node.name.clone());
    let units = scene.monitors(&node.name);
    if !units.is_empty() {
        phase.step(on.clone(), "resume monitors", Action::ResumeUnits { units }, []);
    }
    let mut paths = scene.layout.stages(node.system);
    let leaves_copies = scene.layout == Layout::AksEngine;
    if leaves_copies && node.role == Role::ControlPlane && scene.front_proxy_ca().is_some() {
        paths.extend(layout::FRONT_PROXY_LEFTOVERS.map(str::to_owned));
    }
    phase.step(on, "remove backups and staged files", Action::Remove { paths }, []);
}

/// Lets an API server sign tokens with the new key.
fn sign_with_new_key(
    scene: &Scene<'_>,
    phase: &mut PhaseBuilder<'_>,
    master: &Master<'_>,
    after: StepId,
) -> StepId {
    let files = vec![transition::token_signing_key(scene, master, NEW)];
    let written =
        phase.step(master.target(), "sign tokens with the new key", Action::Write { files }, [after]);
    let action = Action::EndProcess { component: Component::ApiServer };
    phase.step(master.target(), "restart kube-apiserver", action, [written])
}

pub(super) fn replace_apiserver(
    phase: &mut PhaseBuilder<'_>,
    master: &Master<'_>,
    manifest: Content,
    after: impl IntoIterator<Item = StepId>,
) -> StepId {
    let component = Component::ApiServer;
    let action = Action::ReplaceStaticPod { component, path: manifest_file(component), manifest };
    phase.step(master.target(), "restart kube-apiserver", action, after)
}

pub(super) fn replace_controller_manager(
    phase: &mut PhaseBuilder<'_>,
    master: &Master<'_>,
    manifest: Content,
    after: impl IntoIterator<Item = StepId>,
) -> StepId {
    let component = Component::ControllerManager;
    let action = Action::ReplaceStaticPod { component, path: manifest_file(component), manifest };
    phase.step(master.target(), "restart kube-controller-manager", action, after)
}

pub(super) fn restart_etcd(
    phase: &mut PhaseBuilder<'_>,
    master: &Master<'_>,
    after: impl IntoIterator<Item = StepId>,
) -> StepId {
    // At the last moment: a member that has died since the barrier must not be joined by this one.
    let healthy = Action::Await { predicates: vec![Predicate::EtcdHealthy] };
    let healthy = phase.step(master.target(), "wait until every etcd member is healthy", healthy, after);
    let component = Component::Etcd;
    let action = match master.layout.etcd_unit() {
        Some(unit) => Action::RestartUnit { unit: unit.to_owned(), component },
        None => Action::EndProcess { component },
    };
    phase.step(master.target(), "restart etcd", action, [healthy])
}

/// Ends a static pod's process, which kubelet starts again from the same manifest.
pub(super) fn end(
    phase: &mut PhaseBuilder<'_>,
    master: &Master<'_>,
    component: Component,
    after: impl IntoIterator<Item = StepId>,
) -> StepId {
    phase.step(master.target(), format!("restart {component}"), Action::EndProcess { component }, after)
}

/// Lets another etcd member lead, where there is another one.
pub(super) fn yield_leadership(phase: &mut PhaseBuilder<'_>, master: &Master<'_>, after: StepId) -> StepId {
    match &master.neighbour {
        Some((name, _)) => {
            let action = Action::YieldEtcdLeadership { to: name.clone() };
            phase.step(master.target(), "let another etcd member lead", action, [after])
        }
        None => after,
    }
}

/// Gives serving certificates in TLS Secrets new leaves, after those who verify them were told to trust both CAs.
pub(super) fn renew_secrets(scene: &Scene<'_>, phase: &mut PhaseBuilder<'_>) -> Vec<StepId> {
    let secrets: Vec<_> = scene.tls_secrets().collect();
    if secrets.is_empty() {
        return Vec::new();
    }
    let grown: Vec<StepId> = scene
        .ca_bundles()
        .map(|holder| {
            let action =
                Action::SetCaBundle { holder: holder.clone(), roots: vec![cluster_ca(OLD), cluster_ca(NEW)] };
            phase.step(Target::Api, format!("let {holder} trust both CAs"), action, [])
        })
        .collect();
    secrets
        .into_iter()
        .map(|secret| {
            let action = Action::WriteTlsSecret {
                secret: secret.object.clone(),
                leaf: tls_secret_leaf(secret),
                form: ChainForm::Bare,
            };
            phase.step(
                Target::Api,
                format!("renew the certificate in Secret {}", secret.object),
                action,
                grown.iter().copied(),
            )
        })
        .collect()
}

/// Restarts all workloads, in an order in which pods that start find what they need, and re-creates bare pods, so that no process is left that holds the old CA or an old token.
pub(super) fn renew_workloads(
    scene: &Scene<'_>,
    phase: &mut PhaseBuilder<'_>,
    after: &[StepId],
) -> Vec<StepId> {
    let Some(api) = scene.inventory.api.seen() else { return Vec::new() };
    restart_in_order(api, after, |running, before| {
        let (title, action) = match running {
            Running::Workload(workload) => {
                (format!("restart {workload}"), Action::Roll { workload: workload.clone() })
            }
            Running::BarePod(pod) => {
                (format!("re-create pod {pod}"), Action::RecreatePod { pod: pod.clone() })
            }
        };
        phase.step(Target::Api, title, action, before.iter().copied())
    })
}

pub(super) fn started_after(master: &Master<'_>, component: Component, files: Vec<String>) -> Predicate {
    Predicate::StartedAfter { node: master.node.name.clone(), component, files }
}

/// The client CAs that an API server names: its client CAs and its request-header CAs.
pub(super) fn advertised(
    scene: &Scene<'_>,
    cluster: &[Generation],
    front_proxy: &[Generation],
) -> Vec<CaRef> {
    let mut cas: Vec<CaRef> =
        cluster.iter().map(|generation| ca(TrustDomain::Cluster, *generation)).collect();
    let in_scope = scene.front_proxy_ca().is_some();
    if scene.present_front_proxy_ca().is_some() {
        let front_proxy = if in_scope { front_proxy } else { &[OLD] };
        cas.extend(front_proxy.iter().map(|generation| ca(TrustDomain::FrontProxy, *generation)));
    }
    cas
}

/// The administrator's kubeconfig on a control plane, where there is one.
pub(super) fn admin_kubeconfig(scene: &Scene<'_>, node: &crate::model::NodeName) -> Option<FileWrite> {
    let path = layout::admin_kubeconfig(&scene.inventory.cluster.admin_user);
    scene.facts(node)?.file(&path)?;
    let leaf = LeafId::from("kubectlClient");
    let content = Content::Kubeconfig {
        roots: vec![cluster_ca(NEW)],
        chain: chain(&leaf, TrustDomain::Cluster, ChainForm::Bare),
        key: Part::LeafKey(leaf, NEW),
    };
    Some(FileWrite { path, content, access: None })
}
