//! Looks at a cluster and writes down what it shows.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::thread;

use futures::future::join_all;
use kubecert_core::inventory::{
    ApiFacts, CertificateFacts, DescriptionFacts, EtcdMember, Inventory, NodeFacts, Observed, Server,
    ServerFacts,
};
use kubecert_core::layout;
use kubecert_core::model::{
    Cluster, Component, Layout, LeafId, Node, NodeName, OperatingSystem, Role, TrustDomain,
};
use kubecert_pki::{Certificate, DistinguishedName};

use crate::facts::certificate_facts;
use crate::ports::{NodeQuestion, PortError, PortResult, Ports};
use crate::vault::PkiSet;

/// Looks at everything, in parallel, changing nothing.
///
/// `described` holds the control planes; agents are learnt from the Kubernetes API. What cannot be read is recorded as
/// unreadable, so this cannot fail.
pub async fn inventory(ports: &Ports, described: &Cluster, old: &PkiSet) -> Inventory {
    let planes: Vec<Node> = described.control_planes().cloned().collect();
    let (api, etcd, plane_facts) =
        futures::join!(ports.api.look(), ports.etcd.members(), look_at_all(ports, described, &planes));
    let cluster = complete(described, api.as_ref().ok());
    ports.nodes.learn(&cluster.nodes);
    let agents: Vec<Node> = cluster.agents().cloned().collect();
    let (agent_facts, servers) =
        futures::join!(look_at_all(ports, &cluster, &agents), shake_hands(ports, &cluster));
    let authorities: Vec<Certificate> = old.authorities.values().cloned().collect();
    let mut inventory = Inventory {
        schema: Inventory::SCHEMA,
        taken: ports.clock.now(),
        cluster,
        description: description(old),
        nodes: plane_facts.into_iter().chain(agent_facts).collect(),
        servers,
        api: observed(api),
        etcd: observed::<Vec<EtcdMember>>(etcd),
    };
    name_signers(&mut inventory, &authorities);
    inventory
}

/// What the operator's description of the cluster holds, as facts.
pub fn description(old: &PkiSet) -> DescriptionFacts {
    let ca = old.authorities.get(&TrustDomain::Cluster);
    let described = old.leaves.iter().filter(|(leaf, _)| layout::is_described(leaf));
    let mut certificates: BTreeMap<LeafId, CertificateFacts> =
        described.map(|(leaf, certificate)| (leaf.clone(), certificate_facts(certificate))).collect();
    if let Some(ca) = ca {
        certificates.insert(LeafId::from("ca"), certificate_facts(ca));
    }
    let ca_key = match (ca, old.authority_keys.get(&TrustDomain::Cluster)) {
        (Some(certificate), Some(key)) => key.matches(certificate),
        _ => false,
    };
    DescriptionFacts { certificates, ca_key }
}

/// What a handshake shows, as facts.
///
/// # Errors
///
/// Fails if the server cannot be reached or does not speak TLS.
pub async fn server(ports: &Ports, server: &Server) -> PortResult<ServerFacts> {
    let handshake = ports.probe.handshake(server).await?;
    let chain = handshake.chain.iter().filter_map(|der| Certificate::from_der(der).ok());
    let names = handshake.client_ca_names.iter().map(|name| {
        DistinguishedName::from_der(name)
            .map_or_else(|_| "unreadable name".to_owned(), |name| name.to_string())
    });
    Ok(ServerFacts {
        chain: chain.map(|certificate| certificate_facts(&certificate)).collect(),
        client_ca_names: names.collect(),
    })
}

/// The question that an inventory asks a node.
pub fn question(cluster: &Cluster, role: Role, system: OperatingSystem) -> NodeQuestion {
    if system == OperatingSystem::Windows {
        let own = [layout::windows::ROOTS, layout::windows::KUBECONFIG, layout::windows::KUBELET_PKI];
        return NodeQuestion {
            paths: own.map(str::to_owned).to_vec(),
            components: vec![Component::Kubelet, Component::KubeProxy],
            tools: vec![layout::windows::KUBELET_SERVICE.to_owned()],
            ..NodeQuestion::default()
        };
    }
    let place = cluster.layout;
    let mut paths = place.directories();
    if role == Role::Agent {
        paths.truncate(1);
    }
    paths.push(layout::kubelet_client_link());
    let serving = place.kubelet_serving_file(system);
    paths.extend((!serving.starts_with(place.certificates())).then_some(serving));
    if place == Layout::Kubeadm {
        paths.push(layout::kubelet_server_link());
    }
    paths.extend(place.kubelet_kubeconfig().map(str::to_owned));
    let mut texts = Vec::new();
    let mut components = vec![Component::Kubelet];
    let mut tools: Vec<String> = layout::TOOLS.map(str::to_owned).to_vec();
    if role == Role::ControlPlane {
        texts = place.static_pods().iter().copied().map(layout::manifest_file).collect();
        paths.extend(texts.iter().cloned());
        paths.extend(place.kubeconfig_paths(&cluster.admin_user));
        components.extend([
            Component::Etcd,
            Component::ApiServer,
            Component::ControllerManager,
            Component::Scheduler,
        ]);
        tools.extend(layout::CONTROL_PLANE_TOOLS.map(str::to_owned));
    }
    let units = match place {
        Layout::AksEngine => layout::MONITORS.map(str::to_owned).to_vec(),
        Layout::Kubeadm => Vec::new(),
    };
    NodeQuestion { paths, texts, components, units, tools }
}

