//! The KMS plugin: it encrypts and decrypts while the authority accepts it, and says why it does not otherwise.

use std::path::Path;

use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use kubecert_cloud::authority::{Address, LoginFile};
use kubecert_cloud::testing::kms::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, KmsConfig, KmsPlugin, LOGIN_PAUSE,
    StatusRequest, StatusResponse,
};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use crate::support::{CERTIFICATE_S, Site, mode, new_identity};

const NAME: &str = "KMSPlugin-holidays-moc-kms-plugin";

fn config(site: &Site) -> KmsConfig {
    KmsConfig {
        login_file: site.path("cloudlogin.yaml"),
        authority: Some(site.address()),
        socket: site.path("kms.sock"),
        key: site.path("kms.key"),
    }
}

async fn start(site: &Site) -> KmsPlugin {
    KmsPlugin::start(config(site), site.clock()).await.unwrap()
}

/// A client of the plugin, as an API server is one.
async fn client(socket: &Path) -> tonic::client::Grpc<Channel> {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { std::io::Result::Ok(TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector(connector).await.unwrap();
    tonic::client::Grpc::new(channel)
}

async fn call<Q, A>(site: &Site, path: &'static str, request: Q) -> Result<A, Status>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let mut grpc = client(&site.path("kms.sock")).await;
    grpc.ready().await.unwrap();
    let request = tonic::Request::new(request);
    let codec = ProstCodec::<Q, A>::default();
    grpc.unary(request, PathAndQuery::from_static(path), codec).await.map(tonic::Response::into_inner)
}

async fn encrypt(site: &Site) -> Result<EncryptResponse, Status> {
    let request = EncryptRequest { plaintext: b"seed".to_vec(), uid: "1".into() };
    call(site, "/v2.KeyManagementService/Encrypt", request).await
}

async fn decrypt(site: &Site, sealed: &EncryptResponse) -> Result<Vec<u8>, Status> {
    let (ciphertext, key_id) = (sealed.ciphertext.clone(), sealed.key_id.clone());
    let request = DecryptRequest { ciphertext, uid: "2".into(), key_id };
    let answer: DecryptResponse = call(site, "/v2.KeyManagementService/Decrypt", request).await?;
    Ok(answer.plaintext)
}

async fn status(site: &Site) -> Result<StatusResponse, Status> {
    call(site, "/v2.KeyManagementService/Status", StatusRequest {}).await
}

#[track_caller]
fn assert_refused<T>(answer: Result<T, Status>, code: Code, part: &str) {
    let Err(refusal) = answer else { panic!("it has worked") };
    assert_eq!(refusal.code(), code, "{refusal}");
    assert!(refusal.message().contains(part), "{part:?} is not in: {}", refusal.message());
}

async fn plugin_of(site: &Site) -> (LoginFile, KmsPlugin) {
    let login = site.authority.create_identity(&new_identity(NAME)).unwrap();
    login.write(&site.path("cloudlogin.yaml")).unwrap();
    (login, start(site).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_encrypts_and_decrypts_over_a_restart_and_renews_by_itself() {
    let site = Site::new().await;
    let (_, plugin) = plugin_of(&site).await;
    let told = status(&site).await.unwrap();
    assert_eq!((told.version.as_str(), told.healthz.as_str()), ("v2", "ok"));
    let sealed = encrypt(&site).await.unwrap();
    assert_eq!(sealed.key_id, told.key_id);
    assert_eq!(mode(&site.path("kms.key")), 0o600);
    drop(plugin);
    assert!(site.path("kms.sock").exists(), "a socket is left over");
    let _plugin = start(&site).await;
    assert_eq!(decrypt(&site, &sealed).await.unwrap(), b"seed");
    let another = EncryptResponse { key_id: "another".into(), ..sealed.clone() };
    assert_refused(decrypt(&site, &another).await, Code::InvalidArgument, "another key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_ended_is_felt_after_a_restart_only() {
    let site = Site::new().await;
    let (_, plugin) = plugin_of(&site).await;
    let sealed = encrypt(&site).await.unwrap();
    // A second certificate of a process that goes on outlives the token.
    site.hands.forward(CERTIFICATE_S * 8 / 10);
    // The pause after the login delays the renewal.
    tokio::time::sleep(LOGIN_PAUSE).await;
    status(&site).await.unwrap();
    site.hands.forward(CERTIFICATE_S * 3 / 10);
    assert_eq!(decrypt(&site, &sealed).await.unwrap(), b"seed", "works until restart");
    drop(plugin);
    let plugin = start(&site).await;
    assert_refused(status(&site).await, Code::Unauthenticated, "token ended at");
    assert_refused(decrypt(&site, &sealed).await, Code::Unauthenticated, "token ended at");
    // A new login file is read at the next login: after a restart, at once.
    site.authority.rotate_identity(NAME).unwrap().write(&site.path("cloudlogin.yaml")).unwrap();
    assert_refused(status(&site).await, Code::Unauthenticated, "token ended at");
    drop(plugin);
    let _plugin = start(&site).await;
    assert_eq!(decrypt(&site, &sealed).await.unwrap(), b"seed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_authority_says_is_handed_on() {
    let site = Site::new().await;
    let (_, plugin) = plugin_of(&site).await;
    let sealed = encrypt(&site).await.unwrap();
    // A superseded token: the certificate is as good as it was, and the next login fails.
    let newer = site.authority.rotate_identity(NAME).unwrap();
    assert!(status(&site).await.is_ok());
    drop(plugin);
    let plugin = start(&site).await;
    assert_refused(decrypt(&site, &sealed).await, Code::Unauthenticated, "Valid Token Required");
    drop(plugin);
    newer.write(&site.path("cloudlogin.yaml")).unwrap();
    let _plugin = start(&site).await;
    assert!(status(&site).await.is_ok());
    site.authority.revoke_identity(NAME).unwrap();
    assert_refused(encrypt(&site).await, Code::Unauthenticated, "Revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_not_there_makes_it_unavailable() {
    let site = Site::new().await;
    let login = site.authority.create_identity(&new_identity(NAME)).unwrap();
    login.write(&site.path("cloudlogin.yaml")).unwrap();
    // Nobody serves port 1.
    let nowhere = Address { port: 1, login_port: 1, ..site.address() };
    let _plugin =
        KmsPlugin::start(KmsConfig { authority: Some(nowhere), ..config(&site) }, site.clock()).await;
    assert_refused(status(&site).await, Code::Unavailable, "cannot reach the authority");
}
