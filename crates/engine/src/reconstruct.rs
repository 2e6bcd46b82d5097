//! The records of a lost run, made anew from what the nodes show of it, so that it can be taken back.
//!
//! `adopt` brings a lost run to its end, for which it needs the key of the new CA. To go back nothing of the new PKI is
//! needed but what its servers present. What objects in the cluster were before is not on the nodes, so that this is the
//! way only while the run has changed none: in the phases *prepare* and *introduce* of a cross-signed plan.

use std::collections::BTreeMap;

use kubecert_core::intent::{Intent, Scope, Strategy, Why};
use kubecert_core::inventory::{Inventory, Observed, Server};
use kubecert_core::layout;
use kubecert_core::model::{Component, NodeName, RunId, TrustDomain};
use kubecert_core::plan::{Action, Phase, PhaseName, Plan, Step, Target};
use kubecert_core::record::{JOURNAL_SCHEMA, Record, What};
use kubecert_pki::Certificate;

use crate::adopt;
use crate::journal::Journal;
use crate::resumable::Misfit;
use crate::run::{self, RunError, Setup};
use crate::rundir::{RunDir, State};
use crate::vault::Vault;

/// The run directory of a lost run, as far as it can be made anew; `None` if the nodes hold nothing of any.
///
/// # Errors
///
/// Refuses where the lost run has come so far that it cannot be taken back without its records.
pub(crate) async fn lost_run(setup: &Setup, state: &State) -> Result<Option<RunDir>, RunError> {
    let inventory = run::look(setup).await?;
    let Some(staged) = adopt::staged(setup, &inventory).await? else { return Ok(None) };
    let known = adopt::in_use(setup, &inventory, &staged.pki).await?;
    let now = adopt::look_again(setup, &known).await?;
    let Some((run, originals)) = adopt::originals(setup, &now).await? else { return Ok(None) };
    if adopt::dropped(&now, &staged.pki) {
        return Err(RunError::PastReturn { run });
    }
    let before = adopt::before(setup, now.clone(), originals, &known);
    let plan = run::plan(&before, &intent(&staged), setup.ports.clock.now())?;
    let Some(ca) = known.authorities.get(&TrustDomain::Cluster) else { return Ok(None) };
    let seen = Seen { now: &now, before: &before, ca: &ca.clone() };
    if staged.cross.is_none() || seen.has_begun_to_switch(&plan) {
        return Err(RunError::NotResumable { run, why: Misfit::ObjectsUnknown });
    }
    let mut old = setup.old.clone();
    run::know_front_proxy(&mut old, &before);
    let cross = staged.cross.map(|cross| (TrustDomain::Cluster, cross)).into_iter().collect();
    let vault = Vault { old, new: known, cross };
    record(setup, state, run, &plan, &before, &vault, seen.progress(&plan)).map(Some)
}

/// What the lost run was for, by what it has staged.
fn intent(staged: &adopt::Staged) -> Intent {
    let whole = staged.pki.authorities.contains_key(&TrustDomain::FrontProxy);
    Intent {
        strategy: Some(Strategy::CrossSigned),
        scope: if whole { Scope::All } else { Scope::ClusterCa },
        ..Intent::new(Why::ReplaceCa)
    }
}

/// Writes the run directory.
fn record(
    setup: &Setup,
    state: &State,
    run: RunId,
    plan: &Plan,
    before: &Inventory,
    vault: &Vault,
    progress: Vec<What>,
) -> Result<RunDir, RunError> {
    let directory = state.create(run)?;
    directory.write_json("before.json", before)?;
    let digest = directory.write_plan(plan)?;
    directory.write_vault(vault)?;
    let bound = What::Bound {
        schema: JOURNAL_SCHEMA,
        run: directory.run().clone(),
        cluster: plan.cluster.clone(),
        plan: digest,
        program: setup.program.clone(),
    };
    let issued = What::Issued { certificates: run::certificates_digest(vault) };
    let at = setup.ports.clock.now();
    let records = [bound, issued, What::Reconstructed].into_iter().chain(progress);
    let records: Vec<Record> = records.map(|what| Record { at, what }).collect();
    Journal::begin(&directory.journal(), &records)?;
    Ok(directory)
}

