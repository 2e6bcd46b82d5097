//! The deadlock: a KMS plugin whose token has ended, and an API server that is down because of it and cannot be written to.
//! The authority is a real one; machines and Secrets are in memory, and a plugin that is restarted really logs in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use kubecert_cloud::arc::{Place, RemoteCertificates, RemotePlace, Site};
use kubecert_cloud::authority::{AccessLock, LoginFile, OldTokens, login};
use kubecert_core::inventory::FileFacts;
use kubecert_engine::ports::{Clock, Restarted};
use zeroize::Zeroizing;

use super::cluster::{self, Target};
use super::kms::{self, Repaired};
use super::places::Elsewhere;
use super::report::{Outcome, Report};
use super::tests::{Bed, Hands};
use super::{How, infrastructure};
use crate::errors::{CliError, Kind};
use crate::human::paint::Paint;

const SITE: &str = "\
name: plant-7
authority: authority
credentials:
  - {class: administrator, holder: mocctl, login: admin.yaml}
  - {class: administrator, holder: mocctl, access: admin.json}
  - {class: kms-plugin, cluster: holidays, holder: control-1, login: /opt/cloudlogin.yaml, on: 10.0.0.4, restart: {static-pod: kms-plugin}}
  - {class: kms-plugin, cluster: holidays, holder: control-2, login: /opt/cloudlogin.yaml, on: 10.0.0.5, restart: {static-pod: kms-plugin}}
  - {class: kms-plugin, cluster: holidays, holder: kms, secret: kube-system/kms, in: cluster, identity: kms}
  - {class: csi-driver, cluster: holidays, holder: csi, secret: kube-system/csi, in: cluster, identity: csi}
";

const FIRST: &str = "/opt/cloudlogin.yaml on 10.0.0.4:22";
const SECOND: &str = "/opt/cloudlogin.yaml on 10.0.0.5:22";
const KMS: &str = "secret kube-system/kms (key value) of cluster holidays";
const CSI: &str = "secret kube-system/csi (key value) of cluster holidays";

/// Two control planes and their Secrets, by the names of the places.
struct Cluster {
    clock: Arc<Hands>,
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Places whose plugin has logged in since it was started.
    let_in: Mutex<BTreeSet<String>>,
    unreachable: Mutex<Option<&'static str>>,
    stuck: Mutex<bool>,
    /// What was done, in order.
    done: Mutex<Vec<String>>,
}

impl Cluster {
    /// Secrets are behind the API servers, and those behind their plugins.
    fn reach(&self, place: &Place) -> Result<String, CliError> {
        let name = place.to_string();
        match place {
            Place::Secret(_) if self.let_in.lock().unwrap().is_empty() => {
                Err(CliError::new(Kind::Cluster, "cluster holidays does not answer"))
            }
            Place::Remote(_) if *self.unreachable.lock().unwrap() == Some(name.as_str()) => {
                Err(CliError::new(Kind::Node, format!("cannot reach {name}")).hint("Start it."))
            }
            _ => Ok(name),
        }
    }

    fn note(&self, what: &str, place: &impl ToString) {
        self.done.lock().unwrap().push(format!("{what} {}", place.to_string()));
    }

    fn token(&self, place: &str) -> Option<String> {
        let files = self.files.lock().unwrap();
        LoginFile::parse(std::str::from_utf8(&files[place]).unwrap()).unwrap().token_id()
    }

    fn power_loss(&self) {
        self.let_in.lock().unwrap().clear();
    }
}

impl Elsewhere for Cluster {
    async fn read(&self, place: &Place) -> Result<Option<Zeroizing<Vec<u8>>>, CliError> {
        let name = self.reach(place)?;
        Ok(self.files.lock().unwrap().get(&name).cloned().map(Zeroizing::new))
    }

    async fn may_replace(&self, place: &Place, _old: &[u8]) -> Result<(), CliError> {
        self.reach(place).map(drop)
    }

