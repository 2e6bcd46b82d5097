//! The whole way to a Windows node: through a bastion, with a password or a key, every operation, and what goes wrong.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use kubecert_core::layout::windows::{
    KUBECONFIG, KUBELET_CLIENT, KUBELET_PKI, KUBELET_SERVICE, KUBELET_SERVING, LOG, NODE_RESET, ROOTS, STAGE,
};
use kubecert_core::model::{Component, Node, NodeName, OperatingSystem, Role, RunId};
use kubecert_core::plan::Access;
use kubecert_engine::ports::{Fault, FileBytes, FileContent, NodeQuestion, Nodes, PortError, StartedBy};
use kubecert_pki::{
    DistinguishedName, Issuer, KeyAlgorithm, KeyEncoding, PrivateKey, Serial, Template, Validity, issue,
    self_signed_ca,
};
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::testing::{Endpoint, Kubelet, Logins, Machine};
use crate::{HostKeys, Password, SshConfig, SshNodes, UserKey, WindowsLogin};

const NODE: &str = "1122k8s010";
const PASSWORD: &str = "p@ss word'\"$1";

/// Asks "the cluster" for a certificate whenever it starts without one, unless it is told not to.
struct TestKubelet {
    root: PathBuf,
    ca: Issuer,
    started: Mutex<Option<(u32, SystemTime)>>,
    count: AtomicU32,
    /// It gets a certificate only after a reset of the node.
    needs_reset: bool,
}

impl TestKubelet {
    fn run(&self, gets_certificate: bool) {
        let count = self.count.fetch_add(1, Ordering::SeqCst);
        *self.started.lock().expect("no panic") = Some((4000 + count, SystemTime::now()));
        let current = Machine::place(&self.root, KUBELET_CLIENT);
        if current.exists() || !gets_certificate {
            return;
        }
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("a key");
        let template = Template::kubelet_client(NODE).expect("a template");
        let certificate =
            issue(&template, key.public_key(), &self.ca, validity(), &Serial::random().expect("a number"))
                .expect("a certificate");
        let name = format!(r"{KUBELET_PKI}\kubelet-client-2026-11-22-0{count}.pem");
        let pem = certificate.to_pem() + key.to_pem(KeyEncoding::Pkcs1OrSec1).expect("PEM").expose();
        fs::write(Machine::place(&self.root, &name), pem).expect("written");
        symlink(Machine::place(&self.root, &name), current).expect("linked");
    }
}

#[async_trait]
impl Kubelet for TestKubelet {
    async fn start(&self) -> bool {
        self.run(!self.needs_reset);
        true
    }

    async fn stop(&self) {
        *self.started.lock().expect("no panic") = None;
    }

    fn process(&self) -> Option<(u32, SystemTime)> {
        *self.started.lock().expect("no panic")
    }

    async fn reset(&self) {
        self.stop().await;
        self.run(true);
    }
}

fn validity() -> Validity {
    let now = Timestamp::now();
    Validity::new(now - SignedDuration::from_mins(5), now + SignedDuration::from_hours(24)).expect("in order")
}

fn authority(name: &str) -> Issuer {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("a key");
    let template = Template::ca(DistinguishedName::common_name(name).expect("a name")).expect("a template");
    let certificate =
        self_signed_ca(&template, &key, validity(), &Serial::random().expect("a number")).expect("a CA");
    Issuer::new(certificate, key).expect("they fit")
}

/// A bastion and a Windows node behind it.
struct Bed {
    dir: TempDir,
    machine: Arc<Machine>,
    bastion: Endpoint,
    windows: Endpoint,
    key: UserKey,
    ca: String,
}

