//! Reloading a real haproxy, with connections open, under a systemctl that does what haproxy's unit does.

use std::path::{Path, PathBuf};

use super::testing::{Local, node};
use super::{Reload, listening};

/// Where haproxy is on this machine: installed, or unpacked by the lab. With the directory of its libraries.
fn haproxy() -> Option<(PathBuf, String)> {
    let installed = Path::new("/usr/sbin/haproxy");
    if installed.exists() {
        return Some((installed.to_owned(), String::new()));
    }
    let cache = PathBuf::from(std::env::var_os("HOME")?).join(".cache/kubecert-lab");
    let unpacked = std::fs::read_dir(cache).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    unpacked.into_iter().find_map(|base| {
        let program = base.join("usr/sbin/haproxy");
        let libraries = base.join("usr/lib/x86_64-linux-gnu").display().to_string();
        program.is_file().then_some((program, libraries))
    })
}

/// What the unit of Debian's package does: `ExecReload` checks the configuration, then signals the master.
const SYSTEMCTL: &str = r#"#!/bin/sh
master=$(cat haproxy.pid)
case $1 in
    show) echo "MainPID=$master" ;;
    reload) bin/haproxy -Ws -f haproxy.cfg -c -q || { echo "Job for haproxy.service failed." >&2; exit 1; }
        kill -USR2 "$master" ;;
esac
"#;

const CONFIG: &str = "global
    maxconn 100
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen front
    bind 127.0.0.1:8443 ssl crt front.pem
    server back 127.0.0.1:8081
";

/// Two certificates, haproxy in front of something that says one line after a while, and `bin/` in the path.
fn setup(program: &Path, libraries: &str) -> String {
    format!(
        r#"
mkdir bin
cat >bin/haproxy <<'EOT'
#!/bin/sh
LD_LIBRARY_PATH='{libraries}' exec '{program}' "$@"
EOT
cat >bin/systemctl <<'EOT'
{SYSTEMCTL}
EOT
chmod +x bin/*
cat >haproxy.cfg <<'EOT'
{CONFIG}
EOT
for name in old new; do
    openssl req -x509 -newkey rsa:2048 -nodes -days 9 -subj /CN=$name -keyout $name.key -out $name.crt 2>/dev/null
    cat $name.crt $name.key >$name.pem
done
cp old.pem front.pem
PATH=$PWD/bin:$PATH
openssl s_server -quiet -accept 127.0.0.1:8081 -cert old.crt -key old.key -rev >/dev/null 2>&1 &
LD_LIBRARY_PATH='{libraries}' '{program}' -W -f haproxy.cfg -p haproxy.pid >haproxy.log 2>&1 &
tries=0
until [ -s haproxy.pid ] && openssl s_client -connect 127.0.0.1:8443 </dev/null >/dev/null 2>&1; do
    tries=$((tries + 1)); [ $tries -lt 100 ]; sleep 0.1
done
"#,
        program = program.display()
    )
}

fn presented(local: &Local) -> String {
    local.sh("openssl s_client -connect 127.0.0.1:8443 </dev/null 2>/dev/null | openssl x509 -noout -subject")
}

#[tokio::test]
async fn a_reloaded_haproxy_listens_on_at_the_same_sockets() {
    let Some((program, libraries)) = haproxy() else {
        eprintln!("skipped: there is no haproxy on this machine");
        return;
    };
    let Some(local) = Local::isolated(&setup(&program, &libraries)) else { return };
    let unit = ("haproxy", 8443);
    assert!(presented(&local).contains("old"), "{}", presented(&local));
    let looked = listening(&local, &node(), unit, Reload::No).await.expect("it listens");
    assert_eq!(looked.sockets.len(), 1, "{looked:?}");

    local.sh("cp new.pem front.pem");
    let before = listening(&local, &node(), unit, Reload::First).await.expect("it is reloaded");
    assert_eq!(before, looked);
    // Connections all the while: none may be refused.
    local.sh("for i in 1 2 3 4 5 6 7 8 9 10; do openssl s_client -connect 127.0.0.1:8443 </dev/null >/dev/null 2>&1 || exit 1; done");
    local.sh("tries=0; until openssl s_client -connect 127.0.0.1:8443 </dev/null 2>/dev/null | openssl x509 -noout -subject | grep -q new; do tries=$((tries + 1)); [ $tries -lt 100 ] || exit 1; sleep 0.1; done");
    let after = listening(&local, &node(), unit, Reload::No).await.expect("it listens");
    assert!(after.goes_on_from(&before), "{before:?} {after:?}");
    assert!(local.log().contains("reload: reloaded haproxy"), "{}", local.log());

    // A configuration that cannot be used changes nothing.
    local.sh("echo nonsense >front.pem");
    let refused = listening(&local, &node(), unit, Reload::First).await.expect_err("it cannot be used");
    assert!(refused.to_string().contains("Job for haproxy.service failed"), "{refused}");
    assert!(presented(&local).contains("new"));
    assert!(listening(&local, &node(), unit, Reload::No).await.expect("it listens").goes_on_from(&before));
    let nowhere =
        listening(&local, &node(), ("haproxy", 8444), Reload::First).await.expect_err("no such port");
    assert!(nowhere.to_string().contains("nothing listens on port 8444"), "{nowhere}");
}
