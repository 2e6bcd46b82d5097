//! The root file system that all nodes of all labs share, made by mmdebstrap.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::cache;
use super::spec::source;
use crate::cmd::{CommandExt as _, cmd};

/// Bumped when this module makes something else of the same inputs.
const FORMAT: &str = "1";

/// Services that the packages switch on and that a node starts itself, or not at all.
const DISABLED: &[&str] = &["containerd", "haproxy", "e2scrub_reap", "getty@tty1"];
const MASKED: &[&str] = &[
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "systemd-pstore.service",
    "getty.target",
    "console-getty.service",
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
    "nftables.service",
];

/// The uid and gid of etcd, which no package of the base brings.
pub(crate) const ETCD: (u32, u32) = (990, 990);

/// Makes the base unless it is in the cache; returns its directory.
pub(crate) fn base() -> Result<PathBuf> {
    let archive = Archive::of_this_machine()?;
    let packages = packages()?;
    let files = source().join("base/root");
    let tree =
        cmd("sh", ["-c", "cd \"$0\" && find . -type f | sort | xargs sha256sum", &files.to_string_lossy()])
            .read()?;
    let key = cache::hash(&[
        FORMAT,
        &archive.suite,
        &packages.join(","),
        &tree,
        &DISABLED.join(","),
        &MASKED.join(","),
    ]);
    let dir = cache::root().join(format!("base-{key}"));
    if !dir.exists() {
        cache::make_atomically(&dir, |dir| make(dir, &archive, &packages, &files))?;
    }
    Ok(dir)
}

fn make(root: &Path, archive: &Archive, packages: &[String], files: &Path) -> Result<()> {
    let exclude = |path: &str| format!("--dpkgopt=path-exclude=/usr/share/{path}/*");
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap
        .args(["--variant=minbase", "--mode=root", "--aptopt=APT::Install-Recommends \"false\""])
        .args(["man", "doc", "locale"].map(exclude))
        .arg(format!("--components={}", archive.components.join(",")))
        .arg(format!("--include={}", packages.join(",")))
        .arg(&archive.suite)
        .arg(root)
        .arg(&archive.uri);
    mmdebstrap.read()?;
    cmd("cp", ["-rT".as_ref(), files.as_os_str(), root.as_os_str()]).read()?;
    for path in ["etc/machine-id", "etc/resolv.conf"] {
        let path = root.join(path);
        let _absent = fs::remove_file(&path);
        fs::write(path, "")?;
    }
    for entry in fs::read_dir(root.join("etc/ssh"))? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ssh_host_")) {
            fs::remove_file(path)?;
        }
    }
    link("/lib/systemd/system/multi-user.target", &root.join("etc/systemd/system/default.target"))?;
    link(
        "../kubecert-lab-early.service",
        &root.join("usr/lib/systemd/system/sysinit.target.wants/kubecert-lab-early.service"),
    )?;
    let systemctl = |verb: &str, units: &[&str]| {
        for unit in units {
            // A unit that is not there need not be switched off.
            let _done = cmd("systemctl", [&format!("--root={}", root.display()), verb, unit]).succeeds();
        }
    };
    systemctl("disable", DISABLED);
    systemctl("mask", MASKED);
    append(
        &root.join("etc/passwd"),
        &format!("etcd:x:{}:{}:etcd:/var/lib/etcddisk:/usr/sbin/nologin\n", ETCD.0, ETCD.1),
    )?;
    append(&root.join("etc/group"), &format!("etcd:x:{}:\n", ETCD.1))?;
    append(&root.join("etc/shadow"), "etcd:!:19000:0:99999:7:::\n")?;
    Ok(())
}

/// Where this machine's own packages come from; the base comes from there too.
struct Archive {
    uri: String,
    suite: String,
    components: Vec<String>,
}

impl Archive {
    fn of_this_machine() -> Result<Self> {
        let release =
            fs::read_to_string("/etc/os-release").context("cannot tell this machine's distribution")?;
        let suite = release
            .lines()
            .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
            .context("/etc/os-release has no VERSION_CODENAME")?
            .trim_matches('"')
            .to_owned();
        let format = "$(RELEASE)\t$(REPO_URI)\t$(COMPONENT)\t$(ORIGIN)";
        let targets = cmd("apt-get", ["indextargets", "--format", format, "Created-By: Packages"]).read()?;
        let rows: Vec<Vec<_>> = targets
            .lines()
            .map(|line| line.split('\t').collect::<Vec<_>>())
            .filter(|row| row.len() == 4 && row[0] == suite && matches!(row[3], "Debian" | "Ubuntu"))
            .collect();
        let Some(first) = rows.first() else {
            bail!("apt has no index of {suite} from Debian or Ubuntu; run `apt-get update`");
        };
        let mut components: Vec<_> =
            rows.iter().filter(|row| row[1] == first[1]).map(|row| row[2].to_owned()).collect();
        components.sort();
        components.dedup();
        Ok(Self { uri: first[1].to_owned(), suite, components })
    }
}

fn packages() -> Result<Vec<String>> {
    let text = fs::read_to_string(source().join("base/packages"))?;
    Ok(text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect())
}

/// Makes a symbolic link, in place of whatever is there.
pub(crate) fn link(target: &str, place: &Path) -> Result<()> {
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    let _absent = fs::remove_file(place);
    std::os::unix::fs::symlink(target, place).with_context(|| format!("cannot link {}", place.display()))
}

/// Removes a tree if it is there, and never anything mounted below it.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        cmd("rm", ["-rf".as_ref(), "--one-file-system".as_ref(), path.as_os_str()]).read()?;
    }
    Ok(())
}

/// Appends to a file.
pub(crate) fn append(path: &Path, text: &str) -> Result<()> {
    let mut whole = fs::read_to_string(path).unwrap_or_default();
    whole.push_str(text);
    fs::write(path, whole).with_context(|| format!("cannot write {}", path.display()))
}
