//! The operator's own files, where the ancestor keeps them: beside the apimodel.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use kubecert_cloud::apimodel::{
    ApiModel, CertificateProfile, Entry, PARAMETERS_FILE, Parameters, PoolNodes, UpdatedParameters,
    write_artifacts, write_private,
};
use kubecert_core::model::{LeafId, TrustDomain};
use kubecert_engine::issue::chain;
use kubecert_engine::ports::{Fault, PortError, PortResult};
use kubecert_engine::run::OperatorFiles;
use kubecert_engine::vault::Vault;
use kubecert_pki::KeyEncoding;
use secrecy::{ExposeSecret as _, SecretString};

use super::target::Described;

/// `apimodel.json`, kubeconfigs and PEM files; the old ones in `_rotate_certs_backup/`, and the new ones in
/// `_rotate_certs_output/` until they are in force.
pub(crate) struct AncestorFiles {
    model: Arc<ApiModel>,
    directory: PathBuf,
}

impl AncestorFiles {
    /// For the apimodel that was read.
    pub(crate) fn new(described: &Described) -> Self {
        let directory = match described.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Self { model: Arc::clone(&described.model), directory }
    }

    fn new_profile(&self, vault: &Vault) -> PortResult<CertificateProfile> {
        // What the run leaves as it is stays in the profile.
        let result = vault.result();
        let mut profile = CertificateProfile::default();
        for entry in Entry::all(self.model.master_names().len()) {
            let leaf = LeafId::new(entry.file_base());
            let (certificate, key) = match entry {
                Entry::Ca => (
                    result.authorities.get(&TrustDomain::Cluster),
                    result.authority_keys.get(&TrustDomain::Cluster),
                ),
                _ => (result.leaves.get(&leaf), result.leaf_keys.get(&leaf)),
            };
            let missing =
                || PortError::new(Fault::Failed, format!("cannot write {leaf}"), "the run has not made it");
            let pem = key
                .ok_or_else(missing)?
                .to_pem(KeyEncoding::Pkcs1OrSec1)
                .map_err(|error| PortError::new(Fault::Failed, format!("cannot write {leaf}.key"), error))?;
            let certificate = certificate.ok_or_else(missing)?.to_pem();
            profile = profile.with(entry, certificate, SecretString::from(pem.expose()));
        }
        Ok(profile)
    }

    /// What the directory's deployment parameters come to with the new PKI; `None` where there are none.
    fn parameters(&self, profile: &CertificateProfile) -> Option<Result<UpdatedParameters, String>> {
        let bytes = match std::fs::read(self.directory.join(PARAMETERS_FILE)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            other => other.map_err(|error| error.to_string()),
        };
        let read = |bytes: Vec<u8>| Parameters::parse(&bytes).map_err(|error| chain(&error));
        Some(bytes.and_then(read).map(|parameters| parameters.with_profile(profile)))
    }

    /// Puts them into a directory. Those that cannot be understood stay as they are and are told of at the end.
    fn write_parameters(&self, directory: &Path, profile: &CertificateProfile) -> PortResult<()> {
        let Some(Ok(updated)) = self.parameters(profile) else { return Ok(()) };
        let path = directory.join(PARAMETERS_FILE);
        write_private(&path, updated.text.expose_secret().as_bytes()).map_err(|error| {
            PortError::new(Fault::Failed, format!("cannot write {}", path.display()), chain(&error))
        })
    }

    fn artifacts(&self, directory: &std::path::Path, profile: &CertificateProfile) -> PortResult<()> {
        write_artifacts(directory, &self.model, profile).map_err(|error| {
            PortError::new(Fault::Failed, format!("cannot write to {}", directory.display()), chain(&error))
        })
    }
}

#[async_trait]
impl OperatorFiles for AncestorFiles {
    async fn announce(&self, vault: &Vault) -> PortResult<()> {
        if let Some(present) = self.model.certificate_profile() {
            let backup = self.directory.join("_rotate_certs_backup");
            self.artifacts(&backup, present)?;
            self.write_parameters(&backup, present)?;
        }
        let (output, profile) = (self.directory.join("_rotate_certs_output"), self.new_profile(vault)?);
        self.artifacts(&output, &profile)?;
        self.write_parameters(&output, &profile)
    }

