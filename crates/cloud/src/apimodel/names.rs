//! The names that AKS engine gives to machines, computed as it computes them.
//!
//! Nothing in the model states them: they follow from the DNS prefix. A name computed wrongly would address no
//! machine, or another cluster's; the vectors in the tests come from the ancestor's own tests and from runs of its
//! generator.

use std::fmt;

use super::error::ApiModelError;
use super::machines::{AgentPool, Availability, Os};
use super::model::ApiModel;

impl ApiModel {
    /// The eight digits that tell this cluster's machines from another's.
    pub fn cluster_id(&self) -> ClusterId {
        ClusterId::of(&self.masters().dns_prefix)
    }

    /// The masters' names, in the order of their indices.
    pub fn master_names(&self) -> Vec<VmName> {
        let id = self.cluster_id();
        let infix = match self.masters().availability {
            Availability::AvailabilitySet => "",
            Availability::ScaleSet => "vmss00000",
        };
        (0..self.masters().count).map(|index| VmName(format!("k8s-master-{id}-{infix}{index}"))).collect()
    }

    /// What the model says about the names of the machines of `agent_pools()[index]`; `None` when there is no such
    /// pool.
    ///
    /// The nodes of a running cluster are better learned from its API: pools are scaled without the model knowing.
    pub fn agent_names(&self, index: usize) -> Option<PoolNodes> {
        let pool = self.agent_pools().get(index)?;
        let prefix = self.agent_prefix(pool, index);
        Some(match pool.availability {
            Availability::AvailabilitySet => {
                PoolNodes::Exact((0..pool.count).map(|number| VmName(format!("{prefix}{number}"))).collect())
            }
            Availability::ScaleSet => PoolNodes::ScaleSet { prefix },
        })
    }

    /// The API server's public name, `<dnsPrefix>.<location>.<suffix>`.
    ///
    /// # Errors
    ///
    /// [`ApiModelError::LocationUnknown`] when neither the model nor [`ApiModel::at_location`] gave a location.
    pub fn fqdn(&self) -> Result<String, ApiModelError> {
        let location = self.location().ok_or(ApiModelError::LocationUnknown)?;
        Ok(self.fqdn_at(location))
    }

    fn agent_prefix(&self, pool: &AgentPool, index: usize) -> String {
        let id = self.cluster_id();
        match (&pool.vmss_name, pool.availability, pool.os) {
            (Some(name), Availability::ScaleSet, _) => name.clone(),
            (_, Availability::ScaleSet, Os::Linux) => format!("k8s-{}-{id}-vmss", pool.name),
            (_, Availability::AvailabilitySet, Os::Linux) => format!("k8s-{}-{id}-", pool.name),
            // A Windows computer name has at most 15 characters, so half of the id and the pool's index must do.
            (_, _, Os::Windows) => format!("{}k8s{index:02}", id.first_half()),
        }
    }
}

/// The name of a virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmName(String);

impl VmName {
    /// The name as Azure has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of its node in Kubernetes: the same in lower case, as the kubelet makes it from the host name.
    pub fn node_name(&self) -> String {
        self.0.to_lowercase()
    }
}

impl fmt::Display for VmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What can be known of a pool's machine names without asking the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolNodes {
    /// An availability set: the machines that the deployment made.
    Exact(Vec<VmName>),
    /// A scale set: each machine is called this and six characters (base 36) that Azure counts up.
    ScaleSet {
        /// The common beginning.
        prefix: String,
    },
}

/// The eight digits in every machine name of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClusterId(String);

