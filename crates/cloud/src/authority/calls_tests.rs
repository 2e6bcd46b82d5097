//! Calls that our own client does not make, over real TLS.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use jiff::Timestamp;
use kubecert_engine::ports::Clock;
use prost::Message;

use super::call::{Connection, Dial};
use super::code::MocCode;
use super::document::{Lifetimes, OldTokens};
use super::error::AuthorityError;
use super::login_file::{Address, ClientType, LoginFile};
use super::owner::{Authority, NewIdentity, Settings};
use super::server::{Server, ServerConfig};
use super::wire::{
    Assignment, AssignmentRequest, AssignmentResponse, Certificate, CertificateRequest, CertificateResponse,
    PrecheckResponse, Role, RoleRequest, RoleResponse, Scope, certificate_type, method, operation,
};

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// An authority that is served.
struct Site {
    _directory: tempfile::TempDir,
    authority: Arc<Authority>,
    admin: LoginFile,
    server: Server,
}

impl Site {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings {
            name: "calls".into(),
            hosts: vec!["127.0.0.1".into()],
            location: "plant-7".into(),
            port: 0,
            login_port: 0,
            lifetimes: Lifetimes::default(),
            old_tokens: OldTokens::Refused,
        };
        let at = directory.path().join("authority");
        let (authority, admin) = Authority::init(&at, &settings, Arc::new(SystemClock)).unwrap();
        let authority = Arc::new(authority);
        let listen = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let config = ServerConfig { listen, port: 0, login_port: 0 };
        let server = Server::start(Arc::clone(&authority), config).await.unwrap();
        Self { _directory: directory, authority, admin, server }
    }

    async fn connect(&self, login: &LoginFile) -> Connection {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (port, login_port) = (self.server.main().port(), self.server.login().port());
        let address = Address { host: "127.0.0.1".into(), port, login_port };
        let access = super::client::login(login, &address, &[], &clock).await.unwrap();
        let identity = Some((access.chain(), access.key()));
        let dial = Dial { host: "127.0.0.1", port, roots: &access.roots, identity, clock: &clock };
        Connection::open(dial).await.unwrap()
    }

    fn identity(&self, name: &str) -> LoginFile {
        let new = NewIdentity {
            name: name.into(),
            client_type: ClientType::ExternalClient,
            location: String::new(),
            token_lasts: None,
        };
        self.authority.create_identity(&new).unwrap()
    }
}

async fn refused<Q, A>(connection: &mut Connection, path: &'static str, request: Q) -> AuthorityError
where
    Q: Message + Send + Sync + 'static,
    A: Message + Default + Send + Sync + 'static,
{
    let answer: Result<A, _> = connection.call("cannot", path, request, None).await;
    answer.err().expect("it is refused")
}

fn certificates(name: &str, certificate_type: i32) -> CertificateRequest {
    let certificate = Certificate { name: name.into(), certificate_type, ..Certificate::default() };
    CertificateRequest { certificates: vec![certificate] }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_would_have_to_be_kept_are_refused_by_name() {
    let site = Site::new().await;
    let mut admin = site.connect(&site.admin).await;
    let mut csi = site.connect(&site.identity("csi")).await;
    for path in [method::CERTIFICATE_CREATE, method::CERTIFICATE_GET, method::CERTIFICATE_DELETE] {
        let asked = || certificates("lb-1", certificate_type::SERVER);
        let error = refused::<_, CertificateResponse>(&mut admin, path, asked()).await;
        assert_eq!(error.code, Some(MocCode::NotSupported));
        assert!(error.cause.contains("certificate \"lb-1\": this authority"), "{error}");
        let error = refused::<_, CertificateResponse>(&mut csi, path, asked()).await;
        assert_eq!(error.code, Some(MocCode::AccessDenied), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_had_is_a_result_and_no_refusal() {
    let site = Site::new().await;
    let mut admin = site.connect(&site.admin).await;
    for (request, why) in [
        (certificates("csi", certificate_type::CLIENT), "IdentityAgent has them: Not Supported"),
        (certificates("csi", 7), "of type 7, and there is no such type: Invalid Input"),
        (certificates("../x", certificate_type::SERVER), "a name has 1 to 64"),
        (CertificateRequest::default(), "there is no certificate to be checked"),
    ] {
        let answer: PrecheckResponse =
            admin.call("cannot check", method::CERTIFICATE_PRECHECK, request, None).await.unwrap();
        assert!(!answer.result.unwrap().value && answer.error.contains(why), "{answer:?}");
        assert!(answer.error.ends_with(": PreCheckFailed"), "public clients look for the word: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_can_be_neither_made_nor_deleted_and_are_refused_by_name() {
    let site = Site::new().await;
    let mut admin = site.connect(&site.admin).await;
    let asked =
        |operation| RoleRequest { roles: vec![Role { name: "King".into(), ..Role::default() }], operation };
    for operation in [operation::POST, operation::DELETE] {
        let error = refused::<_, RoleResponse>(&mut admin, method::ROLE_INVOKE, asked(operation)).await;
        assert_eq!(error.code, Some(MocCode::NotSupported));
        assert!(error.cause.contains("King can be neither made nor deleted"), "{error}");
    }
    let reader = site.identity("reader");
    site.authority.assign_role("reader", "RoleReader").unwrap();
    let mut reader = site.connect(&reader).await;
    let error = refused::<_, RoleResponse>(&mut reader, method::ROLE_INVOKE, asked(operation::POST)).await;
    assert_eq!(error.code, Some(MocCode::AccessDenied), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_for_a_part_of_the_site_is_not_given_for_all_of_it() {
    let site = Site::new().await;
    site.identity("csi");
    let mut admin = site.connect(&site.admin).await;
    let asked = |scope| AssignmentRequest {
        assignments: vec![Assignment {
            role: "Reader".into(),
            identity: "csi".into(),
            scope: Some(scope),
            ..Assignment::default()
        }],
        operation: operation::POST,
    };
    for scope in [
        Scope { location: "plant-8".into(), ..Scope::default() },
        Scope { resource_group: "group".into(), ..Scope::default() },
        Scope { provider: 13, ..Scope::default() },
        Scope { resource: "vm-1".into(), ..Scope::default() },
    ] {
        let path = method::ASSIGNMENT_INVOKE;
        let error = refused::<_, AssignmentResponse>(&mut admin, path, asked(scope)).await;
        assert_eq!(error.code, Some(MocCode::NotSupported));
        assert!(error.cause.contains("role Reader cannot be given to csi for a part"), "{error}");
    }
    let whole = Scope { location: "plant-7".into(), ..Scope::default() };
    let answer: AssignmentResponse =
        admin.call("cannot assign", method::ASSIGNMENT_INVOKE, asked(whole), None).await.unwrap();
    assert_eq!(answer.assignments[0].name, "csi-Reader");
}
