//! Whether a profile is fit for a cluster.
//!
//! The ancestor checks nothing of this (its code has a note to do so): it puts whatever the file holds on the masters
//! and reboots them. All these checks need is the model and a clock, so all of them come before any node is touched.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use jiff::Timestamp;
use kubecert_pki::{Certificate, ChainError, Issuer, PrivateKey, Usage, verify_chain, verify_server_name};

use super::pairs::{InvalidProfile, PresentPair};
use super::problem::ProfileProblem;
use super::{CertificateProfile, Entry};
use crate::apimodel::model::ApiModel;

impl CertificateProfile {
    /// Checks that this profile, put into place as it is, gives the cluster of `model` a PKI that works.
    ///
    /// Checked: completeness; that texts are certificates and keys and belong together; that the CA may sign and did
    /// sign the others; validity at `now`; the extended key usages that each place needs; that the API server's
    /// certificate has the names and addresses by which it is called, and etcd's have their members' addresses; that
    /// the clients are administrators. Not checked: key sizes and lifetimes, which are the operator's business.
    ///
    /// # Errors
    ///
    /// [`InvalidProfile`] with everything that is wrong.
    pub fn validate(&self, model: &ApiModel, now: Timestamp) -> Result<CheckedProfile, InvalidProfile> {
        let mut problems = self.gaps(model.master_ips().len());
        let mut pairs = BTreeMap::new();
        // Texts that were complained about already would only be complained about again by the readers.
        if problems.is_empty() {
            let entries = Entry::all(model.master_ips().len());
            let read = entries.filter_map(|entry| self.read_pair(entry, &mut problems));
            pairs = read.map(|pair| (pair.entry, pair)).collect();
        }
        for pair in pairs.values() {
            problems.extend(check_pair(pair, now));
        }
        if let Some(ca) = pairs.get(&Entry::Ca) {
            problems.extend(check_ca(ca));
            problems.extend(pairs.values().flat_map(|pair| check_chain(pair, ca, now)));
        }
        problems.extend(check_names(&pairs, model));
        match (problems.is_empty(), CheckedProfile::of(pairs)) {
            (true, Some(checked)) => Ok(checked),
            _ => Err(InvalidProfile { problems }),
        }
    }

    /// Missing members, and those that are not there but elsewhere.
    fn gaps(&self, masters: usize) -> Vec<ProfileProblem> {
        let references = self.key_vault_references();
        let mut problems: Vec<_> =
            references.into_iter().map(|key| ProfileProblem::KeyVaultReference { key }).collect();
        for entry in Entry::all(0) {
            let missing = |key| ProfileProblem::Missing { key };
            problems.extend(self.certificate(entry).is_none().then(|| missing(entry.certificate_key())));
            problems.extend(self.private_key(entry).is_none().then(|| missing(entry.private_key_key())));
        }
        let whole = |peer: &Entry| self.certificate(*peer).is_some() && self.private_key(*peer).is_some();
        let peers = (0..masters).map(Entry::EtcdPeer).take_while(whole).count();
        problems.extend((peers < masters).then_some(ProfileProblem::TooFewPeers { peers, masters }));
        problems
    }
}

/// A profile that [`CertificateProfile::validate`] has found fit for a cluster.
#[derive(Debug, Clone)]
pub struct CheckedProfile {
    issuer: Issuer,
    leaves: BTreeMap<Entry, (Certificate, PrivateKey)>,
}

impl CheckedProfile {
    /// The CA with its key.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Every certificate below the CA with its key, in the order of [`Entry::all`].
    pub fn leaves(&self) -> impl Iterator<Item = (Entry, &Certificate, &PrivateKey)> {
        self.leaves.iter().map(|(entry, (certificate, key))| (*entry, certificate, key))
    }

    /// `None` when a key is missing or the CA cannot sign, which the checks have reported then.
    fn of(pairs: BTreeMap<Entry, PresentPair>) -> Option<Self> {
        let mut leaves = BTreeMap::new();
        for (entry, pair) in pairs {
            leaves.insert(entry, (pair.certificate, pair.private_key?));
        }
        let (certificate, key) = leaves.remove(&Entry::Ca)?;
        Some(Self { issuer: Issuer::new(certificate, key).ok()?, leaves })
    }
}

/// What a certificate and its key can be asked by themselves.
fn check_pair(pair: &PresentPair, now: Timestamp) -> Vec<ProfileProblem> {
    let (entry, certificate) = (pair.entry, &pair.certificate);
    let mut problems = Vec::new();
    if pair.private_key.as_ref().is_some_and(|key| !key.matches(certificate)) {
        problems.push(ProfileProblem::KeyMismatch { entry });
    }
    if now < certificate.not_before() {
        problems.push(ProfileProblem::NotYet { entry, not_before: certificate.not_before(), now });
    }
    if now.as_second() > certificate.not_after().as_second() {
        problems.push(ProfileProblem::Ended { entry, not_after: certificate.not_after(), now });
    }
    let client = matches!(entry, Entry::Client | Entry::KubeConfig);
    if client && !certificate.subject().organizations().iter().any(|group| group == ADMINISTRATORS) {
        problems.push(ProfileProblem::NotAMaster { entry });
    }
    problems
}

