//! The cmdlets against a served authority, with a clock of the test's own and Secrets in memory. What the vendor's do inside is
//! not public: tests whose expectation rests on an inference say "assumed" in their names.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use kubecert_cloud::arc::{Place, RemoteCertificates, RemotePlace, SecretPlace, Site};
use kubecert_cloud::authority::{
    AccessFile, Authority, Client, ClientType, FIRST_IDENTITY, Lifetimes, LoginFile, NewIdentity, OldTokens,
    Server, ServerConfig, Settings, login,
};
use kubecert_core::inventory::FileFacts;
use kubecert_engine::ports::{Clock, Restarted};
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::cluster::{self, Target};
use super::places::Elsewhere;
use super::report::{Outcome, Report, What};
use super::{How, infrastructure, rotate_ca};
use crate::args::ErrorAction;
use crate::errors::{CliError, Kind};

/// A clock that stands still until it is moved.
pub(super) struct Hands(Mutex<Timestamp>);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

impl Hands {
    pub(super) fn at(time: Timestamp) -> Arc<Self> {
        Arc::new(Self(Mutex::new(time)))
    }

    pub(super) fn forward(&self, days: i64) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(SignedDuration::from_hours(24 * days)).unwrap();
    }
}

/// Secrets in memory, of clusters that may be down.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) entries: Mutex<BTreeMap<SecretPlace, Vec<u8>>>,
    pub(super) down: Mutex<bool>,
    pub(super) read_only: Mutex<bool>,
}

impl Memory {
    fn up(&self) -> Result<(), CliError> {
        match *self.down.lock().unwrap() {
            true => Err(CliError::new(Kind::Cluster, "the management cluster does not answer")),
            false => Ok(()),
        }
    }

    /// The login file in the only entry.
    pub(super) fn only(&self) -> LoginFile {
        let entries = self.entries.lock().unwrap();
        let bytes = entries.values().next().expect("there is one");
        LoginFile::parse(std::str::from_utf8(bytes).unwrap()).unwrap()
    }
}

impl Elsewhere for Memory {
    async fn read(&self, place: &Place) -> Result<Option<Zeroizing<Vec<u8>>>, CliError> {
        self.up()?;
        Ok(self.entries.lock().unwrap().get(&secret(place)).cloned().map(Zeroizing::new))
    }

    async fn may_replace(&self, place: &Place, _old: &[u8]) -> Result<(), CliError> {
        self.up()?;
        match *self.read_only.lock().unwrap() {
            true => Err(CliError::new(Kind::Cluster, format!("may not change {place}"))),
            false => Ok(()),
        }
    }

    async fn replace(&self, place: &Place, old: &[u8], new: &[u8]) -> Result<(), CliError> {
        self.up()?;
        let mut entries = self.entries.lock().unwrap();
        let entry = entries.get_mut(&secret(place)).expect("it was read");
        assert_eq!(entry, old, "nobody has changed it");
        *entry = new.to_vec();
        Ok(())
    }

    async fn look(&self, place: &RemoteCertificates) -> Result<Vec<FileFacts>, CliError> {
        panic!("nobody looks at {place}");
    }

    async fn restart(&self, place: &RemotePlace) -> Result<Option<Restarted>, CliError> {
        panic!("nobody reads {place}");
    }

    async fn answers(&self, _cluster: &str) -> Result<(), CliError> {
        self.up()
    }
}

fn secret(place: &Place) -> SecretPlace {
    match place {
        Place::Secret(place) => place.clone(),
        other => panic!("{other} is no Secret"),
    }
}

/// When all tests begin.
pub(super) fn begin() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

/// A site with an infrastructure of one host, and one cluster.
pub(super) struct Bed {
    pub(super) directory: TempDir,
    pub(super) hands: Arc<Hands>,
    pub(super) authority: Arc<Authority>,
    /// Served for as long as this lives.
    _server: Server,
    pub(super) secrets: Memory,
}

/// What stands in the site file of the tests.
pub(super) const SITE: &str = "\
name: plant-7
authority: authority
credentials:
  - {class: administrator, holder: mocctl, login: admin.yaml}
  - {class: administrator, holder: mocctl, access: admin.json}
  - {class: node-agent, holder: host-1, login: host-1.yaml}
  - {class: node-agent, holder: host-1, access: host-1.json}
  - {class: infrastructure-provider, holder: provider, secret: default/caphlogintoken, identity: provider}
  - {class: kms-plugin, cluster: holidays, holder: control-1, login: kms.yaml}
  - {class: csi-driver, cluster: holidays, holder: csi, access: csi.json, identity: csi}
  - {class: csi-driver, cluster: holidays, holder: csi, login: csi.yaml, identity: csi}
";

impl Bed {
    /// Everything has 90 days, the CA a year, and what the site file names was given out at the beginning.
    pub(super) async fn new() -> Self {
        Self::with(OldTokens::Refused).await
    }

