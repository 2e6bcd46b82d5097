//! Workload controllers: which there are, restarting them, and how far that is.

use std::collections::{BTreeMap, BTreeSet};

use futures::try_join;
use kube::Client;
use kubecert_core::inventory::{WorkloadKind, WorkloadRef};
use kubecert_engine::ports::Rollout;
use serde::Deserialize;
use serde_json::json;

use super::client::Result;
use super::object::{Condition, Meta, holds, null_is_default};
use super::pod::PodSpec;
use super::request::Collection;

/// The annotation by which `kubectl rollout restart` starts a rollout, so that its users recognise it.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// A workload with what its pods refer to.
pub(super) struct Found {
    pub(super) workload: WorkloadRef,
    pub(super) pods: PodSpec,
}

/// All Deployments, DaemonSets and StatefulSets.
pub(super) async fn list(client: &Client) -> Result<Vec<Found>> {
    let all = |kind| async move {
        let workloads: Vec<Workload> =
            Collection::new(format!("/apis/apps/v1/{}", plural(kind))).list(client, None).await?;
        Result::Ok(workloads.into_iter().map(move |workload| Found {
            workload: WorkloadRef {
                kind,
                namespace: workload.metadata.namespace,
                name: workload.metadata.name,
            },
            pods: workload.spec.template.spec,
        }))
    };
    let (daemon_sets, deployments, stateful_sets) = try_join!(
        all(WorkloadKind::DaemonSet),
        all(WorkloadKind::Deployment),
        all(WorkloadKind::StatefulSet)
    )?;
    Ok(daemon_sets.chain(deployments).chain(stateful_sets).collect())
}

/// Starts a rollout. The same value again changes nothing, so the API server does not start another one.
pub(super) async fn restart(client: &Client, workload: &WorkloadRef, stamp: &str) -> Result<()> {
    let patch = json!({ "spec": { "template": { "metadata": { "annotations": { RESTARTED_AT: stamp } } } } });
    collection(workload).strategic(client, &workload.name, &patch).await.map(drop)
}

/// The annotation's present value; the outer `None` where the workload is gone.
pub(super) async fn stamp(client: &Client, workload: &WorkloadRef) -> Result<Option<Option<String>>> {
    let found: Option<Workload> = collection(workload).get(client, &workload.name).await?;
    Ok(found.map(|found| found.spec.template.metadata.annotations.get(RESTARTED_AT).cloned()))
}

/// Sets the annotation to what it was, or takes it away, which is a rollout, too, if it changes anything.
pub(super) async fn set_stamp(client: &Client, workload: &WorkloadRef, stamp: Option<&str>) -> Result<()> {
    let patch = json!({ "spec": { "template": { "metadata": { "annotations": { RESTARTED_AT: stamp } } } } });
    collection(workload).strategic(client, &workload.name, &patch).await.map(drop)
}

/// How far the rollout of a workload is.
pub(super) async fn rollout(client: &Client, workload: &WorkloadRef) -> Result<Rollout> {
    let found: Option<Workload> = collection(workload).get(client, &workload.name).await?;
    let Some(found) = found else { return Ok(Rollout::Complete) };
    let progress = progress(workload.kind, &found);
    if matches!(progress, Rollout::Complete) || found.status.observed_generation < found.metadata.generation {
        return Ok(progress);
    }
    let nodes: Vec<Node> = Collection::new("/api/v1/nodes").list(client, None).await?;
    let silent: BTreeSet<String> =
        nodes.into_iter().filter(Node::is_silent).map(|node| node.metadata.name).collect();
    if silent.is_empty() {
        return Ok(progress);
    }
    let pods: Vec<Pod> =
        Collection::namespaced("api/v1", &workload.namespace, "pods").list(client, None).await?;
    let (away, there): (Vec<Pod>, Vec<Pod>) = pods
        .into_iter()
        .filter(|pod| found.spec.selector.matches(&pod.metadata.labels))
        .partition(|pod| silent.contains(&pod.spec.node_name));
    Ok(if away.is_empty() { progress } else { without(workload.kind, &found, away.len(), &there) })
}

/// How far the rollout is on the nodes that answer.
///
/// A pod on a node whose kubelet is silent can be neither replaced nor ended, so its controller would be waited for until
/// the node comes back. Whether a run may go on without that node is decided elsewhere.
fn without(kind: WorkloadKind, workload: &Workload, away: usize, there: &[Pod]) -> Rollout {
    let Workload { spec, status, .. } = workload;
    let wanted = spec.template.metadata.annotations.get(RESTARTED_AT);
    let old = there.iter().filter(|pod| pod.metadata.annotations.get(RESTARTED_AT) != wanted).count();
    if old > 0 {
        return Rollout::Under(format!("{old} old pods still run{}", obstacle(kind, spec, status)));
    }
    let away = i64::try_from(away).unwrap_or(i64::MAX);
    let wanted = match kind {
        WorkloadKind::DaemonSet => status.desired_number_scheduled.saturating_sub(away),
        WorkloadKind::StatefulSet => spec.replicas.unwrap_or(1).saturating_sub(away),
        // Its pods are made again on other nodes.
        WorkloadKind::Deployment => spec.replicas.unwrap_or(1),
    };
    let ready = there.iter().filter(|pod| holds(&pod.status.conditions, "Ready")).count();
    if i64::try_from(ready).unwrap_or(i64::MAX) < wanted {
        return Rollout::Under(format!("{ready} of {wanted} pods ready on nodes that answer"));
    }
    Rollout::Complete
}

