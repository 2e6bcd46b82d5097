//! Cluster API's own objects, in a management cluster.

use kube::Client;
use kubecert_core::inventory::ObjectRef;
use serde::Deserialize;

use super::client::{Result, found};
use super::request::{Collection, get_path};

/// The group of its objects, whose versions come and go.
const GROUP: &str = "cluster.x-k8s.io";

/// An API group, as far as it says which of its versions to use (Kubernetes, `APIGroup` in `meta/v1/types.go`).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    preferred_version: Version,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

/// A `Cluster`; in all of its versions the field has this name (Cluster API 1.9, `api/v1beta1/cluster_types.go`).
#[derive(Deserialize)]
struct Cluster {
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
struct Spec {
    paused: Option<bool>,
}

/// Whether its controllers leave a cluster alone; `None` where the API knows no such cluster.
pub(super) async fn is_paused(client: &Client, cluster: &ObjectRef) -> Result<Option<bool>> {
    let group = found(get_path::<Group>(client, &format!("/apis/{GROUP}")).await)?;
    let Some(Group { preferred_version }) = group else { return Ok(None) };
    let group = format!("apis/{GROUP}/{}", preferred_version.version);
    let clusters = Collection::namespaced(&group, &cluster.namespace, "clusters");
    let there = clusters.get::<Cluster>(client, &cluster.name).await?;
    Ok(there.map(|cluster| cluster.spec.paused.unwrap_or(false)))
}

#[cfg(test)]
mod tests {
    use super::super::request::answering;
    use super::*;

    #[tokio::test]
    async fn a_cluster_is_paused_if_it_says_so() {
        let client = answering(|target| match target {
            "/apis/cluster.x-k8s.io" => r#"{"kind":"APIGroup","preferredVersion":{"version":"v1beta2"}}"#,
            "/apis/cluster.x-k8s.io/v1beta2/namespaces/fleet/clusters/rests" => r#"{"spec":{"paused":true}}"#,
            "/apis/cluster.x-k8s.io/v1beta2/namespaces/fleet/clusters/works" => r#"{"spec":{}}"#,
            other => panic!("{other}"),
        });
        for (name, paused) in [("rests", true), ("works", false)] {
            let cluster = ObjectRef { namespace: "fleet".to_owned(), name: name.to_owned() };
            assert_eq!(is_paused(&client, &cluster).await.unwrap(), Some(paused), "{name}");
        }
    }
}
