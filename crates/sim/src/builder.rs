//! Builds a cluster that has been running for a while.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use jiff::SignedDuration;
use kubecert_core::inventory::{CaBundleHolder, ObjectRef, WorkloadKind, WorkloadRef};
use kubecert_core::layout::{self, certificate_file, manifest_file, windows};
use kubecert_core::model::{
    Cluster, ClusterName, Component, Layout, LeafId, Node, NodeName, OperatingSystem, Role, TrustDomain,
};
use kubecert_engine::vault::PkiSet;
use kubecert_pki::{Certificate, Fingerprint, KeyEncoding, PrivateKey};

use crate::SimError;
use crate::certs::{BundleId, Material, Store};
use crate::config::{SimConfig, Workloads};
use crate::etcd::DIAL_PERIOD;
use crate::faults::Ailments;
use crate::files::{Disk, File};
use crate::lifecycle::{HEALTH_CHECK_PERIOD, bytes};
use crate::monitor::Monitor;
use crate::objects::{BarePod, Extension, Objects, TlsSecretState, TokenSecretState, WorkloadState};
use crate::pki::FreshPki;
use crate::pods::{Job, Seat};
use crate::process::{components, definition_file};
use crate::routing::BALANCER_PERIOD;
use crate::texts;
use crate::world::{Event, Machine, World};

/// The API's port, on control planes and at the public endpoint.
const API_PORT: u16 = 443;
/// The administrator's name on nodes.
const ADMIN: &str = "azureuser";
/// How long the cluster runs before it is handed over: until everything has started and settled.
const WARM_UP: Duration = Duration::from_secs(30);
/// How many agents can be simulated: what their addresses leave room for.
const MOST_AGENTS: usize = 5_000;
/// How many agents have the first three parts of their address in common.
const AGENTS_A_NET: usize = 200;
/// The stamp in the name of kubelets' first client certificates.
const FIRST_STAMP: &str = "2025-10-17-12-00-00";

/// The namespace and name of the aggregated API server's Service.
const AGGREGATED: [&str; 2] = ["aggregated", "sample-apiserver"];

/// A cluster that runs, and the PKI that its description would hold.
pub(crate) fn build(config: &SimConfig) -> Result<(World, PkiSet), SimError> {
    let cluster = describe(config)?;
    let planes: Vec<Node> = cluster.control_planes().cloned().collect();
    let service = format!("{}.{}.svc", AGGREGATED[1], AGGREGATED[0]);
    let pki = FreshPki::new(
        &planes,
        &dns_names(&cluster.endpoint),
        config.start,
        config.key,
        config.leaves_last_days,
        &[service],
    )?;
    let mut store = Store::new();
    let objects = objects(config, &pki, &mut store)?;
    // The cluster is as old as its warm-up when it is handed over, so its clock starts that much earlier.
    let start = config.start.checked_sub(SignedDuration::try_from(WARM_UP).unwrap_or_default());
    let mut world = World::new(cluster, start.unwrap_or(config.start), config.seed, store, objects);
    for node in world.cluster.nodes.clone() {
        let machine = machine(&world.cluster, &node, &pki)?;
        world.machines.insert(node.name.clone(), machine);
    }
    for (key, value) in front_proxy_keys(&pki)? {
        world.etcd.data.insert(key, value);
    }
    power_on(&mut world);
    world.advance(Duration::from_secs(15));
    place_workloads(&mut world, config);
    world.advance(WARM_UP);
    world.log = crate::pods::WorkloadLog::default();
    world.violations.clear();
    world.monitor = Monitor::default();
    world.dirt.everything();
    world.watch();
    if let Some(violation) = world.violations.first() {
        return Err(SimError::Build(violation.what.clone()));
    }
    if let Some(days) = config.off_for_days {
        switch_off(&mut world, days);
    }
    Ok((world, pki.described))
}

/// Switches everything off, and on again so many days later; it has booted when it is handed over.
fn switch_off(world: &mut World, days: u32) {
    /// Machines boot within seconds here, and processes have tried for a while to find each other.
    const SINCE: Duration = Duration::from_secs(60);
    let off = SignedDuration::from_hours(i64::from(days) * 24);
    let off = off.saturating_sub(SignedDuration::try_from(SINCE).unwrap_or_default());
    world.unwatched = true;
    world.start = world.start.checked_add(off).unwrap_or(world.start);
    world.store.forget_verdicts();
    for node in world.node_names() {
        world.reboot(&node);
    }
    let booted = world.now + SINCE;
    world.advance(booted);
    world.log = crate::pods::WorkloadLog::default();
}

