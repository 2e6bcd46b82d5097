//! Leaves of CAs whose keys are kept elsewhere, renewed or brought back: requests go out, certificates come in.
//!
//! A run in two parts. [`request`] looks, plans as if the keys were there, makes the new private keys and gives a signing
//! request for each leaf of a CA whose key is not at hand; it touches nothing. The keys wait in the run's directory. Then
//! [`rotate`] plans afresh, judges what was signed (`judge.rs`), and carries the renewal out as any other: what fills the
//! vault is given rather than issued, and neither plan nor executor know of it.
//!
//! Asking again takes the keys that wait for the same leaves, so that what has been signed meanwhile stays good.

mod judge;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use kubecert_core::intent::{Intent, Signer, Why};
use kubecert_core::inventory::{Inventory, Observed};
use kubecert_core::model::{LeafId, TrustDomain};
use kubecert_core::plan::{KeyOrder, LeafOrder, Plan};
use kubecert_pki::{Certificate, Csr, PrivateKey, Template};

pub use judge::{Complaint, Unfit};

use crate::adopt;
use crate::issue::{self, MakeError};
use crate::left_behind::without_left_behind;
use crate::run::{self, Ended, Errand, RunError, Setup, begin};
use crate::rundir::{self, RunDir, State};
use crate::vault::PkiSet;

/// The extensions that are asked for: basic constraints, key usage, extended key usage and subject alternative names
/// (RFC 5280, section 4.2.1). The others of a certificate are its issuer's to choose.
const ASKED_FOR: [&str; 4] = ["2.5.29.19", "2.5.29.15", "2.5.29.37", "2.5.29.17"];

/// A certificate that is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which leaf.
    pub leaf: LeafId,
    /// Whose CA is to sign.
    pub domain: TrustDomain,
    /// That CA's certificate in force.
    pub authority: Certificate,
    /// The request, signed by the leaf's new key.
    pub csr: Csr,
    /// How long the present certificate lasts from its beginning to its end, which a new one may last, too.
    pub lifetime: SignedDuration,
}

impl Request {
    /// A name for files about it, unlike that of any other of the cluster: `cluster_apiserver_shire-0`. What belongs to one
    /// CA begins alike.
    pub fn name(&self) -> String {
        // Names of nodes and objects have no underscore (RFC 1123), so that no two become one.
        format!("{}_{}", self.domain, self.leaf.as_str().replace('/', "_"))
    }
}

/// A run that waits for certificates.
#[derive(Debug)]
pub struct Waiting {
    run: RunDir,
    plan: Plan,
    keys: BTreeMap<LeafId, PrivateKey>,
}

impl Waiting {
    /// The run that waits below a cluster's state directory, if there is one; told without a lock.
    ///
    /// # Errors
    ///
    /// Fails if the directory or what is in it cannot be read, or is not its owner's alone.
    pub fn read(state: &std::path::Path) -> Result<Option<Self>, RunError> {
        if !state.exists() {
            return Ok(None);
        }
        rundir::waiting(state)?.into_iter().next().map(Self::of).transpose()
    }

    fn of(run: RunDir) -> Result<Self, RunError> {
        Ok(Self { plan: rundir::read_plan(&run.plan())?, keys: run.read_requested()?, run })
    }

    /// Its directory.
    pub const fn run(&self) -> &RunDir {
        &self.run
    }

    /// What the certificates were asked for.
    pub fn intent(&self) -> Intent {
        let asked = Intent::new(self.plan.why);
        Intent {
            // What has to be brought back is the planner's to find.
            scope: if asked.why == Why::Recover { asked.scope } else { self.plan.scope },
            limits: self.plan.limits.clone(),
            signer: Signer::External,
            ..asked
        }
    }

    /// The requests, of a cluster whose CAs are these. Those of the same run are for the same keys whenever they are made.
    ///
    /// # Errors
    ///
    /// Fails if a request cannot be made, or a CA's certificate is not there.
    pub fn requests(&self, authorities: &PkiSet) -> Result<Vec<Request>, RunError> {
        let orders = self.plan.leaves.iter().filter_map(|order| Some((order, self.keys.get(&order.id)?)));
        Ok(orders.map(|(order, key)| one(order, key, authorities)).collect::<Result<_, MakeError>>()?)
    }
}

/// A certificate that was given for a request.
#[derive(Clone, Debug)]
pub struct Given {
    /// Where it comes from, as complaints name it: a file.
    pub from: String,
    /// The leaf, and what came behind it; or why nothing could be read.
    pub certificates: Result<Vec<Certificate>, String>,
}

/// Looks, plans, makes keys, and lets a run wait for certificates; `None` if nothing is due.
///
/// # Errors
///
/// Refuses as [`run::plan`] does, while another run has not ended, and where no other has to sign.
pub async fn request(setup: &Setup, intent: &Intent) -> Result<Option<Waiting>, RunError> {
    let state = State::open(&setup.state)?;
    if let Some(run) = run::interrupted(setup, &state)? {
        return Err(RunError::NotEnded { run: run.run().clone() });
    }
    let inventory = run::look(setup).await?;
    if adopt::half_rotated(&inventory) {
        return Err(RunError::HalfRotated);
    }
    let (inventory, _) = without_left_behind(&inventory, &setup.decisions.leave_behind)?;
    let now = setup.ports.clock.now();
    let plan = run::plan(&inventory, intent, now)?;
    if plan.is_empty() {
        return Ok(None);
    }
    let before = state.waiting()?;
    // What cannot be read is made anew.
    let known = before.first().and_then(|run| run.read_requested().ok()).unwrap_or_default();
    let keys = keys(&plan, &setup.old, &known)?;
    if keys.is_empty() {
        return Err(RunError::NobodyElseSigns);
    }
    let run = state.create(run::new_run_id(now)?)?;
    run.write_plan(&plan)?;
    run.write_requested(keys.clone())?;
    for replaced in before {
        replaced.withdraw()?;
    }
    Ok(Some(Waiting { run, plan, keys }))
}

