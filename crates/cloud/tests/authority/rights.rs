//! Who may do what. What roles hold is not public, so that all of this is assumed.

use kubecert_cloud::authority::{ClientType, MocCode, NewIdentity};

use crate::support::{Site, assert_said, new_identity};

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_administrator_may_look_at_nothing_but_the_monitor_as_assumed() {
    let site = Site::new().await;
    let (_, access) = site.client_of("csi").await;
    let mut client = site.client(&access).await;
    client.monitor().await.unwrap();
    for error in [
        client.identities().await.map(drop),
        client.create(&new_identity("other")).await.map(drop),
        client.rotate("admin").await.map(drop),
        client.revoke("admin").await,
        // Its own token is not its to give out.
        client.rotate("csi").await.map(drop),
    ] {
        assert_eq!(assert_said(error, &["may not do that"]).code, Some(MocCode::AccessDenied));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_checked_and_unique() {
    let site = Site::new().await;
    let mut admin = site.admin().await;
    let error =
        assert_said(admin.create(&new_identity("admin")).await, &["there is an identity admin already"]);
    assert_eq!(error.code, Some(MocCode::AlreadyExists));
    for name in ["../x", "a b", "", "é"] {
        let error = assert_said(admin.create(&new_identity(name)).await, &["a name has 1 to 64"]);
        assert_eq!(error.code, Some(MocCode::InvalidInput), "{name}");
    }
    let error = assert_said(admin.rotate("none").await, &["there is no identity \"none\""]);
    assert_eq!(error.code, Some(MocCode::NotFound));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_a_deleted_identity_is_not_its_successors_as_assumed() {
    let site = Site::new().await;
    let (_, access) = site.client_of("csi").await;
    // Deleting is a call of the wire API alone; here by its effect on the document.
    let text = std::fs::read_to_string(site.document()).unwrap();
    let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
    document["identities"].as_object_mut().unwrap().remove("csi");
    std::fs::write(site.document(), document.to_string()).unwrap();
    site.authority.create_identity(&new_identity("csi")).unwrap();
    let mut client = site.client(&access).await;
    assert_said(client.monitor().await, &["does not exist any more"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_may_make_another() {
    let site = Site::new().await;
    let second = NewIdentity { client_type: ClientType::Admin, ..new_identity("second") };
    let login = site.admin().await.create(&second).await.unwrap();
    let access = site.login(&login).await.unwrap();
    let mut second = site.client(&access).await;
    second.revoke("admin").await.unwrap();
    second.create(&new_identity("third")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_gives_what_is_assumed_of_it_and_nobody_gets_at_more_than_its_own_as_assumed() {
    let site = Site::new().await;
    let mut admin = site.admin().await;
    let (_, access) = site.client_of("helper").await;
    let mut helper = site.client(&access).await;
    let error = assert_said(helper.assign_role("helper", "Owner").await, &["may not do that"]);
    assert_eq!(error.code, Some(MocCode::AccessDenied));
    admin.assign_role("helper", "IdentityContributor").await.unwrap();
    let again = admin.assign_role("helper", "IdentityContributor").await;
    assert_eq!(assert_said(again, &["already"]).code, Some(MocCode::AlreadyExists));
    assert_said(admin.assign_role("helper", "King").await, &["there is no role \"King\""]);
    assert_said(admin.assign_role("none", "Owner").await, &["there is no identity"]);
    // The connection was open before: its rights are those of now.
    assert_eq!(helper.identities().await.unwrap().len(), 2);
    helper.create(&new_identity("third")).await.unwrap();
    helper.rotate("third").await.unwrap();
    // A token of somebody with more rights would be as good as these.
    for error in [
        helper.rotate("admin").await.map(drop),
        helper.revoke("admin").await,
        helper
            .create(&NewIdentity { client_type: ClientType::Admin, ..new_identity("fourth") })
            .await
            .map(drop),
        helper.assign_role("third", "Reader").await,
    ] {
        assert_eq!(
            assert_said(error, &["identity helper may not do that"]).code,
            Some(MocCode::AccessDenied)
        );
    }
    assert_eq!(admin.identities().await.unwrap().len(), 3, "what was refused has left nothing");
    // Who assigns roles gives no more than its own.
    site.authority.assign_role("third", "RoleContributor").unwrap();
    let login = site.authority.rotate_identity("third").unwrap();
    let mut third = site.client(&site.login(&login).await.unwrap()).await;
    third.assign_role("helper", "RoleReader").await.unwrap();
    assert_said(third.assign_role("third", "Owner").await, &["identity third may not do that"]);
}
