//! The cluster-autoscaler rests while the CA is replaced: a node that it adds in the middle would be made from a template
//! with the old PKI.
//!
//! This is no part of the plan, since no invariant rests on it, and since it has to be taken back however a run ends. How
//! many replicas it had is remembered on its Deployment itself, in the very request that scales it to zero: so it
//! survives kubecert, its records and this machine, and whichever run ends next puts it back.

use kubecert_core::model::TrustDomain;

use crate::ports::Autoscaler;
use crate::run::{Context, Errand};

/// Lets it rest. That it cannot be is told and is no reason not to go on: a node that is added meanwhile is named by the
/// next look, and nothing else suffers.
pub(crate) async fn pause(context: &Context) {
    if context.errand == Errand::Undo || !context.vault.new.authorities.contains_key(&TrustDomain::Cluster) {
        return;
    }
    match context.ports.api.pause_autoscaler().await {
        Ok(Autoscaler::Paused { replicas }) => {
            context.notice(format!("The cluster-autoscaler rests; it gets its {replicas} replicas back at the end."));
        }
        Ok(Autoscaler::Absent | Autoscaler::Off) => {}
        Err(error) => context.notice(format!(
            "The cluster-autoscaler cannot be paused ({error}); a node that it adds now has the old PKI and cannot stay."
        )),
    }
}

/// Lets it work again, whoever paused it.
pub(crate) async fn resume(context: &Context) {
    match context.ports.api.resume_autoscaler().await {
        Ok(Some(replicas)) => {
            context.notice(format!("The cluster-autoscaler works again, with {replicas} replicas."));
        }
        Ok(None) => {}
        Err(error) => context.notice(format!(
            "If there is a cluster-autoscaler it may still be paused ({error}); `kubecert resume`, or the next run, puts it back, and its annotation {} says how many replicas it had.",
            crate::ports::AUTOSCALER_ANNOTATION
        )),
    }
}
