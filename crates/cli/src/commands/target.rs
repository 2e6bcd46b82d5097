//! A cluster that is named by an apimodel: what it is, how to reach it, what of it the operator keeps.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use kubecert_cloud::apimodel::{ApiModel, Availability, CertificateProfile, Entry, Location, Unsupported};
use kubecert_cluster::{ApiAvailability, EtcdClient, KubeClient, TlsProbe};
use kubecert_core::event::{Event, Happening};
use kubecert_core::model::{
    Cluster, ClusterName, KubernetesVersion, Layout, LeafId, Node, NodeName, OperatingSystem, Role,
    TrustDomain,
};
use kubecert_engine::ports::{Clock, Nodes, PortError, Ports};
use kubecert_engine::run::{OperatorFiles, Setup};
use kubecert_engine::vault::PkiSet;
use kubecert_pki::{Certificate, PrivateKey};
use kubecert_remote::{HostKeys, Password, SshConfig, SshNodes, WindowsLogin};
use tokio::sync::{mpsc, watch};

use super::files::AncestorFiles;
use super::login;
use crate::args::{KeySource, SshArgs};
use crate::errors::{CliError, Kind};

/// The port on which AKS engine's API servers listen, on every control plane and in front of them.
const API_PORT: u16 = 443;

/// The port of the SSH host.
pub(crate) const SSH_PORT: u16 = 22;

/// The first of the ports through which the masters of a scale set are reached.
const SCALE_SET_SSH_PORT: u16 = 50_001;

/// An apimodel that was read, and where it lies.
pub(crate) struct Described {
    pub(crate) model: Arc<ApiModel>,
    pub(crate) path: PathBuf,
}

/// How to reach the nodes.
pub(crate) struct Reach {
    pub(crate) host: Option<String>,
    /// Without it, the port that AKS engine makes for its masters.
    pub(crate) port: Option<u16>,
    pub(crate) user: Option<String>,
    pub(crate) key: Option<KeySource>,
    pub(crate) known_hosts: Option<PathBuf>,
}

impl TryFrom<&SshArgs> for Reach {
    type Error = CliError;

    fn try_from(args: &SshArgs) -> Result<Self, CliError> {
        Ok(Self {
            host: args.ssh_host.clone(),
            port: args.ssh_port,
            user: args.ssh_user.clone(),
            key: args.key.given()?,
            known_hosts: args.known_hosts.clone(),
        })
    }
}

/// Where events go, and how a run is told to stop.
pub(crate) struct Wires {
    pub(crate) events: mpsc::UnboundedSender<Event>,
    pub(crate) cancelled: watch::Receiver<bool>,
}

impl Described {
    /// Reads an apimodel.
    pub(crate) fn read(path: &Path) -> Result<Self, CliError> {
        let bytes = std::fs::read(path).map_err(|error| {
            CliError::because(Kind::Input, format!("cannot read api model {}", path.display()), error)
        })?;
        let model = ApiModel::parse(&bytes).map_err(|error| unusable(path, error))?;
        Ok(Self { model: Arc::new(model), path: path.to_owned() })
    }

    /// The same at the location that the command line names, which must be the model's if that has one.
    pub(crate) fn at_location(self, location: &str) -> Result<Self, CliError> {
        let Self { model, path } = self;
        let Some(location) = Location::new(location) else { return Ok(Self { model, path }) };
        let model =
            Arc::unwrap_or_clone(model).at_location(location).map_err(|error| unusable(&path, error))?;
        Ok(Self { model: Arc::new(model), path })
    }

    /// Refuses, by name and all at once, what cannot be managed yet.
    pub(crate) fn check_supported(&self) -> Result<(), CliError> {
        self.check_without(|_| false)
    }

    /// The same for a cluster of which the shape matters alone, so that the model need not hold its PKI.
    pub(crate) fn check_shape(&self) -> Result<(), CliError> {
        self.check_without(|what| matches!(what, Unsupported::NoCertificateProfile))
    }

    fn check_without(&self, does_not_matter: impl Fn(&Unsupported) -> bool) -> Result<(), CliError> {
        let mut unsupported = self.model.unsupported();
        unsupported.retain(|what| !does_not_matter(what));
        if unsupported.is_empty() {
            return Ok(());
        }
        let error = CliError::new(
            Kind::Input,
            format!("api model {} describes a cluster that kubecert cannot rotate yet", self.path.display()),
        );
        Err(unsupported.iter().fold(error, |error, what| error.hint(what.to_string())))
    }

