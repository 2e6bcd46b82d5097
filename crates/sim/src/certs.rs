//! Certificates in memory: parsed once, compared by number, verified once.
//!
//! The monitor asks thousands of times a run whether one process would accept another. Chains and sets of roots are
//! therefore numbered, and each verdict of `kubecert-pki` is remembered.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kubecert_core::inventory::CertificateFacts;
use kubecert_engine::facts::certificate_facts;
use kubecert_pki::{
    Certificate, Fingerprint, PrivateKey, PublicKey, Usage, read_pem_certificates, verify_chain,
    verify_server_name,
};
use zeroize::Zeroizing;

/// A list of certificates, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BundleId(usize);

impl BundleId {
    /// No certificate at all.
    pub(crate) const EMPTY: Self = Self(0);
}

/// What a file, or several together, hold: certificates in order, and public halves of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Material {
    /// The certificates.
    pub(crate) certificates: BundleId,
    /// SHA-256 of the SubjectPublicKeyInfo of each key, private or public.
    pub(crate) keys: Vec<Fingerprint>,
}

impl Material {
    pub(crate) const fn empty() -> Self {
        Self { certificates: BundleId::EMPTY, keys: Vec::new() }
    }
}

/// All certificates that were ever seen.
#[derive(Debug)]
pub(crate) struct Store {
    bundles: Vec<Vec<Arc<Certificate>>>,
    numbers: BTreeMap<Vec<Fingerprint>, BundleId>,
    parsed: HashMap<Fingerprint, Material>,
    joined: HashMap<Vec<BundleId>, BundleId>,
    facts: HashMap<BundleId, Vec<CertificateFacts>>,
    verdicts: HashMap<(BundleId, BundleId, bool), bool>,
    names: HashMap<BundleId, HashMap<String, bool>>,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            bundles: vec![Vec::new()],
            numbers: BTreeMap::from([(Vec::new(), BundleId::EMPTY)]),
            parsed: HashMap::new(),
            joined: HashMap::new(),
            facts: HashMap::new(),
            verdicts: HashMap::new(),
            names: HashMap::new(),
        }
    }

    pub(crate) fn bundle(&mut self, certificates: Vec<Certificate>) -> BundleId {
        let key: Vec<Fingerprint> = certificates.iter().map(Certificate::fingerprint).collect();
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let number = BundleId(self.bundles.len());
        self.bundles.push(certificates.into_iter().map(Arc::new).collect());
        self.numbers.insert(key, number);
        number
    }

    /// Certificates given as DER; what cannot be read is left out.
    pub(crate) fn bundle_of_der(&mut self, chain: &[Vec<u8>]) -> BundleId {
        let key: Vec<Fingerprint> = chain.iter().map(|der| Fingerprint::of(der)).collect();
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let certificates = chain.iter().filter_map(|der| Certificate::from_der(der).ok()).collect();
        self.bundle(certificates)
    }

    pub(crate) fn certificates(&self, bundle: BundleId) -> &[Arc<Certificate>] {
        self.bundles.get(bundle.0).map_or(&[], Vec::as_slice)
    }

    /// Certificates and keys in a PEM text.
    pub(crate) fn parse_text(&mut self, text: &str) -> Material {
        self.parse(text.as_bytes(), Fingerprint::of(text.as_bytes()))
    }

    /// Certificates and keys in a PEM text whose SHA-256 is known.
    pub(crate) fn parse(&mut self, bytes: &[u8], digest: Fingerprint) -> Material {
        if let Some(known) = self.parsed.get(&digest) {
            return known.clone();
        }
        let embedded = embedded(bytes);
        let bytes = embedded.as_deref().map_or(bytes, Vec::as_slice);
        let certificates = self.bundle(read_pem_certificates(bytes).into_iter().flatten().collect());
        let text = String::from_utf8_lossy(bytes);
        let private = PrivateKey::from_pem(&text).ok().map(|key| Fingerprint::of(key.spki_der()));
        let public = || PublicKey::from_pem(&text).ok().map(|key| Fingerprint::of(key.spki_der()));
        let material = Material { certificates, keys: private.or_else(public).into_iter().collect() };
        self.parsed.insert(digest, material.clone());
        material
    }

    /// The certificates of several bundles, one after the other.
    pub(crate) fn join(&mut self, bundles: &[BundleId]) -> BundleId {
        if let Some(known) = self.joined.get(bundles) {
            return *known;
        }
        let all = bundles.iter().flat_map(|bundle| self.certificates(*bundle));
        let all = all.map(|found| Certificate::clone(found)).collect();
        let joined = self.bundle(all);
        self.joined.insert(bundles.to_vec(), joined);
        joined
    }

    /// What an inventory says of the certificates of a bundle.
    pub(crate) fn facts(&mut self, bundle: BundleId) -> Vec<CertificateFacts> {
        let bundles = &self.bundles;
        let describe = || {
            let certificates = bundles.get(bundle.0).map_or(&[] as &[_], Vec::as_slice);
            certificates.iter().map(|certificate| certificate_facts(certificate)).collect()
        };
        self.facts.entry(bundle).or_insert_with(describe).clone()
    }

    /// Whether `key` is the one of the first certificate.
    pub(crate) fn fits(&self, chain: BundleId, key: Fingerprint) -> bool {
        self.certificates(chain)
            .first()
            .is_some_and(|leaf| Fingerprint::of(leaf.public_key().spki_der()) == key)
    }

    /// Whether holders of `roots` accept `chain`.
    pub(crate) fn accepts(&mut self, chain: BundleId, roots: BundleId, usage: Usage, now: Timestamp) -> bool {
        let key = (chain, roots, usage == Usage::ServerAuth);
        if let Some(verdict) = self.verdicts.get(&key) {
            return *verdict;
        }
        let chain: Vec<Certificate> =
            self.certificates(chain).iter().map(|found| Certificate::clone(found)).collect();
        let roots: Vec<Certificate> =
            self.certificates(roots).iter().map(|found| Certificate::clone(found)).collect();
        let verdict = chain
            .split_first()
            .is_some_and(|(leaf, rest)| verify_chain(leaf, rest, &roots, now, usage).is_ok());
        self.verdicts.insert(key, verdict);
        verdict
    }

    /// Forgets who accepts whom, since the time is another one.
    pub(crate) fn forget_verdicts(&mut self) {
        self.verdicts.clear();
    }

    /// Whether the first certificate is good for a name or an address.
    pub(crate) fn is_named(&mut self, chain: BundleId, name: &str) -> bool {
        if let Some(verdict) = self.names.get(&chain).and_then(|names| names.get(name)) {
            return *verdict;
        }
        let verdict =
            self.certificates(chain).first().is_some_and(|leaf| verify_server_name(leaf, name).is_ok());
        self.names.entry(chain).or_default().insert(name.to_owned(), verdict);
        verdict
    }

    /// The PEM text of a bundle.
    pub(crate) fn pem(&self, bundle: BundleId) -> String {
        self.certificates(bundle).iter().map(|certificate| certificate.to_pem()).collect()
    }
}

/// The credentials that a kubeconfig holds itself: CAs, client certificate, key; nothing for what is no kubeconfig.
fn embedded(bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut pem = Zeroizing::new(Vec::new());
    for key in ["certificate-authority-data", "client-certificate-data", "client-key-data"] {
        let (_, rest) = text.split_once(key)?;
        let value = rest.trim_start_matches(|c: char| " :\"".contains(c));
        let end =
            value.find(|c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c))).unwrap_or(value.len());
        pem.extend_from_slice(&STANDARD.decode(&value[..end]).ok()?);
    }
    Some(pem)
}
