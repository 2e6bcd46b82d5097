//! What has run, what has not, and what there is time for.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::shapes;

/// What needs a real cluster.
pub(super) struct OnLab {
    pub(super) name: &'static str,
    /// How long it takes, in seconds, on a machine that is the same for all of these.
    pub(super) takes: u64,
    pub(super) needs: Needs,
    pub(super) run: fn() -> Result<()>,
}

/// A test on a lab that needs nothing else.
pub(super) const fn on_lab(name: &'static str, takes: u64, run: fn() -> Result<()>) -> OnLab {
    OnLab { name, takes, needs: Needs::Nothing, run }
}

/// What there must be beside this repository.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    /// The generated api models.
    Corpus,
}

/// What has run, and what has not.
pub(super) struct Suite {
    only: Option<String>,
    within: Option<Duration>,
    began: Instant,
    pace: Pace,
    left_out: Vec<String>,
    failed: Vec<String>,
}

impl Suite {
    /// Runs what has these words in its name, and begins with nothing on a lab that would end after so much time.
    pub(super) fn new(only: Option<String>, within: Option<Duration>) -> Self {
        let (left_out, failed) = (Vec::new(), Vec::new());
        Self { only, within, began: Instant::now(), pace: Pace::default(), left_out, failed }
    }

    pub(super) fn run(&mut self, name: &str, test: impl FnOnce() -> Result<()>) {
        if !self.wanted(name) {
            self.leave_out(name, "--only", false);
            return;
        }
        eprintln!("\n== {name}");
        let began = Instant::now();
        match test() {
            Ok(()) => eprintln!("== {name}: ok, {:.0} s", began.elapsed().as_secs_f64()),
            Err(error) => {
                eprintln!("== {name}: FAILED, {:.0} s: {error:#}", began.elapsed().as_secs_f64());
                self.failed.push(name.to_owned());
            }
        }
    }

    fn wanted(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }

    /// The same, where there is time for it. For the first there always is.
    pub(super) fn run_on_lab(&mut self, test: &OnLab) {
        let takes = Duration::from_secs(test.takes);
        if test.needs == Needs::Corpus && shapes::corpus().is_none() {
            self.leave_out(test.name, "the corpus is not beside this repository", false);
            return;
        }
        if let Some(within) = self.within.filter(|_| self.pace.is_known()) {
            let ends = self.began.elapsed() + self.pace.expected(takes);
            if ends > within {
                let (ends, within) = (minutes(ends), minutes(within));
                self.leave_out(
                    test.name,
                    &format!("--within {within}, and it would end after {ends} min"),
                    false,
                );
                return;
            }
        }
        let began = Instant::now();
        self.run(test.name, test.run);
        if self.wanted(test.name) {
            self.pace.went(takes, began.elapsed());
        }
    }

    pub(super) fn leave_out(&mut self, name: &str, why: &str, fails: bool) {
        let line = format!("{name} ({why})");
        if fails { &mut self.failed } else { &mut self.left_out }.push(line);
    }

    pub(super) fn close(self) -> Result<()> {
        eprintln!("\nafter {} min", minutes(self.began.elapsed()));
        for name in &self.left_out {
            eprintln!("did not run: {name}");
        }
        if !self.failed.is_empty() {
            bail!("failed: {}", self.failed.join(", "));
        }
        eprintln!("all that ran passed");
        Ok(())
    }
}

/// How fast this machine is, by what it has done.
#[derive(Debug, Default)]
struct Pace {
    /// What it should have taken, and did take.
    reckoned: Duration,
    took: Duration,
}

impl Pace {
    const fn is_known(&self) -> bool {
        !self.reckoned.is_zero()
    }

    fn went(&mut self, reckoned: Duration, took: Duration) {
        self.reckoned += reckoned;
        self.took += took;
    }

    /// How long something takes here that takes so long elsewhere. A fast machine may become slow, so it is not trusted to
    /// stay fast.
    fn expected(&self, takes: Duration) -> Duration {
        if !self.is_known() {
            return takes;
        }
        takes.mul_f64((self.took.as_secs_f64() / self.reckoned.as_secs_f64()).max(1.0))
    }
}

const fn minutes(time: Duration) -> u64 {
    time.as_secs() / 60
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_slow_machine_is_expected_to_stay_slow() {
        let mut pace = Pace::default();
        assert_eq!(pace.expected(s(100)), s(100));
        pace.went(s(100), s(300));
        assert_eq!(pace.expected(s(50)), s(150));
        pace.went(s(200), s(300));
        assert_eq!(pace.expected(s(50)), s(100));
    }

    #[test]
    fn a_fast_machine_is_not_expected_to_stay_fast() {
        let mut pace = Pace::default();
        pace.went(s(100), s(10));
        assert_eq!(pace.expected(s(50)), s(50));
    }

    #[test]
    fn what_there_is_no_time_for_is_left_out_and_told() {
        let mut suite = Suite::new(None, Some(s(600)));
        suite.run_on_lab(&on_lab("first", 700, || Ok(())));
        suite.run_on_lab(&on_lab("short", 599, || Ok(())));
        suite.run_on_lab(&OnLab {
            name: "long",
            takes: 601,
            needs: Needs::Nothing,
            run: || bail!("it began"),
        });
        assert_eq!(suite.left_out, ["long (--within 10, and it would end after 10 min)"]);
        assert!(suite.close().is_ok());
    }
}
