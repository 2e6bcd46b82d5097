//! The whole way over the model in `examples/`: a first PKI, the files, a second PKI.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::path::Path;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use kubecert_cloud::apimodel::{
    ApiModel, CrossCertificate, Entry, Term, Unsupported, new_certificate_profile, write_artifacts,
};
use kubecert_pki::{KeyAlgorithm, KeyError, PrivateKey};

fn example() -> ApiModel {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/aks-engine-3m-2l/apimodel.json");
    ApiModel::parse(&std::fs::read(path).unwrap()).unwrap()
}

fn curve(_: Entry, _: KeyAlgorithm) -> Result<PrivateKey, KeyError> {
    PrivateKey::generate(KeyAlgorithm::EcdsaP256)
}

#[test]
fn a_model_without_a_pki_gets_one_and_then_the_next() {
    let bare = example();
    assert_eq!(bare.unsupported(), [Unsupported::NoCertificateProfile]);
    let now = Timestamp::now();
    let first = new_certificate_profile(&bare, Term::of_the_ancestor(now), &curve).unwrap();
    let model = ApiModel::parse(&bare.rewrite_certificate_profile(&first.profile)).unwrap();
    assert_eq!(model.unsupported(), []);

    let term = Term { now, lifetime: SignedDuration::from_hours(24 * 365) };
    let second = new_certificate_profile(&model, term, &curve).unwrap();
    assert_eq!(second.issuer.certificate().subject().to_string(), "CN=ca-g2");
    assert!(matches!(second.cross, CrossCertificate::Signed(_)));
    second.profile.validate(&model, now).unwrap();
}

/// OpenSSL shares no code with us.
#[test]
fn openssl_accepts_what_is_written() {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("skipped: no openssl on this machine");
        return;
    }
    let model = example();
    let profile =
        new_certificate_profile(&model, Term::of_the_ancestor(Timestamp::now()), &curve).unwrap().profile;
    let directory = tempfile::tempdir().unwrap();
    write_artifacts(directory.path(), &model, &profile).unwrap();
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(directory.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    for entry in Entry::all(3).skip(1) {
        let purpose = if matches!(entry, Entry::ApiServer) { "sslserver" } else { "sslclient" };
        let [certificate, key] = ["crt", "key"].map(|ending| format!("{}.{ending}", entry.file_base()));
        openssl(&["verify", "-x509_strict", "-purpose", purpose, "-CAfile", "ca.crt", &certificate]);
        let public = openssl(&["x509", "-in", &certificate, "-noout", "-pubkey"]);
        assert_eq!(public, openssl(&["pkey", "-in", &key, "-pubout"]), "{entry}");
    }
    let host = model.fqdn().unwrap();
    openssl(&["verify", "-verify_hostname", &host, "-CAfile", "ca.crt", "apiserver.crt"]);
    openssl(&["verify", "-verify_ip", "10.240.255.15", "-CAfile", "ca.crt", "apiserver.crt"]);
}
