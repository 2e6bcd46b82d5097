//! Workloads: pods that call the API every second and count what fails, and their rollouts.

use std::time::Duration;

use jiff::Timestamp;
use kubecert_core::inventory::{ObjectRef, WorkloadKind, WorkloadRef};
use kubecert_core::layout::certificate_file;
use kubecert_core::model::{Component, NodeName};
use kubecert_engine::ports::Rollout;
use kubecert_pki::{Fingerprint, Usage};

use crate::certs::{BundleId, Material};
use crate::lifecycle::next_poll;
use crate::process::Slot;
use crate::routing::{CallError, Caller};
use crate::world::{Event, World};

/// How often a pod calls.
const CALL_PERIOD: Duration = Duration::from_secs(1);
/// How many pods call within [`CALL_PERIOD`] at most; where there are more, each calls less often.
const CALLS_A_PERIOD: usize = 60;
/// From a pod's creation until it is Ready, its image being there.
const POD_START: Duration = Duration::from_millis(1800);
/// From a pod's deletion to the creation of its successor, where one must go before the other comes.
const POD_END: Duration = Duration::from_millis(600);
/// How long the controllers take to act on a changed workload.
const CONTROLLER_DELAY: Duration = Duration::from_millis(400);
/// How long until a pod that cannot be created is tried again.
const CREATE_AGAIN: Duration = Duration::from_secs(1);
/// client-go's poll of a client certificate in files.
const CLIENT_POLL: Duration = Duration::from_secs(300);

/// What a pod does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// Calls the API with its service account's token.
    Caller,
    /// kube-proxy: calls the API with the node's kubeconfig and client certificate.
    Proxy,
    /// An aggregated API server.
    Aggregated,
}

/// A place that a pod has in a workload, or a bare pod's.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// `None` for a bare pod.
    pub(crate) workload: Option<WorkloadRef>,
    pub(crate) node: NodeName,
    pub(crate) job: Job,
    /// The seat of the same workload whose turn it is after this one.
    pub(crate) next: Option<u32>,
    /// The pod in it, and the one that takes it over.
    pub(crate) pod: Option<u32>,
    pub(crate) coming: Option<u32>,
}

/// A pod.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) seat: u32,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) node: NodeName,
    pub(crate) job: Job,
    pub(crate) started: Duration,
    pub(crate) ready_at: Duration,
    /// The generation of its workload's template.
    pub(crate) generation: u64,
    /// The roots that it read at its start.
    pub(crate) cached: BundleId,
    /// The roots in the file that is mounted.
    pub(crate) mounted: BundleId,
    /// Whose key signed its token.
    pub(crate) token: Option<Fingerprint>,
    /// kube-proxy's client certificate.
    pub(crate) client: Option<BundleId>,
    /// An aggregated API server's serving certificate and the front-proxy CAs that it trusts.
    pub(crate) serving: BundleId,
    pub(crate) request_header_ca: BundleId,
}

/// What workloads have seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadLog {
    /// How many calls were made, by pods that read CA and token afresh and by pods that read the CA at their start.
    pub calls: u64,
    /// Those that failed.
    pub failures: Vec<FailedCall>,
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedCall {
    /// When, by the cluster's clock.
    pub at: Timestamp,
    /// Which pod.
    pub pod: String,
    /// `fresh` if the pod reads CA and token for each call, `cached` if it read the CA at its start.
    pub series: &'static str,
    /// Why.
    pub why: String,
}

impl FailedCall {
    /// Whether one side did not trust the other, rather than not reach it.
    pub fn is_trust(&self) -> bool {
        [CallError::ServerNotTrusted, CallError::Unauthorized].iter().any(|error| error.as_str() == self.why)
    }
}

impl World {
    pub(crate) fn add_seat(&mut self, seat: Seat) -> u32 {
        self.objects.last_number += 1;
        let number = self.objects.last_number;
        self.objects.seats.insert(number, seat);
        number
    }

