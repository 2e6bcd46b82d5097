//! What is written for every model of the corpus, and for the example, before a rotation and after it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use jiff::Timestamp;
use kubecert_cloud::apimodel::{ApiModel, CertificateProfile, Term, new_certificate_profile};
use kubecert_pki::{KeyAlgorithm, PrivateKey};

use super::super::judge::{Expected, complaints};
use super::super::target::pki_set;
use super::*;

/// A model as the ancestor generated it.
struct Case {
    name: String,
    model: Vec<u8>,
    kubeconfig: Option<Vec<u8>>,
}

/// One key for CAs and one for leaves: what is judged is how keys are written, and RSA takes its time.
static KEYS: LazyLock<[PrivateKey; 2]> =
    LazyLock::new(|| [(); 2].map(|()| PrivateKey::generate(KeyAlgorithm::Rsa2048).unwrap()));

fn new_profile(model: &ApiModel) -> CertificateProfile {
    let keys = |entry: Entry, _: KeyAlgorithm| Ok(KEYS[usize::from(entry != Entry::Ca)].clone());
    new_certificate_profile(model, Term::of_the_ancestor(Timestamp::now()), &keys).unwrap().profile
}

fn cases() -> Vec<Case> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    // The example is what is given to `generate`, so it gets its first PKI here.
    let bare =
        ApiModel::parse(&fs::read(root.join("examples/aks-engine-3m-2l/apimodel.json")).unwrap()).unwrap();
    let model = bare.rewrite_certificate_profile(&new_profile(&bare));
    let aad = String::from_utf8(model.clone()).unwrap();
    let at = aad.find("\"masterProfile\"").unwrap();
    let aad =
        format!("{}\"aadProfile\": {{\"serverAppID\": \"s\"}}, {}", &aad[..at], &aad[at..]).into_bytes();
    let mut cases = vec![
        Case { name: "example".to_owned(), model, kubeconfig: None },
        Case { name: "example with Azure Active Directory".to_owned(), model: aad, kubeconfig: None },
    ];
    let beside = root.join("../shared/corpus");
    let corpus = std::env::var_os("KUBECERT_CORPUS").map_or(beside, PathBuf::from).join("apimodels");
    let Ok(directories) = fs::read_dir(&corpus) else {
        println!("skipped: no corpus at {}", corpus.display());
        return cases;
    };
    for directory in directories {
        let directory = directory.unwrap().path();
        let model = fs::read(directory.join("apimodel.json")).unwrap();
        let location = ApiModel::parse(&model).unwrap().location().unwrap().as_str().to_owned();
        let kubeconfig = fs::read(directory.join(format!("kubeconfig/kubeconfig.{location}.json"))).ok();
        let name = directory.file_name().unwrap().to_string_lossy().into_owned();
        cases.push(Case { name, model, kubeconfig });
    }
    cases
}

fn has_openssl() -> bool {
    let there = Command::new("openssl").arg("version").output().is_ok();
    if !there {
        println!("skipped: no openssl on this machine");
    }
    there
}

#[tokio::test]
async fn the_ancestor_could_go_on_with_what_is_written() {
    if !has_openssl() {
        return;
    }
    for case in cases() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("apimodel.json");
        fs::write(&path, &case.model).unwrap();
        let described = Described::read(&path).unwrap();
        let old = described.pki().unwrap();
        let new = pki_set(&new_profile(&described.model)).unwrap();
        let vault = Vault { old, new, cross: std::collections::BTreeMap::new() };
        let files = AncestorFiles::new(&described);
        let judge = |place: PathBuf, alone| {
            let expected = Expected { model: &case.model, kubeconfig: case.kubeconfig.as_deref(), alone };
            let found = complaints(&place, &expected);
            assert!(found.is_empty(), "{} in {}: {found:#?}", case.name, place.display());
        };
        let [backup, output] =
            ["_rotate_certs_backup", "_rotate_certs_output"].map(|name| directory.path().join(name));

        files.announce(&vault).await.unwrap();
        judge(backup.clone(), true);
        judge(output.clone(), true);
        assert!(fs::read(&path).unwrap() == case.model, "{}: nothing is in force yet", case.name);
        assert!(fs::read(backup.join("apimodel.json")).unwrap() == case.model, "{}", case.name);
        let announced = fs::read(output.join("apimodel.json")).unwrap();

        files.write(&vault).await.unwrap();
        files.write(&vault).await.unwrap();
        judge(directory.path().to_owned(), false);
        judge(backup, true);
        assert!(!output.exists(), "{}", case.name);
        assert!(fs::read(&path).unwrap() == announced, "{}: what was announced is in force", case.name);
    }
}

