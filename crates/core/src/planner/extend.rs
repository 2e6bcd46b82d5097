//! A longer life for the CA: another certificate for its key and its name.
//!
//! Whoever holds either certificate accepts every leaf that there is, so that files and processes may change over in any
//! order, and no leaf changes. What has to be seen to is that nobody is left who holds the former certificate when it
//! ends: verifiers reject an expired root even if another one of the same key is in force. So every process that reads
//! its roots at its start is restarted, with the care that a move of trust takes: controller managers one after another,
//! control planes one at a time behind a diversion, kubelets of agents in waves, then the workloads. Since both
//! certificates bear one name, no handshake tells them apart; what shows the change are the fingerprints of what is
//! published, and processes that are younger than their files.
//!
//! There is no point of no return: backups stay until all is seen.

use super::Naming;
use super::builder::{Numbers, PhaseBuilder};
use super::bundled::{
    agents, kubelet_trusts, published_predicates, release_lease, restart_kubelet_for_trust, trust_files,
};
use super::common::{Master, Scene, ca, cluster_ca};
use super::cross_signed::{
    clean_up, end, forget_old_clients, renew_workloads, restart_etcd, started_after, yield_leadership,
};
use super::{Refusal, RefusalReason, preflight, refused};
use crate::intent::{Intent, Scope, Strategy};
use crate::inventory::{CertificateFacts, Inventory};
use crate::layout::{self, certificate_file};
use crate::material::{ChainForm, Content, Part};
use crate::model::{Component, Generation, LeafId, Node, NodeName, TrustDomain};
use crate::plan::{
    Action, AuthorityOrder, FileWrite, Kept, KeyOrder, Phase, PhaseName, Plan, Predicate, StepId, Target,
};

const OLD: Generation = Generation::Old;
const NEW: Generation = Generation::New;

/// How much longer a new certificate must last than the present one to be worth restarting everything.
const LEAST_GAIN_DAYS: i64 = 1;

/// The plan that gives the CA a longer life; the empty plan where it has all that it can get.
pub(super) fn plan(inventory: &Inventory, intent: &Intent, naming: &Naming) -> Result<Plan, Refusal> {
    if intent.scope == Scope::FrontProxy {
        return Err(RefusalReason::FrontProxyCannotBeExtended.into());
    }
    let Some(old) = inventory.current_ca() else { return Err(RefusalReason::NoCa.into()) };
    let ends = old.not_after.strftime("%F");
    if old.not_after <= naming.now {
        return Err(RefusalReason::CaEnded(ends.to_string()).into());
    }
    if old.subject != old.issuer {
        return Err(RefusalReason::NotARoot(old.issuer.clone()).into());
    }
    let mut plan = super::frame(inventory, intent, Strategy::SameKey);
    // A new one lasts as long from now as the present one did from its beginning.
    let gain = naming.now.as_second() - old.not_before.as_second();
    if gain < LEAST_GAIN_DAYS * 86_400 {
        plan.kept.push(Kept {
            id: "the cluster CA".to_owned(),
            why: format!("valid until {ends}, as long as a new certificate would be"),
        });
        return Ok(plan);
    }
    if !inventory.description.ca_key {
        return Err(RefusalReason::ExtendWithoutKey.into());
    }
    preflight::check(inventory, naming)?;
    let scene = Scene::new(inventory, Scope::ClusterCa, naming).map_err(refused)?;
    let mut numbers = Numbers::default();
    plan.authorities = vec![order(old)];
    plan.phases = vec![
        prepare(&scene, &mut numbers),
        switch(&scene, intent, &mut numbers),
        finish(&scene, &mut numbers),
    ];
    plan.kept = kept(&scene, old);
    plan.notices = notices(&scene, old);
    Ok(plan)
}

pub(super) fn order(old: &CertificateFacts) -> AuthorityOrder {
    let name = old.subject.split(',').find_map(|part| part.trim().strip_prefix("CN=")).unwrap_or("ca");
    AuthorityOrder {
        domain: TrustDomain::Cluster,
        common_name: name.to_owned(),
        like: old.pem.clone(),
        key: KeyOrder::Same,
        cross_signed: false,
    }
}

