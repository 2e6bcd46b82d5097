//! The Kubernetes API.

mod autoscaler;
mod before;
mod client;
mod cluster_api;
mod evict;
mod look;
mod object;
mod pod;
mod request;
mod secret;
mod symptoms;
mod trust;
mod watch;
mod workload;

use std::collections::BTreeMap;

use async_trait::async_trait;
use http::Uri;
use jiff::Timestamp;
use kubecert_core::assess::{CrashingPod, OuterService, ServingRequest};
use kubecert_core::inventory::{ApiFacts, CaBundleHolder, NodeStatus, ObjectRef, WorkloadRef};
use kubecert_core::model::NodeName;
use kubecert_core::plan::ApiObject;
use kubecert_engine::ports::{
    Autoscaler, Credentials, ExtensionAuthentication, Fault, Keep, KubeApi, Lease, OldPod, PortError,
    PortResult, Rollout,
};
use zeroize::Zeroizing;

use client::Clients;
pub use secret::EntryChange;

/// The Kubernetes API at the cluster's public endpoint.
///
/// Every request may be sent more than once: each passing failure (a connection that broke, `429`, `5xx`, a changed
/// etcd leader) is tried again for some seconds, and all that is asked for here is idempotent.
pub struct KubeClient {
    clients: Clients,
}

impl KubeClient {
    /// A client for the API at this host (a name, or an address as it stands in a URL) and port. It has no credentials
    /// yet: see [`KubeApi::use_credentials`].
    ///
    /// # Errors
    ///
    /// When host and port make no URL.
    pub fn new(host: &str, port: u16) -> PortResult<Self> {
        let uri: Uri = format!("https://{host}:{port}").parse().map_err(|error| {
            PortError::new(
                Fault::Refused,
                format!("cannot use {host}:{port} as the address of the API"),
                error,
            )
            .remedy("Give the host name alone, without scheme and path.")
        })?;
        Ok(Self { clients: Clients::new(uri) })
    }

    /// One entry of a Secret; `None` where there is no such Secret, or no such entry in it.
    ///
    /// # Errors
    ///
    /// When the API does not answer, or declines.
    pub async fn secret_value(
        &self,
        secret: &ObjectRef,
        key: &str,
    ) -> PortResult<Option<Zeroizing<Vec<u8>>>> {
        secret::value(&self.clients, &format!("cannot read secret {secret}"), secret, key).await
    }

    /// All entries of a Secret by their names; `None` where there is no such Secret.
    ///
    /// # Errors
    ///
    /// When the API does not answer, or declines.
    pub async fn secret_values(
        &self,
        secret: &ObjectRef,
    ) -> PortResult<Option<BTreeMap<String, Zeroizing<Vec<u8>>>>> {
        secret::values(&self.clients, &format!("cannot read secret {secret}"), secret).await
    }

    /// Changes entries of a Secret in one request, so that nobody sees a certificate beside another one's key. Everything
    /// else in the Secret stays.
    ///
    /// # Errors
    ///
    /// When the API does not answer, or declines; when the Secret is gone, or one of the entries holds something else by
    /// now.
    pub async fn replace_secret_values(
        &self,
        secret: &ObjectRef,
        changes: &[EntryChange<'_>],
    ) -> PortResult<()> {
        let what = format!("cannot write secret {secret}");
        secret::replace_values(&self.clients, &what, secret, changes, secret::Act::Do).await
    }

    /// Tries out whether [`KubeClient::replace_secret_values`] would be allowed; changes nothing.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn may_replace_secret_values(
        &self,
        secret: &ObjectRef,
        changes: &[EntryChange<'_>],
    ) -> PortResult<()> {
        let what = format!("cannot write secret {secret}");
        secret::replace_values(&self.clients, &what, secret, changes, secret::Act::Try).await
    }

    /// Puts `new` in the place of `old` in one entry of a Secret.
    ///
    /// # Errors
    ///
    /// When the API does not answer, or declines; when the Secret is gone, or holds something else by now.
    pub async fn replace_secret_value(
        &self,
        secret: &ObjectRef,
        key: &str,
        old: &[u8],
        new: &[u8],
    ) -> PortResult<()> {
        self.replace_secret_values(secret, &[EntryChange { key, old, new }]).await
    }

    /// Tries out whether [`KubeClient::replace_secret_value`] would be allowed; changes nothing.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn may_replace_secret_value(
        &self,
        secret: &ObjectRef,
        key: &str,
        old: &[u8],
    ) -> PortResult<()> {
        // It has to differ, or nothing would be asked for.
        let trial = Zeroizing::new([old, b"\n"].concat());
        self.may_replace_secret_values(secret, &[EntryChange { key, old, new: &trial }]).await
    }

