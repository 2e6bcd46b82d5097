//! What a kubelet does that matters to a rotation: it reads its files at its start, asks for a client certificate when it has
//! none, keeps its Node Ready with that certificate, and serves TLS at port 10250.
//!
//! Requests go through kubectl and the serving side is `openssl s_server`: certificates are verified by Go on one side and
//! by OpenSSL on the other, not by us.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use jiff::Timestamp;
use kubecert_core::layout::windows::{KUBECONFIG, KUBELET_CLIENT, KUBELET_PKI, KUBELET_SERVING, ROOTS};
use kubecert_remote::testing::{Kubelet, Machine};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::Settings;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How often the Lease is renewed, as by a kubelet (`nodeLeaseDurationSeconds` 40, a quarter of it).
const RENEW: Duration = Duration::from_secs(10);
/// How soon something that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long one call of the API may take.
const CALL: Duration = Duration::from_secs(15);
/// How long a request for a certificate may stay unanswered before another one is made.
const SIGNED_WITHIN: Duration = Duration::from_secs(60);

/// The node's kubelet.
pub(crate) struct LabKubelet {
    own: Arc<Own>,
    running: tokio::sync::Mutex<Option<Running>>,
    shown: Mutex<Option<(u32, SystemTime)>>,
}

struct Running {
    server: Child,
    heart: JoinHandle<()>,
}

struct Own {
    settings: Settings,
}

impl LabKubelet {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            own: Arc::new(Own { settings }),
            running: tokio::sync::Mutex::default(),
            shown: Mutex::default(),
        }
    }

    fn show(&self, process: Option<(u32, SystemTime)>) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = process;
    }
}

#[async_trait]
impl Kubelet for LabKubelet {
    async fn start(&self) -> bool {
        let mut running = self.running.lock().await;
        if running.is_some() {
            return true;
        }
        // What it reads at its start, and never again.
        let begun = self.own.begin();
        match begun.and_then(|()| self.own.serve()) {
            Ok(server) => {
                self.show(server.id().map(|pid| (pid, SystemTime::now())));
                let own = Arc::clone(&self.own);
                *running = Some(Running { server, heart: tokio::spawn(async move { own.live().await }) });
                true
            }
            Err(error) => {
                self.own.log(&format!("cannot start: {error}"));
                false
            }
        }
    }

    async fn stop(&self) {
        if let Some(mut running) = self.running.lock().await.take() {
            running.heart.abort();
            let _ = running.server.kill().await;
        }
        self.show(None);
    }

    fn process(&self) -> Option<(u32, SystemTime)> {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn reset(&self) {
        self.stop().await;
        self.start().await;
    }
}

impl Own {
    fn at(&self, path: &str) -> PathBuf {
        Machine::place(&self.settings.root, path)
    }

    /// A file that stands for the kubelet's memory.
    fn memory(&self, name: &str) -> PathBuf {
        self.settings.root.join("memory").join(name)
    }

    fn log(&self, text: &str) {
        let line = format!("{} {text}\n", Timestamp::now());
        let log = fs::OpenOptions::new().append(true).create(true).open(self.at(r"c:\k\kubelet.err.log"));
        if let Ok(mut log) = log {
            let _ = log.write_all(line.as_bytes());
        }
    }

    /// Reads the kubeconfig, and the client certificate if there is one.
    fn begin(&self) -> Outcome<()> {
        let memory = self.memory("");
        let _ = fs::remove_dir_all(&memory);
        fs::create_dir_all(&memory)?;
        fs::set_permissions(&memory, fs::Permissions::from_mode(0o700))?;
        fs::copy(self.at(KUBECONFIG), self.memory("kubeconfig"))?;
        if self.at(KUBELET_CLIENT).exists() {
            self.take_certificate()?;
        }
        Ok(())
    }

    fn serve(&self) -> Outcome<Child> {
        let base = KUBELET_SERVING;
        let log = fs::File::create(self.at(r"c:\k\kubelet.log"))?;
        let server = Command::new("openssl")
            .args(["s_server", "-www", "-quiet", "-verify", "1", "-accept", "10250"])
            .arg("-cert")
            .arg(self.at(&format!("{base}.crt")))
            .arg("-key")
            .arg(self.at(&format!("{base}.key")))
            // To verify with only: from what it trusts otherwise openssl would add a chain that the file does not hold.
            .args(["-no-CAfile", "-no-CApath", "-no-CAstore", "-verifyCAfile"])
            .arg(self.at(ROOTS))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        Ok(server)
    }

