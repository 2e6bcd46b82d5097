//! The rules of the repository that a compiler does not check.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use cargo_metadata::MetadataCommand;

use crate::cmd::{CommandExt as _, cmd};

/// Which workspace crates each one may depend on; dependencies run one way.
const LAYERS: &[(&str, &[&str])] = &[
    ("kubecert-core", &[]),
    ("kubecert-pki", &["kubecert-core"]),
    ("kubecert-engine", &["kubecert-core", "kubecert-pki"]),
    ("kubecert-remote", &["kubecert-core", "kubecert-pki", "kubecert-engine"]),
    ("kubecert-cluster", &["kubecert-core", "kubecert-pki", "kubecert-engine"]),
    ("kubecert-cloud", &["kubecert-core", "kubecert-pki", "kubecert-engine"]),
    ("kubecert-sim", &["kubecert-core", "kubecert-pki", "kubecert-engine"]),
];
/// What the pure crates must not even name: whatever does I/O or knows the time.
const IMPURE: &[&str] = &["tokio", "russh", "kube", "reqwest", "hyper", "tonic", "tempfile", "rustls"];
/// Third-party types stop at the door of the adapter that needs them.
const DOORS: &[(&str, &[&str])] = &[
    ("russh::", &["crates/remote"]),
    ("kube::", &["crates/cluster"]),
    ("k8s_openapi::", &["crates/cluster"]),
    ("tonic::", &["crates/cluster", "crates/cloud"]),
    ("reqwest::", &["crates/cloud"]),
];
/// Only the command line reads the environment, the home directory and the terminal.
const SURROUNDINGS: &[&str] =
    &["std::env::", "env::var", "env::args", "IsTerminal", "println!(", "eprintln!(", "print!("];
/// Longer files are two files.
const MOST_LINES: usize = 800;
/// Crates that must not come in, with the reason.
const BANNED: &[(&str, &str)] = &[
    ("ring", "one crypto library is enough, and it makes no RSA keys; aws-lc-rs is taken everywhere"),
    ("openssl-sys", "no C library but aws-lc"),
    ("native-tls", "no C library but aws-lc"),
    ("serde_yaml", "no longer maintained"),
];

/// Checks everything and names everything that is wrong.
pub(crate) fn check() -> Result<()> {
    let root = root();
    let mut broken = Vec::new();
    dependencies(&root, &mut broken)?;
    for file in sources(&root.join("crates"))? {
        source(&root, &file, &mut broken)?;
    }
    for file in sources(&root.join("xtask"))? {
        length(&root, &file, &mut broken)?;
    }
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "deny.toml",
        ".ci/run",
    ] {
        if !root.join(name).exists() {
            broken.push(format!("{name} is missing"));
        }
    }
    if broken.is_empty() {
        eprintln!("repository rules: ok");
        return Ok(());
    }
    bail!("repository rules broken:\n  {}", broken.join("\n  "));
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

fn dependencies(root: &Path, broken: &mut Vec<String>) -> Result<()> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .other_options([
            "--locked".to_owned(),
            "--filter-platform".to_owned(),
            "x86_64-unknown-linux-gnu".to_owned(),
        ])
        .exec()
        .context("cannot read the workspace's metadata")?;
    let layers: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    for package in metadata.workspace_packages() {
        let Some(allowed) = layers.get(package.name.as_str()) else { continue };
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            let normal = dependency.kind == cargo_metadata::DependencyKind::Normal;
            if (name.starts_with("kubecert")) && !allowed.contains(&name) && normal {
                broken.push(format!("{} depends on {name}; dependencies run one way", package.name));
            }
            let pure = ["kubecert-core", "kubecert-pki"].contains(&package.name.as_str());
            if pure && normal && IMPURE.contains(&name) {
                broken.push(format!("{} names {name}; it is pure", package.name));
            }
        }
    }
    let resolved = built_packages(root)?;
    for (name, why) in BANNED {
        if resolved.contains(*name) {
            broken.push(format!("crate {name} has come in: {why}"));
        }
    }
    Ok(())
}

/// The packages that the program is built from. cargo's metadata would name optional ones besides that nobody asked for.
fn built_packages(root: &Path) -> Result<BTreeSet<String>> {
    let args = ["tree", "--locked", "-p", "kubecert", "-e", "normal", "--prefix", "none", "--format", "{p}"];
    let tree = cmd("cargo", args).current_dir(root).read()?;
    Ok(tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

fn source(root: &Path, file: &Path, broken: &mut Vec<String>) -> Result<()> {
    length(root, file, broken)?;
    let text = fs::read_to_string(file)?;
    let shown = shown(root, file);
    // What stands behind `mod tests` may do as it likes.
    let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or(&text);
    let code: String =
        code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let is_test = ["/tests/", "/tests_", "tests.rs", "testing", "/benches/", "/examples/"]
        .iter()
        .any(|mark| shown.contains(mark));
    for (door, places) in DOORS {
        let public = code.lines().any(|line| line.trim_start().starts_with("pub ") && line.contains(door));
        let inside = places.iter().any(|place| shown.starts_with(place));
        if code.contains(&format!(" {door}")) && !inside || public {
            broken.push(format!("{shown}: {door} stops at the door of {}", places.join(", ")));
        }
    }
    if !shown.starts_with("crates/cli") && !is_test {
        for word in SURROUNDINGS {
            if code.contains(word) {
                broken.push(format!("{shown}: {word} is for crates/cli only"));
            }
        }
    }
    for word in ["todo!(", "unimplemented!(", "dbg!("] {
        if code.contains(word) {
            broken.push(format!("{shown}: {word})"));
        }
    }
    Ok(())
}

fn length(root: &Path, file: &Path, broken: &mut Vec<String>) -> Result<()> {
    let lines = fs::read_to_string(file)?.lines().count();
    if lines > MOST_LINES {
        broken.push(format!("{}: {lines} lines; split it where it has a seam", shown(root, file)));
    }
    Ok(())
}

fn shown(root: &Path, file: &Path) -> String {
    file.strip_prefix(root).unwrap_or(file).display().to_string()
}

fn sources(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