/// What `kubectl rollout status` looks at, and three cases more.
///
/// Where the owner has said that pods are not to be replaced by themselves (`OnDelete`, a partition, a paused
/// Deployment), kubectl reports an error or that all is done. Here it is neither: as long as old pods run, the old CA
/// is trusted by somebody, and replacing them against the owner's word is not for us to decide. So the rollout stays
/// under way, with a text that says what the operator can do.
fn progress(kind: WorkloadKind, workload: &Workload) -> Rollout {
    let Workload { metadata, spec, status } = workload;
    if status.observed_generation < metadata.generation {
        return under("its controller has not seen the change yet");
    }
    let wanted = match kind {
        WorkloadKind::DaemonSet => status.desired_number_scheduled,
        WorkloadKind::Deployment | WorkloadKind::StatefulSet => spec.replicas.unwrap_or(1),
    };
    let (updated, ready) = match kind {
        WorkloadKind::DaemonSet => (status.updated_number_scheduled, status.number_available),
        WorkloadKind::Deployment => (status.updated_replicas, status.available_replicas),
        // It counts only pods of an update that is under way: 0 once all are of the newest revision on old clusters.
        WorkloadKind::StatefulSet if status.update_revision == status.current_revision => {
            (status.updated_replicas.max(status.current_replicas), status.ready_replicas)
        }
        WorkloadKind::StatefulSet => (status.updated_replicas, status.ready_replicas),
    };
    if updated < wanted {
        return Rollout::Under(format!("{updated} of {wanted} pods updated{}", obstacle(kind, spec, status)));
    }
    if kind == WorkloadKind::Deployment && status.replicas > updated {
        return Rollout::Under(format!("{} old pods still run", status.replicas - updated));
    }
    if ready < wanted {
        return Rollout::Under(format!("{ready} of {wanted} pods ready"));
    }
    Rollout::Complete
}

/// Why the rollout will not go on by itself, as far as that can be told.
fn obstacle(kind: WorkloadKind, spec: &Spec, status: &Status) -> String {
    let strategy = &spec.update_strategy;
    let partition = strategy.rolling_update.as_ref().map_or(0, |update| update.partition);
    match kind {
        WorkloadKind::Deployment if spec.paused => "; it is paused, resume it".to_owned(),
        WorkloadKind::Deployment => {
            let stuck = |condition: &&Condition| condition.reason == "ProgressDeadlineExceeded";
            let condition = status.conditions.iter().find(stuck);
            condition.map_or_else(String::new, |condition| format!("; {}", condition.message))
        }
        WorkloadKind::DaemonSet | WorkloadKind::StatefulSet if strategy.kind == "OnDelete" => {
            "; its update strategy is OnDelete, so delete its old pods when it suits them".to_owned()
        }
        WorkloadKind::StatefulSet if partition > 0 => {
            format!("; its partition keeps pods below {partition} as they are, delete or lower the partition")
        }
        WorkloadKind::DaemonSet | WorkloadKind::StatefulSet => String::new(),
    }
}

fn under(text: &str) -> Rollout {
    Rollout::Under(text.to_owned())
}

fn collection(workload: &WorkloadRef) -> Collection {
    Collection::namespaced("apis/apps/v1", &workload.namespace, plural(workload.kind))
}

const fn plural(kind: WorkloadKind) -> &'static str {
    match kind {
        WorkloadKind::DaemonSet => "daemonsets",
        WorkloadKind::Deployment => "deployments",
        WorkloadKind::StatefulSet => "statefulsets",
    }
}

#[derive(Deserialize)]
struct Workload {
    #[serde(default)]
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    replicas: Option<i64>,
    selector: Selector,
    paused: bool,
    update_strategy: Strategy,
    template: Template,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Strategy {
    #[serde(rename = "type")]
    kind: String,
    rolling_update: Option<RollingUpdate>,
}

/// A DaemonSet's has other fields, which do not matter here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RollingUpdate {
    #[serde(deserialize_with = "null_is_default")]
    partition: i64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Template {
    metadata: Meta,
    spec: PodSpec,
}

/// Which pods are a workload's. One by expressions, which is rare, matches none here: then nobody is left out.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Selector {
    #[serde(deserialize_with = "null_is_default")]
    match_labels: BTreeMap<String, String>,
}

