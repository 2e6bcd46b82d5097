//! What Cluster API keeps of a cluster's PKI in its management cluster, and what has to change there when the PKI does.
//!
//! The kubeadm bootstrap provider gives new machines the CAs with their keys, and the key that signs tokens, from Secrets
//! named `<cluster>-ca`, `-etcd`, `-proxy` and `-sa` with the entries `tls.crt` and `tls.key`; controllers reach the cluster
//! by the entry `value` of `<cluster>-kubeconfig` (Cluster API 1.9, `util/secret/consts.go`, `util/secret/certificates.go`).
//!
//! This is the pure part: it judges the entries of one Secret and says what is to stand in them. It takes what the cluster
//! had before a run and what it has after it, so that the same question asked again after the answer was carried out is
//! answered with nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kubecert_core::layout;
use kubecert_core::model::{LeafId, TrustDomain};
use kubecert_engine::issue::{MakeError, chain, successor};
use kubecert_engine::kubeconfig::{self, KubeconfigError};
use kubecert_engine::vault::{PkiSet, Vault};
use kubecert_pki::{
    Certificate, Issuer, KeyEncoding, KeyError, PrivateKey, PublicKey, PublicKeyError, parse_pem_certificates,
};
use zeroize::Zeroizing;

/// The entry of a certificate, or of the public half of a key.
const CERTIFICATE: &str = "tls.crt";
/// The entry of a private key.
const KEY: &str = "tls.key";
/// The entry of a kubeconfig.
const VALUE: &str = "value";

/// What a Secret of Cluster API's is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The cluster CA and its key.
    ClusterCa,
    /// etcd's CA and its key.
    EtcdCa,
    /// The front proxy's CA and its key.
    FrontProxyCa,
    /// The key that signs service-account tokens.
    ServiceAccount,
    /// The kubeconfig by which the controllers reach the cluster.
    Kubeconfig,
}

/// An entry that is to change. Deliberately without `Debug`: it may be a private key.
pub struct Change {
    /// The entry's name.
    pub entry: &'static str,
    /// What stands there.
    pub old: Zeroizing<Vec<u8>>,
    /// What is to stand there.
    pub new: Zeroizing<Vec<u8>>,
}

