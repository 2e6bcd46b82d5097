//! The PKI of a freshly deployed cluster, in the shape that AKS engine gives it.

use std::net::{IpAddr, Ipv4Addr};

use jiff::{SignedDuration, Timestamp};
use kubecert_core::layout;
use kubecert_core::model::{LeafId, Node, NodeName, TrustDomain};
use kubecert_engine::vault::PkiSet;
use kubecert_pki::{
    Certificate, DistinguishedName, ExtendedKeyUsage, Issuer, KeyAlgorithm, KeyUsage, PrivateKey, Serial,
    SubjectAltName, Template, Validity, issue, self_signed_ca,
};

use crate::SimError;

/// AKS engine's 30 years of 365 days.
const LIFETIME: SignedDuration = SignedDuration::from_hours(30 * 365 * 24);
/// How long before the simulation's start the cluster was deployed.
const AGE: SignedDuration = SignedDuration::from_hours(400 * 24);
/// A kubelet's client certificate as the controller manager signs it.
const KUBELET_LIFETIME: SignedDuration = SignedDuration::from_hours(410 * 24);

/// A certificate with its key.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: Certificate,
    pub(crate) key: PrivateKey,
}

/// Everything that a fresh cluster has.
#[derive(Debug)]
pub(crate) struct FreshPki {
    /// What the operator's description holds.
    pub(crate) described: PkiSet,
    pub(crate) front_proxy_ca: Certificate,
    pub(crate) front_proxy: Pair,
    /// Of the aggregated API server.
    pub(crate) aggregated: Pair,
    maker: Maker,
    ca: Issuer,
}

#[derive(Clone, Copy, Debug)]
struct Maker {
    born: Timestamp,
    algorithm: KeyAlgorithm,
    /// How long leaves last from then.
    leaf: SignedDuration,
}

impl FreshPki {
    pub(crate) fn new(
        planes: &[Node],
        names: &[String],
        now: Timestamp,
        algorithm: KeyAlgorithm,
        leaves_last_days: Option<u32>,
        aggregated: &[String],
    ) -> Result<Self, SimError> {
        let from_now = |days: u32| SignedDuration::from_hours(i64::from(days) * 24);
        let leaf = leaves_last_days.map_or(LIFETIME, |days| AGE.saturating_add(from_now(days)));
        let maker = Maker { born: now.checked_sub(AGE).unwrap_or(now), algorithm, leaf };
        let ca = maker.authority("ca")?;
        let mut described = PkiSet::default();
        let addresses = addresses(planes);
        let both = [ExtendedKeyUsage::ServerAuth, ExtendedKeyUsage::ClientAuth];
        let mut add = |id: LeafId, shape: Template| -> Result<(), SimError> {
            let pair = maker.leaf(&shape, &ca, leaf)?;
            described.leaves.insert(id.clone(), pair.certificate);
            described.leaf_keys.insert(id, pair.key);
            Ok(())
        };
        let dns = names.iter().map(|name| SubjectAltName::Dns(name.clone()));
        let all: Vec<SubjectAltName> = dns.chain(addresses.iter().copied().map(SubjectAltName::Ip)).collect();
        let subject = DistinguishedName::common_name("apiserver").map_err(SimError::pki)?;
        let apiserver =
            Template::builder(subject).extended_key_usage([ExtendedKeyUsage::ServerAuth]).sans(all).build();
        add(LeafId::from("apiserver"), apiserver.map_err(SimError::pki)?)?;
        for leaf in ["client", "kubectlClient"] {
            add(LeafId::from(leaf), Template::admin("client", "system:masters").map_err(SimError::pki)?)?;
        }
        let peers = (0..planes.len()).map(|index| (layout::etcd_peer(index), "etcdpeer"));
        let etcd = [(LeafId::from("etcdserver"), "etcdserver"), (LeafId::from("etcdclient"), "etcdclient")];
        for (id, name) in etcd.into_iter().chain(peers) {
            let subject = DistinguishedName::common_name(name).map_err(SimError::pki)?;
            let sans = addresses.iter().copied().map(SubjectAltName::Ip);
            let shape = Template::builder(subject).extended_key_usage(both.clone()).sans(sans).build();
            add(id, shape.map_err(SimError::pki)?)?;
        }
        described.authorities.insert(TrustDomain::Cluster, ca.certificate().clone());
        described.authority_keys.insert(TrustDomain::Cluster, ca.key().clone());
        let proxy_ca = maker.authority("proxyClientCA")?;
        let shape = Template::front_proxy_client("aggregator", &["system:masters"]).map_err(SimError::pki)?;
        let front_proxy = maker.leaf(&shape, &proxy_ca, LIFETIME)?;
        let first = aggregated.first().map_or("aggregated", String::as_str);
        let shape = Template::builder(DistinguishedName::common_name(first).map_err(SimError::pki)?)
            .extended_key_usage([ExtendedKeyUsage::ServerAuth])
            .sans(aggregated.iter().map(|name| SubjectAltName::Dns(name.clone())))
            .build()
            .map_err(SimError::pki)?;
        let aggregated = maker.leaf(&shape, &ca, leaf)?;
        Ok(Self {
            described,
            front_proxy_ca: proxy_ca.certificate().clone(),
            front_proxy,
            aggregated,
            maker,
            ca,
        })
    }

