//! A cluster that kubeadm made, named by a cluster file: its PKI is what its control planes hold.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use kubecert_cloud::apimodel::write_private;
use kubecert_cloud::cluster_file::{ClusterFile, ControlPlane};
use kubecert_core::layout::{self, kubeadm};
use kubecert_core::material::Part;
use kubecert_core::model::{
    Cluster, ClusterName, Generation, KubernetesVersion, Layout, LeafId, Node, NodeName, OperatingSystem,
    Role, TrustDomain,
};
use kubecert_engine::issue::chain;
use kubecert_engine::kubeconfig::{client_credentials, replace_credentials};
use kubecert_engine::ports::{Fault, Nodes, PortError, PortResult};
use kubecert_engine::run::{OperatorFiles, Setup};
use kubecert_engine::vault::{PkiSet, Vault};
use kubecert_pki::{Certificate, PrivateKey};
use zeroize::Zeroizing;

use super::management::Management;
use super::target::{Access, Reach, SSH_PORT, Wires, port_error, setup};
use crate::args::KeySource;
use crate::errors::{CliError, Kind};

/// A cluster file that was read.
pub(crate) struct Kubeadm {
    file: ClusterFile,
    path: PathBuf,
}

impl Kubeadm {
    /// Reads a cluster file.
    pub(crate) fn read(path: &Path) -> Result<Self, CliError> {
        let file = ClusterFile::read(path).map_err(|error| {
            CliError::because(Kind::Input, format!("cannot use cluster file {}", path.display()), error)
        })?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// The name under which runs are recorded.
    pub(crate) fn name(&self) -> ClusterName {
        ClusterName::new(self.file.name.clone())
    }

    /// The cluster with its control planes. Its version is the API's to tell.
    fn cluster(&self) -> Cluster {
        let node = |(index, plane): (usize, &ControlPlane)| Node {
            name: NodeName::new(plane.name.clone()),
            role: Role::ControlPlane,
            index,
            address: Some(plane.address),
            system: OperatingSystem::Linux,
        };
        Cluster {
            name: self.name(),
            layout: Layout::Kubeadm,
            version: KubernetesVersion { major: 1, minor: 0 },
            endpoint: self.file.endpoint.clone(),
            api_port: self.file.api_port,
            admin_user: "root".to_owned(),
            nodes: self.file.control_planes.iter().enumerate().map(node).collect(),
        }
    }

    /// Connects to everything, and reads the PKI from the first control plane that has it.
    pub(crate) async fn connect(
        &self,
        reach: &Reach,
        state: PathBuf,
        wires: Wires,
    ) -> Result<Setup, CliError> {
        let nodes = self.access(reach)?.connect(&state, &wires.events).await?;
        let cluster = self.cluster();
        let old = pki(nodes.as_ref(), &cluster).await?;
        let kubeconfig = self.file.kubeconfig.clone();
        let place = self.file.cluster_api.clone();
        let management = place.map(|place| Management::new(place, wires.events.clone()));
        let operator = Arc::new(Operator { kubeconfig, management });
        setup(cluster, self.file.endpoint_port, old, operator, nodes, state, wires)
    }

    /// How to log in: what the command line says, else what the cluster file says.
    fn access(&self, reach: &Reach) -> Result<Access, CliError> {
        let ssh = &self.file.ssh;
        let missing = |what: &str, flag: &str| {
            let file = self.path.display();
            CliError::new(Kind::Usage, format!("cluster file {file} names no {what}"))
                .hint(format!("Add spec.ssh.{what} to it, or use {flag}."))
        };
        let user = reach.user.clone().or_else(|| ssh.user.clone());
        let jump = match (&reach.host, &ssh.jump) {
            (Some(host), _) => (host.clone(), SSH_PORT),
            (None, Some(jump)) => jump.clone(),
            (None, None) => {
                let first = self.file.control_planes.first();
                let first = first.ok_or_else(|| missing("jump", "--ssh-host"))?;
                (first.address.to_string(), ssh.port)
            }
        };
        let described = || ssh.private_key.clone().map(|path| KeySource::File { path, passphrase_fd: None });
        let planes = self.file.control_planes.iter();
        let address =
            |plane: &ControlPlane| (NodeName::new(plane.name.clone()), (plane.address.to_string(), ssh.port));
        Ok(Access {
            port: reach.port.unwrap_or(jump.1),
            host: jump.0,
            user: user.ok_or_else(|| missing("user", "--ssh-user"))?,
            key: reach
                .key
                .clone()
                .or_else(described)
                .ok_or_else(|| missing("privateKey", "--linux-ssh-private-key"))?,
            known_hosts: reach.known_hosts.clone().or_else(|| ssh.known_hosts.clone()),
            node_port: ssh.port,
            addresses: planes.map(address).collect(),
            by_learnt_address: true,
            windows: None,
        })
    }
}

/// The PKI in force, as the first control plane that can be read holds it.
async fn pki(nodes: &dyn Nodes, cluster: &Cluster) -> Result<PkiSet, CliError> {
    let mut refused = None;
    for node in cluster.control_planes() {
        match read_pki(nodes, node).await {
            Ok(mut pki) => {
                other_keys(nodes, cluster, &mut pki).await;
                return Ok(pki);
            }
            Err(error) => drop(refused.get_or_insert(error)),
        }
    }
    Err(refused.map_or_else(|| CliError::new(Kind::Input, "the cluster has no control plane"), port_error))
}

/// Takes keys of CAs that the first control plane lacks from the others: some operators keep them on one alone.
async fn other_keys(nodes: &dyn Nodes, cluster: &Cluster, pki: &mut PkiSet) {
    for node in cluster.control_planes() {
        for (domain, certificate) in &pki.authorities {
            let (_, Some(path)) = Layout::Kubeadm.authority(*domain) else { continue };
            if pki.authority_keys.contains_key(domain) {
                continue;
            }
            // A control plane that cannot be read is told of when it is looked at.
            let Ok(Some(pem)) = nodes.read(&node.name, &path).await else { continue };
            if let Ok(key) = private_key(&path, &pem, node)
                && key.matches(certificate)
            {
                pki.authority_keys.insert(*domain, key);
            }
        }
    }
}

async fn read_pki(nodes: &dyn Nodes, node: &Node) -> PortResult<PkiSet> {
    let place = Layout::Kubeadm;
    let mut set = PkiSet::default();
    for domain in [TrustDomain::Cluster, TrustDomain::Etcd, TrustDomain::FrontProxy] {
        let (path, key) = place.authority(domain);
        set.authorities.insert(domain, certificate(&path, &read(nodes, node, &path).await?, node)?);
        if let Some(path) = key
            && let Some(pem) = nodes.read(&node.name, &path).await?
        {
            set.authority_keys.insert(domain, private_key(&path, &pem, node)?);
        }
    }
    // etcd's own client where the node has an etcd member, which with stacked etcd all control planes have.
    let client = place.hot(node).into_iter().find(|pair| pair.base.ends_with("healthcheck-client"));
    if let Some(pair) = client {
        let (path, key) = (pair.certificate(), pair.key());
        let leaf = LeafId::from("etcdclient");
        set.leaves.insert(leaf.clone(), certificate(&path, &read(nodes, node, &path).await?, node)?);
        set.leaf_keys.insert(leaf, private_key(&key, &read(nodes, node, &key).await?, node)?);
    }
    let path = format!("{}.key", kubeadm::SERVICE_ACCOUNT);
    set.leaf_keys
        .insert(layout::service_account(), private_key(&path, &read(nodes, node, &path).await?, node)?);
    let path = format!("{}/admin.conf", kubeadm::DIRECTORY);
    let [client, key] = client_credentials(&read(nodes, node, &path).await?).map_err(|error| {
        PortError::new(Fault::Failed, format!("cannot use {path} on {}", node.name), error)
    })?;
    let leaf = LeafId::from("kubectlClient");
    set.leaves.insert(leaf.clone(), certificate(&path, &client, node)?);
    set.leaf_keys.insert(leaf, private_key(&path, &key, node)?);
    Ok(set)
}

async fn read(nodes: &dyn Nodes, node: &Node, path: &str) -> PortResult<Zeroizing<Vec<u8>>> {
    nodes.read(&node.name, path).await?.ok_or_else(|| {
        PortError::new(Fault::Failed, format!("cannot read {path} on {}", node.name), "it is not there")
            .remedy("The cluster file must name control planes that kubeadm made, with stacked etcd.")
    })
}

fn certificate(path: &str, pem: &[u8], node: &Node) -> PortResult<Certificate> {
    Certificate::from_pem(pem).map_err(|error| unusable(path, node, &error))
}

fn private_key(path: &str, pem: &[u8], node: &Node) -> PortResult<PrivateKey> {
    let text = std::str::from_utf8(pem).map_err(|error| unusable(path, node, &error))?;
    PrivateKey::from_pem(text).map_err(|error| unusable(path, node, &error))
}

fn unusable(path: &str, node: &Node, error: &dyn std::error::Error) -> PortError {
    PortError::new(Fault::Failed, format!("cannot use {path} on {}", node.name), chain(error))
}

/// What the cluster file names of the operator's: the own kubeconfig, and Cluster API's Secrets.
struct Operator {
    kubeconfig: Option<PathBuf>,
    management: Option<Management>,
}

#[async_trait]
impl OperatorFiles for Operator {
    async fn announce(&self, vault: &Vault) -> PortResult<()> {
        // What cannot be edited at the end is refused now.
        if let Some(path) = &self.kubeconfig {
            let present = std::fs::read(path).map_err(|error| cannot("read", path, &error))?;
            replace_credentials(&present, b"", b"", b"").map_err(|error| cannot("edit", path, &error))?;
        }
        match &self.management {
            Some(management) => management.check(vault, self.kubeconfig.as_deref()).await,
            None => Ok(()),
        }
    }