/// The judge itself: what it is there to find, it finds.
#[test]
fn the_judge_is_strict() {
    if !has_openssl() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("place");
    let bare = &cases()[0].model;
    let model = ApiModel::parse(bare).unwrap();
    let write = || {
        kubecert_cloud::apimodel::write_artifacts(&place, &model, model.certificate_profile().unwrap())
            .unwrap()
    };
    let found = || complaints(&place, &Expected { model: bare, kubeconfig: None, alone: true });
    write();
    assert_eq!(found(), Vec::<String>::new());
    let edit = |name: &str, change: &dyn Fn(&str) -> String| {
        let path = place.join(name);
        let changed = change(&fs::read_to_string(&path).unwrap());
        fs::write(path, changed).unwrap();
    };
    let swapped = |text: &str| text.replace("RSA PRIVATE KEY", "PRIVATE KEY");
    type Edit<'a> = &'a dyn Fn(&str) -> String;
    let cases: [(&str, Edit<'_>, &str); 6] = [
        ("apimodel.json", &|text| text.replace("\"caCertificate\"", "\"caCertificat\""), "unknown JSON tag"),
        ("apimodel.json", &swapped, "is not one PEM block"),
        (
            "apimodel.json",
            &|text| text.replace("\"count\": 3", "\"count\": 5"),
            "in more than its certificateProfile",
        ),
        (
            "client.key",
            &|_| fs::read_to_string(place.join("ca.key")).unwrap(),
            "is not the key of client.crt",
        ),
        (
            "etcdpeer1.crt",
            &|text| text.to_owned() + text,
            "holds something else than etcdPeerCertificates[1]",
        ),
        ("kubeconfig/kubeconfig.local.json", &|text| text.replace("-admin", ""), "/users/0/name"),
    ];
    for (name, change, expected) in cases {
        edit(name, change);
        let complaints = found();
        assert!(
            complaints.iter().any(|complaint| complaint.contains(expected)),
            "{expected}: {complaints:?}"
        );
        write();
    }
    fs::set_permissions(place.join("ca.key"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(place.join("azuredeploy.json"), "").unwrap();
    let complaints = found().join("\n");
    assert!(
        complaints.contains("has mode 644") && complaints.contains("azuredeploy.json is no file"),
        "{complaints}"
    );
}

const MODEL: &str = r#"{"apiVersion": "vlabs", "location": "local", "properties": {
    "orchestratorProfile": {"orchestratorType": "Kubernetes", "orchestratorVersion": "1.34.4",
        "kubernetesConfig": {"serviceCidr": "10.0.0.0/16"}},
    "masterProfile": {"count": 1, "dnsPrefix": "synthazs", "firstConsecutiveStaticIP": "10.255.255.5",
        "availabilityProfile": "AvailabilitySet"},
    "agentPoolProfiles": [{"name": "pool", "count": 1, "availabilityProfile": "AvailabilitySet"},
        {"name": "burst", "count": 1, "availabilityProfile": "VirtualMachineScaleSets"}],
    "certificateProfile": {"caCertificate": "old", "caPrivateKey": "old"}}}"#;

fn files(directory: &Path) -> AncestorFiles {
    let model = std::sync::Arc::new(ApiModel::parse(MODEL.as_bytes()).expect("the model reads"));
    AncestorFiles { model, directory: directory.to_owned() }
}

#[test]
fn deployment_parameters_follow_and_what_cannot_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = files(directory.path());
    let new = CertificateProfile::default().with(Entry::Ca, "new".to_owned(), "new key".into());
    files.write_parameters(directory.path(), &new).expect("there are none");
    let left = files.leftovers();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].contains("k8s-burst-11223509-vmss") && !left[0].contains(PARAMETERS_FILE), "{left:?}");

    let path = directory.path().join(PARAMETERS_FILE);
    let text = r#"{"parameters": {"caCertificate": {"value": "b2xk"}, "caPrivateKey": {"reference": {}}}}"#;
    fs::write(&path, text).expect("a file");
    files.write_parameters(directory.path(), &new).expect("they can be written");
    let written = fs::read_to_string(&path).expect("a file");
    assert_eq!(written, text.replace("b2xk", "bmV3"));
    let left = files.leftovers();
    assert!(left[0].contains("caPrivateKey") && left[0].contains("Key Vault"), "{left:?}");
    assert!(left[1].contains("azuredeploy.json with"), "{left:?}");

    fs::write(&path, "{").expect("a file");
    files.write_parameters(directory.path(), &new).expect("what is no JSON stays");
    assert_eq!(fs::read_to_string(&path).expect("a file"), "{");
    assert!(files.leftovers()[0].contains("still holds the old PKI"));
}
