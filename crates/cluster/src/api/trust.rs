//! The objects through which a cluster publishes whom to trust.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::try_join;
use kube::Client;
use kubecert_core::inventory::{CaBundleHolder, CertificateFacts};
use kubecert_engine::kubeconfig::replace_roots;
use kubecert_engine::ports::{ExtensionAuthentication, Lease, PortResult};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{CallError, Clients, Result};
use super::look::certificates;
use super::object::{Condition, ConfigMap, Meta, Named, holds, null_is_default};
use super::request::Collection;

const API_SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const CUSTOM_RESOURCES: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const CLUSTER_INFO: &str = "cluster-info";
const EXTENSION_AUTHENTICATION: &str = "extension-apiserver-authentication";

/// `kube-root-ca.crt` of each namespace. Namespaces that are being deleted are left out: nothing is published there
/// any more.
pub(super) async fn published_roots(client: &Client) -> Result<Vec<(String, String)>> {
    let (namespaces, maps) = (Collection::new("/api/v1/namespaces"), Collection::new("/api/v1/configmaps"));
    let (namespaces, maps) = try_join!(
        namespaces.list::<Named>(client, None),
        maps.list::<ConfigMap>(client, Some("metadata.name=kube-root-ca.crt")),
    )?;
    let published: BTreeMap<_, _> = maps
        .into_iter()
        .map(|mut map| (map.metadata.namespace, map.data.remove("ca.crt").unwrap_or_default()))
        .collect();
    let living = namespaces.into_iter().filter(|namespace| namespace.metadata.deletion_timestamp.is_none());
    Ok(living
        .map(|namespace| {
            let roots = published.get(&namespace.metadata.name).cloned().unwrap_or_default();
            (namespace.metadata.name, roots)
        })
        .collect())
}

/// `kube-system/extension-apiserver-authentication`.
pub(super) async fn extension_authentication(client: &Client) -> Result<Option<ExtensionAuthentication>> {
    let maps = Collection::namespaced("api/v1", "kube-system", "configmaps");
    let map: Option<ConfigMap> = maps.get(client, EXTENSION_AUTHENTICATION).await?;
    Ok(map.map(|mut map| ExtensionAuthentication {
        client_ca: map.data.remove("client-ca-file").unwrap_or_default(),
        requestheader_client_ca: map.data.remove("requestheader-client-ca-file").unwrap_or_default(),
    }))
}

/// Writes these CAs in the place of those that are there. Every API server watches it, and adds its own where they are
/// missing (k8s.io/kubernetes/pkg/controlplane/controller/clusterauthenticationtrust).
pub(super) async fn rebuild_extension_authentication(
    client: &Client,
    only: &ExtensionAuthentication,
) -> Result<()> {
    let data = json!({
        "client-ca-file": only.client_ca,
        "requestheader-client-ca-file": only.requestheader_client_ca,
    });
    let maps = Collection::namespaced("api/v1", "kube-system", "configmaps");
    maps.merge(client, EXTENSION_AUTHENTICATION, &json!({ "data": data })).await.map(drop)
}

/// The kubeconfig in `kube-public/cluster-info`; `None` where there is none.
pub(super) async fn cluster_info(client: &Client) -> Result<Option<String>> {
    let maps = Collection::namespaced("api/v1", "kube-public", "configmaps");
    let map: Option<ConfigMap> = maps.get(client, CLUSTER_INFO).await?;
    Ok(map.and_then(|mut map| map.data.remove("kubeconfig")))
}

/// Writes the kubeconfig in `kube-public/cluster-info`. The controller manager signs it anew for each bootstrap token
/// (k8s.io/kubernetes/pkg/controller/bootstrap/bootstrapsigner.go).
pub(super) async fn set_cluster_info(client: &Client, kubeconfig: &str) -> Result<()> {
    let maps = Collection::namespaced("api/v1", "kube-public", "configmaps");
    maps.merge(client, CLUSTER_INFO, &json!({ "data": { "kubeconfig": kubeconfig } })).await.map(drop)
}

/// Replaces the CAs in `kube-public/cluster-info`; whether there is one.
pub(super) async fn publish_cluster_info(client: &Client, roots: &str) -> Result<bool> {
    let Some(present) = cluster_info(client).await? else { return Ok(false) };
    let edited = replace_roots(present.as_bytes(), roots.as_bytes());
    let edited = edited.map_err(|error| CallError::Answer(format!("kube-public/cluster-info: {error}")))?;
    if edited.as_slice() != present.as_bytes() {
        set_cluster_info(client, &String::from_utf8_lossy(&edited)).await?;
    }
    Ok(true)
}

