//! Leaves only, issued anew by the CA in force.
//!
//! What is not due stays. Nobody's trust changes, and holders of the CA accept old and new leaves alike, so every order
//! is safe; what has to be seen to is that whoever presents a leaf comes to present the new one. Most read it again by
//! themselves; the rest is restarted, and nothing else:
//!
//! | reads at its start only | until |
//! |--|--|
//! | kubelet: its own client certificate, put there by hand | ever |
//! | kubelet: its serving certificate, if it asks the cluster for it | ever |
//! | kubelet: its serving certificate, otherwise | Kubernetes 1.30 |
//! | API server: its certificate towards kubelets | Kubernetes 1.24 |
//! | kubeadm's controller manager and scheduler: the certificates within their kubeconfigs | ever |
//!
//! New leaves have new keys, but for the API server's in AKS engine's layout: its key also signs service-account tokens
//! there, and with another key every token would be void. The first control plane shows that its new leaves are good before the
//! others get theirs. Backups stay until all is seen, so that the run can be undone until it finishes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::builder::{Numbers, PhaseBuilder};
use super::bundled::agents;
use super::common::{Master, Scene, certificate, cluster_ca, of_pair, pair, tls_secret_leaf};
use super::cross_signed::{clean_up, end, started_after};
use super::kubelet::kubelet_presents;
use super::{Naming, Refusal, RefusalReason, preflight, refused, told, windows};
use crate::intent::{Intent, Limits, Signer, Strategy};
use crate::inventory::{CertificateFacts, Inventory, Observed, Server, WorkloadRef};
use crate::layout::{self, Pair, certificate_file, kubelet_client_link};
use crate::material::{ChainForm, Content, Part};
use crate::model::{Component, Generation, Layout, LeafId, Node, NodeName, OperatingSystem, TrustDomain};
use crate::plan::{
    Action, FileWrite, Kept, KeyOrder, LeafOrder, Phase, PhaseName, Plan, Predicate, StepId, Target,
};

const OLD: Generation = Generation::Old;
const NEW: Generation = Generation::New;

/// From this minor version on kubelets re-read their serving certificate (ReloadKubeletServerCertificateFile).
const KUBELET_SERVING_IS_READ_AGAIN_SINCE: u16 = 31;
/// From this minor version on API servers re-read their certificate towards kubelets; before, connections go on with
/// the pair of the first one (kubernetes/kubernetes#114588).
const KUBELET_CLIENT_IS_READ_AGAIN_SINCE: u16 = 25;

