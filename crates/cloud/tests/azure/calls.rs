//! How calls are made: trust, proxies, patience, refusals.

use std::time::{Duration, Instant};

use kubecert_cloud::apimodel::CustomCloud;
use kubecert_cloud::azure::{Azure, Cloud, HttpConfig, IdentitySystem, Proxies, Registration, discovery};
use kubecert_cloud::testing::{Stack, StandIn, StandInConfig, Trouble, TroubleKind};
use kubecert_core::model::NodeName;
use kubecert_engine::ports::{Fault, Machines as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::*;

fn trouble(stand_in: &StandIn, calls: &str, kind: TroubleKind, times: u32) {
    stand_in.trouble(Trouble { calls: calls.to_owned(), kind, times });
}

fn count(stand_in: &StandIn, part: &str) -> usize {
    stand_in.calls().iter().filter(|call| call.line.contains(part)).count()
}

#[tokio::test]
async fn throttling_is_waited_for_as_long_as_the_server_says() {
    let stand_in = start(config()).await;
    let azure = connect(&client(&stand_in, IdentitySystem::EntraId, secret())).await.unwrap();
    trouble(&stand_in, "k8s-master-1-0", TroubleKind::Throttled(1), 1);
    let began = Instant::now();
    azure.list().await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());

    // Whoever is to be left alone for an hour refuses.
    trouble(&stand_in, "k8s-master-1-0", TroubleKind::Throttled(3600), 1);
    let began = Instant::now();
    let error = azure.list().await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert!(error.cause.contains("TooManyRequests"), "{error}");
    assert!(error.is_transient() && error.remedy.is_some());
}

#[tokio::test]
async fn servers_in_trouble_and_broken_connections_are_tried_again_and_not_for_ever() {
    let stand_in = start(config()).await;
    let azure = connect(&client(&stand_in, IdentitySystem::EntraId, secret())).await.unwrap();
    trouble(&stand_in, "k8s-master-1-1", TroubleKind::Status(503, "ServerBusy"), 2);
    trouble(&stand_in, "k8s-master-1-2", TroubleKind::Broken, 2);
    azure.list().await.unwrap();
    assert_eq!((count(&stand_in, "k8s-master-1-1"), count(&stand_in, "k8s-master-1-2")), (3, 3));
    trouble(&stand_in, "k8s-master-1-1", TroubleKind::Status(500, "InternalServerError"), 100);
    let error = azure.list().await.unwrap_err();
    assert!(error.to_string().contains("virtual machine k8s-master-1-1"), "{error}");
    assert_eq!(count(&stand_in, "k8s-master-1-1"), 3 + 4);
}

#[tokio::test]
async fn a_restart_that_may_have_begun_is_not_begun_again() {
    let stand_in = start(config()).await;
    let azure = connect(&client(&stand_in, IdentitySystem::EntraId, secret())).await.unwrap();
    trouble(&stand_in, "/restart", TroubleKind::Broken, 1);
    let error = azure.restart(&NodeName::from("k8s-master-1-0")).await.unwrap_err();
    assert_eq!((error.fault, count(&stand_in, "/restart")), (Fault::Timeout, 1));
    // One that has certainly not is.
    trouble(&stand_in, "/restart", TroubleKind::Throttled(0), 1);
    azure.restart(&NodeName::from("k8s-master-1-0")).await.unwrap();
    assert_eq!(count(&stand_in, "/restart"), 3);
}

#[tokio::test]
async fn a_token_for_another_audience_is_refused() {
    let stand_in = start(config()).await;
    for identity in [IdentitySystem::EntraId, IdentitySystem::AdFs] {
        let mut other = client(&stand_in, identity, secret());
        "https://graph.windows.net/".clone_into(&mut other.cloud.audience);
        let error = connect(&other).await.unwrap_err();
        assert!(error.is("InvalidAuthenticationTokenAudience"), "{error}");
        assert!(error.remedy.unwrap().contains("--azure-env"));
        "https://nobody.example/".clone_into(&mut other.cloud.audience);
        let error = connect(&other).await.unwrap_err();
        assert!(error.is("AADSTS500011"), "{error}");
    }
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let stand_in = start(config()).await;
    for identity in [IdentitySystem::EntraId, IdentitySystem::AdFs] {
        let mut other = client(&stand_in, identity, secret());
        OTHER_CLIENT.clone_into(&mut other.subscription);
        let error = connect(&other).await.unwrap_err();
        assert!(error.is("SubscriptionNotFound"), "{error}");
        assert!(error.remedy.unwrap().contains("--subscription-id"));
    }
    let mut other = client(&stand_in, IdentitySystem::EntraId, secret());
    "elsewhere".clone_into(&mut other.resource_group);
    let error = connect(&other).await.unwrap().list().await.unwrap_err();
    assert!(error.to_string().contains("ResourceGroupNotFound"), "{error}");
    assert!(error.remedy.unwrap().contains("--resource-group"));
    let azure = connect(&client(&stand_in, IdentitySystem::EntraId, secret())).await.unwrap();
    let error = azure.restart(&NodeName::from("k8s-master-9-0")).await.unwrap_err();
    assert!(error.to_string().contains("k8s-master-9-0"), "{error}");
    assert_eq!(count(&stand_in, "/restart"), 0);
}

