//! What describes a cluster: the operator's api model and certificate profile, kubeconfigs and manifests of nodes.

use std::path::Path;

use jiff::Timestamp;
use kubecert_cloud::apimodel::{ApiModel, Catalogue, CertificateProfile, Entry};
use kubecert_cloud::cluster_file::ClusterFile;
use kubecert_core::manifest::{ManifestError, flag_values, set_flag};
use kubecert_engine::kubeconfig::replace_credentials;

/// Api models: what is read is asked for everything, and rewritten.
pub fn apimodel(data: &[u8]) {
    let Ok(model) = ApiModel::parse(data) else { return };
    let _names = (model.master_names(), model.cluster_id(), model.fqdn(), model.server_url());
    for index in 0..model.agent_pools().len() {
        let _nodes = model.agent_names(index);
    }
    let _sans =
        (model.api_server_sans(Catalogue::AksEngineAzureStack), model.etcd_sans(), model.unsupported());
    if let Some(profile) = model.certificate_profile() {
        let same = model.rewrite_certificate_profile(profile);
        assert!(same == data, "rewritten with what it has, it is the same file");
        let _kubeconfig = model.kubeconfig(profile);
    }
    let new = CertificateProfile::default().with(Entry::Ca, "new".to_owned(), "key".into());
    let rewritten = model.rewrite_certificate_profile(&new);
    let Ok(again) = ApiModel::parse(&rewritten) else { panic!("rewritten, it is an api model") };
    assert!(again.certificate_profile() == Some(&new), "rewritten, it has the new profile");
    assert!(again.rewrite_certificate_profile(&new) == rewritten, "rewritten again, it is the same file");
}

/// Cluster files: what is read names what becomes part of paths, and nothing that leads out of them.
pub fn cluster_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(file) = ClusterFile::parse(text, Path::new("/cluster")) else { return };
    let planes = file.control_planes.iter().map(|plane| &plane.name);
    let managed = file.cluster_api.iter().flat_map(|managed| [&managed.namespace, &managed.name]);
    for name in planes.chain([&file.name]).chain(managed) {
        assert!(!name.contains(['/', '\\']) && !name.starts_with('.'), "{name:?} leads out of a directory");
    }
    assert!(!file.control_planes.is_empty() && file.endpoint_port > 0);
    let hosts = file.ssh.jump.iter().map(|(host, _)| host).chain([&file.endpoint]);
    for host in hosts {
        assert!(!host.is_empty() && !host.starts_with('-'), "{host:?} may be taken for an option");
    }
}

/// Files for `--certificate-profile`, judged against a small model.
pub fn certificate_profile(data: &[u8]) {
    const MODEL: &str = r#"{"apiVersion": "vlabs", "location": "local", "properties": {
        "orchestratorProfile": {"orchestratorType": "Kubernetes", "kubernetesConfig": {"serviceCidr": "10.0.0.0/16"}},
        "masterProfile": {"count": 1, "dnsPrefix": "a", "firstConsecutiveStaticIP": "10.240.255.5",
            "availabilityProfile": "AvailabilitySet"},
        "customCloudProfile": {"environment": {"resourceManagerVMDNSSuffix": "cloudapp.example"}}}}"#;
    thread_local! {
        static PARSED: ApiModel = match ApiModel::parse(MODEL.as_bytes()) {
            Ok(model) => model,
            Err(error) => panic!("the model of this target: {error}"),
        };
    }
    let Ok(profile) = CertificateProfile::parse(data) else { return };
    let _shown = (format!("{profile:?}"), profile.key_vault_references());
    let text = profile.to_json();
    let Ok(now) = Timestamp::from_second(1_800_000_000) else { return };
    PARSED.with(|model| match profile.validate(model, now) {
        Ok(_) => {}
        Err(invalid) => assert!(!invalid.to_string().is_empty(), "it says why"),
    });
    drop(text);
}

/// Kubeconfigs on nodes, into which other credentials are put.
pub fn kubeconfig(data: &[u8]) {
    let Ok(edited) = replace_credentials(data, b"roots", b"certificate", b"key") else { return };
    let again = replace_credentials(&edited, b"roots", b"certificate", b"key");
    assert!(again.is_ok_and(|again| *again == *edited), "edited again, it is the same file");
}

/// Manifests of static pods, in which flags are set and set back.
pub fn manifest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for flag in ["client-ca-file", "service-account-key-file"] {
        let before: Vec<String> = flag_values(text, flag).into_iter().map(str::to_owned).collect();
        let edited = match set_flag(text, flag, &["/a", "/b"]) {
            Ok(edited) => edited,
            Err(ManifestError::FlagAbsent { .. }) => {
                assert!(before.is_empty(), "a flag that has values is not absent");
                continue;
            }
            // A spelling that nobody uses, and that is left alone.
            Err(ManifestError::Unclear { .. }) => continue,
        };
        assert!(!before.is_empty(), "a flag that can be set has values");
        assert_eq!(flag_values(&edited, flag), ["/a", "/b"], "what was set is read");
        let Ok(back) = set_flag(&edited, flag, &["/a"]) else { panic!("what was set can be set again") };
        assert_eq!(flag_values(&back, flag), ["/a"], "what was set again is read");
        if let [only] = before.as_slice() {
            let same = set_flag(&edited, flag, &[only]);
            if let Ok(same) = same {
                assert_eq!(same, text, "set back, it is the same file");
            }
        }
    }
}