    async fn write(&self, vault: &Vault) -> PortResult<()> {
        let profile = self.new_profile(vault)?;
        // First the parameters: who sees the new model sees the other files too.
        self.write_parameters(&self.directory, &profile)?;
        self.artifacts(&self.directory, &profile)?;
        let output = self.directory.join("_rotate_certs_output");
        match std::fs::remove_dir_all(&output) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(PortError::new(Fault::Failed, format!("cannot remove {}", output.display()), error))
            }
            _ => Ok(()),
        }
    }

    fn leftovers(&self) -> Vec<String> {
        let file = self.directory.join(PARAMETERS_FILE);
        let mut left = Vec::new();
        // Which profile it is compared with does not matter: only what it cannot take is asked for.
        let present = self.model.certificate_profile().cloned().unwrap_or_default();
        let brought_up = match self.parameters(&present) {
            None => None,
            Some(Err(why)) => {
                left.push(format!(
                    "{} still holds the old PKI, since it cannot be used ({why}).",
                    file.display()
                ));
                None
            }
            Some(Ok(updated)) => {
                if !updated.references.is_empty() {
                    left.push(format!(
                        "{} takes {} from a Key Vault, where the old ones still are: put the new ones there.",
                        file.display(),
                        updated.references.join(", ")
                    ));
                }
                Some(file)
            }
        };
        let pools = 0..self.model.agent_pools().len();
        let sets = pools.filter_map(|pool| match self.model.agent_names(pool) {
            Some(PoolNodes::ScaleSet { prefix }) => Some(prefix),
            _ => None,
        });
        for set in sets {
            let with = match &brought_up {
                Some(file) => format!(
                    "a deployment of azuredeploy.json with {} (which holds the new one), or ",
                    file.display()
                ),
                None => String::new(),
            };
            left.push(format!(
                "The model of scale set {set} still holds the old PKI, so that instances which it makes from now on cannot join the cluster. Azure gives out neither its custom data nor its extension's settings, so they cannot be edited here: {with}`aks-engine upgrade` with the new apimodel.json brings it up to date."
            ));
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = r#"{"apiVersion": "vlabs", "location": "local", "properties": {
        "orchestratorProfile": {"orchestratorType": "Kubernetes", "orchestratorVersion": "1.34.4",
            "kubernetesConfig": {"serviceCidr": "10.0.0.0/16"}},
        "masterProfile": {"count": 1, "dnsPrefix": "synthazs", "firstConsecutiveStaticIP": "10.255.255.5",
            "availabilityProfile": "AvailabilitySet"},
        "agentPoolProfiles": [{"name": "pool", "count": 1, "availabilityProfile": "AvailabilitySet"},
            {"name": "burst", "count": 1, "availabilityProfile": "VirtualMachineScaleSets"}],
        "certificateProfile": {"caCertificate": "old", "caPrivateKey": "old"}}}"#;

    fn files(directory: &Path) -> AncestorFiles {
        let model = Arc::new(ApiModel::parse(MODEL.as_bytes()).expect("the model reads"));
        AncestorFiles { model, directory: directory.to_owned() }
    }

    #[test]
    fn deployment_parameters_follow_and_what_cannot_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let files = files(directory.path());
        let new = CertificateProfile::default().with(Entry::Ca, "new".to_owned(), "new key".into());
        files.write_parameters(directory.path(), &new).expect("there are none");
        let left = files.leftovers();
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(
            left[0].contains("k8s-burst-11223509-vmss") && !left[0].contains(PARAMETERS_FILE),
            "{left:?}"
        );

        let path = directory.path().join(PARAMETERS_FILE);
        let text =
            r#"{"parameters": {"caCertificate": {"value": "b2xk"}, "caPrivateKey": {"reference": {}}}}"#;
        std::fs::write(&path, text).expect("a file");
        files.write_parameters(directory.path(), &new).expect("they can be written");
        let written = std::fs::read_to_string(&path).expect("a file");
        assert_eq!(written, text.replace("b2xk", "bmV3"));
        let left = files.leftovers();
        assert!(left[0].contains("caPrivateKey") && left[0].contains("Key Vault"), "{left:?}");
        assert!(left[1].contains("azuredeploy.json with"), "{left:?}");

        std::fs::write(&path, "{").expect("a file");
        files.write_parameters(directory.path(), &new).expect("what is no JSON stays");
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), "{");
        assert!(files.leftovers()[0].contains("still holds the old PKI"));
    }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod judged;
