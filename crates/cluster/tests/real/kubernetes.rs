//! A kube-apiserver with its etcd and controller manager, without nodes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kubecert_cluster::{ApiAvailability, EntryChange, KubeClient, TlsProbe, takes_connections};
use kubecert_core::inventory::{CaBundleHolder, ObjectRef, Server, WorkloadKind, WorkloadRef};
use kubecert_core::model::NodeName;
use kubecert_engine::ports::{Availability, ExtensionAuthentication, Fault, KubeApi, Probe, Rollout};
use kubecert_pki::{Csr, DistinguishedName, Issuer, KeyAlgorithm, PrivateKey, Template, to_pem_chain};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::support::{Leaf, LoopbackNodes, Memory, Process, ca, credentials, free_port, program, until};

/// What an API server's certificate carries, for a lab whose endpoint is this machine.
const NAMES: &[&str] = &["localhost", "kubernetes", "kubernetes.default.svc", "127.0.0.1", "10.0.0.1"];

/// What the tests look at. `$CHAIN`, `$KEY` and `$BUNDLE` are base64.
const OBJECTS: &str = include_str!("objects.yaml");

struct Cluster {
    directory: TempDir,
    etcd: Vec<String>,
    programs: [PathBuf; 4],
    processes: Vec<Process>,
    port: u16,
}

