//! Three etcd members with mutual TLS.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kubecert_cluster::{EtcdClient, TlsProbe};
use kubecert_core::inventory::{EtcdMember, Server};
use kubecert_core::model::NodeName;
use kubecert_engine::ports::{Etcd, Fault, Probe};
use kubecert_pki::{Issuer, to_pem_chain};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::support::{Leaf, LoopbackNodes, Process, ca, credentials, free_port, programs, until};

/// What etcd's certificates carry: addresses, no names.
const ADDRESSES: &[&str] = &["10.255.255.5", "127.0.0.1"];

struct Cluster {
    directory: TempDir,
    members: Vec<Process>,
    names: Vec<NodeName>,
    nodes: Arc<LoopbackNodes>,
}

impl Cluster {
    fn start(binary: &Path, size: usize, ca: &Issuer, more: &[String]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::fs::write(path.join("ca.crt"), to_pem_chain([ca.certificate()])).unwrap();
        Leaf::server(ca, ADDRESSES).write(path, "server");
        let names: Vec<_> = (0..size).map(|index| NodeName::new(format!("k8s-master-{index}"))).collect();
        let ports: Vec<_> = names.iter().map(|_| (free_port(), free_port())).collect();
        let peers =
            names.iter().zip(&ports).map(|(name, (_, peer))| format!("{name}=https://127.0.0.1:{peer}"));
        let peers = peers.collect::<Vec<_>>().join(",");
        let members = names.iter().zip(&ports).map(|(name, (client, peer))| {
            let mut arguments = vec![format!("--name={name}"), format!("--data-dir={name}")];
            for (flag, port) in [("client", client), ("peer", peer)] {
                arguments.push(format!("--listen-{flag}-urls=https://127.0.0.1:{port}"));
            }
            arguments.push(format!("--advertise-client-urls=https://127.0.0.1:{client}"));
            arguments.push(format!("--initial-advertise-peer-urls=https://127.0.0.1:{peer}"));
            arguments.push(format!("--initial-cluster={peers}"));
            for prefix in ["", "peer-"] {
                arguments.push(format!("--{prefix}cert-file=server.crt"));
                arguments.push(format!("--{prefix}key-file=server.key"));
                arguments.push(format!("--{prefix}trusted-ca-file=ca.crt"));
                arguments.push(format!("--{prefix}client-cert-auth=true"));
            }
            arguments.extend_from_slice(more);
            Process::start(path, name.as_str(), binary, &arguments)
        });
        let members = members.collect();
        let ports = names.iter().zip(&ports).flat_map(|(name, (client, peer))| {
            [((name.clone(), 2379), *client), ((name.clone(), 2380), *peer)]
        });
        let nodes = Arc::new(LoopbackNodes(ports.collect()));
        Self { directory, members, names, nodes }
    }

    fn client(&self) -> EtcdClient {
        EtcdClient::new(self.nodes.clone(), self.names.clone())
    }

    fn probe(&self) -> TlsProbe {
        let own = self.names.iter().map(|name| (name.clone(), IpAddr::V4(Ipv4Addr::LOCALHOST)));
        TlsProbe::new(self.nodes.clone(), own.collect::<BTreeMap<_, _>>(), 443)
    }
}

