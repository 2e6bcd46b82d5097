//! Cuts SSH connections in the middle of uploads.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cmd::{CommandExt as _, cmd};
use crate::lab;

/// How often processes are looked at: an upload takes some 100 ms.
const PAUSE: Duration = Duration::from_millis(2);
/// What the command line of an upload contains.
const UPLOAD: &str = "kubecert-write";

/// Waits for uploads and cuts them.
pub(super) struct Cutter {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Cutter {
    /// One pair after the other: as soon as an upload to the first node is under way, all SSH sessions to the second are
    /// killed.
    pub(super) fn start(name: &str, pairs: &[(&str, &str)]) -> Result<Self> {
        let mut networks = Vec::new();
        for (uploads_to, cut_at) in pairs {
            networks.push((network(name, uploads_to)?, network(name, cut_at)?));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut cuts = 0;
            for (upload, sessions) in networks {
                while !(processes(&upload, |line| line.contains(UPLOAD)).any(|_| true)) {
                    if stopped.load(Ordering::Relaxed) {
                        return cuts;
                    }
                    std::thread::sleep(PAUSE);
                }
                let mut found = false;
                for session in processes(&sessions, is_session) {
                    found |= cmd("kill", ["-KILL", &session]).succeeds();
                }
                cuts += usize::from(found);
            }
            cuts
        });
        Ok(Self { stop, thread })
    }

    /// Ends, and tells how many cuts were made.
    pub(super) fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or(0)
    }
}

/// What identifies a node's network among all processes of this host.
fn network(name: &str, node: &str) -> Result<PathBuf> {
    let leader = lab::leader(name, node)?.with_context(|| format!("{node} is off"))?;
    Ok(fs::read_link(format!("/proc/{leader}/ns/net"))?)
}

/// sshd's processes for one connection call themselves `sshd: user [priv]` and `sshd: user@notty`; the listener does not.
fn is_session(line: &str) -> bool {
    line.starts_with("sshd") && (line.contains("[priv]") || line.contains("@notty") || line.ends_with('@'))
}

/// The ids of processes in a network whose command line is wanted.
fn processes(network: &PathBuf, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = String> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(move |entry| {
        let id = entry.file_name().into_string().ok()?;
        if !id.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let there = wanted(line.trim_end()) && fs::read_link(entry.path().join("ns/net")).ok()? == *network;
        there.then_some(id)
    })
}
