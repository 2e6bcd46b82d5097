//! `cargo xtask campaign wrong`: plans that are wrong on purpose, carried out on a real cluster.
//!
//! Each lacks one thing that a plan is safe by. The check refuses it, the simulator shows what it breaks, and here the same
//! must be seen on real components; otherwise neither the check nor the simulator would prove anything about plans that
//! are right. Every plan gets a cluster of its own, which it leaves broken.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::cmd::{CommandExt as _, cmd};
use crate::lab;
use crate::rotation::{self, Lab};
use crate::rules::root;

/// How long a plan is watched: a rotation, and what its patience adds where a wait cannot end any more.
const PATIENCE: Duration = Duration::from_secs(420);
/// How long is watched for what shows only after a run: a node whose kubelet cannot report is given up after 40 s.
const AFTERWARDS: Duration = Duration::from_secs(100);
/// The pause between two looks, which take some milliseconds: an etcd member is away for about half a second.
const PAUSE: Duration = Duration::from_millis(100);
/// The masters of the lab's example.
const MASTERS: [&str; 3] = ["m0", "m1", "m2"];

#[derive(Args)]
pub(crate) struct Wrong {
    /// Only these plans
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// The program to run, built with the feature `wrong-plans` [default: it is built]
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
}

/// A wrong plan, and how what it breaks is seen.
struct Case {
    /// As the hidden flag names it; the simulator's tests have the same names.
    name: &'static str,
    expected: &'static str,
    /// How many looks in a row must see it: a request that fails on a busy machine shows nothing, nor do the moments
    /// between two API servers that a right plan may have.
    looks: usize,
    seen: fn(&Watch<'_>) -> Result<bool>,
}

/// What the control is called.
const RIGHT: &str = "right";

const CASES: [Case; 5] = [
    Case {
        name: "no-barrier",
        expected: "two of the three API servers are not ready at the same time",
        looks: 2,
        seen: |watch| watch.two_are_not_ready(),
    },
    Case {
        name: "leaf-before-trust",
        expected: "clients that trust the old CA alone refuse the API server's certificate",
        looks: 5,
        seen: |watch| watch.old_clients_refuse(),
    },
    Case {
        name: "all-etcd-at-once",
        expected: "two of the three etcd members are away at the same time, and the quorum with them",
        looks: 1,
        seen: |watch| watch.two_members_are_away(),
    },
    Case {
        name: "drop-with-one-kubelet-left",
        expected: "a kubelet that trusts the old CA alone reports no more",
        looks: 5,
        seen: |watch| watch.a_kubelet_is_silent(),
    },
    Case {
        name: "token-key-too-early",
        expected: "API servers answer 401 to pods with tokens of the old key",
        looks: 1,
        seen: |watch| watch.tokens_are_refused(),
    },
];

/// Carries the plans out, each on a cluster of its own; the exit code is 0 only if each has failed as it must.
pub(crate) fn run(args: &Wrong) -> Result<ExitCode> {
    if let Some(unknown) =
        args.only.iter().find(|name| *name != RIGHT && CASES.iter().all(|case| case.name != **name))
    {
        let known: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        bail!("there is no wrong plan {unknown:?}; there are: {}", known.join(", "));
    }
    let program = match &args.program {
        Some(program) => {
            program.canonicalize().with_context(|| format!("cannot find {}", program.display()))?
        }
        None => build()?,
    };
    let mut missed = Vec::new();
    if args.only.is_empty() || args.only.iter().any(|it| it == RIGHT) {
        right(&program)?;
    }
    for case in CASES.iter().filter(|case| args.only.is_empty() || args.only.iter().any(|it| it == case.name))
    {
        eprintln!("\n== {}: {}", case.name, case.expected);
        let lab = Lab::up("wrong", &[])?;
        let after = watch(&lab, &program, case);
        lab.down()?;
        match after? {
            Some(after) => {
                println!("{}: seen after {:.0} s: {}", case.name, after.as_secs_f64(), case.expected)
            }
            None => {
                println!("{}: NOT seen: {}", case.name, case.expected);
                missed.push(case.name);
            }
        }
    }
    println!("wrong_plans={} missed={}", CASES.len(), missed.len());
    Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A plan that is right, watched in the same way: what is seen of a wrong one must not be seen of it.
fn right(program: &Path) -> Result<()> {
    eprintln!("\n== {RIGHT}: never are two of the same kind away at the same time");
    let lab = Lab::up("wrong", &[])?;
    let watch = Watch::new(&lab)?;
    let mut run = lab.process(program, "rotate", &["--yes"])?;
    let mut run = run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let began = Instant::now();
    let (mut looks, mut seen) = (0, 0);
    let mut before = false;
    let status = loop {
        looks += 1;
        let now = watch.two_are_not_ready()?;
        seen += usize::from(now && before) + usize::from(watch.two_members_are_away()?);
        before = now;
        if let Some(status) = run.try_wait()? {
            break status;
        }
        if began.elapsed() > PATIENCE {
            run.kill()?;
        }
        std::thread::sleep(PAUSE);
    };
    lab.down()?;
    println!("{RIGHT}: {status}; {seen} of {looks} looks have seen two away at the same time");
    ensure!(status.success() && seen == 0, "a plan that is right does what a wrong one is known by");
    Ok(())
}

/// Beside the real one, which the next build puts back in its place.
fn build() -> Result<PathBuf> {
    cmd("cargo", ["build", "--locked", "-p", "kubecert", "--features", "wrong-plans"])
        .current_dir(root())
        .show()?;
    let (built, wrong) =
        (rotation::target().join("debug/kubecert"), rotation::target().join("kubecert-wrong"));
    fs::copy(&built, &wrong).with_context(|| format!("cannot copy {}", built.display()))?;
    Ok(wrong)
}

/// Carries a plan out and watches. Returns after what time what must break was seen.
fn watch(lab: &Lab, program: &Path, case: &Case) -> Result<Option<Duration>> {
    let watch = Watch::new(lab)?;
    // A cluster in order shows nothing of it.
    if (case.seen)(&watch)? {
        bail!("{} is seen before anything was done", case.expected);
    }
    let mut command = lab.process(program, "rotate", &["--yes", "--break-plan", case.name])?;
    let said = tempfile::NamedTempFile::new()?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said.reopen()?);
    let mut run = command.spawn().context("cannot run kubecert")?;
    let began = Instant::now();
    let (mut looks, mut longest) = (0, 0);
    let mut ended: Option<Instant> = None;
    let seen = loop {
        looks = if (case.seen)(&watch)? { looks + 1 } else { 0 };
        longest = longest.max(looks);
        if looks >= case.looks {
            break Some(began.elapsed());
        }
        if ended.is_none() && run.try_wait()?.is_some() {
            ended = Some(Instant::now());
        }
        let over = ended.is_some_and(|ended| ended.elapsed() > AFTERWARDS);
        if over || began.elapsed() > PATIENCE {
            break None;
        }
        std::thread::sleep(PAUSE);
    };
    if ended.is_none() {
        run.kill()?;
    }
    let status = run.wait()?;
    let said = fs::read_to_string(said.path())?;
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    eprintln!("    {status}: {last}; seen by {longest} looks in a row, wanted {}", case.looks);
    Ok(seen)
}

/// A cluster, seen by curl, etcdctl, kubectl and its workloads.
struct Watch<'a> {
    lab: &'a Lab,
    /// The CA as it was before, which a run does not touch.
    old: tempfile::TempDir,
    since: f64,
}

