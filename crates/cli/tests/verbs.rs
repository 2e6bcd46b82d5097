//! The program as a whole, for the verbs that need no cluster.

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn kubecert(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kubecert")).args(arguments).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is text")
}

/// A report with nothing in it but what must be there.
fn write_report(directory: &Path, run: &str) {
    std::fs::create_dir_all(directory).expect("a directory can be made");
    let report = format!(
        r#"{{"schema":1,"run":"{run}","cluster":"lab","result":"nothing-to-do","outcome":"nothing-to-do","why":"renew",
        "strategy":"cross-signed","started":"2026-11-21T20:00:00Z","finished":"2026-11-21T20:00:02Z","wall_s":2.0,
        "resumed":0,"api":{{"requests":0,"failed":0,"failed_first_try":0,"longest_gap_ms":0,"median_ms":0,"p99_ms":0,
        "clients":[],"timeline":[]}},"phases":[],"steps":[],"credentials":{{"replaced":0,"items":[],"kept":[]}},
        "trust":[],"verification":[],"notices":[]}}"#
    );
    std::fs::write(directory.join("report.json"), report).expect("a file can be written");
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = kubecert(&["completions", shell]);
        assert!(output.status.success(), "{shell}");
        assert!(text(&output.stdout).contains("rotate-certs"), "{shell}");
        assert!(text(&output.stdout).contains("Update-AksHciClusterCertificates"), "{shell}");
    }
}

#[test]
fn every_verb_has_a_manual_page() {
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("man1");
    assert!(kubecert(&["man", pages.to_str().unwrap()]).status.success());
    for page in [
        "kubecert.1",
        "kubecert-rotate.1",
        "kubecert-rotate-certs.1",
        "kubecert-check.1",
        "kubecert-Update-AksHciCertificates.1",
        "kubecert-Invoke-AksHciRotateCACertificate.1",
    ] {
        let page = std::fs::read_to_string(pages.join(page)).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
}

#[test]
fn the_latest_run_is_reported() {
    let state = tempfile::tempdir().unwrap();
    write_report(&state.path().join("other/01A"), "01A");
    write_report(&state.path().join("lab/01B"), "01B");
    let state = state.path().to_str().unwrap();
    let output = kubecert(&["report", "--state-dir", state]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(shown.starts_with("There was nothing to do.\n") && shown.contains("Run 01B"), "{shown}");

    let json = kubecert(&["report", "--state-dir", state, "-o", "json"]);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&json.stdout).unwrap()["run"], "01B");

    let page = format!("{state}/page.html");
    assert!(kubecert(&["report", "--state-dir", state, "--html", &page]).status.success());
    assert!(std::fs::read_to_string(page).unwrap().starts_with("<!DOCTYPE html>"));
}

#[test]
fn an_unusable_report_is_named_with_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    let name = run.to_str().unwrap().to_owned();
    for (content, expected) in [
        ("", "is not JSON"),
        ("{}", "this is not a report of kubecert"),
        (r#"{"schema": 7}"#, "the report has format 7, this program reads format 1"),
        (r#"{"schema": 1}"#, "is damaged"),
    ] {
        std::fs::create_dir_all(&run).unwrap();
        std::fs::write(run.join("report.json"), content).unwrap();
        let output = kubecert(&["report", &name]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
    }
    let output = kubecert(&["report", "/no/such/run", "-o", "json"]);
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert!(error["error"].as_str().unwrap().contains("/no/such/run"));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kubecert"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
}

/// The example's cluster, in memory: undisturbed, and with things that go wrong.
#[test]
fn a_cluster_is_rehearsed() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/aks-engine-3m-2l/apimodel.json");
    let model = model.to_str().unwrap();
    let output = kubecert(&["rehearse", "-m", model, "--quiet"]);
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown}{}", text(&output.stderr));
    assert!(shown.contains("It would finish in one go."), "{shown}");
    assert!(shown.contains("0 failed"), "{shown}");

    let faults = ["--fault", "killed-after@40", "--fault", "reboot@60", "-o", "json", "--quiet"];
    let output = kubecert(&[["rehearse", "-m", model].as_slice(), &faults].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["result"], &json["held"]), (&"resumed".into(), &true.into()), "{json}");
    assert_eq!((&json["control_planes"], &json["agents"]), (&3.into(), &2.into()));
    assert!(json["processes"].as_array().is_some_and(|processes| processes.len() > 1), "{json}");

    let listed = kubecert(&["rehearse", "--list-faults"]);
    assert!(text(&listed.stdout).contains("etcd-dies "), "{}", text(&listed.stdout));
    let unknown = kubecert(&["rehearse", "-m", model, "--fault", "fire"]);
    assert_eq!(unknown.status.code(), Some(2));
}
