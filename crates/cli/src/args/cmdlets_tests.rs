//! What PowerShell would make of a line, ours makes of it, too.

use super::super::{NotRun, Verb, parse_from};
use super::*;

/// The words as clap gets them, behind the program's name.
#[track_caller]
fn translated(words: &[&str]) -> String {
    let typed: Vec<OsString> = std::iter::once(&"kubecert").chain(words).map(OsString::from).collect();
    let words = translate(&typed).expect("it is understood").expect("it is a cmdlet");
    let words: Vec<String> = words[1..].iter().map(|word| word.to_string_lossy().into_owned()).collect();
    words.join(" ")
}

/// What is said of a line that cannot be understood, and the exit code.
#[track_caller]
fn refused(words: &[&str]) -> (String, u8) {
    let typed = std::iter::once(&"kubecert").chain(words).map(OsString::from);
    match parse_from(typed).expect_err("it is refused") {
        NotRun::Other { error, exit } => (error.error.to_string(), exit.code()),
        NotRun::Clap { error, exit } => (error.render().to_string(), exit.code()),
    }
}

const CLUSTER: &str = "Update-AksHciClusterCertificates";

#[test]
fn the_documented_lines_are_understood() {
    assert_eq!(translated(&["Update-AksHciCertificates"]), "Update-AksHciCertificates");
    assert_eq!(translated(&["Update-AksHciCertificates", "-force"]), "Update-AksHciCertificates --force");
    assert_eq!(
        translated(&[CLUSTER, "-Name", "holidays", "-fixCloudCredentials", "-patchLoadBalancer"]),
        "Update-AksHciClusterCertificates --name=holidays --fixCloudCredentials --patchLoadBalancer"
    );
    assert_eq!(
        translated(&[CLUSTER, "-name", "holidays", "-fixKubeletCredentials", "-force"]),
        "Update-AksHciClusterCertificates --name=holidays --fixKubeletCredentials --force"
    );
    assert_eq!(
        translated(&["Repair-AksHciCerts", "-sshPrivateKeyFile", "k"]),
        "Repair-AksHciCerts --sshPrivateKeyFile=k"
    );
    assert_eq!(
        translated(&[
            "Repair-AksHciClusterCerts",
            "-name",
            "n",
            "-fixCloudCredentials",
            "-sshPrivateKeyFile",
            "k",
            "-force"
        ]),
        "Repair-AksHciClusterCerts --name=n --fixCloudCredentials --sshPrivateKeyFile=k --force"
    );
    assert_eq!(translated(&["Invoke-AksHciRotateCACertificate"]), "Invoke-AksHciRotateCACertificate");
}

#[test]
fn case_abbreviations_colons_and_dashes_are_powershells() {
    let whole = "Update-AksHciClusterCertificates --name=h --fixCloudCredentials --patchLoadBalancer";
    for words in [
        &["update-akshciclustercertificates", "-NAME", "h", "-FIXCLOUDCREDENTIALS", "-PATCHLOADBALANCER"][..],
        &[CLUSTER, "-n", "h", "-fixC", "-pa"],
        &[CLUSTER, "-Name:h", "-fixc:$true", "-Patch:$True"],
        &[CLUSTER, "-name:", "h", "-fixc:true", "-patch:1"],
        &[CLUSTER, "\u{2013}Name", "h", "\u{2014}fixCloud", "\u{2015}patch"],
        &[CLUSTER, "--name", "h", "--fixCloudCredentials", "--patchLoadBalancer"],
        &[CLUSTER, "--name=h", "-fixKubelet:$false", "-fixCloud", "-patch"],
    ] {
        let parsed = translated(words);
        let words: std::collections::BTreeSet<&str> = parsed.split(' ').collect();
        assert_eq!(words, whole.split(' ').collect(), "{parsed}");
    }
    assert_eq!(
        translated(&["-o", "json", "UPDATE-AKSHCICERTIFICATES", "-f"]),
        "-o json Update-AksHciCertificates --force"
    );
}

#[test]
fn common_parameters_are_taken_where_they_mean_something() {
    let verb = "Update-AksHciCertificates";
    assert_eq!(
        translated(&[verb, "-Verbose", "-wi", "-Confirm:$false", "-ea", "Stop", "-WarningAction", "Ignore"]),
        "Update-AksHciCertificates --verbose --whatIf --errorAction=Stop"
    );
    let (said, code) = refused(&[verb, "-ErrorVariable", "e"]);
    assert!(said.contains("'ErrorVariable' has a meaning inside of PowerShell only"), "{said}");
    assert_eq!(code, 2);
    let (said, _) = refused(&[verb, "-ErrorAction", "Explode"]);
    assert!(said.contains("SilentlyContinue"), "{said}");
    assert_eq!(
        translated(&[verb, "-Site", "s.yaml", "--quiet", "--color", "never"]),
        "Update-AksHciCertificates --site=s.yaml --quiet --color never"
    );
}

