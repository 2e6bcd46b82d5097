//! New PKIs, judged by the ones that the ancestor made.

use std::sync::LazyLock;
use std::thread;

use kubecert_cloud::apimodel::{
    ApiModel, CertificateProfile, CrossCertificate, Entry, GeneratedPki, Term, new_certificate_profile,
    write_artifacts,
};
use kubecert_pki::{Certificate, KeyAlgorithm, PrivateKey, Usage, ca_generation, verify_chain};
use secrecy::ExposeSecret;

use crate::support::{Case, cases, certificate};

/// One key for CAs and one for leaves, made once: fresh ones for all models would take minutes.
static KEYS: LazyLock<[PrivateKey; 2]> = LazyLock::new(|| {
    let make = || PrivateKey::generate(KeyAlgorithm::Rsa4096).unwrap();
    thread::scope(|scope| [scope.spawn(make), scope.spawn(make)].map(|handle| handle.join().unwrap()))
});

/// A new PKI for `model`, with keys of the pool.
fn generate(model: &ApiModel, case: &Case) -> GeneratedPki {
    let keys = |entry: Entry, algorithm: KeyAlgorithm| {
        assert_eq!(algorithm, KeyAlgorithm::Rsa4096, "{entry} of {}", case.name);
        Ok(KEYS[usize::from(entry != Entry::Ca)].clone())
    };
    new_certificate_profile(model, Term::of_the_ancestor(case.now()), &keys).unwrap()
}

/// Asserts that `new` is what the ancestor would have made.
fn assert_agree(new: &Certificate, old: &Certificate, what: &str) {
    assert_eq!(new.sans(), old.sans(), "names of {what}");
    assert_eq!(new.key_usage(), old.key_usage(), "key usage of {what}");
    assert_eq!(new.extended_key_usage(), old.extended_key_usage(), "extended key usage of {what}");
    assert_eq!(new.key_algorithm(), old.key_algorithm(), "key of {what}");
    assert_eq!((new.is_ca(), new.path_len()), (old.is_ca(), old.path_len()), "basic constraints of {what}");
    let critical = |certificate: &Certificate| {
        let extensions = certificate.extensions().iter().filter(|extension| extension.is_critical());
        extensions.map(|extension| extension.oid()).collect::<Vec<_>>()
    };
    assert_eq!(critical(new), critical(old), "critical extensions of {what}");
    let days = |certificate: &Certificate| {
        certificate.not_after().duration_since(certificate.not_before()).as_hours() / 24
    };
    assert_eq!(days(new), days(old), "lifetime of {what}");
}

fn assert_profile_agrees(new: &CertificateProfile, case: &Case) {
    for entry in case.entries() {
        let what = format!("{entry} of {}", case.name);
        let (new, old) = (certificate(new, entry), case.certificate(entry));
        assert_agree(&new, &old, &what);
        assert_ne!(new.serial(), old.serial(), "serial of {what}");
        // As text here: by the rules a name is UTF-8, where the ancestor's is a PrintableString.
        if entry != Entry::Ca {
            assert_eq!(new.subject().to_string(), old.subject().to_string(), "subject of {what}");
        }
    }
    assert_eq!(new.etcd_peers(), case.profile().etcd_peers());
}

#[test]
fn new_certificates_agree_with_the_present_ones() {
    for case in cases() {
        let generated = generate(&case.model, &case);
        assert_profile_agrees(&generated.profile, &case);
        for entry in case.entries().filter(|entry| *entry != Entry::Ca) {
            let subject = certificate(&generated.profile, entry).subject().clone();
            assert_eq!(&subject, case.certificate(entry).subject(), "{entry} of {}, to the byte", case.name);
        }
        let (new, old) = (generated.issuer.certificate(), case.certificate(Entry::Ca));
        assert_eq!(ca_generation(new.subject()), ca_generation(old.subject()) + 1, "{}", case.name);
        let verdict = generated.profile.validate(&case.model, case.now());
        assert!(verdict.is_ok(), "{}: {}", case.name, verdict.unwrap_err());
    }
}

#[test]
fn certificates_by_rule_agree_with_the_ancestors_too() {
    for case in cases() {
        let text = case.model.rewrite_certificate_profile(&CertificateProfile::default());
        let generated = generate(&ApiModel::parse(&text).unwrap(), &case);
        assert_profile_agrees(&generated.profile, &case);
        let (new, old) = (generated.issuer.certificate(), case.certificate(Entry::Ca));
        assert_eq!(new.subject().to_string(), old.subject().to_string(), "{}", case.name);
        assert!(matches!(generated.cross, CrossCertificate::Impossible { .. }), "{}", case.name);
    }
}

#[test]
fn both_trusts_accept_new_leaves_by_way_of_the_cross_certificate() {
    for case in cases() {
        let generated = generate(&case.model, &case);
        let CrossCertificate::Signed(cross) = generated.cross else {
            panic!("no cross certificate for {}", case.name)
        };
        let leaf = certificate(&generated.profile, Entry::ApiServer);
        for root in [case.certificate(Entry::Ca), generated.issuer.certificate().clone()] {
            verify_chain(&leaf, std::slice::from_ref(&*cross), &[root], case.now(), Usage::ServerAuth)
                .unwrap();
        }
        verify_chain(&leaf, &[], &[case.certificate(Entry::Ca)], case.now(), Usage::ServerAuth).unwrap_err();
    }
}

#[test]
fn the_files_are_those_of_the_model() {
    for case in cases() {
        let directory = tempfile::tempdir().unwrap();
        let generated = generate(&case.model, &case);
        write_artifacts(directory.path(), &case.model, &generated.profile).unwrap();
        let written = std::fs::read(directory.path().join("apimodel.json")).unwrap();
        let back = ApiModel::parse(&written).unwrap();
        assert!(back.certificate_profile() == Some(&generated.profile), "{}", case.name);
        assert!(back.rewrite_certificate_profile(case.profile()) == case.bytes, "{}", case.name);
        for entry in case.entries() {
            let key =
                std::fs::read_to_string(directory.path().join(format!("{}.key", entry.file_base()))).unwrap();
            assert!(key.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"), "{entry} of {}", case.name);
            assert_eq!(key, generated.profile.private_key(entry).unwrap().expose_secret());
        }
    }
}

#[test]
fn a_profile_without_the_cas_key_is_readable_and_has_no_cross_certificate() {
    for case in cases().into_iter().take(1) {
        let ca = case.profile().certificate(Entry::Ca).unwrap().to_owned();
        let profile = case.profile().clone().with(Entry::Ca, ca, "".into());
        let model = ApiModel::parse(&case.model.rewrite_certificate_profile(&profile)).unwrap();
        assert_eq!(model.unsupported(), []);
        let CrossCertificate::Impossible { why } = generate(&model, &case).cross else {
            panic!("signed without a key")
        };
        assert!(why.contains("no private key"), "{why}");
    }
}

#[test]
fn present_certificates_that_do_not_parse_are_named() {
    for case in cases().into_iter().take(1) {
        let profile = case.profile().clone().with(Entry::EtcdServer, "-----BEGIN".to_owned(), "x".into());
        let model = ApiModel::parse(&case.model.rewrite_certificate_profile(&profile)).unwrap();
        let keys =
            |_: Entry, _: KeyAlgorithm| -> Result<PrivateKey, _> { unreachable!("nothing is made before") };
        let error = new_certificate_profile(&model, Term::of_the_ancestor(case.now()), &keys).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(
            source.contains("etcdServerCertificate") && source.contains("etcdServerPrivateKey"),
            "{source}"
        );
    }
}
