//! Azure, for one cluster.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use kubecert_core::model::NodeName;
use kubecert_engine::ports::{Fault, Machine, MachinePower, Machines, PortError, PortResult};
use tokio::sync::Mutex;

use super::arm::Arm;
use super::cloud::Cloud;
use super::compute::Resource;
use super::credential::{Credential, IdentitySystem};
use super::error::AzureError;
use super::http::{Http, HttpConfig};
use super::providers::{Registration, Versions};
use super::tenant;
use super::token::{Issuer, Tokens};

/// Where a cluster is in Azure, and who calls.
#[derive(Clone, Debug)]
pub struct AzureConfig {
    /// The cloud.
    pub cloud: Cloud,
    /// The subscription's id.
    pub subscription: String,
    /// The resource group.
    pub resource_group: String,
    /// Who issues tokens.
    pub identity: IdentitySystem,
    /// Who calls.
    pub credential: Credential,
    /// How it is called.
    pub http: HttpConfig,
}

/// Resource Manager for one resource group. Tokens are renewed by themselves for as long as it lives.
pub struct Azure {
    arm: Arm,
    group: String,
    versions: Versions,
    /// What the machines are called in Azure, by the names of the nodes.
    known: Mutex<BTreeMap<NodeName, Resource>>,
}

impl fmt::Debug for Azure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Azure")
            .field("group", &self.group)
            .field("versions", &self.versions)
            .finish_non_exhaustive()
    }
}

impl Azure {
    /// Gets a token and looks at the resource providers, as the ancestor does before anything else: who cannot call Azure
    /// hears it now.
    ///
    /// # Errors
    ///
    /// [`AzureError`] when the tenant cannot be found, no token is to be had, or Azure refuses the caller.
    pub async fn connect(config: &AzureConfig, registration: Registration) -> Result<Self, AzureError> {
        if !config.credential.works_with(config.identity) {
            let why = format!("AD FS gives no token to {:?}", config.credential);
            return Err(AzureError::new(Fault::Refused, "cannot call Azure", why)
                .remedy("Use --auth-method client_secret or client_certificate."));
        }
        let http = Http::new(&config.http)?;
        let tenant = match (&config.credential, config.identity) {
            // The Azure CLI knows the tenant of each subscription; AD FS has only one.
            (Credential::Cli { .. }, _) | (_, IdentitySystem::AdFs) => String::new(),
            (_, IdentitySystem::EntraId) => {
                tenant::discover(&http, &config.cloud, &config.subscription).await?
            }
        };
        let cloud = &config.cloud;
        let issuer = Issuer::new(&cloud.login, config.identity, &tenant, &cloud.audience);
        let tokens = Tokens::new(issuer, config.credential.clone());
        let arm =
            Arm::new(http, tokens, &cloud.resource_manager, &config.http.language, &config.subscription)?;
        let versions = arm.providers(cloud.kind, registration).await?;
        let group = config.resource_group.clone();
        Ok(Self { arm, group, versions, known: Mutex::default() })
    }

    /// A machine by its node's name. Names are learnt from a list, once; a machine that is made later is found by a new
    /// one.
    async fn resource(&self, node: &NodeName) -> PortResult<Resource> {
        for fresh in [false, true] {
            if fresh {
                self.list().await?;
            }
            if let Some(resource) = self.known.lock().await.get(node) {
                return Ok(resource.clone());
            }
        }
        let why = format!("there is none in resource group {}", self.group);
        Err(PortError::new(Fault::Refused, format!("cannot find the machine of node {node}"), why)
            .remedy("Check --resource-group, and that the machine has its original name."))
    }
}

#[async_trait]
impl Machines for Azure {
    async fn list(&self) -> PortResult<Vec<Machine>> {
        let found = self.arm.machines(&self.group, &self.versions).await?;
        let mut known = self.known.lock().await;
        *known = found.iter().map(|found| (found.machine.node.clone(), found.resource.clone())).collect();
        Ok(found.into_iter().map(|found| found.machine).collect())
    }

    async fn power(&self, node: &NodeName) -> PortResult<MachinePower> {
        let resource = self.resource(node).await?;
        Ok(self.arm.power(&self.group, &self.versions, &resource).await?)
    }

    async fn restart(&self, node: &NodeName) -> PortResult<()> {
        let resource = self.resource(node).await?;
        Ok(self.arm.restart(&self.group, &self.versions, &resource).await?)
    }
}
