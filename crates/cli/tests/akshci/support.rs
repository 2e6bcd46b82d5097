//! An authority that is served, an API server, a load balancer behind an sshd: all real, on this machine, for one test.

use std::fs;
use std::io::{BufReader, Read as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

/// How long something may take to start on a machine under load.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits until something is so.
#[track_caller]
fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port is free").port()
}

/// A child process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already is all the better.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A site with a served authority: an administrator, a host, and what a test adds.
pub(crate) struct Site {
    directory: TempDir,
    _server: Process,
}

impl Site {
    /// `head` are lines of the site file beside its credentials, `entries` further credentials.
    pub(crate) fn new(head: &str, entries: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let at = |words: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_kubecert"));
            let made =
                command.args(words).current_dir(directory.path()).output().expect("the program starts");
            assert_eq!(made.status.code(), Some(0), "{words:?}: {}", text(&made.stderr));
        };
        at(&["authority", "init", "--dir", "a", "--host", "localhost"]);
        let server = serve(directory.path());
        // The first login file does not know the ports yet, which are any that were free.
        at(&["authority", "identity", "rotate", "admin", "--dir", "a", "--out", "admin.yaml"]);
        let site = format!(
            "name: plant-7\nauthority: a\n{head}credentials:\n\
            \x20 - {{class: administrator, holder: mocctl, login: admin.yaml}}\n\
            \x20 - {{class: administrator, holder: mocctl, access: admin.json}}\n\
            \x20 - {{class: node-agent, holder: host-1, login: host-1.yaml}}\n\
            \x20 - {{class: node-agent, holder: host-1, access: host-1.json}}\n\
            \x20 - {{class: kms-plugin, cluster: holidays, holder: control-1, login: kms.yaml}}\n{entries}"
        );
        fs::write(directory.path().join("site.yaml"), site).expect("a file can be written");
        let site = Self { directory, _server: server };
        site.create("host-1");
        site.create("kms");
        site.done(&["authority", "login", "--login-file", "admin.yaml", "--access-file", "admin.json"]);
        site.done(&["authority", "login", "--login-file", "host-1.yaml", "--access-file", "host-1.json"]);
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Creates an identity; its login file has its name.
    pub(crate) fn create(&self, name: &str) -> PathBuf {
        let file = format!("{name}.yaml");
        self.done(&["authority", "identity", "create", name, "--dir", "a", "--out", &file]);
        self.path(&file)
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubecert"));
        command.args(words).current_dir(self.directory.path()).env("KUBECERT_SITE", "site.yaml");
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("the program starts")
    }

    #[track_caller]
    pub(crate) fn done(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{words:?}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }
}

/// Starts an authority and waits until it has told that both of its ports are open.
fn serve(directory: &Path) -> Process {
    let mut server = Command::new(env!("CARGO_BIN_EXE_kubecert"));
    server.args("authority serve --dir a --listen 127.0.0.1 --port 0 --login-port 0 -o json".split(' '));
    let mut server =
        server.current_dir(directory).stdout(Stdio::piped()).spawn().expect("the program starts");
    let mut bytes = BufReader::new(server.stdout.take().expect("it is piped")).bytes();
    let mut told = Vec::new();
    while !told.ends_with(b"}\n") {
        told.push(bytes.next().expect("it says where it listens").expect("it can be read"));
    }
    Process(server)
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

fn start(directory: &Path, name: &str, command: &mut Command) -> Process {
    let log = fs::File::create(directory.join(format!("{name}.log"))).expect("a file can be made");
    let both = log.try_clone().expect("a file");
    let child = command.current_dir(directory).stdin(Stdio::null()).stdout(both).stderr(log).spawn();
    Process(child.expect("the program starts"))
}

fn openssl(directory: &Path, line: &str) {
    let done =
        Command::new("openssl").args(line.split(' ')).current_dir(directory).output().expect("openssl runs");
    assert!(done.status.success(), "{line}: {}", text(&done.stderr));
}

/// A kube-apiserver with its etcd, and nothing else.
pub(crate) struct ApiServer {
    directory: TempDir,
    kubectl: PathBuf,
    processes: Vec<Process>,
}

impl ApiServer {
    /// `None`, and a word about it, where a program is missing.
    pub(crate) fn start() -> Option<Self> {
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
        let mut command = Command::new(server);
        command
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
        let server = self::start(path, "kube-apiserver", &mut command);
        let config = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{ "name": "c", "cluster": { "server": format!("https://localhost:{port}"), "certificate-authority": "ca.crt" } }],
            "users": [{ "name": "u", "user": { "client-certificate": "client.crt", "client-key": "client.key" } }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
        });
        fs::write(path.join("kubeconfig"), config.to_string()).expect("a file can be written");
        let api = Self { directory, kubectl, processes: vec![etcd, server] };
        until("the API server has its namespaces", || api.try_kubectl(&["get", "namespace", "default"]));
        Some(api)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn try_kubectl(&self, words: &[&str]) -> Option<String> {
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

/// haproxy with a certificate of its own, and the sshd of its machine, which is this one.
pub(crate) struct Balancer {
    directory: TempDir,
    pub(crate) port: u16,
    ssh: u16,
    sshd: Option<Process>,
    _haproxy: Process,
}

/// What the unit of Debian's package does: `ExecReload` checks the configuration, then signals the master.
const SYSTEMCTL: &str = r#"#!/bin/sh
cd "${0%/*}/.." || exit 1
master=$(cat haproxy.pid)
case $1 in
    show) echo "MainPID=$master" ;;
    reload) bin/haproxy -Ws -f haproxy.cfg -c -q || { echo "Job for haproxy.service failed." >&2; exit 1; }
        kill -USR2 "$master" ;;
