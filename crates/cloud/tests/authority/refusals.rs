//! What is refused, and that it is said why and what to do.

use std::fs;
use std::sync::Arc;

use kubecert_cloud::authority::{
    AccessFile, Address, Authority, Client, LoginFile, MocCode, When, login, renew,
};
use kubecert_engine::ports::Clock;
use kubecert_pki::{KeyAlgorithm, PrivateKey};
use secrecy::{ExposeSecret as _, SecretString};

use crate::support::{Hands, Site, assert_said, begin, new_identity, said, sans};

const DAY_S: i64 = 86_400;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_authority_is_refused() {
    let (site, other) = (Site::new().await, Site::new().await);
    // With its own roots, the other authority is a stranger before any token is sent.
    assert_said(site.login(&other.admin).await, &["not known by the roots", "Fetch a new login file"]);
    let foreign = LoginFile { roots: site.admin.roots.clone(), ..other.admin.clone() };
    let error = assert_said(
        site.login(&foreign).await,
        &[
            "cannot log in as admin",
            "Valid Token Required",
            "not signed by this authority",
            "this one is another's",
        ],
    );
    assert_eq!(error.code, Some(MocCode::InvalidToken));
    assert!(!said(&error).contains(foreign.token.expose_secret()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_for_its_own_identity_only() {
    let site = Site::new().await;
    let csi = site.authority.create_identity(&new_identity("csi")).unwrap();
    let dressed = LoginFile { name: "admin".into(), ..csi };
    assert_said(site.login(&dressed).await, &["Valid Token Required", "another identity's"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_token_is_told_before_anything_is_sent() {
    let site = Site::new().await;
    let with = |token: &str| LoginFile { token: SecretString::from(token), ..site.admin.clone() };
    assert_said(site.login(&with("s3cret")).await, &["cannot log in as admin", "its token is no JWT"]);
    let text = site.admin.token.expose_secret();
    let cut = &text[..text.len() - 4];
    assert_said(site.login(&with(cut)).await, &["Valid Token Required", "or was changed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_by_days_is_suspected() {
    let site = Site::new().await;
    let (csi, access) = site.client_of("csi").await;
    let address = site.address();
    let wrong = |days: i64| -> Arc<dyn Clock> {
        let hands = Hands::at(begin());
        hands.forward(days * DAY_S);
        hands
    };
    // A client that is days ahead takes everything for ended, one that is behind for not begun.
    let ahead = renew(&access, &address, When::Due, &wrong(9)).await;
    assert_said(ahead, &["ended at", "this machine's clock is wrong: it says 2026-12-01T12:00:00Z"]);
    let behind = renew(&access, &address, When::Due, &wrong(-9)).await;
    assert_said(
        behind,
        &["begins at 2026-11-22T12:00:00Z, and now it is 2026-11-13", "Set this machine's clock"],
    );
    assert_said(login(&csi, &address, &sans(), &wrong(9)).await, &["ended at", "clock is wrong"]);
    let behind = login(&csi, &address, &sans(), &wrong(-9)).await;
    assert_said(behind, &["its certificate does not count now", "clock is wrong: it says 2026-11-13"]);
    // An authority that is behind takes tokens of yesterday for tomorrow's.
    let clock = site.clock();
    let behind = Hands::at(begin());
    behind.forward(-1800);
    let authority = Authority::open(&site.path("authority"), behind).unwrap();
    let server = crate::support::serve(&Arc::new(authority)).await;
    let address =
        Address { host: "localhost".into(), port: server.main().port(), login_port: server.login().port() };
    assert_said(
        login(&csi, &address, &sans(), &clock).await,
        &["this authority's clock says 2026-11-22T11:30:00Z"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_differ_by_a_minute_disturb_nobody() {
    let site = Site::new().await;
    for seconds in [-50, 50] {
        let hands = Hands::at(begin());
        hands.forward(seconds);
        let (address, clock): (_, Arc<dyn Clock>) = (site.address(), hands);
        let access = login(&site.admin, &address, &sans(), &clock).await.unwrap();
        let renewed = renew(&access, &address, When::Always, &clock).await.unwrap().unwrap();
        Client::connect(&renewed, &address, &clock).await.unwrap().monitor().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_client_certificate_there_is_no_connection() {
    let site = Site::new().await;
    let path = site.path("cloudconfig");
    for (text, why) in [
        ("", "it is empty"),
        ("name: no access file", "it is not JSON"),
        ("{}", "it has no ClientCertificate"),
    ] {
        fs::write(&path, text).unwrap();
        assert_said(AccessFile::read(&path), &["cannot use access file", why, "kubecert authority login"]);
    }
    assert_said(AccessFile::read(&site.path("none")), &["cannot be read", "No such file"]);
    // A key of somebody else.
    let (_, access) = site.client_of("csi").await;
    let other = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let mixed = AccessFile::new(access.chain().to_vec(), other, access.roots.clone(), "csi".into());
    assert!(mixed.unwrap_err().contains("does not fit"));
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_another_authority_are_refused_call_by_call() {
    let (site, other) = (Site::new().await, Site::new().await);
    let (_, access) = other.client_of("csi").await;
    let roots = site.admin.roots.clone();
    let dressed =
        AccessFile::new(access.chain().to_vec(), access.key().clone(), roots, "admin".into()).unwrap();
    let mut client = site.client(&dressed).await;
    assert_said(client.identities().await, &["the client certificate is not accepted"]);
    let (address, clock) = (site.address(), site.clock());
    assert_said(renew(&dressed, &address, When::Always, &clock).await, &["not accepted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_may_not_renew_as_somebody_else() {
    let site = Site::new().await;
    let (_, access) = site.client_of("csi").await;
    let mut dressed = access.clone();
    dressed.identity = "admin".into();
    let (address, clock) = (site.address(), site.clock());
    let error = assert_said(
        renew(&dressed, &address, When::Always, &clock).await,
        &["identity csi may not do that", "Use the access file of an identity that may do this"],
    );
    assert_eq!(error.code, Some(MocCode::AccessDenied));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_or_has_another_name_is_told() {
    let site = Site::new().await;
    let access = site.login(&site.admin).await.unwrap();
    let clock = site.clock();
    let address = site.address();
    let wrong_name = Address { host: "127.0.0.2".into(), ..address.clone() };
    // The authority listens on 127.0.0.1 alone.
    let error = Client::connect(&access, &wrong_name, &clock).await.map(drop);
    assert_said(error, &["cannot reach the authority at 127.0.0.2", "Check that the authority is served"]);
    // Logins are not taken at the other port, and the other way round.
    let swapped = Address { port: address.login_port, login_port: address.port, ..address };
    let error =
        assert_said(login(&site.admin, &swapped, &sans(), &clock).await, &["does not offer that call"]);
    assert_eq!(error.code, Some(MocCode::NotSupported));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_debug_text_holds_a_secret() {
    let site = Site::new().await;
    let (csi, access) = site.client_of("csi").await;
    let shown = format!("{csi:?} {access:?}");
    assert!(!shown.contains(csi.token.expose_secret()));
    assert!(!shown.contains("PRIVATE KEY"));
}
