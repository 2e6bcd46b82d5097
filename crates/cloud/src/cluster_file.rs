//! The cluster file: a description of a cluster that no tool has left behind, in YAML.
//!
//! ```yaml
//! apiVersion: kubecert.dev/v1
//! kind: Cluster
//! metadata:
//!   name: shire
//! spec:
//!   layout: kubeadm
//!   endpoint: https://api.shire.example:6443
//!   ssh:
//!     user: ops
//!     privateKey: ~/.ssh/id_ed25519
//!     jump: {host: bastion.shire.example}
//!   controlPlanes:
//!   - {name: shire-0, address: 10.0.0.4}
//! ```

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The port on which kubeadm's API servers listen by default (`localAPIEndpoint.bindPort`).
const API_PORT: u16 = 6443;
/// The port of SSH.
const SSH_PORT: u16 = 22;
/// More is no cluster file.
const MOST_BYTES: u64 = 1 << 20;

/// A cluster, and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterFile {
    /// Its name, under which runs are recorded.
    pub name: String,
    /// The host name or address at which clients reach the API.
    pub endpoint: String,
    /// The port there.
    pub endpoint_port: u16,
    /// The port on which each API server listens.
    pub api_port: u16,
    /// How to log in to the nodes.
    pub ssh: Ssh,
    /// The control planes, at least one, in order.
    pub control_planes: Vec<ControlPlane>,
    /// The operator's own kubeconfig, which is brought up to date at the end of a run.
    pub kubeconfig: Option<PathBuf>,
    /// Where Cluster API keeps this cluster's PKI, if Cluster API has made it.
    pub cluster_api: Option<ClusterApi>,
}

/// Where Cluster API keeps a cluster's PKI; see [`crate::cluster_api`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterApi {
    /// A kubeconfig of the management cluster, with a client certificate.
    pub kubeconfig: PathBuf,
    /// The namespace of the object `Cluster` there.
    pub namespace: String,
    /// The name of that object.
    pub name: String,
}

/// How to log in to the nodes. What is not said is taken from the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ssh {
    /// The user, who may use sudo without a password, or is root.
    pub user: Option<String>,
    /// The file of that user's private key.
    pub private_key: Option<PathBuf>,
    /// The file of known host keys.
    pub known_hosts: Option<PathBuf>,
    /// The host and port through which the nodes are reached; without it, the first control plane.
    pub jump: Option<(String, u16)>,
    /// The port of the nodes' SSH servers.
    pub port: u16,
}

/// A control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPlane {
    /// Its node's name.
    pub name: String,
    /// The address at which other nodes reach it.
    pub address: IpAddr,
}

