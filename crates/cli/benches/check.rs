//! What `kubecert check` does with many certificates once they are here: read, found a signer for, and reported as a table
//! and as JSON: `check make --directory D --certificates 50000`, then `check run --directory D`. Run by
//! `cargo xtask bench`.
//!
//! A program has no library that a measuring program could link, so its sources are taken in as they are.

#![expect(dead_code, unused_imports, reason = "only what `check` needs is used of the sources taken in")]

#[path = "../src/errors.rs"]
mod errors;
#[path = "../src/exit.rs"]
mod exit;
#[path = "../../engine/benches/figures/mod.rs"]
mod figures;
#[path = "../src/human/mod.rs"]
mod human;
#[path = "../src/render"]
mod render {
    pub(crate) mod check;
    pub(crate) mod check_table;
}

use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use kubecert_core::inventory::{CertificateFacts, DescriptionFacts, Inventory, Observed};
use kubecert_core::inventory::{FileFacts, NodeFacts};
use kubecert_core::model::{Cluster, ClusterName, KubernetesVersion, Layout, LeafId, NodeName};
use kubecert_engine::facts::certificate_facts;
use kubecert_engine::observe;
use kubecert_pki::{
    Certificate, DistinguishedName, Issuer, KeyAlgorithm, PrivateKey, Serial, Template, Validity, issue,
    read_pem_certificates, self_signed_ca,
};

use human::paint::Paint;
use render::check_table::Table;

/// How many certificates a node has: those of an agent and of the pods with certificates on it.
const PER_NODE: usize = 10;
/// The file of all leaves, and that of their CA.
const LEAVES: &str = "leaves.pem";
const AUTHORITY: &str = "ca.pem";

fn main() {
    let directory: PathBuf = figures::argument("--directory").expect("--directory DIRECTORY");
    match std::env::args().nth(1).as_deref() {
        Some("make") => make(&directory),
        Some("run") => run(&directory),
        other => panic!("make or run, not {other:?}"),
    }
}

/// Makes `--certificates` certificates of one CA, each with a name and a serial number of its own. The CA is of RSA 2048;
/// the leaves share one key, which nobody looks at twice.
fn make(directory: &std::path::Path) {
    let count: usize = figures::argument("--certificates").expect("--certificates NUMBER");
    let now = Timestamp::now();
    let validity =
        || Validity::back_dated(now, SignedDuration::from_hours(2 * 365 * 24)).expect("a validity");
    let serial = || Serial::random().expect("a serial number");
    let key = PrivateKey::generate(KeyAlgorithm::Rsa2048).expect("a key");
    let template = Template::ca(DistinguishedName::common_name("ca").expect("a name")).expect("a template");
    let certificate = self_signed_ca(&template, &key, validity(), &serial()).expect("a certificate");
    std::fs::write(directory.join(AUTHORITY), certificate.to_pem()).expect("it is written");
    let issuer = Issuer::new(certificate, key).expect("they belong together");
    let leaf_key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("a key");
    let leaf = |index: usize| {
        let template = Template::kubelet_client(&format!("k8s-linux-1-{index}")).expect("a template");
        let leaf = issue(&template, leaf_key.public_key(), &issuer, validity(), &serial());
        leaf.expect("a certificate").to_pem()
    };
    let half = count / 2;
    let text = std::thread::scope(|scope| {
        let first = scope.spawn(|| (0..half).map(leaf).collect::<String>());
        let second: String = (half..count).map(leaf).collect();
        first.join().expect("no panic") + &second
    });
    std::fs::write(directory.join(LEAVES), text).expect("it is written");
}