    async fn replace(&self, place: &Place, old: &[u8], new: &[u8]) -> Result<(), CliError> {
        let name = self.reach(place)?;
        self.note("write", place);
        let was = self.files.lock().unwrap().insert(name, new.to_vec());
        assert_eq!(was.unwrap_or_default(), old, "nobody has changed it");
        Ok(())
    }

    async fn look(&self, place: &RemoteCertificates) -> Result<Vec<FileFacts>, CliError> {
        panic!("nobody looks at {place}");
    }

    async fn restart(&self, place: &RemotePlace) -> Result<Option<Restarted>, CliError> {
        if place.restart.is_none() {
            return Ok(None);
        }
        self.note("restart", place);
        if *self.stuck.lock().unwrap() {
            return Err(CliError::new(Kind::Node, "the kubelet has not started it again within 150 s"));
        }
        let bytes = self.files.lock().unwrap()[&place.to_string()].clone();
        let file = LoginFile::parse(std::str::from_utf8(&bytes).unwrap()).unwrap();
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        if login(&file, file.address.as_ref().unwrap(), &[], &clock).await.is_ok() {
            self.let_in.lock().unwrap().insert(place.to_string());
        }
        Ok(Some(Restarted::Yes))
    }

    async fn answers(&self, _cluster: &str) -> Result<(), CliError> {
        match self.let_in.lock().unwrap().is_empty() {
            true => Err(CliError::new(Kind::Cluster, "cluster holidays does not answer")),
            false => Ok(()),
        }
    }
}

struct Scene {
    bed: Bed,
    cluster: Cluster,
}

impl Scene {
    /// All is well.
    async fn new() -> Self {
        let bed = Bed::with(OldTokens::Refused).await;
        let file = |name: &str| std::fs::read(bed.path(name)).unwrap();
        let kms = file("kms.yaml");
        let files = [(FIRST, kms.clone()), (SECOND, kms.clone()), (KMS, kms), (CSI, file("csi.yaml"))];
        let cluster = Cluster {
            clock: Arc::clone(&bed.hands),
            files: Mutex::new(files.map(|(place, bytes)| (place.to_owned(), bytes)).into()),
            let_in: Mutex::new([FIRST, SECOND].map(str::to_owned).into()),
            unreachable: Mutex::default(),
            stuck: Mutex::default(),
            done: Mutex::default(),
        };
        Self { bed, cluster }
    }

    /// Tokens of the cluster have ended while its machines were off; the administrator was about.
    async fn after_an_outage() -> Self {
        let scene = Self::new().await;
        scene.bed.hands.forward(80);
        let own = SITE.lines().take(5).collect::<Vec<_>>().join("\n");
        infrastructure(&scene.bed.described(&own), &scene.bed.how(), &scene.cluster).await.unwrap();
        scene.bed.hands.forward(15);
        scene.cluster.power_loss();
        scene
    }

    fn site(&self) -> Site {
        self.bed.described(SITE)
    }

    async fn update(&self, how: &How) -> Result<Report, CliError> {
        let target = Target { name: "holidays", load_balancers: false };
        cluster::update(&self.site(), how, &target, &self.cluster).await
    }

    async fn repair(&self) -> Repaired {
        kms::repair(&self.site(), &self.bed.how(), "holidays", &self.cluster).await.unwrap()
    }

    async fn repaired(&self) -> Report {
        match self.repair().await {
            Repaired::Done(report) => report,
            Repaired::NothingDue => panic!("nothing was due"),
        }
    }

    /// The id of the identity's newest token.
    fn newest(&self, name: &str) -> Option<String> {
        let identities = self.bed.authority.identities().unwrap();
        identities.into_iter().find(|info| info.name == name).map(|info| info.id)
    }

    /// All that is kept anywhere, and all that was done.
    fn everything(&self) -> Vec<BTreeMap<String, Vec<u8>>> {
        let done = self.cluster.done.lock().unwrap().iter().map(|done| (done.clone(), Vec::new())).collect();
        vec![self.bed.kept(), self.cluster.files.lock().unwrap().clone(), done]
    }
}

