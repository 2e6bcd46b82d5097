//! The cmdlets of AKS Arc as whole programs: an authority that is served, a real API server with Secrets, and a real haproxy
//! behind a real sshd. What is missing on a machine is said, and its part skipped.

#[path = "akshci/support.rs"]
mod support;

#[path = "akshci/plugin.rs"]
mod plugin;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Command, Stdio};
use std::thread;

use kubecert_cloud::authority::LoginFile;
use support::{ApiServer, Balancer, Site, text};

const CLUSTER: &str = "Update-AksHciClusterCertificates";

#[test]
fn scripts_get_the_exit_codes_that_they_expect() {
    let site = Site::new("", "");
    for (words, code) in [
        (&["Update-AksHciCertificates", "-WhatIf"][..], 0),
        (&["Update-AksHciCertificates"], 0),
        (&["UPDATE-AKSHCICERTIFICATES", "-Force:$true", "-Verbose"], 0),
        (&["Repair-AksHciCerts"], 0),
        (&[CLUSTER, "-Name", "Holidays", "-fixCloudCredentials"], 0),
        (&["Repair-AksHciClusterCerts", "-n:holidays", "-fixCloud", "-force"], 0),
        (&["Invoke-AksHciRotateCACertificate"], 0),
        (&[CLUSTER, "-name", "holidays", "-fixKubeletCredentials"], 1),
        (&[CLUSTER, "-name", "nobody", "-fixCloudCredentials"], 1),
        (&[CLUSTER, "-name", "holidays"], 2),
        (&[CLUSTER, "-fixCloudCredentials"], 2),
        (&["Update-AksHciCertificates", "holidays"], 2),
        (&["Update-AksHciCertificates", "-Confirm"], 2),
        (&["Update-AksHciCertificates", "-?"], 0),
    ] {
        let output = site.run(words);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{words:?}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
    }
    let mut nowhere = site.command(&["Update-AksHciCertificates"]);
    let output = nowhere.env_remove("KUBECERT_SITE").output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("set KUBECERT_SITE"), "{}", text(&output.stderr));
}

#[test]
fn a_link_with_a_cmdlets_name_is_enough() {
    let site = Site::new("", "");
    let link = site.path("Update-AksHciCertificates");
    symlink(env!("CARGO_BIN_EXE_kubecert"), &link).expect("a link can be made");
    let mut called = Command::new(&link);
    called.args(["-force", "-o", "json"]).env("KUBECERT_SITE", site.path("site.yaml"));
    let output = called.output().expect("the program starts");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!((&told["renewed"], &told["failed"]), (&4.into(), &0.into()));
    assert!(!text(&output.stdout).contains("eyJ"), "no token is shown");
}

