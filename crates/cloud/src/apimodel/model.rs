//! The model, read into types.

use std::fmt;

use serde_json::Value;

use super::custom_cloud::CustomCloud;
use super::error::ApiModelError;
use super::keys;
use super::kubernetes::Kubernetes;
use super::locations::Location;
use super::machines::{AadProfile, AgentPool, LinuxProfile, Masters, WindowsProfile};
use super::profile::CertificateProfile;
use super::reader::Node;

/// A generated `apimodel.json`: what it says, and its text as it was.
///
/// Immutable; [`ApiModel::rewrite_certificate_profile`] gives new text rather than changing this.
#[derive(Clone)]
pub struct ApiModel {
    /// Valid JSON whose strict levels have no duplicate keys; [`keys::check`] saw to it.
    pub(super) text: String,
    location: Option<Location>,
    masters: Masters,
    agent_pools: Vec<AgentPool>,
    kubernetes: Kubernetes,
    linux: Option<LinuxProfile>,
    windows: Option<WindowsProfile>,
    custom_cloud_suffix: Option<String>,
    custom_cloud: Option<CustomCloud>,
    certificate_profile: Option<CertificateProfile>,
    aad_profile: Option<AadProfile>,
    block_outbound_internet: bool,
}

impl ApiModel {
    /// Reads the text of an `apimodel.json` of either generation of the tool.
    ///
    /// A model that reads is one whose machines, addresses and certificates can be computed; whether kubecert can
    /// manage the cluster is for [`ApiModel::unsupported`] to say. No Kubernetes version is refused.
    ///
    /// # Errors
    ///
    /// [`ApiModelError`] when the text is not JSON, has a key that is unknown at its place or stands there twice, is
    /// of another `apiVersion` or orchestrator, or lacks (or has in a wrong type) a value that is needed here.
    pub fn parse(bytes: &[u8]) -> Result<Self, ApiModelError> {
        let not_json = |source| ApiModelError::NotJson { source };
        let document: Value = serde_json::from_slice(bytes).map_err(not_json)?;
        let root = Node::root(&document);
        let version = root.text("apiVersion")?.unwrap_or_default();
        if version != "vlabs" {
            return Err(ApiModelError::ApiVersion { found: version });
        }
        // `serde_json` has accepted the bytes, and it accepts UTF-8 only; so nothing is replaced here.
        let text = String::from_utf8_lossy(bytes).into_owned();
        keys::check(&text)?;

        let properties = root.require("properties")?;
        let features = properties.child("featureFlags")?;
        let feature = |name: &str| features.as_ref().map_or(Ok(None), |node| node.truth(name));
        Ok(Self {
            location: root.text("location")?.as_deref().and_then(Location::new),
            masters: Masters::read(&properties.require("masterProfile")?)?,
            agent_pools: properties
                .items("agentPoolProfiles")?
                .iter()
                .map(AgentPool::read)
                .collect::<Result<_, _>>()?,
            kubernetes: Kubernetes::read(&properties)?,
            linux: properties.child("linuxProfile")?.map(|node| LinuxProfile::read(&node)).transpose()?,
            windows: properties
                .child("windowsProfile")?
                .map(|node| WindowsProfile::read(&node))
                .transpose()?,
            custom_cloud_suffix: custom_cloud_suffix(&properties)?,
            custom_cloud: properties
                .child("customCloudProfile")?
                .map(|node| CustomCloud::read(&node))
                .transpose()?,
            certificate_profile: properties
                .child("certificateProfile")?
                .map(|node| CertificateProfile::read(&node))
                .transpose()?,
            aad_profile: properties.child("aadProfile")?.map(|node| AadProfile::read(&node)).transpose()?,
            block_outbound_internet: feature("blockOutboundInternet")?.unwrap_or_default(),
            text,
        })
    }

    /// The model with the location that the command line gives: an empty one is filled in, another one is an error.
    ///
    /// # Errors
    ///
    /// [`ApiModelError::LocationMismatch`] when the model is of another location.
    pub fn at_location(self, asked: Location) -> Result<Self, ApiModelError> {
        match &self.location {
            Some(model) if *model != asked => Err(ApiModelError::LocationMismatch {
                model: model.as_str().to_owned(),
                asked: asked.as_str().to_owned(),
            }),
            _ => Ok(Self { location: Some(asked), ..self }),
        }
    }

    /// Where the cluster is, if the model or the command line says so.
    pub fn location(&self) -> Option<&Location> {
        self.location.as_ref()
    }

    /// The control plane.
    pub fn masters(&self) -> &Masters {
        &self.masters
    }

    /// The pools of other nodes; a Windows pool's index in this list is part of its machines' names.
    pub fn agent_pools(&self) -> &[AgentPool] {
        &self.agent_pools
    }

    /// Kubernetes itself.
    pub fn kubernetes(&self) -> &Kubernetes {
        &self.kubernetes
    }

    /// How Linux nodes are entered.
    pub fn linux(&self) -> Option<&LinuxProfile> {
        self.linux.as_ref()
    }

    /// How Windows nodes are entered; may be there without any Windows pool.
    pub fn windows(&self) -> Option<&WindowsProfile> {
        self.windows.as_ref()
    }

    /// The DNS suffix of public addresses when the cloud is a custom one (Azure Stack Hub).
    pub fn custom_cloud_suffix(&self) -> Option<&str> {
        self.custom_cloud_suffix.as_deref()
    }

    /// Where the custom cloud is, when it is one.
    pub fn custom_cloud(&self) -> Option<&CustomCloud> {
        self.custom_cloud.as_ref()
    }

    /// The present PKI, as far as the model has it.
    pub fn certificate_profile(&self) -> Option<&CertificateProfile> {
        self.certificate_profile.as_ref()
    }

    /// How people log in through Azure Active Directory, if they do, which changes what the ancestor puts into
    /// kubeconfigs.
    pub fn aad(&self) -> Option<&AadProfile> {
        self.aad_profile.as_ref()
    }

    /// Whether nodes cannot reach the internet. The masters' own kubeconfig then names `https://localhost` as its
    /// server, not the public name (a rotation by the ancestor overwrites that).
    pub fn blocks_outbound_internet(&self) -> bool {
        self.block_outbound_internet
    }
}

/// Shows what the cluster is, never its text: that holds private keys and passwords.
impl fmt::Debug for ApiModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiModel")
            .field("location", &self.location)
            .field("masters", &self.masters)
            .field("agent_pools", &self.agent_pools)
            .field("version", &self.kubernetes.version)
            .finish_non_exhaustive()
    }
}

/// A custom cloud without this suffix has no names; the ancestor refuses it as well.
fn custom_cloud_suffix(properties: &Node<'_>) -> Result<Option<String>, ApiModelError> {
    let Some(cloud) = properties.child("customCloudProfile")? else { return Ok(None) };
    cloud.require("environment")?.require_text("resourceManagerVMDNSSuffix").map(Some)
}

#[cfg(test)]
#[path = "model_tests.rs"]
pub(super) mod tests;
