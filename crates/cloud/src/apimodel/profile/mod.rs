//! The `certificateProfile`: the PKI as the model and `--certificate-profile` files hold it.

mod entry;
mod json;
mod pairs;
mod problem;
mod read;
mod validate;

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

pub use entry::Entry;
pub(super) use json::Style;
pub use pairs::{InvalidProfile, PresentPair};
pub use problem::ProfileProblem;
pub use read::ProfileReadError;
pub use validate::CheckedProfile;

/// A set of certificates and keys in PEM, each text exactly as it was given.
///
/// Any of them may be missing here: a model may lack the CA's key, and a file may be incomplete. What must be there
/// for a rotation is for [`CertificateProfile::validate`] to say.
#[derive(Clone, Default)]
pub struct CertificateProfile {
    ca: Pair,
    api_server: Pair,
    client: Pair,
    kube_config: Pair,
    etcd_server: Pair,
    etcd_client: Pair,
    /// By the index of the master; certificates and keys are separate lists in JSON, so either side may be longer.
    etcd_peers: Vec<Pair>,
}

/// A certificate and its key. An empty text counts as absent, because the ancestor omits empty values when it writes.
#[derive(Clone, Default)]
struct Pair {
    certificate: Option<String>,
    private_key: Option<SecretString>,
}

impl CertificateProfile {
    /// The certificate of `entry` as PEM.
    pub fn certificate(&self, entry: Entry) -> Option<&str> {
        self.pair(entry)?.certificate.as_deref()
    }

    /// The private key of `entry` as PEM.
    pub fn private_key(&self, entry: Entry) -> Option<&SecretString> {
        self.pair(entry)?.private_key.as_ref()
    }

    /// Puts `entry` in place of whatever was there. An empty text takes it away.
    pub fn with(mut self, entry: Entry, certificate: String, private_key: SecretString) -> Self {
        let pair = self.pair_mut(entry);
        pair.certificate = Some(certificate).filter(|text| !text.is_empty());
        pair.private_key = Some(private_key).filter(|text| !text.expose_secret().is_empty());
        self
    }

    /// How many masters have an etcd peer certificate or key here.
    pub fn etcd_peers(&self) -> usize {
        self.etcd_peers.len()
    }

    /// All entries that this profile has room for: the six single ones, then the peers.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + use<> {
        Entry::all(self.etcd_peers.len())
    }

    /// The JSON keys whose values are references into a Key Vault rather than PEM.
    ///
    /// Only the ancestor's ARM templates understand those; its `rotate-certs` would put the reference itself on the
    /// nodes.
    pub fn key_vault_references(&self) -> Vec<String> {
        let mut found = Vec::new();
        for entry in self.entries() {
            if self.certificate(entry).is_some_and(is_key_vault_reference) {
                found.push(entry.certificate_key());
            }
            if self.private_key(entry).is_some_and(|key| is_key_vault_reference(key.expose_secret())) {
                found.push(entry.private_key_key());
            }
        }
        found
    }

    fn pair(&self, entry: Entry) -> Option<&Pair> {
        match entry {
            Entry::Ca => Some(&self.ca),
            Entry::ApiServer => Some(&self.api_server),
            Entry::Client => Some(&self.client),
            Entry::KubeConfig => Some(&self.kube_config),
            Entry::EtcdServer => Some(&self.etcd_server),
            Entry::EtcdClient => Some(&self.etcd_client),
            Entry::EtcdPeer(index) => self.etcd_peers.get(index),
        }
    }

    fn pair_mut(&mut self, entry: Entry) -> &mut Pair {
        match entry {
            Entry::Ca => &mut self.ca,
            Entry::ApiServer => &mut self.api_server,
            Entry::Client => &mut self.client,
            Entry::KubeConfig => &mut self.kube_config,
            Entry::EtcdServer => &mut self.etcd_server,
            Entry::EtcdClient => &mut self.etcd_client,
            Entry::EtcdPeer(index) => {
                if self.etcd_peers.len() <= index {
                    self.etcd_peers.resize_with(index + 1, Pair::default);
                }
                &mut self.etcd_peers[index]
            }
        }
    }
}

/// Equality of every text. The comparison is not constant in time; it serves to see whether anything is to be
/// written.
impl PartialEq for CertificateProfile {
    fn eq(&self, other: &Self) -> bool {
        let text = |profile: &Self, entry| {
            let key = profile.private_key(entry).map(|key| key.expose_secret().to_owned());
            (profile.certificate(entry).map(str::to_owned), key)
        };
        self.etcd_peers() == other.etcd_peers()
            && self.entries().all(|entry| text(self, entry) == text(other, entry))
    }
}

/// Says what is there, never what it is.
impl fmt::Debug for CertificateProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let present = self.entries().filter(|entry| self.certificate(*entry).is_some());
        f.debug_list().entries(present.map(Entry::file_base)).finish()
    }
}

fn is_key_vault_reference(value: &str) -> bool {
    let value = value.trim_start().to_ascii_lowercase();
    value.starts_with("/subscriptions/") && value.contains("/vaults/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const VAULT: &str = "/subscriptions/0/resourceGroups/g/providers/Microsoft.KeyVault/vaults/v/secrets/ca";

    #[test]
    fn key_vault_references_are_found_by_name() {
        let profile = CertificateProfile::default()
            .with(Entry::Ca, "-----BEGIN".to_owned(), VAULT.into())
            .with(Entry::EtcdPeer(1), VAULT.to_owned(), "x".into());
        assert_eq!(profile.key_vault_references(), ["caPrivateKey", "etcdPeerCertificates[1]"]);
        assert_eq!(profile.etcd_peers(), 2);
        assert_eq!(profile.certificate(Entry::EtcdPeer(0)), None);
    }

    #[test]
    fn the_debug_form_holds_no_secret() {
        let profile = CertificateProfile::default().with(Entry::Ca, "C".to_owned(), "hunter2".into());
        assert_eq!(format!("{profile:?}"), r#"["ca"]"#);
    }
}
