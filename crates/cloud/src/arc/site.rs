//! The site file: which credentials a site has, where each can be read, and how those are reached who hold them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use kubecert_core::assess::Class;
use kubecert_engine::ports::Holder;
use serde::Deserialize;

use super::content;

/// A site: an infrastructure, and the clusters on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// How it is called.
    pub name: String,
    /// What is to be read of it.
    pub sources: Vec<Source>,
    /// The directory of its authority, where that is on this machine.
    pub authority: Option<PathBuf>,
    /// The kubeconfig of its management cluster.
    pub management: Option<PathBuf>,
    /// How its clusters are reached, by name.
    pub clusters: BTreeMap<String, ClusterAccess>,
    /// How its machines are reached.
    pub ssh: Option<SshAccess>,
}

impl Site {
    /// The clusters that it names anywhere.
    pub fn cluster_names(&self) -> BTreeSet<&str> {
        let of_sources = self.sources.iter().filter_map(|source| source.cluster.as_deref());
        of_sources.chain(self.clusters.keys().map(String::as_str)).collect()
    }
}

/// How a cluster is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterAccess {
    /// Its administrator's kubeconfig.
    pub kubeconfig: Option<PathBuf>,
    /// Its cluster file, which says how its machines are reached.
    pub cluster_file: Option<PathBuf>,
    /// Its load balancers.
    pub load_balancers: Vec<LoadBalancer>,
}

/// How machines are reached over SSH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshAccess {
    /// The user, who may use sudo without a password, or is root.
    pub user: String,
    /// The user's private key.
    pub key: Option<PathBuf>,
    /// Host keys; those that are met for the first time are added to it. Without another name, `known_hosts` beside the site file.
    pub known_hosts: PathBuf,
    /// Through which host all others are reached; without one, each is reached by itself.
    pub through: Option<SocketName>,
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketName {
    /// The host's name or address.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for SocketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A load balancer's machine, and what its agent presents. Where the vendor's keeps it is not public; ours says it here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalancer {
    /// How it is called.
    pub name: String,
    /// Its sshd.
    pub ssh: SocketName,
    /// The PEM file of the certificate there: with its key in it, as haproxy reads it, unless `key` names another file.
    pub certificate: String,
    /// The PEM file of the key there.
    pub key: Option<String>,
    /// The systemd unit that presents it.
    pub unit: String,
    /// Where it presents it.
    pub server: SocketName,
}

/// One place with credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What they are for.
    pub class: Class,
    /// Of which cluster they are, if of one.
    pub cluster: Option<String>,
    /// Who holds them.
    pub holder: String,
    /// Whether a restart of the holder loses them.
    pub ephemeral: bool,
    /// The name at the authority of the identity whose they are; without one, the file itself says it.
    pub identity: Option<String>,
    /// Where they are.
    pub place: Place,
}

/// Where credentials are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A login file with a token.
    Login(PathBuf),
    /// An access file with a client certificate.
    Access(PathBuf),
    /// A kubeconfig.
    Kubeconfig(PathBuf),
    /// A PEM file, or a directory of them.
    Certificates(PathBuf),
    /// A TLS server, as `host:port`; it is asked for what it presents, without any credential.
    Server(String),
    /// A login file in a Secret.
    Secret(SecretPlace),
    /// A login file on another machine, which is reached over SSH.
    Remote(RemotePlace),
    /// A PEM file, a kubeconfig or a directory of them on another machine. They are looked at there; no key leaves it.
    RemoteCertificates(RemoteCertificates),
}

/// Certificates on another machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteCertificates {
    /// The machine's sshd.
    pub machine: SocketName,
    /// The path of the file or directory there.
    pub path: String,
}

impl fmt::Display for RemoteCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.path, self.machine)
    }
}

/// A file on another machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemotePlace {
    /// The machine's sshd.
    pub machine: SocketName,
    /// The file's path there.
    pub path: String,
    /// What reads it at its start there, and is restarted when the file is another one.
    pub restart: Option<Holder>,
}

impl fmt::Display for RemotePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.path, self.machine)
    }
}

