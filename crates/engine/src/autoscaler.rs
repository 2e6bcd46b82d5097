//! The cluster-autoscaler rests while the CA is replaced: a node that it adds in the middle would be made from a template
//! with the old PKI.
//!
//! This is no part of the plan, since no invariant rests on it, and since it has to be taken back however a run ends. How
//! many replicas it had is remembered on its Deployment itself, in the very request that scales it to zero: so it
//! survives kubecert, its records and this machine, and whichever run ends next puts it back.

use std::sync::Arc;
use std::time::Duration;

use kubecert_core::model::TrustDomain;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::ports::Autoscaler;
use crate::run::{Context, Errand};

/// How often it is made sure that it still rests. AKS engine's addon manager applies the addons' own manifests once a minute
/// and may wake it; one that has just started waits for its lease for 15 s before it does anything.
const LOOK_AGAIN_EVERY: Duration = Duration::from_secs(10);

/// What keeps it at rest.
pub(crate) struct Rest {
    keeper: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Rest {
    fn begin(context: &Arc<Context>) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { keeper: tokio::spawn(keep(Arc::clone(context), stopped)), stop }
    }

    /// Ends it, and with it the request that is under way, so that none can come after.
    async fn end(self) {
        // Both fail only where the keeper is gone already.
        let _gone = self.stop.send(());
        let _gone = self.keeper.await;
    }
}

/// Lets it rest until [`resume`]. That it cannot be is told and is no reason not to go on: a node that is added meanwhile is named by the
/// next look, and nothing else suffers.
pub(crate) async fn pause(context: &Arc<Context>) -> Option<Rest> {
    if context.errand == Errand::Undo || !context.vault.new.authorities.contains_key(&TrustDomain::Cluster) {
        return None;
    }
    match context.ports.api.pause_autoscaler().await {
        Ok(Autoscaler::Paused { replicas }) => {
            context.notice(format!("The cluster-autoscaler rests; it gets its {replicas} replicas back at the end."));
            return Some(Rest::begin(context));
        }
        Ok(Autoscaler::Absent | Autoscaler::Off) => {}
        Err(error) => context.notice(format!(
            "The cluster-autoscaler cannot be paused ({error}); a node that it adds now has the old PKI and cannot stay."
        )),
    }
    None
}

/// Puts it to rest again whenever somebody has woken it.
async fn keep(context: Arc<Context>, mut stopped: oneshot::Receiver<()>) {
    while tokio::time::timeout(LOOK_AGAIN_EVERY, &mut stopped).await.is_err() {
        // An API that does not answer at this moment has no autoscaler that acts, either.
        drop(context.ports.api.pause_autoscaler().await);
    }
}

/// Lets it work again, whoever paused it.
pub(crate) async fn resume(context: &Context, rest: Option<Rest>) {
    if let Some(rest) = rest {
        rest.end().await;
    }
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
