//! The controller manager: who leads, what the leader publishes and signs; and what API servers publish themselves.

use std::time::Duration;

use kubecert_core::model::{Component, NodeName};
use kubecert_pki::Certificate;

use crate::certs::BundleId;
use crate::objects::Extension;
use crate::process::Slot;
use crate::routing::Caller;
use crate::world::{Event, World};

/// How often a candidate looks at the lease, and the leader renews it (`RetryPeriod`, component-base defaults).
const RETRY: Duration = Duration::from_secs(2);
/// How long a lease lasts that is not renewed (`LeaseDuration`); it is not released on exit.
const LEASE: Duration = Duration::from_secs(15);
/// How long informers take to bring a change to whoever watches.
pub(crate) const INFORMER: Duration = Duration::from_millis(300);
/// The kubelet's sync of mounted ConfigMaps and Secrets: its sync period of 60 s and a cache that follows by watches.
const VOLUME_SYNC_MS: (u64, u64) = (30_000, 75_000);

impl World {
    /// A component of a control plane, as a client of the API.
    pub(crate) fn component_calls(&mut self, node: &NodeName, component: Component) -> Option<NodeName> {
        let roots = self.loaded(node, component, Slot::ServerCa);
        let certificate = self.loaded(node, component, Slot::Client);
        let server = self.api_for_node(node)?;
        let caller = Caller { roots, name: None, certificate: Some(certificate), token: None };
        self.call(&server, caller).ok().map(|()| server)
    }

    pub(crate) fn controller_manager_tick(&mut self, node: &NodeName, pid: u32) {
        let runs = self.process(node, Component::ControllerManager).is_some_and(|process| process.pid == pid);
        if !runs {
            return;
        }
        self.after(RETRY, Event::ControllerManager { node: node.clone(), pid });
        let Some(server) = self.component_calls(node, Component::ControllerManager) else { return };
        let identity = format!("{node}_{pid:08x}");
        let now = self.now;
        let clock_error = self.clock_error(node);
        let lease = &mut self.objects.lease;
        if lease.holder == identity {
            lease.renewed = now;
        } else if lease.holder.is_empty() || now >= lease.renewed + LEASE {
            lease.holder = identity;
            lease.acquired = now;
            lease.clock_error = clock_error;
            lease.renewed = now;
            // With --use-service-account-credentials each controller gets a token of its own, which the API server that
            // answers signs.
            let signer = self.token_signer(&server);
            if let Some(process) = self.process_mut(node, Component::ControllerManager) {
                process.controllers = signer;
            }
            self.dirt.plane();
        } else {
            return;
        }
        let token = self.process(node, Component::ControllerManager).and_then(|process| process.controllers);
        if token.is_some_and(|token| self.accepts_token(&server, token)) {
            self.publish(node);
        }
    }

    /// The key with which an API server signs tokens.
    pub(crate) fn token_signer(&self, server: &NodeName) -> Option<kubecert_pki::Fingerprint> {
        let process = self.process(server, Component::ApiServer)?;
        process.memory.get(&Slot::TokenSign)?.keys.first().copied()
    }

    /// What the leader's controllers keep up to date: `kube-root-ca.crt` and token Secrets, from its memory (T16, T18).
    fn publish(&mut self, leader: &NodeName) {
        let roots = self.loaded(leader, Component::ControllerManager, Slot::RootCa);
        let signer = self
            .process(leader, Component::ControllerManager)
            .and_then(|process| process.memory.get(&Slot::TokenSign)?.keys.first().copied());
        let mut changed = Vec::new();
        for (namespace, published) in &mut self.objects.roots {
            if *published != roots {
                *published = roots;
                changed.push(namespace.clone());
            }
        }
        for secret in self.objects.token_secrets.values_mut() {
            if secret.roots != roots || secret.signer.is_none() {
                secret.roots = roots;
                secret.signer = secret.signer.or(signer);
                self.dirt.plane();
            }
        }
        for namespace in changed {
            self.dirt.plane();
            self.mounts_change(&namespace);
        }
    }

    /// Pods of a namespace will see a changed ConfigMap or Secret.
    pub(crate) fn mounts_change(&mut self, namespace: &str) {
        let pods: Vec<u32> = self
            .objects
            .pods
            .iter()
            .filter(|(_, pod)| pod.namespace == namespace)
            .map(|(number, _)| *number)
            .collect();
        for pod in pods {
            let delay = self.chance.span_ms(VOLUME_SYNC_MS.0, VOLUME_SYNC_MS.1);
            self.after(delay, Event::Volumes { pod });
        }
    }

    /// Lets the leader act soon, as its watches would.
    pub(crate) fn wake_leader(&mut self) {
        let leader = self.masters().into_iter().find_map(|node| {
            let pid = self.process(&node, Component::ControllerManager)?.pid;
            (self.objects.lease.holder == format!("{node}_{pid:08x}")).then_some((node, pid))
        });
        if let Some((node, _)) = leader {
            let token =
                self.process(&node, Component::ControllerManager).and_then(|process| process.controllers);
            let server = self.component_calls(&node, Component::ControllerManager);
            if let (Some(token), Some(server)) = (token, server)
                && self.accepts_token(&server, token)
            {
                self.publish(&node);
            }
        }
    }

    /// Each API server joins its own CAs to those that are there; nobody takes one away (T23).
    pub(crate) fn extension_sync(&mut self, node: &NodeName) {
        if self.process(node, Component::ApiServer).is_none() {
            return;
        }
        if !self.api_ready(node) {
            self.after(Duration::from_secs(1), Event::Extension { node: node.clone() });
            return;
        }
        let client_ca = self.loaded(node, Component::ApiServer, Slot::ClientCa);
        let request_header_ca = self.loaded(node, Component::ApiServer, Slot::RequestHeaderCa);
        let before = self.objects.extension;
        let there =
            before.unwrap_or(Extension { client_ca: BundleId::EMPTY, request_header_ca: BundleId::EMPTY });
        let joined = Extension {
            client_ca: self.union(there.client_ca, client_ca),
            request_header_ca: self.union(there.request_header_ca, request_header_ca),
        };
        if before != Some(joined) {
            self.objects.extension = Some(joined);
            self.after(INFORMER, Event::Informers);
        }
    }

    /// The certificates of one bundle, then those of another that are not among them.
    pub(crate) fn union(&mut self, first: BundleId, second: BundleId) -> BundleId {
        let mut joined: Vec<Certificate> =
            self.store.certificates(first).iter().map(|found| Certificate::clone(found)).collect();
        for certificate in self.store.certificates(second) {
            if !joined.contains(certificate) {
                joined.push(Certificate::clone(certificate));
            }
        }
        self.store.bundle(joined)
    }

    /// Somebody has written it; all API servers see that, and add what they trust.
    pub(crate) fn rebuild_extension(
        &mut self,
        client_ca: Vec<Certificate>,
        request_header_ca: Vec<Certificate>,
    ) {
        if self.objects.extension.is_none() {
            return;
        }
        let (client_ca, request_header_ca) =
            (self.store.bundle(client_ca), self.store.bundle(request_header_ca));
        self.objects.extension = Some(Extension { client_ca, request_header_ca });
        self.after(INFORMER, Event::Informers);
        for node in self.masters() {
            let delay = self.chance.span_ms(300, 900);
            self.after(delay, Event::Extension { node });
        }
    }
}
