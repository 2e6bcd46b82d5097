//! Re-issue keeps all but serial, validity, key, key identifiers, issuer and signature. Judged by `x509-cert`, which
//! takes no part in issuing, on random shapes, and on certificates made by rcgen.

use der::asn1::{Any, ObjectIdentifier, SetOfVec};
use der::{Decode as _, Encode as _, Tag};
use kubecert_pki::{
    Certificate, Criticality, DistinguishedName, ExtendedKeyUsage, Extension, KeyUsage, SubjectAltName,
    Template, Usage, issue, next_ca_subject, verify_chain,
};
use proptest::prelude::*;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};

use crate::common::{ca, days, now, openssl, quick_key, serial};

const KEY_IDS: [&str; 2] = ["2.5.29.14", "2.5.29.35"];

/// CN, O, OU, C, ST, a private one.
const ATTRIBUTES: [&str; 6] =
    ["2.5.4.3", "2.5.4.10", "2.5.4.11", "2.5.4.6", "2.5.4.8", "1.3.6.1.4.1.99999.1"];

fn attribute() -> impl Strategy<Value = AttributeTypeAndValue> {
    let text = prop_oneof!["[a-z:.-]{1,12}", "\\PC{1,8}"];
    (0..ATTRIBUTES.len(), text, 0..4_usize).prop_map(|(oid, text, kind)| {
        let (tag, bytes) = match kind {
            0 if text.is_ascii() => (Tag::PrintableString, text.into_bytes()),
            1 if text.is_ascii() => (Tag::Ia5String, text.into_bytes()),
            2 => (Tag::BmpString, text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
            _ => (Tag::Utf8String, text.into_bytes()),
        };
        AttributeTypeAndValue {
            oid: ObjectIdentifier::new_unwrap(ATTRIBUTES[oid]),
            value: Any::new(tag, bytes).unwrap(),
        }
    })
}

/// Names with several `O=`, in one part or in several.
fn name() -> impl Strategy<Value = DistinguishedName> {
    let rdn = proptest::collection::vec(attribute(), 1..4).prop_map(|attributes| {
        let mut set = SetOfVec::new();
        for attribute in attributes {
            // A set holds no duplicates.
            let _ = set.insert(attribute);
        }
        RelativeDistinguishedName::from(set)
    });
    proptest::collection::vec(rdn, 1..6).prop_map(|rdns| {
        let mut sequence = RdnSequence::default();
        rdns.into_iter().for_each(|rdn| sequence.push(rdn));
        DistinguishedName::from_der(&Name::hazmat_from_rdn_sequence(sequence).to_der().unwrap()).unwrap()
    })
}

fn san() -> impl Strategy<Value = SubjectAltName> {
    prop_oneof![
        "[a-z]{1,10}(\\.[a-z]{1,10}){0,3}".prop_map(SubjectAltName::Dns),
        any::<std::net::IpAddr>().prop_map(SubjectAltName::Ip),
        "[a-z]{1,8}@[a-z]{1,8}".prop_map(SubjectAltName::Email),
        "spiffe://[a-z]{1,8}/[a-z]{1,8}".prop_map(SubjectAltName::Uri),
    ]
}

/// Private extensions, with stale key identifiers somewhere between them.
fn extensions() -> impl Strategy<Value = Vec<Extension>> {
    let own = (1..5_u32, any::<bool>(), proptest::collection::vec(any::<u8>(), 0..40));
    let key_ids = proptest::sample::subsequence(KEY_IDS.to_vec(), 0..=2);
    (proptest::collection::vec(own, 0..4), key_ids).prop_flat_map(|(own, key_ids)| {
        let own = own.into_iter().enumerate().map(|(at, (arc, critical, value))| {
            let criticality = if critical { Criticality::Critical } else { Criticality::Optional };
            Extension::new(&format!("1.3.6.1.4.1.99999.{arc}.{at}"), criticality, &value).unwrap()
        });
        let stale =
            key_ids.into_iter().map(|oid| Extension::new(oid, Criticality::Optional, &[4, 1, 7]).unwrap());
        Just(own.chain(stale).collect::<Vec<_>>()).prop_shuffle()
    })
}

fn template() -> impl Strategy<Value = Template> {
    let usages = proptest::sample::subsequence(KeyUsage::ALL.to_vec(), 0..=9);
    let purposes = proptest::sample::subsequence(
        vec![
            ExtendedKeyUsage::ClientAuth,
            ExtendedKeyUsage::Other("1.3.6.1.4.1.99999.9".into()),
            ExtendedKeyUsage::ServerAuth,
        ],
        0..=3,
    );
    let sans = proptest::collection::vec(san(), 0..8);
    (name(), usages, purposes.prop_shuffle(), sans, extensions()).prop_map(
        |(name, usages, purposes, sans, extensions)| {
            let builder = Template::builder(name).key_usage(usages).extended_key_usage(purposes).sans(sans);
            extensions
                .into_iter()
                .fold(builder, |builder, extension| builder.extension(extension))
                .build()
                .unwrap()
        },
    )
}

/// An extension as x509-cert reads it: object identifier, criticality, value.
type Read = (String, bool, Vec<u8>);

/// What x509-cert reads: subject, and the extensions with the key identifiers' values blanked.
fn shape(certificate: &Certificate) -> (Vec<u8>, Vec<Read>) {
    let parsed = x509_cert::Certificate::from_der(certificate.der()).unwrap();
    let tbs = parsed.tbs_certificate();
    let extensions = tbs.extensions().into_iter().flatten().map(|found| {
        let oid = found.extn_id.to_string();
        let value =
            if KEY_IDS.contains(&oid.as_str()) { Vec::new() } else { found.extn_value.as_bytes().to_vec() };
        (oid, found.critical, value)
    });
    (tbs.subject().to_der().unwrap(), extensions.collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn only_the_listed_fields_change(template in template()) {
        let (old_ca, new_ca) = (ca("ca", quick_key()), ca("ca-g2", quick_key()));
        let first = issue(&template, quick_key().public_key(), &old_ca, days(10), &serial()).unwrap();
        let second_key = quick_key();
        let again = Template::from_certificate(&first);
        let second = issue(&again, second_key.public_key(), &new_ca, days(20), &serial()).unwrap();

        // The first issue keeps everything of the template, in place, and only adds key identifiers where there were none.
        let (subject, extensions) = shape(&first);
        prop_assert_eq!(subject, template.subject().der());
        let wanted: Vec<_> = template.extensions().iter().map(Extension::oid).collect();
        let got: Vec<_> = extensions.iter().map(|found| found.0.clone()).collect();
        prop_assert_eq!(&got[..wanted.len()], &wanted[..]);
        for (old, new) in template.extensions().iter().zip(first.extensions()) {
            prop_assert!(KEY_IDS.contains(&old.oid().as_str()) || old == new);
        }

        // The second issue changes the listed fields and nothing else.
        prop_assert_eq!(shape(&first), shape(&second));
        prop_assert_eq!(first.sans(), second.sans());
        prop_assert_ne!(first.serial(), second.serial());
        prop_assert_eq!(second.public_key(), second_key.public_key());
        prop_assert_eq!(second.issuer(), new_ca.certificate().subject());
        prop_assert_eq!(second.aki(), new_ca.certificate().ski());
        prop_assert_eq!(second.ski(), Some(&second_key.public_key().derived_key_id()));
        prop_assert_eq!(second.signed_by(new_ca.certificate()), Ok(()));
        prop_assert_eq!(Certificate::from_pem(second.to_pem()).unwrap(), second);
    }

    #[test]
    fn the_next_ca_name_differs_in_one_common_name_only(name in name()) {
        let Ok(next) = next_ca_subject(&name) else { return Ok(()) };
        prop_assert_ne!(&next, &name);
        let parsed = |name: &DistinguishedName| Name::from_der(name.der()).unwrap();
        let (old, new) = (parsed(&name), parsed(&next));
        prop_assert_eq!(old.len(), new.len());
        let changed = old.iter_rdn().zip(new.iter_rdn()).filter(|(old, new)| old != new).count();
        prop_assert_eq!(changed, 1);
    }

    #[test]
    fn noise_is_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Certificate::from_der(&bytes);
        let _ = kubecert_pki::Csr::from_der(&bytes);
        let _ = kubecert_pki::parse_pem_certificates(&bytes);
        let _ = kubecert_pki::PrivateKey::from_pem(&String::from_utf8_lossy(&bytes));
        let _ = DistinguishedName::from_der(&bytes).map(|name| (name.to_string(), next_ca_subject(&name)));
    }

    #[test]
    fn a_damaged_certificate_never_panics(at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        static GOOD: std::sync::LazyLock<Certificate> =
            std::sync::LazyLock::new(|| ca("ca", quick_key()).certificate().clone());
        let mut der = GOOD.der().to_vec();
        let at = at.index(der.len());
        der[at] = byte;
        if let Ok(read) = Certificate::from_der(&der) {
            let _ = (read.is_self_signed(), read.to_pem(), read.subject().to_string(), next_ca_subject(read.subject()));
            let _ = verify_chain(&read, &[], std::slice::from_ref(&GOOD), now(), Usage::ServerAuth);
        }
    }
}

#[test]
fn certificates_of_rcgen_are_reissued() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params =
        rcgen::CertificateParams::new(vec!["a.example".to_owned(), "10.0.0.1".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:masters");
    params.distinguished_name.push(rcgen::DnType::CommonName, "client");
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature, rcgen::KeyUsagePurpose::KeyAgreement];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    params
        .custom_extensions
        .push(rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]));
    let old = Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap();
    let issuer = ca("ca", quick_key());
    let new = issue(&Template::from_certificate(&old), quick_key().public_key(), &issuer, days(1), &serial())
        .unwrap();
    let others = |certificate| {
        let (subject, mut extensions) = shape(certificate);
        extensions.retain(|found| !KEY_IDS.contains(&found.0.as_str()));
        (subject, extensions)
    };
    assert_eq!(others(&old), others(&new));
    verify_chain(&new, &[], &[issuer.certificate().clone()], now(), Usage::ClientAuth).unwrap();
}

#[test]
fn two_organisations_of_a_go_client_survive() {
    // Go writes both into one multi-valued part, which rcgen cannot read. openssl shows its members backwards.
    let name: Name = "CN=client,O=ops+O=system:masters".parse().unwrap();
    let name = DistinguishedName::from_der(&name.to_der().unwrap()).unwrap();
    let template =
        Template::builder(name).extended_key_usage([ExtendedKeyUsage::ClientAuth]).build().unwrap();
    let first =
        issue(&template, quick_key().public_key(), &ca("ca", quick_key()), days(1), &serial()).unwrap();
    let again = Template::from_certificate(&first);
    let second =
        issue(&again, quick_key().public_key(), &ca("ca-g2", quick_key()), days(1), &serial()).unwrap();
    assert_eq!(second.subject().organizations(), ["ops", "system:masters"]);
    let Some(text) = openssl(&["x509", "-noout", "-subject", "-nameopt", "RFC2253"], second.to_pem()) else {
        return;
    };
    assert_eq!(text.trim(), "subject=CN=client,O=system:masters+O=ops");
}
