//! Against a real kube-apiserver, where there is one.

#[path = "../../tests/akshci/api_server.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod api_server;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use kubecert_core::layout;
use kubecert_core::model::LeafId;
use kubecert_engine::kubeconfig::{client_credentials, replace_credentials, roots};
use kubecert_engine::vault::PkiSet;
use kubecert_pki::{
    Certificate, DistinguishedName, Issuer, KeyAlgorithm, KeyEncoding, PrivateKey, Serial, Template,
    Validity, issue, self_signed_ca,
};
use serde_json::{Value, json};

use super::*;
use api_server::{ApiServer, openssl};

const DOMAINS: [(&str, TrustDomain); 3] =
    [("ca", TrustDomain::Cluster), ("etcd", TrustDomain::Etcd), ("proxy", TrustDomain::FrontProxy)];

fn year() -> Validity {
    Validity::back_dated(Timestamp::now(), SignedDuration::from_hours(365 * 24)).unwrap()
}

fn key() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()
}

fn ca(name: &str) -> Issuer {
    let (key, shape) = (key(), Template::ca(DistinguishedName::common_name(name).unwrap()).unwrap());
    Issuer::new(self_signed_ca(&shape, &key, year(), &Serial::random().unwrap()).unwrap(), key).unwrap()
}

fn client(user: &str, ca: &Issuer) -> (Certificate, PrivateKey) {
    let (key, shape) = (key(), Template::admin(user, "system:masters").unwrap());
    (issue(&shape, key.public_key(), ca, year(), &Serial::random().unwrap()).unwrap(), key)
}

fn pki(generation: &str) -> PkiSet {
    let mut set = PkiSet::default();
    for (name, domain) in DOMAINS {
        let ca = ca(&format!("{name}-{generation}"));
        set.authorities.insert(domain, ca.certificate().clone());
        set.authority_keys.insert(domain, ca.key().clone());
    }
    set.leaf_keys.insert(layout::service_account(), key());
    let (leaf, key) = client("kubernetes-admin", &set.issuer(TrustDomain::Cluster).unwrap().unwrap());
    set.leaves.insert(LeafId::from("kubectlClient"), leaf);
    set.leaf_keys.insert(LeafId::from("kubectlClient"), key);
    set
}

fn key_pem(key: &PrivateKey) -> String {
    key.to_pem(KeyEncoding::Pkcs1OrSec1).unwrap().expose().to_owned()
}

fn file_of(set: &PkiSet) -> Vec<u8> {
    let text = "clusters:\n- cluster:\n    certificate-authority-data: eA==\n    server: https://10.0.0.9:6443\n  name: holidays\nusers:\n- name: holidays-admin\n  user:\n    client-certificate-data: eA==\n    client-key-data: eA==\n";
    let issuer = set.issuer(TrustDomain::Cluster).unwrap().unwrap();
    let (leaf, key) = client("holidays-admin", &issuer);
    let root = issuer.certificate().to_pem();
    replace_credentials(text.as_bytes(), root.as_bytes(), leaf.to_pem().as_bytes(), key_pem(&key).as_bytes())
        .unwrap()
        .to_vec()
}

/// The Secrets as Cluster API makes them (Cluster API 1.9, `util/secret/certificates.go`, `AsSecret`), with one entry more.
fn secrets(set: &PkiSet) -> Value {
    let mut all = Vec::new();
    let mut add = |name: &str, entries: &[(&str, &[u8])]| {
        let data: BTreeMap<&str, String> =
            entries.iter().map(|(entry, bytes)| (*entry, STANDARD.encode(bytes))).collect();
        all.push(json!({
            "apiVersion": "v1", "kind": "Secret", "type": "cluster.x-k8s.io/secret", "data": data,
            "metadata": {
                "name": format!("holidays-{name}"), "namespace": "fleet",
                "labels": { "cluster.x-k8s.io/cluster-name": "holidays", "team": "a" },
                "ownerReferences": [{
                    "apiVersion": "controlplane.cluster.x-k8s.io/v1beta1", "kind": "KubeadmControlPlane",
                    "name": "holidays-control-plane", "uid": "6a4f6dd0-33c3-4f0e-9a3c-1f0f8a1c2d3e",
                    "controller": true, "blockOwnerDeletion": true,
                }],
            },
        }));
    };
    for (name, domain) in DOMAINS {
        let (certificate, key) = (set.authorities[&domain].to_pem(), key_pem(&set.authority_keys[&domain]));
        add(name, &[("tls.crt", certificate.as_bytes()), ("tls.key", key.as_bytes()), ("note", b"kept")]);
    }
    let tokens = &set.leaf_keys[&layout::service_account()];
    let public = tokens.public_key_pem().unwrap();
    add("sa", &[("tls.crt", public.as_bytes()), ("tls.key", key_pem(tokens).as_bytes())]);
    add("kubeconfig", &[("value", &file_of(set))]);
    json!({ "apiVersion": "v1", "kind": "List", "items": all })
}

