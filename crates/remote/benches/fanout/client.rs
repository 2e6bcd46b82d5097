//! The client: kubecert's own port to nodes, in a process of its own, so that the servers' processor time is not its.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use kubecert_core::model::{NodeName, RunId};
use kubecert_core::plan::Access;
use kubecert_engine::ports::{FileBytes, FileContent, Nodes as _, PortResult};
use kubecert_remote::{HostKeys, SshConfig, SshNodes, UserKey};
use zeroize::Zeroizing;

use crate::figures::{argument, milliseconds, peak_mib, tell, threads_time};

/// What an agent gets, by name and length: RSA 2048 certificates and keys as AKS engine's are.
const FILES: [(&str, usize); 6] = [
    ("kubeletserver.crt", 1_300),
    ("kubeletserver.key", 1_679),
    ("client.crt", 1_350),
    ("client.key", 1_679),
    ("kubelet-client.pem", 3_000),
    ("ca.crt", 1_800),
];

/// Writes the files to every node of `--nodes FILE`, which holds lines `NAME PORT DIRECTORY`.
pub(crate) fn run() {
    let nodes: PathBuf = argument("--nodes").expect("--nodes FILE");
    let nodes = std::fs::read_to_string(nodes).expect("the nodes can be read");
    let nodes: Vec<(NodeName, u16, String)> = nodes
        .lines()
        .map(|line| {
            let mut fields = line.split(' ');
            let mut field = || fields.next().expect("a name, a port, a directory");
            (NodeName::from(field()), field().parse().expect("a port"), field().to_owned())
        })
        .collect();
    let key = UserKey::load(&argument::<PathBuf>("--key").expect("--key FILE")).expect("a private key");
    let host_keys = HostKeys::load(argument::<PathBuf>("--known-hosts").expect("--known-hosts FILE"), &[])
        .expect("they are read");
    let address = |(name, port, _): &(NodeName, u16, String)| (name.clone(), ("127.0.0.1".to_owned(), *port));
    let config = SshConfig {
        bastion_port: argument("--bastion-port").expect("--bastion-port PORT"),
        addresses: nodes.iter().map(address).collect(),
        ..SshConfig::new("127.0.0.1", "root", key, host_keys)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    tell("before_mib", peak_mib());
    let (began, on_processor) = (Instant::now(), threads_time());
    let failed = runtime.block_on(stage_everywhere(config, &nodes));
    let (wall, on_processor) = (began.elapsed(), threads_time() - on_processor);
    tell("wall_ms", milliseconds(wall));
    tell("cpu_ms", milliseconds(on_processor));
    tell("peak_mib", peak_mib());
    tell("failed", failed);
}

/// All nodes at once, as a plan's first phase does; how many failed.
async fn stage_everywhere(config: SshConfig, nodes: &[(NodeName, u16, String)]) -> usize {
    let ssh = Arc::new(SshNodes::connect_bastion(config).await.expect("the bastion lets us in"));
    let tasks: Vec<_> = nodes
        .iter()
        .map(|(name, _, directory)| {
            let (ssh, name, directory) = (Arc::clone(&ssh), name.clone(), directory.clone());
            tokio::spawn(async move { stage(&ssh, &name, &directory).await })
        })
        .collect();
    let mut failed = 0;
    for task in tasks {
        if let Err(error) = task.await.expect("no panic") {
            if failed == 0 {
                eprintln!("{error}");
            }
            failed += 1;
        }
    }
    failed
}

/// One round trip: the files are written, synced, renamed, and read back by digest, which the port compares.
async fn stage(ssh: &SshNodes, node: &NodeName, directory: &str) -> PortResult<()> {
    let files = FILES.iter().map(|(name, length)| FileBytes {
        path: format!("{directory}/{name}"),
        bytes: FileContent::Bytes(Zeroizing::new(vec![b'x'; *length])),
        access: Some(Access { mode: 0o600, owner: "root:root".to_owned() }),
    });
    let written = ssh.write(node, &RunId::from("01BENCH"), files.collect()).await?;
    assert!(written.iter().all(|file| !file.unchanged), "{node} had the files already");
    Ok(())
}
