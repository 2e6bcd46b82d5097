//! The keys that an api model may have, level by level.
//!
//! The names are those of the `vlabs` types of both tools at their last release, with the few that earlier releases
//! had and later ones dropped (an old cluster's model still carries them). As in the ancestor, case does not count,
//! and maps whose keys the operator chooses (kubelet flags, tags, sysctls, an add-on's settings) are not looked into.

use std::collections::HashSet;
use std::ops::Range;

use super::error::ApiModelError;
use super::text;

/// Checks that every key of `text`, one JSON document, is known at its place, and stands there once.
///
/// # Errors
///
/// [`ApiModelError::UnknownKey`] or [`ApiModelError::DuplicateKey`] with the JSON path of the first such key.
pub(super) fn check(text: &str) -> Result<(), ApiModelError> {
    check_level(text, &text::document(text), &ROOT, "")
}

fn check_level(text: &str, place: &Range<usize>, level: &Level, path: &str) -> Result<(), ApiModelError> {
    for (index, item) in text::items(text, place).iter().enumerate() {
        check_level(text, item, level, &format!("{path}[{index}]"))?;
    }
    let mut seen = HashSet::new();
    for member in text::members(text, place) {
        let path = if path.is_empty() { member.key.clone() } else { format!("{path}.{}", member.key) };
        let below =
            level.find(&member.key).ok_or_else(|| ApiModelError::UnknownKey { path: path.clone() })?;
        if !seen.insert(member.key.to_ascii_lowercase()) {
            return Err(ApiModelError::DuplicateKey { path });
        }
        if let Below::Level(level) = below {
            check_level(text, &member.value, level, &path)?;
        }
    }
    Ok(())
}

/// The keys of one kind of object.
///
/// A nested level holds for an object and for each object of an array alike.
struct Level {
    /// Keys whose values are not looked into, separated by white space.
    leaves: &'static str,
    /// Keys whose values are objects, or arrays of objects, of a known kind.
    nested: &'static [(&'static str, &'static Level)],
}

