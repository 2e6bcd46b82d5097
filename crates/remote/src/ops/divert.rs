//! Diverting new connections to a neighbour.

use std::net::IpAddr;

use kubecert_core::model::NodeName;
use kubecert_engine::ports::{Diversion, Fault, PortError, PortResult};
use zeroize::Zeroizing;

use super::QUICK;
use super::units::{TIMERS, seconds};
use crate::exec::{Exec, Job, assemble};

const UNDIVERT: &str = include_str!("../scripts/undivert.sh");

/// Diverts new connections; a timer on the node ends that.
pub(crate) async fn divert(exec: &dyn Exec, node: &NodeName, diversion: &Diversion) -> PortResult<()> {
    let Diversion { from, to, port, expires } = *diversion;
    let what = format!("cannot divert connections for {from}:{port} to {to} on {node}");
    let (tables, target) = match (from, to) {
        (IpAddr::V4(_), IpAddr::V4(to)) => ("iptables", to.to_string()),
        (IpAddr::V6(_), IpAddr::V6(to)) => ("ip6tables", format!("[{to}]")),
        _ => {
            return Err(PortError::new(
                Fault::Unexpected,
                what,
                "the two addresses are of different families",
            ));
        }
    };
    if from == to {
        return Err(PortError::new(Fault::Unexpected, what, "a node cannot be its own neighbour"));
    }
    let job = Job::new("divert", &[TIMERS, include_str!("../scripts/divert.sh")], QUICK, what)
        .arg(tables)
        .arg(from)
        .arg(to)
        .arg(port)
        .arg(seconds(expires))
        .arg(target)
        .input(Zeroizing::new(assemble(&[TIMERS, UNDIVERT]).into_bytes()));
    exec.run(job).await.map(drop)
}

/// Takes any diversion of ours away, and its timer.
pub(crate) async fn undivert(exec: &dyn Exec, node: &NodeName) -> PortResult<()> {
    let what = format!("cannot take the diversion away on {node}");
    exec.run(Job::new("undivert", &[TIMERS, UNDIVERT], QUICK, what)).await.map(drop)
}