impl Bed {
    async fn new(knows_key: bool, needs_reset: bool) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().to_owned();
        for directory in [r"c:\k", KUBELET_PKI] {
            fs::create_dir_all(Machine::place(&root, directory)).expect("made");
        }
        let ca = authority("ca");
        let pem = ca.certificate().to_pem();
        let kubelet = Arc::new(TestKubelet {
            root: root.clone(),
            ca,
            started: Mutex::default(),
            count: AtomicU32::new(0),
            needs_reset: false,
        });
        kubelet.run(true);
        let kubelet = Arc::new(TestKubelet {
            root: root.clone(),
            ca: authority("ca-g2"),
            started: Mutex::new(kubelet.process()),
            count: AtomicU32::new(1),
            needs_reset,
        });
        let machine = Arc::new(Machine::new(&root, NODE, kubelet));
        let kubeconfig = "---\r\nclusters:\r\n- cluster:\r\n    certificate-authority-data: \"QQ==\"\r\n";
        for (path, text) in [(ROOTS, pem.as_str()), (KUBECONFIG, kubeconfig)] {
            fs::write(Machine::place(&root, path), text).expect("written");
        }
        let pair = PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("a key");
        drop(pair);
        let user = russh::keys::PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]));
        let public = user.public_key().to_openssh().expect("a key");
        let private = user.to_openssh(LineEnding::LF).expect("a key");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let linux = Logins { user: "azureuser".into(), password: None, keys: public.clone() };
        let keys = if knows_key { public } else { String::new() };
        let login = Logins { user: "winadmin".into(), password: Some(PASSWORD.into()), keys };
        Self {
            bastion: Endpoint::listen(any, linux, None).await.expect("it listens"),
            windows: Endpoint::listen(any, login, Some(Arc::clone(&machine))).await.expect("it listens"),
            key: UserKey::parse(&private, "user").expect("a key"),
            dir,
            machine,
            ca: pem,
        }
    }

    fn root(&self) -> &Path {
        self.dir.path()
    }

    fn bytes(&self, path: &str) -> Vec<u8> {
        fs::read(Machine::place(self.root(), path)).expect("it is there")
    }

    async fn connect(&self, windows: Option<WindowsLogin>) -> SshNodes {
        let host_keys = HostKeys::load(self.root().join("known_hosts"), &[]).expect("read");
        let there = self.windows.address();
        let config = SshConfig {
            bastion_port: self.bastion.address().port(),
            addresses: BTreeMap::from([(NodeName::from(NODE), ("127.0.0.1".to_owned(), there.port()))]),
            windows,
            ..SshConfig::new("127.0.0.1", "azureuser", self.key.clone(), host_keys)
        };
        let nodes = SshNodes::connect_bastion(config).await.expect("the bastion lets us in");
        nodes.learn(&[Node {
            name: NodeName::from(NODE),
            role: Role::Agent,
            index: 0,
            address: None,
            system: OperatingSystem::Windows,
        }]);
        nodes
    }
}

fn login(password: Option<&str>) -> Option<WindowsLogin> {
    Some(WindowsLogin { user: "winadmin".into(), password: password.map(Password::new) })
}

fn question() -> NodeQuestion {
    NodeQuestion {
        paths: [ROOTS, KUBECONFIG, KUBELET_PKI].map(str::to_owned).to_vec(),
        components: vec![Component::Kubelet],
        tools: vec![KUBELET_SERVICE.to_owned()],
        ..NodeQuestion::default()
    }
}

fn file(path: &str, content: &str, access: Option<Access>) -> FileBytes {
    let bytes = FileContent::Bytes(Zeroizing::new(content.as_bytes().to_vec()));
    FileBytes { path: path.to_owned(), bytes, access }
}

fn private() -> Option<Access> {
    Some(kubecert_core::layout::private())
}

fn original(path: &str) -> FileBytes {
    FileBytes { path: path.to_owned(), bytes: FileContent::Original, access: None }
}

#[track_caller]
fn refused(error: &PortError, cause: &str) {
    assert!(error.to_string().contains(cause), "{error}");
    assert_eq!(error.fault, Fault::Refused);
    assert!(error.remedy.as_deref().is_some_and(|remedy| remedy.ends_with('.')), "{error:?}");
    assert!(!format!("{error:?}").contains(PASSWORD));
}

#[tokio::test]
async fn a_password_opens_a_node_that_does_not_know_the_key() {
    let node = NodeName::from(NODE);
    let bed = Bed::new(false, false).await;
    bed.connect(login(Some(PASSWORD))).await.connect(&node).await.expect("it lets us in");
    let none = bed.connect(None).await.connect(&node).await.expect_err("nobody to log in as");
    refused(&none, "the api model has no windowsProfile");
    let wrong = bed.connect(login(Some("other"))).await.connect(&node).await.expect_err("not this one");
    refused(&wrong, "neither the key nor the password is accepted");
    let without = bed.connect(login(None)).await.connect(&node).await.expect_err("no password");
    refused(&without, "no windowsProfile.adminPassword");
    let config = login(Some(PASSWORD));
    assert!(!format!("{config:?}").contains("p@ss"));
}