/// What is under a known key.
enum Below {
    Anything,
    Level(&'static Level),
}

impl Level {
    fn find(&self, key: &str) -> Option<Below> {
        let nested = self.nested.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
        if let Some((_, level)) = nested {
            return Some(Below::Level(level));
        }
        self.leaves.split_whitespace().any(|name| name.eq_ignore_ascii_case(key)).then_some(Below::Anything)
    }
}

static ROOT: Level = Level {
    leaves: "apiVersion id location name tags type",
    nested: &[("plan", &PLAN), ("properties", &PROPERTIES)],
};

static PLAN: Level = Level { leaves: "name product promotionCode publisher", nested: &[] };

static PROPERTIES: Level = Level {
    leaves: "provisioningState",
    nested: &[
        ("orchestratorProfile", &ORCHESTRATOR),
        ("masterProfile", &MASTER),
        ("agentPoolProfiles", &AGENT_POOL),
        ("linuxProfile", &LINUX),
        ("extensionProfiles", &EXTENSION_PROFILE),
        ("windowsProfile", &WINDOWS),
        ("servicePrincipalProfile", &SERVICE_PRINCIPAL),
        ("certificateProfile", &CERTIFICATES),
        ("aadProfile", &AAD),
        ("featureFlags", &FEATURES),
        ("customCloudProfile", &CUSTOM_CLOUD),
        ("telemetryProfile", &TELEMETRY),
    ],
};

// `dcosConfig` is of the time when one tool made several kinds of cluster; its content is of no interest here.
static ORCHESTRATOR: Level = Level {
    leaves: "orchestratorType orchestratorRelease orchestratorVersion dcosConfig",
    nested: &[("kubernetesConfig", &KUBERNETES)],
};

static KUBERNETES: Level = Level {
    leaves: "
        kubernetesImageBase kubernetesImageBaseType mcrKubernetesImageBase clusterSubnet dnsServiceIP serviceCidr
        networkPolicy networkPlugin networkMode containerRuntime maxPods dockerBridgeSubnet useManagedIdentity
        userAssignedID userAssignedClientID customHyperkubeImage customKubeAPIServerImage
        customKubeControllerManagerImage customKubeProxyImage customKubeSchedulerImage customKubeBinaryURL
        dockerEngineVersion mobyVersion linuxMobyURL linuxRuncURL containerdVersion linuxContainerdURL customCcmImage
        useCloudControllerManager customWindowsPackageURL windowsNodeBinariesURL windowsContainerdURL
        windowsSdnPluginURL useInstanceMetadata enableRbac enableSecureKubelet enableAggregatedAPIs gchighthreshold
        gclowthreshold etcdVersion etcdDiskSizeGB etcdStorageLimitGB etcdEncryptionKey enableDataEncryptionAtRest
        enableEncryptionWithExternalKms enablePodSecurityPolicy containerRuntimeConfig kubeletConfig
        controllerManagerConfig cloudControllerManagerConfig apiServerConfig schedulerConfig podSecurityPolicyConfig
        kubeReservedCgroup cloudProviderBackoffMode cloudProviderBackoff cloudProviderBackoffRetries
        cloudProviderBackoffJitter cloudProviderBackoffDuration cloudProviderBackoffExponent cloudProviderRateLimit
        cloudProviderRateLimitQPS cloudProviderRateLimitQPSWrite cloudProviderRateLimitBucket
        cloudProviderRateLimitBucketWrite cloudProviderDisableOutboundSNAT loadBalancerSku excludeMasterFromStandardLB
        loadBalancerOutboundIPs azureCNIVersion azureCNIURLLinux azureCNIURLWindows keyVaultSku
        maximumLoadBalancerRuleCount kubeProxyMode privateAzureRegistryServer outboundRuleIdleTimeoutInMinutes
        microsoftAptRepositoryURL enableMultipleStandardLoadBalancers tags",
    nested: &[("privateCluster", &PRIVATE_CLUSTER), ("addons", &ADDON), ("components", &COMPONENT)],
};

static PRIVATE_CLUSTER: Level =
    Level { leaves: "enabled enableHostsConfigAgent", nested: &[("jumpboxProfile", &JUMPBOX)] };

static JUMPBOX: Level =
    Level { leaves: "name vmSize osDiskSizeGB username publicKey storageProfile", nested: &[] };

static ADDON: Level = Level {
    leaves: "name enabled mode config data",
    nested: &[("containers", &CONTAINER), ("pools", &ADDON_POOL)],
};

static ADDON_POOL: Level = Level { leaves: "name config", nested: &[] };

static COMPONENT: Level = Level { leaves: "name enabled config data", nested: &[("containers", &CONTAINER)] };

static CONTAINER: Level =
    Level { leaves: "name image cpuRequests memoryRequests cpuLimits memoryLimits", nested: &[] };

static MASTER: Level = Level {
    leaves: "
        count dnsPrefix subjectAltNames vmSize osDiskSizeGB vnetSubnetID vnetCidr agentVnetSubnetID
        firstConsecutiveStaticIP ipAddressCount storageProfile HTTPSourceAddressPrefix oauthEnabled distro
        availabilityProfile agentSubnet availabilityZones singlePlacementGroup platformFaultDomainCount
        platformUpdateDomainCount auditDEnabled customVMTags sysctldConfig ultraSSDEnabled encryptionAtHost fqdn
        cosmosEtcd proximityPlacementGroupID osDiskCachingType",
    nested: &[
        ("preProvisionExtension", &EXTENSION),
        ("extensions", &EXTENSION),
        ("kubernetesConfig", &KUBERNETES),
        ("imageReference", &IMAGE),
        ("customFiles", &CUSTOM_FILE),
    ],
};

static AGENT_POOL: Level = Level {
    leaves: "
        name count vmSize osDiskSizeGB dnsPrefix osType ports availabilityProfile scaleSetPriority
        scaleSetEvictionPolicy spotMaxPrice storageProfile diskSizesGB vnetSubnetID ipAddressCount distro role
        acceleratedNetworkingEnabled acceleratedNetworkingEnabledWindows vmssOverProvisioningEnabled auditDEnabled
        customVMTags diskEncryptionSetID ultraSSDEnabled encryptionAtHost fqdn customNodeLabels singlePlacementGroup
        platformFaultDomainCount platformUpdateDomainCount availabilityZones enableVMSSNodePublicIP
        loadBalancerBackendAddressPoolIDs sysctldConfig proximityPlacementGroupID osDiskCachingType osDiskCaching
        dataDiskCachingType vmssName",
    nested: &[
        ("preProvisionExtension", &EXTENSION),
        ("extensions", &EXTENSION),
        ("kubernetesConfig", &KUBERNETES),
        ("imageReference", &IMAGE),
    ],
};

static EXTENSION: Level = Level { leaves: "name singleOrAll template", nested: &[] };

static IMAGE: Level = Level { leaves: "name resourceGroup subscriptionId gallery version", nested: &[] };

static CUSTOM_FILE: Level = Level { leaves: "source dest", nested: &[] };

static LINUX: Level = Level {
    leaves: "adminUsername scriptroot runUnattendedUpgradesOnBootstrap enableUnattendedUpgrades eth0MTU",
    nested: &[
        ("ssh", &SSH),
        ("secrets", &VAULT_SECRETS),
        ("customSearchDomain", &SEARCH_DOMAIN),
        ("customNodesDNS", &NODES_DNS),
    ],
};

static SSH: Level = Level { leaves: "", nested: &[("publicKeys", &PUBLIC_KEY)] };

static PUBLIC_KEY: Level = Level { leaves: "keyData", nested: &[] };

static SEARCH_DOMAIN: Level = Level { leaves: "name realmUser realmPassword", nested: &[] };

static NODES_DNS: Level = Level { leaves: "dnsServer", nested: &[] };

static VAULT_SECRETS: Level =
    Level { leaves: "", nested: &[("sourceVault", &VAULT), ("vaultCertificates", &VAULT_CERTIFICATE)] };

static VAULT: Level = Level { leaves: "id", nested: &[] };

static VAULT_CERTIFICATE: Level = Level { leaves: "certificateUrl certificateStore", nested: &[] };

static WINDOWS: Level = Level {
    leaves: "
        adminUsername adminPassword csiProxyURL enableCSIProxy imageVersion provisioningScriptsPackageURL
        WindowsImageSourceUrl WindowsPublisher WindowsOffer WindowsSku windowsDockerVersion sshEnabled
        enableAutomaticUpdates isCredentialAutoGenerated enableAHUB windowsPauseImageURL alwaysPullWindowsPauseImage
        windowsSecureTLSEnabled",
    nested: &[("imageReference", &IMAGE), ("secrets", &VAULT_SECRETS), ("windowsRuntimes", &WINDOWS_RUNTIMES)],
};

static WINDOWS_RUNTIMES: Level = Level { leaves: "default", nested: &[("hypervRuntimes", &WINDOWS_RUNTIME)] };

static WINDOWS_RUNTIME: Level = Level { leaves: "buildNumber", nested: &[] };

static EXTENSION_PROFILE: Level = Level {
    leaves: "name version extensionParameters rootURL script urlQuery",
    nested: &[("parametersKeyvaultSecretRef", &VAULT_REFERENCE)],
};

static VAULT_REFERENCE: Level = Level { leaves: "vaultID secretName version", nested: &[] };

static SERVICE_PRINCIPAL: Level =
    Level { leaves: "clientId secret objectId", nested: &[("keyvaultSecretRef", &VAULT_REFERENCE)] };

static CERTIFICATES: Level = Level {
    leaves: "
        caCertificate caPrivateKey apiServerCertificate apiServerPrivateKey clientCertificate clientPrivateKey
        kubeConfigCertificate kubeConfigPrivateKey etcdServerCertificate etcdServerPrivateKey etcdClientCertificate
        etcdClientPrivateKey etcdPeerCertificates etcdPeerPrivateKeys",
    nested: &[],
};

static AAD: Level = Level { leaves: "clientAppID serverAppID tenantID adminGroupID", nested: &[] };

static FEATURES: Level = Level {
    leaves: "
        enableCSERunInBackground blockOutboundInternet enableIPv6DualStack enableTelemetry enableIPv6Only enableWinDSR
        enforceUbuntu2004DisaStig enforceUbuntu2204DisaStig enforceKubernetesDisaStig",
    nested: &[],
};

static CUSTOM_CLOUD: Level = Level {
    leaves: "
        identitySystem authenticationMethod dependenciesLocation portalURL customCloudRootCertificates
        customCloudSourcesList",
    nested: &[("environment", &ENVIRONMENT), ("azureEnvironmentSpecConfig", &CLOUD_SPEC)],
};

static ENVIRONMENT: Level = Level {
    leaves: "
        name managementPortalURL publishSettingsURL serviceManagementEndpoint resourceManagerEndpoint
        activeDirectoryEndpoint galleryEndpoint keyVaultEndpoint graphEndpoint serviceBusEndpoint
        batchManagementEndpoint storageEndpointSuffix sqlDatabaseDNSSuffix trafficManagerDNSSuffix keyVaultDNSSuffix
        serviceBusEndpointSuffix serviceManagementVMDNSSuffix resourceManagerVMDNSSuffix containerRegistryDNSSuffix
        cosmosDBDNSSuffix mariaDBDNSSuffix mySqlDatabaseDNSSuffix postgresqlDatabaseDNSSuffix microsoftGraphEndpoint
        managedHSMEndpoint managedHSMDNSSuffix tokenAudience apiManagementHostNameSuffix synapseEndpointSuffix
        datalakeSuffix",
    nested: &[("resourceIdentifiers", &RESOURCE_IDENTIFIERS)],
};

static RESOURCE_IDENTIFIERS: Level = Level {
    leaves: "
        graph keyVault datalake batch operationalInsights ossRDBMS storage synapse serviceBus sqlDatabase cosmosDB
        managedHSM microsoftGraph",
    nested: &[],
};

static CLOUD_SPEC: Level = Level {
    leaves: "cloudName osImageConfig dockerSpecConfig",
    nested: &[("kubernetesSpecConfig", &KUBERNETES_SPEC), ("endpointConfig", &ENDPOINT)],
};

static KUBERNETES_SPEC: Level = Level {
    leaves: "
        azureTelemetryPID kubernetesImageBase mcrKubernetesImageBase tillerImageBase aciConnectorImageBase
        nvidiaImageBase azureCNIImageBase calicoImageBase etcdDownloadURLBase kubeBinariesSASURLBase
        windowsTelemetryGUID cniPluginsDownloadURL vnetCNILinuxPluginsDownloadURL vnetCNIWindowsPluginsDownloadURL
        containerdDownloadURLBase csiProxyDownloadURL windowsProvisioningScriptsPackageURL windowsPauseImageURL
        alwaysPullWindowsPauseImage",
    nested: &[],
};

static ENDPOINT: Level = Level { leaves: "resourceManagerVMDNSSuffix", nested: &[] };

static TELEMETRY: Level = Level { leaves: "applicationInsightsKey", nested: &[] };

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str) -> String {
        check(text).map_or_else(|error| error.to_string(), |()| "fine".to_owned())
    }

    #[test]
    fn keys_are_known_in_any_case() {
        assert_eq!(
            complaint(r#"{"APIVERSION": "vlabs", "Properties": {"masterprofile": {"COUNT": 1}}}"#),
            "fine"
        );
    }

    #[test]
    fn an_unknown_key_is_named_with_its_path() {
        let text =
            r#"{"properties": {"agentPoolProfiles": [{"name": "a"}, {"kubernetesConfig": {"colour": 1}}]}}"#;
        let error = complaint(text);
        assert!(
            error.contains("unknown key properties.agentPoolProfiles[1].kubernetesConfig.colour"),
            "{error}"
        );
    }

    #[test]
    fn maps_are_not_looked_into() {
        let text = r#"{"tags": {"x": 1}, "properties": {"orchestratorProfile": {"kubernetesConfig": {
            "kubeletConfig": {"--made-up": "yes"}, "addons": [{"name": "a", "config": {"b": "c"}}]}}}}"#;
        assert_eq!(complaint(text), "fine");
    }

    #[test]
    fn a_key_in_two_spellings_is_refused() {
        let error = complaint(r#"{"properties": {"masterProfile": {}, "MasterProfile": {}}}"#);
        assert!(error.contains("properties.MasterProfile stands in the api model twice"), "{error}");
    }
}
