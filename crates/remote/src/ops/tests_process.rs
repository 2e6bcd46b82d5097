//! Processes, units, diversions, on a machine with namespaces of its own.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use kubecert_core::model::Component;
use kubecert_core::plan::Access;
use kubecert_engine::ports::{Diversion, FileBytes, FileContent, NodeQuestion};
use zeroize::Zeroizing;

use super::testing::{Local, node, run};
use super::{
    Restart, divert, end_process, look, pause_units, replace_static_pod, restart_unit, resume_units, undivert,
};

/// Stands in for a kubelet: runs `kube-apiserver` for as long as the manifest is the same, and again when it ends. A
/// process that ignores SIGTERM is left running when the manifest changes, as with a slow shutdown.
const KUBELET: &str = r#"
mkdir -p bin kubernetes/manifests
echo one >kubernetes/manifests/kube-apiserver.yaml
cat >bin/kube-apiserver <<'EOT'
#!/bin/sh
[ ! -e deaf ] || trap '' TERM
while :; do sleep 0.05; done
EOT
cat >bin/fake-kubelet <<'EOT'
#!/bin/sh
while :; do
    was=$(cat kubernetes/manifests/kube-apiserver.yaml)
    # A kubelet takes longer than a tick of the clock by which starts of processes are told.
    sleep 0.05; bin/kube-apiserver & pid=$!
    while kill -0 $pid 2>/dev/null && [ "$was" = "$(cat kubernetes/manifests/kube-apiserver.yaml)" ]; do sleep 0.02; done
    kill $pid 2>/dev/null
    wait $pid