    pub(super) async fn with(old_tokens: OldTokens) -> Self {
        const DAY_S: i64 = 86_400;
        let directory = TempDir::new().unwrap();
        let hands = Hands::at(begin());
        let settings = Settings {
            name: "site-authority".into(),
            hosts: vec!["localhost".into(), "127.0.0.1".into()],
            location: "plant-7".into(),
            port: 0,
            login_port: 0,
            lifetimes: Lifetimes { ca_s: 365 * DAY_S, certificate_s: 90 * DAY_S, token_s: 90 * DAY_S },
            old_tokens,
        };
        let at = directory.path().join("authority");
        let (authority, _) = Authority::init(&at, &settings, Arc::clone(&hands) as _).unwrap();
        let authority = Arc::new(authority);
        let listen = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let config = ServerConfig { listen, port: 0, login_port: 0 };
        let server = Server::start(Arc::clone(&authority), config).await.unwrap();
        let bed = Self { directory, hands, authority, _server: server, secrets: Memory::default() };
        // The first login file was made before the ports were known.
        bed.authority.rotate_identity(FIRST_IDENTITY).unwrap().write(&bed.path("admin.yaml")).unwrap();
        for (name, file) in [("host-1", "host-1.yaml"), ("kms", "kms.yaml"), ("csi", "csi.yaml")] {
            bed.create(name).write(&bed.path(file)).unwrap();
        }
        for (login, access) in
            [("admin.yaml", "admin.json"), ("host-1.yaml", "host-1.json"), ("csi.yaml", "csi.json")]
        {
            bed.log_in(login, access).await;
        }
        let provider = bed.create("provider").to_yaml().as_bytes().to_vec();
        let [place] = ["caphlogintoken"].map(|name| SecretPlace {
            cluster: None,
            namespace: "default".into(),
            name: name.into(),
            key: "value".into(),
        });
        bed.secrets.entries.lock().unwrap().insert(place, provider);
        bed
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn create(&self, name: &str) -> LoginFile {
        let client_type = ClientType::ControlPlane;
        let new = NewIdentity { name: name.into(), client_type, location: String::new(), token_lasts: None };
        self.authority.create_identity(&new).unwrap()
    }

    pub(super) async fn log_in(&self, file: &str, access: &str) {
        let file = LoginFile::read(&self.path(file)).unwrap();
        let address = file.address.clone().unwrap();
        let made = login(&file, &address, &[], &(Arc::clone(&self.hands) as _)).await.unwrap();
        made.write(&self.path(access)).unwrap();
    }

    pub(super) fn site(&self) -> Site {
        self.described(SITE)
    }

    pub(super) fn described(&self, text: &str) -> Site {
        Site::parse(text, self.directory.path()).unwrap()
    }

    pub(super) fn how(&self) -> How {
        How {
            force: false,
            what_if: false,
            confirm: false,
            verbose: false,
            errors: ErrorAction::Continue,
            ssh_key: None,
            clock: Arc::clone(&self.hands) as _,
        }
    }

    pub(super) fn force(&self) -> How {
        How { force: true, ..self.how() }
    }

    pub(super) async fn update(&self, how: &How) -> Result<Report, CliError> {
        infrastructure(&self.site(), how, &self.secrets).await
    }

    pub(super) async fn update_cluster(&self, how: &How) -> Result<Report, CliError> {
        let load_balancers = false;
        cluster::update(&self.site(), how, &Target { name: "holidays", load_balancers }, &self.secrets).await
    }

    /// Everything that the site keeps, so that it can be seen that nothing was touched.
    pub(super) fn kept(&self) -> BTreeMap<String, Vec<u8>> {
        let mut kept: BTreeMap<String, Vec<u8>> = fs::read_dir(self.directory.path())
            .unwrap()
            .map(Result::unwrap)
            .filter(|entry| entry.path().is_file())
            .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).unwrap()))
            .filter(|(name, _)| !name.ends_with(".lock"))
            .collect();
        let document = self.path("authority").join("authority.json");
        kept.insert("authority.json".into(), fs::read(document).unwrap());
        for (place, bytes) in self.secrets.entries.lock().unwrap().iter() {
            kept.insert(place.to_string(), bytes.clone());
        }
        kept
    }

    /// Whether everything that the site keeps is let in by the authority as it is now.
    pub(super) async fn assert_all_are_let_in(&self) {
        let clock: Arc<dyn Clock> = Arc::clone(&self.hands) as _;
        for file in ["admin.yaml", "host-1.yaml"] {
            let file = LoginFile::read(&self.path(file)).unwrap();
            login(&file, file.address.as_ref().unwrap(), &[], &clock).await.unwrap();
        }
        let provider = self.secrets.only();
        login(&provider, provider.address.as_ref().unwrap(), &[], &clock).await.unwrap();
        for access in ["admin.json", "host-1.json"] {
            let access = AccessFile::read(&self.path(access)).unwrap();
            let address = provider.address.as_ref().unwrap();
            Client::connect(&access, address, &clock).await.unwrap().monitor().await.unwrap();
        }
    }
}

