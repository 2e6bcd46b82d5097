//! An authority that is served, an API server, a load balancer behind an sshd: all real, on this machine, for one test.

#[path = "api_server.rs"]
mod api_server;

use std::fs;
use std::io::{BufReader, Read as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

pub(crate) use api_server::{ApiServer, text, until};
use api_server::{Process, free_port, openssl, start};

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
        let running = start(path, "haproxy", master.args(["-W", "-f", "haproxy.cfg", "-p", "haproxy.pid"]));
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
        let sshd = start(path, "sshd", sshd.args(["-D", "-e", "-f"]).arg(path.join("sshd.conf")));
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
