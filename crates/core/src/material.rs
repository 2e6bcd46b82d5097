//! What files and Secrets are made of, without their bytes.
//!
//! A plan says "this file holds the leaf `apiserver` followed by the cross certificate"; only the engine, which holds
//! the vault, can turn that into bytes. So a plan can be printed, stored and compared, and it holds no secret; and the
//! symbolic [`crate::world`] can tell what a process would trust after reading the file.

use serde::{Deserialize, Serialize};

use crate::model::{Generation, LeafId, TrustDomain};

/// One PEM block (or one private key) of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// A CA's certificate.
    Ca(TrustDomain, Generation),
    /// A CA's private key. Of the front proxy's CA no key is ever kept.
    CaKey(TrustDomain, Generation),
    /// The certificate for the new CA's key that the old CA signed.
    Cross(TrustDomain),
    /// A leaf certificate.
    Leaf(LeafId, Generation),
    /// A leaf's private key.
    LeafKey(LeafId, Generation),
    /// The public half of a key pair that has no certificate.
    PublicKey(LeafId, Generation),
}

impl Part {
    /// Whether the bytes behind it must be kept secret.
    pub const fn is_secret(&self) -> bool {
        matches!(self, Part::CaKey(..) | Part::LeafKey(..))
    }
}

/// What a file or a Secret's entry is to hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// These parts, one after another, each as PEM.
    Parts(Vec<Part>),
    /// This text, which is not secret: a manifest, a unit's environment file.
    Text(String),
    /// An administrator's kubeconfig that trusts and presents these parts.
    Kubeconfig {
        /// The roots it trusts.
        roots: Vec<Part>,
        /// The client certificate, as a chain.
        chain: Vec<Part>,
        /// The client's private key.
        key: Part,
    },
    /// A kubeconfig that comes to trust these parts and stays what it is otherwise: its client's credentials are elsewhere.
    KubeconfigRoots(Vec<Part>),
    /// A symbolic link to this target, flipped atomically.
    Link(String),
    /// The bytes that were there when the run began, from the node's own backup.
    Original,
}

impl Content {
    /// A single part.
    pub fn one(part: Part) -> Self {
        Content::Parts(vec![part])
    }
}

/// The new leaf certificates as servers and clients present them while two generations are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChainForm {
    /// The leaf, followed by the cross certificate: whoever trusts either CA accepts it.
    WithCross,
    /// The leaf alone: whoever trusts the new CA accepts it.
    Bare,
}

/// The parts of a leaf's certificate file in the given form.
pub fn chain(leaf: &LeafId, domain: TrustDomain, form: ChainForm) -> Vec<Part> {
    let mut parts = vec![Part::Leaf(leaf.clone(), Generation::New)];
    if form == ChainForm::WithCross {
        parts.push(Part::Cross(domain));
    }
    parts
}
