//! Making the new PKI of a whole cluster, beside what the crypto library alone needs for as many keys and signatures with
//! all cores: `issue --nodes 1000 --key ecdsa-p256 --rounds 5`, run by `cargo xtask bench`.

mod figures;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256};
use jiff::{SignedDuration, Timestamp};
use kubecert_core::model::TrustDomain;
use kubecert_core::plan::{LeafShape, Plan};
use kubecert_core::planner;
use kubecert_core::testing::{Shape, naming, replace_ca};
use kubecert_engine::issue;
use kubecert_engine::vault::Vault;
use kubecert_pki::{
    Certificate, DistinguishedName, Issuer, KeyAlgorithm, PrivateKey, Serial, Template, Validity,
    self_signed_ca,
};

/// Control planes of the cluster; the rest of the nodes are agents.
const CONTROL_PLANES: usize = 3;
/// As long as what is signed of a kubelet's certificate.
const SIGNED_BYTES: usize = 500;

/// Something that is measured on all cores.
type Work = Box<dyn Fn() + Sync>;

fn main() {
    let nodes: usize = figures::argument("--nodes").unwrap_or(10);
    let rounds: usize = figures::argument("--rounds").unwrap_or(1);
    let name: String = figures::argument("--key").unwrap_or_else(|| "ecdsa-p256".to_owned());
    let algorithm: KeyAlgorithm = name.parse().expect("an algorithm and a size");

    let now = Timestamp::now();
    let old = old_authority(algorithm, now);
    let plan = plan(nodes, &old, algorithm);
    let keys = plan.authorities.len() + plan.leaves.len();
    let signatures = keys + plan.authorities.iter().filter(|order| order.cross_signed).count();
    let mut vault = Vault::default();
    vault.old.authorities.insert(TrustDomain::Cluster, old.certificate().clone());
    vault.old.authority_keys.insert(TrustDomain::Cluster, old.key().clone());

    // In turns, so that what else the machine does falls on both.
    let (mut ours, mut library) = (Spent::default(), Spent::default());
    for _ in 0..rounds {
        ours.add(|| {
            let made = issue::make(&plan, vault.clone(), now, &|_, _| {}).expect("it can be made");
            assert_eq!(made.new.leaves.len() + made.new.authorities.len(), keys);
        });
        library.add(|| crypto_alone(algorithm, keys, signatures));
    }
    figures::tell("keys", keys);
    figures::tell("signatures", signatures);
    figures::tell("cores", cores());
    figures::tell("ours_ms", figures::milliseconds(ours.wall / u32::try_from(rounds).unwrap_or(1)));
    figures::tell("library_ms", figures::milliseconds(library.wall / u32::try_from(rounds).unwrap_or(1)));
    figures::tell("ours_cpu_ms", figures::milliseconds(ours.processor / u32::try_from(rounds).unwrap_or(1)));
    figures::tell(
        "library_cpu_ms",
        figures::milliseconds(library.processor / u32::try_from(rounds).unwrap_or(1)),
    );
}

/// What several rounds took.
#[derive(Default)]
struct Spent {
    wall: Duration,
    processor: Duration,
}

impl Spent {
    fn add(&mut self, work: impl FnOnce()) {
        let (began, on_processor) = (Instant::now(), figures::process_time());
        work();
        self.wall += began.elapsed();
        self.processor += figures::process_time() - on_processor;
    }
}

/// A CA as that of a cluster, which is to be replaced.
fn old_authority(algorithm: KeyAlgorithm, now: Timestamp) -> Issuer {
    let key = PrivateKey::generate(algorithm).expect("a key");
    let template = Template::ca(DistinguishedName::common_name("ca").expect("a name")).expect("a template");
    let validity = Validity::back_dated(now, SignedDuration::from_hours(30 * 365 * 24)).expect("a validity");
    let serial = Serial::random().expect("a serial number");
    let certificate = self_signed_ca(&template, &key, validity, &serial).expect("a certificate");
    Issuer::new(certificate, key).expect("they belong together")
}

/// The plan of a synthetic cluster, with a real certificate wherever a shape is taken from one.
fn plan(nodes: usize, old: &Issuer, algorithm: KeyAlgorithm) -> Plan {
    let shape = Shape::sized(CONTROL_PLANES, nodes.saturating_sub(CONTROL_PLANES));
    let mut plan = planner::plan(&shape.inventory(), &replace_ca(None), &naming()).expect("a plan");
    let pem = Certificate::to_pem(old.certificate());
    for order in &mut plan.authorities {
        order.like.clone_from(&pem);
        order.key = kubecert_core::plan::KeyOrder::New(algorithm.to_string());
    }
    for order in &mut plan.leaves {
        order.key = kubecert_core::plan::KeyOrder::New(algorithm.to_string());
        if let LeafShape::Like(like) = &mut order.shape {
            like.clone_from(&pem);
        }
    }
    plan
}

/// As many keys and signatures by the crypto library on all cores, and nothing else.
fn crypto_alone(algorithm: KeyAlgorithm, keys: usize, signatures: usize) {
    let message = [7; SIGNED_BYTES];
    let random = SystemRandom::new();
    let (generate, sign): (Work, Work) = match algorithm {
        KeyAlgorithm::EcdsaP256 => {
            let new = || EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
            let key = new();
            let sign = move || {
                key.sign(&random, &message).expect("a signature");
            };
            (Box::new(move || drop(new())), Box::new(sign))
        }
        KeyAlgorithm::Rsa2048 => {
            let new = || rsa::KeyPair::generate(rsa::KeySize::Rsa2048).expect("a key");
            let key = new();
            let sign = move || {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, &message, &mut signature).expect("a signature");
            };
            (Box::new(move || drop(new())), Box::new(sign))
        }
        other => panic!("there is nothing to compare {other} with"),
    };
    on_all_cores(keys, &*generate);
    on_all_cores(signatures, &*sign);
}

fn on_all_cores(times: usize, work: &(dyn Fn() + Sync)) {
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..cores() {
            scope.spawn(|| {
                while done.fetch_add(1, Ordering::Relaxed) < times {
                    work();
                }
            });
        }
    });
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
