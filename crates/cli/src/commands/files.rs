//! The operator's own files, where the ancestor keeps them: beside the apimodel.

use std::path::PathBuf;
use std::sync::Arc;

use kubecert_cloud::apimodel::{ApiModel, CertificateProfile, Entry, write_artifacts};
use kubecert_core::model::{LeafId, TrustDomain};
use kubecert_engine::issue::chain;
use kubecert_engine::ports::{Fault, PortError, PortResult};
use kubecert_engine::run::OperatorFiles;
use kubecert_engine::vault::Vault;
use kubecert_pki::KeyEncoding;
use secrecy::SecretString;

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

    fn artifacts(&self, directory: &std::path::Path, profile: &CertificateProfile) -> PortResult<()> {
        write_artifacts(directory, &self.model, profile).map_err(|error| {
            PortError::new(Fault::Failed, format!("cannot write to {}", directory.display()), chain(&error))
        })
    }
}

impl OperatorFiles for AncestorFiles {
    fn announce(&self, vault: &Vault) -> PortResult<()> {
        if let Some(present) = self.model.certificate_profile() {
            self.artifacts(&self.directory.join("_rotate_certs_backup"), present)?;
        }
        self.artifacts(&self.directory.join("_rotate_certs_output"), &self.new_profile(vault)?)
    }

    fn write(&self, vault: &Vault) -> PortResult<()> {
        self.artifacts(&self.directory, &self.new_profile(vault)?)?;
        let output = self.directory.join("_rotate_certs_output");
        match std::fs::remove_dir_all(&output) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(PortError::new(Fault::Failed, format!("cannot remove {}", output.display()), error))
            }
            _ => Ok(()),
        }
    }
}