fn describe(config: &SimConfig) -> Result<Cluster, SimError> {
    let agents = config.agents + config.windows_agents;
    if config.control_planes == 0 || config.control_planes > 9 || agents > MOST_AGENTS {
        return Err(SimError::Build(format!(
            "1 to 9 control planes and up to {MOST_AGENTS} agents can be simulated"
        )));
    }
    let number =
        config.cluster_id.clone().unwrap_or_else(|| (10_000_000 + config.seed % 90_000_000).to_string());
    let pools: Vec<&str> =
        config.pools.iter().flat_map(|(name, count)| std::iter::repeat_n(name.as_str(), *count)).collect();
    let at = |third: u8, last: usize| {
        IpAddr::V4(Ipv4Addr::new(10, 255, third, u8::try_from(last).unwrap_or(u8::MAX)))
    };
    let node = |role, index, address| {
        let name = match role {
            Role::ControlPlane => NodeName::new(format!("k8s-master-{number}-{index}")),
            Role::Agent => {
                if index >= config.agents {
                    // Fifteen characters are all that a Windows host name may have.
                    let half = number.get(..4).unwrap_or(&number);
                    NodeName::new(format!("{half}k8s01{}", index - config.agents))
                } else {
                    let pool = pools.get(index).copied().unwrap_or("linuxpool");
                    NodeName::new(format!("k8s-{pool}-{number}-{index}"))
                }
            }
        };
        let windows = role == Role::Agent && index >= config.agents;
        let system = if windows { OperatingSystem::Windows } else { OperatingSystem::Linux };
        Node { name, role, index, address: Some(address), system }
    };
    let planes = (0..config.control_planes).map(|index| {
        // The internal load balancer's address, which lies 10 above the first one's, is left out.
        node(Role::ControlPlane, index, at(255, 5 + index))
    });
    let agents = (0..agents).map(|index| {
        let third = u8::try_from(index / AGENTS_A_NET).unwrap_or(u8::MAX);
        node(Role::Agent, index, at(third, 20 + index % AGENTS_A_NET))
    });
    Ok(Cluster {
        name: ClusterName::new(config.name.clone()),
        layout: Layout::AksEngine,
        version: config.version,
        endpoint: config
            .endpoint
            .clone()
            .unwrap_or_else(|| format!("{}.local.cloudapp.example.com", config.name)),
        api_port: API_PORT,
        admin_user: ADMIN.to_owned(),
        nodes: planes.chain(agents).collect(),
    })
}

fn dns_names(endpoint: &str) -> Vec<String> {
    let names = [
        endpoint,
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "kubernetes.kube-system",
        "kubernetes.kube-system.svc",
        "kubernetes.kube-system.svc.cluster.local",
    ];
    names.map(str::to_owned).to_vec()
}

fn pem_key(key: &PrivateKey) -> Result<String, SimError> {
    Ok(key.to_pem(KeyEncoding::Pkcs1OrSec1).map_err(SimError::pki)?.expose().to_owned())
}

