//! What objects were before the run changed them: kept in the run directory, and put back on the way back.

use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use kubecert_core::inventory::{CaBundleHolder, ObjectRef, WorkloadKind, WorkloadRef};
use kubecert_core::model::NodeName;
use kubecert_core::plan::ApiObject;
use kubecert_engine::ports::{Fault, Keep, PortError, PortResult, Rollout};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::{Clients, Result};
use super::object::{Meta, Named, Owner};
use super::request::Collection;
use super::{evict, pod, secret, trust, workload};

/// How long between two looks at a rollout: pods take seconds to start.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How long a rollout on the way back may take, and how long disruption budgets are waited for.
const ROLLOUT_LIMIT: Duration = Duration::from_secs(840);

/// Where something is kept below the run's backup. The name tells no two objects alike, since names of objects have no
/// slash, and those of webhooks none either.
fn file(object: &ApiObject) -> String {
    let text = object.to_string().replace('/', "_").replace(' ', "-");
    format!("before-{text}.json")
}

/// What is kept of an object: the fields that a run changes. `None` where the object has no such field.
#[derive(Deserialize, Serialize)]
struct Before {
    fields: Vec<(String, Option<String>)>,
}

impl Before {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(of, _)| of == name).and_then(|(_, value)| value.as_deref())
    }

    fn patch(&self) -> Value {
        self.fields
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

/// Keeps what the object is now, unless something is kept of it already.
pub(super) async fn remember(clients: &Clients, object: &ApiObject, keep: &dyn Keep) -> PortResult<()> {
    let name = file(object);
    if keep.get(&name).await?.is_some() {
        return Ok(());
    }
    let what = format!("cannot read {object}");
    let before = clients.call(&what, |client| async move { read(&client, object).await }).await?;
    let Some(before) = before else { return Ok(()) };
    let bytes = zeroize::Zeroizing::new(
        serde_json::to_vec(&before)
            .map_err(|error| PortError::new(Fault::Unexpected, format!("cannot keep {object}"), error))?,
    );
    keep.put(&name, &bytes).await
}

async fn read(client: &Client, object: &ApiObject) -> Result<Option<Before>> {
    let fields = match object {
        ApiObject::TlsSecret(secret) => {
            secret::fields(client, secret, &["tls.crt", "tls.key", "ca.crt"]).await?
        }
        ApiObject::TokenSecret(secret) => secret::fields(client, secret, &["token"]).await?,
        ApiObject::CaBundle(holder) => {
            let bundle = trust::ca_bundle(client, holder).await?;
            Some(vec![("caBundle".to_owned(), bundle)])
        }
        ApiObject::ClusterInfo => {
            let present = trust::cluster_info(client).await?;
            present.map(|present| vec![("kubeconfig".to_owned(), Some(present))])
        }
        ApiObject::Workload(workload) => {
            let stamp = workload::stamp(client, workload).await?;
            stamp.map(|stamp| vec![("restartedAt".to_owned(), stamp)])
        }
        // Its whole specification is kept before it is deleted.
        ApiObject::Pod(_) => None,
    };
    Ok(fields.map(|fields| Before { fields }))
}

/// Puts an object back, and replaces its pods that were created before that moment.
pub(super) async fn put_back(
    clients: &Clients,
    object: &ApiObject,
    created_before: Timestamp,
    keep: &dyn Keep,
) -> PortResult<()> {
    let what = &format!("cannot put {object} back");
    let before: Option<Before> = match keep.get(&file(object)).await? {
        Some(bytes) => Some(serde_json::from_slice(&bytes).map_err(|error| {
            PortError::new(Fault::Unexpected, what, format!("what is kept of it cannot be read: {error}"))
        })?),
        None => None,
    };
    match (object, before) {
        (ApiObject::TlsSecret(secret) | ApiObject::TokenSecret(secret), Some(before)) => {
            secret::put_back(clients, what, secret, &before.patch()).await
        }
        (ApiObject::CaBundle(holder), Some(before)) => {
            put_bundle_back(clients, what, holder, before.field("caBundle")).await
        }
        (ApiObject::ClusterInfo, Some(before)) => {
            let Some(kubeconfig) = before.field("kubeconfig") else { return Ok(()) };
            clients
                .call(what, |client| async move { trust::set_cluster_info(&client, kubeconfig).await })
                .await
        }
        (ApiObject::Workload(workload), before) => {
            if let Some(before) = before {
                let stamp = before.field("restartedAt");
                clients
                    .call(what, |client| async move { workload::set_stamp(&client, workload, stamp).await })
                    .await?;
            }
            renew(clients, workload, created_before).await
        }
        (ApiObject::Pod(pod), _) => pod::put_back(clients, pod, created_before, keep).await,
        (
            ApiObject::TlsSecret(_)
            | ApiObject::TokenSecret(_)
            | ApiObject::CaBundle(_)
            | ApiObject::ClusterInfo,
            None,
        ) => Ok(()),
    }
}

async fn put_bundle_back(
    clients: &Clients,
    what: &str,
    holder: &CaBundleHolder,
    bundle: Option<&str>,
) -> PortResult<()> {
    let Some(bundle) = bundle else { return Ok(()) };
    trust::set_encoded_ca_bundle(clients, what, holder, bundle).await
}

/// Waits for the rollout, then has those pods replaced that are of before it all the same: they are of the template that
/// is in force again, so that no rollout replaces them. A tenth at a time, and the next when those are ready.
async fn renew(clients: &Clients, workload: &WorkloadRef, created_before: Timestamp) -> PortResult<()> {
    let what = format!("pods of {workload} are not replaced");
    let look = async {
        loop {
            until_rolled_out(clients, workload).await?;
            let pods = pods_of(clients, workload).await?;
            let old: Vec<&Created> = pods.iter().filter(|pod| pod.at < created_before).collect();
            if old.is_empty() {
                return Ok(());
            }
            for pod in old.into_iter().take((pods.len() / 10).max(1)) {
                evict::evict(clients, &pod.pod, &pod.uid).await?;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    match tokio::time::timeout(ROLLOUT_LIMIT, look).await {
        Ok(done) => done,
        Err(_) => Err(PortError::new(Fault::Timeout, what, "it took too long")
            .remedy("See whether a PodDisruptionBudget or a pod that does not become ready holds it up.")),
    }
}

/// One round of replacing a DaemonSet's pods on all nodes but those.
pub(super) async fn replace_daemon_pods(
    clients: &Clients,
    workload: &WorkloadRef,
    created_before: Timestamp,
    except: &[NodeName],
) -> PortResult<Rollout> {
    let mut pods = pods_of(clients, workload).await?;
    pods.retain(|pod| !except.iter().any(|node| node.as_str() == pod.node));
    let (old, new): (Vec<&Created>, Vec<&Created>) = pods.iter().partition(|pod| pod.at < created_before);
    if new.iter().any(|pod| !pod.ready) {
        return Ok(Rollout::Under(format!("{} of {} pods replaced", new.len(), pods.len())));
    }
    for pod in old.iter().take((pods.len() / 10).max(1)) {
        evict::evict(clients, &pod.pod, &pod.uid).await?;
    }
    Ok(if old.is_empty() {
        Rollout::Complete
    } else {
        Rollout::Under(format!("{} of {} pods replaced", new.len(), pods.len()))
    })
}

async fn until_rolled_out(clients: &Clients, workload: &WorkloadRef) -> PortResult<()> {
    let what = format!("cannot read {workload}");
    // The limit of the caller ends this loop.
    loop {
        let rollout =
            clients.call(&what, |client| async move { workload::rollout(&client, workload).await }).await?;
        if rollout == Rollout::Complete {
            return Ok(());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// A pod, and when it was created.
struct Created {
    pod: ObjectRef,
    uid: String,
    at: Timestamp,
    node: String,
    ready: bool,
}

/// Pods of a workload that are not on their way out.
async fn pods_of(clients: &Clients, workload: &WorkloadRef) -> PortResult<Vec<Created>> {
    let what = format!("cannot list the pods of {workload}");
    clients
        .call(&what, |client| async move {
            let list = |group, kind| Collection::namespaced(group, &workload.namespace, kind);
            let mut owners = vec![workload.name.clone()];
            let mut kind = kind_of(workload.kind);
            if workload.kind == WorkloadKind::Deployment {
                let sets: Vec<Named> = list("apis/apps/v1", "replicasets").list(&client, None).await?;
                let ours = |meta: &Meta| {
                    meta.controller().is_some_and(|owner| owner.kind == kind && owner.name == workload.name)
                };
                owners =
                    sets.into_iter().map(|set| set.metadata).filter(ours).map(|meta| meta.name).collect();
                kind = "ReplicaSet";
            }
            let pods: Vec<pod::Placed> = list("api/v1", "pods").list(&client, None).await?;
            let created = |pod: pod::Placed| {
                let (node, ready) = (pod.node().to_owned(), pod.is_ready());
                let meta = pod.metadata;
                let of = |owner: &Owner| owner.kind == kind && owners.contains(&owner.name);
                let stays = meta.controller().is_some_and(of) && meta.deletion_timestamp.is_none();
                let at = meta.creation_timestamp.as_deref()?.parse().ok()?;
                stays.then_some(Created {
                    pod: ObjectRef { namespace: meta.namespace, name: meta.name },
                    uid: meta.uid,
                    at,
                    node,
                    ready,
                })
            };
            Ok(pods.into_iter().filter_map(created).collect())
        })
        .await
}

const fn kind_of(kind: WorkloadKind) -> &'static str {
    match kind {
        WorkloadKind::DaemonSet => "DaemonSet",
        WorkloadKind::Deployment => "Deployment",
        WorkloadKind::StatefulSet => "StatefulSet",
    }
}
