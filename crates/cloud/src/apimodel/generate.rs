//! A new PKI for a cluster.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use jiff::{SignedDuration, Timestamp};
use kubecert_pki::{
    Certificate, CertificateError, DistinguishedName, ExtendedKeyUsage, IssueError, Issuer, IssuerError,
    KeyAlgorithm, KeyEncoding, KeyError, NameError, PrivateKey, Serial, SerialError, SubjectAltName,
    Template, TemplateError, Validity, ValidityError, cross_sign, issue, next_ca_subject, self_signed_ca,
};
use thiserror::Error;

use super::error::ApiModelError;
use super::locations::Catalogue;
use super::model::ApiModel;
use super::profile::{CertificateProfile, Entry, InvalidProfile, PresentPair};
use super::sans::SubjectAltNames;

/// Makes a whole new PKI for the cluster of `model`.
///
/// Where the model has a present certificate, the new one is its re-issue: same subject, names in order, usages,
/// unknown extensions, and a key of the same kind and size. So what operators have changed over the years stays
/// changed. Where it has none, the ancestor's rules apply. The CA's name moves on to the next generation
/// ([`next_ca_subject`] says why).
///
/// Everything is self-contained and nothing of it touches the model; [`ApiModel::rewrite_certificate_profile`] puts
/// it in. Keys are drawn from `keys` on all processors at once, since nine of 4096 bits take a while.
///
/// # Errors
///
/// [`GenerateError`] when a present certificate or key cannot be read, or a new one cannot be made.
pub fn new_certificate_profile(
    model: &ApiModel,
    term: Term,
    keys: &dyn KeySource,
) -> Result<GeneratedPki, GenerateError> {
    let present = match model.certificate_profile() {
        Some(profile) => profile.present_pairs().map_err(|source| GenerateError::Present { source })?,
        None => Vec::new(),
    };
    let find = |entry| present.iter().find(|pair| pair.entry == entry);
    let entries: Vec<Entry> = Entry::all(model.master_ips().len()).collect();
    let wanted: Vec<_> = entries.iter().map(|entry| (*entry, algorithm(find(*entry)))).collect();
    let mut keys = draw_keys(&wanted, keys)?.into_iter();
    let lost = |entry| GenerateError::Key { entry, source: KeyError::Encode };

    let shape = shape(model, find(Entry::Ca), Entry::Ca)?;
    let key = keys.next().ok_or_else(|| lost(Entry::Ca))?;
    let at = |source: Failure| GenerateError::Issue { entry: Entry::Ca, source };
    let ca = self_signed_ca(&shape, &key, term.validity(Entry::Ca)?, &serial(Entry::Ca)?);
    let ca = ca.map_err(|source| at(source.into()))?;
    let issuer = Issuer::new(ca, key).map_err(|source| at(source.into()))?;

    let mut profile =
        with_pair(CertificateProfile::default(), Entry::Ca, issuer.certificate(), issuer.key())?;
    for entry in entries.into_iter().skip(1) {
        let key = keys.next().ok_or_else(|| lost(entry))?;
        let shape = self::shape(model, find(entry), entry)?;
        let leaf = issue(&shape, key.public_key(), &issuer, term.validity(entry)?, &serial(entry)?);
        let leaf = leaf.map_err(|source| GenerateError::Issue { entry, source: source.into() })?;
        profile = with_pair(profile, entry, &leaf, &key)?;
    }
    let cross = CrossCertificate::new(&issuer, find(Entry::Ca), term);
    Ok(GeneratedPki { profile, issuer, cross })
}

/// From when until when new certificates count.
#[derive(Debug, Clone, Copy)]
pub struct Term {
    /// The present time; certificates begin a little before it, see [`kubecert_pki::BACK_DATE`].
    pub now: Timestamp,
    /// How long they last from then on.
    pub lifetime: SignedDuration,
}

impl Term {
    /// The ancestor's term: 30 years of 365 days from `now`.
    pub fn of_the_ancestor(now: Timestamp) -> Self {
        Self { now, lifetime: SignedDuration::from_hours(30 * 365 * 24) }
    }

    fn validity(&self, entry: Entry) -> Result<Validity, GenerateError> {
        let failed =
            |source: ValidityError| GenerateError::Issue { entry, source: Failure::Validity(source) };
        Validity::back_dated(self.now, self.lifetime).map_err(failed)
    }
}

