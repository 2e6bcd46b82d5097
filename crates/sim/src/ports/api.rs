//! The Kubernetes API, through the load balancer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use kubecert_core::inventory::{
    ApiFacts, CaBundleHolder, NodeStatus, ObjectRef, TlsSecret, TokenSecret, WorkloadRef,
};
use kubecert_core::model::NodeName;
use kubecert_core::plan::ApiObject;
use kubecert_engine::ports::{
    Autoscaler, Credentials, ExtensionAuthentication, Fault, Keep, KubeApi, Lease, OldPod, PortError,
    PortResult, Rollout,
};
use kubecert_pki::parse_pem_certificates;
use zeroize::Zeroizing;

use super::{Known, facts, is_administrator};
use crate::certs::{BundleId, Store};
use crate::cluster::Shared;
use crate::objects::{AutoscalerState, BarePod};
use crate::routing::{CallError, Caller};
use crate::world::{Event, World};

/// A request.
const REQUEST: Duration = Duration::from_millis(20);
/// All lists of an inventory.
const LOOK: Duration = Duration::from_millis(150);
/// How long a pod may take to become Ready, and a token to be signed.
const PATIENCE: Duration = Duration::from_secs(120);

/// The API.
pub(crate) struct SimApi {
    shared: Arc<Shared>,
    credentials: Mutex<Vec<Credentials>>,
}

impl SimApi {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared, credentials: Mutex::new(Vec::new()) }
    }

    async fn request<T>(
        &self,
        what: &str,
        delay: Duration,
        act: impl FnOnce(&mut World) -> PortResult<T> + Send,
    ) -> PortResult<T> {
        let credentials = self.credentials.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.shared
            .call(what, delay, |world| {
                enter(world, what, &credentials)?;
                act(world)
            })
            .await
    }
}

/// One request with the first credentials that are accepted; gives the API server that answered.
pub(super) fn enter(world: &mut World, what: &str, credentials: &[Credentials]) -> PortResult<NodeName> {
    let endpoint = world.cluster.endpoint.clone();
    let mut worst = PortError::new(Fault::Refused, what, "there are no credentials to use");
    for credentials in credentials {
        let Some(server) = world.through_balancer(None) else {
            return Err(PortError::new(Fault::Unreachable, what, "connection refused"));
        };
        let client = Known::of(world, credentials);
        let caller =
            Caller { roots: client.roots, name: Some(&endpoint), certificate: client.identity, token: None };
        let outcome = world.call(&server, caller);
        match outcome {
            Ok(()) if client.identity.is_some_and(|identity| is_administrator(&world.store, identity)) => {
                return Ok(server);
            }
            Ok(()) => worst = PortError::new(Fault::Refused, what, "403 Forbidden"),
            Err(error @ (CallError::ConnectionRefused | CallError::Unavailable)) => {
                return Err(PortError::new(
                    Fault::Unreachable,
                    what,
                    format!("{server}: {}", error.as_str()),
                ));
            }
            Err(error) => {
                worst = PortError::new(Fault::Refused, what, format!("{server}: {}", error.as_str()))
            }
        }
    }
    Err(worst)
}

fn parse(store: &mut Store, pem: &str) -> BundleId {
    store.parse_text(pem).certificates
}

fn absent(what: &str) -> PortError {
    PortError::new(Fault::Failed, what, "404 Not Found")
}

#[async_trait]
impl KubeApi for SimApi {
    async fn use_credentials(&self, credentials: Vec<Credentials>) -> PortResult<()> {
        *self.credentials.lock().unwrap_or_else(PoisonError::into_inner) = credentials;
        Ok(())
    }

    async fn look(&self) -> PortResult<ApiFacts> {
        self.request("cannot look at the API", LOOK, |world| Ok(api_facts(world))).await
    }

    async fn nodes(&self) -> PortResult<Vec<NodeStatus>> {
        self.request("cannot list nodes", REQUEST, |world| Ok(world.node_statuses())).await
    }

    async fn published_roots(&self) -> PortResult<Vec<(String, String)>> {
        self.request("cannot read kube-root-ca.crt", REQUEST, |world| {
            let roots = &world.objects.roots;
            Ok(roots.iter().map(|(namespace, roots)| (namespace.clone(), world.store.pem(*roots))).collect())
        })
        .await
    }

