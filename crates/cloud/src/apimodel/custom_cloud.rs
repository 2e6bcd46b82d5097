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
        Self::of(node.text("portalURL")?, &node.require("environment")?)
    }

    fn of(portal_url: Option<String>, environment: &Node<'_>) -> Result<Self, ApiModelError> {
        Ok(Self {
            portal_url,
            resource_manager: environment.text("resourceManagerEndpoint")?,
            active_directory: environment.text("activeDirectoryEndpoint")?,
            service_management: environment.text("serviceManagementEndpoint")?,
            token_audience: environment.text("tokenAudience")?,
        })
    }

    /// Reads the file that `AZURE_ENVIRONMENT_FILEPATH` names: the same as `environment`, alone.
    ///
    /// # Errors
    ///
    /// [`ApiModelError`] when it is not JSON, or an endpoint is no text.
    pub fn from_environment(bytes: &[u8]) -> Result<Self, ApiModelError> {
        let document = serde_json::from_slice(bytes).map_err(|source| ApiModelError::NotJson { source })?;
        Self::of(None, &Node::root(&document))
    }

    /// For whom tokens are issued: both generations of the ancestor take the service management endpoint.
    pub fn audience(&self) -> Option<&str> {
        self.service_management.as_deref().or(self.token_audience.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environments_own_file_is_read_alone() {
        let text = br#"{"name": "AzureStackCloud", "resourceManagerEndpoint": "https://m/", "tokenAudience": "https://a/",
            "serviceManagementEndpoint": "", "somethingNew": {}}"#;
        let custom = CustomCloud::from_environment(text).unwrap();
        assert_eq!(custom.resource_manager.as_deref(), Some("https://m/"));
        assert_eq!(custom.audience(), Some("https://a/"), "an empty endpoint counts as absent");
        assert!(CustomCloud::from_environment(b"{").is_err());
        assert!(CustomCloud::from_environment(b"null").is_err());
        assert!(CustomCloud::from_environment(br#"{"resourceManagerEndpoint": 1}"#).is_err());
    }
}
