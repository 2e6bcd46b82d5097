//! What stands in the way: each a clear error that says what failed, where, and what to do, and nothing is lost.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kubecert_cloud::authority::{AccessFile, FIRST_IDENTITY, LoginFile, OldTokens};
use kubecert_pki::{KeyAlgorithm, KeyEncoding, PrivateKey};
use serde_json::Value;

use super::cluster::{self, Target};
use super::report::{Outcome, Report};
use super::tests::{Bed, Hands, SITE, begin};
use super::{How, infrastructure};
use crate::args::ErrorAction;
use crate::errors::CliError;
use crate::human::paint::Paint;

/// That an error says all of this, and what to do.
#[track_caller]
fn says(error: &CliError, parts: &[&str]) {
    let text = error.text(Paint::PLAIN);
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert!(text.contains("hint: "), "it does not say what to do:\n{text}");
    assert!(!text.contains("eyJ"), "it holds a token:\n{text}");
}

/// That exactly one credential failed, and how.
#[track_caller]
fn one_failed(report: &Report, parts: &[&str]) {
    assert_eq!(report.count(Outcome::Failed), 1, "{}", report.text());
    says(&report.errors[0], parts);
}

async fn refused(bed: &Bed, how: &How) -> CliError {
    let before = bed.kept();
    let error = bed.update(how).await.expect_err("it is refused");
    assert!(bed.kept() == before, "something was changed");
    error
}

async fn refused_cluster(bed: &Bed, name: &str, layer: Layer) -> CliError {
    let before = bed.kept();
    let (site, how) = (bed.site(), bed.how());
    let refused = match layer {
        Layer::Cloud => {
            let target = Target { name, load_balancers: false };
            let updated = cluster::update(&site, &how, &target, &bed.secrets).await;
            updated.map(|report| report.text())
        }
        Layer::Kubelet => {
            let may_follow = cluster::kubelets_may_follow(&site, &how, name, &bed.secrets).await;
            may_follow.map(str::to_owned)
        }
    };
    assert!(bed.kept() == before, "something was changed");
    refused.expect_err("it is refused")
}

/// Of a cluster.
enum Layer {
    Cloud,
    Kubelet,
}

#[tokio::test]
async fn a_management_cluster_that_is_down() {
    let bed = Bed::new().await;
    *bed.secrets.down.lock().unwrap() = true;
    let before = bed.kept();
    let error = bed.update(&bed.force()).await.expect_err("it is refused");
    assert!(error.error.to_string().contains("the management cluster does not answer"), "{}", error.error);
    assert!(bed.kept() == before, "something was changed");
    // Over the real API: a port where nobody listens.
    let kubeconfig = bed.path("admin.conf");
    let [root] = [LoginFile::read(&bed.path("admin.yaml")).unwrap().roots.remove(0)];
    let access: Value = serde_json::from_slice(&fs::read(bed.path("admin.json")).unwrap()).unwrap();
    let config = serde_json::json!({
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1", "certificate-authority-data": STANDARD.encode(root.to_pem())}}],
        "users": [{"name": "u", "user": {"client-certificate-data": access["ClientCertificate"], "client-key-data": access["ClientKey"]}}],
    });
    fs::write(&kubeconfig, config.to_string()).unwrap();
    let site = bed.described(&format!("management: {}\n{SITE}", kubeconfig.display()));
    let before = bed.kept();
    let error = infrastructure(&site, &bed.force(), &super::OverThere::of(&site, None))
        .await
        .expect_err("it is down");
    says(
        &error,
        &[
            "the management cluster does not answer",
            "secret default/caphlogintoken",
            "Start the management cluster",
        ],
    );
    assert!(bed.kept() == before, "something was changed");
}

#[tokio::test]
async fn a_cluster_that_nobody_knows() {
    let bed = Bed::new().await;
    for layer in [Layer::Cloud, Layer::Kubelet] {
        let error = refused_cluster(&bed, "vacation", layer).await;
        says(&error, &["the site file of plant-7 knows no cluster vacation", "It knows holidays."]);
    }
}