impl ClusterId {
    /// Computes the id from the masters' DNS prefix.
    ///
    /// The ancestor seeds Go's `math/rand` with the FNV-1a hash of the prefix and prints the first `Uint32` with at
    /// least eight digits, cut to eight. Go's source is an additive lagged Fibonacci generator over 607 words that
    /// are the exclusive-or of a fixed table and a linear congruential sequence; its first output is the sum of the
    /// words 606 and 333, so two entries of the table are all that is needed.
    pub fn of(dns_prefix: &str) -> Self {
        let mut state = LinearCongruential::seeded(fnv_1a(dns_prefix.as_bytes()));
        for _ in 0..20 {
            state.step();
        }
        let (mut tap, mut feed) = (0i64, 0i64);
        for index in 0..607 {
            let word = (state.step() << 40) ^ (state.step() << 20) ^ state.step();
            match index {
                333 => tap = word ^ GO_RNG_COOKED_333,
                606 => feed = word ^ GO_RNG_COOKED_606,
                _ => {}
            }
        }
        // `Uint32` is the upper half of a 63-bit number.
        let number = (tap.wrapping_add(feed).cast_unsigned() & (u64::MAX >> 1)) >> 31;
        let digits = format!("{number:08}");
        Self(digits.chars().take(8).collect())
    }

    /// The eight digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn first_half(&self) -> String {
        self.0.chars().take(4).collect()
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The generator with which Go fills its table: `x * 48271 mod 2^31-1`.
struct LinearCongruential(i64);

impl LinearCongruential {
    fn seeded(seed: u64) -> Self {
        let reduced = seed.cast_signed().rem_euclid(MERSENNE_31);
        // Zero would be a fixed point; Go replaces it by this number.
        Self(if reduced == 0 { 89_482_311 } else { reduced })
    }

    fn step(&mut self) -> i64 {
        self.0 = self.0 * 48_271 % MERSENNE_31;
        self.0
    }
}

const MERSENNE_31: i64 = 0x7fff_ffff;

/// Entry 333 of Go's `rngCooked` table.
const GO_RNG_COOKED_333: i64 = -4_633_371_852_008_891_965;

/// Entry 606 of Go's `rngCooked` table.
const GO_RNG_COOKED_606: i64 = 4_152_330_101_494_654_406;

fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_ids_are_those_of_the_ancestor() {
        let vectors = [
            ("foo_master", "24569115"),
            ("myprefix1", "30819786"),
            ("synthk8s", "44897491"),
            ("synthazs", "11223509"),
            ("mycluster", "11161905"),
            ("contoso", "11048525"),
            ("kubernetes", "17487427"),
            ("cluster1", "86974662"),
            ("e2e-1", "11749453"),
            ("lab", "22579099"),
            ("", "12857252"),
        ];
        for (prefix, id) in vectors {
            assert_eq!(ClusterId::of(prefix).as_str(), id, "of {prefix:?}");
        }
    }

    #[test]
    fn masters_and_agents_have_the_ancestors_names() {
        let model = super::super::model::tests::model(
            r#", "agentPoolProfiles": [
            {"name": "linuxpool", "count": 2, "osType": "Linux", "availabilityProfile": "AvailabilitySet"},
            {"name": "winpool", "count": 1, "osType": "Windows", "availabilityProfile": "AvailabilitySet"},
            {"name": "burst", "count": 5, "availabilityProfile": "VirtualMachineScaleSets"},
            {"name": "named", "count": 5, "availabilityProfile": "VirtualMachineScaleSets", "vmssName": "my-set"}]"#,
        );
        let masters: Vec<_> = model.master_names().iter().map(VmName::node_name).collect();
        assert_eq!(masters, ["k8s-master-11223509-0", "k8s-master-11223509-1", "k8s-master-11223509-2"]);
        let exact =
            |names: &[&str]| Some(PoolNodes::Exact(names.iter().map(|n| VmName((*n).to_owned())).collect()));
        let set = |prefix: &str| Some(PoolNodes::ScaleSet { prefix: prefix.to_owned() });
        assert_eq!(model.agent_names(0), exact(&["k8s-linuxpool-11223509-0", "k8s-linuxpool-11223509-1"]));
        assert_eq!(model.agent_names(1), exact(&["1122k8s010"]));
        assert_eq!(model.agent_names(2), set("k8s-burst-11223509-vmss"));
        assert_eq!(model.agent_names(3), set("my-set"));
        assert_eq!(model.agent_names(4), None);
    }
}