    /// The name under which runs are recorded: the DNS prefix.
    pub(crate) fn name(&self) -> ClusterName {
        ClusterName::new(self.model.masters().dns_prefix.clone())
    }

    /// The cluster with its control planes, as far as the model tells.
    pub(crate) fn cluster(&self) -> Result<Cluster, CliError> {
        let endpoint = self.model.server_url().map_err(|error| unusable(&self.path, error))?;
        let version = KubernetesVersion::parse(&self.model.kubernetes().version);
        let nodes = self
            .model
            .master_names()
            .iter()
            .zip(self.model.master_ips())
            .enumerate()
            .map(|(index, (name, address))| Node {
                name: NodeName::new(name.node_name()),
                role: Role::ControlPlane,
                index,
                address: Some(IpAddr::V4(address)),
                system: OperatingSystem::Linux,
            })
            .collect();
        Ok(Cluster {
            name: self.name(),
            layout: Layout::AksEngine,
            version: version.unwrap_or(KubernetesVersion { major: 1, minor: 0 }),
            endpoint: endpoint.trim_start_matches("https://").to_owned(),
            api_port: API_PORT,
            admin_user: self.admin_user()?,
            nodes,
        })
    }

    /// Where AKS engine's load balancer lets SSH through to the first master.
    fn ssh_port(&self) -> u16 {
        match self.model.masters().availability {
            Availability::AvailabilitySet => SSH_PORT,
            Availability::ScaleSet => SCALE_SET_SSH_PORT,
        }
    }

    fn admin_user(&self) -> Result<String, CliError> {
        let linux = self.model.linux().ok_or_else(|| {
            CliError::new(Kind::Input, format!("api model {} has no linuxProfile", self.path.display()))
        })?;
        Ok(linux.admin_user.clone())
    }

    /// The PKI in force, as the model holds it.
    pub(crate) fn pki(&self) -> Result<PkiSet, CliError> {
        let profile = self.model.certificate_profile().ok_or_else(|| {
            CliError::new(Kind::Input, format!("api model {} has no certificateProfile", self.path.display()))
                .hint("Use the apimodel.json that was generated when the cluster was deployed, or last rotated.")
        })?;
        pki_set(profile)
    }

    /// Connects to everything, and gives what a run needs.
    pub(crate) async fn connect(
        &self,
        reach: &Reach,
        state: PathBuf,
        wires: Wires,
    ) -> Result<Setup, CliError> {
        let cluster = self.cluster()?;
        let old = self.pki()?;
        let nodes = self.access(reach)?.connect(&state, &wires.events).await?;
        let port = cluster.api_port;
        setup(cluster, port, old, Arc::new(AncestorFiles::new(self)), nodes, state, wires)
    }

    fn access(&self, reach: &Reach) -> Result<Access, CliError> {
        let user = match &reach.user {
            Some(user) => user.clone(),
            None => self.admin_user()?,
        };
        let host = reach.host.clone().ok_or_else(|| {
            CliError::new(Kind::Usage, "--ssh-host must be specified")
                .hint("It is the name or address of the host through which all nodes are reached by SSH.")
        })?;
        Ok(Access {
            host,
            port: reach.port.unwrap_or_else(|| self.ssh_port()),
            user,
            key: reach.key.clone().ok_or_else(KeySource::missing)?,
            known_hosts: reach.known_hosts.clone(),
            node_port: SSH_PORT,
            addresses: BTreeMap::new(),
            by_learnt_address: false,
            windows: self.model.windows().map(|windows| WindowsLogin {
                user: windows.admin_user.clone(),
                password: windows.password().map(Password::new),
            }),
        })
    }
}

/// How to log in to the nodes.
pub(crate) struct Access {
    /// The host through which all nodes are reached, and its port.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) key: KeySource,
    pub(crate) known_hosts: Option<PathBuf>,
    /// The port of the nodes themselves.
    pub(crate) node_port: u16,
    /// Where nodes are whose names the SSH host may not resolve.
    pub(crate) addresses: BTreeMap<NodeName, (String, u16)>,
    /// Whether other nodes are reached at the addresses that the API tells.
    pub(crate) by_learnt_address: bool,
    pub(crate) windows: Option<WindowsLogin>,
}