    /// Creates a pod for a seat; `None` if the node or the API is not able to now.
    pub(crate) fn create_pod(&mut self, seat_number: u32) -> Option<u32> {
        let seat = self.objects.seats.get(&seat_number)?.clone();
        if !self.listens(&seat.node, Component::Kubelet) {
            return None;
        }
        let server = self.component_calls(&seat.node, Component::Kubelet)?;
        let token = self.token_signer(&server)?;
        let published = self.objects.roots.get(&seat.namespace).copied().unwrap_or(BundleId::EMPTY);
        let mounted = match seat.job {
            Job::Proxy => self.node_roots(&seat.node),
            Job::Caller | Job::Aggregated => published,
        };
        let serving = self.serving_secret(&seat).map_or(BundleId::EMPTY, |pair| pair.certificates);
        let request_header_ca =
            self.objects.extension.map_or(BundleId::EMPTY, |extension| extension.request_header_ca);
        let generation = seat
            .workload
            .as_ref()
            .and_then(|workload| self.objects.workloads.get(workload))
            .map_or(0, |w| w.generation);
        self.objects.last_number += 1;
        let number = self.objects.last_number;
        let pod = Pod {
            seat: seat_number,
            name: seat.name.clone(),
            namespace: seat.namespace.clone(),
            job: seat.job,
            started: self.now,
            ready_at: self.now + POD_START,
            generation,
            cached: mounted,
            mounted,
            token: (seat.job != Job::Proxy).then_some(token),
            client: (seat.job == Job::Proxy).then(|| self.node_client(&seat.node)),
            serving,
            request_header_ca,
            node: seat.node,
        };
        self.objects.pods.insert(number, pod);
        let jitter = self.chance.span_ms(0, 900);
        self.after(POD_START + jitter, Event::Call { pod: number });
        self.dirt.pod(number);
        Some(number)
    }

    fn node_roots(&mut self, node: &NodeName) -> BundleId {
        self.parse_file(node, &certificate_file("ca.crt"))
    }

    fn node_client(&mut self, node: &NodeName) -> BundleId {
        self.parse_file(node, &certificate_file("client.crt"))
    }

    fn parse_file(&mut self, node: &NodeName, path: &str) -> BundleId {
        let known = self.machines.get(node).and_then(|machine| machine.disk.known(path));
        known.map_or(BundleId::EMPTY, |(bytes, digest)| self.store.parse(bytes, digest).certificates)
    }

    /// The pair that an aggregated API server serves with.
    fn serving_secret(&self, seat: &Seat) -> Option<Material> {
        if seat.job != Job::Aggregated {
            return None;
        }
        let workload = seat.workload.as_ref()?;
        let secrets = self.objects.tls_secrets.values();
        secrets.filter(|secret| secret.mounted_by.contains(workload)).map(|secret| secret.pair.clone()).next()
    }

    /// A file changed that kube-proxy reads from its node.
    pub(crate) fn node_file_changed(&mut self, node: &NodeName, path: &str) {
        if path != certificate_file("client.crt") {
            return;
        }
        let pods: Vec<(u32, Duration)> = self
            .objects
            .pods
            .iter()
            .filter(|(_, pod)| pod.job == Job::Proxy && &pod.node == node)
            .map(|(number, pod)| (*number, pod.started))
            .collect();
        for (pod, started) in pods {
            self.at(next_poll(started, CLIENT_POLL, self.now), Event::PodClient { pod });
        }
    }

    pub(crate) fn reload_pod_client(&mut self, number: u32) {
        let Some(node) = self.objects.pods.get(&number).map(|pod| pod.node.clone()) else { return };
        let client = self.node_client(&node);
        if let Some(pod) = self.objects.pods.get_mut(&number) {
            pod.client = Some(client);
            self.dirt.pod(number);
        }
    }

    pub(crate) fn sync_volumes(&mut self, number: u32) {
        let Some(pod) = self.objects.pods.get(&number) else { return };
        if pod.job == Job::Proxy {
            return;
        }
        let published = self.objects.roots.get(&pod.namespace).copied();
        let serving = self.objects.seats.get(&pod.seat).and_then(|seat| self.serving_secret(seat));
        let Some(pod) = self.objects.pods.get_mut(&number) else { return };
        pod.mounted = published.unwrap_or(pod.mounted);
        if let Some(pair) = serving {
            pod.serving = pair.certificates;
        }
        self.dirt.pod(number);
    }

    /// Aggregated API servers see `extension-apiserver-authentication`.
    pub(crate) fn sync_informers(&mut self) {
        let Some(extension) = self.objects.extension else { return };
        for (number, pod) in self.objects.pods.iter_mut().filter(|(_, pod)| pod.job == Job::Aggregated) {
            pod.request_header_ca = extension.request_header_ca;
            self.dirt.pod(*number);
        }
        self.dirt.plane();
    }