/// A node's disk and units, with nothing running yet.
fn machine(cluster: &Cluster, node: &Node, pki: &FreshPki) -> Result<Machine, SimError> {
    let address = node.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    if node.system == OperatingSystem::Windows {
        return Ok(assembled(node, address, windows_disk(cluster, node, pki)?, &[]));
    }
    let mut files: Vec<(String, String, u32, &str)> = Vec::new();
    let described = &pki.described;
    let certificate = |leaf: &LeafId| {
        let found = described.leaves.get(leaf).map(Certificate::to_pem);
        found.ok_or_else(|| SimError::Build(format!("no certificate {leaf}")))
    };
    let key = |leaf: &LeafId| {
        let found = described.leaf_keys.get(leaf).ok_or_else(|| SimError::Build(format!("no key {leaf}")));
        found.and_then(pem_key)
    };
    let mut pair = |leaf: &LeafId, owners: [&'static str; 2]| -> Result<(), SimError> {
        files.push((certificate_file(&format!("{leaf}.crt")), certificate(leaf)?, 0o644, owners[0]));
        files.push((certificate_file(&format!("{leaf}.key")), key(leaf)?, 0o600, owners[1]));
        Ok(())
    };
    const ROOT: &str = "root:root";
    const ETCD: &str = "etcd:etcd";
    pair(&LeafId::from("client"), [ROOT, ROOT])?;
    if node.role == Role::ControlPlane {
        pair(&LeafId::from("apiserver"), [ROOT, ROOT])?;
        pair(&LeafId::from("etcdclient"), [ROOT, ROOT])?;
        pair(&LeafId::from("etcdserver"), [ROOT, ETCD])?;
        pair(&layout::etcd_peer(node.index), [ROOT, ETCD])?;
    }
    let ca = described.authorities.get(&TrustDomain::Cluster).map(Certificate::to_pem).unwrap_or_default();
    files.push((certificate_file("ca.crt"), ca.clone(), 0o644, ROOT));
    let own = pki.kubelet_server(&node.name)?;
    files.push((certificate_file("kubeletserver.crt"), own.certificate.to_pem(), 0o644, ROOT));
    files.push((certificate_file("kubeletserver.key"), pem_key(&own.key)?, 0o600, ROOT));
    let client = pki.kubelet_client(&node.name)?;
    let current = format!("{}/kubelet-client-{FIRST_STAMP}.pem", layout::KUBELET_PKI);
    let both = client.certificate.to_pem() + &pem_key(&client.key)?;
    files.push((current.clone(), both, 0o600, ROOT));
    files.push((definition_file(Component::Kubelet), texts::kubelet_environment(), 0o644, ROOT));
    let server =
        if node.role == Role::ControlPlane { address.to_string() } else { "10.255.255.15".to_owned() };
    files.push(("/var/lib/kubelet/kubeconfig".to_owned(), texts::node_kubeconfig(&server), 0o644, ROOT));
    if node.role == Role::ControlPlane {
        let ca_key =
            described.authority_keys.get(&TrustDomain::Cluster).map(pem_key).transpose()?.unwrap_or_default();
        files.push((certificate_file("ca.key"), ca_key, 0o600, ROOT));
        files.push((certificate_file("proxy-ca.crt"), pki.front_proxy_ca.to_pem(), 0o644, ROOT));
        files.push((certificate_file("proxy.crt"), pki.front_proxy.certificate.to_pem(), 0o644, ROOT));
        files.push((certificate_file("proxy.key"), pem_key(&pki.front_proxy.key)?, 0o600, ROOT));
        for component in [Component::ApiServer, Component::ControllerManager, Component::Scheduler] {
            let text = texts::manifest(component, cluster.version, &address.to_string(), cluster.api_port);
            files.push((manifest_file(component), text, 0o644, ROOT));
        }
        let members: Vec<(String, String)> = cluster
            .control_planes()
            .map(|node| (node.name.to_string(), node.address.map(|ip| ip.to_string()).unwrap_or_default()))
            .collect();
        let text = texts::etcd_environment(node.name.as_str(), node.index, &address.to_string(), &members);
        files.push((definition_file(Component::Etcd), text, 0o644, ROOT));
        let leaf = LeafId::from("kubectlClient");
        let endpoint = format!("https://{address}:443");
        let text = texts::admin_kubeconfig(
            cluster.name.as_str(),
            &endpoint,
            &ca,
            &certificate(&leaf)?,
            &key(&leaf)?,
        );
        files.push((layout::admin_kubeconfig(&cluster.admin_user), text, 0o600, "azureuser:azureuser"));
    }
    let mut disk = Disk::default();
    for (path, text, mode, owner) in files {
        let file = File {
            content: bytes(text),
            mode,
            owner: owner.to_owned(),
            modified: Duration::ZERO,
            clock_error: SignedDuration::ZERO,
        };
        disk.put(&path, file);
    }
    let link = File {
        content: crate::files::Stored::Link(current),
        mode: 0o777,
        owner: ROOT.to_owned(),
        modified: Duration::ZERO,
        clock_error: SignedDuration::ZERO,
    };
    disk.put(&layout::kubelet_client_link(), link);
    let units: &[&str] = match node.role {
        Role::ControlPlane => {
            &["etcd-monitor.service", "apiserver-monitor.service", "kubelet-monitor.service"]
        }
        Role::Agent => &["kubelet-monitor.service"],
    };
    Ok(assembled(node, address, disk, units))
}

