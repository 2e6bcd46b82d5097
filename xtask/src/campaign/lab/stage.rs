//! The cluster on which faults are played, and kubecert running on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;
use serde_json::Value;

use super::faults::Ended;
use super::probe::Probe;
use crate::cmd::{CommandExt as _, cmd};
use crate::lab;
use crate::rotation::Lab;

/// The longest time that a run may take until something is seen of it that a scenario waits for.
const EVENT_PATIENCE: Duration = Duration::from_secs(420);
/// The longest time that a run may take until it ends: a rotation, and every patience of it that a fault may use up.
const END_PATIENCE: Duration = Duration::from_secs(900);
/// How soon the API has to answer after a run has stopped at a safe point: a load balancer's probe, and an API server's
/// start.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);

/// Where on a node a rotation changes files.
const WATCHED: [&str; 3] = ["etc/kubernetes", "home", "var/lib/kubelet/pki"];

/// What is to become of a run that has stopped.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Then {
    /// It is resumed, and has to finish
    Resume,
    /// It is undone, and everything has to be as it was
    Undo,
}

/// A lab, with what its scenarios share.
pub(super) struct Stage {
    pub(super) lab: Lab,
    pub(super) probe: Probe,
    program: PathBuf,
    out: PathBuf,
    snapshot: tempfile::TempDir,
    /// Full names and root directories of the nodes, by short names.
    nodes: BTreeMap<String, (String, PathBuf)>,
    scenario: String,
    runs: usize,
    /// How each run of kubecert ended, and its last words.
    pub(super) ends: Vec<End>,
    /// At how many records kubecert is killed, if not at every one.
    pub(super) sample: Option<usize>,
    pub(super) then: Then,
    /// What a scenario has to say besides.
    pub(super) notes: Vec<String>,
}

/// How a run of kubecert ended.
#[derive(Clone)]
pub(super) struct End {
    /// `None` if it was killed.
    pub(super) code: Option<i32>,
    pub(super) said: String,
}

impl Stage {
    /// Takes a lab over.
    pub(super) fn new(
        lab: Lab,
        program: &Path,
        out: &Path,
        sample: Option<usize>,
        then: Then,
    ) -> Result<Self> {
        let nodes = lab::members(lab.name())?.into_iter();
        Ok(Self {
            probe: Probe::start(lab.name())?,
            program: program.to_owned(),
            out: out.to_owned(),
            snapshot: tempfile::tempdir()?,
            nodes: nodes.map(|(short, name, root)| (short, (name, root))).collect(),
            scenario: String::new(),
            runs: 0,
            ends: Vec::new(),
            sample,
            then,
            notes: Vec::new(),
            lab,
        })
    }

    /// Makes sure that a scenario begins with a cluster in order, and keeps what it looks like.
    pub(super) fn begin(&mut self, scenario: &str) -> Result<()> {
        scenario.clone_into(&mut self.scenario);
        self.runs = 0;
        self.ends.clear();
        self.notes.clear();
        self.healthy()?;
        self.snapshot = tempfile::tempdir()?;
        lab::take_snapshot(self.lab.name(), self.snapshot.path())
    }

    /// Waits until nothing stands against a rotation.
    pub(super) fn healthy(&self) -> Result<()> {
        self.lab.wait_until_healthy(&self.program)
    }

    /// Keeps a remark for the table.
    pub(super) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// The full name of a node.
    pub(super) fn node(&self, short: &str) -> Result<&str> {
        Ok(&self.nodes.get(short).with_context(|| format!("the lab has no node {short}"))?.0)
    }

    /// Runs a shell command on a node, as root.
    pub(super) fn on(&self, short: &str, script: &str) -> Result<String> {
        lab::on_node(self.lab.name(), short, &["sh", "-c", script])?.read()
    }

