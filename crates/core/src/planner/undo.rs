//! The way back: from a rotation that was begun, and has not dropped the old CA, to the cluster as it was.
//!
//! A plan of its own, made from the rotation's plan, the inventory that it was made from, and what the journal says was
//! begun and done. What was begun may be done, so it is put back, too. In order:
//!
//! 1. *return*: what the phase *switch* changed is put back. Trust, issuing and token signing are the old ones again, all
//!    processes that may hold something else are restarted, workloads hold old trust and old tokens again. Every server
//!    accepts clients and tokens of both generations throughout, as it did at the end of *introduce*.
//! 2. *retract*: what the phase *introduce* changed is put back. Servers present and accept the old PKI alone.
//! 3. *restore*: staged files and backups go.
//!
//! Each phase is the mirror of one of the rotation, and the same invariants are checked for it, from every point at which
//! the rotation may have stopped.

use std::collections::{BTreeMap, BTreeSet};

use super::Naming;
use super::builder::{Numbers, PhaseBuilder};
use super::bundled::{kubelet_trusts, published_predicates};
use super::common::{Master, Running, Scene, ca, restart_in_order};
use super::cross_signed::{advertised, end, restart_etcd, started_after, yield_leadership};
use super::transition::{TOKEN_SIGNING_KEY, token_file, token_signing_key};
use crate::intent::{Limits, Strategy};
use crate::inventory::{CaRef, Inventory};
use crate::layout::{self, manifest_file};
use crate::material::{ChainForm, Content};
use crate::model::{Component, Generation, Layout, Node, NodeName, OperatingSystem, TrustDomain};
use crate::plan::{
    Action, ApiObject, FileWrite, Kept, Phase, PhaseName, Plan, PlanError, Predicate, StepId, Target,
};

const OLD: Generation = Generation::Old;
const NEW: Generation = Generation::New;
const BOTH: [Generation; 2] = [OLD, NEW];

/// How far a rotation has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Steps that were begun, done or not.
    pub begun: BTreeSet<StepId>,
    /// Steps that were done.
    pub done: BTreeSet<StepId>,
}

/// Plans the way back of `plan`, which was made from `inventory` and has come as far as `progress` says.
///
/// # Errors
///
/// Fails where the inventory does not fit the plan. That the old CA has not been dropped yet is the caller's to know.
pub fn undo(plan: &Plan, inventory: &Inventory, progress: &Progress) -> Result<Plan, PlanError> {
    let naming = Naming { now: inventory.taken, stamp: String::new() };
    let mut scene = Scene::new(inventory, plan.scope, &naming)?;
    scene.tokens_change |= !plan.key_pairs.is_empty();
    let diverted = diverted(plan, progress);
    // One control plane at a time: the one that was being visited comes first.
    scene.masters.sort_by_key(|master| !diverted.contains(&master.node.name));
    let replaces_ca = plan.authorities.iter().any(|order| order.domain == TrustDomain::Cluster)
        && matches!(plan.strategy, Strategy::CrossSigned | Strategy::Bundled);
    if !replaces_ca {
        let phases = super::mirror::phases(plan, &scene, progress, &diverted)?;
        return Ok(way_back(plan, phases));
    }
    let back = Back { plan, progress, scene, diverted };
    let mut numbers = Numbers::default();
    let mut phases = Vec::new();
    if back.return_is_needed() {
        phases.push(back.return_(&mut numbers));
    }
    if back.began(PhaseName::Introduce) {
        phases.push(back.retract(&mut numbers));
    }
    phases.push(back.restore(&mut numbers));
    Ok(way_back(plan, phases))
}

fn way_back(plan: &Plan, phases: Vec<Phase>) -> Plan {
    Plan {
        schema: Plan::SCHEMA,
        cluster: plan.cluster.clone(),
        why: plan.why,
        strategy: plan.strategy,
        scope: plan.scope,
        limits: plan.limits.clone(),
        authorities: Vec::new(),
        leaves: Vec::new(),
        key_pairs: Vec::new(),
        phases,
        kept: plan.kept.iter().map(back_kept).collect(),
        notices: Vec::new(),
    }
}