/// What is on a Windows agent's drive.
fn windows_disk(cluster: &Cluster, node: &Node, pki: &FreshPki) -> Result<Disk, SimError> {
    let described = &pki.described;
    let leaf = LeafId::from("client");
    let shared = described.leaves.get(&leaf).map(Certificate::to_pem).unwrap_or_default();
    let key = described.leaf_keys.get(&leaf).map(pem_key).transpose()?.unwrap_or_default();
    let ca = described.authorities.get(&TrustDomain::Cluster).map(Certificate::to_pem).unwrap_or_default();
    let server = "https://10.255.255.15:443";
    let kubeconfig = texts::admin_kubeconfig(cluster.name.as_str(), server, &ca, &shared, &key);
    let own = pki.kubelet_server(&node.name)?;
    let client = pki.kubelet_client(&node.name)?;
    let current = format!(r"{}\kubelet-client-{FIRST_STAMP}.pem", windows::KUBELET_PKI);
    let files = [
        (windows::ROOTS.to_owned(), bytes(ca)),
        (windows::KUBECONFIG.to_owned(), bytes(kubeconfig)),
        (format!("{}.crt", windows::KUBELET_SERVING), bytes(own.certificate.to_pem())),
        (format!("{}.key", windows::KUBELET_SERVING), bytes(pem_key(&own.key)?)),
        (current.clone(), bytes(client.certificate.to_pem() + &pem_key(&client.key)?)),
        (windows::KUBELET_CLIENT.to_owned(), crate::files::Stored::Link(current)),
    ];
    let mut disk = Disk::default();
    for (path, content) in files {
        let owner = "S-1-5-18:S-1-5-18".to_owned();
        let (modified, clock_error) = (Duration::ZERO, SignedDuration::ZERO);
        disk.put(&path, File { content, mode: 0o644, owner, modified, clock_error });
    }
    Ok(disk)
}

fn assembled(node: &Node, address: IpAddr, disk: Disk, units: &[&str]) -> Machine {
    Machine {
        node: node.clone(),
        address,
        disk,
        from_disk: BTreeMap::new(),
        processes: BTreeMap::new(),
        epochs: BTreeMap::new(),
        diversion: None,
        units: units.iter().map(|unit| ((*unit).to_owned(), true)).collect(),
        timers: 0,
        failed_checks: BTreeMap::new(),
        backups: BTreeMap::new(),
        log: Vec::new(),
        last_pid: 1000,
        ended: BTreeMap::new(),
        ailments: Ailments::default(),
    }
}

/// The etcd keys through which masters share the front proxy's files; each value begins with a space, as AKS engine's
/// script writes it.
fn front_proxy_keys(pki: &FreshPki) -> Result<Vec<(String, Vec<u8>)>, SimError> {
    let value = |text: String| format!(" {text}").into_bytes();
    Ok(vec![
        ("/proxycerts/requestheader-client-ca-file".to_owned(), value(pki.front_proxy_ca.to_pem())),
        ("/proxycerts/proxy-client-cert-file".to_owned(), value(pki.front_proxy.certificate.to_pem())),
        ("/proxycerts/proxy-client-key-file".to_owned(), value(pem_key(&pki.front_proxy.key)?)),
    ])
}

fn objects(config: &SimConfig, pki: &FreshPki, store: &mut Store) -> Result<Objects, SimError> {
    let ca = pki.described.authorities.get(&TrustDomain::Cluster).cloned();
    let roots = store.bundle(ca.into_iter().collect());
    let front_proxy = store.bundle(vec![pki.front_proxy_ca.clone()]);
    let mut objects = Objects {
        extension: Some(Extension { client_ca: roots, request_header_ca: front_proxy }),
        ..Objects::default()
    };
    for namespace in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        objects.roots.insert(namespace.to_owned(), roots);
    }
    if config.workloads == Workloads::Minimal {
        return Ok(objects);
    }
    for namespace in ["demo", AGGREGATED[0]] {
        objects.roots.insert(namespace.to_owned(), roots);
    }
    let key =
        pki.described.leaf_keys.get(&LeafId::from("apiserver")).map(|key| Fingerprint::of(key.spki_der()));
    let token = ObjectRef { namespace: "demo".to_owned(), name: "legacy-token".to_owned() };
    let state = TokenSecretState { service_account: "legacy".to_owned(), roots, signer: key, stamp: None };
    objects.token_secrets.insert(token, state);
    let secret = ObjectRef { namespace: AGGREGATED[0].to_owned(), name: format!("{}-tls", AGGREGATED[1]) };
    let pair = Material {
        certificates: store.bundle(vec![pki.aggregated.certificate.clone()]),
        keys: vec![Fingerprint::of(pki.aggregated.key.spki_der())],
    };
    let mounted_by = vec![aggregated()];
    objects.tls_secrets.insert(secret, TlsSecretState { pair, roots: BundleId::EMPTY, mounted_by });
    objects.ca_bundles.insert(CaBundleHolder::ApiService("v1alpha1.sample.example.com".to_owned()), roots);
    Ok(objects)
}

