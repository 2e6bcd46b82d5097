//! Certificates that break the rules, as old clusters hold them.

use kubecert_pki::{
    Certificate, CertificateError, Fingerprint, Judge, Template, Usage, Version, issue,
    parse_pem_certificates, read_pem_certificates, to_pem_chain, verify_chain,
};

use crate::common::{Case, ca, days, go_verify, now, openssl_verify, quick_key, serial, server_template};

/// Made as AKS engine's `generateproxycerts.sh` makes them: the client is of version 1, with 719 years of validity.
const FRONT_PROXY_CA: &str = include_str!("fixtures/front-proxy-ca.pem");
const FRONT_PROXY_CLIENT: &str = include_str!("fixtures/front-proxy-client-v1.pem");

#[test]
fn a_version_1_client_is_accepted_with_a_mark() {
    let leaf = Certificate::from_pem(FRONT_PROXY_CLIENT).unwrap();
    let roots = vec![Certificate::from_pem(FRONT_PROXY_CA).unwrap()];
    assert_eq!((leaf.version(), leaf.serial_hex().as_str()), (Version::V1, "02"));
    assert_eq!(leaf.not_after().to_string(), "2746-06-24T21:51:14Z");
    assert!(leaf.extensions().is_empty());
    let verified = verify_chain(&leaf, &[], &roots, now(), Usage::ClientAuth).unwrap();
    assert_eq!(verified.judge, Judge::OwnVersion1);
    let other = [ca("proxyClientCA", quick_key()).certificate().clone()];
    assert!(verify_chain(&leaf, &[], &other, now(), Usage::ClientAuth).is_err(), "same name, other key");

    let case = Case {
        what: "v1".into(),
        leaf,
        intermediates: vec![],
        roots,
        usage: Usage::ClientAuth,
        accepted: true,
    };
    assert!(go_verify(&[case]).is_none_or(|verdicts| verdicts == [""]), "Go accepts it too");
}

#[test]
fn a_version_1_client_is_reissued_as_version_3() {
    let old = Certificate::from_pem(FRONT_PROXY_CLIENT).unwrap();
    let issuer = ca("proxyClientCA-g2", quick_key());
    let new = issue(&Template::from_certificate(&old), quick_key().public_key(), &issuer, days(1), &serial())
        .unwrap();
    assert_eq!((new.version(), new.subject()), (Version::V3, old.subject()));
    assert_eq!(new.extensions().len(), 2, "key identifiers and nothing else");
    let roots = vec![issuer.certificate().clone()];
    let verified = verify_chain(&new, &[], &roots, now(), Usage::ClientAuth).unwrap();
    assert_eq!(verified.judge, Judge::Webpki);
    let case = Case {
        what: "v3".into(),
        leaf: new,
        intermediates: vec![],
        roots,
        usage: Usage::ClientAuth,
        accepted: true,
    };
    assert!(openssl_verify(&case).is_none_or(|verdict| verdict.is_ok()));
}

/// A certificate with its serial replaced; the signature is then wrong, which reading does not mind.
fn with_serial(serial: &[u8]) -> Vec<u8> {
    let issuer = ca("ca", quick_key());
    let fixed = kubecert_pki::Serial::from_bytes(&[0x55; 16]).unwrap();
    let der =
        issue(&server_template(), quick_key().public_key(), &issuer, days(1), &fixed).unwrap().der().to_vec();
    let at = der.windows(18).position(|bytes| bytes == [&[2, 16][..], &[0x55; 16]].concat()).unwrap();
    let integer = [&[2, u8::try_from(serial.len()).unwrap()], serial].concat();
    // Both outer lengths take two octets here, at 2..4 and 6..8.
    let mut odd = [&der[..at], &integer, &der[at + 18..]].concat();
    for place in [2, 6] {
        let length = u16::from_be_bytes([odd[place], odd[place + 1]]);
        let length = length - 18 + u16::try_from(integer.len()).unwrap();
        odd[place..place + 2].copy_from_slice(&length.to_be_bytes());
    }
    odd
}

#[test]
fn odd_serials_are_read() {
    for (serial, shown) in
        [(vec![0x7f; 33], "7f".repeat(33)), (vec![0x80], "80".into()), (vec![0], "00".into())]
    {
        let certificate = Certificate::from_der(&with_serial(&serial)).unwrap();
        assert_eq!((certificate.serial(), certificate.serial_hex()), (serial.as_slice(), shown));
    }
}

#[test]
fn the_unreadable_has_at_least_a_fingerprint() {
    let good = ca("ca", quick_key()).certificate().clone();
    let cut = &good.der()[..good.der().len() - 1];
    for bytes in [cut, &[][..], &[0x30, 0], &[0x30, 0x80, 0, 0]] {
        let refused = Certificate::from_der(bytes).unwrap_err();
        let CertificateError::Unparsed { fingerprint, .. } = refused else { panic!("{refused:?}") };
        assert_eq!(fingerprint, Fingerprint::of(bytes));
    }
}

#[test]
fn bundles_are_read_in_order_whatever_is_between() {
    let (one, two) = (ca("one", quick_key()), ca("two", quick_key()));
    let (one, two) = (one.certificate(), two.certificate());
    let text = format!("# first\n{}subject=x\n\n{}", one.to_pem(), two.to_pem().replace('\n', "\r\n"));
    assert_eq!(parse_pem_certificates(&text).unwrap(), [one.clone(), two.clone()]);
    assert_eq!(parse_pem_certificates(to_pem_chain([two, one])).unwrap(), [two.clone(), one.clone()]);
    assert_eq!(parse_pem_certificates("nothing"), Err(CertificateError::NoCertificate));

    let damaged = format!("{}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", one.to_pem());
    assert!(parse_pem_certificates(&damaged).is_err());
    let each = read_pem_certificates(&damaged);
    assert!(each.len() == 2 && each[0].is_ok() && each[1].is_err());
}
