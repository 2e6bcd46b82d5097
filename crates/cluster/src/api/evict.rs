//! Pods that hold an old CA, and asking them to go within their disruption budgets.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::Client;
use kubecert_core::inventory::ObjectRef;
use kubecert_engine::ports::{Fault, OldPod, PortError, PortResult};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Clients, Result};
use super::object::Meta;
use super::pod::PodSpec;
use super::request::Collection;

/// The ConfigMap by which the controller manager tells each namespace whom to trust.
const ROOTS: &str = "kube-root-ca.crt";

/// Asks a pod to go, with its own grace period; only the one with that uid. That it is gone is fine.
///
/// # Errors
///
/// [`Fault::Timeout`], which may be tried again, while its disruption budget allows nobody to go.
pub(super) async fn evict(clients: &Clients, pod: &ObjectRef, uid: &str) -> PortResult<()> {
    let what = format!("cannot evict pod {pod}");
    let pods = &Collection::namespaced("api/v1", &pod.namespace, "pods");
    let asked = clients
        .call(&what, |client| async move {
            // `policy/v1` since Kubernetes 1.22; the older one was served until 1.24.
            for version in ["policy/v1", "policy/v1beta1"] {
                let eviction = json!({
                    "apiVersion": version,
                    "kind": "Eviction",
                    "metadata": { "name": pod.name, "namespace": pod.namespace },
                    "deleteOptions": { "preconditions": { "uid": uid } },
                });
                match pods.subresource(&client, &pod.name, "eviction", &eviction).await {
                    Ok(()) => return Ok(true),
                    // Gone, or another one by now.
                    Err(error) if matches!(error.status(), Some(404 | 409)) => return Ok(true),
                    Err(error) if error.status() == Some(429) => return Ok(false),
                    Err(error) if error.status() == Some(400) && version == "policy/v1" => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(true)
        })
        .await?;
    if asked {
        return Ok(());
    }
    Err(PortError::new(Fault::Timeout, what, "its PodDisruptionBudget allows no pod to go at present")
        .remedy("Let more of its pods become ready, or relax the budget for a while."))
}

/// Pods that hold the roots of their namespace and were started before the present ones were published there.
///
/// Pods that have ended, that are on their way out, and mirrors of static pods hold nothing, or what their node gives
/// them.
pub(super) async fn old_pods(client: &Client) -> Result<Vec<OldPod>> {
    let (maps, pods) = (Collection::new("/api/v1/configmaps"), Collection::new("/api/v1/pods"));
    let (maps, pods) = futures::try_join!(
        maps.list::<Dated>(client, Some("metadata.name=kube-root-ca.crt")),
        pods.list::<Pod>(client, None),
    )?;
    let published: BTreeMap<String, Option<Timestamp>> =
        maps.into_iter().map(|map| (map.metadata.namespace.clone(), map.changed())).collect();
    Ok(pods.into_iter().filter_map(|pod| pod.old(&published)).collect())
}

/// An object with what tells when it was changed last.
#[derive(Deserialize)]
struct Dated {
    #[serde(default)]
    metadata: Meta,
}

impl Dated {
    /// When its content changed last; when it was created, where nothing is recorded (before Kubernetes 1.18).
    fn changed(&self) -> Option<Timestamp> {
        let fields = self.metadata.managed_fields.iter();
        let changes = fields.filter(|entry| entry.pointer("/fieldsV1/f:data").is_some());
        let last = changes.filter_map(|entry| entry.get("time")?.as_str()?.parse().ok()).max();
        last.or_else(|| self.metadata.creation_timestamp.as_deref()?.parse().ok())
    }
}

#[derive(Deserialize)]
struct Pod {
    #[serde(default)]
    metadata: Meta,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: String,
    container_statuses: Value,
}

impl Pod {
    fn old(self, published: &BTreeMap<String, Option<Timestamp>>) -> Option<OldPod> {
        let Self { metadata, spec, status } = self;
        let ended = matches!(status.phase.as_str(), "Succeeded" | "Failed");
        let mirror = metadata.annotations.contains_key("kubernetes.io/config.mirror");
        if ended || mirror || metadata.deletion_timestamp.is_some() || !spec.mounts_roots(ROOTS) {
            return None;
        }
        let published = (*published.get(&metadata.namespace)?)?;
        // What counts is when its processes started: a container that was restarted has read the file anew.
        let started = youngest_start(&status.container_statuses)
            .or_else(|| metadata.creation_timestamp.as_deref()?.parse().ok())?;
        (started < published).then(|| OldPod {
            controller: metadata.controller().map(|owner| owner.kind.clone()),
            pod: ObjectRef { namespace: metadata.namespace, name: metadata.name },
            uid: metadata.uid,
            started,
            published,
        })
    }
}

/// When the container that has run longest was started.
fn youngest_start(statuses: &Value) -> Option<Timestamp> {
    let starts = statuses
        .as_array()?
        .iter()
        .map(|status| status.pointer("/state/running/startedAt")?.as_str()?.parse::<Timestamp>().ok());
    starts.flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(started: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "p", "namespace": "n", "uid": "u" },
            "spec": { "volumes": [{ "projected": { "sources": [{ "configMap": { "name": ROOTS } }] } }] },
            "status": { "phase": "Running", "containerStatuses": [
                { "state": { "running": { "startedAt": started } } },
                { "state": { "running": { "startedAt": "2026-11-22T12:00:00Z" } } },
            ] },
        }))
        .expect("a pod")
    }

    #[test]
    fn a_pod_is_old_if_any_of_its_containers_is_older_than_the_roots() {
        let published = BTreeMap::from([("n".to_owned(), "2026-11-22T11:00:00Z".parse().ok())]);
        assert!(pod("2026-11-22T10:00:00Z").old(&published).is_some());
        assert!(pod("2026-11-22T11:30:00Z").old(&published).is_none());
        assert!(pod("2026-11-22T10:00:00Z").old(&BTreeMap::new()).is_none());
        let mut without = pod("2026-11-22T10:00:00Z");
        without.spec = PodSpec::default();
        assert!(without.old(&published).is_none());
    }

    #[test]
    fn a_map_changed_when_its_data_was_written_last() {
        let map: Dated = serde_json::from_value(json!({ "metadata": {
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [
                { "time": "2026-02-01T00:00:00Z", "fieldsV1": { "f:data": {} } },
                { "time": "2026-03-01T00:00:00Z", "fieldsV1": { "f:metadata": {} } },
            ],
        } }))
        .expect("a map");
        assert_eq!(map.changed(), "2026-02-01T00:00:00Z".parse().ok());
    }
}