fn check_ca(ca: &PresentPair) -> Option<ProfileProblem> {
    if !ca.intermediates.is_empty() {
        return Some(ProfileProblem::SeveralCas { count: ca.intermediates.len() + 1 });
    }
    // Another's key is a problem of its own, reported by `check_pair`.
    let key = ca.private_key.clone().filter(|key| key.matches(&ca.certificate))?;
    Issuer::new(ca.certificate.clone(), key).err().map(|source| ProfileProblem::UnfitCa { source })
}

/// Whether those who trust `ca` accept `pair` for everything it is there for.
fn check_chain(pair: &PresentPair, ca: &PresentPair, now: Timestamp) -> Vec<ProfileProblem> {
    let entry = pair.entry;
    let roots = [ca.certificate.clone()];
    let problem = |usage| {
        let verdict = verify_chain(&pair.certificate, &pair.intermediates, &roots, now, usage);
        match verdict.err()? {
            ChainError::OtherUsage { .. } => Some(ProfileProblem::Purpose { entry, usage }),
            // Validity has been reported for the certificate that it concerns.
            ChainError::NotYet { .. } | ChainError::Ended { .. } | ChainError::DeadRoot { .. } => None,
            source => Some(ProfileProblem::OtherCa { entry, source }),
        }
    };
    let mut problems: Vec<_> = usages(entry).iter().filter_map(|usage| problem(*usage)).collect();
    // A stranger's certificate is one problem, however many things it was to be used for.
    if problems.iter().any(|problem| matches!(problem, ProfileProblem::OtherCa { .. })) {
        problems.truncate(1);
    }
    problems
}

/// What each certificate is presented for.
///
/// etcd's server certificate needs both: its gateway to its own gRPC port presents it as a client.
fn usages(entry: Entry) -> &'static [Usage] {
    match entry {
        Entry::Ca => &[],
        Entry::ApiServer => &[Usage::ServerAuth],
        Entry::Client | Entry::KubeConfig | Entry::EtcdClient => &[Usage::ClientAuth],
        Entry::EtcdServer | Entry::EtcdPeer(_) => &[Usage::ServerAuth, Usage::ClientAuth],
    }
}

/// Whether the servers have the names by which they are called.
fn check_names(pairs: &BTreeMap<Entry, PresentPair>, model: &ApiModel) -> Vec<ProfileProblem> {
    let mut problems = Vec::new();
    let dns = match model.fqdn() {
        Ok(fqdn) => vec![fqdn, "kubernetes.default.svc".to_owned()],
        Err(source) => {
            problems.push(ProfileProblem::ClusterUnknown { source });
            Vec::new()
        }
    };
    let masters = model.master_ips();
    let masters = || masters.iter().map(|address| (IpAddr::V4(*address), "a master"));
    let mut addresses: Vec<(IpAddr, &'static str)> = masters().collect();
    addresses.push((model.first_service_ip(), "the service `kubernetes`"));
    if addresses.len() > 2 {
        addresses.push((model.internal_load_balancer_ip().into(), "the internal load balancer"));
    }
    if let Some(pair) = pairs.get(&Entry::ApiServer) {
        problems.extend(missing_names(pair, &dns));
        problems.extend(missing_addresses(pair, addresses));
    }
    if let Some(pair) = pairs.get(&Entry::EtcdServer) {
        let local = (IpAddr::V4(Ipv4Addr::LOCALHOST), "the API server's own etcd");
        problems.extend(missing_addresses(pair, masters().chain([local])));
    }
    for (index, address) in masters().enumerate() {
        let peer = pairs.get(&Entry::EtcdPeer(index));
        problems.extend(peer.into_iter().flat_map(|pair| missing_addresses(pair, [address])));
    }
    problems
}

fn missing_names(pair: &PresentPair, names: &[String]) -> Vec<ProfileProblem> {
    let missing = names.iter().filter(|name| verify_server_name(&pair.certificate, name).is_err());
    missing.map(|name| ProfileProblem::NoName { entry: pair.entry, name: name.clone() }).collect()
}

fn missing_addresses(
    pair: &PresentPair,
    addresses: impl IntoIterator<Item = (IpAddr, &'static str)>,
) -> Vec<ProfileProblem> {
    let missing = |address: &IpAddr| verify_server_name(&pair.certificate, &address.to_string()).is_err();
    let missing = addresses.into_iter().filter(|(address, _)| missing(address));
    missing.map(|(address, role)| ProfileProblem::NoAddress { entry: pair.entry, address, role }).collect()
}

/// The group that may do everything, by whatever authorisation.
const ADMINISTRATORS: &str = "system:masters";

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