/// What became of each place, with what became of its holder.
fn places(report: &Report) -> Vec<(&str, Outcome, Option<&str>)> {
    report
        .credentials
        .iter()
        .map(|item| (item.place.as_str(), item.outcome, item.restart.as_deref()))
        .collect()
}

const RESTARTED: Option<&str> = Some("static pod kms-plugin was restarted");

#[tokio::test]
async fn a_cluster_whose_secrets_nobody_can_read_gets_its_login_files_first() {
    let scene = Scene::after_an_outage().await;
    let report = scene.update(&scene.bed.how()).await.unwrap();
    assert_eq!(
        places(&report),
        [
            (FIRST, Outcome::Renewed, RESTARTED),
            (SECOND, Outcome::Renewed, RESTARTED),
            (KMS, Outcome::Renewed, None),
            (CSI, Outcome::Renewed, None),
        ],
        "{}",
        report.text()
    );
    assert!(report.errors.is_empty());
    let expected = [
        format!("write {FIRST}"),
        format!("restart {FIRST}"),
        format!("write {SECOND}"),
        format!("restart {SECOND}"),
        format!("write {KMS}"),
        format!("write {CSI}"),
    ];
    assert_eq!(*scene.cluster.done.lock().unwrap(), expected);
    // It was rotated once: the Secret has the very token that the machines got.
    for place in [FIRST, SECOND, KMS] {
        assert_eq!(scene.cluster.token(place), scene.newest("kms"), "{place}");
    }
    let before = scene.everything();
    let again = scene.update(&scene.bed.how()).await.unwrap();
    assert_eq!(again.count(Outcome::NotDue), 4, "{}", again.text());
    assert!(matches!(scene.repair().await, Repaired::NothingDue));
    assert!(scene.everything() == before, "something was touched");
}

#[tokio::test]
async fn before_the_kubernetes_layer_the_machines_alone_are_seen_to() {
    let scene = Scene::after_an_outage().await;
    let report = scene.repaired().await;
    assert_eq!(report.count(Outcome::Renewed), 2, "{}", report.text());
    assert!(report.text().contains("static pod kms-plugin was restarted"), "{}", report.text());
    assert_eq!(scene.cluster.let_in.lock().unwrap().len(), 2);
    // Those who come later need no other token.
    let newest = scene.newest("kms");
    let report = scene.update(&scene.bed.how()).await.unwrap();
    assert_eq!(report.count(Outcome::Renewed), 2, "{}", report.text());
    assert_eq!((scene.newest("kms"), scene.cluster.token(KMS)), (newest.clone(), newest));
}

#[tokio::test]
async fn what_is_not_due_is_not_touched() {
    let scene = Scene::new().await;
    let before = scene.everything();
    assert!(matches!(scene.repair().await, Repaired::NothingDue));
    // What ends soon lets a plugin in, and is for those who come later.
    scene.bed.hands.forward(64);
    assert!(matches!(scene.repair().await, Repaired::NothingDue));
    assert!(scene.everything() == before, "something was touched");
}

#[tokio::test]
async fn an_authority_that_cannot_be_asked_stands_in_the_way_of_what_is_due_alone() {
    let scene = Scene::new().await;
    let lock = AccessLock::take(&scene.bed.path("admin.json")).unwrap();
    assert!(matches!(scene.repair().await, Repaired::NothingDue));
    drop(lock);
    let scene = Scene::after_an_outage().await;
    let _lock = AccessLock::take(&scene.bed.path("admin.json")).unwrap();
    let refused = kms::repair(&scene.site(), &scene.bed.how(), "holidays", &scene.cluster).await;
    says(&refused.expect_err("it is due"), &["another process is changing it"]);
}

#[tokio::test]
async fn what_if_tells_of_it_and_changes_nothing() {
    let scene = Scene::after_an_outage().await;
    let before = scene.everything();
    let report = scene.update(&How { what_if: true, ..scene.bed.how() }).await.unwrap();
    let would = Some("static pod kms-plugin would be restarted");
    assert_eq!(
        places(&report),
        [(FIRST, Outcome::WouldBeRenewed, would), (SECOND, Outcome::WouldBeRenewed, would)]
    );
    assert!(scene.everything() == before, "something was touched");
}

