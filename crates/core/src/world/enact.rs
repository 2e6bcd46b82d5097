//! What an effect does to a world.

use std::sync::Arc;

use crate::material::{ChainForm, Content, Part};
use crate::model::{Component, Generation, NodeName, OperatingSystem};
use crate::plan::{Predicate, Step};

use super::effect::Effect;
use super::process::Health;
use super::source::{self, Kind, Slot};
use super::value::{Generations, Presented, Value, Values};
use super::{PodName, World, is_node_proxy, text_of};

/// Why an effect cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// What is waited for will never be seen.
    #[error("waits for something that nothing brings about: {0}")]
    Never(Predicate),
    /// Something does not exist.
    #[error("{0}")]
    Absent(String),
}

impl World {
    /// Does a whole step.
    ///
    /// # Errors
    ///
    /// Fails at the first effect that cannot be had.
    pub fn apply(&mut self, step: &Step) -> Result<(), Impossible> {
        for effect in World::effects(step).map_err(Impossible::Absent)? {
            self.enact(&effect)?;
        }
        Ok(())
    }

    /// Does one effect.
    ///
    /// # Errors
    ///
    /// Fails if it acts on something that is not there, or waits for something that will not be.
    pub fn enact(&mut self, effect: &Effect) -> Result<(), Impossible> {
        match effect {
            Effect::Write(_, path, _) if path.starts_with(crate::layout::MANIFESTS) => {
                return Err(Impossible::Absent(format!(
                    "{path} is written, but nobody sees its process end"
                )));
            }
            Effect::Write(node, path, content) => {
                let position = self.require(node)?;
                self.disks[position].put(path, content).ok_or_else(|| {
                    Impossible::Absent(format!("{path} on {node} was not there when the run began"))
                })?;
                self.changed(node, position, path);
            }
            Effect::Place(node, component, path, manifest) => {
                let position = self.require(node)?;
                self.disks[position].put(path, manifest).ok_or_else(|| {
                    Impossible::Absent(format!("{path} on {node} was not there when the run began"))
                })?;
                if let Some(process) = self.process_mut(node, *component) {
                    process.placed(path);
                }
            }
            Effect::Remove(node, path) => {
                let position = self.require(node)?;
                self.disks[position].remove(path);
                self.changed(node, position, path);
            }
            Effect::End(node, component) => {
                let position = self.require(node)?;
                let disk = self.disks[position].clone();
                let sources = self.sources_now(position, *component);
                let process = self
                    .process_mut(node, *component)
                    .ok_or_else(|| Impossible::Absent(format!("no {component} is known on {node}")))?;
                process.end(&disk, sources);
                let token = self.controller_signers();
                if let Some(process) = self.process_mut(node, *component)
                    && process.possible(Slot::Token).is_some()
                {
                    process.set(Slot::Token, token);
                }
                self.kubelet_restarts_proxy(node, position, *component);
            }
            Effect::Afresh(node, component, forget) => self.start_afresh(node, *component, forget)?,
            Effect::Start(node, component) => {
                if let Some(process) = self.process_mut(node, *component) {
                    process.health = Health::Unproven;
                }
            }
            Effect::Divert(node) => {
                self.diverted.insert(node.clone());
            }
            Effect::Undivert(node) => {
                self.diverted.remove(node);
            }
            Effect::Pause(node, units) => {
                self.paused.extend(units.iter().map(|unit| (node.clone(), unit.clone())));
            }
            Effect::Resume(node, units) => {
                self.paused.retain(|(on, unit)| on != node || !units.contains(unit));
            }
            Effect::Credentials(roots, of_etcd, presented) => {
                self.ours = (*roots, *presented);
                self.ours_of_etcd = *of_etcd;
                self.touched.elsewhere = true;
            }
            Effect::See(predicate) => {
                if !self.observe(predicate) {
                    return Err(Impossible::Never(predicate.clone()));
                }
            }
            Effect::Nothing => {}
            in_api => self.enact_in_api(in_api)?,
        }
        self.settle();
        Ok(())
    }