/// Where private keys come from. Called from several threads.
///
/// Tests hand out keys made before; the command line counts them for its progress line.
pub trait KeySource: Sync {
    /// A key that nobody else has.
    ///
    /// # Errors
    ///
    /// When none can be made.
    fn key(&self, entry: Entry, algorithm: KeyAlgorithm) -> Result<PrivateKey, KeyError>;
}

/// Makes every key afresh.
#[derive(Debug, Clone, Copy, Default)]
pub struct FreshKeys;

impl KeySource for FreshKeys {
    fn key(&self, _: Entry, algorithm: KeyAlgorithm) -> Result<PrivateKey, KeyError> {
        PrivateKey::generate(algorithm)
    }
}

impl<F: Fn(Entry, KeyAlgorithm) -> Result<PrivateKey, KeyError> + Sync> KeySource for F {
    fn key(&self, entry: Entry, algorithm: KeyAlgorithm) -> Result<PrivateKey, KeyError> {
        self(entry, algorithm)
    }
}

/// A new PKI.
#[derive(Debug, Clone)]
pub struct GeneratedPki {
    /// All of it as text.
    pub profile: CertificateProfile,
    /// The new CA, for leaves that are not in the profile.
    pub issuer: Issuer,
    /// The way from the old trust to the new.
    pub cross: CrossCertificate,
}

/// The new CA's certificate as signed by the old CA.
#[derive(Debug, Clone)]
pub enum CrossCertificate {
    /// Sent along with new leaves, it makes them acceptable to those who trust the old CA only.
    Signed(Box<Certificate>),
    /// There can be none, and trust must be bundled instead.
    Impossible {
        /// Why, for the operator.
        why: String,
    },
}

impl CrossCertificate {
    fn new(new: &Issuer, old: Option<&PresentPair>, term: Term) -> Self {
        Self::sign(new, old, term)
            .map_or_else(|why| Self::Impossible { why }, |cross| Self::Signed(Box::new(cross)))
    }

    fn sign(new: &Issuer, old: Option<&PresentPair>, term: Term) -> Result<Certificate, String> {
        let old = old.ok_or("the model has no present CA certificate")?;
        let key = old.private_key.clone().ok_or("the model has no private key of the present CA")?;
        let ended = old.certificate.not_after();
        if term.now > ended {
            return Err(format!("the present CA ended at {ended}"));
        }
        let old = Issuer::new(old.certificate.clone(), key).map_err(|error| error.to_string())?;
        let validity = Validity::back_dated(term.now, term.lifetime).map_err(|error| error.to_string())?;
        let serial = Serial::random().map_err(|error| error.to_string())?;
        cross_sign(new.certificate(), &old, validity, &serial).map_err(|error| error.to_string())
    }
}

