use jiff::SignedDuration;
use kubecert_pki::{
    DistinguishedName, KeyAlgorithm, Serial, Template, Validity, issue, self_signed_ca, to_pem_chain,
};

use super::*;

const DOMAINS: [(Purpose, TrustDomain); 3] = [
    (Purpose::ClusterCa, TrustDomain::Cluster),
    (Purpose::EtcdCa, TrustDomain::Etcd),
    (Purpose::FrontProxyCa, TrustDomain::FrontProxy),
];

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn year() -> Validity {
    Validity::back_dated(now(), SignedDuration::from_hours(365 * 24)).unwrap()
}

fn key() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()
}

fn ca(name: &str) -> Issuer {
    let (key, shape) = (key(), Template::ca(DistinguishedName::common_name(name).unwrap()).unwrap());
    let validity = Validity::back_dated(now(), SignedDuration::from_hours(87_600)).unwrap();
    Issuer::new(self_signed_ca(&shape, &key, validity, &Serial::random().unwrap()).unwrap(), key).unwrap()
}

fn client(user: &str, ca: &Issuer) -> (Certificate, PrivateKey) {
    let (key, shape) = (key(), Template::admin(user, "system:masters").unwrap());
    (issue(&shape, key.public_key(), ca, year(), &Serial::random().unwrap()).unwrap(), key)
}

/// A whole PKI whose CAs have this generation in their names.
fn pki(generation: &str) -> PkiSet {
    let mut set = PkiSet::default();
    for (purpose, domain) in DOMAINS {
        let ca = ca(&purpose.secret(generation));
        set.authorities.insert(domain, ca.certificate().clone());
        set.authority_keys.insert(domain, ca.key().clone());
    }
    set.leaf_keys.insert(layout::service_account(), key());
    let (leaf, key) = client("kubernetes-admin", &issuer(&set).unwrap());
    set.leaves.insert(LeafId::from("kubectlClient"), leaf);
    set.leaf_keys.insert(LeafId::from("kubectlClient"), key);
    set
}

/// A run that replaces everything.
fn whole() -> Vault {
    Vault { old: pki("old"), new: pki("new"), cross: BTreeMap::new() }
}

/// A run that replaces what `keep` says is to be kept of its new PKI.
fn partly(keep: impl FnOnce(&mut PkiSet)) -> Vault {
    let mut vault = whole();
    keep(&mut vault.new);
    vault
}

fn secret(entries: &[(&str, &[u8])]) -> BTreeMap<String, Zeroizing<Vec<u8>>> {
    entries.iter().map(|(name, bytes)| ((*name).to_owned(), Zeroizing::new(bytes.to_vec()))).collect()
}

fn kubeconfig_with(roots: &str, client: &Certificate, key: &PrivateKey) -> Zeroizing<Vec<u8>> {
    let text = "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: eA==\n    server: https://10.0.0.9:6443\n  name: holidays\ncontexts:\n- context:\n    cluster: holidays\n    user: holidays-admin\n  name: holidays-admin@holidays\ncurrent-context: holidays-admin@holidays\nkind: Config\npreferences: {}\nusers:\n- name: holidays-admin\n  user:\n    client-certificate-data: eA==\n    client-key-data: eA==\n";
    kubeconfig::replace_credentials(
        text.as_bytes(),
        roots.as_bytes(),
        client.to_pem().as_bytes(),
        &pem(key).unwrap(),
    )
    .unwrap()
}

/// What Cluster API keeps of a PKI.
fn held(purpose: Purpose, set: &PkiSet) -> BTreeMap<String, Zeroizing<Vec<u8>>> {
    match DOMAINS.iter().find(|(of, _)| *of == purpose) {
        Some((_, domain)) => secret(&[
            (CERTIFICATE, set.authorities[domain].to_pem().as_bytes()),
            (KEY, &pem(&set.authority_keys[domain]).unwrap()),
            ("note", b"kept"),
        ]),
        None if purpose == Purpose::ServiceAccount => {
            let key = &set.leaf_keys[&layout::service_account()];
            secret(&[
                (CERTIFICATE, key.public_key_pem().unwrap().as_bytes()),
                (KEY, &PrivateKey::to_pem(key, KeyEncoding::Pkcs8).unwrap().to_bytes()),
            ])
        }
        None => {
            let issuer = issuer(set).unwrap();
            let (client, key) = client("holidays-admin", &issuer);
            secret(&[(VALUE, &kubeconfig_with(&issuer.certificate().to_pem(), &client, &key))])
        }
    }
}

fn applied(
    mut entries: BTreeMap<String, Zeroizing<Vec<u8>>>,
    changes: Vec<Change>,
) -> BTreeMap<String, Zeroizing<Vec<u8>>> {
    for change in changes {
        assert!(entries[change.entry] == change.old, "it says what it replaces");
        entries.insert(change.entry.to_owned(), change.new);
    }
    entries
}

