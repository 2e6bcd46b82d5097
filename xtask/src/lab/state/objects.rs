//! The cluster's objects: Secrets, ConfigMaps, bundles, nodes, workloads, the aggregated API.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::super::spec::Spec;
use super::super::{cluster, network, node, wllog, workloads};
use super::servers::{ON_BEHALF, outside};
use super::verdict::{Verdict, ensure};
use super::{Case, kubeconfig, read_json, verified_by};
use crate::cmd::CommandExt as _;

pub(super) fn check(case: &Case, since: Option<f64>, verdict: &mut Verdict) {
    verdict.check("API: the new kubeconfig works through the load balancer", || {
        kubectl(case, &["get", "namespace", "default"]).map(|_answer| ())
    });
    verdict.check("API: the old kubeconfig is refused", || {
        let old = case.before.join(format!("output/kubeconfig/kubeconfig.{}.json", case.spec.location));
        let answer = run_kubectl(case, &old.to_string_lossy(), &["get", "namespace", "default"]);
        ensure(answer.is_err(), "it still works")
    });
    verdict.check("API: every node is Ready", || every_node_ready(case));
    for namespace in ["kube-system", "wl"] {
        verdict.check(&format!("API: every pod in {namespace} runs"), || {
            let (running, all) = cluster::running(&case.spec, namespace);
            ensure(running == all && all > 0, format!("{running} of {all} run"))
        });
    }
    published(case, verdict);
    tokens(case, verdict);
    if workloads::has_aggregated(&case.spec) {
        let answers = || ensure(workloads::answers(&case.spec), "it does not");
        verdict.check("API: the aggregated API answers", answers);
        aggregated(case, verdict);
    }
    verdict.check("etcd: the shared front-proxy certificates are those in the files", || proxy_in_etcd(case));
    calls(&case.spec, since, verdict);
}

/// Nothing that the cluster hands out may hold the old CA.
fn published(case: &Case, verdict: &mut Verdict) {
    for kind in [
        "configmaps",
        "secrets",
        "apiservices",
        "validatingwebhookconfigurations",
        "mutatingwebhookconfigurations",
        "crd",
    ] {
        verdict.check(&format!("API: no object of {kind} holds the old CA"), || {
            let ca = fs::read_to_string(case.old.join("ca.crt"))?;
            let line = ca.lines().nth(8).context("a short CA")?.to_owned();
            // Inside base64 text is shifted by none, one or two bytes; whole files start without a shift.
            let encoded = BASE64.encode(ca.trim_end());
            let encoded = encoded.get(400..600).context("a short CA")?;
            let holders: Vec<_> = items(case, kind)?
                .iter()
                .filter(|item| {
                    let text = item.to_string();
                    text.contains(&line) || text.contains(encoded)
                })
                .map(name_of)
                .collect();
            ensure(holders.is_empty(), holders.join(", "))
        });
    }
    verdict.check("API: kube-root-ca.crt is the new CA in every namespace", || {
        let ca = fs::read_to_string(case.new.join("ca.crt"))?;
        let maps = items(case, "configmaps")?;
        let wrong: Vec<_> = maps
            .iter()
            .filter(|map| map["metadata"]["name"] == "kube-root-ca.crt")
            .filter(|map| map["data"]["ca.crt"].as_str().map(str::trim) != Some(ca.trim()))
            .map(name_of)
            .collect();
        ensure(wrong.is_empty(), wrong.join(", "))
    });
    verdict.check("API: extension-apiserver-authentication holds the new front-proxy CA only", || {
        let maps = items(case, "configmaps")?;
        let map = maps.iter().find(|map| map["metadata"]["name"] == "extension-apiserver-authentication");
        let bundle = map
            .and_then(|map| map["data"]["requestheader-client-ca-file"].as_str())
            .context("it is missing")?;
        let master = case.spec.masters().next().context("no masters")?;
        let file = fs::read_to_string(case.spec.root(master).join("etc/kubernetes/certs/proxy-ca.crt"))?;
        ensure(bundle.trim() == file.trim(), "it holds another or more than one")
    });
}

