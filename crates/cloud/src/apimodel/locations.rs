//! Azure locations: their names and the DNS suffix of machines there.

/// An Azure location, normalised as the ancestor does it: lower case, no white space (`West US 2` is `westus2`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Location(String);

impl Location {
    /// Normalises `name`; nothing that is empty after that is a location.
    pub fn new(name: &str) -> Option<Self> {
        let name: String = name.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect();
        (!name.is_empty()).then_some(Self(name))
    }

    /// The normalised name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The cloud that this location is in, as Azure's libraries name it, for clouds that are not custom.
    pub(super) fn cloud(&self) -> &'static str {
        match self.public_suffix() {
            "cloudapp.chinacloudapi.cn" => "AzureChinaCloud",
            "cloudapp.microsoftazure.de" => "AzureGermanCloud",
            "cloudapp.usgovcloudapi.net" => "AzureUSGovernmentCloud",
            _ => "AzurePublicCloud",
        }
    }

    /// The DNS suffix of public addresses at this location, for clouds that are not custom.
    ///
    /// Four clouds share one list of locations, so the name decides (aks-engine, `GetCloudTargetEnv`).
    pub(super) fn public_suffix(&self) -> &'static str {
        match self.0.as_str() {
            "chinaeast" | "chinaeast2" | "chinaeast3" | "chinanorth" | "chinanorth2" | "chinanorth3" => {
                "cloudapp.chinacloudapi.cn"
            }
            "germanycentral" | "germanynortheast" => "cloudapp.microsoftazure.de",
            name if name.starts_with("usgov") || name.starts_with("usdod") => "cloudapp.usgovcloudapi.net",
            _ => "cloudapp.azure.com",
        }
    }
}

/// Which generation's list of public locations a certificate is made with.
///
/// The ancestor puts the cluster's name at *every* public location into the API server's certificate, so the list it
/// was built with shows in the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Catalogue {
    /// `aks-engine` at its end (0.79): 67 locations.
    AksEngine,
    /// `aks-engine-azurestack` (0.85): 62 locations.
    AksEngineAzureStack,
}

impl Catalogue {
    /// The catalogue of the tool that creates clusters of this Kubernetes version.
    ///
    /// `aks-engine` ended with 1.24 and its successor went on from there. A version that cannot be read counts as
    /// old: the older list is the longer one, and a name too many in a certificate harms nobody.
    pub fn for_version(kubernetes_version: &str) -> Self {
        let mut numbers = kubernetes_version.split('.').map(|part| part.parse::<u32>().ok());
        match (numbers.next().flatten(), numbers.next().flatten()) {
            (Some(1), Some(minor)) if minor > LAST_MINOR_OF_AKS_ENGINE => Self::AksEngineAzureStack,
            _ => Self::AksEngine,
        }
    }

    /// The locations, in the order in which they stand in a certificate.
    pub fn locations(self) -> impl Iterator<Item = Location> {
        LOCATIONS
            .split_whitespace()
            .filter(move |name| self == Self::AksEngine || !ONLY_AKS_ENGINE.contains(name))
            .map(|name| Location(name.to_owned()))
    }
}

/// The last Kubernetes minor version that `aks-engine` itself could create.
const LAST_MINOR_OF_AKS_ENGINE: u32 = 24;

/// The locations known to `aks-engine` 0.79.
const LOCATIONS: &str = "
    australiacentral australiacentral2 australiaeast australiasoutheast brazilsouth brazilsoutheast brazilus
    canadacentral canadaeast centralindia centralus centraluseuap chinaeast chinaeast2 chinaeast3 chinanorth chinanorth2
    chinanorth3 eastasia eastus eastus2 eastus2euap francecentral francesouth germanycentral germanynorth
    germanynortheast germanywestcentral israelcentral italynorth japaneast japanwest jioindiacentral jioindiawest
    koreacentral koreasouth northcentralus northeurope norwayeast norwaywest polandcentral qatarcentral southafricanorth
    southafricawest southcentralus southeastasia southindia spaincentral swedencentral switzerlandnorth switzerlandwest
    uaecentral uaenorth uksouth ukwest usdodcentral usdodeast usgovarizona usgoviowa usgovtexas usgovvirginia
    westcentralus westeurope westindia westus westus2 westus3";

/// Those of [`LOCATIONS`] that its successor does not list.
const ONLY_AKS_ENGINE: [&str; 5] =
    ["brazilus", "israelcentral", "italynorth", "polandcentral", "spaincentral"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogues_have_the_sizes_of_their_tools() {
        assert_eq!(Catalogue::AksEngine.locations().count(), 67);
        assert_eq!(Catalogue::AksEngineAzureStack.locations().count(), 62);
    }

    #[test]
    fn the_version_tells_the_tool() {
        assert_eq!(Catalogue::for_version("1.24.17"), Catalogue::AksEngine);
        assert_eq!(Catalogue::for_version("1.34.4"), Catalogue::AksEngineAzureStack);
        assert_eq!(Catalogue::for_version(""), Catalogue::AksEngine);
    }

    #[test]
    fn names_are_normalised_and_find_their_suffix() {
        let suffix = |name| Location::new(name).unwrap().public_suffix();
        assert_eq!(Location::new(" West US 2").unwrap().as_str(), "westus2");
        assert_eq!(Location::new(" \t"), None);
        assert_eq!(suffix("westus2"), "cloudapp.azure.com");
        assert_eq!(suffix("chinanorth3"), "cloudapp.chinacloudapi.cn");
        assert_eq!(suffix("germanynorth"), "cloudapp.azure.com");
        assert_eq!(suffix("germanycentral"), "cloudapp.microsoftazure.de");
        assert_eq!(suffix("usdodeast"), "cloudapp.usgovcloudapi.net");
        assert_eq!(Location::new("usdodeast").unwrap().cloud(), "AzureUSGovernmentCloud");
        assert_eq!(Location::new("westus2").unwrap().cloud(), "AzurePublicCloud");
    }
}
