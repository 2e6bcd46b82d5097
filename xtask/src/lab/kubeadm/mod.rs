//! The layout that kubeadm makes: real `kubeadm init` and `kubeadm join`, etcd as a static pod on each control plane.
//!
//! The lab brings machines, network, images and a balancer, and the configuration that it passes to kubeadm; the PKI, the
//! manifests and the kubeconfigs are all kubeadm's own work.

mod cluster_api;
mod ended;
mod kubelets;

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::login;
use super::spec::{self, Node, Role, Spec, source};
use super::template::{Values, directory, enable, fill, lay_tree};
use super::up::{Made, Progress, boot_machines, finish, make_machines, make_ssh_key, populate};
use super::{Layout, Up, cache, node, workloads};
use crate::cmd::CommandExt as _;

pub(crate) use cluster_api::{check_secrets, forget_secrets, make_secrets};
pub(crate) use ended::{End, let_end, put_ends};

/// Where kubeadm keeps the PKI, and the administrator's kubeconfig, below a control plane's root.
pub(crate) const PKI: &str = "etc/kubernetes/pki";
pub(crate) const ADMIN_CONF: &str = "etc/kubernetes/admin.conf";
/// The port at which API servers and the balancer answer.
pub(crate) const API_PORT: u16 = 6443;
/// The API's own Service: the first address of kubeadm's default range.
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// The administrator on the nodes.
const ADMIN: &str = "clouduser";
const CONTROL_PLANES: usize = 3;
const AGENTS: usize = 1;

/// kubeadm's checks whose outcome is the host's affair: its kernel, processors and memory, which nodes take as they are.
const IGNORED_CHECKS: &str = "SystemVerification,NumCPU,Mem";

pub(crate) fn up(args: &Up, made: &Made, progress: &Progress) -> Result<()> {
    refuse_models(args)?;
    let size = Size {
        control_planes: args.control_planes.unwrap_or(CONTROL_PLANES),
        agents: args.agents.unwrap_or(AGENTS),
    };
    if size.agents == 0 && !args.no_workloads {
        bail!("a cluster without agents has no workloads: --no-workloads");
    }
    let mut spec = describe(&args.lab.name, size, &Stand::alone(), &made.programs)?;
    spec.signed_kubelets = args.signed_kubelets;
    make(&mut spec, !args.no_workloads, made, progress)
}

/// Refuses what only makes sense for a cluster that has an API model.
pub(crate) fn refuse_models(args: &Up) -> Result<()> {
    if args.api_model.is_some() || args.identity_system.is_some() || args.pki.is_some() {
        bail!(
            "--api-model, --identity-system, --rsa-bits, --leaf-days and --ca-days are for the layout aks-engine"
        );
    }
    Ok(())
}

/// Builds what was described, with the workloads that watch the API from inside or without.
pub(crate) fn make(spec: &mut Spec, workloads: bool, made: &Made, progress: &Progress) -> Result<()> {
    fs::create_dir_all(spec.output())?;
    spec.save()?;
    let ssh_key = make_ssh_key(&spec.dir())?;
    make_machines(spec, made)?;
    progress.say("networks and root file systems");
    spec.nodes.iter().try_for_each(|node| furnish(spec, node, &ssh_key))?;
    boot_machines(spec)?;
    progress.say("machines booted");
    let (first, pki) = (first(spec)?, spec.root(first(spec)?).join(PKI));
    let secrets = Secrets::make()?;
    init(spec, first, &secrets)?;
    spec::write_private(&spec.kubeconfig(), &fs::read_to_string(spec.root(first).join(ADMIN_CONF))?)?;
    progress.say("kubeadm init");
    let ca = ca_hash(spec, first)?;
    for node in spec.members().filter(|node| node.short != first.short) {
        join(spec, node, &secrets, &ca)?;
        progress.say(&format!("{} has joined", node.short));
    }
    if spec.signed_kubelets {
        kubelets::approve(spec)?;
        progress.say("kubelets have serving certificates");
    }
    fs::write(spec.cluster_file(), cluster_file(spec))?;
    if workloads {
        workloads::apply(spec, &pki, SERVICE)?;
    }
    populate(spec, workloads, progress)?;
    finish(spec)
}

/// How many nodes a cluster has.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) control_planes: usize,
    pub(crate) agents: usize,
}

/// Where a cluster stands: on a switch of its own or beside another on that one's, and by which addresses it is told from that.
pub(crate) struct Stand {
    /// The lab whose switch it shares.
    pub(crate) guest_of: Option<String>,
    /// The first letter of its control planes' short names.
    pub(crate) letter: char,
    /// The third byte of its nodes' addresses; its pods' ranges follow from that.
    pub(crate) part: u8,
    /// Where its API answers: a balancer's address, or that of its only control plane.
    pub(crate) public_ip: Ipv4Addr,
    pub(crate) has_balancer: bool,
    /// Machines beside the cluster, with the addresses at which the operator finds them.
    pub(crate) hosts: Vec<Ipv4Addr>,
    pub(crate) neighbours: Vec<(Ipv4Addr, String)>,
}

