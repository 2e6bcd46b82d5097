//! Makes the new PKI that a plan orders, before anything on the cluster is touched.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use jiff::{SignedDuration, Timestamp};
use kubecert_core::model::{LeafId, NodeName, TrustDomain};
use kubecert_core::plan::{AuthorityOrder, KeyOrder, KeyPairOrder, LeafOrder, LeafShape, Plan};
use kubecert_pki::{
    Certificate, DistinguishedName, Issuer, KeyAlgorithm, PrivateKey, Serial, SubjectAltName, Template,
    Validity, cross_sign, issue, same_key_reissue_ca, self_signed_ca,
};

use crate::vault::{PkiSet, Vault};

/// How long a kubelet's client certificate lasts: what the controller manager's signer gives by default
/// (`--cluster-signing-duration`, Kubernetes 1.34 `pkg/controller/certificates/signer/config`); kubelet renews it by
/// itself long before.
const KUBELET_CLIENT_LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);
/// How long a kubelet's serving certificate lasts: what AKS engine gives it.
const KUBELET_SERVER_LIFETIME: SignedDuration = SignedDuration::from_hours(7300 * 24);
/// How long the front proxy's CA and leaf last: what AKS engine means to give them. Its script passes hours where
/// openssl takes days, so that present ones last 719 years.
const FRONT_PROXY_LIFETIME: SignedDuration = SignedDuration::from_hours(30 * 365 * 24);

/// What lasts longer was not meant to.
const LONGEST_LIFETIME: SignedDuration = SignedDuration::from_hours(100 * 365 * 24);

/// Why the new PKI cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// Something could not be generated, issued or encoded.
    #[error("cannot make {what}: {why}")]
    Failed {
        /// What.
        what: String,
        /// Why, with all its causes.
        why: String,
    },
    /// A key that is to stay is not there.
    #[error("cannot make {what}: the private key that it is to keep is not known here")]
    NoKey {
        /// What.
        what: String,
    },
    /// The CA that is to sign is not there.
    #[error("cannot make {what}: the {domain} CA's private key is not known here")]
    NoIssuer {
        /// What.
        what: String,
        /// Whose CA.
        domain: TrustDomain,
    },
}