#[tokio::test]
async fn a_private_root_has_to_be_given() {
    let stand_in = start(config()).await;
    let mut without = client(&stand_in, IdentitySystem::EntraId, secret());
    without.http.roots = Vec::new();
    let error = connect(&without).await.unwrap_err();
    assert_eq!(error.fault, Fault::Refused, "{error}");
    assert!(error.remedy.unwrap().contains("--azure-root-certificate"));
    assert!(stand_in.calls().is_empty());
    without.http.roots = vec![b"no certificate".to_vec()];
    assert!(connect(&without).await.is_err());
}

#[tokio::test]
async fn a_stack_is_asked_for_its_endpoints_as_documented() {
    let stand_in = start(config()).await;
    let bare = CustomCloud {
        portal_url: None,
        resource_manager: Some(stand_in.resource_manager()),
        active_directory: None,
        service_management: None,
        token_audience: None,
    };
    let found = discovery::stack(&bare, &http(&stand_in)).await.unwrap();
    let expected = client(&stand_in, IdentitySystem::EntraId, secret()).cloud;
    assert_eq!(found, expected);
    let mut discovered = client(&stand_in, IdentitySystem::EntraId, secret());
    discovered.cloud = found;
    connect(&discovered).await.unwrap();

    let complete = CustomCloud {
        active_directory: Some("https://login.example/".to_owned()),
        service_management: Some("https://audience.example/".to_owned()),
        ..bare
    };
    let asked = count(&stand_in, "/metadata/");
    let found = discovery::stack(&complete, &http(&stand_in)).await.unwrap();
    assert_eq!((found.login.as_str(), count(&stand_in, "/metadata/")), ("https://login.example/", asked));
    let elsewhere = format!("{}nowhere/", stand_in.resource_manager());
    assert!(discovery::discover(&elsewhere, &http(&stand_in)).await.is_err());
}

#[tokio::test]
async fn calls_have_the_versions_that_the_stack_knows_and_the_operators_language() {
    for (stack, version) in
        [(Stack::Hub, "2020-06-01"), (Stack::OldHub, "2017-03-30"), (Stack::Public, "2019-12-01")]
    {
        let stand_in = start(StandInConfig { stack, ..config() }).await;
        let mut own = client(&stand_in, IdentitySystem::EntraId, secret());
        "de-de".clone_into(&mut own.http.language);
        if stack == Stack::Public {
            own.cloud.kind = Cloud::built_in("AzurePublicCloud").unwrap().kind;
        }
        connect(&own).await.unwrap().list().await.unwrap();
        let compute: Vec<_> =
            stand_in.calls().into_iter().filter(|call| call.line.contains("Microsoft.Compute")).collect();
        assert!(!compute.is_empty());
        for call in compute {
            assert_eq!(call.query.get("api-version").map(String::as_str), Some(version), "{}", call.line);
            assert_eq!(call.language.as_deref(), Some("de-de"));
        }
    }
}

#[tokio::test]
async fn resource_providers_are_registered_only_where_that_is_wanted() {
    let stand_in = start(config()).await;
    let own = client(&stand_in, IdentitySystem::EntraId, secret());
    connect(&own).await.unwrap();
    assert!(!stand_in.is_registered("Microsoft.Storage"));
    Azure::connect(&own, Registration::Register).await.unwrap();
    assert!(stand_in.is_registered("Microsoft.Storage"));
    assert_eq!(count(&stand_in, "/register"), 1, "those that are registered are left alone");
}

/// A proxy that knows `CONNECT` and counts the tunnels.
async fn proxy() -> (String, std::sync::Arc<std::sync::atomic::AtomicU32>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tunnels = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let own = tunnels.clone();
    tokio::spawn(async move {
        loop {
            let (mut from, _) = listener.accept().await.unwrap();
            let own = own.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(from.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let target = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap().to_owned();
                own.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let mut to = tokio::net::TcpStream::connect(target).await.unwrap();
                from.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let _ended = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    (format!("http://user:hunter2@{address}"), tunnels)
}

#[tokio::test]
async fn proxies_are_used_except_for_the_named_hosts() {
    let stand_in = start(config()).await;
    let (address, tunnels) = proxy().await;
    let used = || tunnels.load(std::sync::atomic::Ordering::SeqCst);
    let mut own = client(&stand_in, IdentitySystem::EntraId, secret());
    own.http.proxies = Proxies { https: Some(address), except: Some("127.0.0.1".to_owned()) };
    connect(&own).await.unwrap();
    assert_eq!(used(), 0);
    own.http.proxies.except = Some("example.com".to_owned());
    connect(&own).await.unwrap();
    assert!(used() > 0);
    assert!(!format!("{own:?}").contains("hunter2"));
    own.http = HttpConfig {
        proxies: Proxies { https: Some("::odd::hunter2".to_owned()), except: None },
        ..own.http
    };
    let error = connect(&own).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
}