/// Why a Secret cannot be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum Misfit {
    /// It lacks an entry, or the entry is empty.
    #[error("it has no entry {0}")]
    Missing(&'static str),
    /// An entry cannot be read.
    #[error("its entry {entry} cannot be used: {why}")]
    Unusable {
        /// Which one.
        entry: &'static str,
        /// Why.
        why: String,
    },
    /// An entry is not what the cluster has.
    #[error("its entry {entry} holds {found}, where the cluster has {wanted}")]
    Foreign {
        /// Which one.
        entry: &'static str,
        /// What is there.
        found: String,
        /// What should be there.
        wanted: String,
    },
    /// A private key belongs to something else than what stands beside it.
    #[error("its private key does not fit what stands beside it")]
    KeyDoesNotFit,
    /// What is to stand there is not known here.
    #[error("the run does not know {0}")]
    Unknown(String),
    /// A client certificate cannot be issued.
    #[error(transparent)]
    Issue(#[from] MakeError),
}

impl Purpose {
    /// All of them, in the order in which they are to change: the kubeconfig comes last, since a controller may make it anew
    /// from the cluster CA at any time (Cluster API 1.9, `controlplane/kubeadm/internal/controllers/helpers.go`,
    /// `reconcileKubeconfig`).
    pub const ALL: [Self; 5] =
        [Self::ClusterCa, Self::EtcdCa, Self::FrontProxyCa, Self::ServiceAccount, Self::Kubeconfig];

    /// The name of the Secret of a cluster.
    pub fn secret(self, cluster: &str) -> String {
        let purpose = match self {
            Self::ClusterCa => "ca",
            Self::EtcdCa => "etcd",
            Self::FrontProxyCa => "proxy",
            Self::ServiceAccount => "sa",
            Self::Kubeconfig => "kubeconfig",
        };
        format!("{cluster}-{purpose}")
    }

    /// Whether a Secret with these entries holds no private key: where the operator has given a CA without one, Cluster API
    /// works without it, and so do we.
    pub fn lacks_key(self, present: &BTreeMap<String, Zeroizing<Vec<u8>>>) -> bool {
        self != Self::Kubeconfig && entry(present, KEY).is_none()
    }
}

/// What has to change in a Secret with these entries, so that it holds what is in force once the run is through; nothing
/// where it does so already. An entry that is not there is not made.
///
/// Whoever's client certificate is in the kubeconfig keeps it in kind: a copy of the administrator's follows that one, any
/// other is issued anew like the present one, with a key of its own, and lasts as long from `now`.
///
/// # Errors
///
/// Fails if an entry holds neither what the cluster had before the run nor what it has after it, or cannot be read.
pub fn changes(
    purpose: Purpose,
    present: &BTreeMap<String, Zeroizing<Vec<u8>>>,
    vault: &Vault,
    now: Timestamp,
) -> Result<Vec<Change>, Misfit> {
    let result = vault.result();
    match purpose {
        Purpose::ClusterCa => authority(TrustDomain::Cluster, present, vault, &result),
        Purpose::EtcdCa => authority(TrustDomain::Etcd, present, vault, &result),
        Purpose::FrontProxyCa => authority(TrustDomain::FrontProxy, present, vault, &result),
        Purpose::ServiceAccount => service_account(present, vault, &result),
        Purpose::Kubeconfig => kubeconfig_of(present, vault, &result, now),
    }
}

fn authority(
    domain: TrustDomain,
    present: &BTreeMap<String, Zeroizing<Vec<u8>>>,
    vault: &Vault,
    result: &PkiSet,
) -> Result<Vec<Change>, Misfit> {
    let before = known_authority(&vault.old, domain)?;
    let after = known_authority(result, domain)?;
    let there = entry(present, CERTIFICATE).ok_or(Misfit::Missing(CERTIFICATE))?;
    let held = certificates(there, CERTIFICATE)?;
    // A second certificate would be trusted by every new machine, and nobody here knows what for.
    let held = match held.as_slice() {
        [held] if held == before || held == after => held,
        _ => return Err(foreign(CERTIFICATE, &held, before)),
    };
    let mut changes = Vec::new();
    if held != after {
        changes.push(change(CERTIFICATE, there, after.to_pem().into_bytes()));
    }
    let Some(there) = entry(present, KEY) else { return Ok(changes) };
    let key = private_key(there, KEY)?;
    if !key.matches(held) {
        return Err(Misfit::KeyDoesNotFit);
    }
    if !key.matches(after) {
        let unknown = || Misfit::Unknown(format!("the new {domain} CA's private key"));
        let known = result.authority_keys.get(&domain).filter(|key| key.matches(after));
        changes.push(change(KEY, there, pem(known.ok_or_else(unknown)?)?));
    }
    Ok(changes)
}

/// `tls.crt` is the public half here (Cluster API 1.9, `util/secret/certificates.go`, `generateServiceAccountKeys`).
fn service_account(
    present: &BTreeMap<String, Zeroizing<Vec<u8>>>,
    vault: &Vault,
    result: &PkiSet,
) -> Result<Vec<Change>, Misfit> {
    let known = |set: &PkiSet| {
        let key = set.leaf_keys.get(&layout::service_account()).cloned();
        key.ok_or_else(|| Misfit::Unknown("the key that signs service-account tokens".to_owned()))
    };
    let (before, after) = (known(&vault.old)?, known(result)?);
    let there = entry(present, CERTIFICATE).ok_or(Misfit::Missing(CERTIFICATE))?;
    let unusable = |error: PublicKeyError| unusable(CERTIFICATE, &error);
    let held = PublicKey::from_pem(&String::from_utf8_lossy(there)).map_err(unusable)?;
    if ![before.spki_der(), after.spki_der()].contains(&held.spki_der()) {
        return Err(Misfit::Foreign {
            entry: CERTIFICATE,
            found: format!("a public key with the identifier {}", held.derived_key_id()),
            wanted: format!("one with {}", before.public_key().derived_key_id()),
        });
    }
    let mut changes = Vec::new();
    if held.spki_der() != after.spki_der() {
        let new = after.public_key_pem().map_err(|error| self::unusable(CERTIFICATE, &error))?;
        changes.push(change(CERTIFICATE, there, new.into_bytes()));
    }
    let Some(there) = entry(present, KEY) else { return Ok(changes) };
    let key = private_key(there, KEY)?;
    if key.spki_der() != held.spki_der() {
        return Err(Misfit::KeyDoesNotFit);
    }
    if key.spki_der() != after.spki_der() {
        changes.push(change(KEY, there, pem(&after)?));
    }
    Ok(changes)
}

fn kubeconfig_of(
    present: &BTreeMap<String, Zeroizing<Vec<u8>>>,
    vault: &Vault,
    result: &PkiSet,
    now: Timestamp,
) -> Result<Vec<Change>, Misfit> {
    let before = known_authority(&vault.old, TrustDomain::Cluster)?;
    let after = known_authority(result, TrustDomain::Cluster)?;
    let there = entry(present, VALUE).ok_or(Misfit::Missing(VALUE))?;
    let unusable = |error: KubeconfigError| unusable(VALUE, &error);
    let roots = certificates(&kubeconfig::roots(there).map_err(unusable)?, VALUE)?;
    if roots.is_empty() || !roots.iter().all(|root| root == before || root == after) {
        return Err(foreign(VALUE, &roots, before));
    }
    let [client, key] = kubeconfig::client_credentials(there).map_err(unusable)?;
    let held = Certificate::from_pem(&client).map_err(|error| self::unusable(VALUE, &error))?;
    if !private_key(&key, VALUE)?.matches(&held) {
        return Err(Misfit::KeyDoesNotFit);
    }
    let by = |ca: &Certificate| held.signed_by(ca).is_ok();
    if !by(before) && !by(after) {
        return Err(Misfit::Foreign {
            entry: VALUE,
            found: format!("a client certificate by {}", held.issuer()),
            wanted: described(before),
        });
    }
    let administrator = LeafId::from("kubectlClient");
    let is_copy = vault.old.leaves.get(&administrator) == Some(&held);
    let (client, key) = match result.leaves.get(&administrator).zip(result.leaf_keys.get(&administrator)) {
        Some((leaf, next)) if is_copy && leaf != &held => (leaf.to_pem().into_bytes().into(), pem(next)?),
        _ if by(after) => (client, key),
        _ => {
            let (leaf, key) =
                successor(&held, &issuer(result)?, now, "the client certificate of Cluster API")?;
            (leaf.to_pem().into_bytes().into(), pem(&key)?)
        }
    };
    let roots = match roots.as_slice() {
        [root] if root == after => kubeconfig::roots(there).map_err(unusable)?,
        _ => after.to_pem().into_bytes(),
    };
    let new = kubeconfig::replace_credentials(there, &roots, &client, &key).map_err(unusable)?;
    Ok(if new == *there { Vec::new() } else { vec![change(VALUE, there, new)] })
}

fn issuer(result: &PkiSet) -> Result<Issuer, Misfit> {
    let unknown = || Misfit::Unknown("the cluster CA's private key".to_owned());
    result.issuer(TrustDomain::Cluster).ok().flatten().ok_or_else(unknown)
}

fn known_authority(set: &PkiSet, domain: TrustDomain) -> Result<&Certificate, Misfit> {
    set.authorities.get(&domain).ok_or_else(|| Misfit::Unknown(format!("the {domain} CA")))
}

/// An entry with something in it.
fn entry<'a>(
    present: &'a BTreeMap<String, Zeroizing<Vec<u8>>>,
    name: &str,
) -> Option<&'a Zeroizing<Vec<u8>>> {
    present.get(name).filter(|bytes| !bytes.trim_ascii().is_empty())
}

