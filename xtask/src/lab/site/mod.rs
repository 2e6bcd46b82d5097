//! A site as AKS Arc has it: an infrastructure with an authority, and clusters whose components hold credentials of it.
//!
//! Two clusters of kubeadm's on one network: the *target* cluster with three control planes and a load balancer's machine, in
//! the lab that is asked for, and the *management* cluster with one, in a lab of its own whose name ends in `-m`. Two *hosts*
//! stand beside them; the first one is where the authority runs. The operator's directory of the target has everything that a
//! person at the site would have, `site.yaml` above all.
//!
//! * [`holders`]: who holds what of the authority, and where. `infrastructure.rs`, `kms.rs`, `balancer.rs`: those who use it.
//! * `file.rs`: what kubecert is told. `power.rs`: everything goes off, and comes up again. `past.rs`: lets it be that
//!   everything was last renewed long ago.

mod balancer;
mod file;
mod holders;
mod infrastructure;
mod kms;
mod past;
pub(crate) mod power;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::kubeadm::{self, Size, Stand};
use super::spec::{self, Node, Spec};
use super::up::{Made, Progress};
use super::{Up, cluster, network, node};
use crate::cmd::CommandExt as _;
use crate::rotation;

pub(crate) use super::cache::wait_for;
pub(crate) use holders::{Cluster, Holder, Place};
pub(crate) use past::{Aged, age, wait_until_over};

/// Where the operator finds the management cluster's only control plane.
const MANAGEMENT_IP: [u8; 4] = [203, 0, 113, 20];
/// Where the operator finds the hosts; the authority is on the first.
const HOST_IPS: [[u8; 4]; 2] = [[203, 0, 113, 31], [203, 0, 113, 32]];
/// How long a node agent may take from its start until it has what it needs; it tries every few seconds.
const AGENT_PATIENCE: Duration = Duration::from_secs(180);
/// The name of the authority, as everybody on the network knows it.
pub(crate) const AUTHORITY: &str = "ca-1.site.example";

/// A site that stands, or is being built.
pub(crate) struct Site {
    target: Spec,
    management: Spec,
    /// kubecert itself.
    program: PathBuf,
}

/// Builds a site.
pub(crate) fn up(args: &Up, made: &Made, progress: &Progress) -> Result<()> {
    kubeadm::refuse_models(args)?;
    let (name, guest) = (&args.lab.name, management_of(&args.lab.name));
    let neighbours = vec![
        (MANAGEMENT_IP.into(), kubeadm::public_name(&guest)),
        (HOST_IPS[0].into(), AUTHORITY.to_owned()),
    ];
    let stand =
        Stand { hosts: HOST_IPS.map(Into::into).to_vec(), neighbours: neighbours.clone(), ..Stand::alone() };
    let size =
        Size { control_planes: args.control_planes.unwrap_or(3), agents: args.agents.unwrap_or_default() };
    let mut target = kubeadm::describe(name, size, &stand, &made.programs)?;
    kubeadm::make(&mut target, false, made, progress)?;
    let stand = Stand {
        guest_of: Some(name.clone()),
        letter: 'g',
        part: 1,
        public_ip: MANAGEMENT_IP.into(),
        has_balancer: false,
        hosts: Vec::new(),
        neighbours,
    };
    let size = Size { control_planes: 1, agents: 0 };
    let mut management = kubeadm::describe(&guest, size, &stand, &made.programs)?;
    kubeadm::make(&mut management, false, made, progress)?;
    progress.say("the management cluster stands");

    let site = Site { target, management, program: rotation::kubecert()? };
    infrastructure::found(&site)?;
    progress.say("the authority serves");
    for holder in holders::all(&site) {
        holder.create(&site)?;
    }
    infrastructure::start_agents(&site)?;
    progress.say("identities, login files and Secrets");
    balancer::furnish(&site)?;
    kms::furnish(&site)?;
    progress.say("Secrets are encrypted by the KMS plugins");
    file::write(&site)?;
    balancer::patch(&site)?;
    progress.say("the load balancer's agent");
    Ok(())
}

impl Site {
    /// The site `name`.
    pub(crate) fn load(name: &str) -> Result<Self> {
        let (target, management) = (Spec::load(name)?, Spec::load(&management_of(name))?);
        Ok(Self { target, management, program: rotation::kubecert()? })
    }

    /// The target cluster's name.
    pub(crate) fn cluster(&self) -> &str {
        &self.target.dns_prefix
    }

    /// What the operator has.
    pub(crate) fn directory(&self) -> PathBuf {
        self.target.output()
    }

