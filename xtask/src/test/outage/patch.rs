//! The load balancer's certificate is replaced while its connections are in use.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::cmd::CommandExt as _;
use crate::lab::site::{self, Site};

/// How long it may take until a watch has its first connection.
const PATIENCE: Duration = Duration::from_secs(20);

/// Renews everything of the target cluster at the authority, by force: a watch that goes through the load balancer goes on, and
/// no new request is lost.
pub(crate) fn drops_nobody(site: &Site) -> Result<()> {
    let mut watch = site.watch_through_the_balancer();
    let mut watch = watch.stdout(Stdio::null()).spawn().context("cannot start a watch")?;
    site::wait_for(PATIENCE, || site.connections_through_the_balancer() > 0)
        .context("no watch goes through")?;
    let (sent, lost) = while_asking(site, || {
        let words = ["Update-AksHciClusterCertificates", "-Name", site.cluster(), "-FixCloudCredentials"];
        let words = words.iter().chain(&["-PatchLoadBalancer", "-Force"]).map(|word| (*word).to_owned());
        site.with_site(&words.collect::<Vec<_>>()).show()
    })?;
    let ended = watch.try_wait()?;
    watch.kill()?;
    watch.wait()?;
    ensure!(ended.is_none(), "the watch was cut off: {ended:?}");
    ensure!(lost.is_empty(), "{} of {sent} requests were lost: {}", lost.len(), lost.join("; "));
    eprintln!("  {sent} requests and a watch went through the load balancer meanwhile; none was lost");
    Ok(())
}

/// Asks again and again while something is done; returns how often, and what failed.
fn while_asking(site: &Site, act: impl FnOnce() -> Result<()>) -> Result<(usize, Vec<String>)> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asker = scope.spawn(|| {
            let (mut sent, mut lost) = (0, Vec::new());
            while !over.load(Ordering::Relaxed) {
                sent += 1;
                if let Err(error) = site.request_through_the_balancer() {
                    lost.push(format!("{error:#}"));
                }
            }
            (sent, lost)
        });
        let done = act();
        over.store(true, Ordering::Relaxed);
        let asked = asker.join().map_err(|_| anyhow::anyhow!("the asking thread failed"))?;
        done.map(|()| asked)
    })
}