    async fn write(&self, vault: &Vault) -> PortResult<()> {
        // The kubeconfig first: a cluster that manages itself is reached with it.
        if let Some(path) = &self.kubeconfig {
            Self::update(path, vault)?;
        }
        match &self.management {
            Some(management) => management.follow(vault).await,
            None => Ok(()),
        }
    }

    fn leftovers(&self) -> Vec<String> {
        self.management.as_ref().map(Management::leftovers).unwrap_or_default()
    }
}

impl Operator {
    fn update(path: &Path, vault: &Vault) -> PortResult<()> {
        let leaf = LeafId::from("kubectlClient");
        let pem = |part: Part| vault.pem(&[part]).map_err(|error| cannot("edit", path, &error));
        // A run that leaves the CA, or this client, as it is brings no new one of it.
        let roots = pem(vault.authority(TrustDomain::Cluster, Generation::New))?;
        let generation = vault.leaf_generation(&leaf, Generation::New);
        let client = pem(Part::Leaf(leaf.clone(), generation))?;
        let key = pem(Part::LeafKey(leaf, generation))?;
        let present = Zeroizing::new(std::fs::read(path).map_err(|error| cannot("read", path, &error))?);
        let edited = replace_credentials(&present, &roots, &client, &key)
            .map_err(|error| cannot("edit", path, &error))?;
        write_private(path, &edited).map_err(|error| cannot("write", path, &error))
    }
}

fn cannot(act: &str, path: &Path, error: &dyn std::error::Error) -> PortError {
    PortError::new(Fault::Failed, format!("cannot {act} {}", path.display()), chain(error))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use kubecert_pki::{
        DistinguishedName, Issuer, KeyAlgorithm, Serial, Template, Validity, issue, self_signed_ca,
    };

    use super::*;

    fn client(issuer: &Issuer) -> (Certificate, PrivateKey) {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let shape = Template::builder(named("kubernetes-admin")).build().unwrap();
        let serial = Serial::random().unwrap();
        (issue(&shape, key.public_key(), issuer, validity(), &serial).unwrap(), key)
    }

    fn named(name: &str) -> DistinguishedName {
        DistinguishedName::common_name(name).unwrap()
    }

    fn validity() -> Validity {
        Validity::new(Timestamp::UNIX_EPOCH, "2049-01-01T00:00:00Z".parse().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_run_that_keeps_the_ca_brings_the_operators_kubeconfig_up_to_date() {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let shape = Template::builder(named("kubernetes")).build().unwrap();
        let ca = self_signed_ca(&shape, &key, validity(), &Serial::random().unwrap()).unwrap();
        let issuer = Issuer::new(ca.clone(), key).unwrap();
        let (leaf, mut vault) = (LeafId::from("kubectlClient"), Vault::default());
        vault.old.authorities.insert(TrustDomain::Cluster, ca.clone());
        for set in [&mut vault.old, &mut vault.new] {
            let (certificate, key) = client(&issuer);
            set.leaves.insert(leaf.clone(), certificate);
            set.leaf_keys.insert(leaf.clone(), key);
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.conf");
        let text = "clusters:\n- cluster:\n    certificate-authority-data: eA==\nusers:\n- user:\n    client-certificate-data: eA==\n    client-key-data: eA==\n";
        std::fs::write(&path, text).unwrap();
        let operator = Operator { kubeconfig: Some(path.clone()), management: None };
        operator.write(&vault).await.unwrap();
        let [held, _key] = client_credentials(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(Certificate::from_pem(&held).unwrap(), vault.new.leaves[&leaf]);
    }
}