#[tokio::test]
async fn a_login_file_that_is_none_or_empty_or_cannot_be_read() {
    let bed = Bed::new().await;
    fs::write(bed.path("host-1.yaml"), "hello: world").unwrap();
    let report = bed.update(&bed.force()).await.unwrap();
    one_failed(&report, &["cannot use login file", "host-1.yaml", "it has no name", "Nothing was written"]);
    assert_eq!(fs::read(bed.path("host-1.yaml")).unwrap(), b"hello: world");
    assert!(report.count(Outcome::Renewed) >= 3, "the others are renewed all the same: {}", report.text());

    fs::write(bed.path("host-1.yaml"), "").unwrap();
    fs::remove_file(bed.path("host-1.json")).unwrap();
    let report = bed.update(&bed.how()).await.unwrap();
    assert_eq!(report.count(Outcome::Failed), 2, "{}", report.text());
    says(
        &report.errors[0],
        &["host-1.yaml", "it is empty, or not there, and nothing says whose it is", "identity: NAME"],
    );

    fs::remove_file(bed.path("host-1.yaml")).unwrap();
    fs::create_dir(bed.path("host-1.yaml")).unwrap();
    let report = bed.update(&bed.how()).await.unwrap();
    says(&report.errors[0], &["cannot use login file", "host-1.yaml"]);
}

#[tokio::test]
async fn a_login_file_of_another_authority_is_not_overwritten() {
    let bed = Bed::new().await;
    let other = Bed::new().await;
    fs::copy(other.path("host-1.yaml"), bed.path("host-1.yaml")).unwrap();
    let before = fs::read(bed.path("host-1.yaml")).unwrap();
    let report = bed.update(&bed.force()).await.unwrap();
    one_failed(&report, &["host-1.yaml is of another authority", "none of the CAs of the one at localhost"]);
    assert_eq!(fs::read(bed.path("host-1.yaml")).unwrap(), before);
}

#[tokio::test]
async fn an_administrator_whose_token_is_another_authoritys() {
    let bed = Bed::new().await;
    let other = Bed::new().await;
    // The right authority's roots and address, and a token from elsewhere.
    let mut mixed = LoginFile::read(&bed.path("admin.yaml")).unwrap();
    mixed.token = LoginFile::read(&other.path("admin.yaml")).unwrap().token;
    mixed.write(&bed.path("admin.yaml")).unwrap();
    fs::remove_file(bed.path("admin.json")).unwrap();
    let error = refused(&bed, &bed.how()).await;
    says(
        &error,
        &[
            "cannot log in as admin",
            "Valid Token Required",
            "this one is another's",
            "There is no access file",
        ],
    );
    // All of it from elsewhere, at this one's address.
    let mut foreign = LoginFile::read(&other.path("admin.yaml")).unwrap();
    foreign.address = mixed.address;
    foreign.write(&bed.path("admin.yaml")).unwrap();
    let error = refused(&bed, &bed.how()).await;
    says(&error, &["cannot reach the authority at localhost", "not known by the roots that this client has"]);
}

#[tokio::test]
async fn an_administrator_whose_certificate_and_token_have_ended() {
    let bed = Bed::new().await;
    bed.hands.forward(91);
    let error = refused(&bed, &bed.how()).await;
    says(
        &error,
        &[
            "the login file's token ended at 2027-02-20",
            "has ended, so it takes a login",
            "identity rotate NAME --dir DIR",
        ],
    );
}

#[tokio::test]
async fn identities_that_were_revoked_or_are_not_known() {
    let bed = Bed::new().await;
    bed.authority.revoke_identity("host-1").unwrap();
    let report = bed.update(&bed.force()).await.unwrap();
    one_failed(
        &report,
        &["identity host-1", "was revoked at the authority at localhost", "create another identity"],
    );

    let text = SITE.replace("identity: provider}", "identity: nobody}");
    let report = infrastructure(&bed.described(&text), &bed.how(), &bed.secrets).await.unwrap();
    let texts: Vec<String> = report.errors.iter().map(|error| error.error.to_string()).collect();
    assert!(report.text().contains("is of identity provider, and the site file says nobody"), "{texts:?}");

    bed.authority.revoke_identity(FIRST_IDENTITY).unwrap();
    let error = refused(&bed, &bed.how()).await;
    says(&error, &["admin was revoked", "have somebody with rights create another"]);
}