fn asked(
    purpose: Purpose,
    entries: &BTreeMap<String, Zeroizing<Vec<u8>>>,
    vault: &Vault,
) -> Result<Vec<Change>, Misfit> {
    changes(purpose, entries, vault, now())
}

#[track_caller]
fn refused(purpose: Purpose, entries: &BTreeMap<String, Zeroizing<Vec<u8>>>, vault: &Vault) -> String {
    match asked(purpose, entries, vault) {
        Ok(_) => panic!("{purpose:?} is taken"),
        Err(misfit) => misfit.to_string(),
    }
}

#[test]
fn everything_follows_and_then_rests() {
    let vault = whole();
    for purpose in Purpose::ALL {
        let before = held(purpose, &vault.old);
        let after = applied(before.clone(), asked(purpose, &before, &vault).unwrap());
        assert!(after != before, "{purpose:?} stays as it was");
        assert_eq!(after.get("note"), before.get("note"));
        assert!(after.keys().eq(before.keys()), "{purpose:?}: no entry comes or goes");
        assert!(asked(purpose, &after, &vault).unwrap().is_empty(), "{purpose:?} changes twice");
        if let Some((_, domain)) = DOMAINS.iter().find(|(of, _)| *of == purpose) {
            assert_eq!(Certificate::from_pem(&after[CERTIFICATE]).unwrap(), vault.new.authorities[domain]);
            assert!(private_key(&after[KEY], KEY).unwrap().matches(&vault.new.authorities[domain]));
        }
    }
}

#[test]
fn what_a_run_keeps_stays_byte_for_byte() {
    let kept = partly(|new| *new = PkiSet::default());
    for purpose in Purpose::ALL {
        assert!(asked(purpose, &held(purpose, &kept.old), &kept).unwrap().is_empty(), "{purpose:?}");
    }
    let without_tokens = partly(|new| drop(new.leaf_keys.remove(&layout::service_account())));
    let tokens = held(Purpose::ServiceAccount, &without_tokens.old);
    assert!(asked(Purpose::ServiceAccount, &tokens, &without_tokens).unwrap().is_empty());
}

#[test]
fn a_ca_that_keeps_its_key_keeps_the_entry_of_it() {
    let mut vault = partly(|new| *new = PkiSet::default());
    let old = issuer(&vault.old).unwrap();
    let renewed = kubecert_pki::same_key_reissue_ca(&old, year(), &Serial::random().unwrap()).unwrap();
    vault.new.authorities.insert(TrustDomain::Cluster, renewed.clone());
    let ca = asked(Purpose::ClusterCa, &held(Purpose::ClusterCa, &vault.old), &vault).unwrap();
    assert_eq!(ca.iter().map(|change| change.entry).collect::<Vec<_>>(), [CERTIFICATE]);
    let before = held(Purpose::Kubeconfig, &vault.old);
    let after = applied(before.clone(), asked(Purpose::Kubeconfig, &before, &vault).unwrap());
    assert_eq!(kubeconfig::roots(&after[VALUE]).unwrap(), renewed.to_pem().into_bytes());
    let [was, is] = [&before, &after].map(|entries| kubeconfig::client_credentials(&entries[VALUE]).unwrap());
    assert!(was == is, "the same key has signed the client's certificate");
}

#[test]
fn a_client_in_the_kubeconfig_stays_who_it_is() {
    let vault = whole();
    let before = held(Purpose::Kubeconfig, &vault.old);
    let after = applied(before.clone(), asked(Purpose::Kubeconfig, &before, &vault).unwrap());
    let [was, is] = [&before, &after].map(|entries| {
        let [client, _] = kubeconfig::client_credentials(&entries[VALUE]).unwrap();
        Certificate::from_pem(client).unwrap()
    });
    assert_eq!((is.subject(), is.extended_key_usage()), (was.subject(), was.extended_key_usage()));
    assert!(is.not_after() >= was.not_after(), "it ends earlier");
    is.signed_by(&vault.new.authorities[&TrustDomain::Cluster]).unwrap();
    assert_ne!(is.public_key(), was.public_key());
    let text = String::from_utf8(after[VALUE].to_vec()).unwrap();
    assert!(text.contains("server: https://10.0.0.9:6443") && text.contains("holidays-admin@holidays"));

    // A copy of the administrator's follows that one, be the CA replaced or not.
    let renewed = partly(|new| {
        new.authorities.clear();
        new.authority_keys.clear();
    });
    for vault in [vault, renewed] {
        let leaf = LeafId::from("kubectlClient");
        let (client, key) = (&vault.old.leaves[&leaf], &vault.old.leaf_keys[&leaf]);
        let root = vault.old.authorities[&TrustDomain::Cluster].to_pem();
        let before = secret(&[(VALUE, &kubeconfig_with(&root, client, key))]);
        let after = applied(before.clone(), asked(Purpose::Kubeconfig, &before, &vault).unwrap());
        let [client, _] = kubeconfig::client_credentials(&after[VALUE]).unwrap();
        assert_eq!(Certificate::from_pem(client).unwrap(), vault.new.leaves[&leaf]);
    }
}

