//! Bringing back a cluster whose certificates have ended.
//!
//! Nobody accepts anybody there: etcd members refuse each other, so that there is no quorum, no API server serves, and
//! kubelets go on with what they had. There is no availability to be protected, so nothing is done one at a time; but
//! each step waits for what it needs, shown by running processes. Everything goes over SSH until an API server answers:
//!
//! 1. *prepare*: backups; monitors at rest, which would end what does not answer at once. In kubeadm's layout kubelets come
//!    before etcd, whose members are theirs to start.
//! 2. *switch*: new leaves of the CA in force on every control plane; then all etcd members are restarted together, since
//!    none can join a quorum that is not there; kubelets next, which forget how long they meant to wait before they start
//!    a crashed static pod again; then API servers, controller managers, schedulers; agents last, in waves.
//! 3. *finish*: traces are removed, the operator's files are written.
//!
//! The CA stays if it is valid; if it has ended, it gets another certificate for its key. Either way the API server's
//! certificate is renewed for the key that it has, which signs service-account tokens: tokens stay what they were. To
//! replace the CA is another errand, for which the cluster that answers again has plans that disturb nobody.
//!
//! Where the control planes are well and certificates of agents alone have ended (nodes that come back after the others,
//! and those that run Windows), nothing but those agents is touched.

use super::builder::{Numbers, PhaseBuilder};
use super::bundled::{agents, published_predicates, release_lease};
use super::common::{Master, Scene, certificate, cluster_ca, front_proxy_pair, front_proxy_roots, of_pair};
use super::cross_signed::{admin_kubeconfig, clean_up, end, forget_old_clients, started_after};
use super::kubelet::kubelet_presents;
use super::{Naming, windows};
use super::{Refusal, RefusalReason, preflight, refused};
use crate::intent::{Intent, Scope, Signer, Strategy};
use crate::inventory::{CertificateFacts, Inventory, NodeFacts, Observed};
use crate::layout::{self, certificate_file, kubelet_client_link, manifest_file};
use crate::material::{ChainForm, Content, Part};
use crate::model::{Component, Generation, Layout, LeafId, Node, OperatingSystem, TrustDomain};
use crate::plan::{
    Action, AuthorityOrder, FileWrite, Kept, KeyOrder, LeafShape, Phase, PhaseName, Plan, Predicate, StepId,
    Target,
};

const OLD: Generation = Generation::Old;
const NEW: Generation = Generation::New;

/// The plan that brings a cluster back; the empty plan where nothing has ended and the API answers.
pub(super) fn plan(inventory: &Inventory, intent: &Intent, naming: &Naming) -> Result<Plan, Refusal> {
    let Some(authority) = inventory.current_ca() else { return Err(RefusalReason::NoCa.into()) };
    let kubeadm = inventory.cluster.layout == Layout::Kubeadm;
    let authority_ended = has_ended(authority, inventory) || (kubeadm && another_ca_has_ended(inventory));
    let front_proxy_ended = inventory.cluster.control_planes().any(|node| {
        let facts = inventory.nodes.get(&node.name).and_then(Observed::seen);
        let (ca, leaf) =
            (inventory.cluster.layout.front_proxy_ca(), inventory.cluster.layout.front_proxy(node));
        facts.is_some_and(|facts| {
            [ca, leaf.certificate()].iter().any(|file| file_has_ended(facts, file, inventory))
        })
    });
    let strategy = if authority_ended { Strategy::SameKey } else { Strategy::SameCa };
    // kubeadm's front proxy has a CA with a key, and goes along.
    let scope = if front_proxy_ended || kubeadm { Scope::All } else { Scope::ClusterCa };
    let mut plan = Plan { scope, ..super::frame(inventory, intent, strategy) };
    let control_planes = authority_ended || front_proxy_ended || control_planes_are_concerned(inventory);
    plan.kept = kept_agents(inventory, control_planes);
    let concerned: Vec<&Node> = inventory
        .cluster
        .agents()
        .filter(|node| is_in_turn(node, control_planes))
        .filter(|node| {
            let facts = inventory.nodes.get(&node.name).and_then(Observed::seen);
            facts.is_some_and(|facts| control_planes || node_has_ended(facts, inventory))
        })
        .collect();
    if !control_planes && concerned.is_empty() {
        return Ok(plan);
    }
    // A CA that has ended needs its own key.
    if !inventory.description.ca_key && (intent.signer == Signer::Ours || authority_ended) {
        return Err(RefusalReason::RecoverWithoutKey.into());
    }
    if kubeadm {
        super::kubeadm::controllers_start(inventory)?;
    }
    if authority_ended && authority.subject != authority.issuer {
        return Err(RefusalReason::NotARoot(authority.issuer.clone()).into());
    }
    preflight::recovery(inventory, naming)?;
    let mut scene = Scene::new(inventory, scope, naming).map_err(refused)?;
    scene.agents = concerned;
    let recovery = Recovery {
        root: if authority_ended { NEW } else { OLD },
        control_planes,
        front_proxy: front_proxy_ended && !kubeadm,
        scene,
    };
    let mut numbers = Numbers::default();
    plan.authorities = recovery.authorities(authority)?;
    plan.leaves = recovery.leaves()?;
    plan.phases = vec![
        recovery.prepare(&mut numbers),
        recovery.switch(intent, &mut numbers),
        recovery.finish(&mut numbers),
    ];
    plan.kept.extend(recovery.kept());
    plan.notices = recovery.notices(inventory);
    Ok(plan)
}

