//! Rotations of a real cluster by the program as its users call it: for tests and benchmarks.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::cmd::{CommandExt as _, cmd};
use crate::lab::azure;
use crate::rules::root;

/// A cluster of the lab, as other programs are told about it.
pub(crate) struct Lab {
    name: String,
    env: BTreeMap<String, String>,
}

impl Lab {
    /// Builds a fresh cluster.
    pub(crate) fn up(name: &str, more: &[&str]) -> Result<Self> {
        Self::up_as("aks-engine", name, more)
    }

    /// Builds a fresh cluster of another layout.
    pub(crate) fn up_as(layout: &str, name: &str, more: &[&str]) -> Result<Self> {
        let mut args = vec!["lab", "up", layout, "--name", name];
        args.extend_from_slice(more);
        xtask(&args)?.show()?;
        Self::standing(name)
    }

    /// Removes it.
    pub(crate) fn down(&self) -> Result<()> {
        xtask(&["lab", "down", "--name", &self.name])?.show()
    }

    fn get(&self, key: &str) -> Result<&str> {
        self.env.get(key).map(String::as_str).with_context(|| format!("`lab env` does not tell {key}"))
    }

    /// The directory of the cluster's apimodel, or of its cluster file.
    pub(crate) fn directory(&self) -> Result<PathBuf> {
        let description = self.get("KUBECERT_LAB_API_MODEL").or_else(|_| self.get("KUBECERT_LAB_CLUSTER"))?;
        Ok(Path::new(description).parent().context("the description has no directory")?.to_owned())
    }

    /// Where kubecert records its runs of this cluster.
    pub(crate) fn state_dir(&self) -> Result<PathBuf> {
        Ok(self.directory()?.join("kubecert-state"))
    }

    /// A command where the operator sits.
    pub(crate) fn operator(&self, program: &Path, args: &[&str]) -> Result<Command> {
        let mut command = xtask(&["lab", "run", "--name", &self.name, "--"])?;
        command.arg(program).args(args).env("KUBECERT_STATE_DIR", self.state_dir()?);
        Ok(command)
    }

    /// The ancestor's documented command line, word for word with the lab's values.
    pub(crate) fn rotate_certs(&self, program: &Path, more: &[&str]) -> Result<Command> {
        self.rotate_certs_at(program, self.get("KUBECERT_LAB_LOCATION")?, more)
    }

    /// The same at another location.
    pub(crate) fn rotate_certs_at(&self, program: &Path, location: &str, more: &[&str]) -> Result<Command> {
        self.ancestor(program, location, self.get("KUBECERT_LAB_SSH_KEY")?, azure::SECRET, more)
    }

    /// The same with another private key.
    pub(crate) fn rotate_certs_with_key(&self, program: &Path, key: &str) -> Result<Command> {
        self.ancestor(program, self.get("KUBECERT_LAB_LOCATION")?, key, azure::SECRET, &[])
    }

    /// The same with another client secret.
    pub(crate) fn rotate_certs_with_secret(&self, program: &Path, secret: &str) -> Result<Command> {
        let (location, key) = (self.get("KUBECERT_LAB_LOCATION")?, self.get("KUBECERT_LAB_SSH_KEY")?);
        self.ancestor(program, location, key, secret, &[])
    }

    fn ancestor(
        &self,
        program: &Path,
        location: &str,
        key: &str,
        secret: &str,
        more: &[&str],
    ) -> Result<Command> {
        let (model, host) = (self.get("KUBECERT_LAB_API_MODEL")?, self.get("KUBECERT_LAB_SSH_HOST")?);
        let flags = [
            ("--location", location),
            ("--api-model", model),
            ("--ssh-host", host),
            ("--linux-ssh-private-key", key),
            ("--resource-group", azure::RESOURCE_GROUP),
            ("--azure-env", self.get("KUBECERT_LAB_AZURE_ENV")?),
            ("--identity-system", self.get("KUBECERT_LAB_IDENTITY_SYSTEM")?),
            ("--subscription-id", azure::SUBSCRIPTION),
            ("--auth-method", "client_secret"),
            ("--client-id", azure::CLIENT),
            ("--client-secret", secret),
        ];
        let mut args = vec!["rotate-certs"];
        args.extend(flags.iter().flat_map(|(flag, value)| [*flag, *value]));
        args.extend_from_slice(more);
        self.operator(program, &args)
    }

    /// Has the program make a PKI for this cluster in a directory, and returns the certificate profile that it wrote.
    pub(crate) fn generate(&self, program: &Path, directory: &Path) -> Result<String> {
        let (model, directory) = (self.get("KUBECERT_LAB_API_MODEL")?, directory.to_string_lossy());
        let words = ["generate", "--api-model", model, "--output-directory", &*directory];
        let said = self.operator(program, &words)?.read()?;
        Ok(said.lines().last().unwrap_or_default().to_owned())
    }