#[test]
fn a_kubeconfig_that_was_made_anew_meanwhile_is_taken() {
    let vault = whole();
    // As the controller makes it: from the old CA, with a client that nobody here has seen; or by somebody who trusts both.
    let (old, new) = (issuer(&vault.old).unwrap(), issuer(&vault.result()).unwrap());
    let both = to_pem_chain([old.certificate(), new.certificate()]);
    for (roots, by) in [(old.certificate().to_pem(), &old), (both.clone(), &old), (both, &new)] {
        let (client, key) = client("somebody", by);
        let before = secret(&[(VALUE, &kubeconfig_with(&roots, &client, &key))]);
        let after = applied(before.clone(), asked(Purpose::Kubeconfig, &before, &vault).unwrap());
        assert_eq!(kubeconfig::roots(&after[VALUE]).unwrap(), new.certificate().to_pem().into_bytes());
        assert!(asked(Purpose::Kubeconfig, &after, &vault).unwrap().is_empty());
    }
}

#[test]
fn an_entry_that_is_not_there_is_not_made() {
    let vault = whole();
    for empty in [None, Some(Zeroizing::new(b"\n".to_vec()))] {
        for purpose in [Purpose::ClusterCa, Purpose::EtcdCa, Purpose::FrontProxyCa, Purpose::ServiceAccount] {
            let mut before = held(purpose, &vault.old);
            before.remove(KEY);
            before.extend(empty.clone().map(|bytes| (KEY.to_owned(), bytes)));
            assert!(purpose.lacks_key(&before));
            let changed = asked(purpose, &before, &vault).unwrap();
            assert_eq!(changed.iter().map(|change| change.entry).collect::<Vec<_>>(), [CERTIFICATE]);
        }
    }
    assert!(!Purpose::ClusterCa.lacks_key(&held(Purpose::ClusterCa, &vault.old)));
    assert!(!Purpose::Kubeconfig.lacks_key(&held(Purpose::Kubeconfig, &vault.old)));
}

#[test]
fn what_is_another_clusters_is_refused() {
    let (vault, other) = (whole(), pki("other"));
    for purpose in Purpose::ALL {
        let why = refused(purpose, &held(purpose, &other), &vault);
        assert!(why.contains("where the cluster has"), "{why}");
        assert!(refused(purpose, &BTreeMap::new(), &vault).starts_with("it has no entry"));
    }
    for (purpose, _) in DOMAINS {
        let mut mixed = held(purpose, &vault.old);
        mixed.insert(KEY.to_owned(), held(purpose, &other)[KEY].clone());
        assert!(refused(purpose, &mixed, &vault).contains("does not fit"));
        let (mine, foreign) = (held(purpose, &vault.old), held(purpose, &other));
        mixed.insert(CERTIFICATE.to_owned(), [&mine[CERTIFICATE][..], &foreign[CERTIFICATE]].concat().into());
        assert!(refused(purpose, &mixed, &vault).contains(" and "));
    }
    let mut tokens = held(Purpose::ServiceAccount, &vault.old);
    tokens.insert(KEY.to_owned(), held(Purpose::ServiceAccount, &other)[KEY].clone());
    assert!(refused(Purpose::ServiceAccount, &tokens, &vault).contains("does not fit"));
    let root = vault.old.authorities[&TrustDomain::Cluster].to_pem();
    let (stranger, key) = client("holidays-admin", &issuer(&other).unwrap());
    let by_stranger = secret(&[(VALUE, &kubeconfig_with(&root, &stranger, &key))]);
    assert!(refused(Purpose::Kubeconfig, &by_stranger, &vault).contains("a client certificate by"));
    let mixed =
        secret(&[(VALUE, &kubeconfig_with(&root, &stranger, &other.leaf_keys[&layout::service_account()]))]);
    assert!(refused(Purpose::Kubeconfig, &mixed, &vault).contains("does not fit"));
}

#[test]
fn what_cannot_be_read_is_named_and_not_shown() {
    let vault = whole();
    for purpose in Purpose::ALL {
        for name in [CERTIFICATE, KEY, VALUE] {
            let mut bad = held(purpose, &vault.old);
            let Some(entry) = bad.get_mut(name) else { continue };
            *entry = Zeroizing::new(b"\xff hunter2".to_vec());
            let why = refused(purpose, &bad, &vault);
            assert!(!why.contains("hunter2"), "{why}");
            assert!(why.contains(name), "{purpose:?}: {why}");
        }
    }
    // A run that brings a CA without its key cannot tell it to others.
    let keyless = partly(|new| new.authority_keys.clear());
    let why = refused(Purpose::EtcdCa, &held(Purpose::EtcdCa, &keyless.old), &keyless);
    assert!(why.contains("the new etcd CA's private key"), "{why}");
    let why = refused(Purpose::Kubeconfig, &held(Purpose::Kubeconfig, &keyless.old), &keyless);
    assert!(why.contains("the cluster CA's private key"), "{why}");
}
