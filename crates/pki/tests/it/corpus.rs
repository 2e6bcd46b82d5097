//! Every certificate of every model of the corpus, where there is one: made by AKS engine itself.

use std::path::{Path, PathBuf};

use kubecert_pki::{
    Certificate, Issuer, KeyEncoding, PrivateKey, Template, Usage, cross_sign, issue, next_ca_subject,
    self_signed_ca, verify_chain,
};
use serde_json::Value;

use crate::common::{days, now, quick_key, serial};

/// From the profile's key names: certificate, private key, what for.
const LEAVES: [(&str, &str, Usage); 5] = [
    ("apiServerCertificate", "apiServerPrivateKey", Usage::ServerAuth),
    ("clientCertificate", "clientPrivateKey", Usage::ClientAuth),
    ("kubeConfigCertificate", "kubeConfigPrivateKey", Usage::ClientAuth),
    ("etcdServerCertificate", "etcdServerPrivateKey", Usage::ServerAuth),
    ("etcdClientCertificate", "etcdClientPrivateKey", Usage::ClientAuth),
];

#[test]
fn every_certificate_of_the_corpus_is_reissued_in_its_shape() {
    let Some(models) = models() else { return };
    let mut reissued = 0;
    for model in &models {
        let json: Value = serde_json::from_str(&std::fs::read_to_string(model).unwrap()).unwrap();
        let profile = &json["properties"]["certificateProfile"];
        let what = model.display().to_string();
        reissued += check_profile(profile, &what);
    }
    assert!(reissued >= models.len() * 6);
    println!("{reissued} leaves of {} models re-issued", models.len());
}

fn check_profile(profile: &Value, what: &str) -> usize {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{what}: not a string")).to_owned();
    let old = Certificate::from_pem(text(&profile["caCertificate"])).unwrap();
    let old = Issuer::new(old, read_key(&text(&profile["caPrivateKey"]), what)).unwrap();
    let subject = next_ca_subject(old.certificate().subject()).unwrap();
    let key = quick_key();
    let shape = Template::from_certificate(old.certificate()).with_subject(subject);
    let new = self_signed_ca(&shape, &key, days(3650), &serial()).unwrap();
    assert_same_shape(old.certificate(), &new, what);
    let new = Issuer::new(new, key).unwrap();
    let cross = cross_sign(new.certificate(), &old, days(3650), &serial()).unwrap();

    let mut leaves: Vec<_> = LEAVES
        .iter()
        .map(|(certificate, key, usage)| (text(&profile[*certificate]), text(&profile[*key]), *usage))
        .collect();
    let peers = profile["etcdPeerCertificates"].as_array().unwrap().iter();
    let peer_keys = profile["etcdPeerPrivateKeys"].as_array().unwrap().iter();
    leaves.extend(peers.zip(peer_keys).map(|(peer, key)| (text(peer), text(key), Usage::ServerAuth)));

    for (certificate, key, usage) in &leaves {
        let leaf = Certificate::from_pem(certificate).unwrap();
        assert!(read_key(key, what).matches(&leaf), "{what}: {leaf:?}");
        let (o, n) = (old.certificate().clone(), new.certificate().clone());
        verify_chain(&leaf, &[], std::slice::from_ref(&o), now(), *usage).unwrap();
        // The old key will do: what is compared is the shape.
        let renewed =
            issue(&Template::from_certificate(&leaf), leaf.public_key(), &new, days(365), &serial()).unwrap();
        assert_eq!(renewed.subject(), leaf.subject(), "{what}");
        assert_eq!(renewed.sans(), leaf.sans(), "{what}");
        assert_eq!(renewed.key_algorithm(), leaf.key_algorithm(), "{what}");
        assert_same_shape(&leaf, &renewed, what);
        verify_chain(&renewed, &[], &[n], now(), *usage).unwrap();
        verify_chain(&renewed, std::slice::from_ref(&cross), &[o], now(), *usage).unwrap();
    }
    leaves.len()
}

fn assert_same_shape(old: &Certificate, new: &Certificate, what: &str) {
    assert_eq!(old.is_ca(), new.is_ca(), "{what}");
    assert_eq!(old.key_usage(), new.key_usage(), "{what}");
    assert_eq!(old.extended_key_usage(), new.extended_key_usage(), "{what}");
    let others = |certificate: &Certificate| -> Vec<_> {
        let ids = ["2.5.29.14", "2.5.29.35"];
        certificate
            .extensions()
            .iter()
            .filter(|found| !ids.contains(&found.oid().as_str()))
            .cloned()
            .collect()
    };
    assert_eq!(others(old), others(new), "{what}");
}

/// Reads a key and wants to write the same PKCS#1 bytes that the ancestor wrote.
fn read_key(pem: &str, what: &str) -> PrivateKey {
    let key = PrivateKey::from_pem(pem).unwrap();
    assert_eq!(key.to_pem(KeyEncoding::Pkcs1OrSec1).unwrap().expose().trim(), pem.trim(), "{what}");
    key
}

/// Where the models are: `KUBECERT_CORPUS`, else `../shared/corpus` beside the workspace.
fn models() -> Option<Vec<PathBuf>> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let corpus = std::env::var_os("KUBECERT_CORPUS").map_or(beside, PathBuf::from);
    let Ok(entries) = std::fs::read_dir(corpus.join("apimodels")) else {
        println!("SKIPPED: no corpus at {}", corpus.display());
        return None;
    };
    let mut models: Vec<_> = entries.map(|entry| entry.unwrap().path().join("apimodel.json")).collect();
    models.sort();
    Some(models)
}
