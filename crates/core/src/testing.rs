//! Synthetic clusters in AKS engine's layout, for tests here and in other crates.

mod kubeadm;
pub mod wrong;

pub use kubeadm::{Kubelets, kubeadm, kubeadm_with};

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use jiff::Timestamp;

use crate::intent::{Intent, Strategy, Why};
use crate::inventory::{
    ApiFacts, CaBundleHolder, CertificateFacts, DescriptionFacts, EtcdMember, FileFacts, Inventory,
    NodeFacts, NodeStatus, ObjectRef, Observed, ProcessFacts, Server, ServerFacts, TlsSecret, TokenSecret,
    WorkloadKind, WorkloadRef,
};
use crate::layout::{
    self, MONITORS, admin_kubeconfig, certificate_file, etcd_peer, kubelet_client_link, manifest_file,
};
use crate::model::{
    Cluster, ClusterName, Component, KubernetesVersion, Layout, LeafId, Node, NodeName, OperatingSystem, Role,
};
use crate::planner::Naming;

/// How manifests are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// AKS engine: quoted flags in a flow list on one line.
    Flow,
    /// kubeadm: one flag a line.
    Block,
    /// JSON.
    Json,
}

/// What a synthetic cluster is like.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Number of control planes.
    pub control_planes: usize,
    /// Number of agents.
    pub agents: usize,
    /// Number of agents that run Windows, besides.
    pub windows_agents: usize,
    /// Minor version of Kubernetes.
    pub minor: u16,
    /// How manifests are written.
    pub style: Style,
    /// Whether there is aggregation.
    pub front_proxy: bool,
    /// Whether kubelets have client certificates of their own.
    pub kubelet_clients: bool,
    /// Whether monitors run on control planes.
    pub monitors: bool,
    /// Whether there are Deployments and the like besides kube-proxy, a bare pod, and a token Secret.
    pub workloads: bool,
    /// Whether there is an aggregated API server whose leaf the cluster CA signed.
    pub aggregated: bool,
    /// Whether the description has the CA's key.
    pub ca_key: bool,
    /// Which control plane's etcd member leads.
    pub leader: usize,
    /// Pods of Jobs.
    pub job_pods: usize,
}

impl Default for Shape {
    /// Three control planes, two agents, and everything that a rotation may meet.
    fn default() -> Self {
        Self {
            control_planes: 3,
            agents: 2,
            windows_agents: 0,
            minor: 34,
            style: Style::Flow,
            front_proxy: true,
            kubelet_clients: true,
            monitors: true,
            workloads: true,
            aggregated: true,
            ca_key: true,
            leader: 0,
            job_pods: 0,
        }
    }
}

impl Shape {
    /// A cluster of that size, everything else as by default.
    pub fn sized(control_planes: usize, agents: usize) -> Self {
        Self { control_planes, agents, ..Self::default() }
    }

    /// The cluster as it is observed, before anything was rotated.
    pub fn inventory(&self) -> Inventory {
        let nodes = self.nodes();
        let facts = nodes.iter().map(|node| (node.name.clone(), Observed::Seen(self.node(node)))).collect();
        let version = KubernetesVersion { major: 1, minor: self.minor };
        let cluster = Cluster {
            name: ClusterName::from("synthetic"),
            layout: Layout::AksEngine,
            version,
            endpoint: "synthetic.local.cloudapp.azurestack.external".to_owned(),
            api_port: 443,
            admin_user: USER.to_owned(),
            nodes: nodes.clone(),
        };
        Inventory {
            schema: Inventory::SCHEMA,
            taken: timestamp(NOW),
            description: self.description(),
            nodes: facts,
            servers: self.servers(&nodes),
            api: Observed::Seen(self.api(version, &nodes)),
            etcd: Observed::Seen(self.members(&nodes)),
            cluster,
        }
    }

