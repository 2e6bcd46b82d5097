//! The cluster's time, which may run faster than tokio's.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kubecert_engine::ports::Clock;
use tokio::time::Instant;

/// Turns tokio's time into the cluster's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VirtualTime {
    began: Instant,
    start: Timestamp,
    factor: f64,
}

impl VirtualTime {
    pub(crate) fn new(start: Timestamp, factor: f64) -> Self {
        Self { began: Instant::now(), start, factor }
    }

    /// How long the cluster has lived.
    pub(crate) fn age(&self) -> Duration {
        self.began.elapsed().mul_f64(self.factor)
    }

    /// Waits for a span of the cluster's time.
    pub(crate) async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span.div_f64(self.factor)).await;
    }
}

/// The moment at which a cluster that was made at `start` has that age.
pub(crate) fn moment(start: Timestamp, age: Duration) -> Timestamp {
    let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::ZERO);
    start.checked_add(age).unwrap_or(start)
}

impl Clock for VirtualTime {
    fn now(&self) -> Timestamp {
        moment(self.start, self.age())
    }
}
