//! The run's own probe: what clients of the API see while the run goes on.
//!
//! Every 50 ms a client opens a new connection to the cluster's public endpoint, reads and writes, and tries once more
//! if that fails. Until the barrier after *introduce* it is the client that knows nothing of the new PKI; from then until
//! trust is dropped both kinds take turns; from then on it is the updated one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use kubecert_core::report::{ApiReport, Bucket, ClientReport};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use crate::ports::{Availability, Clock, Credentials, Fault};

/// How often a request is made.
const EVERY: Duration = Duration::from_millis(50);
/// How many requests may be under way: two seconds' worth. If the API hangs, more would only add to its trouble.
const AT_ONCE: usize = 40;

/// One request, as kept in the run's `probe-<n>.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// When it began.
    pub(crate) at: Timestamp,
    /// When it ended.
    pub(crate) end: Timestamp,
    /// `old` or `updated`.
    pub(crate) client: String,
    /// Whether it succeeded, at the first or the second try.
    pub(crate) ok: bool,
    /// Whether the second try had no answer in time.
    #[serde(default)]
    pub(crate) timed_out: bool,
    /// Whether the first try failed, and why.
    pub(crate) first_error: Option<String>,
}

/// Which clients take part at the moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clients {
    pub(crate) old: Option<Credentials>,
    pub(crate) updated: Option<Credentials>,
}

/// A probe under way.
pub(crate) struct Probe {
    clients: watch::Sender<Clients>,
    stop: Arc<AtomicBool>,
    /// Its one task, which ends with it: whoever drops a run leaves nobody behind who goes on asking.
    task: JoinSet<Vec<Sample>>,
}

impl Probe {
    /// Begins to probe; `seen` is told of every request when it has ended.
    pub(crate) fn start(
        port: Arc<dyn Availability>,
        clock: Arc<dyn Clock>,
        clients: Clients,
        seen: impl FnMut(&Sample) + Send + 'static,
    ) -> Self {
        let (sender, receiver) = watch::channel(clients);
        let stop = Arc::new(AtomicBool::new(false));
        let mut task = JoinSet::new();
        task.spawn(probe(port, clock, receiver, stop.clone(), seen));
        Self { clients: sender, stop, task }
    }

    /// Changes who takes part.
    pub(crate) fn set(&self, clients: Clients) {
        self.clients.send_replace(clients);
    }

    /// Ends the probe and gives what it saw.
    pub(crate) async fn end(mut self) -> Vec<Sample> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.join_next().await.and_then(Result::ok).unwrap_or_default()
    }
}

async fn probe(
    port: Arc<dyn Availability>,
    clock: Arc<dyn Clock>,
    clients: watch::Receiver<Clients>,
    stop: Arc<AtomicBool>,
    mut seen: impl FnMut(&Sample),
) -> Vec<Sample> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let number = Arc::new(AtomicU64::new(0));
    let mut under_way = JoinSet::new();
    let mut samples = Vec::new();
    let mut take = |sample: Result<Sample, JoinError>| {
        if let Ok(sample) = sample {
            seen(&sample);
            samples.push(sample);
        }
    };
    let mut turn = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        while let Some(sample) = under_way.try_join_next() {
            take(sample);
        }
        let taking_part: Vec<(&str, Credentials)> = {
            let clients = clients.borrow();
            let old = clients.old.clone().map(|credentials| ("old", credentials));
            let updated = clients.updated.clone().map(|credentials| ("updated", credentials));
            old.into_iter().chain(updated).collect()
        };
        turn += 1;
        let Some((client, credentials)) = taking_part.get(turn % taking_part.len().max(1)).cloned() else {
            continue;
        };
        let Ok(permit) = room.clone().try_acquire_owned() else { continue };
        let (port, clock) = (port.clone(), clock.clone());
        let number = number.fetch_add(1, Ordering::Relaxed);
        under_way.spawn(async move {
            let sample = once(port.as_ref(), clock.as_ref(), client, &credentials, number).await;
            drop(permit);
            sample
        });
    }
    while let Some(sample) = under_way.join_next().await {
        take(sample);
    }
    samples.sort_by_key(|sample| sample.end);
    samples
}

