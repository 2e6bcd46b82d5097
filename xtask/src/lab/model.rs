//! The API model that a cluster is built from, and what follows from it: names, addresses, nodes.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value};

use super::spec::{Node, Role};

/// An API model, complete but for what a lab puts in itself: PKI and SSH key.
pub(crate) struct Model {
    json: Value,
}

impl Model {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let json =
            serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", path.display()))?;
        let model = Self { json };
        model.property("/masterProfile")?;
        Ok(model)
    }

    pub(crate) fn to_text(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(&self.json)?)
    }

    /// Replaces the counts of masters and Linux agents; all agents go to the first Linux pool.
    pub(crate) fn set_counts(&mut self, masters: Option<usize>, agents: Option<usize>) -> Result<()> {
        if let Some(count) = masters {
            if !matches!(count, 1 | 3 | 5) {
                bail!("an AKS engine cluster has 1, 3 or 5 masters, not {count}");
            }
            self.json["properties"]["masterProfile"]["count"] = count.into();
            // A profile made for another number of masters has too few etcd peers, or too many.
            if self.certificates().is_some_and(|profile| peers(profile) != count) {
                self.properties_mut()?.shift_remove("certificateProfile");
            }
        }
        if let Some(count) = agents {
            let pools = self.json["properties"]["agentPoolProfiles"]
                .as_array_mut()
                .context("no agentPoolProfiles")?;
            let mut left = count;
            for pool in pools.iter_mut().filter(|pool| is_linux(pool)) {
                pool["count"] = left.into();
                left = 0;
            }
            pools.retain(|pool| !is_linux(pool) || pool["count"] != 0);
        }
        Ok(())
    }

    pub(crate) fn set_identity_system(&mut self, system: &str) {
        self.json["properties"]["customCloudProfile"]["identitySystem"] = system.into();
    }

    pub(crate) fn set_ssh_key(&mut self, public: &str) {
        self.json["properties"]["linuxProfile"]["ssh"]["publicKeys"] =
            serde_json::json!([{ "keyData": public }]);
    }

    /// The profile, if the model has one that can serve: a fresh model has none.
    pub(crate) fn certificates(&self) -> Option<&Map<String, Value>> {
        self.json
            .pointer("/properties/certificateProfile")?
            .as_object()
            .filter(|map| map.contains_key("caPrivateKey"))
    }

    /// Puts a profile in, where the ancestor writes it: after `servicePrincipalProfile`.
    pub(crate) fn set_certificates(&mut self, profile: Map<String, Value>) -> Result<()> {
        let properties = std::mem::take(self.properties_mut()?);
        let mut ordered = Map::new();
        let last_before = if properties.contains_key("servicePrincipalProfile") {
            "servicePrincipalProfile"
        } else {
            "linuxProfile"
        };
        let mut profile = Some(Value::Object(profile));
        for (key, value) in properties.into_iter().filter(|(key, _)| key != "certificateProfile") {
            let here = key == last_before;
            ordered.insert(key, value);
            if let Some(profile) = here.then(|| profile.take()).flatten() {
                ordered.insert("certificateProfile".to_owned(), profile);
            }
        }
        if let Some(profile) = profile {
            ordered.insert("certificateProfile".to_owned(), profile);
        }
        *self.properties_mut()? = ordered;
        Ok(())
    }

    /// The flags of a component, in the order the ancestor writes them: sorted.
    pub(crate) fn flags(&self, pointer: &str) -> Vec<(String, String)> {
        let map = self.json.pointer(&format!("/properties{pointer}")).and_then(Value::as_object);
        let mut flags: Vec<_> = map
            .into_iter()
            .flatten()
            .filter_map(|(flag, value)| Some((flag.clone(), value.as_str()?.to_owned())))
            .collect();
        flags.sort();
        flags
    }

    pub(crate) fn dns_prefix(&self) -> Result<String> {
        self.text("/masterProfile/dnsPrefix")
    }

    pub(crate) fn location(&self) -> Result<String> {
        Ok(self.json["location"].as_str().context("the model has no location")?.to_owned())
    }

    /// A text of `customCloudProfile`, if there is one.
    pub(crate) fn custom_cloud(&self, pointer: &str) -> Option<String> {
        self.text(&format!("/customCloudProfile/{pointer}")).ok()
    }

    /// The scale set that a node is an instance of; the instance's number has six digits.
    pub(crate) fn scale_set_of(&self, node: &Node) -> Option<String> {
        let profile = match node.role {
            Role::Master => self.property("/masterProfile").ok()?,
            Role::Agent => self.property(&format!("/agentPoolProfiles/{}", node.pool)).ok()?,
            Role::Balancer | Role::Host => return None,
        };
        let single = profile["availabilityProfile"].as_str() == Some("AvailabilitySet");
        (!single).then(|| node.name[..node.name.len().saturating_sub(6)].to_owned())
    }

    pub(crate) fn admin(&self) -> Result<String> {
        self.text("/linuxProfile/adminUsername")
    }

    /// The name of the API as the operator's kubeconfig has it.
    pub(crate) fn fqdn(&self) -> Result<String> {
        Ok(format!("{}.{}.{}", self.dns_prefix()?, self.location()?, self.dns_suffix()))
    }

    fn dns_suffix(&self) -> String {
        let custom = "/customCloudProfile/environment/resourceManagerVMDNSSuffix";
        self.text(custom).unwrap_or_else(|_absent| "cloudapp.azure.com".to_owned())
    }

    /// The names for the API server's certificate, in the ancestor's order.
    pub(crate) fn api_server_names(&self) -> Result<Vec<String>> {
        let mut names = vec![self.fqdn()?];
        let extra = self.property("/masterProfile")?["subjectAltNames"].as_array();
        names.extend(extra.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
        names.push("localhost".to_owned());
        for base in ["kubernetes", "kubernetes.default", "kubernetes.kube-system"] {
            names.push(base.to_owned());
            if base != "kubernetes" {
                names.extend([format!("{base}.svc"), format!("{base}.svc.cluster.local")]);
            }
        }
        Ok(names)
    }

    /// The addresses for the certificates of the API server and of etcd, in the ancestor's order.
    pub(crate) fn server_addresses(&self) -> Result<Vec<Ipv4Addr>> {
        let masters = self.master_addresses()?;
        let mut all = vec![masters[0], Ipv4Addr::LOCALHOST, self.internal_ip()?];
        all.extend(&masters[1..]);
        all.push(self.first_service_ip()?);
        Ok(all)
    }

    pub(crate) fn first_service_ip(&self) -> Result<Ipv4Addr> {
        let cidr = self.text("/orchestratorProfile/kubernetesConfig/serviceCidr")?;
        let first = cidr.split([',', '/']).next().unwrap_or_default();
        let address: Ipv4Addr = first.parse().with_context(|| format!("serviceCidr {cidr:?} is not IPv4"))?;
        Ok((u32::from(address) + 1).into())
    }

    /// The internal load balancer's address.
    pub(crate) fn internal_ip(&self) -> Result<Ipv4Addr> {
        let [a, b, c, d] = self.first_ip()?.octets();
        Ok(if self.scale_set_masters()? {
            [a, b, 255, 10].into()
        } else {
            [a, b, c, d.wrapping_add(10)].into()
        })
    }

    pub(crate) fn master_count(&self) -> Result<usize> {
        let count =
            self.property("/masterProfile")?["count"].as_u64().context("masterProfile has no count")?;
        Ok(usize::try_from(count)?)
    }

    /// The port of the SSH host: scale sets have NAT pools, availability sets NAT rules.
    pub(crate) fn ssh_port(&self) -> Result<u16> {
        Ok(if self.scale_set_masters()? { 50001 } else { 22 })
    }

    /// The Windows nodes, with the first addresses after those of `others`.
    pub(crate) fn windows_nodes(&self, others: &[Node]) -> Result<Vec<Node>> {
        let id = cluster_id(&self.dns_prefix()?);
        let agents = others.iter().filter(|node| node.role == Role::Agent).map(|node| u32::from(node.ip));
        let [a, b, c, _] = self.first_ip()?.octets();
        let mut next =
            agents.max().map_or(u32::from(Ipv4Addr::new(a, b, u8::from(c == 0), 4)), |last| last + 1);
        let pools = self.property("/agentPoolProfiles").ok().and_then(Value::as_array);
        let mut nodes: Vec<Node> = Vec::new();
        for (pool, profile) in
            pools.into_iter().flatten().enumerate().filter(|(_, profile)| !is_linux(profile))
        {
            for index in 0..usize::try_from(profile["count"].as_u64().unwrap_or(1))? {
                let set = format!("{}k8s{pool:02}", &id[..4]);
                let name = match profile["availabilityProfile"].as_str() {
                    Some("AvailabilitySet") => format!("{set}{index}"),
                    _scale_set => {
                        let own = profile["vmssName"].as_str().filter(|name| !name.is_empty());
                        format!("{}{}", own.unwrap_or(&set), base36(index))
                    }
                };
                let pod_cidr = format!("10.244.{}.0/24", 200 + nodes.len());
                let short = format!("w{}", nodes.len());
                let node = Node::new(short, name, Role::Agent, index, next.into());
                nodes.push(Node { pool, pod_cidr, ..node });
                next += 1;
            }
        }
        Ok(nodes)
    }

    /// The user of Windows nodes, and the password if the model has one.
    pub(crate) fn windows_login(&self) -> Result<(String, Option<String>)> {
        Ok((self.text("/windowsProfile/adminUsername")?, self.text("/windowsProfile/adminPassword").ok()))
    }

    /// The nodes in the order masters, agents, load balancer. Windows pools are left out: they are no machines.
    pub(crate) fn nodes(&self) -> Result<Vec<Node>> {
        let id = cluster_id(&self.dns_prefix()?);
        let mut nodes = Vec::new();
        for (index, ip) in self.master_addresses()?.into_iter().enumerate() {
            let name = if self.scale_set_masters()? {
                format!("k8s-master-{id}-vmss00000{index}")
            } else {
                format!("k8s-master-{id}-{index}")
            };
            nodes.push(Node::new(format!("m{index}"), name, Role::Master, index, ip));
        }
        // From the start of the subnet as Azure gives them out, or from the next /24 if the masters are there.
        let [a, b, c, _] = self.first_ip()?.octets();
        let mut next = u32::from(Ipv4Addr::new(a, b, u8::from(c == 0), 4));
        let pools = self.property("/agentPoolProfiles").ok().and_then(Value::as_array);
        let mut agents = 0..;
        for (pool, profile) in
            pools.into_iter().flatten().enumerate().filter(|(_, profile)| is_linux(profile))
        {
            let pool_name = profile["name"].as_str().context("an agent pool has no name")?;
            for index in 0..usize::try_from(profile["count"].as_u64().unwrap_or(1))? {
                let name = match profile["availabilityProfile"].as_str() {
                    Some("AvailabilitySet") => format!("k8s-{pool_name}-{id}-{index}"),
                    _scale_set => {
                        let own = profile["vmssName"].as_str().filter(|name| !name.is_empty());
                        let set = own.map_or_else(|| format!("k8s-{pool_name}-{id}-vmss"), str::to_owned);
                        format!("{set}{}", base36(index))
                    }
                };
                let short = format!("a{}", agents.next().unwrap_or_default());
                nodes.push(Node { pool, ..Node::new(short, name, Role::Agent, index, next.into()) });
                next += 1;
            }
        }
        let (lb, balancer) = ("lb".to_owned(), [a, b, 0, 2].into());
        nodes.push(Node::new(lb.clone(), lb, Role::Balancer, 0, balancer));
        for (third, node) in nodes.iter_mut().enumerate() {
            node.pod_cidr = format!("10.244.{third}.0/24");
        }
        Ok(nodes)
    }

    fn master_addresses(&self) -> Result<Vec<Ipv4Addr>> {
        let first = u32::from(self.first_ip()?);
        let step = if self.scale_set_masters()? {
            u32::try_from(self.property("/masterProfile")?["ipAddressCount"].as_u64().unwrap_or(1).max(1))?
        } else {
            1
        };
        Ok((0..u32::try_from(self.master_count()?)?).map(|index| (first + index * step).into()).collect())
    }

    fn first_ip(&self) -> Result<Ipv4Addr> {
        Ok(self.text("/masterProfile/firstConsecutiveStaticIP")?.parse()?)
    }

    fn scale_set_masters(&self) -> Result<bool> {
        Ok(self.property("/masterProfile")?["availabilityProfile"].as_str() != Some("AvailabilitySet"))
    }

    fn text(&self, pointer: &str) -> Result<String> {
        let value = self.property(pointer)?.as_str().filter(|text| !text.is_empty());
        Ok(value.with_context(|| format!("properties{pointer} in the model is not a text"))?.to_owned())
    }

    fn property(&self, pointer: &str) -> Result<&Value> {
        let pointer = format!("/properties{pointer}");
        self.json
            .pointer(&pointer)
            .with_context(|| format!("the model has no {}", pointer[1..].replace('/', ".")))
    }

    fn properties_mut(&mut self) -> Result<&mut Map<String, Value>> {
        self.json["properties"].as_object_mut().context("the model has no properties")
    }
}

