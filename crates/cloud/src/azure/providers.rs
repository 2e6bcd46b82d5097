//! Resource providers: whether the subscription may use machines, and in which versions they can be asked for.

use kubecert_engine::ports::Fault;
use reqwest::Method;
use serde::Deserialize;

use super::arm::Arm;
use super::cloud::CloudKind;
use super::error::AzureError;

/// The version in which providers are asked for. Both generations' Azure Stack Hub and Azure know it.
const API_VERSION: &str = "2018-05-01";
/// The providers that the ancestor registers.
const WANTED: [&str; 3] = ["Microsoft.Compute", "Microsoft.Storage", "Microsoft.Network"];

/// Whether providers that are not registered are registered, which changes the subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// Register them, as the ancestor does.
    Register,
    /// Leave them as they are.
    LookOnly,
}

/// The versions in which machines are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) machines: String,
    pub(crate) sets: String,
}

/// Versions of `Microsoft.Compute` whose shapes are known here, the most wanted first. Azure Stack Hub: that of the
/// ancestor's living generation, then that of the older one; Azure: that of the older generation, which asked for it.
fn known(kind: CloudKind) -> &'static [&'static str] {
    match kind {
        CloudKind::Public => &["2019-12-01", "2020-06-01"],
        CloudKind::StackHub => &["2020-06-01", "2019-12-01", "2017-03-30"],
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Provider {
    namespace: String,
    #[serde(default)]
    registration_state: String,
    #[serde(default)]
    resource_types: Vec<ResourceType>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceType {
    resource_type: String,
    #[serde(default)]
    api_versions: Vec<String>,
}

impl Arm {
    /// Looks at the providers, registers those that are not, and picks versions that this cloud knows.
    pub(crate) async fn providers(
        &self,
        kind: CloudKind,
        registration: Registration,
    ) -> Result<Versions, AzureError> {
        let what = "cannot list the resource providers of the subscription";
        let url = self.url(&["providers"], &[("api-version", API_VERSION), ("$top", "100")]);
        let providers: Vec<Provider> = self.list(what, url).await?;
        let find = |name: &str| providers.iter().find(|own| own.namespace.eq_ignore_ascii_case(name));
        for name in WANTED {
            let provider = find(name).ok_or_else(|| {
                AzureError::new(Fault::Refused, what, format!("there is no {name} among them"))
                    .remedy("Check --subscription-id and --azure-env.")
            })?;
            let registered = provider.registration_state.eq_ignore_ascii_case("Registered");
            if !registered && registration == Registration::Register {
                let what = format!("cannot register resource provider {name}");
                let url = self.url(&["providers", name, "register"], &[("api-version", API_VERSION)]);
                self.send(&what, &Method::POST, &url).await?;
            }
        }
        let compute = find(WANTED[0]);
        let version = |resource: &str| {
            let offered = compute.into_iter().flat_map(|provider| &provider.resource_types);
            let offered = offered.filter(|own| own.resource_type.eq_ignore_ascii_case(resource));
            pick(kind, offered.flat_map(|own| &own.api_versions))
        };
        Ok(Versions { machines: version("virtualMachines"), sets: version("virtualMachineScaleSets") })
    }
}

/// The most wanted version among those offered. Where nothing known is offered the most wanted all the same: the call
/// itself then says what is wrong.
fn pick<'a>(kind: CloudKind, offered: impl Iterator<Item = &'a String>) -> String {
    let offered: Vec<&String> = offered.collect();
    let known = known(kind);
    let wanted = known.iter().find(|version| offered.iter().any(|own| own == *version));
    wanted.or(known.first()).copied().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_that_the_cloud_offers() {
        let offered = |versions: &[&str]| versions.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
        let old = offered(&["2017-03-30", "2016-03-30"]);
        assert_eq!(pick(CloudKind::StackHub, old.iter()), "2017-03-30");
        let new = offered(&["2017-03-30", "2020-06-01"]);
        assert_eq!(pick(CloudKind::StackHub, new.iter()), "2020-06-01");
        assert_eq!(pick(CloudKind::Public, offered(&["2024-07-01", "2019-12-01"]).iter()), "2019-12-01");
        assert_eq!(pick(CloudKind::StackHub, [].iter()), "2020-06-01");
    }
}
