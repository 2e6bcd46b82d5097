//! From a login file to a certificate, and on for as long as one likes.

use kubecert_cloud::authority::{
    AccessFile, AccessLock, Authority, ClientType, MocCode, OldTokens, Status, When, renew,
};
use kubecert_pki::KeyAlgorithm;
use secrecy::ExposeSecret as _;
use std::sync::Arc;

use crate::support::{CERTIFICATE_S, Site, assert_said, new_identity, serve, settings};

/// 63 of 90 days, in the tests' hour.
const DUE_S: i64 = CERTIFICATE_S * 7 / 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_buys_a_certificate_that_does_the_everyday_work() {
    let site = Site::new().await;
    let access = site.login(&site.admin).await.unwrap();
    let leaf = access.certificate();
    assert_eq!(leaf.subject().last_common_name().as_deref(), Some("admin"));
    assert_eq!(access.key().algorithm(), KeyAlgorithm::Rsa2048);
    assert!(!leaf.is_ca());
    assert_eq!(leaf.not_after().duration_since(leaf.not_before()).as_secs(), CERTIFICATE_S);
    let mut admin = site.client(&access).await;
    let login = admin.create(&new_identity("csi")).await.unwrap();
    assert_eq!((login.name.as_str(), login.address.as_ref()), ("csi", Some(&host_of(&site))));
    let identities = admin.identities().await.unwrap();
    let names: Vec<&str> = identities.iter().map(|identity| identity.name.as_str()).collect();
    assert_eq!(names, ["admin", "csi"]);
    assert_eq!(identities[0].client_type, ClientType::Admin);
    assert_eq!(admin.monitor().await.unwrap().status, Status::Single);
    site.login(&login).await.unwrap();
}

