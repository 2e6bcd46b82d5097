//! The new PKI of a run, and the old one beside it: turns what a plan names into bytes.
//!
//! New keys are at rest in the run's `vault/` (0700, files 0600) from before the first change on the cluster until the
//! run has finished, so that a run cut off anywhere goes on with the *same* new PKI. They are in memory as zeroized
//! values and appear in no log, event, journal or report.

use std::collections::BTreeMap;

use kubecert_core::material::{ChainForm, Content, Part};
use kubecert_core::model::{Generation, LeafId, TrustDomain};
use kubecert_core::plan::{LeafShape, Plan};
use kubecert_pki::{Certificate, Issuer, KeyEncoding, PrivateKey};
use zeroize::Zeroizing;

use crate::ports::{Credentials, Identity};

/// Why the vault cannot give what a plan names.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// It is not there.
    #[error("{0:?} is neither in the api model nor in the vault")]
    Missing(Part),
    /// A content that only a node can give.
    #[error("the original bytes are on the node only")]
    OnNode,
    /// A key cannot be encoded.
    #[error("cannot encode a private key")]
    Key(#[from] kubecert_pki::KeyError),
    /// Something that belongs together does not fit.
    #[error("cannot issue with this CA")]
    Issuer(#[from] kubecert_pki::IssuerError),
}

/// One generation of a cluster's PKI: certificates and keys by name.
#[derive(Clone, Debug, Default)]
pub struct PkiSet {
    /// CAs.
    pub authorities: BTreeMap<TrustDomain, Certificate>,
    /// Their keys, where they are known.
    pub authority_keys: BTreeMap<TrustDomain, PrivateKey>,
    /// Leaves.
    pub leaves: BTreeMap<LeafId, Certificate>,
    /// Their keys, where they are known.
    pub leaf_keys: BTreeMap<LeafId, PrivateKey>,
}

impl PkiSet {
    /// Whether the cluster CA here has the name of the one there, as OpenSSL compares names (RFC 5280, section 7.1): the
    /// ancestor writes `ca` as a PrintableString, openssl as a UTF8String, and to most clients that is one name.
    pub fn has_ca_named_as(&self, other: &Self) -> bool {
        let name = |set: &Self| {
            set.authorities.get(&TrustDomain::Cluster).map(|ca| ca.subject().to_string().to_lowercase())
        };
        name(self).is_some() && name(self) == name(other)
    }

    /// The CA of a domain with its key, if both are there.
    ///
    /// # Errors
    ///
    /// Fails if they do not fit each other.
    pub fn issuer(&self, domain: TrustDomain) -> Result<Option<Issuer>, VaultError> {
        match (self.authorities.get(&domain), self.authority_keys.get(&domain)) {
            (Some(certificate), Some(key)) => Ok(Some(Issuer::new(certificate.clone(), key.clone())?)),
            _ => Ok(None),
        }
    }
}

/// Both generations, and what ties them.
#[derive(Clone, Debug, Default)]
pub struct Vault {
    /// The PKI before the run, as far as it is known here.
    pub old: PkiSet,
    /// The PKI that the run brings.
    pub new: PkiSet,
    /// New CAs as signed by the old ones.
    pub cross: BTreeMap<TrustDomain, Certificate>,
}

impl Vault {
    /// Takes in the old leaves that a plan shows as the models of new ones: the description of a cluster need not hold
    /// them, and on the way back they are what servers are seen to present.
    pub(crate) fn know_models(&mut self, plan: &Plan) {
        for order in &plan.leaves {
            if let LeafShape::Like(pem) = &order.shape
                && let Ok(certificate) = Certificate::from_pem(pem)
            {
                self.old.leaves.entry(order.id.clone()).or_insert(certificate);
            }
        }
    }

    const fn set(&self, generation: Generation) -> &PkiSet {
        match generation {
            Generation::Old => &self.old,
            Generation::New => &self.new,
        }
    }

    pub(crate) const fn set_mut(&mut self, generation: Generation) -> &mut PkiSet {
        match generation {
            Generation::Old => &mut self.old,
            Generation::New => &mut self.new,
        }
    }

    /// The whole PKI that is in force once the run is through: what it brings, and what it leaves as it is.
    pub fn result(&self) -> PkiSet {
        let mut set = self.old.clone();
        set.authorities.extend(self.new.authorities.clone());
        set.authority_keys.extend(self.new.authority_keys.clone());
        set.leaves.extend(self.new.leaves.clone());
        set.leaf_keys.extend(self.new.leaf_keys.clone());
        set
    }

    /// The generation of a leaf that stands for `wanted`: what the run leaves as it is, is the old one throughout.
    pub fn leaf_generation(&self, leaf: &LeafId, wanted: Generation) -> Generation {
        if self.new.leaves.contains_key(leaf) { wanted } else { Generation::Old }
    }

    /// The CA of a domain that stands for `wanted`, likewise.
    pub fn authority(&self, domain: TrustDomain, wanted: Generation) -> Part {
        let there = self.new.authorities.contains_key(&domain);
        Part::Ca(domain, if there { wanted } else { Generation::Old })
    }

    /// The certificate that a part names.
    ///
    /// # Errors
    ///
    /// Fails if it is not there, or is a key.
    pub fn certificate(&self, part: &Part) -> Result<&Certificate, VaultError> {
        let found = match part {
            Part::Ca(domain, generation) => self.set(*generation).authorities.get(domain),
            Part::Cross(domain) => self.cross.get(domain),
            Part::Leaf(leaf, generation) => self.set(*generation).leaves.get(leaf),
            Part::CaKey(..) | Part::LeafKey(..) | Part::PublicKey(..) => None,
        };
        found.ok_or_else(|| VaultError::Missing(part.clone()))
    }

    /// The key that a part names, or of which it names the public half.
    ///
    /// # Errors
    ///
    /// Fails if it is not there, or is a certificate.
    pub fn key(&self, part: &Part) -> Result<&PrivateKey, VaultError> {
        let found = match part {
            Part::CaKey(domain, generation) => self.set(*generation).authority_keys.get(domain),
            Part::LeafKey(leaf, generation) | Part::PublicKey(leaf, generation) => {
                self.set(*generation).leaf_keys.get(leaf)
            }
            Part::Ca(..) | Part::Cross(_) | Part::Leaf(..) => None,
        };
        found.ok_or_else(|| VaultError::Missing(part.clone()))
    }

    /// Parts one after another as PEM; keys in the traditional encoding, which the ancestor's reader demands.
    ///
    /// # Errors
    ///
    /// Fails if a part is not there.
    pub fn pem(&self, parts: &[Part]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let mut bytes = Zeroizing::new(Vec::new());
        for part in parts {
            if matches!(part, Part::PublicKey(..)) {
                bytes.extend_from_slice(self.key(part)?.public_key_pem()?.as_bytes());
            } else if part.is_secret() {
                bytes
                    .extend_from_slice(self.key(part)?.to_pem(KeyEncoding::Pkcs1OrSec1)?.expose().as_bytes());
            } else {
                bytes.extend_from_slice(self.certificate(part)?.to_pem().as_bytes());
            }
        }
        Ok(bytes)
    }

    /// The bytes of a content that needs nothing but the vault.
    ///
    /// # Errors
    ///
    /// Fails if a part is not there, and for contents that only a node can give.
    pub fn bytes(&self, content: &Content) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        match content {
            Content::Parts(parts) => self.pem(parts),
            Content::Text(text) => Ok(Zeroizing::new(text.as_bytes().to_vec())),
            Content::Kubeconfig { .. }
            | Content::KubeconfigRoots(_)
            | Content::Link(_)
            | Content::Original => Err(VaultError::OnNode),
        }
    }

    /// An administrator's credentials: the roots, and the leaf `kubectlClient` of a generation.
    ///
    /// # Errors
    ///
    /// Fails if any of it is not there.
    pub fn administrator(
        &self,
        roots: &[Part],
        identity: Generation,
        form: ChainForm,
    ) -> Result<Credentials, VaultError> {
        let leaf = LeafId::from("kubectlClient");
        let identity = self.leaf_generation(&leaf, identity);
        let mut chain = vec![self.certificate(&Part::Leaf(leaf.clone(), identity))?.der().to_vec()];
        if identity == Generation::New && form == ChainForm::WithCross {
            chain.push(self.certificate(&Part::Cross(TrustDomain::Cluster))?.der().to_vec());
        }
        let key = self.key(&Part::LeafKey(leaf, identity))?;
        let roots = roots
            .iter()
            .map(|root| Ok(self.certificate(root)?.der().to_vec()))
            .collect::<Result<_, VaultError>>()?;
        Ok(Credentials { roots, identity: Some(Identity { chain, key: pkcs8(key)? }) })
    }

    /// Fingerprints of everything new, in a fixed order: what the journal binds the run to.
    pub fn fingerprints(&self) -> Vec<String> {
        let certificates =
            self.new.authorities.values().chain(self.cross.values()).chain(self.new.leaves.values());
        certificates.map(|certificate| certificate.fingerprint().to_string()).collect()
    }
}

/// A key as PKCS#8 DER, as TLS libraries take it.
///
/// # Errors
///
/// Fails if it cannot be encoded.
pub fn pkcs8(key: &PrivateKey) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    Ok(key.to_pkcs8_der()?)
}