/// Outcomes by identity and kind.
#[track_caller]
pub(super) fn outcomes(report: &Report) -> Vec<(String, What, Outcome)> {
    let items = report.credentials.iter();
    items.map(|item| (item.identity.clone().unwrap_or_default(), item.what, item.outcome)).collect()
}

#[tokio::test]
async fn nothing_is_renewed_that_is_not_due() {
    let bed = Bed::new().await;
    let before = bed.kept();
    let report = bed.update(&bed.how()).await.unwrap();
    assert_eq!(report.credentials.len(), 5);
    assert!(report.credentials.iter().all(|item| item.outcome == Outcome::NotDue), "{}", report.text());
    assert_eq!(bed.kept(), before);
    let report = bed.update_cluster(&bed.how()).await.unwrap();
    assert_eq!((report.credentials.len(), report.count(Outcome::NotDue)), (3, 3), "{}", report.text());
    assert_eq!(bed.kept(), before);
}

#[tokio::test]
async fn what_is_due_is_renewed_once_and_works_assumed() {
    let bed = Bed::new().await;
    // 30 % of 90 days are 27.
    bed.hands.forward(63);
    let would = bed.update(&How { what_if: true, ..bed.how() }).await.unwrap();
    assert_eq!(would.count(Outcome::WouldBeRenewed), 5, "{}", would.text());
    let report = bed.update(&bed.how()).await.unwrap();
    assert_eq!(report.count(Outcome::Renewed), 5, "{}", report.text());
    bed.assert_all_are_let_in().await;
    for file in ["admin.yaml", "admin.json", "host-1.yaml", "host-1.json"] {
        assert_eq!(fs::metadata(bed.path(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    let again = bed.update(&bed.how()).await.unwrap();
    assert_eq!(again.count(Outcome::NotDue), 5, "{}", again.text());
    // Beyond the end of what there was at first, everything goes on.
    bed.hands.forward(40);
    bed.assert_all_are_let_in().await;
}

#[tokio::test]
async fn what_if_changes_nothing() {
    let bed = Bed::new().await;
    bed.hands.forward(63);
    let before = bed.kept();
    bed.update(&How { what_if: true, force: true, ..bed.how() }).await.unwrap();
    bed.update_cluster(&How { what_if: true, force: true, ..bed.how() }).await.unwrap();
    rotate_ca::rotate(&bed.site(), &bed.path("site.yaml"), &How { what_if: true, ..bed.how() }).unwrap();
    assert_eq!(bed.kept(), before);
}

#[tokio::test]
async fn force_renews_all_of_its_layer_and_nothing_else() {
    let bed = Bed::new().await;
    let before = bed.kept();
    let report = bed.update(&bed.force()).await.unwrap();
    assert_eq!(report.count(Outcome::Renewed), 5, "{}", report.text());
    bed.assert_all_are_let_in().await;
    let after = bed.kept();
    for file in ["kms.yaml", "csi.yaml", "csi.json"] {
        assert_eq!(before[file], after[file], "{file} is another layer's");
    }
    let report = bed.update_cluster(&bed.force()).await.unwrap();
    assert_eq!(report.count(Outcome::Renewed), 3, "{}", report.text());
    assert_eq!(bed.kept()["host-1.yaml"], after["host-1.yaml"]);
}

#[tokio::test]
async fn what_has_ended_is_had_again_by_tokens_that_the_administrator_makes_assumed() {
    let bed = Bed::new().await;
    bed.hands.forward(80);
    // The administrator was used in time, the others were not.
    let described = SITE.lines().take(5).collect::<Vec<_>>().join("\n");
    infrastructure(&bed.described(&described), &bed.how(), &bed.secrets).await.unwrap();
    bed.hands.forward(20);
    let report = bed.update(&bed.how()).await.unwrap();
    let renewed = report.credentials.iter().filter(|item| item.outcome == Outcome::Renewed);
    let renewed: Vec<_> = renewed.map(|item| item.identity.clone().unwrap()).collect();
    assert_eq!(renewed, ["host-1", "host-1", "provider"], "{}", report.text());
    bed.assert_all_are_let_in().await;
}

#[tokio::test]
async fn an_idle_administrator_logs_in_again() {
    let bed = Bed::with(OldTokens::UntilTheyEnd).await;
    bed.hands.forward(50);
    bed.authority.rotate_identity(FIRST_IDENTITY).unwrap().write(&bed.path("admin.yaml")).unwrap();
    bed.hands.forward(50);
    let report = bed.update(&bed.how()).await.unwrap();
    assert_eq!(
        outcomes(&report)[0],
        ("admin".into(), What::Certificate, Outcome::Renewed),
        "{}",
        report.text()
    );
    assert!(report.credentials[0].why.as_deref().unwrap().contains("it ended at"));
    bed.assert_all_are_let_in().await;
}

#[tokio::test]
async fn an_access_file_that_is_not_there_is_made_by_logging_in() {
    let bed = Bed::new().await;
    fs::remove_file(bed.path("host-1.json")).unwrap();
    fs::remove_file(bed.path("admin.json")).unwrap();
    let report = bed.update(&bed.how()).await.unwrap();
    assert_eq!(report.count(Outcome::Renewed), 2, "{}", report.text());
    bed.assert_all_are_let_in().await;
}

#[tokio::test]
async fn an_empty_place_whose_identity_is_named_is_filled() {
    let bed = Bed::new().await;
    fs::write(bed.path("csi.yaml"), "").unwrap();
    let report = bed.update_cluster(&bed.how()).await.unwrap();
    assert_eq!(report.count(Outcome::Renewed), 1, "{}", report.text());
    let filled = LoginFile::read(&bed.path("csi.yaml")).unwrap();
    assert_eq!(filled.name, "csi");
}

#[tokio::test]
async fn a_run_that_was_cut_off_between_authority_and_file_is_finished_by_the_next() {
    let bed = Bed::new().await;
    // The authority has given out another token, and nobody has it.
    drop(bed.authority.rotate_identity("host-1").unwrap());
    let report = bed.update(&bed.how()).await.unwrap();
    let item =
        report.credentials.iter().find(|item| item.outcome == Outcome::Renewed).expect("one is renewed");
    assert_eq!((item.identity.as_deref(), item.what), (Some("host-1"), What::Token));
    assert!(item.why.as_deref().unwrap().contains("has another token by now"), "{}", report.text());
    bed.assert_all_are_let_in().await;
}

#[tokio::test]
async fn all_places_of_an_identity_get_its_new_token_together() {
    let bed = Bed::new().await;
    fs::copy(bed.path("kms.yaml"), bed.path("kms-2.yaml")).unwrap();
    let text = SITE.to_owned()
        + "  - {class: kms-plugin, cluster: holidays, holder: control-2, login: kms-2.yaml}\n";
    bed.authority.rotate_identity("kms").unwrap().write(&bed.path("kms.yaml")).unwrap();
    let site = bed.described(&text);
    let target = Target { name: "HOLIDAYS", load_balancers: false };
    // The newest token lies in one of them already: it is not given up for the sake of the other.
    let newest = fs::read(bed.path("kms.yaml")).unwrap();
    let report = cluster::update(&site, &bed.how(), &target, &bed.secrets).await.unwrap();
    assert_eq!(report.count(Outcome::Renewed), 1, "{}", report.text());
    let token = |file: &str| LoginFile::read(&bed.path(file)).unwrap().token_id();
    assert_eq!(token("kms.yaml"), token("kms-2.yaml"));
    assert_eq!(fs::read(bed.path("kms.yaml")).unwrap(), newest);
    // It lies in none: another one is made, and all of them get it.
    drop(bed.authority.rotate_identity("kms").unwrap());
    let report = cluster::update(&site, &bed.how(), &target, &bed.secrets).await.unwrap();
    assert_eq!(report.count(Outcome::Renewed), 2, "{}", report.text());
    assert_eq!(token("kms.yaml"), token("kms-2.yaml"));
}

#[tokio::test]
async fn a_rotated_ca_reaches_everybody_before_the_old_one_ends_assumed() {
    let bed = Bed::new().await;
    let rotated = rotate_ca::rotate(&bed.site(), &bed.path("site.yaml"), &bed.how()).unwrap();
    assert!(rotated.text().starts_with("The CA was replaced.\nOverlap"), "{}", rotated.text());
    let again = rotate_ca::rotate(&bed.site(), &bed.path("site.yaml"), &bed.how()).unwrap();
    assert!(again.text().contains("nothing was done"), "{}", again.text());
    let report = bed.update(&bed.how()).await.unwrap();
    assert_eq!(report.count(Outcome::Renewed), 5, "{}", report.text());
    assert_eq!(bed.update(&bed.how()).await.unwrap().count(Outcome::NotDue), 5);
    // The overlap of 30 days is over.
    bed.hands.forward(31);
    bed.assert_all_are_let_in().await;
    // Whoever was left out knows one root only, and its token is good: it is found by that and told the new one.
    let report = bed.update_cluster(&bed.how()).await.unwrap();
    assert_eq!(report.count(Outcome::Renewed), 2, "{}", report.text());
    assert_eq!(report.count(Outcome::Failed), 1, "{}", report.text());
}