/// The administrator's kubeconfig on a control plane, where there is one, with the new root.
fn admin_kubeconfig(scene: &Scene<'_>, node: &NodeName) -> Option<FileWrite> {
    let path = layout::admin_kubeconfig(&scene.inventory.cluster.admin_user);
    scene.facts(node)?.file(&path)?;
    let leaf = LeafId::from("kubectlClient");
    let content = Content::Kubeconfig {
        roots: vec![cluster_ca(NEW)],
        chain: vec![Part::Leaf(leaf.clone(), OLD)],
        key: Part::LeafKey(leaf, OLD),
    };
    Some(FileWrite { path, content, access: None })
}

fn files(scene: &Scene<'_>, node: &Node) -> Vec<FileWrite> {
    let mut files = trust_files(node, &[NEW], OLD);
    if scene.masters.iter().any(|master| master.node.name == node.name) {
        files.extend(admin_kubeconfig(scene, &node.name));
    }
    files
}

fn prepare(scene: &Scene<'_>, numbers: &mut Numbers) -> Phase {
    let mut phase = PhaseBuilder::new(PhaseName::Prepare, numbers);
    for node in scene.nodes() {
        let on = Target::Node(node.name.clone());
        let paths = files(scene, node).into_iter().map(|file| file.path).collect();
        let backup = phase.step(on.clone(), "back up", Action::BackUp { paths }, []);
        let units = scene.monitors(&node.name);
        if scene.masters.iter().any(|master| master.node.name == node.name) && !units.is_empty() {
            phase.step(on, "pause monitors", Action::PauseUnits { units }, [backup]);
        }
    }
    phase.barrier([Predicate::EtcdHealthy]);
    phase.barrier(scene.masters.iter().map(Master::ready));
    phase.build()
}

fn switch(scene: &Scene<'_>, intent: &Intent, numbers: &mut Numbers) -> Phase {
    let mut phase = PhaseBuilder::new(PhaseName::Switch, numbers);
    let credentials = |roots: &[Generation]| Action::UseCredentials {
        roots: roots.iter().map(|generation| ca(TrustDomain::Cluster, *generation)).collect(),
        identity: OLD,
        form: ChainForm::Bare,
    };
    let begin =
        phase.step(Target::Operator, "trust both certificates of the CA", credentials(&[OLD, NEW]), []);
    // One control plane after the other, and on each one thing after the other: it is the kubelet that starts again what
    // has ended, so that it must not be restarting meanwhile. Controller managers come before the visits, since what they
    // publish takes longest to arrive; there is always one to lead.
    let mut controller_managers: Vec<StepId> = Vec::new();
    let mut kubelets: Vec<StepId> = Vec::new();
    for master in &scene.masters {
        let action = Action::Write { files: files(scene, master.node) };
        let after = kubelets.last().copied().unwrap_or(begin);
        let written = phase.step(master.target(), "put the new root in its place", action, [after]);
        let scheduler = end(&mut phase, master, Component::Scheduler, [written]);
        let controller_manager = end(&mut phase, master, Component::ControllerManager, [scheduler]);
        controller_managers.push(controller_manager);
        kubelets.push(restart_kubelet_for_trust(&mut phase, master.node, [controller_manager]));
    }
    let released = release_lease(&mut phase, controller_managers);
    let mut predicates = vec![Predicate::ControllerManagerLeads { files: vec![certificate_file("ca.crt")] }];
    predicates.extend(published_predicates(&[NEW]));
    let published =
        phase.step(Target::Api, "wait until it is published", Action::Await { predicates }, [released]);

    let mut before: Vec<StepId> = Vec::new();
    let mut done = kubelets.clone();
    for (master, kubelet) in scene.masters.iter().zip(kubelets) {
        let visited = scene.visit(
            &mut phase,
            master,
            before.into_iter().chain([kubelet]),
            |phase, begin| {
                let begin = yield_leadership(phase, master, begin);
                let ended = end(phase, master, Component::ApiServer, [begin]);
                restart_etcd(phase, master, [ended])
            },
            vec![Predicate::EtcdHealthy, master.ready(), reads_new_root(master, Component::ApiServer)],
        );
        before = vec![visited];
    }
    done.extend(agents(&scene.agents, intent, &mut phase, &[begin], |phase, node, after| {
        let on = Target::Node(node.name.clone());
        let action = Action::Write { files: files(scene, node) };
        let written = phase.step(on, "put the new root in its place", action, after.iter().copied());
        Some(restart_kubelet_for_trust(phase, node, [written]))
    }));
    for holder in scene.ca_bundles() {
        let action = Action::SetCaBundle { holder: holder.clone(), roots: vec![cluster_ca(NEW)] };
        phase.step(Target::Api, format!("put the new root into {holder}"), action, [begin]);
    }
    let ready: Vec<StepId> = done.into_iter().chain(before).chain([published]).collect();
    renew_workloads(scene, &mut phase, &ready);
    phase.step(Target::Operator, "trust the new certificate alone", credentials(&[NEW]), ready);
    barrier(scene, &mut phase);
    phase.build()
}

