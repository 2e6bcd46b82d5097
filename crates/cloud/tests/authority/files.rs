//! What an authority keeps: whole, durable, its owner's alone.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::thread;

use kubecert_cloud::authority::{Authority, LoginFile, OldTokens};
use secrecy::ExposeSecret as _;

use crate::support::{Hands, Site, assert_said, begin, mode, new_identity, settings};

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_is_its_owners_alone_and_one_that_is_not_is_refused() {
    let site = Site::new().await;
    let directory = site.path("authority");
    assert_eq!((mode(&directory), mode(&site.document())), (0o700, 0o600));
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o750)).unwrap();
    assert_said(Authority::open(&directory, site.clock()).map(drop), &["mode 0750", "chmod go-rwx"]);
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(site.document(), fs::Permissions::from_mode(0o604)).unwrap();
    assert_said(Authority::open(&directory, site.clock()).map(drop), &["authority.json", "mode 0604"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_document_is_refused_and_never_written_over() {
    let site = Site::new().await;
    let whole = fs::read(site.document()).unwrap();
    for damaged in [&whole[..whole.len() / 2], b"", b"{\"schema\": 1}"] {
        fs::write(site.document(), damaged).unwrap();
        let error = site.authority.create_identity(&new_identity("csi"));
        assert_said(error, &["it is damaged", "Nothing was touched; restore it"]);
        assert_eq!(fs::read(site.document()).unwrap(), damaged);
        // Clients are told that there is trouble, not which.
        assert_said(site.login(&site.admin).await, &["cannot reach the authority"]);
    }
    fs::write(site.document(), &whole).unwrap();
    site.login(&site.admin).await.unwrap();
    let text = String::from_utf8(whole).unwrap();
    fs::write(site.document(), text.replacen("\"schema\": 1", "\"schema\": 2", 1)).unwrap();
    assert_said(site.authority.identities(), &["it has format 2, and this program knows 1"]);
}

#[test]
fn there_is_one_authority_in_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().join("deep/authority");
    let clock = Hands::at(begin());
    Authority::init(&at, &settings(OldTokens::Refused), clock.clone()).unwrap();
    let before = fs::read(at.join("authority.json")).unwrap();
    let again = Authority::init(&at, &settings(OldTokens::Refused), clock.clone()).map(drop);
    assert_said(again, &["there is one already"]);
    assert_eq!(fs::read(at.join("authority.json")).unwrap(), before);
    let none = Authority::open(&directory.path().join("none"), clock).map(drop);
    assert_said(none, &["No such file", "kubecert authority init"]);
}

#[test]
fn changes_from_many_sides_are_all_kept() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().join("authority");
    let clock = Hands::at(begin());
    Authority::init(&at, &settings(OldTokens::Refused), clock.clone()).unwrap();
    thread::scope(|scope| {
        for side in 0..4 {
            let (at, clock) = (at.clone(), Arc::clone(&clock));
            scope.spawn(move || {
                let authority = Authority::open(&at, clock).unwrap();
                for number in 0..5 {
                    authority.create_identity(&new_identity(&format!("id-{side}-{number}"))).unwrap();
                }
            });
        }
    });
    let authority = Authority::open(&at, clock).unwrap();
    assert_eq!(authority.identities().unwrap().len(), 21);
    let left: Vec<_> = fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_file_is_read_as_it_was_written() {
    let site = Site::new().await;
    let path = site.path("login.yaml");
    let written = site.authority.rotate_identity("admin").unwrap();
    written.write(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    let read = LoginFile::read(&path).unwrap();
    assert_eq!(read.token.expose_secret(), written.token.expose_secret());
    assert_eq!((&read.name, &read.roots), (&written.name, &written.roots));
    assert_eq!((read.client_type, read.address), (written.client_type, written.address));
    assert_eq!(read.location, "plant-7");
    fs::write(&path, "").unwrap();
    assert_said(LoginFile::read(&path), &["cannot use login file", "it is empty", "identity rotate"]);
}
