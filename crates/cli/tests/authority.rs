//! `authority` as a whole program: served by one process, used by others.

use std::fs;
use std::io::{BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

fn kubecert(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubecert"));
    command.args(arguments).current_dir(directory).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An authority that is served on ports of its own.
struct Site {
    directory: tempfile::TempDir,
    server: Child,
}

impl Site {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let made = kubecert(directory.path(), &["authority", "init", "--dir", "a", "--host", "localhost"]);
        assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
        let server = serve(directory.path());
        let site = Self { directory, server };
        // The first login file does not know the ports yet, which are any that were free.
        site.done(&["identity", "rotate", "admin", "--dir", "a", "--out", "admin.yaml"]);
        site
    }

    fn run(&self, arguments: &[&str]) -> Output {
        kubecert(self.directory.path(), &[&["authority"], arguments].concat())
    }

    #[track_caller]
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    #[track_caller]
    fn refused(&self, arguments: &[&str], parts: &[&str]) {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output.stdout));
        let said = text(&output.stderr);
        for part in parts {
            assert!(said.contains(part), "{part:?} is not in: {said}");
        }
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let told = self.done(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&told).expect("it is JSON")
    }
}

/// Starts a server and waits until it has told that both of its ports are open.
fn serve(directory: &Path) -> Child {
    let mut server = Command::new(env!("CARGO_BIN_EXE_kubecert"));
    server.args("authority serve --dir a --listen 127.0.0.1 --port 0 --login-port 0 -o json".split(' '));
    let mut server =
        server.current_dir(directory).stdout(Stdio::piped()).spawn().expect("the program starts");
    let told = server.stdout.take().expect("it is piped");
    let mut bytes = BufReader::new(told).bytes();
    let mut told = Vec::new();
    while !told.ends_with(b"}\n") {
        told.push(bytes.next().expect("it says where it listens").expect("it can be read"));
    }
    let told: Value = serde_json::from_slice(&told).expect("it is JSON");
    assert!(told["listening"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:")), "{told}");
    server
}

impl Drop for Site {
    fn drop(&mut self) {
        // One that has ended already is all the better.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

const ADMIN: [&str; 4] = ["--access-file", "admin.json", "--login-file", "admin.yaml"];

fn with<'a>(words: &[&'a str], client: &[&'a str]) -> Vec<&'a str> {
    [words, client].concat()
}

#[test]
fn an_administrator_logs_in_and_gives_out_identities() {
    let site = Site::new();
    let told = site.done(&["login", "--login-file", "admin.yaml", "--access-file", "admin.json"]);
    assert!(told.contains("the certificate of admin in admin.json ends at"), "{told}");
    let mode =
        fs::metadata(site.directory.path().join("admin.json")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(site.done(&with(&["renew"], &ADMIN)).starts_with("Not due: "));
    let before = fs::read(site.directory.path().join("admin.json")).expect("it is there");
    assert!(site.done(&with(&["renew", "--force"], &ADMIN)).starts_with("Renewed: "));
    assert_ne!(fs::read(site.directory.path().join("admin.json")).expect("it is there"), before);

    site.done(&with(&["identity", "create", "csi", "--type", "node", "--out", "csi.yaml"], &ADMIN));
    site.done(&["login", "--login-file", "csi.yaml", "--access-file", "csi.json"]);
    let csi = ["--access-file", "csi.json", "--login-file", "csi.yaml"];
    site.refused(
        &with(&["identity", "list"], &csi),
        &["may not do that", "Use the access file of an identity"],
    );
    let list = site.json(&with(&["identity", "list"], &ADMIN));
    assert_eq!(list[1]["name"], "csi");
    assert_eq!((&list[1]["client_type"], &list[1]["revoked"]), (&"Node".into(), &false.into()));
    site.done(&with(&["identity", "revoke", "csi"], &ADMIN));
    site.refused(&with(&["renew", "--force"], &csi), &["csi was revoked at"]);
    site.refused(
        &["login", "--login-file", "csi.yaml", "--access-file", "csi.json"],
        &["Valid Token Required", "was revoked"],
    );
    let table = site.done(&["identity", "list", "--dir", "a"]);
    assert!(table.lines().any(|line| line.starts_with("csi ") && line.contains("revoked")), "{table}");
}

#[test]
fn status_and_roles_are_shown_to_those_who_may_see_them() {
    let site = Site::new();
    site.done(&["login", "--login-file", "admin.yaml", "--access-file", "admin.json"]);
    let told = site.done(&with(&["status"], &ADMIN));
    assert!(told.starts_with("Single: one CA is accepted."), "{told}");
    assert!(told.contains("\nOK: kubecert-authority, version kubecert "), "{told}");
    let status = site.json(&with(&["status"], &ADMIN));
    assert_eq!((&status["agent"]["health"], &status["status"]), (&"OK".into(), &"Single".into()));
    let owner = site.json(&["status", "--dir", "a"]);
    assert_eq!(owner, status, "from both sides it is the same");

    let signer = site.done(&with(&["role", "list", "CertificateSigner"], &ADMIN));
    let mut lines = signer.lines();
    assert!(lines.next().is_some_and(|line| line.starts_with("NAME ") && line.ends_with("ALLOWS")));
    assert_eq!(lines.next(), Some("CertificateSigner  Certificate Sign, Certificate Renew"));
    assert_eq!(lines.next(), None);
    let all = site.json(&["role", "list", "--dir", "a"]);
    assert_eq!(all, site.json(&with(&["role", "list"], &ADMIN)));
    assert_eq!(all[0]["name"], "Owner");
    site.refused(&with(&["role", "list", "King"], &ADMIN), &["there is no role \"King\""]);

    site.done(&with(&["identity", "create", "csi", "--out", "csi.yaml"], &ADMIN));
    site.done(&["login", "--login-file", "csi.yaml", "--access-file", "csi.json"]);
    let csi = ["--access-file", "csi.json", "--login-file", "csi.yaml"];
    let told = site.done(&with(&["status"], &csi));
    assert!(told.contains("\nHow it is was not told: identity csi may not do that"), "{told}");
    assert!(told.starts_with("Single: one CA is accepted."), "the rest is shown all the same: {told}");
    site.refused(&with(&["role", "list"], &csi), &["cannot list roles", "csi may not do that"]);
    site.done(&with(&["identity", "revoke", "csi"], &ADMIN));
    site.refused(&with(&["status"], &csi), &["csi was revoked at"]);
}

#[test]
fn a_ca_is_replaced_and_clients_that_renew_meanwhile_go_on() {
    let site = Site::new();
    site.done(&["login", "--login-file", "admin.yaml", "--access-file", "admin.json"]);
    fs::copy(site.directory.path().join("admin.json"), site.directory.path().join("stale.json"))
        .expect("a copy");
    assert_eq!(site.json(&with(&["status"], &ADMIN))["status"], "Single");
    let during = site.json(&["rotate", "--dir", "a", "--overlap", "30d"]);
    assert_eq!((&during["status"], during["roots"].as_array().map(Vec::len)), (&"Overlap".into(), Some(2)));
    assert_eq!(site.json(&with(&["status"], &ADMIN))["status"], "Overlap");
    assert!(site.done(&with(&["renew"], &ADMIN)).starts_with("Learned of a new CA: "));
    assert!(site.done(&with(&["renew", "--force"], &ADMIN)).starts_with("Renewed: "));
    site.refused(&["rotate", "--dir", "a"], &["an overlap is under way"]);
    assert_eq!(site.json(&["rotate", "--dir", "a", "--finish"])["status"], "Single");
    assert_eq!(site.json(&with(&["status"], &ADMIN))["status"], "Single");
    let stale = ["--access-file", "stale.json", "--login-file", "admin.yaml"];
    site.refused(
        &with(&["renew", "--force"], &stale),
        &["not known by the roots", "Fetch a new login file from the authority"],
    );
}

/// Between starting a command and killing it: from before it has read anything to after it has written everything.
const LATEST_KILL: Duration = Duration::from_millis(60);

/// How many commands are killed, at moments that are spread evenly.
const KILLS: u32 = 24;

#[test]
fn killed_at_any_moment_it_has_changed_all_or_nothing() {
    let site = Site::new();
    let directory = site.directory.path();
    for number in 0..KILLS {
        let (name, file) = (format!("id-{number}"), format!("id-{number}.yaml"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubecert"));
        command.args(["authority", "identity", "create", &name, "--dir", "a", "--out", &file]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.current_dir(directory).spawn().expect("the program starts");
        std::thread::sleep(LATEST_KILL * number / KILLS);
        child.kill().expect("it can be killed");
        child.wait().expect("it has ended");
    }
    let list = site.json(&["identity", "list", "--dir", "a"]);
    let names: Vec<&str> =
        list.as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect();
    // Whoever has a login file is known, whatever else was lost; a token that did not reach a file is made anew by `rotate`.
    for number in 0..KILLS {
        let (name, file) = (format!("id-{number}"), format!("id-{number}.yaml"));
        let known = names.contains(&name.as_str());
        if directory.join(&file).exists() {
            assert!(known, "{name}");
            site.done(&["login", "--login-file", &file, "--access-file", "x.json"]);
        } else if known {
            site.done(&["identity", "rotate", &name, "--dir", "a", "--out", &file]);
        }
    }
    site.done(&["identity", "create", "last", "--dir", "a", "--out", "last.yaml"]);
}

#[test]
fn a_renewal_that_goes_on_keeps_an_access_file_good() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let at = directory.path();
    let init = ["authority", "init", "--dir", "a", "--host", "localhost", "--certificates-last", "6s"];
    assert_eq!(kubecert(at, &init).status.code(), Some(0));
    let server = serve(at);
    let site = Site { directory, server };
    site.done(&["identity", "rotate", "admin", "--dir", "a", "--out", "admin.yaml"]);
    site.done(&["login", "--login-file", "admin.yaml", "--access-file", "admin.json"]);
    let access = site.directory.path().join("admin.json");
    let first = fs::read(&access).expect("it is there");
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubecert"));
    command.args(["authority", "renew", "--watch"]).args(ADMIN).current_dir(site.directory.path());
    let mut keeper = command.stdout(Stdio::piped()).spawn().expect("the program starts");
    // Longer than two lives of the certificate: it was renewed at 70 % of each.
    let began = std::time::Instant::now();
    let mut seen = vec![first];
    while seen.len() < 4 {
        assert!(began.elapsed() < Duration::from_secs(60), "it was renewed {} times only", seen.len() - 1);
        std::thread::sleep(Duration::from_millis(100));
        let now = fs::read(&access).expect("it is there at every moment");
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    assert!(site.done(&with(&["status"], &ADMIN)).starts_with("Single"));
    let ended = Command::new("kill").args(["-TERM", &keeper.id().to_string()]).status().expect("kill runs");
    assert!(ended.success());
    assert_eq!(keeper.wait().expect("it ends").code(), Some(0), "it ends when it is told to");
}

#[test]
fn assess_understands_its_files_and_its_server() {
    let site = Site::new();
    site.done(&["login", "--login-file", "admin.yaml", "--access-file", "admin.json"]);
    let login = fs::read_to_string(site.directory.path().join("admin.yaml")).expect("it is there");
    let port = login.lines().find_map(|line| line.strip_prefix("cloudport: ")).expect("it names the port");
    let described = format!(
        "name: ours\ncredentials:\n\
         - {{class: cloud-agent, holder: ca-1, server: 'localhost:{port}'}}\n\
         - {{class: administrator, holder: admin, login: admin.yaml}}\n\
         - {{class: administrator, holder: admin, access: admin.json}}\n"
    );
    fs::write(site.directory.path().join("site.yaml"), described).expect("a file can be written");
    let look = |arguments: &[&str]| kubecert(site.directory.path(), arguments);
    let fine = look(&["assess", "--since-update", "1d", "--site", "site.yaml"]);
    assert_eq!(fine.status.code(), Some(0), "{}{}", text(&fine.stdout), text(&fine.stderr));
    assert_eq!(look(&["doctor", "--site", "site.yaml"]).status.code(), Some(0));
    // With another CA, the clients of the old one are strangers, and `doctor` knows it.
    site.done(&["rotate", "--dir", "a", "--overlap", "0s"]);
    let found = look(&["doctor", "--site", "site.yaml"]);
    assert_eq!(found.status.code(), Some(3), "{}", text(&found.stdout));
}

#[test]
fn what_is_missing_is_said() {
    let site = Site::new();
    site.refused(
        &with(&["status"], &["--access-file", "none.json", "--server", "localhost"]),
        &["none.json", "No such file"],
    );
    fs::write(site.directory.path().join("empty.yaml"), "").expect("a file can be written");
    site.refused(
        &["login", "--login-file", "empty.yaml", "--access-file", "x.json"],
        &["cannot use login file empty.yaml", "it is empty", "hint: "],
    );
    assert!(!site.directory.path().join("x.json").exists());
    site.refused(&["init", "--dir", "a", "--host", "localhost"], &["there is one already"]);
    site.refused(&["serve", "--dir", "b"], &["kubecert authority init"]);
    let usage = site.run(&["status"]);
    assert_eq!(usage.status.code(), Some(2), "{}", text(&usage.stderr));
}