    /// The site file.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory().join("site.yaml")
    }

    /// kubecert where the operator sits.
    pub(crate) fn kubecert(&self, words: &[&str]) -> Command {
        let program = self.program.to_string_lossy();
        let mut command = network::inside(&self.target.switch(), &[&[&*program], words].concat());
        command.env("KUBECERT_STATE_DIR", self.directory().join("kubecert-state"));
        command
    }

    /// All machines of the site, each with the lab that it belongs to.
    fn machines(&self) -> impl Iterator<Item = (&Spec, &Node)> {
        [&self.target, &self.management]
            .into_iter()
            .flat_map(|spec| spec.nodes.iter().map(move |node| (spec, node)))
    }

    /// The authority's directory, as the host sees it.
    fn authority(&self) -> Result<PathBuf> {
        Ok(self.target.root(self.target.node("h0")?).join("var/lib/kubecert-authority"))
    }

    /// kubecert's verb with the site file.
    pub(crate) fn with_site(&self, words: &[String]) -> Command {
        let file = self.file();
        let file = file.to_string_lossy();
        let words: Vec<&str> = words.iter().map(String::as_str).chain(["--site", &*file]).collect();
        self.kubecert(&words)
    }

    /// What the kubectl of a cluster says.
    pub(crate) fn kubectl(&self, cluster: Cluster, words: &[&str]) -> Result<String> {
        cluster::kubectl(cluster.of(self), words).read()
    }

    /// All who hold tokens, the administrator too.
    pub(crate) fn holders(&self) -> Vec<Holder> {
        let mut all = holders::all(self);
        all.push(holders::administrator());
        all
    }

    /// Whether a command succeeds on each control plane of the target cluster.
    pub(crate) fn each_control_plane(&self, words: &[&str]) -> bool {
        let succeeds =
            |on: &Node| node::enter(&self.target, on, words).is_ok_and(|mut command| command.succeeds());
        self.target.masters().all(succeeds)
    }

    /// A call of the authority with the administrator's certificate.
    pub(crate) fn call_as_administrator(&self) -> Command {
        self.call(&self.directory().join("mocctl.json"))
    }

    /// The node agents run, and the certificates that they hold are good.
    pub(crate) fn node_agents_work(&self) -> Result<()> {
        for host in self.target.hosts() {
            let unit = ["systemctl", "is-active", "--quiet", "node-agent"];
            let access = self.target.root(host).join("var/lib/node-agent/access.json");
            let works = || {
                node::enter(&self.target, host, &unit).is_ok_and(|mut unit| unit.succeeds())
                    && self.call(&access).succeeds()
            };
            wait_for(AGENT_PATIENCE, works).with_context(|| format!("the node agent of {}", host.name))?;
        }
        Ok(())
    }

    /// Whether the authority has signed what the load balancer's agent presents, and it is good.
    pub(crate) fn balancer_is_trusted(&self) -> Result<bool> {
        balancer::is_trusted(self)
    }

    /// A request for the target cluster's API at its public name, which is its load balancer's.
    pub(crate) fn request_through_the_balancer(&self) -> Result<()> {
        let ca = self.target.root(kubeadm::first(&self.target)?).join(kubeadm::PKI).join("ca.crt");
        let url = format!("https://{}:{}/version", self.target.fqdn, kubeadm::API_PORT);
        let words = ["curl", "-sf", "--max-time", "5", "--cacert", &*ca.to_string_lossy(), &*url];
        let answer = network::inside(&self.target.switch(), &words).read()?;
        ensure!(answer.contains("gitVersion"), "{url} answers {answer}");
        Ok(())
    }

    /// A watch of the target cluster's API at its public name; it ends when its connection does.
    pub(crate) fn watch_through_the_balancer(&self) -> Command {
        cluster::kubectl(&self.target, &["get", "--raw", "/api/v1/namespaces/default/configmaps?watch=true"])
    }

    /// How many connections to the target cluster's API the operator's side has open there.
    pub(crate) fn connections_through_the_balancer(&self) -> usize {
        let address = format!("{}:{}", self.target.public_ip, kubeadm::API_PORT);
        let words = ["ss", "-Htn", "state", "established", "dst", &*address];
        network::inside(&self.target.switch(), &words).read().map_or(0, |lines| lines.lines().count())
    }

    fn call(&self, access: &Path) -> Command {
        let (access, login) = (access.to_string_lossy(), self.directory().join("mocLogin.yaml"));
        let login = login.to_string_lossy();
        self.kubecert(&["authority", "status", "--access-file", &*access, "--login-file", &*login])
    }
}

/// The name of the management cluster's lab.
fn management_of(name: &str) -> String {
    format!("{name}-m")
}

/// Writes a private file, in the directory of a node as well as anywhere.
fn write_private(path: &Path, text: &str) -> Result<()> {
    spec::write_private(path, text)
}
