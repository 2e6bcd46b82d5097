//! Whether a leaf is accepted by those who trust given roots.

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::certificate::{Certificate, Version};

/// What a leaf is to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// As a TLS server.
    ServerAuth,
    /// As a TLS client.
    ClientAuth,
}

/// A verdict in a leaf's favour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Who said so.
    pub judge: Judge,
}

/// Who looked at a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judge {
    /// rustls-webpki: rustls, hence kubecert's own connections, would accept the leaf.
    Webpki,
    /// Our own check, because the leaf is of version 1: Go and OpenSSL accept it, rustls does not. Only names, signature
    /// and validity were looked at, and only a root itself counts as issuer.
    OwnVersion1,
}

/// Checks that `leaf` is valid at `now` for `usage` by way of `intermediates` up to one of `roots`.
///
/// Go and OpenSSL refuse roots that have ended, while webpki's anchors have no validity. So roots
/// that do not count at `now` are left out first, and if only they would have carried the leaf, the error says so.
///
/// # Errors
///
/// Says which link of the chain is at fault, in words fit for an operator.
pub fn verify_chain(
    leaf: &Certificate,
    intermediates: &[Certificate],
    roots: &[Certificate],
    now: Timestamp,
    usage: Usage,
) -> Result<Verified, ChainError> {
    check_validity(leaf, now)?;
    if roots.is_empty() {
        return Err(ChainError::NoRoots);
    }
    let (living, dead): (Vec<&Certificate>, Vec<&Certificate>) =
        roots.iter().partition(|root| check_validity(root, now).is_ok());
    let error = match judge(leaf, intermediates, &living, now, usage) {
        Ok(judge) => return Ok(Verified { judge }),
        Err(error) => error,
    };
    for root in dead {
        if judge(leaf, intermediates, &[root], now, usage).is_ok() {
            return Err(ChainError::DeadRoot {
                subject: root.subject().to_string(),
                not_after: root.not_after(),
            });
        }
    }
    Err(error)
}

/// Checks that a server's certificate is good for the name or address under which it is dialled. The common name does
/// not count (RFC 9525 §2), as it does not for Go since 1.15 and for rustls.
///
/// # Errors
///
/// When the name is not a name, or not among the certificate's.
pub fn verify_server_name(leaf: &Certificate, name: &str) -> Result<(), ChainError> {
    let parsed = ServerName::try_from(name).map_err(|_| ChainError::NotAName(name.to_owned()))?;
    let der = CertificateDer::from(leaf.der());
    let certificate = EndEntityCert::try_from(&der).map_err(refused)?;
    certificate
        .verify_is_valid_for_subject_name(&parsed)
        .map_err(|_| ChainError::OtherName { subject: leaf.subject().to_string(), name: name.to_owned() })
}

fn judge(
    leaf: &Certificate,
    intermediates: &[Certificate],
    roots: &[&Certificate],
    now: Timestamp,
    usage: Usage,
) -> Result<Judge, ChainError> {
    match leaf.version() {
        Version::V3 => by_webpki(leaf, intermediates, roots, now, usage).map(|()| Judge::Webpki),
        Version::V1 | Version::V2 => by_names(leaf, roots).map(|()| Judge::OwnVersion1),
    }
}

fn by_webpki(
    leaf: &Certificate,
    intermediates: &[Certificate],
    roots: &[&Certificate],
    now: Timestamp,
    usage: Usage,
) -> Result<(), ChainError> {
    let roots: Vec<CertificateDer<'_>> = roots.iter().map(|root| CertificateDer::from(root.der())).collect();
    // A root that webpki cannot read must not hide the others; it just anchors nothing.
    let anchors: Vec<TrustAnchor<'_>> =
        roots.iter().filter_map(|root| anchor_from_trusted_cert(root).ok()).collect();
    let intermediates: Vec<CertificateDer<'_>> =
        intermediates.iter().map(|found| CertificateDer::from(found.der())).collect();
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let purpose = match usage {
        Usage::ServerAuth => KeyUsage::server_auth(),
        Usage::ClientAuth => KeyUsage::client_auth(),
    };
    let der = CertificateDer::from(leaf.der());
    let certificate = EndEntityCert::try_from(&der).map_err(refused)?;
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    match certificate.verify_for_usage(algorithms, &anchors, &intermediates, time, purpose, None, None) {
        Ok(_) => Ok(()),
        Err(webpki::Error::UnknownIssuer) => Err(unknown_issuer(leaf)),
        Err(webpki::Error::RequiredEkuNotFoundContext(_)) => {
            Err(ChainError::OtherUsage { subject: leaf.subject().to_string(), wanted: usage })
        }
        Err(webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. }) => {
            Err(ChainError::DeadIntermediate { subject: leaf.subject().to_string() })
        }
        Err(other) => Err(refused(other)),
    }
}