impl<'a> Watch<'a> {
    fn new(lab: &'a Lab) -> Result<Self> {
        let (old, from) = (tempfile::tempdir()?, lab.directory()?);
        for file in ["ca.crt", "kubectlClient.crt", "kubectlClient.key"] {
            fs::copy(from.join(file), old.path().join(file))
                .with_context(|| format!("cannot copy {file}"))?;
        }
        Ok(Self { lab, old, since: rotation::now() })
    }

    fn curl(&self, more: &[&str]) -> Result<std::process::Output> {
        let url = format!("https://{}/readyz", lab::public_name(self.lab.name())?);
        let mut words = vec!["curl", "-s", "--max-time", "2", &*url];
        words.extend_from_slice(more);
        lab::operator(self.lab.name(), &words)?.output().context("cannot run curl")
    }

    /// Whether on more than one master no etcd member listens. A plan that is right never comes to that.
    fn two_members_are_away(&self) -> Result<bool> {
        let mut away = 0;
        for master in MASTERS {
            let listening = ["ss", "-Hltn", "sport = :2379"];
            let listening = lab::on_cable(self.lab.name(), master, &listening)?.read()?;
            away += usize::from(listening.trim().is_empty());
        }
        Ok(away > 1)
    }

    /// Whether more than one API server, asked on its own node, is not ready. A plan that is right never comes to that.
    fn two_are_not_ready(&self) -> Result<bool> {
        let file = |name: &str| self.old.path().join(name).to_string_lossy().into_owned();
        let (certificate, key) = (file("kubectlClient.crt"), file("kubectlClient.key"));
        let mut away = 0;
        for master in MASTERS {
            let ask = ["curl", "-sk", "--max-time", "1", "-o", "/dev/null", "-w", "%{http_code}", "--cert"];
            let ask = [&ask[..], &[&*certificate, "--key", &*key, "https://127.0.0.1:443/readyz"]].concat();
            let output = lab::on_cable(self.lab.name(), master, &ask)?.output()?;
            // Once the old CA is dropped the administrator is refused, by a server that is there.
            away += usize::from(!matches!(&*output.stdout, b"200" | b"401"));
        }
        Ok(away > 1)
    }