/// Makes everything that `plan` orders and `vault.new` does not hold yet. `progress` is told how many keys are done, of
/// how many; it is called from several threads.
///
/// # Errors
///
/// Fails if anything cannot be made; the vault is then not usable.
pub fn make(
    plan: &Plan,
    mut vault: Vault,
    now: Timestamp,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Vault, MakeError> {
    let authorities: Vec<&AuthorityOrder> =
        plan.authorities.iter().filter(|order| !vault.new.authorities.contains_key(&order.domain)).collect();
    let leaves: Vec<&LeafOrder> =
        plan.leaves.iter().filter(|order| !vault.new.leaves.contains_key(&order.id)).collect();
    let of_authorities =
        authorities.iter().map(|order| (format!("the key of the new {} CA", order.domain), &order.key));
    // A key may be given without its certificate: the one that signs tokens already.
    let given = |order: &LeafOrder| vault.new.leaf_keys.get(&order.id).cloned();
    let of_leaves = leaves.iter().filter(|order| given(order).is_none());
    let of_leaves = of_leaves.map(|order| (format!("the key of {}", order.id), &order.key));
    let pairs: Vec<&KeyPairOrder> =
        plan.key_pairs.iter().filter(|order| !vault.new.leaf_keys.contains_key(&order.id)).collect();
    let of_pairs: Vec<(String, KeyOrder)> = pairs
        .iter()
        .map(|order| (format!("key pair {}", order.id), KeyOrder::New(order.algorithm.clone())))
        .collect();
    let wanted: Vec<(String, &str)> = of_pairs
        .iter()
        .map(|(what, key)| (what.clone(), key))
        .chain(of_authorities)
        .chain(of_leaves)
        .filter_map(|(what, key)| match key {
            KeyOrder::New(algorithm) => Some((what, algorithm.as_str())),
            KeyOrder::Same => None,
        })
        .collect();
    let mut keys = generate(&wanted, progress)?.into_iter();
    let made: Vec<(LeafId, PrivateKey)> =
        pairs.iter().map(|order| order.id.clone()).zip(keys.by_ref()).collect();

    for order in authorities {
        let what = format!("the new {} CA", order.domain);
        let no_issuer = || MakeError::NoIssuer { what: what.clone(), domain: order.domain };
        let (certificate, key) = match order.key {
            KeyOrder::Same => {
                let old = issuer(&vault.old, order.domain, &what)?.ok_or_else(no_issuer)?;
                (extended(&old, now, &what)?, old.key().clone())
            }
            KeyOrder::New(_) => {
                let key = keys.next().ok_or_else(no_issuer)?;
                (authority(order, &key, now)?, key)
            }
        };
        vault.new.authorities.insert(order.domain, certificate);
        vault.new.authority_keys.insert(order.domain, key);
    }
    for order in plan.authorities.iter().filter(|order| order.cross_signed) {
        let what = || format!("the cross certificate of the {} CA", order.domain);
        let no_issuer = || MakeError::NoIssuer { what: what(), domain: order.domain };
        let old = issuer(&vault.old, order.domain, &what())?.ok_or_else(no_issuer)?;
        let new = vault.new.authorities.get(&order.domain).ok_or_else(no_issuer)?;
        let validity = back_dated(now, remaining(new, now), &what())?;
        let cross = serial(&what()).and_then(|serial| {
            cross_sign(new, &old, validity, &serial).map_err(|error| failed(&what(), &error))
        })?;
        vault.cross.insert(order.domain, cross);
    }
    vault.new.leaf_keys.extend(made);
    // Where no CA is ordered, the one in force issues.
    let issuing = |domain: TrustDomain| {
        let replaced = plan.authorities.iter().any(|authority| authority.domain == domain);
        if replaced { &vault.new } else { &vault.old }
    };
    let mut issuers = BTreeMap::new();
    let mut wanted: Vec<(&LeafOrder, PrivateKey)> = Vec::with_capacity(leaves.len());
    for order in leaves {
        let what = || format!("certificate {}", order.id);
        if let Entry::Vacant(vacant) = issuers.entry(order.domain) {
            let issuer = issuer(issuing(order.domain), order.domain, &what())?;
            vacant.insert(issuer.ok_or(MakeError::NoIssuer { what: what(), domain: order.domain })?);
        }
        let key = match order.key {
            KeyOrder::Same => vault.old.leaf_keys.get(&order.id).cloned(),
            KeyOrder::New(_) => vault.new.leaf_keys.get(&order.id).cloned().or_else(|| keys.next()),
        };
        wanted.push((order, key.ok_or_else(|| MakeError::NoKey { what: what() })?));
    }
    // An ECDSA signature takes as long as the key that it is for, and one of a large RSA key many times as long.
    let certificates = on_all_cores(&wanted, |(order, key)| leaf(order, key, &issuers[&order.domain], now))?;
    for ((order, key), certificate) in wanted.into_iter().zip(certificates) {
        vault.new.leaves.insert(order.id.clone(), certificate);
        vault.new.leaf_keys.insert(order.id.clone(), key);
    }
    Ok(vault)
}

/// A client certificate that lasts minutes, for asking a server whom it trusts. It carries no group, so that even a
/// server that accepts it lets it do nothing.
///
/// # Errors
///
/// Fails if it cannot be issued.
pub fn throw_away_client(issuer: &Issuer, now: Timestamp) -> Result<(Certificate, PrivateKey), MakeError> {
    const WHAT: &str = "a throw-away client certificate";
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).map_err(|error| failed(WHAT, &error))?;
    let template = Template::builder(
        DistinguishedName::common_name("kubecert-probe").map_err(|error| failed(WHAT, &error))?,
    )
    .extended_key_usage([kubecert_pki::ExtendedKeyUsage::ClientAuth])
    .build()
    .map_err(|error| failed(WHAT, &error))?;
    let validity = back_dated(now, SignedDuration::from_mins(10), WHAT)?;
    let certificate = issue(&template, key.public_key(), issuer, validity, &serial(WHAT)?)
        .map_err(|error| failed(WHAT, &error))?;
    Ok((certificate, key))
}