impl Access {
    /// Logs in to the host through which all nodes are reached.
    pub(crate) async fn connect(
        self,
        state: &Path,
        events: &mpsc::UnboundedSender<Event>,
    ) -> Result<Arc<dyn Nodes>, CliError> {
        let key = login::user_key(&self.key)?;
        let pinned = self.known_hosts.clone().unwrap_or_else(|| state.join("known_hosts"));
        let own = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".ssh/known_hosts"));
        let events = events.clone();
        let host_keys = HostKeys::load(pinned, &own.into_iter().collect::<Vec<_>>()).map_err(port_error)?;
        let host_keys = host_keys.on_first_contact(move |contact| {
            let text = format!(
                "First contact with {}: its {} key {} is pinned in {} now.",
                contact.host,
                contact.algorithm,
                contact.fingerprint,
                contact.pinned_in.display()
            );
            drop(events.send(Event { at: Timestamp::now(), what: Happening::Notice { text } }));
        });
        let mut config = SshConfig::new(self.host, self.user, key, host_keys);
        config.bastion_port = self.port;
        config.node_port = self.node_port;
        config.addresses = self.addresses;
        config.by_learnt_address = self.by_learnt_address;
        config.windows = self.windows;
        let nodes = SshNodes::connect_bastion(config).await.map_err(port_error)?;
        Ok(Arc::new(nodes))
    }
}

/// What a run needs, once the nodes can be reached. The API is asked at the cluster's endpoint, at `port` there.
pub(crate) fn setup(
    cluster: Cluster,
    port: u16,
    old: PkiSet,
    operator: Arc<dyn OperatorFiles>,
    nodes: Arc<dyn Nodes>,
    state: PathBuf,
    wires: Wires,
) -> Result<Setup, CliError> {
    let addresses: BTreeMap<NodeName, IpAddr> =
        cluster.nodes.iter().filter_map(|node| Some((node.name.clone(), node.address?))).collect();
    let control_planes = cluster.nodes.iter().map(|node| node.name.clone()).collect();
    let api = KubeClient::new(&cluster.endpoint, port).map_err(port_error)?;
    let ports = Ports {
        probe: Arc::new(TlsProbe::new(nodes.clone(), addresses, cluster.api_port)),
        api: Arc::new(api),
        etcd: Arc::new(EtcdClient::new(nodes.clone(), control_planes)),
        availability: Arc::new(ApiAvailability::new(cluster.endpoint.clone(), port)),
        clock: Arc::new(SystemClock),
        machines: None,
        nodes,
    };
    let events = wires.events;
    Ok(Setup {
        ports,
        operator,
        cluster,
        old,
        given: None,
        state,
        only: None,
        program: format!("kubecert {}", env!("CARGO_PKG_VERSION")),
        // Nobody listens any more only when the program ends.
        decisions: kubecert_engine::run::Decisions::default(),
        events: Arc::new(move |event| drop(events.send(event))),
        cancelled: wires.cancelled,
    })
}

fn unusable(path: &Path, error: kubecert_cloud::apimodel::ApiModelError) -> CliError {
    CliError::because(Kind::Input, format!("cannot use api model {}", path.display()), error)
}

/// A profile as a PKI.
pub(crate) fn pki_set(profile: &CertificateProfile) -> Result<PkiSet, CliError> {
    let pairs = profile.present_pairs().map_err(|error| CliError::new(Kind::Input, error))?;
    let mut set = PkiSet::default();
    for pair in pairs {
        insert(&mut set, pair.entry, pair.certificate, pair.private_key);
    }
    Ok(set)
}

fn insert(set: &mut PkiSet, entry: Entry, certificate: Certificate, key: Option<PrivateKey>) {
    if entry == Entry::Ca {
        set.authorities.insert(TrustDomain::Cluster, certificate);
        key.map(|key| set.authority_keys.insert(TrustDomain::Cluster, key));
    } else {
        let leaf = LeafId::new(entry.file_base());
        set.leaves.insert(leaf.clone(), certificate);
        key.map(|key| set.leaf_keys.insert(leaf, key));
    }
}

/// An error of a port, with its remedy as a hint.
pub(crate) fn port_error(error: PortError) -> CliError {
    let remedy = error.remedy.clone();
    let error = CliError::new(Kind::Node, error);
    match remedy {
        Some(remedy) => error.hint(remedy),
        None => error,
    }
}

/// The machine's own clock.
#[derive(Debug)]
struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
