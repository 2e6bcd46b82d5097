//! What the model says about Kubernetes and its parts.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::error::ApiModelError;
use super::reader::Node;

/// What the model says about Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubernetes {
    /// As `1.34.4`; empty when the model does not say.
    pub version: String,
    /// The address part of the (first) service range.
    pub service_address: IpAddr,
    /// Whether the API is reached by a private address only.
    pub private_cluster: bool,
    /// As `azure` or `kubenet`; empty when the model does not say.
    pub network_plugin: String,
    /// Whether there is a front proxy, with a PKI of its own.
    pub aggregated_apis: bool,
    /// `kube-apiserver`.
    pub api_server: Flags,
    /// `kube-controller-manager`.
    pub controller_manager: Flags,
    /// `kube-scheduler`.
    pub scheduler: Flags,
    /// The kubelet of nodes that have no flags of their own.
    pub kubelet: Flags,
    /// Components with the images that they run.
    pub components: Vec<Component>,
    /// Add-ons.
    pub addons: Vec<Addon>,
}

impl Kubernetes {
    pub(super) fn read(properties: &Node<'_>) -> Result<Self, ApiModelError> {
        let orchestrator = properties.require("orchestratorProfile")?;
        let kind = orchestrator.text("orchestratorType")?.unwrap_or_default();
        if !kind.is_empty() && !kind.eq_ignore_ascii_case("Kubernetes") {
            return Err(ApiModelError::Orchestrator { found: kind });
        }
        let config = orchestrator.require("kubernetesConfig")?;
        let private = config.child("privateCluster")?;
        let private = private.map(|node| node.truth("enabled")).transpose()?.flatten();
        Ok(Self {
            version: orchestrator.text("orchestratorVersion")?.unwrap_or_default(),
            service_address: service_address(&config)?,
            private_cluster: private.unwrap_or_default(),
            network_plugin: config.text("networkPlugin")?.unwrap_or_default(),
            aggregated_apis: config.truth("enableAggregatedAPIs")?.unwrap_or_default(),
            api_server: config.flags("apiServerConfig")?,
            controller_manager: config.flags("controllerManagerConfig")?,
            scheduler: config.flags("schedulerConfig")?,
            kubelet: config.flags("kubeletConfig")?,
            components: config.items("components")?.iter().map(Component::read).collect::<Result<_, _>>()?,
            addons: config.items("addons")?.iter().map(Addon::read).collect::<Result<_, _>>()?,
        })
    }

    /// The image of the first container of the component called `name`.
    pub fn image(&self, name: &str) -> Option<&str> {
        let component = self.components.iter().find(|component| component.name == name)?;
        component.images.first().map(String::as_str)
    }
}

/// A component of the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// As `kube-apiserver`.
    pub name: String,
    /// Whether it is deployed.
    pub enabled: bool,
    /// The images of its containers, in order.
    pub images: Vec<String>,
}

impl Component {
    fn read(node: &Node<'_>) -> Result<Self, ApiModelError> {
        let images = node
            .items("containers")?
            .iter()
            .map(|container| container.text("image"))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            name: node.text("name")?.unwrap_or_default(),
            enabled: node.truth("enabled")?.unwrap_or_default(),
            images: images.into_iter().flatten().collect(),
        })
    }
}

/// An add-on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addon {
    /// As `metrics-server`.
    pub name: String,
    /// Whether it is deployed; the model lists many that are not.
    pub enabled: bool,
}

impl Addon {
    fn read(node: &Node<'_>) -> Result<Self, ApiModelError> {
        let name = node.text("name")?.unwrap_or_default();
        Ok(Self { name, enabled: node.truth("enabled")?.unwrap_or_default() })
    }
}

/// The address part of the first service range; a dual-stack cluster's ranges are separated by commas.
fn service_address(config: &Node<'_>) -> Result<IpAddr, ApiModelError> {
    let ranges = config.require_text("serviceCidr")?;
    let invalid = || config.invalid("serviceCidr", &ranges, "a range such as 10.0.0.0/16");
    let first = ranges.split(',').next().unwrap_or_default().trim();
    let (address, prefix) = first.split_once('/').ok_or_else(invalid)?;
    let address: IpAddr = address.parse().map_err(|_| invalid())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    prefix.parse::<u8>().ok().filter(|bits| *bits <= longest).map(|_| address).ok_or_else(invalid)
}

/// Command-line flags of a component, as `--name` to value.
pub type Flags = BTreeMap<String, String>;