/// A certificate like the present one, by this CA and for a new key of the same kind, lasting as long from now as the
/// present one did from its beginning. `what` names it in errors.
///
/// # Errors
///
/// Fails if it cannot be issued, or the present key is of a kind that cannot be generated.
pub fn successor(
    present: &Certificate,
    issuer: &Issuer,
    now: Timestamp,
    what: &str,
) -> Result<(Certificate, PrivateKey), MakeError> {
    let algorithm = present.key_algorithm().algorithm().ok_or_else(|| MakeError::Failed {
        what: what.to_owned(),
        why: format!("keys of its kind ({}) cannot be generated", present.key_algorithm()),
    })?;
    let key = PrivateKey::generate(algorithm).map_err(|error| failed(what, &error))?;
    let validity = back_dated(now, lifetime(present), what)?;
    let template = Template::from_certificate(present);
    let certificate = issue(&template, key.public_key(), issuer, validity, &serial(what)?)
        .map_err(|error| failed(what, &error))?;
    Ok((certificate, key))
}

/// Generates keys on all cores, in the order of `wanted`: what each is for, and its algorithm.
///
/// # Errors
///
/// Fails if an algorithm is not known, or a key cannot be generated.
pub(crate) fn generate(
    wanted: &[(String, &str)],
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Vec<PrivateKey>, MakeError> {
    let done = AtomicUsize::new(0);
    on_all_cores(wanted, |(what, algorithm)| {
        let algorithm = KeyAlgorithm::from_str(algorithm).map_err(|error| failed(what, &error))?;
        let key = PrivateKey::generate(algorithm).map_err(|error| failed(what, &error))?;
        progress(done.fetch_add(1, Ordering::Relaxed) + 1, wanted.len());
        Ok(key)
    })
}

/// Does `work` for each of `items` on all cores, and returns what came of it in their order, or the first failure.
fn on_all_cores<I: Sync, T: Send>(
    items: &[I],
    work: impl Fn(&I) -> Result<T, MakeError> + Sync,
) -> Result<Vec<T>, MakeError> {
    let next = AtomicUsize::new(0);
    // Whoever is free takes the next one: how long an RSA key takes is a matter of luck.
    let take = || {
        let indices = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        indices.map_while(|index| Some((index, work(items.get(index)?)))).collect::<Vec<_>>()
    };
    let workers = thread::available_parallelism().map_or(1, std::num::NonZero::get).min(items.len());
    let mut made: Vec<(usize, Result<T, MakeError>)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(take)).collect();
        let joined = workers.into_iter().map(thread::ScopedJoinHandle::join);
        joined.flat_map(|made| made.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    made.sort_unstable_by_key(|(index, _)| *index);
    made.into_iter().map(|(_, result)| result).collect()
}

/// Another certificate for a CA's key, lasting as long from now as the present one did from its beginning.
fn extended(old: &Issuer, now: Timestamp, what: &str) -> Result<Certificate, MakeError> {
    let validity = back_dated(now, lifetime(old.certificate()), what)?;
    same_key_reissue_ca(old, validity, &serial(what)?).map_err(|error| failed(what, &error))
}

fn authority(order: &AuthorityOrder, key: &PrivateKey, now: Timestamp) -> Result<Certificate, MakeError> {
    let what = format!("the new {} CA", order.domain);
    let old = parse(&order.like, &what)?;
    let subject = kubecert_pki::next_ca_subject(old.subject()).map_err(|error| failed(&what, &error))?;
    let (template, lifetime) = match order.domain {
        TrustDomain::FrontProxy if lifetime(&old) > LONGEST_LIFETIME => {
            (Template::ca(subject).map_err(|error| failed(&what, &error))?, FRONT_PROXY_LIFETIME)
        }
        _ => (Template::from_certificate(&old).with_subject(subject), lifetime(&old)),
    };
    self_signed_ca(&template, key, back_dated(now, lifetime, &what)?, &serial(&what)?)
        .map_err(|error| failed(&what, &error))
}

/// What a leaf that is ordered looks like, and for how long it is to last.
///
/// # Errors
///
/// Fails if the present certificate that it is to be like cannot be read, or a name cannot be encoded.
pub(crate) fn shape(order: &LeafOrder) -> Result<(Template, SignedDuration), MakeError> {
    let what = format!("certificate {}", order.id);
    let fail = |error: kubecert_pki::TemplateError| failed(&what, &error);
    Ok(match &order.shape {
        LeafShape::Like(pem) => {
            let present = parse(pem, &what)?;
            (Template::from_certificate(&present), lifetime(&present))
        }
        LeafShape::KubeletClient(node) => {
            (Template::kubelet_client(node.as_str()).map_err(fail)?, KUBELET_CLIENT_LIFETIME)
        }
        LeafShape::KubeletServer(node, address) => (
            Template::kubelet_serving(node.as_str(), names(node, *address)).map_err(fail)?,
            KUBELET_SERVER_LIFETIME,
        ),
        LeafShape::FrontProxyClient => (
            Template::front_proxy_client("aggregator", &["system:masters"]).map_err(fail)?,
            FRONT_PROXY_LIFETIME,
        ),
    })
}

fn leaf(
    order: &LeafOrder,
    key: &PrivateKey,
    issuer: &Issuer,
    now: Timestamp,
) -> Result<Certificate, MakeError> {
    let what = format!("certificate {}", order.id);
    let (template, lifetime) = shape(order)?;
    let validity = back_dated(now, lifetime, &what)?;
    issue(&template, key.public_key(), issuer, validity, &serial(&what)?)
        .map_err(|error| failed(&what, &error))
}

fn names(node: &NodeName, address: Option<IpAddr>) -> Vec<SubjectAltName> {
    let mut names = vec![SubjectAltName::Dns(node.to_string())];
    names.extend(address.map(SubjectAltName::Ip));
    names
}

/// The whole lifetime of a certificate, so that its successor lasts as long.
fn lifetime(certificate: &Certificate) -> SignedDuration {
    certificate.not_after().duration_since(certificate.not_before())
}

fn remaining(certificate: &Certificate, now: Timestamp) -> SignedDuration {
    certificate.not_after().duration_since(now)
}

fn issuer(set: &PkiSet, domain: TrustDomain, what: &str) -> Result<Option<Issuer>, MakeError> {
    set.issuer(domain).map_err(|error| failed(what, &error))
}

fn back_dated(now: Timestamp, lifetime: SignedDuration, what: &str) -> Result<Validity, MakeError> {
    Validity::back_dated(now, lifetime).map_err(|error| failed(what, &error))
}

fn serial(what: &str) -> Result<Serial, MakeError> {
    Serial::random().map_err(|error| failed(what, &error))
}

fn parse(pem: &str, what: &str) -> Result<Certificate, MakeError> {
    Certificate::from_pem(pem).map_err(|error| failed(what, &error))
}

pub(crate) fn failed(what: &str, error: &dyn std::error::Error) -> MakeError {
    MakeError::Failed { what: what.to_owned(), why: chain(error) }
}

/// An error with all its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let next = source.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = source.source();
    }
    text
}

/// The names of the leaves that a description of an AKS engine cluster has.
pub fn described_leaves(control_planes: usize) -> Vec<LeafId> {
    ["apiserver", "client", "kubectlClient", "etcdserver", "etcdclient"]
        .map(LeafId::from)
        .into_iter()
        .chain((0..control_planes).map(kubecert_core::layout::etcd_peer))
        .collect()
}
