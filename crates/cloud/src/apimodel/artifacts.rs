//! The files on the operator's machine.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use tempfile::NamedTempFile;
use thiserror::Error;

use super::error::ApiModelError;
use super::kubeconfig::KubeconfigError;
use super::model::ApiModel;
use super::profile::{CertificateProfile, Entry};

/// Writes what the ancestor keeps of a cluster with the PKI of `profile` into `directory`.
///
/// That is `ca.{key,crt}`, `apiserver.*`, `client.*`, `kubectlClient.*`, `etcdserver.*`, `etcdclient.*` and
/// `etcdpeer<i>.*` for each master, `kubeconfig/kubeconfig.<location>.json`, and last `apimodel.json` (always of that
/// name): who sees the new model sees the other files too. A key that the profile lacks is left out.
///
/// `azuredeploy.json` is *not* written, nor touched where it is. The ancestor regenerates it
/// from the model, and because the model does not hold the subnets, what it writes then lacks them;
/// a deployment from that file would move the cluster's machines. Certificates stand in its parameters only, which
/// [`super::Parameters`] edits.
///
/// Each file is of mode 0600 and appears in its place complete or not at all: it is written beside it, synced,
/// renamed. Directories that are not there are made with mode 0700; those that are keep their mode.
///
/// # Errors
///
/// [`ArtifactError`]; what had been written before stays.
pub fn write_artifacts(
    directory: &Path,
    model: &ApiModel,
    profile: &CertificateProfile,
) -> Result<(), ArtifactError> {
    let location = model.location().ok_or(ApiModelError::LocationUnknown)?;
    let masters = model.master_ips().len();
    if profile.etcd_peers() < masters {
        return Err(ArtifactError::TooFewPeers { peers: profile.etcd_peers(), masters });
    }
    let kubeconfig = model.kubeconfig(profile)?;
    let kubeconfigs = directory.join("kubeconfig");
    make_private_directory(&kubeconfigs)?;

    for entry in Entry::all(masters) {
        let place = |ending: &str| directory.join(format!("{}.{ending}", entry.file_base()));
        if let Some(key) = profile.private_key(entry) {
            write_private(&place("key"), key.expose_secret().as_bytes())?;
        }
        if let Some(certificate) = profile.certificate(entry) {
            write_private(&place("crt"), certificate.as_bytes())?;
        }
    }
    let name = format!("kubeconfig.{}.json", location.as_str());
    write_private(&kubeconfigs.join(name), kubeconfig.expose_secret().as_bytes())?;
    let text: SecretString = model.text_with(profile).into();
    write_private(&directory.join("apimodel.json"), text.expose_secret().as_bytes())
}

/// Why the files are not all there.
#[derive(Debug, Error)]
pub enum ArtifactError {
    /// The profile does not reach for all masters.
    #[error("etcd peer certificates for {peers} of {masters} masters; give a profile with one pair for each")]
    TooFewPeers {
        /// How many there are.
        peers: usize,
        /// How many are needed.
        masters: usize,
    },
    /// No kubeconfig can be made.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// The model does not say where the cluster is.
    #[error(transparent)]
    Model(#[from] ApiModelError),
    /// The file system refused.
    #[error("{} cannot be written; make room or give access, and run the command again", .path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn make_private_directory(path: &Path) -> Result<(), ArtifactError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| ArtifactError::Write { path: path.to_owned(), source })
}

/// Puts `content` at `path`, readable by its owner alone, at once and durably.
///
/// # Errors
///
/// [`ArtifactError::Write`]; what was there before stays.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), ArtifactError> {
    replace(path, content).map_err(|source| ArtifactError::Write { path: path.to_owned(), source })
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    // The new name must be in the same file system as the old one, hence in the same directory.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(directory)?;
    fs::set_permissions(file.path(), Permissions::from_mode(0o600))?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // The rename itself is durable only when the directory is.
    File::open(directory)?.sync_all()
}

#[cfg(test)]
#[path = "artifacts_tests.rs"]
mod tests;
