//! What plans have in common, whatever the layout.

use std::net::IpAddr;

use super::Naming;
use crate::intent::Scope;
use crate::inventory::{
    ApiFacts, CaBundleHolder, CaRef, CertificateFacts, Inventory, NodeFacts, ObjectRef, Observed, Server,
    TlsSecret, WorkloadKind, WorkloadRef,
};
use crate::layout::{self, Pair, certificate_file, manifest_file};
use crate::manifest::{flag_values, set_flag};
use crate::material::{ChainForm, Content, Part, chain};
use crate::model::{Component, Generation, Layout, LeafId, Node, NodeName, OperatingSystem, TrustDomain};
use crate::plan::{
    Access, Action, AuthorityOrder, FileWrite, KeyOrder, KeyPairOrder, LeafOrder, LeafShape, PlanError,
    Predicate, StepId, Target,
};

use super::builder::PhaseBuilder;

/// The flag of the CA by which an API server verifies kubelets.
pub(super) const KUBELET_CA_FLAG: &str = "kubelet-certificate-authority";

/// The old and the new CA of a domain.
pub(super) const fn ca(domain: TrustDomain, generation: Generation) -> CaRef {
    CaRef { domain, generation }
}

/// The cluster CA of a generation, as a part.
pub(super) const fn cluster_ca(generation: Generation) -> Part {
    Part::Ca(TrustDomain::Cluster, generation)
}

/// A control-plane node with what a visit to it needs.
pub(super) struct Master<'a> {
    pub(super) node: &'a Node,
    pub(super) address: IpAddr,
    /// The next control plane, to which new connections go meanwhile; `None` where there is only one.
    pub(super) neighbour: Option<(NodeName, IpAddr)>,
    pub(super) layout: Layout,
    apiserver: String,
    controller_manager: String,
}

/// The cluster as the planner sees it.
pub(super) struct Scene<'a> {
    pub(super) inventory: &'a Inventory,
    pub(super) layout: Layout,
    /// Whether the key that signs service-account tokens changes along with the cluster CA.
    pub(super) tokens_change: bool,
    /// Whether agents may hold leaves of a CA that was dropped before.
    pub(super) left_behind: bool,
    /// The form in which kubelets come to present serving certificates that they have asked the cluster for.
    pub(super) kubelets_present: ChainForm,
    pub(super) naming: &'a Naming,
    /// What the run is limited to.
    scope: Scope,
    /// In the order in which they are visited: the etcd leader last, so that leadership moves once.
    pub(super) masters: Vec<Master<'a>>,
    pub(super) agents: Vec<&'a Node>,
}

impl<'a> Scene<'a> {
    pub(super) fn new(inventory: &'a Inventory, scope: Scope, naming: &'a Naming) -> Result<Self, PlanError> {
        let mut nodes: Vec<&Node> = inventory.cluster.control_planes().collect();
        if nodes.is_empty() {
            return Err(PlanError::NoControlPlane);
        }
        let leads = |node: &Node| {
            inventory
                .etcd
                .seen()
                .is_some_and(|members| members.iter().any(|m| m.leader && m.name == node.name.as_str()))
        };
        nodes.sort_by_key(|node| (leads(node), node.index));
        let address =
            |node: &Node| node.address.ok_or_else(|| PlanError::AddressUnknown { node: node.name.clone() });
        let masters = nodes
            .iter()
            .enumerate()
            .map(|(position, node)| {
                let next = nodes[(position + 1) % nodes.len()];
                let neighbour =
                    if nodes.len() > 1 { Some((next.name.clone(), address(next)?)) } else { None };
                Ok(Master {
                    node,
                    address: address(node)?,
                    neighbour,
                    layout: inventory.cluster.layout,
                    apiserver: manifest(inventory, &node.name, Component::ApiServer)?,
                    controller_manager: manifest(inventory, &node.name, Component::ControllerManager)?,
                })
            })
            .collect::<Result<Vec<_>, PlanError>>()?;
        let layout = inventory.cluster.layout;
        let tokens_change = layout.tokens_hang_on_tls_key();
        let agents = inventory.cluster.agents().collect();
        Ok(Self {
            inventory,
            layout,
            tokens_change,
            left_behind: false,
            kubelets_present: ChainForm::Bare,
            naming,
            scope,
            masters,
            agents,
        })
    }