/// The plan that renews what is due; the empty plan where nothing is.
pub(super) fn plan(inventory: &Inventory, intent: &Intent, naming: &Naming) -> Result<Plan, Refusal> {
    let unreadable: Vec<RefusalReason> = inventory
        .nodes
        .iter()
        .filter_map(|(name, node)| match node {
            Observed::Seen(_) => None,
            Observed::Unreadable(why) => Some(RefusalReason::NodeUnreadable(name.clone(), why.clone())),
        })
        .collect();
    if !unreadable.is_empty() {
        return Err(Refusal { reasons: unreadable });
    }
    let scene = Scene::new(inventory, intent.scope, naming).map_err(refused)?;
    let look = Look { scene: &scene, now: naming.now, limits: &intent.limits };
    let found = look.sort()?;
    let mut plan = super::frame(inventory, intent, Strategy::SameCa);
    plan.kept = found.kept;
    plan.notices = found.notices;
    if found.due.is_empty() {
        return Ok(plan);
    }
    let names: Vec<String> = found.due.keys().map(ToString::to_string).collect();
    let ca = scene.old_ca().map_err(refused)?;
    if !inventory.description.ca_key && intent.signer == Signer::Ours {
        return Err(RefusalReason::RenewWithoutKey(names).into());
    }
    let mut authorities = vec![ca];
    authorities.extend([TrustDomain::Etcd, TrustDomain::FrontProxy].into_iter().filter_map(|domain| {
        let due = found.due.values().any(|order| order.domain == domain);
        due.then(|| scene.on_first_master(&scene.layout.authority(domain).0)).flatten()
    }));
    for ca in authorities {
        // One that outlives what it issues now does not stand in the way, however early that counts as due.
        let outlives = ca.not_after.as_second() - naming.now.as_second() > found.longest_s;
        if look.is_due(ca) && !outlives {
            let when = ca.not_after.strftime("%F").to_string();
            let days = intent.limits.renew_within_days.unwrap_or(Limits::RENEW_WITHIN_DAYS);
            return Err(RefusalReason::CaEndsFirst(when, days).into());
        }
    }
    preflight::check(inventory, naming)?;
    if scene.layout == Layout::Kubeadm {
        super::kubeadm::controllers_start(inventory)?;
    }
    let due = Due { scene: &scene, orders: &found.due };
    let mut numbers = Numbers::default();
    plan.phases = vec![due.prepare(&mut numbers), due.switch(intent, &mut numbers), due.finish(&mut numbers)];
    plan.notices.extend(due.notices());
    let longer = match scene.layout {
        Layout::AksEngine => "; --why extend-ca gives that a longer life",
        Layout::Kubeadm => "",
    };
    let until = ca.not_after.strftime("%F");
    plan.notices.push(format!("What is renewed ends no later than the CA, on {until}{longer}."));
    plan.leaves = found.due.into_values().collect();
    Ok(plan)
}

/// Tells what is due from what is not.
struct Look<'a> {
    scene: &'a Scene<'a>,
    now: Timestamp,
    limits: &'a Limits,
}

/// What was found.
#[derive(Default)]
struct Found {
    due: BTreeMap<LeafId, LeafOrder>,
    /// The longest lifetime among those that are due, in seconds; their successors last as long.
    longest_s: i64,
    kept: Vec<Kept>,
    notices: Vec<String>,
}