#[test]
fn parameter_sets_exclude_each_other_and_one_is_needed() {
    let unresolved = "parameter set cannot be resolved using the specified named parameters";
    for words in [
        &[CLUSTER, "-name", "h"][..],
        &[CLUSTER, "-name", "h", "-fixCloudCredentials", "-fixKubeletCredentials"],
        &[CLUSTER, "-name", "h", "-fixKubeletCredentials", "-patchLoadBalancer"],
        &[CLUSTER, "-name", "h", "-patchLoadBalancer"],
        &["Repair-AksHciClusterCerts", "-name", "h"],
    ] {
        let (said, code) = refused(words);
        assert!(said.starts_with(unresolved), "{said}");
        assert_eq!(code, 2);
    }
}

#[test]
fn what_cannot_be_meant_is_told_as_powershell_would() {
    for (words, expected) in [
        (&[CLUSTER, "-fixCloudCredentials"][..], "mandatory parameters are missing: Name"),
        (&[CLUSTER, "-name"], "missing an argument for parameter 'Name'"),
        (&[CLUSTER, "-name", "-fixCloudCredentials"], "missing an argument for parameter 'Name'"),
        (&[CLUSTER, "-name", ""], "because it is an empty string"),
        (&[CLUSTER, "-name", "a", "-Name", "b"], "parameter 'Name' is specified more than once"),
        (
            &[CLUSTER, "-name", "a", "-f"],
            "ambiguous; possible matches include -FixCloudCredentials -FixKubeletCredentials -Force",
        ),
        (
            &[CLUSTER, "-name", "a", "-fixCloud", "-tags", "x"],
            "cannot be found that matches parameter name 'tags'",
        ),
        (
            &[CLUSTER, "holidays", "-fixCloud"],
            "a positional parameter cannot be found that accepts argument 'holidays'",
        ),
        (&[CLUSTER, "-name", "a", "-fixCloud:maybe"], "cannot convert 'maybe'"),
        (&["Update-AksHciCertificates", "-name", "a"], "matches parameter name 'name'"),
        (&["Repair-AksHciCerts", "-force"], "matches parameter name 'force'"),
        (&["Invoke-AksHciRotateCACertificate", "-force"], "matches parameter name 'force'"),
    ] {
        let (said, code) = refused(words);
        assert!(said.contains(expected), "{words:?}: {said}");
        assert_eq!(code, 2, "{words:?}");
    }
}

#[test]
fn help_is_asked_for_in_every_way() {
    for verb in CMDLETS.iter().map(|cmdlet| cmdlet.verb) {
        for help in ["-?", "-help", "-Help", "--help", "-h"] {
            let (said, code) = refused(&[verb, help]);
            assert!(said.contains("Usage:") && said.contains("Examples:"), "{verb} {help}: {said}");
            assert!(said.contains(verb) && code == 0, "{verb} {help}");
        }
    }
}

#[test]
fn a_link_with_a_cmdlets_name_is_that_cmdlet() {
    let typed: Vec<OsString> =
        ["/usr/local/bin/update-akshcicertificates", "-force"].map(OsString::from).into();
    let words = translate(&typed).unwrap().unwrap();
    assert_eq!(words[1..], ["Update-AksHciCertificates", "--force"].map(OsString::from));
}

#[test]
fn other_verbs_are_left_alone() {
    for words in [&["kubecert", "check", "-m", "a"][..], &["kubecert"], &["kubecert", "--help"]] {
        let typed: Vec<OsString> = words.iter().map(OsString::from).collect();
        assert!(translate(&typed).unwrap().is_none(), "{words:?}");
    }
}

#[test]
fn deprecated_names_are_told() {
    let typed =
        ["kubecert", "repair-akshciclustercerts", "-n", "a", "-fixK", "-site", "s"].map(OsString::from);
    let parsed = parse_from(typed).expect("it is understood");
    assert!(
        matches!(parsed.cli.verb, Verb::RepairAksHciClusterCerts(args) if args.name == "a" && args.fix_kubelet_credentials)
    );
    assert_eq!(
        parsed.notices,
        ["Repair-AksHciClusterCerts is deprecated; Update-AksHciClusterCertificates does the same."]
    );
}