/// An entry of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretPlace {
    /// In which cluster; `None` for the management cluster.
    pub cluster: Option<String>,
    /// The Secret's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The key in it.
    pub key: String,
}

impl fmt::Display for SecretPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, namespace, name, key } = self;
        match cluster {
            None => write!(f, "secret {namespace}/{name} (key {key}) of the management cluster"),
            Some(cluster) => write!(f, "secret {namespace}/{name} (key {key}) of cluster {cluster}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Login(path)
            | Place::Access(path)
            | Place::Kubeconfig(path)
            | Place::Certificates(path) => path.display().fmt(f),
            Place::Server(address) => f.write_str(address),
            Place::Secret(secret) => secret.fmt(f),
            Place::Remote(remote) => remote.fmt(f),
            Place::RemoteCertificates(remote) => remote.fmt(f),
        }
    }
}

/// Why a site file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SiteError {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// It is not a site file.
    #[error("it is no site file: {0}")]
    Malformed(String),
    /// An entry is not one.
    #[error("entry {number} (class {class}) {why}")]
    Entry {
        /// Which one, from 1.
        number: usize,
        /// Its class.
        class: Class,
        /// What is wrong with it.
        why: &'static str,
    },
    /// What says how something is reached is wrong.
    #[error("{0}")]
    Reach(String),
}

impl Site {
    /// Reads a site file. Paths in it are relative to its own directory.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be read, has fields that are not known, or an entry does not name exactly one place.
    pub fn read(path: &Path) -> Result<Self, SiteError> {
        let text = content(path).map_err(SiteError::Unreadable)?;
        Self::parse(&text, path.parent().unwrap_or(Path::new(".")))
    }

