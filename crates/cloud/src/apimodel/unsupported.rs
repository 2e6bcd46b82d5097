//! What stands in the way of managing a cluster.

use std::fmt;

use super::kubernetes::Flags;
use super::machines::Os;
use super::model::ApiModel;
use super::profile::Entry;

/// Something in a model that kubecert cannot manage yet, with the reason and what can be done instead.
///
/// These are refusals by name, made from the model alone, before any node is touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsupported {
    /// A pool of Windows nodes, and nothing that says how to log in to them.
    WindowsWithoutProfile {
        /// Its name.
        pool: String,
    },
    /// A `windowsProfile` whose nodes do not accept SSH; the ancestor refuses it too, even without a Windows pool.
    WindowsWithoutSsh,
    /// Cosmos DB in place of etcd.
    CosmosEtcd,
    /// Certificates or keys that are references into a Key Vault.
    KeyVaultReferences {
        /// Their JSON keys.
        keys: Vec<String>,
    },
    /// No `certificateProfile` at all.
    NoCertificateProfile,
    /// Certificates or keys that the model does not have.
    IncompleteProfile {
        /// Their JSON keys.
        keys: Vec<String>,
    },
    /// No `linuxProfile`, so nobody to log in as.
    NoLinuxProfile,
    /// A component that is told to keep a credential elsewhere than in `/etc/kubernetes/certs`.
    CustomCertificatePath {
        /// The component.
        component: &'static str,
        /// The flag.
        flag: &'static str,
        /// Where it points.
        path: String,
    },
}

impl ApiModel {
    /// Everything in the model that kubecert cannot manage yet, in the order of the model; empty when a rotation may
    /// begin.
    ///
    /// A missing CA key is not among it: the planner then bundles trust rather than cross-signing.
    pub fn unsupported(&self) -> Vec<Unsupported> {
        let mut found = self.custom_paths();
        if self.masters().cosmos_etcd {
            found.push(Unsupported::CosmosEtcd);
        }
        let enterable = self.windows().is_some_and(|windows| !windows.admin_user.is_empty());
        let pools = self.agent_pools().iter().filter(|pool| pool.os == Os::Windows && !enterable);
        found.extend(pools.map(|pool| Unsupported::WindowsWithoutProfile { pool: pool.name.clone() }));
        if self.linux().is_none() {
            found.push(Unsupported::NoLinuxProfile);
        }
        if self.windows().is_some_and(|windows| !windows.ssh_enabled) {
            found.push(Unsupported::WindowsWithoutSsh);
        }
        found.extend(self.profile_gaps());
        found
    }

    fn profile_gaps(&self) -> Option<Unsupported> {
        let Some(profile) = self.certificate_profile() else {
            return Some(Unsupported::NoCertificateProfile);
        };
        let references = profile.key_vault_references();
        if !references.is_empty() {
            return Some(Unsupported::KeyVaultReferences { keys: references });
        }
        let mut missing = Vec::new();
        for entry in Entry::all(self.master_ips().len()) {
            if profile.certificate(entry).is_none() {
                missing.push(entry.certificate_key());
            }
            if profile.private_key(entry).is_none() && entry != Entry::Ca {
                missing.push(entry.private_key_key());
            }
        }
        (!missing.is_empty()).then_some(Unsupported::IncompleteProfile { keys: missing })
    }

    fn custom_paths(&self) -> Vec<Unsupported> {
        let kubernetes = self.kubernetes();
        let all = [
            ("kube-apiserver", &kubernetes.api_server, API_SERVER_PATHS),
            ("kube-controller-manager", &kubernetes.controller_manager, CONTROLLER_MANAGER_PATHS),
            ("kubelet", &kubernetes.kubelet, KUBELET_PATHS),
            ("the masters' kubelet", &self.masters().kubelet, KUBELET_PATHS),
        ];
        all.into_iter()
            .flat_map(|(component, flags, expected)| moved_paths(component, flags, expected))
            .collect()
    }
}

fn moved_paths(
    component: &'static str,
    flags: &Flags,
    expected: &'static [(&'static str, &'static str)],
) -> impl Iterator<Item = Unsupported> {
    expected.iter().filter_map(move |(flag, file)| {
        let path = flags.get(*flag)?;
        let usual = path.strip_prefix(CERTIFICATE_DIRECTORY) == Some(file);
        (!usual).then(|| Unsupported::CustomCertificatePath { component, flag, path: path.clone() })
    })
}

