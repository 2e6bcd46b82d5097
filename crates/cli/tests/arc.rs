//! `assess`, `shutdown-check` and `doctor` as whole programs: a TLS server of openssl's, and files as a site has them.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

/// How long openssl may take to listen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory with a site in it: a cloud agent that answers, login files with the root of it and of another.
struct Site {
    directory: tempfile::TempDir,
    server: Child,
}

impl Site {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let path = directory.path();
        make_certificate(path, "agent", 400);
        make_certificate(path, "another", 400);
        make_certificate(path, "apiserver", 2);
        let port = free_port();
        let mut server = Command::new("openssl");
        server.args(["s_server", "-quiet", "-www", "-cert", "agent.crt", "-key", "agent.key", "-accept"]);
        server.arg(format!("127.0.0.1:{port}")).current_dir(path).stdin(Stdio::null());
        let server = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("openssl starts");
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < PATIENCE, "openssl does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        let now = jiff::Timestamp::now().as_second();
        write_login(path, "host-1.yaml", "agent", now + 60 * 86_400);
        write_login(path, "host-2.yaml", "another", now + 60 * 86_400);
        write_login(path, "kms.yaml", "agent", now - 60);
        let silent = free_port();
        let site = format!(
            "name: plant-7\ncredentials:\n\
             - {{class: cloud-agent, holder: ca-1, server: '127.0.0.1:{port}'}}\n\
             - {{class: node-agent, holder: host-1, login: host-1.yaml}}\n\
             - {{class: node-agent, holder: host-2, login: host-2.yaml}}\n\
             - {{class: kms-plugin, cluster: holidays, holder: control-1, login: kms.yaml}}\n\
             - {{class: control-plane, cluster: holidays, holder: control-1, certificates: apiserver.crt}}\n\
             - {{class: load-balancer-agent, cluster: holidays, holder: lb-1, server: '127.0.0.1:{silent}'}}\n"
        );
        fs::write(path.join("site.yaml"), site).expect("a file can be written");
        Self { directory, server }
    }

    fn kubecert(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubecert"));
        command.args(arguments).current_dir(self.directory.path()).output().expect("the program starts")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.kubecert(&[arguments, &["-o", "json"]].concat());
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("it is JSON")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ended = self.server.kill();
        let _reaped = self.server.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port is free").port()
}

fn make_certificate(directory: &Path, name: &str, days: u32) {
    // The system's configuration would make a CA of it.
    let config =
        "[req]\ndistinguished_name=dn\nx509_extensions=leaf\n[dn]\n[leaf]\nbasicConstraints=CA:FALSE\n";
    fs::write(directory.join("openssl.cnf"), config).expect("a file can be written");
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-config",
        "openssl.cnf",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        &days.to_string(),
    ]);
    openssl.args(["-subj", &format!("/CN={name}"), "-keyout", &format!("{name}.key")]);
    let made = openssl
        .args(["-out", &format!("{name}.crt")])
        .current_dir(directory)
        .output()
        .expect("the program starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn write_login(directory: &Path, file: &str, root: &str, exp: i64) {
    let roots = STANDARD.encode(fs::read(directory.join(format!("{root}.crt"))).expect("a file can be used"));
    let part = |json: String| URL_SAFE_NO_PAD.encode(json);
    let token = format!("{}.{}.c2ln", part("{\"alg\":\"RS256\"}".into()), part(format!("{{\"exp\":{exp}}}")));
    fs::write(directory.join(file), format!("name: x\ntoken: {token}\ncertificate: {roots}\n"))
        .expect("a file can be used");
}

