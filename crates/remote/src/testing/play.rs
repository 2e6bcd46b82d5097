//! The operations, played: each takes the lines that its script reads, and answers what its script answers.

use std::fs;
use std::io;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kubecert_core::layout::windows::{KUBELET_SERVICE, NODE_RESET, STAGE};
use sha2::{Digest, Sha256};

use super::machine::{Machine, PRIVATE};

/// What comes back of an operation.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u32,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// Why an operation ended before its end: an exit code of `common.ps1`, and its words.
struct Stop(u32, String);

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        let full = error.kind() == io::ErrorKind::StorageFull;
        Self(if full { 65 } else { 68 }, error.to_string())
    }
}

const BAD_INPUT: u32 = 64;
const TOO_LATE: u32 = 67;

/// Plays an operation.
pub(super) async fn play(machine: &Machine, act: &str, lines: &[&str]) -> Answer {
    machine.act(act);
    let mut player = Player { machine, act, lines: lines.iter(), said: String::new() };
    let outcome = match act {
        "look" => player.look(),
        "read" => player.read(),
        "remains" => player.remains(),
        "back-up" => player.back_up(),
        "write" => player.write(),
        "remove" => player.remove(),
        "restart-unit" => player.restart_unit().await,
        "start-afresh" => player.start_afresh().await,
        _ => Err(Stop(BAD_INPUT, format!("unknown operation {act}"))),
    };
    let stdout = player.said.into_bytes();
    match outcome {
        Ok(()) => Answer { status: 0, stdout, stderr: Vec::new() },
        Err(Stop(status, why)) => Answer { status, stdout, stderr: format!("{why}\n").into_bytes() },
    }
}

struct Player<'a> {
    machine: &'a Machine,
    act: &'a str,
    lines: std::slice::Iter<'a, &'a str>,
    said: String,
}

/// A file that is ready and not in its place yet.
enum Ready {
    File { temporary: String, path: String, sddl: String },
    Link { path: String, target: String },
    Gone { path: String },
}

/// What a backup holds of a path.
enum Kept {
    File { bytes: Vec<u8>, sddl: String },
    Link(String),
    Absent,
}

impl<'a> Player<'a> {
    fn say(&mut self, line: impl AsRef<str>) {
        self.said.push_str(line.as_ref());
        self.said.push('\n');
    }