/// Whether a certificate has ended, by the time of the observation.
fn has_ended(certificate: &CertificateFacts, inventory: &Inventory) -> bool {
    certificate.not_after <= inventory.taken
}

/// Whether the CA of etcd or of the front proxy has ended, each with its key on the control planes. Then all are issued
/// anew for their keys: they were made together, and end together.
fn another_ca_has_ended(inventory: &Inventory) -> bool {
    inventory.cluster.control_planes().any(|node| {
        let facts = inventory.nodes.get(&node.name).and_then(Observed::seen);
        [TrustDomain::Etcd, TrustDomain::FrontProxy].into_iter().any(|domain| {
            let path = inventory.cluster.layout.authority(domain).0;
            facts.is_some_and(|facts| file_has_ended(facts, &path, inventory))
        })
    })
}

fn file_has_ended(facts: &NodeFacts, path: &str, inventory: &Inventory) -> bool {
    let first = facts.file(path).and_then(|file| file.certificates.first());
    first.is_some_and(|certificate| has_ended(certificate, inventory))
}

/// Whether what a kubelet presents, or the shared certificate on its node, has ended.
fn node_has_ended(facts: &NodeFacts, inventory: &Inventory) -> bool {
    let mut files = match inventory.cluster.layout {
        Layout::AksEngine => ["ca.crt", "client.crt", "kubeletserver.crt"].map(certificate_file).to_vec(),
        Layout::Kubeadm => vec![layout::kubeadm::KUBELET.to_owned()],
    };
    files.push(inventory.cluster.layout.roots_file(OperatingSystem::Linux));
    files.push(kubelet_client_link());
    files.extend(layout::windows::CERTIFICATES.map(str::to_owned));
    // The Windows kubeconfig holds two.
    let held = files.iter().filter_map(|path| facts.file(path)).flat_map(|file| &file.certificates);
    held.into_iter().any(|certificate| has_ended(certificate, inventory))
}

/// Whether the control planes cannot do their work, or hold something that has ended.
fn control_planes_are_concerned(inventory: &Inventory) -> bool {
    let etcd_is_well =
        inventory.etcd.seen().is_some_and(|members| members.iter().all(|member| member.healthy));
    let described = inventory.description.certificates.values();
    let on_nodes = inventory.cluster.control_planes().any(|node| {
        inventory.nodes.get(&node.name).and_then(Observed::seen).is_some_and(|facts| {
            let known = facts
                .files
                .iter()
                .filter(|file| layout::is_certificate_path(&file.path) || file.path == kubelet_client_link());
            let kubeconfigs = inventory.cluster.layout.kubeconfig_paths(&inventory.cluster.admin_user);
            let inside = facts.files.iter().filter(|file| kubeconfigs.contains(&file.path));
            known.flat_map(|file| file.certificates.first()).any(|first| has_ended(first, inventory))
                || inside.flat_map(|file| &file.certificates).any(|held| has_ended(held, inventory))
        })
    });
    inventory.api.seen().is_none()
        || !etcd_is_well
        || on_nodes
        || described.into_iter().any(|certificate| has_ended(certificate, inventory))
}

/// Whether an agent can be brought back now. One that runs Windows asks the cluster for its certificate, so that the control
/// planes come first.
fn is_in_turn(node: &Node, control_planes: bool) -> bool {
    !control_planes || node.system == OperatingSystem::Linux
}