impl Look<'_> {
    fn is_due(&self, facts: &CertificateFacts) -> bool {
        self.limits.is_due(facts.not_before, facts.not_after, self.now)
    }

    fn sort(&self) -> Result<Found, Refusal> {
        let mut found = Found::default();
        let mut front_proxy_due = None;
        for mut order in self.scene.leaves().map_err(refused)? {
            let holders = self.holders(&order.id);
            let Some(first) = holders.iter().map(|(_, facts)| *facts).min_by_key(|facts| facts.not_after)
            else {
                continue;
            };
            let lifetime_s = first.not_after.as_second() - first.not_before.as_second();
            let (due, first) = (self.is_due(first), first.not_after);
            let aks_engine = self.scene.layout == Layout::AksEngine;
            if order.domain == TrustDomain::FrontProxy && due && aks_engine {
                front_proxy_due = Some(first);
            } else if due {
                if order.id == LeafId::from("apiserver") && aks_engine {
                    order.key = KeyOrder::Same;
                }
                found.longest_s = found.longest_s.max(lifetime_s);
                found.due.insert(order.id.clone(), order);
                continue;
            }
            let why = match front_proxy_due.filter(|_| order.domain == TrustDomain::FrontProxy) {
                None => format!("valid until {}", first.strftime("%F")),
                Some(_) => {
                    format!("ends on {}, and nobody has its CA's key to renew it with", first.strftime("%F"))
                }
            };
            found.kept.extend(holders.into_iter().map(|(id, _)| Kept { id, why: why.clone() }));
        }
        if let Some(ends) = front_proxy_due {
            let reason = RefusalReason::FrontProxyDue(ends.strftime("%F").to_string());
            if found.due.is_empty() {
                return Err(reason.into());
            }
            found.notices.push(format!("Not renewed: {reason}."));
        }
        self.strangers(&mut found);
        Ok(found)
    }

    /// Where a leaf is, and what is there.
    fn holders(&self, id: &LeafId) -> Vec<(String, &CertificateFacts)> {
        let at = |node: &NodeName, path: &str| {
            let facts = self.scene.facts(node)?.file(path)?.certificates.first()?;
            Some((format!("{path} on {node}"), facts))
        };
        if let Some(described) = self.scene.inventory.description.certificates.get(id) {
            let path = certificate_file(&format!("{id}.crt"));
            let copies = self.scene.nodes().filter_map(|node| at(&node.name, &path));
            // One that was put there by hand may end before the one of the description.
            let first = copies.map(|(_, facts)| facts).chain([described]).min_by_key(|facts| facts.not_after);
            return vec![(format!("certificate {id}"), first.unwrap_or(described))];
        }
        if let Some((node, path)) = self.own_place(id) {
            // The CA that a kubeconfig trusts comes first.
            let there = self.scene.facts(&node.name).and_then(|facts| facts.file(&path)?.certificates.last());
            return there.map(|facts| (format!("{path} on {}", node.name), facts)).into_iter().collect();
        }
        if *id == layout::front_proxy() {
            let path = certificate_file("proxy.crt");
            return self.scene.masters.iter().filter_map(|master| at(&master.node.name, &path)).collect();
        }
        for node in self.scene.nodes() {
            if *id == layout::kubelet_server(&node.name) {
                let by_layout = self.scene.layout.kubelet_serving(node).map(|pair| pair.certificate());
                let path = by_layout.unwrap_or_else(layout::kubelet_server_link);
                return at(&node.name, &path).into_iter().collect();
            }
            if *id == layout::kubelet_client(&node.name) {
                return at(&node.name, &kubelet_client_link()).into_iter().collect();
            }
        }
        let secrets = self.scene.tls_secrets().filter(|secret| tls_secret_leaf(secret) == *id);
        secrets
            .filter_map(|secret| Some((format!("TLS Secret {}", secret.object), secret.chain.first()?)))
            .collect()
    }

    /// The node and the file of a leaf that a control plane has of its own.
    fn own_place(&self, id: &LeafId) -> Option<(&Node, String)> {
        if self.scene.layout == Layout::AksEngine {
            return None;
        }
        self.scene.masters.iter().find_map(|master| {
            let pair = own_pairs(self.scene, master.node).into_iter().find(|pair| pair.leaf == *id);
            let own = || self.scene.kubeconfigs(master.node).into_iter().find(|own| own.leaf == *id);
            let path = pair.map(|pair| pair.certificate()).or_else(|| own().map(|own| own.path))?;
            Some((master.node, path))
        })
    }

    /// Leaves that the layout does not know: whoever put them there renews them.
    fn strangers(&self, found: &mut Found) {
        let known: BTreeSet<String> = ["kubeletserver", "proxy"]
            .map(ToOwned::to_owned)
            .into_iter()
            .chain(self.scene.inventory.description.certificates.keys().map(ToString::to_string))
            .map(|base| certificate_file(&format!("{base}.crt")))
            .collect();
        for node in self.scene.nodes() {
            let Some(facts) = self.scene.facts(&node.name) else { continue };
            found.kept.extend(told::own_serving(self.scene, node));
            let own = facts.file(layout::windows::KUBELET_CLIENT).and_then(|file| file.certificates.first());
            found.kept.extend(own.map(|own| Kept {
                id: format!("{} on {}", layout::windows::KUBELET_CLIENT, node.name),
                why: format!(
                    "the kubelet asks for another one by itself; valid until {}",
                    own.not_after.strftime("%F")
                ),
            }));
            for file in facts.files.iter().filter(|file| file.path.starts_with(layout::CERTIFICATES)) {
                let Some(leaf) = file.certificates.first() else { continue };
                if !leaf.is_ca && !known.contains(&file.path) {
                    found.kept.push(Kept {
                        id: format!("{} on {}", file.path, node.name),
                        why: format!(
                            "no certificate of this layout, so it is left to whoever put it there; valid until {}",
                            leaf.not_after.strftime("%F")
                        ),
                    });
                }
            }
        }
    }
}