    fn nodes(&self) -> Vec<Node> {
        let node = |name: String, role, index, last| Node {
            name: NodeName::new(name),
            role,
            index,
            address: Some(IpAddr::V4(Ipv4Addr::new(10, 240, 0, last))),
            system: OperatingSystem::Linux,
        };
        let small = |index: usize| u8::try_from(index).unwrap_or(u8::MAX / 2);
        (0..self.control_planes)
            .map(|index| node(format!("k8s-master-1-{index}"), Role::ControlPlane, index, 10 + small(index)))
            .chain(
                (0..self.agents)
                    .map(|index| node(format!("k8s-linux-1-{index}"), Role::Agent, index, 50 + small(index))),
            )
            .chain((0..self.windows_agents).map(|index| Node {
                system: OperatingSystem::Windows,
                ..node(format!("1000k8s01{index}"), Role::Agent, self.agents + index, 150 + small(index))
            }))
            .collect()
    }

    fn description(&self) -> DescriptionFacts {
        let mut certificates = BTreeMap::new();
        certificates.insert(LeafId::from("ca"), authority("ca"));
        let leaves = ["apiserver", "client", "kubectlClient", "etcdserver", "etcdclient"].map(LeafId::from);
        for leaf in leaves.into_iter().chain((0..self.control_planes).map(etcd_peer)) {
            certificates.insert(leaf.clone(), issued(leaf.as_str(), "ca"));
        }
        DescriptionFacts { certificates, ca_key: self.ca_key }
    }

    fn node(&self, node: &Node) -> NodeFacts {
        let master = node.role == Role::ControlPlane;
        if node.system == OperatingSystem::Windows {
            return self.windows_node(node);
        }
        let mut files = vec![file("ca.crt", 0o644, Some(authority("ca")))];
        files.extend(pair("client", issued("client", "ca")));
        let mut serving = issued(node.name.as_str(), "nobody");
        serving.is_ca = true;
        serving.signed_by = None;
        files.extend(pair("kubeletserver", serving));
        if master {
            files.push(file("ca.key", 0o600, None));
            let peer = etcd_peer(node.index);
            for leaf in ["apiserver", "etcdserver", "etcdclient", peer.as_str()] {
                files.extend(pair(leaf, issued(leaf, "ca")));
            }
            if self.front_proxy {
                files.push(file("proxy-ca.crt", 0o644, Some(authority("proxyClientCA"))));
                files.extend(pair("proxy", issued("aggregator", "proxyClientCA")));
            }
            files.push(text(&manifest_file(Component::ApiServer), self.apiserver()));
            files.push(text(&manifest_file(Component::ControllerManager), self.controller_manager()));
            files.push(FileFacts {
                certificates: vec![authority("ca"), issued("kubectlClient", "ca")],
                path: admin_kubeconfig(USER),
                ..file("x", 0o600, None)
            });
        }
        if self.kubelet_clients {
            let pem = format!("{}/kubelet-client-2026-01-02-03-04-05.pem", layout::KUBELET_PKI);
            let certificates = vec![issued(&format!("system:node:{}", node.name), "ca")];
            let there = FileFacts { path: pem.clone(), certificates, ..file("x", 0o600, None) };
            files.push(FileFacts { path: kubelet_client_link(), link: Some(pem), ..there.clone() });
            files.push(there);
        }
        let running: &[Component] = if master {
            &[
                Component::Etcd,
                Component::ApiServer,
                Component::ControllerManager,
                Component::Scheduler,
                Component::Kubelet,
                Component::KubeProxy,
            ]
        } else {
            &[Component::Kubelet, Component::KubeProxy]
        };
        let process = |(pid, component): (u32, &Component)| ProcessFacts {
            component: *component,
            pid,
            started: timestamp(NOW - 86_400),
        };
        NodeFacts {
            hostname: node.name.to_string(),
            clock_offset_ms: 3,
            free_bytes: 4 << 30,
            files,
            processes: (1000..).zip(running).map(process).collect(),
            active_units: if master && self.monitors {
                MONITORS.map(ToOwned::to_owned).into()
            } else {
                Vec::new()
            },
            missing_tools: Vec::new(),
        }
    }

