//! What a signer may give, judged; openssl is the signer where it is installed.

use std::path::Path;
use std::process::Command;

use kubecert_core::model::{LeafId, TrustDomain};
use kubecert_core::plan::{KeyOrder, LeafOrder, LeafShape};
use kubecert_pki::{
    DistinguishedName, ExtendedKeyUsage, Extension, Issuer, KeyAlgorithm, KeyEncoding, KeyUsage, Serial,
    SubjectAltName, Validity, self_signed_ca,
};

use super::*;

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The clock of openssl is the machine's, so the tests' is, too.
fn now() -> Timestamp {
    Timestamp::now()
}

fn days(from: i32, until: i32) -> Validity {
    let at = |days: i32| Timestamp::from_second((now() + DAY * days).as_second()).unwrap();
    Validity::new(at(from), at(until)).unwrap()
}

fn key() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()
}

fn authority(name: &str) -> Issuer {
    let key = key();
    let shape = Template::ca(DistinguishedName::common_name(name).unwrap()).unwrap();
    let ca = self_signed_ca(&shape, &key, days(-400, 3650), &Serial::random().unwrap()).unwrap();
    Issuer::new(ca, key).unwrap()
}

fn sign(shape: &Template, key: &PrivateKey, ca: &Issuer, validity: Validity) -> Certificate {
    kubecert_pki::issue(shape, key.public_key(), ca, validity, &Serial::random().unwrap()).unwrap()
}

/// A leaf as kubeadm makes those of etcd, with an extension of its issuer's besides.
fn present(ca: &Issuer) -> Certificate {
    let names = ["localhost", "shire-0"].map(SubjectAltName::dns);
    let shape = Template::builder(DistinguishedName::user("shire-0", &["hobbits"]).unwrap())
        .extended_key_usage([ExtendedKeyUsage::ServerAuth, ExtendedKeyUsage::ClientAuth])
        .sans(names.into_iter().chain([SubjectAltName::ip([10, 0, 0, 4])]))
        .extension(Extension::new("1.2.3.4", kubecert_pki::Criticality::Optional, &[5, 0]).unwrap())
        .build()
        .unwrap();
    sign(&shape, &key(), ca, days(-340, 25))
}

fn asked(ca: &Issuer, key: &PrivateKey) -> Request {
    let order = LeafOrder {
        id: LeafId::from("etcd-server/shire-0"),
        domain: TrustDomain::Etcd,
        shape: LeafShape::Like(present(ca).to_pem()),
        key: KeyOrder::New("ecdsa-p256".to_owned()),
    };
    let authorities = [(TrustDomain::Etcd, ca.certificate().clone())].into();
    one(&order, key, &PkiSet { authorities, ..PkiSet::default() }).unwrap()
}

/// What is said of certificates that were given, each complaint on a line.
fn said(request: &Request, certificates: Vec<Certificate>) -> String {
    let given = Given { from: "DIR/x.crt".to_owned(), certificates: Ok(certificates) };
    let complaints = judge::given(request, Some(&given), now());
    complaints.iter().map(|complaint| format!("{complaint}\n")).collect()
}

/// Runs openssl in a directory; `false`, said aloud, where it is not installed.
fn openssl(directory: &Path, args: &[&str]) -> bool {
    match Command::new("openssl").args(args).current_dir(directory).output() {
        Err(error) => {
            println!("SKIPPED: openssl cannot be run: {error}");
            false
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "openssl {args:?}: {said}");
            true
        }
    }
}

#[test]
fn what_openssl_signs_as_it_was_asked_for_is_taken() {
    let (ca, key) = (authority("etcd-ca"), key());
    let request = asked(&ca, &key);
    assert_eq!(request.name(), "etcd_etcd-server_shire-0");
    let oids: Vec<String> = request.csr.template().extensions().iter().map(Extension::oid).collect();
    assert!(!oids.contains(&"1.2.3.4".to_owned()), "what is the issuer's to choose is not asked for");
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    std::fs::write(at.join("x.csr"), request.csr.to_pem()).unwrap();
    std::fs::write(at.join("ca.crt"), ca.certificate().to_pem()).unwrap();
    let secret = ca.key().to_pem(KeyEncoding::Pkcs8).unwrap();
    std::fs::write(at.join("ca.key"), secret.expose()).unwrap();
    if !openssl(at, &["req", "-verify", "-noout", "-in", "x.csr"]) {
        return;
    }
    let signing = ["x509", "-req", "-in", "x.csr", "-out", "x.crt", "-CA", "ca.crt", "-CAkey", "ca.key"];
    let lasting = ["-days", "365"];
    openssl(at, &[&signing[..], &lasting, &["-copy_extensions", "copyall"]].concat());
    let read = || Certificate::from_pem(std::fs::read(at.join("x.crt")).unwrap()).unwrap();
    assert_eq!(said(&request, vec![read()]), "");
    assert_eq!(said(&request, vec![read(), ca.certificate().clone()]), "", "the CA itself says nothing new");
    // The usual mistake: openssl signs, and leaves the extensions away.
    openssl(at, &[&signing[..], &lasting].concat());
    let bare = said(&request, vec![read()]);
    for lacking in [
        "without DNS:localhost, DNS:shire-0, IP Address:10.0.0.4",
        "without serverAuth, clientAuth",
        "keyEncipherment",
    ] {
        assert!(bare.contains(lacking), "{bare}");
    }
    // `openssl ca`, which writes the subject anew by its policy.
    let config = "[ca]\ndefault_ca = d\n[d]\ndatabase = index.txt\nnew_certs_dir = .\nrand_serial = yes\n\
                  default_md = sha256\npolicy = p\ncopy_extensions = copyall\npreserve = yes\n\
                  [p]\norganizationName = optional\ncommonName = supplied\n";
    std::fs::write(at.join("ca.cnf"), config).unwrap();
    std::fs::write(at.join("index.txt"), "").unwrap();
    let by = ["ca", "-batch", "-notext", "-config", "ca.cnf", "-cert", "ca.crt", "-keyfile", "ca.key"];
    openssl(at, &[&by[..], &["-in", "x.csr", "-out", "x.crt", "-days", "365"]].concat());
    assert_eq!(said(&request, vec![read()]), "");
}

