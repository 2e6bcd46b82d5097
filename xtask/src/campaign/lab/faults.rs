//! The faults: what is done to a cluster, or to the operator, while it is rotated.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::cut::Cutter;
use super::kill;
use super::lost;
use super::outsider;
use super::stage::{Stage, Told};
use crate::cmd::{CommandExt as _, cmd};
use crate::lab;

/// How long the load balancer is gone.
const BALANCER_GONE: Duration = Duration::from_secs(30);

/// How a scenario has ended, where it has ended well.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The run went through.
    Finished,
    /// It stopped at a safe point, and finished when it was resumed.
    FinishedLater,
    /// It finished without a node, which was brought up to date afterwards.
    CaughtUp,
    /// It stopped at a safe point, and was undone: everything is as it was.
    Undone,
    /// It was refused, and nothing was touched.
    Refused,
}

impl Ended {
    /// For the table.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::FinishedLater => "stopped safely; finished when resumed",
            Self::CaughtUp => "finished without the node; the node caught up later",
            Self::Undone => "stopped safely; undone, everything as it was",
            Self::Refused => "refused; nothing touched",
        }
    }
}

/// A fault, and what is to come of it.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) fault: &'static str,
    pub(super) play: fn(&mut Stage) -> Result<Ended>,
}

/// All of them: those that leave the cluster as it was first.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "wrong-host-key",
        fault: "a node shows another host key than the known one",
        play: wrong_host_key,
    },
    Scenario { name: "clock", fault: "the clock of an agent is three minutes off", play: clock },
    Scenario { name: "etcd-dead", fault: "an etcd member is dead from the start", play: etcd_dead },
    Scenario {
        name: "apiserver-crashing",
        fault: "an API server crash-loops on a bad flag from the start",
        play: apiserver_crashing,
    },
    Scenario { name: "node-away", fault: "an agent cannot be reached from the start", play: node_away },
    Scenario {
        name: "operator-disk-full",
        fault: "the operator's disk has no room for the records of a run",
        play: operator_disk_full,
    },
    Scenario {
        name: "two-operators",
        fault: "a second operator rotates at the same time",
        play: two_operators,
    },
    Scenario {
        name: "cut-uploads",
        fault: "connections to a master, an agent and the SSH host are cut in the middle of uploads",
        play: cut_uploads,
    },
    Scenario {
        name: "operator-disk-fills",
        fault: "the operator's disk becomes full while an API server is restarted",
        play: operator_disk_fills,
    },
    Scenario {
        name: "balancer-gone",
        fault: "the load balancer, and with it the way to the SSH host, is gone for 30 s",
        play: balancer_gone,
    },
    Scenario {
        name: "reboot",
        fault: "a master reboots between the writing of its files and the restarts",
        play: reboot,
    },
    Scenario {
        name: "disk-full-master",
        fault: "the disk of a master is full before anything is backed up",
        play: disk_full_master,
    },
    Scenario {
        name: "disk-full-agent",
        fault: "the disk of an agent becomes full in the middle of the run",
        play: disk_full_agent,
    },
    Scenario {
        name: "kubelet-broken",
        fault: "an agent's kubelet does not come back from its restart",
        play: kubelet_broken,
    },
    Scenario { name: "node-lost", fault: "an agent cannot be reached from the middle on", play: node_lost },
    Scenario {
        name: "left-behind",
        fault: "an agent cannot be reached for the whole run, and is left behind",
        play: left_behind,
    },
    Scenario { name: "etcd-dies", fault: "an etcd member dies in the middle of the run", play: etcd_dies },
    Scenario {
        name: "apiserver-crashes",
        fault: "an API server crash-loops on a bad flag from the middle on",
        play: apiserver_crashes,
    },
    Scenario {
        name: "outside-client",
        fault: "a client outside of the cluster still uses a certificate of the old CA",
        play: outsider::play,
    },
    Scenario {
        name: "kill-and-undo",
        fault: "kubecert is killed (SIGKILL) in the middle of each phase before the point of no return, and the run undone",
        play: kill::and_undo,
    },
    Scenario {
        name: "records-and-key-lost",
        fault: "the run's records are lost, and the new CA's key on all masters with them",
        play: lost::records_and_key,
    },
    Scenario {
        name: "records-lost",
        fault: "the run's records are lost, before and past the point of no return",
        play: lost::records,
    },
    Scenario {
        name: "kill-every-record",
        fault: "kubecert is killed (SIGKILL) at every record of its journal",
        play: kill::everywhere,
    },
];