    async fn token_secret_roots(&self) -> PortResult<Vec<(ObjectRef, String)>> {
        self.request("cannot read token Secrets", REQUEST, |world| {
            let secrets = &world.objects.token_secrets;
            Ok(secrets.iter().map(|(secret, state)| (secret.clone(), world.store.pem(state.roots))).collect())
        })
        .await
    }

    async fn controller_manager_lease(&self) -> PortResult<Lease> {
        self.request("cannot read the controller manager's Lease", REQUEST, |world| {
            let lease = &world.objects.lease;
            Ok(Lease {
                holder: lease.holder.clone(),
                acquired: Some(world.moment_at(lease.acquired) + lease.clock_error),
                renewed: Some(world.moment_at(lease.renewed) + lease.clock_error),
            })
        })
        .await
    }

    async fn extension_authentication(&self) -> PortResult<Option<ExtensionAuthentication>> {
        self.request("cannot read extension-apiserver-authentication", REQUEST, |world| {
            Ok(world.objects.extension.map(|extension| ExtensionAuthentication {
                client_ca: world.store.pem(extension.client_ca),
                requestheader_client_ca: world.store.pem(extension.request_header_ca),
            }))
        })
        .await
    }

    async fn rebuild_extension_authentication(&self, only: &ExtensionAuthentication) -> PortResult<()> {
        let what = "cannot write extension-apiserver-authentication";
        self.request(what, REQUEST, |world| {
            let read = |pem: &str| {
                parse_pem_certificates(pem).map_err(|error| PortError::new(Fault::Failed, what, error))
            };
            let (client_ca, request_header_ca) =
                (read(&only.client_ca)?, read(&only.requestheader_client_ca)?);
            world.rebuild_extension(client_ca, request_header_ca);
            Ok(())
        })
        .await
    }

    async fn restart(&self, workload: &WorkloadRef, stamp: &str) -> PortResult<()> {
        let what = format!("cannot restart {workload}");
        self.request(&what, REQUEST, |world| {
            if !world.objects.workloads.contains_key(workload) {
                return Err(absent(&what));
            }
            world.roll(workload, stamp);
            Ok(())
        })
        .await
    }

    async fn rollout(&self, workload: &WorkloadRef) -> PortResult<Rollout> {
        let what = format!("cannot see the rollout of {workload}");
        self.request(&what, REQUEST, |world| Ok(world.rollout(workload))).await
    }

    async fn recreate_pod(&self, pod: &ObjectRef, stamp: &str, keep: &dyn Keep) -> PortResult<()> {
        let what = format!("cannot re-create pod {pod}");
        let kept = format!("pod-{}-{}.json", pod.namespace, pod.name);
        let seat =
            self.request(&what, REQUEST, |world| world.bare_seat(pod).ok_or_else(|| absent(&what))).await?;
        let marked = self
            .request(&what, REQUEST, |world| {
                let state = world.objects.bare_pods.get(pod).and_then(Option::as_ref);
                Ok(state.map(|state| state.stamp.as_deref() == Some(stamp)))
            })
            .await?;
        if marked == Some(false) {
            keep.put(&kept, format!("{{\"name\":\"{}\"}}", pod.name).as_bytes()).await?;
            self.request(&what, REQUEST, |world| {
                world.objects.bare_pods.insert(pod.clone(), None);
                let old = world.objects.seats.get_mut(&seat).and_then(|seat| seat.pod.take());
                if let Some(old) = old {
                    world.objects.pods.remove(&old);
                }
                world.dirt.everything();
                Ok(())
            })
            .await?;
        }
        if marked != Some(true) {
            // Without its specification it could not be created: that is what `keep` is for.
            if keep.get(&kept).await?.is_none() {
                return Err(PortError::new(Fault::Failed, what, "its specification is lost"));
            }
            self.request(&what, REQUEST, |world| {
                let state = BarePod { stamp: Some(stamp.to_owned()) };
                world.objects.bare_pods.insert(pod.clone(), Some(state));
                world.after(Duration::ZERO, Event::Replace { seat });
                Ok(())
            })
            .await?;
        }
        self.shared.wait_until(&what, PATIENCE, |world| Ok(world.seat_ready(seat).then_some(()))).await
    }

