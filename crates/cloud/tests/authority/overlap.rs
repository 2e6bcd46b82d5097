//! The CA is replaced, and nobody is cut off before the overlap ends.

use jiff::SignedDuration;
use kubecert_cloud::authority::{Status, When, learn_roots, renew};

use crate::support::{CA_S, CERTIFICATE_S, Site, assert_said, begin};

/// Long enough for everybody to renew.
const OVERLAP: SignedDuration = SignedDuration::from_secs(CERTIFICATE_S);

#[tokio::test(flavor = "multi_thread")]
async fn who_knows_only_one_of_two_roots_goes_on_during_the_overlap() {
    let site = Site::new().await;
    let (old_login, old_access) = site.client_of("old").await;
    let during = site.authority.rotate_ca(OVERLAP).unwrap();
    assert_eq!(during.roots.len(), 2);
    assert_eq!(during.status, Status::Overlap { until: begin().checked_add(OVERLAP).ok() });
    let (address, clock) = (site.address(), site.clock());
    // Only the old root is known to these: everyday work, renewal, login.
    let mut client = site.client(&old_access).await;
    let seen = client.monitor().await.unwrap();
    assert_eq!((seen.roots, seen.status), (during.roots.clone(), Status::Overlap { until: None }));
    let renewed = renew(&old_access, &address, When::Always, &clock).await.unwrap().unwrap();
    assert_eq!(renewed.roots, old_access.roots, "a renewal brings no roots");
    assert_eq!(renewed.certificate().issuer(), during.roots[0].subject(), "the new CA signs");
    site.client(&renewed).await.monitor().await.unwrap();
    site.login(&old_login).await.unwrap();
    // And only the new one to this one.
    let mut new_login = site.authority.rotate_identity("old").unwrap();
    assert_eq!(new_login.roots, during.roots);
    new_login.roots.truncate(1);
    let new_access = site.login(&new_login).await.unwrap();
    site.client(&new_access).await.monitor().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_overlap_who_knows_only_the_old_root_is_told_to_fetch_a_login_file() {
    let site = Site::new().await;
    let (_, access) = site.client_of("csi").await;
    site.authority.rotate_ca(OVERLAP).unwrap();
    let (address, clock) = (site.address(), site.clock());
    let renewed = renew(&access, &address, When::Always, &clock).await.unwrap().unwrap();
    let learned = learn_roots(&renewed, &address, &clock).await.unwrap().unwrap();
    assert_eq!(learn_roots(&learned, &address, &clock).await.unwrap().map(|access| access.roots), None);
    let after = site.authority.finish_overlap().unwrap();
    assert_eq!((after.roots.len(), after.status), (1, Status::Single));
    assert_said(
        renew(&renewed, &address, When::Always, &clock).await,
        &["cannot reach the authority at 127.0.0.1", "not known by the roots", "Fetch a new login file"],
    );
    // Who has learned the new root meanwhile goes on.
    site.client(&learned).await.monitor().await.unwrap();
    // But not with a certificate of the old CA.
    let mut stale = access.clone();
    stale.roots = learned.roots.clone();
    let mut client = site.client(&stale).await;
    assert_said(
        client.monitor().await,
        &["the client certificate is not accepted", "leads to none of the roots"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overlap_ends_by_itself_as_assumed_and_only_one_is_under_way() {
    let site = Site::new().await;
    site.authority.rotate_ca(OVERLAP).unwrap();
    assert_said(site.authority.rotate_ca(OVERLAP), &["an overlap is under way, until", "--finish"]);
    site.hands.forward(CERTIFICATE_S);
    assert_eq!(site.authority.monitor().unwrap().status, Status::Single);
    // The next one is from a document that had not been tidied.
    let again = site.authority.rotate_ca(OVERLAP).unwrap();
    assert_eq!(again.roots.len(), 2);
    assert_ne!(again.roots[0].subject(), again.roots[1].subject());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_has_ended_is_replaced_by_its_owner_and_everybody_logs_in_anew() {
    let site = Site::new().await;
    let (_, _) = site.client_of("csi").await;
    site.hands.forward(CA_S + 1);
    let login = site.authority.rotate_identity("csi").unwrap();
    assert_said(site.login(&login).await, &["cannot reach the authority"]);
    site.authority.rotate_ca(SignedDuration::ZERO).unwrap();
    let login = site.authority.rotate_identity("csi").unwrap();
    let access = site.login(&login).await.unwrap();
    site.client(&access).await.monitor().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_on_the_same_directory_is_seen_at_once() {
    let site = Site::new().await;
    let (_, access) = site.client_of("csi").await;
    let directory = site.path("authority");
    let other = kubecert_cloud::authority::Authority::open(&directory, site.clock()).unwrap();
    other.rotate_ca(OVERLAP).unwrap();
    let seen = site.client(&access).await.monitor().await.unwrap();
    assert_eq!(seen.roots.len(), 2);
    other.revoke_identity("csi").unwrap();
    let mut client = site.client(&access).await;
    assert_said(client.monitor().await, &["was revoked"]);
}
