//! The cluster-autoscaler, as AKS engine's addon runs it: `kube-system/cluster-autoscaler`.

use std::collections::BTreeMap;

use kube::Client;
use kubecert_engine::ports::{AUTOSCALER_ANNOTATION, Autoscaler};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Result;
use super::request::Collection;

const NAME: &str = "cluster-autoscaler";

#[derive(Deserialize)]
struct Deployment {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct Spec {
    /// Kubernetes takes an absent number for one.
    replicas: Option<u32>,
}

impl Deployment {
    fn replicas(&self) -> u32 {
        self.spec.replicas.unwrap_or(1)
    }

    fn remembered(&self) -> Option<u32> {
        self.metadata.annotations.get(AUTOSCALER_ANNOTATION)?.parse().ok()
    }

    /// What becomes of it when it is to rest, and the request for that.
    fn pausing(&self) -> (Autoscaler, Option<Value>) {
        let replicas = match (self.remembered(), self.replicas()) {
            (Some(remembered), 0) => return (Autoscaler::Paused { replicas: remembered }, None),
            (Some(remembered), _) => remembered,
            (None, 0) => return (Autoscaler::Off, None),
            (None, replicas) => replicas,
        };
        let patch = json!({
            "metadata": {"annotations": {AUTOSCALER_ANNOTATION: replicas.to_string()}},
            "spec": {"replicas": 0},
        });
        (Autoscaler::Paused { replicas }, Some(patch))
    }

    /// What becomes of it when it is to work again, and the request for that; `None` where nothing is remembered.
    fn resuming(&self) -> Option<(u32, Value)> {
        if !self.metadata.annotations.contains_key(AUTOSCALER_ANNOTATION) {
            return None;
        }
        let mut patch = json!({"metadata": {"annotations": {AUTOSCALER_ANNOTATION: null}}});
        let replicas = match self.replicas() {
            // An annotation that somebody has made unreadable stands for the usual number.
            0 => self.remembered().unwrap_or(1),
            theirs => return Some((theirs, patch)),
        };
        patch["spec"] = json!({"replicas": replicas});
        Some((replicas, patch))
    }
}

fn deployments() -> Collection {
    Collection::namespaced("apis/apps/v1", "kube-system", "deployments")
}

pub(super) async fn pause(client: &Client) -> Result<Autoscaler> {
    let Some(found) = deployments().get::<Deployment>(client, NAME).await? else {
        return Ok(Autoscaler::Absent);
    };
    let (outcome, patch) = found.pausing();
    if let Some(patch) = patch {
        deployments().merge(client, NAME, &patch).await?;
    }
    Ok(outcome)
}

pub(super) async fn resume(client: &Client) -> Result<Option<u32>> {
    let found = deployments().get::<Deployment>(client, NAME).await?;
    let Some((replicas, patch)) = found.and_then(|found| found.resuming()) else { return Ok(None) };
    deployments().merge(client, NAME, &patch).await?;
    Ok(Some(replicas))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(annotation: Option<&str>, replicas: Option<u32>) -> Deployment {
        let annotations = annotation.map(|value| json!({AUTOSCALER_ANNOTATION: value})).unwrap_or(json!({}));
        let mut value = json!({"metadata": {"annotations": annotations}, "spec": {}});
        if let Some(replicas) = replicas {
            value["spec"]["replicas"] = replicas.into();
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn an_absent_number_of_replicas_is_one() {
        let (outcome, patch) = deployment(None, None).pausing();
        assert_eq!(outcome, Autoscaler::Paused { replicas: 1 });
        let patch = patch.unwrap();
        assert_eq!(patch["metadata"]["annotations"][AUTOSCALER_ANNOTATION], "1");
        assert_eq!(patch["spec"]["replicas"], 0);
        let bare: Deployment = serde_json::from_value(json!({"metadata": {}})).unwrap();
        assert_eq!(bare.pausing().0, Autoscaler::Paused { replicas: 1 });
    }

    #[test]
    fn what_is_remembered_is_not_overwritten() {
        let (outcome, patch) = deployment(Some("3"), Some(0)).pausing();
        assert_eq!((outcome, patch), (Autoscaler::Paused { replicas: 3 }, None));
        assert_eq!(deployment(Some("3"), Some(2)).pausing().0, Autoscaler::Paused { replicas: 3 });
        assert_eq!(deployment(None, Some(0)).pausing(), (Autoscaler::Off, None));
    }

    #[test]
    fn replicas_come_back_unless_somebody_has_scaled_it() {
        let (replicas, patch) = deployment(Some("3"), Some(0)).resuming().unwrap();
        assert_eq!((replicas, &patch["spec"]["replicas"]), (3, &json!(3)));
        assert!(patch["metadata"]["annotations"][AUTOSCALER_ANNOTATION].is_null());
        let (replicas, patch) = deployment(Some("3"), Some(5)).resuming().unwrap();
        assert_eq!((replicas, patch.get("spec")), (5, None));
        assert_eq!(deployment(Some("?"), Some(0)).resuming().unwrap().0, 1);
        assert_eq!(deployment(None, Some(0)).resuming(), None);
    }
}