    /// A kubelet's serving certificate as AKS engine makes it with openssl: self-signed, marked as a CA, without names.
    pub(crate) fn kubelet_server(&self, node: &NodeName) -> Result<Pair, SimError> {
        let subject = DistinguishedName::common_name(node.as_str()).map_err(SimError::pki)?;
        let shape =
            Template::builder(subject).certificate_authority().key_usage([KeyUsage::KeyCertSign]).build();
        self.maker.self_signed(&shape.map_err(SimError::pki)?, self.maker.leaf)
    }

    /// A kubelet's client certificate, as the controller manager signed it.
    pub(crate) fn kubelet_client(&self, node: &NodeName) -> Result<Pair, SimError> {
        let shape = Template::kubelet_client(node.as_str()).map_err(SimError::pki)?;
        self.maker.leaf(
            &shape,
            &self.ca,
            KUBELET_LIFETIME.saturating_add(SignedDuration::from_hours(365 * 24)).min(self.maker.leaf),
        )
    }
}

impl Maker {
    fn authority(&self, name: &str) -> Result<Issuer, SimError> {
        let shape = Template::ca(DistinguishedName::common_name(name).map_err(SimError::pki)?);
        let pair = self.self_signed(&shape.map_err(SimError::pki)?, LIFETIME)?;
        Issuer::new(pair.certificate, pair.key).map_err(SimError::pki)
    }

    fn self_signed(&self, shape: &Template, lifetime: SignedDuration) -> Result<Pair, SimError> {
        let key = PrivateKey::generate(self.algorithm).map_err(SimError::pki)?;
        let validity = Validity::back_dated(self.born, lifetime).map_err(SimError::pki)?;
        let serial = Serial::random().map_err(SimError::pki)?;
        let certificate = self_signed_ca(shape, &key, validity, &serial).map_err(SimError::pki)?;
        Ok(Pair { certificate, key })
    }

    fn leaf(&self, shape: &Template, issuer: &Issuer, lifetime: SignedDuration) -> Result<Pair, SimError> {
        let key = PrivateKey::generate(self.algorithm).map_err(SimError::pki)?;
        let validity = Validity::back_dated(self.born, lifetime).map_err(SimError::pki)?;
        let serial = Serial::random().map_err(SimError::pki)?;
        let certificate = issue(shape, key.public_key(), issuer, validity, &serial).map_err(SimError::pki)?;
        Ok(Pair { certificate, key })
    }
}

/// The addresses in certificates, in AKS engine's order: the first control plane, loopback, the
/// internal load balancer, the other control planes, the Service `kubernetes`.
fn addresses(planes: &[Node]) -> Vec<IpAddr> {
    let mut own = planes.iter().filter_map(|node| node.address);
    let mut all: Vec<IpAddr> = own.next().into_iter().collect();
    all.push(Ipv4Addr::LOCALHOST.into());
    all.push(Ipv4Addr::new(10, 255, 255, 15).into());
    all.extend(own);
    all.push(Ipv4Addr::new(10, 0, 0, 1).into());
    all
}