    fn enact_in_api(&mut self, effect: &Effect) -> Result<(), Impossible> {
        self.touched.elsewhere = true;
        match effect {
            Effect::TlsSecret(secret, _, form) => {
                let server = self
                    .pod_servers
                    .iter_mut()
                    .find(|server| server.secret.as_ref() == secret)
                    .ok_or_else(|| Impossible::Absent(format!("no TLS Secret {secret} is known")))?;
                server.stored = Presented::new(crate::model::Generation::New, *form);
                server.presented.join(Values::one(Value::Presents(server.stored)));
            }
            Effect::OldTlsSecret(secret) => {
                let server = self
                    .pod_servers
                    .iter_mut()
                    .find(|server| server.secret.as_ref() == secret)
                    .ok_or_else(|| Impossible::Absent(format!("no TLS Secret {secret} is known")))?;
                server.stored = Presented::Old;
                server.presented.join(Values::one(Value::Presents(Presented::Old)));
            }
            Effect::OldToken(secret) => {
                let holder = self
                    .token_secrets
                    .iter_mut()
                    .find(|holder| holder.object.as_ref() == secret)
                    .ok_or_else(|| Impossible::Absent(format!("no token Secret {secret} is known")))?;
                holder.token = Values::one(source::signed_with(crate::model::Generation::Old));
            }
            Effect::CaBundle(holder, roots) => {
                let found = self
                    .ca_bundles
                    .iter_mut()
                    .find(|(of, _)| of.as_ref() == holder)
                    .ok_or_else(|| Impossible::Absent(format!("no {holder} is known")))?;
                // The API server takes it from the object, without a file or a cache in between.
                found.1 = *roots;
            }
            Effect::Roll(workload) if is_node_proxy(self.layout, workload) => {
                let places = Arc::clone(&self.places);
                for at in places.of(Component::KubeProxy) {
                    if let Some(node) = self.position(&self.processes[*at].who.node)
                        && self.nodes[node].system == OperatingSystem::Linux
                    {
                        let disk = self.disks[node].clone();
                        let process = self.touch(*at);
                        process.end(&disk, None);
                        process.health = Health::Serving;
                    }
                }
            }
            Effect::Roll(workload) => {
                self.start_pod(&PodName::Of(workload.clone()))?;
                for server in &mut self.pod_servers {
                    if server.mounted_by.contains(workload) {
                        server.presented = Values::one(Value::Presents(server.stored));
                    }
                }
            }
            Effect::Recreate(pod) => self.start_pod(&PodName::Bare(pod.clone()))?,
            Effect::RenewToken(secret) => {
                // Whichever controller manager leads signs it.
                let token = self.anywhere(Component::ControllerManager, Slot::TokenSigner);
                let holder = self
                    .token_secrets
                    .iter_mut()
                    .find(|holder| holder.object.as_ref() == secret)
                    .ok_or_else(|| Impossible::Absent(format!("no token Secret {secret} is known")))?;
                holder.token = token;
            }
            Effect::RebuildExtension => {
                // Each API server adds what it has loaded; an addition is certain only if each value of one has it.
                self.extension = self
                    .each(Component::ApiServer)
                    .filter_map(|process| process.possible(Slot::RequestHeaderCa))
                    .fold(Generations::NONE, |sum, values| sum.union(values.surely()));
            }
            _ => {}
        }
        Ok(())
    }