    /// The machine was switched off: its pods start again when it is back.
    pub(crate) fn node_rebooted(&mut self, node: &NodeName, off: Duration) {
        let pods: Vec<u32> = self
            .objects
            .pods
            .iter()
            .filter(|(_, pod)| &pod.node == node)
            .map(|(number, _)| *number)
            .collect();
        for number in pods {
            if let Some(pod) = self.objects.pods.remove(&number)
                && let Some(seat) = self.objects.seats.get_mut(&pod.seat)
            {
                seat.coming = None;
                seat.pod = None;
                self.after(off + POD_START, Event::Replace { seat: pod.seat });
            }
        }
    }

    /// A pod's two calls: with the roots of its start and with those that are mounted now.
    pub(crate) fn pod_calls(&mut self, number: u32) {
        let Some(pod) = self.objects.pods.get(&number).cloned() else { return };
        let turns = self.objects.pods.len().div_ceil(CALLS_A_PERIOD).max(1);
        self.after(CALL_PERIOD * u32::try_from(turns).unwrap_or(1), Event::Call { pod: number });
        for (series, roots) in [("fresh", pod.mounted), ("cached", pod.cached)] {
            // kube-proxy never reads its roots again.
            if pod.job == Job::Proxy && series == "fresh" {
                continue;
            }
            self.log.calls += 1;
            let caller = Caller { roots, name: None, certificate: pod.client, token: pod.token };
            let server = match pod.job {
                Job::Proxy => self.api_for_node(&pod.node),
                Job::Caller | Job::Aggregated => self.through_service(&pod.node),
            };
            let outcome =
                server.ok_or(CallError::ConnectionRefused).and_then(|server| self.call(&server, caller));
            if let Err(error) = outcome {
                let at = self.moment();
                let failure = FailedCall {
                    at,
                    pod: format!("{}/{}", pod.namespace, pod.name),
                    series,
                    why: error.as_str().to_owned(),
                };
                self.log.failures.push(failure);
            }
        }
    }

    /// The Service `kubernetes`: any control plane, by chance.
    fn through_service(&mut self, from: &NodeName) -> Option<NodeName> {
        let masters = self.masters();
        let pick = usize::try_from(self.chance.next() % 64).unwrap_or_default() % masters.len().max(1);
        masters.get(pick).and_then(|node| self.reached(Some(from), node))
    }

    /// Starts a rollout, unless it was started with that stamp already.
    pub(crate) fn roll(&mut self, workload: &WorkloadRef, stamp: &str) {
        let Some(state) = self.objects.workloads.get_mut(workload) else { return };
        if state.stamp.as_deref() == Some(stamp) {
            return;
        }
        state.stamp = Some(stamp.to_owned());
        self.replace_all(workload);
    }

    /// Gives a workload's template the stamp that it had, which is a rollout, too, if it changes anything.
    pub(crate) fn set_stamp(&mut self, workload: &WorkloadRef, stamp: Option<String>) {
        let Some(state) = self.objects.workloads.get_mut(workload) else { return };
        if state.stamp != stamp {
            state.stamp = stamp;
            self.replace_all(workload);
        }
    }

    /// All pods of a workload are to be replaced, in its way.
    pub(crate) fn replace_all(&mut self, workload: &WorkloadRef) {
        let Some(state) = self.objects.workloads.get_mut(workload) else { return };
        state.generation += 1;
        for seat in state.first.clone() {
            self.after(CONTROLLER_DELAY, Event::Replace { seat });
        }
    }

    /// The pod of a seat is replaced by one of its workload's present template, if it is not yet.
    pub(crate) fn replace_pod(&mut self, number: u32) {
        let Some(seat) = self.objects.seats.get(&number).cloned() else { return };
        if seat.coming.is_some() {
            return;
        }
        let generation = seat
            .workload
            .as_ref()
            .and_then(|workload| self.objects.workloads.get(workload))
            .map_or(0, |w| w.generation);
        let current = seat.pod.and_then(|pod| self.objects.pods.get(&pod)).map(|pod| pod.generation);
        if current == Some(generation) && seat.workload.is_some() {
            if let Some(next) = seat.next {
                self.after(Duration::ZERO, Event::Replace { seat: next });
            }
            return;
        }
        let surges = seat.workload.as_ref().is_some_and(|workload| workload.kind == WorkloadKind::Deployment);
        if let Some(old) = seat.pod.filter(|_| !surges) {
            self.objects.pods.remove(&old);
            if let Some(seat) = self.objects.seats.get_mut(&number) {
                seat.pod = None;
            }
            self.dirt.plane();
            self.after(POD_END, Event::Replace { seat: number });
            return;
        }
        let created = self.create_pod(number);
        if let Some(seat) = self.objects.seats.get_mut(&number) {
            seat.coming = created;
        }
        match created {
            Some(pod) => self.after(POD_START, Event::Succeed { pod }),
            None => self.after(CREATE_AGAIN, Event::Replace { seat: number }),
        }
    }

