//! New certificates, as openssl shows them.

use kubecert_pki::{
    Certificate, ChainError, DistinguishedName, ExtendedKeyUsage, IssueError, Issuer, IssuerError,
    KeyAlgorithm, KeyUsage, SubjectAltName, Template, Usage, issue, self_signed_ca, verify_chain,
    verify_server_name, vouch,
};

use crate::common::{Case, ca, days, key, now, openssl, openssl_verify, quick_key, serial, server_template};

#[test]
fn openssl_shows_what_was_asked_for() {
    let issuer = ca("ca", key(KeyAlgorithm::Rsa2048, 0));
    let leaf =
        issue(&server_template(), key(KeyAlgorithm::Rsa2048, 1).public_key(), &issuer, days(365), &serial());
    let leaf = leaf.unwrap();
    let Some(text) = openssl(&["x509", "-noout", "-text", "-nameopt", "RFC2253"], leaf.to_pem()) else {
        return;
    };
    // Versions of openssl differ in blanks and line ends.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for line in [
        "Version: 3 (0x2)",
        "Signature Algorithm: sha256WithRSAEncryption",
        "Issuer: CN=ca",
        "Not Before: Nov 22 11:00:00 2026 GMT",
        "Not After : Nov 22 12:00:00 2027 GMT",
        "Subject: CN=system:node:k8s-master-0,O=system:nodes",
        "Public-Key: (2048 bit)",
        "X509v3 Key Usage: critical Digital Signature, Key Encipherment",
        "X509v3 Extended Key Usage: TLS Web Server Authentication",
        "X509v3 Basic Constraints: critical CA:FALSE",
        "X509v3 Subject Alternative Name: DNS:localhost, IP Address:127.0.0.1",
        "X509v3 Subject Key Identifier",
        "X509v3 Authority Key Identifier",
    ] {
        assert!(text.contains(line), "`{line}` is not in:\n{text}");
    }
    let Some(text) =
        openssl(&["x509", "-noout", "-text", "-nameopt", "RFC2253"], issuer.certificate().to_pem())
    else {
        return;
    };
    assert!(text.contains("Digital Signature, Key Encipherment, Certificate Sign"), "{text}");
    assert!(text.contains("CA:TRUE\n") && !text.contains("pathlen"), "{text}");
    assert!(!text.contains("Authority Key Identifier"), "{text}");
    let Some(serial) = openssl(&["x509", "-noout", "-serial"], leaf.to_pem()) else { return };
    assert_eq!(serial.trim().to_lowercase(), format!("serial={}", leaf.serial_hex()));
    let Some(print) = openssl(&["x509", "-noout", "-fingerprint", "-sha256"], leaf.to_pem()) else { return };
    assert_eq!(print.trim().split_once('=').unwrap().1.parse(), Ok(leaf.fingerprint()));
}

#[test]
fn every_constructor_makes_an_acceptable_client_or_server() {
    let issuer = ca("ca", quick_key());
    let names = [SubjectAltName::dns("n"), SubjectAltName::ip([10, 0, 0, 4])];
    for (template, subject, usage) in [
        (Template::kubelet_client("n"), "CN=system:node:n,O=system:nodes", Usage::ClientAuth),
        (Template::kubelet_serving("n", names), "CN=system:node:n,O=system:nodes", Usage::ServerAuth),
        (Template::admin("client", "system:masters"), "CN=client,O=system:masters", Usage::ClientAuth),
        (
            Template::front_proxy_client("aggregator", &["system:masters"]),
            "CN=aggregator,O=system:masters",
            Usage::ClientAuth,
        ),
        (Template::front_proxy_client("front-proxy-client", &[]), "CN=front-proxy-client", Usage::ClientAuth),
    ] {
        let leaf = issue(&template.unwrap(), quick_key().public_key(), &issuer, days(1), &serial()).unwrap();
        assert_eq!(leaf.subject().to_string(), subject);
        let roots = vec![issuer.certificate().clone()];
        verify_chain(&leaf, &[], &roots, now(), usage).unwrap();
        let case = Case { what: subject.into(), leaf, intermediates: vec![], roots, usage, accepted: true };
        assert!(openssl_verify(&case).is_none_or(|verdict| verdict.is_ok()), "{subject}");
    }
    assert!(Template::kubelet_client("").is_err());
}

#[test]
fn validity_is_clipped_to_the_issuer() {
    let issuer = ca("ca", quick_key());
    let leaf = issue(&server_template(), quick_key().public_key(), &issuer, days(9999), &serial()).unwrap();
    assert_eq!(leaf.not_after(), issuer.certificate().not_after());
    assert_eq!(now().duration_since(leaf.not_before()), kubecert_pki::BACK_DATE);

    let later = now() + jiff::SignedDuration::from_hours(24 * 4000);
    let after = kubecert_pki::Validity::back_dated(later, jiff::SignedDuration::from_hours(1)).unwrap();
    let refused = issue(&server_template(), quick_key().public_key(), &issuer, after, &serial());
    assert!(matches!(refused, Err(IssueError::Validity(_))), "{refused:?}");
}

