//! Files: written, kept, restored, refused.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use kubecert_core::plan::Access;
use kubecert_engine::ports::{Fault, FileBytes, FileContent};
use zeroize::Zeroizing;

use super::testing::{Local, is_root, names, node, run};
use super::{back_up, read, remove, write};

fn file(path: &str, bytes: &[u8], access: Option<(u32, &str)>) -> FileBytes {
    let access = access.map(|(mode, owner)| Access { mode, owner: owner.to_owned() });
    FileBytes { path: path.to_owned(), bytes: FileContent::Bytes(Zeroizing::new(bytes.to_vec())), access }
}

fn other(path: &str, bytes: FileContent) -> FileBytes {
    FileBytes { path: path.to_owned(), bytes, access: None }
}

fn mode(path: &str) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

#[tokio::test]
async fn files_are_written_in_one_go_and_then_left_alone() {
    if !is_root() {
        return;
    }
    for local in [Local::new(), Local::bash()] {
        let at = |name: &str| local.path(name);
        fs::create_dir_all(at("kubernetes/manifests")).expect("made");
        // Content that a careless protocol trips over: line ends missing, our own keywords, NUL, nothing at all, much.
        let big = vec![b'x'; 3_000_000];
        let list = || {
            vec![
                file(&at("certs/a b'c.key"), b"no line end", Some((0o600, "nobody:nogroup"))),
                file(&at("certs/nul"), b"\0\n.\nfile 600\n\0", Some((0o644, "root:root"))),
                file(&at("certs/empty"), b"", Some((0o640, "root:nogroup"))),
                file(&at("certs/big"), &big, Some((0o600, "root:root"))),
                file(
                    &at("kubernetes/manifests/kube-apiserver.yaml"),
                    b"kind: Pod\n",
                    Some((0o644, "root:root")),
                ),
                other(&at("certs/link"), FileContent::Link(at("certs/nul"))),
            ]
        };
        let first = write(&local, &node(), &run(), list()).await.expect("they are written");
        assert!(first.iter().all(|file| !file.unchanged), "{first:?}");
        assert_eq!(fs::read(at("certs/nul")).expect("it is there"), b"\0\n.\nfile 600\n\0");
        assert_eq!(fs::read(at("certs/big")).expect("it is there"), big);
        assert_eq!((mode(&at("certs/a b'c.key")), mode(&at("certs/empty"))), (0o600, 0o640));
        assert_eq!(local.sh(&format!("stat -c %U:%G \"{}\"", at("certs/a b'c.key"))), "nobody:nogroup");
        assert_eq!(fs::read_link(at("certs/link")).expect("a link"), Path::new(&at("certs/nul")));
        assert_eq!(first[5].sha256, first[1].sha256);
        assert_eq!(names(local.dir.path().join("kubernetes").as_path()), ["manifests"]);
        assert_eq!(names(local.dir.path().join("kubernetes/manifests").as_path()), ["kube-apiserver.yaml"]);

        let changed = local.sh(&format!("stat -c %.9Z {}", at("certs/nul")));
        let second = write(&local, &node(), &run(), list()).await.expect("nothing to do");
        assert!(second.iter().all(|file| file.unchanged), "{second:?}");
        assert_eq!(local.sh(&format!("stat -c %.9Z {}", at("certs/nul"))), changed);

        // Without mode and owner those of the file are kept.
        let kept = vec![file(&at("certs/a b'c.key"), b"new", None)];
        assert!(!write(&local, &node(), &run(), kept).await.expect("it is written")[0].unchanged);
        assert_eq!(mode(&at("certs/a b'c.key")), 0o600);
        let missing = write(&local, &node(), &run(), vec![file(&at("certs/nothing"), b"", None)]).await;
        assert!(missing.expect_err("no mode is known").cause.contains("does not exist"));

        // A mode alone is a change, too.
        let opened = vec![file(&at("certs/nul"), b"\0\n.\nfile 600\n\0", Some((0o600, "root:root")))];
        assert!(!write(&local, &node(), &run(), opened).await.expect("it is written")[0].unchanged);
        assert!(local.log().contains("kubecert write: wrote "), "{}", local.log());
        assert!(!local.log().contains("no line end"));
    }
}

