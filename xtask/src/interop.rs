//! `cargo xtask interop`: the vendor's published Go client library against our authority, and our client against a server made of the
//! published definitions and the published CA.
//!
//! The library (`github.com/microsoft/moc` and `moc-sdk-for-go`, Apache-2.0) is not part of this repository, and its modules cannot
//! be had everywhere; copies of both can be named instead. The programs in `lab/go/moc` are ours.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::cmd::{CommandExt as _, cmd};
use crate::lab::inside;
use crate::rotation;
use crate::rules;
use crate::test::is_root;

const MOC: &str = "github.com/microsoft/moc";
const SDK: &str = "github.com/microsoft/moc-sdk-for-go";

/// How long certificates are good: renewal is due after 70 % of it, which the client waits for four times.
const CERTIFICATES_LAST: &str = "20s";

#[derive(Args)]
pub(crate) struct Interop {
    /// A copy of github.com/microsoft/moc; without one, Go fetches the module
    #[arg(long, value_name = "DIR", requires = "sdk")]
    moc: Option<PathBuf>,
    /// A copy of github.com/microsoft/moc-sdk-for-go; without one, Go fetches the module
    #[arg(long, value_name = "DIR", requires = "moc")]
    sdk: Option<PathBuf>,
}

impl Interop {
    /// With the copies that `KUBECERT_MOC` and `KUBECERT_MOC_SDK` name, or else with the modules; or why there is neither.
    pub(crate) fn available() -> Result<Self, String> {
        if !cmd("go", ["version"]).succeeds() {
            return Err("there is no Go here".to_owned());
        }
        let named = |variable| std::env::var_os(variable).map(PathBuf::from);
        if let (Some(moc), Some(sdk)) = (named("KUBECERT_MOC"), named("KUBECERT_MOC_SDK")) {
            return Ok(Self { moc: Some(moc), sdk: Some(sdk) });
        }
        let cannot = |why: anyhow::Error| format!("cannot look for {MOC}: {why:#}");
        let directory = tempfile::tempdir().map_err(|error| cannot(error.into()))?;
        // In a copy, since Go notes in the module file's neighbour what it has fetched.
        let source = directory.path().join("source");
        copy(&source).map_err(cannot)?;
        if cmd("go", ["mod", "download", MOC, SDK]).current_dir(&source).read().is_err() {
            return Err(format!(
                "{MOC} and {SDK} cannot be had; KUBECERT_MOC and KUBECERT_MOC_SDK name copies"
            ));
        }
        Ok(Self { moc: None, sdk: None })
    }
}

/// Builds both programs, has clients go through their lives, and tells each point as it comes.
pub(crate) fn run(args: &Interop) -> Result<()> {
    let kubecert =
        fs::canonicalize(rotation::kubecert()?).context("the program is not where it was built")?;
    let kubecert = kubecert.to_string_lossy();
    let directory = tempfile::tempdir()?;
    let source = directory.path().join("source");
    build(args, &source)?;
    // One after the other: both need the same ports.
    their_client(&source.join("client"), &kubecert, directory.path())?;
    our_client(&source.join("judge-server"), &kubecert, directory.path())
}

/// Their client at our authority.
fn their_client(client: &Path, kubecert: &str, directory: &Path) -> Result<()> {
    let place = Place::new()?;
    let site = directory.join("site");
    let work = directory.join("work");
    fs::create_dir(&work)?;
    let (site, work) = (site.to_string_lossy(), work.to_string_lossy());
    #[rustfmt::skip]
    place.cmd(kubecert, &[
        "authority", "init", "--dir", &site, "--host", "localhost", "--host", "127.0.0.1",
        "--location", "plant-7", "--certificates-last", CERTIFICATES_LAST, "--tokens-last", "1h",
    ]).read()?;
    let _server = serve(&place, kubecert, &site)?;
    let mut client = place.cmd(&client.to_string_lossy(), &[kubecert, &site, &work]);
    // Its home is where the library would look for files that nobody has named.
    client.env("HOME", &*work);
    points(client, &directory.join("log"))
}

/// Our client at a server of theirs.
fn our_client(judge: &Path, kubecert: &str, directory: &Path) -> Result<()> {
    let place = Place::new()?;
    let work = directory.join("judged");
    fs::create_dir(&work)?;
    points(
        place.cmd(&judge.to_string_lossy(), &[kubecert, &work.to_string_lossy()]),
        &directory.join("judge-log"),
    )
}