#[test]
fn secrets_of_a_real_management_cluster_are_replaced() {
    let Some(mut api) = ApiServer::start() else { return };
    let management = format!("management: {}\n", api.path("kubeconfig").display());
    let entries = "\
        \x20 - {class: infrastructure-provider, holder: provider, secret: default/caphlogintoken}\n\
        \x20 - {class: csi-driver, cluster: holidays, holder: csi, secret: default/holidays-csi, in: management}\n";
    let site = Site::new(&management, entries);
    for (name, secret) in [("provider", "caphlogintoken"), ("csi", "holidays-csi")] {
        let file = site.create(name);
        api.kubectl(&[
            "create",
            "secret",
            "generic",
            secret,
            "--from-literal=other=kept",
            &format!("--from-file=value={}", file.display()),
        ]);
    }
    let token = |api: &ApiServer, secret: &str| {
        LoginFile::parse(&api.secret(secret)).expect("it is a login file").token_id().expect("it has an id")
    };
    let before = (token(&api, "caphlogintoken"), token(&api, "holidays-csi"));
    site.done(&["Update-AksHciCertificates"]);
    assert_eq!((token(&api, "caphlogintoken"), token(&api, "holidays-csi")), before, "nothing is due");
    let assessed = site.run(&["assess", "--since-update", "1d", "--site", "site.yaml"]);
    assert_eq!(assessed.status.code(), Some(0), "{}{}", text(&assessed.stdout), text(&assessed.stderr));

    site.done(&["Update-AksHciCertificates", "-force"]);
    let after = (token(&api, "caphlogintoken"), token(&api, "holidays-csi"));
    assert!(after.0 != before.0 && after.1 == before.1, "only the layer's own are renewed");
    site.done(&[CLUSTER, "-name", "holidays", "-fixCloudCredentials", "-force"]);
    assert_ne!(token(&api, "holidays-csi"), before.1);
    assert_eq!(api.kubectl(&["get", "secret", "holidays-csi", "-o", "jsonpath={.data.other}"]), "a2VwdA==");
    // What is in a Secret lets its holder in.
    fs::write(site.path("from-secret.yaml"), api.secret("caphlogintoken")).expect("a file can be written");
    site.done(&["authority", "login", "--login-file", "from-secret.yaml", "--access-file", "provider.json"]);

    api.stop();
    let before = fs::read(site.path("host-1.yaml")).expect("it is there");
    let output = site.run(&["Update-AksHciCertificates", "-force"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("the management cluster does not answer")
            && said.contains("Start the management cluster"),
        "{said}"
    );
    assert_eq!(fs::read(site.path("host-1.yaml")).expect("it is there"), before, "nothing was begun");
}

#[test]
fn a_service_without_traffic_is_a_trouble_until_somebody_answers_there() {
    let Some(mut api) = ApiServer::start() else { return };
    let clusters =
        format!("clusters:\n  - {{name: holidays, kubeconfig: {}}}\n", api.path("kubeconfig").display());
    let site = Site::new(&clusters, "");
    let port =
        TcpListener::bind("127.0.0.9:0").expect("a port is free").local_addr().expect("it has one").port();
    let objects = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "Service", "metadata": { "name": "shop" },
          "spec": { "type": "LoadBalancer", "ports": [{ "port": port }] } },
        { "apiVersion": "v1", "kind": "Endpoints", "metadata": { "name": "shop" },
          "subsets": [{ "addresses": [{ "ip": "10.244.0.2" }], "ports": [{ "port": 80 }] }] },
    ] });
    fs::write(api.path("objects.json"), objects.to_string()).expect("a file can be written");
    api.kubectl(&["apply", "-f", "objects.json"]);
    let address = r#"{"status":{"loadBalancer":{"ingress":[{"ip":"127.0.0.9"}]}}}"#;
    api.kubectl(&["patch", "service", "shop", "--subresource=status", "--type=merge", "-p", address]);
    let doctor = || {
        let output = site.run(&["doctor", "--site", "site.yaml"]);
        (output.status.code(), text(&output.stdout))
    };
    let (code, said) = doctor();
    assert_eq!(code, Some(3), "{said}");
    for part in [
        "and 1 Kubernetes API looked at",
        "service-without-traffic",
        "service default/shop has the address 127.0.0.9",
        "Update-AksHciClusterCertificates -Name holidays -fixCloudCredentials -patchLoadBalancer.",
    ] {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    let listener = TcpListener::bind(("127.0.0.9", port)).expect("the port is free still");
    assert_eq!(doctor().0, Some(0), "{}", doctor().1);
    drop(listener);
    api.stop();
    let (code, said) = doctor();
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("api-unreadable") && said.contains("cannot list services"), "{said}");
    assert!(said.contains("cannot list certificatesigningrequests"), "each part is named: {said}");
}

/// Says every line again, for as long as somebody is there.
fn echo(listener: TcpListener) {
    for stream in listener.incoming().map_while(Result::ok) {
        thread::spawn(move || {
            let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
            let mut stream = stream;
            while let Some(Ok(line)) = lines.next() {
                if writeln!(stream, "{line}").is_err() {
                    break;
                }
            }
        });
    }
}