fn diverted(plan: &Plan, progress: &Progress) -> BTreeSet<NodeName> {
    let mut diverted = BTreeSet::new();
    for step in plan.steps().filter(|step| progress.begun.contains(&step.id)) {
        let Target::Node(node) = &step.target else { continue };
        match step.action {
            Action::Divert { .. } => drop(diverted.insert(node.clone())),
            Action::Undivert if progress.done.contains(&step.id) => drop(diverted.remove(node)),
            _ => {}
        }
    }
    diverted
}

fn back_kept(kept: &Kept) -> Kept {
    let why = if kept.id.starts_with("pod ") {
        "belongs to a Job, which is left to finish; if it was started during the rotation, it may be refused until it is started again"
            .to_owned()
    } else {
        kept.why.clone()
    };
    Kept { id: kept.id.clone(), why }
}

struct Back<'a> {
    plan: &'a Plan,
    progress: &'a Progress,
    scene: Scene<'a>,
    /// Control planes whose new connections may still go elsewhere.
    diverted: BTreeSet<NodeName>,
}

/// What a component has made itself: it stands for whatever is not the original.
static MADE_ANEW: Content = Content::Parts(Vec::new());

/// Files by node: path and content.
type Files<'a> = BTreeMap<&'a NodeName, Vec<(&'a str, &'a Content)>>;

/// Whether a file lies among those of a node.
fn has(files: &Files<'_>, node: &NodeName, path: &str) -> bool {
    files.get(node).is_some_and(|here| here.iter().any(|(of, _)| *of == path))
}

/// What one phase of the way back aims at.
struct Aim {
    /// The phase of the rotation that is put back.
    of: PhaseName,
    /// What API servers present afterwards.
    apiserver: (Generation, ChainForm),
    /// What etcd members present afterwards.
    etcd: (Generation, ChainForm),
    /// The client CAs that API servers name afterwards, by generation.
    accepted: Vec<Generation>,
    /// The CAs that etcd members, kubelets, published roots hold afterwards.
    trusted: Vec<Generation>,
}