    /// Starts kubecert. Its progress is kept in the output directory.
    pub(super) fn start(&mut self, verb: &str, more: &[&str]) -> Result<Run> {
        self.runs += 1;
        let log = self.out.join(format!("{}-{}.log", self.scenario, self.runs));
        let mut words = vec!["-o", "json"];
        words.extend_from_slice(more);
        let mut command = self.lab.process(&self.program, verb, &words)?;
        Run::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()), &log)
    }

    /// Starts a rotation.
    pub(super) fn rotate(&mut self) -> Result<Run> {
        self.start("rotate", &["--yes"])
    }

    /// Waits for a run to end, and notes how.
    pub(super) fn end(&mut self, run: Run) -> Result<End> {
        let end = run.end()?;
        eprintln!("    exit {}: {}", end.code.map_or("killed".to_owned(), |code| code.to_string()), end.said);
        self.ends.push(end.clone());
        Ok(end)
    }

    /// What must be so when a run has ended by itself in the middle of a fault: finished, or stopped at a safe point with
    /// the API answering. Tells whether it has finished.
    pub(super) fn safe(&mut self, run: Run) -> Result<bool> {
        let end = self.end(run)?;
        match end.code {
            Some(0) => Ok(true),
            Some(4) => {
                self.probe
                    .answers(ANSWER_PATIENCE)
                    .context("it stopped, and where it stopped is no safe point")?;
                Ok(false)
            }
            _ => bail!("it ended neither finished nor at a safe point"),
        }
    }

    /// Takes the interrupted run up again; it has to finish.
    pub(super) fn resume(&mut self) -> Result<()> {
        let run = self.start("resume", &["--yes"])?;
        let end = self.end(run)?;
        ensure!(end.code == Some(0), "it did not finish when it was resumed");
        Ok(())
    }

    /// Takes the interrupted run back: all has to be as it was.
    pub(super) fn undo(&mut self) -> Result<()> {
        let run = self.start("undo", &["--yes"])?;
        let end = self.end(run)?;
        ensure!(end.code == Some(0), "it was not undone");
        self.untouched()
    }

    /// Brings a run that has stopped to its end, one way or the other.
    pub(super) fn conclude(&mut self) -> Result<Ended> {
        match self.then {
            Then::Resume => self.resume().map(|()| Ended::FinishedLater),
            Then::Undo => self.undo().map(|()| Ended::Undone),
        }
    }

    /// Judges a rotated cluster, against what it was when the scenario began.
    pub(super) fn judge(&self) -> Result<()> {
        self.lab.judge_since(self.snapshot.path()).context("the judge is not content")
    }

    /// That what a rotation may change is as it was when the scenario began: on the nodes names, kinds, modes, owners,
    /// targets of links, contents; in the cluster whole objects.
    pub(super) fn untouched(&self) -> Result<()> {
        for (short, (_, root)) in &self.nodes {
            for part in WATCHED {
                let was = listing(&self.snapshot.path().join("nodes").join(short).join(part))?;
                let is = listing(&root.join(part))?;
                let gone = was.difference(&is).map(|line| format!("was {line}"));
                let come = is.difference(&was).map(|line| format!("is {line}"));
                if let Some(difference) = gone.chain(come).next() {
                    bail!("{part} on {short} is not as it was: {difference}");
                }
            }
        }
        let changed = lab::changed_objects(self.lab.name(), self.snapshot.path())?;
        ensure!(changed.is_empty(), "objects are not as they were: {}", changed.join("; "));
        Ok(())
    }

    /// The journal of the cluster's latest run.
    pub(super) fn journal(&self) -> Result<Option<PathBuf>> {
        let mut journals = Vec::new();
        for cluster in fs::read_dir(self.lab.state_dir()?).into_iter().flatten().flatten() {
            let runs = fs::read_dir(cluster.path()).into_iter().flatten().flatten();
            journals.extend(runs.map(|run| run.path().join("journal.jsonl")).filter(|path| path.exists()));
        }
        Ok(journals.into_iter().max())
    }
}

