//! The cluster's machines, as the model describes them.

use std::net::Ipv4Addr;

use secrecy::{ExposeSecret, SecretString};

use super::error::ApiModelError;
use super::kubernetes::Flags;
use super::reader::Node;

/// The control plane's machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masters {
    /// How many: 1, 3 or 5.
    pub count: u32,
    /// The cluster's name, and the first label of its public DNS name.
    pub dns_prefix: String,
    /// Absent in the model means a scale set, as it does to the ancestor.
    pub availability: Availability,
    /// The first master's private address; the others' follow from it.
    pub first_ip: Ipv4Addr,
    /// How many addresses each machine reserves; matters in scale sets only.
    pub ip_address_count: u32,
    /// Further names for the API server's certificate.
    pub subject_alt_names: Vec<String>,
    /// Whether etcd is replaced by Cosmos DB.
    pub cosmos_etcd: bool,
    /// The masters' own kubelet flags, over those of the whole cluster.
    pub kubelet: Flags,
}

impl Masters {
    pub(super) fn read(node: &Node<'_>) -> Result<Self, ApiModelError> {
        let count = node.number("count")?.unwrap_or_default();
        if ![1, 3, 5].contains(&count) {
            return Err(node.invalid("count", &count.to_string(), "1, 3 or 5 masters"));
        }
        let availability = node.text("availabilityProfile")?;
        let own = node.child("kubernetesConfig")?;
        Ok(Self {
            count,
            dns_prefix: node.require_text("dnsPrefix")?,
            availability: Availability::named(availability.as_deref()),
            first_ip: node.require_ipv4("firstConsecutiveStaticIP")?,
            ip_address_count: node.number("ipAddressCount")?.filter(|count| *count > 0).unwrap_or(1),
            subject_alt_names: node.texts("subjectAltNames")?,
            cosmos_etcd: node.truth("cosmosEtcd")?.unwrap_or_default(),
            kubelet: own.map(|own| own.flags("kubeletConfig")).transpose()?.unwrap_or_default(),
        })
    }
}

/// How Azure holds a group of machines together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// Single machines with names and addresses of their own.
    AvailabilitySet,
    /// A virtual machine scale set.
    ScaleSet,
}

impl Availability {
    /// Only the exact word makes an availability set (aks-engine, `IsAvailabilitySet`).
    fn named(name: Option<&str>) -> Self {
        if name == Some("AvailabilitySet") { Self::AvailabilitySet } else { Self::ScaleSet }
    }
}

/// An operating system of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Os {
    /// Linux, also when the model does not say.
    Linux,
    /// Windows.
    Windows,
}

/// A pool of nodes that are not masters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentPool {
    /// The pool's name.
    pub name: String,
    /// How many machines the deployment made.
    pub count: u32,
    /// What they run.
    pub os: Os,
    /// How they are held together.
    pub availability: Availability,
    /// A scale set's explicit name.
    pub vmss_name: Option<String>,
}

impl AgentPool {
    pub(super) fn read(node: &Node<'_>) -> Result<Self, ApiModelError> {
        let os = node.text("osType")?.unwrap_or_default();
        let os = match os.to_ascii_lowercase().as_str() {
            "" | "linux" => Os::Linux,
            "windows" => Os::Windows,
            _ => return Err(node.invalid("osType", &os, "Linux or Windows")),
        };
        let count = node.number("count")?.unwrap_or_default();
        if count > MOST_AGENTS {
            return Err(node.invalid("count", &count.to_string(), "at most 5000 agents"));
        }
        Ok(Self {
            name: node.require_text("name")?,
            count,
            os,
            availability: Availability::named(node.text("availabilityProfile")?.as_deref()),
            vmss_name: node.text("vmssName")?,
        })
    }
}

/// How many machines a pool may have: as many as Kubernetes supports in a whole cluster ("Considerations for large
/// clusters"). The ancestor allows 100. A number beyond is a mistake that must not fill the memory with names.
const MOST_AGENTS: u32 = 5000;

/// How Linux nodes are entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinuxProfile {
    /// The login name, which also owns the masters' kubeconfig.
    pub admin_user: String,
    /// The authorised keys.
    pub public_keys: Vec<String>,
}

impl LinuxProfile {
    pub(super) fn read(node: &Node<'_>) -> Result<Self, ApiModelError> {
        let keys = node.child("ssh")?.map(|ssh| ssh.items("publicKeys")).transpose()?.unwrap_or_default();
        let keys = keys.iter().map(|key| key.text("keyData")).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            admin_user: node.require_text("adminUsername")?,
            public_keys: keys.into_iter().flatten().collect(),
        })
    }
}

/// How Windows nodes are entered.
#[derive(Debug, Clone)]
pub struct WindowsProfile {
    /// The login name.
    pub admin_user: String,
    /// Whether nodes accept SSH; absent means yes.
    pub ssh_enabled: bool,
    /// `adminPassword`, if the model has one; never printed.
    password: Option<SecretString>,
}

/// Everything but the password.
impl PartialEq for WindowsProfile {
    fn eq(&self, other: &Self) -> bool {
        (&self.admin_user, self.ssh_enabled) == (&other.admin_user, other.ssh_enabled)
    }
}

impl WindowsProfile {
    pub(super) fn read(node: &Node<'_>) -> Result<Self, ApiModelError> {
        Ok(Self {
            admin_user: node.text("adminUsername")?.unwrap_or_default(),
            ssh_enabled: node.truth("sshEnabled")?.unwrap_or(true),
            password: node
                .text("adminPassword")?
                .filter(|password| !password.is_empty() && !is_vault_reference(password))
                .map(SecretString::from),
        })
    }

    /// The password, to log in with and nothing else.
    pub fn password(&self) -> Option<&str> {
        self.password.as_ref().map(ExposeSecret::expose_secret)
    }
}

/// A password may be named by its place in a Key Vault, which only a deployment resolves.
fn is_vault_reference(text: &str) -> bool {
    text.starts_with("/subscriptions/") && text.contains("/providers/Microsoft.KeyVault/")
}

/// How people log in to the API through Azure Active Directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AadProfile {
    /// The application that `kubectl` is.
    pub client_app: String,
    /// The application that the API servers are.
    pub server_app: String,
    /// The directory; empty means the one of the subscription.
    pub tenant: String,
}

impl AadProfile {
    pub(super) fn read(node: &Node<'_>) -> Result<Self, ApiModelError> {
        let text = |key: &str| Ok::<_, ApiModelError>(node.text(key)?.unwrap_or_default());
        Ok(Self {
            client_app: text("clientAppID")?,
            server_app: text("serverAppID")?,
            tenant: text("tenantID")?,
        })
    }
}