/// Legacy tokens: another token and the new CA in each Secret, and the old token refused.
fn tokens(case: &Case, verdict: &mut Verdict) {
    let legacy = |item: &&Value| item["type"] == "kubernetes.io/service-account-token";
    verdict.check("API: token Secrets hold the new CA and a new token", || {
        let old = read_json(&case.before.join("secrets.json"))?;
        let old_tokens: Vec<_> =
            list(&old).iter().filter(legacy).map(|item| item["data"]["token"].clone()).collect();
        let ca = BASE64.encode(fs::read_to_string(case.new.join("ca.crt"))?.trim_end());
        let ca = ca.trim_end_matches('=');
        let secrets = items(case, "secrets")?;
        let wrong: Vec<_> = secrets
            .iter()
            .filter(legacy)
            .filter(|item| {
                let text = item["data"]["ca.crt"].as_str().unwrap_or_default();
                let prefix = ca.len().saturating_sub(4);
                !text.starts_with(&ca[..prefix]) || old_tokens.contains(&item["data"]["token"])
            })
            .map(name_of)
            .collect();
        ensure(wrong.is_empty() && !old_tokens.is_empty(), wrong.join(", "))
    });
    verdict.check("API: an old token is refused", || {
        let old = read_json(&case.before.join("secrets.json"))?;
        let token = list(&old)
            .iter()
            .find(legacy)
            .and_then(|item| item["data"]["token"].as_str())
            .context("there was none")?;
        let token = String::from_utf8(BASE64.decode(token)?)?;
        token_is_refused(&case.spec, &case.spec.fqdn, &case.new.join("ca.crt"), &token)
    });
}

/// The aggregated API's server itself: its leaf, its bundle, and the front-proxy CA in its memory.
fn aggregated(case: &Case, verdict: &mut Verdict) {
    verdict.check("aggregated API: it answers", || ensure(workloads::answers(&case.spec), "it does not"));
    verdict.check("aggregated API: caBundle is the new CA", || {
        let services = items(case, "apiservices")?;
        let service = services
            .iter()
            .find(|item| item["metadata"]["name"] == "v1.lab.kubecert.dev")
            .context("it is missing")?;
        let bundle = service["spec"]["caBundle"].as_str().context("it has none")?;
        let bundle = String::from_utf8(BASE64.decode(bundle)?)?;
        ensure(
            bundle.trim() == fs::read_to_string(case.new.join("ca.crt"))?.trim(),
            "it holds something else",
        )
    });
    verdict.check("aggregated API: its Secret holds a new leaf of the new CA", || {
        let old = read_json(&case.before.join("secrets.json"))?;
        let now = items(case, "secrets")?;
        let find = |items: &[Value], key: &str| {
            let secret = items.iter().find(|item| item["metadata"]["name"] == "kubecert-lab-aggregated-tls");
            secret.and_then(|item| item["data"][key].as_str()).map(str::to_owned).context("it is missing")
        };
        for key in ["tls.crt", "tls.key"] {
            ensure(find(list(&old), key)? != find(&now, key)?, format!("{key} is the old one"))?;
        }
        let leaf = tempfile::NamedTempFile::new()?;
        fs::write(leaf.path(), BASE64.decode(find(&now, "tls.crt")?)?)?;
        verified_by(&case.new.join("ca.crt"), leaf.path())
    });
    for (old, expected) in [(true, "401 403"), (false, "200")] {
        let which = if old { "refuses the old" } else { "believes the new" };
        verdict.check(
            &format!("aggregated API: the server presents a leaf of the new CA and {which} front proxy"),
            || {
                let answer = as_front_proxy(case, old)?;
                ensure(expected.contains(&answer), format!("it answers {answer}"))
            },
        );
    }
}

/// Calls the aggregated server's pod as an API server would, with the front-proxy certificate of a master.
fn as_front_proxy(case: &Case, old: bool) -> Result<String> {
    let master = case.spec.masters().next().context("no masters")?;
    let root = if old { case.before.join("nodes").join(&master.short) } else { case.spec.root(master) };
    let certs = root.join("etc/kubernetes/certs");
    let pods = kubectl(case, &AGGREGATED_POD)?;
    let client = (certs.join("proxy.crt"), certs.join("proxy.key"));
    ask_aggregated(&case.spec, &pods, &case.new.join("ca.crt"), &client.0, &client.1)
}

/// What tells kubectl to print the address of the aggregated server's pod.
pub(super) const AGGREGATED_POD: [&str; 8] =
    ["-n", "wl", "get", "pods", "-l", "app=aggregated", "-o", "jsonpath={.items[0].status.podIP}"];

/// The HTTP status that a front proxy with this certificate gets from the aggregated server's pod.
pub(super) fn ask_aggregated(spec: &Spec, pod: &str, ca: &Path, crt: &Path, key: &Path) -> Result<String> {
    let resolve = format!("aggregated.wl.svc:8443:{pod}");
    let ca = ca.to_string_lossy();
    let (crt, key) = (crt.to_string_lossy(), key.to_string_lossy());
    let fixed = ["curl", "-sS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", "--resolve", &resolve];
    let as_whom = ["--cacert", &ca, "--cert", &crt, "--key", &key];
    let what = ["https://aggregated.wl.svc:8443/apis/lab.kubecert.dev/v1/greetings/hello"];
    let words = [fixed.as_slice(), &as_whom, &ON_BEHALF, &what].concat();
    network::inside(&outside(spec)?, &words).read()
}

