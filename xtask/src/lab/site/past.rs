//! Things that happened long ago: commands under a clock that is behind, and certificates with dates of one's choice.
//!
//! The clock is libfaketime's, which programs are started with; what they write is what they would have written then.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Site, balancer, holders};
use crate::cmd::cmd;
use crate::lab::cache::wait_for;
use crate::lab::kubeadm::{self, End};
use crate::lab::{Issuer, Life, first_certificate};

/// How long tokens and certificates of the authority are good.
const GOOD_FOR: Duration = Duration::from_secs(90 * 86_400);

/// So long ago.
#[derive(Clone, Copy)]
pub(crate) struct Ago(Duration);

impl Ago {
    pub(crate) const fn days(days: u64) -> Self {
        Self(Duration::from_secs(days * 86_400))
    }
}

/// A command as it would have run then.
pub(super) fn at(ago: Option<Ago>, command: Command) -> Command {
    let Some(Ago(ago)) = ago.filter(|Ago(ago)| !ago.is_zero()) else { return command };
    let mut then = cmd("faketime", ["--exclude-monotonic", "-f", &format!("-{}", ago.as_secs())]);
    then.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => then.env(name, value),
            None => then.env_remove(name),
        };
    }
    then
}

/// What was renewed so long ago that it has little life left.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aged {
    /// The leaves of the target cluster's three CAs.
    Kubernetes,
    /// All tokens but the administrator's, and all certificates of the authority.
    Infrastructure,
    /// The tokens of the target cluster's components alone.
    ClusterTokens,
}

/// Lets these end at that time.
///
/// Nothing is restarted: who holds such a certificate in memory holds it still, as after a renewal that nobody has noticed. The
/// power goes off next.
pub(crate) fn age(site: &Site, what: Aged, end: SystemTime) -> Result<()> {
    match what {
        Aged::Kubernetes => kubeadm::put_ends(&site.target, End::Leaves, &life(end)?),
        Aged::Infrastructure => {
            for holder in holders::all(site) {
                holder.rotate(site, issued(end))?;
            }
            certificates(site, end)
        }
        Aged::ClusterTokens => holders::all(site)
            .iter()
            .filter(|holder| holder.is_of_cluster())
            .try_for_each(|holder| holder.rotate(site, issued(end))),
    }
}

/// When that was issued which ends then.
fn issued(end: SystemTime) -> Ago {
    let left = end.duration_since(SystemTime::now()).unwrap_or_default();
    Ago(GOOD_FOR.saturating_sub(left))
}

fn life(end: SystemTime) -> Result<Life> {
    let seconds = end.duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    Ok(Life { from: "89 days ago".to_owned(), until: format!("@{seconds}") })
}

/// Lets the client certificates of administrator and node agents end, and the load balancer's.
fn certificates(site: &Site, end: SystemTime) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let authority = issuer(site, scratch.path())?;
    let mut accesses = vec![site.directory().join("mocctl.json")];
    for host in site.target.hosts() {
        accesses.push(site.target.root(host).join("var/lib/node-agent/access.json"));
    }
    for path in accesses {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let file: serde_json::Value = serde_json::from_str(&text)?;
        let part = |name: &str| -> Result<String> {
            let value = file[name].as_str().with_context(|| format!("{} has no {name}", path.display()))?;
            Ok(String::from_utf8(BASE64.decode(value)?)?)
        };
        let (held, key) = (part("ClientCertificate")?, part("ClientKey")?);
        let old = first_certificate(&held).context("no certificate in an access file")?;
        let key_file = scratch.path().join("client.key");
        fs::write(&key_file, key)?;
        let new = held.replacen(old, &authority.again(old, &key_file, &life(end)?)?, 1);
        fs::write(&path, text.replace(&BASE64.encode(&held), &BASE64.encode(&new)))?;
    }
    balancer::age(site, &authority, &life(end)?, scratch.path())
}

/// openssl with the authority's CA.
fn issuer(site: &Site, scratch: &Path) -> Result<Issuer> {
    fs::write(scratch.join("ca.crt"), authority_root(site)?)?;
    fs::write(scratch.join("ca.key"), kept(site, "/roots/0/key")?)?;
    let own = scratch.join("issued");
    fs::create_dir(&own)?;
    Issuer::of(&own, scratch.join("ca.crt"))
}

/// The certificate of the authority's CA.
pub(super) fn authority_root(site: &Site) -> Result<String> {
    kept(site, "/roots/0/certificate")
}

/// What the authority keeps in a place of its document.
fn kept(site: &Site, pointer: &str) -> Result<String> {
    let document: serde_json::Value =
        serde_json::from_slice(&fs::read(site.authority()?.join("authority.json"))?)?;
    let text = document.pointer(pointer).and_then(serde_json::Value::as_str);
    Ok(text.with_context(|| format!("the authority has no {pointer}"))?.to_owned())
}

/// Waits until all has ended that ends then.
pub(crate) fn wait_until_over(end: SystemTime) -> Result<()> {
    // A certificate is good in its last second.
    let over = end + Duration::from_secs(2);
    let left = over.duration_since(SystemTime::now()).unwrap_or_default();
    wait_for(left + Duration::from_secs(10), || SystemTime::now() > over)
}