#[test]
fn issuers_are_checked() {
    let issuer = ca("ca", quick_key());
    let other = Issuer::new(issuer.certificate().clone(), quick_key());
    assert_eq!(other.unwrap_err(), IssuerError::OtherKey { subject: "CN=ca".into() });

    let key = quick_key();
    let leaf = issue(&server_template(), key.public_key(), &issuer, days(1), &serial()).unwrap();
    assert!(matches!(Issuer::new(leaf, key.clone()), Err(IssuerError::NotACa { .. })));

    // A self-signed CA whose key usage forbids signing; rcgen takes the key usages as they are given.
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    let odd = Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap();
    let key = kubecert_pki::PrivateKey::from_pem(&key.serialize_pem()).unwrap();
    assert!(matches!(Issuer::new(odd, key), Err(IssuerError::MayNotSign { .. })));
}

#[test]
fn a_leaf_shape_becomes_a_ca_when_it_must() {
    let name = DistinguishedName::common_name("x").unwrap();
    let key = quick_key();
    let root = self_signed_ca(&Template::builder(name).build().unwrap(), &key, days(1), &serial()).unwrap();
    assert!(root.is_ca() && root.is_self_signed());
    assert!(root.key_usage().unwrap().contains(&KeyUsage::KeyCertSign));
    assert!(Issuer::new(root, key).is_ok());
}

#[test]
fn verdicts_say_what_is_wrong() {
    let issuer = ca("ca", quick_key());
    let leaf = issue(&server_template(), quick_key().public_key(), &issuer, days(1), &serial()).unwrap();
    let roots = [issuer.certificate().clone()];
    let hours = jiff::SignedDuration::from_hours;
    let at = |time, usage| verify_chain(&leaf, &[], &roots, time, usage);
    assert!(matches!(at(now() + hours(48), Usage::ServerAuth), Err(ChainError::Ended { .. })));
    assert!(matches!(at(now() - hours(48), Usage::ServerAuth), Err(ChainError::NotYet { .. })));
    assert!(matches!(at(now(), Usage::ClientAuth), Err(ChainError::OtherUsage { .. })));
    assert_eq!(verify_chain(&leaf, &[], &[], now(), Usage::ServerAuth), Err(ChainError::NoRoots));
    let other = [ca("other", quick_key()).certificate().clone()];
    let verdict = verify_chain(&leaf, &[], &other, now(), Usage::ServerAuth);
    assert!(matches!(verdict, Err(ChainError::UnknownIssuer { .. })));

    assert_eq!(verify_server_name(&leaf, "localhost"), Ok(()));
    assert_eq!(verify_server_name(&leaf, "127.0.0.1"), Ok(()));
    assert!(matches!(verify_server_name(&leaf, "10.0.0.1"), Err(ChainError::OtherName { .. })));
    assert!(matches!(verify_server_name(&leaf, "no name!"), Err(ChainError::NotAName(_))));
}

#[test]
fn shapes_can_be_changed_in_place() {
    let shape = server_template().with_sans([SubjectAltName::dns("new")]).unwrap();
    let oids =
        |template: &Template| template.extensions().iter().map(|found| found.oid()).collect::<Vec<_>>();
    assert_eq!(oids(&shape), oids(&server_template()));
    let none = server_template().with_sans([]).unwrap();
    assert_eq!(none.extensions().len(), shape.extensions().len() - 1);
    let issued = issue(&shape, quick_key().public_key(), &ca("ca", quick_key()), days(1), &serial()).unwrap();
    assert_eq!(issued.sans(), [SubjectAltName::dns("new")]);
    assert_eq!(issued.extended_key_usage(), Some(&[ExtendedKeyUsage::ServerAuth][..]));
}

#[test]
fn one_key_vouches_for_another_and_only_the_holders_own_does() {
    let (ca_key, old, new) = (quick_key(), quick_key(), quick_key());
    let issuer = ca("ca", ca_key);
    let holder = issue(&server_template(), old.public_key(), &issuer, days(1), &serial()).unwrap();
    let shape = Template::bare(DistinguishedName::common_name("proof").unwrap());
    let proof = vouch(&holder, &old, &shape, new.public_key(), days(1), &serial()).unwrap();
    assert!(proof.signed_by(&holder).is_ok());
    assert!(new.matches(&proof) && !proof.is_ca());
    // The holder is no CA, so that this opens nothing.
    let roots = [issuer.certificate().clone()];
    assert!(verify_chain(&proof, std::slice::from_ref(&holder), &roots, now(), Usage::ClientAuth).is_err());
    let refused = vouch(&holder, &new, &shape, new.public_key(), days(1), &serial());
    assert!(matches!(refused, Err(IssueError::OtherKey { .. })));
}