done
EOT
chmod +x bin/*
bin/fake-kubelet & 
"#;

fn manifest(local: &Local, text: &str) -> FileBytes {
    FileBytes {
        path: local.path("kubernetes/manifests/kube-apiserver.yaml"),
        bytes: FileContent::Bytes(Zeroizing::new(text.as_bytes().to_vec())),
        access: Some(Access { mode: 0o644, owner: "root:root".into() }),
    }
}

async fn replace(local: &Local, text: &str, grace: Duration) -> kubecert_core::inventory::ProcessFacts {
    let (manifest, run) = (manifest(local, text), run());
    let restart = Restart { run: &run, component: Component::ApiServer, manifest, grace };
    replace_static_pod(local, &node(), restart).await.expect("replaced")
}

async fn seen(local: &Local) -> Vec<(u32, Timestamp)> {
    let ask =
        NodeQuestion { components: vec![Component::ApiServer, Component::Etcd], ..NodeQuestion::default() };
    let facts = look(local, &node(), &ask).await.expect("seen");
    facts.processes.into_iter().map(|process| (process.pid, process.started)).collect()
}

#[tokio::test]
async fn a_static_pod_is_replaced_once() {
    let Some(local) = Local::isolated(KUBELET) else { return };
    let begun = Timestamp::now();
    let old = end_process(&local, &node(), Component::ApiServer).await.expect("it is started again");
    let late = (old.started.as_millisecond() - begun.as_millisecond()).abs();
    assert!(late < 3_000, "started {} ms from now", late);
    assert_eq!(seen(&local).await.iter().map(|process| process.0).collect::<Vec<_>>(), [old.pid]);

    let new = replace(&local, "two", Duration::from_secs(5)).await;
    assert!(new.pid != old.pid && new.started > old.started, "{old:?} {new:?}");
    let same = replace(&local, "two", Duration::from_secs(5)).await;
    assert_eq!(
        (same.pid, (same.started.as_millisecond() - new.started.as_millisecond()).abs() < 50),
        (new.pid, true)
    );
    assert!(local.log().contains("static-pod: wrote "), "{}", local.log());

    // One that does not hear is killed after the grace, also where an earlier attempt was cut off after the rename.
    local.sh("touch deaf");
    let deaf = replace(&local, "three", Duration::from_secs(1)).await;
    local.sh("sleep 0.2; rm deaf; printf four >kubernetes/manifests/kube-apiserver.yaml");
    let asked = Instant::now();
    let last = replace(&local, "four", Duration::from_millis(500)).await;
    assert!(
        last.pid != deaf.pid && asked.elapsed() >= Duration::from_millis(450),
        "{deaf:?} {last:?} {:?}",
        asked.elapsed()
    );
    assert!(local.log().contains(&format!("sent SIGKILL to process {}", deaf.pid)), "{}", local.log());
}

#[tokio::test]
async fn processes_of_workloads_are_not_taken_for_ours() {
    // The same name in another network namespace, and a name that only begins alike.
    let setup = "mkdir bin; printf '#!/bin/sh\\nwhile :; do sleep 0.1; done\\n' >bin/etcd; cp bin/etcd bin/etcd-monitor; \
                 chmod +x bin/*; unshare -n bin/etcd & bin/etcd-monitor & bin/etcd & sleep 0.3";
    let Some(local) = Local::isolated(setup) else { return };
    assert_eq!(seen(&local).await.len(), 1);
}

/// A systemd that keeps nothing but a list of timers, and starts and stops nothing but a process.
const SYSTEMD: &str = r#"
mkdir -p bin timers
cat >bin/systemctl <<'EOT'
#!/bin/sh
echo "systemctl $*" >>calls
case $1 in
    list-units) for glob; do :; done; cd timers; ls -d $glob 2>/dev/null ;;
    stop) shift; for unit; do rm -f "timers/$unit"; done ;;
    show) case $4 in gone*) echo LoadState=not-found ;; *) echo LoadState=loaded ;; esac ;;
    restart) [ "$2" != broken.service ] || { echo "Job for broken.service failed" >&2; exit 1; }
        pkill -x etcd; bin/etcd </dev/null >/dev/null 2>&1 & ;;
    is-active) echo active ;;
esac
exit 0
EOT
cat >bin/systemd-run <<'EOT'
#!/bin/sh
echo "systemd-run $*" >>calls
for word; do case $word in --unit=*) touch "timers/${word#--unit=}.timer" ;; --on-active=*) after=${word#*=} ;; esac; done
EOT
printf '#!/bin/sh\nwhile :; do sleep 0.1; done\n' >bin/etcd
chmod +x bin/*
bin/etcd &
sleep 0.2
"#;

#[tokio::test]
async fn units_are_paused_with_a_timer_and_resumed_without() {
    let Some(local) = Local::isolated(SYSTEMD) else { return };
    let units =
        ["etcd-monitor.service".to_owned(), "kubelet-monitor.service".to_owned(), "gone.service".to_owned()];
    for _ in 0..2 {
        pause_units(&local, &node(), &units, Duration::from_secs(600)).await.expect("paused");
        assert_eq!(local.sh("ls timers | wc -l"), "1", "one timer, however often");
    }
    pause_units(&local, &node(), &units[..1], Duration::from_secs(600)).await.expect("paused");
    assert_eq!(local.sh("ls timers | wc -l"), "2", "another set has another timer");
    let calls = local.sh("cat calls");
    let (timer, stop) = (calls.find("--on-active=600"), calls.find("systemctl stop etcd-monitor.service"));
    assert!(timer.is_some() && timer < stop, "the timer comes first: {calls}");
    assert!(!calls.contains("stop gone.service"));
    resume_units(&local, &node(), &units).await.expect("resumed");
    resume_units(&local, &node(), &units[..1]).await.expect("resumed");
    assert_eq!(local.sh("ls timers | wc -l"), "0");
    assert!(pause_units(&local, &node(), &["-a".to_owned()], Duration::from_secs(1)).await.is_err());
}

#[tokio::test]
async fn a_unit_is_restarted_and_failure_told() {
    let Some(local) = Local::isolated(SYSTEMD) else { return };
    let old = seen(&local).await;
    let new = restart_unit(&local, &node(), "etcd.service", Component::Etcd).await.expect("restarted");
    assert!(old.len() == 1 && old[0].0 != new.pid && new.started > old[0].1, "{old:?} {new:?}");
    let error = restart_unit(&local, &node(), "broken.service", Component::Etcd).await.expect_err("broken");
    assert!(error.cause.contains("Job for broken.service failed"), "{error}");
}

/// Three machines on one wire: this one (the node), a neighbour that answers "neighbour", and an agent; kube-proxy's rule
/// for the service address and the redirection of an AKS engine master are there.
const WIRE: &str = r#"
sysctl -qw net.ipv4.ip_forward=1
listen() { ip netns exec "$1" python3 -c "
import socketserver, sys
class H(socketserver.BaseRequestHandler):
    def handle(self): self.request.sendall(b'$2')
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(('0.0.0.0', 443), H).serve_forever()" & }
mount -t tmpfs tmpfs /run; mkdir -p /run/netns; touch /run/netns/self; mount --bind /proc/self/ns/net /run/netns/self
ip link add br0 type bridge; ip addr add 10.9.0.1/24 dev br0; ip link set br0 up
for peer in neighbour:2 agent:3; do
    name=${peer%:*} address=10.9.0.${peer#*:}
    ip netns add $name
    ip link add $name type veth peer name eth0 netns $name
    ip link set $name master br0 up
    ip -n $name addr add $address/24 dev eth0; ip -n $name link set eth0 up; ip -n $name link set lo up
    ip -n $name route add default via 10.9.0.1
done
iptables -P FORWARD DROP
iptables -t nat -A PREROUTING -p tcp --dport 4443 -j REDIRECT --to-port 443
iptables -t nat -N KUBE-SERVICES; iptables -t nat -N KUBE-SVC-NPX46M4PTMTKRN6Y
iptables -t nat -A KUBE-SERVICES -d 10.0.0.1/32 -p tcp -m comment --comment "default/kubernetes:https cluster IP" -m tcp --dport 443 -j KUBE-SVC-NPX46M4PTMTKRN6Y
iptables -t nat -A KUBE-SVC-NPX46M4PTMTKRN6Y -p tcp -j DNAT --to-destination 10.9.0.1:443
iptables -t nat -A PREROUTING -j KUBE-SERVICES; iptables -t nat -A OUTPUT -j KUBE-SERVICES
ip route add 10.0.0.0/16 dev br0
iptables-save | grep -v '^#' | sed 's/\[.*//' >before
listen self node; listen neighbour neighbour
sleep 1
"#;

