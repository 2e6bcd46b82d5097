//! Renewal where the CA's key is kept elsewhere: requests out, certificates in.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use kubecert_core::event::RunOutcome;
use kubecert_core::intent::{Intent, Signer, Why};
use kubecert_core::model::{LeafId, TrustDomain};
use kubecert_engine::external::{Given, Request, Unfit, Waiting, request, rotate};
use kubecert_engine::run::{Ended, RunError, resume};
use kubecert_engine::vault::PkiSet;
use kubecert_pki::{Issuer, Serial, Validity, issue};
use kubecert_sim::Trouble;

use crate::recover::{assert_well, ended, setup as recovery};
use crate::support::{Bench, assert_finished, assert_unharmed};
use crate::why::{assert_renewed, before, config, ending_soon};

fn intent() -> Intent {
    Intent { signer: Signer::External, ..Intent::new(Why::Renew) }
}

/// The PKI as the operator has it, and the CA as the signer has it.
fn apart(bench: &Bench) -> (PkiSet, Issuer) {
    let mut old = bench.sim.old_pki();
    let ca = old.issuer(TrustDomain::Cluster).unwrap().unwrap();
    old.authority_keys.clear();
    (old, ca)
}

/// What the signer makes of requests.
fn signed(bench: &Bench, requests: &[Request], ca: &Issuer) -> BTreeMap<LeafId, Given> {
    let now = bench.setup(PkiSet::default()).ports.clock.now();
    let year = Validity::back_dated(now, SignedDuration::from_hours(365 * 24)).unwrap();
    let sign = |asked: &Request| {
        let (csr, serial) = (&asked.csr, Serial::random().unwrap());
        let certificate = issue(csr.template(), csr.public_key(), ca, year, &serial).unwrap();
        Given { from: format!("DIR/{}.crt", asked.name()), certificates: Ok(vec![certificate]) }
    };
    requests.iter().map(|asked| (asked.leaf.clone(), sign(asked))).collect()
}

async fn asked(bench: &Bench, old: &PkiSet) -> (Waiting, Vec<Request>) {
    let waiting = request(&bench.setup(old.clone()), &intent()).await.unwrap().unwrap();
    let requests = waiting.requests(old).unwrap();
    (waiting, requests)
}

