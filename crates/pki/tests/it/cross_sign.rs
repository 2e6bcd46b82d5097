//! Who accepts what while two generations of a CA are about.

use kubecert_pki::{
    Certificate, ChainError, DistinguishedName, IssueError, Issuer, KeyAlgorithm, KeyEncoding, PrivateKey,
    Template, Usage, cross_sign, issue, next_ca_subject, same_key_reissue_ca, self_signed_ca, verify_chain,
};

use crate::common::{
    Case, ca, days, go_verify, key, now, openssl, openssl_verify, quick_key, serial, server_template,
};

/// The rotation from a root on RSA-2048, as old clusters have it, to a root of each kind, all leaves being of that kind.
fn matrix() -> Vec<Case> {
    let old = ca("ca", key(KeyAlgorithm::Rsa2048, 0));
    KeyAlgorithm::ALL.into_iter().flat_map(|algorithm| cases(&old, algorithm)).collect()
}

fn cases(old: &Issuer, algorithm: KeyAlgorithm) -> Vec<Case> {
    let subject = next_ca_subject(old.certificate().subject()).unwrap();
    let template = Template::from_certificate(old.certificate()).with_subject(subject);
    let root_key = key(algorithm, 1);
    let new = self_signed_ca(&template, &root_key, days(3650), &serial()).unwrap();
    let new = Issuer::new(new, root_key).unwrap();
    let cross = cross_sign(new.certificate(), old, days(3650), &serial()).unwrap();

    let leaf_key = key(algorithm, 2);
    let old_leaf = issue(&server_template(), leaf_key.public_key(), old, days(365), &serial()).unwrap();
    let shape = Template::from_certificate(&old_leaf);
    let new_leaf = issue(&shape, leaf_key.public_key(), &new, days(365), &serial()).unwrap();

    let (o, n) = (old.certificate().clone(), new.certificate().clone());
    let case =
        |what: &str, leaf: &Certificate, intermediates: &[&Certificate], roots: &[&Certificate], accepted| {
            Case {
                what: format!("{algorithm}: {what}"),
                leaf: leaf.clone(),
                intermediates: intermediates.iter().copied().cloned().collect(),
                roots: roots.iter().copied().cloned().collect(),
                usage: Usage::ServerAuth,
                accepted,
            }
        };
    vec![
        case("new leaf with cross, trust old", &new_leaf, &[&cross], &[&o], true),
        case("new leaf with cross, trust new", &new_leaf, &[&cross], &[&n], true),
        case("new leaf with cross, trust old then new", &new_leaf, &[&cross], &[&o, &n], true),
        case("new leaf with cross, trust new then old", &new_leaf, &[&cross], &[&n, &o], true),
        case("bare new leaf, trust new", &new_leaf, &[], &[&n], true),
        case("bare new leaf, trust old then new", &new_leaf, &[], &[&o, &n], true),
        case("bare new leaf, trust new then old", &new_leaf, &[], &[&n, &o], true),
        case("bare new leaf, trust old", &new_leaf, &[], &[&o], false),
        case("old leaf, trust old", &old_leaf, &[], &[&o], true),
        case("old leaf, trust new then old", &old_leaf, &[], &[&n, &o], true),
        case("old leaf, trust new", &old_leaf, &[], &[&n], false),
        case("old leaf with cross, trust new", &old_leaf, &[&cross], &[&n], false),
    ]
}

#[test]
fn all_judges_agree_on_the_matrix() {
    ask_all(&matrix());
}

#[test]
fn all_judges_agree_where_the_old_root_has_no_key_identifier() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (config, key_file, request) = (path("config"), path("key"), path("request"));
    // By `openssl ca`, the only command that all versions can tell when a certificate begins: the tests take place at a fixed
    // time, and a root that began at the time of this machine would not have begun then.
    let text = format!(
        "[req]\ndistinguished_name = dn\n[dn]\n[v3]\n\
         basicConstraints = critical,CA:TRUE\nkeyUsage = critical,digitalSignature,keyEncipherment,keyCertSign\n\
         subjectKeyIdentifier = none\nauthorityKeyIdentifier = none\n\
         [ca]\ndefault_ca = own\n[own]\ndatabase = {}\nnew_certs_dir = {}\npolicy = any\ndefault_md = sha256\n\
         rand_serial = yes\nunique_subject = no\n[any]\ncommonName = supplied\n",
        path("index"),
        directory.path().display()
    );
    std::fs::write(&config, text).unwrap();
    std::fs::write(path("index"), "").unwrap();
    let old_key = key(KeyAlgorithm::Rsa2048, 0);
    std::fs::write(&key_file, old_key.to_pem(KeyEncoding::Pkcs8).unwrap().expose()).unwrap();
    let asked = ["req", "-new", "-config", &config, "-key", &key_file, "-subj", "/CN=ca", "-out", &request];
    let Some(_) = openssl(&asked, "") else { return };
    // Without extensions it is older still: a root of version 1.
    for extra in [&["-extensions", "v3"][..], &[]] {
        let args = [
            "ca",
            "-batch",
            "-selfsign",
            "-notext",
            "-config",
            &config,
            "-keyfile",
            &key_file,
            "-in",
            &request,
        ];
        let begins = ["-startdate", "20261101000000Z", "-enddate", "20361101000000Z"];
        let pem = openssl(&[&args[..], &begins, extra].concat(), "").unwrap();
        let old = Certificate::from_pem(pem).unwrap();
        if old.ski().is_some() {
            println!("SKIPPED: this openssl writes a key identifier into every root");
            continue;
        }
        ask_all(&cases(&Issuer::new(old, old_key.clone()).unwrap(), KeyAlgorithm::Rsa2048));
    }
}

