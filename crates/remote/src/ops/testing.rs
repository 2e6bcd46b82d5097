//! Runs the scripts for real, here instead of over SSH: in a directory of the test's own, and where processes, mounts or
//! packet filters are concerned in namespaces of the test's own.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use kubecert_core::model::{NodeName, RunId};
use kubecert_engine::ports::PortResult;
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::exec::{Exec, Job, Output};

/// A machine to try scripts on.
pub(super) struct Local {
    pub(super) dir: TempDir,
    shell: &'static str,
    holder: Option<Child>,
}

impl Local {
    /// This machine, with log, base directory and volatile directory in a directory of the test's own.
    pub(super) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory"), shell: "/bin/sh", holder: None }
    }

    /// The same with bash as root's shell, as on machines where `/bin/sh` is bash.
    pub(super) fn bash() -> Self {
        let mut local = Self::new();
        local.shell = "/bin/bash";
        local
    }

    /// A machine with mounts, network and processes of its own, on which `setup` has run. `None` without the right to
    /// make one, which is said on standard error.
    pub(super) fn isolated(setup: &str) -> Option<Self> {
        let mut local = Self::new();
        let ready = local.dir.path().join("ready");
        let script = format!(
            "cd '{}' && ip link set lo up && {{ {setup}\n}} && touch ready && exec sleep 120",
            local.dir.path().display()
        );
        let mut child = Command::new("unshare")
            .args(["-m", "-n", "-p", "-f", "--mount-proc", "--kill-child", "sh", "-ec", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .ok()?;
        let limit = Instant::now() + Duration::from_secs(20);
        while !ready.exists() {
            if child.try_wait().ok()?.is_some() || Instant::now() > limit {
                let _ = child.kill();
                eprintln!("skipped: no right to make namespaces, or the setup failed: {setup}");
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        local.holder = Some(child);
        Some(local)
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.path("azure/log")).unwrap_or_default()
    }

    /// Runs a command line on that machine and returns what it prints.
    pub(super) fn sh(&self, line: &str) -> String {
        let out = self.command("/bin/sh").args(["-c", line]).output().expect("sh runs");
        assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).trim_end().to_owned()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = match &self.holder {
            Some(holder) => {
                // unshare's child is the first process of the namespaces.
                let children = format!("/proc/{0}/task/{0}/children", holder.id());
                let inner = std::fs::read_to_string(children).expect("the holder lives");
                let mut command = Command::new("nsenter");
                let here = format!("--wd={}", self.dir.path().display());
                command.args(["-m", "-n", "-p", here.as_str(), "-t", inner.trim(), program]);
                command
            }
            None => Command::new(program),
        };
        let bin: PathBuf = self.dir.path().join("bin");
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .current_dir(self.dir.path())
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("KUBECERT_LOG", self.path("azure/log"))
            .env("KUBECERT_BASE", self.path("base"))
            .env("KUBECERT_RUN", self.path("run"));
        command
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if let Some(holder) = &mut self.holder {
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}

#[async_trait]
impl Exec for Local {
    async fn output(&self, job: &Job) -> PortResult<Output> {
        let line = job.command(false).replace("/bin/sh", self.shell);
        let mut child = self
            .command("/bin/sh")
            .args(["-c", &line])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sh runs");
        let mut input = child.stdin.take().expect("it is piped");
        let stream = job.stream();
        let feeding = std::thread::spawn(move || {
            // A script that fails stops reading.
            let _ = input.write_all(&stream);
        });
        let done = child.wait_with_output().expect("it ends");
        feeding.join().expect("no panic");
        Ok(Output {
            status: done.status.code().map(i32::cast_unsigned),
            stdout: Zeroizing::new(done.stdout),
            stderr: done.stderr,
            answered: Some(SystemTime::now()),
            round_trip: Duration::ZERO,
        })
    }
}

pub(super) fn node() -> NodeName {
    NodeName::from("n1")
}

pub(super) fn run() -> RunId {
    RunId::from("01RUN")
}

pub(super) fn is_root() -> bool {
    let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout == b"0\n");
    if !root {
        eprintln!("skipped: this test must run as root");
    }
    root
}

/// The names in a directory, hidden ones included.
pub(super) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
