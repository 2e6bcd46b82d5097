//! Who calls, and how that is proven.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kubecert_cloud::azure::{ClientCertificate, Credential, CredentialError, IdentitySystem};
use kubecert_cloud::testing::{Trouble, TroubleKind};
use kubecert_engine::ports::{Fault, Machines as _};

use super::support::*;

fn certificate(key: &str) -> Credential {
    let own = &principals()[0];
    let certificate = Arc::new(ClientCertificate::from_pem(&own.certificate, key).unwrap());
    Credential::Certificate { client: CLIENT.to_owned(), certificate }
}

#[tokio::test]
async fn a_secret_works_with_both_identity_systems() {
    let stand_in = start(config()).await;
    for identity in [IdentitySystem::EntraId, IdentitySystem::AdFs] {
        let azure = connect(&client(&stand_in, identity, secret())).await.unwrap();
        assert_eq!(azure.list().await.unwrap().len(), 7);
    }
    let asked: Vec<String> = stand_in.calls().into_iter().map(|call| call.line).collect();
    assert!(asked.contains(&"POST /5d0c5b1e-4444-4c0d-9e7f-1a2b3c4d5e6f/oauth2/token".to_owned()));
    assert!(asked.contains(&"POST /adfs/oauth2/token".to_owned()));
    let discoveries = asked.iter().filter(|line| line.ends_with(SUBSCRIPTION)).count();
    assert_eq!(discoveries, 1, "AD FS has one tenant, which is not asked for");
}

#[tokio::test]
async fn a_certificate_works_with_both_identity_systems_and_both_key_encodings() {
    let stand_in = start(config()).await;
    for identity in [IdentitySystem::EntraId, IdentitySystem::AdFs] {
        for key in [&principals()[0].pkcs1, &principals()[0].pkcs8] {
            connect(&client(&stand_in, identity, certificate(key))).await.unwrap();
        }
    }
}

#[tokio::test]
async fn wrong_credentials_are_refused_with_what_to_do() {
    let stand_in = start(config()).await;
    let refused = async |credential: Credential| {
        let error = connect(&client(&stand_in, IdentitySystem::EntraId, credential)).await.unwrap_err();
        assert_eq!(error.fault, Fault::Refused, "{error}");
        (error.code.unwrap(), error.remedy.unwrap())
    };
    let wrong = Credential::Secret { client: CLIENT.to_owned(), secret: "hunter2".into() };
    let (code, remedy) = refused(wrong).await;
    assert_eq!((code.as_str(), remedy.contains("not its id")), ("AADSTS7000215", true));
    let stranger = Credential::Secret { client: OTHER_CLIENT.to_owned(), secret: SECRET.into() };
    let (code, remedy) = refused(stranger).await;
    assert_eq!((code.as_str(), remedy.contains("--client-id")), ("AADSTS700016", true));
    let other = &principals()[1];
    let unregistered = Credential::Certificate {
        client: CLIENT.to_owned(),
        certificate: Arc::new(ClientCertificate::from_pem(&other.certificate, &other.pkcs8).unwrap()),
    };
    let (code, remedy) = refused(unregistered).await;
    assert_eq!((code.as_str(), remedy.contains("--certificate-path")), ("AADSTS700027", true));
    assert_eq!(stand_in.tokens_issued(), 0);
}

#[test]
fn a_certificate_and_a_key_must_belong_together() {
    let [own, other] = principals();
    let mismatch = ClientCertificate::from_pem(&own.certificate, &other.pkcs8);
    assert!(matches!(mismatch, Err(CredentialError::Mismatch)));
    let swapped = ClientCertificate::from_pem(&own.pkcs8, &own.pkcs8);
    assert!(matches!(swapped, Err(CredentialError::Certificate { .. })));
    let curve = rcgen::KeyPair::generate().unwrap();
    let elliptic = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&curve).unwrap();
    let error = ClientCertificate::from_pem(&elliptic.pem(), &curve.serialize_pem()).unwrap_err();
    assert!(error.to_string().contains("RSA"), "{error}");
}