impl Back<'_> {
    /// The file of the cluster CA on nodes that run Linux.
    fn cluster_ca(&self) -> String {
        self.scene.layout.roots_file(OperatingSystem::Linux)
    }

    fn began(&self, name: PhaseName) -> bool {
        self.steps(name).next().is_some()
    }

    fn return_is_needed(&self) -> bool {
        self.began(PhaseName::Switch) || self.new_tokens_may_be_about()
    }

    /// The steps of a phase that were begun.
    fn steps(&self, name: PhaseName) -> impl Iterator<Item = &crate::plan::Step> {
        let phase = self.plan.phases.iter().filter(move |phase| phase.name == name);
        phase.flat_map(|phase| &phase.steps).filter(|step| self.progress.begun.contains(&step.id))
    }

    /// Whether an API server may sign tokens with the new key before the phase *switch*: with cross certificates the one
    /// that is visited last does from then on.
    fn new_tokens_may_be_about(&self) -> bool {
        self.plan.strategy == Strategy::CrossSigned
            && self.scene.tokens_change
            && self.scene.masters.iter().all(|master| {
                self.replaced(PhaseName::Introduce, &master.node.name, Component::ApiServer).is_some()
            })
    }

    /// Whether the API server of a control plane holds something that it does not let go of by itself when files are put
    /// back, so that it has to be restarted.
    fn holds_fast(&self, aim: &Aim, files: &Files<'_>, node: &NodeName) -> bool {
        let introduced = self.replaced(PhaseName::Introduce, node, Component::ApiServer).is_some();
        // Before 1.25 the certificate towards kubelets is kept for as long as the process lives.
        let keeps_client = !self.scene.inventory.cluster.version.at_least(25);
        let client =
            |node: &Node| has(files, &node.name, &self.scene.layout.kubelet_client(node).certificate());
        let keeps =
            || self.scene.masters.iter().any(|master| master.node.name == *node && client(master.node));
        match aim.of {
            PhaseName::Switch => introduced,
            _ => introduced || has(files, node, &self.cluster_ca()) || (keeps_client && keeps()),
        }
    }

    /// The manifest that a begun step of that phase puts in place on a node.
    fn replaced(&self, phase: PhaseName, on: &NodeName, of: Component) -> Option<&Content> {
        self.steps(phase).find_map(|step| match (&step.target, &step.action) {
            (Target::Node(node), Action::ReplaceStaticPod { component, manifest, .. })
                if node == on && *component == of =>
            {
                Some(manifest)
            }
            _ => None,
        })
    }

    /// Restarts a component with a manifest: by putting that in place, or, where it may be in place already, by ending the
    /// process, since what it holds may still be what it read before the files were put back.
    fn restart_with(
        &self,
        phase: &mut PhaseBuilder<'_>,
        master: &Master<'_>,
        component: Component,
        manifest: Content,
        after: impl IntoIterator<Item = StepId>,
    ) -> StepId {
        let mut present = BTreeSet::from([&Content::Original]);
        for step in self.plan.steps().filter(|step| self.progress.begun.contains(&step.id)) {
            match (&step.target, &step.action) {
                (Target::Node(node), Action::ReplaceStaticPod { component: of, manifest, .. })
                    if *node == master.node.name && *of == component =>
                {
                    if self.progress.done.contains(&step.id) {
                        present.clear();
                    }
                    present.insert(manifest);
                }
                _ => {}
            }
        }
        let may_be_there = present.contains(&manifest);
        if may_be_there && present.len() == 1 {
            let action = Action::EndProcess { component };
            return phase.step(master.target(), format!("restart {component}"), action, after);
        }
        let path = manifest_file(component);
        let action = Action::ReplaceStaticPod { component, path, manifest };
        let replaced = phase.step(master.target(), format!("restart {component}"), action, after);
        if may_be_there { end(phase, master, component, [replaced]) } else { replaced }
    }

    /// The files below no directory of ours that begun steps of a phase write, by node, in the order in which they are
    /// written, with what they come to hold.
    fn written(&self, name: PhaseName) -> Files<'_> {
        let mut files: Files<'_> = BTreeMap::new();
        for step in self.steps(name) {
            let Target::Node(node) = &step.target else { continue };
            let written: Vec<(&str, &Content)> = match &step.action {
                Action::Write { files } => {
                    files.iter().map(|file| (file.path.as_str(), &file.content)).collect()
                }
                Action::StartAfresh { forget, .. } => {
                    forget.iter().map(|path| (path.as_str(), &MADE_ANEW)).collect()
                }
                _ => continue,
            };
            let here = files.entry(node).or_default();
            for (file, holds) in written.into_iter().filter(|(path, _)| !layout::is_staged(path)) {
                match here.iter_mut().find(|(path, _)| *path == file) {
                    Some((_, content)) => *content = holds,
                    None => here.push((file, holds)),
                }
            }
        }
        files
    }

    /// The files that a phase changes, with what they held before it.
    fn changed(&self, name: PhaseName) -> Files<'_> {
        let mut files = self.written(name);
        let earlier =
            if name == PhaseName::Switch { self.written(PhaseName::Introduce) } else { Files::new() };
        for (node, here) in &mut files {
            let earlier = earlier.get(*node).map_or(&[][..], Vec::as_slice);
            here.retain_mut(|(path, content)| {
                let before =
                    earlier.iter().find(|(of, _)| of == path).map_or(&Content::Original, |(_, c)| *c);
                let changes = before != *content;
                *content = before;
                changes
            });
        }
        files.retain(|_, here| !here.is_empty());
        files
    }

    fn return_(&self, numbers: &mut Numbers) -> Phase {
        let mut phase = PhaseBuilder::new(PhaseName::Return, numbers);
        let cross = self.plan.strategy == Strategy::CrossSigned;
        // etcd members trust what they read when they were started last, which may be the new CA alone; a leaf with the
        // cross certificate is accepted by holders of either.
        let (identity, form) = if cross { (NEW, ChainForm::WithCross) } else { (OLD, ChainForm::Bare) };
        let aim = Aim {
            of: PhaseName::Switch,
            apiserver: (identity, form),
            etcd: (identity, form),
            accepted: BOTH.to_vec(),
            trusted: if cross { vec![OLD] } else { BOTH.to_vec() },
        };
        let credentials = Action::UseCredentials { roots: self.scene.our_roots(&BOTH), identity, form };
        let begin = phase.step(Target::Operator, "trust both CAs", credentials, []);
        let moved = self.began(PhaseName::Switch);
        let done = self.put_back(&mut phase, &aim, begin);
        let secrets = self.put_secrets_back(&mut phase, begin);
        let ready: Vec<StepId> = done.into_iter().chain(secrets).collect();
        self.put_workloads_back(&mut phase, &ready);
        self.expect(&mut phase, &aim);
        if moved {
            let cas: Vec<CaRef> = aim.trusted.iter().map(|g| ca(TrustDomain::Cluster, *g)).collect();
            phase.barrier([
                Predicate::RootsPublished { cas: cas.clone() },
                Predicate::TokenSecretsCarry { cas },
            ]);
        }
        phase.barrier([Predicate::EtcdHealthy, Predicate::AggregatedApisAvailable]);
        phase.build()
    }

    fn retract(&self, numbers: &mut Numbers) -> Phase {
        let mut phase = PhaseBuilder::new(PhaseName::Retract, numbers);
        let old = (OLD, ChainForm::Bare);
        let aim = Aim {
            of: PhaseName::Introduce,
            apiserver: old,
            etcd: old,
            accepted: vec![OLD],
            trusted: vec![OLD],
        };
        let roots = self.scene.our_roots(&[OLD]);
        let credentials = Action::UseCredentials { roots, identity: OLD, form: ChainForm::Bare };
        let begin = phase.step(Target::Operator, "trust the old CA alone", credentials, []);
        let mut done = self.put_back(&mut phase, &aim, begin);
        for step in self.steps(PhaseName::Switch) {
            if let Action::SetCaBundle { holder, .. } = &step.action {
                let object = ApiObject::CaBundle(holder.clone());
                let title = format!("put {object} back");
                done.push(phase.step(Target::Api, title, Action::PutBack { object }, done.clone()));
            }
        }
        let bundled = self.plan.strategy == Strategy::Bundled;
        if bundled {
            // Pods hold both CAs until here.
            self.put_workloads_back(&mut phase, &done);
        }
        self.expect(&mut phase, &aim);
        if bundled {
            phase.barrier(published_predicates(&[OLD]));
        }
        phase.barrier([Predicate::EtcdHealthy]);
        phase.build()
    }

    fn restore(&self, numbers: &mut Numbers) -> Phase {
        let mut phase = PhaseBuilder::new(PhaseName::Restore, numbers);
        if self.scene.front_proxy_ca().is_some() && self.began(PhaseName::Introduce) {
            let action = Action::RebuildExtensionAuthentication;
            phase.step(Target::Api, "let aggregated API servers forget the new CAs", action, []);
            phase.barrier([Predicate::ExtensionTrusts { cas: vec![ca(TrustDomain::FrontProxy, OLD)] }]);
        }
        for node in self.scene.nodes() {
            let on = Target::Node(node.name.clone());
            let units = self.scene.monitors(&node.name);
            if !units.is_empty() {
                phase.step(on.clone(), "resume monitors", Action::ResumeUnits { units }, []);
            }
            let paths = self.scene.layout.stages(node.system);
            phase.step(on, "remove backups and staged files", Action::Remove { paths }, []);
        }
        for master in &self.scene.masters {
            phase.barrier([master.ready()]);
        }
        phase.barrier([Predicate::EtcdHealthy, Predicate::AggregatedApisAvailable]);
        for node in self.scene.nodes() {
            phase.barrier([Predicate::NodeReady { node: node.name.clone() }]);
        }
        phase.build()
    }

    /// Puts files and manifests back, and restarts what reads them only when it starts. Returns the steps that must be done
    /// before anything may rely on that.
    fn put_back(&self, phase: &mut PhaseBuilder<'_>, aim: &Aim, begin: StepId) -> Vec<StepId> {
        let files = self.changed(aim.of);
        let mut written: BTreeMap<&NodeName, StepId> = BTreeMap::new();
        for master in &self.scene.masters {
            let mut writes = put_back(files.get(&master.node.name));
            if aim.of == PhaseName::Switch && self.signs_with_staged_key() {
                writes.push(token_signing_key(&self.scene, master, OLD));
            }
            if !writes.is_empty() {
                let action = Action::Write { files: writes };
                let id = phase.step(master.target(), "put files back", action, [begin]);
                written.insert(&master.node.name, id);
            }
        }
        let mut done: Vec<StepId> = written.values().copied().collect();
        let first = aim.of == PhaseName::Switch || !self.return_is_needed();
        for master in self.scene.masters.iter().filter(|_| first) {
            let name = &master.node.name;
            if self.diverted.contains(name) && !self.holds_fast(aim, &files, name) {
                let action = Action::Await { predicates: vec![master.ready()] };
                let ready = phase.step(master.target(), "see that it serves", action, [begin]);
                phase.step(master.target(), "take the diversion away", Action::Undivert, [ready]);
            }
        }
        let mut before = vec![begin];
        before.extend(&done);
        if aim.of == PhaseName::Introduce {
            let mut gate: Vec<Predicate> = self
                .scene
                .masters
                .iter()
                .flat_map(|master| master.etcd_shows(aim.etcd.0, aim.etcd.1))
                .collect();
            gate.push(Predicate::EtcdHealthy);
            let action = Action::Await { predicates: gate };
            before = vec![phase.step(
                Target::Etcd,
                "wait until every etcd member presents its old certificate",
                action,
                before,
            )];
        }
        for master in &self.scene.masters {
            let node = master.node;
            if self.reads_at_start(&files, node) {
                before = vec![self.kubelet(phase, node, before.clone())];
            }
            before = self.visit(phase, master, aim, &files, before);
            if !self.read_by_scheduler(&files, node).is_empty() {
                let after = before.first().copied().unwrap_or(begin);
                done.push(end(phase, master, Component::Scheduler, [after]));
            }
        }
        done.extend(&before);
        // After the API servers, since a controller manager gets the tokens of its controllers from them.
        done.extend(self.controller_managers(phase, aim, &done.clone()));
        let mut wave: Vec<StepId> = vec![begin];
        let agents: Vec<&&Node> =
            self.scene.agents.iter().filter(|node| files.contains_key(&node.name)).collect();
        for nodes in agents.chunks(Limits::default().agents_at_once) {
            wave = nodes
                .iter()
                .map(|node| {
                    let action = Action::Write { files: put_back(files.get(&node.name)) };
                    let on = Target::Node(node.name.clone());
                    let written = phase.step(on, "put files back", action, wave.iter().copied());
                    self.kubelet(phase, node, vec![written])
                })
                .collect();
            done.extend(&wave);
        }
        done
    }

    /// Whether something was changed that a kubelet reads at its start only.
    fn reads_at_start(&self, files: &Files<'_>, node: &Node) -> bool {
        if node.system == OperatingSystem::Windows {
            return files.contains_key(&node.name);
        }
        let layout = self.scene.layout;
        let mut read = layout.kubelet_roots(node.system);
        read.extend(layout.kubelet_serving(node).map(|serving| serving.certificate()));
        if layout == Layout::AksEngine && !self.scene.has_kubelet_client(&node.name) {
            // A kubelet without a certificate of its own uses the shared one.
            read.push(layout.kubelet_client(node).certificate());
        }
        read.iter().any(|path| has(files, &node.name, path))
    }

    /// The changed files for which a scheduler is restarted. One that reads its client certificate again by itself may lag
    /// with cross certificates, when both are accepted.
    fn read_by_scheduler(&self, files: &Files<'_>, node: &Node) -> Vec<String> {
        let layout = self.scene.layout;
        let (trusted, client) = (self.cluster_ca(), layout.kubelet_client(node).certificate());
        let own = layout.kubeconfigs(node, "");
        let own = own.into_iter().filter(|own| own.reader == Some(Component::Scheduler));
        let mut read: Vec<String> = own.map(|own| own.path).collect();
        let lags = self.plan.strategy == Strategy::Bundled;
        if layout == Layout::AksEngine && (lags || has(files, &node.name, &trusted)) {
            read.extend([trusted, client]);
        }
        read.retain(|path| has(files, &node.name, path));
        read
    }

    /// Whether API servers sign tokens with a key in a file of ours.
    fn signs_with_staged_key(&self) -> bool {
        self.plan.strategy == Strategy::CrossSigned && self.scene.tokens_change
    }

    /// Controller managers go back to the manifest that they had before the phase, one after the other, and publish again
    /// what they published then.
    fn controller_managers(&self, phase: &mut PhaseBuilder<'_>, aim: &Aim, after: &[StepId]) -> Vec<StepId> {
        let cross = self.plan.strategy == Strategy::CrossSigned;
        if cross && aim.of == PhaseName::Introduce {
            // That phase does not touch them.
            return Vec::new();
        }
        let mut before = after.to_vec();
        for master in &self.scene.masters {
            let component = Component::ControllerManager;
            let manifest = match aim.of {
                PhaseName::Switch if !cross => {
                    self.replaced(PhaseName::Introduce, &master.node.name, component).cloned()
                }
                _ => None,
            };
            let manifest = manifest.unwrap_or(Content::Original);
            before = vec![self.restart_with(phase, master, component, manifest, before)];
        }
        let released = phase.step(
            Target::Api,
            "release the lease of the former controller manager",
            Action::ReleaseLease,
            before,
        );
        let files = vec![manifest_file(Component::ControllerManager), self.cluster_ca()];
        let mut predicates = vec![Predicate::ControllerManagerLeads { files }];
        predicates.extend(published_predicates(&aim.trusted));
        let action = Action::Await { predicates };
        vec![phase.step(Target::Api, "wait until it is published", action, [released])]
    }

    /// One visit to a control plane: API server and, where its trust changed, etcd.
    fn visit(
        &self,
        phase: &mut PhaseBuilder<'_>,
        master: &Master<'_>,
        aim: &Aim,
        files: &Files<'_>,
        after: Vec<StepId>,
    ) -> Vec<StepId> {
        let trust_changed = has(files, &master.node.name, &self.scene.layout.etcd_ca());
        let manifest = match aim.of {
            PhaseName::Switch => {
                self.replaced(PhaseName::Introduce, &master.node.name, Component::ApiServer).cloned()
            }
            _ => Some(Content::Original),
        };
        let Some(manifest) = manifest else { return after };
        if !self.holds_fast(aim, files, &master.node.name) {
            return after;
        }
        let mut gate = vec![master.ready()];
        if trust_changed {
            gate.push(Predicate::EtcdHealthy);
        }
        gate.push(master.apiserver_shows(aim.apiserver.0, aim.apiserver.1));
        gate.push(master.apiserver_advertises(advertised(&self.scene, &aim.accepted, &aim.accepted)));
        let inner = |phase: &mut PhaseBuilder<'_>, begin: StepId| {
            let begin = if trust_changed { yield_leadership(phase, master, begin) } else { begin };
            let restarted = self.restart_with(phase, master, Component::ApiServer, manifest, [begin]);
            if trust_changed { restart_etcd(phase, master, [restarted]) } else { restarted }
        };
        vec![self.scene.visit(phase, master, after, inner, gate)]
    }

    fn kubelet(&self, phase: &mut PhaseBuilder<'_>, node: &Node, after: Vec<StepId>) -> StepId {
        let on = Target::Node(node.name.clone());
        let unit = layout::kubelet_unit(node.system).to_owned();
        let action = Action::RestartUnit { unit, component: Component::Kubelet };
        let restarted = phase.step(on.clone(), "restart kubelet", action, after);
        let predicates = kubelet_trusts(self.scene.layout, node).to_vec();
        phase.step(on, "wait until the node is Ready", Action::Await { predicates }, [restarted])
    }

    /// Secrets whose certificates and tokens were replaced.
    fn put_secrets_back(&self, phase: &mut PhaseBuilder<'_>, begin: StepId) -> Vec<StepId> {
        let objects: Vec<ApiObject> = self
            .steps(PhaseName::Switch)
            .filter_map(|step| match &step.action {
                Action::WriteTlsSecret { secret, .. } => Some(ApiObject::TlsSecret(secret.clone())),
                Action::RenewTokenSecret { secret } => Some(ApiObject::TokenSecret(secret.clone())),
                Action::PublishClusterInfo { .. } => Some(ApiObject::ClusterInfo),
                _ => None,
            })
            .collect();
        let put_back = |object: ApiObject| {
            phase.step(Target::Api, format!("put {object} back"), Action::PutBack { object }, [begin])
        };
        objects.into_iter().map(put_back).collect()
    }

    /// Every workload, since any of its pods may have been started while the new CA was published.
    fn put_workloads_back(&self, phase: &mut PhaseBuilder<'_>, after: &[StepId]) {
        let Some(api) = self.scene.inventory.api.seen() else { return };
        restart_in_order(api, after, |running, before| {
            let object = match running {
                Running::Workload(workload) => ApiObject::Workload(workload.clone()),
                Running::BarePod(pod) => ApiObject::Pod(pod.clone()),
            };
            let title = format!("put {object} back");
            phase.step(Target::Api, title, Action::PutBack { object }, before.iter().copied())
        });
    }

    /// What must be seen on running processes at the end of the phase.
    fn expect(&self, phase: &mut PhaseBuilder<'_>, aim: &Aim) {
        let files = self.changed(aim.of);
        for master in &self.scene.masters {
            let name = &master.node.name;
            phase.barrier(master.etcd_shows(aim.etcd.0, aim.etcd.1));
            phase.barrier([
                master.ready(),
                master.apiserver_shows(aim.apiserver.0, aim.apiserver.1),
                master.apiserver_advertises(advertised(&self.scene, &aim.accepted, &aim.accepted)),
            ]);
            if !files.contains_key(name) {
                continue;
            }
            let layout = self.scene.layout;
            let read = |component, wanted: Vec<String>| {
                let files: Vec<String> = wanted.into_iter().filter(|file| has(&files, name, file)).collect();
                (!files.is_empty()).then(|| started_after(master, component, files))
            };
            let own = layout.kubeconfigs(master.node, "").into_iter();
            let own = own.filter(|own| own.reader == Some(Component::ControllerManager));
            let mut published: Vec<String> = own.map(|own| own.path).collect();
            published.push(self.cluster_ca());
            published.extend(token_file(&self.scene, master));
            phase.barrier(read(Component::ControllerManager, published));
            phase.barrier(read(Component::Etcd, vec![layout.etcd_ca()]));
            phase.barrier(read(Component::Scheduler, self.read_by_scheduler(&files, master.node)));
            if aim.of == PhaseName::Switch && self.signs_with_staged_key() {
                let files = vec![layout.transition_file(TOKEN_SIGNING_KEY)];
                phase.barrier([started_after(master, Component::ApiServer, files)]);
            }
            if has(&files, name, &layout.etcd_ca()) {
                phase.barrier([master.etcd_advertises(&aim.trusted)]);
            }
        }
        for node in self.scene.nodes() {
            if self.reads_at_start(&files, node) {
                phase.barrier(kubelet_trusts(self.scene.layout, node));
            }
        }
    }
}

/// Last written, first put back: a link points elsewhere before its target goes.
fn put_back(files: Option<&Vec<(&str, &Content)>>) -> Vec<FileWrite> {
    let write = |(path, content): &(&str, &Content)| FileWrite {
        path: (*path).to_owned(),
        content: (*content).clone(),
        access: None,
    };
    files.into_iter().flatten().rev().map(write).collect()
}
