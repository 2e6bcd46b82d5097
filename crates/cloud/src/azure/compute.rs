//! Virtual machines and scale sets.
//!
//! The record of the ancestor has the calls for one machine of an availability set (`GET` with the instance view, `POST`
//! restart). Lists, and restarts of one instance of a scale set, are documented ("Virtual Machines - List", "Virtual
//! Machine Scale Set VMs - List" and "- Restart"); the ancestor restarts a scale set as a whole.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kubecert_core::model::NodeName;
use kubecert_engine::ports::{Machine, MachinePower};
use serde::Deserialize;

use super::arm::Arm;
use super::error::AzureError;
use super::providers::Versions;

/// How many machines are looked at at a time: ARM allows thousands of reads in five minutes, and answers each in well
/// under a second.
const AT_ONCE: usize = 8;
/// The namespace of machines.
const COMPUTE: &str = "Microsoft.Compute";
/// Asks for how a machine is, and not only what it is.
const EXPANDED: (&str, &str) = ("$expand", "instanceView");

/// How a machine is.
pub type Power = MachinePower;

/// A machine, by the names that Azure calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// A machine of its own, or of an availability set.
    Machine(String),
    /// An instance of a scale set.
    Instance {
        /// The set.
        set: String,
        /// The instance's number in it.
        id: String,
    },
}

impl Resource {
    fn name(&self) -> String {
        match self {
            Self::Machine(name) => format!("virtual machine {name}"),
            Self::Instance { set, id } => format!("instance {id} of scale set {set}"),
        }
    }

    fn path<'a>(&'a self, group: &'a str) -> Vec<&'a str> {
        let mut path = vec!["resourceGroups", group, "providers", COMPUTE];
        match self {
            Self::Machine(name) => path.extend(["virtualMachines", name]),
            // In this spelling the ancestor asks for instances.
            Self::Instance { set, id } => {
                path.extend(["virtualMachineScaleSets", set, "virtualmachines", id])
            }
        }
        path
    }

    fn version<'a>(&self, versions: &'a Versions) -> &'a str {
        match self {
            Self::Machine(_) => &versions.machines,
            Self::Instance { .. } => &versions.sets,
        }
    }
}

/// A machine that was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) machine: Machine,
    pub(crate) resource: Resource,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    name: String,
    instance_id: Option<String>,
    #[serde(default)]
    properties: Properties,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    os_profile: Option<OsProfile>,
    instance_view: Option<InstanceView>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OsProfile {
    computer_name: Option<String>,
}

#[derive(Deserialize)]
struct InstanceView {
    #[serde(default)]
    statuses: Vec<Status>,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: String,
}

impl Body {
    /// The first status of the kind `PowerState`, as the ancestor reads it.
    fn power(&self) -> MachinePower {
        let statuses = self.properties.instance_view.iter().flat_map(|view| &view.statuses);
        let prefix = "PowerState/";
        let state = |status: &'_ Status| {
            let (kind, state) = status.code.split_at_checked(prefix.len())?;
            kind.eq_ignore_ascii_case(prefix).then(|| state.to_owned())
        };
        match statuses.filter_map(state).next() {
            None => MachinePower::Unknown,
            Some(state) if state.eq_ignore_ascii_case("running") => MachinePower::Running,
            Some(state) => MachinePower::Not(state),
        }
    }

    /// The name under which Kubernetes knows it: the host name in lower case.
    fn node(&self) -> NodeName {
        let own = self.properties.os_profile.as_ref().and_then(|profile| profile.computer_name.as_deref());
        NodeName::new(own.unwrap_or(&self.name).to_lowercase())
    }
}

