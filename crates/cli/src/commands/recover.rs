//! `kubecert recover`, and the part of `rotate-certs --force` that is the same: bringing a cluster back whose certificates
//! have ended.

use std::cell::Cell;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use kubecert_cloud::apimodel::{Os, PoolNodes};
use kubecert_core::event::RunOutcome;
use kubecert_core::intent::Why;
use kubecert_core::inventory::Inventory;
use kubecert_core::model::{Node, NodeName, OperatingSystem, Role};
use kubecert_core::plan::Plan;
use kubecert_engine::run;

use super::cluster::Named;
use super::external;
use super::rotate::{Consent, run_error, show};
use super::runtime::{self, Wired};
use super::target::{Described, Reach};
use crate::args::{GlobalArgs, Output, RecoverArgs};
use crate::errors::CliError;
use crate::exit::Exit;
use crate::human::paint::Paint;
use crate::render::plan_text;

/// How often it is looked again. Once for the control planes and the agents that the model names, once more for agents
/// that only the API knows, which answers by then; and a last look finds nothing left to do.
const PASSES: usize = 3;

/// What bringing a cluster back came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brought {
    /// Nothing had ended, and the API answered.
    Nothing,
    /// It is back.
    Back,
    /// An interrupted run of another kind was brought to its end.
    OtherRun,
}

/// `kubecert recover`.
pub(crate) fn recover(global: &GlobalArgs, args: &RecoverArgs) -> Result<Exit, CliError> {
    if let Some(site) = &args.site {
        return super::akshci::recover_site(
            global,
            site,
            args.ssh.key.linux_ssh_private_key.clone(),
            args.yes,
        );
    }
    let named = Named::read(&args.cluster.source())?;
    named.check_supported()?;
    let reach = Reach::try_from(&args.ssh)?;
    let state = args.state.state_dir()?.join(named.name().as_str());
    let consent = Consent::asked(args.yes, io::stdin().is_terminal());
    if args.signer.csr_out.is_some() || args.signer.certificates.is_some() {
        return external::recover(global, args, named, reach, state);
    }
    match bring_back(global, named, &reach, &state, &consent)? {
        Brought::Nothing => super::print("Nothing has ended and the API answers; nothing was done.\n")?,
        Brought::Back if global.output == Output::Text => super::print(
            "\nWhat lives in Secrets was left as it is: `kubecert rotate --why renew` renews certificates there that have ended.\n",
        )?,
        Brought::Back | Brought::OtherRun => {}
    }
    Ok(Exit::Done)
}

/// Brings a cluster back, if that is needed. The model's file has changed afterwards.
pub(super) fn bring_back(
    global: &GlobalArgs,
    named: Named,
    reach: &Reach,
    state: &std::path::Path,
    consent: &Consent,
) -> Result<Brought, CliError> {
    let mut brought = Brought::Nothing;
    let mut named = named;
    for _ in 0..PASSES {
        match pass(global, &named, reach, state.to_owned(), consent)? {
            Brought::Nothing => break,
            Brought::OtherRun => return Ok(Brought::OtherRun),
            Brought::Back => brought = Brought::Back,
        }
        named = named.again()?;
    }
    Ok(brought)
}

fn pass(
    global: &GlobalArgs,
    named: &Named,
    reach: &Reach,
    state: PathBuf,
    consent: &Consent,
) -> Result<Brought, CliError> {
    let brought = Cell::new(Brought::Nothing);
    let told = &brought;
    runtime::with(global, |wired: Wired| async move {
        let mut setup = named.connect(reach, state, wired.wires()).await?;
        // A cluster file names no agents; the API does, once it answers.
        if let Named::AksEngine(described) = named {
            setup.cluster.nodes.extend(known_agents(described));
        }
        let name = setup.cluster.name.clone();
        let mut refused = None;
        let agreed = |plan: &Plan, _: &Inventory| {
            if !consent.is_given() {
                wired.pause(|| eprint!("{}", plan_text::render(plan, Paint::when(global.colours(true)))));
            }
            refused = consent.ask(name.as_str(), &wired).err();
            refused.is_none()
        };
        let ended = run::recover(setup, agreed).await.map_err(run_error)?;
        if let Some(refused) = refused {
            return Err(refused);
        }
        if ended.report.outcome == RunOutcome::NothingToDo {
            wired.end().await;
            return Ok(Exit::Done);
        }
        told.set(if ended.report.why == Why::Recover { Brought::Back } else { Brought::OtherRun });
        show(global, &ended, wired).await
    })?;
    Ok(brought.get())
}

/// The agents that the model names. Those of scale sets have names that Azure counts up, which the API tells once it
/// answers.
pub(super) fn known_agents(described: &Described) -> Vec<Node> {
    let pools = described.model.agent_pools().iter().enumerate().filter(|(_, pool)| pool.os == Os::Linux);
    let names = pools.filter_map(|(index, _)| match described.model.agent_names(index)? {
        PoolNodes::Exact(names) => Some(names),
        PoolNodes::ScaleSet { .. } => None,
    });
    let node = |(index, name): (usize, kubecert_cloud::apimodel::VmName)| Node {
        name: NodeName::new(name.node_name()),
        role: Role::Agent,
        system: OperatingSystem::Linux,
        index,
        address: None,
    };
    names.flatten().enumerate().map(node).collect()
}