/// Why a cluster file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterFileError {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// It is not a cluster file.
    #[error("it is no cluster file: {0}")]
    Malformed(String),
    /// A field says something that cannot be.
    #[error("{field} {why}")]
    Field {
        /// Which one, by its path.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl ClusterFile {
    /// Reads a cluster file. Paths in it are relative to its own directory.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be read, has fields that are not known, or says something that cannot be.
    pub fn read(path: &Path) -> Result<Self, ClusterFileError> {
        let unreadable = |error: std::io::Error| ClusterFileError::Unreadable(error.to_string());
        let found = std::fs::metadata(path).map_err(unreadable)?;
        if !found.is_file() || found.len() > MOST_BYTES {
            return Err(ClusterFileError::Unreadable("it is no file of at most 1 MiB".to_owned()));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Self::parse(&text, path.parent().unwrap_or(Path::new(".")))
    }

    /// As [`ClusterFile::read`], from text whose paths are relative to `directory`.
    ///
    /// # Errors
    ///
    /// As [`ClusterFile::read`].
    pub fn parse(text: &str, directory: &Path) -> Result<Self, ClusterFileError> {
        let written: Written =
            serde_saphyr::from_str(text).map_err(|error| ClusterFileError::Malformed(error.to_string()))?;
        written.understood(directory)
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    layout: String,
    endpoint: String,
    api_port: Option<u16>,
    #[serde(default)]
    ssh: WrittenSsh,
    control_planes: Vec<WrittenPlane>,
    kubeconfig: Option<PathBuf>,
    // Kubernetes writes abbreviations in capitals (its API conventions, "Naming conventions").
    #[serde(rename = "clusterAPI")]
    cluster_api: Option<WrittenClusterApi>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenClusterApi {
    kubeconfig: PathBuf,
    namespace: Option<String>,
    name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenSsh {
    user: Option<String>,
    private_key: Option<PathBuf>,
    known_hosts: Option<PathBuf>,
    jump: Option<Jump>,
    port: Option<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Jump {
    host: String,
    port: Option<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPlane {
    name: String,
    address: String,
}

impl Written {
    fn understood(self, directory: &Path) -> Result<ClusterFile, ClusterFileError> {
        let Written { api_version, kind, metadata, spec } = self;
        if api_version != "kubecert.dev/v1" || kind != "Cluster" {
            let why = format!("says {kind} of {api_version}, not Cluster of kubecert.dev/v1");
            return Err(ClusterFileError::Malformed(why));
        }
        if spec.layout != "kubeadm" {
            return Err(wrong("spec.layout", format!("is {:?}; kubeadm is what is known", spec.layout)));
        }
        name("metadata.name", &metadata.name)?;
        let (endpoint, endpoint_port) = endpoint(&spec.endpoint)?;
        let control_planes: Vec<ControlPlane> =
            spec.control_planes.into_iter().map(WrittenPlane::understood).collect::<Result<_, _>>()?;
        if control_planes.is_empty() {
            return Err(wrong("spec.controlPlanes", "names none"));
        }
        let names: BTreeSet<&str> = control_planes.iter().map(|plane| plane.name.as_str()).collect();
        let addresses: BTreeSet<IpAddr> = control_planes.iter().map(|plane| plane.address).collect();
        if names.len() < control_planes.len() || addresses.len() < control_planes.len() {
            return Err(wrong("spec.controlPlanes", "names one twice, or two at one address"));
        }
        let at = |path: PathBuf| directory.join(path);
        let jump = spec.ssh.jump.map(|jump| (jump.host, jump.port.unwrap_or(SSH_PORT)));
        if jump.as_ref().is_some_and(|(host, port)| !is_host(host) || *port == 0) {
            return Err(wrong("spec.ssh.jump", "names no host and port"));
        }
        let of_cluster = |written: WrittenClusterApi| written.understood(directory, &metadata.name);
        let cluster_api = spec.cluster_api.map(of_cluster).transpose()?;
        Ok(ClusterFile {
            name: metadata.name,
            endpoint,
            endpoint_port,
            api_port: spec.api_port.unwrap_or(API_PORT),
            ssh: Ssh {
                user: spec.ssh.user,
                private_key: spec.ssh.private_key.map(at),
                known_hosts: spec.ssh.known_hosts.map(at),
                jump,
                port: spec.ssh.port.unwrap_or(SSH_PORT),
            },
            control_planes,
            kubeconfig: spec.kubeconfig.map(at),
            cluster_api,
        })
    }
}

impl WrittenClusterApi {
    /// `cluster` is the name where none is given.
    fn understood(self, directory: &Path, cluster: &str) -> Result<ClusterApi, ClusterFileError> {
        let namespace = self.namespace.unwrap_or_else(|| "default".to_owned());
        name("spec.clusterAPI.namespace", &namespace)?;
        let own = self.name.unwrap_or_else(|| cluster.to_owned());
        name("spec.clusterAPI.name", &own)?;
        Ok(ClusterApi { kubeconfig: directory.join(self.kubeconfig), namespace, name: own })
    }
}

impl WrittenPlane {
    fn understood(self) -> Result<ControlPlane, ClusterFileError> {
        name("spec.controlPlanes", &self.name)?;
        let address = self.address.parse().map_err(|_| {
            wrong(
                "spec.controlPlanes",
                format!("gives {} the address {:?}, which is none", self.name, self.address),
            )
        })?;
        Ok(ControlPlane { name: self.name, address })
    }
}

/// A name becomes part of paths and of Kubernetes objects (RFC 1123, section 2.1).
fn name(field: &'static str, name: &str) -> Result<(), ClusterFileError> {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let fits = name.len() <= 253 && name.chars().all(inside);
    if fits && edge(name.chars().next()) && edge(name.chars().next_back()) {
        return Ok(());
    }
    Err(wrong(field, format!("says {name:?}, where a name of a-z, 0-9, - and . is wanted")))
}

fn endpoint(text: &str) -> Result<(String, u16), ClusterFileError> {
    let field = "spec.endpoint";
    let no = || wrong(field, format!("is {text:?}, where https://HOST or https://HOST:PORT is wanted"));
    let rest = text.strip_prefix("https://").ok_or_else(no)?.trim_end_matches('/');
    let (host, port) = match rest.strip_prefix('[') {
        Some(inner) => {
            let (host, rest) = inner.split_once(']').ok_or_else(no)?;
            (host, rest.strip_prefix(':').unwrap_or(if rest.is_empty() { "443" } else { rest }))
        }
        None => rest.split_once(':').unwrap_or((rest, "443")),
    };
    let port = port.parse().ok().filter(|port: &u16| *port > 0).ok_or_else(no)?;
    if !is_host(host) {
        return Err(no());
    }
    Ok((host.to_owned(), port))
}

fn is_host(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    text.parse::<IpAddr>().is_ok() || (begins && text.len() <= 253 && text.chars().all(fits))
}

fn wrong(field: &'static str, why: impl Into<String>) -> ClusterFileError {
    ClusterFileError::Field { field, why: why.into() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "apiVersion: kubecert.dev/v1\nkind: Cluster\nmetadata:\n  name: shire\nspec:\n  layout: kubeadm\n  endpoint: https://api.shire.example:6443\n  ssh:\n    user: ops\n    privateKey: keys/id\n    jump: {host: bastion.shire.example}\n  controlPlanes:\n  - {name: shire-0, address: 10.0.0.4}\n  - {name: shire-1, address: 'fd00::5'}\n";

    #[test]
    fn what_it_says_is_what_is_understood() {
        let file = ClusterFile::parse(GOOD, Path::new("/etc/shire")).unwrap();
        assert_eq!((file.name.as_str(), file.endpoint.as_str()), ("shire", "api.shire.example"));
        assert_eq!((file.endpoint_port, file.api_port, file.ssh.port), (6443, 6443, 22));
        assert_eq!(file.ssh.private_key, Some(PathBuf::from("/etc/shire/keys/id")));
        assert_eq!(file.ssh.jump, Some(("bastion.shire.example".to_owned(), 22)));
        assert_eq!(file.control_planes[1].address, "fd00::5".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn cluster_api_has_defaults() {
        let read = |written: &str| {
            let text = GOOD.replace("  ssh:\n", &format!("  clusterAPI: {written}\n  ssh:\n"));
            ClusterFile::parse(&text, Path::new("/etc/shire"))
        };
        let found = read("{kubeconfig: management.conf}").unwrap().cluster_api.unwrap();
        assert_eq!(found.kubeconfig, PathBuf::from("/etc/shire/management.conf"));
        assert_eq!((found.namespace.as_str(), found.name.as_str()), ("default", "shire"));
        let found = read("{kubeconfig: /m, namespace: fleet, name: holidays}").unwrap().cluster_api.unwrap();
        assert_eq!((found.namespace.as_str(), found.name.as_str()), ("fleet", "holidays"));
        assert_eq!(ClusterFile::parse(GOOD, Path::new(".")).unwrap().cluster_api, None);
        let bad = [
            ("{}", "kubeconfig"),
            ("{kubeconfig: m, namespace: a/b}", "spec.clusterAPI.namespace"),
            ("{kubeconfig: m, name: ../b}", "spec.clusterAPI.name"),
            ("{kubeconfig: m, context: c}", "context"),
        ];
        for (written, word) in bad {
            let error = read(written).unwrap_err();
            assert!(error.to_string().contains(word), "{written}: {error}");
        }
    }

    #[test]
    fn what_cannot_be_is_named() {
        let bad = [
            ("name: shire\n", "name: ../shire\n", "metadata.name"),
            ("layout: kubeadm", "layout: k3s", "spec.layout"),
            ("https://api", "http://api", "spec.endpoint"),
            (":6443", ":0", "spec.endpoint"),
            ("10.0.0.4", "shire-0", "spec.controlPlanes"),
            ("shire-1", "shire-0", "spec.controlPlanes"),
            ("host: bastion", "host: '-o ProxyCommand=x bastion", "no cluster file"),
            ("host: bastion", "host: -bastion", "spec.ssh.jump"),
            ("  layout:", "  lay-out:", "lay-out"),
            ("v1\n", "v2\n", "kubecert.dev/v2"),
        ];
        for (from, to, word) in bad {
            let error = ClusterFile::parse(&GOOD.replacen(from, to, 1), Path::new(".")).unwrap_err();
            assert!(error.to_string().contains(word), "{to}: {error}");
        }
    }

    #[test]
    fn an_endpoint_may_be_an_address() {
        let of = |text| endpoint(text).ok();
        assert_eq!(of("https://10.0.0.1"), Some(("10.0.0.1".to_owned(), 443)));
        assert_eq!(of("https://[fd00::1]:6443/"), Some(("fd00::1".to_owned(), 6443)));
        assert_eq!(of("https://[fd00::1]"), Some(("fd00::1".to_owned(), 443)));
        for bad in
            ["https://", "https://:443", "https://a b", "https://[::1", "https://a:b:1", "https://[::1]x"]
        {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in ".{0,200}", at in 0..400_usize) {
            let mut mixed = GOOD.to_owned();
            let at = (0..=at.min(mixed.len())).rev().find(|at| mixed.is_char_boundary(*at)).unwrap_or(0);
            mixed.insert_str(at, &text);
            let _ = ClusterFile::parse(&text, Path::new("."));
            let _ = ClusterFile::parse(&mixed, Path::new("."));
        }
    }
}
