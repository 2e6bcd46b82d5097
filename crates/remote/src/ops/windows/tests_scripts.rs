//! The PowerShell scripts as texts: a parser of the language takes them, and what must come before what does.
//!
//! The parser is tree-sitter's grammar of PowerShell. It accepts a little more than PowerShell does, and it runs nothing; a
//! real parser is asked in `docs/windows.md`.

use tree_sitter::{Node, Parser, Tree};

use super::SCRIPTS;
use crate::exec::assemble_windows;

fn parsed(name: &str, script: &str) -> Tree {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_powershell::LANGUAGE.into()).expect("the grammar fits the library");
    let tree = parser.parse(script, None).expect("it is parsed");
    if let Some(bad) = each(tree.root_node(), &mut |node| node.is_error() || node.is_missing()).first() {
        let line = script.lines().nth(bad.start_position().row).unwrap_or_default();
        panic!("{name}: line {}: {line}", bad.start_position().row + 1);
    }
    tree
}

/// The nodes that `wanted` picks, in the order of the text.
fn each<'a>(node: Node<'a>, wanted: &mut dyn FnMut(&Node<'a>) -> bool) -> Vec<Node<'a>> {
    let mut found = Vec::new();
    if wanted(&node) {
        found.push(node);
    }
    let mut cursor = node.walk();
    for child in node.children(&mut cursor) {
        found.extend(each(child, wanted));
    }
    found
}

/// What a function, or a whole script, calls: commands and methods by their names, in order.
fn calls(script: &str, root: Node<'_>) -> Vec<String> {
    let called = each(root, &mut |node| matches!(node.kind(), "command_name" | "member_name"));
    called.iter().map(|node| script[node.byte_range()].to_owned()).collect()
}

fn function<'a>(script: &str, tree: &'a Tree, name: &str) -> Node<'a> {
    let functions = each(tree.root_node(), &mut |node| node.kind() == "function_statement");
    functions
        .into_iter()
        .find(|function| {
            let mut cursor = function.walk();
            let named = function.children(&mut cursor).find(|child| child.kind() == "function_name");
            named.is_some_and(|named| &script[named.byte_range()] == name)
        })
        .expect("there is that function")
}

/// That `wanted` are among `called`, in this order.
#[track_caller]
fn in_order(called: &[String], wanted: &[&str]) {
    let mut rest = called.iter();
    for one in wanted {
        assert!(rest.any(|called| called == one), "{one} is not where it must be in {called:?}");
    }
}

#[test]
fn a_parser_takes_every_script() {
    for (name, parts) in SCRIPTS {
        let script = assemble_windows(parts);
        assert!(script.is_ascii() && script.ends_with('\n'), "{name}");
        parsed(name, &script);
    }
}

#[test]
fn the_parser_refuses_what_is_no_powershell() {
    let broken = std::panic::catch_unwind(|| parsed("broken", "function Say { if ($a -eq 1 { 'x' }\n"));
    assert!(broken.is_err());
}

#[test]
fn access_lists_come_before_contents_and_contents_are_on_the_disk_before_they_are_in_their_place() {
    let script = assemble_windows(super::parts("write"));
    let tree = parsed("write", &script);
    let called = |name: &str| calls(&script, function(&script, &tree, name));
    in_order(&called("New-Temporary"), &["Open", "Set-Access", "Open", "Write", "Flush"]);
    in_order(
        &called("Complete-Files"),
        &["Set-Access", "Replace", "Set-Access", "SetLastWriteTimeUtc", "Move"],
    );
    in_order(&called("Write-Bytes"), &["Get-Access", "Get-Digest", "New-Temporary", "Get-Digest"]);
    // All files are made ready before any is put in its place.
    let whole = calls(&script, tree.root_node());
    in_order(&whole, &["Write-Bytes", "Write-Original", "Complete-Files", "Say"]);
}

#[test]
fn a_service_has_its_safety_before_it_stops_and_keeps_it_until_it_runs() {
    for act in ["restart-unit", "start-afresh"] {
        let script = assemble_windows(super::parts(act));
        let tree = parsed(act, &script);
        in_order(
            &calls(&script, tree.root_node()),
            &[
                "Set-Safety",
                "Stop-Component",
                "Start-Component",
                "Start-Proxy",
                "Remove-Safety",
                "Say-Process",
            ],
        );
    }
    let script = assemble_windows(super::parts("start-afresh"));
    let tree = parsed("start-afresh", &script);
    let order = ["Stop-Component", "Remove-Item", "Start-Component", "Start-Process", "Wait-Component"];
    in_order(&calls(&script, tree.root_node()), &order);
}

#[test]
fn scripts_name_the_paths_of_the_layout_and_no_cmdlet_that_windows_powershell_lacks() {
    use kubecert_core::layout::windows::{LOG, NODE_RESET, STAGE};
    let common = assemble_windows(&[]);
    assert!(common.contains(&format!("'{STAGE}'")) && common.contains(&format!("'{LOG}'")));
    assert!(assemble_windows(super::parts("start-afresh")).contains(&format!("'{NODE_RESET}'")));
    // Whatever is called is ours, or one of these, which Windows PowerShell 5.1 on Windows Server 2019 has.
    let own = |script: &str, tree: &Tree| -> Vec<String> {
        let names = each(tree.root_node(), &mut |node| node.kind() == "function_name");
        names.iter().map(|name| script[name.byte_range()].to_owned()).collect()
    };
    let theirs = [
        "Copy-Item",
        "Get-Acl",
        "Get-ChildItem",
        "Get-Date",
        "Get-Item",
        "Get-Process",
        "Get-Service",
        "New-Item",
        "New-Object",
        "New-ScheduledTaskAction",
        "New-ScheduledTaskTrigger",
        "Out-Null",
        "Register-ScheduledTask",
        "Remove-Item",
        "Select-Object",
        "Set-Acl",
        "Set-StrictMode",
        "Sort-Object",
        "Start-Process",
        "Start-Service",
        "Start-Sleep",
        "Stop-Process",
        "Stop-Service",
        "Test-Path",
        "Unregister-ScheduledTask",
        "Where-Object",
    ];
    for (name, parts) in SCRIPTS {
        let script = assemble_windows(parts);
        let tree = parsed(name, &script);
        let own = own(&script, &tree);
        for command in each(tree.root_node(), &mut |node| node.kind() == "command_name") {
            let called = &script[command.byte_range()];
            assert!(own.iter().any(|own| own == called) || theirs.contains(&called), "{name}: {called}");
        }
    }
}
