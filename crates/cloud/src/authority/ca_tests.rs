//! Each check of a renewal, and their order.

use std::sync::LazyLock;

use kubecert_pki::{
    DistinguishedName, KeyAlgorithm, PrivateKey, SubjectAltName, self_signed_ca, to_pem_chain, vouch,
};
use proptest::prelude::*;

use super::*;
use crate::authority::request;

const LASTS_S: i64 = 3600;

fn at(second: i64) -> Timestamp {
    let begin: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
    begin.checked_add(SignedDuration::from_secs(second)).unwrap()
}

struct Authority {
    signer: Issuer,
    roots: Vec<Certificate>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let shape = Template::ca(DistinguishedName::common_name(name).unwrap()).unwrap();
        let validity = Validity::back_dated(at(0), SignedDuration::from_hours(24)).unwrap();
        let root = self_signed_ca(&shape, &key, validity, &Serial::random().unwrap()).unwrap();
        Self { signer: Issuer::new(root.clone(), key).unwrap(), roots: vec![root] }
    }

    fn at(&self, second: i64) -> Ca<'_> {
        Ca { signer: &self.signer, roots: &self.roots, now: at(second) }
    }
}

/// A client with a certificate of `OURS`, another of the same, and one of `FOREIGN`.
struct Client {
    chain: Vec<Certificate>,
    key: PrivateKey,
}

static OURS: LazyLock<Authority> = LazyLock::new(|| Authority::new("ours"));
static FOREIGN: LazyLock<Authority> = LazyLock::new(|| Authority::new("foreign"));
static CLIENTS: LazyLock<[Client; 3]> =
    LazyLock::new(|| [client(&OURS, "a"), client(&OURS, "b"), client(&FOREIGN, "c")]);

fn client(authority: &Authority, name: &str) -> Client {
    let asked = request::first(name, &[SubjectAltName::dns("localhost")]).unwrap();
    let purpose = Purpose::Client { id: name };
    let lasts = SignedDuration::from_secs(LASTS_S);
    let certificate = authority.at(0).first(&asked.csr.to_pem(), purpose, lasts).unwrap();
    Client { chain: vec![certificate], key: asked.key }
}

/// A request whose parts need not belong together.
fn request_of(old: &Client, voucher: &PrivateKey, vouched: &PrivateKey, key: &PrivateKey) -> String {
    let name = DistinguishedName::common_name("CSR Key").unwrap();
    let validity = Validity::new(at(0), at(LASTS_S)).unwrap();
    let serial = Serial::random().unwrap();
    // In the name of whoever holds `voucher`; the checks are of the signature.
    let holder = CLIENTS.iter().find(|client| voucher.matches(&client.chain[0])).unwrap();
    let shape = Template::bare(name);
    let vouching = vouch(&holder.chain[0], voucher, &shape, vouched.public_key(), validity, &serial).unwrap();
    let proof = to_pem_chain(std::iter::once(&vouching).chain(&old.chain));
    let shape = Template::bare(old.chain[0].subject().clone())
        .with_extension(extension(RENEWAL, proof.as_bytes()).unwrap());
    Csr::create(&shape, key).unwrap().to_pem()
}

/// What becomes of a request.
fn judged(
    csr: &str,
    supplied: Option<&Certificate>,
    second: i64,
    revoked: bool,
) -> Result<Certificate, (MocCode, String)> {
    let revoked = |_: &Certificate| revoked.then(|| "it was revoked".to_owned());
    let renewed = OURS.at(second).renew(csr, supplied, &revoked);
    renewed.map(|(new, _)| new).map_err(|refusal| (refusal.code, refusal.message))
}

#[track_caller]
fn refused<T>(result: Result<T, (MocCode, String)>, code: MocCode, part: &str) {
    let Err((found, said)) = result else { panic!("it is not refused") };
    assert_eq!(found, code, "{said}");
    assert!(said.contains(part), "{said}");
}

