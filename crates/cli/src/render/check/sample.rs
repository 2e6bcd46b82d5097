//! A cluster in which every kind of finding occurs.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use kubecert_core::inventory::{
    CertificateFacts, DescriptionFacts, FileFacts, Inventory, NodeFacts, Observed, Server, ServerFacts,
};
use kubecert_core::model::{Cluster, ClusterName, KubernetesVersion, Layout, LeafId, Node, NodeName, Role};

/// When it is looked at.
pub(in crate::render) fn now() -> Timestamp {
    "2026-11-21T20:00:00Z".parse().unwrap()
}

/// The cluster.
pub(in crate::render) fn inventory() -> Inventory {
    let ca = certificate("ca", "ca", 1, 29 * 366);
    let apiserver = certificate("apiserver", "ca", 2, 29 * 366);
    let newer = certificate("apiserver", "ca", 3, 29 * 366);
    let client = certificate("client", "ca", 4, 12);
    let kubelet = certificate("kubelet", "kubelet", 5, -3);
    let node = |name: &str, apiserver: &CertificateFacts| {
        let files = vec![
            file("/etc/kubernetes/certs/apiserver.crt", apiserver),
            file("/etc/kubernetes/certs/ca.crt", &ca),
            file("/etc/kubernetes/certs/client.crt", &client),
        ];
        (NodeName::from(name), Observed::Seen(facts(name, files)))
    };
    let mut nodes: BTreeMap<_, _> =
        [node("k8s-master-0", &apiserver), node("k8s-master-1", &newer)].into_iter().collect();
    if let Some(Observed::Seen(facts)) = nodes.get_mut(&NodeName::from("k8s-master-0")) {
        facts.files.push(file("/etc/kubernetes/certs/kubeletserver.crt", &kubelet));
    }
    let broken = Observed::Unreadable("connection refused".to_owned());
    nodes.insert(NodeName::from("k8s-linuxpool-0"), broken);
    let serves = |node: &str| {
        let facts = ServerFacts { chain: vec![apiserver.clone()], client_ca_names: vec!["CN=ca".to_owned()] };
        (Server::ApiServer(NodeName::from(node)), Observed::Seen(facts))
    };
    Inventory {
        schema: Inventory::SCHEMA,
        taken: now(),
        cluster: cluster(),
        description: DescriptionFacts {
            certificates: [(LeafId::from("ca"), ca.clone())].into_iter().collect(),
            ca_key: true,
        },
        nodes,
        servers: vec![serves("k8s-master-0"), serves("k8s-master-1")],
        api: Observed::Unreadable("certificate has expired".to_owned()),
        etcd: Observed::Seen(Vec::new()),
    }
}

fn cluster() -> Cluster {
    let node = |name: &str, role, index| Node {
        name: NodeName::from(name),
        role,
        index,
        address: None,
        system: kubecert_core::model::OperatingSystem::Linux,
    };
    Cluster {
        name: ClusterName::from("lab"),
        layout: Layout::AksEngine,
        version: KubernetesVersion { major: 1, minor: 34 },
        endpoint: "lab.example.com".to_owned(),
        api_port: 443,
        admin_user: "azureuser".to_owned(),
        nodes: vec![
            node("k8s-master-0", Role::ControlPlane, 0),
            node("k8s-master-1", Role::ControlPlane, 1),
            node("k8s-linuxpool-0", Role::Agent, 0),
        ],
    }
}

fn certificate(name: &str, issuer: &str, serial: u64, days: i64) -> CertificateFacts {
    CertificateFacts {
        fingerprint: format!("{:064x}", serial.wrapping_mul(0x9e37_79b9_7f4a_7c15)).chars().rev().collect(),
        pem: String::new(),
        subject: format!("CN={name}"),
        issuer: format!("CN={issuer}"),
        serial: format!("{serial:x}"),
        not_before: now() - SignedDuration::from_hours(24 * 365),
        not_after: now() + SignedDuration::from_hours(24 * days),
        signed_by: None,
        is_ca: name == "ca",
        sans: Vec::new(),
        key: "rsa-4096".to_owned(),
    }
}

fn file(path: &str, certificate: &CertificateFacts) -> FileFacts {
    FileFacts {
        path: path.to_owned(),
        mode: 0o644,
        owner: "root:root".to_owned(),
        sha256: String::new(),
        modified: now(),
        certificates: vec![certificate.clone()],
        text: None,
        link: None,
    }
}

fn facts(hostname: &str, files: Vec<FileFacts>) -> NodeFacts {
    NodeFacts {
        hostname: hostname.to_owned(),
        clock_offset_ms: 0,
        free_bytes: 1 << 30,
        files,
        processes: Vec::new(),
        active_units: Vec::new(),
        missing_tools: Vec::new(),
    }
}