/// Rotates; when something is told that `when` wants, does `fault`; when the run has ended, does `mend`, and resumes it
/// if it has stopped.
fn in_the_middle(
    stage: &mut Stage,
    when: impl Fn(&Told<'_>) -> bool,
    fault: impl FnOnce(&Stage) -> Result<()>,
    mend: impl FnOnce(&Stage) -> Result<()>,
) -> Result<Ended> {
    let mut run = stage.rotate()?;
    ensure!(run.until(when)?, "the run ended before the fault");
    eprintln!("    the fault happens");
    fault(stage).context("the fault cannot be brought about")?;
    let finished = stage.safe(run);
    mend(stage).context("the fault cannot be mended")?;
    if finished? { Ok(Ended::Finished) } else { stage.conclude() }
}

/// A refusal while a fault lasts.
fn refused_while(
    stage: &mut Stage,
    fault: impl FnOnce(&Stage) -> Result<()>,
    words: &[&str],
    mend: impl FnOnce(&Stage) -> Result<()>,
) -> Result<Ended> {
    fault(stage).context("the fault cannot be brought about")?;
    let run = stage.rotate()?;
    let end = stage.end(run);
    mend(stage).context("the fault cannot be mended")?;
    refusal(stage, &end?, words)
}

fn refusal(stage: &Stage, end: &super::stage::End, words: &[&str]) -> Result<Ended> {
    ensure!(end.code == Some(1), "it was not refused");
    for word in words {
        ensure!(end.said.contains(word), "the refusal does not say {word:?}");
    }
    stage.untouched()?;
    Ok(Ended::Refused)
}

fn phase(name: &'static str) -> impl Fn(&Told<'_>) -> bool {
    move |told| told.event == "phase-started" && told.phase == name
}

fn wrong_host_key(stage: &mut Stage) -> Result<Ended> {
    let directory = tempfile::tempdir()?;
    let (known, other) = (directory.path().join("known_hosts"), directory.path().join("other"));
    cmd("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", &other.to_string_lossy()]).show()?;
    let key = fs::read_to_string(other.with_extension("pub"))?;
    let node = stage.node("m2")?.to_owned();
    fs::write(&known, format!("{node} {key}"))?;
    let run = stage.start("rotate", &["--yes", "--known-hosts", &known.to_string_lossy()])?;
    let end = stage.end(run)?;
    refusal(stage, &end, &[&node, "changed"])
}

/// Containers share the host's clock, and time namespaces do not cover the time of day. So `date` is another on the node,
/// which is what kubecert asks for its clock.
fn clock(stage: &mut Stage) -> Result<Ended> {
    const SLOW: &str =
        "printf '#!/bin/sh\\nexec /usr/bin/date -d \"-180 sec\" \"$@\"\\n' >/usr/local/bin/date
chmod 755 /usr/local/bin/date";
    let node = stage.node("a1")?.to_owned();
    refused_while(
        stage,
        |stage| stage.on("a1", SLOW).map(drop),
        &[&node, "clock", "180"],
        |stage| stage.on("a1", "rm /usr/local/bin/date").map(drop),
    )
}

fn etcd_dead(stage: &mut Stage) -> Result<Ended> {
    let node = stage.node("m2")?.to_owned();
    refused_while(
        stage,
        |stage| stage.on("m2", "systemctl stop etcd-monitor etcd").map(drop),
        &["etcd", &node],
        |stage| stage.on("m2", "systemctl start etcd etcd-monitor").map(drop),
    )
}

/// Adds a flag that kube-apiserver does not know to its manifest, and takes it away again.
const BAD_FLAG: &str = "cd /etc/kubernetes && cp -p manifests/kube-apiserver.yaml .kube-apiserver.new &&
sed -i 's/^\\( *- \\)\"--allow-privileged.*$/&\\n\\1\"--no-such-flag=1\"/' .kube-apiserver.new &&
grep -q no-such-flag .kube-apiserver.new && mv .kube-apiserver.new manifests/kube-apiserver.yaml";
const NO_BAD_FLAG: &str = "cd /etc/kubernetes && cp -p manifests/kube-apiserver.yaml .kube-apiserver.new &&
sed -i '/--no-such-flag=1/d' .kube-apiserver.new && mv .kube-apiserver.new manifests/kube-apiserver.yaml";

fn apiserver_crashing(stage: &mut Stage) -> Result<Ended> {
    let node = stage.node("m1")?.to_owned();
    refused_while(
        stage,
        |stage| {
            stage.on("m1", BAD_FLAG)?;
            // Until the kubelet has ended the good one.
            let gone = "for i in $(seq 60); do curl -sk -o /dev/null https://127.0.0.1:443/ || exit 0; sleep 1; done; exit 1";
            stage.on("m1", gone).map(drop)
        },
        &["kube-apiserver", &node],
        |stage| stage.on("m1", NO_BAD_FLAG).map(drop),
    )
}

