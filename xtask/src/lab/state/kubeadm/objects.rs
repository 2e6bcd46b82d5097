//! The cluster's objects: what it publishes, what it signs, nodes, pods, workloads, the aggregated API.

use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::super::super::cache::wait_for;
use super::super::super::kubeadm::ADMIN_CONF;
use super::super::super::{cluster, workloads};
use super::super::objects::{all_ready, calls, list, name_of};
use super::super::verdict::{Verdict, ensure};
use super::files::pair;
use super::{CLUSTER, Case, FRONT_PROXY, decoded};
use crate::cmd::{CommandExt as _, cmd};

/// How long controllers may take to approve nothing and to sign what has been approved.
const SIGNING_PATIENCE: Duration = Duration::from_secs(20);
const CSR: &str = "judge";

pub(super) fn check(case: &Case, since: Option<f64>, verdict: &mut Verdict) {
    for node in case.spec.masters() {
        verdict.check(&format!("{}: its administrator's kubeconfig works", node.short), || {
            let config = case.spec.root(node).join(ADMIN_CONF);
            case.kubectl(&config, &["get", "namespace", "default"]).map(|_answer| ())
        });
    }
    verdict
        .check("API: every node is Ready", || all_ready(&items(case, "nodes")?, case.spec.members().count()));
    // A lab may stand without workloads.
    let has_workloads = kubectl(case, &["get", "namespace", "wl"]).is_ok();
    for namespace in ["kube-system", "wl"].into_iter().filter(|name| *name != "wl" || has_workloads) {
        verdict.check(&format!("API: every pod in {namespace} runs"), || {
            let (running, all) = cluster::running(&case.spec, namespace);
            ensure(running == all && all > 0, format!("{running} of {all} run"))
        });
    }
    published(case, verdict);
    verdict.check("API: what is signed now is of the CA in force", || {
        let signed = sign(case);
        let _absent = kubectl(case, &["delete", "csr", CSR]);
        signed
    });
    kubelets(case, verdict);
    if has_workloads {
        if workloads::has_aggregated(&case.spec) {
            aggregated(case, verdict);
        }
        calls(&case.spec, since, verdict);
    }
}

/// What tells clients whom to trust.
fn published(case: &Case, verdict: &mut Verdict) {
    let map = |namespace: &str, name: &str| -> Result<Value> {
        let text = kubectl(case, &["-n", namespace, "get", "configmap", name, "-o", "json"])?;
        Ok(serde_json::from_str::<Value>(&text)?["data"].clone())
    };
    verdict.check("API: kube-root-ca.crt is the cluster's CA in every namespace", || {
        let maps = items(case, "configmaps")?;
        let maps: Vec<_> = maps.iter().filter(|map| map["metadata"]["name"] == "kube-root-ca.crt").collect();
        let holds = |map: &&&Value| {
            map["data"]["ca.crt"].as_str().is_some_and(|text| case.is_ca(CLUSTER, text).is_ok())
        };
        let wrong: Vec<_> = maps.iter().filter(|map| !holds(map)).map(|map| name_of(map)).collect();
        ensure(wrong.is_empty(), wrong.join(", "))?;
        let namespaces = items(case, "namespaces")?.len();
        ensure(maps.len() == namespaces, format!("{} of {namespaces} have one", maps.len()))
    });
    verdict.check("API: cluster-info holds the cluster's CA", || {
        let data = map("kube-public", "cluster-info")?;
        let path = case.file("cluster-info", data["kubeconfig"].as_str().context("it has no kubeconfig")?)?;
        let config = case.kubeconfig(&path)?;
        case.is_ca(CLUSTER, &decoded(&config["clusters"][0]["cluster"]["certificate-authority-data"])?)
    });
    for (key, ca) in [("client-ca-file", CLUSTER), ("requestheader-client-ca-file", FRONT_PROXY)] {
        verdict.check(&format!("API: extension-apiserver-authentication's {key} is {ca}.crt"), || {
            let data = map("kube-system", "extension-apiserver-authentication")?;
            case.is_ca(ca, data[key].as_str().context("it is missing")?)
        });
    }
    verdict.check("API: token Secrets hold the cluster's CA", || {
        let secrets = items(case, "secrets")?;
        let wrong: Vec<_> = secrets
            .iter()
            .filter(|secret| secret["type"] == "kubernetes.io/service-account-token")
            .filter(|secret| {
                decoded(&secret["data"]["ca.crt"]).and_then(|text| case.is_ca(CLUSTER, &text)).is_err()
            })
            .map(name_of)
            .collect();
        ensure(wrong.is_empty(), wrong.join(", "))
    });
}

