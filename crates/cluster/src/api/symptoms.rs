//! What a Kubernetes API shows of troubles that no credential tells of; nothing is changed.

use std::collections::BTreeSet;

use futures::try_join;
use kube::Client;
use kubecert_core::assess::{CrashingPod, OuterService, ServingRequest};
use kubecert_core::inventory::ObjectRef;
use serde::Deserialize;

use super::client::Result;
use super::object::{Condition, Meta, holds, null_is_default};
use super::request::Collection;

/// The signer of kubelets' serving certificates (Kubernetes, `pkg/apis/certificates`).
const SERVING: &str = "kubernetes.io/kubelet-serving";

/// How the names of the product's pods begin that renew the certificates of nodes.
const RENEWAL_WORKERS: &str = "cert-renewal";

/// From so many starts on, a pod that is not ready counts as one that crashes: between two crashes it may be running.
const MANY_RESTARTS: u64 = 3;

/// Requests for kubelets' serving certificates that have neither a certificate nor a refusal.
pub(super) async fn serving_requests(client: &Client) -> Result<Vec<ServingRequest>> {
    // `certificates.k8s.io/v1` since Kubernetes 1.19, older than any cluster of the product that still runs.
    let requests = Collection::new("/apis/certificates.k8s.io/v1/certificatesigningrequests");
    let requests = requests.list::<SigningRequest>(client, None).await?;
    Ok(requests.into_iter().filter_map(SigningRequest::open).collect())
}

/// Pods that renew the certificates of nodes, and end again and again.
pub(super) async fn renewal_workers(client: &Client) -> Result<Vec<CrashingPod>> {
    let pods = Collection::namespaced("api/v1", "kube-system", "pods").list::<Pod>(client, None).await?;
    Ok(pods.into_iter().filter_map(Pod::crashing).collect())
}

/// Services of type LoadBalancer that have an address and a pod that is ready, once for each address, as if they had traffic.
///
/// Ports of other protocols than TCP are left out, since nothing can be told of them from outside.
pub(super) async fn outer_services(client: &Client) -> Result<Vec<OuterService>> {
    let (services, endpoints) = (Collection::new("/api/v1/services"), Collection::new("/api/v1/endpoints"));
    let (services, endpoints) =
        try_join!(services.list::<Service>(client, None), endpoints.list::<Endpoints>(client, None))?;
    let ready = |part: &Subset| !part.addresses.is_empty();
    let answered: BTreeSet<(String, String)> = endpoints
        .into_iter()
        .filter(|endpoints| endpoints.subsets.iter().any(ready))
        .map(|endpoints| (endpoints.metadata.namespace, endpoints.metadata.name))
        .collect();
    let outer = services.into_iter().filter(|service| {
        let Meta { namespace, name, deletion_timestamp, .. } = &service.metadata;
        let known = (namespace.clone(), name.clone());
        service.spec.kind == "LoadBalancer" && deletion_timestamp.is_none() && answered.contains(&known)
    });
    Ok(outer.flat_map(Service::at_addresses).collect())
}