fn by_names(leaf: &Certificate, roots: &[&Certificate]) -> Result<(), ChainError> {
    let issuers = roots.iter().filter(|root| root.is_ca() || root.version() == Version::V1);
    let mut verdicts = issuers.map(|root| leaf.signed_by(root));
    match verdicts.any(|verdict| verdict.is_ok()) {
        true => Ok(()),
        false => Err(unknown_issuer(leaf)),
    }
}

fn check_validity(certificate: &Certificate, now: Timestamp) -> Result<(), ChainError> {
    let subject = || certificate.subject().to_string();
    if now < certificate.not_before() {
        return Err(ChainError::NotYet { subject: subject(), not_before: certificate.not_before(), now });
    }
    // The last second counts in full: NotAfter is inclusive (RFC 5280 §4.1.2.5).
    if now.as_second() > certificate.not_after().as_second() {
        return Err(ChainError::Ended { subject: subject(), not_after: certificate.not_after(), now });
    }
    Ok(())
}

fn unknown_issuer(leaf: &Certificate) -> ChainError {
    ChainError::UnknownIssuer { subject: leaf.subject().to_string(), issuer: leaf.issuer().to_string() }
}

fn refused(source: webpki::Error) -> ChainError {
    ChainError::Refused(source.to_string())
}

/// Why a leaf is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Nobody is trusted.
    #[error("no roots to trust")]
    NoRoots,
    /// The leaf's time has not come; look at the clocks.
    #[error("certificate of `{subject}` begins at {not_before}, and it is {now}")]
    NotYet {
        /// The leaf's subject.
        subject: String,
        /// When it begins to count.
        not_before: Timestamp,
        /// When it was looked at.
        now: Timestamp,
    },
    /// The leaf's time is over.
    #[error("certificate of `{subject}` ended at {not_after}, and it is {now}")]
    Ended {
        /// The leaf's subject.
        subject: String,
        /// When it ceased to count.
        not_after: Timestamp,
        /// When it was looked at.
        now: Timestamp,
    },
    /// The chain is in order but for its root, which has ended or not begun.
    #[error("root `{subject}` does not count now, it ends at {not_after}")]
    DeadRoot {
        /// The root's subject.
        subject: String,
        /// When it ends.
        not_after: Timestamp,
    },
    /// A CA between leaf and root has ended or not begun.
    #[error("a CA between `{subject}` and its root does not count now")]
    DeadIntermediate {
        /// The leaf's subject.
        subject: String,
    },
    /// No way from the leaf to any of the roots: names do not meet, or signatures are wrong.
    #[error("certificate of `{subject}` by `{issuer}` leads to none of the roots")]
    UnknownIssuer {
        /// The leaf's subject.
        subject: String,
        /// The leaf's issuer.
        issuer: String,
    },
    /// The extended key usage forbids it.
    #[error("certificate of `{subject}` is not for {wanted:?}")]
    OtherUsage {
        /// The leaf's subject.
        subject: String,
        /// What it was to be used for.
        wanted: Usage,
    },
    /// The server's certificate is for other names.
    #[error("certificate of `{subject}` is not for the name `{name}`")]
    OtherName {
        /// The leaf's subject.
        subject: String,
        /// The name that was dialled.
        name: String,
    },
    /// Neither a DNS name nor an address.
    #[error("`{0}` is neither a DNS name nor an IP address")]
    NotAName(String),
    /// Anything else that webpki objects to.
    #[error("chain is refused: {0}")]
    Refused(String),
}