    fn old_clients_refuse(&self) -> Result<bool> {
        /// `CURLE_PEER_FAILED_VERIFICATION`.
        const UNKNOWN_AUTHORITY: i32 = 60;
        let ca = self.old.path().join("ca.crt");
        Ok(self.curl(&["--cacert", &ca.to_string_lossy()])?.status.code() == Some(UNKNOWN_AUTHORITY))
    }

    /// Whether one node's lease is much older than the youngest. That the node is NotReady is said later, after as long as
    /// the model's `--node-monitor-grace-period` says.
    fn a_kubelet_is_silent(&self) -> Result<bool> {
        /// A kubelet renews its lease every 10 s.
        const SILENT_S: i64 = 45;
        const RENEWED: &str = "jsonpath={range .items[*]}{.spec.renewTime}{\"\\n\"}{end}";
        // The operator's kubeconfig is replaced by the run; while neither is accepted nothing is seen.
        let words =
            ["kubectl", "get", "leases", "-n", "kube-node-lease", "-o", RENEWED, "--request-timeout=5s"];
        let said = lab::operator(self.lab.name(), &words)?.output()?;
        if !said.status.success() {
            return Ok(false);
        }
        let text = String::from_utf8_lossy(&said.stdout);
        let renewed = text.lines().map(|line| Ok(cmd("date", ["-d", line, "+%s"]).read()?.trim().parse()?));
        let renewed: Vec<i64> = renewed.collect::<Result<_>>()?;
        let (Some(oldest), Some(youngest)) = (renewed.iter().min(), renewed.iter().max()) else {
            return Ok(false);
        };
        Ok(youngest - oldest > SILENT_S)
    }

    fn tokens_are_refused(&self) -> Result<bool> {
        let calls = self.lab.workload_calls(self.since)?;
        Ok(calls.iter().any(|series| {
            let legacy = series["workload"].as_str().is_some_and(|name| name.contains("legacy"));
            let refused =
                series["failures"].as_object().into_iter().flatten().any(|(what, _)| what.contains("401"));
            !legacy && refused
        }))
    }
}