/// Agents that are left as they are for now.
fn kept_agents(inventory: &Inventory, control_planes: bool) -> Vec<Kept> {
    let kept = inventory.cluster.agents().filter_map(|node| {
        let why = match inventory.nodes.get(&node.name) {
            _ if !is_in_turn(node, control_planes) => {
                "it runs Windows, and asks the cluster for its certificate".to_owned()
            }
            Some(Observed::Seen(_)) => return None,
            Some(Observed::Unreadable(why)) => format!("it cannot be looked at: {why}"),
            None => "it was not asked".to_owned(),
        };
        Some(Kept {
            id: format!("node {}", node.name),
            why: format!("{why}; `kubecert recover` again brings it up to date once it can"),
        })
    });
    kept.collect()
}

/// A recovery that is being planned.
struct Recovery<'a> {
    scene: Scene<'a>,
    /// The CA's certificate that is in force at the end.
    root: Generation,
    /// Whether the control planes are brought back, or agents alone.
    control_planes: bool,
    /// Whether the front proxy's certificates are replaced.
    front_proxy: bool,
}

impl Recovery<'_> {
    fn authorities(&self, old: &CertificateFacts) -> Result<Vec<AuthorityOrder>, Refusal> {
        let mut orders = Vec::new();
        if self.root == NEW {
            orders.push(super::extend::order(old));
            for domain in self.other_domains() {
                let path = self.scene.layout.authority(domain).0;
                let there = self.scene.on_first_master(&path);
                let unknown = || RefusalReason::Layout(format!("no control plane has a readable {path}"));
                let there = there.ok_or_else(|| Refusal::from(unknown()))?;
                orders.push(AuthorityOrder { domain, ..super::extend::order(there) });
            }
        }
        if self.front_proxy {
            let all = self.scene.authorities(false).map_err(refused)?;
            orders.extend(all.into_iter().filter(|order| order.domain == TrustDomain::FrontProxy));
        }
        Ok(orders)
    }

    fn leaves(&self) -> Result<Vec<crate::plan::LeafOrder>, Refusal> {
        let mut orders = self.scene.leaves().map_err(refused)?;
        let of_agents: Vec<LeafId> = self
            .scene
            .agents
            .iter()
            .flat_map(|node| [layout::kubelet_server(&node.name), layout::kubelet_client(&node.name)])
            .collect();
        // What lives in Secrets is looked after once the API answers.
        orders.retain(|order| {
            !order.id.as_str().starts_with("secret/")
                && (self.control_planes || of_agents.contains(&order.id))
        });
        let authority = self.scene.inventory.current_ca().map(|ca| ca.fingerprint.clone());
        for order in &mut orders {
            if order.id == LeafId::from("apiserver") {
                order.key = KeyOrder::Same;
            }
            // The model does not know an agent's address, and the API cannot be asked: its present certificate may.
            if let LeafShape::KubeletServer(node, None) = &order.shape {
                let file = certificate_file("kubeletserver.crt");
                let present =
                    self.scene.facts(node).and_then(|facts| facts.file(&file)?.certificates.first());
                if let Some(present) =
                    present.filter(|leaf| leaf.signed_by.is_some() && leaf.signed_by == authority)
                {
                    order.shape = LeafShape::Like(present.pem.clone());
                }
            }
        }
        Ok(orders)
    }

    /// The domains beside the cluster's that are issued for by CAs whose keys are at hand.
    fn other_domains(&self) -> Vec<TrustDomain> {
        match self.scene.layout {
            Layout::AksEngine => Vec::new(),
            Layout::Kubeadm => vec![TrustDomain::Etcd, TrustDomain::FrontProxy],
        }
    }

    fn masters(&self) -> &[Master<'_>] {
        if self.control_planes { &self.scene.masters } else { &[] }
    }

    fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.masters().iter().map(|master| master.node).chain(self.scene.agents.iter().copied())
    }

    fn prepare(&self, numbers: &mut Numbers) -> Phase {
        let mut phase = PhaseBuilder::new(PhaseName::Prepare, numbers);
        for node in self.nodes() {
            let on = Target::Node(node.name.clone());
            let paths = self.scene.changed_files(node);
            let backup = phase.step(on.clone(), "back up", Action::BackUp { paths }, []);
            let units = self.scene.monitors(&node.name);
            if !units.is_empty() {
                phase.step(on, "pause monitors", Action::PauseUnits { units }, [backup]);
            }
        }
        phase.build()
    }

    /// What changes on a control plane.
    fn master_files(&self, master: &Master<'_>) -> Vec<FileWrite> {
        if self.scene.layout == Layout::Kubeadm {
            return self.kubeadm_files(master);
        }
        let mut files = master.hot_leaves(ChainForm::Bare);
        files.push(certificate(&"apiserver".into(), ChainForm::Bare, &certificate_file("apiserver")));
        files.extend(self.scene.kubelet_files(master.node, vec![cluster_ca(self.root)]));
        if let Some(mut file) = admin_kubeconfig(&self.scene, &master.node.name) {
            if let Content::Kubeconfig { roots, .. } = &mut file.content {
                *roots = vec![cluster_ca(self.root)];
            }
            files.push(file);
        }
        if self.front_proxy {
            files.push(front_proxy_roots(&self.scene, &[NEW]));
            files.extend(front_proxy_pair(&self.scene, master.node));
        }
        files
    }

    /// The same in kubeadm's layout, where each control plane has leaves of its own.
    fn kubeadm_files(&self, master: &Master<'_>) -> Vec<FileWrite> {
        let (scene, node) = (&self.scene, master.node);
        let mut files = scene.kubelet_files(node, vec![cluster_ca(self.root)]);
        if self.root == NEW {
            for domain in self.other_domains() {
                let path = scene.layout.authority(domain).0;
                files.push(FileWrite { path, content: Content::one(Part::Ca(domain, NEW)), access: None });
            }
        }
        files.extend(master.hot_leaves(ChainForm::Bare));
        for pair in [scene.layout.api_server(node), scene.layout.front_proxy(node)] {
            files.extend(of_pair(&pair, ChainForm::Bare));
        }
        for own in scene.kubeconfigs(node) {
            let mut file = scene.new_kubeconfig(own);
            if let Content::Kubeconfig { roots, .. } = &mut file.content {
                *roots = vec![cluster_ca(self.root)];
            }
            files.push(file);
        }
        files
    }

    /// What changes on an agent. Where the control planes are well, the shared certificate is the one in force.
    fn agent_files(&self, node: &Node) -> Vec<FileWrite> {
        let roots = vec![cluster_ca(self.root)];
        let mut files = self.scene.kubelet_files(node, roots);
        if !self.control_planes {
            let shared = LeafId::from("client");
            let [key, leaf] = ["client.key", "client.crt"].map(certificate_file);
            for file in &mut files {
                if file.path == key {
                    file.content = Content::one(Part::LeafKey(shared.clone(), OLD));
                } else if file.path == leaf {
                    file.content = Content::one(Part::Leaf(shared.clone(), OLD));
                } else if let Content::Kubeconfig { chain, key, .. } = &mut file.content {
                    *chain = vec![Part::Leaf(shared.clone(), OLD)];
                    *key = Part::LeafKey(shared.clone(), OLD);
                }
            }
        }
        files
    }

    fn switch(&self, intent: &Intent, numbers: &mut Numbers) -> Phase {
        let mut phase = PhaseBuilder::new(PhaseName::Switch, numbers);
        let before = if self.control_planes { self.switch_control_planes(&mut phase) } else { Vec::new() };
        agents(&self.scene.agents, intent, &mut phase, &before, |phase, node, after| {
            let on = Target::Node(node.name.clone());
            let action = Action::Write { files: self.agent_files(node) };
            let written = phase.step(on, "write new files", action, after.iter().copied());
            let restarted = self.restart_kubelet(phase, node, [written]);
            Some(self.kubelet_is_ready(phase, node, restarted))
        });
        for master in self.masters() {
            phase.barrier(master.etcd_presents(ChainForm::Bare));
            phase.barrier([master.ready(), master.apiserver_presents(ChainForm::Bare)]);
            phase.barrier([self.started(master, Component::ApiServer)]);
        }
        for node in self.nodes() {
            phase.barrier(kubelet_presents(&self.scene, node));
            phase.barrier([Predicate::NodeReady { node: node.name.clone() }]);
        }
        phase.barrier([Predicate::EtcdHealthy]);
        phase.build()
    }

    /// Brings the control planes back, and gives the steps after which the API can be relied on.
    fn switch_control_planes(&self, phase: &mut PhaseBuilder<'_>) -> Vec<StepId> {
        let credentials = Action::UseCredentials {
            roots: self.scene.our_roots(&[self.root]),
            identity: NEW,
            form: ChainForm::Bare,
        };
        let title = "use the new client certificate from here on";
        let credentials = phase.step(Target::Operator, title, credentials, []);
        let written = self.each(phase, &[credentials], |phase, master, after| {
            let action = Action::Write { files: self.master_files(master) };
            phase.step(master.target(), "write new files", action, after.iter().copied())
        });
        // Where etcd is a static pod, it is the kubelet's to start, and a kubelet whose certificate has ended may have
        // ended itself.
        let static_etcd = self.scene.layout.etcd_unit().is_none();
        let mut ready = written;
        if static_etcd {
            ready = self.each(phase, &ready, |phase, master, after| {
                self.restart_kubelet(phase, master.node, after.iter().copied())
            });
        }
        // A member that starts waits for a quorum, so the first ones come up only when the others start, too.
        let restarted = self.each(phase, &ready, |phase, master, after| {
            let component = Component::Etcd;
            let action = match self.scene.layout.etcd_unit() {
                Some(unit) => Action::RestartUnit { unit: unit.to_owned(), component },
                None => Action::EndProcess { component },
            };
            phase.step(master.target(), "restart etcd", action, after.iter().copied())
        });
        let mut predicates: Vec<Predicate> =
            self.masters().iter().flat_map(|master| master.etcd_presents(ChainForm::Bare)).collect();
        predicates.push(Predicate::EtcdHealthy);
        let title = "wait until etcd has a quorum again";
        let mut etcd = phase.step(Target::Etcd, title, Action::Await { predicates }, restarted);
        if self.front_proxy {
            let title = "share the front proxy's new certificates";
            etcd = phase.step(Target::Etcd, title, Action::ShareFrontProxy, [etcd]);
        }
        let kubelets = if static_etcd {
            vec![etcd]
        } else {
            self.each(phase, &[etcd], |phase, master, after| {
                self.restart_kubelet(phase, master.node, after.iter().copied())
            })
        };
        let ended = self.each(phase, &kubelets, |phase, master, after| {
            end(phase, master, Component::ApiServer, after.iter().copied())
        });
        let served = self.each(phase, &ended, |phase, master, after| {
            let predicates = vec![
                master.ready(),
                master.apiserver_presents(ChainForm::Bare),
                self.started(master, Component::ApiServer),
            ];
            let action = Action::Await { predicates };
            phase.step(master.target(), "wait until it serves again", action, after.iter().copied())
        });
        let mut others = self.each(phase, &served, |phase, master, after| {
            end(phase, master, Component::ControllerManager, after.iter().copied())
        });
        others.extend(self.each(phase, &served, |phase, master, after| {
            end(phase, master, Component::Scheduler, after.iter().copied())
        }));
        let released = release_lease(phase, others);
        let place = self.scene.layout;
        let mut files =
            vec![manifest_file(Component::ControllerManager), place.roots_file(OperatingSystem::Linux)];
        if place == Layout::Kubeadm {
            files.push(format!("{}/controller-manager.conf", layout::kubeadm::DIRECTORY));
        }
        let mut predicates = vec![Predicate::ControllerManagerLeads { files }];
        if self.root == NEW {
            predicates.extend(published_predicates(&[NEW]));
        }
        let title = "wait until a controller manager leads";
        let leads = phase.step(Target::Api, title, Action::Await { predicates }, [released]);
        self.each(phase, &[leads], |phase, master, after| {
            self.kubelet_is_ready_after(phase, master.node, after)
        })
    }

    /// The same step on every control plane, at the same time.
    fn each(
        &self,
        phase: &mut PhaseBuilder<'_>,
        after: &[StepId],
        act: impl Fn(&mut PhaseBuilder<'_>, &Master<'_>, &[StepId]) -> StepId,
    ) -> Vec<StepId> {
        self.masters().iter().map(|master| act(phase, master, after)).collect()
    }

    fn started(&self, master: &Master<'_>, component: Component) -> Predicate {
        let place = self.scene.layout;
        let files = vec![place.etcd_ca(), place.kubelet_client(master.node).certificate()];
        started_after(master, component, files)
    }

    fn restart_kubelet(
        &self,
        phase: &mut PhaseBuilder<'_>,
        node: &Node,
        after: impl IntoIterator<Item = StepId>,
    ) -> StepId {
        if node.system == OperatingSystem::Windows {
            return windows::restart(phase, node, self.scene.forgotten(node), after);
        }
        let action = Action::RestartUnit {
            unit: layout::kubelet_unit(node.system).to_owned(),
            component: Component::Kubelet,
        };
        phase.step(Target::Node(node.name.clone()), "restart kubelet", action, after)
    }

    fn kubelet_is_ready(&self, phase: &mut PhaseBuilder<'_>, node: &Node, after: StepId) -> StepId {
        self.kubelet_is_ready_after(phase, node, &[after])
    }

    fn kubelet_is_ready_after(&self, phase: &mut PhaseBuilder<'_>, node: &Node, after: &[StepId]) -> StepId {
        let mut predicates = vec![
            Predicate::StartedAfter {
                node: node.name.clone(),
                component: Component::Kubelet,
                files: self.scene.kubelet_start_files(node),
            },
            Predicate::NodeReady { node: node.name.clone() },
        ];
        predicates.extend(kubelet_presents(&self.scene, node));
        let action = Action::Await { predicates };
        let on = Target::Node(node.name.clone());
        phase.step(on, "wait until the node is Ready", action, after.iter().copied())
    }

    fn finish(&self, numbers: &mut Numbers) -> Phase {
        let mut phase = PhaseBuilder::new(PhaseName::Finish, numbers);
        if self.front_proxy || (self.root == NEW && self.scene.layout == Layout::Kubeadm) {
            forget_old_clients(&self.scene, &mut phase, self.root);
        }
        for node in self.nodes() {
            clean_up(&self.scene, &mut phase, node);
        }
        if self.control_planes {
            let title = match self.scene.layout {
                Layout::AksEngine => "write apimodel.json and kubeconfigs",
                Layout::Kubeadm => "write the operator's kubeconfig",
            };
            phase.step(Target::Operator, title, Action::WriteOperatorFiles, []);
        }
        phase.barrier(self.masters().iter().map(Master::ready));
        phase.barrier([Predicate::EtcdHealthy]);
        phase.build()
    }

    /// What has ended and is nothing that the layout knows: whoever put it there renews it.
    fn kept(&self) -> Vec<Kept> {
        let mut kept = Vec::new();
        for node in self.nodes() {
            let (Some(facts), written) = (self.scene.facts(&node.name), self.written(node)) else { continue };
            for file in facts.files.iter().filter(|file| layout::is_certificate_path(&file.path)) {
                let ended = file.certificates.first().filter(|first| has_ended(first, self.scene.inventory));
                if let (Some(ended), false) = (ended, written.contains(&file.path)) {
                    kept.push(Kept {
                        id: format!("{} on {}", file.path, node.name),
                        why: format!(
                            "no certificate that this node presents by its layout, so it is left as it is; ended on {}",
                            ended.not_after.strftime("%F")
                        ),
                    });
                }
            }
        }
        kept
    }

    fn written(&self, node: &Node) -> Vec<String> {
        let master = self.masters().iter().find(|master| master.node.name == node.name);
        let files = master.map_or_else(|| self.agent_files(node), |master| self.master_files(master));
        files.into_iter().map(|file| file.path).collect()
    }

    fn notices(&self, inventory: &Inventory) -> Vec<String> {
        let mut notices = Vec::new();
        if !self.control_planes {
            let names: Vec<&str> = self.scene.agents.iter().map(|node| node.name.as_str()).collect();
            notices.push(format!("The control planes are well; only {} is touched.", names.join(", ")));
            return notices;
        }
        notices.push(
            "The cluster is brought back over SSH; its API does not answer until its servers have been restarted, all at once. There is no way back to what was before.".to_owned(),
        );
        if self.scene.layout.tokens_hang_on_tls_key() {
            notices.push(
                "The API server's certificate is renewed for the key that it has, since that key also signs service-account tokens: they stay what they were.".to_owned(),
            );
        }
        if self.root == NEW {
            notices.push(
                "The CA has ended and gets another certificate for its key. Pods, kube-proxy among them, trust the ended one until they are restarted: `kubecert rotate` afterwards replaces the CA and restarts them all.".to_owned(),
            );
        }
        if inventory.api.seen().is_none() {
            notices.push(
                "Which agents there are could not be asked of the API; those that the cluster's description does not name are found when it answers, by `kubecert recover` again.".to_owned(),
            );
        }
        notices
    }
}