#[track_caller]
fn says(error: &CliError, parts: &[&str]) {
    let text = error.text(Paint::PLAIN);
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert!(!text.contains("eyJ"), "it holds a token:\n{text}");
}

#[tokio::test]
async fn a_machine_that_cannot_be_reached_holds_its_identity_back() {
    let scene = Scene::after_an_outage().await;
    *scene.cluster.unreachable.lock().unwrap() = Some(SECOND);
    let before = scene.everything();
    let report = scene.repaired().await;
    says(&report.errors[0], &["cannot reach /opt/cloudlogin.yaml on 10.0.0.5:22"]);
    says(
        &report.errors[1],
        &["may be of identity kms", "Identity kms has its token still", "run the same command again"],
    );
    assert_eq!((report.errors.len(), report.count(Outcome::Renewed)), (2, 0), "{}", report.text());
    assert!(scene.everything() == before, "something was touched");
    let report = scene.update(&scene.bed.how()).await.unwrap();
    assert_eq!((report.errors.len(), report.count(Outcome::Renewed)), (2, 0), "{}", report.text());
    assert!(scene.everything() == before, "something was touched");
    *scene.cluster.unreachable.lock().unwrap() = None;
    assert!(scene.update(&scene.bed.how()).await.unwrap().errors.is_empty());
}

#[tokio::test]
async fn a_restart_that_fails_says_what_to_do_by_hand_and_the_next_run_goes_on() {
    let scene = Scene::after_an_outage().await;
    *scene.cluster.stuck.lock().unwrap() = true;
    let report = scene.update(&scene.bed.how()).await.unwrap();
    says(
        &report.errors[0],
        &["has not started it again", "The new login file is there", "crictl", "10.0.0.4"],
    );
    says(&report.errors[1], &["was not restarted, since one before it failed", "10.0.0.5"]);
    let (files, done) =
        (scene.cluster.files.lock().unwrap().clone(), scene.cluster.done.lock().unwrap().clone());
    assert_eq!(files[FIRST], files[SECOND]);
    assert_eq!(done, [format!("write {FIRST}"), format!("restart {FIRST}"), format!("write {SECOND}")]);
    // Nothing is due by the files now, and the API server does not answer.
    let newest = scene.newest("kms");
    *scene.cluster.stuck.lock().unwrap() = false;
    let report = scene.update(&scene.bed.how()).await.unwrap();
    assert!(report.errors.is_empty(), "{}", report.text());
    assert_eq!(
        places(&report)[..3],
        [
            (FIRST, Outcome::NotDue, RESTARTED),
            (SECOND, Outcome::NotDue, RESTARTED),
            (KMS, Outcome::Renewed, None)
        ],
        "{}",
        report.text()
    );
    assert_eq!(scene.newest("kms"), newest, "no other token was needed");
}

#[tokio::test]
async fn a_token_that_lies_on_one_machine_is_taken_to_the_other() {
    let scene = Scene::after_an_outage().await;
    let newer = scene.bed.authority.rotate_identity("kms").unwrap();
    scene.cluster.files.lock().unwrap().insert(FIRST.into(), newer.to_yaml().as_bytes().to_vec());
    let report = scene.repaired().await;
    assert_eq!(places(&report), [(FIRST, Outcome::NotDue, None), (SECOND, Outcome::Renewed, RESTARTED)]);
    assert_eq!(scene.newest("kms"), newer.token_id());
}

#[tokio::test]
async fn a_cluster_that_is_down_for_another_reason_is_told_of_as_before() {
    let scene = Scene::new().await;
    scene.cluster.power_loss();
    let text = SITE.replace(", restart: {static-pod: kms-plugin}", "");
    let target = Target { name: "holidays", load_balancers: false };
    let before = scene.everything();
    let updated =
        cluster::update(&scene.bed.described(&text), &scene.bed.how(), &target, &scene.cluster).await;
    says(&updated.expect_err("it is refused"), &["cluster holidays does not answer"]);
    assert!(scene.everything() == before, "something was touched");
}
