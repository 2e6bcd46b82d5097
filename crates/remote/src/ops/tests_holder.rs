//! Holders of credentials: they are restarted once after their file has changed, and nobody else is.

use kubecert_engine::ports::{Holder, Restarted};

use super::restart_holder;
use super::testing::{Local, node};

/// Stands in for a kubelet with two static pods that have the same program, and a volume in memory of one of them, which every
/// process of the machine sees. Containers are known by what is mounted at `/etc/hosts`.
const KUBELET: &str = r#"
mount -t tmpfs tmpfs /var/log
mkdir -p bin file seen pods volume
cat >bin/plugin <<'EOT'
#!/bin/sh
echo $$ >"seen/$1"
exec sleep 1000
EOT
cat >bin/kubelet <<'EOT'
#!/bin/sh
while :; do
    unshare -m sh -c "mount --bind pods/$2/etc-hosts /etc/hosts && exec bin/plugin $1"
    sleep 0.1
done
EOT
chmod +x bin/*
node=$(uname -n | tr '[:upper:]' '[:lower:]')
pod() {
    uid=$(printf '%s' "$1" | md5sum | cut -c 1-32)
    mkdir -p "/var/log/pods/kube-system_$1-${2:-$node}_$uid" "pods/$uid/volume"
    : >"pods/$uid/etc-hosts"
}
pod kms; kms=$uid
pod kms-other; other=$uid
mount -t tmpfs tmpfs "pods/$kms/volume"
mkdir -p /var/log/pods/default_kms-web_5d9f1a52-0c3b-4c8e-9a53-2f1f5a0c9a11
echo old >file/login
sleep 0.1
bin/kubelet kms "$kms" & echo $! >seen/kubelet
bin/kubelet kms-other "$other" &
until [ -s seen/kms ] && [ -s seen/kms-other ]; do sleep 0.05; done
sleep 0.1
"#;

fn kms() -> Holder {
    Holder::StaticPod("kms".into())
}

#[tokio::test]
async fn a_static_pod_is_restarted_when_its_file_is_younger_and_no_other_one() {
    let Some(local) = Local::isolated(KUBELET) else { return };
    let file = local.path("file/login");
    let seen = || (local.sh("cat seen/kms"), local.sh("cat seen/kms-other"));
    let (first, other) = seen();
    assert_eq!(restart_holder(&local, &node(), &kms(), &file).await.unwrap(), Restarted::NotNeeded);
    local.sh("echo new >file/new; mv file/new file/login; sleep 0.05");
    assert_eq!(restart_holder(&local, &node(), &kms(), &file).await.unwrap(), Restarted::Yes);
    let (second, same) = seen();
    assert_ne!(first, second);
    assert_eq!(other, same, "the other pod's name begins alike");
    assert_eq!(restart_holder(&local, &node(), &kms(), &file).await.unwrap(), Restarted::NotNeeded);
    assert_eq!(seen().0, second);
    assert!(local.log().contains("static pod kms runs as process"), "{}", local.log());

    let unknown = restart_holder(&local, &node(), &Holder::StaticPod("kmz".into()), &file).await.unwrap_err();
    assert!(unknown.cause.contains("there is no static pod kmz; there are: kms-"), "{unknown}");
    let nowhere = restart_holder(&local, &node(), &kms(), &local.path("file/none")).await.unwrap_err();
    assert!(nowhere.cause.contains("there is no "), "{nowhere}");
    for wrong in ["-a", "a b", "a;b"] {
        let wrong = Holder::StaticPod(wrong.into());
        restart_holder(&local, &node(), &wrong, &file).await.unwrap_err();
    }

    // Without a kubelet nobody would start it again, so it goes on.
    local.sh("kill $(pgrep -x kubelet); touch file/login; sleep 0.05");
    let alone = restart_holder(&local, &node(), &kms(), &file).await.unwrap_err();
    assert!(alone.cause.contains("no kubelet runs"), "{alone}");
    local.sh("kill $(cat seen/kms); sleep 0.1");
    assert_eq!(restart_holder(&local, &node(), &kms(), &file).await.unwrap(), Restarted::NotRunning);
}

/// A systemd with one unit, whose state is a file, and one that cannot start.
const SYSTEMD: &str = r#"
mkdir -p bin
cat >bin/systemctl <<'EOT'
#!/bin/sh
case "$*" in
    *LoadState*gone*) echo LoadState=not-found ;;
    *LoadState*) echo LoadState=loaded ;;
    *ActiveState*) echo "ActiveState=$(cat state)" ;;
    *MainPID*) echo "MainPID=$(cat pid)" ;;
    "restart broken") echo "Job for broken failed." >&2; exit 1 ;;
    restart*) kill "$(cat pid)"; sleep 1000 >/dev/null 2>&1 & echo $! >pid ;;
esac
EOT
chmod +x bin/systemctl
echo active >state
sleep 1000 & echo $! >pid
sleep 0.05; touch login; sleep 0.05
"#;

#[tokio::test]
async fn a_unit_is_restarted_when_its_file_is_younger() {
    let Some(local) = Local::isolated(SYSTEMD) else { return };
    let file = local.path("login");
    let unit = |name: &str| Holder::Unit(name.into());
    let gone = restart_holder(&local, &node(), &unit("gone"), &file).await.unwrap_err();
    assert!(gone.cause.contains("there is no unit gone"), "{gone}");
    let broken = restart_holder(&local, &node(), &unit("broken"), &file).await.unwrap_err();
    assert!(broken.cause.contains("Job for broken failed"), "{broken}");
    let first = local.sh("cat pid");
    assert_eq!(restart_holder(&local, &node(), &unit("kms"), &file).await.unwrap(), Restarted::Yes);
    assert_ne!(local.sh("cat pid"), first);
    assert_eq!(restart_holder(&local, &node(), &unit("kms"), &file).await.unwrap(), Restarted::NotNeeded);
    local.sh("echo inactive >state");
    assert_eq!(restart_holder(&local, &node(), &unit("kms"), &file).await.unwrap(), Restarted::NotRunning);
}