#[tokio::test]
async fn a_key_that_the_node_knows_needs_no_password() {
    let bed = Bed::new(true, false).await;
    bed.connect(login(None)).await.connect(&NodeName::from(NODE)).await.expect("it lets us in");
}

#[tokio::test]
async fn an_agent_goes_through_a_rotation_and_back() {
    let (node, run) = (NodeName::from(NODE), RunId::from("01RUN"));
    let bed = Bed::new(false, false).await;
    let nodes = bed.connect(login(Some(PASSWORD))).await;
    let before = nodes.look(&node, &question()).await.expect("it answers");
    assert_eq!((before.hostname.as_str(), before.missing_tools.len()), (NODE, 0));
    assert!(before.clock_offset_ms.abs() < 2_000, "{}", before.clock_offset_ms);
    let own = before.file(KUBELET_CLIENT).expect("it has one");
    assert!(own.link.as_deref().is_some_and(|link| link.starts_with(KUBELET_PKI)), "{own:?}");
    assert_eq!(before.file(ROOTS).expect("it is there").certificates[0].pem, bed.ca);

    let paths = [ROOTS, KUBECONFIG, KUBELET_CLIENT].map(str::to_owned).to_vec();
    nodes.back_up(&node, &run, &paths).await.expect("backed up");
    let kubeconfig = String::from_utf8(bed.bytes(KUBECONFIG)).expect("text");
    let read = nodes.read(&node, KUBECONFIG).await.expect("read").expect("it is there");
    assert_eq!(read.as_slice(), kubeconfig.as_bytes(), "byte for byte, line ends too");
    assert!(nodes.read(&node, r"c:\k\nothing").await.expect("read").is_none());

    let changed = kubeconfig.replace("QQ==", "Qg==");
    let files = || vec![file(ROOTS, "new roots\n", None), file(KUBECONFIG, &changed, private())];
    let written = nodes.write(&node, &run, files()).await.expect("written");
    assert!(written.iter().all(|file| !file.unchanged));
    assert!(nodes.write(&node, &run, files()).await.expect("again").iter().all(|file| file.unchanged));
    assert_eq!(bed.bytes(KUBECONFIG), changed.as_bytes());
    assert!(bed.machine.access(ROOTS).contains(";BU)") && !bed.machine.access(KUBECONFIG).contains(";BU)"));
    let facts = nodes.look(&node, &question()).await.expect("it answers");
    assert_eq!(facts.file(KUBECONFIG).expect("it is there").mode, 0o600);

    let forget = vec![KUBELET_CLIENT.to_owned()];
    let (process, by) =
        nodes.start_afresh(&node, KUBELET_SERVICE, Component::Kubelet, &forget).await.expect("it runs");
    assert_eq!(by, StartedBy::Restart);
    let facts = nodes.look(&node, &question()).await.expect("it answers");
    assert_eq!(facts.processes, std::slice::from_ref(&process));
    assert!(process.started >= facts.file(KUBECONFIG).expect("it is there").modified);
    let leaf = &facts.file(KUBELET_CLIENT).expect("made anew").certificates[0];
    assert_eq!(leaf.issuer, "CN=ca-g2");

    // Back: bytes, access lists, and the link.
    let back = [KUBELET_CLIENT, KUBECONFIG, ROOTS].map(original).into();
    nodes.write(&node, &run, back).await.expect("put back");
    assert_eq!(bed.bytes(KUBECONFIG), kubeconfig.as_bytes());
    assert!(bed.machine.access(KUBECONFIG).contains(";BU)"));
    nodes.restart_unit(&node, KUBELET_SERVICE, Component::Kubelet).await.expect("it runs");
    let facts = nodes.look(&node, &question()).await.expect("it answers");
    assert_eq!(facts.file(KUBELET_CLIENT).expect("as before").link, own.link);
    assert_eq!(facts.file(KUBELET_CLIENT).expect("as before").sha256, own.sha256);

    let (of, files) = nodes.remains(&node, &question()).await.expect("it answers").expect("a backup");
    assert_eq!(of, run);
    assert!(files.iter().any(|file| file.path == ROOTS && file.certificates[0].pem == bed.ca), "{files:?}");
    nodes.remove(&node, &[STAGE.to_owned()]).await.expect("removed");
    assert!(nodes.remains(&node, &question()).await.expect("it answers").is_none());
    assert!(nodes.remove(&node, &[r"c:\k".to_owned()]).await.is_err(), "that is not ours");

    let acts = bed.machine.acts();
    let order = ["back-up", "write", "start-afresh", "stopped kubelet", "started kubelet"];
    let mut rest = acts.iter();
    for one in order {
        assert!(rest.any(|act| act == one), "{one} in {acts:?}");
    }
    let log = String::from_utf8(bed.bytes(LOG)).expect("UTF-8");
    assert!(log.contains("write: wrote") && !log.contains("Qg=="), "{log}");
}