fn run(directory: &std::path::Path) {
    let (began, on_processor) = (Instant::now(), figures::process_time());
    let mut last = began;
    let mut lap = || {
        let now = Instant::now();
        let lap = now - last;
        last = now;
        lap
    };
    let authority = std::fs::read(directory.join(AUTHORITY)).expect("it can be read");
    let authority = Certificate::from_pem(authority).expect("a certificate");
    let leaves = std::fs::read(directory.join(LEAVES)).expect("they can be read");
    let leaves: Vec<CertificateFacts> = read_pem_certificates(leaves)
        .into_iter()
        .map(|certificate| certificate_facts(&certificate.expect("a certificate")))
        .collect();
    let count = leaves.len();
    let mut inventory = inventory(&authority, leaves);
    let read = lap();
    observe::name_signers(&mut inventory, std::slice::from_ref(&authority));
    let chained = lap();
    let table = Table::of(&inventory, Timestamp::now(), 30);
    assert!(!table.has_findings() || count == 0, "the synthetic cluster is well");
    let text = table.text(Paint::PLAIN);
    let json = table.json(None).expect("it is JSON");
    let reported = lap();
    let unsigned = inventory.nodes.values().filter_map(Observed::seen).flat_map(|node| &node.files);
    let unsigned = unsigned.flat_map(|file| &file.certificates).filter(|leaf| leaf.signed_by.is_none());
    assert_eq!(unsigned.count(), 0, "each was signed by the CA");
    assert!(text.lines().count() > count && json.len() > count, "each is reported");

    let all: Duration = read + chained + reported;
    figures::tell("certificates", count);
    figures::tell("read_ms", figures::milliseconds(read));
    figures::tell("chained_ms", figures::milliseconds(chained));
    figures::tell("reported_ms", figures::milliseconds(reported));
    figures::tell("all_ms", figures::milliseconds(all));
    figures::tell("cpu_ms", figures::milliseconds(figures::process_time() - on_processor));
    figures::tell("peak_mib", figures::peak_mib());
}

/// The certificates as files of nodes.
fn inventory(authority: &Certificate, leaves: Vec<CertificateFacts>) -> Inventory {
    let now = Timestamp::now();
    let mut leaves = leaves.into_iter();
    let mut nodes = std::collections::BTreeMap::new();
    while leaves.len() > 0 {
        let files = leaves.by_ref().take(PER_NODE).enumerate().map(|(index, leaf)| FileFacts {
            path: format!("/etc/kubernetes/certs/leaf-{index}.crt"),
            mode: 0o644,
            owner: "root:root".to_owned(),
            sha256: leaf.fingerprint.clone(),
            modified: now,
            certificates: vec![leaf],
            text: None,
            link: None,
        });
        let facts = NodeFacts {
            hostname: String::new(),
            clock_offset_ms: 0,
            free_bytes: 1 << 30,
            files: files.collect(),
            processes: Vec::new(),
            active_units: Vec::new(),
            missing_tools: Vec::new(),
        };
        nodes.insert(NodeName::new(format!("k8s-linux-1-{}", nodes.len())), Observed::Seen(facts));
    }
    let ca = (LeafId::from("ca"), certificate_facts(authority));
    let version = KubernetesVersion { major: 1, minor: 34 };
    Inventory {
        schema: Inventory::SCHEMA,
        taken: now,
        cluster: Cluster {
            name: ClusterName::from("synthetic"),
            layout: Layout::AksEngine,
            version,
            endpoint: "synthetic".to_owned(),
            api_port: 443,
            admin_user: "azureuser".to_owned(),
            nodes: Vec::new(),
        },
        description: DescriptionFacts { certificates: [ca].into(), ca_key: false },
        nodes,
        servers: Vec::new(),
        api: Observed::Seen(kubecert_core::inventory::ApiFacts {
            version,
            nodes: Vec::new(),
            workloads: Vec::new(),
            bare_pods: Vec::new(),
            job_pods: Vec::new(),
            token_secrets: Vec::new(),
            tls_secrets: Vec::new(),
            ca_bundles: Vec::new(),
            published_roots: Default::default(),
        }),
        etcd: Observed::Seen(Vec::new()),
    }
}
