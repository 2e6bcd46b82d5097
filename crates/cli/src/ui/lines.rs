//! Progress as lines: for logs, pipes and `--quiet`.

use std::io::Write;

use kubecert_core::event::{Event, Happening, RunOutcome};

use super::Sink;
use super::progress::Progress;
use crate::human::paint::Paint;
use crate::human::plural::{self, count};
use crate::human::time;

/// One line for each end of a step or phase, each failure and each notice.
pub(super) struct Lines<W> {
    out: W,
    paint: Paint,
    steps: bool,
    progress: Progress,
}

impl<W: Write> Lines<W> {
    /// Everything.
    pub(super) fn new(out: W, paint: Paint) -> Self {
        Self { out, paint, steps: true, progress: Progress::default() }
    }

    /// Only failures and the ends of phases.
    pub(super) fn quiet(out: W, paint: Paint) -> Self {
        Self { out, paint, steps: false, progress: Progress::default() }
    }

    fn line(&mut self, event: &Event, text: &str) {
        let elapsed = format!("{:7.1}s", self.progress.elapsed(event.at));
        // A run must not end because nobody reads its progress any more.
        let _ = writeln!(self.out, "{}  {text}", self.paint.dim(&elapsed));
    }
}

impl<W: Write + Send> Sink for Lines<W> {
    fn event(&mut self, event: &Event) {
        let ended = self.progress.take(event);
        if let Some(text) = self.text(event, ended.as_ref()) {
            self.line(event, &text);
        }
    }
}

impl<W: Write> Lines<W> {
    fn text(&self, event: &Event, ended: Option<&super::progress::ActiveStep>) -> Option<String> {
        let paint = self.paint;
        let step = || {
            ended.map(|step| {
                let phase = format!("{:<9}", step.phase.to_string());
                format!("{} {}: {}", paint.dim(&phase), step.target, step.title)
            })
        };
        match &event.what {
            Happening::StepFailed { step: id, error, again } => {
                let step = step().unwrap_or_else(|| format!("step {id}"));
                let then = if *again { "trying again" } else { "giving up" };
                Some(format!("{step}: {} {error}; {then}", paint.red("failed:")))
            }
            Happening::PhaseDone { phase, ms } => {
                let state = self.progress.phases.iter().find(|state| state.name == *phase);
                let steps =
                    state.map_or_else(String::new, |state| format!(", {}", count(state.total, plural::STEP)));
                let name = format!("{:<9}", phase.to_string());
                Some(format!("{} {} in {}{steps}", name, paint.green("done"), time::millis(*ms)))
            }
            Happening::ProbeFailed { client, error } => {
                let failed = paint.red("a request to the API failed");
                Some(format!("api       {failed} for the {client} client: {error}"))
            }
            Happening::RunFinished { outcome } => Some(match outcome {
                RunOutcome::Finished => paint.green("The run is finished."),
                RunOutcome::Undone => paint.green("Everything is as it was before the run."),
                RunOutcome::NothingToDo => paint.green("There was nothing to do."),
                RunOutcome::Stopped { reason } => {
                    format!("{} {reason}", paint.yellow("The run stopped at a safe point:"))
                }
            }),
            _ if !self.steps => None,
            Happening::Observing { what } => Some(format!("looking at {what}")),
            // One line for all, since keys come several a second.
            Happening::Issuing { done, total } if done == total => {
                Some(format!("made {} with their keys", count(*total, plural::CERTIFICATE)))
            }
            Happening::RunStarted { run, cluster, phases, done_before } => {
                let steps = phases.iter().map(|(_, steps)| steps).sum();
                let before = match done_before {
                    0 => String::new(),
                    done => format!(", {done} of them done before"),
                };
                Some(format!("run {run} on cluster {cluster} has {}{before}", count(steps, plural::STEP)))
            }
            Happening::StepDone { ms, .. } => {
                let took = format!("({})", time::millis(*ms));
                step().map(|step| format!("{step} {}", paint.dim(&took)))
            }
            Happening::BarrierWaiting { phase, missing } if !missing.is_empty() => {
                let name = format!("{:<9}", phase.to_string());
                let first = &missing[0];
                let more = match missing.len() - 1 {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                Some(format!("{} waiting until {first}{more}", paint.dim(&name)))
            }
            Happening::Notice { text } => Some(format!("{} {text}", paint.yellow("note:"))),
            Happening::Issuing { .. }
            | Happening::PhaseStarted { .. }
            | Happening::StepStarted { .. }
            | Happening::StepWaiting { .. }
            | Happening::BarrierWaiting { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::sample;

    fn shown(mut lines: Lines<Vec<u8>>) -> String {
        sample::events().iter().for_each(|event| lines.event(event));
        String::from_utf8(lines.out).unwrap()
    }

    #[test]
    fn a_log_has_a_line_for_each_end() {
        insta::assert_snapshot!(shown(Lines::new(Vec::new(), Paint::PLAIN)), @"
         0.0s  looking at 5 nodes
         9.0s  made 31 certificates with their keys
         9.1s  run 01KAM3V7Q2Z9 on cluster lab has 126 steps
         9.6s  prepare   k8s-master-24569318-0: back up originals (400 ms)
         9.9s  prepare   k8s-master-24569318-1: back up originals (700 ms)
        10.0s  prepare   done in 900 ms, 2 steps
        12.0s  api       a request to the API failed for the old client: timed out
        14.0s  introduce k8s-master-24569318-0: restart etcd: failed: timed out; trying again
        17.0s  introduce k8s-master-24569318-0: restart etcd (2.9 s)
        17.5s  introduce API: roll deployment default/prober-with-a-long-name (7.3 s)
        17.6s  note: Pod default/lonely is re-created.
        17.7s  introduce waiting until node k8s-master-24569318-0 is Ready and 1 more
        19.0s  introduce done in 9.0 s, 4 steps
        19.1s  The run is finished.
        ");
    }

    #[test]
    fn quiet_leaves_failures_and_phases() {
        insta::assert_snapshot!(shown(Lines::quiet(Vec::new(), Paint::PLAIN)), @"
        10.0s  prepare   done in 900 ms, 2 steps
        12.0s  api       a request to the API failed for the old client: timed out
        14.0s  introduce k8s-master-24569318-0: restart etcd: failed: timed out; trying again
        19.0s  introduce done in 9.0 s, 4 steps
        19.1s  The run is finished.
        ");
    }
}
