//! Everything that an inventory wants of the API.

use std::collections::BTreeMap;
use std::fmt;

use futures::try_join;
use jiff::Timestamp;
use kube::Client;
use kubecert_core::inventory::{ApiFacts, CertificateFacts, NodeStatus};
use kubecert_core::model::{KubernetesVersion, NodeName};
use kubecert_engine::facts::certificate_facts;
use kubecert_engine::ports::PortResult;
use kubecert_pki::read_pem_certificates;
use serde::Deserialize;

use super::client::{CallError, Clients, Result};
use super::object::{Condition, Meta, holds, null_is_default};
use super::request::{Collection, get_path};
use super::{pod, secret, trust, workload};

/// The whole look. Its parts are asked for at once; each is tried again on its own.
pub(super) async fn look(clients: &Clients) -> PortResult<ApiFacts> {
    let list = |part: &str| format!("cannot list {part}");
    let whats = [
        "cannot read the version of the Kubernetes API".to_owned(),
        list("nodes"),
        list("workloads"),
        list("pods"),
        list("service-account token secrets"),
        list("TLS secrets"),
        list("CA bundles"),
        list("published roots"),
    ];
    let (
        version,
        nodes,
        (workloads, tls_secrets),
        (bare_pods, job_pods),
        token_secrets,
        ca_bundles,
        published,
    ) = try_join!(
        clients.call(&whats[0], |client| async move { version(&client).await }),
        clients.call(&whats[1], |client| async move { self::nodes(&client).await }),
        async {
            let found =
                clients.call(&whats[2], |client| async move { workload::list(&client).await }).await?;
            let users = &found;
            let tls =
                clients.call(&whats[5], |client| async move { secret::tls(&client, users).await }).await?;
            Ok((found, tls))
        },
        clients.call(&whats[3], |client| async move { pod::list(&client).await }),
        clients.call(&whats[4], |client| async move { secret::tokens(&client).await }),
        clients.call(&whats[6], |client| async move { trust::ca_bundles(&client).await }),
        clients.call(&whats[7], |client| async move { trust::published_roots(&client).await }),
    )?;
    Ok(ApiFacts {
        version,
        nodes,
        workloads: workloads.into_iter().map(|found| found.workload).collect(),
        bare_pods,
        job_pods,
        token_secrets,
        tls_secrets,
        ca_bundles,
        published_roots: published
            .into_iter()
            .map(|(namespace, pem)| {
                let fingerprints = fingerprints(&format_args!("kube-root-ca.crt in {namespace}"), &pem);
                (namespace, fingerprints)
            })
            .collect(),
    })
}

/// The nodes with their last heartbeats.
pub(super) async fn nodes(client: &Client) -> Result<Vec<NodeStatus>> {
    let (nodes, leases) = (
        Collection::new("/api/v1/nodes"),
        Collection::namespaced("apis/coordination.k8s.io/v1", "kube-node-lease", "leases"),
    );
    let (nodes, leases) =
        try_join!(nodes.list::<Node>(client, None), leases.list::<NodeLease>(client, None))?;
    let renewed: BTreeMap<String, Timestamp> = leases
        .into_iter()
        .filter_map(|lease| Some((lease.metadata.name, lease.spec.renew_time?.parse().ok()?)))
        .collect();
    Ok(nodes
        .into_iter()
        .map(|node| {
            let Node { metadata, status } = node;
            let internal = status.addresses.iter().find(|address| address.kind == "InternalIP");
            NodeStatus {
                address: internal.and_then(|address| address.address.parse().ok()),
                operating_system: status.node_info.operating_system,
                ready: holds(&status.conditions, "Ready"),
                renewed: renewed.get(&metadata.name).copied(),
                name: NodeName::new(metadata.name),
            }
        })
        .collect())
}

/// The certificates in a PEM text. One that cannot be read is left out and logged with its holder: what else the text
/// holds is worth knowing.
pub(super) fn certificates(holder: &dyn fmt::Display, pem: &[u8]) -> Vec<CertificateFacts> {
    let certificates = read_pem_certificates(pem).into_iter().filter_map(|certificate| match certificate {
        Ok(certificate) => Some(certificate_facts(&certificate)),
        Err(error) => {
            tracing::warn!(%holder, %error, "holds a certificate that cannot be read");
            None
        }
    });
    certificates.collect()
}

/// The fingerprints of the certificates in a PEM text.
pub(super) fn fingerprints(holder: &dyn fmt::Display, pem: &str) -> Vec<String> {
    certificates(holder, pem.as_bytes()).into_iter().map(|facts| facts.fingerprint).collect()
}

async fn version(client: &Client) -> Result<KubernetesVersion> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        git_version: String,
    }
    let Version { git_version } = get_path(client, "/version").await?;
    KubernetesVersion::parse(&git_version)
        .ok_or_else(|| CallError::Answer(format!("{git_version:?} is no version of Kubernetes")))
}

#[derive(Deserialize)]
struct Node {
    #[serde(default)]
    metadata: Meta,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    #[serde(deserialize_with = "null_is_default")]
    addresses: Vec<Address>,
    #[serde(deserialize_with = "null_is_default")]
    conditions: Vec<Condition>,
    node_info: NodeInfo,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Address {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeInfo {
    operating_system: String,
}

#[derive(Deserialize)]
struct NodeLease {
    #[serde(default)]
    metadata: Meta,
    #[serde(default)]
    spec: NodeLeaseSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeLeaseSpec {
    renew_time: Option<String>,
}
