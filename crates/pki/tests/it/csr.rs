//! Signing requests, ours and openssl's.

use kubecert_pki::{Csr, CsrError, ExtendedKeyUsage, KeyAlgorithm, SubjectAltName, Template, issue};

use crate::common::{ca, days, key, openssl, quick_key, serial, server_template};

#[test]
fn openssl_reads_our_requests() {
    for algorithm in
        [KeyAlgorithm::Rsa2048, KeyAlgorithm::EcdsaP256, KeyAlgorithm::EcdsaP384, KeyAlgorithm::Ed25519]
    {
        let csr = Csr::create(&server_template(), &key(algorithm, 0)).unwrap();
        let Some(text) = openssl(&["req", "-verify", "-noout", "-text", "-nameopt", "RFC2253"], csr.to_pem())
        else {
            return;
        };
        assert!(text.contains("CN=system:node:k8s-master-0,O=system:nodes"), "{text}");
        assert!(text.contains("DNS:localhost, IP Address:127.0.0.1"), "{text}");
    }
}

#[test]
fn we_read_requests_of_openssl() {
    let request =
        ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "/dev/null", "-subj", "/O=a/O=b/CN=c"];
    let args = [&request[..], &["-addext", "subjectAltName=DNS:x,IP:::1"]].concat();
    let Some(pem) = openssl(&args, "") else { return };
    let csr = Csr::from_pem(&pem).unwrap();
    assert_eq!(csr.subject().to_string(), "CN=c,O=b,O=a");
    let issued = issue(csr.template(), csr.public_key(), &ca("ca", quick_key()), days(1), &serial()).unwrap();
    assert_eq!(issued.sans(), [SubjectAltName::dns("x"), SubjectAltName::ip(std::net::Ipv6Addr::LOCALHOST)]);

    let Some(bare) = openssl(&request, "") else { return };
    assert!(Csr::from_pem(&bare).unwrap().template().extensions().is_empty());
}

#[test]
fn we_read_requests_of_rcgen() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let csr = Csr::from_der(params.serialize_request(&key).unwrap().der()).unwrap();
    let issued = issue(csr.template(), csr.public_key(), &ca("ca", quick_key()), days(1), &serial()).unwrap();
    assert_eq!(issued.sans(), [SubjectAltName::dns("a.example")]);
    assert_eq!(issued.extended_key_usage(), Some(&[ExtendedKeyUsage::ServerAuth][..]));
}

#[test]
fn a_request_keeps_the_shape_but_for_key_identifiers() {
    let key = quick_key();
    let issuer = ca("ca", quick_key());
    let first = issue(&server_template(), key.public_key(), &issuer, days(1), &serial()).unwrap();
    let csr = Csr::create(&Template::from_certificate(&first), &key).unwrap();
    assert_eq!(*csr.template(), server_template());
    assert_eq!(Csr::from_pem(csr.to_pem()).unwrap().der(), csr.der());
}

#[test]
fn forged_requests_are_refused() {
    let csr = Csr::create(&server_template(), &quick_key()).unwrap();
    let mut forged = csr.der().to_vec();
    let at = forged.windows(4).position(|bytes| bytes == b"k8s-").unwrap();
    forged[at] = b'x';
    assert!(matches!(Csr::from_der(&forged), Err(CsrError::Signature(_))));
    assert_eq!(Csr::from_pem("nothing").unwrap_err(), CsrError::NoRequest);
    assert!(matches!(Csr::from_der(&[1, 2, 3]), Err(CsrError::Malformed(_))));
}
