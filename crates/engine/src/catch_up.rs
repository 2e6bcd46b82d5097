//! Brings an agent that was left behind to the PKI in force, in a run of its own.

use std::collections::BTreeMap;

use kubecert_core::exec::Execution;
use kubecert_core::inventory::Observed;
use kubecert_core::model::NodeName;
use kubecert_core::plan::Plan;
use kubecert_core::planner::{self, Naming, Refusal, RefusalReason};
use kubecert_core::record::{JOURNAL_SCHEMA, Record, What};

use crate::issue;
use crate::journal::Journal;
use crate::resumable::Misfit;
use crate::run::{self, Ended, Errand, RunError, Setup, Way};
use crate::rundir::State;
use crate::vault::Vault;

/// Gives an agent certificates of the CA in force, which the description holds with its key, and restarts its kubelet.
/// `agreed` is shown the plan before anything is touched; if it says no, nothing is.
///
/// # Errors
///
/// Refuses where a run is under way, where the node is no agent of the cluster, or where it cannot be reached.
pub async fn catch_up(
    setup: Setup,
    node: &NodeName,
    agreed: impl FnOnce(&Plan) -> bool,
) -> Result<Option<Ended>, RunError> {
    let state = State::open(&setup.state)?;
    if let Some(run) = run::interrupted(&setup, &state)? {
        return Err(RunError::NotResumable { run: run.run().clone(), why: Misfit::NotEnded });
    }
    let started = setup.ports.clock.now();
    let inventory = run::look(&setup).await?;
    let agents = || inventory.cluster.agents().map(|agent| agent.name.clone()).collect::<Vec<_>>();
    if !agents().contains(node) {
        return Err(RunError::CannotLeaveBehind { node: node.clone(), agents: agents() });
    }
    if let Some(Observed::Unreadable(why)) = inventory.nodes.get(node) {
        let reasons = vec![RefusalReason::NodeUnreadable(node.clone(), why.clone())];
        return Err(RunError::Refused(Refusal { reasons }));
    }
    let naming = Naming { now: started, stamp: started.strftime("%Y-%m-%d-%H-%M-%S").to_string() };
    let plan = planner::catch_up(&inventory, node, &naming).map_err(|error| {
        RunError::Refused(Refusal { reasons: vec![RefusalReason::Layout(error.to_string())] })
    })?;
    if !agreed(&plan) {
        return Ok(None);
    }
    // What is in force is the new generation here, as it was for the agents that the rotation reached.
    let vault = Vault { old: setup.old.clone(), new: setup.old.clone(), cross: BTreeMap::new() };
    let vault = issue::make(&plan, vault, started, &|_, _| {})?;
    let run = state.create(run::new_run_id(started)?)?;
    run.write_json("before.json", &inventory)?;
    let digest = run.write_plan(&plan)?;
    run.write_vault(&vault)?;
    let bound = What::Bound {
        schema: JOURNAL_SCHEMA,
        run: run.run().clone(),
        cluster: plan.cluster.clone(),
        plan: digest,
        program: setup.program.clone(),
    };
    let issued = What::Issued { certificates: run::certificates_digest(&vault) };
    let first = [Record { at: started, what: bound }, Record { at: started, what: issued }];
    let journal = Journal::begin(&run.journal(), &first)?;
    let execution = Execution::start(plan);
    let begun = BTreeMap::new();
    let way = Way { run, vault, execution, journal, started, begun, errand: Errand::Rotate };
    run::carry_out(setup, way).await.map(Some)
}