fn proxy_in_etcd(case: &Case) -> Result<()> {
    let master = case.spec.masters().next().context("no masters")?;
    for (key, file) in [
        ("requestheader-client-ca-file", "proxy-ca.crt"),
        ("proxy-client-key-file", "proxy.key"),
        ("proxy-client-cert-file", "proxy.crt"),
    ] {
        let certs = "/etc/kubernetes/certs";
        let script = format!(
            "etcdctl --endpoints=https://127.0.0.1:2379 --cacert={certs}/ca.crt --cert={certs}/etcdclient.crt \
             --key={certs}/etcdclient.key get /proxycerts/{key} --print-value-only"
        );
        let stored = node::enter(&case.spec, master, &["sh", "-c", &script])?.read()?;
        let on_disk = fs::read_to_string(case.spec.root(master).join("etc/kubernetes/certs").join(file))?;
        ensure(stored.starts_with(" -----BEGIN"), format!("{key} does not start with a space"))?;
        ensure(stored.trim() == on_disk.trim(), format!("{key} is another"))?;
    }
    Ok(())
}

/// The workloads are at work, and none of their calls has failed since the time given.
pub(super) fn calls(spec: &Spec, since: Option<f64>, verdict: &mut Verdict) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
    match wllog::sum(spec, since.unwrap_or(now - 10.0), f64::INFINITY) {
        Ok(all) => {
            verdict.check("workloads: all are there", || {
                ensure(all.len() == workloads::series(spec), format!("there are {} series", all.len()))
            });
            for series in all {
                verdict.check(
                    &format!("workloads: {} ({}) calls without failure", series.workload, series.series),
                    || {
                        ensure(series.failed == 0, format!("{} of {} failed", series.failed, series.calls))?;
                        ensure(
                            series.last_success.is_some_and(|last| now - last < 10.0),
                            "no call in the last 10 s",
                        )
                    },
                );
            }
        }
        Err(error) => verdict.check("workloads: their logs can be read", || Err(error)),
    }
}

fn every_node_ready(case: &Case) -> Result<()> {
    all_ready(&items(case, "nodes")?, case.spec.members().count() + case.spec.windows.len())
}

/// Whether these nodes are as many, and all of them take pods.
pub(super) fn all_ready(nodes: &[Value], expected: usize) -> Result<()> {
    let not_ready: Vec<_> = nodes
        .iter()
        .filter(|node| {
            let conditions = node["status"]["conditions"].as_array();
            !conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
                || node["spec"]["unschedulable"] == true
        })
        .map(name_of)
        .collect();
    ensure(not_ready.is_empty(), not_ready.join(", "))?;
    ensure(nodes.len() == expected, format!("{} nodes of {expected}", nodes.len()))
}

fn items(case: &Case, kind: &str) -> Result<Vec<Value>> {
    let text = kubectl(case, &["get", kind, "--all-namespaces", "-o", "json"])?;
    let value: Value = serde_json::from_str(&text)?;
    Ok(list(&value).to_vec())
}

pub(super) fn list(value: &Value) -> &[Value] {
    value["items"].as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn name_of(item: &Value) -> String {
    let part = |key: &str| item["metadata"][key].as_str().unwrap_or_default();
    format!("{}/{}", part("namespace"), part("name"))
}

fn kubectl(case: &Case, args: &[&str]) -> Result<String> {
    run_kubectl(case, &kubeconfig(case).to_string_lossy(), args)
}

fn run_kubectl(case: &Case, kubeconfig: &str, args: &[&str]) -> Result<String> {
    let program = case.spec.programs.join("bin/kubectl").to_string_lossy().into_owned();
    let fixed = [&*program, "--kubeconfig", kubeconfig, "--request-timeout=10s"];
    network::inside(&case.spec.switch(), &[&fixed, args].concat()).read()
}

/// The API does not take a token. Curl reads it from its input, so that it is in no command line.
pub(super) fn token_is_refused(spec: &Spec, api: &str, ca: &Path, token: &str) -> Result<()> {
    let (ca, url) = (ca.to_string_lossy(), format!("https://{api}/api/v1/namespaces/default"));
    let fixed = ["curl", "-sS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}"];
    let ask = [&fixed[..], &["--cacert", &ca, "-H", "@-", &url]].concat();
    let answer = network::inside(&spec.switch(), &ask).feed(&format!("Authorization: Bearer {token}\n"))?;
    ensure(answer == "401", format!("the API answers {answer}"))
}