    fn windows_node(&self, node: &Node) -> NodeFacts {
        use crate::layout::windows;
        let at = |path: &str, certificates| FileFacts {
            path: path.to_owned(),
            certificates,
            owner: "S-1-5-18:S-1-5-18".to_owned(),
            ..file("x", 0o644, None)
        };
        let mut serving = issued(node.name.as_str(), "nobody");
        serving.is_ca = true;
        serving.signed_by = None;
        let base = windows::KUBELET_SERVING;
        let mut files = vec![
            at(windows::ROOTS, vec![authority("ca")]),
            at(windows::KUBECONFIG, vec![authority("ca"), issued("client", "ca")]),
            at(&format!("{base}.crt"), vec![serving]),
            at(&format!("{base}.key"), Vec::new()),
        ];
        if self.kubelet_clients {
            let pem = format!(r"{}\kubelet-client-2026-01-02-03-04-05.pem", windows::KUBELET_PKI);
            let there = at(&pem, vec![issued(&format!("system:node:{}", node.name), "ca")]);
            let link = Some(pem);
            files.push(FileFacts { path: windows::KUBELET_CLIENT.to_owned(), link, ..there.clone() });
            files.push(there);
        }
        let process = |(pid, component)| ProcessFacts { component, pid, started: timestamp(NOW - 86_400) };
        NodeFacts {
            hostname: node.name.to_string(),
            clock_offset_ms: 3,
            free_bytes: 4 << 30,
            files,
            processes: (2000..).zip([Component::Kubelet, Component::KubeProxy]).map(process).collect(),
            active_units: Vec::new(),
            missing_tools: Vec::new(),
        }
    }

    fn servers(&self, nodes: &[Node]) -> Vec<(Server, Observed<ServerFacts>)> {
        let shows = |leaf: &str, names: &[&str]| {
            Observed::Seen(ServerFacts {
                chain: vec![issued(leaf, "ca")],
                client_ca_names: names.iter().map(|name| format!("CN={name}")).collect(),
            })
        };
        let mut servers = Vec::new();
        for node in nodes {
            let name = || node.name.clone();
            if node.role == Role::ControlPlane {
                servers.push((Server::ApiServer(name()), shows("apiserver", &["ca", "proxyClientCA"])));
                servers.push((Server::EtcdClient(name()), shows("etcdserver", &["ca"])));
                servers.push((Server::EtcdPeer(name()), shows(etcd_peer(node.index).as_str(), &["ca"])));
            }
            servers.push((Server::Kubelet(name()), shows(node.name.as_str(), &["ca"])));
        }
        servers
    }