impl Selector {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.match_labels.is_empty()
            && self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Node {
    metadata: Meta,
    status: Conditions,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Conditions {
    #[serde(deserialize_with = "null_is_default")]
    conditions: Vec<Condition>,
}

impl Node {
    /// Whether its kubelet has not been heard of for so long that the control plane knows nothing about it.
    fn is_silent(&self) -> bool {
        self.status
            .conditions
            .iter()
            .any(|condition| condition.kind == "Ready" && condition.status == "Unknown")
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pod {
    metadata: PodMeta,
    spec: Placement,
    status: Conditions,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodMeta {
    #[serde(deserialize_with = "null_is_default")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_is_default")]
    annotations: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Placement {
    node_name: String,
}

/// The status of all three kinds; each has some of these fields.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    observed_generation: i64,
    replicas: i64,
    updated_replicas: i64,
    ready_replicas: i64,
    available_replicas: i64,
    current_replicas: i64,
    current_revision: String,
    update_revision: String,
    desired_number_scheduled: i64,
    updated_number_scheduled: i64,
    number_available: i64,
    #[serde(deserialize_with = "null_is_default")]
    conditions: Vec<Condition>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(kind: WorkloadKind, workload: Value, expected: &str) {
        let workload = serde_json::from_value(workload).expect("a workload");
        let text = match progress(kind, &workload) {
            Rollout::Complete => "complete".to_owned(),
            Rollout::Under(text) => text,
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn deployments_are_done_when_no_old_pod_is_left() {
        let deployment = |status: Value| json!({ "metadata": { "generation": 2 }, "spec": { "replicas": 2 }, "status": status });
        let check = |status, expected| check(WorkloadKind::Deployment, deployment(status), expected);
        check(json!({ "observedGeneration": 1 }), "its controller has not seen the change yet");
        check(json!({ "observedGeneration": 2, "replicas": 2 }), "0 of 2 pods updated");
        check(
            json!({ "observedGeneration": 2, "replicas": 3, "updatedReplicas": 2 }),
            "1 old pods still run",
        );
        check(
            json!({ "observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 1 }),
            "1 of 2 pods ready",
        );
        check(
            json!({ "observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2 }),
            "complete",
        );
    }

    #[test]
    fn a_scaled_down_workload_is_done_at_once() {
        check(WorkloadKind::Deployment, json!({ "spec": { "replicas": 0 } }), "complete");
        check(WorkloadKind::DaemonSet, json!({ "status": { "desiredNumberScheduled": 0 } }), "complete");
    }

    #[test]
    fn what_the_owner_holds_back_is_under_way_and_says_why() {
        check(
            WorkloadKind::DaemonSet,
            json!({ "spec": { "updateStrategy": { "type": "OnDelete" } }, "status": { "desiredNumberScheduled": 2 } }),
            "0 of 2 pods updated; its update strategy is OnDelete, so delete its old pods when it suits them",
        );
        check(
            WorkloadKind::StatefulSet,
            json!({
                "spec": { "replicas": 3, "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 2 } } },
                "status": { "updatedReplicas": 1, "updateRevision": "b", "currentRevision": "a" },
            }),
            "1 of 3 pods updated; its partition keeps pods below 2 as they are, delete or lower the partition",
        );
        check(
            WorkloadKind::Deployment,
            json!({ "spec": { "paused": true } }),
            "0 of 1 pods updated; it is paused, resume it",
        );
    }

    #[test]
    fn a_stateful_set_of_one_revision_is_done_when_its_pods_are_ready() {
        let status = json!({ "currentReplicas": 2, "readyReplicas": 2, "currentRevision": "a", "updateRevision": "a" });
        check(WorkloadKind::StatefulSet, json!({ "spec": { "replicas": 2 }, "status": status }), "complete");
    }

    #[test]
    fn a_daemon_set_with_a_limit_in_percent_is_read() {
        check(
            WorkloadKind::DaemonSet,
            json!({
                "spec": { "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": "10%", "maxSurge": 0 } } },
                "status": { "desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 1 },
            }),
            "1 of 2 pods ready",
        );
    }

    #[test]
    fn pods_on_silent_nodes_are_not_waited_for() {
        let daemon_set: Workload = serde_json::from_value(json!({
            "spec": { "template": { "metadata": { "annotations": { RESTARTED_AT: "2" } } } },
            "status": { "desiredNumberScheduled": 2 },
        }))
        .expect("a workload");
        let check = |stamp: &str, ready: &str, expected: &str| {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": { "annotations": { RESTARTED_AT: stamp } },
                "status": { "conditions": [{ "type": "Ready", "status": ready }] },
            }))
            .expect("a pod");
            let text = match without(WorkloadKind::DaemonSet, &daemon_set, 1, &[pod]) {
                Rollout::Complete => "complete".to_owned(),
                Rollout::Under(text) => text,
            };
            assert_eq!(text, expected);
        };
        check("1", "True", "1 old pods still run");
        check("2", "False", "0 of 1 pods ready on nodes that answer");
        check("2", "True", "complete");
    }
}