    /// All nodes, masters in the order of their visits first.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &'a Node> {
        self.masters.iter().map(|master| master.node).chain(self.agents.iter().copied())
    }

    /// Whether the operator has asked for the cluster CA by name.
    pub(super) fn is_cluster_alone(&self) -> bool {
        self.scope == Scope::ClusterCa
    }

    pub(super) fn facts(&self, node: &NodeName) -> Option<&'a NodeFacts> {
        self.inventory.nodes.get(node).and_then(Observed::seen)
    }

    /// The new CAs, of those domains that the run is for.
    pub(super) fn authorities(&self, cross_signed: bool) -> Result<Vec<AuthorityOrder>, PlanError> {
        let order = |domain, old: &CertificateFacts, cross_signed| AuthorityOrder {
            domain,
            common_name: next_common_name(&old.subject),
            like: old.pem.clone(),
            key: KeyOrder::New(old.key.clone()),
            cross_signed,
        };
        let mut orders = Vec::new();
        if self.scope.covers(TrustDomain::Cluster) {
            orders.push(order(TrustDomain::Cluster, self.old_ca()?, cross_signed));
        }
        if self.replaces_etcd_ca() {
            let there = self.on_first_master(&self.layout.etcd_ca());
            let unknown = || PlanError::TemplateUnknown { leaf: LeafId::from("etcd/ca") };
            orders.push(order(TrustDomain::Etcd, there.ok_or_else(unknown)?, cross_signed));
        }
        if let Some(front_proxy) = self.front_proxy_ca() {
            orders.push(order(TrustDomain::FrontProxy, front_proxy, false));
        }
        Ok(orders)
    }

    /// Whether etcd has a CA of its own that the run is for.
    fn replaces_etcd_ca(&self) -> bool {
        self.layout.etcd_domain() == TrustDomain::Etcd && self.scope.covers(TrustDomain::Etcd)
    }

    /// The key pair of service-account tokens, where a new one is to be made that no certificate is for.
    pub(super) fn key_pairs(&self) -> Vec<KeyPairOrder> {
        let own = self.tokens_change && !self.layout.tokens_hang_on_tls_key();
        // What kubeadm makes (`cmd/kubeadm/app/util/pkiutil`, NewPrivateKey with the cluster's encryptionAlgorithm).
        let algorithm =
            self.inventory.current_ca().map_or_else(|| "rsa-2048".to_owned(), |ca| ca.key.clone());
        own.then(|| KeyPairOrder { id: layout::service_account(), algorithm }).into_iter().collect()
    }

    /// The old and new CAs, by generation, that kubecert itself verifies servers by.
    pub(super) fn our_roots(&self, generations: &[Generation]) -> Vec<CaRef> {
        let mut domains = vec![TrustDomain::Cluster];
        domains.extend((self.layout.etcd_domain() == TrustDomain::Etcd).then_some(TrustDomain::Etcd));
        let of = |domain| generations.iter().map(move |generation| ca(domain, *generation));
        domains.into_iter().flat_map(of).collect()
    }

    /// A file in the transition directory.
    pub(super) fn staged(&self, name: &str, parts: Vec<Part>, access: Access) -> FileWrite {
        let path = self.layout.transition_file(name);
        FileWrite { path, content: Content::Parts(parts), access: Some(access) }
    }

    pub(super) fn on_first_master(&self, path: &str) -> Option<&'a CertificateFacts> {
        self.facts(&self.masters.first()?.node.name)?.file(path)?.certificates.first()
    }

    /// The CA in force.
    pub(super) fn old_ca(&self) -> Result<&'a CertificateFacts, PlanError> {
        self.inventory.current_ca().ok_or_else(|| PlanError::TemplateUnknown { leaf: LeafId::from("ca") })
    }

    /// The front proxy's CA, where the cluster has aggregation and the run is for it.
    pub(super) fn front_proxy_ca(&self) -> Option<&'a CertificateFacts> {
        self.present_front_proxy_ca().filter(|_| self.scope.covers(TrustDomain::FrontProxy))
    }

    /// The front proxy's CA on the first control plane; `None` where the cluster has no aggregation.
    pub(super) fn present_front_proxy_ca(&self) -> Option<&'a CertificateFacts> {
        self.on_first_master(&self.layout.front_proxy_ca())
    }

    /// Every leaf that is replaced.
    pub(super) fn leaves(&self) -> Result<Vec<LeafOrder>, PlanError> {
        let mut orders = Vec::new();
        if self.scope.covers(TrustDomain::Cluster) {
            self.cluster_leaves(&mut orders)?;
        }
        if self.layout == Layout::Kubeadm {
            self.own_leaves(&mut orders)?;
        } else if let (Some(_), Some(master)) = (self.front_proxy_ca(), self.masters.first()) {
            orders.push(LeafOrder {
                id: layout::front_proxy(),
                domain: TrustDomain::FrontProxy,
                shape: LeafShape::FrontProxyClient,
                key: self.key_of(&master.node.name, &certificate_file("proxy.crt")),
            });
        }
        Ok(orders)
    }

    fn cluster_leaves(&self, orders: &mut Vec<LeafOrder>) -> Result<(), PlanError> {
        for (id, present) in &self.inventory.description.certificates {
            let domain = match id.as_str() {
                "ca" => continue,
                // Ours towards etcd.
                "etcdclient" => self.layout.etcd_domain(),
                _ => TrustDomain::Cluster,
            };
            orders.push(like(id.clone(), domain, present));
        }
        let described: &[&str] = match self.layout {
            Layout::AksEngine => &["apiserver", "client", "kubectlClient", "etcdserver", "etcdclient"],
            Layout::Kubeadm => &["kubectlClient", "etcdclient"],
        };
        for leaf in described.iter().copied() {
            if !orders.iter().any(|order| order.id.as_str() == leaf) {
                return Err(PlanError::TemplateUnknown { leaf: LeafId::from(leaf) });
            }
        }
        for node in self.nodes() {
            let name = &node.name;
            if let Some(serving) = self.layout.kubelet_serving(node) {
                orders.push(LeafOrder {
                    key: self.key_of(name, &serving.certificate()),
                    id: serving.leaf,
                    domain: TrustDomain::Cluster,
                    shape: LeafShape::KubeletServer(name.clone(), node.address),
                });
            }
            // A kubelet on Windows asks the cluster for its own.
            if self.has_kubelet_client(name) && node.system == OperatingSystem::Linux {
                orders.push(LeafOrder {
                    id: layout::kubelet_client(name),
                    domain: TrustDomain::Cluster,
                    shape: LeafShape::KubeletClient(name.clone()),
                    key: self.key_of(name, &layout::kubelet_client_link()),
                });
            }
            orders.extend(
                self.kubelet_server(name)
                    .map(|present| like(layout::kubelet_server(name), TrustDomain::Cluster, present)),
            );
        }
        for secret in self.tls_secrets() {
            if let Some(leaf) = secret.chain.first() {
                orders.push(like(tls_secret_leaf(secret), TrustDomain::Cluster, leaf));
            }
        }
        Ok(())
    }

    /// The leaves that each control plane has of its own, each like the one that is there.
    fn own_leaves(&self, orders: &mut Vec<LeafOrder>) -> Result<(), PlanError> {
        for master in &self.masters {
            let facts = self.facts(&master.node.name);
            let there = |path: &str| facts.and_then(|facts| facts.file(path));
            let mut pairs = self.layout.hot(master.node);
            pairs.push(self.layout.api_server(master.node));
            pairs.extend(self.front_proxy_ca().map(|_| self.layout.front_proxy(master.node)));
            for pair in pairs.into_iter().filter(|pair| self.scope.covers(pair.domain)) {
                let present = there(&pair.certificate()).and_then(|file| file.certificates.first());
                let unknown = || PlanError::TemplateUnknown { leaf: pair.leaf.clone() };
                orders.push(like(pair.leaf.clone(), pair.domain, present.ok_or_else(unknown)?));
            }
            for own in self.kubeconfigs(master.node) {
                // The CA that it trusts comes first.
                let client = there(&own.path).and_then(|file| file.certificates.last());
                let unknown = || PlanError::TemplateUnknown { leaf: own.leaf.clone() };
                orders.push(like(own.leaf.clone(), TrustDomain::Cluster, client.ok_or_else(unknown)?));
            }
        }
        Ok(())
    }

    /// The kubeconfigs of a control plane that are there and hold their credentials themselves.
    pub(super) fn kubeconfigs(&self, node: &Node) -> Vec<layout::Kubeconfig> {
        let all = self.layout.kubeconfigs(node, &self.inventory.cluster.admin_user);
        let there = |own: &layout::Kubeconfig| {
            self.facts(&node.name).is_some_and(|facts| facts.file(&own.path).is_some())
        };
        all.into_iter().filter(there).collect()
    }

    /// What comes into a kubeconfig: the new CA, the leaf of the new generation.
    pub(super) fn new_kubeconfig(&self, own: layout::Kubeconfig) -> FileWrite {
        let content = Content::Kubeconfig {
            roots: vec![cluster_ca(Generation::New)],
            chain: chain(&own.leaf, TrustDomain::Cluster, ChainForm::Bare),
            key: Part::LeafKey(own.leaf, Generation::New),
        };
        FileWrite { path: own.path, content, access: None }
    }

    /// The CA of a domain in force and, where the layout keeps it on this node, its key.
    pub(super) fn authority_files(&self, node: &Node, domain: TrustDomain) -> Vec<FileWrite> {
        let (certificate, key) = self.layout.authority(domain);
        let there = |path: &String| self.facts(&node.name).is_some_and(|facts| facts.file(path).is_some());
        let write = |path, part| FileWrite { path, content: Content::one(part), access: None };
        let mut files = vec![write(certificate, Part::Ca(domain, Generation::New))];
        files.extend(key.filter(there).map(|key| write(key, Part::CaKey(domain, Generation::New))));
        files
    }

    /// The key algorithm of a certificate file on a node; RSA 2048, as AKS engine's own scripts make them, if unknown.
    fn key_of(&self, node: &NodeName, path: &str) -> KeyOrder {
        let present = self.facts(node).and_then(|facts| facts.file(path));
        let present = present.and_then(|file| file.certificates.first());
        KeyOrder::New(present.map_or_else(|| "rsa-2048".to_owned(), |certificate| certificate.key.clone()))
    }

    /// TLS Secrets whose leaf the cluster CA really signed.
    pub(super) fn tls_secrets(&self) -> impl Iterator<Item = &'a TlsSecret> {
        let ca = self.inventory.current_ca().map(|ca| ca.fingerprint.clone());
        self.inventory.api.seen().into_iter().flat_map(|api| &api.tls_secrets).filter(move |secret| {
            secret.chain.first().is_some_and(|leaf| leaf.signed_by.is_some() && leaf.signed_by == ca)
        })
    }

    /// Objects whose `caBundle` holds the cluster CA.
    pub(super) fn ca_bundles(&self) -> impl Iterator<Item = &'a CaBundleHolder> {
        let ca = self.inventory.current_ca();
        // A CA that has ended may have got another certificate for its key since the bundle was written.
        let is_ours = move |root: &CertificateFacts| {
            ca.is_some_and(|ca| {
                let former = root.subject == root.issuer && root.signed_by.as_ref() == Some(&ca.fingerprint);
                root.fingerprint == ca.fingerprint || (root.is_ca && former)
            })
        };
        self.inventory
            .api
            .seen()
            .into_iter()
            .flat_map(|api| &api.ca_bundles)
            .filter(move |(_, roots)| roots.iter().any(is_ours))
            .map(|(holder, _)| holder)
    }

    /// The units that would fight the rotation and are active on that node.
    pub(super) fn monitors(&self, node: &NodeName) -> Vec<String> {
        self.facts(node)
            .map(|facts| {
                facts.active_units.iter().filter(|unit| layout::MONITORS.contains(&unit.as_str())).cloned()
            })
            .into_iter()
            .flatten()
            .collect()
    }

    /// Keys and certificates of other etcd members, which a rotation by `aks-engine` leaves on every control plane
    /// (it uploads all peers' files to all of them) and nothing reads.
    pub(super) fn foreign_peers(&self, node: &Node) -> Vec<String> {
        let own = certificate_file(layout::etcd_peer(node.index).as_str());
        let prefix = certificate_file("etcdpeer");
        let files = self.facts(&node.name).into_iter().flat_map(|facts| &facts.files);
        let paths = files.map(|file| file.path.clone()).filter(|path| path.starts_with(&prefix));
        paths
            .filter(|path| {
                let base = path.strip_suffix(".crt").or_else(|| path.strip_suffix(".key"));
                base.is_some_and(|base| base != own)
            })
            .collect()
    }

    /// Files of a node that a run changes.
    pub(super) fn changed_files(&self, node: &Node) -> Vec<String> {
        if node.system == OperatingSystem::Windows {
            let written = self.kubelet_files(node, Vec::new()).into_iter().map(|file| file.path);
            return written.chain(self.forgotten(node)).collect();
        }
        let layout = self.layout;
        let mut files = vec![layout.roots_file(node.system)];
        files.extend(layout.kubelet_kubeconfig().map(str::to_owned));
        let mut pairs: Vec<Pair> = layout.kubelet_serving(node).into_iter().collect();
        if layout == Layout::AksEngine {
            pairs.push(layout.kubelet_client(node));
        }
        if let Some(master) = self.masters.iter().find(|master| master.node.name == node.name) {
            pairs.extend(layout.hot(master.node));
            pairs.push(layout.api_server(master.node));
            for domain in [TrustDomain::Cluster, TrustDomain::Etcd, TrustDomain::FrontProxy] {
                if domain != TrustDomain::FrontProxy || self.front_proxy_ca().is_some() {
                    files.extend(self.authority_files(master.node, domain).into_iter().map(|file| file.path));
                }
            }
            pairs.extend(self.front_proxy_ca().map(|_| layout.front_proxy(master.node)));
            if !self.key_pairs().is_empty() {
                let base = layout::kubeadm::SERVICE_ACCOUNT;
                files.extend([format!("{base}.key"), format!("{base}.pub")]);
            }
            files.push(manifest_file(Component::ApiServer));
            files.push(manifest_file(Component::ControllerManager));
            let kubeconfigs = layout.kubeconfigs(master.node, &self.inventory.cluster.admin_user);
            files.extend(kubeconfigs.into_iter().map(|own| own.path));
        }
        files.extend(pairs.iter().flat_map(|pair| [pair.certificate(), pair.key()]));
        if self.has_kubelet_client(&node.name) {
            files.push(layout::kubelet_client_link());
            // Not there yet, and recorded as absent, so that going back removes it.
            files.push(self.kubelet_client_file());
        }
        if self.kubelet_server(&node.name).is_some() {
            files.extend([layout::kubelet_server_link(), self.kubelet_server_file()]);
        }
        let mut seen = std::collections::BTreeSet::new();
        files.retain(|path| seen.insert(path.clone()));
        files
    }

    /// The common part of every plan's first phase: backups, staged files, monitors at rest.
    ///
    /// `transition` gives the files that a control plane's processes read while two generations are about.
    pub(super) fn prepare(
        &self,
        phase: &mut PhaseBuilder<'_>,
        transition: impl Fn(&Master<'_>) -> Vec<FileWrite>,
    ) {
        for node in self.nodes() {
            let on = Target::Node(node.name.clone());
            let backup =
                phase.step(on.clone(), "back up", Action::BackUp { paths: self.changed_files(node) }, []);
            if let Some(master) = self.masters.iter().find(|master| master.node.name == node.name) {
                let files = transition(master);
                let staged = phase.step(on.clone(), "stage new files", Action::Write { files }, [backup]);
                let units = self.monitors(&node.name);
                if !units.is_empty() {
                    phase.step(on, "pause monitors", Action::PauseUnits { units }, [staged]);
                }
            }
        }
    }

    /// A visit to a control plane: new connections diverted, `inner` done, readiness awaited, diversion taken away.
    /// Returns the last step.
    pub(super) fn visit(
        &self,
        phase: &mut PhaseBuilder<'_>,
        master: &Master<'_>,
        after: impl IntoIterator<Item = StepId>,
        inner: impl FnOnce(&mut PhaseBuilder<'_>, StepId) -> StepId,
        gate: Vec<Predicate>,
    ) -> StepId {
        let on = || Target::Node(master.node.name.clone());
        let port = self.inventory.cluster.api_port;
        let begin = match &master.neighbour {
            Some((name, to)) => {
                let divert = Action::Divert { from: master.address, to: *to, port };
                phase.step(on(), format!("divert new connections to {name}"), divert, after)
            }
            None => phase.step(
                on(),
                "announce the outage of the only control plane",
                Action::Await { predicates: Vec::new() },
                after,
            ),
        };
        let changed = inner(phase, begin);
        let ready =
            phase.step(on(), "wait until it serves again", Action::Await { predicates: gate }, [changed]);
        phase.step(on(), "take the diversion away", Action::Undivert, [ready])
    }
}

impl Master<'_> {
    pub(super) fn target(&self) -> Target {
        Target::Node(self.node.name.clone())
    }

    /// The API server's manifest with some flags set; flags that it does not have are left out, since then the
    /// component's default applies and reads no file.
    pub(super) fn apiserver_manifest(&self, flags: &[(&str, &[String])]) -> Result<Content, PlanError> {
        edit(&self.apiserver, &self.node.name, Component::ApiServer, flags)
    }

    /// The controller manager's manifest with some flags set.
    pub(super) fn controller_manager_manifest(
        &self,
        flags: &[(&str, &[String])],
    ) -> Result<Content, PlanError> {
        edit(&self.controller_manager, &self.node.name, Component::ControllerManager, flags)
    }

    /// The leaves of etcd and of the API server's clients on this node, all read per handshake.
    pub(super) fn hot_leaves(&self, form: ChainForm) -> Vec<FileWrite> {
        self.layout.hot(self.node).iter().flat_map(|leaf| of_pair(leaf, form)).collect()
    }

    /// The certificates among them.
    pub(super) fn hot_certificates(&self, form: ChainForm) -> Vec<FileWrite> {
        self.layout.hot(self.node).iter().map(|leaf| certificate_of(leaf, form)).collect()
    }

    /// What etcd on this node must present.
    pub(super) fn etcd_presents(&self, form: ChainForm) -> [Predicate; 2] {
        self.etcd_shows(Generation::New, form)
    }

    /// What etcd on this node must present of a generation.
    pub(super) fn etcd_shows(&self, generation: Generation, form: ChainForm) -> [Predicate; 2] {
        let presents = |server, leaf| Predicate::Presents { server, leaf, generation, form };
        let node = || self.node.name.clone();
        [
            presents(Server::EtcdClient(node()), self.layout.etcd_server(self.node).leaf),
            presents(Server::EtcdPeer(node()), self.layout.etcd_peer(self.node).leaf),
        ]
    }

    /// Whether the API server on this node verifies kubelets.
    pub(super) fn verifies_kubelets(&self) -> bool {
        !flag_values(&self.apiserver, KUBELET_CA_FLAG).is_empty()
    }

    /// What the API server on this node must present.
    pub(super) fn apiserver_presents(&self, form: ChainForm) -> Predicate {
        self.apiserver_shows(Generation::New, form)
    }

    /// What the API server on this node must present of a generation.
    pub(super) fn apiserver_shows(&self, generation: Generation, form: ChainForm) -> Predicate {
        Predicate::Presents {
            server: Server::ApiServer(self.node.name.clone()),
            leaf: self.layout.api_server(self.node).leaf,
            generation,
            form,
        }
    }

    /// The CAs that etcd on this node must name.
    pub(super) fn etcd_advertises(&self, generations: &[Generation]) -> Predicate {
        let domain = self.layout.etcd_domain();
        Predicate::Advertises {
            server: Server::EtcdClient(self.node.name.clone()),
            cas: generations.iter().map(|generation| ca(domain, *generation)).collect(),
        }
    }

    /// Which client CAs the API server on this node must name.
    pub(super) fn apiserver_advertises(&self, cas: Vec<CaRef>) -> Predicate {
        Predicate::Advertises { server: Server::ApiServer(self.node.name.clone()), cas }
    }

    pub(super) fn ready(&self) -> Predicate {
        Predicate::ApiServerReady { node: self.node.name.clone() }
    }
}

