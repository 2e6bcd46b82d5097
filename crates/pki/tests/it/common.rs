//! What the tests share: a fixed time, keys made once, and the foreign judges.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{LazyLock, Mutex};

use jiff::{SignedDuration, Timestamp};
use kubecert_pki::{
    Certificate, DistinguishedName, Issuer, KeyAlgorithm, PrivateKey, Serial, SubjectAltName, Template,
    Usage, Validity, self_signed_ca, to_pem_chain,
};

/// The instant at which all tests take place.
pub(crate) fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

/// From an hour ago until so many days from now.
pub(crate) fn days(days: i64) -> Validity {
    Validity::back_dated(now(), SignedDuration::from_hours(24 * days)).unwrap()
}

pub(crate) fn serial() -> Serial {
    Serial::random().unwrap()
}

/// The `number`th key of its kind. Keys are made once, as RSA takes its time.
pub(crate) fn key(algorithm: KeyAlgorithm, number: usize) -> PrivateKey {
    static KEYS: LazyLock<Mutex<Vec<(KeyAlgorithm, usize, PrivateKey)>>> = LazyLock::new(Mutex::default);
    let mut keys = KEYS.lock().unwrap();
    if let Some((_, _, key)) = keys.iter().find(|known| (known.0, known.1) == (algorithm, number)) {
        return key.clone();
    }
    let key = PrivateKey::generate(algorithm).unwrap();
    keys.push((algorithm, number, key.clone()));
    key
}

/// A fresh key of the quickest kind.
pub(crate) fn quick_key() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()
}

/// A root of the given name that is good for ten years.
pub(crate) fn ca(name: &str, key: PrivateKey) -> Issuer {
    let template = Template::ca(DistinguishedName::common_name(name).unwrap()).unwrap();
    Issuer::new(self_signed_ca(&template, &key, days(3650), &serial()).unwrap(), key).unwrap()
}

pub(crate) fn server_template() -> Template {
    let sans = [SubjectAltName::dns("localhost"), SubjectAltName::ip([127, 0, 0, 1])];
    Template::kubelet_serving("k8s-master-0", sans).unwrap()
}

/// One question to all judges.
pub(crate) struct Case {
    pub(crate) what: String,
    pub(crate) leaf: Certificate,
    pub(crate) intermediates: Vec<Certificate>,
    pub(crate) roots: Vec<Certificate>,
    pub(crate) usage: Usage,
    pub(crate) accepted: bool,
}

/// Runs a program with the given input; `None`, said aloud, when it is not installed.
pub(crate) fn run(program: &str, args: &[&str], input: &[u8]) -> Option<Output> {
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(source) => {
            println!("SKIPPED: {program} cannot be run: {source}");
            return None;
        }
    };
    // A program that ends without reading all of its input is judged by its exit code.
    let _ = child.stdin.take().unwrap().write_all(input);
    Some(child.wait_with_output().unwrap())
}

/// Runs openssl and wants it to succeed; its standard output.
pub(crate) fn openssl(args: &[&str], input: impl AsRef<[u8]>) -> Option<String> {
    let output = run("openssl", args, input.as_ref())?;
    assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// What `openssl verify` thinks of the case: `Some(Err(why))` when it refuses.
pub(crate) fn openssl_verify(case: &Case) -> Option<Result<(), String>> {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, certificates: &[Certificate]| -> String {
        let path = directory.path().join(name);
        std::fs::write(&path, to_pem_chain(certificates)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let roots = file("roots", &case.roots);
    let intermediates = file("intermediates", &case.intermediates);
    let leaf = file("leaf", std::slice::from_ref(&case.leaf));
    let time = now().as_second().to_string();
    let purpose = match case.usage {
        Usage::ServerAuth => "sslserver",
        Usage::ClientAuth => "sslclient",
    };
    let mut args = vec!["verify", "-no-CApath", "-no-CAstore", "-attime", &time, "-purpose", purpose];
    args.extend(["-CAfile", &roots]);
    // Strictness asks for what we always write, and old roots do not have.
    if case.roots.iter().all(|root| root.ski().is_some()) {
        args.push("-x509_strict");
    }
    if !case.intermediates.is_empty() {
        args.extend(["-untrusted", &intermediates]);
    }
    args.push(&leaf);
    let output = run("openssl", &args, b"")?;
    Some(match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    })
}

/// What Go's crypto/x509 thinks of each case: an empty string when it accepts.
pub(crate) fn go_verify(cases: &[Case]) -> Option<Vec<String>> {
    let judge = go_judge()?;
    let questions: Vec<_> = cases
        .iter()
        .map(|case| {
            serde_json::json!({
                "leaf": case.leaf.to_pem(),
                "intermediates": to_pem_chain(&case.intermediates),
                "roots": to_pem_chain(&case.roots),
                "now": now().as_second(),
                "usage": if case.usage == Usage::ClientAuth { "client" } else { "server" },
            })
        })
        .collect();
    let output = run(judge.to_str().unwrap(), &[], serde_json::to_string(&questions).unwrap().as_bytes())?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Builds the Go judge once; `None`, said aloud, where there is no Go.
fn go_judge() -> Option<PathBuf> {
    static BUILT: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/go-judge/main.go");
        let binary = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-judge");
        let output = run("go", &["build", "-o", binary.to_str()?, source.to_str()?], b"")?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(binary)
    });
    BUILT.clone()
}
