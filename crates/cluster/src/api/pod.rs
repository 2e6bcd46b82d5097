//! Pods without a controller, which nobody else would start again.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::Client;
use kubecert_core::inventory::ObjectRef;
use kubecert_engine::ports::{Fault, Keep, PortError, PortResult};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::client::{Clients, Result};
use super::object::{Condition, Meta, holds, null_is_default};
use super::request::Collection;
use super::watch::wait;

/// Marks a pod that was created again, with the stamp of the run that did it.
const RECREATED: &str = "kubecert.dev/recreated";

/// How long a new pod may take to become Ready: its images are on the node or not, its program starts as it starts.
const READY_LIMIT: Duration = Duration::from_secs(300);

/// How long a pod may take to go, beyond its own grace period: for a kubelet that is busy or restarting.
const GONE_MARGIN: Duration = Duration::from_secs(90);

/// The longest grace period that is waited for. A pod may ask for days; then somebody has to decide.
const LONGEST_GRACE: Duration = Duration::from_secs(900);

/// Where service-account tokens are mounted.
const TOKEN_DIRECTORY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Bare pods, and pods of Jobs that run.
///
/// Mirrors of static pods are the node's; a pod that has ended is not started again, since nobody knows what it would
/// do a second time; one that is being deleted will be gone.
pub(super) async fn list(client: &Client) -> Result<(Vec<ObjectRef>, Vec<ObjectRef>)> {
    let pods: Vec<Pod> = Collection::new("/api/v1/pods").list(client, None).await?;
    let (mut bare, mut jobs) = (Vec::new(), Vec::new());
    for pod in pods {
        let Pod { metadata, status, .. } = pod;
        let ended = matches!(status.phase.as_str(), "Succeeded" | "Failed");
        if ended
            || metadata.deletion_timestamp.is_some()
            || metadata.annotations.contains_key("kubernetes.io/config.mirror")
        {
            continue;
        }
        let list = match metadata.controller().map(|owner| owner.kind.as_str()) {
            None => &mut bare,
            Some("Job") => &mut jobs,
            Some(_) => continue,
        };
        list.push(ObjectRef { namespace: metadata.namespace, name: metadata.name });
    }
    Ok((bare, jobs))
}

/// Deletes a bare pod and creates it again.
pub(super) async fn recreate(
    clients: &Clients,
    pod: &ObjectRef,
    stamp: &str,
    keep: &dyn Keep,
) -> PortResult<()> {
    let what = format!("cannot create pod {pod} again");
    let pods = &Collection::namespaced("api/v1", &pod.namespace, "pods");
    let file = format!("pod-{}-{}.json", pod.namespace, pod.name);
    let kept = match keep.get(&file).await? {
        Some(bytes) => Some(serde_json::from_slice::<Kept>(&bytes).map_err(|error| {
            PortError::new(
                Fault::Unexpected,
                what.clone(),
                format!("{file} in the run's backup cannot be read: {error}"),
            )
        })?),
        None => None,
    };
    let present: Option<Value> =
        clients.call(&what, |client| async move { pods.get(&client, &pod.name).await }).await?;
    let kept = match (present, kept) {
        (Some(object), kept) => {
            let known = Pod::of(&object);
            if known.metadata.annotations.get(RECREATED).is_some_and(|mark| mark == stamp) {
                return until_ready(clients, pods, pod, kept.is_none_or(|kept| kept.ready)).await;
            }
            let kept = match kept {
                Some(kept) => Some(kept),
                // Somebody else deletes it; then it shall go, and not come back.
                None if known.metadata.deletion_timestamp.is_some() => None,
                None => Some(keep_specification(keep, &file, &known, object, stamp).await?),
            };
            remove(clients, pods, pod, &known).await?;
            kept
        }
        (None, kept) => kept,
    };
    let Some(Kept { ready, pod: specification }) = kept else {
        tracing::info!(%pod, "is gone already");
        return Ok(());
    };
    let specification = &specification;
    // That there is one by that name again means that an answer of ours was lost, or that somebody (an addon manager)
    // was quicker. Either way it was created after the old one had gone.
    clients.call(&what, |client| async move { pods.create(&client, specification).await }).await?;
    until_ready(clients, pods, pod, ready).await
}

