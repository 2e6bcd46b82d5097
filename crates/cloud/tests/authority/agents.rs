//! Roles, what is asked beforehand, and how the authority is. What is in roles and what health is about is not public.

use kubecert_cloud::authority::{ClientType, Health, MocCode, NewIdentity, RoleInfo};

use crate::support::{CA_S, Site, assert_said, new_identity};

fn allows(role: &RoleInfo) -> Vec<String> {
    role.actions.iter().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_told_by_name_or_all_with_what_they_allow_as_assumed() {
    let site = Site::new().await;
    let mut admin = site.admin().await;
    let all = admin.roles(&[]).await.unwrap();
    assert_eq!(all, site.authority.roles(&[]).unwrap(), "owner and client see the same");
    let names: Vec<&str> = all.iter().map(|role| role.name.as_str()).collect();
    for name in ["Owner", "Contributor", "Reader", "CertificateSigner", "HealthReader"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    let some = admin.roles(&["CertificateSigner".into(), "RoleReader".into()]).await.unwrap();
    let allowed: Vec<_> = some.iter().map(allows).collect();
    assert_eq!(allowed, [["Certificate Sign", "Certificate Renew"], ["Role Read", "RoleAssignment Read"]]);
    // Each role that is told can be given.
    for role in &all {
        admin.create(&new_identity(&format!("with-{}", role.name))).await.unwrap();
        admin.assign_role(&format!("with-{}", role.name), &role.name).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_roles_and_strangers_to_roles_are_refused() {
    let site = Site::new().await;
    let mut admin = site.admin().await;
    // One that there is does not make up for one that there is not.
    let error =
        assert_said(admin.roles(&["Owner".into(), "King".into()]).await, &["there is no role \"King\""]);
    assert_eq!(error.code, Some(MocCode::NotFound));
    let (_, access) = site.client_of("csi").await;
    let mut csi = site.client(&access).await;
    let error = assert_said(csi.roles(&[]).await, &["identity csi may not do that"]);
    assert_eq!(error.code, Some(MocCode::AccessDenied));
    site.authority.assign_role("csi", "RoleReader").unwrap();
    csi.roles(&[]).await.unwrap();
    site.authority.revoke_identity("csi").unwrap();
    assert_eq!(assert_said(csi.roles(&[]).await, &["was revoked"]).code, Some(MocCode::Revoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_an_identity_could_be_created_is_told_and_nothing_is_created() {
    let site = Site::new().await;
    let mut admin = site.admin().await;
    admin.check_create(&new_identity("csi")).await.unwrap();
    admin.check_create(&new_identity("csi")).await.unwrap();
    assert_eq!(admin.identities().await.unwrap().len(), 1, "it was only asked");
    let endless = NewIdentity { token_lasts: Some(jiff::SignedDuration::MAX), ..new_identity("csi") };
    for (new, why) in [
        (new_identity("admin"), "there is an identity admin already"),
        (new_identity("a b"), "a name has 1 to 64"),
        (endless, "the token would never end"),
    ] {
        let error = assert_said(admin.check_create(&new).await, &["could not be created", why]);
        assert_eq!(error.code, Some(MocCode::PreCheckFailed));
        // What is said beforehand is what happens.
        assert_said(admin.create(&new).await, &[why]);
    }
    // Nobody may make somebody who may do more, and that is known beforehand, too.
    let (_, access) = site.client_of("helper").await;
    let mut helper = site.client(&access).await;
    let administrator = NewIdentity { client_type: ClientType::Admin, ..new_identity("second") };
    let error = assert_said(helper.check_create(&new_identity("third")).await, &["may not do that"]);
    assert_eq!(error.code, Some(MocCode::AccessDenied), "who may not create may not ask");
    site.authority.assign_role("helper", "IdentityContributor").unwrap();
    helper.check_create(&new_identity("third")).await.unwrap();
    let error = assert_said(helper.check_create(&administrator).await, &["identity helper may not do that"]);
    assert_eq!(error.code, Some(MocCode::PreCheckFailed));
    site.authority.revoke_identity("helper").unwrap();
    let error = assert_said(helper.check_create(&new_identity("third")).await, &["was revoked"]);
    assert_eq!(error.code, Some(MocCode::Revoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_a_servers_certificate_could_be_signed_is_told_as_assumed() {
    let site = Site::new().await;
    let mut admin = site.admin().await;
    admin.check_sign_server("lb-1").await.unwrap();
    let error = assert_said(admin.check_sign_server("").await, &["a name has 1 to 64"]);
    assert_eq!(error.code, Some(MocCode::PreCheckFailed));
    let (_, access) = site.client_of("csi").await;
    let mut csi = site.client(&access).await;
    let error = assert_said(csi.check_sign_server("lb-1").await, &["identity csi may not do that"]);
    assert_eq!(error.code, Some(MocCode::AccessDenied));
    site.authority.assign_role("csi", "CertificateSigner").unwrap();
    csi.check_sign_server("lb-1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_to_its_readers_and_warns_in_the_last_quarter_of_a_short_ca_as_assumed() {
    let site = Site::new().await;
    let mut admin = site.admin().await;
    let info = admin.info().await.unwrap();
    assert_eq!(info, site.authority.info().unwrap(), "owner and client see the same");
    assert_eq!((info.name.as_str(), info.health), ("site-authority", Health::Ok));
    assert!(info.version.starts_with("kubecert "), "it does not pass for another: {}", info.version);
    assert_eq!(info.deployment_id.len(), 36, "{}", info.deployment_id);
    assert_ne!(info.deployment_id, Site::new().await.authority.info().unwrap().deployment_id);

    let (_, access) = site.client_of("csi").await;
    let mut csi = site.client(&access).await;
    assert_eq!(
        assert_said(csi.info().await, &["identity csi may not do that"]).code,
        Some(MocCode::AccessDenied)
    );
    site.authority.assign_role("csi", "HealthReader").unwrap();
    assert_eq!(csi.info().await.unwrap(), info);
    site.authority.revoke_identity("csi").unwrap();
    assert_eq!(assert_said(csi.info().await, &["was revoked"]).code, Some(MocCode::Revoked));

    site.hands.forward(CA_S * 3 / 4 + 1);
    let login = site.authority.rotate_identity("admin").unwrap();
    let access = site.login(&login).await.unwrap();
    let mut admin = site.client(&access).await;
    assert_eq!(admin.info().await.unwrap().health, Health::Warning);
    site.authority.rotate_ca(jiff::SignedDuration::from_hours(1)).unwrap();
    let after = admin.info().await.unwrap();
    assert_eq!(after, info, "with a new CA it is the same authority, and well");
    // Clients take an ended CA for nobody's, so that only the owner is told.
    site.authority.finish_overlap().unwrap();
    site.hands.forward(2 * CA_S);
    assert_eq!(site.authority.info().unwrap().health, Health::Critical);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_made_before_there_were_deployment_ids_has_none_and_goes_on() {
    let site = Site::new().await;
    let text = std::fs::read_to_string(site.document()).unwrap();
    let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
    document.as_object_mut().unwrap().remove("deployment_id").unwrap();
    std::fs::write(site.document(), document.to_string()).unwrap();
    let mut admin = site.admin().await;
    assert_eq!(admin.info().await.unwrap().deployment_id, "");
    admin.create(&new_identity("csi")).await.unwrap();
    let text = std::fs::read_to_string(site.document()).unwrap();
    assert!(!text.contains("deployment_id"), "an older program could not read it any more");
}
