//! A site: an authority that is served, and a clock.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use kubecert_cloud::authority::{
    AccessFile, Address, Authority, AuthorityError, Client, ClientType, Lifetimes, LoginFile, NewIdentity,
    OldTokens, Server, ServerConfig, Settings, login,
};
use kubecert_engine::ports::Clock;
use kubecert_pki::SubjectAltName;
use tempfile::TempDir;

/// A clock that stands still until it is moved.
pub(crate) struct Hands(Mutex<Timestamp>);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

impl Hands {
    pub(crate) fn at(time: Timestamp) -> Arc<Self> {
        Arc::new(Self(Mutex::new(time)))
    }

    pub(crate) fn forward(&self, seconds: i64) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }
}

/// When all tests begin.
pub(crate) fn begin() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

/// An hour-long life for what is 90 days otherwise; the CA has four of them.
pub(crate) const CERTIFICATE_S: i64 = 3600;
pub(crate) const CA_S: i64 = 4 * CERTIFICATE_S;

pub(crate) struct Site {
    pub(crate) directory: TempDir,
    pub(crate) hands: Arc<Hands>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) admin: LoginFile,
    pub(crate) server: Server,
}

pub(crate) fn settings(old_tokens: OldTokens) -> Settings {
    Settings {
        name: "site-authority".into(),
        hosts: vec!["localhost".into(), "127.0.0.1".into()],
        location: "plant-7".into(),
        port: 0,
        login_port: 0,
        lifetimes: Lifetimes { ca_s: CA_S, certificate_s: CERTIFICATE_S, token_s: CERTIFICATE_S },
        old_tokens,
    }
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::with(settings(OldTokens::Refused)).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let directory = TempDir::new().unwrap();
        let hands = Hands::at(begin());
        let at = directory.path().join("authority");
        let (authority, admin) = Authority::init(&at, &settings, Arc::clone(&hands) as _).unwrap();
        let authority = Arc::new(authority);
        let server = serve(&authority).await;
        Self { directory, hands, authority, admin, server }
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.hands) as _
    }

    pub(crate) fn address(&self) -> Address {
        Address {
            host: "127.0.0.1".into(),
            port: self.server.main().port(),
            login_port: self.server.login().port(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn document(&self) -> PathBuf {
        self.path("authority").join("authority.json")
    }

    pub(crate) async fn login(&self, with: &LoginFile) -> Result<AccessFile, AuthorityError> {
        login(with, &self.address(), &sans(), &self.clock()).await
    }

    pub(crate) async fn admin(&self) -> Client {
        let access = self.login(&self.admin).await.unwrap();
        self.client(&access).await
    }

    pub(crate) async fn client(&self, access: &AccessFile) -> Client {
        Client::connect(access, &self.address(), &self.clock()).await.unwrap()
    }

    /// An identity that has logged in.
    pub(crate) async fn client_of(&self, name: &str) -> (LoginFile, AccessFile) {
        let login = self.authority.create_identity(&new_identity(name)).unwrap();
        let access = self.login(&login).await.unwrap();
        (login, access)
    }
}

pub(crate) async fn serve(authority: &Arc<Authority>) -> Server {
    let listen = IpAddr::V4(Ipv4Addr::LOCALHOST);
    Server::start(Arc::clone(authority), ServerConfig { listen, port: 0, login_port: 0 }).await.unwrap()
}

pub(crate) fn new_identity(name: &str) -> NewIdentity {
    NewIdentity {
        name: name.into(),
        client_type: ClientType::ExternalClient,
        location: String::new(),
        token_lasts: None,
    }
}

pub(crate) fn sans() -> Vec<SubjectAltName> {
    vec![SubjectAltName::dns("localhost"), SubjectAltName::ip([127, 0, 0, 1])]
}

/// An error with its remedy, as it is shown.
pub(crate) fn said(error: &AuthorityError) -> String {
    format!("{error} | {}", error.remedy.as_deref().unwrap_or_default())
}

#[track_caller]
pub(crate) fn assert_said<T>(result: Result<T, AuthorityError>, parts: &[&str]) -> AuthorityError {
    let Err(error) = result else { panic!("it has worked") };
    for part in parts {
        assert!(said(&error).contains(part), "{part:?} is not in: {}", said(&error));
    }
    error
}

pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