    fn next(&mut self) -> Result<&'a str, Stop> {
        let next = self.lines.next().copied();
        next.ok_or_else(|| Stop(BAD_INPUT, "what was sent was cut off on the way".to_owned()))
    }

    fn number(&mut self) -> Result<u64, Stop> {
        let line = self.next()?;
        line.parse().map_err(|_| Stop(BAD_INPUT, format!("`{line}` is no number")))
    }

    fn look(&mut self) -> Result<(), Stop> {
        let now = seconds(SystemTime::now());
        self.say(format!("clock {now}"));
        self.say(format!("hostname {}", self.machine.hostname()));
        self.say("free 64000000000");
        let mut files = Vec::new();
        loop {
            let line = self.next()?;
            if line == "." {
                break;
            }
            let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
            match kind {
                "path" if self.machine.at(rest).is_dir() => {
                    let mut names: Vec<String> = fs::read_dir(self.machine.at(rest))?
                        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                        .collect();
                    names.sort();
                    files.extend(names.into_iter().map(|name| format!(r"{rest}\{name}")));
                }
                "path" => files.push(rest.to_owned()),
                "component" => {
                    if rest == "kubelet"
                        && let Some((pid, started)) = self.machine.kubelet().process()
                    {
                        self.say(format!("process {rest} {pid} {}", hundredths(started)));
                    }
                }
                "tool" if rest != KUBELET_SERVICE => self.say(format!("missing {rest}")),
                "tool" | "text" => {}
                _ => return Err(Stop(BAD_INPUT, format!("unknown question: {kind}"))),
            }
        }
        files.dedup();
        for path in files {
            self.look_at(&path);
        }
        self.say("end");
        Ok(())
    }

    fn look_at(&mut self, path: &str) {
        let at = self.machine.at(path);
        let (Ok(bytes), Ok(facts)) = (fs::read(&at), fs::metadata(&at)) else { return };
        let changed = seconds(facts.modified().unwrap_or(SystemTime::UNIX_EPOCH));
        let real = self.machine.link(path).unwrap_or_else(|| path.to_owned());
        let mode = if self.machine.access(&real).contains(";BU)") { "644" } else { "600" };
        self.say(format!("file {mode} S-1-5-18:S-1-5-18 {changed} {path}"));
        self.say(format!("sum {}  {path}", hex::encode(Sha256::digest(&bytes))));
        if let Some(target) = self.machine.link(path) {
            let own = fs::symlink_metadata(&at).and_then(|facts| facts.modified());
            self.say(format!("link {} {path}\n{target}", seconds(own.unwrap_or(SystemTime::UNIX_EPOCH))));
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
        const END: &str = "-----END CERTIFICATE-----";
        for block in text.split(BEGIN).skip(1) {
            if let Some((body, _)) = block.split_once(END) {
                let body: Vec<&str> = body.split_whitespace().collect();
                self.say(format!("pem {path}\n|{BEGIN}|{}|{END}", body.join("|")));
            }
        }
        for line in text.lines() {
            for key in ["certificate-authority-data", "client-certificate-data"] {
                if let Some(value) = line.trim().strip_prefix(key) {
                    let value = value.trim_matches(|c: char| ": \"".contains(c));
                    self.say(format!("data {path}\n{value}"));
                }
            }
        }
    }

    fn read(&mut self) -> Result<(), Stop> {
        let path = self.next()?;
        if self.machine.is_there(path) {
            let bytes = fs::read(self.machine.at(path))?;
            self.say("present");
            self.say(STANDARD.encode(bytes));
            self.machine.log(self.act, &format!("read {path}"));
        } else {
            self.say("absent");
        }
        Ok(())
    }

    fn remains(&mut self) -> Result<(), Stop> {
        let Ok(runs) = fs::read_dir(self.machine.at(STAGE)) else { return Ok(()) };
        let runs = runs.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let kept = runs.filter(|run| self.machine.at(&format!(r"{STAGE}\{run}\backup\index")).is_file());
        if let Some(latest) = kept.max() {
            self.say(latest);
        }
        Ok(())
    }

    fn back_up(&mut self) -> Result<(), Stop> {
        let backup = format!(r"{STAGE}\{}", self.next()?);
        fs::create_dir_all(self.machine.at(&backup))?;
        loop {
            let path = self.next()?;
            if path == "." {
                return Ok(());
            }
            if self.kept(&backup, path)?.is_some() {
                continue;
            }
            let line = if let Some(target) = self.machine.link(path) {
                format!("link\t{path}\t{target}\t.\n")
            } else if self.machine.is_there(path) {
                let copy = self.machine.at(&copy_of(&backup, path));
                if let Some(directory) = copy.parent() {
                    fs::create_dir_all(directory)?;
                }
                fs::copy(self.machine.at(path), copy)?;
                format!("file\t{path}\t{}\t.\n", self.machine.access(path))
            } else {
                format!("absent\t{path}\t-\t.\n")
            };
            let index = self.machine.at(&format!(r"{backup}\index"));
            let before = fs::read_to_string(&index).unwrap_or_default();
            fs::write(index, before + &line)?;
            self.machine.log(self.act, &format!("backed up {path}"));
        }
    }

    fn kept(&self, backup: &str, path: &str) -> Result<Option<Kept>, Stop> {
        let index = fs::read_to_string(self.machine.at(&format!(r"{backup}\index"))).unwrap_or_default();
        let line = index.lines().map(|line| line.split('\t').collect::<Vec<_>>());
        for fields in line {
            if let [kind, of, detail, "."] = fields.as_slice()
                && *of == path
            {
                return Ok(Some(match *kind {
                    "link" => Kept::Link((*detail).to_owned()),
                    "absent" => Kept::Absent,
                    _ => Kept::File {
                        bytes: fs::read(self.machine.at(&copy_of(backup, path)))?,
                        sddl: (*detail).to_owned(),
                    },
                }));
            }
        }
        Ok(None)
    }

    fn write(&mut self) -> Result<(), Stop> {
        let backup = format!(r"{STAGE}\{}", self.next()?);
        let mut ready = Vec::new();
        let mut done = Vec::new();
        loop {
            let header = self.next()?;
            if header == "." {
                break;
            }
            let path = self.next()?.to_owned();
            let made = match header.split(' ').collect::<Vec<_>>().as_slice() {
                ["bytes", access, digest] => self.bytes(&path, access, digest)?,
                ["original"] => self.original(&path, &backup)?,
                _ => return Err(Stop(BAD_INPUT, format!("unknown kind of file: {header}"))),
            };
            done.push((if made.is_some() { "written" } else { "unchanged" }, path));
            ready.extend(made);
        }
        for one in ready {
            match one {
                Ready::File { temporary, path, sddl } => {
                    if self.machine.is_there(&path) {
                        self.machine.set_access(&path, &sddl)?;
                    }
                    self.machine.put_in_place(&temporary, &path, &sddl)?;
                    self.machine.log(self.act, &format!("wrote {path}"));
                }
                Ready::Link { path, target } => self.machine.put_link(&path, &target)?,
                Ready::Gone { path } => self.machine.remove(&path)?,
            }
        }
        for (state, path) in done {
            let digest = fs::read(self.machine.at(&path)).map(|bytes| hex::encode(Sha256::digest(bytes)));
            self.say(format!("{state} {} {path}", digest.unwrap_or_else(|_| "-".to_owned())));
        }
        Ok(())
    }

    fn bytes(&mut self, path: &str, access: &str, wanted: &str) -> Result<Option<Ready>, Stop> {
        let bad = |why: &str| Stop(BAD_INPUT, format!("{path}: {why}"));
        let bytes = STANDARD.decode(self.next()?).map_err(|_| bad("its content is no base64"))?;
        if hex::encode(Sha256::digest(&bytes)) != wanted {
            return Err(bad("its content was changed on the way"));
        }
        let there = fs::read(self.machine.at(path)).ok();
        let sddl = match (access, &there) {
            ("private", _) => PRIVATE.to_owned(),
            ("keep", Some(_)) => self.machine.access(path),
            ("keep", None) => return Err(bad("it does not exist and no access list is given for it")),
            _ => return Err(bad("its access list is not understood")),
        };
        if there.is_some_and(|there| there == bytes) && self.machine.link(path).is_none() {
            if access == "private" {
                self.machine.set_access(path, &sddl)?;
            }
            return Ok(None);
        }
        let temporary = self.machine.make_ready(path, &bytes, &sddl)?;
        Ok(Some(Ready::File { temporary, path: path.to_owned(), sddl }))
    }

    fn original(&mut self, path: &str, backup: &str) -> Result<Option<Ready>, Stop> {
        let path = path.to_owned();
        match self.kept(backup, &path)? {
            None => Err(Stop(BAD_INPUT, format!("there is no backup of {path} in {backup}"))),
            Some(Kept::Absent) => Ok(self.machine.is_there(&path).then_some(Ready::Gone { path })),
            Some(Kept::Link(target)) if self.machine.link(&path).as_ref() == Some(&target) => Ok(None),
            Some(Kept::Link(target)) => Ok(Some(Ready::Link { path, target })),
            Some(Kept::File { bytes, sddl }) => {
                let same = fs::read(self.machine.at(&path)).is_ok_and(|there| there == bytes);
                if same && self.machine.access(&path) == sddl {
                    return Ok(None);
                }
                let temporary = self.machine.make_ready(&path, &bytes, &sddl)?;
                Ok(Some(Ready::File { temporary, path, sddl }))
            }
        }
    }

    fn remove(&mut self) -> Result<(), Stop> {
        loop {
            let path = self.next()?;
            if path == "." {
                return Ok(());
            }
            if self.machine.is_there(path) {
                self.machine.remove(path)?;
                self.machine.log(self.act, &format!("removed {path}"));
            }
        }
    }

    /// Service, process and limits, as both scripts that restart services begin.
    fn service(&mut self) -> Result<Duration, Stop> {
        let (service, process) = (self.next()?, self.next()?);
        if (service, process) != (KUBELET_SERVICE, "kubelet") {
            return Err(Stop(68, format!("there is no service {service}")));
        }
        let (_goodbye, patience, _expires) = (self.number()?, self.number()?, self.number()?);
        Ok(Duration::from_secs(patience))
    }

    async fn restart_unit(&mut self) -> Result<(), Stop> {
        let patience = self.service()?;
        self.stop().await;
        if !self.start().await || !self.appears(None, patience).await {
            return Err(Stop(TOO_LATE, "no process kubelet appeared".to_owned()));
        }
        self.say_process()
    }

    async fn start_afresh(&mut self) -> Result<(), Stop> {
        let patience = self.service()?;
        let mut forget = Vec::new();
        loop {
            match self.next()? {
                "." => break,
                path => forget.push(path),
            }
        }
        let Some(first) = forget.first().copied() else {
            return Err(Stop(BAD_INPUT, "nothing is to be forgotten".to_owned()));
        };
        self.stop().await;
        for path in &forget {
            if self.machine.is_there(path) {
                self.machine.remove(path)?;
                self.machine.log(self.act, &format!("removed {path}"));
            }
        }
        let mut way = "restarted";
        if !self.start().await || !self.appears(Some(first), patience).await {
            if !self.machine.is_there(NODE_RESET) {
                return Err(Stop(TOO_LATE, format!("kubelet has not made {first}")));
            }
            way = "node-reset";
            self.machine.act("reset the node");
            self.machine.log(self.act, "resetting the node");
            self.machine.kubelet().reset().await;
            if !self.appears(Some(first), patience).await {
                return Err(Stop(TOO_LATE, format!("kubelet has not made {first}")));
            }
        }
        self.say(format!("way {way}"));
        self.say_process()
    }

    async fn stop(&self) {
        self.machine.kubelet().stop().await;
        self.machine.act("stopped kubelet");
        self.machine.log(self.act, "stopped kubelet");
    }

    async fn start(&self) -> bool {
        self.machine.act("started kubelet");
        self.machine.log(self.act, "started kubelet");
        self.machine.kubelet().start().await
    }

    async fn appears(&self, made: Option<&str>, patience: Duration) -> bool {
        let limit = Instant::now() + patience.min(LONGEST);
        while Instant::now() < limit {
            let runs = self.machine.kubelet().process().is_some();
            if runs && made.is_none_or(|path| self.machine.at(path).is_file()) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }

    fn say_process(&mut self) -> Result<(), Stop> {
        let Some((pid, started)) = self.machine.kubelet().process() else {
            return Err(Stop(TOO_LATE, "kubelet has ended again".to_owned()));
        };
        self.say(format!("process {pid} {}", hundredths(started)));
        Ok(())
    }
}

/// How long the endpoint waits for what takes minutes on a real node: its kubelets answer at once or never.
const LONGEST: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 60 });

fn copy_of(backup: &str, path: &str) -> String {
    format!(r"{backup}\{}{}", &path[..1], &path[2..])
}

fn seconds(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:07}", since.as_secs(), since.subsec_nanos() / 100)
}

fn hundredths(time: SystemTime) -> u128 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() / 10
}
