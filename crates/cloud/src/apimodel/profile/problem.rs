//! What can be wrong with a profile's content.

use std::net::IpAddr;

use jiff::Timestamp;
use kubecert_pki::{CertificateError, ChainError, IssuerError, KeyError, Usage};
use thiserror::Error;

use super::Entry;
use crate::apimodel::error::ApiModelError;

/// One thing that is wrong with a profile; each names the member (by its JSON key or its file name) and the remedy.
#[derive(Debug, Error)]
pub enum ProfileProblem {
    /// A certificate or key that is not there.
    #[error("no {key}; add it, the profile replaces the whole PKI")]
    Missing {
        /// The JSON key.
        key: String,
    },
    /// Fewer etcd peers than masters.
    #[error(
        "etcd peer certificates for {peers} of {masters} masters; add one pair for each master, in their order"
    )]
    TooFewPeers {
        /// How many complete pairs there are at the beginning of the lists.
        peers: usize,
        /// How many are needed.
        masters: usize,
    },
    /// A reference into a Key Vault.
    #[error("{key} is a reference into a Key Vault, which is not resolved; put the PEM text in its place")]
    KeyVaultReference {
        /// The JSON key.
        key: String,
    },
    /// Text that is not a certificate.
    #[error(
        "{key} cannot be read as a PEM certificate; check that the text is complete, with line ends as \\n"
    )]
    CertificateUnreadable {
        /// The JSON key.
        key: String,
        /// What the reader met.
        #[source]
        source: CertificateError,
    },
    /// Text that is not a private key, or an encrypted one.
    #[error("{key} cannot be read as a PEM private key; give it unencrypted, as PKCS#1 or PKCS#8")]
    KeyUnreadable {
        /// The JSON key.
        key: String,
        /// What the reader met.
        #[source]
        source: KeyError,
    },
    /// A key and a certificate that do not belong together.
    #[error("{} is not the key of {}; give the pair that was made together", .entry.private_key_key(), .entry.certificate_key())]
    KeyMismatch {
        /// Whose.
        entry: Entry,
    },
    /// Several CA certificates where exactly one may be: the controller manager signs with this file.
    #[error("caCertificate holds {count} certificates; give the one that signed the others")]
    SeveralCas {
        /// How many.
        count: usize,
    },
    /// A CA certificate that may not sign.
    #[error(
        "caCertificate cannot be this cluster's CA; give one with basicConstraints CA:TRUE and keyCertSign"
    )]
    UnfitCa {
        /// What is wrong.
        #[source]
        source: IssuerError,
    },
    /// Not valid yet.
    #[error("{} begins at {not_before}, and it is {now}; check the clock here, or wait", .entry.certificate_key())]
    NotYet {
        /// Whose.
        entry: Entry,
        /// When it begins.
        not_before: Timestamp,
        /// The time given.
        now: Timestamp,
    },
    /// Not valid any more.
    #[error("{} ended at {not_after}, and it is {now}; issue it anew", .entry.certificate_key())]
    Ended {
        /// Whose.
        entry: Entry,
        /// When it ended.
        not_after: Timestamp,
        /// The time given.
        now: Timestamp,
    },
    /// Not signed by the profile's CA.
    #[error("{} was not signed by caCertificate; issue it anew with that CA", .entry.certificate_key())]
    OtherCa {
        /// Whose.
        entry: Entry,
        /// What the verifier met.
        #[source]
        source: ChainError,
    },
    /// An extended key usage is missing.
    #[error("{} lacks the extended key usage {}; issue it anew with that", .entry.certificate_key(), usage_name(*.usage))]
    Purpose {
        /// Whose.
        entry: Entry,
        /// What it must be good for.
        usage: Usage,
    },
    /// A DNS name is missing.
    #[error("{} lacks the DNS name {name}; issue it anew with that name", .entry.certificate_key())]
    NoName {
        /// Whose.
        entry: Entry,
        /// The name by which it will be called.
        name: String,
    },
    /// An address is missing.
    #[error("{} lacks the IP address {address} ({role}); issue it anew with that address", .entry.certificate_key())]
    NoAddress {
        /// Whose.
        entry: Entry,
        /// The address.
        address: IpAddr,
        /// What has that address.
        role: &'static str,
    },
    /// A client that would not be an administrator.
    #[error("{} is not of O=system:masters, and the cluster's components act by it; issue it anew with that", .entry.certificate_key())]
    NotAMaster {
        /// Whose.
        entry: Entry,
    },
    /// The model does not say enough to tell which names are needed.
    #[error("the names that the API server needs cannot be told")]
    ClusterUnknown {
        /// What is missing.
        #[source]
        source: ApiModelError,
    },
}

fn usage_name(usage: Usage) -> &'static str {
    match usage {
        Usage::ServerAuth => "serverAuth",
        Usage::ClientAuth => "clientAuth",
    }
}