    /// Whether Cluster API's controllers leave a cluster of theirs alone; `None` where the API knows no such cluster.
    ///
    /// # Errors
    ///
    /// When the API does not answer, or declines.
    pub async fn is_paused(&self, cluster: &ObjectRef) -> PortResult<Option<bool>> {
        let what = format!("cannot read cluster {cluster}");
        self.clients.call(&what, |client| async move { cluster_api::is_paused(&client, cluster).await }).await
    }

    /// Requests for kubelets' serving certificates that have neither a certificate nor a refusal, however old.
    ///
    /// # Errors
    ///
    /// When the API does not answer, or declines.
    pub async fn serving_requests(&self) -> PortResult<Vec<ServingRequest>> {
        let what = "cannot list certificatesigningrequests";
        self.clients.call(what, |client| async move { symptoms::serving_requests(&client).await }).await
    }

    /// Pods of AKS Arc that renew the certificates of nodes (in `kube-system`, with names that begin with `cert-renewal`), and end
    /// again and again.
    ///
    /// # Errors
    ///
    /// When the API does not answer, or declines.
    pub async fn crashing_renewal_workers(&self) -> PortResult<Vec<CrashingPod>> {
        let what = "cannot list pods of kube-system";
        self.clients.call(what, |client| async move { symptoms::renewal_workers(&client).await }).await
    }

    /// Services of type LoadBalancer that have an address, TCP ports and a pod that is ready, once for each address. Whether
    /// traffic passes is not looked at: each is told as if it did.
    ///
    /// # Errors
    ///
    /// When the API does not answer, or declines.
    pub async fn outer_services(&self) -> PortResult<Vec<OuterService>> {
        let what = "cannot list services and their endpoints";
        self.clients.call(what, |client| async move { symptoms::outer_services(&client).await }).await
    }
}

#[async_trait]
impl KubeApi for KubeClient {
    async fn use_credentials(&self, credentials: Vec<Credentials>) -> PortResult<()> {
        self.clients.use_credentials(&credentials)
    }

    async fn look(&self) -> PortResult<ApiFacts> {
        look::look(&self.clients).await
    }

    async fn nodes(&self) -> PortResult<Vec<NodeStatus>> {
        self.clients.call("cannot list nodes", |client| async move { look::nodes(&client).await }).await
    }

    async fn published_roots(&self) -> PortResult<Vec<(String, String)>> {
        self.clients
            .call(
                "cannot list published roots",
                |client| async move { trust::published_roots(&client).await },
            )
            .await
    }

    async fn token_secret_roots(&self) -> PortResult<Vec<(ObjectRef, String)>> {
        let what = "cannot list service-account token secrets";
        self.clients.call(what, |client| async move { secret::token_roots(&client).await }).await
    }

    async fn controller_manager_lease(&self) -> PortResult<Lease> {
        let what = "cannot read the controller manager's lease";
        self.clients.call(what, |client| async move { trust::controller_manager_lease(&client).await }).await
    }

    async fn release_controller_manager_lease(&self, holder: &str) -> PortResult<()> {
        let what = "cannot release the controller manager's lease";
        self.clients
            .call(
                what,
                |client| async move { trust::release_controller_manager_lease(&client, holder).await },
            )
            .await
    }