async fn once(
    port: &dyn Availability,
    clock: &dyn Clock,
    client: &str,
    credentials: &Credentials,
    number: u64,
) -> Sample {
    let at = clock.now();
    let first = port.once(credentials, number).await;
    let (last, first_error) = match first {
        Ok(()) => (Ok(()), None),
        Err(error) => (port.once(credentials, number).await, Some(error.to_string())),
    };
    let timed_out = last.as_ref().is_err_and(|error| error.fault == Fault::Timeout);
    Sample { at, end: clock.now(), client: client.to_owned(), ok: last.is_ok(), timed_out, first_error }
}

/// Sums up what was seen.
pub(crate) fn summary(samples: &[Sample], started: Timestamp) -> ApiReport {
    let since = |time: Timestamp| time.duration_since(started).as_millis().max(0) as u64;
    let mut times: Vec<u64> = samples
        .iter()
        .filter(|sample| sample.ok)
        .map(|sample| since(sample.end) - since(sample.at).min(since(sample.end)))
        .collect();
    times.sort_unstable();
    let quantile = |per_mille: usize| {
        times.get((times.len() * per_mille / 1000).min(times.len().saturating_sub(1))).copied().unwrap_or(0)
    };
    let clients = ["old", "updated"]
        .into_iter()
        .map(|client| {
            let of: Vec<&Sample> = samples.iter().filter(|sample| sample.client == client).collect();
            ClientReport {
                client: client.to_owned(),
                requests: of.len() as u64,
                failed: of.iter().filter(|sample| !sample.ok).count() as u64,
                longest_gap_ms: longest_gap(of.into_iter(), since),
            }
        })
        .filter(|client| client.requests > 0)
        .collect();
    // From the first request on: before it nobody asked, and nothing can be said.
    let first = samples.iter().map(|sample| since(sample.at) / 1000).min().unwrap_or(0);
    let mut timeline: Vec<Bucket> = Vec::new();
    for sample in samples {
        let index = (since(sample.at) / 1000 - first) as usize;
        while timeline.len() <= index {
            timeline.push(Bucket { second: first + timeline.len() as u64, ..Bucket::default() });
        }
        let bucket = &mut timeline[index];
        if sample.ok {
            bucket.ok += 1;
            let took = u32::try_from(since(sample.end).saturating_sub(since(sample.at))).unwrap_or(u32::MAX);
            bucket.slowest_ms = bucket.slowest_ms.max(took);
        } else {
            bucket.failed += 1;
        }
    }
    ApiReport {
        requests: samples.len() as u64,
        failed: samples.iter().filter(|sample| !sample.ok).count() as u64,
        timed_out: samples.iter().filter(|sample| sample.timed_out).count() as u64,
        failed_first_try: samples.iter().filter(|sample| sample.first_error.is_some()).count() as u64,
        longest_gap_ms: longest_gap(samples.iter(), since),
        median_ms: quantile(500),
        p99_ms: quantile(990),
        clients,
        timeline,
    }
}

/// The longest time between two successes. Samples come in the order of their ends.
fn longest_gap<'a>(samples: impl Iterator<Item = &'a Sample>, since: impl Fn(Timestamp) -> u64) -> u64 {
    let ends: Vec<u64> = samples.filter(|sample| sample.ok).map(|sample| since(sample.end)).collect();
    ends.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_failures_and_buckets_are_counted() {
        let time = |ms: i64| Timestamp::from_millisecond(ms).unwrap();
        let sample = |at: i64, end: i64, ok: bool| Sample {
            at: time(at),
            end: time(end),
            client: "old".to_owned(),
            ok,
            timed_out: end - at >= 2_000,
            first_error: (!ok).then(|| "refused".to_owned()),
        };
        let late = sample(60, 2_060, false);
        let samples = [sample(0, 10, true), sample(50, 60, false), sample(1_200, 1_260, true), late];
        let report = summary(&samples, time(0));
        assert_eq!((report.requests, report.failed, report.longest_gap_ms), (4, 2, 1_250));
        assert_eq!(report.timed_out, 1);
        assert_eq!(report.timeline.len(), 2);
        assert_eq!(
            (report.timeline[0].ok, report.timeline[0].failed, report.timeline[1].slowest_ms),
            (1, 2, 60)
        );
        assert_eq!(report.clients.len(), 1);
    }
}
