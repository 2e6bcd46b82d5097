//! The cluster's first PKI, made by openssl in the shape that the ancestor gives it.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value};

use super::dated::{Issuer, Life};
use super::model::Model;
use crate::cmd::{CommandExt as _, cmd};

/// Thirty years of 365 days, as the ancestor counts.
const DAYS: &str = "10950";
/// How long the ancestor's keys are, all of them.
const ANCESTORS_BITS: u32 = 4096;
/// How many days ago an aged CA, and an aged leaf, was made.
const CA_AGE: u32 = 3_650;
const LEAF_AGE: u32 = 365;
/// How many keys are made at a time; more only take each other's processor.
const AT_A_TIME: usize = 2;

/// What of a PKI is not made as the ancestor makes it.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct Wanted {
    /// How long its RSA keys are, instead of those of the model or the ancestor's 4096 bits: signatures by such keys are
    /// half of what API servers do in a lab
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u32).range(2048..=4096))]
    rsa_bits: Option<u32>,
    /// Days that the leaves have left, a year after they were made; without it, as long as a new one lives
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..))]
    leaf_days: Option<u32>,
    /// Days that the CA has left, ten years after it was made; without it, as long as a new one lives
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..))]
    ca_days: Option<u32>,
}

impl Wanted {
    /// Whether anything is wanted.
    pub(crate) fn is_some(self) -> bool {
        self.leaf_days.is_some() || self.ca_days.is_some() || self.rsa_bits.is_some()
    }
}

/// A certificate of the set: its file's name, its keys in the profile, its subject and its extensions.
struct Leaf {
    file: &'static str,
    profile: &'static str,
    subject: &'static str,
    /// The section of [`config`] with its extensions.
    section: &'static str,
}

const LEAVES: &[Leaf] = &[
    Leaf { file: "apiserver", profile: "apiServer", subject: "/CN=apiserver", section: "apiserver" },
    Leaf { file: "client", profile: "client", subject: CLIENT, section: "client" },
    Leaf { file: "kubectlClient", profile: "kubeConfig", subject: CLIENT, section: "client" },
    Leaf { file: "etcdserver", profile: "etcdServer", subject: "/CN=etcdserver", section: "etcd" },
    Leaf { file: "etcdclient", profile: "etcdClient", subject: "/CN=etcdclient", section: "etcd" },
];
const CLIENT: &str = "/O=system:masters/CN=client";

/// Makes the PKI of a cluster with this model in `dir`, as the files that the ancestor generates. Everything begins
/// now and lives as long as the ancestor has it, but for what is `wanted`.
pub(crate) fn make(model: &Model, dir: &Path, wanted: Wanted) -> Result<()> {
    let peers = model.master_count()?;
    let mut files: Vec<String> = LEAVES.iter().map(|leaf| leaf.file.to_owned()).collect();
    files.extend((0..peers).map(|index| format!("etcdpeer{index}")));
    files.push("ca".to_owned());
    make_keys(dir, files, wanted.rsa_bits.unwrap_or(ANCESTORS_BITS))?;

    let config = config(dir, model)?;
    cmd(
        "openssl",
        ["req", "-x509", "-new", "-sha256", "-days", DAYS, "-subj", "/CN=ca", "-extensions", "ca"],
    )
    .args(["-set_serial", &serial()?])
    .arg("-config")
    .arg(&config)
    .arg("-key")
    .arg(dir.join("ca.key"))
    .arg("-out")
    .arg(dir.join("ca.crt"))
    .read()?;
    let scratch = tempfile::tempdir()?;
    let ca = Issuer::new(scratch.path(), dir)?;
    if let Some(days) = wanted.ca_days {
        fs::write(dir.join("ca.crt"), ca.itself_again(&Life::aged(CA_AGE, days))?)?;
    }
    for leaf in LEAVES {
        sign(dir, &config, leaf.file, leaf)?;
    }
    let peer = Leaf { file: "", profile: "", subject: "/CN=etcdpeer", section: "etcd" };
    for index in 0..peers {
        sign(dir, &config, &format!("etcdpeer{index}"), &peer)?;
    }
    fs::remove_file(config)?;
    let Some(days) = wanted.leaf_days else { return Ok(()) };
    let life = Life::aged(LEAF_AGE, days);
    let peers = (0..peers).map(|index| format!("etcdpeer{index}"));
    for file in LEAVES.iter().map(|leaf| leaf.file.to_owned()).chain(peers) {
        let (certificate, key) = (dir.join(format!("{file}.crt")), dir.join(format!("{file}.key")));
        fs::write(&certificate, ca.again(&fs::read_to_string(&certificate)?, &key, &life)?)?;
    }
    Ok(())
}