/// Creates a bare pod again as it was before the run, if it bears a run's mark or was created before that moment.
///
/// The specification that was kept before the run's own deletion serves, else that of the pod that is there.
pub(super) async fn put_back(
    clients: &Clients,
    pod: &ObjectRef,
    created_before: jiff::Timestamp,
    keep: &dyn Keep,
) -> PortResult<()> {
    let what = format!("cannot create pod {pod} again");
    let pods = &Collection::namespaced("api/v1", &pod.namespace, "pods");
    let file = format!("pod-{}-{}.json", pod.namespace, pod.name);
    let kept = match keep.get(&file).await? {
        Some(bytes) => serde_json::from_slice::<Kept>(&bytes).ok(),
        None => None,
    };
    let present: Option<Value> =
        clients.call(&what, |client| async move { pods.get(&client, &pod.name).await }).await?;
    let kept = match present {
        Some(object) => {
            let known = Pod::of(&object);
            let created: Option<jiff::Timestamp> =
                known.metadata.creation_timestamp.as_deref().and_then(|text| text.parse().ok());
            let marked = known.metadata.annotations.contains_key(RECREATED);
            if !marked && created.is_none_or(|created| created >= created_before) {
                return Ok(());
            }
            let ready = holds(&known.status.conditions, "Ready");
            let kept = match kept {
                Some(kept) => kept,
                None => keep_specification(keep, &file, &known, object, "").await?,
            };
            remove(clients, pods, pod, &known).await?;
            Kept { ready: ready || kept.ready, pod: kept.pod }
        }
        None => match kept {
            Some(kept) => kept,
            None => return Ok(()),
        },
    };
    let specification = &unmarked(kept.pod);
    clients.call(&what, |client| async move { pods.create(&client, specification).await }).await?;
    until_ready(clients, pods, pod, kept.ready).await
}

/// Without the mark of a run, and without a list of annotations that would be empty then.
fn unmarked(mut pod: Value) -> Value {
    if let Some(metadata) = pod.get_mut("metadata").and_then(Value::as_object_mut)
        && let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut)
    {
        annotations.remove(RECREATED);
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    pod
}

/// What is stored before a pod is deleted.
#[derive(Deserialize, Serialize)]
struct Kept {
    /// Whether it was Ready. One that was not is not waited for either.
    ready: bool,
    /// What to create.
    pod: Value,
}

async fn keep_specification(
    keep: &dyn Keep,
    file: &str,
    known: &Pod,
    object: Value,
    stamp: &str,
) -> PortResult<Kept> {
    let kept = Kept { ready: holds(&known.status.conditions, "Ready"), pod: sanitized(object, stamp) };
    let bytes = serde_json::to_vec(&kept)
        .map_err(|error| PortError::new(Fault::Unexpected, format!("cannot keep {file}"), error))?;
    keep.put(file, &bytes).await?;
    Ok(kept)
}

/// Deletes that very pod, with its own grace period, and waits until it is gone.
async fn remove(clients: &Clients, pods: &Collection, pod: &ObjectRef, known: &Pod) -> PortResult<()> {
    let what = format!("cannot delete pod {pod}");
    let uid = known.metadata.uid.as_str();
    if known.metadata.deletion_timestamp.is_none() {
        clients.call(&what, |client| async move { pods.delete(&client, &pod.name, Some(uid)).await }).await?;
    }
    let grace = Duration::from_secs(known.spec.termination_grace_period_seconds.unwrap_or(30));
    let limit = grace.min(LONGEST_GRACE) + GONE_MARGIN;
    let gone = |present: Option<&Pod>| present.is_none_or(|pod| pod.metadata.uid != uid).then_some(());
    wait(clients, limit, &what, pods, &pod.name, gone).await
}