async fn healthy(client: &EtcdClient, size: usize) -> Vec<EtcdMember> {
    until("etcd is healthy", async || {
        let members = client.members().await.ok()?;
        let ready = members.iter().filter(|member| member.healthy).count() == size;
        (ready && members.iter().any(|member| member.leader)).then_some(members)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members() {
    for binary in programs("etcd") {
        three_members_of(&binary).await;
    }
}

async fn three_members_of(binary: &Path) {
    let (old, new, stranger) = (ca("ca"), ca("ca-g2"), ca("stranger"));
    let mut cluster = Cluster::start(binary, 3, &old, &[]);
    let client = cluster.client();
    let mine = credentials(&[&old], &Leaf::client(&old));

    // Status.
    client.use_credentials(vec![mine.clone()]).await.unwrap();
    let members = healthy(&client, 3).await;
    assert_eq!(
        members.iter().map(|member| member.name.as_str()).collect::<Vec<_>>(),
        cluster.names.iter().map(NodeName::as_str).collect::<Vec<_>>()
    );
    assert_eq!(members.iter().filter(|member| member.leader).count(), 1);
    assert!(
        members.iter().all(|member| member.term == members[0].term
            && member.applied_index > 0
            && !member.id.is_empty())
    );
    assert!(members.iter().all(|member| member.committed_index >= member.applied_index));

    // Keys.
    let pairs = ["a", "b"].map(|key| (format!("/proxycerts/{key}"), Zeroizing::new(key.as_bytes().to_vec())));
    client.put(&pairs).await.unwrap();
    client.put(&pairs).await.unwrap();
    assert_eq!(client.get("/proxycerts/a").await.unwrap().as_deref(), Some(b"a".as_slice()));
    assert_eq!(client.get("/proxycerts/none").await.unwrap(), None);

    // Leadership goes where it is sent, and twice is once.
    let leader = members.iter().position(|member| member.leader).unwrap();
    let (from, to) = (cluster.names[leader].clone(), cluster.names[(leader + 1) % 3].clone());
    client.yield_leadership(&from, &to).await.unwrap();
    client.yield_leadership(&from, &to).await.unwrap();
    let members = healthy(&client, 3).await;
    assert!(members.iter().find(|member| member.name == to.as_str()).unwrap().leader);

    // What it presents and trusts, seen without a credential.
    let probe = cluster.probe();
    let names = [old.certificate().subject().der().to_vec()];
    for server in [Server::EtcdClient(from.clone()), Server::EtcdPeer(from.clone())] {
        let seen = probe.handshake(&server).await.unwrap();
        assert_eq!(seen.client_ca_names, names, "{server}");
        assert_eq!(seen.chain.len(), 1, "{server}");
    }

    // Who is served and who is not.
    let server = Server::EtcdClient(from.clone());
    assert_eq!(probe.get(&server, &mine, "/health").await.unwrap(), 200);
    let crossed = credentials(&[&old], &Leaf::client(&new).crossed(&new, &old));
    assert_eq!(probe.get(&server, &crossed, "/health").await.unwrap(), 200);
    let bare = credentials(&[&old], &Leaf::client(&new));
    assert_eq!(probe.get(&server, &bare, "/health").await.unwrap_err().fault, Fault::Refused);
    let distrustful = credentials(&[&stranger], &Leaf::client(&old));
    assert_eq!(probe.get(&server, &distrustful, "/health").await.unwrap_err().fault, Fault::Unexpected);

    // The first credentials are not accepted, or do not accept: the next ones are.
    client.use_credentials(vec![bare.clone(), distrustful, crossed.clone()]).await.unwrap();
    assert_eq!(client.get("/proxycerts/b").await.unwrap().as_deref(), Some(b"b".as_slice()));
    client.use_credentials(vec![bare]).await.unwrap();
    let error = client.get("/proxycerts/b").await.unwrap_err();
    assert!(matches!(error.fault, Fault::Refused | Fault::Unreachable), "{error}");
    client.use_credentials(vec![crossed]).await.unwrap();

    // A server with the new leaf and the cross certificate, seen by one who trusts only the old CA, and by one who
    // trusts only the new one. etcd reads the files at each handshake.
    Leaf::server(&new, ADDRESSES).crossed(&new, &old).write(cluster.directory.path(), "server");
    assert_eq!(probe.handshake(&server).await.unwrap().chain.len(), 2);
    assert_eq!(probe.get(&server, &mine, "/health").await.unwrap(), 200);
    let updated = credentials(&[&new], &Leaf::client(&new).crossed(&new, &old));
    assert_eq!(probe.get(&server, &updated, "/health").await.unwrap(), 200);
    assert_eq!(healthy(&client, 3).await.len(), 3);

    // A member that is gone is listed, quickly, as not healthy; and is no obstacle.
    cluster.members[leader].stop();
    let begun = Instant::now();
    let members = client.members().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10));
    let gone = members.iter().find(|member| member.name == from.as_str()).unwrap();
    assert!(!gone.healthy && !gone.id.is_empty());
    assert_eq!(members.len(), 3);
    assert!(members.iter().filter(|member| member.healthy).count() == 2);
    client.put(&pairs).await.unwrap();
    assert_eq!(probe.handshake(&server).await.unwrap_err().fault, Fault::Unreachable);
    println!("etcd: {} members, {}", members.len(), binary.display());
}

/// With TLS 1.2 a server ends the handshake at once when no client certificate comes. What it has shown by then counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_speaks_tls_1_2_only() {
    let knows = |binary: &Path| {
        let help = std::process::Command::new(binary).arg("--help").output().unwrap();
        String::from_utf8_lossy(&help.stdout).contains("--tls-max-version")
    };
    let Some(binary) = programs("etcd").into_iter().find(|binary| knows(binary)) else {
        println!("skipped: there is no etcd that can be kept to TLS 1.2");
        return;
    };
    let (old, new) = (ca("ca"), ca("ca-g2"));
    let cluster = Cluster::start(&binary, 1, &old, &["--tls-max-version=TLS1.2".to_owned()]);
    let client = cluster.client();
    let mine = credentials(&[&old], &Leaf::client(&old));
    client.use_credentials(vec![credentials(&[&old], &Leaf::client(&new)), mine.clone()]).await.unwrap();
    healthy(&client, 1).await;
    let (probe, server) = (cluster.probe(), Server::EtcdClient(cluster.names[0].clone()));
    let seen = probe.handshake(&server).await.unwrap();
    assert_eq!(seen.client_ca_names, [old.certificate().subject().der().to_vec()]);
    assert_eq!(seen.chain.len(), 1);
    assert_eq!(probe.get(&server, &mine, "/health").await.unwrap(), 200);
    let bare = credentials(&[&old], &Leaf::client(&new));
    assert_eq!(probe.get(&server, &bare, "/health").await.unwrap_err().fault, Fault::Refused);
}
