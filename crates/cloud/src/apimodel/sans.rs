//! Addresses, and the alternative names that the cluster's certificates must carry.

use std::net::{IpAddr, Ipv4Addr};

use super::error::ApiModelError;
use super::locations::{Catalogue, Location};
use super::machines::Availability;
use super::model::ApiModel;

/// The alternative names of a certificate, in the order in which they stand there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectAltNames {
    /// DNS names.
    pub dns: Vec<String>,
    /// Addresses, all of which follow the names.
    pub ips: Vec<IpAddr>,
}

impl ApiModel {
    /// The masters' private addresses, in the order of their indices.
    ///
    /// In a scale set each machine reserves as many addresses as `ipAddressCount` says, so the masters' are that far
    /// apart.
    pub fn master_ips(&self) -> Vec<Ipv4Addr> {
        let stride = match self.masters().availability {
            Availability::AvailabilitySet => 1,
            Availability::ScaleSet => self.masters().ip_address_count,
        };
        let first = u32::from(self.masters().first_ip);
        let address = |index: u32| Ipv4Addr::from(first.wrapping_add(index.wrapping_mul(stride)));
        (0..self.masters().count).map(address).collect()
    }

    /// The address of the internal load balancer, which is there only when there are several masters.
    ///
    /// For an availability set it is the first master's with ten added to the last octet, which wraps on its own (the
    /// ancestor computes with bytes); for a scale set it is `a.b.255.10`.
    pub fn internal_load_balancer_ip(&self) -> Ipv4Addr {
        let [a, b, c, d] = self.masters().first_ip.octets();
        match self.masters().availability {
            Availability::AvailabilitySet => {
                Ipv4Addr::new(a, b, c, d.wrapping_add(INTERNAL_LOAD_BALANCER_OFFSET))
            }
            Availability::ScaleSet => Ipv4Addr::new(a, b, 255, INTERNAL_LOAD_BALANCER_OFFSET),
        }
    }

    /// The first address of the service range, where `kubernetes.default` answers.
    ///
    /// It is the address *as written* and one more, not the masked network and one more; the ancestor does the same.
    pub fn first_service_ip(&self) -> IpAddr {
        match self.kubernetes().service_address {
            IpAddr::V4(address) => Ipv4Addr::from(u32::from(address).wrapping_add(1)).into(),
            IpAddr::V6(address) => std::net::Ipv6Addr::from(u128::from(address).wrapping_add(1)).into(),
        }
    }

    /// The addresses that the certificates of the API server and of etcd carry, in order.
    pub fn server_ips(&self) -> Vec<IpAddr> {
        let masters = self.master_ips();
        let (first, others) = (&masters[..1.min(masters.len())], masters.get(1..).unwrap_or_default());
        let v4 = first.iter().chain([&Ipv4Addr::LOCALHOST]).copied();
        let v4 = v4.chain([self.internal_load_balancer_ip()]).chain(others.iter().copied());
        v4.map(IpAddr::V4).chain([self.first_service_ip()]).collect()
    }

    /// The alternative names of the API server's certificate, computed by the ancestor's rules.
    ///
    /// In a public cloud that is the cluster's name at every location that `catalogue` knows. The model's own
    /// location is among them in any case: a location younger than the tool must not cost the certificate its only
    /// useful name.
    ///
    /// # Errors
    ///
    /// [`ApiModelError::LocationUnknown`] as [`ApiModel::fqdn`].
    pub fn api_server_sans(&self, catalogue: Catalogue) -> Result<SubjectAltNames, ApiModelError> {
        let own = self.fqdn()?;
        let mut dns: Vec<String> = match self.custom_cloud_suffix() {
            Some(_) => Vec::new(),
            None => catalogue.locations().map(|location| self.fqdn_at(&location)).collect(),
        };
        if !dns.contains(&own) {
            dns.push(own);
        }
        dns.extend(self.masters().subject_alt_names.iter().cloned());
        dns.extend(IN_CLUSTER_NAMES.iter().map(|name| (*name).to_owned()));
        Ok(SubjectAltNames { dns, ips: self.server_ips() })
    }

    /// The alternative names of every certificate of etcd: addresses only, the same list for all of them.
    pub fn etcd_sans(&self) -> SubjectAltNames {
        SubjectAltNames { dns: Vec::new(), ips: self.server_ips() }
    }

    pub(super) fn fqdn_at(&self, location: &Location) -> String {
        let suffix = self.custom_cloud_suffix().unwrap_or_else(|| location.public_suffix());
        format!("{}.{}.{suffix}", self.masters().dns_prefix, location.as_str())
    }
}

/// How far the internal load balancer is from the first master.
const INTERNAL_LOAD_BALANCER_OFFSET: u8 = 10;

/// The names by which the API server is called from its own machine and from inside the cluster.
///
/// The cluster's domain cannot be chosen in AKS engine.
const IN_CLUSTER_NAMES: [&str; 8] = [
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "kubernetes.kube-system",
    "kubernetes.kube-system.svc",
    "kubernetes.kube-system.svc.cluster.local",
];

#[cfg(test)]
mod tests {
    use super::super::model::tests::{model, model_with_masters};
    use super::*;

    #[test]
    fn an_availability_set_counts_by_one() {
        let ips: Vec<String> = model("").server_ips().iter().map(IpAddr::to_string).collect();
        assert_eq!(
            ips,
            ["10.240.255.5", "127.0.0.1", "10.240.255.15", "10.240.255.6", "10.240.255.7", "10.0.0.1"]
        );
    }

    #[test]
    fn the_load_balancers_octet_wraps_by_itself() {
        let masters = r#"{"count": 1, "dnsPrefix": "a", "firstConsecutiveStaticIP": "10.1.2.250",
            "availabilityProfile": "AvailabilitySet"}"#;
        assert_eq!(model_with_masters(masters, "").internal_load_balancer_ip(), Ipv4Addr::new(10, 1, 2, 4));
    }

    #[test]
    fn a_scale_set_counts_by_its_reserved_addresses() {
        let masters = r#"{"count": 3, "dnsPrefix": "a", "firstConsecutiveStaticIP": "10.240.0.4", "ipAddressCount": 31}"#;
        let model = model_with_masters(masters, "");
        let ips: Vec<String> = model.server_ips().iter().map(IpAddr::to_string).collect();
        assert_eq!(
            ips,
            ["10.240.0.4", "127.0.0.1", "10.240.255.10", "10.240.0.35", "10.240.0.66", "10.0.0.1"]
        );
        assert!(model.master_names()[2].as_str().ends_with("-vmss000002"));
    }

    #[test]
    fn custom_clouds_have_one_public_name() {
        let names = model("").api_server_sans(Catalogue::AksEngine).unwrap();
        assert_eq!(
            names.dns[..3],
            ["synthazs.local.cloudapp.azurestack.external", "api.synth.example", "localhost"]
        );
        assert_eq!(names.dns.len(), 10);
    }
}
