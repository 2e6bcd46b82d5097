//! A short run, as events.

use jiff::{SignedDuration, Timestamp};
use kubecert_core::event::{Event, Happening, RunOutcome};
use kubecert_core::model::{ClusterName, NodeName, RunId};
use kubecert_core::plan::{PhaseName, StepId, Target};

/// So many events lead into the middle of the run.
pub(super) const IN_THE_MIDDLE: usize = 16;

/// So many events lead to a barrier.
pub(super) const AT_THE_BARRIER: usize = 23;

/// The events.
pub(super) fn events() -> Vec<Event> {
    let start: Timestamp = "2026-11-21T20:00:00Z".parse().unwrap();
    let node = |name: &str| Target::Node(NodeName::from(name));
    let begin = |step, phase, target, title: &str, attempt| Happening::StepStarted {
        step: StepId(step),
        phase,
        target,
        title: title.to_owned(),
        attempt,
    };
    let end = |step, ms| Happening::StepDone { step: StepId(step), ms, evidence: "seen".to_owned() };
    let wait = |step, what: &str| Happening::StepWaiting { step: StepId(step), what: what.to_owned() };
    let (prepare, introduce) = (PhaseName::Prepare, PhaseName::Introduce);
    let (master0, master1) = ("k8s-master-24569318-0", "k8s-master-24569318-1");
    let happenings = vec![
        (0, Happening::Observing { what: "5 nodes".to_owned() }),
        (2100, Happening::Issuing { done: 7, total: 31 }),
        (9000, Happening::Issuing { done: 31, total: 31 }),
        (
            9100,
            Happening::RunStarted {
                run: RunId::from("01KAM3V7Q2Z9"),
                cluster: ClusterName::from("lab"),
                phases: vec![(prepare, 2), (introduce, 4), (PhaseName::Drop, 120)],
                done_before: 0,
            },
        ),
        (9100, Happening::PhaseStarted { phase: prepare }),
        (9200, begin(1, prepare, node(master0), "back up originals", 1)),
        (9200, begin(2, prepare, node(master1), "back up originals", 1)),
        (9600, end(1, 400)),
        (9900, end(2, 700)),
        (9900, Happening::BarrierWaiting { phase: prepare, missing: vec![] }),
        (10_000, Happening::PhaseDone { phase: prepare, ms: 900 }),
        (10_000, Happening::PhaseStarted { phase: introduce }),
        (10_000, begin(3, introduce, node(master0), "restart etcd", 1)),
        (10_100, wait(3, "every etcd member is healthy and caught up")),
        (10_200, begin(4, introduce, Target::Api, "roll deployment default/prober-with-a-long-name", 1)),
        (10_300, wait(4, "2 of 3 pods are new")),
        (12_000, Happening::ProbeFailed { client: "old".to_owned(), error: "timed out".to_owned() }),
        (14_000, Happening::StepFailed { step: StepId(3), error: "timed out".to_owned(), again: true }),
        (14_100, begin(3, introduce, node(master0), "restart etcd", 2)),
        (17_000, end(3, 2900)),
        (17_500, end(4, 7300)),
        (17_600, Happening::Notice { text: "Pod default/lonely is re-created.".to_owned() }),
        (
            17_700,
            Happening::BarrierWaiting {
                phase: introduce,
                missing: vec![format!("node {master0} is Ready"), "aggregated APIs are Available".to_owned()],
            },
        ),
        (19_000, Happening::PhaseDone { phase: introduce, ms: 9000 }),
        (19_100, Happening::RunFinished { outcome: RunOutcome::Finished }),
    ];
    happenings
        .into_iter()
        .map(|(ms, what)| Event { at: start + SignedDuration::from_millis(ms), what })
        .collect()
}
