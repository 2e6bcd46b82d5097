//! What is read from, and computed of, the models.

use std::fs;

use kubecert_cloud::apimodel::{Catalogue, CertificateProfile, Entry, Location, PoolNodes, Unsupported};
use kubecert_pki::SubjectAltName;
use secrecy::ExposeSecret;

use crate::support::cases;

#[test]
fn computed_names_are_those_in_the_certificates() {
    for case in cases() {
        let catalogue = Catalogue::for_version(&case.model.kubernetes().version);
        let server = case.model.api_server_sans(catalogue).unwrap();
        for entry in case.entries() {
            let computed = match entry {
                Entry::ApiServer => server.clone(),
                Entry::EtcdServer | Entry::EtcdClient | Entry::EtcdPeer(_) => case.model.etcd_sans(),
                Entry::Ca | Entry::Client | Entry::KubeConfig => continue,
            };
            let dns = computed.dns.into_iter().map(SubjectAltName::Dns);
            let computed: Vec<_> = dns.chain(computed.ips.into_iter().map(SubjectAltName::Ip)).collect();
            assert_eq!(case.certificate(entry).sans(), computed, "{entry} of {}", case.name);
        }
    }
}

#[test]
fn kubeconfigs_are_the_ancestors_to_the_byte() {
    for case in cases() {
        let location = case.model.location().unwrap().as_str();
        let theirs = fs::read(case.directory.join(format!("kubeconfig/kubeconfig.{location}.json"))).unwrap();
        let ours = case.model.kubeconfig(case.profile()).unwrap();
        assert!(ours.expose_secret().as_bytes() == theirs, "{}", case.name);
    }
}

#[test]
fn rewriting_changes_the_profile_alone() {
    for case in cases() {
        let rewrite = |profile: &CertificateProfile| case.model.rewrite_certificate_profile(profile);
        assert!(rewrite(case.profile()) == case.bytes, "{}: the same profile", case.name);

        let other = CertificateProfile::default().with(Entry::Ca, "other".to_owned(), "key".into());
        let changed = rewrite(&other);
        // What was read from the changed text writes the original again, so no byte outside of the span was touched;
        // and this time the writer had to lay out the whole profile itself.
        let back = kubecert_cloud::apimodel::ApiModel::parse(&changed).unwrap();
        assert!(back.certificate_profile() == Some(&other), "{}", case.name);
        assert!(
            back.rewrite_certificate_profile(case.profile()) == case.bytes,
            "{}: there and back",
            case.name
        );

        let same = |a: &u8, b: &u8| a == b;
        let head = case.bytes.iter().zip(&changed).take_while(|(a, b)| same(a, b)).count();
        let tail = case.bytes.iter().rev().zip(changed.iter().rev()).take_while(|(a, b)| same(a, b)).count();
        let text = String::from_utf8(case.bytes.clone()).unwrap();
        let start = text.find("\"certificateProfile\"").unwrap();
        let end = start + text[start..].find("\n    }").unwrap();
        assert!(head >= start && text.len() - tail <= end, "{}: {head} {tail}", case.name);
    }
}

#[test]
fn models_are_managed_or_refused_by_name() {
    for case in cases() {
        let expected: [Unsupported; 0] = [];
        assert_eq!(case.model.unsupported(), expected, "{}", case.name);
    }
}

#[test]
fn scale_set_names_are_computed_as_the_model_has_them() {
    for case in cases() {
        for (index, pool) in case.model.agent_pools().iter().enumerate() {
            let PoolNodes::ScaleSet { prefix } = case.model.agent_names(index).unwrap() else { continue };
            assert_eq!(pool.vmss_name.as_ref(), Some(&prefix), "{}", case.name);
            // The name in the model was computed by the ancestor; without it, ours must come out the same.
            let without =
                String::from_utf8(case.bytes.clone()).unwrap().replace(&format!("\"{prefix}\""), "\"\"");
            let without = kubecert_cloud::apimodel::ApiModel::parse(without.as_bytes()).unwrap();
            assert_eq!(without.agent_names(index), Some(PoolNodes::ScaleSet { prefix }), "{}", case.name);
        }
    }
}

#[test]
fn the_location_must_be_the_one_asked_for() {
    for case in cases() {
        let model = kubecert_cloud::apimodel::ApiModel::parse(&case.bytes).unwrap();
        let error = model.at_location(Location::new("East US").unwrap()).unwrap_err().to_string();
        assert!(error.contains("--location says \"eastus\""), "{error}");
    }
}

#[test]
fn the_ancestors_own_profiles_are_fit() {
    for case in cases() {
        let verdict = case.profile().validate(&case.model, case.now());
        assert!(verdict.is_ok(), "{}: {}", case.name, verdict.unwrap_err());
        let file = case.profile().to_json();
        let read = CertificateProfile::parse(file.expose_secret().as_bytes()).unwrap();
        assert!(read == *case.profile(), "{}", case.name);
    }
}

#[test]
fn components_and_flags_are_read() {
    for case in cases() {
        let kubernetes = case.model.kubernetes();
        assert!(kubernetes.image("kube-apiserver").unwrap().contains("kube-apiserver"), "{}", case.name);
        assert_eq!(kubernetes.api_server["--etcd-servers"], "https://127.0.0.1:2379", "{}", case.name);
        assert!(kubernetes.aggregated_apis && !kubernetes.private_cluster, "{}", case.name);
        assert!(["azure", "kubenet"].contains(&kubernetes.network_plugin.as_str()), "{}", case.name);
        assert!(
            kubernetes.addons.iter().any(|addon| addon.name == "metrics-server" && addon.enabled),
            "{}",
            case.name
        );
        assert_eq!(case.model.linux().unwrap().admin_user, "azureuser");
        assert_eq!(case.model.masters().kubelet["--client-ca-file"], "/etc/kubernetes/certs/ca.crt");
    }
}
