//! Progress on a terminal: what is done, what is in hand, what it waits for.
//!
//! The picture is a function of the run's state, the time and the width ([`picture`]); drawing it, and nothing else, is
//! left to the progress library.

use std::time::Instant;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jiff::{SignedDuration, Timestamp};
use kubecert_core::event::{Event, Happening, RunOutcome};

use super::Sink;
use super::progress::{ActiveStep, PhaseState, Progress};
use crate::human::numbers::cut;
use crate::human::paint::Paint;
use crate::human::plural::{self, count, count_or_no};
use crate::human::time;

/// Steps in hand that are shown at most. Hundreds of agents may be in hand at once, and a terminal has 24 lines.
const WINDOW: usize = 8;

/// Width of a phase's bar, in characters.
const BAR: usize = 24;

/// Lines are cut at this width, so that long titles do not run away from the eye on a wide terminal.
const WIDEST: usize = 120;

/// A glyph for each tick.
const SPINNER: [char; 8] = ['⠋', '⠙', '⠸', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// Draws on standard error.
pub(super) struct Bars {
    screen: MultiProgress,
    rows: Vec<ProgressBar>,
    paint: Paint,
    progress: Progress,
    received: Instant,
    frame: usize,
    closed: bool,
}

impl Bars {
    /// With or without colours.
    pub(super) fn new(paint: Paint) -> Self {
        Self {
            screen: MultiProgress::new(),
            rows: Vec::new(),
            paint,
            progress: Progress::default(),
            received: Instant::now(),
            frame: 0,
            closed: false,
        }
    }

    /// The present by the clock of the events, which in the simulator is not ours.
    fn now(&self) -> Timestamp {
        let latest = self.progress.latest.unwrap_or(Timestamp::UNIX_EPOCH);
        let since = SignedDuration::try_from(self.received.elapsed()).unwrap_or(SignedDuration::ZERO);
        latest.saturating_add(since).unwrap_or(latest)
    }

    fn draw(&mut self) {
        let width = terminal_width();
        let lines = picture(&self.progress, self.now(), width, self.frame, self.paint);
        while self.rows.len() < lines.len() {
            // A progress bar with nothing but a message: the library keeps the place and the cursor.
            let style =
                ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
            self.rows.push(self.screen.add(ProgressBar::new_spinner().with_style(style)));
        }
        for row in self.rows.drain(lines.len()..) {
            row.finish_and_clear();
            self.screen.remove(&row);
        }
        for (row, line) in self.rows.iter().zip(lines) {
            // The library leaves a row without text out.
            row.set_message(if line.is_empty() { " ".to_owned() } else { line });
        }
    }
}

impl Sink for Bars {
    fn event(&mut self, event: &Event) {
        let ended = self.progress.take(event);
        self.received = Instant::now();
        let said = match &event.what {
            Happening::Notice { text } => Some(format!("{} {text}", self.paint.yellow("note:"))),
            Happening::StepFailed { error, again, .. } => ended.map(|step| {
                let then = if *again { "trying again" } else { "giving up" };
                let failed = self.paint.red("failed:");
                format!("{failed} {}: {}: {error}; {then}", step.target, step.title)
            }),
            _ => None,
        };
        if let Some(line) = said {
            // Nothing can be done about a terminal that is gone.
            let _ = self.screen.println(line);
        }
    }

    fn tick(&mut self) {
        self.frame += 1;
        self.draw();
    }

    fn clear(&mut self) {
        for row in self.rows.drain(..) {
            row.finish_and_clear();
            self.screen.remove(&row);
        }
        // Nothing can be done about a terminal that is gone.
        let _ = self.screen.clear();
    }

    fn close(&mut self) {
        if self.closed {
            return;
        }
        self.closed = true;
        self.draw();
        // The last picture stays, as a record of the run.
        self.rows.iter().for_each(ProgressBar::abandon);
    }
}

/// The lines to show.
fn picture(progress: &Progress, now: Timestamp, width: usize, frame: usize, paint: Paint) -> Vec<String> {
    // One column less: some terminals wrap when the last one is written to.
    let width = width.saturating_sub(1).clamp(40, WIDEST);
    let spinner = SPINNER[frame % SPINNER.len()];
    let over = progress.outcome.is_some();
    let mut lines = Vec::new();
    if let Some(preamble) = &progress.preamble {
        lines.push(format!("{} {}", paint.cyan(&spinner.to_string()), cut(preamble, width - 2)));
    }
    if progress.phases.is_empty() {
        return lines;
    }
    lines.extend(progress.phases.iter().map(|phase| phase_line(phase, now, spinner, paint)));
    lines.push(probe_line(progress, now, width, paint));
    if !over {
        lines.extend(window(progress, now, width, paint));
        lines.extend(barrier(progress, width, paint));
    }
    if let Some(outcome) = &progress.outcome {
        lines.push(outcome_line(outcome, progress, paint));
    }
    lines
}

fn phase_line(phase: &PhaseState, now: Timestamp, spinner: char, paint: Paint) -> String {
    let name = format!("{:<9}", phase.name.to_string());
    let count = format!("{:>5}/{:<5}", phase.done, phase.total);
    let (mark, time) = match (phase.ms, phase.started) {
        (Some(ms), _) => (paint.green("✓"), time::millis(ms)),
        (None, Some(started)) => {
            (paint.cyan(&spinner.to_string()), time::seconds(time::between(started, now)))
        }
        // Done by an earlier process of the same run.
        (None, None) if phase.total > 0 && phase.done == phase.total => {
            (paint.green("✓"), "before".to_owned())
        }
        (None, None) => {
            return paint.dim(format!("· {name} {} {count}", "─".repeat(BAR)).trim_end());
        }
    };
    let full = (BAR * phase.done).checked_div(phase.total).unwrap_or(BAR).min(BAR);
    let bar = format!("{}{}", paint.cyan(&"━".repeat(full)), paint.dim(&"─".repeat(BAR - full)));
    let mut line = format!("{mark} {name} {bar} {count} {time:>12}");
    if phase.barrier.is_some() {
        line.push_str(&paint.yellow("  at its barrier"));
    }
    line
}

fn probe_line(progress: &Progress, now: Timestamp, width: usize, paint: Paint) -> String {
    let Some((at, client, error)) = &progress.probe_error else {
        return format!("{} {:<9} answering, no request failed", paint.green("●"), "API");
    };
    // A failure counts as present for a few seconds, longer than a request may take.
    let mark = if time::between(*at, now) < 5.0 { paint.red("●") } else { paint.yellow("●") };
    let failed = count_or_no(progress.probe_failed, plural::REQUEST);
    let when = time::seconds(progress.elapsed(*at));
    let text = format!("{failed} failed, the last at {when} ({client} client: {error})");
    format!("{mark} {:<9} {}", "API", cut(&text, width - 12))
}

fn window(progress: &Progress, now: Timestamp, width: usize, paint: Paint) -> Vec<String> {
    if progress.active.is_empty() {
        return Vec::new();
    }
    // The ones that take longest first: they are what a person wonders about.
    let mut active: Vec<&ActiveStep> = progress.active.values().collect();
    active.sort_by_key(|step| step.since);
    let names = active.iter().map(|step| step.target.chars().count()).max().unwrap_or(0).min(30);
    let mut lines = vec![String::new()];
    lines.extend(active.iter().take(WINDOW).map(|step| step_line(step, now, width, names, paint)));
    if active.len() > WINDOW {
        let more = format!("  and {} more", count(active.len() - WINDOW, plural::STEP));
        lines.push(paint.dim(&more));
    }
    lines
}

/// What the barrier of the phase in hand lacks.
fn barrier(progress: &Progress, width: usize, paint: Paint) -> Vec<String> {
    let Some(missing) = progress.phases.iter().find_map(|phase| phase.barrier.as_ref()) else {
        return Vec::new();
    };
    let mut lines = vec![String::new()];
    if missing.is_empty() {
        lines.push(paint.dim("  looking at running processes"));
    }
    lines.extend(
        missing.iter().take(WINDOW / 2).map(|what| paint.yellow(&cut(&format!("  until {what}"), width))),
    );
    if missing.len() > WINDOW / 2 {
        lines.push(paint.dim(&format!("  and {} more", missing.len() - WINDOW / 2)));
    }
    lines
}

fn step_line(step: &ActiveStep, now: Timestamp, width: usize, names: usize, paint: Paint) -> String {
    let spent = format!("{:>7}", time::seconds(time::between(step.since, now)));
    let target = format!("{:<names$}", cut(&step.target, names));
    let again = if step.attempt > 1 { format!(", try {}", step.attempt) } else { String::new() };
    let room = width.saturating_sub(2 + names + 2 + 2 + spent.chars().count());
    let title = cut(&format!("{}{again}", step.title), room);
    let left = room - title.chars().count();
    let waits = match &step.waits {
        Some(what) if left > 12 => cut(&format!(" · {what}"), left),
        _ => String::new(),
    };
    let gap = " ".repeat(left - waits.chars().count());
    format!("  {}  {title}{}{gap}  {}", paint.bold(&target), paint.dim(&waits), paint.dim(&spent))
}

fn outcome_line(outcome: &RunOutcome, progress: &Progress, paint: Paint) -> String {
    let took = time::seconds(progress.latest.map_or(0.0, |latest| progress.elapsed(latest)));
    match outcome {
        RunOutcome::Finished => format!("{} in {took}", paint.green("✓ finished")),
        RunOutcome::Undone => format!("{} in {took}", paint.green("✓ everything is as it was")),
        RunOutcome::NothingToDo => paint.green("✓ there was nothing to do"),
        RunOutcome::Stopped { reason } => format!("{} {reason}", paint.yellow("■ stopped at a safe point:")),
    }
}

fn terminal_width() -> usize {
    console::Term::stderr().size_checked().map_or(80, |(_, columns)| usize::from(columns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::sample;

    fn after(events: usize) -> String {
        let mut progress = Progress::default();
        sample::events().iter().take(events).for_each(|event| drop(progress.take(event)));
        let now = progress.latest.unwrap() + SignedDuration::from_millis(1500);
        let lines = picture(&progress, now, 80, 3, Paint::PLAIN);
        assert!(lines.iter().all(|line| line.chars().count() < 80), "{lines:#?}");
        lines.join("\n")
    }

    #[test]
    fn before_the_first_phase() {
        insta::assert_snapshot!(after(2), @"⠴ making keys and certificates, 7 of 31");
    }

    #[test]
    fn in_the_middle() {
        insta::assert_snapshot!(after(sample::IN_THE_MIDDLE), @"
        ✓ prepare   ━━━━━━━━━━━━━━━━━━━━━━━━     2/2           900 ms
        ⠴ introduce ────────────────────────     0/4            1.8 s
        · drop      ────────────────────────     0/120
        ● API       answering, no request failed

          k8s-master-24569318-0  restart etcd · every etcd member is healthy …    1.8 s
          API                    roll deployment default/prober-with-a-long-n…    1.6 s
        ");
    }

    #[test]
    fn waiting_at_a_barrier() {
        insta::assert_snapshot!(after(sample::AT_THE_BARRIER), @"
        ✓ prepare   ━━━━━━━━━━━━━━━━━━━━━━━━     2/2           900 ms
        ⠴ introduce ━━━━━━━━━━━━────────────     2/4            9.2 s  at its barrier
        · drop      ────────────────────────     0/120
        ● API       1 request failed, the last at 12.0 s (old client: timed out)

          until node k8s-master-24569318-0 is Ready
          until aggregated APIs are Available
        ");
    }

    #[test]
    fn at_the_end() {
        insta::assert_snapshot!(after(usize::MAX), @"
        ✓ prepare   ━━━━━━━━━━━━━━━━━━━━━━━━     2/2           900 ms
        ✓ introduce ━━━━━━━━━━━━────────────     2/4            9.0 s
        · drop      ────────────────────────     0/120
        ● API       1 request failed, the last at 12.0 s (old client: timed out)
        ✓ finished in 19.1 s
        ");
    }
}
