//! Certificates, processes, and nodes that are this machine.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use kubecert_core::model::{Component, NodeName, RunId};
use kubecert_engine::ports::{
    Credentials, Diversion, Fault, FileBytes, Identity, Keep, NodeQuestion, Nodes, PortError, PortResult,
    Stream, WrittenFile,
};
use kubecert_pki::{
    Certificate, DistinguishedName, ExtendedKeyUsage, Issuer, KeyAlgorithm, KeyEncoding, KeyUsage,
    PrivateKey, Serial, SubjectAltName, Template, Validity, cross_sign, issue, self_signed_ca, to_pem_chain,
};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

/// The program of that name, from the lab's cache or else the machine's own.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    programs(name).into_iter().next()
}

/// All programs of that name: the lab's etcd is a new one, a machine's own most often an old one.
pub(crate) fn programs(name: &str) -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let mut places = vec![home.join(".cache/kubecert-lab/k8s-1.34/bin")];
    places.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let found = places.into_iter().filter_map(|place| place.join(name).canonicalize().ok());
    let mut found: Vec<_> = found.filter(|path| path.is_file()).collect();
    found.dedup();
    if found.is_empty() {
        println!("skipped: there is no {name} on this machine");
    }
    found
}

/// A port that nobody listens on. It lies below those that outgoing connections are given, so that nobody else has it by
/// chance when a server comes to listen there.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + (std::process::id() % 200) as u16 * 100;
    let mut ports = std::iter::repeat_with(|| first + NEXT.fetch_add(1, Ordering::Relaxed) % 100).take(100);
    ports.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).unwrap()
}

/// A child process that ends with the test.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(directory: &Path, name: &str, program: &Path, arguments: &[String]) -> Self {
        let log = std::fs::File::create(directory.join(format!("{name}.log"))).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }

    pub(crate) fn stop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until something works, with a limit for a loaded machine.
pub(crate) async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    const LIMIT: Duration = Duration::from_secs(180);
    let begun = std::time::Instant::now();
    while begun.elapsed() < LIMIT {
        if let Some(value) = attempt().await {
            return value;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what}: not within {LIMIT:?}");
}

fn validity() -> Validity {
    Validity::back_dated(Timestamp::now(), SignedDuration::from_hours(24)).unwrap()
}

pub(crate) fn ca(name: &str) -> Issuer {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let shape = Template::ca(DistinguishedName::common_name(name).unwrap()).unwrap();
    Issuer::new(self_signed_ca(&shape, &key, validity(), &Serial::random().unwrap()).unwrap(), key).unwrap()
}

/// A leaf with its chain and key.
pub(crate) struct Leaf {
    pub(crate) chain: Vec<Certificate>,
    pub(crate) key: PrivateKey,
}

impl Leaf {
    pub(crate) fn server(issuer: &Issuer, names: &[&str]) -> Self {
        let sans = names.iter().map(|name| match name.parse::<IpAddr>() {
            Ok(address) => SubjectAltName::ip(address),
            Err(_) => SubjectAltName::dns(*name),
        });
        let shape = Template::builder(DistinguishedName::common_name("server").unwrap())
            .key_usage([KeyUsage::DigitalSignature, KeyUsage::KeyEncipherment])
            .extended_key_usage([ExtendedKeyUsage::ServerAuth, ExtendedKeyUsage::ClientAuth])
            .sans(sans)
            .build()
            .unwrap();
        Self::issue(issuer, &shape)
    }

    pub(crate) fn client(issuer: &Issuer) -> Self {
        Self::issue(issuer, &Template::admin("client", "system:masters").unwrap())
    }

    fn issue(issuer: &Issuer, shape: &Template) -> Self {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let leaf = issue(shape, key.public_key(), issuer, validity(), &Serial::random().unwrap()).unwrap();
        Self { chain: vec![leaf], key }
    }

    /// With the issuer's certificate by the other CA.
    pub(crate) fn crossed(mut self, issuer: &Issuer, by: &Issuer) -> Self {
        self.chain
            .push(cross_sign(issuer.certificate(), by, validity(), &Serial::random().unwrap()).unwrap());
        self
    }

    pub(crate) fn write(&self, directory: &Path, name: &str) {
        std::fs::write(directory.join(format!("{name}.crt")), to_pem_chain(&self.chain)).unwrap();
        std::fs::write(directory.join(format!("{name}.key")), self.key_pem()).unwrap();
    }