/// Why there is no new PKI.
#[derive(Debug, Error)]
pub enum GenerateError {
    /// The present PKI cannot be read, so its shape cannot be kept.
    #[error("the model's present certificates cannot be read")]
    Present {
        /// Each of them.
        #[source]
        source: InvalidProfile,
    },
    /// The model does not say enough to compute names.
    #[error(transparent)]
    Model(#[from] ApiModelError),
    /// A key could not be made.
    #[error("no new private key for {entry}")]
    Key {
        /// Whose.
        entry: Entry,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// A certificate could not be made.
    #[error("no new certificate for {entry}")]
    Issue {
        /// Whose.
        entry: Entry,
        /// Why.
        #[source]
        source: Failure,
    },
}

/// What failed while making a certificate.
#[derive(Debug, Error)]
#[error(transparent)]
pub enum Failure {
    /// Its subject.
    Name(#[from] NameError),
    /// Its shape.
    Template(#[from] TemplateError),
    /// Its serial number.
    Serial(#[from] SerialError),
    /// Its validity.
    Validity(#[from] ValidityError),
    /// Its signature.
    Issue(#[from] IssueError),
    /// The new CA is none.
    Issuer(#[from] IssuerError),
    /// The present certificate, whose shape it is to have.
    Present(#[from] CertificateError),
}

/// The kind and size of the present key; RSA 4096, as in the ancestor, where there is none or of a kind we cannot
/// make.
fn algorithm(present: Option<&PresentPair>) -> KeyAlgorithm {
    present.and_then(|pair| pair.certificate.key_algorithm().algorithm()).unwrap_or(KeyAlgorithm::Rsa4096)
}

/// What the new certificate of `entry` looks like.
fn shape(model: &ApiModel, present: Option<&PresentPair>, entry: Entry) -> Result<Template, GenerateError> {
    let failed = |source: Failure| GenerateError::Issue { entry, source };
    match (present, entry) {
        (Some(present), Entry::Ca) => {
            let subject =
                next_ca_subject(present.certificate.subject()).map_err(|source| failed(source.into()))?;
            Ok(Template::from_certificate(&present.certificate).with_subject(subject))
        }
        (Some(present), _) => Ok(Template::from_certificate(&present.certificate)),
        (None, _) => computed_shape(model, entry),
    }
}

/// The shape by the ancestor's rules (aks-engine, `pkg/helpers/pki.go`).
///
/// Every certificate of etcd has both usages there, by a comparison that never matches; etcd needs both in two of
/// them.
fn computed_shape(model: &ApiModel, entry: Entry) -> Result<Template, GenerateError> {
    let failed = |source: Failure| GenerateError::Issue { entry, source };
    let server = |name: &str, usages: &[ExtendedKeyUsage], names: SubjectAltNames| {
        let subject = DistinguishedName::common_name(name).map_err(|source| failed(source.into()))?;
        let template =
            Template::builder(subject).extended_key_usage(usages.iter().cloned()).sans(alternative(names));
        template.build().map_err(|source| failed(source.into()))
    };
    let both = [ExtendedKeyUsage::ServerAuth, ExtendedKeyUsage::ClientAuth];
    match entry {
        Entry::Ca => {
            let subject = DistinguishedName::common_name("ca").map_err(|source| failed(source.into()))?;
            Template::ca(subject).map_err(|source| failed(source.into()))
        }
        Entry::ApiServer => {
            let catalogue = Catalogue::for_version(&model.kubernetes().version);
            server("apiserver", &both[..1], model.api_server_sans(catalogue)?)
        }
        Entry::Client | Entry::KubeConfig => {
            Template::admin("client", "system:masters").map_err(|source| failed(source.into()))
        }
        Entry::EtcdServer => server("etcdserver", &both, model.etcd_sans()),
        Entry::EtcdClient => server("etcdclient", &both, model.etcd_sans()),
        Entry::EtcdPeer(_) => server("etcdpeer", &both, model.etcd_sans()),
    }
}

fn alternative(names: SubjectAltNames) -> impl Iterator<Item = SubjectAltName> {
    names.dns.into_iter().map(SubjectAltName::Dns).chain(names.ips.into_iter().map(SubjectAltName::Ip))
}

fn with_pair(
    profile: CertificateProfile,
    entry: Entry,
    certificate: &Certificate,
    key: &PrivateKey,
) -> Result<CertificateProfile, GenerateError> {
    // PKCS#1, as the ancestor's other commands expect it in the model.
    let pem = key.to_pem(KeyEncoding::Pkcs1OrSec1).map_err(|source| GenerateError::Key { entry, source })?;
    Ok(profile.with(entry, certificate.to_pem(), pem.expose().into()))
}

fn serial(entry: Entry) -> Result<Serial, GenerateError> {
    Serial::random().map_err(|source| GenerateError::Issue { entry, source: source.into() })
}

/// Draws one key for each of `wanted`, in that order.
fn draw_keys(
    wanted: &[(Entry, KeyAlgorithm)],
    source: &dyn KeySource,
) -> Result<Vec<PrivateKey>, GenerateError> {
    let next = AtomicUsize::new(0);
    // Workers take the next one when they have done with theirs: the time that an RSA key takes is anyone's guess.
    let work = || {
        let mut drawn = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((entry, algorithm)) = wanted.get(index) else { return Ok(drawn) };
            let key = source.key(*entry, *algorithm);
            drawn.push((index, key.map_err(|source| GenerateError::Key { entry: *entry, source })?));
        }
    };
    let workers = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(wanted.len());
    let results: Vec<Result<Vec<(usize, PrivateKey)>, GenerateError>> = thread::scope(|scope| {
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let joined = handles.into_iter().map(|handle| handle.join());
        // A panic of a key source is carried on, not hidden.
        joined.map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let mut keys = results.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
    keys.sort_by_key(|(index, _)| *index);
    Ok(keys.into_iter().map(|(_, key)| key).collect())
}