/// One line: what it is, why that is a problem, and the remedy.
impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsupported::WindowsWithoutProfile { pool } => write!(
                f,
                "Windows pool {pool} and no windowsProfile.adminUsername: there is no user name to log in to its nodes \
                 with; restore the windowsProfile from the deployment's output"
            ),
            Unsupported::WindowsWithoutSsh => f.write_str(
                "windowsProfile.sshEnabled is false: Windows nodes could not be entered; enable SSH, or remove the \
                 windowsProfile if there are no such nodes",
            ),
            Unsupported::CosmosEtcd => f.write_str(
                "masterProfile.cosmosEtcd: there is no etcd whose certificates could be replaced; turn to Azure \
                 Cosmos DB for its own",
            ),
            Unsupported::KeyVaultReferences { keys } => write!(
                f,
                "{} in certificateProfile: references into a Key Vault are not resolved; put the PEM text in their place",
                keys.join(", ")
            ),
            Unsupported::NoCertificateProfile => f.write_str(
                "no certificateProfile: the model does not hold the present PKI; give the generated apimodel.json from \
                 the _output directory of the deployment",
            ),
            Unsupported::IncompleteProfile { keys } => write!(
                f,
                "no {} in certificateProfile: the present PKI is incomplete; restore it from a backup, or from \
                 /etc/kubernetes/certs on the masters",
                keys.join(", ")
            ),
            Unsupported::NoLinuxProfile => {
                f.write_str("no linuxProfile: there is no user name to log in with; restore it from the deployment's output")
            }
            Unsupported::CustomCertificatePath { component, flag, path } => write!(
                f,
                "{component} has {flag}={path}: credentials are replaced in {CERTIFICATE_DIRECTORY} under their usual \
                 names only; put the flag back to its default"
            ),
        }
    }
}

/// Where AKS engine keeps credentials on Linux nodes.
const CERTIFICATE_DIRECTORY: &str = "/etc/kubernetes/certs/";

/// Which file each flag of the API server names (aks-engine, `defaults-apiserver.go`).
const API_SERVER_PATHS: &[(&str, &str)] = &[
    ("--tls-cert-file", "apiserver.crt"),
    ("--tls-private-key-file", "apiserver.key"),
    ("--client-ca-file", "ca.crt"),
    ("--etcd-cafile", "ca.crt"),
    ("--etcd-certfile", "etcdclient.crt"),
    ("--etcd-keyfile", "etcdclient.key"),
    ("--kubelet-client-certificate", "client.crt"),
    ("--kubelet-client-key", "client.key"),
    ("--service-account-key-file", "apiserver.key"),
    ("--service-account-signing-key-file", "apiserver.key"),
    ("--requestheader-client-ca-file", "proxy-ca.crt"),
    ("--proxy-client-cert-file", "proxy.crt"),
    ("--proxy-client-key-file", "proxy.key"),
];

/// The same for the controller manager.
const CONTROLLER_MANAGER_PATHS: &[(&str, &str)] = &[
    ("--root-ca-file", "ca.crt"),
    ("--cluster-signing-cert-file", "ca.crt"),
    ("--cluster-signing-key-file", "ca.key"),
    ("--service-account-private-key-file", "apiserver.key"),
];

/// The same for the kubelet.
const KUBELET_PATHS: &[(&str, &str)] = &[
    ("--client-ca-file", "ca.crt"),
    ("--tls-cert-file", "kubeletserver.crt"),
    ("--tls-private-key-file", "kubeletserver.key"),
];

#[cfg(test)]
mod tests {
    use super::super::model::tests::{model, model_with_masters};
    use super::*;

    #[test]
    fn each_obstacle_is_named() {
        let masters = r#"{"count": 1, "dnsPrefix": "a", "firstConsecutiveStaticIP": "10.0.0.5", "cosmosEtcd": true,
            "kubernetesConfig": {"kubeletConfig": {"--client-ca-file": "/etc/pki/ca.crt"}}}"#;
        let vault = "/subscriptions/0/resourceGroups/g/providers/Microsoft.KeyVault/vaults/v/secrets/ca";
        let more = format!(
            r#", "agentPoolProfiles": [{{"name": "win", "count": 1, "osType": "Windows"}}], "aadProfile": {{}},
            "windowsProfile": {{"sshEnabled": false}}, "certificateProfile": {{"caPrivateKey": "{vault}"}}"#
        );
        let found = model_with_masters(masters, &more).unsupported();
        let expected = [
            Unsupported::CustomCertificatePath {
                component: "the masters' kubelet",
                flag: "--client-ca-file",
                path: "/etc/pki/ca.crt".to_owned(),
            },
            Unsupported::CosmosEtcd,
            Unsupported::WindowsWithoutProfile { pool: "win".to_owned() },
            Unsupported::WindowsWithoutSsh,
            Unsupported::KeyVaultReferences { keys: vec!["caPrivateKey".to_owned()] },
        ];
        assert_eq!(found, expected);
        assert!(found.iter().all(|item| item.to_string().contains(';')), "each has a remedy");
    }

    #[test]
    fn a_profile_must_be_there_and_complete_but_for_the_cas_key() {
        assert_eq!(model("").unsupported(), [Unsupported::NoCertificateProfile]);
        let peers = r#"["a", "b", "c"]"#;
        let singles = ["apiServer", "client", "kubeConfig", "etcdServer", "etcdClient"];
        let singles: String =
            singles.iter().map(|s| format!(r#""{s}Certificate": "x", "{s}PrivateKey": "y", "#)).collect();
        let profile = |keys: &str| {
            format!(
                r#", "certificateProfile": {{"caCertificate": "x", {singles} "etcdPeerCertificates": {peers},
                "etcdPeerPrivateKeys": {keys}}}"#
            )
        };
        assert_eq!(model(&profile(peers)).unsupported(), []);
        let keys = vec!["etcdPeerPrivateKeys[2]".to_owned()];
        assert_eq!(model(&profile(r#"["a", "b"]"#)).unsupported(), [Unsupported::IncompleteProfile { keys }]);
    }
}