/// The cluster as it is, and as it was before the lost run.
struct Seen<'a> {
    now: &'a Inventory,
    before: &'a Inventory,
    /// The new CA.
    ca: &'a Certificate,
}

impl Seen<'_> {
    /// Whether a file is another one than before the lost run.
    fn differs(&self, node: &NodeName, path: &str) -> bool {
        let digest = |inventory: &Inventory| {
            let facts = inventory.nodes.get(node).and_then(Observed::seen)?;
            facts.file(path).map(|file| file.sha256.clone())
        };
        digest(self.now) != digest(self.before)
    }

    /// Whether anything is other than before that no phase before *switch* changes.
    fn has_begun_to_switch(&self, plan: &Plan) -> bool {
        let new = self.ca.fingerprint().to_string();
        let mut bundles = self.now.api.seen().into_iter().flat_map(|api| &api.ca_bundles);
        if bundles.any(|(_, cas)| cas.iter().any(|ca| ca.fingerprint == new)) {
            return true;
        }
        let mut introduced: BTreeMap<&NodeName, Vec<&str>> = BTreeMap::new();
        for phase in &plan.phases {
            for (node, path) in phase.steps.iter().flat_map(changes) {
                if phase.name < PhaseName::Switch {
                    introduced.entry(node).or_default().push(path);
                } else if !introduced.get(node).is_some_and(|paths| paths.contains(&path))
                    && self.differs(node, path)
                {
                    return true;
                }
            }
        }
        false
    }

    /// Whether the API server of a control plane has been visited: by its manifest.
    fn is_visited(&self, node: &NodeName) -> bool {
        self.differs(node, &layout::manifest_file(Component::ApiServer))
    }

    /// Whether it serves as it does after its visit: it accepts clients of the new CA.
    fn accepts_both(&self, node: &NodeName) -> bool {
        let (own, new) = (Server::ApiServer(node.clone()), self.ca.subject().to_string());
        let mut facts = self.now.servers.iter().filter(|(server, _)| *server == own);
        facts.any(|(_, facts)| facts.seen().is_some_and(|facts| facts.client_ca_names.contains(&new)))
    }

    /// What the lost run's journal would tell of the phases that it can have begun.
    fn progress(&self, plan: &Plan) -> Vec<What> {
        let phases = plan.phases.iter().filter(|phase| phase.name <= PhaseName::Introduce);
        let mut records = Vec::new();
        for phase in phases {
            for step in &phase.steps {
                match self.state(phase, step) {
                    Came::Nowhere => {}
                    Came::Begun => records.push(What::Started { step: step.id, attempt: 1 }),
                    Came::Done => {
                        records.push(What::Started { step: step.id, attempt: 1 });
                        let evidence = "seen on the node after the run's records were lost".to_owned();
                        records.push(What::Done { step: step.id, evidence });
                    }
                }
            }
        }
        records
    }

    /// How far a step has come.
    fn state(&self, phase: &Phase, step: &Step) -> Came {
        if phase.name < PhaseName::Introduce {
            return Came::Done;
        }
        let Target::Node(node) = &step.target else { return Came::Begun };
        match &step.action {
            Action::Write { files } => {
                let written = files.iter().filter(|file| self.differs(node, &file.path)).count();
                match written {
                    0 => Came::Nowhere,
                    _ if written == files.len() => Came::Done,
                    _ => Came::Begun,
                }
            }
            _ if !self.is_visited(node) => Came::Nowhere,
            // A diversion that was left there is taken away before anything else is done.
            _ if self.accepts_both(node) => Came::Done,
            Action::Divert { .. } => Came::Done,
            Action::ReplaceStaticPod { .. } => Came::Begun,
            _ => Came::Nowhere,
        }
    }
}

/// How far a step of the lost run has come.
enum Came {
    Nowhere,
    Begun,
    Done,
}

/// What a step changes on a node: the paths of files.
fn changes(step: &Step) -> Vec<(&NodeName, &str)> {
    let Target::Node(node) = &step.target else { return Vec::new() };
    match &step.action {
        Action::Write { files } => files.iter().map(|file| (node, file.path.as_str())).collect(),
        Action::ReplaceStaticPod { path, .. } => vec![(node, path.as_str())],
        _ => Vec::new(),
    }
}
