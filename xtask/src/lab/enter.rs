//! Looking at a lab, and running commands in it.

use std::process::{Command, ExitCode, Stdio};

use anyhow::Result;

use super::spec::{self, Spec};
use super::{Exec, Layout, RunArgs, azure, cluster, network, node};
use crate::cmd::{CommandExt as _, exit_code};

/// Runs a command on a node, with our standard streams, and ends as it ends.
pub(crate) fn exec(args: &Exec) -> Result<ExitCode> {
    let spec = Spec::load(&args.lab.name)?;
    let words: Vec<_> = args.command.iter().map(String::as_str).collect();
    pass_on(node::enter(&spec, spec.node(&args.node)?, &words)?)
}

/// Runs a command on the operator's side, with what `lab env` prints in its environment.
pub(crate) fn run(args: &RunArgs) -> Result<ExitCode> {
    let spec = Spec::load(&args.lab.name)?;
    let words: Vec<_> = args.command.iter().map(String::as_str).collect();
    pass_on(on_operators_side(&spec, &words))
}

/// Prints what other programs need to know, for `eval`.
pub(crate) fn env(name: &str) -> Result<()> {
    for (key, value) in variables(&Spec::load(name)?) {
        println!("export {key}='{}'", value.replace('\'', r"'\''"));
    }
    Ok(())
}

/// Says of each lab whether its nodes run and what Kubernetes thinks of them.
pub(crate) fn status(only: Option<&str>) -> Result<()> {
    let names: Vec<_> = spec::all().into_iter().filter(|name| only.is_none_or(|only| only == name)).collect();
    if names.is_empty() {
        println!("There is no lab.");
    }
    for name in names {
        let Ok(spec) = Spec::load(&name) else {
            println!("{name}: unreadable; the next `lab up` removes it.");
            continue;
        };
        if !spec.ready {
            println!("{name} is unfinished: it is being built, or that failed.");
        }
        let up = spec.nodes.iter().filter(|node| node::leader(&spec, node).is_some()).count();
        println!(
            "{name}: {} with Kubernetes {}, {up} of {} machines run.",
            spec.layout,
            spec.kubernetes,
            spec.nodes.len()
        );
        for node in &spec.nodes {
            let state = if node::leader(&spec, node).is_some() { "runs" } else { "is off" };
            println!("  {:<3} {:<28} {:<15} {state}", node.short, node.name, node.ip);
        }
        match cluster::kubectl(&spec, &["get", "nodes", "--request-timeout=5s"]).read() {
            Ok(nodes) => nodes.lines().for_each(|line| println!("  {line}")),
            Err(error) => println!("  The API does not answer: {error:#}"),
        }
    }
    Ok(())
}

fn variables(spec: &Spec) -> Vec<(&'static str, String)> {
    let dir = spec.dir();
    let path = |file: &str| dir.join(file).display().to_string();
    let mut variables = vec![
        ("KUBECONFIG", spec.kubeconfig().display().to_string()),
        ("KUBECERT_LAB_SSH_HOST", spec.fqdn.clone()),
        ("KUBECERT_LAB_SSH_PORT", spec.ssh_port.to_string()),
        ("KUBECERT_LAB_SSH_KEY", path("id_rsa")),
        ("KUBECERT_LAB_SSH_KNOWN_HOSTS", path("known_hosts")),
        ("KUBECERT_LAB_NETNS", spec.switch()),
        ("KUBECERT_LAB_DIR", dir.display().to_string()),
        ("KUBECERT_LAB_BIN", spec.programs.join("bin").display().to_string()),
    ];
    match spec.layout {
        Layout::AksEngine => variables.extend([
            ("KUBECERT_LAB_API_MODEL", spec.api_model().display().to_string()),
            ("KUBECERT_LAB_LOCATION", spec.location.clone()),
        ]),
        Layout::Kubeadm => {
            variables.push(("KUBECERT_LAB_CLUSTER", spec.cluster_file().display().to_string()));
        }
    }
    if let Some(azure) = &spec.azure {
        variables.extend([
            ("KUBECERT_LAB_ARM", azure.resource_manager.clone()),
            ("KUBECERT_LAB_ARM_ROOT", azure::root_certificate(spec).display().to_string()),
            ("KUBECERT_LAB_AZURE_ENV", azure.environment.clone()),
            ("KUBECERT_LAB_IDENTITY_SYSTEM", azure.identity_system.clone()),
        ]);
    }
    variables
}

fn pass_on(mut command: Command) -> Result<ExitCode> {
    Ok(exit_code(command.stdin(Stdio::inherit()).status()?))
}

/// A command on the operator's side of the lab `name`, with what `lab env` prints in its environment. Its process is the
/// program's own: whoever kills it kills the program.
pub(crate) fn operator(name: &str, words: &[&str]) -> Result<Command> {
    let spec = Spec::load(name)?;
    Ok(on_operators_side(&spec, words))
}

/// A command where the operator sits: a machine that trusts the root of its Azure Stack Hub, and has no proxy in reach.
fn on_operators_side(spec: &Spec, words: &[&str]) -> Command {
    let mut command = network::inside(&spec.switch(), words);
    for name in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(name);
    }
    if spec.azure.is_some() {
        command.env("SSL_CERT_FILE", azure::root_certificate(spec));
    }
    command.envs(variables(spec));
    command
}

/// A command on a node of the lab `name`, as root.
pub(crate) fn on_node(name: &str, short: &str, words: &[&str]) -> Result<Command> {
    let spec = Spec::load(name)?;
    node::enter(&spec, spec.node(short)?, words)
}

/// The process id of a node's first process, as the host sees it; `None` while it is off.
pub(crate) fn leader(name: &str, short: &str) -> Result<Option<u32>> {
    let spec = Spec::load(name)?;
    Ok(node::leader(&spec, spec.node(short)?))
}

/// A command in the network of the switch between all nodes: the end of a node's cable there is called `v` and its short
/// name.
pub(crate) fn on_switch(name: &str, words: &[&str]) -> Result<Command> {
    Ok(network::inside(&Spec::load(name)?.switch(), words))
}

/// A command in a node's network, which outlives the node's machine.
pub(crate) fn on_cable(name: &str, short: &str, words: &[&str]) -> Result<Command> {
    let spec = Spec::load(name)?;
    Ok(network::inside(&spec.netns(spec.node(short)?), words))
}

/// The name under which the operator finds the API.
pub(crate) fn public_name(name: &str) -> Result<String> {
    Ok(Spec::load(name)?.fqdn)
}

/// Where the operator keeps `apimodel.json` and the PKI.
pub(crate) fn operator_directory(name: &str) -> Result<std::path::PathBuf> {
    Ok(Spec::load(name)?.output())
}

/// The short name, the full name and the root directory of each node that Kubernetes knows.
pub(crate) fn members(name: &str) -> Result<Vec<(String, String, std::path::PathBuf)>> {
    let spec = Spec::load(name)?;
    Ok(spec.members().map(|node| (node.short.clone(), node.name.clone(), spec.root(node))).collect())
}

/// Copies what a rotation may change to `to`, for `lab state --before`.
pub(crate) fn take_snapshot(name: &str, to: &std::path::Path) -> Result<()> {
    super::snapshot::take(&Spec::load(name)?, to)
}

/// Which objects of the cluster are not as such a copy shows them.
pub(crate) fn changed_objects(name: &str, before: &std::path::Path) -> Result<Vec<String>> {
    super::snapshot::changed_objects(&Spec::load(name)?, before)
}