fn host_of(site: &Site) -> kubecert_cloud::authority::Address {
    kubecert_cloud::authority::Address { host: "localhost".into(), ..site.address() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_with_a_new_key_and_keeps_its_length_and_its_history() {
    let site = Site::new().await;
    let (_, first) = site.client_of("csi").await;
    let (address, clock) = (site.address(), site.clock());
    site.hands.forward(DUE_S - 1);
    assert!(renew(&first, &address, When::Due, &clock).await.unwrap().is_none(), "not due yet");
    site.hands.forward(1);
    let second = renew(&first, &address, When::Due, &clock).await.unwrap().unwrap();
    site.hands.forward(60);
    let third = renew(&second, &address, When::Always, &clock).await.unwrap().unwrap();
    for (old, new, count) in [(&first, &second, 1), (&second, &third, 2)] {
        let (old, new) = (old.certificate(), new.certificate());
        assert_ne!(old.public_key(), new.public_key());
        assert_ne!(old.serial(), new.serial());
        assert_eq!((old.subject(), old.sans()), (new.subject(), new.sans()));
        let life = |certificate: &kubecert_pki::Certificate| {
            certificate.not_after().duration_since(certificate.not_before())
        };
        assert_eq!(life(old), life(new));
        let value = |oid: &str| {
            let found = new.extensions().iter().find(|extension| extension.oid() == oid);
            found.map(|extension| extension.value().to_vec())
        };
        assert_eq!(value("1.3.6.1.4.1.311.104.1.2").as_deref(), Some(first.certificate().der()));
        assert_eq!(value("1.3.6.1.4.1.311.104.1.3"), Some(vec![2, 1, count]));
    }
    assert_eq!(third.identity, "csi");
    site.client(&third).await.monitor().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_certificate_needs_a_token_and_an_ended_token_somebody_with_rights() {
    let site = Site::new().await;
    let (login, access) = site.client_of("csi").await;
    // Its CA lives long enough to see all of it.
    site.hands.forward(CERTIFICATE_S + 1);
    let (address, clock) = (site.address(), site.clock());
    let error = assert_said(
        renew(&access, &address, When::Due, &clock).await,
        &["cannot renew the certificate of csi", "ended at", "kubecert authority login", "clock is wrong"],
    );
    assert_eq!(error.code, Some(MocCode::Expired));
    let error =
        assert_said(site.login(&login).await, &["the login file's token ended at", "rotate the identity"]);
    assert_eq!(error.code, Some(MocCode::Expired));
    // The owner's way, which needs no credential.
    let login = site.authority.rotate_identity("csi").unwrap();
    site.login(&login).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_makes_another_token_and_refuses_the_old_one_as_assumed() {
    let site = Site::new().await;
    let (old, access) = site.client_of("csi").await;
    let new = site.admin().await.rotate("csi").await.unwrap();
    assert_ne!(old.token.expose_secret(), new.token.expose_secret());
    let error = assert_said(site.login(&old).await, &["Valid Token Required", "a newer one"]);
    assert_eq!(error.code, Some(MocCode::Revoked));
    site.login(&new).await.unwrap();
    // Certificates are not touched by it.
    site.client(&access).await.monitor().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_may_leave_the_old_token_good_until_its_end_as_assumed() {
    let site = Site::with(settings(OldTokens::UntilTheyEnd)).await;
    let (old, _) = site.client_of("csi").await;
    let new = site.admin().await.rotate("csi").await.unwrap();
    site.login(&old).await.unwrap();
    site.login(&new).await.unwrap();
    site.authority.revoke_identity("csi").unwrap();
    assert_said(site.login(&old).await, &["was revoked"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_counts_at_once_on_connections_that_are_open() {
    let site = Site::new().await;
    let (login, access) = site.client_of("csi").await;
    let mut client = site.client(&access).await;
    client.monitor().await.unwrap();
    site.admin().await.revoke("csi").await.unwrap();
    let error = assert_said(client.monitor().await, &["identity csi was revoked at", "create another"]);
    assert_eq!(error.code, Some(MocCode::Revoked));
    let (address, clock) = (site.address(), site.clock());
    let error = assert_said(renew(&access, &address, When::Always, &clock).await, &["was revoked at"]);
    assert_eq!(error.code, Some(MocCode::Revoked));
    assert_said(site.login(&login).await, &["Valid Token Required", "was revoked"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_survives_a_restart() {
    let site = Site::new().await;
    let (login, access) = site.client_of("csi").await;
    site.authority.create_identity(&new_identity("gone")).unwrap();
    site.authority.revoke_identity("gone").unwrap();
    let Site { directory, hands, authority, server, .. } = site;
    drop((server, authority));
    let authority = Authority::open(&directory.path().join("authority"), Arc::clone(&hands) as _).unwrap();
    let authority = Arc::new(authority);
    let server = serve(&authority).await;
    let admin = authority.rotate_identity("admin").unwrap();
    let site = Site { directory, hands, authority, admin, server };
    site.client(&access).await.monitor().await.unwrap();
    site.login(&login).await.unwrap();
    let identities = site.admin().await.identities().await.unwrap();
    let revoked: Vec<(&str, bool)> =
        identities.iter().map(|identity| (identity.name.as_str(), identity.revoked)).collect();
    assert_eq!(revoked, [("admin", false), ("csi", false), ("gone", true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_file_is_its_owners_alone_and_changes_as_a_whole() {
    let site = Site::new().await;
    let (_, access) = site.client_of("csi").await;
    let path = site.path("cloudconfig");
    std::fs::write(&path, "old and open to all").unwrap();
    access.write(&path).unwrap();
    assert_eq!(crate::support::mode(&path), 0o600);
    let read = AccessFile::read(&path).unwrap();
    assert_eq!((read.certificate(), read.identity.as_str()), (access.certificate(), "csi"));
    let lock = AccessLock::take(&path).unwrap();
    assert_said(AccessLock::take(&path), &["another process is changing it"]);
    drop(lock);
    AccessLock::take(&path).unwrap();
    // A directory that is gone: what is there stays, and it is said.
    assert_said(access.write(&site.path("gone/cloudconfig")), &["cannot write access file", "unchanged"]);
}