    /// As [`Site::read`], from text whose paths are relative to `directory`.
    ///
    /// # Errors
    ///
    /// As [`Site::read`].
    pub fn parse(text: &str, directory: &Path) -> Result<Self, SiteError> {
        let written: Written =
            serde_saphyr::from_str(text).map_err(|error| SiteError::Malformed(error.to_string()))?;
        let sources = written.credentials.into_iter().enumerate();
        let sources = sources.map(|(index, entry)| entry.understood(index + 1, directory));
        let sources = sources.collect::<Result<Vec<_>, _>>()?;
        let mut clusters = BTreeMap::new();
        for cluster in written.clusters {
            let name = cluster.name.clone();
            if clusters.insert(name.clone(), cluster.understood(directory)?).is_some() {
                return Err(SiteError::Reach(format!("cluster {name} is described twice")));
            }
        }
        Ok(Self {
            name: written.name,
            sources,
            authority: written.authority.map(|path| directory.join(path)),
            management: written.management.map(|path| directory.join(path)),
            clusters,
            ssh: written.ssh.map(|ssh| ssh.understood(directory)).transpose()?,
        })
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    credentials: Vec<Entry>,
    authority: Option<PathBuf>,
    management: Option<PathBuf>,
    #[serde(default)]
    clusters: Vec<WrittenCluster>,
    ssh: Option<WrittenSsh>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenCluster {
    name: String,
    kubeconfig: Option<PathBuf>,
    cluster_file: Option<PathBuf>,
    #[serde(default)]
    load_balancers: Vec<WrittenLoadBalancer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenSsh {
    user: String,
    key: Option<PathBuf>,
    known_hosts: Option<PathBuf>,
    through: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenLoadBalancer {
    name: String,
    ssh: String,
    certificate: String,
    key: Option<String>,
    unit: Option<String>,
    server: String,
}

/// The port of SSH, where none is named.
const SSH_PORT: u16 = 22;

/// What presents a load balancer's certificate, where nothing else is named.
const LOAD_BALANCER_UNIT: &str = "haproxy";

impl WrittenCluster {
    fn understood(self, directory: &Path) -> Result<ClusterAccess, SiteError> {
        let load_balancers = self.load_balancers.into_iter().map(WrittenLoadBalancer::understood);
        Ok(ClusterAccess {
            kubeconfig: self.kubeconfig.map(|path| directory.join(path)),
            cluster_file: self.cluster_file.map(|path| directory.join(path)),
            load_balancers: load_balancers.collect::<Result<_, _>>()?,
        })
    }
}

impl WrittenSsh {
    fn understood(self, directory: &Path) -> Result<SshAccess, SiteError> {
        let wrong = |what: &str| SiteError::Reach(format!("ssh: through: {what} is not HOST or HOST:PORT"));
        let through = self.through.map(|text| socket(&text, Some(SSH_PORT)).ok_or_else(|| wrong(&text)));
        Ok(SshAccess {
            user: self.user,
            key: self.key.map(|path| directory.join(path)),
            known_hosts: directory.join(self.known_hosts.unwrap_or_else(|| "known_hosts".into())),
            through: through.transpose()?,
        })
    }
}

impl WrittenLoadBalancer {
    fn understood(self) -> Result<LoadBalancer, SiteError> {
        let wrong = |why: String| SiteError::Reach(format!("load balancer {}: {why}", self.name));
        let ssh = socket(&self.ssh, Some(SSH_PORT));
        let ssh = ssh.ok_or_else(|| wrong(format!("ssh: {} is not HOST or HOST:PORT", self.ssh)))?;
        let server = socket(&self.server, None);
        let server = server.ok_or_else(|| wrong(format!("server: {} is not HOST:PORT", self.server)))?;
        for path in std::iter::once(&self.certificate).chain(&self.key) {
            if !path.starts_with('/') {
                return Err(wrong(format!("{path} is a path on its machine, so it must be an absolute one")));
            }
        }
        Ok(LoadBalancer {
            ssh,
            server,
            name: self.name,
            certificate: self.certificate,
            key: self.key,
            unit: self.unit.unwrap_or_else(|| LOAD_BALANCER_UNIT.to_owned()),
        })
    }
}

/// A host and a port, or the host alone where there is a usual port.
fn socket(text: &str, usual: Option<u16>) -> Option<SocketName> {
    let (host, port) = match (text.rsplit_once(':'), usual) {
        (Some((host, port)), _) => (host, port.parse().ok().filter(|port| *port != 0)?),
        (None, Some(port)) => (text, port),
        (None, None) => return None,
    };
    let plain = !host.is_empty() && host.chars().all(|letter| letter.is_ascii_graphic());
    plain.then(|| SocketName { host: host.to_owned(), port })
}

/// A Secret as an entry names it.
fn secret(text: &str, cluster: Option<String>, key: Option<String>) -> Option<SecretPlace> {
    // Names of objects, as the API allows them (RFC 1123).
    let plain = |name: &str| {
        let fits =
            |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.".contains(letter);
        !name.is_empty() && !name.starts_with('.') && name.chars().all(fits)
    };
    let (namespace, name) =
        text.split_once('/').filter(|(namespace, name)| plain(namespace) && plain(name))?;
    let key = key.unwrap_or_else(|| "value".to_owned());
    Some(SecretPlace { cluster, namespace: namespace.to_owned(), name: name.to_owned(), key })
}

/// Where a Secret is, as an entry says it.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Within {
    Management,
    Cluster,
}

/// Who is restarted, as an entry says it: one of the two.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenHolder {
    unit: Option<String>,
    static_pod: Option<String>,
}

impl WrittenHolder {
    fn understood(self) -> Option<Holder> {
        // Names of units (systemd.unit(5)) and of objects of the API; none of them begins with a dash.
        let plain = |name: &String| {
            let fits = |letter: char| letter.is_ascii_alphanumeric() || "._-:@\\".contains(letter);
            !name.is_empty() && !name.starts_with('-') && name.chars().all(fits)
        };
        match (self.unit.filter(plain), self.static_pod.filter(plain)) {
            (Some(name), None) => Some(Holder::Unit(name)),
            (None, Some(name)) => Some(Holder::StaticPod(name)),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    class: Class,
    cluster: Option<String>,
    holder: Option<String>,
    #[serde(default)]
    ephemeral: bool,
    login: Option<PathBuf>,
    access: Option<PathBuf>,
    kubeconfig: Option<PathBuf>,
    certificates: Option<PathBuf>,
    server: Option<String>,
    secret: Option<String>,
    /// On which machine the file is, if not on this one.
    on: Option<String>,
    /// Who reads that file at its start.
    restart: Option<WrittenHolder>,
    /// Where the Secret is.
    #[serde(rename = "in")]
    within: Option<Within>,
    /// Which entry of the Secret.
    key: Option<String>,
    identity: Option<String>,
}

impl Entry {
    fn understood(self, number: usize, directory: &Path) -> Result<Source, SiteError> {
        let class = self.class;
        let wrong = |why| SiteError::Entry { number, class, why };
        let file = |path: Option<PathBuf>| path.map(|path| directory.join(path));
        if self.secret.is_none() && (self.within.is_some() || self.key.is_some()) {
            return Err(wrong("says `in` or `key`, which are for a secret"));
        }
        let cluster = self.cluster.clone();
        let within = match self.within {
            None | Some(Within::Management) => None,
            Some(Within::Cluster) if cluster.is_none() => {
                return Err(wrong("must say of which cluster it is"));
            }
            Some(Within::Cluster) => cluster,
        };
        let key = self.key;
        let reaches_otherwise = self.access.is_some() || self.server.is_some() || self.secret.is_some();
        let of_secret = self.secret.map(|text| {
            secret(&text, within, key)
                .map(Place::Secret)
                .ok_or_else(|| wrong("names a secret that is not NAMESPACE/NAME"))
        });
        if self.restart.is_some() && (self.on.is_none() || self.login.is_none()) {
            return Err(wrong("says `restart`, which is for a login file on another machine (`on`)"));
        }
        let restart = self.restart.map(|holder| {
            let known = "must say who is restarted: {unit: NAME} or {static-pod: NAME}";
            holder.understood().ok_or_else(|| wrong(known))
        });
        let restart = restart.transpose()?;
        let machine = self.on.map(|machine| {
            socket(&machine, Some(SSH_PORT))
                .ok_or_else(|| wrong("is on a machine that is not HOST or HOST:PORT"))
        });
        let machine = machine.transpose()?;
        if machine.is_some() && reaches_otherwise {
            return Err(wrong("says `on`, which is for login, certificates and kubeconfig"));
        }
        let there = |path: PathBuf| {
            let path = path.to_str().filter(|path| path.starts_with('/')).map(str::to_owned);
            path.ok_or_else(|| wrong("names a file on another machine without its absolute path"))
        };
        let certificates = |path: Option<PathBuf>, here: fn(PathBuf) -> Place| match (path, &machine) {
            (Some(path), Some(machine)) => {
                let (machine, path) = (machine.clone(), there(path)?);
                Ok(Some(Place::RemoteCertificates(RemoteCertificates { machine, path })))
            }
            (path, _) => Ok(file(path).map(here)),
        };
        let login = match (self.login, &machine) {
            (Some(path), Some(machine)) => {
                let (machine, path) = (machine.clone(), there(path)?);
                Some(Place::Remote(RemotePlace { machine, path, restart }))
            }
            (path, _) => file(path).map(Place::Login),
        };
        let mut places = [
            login,
            file(self.access).map(Place::Access),
            certificates(self.kubeconfig, Place::Kubeconfig)?,
            certificates(self.certificates, Place::Certificates)?,
            self.server.map(Place::Server),
            of_secret.transpose()?,
        ]
        .into_iter()
        .flatten();
        let (Some(place), None) = (places.next(), places.next()) else {
            return Err(wrong(
                "must name one of login, access, kubeconfig, certificates, server and secret, and one only",
            ));
        };
        if matches!(&place, Place::Server(address) if address.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err()))
        {
            return Err(wrong("names a server that is not HOST:PORT"));
        }
        if class.layer() != kubecert_core::assess::Layer::Infrastructure && self.cluster.is_none() {
            return Err(wrong("must say of which cluster it is"));
        }
        let holder = self.holder.unwrap_or_else(|| class.to_string());
        let (cluster, identity) = (self.cluster, self.identity.filter(|name| !name.is_empty()));
        Ok(Source { class, cluster, holder, ephemeral: self.ephemeral, identity, place })
    }
}
