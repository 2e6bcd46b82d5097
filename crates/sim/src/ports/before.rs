//! What objects were before the run changed them, and putting them back.

use std::time::Duration;

use jiff::Timestamp;
use kubecert_core::inventory::{ObjectRef, WorkloadRef};
use kubecert_core::model::NodeName;
use kubecert_core::plan::ApiObject;
use kubecert_engine::ports::{OldPod, Rollout};

use crate::certs::BundleId;
use crate::objects::{BarePod, Remembered};
use crate::pods::Job;
use crate::world::{Event, World};

impl World {
    /// What an object is now, as far as a run changes it; `None` for what is kept in another way, or is gone.
    pub(crate) fn remember(&self, object: &ApiObject) -> Option<Remembered> {
        let objects = &self.objects;
        match object {
            ApiObject::TlsSecret(secret) => {
                objects.tls_secrets.get(secret).cloned().map(Remembered::TlsSecret)
            }
            ApiObject::TokenSecret(secret) => {
                objects.token_secrets.get(secret).map(|state| Remembered::Token(state.signer))
            }
            ApiObject::CaBundle(holder) => objects.ca_bundles.get(holder).copied().map(Remembered::CaBundle),
            ApiObject::Workload(workload) => {
                objects.workloads.get(workload).map(|state| Remembered::Stamp(state.stamp.clone()))
            }
            ApiObject::Pod(_) | ApiObject::ClusterInfo => None,
        }
    }

    /// Puts an object back, pods apart.
    pub(crate) fn put_back(&mut self, object: &ApiObject, before: Remembered) {
        match (object, before) {
            (ApiObject::TlsSecret(secret), Remembered::TlsSecret(before)) => {
                if let Some(state) = self.objects.tls_secrets.get_mut(secret) {
                    *state = before;
                }
                self.mounts_change(&secret.namespace);
            }
            (ApiObject::TokenSecret(secret), Remembered::Token(signer)) => {
                if let Some(state) = self.objects.token_secrets.get_mut(secret) {
                    state.signer = signer;
                    state.stamp = None;
                }
                self.mounts_change(&secret.namespace);
            }
            (ApiObject::CaBundle(holder), Remembered::CaBundle(roots)) => {
                if let Some(bundle) = self.objects.ca_bundles.get_mut(holder) {
                    *bundle = roots;
                }
                self.dirt.everything();
            }
            (ApiObject::Workload(workload), Remembered::Stamp(stamp)) => self.set_stamp(workload, stamp),
            _ => {}
        }
    }

    /// Whether the workload has no pod left that was started before that moment; those that there are go.
    pub(crate) fn renewed(&mut self, workload: &WorkloadRef, created_before: Timestamp) -> bool {
        if self.rollout(workload) != Rollout::Complete {
            return false;
        }
        let young = self.objects.seats.values().any(|seat| {
            let pod = seat.pod.and_then(|pod| self.objects.pods.get(&pod));
            seat.workload.as_ref() == Some(workload)
                && pod.is_some_and(|pod| self.moment_at(pod.started) < created_before)
        });
        if young {
            self.replace_all(workload);
        }
        !young
    }

    /// Deletes a bare pod, if it was started before that moment or bears a mark.
    pub(crate) fn drop_bare_pod(&mut self, pod: &ObjectRef, seat: u32, created_before: Timestamp) {
        let marked = self.objects.bare_pods.get(pod).and_then(Option::as_ref).map(|pod| pod.stamp.is_some());
        let number = self.objects.seats.get(&seat).and_then(|seat| seat.pod);
        let started = number.and_then(|number| self.objects.pods.get(&number)).map(|pod| pod.started);
        let young = started.is_some_and(|started| self.moment_at(started) < created_before);
        match marked {
            Some(marked) if !marked && !young => return,
            // Deleted by an attempt that was cut off.
            None => {}
            Some(_) => {
                if let Some(number) = number {
                    self.objects.pods.remove(&number);
                }
                if let Some(seat) = self.objects.seats.get_mut(&seat) {
                    seat.pod = None;
                }
            }
        }
        self.objects.bare_pods.insert(pod.clone(), Some(BarePod { stamp: None }));
        self.after(Duration::ZERO, Event::Replace { seat });
        self.dirt.everything();
    }

    /// Pods that read other roots at their start than are published now.
    pub(crate) fn old_pods(&self) -> Vec<OldPod> {
        let of = |pod: &crate::pods::Pod| {
            let published = self.objects.roots.get(&pod.namespace).copied().unwrap_or(BundleId::EMPTY);
            (pod.job != Job::Proxy && pod.cached != published).then(|| OldPod {
                pod: ObjectRef { namespace: pod.namespace.clone(), name: pod.name.clone() },
                uid: pod.name.clone(),
                controller: self
                    .objects
                    .seats
                    .get(&pod.seat)
                    .and_then(|seat| seat.workload.as_ref())
                    .map(|workload| format!("{:?}", workload.kind)),
                started: self.moment_at(pod.started),
                published: self.moment(),
            })
        };
        self.objects.pods.values().filter_map(of).collect()
    }

    /// One round of replacing a DaemonSet's pods on all nodes but those.
    pub(crate) fn replace_daemon_pods(
        &mut self,
        workload: &WorkloadRef,
        created_before: Timestamp,
        except: &[NodeName],
    ) -> Rollout {
        let seats = self
            .objects
            .seats
            .iter()
            .filter(|(_, seat)| seat.workload.as_ref() == Some(workload) && !except.contains(&seat.node));
        let waiting: Vec<(u32, Option<u32>)> = seats
            .filter(|(_, seat)| {
                let pod = seat.pod.and_then(|pod| self.objects.pods.get(&pod));
                !pod.is_some_and(|pod| {
                    self.now >= pod.ready_at && self.moment_at(pod.started) >= created_before
                })
            })
            .map(|(number, seat)| (*number, seat.pod))
            .collect();
        let Some((seat, pod)) = waiting.first().copied() else { return Rollout::Complete };
        let old = pod.and_then(|pod| self.objects.pods.get(&pod)).map(|pod| self.moment_at(pod.started));
        if let (Some(pod), Some(started)) = (pod, old)
            && started < created_before
        {
            self.objects.pods.remove(&pod);
            if let Some(seat) = self.objects.seats.get_mut(&seat) {
                seat.pod = None;
            }
            self.dirt.plane();
            self.after(Duration::ZERO, Event::Replace { seat });
        }
        Rollout::Under(format!("{} pods are not replaced yet", waiting.len()))
    }

    /// A pod goes, and its controller starts another one.
    pub(crate) fn evict(&mut self, pod: &ObjectRef) {
        let found = self
            .objects
            .pods
            .iter()
            .find(|(_, known)| known.namespace == pod.namespace && known.name == pod.name)
            .map(|(number, known)| (*number, known.seat));
        let Some((number, seat)) = found else { return };
        self.objects.pods.remove(&number);
        if let Some(seat) = self.objects.seats.get_mut(&seat) {
            seat.pod = seat.pod.filter(|pod| *pod != number);
        }
        self.dirt.everything();
        self.after(Duration::ZERO, Event::Replace { seat });
    }
}