/// Waits until a pod is Ready (or has ended well), or only until it is there, if its predecessor was not Ready either.
async fn until_ready(clients: &Clients, pods: &Collection, pod: &ObjectRef, ready: bool) -> PortResult<()> {
    let what = format!("pod {pod} does not become Ready");
    let settled = |present: Option<&Pod>| {
        let Some(pod) = present else { return Some(Err("it was deleted".to_owned())) };
        match pod.status.phase.as_str() {
            "Failed" => Some(Err("it has failed".to_owned())),
            "Succeeded" => Some(Ok(())),
            _ if !ready || holds(&pod.status.conditions, "Ready") => Some(Ok(())),
            _ => None,
        }
    };
    wait(clients, READY_LIMIT, &what, pods, &pod.name, settled).await?.map_err(|cause| {
        PortError::new(Fault::Failed, what, cause)
            .remedy(format!("Look at `kubectl describe pod` for {pod}."))
    })
}

/// The pod as somebody would write it: without what the API server, the scheduler and the kubelet have added.
fn sanitized(mut object: Value, stamp: &str) -> Value {
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
        object.insert("apiVersion".to_owned(), json!("v1"));
        object.insert("kind".to_owned(), json!("Pod"));
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for name in [
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "generateName",
            "managedFields",
            "selfLink",
        ] {
            metadata.remove(name);
        }
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.insert(RECREATED.to_owned(), json!(stamp));
        }
    }
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        // The priority is computed from the class, and declined where it differs; ephemeral containers cannot be
        // created with a pod.
        for name in ["nodeName", "priority", "preemptionPolicy", "ephemeralContainers"] {
            spec.remove(name);
        }
        drop_injected_tokens(spec);
    }
    object
}

/// Drops the service-account volumes that admission has added, and their mounts: it adds them anew, and an old one of
/// before Kubernetes 1.21 names a Secret that may be gone by then.
fn drop_injected_tokens(spec: &mut Map<String, Value>) {
    let mut injected = BTreeSet::new();
    if let Some(volumes) = spec.get_mut("volumes").and_then(Value::as_array_mut) {
        volumes.retain(|volume| {
            let name = volume.get("name").and_then(Value::as_str).unwrap_or_default();
            let secret = volume.pointer("/secret/secretName").and_then(Value::as_str);
            let projected = name.starts_with("kube-api-access-") && volume.get("projected").is_some();
            let old = secret == Some(name) && name.contains("-token-");
            if projected || old {
                injected.insert(name.to_owned());
            }
            !(projected || old)
        });
    }
    for kind in ["containers", "initContainers"] {
        let containers = spec.get_mut(kind).and_then(Value::as_array_mut).into_iter().flatten();
        for mounts in containers.filter_map(|container| container.get_mut("volumeMounts")?.as_array_mut()) {
            mounts.retain(|mount| {
                let text = |field: &str| mount.get(field).and_then(Value::as_str).unwrap_or_default();
                !(text("mountPath") == TOKEN_DIRECTORY && injected.contains(text("name")))
            });
        }
    }
}

/// What matters of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Pod {
    metadata: Meta,
    spec: PodSpec,
    status: PodStatus,
}

impl Pod {
    /// The parts of a whole object. What has another shape is as good as absent.
    fn of(object: &Value) -> Self {
        Self::deserialize(object).unwrap_or_default()
    }
}

/// A pod, where it runs, and whether it is Ready.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Placed {
    pub(super) metadata: Meta,
    spec: Place,
    status: PodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Place {
    node_name: String,
}

impl Placed {
    pub(super) fn node(&self) -> &str {
        &self.spec.node_name
    }

    pub(super) fn is_ready(&self) -> bool {
        holds(&self.status.conditions, "Ready")
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodStatus {
    phase: String,
    #[serde(deserialize_with = "null_is_default")]
    conditions: Vec<Condition>,
}

/// What matters of a pod's specification, or of a template's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodSpec {
    termination_grace_period_seconds: Option<u64>,
    #[serde(deserialize_with = "null_is_default")]
    volumes: Vec<Value>,
    #[serde(deserialize_with = "null_is_default")]
    containers: Vec<Container>,
    #[serde(deserialize_with = "null_is_default")]
    init_containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    #[serde(deserialize_with = "null_is_default")]
    env: Vec<Value>,
    #[serde(deserialize_with = "null_is_default")]
    env_from: Vec<Value>,
}

impl PodSpec {
    /// Whether pods mount that ConfigMap, or the Secret of a service-account token, which holds roots, too.
    pub(super) fn mounts_roots(&self, map: &str) -> bool {
        let is = |value: Option<&Value>| value.and_then(Value::as_str) == Some(map);
        self.volumes.iter().any(|volume| {
            let sources = volume.pointer("/projected/sources").and_then(Value::as_array);
            let secret = volume.pointer("/secret/secretName").and_then(Value::as_str);
            is(volume.pointer("/configMap/name"))
                || secret.is_some_and(|secret| secret.contains("-token-"))
                || sources.into_iter().flatten().any(|source| is(source.pointer("/configMap/name")))
        })
    }

