//! What labs need and what is made only once: packages on this machine, Kubernetes, images.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use super::spec::source;
use super::{Kubernetes, Layout, base};
use crate::cmd::{CommandExt as _, cmd};

/// The programs that the lab calls on this machine, and the packages that bring them.
const PACKAGES: &[(&str, &str)] = &[
    ("systemd-nspawn", "systemd-container"),
    ("mmdebstrap", "mmdebstrap"),
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("nsenter", "util-linux"),
    ("openssl", "openssl"),
    ("ssh-keygen", "openssh-client"),
    ("curl", "curl"),
    ("gpgv", "gpgv"),
    ("pgrep", "procps"),
    // Foreign judges and peers of the tests.
    ("sshd", "openssh-server"),
    ("shellcheck", "shellcheck"),
    ("python3", "python3"),
    // For sites whose credentials were renewed long ago.
    ("faketime", "faketime"),
];

/// Where everything is kept that should outlive a checkout, and the labs themselves.
pub(crate) fn root() -> PathBuf {
    std::env::var_os("KUBECERT_LAB_CACHE").map_or_else(
        || {
            let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
            Path::new(&home).join(".cache/kubecert-lab")
        },
        PathBuf::from,
    )
}

/// Installs what is missing of [`PACKAGES`] with apt-get.
pub(crate) fn install_packages() -> Result<()> {
    let missing: Vec<_> =
        PACKAGES.iter().filter(|(program, _)| !on_path(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("installing {}", missing.join(" "));
    let apt = |args: &[&str]| {
        let mut command = cmd("apt-get", args);
        command.env("DEBIAN_FRONTEND", "noninteractive").stdout(std::io::stderr()).show()
    };
    apt(&["update", "-q"])?;
    apt(&[&["install", "-q", "-y", "--no-install-recommends"], missing.as_slice()].concat())?;
    Ok(())
}

/// Builds Kubernetes, etcd and the lab's helpers unless that was done before; returns their directory.
pub(crate) fn kubernetes(version: Kubernetes) -> Result<PathBuf> {
    // For work on the build script itself, and for binaries from elsewhere.
    if let Some(dir) = std::env::var_os("KUBECERT_LAB_PROGRAMS") {
        return Ok(fs::canonicalize(dir)?);
    }
    let script = match version {
        Kubernetes::V1_34 => "build-kubernetes.sh",
        Kubernetes::V1_20 => "build-kubernetes-1.20.sh",
    };
    let script = source().join(script);
    if !script.exists() {
        bail!("{} is not there, so this generation of Kubernetes cannot be built", script.display());
    }
    // Its progress goes to standard error, the directory is the one line on standard output.
    let mut command = cmd("bash", [&script, &root()]);
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("{} failed with {}", script.display(), output.status);
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

/// Makes what labs of the current generation are put together from, where it is not there yet.
pub(crate) fn prepare() -> Result<()> {
    let (base, programs) = (base::base()?, kubernetes(Kubernetes::V1_34)?);
    [Layout::AksEngine, Layout::Kubeadm]
        .into_iter()
        .try_for_each(|layout| node_template(&base, &programs, layout).map(drop))
}

/// What the build has noted down about its programs: `VERSION` or `ETCD_VERSION`.
pub(crate) fn version_of(programs: &Path, file: &str) -> Result<String> {
    let text = fs::read_to_string(programs.join(file))
        .with_context(|| format!("the programs' directory has no {file}"))?;
    Ok(text.trim().to_owned())
}

/// What every node of one kind of cluster shares, made once for a base and a Kubernetes.
pub(crate) struct NodeTemplate {
    /// The layer with the Kubernetes programs, to be put over the base; see [`PROGRAMS`].
    pub(crate) layer: PathBuf,
    /// A containerd state directory into which the images have been unpacked.
    pub(crate) containerd: PathBuf,
}

/// Bumped when what [`node_template`] makes changes.
const TEMPLATE_FORMAT: &str = "3";

/// A directory of a node, and programs in it.
type Place = (&'static str, &'static [&'static str]);

/// Which programs the nodes of a layout have, and where.
const PROGRAMS: [(Layout, &[Place]); 2] = [
    (Layout::AksEngine, &[("usr/local/bin", &["kubelet", "kubectl"]), ("usr/bin", &["etcd", "etcdctl"])]),
    (Layout::Kubeadm, &[("usr/bin", &["kubelet", "kubectl", "kubeadm"])]),
];

pub(crate) fn node_template(base: &Path, programs: &Path, layout: Layout) -> Result<NodeTemplate> {
    let key = hash(&[TEMPLATE_FORMAT, &file_name(base), &file_name(programs)]);
    let dir = root().join(format!("node-{key}"));
    let template = NodeTemplate { layer: dir.join(layer_of(layout)), containerd: dir.join("containerd") };
    if dir.exists() {
        return Ok(template);
    }
    make_atomically(&dir, |dir| {
        for (layout, places) in PROGRAMS {
            make_layer(&dir.join(layer_of(layout)), places, &programs.join("bin"))?;
        }
        let images = dir.join("images.tar");
        cmd(
            &programs.join("bin/mkimage").to_string_lossy(),
            [
                "-bin".as_ref(),
                programs.join("bin").as_os_str(),
                "-rootfs".as_ref(),
                base.as_os_str(),
                "-out".as_ref(),
                images.as_os_str(),
            ],
        )
        .read()?;
        import_images(&images, &dir.join("containerd"))?;
        fs::remove_file(images)?;
        Ok(())
    })?;
    Ok(template)
}

fn layer_of(layout: Layout) -> &'static str {
    match layout {
        Layout::AksEngine => "layer",
        Layout::Kubeadm => "layer-kubeadm",
    }
}

/// Hard links of the programs, at the places where nodes have them.
fn make_layer(layer: &Path, places: &[Place], bin: &Path) -> Result<()> {
    for (place, programs) in places {
        fs::create_dir_all(layer.join(place))?;
        for program in *programs {
            fs::hard_link(bin.join(program), layer.join(place).join(program))
                .with_context(|| format!("cannot link {program}"))?;
        }
    }
    Ok(())
}

/// Loads the images into a fresh containerd state directory, with a containerd of our own on this machine.
///
/// The nodes get hard-linked copies of it: milliseconds each, where importing takes ten seconds of CPU.
fn import_images(images: &Path, state: &Path) -> Result<()> {
    // Under /run and short: socket paths have 107 bytes.
    let run = tempfile::Builder::new().prefix("kcl-").tempdir_in("/run")?;
    let socket = run.path().join("c.sock");
    let config = run.path().join("config.toml");
    fs::create_dir_all(state)?;
    fs::write(
        &config,
        format!(
            "version = 2\nroot = {state:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = {socket:?}\n",
            run.path()
        ),
    )?;
    let log = fs::File::create(run.path().join("log"))?;
    let mut containerd = cmd("containerd", ["--config".as_ref(), config.as_os_str()])
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    let imported = wait_for(Duration::from_secs(20), || ctr(&socket, &["version"]).is_ok())
        .context("containerd did not start")
        .and_then(|()| ctr(&socket, &["images", "import", &images.to_string_lossy()]));
    stop(&mut containerd)?;
    imported?;
    Ok(())
}

fn ctr(socket: &Path, args: &[&str]) -> Result<String> {
    let socket = socket.to_string_lossy();
    cmd("ctr", [&["--address", &*socket, "--namespace", "k8s.io"], args].concat()).read()
}

/// Ends a child by SIGTERM, so that it can close its databases.
fn stop(child: &mut Child) -> Result<()> {
    cmd("kill", ["-TERM", &child.id().to_string()]).read()?;
    child.wait()?;
    Ok(())
}

/// Makes a directory of the cache so that it is there as a whole or not at all, and only once.
pub(crate) fn make_atomically(dir: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    fs::create_dir_all(root())?;
    let lock = fs::File::create(root().join("lock"))?;
    lock.lock()?;
    if dir.exists() {
        return Ok(()); // somebody else has made it while we waited
    }
    let partial = dir.with_extension("partial");
    base::remove_tree(&partial)?;
    fs::create_dir_all(&partial)?;
    fs::set_permissions(&partial, fs::Permissions::from_mode(0o755))?;
    make(&partial)?;
    fs::rename(&partial, dir)?;
    Ok(())
}

/// Polls until `done`, or fails after `limit`.
pub(crate) fn wait_for(limit: Duration, mut done: impl FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > limit {
            bail!("waited {} s in vain", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// A short name for these inputs.
pub(crate) fn hash(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    hasher.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| dir.join(program).exists())
}