    async fn renew_token_secret(&self, secret: &ObjectRef, stamp: &str) -> PortResult<()> {
        let what = format!("cannot renew the token in Secret {secret}");
        self.request(&what, REQUEST, |world| {
            let state = world.objects.token_secrets.get_mut(secret).ok_or_else(|| absent(&what))?;
            if state.stamp.as_deref() != Some(stamp) {
                state.stamp = Some(stamp.to_owned());
                state.signer = None;
                world.wake_leader();
            }
            Ok(())
        })
        .await?;
        self.shared
            .wait_until(&what, PATIENCE, |world| {
                let state = world.objects.token_secrets.get(secret);
                Ok(state.and_then(|state| state.signer).map(|_| ()))
            })
            .await
    }

    async fn write_tls_secret(
        &self,
        secret: &ObjectRef,
        chain: &str,
        key: &Zeroizing<String>,
        roots: &str,
    ) -> PortResult<()> {
        let what = format!("cannot write Secret {secret}");
        self.request(&what, REQUEST, |world| {
            let both = Zeroizing::new(format!("{chain}{}", key.as_str()));
            let pair = world.store.parse_text(&both);
            let roots = parse(&mut world.store, roots);
            let state = world.objects.tls_secrets.get_mut(secret).ok_or_else(|| absent(&what))?;
            state.pair = pair;
            // Only a Secret that has ca.crt gets another one.
            if state.roots != BundleId::EMPTY {
                state.roots = roots;
            }
            world.mounts_change(&secret.namespace);
            Ok(())
        })
        .await
    }

    async fn set_ca_bundle(&self, holder: &CaBundleHolder, roots: &str) -> PortResult<()> {
        let what = format!("cannot change the caBundle of {holder}");
        self.request(&what, REQUEST, |world| {
            let roots = parse(&mut world.store, roots);
            let bundle = world.objects.ca_bundles.get_mut(holder).ok_or_else(|| absent(&what))?;
            *bundle = roots;
            world.dirt.everything();
            Ok(())
        })
        .await
    }

    async fn remember(&self, object: &ApiObject, keep: &dyn Keep) -> PortResult<()> {
        let name = format!("before-{object}").replace('/', "_");
        if keep.get(&name).await?.is_some() {
            return Ok(());
        }
        let place = self
            .request("cannot read an object", REQUEST, |world| {
                let remembered = world.remember(object);
                world.objects.remembered.extend(remembered.clone());
                Ok(remembered.map(|_| world.objects.remembered.len() - 1))
            })
            .await?;
        match place {
            Some(place) => keep.put(&name, place.to_string().as_bytes()).await,
            None => Ok(()),
        }
    }

    async fn put_back(
        &self,
        object: &ApiObject,
        created_before: Timestamp,
        keep: &dyn Keep,
    ) -> PortResult<()> {
        let what = format!("cannot put {object} back");
        let name = format!("before-{object}").replace('/', "_");
        let kept = keep.get(&name).await?;
        let place = kept.and_then(|bytes| String::from_utf8(bytes).ok()?.parse::<usize>().ok());
        self.request(&what, REQUEST, |world| {
            let before = place.and_then(|place| world.objects.remembered.get(place).cloned());
            if let Some(before) = before {
                world.put_back(object, before);
            }
            Ok(())
        })
        .await?;
        match object {
            ApiObject::Workload(workload) => {
                self.shared
                    .wait_until(&what, PATIENCE, |world| {
                        Ok(world.renewed(workload, created_before).then_some(()))
                    })
                    .await
            }
            ApiObject::Pod(pod) => {
                let seat = self
                    .request(&what, REQUEST, |world| {
                        let seat = world.bare_seat(pod).ok_or_else(|| absent(&what))?;
                        world.drop_bare_pod(pod, seat, created_before);
                        Ok(seat)
                    })
                    .await?;
                self.shared
                    .wait_until(&what, PATIENCE, |world| Ok(world.seat_ready(seat).then_some(())))
                    .await
            }
            _ => Ok(()),
        }
    }