/// Puts another key into an access file.
fn misfit(path: &Path) {
    let mut access: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let key = PrivateKey::generate(KeyAlgorithm::Rsa2048).unwrap().to_pem(KeyEncoding::Pkcs1OrSec1).unwrap();
    access["ClientKey"] = STANDARD.encode(key.expose()).into();
    fs::write(path, access.to_string()).unwrap();
}

#[tokio::test]
async fn access_files_whose_key_does_not_fit() {
    let bed = Bed::new().await;
    misfit(&bed.path("host-1.json"));
    let before = fs::read(bed.path("host-1.json")).unwrap();
    let report = bed.update(&bed.force()).await.unwrap();
    one_failed(
        &report,
        &[
            "cannot use access file",
            "host-1.json",
            "its ClientKey does not fit its ClientCertificate",
            "away and run the same command again",
        ],
    );
    assert_eq!(fs::read(bed.path("host-1.json")).unwrap(), before);

    misfit(&bed.path("admin.json"));
    let error = refused(&bed, &bed.force()).await;
    says(
        &error,
        &[
            "cannot use access file",
            "admin.json",
            "does not fit its ClientCertificate",
            "kubecert authority login",
        ],
    );
}

#[tokio::test]
async fn clients_that_know_one_root_of_two_learn_the_other_in_time() {
    let bed = Bed::new().await;
    bed.authority.rotate_ca(jiff::SignedDuration::from_hours(24)).unwrap();
    let known = |file: &str| AccessFile::read(&bed.path(file)).unwrap().roots.len();
    assert_eq!((known("admin.json"), known("host-1.json")), (1, 1));
    bed.update(&bed.how()).await.unwrap();
    assert_eq!((known("admin.json"), known("host-1.json")), (2, 2));
    bed.hands.forward(2);
    // One that was left out: the cluster's, whose roots end with the overlap.
    let report = bed.update_cluster(&bed.how()).await.unwrap();
    one_failed(
        &report,
        &[
            "csi.json is as it was",
            "not known by the roots that this client has",
            "cannot reach the authority at localhost",
        ],
    );
    // And the administrator itself, had it been left out.
    let late = Bed::new().await;
    late.authority.rotate_ca(jiff::SignedDuration::from_hours(24)).unwrap();
    late.hands.forward(2);
    let error = refused(&late, &late.how()).await;
    says(
        &error,
        &["not known by the roots that this client has", "Fetch a new login file from the authority"],
    );
}

#[tokio::test]
async fn a_clock_that_is_wrong_by_days() {
    let bed = Bed::new().await;
    let clock = |days: i64| {
        let hands = Hands::at(begin());
        hands.forward(days);
        How { clock: hands, ..bed.how() }
    };
    let behind = refused(&bed, &clock(-3)).await;
    says(&behind, &["begins at 2026-11-22T12:00:00Z, and now it is 2026-11-19", "Set this machine's clock"]);
    let ahead = refused(&bed, &clock(200)).await;
    says(&ahead, &["this machine's clock is wrong: it says 2027-06-10"]);
    // Three days ahead, which no certificate shows before one is renewed: nothing is due by it, so nothing is lost.
    let report = bed.update(&clock(3)).await.unwrap();
    assert_eq!(report.count(Outcome::NotDue), 5, "{}", report.text());
}