#[test]
fn each_check_refuses_what_it_is_for() {
    let [a, b, foreign] = &*CLIENTS;
    let new = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let other = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let good = request_of(a, &a.key, &new, &new);
    assert!(judged(&good, Some(&a.chain[0]), 60, false).is_ok());
    assert!(judged(&good, None, 60, false).is_ok(), "what is beside the request may be left out");

    refused(judged("no request", None, 60, false), MocCode::InvalidInput, "no certificate request");
    let bare = request::first("a", &[]).unwrap().csr.to_pem();
    refused(judged(&bare, None, 60, false), MocCode::InvalidInput, "does not carry");
    refused(judged(&good, Some(&b.chain[0]), 60, false), MocCode::InvalidInput, "not the one beside it");
    let strange = request_of(foreign, &foreign.key, &new, &new);
    refused(judged(&strange, None, 60, false), MocCode::Failed, "leads to none of the roots");
    refused(judged(&good, None, LASTS_S + 1, false), MocCode::Expired, "ended at");
    let stolen = request_of(a, &b.key, &new, &new);
    refused(judged(&stolen, None, 60, false), MocCode::Failed, "not signed with the key");
    let swapped = request_of(a, &a.key, &new, &other);
    refused(judged(&swapped, None, 60, false), MocCode::Failed, "not the one in its proof");
    refused(judged(&good, None, 60, true), MocCode::Revoked, "it was revoked");
}

#[test]
fn the_first_check_that_fails_is_told() {
    let [a, b, _] = &*CLIENTS;
    let new = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let other = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    // Ended, with the wrong proof, of another key, revoked, and not the one beside it.
    let worst = request_of(a, &b.key, &new, &other);
    let late = LASTS_S + 1;
    refused(judged(&worst, Some(&b.chain[0]), late, true), MocCode::InvalidInput, "beside it");
    refused(judged(&worst, None, late, true), MocCode::Expired, "ended");
    refused(judged(&worst, None, 60, true), MocCode::Failed, "not signed with the key");
    let swapped = request_of(a, &a.key, &new, &other);
    refused(judged(&swapped, None, 60, true), MocCode::Failed, "not the one in its proof");
}

#[test]
fn the_last_second_is_good_and_no_certificate_outlives_its_ca() {
    let [a, ..] = &*CLIENTS;
    let new = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let good = request_of(a, &a.key, &new, &new);
    let renewed = judged(&good, None, LASTS_S, false).unwrap();
    assert_eq!(renewed.not_before(), at(LASTS_S));
    assert_eq!(renewed.not_after(), at(2 * LASTS_S));
    let asked = request::first("a", &[]).unwrap().csr.to_pem();
    let long = SignedDuration::from_hours(48);
    let late = OURS.at(0).first(&asked, Purpose::Server, long).unwrap();
    assert_eq!(late.not_after(), OURS.roots[0].not_after());
    assert_eq!(holder_id(&late), None);
    refused(
        OURS.at(0).holder(&[late]).map_err(|refusal| (refusal.code, refusal.message)),
        MocCode::AccessDenied,
        "names no identity",
    );
}

#[test]
fn a_request_that_asks_to_be_a_ca_does_not_become_one() {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let shape = Template::ca(DistinguishedName::common_name("a").unwrap()).unwrap();
    let csr = Csr::create(&shape, &key).unwrap().to_pem();
    let lasts = SignedDuration::from_secs(LASTS_S);
    let certificate = OURS.at(0).first(&csr, Purpose::Client { id: "a" }, lasts).unwrap();
    assert!(!certificate.is_ca());
    assert!(!certificate.key_usage().unwrap().contains(&KeyUsage::KeyCertSign));
}

proptest! {
    #[test]
    fn integers_are_der(number: u64) {
        let der = integer(number);
        prop_assert_eq!(usize::from(der[1]) + 2, der.len());
        prop_assert!(der[2] & 0x80 == 0);
        prop_assert!(der.len() == 3 || der[2] != 0 || der[3] & 0x80 != 0, "no byte too many");
        let back = der[2..].iter().fold(0_u64, |sum, byte| sum.wrapping_shl(8) | u64::from(*byte));
        prop_assert_eq!(back, number);
    }
}