    /// A pod is Ready: its predecessor goes, and the next seat's turn comes.
    pub(crate) fn succeed(&mut self, number: u32) {
        let Some(pod) = self.objects.pods.get(&number) else { return };
        let (seat_number, generation) = (pod.seat, pod.generation);
        let Some(seat) = self.objects.seats.get_mut(&seat_number).filter(|seat| seat.coming == Some(number))
        else {
            return;
        };
        let old = seat.pod.replace(number);
        seat.coming = None;
        let next = seat.next;
        let wanted = seat.workload.as_ref().and_then(|workload| self.objects.workloads.get(workload));
        // A rollout that began while it was coming has passed this seat over.
        let outdated = wanted.is_some_and(|workload| workload.generation != generation);
        if let Some(old) = old {
            self.objects.pods.remove(&old);
        }
        self.dirt.plane();
        let turn = if outdated { Some(seat_number) } else { next };
        if let Some(seat) = turn {
            self.after(CONTROLLER_DELAY, Event::Replace { seat });
        }
    }

    /// How far a rollout is.
    pub(crate) fn rollout(&self, workload: &WorkloadRef) -> Rollout {
        let Some(state) = self.objects.workloads.get(workload) else { return Rollout::Complete };
        let seats: Vec<&Seat> =
            self.objects.seats.values().filter(|seat| seat.workload.as_ref() == Some(workload)).collect();
        let current = |seat: &&&Seat| {
            let pod = seat.pod.and_then(|pod| self.objects.pods.get(&pod));
            seat.coming.is_none()
                && pod.is_some_and(|pod| pod.generation == state.generation && self.now >= pod.ready_at)
        };
        let done = seats.iter().filter(current).count();
        if done == seats.len() {
            Rollout::Complete
        } else {
            Rollout::Under(format!("{done} of {} pods updated", seats.len()))
        }
    }

    /// The seat of a bare pod.
    pub(crate) fn bare_seat(&self, pod: &ObjectRef) -> Option<u32> {
        let is_it =
            |seat: &Seat| seat.workload.is_none() && seat.namespace == pod.namespace && seat.name == pod.name;
        self.objects.seats.iter().find(|(_, seat)| is_it(seat)).map(|(number, _)| *number)
    }

    /// Whether the pod of a seat is Ready.
    pub(crate) fn seat_ready(&self, seat: u32) -> bool {
        let pod = self.objects.seats.get(&seat).and_then(|seat| seat.pod);
        pod.and_then(|pod| self.objects.pods.get(&pod)).is_some_and(|pod| self.now >= pod.ready_at)
    }

    /// Why an aggregated API is not Available, if it is not: every API server must reach one of its pods.
    pub(crate) fn aggregated_problem(&mut self) -> Option<String> {
        let now = self.moment();
        let bundle = self.objects.ca_bundles.iter().next().map(|(_, roots)| *roots)?;
        let pods: Vec<(BundleId, BundleId)> = self
            .objects
            .pods
            .values()
            .filter(|pod| pod.job == Job::Aggregated && self.now >= pod.ready_at)
            .map(|pod| (pod.serving, pod.request_header_ca))
            .collect();
        if pods.is_empty() {
            return Some("no pod is ready".to_owned());
        }
        for server in self.masters() {
            if !self.api_ready(&server) {
                continue;
            }
            let client = self.loaded(&server, Component::ApiServer, Slot::ProxyClient);
            for (serving, roots) in &pods {
                if !self.store.accepts(*serving, bundle, Usage::ServerAuth, now) {
                    return Some(format!("kube-apiserver on {server} does not trust its certificate"));
                }
                if !self.store.accepts(client, *roots, Usage::ClientAuth, now) {
                    return Some(format!("it does not trust the front proxy of kube-apiserver on {server}"));
                }
            }
        }
        None
    }
}