impl Cluster {
    fn start(ca: &Issuer) -> Option<Self> {
        let programs = [
            program("etcd")?,
            program("kube-apiserver")?,
            program("kube-controller-manager")?,
            program("kubectl")?,
        ];
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let bundle = to_pem_chain([ca.certificate()]);
        std::fs::write(path.join("ca.crt"), &bundle).unwrap();
        std::fs::write(path.join("proxy-ca.crt"), to_pem_chain([self::ca("proxy-ca").certificate()]))
            .unwrap();
        Leaf::server(ca, NAMES).write(path, "server");
        Leaf::client(ca).write(path, "client");
        // The key for service-account tokens is a file of its own here, so that it can be changed alone.
        Leaf::client(ca).write(path, "sa");
        let (port, store, peer) = (free_port(), free_port(), free_port());
        let etcd = [
            "--data-dir=etcd".to_owned(),
            "--unsafe-no-fsync".to_owned(),
            format!("--listen-client-urls=http://127.0.0.1:{store}"),
            format!("--advertise-client-urls=http://127.0.0.1:{store}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
        ];
        let mut cluster = Self {
            directory,
            etcd: vec![format!("http://127.0.0.1:{store}")],
            programs,
            processes: Vec::new(),
            port,
        };
        cluster.run(0, "etcd", &etcd);
        cluster.start_api_server();
        cluster.kubeconfig();
        cluster.start_controller_manager("sa.key");
        Some(cluster)
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn run(&mut self, program: usize, name: &str, arguments: &[String]) {
        self.processes.push(Process::start(self.directory.path(), name, &self.programs[program], arguments));
    }

    fn start_api_server(&mut self) {
        let arguments = [
            format!("--etcd-servers={}", self.etcd[0]),
            format!("--secure-port={}", self.port),
            "--bind-address=127.0.0.1".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            "--tls-cert-file=server.crt".to_owned(),
            "--tls-private-key-file=server.key".to_owned(),
            "--client-ca-file=ca.crt".to_owned(),
            "--requestheader-client-ca-file=proxy-ca.crt".to_owned(),
            "--requestheader-username-headers=X-Remote-User".to_owned(),
            "--service-account-issuer=https://localhost".to_owned(),
            "--service-account-key-file=sa.crt".to_owned(),
            "--service-account-signing-key-file=sa.key".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--anonymous-auth=false".to_owned(),
            "--cert-dir=certs".to_owned(),
        ];
        self.run(1, "kube-apiserver", &arguments);
    }

    fn start_controller_manager(&mut self, key: &str) {
        let arguments = [
            "--kubeconfig=kubeconfig".to_owned(),
            "--authentication-skip-lookup=true".to_owned(),
            "--secure-port=0".to_owned(),
            "--root-ca-file=ca.crt".to_owned(),
            format!("--service-account-private-key-file={key}"),
            "--leader-elect-lease-duration=4s".to_owned(),
            "--leader-elect-renew-deadline=3s".to_owned(),
            "--leader-elect-retry-period=1s".to_owned(),
        ];
        self.run(2, "kube-controller-manager", &arguments);
    }

    fn kubeconfig(&self) {
        let file = |name: &str| self.path().join(name).display().to_string();
        let config = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{ "name": "c", "cluster": {
                "server": format!("https://localhost:{}", self.port), "certificate-authority": file("ca.crt"),
            } }],
            "users": [{ "name": "c", "user": { "client-certificate": file("client.crt"), "client-key": file("client.key") } }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "c" } }],
        });
        std::fs::write(self.path().join("kubeconfig"), config.to_string()).unwrap();
    }

    /// An independent client, for what the tests set up and look at.
    fn kubectl(&self, arguments: &[&str]) -> Option<String> {
        let output = Command::new(&self.programs[3])
            .args(["--kubeconfig=kubeconfig", "--namespace=work"])
            .args(arguments)
            .current_dir(self.path())
            .output()
            .unwrap();
        if !output.status.success() {
            println!("kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn object(name: &str) -> ObjectRef {
    ObjectRef { namespace: "work".to_owned(), name: name.to_owned() }
}

fn workload(kind: WorkloadKind, name: &str) -> WorkloadRef {
    WorkloadRef { kind, namespace: "work".to_owned(), name: name.to_owned() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_is_asked_of_the_api() {
    let (old, new) = (ca("ca"), ca("ca-g2"));
    let Some(mut cluster) = Cluster::start(&old) else { return };
    let mine = credentials(&[&old], &Leaf::client(&old));
    let stranger = credentials(&[&old], &Leaf::client(&new));

    let availability = ApiAvailability::new("localhost", cluster.port);
    until("the API answers", async || availability.prepare(&mine).await.ok()).await;

    let api = KubeClient::new("localhost", cluster.port).unwrap();
    assert_eq!(api.nodes().await.unwrap_err().fault, Fault::Refused);
    api.use_credentials(vec![stranger.clone()]).await.unwrap();
    assert_eq!(api.nodes().await.unwrap_err().fault, Fault::Refused);
    // The second is accepted where the first is not.
    api.use_credentials(vec![stranger.clone(), mine.clone()]).await.unwrap();

    set_up(&cluster, &old).await;
    look(&api, &old).await;
    trust(&api, &old, &new).await;
    entries(&api, &cluster).await;
    workloads(&api, &cluster).await;
    bare_pod(&api, &cluster).await;
    token(&api, &mut cluster, &old).await;
    probes(&cluster, &old, &new).await;
    symptoms(&api, &cluster).await;

    let begun = Instant::now();
    for number in 0..20 {
        availability.once(&mine, number).await.unwrap();
    }
    println!("availability: {} ms a request", begun.elapsed().as_millis() / 20);
    assert_eq!(availability.once(&stranger, 0).await.unwrap_err().fault, Fault::Refused);
    availability.clean_up(&mine).await.unwrap();
    availability.clean_up(&mine).await.unwrap();

    survives_a_restart(&api, &mut cluster).await;
}

async fn set_up(cluster: &Cluster, ca: &Issuer) {
    use base64::Engine;
    let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let leaf = Leaf::server(ca, &["web.work.svc"]);
    let objects = OBJECTS
        .replace("$CHAIN", &encode(leaf.chain_pem()))
        .replace("$KEY", &encode(leaf.key_pem()))
        .replace("$BUNDLE", &encode(to_pem_chain([ca.certificate()])));
    std::fs::write(cluster.path().join("objects.yaml"), objects).unwrap();
    until("there is a namespace", async || cluster.kubectl(&["create", "namespace", "work"])).await;
    // Whoever finds a token Secret without its account deletes it.
    let account = ["get", "serviceaccount", "default", "-o", "name"];
    until("there is an account", async || cluster.kubectl(&account)).await;
    until("objects are there", async || cluster.kubectl(&["apply", "-f", "objects.yaml"])).await;
    let token = ["get", "secret", "robot", "-o", "jsonpath={.data.token}"];
    until("a token is signed", async || cluster.kubectl(&token).filter(|token| !token.is_empty())).await;
    // As Kubernetes before 1.24 did by itself.
    cluster
        .kubectl(&["patch", "serviceaccount", "default", "-p", r#"{"secrets":[{"name":"robot"}]}"#])
        .unwrap();
    let root = ["get", "configmap", "kube-root-ca.crt", "-o", "name"];
    until("roots are published", async || cluster.kubectl(&root)).await;
    let job = ["get", "pods", "-l", "job-name=once", "-o", "name"];
    until("the job's pod is there", async || cluster.kubectl(&job).filter(|pods| !pods.is_empty())).await;
}

async fn look(api: &KubeClient, ca: &Issuer) {
    let begun = Instant::now();
    let facts = api.look().await.unwrap();
    println!("look: {} ms", begun.elapsed().as_millis());
    assert!(facts.version.at_least(20));
    let names: Vec<_> = facts.workloads.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["daemonset work/agent", "deployment work/web"]);
    assert_eq!(facts.bare_pods, [object("bare")]);
    assert_eq!(facts.job_pods.len(), 1);
    let root = ca.certificate().fingerprint().to_string();
    assert_eq!(facts.published_roots.get("work"), Some(&vec![root.clone()]));
    assert_eq!(facts.token_secrets.len(), 1);
    assert_eq!(facts.token_secrets[0].service_account, "default");
    assert!(facts.token_secrets[0].listed);
    assert_eq!(facts.token_secrets[0].roots, std::slice::from_ref(&root));
    let [tls] = &facts.tls_secrets[..] else { panic!("{:?}", facts.tls_secrets) };
    assert_eq!(tls.chain[0].sans, ["web.work.svc"]);
    assert_eq!(tls.roots[0].fingerprint, root);
    assert_eq!(tls.mounted_by, [workload(WorkloadKind::Deployment, "web")]);
    let holders: Vec<_> = facts.ca_bundles.iter().map(|(holder, _)| holder.to_string()).collect();
    let hooks = ["validating webhook hooks/one.example.com", "validating webhook hooks/two.example.com"];
    assert_eq!(holders, ["apiservice v1.example.com", hooks[0], hooks[1]]);
    assert!(facts.ca_bundles.iter().all(|(_, bundle)| bundle[0].fingerprint == root));
}

async fn trust(api: &KubeClient, old: &Issuer, new: &Issuer) {
    let lease = api.controller_manager_lease().await.unwrap();
    assert!(!lease.holder.is_empty() && lease.acquired.is_some() && lease.renewed.is_some());

    let old_pem = to_pem_chain([old.certificate()]);
    let published = api.extension_authentication().await.unwrap().unwrap();
    assert_eq!(published.client_ca.trim(), old_pem.trim());
    // What nobody trusts stays, since the API server only adds; its own is back at once.
    let other = ExtensionAuthentication { client_ca: to_pem_chain([new.certificate()]), ..published.clone() };
    api.rebuild_extension_authentication(&other).await.unwrap();
    let again = async || {
        let there = api.extension_authentication().await.unwrap().unwrap();
        (there.client_ca.matches("BEGIN CERTIFICATE").count() == 2).then_some(there)
    };
    let again = until("the API server has added its own", again).await;
    assert_eq!(again.requestheader_client_ca, published.requestheader_client_ca);
    api.rebuild_extension_authentication(&published).await.unwrap();
    let alone = api.extension_authentication().await.unwrap().unwrap();
    assert_eq!(alone.client_ca.trim(), old_pem.trim());

    assert_eq!(api.token_secret_roots().await.unwrap()[0].1.trim(), old_pem.trim());
    assert_eq!(api.unavailable_aggregated_apis().await.unwrap()[0].0, "v1.example.com");

    let (pem, expected) = (to_pem_chain([new.certificate()]), new.certificate().fingerprint().to_string());
    let hook = |name: &str| CaBundleHolder::ValidatingWebhook("hooks".to_owned(), name.to_owned());
    api.set_ca_bundle(&hook("two.example.com"), &pem).await.unwrap();
    api.set_ca_bundle(&hook("none.example.com"), &pem).await.unwrap();
    api.set_ca_bundle(&CaBundleHolder::ApiService("v1.example.com".to_owned()), &pem).await.unwrap();
    api.set_ca_bundle(&CaBundleHolder::CustomResourceConversion("none".to_owned()), &pem).await.unwrap();
    let leaf = Leaf::server(new, &["web.work.svc"]);
    let key = Zeroizing::new(leaf.key_pem());
    api.write_tls_secret(&object("web"), &leaf.chain_pem(), &key, &pem).await.unwrap();
    api.write_tls_secret(&object("none"), &leaf.chain_pem(), &key, &pem).await.unwrap();

    let facts = api.look().await.unwrap();
    let changed = facts.ca_bundles.iter().map(|(_, bundle)| bundle[0].fingerprint == expected);
    assert_eq!(changed.collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(facts.tls_secrets[0].chain[0].fingerprint, leaf.chain[0].fingerprint().to_string());
    assert_eq!(facts.tls_secrets[0].roots[0].fingerprint, expected);
}

/// An entry of a Secret is read and replaced, if it is what it was taken for, and nothing else in it changes.
async fn entries(api: &KubeClient, cluster: &Cluster) {
    cluster.kubectl(&[
        "create",
        "secret",
        "generic",
        "login",
        "--from-literal=value=one",
        "--from-literal=other=o",
    ]);
    let read = async |key: &str| api.secret_value(&object("login"), key).await.unwrap();
    let value = async || read("value").await.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
    assert_eq!(value().await.as_deref(), Some("one"));
    assert!(
        read("none").await.is_none() && api.secret_value(&object("none"), "value").await.unwrap().is_none()
    );
    api.may_replace_secret_value(&object("login"), "value", b"one").await.unwrap();
    assert_eq!(value().await.as_deref(), Some("one"), "a trial changes nothing");
    api.replace_secret_value(&object("login"), "value", b"one", b"two").await.unwrap();
    // Done again, as after an answer that was lost.
    api.replace_secret_value(&object("login"), "value", b"one", b"two").await.unwrap();
    assert_eq!(value().await.as_deref(), Some("two"));
    assert_eq!(read("other").await.as_deref().map(|bytes| bytes.as_slice()), Some(&b"o"[..]));
    let refused = api.replace_secret_value(&object("login"), "value", b"one", b"three").await.unwrap_err();
    assert_eq!(refused.fault, Fault::Failed);
    assert!(refused.to_string().contains("somebody else has changed it meanwhile"), "{refused}");
    let gone = api.replace_secret_value(&object("none"), "value", b"", b"x").await.unwrap_err();
    assert!(gone.to_string().contains("there is no such Secret any more"), "{gone}");
    both(api).await;
    cluster.kubectl(&["delete", "secret", "login"]);
}

/// Two entries change together or not at all.
async fn both(api: &KubeClient) {
    let change = |key, old, new| EntryChange { key, old, new };
    let half = [change("value", b"two", b"three"), change("other", b"x", b"p")];
    let refused = api.replace_secret_values(&object("login"), &half).await.unwrap_err();
    assert!(refused.to_string().contains("somebody else has changed it meanwhile"), "{refused}");
    let whole = [change("value", b"two", b"three"), change("other", b"o", b"p")];
    api.may_replace_secret_values(&object("login"), &whole).await.unwrap();
    let there = async || {
        let entries = api.secret_values(&object("login")).await.unwrap().unwrap();
        let text = |bytes: &Zeroizing<Vec<u8>>| String::from_utf8(bytes.to_vec()).unwrap();
        entries.iter().map(|(key, bytes)| format!("{key}={}", text(bytes))).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(there().await, "other=o value=two", "a trial changes nothing, nor does half a change");
    for _ in 0..2 {
        api.replace_secret_values(&object("login"), &whole).await.unwrap();
        assert_eq!(there().await, "other=p value=three");
    }
    assert!(api.secret_values(&object("none")).await.unwrap().is_none());
}

async fn workloads(api: &KubeClient, cluster: &Cluster) {
    let web = workload(WorkloadKind::Deployment, "web");
    let generation =
        || cluster.kubectl(&["get", "deployment", "web", "-o", "jsonpath={.metadata.generation}"]).unwrap();
    api.restart(&web, "run-1").await.unwrap();
    let first = generation();
    api.restart(&web, "run-1").await.unwrap();
    assert_eq!(generation(), first, "the same stamp starts no second rollout");
    // There are no nodes, so it never gets far; and a DaemonSet is done at once.
    assert!(matches!(api.rollout(&web).await.unwrap(), Rollout::Under(_)));
    let agent = workload(WorkloadKind::DaemonSet, "agent");
    until("the daemon set is done", async || {
        (api.rollout(&agent).await.unwrap() == Rollout::Complete).then_some(())
    })
    .await;
    let gone = workload(WorkloadKind::StatefulSet, "gone");
    api.restart(&gone, "run-1").await.unwrap();
    assert_eq!(api.rollout(&gone).await.unwrap(), Rollout::Complete);
}

async fn bare_pod(api: &KubeClient, cluster: &Cluster) {
    let uid = || cluster.kubectl(&["get", "pod", "bare", "-o", "jsonpath={.metadata.uid}"]).unwrap();
    let (keep, pod, before) = (Memory::default(), object("bare"), uid());
    api.recreate_pod(&pod, "run-1", &keep).await.unwrap();
    let after = uid();
    assert_ne!(after, before);
    api.recreate_pod(&pod, "run-1", &keep).await.unwrap();
    assert_eq!(uid(), after, "a marked pod is left alone");
    // Cut off between deletion and creation.
    cluster.kubectl(&["delete", "pod", "bare"]).unwrap();
    api.recreate_pod(&pod, "run-1", &keep).await.unwrap();
    assert_ne!(uid(), after);
    // Nothing of the sort was ever there.
    api.recreate_pod(&object("none"), "run-1", &keep).await.unwrap();

    // One that was Ready is waited for.
    let ready = r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;
    let patch = || {
        cluster
            .kubectl(&["patch", "pod", "bare", "--subresource=status", "--type=merge", "-p", ready])
            .unwrap()
    };
    patch();
    let keep = Memory::default();
    let recreation = api.recreate_pod(&pod, "run-2", &keep);
    let kubelet = async {
        let marked =
            ["get", "pod", "bare", "-o", r"jsonpath={.metadata.annotations.kubecert\.dev/recreated}"];
        until("it is there again", async || cluster.kubectl(&marked).filter(|mark| mark == "run-2")).await;
        patch();
    };
    let (outcome, ()) =
        tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(recreation, kubelet) })
            .await
            .unwrap();
    outcome.unwrap();
}

async fn token(api: &KubeClient, cluster: &mut Cluster, ca: &Issuer) {
    let token = |cluster: &Cluster| {
        cluster.kubectl(&["get", "secret", "robot", "-o", "jsonpath={.data.token}"]).unwrap()
    };
    let (secret, before) = (object("robot"), token(cluster));
    api.renew_token_secret(&object("none"), "run-1").await.unwrap();
    // The same key signs the same token: that is no renewal, and is said so each time.
    for _ in 0..2 {
        assert_eq!(api.renew_token_secret(&secret, "run-1").await.unwrap_err().fault, Fault::Failed);
    }
    cluster.processes.pop().unwrap().stop();
    Leaf::client(ca).write(cluster.path(), "sa-2");
    cluster.start_controller_manager("sa-2.key");
    let begun = Instant::now();
    api.renew_token_secret(&secret, "run-1").await.unwrap();
    println!(
        "token: renewed after {} ms, a restart of the controller manager included",
        begun.elapsed().as_millis()
    );
    let after = token(cluster);
    assert!(!after.is_empty() && after != before);
    api.renew_token_secret(&secret, "run-1").await.unwrap();
    assert_eq!(token(cluster), after, "a marked secret is left alone");
}

async fn probes(cluster: &Cluster, old: &Issuer, new: &Issuer) {
    let node = NodeName::new("k8s-master-0");
    let nodes = LoopbackNodes([((node.clone(), 443), cluster.port)].into());
    let probe = TlsProbe::new(Arc::new(nodes), BTreeMap::new(), 443);
    let server = Server::ApiServer(node.clone());
    let seen = probe.handshake(&server).await.unwrap();
    assert!(seen.client_ca_names.contains(&old.certificate().subject().der().to_vec()));
    assert_eq!(seen.client_ca_names.len(), 2, "clients' CA and front proxy's CA");
    let get = async |leaf: &Leaf| probe.get(&server, &credentials(&[old], leaf), "/readyz").await.unwrap();
    assert_eq!(get(&Leaf::client(old)).await, 200);
    assert_eq!(get(&Leaf::client(new).crossed(new, old)).await, 200);
    assert_eq!(get(&Leaf::client(new)).await, 401);
    assert_eq!(probe.handshake(&Server::EtcdPeer(node)).await.unwrap_err().fault, Fault::Failed);
}

/// A call that begins while the API server is away ends well when it is back.
/// What the doctor looks for: objects as a site in trouble has them.
async fn symptoms(api: &KubeClient, cluster: &Cluster) {
    use base64::Engine;
    assert_eq!(api.serving_requests().await.unwrap(), []);
    assert_eq!(api.crashing_renewal_workers().await.unwrap(), []);
    assert_eq!(api.outer_services().await.unwrap(), []);
    let apply = |namespace: &str, objects: serde_json::Value| {
        std::fs::write(cluster.path().join("symptom.json"), objects.to_string()).unwrap();
        let namespace = format!("--namespace={namespace}");
        move || cluster.kubectl(&[&namespace, "apply", "-f", "symptom.json"])
    };

    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let node = DistinguishedName::common_name("system:node:agent-1").unwrap();
    let csr = Csr::create(&Template::bare(node), &key).unwrap().to_pem();
    apply(
        "work",
        serde_json::json!({
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
            "metadata": { "name": "csr-1" },
            "spec": {
                "request": base64::engine::general_purpose::STANDARD.encode(csr),
                "signerName": "kubernetes.io/kubelet-serving",
                "usages": ["digital signature", "server auth"],
            },
        }),
    )()
    .unwrap();
    let requests = api.serving_requests().await.unwrap();
    assert_eq!((requests.len(), requests[0].name.as_str(), requests[0].approved), (1, "csr-1", false));
    assert!(requests[0].created.is_some());
    cluster.kubectl(&["certificate", "deny", "csr-1"]).unwrap();
    assert_eq!(api.serving_requests().await.unwrap(), []);

    let pod = apply(
        "kube-system",
        serde_json::json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "cert-renewal-worker-1" },
            "spec": {
                "automountServiceAccountToken": false, "nodeName": "agent-1",
                "tolerations": [{ "operator": "Exists" }],
                "containers": [{ "name": "renew", "image": "none" }],
            },
        }),
    );
    until("there is a renewal worker", async || pod()).await;
    let crashed = r#"{"status":{"phase":"Running","containerStatuses":[{"name":"renew","image":"none","imageID":"",
        "ready":false,"restartCount":7,"state":{"waiting":{"reason":"CrashLoopBackOff"}}}]}}"#;
    cluster
        .kubectl(&[
            "--namespace=kube-system",
            "patch",
            "pod",
            "cert-renewal-worker-1",
            "--subresource=status",
            "--type=merge",
            "-p",
            crashed,
        ])
        .unwrap();
    let workers = api.crashing_renewal_workers().await.unwrap();
    assert_eq!((workers.len(), workers[0].node.as_str(), workers[0].restarts), (1, "agent-1", 7));

    apply(
        "work",
        serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": [
            { "apiVersion": "v1", "kind": "Service", "metadata": { "name": "outer" },
              "spec": { "type": "LoadBalancer", "ports": [{ "port": 80 }] } },
            { "apiVersion": "v1", "kind": "Endpoints", "metadata": { "name": "outer" },
              "subsets": [{ "addresses": [{ "ip": "10.244.0.2" }], "ports": [{ "port": 80 }] }] },
        ] }),
    )()
    .unwrap();
    assert_eq!(api.outer_services().await.unwrap(), [], "it has no address yet");
    let address = r#"{"status":{"loadBalancer":{"ingress":[{"ip":"127.0.0.9"}]}}}"#;
    cluster
        .kubectl(&["patch", "service", "outer", "--subresource=status", "--type=merge", "-p", address])
        .unwrap();
    let services = api.outer_services().await.unwrap();
    assert_eq!((services.len(), services[0].address.as_str()), (1, "127.0.0.9"));
    assert_eq!(services[0].ports, [80]);
    assert!(takes_connections("localhost", cluster.port).await.is_ok());
    let refused = takes_connections("127.0.0.9", free_port()).await.unwrap_err();
    assert_eq!(refused.fault, Fault::Unreachable, "{refused}");
}

async fn survives_a_restart(api: &KubeClient, cluster: &mut Cluster) {
    let mut api_server = cluster.processes.remove(1);
    api_server.stop();
    cluster.start_api_server();
    let begun = Instant::now();
    let mut calls = 0;
    until("the API is back", async || {
        calls += 1;
        api.published_roots().await.inspect_err(|error| assert!(error.is_transient(), "{error}")).ok()
    })
    .await;
    println!("restart: {calls} calls until the API was back after {} ms", begun.elapsed().as_millis());
}