    fn api(&self, version: KubernetesVersion, nodes: &[Node]) -> ApiFacts {
        let status = |node: &Node| NodeStatus {
            name: node.name.clone(),
            address: node.address,
            operating_system: match node.system {
                OperatingSystem::Linux => "linux".to_owned(),
                OperatingSystem::Windows => "windows".to_owned(),
            },
            ready: true,
            renewed: Some(timestamp(NOW - 5)),
        };
        let workload = |kind, namespace: &str, name: &str| WorkloadRef {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let mut workloads = vec![workload(WorkloadKind::DaemonSet, "kube-system", "kube-proxy")];
        if self.workloads {
            workloads.push(workload(WorkloadKind::Deployment, "default", "caller"));
            workloads.push(workload(WorkloadKind::StatefulSet, "default", "keeper"));
        }
        let aggregated = workload(WorkloadKind::Deployment, "aggregated", "extension");
        if self.aggregated {
            workloads.push(aggregated.clone());
        }
        ApiFacts {
            version,
            nodes: nodes.iter().map(status).collect(),
            workloads,
            bare_pods: if self.workloads { vec![object("default", "lonely")] } else { Vec::new() },
            job_pods: (0..self.job_pods).map(|index| object("default", &format!("job-{index}"))).collect(),
            token_secrets: if self.workloads {
                vec![TokenSecret {
                    object: object("default", "legacy-token"),
                    service_account: "legacy".to_owned(),
                    listed: self.minor < 24,
                    roots: vec![fingerprint("ca")],
                }]
            } else {
                Vec::new()
            },
            tls_secrets: if self.aggregated {
                vec![TlsSecret {
                    object: object("aggregated", "serving"),
                    chain: vec![issued("extension.aggregated.svc", "ca")],
                    roots: Vec::new(),
                    mounted_by: vec![aggregated],
                }]
            } else {
                Vec::new()
            },
            ca_bundles: if self.aggregated {
                vec![(CaBundleHolder::ApiService("v1.extension.example".to_owned()), vec![authority("ca")])]
            } else {
                Vec::new()
            },
            published_roots: BTreeMap::from([("default".to_owned(), vec![fingerprint("ca")])]),
        }
    }

    fn members(&self, nodes: &[Node]) -> Vec<EtcdMember> {
        nodes
            .iter()
            .filter(|node| node.role == Role::ControlPlane)
            .map(|node| EtcdMember {
                id: format!("{:x}", 0xa0 + node.index),
                name: node.name.to_string(),
                healthy: true,
                leader: node.index == self.leader,
                term: 2,
                applied_index: 1000,
                committed_index: 1000,
            })
            .collect()
    }

    fn apiserver(&self) -> String {
        let c = certificate_file;
        let mut flags = vec![
            "--advertise-address=10.240.0.10".to_owned(),
            "--anonymous-auth=false".to_owned(),
            format!("--client-ca-file={}", c("ca.crt")),
            format!("--etcd-cafile={}", c("ca.crt")),
            format!("--etcd-certfile={}", c("etcdclient.crt")),
            format!("--etcd-keyfile={}", c("etcdclient.key")),
            "--etcd-servers=https://127.0.0.1:2379".to_owned(),
            format!("--kubelet-client-certificate={}", c("client.crt")),
            format!("--kubelet-client-key={}", c("client.key")),
        ];
        if self.front_proxy {
            flags.push(format!("--proxy-client-cert-file={}", c("proxy.crt")));
            flags.push(format!("--proxy-client-key-file={}", c("proxy.key")));
            flags.push("--requestheader-allowed-names=".to_owned());
            flags.push(format!("--requestheader-client-ca-file={}", c("proxy-ca.crt")));
        }
        flags.push("--secure-port=443".to_owned());
        flags.push("--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned());
        flags.push(format!("--service-account-key-file={}", c("apiserver.key")));
        flags.push("--service-account-lookup=true".to_owned());
        flags.push(format!("--service-account-signing-key-file={}", c("apiserver.key")));
        flags.push(format!("--tls-cert-file={}", c("apiserver.crt")));
        flags.push(format!("--tls-private-key-file={}", c("apiserver.key")));
        flags.push("--v=4".to_owned());
        self.manifest("kube-apiserver", &flags)
    }

    fn controller_manager(&self) -> String {
        let c = certificate_file;
        let flags = [
            "--allocate-node-cidrs=false".to_owned(),
            format!("--cluster-signing-cert-file={}", c("ca.crt")),
            format!("--cluster-signing-key-file={}", c("ca.key")),
            "--kubeconfig=/var/lib/kubelet/kubeconfig".to_owned(),
            "--leader-elect=true".to_owned(),
            format!("--root-ca-file={}", c("ca.crt")),
            format!("--service-account-private-key-file={}", c("apiserver.key")),
            "--use-service-account-credentials=true".to_owned(),
        ];
        self.manifest("kube-controller-manager", &flags)
    }

    pub(super) fn manifest(&self, name: &str, flags: &[String]) -> String {
        let head = format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: kube-system\nspec:\n  hostNetwork: true\n  containers:\n  - name: {name}\n    image: registry.local/{name}:v1.{}.0\n",
            self.minor
        );
        let quoted = |separator: &str| {
            flags.iter().map(|flag| format!("\"{flag}\"")).collect::<Vec<_>>().join(separator)
        };
        match self.style {
            Style::Flow => format!("{head}    command: [\"{name}\"]\n    args: [{}]\n", quoted(", ")),
            Style::Block => {
                let lines: String = flags.iter().map(|flag| format!("    - {flag}\n")).collect();
                format!("{head}    command:\n    - {name}\n{lines}    volumeMounts: []\n")
            }
            Style::Json => format!(
                "{{\n \"kind\": \"Pod\",\n \"spec\": {{\n  \"containers\": [\n   {{\n    \"name\": \"{name}\",\n    \"command\": [\n     \"{name}\",\n     {}\n    ]\n   }}\n  ]\n }}\n}}\n",
                quoted(",\n     ")
            ),
        }
    }
}

/// The intent to replace the CA.
pub fn replace_ca(strategy: Option<Strategy>) -> Intent {
    Intent { strategy, ..Intent::new(Why::ReplaceCa) }
}

/// Lets certificates end ten days from now: those whose common name `chosen` says.
pub fn end_soon(inventory: &mut Inventory, chosen: impl Fn(&str) -> bool) {
    let soon = timestamp(NOW + 10 * 86_400);
    let shorten = |facts: &mut CertificateFacts| {
        if chosen(facts.subject.trim_start_matches("CN=")) {
            facts.not_after = soon;
        }
    };
    inventory.description.certificates.values_mut().for_each(shorten);
    for node in inventory.nodes.values_mut() {
        if let Observed::Seen(facts) = node {
            facts.files.iter_mut().flat_map(|file| &mut file.certificates).for_each(shorten);
        }
    }
    if let Observed::Seen(api) = &mut inventory.api {
        api.tls_secrets.iter_mut().flat_map(|secret| &mut secret.chain).for_each(shorten);
    }
}

/// A fixed moment, a year into the synthetic certificates' life.
pub fn naming() -> Naming {
    Naming { now: timestamp(NOW), stamp: "2026-11-21-20-15-30".to_owned() }
}

/// The synthetic cluster's CA, or that of its front proxy, by common name.
pub fn authority(name: &str) -> CertificateFacts {
    CertificateFacts {
        is_ca: true,
        signed_by: Some(fingerprint(name)),
        key: "rsa-4096".to_owned(),
        ..issued(name, name)
    }
}

/// A certificate that `issuer` signed.
pub fn issued(name: &str, issuer: &str) -> CertificateFacts {
    CertificateFacts {
        fingerprint: fingerprint(name),
        pem: format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", fingerprint(name)),
        subject: format!("CN={name}"),
        issuer: format!("CN={issuer}"),
        serial: fingerprint(name)[..16].to_owned(),
        not_before: timestamp(NOW - 365 * 86_400),
        not_after: timestamp(NOW + 29 * 365 * 86_400),
        is_ca: false,
        sans: Vec::new(),
        key: "rsa-2048".to_owned(),
        signed_by: Some(fingerprint(issuer)),
    }
}

const USER: &str = "azureuser";
const NOW: i64 = 1_795_291_200;

fn timestamp(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Not a digest, but as long as one, and another for each name.
fn fingerprint(name: &str) -> String {
    let hex: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex:0<64.64}")
}

fn object(namespace: &str, name: &str) -> ObjectRef {
    ObjectRef { namespace: namespace.to_owned(), name: name.to_owned() }
}

fn file(name: &str, mode: u32, certificate: Option<CertificateFacts>) -> FileFacts {
    FileFacts {
        path: certificate_file(name),
        mode,
        owner: "root:root".to_owned(),
        sha256: fingerprint(name),
        modified: timestamp(NOW - 365 * 86_400),
        certificates: certificate.into_iter().collect(),
        text: None,
        link: None,
    }
}

fn pair(base: &str, certificate: CertificateFacts) -> [FileFacts; 2] {
    [file(&format!("{base}.crt"), 0o644, Some(certificate)), file(&format!("{base}.key"), 0o600, None)]
}

fn text(path: &str, text: String) -> FileFacts {
    FileFacts { path: path.to_owned(), text: Some(text), ..file("x", 0o644, None) }
}