fn apiserver_crashes(stage: &mut Stage) -> Result<Ended> {
    let node = stage.node("m1")?.to_owned();
    let visited = |told: &Told<'_>| {
        told.event == "step-done"
            && told.phase == "introduce"
            && told.target == node
            && told.title.contains("diversion away")
    };
    in_the_middle(
        stage,
        visited,
        |stage| stage.on("m1", BAD_FLAG).map(drop),
        |stage| stage.on("m1", NO_BAD_FLAG).map(drop),
    )
}

/// Takes the cable of an agent out of the switch, and puts it back.
fn cable(stage: &Stage, node: &str, state: &str) -> Result<()> {
    lab::on_switch(stage.lab.name(), &["ip", "link", "set", &format!("v{node}"), state])?.show()
}

fn node_away(stage: &mut Stage) -> Result<Ended> {
    let node = stage.node("a1")?.to_owned();
    refused_while(stage, |stage| cable(stage, "a1", "down"), &[&node], |stage| cable(stage, "a1", "up"))
}

fn left_behind(stage: &mut Stage) -> Result<Ended> {
    let node = stage.node("a1")?.to_owned();
    cable(stage, "a1", "down")?;
    let run = stage.start("rotate", &["--yes", "--leave-behind", &node])?;
    let finished = stage.safe(run);
    cable(stage, "a1", "up")?;
    ensure!(finished?, "it did not finish without the node");
    let run = stage.start("resume", &["--yes", "--node", &node])?;
    let end = stage.end(run)?;
    ensure!(end.code == Some(0), "the node did not catch up");
    Ok(Ended::CaughtUp)
}

fn node_lost(stage: &mut Stage) -> Result<Ended> {
    in_the_middle(
        stage,
        phase("switch"),
        |stage| cable(stage, "a1", "down"),
        |stage| cable(stage, "a1", "up"),
    )
}