    /// Takes the CA's private key out of the apimodel, as operators do who keep it elsewhere.
    pub(crate) fn forget_ca_key(&self) -> Result<()> {
        let path = self.get("KUBECERT_LAB_API_MODEL")?;
        let mut model: Value = serde_json::from_slice(&std::fs::read(path)?)?;
        let profile = model.pointer_mut("/properties/certificateProfile").and_then(Value::as_object_mut);
        profile.context("the apimodel has no certificate profile")?.remove("caPrivateKey");
        std::fs::write(path, serde_json::to_vec_pretty(&model)?)?;
        Ok(())
    }

    /// Another verb on this cluster.
    pub(crate) fn verb(&self, program: &Path, verb: &str, more: &[&str]) -> Result<Command> {
        self.operator(program, &self.words(verb, more)?)
    }

    /// The same, as the program's own process rather than a child of ours: whoever kills it kills the program.
    pub(crate) fn process(&self, program: &Path, verb: &str, more: &[&str]) -> Result<Command> {
        let program = program.to_string_lossy();
        let words = [vec![&*program], self.words(verb, more)?].concat();
        let mut command = crate::lab::operator(&self.name, &words)?;
        command.env("KUBECERT_STATE_DIR", self.state_dir()?);
        Ok(command)
    }

    fn words<'a>(&'a self, verb: &'a str, more: &[&'a str]) -> Result<Vec<&'a str>> {
        // A cluster file says by itself how the nodes are reached.
        if let Ok(file) = self.get("KUBECERT_LAB_CLUSTER") {
            return Ok([&[verb, "--cluster", file], more].concat());
        }
        let (model, host, key) = (
            self.get("KUBECERT_LAB_API_MODEL")?,
            self.get("KUBECERT_LAB_SSH_HOST")?,
            self.get("KUBECERT_LAB_SSH_KEY")?,
        );
        let mut words = vec![verb, "--api-model", model, "--ssh-host", host, "--linux-ssh-private-key", key];
        words.extend_from_slice(more);
        Ok(words)
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A cluster that stands already.
    pub(crate) fn standing(name: &str) -> Result<Self> {
        let text = xtask(&["lab", "env", "--name", name])?.read()?;
        let env = text
            .lines()
            .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.trim_matches(['\'', '"']).to_owned()))
            .collect();
        Ok(Self { name: name.to_owned(), env })
    }

    /// The same, and "old" is what a snapshot holds.
    pub(crate) fn judge_since(&self, snapshot: &Path) -> Result<()> {
        let before = snapshot.to_string_lossy();
        xtask(&["lab", "state", "--name", &self.name, "--quiet", "--before", &before])?.show()
    }

    /// Judges the rotated cluster with foreign tools only.
    pub(crate) fn judge(&self) -> Result<()> {
        self.judge_as(&[])
    }

    /// The same, with further things that must be so.
    fn judge_as(&self, more: &[&str]) -> Result<()> {
        xtask(&[&["lab", "state", "--name", &self.name, "--quiet"], more].concat())?.show()
    }

    /// The same, as soon as the last outage that was announced (of the only API server, of a machine) is ten seconds past,
    /// which is as far back as it looks, and what reloads by itself has done so.
    pub(crate) fn judge_in_time(&self) -> Result<()> {
        self.judge_in_time_as(&[])
    }

    /// The same, with further things that must be so.
    pub(crate) fn judge_in_time_as(&self, more: &[&str]) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(240);
        let began = Instant::now();
        loop {
            match self.judge_as(more) {
                Err(error) if began.elapsed() >= PATIENCE => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_secs(1)),
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Runs a command on a node, as root.
    pub(crate) fn exec(&self, node: &str, command: &[&str]) -> Result<()> {
        let mut args = vec!["lab", "exec", node, "--name", &self.name, "--"];
        args.extend_from_slice(command);
        xtask(&args)?.show()
    }

    /// The full name of a node that the lab calls `m0`, `a1`.
    pub(crate) fn node_name(&self, short: &str) -> Result<String> {
        let name = xtask(&["lab", "exec", short, "--name", &self.name, "--", "hostname"])?.read()?;
        Ok(name.trim().to_owned())
    }

    /// Waits until nothing stands against a plan.
    pub(crate) fn wait_until_healthy(&self, program: &Path) -> Result<()> {
        /// An API server whose etcd was away needs a few seconds, a health monitor may have ended it besides.
        const PATIENCE: Duration = Duration::from_secs(300);
        let began = Instant::now();
        loop {
            let said = self.verb(program, "plan", &[])?.output()?;
            let ready = self.verb(program, "check", &["-o", "json"])?.output()?;
            if said.status.success() && ready.status.code().is_some_and(|code| code != 1) {
                return Ok(());
            }
            ensure!(
                began.elapsed() < PATIENCE,
                "the cluster does not recover: {}",
                String::from_utf8_lossy(&said.stderr)
            );
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    /// Calls and failed calls of all workloads since a time.
    pub(crate) fn workload_calls(&self, since: f64) -> Result<Vec<Value>> {
        let text =
            xtask(&["lab", "workload-log", "--name", &self.name, "--since", &format!("{since}"), "--json"])?
                .read()?;
        serde_json::from_str(&text).context("cannot read what the workloads logged")
    }

    /// The report of the latest run.
    pub(crate) fn report(&self) -> Result<Value> {
        let mut reports = Vec::new();
        for cluster in std::fs::read_dir(self.state_dir()?)? {
            let cluster = cluster?.path();
            let runs = std::fs::read_dir(&cluster).into_iter().flatten();
            reports.extend(
                runs.filter_map(|run| Some(run.ok()?.path().join("report.json")))
                    .filter(|path| path.exists()),
            );
        }
        let latest = reports.into_iter().max().context("there is no report")?;
        Ok(serde_json::from_slice(&std::fs::read(latest)?)?)
    }
}

/// The program itself, built for release; or the one that `KUBECERT_PROGRAM` names, which is built already.
pub(crate) fn kubecert() -> Result<PathBuf> {
    if let Some(program) = std::env::var_os("KUBECERT_PROGRAM") {
        return Ok(PathBuf::from(program));
    }
    cmd("cargo", ["build", "--release", "--locked", "-p", "kubecert"]).current_dir(root()).show()?;
    Ok(target().join("release/kubecert"))
}

/// Cargo's target directory.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// What an uninterrupted rotation measured.
pub(crate) struct Measured {
    pub(crate) wall_s: f64,
    pub(crate) report: Value,
    /// Calls that workloads made, and those of them that failed.
    pub(crate) workload: (u64, u64),
}

/// Rotates a cluster, uninterrupted.
pub(crate) fn rotate(lab: &Lab, program: &Path) -> Result<Measured> {
    let began = now();
    let clock = Instant::now();
    lab.rotate_certs(program, &[])?.show()?;
    let wall_s = clock.elapsed().as_secs_f64();
    Ok(Measured { wall_s, report: lab.report()?, workload: failed_calls(lab, began)? })
}

/// Calls, and failed calls, of the workloads that call with a token of their own.
///
/// The pod that mounts a token Secret is left out and told apart: its token is replaced in place, and until its kubelet
/// has refreshed the volume the API server must refuse the old one (see the run's notices).
pub(crate) fn failed_calls(lab: &Lab, since: f64) -> Result<(u64, u64)> {
    let (mut calls, mut failed) = (0, 0);
    for series in lab.workload_calls(since)? {
        let count = |key: &str| series.get(key).and_then(Value::as_u64).unwrap_or(0);
        let name = series.get("workload").and_then(Value::as_str).unwrap_or("?");
        let kind = series.get("series").and_then(Value::as_str).unwrap_or("?");
        eprintln!("  {name:12} {kind:7} {:6} calls, {} failed", count("calls"), count("failed"));
        ensure!(count("calls") > 0, "workload {name} ({kind}) made no calls");
        if !name.contains("legacy") {
            calls += count("calls");
            failed += count("failed");
        }
    }
    Ok((calls, failed))
}

/// Runs the command until the given phase has begun and `steps` of its steps have too, then kills it with SIGKILL.
/// Returns the exit status if it ended before that.
pub(crate) fn kill_in(mut command: Command, phase: &str, steps: usize) -> Result<Option<ExitStatus>> {
    /// The longest time that any run may take until a phase begins.
    const PATIENCE: Duration = Duration::from_secs(900);
    let mut child =
        command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().context("cannot run kubecert")?;
    let stderr = child.stderr.take().context("no standard error")?;
    let began = Instant::now();
    let mut left = steps;
    for line in BufReader::new(stderr).lines() {
        let line = line?;
        ensure!(began.elapsed() < PATIENCE, "phase {phase} did not begin in time");
        let Ok(event) = serde_json::from_str::<Value>(&line) else {
            eprintln!("  {line}");
            continue;
        };
        if !line.contains("\"step-started\"") || find(&event, "phase").and_then(Value::as_str) != Some(phase)
        {
            continue;
        }
        if left > 1 {
            left -= 1;
            continue;
        }
        kill_tree(child.id())?;
        child.wait()?;
        return Ok(None);
    }
    Ok(Some(child.wait()?))
}

fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map.get(key).or_else(|| map.values().find_map(|value| find(value, key))),
        Value::Array(items) => items.iter().find_map(|value| find(value, key)),
        _ => None,
    }
}

/// Kills a process that we started and everything below it, the deepest first gone.
fn kill_tree(pid: u32) -> Result<()> {
    let children = cmd("pgrep", ["-P", &pid.to_string()]).output()?;
    for child in String::from_utf8_lossy(&children.stdout).lines().filter_map(|line| line.parse().ok()) {
        kill_tree(child)?;
    }
    // It may have ended by itself by now.
    let _gone = cmd("kill", ["-KILL", &pid.to_string()]).succeeds();
    Ok(())
}

/// This very program with other arguments.
fn xtask(args: &[&str]) -> Result<Command> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    Ok(command)
}

/// A number in a report.
pub(crate) fn number(report: &Value, pointer: &str) -> Result<f64> {
    match report.pointer(pointer).and_then(Value::as_f64) {
        Some(number) => Ok(number),
        None => bail!("the report has no {pointer}"),
    }
}