    pub(crate) fn chain_pem(&self) -> String {
        to_pem_chain(&self.chain)
    }

    pub(crate) fn key_pem(&self) -> String {
        self.key.to_pem(KeyEncoding::Pkcs8).unwrap().expose().to_owned()
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity {
            chain: self.chain.iter().map(|certificate| certificate.der().to_vec()).collect(),
            key: self.key.to_pkcs8_der().unwrap(),
        }
    }
}

pub(crate) fn credentials(roots: &[&Issuer], leaf: &Leaf) -> Credentials {
    Credentials {
        roots: roots.iter().map(|root| root.certificate().der().to_vec()).collect(),
        identity: Some(leaf.identity()),
    }
}

/// Nodes whose ports are ports of this machine.
#[derive(Default)]
pub(crate) struct LoopbackNodes(pub(crate) BTreeMap<(NodeName, u16), u16>);

#[async_trait]
impl Nodes for LoopbackNodes {
    async fn dial(&self, node: &NodeName, host: &str, port: u16) -> PortResult<Box<dyn Stream>> {
        let what = || format!("cannot connect from {node} to {host}:{port}");
        let real = self.0.get(&(node.clone(), port));
        let real = *real.ok_or_else(|| PortError::new(Fault::Failed, what(), "no such port in this test"))?;
        let stream = TcpStream::connect((host, real)).await;
        Ok(Box::new(stream.map_err(|error| PortError::new(Fault::Unreachable, what(), error))?))
    }

    async fn connect(&self, _: &NodeName) -> PortResult<()> {
        Ok(())
    }

    async fn look(&self, _: &NodeName, _: &NodeQuestion) -> PortResult<kubecert_core::inventory::NodeFacts> {
        unused()
    }

    async fn remains(
        &self,
        _: &NodeName,
        _: &NodeQuestion,
    ) -> PortResult<Option<(RunId, Vec<kubecert_core::inventory::FileFacts>)>> {
        unused()
    }

    async fn audited_clients(
        &self,
        _: &NodeName,
        _: &str,
    ) -> PortResult<Vec<kubecert_engine::ports::AuditedClient>> {
        unused()
    }

    async fn read(&self, _: &NodeName, _: &str) -> PortResult<Option<Zeroizing<Vec<u8>>>> {
        unused()
    }

    async fn back_up(&self, _: &NodeName, _: &RunId, _: &[String]) -> PortResult<()> {
        unused()
    }

    async fn write(&self, _: &NodeName, _: &RunId, _: Vec<FileBytes>) -> PortResult<Vec<WrittenFile>> {
        unused()
    }

    async fn remove(&self, _: &NodeName, _: &[String]) -> PortResult<()> {
        unused()
    }

    async fn pause_units(&self, _: &NodeName, _: &[String], _: Duration) -> PortResult<()> {
        unused()
    }

    async fn resume_units(&self, _: &NodeName, _: &[String]) -> PortResult<()> {
        unused()
    }

    async fn divert(&self, _: &NodeName, _: &Diversion) -> PortResult<()> {
        unused()
    }

    async fn undivert(&self, _: &NodeName) -> PortResult<()> {
        unused()
    }

    async fn replace_static_pod(
        &self,
        _: &NodeName,
        _: &RunId,
        _: Component,
        _: FileBytes,
        _: Duration,
    ) -> PortResult<kubecert_core::inventory::ProcessFacts> {
        unused()
    }

    async fn end_process(
        &self,
        _: &NodeName,
        _: Component,
    ) -> PortResult<kubecert_core::inventory::ProcessFacts> {
        unused()
    }

    async fn restart_unit(
        &self,
        _: &NodeName,
        _: &str,
        _: Component,
    ) -> PortResult<kubecert_core::inventory::ProcessFacts> {
        unused()
    }
}

fn unused<T>() -> PortResult<T> {
    Err(PortError::new(Fault::Failed, "cannot do that", "these nodes only have ports"))
}

/// A place that survives, for as long as the test does.
#[derive(Default)]
pub(crate) struct Memory(Mutex<BTreeMap<String, Vec<u8>>>);

#[async_trait]
impl Keep for Memory {
    async fn put(&self, name: &str, bytes: &[u8]) -> PortResult<()> {
        self.0.lock().unwrap().insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    async fn get(&self, name: &str) -> PortResult<Option<Vec<u8>>> {
        Ok(self.0.lock().unwrap().get(name).cloned())
    }
}
