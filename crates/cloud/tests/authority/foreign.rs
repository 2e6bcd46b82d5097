//! A client in Go that shares no code with ours: its TLS, HTTP/2, X.509 and signing requests are Go's own.
//!
//! The vendor's published client library is not used here, since its modules cannot be had everywhere; `cargo xtask interop` runs it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kubecert_cloud::authority::{Authority, OldTokens};
use kubecert_engine::ports::Clock;
use kubecert_pki::to_pem_chain;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::support::{serve, settings};

/// Go's TLS asks the machine.
struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_gos_own_libraries_lives_with_it_through_an_overlap() {
    let directory = tempfile::tempdir().unwrap();
    let binary = directory.path().join("go-client");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/go-client/main.go");
    let built = Command::new("go").arg("build").arg("-o").arg(&binary).arg(&source).output();
    let Ok(built) = built else {
        eprintln!("left out: there is no Go here to be a foreign client with");
        return;
    };
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let at = directory.path().join("authority");
    let (authority, _) = Authority::init(&at, &settings(OldTokens::Refused), Arc::new(SystemClock)).unwrap();
    let authority = Arc::new(authority);
    let server = serve(&authority).await;
    let mut login = authority.rotate_identity("admin").unwrap();
    // It knows the old root alone.
    authority.rotate_ca(SignedDuration::from_hours(1)).unwrap();
    login.roots.truncate(1);
    let given = json!({
        "Main": server.main().to_string(),
        "Login": server.login().to_string(),
        "Name": "admin",
        "Token": login.token.expose_secret(),
        "Roots": to_pem_chain(&login.roots),
    });
    let answer = tokio::task::spawn_blocking(move || {
        let mut client = Command::new(&binary);
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut client = client.spawn().unwrap();
        client.stdin.take().unwrap().write_all(given.to_string().as_bytes()).unwrap();
        client.wait_with_output().unwrap()
    });
    let answer = answer.await.unwrap();
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    let seen: Value = serde_json::from_slice(&answer.stdout).unwrap();
    let signer = authority.monitor().unwrap().roots[0].subject().last_common_name();
    assert_eq!(seen["Issuer"].as_str(), signer.as_deref(), "the new CA signs");
    for fact in ["SameLength", "OtherKey", "Original", "Created", "OtherToken", "NewToken"] {
        assert_eq!(seen[fact], true, "{fact}: {seen}");
    }
    assert_eq!(seen["Renewals"], json!([1, 2]));
    assert_eq!((&seen["Monitor"], &seen["Roots"]), (&json!(1), &json!(2)), "an overlap of two");
    for (fact, part) in [
        ("OldToken", "16 Valid Token Required"),
        ("WrongServer", "certificate signed by unknown authority"),
        ("Revoked", "was revoked at"),
        ("NoIdentity", "no client certificate was presented"),
    ] {
        assert!(seen[fact].as_str().is_some_and(|text| text.contains(part)), "{fact}: {seen}");
    }
    assert_eq!(seen["RevokedCode"], 30);
}
