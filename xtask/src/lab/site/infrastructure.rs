//! The authority on the first host, and the node agents of both.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::holders::HOST_LOGIN;
use super::{AUTHORITY, HOST_IPS, Site, past};
use crate::cmd::CommandExt as _;
use crate::lab::cache::wait_for;
use crate::lab::node;
use crate::lab::spec::{Node, source};
use crate::lab::template::{directory, lay_tree};

/// The authority is older than anything that it ever signed here, and has more than 90 days to go still.
const FOUNDED: past::Ago = past::Ago::days(200);
/// How long a unit may take until it does what it is for.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// Makes the authority, starts it, and has the administrator log in.
pub(super) fn found(site: &Site) -> Result<()> {
    let spec = &site.target;
    for host in spec.hosts() {
        install(&site.program, &spec.root(host), "kubecert")?;
    }
    let (at, login) = (site.authority()?, site.directory().join("mocLogin.yaml"));
    let (at, login) = (at.to_string_lossy(), login.to_string_lossy());
    let address = std::net::Ipv4Addr::from(HOST_IPS[0]).to_string();
    let words = [
        "authority",
        "init",
        "--dir",
        &*at,
        "--host",
        AUTHORITY,
        "--host",
        &address,
        "--login-file",
        &*login,
    ];
    past::at(Some(FOUNDED), site.kubecert(&words)).read()?;
    let host = spec.node("h0")?;
    start(site, host, "authority", "kubecert-authority.service", &[])?;
    // Its first token is as old as the authority.
    super::holders::administrator().rotate(site, past::Ago::days(0))?;
    let access = site.directory().join("mocctl.json");
    let access = access.to_string_lossy();
    let log_in = ["authority", "login", "--login-file", &*login, "--access-file", &*access];
    wait_for(START_PATIENCE, || site.kubecert(&log_in).succeeds()).context("the administrator cannot log in")
}

/// Starts the node agents, and waits until each has its certificate.
pub(super) fn start_agents(site: &Site) -> Result<()> {
    for host in site.target.hosts() {
        let agent = site.target.root(host).join("var/lib/node-agent");
        directory(&agent, 0o700, (0, 0))?;
        start(site, host, "host", "node-agent.service", &[("LOGIN", HOST_LOGIN.to_owned())])?;
        wait_for(START_PATIENCE, || agent.join("access.json").exists())
            .with_context(|| format!("the node agent of {} has not logged in", host.name))?;
    }
    Ok(())
}

/// Puts a program of this repository on a machine.
pub(super) fn install(program: &Path, root: &Path, name: &str) -> Result<()> {
    let to = root.join("usr/local/bin").join(name);
    fs::create_dir_all(root.join("usr/local/bin"))?;
    // Its mode comes with it.
    fs::copy(program, &to)
        .with_context(|| format!("cannot copy {} to {}", program.display(), to.display()))?;
    Ok(())
}

/// Lays a tree of the lab's over a running machine, and starts a unit of it, now and at each boot.
fn start(site: &Site, on: &Node, tree: &str, unit: &str, values: &[(&str, String)]) -> Result<()> {
    let spec = &site.target;
    lay_tree(&source().join("site").join(tree), &spec.root(on), values)?;
    let script = format!("systemctl daemon-reload && systemctl enable --quiet --now {unit}");
    node::enter(spec, on, &["sh", "-c", &script])?.read()?;
    Ok(())
}