/// Where the service alone does not bring a certificate about, the ancestor's way is gone.
#[tokio::test]
async fn a_kubelet_that_gets_no_certificate_is_reset() {
    let node = NodeName::from(NODE);
    let bed = Bed::new(false, true).await;
    let nodes = bed.connect(login(Some(PASSWORD))).await;
    let forget = vec![KUBELET_CLIENT.to_owned()];
    let start = || nodes.start_afresh(&node, KUBELET_SERVICE, Component::Kubelet, &forget);
    let stuck = start().await.expect_err("there is no script to reset the node with");
    assert_eq!(stuck.fault, Fault::Timeout, "{stuck}");
    assert!(stuck.remedy.as_deref().is_some_and(|remedy| remedy.contains("kubelet.err.log")), "{stuck:?}");
    fs::write(Machine::place(bed.root(), NODE_RESET), "# AKS engine's").expect("written");
    let (_, by) = start().await.expect("it runs");
    assert_eq!(by, StartedBy::NodeReset);
    assert!(bed.machine.acts().iter().any(|act| act == "reset the node"));
}

#[tokio::test]
async fn what_cannot_be_done_on_windows_is_refused_before_it_is_sent() {
    let (node, run) = (NodeName::from(NODE), RunId::from("01RUN"));
    let bed = Bed::new(false, false).await;
    let nodes = bed.connect(login(Some(PASSWORD))).await;
    let sent = bed.machine.acts().len();
    let unix = NodeQuestion { paths: vec!["/etc/kubernetes/certs".to_owned()], ..NodeQuestion::default() };
    assert!(nodes.look(&node, &unix).await.is_err());
    for path in [r"c:\k\..\x", r"c:\k\*", r"c:\k\a:b", r"\k\x", r"c:\k\x.", "c:/k/x", "c:\\k\\x\ny"] {
        assert!(nodes.read(&node, path).await.is_err(), "{path:?}");
    }
    let link = FileBytes { path: KUBELET_CLIENT.into(), bytes: FileContent::Link("x".into()), access: None };
    assert!(nodes.write(&node, &run, vec![link]).await.is_err());
    let odd = Some(Access { mode: 0o640, owner: "root:root".into() });
    assert!(nodes.write(&node, &run, vec![file(ROOTS, "x", odd)]).await.is_err());
    assert_eq!(bed.machine.acts().len(), sent);
    // Nobody says which access list a new file is to have.
    let new = vec![file(&format!("{KUBELET_SERVING}.new"), "x", None)];
    assert!(nodes.write(&node, &run, new).await.is_err());
    assert!(nodes.write(&node, &run, vec![original(ROOTS)]).await.is_err(), "it was not backed up");
}

/// Everything but the operation's name goes over standard input, and nothing in the command line means anything to a shell.
#[test]
fn the_command_line_is_the_same_whatever_is_sent() {
    use base64::Engine as _;
    let command = crate::exec::windows_command("write");
    let (rest, encoded) = command.rsplit_once(' ').expect("several words");
    assert!(rest.ends_with("-EncodedCommand") && command.len() < 2_000, "{command}");
    assert!(command.chars().all(|c| c.is_ascii_alphanumeric() || " -+/=".contains(c)), "{command}");
    let utf16 = base64::engine::general_purpose::STANDARD.decode(encoded).expect("base64");
    let units: Vec<u16> = utf16.chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    let text = String::from_utf16(&units).expect("text");
    assert!(text.starts_with("$act='write';$ErrorActionPreference='Stop'"), "{text}");
}
