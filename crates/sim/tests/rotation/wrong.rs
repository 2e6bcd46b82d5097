//! Sequences that are wrong must be seen to be wrong: the monitor is worth what it finds.

use std::time::Duration;

use futures::future::join_all;
use jiff::SignedDuration;
use kubecert_core::layout::{certificate_file, manifest_file};
use kubecert_core::manifest::set_flag;
use kubecert_core::model::{Component, LeafId, NodeName, RunId, TrustDomain};
use kubecert_engine::ports::{FileBytes, FileContent, Ports};
use kubecert_pki::{
    Certificate, Issuer, KeyAlgorithm, KeyEncoding, PrivateKey, Serial, Template, Validity, cross_sign,
    issue, next_ca_subject, self_signed_ca,
};
use kubecert_sim::{SimCluster, SimConfig};
use zeroize::Zeroizing;

/// A new CA for a cluster, and leaves of it by hand.
struct ByHand {
    sim: SimCluster,
    ports: Ports,
    run: RunId,
    ca: Issuer,
    cross: Certificate,
    masters: Vec<NodeName>,
}

impl ByHand {
    fn new(control_planes: usize) -> Self {
        let sim = SimCluster::new(&SimConfig::new(control_planes, 1)).unwrap();
        let ports = sim.ports();
        let old = sim.old_pki().issuer(TrustDomain::Cluster).unwrap().unwrap();
        let now = ports.clock.now();
        let years = Validity::back_dated(now, SignedDuration::from_hours(24 * 365)).unwrap();
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let subject = next_ca_subject(old.certificate().subject()).unwrap();
        let shape = Template::from_certificate(old.certificate()).with_subject(subject);
        let ca = Issuer::new(self_signed_ca(&shape, &key, years, &Serial::random().unwrap()).unwrap(), key)
            .unwrap();
        let cross = cross_sign(ca.certificate(), &old, years, &Serial::random().unwrap()).unwrap();
        let masters = sim.cluster().control_planes().map(|node| node.name.clone()).collect();
        Self { sim, ports, run: RunId::from("by-hand"), ca, cross, masters }
    }

    /// A leaf like the present one, and its key, as PEM.
    fn leaf(&self, name: &str) -> (String, String) {
        let old = self.sim.old_pki();
        let present = old.leaves.get(&LeafId::from(name)).unwrap();
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let validity =
            Validity::back_dated(self.ports.clock.now(), SignedDuration::from_hours(1000)).unwrap();
        let shape = Template::from_certificate(present);
        let leaf = issue(&shape, key.public_key(), &self.ca, validity, &Serial::random().unwrap()).unwrap();
        (leaf.to_pem(), key.to_pem(KeyEncoding::Pkcs1OrSec1).unwrap().expose().to_owned())
    }

    async fn write(&self, node: &NodeName, files: &[(&str, &str)]) {
        let files = files.iter().map(|(name, text)| file(&certificate_file(name), text)).collect();
        self.ports.nodes.write(node, &self.run, files).await.unwrap();
    }

    fn violations(&self) -> Vec<String> {
        self.sim.violations().into_iter().map(|violation| violation.what).collect()
    }
}

fn file(path: &str, text: &str) -> FileBytes {
    let bytes = FileContent::Bytes(Zeroizing::new(text.as_bytes().to_vec()));
    FileBytes { path: path.to_owned(), bytes, access: None }
}

#[tokio::test(start_paused = true)]
async fn nothing_happens_to_a_cluster_that_is_left_alone() {
    let hand = ByHand::new(3);
    hand.sim.pass(Duration::from_secs(300)).await;
    assert_eq!(hand.violations(), Vec::<String>::new());
    let log = hand.sim.workload_log();
    assert!(log.failures.is_empty(), "{:?}", log.failures.first());
    assert!(log.calls > 3000, "{}", log.calls);
}

#[tokio::test(start_paused = true)]
async fn a_bare_new_leaf_before_its_ca_is_trusted_cuts_everybody_off() {
    let hand = ByHand::new(3);
    let (leaf, key) = hand.leaf("apiserver");
    hand.write(&hand.masters[0], &[("apiserver.key", &key), ("apiserver.crt", &leaf)]).await;
    hand.sim.pass(Duration::from_secs(20)).await;
    let violations = hand.violations();
    assert!(
        violations
            .iter()
            .any(|what| what.contains("kubelet on") && what.contains("does not trust the server"))
    );
    assert!(violations.iter().any(|what| what.contains("pod demo/web-0 does not trust kube-apiserver")));
    let log = hand.sim.workload_log();
    assert!(
        log.failures.iter().any(|failed| failed.why.contains("unknown authority")),
        "{:?}",
        log.failures.first()
    );
}

