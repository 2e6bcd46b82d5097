//! The site's machines, over SSH.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kubecert_cloud::arc::{Site, SocketName, SshAccess};
use kubecert_core::model::{NodeName, RunId};
use kubecert_core::plan::Access;
use kubecert_engine::ports::{FileBytes, FileContent, Nodes};
use kubecert_remote::{HostKeys, SshConfig, SshNodes};
use zeroize::Zeroizing;

use crate::args::KeySource;
use crate::commands::login;
use crate::commands::target::port_error;
use crate::errors::{CliError, Kind};

/// Logs in to a machine, which is called `name` from then on: through the site's SSH host, or directly.
pub(super) async fn connect(
    name: &str,
    machine: &SocketName,
    site: &Site,
    ssh_key: Option<&Path>,
) -> Result<Arc<dyn Nodes>, CliError> {
    let ssh = site.ssh.as_ref().ok_or_else(|| {
        CliError::new(
            Kind::Input,
            format!("the site file of {} does not say how machines are reached", site.name),
        )
        .hint("Add it: `ssh: {user: clouduser, key: FILE}`.")
    })?;
    let key = login::user_key(&key(ssh, ssh_key)?)?;
    let known_hosts = ssh.known_hosts.clone();
    let own = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".ssh/known_hosts"));
    let host_keys = HostKeys::load(known_hosts, &own.into_iter().collect::<Vec<_>>()).map_err(port_error)?;
    let host_keys = host_keys.on_first_contact(|contact| {
        eprintln!(
            "First contact with {}: its {} key {} is pinned in {} now.",
            contact.host,
            contact.algorithm,
            contact.fingerprint,
            contact.pinned_in.display()
        );
    });
    let SocketName { host, port } = ssh.through.as_ref().unwrap_or(machine);
    let mut config = SshConfig::new(host.clone(), ssh.user.clone(), key, host_keys);
    config.bastion_port = *port;
    config.addresses = [(NodeName::from(name), (machine.host.clone(), machine.port))].into();
    let nodes = SshNodes::connect_bastion(config).await.map_err(port_error)?;
    Ok(Arc::new(nodes))
}

fn key(ssh: &SshAccess, given: Option<&Path>) -> Result<KeySource, CliError> {
    if let Some(path) = given.map(Path::to_owned).or_else(|| ssh.key.clone()) {
        return Ok(KeySource::File { path, passphrase_fd: None });
    }
    let socket = std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty());
    socket.map(|socket| KeySource::Agent(socket.into())).ok_or_else(|| {
        CliError::new(Kind::Input, "there is no SSH key: the site file names none, and no SSH agent runs")
            .hint("Name it with `ssh: {key: FILE}`, or start an agent (`eval $(ssh-agent)`, then `ssh-add KEY`).")
    })
}

/// A file with these bytes, as it was, or for root alone where there was none.
pub(super) fn file(path: &str, bytes: Zeroizing<Vec<u8>>, is_new: bool) -> FileBytes {
    let access = is_new.then(|| Access { mode: 0o600, owner: "root:root".into() });
    FileBytes { path: path.to_owned(), bytes: FileContent::Bytes(bytes), access }
}

/// Nothing is backed up on a machine under that name; writing asks for one.
pub(super) fn run() -> RunId {
    RunId::new("cmdlet")
}
