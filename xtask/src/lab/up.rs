//! Building a lab, from nothing to workloads that run.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::azure::{self, Azure};
use super::cache::NodeTemplate;
use super::layout::Source;
use super::model::Model;
use super::spec::{Node, Spec, source};
use super::{
    Layout, Up, What, base, cache, cluster, down, kubeadm, network, node, pki, site, snapshot, spec, windows,
    workloads,
};
use crate::cmd::{CommandExt as _, cmd};

pub(crate) fn up(args: &Up) -> Result<()> {
    let name = &args.lab.name;
    let dir = spec::dir_of(name)?;
    let progress = Progress { start: Instant::now() };
    cache::install_packages()?;
    progress.say("packages");
    let base = base::base()?;
    progress.say("base root file system");
    let programs = cache::kubernetes(args.kubernetes)?;
    progress.say("programs");
    let template = cache::node_template(&base, &programs, args.what.layout())?;
    progress.say("images");
    let made = Made { base, programs, template };

    fs::create_dir_all(cache::root().join("labs"))?;
    let lock = fs::File::create(cache::root().join(format!("labs/{name}.lock")))?;
    if lock.try_lock().is_err() {
        bail!("lab {name:?} is being built by somebody else");
    }
    down::sweep()?;
    down::down(name)?;
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("building"), "")?;
    match args.what {
        What::AksEngine => aks_engine(args, &made, &progress)?,
        What::Kubeadm => kubeadm::up(args, &made, &progress)?,
        What::Site => site::up(args, &made, &progress)?,
    }
    fs::remove_file(dir.join("building"))?;
    progress.say("lab stands");
    Ok(())
}

/// What was made once, for all labs of its kind.
pub(crate) struct Made {
    base: PathBuf,
    pub(crate) programs: PathBuf,
    template: NodeTemplate,
}

fn aks_engine(args: &Up, made: &Made, progress: &Progress) -> Result<()> {
    let example = source().join("../examples/aks-engine-3m-2l/apimodel.json");
    let mut model = Model::read(args.api_model.as_deref().unwrap_or(&example))?;
    model.set_counts(args.control_planes, args.agents)?;
    if let Some(system) = &args.identity_system {
        model.set_identity_system(system);
    }
    let mut spec = describe(&args.lab.name, &model, &made.programs)?;
    fs::create_dir_all(spec.output())?;
    spec.save()?;
    let ssh_key = make_ssh_key(&spec.dir())?;
    model.set_ssh_key(&ssh_key);

    // What is wanted of a PKI is had by making one, whatever the model holds.
    let given = model.certificates().filter(|_| !args.pki.is_some());
    // Keys of 4096 bits take longest, and nothing but the nodes' files needs them.
    std::thread::scope(|scope| {
        let pki = scope.spawn(|| match given {
            Some(profile) => pki::from_profile(profile, &spec.output()),
            None => pki::make(&model, &spec.output(), args.pki),
        });
        make_machines(&spec, made)?;
        for node in &spec.windows {
            network::plug_in(&spec, node)?;
        }
        progress.say("networks and root file systems");
        pki.join().unwrap_or_else(|_| bail!("the PKI's thread failed"))
    })?;
    if given.is_none() {
        model.set_certificates(pki::to_profile(&model, &spec.output())?)?;
    }
    spec::write_private(&spec.api_model(), &model.to_text()?)?;
    cluster::write_kubeconfig(&spec)?;
    progress.say("PKI");

    furnish(&spec, &model, &ssh_key, args.monitor_first_check)?;
    spec.windows.iter().try_for_each(|node| windows::furnish(&spec, node))?;
    progress.say("node files");
    boot_machines(&spec)?;
    progress.say("machines booted");
    cluster::make_front_proxy(&spec)?;
    progress.say("etcd and front proxy");
    cluster::start_kubelets(&spec)?;
    cluster::wait_api(&spec)?;
    progress.say("API ready");
    cluster::apply_addons(&spec)?;
    if !args.no_workloads {
        workloads::apply(&spec, &spec.output(), model.first_service_ip()?)?;
    }
    populate(&spec, !args.no_workloads, progress)?;
    spec.windows.iter().try_for_each(|node| windows::start(&spec, node, &model, &ssh_key))?;
    windows::wait(&spec)?;
    cluster::start_monitors(&spec)?;
    azure::start(&spec, &model)?;
    progress.say("Azure's side serves");
    finish(&mut spec)
}

/// Makes networks and root file systems.
pub(crate) fn make_machines(spec: &Spec, made: &Made) -> Result<()> {
    node::mount_memory(spec)?;
    if spec.guest_of.is_none() {
        network::make_switch(spec)?;
        network::write_operator_names(spec)?;
    }
    for node in &spec.nodes {
        network::plug_in(spec, node)?;
        node::make_root(spec, node, &made.base, &made.template)?;
    }
    Ok(())
}