/// Carries out a renewal, or a recovery, with certificates that were signed elsewhere, or goes on with an interrupted one.
///
/// `agreed` is shown the plan before anything is touched; if it says no, nothing is.
///
/// # Errors
///
/// As [`run::rotate`]; and with everything that is wrong with the certificates, if anything is.
pub async fn rotate(
    setup: Setup,
    waiting: &Waiting,
    given: &BTreeMap<LeafId, Given>,
    agreed: impl FnOnce(&Plan, &Inventory) -> bool,
) -> Result<Ended, RunError> {
    let intent = waiting.intent();
    let mut old = setup.old.clone();
    let mut setup = setup;
    let leaf = |(id, given): (&LeafId, &Given)| {
        Some((id.clone(), given.certificates.as_ref().ok()?.first()?.clone()))
    };
    setup.given = Some(PkiSet {
        leaves: given.iter().filter_map(leaf).collect(),
        leaf_keys: waiting.keys.clone(),
        ..PkiSet::default()
    });
    let run = waiting.run.clone();
    let planned = |inventory: &Inventory, now: Timestamp| {
        let fresh = run::plan(inventory, &intent, now)?;
        if fresh.is_empty() {
            return Ok(fresh);
        }
        run::know_front_proxy(&mut old, inventory);
        let requests = waiting.requests(&old)?;
        let mut complaints = judge::plan(&waiting.plan, &requests, &fresh, &old);
        let slowest = slowest_clock(inventory, now);
        complaints
            .extend(requests.iter().flat_map(|asked| judge::given(asked, given.get(&asked.leaf), slowest)));
        if complaints.is_empty() { Ok(fresh) } else { Err(RunError::Unfit { complaints }) }
    };
    // What brings a cluster back goes on with whatever was interrupted.
    let (errand, purpose) = match intent.why {
        Why::Recover => (Errand::Recover, None),
        _ => (Errand::Rotate, Some(&intent)),
    };
    begin(setup, Some(run), purpose, errand, planned, agreed).await
}

/// The time by the clock of the node whose clock is furthest behind: what begins later is not valid there yet.
fn slowest_clock(inventory: &Inventory, now: Timestamp) -> Timestamp {
    let offsets = inventory.nodes.values().filter_map(Observed::seen).map(|facts| facts.clock_offset_ms);
    let behind = SignedDuration::from_millis(offsets.min().unwrap_or(0).min(0));
    now.checked_add(behind).unwrap_or(now)
}

/// The keys of all leaves of a plan that somebody else has to sign.
fn keys(
    plan: &Plan,
    old: &PkiSet,
    known: &BTreeMap<LeafId, PrivateKey>,
) -> Result<BTreeMap<LeafId, PrivateKey>, RunError> {
    let mut keys = BTreeMap::new();
    let mut wanted = Vec::new();
    for order in &plan.leaves {
        if old.issuer(order.domain)?.is_some() {
            continue;
        }
        match &order.key {
            KeyOrder::Same => {
                let what = format!("certificate {}", order.id);
                let key = old.leaf_keys.get(&order.id).ok_or(MakeError::NoKey { what })?;
                keys.insert(order.id.clone(), key.clone());
            }
            KeyOrder::New(algorithm) => match known.get(&order.id) {
                Some(key) if key.algorithm().as_str() == algorithm => {
                    keys.insert(order.id.clone(), key.clone());
                }
                _ => wanted.push((&order.id, algorithm.as_str())),
            },
        }
    }
    let named: Vec<(String, &str)> =
        wanted.iter().map(|(leaf, algorithm)| (format!("the key of {leaf}"), *algorithm)).collect();
    let made = issue::generate(&named, &|_, _| {})?;
    keys.extend(wanted.into_iter().map(|(leaf, _)| leaf.clone()).zip(made));
    Ok(keys)
}

fn one(order: &LeafOrder, key: &PrivateKey, authorities: &PkiSet) -> Result<Request, MakeError> {
    let what = format!("the request for {}", order.id);
    let (shape, lifetime) = issue::shape(order)?;
    let asked_for = shape.extensions().iter().filter(|found| ASKED_FOR.contains(&found.oid().as_str()));
    let bare = Template::bare(shape.subject().clone());
    let template = asked_for.cloned().fold(bare, Template::with_extension);
    let csr = Csr::create(&template, key).map_err(|error| issue::failed(&what, &error))?;
    let authority = authorities.authorities.get(&order.domain).cloned();
    let authority = authority.ok_or(MakeError::NoIssuer { what, domain: order.domain })?;
    Ok(Request { leaf: order.id.clone(), domain: order.domain, authority, csr, lifetime })
}