fn reads_new_root(master: &Master<'_>, component: Component) -> Predicate {
    started_after(master, component, vec![certificate_file("ca.crt")])
}

fn barrier(scene: &Scene<'_>, phase: &mut PhaseBuilder<'_>) {
    for master in &scene.masters {
        phase.barrier([master.ready()]);
        let components =
            [Component::ApiServer, Component::Etcd, Component::ControllerManager, Component::Scheduler];
        phase.barrier(components.map(|component| reads_new_root(master, component)));
    }
    for node in scene.nodes() {
        phase.barrier(kubelet_trusts(scene.layout, node));
    }
    phase.barrier(published_predicates(&[NEW]));
    phase.barrier([Predicate::EtcdHealthy, Predicate::AggregatedApisAvailable]);
}

fn finish(scene: &Scene<'_>, numbers: &mut Numbers) -> Phase {
    let mut phase = PhaseBuilder::new(PhaseName::Finish, numbers);
    forget_old_clients(scene, &mut phase, NEW);
    for node in scene.nodes() {
        clean_up(scene, &mut phase, node);
        phase.barrier([Predicate::NodeReady { node: node.name.clone() }]);
    }
    phase.step(Target::Operator, "write apimodel.json and kubeconfigs", Action::WriteOperatorFiles, []);
    phase.barrier(scene.masters.iter().map(Master::ready));
    phase.barrier([Predicate::EtcdHealthy, Predicate::AggregatedApisAvailable]);
    phase.build()
}

fn kept(scene: &Scene<'_>, old: &CertificateFacts) -> Vec<Kept> {
    let ends = old.not_after.strftime("%F");
    let api = scene.inventory.api.seen();
    let mut kept: Vec<Kept> = api
        .into_iter()
        .flat_map(|api| &api.job_pods)
        .map(|pod| Kept {
            id: format!("pod {pod}"),
            why: format!(
                "belongs to a Job, which is left to finish; it may hold the former certificate of the CA, which ends on {ends}"
            ),
        })
        .collect();
    kept.extend(scene.tls_secrets().map(|secret| Kept {
        id: format!("TLS Secret {}", secret.object),
        why: format!(
            "its certificate stays valid; a copy of the CA beside it is the former certificate, which ends on {ends}"
        ),
    }));
    if let Some(front_proxy) = scene.present_front_proxy_ca() {
        let ends = front_proxy.not_after.strftime("%F");
        kept.push(Kept {
            id: "the front proxy's CA".to_owned(),
            why: format!(
                "valid until {ends}; its key was thrown away when it was made, so that it cannot get a longer life, but --why replace-ca --scope front-proxy replaces it without restarting anything"
            ),
        });
    }
    kept
}

fn notices(scene: &Scene<'_>, old: &CertificateFacts) -> Vec<String> {
    let ends = old.not_after.strftime("%F");
    let mut notices = vec![
        "Every certificate stays as it is, and keeps its own end: renew those that end soon with --why renew afterwards.".to_owned(),
        format!("Kubeconfigs and other copies of the CA outside of the cluster work until {ends}, when the former certificate ends; hand out the new one before."),
        "Both certificates of the CA bear one name, so that no handshake tells which one a process trusts; that each process is younger than its files shows it.".to_owned(),
    ];
    if scene.masters.len() == 1 {
        notices.push("The cluster has one control plane: its API will be away for as long as kube-apiserver takes to start.".to_owned());
    }
    notices.extend(super::windows::notices(scene));
    for pod in scene.inventory.api.seen().into_iter().flat_map(|api| &api.bare_pods) {
        notices.push(format!(
            "Pod {pod} has no controller; it will be deleted and created again from its own specification."
        ));
    }
    notices
}
