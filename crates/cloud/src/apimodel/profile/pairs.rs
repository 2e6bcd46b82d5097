//! From texts to certificates and keys.

use std::fmt;

use kubecert_pki::{Certificate, PrivateKey, parse_pem_certificates};
use secrecy::ExposeSecret;

use super::problem::ProfileProblem;
use super::{CertificateProfile, Entry};

/// A member of a profile, read.
#[derive(Debug, Clone)]
pub struct PresentPair {
    /// Which one.
    pub entry: Entry,
    /// Its certificate.
    pub certificate: Certificate,
    /// Certificates that stand behind it in the same text.
    pub intermediates: Vec<Certificate>,
    /// Its key, where the profile has it.
    pub private_key: Option<PrivateKey>,
}

impl CertificateProfile {
    /// Reads everything that is there. What is missing is not an error here, and what does not fit together neither:
    /// a model with an ended or odd PKI must be readable, so that it can be replaced.
    ///
    /// # Errors
    ///
    /// [`InvalidProfile`] with every certificate and key that cannot be read, each by its JSON key.
    pub fn present_pairs(&self) -> Result<Vec<PresentPair>, InvalidProfile> {
        let mut problems = Vec::new();
        let pairs = self.entries().filter_map(|entry| self.read_pair(entry, &mut problems)).collect();
        if problems.is_empty() { Ok(pairs) } else { Err(InvalidProfile { problems }) }
    }

    /// The pair of `entry`, or `None` when its certificate is missing or (then with a problem noted) unreadable.
    pub(super) fn read_pair(&self, entry: Entry, problems: &mut Vec<ProfileProblem>) -> Option<PresentPair> {
        let private_key = self.private_key(entry).and_then(|text| {
            let unreadable = |source| ProfileProblem::KeyUnreadable { key: entry.private_key_key(), source };
            PrivateKey::from_pem(text.expose_secret())
                .map_err(|source| problems.push(unreadable(source)))
                .ok()
        });
        let unreadable =
            |source| ProfileProblem::CertificateUnreadable { key: entry.certificate_key(), source };
        let read = parse_pem_certificates(self.certificate(entry)?)
            .map_err(|source| problems.push(unreadable(source)));
        let mut certificates = read.ok()?.into_iter();
        let certificate = certificates.next()?;
        Some(PresentPair { entry, certificate, intermediates: certificates.collect(), private_key })
    }
}

/// A profile that cannot be used, with everything that is wrong with it.
///
/// All of it at once, because the operator would otherwise meet the next problem only after having cured the first.
#[derive(Debug)]
pub struct InvalidProfile {
    /// Never empty.
    pub problems: Vec<ProfileProblem>,
}

impl fmt::Display for InvalidProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the certificate profile cannot be used:")?;
        self.problems.iter().try_for_each(|problem| {
            write!(f, "\n  {problem}")?;
            std::error::Error::source(problem).map_or(Ok(()), |source| write!(f, ": {source}"))
        })
    }
}

impl std::error::Error for InvalidProfile {}