/// Key and certificate of a leaf at `<base>.key` and `<base>.crt`, keeping mode and owner of what is there. The key comes
/// first: a server that reads both per handshake fails for the moment between the two writes either way, and the adapter
/// makes that moment short.
pub(super) fn pair(leaf: &LeafId, form: ChainForm, base: &str) -> [FileWrite; 2] {
    [
        FileWrite {
            path: format!("{base}.key"),
            content: Content::one(Part::LeafKey(leaf.clone(), Generation::New)),
            access: None,
        },
        certificate(leaf, form, base),
    ]
}

/// The certificate of a leaf of the cluster CA at `<base>.crt`.
pub(super) fn certificate(leaf: &LeafId, form: ChainForm, base: &str) -> FileWrite {
    certificate_of(&Pair { leaf: leaf.clone(), domain: TrustDomain::Cluster, base: base.to_owned() }, form)
}

/// Key and certificate of a leaf at its place, as [`pair`] does it.
pub(super) fn of_pair(pair: &Pair, form: ChainForm) -> [FileWrite; 2] {
    let key = Content::one(Part::LeafKey(pair.leaf.clone(), Generation::New));
    [FileWrite { path: pair.key(), content: key, access: None }, certificate_of(pair, form)]
}

/// The certificate of a leaf at its place.
pub(super) fn certificate_of(pair: &Pair, form: ChainForm) -> FileWrite {
    let content = Content::Parts(chain(&pair.leaf, pair.domain, form));
    FileWrite { path: pair.certificate(), content, access: None }
}