fn is_linux(pool: &Value) -> bool {
    pool["osType"].as_str().is_none_or(|os| !os.eq_ignore_ascii_case("windows"))
}

fn peers(profile: &Map<String, Value>) -> usize {
    profile.get("etcdPeerCertificates").and_then(Value::as_array).map_or(0, Vec::len)
}

/// An instance number as scale sets write it into names: six digits to the base 36.
fn base36(mut number: usize) -> String {
    let mut digits = [b'0'; 6];
    for place in digits.iter_mut().rev() {
        *place = b"0123456789abcdefghijklmnopqrstuvwxyz"[number % 36];
        number /= 36;
    }
    String::from_utf8_lossy(&digits).into_owned()
}

/// The eight digits that AKS engine puts into all names: the first number of Go's generator, seeded with a hash.
///
/// The generator adds two words of a table of 607; only those two entries of Go's constant table are needed.
fn cluster_id(dns_prefix: &str) -> String {
    const MODULUS: i64 = 2_147_483_647;
    let hash = dns_prefix.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut x = hash.cast_signed() % MODULUS;
    if x < 0 {
        x += MODULUS;
    }
    if x == 0 {
        x = 89_482_311;
    }
    let mut step = || {
        x = x * 48_271 % MODULUS;
        x
    };
    for _ in 0..20 {
        step();
    }
    let (mut feed, mut tap) = (0_i64, 0_i64);
    for entry in 0..607 {
        let word = step().wrapping_shl(40) ^ (step() << 20) ^ step();
        match entry {
            333 => feed = word ^ -4_633_371_852_008_891_965,
            606 => tap = word ^ 4_152_330_101_494_654_406,
            _unused => {}
        }
    }
    let number = (feed.wrapping_add(tap).cast_unsigned() & (u64::MAX >> 1)) >> 31;
    format!("{number:08}")[..8].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_ids_are_the_ancestors() {
        for (prefix, id) in [("foo_master", "24569115"), ("myprefix1", "30819786"), ("synthazs", "11223509")]
        {
            assert_eq!(cluster_id(prefix), id, "{prefix}");
        }
    }

    #[test]
    fn scale_set_instances_count_to_the_base_36() {
        assert_eq!([base36(0), base36(10), base36(58)], ["000000", "00000a", "00001m"]);
    }
}