#[derive(Deserialize)]
struct SigningRequest {
    #[serde(default)]
    metadata: Meta,
    #[serde(default)]
    spec: SigningRequestSpec,
    #[serde(default)]
    status: SigningRequestStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SigningRequestSpec {
    signer_name: String,
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SigningRequestStatus {
    #[serde(deserialize_with = "null_is_default")]
    certificate: String,
    #[serde(deserialize_with = "null_is_default")]
    conditions: Vec<Condition>,
}

impl SigningRequest {
    fn open(self) -> Option<ServingRequest> {
        let Self { metadata, spec, status } = self;
        let judged = ["Denied", "Failed"].iter().any(|kind| holds(&status.conditions, kind));
        if spec.signer_name != SERVING || judged || !status.certificate.is_empty() {
            return None;
        }
        Some(ServingRequest {
            approved: holds(&status.conditions, "Approved"),
            created: metadata.creation_timestamp.and_then(|created| created.parse().ok()),
            name: metadata.name,
            requestor: spec.username,
        })
    }
}

#[derive(Deserialize)]
struct Pod {
    #[serde(default)]
    metadata: Meta,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    node_name: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    #[serde(deserialize_with = "null_is_default")]
    container_statuses: Vec<Container>,
    #[serde(deserialize_with = "null_is_default")]
    init_container_statuses: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    ready: bool,
    restart_count: u64,
    state: State,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct State {
    waiting: Option<Waiting>,
    terminated: Option<Terminated>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Waiting {
    reason: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Terminated {
    exit_code: i64,
}

impl Container {
    fn crashes(&self) -> bool {
        let waits = self.state.waiting.as_ref().is_some_and(|waiting| waiting.reason == "CrashLoopBackOff");
        // An init container that has done its work has ended with 0, however often it was started.
        let is_done = self.state.terminated.as_ref().is_some_and(|ended| ended.exit_code == 0);
        waits || (!self.ready && !is_done && self.restart_count >= MANY_RESTARTS)
    }
}

impl Pod {
    fn crashing(self) -> Option<CrashingPod> {
        let Self { metadata, spec, status } = self;
        if !metadata.name.starts_with(RENEWAL_WORKERS) || metadata.deletion_timestamp.is_some() {
            return None;
        }
        let all = status.init_container_statuses.iter().chain(&status.container_statuses);
        let restarts = all.clone().map(|container| container.restart_count).sum();
        all.clone().any(Container::crashes).then_some(CrashingPod {
            pod: ObjectRef { namespace: metadata.namespace, name: metadata.name },
            node: spec.node_name,
            restarts,
        })
    }
}

#[derive(Deserialize)]
struct Endpoints {
    #[serde(default)]
    metadata: Meta,
    #[serde(default, deserialize_with = "null_is_default")]
    subsets: Vec<Subset>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Subset {
    /// Those of pods that are ready; others stand in another field.
    #[serde(deserialize_with = "null_is_default")]
    addresses: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Service {
    #[serde(default)]
    metadata: Meta,
    #[serde(default)]
    spec: ServiceSpec,
    #[serde(default)]
    status: ServiceStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ServiceSpec {
    #[serde(rename = "type")]
    kind: String,
    #[serde(deserialize_with = "null_is_default")]
    ports: Vec<Port>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Port {
    port: u16,
    /// TCP where nothing is written.
    protocol: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceStatus {
    load_balancer: LoadBalancer,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    #[serde(deserialize_with = "null_is_default")]
    ingress: Vec<Ingress>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ingress {
    ip: String,
    hostname: String,
}

impl Service {
    fn at_addresses(self) -> Vec<OuterService> {
        let Self { metadata, spec, status } = self;
        let is_tcp = |port: &&Port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
        let ports: Vec<u16> = spec.ports.iter().filter(is_tcp).map(|port| port.port).collect();
        let service = ObjectRef { namespace: metadata.namespace, name: metadata.name };
        let addresses = status.load_balancer.ingress.into_iter();
        let addresses = addresses.map(|at| if at.ip.is_empty() { at.hostname } else { at.ip });
        let at = |address| OuterService {
            service: service.clone(),
            address,
            ports: ports.clone(),
            traffic: Ok(()),
        };
        addresses.filter(|address| !address.is_empty() && !ports.is_empty()).map(at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::answering;
    use super::*;

    #[tokio::test]
    async fn only_requests_of_kubelets_that_nobody_has_answered_count() {
        let client = answering(|_| {
            r#"{"items":[
            {"metadata":{"name":"open","creationTimestamp":"2026-11-22T11:00:00Z"},
             "spec":{"signerName":"kubernetes.io/kubelet-serving","username":"system:node:a"},"status":{}},
            {"metadata":{"name":"approved","creationTimestamp":"?"},
             "spec":{"signerName":"kubernetes.io/kubelet-serving","username":"system:node:b"},
             "status":{"conditions":[{"type":"Approved","status":"True"}]}},
            {"metadata":{"name":"denied"},"spec":{"signerName":"kubernetes.io/kubelet-serving"},
             "status":{"conditions":[{"type":"Denied","status":"True"}]}},
            {"metadata":{"name":"done"},"spec":{"signerName":"kubernetes.io/kubelet-serving"},
             "status":{"certificate":"LS0t","conditions":[{"type":"Approved","status":"True"}]}},
            {"metadata":{"name":"other"},"spec":{"signerName":"kubernetes.io/kube-apiserver-client"}}
            ]}"#
        });
        let found = serving_requests(&client).await.unwrap();
        let told: Vec<_> =
            found.iter().map(|one| (one.name.as_str(), one.approved, one.created.is_some())).collect();
        assert_eq!(told, [("open", false, true), ("approved", true, false)]);
        assert_eq!(found[0].requestor, "system:node:a");
    }

    #[tokio::test]
    async fn renewal_workers_that_crash_are_told_from_those_that_were_started_again() {
        let client = answering(|_| {
            r#"{"items":[
            {"metadata":{"name":"cert-renewal-worker-waits","namespace":"kube-system"},"spec":{"nodeName":"a"},
             "status":{"containerStatuses":[{"restartCount":1,"state":{"waiting":{"reason":"CrashLoopBackOff"}}}]}},
            {"metadata":{"name":"cert-renewal-worker-runs","namespace":"kube-system"},
             "status":{"containerStatuses":[{"restartCount":9,"state":{"running":{}}}]}},
            {"metadata":{"name":"cert-renewal-worker-well"},
             "status":{"containerStatuses":[{"restartCount":9,"ready":true,"state":{"running":{}}}],
                       "initContainerStatuses":[{"restartCount":5,"state":{"terminated":{"exitCode":0}}}]}},
            {"metadata":{"name":"cert-renewal-worker-new"},"status":{"containerStatuses":null}},
            {"metadata":{"name":"coredns"},"spec":{},
             "status":{"containerStatuses":[{"state":{"waiting":{"reason":"CrashLoopBackOff"}}}]}}
            ]}"#
        });
        let found = renewal_workers(&client).await.unwrap();
        let told: Vec<_> =
            found.iter().map(|one| (one.pod.name.as_str(), one.node.as_str(), one.restarts)).collect();
        assert_eq!(told, [("cert-renewal-worker-waits", "a", 1), ("cert-renewal-worker-runs", "", 9)]);
    }

    #[tokio::test]
    async fn services_are_told_once_for_each_address_if_a_pod_could_answer() {
        let client = answering(|target| match target {
            path if path.starts_with("/api/v1/services") => {
                r#"{"items":[
                {"metadata":{"name":"web","namespace":"work"},
                 "spec":{"type":"LoadBalancer","ports":[{"port":80},{"port":443,"protocol":"TCP"},{"port":53,"protocol":"UDP"}]},
                 "status":{"loadBalancer":{"ingress":[{"ip":"10.0.0.70"},{"hostname":"web.example"},{}]}}},
                {"metadata":{"name":"empty","namespace":"work"},"spec":{"type":"LoadBalancer","ports":[{"port":80}]},
                 "status":{"loadBalancer":{"ingress":[{"ip":"10.0.0.71"}]}}},
                {"metadata":{"name":"waiting","namespace":"work"},"spec":{"type":"LoadBalancer","ports":[{"port":80}]},
                 "status":{"loadBalancer":{}}},
                {"metadata":{"name":"inner","namespace":"work"},"spec":{"type":"ClusterIP","ports":[{"port":80}]}}
                ]}"#
            }
            _ => {
                r#"{"items":[
                {"metadata":{"name":"web","namespace":"work"},"subsets":[{"addresses":[{"ip":"10.244.0.2"}]}]},
                {"metadata":{"name":"waiting","namespace":"work"},"subsets":[{"addresses":[{"ip":"10.244.0.4"}]}]},
                {"metadata":{"name":"empty","namespace":"work"},"subsets":[{"notReadyAddresses":[{"ip":"10.244.0.3"}]}]},
                {"metadata":{"name":"inner","namespace":"work"}}
                ]}"#
            }
        });
        let found = outer_services(&client).await.unwrap();
        let told: Vec<_> =
            found.iter().map(|one| (one.service.name.as_str(), one.address.as_str())).collect();
        assert_eq!(told, [("web", "10.0.0.70"), ("web", "web.example")]);
        assert_eq!(found[0].ports, [80, 443]);
    }
}
