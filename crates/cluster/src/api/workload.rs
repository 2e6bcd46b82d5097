//! Workload controllers: which there are, restarting them, and how far that is.

use futures::try_join;
use kube::Client;
use kubecert_core::inventory::{WorkloadKind, WorkloadRef};
use kubecert_engine::ports::Rollout;
use serde::Deserialize;
use serde_json::json;

use super::client::Result;
use super::object::{Condition, Meta, null_is_default};
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

/// How far the rollout of a workload is.
pub(super) async fn rollout(client: &Client, workload: &WorkloadRef) -> Result<Rollout> {
    let found: Option<Workload> = collection(workload).get(client, &workload.name).await?;
    Ok(found.map_or(Rollout::Complete, |found| progress(workload.kind, &found)))
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
    spec: PodSpec,
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
}
