//! `kubecert demo`: the same planner and engine on a cluster that exists only in memory.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use kubecert_engine::ports::PortResult;
use kubecert_engine::run::{OperatorFiles, Setup};
use kubecert_engine::vault::Vault;
use kubecert_sim::{SimCluster, SimConfig, Speed};

use super::rotate::{Consent, Wanted, carry_out, intent};
use super::runtime::{self, Wired};
use crate::args::{DemoArgs, GlobalArgs};
use crate::errors::{CliError, Kind};
use crate::exit::Exit;

/// How many times faster than a real cluster's the time of the demonstration runs: a rotation of some 100 s is over in
/// less than 20 s, and can still be watched.
const SPEED: f64 = 6.0;

/// Rotates a cluster in memory.
pub(crate) fn run(global: &GlobalArgs, args: &DemoArgs) -> Result<Exit, CliError> {
    let mut config = SimConfig::new(usize::from(args.control_planes), usize::from(args.agents));
    config.seed = args.seed;
    config.speed = Speed::Factor(SPEED);
    config.start = Timestamp::now();
    let state = args.state.state_dir()?.join(&config.name);
    let intent = intent(&args.how);
    runtime::with(global, |wired: Wired| async move {
        let cluster = SimCluster::new(&config).map_err(|error| {
            CliError::because(Kind::Internal, "cannot make the demonstration's cluster", error)
        })?;
        let wires = wired.wires();
        let setup = Setup {
            ports: cluster.ports(),
            cluster: cluster.cluster(),
            old: cluster.old_pki(),
            given: None,
            operator: Arc::new(NoFiles),
            state,
            only: None,
            program: format!("kubecert {}", env!("CARGO_PKG_VERSION")),
            decisions: kubecert_engine::run::Decisions::default(),
            events: Arc::new(move |event| drop(wires.events.send(event))),
            cancelled: wires.cancelled,
        };
        carry_out(global, setup, &intent, Wanted::Fresh, &Consent::given(), wired).await
    })
}

/// A cluster in memory has no operator's files.
struct NoFiles;

#[async_trait]
impl OperatorFiles for NoFiles {
    async fn announce(&self, _: &Vault) -> PortResult<()> {
        Ok(())
    }

    async fn write(&self, _: &Vault) -> PortResult<()> {
        Ok(())
    }
}