fn change(entry: &'static str, old: &Zeroizing<Vec<u8>>, new: impl Into<Zeroizing<Vec<u8>>>) -> Change {
    Change { entry, old: old.clone(), new: new.into() }
}

fn certificates(pem: &[u8], entry: &'static str) -> Result<Vec<Certificate>, Misfit> {
    parse_pem_certificates(pem).map_err(|error| unusable(entry, &error))
}

fn private_key(pem: &[u8], entry: &'static str) -> Result<PrivateKey, Misfit> {
    let text = std::str::from_utf8(pem).map_err(|error| unusable(entry, &error))?;
    PrivateKey::from_pem(text).map_err(|error| unusable(entry, &error))
}

/// As Cluster API writes keys itself (Cluster API 1.9, `util/certs/certs.go`, `EncodePrivateKeyPEM`).
fn pem(key: &PrivateKey) -> Result<Zeroizing<Vec<u8>>, Misfit> {
    let pem = key.to_pem(KeyEncoding::Pkcs1OrSec1).map_err(|error: KeyError| unusable(KEY, &error))?;
    Ok(pem.to_bytes())
}

fn unusable(entry: &'static str, error: &dyn std::error::Error) -> Misfit {
    Misfit::Unusable { entry, why: chain(error) }
}

fn foreign(entry: &'static str, found: &[Certificate], wanted: &Certificate) -> Misfit {
    let found: Vec<String> = found.iter().map(described).collect();
    let found = if found.is_empty() { "no certificate".to_owned() } else { found.join(" and ") };
    Misfit::Foreign { entry, found, wanted: described(wanted) }
}

fn described(certificate: &Certificate) -> String {
    format!("{} (SHA-256 {})", certificate.subject(), certificate.fingerprint())
}

#[cfg(test)]
#[path = "cluster_api_tests.rs"]
mod tests;
