//! The PowerShell module of `packaging/powershell`. No PowerShell runs it here: it parses, and what it hands on is what the
//! program understands.

use std::path::Path;
use std::process::Command;

use tree_sitter::{Node, Parser};

const CMDLETS: [(&str, &[&str]); 5] = [
    ("Update-AksHciCertificates", &["Force", "Site", "Output"]),
    (
        "Update-AksHciClusterCertificates",
        &[
            "Name",
            "FixCloudCredentials",
            "PatchLoadBalancer",
            "FixKubeletCredentials",
            "Force",
            "Site",
            "Output",
        ],
    ),
    ("Repair-AksHciCerts", &["SshPrivateKeyFile", "Site", "Output"]),
    (
        "Repair-AksHciClusterCerts",
        &[
            "Name",
            "FixCloudCredentials",
            "FixKubeletCredentials",
            "SshPrivateKeyFile",
            "Force",
            "Site",
            "Output",
        ],
    ),
    ("Invoke-AksHciRotateCACertificate", &["Site", "Output"]),
];

fn module(ending: &str) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/powershell");
    std::fs::read_to_string(directory.join(format!("Kubecert.AksHci.{ending}")))
        .expect("it is in the repository")
}

fn errors(node: Node<'_>, text: &str, found: &mut Vec<String>) {
    if node.is_error() || node.is_missing() {
        found.push(format!("{}: {}", node.start_position().row + 1, &text[node.byte_range()]));
    }
    let mut cursor = node.walk();
    for child in node.children(&mut cursor) {
        errors(child, text, found);
    }
}

#[test]
fn both_files_parse() {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_powershell::LANGUAGE.into()).expect("the grammar fits the library");
    for ending in ["psm1", "psd1"] {
        let text = module(ending);
        let tree = parser.parse(&text, None).expect("it is parsed");
        let mut found = Vec::new();
        errors(tree.root_node(), &text, &mut found);
        assert!(found.is_empty(), "{ending}: {found:#?}");
    }
}

#[test]
fn it_exports_the_verbs_of_the_program_and_hands_on_what_they_understand() {
    let (script, manifest) = (module("psm1"), module("psd1"));
    assert!(script.contains("UNTESTED") && manifest.contains("UNTESTED"));
    for (verb, parameters) in CMDLETS {
        assert!(manifest.contains(&format!("'{verb}'")), "{verb} is not exported");
        let body = script.split(&format!("function {verb} {{")).nth(1).expect("it is a function");
        let body = body.split("\n}\n").next().expect("it ends");
        let declared: Vec<&str> = body
            .lines()
            .filter(|line| line.trim_start().starts_with("[Parameter("))
            .filter_map(|line| line.rsplit_once('$')?.1.split([',', ' ']).next())
            .collect();
        assert_eq!(declared, parameters, "{verb}");
        // Each of them is one that the program's help shows.
        let help = Command::new(env!("CARGO_BIN_EXE_kubecert"))
            .args([verb, "-?"])
            .output()
            .expect("the program starts");
        assert!(help.status.success(), "{verb}");
        let help = String::from_utf8_lossy(&help.stdout).to_ascii_lowercase();
        for parameter in parameters {
            assert!(help.contains(&format!("--{}", parameter.to_ascii_lowercase())), "{verb} -{parameter}");
        }
    }
}