#[tokio::test]
async fn new_connections_are_diverted_and_old_ones_and_probes_are_not() {
    let Some(local) = Local::isolated(&format!("{SYSTEMD}\n{WIRE}")) else { return };
    let ask = |from: &str, to: &str| {
        let (host, port) = to.split_once(':').expect("host:port");
        let line = format!(
            "python3 -c \"import socket; print(socket.create_connection(('{host}', {port}), 3).recv(99).decode())\""
        );
        let line = if from == "node" { line } else { format!("ip netns exec {from} {line}") };
        local.sh(&format!("{line} 2>&1 || echo none"))
    };
    let state =
        || local.sh("iptables-save | grep -v '^#' | sed 's/\\[.*//' | diff before - && echo same || true");
    assert_eq!(ask("agent", "10.9.0.1:443"), "node");
    let diversion = Diversion {
        from: "10.9.0.1".parse().expect("an address"),
        to: "10.9.0.2".parse().expect("an address"),
        port: 443,
        expires: Duration::from_secs(300),
    };
    for _ in 0..2 {
        divert(&local, &node(), &diversion).await.expect("diverted");
        let got: Vec<String> = [
            ("agent", "10.9.0.1:443"),
            ("agent", "10.9.0.1:4443"),
            ("node", "10.9.0.1:443"),
            ("node", "10.0.0.1:443"),
            ("node", "127.0.0.1:443"),
        ]
        .iter()
        .map(|(from, to)| ask(from, to))
        .collect();
        assert_eq!(got, ["neighbour", "neighbour", "neighbour", "neighbour", "node"]);
    }
    assert_eq!(local.sh("iptables-save | grep -c -- '-j KUBECERT-'"), "4", "one jump each, however often");
    assert_eq!(local.sh("ls timers | wc -l"), "1");
    // What the timer runs does the same as undivert, without anything of ours left to help it.
    local.sh("cp run/undivert copy; sh copy");
    assert_eq!(state(), "same");
    divert(&local, &node(), &diversion).await.expect("diverted");
    for _ in 0..2 {
        undivert(&local, &node()).await.expect("taken away");
        assert_eq!(state(), "same");
    }
    assert_eq!(local.sh("ls timers run | grep -v : | grep . | wc -l"), "0");
    assert_eq!(ask("agent", "10.9.0.1:443"), "node");
}