async fn renewed(
    bench: &Bench,
    old: &PkiSet,
    waiting: &Waiting,
    given: &BTreeMap<LeafId, Given>,
) -> Result<Ended, RunError> {
    rotate(bench.setup(old.clone()), waiting, given, |_, _| true).await
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_signs_is_renewed() {
    let bench = Bench::new(&ending_soon(3, 2, 34));
    let (old, ca) = apart(&bench);
    let earlier = before(&bench).await;
    let (_, first) = asked(&bench, &old).await;
    // Asking again takes the same keys, so that what is signed meanwhile stays good.
    let (_, requests) = asked(&bench, &old).await;
    assert_eq!(first.len(), requests.len());
    for (one, other) in first.iter().zip(&requests) {
        assert_eq!(one.csr.public_key(), other.csr.public_key(), "{}", one.leaf);
    }
    let runs = std::fs::read_dir(bench.state()).unwrap().flatten().filter(|entry| entry.path().is_dir());
    assert_eq!(runs.count(), 1, "the former request is no more");
    let after = before(&bench).await;
    assert_eq!(earlier.nodes.keys().collect::<Vec<_>>(), after.nodes.keys().collect::<Vec<_>>());
    for (node, facts) in &earlier.nodes {
        assert_eq!(
            facts.seen().unwrap().files,
            after.nodes[node].seen().unwrap().files,
            "{node} was touched"
        );
    }
    // As another process finds it.
    let waiting = Waiting::read(bench.state()).unwrap().unwrap();
    let given = signed(&bench, &first, &ca);
    assert_finished(&renewed(&bench, &old, &waiting, &given).await.unwrap());
    assert_unharmed(&bench.sim);
    assert_renewed(&bench).await;
    assert!(!waiting.run().requested().exists(), "keys do not outlive the run");
    assert!(Waiting::read(bench.state()).unwrap().is_none());
    let again = request(&bench.setup(bench.operator.new_pki().unwrap()), &intent()).await.unwrap();
    assert!(again.is_none(), "nothing is due any more");
}

#[tokio::test(start_paused = true)]
async fn everything_that_does_not_fit_is_named_and_nothing_is_touched() {
    let bench = Bench::new(&ending_soon(3, 1, 34));
    let (old, ca) = apart(&bench);
    let (waiting, requests) = asked(&bench, &old).await;
    let earlier = before(&bench).await;
    let mut given = signed(&bench, &requests, &ca);
    let [swapped, missing, unreadable] = [0, 1, 2].map(|index| requests[index].leaf.clone());
    let other = given[&requests[3].leaf].certificates.clone();
    given.get_mut(&swapped).unwrap().certificates = other;
    given.remove(&missing);
    given.get_mut(&unreadable).unwrap().certificates = Err("no PEM".to_owned());
    let Err(RunError::Unfit { complaints }) = renewed(&bench, &old, &waiting, &given).await else {
        panic!("unfit certificates were taken");
    };
    assert!(
        complaints.iter().any(|complaint| matches!(complaint.unfit, Unfit::OtherKey(_))),
        "{complaints:?}"
    );
    assert!(
        complaints.iter().any(|complaint| matches!(complaint.unfit, Unfit::Missing(_))),
        "{complaints:?}"
    );
    assert!(
        complaints.iter().any(|complaint| matches!(complaint.unfit, Unfit::Unreadable(_))),
        "{complaints:?}"
    );
    let after = before(&bench).await;
    for (node, facts) in &earlier.nodes {
        assert_eq!(
            facts.seen().unwrap().files,
            after.nodes[node].seen().unwrap().files,
            "{node} was touched"
        );
    }
    // Put right, they are taken: the keys have waited.
    let waiting = Waiting::read(bench.state()).unwrap().unwrap();
    let given = signed(&bench, &requests, &ca);
    assert_finished(&renewed(&bench, &old, &waiting, &given).await.unwrap());
    assert_renewed(&bench).await;
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_after_an_interruption_without_the_certificates() {
    let config = ending_soon(3, 1, 24);
    for call in [30, 120, 240] {
        let bench = Bench::new(&config);
        let (old, ca) = apart(&bench);
        let (waiting, requests) = asked(&bench, &old).await;
        let given = signed(&bench, &requests, &ca);
        bench.sim.trouble(bench.sim.calls() + call, Trouble::CutOffAfter);
        let cut = tokio::select! {
            ended = renewed(&bench, &old, &waiting, &given) => Some(ended),
            () = bench.sim.cut_off() => None,
        };
        assert!(cut.is_none(), "call {call} was not reached");
        bench.sim.pass(Duration::from_secs(5)).await;
        let went_on = match resume(bench.setup(old.clone())).await.unwrap() {
            Some(ended) => ended,
            None => renewed(&bench, &old, &waiting, &given).await.unwrap(),
        };
        assert_finished(&went_on);
        assert_unharmed(&bench.sim);
        assert_renewed(&bench).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_where_the_key_is_at_hand() {
    let bench = Bench::new(&ending_soon(1, 1, 34));
    let refused = request(&bench.setup(bench.sim.old_pki()), &intent()).await.unwrap_err();
    assert!(matches!(refused, RunError::NobodyElseSigns), "{refused:?}");
    let (old, _) = apart(&bench);
    let replacing = Intent { signer: Signer::External, ..Intent::new(Why::ReplaceCa) };
    let refused = request(&bench.setup(old), &replacing).await.unwrap_err();
    assert!(format!("{refused:?}").contains("ExternalSigner"), "{refused:?}");
    let fresh = Bench::new(&config(1, 1, 34));
    let (old, _) = apart(&fresh);
    assert!(request(&fresh.setup(old), &intent()).await.unwrap().is_none());
    let ended = fresh.rotate_as(fresh.sim.old_pki(), &Intent::new(Why::Renew)).await.unwrap();
    assert_eq!(ended.report.outcome, RunOutcome::NothingToDo);
}

/// A cluster whose leaves have ended is brought back by who has the CA's key; its agents by the model's names.
#[tokio::test(start_paused = true)]
async fn what_has_ended_is_brought_back_by_what_somebody_else_signs() {
    let bench = Bench::new(&ended(3, 2));
    let (old, ca) = apart(&bench);
    let recovering = Intent { signer: Signer::External, ..Intent::new(Why::Recover) };
    let waiting = request(&recovery(&bench, old.clone()), &recovering).await.unwrap().unwrap();
    let requests = waiting.requests(&old).unwrap();
    let api_server = requests.iter().find(|asked| asked.leaf == "apiserver".into()).unwrap();
    let present = old.leaf_keys.get(&"apiserver".into()).unwrap();
    assert_eq!(api_server.csr.public_key(), present.public_key(), "its key signs tokens");
    let given = signed(&bench, &requests, &ca);
    let ended = rotate(recovery(&bench, old), &waiting, &given, |_, _| true).await.unwrap();
    assert_finished(&ended);
    assert_eq!(ended.report.why, Why::Recover);
    // What lives in Secrets is renewed once the API answers, in the same way.
    bench.sim.pass(Duration::from_secs(30)).await;
    let renewed_pki = bench.operator.new_pki().unwrap();
    let (waiting, requests) = asked(&bench, &renewed_pki).await;
    assert!(requests.iter().any(|asked| asked.leaf.as_str().starts_with("secret/")), "{requests:?}");
    let given = signed(&bench, &requests, &ca);
    assert_finished(&renewed(&bench, &renewed_pki, &waiting, &given).await.unwrap());
    assert_well(&bench, bench.operator.new_pki().unwrap()).await;
}
