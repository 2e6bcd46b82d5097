//! A kube-apiserver with its etcd on this machine, for one test; what is missing there is said.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

/// How long something may take to start on a machine under load.
const PATIENCE: Duration = Duration::from_secs(180);

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A port of this machine that nobody listens on. It lies below those that outgoing connections are given, so that nobody
/// else has it by chance when a server comes to listen there.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + (std::process::id() % 200) as u16 * 100;
    let mut ports = std::iter::repeat_with(|| first + NEXT.fetch_add(1, Ordering::Relaxed) % 100).take(100);
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a port is free")
}

/// A child process that ends with the test.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already is all the better.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program of that name, from the lab's cache or else the machine's own.
fn program(name: &str) -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let mut places = vec![home.join(".cache/kubecert-lab/k8s-1.34/bin")];
    places.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let found = places
        .into_iter()
        .find_map(|place| place.join(name).canonicalize().ok().filter(|path| path.is_file()));
    if found.is_none() {
        println!("skipped: there is no {name} on this machine");
    }
    found
}

pub(crate) fn start(directory: &Path, name: &str, command: &mut Command) -> Process {
    let log = fs::File::create(directory.join(format!("{name}.log"))).expect("a file can be made");
    let both = log.try_clone().expect("a file");
    let child = command.current_dir(directory).stdin(Stdio::null()).stdout(both).stderr(log).spawn();
    Process(child.expect("the program starts"))
}

pub(crate) fn openssl(directory: &Path, line: &str) {
    let done =
        Command::new("openssl").args(line.split(' ')).current_dir(directory).output().expect("openssl runs");
    assert!(done.status.success(), "{line}: {}", text(&done.stderr));
}

/// A kube-apiserver with its etcd, and nothing else.
pub(crate) struct ApiServer {
    directory: TempDir,
    kubectl: PathBuf,
    processes: Vec<Process>,
    /// The server's own words, for who starts it again.
    line: Vec<String>,
}

impl ApiServer {
    /// `None`, and a word about it, where a program is missing.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// The same with further words on its command line.
    pub(crate) fn start_with(further: &[String]) -> Option<Self> {
        let (etcd, server, kubectl) = (program("etcd")?, program("kube-apiserver")?, program("kubectl")?);
        let directory = tempfile::tempdir().expect("a directory can be made");
        let path = directory.path();
        for (name, days) in [("ca", "90"), ("proxy-ca", "90")] {
            openssl(
                path,
                &format!(
                    "req -x509 -newkey rsa:2048 -nodes -days {days} -subj /CN={name} -keyout {name}.key -out {name}.crt"
                ),
            );
        }
        fs::write(path.join("server.ext"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").expect("written");
        fs::write(path.join("client.ext"), "extendedKeyUsage=clientAuth\n").expect("written");
        for (name, subject) in [("server", "/CN=server"), ("client", "/O=system:masters/CN=admin")] {
            openssl(
                path,
                &format!("req -newkey rsa:2048 -nodes -subj {subject} -keyout {name}.key -out {name}.csr"),
            );
            openssl(
                path,
                &format!(
                    "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 9 -extfile {name}.ext -out {name}.crt"
                ),
            );
        }
        let (port, store, peer) = (free_port(), free_port(), free_port());
        let mut command = Command::new(etcd);
        command.args(["--data-dir=etcd", "--unsafe-no-fsync"]).args([
            format!("--listen-client-urls=http://127.0.0.1:{store}"),
            format!("--advertise-client-urls=http://127.0.0.1:{store}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
        ]);
        let etcd = self::start(path, "etcd", &mut command);
        let mut command = Command::new(&server);
        command
            .args(further)
            .args([format!("--etcd-servers=http://127.0.0.1:{store}"), format!("--secure-port={port}")])
            .args([
                "--bind-address=127.0.0.1",
                "--service-cluster-ip-range=10.0.0.0/24",
                "--tls-cert-file=server.crt",
                "--tls-private-key-file=server.key",
                "--client-ca-file=ca.crt",
                "--requestheader-client-ca-file=proxy-ca.crt",
                "--requestheader-username-headers=X-Remote-User",
                "--service-account-issuer=https://localhost",
                "--service-account-key-file=ca.key",
                "--service-account-signing-key-file=ca.key",
                "--authorization-mode=RBAC",
                "--anonymous-auth=false",
                "--cert-dir=certs",
            ]);
        let words = std::iter::once(server.as_os_str()).chain(command.get_args());
        let line = words.map(|word| word.to_string_lossy().into_owned()).collect();
        let server = self::start(path, "kube-apiserver", &mut command);
        let config = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{ "name": "c", "cluster": { "server": format!("https://localhost:{port}"), "certificate-authority": "ca.crt" } }],
            "users": [{ "name": "u", "user": { "client-certificate": "client.crt", "client-key": "client.key" } }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
        });
        fs::write(path.join("kubeconfig"), config.to_string()).expect("a file can be written");
        let mut api = Self { directory, kubectl, processes: vec![etcd, server], line };
        // Each kubectl takes processor time from what it waits for.
        until("the API server listens", || {
            api.must_run();
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        until("the API server has its namespaces", || {
            api.must_run();
            api.try_kubectl(&["get", "namespace", "default"])
        });
        Some(api)
    }

    /// Says what a process said that has ended.
    fn must_run(&mut self) {
        for (process, name) in self.processes.iter_mut().zip(["etcd", "kube-apiserver"]) {
            if let Ok(Some(status)) = process.0.try_wait() {
                let log = fs::read_to_string(self.directory.path().join(format!("{name}.log")));
                panic!("{name} has ended with {status}: {}", log.unwrap_or_default());
            }
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Ends the server, whose etcd goes on, and starts it again whenever it has ended, as a kubelet does.
    pub(crate) fn crash(&mut self) -> KeptUp {
        self.processes.truncate(1);
        let (line, directory) = (self.line.clone(), self.directory.path().to_owned());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let mut server =
                    start(&directory, "kube-apiserver-again", Command::new(&line[0]).args(&line[1..]));
                while !stopped.load(Ordering::Relaxed) && matches!(server.0.try_wait(), Ok(None)) {
                    std::thread::sleep(Duration::from_millis(200));
                }
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        KeptUp { stop, thread: Some(thread) }
    }

    pub(crate) fn try_kubectl(&self, words: &[&str]) -> Option<String> {
        let mut command = Command::new(&self.kubectl);
        let output =
            command.args(["--kubeconfig=kubeconfig"]).args(words).current_dir(self.directory.path()).output();
        let output = output.expect("kubectl starts");
        output.status.success().then(|| text(&output.stdout))
    }

    #[track_caller]
    pub(crate) fn kubectl(&self, words: &[&str]) -> String {
        self.try_kubectl(words).unwrap_or_else(|| panic!("kubectl {words:?}"))
    }

    /// The entry `value` of a Secret.
    pub(crate) fn secret(&self, name: &str) -> String {
        let encoded = self.kubectl(&["get", "secret", name, "-o", "jsonpath={.data.value}"]);
        text(&STANDARD.decode(encoded).expect("it is base64"))
    }

    pub(crate) fn stop(&mut self) {
        self.processes.clear();
    }
}

/// Who starts an API server again, until it is dropped.
pub(crate) struct KeptUp {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for KeptUp {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it has panicked about is in its log.
            let _ = thread.join();
        }
    }
}
