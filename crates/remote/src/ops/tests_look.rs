//! Looking: what is seen, and what never leaves a node.

use std::fs;

use jiff::Timestamp;
use kubecert_engine::ports::NodeQuestion;

use super::look;
use super::testing::{Local, node};
use crate::exec::{Exec as _, Job};

fn question(paths: &[String]) -> NodeQuestion {
    NodeQuestion { paths: paths.to_vec(), ..NodeQuestion::default() }
}

/// A self-signed certificate and its key, by openssl.
fn certificate(local: &Local, name: &str) -> (String, String) {
    local.sh(&format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.crt \
         -subj /CN={name} -addext subjectAltName=DNS:{name},IP:10.0.0.4 -days 1 2>/dev/null"
    ));
    let read = |end: &str| fs::read_to_string(local.path(&format!("{name}.{end}"))).expect("made");
    (read("crt"), read("key"))
}

#[tokio::test]
async fn certificates_are_seen_and_keys_are_not() {
    let local = Local::new();
    let (one, one_key) = certificate(&local, "one");
    let (two, _) = certificate(&local, "two");
    fs::create_dir(local.path("certs")).expect("made");
    let base64 = |text: &str| local.sh(&format!("printf %s '{text}' | base64 -w 0"));
    let kubeconfig = format!(
        "clusters:\n- cluster:\n    certificate-authority-data: {}\nusers:\n- user:\n    client-certificate-data: \"{}\"\n    client-key-data: {}\n",
        base64(&one),
        base64(&two),
        base64(&one_key)
    );
    fs::write(local.path("certs/chain.pem"), format!("{one_key}Bag Attributes\n{two}\r\n  {one}"))
        .expect("written");
    fs::write(local.path("certs/config"), &kubeconfig).expect("written");
    let json = format!(
        r#"{{"cluster":{{"certificate-authority-data":"{}"}},"user":{{"client-certificate-data" : "{}","client-key-data":"{}"}}}}"#,
        base64(&two),
        base64(&one),
        base64(&one_key)
    );
    fs::write(local.path("certs/config.json"), json).expect("written");
    // A block that never ends must not take the key after it along.
    let open = one.lines().take(2).collect::<Vec<_>>().join("\n");
    fs::write(local.path("certs/open"), format!("{open}\n{one_key}")).expect("written");
    std::os::unix::fs::symlink("chain.pem", local.path("certs/current")).expect("linked");
    std::os::unix::fs::symlink("gone", local.path("certs/dangling")).expect("linked");

    let ask = NodeQuestion {
        texts: vec![local.path("certs/config")],
        ..question(&[
            local.path("certs"),
            local.path("one.crt"),
            local.path("nothing"),
            local.path("certs/config"),
        ])
    };
    let facts = look(&local, &node(), &ask).await.expect("seen");
    let names: Vec<&str> =
        facts.files.iter().map(|file| file.path.rsplit('/').next().unwrap_or("")).collect();
    assert_eq!(names, ["chain.pem", "config", "config.json", "current", "open", "one.crt"]);
    let subjects = |name: &str| -> Vec<String> {
        let file = facts.file(&local.path(name)).expect("seen");
        file.certificates.iter().map(|certificate| certificate.subject.clone()).collect()
    };
    assert_eq!(subjects("certs/chain.pem"), ["CN=two", "CN=one"]);
    assert_eq!(subjects("certs/config"), ["CN=one", "CN=two"]);
    assert_eq!(subjects("certs/config.json"), ["CN=two", "CN=one"]);
    assert_eq!(subjects("certs/current"), ["CN=two", "CN=one"]);
    assert!(subjects("certs/open").is_empty());
    let leaf = &facts.file(&local.path("one.crt")).expect("seen").certificates[0];
    assert_eq!(
        (leaf.sans.join(" "), leaf.key.as_str(), leaf.pem.as_str()),
        ("one 10.0.0.4".into(), "ecdsa-p256", one.as_str())
    );
    assert_eq!(facts.file(&local.path("certs/current")).expect("seen").link.as_deref(), Some("chain.pem"));
    assert_eq!(
        facts.file(&local.path("certs/config")).expect("seen").text.as_deref(),
        Some(kubeconfig.as_str())
    );
    assert_eq!(facts.file(&local.path("certs/chain.pem")).expect("seen").text, None);

    // Nothing of the key is in what the script says, but where the text was asked for.
    let job =
        Job::new("look", &[super::process::PROCESSES, include_str!("../scripts/look.sh")], super::QUICK, "")
            .input(super::lines([format!("path {}", local.path("certs")).as_str(), "."]));
    let raw = String::from_utf8_lossy(&local.run(job).await.expect("seen").stdout).into_owned();
    for line in one_key.lines().filter(|line| line.len() > 20) {
        assert!(!raw.contains(line), "{raw}");
    }
    assert!(!raw.contains(&base64(&one_key)));
}

#[tokio::test]
async fn a_broken_certificate_counts_where_it_was_asked_for() {
    let local = Local::new();
    fs::create_dir(local.path("certs")).expect("made");
    fs::write(local.path("certs/bad.crt"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .expect("written");
    let error =
        look(&local, &node(), &question(&[local.path("certs/bad.crt")])).await.expect_err("unreadable");
    assert!(error.cause.contains("bad.crt"), "{error}");
    let facts = look(&local, &node(), &question(&[local.path("certs")])).await.expect("anybody's");
    assert!(facts.files[0].certificates.is_empty());
}

#[tokio::test]
async fn the_rest_of_a_node_is_seen() {
    let local = Local::new();
    let before = Timestamp::now();
    fs::write(local.path("old"), "x").expect("written");
    local.sh("touch -d 2020-01-01 old; mv old new; mkdir bin; printf '#!/bin/sh\\n[ $2 = a.service ] && echo active || echo inactive\\n' >bin/systemctl; chmod +x bin/systemctl");
    let ask = NodeQuestion {
        units: vec!["a.service".into(), "b.service".into()],
        tools: vec!["sh".into(), "no-such-tool".into()],
        ..question(&[local.path("new")])
    };
    let facts = look(&local, &node(), &ask).await.expect("seen");
    assert_eq!(
        (facts.active_units, facts.missing_tools),
        (vec!["a.service".into()], vec!["no-such-tool".into()])
    );
    assert!(facts.free_bytes > 0 && !facts.hostname.is_empty());
    assert!(facts.clock_offset_ms.abs() < 5_000, "{}", facts.clock_offset_ms);
    // What counts is when the file came to its place, not what its times say.
    assert!(facts.files[0].modified >= before - jiff::SignedDuration::from_millis(20), "{:?}", facts.files);
    let odd = look(&local, &node(), &question(&["/etc/../etc".into()])).await;
    assert!(odd.is_err());
}
