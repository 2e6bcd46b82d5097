//! Troubles that only a Kubernetes API shows: of these, no credential that can be read tells.
//!
//! What was seen comes as [`ApiSight`], one for each API; each part of it was looked at by itself, so that one that cannot be
//! looked at hides no other. Sources: issue 237 of `github.com/Azure/aksArc`, and the known-issues pages of the product.

use jiff::{SignedDuration, Timestamp};

use super::doctor::{Diagnosis, Trouble};
use crate::inventory::ObjectRef;

/// A request for a serving certificate that is younger is left alone: an approver acts within seconds, and one that was just
/// started, or a kubelet that asks while its cluster comes up, within some minutes. A kubelet itself waits for 15 minutes
/// before it asks again.
const YOUNG: SignedDuration = SignedDuration::from_mins(5);

/// What one Kubernetes API showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiSight {
    /// Which cluster's it is; `None` for the management cluster.
    pub cluster: Option<String>,
    /// What it showed, or why nobody could ask it.
    pub looks: Result<ApiLooks, String>,
}

/// The parts of a look, each with the reason if it could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiLooks {
    /// Kubelets' requests for serving certificates that have none yet.
    pub serving_requests: Result<Vec<ServingRequest>, String>,
    /// Pods that renew the certificates of workers, and end again and again.
    pub renewal_workers: Result<Vec<CrashingPod>, String>,
    /// Services that have an address outside of the cluster, and pods that could answer.
    pub services: Result<Vec<OuterService>, String>,
}

/// A kubelet's request for a serving certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServingRequest {
    /// Its name.
    pub name: String,
    /// Who asks, as the API knows it: `system:node:NAME`.
    pub requestor: String,
    /// Since when; `None` if that cannot be read.
    pub created: Option<Timestamp>,
    /// Whether it was approved, so that the signer is the one who does nothing.
    pub approved: bool,
}

/// A pod whose container ends again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashingPod {
    /// Which one.
    pub pod: ObjectRef,
    /// On which node; empty if on none.
    pub node: String,
    /// How often its containers were started again.
    pub restarts: u64,
}

/// A service of type LoadBalancer at one of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OuterService {
    /// Which one.
    pub service: ObjectRef,
    /// The address, or name, that its status tells.
    pub address: String,
    /// Its TCP ports. There is one at least.
    pub ports: Vec<u16>,
    /// Whether any of the ports takes a connection from where we are, or what each of them says instead.
    pub traffic: Result<(), String>,
}

/// Every trouble that the APIs showed, API by API.
pub(super) fn of_apis(sights: &[ApiSight], now: Timestamp) -> Vec<Diagnosis> {
    sights.iter().flat_map(|sight| of_api(sight, now)).collect()
}

fn of_api(sight: &ApiSight, now: Timestamp) -> Vec<Diagnosis> {
    let whose = whose(sight);
    let looks = match &sight.looks {
        Ok(looks) => looks,
        Err(why) => return vec![unreadable(&whose, why)],
    };
    let mut found = Vec::new();
    let mut unread = Vec::new();
    match &looks.serving_requests {
        Ok(requests) => found.extend(pending(sight, requests, now)),
        Err(why) => unread.push(why.as_str()),
    }
    match &looks.renewal_workers {
        Ok(pods) => found.extend(pods.iter().map(|pod| crashing(&whose, pod))),
        Err(why) => unread.push(why),
    }
    match &looks.services {
        Ok(services) => found.extend(services.iter().filter_map(|service| silent(sight, service))),
        Err(why) => unread.push(why),
    }
    if !unread.is_empty() {
        found.push(unreadable(&whose, &unread.join("; ")));
    }
    found
}

fn whose(sight: &ApiSight) -> String {
    match &sight.cluster {
        Some(name) => format!("cluster {name}"),
        None => "the management cluster".to_owned(),
    }
}

/// The vendor's command that gives a cluster's components their credentials anew.
fn renews_components(sight: &ApiSight) -> String {
    match &sight.cluster {
        Some(name) => {
            format!("Update-AksHciClusterCertificates -Name {name} -fixCloudCredentials -patchLoadBalancer")
        }
        None => "Update-AksHciCertificates".to_owned(),
    }
}

/// One for all requests of an API: what is behind them is the same for all nodes.
fn pending(sight: &ApiSight, requests: &[ServingRequest], now: Timestamp) -> Option<Diagnosis> {
    let age = |request: &ServingRequest| request.created.map(|created| now.duration_since(created));
    // Whose age is not known is not young.
    let mut waiting: Vec<_> =
        requests.iter().filter(|request| age(request).is_none_or(|age| age >= YOUNG)).collect();
    waiting.sort_by_key(|request| (request.created, request.name.as_str()));
    let oldest = waiting.first()?;
    let since = oldest.created.map_or_else(String::new, |created| format!(" since {created}"));
    let approved = waiting.iter().filter(|request| request.approved).count();
    let state = match approved {
        0 => String::new(),
        _ if approved == waiting.len() => ", all of them approved and not signed".to_owned(),
        _ => format!(", {approved} of them approved and not signed"),
    };
    let count = match waiting.len() {
        1 => "1 request of a kubelet for a serving certificate has".to_owned(),
        many => format!("{many} requests of kubelets for serving certificates have"),
    };
    let repair = format!(
        "{}. Should new requests stay pending all the same: look who asks, and `kubectl certificate approve {}` and so on.",
        renews_components(sight),
        oldest.name
    );
    Some(Diagnosis::of(
        Trouble::ServingRequestsPending,
        format!("certificate manager of {}", whose(sight)),
        format!("{count} no certificate yet{state}: {} of {}{since}", oldest.name, oldest.requestor),
        repair,
    ))
}