    async fn extension_authentication(&self) -> PortResult<Option<ExtensionAuthentication>> {
        let what = "cannot read configmap kube-system/extension-apiserver-authentication";
        self.clients.call(what, |client| async move { trust::extension_authentication(&client).await }).await
    }

    async fn rebuild_extension_authentication(&self, only: &ExtensionAuthentication) -> PortResult<()> {
        let what = "cannot write configmap kube-system/extension-apiserver-authentication";
        self.clients
            .call(what, |client| async move { trust::rebuild_extension_authentication(&client, only).await })
            .await
    }

    async fn publish_cluster_info(&self, roots: &str) -> PortResult<bool> {
        let what = "cannot write configmap kube-public/cluster-info";
        self.clients
            .call(what, |client| async move { trust::publish_cluster_info(&client, roots).await })
            .await
    }

    async fn restart(&self, workload: &WorkloadRef, stamp: &str) -> PortResult<()> {
        let what = format!("cannot restart {workload}");
        self.clients
            .call(&what, |client| async move { workload::restart(&client, workload, stamp).await })
            .await
    }

    async fn rollout(&self, workload: &WorkloadRef) -> PortResult<Rollout> {
        let what = format!("cannot read {workload}");
        self.clients.call(&what, |client| async move { workload::rollout(&client, workload).await }).await
    }

    async fn recreate_pod(&self, pod: &ObjectRef, stamp: &str, keep: &dyn Keep) -> PortResult<()> {
        pod::recreate(&self.clients, pod, stamp, keep).await
    }

    async fn renew_token_secret(&self, secret: &ObjectRef, stamp: &str) -> PortResult<()> {
        secret::renew_token(&self.clients, secret, stamp).await
    }

    async fn write_tls_secret(
        &self,
        secret: &ObjectRef,
        chain: &str,
        key: &Zeroizing<String>,
        roots: &str,
    ) -> PortResult<()> {
        let what = format!("cannot write secret {secret}");
        secret::write_tls(&self.clients, &what, secret, chain, key, roots).await
    }

    async fn set_ca_bundle(&self, holder: &CaBundleHolder, roots: &str) -> PortResult<()> {
        trust::set_ca_bundle(&self.clients, &format!("cannot set the CA bundle of {holder}"), holder, roots)
            .await
    }

    async fn remember(&self, object: &ApiObject, keep: &dyn Keep) -> PortResult<()> {
        before::remember(&self.clients, object, keep).await
    }

    async fn put_back(
        &self,
        object: &ApiObject,
        created_before: Timestamp,
        keep: &dyn Keep,
    ) -> PortResult<()> {
        before::put_back(&self.clients, object, created_before, keep).await
    }

    async fn old_pods(&self) -> PortResult<Vec<OldPod>> {
        self.clients.call("cannot list pods", |client| async move { evict::old_pods(&client).await }).await
    }

    async fn replace_daemon_pods(
        &self,
        workload: &WorkloadRef,
        created_before: Timestamp,
        except: &[NodeName],
    ) -> PortResult<Rollout> {
        before::replace_daemon_pods(&self.clients, workload, created_before, except).await
    }

    async fn evict(&self, pod: &ObjectRef, uid: &str) -> PortResult<()> {
        evict::evict(&self.clients, pod, uid).await
    }

    async fn unavailable_aggregated_apis(&self) -> PortResult<Vec<(String, String)>> {
        let what = "cannot list apiservices";
        self.clients
            .call(what, |client| async move { trust::unavailable_aggregated_apis(&client).await })
            .await
    }

    async fn pause_autoscaler(&self) -> PortResult<Autoscaler> {
        let what = "cannot pause deployment kube-system/cluster-autoscaler";
        self.clients.call(what, |client| async move { autoscaler::pause(&client).await }).await
    }

    async fn resume_autoscaler(&self) -> PortResult<Option<u32>> {
        let what = "cannot resume deployment kube-system/cluster-autoscaler";
        self.clients.call(what, |client| async move { autoscaler::resume(&client).await }).await
    }
}