impl Arm {
    /// All machines of a resource group, with how they are.
    pub(crate) async fn machines(&self, group: &str, versions: &Versions) -> Result<Vec<Found>, AzureError> {
        let what = format!("cannot list the virtual machines of resource group {group}");
        let base = ["resourceGroups", group, "providers", COMPUTE];
        let url =
            self.url(&[&base[..], &["virtualMachines"]].concat(), &[("api-version", &versions.machines)]);
        let machines: Vec<Body> = self.list(&what, url).await?;
        let looks = machines.into_iter().map(|body| async move {
            let resource = Resource::Machine(body.name.clone());
            let power = self.power(group, versions, &resource).await?;
            let machine = Machine { node: body.node(), resource: resource.name(), power };
            Ok::<_, AzureError>(Found { machine, resource })
        });
        let mut found: Vec<Found> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
        for set in self.scale_sets(group, versions).await? {
            found.extend(self.instances(group, versions, &set).await?);
        }
        Ok(found)
    }

    async fn scale_sets(&self, group: &str, versions: &Versions) -> Result<Vec<String>, AzureError> {
        #[derive(Deserialize)]
        struct Set {
            name: String,
        }
        let what = format!("cannot list the scale sets of resource group {group}");
        let path = ["resourceGroups", group, "providers", COMPUTE, "virtualMachineScaleSets"];
        let sets: Vec<Set> = self.list(&what, self.url(&path, &[("api-version", &versions.sets)])).await?;
        Ok(sets.into_iter().map(|set| set.name).collect())
    }

    async fn instances(&self, group: &str, versions: &Versions, set: &str) -> Result<Vec<Found>, AzureError> {
        let what = format!("cannot list the instances of scale set {set}");
        let path = [
            "resourceGroups",
            group,
            "providers",
            COMPUTE,
            "virtualMachineScaleSets",
            set,
            "virtualMachines",
        ];
        let bodies: Vec<Body> =
            self.list(&what, self.url(&path, &[("api-version", &versions.sets), EXPANDED])).await?;
        let instance = |body: Body| {
            // The instance's name is the set's, an underscore, and its number.
            let own = body.instance_id.clone();
            let id = own.or_else(|| body.name.rsplit_once('_').map(|(_, id)| id.to_owned()))?;
            let resource = Resource::Instance { set: set.to_owned(), id };
            let machine = Machine { node: body.node(), resource: resource.name(), power: body.power() };
            Some(Found { machine, resource })
        };
        Ok(bodies.into_iter().filter_map(instance).collect())
    }

    /// How a machine is.
    pub(crate) async fn power(
        &self,
        group: &str,
        versions: &Versions,
        resource: &Resource,
    ) -> Result<MachinePower, AzureError> {
        let what = format!("cannot see how {} is", resource.name());
        let query = [("api-version", resource.version(versions)), EXPANDED];
        let body: Body = self.get(&what, &self.url(&resource.path(group), &query)).await?;
        Ok(body.power())
    }

    /// Restarts a machine, and waits until Azure has.
    pub(crate) async fn restart(
        &self,
        group: &str,
        versions: &Versions,
        resource: &Resource,
    ) -> Result<(), AzureError> {
        let what = format!("cannot restart {}", resource.name());
        let path = [resource.path(group), vec!["restart"]].concat();
        let url = self.url(&path, &[("api-version", resource.version(versions))]);
        self.operate(&what, &url).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_is_the_first_status_of_its_kind() {
        let body = |codes: &[&str]| -> Body {
            let statuses: Vec<_> = codes.iter().map(|code| serde_json::json!({"code": code})).collect();
            let view =
                serde_json::json!({"name": "M", "properties": {"instanceView": {"statuses": statuses}}});
            serde_json::from_value(view).unwrap()
        };
        let provisioned = "ProvisioningState/succeeded";
        assert_eq!(body(&[provisioned, "powerstate/Running"]).power(), MachinePower::Running);
        let off = MachinePower::Not("deallocated".to_owned());
        assert_eq!(body(&["PowerState/deallocated", "PowerState/running"]).power(), off);
        assert_eq!(body(&[provisioned]).power(), MachinePower::Unknown);
        let bare: Body = serde_json::from_value(serde_json::json!({"name": "M"})).unwrap();
        assert_eq!(
            (bare.power(), bare.node().as_str()),
            (MachinePower::Unknown, "m"),
            "no instance view at all"
        );
    }
}