fn crashing(whose: &str, pod: &CrashingPod) -> Diagnosis {
    let node = if pod.node.is_empty() { "no node".to_owned() } else { format!("node {}", pod.node) };
    Diagnosis::of(
        Trouble::RenewalWorkerCrashing,
        format!("certificates of {node} of {whose}"),
        format!("pod {} was started again {} times, and does not stay", pod.pod, pod.restarts),
        "If its log misses cert-tattoo-kubelet.yaml: copy that file from a control plane to the same place on the node, put the \
         node's own name into it, and give it to root."
            .to_owned(),
    )
}

fn silent(sight: &ApiSight, service: &OuterService) -> Option<Diagnosis> {
    let why = service.traffic.as_ref().err()?;
    Some(Diagnosis::of(
        Trouble::ServiceWithoutTraffic,
        format!("agents of the load balancers of {}", whose(sight)),
        format!(
            "service {} has the address {} and pods that are ready, and takes no connection from this machine: {why}",
            service.service, service.address
        ),
        format!("If this machine reaches the cluster's other addresses: {}.", renews_components(sight)),
    ))
}

fn unreadable(whose: &str, why: &str) -> Diagnosis {
    Diagnosis::of(
        Trouble::ApiUnreadable,
        format!("the Kubernetes API of {whose}"),
        format!("it cannot be looked at: {why}"),
        "Make it answer to the kubeconfig that the site file names, and look again.".to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    fn request(name: &str, minutes_ago: i64, approved: bool) -> ServingRequest {
        let created = now().checked_sub(SignedDuration::from_mins(minutes_ago)).unwrap();
        let requestor = format!("system:node:{name}");
        ServingRequest { name: format!("csr-{name}"), requestor, created: Some(created), approved }
    }

    fn object(name: &str) -> ObjectRef {
        ObjectRef { namespace: "kube-system".to_owned(), name: name.to_owned() }
    }

    fn sight(looks: ApiLooks) -> ApiSight {
        ApiSight { cluster: Some("holidays".to_owned()), looks: Ok(looks) }
    }

    fn nothing() -> ApiLooks {
        ApiLooks {
            serving_requests: Ok(Vec::new()),
            renewal_workers: Ok(Vec::new()),
            services: Ok(Vec::new()),
        }
    }

    #[test]
    fn each_trouble_is_named_with_whose_where_and_repair() {
        let service = |name: &str, traffic: Result<(), String>| OuterService {
            service: object(name),
            address: "10.0.0.70".to_owned(),
            ports: vec![80],
            traffic,
        };
        let looks = ApiLooks {
            serving_requests: Ok(vec![request("b", 90, true), request("a", 300, false)]),
            renewal_workers: Ok(vec![CrashingPod {
                pod: object("cert-renewal-worker-x"),
                node: "agent-1".to_owned(),
                restarts: 17,
            }]),
            services: Ok(vec![
                service("web", Ok(())),
                service("new", Err("80: connection refused".to_owned())),
            ]),
        };
        insta::assert_debug_snapshot!(of_apis(&[sight(looks)], now()));
    }

    #[test]
    fn requests_are_left_alone_for_five_minutes() {
        let with = |requests| sight(ApiLooks { serving_requests: Ok(requests), ..nothing() });
        let young = vec![request("a", 4, false), request("b", 0, true)];
        assert_eq!(of_apis(&[with(young)], now()), []);
        assert_eq!(of_apis(&[with(vec![request("a", 5, false)])], now()).len(), 1);
        let undated = ServingRequest { created: None, ..request("a", 0, false) };
        assert_eq!(of_apis(&[with(vec![undated])], now()).len(), 1);
    }

    #[test]
    fn what_cannot_be_looked_at_hides_nothing() {
        let looks = ApiLooks {
            serving_requests: Ok(vec![request("a", 60, false)]),
            renewal_workers: Err("cannot list pods: no".to_owned()),
            services: Err("cannot list services: no".to_owned()),
        };
        let gone = ApiSight { cluster: None, looks: Err("cannot read the kubeconfig".to_owned()) };
        let found = of_apis(&[gone, sight(looks)], now());
        let told: Vec<_> = found.iter().map(|found| (found.id.id(), found.credential.as_str())).collect();
        assert_eq!(
            told,
            [
                ("api-unreadable", "the Kubernetes API of the management cluster"),
                ("serving-requests-pending", "certificate manager of cluster holidays"),
                ("api-unreadable", "the Kubernetes API of cluster holidays"),
            ]
        );
        assert!(found[2].why.ends_with("cannot list pods: no; cannot list services: no"), "{found:?}");
    }
}