/// Empties the holder of the controller manager's lease, if it is still `holder`; candidates take an empty one at once
/// (client-go, `tools/leaderelection`, tryAcquireOrRenew and release). The resource version makes this fail rather than
/// take the lease from somebody who has renewed it meanwhile.
pub(super) async fn release_controller_manager_lease(client: &Client, holder: &str) -> Result<()> {
    let leases = Collection::namespaced("apis/coordination.k8s.io/v1", "kube-system", "leases");
    let Some(lease) = leases.get::<serde_json::Value>(client, CONTROLLER_MANAGER).await? else {
        return Ok(());
    };
    if lease.pointer("/spec/holderIdentity").and_then(serde_json::Value::as_str) != Some(holder) {
        return Ok(());
    }
    let version = lease.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
    let patch = serde_json::json!({
        "metadata": { "resourceVersion": version },
        "spec": { "holderIdentity": "", "leaseDurationSeconds": 1 },
    });
    leases.merge(client, CONTROLLER_MANAGER, &patch).await.map(drop)
}

/// The name of the controller managers' lease.
const CONTROLLER_MANAGER: &str = "kube-controller-manager";

/// The controller manager's lease.
pub(super) async fn controller_manager_lease(client: &Client) -> Result<Lease> {
    #[derive(Deserialize)]
    struct Object {
        #[serde(default)]
        spec: Spec,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Spec {
        #[serde(deserialize_with = "null_is_default")]
        holder_identity: String,
        acquire_time: Option<String>,
        renew_time: Option<String>,
    }
    let leases = Collection::namespaced("apis/coordination.k8s.io/v1", "kube-system", "leases");
    let Some(Object { spec }) = leases.get(client, CONTROLLER_MANAGER).await? else {
        return Err(CallError::Answer("there is no lease kube-system/kube-controller-manager".to_owned()));
    };
    let time = |text: Option<String>| text.and_then(|text| text.parse().ok());
    Ok(Lease {
        holder: spec.holder_identity,
        acquired: time(spec.acquire_time),
        renewed: time(spec.renew_time),
    })
}

#[derive(Deserialize)]
struct ApiService {
    #[serde(default)]
    metadata: Meta,
    #[serde(default)]
    spec: ApiServiceSpec,
    #[serde(default)]
    status: ApiServiceStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ApiServiceSpec {
    /// Absent for what the API server serves itself.
    service: Option<Value>,
    ca_bundle: Option<String>,
}

#[derive(Default, Deserialize)]
struct ApiServiceStatus {
    #[serde(default, deserialize_with = "null_is_default")]
    conditions: Vec<Condition>,
}

/// Aggregated APIs that are not Available.
pub(super) async fn unavailable_aggregated_apis(client: &Client) -> Result<Vec<(String, String)>> {
    let services: Vec<ApiService> = Collection::new(API_SERVICES).list(client, None).await?;
    let aggregated = services.into_iter().filter(|service| service.spec.service.is_some());
    let unavailable = aggregated.filter(|service| !holds(&service.status.conditions, "Available"));
    Ok(unavailable
        .map(|service| {
            let condition =
                service.status.conditions.into_iter().find(|condition| condition.kind == "Available");
            let message = condition.map(|condition| format!("{}: {}", condition.reason, condition.message));
            (service.metadata.name, message.unwrap_or_else(|| "not yet asked by the API server".to_owned()))
        })
        .collect())
}

#[derive(Deserialize)]
struct Webhooks {
    #[serde(default)]
    metadata: Meta,
    #[serde(default, deserialize_with = "null_is_default")]
    webhooks: Vec<Webhook>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Webhook {
    #[serde(default)]
    name: String,
    #[serde(default)]
    client_config: ClientConfig,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClientConfig {
    ca_bundle: Option<String>,
}

#[derive(Deserialize)]
struct CustomResource {
    #[serde(default)]
    metadata: Meta,
    #[serde(default)]
    spec: CustomResourceSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CustomResourceSpec {
    conversion: Option<Conversion>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Conversion {
    webhook: Option<ConversionWebhook>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ConversionWebhook {
    client_config: Option<ClientConfig>,
}

impl CustomResource {
    fn ca_bundle(self) -> Option<String> {
        self.spec.conversion?.webhook?.client_config?.ca_bundle
    }
}

/// Everything that holds a `caBundle`, with the certificates in it.
pub(super) async fn ca_bundles(client: &Client) -> Result<Vec<(CaBundleHolder, Vec<CertificateFacts>)>> {
    let collections = (
        Collection::new(API_SERVICES),
        Collection::new(VALIDATING),
        Collection::new(MUTATING),
        Collection::new(CUSTOM_RESOURCES),
    );
    let (services, validating, mutating, resources) = try_join!(
        collections.0.list::<ApiService>(client, None),
        collections.1.list::<Webhooks>(client, None),
        collections.2.list::<Webhooks>(client, None),
        collections.3.list::<CustomResource>(client, None),
    )?;
    let mut found = Vec::new();
    for service in services {
        found.push((CaBundleHolder::ApiService(service.metadata.name), service.spec.ca_bundle));
    }
    let configurations =
        validating.into_iter().map(|list| (list, CaBundleHolder::ValidatingWebhook as fn(_, _) -> _));
    let configurations =
        configurations.chain(mutating.into_iter().map(|list| (list, CaBundleHolder::MutatingWebhook as _)));
    for (list, holder) in configurations {
        for hook in list.webhooks {
            found.push((holder(list.metadata.name.clone(), hook.name), hook.client_config.ca_bundle));
        }
    }
    for resource in resources {
        found.push((
            CaBundleHolder::CustomResourceConversion(resource.metadata.name.clone()),
            resource.ca_bundle(),
        ));
    }
    let bundles = found.into_iter().filter_map(|(holder, bundle)| {
        // What a holder carries comes as base64 over PEM; what is neither is somebody else's, and stays.
        let pem = STANDARD.decode(bundle?).ok()?;
        (!pem.is_empty()).then(|| {
            let facts = certificates(&holder, &pem);
            (holder, facts)
        })
    });
    Ok(bundles.collect())
}

/// The `caBundle` of an object as it holds it: base64 over PEM.
pub(super) async fn ca_bundle(client: &Client, holder: &CaBundleHolder) -> Result<Option<String>> {
    let webhook = |path: &'static str, name: &String, hook: &String| {
        let (client, name, hook) = (client.clone(), name.clone(), hook.clone());
        async move {
            let present: Option<Webhooks> = Collection::new(path).get(&client, &name).await?;
            let hooks = present.map(|list| list.webhooks).unwrap_or_default();
            Ok(hooks
                .into_iter()
                .find(|known| known.name == hook)
                .and_then(|known| known.client_config.ca_bundle))
        }
    };
    match holder {
        CaBundleHolder::ApiService(name) => {
            let present: Option<ApiService> = Collection::new(API_SERVICES).get(client, name).await?;
            Ok(present.and_then(|service| service.spec.ca_bundle))
        }
        CaBundleHolder::ValidatingWebhook(name, hook) => webhook(VALIDATING, name, hook).await,
        CaBundleHolder::MutatingWebhook(name, hook) => webhook(MUTATING, name, hook).await,
        CaBundleHolder::CustomResourceConversion(name) => {
            let present: Option<CustomResource> = Collection::new(CUSTOM_RESOURCES).get(client, name).await?;
            Ok(present.and_then(CustomResource::ca_bundle))
        }
    }
}

/// Replaces a `caBundle`. A holder that is gone, or has no such webhook any more, needs none.
pub(super) async fn set_ca_bundle(
    clients: &Clients,
    what: &str,
    holder: &CaBundleHolder,
    roots: &str,
) -> PortResult<()> {
    set_encoded_ca_bundle(clients, what, holder, &STANDARD.encode(roots)).await
}

/// The same with what the object is to hold, base64 over PEM.
pub(super) async fn set_encoded_ca_bundle(
    clients: &Clients,
    what: &str,
    holder: &CaBundleHolder,
    bundle: &str,
) -> PortResult<()> {
    clients
        .call(what, |client| async move {
            match holder {
                CaBundleHolder::ApiService(name) => {
                    let patch = json!({ "spec": { "caBundle": bundle } });
                    Collection::new(API_SERVICES).merge(&client, name, &patch).await.map(drop)
                }
                CaBundleHolder::ValidatingWebhook(name, hook) => set_webhook(&client, VALIDATING, name, hook, bundle).await,
                CaBundleHolder::MutatingWebhook(name, hook) => set_webhook(&client, MUTATING, name, hook, bundle).await,
                CaBundleHolder::CustomResourceConversion(name) => {
                    let collection = Collection::new(CUSTOM_RESOURCES);
                    let present: Option<CustomResource> = collection.get(&client, name).await?;
                    if present.and_then(CustomResource::ca_bundle).is_none() {
                        return Ok(());
                    }
                    let patch = json!({ "spec": { "conversion": { "webhook": { "clientConfig": { "caBundle": bundle } } } } });
                    collection.merge(&client, name, &patch).await.map(drop)
                }
            }
        })
        .await
}

/// A strategic merge patch finds the webhook in its list by name. One that is not there would be appended, half empty,
/// and declined as invalid; so it is looked for first.
async fn set_webhook(client: &Client, path: &str, name: &str, hook: &str, bundle: &str) -> Result<()> {
    let collection = Collection::new(path);
    let present: Option<Webhooks> = collection.get(client, name).await?;
    if !present.is_some_and(|list| list.webhooks.iter().any(|known| known.name == hook)) {
        return Ok(());
    }
    let patch = json!({ "webhooks": [{ "name": hook, "clientConfig": { "caBundle": bundle } }] });
    collection.strategic(client, name, &patch).await.map(drop)
}