#[test]
fn a_load_balancers_certificate_is_renewed_and_no_connection_is_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let behind = listener.local_addr().expect("it has an address").port();
    thread::spawn(|| echo(listener));
    let Some(mut balancer) = Balancer::start(behind) else { return };
    let site = Site::new(&balancer.described(), "");
    let patch = [CLUSTER, "-name", "holidays", "-fixCloudCredentials", "-patchLoadBalancer"];
    // A connection that is there before.
    let mut client = Command::new("openssl");
    client.args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{}", balancer.port)]);
    let mut client = client
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl starts");
    let (mut to, from) = (client.stdin.take().expect("piped"), client.stdout.take().expect("piped"));
    let mut from = BufReader::new(from);
    let mut say = move |word: &str| {
        writeln!(to, "{word}").expect("it is still connected");
        let mut line = String::new();
        from.read_line(&mut line).expect("it is still connected");
        assert_eq!(line.trim(), word);
    };
    say("before");

    let would = site.done(&[&patch[..], &["-WhatIf"]].concat());
    assert!(would.contains("would be renewed  server's certificate of lb-1"), "{would}");
    assert!(
        balancer.presented().contains("CN=self-signed") || balancer.presented().contains("CN = self-signed")
    );
    // Self-signed by nobody that the authority knows, so it is due.
    let told = site.done(&patch);
    assert!(told.contains("renewed           server's certificate of lb-1"), "{told}");
    say("after");
    let issued = balancer.presented();
    assert!(issued.contains("kubecert-authority"), "{issued}");
    assert!(site.done(&patch).contains("not due           server's certificate of lb-1"));
    site.done(&[&patch[..], &["-force"]].concat());
    assert_ne!(balancer.presented(), issued);
    say("after the second one");

    // A run that was cut off between file and reload.
    balancer.spoil("cp self-signed.pem front.pem");
    let told = site.done(&patch);
    assert!(told.contains("not of the authority's newest CA"), "{told}");

    // A configuration that haproxy does not take: the files become again what they were.
    let (before, presented) = (balancer.file(), balancer.presented());
    balancer.spoil("echo nonsense >>haproxy.cfg");
    let output = site.run(&[&patch[..], &["-force"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    let said = text(&output.stderr);
    assert!(
        said.contains("cannot reload haproxy on lb-1") && said.contains("The files are as they were"),
        "{said}"
    );
    assert_eq!((balancer.file(), balancer.presented()), (before, presented));
    say("still there");
    let _ended = client.kill();
    let _reaped = client.wait();

    // Nobody there.
    balancer.stop_ssh();
    let output = site.run(&patch);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("cannot reach the SSH host 127.0.0.1:"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_login_file_on_a_control_plane_is_replaced_over_ssh() {
    let Some(mut machine) = Balancer::start(1) else { return };
    let entry = format!(
        "\x20 - {{class: kms-plugin, cluster: holidays, holder: control-2, login: {}, on: '{}', identity: kms-2}}\n",
        machine.path("cloudlogin.yaml").display(),
        machine.ssh()
    );
    let site = Site::new(&machine.described(), &entry);
    let file = site.create("kms-2");
    fs::copy(file, machine.path("cloudlogin.yaml")).expect("a file can be copied");
    machine.spoil("chmod 640 cloudlogin.yaml");
    let login =
        |machine: &Balancer| LoginFile::read(&machine.path("cloudlogin.yaml")).expect("it is a login file");
    let before = login(&machine).token_id();
    let update = [CLUSTER, "-name", "holidays", "-fixCloudCredentials"];
    assert!(site.done(&update).contains("not due           token of kms-2"));
    site.done(&[&update[..], &["-force"]].concat());
    assert_ne!(login(&machine).token_id(), before);
    let mode = fs::metadata(machine.path("cloudlogin.yaml")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o640, "whoever reads it may read it still");
    fs::copy(machine.path("cloudlogin.yaml"), site.path("fetched.yaml")).expect("a file can be copied");
    site.done(&["authority", "login", "--login-file", "fetched.yaml", "--access-file", "kms-2.json"]);
    let assessed = site.run(&["assess", "--since-update", "1d", "--site", "site.yaml"]);
    assert_eq!(assessed.status.code(), Some(0), "{}{}", text(&assessed.stdout), text(&assessed.stderr));

    machine.stop_ssh();
    let kept = fs::read(site.path("kms.yaml")).expect("it is there");
    let output = site.run(&[&update[..], &["-force"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("cannot reach the SSH host"), "{}", text(&output.stderr));
    assert_ne!(
        fs::read(site.path("kms.yaml")).expect("it is there"),
        kept,
        "the others are renewed all the same"
    );
}