/// Runs a program that tells points, and passes them on; what else it says goes to `log`.
fn points(mut client: Command, log: &Path) -> Result<()> {
    client.stdout(Stdio::piped()).stderr(fs::File::create(log)?);
    let mut client = client.spawn().context("cannot run the client")?;
    let told = client.stdout.take().context("the client has no standard output")?;
    let (mut passed, mut failed, mut done) = (0, 0, false);
    for line in BufReader::new(told).lines() {
        let line = line?;
        match line.split(' ').next() {
            Some("PASS") => passed += 1,
            Some("FAIL") => failed += 1,
            Some("DONE") => {
                done = true;
                continue;
            }
            // The library has a few words of its own for its users.
            _ => continue,
        }
        eprintln!("  {line}");
    }
    let status = client.wait()?;
    eprintln!("  {passed} points passed, {failed} failed");
    if failed == 0 && done && status.success() {
        return Ok(());
    }
    // The library logs each refusal, wanted or not: worth reading only now.
    eprint!("{}", String::from_utf8_lossy(&fs::read(log)?));
    ensure!(failed == 0, "{failed} of {} points failed", passed + failed);
    bail!("the client has ended with {status}, before its last point")
}

/// Copies our part of it.
fn copy(source: &Path) -> Result<()> {
    fs::create_dir(source)?;
    fs::create_dir(source.join("judge"))?;
    for name in ["go.mod", "go.sum", "main.go", "judge/main.go"] {
        let ours = rules::root().join("lab/go/moc").join(name);
        fs::copy(&ours, source.join(name)).with_context(|| format!("cannot copy {}", ours.display()))?;
    }
    Ok(())
}

/// Builds a copy of both, so that neither the module file here nor the copies of the library are changed.
fn build(args: &Interop, source: &Path) -> Result<()> {
    copy(source)?;
    for (module, copy) in [(MOC, &args.moc), (SDK, &args.sdk)] {
        let Some(copy) = copy else { continue };
        let copy = fs::canonicalize(copy)
            .with_context(|| format!("{} is no copy of {module}: it cannot be found", copy.display()))?;
        let replace = format!("-replace={module}={}", copy.display());
        cmd("go", ["mod", "edit", &replace]).current_dir(source).read()?;
    }
    // A copy may be of another version, and need other versions of what it is made of.
    for (program, package) in [("client", "."), ("judge-server", "./judge")] {
        cmd("go", ["build", "-mod=mod", "-o", program, package]).current_dir(source).read()?;
    }
    Ok(())
}

/// Where authority and client run: in a network of their own where that is possible, since the library insists on its ports.
struct Place {
    namespace: Option<String>,
}

impl Place {
    fn new() -> Result<Self> {
        if !is_root() {
            eprintln!("  not root: ports 55000 and 65000 of this machine itself are used");
            return Ok(Self { namespace: None });
        }
        let name = format!("kubecert-interop-{}", std::process::id());
        cmd("ip", ["netns", "add", &name]).read()?;
        let place = Self { namespace: Some(name) };
        place.cmd("ip", &["link", "set", "lo", "up"]).read()?;
        // The library asks by which address it would reach the world, and puts that into its request.
        place.cmd("ip", &["route", "add", "default", "dev", "lo"]).read()?;
        Ok(place)
    }

    fn cmd(&self, program: &str, args: &[&str]) -> Command {
        match &self.namespace {
            Some(name) => inside(name, &[&[program], args].concat()),
            None => cmd(program, args),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(name) = &self.namespace
            && let Err(error) = cmd("ip", ["netns", "delete", name]).read()
        {
            eprintln!("  the network namespace {name} is left over: {error:#}");
        }
    }
}

/// A server that ends with its guard.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        // One that has ended already is all the better.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Serves an authority, and returns once both of its ports are open.
fn serve(place: &Place, kubecert: &str, site: &str) -> Result<Served> {
    let mut server = place.cmd(kubecert, &["authority", "serve", "--dir", site, "--listen", "127.0.0.1"]);
    let mut server = server.stdout(Stdio::piped()).spawn().context("cannot serve the authority")?;
    let told = server.stdout.take().context("the server has no standard output")?;
    let served = Served(server);
    for line in BufReader::new(told).lines() {
        // It tells of this one last.
        if line?.starts_with("Taking logins at") {
            return Ok(served);
        }
    }
    bail!("the authority has ended before its ports were open; why stands above")
}
