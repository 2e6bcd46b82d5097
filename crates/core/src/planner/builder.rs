//! Builds phases: numbers steps, keeps what comes after what.

use crate::plan::{Action, Patience, Phase, PhaseName, Predicate, Step, StepId, Target};

/// How long an operation on one node may take. A session, an upload and a sync on a slow disk need a few seconds; a
/// minute says that something is wrong.
const NODE_OPERATION_S: u32 = 60;
/// How long a component may take to start. A kube-apiserver needs 6 to 10 s on a small machine; with a large etcd and a
/// slow disk it has been seen to need more than a minute.
const COMPONENT_START_S: u32 = 180;
/// How long a component may take that starts without what it makes itself: a kubelet on Windows that asks for a
/// certificate takes half a minute; AKS engine's reset of the node, where that has to follow, some minutes.
const AFRESH_S: u32 = 900;
/// How long a rollout may take before the run stops at a safe point: large images, slow readiness probes, budgets.
const ROLLOUT_S: u32 = 900;
/// How long an observation may be waited for. The slowest is a file that is polled once a minute,
/// or a lease of the controller manager that has to run out.
const OBSERVATION_S: u32 = 240;
/// How often a step is tried. The second try finds what the first left; a third failure is not bad luck any more.
const ATTEMPTS: u32 = 3;

/// Numbers steps across the phases of one plan.
#[derive(Default)]
pub(super) struct Numbers(u32);

impl Numbers {
    fn next(&mut self) -> StepId {
        self.0 += 1;
        StepId(self.0)
    }
}

/// Collects the steps of one phase.
pub(super) struct PhaseBuilder<'a> {
    name: PhaseName,
    steps: Vec<Step>,
    barrier: Vec<Predicate>,
    numbers: &'a mut Numbers,
}

impl<'a> PhaseBuilder<'a> {
    pub(super) const fn new(name: PhaseName, numbers: &'a mut Numbers) -> Self {
        Self { name, steps: Vec::new(), barrier: Vec::new(), numbers }
    }

    /// Adds a step that comes after the given ones.
    pub(super) fn step(
        &mut self,
        target: Target,
        title: impl Into<String>,
        action: Action,
        after: impl IntoIterator<Item = StepId>,
    ) -> StepId {
        let id = self.numbers.next();
        let mut after: Vec<StepId> = after.into_iter().collect();
        after.sort_unstable();
        after.dedup();
        let patience = patience(&action);
        self.steps.push(Step { id, title: title.into(), target, action, after, patience });
        id
    }

    /// Adds what must hold before the next phase.
    pub(super) fn barrier(&mut self, predicates: impl IntoIterator<Item = Predicate>) {
        self.barrier.extend(predicates);
    }

    pub(super) fn build(self) -> Phase {
        Phase { name: self.name, steps: self.steps, barrier: self.barrier }
    }
}

fn patience(action: &Action) -> Patience {
    let timeout_s = match action {
        Action::ReplaceStaticPod { .. } | Action::EndProcess { .. } | Action::RestartUnit { .. } => {
            COMPONENT_START_S
        }
        Action::StartAfresh { .. } => AFRESH_S,
        Action::Roll { .. } | Action::RecreatePod { .. } | Action::PutBack { .. } => ROLLOUT_S,
        Action::Await { .. } | Action::RenewTokenSecret { .. } => OBSERVATION_S,
        Action::BackUp { .. }
        | Action::Write { .. }
        | Action::Remove { .. }
        | Action::PauseUnits { .. }
        | Action::ResumeUnits { .. }
        | Action::Divert { .. }
        | Action::Undivert
        | Action::YieldEtcdLeadership { .. }
        | Action::ShareFrontProxy
        | Action::WriteTlsSecret { .. }
        | Action::SetCaBundle { .. }
        | Action::PublishClusterInfo { .. }
        | Action::RebuildExtensionAuthentication
        | Action::ReleaseLease
        | Action::UseCredentials { .. }
        | Action::WriteOperatorFiles => NODE_OPERATION_S,
    };
    // Who has waited in vain for all that time gains nothing by waiting again; the operator is to know now.
    let attempts = if matches!(action, Action::Await { .. }) { 1 } else { ATTEMPTS };
    Patience { attempts, timeout_s }
}
