//! A stand-in, and clients of it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kubecert_cloud::azure::{
    Azure, AzureConfig, AzureError, Cloud, CloudKind, Credential, HttpConfig, IdentitySystem, Pace,
    Registration,
};
use kubecert_cloud::testing::{Client, Hook, Operations, Stack, StandIn, StandInConfig, StandInMachine};
use kubecert_pki::{KeyEncoding, PrivateKey};

pub(crate) const SUBSCRIPTION: &str = "3f2c8d5e-6a1b-4c0d-9e7f-1a2b3c4d5e6f";
pub(crate) const CLIENT: &str = "7a0c5b1e-2222-4c0d-9e7f-1a2b3c4d5e6f";
pub(crate) const OTHER_CLIENT: &str = "9b0c5b1e-3333-4c0d-9e7f-1a2b3c4d5e6f";
pub(crate) const SECRET: &str = "correct horse & battery = staple+%";

/// A service principal's certificate with its key, in both encodings.
pub(crate) struct Principal {
    pub(crate) certificate: String,
    pub(crate) pkcs8: String,
    pub(crate) pkcs1: String,
}

fn principal() -> Principal {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
    let pkcs8 = key.serialize_pem();
    let pkcs1 = PrivateKey::from_pem(&pkcs8).unwrap().to_pem(KeyEncoding::Pkcs1OrSec1).unwrap();
    Principal { certificate: certificate.pem(), pkcs1: pkcs1.expose().to_owned(), pkcs8 }
}

/// The one that is registered, and one that is not. RSA keys take their time, so they are made once.
pub(crate) fn principals() -> &'static [Principal; 2] {
    static PRINCIPALS: OnceLock<[Principal; 2]> = OnceLock::new();
    PRINCIPALS.get_or_init(|| [principal(), principal()])
}

pub(crate) fn config() -> StandInConfig {
    let machine =
        |node: &str, set: Option<&str>| StandInMachine { node: node.to_owned(), set: set.map(str::to_owned) };
    StandInConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        names: vec!["127.0.0.1".to_owned()],
        resource_manager: String::new(),
        login: String::new(),
        audience: "https://management.example.onmicrosoft.com/1".to_owned(),
        subscription: SUBSCRIPTION.to_owned(),
        tenant: "5d0c5b1e-4444-4c0d-9e7f-1a2b3c4d5e6f".to_owned(),
        resource_group: "lab (1)".to_owned(),
        clients: vec![Client {
            id: CLIENT.to_owned(),
            secret: Some(SECRET.to_owned()),
            certificate: Some(principals()[0].certificate.clone()),
        }],
        machines: vec![
            machine("k8s-master-1-0", None),
            machine("k8s-master-1-1", None),
            machine("k8s-master-1-2", None),
            machine("1122K8S010", None),
            machine("k8s-pool-1-vmss000000", Some("k8s-pool-1-vmss")),
            machine("k8s-pool-1-vmss00000a", Some("k8s-pool-1-vmss")),
            machine("k8s-pool-1-vmss00000b", Some("k8s-pool-1-vmss")),
        ],
        token_lasts_s: 3600,
        stack: Stack::Hub,
        operations: Operations::ByState,
        page: 2,
        device_polls: 0,
    }
}

/// A hook that counts, and succeeds.
pub(crate) fn counting() -> (Hook, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let own = Arc::clone(&count);
    let hook: Hook = Arc::new(move |_| {
        let own = Arc::clone(&own);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(30)).await;
            own.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
    });
    (hook, count)
}

pub(crate) async fn start(config: StandInConfig) -> StandIn {
    StandIn::start(config, counting().0).await.unwrap()
}

pub(crate) fn secret() -> Credential {
    Credential::Secret { client: CLIENT.to_owned(), secret: SECRET.into() }
}

/// Calls without long pauses.
pub(crate) fn http(stand_in: &StandIn) -> HttpConfig {
    let pace = Pace {
        tries: 4,
        first_pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(20),
        poll_pause: Duration::from_millis(10),
        operation_patience: Duration::from_secs(5),
    };
    HttpConfig { roots: vec![stand_in.root_der().to_vec()], pace, ..HttpConfig::default() }
}

pub(crate) fn client(stand_in: &StandIn, identity: IdentitySystem, credential: Credential) -> AzureConfig {
    let config = config();
    let cloud = Cloud {
        name: "AzureStackCloud".to_owned(),
        kind: CloudKind::StackHub,
        resource_manager: stand_in.resource_manager(),
        login: stand_in.login(),
        audience: config.audience,
    };
    AzureConfig {
        cloud,
        subscription: config.subscription,
        resource_group: config.resource_group,
        identity,
        credential,
        http: http(stand_in),
    }
}

pub(crate) async fn connect(config: &AzureConfig) -> Result<Azure, AzureError> {
    Azure::connect(config, Registration::LookOnly).await
}
