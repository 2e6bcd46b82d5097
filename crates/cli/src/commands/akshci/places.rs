//! Where login files are: in files, in Secrets of the site's clusters, and on other machines.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use kubecert_cloud::arc::{
    self, ClusterLogin, Place, RemoteCertificates, RemotePlace, SecretPlace, Seen, Site, SocketName, Source,
};
use kubecert_cluster::KubeClient;
use kubecert_core::inventory::{FileFacts, ObjectRef};
use kubecert_core::model::NodeName;
use kubecert_engine::ports::{KubeApi as _, NodeQuestion, Nodes, PortError, Restarted};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::{report, ssh};
use crate::commands::management::connect;
use crate::commands::target::port_error;
use crate::errors::{CliError, Kind};

/// The largest login file or access file; those of a site have some thousand bytes.
const LARGEST: u64 = 4 << 20;

/// Places that are not files of this machine.
pub(super) trait Elsewhere {
    /// What is there; `None` where there is nothing.
    async fn read(&self, place: &Place) -> Result<Option<Zeroizing<Vec<u8>>>, CliError>;

    /// The files of another machine with the certificates in them; no key leaves it.
    async fn look(&self, place: &RemoteCertificates) -> Result<Vec<FileFacts>, CliError>;

    /// Whether it could be replaced, as far as that can be told. Changes nothing.
    async fn may_replace(&self, place: &Place, old: &[u8]) -> Result<(), CliError>;

    /// Replaces it, unless something else than `old` is there by now.
    async fn replace(&self, place: &Place, old: &[u8], new: &[u8]) -> Result<(), CliError>;

    /// Restarts who reads a file at its start, if that was before the file came; `None` where the site file names nobody.
    async fn restart(&self, place: &RemotePlace) -> Result<Option<Restarted>, CliError>;

    /// Whether a cluster's API server answers; where the site file names no kubeconfig of it, nothing is known to the contrary.
    async fn answers(&self, cluster: &str) -> Result<(), CliError>;
}

/// The real ones, over the API and over SSH; each is connected to when it is first asked for.
pub(super) struct OverThere<'a> {
    site: &'a Site,
    ssh_key: Option<&'a Path>,
    clusters: Mutex<BTreeMap<Option<String>, Arc<KubeClient>>>,
    machines: Mutex<BTreeMap<String, Arc<dyn Nodes>>>,
}

impl<'a> OverThere<'a> {
    pub(super) fn of(site: &'a Site, ssh_key: Option<&'a Path>) -> Self {
        Self { site, ssh_key, clusters: Mutex::default(), machines: Mutex::default() }
    }

    async fn machine(&self, machine: &SocketName) -> Result<Arc<dyn Nodes>, CliError> {
        let name = machine.to_string();
        let mut machines = self.machines.lock().await;
        if let Some(nodes) = machines.get(&name) {
            return Ok(Arc::clone(nodes));
        }
        let nodes = ssh::connect(&machine.host, machine, self.site, self.ssh_key).await?;
        machines.insert(name, Arc::clone(&nodes));
        Ok(nodes)
    }

    /// The API of a cluster, by the kubeconfig that the site file names; it is not asked anything yet.
    pub(super) async fn client(&self, cluster: Option<&str>) -> Result<Arc<KubeClient>, CliError> {
        let mut open = self.clusters.lock().await;
        if let Some(client) = open.get(&cluster.map(str::to_owned)) {
            return Ok(Arc::clone(client));
        }
        let (path, line) = match cluster {
            None => (self.site.management.as_ref(), "management: FILE".to_owned()),
            Some(name) => (
                self.site.clusters.get(name).and_then(|access| access.kubeconfig.as_ref()),
                format!("clusters: [{{name: {name}, kubeconfig: FILE}}]"),
            ),
        };
        let path = path.ok_or_else(|| {
            CliError::new(Kind::Input, format!("the site file names no kubeconfig of {}", whose(cluster)))
                .hint(format!("Add it: `{line}`."))
        })?;
        let login = ClusterLogin::read(path).map_err(|error| {
            CliError::new(Kind::Input, error)
                .hint("Name the kubeconfig of an administrator with a client certificate; tokens and plugins are not read.")
        })?;
        let client = connect(&login).await.map_err(|error| cluster_error(cluster, error))?;
        let client = Arc::new(client);
        open.insert(cluster.map(str::to_owned), Arc::clone(&client));
        Ok(client)
    }
}