impl Stand {
    /// Nobody else is there.
    pub(crate) fn alone() -> Self {
        Self {
            guest_of: None,
            letter: 'm',
            part: 0,
            public_ip: [203, 0, 113, 10].into(),
            has_balancer: true,
            hosts: Vec::new(),
            neighbours: Vec::new(),
        }
    }
}

/// The first control plane, which `kubeadm init` has made.
pub(crate) fn first(spec: &Spec) -> Result<&Node> {
    spec.masters().next().context("no control plane")
}

/// The cluster `name` as it is to be built.
pub(crate) fn describe(name: &str, size: Size, stand: &Stand, programs: &Path) -> Result<Spec> {
    let Size { control_planes, agents } = size;
    if !matches!(control_planes, 1 | 3 | 5) || !stand.has_balancer && control_planes > 1 {
        bail!("a cluster has 1, 3 or 5 control planes here, not {control_planes}");
    }
    if agents > 50 {
        bail!("a cluster has at most 50 agents here");
    }
    let cluster = cluster_name(name);
    let ip = |last: usize| Ok::<Ipv4Addr, anyhow::Error>([10, 240, stand.part, u8::try_from(last)?].into());
    let mut nodes = Vec::new();
    for index in 0..control_planes {
        let (short, full) = (format!("{}{index}", stand.letter), format!("{cluster}-cp-{index}"));
        nodes.push(Node::new(short, full, Role::Master, index, ip(10 + index)?));
    }
    for index in 0..agents {
        let (short, full) = (format!("a{index}"), format!("{cluster}-agent-{index}"));
        nodes.push(Node::new(short, full, Role::Agent, index, ip(100 + index)?));
    }
    for (third, node) in nodes.iter_mut().enumerate() {
        // The second cluster's begin where no agent of the first can be.
        node.pod_cidr = format!("10.244.{}.0/24", usize::from(stand.part) * 128 + third);
    }
    for (index, public) in stand.hosts.iter().enumerate() {
        let host = format!("h{index}");
        let node = Node::new(host.clone(), host, Role::Host, index, ip(30 + index)?);
        nodes.push(Node { public_ip: Some(*public), ..node });
    }
    match nodes.first_mut() {
        Some(only) if !stand.has_balancer => only.public_ip = Some(stand.public_ip),
        _ => nodes.push(Node::new("lb".to_owned(), "lb".to_owned(), Role::Balancer, 0, ip(2)?)),
    }
    Ok(Spec {
        name: name.to_owned(),
        layout: Layout::Kubeadm,
        kubernetes: cache::version_of(programs, "VERSION")?,
        programs: programs.to_owned(),
        fqdn: public_name(name),
        location: String::new(),
        dns_prefix: cluster,
        admin: ADMIN.to_owned(),
        public_ip: stand.public_ip,
        internal_ip: [10, 240, 255, 10].into(),
        network: [10, 240],
        ssh_port: 22,
        nodes,
        windows: Vec::new(),
        ready: false,
        azure: None,
        signed_kubelets: false,
        guest_of: stand.guest_of.clone(),
        neighbours: stand.neighbours.clone(),
    })
}

/// What kubeadm is told that the lab's cluster is called.
pub(crate) fn cluster_name(lab: &str) -> String {
    format!("lab-{lab}")
}

/// Under which name its API is found.
pub(crate) fn public_name(lab: &str) -> String {
    format!("{}.kubeadm.example", cluster_name(lab))
}

fn furnish(spec: &Spec, node: &Node, ssh_key: &str) -> Result<()> {
    let root = spec.root(node);
    if node.role == Role::Balancer {
        return login::balance(spec, &root, "kubeadm/balancer", API_PORT);
    }
    login::let_in(spec, &root, ssh_key)?;
    if !node.is_member() {
        return Ok(());
    }
    lay_tree(&source().join("kubeadm/node"), &root, &[("POD_CIDR", node.pod_cidr.clone())])?;
    directory(&root.join("var/log/wl"), 0o755, (0, 0))?;
    enable(&root, "containerd.service", "/lib/systemd/system")?;
    enable(&root, "kubelet.service", "/lib/systemd/system")
}

/// What new members show that they are wanted, as kubeadm makes it up: it lasts a day, and two hours.
struct Secrets {
    token: String,
    certificate_key: String,
}

impl Secrets {
    fn make() -> Result<Self> {
        let random = |bytes: &str| -> Result<String> {
            Ok(crate::cmd::cmd("openssl", ["rand", "-hex", bytes]).read()?.trim().to_owned())
        };
        Ok(Self { token: format!("{}.{}", random("3")?, random("8")?), certificate_key: random("32")? })
    }
}