struct Scene {
    api: ApiServer,
    management: Management,
}

impl Scene {
    fn start(set: &PkiSet) -> Option<Self> {
        let api = ApiServer::start()?;
        api.kubectl(&["create", "namespace", "fleet"]);
        let management = Self::with_login(api.path("kubeconfig"));
        let scene = Self { api, management };
        scene.put(&secrets(set));
        Some(scene)
    }

    fn with_login(kubeconfig: PathBuf) -> Management {
        Self::with_events(kubeconfig, mpsc::unbounded_channel().0)
    }

    fn with_events(kubeconfig: PathBuf, events: mpsc::UnboundedSender<Event>) -> Management {
        let place = ClusterApi { kubeconfig, namespace: "fleet".to_owned(), name: "holidays".to_owned() };
        Management::new(place, events)
    }

    fn put(&self, objects: &Value) {
        fs::write(self.api.path("objects.json"), objects.to_string()).unwrap();
        self.api.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "objects.json"]);
    }

    fn one(&self, name: &str) -> Value {
        let secret = format!("holidays-{name}");
        let text = self.api.kubectl(&["get", "secret", &secret, "-n", "fleet", "-o", "json"]);
        serde_json::from_str(&text).unwrap()
    }

    fn entry(&self, name: &str, entry: &str) -> Vec<u8> {
        STANDARD.decode(self.one(name)["data"][entry].as_str().unwrap()).unwrap()
    }

    /// All Secrets with their versions, which change with anything.
    fn all(&self) -> Vec<String> {
        let path = "jsonpath={range .items[*]}{.metadata.name}={.metadata.resourceVersion}{\"\\n\"}{end}";
        let text = self.api.kubectl(&["get", "secrets", "-n", "fleet", "-o", path]);
        text.lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn is_refused(&self, outcome: PortResult<()>, words: &[&str]) {
        let error = outcome.expect_err("it is refused");
        let told = format!("{error}. {}", error.remedy.as_deref().expect("it says what to do"));
        assert!(words.iter().all(|word| told.contains(word)), "{words:?}: {told}");
        assert!(!told.contains("PRIVATE KEY"), "{told}");
    }
}