#[test]
fn a_site_is_assessed_from_what_it_shows() {
    let site = Site::new();
    let arguments =
        ["assess", "--measured", "--site", "site.yaml", "--since-update", "40d", "--prometheus", "m.prom"];
    let found = site.json(&arguments);
    let layer = |name: &str| {
        let layers = found["layers"].as_array().unwrap();
        let found = layers.iter().find(|layer| layer["layer"] == name).unwrap();
        let words =
            ["policy", "measured", "rule"].map(|key| found[key].as_str().unwrap_or("none").to_owned());
        words.join(" ")
    };
    assert_eq!(layer("infrastructure"), "not-impacted not-impacted V2");
    assert_eq!(layer("kubernetes"), "not-impacted not-impacted V7");
    assert_eq!(layer("cluster-infrastructure"), "not-impacted impacted V8");
    assert_eq!(layer("load-balancer"), "not-impacted unknown P1");
    assert_eq!(layer("kubernetes-workers"), "not-impacted unknown P1");
    let gauges = fs::read_to_string(site.directory.path().join("m.prom")).unwrap();
    assert!(gauges.contains("class=\"kms-plugin\"") && gauges.contains("source=\"measured\"} 1"), "{gauges}");
}

#[test]
fn what_ends_meanwhile_is_renewed_before_a_shutdown() {
    let site = Site::new();
    let found = site.json(&["shutdown-check", "--for", "20d", "--site", "site.yaml"]);
    let due: Vec<_> =
        found["renew_first"].as_array().unwrap().iter().map(|due| due["class"].as_str().unwrap()).collect();
    assert_eq!(due, ["control-plane", "kms-plugin"]);
    assert_eq!(found["unknown"].as_array().unwrap().len(), 1, "{found}");
}

#[test]
fn troubles_are_named_and_none_hides_another() {
    let site = Site::new();
    let found = site.json(&["doctor", "--site", "site.yaml"]);
    let ids: Vec<_> = found.as_array().unwrap().iter().map(|found| found["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["foreign-root", "kms-plugin-ended", "unreadable"]);
    assert!(found[0]["credential"].as_str().unwrap().contains("host-2"), "{found}");
    let text = String::from_utf8(site.kubecert(&["doctor", "--site", "site.yaml"]).stdout).unwrap();
    assert!(text.contains("repair     "), "{text}");
}

#[test]
fn apis_that_cannot_be_looked_at_are_troubles_of_their_own() {
    let site = Site::new();
    let file = site.directory.path().join("site.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let more = "management: none/kubeconfig\nclusters:\n  - {name: holidays, kubeconfig: empty}\n  - {name: other}\n";
    fs::write(site.directory.path().join("empty"), "").unwrap();
    fs::write(&file, format!("{text}{more}")).unwrap();
    let found = site.json(&["doctor", "--site", "site.yaml"]);
    let ids: Vec<_> = found.as_array().unwrap().iter().map(|found| found["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["foreign-root", "kms-plugin-ended", "api-unreadable", "api-unreadable", "unreadable"]);
    let (management, holidays) = (&found[2], &found[3]);
    assert_eq!(management["credential"], "the Kubernetes API of the management cluster");
    assert!(management["why"].as_str().unwrap().contains("none/kubeconfig"), "{management}");
    assert_eq!(holidays["credential"], "the Kubernetes API of cluster holidays");
    let text = String::from_utf8(site.kubecert(&["doctor", "--site", "site.yaml"]).stdout).unwrap();
    assert!(text.contains("and 2 Kubernetes APIs looked at"), "{text}");
}

#[test]
fn a_site_file_that_is_none_is_refused_with_the_entry() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("site.yaml");
    fs::write(&file, "name: x\ncredentials:\n- {class: administrator}\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubecert"));
    let output = command.args(["doctor", "--site"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("entry 1 (class administrator)") && said.contains("docs/aks-arc.md"), "{said}");
}

#[test]
fn by_the_documents_alone_it_needs_two_numbers() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubecert"));
        command.arg("assess").args(arguments).output().unwrap()
    };
    assert_eq!(run(&["--since-update", "10d"]).status.code(), Some(0));
    assert_eq!(run(&["--off-for", "35d", "--since-update", "100d"]).status.code(), Some(3));
    assert_eq!(run(&["--off-for", "35"]).status.code(), Some(2));
    assert_eq!(run(&["--measured"]).status.code(), Some(2));
}