fn aggregated() -> WorkloadRef {
    workload(WorkloadKind::Deployment, AGGREGATED[0], AGGREGATED[1])
}

fn workload(kind: WorkloadKind, namespace: &str, name: &str) -> WorkloadRef {
    WorkloadRef { kind, namespace: namespace.to_owned(), name: name.to_owned() }
}

/// Starts all processes, and everything that ticks.
fn power_on(world: &mut World) {
    for node in world.cluster.nodes.clone() {
        for component in components(node.role) {
            world.restart_process(&node.name, *component);
        }
        if node.role == Role::ControlPlane {
            world.after(HEALTH_CHECK_PERIOD, Event::HealthCheck { node: node.name });
        }
    }
    world.after(DIAL_PERIOD, Event::Etcd);
    world.after(BALANCER_PERIOD, Event::LoadBalancer);
}

fn place_workloads(world: &mut World, config: &SimConfig) {
    // Nothing here tolerates Windows.
    let linux = |node: &&Node| node.system == OperatingSystem::Linux;
    let nodes: Vec<NodeName> =
        world.cluster.nodes.iter().filter(linux).map(|node| node.name.clone()).collect();
    let workers: Vec<NodeName> =
        match world.cluster.agents().filter(linux).map(|node| node.name.clone()).collect::<Vec<_>>() {
            agents if agents.is_empty() => world.masters(),
            agents => agents,
        };
    let spread = |count: usize| -> Vec<NodeName> { workers.iter().cycle().take(count).cloned().collect() };
    let proxy = workload(WorkloadKind::DaemonSet, "kube-system", "kube-proxy");
    place(world, &proxy, Job::Proxy, &nodes);
    if config.workloads == Workloads::Minimal {
        return;
    }
    place(world, &workload(WorkloadKind::Deployment, "kube-system", "coredns"), Job::Caller, &spread(2));
    place(world, &workload(WorkloadKind::Deployment, "demo", "web"), Job::Caller, &spread(2));
    place(world, &workload(WorkloadKind::DaemonSet, "demo", "agent"), Job::Caller, &workers);
    place(world, &workload(WorkloadKind::StatefulSet, "demo", "store"), Job::Caller, &spread(1));
    place(world, &aggregated(), Job::Aggregated, &spread(1));
    let pod = ObjectRef { namespace: "demo".to_owned(), name: "bare".to_owned() };
    let seat = Seat {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        workload: None,
        node: spread(1).remove(0),
        job: Job::Caller,
        next: None,
        pod: None,
        coming: None,
    };
    let number = world.add_seat(seat);
    world.objects.bare_pods.insert(pod, Some(BarePod { stamp: None }));
    world.after(Duration::ZERO, Event::Replace { seat: number });
}

fn place(world: &mut World, workload: &WorkloadRef, job: Job, nodes: &[NodeName]) {
    let mut numbers = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let seat = Seat {
            namespace: workload.namespace.clone(),
            name: format!("{}-{index}", workload.name),
            workload: Some(workload.clone()),
            node: node.clone(),
            job,
            next: None,
            pod: None,
            coming: None,
        };
        numbers.push(world.add_seat(seat));
    }
    // AKS engine's DaemonSets set maxUnavailable to 50 %; everything else goes pod by pod.
    let at_once = if workload.kind == WorkloadKind::DaemonSet { numbers.len().div_ceil(2) } else { 1 };
    for (position, number) in numbers.iter().enumerate() {
        if let Some(seat) = world.objects.seats.get_mut(number) {
            seat.next = numbers.get(position + at_once).copied();
        }
    }
    let first = numbers.iter().take(at_once).copied().collect();
    world.objects.workloads.insert(workload.clone(), WorkloadState { first, ..WorkloadState::default() });
    for number in numbers {
        world.after(Duration::ZERO, Event::Replace { seat: number });
    }
}