/// What a run leaves alone in a Secret.
fn frame(mut secret: Value) -> Value {
    secret["metadata"]["resourceVersion"].take();
    secret["metadata"]["managedFields"].take();
    for entry in ["tls.crt", "tls.key", "value"] {
        secret["data"][entry].take();
    }
    secret
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_follow_in_place() {
    let mut vault = Vault { old: pki("old"), new: pki("new"), cross: BTreeMap::new() };
    // As in most runs: tokens stay.
    vault.new.leaf_keys.remove(&layout::service_account());
    let Some(scene) = Scene::start(&vault.old) else { return };
    let management = &scene.management;

    // A Secret of another cluster is refused, and nothing has changed by then.
    let stranger = pki("stranger");
    let foreign = secrets(&stranger)["items"][1].take();
    scene.put(&foreign);
    let before = scene.all();
    let words = ["fleet/holidays-etcd", "CN=etcd-stranger", "CN=etcd-old", "spec.clusterAPI"];
    scene.is_refused(management.check(&vault, None).await, &words);
    assert_eq!(scene.all(), before);

    scene.put(&secrets(&vault.old));
    let before = scene.all();
    management.check(&vault, None).await.unwrap();
    assert_eq!(scene.all(), before, "a look changes nothing");
    assert_eq!(management.leftovers(), Vec::<String>::new());

    let names = ["ca", "etcd", "proxy", "sa", "kubeconfig"];
    let frames = names.map(|name| frame(scene.one(name)));
    let tokens = scene.one("sa");
    management.follow(&vault).await.unwrap();
    assert_eq!(names.map(|name| frame(scene.one(name))), frames, "only what was to change has changed");
    assert_eq!(scene.one("sa"), tokens, "it holds what is in force");
    for (name, domain) in DOMAINS {
        let certificate = Certificate::from_pem(scene.entry(name, "tls.crt")).unwrap();
        assert_eq!(certificate, vault.new.authorities[&domain]);
        let key = PrivateKey::from_pem(&String::from_utf8(scene.entry(name, "tls.key")).unwrap()).unwrap();
        assert!(key.matches(&certificate), "{name}");
    }
    let file = scene.entry("kubeconfig", "value");
    let root = &vault.new.authorities[&TrustDomain::Cluster];
    assert_eq!(roots(&file).unwrap(), root.to_pem().into_bytes());
    let [leaf, _] = client_credentials(&file).unwrap();
    let leaf = Certificate::from_pem(leaf).unwrap();
    leaf.signed_by(root).unwrap();
    assert_eq!(leaf.subject().last_common_name().as_deref(), Some("holidays-admin"));
    // As a foreign judge sees it.
    fs::write(scene.api.path("new-ca.crt"), root.to_pem()).unwrap();
    fs::write(scene.api.path("new-client.crt"), leaf.to_pem()).unwrap();
    openssl(&scene.api.path(""), "verify -purpose sslclient -CAfile new-ca.crt new-client.crt");

    // Done again, as after an interruption, it changes nothing; nor does the look before another run of that PKI.
    let after = scene.all();
    management.follow(&vault).await.unwrap();
    let next = Vault { old: vault.result(), ..Vault::default() };
    management.check(&next, None).await.unwrap();
    management.follow(&next).await.unwrap();
    assert_eq!(scene.all(), after);
}

/// What a look says while the Cluster is as it is.
async fn advice(scene: &Scene, vault: &Vault) -> Vec<String> {
    let (events, mut told) = mpsc::unbounded_channel();
    let management = Scene::with_events(scene.api.path("kubeconfig"), events);
    management.check(vault, None).await.unwrap();
    drop(management);
    let mut advice = Vec::new();
    while let Some(event) = told.recv().await {
        advice.extend(match event.what {
            Happening::Notice { text } => Some(text),
            _ => None,
        });
    }
    advice
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_not_paused_is_told_of() {
    let vault = Vault { old: pki("old"), new: pki("new"), cross: BTreeMap::new() };
    let Some(scene) = Scene::start(&vault.old) else { return };
    assert_eq!(advice(&scene, &vault).await, Vec::<String>::new(), "it knows no Cluster");
    let open =
        json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
    scene.put(&json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "clusters.cluster.x-k8s.io",
            "annotations": { "api-approved.kubernetes.io": "unapproved, a test" },
        },
        "spec": {
            "group": "cluster.x-k8s.io", "scope": "Namespaced",
            "names": { "kind": "Cluster", "plural": "clusters" },
            "versions": [{ "name": "v1beta1", "served": true, "storage": true, "schema": open }],
        },
    }));
    let wait = ["wait", "--for=condition=Established", "crd/clusters.cluster.x-k8s.io", "--timeout=60s"];
    scene.api.kubectl(&wait);
    for (paused, count) in [(None, 1), (Some(true), 0), (Some(false), 1)] {
        let cluster = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta1", "kind": "Cluster",
            "metadata": { "name": "holidays", "namespace": "fleet" }, "spec": { "paused": paused },
        });
        fs::write(scene.api.path("cluster.json"), cluster.to_string()).unwrap();
        let apply = || scene.api.try_kubectl(&["apply", "-f", "cluster.json"]);
        api_server::until("the API knows Clusters", apply);
        let said = advice(&scene, &vault).await;
        assert_eq!(said.len(), count, "{said:?}");
        assert!(said.iter().all(|text| text.contains("fleet/holidays") && text.contains("spec.paused")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_is_named() {
    let vault = Vault { old: pki("old"), new: pki("new"), cross: BTreeMap::new() };
    let Some(mut scene) = Scene::start(&vault.old) else { return };

    // Who may read and not write is found out before anything is touched.
    let at = scene.api.path("");
    openssl(&at, "req -newkey rsa:2048 -nodes -subj /CN=reader -keyout reader.key -out reader.csr");
    openssl(
        &at,
        "x509 -req -in reader.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 9 -extfile client.ext -out reader.crt",
    );
    let login = fs::read_to_string(scene.api.path("kubeconfig")).unwrap();
    let login = login.replace("client.crt", "reader.crt").replace("client.key", "reader.key");
    fs::write(scene.api.path("reader"), login).unwrap();
    let role = ["create", "role", "reader", "-n", "fleet", "--verb=get", "--resource=secrets"];
    scene.api.kubectl(&role);
    let bound = ["create", "rolebinding", "reader", "-n", "fleet", "--role=reader", "--user=reader"];
    scene.api.kubectl(&bound);
    let before = scene.all();
    let reader = Scene::with_login(scene.api.path("reader"));
    scene.is_refused(
        reader.check(&vault, None).await,
        &["fleet/holidays-ca", "management cluster", "forbidden"],
    );
    assert_eq!(scene.all(), before);

    // What is not there is left out and said; a CA without its key gets none.
    scene.api.kubectl(&["delete", "secret", "holidays-proxy", "-n", "fleet"]);
    let without = json!([{ "op": "remove", "path": "/data/tls.key" }]).to_string();
    scene.api.kubectl(&["patch", "secret", "holidays-etcd", "-n", "fleet", "--type=json", "-p", &without]);
    scene.management.check(&vault, None).await.unwrap();
    let said = scene.management.leftovers();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("fleet/holidays-etcd") && said[0].contains("no private key"), "{said:?}");
    assert!(said[1].contains("no Secret fleet/holidays-proxy"), "{said:?}");

    // Somebody writes between the look and the end: the Secret is named, and those behind it are as they were.
    let stranger = pki("stranger");
    scene.put(&secrets(&stranger)["items"][0].take());
    let before = scene.all();
    scene.is_refused(scene.management.follow(&vault).await, &["fleet/holidays-ca", "CN=ca-stranger"]);
    assert_eq!(scene.all(), before);
    scene.put(&secrets(&vault.old)["items"][0].take());
    scene.management.follow(&vault).await.unwrap();
    assert_eq!(
        Certificate::from_pem(scene.entry("etcd", "tls.crt")).unwrap(),
        vault.new.authorities[&TrustDomain::Etcd]
    );
    assert_eq!(scene.one("etcd")["data"]["tls.key"], Value::Null);
    assert_eq!(scene.all().len(), 4, "none has been made");

    // A cluster that manages itself would refuse this login at the end.
    let own = Certificate::from_pem(fs::read(scene.api.path("ca.crt")).unwrap()).unwrap();
    let mut itself = vault.clone();
    itself.old.authorities.insert(TrustDomain::Cluster, own);
    let another = scene.api.path("reader");
    for own in [None, Some(another.as_path())] {
        scene
            .is_refused(scene.management.check(&itself, own).await, &["the very cluster", "spec.kubeconfig"]);
    }
    let same = scene.api.path("kubeconfig");
    let login = ClusterLogin::read(&same).unwrap();
    scene.management.lasts(&login, &itself, Some(&same)).unwrap();

    scene.api.stop();
    let outcome = scene.management.check(&vault, None).await;
    assert!(outcome.as_ref().is_err_and(PortError::is_transient), "{outcome:?}");
    scene.is_refused(outcome, &["management cluster", "does not answer"]);
    // But where it is the one that is to be brought back, it need not answer yet.
    scene.management.check(&itself, Some(&same)).await.unwrap();
    let none = Scene::with_login(scene.api.path("none"));
    scene.is_refused(none.check(&vault, None).await, &["cannot log in to the management cluster", "none"]);
}
