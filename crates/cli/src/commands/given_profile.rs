//! The certificates that the operator gives with `--certificate-profile`.

use std::path::{Path, PathBuf};

use kubecert_cloud::apimodel::{CertificateProfile, Entry};
use kubecert_engine::vault::PkiSet;

use super::target::{Described, pki_set};
use crate::errors::{CliError, Kind};

/// A file that was read and has the shape of a profile.
pub(super) struct GivenProfile {
    path: PathBuf,
    profile: CertificateProfile,
}

impl GivenProfile {
    /// Reads a profile, in either shape.
    pub(super) fn read(path: &Path) -> Result<Self, CliError> {
        let about = || format!("cannot use certificate profile {}", path.display());
        let bytes = std::fs::read(path).map_err(|error| CliError::because(Kind::Input, about(), error))?;
        let profile = CertificateProfile::parse(&bytes)
            .map_err(|error| CliError::because(Kind::Input, about(), error))?;
        Ok(Self { path: path.to_owned(), profile })
    }

    /// The certificates in it, if they are fit for a cluster and are others than those that it has.
    pub(super) fn pki(&self, described: &Described) -> Result<PkiSet, CliError> {
        let about = format!("cannot use certificate profile {}", self.path.display());
        self.profile
            .validate(&described.model, jiff::Timestamp::now())
            .map_err(|error| CliError::because(Kind::Input, about.clone(), error))?;
        let ca =
            |profile: &CertificateProfile| profile.certificate(Entry::Ca).map(|pem| pem.trim().to_owned());
        if described.model.certificate_profile().and_then(ca) == ca(&self.profile) {
            return Err(CliError::new(Kind::Input, format!("{about}: its CA is the one that the cluster has"))
                .hint(
                    "Give certificates of another CA, or let new ones be made without --certificate-profile; to renew \
                     certificates under the CA that stays, use `kubecert rotate --why renew`.",
                ));
        }
        pki_set(&self.profile)
    }
}