async fn look_at_all(
    ports: &Ports,
    cluster: &Cluster,
    nodes: &[Node],
) -> Vec<(NodeName, Observed<NodeFacts>)> {
    join_all(nodes.iter().map(|node| async move {
        let question = question(cluster, node.role, node.system);
        (node.name.clone(), observed(ports.nodes.look(&node.name, &question).await))
    }))
    .await
}

async fn shake_hands(ports: &Ports, cluster: &Cluster) -> Vec<(Server, Observed<ServerFacts>)> {
    let servers = cluster.nodes.iter().flat_map(|node| {
        let name = || node.name.clone();
        let mut servers = vec![Server::Kubelet(name())];
        if node.role == Role::ControlPlane {
            servers.extend([Server::ApiServer(name()), Server::EtcdClient(name()), Server::EtcdPeer(name())]);
        }
        servers
    });
    join_all(servers.map(|at| async move {
        let facts = observed(server(ports, &at).await);
        (at, facts)
    }))
    .await
}

/// The described cluster with the agents and the version that the API tells.
fn complete(described: &Cluster, api: Option<&ApiFacts>) -> Cluster {
    let mut cluster = described.clone();
    let Some(api) = api else { return cluster };
    cluster.version = api.version;
    cluster.nodes.retain(|node| node.role == Role::ControlPlane);
    let mut agents: Vec<_> = api
        .nodes
        .iter()
        .filter(|status| described.control_planes().all(|plane| plane.name != status.name))
        .collect();
    agents.sort_by(|a, b| a.name.cmp(&b.name));
    cluster.nodes.extend(agents.into_iter().enumerate().map(|(index, status)| Node {
        name: status.name.clone(),
        role: Role::Agent,
        index,
        address: status.address,
        // Of another system the plan says that it does not know it.
        system: OperatingSystem::named(&status.operating_system).unwrap_or_default(),
    }));
    cluster
}

/// Finds out which of the known CAs really signed what was seen; names prove nothing.
pub fn name_signers(inventory: &mut Inventory, authorities: &[Certificate]) {
    let mut seen: Vec<&mut CertificateFacts> = Vec::new();
    for node in inventory.nodes.values_mut() {
        if let Observed::Seen(facts) = node {
            seen.extend(facts.files.iter_mut().flat_map(|file| &mut file.certificates));
        }
    }
    for (_, server) in &mut inventory.servers {
        if let Observed::Seen(facts) = server {
            seen.extend(&mut facts.chain);
        }
    }
    if let Observed::Seen(api) = &mut inventory.api {
        seen.extend(api.tls_secrets.iter_mut().flat_map(|secret| &mut secret.chain));
        seen.extend(api.ca_bundles.iter_mut().flat_map(|(_, roots)| roots));
    }
    // The same certificates lie on all nodes, and each signature is verified once.
    let mut signers: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut different: Vec<(&str, &str)> =
        seen.iter().map(|facts| (facts.fingerprint.as_str(), facts.pem.as_str())).collect();
    different.sort_unstable();
    different.dedup_by_key(|(fingerprint, _)| *fingerprint);
    let share = different.len().div_ceil(thread::available_parallelism().map_or(1, NonZero::get)).max(1);
    thread::scope(|scope| {
        let shares: Vec<_> = different
            .chunks(share)
            .map(|share| {
                let find =
                    |(fingerprint, pem): &(&str, &str)| ((*fingerprint).to_owned(), signer(pem, authorities));
                scope.spawn(move || share.iter().map(find).collect::<Vec<_>>())
            })
            .collect();
        for share in shares {
            signers.extend(share.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    for facts in seen {
        facts.signed_by = signers.get(&facts.fingerprint).cloned().flatten();
    }
}

/// The fingerprint of the CA that signed a certificate.
fn signer(pem: &str, authorities: &[Certificate]) -> Option<String> {
    let certificate = Certificate::from_pem(pem).ok()?;
    let authority = authorities.iter().find(|authority| certificate.signed_by(authority).is_ok())?;
    Some(authority.fingerprint().to_string())
}

fn observed<T>(result: Result<T, PortError>) -> Observed<T> {
    match result {
        Ok(fact) => Observed::Seen(fact),
        Err(error) => Observed::Unreadable(error.to_string()),
    }
}
