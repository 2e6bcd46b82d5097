//! Whether the API answers, as a program sees it that has nothing to do with kubecert: curl, five times a second.
//!
//! The client is one that its operator keeps up to date: it trusts the CAs of all PKIs that lie in the operator's
//! directory, and presents that administrator's certificate of theirs which was accepted last, then the others.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::lab;

/// The pause between two requests.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a request may take, in seconds, as curl takes it. More than kubecert's own probe allows: a slow answer is told
/// by the gap, and a machine that is busy with other things is slow.
const LIMIT: &str = "5";
/// An object that is always there; the API server reads it from etcd's majority.
const OBJECT: &str = "/api/v1/namespaces/kube-system";
/// Where the operator's directory holds PKIs: the one in force, that of a run under way, the one before.
const PKIS: [&str; 3] = ["", "_rotate_certs_output", "_rotate_certs_backup"];

/// One request.
struct Sample {
    end: Instant,
    error: Option<String>,
}

/// What was seen over some time.
pub(crate) struct Seen {
    pub(crate) requests: usize,
    pub(crate) failed: usize,
    /// The longest time between two answers.
    pub(crate) gap: Duration,
    /// What failures said, and how often.
    pub(crate) errors: BTreeMap<String, usize>,
}

/// Requests that go on until it is dropped.
pub(crate) struct Probe {
    samples: Arc<Mutex<Vec<Sample>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Probe {
    /// Begins, for the lab of that name.
    pub(crate) fn start(name: &str) -> Result<Self> {
        let client = Client {
            name: name.to_owned(),
            directory: lab::operator_directory(name)?,
            url: format!("https://{}{OBJECT}", lab::public_name(name)?),
            bundle: tempfile::NamedTempFile::new()?,
        };
        let samples = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (into, ended) = (samples.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut first = 0;
            while !ended.load(Ordering::Relaxed) {
                let error = client.ask(&mut first).err().map(|error| format!("{error:#}"));
                let sample = Sample { end: Instant::now(), error };
                into.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
                std::thread::sleep(PAUSE);
            }
        });
        Ok(Self { samples, stop, thread: Some(thread) })
    }

    /// What it has seen since then.
    pub(crate) fn since(&self, began: Instant) -> Seen {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let samples = samples.iter().filter(|sample| sample.end >= began);
        let mut seen = Seen { requests: 0, failed: 0, gap: Duration::ZERO, errors: BTreeMap::new() };
        let mut answered = began;
        for sample in samples {
            seen.requests += 1;
            match &sample.error {
                None => {
                    seen.gap = seen.gap.max(sample.end - answered);
                    answered = sample.end;
                }
                Some(error) => {
                    seen.failed += 1;
                    *seen.errors.entry(error.clone()).or_default() += 1;
                }
            }
        }
        seen.gap = seen.gap.max(answered.elapsed());
        seen
    }

    /// Waits until a request that begins from now on is answered.
    pub(crate) fn answers(&self, patience: Duration) -> Result<()> {
        let began = Instant::now();
        loop {
            let seen = self.since(began);
            // The first of them may have begun before.
            if seen.requests >= 2 && seen.failed < seen.requests {
                return Ok(());
            }
            if began.elapsed() > patience {
                let why: Vec<String> = seen.errors.into_keys().collect();
                bail!("the API does not answer: {}", why.join("; "));
            }
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

struct Client {
    name: String,
    directory: PathBuf,
    url: String,
    bundle: tempfile::NamedTempFile,
}

impl Client {
    /// Asks once with each identity until one is answered; `first` is the place of the one to begin with.
    fn ask(&self, first: &mut usize) -> Result<()> {
        let places: Vec<PathBuf> = PKIS.iter().map(|pki| self.directory.join(pki)).collect();
        let roots: Vec<u8> =
            places.iter().filter_map(|place| fs::read(place.join("ca.crt")).ok()).flatten().collect();
        fs::write(self.bundle.path(), roots)?;
        let mut result = Err(anyhow::anyhow!("the operator's directory holds no PKI"));
        for turn in 0..places.len() {
            let at = (*first + turn) % places.len();
            if !places[at].join("kubectlClient.crt").exists() {
                continue;
            }
            result = self.once(&places[at]);
            if result.is_ok() {
                *first = at;
                break;
            }
        }
        result
    }

    fn once(&self, pki: &Path) -> Result<()> {
        let file = |name: &str| pki.join(name).to_string_lossy().into_owned();
        let (bundle, certificate, key) =
            (self.bundle.path().to_string_lossy(), file("kubectlClient.crt"), file("kubectlClient.key"));
        let mut words = vec!["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", LIMIT];
        words.extend(["--cacert", &*bundle, "--cert", &*certificate, "--key", &*key, &*self.url]);
        let output = lab::operator(&self.name, &words)?.output()?;
        let status = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !output.status.success() {
            // Without figures that differ each time, so that failures of a kind can be counted.
            let said = String::from_utf8_lossy(&output.stderr);
            let said: String = said.trim().chars().filter(|c| !c.is_ascii_digit()).collect();
            bail!("{} ({})", said, output.status);
        }
        if status != "200" {
            bail!("HTTP status {status}");
        }
        Ok(())
    }
}
