//! Taking a lab down, whatever state it is in.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::node::pid_in;
use super::{azure, base, cache, network, spec, windows};
use crate::cmd::{CommandExt as _, cmd};

/// Removes the lab `name`. What is not there any more, or never was, is no error; what cannot be removed is.
pub(crate) fn down(name: &str) -> Result<()> {
    let dir = spec::dir_of(name)?;
    // Those who share its switch go with it.
    for guest in spec::guests_of(name) {
        down(&guest)?;
    }
    // First, so that it restarts no node that is to go.
    azure::stop(&dir);
    windows::stop(&dir.join("state"))?;
    stop_nodes(&dir.join("state"))?;
    unmount_below(&dir)?;
    for ns in network::namespaces_of(name) {
        // What a Windows node's process has started outlives it, and nobody else is in there.
        cmd("ip", ["netns", "pids", &ns]).read()?.split_whitespace().for_each(kill);
        cmd("ip", ["netns", "del", &ns]).read()?;
    }
    base::remove_tree(&Path::new("/etc/netns").join(format!("kcl.{name}")))?;
    remove_cgroups(&format!("kubecert-lab/{name}"));
    base::remove_tree(&dir)?;
    Ok(())
}

/// Removes labs whose `up` has died before its end.
pub(crate) fn sweep() -> Result<()> {
    for name in spec::all() {
        // Whoever builds it holds this lock; the file that says so may outlive its process.
        let lock = fs::File::create(cache::root().join(format!("labs/{name}.lock")))?;
        let building = spec::dir_of(&name)?.join("building");
        if building.exists() && lock.try_lock().is_ok() {
            eprintln!("removing lab {name}, whose `up` did not come to its end");
            down(&name)?;
        }
    }
    Ok(())
}

/// Cuts the power of all nodes at once, then waits for their loops.
///
/// The loop is the parent of systemd-nspawn and must be left to reap it: if it died first, the host's init would have
/// to, which on some machines takes seconds for each.
pub(crate) fn stop_nodes(states: &Path) -> Result<()> {
    let nodes: Vec<_> =
        fs::read_dir(states).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    for state in &nodes {
        fs::write(state.join("stop"), "")?;
        if let Some(nspawn) = pid_in(&state.join("nspawn.pid"), "systemd-nspawn") {
            let children =
                fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).unwrap_or_default();
            for child in children.split_whitespace() {
                kill(child);
            }
        }
    }
    for state in &nodes {
        let alive = || pid_in(&state.join("loop.pid"), "node-loop.sh");
        if cache::wait_for(Duration::from_secs(10), || alive().is_none()).is_err() {
            // A node that hangs: its nspawn and its loop go without further ado.
            let pids = [pid_in(&state.join("nspawn.pid"), "systemd-nspawn"), alive()];
            pids.into_iter().flatten().for_each(|pid| kill(&pid.to_string()));
            cache::wait_for(Duration::from_secs(10), || alive().is_none())
                .with_context(|| format!("cannot stop {}", state.display()))?;
        }
    }
    Ok(())
}

/// Unmounts everything below a directory, the newest first.
fn unmount_below(dir: &Path) -> Result<()> {
    let table = fs::read_to_string("/proc/self/mounts")?;
    let below: Vec<_> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|at| Path::new(at).starts_with(dir))
        .collect();
    for mount in below.into_iter().rev() {
        cmd("umount", ["--lazy", mount]).read()?;
    }
    Ok(())
}

/// Removes the lab's cgroups in every hierarchy; they are empty, as their processes are gone.
fn remove_cgroups(cgroup: &str) {
    let tops = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    for top in tops.chain([Path::new("/sys/fs/cgroup").to_owned()]) {
        let path = top.join(cgroup);
        if path.is_dir() {
            let _busy =
                cmd("find", [&*path.to_string_lossy(), "-depth", "-type", "d", "-exec", "rmdir", "{}", "+"])
                    .succeeds();
            // Fails, as it should, while another lab stands.
            let _shared = path.parent().map(fs::remove_dir);
        }
    }
}

fn kill(pid: &str) {
    // It may have ended by itself meanwhile.
    let _gone = cmd("kill", ["-KILL", pid]).succeeds();
}