/// With the cross certificate the same leaf hurts nobody, but its key is the token key: a restart at this instant would.
#[tokio::test(start_paused = true)]
async fn a_cross_signed_leaf_over_the_token_key_breaks_tokens_at_the_next_restart() {
    let hand = ByHand::new(3);
    let (leaf, key) = hand.leaf("apiserver");
    let chain = leaf + &hand.cross.to_pem();
    hand.write(&hand.masters[0], &[("apiserver.key", &key), ("apiserver.crt", &chain)]).await;
    hand.sim.pass(Duration::from_secs(5)).await;
    assert!(hand.sim.workload_log().failures.is_empty());
    let violations = hand.violations();
    assert!(!violations.is_empty());
    assert!(
        violations.iter().all(|what| what.contains("token") && what.contains("restarted now")),
        "{violations:#?}"
    );
    hand.ports.nodes.end_process(&hand.masters[0], Component::ApiServer).await.unwrap();
    hand.sim.pass(Duration::from_secs(30)).await;
    assert!(hand.sim.workload_log().failures.iter().any(|failed| failed.why.contains("401")));
}

#[tokio::test(start_paused = true)]
async fn all_etcd_members_at_once_on_another_ca_lose_the_api() {
    let hand = ByHand::new(3);
    let roots = hand.ca.certificate().to_pem();
    for node in hand.masters.clone() {
        let peer = format!("etcdpeer{}", hand.masters.iter().position(|name| *name == node).unwrap());
        let ((server, server_key), (peer_leaf, peer_key)) = (hand.leaf("etcdserver"), hand.leaf(&peer));
        let (crt, key) = (format!("{peer}.crt"), format!("{peer}.key"));
        let files = [
            ("ca.crt", roots.as_str()),
            ("etcdserver.key", &server_key),
            ("etcdserver.crt", &server),
            (key.as_str(), &peer_key),
            (crt.as_str(), &peer_leaf),
        ];
        hand.write(&node, &files).await;
    }
    let restarts =
        hand.masters.iter().map(|node| hand.ports.nodes.restart_unit(node, "etcd.service", Component::Etcd));
    for restart in join_all(restarts).await {
        restart.unwrap();
    }
    hand.sim.pass(Duration::from_secs(20)).await;
    let violations = hand.violations();
    assert!(violations.iter().any(|what| what.contains("etcd members are away at once")), "{violations:#?}");
    let api = "kube-apiserver on k8s-master";
    assert!(violations.iter().any(|what| what.starts_with(api) && what.contains("etcd")), "{violations:#?}");
    assert!(hand.sim.workload_log().failures.iter().any(|failed| failed.why.contains("not ready")));
}

/// Like `kops#14037`: member by member, without cross certificates.
#[tokio::test(start_paused = true)]
async fn etcd_member_by_member_without_a_cross_certificate_loses_the_quorum() {
    let hand = ByHand::new(3);
    let roots = hand.ca.certificate().to_pem();
    for (index, node) in hand.masters.iter().take(2).enumerate() {
        let (leaf, key) = hand.leaf(&format!("etcdpeer{index}"));
        let (crt, key_file) = (format!("etcdpeer{index}.crt"), format!("etcdpeer{index}.key"));
        hand.write(node, &[("ca.crt", &roots), (&key_file, &key), (&crt, &leaf)]).await;
        let restarted = hand.ports.nodes.restart_unit(node, "etcd.service", Component::Etcd).await;
        // The first cannot join those that it does not trust; the second takes the quorum away, then joins the first.
        assert_eq!(restarted.is_err(), index == 0, "{restarted:?}");
    }
    assert!(hand.violations().iter().any(|what| what.contains("do not trust each other")));
    assert!(!hand.sim.workload_log().failures.is_empty());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_token_key_early_refuses_every_token() {
    let hand = ByHand::new(3);
    let (_, key) = hand.leaf("apiserver");
    let node = hand.masters[0].clone();
    let path = manifest_file(Component::ApiServer);
    let manifest = hand.ports.nodes.read(&node, &path).await.unwrap().unwrap();
    let text = std::str::from_utf8(&manifest).unwrap();
    let other = "/etc/kubernetes/certs/other.key";
    let text = set_flag(text, "service-account-key-file", &[other]).unwrap();
    hand.write(&node, &[("other.key", &key)]).await;
    let manifest = file(&path, &text);
    hand.ports
        .nodes
        .replace_static_pod(&node, &hand.run, Component::ApiServer, manifest, Duration::from_secs(1))
        .await
        .unwrap();
    hand.sim.pass(Duration::from_secs(30)).await;
    let violations = hand.violations();
    assert!(
        violations.iter().any(|what| what.contains("does not accept the token of pod demo/bare")),
        "{violations:#?}"
    );
    assert!(violations.iter().any(|what| what.contains("does not accept the token of the controllers")));
    assert!(hand.sim.workload_log().failures.iter().any(|failed| failed.why.contains("401")));
}

/// One API server after the other without a diversion: whoever is sent to it while it is away fails.
#[tokio::test(start_paused = true)]
async fn a_restart_without_a_diversion_is_felt() {
    let hand = ByHand::new(3);
    hand.ports.nodes.end_process(&hand.masters[0], Component::ApiServer).await.unwrap();
    hand.sim.pass(Duration::from_secs(20)).await;
    assert_eq!(hand.violations(), Vec::<String>::new());
    assert!(hand.sim.workload_log().failures.iter().any(|failed| failed.why.contains("refused")));
}