/// The files of `dir` as the model's `certificateProfile`.
pub(crate) fn to_profile(model: &Model, dir: &Path) -> Result<Map<String, Value>> {
    let mut profile = Map::new();
    let read = |file: String| -> Result<Value> {
        Ok(fs::read_to_string(dir.join(&file)).with_context(|| format!("cannot read {file}"))?.into())
    };
    let pairs = [("ca", "ca")].into_iter().chain(LEAVES.iter().map(|leaf| (leaf.file, leaf.profile)));
    for (file, key) in pairs {
        profile.insert(format!("{key}Certificate"), read(format!("{file}.crt"))?);
        profile.insert(format!("{key}PrivateKey"), read(format!("{file}.key"))?);
    }
    for (key, suffix) in [("etcdPeerCertificates", "crt"), ("etcdPeerPrivateKeys", "key")] {
        let all: Result<Vec<_>> =
            (0..model.master_count()?).map(|i| read(format!("etcdpeer{i}.{suffix}"))).collect();
        profile.insert(key.to_owned(), all?.into());
    }
    Ok(profile)
}

/// Writes a model's profile as the files that the ancestor generates.
pub(crate) fn from_profile(profile: &Map<String, Value>, dir: &Path) -> Result<()> {
    let write = |file: String, value: &Value| -> Result<()> {
        let text = value.as_str().with_context(|| format!("the profile's {file} is not a text"))?;
        let mode = if file.ends_with(".key") { 0o600 } else { 0o644 };
        fs::write(dir.join(&file), text)?;
        fs::set_permissions(dir.join(&file), fs::Permissions::from_mode(mode))?;
        Ok(())
    };
    let pairs = [("ca", "ca")].into_iter().chain(LEAVES.iter().map(|leaf| (leaf.file, leaf.profile)));
    for (file, key) in pairs {
        write(format!("{file}.crt"), &profile[&format!("{key}Certificate")])?;
        write(format!("{file}.key"), &profile[&format!("{key}PrivateKey")])?;
    }
    for (key, suffix) in [("etcdPeerCertificates", "crt"), ("etcdPeerPrivateKeys", "key")] {
        for (index, value) in profile[key].as_array().into_iter().flatten().enumerate() {
            write(format!("etcdpeer{index}.{suffix}"), value)?;
        }
    }
    Ok(())
}

/// A kubelet's serving certificate: self-signed, one a node, without alternative names.
pub(crate) fn kubelet_serving(certs: &Path, node: &str) -> Result<()> {
    cmd(
        "openssl",
        ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "7300", "-subj", &format!("/CN={node}")],
    )
    .arg("-keyout")
    .arg(certs.join("kubeletserver.key"))
    .arg("-out")
    .arg(certs.join("kubeletserver.crt"))
    .read()?;
    Ok(())
}