    /// Its life until it is stopped.
    async fn live(&self) {
        let since = Timestamp::now();
        loop {
            let beaten = async {
                if !self.memory("own").exists() {
                    self.ask().await?;
                }
                self.beat(since).await
            };
            match beaten.await {
                Ok(()) => sleep(RENEW).await,
                Err(error) => {
                    self.log(&error.to_string());
                    sleep(AGAIN).await;
                }
            }
        }
    }

    /// Takes the certificate that is on the disk into memory, with a kubeconfig for it.
    fn take_certificate(&self) -> Outcome<()> {
        fs::copy(self.at(KUBELET_CLIENT), self.memory("own.pem"))?;
        let text = fs::read_to_string(self.memory("kubeconfig"))?;
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(key));
            line.map(|value| value.trim_matches([' ', ':', '"']).to_owned()).ok_or(format!("no {key}"))
        };
        let (server, roots) = (value("server")?, value("certificate-authority-data")?);
        let pem = self.memory("own.pem");
        let pem = pem.display();
        let own = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: own\n\
             clusters: [{{name: own, cluster: {{server: \"{server}\", certificate-authority-data: {roots}}}}}]\n\
             users: [{{name: own, user: {{client-certificate: \"{pem}\", client-key: \"{pem}\"}}}}]\n\
             contexts: [{{name: own, context: {{cluster: own, user: own}}}}]\n"
        );
        fs::write(self.memory("own.part"), own)?;
        fs::rename(self.memory("own.part"), self.memory("own"))?;
        Ok(())
    }

    /// Asks the cluster for a client certificate, with the shared one of the kubeconfig.
    async fn ask(&self) -> Outcome<()> {
        let name = &self.settings.name;
        let (key, request) = (self.memory("key"), self.memory("request"));
        run(
            "openssl",
            &["ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", &key.to_string_lossy()],
            "",
        )
        .await?;
        let subject = format!("/O=system:nodes/CN=system:node:{name}");
        let (key_path, request_path) = (key.to_string_lossy(), request.to_string_lossy());
        run("openssl", &["req", "-new", "-key", &key_path, "-subj", &subject, "-out", &request_path], "")
            .await?;
        let encoded = run("base64", &["-w", "0", &request_path], "").await?;
        let id = format!("csr-{name}-{}", Timestamp::now().as_millisecond());
        let object = format!(
            r#"{{"apiVersion":"certificates.k8s.io/v1","kind":"CertificateSigningRequest","metadata":{{"name":"{id}"}},
            "spec":{{"signerName":"kubernetes.io/kube-apiserver-client-kubelet","request":"{encoded}",
            "usages":["digital signature","client auth"]}}}}"#
        );
        self.kubectl("kubeconfig", &["create", "-f", "-"], &object).await?;
        let wait = async {
            loop {
                let path = ["get", "csr", &id, "-o", "jsonpath={.status.certificate}"];
                let signed = self.kubectl("kubeconfig", &path, "").await?;
                if !signed.is_empty() {
                    return Outcome::Ok(signed);
                }
                sleep(Duration::from_millis(200)).await;
            }
        };
        let signed = timeout(SIGNED_WITHIN, wait).await.map_err(|_| "nobody signs the request")??;
        let certificate = run("base64", &["-d"], &signed).await?;
        let stamp = Timestamp::now().strftime("%Y-%m-%d-%H-%M-%S").to_string();
        let pem = self.at(&format!(r"{KUBELET_PKI}\kubelet-client-{stamp}.pem"));
        fs::write(&pem, format!("{certificate}\n{}", fs::read_to_string(&key)?))?;
        fs::set_permissions(&pem, fs::Permissions::from_mode(0o600))?;
        let current = self.at(KUBELET_CLIENT);
        let beside = current.with_extension("part");
        let _ = fs::remove_file(&beside);
        symlink(&pem, &beside)?;
        fs::rename(&beside, &current)?;
        self.log("got a client certificate");
        self.take_certificate()
    }

    /// Says that the node lives.
    async fn beat(&self, since: Timestamp) -> Outcome<()> {
        let Settings { name, address, version, .. } = &self.settings;
        let now = Timestamp::now().strftime("%FT%TZ").to_string();
        let since = since.strftime("%FT%TZ");
        let status = format!(
            r#"{{"status":{{"addresses":[{{"type":"InternalIP","address":"{address}"}},{{"type":"Hostname","address":"{name}"}}],
            "capacity":{{"cpu":"2","memory":"4Gi","pods":"30"}},"allocatable":{{"cpu":"2","memory":"4Gi","pods":"30"}},
            "conditions":[{{"type":"Ready","status":"True","reason":"KubeletReady","message":"kubelet is posting ready status",
            "lastHeartbeatTime":"{now}","lastTransitionTime":"{since}"}}],
            "daemonEndpoints":{{"kubeletEndpoint":{{"Port":10250}}}},
            "nodeInfo":{{"operatingSystem":"windows","architecture":"amd64","kubeletVersion":"{version}","osImage":"played by the lab",
            "bootID":"","containerRuntimeVersion":"","kernelVersion":"","kubeProxyVersion":"","machineID":"","systemUUID":""}}}}}}"#
        );
        let (path, kind) = (format!("/api/v1/nodes/{name}/status"), "application/strategic-merge-patch+json");
        if self.patch(&path, kind, &status).await.is_err() {
            let node = format!(
                r#"{{"apiVersion":"v1","kind":"Node","metadata":{{"name":"{name}","labels":{{"kubernetes.io/os":"windows",
                "kubernetes.io/arch":"amd64","kubernetes.io/hostname":"{name}"}}}},
                "spec":{{"taints":[{{"key":"os","value":"windows","effect":"NoSchedule"}}]}}}}"#
            );
            let _there = self.kubectl("own", &["create", "-f", "-"], &node).await;
            self.patch(&path, kind, &status).await?;
        }
        let renewed = Timestamp::now().strftime("%FT%T.%6fZ");
        let spec = format!(
            r#""spec":{{"holderIdentity":"{name}","leaseDurationSeconds":40,"renewTime":"{renewed}"}}"#
        );
        let merge = format!("{{{spec}}}");
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}");
        if self.patch(&path, "application/merge-patch+json", &merge).await.is_err() {
            let lease = format!(
                r#"{{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{{"name":"{name}","namespace":"kube-node-lease"}},{spec}}}"#
            );
            self.kubectl("own", &["create", "-f", "-"], &lease).await?;
        }
        Ok(())
    }

    /// Changes an object with the kubelet's own certificate. By curl: kubectl reads an object before it changes it, and a
    /// kubelet may not read its Node's status.
    async fn patch(&self, path: &str, kind: &str, body: &str) -> Outcome<()> {
        let text = fs::read_to_string(self.memory("own"))?;
        let server = text.split_once("server: \"").and_then(|(_, rest)| rest.split_once('"'));
        let (server, _) = server.ok_or("no server")?;
        let roots =
            text.split_once("certificate-authority-data: ").and_then(|(_, rest)| rest.split_once('}'));
        let roots = run("base64", &["-d"], roots.ok_or("no roots")?.0).await?;
        let (roots_path, pem) = (self.memory("roots"), self.memory("own.pem"));
        fs::write(&roots_path, roots)?;
        let (roots, pem) = (roots_path.to_string_lossy(), pem.to_string_lossy());
        let (url, header) = (format!("{server}{path}"), format!("Content-Type: {kind}"));
        let fixed = [
            "-sS",
            "--fail-with-body",
            "-o",
            "/dev/null",
            "-X",
            "PATCH",
            "--data-binary",
            "@-",
            "-H",
            &header,
        ];
        let own = ["--cacert", &roots, "--cert", &pem, "--key", &pem, &url];
        run("curl", &[fixed.as_slice(), own.as_slice()].concat(), body).await.map(drop)
    }

    async fn kubectl(&self, kubeconfig: &str, args: &[&str], input: &str) -> Outcome<String> {
        let kubeconfig = format!("--kubeconfig={}", self.memory(kubeconfig).display());
        let all: Vec<&str> = [kubeconfig.as_str(), "--cache-dir=/nonexistent"]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        run(&self.settings.kubectl.to_string_lossy(), &all, input).await
    }
}

/// Runs a program, and gives what it prints.
async fn run(program: &str, args: &[&str], input: &str) -> Outcome<String> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await?;
    }
    let output =
        timeout(CALL, child.wait_with_output()).await.map_err(|_| format!("{program}: no answer"))??;
    if !output.status.success() {
        let cause = String::from_utf8_lossy(&output.stderr);
        let verb = args.iter().find(|arg| !arg.starts_with('-')).copied().unwrap_or_default();
        return Err(format!("{program} {verb}: {}", cause.trim()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}