/// One line for each entry of a directory and one for the content of each file.
fn listing(directory: &Path) -> Result<BTreeSet<String>> {
    const LIST: &str = "[ ! -e \"$0\" ] || { cd \"$0\" && find . -printf '%p %y %m %U:%G %l\\n' && find . -type f -exec sha256sum {} +; }";
    let text = cmd("sh", ["-c".as_ref(), LIST.as_ref(), directory.as_os_str()]).read()?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Something that a run has told.
pub(super) struct Told<'a> {
    /// `step-started`, `step-done`, `phase-started` and so on.
    pub(super) event: &'a str,
    pub(super) phase: &'a str,
    /// Of a step: what it does, and where.
    pub(super) title: &'a str,
    pub(super) target: &'a str,
}

/// kubecert under way.
pub(super) struct Run {
    child: Child,
    lines: Receiver<String>,
    /// What steps do and where, by their numbers.
    steps: BTreeMap<u64, (String, String, String)>,
    last: String,
}

impl Run {
    pub(super) fn spawn(command: &mut std::process::Command, log: &Path) -> Result<Self> {
        let mut child = command.spawn().context("cannot run kubecert")?;
        let stderr = child.stderr.take().context("no standard error")?;
        let mut log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _unkept = writeln!(log, "{line}");
                let _unread = sender.send(line);
            }
        });
        Ok(Self { child, lines, steps: BTreeMap::new(), last: String::new() })
    }

    /// Reads on until something is told that `wanted` wants. Tells whether that came before the run's end.
    pub(super) fn until(&mut self, wanted: impl Fn(&Told<'_>) -> bool) -> Result<bool> {
        let began = Instant::now();
        loop {
            let left = EVENT_PATIENCE.saturating_sub(began.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    if self.take(&line).is_some_and(|told| wanted(&told.view())) {
                        return Ok(true);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
                Err(RecvTimeoutError::Timeout) => {
                    self.kill()?;
                    bail!("what the scenario waits for did not happen in time");
                }
            }
        }
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits until it ends.
    pub(super) fn end(mut self) -> Result<End> {
        let began = Instant::now();
        loop {
            match self.lines.recv_timeout(END_PATIENCE.saturating_sub(began.elapsed())) {
                Ok(line) => drop(self.take(&line)),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    self.kill()?;
                    bail!("it has not ended in {} s", END_PATIENCE.as_secs());
                }
            }
        }
        let code = self.child.wait()?.code();
        Ok(End { code, said: self.last })
    }

    /// Understands a line.
    fn take(&mut self, line: &str) -> Option<Owned> {
        let Ok(json) = serde_json::from_str::<Value>(line) else {
            line.clone_into(&mut self.last);
            return None;
        };
        if json.get("error").is_some() {
            let list = |key: &str| json[key].as_array().cloned().unwrap_or_default();
            let parts = [vec![json["error"].clone()], list("caused_by"), list("hints")].concat();
            let texts: Vec<&str> = parts.iter().filter_map(Value::as_str).collect();
            self.last = texts.join("; ");
            return None;
        }
        let what = &json["what"];
        let text = |key: &str| what[key].as_str().unwrap_or_default().to_owned();
        let mut told =
            Owned { event: text("event"), phase: text("phase"), title: text("title"), target: String::new() };
        if let Some(step) = what["step"].as_u64() {
            if told.event == "step-started" {
                let target = &what["target"];
                let target = target["node"].as_str().or(target.as_str()).unwrap_or_default();
                self.steps.insert(step, (told.phase.clone(), told.title.clone(), target.to_owned()));
            }
            if let Some((phase, title, target)) = self.steps.get(&step).cloned() {
                (told.phase, told.title, told.target) = (phase, title, target);
            }
        }
        if told.event == "run-finished" {
            self.last = match what["outcome"]["stopped"]["reason"].as_str() {
                Some(reason) => reason.to_owned(),
                None => what["outcome"].as_str().unwrap_or_default().to_owned(),
            };
        }
        Some(told)
    }
}

struct Owned {
    event: String,
    phase: String,
    title: String,
    target: String,
}

impl Owned {
    fn view(&self) -> Told<'_> {
        Told { event: &self.event, phase: &self.phase, title: &self.title, target: &self.target }
    }
}