    /// A kubelet that asks for its client certificate gets one of whoever issues at that moment; while more than one may,
    /// the old one is what must be reckoned with.
    fn start_afresh(
        &mut self,
        node: &NodeName,
        component: Component,
        forget: &[String],
    ) -> Result<(), Impossible> {
        let position = self.require(node)?;
        for path in forget {
            self.disks[position].remove(path);
            self.changed(node, position, path);
        }
        self.enact(&Effect::End(node.clone(), component))?;
        let issuing = self.anywhere(Component::ControllerManager, Slot::Issuer);
        let surely_new = issuing != Values::default() && issuing.perhaps() == Generations::NEW;
        let generation = if surely_new { Generation::New } else { Generation::Old };
        let leaf = crate::layout::kubelet_client(&self.nodes[position].name);
        let content =
            Content::Parts(vec![Part::Leaf(leaf.clone(), generation), Part::LeafKey(leaf, generation)]);
        for path in forget {
            self.disks[position].put(path, &content);
            self.changed(node, position, path);
        }
        let presented = Value::Presents(Presented::new(generation, ChainForm::Bare));
        if let Some(process) = self.process_mut(node, component) {
            process.has_asked(Slot::ApiClient, presented, forget);
        }
        Ok(())
    }

    /// On Windows kubeletstart.ps1 restarts kube-proxy's service whenever the kubelet's starts.
    fn kubelet_restarts_proxy(&mut self, node: &NodeName, position: usize, component: Component) {
        if component != Component::Kubelet || self.nodes[position].system != OperatingSystem::Windows {
            return;
        }
        let disk = self.disks[position].clone();
        if let Some(proxy) = self.process_mut(node, Component::KubeProxy) {
            proxy.end(&disk, None);
            proxy.health = Health::Serving;
        }
    }

    /// A new pod takes what is published now, and a token that is signed now.
    fn start_pod(&mut self, name: &PodName) -> Result<(), Impossible> {
        let (roots, token) = (self.roots_for_pods(), self.token_signers());
        let pod = self
            .pods
            .iter_mut()
            .find(|pod| pod.name.as_ref() == name)
            .ok_or_else(|| Impossible::Absent(format!("{name} is not known")))?;
        pod.roots = roots;
        pod.token = token;
        Ok(())
    }

    fn roots_for_pods(&self) -> Values {
        if self.legacy_pods { self.published.union(self.secret_roots) } else { self.published }
    }

    fn require(&self, node: &NodeName) -> Result<usize, Impossible> {
        self.position(node).ok_or_else(|| Impossible::Absent(format!("no node {node} is known")))
    }

    /// A file changed: processes of that node may come to hold it.
    fn changed(&mut self, node: &NodeName, position: usize, path: &str) {
        let disk = self.disks[position].clone();
        for at in self.places.on(node) {
            self.touch(at).notice(&disk, path);
        }
    }

    /// Where a static pod that starts now reads what from.
    fn sources_now(&self, position: usize, component: Component) -> Option<Vec<source::Source>> {
        let (disk, kind) = (&self.disks[position], Kind::Component(component));
        let text = text_of(self.layout, disk, kind)?;
        let node = &self.nodes[position];
        let habits = source::Habits {
            layout: self.layout,
            version: self.version,
            admin_kubeconfig: &self.admin_kubeconfig,
        };
        Some(source::sources(kind, node, habits, disk, text))
    }

    /// What follows by itself, sooner or later: controllers publish, pods restart, tokens are refreshed.
    fn settle(&mut self) {
        let publishing = self.anywhere(Component::ControllerManager, Slot::PublishedCa);
        let mut grew = self.published.join(publishing);
        grew |= self.secret_roots.join(publishing);
        let (roots, token) = (self.roots_for_pods(), self.token_signers());
        for pod in &mut self.pods {
            grew |= pod.roots.join(roots);
            grew |= pod.token.join(token);
        }
        let token = self.controller_signers();
        let places = Arc::clone(&self.places);
        for at in places.token_holders() {
            self.touch(*at).may_also_be(Slot::Token, token);
        }
        for server in &mut self.pod_servers {
            grew |= server.presented.join(Values::one(Value::Presents(server.stored)));
        }
        self.touched.elsewhere |= grew;
    }
}
