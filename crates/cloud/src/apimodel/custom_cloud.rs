//! Where an Azure Stack Hub is, as the model has it.

use super::error::ApiModelError;
use super::reader::Node;

/// What `customCloudProfile` says of endpoints; whatever is empty there is absent here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomCloud {
    /// `portalURL`, from which the ancestor derives Resource Manager's address.
    pub portal_url: Option<String>,
    /// `environment.resourceManagerEndpoint`.
    pub resource_manager: Option<String>,
    /// `environment.activeDirectoryEndpoint`.
    pub active_directory: Option<String>,
    /// `environment.serviceManagementEndpoint`: for whom tokens are issued.
    pub service_management: Option<String>,
    /// `environment.tokenAudience`, which newer models have besides.
    pub token_audience: Option<String>,
}

impl CustomCloud {
    pub(super) fn read(node: &Node<'_>) -> Result<Self, ApiModelError> {
        let environment = node.require("environment")?;
        Ok(Self {
            portal_url: node.text("portalURL")?,
            resource_manager: environment.text("resourceManagerEndpoint")?,
            active_directory: environment.text("activeDirectoryEndpoint")?,
            service_management: environment.text("serviceManagementEndpoint")?,
            token_audience: environment.text("tokenAudience")?,
        })
    }

    /// For whom tokens are issued: both generations of the ancestor take the service management endpoint.
    pub fn audience(&self) -> Option<&str> {
        self.service_management.as_deref().or(self.token_audience.as_deref())
    }
}
