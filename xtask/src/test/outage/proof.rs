//! What really works at a site, and what fails: tried out by those who hold the credentials, or as they would.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::outages::Outage;
use crate::cmd::CommandExt as _;
use crate::lab::site::{self, Cluster, Holder, Place, Site};

/// How long a site may take to come up, or to have failed for good.
const PATIENCE: Duration = Duration::from_secs(480);
/// What fails when the target cluster's API does not answer.
pub(crate) const TARGET_API: &str = "kubernetes: the target cluster's API";
const MANAGEMENT_API: &str = "the management cluster's API";

/// Waits until the site is in the state in which it stays: what comes up is up, and what cannot has tried.
pub(crate) fn settle(site: &Site, outage: &Outage) -> Result<()> {
    site::wait_for(PATIENCE, || api(site, Cluster::Management))
        .context("the management cluster stays down")?;
    if !outage.cluster_is_down() {
        return site::wait_for(PATIENCE, || api(site, Cluster::Target))
            .context("the target cluster stays down");
    }
    let tried = || match outage.kubelets_are_down() {
        true => site.each_control_plane(&["sh", "-c", "[ $(systemctl show kubelet -P NRestarts) -ge 2 ]"]),
        // The API server ends when its plugin does not decrypt for so long, and is started again.
        false => site.each_control_plane(&["sh", "-c", KMS_HAS_REFUSED]),
    };
    site::wait_for(PATIENCE, tried).context("the target cluster has not come to its end")
}

/// What the plugin's latest process says in its log when it is not let in.
const KMS_HAS_REFUSED: &str = "grep -q 'refused: cannot log in' \"$(ls -t /var/log/pods/kube-system_kms-plugin-*/kms-plugin/*.log | head -n 1)\"";

/// What fails, each with the layer whose it is.
pub(crate) fn failing(site: &Site) -> Result<BTreeSet<String>> {
    let mut failing = BTreeSet::new();
    for (cluster, name) in [(Cluster::Management, MANAGEMENT_API), (Cluster::Target, TARGET_API)] {
        if !api(site, cluster) {
            failing.insert(name.to_owned());
        }
    }
    let down = failing.contains(TARGET_API);
    for holder in site.holders() {
        for place in &holder.places {
            // What nobody can read does not fail yet.
            let unreadable = matches!(place, Place::Secret { cluster: Cluster::Target, .. }) && down;
            if !unreadable && !logs_in(site, place)? {
                failing.insert(format!("{}: {} by {place}", layer(&holder), holder.identity));
            }
        }
    }
    if !site.call_as_administrator().succeeds() {
        failing.insert("infrastructure: the administrator's certificate".to_owned());
    }
    if !site.balancer_is_trusted()? {
        failing.insert("load-balancer: what its agent presents".to_owned());
    }
    Ok(failing)
}

/// All that a site is for: one write of a Secret, one request through the load balancer, one log, and calls of all who have
/// something to do with the infrastructure.
pub(crate) fn all_works(site: &Site) -> Result<()> {
    // Whoever asks for everything at once takes processor time from what is still starting.
    site::wait_for(PATIENCE, || api(site, Cluster::Target) && api(site, Cluster::Management))
        .context("the clusters do not answer")?;
    site::wait_for(PATIENCE, || failing(site).is_ok_and(|failing| failing.is_empty()))
        .with_context(|| format!("what fails: {:?}", failing(site).unwrap_or_default()))?;
    let name = "written-after-the-outage";
    let kubectl = |words: &[&str]| site.kubectl(Cluster::Target, words);
    kubectl(&["create", "secret", "generic", name, "--from-literal=value=still-there"])?;
    let value = kubectl(&["get", "secret", name, "-o", "jsonpath={.data.value}"])?;
    ensure!(value.trim() == "c3RpbGwtdGhlcmU=", "the Secret that was written holds {value}");
    kubectl(&["delete", "secret", name])?;
    site.request_through_the_balancer().context("no request comes through the load balancer")?;
    log(site)?;
    site.node_agents_work()
}

/// The log of a pod, which the API server gets from a kubelet. Its first connection may be one from before.
fn log(site: &Site) -> Result<()> {
    let pods = site.kubectl(
        Cluster::Target,
        &["-n", "kube-system", "get", "pods", "-l", "k8s-app=kube-proxy", "-o", "name"],
    )?;
    let Some(pod) = pods.lines().next() else { bail!("there is no kube-proxy") };
    site::wait_for(PATIENCE, || {
        let words = ["-n", "kube-system", "logs", "--tail=1", pod];
        site.kubectl(Cluster::Target, &words).is_ok_and(|line| !line.trim().is_empty())
    })
    .with_context(|| format!("{pod} has no log"))
}

fn api(site: &Site, cluster: Cluster) -> bool {
    site.kubectl(cluster, &["--request-timeout=3s", "get", "--raw", "/readyz"]).is_ok()
}

/// Whether the token in a place lets somebody in.
fn logs_in(site: &Site, place: &Place) -> Result<bool> {
    let scratch = tempfile::tempdir()?;
    let (login, access) = (scratch.path().join("login.yaml"), scratch.path().join("access.json"));
    std::fs::write(&login, place.read(site)?)?;
    let (login, access) = (login.to_string_lossy(), access.to_string_lossy());
    let words = ["authority", "login", "--login-file", &*login, "--access-file", &*access];
    Ok(site.kubecert(&words).succeeds())
}

fn layer(holder: &Holder) -> &'static str {
    if holder.is_of_cluster() { "cluster-infrastructure" } else { "infrastructure" }
}
