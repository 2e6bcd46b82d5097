//! Files, modes, and what is left alone.

use std::collections::BTreeMap;

use super::super::model::tests::model;
use super::super::testing::pki;
use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(directory).unwrap().map(Result::unwrap).filter(|file| file.path().is_file());
    files.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())).collect()
}

#[test]
fn the_layout_is_the_ancestors() {
    let model = model("");
    let generated = pki(&model);
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("_rotate_certs_output");
    write_artifacts(&directory, &model, &generated.profile).unwrap();

    let written = files(&directory);
    let stems = [
        "apiserver",
        "ca",
        "client",
        "etcdclient",
        "etcdpeer0",
        "etcdpeer1",
        "etcdpeer2",
        "etcdserver",
        "kubectlClient",
    ];
    let mut expected: Vec<String> =
        stems.iter().flat_map(|stem| [format!("{stem}.crt"), format!("{stem}.key")]).collect();
    expected.push("apimodel.json".to_owned());
    expected.sort();
    assert_eq!(written.keys().cloned().collect::<Vec<_>>(), expected);
    assert_eq!(written["ca.crt"], generated.profile.certificate(Entry::Ca).unwrap().as_bytes());
    assert_eq!(written["apimodel.json"], model.rewrite_certificate_profile(&generated.profile));
    assert!(written.keys().all(|name| mode(&directory.join(name)) == 0o600));
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("kubeconfig")), 0o700);
    assert_eq!(mode(&directory.join("kubeconfig/kubeconfig.local.json")), 0o600);
}

#[test]
fn writing_again_replaces_and_leaves_the_rest_alone() {
    let model = model("");
    let root = tempfile::tempdir().unwrap();
    let template = root.path().join("azuredeploy.json");
    fs::write(&template, "as it was").unwrap();
    fs::write(root.path().join("ca.crt"), "older").unwrap();
    fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
    let profile = pki(&model).profile;
    write_artifacts(root.path(), &model, &profile).unwrap();
    let once = files(root.path());
    write_artifacts(root.path(), &model, &profile).unwrap();
    assert_eq!(files(root.path()), once, "again");
    assert_eq!(once["azuredeploy.json"], b"as it was");
    assert_eq!(mode(&root.path().join("ca.crt")), 0o600);
    assert_eq!(mode(root.path()), 0o755, "a directory that was there keeps its mode");
}

#[test]
fn errors_come_before_anything_is_written_where_they_can() {
    let model = model("");
    let root = tempfile::tempdir().unwrap();
    let few = CertificateProfile::default().with(Entry::EtcdPeer(1), "x".to_owned(), "y".into());
    let error = write_artifacts(root.path(), &model, &few).unwrap_err().to_string();
    assert!(error.contains("2 of 3 masters"), "{error}");
    assert!(files(root.path()).is_empty());

    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let error = write_artifacts(&file, &model, &pki(&model).profile).unwrap_err().to_string();
    assert!(error.contains("file/kubeconfig cannot be written"), "{error}");
}
