//! The workloads that watch the API from inside the cluster.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::cache::wait_for;
use super::pki::for_service;
use super::spec::{Spec, source};
use super::template::fill;
use super::{cluster, wllog};
use crate::cmd::CommandExt as _;

/// The DNS name of the aggregated API's Service, which its certificate is made out to.
const AGGREGATED: &str = "aggregated.wl.svc";
/// Pods beside those of the DaemonSet: deployment 2, and one each of statefulset, bare, legacy-token.
const CALLERS: usize = 5;
/// And those of the aggregated API: aggregated, aggregated-caller.
const AGGREGATED_PODS: usize = 2;

/// Applies the workloads; they start as soon as the nodes take them. The cluster's CA is in the directory `pki`, and the
/// API's Service has the address `service`.
pub(crate) fn apply(spec: &Spec, pki: &Path, service: Ipv4Addr) -> Result<()> {
    let (certificate, key) = for_service(pki, AGGREGATED)?;
    let values = [
        ("TLS_CERTIFICATE", BASE64.encode(certificate)),
        ("TLS_KEY", BASE64.encode(key)),
        ("CA_BUNDLE", BASE64.encode(fs::read(pki.join("ca.crt"))?)),
        ("VERSION", spec.kubernetes.clone()),
        ("SERVICE_IP", service.to_string()),
    ];
    let files: &[_] =
        if has_aggregated(spec) { &["callers.yaml", "aggregated.yaml"] } else { &["callers.yaml"] };
    for file in files {
        let text = fs::read_to_string(source().join("workloads").join(file))?;
        cluster::apply(spec, &fill(&text, &values)?).with_context(|| format!("cannot apply {file}"))?;
    }
    Ok(())
}

/// Waits until all of them run and the aggregated API answers.
pub(crate) fn wait(spec: &Spec) -> Result<()> {
    let aggregated = has_aggregated(spec);
    let expected = CALLERS + if aggregated { AGGREGATED_PODS } else { 0 } + cluster::agents(spec);
    let limit = Duration::from_secs(400);
    if let Err(error) = wait_for(limit, || cluster::running(spec, "wl") == (expected, expected)) {
        let pods = cluster::kubectl(spec, &["-n", "wl", "get", "pods"]).read().unwrap_or_default();
        bail!("{error} for the workloads:\n{pods}");
    }
    wait_for(limit, || !aggregated || answers(spec)).context("the aggregated API does not answer")?;
    // The first calls fail while kube-proxy is still at its first rules: a lab stands when that is over.
    wait_for(limit, || undisturbed(spec)).context("the workloads' calls still fail")
}

/// Whether every series has made calls in the last two seconds, and none failed.
fn undisturbed(spec: &Spec) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
    wllog::sum(spec, now - 2.0, f64::INFINITY).is_ok_and(|all| {
        all.len() == series(spec) && all.iter().all(|series| series.calls > 0 && series.failed == 0)
    })
}

/// How many series the callers keep: fresh and cached, of each of five or six.
pub(crate) fn series(spec: &Spec) -> usize {
    if has_aggregated(spec) { 12 } else { 10 }
}

/// Whether the programs include the aggregated API's server; those of old Kubernetes do not.
pub(crate) fn has_aggregated(spec: &Spec) -> bool {
    spec.programs.join("bin/extension-apiserver").exists()
}

/// Whether the aggregated API serves a call that the API server passes on.
pub(crate) fn answers(spec: &Spec) -> bool {
    cluster::kubectl(spec, &["get", "--raw", "/apis/lab.kubecert.dev/v1/greetings/hello"]).succeeds()
}