fn init(spec: &Spec, node: &Node, secrets: &Secrets) -> Result<()> {
    let etcd = cache::version_of(&spec.programs, "ETCD_VERSION")?;
    let mut values = values(spec, node, secrets);
    values.extend([
        ("CLUSTER", spec.dns_prefix.clone()),
        ("VERSION", spec.kubernetes.clone()),
        ("ETCD_TAG", format!("{etcd}-0")),
        ("API_SERVER_ARGS", kubelets::api_server_arguments(spec, is_old(spec))),
        ("SERVER_TLS_BOOTSTRAP", spec.signed_kubelets.to_string()),
    ]);
    let components = fs::read_to_string(source().join("kubeadm/components.yaml"))?;
    let config = template(spec, "init.yaml", &values)? + &fill(&components, &values)?;
    kubeadm(spec, node, "init", &["--upload-certs"], &["addon/coredns"], &config)
}

fn join(spec: &Spec, node: &Node, secrets: &Secrets, ca: &str) -> Result<()> {
    let mut values = values(spec, node, secrets);
    let control_plane = match node.role {
        Role::Master => fill(&fs::read_to_string(source().join("kubeadm/control-plane.yaml"))?, &values)?,
        Role::Agent | Role::Balancer | Role::Host => String::new(),
    };
    values.extend([("CA_HASH", ca.to_owned()), ("CONTROL_PLANE", control_plane)]);
    kubeadm(spec, node, "join", &[], &[], &template(spec, "join.yaml", &values)?)
}

fn values(spec: &Spec, node: &Node, secrets: &Secrets) -> Vec<(&'static str, String)> {
    vec![
        ("NODE", node.name.clone()),
        ("IP", node.ip.to_string()),
        ("FQDN", spec.fqdn.clone()),
        ("TOKEN", secrets.token.clone()),
        ("CERTIFICATE_KEY", secrets.certificate_key.clone()),
    ]
}

/// A configuration in the form that this version of kubeadm reads.
fn template(spec: &Spec, file: &str, values: &Values<'_>) -> Result<String> {
    let form = if is_old(spec) { "v1beta2" } else { "v1beta4" };
    fill(&fs::read_to_string(source().join("kubeadm").join(form).join(file))?, values)
}

fn is_old(spec: &Spec) -> bool {
    spec.kubernetes.starts_with("v1.20.")
}

/// Runs kubeadm on a node; what it says is kept in the lab's directory.
fn kubeadm(spec: &Spec, node: &Node, verb: &str, more: &[&str], skip: &[&str], config: &str) -> Result<()> {
    let mut skip = skip.to_vec();
    if is_old(spec) {
        // It looks for images with crictl, which Debian does not have, and does not go on without it.
        skip.push("preflight");
    }
    // In /run, which does not outlive the boot: the file holds the token.
    let mut words = vec![
        format!("(umask 077; cat >/run/kubeadm.yaml); exec kubeadm {verb} --config=/run/kubeadm.yaml"),
        format!("--ignore-preflight-errors={IGNORED_CHECKS}"),
    ];
    words.extend(more.iter().map(|flag| (*flag).to_owned()));
    if !skip.is_empty() {
        words.push(format!("--skip-phases={}", skip.join(",")));
    }
    let script = format!("{} 2>&1", words.join(" "));
    let said = node::enter(spec, node, &["sh", "-c", &script])?
        .feed(config)
        .with_context(|| format!("kubeadm {verb} failed on {}", node.short))?;
    fs::write(spec.dir().join("console").join(format!("{}-kubeadm.log", node.short)), said)?;
    Ok(())
}

/// The hash of the CA's public key, by which a new member knows the cluster.
fn ca_hash(spec: &Spec, first: &Node) -> Result<String> {
    let script = "openssl x509 -pubkey -noout -in /etc/kubernetes/pki/ca.crt | \
                  openssl pkey -pubin -outform der | openssl dgst -sha256 -r";
    let said = node::enter(spec, first, &["sh", "-c", script])?.read()?;
    Ok(format!("sha256:{}", said.split_whitespace().next().context("openssl says no hash")?))
}

/// What kubecert is told of the cluster.
fn cluster_file(spec: &Spec) -> String {
    let dir = spec.dir();
    let mut text = format!(
        "apiVersion: kubecert.dev/v1\nkind: Cluster\nmetadata:\n  name: {}\nspec:\n  layout: kubeadm\n  \
         endpoint: https://{}:{API_PORT}\n  ssh:\n    user: {}\n    privateKey: {}\n    knownHosts: {}\n    \
         jump: {{host: {}, port: {}}}\n  controlPlanes:\n",
        spec.dns_prefix,
        spec.fqdn,
        spec.admin,
        dir.join("id_rsa").display(),
        dir.join("known_hosts.all").display(),
        spec.fqdn,
        spec.ssh_port,
    );
    for master in spec.masters() {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "  - {{name: {}, address: {}}}", master.name, master.ip);
    }
    text
}