#[tokio::test]
async fn a_layer_whose_turn_it_is_not() {
    let bed = Bed::with(OldTokens::UntilTheyEnd).await;
    bed.hands.forward(80);
    let described = SITE.lines().take(5).collect::<Vec<_>>().join("\n");
    infrastructure(&bed.described(&described), &bed.how(), &bed.secrets).await.unwrap();
    // The hosts' and the provider's tokens have ended, and the administrator is fine.
    bed.hands.forward(15);
    for layer in [Layer::Cloud, Layer::Kubelet] {
        let error = refused_cluster(&bed, "holidays", layer).await;
        says(
            &error,
            &[
                "the infrastructure of plant-7 comes first",
                "host-1",
                "it ended 2027-02-20",
                "kubecert Update-AksHciCertificates` first",
                "Nothing was changed",
            ],
        );
    }
    bed.update(&bed.how()).await.unwrap();
    // The same again is in order now; the certificates of the control plane, which are files here, have ended.
    let old = LoginFile::read(&bed.path("kms.yaml")).unwrap().roots.remove(0);
    fs::write(bed.path("apiserver.crt"), old.to_pem()).unwrap();
    let leaf = AccessFile::read(&bed.path("csi.json")).unwrap();
    fs::write(bed.path("apiserver.crt"), leaf.certificate().to_pem()).unwrap();
    let site = bed.described(&(SITE.to_owned() + "  - {class: control-plane, cluster: holidays, holder: control-1, certificates: apiserver.crt}\n"));
    let target = Target { name: "holidays", load_balancers: false };
    let before = bed.kept();
    let error = cluster::update(&site, &bed.how(), &target, &bed.secrets).await.expect_err("it is refused");
    says(
        &error,
        &[
            "the control plane of cluster holidays comes first",
            "-Name holidays -FixKubeletCredentials` first",
        ],
    );
    assert!(bed.kept() == before, "something was changed");
    let report = bed.update_cluster(&bed.how()).await.unwrap();
    assert_eq!(report.count(Outcome::Renewed), 3, "{}", report.text());
}

#[tokio::test]
async fn no_token_is_given_up_that_cannot_be_replaced() {
    let bed = Bed::new().await;
    *bed.secrets.read_only.lock().unwrap() = true;
    let token = bed.secrets.only().token_id();
    let report = bed.update(&bed.force()).await.unwrap();
    one_failed(
        &report,
        &["may not change secret default/caphlogintoken", "Identity provider has its token still"],
    );
    assert_eq!(bed.secrets.only().token_id(), token);
    bed.assert_all_are_let_in().await;
}

#[tokio::test]
async fn error_action_stop_leaves_the_rest_as_it_is() {
    let bed = Bed::new().await;
    bed.authority.revoke_identity("host-1").unwrap();
    let provider = bed.secrets.only().token_id();
    let how = How { errors: ErrorAction::Stop, ..bed.force() };
    let error = bed.update(&how).await.expect_err("it stops");
    says(&error, &["host-1", "was revoked", "what comes after was left as it is"]);
    assert_eq!(bed.secrets.only().token_id(), provider);
}

#[tokio::test]
async fn two_at_once_are_one_too_many() {
    let bed = Bed::new().await;
    let lock = kubecert_cloud::authority::AccessLock::take(&bed.path("admin.json")).unwrap();
    let error = refused(&bed, &bed.force()).await;
    says(&error, &["another process is changing it", "Wait until it is done"]);
    drop(lock);
    assert_eq!(bed.update(&bed.force()).await.unwrap().count(Outcome::Renewed), 5);
}

#[tokio::test]
async fn a_site_without_an_administrator_or_authority() {
    let bed = Bed::new().await;
    let site = bed.described(
        "name: plant-7\ncredentials:\n  - {class: node-agent, holder: host-1, login: host-1.yaml}\n",
    );
    let error = infrastructure(&site, &bed.how(), &bed.secrets).await.expect_err("it is refused");
    says(&error, &["names no access file of an administrator", "class: administrator"]);
    let error =
        super::rotate_ca::rotate(&site, Path::new("site.yaml"), &bed.how()).expect_err("it is refused");
    says(&error, &["site.yaml does not say where the authority's directory is", "authority: DIR"]);
    let _kept = Arc::clone(&bed.authority);
}