esac
"#;

impl Balancer {
    /// In front of a port of this machine. `None`, and a word about it, where something is missing.
    pub(crate) fn start(behind: u16) -> Option<Self> {
        let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout == b"0\n");
        let Some((haproxy, libraries)) = haproxy().filter(|_| root && Path::new("/usr/sbin/sshd").exists())
        else {
            println!("skipped: needs root, /usr/sbin/sshd, and haproxy, installed or unpacked by the lab");
            return None;
        };
        let directory = tempfile::tempdir().expect("a directory can be made");
        let path = directory.path();
        let (port, ssh) = (free_port(), free_port());
        fs::create_dir(path.join("bin")).expect("made");
        let wrapper =
            format!("#!/bin/sh\nLD_LIBRARY_PATH='{libraries}' exec '{}' \"$@\"\n", haproxy.display());
        for (name, script) in [("haproxy", wrapper.as_str()), ("systemctl", SYSTEMCTL)] {
            fs::write(path.join("bin").join(name), script).expect("written");
        }
        sh(path, "chmod +x bin/*");
        openssl(
            path,
            "req -x509 -newkey rsa:2048 -nodes -days 90 -subj /CN=self-signed -addext subjectAltName=IP:127.0.0.1 -keyout own.key -out own.crt",
        );
        sh(path, "cat own.crt own.key >self-signed.pem; cp self-signed.pem front.pem; chmod 600 front.pem");
        let config = format!(
            "global\n maxconn 100\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 5m\n timeout server 5m\n\
             listen front\n bind 127.0.0.1:{port} ssl crt front.pem\n server back 127.0.0.1:{behind}\n"
        );
        fs::write(path.join("haproxy.cfg"), config).expect("written");
        // In a process of its own kind, since the master starts itself anew.
        let mut master = Command::new(path.join("bin/haproxy"));
        let running =
            self::start(path, "haproxy", master.args(["-W", "-f", "haproxy.cfg", "-p", "haproxy.pid"]));
        until("haproxy listens", || TcpStream::connect(("127.0.0.1", port)).ok());

        // sshd wants this directory, which only its service makes.
        fs::create_dir_all("/run/sshd").expect("made");
        sh(path, "ssh-keygen -q -t ed25519 -N '' -f host.key; ssh-keygen -q -t ed25519 -N '' -f user.key");
        let at = path.display();
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {ssh}\nHostKey {at}/host.key\nPidFile none\nUsePAM no\nStrictModes no\n\
             PasswordAuthentication no\nPermitRootLogin yes\nAuthorizedKeysFile {at}/user.key.pub\n\
             SetEnv PATH={at}/bin:/usr/sbin:/usr/bin:/sbin:/bin KUBECERT_LOG={at}/log/log KUBECERT_BASE={at}/base\n"
        );
        fs::write(path.join("sshd.conf"), config).expect("written");
        let mut sshd = Command::new("/usr/sbin/sshd");
        let sshd = self::start(path, "sshd", sshd.args(["-D", "-e", "-f"]).arg(path.join("sshd.conf")));
        until("sshd listens", || TcpStream::connect(("127.0.0.1", ssh)).ok());
        Some(Self { directory, port, ssh, sshd: Some(sshd), _haproxy: running })
    }

    /// Its part of a site file.
    pub(crate) fn described(&self) -> String {
        let at = self.directory.path().display();
        format!(
            "ssh: {{user: root, key: {at}/user.key}}\nclusters:\n  - name: holidays\n    load-balancers:\n\
            \x20     - {{name: lb-1, ssh: '127.0.0.1:{}', certificate: {at}/front.pem, server: '127.0.0.1:{}'}}\n",
            self.ssh, self.port
        )
    }

    /// Where its sshd is.
    pub(crate) fn ssh(&self) -> String {
        format!("127.0.0.1:{}", self.ssh)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Subject and issuer of what it presents.
    pub(crate) fn presented(&self) -> String {
        let line = format!(
            "openssl s_client -connect 127.0.0.1:{} </dev/null 2>/dev/null | openssl x509 -noout -subject -issuer -serial",
            self.port
        );
        sh(self.directory.path(), &line)
    }

    /// The certificate's file.
    pub(crate) fn file(&self) -> Vec<u8> {
        fs::read(self.directory.path().join("front.pem")).expect("it is there")
    }

    /// Its machine is reached no more.
    pub(crate) fn stop_ssh(&mut self) {
        self.sshd = None;
    }

    /// Does something to its files.
    pub(crate) fn spoil(&self, line: &str) {
        sh(self.directory.path(), line);
    }
}

fn haproxy() -> Option<(PathBuf, String)> {
    let installed = Path::new("/usr/sbin/haproxy");
    if installed.exists() {
        return Some((installed.to_owned(), String::new()));
    }
    let cache = PathBuf::from(std::env::var_os("HOME")?).join(".cache/kubecert-lab");
    fs::read_dir(cache).ok()?.filter_map(Result::ok).map(|entry| entry.path()).find_map(|base| {
        let program = base.join("usr/sbin/haproxy");
        let libraries = base.join("usr/lib/x86_64-linux-gnu").display().to_string();
        program.is_file().then_some((program, libraries))
    })
}

fn sh(directory: &Path, line: &str) -> String {
    let done = Command::new("sh").args(["-ec", line]).current_dir(directory).output().expect("sh runs");
    assert!(done.status.success(), "{line}: {}", text(&done.stderr));
    text(&done.stdout)
}
