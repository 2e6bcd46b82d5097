//! What a standing lab is: its names, addresses and directories.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::azure::Azure;
use super::{Layout, cache};

/// One lab, as `lab.json` in its directory describes it to later commands.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) layout: Layout,
    pub(crate) kubernetes: String,
    /// Where the Kubernetes programs are: a directory of the cache.
    pub(crate) programs: PathBuf,
    /// The name under which the operator reaches the API.
    pub(crate) fqdn: String,
    /// Of the API model; empty in kubeadm's layout.
    pub(crate) location: String,
    /// The first label of the public name; in kubeadm's layout the cluster's name.
    pub(crate) dns_prefix: String,
    /// The Linux user that the operator logs in as.
    pub(crate) admin: String,
    /// Where the operator finds the API (443; 6443 with kubeadm) and the SSH host (22 or 50001).
    pub(crate) public_ip: Ipv4Addr,
    pub(crate) internal_ip: Ipv4Addr,
    /// The nodes' own network: its first two bytes, see [`Spec::gateway`].
    pub(crate) network: [u8; 2],
    pub(crate) ssh_port: u16,
    pub(crate) nodes: Vec<Node>,
    /// Windows nodes, which are no machines; see [`super::windows`].
    #[serde(default)]
    pub(crate) windows: Vec<Node>,
    /// False until `up` has come to its end.
    pub(crate) ready: bool,
    /// Azure's side; labs of before have none.
    #[serde(default)]
    pub(crate) azure: Option<Azure>,
    /// Whether kubelets ask the cluster for their serving certificates, which API servers verify.
    #[serde(default)]
    pub(crate) signed_kubelets: bool,
    /// The lab on whose switch it is, if that is another's: the management cluster of a site is on its target's.
    #[serde(default)]
    pub(crate) guest_of: Option<String>,
    /// Names on its network beside the cluster's own, and their addresses.
    #[serde(default)]
    pub(crate) neighbours: Vec<(Ipv4Addr, String)>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Node {
    /// The short name for people: m0, a1, lb.
    pub(crate) short: String,
    /// Its host name, which is the VM's and the Kubernetes node's name.
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Its position among the nodes of its role, and of its pool for agents.
    pub(crate) index: usize,
    /// The position of its pool in the model; 0 for masters.
    pub(crate) pool: usize,
    pub(crate) ip: Ipv4Addr,
    /// Where the operator reaches it without an SSH host between.
    #[serde(default)]
    pub(crate) public_ip: Option<Ipv4Addr>,
    pub(crate) pod_cidr: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Master,
    Agent,
    Balancer,
    /// A machine of a site's infrastructure, with no part in a cluster.
    Host,
}

impl Node {
    /// The first of its pool, unreachable from outside, and without a range for pods.
    pub(crate) fn new(short: String, name: String, role: Role, index: usize, ip: Ipv4Addr) -> Self {
        Self { short, name, role, index, pool: 0, ip, public_ip: None, pod_cidr: String::new() }
    }

    /// Whether Kubernetes knows it.
    pub(crate) fn is_member(&self) -> bool {
        matches!(self.role, Role::Master | Role::Agent)
    }
}

impl Spec {
    /// Reads the description of a lab, which may be unfinished: then its nodes can still be entered, to see why.
    pub(crate) fn load(name: &str) -> Result<Self> {
        let path = dir_of(name)?.join("lab.json");
        let text = fs::read(&path)
            .with_context(|| format!("there is no lab {name:?}; build it with `cargo xtask lab up`"))?;
        serde_json::from_slice(&text).with_context(|| format!("cannot read {}", path.display()))
    }

    pub(crate) fn save(&self) -> Result<()> {
        fs::write(self.dir().join("lab.json"), serde_json::to_vec_pretty(self)?)?;
        Ok(())
    }

    pub(crate) fn dir(&self) -> PathBuf {
        cache::root().join("labs").join(&self.name)
    }

    /// The directory that AKS engine would have generated: `apimodel.json`, the PKI, `kubeconfig/`.
    pub(crate) fn output(&self) -> PathBuf {
        self.dir().join("output")
    }

    pub(crate) fn api_model(&self) -> PathBuf {
        self.output().join("apimodel.json")
    }

    /// The operator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        match self.layout {
            Layout::AksEngine => self.output().join(format!("kubeconfig/kubeconfig.{}.json", self.location)),
            Layout::Kubeadm => self.output().join("admin.conf"),
        }
    }

    /// The cluster file, which tells of a cluster that has no API model.
    pub(crate) fn cluster_file(&self) -> PathBuf {
        self.output().join("cluster.yaml")
    }

    /// The root directory of a node as the node itself sees it.
    pub(crate) fn root(&self, node: &Node) -> PathBuf {
        self.dir().join("nodes").join(&node.short).join("root")
    }

    /// What the host keeps about a node: process ids, switches for the loop.
    pub(crate) fn node_state(&self, node: &Node) -> PathBuf {
        self.dir().join("state").join(&node.short)
    }

    /// The network namespace of the bridge, where the operator sits too.
    pub(crate) fn switch(&self) -> String {
        format!("kcl.{}", self.guest_of.as_ref().unwrap_or(&self.name))
    }

    /// The network namespace of a node.
    pub(crate) fn netns(&self, node: &Node) -> String {
        format!("kcl.{}.{}", self.name, node.short)
    }

    pub(crate) fn cgroup(&self) -> String {
        format!("kubecert-lab/{}", self.name)
    }

    pub(crate) fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.network[0], self.network[1], 0, 1)
    }

    pub(crate) fn node_network(&self) -> String {
        format!("{}.{}.0.0/16", self.network[0], self.network[1])
    }

    pub(crate) fn masters(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.role == Role::Master)
    }

    /// The nodes that Kubernetes knows.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_member())
    }

    /// The machines of a site's infrastructure.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.role == Role::Host)
    }

    pub(crate) fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.iter().find(|node| node.short == name || node.name == name).with_context(|| {
            let known: Vec<_> = self.nodes.iter().map(|node| node.short.as_str()).collect();
            format!("there is no node {name:?}; there are {}", known.join(", "))
        })
    }
}

/// Where a lab of this name is kept, whether it stands or not.
pub(crate) fn dir_of(name: &str) -> Result<PathBuf> {
    // The name becomes part of network namespaces, cgroups and machine names, which are all short.
    let fits = !name.is_empty()
        && name.len() <= 20
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !fits {
        bail!("a lab's name is 1 to 20 of a-z, 0-9 and -, not {name:?}");
    }
    Ok(cache::root().join("labs").join(name))
}

/// The names of all labs that have a directory, standing or not.
pub(crate) fn all() -> Vec<String> {
    let entries = fs::read_dir(cache::root().join("labs")).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| dir_of(name).is_ok())
        .collect();
    names.sort();
    names
}

/// The labs that share the switch of the lab `name`.
pub(crate) fn guests_of(name: &str) -> Vec<String> {
    let is_guest =
        |other: &String| Spec::load(other).is_ok_and(|spec| spec.guest_of.as_deref() == Some(name));
    all().into_iter().filter(is_guest).collect()
}

/// Writes a file that only root may read.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    super::template::write(path, text, 0o600, (0, 0))
}

/// The repository's `lab/` directory: scripts, templates, manifests.
pub(crate) fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../lab")
}
