//! A client that nobody knows of: its certificate is the old CA's, and no file of the cluster or the operator holds it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::faults::Ended;
use super::stage::Stage;
use crate::cmd::{CommandExt as _, cmd};
use crate::lab;

/// The name in its certificate.
const NAME: &str = "the-auditors-laptop";
/// The pause between two of its requests.
const PAUSE: Duration = Duration::from_millis(500);

/// The run has to stop before the old CA goes and to name the client, to refuse a decision about a name that does not
/// block, and to go on once the operator has decided about the right one.
pub(super) fn play(stage: &mut Stage) -> Result<Ended> {
    let client = Outsider::start(stage.lab.name())?;
    // Of a client that was never seen before the run it cannot be told whether it is one of the cluster's own new ones.
    std::thread::sleep(PAUSE * 6);
    let run = stage.rotate()?;
    let finished = stage.safe(run)?;
    ensure!(!finished, "it dropped the old CA although {NAME} uses it");
    let named = format!("client {NAME}");
    let said = stage.ends.last().map(|end| end.said.clone()).unwrap_or_default();
    ensure!(said.contains(&named), "it does not name {named}");

    let run = stage.start("resume", &["--yes", "--drop-anyway", "client nobody"])?;
    ensure!(!stage.safe(run)?, "it dropped the old CA for a name that does not block");
    let said = stage.ends.last().map(|end| end.said.clone()).unwrap_or_default();
    ensure!(said.contains("client nobody") && said.contains(&named), "it does not refuse the wrong name");
    ensure!(client.is_let_in()?, "{NAME} was shut out although nobody decided so");

    let run = stage.start("resume", &["--yes", "--drop-anyway", &named])?;
    ensure!(stage.safe(run)?, "it did not finish after the operator's decision");
    ensure!(!client.is_let_in()?, "the old CA is gone, and {NAME} is still let in");
    Ok(Ended::FinishedLater)
}

struct Outsider {
    lab: String,
    directory: Arc<tempfile::TempDir>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Outsider {
    /// Has the CA sign its certificate, and begins to ask.
    fn start(name: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let pki = lab::operator_directory(name)?;
        let file = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
        let of = |name: &str| pki.join(name).to_string_lossy().into_owned();
        let (key, request, certificate) = (file("key"), file("request"), file("certificate"));
        let subject = format!("/O=system:masters/CN={NAME}");
        cmd("openssl", ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", &key, "-out", &request])
            .args(["-subj", &subject])
            .read()?;
        cmd("openssl", ["x509", "-req", "-in", &request, "-out", &certificate, "-days", "30"])
            .args(["-CA", &of("ca.crt"), "-CAkey", &of("ca.key"), "-set_serial", "0x6b75626563657274"])
            .read()?;
        let (stop, directory) = (Arc::new(AtomicBool::new(false)), Arc::new(directory));
        let (lab, place, ended) = (name.to_owned(), directory.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                // Whether it is answered is looked at where it matters.
                let _answered = ask(&lab, place.path());
                std::thread::sleep(PAUSE);
            }
        });
        let outsider = Self { lab: name.to_owned(), directory, stop, thread: Some(thread) };
        ensure!(outsider.is_let_in()?, "{NAME} is not let in before anything is rotated");
        Ok(outsider)
    }

    fn is_let_in(&self) -> Result<bool> {
        Ok(ask(&self.lab, self.directory.path())? == "201")
    }
}

impl Drop for Outsider {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// The status of a write, since the lab's audit log leaves out reads; a dry run, so that nothing changes. Whom it asks it
/// does not look at, as it would not trust the new CA.
fn ask(name: &str, directory: &Path) -> Result<String> {
    const OBJECT: &str = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"auditor"}}"#;
    let url = format!("https://{}/api/v1/namespaces/default/configmaps?dryRun=All", lab::public_name(name)?);
    let file = |name: &str| directory.join(name).to_string_lossy().into_owned();
    let (certificate, key) = (file("certificate"), file("key"));
    let mut words = vec!["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "5"];
    words.extend(["-H", "Content-Type: application/json", "-d", OBJECT]);
    words.extend(["--cert", &*certificate, "--key", &*key, &*url]);
    let output = lab::operator(name, &words)?.output().context("cannot run curl")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
