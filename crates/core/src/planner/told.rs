//! What plans that replace CAs tell beforehand: what stays as it is, and what the operator should know.

use super::common::Scene;
use super::windows;
use crate::layout;
use crate::model::{Layout, Node};
use crate::plan::Kept;

pub(super) fn kept(scene: &Scene<'_>) -> Vec<Kept> {
    let api = scene.inventory.api.seen();
    let mut kept: Vec<Kept> = api
        .into_iter()
        .flat_map(|api| &api.job_pods)
        .map(|pod| Kept {
            id: format!("pod {pod}"),
            why: "belongs to a Job, which is left to finish; it may hold the old CA and an old token until then".to_owned(),
        })
        .collect();
    if scene.tls_secrets().next().is_none() {
        kept.extend(scene.ca_bundles().map(|holder| {
            Kept {
                id: holder.to_string(),
                why:
                    "trusts the old CA, but no Secret is known with a certificate of that CA for it to verify"
                        .to_owned(),
            }
        }));
    }
    if scene.layout == Layout::Kubeadm {
        kept.extend(kept_by_kubeadm(scene));
    }
    if scene.present_front_proxy_ca().is_some() && scene.front_proxy_ca().is_none() {
        kept.push(Kept {
            id: "the front proxy's CA and certificate".to_owned(),
            why: "out of scope, which is the cluster CA alone".to_owned(),
        });
    }
    kept
}

/// What a change of the CAs leaves as it is in kubeadm's layout.
fn kept_by_kubeadm(scene: &Scene<'_>) -> Vec<Kept> {
    let mut kept = Vec::new();
    let tokens_stay = !scene.tokens_change;
    if tokens_stay {
        kept.push(Kept {
            id: "the key pair of service-account tokens".to_owned(),
            why: "no certificate hangs on it; tokens stay good".to_owned(),
        });
    }
    let api = scene.inventory.api.seen().filter(|_| tokens_stay);
    kept.extend(
        api.into_iter().flat_map(|api| &api.token_secrets).map(|secret| Kept {
            id: format!("token Secret {}", secret.object),
            why: "the key that signed its token stays; the CA in it is brought up to date by Kubernetes"
                .to_owned(),
        }),
    );
    kept.extend(scene.nodes().flat_map(|node| own_serving(scene, node)));
    kept
}

/// Serving certificates on a node of kubeadm's that are the kubelet's own business, or another CA's.
pub(super) fn own_serving(scene: &Scene<'_>, node: &Node) -> Vec<Kept> {
    let Some(facts) = scene.facts(&node.name).filter(|_| scene.layout == Layout::Kubeadm) else {
        return Vec::new();
    };
    let kept = |path: String, why: &str| {
        let there = facts.file(&path).is_some();
        there.then(|| Kept { id: format!("{path} on {}", node.name), why: why.to_owned() })
    };
    let asked = layout::kubelet_server_link();
    let made = match facts.file(&asked) {
        Some(_) => "the kubelet has made it itself, and presents another one",
        None => "the kubelet has made it itself, and nobody verifies it",
    };
    let made = kept(scene.layout.kubelet_serving_file(node.system), made);
    let foreign = match scene.kubelet_server(&node.name) {
        Some(_) => None,
        None => kept(asked, "the kubelet has asked the cluster for it, and it is not of the cluster CA"),
    };
    made.into_iter().chain(foreign).collect()
}

pub(super) fn notices(scene: &Scene<'_>) -> Vec<String> {
    let mut notices = windows::notices(scene);
    if scene.is_cluster_alone() {
        notices.push(
            "In this layout etcd's certificates are of the cluster CA, and the API server's key signs service-account tokens: both are replaced along with the cluster CA."
                .to_owned(),
        );
    }
    if scene.masters.len() == 1 {
        notices.push(
            "The cluster has one control plane: its API will be away for as long as kube-apiserver takes to start, twice."
                .to_owned(),
        );
    }
    if let Some(api) = scene.inventory.api.seen() {
        for pod in &api.bare_pods {
            notices.push(format!("Pod {pod} has no controller; it will be deleted and created again from its own specification."));
        }
        for secret in api.token_secrets.iter().filter(|_| scene.tokens_change) {
            notices.push(format!(
                "The token in Secret {} will be signed anew; a pod that mounts it sees the new one up to 90 s later and may be refused until then.",
                secret.object
            ));
        }
    }
    notices
}
