//! What the workloads' own logs say: how many calls they made, how many failed, how long they were silent.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;

use super::Named;
use super::spec::Spec;

#[derive(Args)]
pub(crate) struct WorkloadLog {
    #[command(flatten)]
    lab: Named,
    /// Count only calls from this time on, in seconds since 1970 (`date +%s.%N`)
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    since: f64,
    /// And only before this time
    #[arg(long, value_name = "T", default_value_t = f64::INFINITY)]
    until: f64,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// The calls of one workload in one series, over all its pods.
#[derive(Default, Serialize)]
pub(crate) struct Series {
    pub(crate) workload: String,
    /// `fresh` reads CA and token for every call; `cached` read the CA once, at its start.
    pub(crate) series: String,
    pub(crate) pods: usize,
    pub(crate) calls: usize,
    pub(crate) failed: usize,
    /// The longest time between two calls of one pod: a pod that is replaced under its name makes none meanwhile.
    pub(crate) longest_silence_s: f64,
    pub(crate) first_failure: Option<f64>,
    pub(crate) last_failure: Option<f64>,
    /// What the failures said, and how often.
    pub(crate) failures: BTreeMap<String, usize>,
    /// When the last call succeeded.
    pub(crate) last_success: Option<f64>,
}

/// Prints the sums.
pub(crate) fn workload_log(args: &WorkloadLog) -> Result<()> {
    let spec = Spec::load(&args.lab.name)?;
    let all = sum(&spec, args.since, args.until)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    println!(
        "{:<18} {:<7} {:>4} {:>6} {:>6} {:>10}",
        "WORKLOAD", "SERIES", "PODS", "CALLS", "FAILED", "SILENT (s)"
    );
    for series in &all {
        let Series { workload, series, pods, calls, failed, longest_silence_s, failures, .. } = series;
        println!("{workload:<18} {series:<7} {pods:>4} {calls:>6} {failed:>6} {longest_silence_s:>10.1}");
        for (what, times) in failures {
            println!("    {times} × {what}");
        }
    }
    Ok(())
}

/// The sums of the calls made between two times, by workload and series.
pub(crate) fn sum(spec: &Spec, since: f64, until: f64) -> Result<Vec<Series>> {
    let mut all = BTreeMap::new();
    for path in logs(spec) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut parts = name.trim_end_matches(".log").splitn(3, '.');
        let (Some(workload), Some(_pod), Some(series)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let sum = all.entry((workload.to_owned(), series.to_owned())).or_insert_with(|| Series {
            workload: workload.to_owned(),
            series: series.to_owned(),
            ..Series::default()
        });
        add(sum, &text, since, until);
    }
    Ok(all.into_values().collect())
}

fn add(sum: &mut Series, text: &str, since: f64, until: f64) {
    let mut previous: Option<f64> = None;
    for line in text.lines() {
        let mut words = line.splitn(3, ' ');
        let (Some(at), Some(outcome), what) = (words.next(), words.next(), words.next().unwrap_or_default())
        else {
            continue;
        };
        let Some(at) = at.parse().ok().filter(|at| (since..until).contains(at)) else { continue };
        sum.calls += 1;
        if outcome == "ok" {
            sum.last_success = Some(sum.last_success.map_or(at, |last| last.max(at)));
        } else {
            sum.failed += 1;
            sum.first_failure = Some(sum.first_failure.map_or(at, |first| first.min(at)));
            sum.last_failure = Some(sum.last_failure.map_or(at, |last| last.max(at)));
            *sum.failures.entry(what.to_owned()).or_default() += 1;
        }
        if let Some(before) = previous {
            sum.longest_silence_s = sum.longest_silence_s.max(at - before);
        }
        previous = Some(at);
    }
    sum.pods += usize::from(previous.is_some());
}

/// The log files of all nodes, as the host sees them.
fn logs(spec: &Spec) -> Vec<PathBuf> {
    let mut paths: Vec<_> = spec
        .members()
        .flat_map(|node| fs::read_dir(spec.root(node).join("var/log/wl")).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_calls_failures_and_silence_in_the_time_asked_for() {
        let mut sum = Series::default();
        add(&mut sum, "9.0 fail 401\n10.0 ok 200\n11.0 fail 401\n14.5 ok 200\n20.0 ok 200\n", 10.0, 20.0);
        assert_eq!((sum.pods, sum.calls, sum.failed), (1, 3, 1));
        assert!((sum.longest_silence_s - 3.5).abs() < 1e-9);
        assert_eq!(sum.failures, BTreeMap::from([("401".to_owned(), 1)]));
        assert_eq!(sum.last_success, Some(14.5));
    }
}
