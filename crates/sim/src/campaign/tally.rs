//! Many runs in a table.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::play::{Verdict, Way};
use super::scenario::FaultKind;

/// What became of many seeds.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    ways: BTreeMap<Way, u64>,
    faults: BTreeMap<FaultKind, (u64, u64, u64)>,
    runs: u64,
    processes: u64,
    undisturbed: u64,
    virtual_time: Duration,
    failing: Vec<u64>,
}

impl Tally {
    /// Takes a run in.
    pub fn add(&mut self, verdict: &Verdict) {
        self.runs += 1;
        self.processes += u64::try_from(verdict.processes).unwrap_or_default();
        self.undisturbed += u64::from(verdict.faults.is_empty());
        self.virtual_time += verdict.virtual_time;
        *self.ways.entry(verdict.way).or_default() += 1;
        let mut kinds = verdict.faults.clone();
        for kind in &kinds {
            self.faults.entry(*kind).or_default().0 += 1;
        }
        kinds.sort_unstable();
        kinds.dedup();
        for kind in kinds {
            let counts = self.faults.entry(kind).or_default();
            counts.1 += 1;
            counts.2 += u64::from(!verdict.held());
        }
        if !verdict.held() {
            self.failing.push(verdict.seed);
            self.failing.sort_unstable();
        }
    }

    /// How many runs there were.
    pub const fn runs(&self) -> u64 {
        self.runs
    }

    /// The seeds whose runs did not hold.
    pub fn failing(&self) -> &[u64] {
        &self.failing
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = |way| self.ways.get(&way).copied().unwrap_or_default();
        writeln!(f, "runs                        {:>7}", self.runs)?;
        writeln!(f, "  finished in one go        {:>7}", way(Way::Finished))?;
        writeln!(f, "  stopped, then finished    {:>7}", way(Way::Resumed))?;
        writeln!(f, "  undone                    {:>7}", way(Way::Undone))?;
        writeln!(f, "  stuck                     {:>7}", way(Way::Stuck))?;
        writeln!(f, "  without any fault         {:>7}", self.undisturbed)?;
        writeln!(f, "processes of kubecert       {:>7}", self.processes)?;
        writeln!(f, "hours of cluster time       {:>7}", self.virtual_time.as_secs() / 3600)?;
        writeln!(f, "\n{:<24}{:>8}{:>8}{:>10}", "fault", "faults", "runs", "not held")?;
        for (kind, (faults, runs, failed)) in &self.faults {
            writeln!(f, "{:<24}{faults:>8}{runs:>8}{failed:>10}", kind.name())?;
        }
        if !self.failing.is_empty() {
            let seeds: Vec<String> = self.failing.iter().map(u64::to_string).collect();
            writeln!(f, "\nfailing seeds: {}", seeds.join(" "))?;
        }
        Ok(())
    }
}