#[tokio::test]
async fn originals_come_back_byte_for_byte() {
    if !is_root() {
        return;
    }
    let local = Local::new();
    let at = |name: &str| local.path(name);
    fs::create_dir_all(at("certs")).expect("made");
    fs::write(at("certs/a"), b"old a").expect("written");
    local.sh(&format!(
        "chown nobody:nogroup {0}; chmod 640 {0}; touch -d 2020-01-01 {0}; ln -s a {1}",
        at("certs/a"),
        at("certs/current")
    ));
    let paths = [at("certs/a"), at("certs/current"), at("certs/new file")];
    back_up(&local, &node(), &run(), &paths).await.expect("copied");
    let new = || {
        let link = other(&at("certs/current"), FileContent::Link("new file".into()));
        vec![
            file(&at("certs/a"), b"new a", None),
            file(&at("certs/new file"), b"x", Some((0o600, "root:root"))),
            link,
        ]
    };
    write(&local, &node(), &run(), new()).await.expect("written");
    // Done again after a crash, the copies of the first time stay.
    back_up(&local, &node(), &run(), &paths).await.expect("nothing to do");

    let originals = || paths.iter().map(|path| other(path, FileContent::Original)).collect::<Vec<_>>();
    let back = write(&local, &node(), &run(), originals()).await.expect("restored");
    assert!(back.iter().all(|file| !file.unchanged), "{back:?}");
    assert_eq!(fs::read(at("certs/a")).expect("it is there"), b"old a");
    assert_eq!(
        local.sh(&format!("stat -c '%a %U:%G %y' {}", at("certs/a"))),
        "640 nobody:nogroup 2020-01-01 00:00:00.000000000 +0000"
    );
    assert_eq!(fs::read_link(at("certs/current")).expect("a link"), Path::new("a"));
    assert_eq!(names(&local.dir.path().join("certs")), ["a", "current"]);
    let again = write(&local, &node(), &run(), originals()).await.expect("nothing to do");
    assert!(again.iter().all(|file| file.unchanged), "{again:?}");
    let backup = at("base/01RUN/backup");
    assert_eq!(mode(&backup), 0o700);
    assert_eq!(mode(&at("base")), 0o700);

    let unknown = write(&local, &node(), &run(), vec![other(&at("certs/b"), FileContent::Original)]).await;
    assert!(unknown.expect_err("never backed up").cause.contains("no backup"));
}

#[tokio::test]
async fn a_full_disk_leaves_the_old_file_and_nothing_else() {
    let Some(local) =
        Local::isolated("mkdir full && mount -t tmpfs -o size=256k tmpfs full && echo old >full/a")
    else {
        return;
    };
    let path = local.path("full/a");
    let big = vec![b'x'; 1_000_000];
    let error = write(&local, &node(), &run(), vec![file(&path, &big, Some((0o600, "root:root")))]).await;
    let error = error.expect_err("it does not fit");
    assert!(error.cause.contains("No space left on device") && error.cause.contains(&path), "{error}");
    assert!(error.remedy.is_some());
    assert_eq!(local.sh(&format!("cat {path}; ls -A {}", local.path("full"))), "old\na");
    let copy = back_up(&local, &node(), &run(), std::slice::from_ref(&path)).await;
    copy.expect("the base is elsewhere");
}

#[tokio::test]
async fn streams_that_are_cut_off_change_nothing() {
    use crate::exec::{Exec as _, Job};
    let local = Local::new();
    let path = local.path("certs/a");
    let script = [super::write::FILES, include_str!("../scripts/write.sh")];
    let digest = "0".repeat(64);
    for input in [
        String::new(),
        "file 600 root:root 5".into(),
        format!("file 600 root:root 50 {digest}\n{path}\nshort"),
    ] {
        let job = Job::new("write", &script, super::QUICK, "cannot write")
            .arg("01RUN/backup")
            .input(Zeroizing::new(input.into_bytes()));
        let error = local.run(job).await.map(drop).expect_err("cut off");
        assert!(error.fault == Fault::Unexpected && error.cause.contains("cut off"), "{error}");
        assert!(!Path::new(&path).exists());
    }
    assert!(names(&local.dir.path().join("certs")).is_empty(), "no temporary file stays");
}

#[tokio::test]
async fn files_are_read_and_removed() {
    let local = Local::new();
    let path = local.path("dir/a b");
    assert_eq!(read(&local, &node(), &path).await.expect("fine"), None);
    fs::create_dir_all(local.path("dir/sub")).expect("made");
    fs::write(&path, b"present\n\0x").expect("written");
    assert_eq!(read(&local, &node(), &path).await.expect("fine").expect("there").as_slice(), b"present\n\0x");
    assert!(read(&local, &node(), &local.path("dir")).await.is_err());

    remove(&local, &node(), &[path.clone(), local.path("dir"), local.path("nothing")])
        .await
        .expect("removed");
    assert!(!Path::new(&local.path("dir")).exists());
    for near in ["/etc", "/etc/kubernetes", "/etc/kubernetes/../../x", "etc/kubernetes/x"] {
        assert!(remove(&local, &node(), &[near.to_owned()]).await.is_err(), "{near}");
    }
}

/// A key without its certificate is worse than neither: where one file cannot be written, none is.
#[tokio::test]
async fn files_are_written_together_or_not_at_all() {
    if !is_root() {
        return;
    }
    for local in [Local::new(), Local::bash()] {
        let at = |name: &str| local.path(name);
        let access = Some((0o600, "root:root"));
        let before = vec![file(&at("certs/etcd.key"), b"old key", access)];
        write(&local, &node(), &run(), before).await.expect("it is written");
        let list = vec![
            file(&at("certs/etcd.key"), b"new key", access),
            other(&at("certs/link"), FileContent::Link(at("certs/etcd.key"))),
            file(&at("certs/etcd.crt"), b"no mode is known for this one", None),
        ];
        write(&local, &node(), &run(), list).await.expect_err("the last one cannot be written");
        assert_eq!(fs::read(at("certs/etcd.key")).expect("it is there"), b"old key");
        assert_eq!(names(local.dir.path().join("certs").as_path()), ["etcd.key"]);
    }
}