/// A directory on a disk of its own, for as long as it lives.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new(size: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let at = directory.path().to_string_lossy().into_owned();
        cmd("mount", ["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "tmpfs", &at]).show()?;
        Ok(Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn fill(&self) -> Result<()> {
        let mut filler = fs::File::create(self.path().join("filler"))?;
        // It ends with the disk.
        let _full = std::io::copy(&mut std::io::repeat(b'x'), &mut filler);
        Ok(())
    }

    fn empty(&self) -> Result<()> {
        Ok(fs::remove_file(self.path().join("filler"))?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _stays = cmd("umount", ["-l".as_ref(), self.path().as_os_str()]).succeeds();
    }
}

fn operator_disk_full(stage: &mut Stage) -> Result<Ended> {
    let disk = Disk::new("200k")?;
    let run = stage.start("rotate", &["--yes", "--state-dir", &disk.path().to_string_lossy()])?;
    let end = stage.end(run)?;
    refusal(stage, &end, &["No space left on device"])
}

fn operator_disk_fills(stage: &mut Stage) -> Result<Ended> {
    let disk = Disk::new("8m")?;
    let place = disk.path().to_string_lossy().into_owned();
    let mut run = stage.start("rotate", &["--yes", "--state-dir", &place])?;
    let restarts = |told: &Told<'_>| {
        told.event == "step-started" && told.phase == "introduce" && told.title == "restart kube-apiserver"
    };
    ensure!(run.until(restarts)?, "the run ended before the fault");
    disk.fill()?;
    let finished = stage.safe(run);
    disk.empty()?;
    ensure!(!finished?, "it finished although it could not keep its records");
    let run = stage.start("resume", &["--yes", "--state-dir", &place])?;
    let end = stage.end(run)?;
    ensure!(end.code == Some(0), "it did not finish when it was resumed");
    Ok(Ended::FinishedLater)
}

fn two_operators(stage: &mut Stage) -> Result<Ended> {
    let mut first = stage.rotate()?;
    ensure!(first.until(phase("introduce"))?, "the run ended before the second began");
    let second = stage.rotate()?;
    let end = stage.end(second)?;
    ensure!(end.code == Some(1) && end.said.contains("another kubecert"), "the second was not refused");
    ensure!(stage.safe(first)?, "the first did not finish");
    Ok(Ended::Finished)
}

fn cut_uploads(stage: &mut Stage) -> Result<Ended> {
    let cutter = Cutter::start(stage.lab.name(), &[("m1", "m1"), ("m2", "m0"), ("a1", "a1")])?;
    let run = stage.rotate()?;
    let finished = stage.safe(run)?;
    let cuts = cutter.end();
    ensure!(cuts == 3, "only {cuts} of 3 connections were cut");
    if finished { Ok(Ended::Finished) } else { stage.conclude() }
}

fn balancer_gone(stage: &mut Stage) -> Result<Ended> {
    let name = stage.lab.name().to_owned();
    let haproxy = move |act: &str| lab::on_node(&name, "lb", &["systemctl", act, "haproxy"])?.show();
    let again = haproxy.clone();
    let mut back = None;
    in_the_middle(
        stage,
        phase("switch"),
        |_| {
            haproxy("stop")?;
            back = Some(std::thread::spawn(move || {
                std::thread::sleep(BALANCER_GONE);
                again("start")
            }));
            Ok(())
        },
        |_| Ok(()),
    )
}

fn reboot(stage: &mut Stage) -> Result<Ended> {
    let node = stage.node("m1")?.to_owned();
    let written = |told: &Told<'_>| {
        told.event == "step-done"
            && told.phase == "switch"
            && told.target == node
            && told.title == "trust and issue with the new CA"
    };
    in_the_middle(
        stage,
        written,
        |stage| {
            let name = stage.lab.name();
            let before = lab::leader(name, "m1")?;
            // The connection goes with the machine.
            let _cut_off = stage.on("m1", "systemctl reboot --force --force");
            while lab::leader(name, "m1")? == before {
                std::thread::sleep(Duration::from_millis(50));
            }
            // A namespace outlives the machine in it, where a real machine's rules do not.
            let flush = "iptables-save | grep -q KUBECERT && iptables-save -t nat | grep -v KUBECERT | iptables-restore -T nat; true";
            lab::on_cable(name, "m1", &["sh", "-c", flush])?.show()
        },
        |_| Ok(()),
    )
}

fn disk_full_master(stage: &mut Stage) -> Result<Ended> {
    const SMALL: &str = "mkdir -p /etc/kubernetes/kubecert && mount -t tmpfs -o size=40m,mode=700 tmpfs /etc/kubernetes/kubecert";
    const FULL: &str = "cat /dev/zero >/etc/kubernetes/kubecert/filler 2>/dev/null; true";
    const BACK: &str = "umount /etc/kubernetes/kubecert && rmdir /etc/kubernetes/kubecert";
    stage.on("m1", SMALL)?;
    in_the_middle(
        stage,
        |told| told.event == "issuing",
        |stage| stage.on("m1", FULL).map(drop),
        |stage| stage.on("m1", BACK).map(drop),
    )
}

fn disk_full_agent(stage: &mut Stage) -> Result<Ended> {
    const FULL: &str = "set -e
mkdir -p /run/small
mount -t tmpfs -o size=96k,mode=755 tmpfs /run/small
cp -a /var/lib/kubelet/pki/. /run/small/
mount --bind /run/small /var/lib/kubelet/pki
cat /dev/zero >/var/lib/kubelet/pki/filler 2>/dev/null || true";
    const ROOM: &str = "rm /var/lib/kubelet/pki/filler";
    const BACK: &str = "set -e
umount /var/lib/kubelet/pki
cp -a /run/small/. /var/lib/kubelet/pki/
umount /run/small
systemctl restart kubelet";
    let ended = in_the_middle(
        stage,
        phase("introduce"),
        |stage| stage.on("a1", FULL).map(drop),
        |stage| stage.on("a1", ROOM).map(drop),
    )?;
    stage.on("a1", BACK)?;
    ensure!(ended != Ended::Finished, "it finished although it could not write");
    Ok(ended)
}

fn kubelet_broken(stage: &mut Stage) -> Result<Ended> {
    const BREAK: &str = "set -e
mkdir -p /run/systemd/system/kubelet.service.d
printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' >/run/systemd/system/kubelet.service.d/zz-broken.conf
systemctl daemon-reload";
    const MEND: &str = "set -e
rm /run/systemd/system/kubelet.service.d/zz-broken.conf
systemctl daemon-reload
systemctl reset-failed kubelet || true";
    in_the_middle(
        stage,
        phase("introduce"),
        |stage| stage.on("a1", BREAK).map(drop),
        |stage| stage.on("a1", MEND).map(drop),
    )
}

fn etcd_dies(stage: &mut Stage) -> Result<Ended> {
    in_the_middle(
        stage,
        phase("switch"),
        |stage| {
            stage
                .on("m2", "systemctl mask --runtime etcd; systemctl kill -s KILL etcd; systemctl stop etcd")
                .map(drop)
        },
        |stage| stage.on("m2", "systemctl unmask --runtime etcd && systemctl start etcd").map(drop),
    )
}