/// A leaf like the one that is there, with a new key.
fn like(id: LeafId, domain: TrustDomain, present: &CertificateFacts) -> LeafOrder {
    let shape = LeafShape::Like(present.pem.clone());
    LeafOrder { id, domain, shape, key: KeyOrder::New(present.key.clone()) }
}

/// New CAs with their keys that nobody reads there, but a run whose records were lost can be brought to an end with them.
pub(super) fn staged_authorities(scene: &Scene<'_>) -> Vec<FileWrite> {
    let mut files = Vec::new();
    let mut stage = |name: &str, domain| {
        files.extend([
            scene.staged(&format!("{name}.crt"), vec![Part::Ca(domain, Generation::New)], layout::public()),
            scene.staged(
                &format!("{name}.key"),
                vec![Part::CaKey(domain, Generation::New)],
                layout::private(),
            ),
        ]);
    };
    if scene.replaces_etcd_ca() {
        stage("etcd-ca", TrustDomain::Etcd);
    }
    if scene.front_proxy_ca().is_some() {
        stage("proxy-ca", TrustDomain::FrontProxy);
    }
    files
}

/// The front proxy's pair on a control plane.
pub(super) fn front_proxy_pair(scene: &Scene<'_>, node: &Node) -> [FileWrite; 2] {
    of_pair(&scene.layout.front_proxy(node), ChainForm::Bare)
}

