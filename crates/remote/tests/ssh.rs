//! The whole way: bastion, nodes behind it, scripts, tunnels; and everything that can be wrong with it.

mod support;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kubecert_core::model::{NodeName, RunId};
use kubecert_core::plan::Access;
use kubecert_engine::ports::{Fault, FileBytes, FileContent, NodeQuestion, Nodes, PortError};
use kubecert_remote::SshNodes;
use support::{AKS_ENGINE, Bed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zeroize::Zeroizing;

const MASTER: &str = "k8s-master-1-0";
const AGENT: &str = "k8s-pool-1-0";

fn refused(error: &PortError, cause: &str) {
    assert!(error.to_string().contains(cause), "{error}");
    assert!(error.remedy.as_deref().is_some_and(|remedy| remedy.ends_with('.')), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_reached_and_changed_through_the_bastion() {
    let Some(bed) = Bed::new() else { return };
    let (bastion, master, agent) =
        (bed.sshd("bastion", ""), bed.sshd("master", AKS_ENGINE), bed.sshd("agent", AKS_ENGINE));
    let begun = Instant::now();
    let nodes = Arc::new(
        SshNodes::connect_bastion(bed.config(&bastion, &[(MASTER, &master), (AGENT, &agent)])).await.unwrap(),
    );
    let to_bastion = begun.elapsed();
    let names = [NodeName::from(MASTER), NodeName::from(AGENT)];
    for name in &names {
        nodes.connect(name).await.unwrap();
    }
    let to_nodes = begun.elapsed() - to_bastion;

    // Everybody was met for the first time, and is pinned under a name of its own.
    let told: Vec<String> = bed.told.lock().unwrap().iter().map(|contact| contact.host.clone()).collect();
    let expected = [
        format!("[127.0.0.1]:{}", bastion.port),
        format!("[{MASTER}]:{}", master.port),
        format!("[{AGENT}]:{}", agent.port),
    ];
    assert_eq!(told, expected);
    let pinned = fs::read_to_string(bed.path("state/known_hosts")).unwrap();
    let key = master.public_key();
    let key = key.split(' ').take(2).collect::<Vec<_>>().join(" ");
    assert!(pinned.contains(&format!("[{MASTER}]:{} {key}\n", master.port)), "{pinned}");

    // A file goes there and comes back.
    let path = bed.path("master/ca.key").display().to_string();
    let secret: Vec<u8> = (0..200_000_u32).map(|number| (number % 251) as u8).collect();
    let file = || FileBytes {
        path: path.clone(),
        bytes: FileContent::Bytes(Zeroizing::new(secret.clone())),
        access: Some(Access { mode: 0o600, owner: "root:root".into() }),
    };
    let run = RunId::from("01RUN");
    let begun = Instant::now();
    assert!(!nodes.write(&names[0], &run, vec![file()]).await.unwrap()[0].unchanged);
    let write = begun.elapsed();
    assert!(nodes.write(&names[0], &run, vec![file()]).await.unwrap()[0].unchanged);
    assert_eq!(nodes.read(&names[0], &path).await.unwrap().unwrap().as_slice(), secret);
    assert!(fs::read_to_string(bed.path("azure/master.log")).unwrap().contains("kubecert write: wrote"));

    // Many at once, over the one session: more than sshd's MaxSessions would allow.
    let ask = NodeQuestion { paths: vec![path.clone()], tools: vec!["sh".into()], ..NodeQuestion::default() };
    let begun = Instant::now();
    let facts = nodes.look(&names[0], &ask).await.unwrap();
    let look = begun.elapsed();
    assert!(facts.clock_offset_ms.abs() < 1_000 && facts.files.len() == 1, "{facts:?}");
    let many = (0..30).map(|number| {
        let (nodes, ask, name) = (Arc::clone(&nodes), ask.clone(), names[number % 2].clone());
        tokio::spawn(async move { nodes.look(&name, &ask).await.map(drop) })
    });
    for task in many.collect::<Vec<_>>() {
        task.await.unwrap().unwrap();
    }

    // A tunnel from the node.
    let port = echo().await;
    let mut stream = nodes.dial(&names[1], "127.0.0.1", port).await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "ping");
    let closed = nodes.dial(&names[1], "127.0.0.1", 1).await.err().unwrap();
    assert_eq!(closed.fault, Fault::Unreachable);
    println!(
        "bastion {to_bastion:?}, two nodes {to_nodes:?}, write of 200 kB {write:?}, look {look:?}, clock {} ms",
        facts.clock_offset_ms
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_sessions_are_opened_again_and_changed_keys_stop() {
    let Some(bed) = Bed::new() else { return };
    let (bastion, master) = (bed.sshd("bastion", ""), bed.sshd("master", AKS_ENGINE));
    let nodes = SshNodes::connect_bastion(bed.config(&bastion, &[(MASTER, &master)])).await.unwrap();
    let name = NodeName::from(MASTER);
    nodes.connect(&name).await.unwrap();
    assert_eq!(bed.told.lock().unwrap().len(), 2);

    // As after a reboot: every connection is gone, and the same machine comes back.
    let (port, key) = master.stop();
    let master = bed.sshd_with("master", AKS_ENGINE, port, key);
    let ask = NodeQuestion::default();
    let limit = Instant::now() + Duration::from_secs(30);
    // The first call may still use the session whose end nobody has told yet.
    while let Err(error) = nodes.look(&name, &ask).await {
        assert!(error.is_transient() && Instant::now() < limit, "{error}");
    }
    assert_eq!(bed.told.lock().unwrap().len(), 2, "known from before");

    // Another machine in its place.
    let (port, _) = master.stop();
    let other = bed.keygen("other.key", &["-t", "ed25519"]);
    let master = bed.sshd_with("master", AKS_ENGINE, port, other);
    let error = loop {
        match nodes.look(&name, &ask).await {
            Err(error) if error.is_transient() => assert!(Instant::now() < limit, "{error}"),
            Err(error) => break error,
            Ok(_) => panic!("it must not be spoken to"),
        }
    };
    refused(&error, "host key has changed");
    assert!(error.to_string().contains(MASTER) && error.fault == Fault::Refused, "{error}");

    // The user's own file may say that it is right after all, but a revocation outweighs everything.
    let line = |marker: &str| format!("{marker}[{MASTER}]:{port} {}\n", master.public_key());
    fs::write(bed.path("users_known_hosts"), line("")).unwrap();
    let nodes = SshNodes::connect_bastion(bed.config(&bastion, &[(MASTER, &master)])).await.unwrap();
    nodes.connect(&name).await.unwrap();
    fs::write(bed.path("users_known_hosts"), line("") + &line("@revoked ")).unwrap();
    let nodes = SshNodes::connect_bastion(bed.config(&bastion, &[(MASTER, &master)])).await.unwrap();
    refused(&nodes.connect(&name).await.unwrap_err(), "is revoked in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_told_with_its_remedy() {
    let Some(bed) = Bed::new() else { return };
    let bastion = bed.sshd("bastion", "");
    let shut = bed.sshd("shut", "AllowTcpForwarding no\n");
    let old = bed.sshd("old", "KexAlgorithms diffie-hellman-group14-sha1\n");
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();

    let mut nowhere = bed.config(&bastion, &[]);
    nowhere.bastion_port = 1;
    let error = SshNodes::connect_bastion(nowhere).await.unwrap_err();
    refused(&error, "cannot reach the SSH host 127.0.0.1:1");
    assert_eq!(error.fault, Fault::Unreachable);

    let mut silent = bed.config(&bastion, &[]);
    silent.bastion_port = deaf.local_addr().unwrap().port();
    silent.connect_timeout = Duration::from_millis(500);
    let error = SshNodes::connect_bastion(silent).await.unwrap_err();
    refused(&error, "no login within");
    assert_eq!(error.fault, Fault::Timeout);

    let mut stranger = bed.config(&bastion, &[]);
    bed.keygen("stranger", &["-t", "ed25519"]);
    stranger.private_key = kubecert_remote::UserKey::load(&bed.path("stranger")).unwrap();
    let error = SshNodes::connect_bastion(stranger).await.unwrap_err();
    refused(&error, "cannot log in to 127.0.0.1 as root: the key is not accepted");
    assert_eq!(error.fault, Fault::Refused);

    let error = SshNodes::connect_bastion(bed.config(&old, &[])).await.unwrap_err();
    refused(&error, "no common Kex algorithm");

    let error = kubecert_remote::UserKey::load(&bed.path("missing")).unwrap_err();
    refused(&error, "there is no such file");

    let nodes = SshNodes::connect_bastion(bed.config(&bastion, &[(AGENT, &old)])).await.unwrap();
    let error = nodes.connect(&NodeName::from("no-such-node.invalid")).await.unwrap_err();
    refused(&error, "cannot reach no-such-node.invalid:22 from 127.0.0.1");
    refused(&nodes.connect(&NodeName::from(AGENT)).await.unwrap_err(), "no common Kex algorithm");

    let nodes = SshNodes::connect_bastion(bed.config(&shut, &[(AGENT, &bastion)])).await.unwrap();
    refused(&nodes.connect(&NodeName::from(AGENT)).await.unwrap_err(), "does not allow TCP forwarding");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_nodes_are_reached_at_once() {
    let Some(bed) = Bed::new() else { return };
    // One sshd plays them all, so that its limit on logins under way (10:30:100) is felt.
    let (bastion, node) = (bed.sshd("bastion", ""), bed.sshd("node", ""));
    let names: Vec<String> = (0..40).map(|number| format!("node-{number}")).collect();
    let all: Vec<_> = names.iter().map(|name| (name.as_str(), &node)).collect();
    let nodes = Arc::new(SshNodes::connect_bastion(bed.config(&bastion, &all)).await.unwrap());
    let begun = Instant::now();
    let tasks: Vec<_> = names
        .iter()
        .map(|name| {
            let (nodes, name) = (Arc::clone(&nodes), NodeName::from(name.as_str()));
            tokio::spawn(async move { nodes.look(&name, &NodeQuestion::default()).await.map(drop) })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    println!("{} nodes in {:?}", names.len(), begun.elapsed());
}

/// A session to each node of a large cluster would be more than the bastion's sshd forwards; those that are idle make way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_nodes_are_visited_with_the_sessions_of_a_few_dozen() {
    /// More than the tunnels that one session allows.
    const NODES: usize = 70;
    let Some(bed) = Bed::new() else { return };
    let (bastion, node) = (bed.sshd("bastion", ""), bed.sshd("node", "MaxStartups 100\n"));
    let names: Vec<String> = (0..NODES).map(|index| format!("k8s-pool-1-{index}")).collect();
    let addresses: Vec<_> = names.iter().map(|name| (name.as_str(), &node)).collect();
    let nodes = Arc::new(SshNodes::connect_bastion(bed.config(&bastion, &addresses)).await.unwrap());
    // Twice, so that nodes are visited whose session was closed for another's.
    for _ in 0..2 {
        let visits: Vec<_> = names
            .iter()
            .map(|name| {
                let (nodes, name) = (Arc::clone(&nodes), NodeName::from(name.as_str()));
                tokio::spawn(async move { nodes.read(&name, "/etc/hostname").await })
            })
            .collect();
        for visit in visits {
            assert!(visit.await.unwrap().unwrap().is_some());
        }
    }
    // One that has a tunnel is not idle, whatever comes after it.
    let port = echo().await;
    let mut tunnel = nodes.dial(&NodeName::from(names[0].as_str()), "127.0.0.1", port).await.unwrap();
    for name in &names[1..] {
        nodes.connect(&NodeName::from(name.as_str())).await.unwrap();
    }
    tunnel.write_all(b"ping").await.unwrap();
    let mut answer = [0; 4];
    tunnel.read_exact(&mut answer).await.expect("loopback works");
    assert_eq!(&answer, b"ping");
}

/// The port of a server that says once what is said to it.
async fn echo() -> u16 {
    let echo = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback works");
    let port = echo.local_addr().expect("loopback works").port();
    tokio::spawn(async move {
        let (mut socket, _) = echo.accept().await.expect("loopback works");
        let (mut from, mut to) = socket.split();
        tokio::io::copy(&mut from, &mut to).await.expect("loopback works");
    });
    port
}
