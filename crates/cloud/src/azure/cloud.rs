//! Azure's clouds, and where their endpoints are.

use std::fmt;

use crate::apimodel::CustomCloud;

/// Which kind of cloud: what its resource providers know differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudKind {
    /// Azure itself, or a sovereign cloud.
    Public,
    /// Azure Stack Hub.
    StackHub,
}

/// A cloud: its endpoints, each with a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloud {
    /// Its name, as the ancestor's `--azure-env` has it.
    pub name: String,
    /// What kind it is.
    pub kind: CloudKind,
    /// Azure Resource Manager.
    pub resource_manager: String,
    /// Who issues tokens; the tenant follows it.
    pub login: String,
    /// For whom tokens are issued when Resource Manager is called, exactly as it wants to read it.
    pub audience: String,
}

/// Why there is no [`Cloud`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// A cloud that nobody knows.
    #[error(
        "unknown cloud {name:?}; known are AzurePublicCloud, AzureChinaCloud, AzureUSGovernmentCloud, AzureGermanCloud and AzureStackCloud"
    )]
    Unknown {
        /// The name.
        name: String,
    },
    /// Azure Stack Hub, and a model that does not say where it is.
    #[error(
        "the api model has no {path}, which says where this Azure Stack Hub is; give the generated apimodel.json of the deployment"
    )]
    Missing {
        /// What is missing.
        path: &'static str,
    },
    /// An endpoint that is no address over TLS.
    #[error("{path} is {found:?}, expected an address that begins with https://")]
    NotHttps {
        /// Where it stands.
        path: &'static str,
        /// What stands there.
        found: String,
    },
}

impl Cloud {
    /// A built-in cloud, by its name in any case. Endpoints are those of go-autorest's table of environments, which both
    /// generations of the ancestor use; the audience is the service management endpoint, as there.
    ///
    /// # Errors
    ///
    /// [`CloudError::Unknown`]; also for `AzureStackCloud`, whose endpoints are not built in.
    pub fn built_in(name: &str) -> Result<Self, CloudError> {
        let known = [
            (
                "AzurePublicCloud",
                "https://management.azure.com/",
                "https://login.microsoftonline.com/",
                "https://management.core.windows.net/",
            ),
            (
                "AzureChinaCloud",
                "https://management.chinacloudapi.cn/",
                "https://login.chinacloudapi.cn/",
                "https://management.core.chinacloudapi.cn/",
            ),
            (
                "AzureUSGovernmentCloud",
                "https://management.usgovcloudapi.net/",
                "https://login.microsoftonline.us/",
                "https://management.core.usgovcloudapi.net/",
            ),
            (
                "AzureGermanCloud",
                "https://management.microsoftazure.de/",
                "https://login.microsoftonline.de/",
                "https://management.core.cloudapi.de/",
            ),
        ];
        let found = known.into_iter().find(|(known, ..)| known.eq_ignore_ascii_case(name));
        let (name, resource_manager, login, audience) =
            found.ok_or_else(|| CloudError::Unknown { name: name.to_owned() })?;
        Ok(Self {
            name: name.to_owned(),
            kind: CloudKind::Public,
            resource_manager: resource_manager.to_owned(),
            login: login.to_owned(),
            audience: audience.to_owned(),
        })
    }

    /// The Azure Stack Hub that a model describes in full; `None` where its metadata endpoint has to be asked.
    ///
    /// # Errors
    ///
    /// [`CloudError::NotHttps`] for an endpoint to which a token must not be sent.
    pub fn of_model(custom: &CustomCloud) -> Result<Option<Self>, CloudError> {
        let (Some(resource_manager), Some(login), Some(audience)) =
            (&custom.resource_manager, &custom.active_directory, custom.audience())
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            name: STACK.to_owned(),
            kind: CloudKind::StackHub,
            resource_manager: endpoint(resource_manager, "resourceManagerEndpoint")?,
            login: endpoint(login, "activeDirectoryEndpoint")?,
            audience: audience.to_owned(),
        }))
    }

    /// Where Azure Stack Hub's Resource Manager is: the model's own word, or derived from its portal as the ancestor
    /// does (`https://portal.<location>.<suffix>` becomes `https://management.<location>.<suffix>/`).
    ///
    /// # Errors
    ///
    /// [`CloudError::Missing`] when the model names neither.
    pub fn resource_manager_of(custom: &CustomCloud) -> Result<String, CloudError> {
        if let Some(own) = &custom.resource_manager {
            return endpoint(own, "resourceManagerEndpoint");
        }
        let portal = custom
            .portal_url
            .as_deref()
            .ok_or(CloudError::Missing { path: "customCloudProfile.environment.resourceManagerEndpoint" })?;
        let portal = endpoint(portal, "portalURL")?;
        Ok(portal.replacen("https://portal.", "https://management.", 1))
    }

    /// Whether it is Azure Stack Hub.
    pub fn is_stack_hub(&self) -> bool {
        self.kind == CloudKind::StackHub
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.resource_manager)
    }
}

/// The name of Azure Stack Hub among the clouds.
pub(crate) const STACK: &str = "AzureStackCloud";

/// An endpoint with a slash at its end. Only over TLS: what goes there is a token or the secret for one.
pub(crate) fn endpoint(url: &str, path: &'static str) -> Result<String, CloudError> {
    let url = url.trim();
    if !url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://")) || url.len() == 8 {
        return Err(CloudError::NotHttps { path, found: url.to_owned() });
    }
    Ok(format!("{}/", url.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_clouds_are_found_in_any_case() {
        let cloud = Cloud::built_in("AZURECHINACLOUD").unwrap();
        assert_eq!((cloud.name.as_str(), cloud.kind), ("AzureChinaCloud", CloudKind::Public));
        assert_eq!(cloud.resource_manager, "https://management.chinacloudapi.cn/");
        for name in ["AzurePublicCloud", "AzureUSGovernmentCloud", "AzureGermanCloud"] {
            assert_eq!(Cloud::built_in(name).unwrap().name, name);
        }
        assert!(Cloud::built_in("AzureStackCloud").is_err(), "its endpoints are its own");
        assert!(Cloud::built_in("Elsewhere").unwrap_err().to_string().contains("AzureGermanCloud"));
    }

    #[test]
    fn a_stack_is_what_its_model_says() {
        let custom = CustomCloud {
            portal_url: Some("https://portal.local.azurestack.external".to_owned()),
            resource_manager: Some("https://management.local.azurestack.external".to_owned()),
            active_directory: Some("https://adfs.local.azurestack.external/adfs".to_owned()),
            service_management: Some("https://management.adfs.azurestack.local/1".to_owned()),
            token_audience: None,
        };
        let cloud = Cloud::of_model(&custom).unwrap().unwrap();
        assert_eq!(cloud.resource_manager, "https://management.local.azurestack.external/");
        assert_eq!(cloud.login, "https://adfs.local.azurestack.external/adfs/");
        assert_eq!(cloud.audience, "https://management.adfs.azurestack.local/1", "word for word");

        let bare = CustomCloud { resource_manager: None, ..custom.clone() };
        assert_eq!(Cloud::of_model(&bare).unwrap(), None);
        assert_eq!(
            Cloud::resource_manager_of(&bare).unwrap(),
            "https://management.local.azurestack.external/"
        );
        let nothing = CustomCloud { portal_url: None, ..bare };
        assert!(Cloud::resource_manager_of(&nothing).is_err());
        let clear = CustomCloud { resource_manager: Some("http://management.local".to_owned()), ..custom };
        assert!(matches!(Cloud::of_model(&clear), Err(CloudError::NotHttps { .. })));
    }
}