#[test]
fn each_difference_is_named_with_its_remedy() {
    let (ca, key) = (authority("etcd-ca"), key());
    let request = asked(&ca, &key);
    let shape = request.csr.template();
    let year = || days(-1, 365);
    // Another certificate of the same CA, which is not the one in force.
    let twice = Template::from_certificate(ca.certificate());
    let lasting = self_signed_ca(&twice, ca.key(), days(-400, 7300), &Serial::random().unwrap()).unwrap();
    let lasting = Issuer::new(lasting, ca.key().clone()).unwrap();
    assert_eq!(said(&request, vec![sign(shape, &key, &ca, year())]), "");
    let names = |names: &[&str]| {
        let names = names.iter().map(|name| SubjectAltName::dns(*name));
        shape.clone().with_sans(names.chain([SubjectAltName::ip([10, 0, 0, 4])])).unwrap()
    };
    let other_subject = DistinguishedName::user("shire-0", &["system:masters"]).unwrap();
    let used_as = |usages: Vec<ExtendedKeyUsage>, key: &[KeyUsage]| {
        Template::builder(shape.subject().clone())
            .key_usage(key.iter().copied())
            .extended_key_usage(usages)
            .sans(shape.sans())
            .build()
            .unwrap()
    };
    let both = || vec![ExtendedKeyUsage::ServerAuth, ExtendedKeyUsage::ClientAuth];
    let usual = [KeyUsage::DigitalSignature, KeyUsage::KeyEncipherment];
    let critical = Extension::new("1.2.3.4", kubecert_pki::Criticality::Critical, &[5, 0]).unwrap();
    let cases: Vec<(Certificate, &str)> = vec![
        (
            sign(shape, &super::tests::key(), &ca, year()),
            "is for another key; sign etcd_etcd-server_shire-0.csr",
        ),
        (sign(shape, &key, &authority("other"), year()), "is not signed by the etcd CA in force, CN=etcd-ca"),
        // By its name it is the same one.
        (sign(shape, &key, &authority("etcd-ca"), year()), "sign with the key of that very CA"),
        (
            sign(&names(&["localhost"]), &key, &ca, year()),
            "has other names than were asked for, without DNS:shire-0;",
        ),
        (
            sign(&names(&["localhost", "shire-0", "evil"]), &key, &ca, year()),
            "asked for, with DNS:evil; sign the",
        ),
        (
            sign(&shape.clone().with_subject(other_subject), &key, &ca, year()),
            "O=system:masters, and was asked",
        ),
        (
            sign(&used_as(vec![ExtendedKeyUsage::ServerAuth], &usual), &key, &ca, year()),
            "without clientAuth;",
        ),
        (
            sign(&used_as([both(), vec![ExtendedKeyUsage::Any]].concat(), &usual), &key, &ca, year()),
            "extended key usages than were asked for, with anyExtendedKeyUsage;",
        ),
        (
            sign(&used_as(both(), &usual[1..]), &key, &ca, year()),
            "other key usages than were asked for, without",
        ),
        (
            sign(&shape.clone().with_extension(critical), &key, &ca, year()),
            "has extension 1.2.3.4, which is critical",
        ),
        (sign(shape, &key, &ca, days(-20, -1)), "has ended on "),
        (sign(shape, &key, &ca, days(1, 300)), "later than the clock of the slowest node; wait"),
        (sign(shape, &key, &ca, days(-340, 25)), "so soon that it would be due again"),
        (sign(shape, &key, &lasting, days(-1, 3651)), "after its CA, which ends on "),
    ];
    for (certificate, expected) in cases {
        let said = said(&request, vec![certificate]);
        assert!(said.starts_with("DIR/x.crt ") && said.contains(expected), "{expected}\n{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let good = sign(shape, &key, &ca, year());
    let chained = said(&request, vec![good, authority("between").certificate().clone()]);
    assert!(chained.contains("holds 1 more besides the leaf"), "{chained}");
    let of_a_ca =
        said(&request, vec![sign(&Template::ca(shape.subject().clone()).unwrap(), &key, &ca, year())]);
    assert!(of_a_ca.contains("is a CA's") && of_a_ca.contains("keyCertSign"), "{of_a_ca}");
    let lines = |given: Option<&Given>| -> Vec<String> {
        judge::given(&request, given, now()).iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        lines(None),
        [
            "etcd-server/shire-0 is missing; have etcd_etcd-server_shire-0.csr signed, and put the certificate beside it as etcd_etcd-server_shire-0.crt"
        ]
    );
    let unreadable = Given { from: "DIR/x.crt".to_owned(), certificates: Err("no PEM".to_owned()) };
    assert!(lines(Some(&unreadable))[0].starts_with("DIR/x.crt cannot be read (no PEM); write"));
}