fn ask_all(cases: &[Case]) {
    let go = go_verify(cases);
    let mut asked_openssl = 0;
    for (at, case) in cases.iter().enumerate() {
        let ours = verify_chain(&case.leaf, &case.intermediates, &case.roots, now(), case.usage);
        assert_eq!(ours.is_ok(), case.accepted, "webpki, {}: {ours:?}", case.what);
        if let Some(verdict) = openssl_verify(case) {
            assert_eq!(verdict.is_ok(), case.accepted, "openssl, {}: {verdict:?}", case.what);
            asked_openssl += 1;
        }
        if let Some(go) = &go {
            assert_eq!(go[at].is_empty(), case.accepted, "Go, {}: {}", case.what, go[at]);
        }
    }
    println!(
        "{} cases by webpki, {asked_openssl} by openssl, {} by Go",
        cases.len(),
        go.map_or(0, |go| go.len())
    );
}

#[test]
fn the_cross_certificate_has_the_new_key_and_the_old_issuer() {
    let (old, new) = (ca("ca", quick_key()), ca("ca-g2", quick_key()));
    let cross = cross_sign(new.certificate(), &old, days(7300), &serial()).unwrap();
    assert!(cross.is_ca());
    assert_eq!(cross.public_key(), new.certificate().public_key());
    assert_eq!(cross.subject(), new.certificate().subject());
    assert_eq!(cross.issuer(), old.certificate().subject());
    assert_eq!(cross.ski(), new.certificate().ski());
    assert_eq!(cross.aki(), old.certificate().ski());
    assert_eq!(cross.not_after(), old.certificate().not_after(), "no longer than the old CA");
    assert_eq!(cross.signed_by(old.certificate()), Ok(()));
    assert!(!cross.is_self_signed());
}

#[test]
fn cross_signing_refuses_what_cannot_work() {
    let old = ca("ca", quick_key());
    let same_name = ca("ca", quick_key());
    let refused = cross_sign(same_name.certificate(), &old, days(1), &serial());
    assert_eq!(refused, Err(IssueError::SameSubject { subject: "CN=ca".into() }));

    let leaf = issue(&server_template(), quick_key().public_key(), &old, days(1), &serial()).unwrap();
    assert!(matches!(cross_sign(&leaf, &old, days(1), &serial()), Err(IssueError::NotACa { .. })));

    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    let root = Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap();
    let root = Issuer::new(root, PrivateKey::from_pem(&key.serialize_pem()).unwrap()).unwrap();
    assert!(matches!(
        cross_sign(old.certificate(), &root, days(1), &serial()),
        Err(IssueError::PathLength { .. })
    ));
}

#[test]
fn extending_a_ca_keeps_its_leaves() {
    let old = ca("ca", key(KeyAlgorithm::Rsa2048, 0));
    let leaf = issue(&server_template(), quick_key().public_key(), &old, days(365), &serial()).unwrap();
    let extended = same_key_reissue_ca(&old, days(20 * 365), &serial()).unwrap();
    assert_eq!(extended.subject(), old.certificate().subject());
    assert_eq!(extended.ski(), old.certificate().ski());
    assert!(extended.not_after() > old.certificate().not_after());
    let accepted = |roots: &[&Certificate]| {
        let case = Case {
            what: "extended CA".into(),
            leaf: leaf.clone(),
            intermediates: Vec::new(),
            roots: roots.iter().copied().cloned().collect(),
            usage: Usage::ServerAuth,
            accepted: true,
        };
        assert!(verify_chain(&case.leaf, &[], &case.roots, now(), case.usage).is_ok());
        assert!(openssl_verify(&case).is_none_or(|verdict| verdict.is_ok()));
        assert!(go_verify(&[case]).is_none_or(|verdicts| verdicts == [""]));
    };
    accepted(&[&extended]);
    accepted(&[old.certificate(), &extended]);
    accepted(&[&extended, old.certificate()]);
}

#[test]
fn a_root_that_has_ended_does_not_carry() {
    let key = quick_key();
    let template = Template::ca(DistinguishedName::common_name("ca").unwrap()).unwrap();
    let short = self_signed_ca(&template, &key, days(1), &serial()).unwrap();
    let long = self_signed_ca(&template, &key, days(100), &serial()).unwrap();
    let issuer = Issuer::new(long.clone(), key).unwrap();
    let leaf = issue(&server_template(), quick_key().public_key(), &issuer, days(50), &serial()).unwrap();
    let later = now() + jiff::SignedDuration::from_hours(48);
    let judge = |roots: &[Certificate], at| verify_chain(&leaf, &[], roots, at, Usage::ServerAuth);
    assert!(judge(std::slice::from_ref(&short), now()).is_ok());
    assert!(matches!(judge(std::slice::from_ref(&short), later), Err(ChainError::DeadRoot { .. })));
    assert!(judge(&[short, long], later).is_ok());
}