/// Has a fresh request signed, as a client of the API would.
fn sign(case: &Case) -> Result<()> {
    let key = case.scratch.path().join("judge.key");
    let request = cmd("openssl", ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=judge"])
        .arg("-keyout")
        .arg(&key)
        .read()?;
    let object = json!({
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": CSR},
        "spec": {
            "request": BASE64.encode(request),
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
        },
    });
    // One may be left of a judgement that was cut off.
    kubectl(case, &["delete", "csr", CSR, "--ignore-not-found"])?;
    cluster::kubectl(&case.spec, &["create", "-f", "-"]).feed(&object.to_string())?;
    kubectl(case, &["certificate", "approve", CSR])?;
    let mut signed = String::new();
    wait_for(SIGNING_PATIENCE, || {
        signed =
            kubectl(case, &["get", "csr", CSR, "-o", "jsonpath={.status.certificate}"]).unwrap_or_default();
        !signed.is_empty()
    })
    .context("nobody signs it")?;
    pair(case, &decoded(&Value::String(signed))?, &key, &case.ca(CLUSTER))
}

/// Whether the API servers get through to every kubelet, by what kubectl can only ask these: logs and a command.
fn kubelets(case: &Case, verdict: &mut Verdict) {
    let pods = items(case, "pods").unwrap_or_default();
    for node in case.spec.members() {
        verdict.check(&format!("{}: logs can be read, and commands run in a pod", node.short), || {
            let pod = pods
                .iter()
                .find(|pod| {
                    pod["metadata"]["labels"]["k8s-app"] == "kube-proxy"
                        && pod["spec"]["nodeName"] == *node.name
                })
                .and_then(|pod| pod["metadata"]["name"].as_str())
                .context("there is no kube-proxy")?;
            let logs = kubectl(case, &["-n", "kube-system", "logs", "--tail=1", pod])?;
            ensure(!logs.is_empty(), "the log is empty")?;
            let run = ["-n", "kube-system", "exec", pod, "--", "kube-proxy", "--version"];
            ensure(kubectl(case, &run)?.contains(&case.spec.kubernetes), "it is of another version")
        });
    }
}

/// The aggregated API's server, which has a leaf of the cluster's CA.
fn aggregated(case: &Case, verdict: &mut Verdict) {
    verdict.check("aggregated API: it answers", || ensure(workloads::answers(&case.spec), "it does not"));
    verdict.check("aggregated API: caBundle is the cluster's CA", || {
        let bundle = ["get", "apiservice", "v1.lab.kubecert.dev", "-o", "jsonpath={.spec.caBundle}"];
        case.is_ca(CLUSTER, &decoded(&Value::String(kubectl(case, &bundle)?))?)
    });
    verdict.check("aggregated API: its Secret holds a leaf of the cluster's CA", || {
        let get = ["-n", "wl", "get", "secret", "kubecert-lab-aggregated-tls", "-o", "json"];
        let secret: Value = serde_json::from_str(&kubectl(case, &get)?)?;
        let key = case.file("aggregated.key", decoded(&secret["data"]["tls.key"])?)?;
        pair(case, &decoded(&secret["data"]["tls.crt"])?, &key, &case.ca(CLUSTER))
    });
}

pub(super) fn items(case: &Case, kind: &str) -> Result<Vec<Value>> {
    let text = kubectl(case, &["get", kind, "--all-namespaces", "-o", "json"])?;
    Ok(list(&serde_json::from_str(&text)?).to_vec())
}

/// kubectl with the first control plane's kubeconfig.
fn kubectl(case: &Case, args: &[&str]) -> Result<String> {
    cluster::kubectl(&case.spec, &[&["--request-timeout=10s"], args].concat()).read()
}