impl Elsewhere for OverThere<'_> {
    async fn read(&self, place: &Place) -> Result<Option<Zeroizing<Vec<u8>>>, CliError> {
        match place {
            Place::Secret(place) => {
                let cluster = place.cluster.as_deref();
                let read = self.client(cluster).await?;
                let read = read.secret_value(&object(place), &place.key).await;
                read.map_err(|error| cluster_error(cluster, error))
            }
            Place::Remote(place) => {
                let nodes = self.machine(&place.machine).await?;
                nodes.read(&node(&place.machine), &place.path).await.map_err(port_error)
            }
            _ => Ok(None),
        }
    }

    async fn look(&self, place: &RemoteCertificates) -> Result<Vec<FileFacts>, CliError> {
        let nodes = self.machine(&place.machine).await?;
        // Below `/etc/kubernetes/pki`, etcd's is the only directory that Kubernetes has.
        let paths = vec![place.path.clone(), format!("{}/etcd", place.path)];
        let question = NodeQuestion { paths, ..NodeQuestion::default() };
        let facts = nodes.look(&node(&place.machine), &question).await.map_err(port_error)?;
        Ok(facts.files)
    }

    async fn may_replace(&self, place: &Place, old: &[u8]) -> Result<(), CliError> {
        match place {
            Place::Secret(place) => {
                let cluster = place.cluster.as_deref();
                let client = self.client(cluster).await?;
                let tried = client.may_replace_secret_value(&object(place), &place.key, old).await;
                tried.map_err(|error| cluster_error(cluster, error))
            }
            Place::Remote(remote) => self.unchanged(place, remote, old).await,
            _ => Ok(()),
        }
    }

    async fn replace(&self, place: &Place, old: &[u8], new: &[u8]) -> Result<(), CliError> {
        match place {
            Place::Secret(place) => {
                let cluster = place.cluster.as_deref();
                let client = self.client(cluster).await?;
                let done = client.replace_secret_value(&object(place), &place.key, old, new).await;
                done.map_err(|error| cluster_error(cluster, error))
            }
            Place::Remote(remote) => {
                self.unchanged(place, remote, old).await?;
                let nodes = self.machine(&remote.machine).await?;
                let bytes = Zeroizing::new(new.to_vec());
                // Whoever reads it may read it still; one that was not there is root's alone.
                let files = vec![ssh::file(&remote.path, bytes, old.is_empty())];
                nodes.write(&node(&remote.machine), &ssh::run(), files).await.map(drop).map_err(port_error)
            }
            _ => Ok(()),
        }
    }

    async fn restart(&self, place: &RemotePlace) -> Result<Option<Restarted>, CliError> {
        let Some(holder) = &place.restart else { return Ok(None) };
        let nodes = self.machine(&place.machine).await?;
        nodes.restart_holder(&node(&place.machine), holder, &place.path).await.map(Some).map_err(port_error)
    }

    async fn answers(&self, cluster: &str) -> Result<(), CliError> {
        if self.site.clusters.get(cluster).is_none_or(|access| access.kubeconfig.is_none()) {
            return Ok(());
        }
        let asked = self.client(Some(cluster)).await?.extension_authentication().await;
        asked.map(drop).map_err(|error| cluster_error(Some(cluster), error))
    }
}

impl OverThere<'_> {
    /// Refuses a file that is not what it was when it was read.
    async fn unchanged(&self, place: &Place, remote: &RemotePlace, old: &[u8]) -> Result<(), CliError> {
        let present = self.read(place).await?.unwrap_or_default();
        match present.as_slice() == old {
            true => Ok(()),
            false => Err(CliError::new(Kind::Node, format!("somebody else has changed {remote} meanwhile"))
                .hint("See who else writes to it, then run the same command again.")),
        }
    }
}

fn node(machine: &SocketName) -> NodeName {
    NodeName::from(machine.host.as_str())
}

fn object(place: &SecretPlace) -> ObjectRef {
    ObjectRef { namespace: place.namespace.clone(), name: place.name.clone() }
}

fn whose(cluster: Option<&str>) -> String {
    cluster.map_or_else(|| "the management cluster".to_owned(), |name| format!("cluster {name}"))
}

/// An error of a cluster's API, which says what to do where the cluster is down.
fn cluster_error(cluster: Option<&str>, error: PortError) -> CliError {
    let down = error.is_transient();
    let what = match down {
        true => format!("{} does not answer", whose(cluster)),
        false => format!("{} declines", whose(cluster)),
    };
    let remedy = error.remedy.clone();
    let told = CliError::because(Kind::Cluster, what, error);
    let told = remedy.into_iter().fold(told, CliError::hint);
    match (down, cluster) {
        (false, _) => told,
        (true, None) => told.hint(
            "Start the management cluster, or see why its API does not answer, and run the same command again.",
        ),
        (true, Some(name)) => told.hint(format!(
            "Should its certificates have ended, renew them first: `kubecert Update-AksHciClusterCertificates -Name {name} -FixKubeletCredentials`."
        )),
    }
}

/// What a place that is elsewhere holds, for those who only look; `None` for those that are not elsewhere.
pub(super) async fn look_at(source: &Source, elsewhere: &impl Elsewhere) -> Option<Seen> {
    match &source.place {
        Place::Secret(_) | Place::Remote(_) => Some(seen(source, elsewhere.read(&source.place).await)),
        Place::RemoteCertificates(place) => {
            let files = elsewhere.look(place).await;
            Some(match &files {
                Ok(files) => arc::looked_at(source, Ok(files)),
                Err(error) => arc::looked_at(source, Err(report::chain(error))),
            })
        }
        _ => None,
    }
}

/// What is elsewhere means this to those who only look.
pub(super) fn seen(source: &Source, read: Result<Option<Zeroizing<Vec<u8>>>, CliError>) -> Seen {
    let text = match read {
        Ok(Some(bytes)) => match String::from_utf8(bytes.to_vec()) {
            Ok(text) => Ok(Zeroizing::new(text)),
            Err(_) => Err("it is no text".to_owned()),
        },
        Ok(None) => Err("there is none".to_owned()),
        Err(error) => Err(report::chain(&error)),
    };
    arc::fetched(source, text)
}

/// A file's content; `None` where there is no such file.
pub(super) fn read_file(path: &Path) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    use std::io::Read as _;
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > LARGEST {
        true => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is far too large for that")),
        false => Ok(Some(bytes)),
    }
}

/// Whether a file could be put there. A file with a name of its own is made and removed.
pub(super) fn may_write_file(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
    }
    tempfile::NamedTempFile::new_in(directory).map(drop)
}