    /// The names of the Secrets that pods mount, alone or projected, or take into their environment.
    pub(super) fn secrets(&self) -> BTreeSet<String> {
        let text = |value: &Value, path: &str| value.pointer(path).and_then(Value::as_str).map(str::to_owned);
        let mut names = BTreeSet::new();
        for volume in &self.volumes {
            names.extend(text(volume, "/secret/secretName"));
            let sources =
                volume.pointer("/projected/sources").and_then(Value::as_array).into_iter().flatten();
            names.extend(sources.filter_map(|source| text(source, "/secret/name")));
        }
        for container in self.containers.iter().chain(&self.init_containers) {
            names
                .extend(container.env.iter().filter_map(|entry| text(entry, "/valueFrom/secretKeyRef/name")));
            names.extend(container.env_from.iter().filter_map(|entry| text(entry, "/secretRef/name")));
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_kept_as_somebody_would_write_it() {
        let token = |name: &str| json!({ "name": name, "mountPath": TOKEN_DIRECTORY, "readOnly": true });
        let data = json!({ "name": "data", "mountPath": "/data" });
        let object = json!({
            "metadata": {
                "name": "p", "namespace": "n", "uid": "u", "resourceVersion": "7", "managedFields": [],
                "creationTimestamp": "2026-11-21T00:00:00Z", "labels": { "app": "p" },
            },
            "spec": {
                "nodeName": "k8s-agentpool1-0", "priority": 0, "serviceAccountName": "sa",
                "volumes": [
                    { "name": "kube-api-access-x7k2p", "projected": { "sources": [] } },
                    { "name": "sa-token-abcde", "secret": { "secretName": "sa-token-abcde" } },
                    { "name": "data", "emptyDir": {} },
                ],
                "containers": [{ "name": "c", "volumeMounts": [token("kube-api-access-x7k2p"), token("sa-token-abcde"), data.clone()] }],
                "initContainers": [{ "name": "i", "volumeMounts": [token("kube-api-access-x7k2p")] }, { "name": "j" }],
            },
            "status": { "phase": "Running" },
        });
        assert_eq!(
            sanitized(object, "run"),
            json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": "p", "namespace": "n", "labels": { "app": "p" }, "annotations": { RECREATED: "run" },
                },
                "spec": {
                    "serviceAccountName": "sa",
                    "volumes": [{ "name": "data", "emptyDir": {} }],
                    "containers": [{ "name": "c", "volumeMounts": [data] }],
                    "initContainers": [{ "name": "i", "volumeMounts": [] }, { "name": "j" }],
                },
            })
        );
    }

    #[test]
    fn a_token_that_its_owner_mounts_stays() {
        let spec = json!({
            "volumes": [{ "name": "t", "secret": { "secretName": "robot-token" } }],
            "containers": [{ "volumeMounts": [{ "name": "t", "mountPath": TOKEN_DIRECTORY }] }],
        });
        let object = json!({ "metadata": {}, "spec": spec.clone() });
        assert_eq!(sanitized(object, "run")["spec"], spec);
    }

    #[test]
    fn all_ways_to_use_a_secret_are_seen() {
        let spec: PodSpec = serde_json::from_value(json!({
            "volumes": [
                { "secret": { "secretName": "a" } },
                { "projected": { "sources": [{ "secret": { "name": "b" } }, { "configMap": { "name": "x" } }] } },
            ],
            "containers": [{ "env": [{ "valueFrom": { "secretKeyRef": { "name": "c", "key": "k" } } }] }],
            "initContainers": [{ "envFrom": [{ "secretRef": { "name": "d" } }], "env": null }],
        }))
        .expect("a specification");
        assert_eq!(spec.secrets().into_iter().collect::<String>(), "abcd");
    }
}