/// An `az` that writes down how it was called.
fn az(directory: &std::path::Path, script: &str) -> Credential {
    let program = directory.join("az");
    std::fs::write(&program, format!("#!/bin/sh\nprintf '%s\\n' \"$@\" >\"$0.called\"\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    Credential::Cli { program, subscription: SUBSCRIPTION.to_owned() }
}

#[tokio::test]
async fn the_azure_cli_is_asked_for_a_token_as_documented() {
    let stand_in = start(config()).await;
    let directory = tempfile::tempdir().unwrap();
    let answer = format!(
        r#"echo '{{"accessToken":"{}","expiresOn":"2027-01-01 00:00:00.000000","expires_on":4102444800,"tokenType":"Bearer"}}'"#,
        stand_in.token(3600)
    );
    let credential = az(directory.path(), &answer);
    let azure = connect(&client(&stand_in, IdentitySystem::EntraId, credential)).await.unwrap();
    assert_eq!(azure.list().await.unwrap().len(), 7);
    let called = std::fs::read_to_string(directory.path().join("az.called")).unwrap();
    let expected = format!(
        "account\nget-access-token\n--output\njson\n--resource\n{}\n--subscription\n{SUBSCRIPTION}\n",
        config().audience
    );
    assert_eq!(called, expected);
    assert!(stand_in.calls().iter().all(|call| !call.line.contains("oauth2")));
}

#[tokio::test]
async fn an_azure_cli_that_fails_or_is_missing_says_so() {
    let stand_in = start(config()).await;
    let directory = tempfile::tempdir().unwrap();
    let failing = az(directory.path(), "echo \"ERROR: Please run 'az login' to setup account.\" >&2; exit 1");
    let error = connect(&client(&stand_in, IdentitySystem::EntraId, failing)).await.unwrap_err();
    assert!(error.to_string().contains("Please run 'az login'"), "{error}");
    let odd = az(directory.path(), "echo hello");
    let error = connect(&client(&stand_in, IdentitySystem::EntraId, odd)).await.unwrap_err();
    assert!(!error.to_string().contains("hello"), "it might be a token: {error}");
    let missing =
        Credential::Cli { program: directory.path().join("none"), subscription: SUBSCRIPTION.to_owned() };
    let error = connect(&client(&stand_in, IdentitySystem::EntraId, missing)).await.unwrap_err();
    assert!(error.remedy.unwrap().contains("--auth-method"), "{}", error.cause);
}

#[tokio::test]
async fn a_person_signs_in_by_device_code_as_documented() {
    let stand_in =
        start(kubecert_cloud::testing::StandInConfig { device_polls: 2, token_lasts_s: 2, ..config() }).await;
    let shown = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&shown);
    let show = move |text: &str| sink.lock().unwrap().push(text.to_owned());
    let credential = Credential::device("AzurePublicCloud", Arc::new(show));
    let azure = connect(&client(&stand_in, IdentitySystem::EntraId, credential)).await.unwrap();
    {
        let shown = shown.lock().unwrap();
        assert_eq!(shown.len(), 1);
        assert!(shown[0].contains("https://microsoft.com/devicelogin") && shown[0].contains("ABCD1234"));
    }
    // The token is renewed without the person.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    azure.list().await.unwrap();
    assert_eq!((shown.lock().unwrap().len(), stand_in.tokens_issued()), (1, 2));
}

#[tokio::test]
async fn ad_fs_knows_secrets_and_certificates_only() {
    let stand_in = start(config()).await;
    let directory = tempfile::tempdir().unwrap();
    for credential in [az(directory.path(), ""), Credential::device("AzureStackCloud", Arc::new(|_| {}))] {
        let error = connect(&client(&stand_in, IdentitySystem::AdFs, credential)).await.unwrap_err();
        assert!(error.remedy.unwrap().contains("client_certificate"));
    }
    assert!(stand_in.calls().is_empty());
}

#[tokio::test]
async fn tokens_are_renewed_in_mid_run_before_they_end() {
    let stand_in = start(kubecert_cloud::testing::StandInConfig { token_lasts_s: 2, ..config() }).await;
    let azure = connect(&client(&stand_in, IdentitySystem::EntraId, secret())).await.unwrap();
    let ends = tokio::time::Instant::now() + Duration::from_millis(3500);
    while tokio::time::Instant::now() < ends {
        azure.list().await.expect("no call meets a token that has ended");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(stand_in.tokens_issued() >= 3, "{}", stand_in.tokens_issued());
}

#[tokio::test]
async fn a_token_that_is_refused_as_ended_is_replaced_once() {
    let stand_in = start(config()).await;
    let azure = connect(&client(&stand_in, IdentitySystem::EntraId, secret())).await.unwrap();
    let ended = |times| Trouble {
        calls: "virtualMachineScaleSets".to_owned(),
        kind: TroubleKind::Status(401, "ExpiredAuthenticationToken"),
        times,
    };
    stand_in.trouble(ended(1));
    azure.list().await.unwrap();
    assert_eq!(stand_in.tokens_issued(), 2);
    stand_in.trouble(ended(2));
    let error = azure.list().await.unwrap_err();
    assert!(error.cause.contains("ExpiredAuthenticationToken"), "{error}");
    assert!(error.remedy.unwrap().contains("clock"));
}

#[tokio::test]
async fn an_issuer_that_is_out_of_reach_does_not_end_a_run_while_the_token_lasts() {
    let stand_in = start(kubecert_cloud::testing::StandInConfig { token_lasts_s: 8, ..config() }).await;
    let azure = connect(&client(&stand_in, IdentitySystem::EntraId, secret())).await.unwrap();
    stand_in.trouble(Trouble { calls: "oauth2".to_owned(), kind: TroubleKind::Broken, times: 4 });
    tokio::time::sleep(Duration::from_millis(4200)).await;
    azure.list().await.expect("the old token still lasts");
    azure.list().await.expect("and a new one is had when that is possible again");
    assert_eq!(stand_in.tokens_issued(), 2);
}