/// The leaves with files of their own that a control plane of kubeadm's has.
fn own_pairs(scene: &Scene<'_>, node: &Node) -> Vec<Pair> {
    let mut pairs = scene.layout.hot(node);
    pairs.extend([scene.layout.api_server(node), scene.layout.front_proxy(node)]);
    pairs
}

/// What is due, and where it goes.
struct Due<'a> {
    scene: &'a Scene<'a>,
    orders: &'a BTreeMap<LeafId, LeafOrder>,
}

impl Due<'_> {
    fn has(&self, leaf: &LeafId) -> bool {
        self.orders.contains_key(leaf)
    }

    fn is(&self, leaf: &str) -> bool {
        self.has(&LeafId::from(leaf))
    }

    fn version_lacks(&self, minor: u16) -> bool {
        !self.scene.inventory.cluster.version.at_least(minor)
    }

    /// What changes on a node, but for what its kubelet alone reads.
    fn shared_files(&self, node: &Node) -> Vec<FileWrite> {
        if self.scene.layout == Layout::Kubeadm {
            return self.own_files(node);
        }
        let mut leaves = vec![LeafId::from("client")];
        let master = self.scene.masters.iter().any(|master| master.node.name == node.name);
        if master {
            leaves.extend(["etcdserver".into(), layout::etcd_peer(node.index), "etcdclient".into()]);
        }
        if node.system == OperatingSystem::Windows {
            return self
                .is("client")
                .then(|| windows::kubeconfig(vec![cluster_ca(OLD)], NEW))
                .into_iter()
                .collect();
        }
        let mut files: Vec<FileWrite> = leaves
            .iter()
            .filter(|leaf| self.has(leaf))
            .flat_map(|leaf| pair(leaf, ChainForm::Bare, &certificate_file(leaf.as_str())))
            .collect();
        if master && self.is("apiserver") {
            files.push(certificate(&"apiserver".into(), ChainForm::Bare, &certificate_file("apiserver")));
        }
        if master && self.is("kubectlClient") {
            files.extend(self.admin_kubeconfig(&node.name));
        }
        files
    }

    /// The same in kubeadm's layout, where each control plane has leaves of its own.
    fn own_files(&self, node: &Node) -> Vec<FileWrite> {
        if !self.scene.masters.iter().any(|master| master.node.name == node.name) {
            return Vec::new();
        }
        let pairs = own_pairs(self.scene, node).into_iter().filter(|pair| self.has(&pair.leaf));
        let mut files: Vec<FileWrite> = pairs.flat_map(|pair| of_pair(&pair, ChainForm::Bare)).collect();
        for own in self.scene.kubeconfigs(node).into_iter().filter(|own| self.has(&own.leaf)) {
            let mut file = self.scene.new_kubeconfig(own);
            if let Content::Kubeconfig { roots, .. } = &mut file.content {
                *roots = vec![cluster_ca(OLD)];
            }
            files.push(file);
        }
        files
    }

    /// The kubeconfigs of a control plane that are due and that a component reads at its start only.
    fn readers(&self, node: &Node) -> Vec<(Component, String)> {
        if self.scene.layout == Layout::AksEngine {
            return Vec::new();
        }
        let due = self.scene.kubeconfigs(node).into_iter().filter(|own| self.has(&own.leaf));
        due.filter_map(|own| Some((own.reader?, own.path))).collect()
    }

    fn admin_kubeconfig(&self, node: &NodeName) -> Option<FileWrite> {
        let path = layout::admin_kubeconfig(&self.scene.inventory.cluster.admin_user);
        self.scene.facts(node)?.file(&path)?;
        let leaf = LeafId::from("kubectlClient");
        let content = Content::Kubeconfig {
            roots: vec![cluster_ca(OLD)],
            chain: vec![Part::Leaf(leaf.clone(), NEW)],
            key: Part::LeafKey(leaf, NEW),
        };
        Some(FileWrite { path, content, access: None })
    }

    /// What changes on a node and its kubelet alone reads.
    fn kubelet_files(&self, node: &Node) -> Vec<FileWrite> {
        let mut files = Vec::new();
        let serving = layout::kubelet_server(&node.name);
        if self.has(&serving) && node.system == OperatingSystem::Windows {
            files.extend(windows::serving(&node.name));
        } else if self.has(&serving) && self.scene.layout == Layout::Kubeadm {
            files.extend(self.scene.kubelet_server_files(node));
        } else if self.has(&serving) {
            files.extend(pair(&serving, ChainForm::Bare, &certificate_file("kubeletserver")));
        }
        if self.has(&layout::kubelet_client(&node.name)) {
            files.extend(self.scene.kubelet_client_files(node));
        }
        files
    }

    fn files(&self, node: &Node) -> Vec<FileWrite> {
        let mut files = self.shared_files(node);
        files.extend(self.kubelet_files(node));
        files
    }

    /// The new files that a kubelet reads at its start only; none where it need not be restarted.
    fn kubelet_start_files(&self, node: &Node) -> Vec<String> {
        let mut files = Vec::new();
        let on_windows = node.system == OperatingSystem::Windows;
        let reads_once = on_windows || self.version_lacks(KUBELET_SERVING_IS_READ_AGAIN_SINCE);
        if self.has(&layout::kubelet_server(&node.name)) {
            match self.scene.layout.kubelet_serving(node) {
                Some(pair) if reads_once => files.push(pair.certificate()),
                Some(_) => {}
                None => files.push(self.scene.kubelet_server_file()),
            }
        }
        if on_windows && self.is("client") {
            files.push(layout::windows::KUBECONFIG.to_owned());
        }
        if self.has(&layout::kubelet_client(&node.name)) {
            files.push(self.scene.kubelet_client_file());
        }
        if self.is("client") && !on_windows && !self.scene.has_kubelet_client(&node.name) {
            files.push(certificate_file("client.crt"));
        }
        files
    }

    fn api_servers_restart(&self) -> bool {
        let due = |master: &Master<'_>| self.has(&self.scene.layout.kubelet_client(master.node).leaf);
        self.scene.masters.iter().any(due) && self.version_lacks(KUBELET_CLIENT_IS_READ_AGAIN_SINCE)
    }

    fn prepare(&self, numbers: &mut Numbers) -> Phase {
        let mut phase = PhaseBuilder::new(PhaseName::Prepare, numbers);
        for node in self.scene.nodes() {
            let paths: Vec<String> = self.files(node).into_iter().map(|file| file.path).collect();
            if paths.is_empty() {
                continue;
            }
            let on = Target::Node(node.name.clone());
            let backup = phase.step(on.clone(), "back up", Action::BackUp { paths }, []);
            let units = self.scene.monitors(&node.name);
            let master = self.scene.masters.iter().any(|master| master.node.name == node.name);
            if master && !units.is_empty() {
                phase.step(on, "pause monitors", Action::PauseUnits { units }, [backup]);
            }
        }
        phase.barrier([Predicate::EtcdHealthy]);
        phase.barrier(self.scene.masters.iter().map(Master::ready));
        phase.build()
    }

    fn switch(&self, intent: &Intent, numbers: &mut Numbers) -> Phase {
        let mut phase = PhaseBuilder::new(PhaseName::Switch, numbers);
        let mut before: Vec<StepId> = Vec::new();
        if self.is("kubectlClient") || self.is("etcdclient") {
            let roots = self.scene.our_roots(&[OLD]);
            let action = Action::UseCredentials { roots, identity: NEW, form: ChainForm::Bare };
            before =
                vec![phase.step(Target::Operator, "use the new client certificate from here on", action, [])];
        }
        let first = self.scene.masters.len().min(1);
        let (canary, others) = self.scene.masters.split_at(first);
        for masters in [canary, others] {
            let done: Vec<StepId> =
                masters.iter().filter_map(|master| self.write_shared(&mut phase, master, &before)).collect();
            if !done.is_empty() {
                before = done;
            }
        }
        for master in &self.scene.masters {
            if self.api_servers_restart() {
                let gate = vec![Predicate::EtcdHealthy, master.ready(), self.restarted(master)];
                let inner =
                    |phase: &mut PhaseBuilder<'_>, begin| end(phase, master, Component::ApiServer, [begin]);
                before = vec![self.scene.visit(&mut phase, master, before, inner, gate)];
            }
        }
        // One after the other, so that there is always one to lead.
        for master in &self.scene.masters {
            for (component, _) in self.readers(master.node) {
                before = vec![end(&mut phase, master, component, before)];
            }
        }
        for master in &self.scene.masters {
            let done = self.kubelet(&mut phase, master.node, &before, self.kubelet_files(master.node));
            before = done.map_or(before, |done| vec![done]);
        }
        let concerned: Vec<&Node> =
            self.scene.agents.iter().copied().filter(|node| !self.files(node).is_empty()).collect();
        agents(&concerned, intent, &mut phase, &before, |phase, node, after| {
            self.kubelet(phase, node, after, self.files(node))
        });
        self.secrets(&mut phase, &before);
        self.barrier(&mut phase);
        phase.build()
    }

    fn write_shared(
        &self,
        phase: &mut PhaseBuilder<'_>,
        master: &Master<'_>,
        after: &[StepId],
    ) -> Option<StepId> {
        let files = self.shared_files(master.node);
        if files.is_empty() {
            return None;
        }
        let action = Action::Write { files };
        let written = phase.step(master.target(), "present new certificates", action, after.iter().copied());
        let mut predicates = self.presented(master);
        predicates.extend([Predicate::EtcdHealthy, master.ready()]);
        let action = Action::Await { predicates };
        Some(phase.step(master.target(), "wait until it presents them", action, [written]))
    }

    /// What servers on a control plane must present.
    fn presented(&self, master: &Master<'_>) -> Vec<Predicate> {
        let name = || master.node.name.clone();
        let (place, node) = (self.scene.layout, master.node);
        let servers = [
            (Server::ApiServer(name()), place.api_server(node).leaf),
            (Server::EtcdClient(name()), place.etcd_server(node).leaf),
            (Server::EtcdPeer(name()), place.etcd_peer(node).leaf),
        ];
        let due = servers.into_iter().filter(|(_, leaf)| self.has(leaf));
        due.map(|(server, leaf)| Predicate::Presents { server, leaf, generation: NEW, form: ChainForm::Bare })
            .collect()
    }

    fn restarted(&self, master: &Master<'_>) -> Predicate {
        let client = self.scene.layout.kubelet_client(master.node);
        started_after(master, Component::ApiServer, vec![client.certificate()])
    }

    /// Puts files in place that a kubelet reads, and restarts it if it must be; `None` if nothing changes.
    fn kubelet(
        &self,
        phase: &mut PhaseBuilder<'_>,
        node: &Node,
        after: &[StepId],
        files: Vec<FileWrite>,
    ) -> Option<StepId> {
        let on = || Target::Node(node.name.clone());
        let mut last = None;
        let mut after: Vec<StepId> = after.to_vec();
        if !files.is_empty() {
            let action = Action::Write { files };
            after = vec![phase.step(on(), "write new files", action, after)];
            last = after.last().copied();
        }
        if !self.kubelet_start_files(node).is_empty() {
            let component = Component::Kubelet;
            let unit = layout::kubelet_unit(node.system).to_owned();
            let action = Action::RestartUnit { unit, component };
            after = vec![phase.step(on(), "restart kubelet", action, after)];
            last = after.last().copied();
        }
        let predicates = self.kubelet_shows(node);
        if last.is_some() && !predicates.is_empty() {
            let action = Action::Await { predicates };
            last = Some(phase.step(on(), "wait until the node is Ready", action, after));
        }
        last
    }

    /// What shows that a kubelet has its new files.
    fn kubelet_shows(&self, node: &Node) -> Vec<Predicate> {
        let mut predicates = Vec::new();
        let name = || node.name.clone();
        if self.has(&layout::kubelet_server(&node.name)) {
            predicates.extend(kubelet_presents(self.scene, node));
        }
        let files = self.kubelet_start_files(node);
        if !files.is_empty() {
            predicates.push(Predicate::StartedAfter { node: name(), component: Component::Kubelet, files });
        }
        if !predicates.is_empty() {
            predicates.push(Predicate::NodeReady { node: name() });
        }
        predicates
    }

    /// Serving certificates in TLS Secrets, and the pods that may have read them at their start.
    fn secrets(&self, phase: &mut PhaseBuilder<'_>, after: &[StepId]) {
        let mut written = Vec::new();
        let mut workloads: BTreeSet<&WorkloadRef> = BTreeSet::new();
        for secret in self.scene.tls_secrets().filter(|secret| self.has(&tls_secret_leaf(secret))) {
            let leaf = tls_secret_leaf(secret);
            let action =
                Action::WriteTlsSecret { secret: secret.object.clone(), leaf, form: ChainForm::Bare };
            let title = format!("renew the certificate in Secret {}", secret.object);
            written.push(phase.step(Target::Api, title, action, after.iter().copied()));
            workloads.extend(&secret.mounted_by);
        }
        for workload in workloads {
            let action = Action::Roll { workload: workload.clone() };
            phase.step(Target::Api, format!("restart {workload}"), action, written.iter().copied());
        }
    }

    fn barrier(&self, phase: &mut PhaseBuilder<'_>) {
        for master in &self.scene.masters {
            phase.barrier([master.ready()]);
            phase.barrier(self.presented(master));
            if self.api_servers_restart() {
                phase.barrier([self.restarted(master)]);
            }
            for (component, path) in self.readers(master.node) {
                phase.barrier([started_after(master, component, vec![path])]);
            }
        }
        for node in self.scene.nodes() {
            phase.barrier(self.kubelet_shows(node));
        }
        phase.barrier([Predicate::EtcdHealthy, Predicate::AggregatedApisAvailable]);
    }

    fn finish(&self, numbers: &mut Numbers) -> Phase {
        let mut phase = PhaseBuilder::new(PhaseName::Finish, numbers);
        for node in self.scene.nodes().filter(|node| !self.files(node).is_empty()) {
            clean_up(self.scene, &mut phase, node);
        }
        let title = match self.scene.layout {
            Layout::AksEngine => "write apimodel.json and kubeconfigs",
            Layout::Kubeadm => "write the operator's kubeconfig",
        };
        phase.step(Target::Operator, title, Action::WriteOperatorFiles, []);
        phase.barrier(self.scene.masters.iter().map(Master::ready));
        phase.barrier([Predicate::EtcdHealthy]);
        phase.build()
    }

    fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        if self.is("apiserver") {
            notices.push("The API server's certificate is renewed for the key that it has, since that key also signs service-account tokens: every token stays valid.".to_owned());
        }
        if self.is("client") {
            notices.push("kube-controller-manager, kube-scheduler and kube-proxy read their client certificate again within five minutes and are not restarted; the old one is accepted until it ends.".to_owned());
        }
        if self.is("kubectlClient") {
            notices.push("Kubeconfigs that were handed out keep the old certificate, which is accepted until it ends; hand out new ones before.".to_owned());
        }
        if self.api_servers_restart() && self.scene.masters.len() == 1 {
            notices.push("The cluster has one control plane: its API will be away for as long as kube-apiserver takes to start.".to_owned());
        }
        notices
    }
}