/// Boots all machines, and notes down their host keys.
pub(crate) fn boot_machines(spec: &Spec) -> Result<()> {
    on_all(spec, node::boot)?;
    on_all(spec, |spec, node| node::wait_booted(spec, node, Duration::from_secs(180)))?;
    write_known_hosts(spec)
}

/// Waits until nodes, control plane and workloads run.
pub(crate) fn populate(spec: &Spec, workloads: bool, progress: &Progress) -> Result<()> {
    cluster::wait_nodes(spec)?;
    progress.say("nodes Ready");
    cluster::wait_control_plane(spec)?;
    progress.say("control plane and kube-proxy run");
    if workloads {
        workloads::wait(spec)?;
        progress.say("workloads run");
    }
    Ok(())
}

/// Takes the copy from before any rotation, and says that the lab stands.
pub(crate) fn finish(spec: &mut Spec) -> Result<()> {
    snapshot::take(spec, &snapshot::before(spec))?;
    spec.ready = true;
    spec.save()
}

/// Tells on standard error what has been done, and when.
pub(crate) struct Progress {
    start: Instant,
}

impl Progress {
    pub(crate) fn say(&self, done: &str) {
        eprintln!("{:6.1} s  {done}", self.start.elapsed().as_secs_f64());
    }
}

fn describe(name: &str, model: &Model, programs: &Path) -> Result<Spec> {
    let nodes = model.nodes()?;
    let windows = model.windows_nodes(&nodes)?;
    let [a, b, ..] = nodes.first().context("the model has no nodes")?.ip.octets();
    Ok(Spec {
        name: name.to_owned(),
        layout: Layout::AksEngine,
        kubernetes: cache::version_of(programs, "VERSION")?,
        programs: programs.to_owned(),
        fqdn: model.fqdn()?,
        location: model.location()?,
        dns_prefix: model.dns_prefix()?,
        admin: model.admin()?,
        public_ip: [203, 0, 113, 10].into(),
        internal_ip: model.internal_ip()?,
        network: [a, b],
        ssh_port: model.ssh_port()?,
        nodes,
        windows,
        ready: false,
        azure: Some(Azure::of(model)),
        signed_kubelets: false,
        guest_of: None,
        neighbours: Vec::new(),
    })
}

/// The operator's key: RSA, as the ancestor's users have, and without a passphrase. Returns the public half.
pub(crate) fn make_ssh_key(dir: &Path) -> Result<String> {
    let path = dir.join("id_rsa");
    let path = path.to_string_lossy();
    cmd(
        "ssh-keygen",
        ["-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-C", "kubecert-lab", "-f", &*path],
    )
    .read()?;
    Ok(fs::read_to_string(dir.join("id_rsa.pub"))?.trim().to_owned())
}

fn furnish(spec: &Spec, model: &Model, ssh_key: &str, monitor_first_check: u32) -> Result<()> {
    let source = Source::new(spec, model, ssh_key, monitor_first_check)?;
    let mut dropped = Vec::new();
    for node in &spec.nodes {
        dropped.extend(source.furnish(node)?);
    }
    dropped.sort();
    dropped.dedup();
    fs::write(spec.dir().join("dropped-flags.txt"), dropped.join("\n") + "\n")?;
    Ok(())
}

/// `known_hosts` holds the SSH host only, as an operator's would; `known_hosts.all` holds every node.
fn write_known_hosts(spec: &Spec) -> Result<()> {
    let keys = |node: &Node| -> Result<Vec<String>> {
        ["ed25519", "ecdsa"]
            .into_iter()
            .map(|kind| {
                let text =
                    fs::read_to_string(spec.root(node).join(format!("etc/ssh/ssh_host_{kind}_key.pub")))?;
                Ok(text.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
            })
            .collect()
    };
    let mut bastion = String::new();
    let mut all = String::new();
    let host = |name: &str| {
        if spec.ssh_port == 22 { name.to_owned() } else { format!("[{name}]:{}", spec.ssh_port) }
    };
    let first = spec.masters().next().context("no masters")?;
    for key in keys(first)? {
        bastion += &format!("{},{} {key}\n", host(&spec.fqdn), host(&spec.public_ip.to_string()));
    }
    for node in spec.members() {
        for key in keys(node)? {
            all += &format!("{},{} {key}\n", node.name, node.ip);
        }
    }
    fs::write(spec.dir().join("known_hosts.all"), bastion.clone() + &all)?;
    fs::write(spec.dir().join("known_hosts"), bastion)?;
    Ok(())
}

fn on_all(spec: &Spec, act: impl Fn(&Spec, &Node) -> Result<()>) -> Result<()> {
    spec.nodes.iter().try_for_each(|node| act(spec, node))
}