/// The front proxy's CA file.
pub(super) fn front_proxy_roots(scene: &Scene<'_>, generations: &[Generation]) -> FileWrite {
    let parts = generations.iter().map(|generation| Part::Ca(TrustDomain::FrontProxy, *generation)).collect();
    FileWrite { path: scene.layout.front_proxy_ca(), content: Content::Parts(parts), access: None }
}

/// The name of the leaf that goes into a TLS Secret.
pub(super) fn tls_secret_leaf(secret: &TlsSecret) -> LeafId {
    LeafId::new(format!("secret/{}", secret.object))
}

/// What holds trust and tokens in the cluster until it is started anew.
pub(super) enum Running<'a> {
    Workload(&'a WorkloadRef),
    BarePod(&'a ObjectRef),
}

/// Makes a step for each workload and each bare pod, in an order in which pods that start find what they need.
pub(super) fn restart_in_order(
    api: &ApiFacts,
    after: &[StepId],
    mut step: impl FnMut(Running<'_>, &[StepId]) -> StepId,
) -> Vec<StepId> {
    let [network, names, others] = rollout_groups(&api.workloads);
    let mut steps = Vec::new();
    let mut before = after.to_vec();
    for group in [network, names].into_iter().filter(|group| !group.is_empty()) {
        before = group.into_iter().map(|workload| step(Running::Workload(workload), &before)).collect();
        steps.extend(&before);
    }
    steps.extend(others.into_iter().map(|workload| step(Running::Workload(workload), &before)));
    steps.extend(api.bare_pods.iter().map(|pod| step(Running::BarePod(pod), &before)));
    steps
}

/// Workloads in the order in which they are restarted: first what gives pods their network and routes to services, which
/// new pods wait for; then what answers their questions for names; then all others. Within a group they go together, each
/// by its own strategy.
fn rollout_groups(workloads: &[WorkloadRef]) -> [Vec<&WorkloadRef>; 3] {
    /// What cluster DNS and its cache on nodes are called by Kubernetes itself (`cluster/addons/dns`).
    const NAMES: [&str; 3] = ["coredns", "kube-dns", "node-local-dns"];
    let mut groups = [Vec::new(), Vec::new(), Vec::new()];
    for workload in workloads {
        let of_system = workload.namespace == "kube-system";
        let group = match workload.kind {
            _ if of_system && NAMES.contains(&workload.name.as_str()) => 1,
            WorkloadKind::DaemonSet if of_system => 0,
            _ => 2,
        };
        groups[group].push(workload);
    }
    groups
}

/// Another subject than the old CA's: `ca` becomes `ca-g2`, `ca-g2` becomes `ca-g3`.
fn next_common_name(subject: &str) -> String {
    let name = subject.split(',').find_map(|part| part.trim().strip_prefix("CN=")).unwrap_or("ca");
    match name.rsplit_once("-g").and_then(|(stem, number)| Some((stem, number.parse::<u32>().ok()?))) {
        Some((stem, number)) => format!("{stem}-g{}", number.saturating_add(1)),
        None => format!("{name}-g2"),
    }
}

fn manifest(inventory: &Inventory, node: &NodeName, component: Component) -> Result<String, PlanError> {
    let path = manifest_file(component);
    inventory
        .nodes
        .get(node)
        .and_then(Observed::seen)
        .and_then(|facts| facts.file(&path))
        .and_then(|file| file.text.clone())
        .ok_or_else(|| PlanError::ManifestUnreadable { node: node.clone(), path })
}

fn edit(
    manifest: &str,
    node: &NodeName,
    component: Component,
    flags: &[(&str, &[String])],
) -> Result<Content, PlanError> {
    let mut text = manifest.to_owned();
    for (flag, values) in flags {
        if flag_values(&text, flag).is_empty() {
            continue;
        }
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        text = set_flag(&text, flag, &values).map_err(|source| PlanError::Manifest {
            node: node.clone(),
            path: manifest_file(component),
            source,
        })?;
    }
    Ok(Content::Text(text))
}

#[cfg(test)]
mod tests {
    use super::{next_common_name, rollout_groups};
    use crate::inventory::{WorkloadKind, WorkloadRef};

    #[test]
    fn pods_have_network_and_names_before_the_others_restart() {
        let of = |kind, namespace: &str, name: &str| WorkloadRef {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let workloads = [
            of(WorkloadKind::Deployment, "shop", "coredns"),
            of(WorkloadKind::Deployment, "kube-system", "coredns"),
            of(WorkloadKind::DaemonSet, "kube-system", "azure-cni-networkmonitor"),
            of(WorkloadKind::DaemonSet, "kube-system", "node-local-dns"),
            of(WorkloadKind::StatefulSet, "kube-system", "registry"),
        ];
        let [network, names, others] = rollout_groups(&workloads);
        assert_eq!(network, [&workloads[2]]);
        assert_eq!(names, [&workloads[1], &workloads[3]]);
        assert_eq!(others, [&workloads[0], &workloads[4]]);
    }

    #[test]
    fn a_new_ca_never_has_the_name_of_the_old_one() {
        assert_eq!(next_common_name("CN=ca"), "ca-g2");
        assert_eq!(next_common_name("CN=ca-g2"), "ca-g3");
        assert_eq!(next_common_name("CN=kubernetes,O=lab"), "kubernetes-g2");
        assert_eq!(next_common_name("O=lab"), "ca-g2");
    }
}