/// A serving certificate by the cluster's CA for a Service, such as that of an aggregated API; returns both PEM texts.
pub(crate) fn for_service(pki: &Path, host: &str) -> Result<(String, String)> {
    let dir = tempfile::tempdir()?;
    let (key, cert) = (dir.path().join("tls.key"), dir.path().join("tls.crt"));
    // A configuration of our own: the system's adds extensions that would then be there twice.
    let config = dir.path().join("openssl.cnf");
    fs::write(
        &config,
        format!(
            "[req]\ndistinguished_name = dn\nprompt = no\nx509_extensions = leaf\n[dn]\nCN = {host}\n[leaf]\n\
             basicConstraints = critical,CA:FALSE\nkeyUsage = critical,digitalSignature,keyEncipherment\n\
             extendedKeyUsage = serverAuth\nsubjectAltName = DNS:{host}\nauthorityKeyIdentifier = keyid\n"
        ),
    )?;
    cmd("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha256", "-days", DAYS])
        .arg("-config")
        .arg(&config)
        .arg("-CA")
        .arg(pki.join("ca.crt"))
        .arg("-CAkey")
        .arg(pki.join("ca.key"))
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .read()?;
    Ok((fs::read_to_string(cert)?, fs::read_to_string(key)?))
}

fn sign(dir: &Path, config: &Path, file: &str, leaf: &Leaf) -> Result<()> {
    cmd(
        "openssl",
        [
            "req",
            "-x509",
            "-new",
            "-sha256",
            "-days",
            DAYS,
            "-subj",
            leaf.subject,
            "-extensions",
            leaf.section,
        ],
    )
    .args(["-set_serial", &serial()?])
    .arg("-config")
    .arg(config)
    .arg("-CA")
    .arg(dir.join("ca.crt"))
    .arg("-CAkey")
    .arg(dir.join("ca.key"))
    .arg("-key")
    .arg(dir.join(format!("{file}.key")))
    .arg("-out")
    .arg(dir.join(format!("{file}.crt")))
    .read()?;
    Ok(())
}

/// RSA keys in PKCS#1, [`AT_A_TIME`] in parallel.
fn make_keys(dir: &Path, files: Vec<String>, bits: u32) -> Result<()> {
    let bits = bits.to_string();
    let queue = Mutex::new(files);
    std::thread::scope(|scope| {
        let worker = || -> Result<()> {
            loop {
                let Some(file) = queue.lock().ok().and_then(|mut queue| queue.pop()) else { return Ok(()) };
                let path = dir.join(format!("{file}.key"));
                cmd("openssl", ["genrsa", "-traditional", "-out", &path.to_string_lossy(), &bits]).read()?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            }
        };
        let workers: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|_| anyhow::bail!("openssl's thread failed")))
    })
}

fn config(dir: &Path, model: &Model) -> Result<PathBuf> {
    let addresses: Vec<_> =
        model.server_addresses()?.iter().map(Ipv4Addr::to_string).map(|ip| format!("IP:{ip}")).collect();
    let names: Vec<_> = model.api_server_names()?.iter().map(|name| format!("DNS:{name}")).collect();
    let (addresses, names) = (addresses.join(","), names.join(","));
    let usage = "keyUsage = critical,digitalSignature,keyEncipherment";
    let end =
        "basicConstraints = critical,CA:FALSE\nsubjectKeyIdentifier = none\nauthorityKeyIdentifier = keyid\n";
    // `nombstr` gives PrintableString where it fits, and the extensions are in the order, as Go has them.
    let text = format!(
        "[req]\ndistinguished_name = dn\nprompt = no\nstring_mask = nombstr\n[dn]\n\
         [ca]\n{usage},keyCertSign\nbasicConstraints = critical,CA:TRUE\n\
         subjectKeyIdentifier = hash\nauthorityKeyIdentifier = none\n\
         [apiserver]\n{usage}\nextendedKeyUsage = serverAuth\n{end}subjectAltName = {names},{addresses}\n\
         [client]\n{usage}\nextendedKeyUsage = clientAuth\n{end}\
         [etcd]\n{usage}\nextendedKeyUsage = serverAuth,clientAuth\n{end}subjectAltName = {addresses}\n"
    );
    let path = dir.join("openssl.cnf");
    fs::write(&path, text)?;
    Ok(path)
}

/// A serial of 16 bytes, 124 bits of them random: positive and never with a leading zero.
fn serial() -> Result<String> {
    let hex = cmd("openssl", ["rand", "-hex", "16"]).read()?;
    Ok(format!("0x4{}", &hex.trim()[1..]))
}
