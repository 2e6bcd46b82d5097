//! Each thing that can be wrong with a profile, one at a time.

use kubecert_pki::{
    DistinguishedName, ExtendedKeyUsage, KeyAlgorithm, KeyEncoding, Serial, SubjectAltName, Template,
    Validity, issue,
};

use super::*;
use crate::apimodel::model::tests::model;
use crate::apimodel::testing::{now, pki};

/// A profile that is fit for [`model`], with its CA.
fn good() -> (CertificateProfile, Issuer) {
    let generated = pki(&model(""));
    (generated.profile, generated.issuer)
}

/// The complaints about `profile`, or none.
fn problems(profile: &CertificateProfile) -> Vec<String> {
    let verdict = profile.validate(&model(""), now());
    verdict.err().map(|error| error.problems.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

/// `profile` with a certificate of this shape for `entry`, signed by `issuer`.
fn reissued(
    profile: CertificateProfile,
    entry: Entry,
    shape: &Template,
    issuer: &Issuer,
) -> CertificateProfile {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let certificate = issue(shape, key.public_key(), issuer, decade(), &Serial::random().unwrap()).unwrap();
    profile.with(entry, certificate.to_pem(), pem(&key).into())
}

fn decade() -> Validity {
    Validity::back_dated(now(), jiff::SignedDuration::from_hours(10 * 8760)).unwrap()
}

fn pem(key: &PrivateKey) -> String {
    key.to_pem(KeyEncoding::Pkcs8).unwrap().expose().to_owned()
}

fn certificate(profile: &CertificateProfile, entry: Entry) -> Certificate {
    Certificate::from_pem(profile.certificate(entry).unwrap()).unwrap()
}

fn shape(profile: &CertificateProfile, entry: Entry) -> Template {
    Template::from_certificate(&certificate(profile, entry))
}

#[test]
fn what_generate_makes_is_fit() {
    let (profile, issuer) = good();
    let checked = profile.validate(&model(""), now()).unwrap();
    assert_eq!(checked.issuer().certificate(), issuer.certificate());
    let leaves: Vec<_> = checked.leaves().map(|(entry, _, _)| entry.file_base()).collect();
    assert_eq!(
        leaves.join(" "),
        "apiserver client kubectlClient etcdserver etcdclient etcdpeer0 etcdpeer1 etcdpeer2"
    );
}

#[test]
fn members_must_be_there_and_be_pem() {
    let (profile, _) = good();
    let vault = "/subscriptions/0/resourceGroups/g/providers/Microsoft.KeyVault/vaults/v/secrets/ca";
    let ca = || profile.certificate(Entry::Ca).unwrap().to_owned();
    let cases = [
        (profile.clone().with(Entry::Client, String::new(), "x".into()), "no clientCertificate;"),
        (profile.clone().with(Entry::Ca, ca(), "".into()), "no caPrivateKey;"),
        (profile.clone().with(Entry::EtcdPeer(1), String::new(), "".into()), "for 1 of 3 masters"),
        (profile.clone().with(Entry::Ca, ca(), vault.into()), "caPrivateKey is a reference into a Key Vault"),
        (
            profile.clone().with(Entry::Ca, ca(), "x".into()),
            "caPrivateKey cannot be read as a PEM private key",
        ),
        (
            profile.clone().with(Entry::Client, "x".to_owned(), "x".into()),
            "clientCertificate cannot be read as a PEM",
        ),
        (
            profile.clone().with(Entry::Client, ca(), profile.private_key(Entry::Client).unwrap().clone()),
            "clientPrivateKey is not the key of clientCertificate",
        ),
    ];
    for (profile, expected) in cases {
        let found = problems(&profile);
        assert!(found.iter().any(|problem| problem.contains(expected)), "{expected}: {found:#?}");
    }
    assert_eq!(problems(&CertificateProfile::default()).len(), 13, "all at once");
}

#[test]
fn the_ca_must_be_one_and_the_one() {
    let (profile, _) = good();
    let (_, stranger) = good();
    let shape_of = |entry| shape(&profile, entry);
    let strange = reissued(profile.clone(), Entry::EtcdClient, &shape_of(Entry::EtcdClient), &stranger);
    assert_eq!(
        problems(&strange),
        ["etcdClientCertificate was not signed by caCertificate; issue it anew with that CA"]
    );

    let strange_ca =
        profile.clone().with(Entry::Ca, stranger.certificate().to_pem(), pem(stranger.key()).into());
    assert_eq!(problems(&strange_ca).len(), 8, "every leaf");

    let two = [profile.certificate(Entry::Ca).unwrap(), &stranger.certificate().to_pem()].concat();
    let two = profile.clone().with(Entry::Ca, two, profile.private_key(Entry::Ca).unwrap().clone());
    assert_eq!(problems(&two), ["caCertificate holds 2 certificates; give the one that signed the others"]);

    let leaf = shape_of(Entry::Client);
    let no_ca = reissued(profile.clone(), Entry::Ca, &leaf, &stranger);
    assert!(
        problems(&no_ca).iter().any(|problem| problem.contains("caCertificate cannot be this cluster's CA"))
    );
}

#[test]
fn the_time_must_be_right() {
    let (profile, _) = good();
    let at = |time: &str| {
        let verdict = profile.validate(&model(""), time.parse().unwrap());
        verdict.unwrap_err().problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let late = at("2070-01-01T00:00:00Z");
    assert_eq!(late.len(), 9);
    assert!(late[0].starts_with("caCertificate ended at 2056-11-13T12:00:00Z, and it is 2070"), "{late:#?}");
    let early = at("2020-01-01T00:00:00Z");
    assert!(early[8].starts_with("etcdPeerCertificates[2] begins at 2026-11-21T11:00:00Z"), "{early:#?}");
}

#[test]
fn names_and_addresses_must_be_there() {
    let (profile, issuer) = good();
    let with_sans = |entry: Entry, keep: fn(&SubjectAltName) -> bool| {
        let sans: Vec<_> =
            certificate(&profile, entry).sans().iter().filter(|san| keep(san)).cloned().collect();
        problems(&reissued(profile.clone(), entry, &shape(&profile, entry).with_sans(sans).unwrap(), &issuer))
    };
    assert_eq!(
        with_sans(Entry::ApiServer, |san| matches!(san, SubjectAltName::Ip(_))),
        [
            "apiServerCertificate lacks the DNS name synthazs.local.cloudapp.azurestack.external; issue it anew with that name",
            "apiServerCertificate lacks the DNS name kubernetes.default.svc; issue it anew with that name",
        ]
    );
    let addresses = with_sans(Entry::ApiServer, |san| matches!(san, SubjectAltName::Dns(_)));
    let expected =
        ["10.240.255.5 (a m", "10.240.255.6", "10.240.255.7", "10.0.0.1 (the s", "10.240.255.15 (the i"];
    assert_eq!(addresses.len(), expected.len());
    assert!(addresses.iter().zip(expected).all(|(found, part)| found.contains(part)), "{addresses:#?}");
    assert_eq!(with_sans(Entry::EtcdServer, |san| !san.to_string().contains("127.0.0.1")).len(), 1);
    assert_eq!(with_sans(Entry::EtcdPeer(1), |san| !san.to_string().ends_with("255.6")).len(), 1);
    assert_eq!(with_sans(Entry::EtcdPeer(1), |san| san.to_string().ends_with("255.6")).len(), 0);
}

#[test]
fn purposes_and_groups_must_be_there() {
    let (profile, issuer) = good();
    let user =
        |name: DistinguishedName| Template::builder(name).extended_key_usage([ExtendedKeyUsage::ClientAuth]);
    let plain = user(DistinguishedName::user("client", &["system:nodes"]).unwrap()).build().unwrap();
    let found = problems(&reissued(profile.clone(), Entry::Client, &plain, &issuer));
    assert!(found[0].starts_with("clientCertificate is not of O=system:masters"), "{found:#?}");

    let several = user(DistinguishedName::user("client", &["a", "system:masters"]).unwrap()).build().unwrap();
    assert!(problems(&reissued(profile.clone(), Entry::Client, &several, &issuer)).is_empty());

    let client = shape(&profile, Entry::Client);
    let found = problems(&reissued(profile.clone(), Entry::EtcdClient, &client, &issuer));
    assert!(found.is_empty(), "etcd's client is a client only: {found:#?}");
    let sans = certificate(&profile, Entry::EtcdServer).sans().to_vec();
    let found =
        problems(&reissued(profile.clone(), Entry::EtcdServer, &client.with_sans(sans).unwrap(), &issuer));
    assert_eq!(
        found,
        ["etcdServerCertificate lacks the extended key usage serverAuth; issue it anew with that"]
    );
}

#[test]
fn a_leaf_may_bring_its_intermediate() {
    let (profile, issuer) = good();
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let template = Template::ca(DistinguishedName::common_name("middle").unwrap()).unwrap();
    let middle = issue(&template, key.public_key(), &issuer, decade(), &Serial::random().unwrap()).unwrap();
    let middle = Issuer::new(middle, key).unwrap();
    let below = reissued(profile.clone(), Entry::Client, &shape(&profile, Entry::Client), &middle);
    assert_eq!(problems(&below).len(), 1);
    let chain = [below.certificate(Entry::Client).unwrap(), &middle.certificate().to_pem()].concat();
    let key = below.private_key(Entry::Client).unwrap().clone();
    assert!(problems(&below.with(Entry::Client, chain, key)).is_empty());
}

#[test]
fn the_text_of_the_error_lists_everything_with_its_cause() {
    let (profile, _) = good();
    let broken = profile.with(Entry::Client, "x".to_owned(), "x".into());
    let text = broken.validate(&model(""), now()).unwrap_err().to_string();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.contains("clientPrivateKey cannot be read as a PEM private key"), "{text}");
}
