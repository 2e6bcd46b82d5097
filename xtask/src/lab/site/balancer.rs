//! The load balancer's machine: the target cluster's API goes through its haproxy, which also presents the certificate of the
//! load balancer's agent.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Site, past, write_private};
use crate::cmd::{CommandExt as _, cmd};
use crate::lab::cache::wait_for;
use crate::lab::network::inside;
use crate::lab::spec::{Node, source};
use crate::lab::template::fill;
use crate::lab::{Issuer, Life, first_certificate, login, node};

/// haproxy reads certificate and key from one file.
pub(super) const CERTIFICATE: &str = "/etc/haproxy/agent.pem";
/// Where agents of load balancers listen.
pub(crate) const PORT: u16 = 46000;
/// How long haproxy and sshd may take to listen.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// Lets the operator in, and has haproxy present a certificate; nobody has signed it yet.
pub(super) fn furnish(site: &Site) -> Result<()> {
    let spec = &site.target;
    let (balancer, root) = (balancer(site)?, spec.root(balancer(site)?));
    let key = fs::read_to_string(spec.dir().join("id_rsa.pub"))?;
    login::let_in(spec, &root, key.trim())?;
    // The public address's port 22 is passed on to the first control plane.
    let config = root.join("etc/ssh/sshd_config");
    let own = format!("ListenAddress {}\n{}", balancer.ip, fs::read_to_string(&config)?);
    fs::write(&config, own)?;
    fs::remove_file(root.join("etc/systemd/system/ssh.service"))?;
    placeholder(site)?;
    let values = [
        ("PUBLIC_IP", spec.public_ip.to_string()),
        ("PORT", PORT.to_string()),
        ("CERTIFICATE", CERTIFICATE.to_owned()),
    ];
    let agent = fill(&fs::read_to_string(source().join("site/balancer/agent.cfg"))?, &values)?;
    let haproxy = root.join("etc/haproxy/haproxy.cfg");
    let whole = fs::read_to_string(&haproxy)? + &agent;
    fs::write(&haproxy, whole)?;
    let script = "systemctl daemon-reload && systemctl enable --quiet --now ssh && systemctl reload haproxy";
    node::enter(spec, balancer, &["sh", "-c", script])?.read()?;
    let listens = ["bash", "-c", "exec 3<>/dev/tcp/$0/$1", &*spec.public_ip.to_string(), &*PORT.to_string()];
    wait_for(START_PATIENCE, || inside(&spec.switch(), &listens).succeeds())
        .context("haproxy does not listen for those who call the load balancer's agent")
}

/// Has the authority sign what haproxy presents, by the cmdlet that is for that.
pub(super) fn patch(site: &Site) -> Result<()> {
    let (file, cluster) = (site.file(), site.cluster().to_owned());
    let file = file.to_string_lossy();
    let words = [
        "Update-AksHciClusterCertificates",
        "-Name",
        &*cluster,
        "-FixCloudCredentials",
        "-PatchLoadBalancer",
        "-Site",
        &*file,
    ];
    site.kubecert(&words).read().map(drop)
}

/// Lets what haproxy presents have another life, and takes it up.
pub(super) fn age(site: &Site, authority: &Issuer, life: &Life, scratch: &Path) -> Result<()> {
    let spec = &site.target;
    let path = spec.root(balancer(site)?).join(&CERTIFICATE[1..]);
    let held = fs::read_to_string(&path)?;
    let old = first_certificate(&held).context("haproxy has no certificate")?;
    let key = scratch.join("agent.key");
    fs::write(&key, &held)?;
    let new = held.replacen(old, &authority.again(old, &key, life)?, 1);
    fs::write(&path, new)?;
    node::enter(spec, balancer(site)?, &["systemctl", "reload", "haproxy"])?.read().map(drop)
}

/// Whether the authority has signed what haproxy presents, and it is good now.
pub(super) fn is_trusted(site: &Site) -> Result<bool> {
    let scratch = tempfile::tempdir()?;
    let root = scratch.path().join("root.crt");
    fs::write(&root, past::authority_root(site)?)?;
    let file = root.to_string_lossy();
    let address = format!("{}:{PORT}", site.target.public_ip);
    let script = "openssl s_client -connect \"$0\" -CAfile \"$1\" -verify_return_error </dev/null";
    Ok(inside(&site.target.switch(), &["sh", "-c", script, &address, &*file]).succeeds())
}

fn balancer(site: &Site) -> Result<&Node> {
    site.target.node("lb")
}

/// A certificate that nobody has signed, so that haproxy starts.
fn placeholder(site: &Site) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let at = |name: &str| scratch.path().join(name);
    cmd(
        "openssl",
        ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=lb", "-keyout"],
    )
    .arg(at("key"))
    .arg("-out")
    .arg(at("crt"))
    .read()?;
    let both = fs::read_to_string(at("crt"))? + &fs::read_to_string(at("key"))?;
    write_private(&site.target.root(balancer(site)?).join(&CERTIFICATE[1..]), &both)
}