    async fn old_pods(&self) -> PortResult<Vec<OldPod>> {
        self.request("cannot list pods", REQUEST, |world| Ok(world.old_pods())).await
    }

    async fn replace_daemon_pods(
        &self,
        workload: &WorkloadRef,
        created_before: Timestamp,
        except: &[NodeName],
    ) -> PortResult<Rollout> {
        let what = format!("cannot replace the pods of {workload}");
        self.request(&what, REQUEST, |world| Ok(world.replace_daemon_pods(workload, created_before, except)))
            .await
    }

    async fn evict(&self, pod: &ObjectRef, _uid: &str) -> PortResult<()> {
        self.request(&format!("cannot evict pod {pod}"), REQUEST, |world| {
            world.evict(pod);
            Ok(())
        })
        .await
    }

    async fn pause_autoscaler(&self) -> PortResult<Autoscaler> {
        if self.shared.enter().objects.autoscaler.is_none() {
            return Ok(Autoscaler::Absent);
        }
        self.request("cannot pause the autoscaler", REQUEST, |world| {
            let Some(state) = &mut world.objects.autoscaler else { return Ok(Autoscaler::Absent) };
            let replicas = match state.remembered {
                Some(remembered) => remembered,
                None if state.replicas == 0 => return Ok(Autoscaler::Off),
                None => state.replicas,
            };
            *state = AutoscalerState { replicas: 0, remembered: Some(replicas) };
            Ok(Autoscaler::Paused { replicas })
        })
        .await
    }

    async fn resume_autoscaler(&self) -> PortResult<Option<u32>> {
        if self.shared.enter().objects.autoscaler.is_none() {
            return Ok(None);
        }
        self.request("cannot resume the autoscaler", REQUEST, |world| {
            let Some(state) = &mut world.objects.autoscaler else { return Ok(None) };
            let Some(remembered) = state.remembered.take() else { return Ok(None) };
            if state.replicas == 0 {
                state.replicas = remembered;
            }
            Ok(Some(state.replicas))
        })
        .await
    }

    async fn unavailable_aggregated_apis(&self) -> PortResult<Vec<(String, String)>> {
        self.request("cannot list APIServices", REQUEST, |world| {
            let problem = world.aggregated_problem();
            let names = world.objects.ca_bundles.keys().filter_map(|holder| match holder {
                CaBundleHolder::ApiService(name) => Some(name.clone()),
                _ => None,
            });
            let names: Vec<String> = names.collect();
            Ok(problem
                .map(|why| names.into_iter().map(|name| (name, why.clone())).collect())
                .unwrap_or_default())
        })
        .await
    }
}

fn api_facts(world: &mut World) -> ApiFacts {
    let store = &world.store;
    let objects = &world.objects;
    let fingerprints = |bundle: BundleId| {
        store.certificates(bundle).iter().map(|found| found.fingerprint().to_string()).collect()
    };
    ApiFacts {
        version: world.version,
        nodes: world.node_statuses(),
        workloads: objects.workloads.keys().cloned().collect(),
        bare_pods: objects
            .bare_pods
            .iter()
            .filter(|(_, pod)| pod.is_some())
            .map(|(pod, _)| pod.clone())
            .collect(),
        job_pods: Vec::new(),
        token_secrets: objects
            .token_secrets
            .iter()
            .map(|(object, state)| TokenSecret {
                object: object.clone(),
                service_account: state.service_account.clone(),
                listed: !world.version.at_least(24),
                roots: fingerprints(state.roots),
            })
            .collect(),
        tls_secrets: objects
            .tls_secrets
            .iter()
            .map(|(object, state)| TlsSecret {
                object: object.clone(),
                chain: facts(store, state.pair.certificates),
                roots: facts(store, state.roots),
                mounted_by: state.mounted_by.clone(),
            })
            .collect(),
        ca_bundles: objects
            .ca_bundles
            .iter()
            .map(|(holder, roots)| (holder.clone(), facts(store, *roots)))
            .collect(),
        published_roots: objects
            .roots
            .iter()
            .map(|(namespace, roots)| (namespace.clone(), fingerprints(*roots)))
            .collect(),
    }
}
