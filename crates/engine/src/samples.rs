//! What the availability probe saw, kept over all processes of a run.

use crate::availability::Sample;
use crate::run::Errand;
use crate::rundir::{RunDir, RunDirError};

/// Keeps what the probe saw beside what earlier processes of the same run have kept.
pub(crate) fn keep(run: &RunDir, samples: &[Sample], errand: Errand) -> Result<(), RunDirError> {
    let free = |number: &usize| !run.path().join(samples_file(*number, errand)).exists();
    let number = (1..).find(free).unwrap_or(1);
    run.write_json(&samples_file(number, errand), &samples)
}

/// All that was kept, or this process's own where nothing was.
pub(crate) fn all(run: &RunDir, own: Vec<Sample>, errand: Errand) -> Vec<Sample> {
    let mut all: Vec<Sample> = (1..)
        .map_while(|number| run.read_json::<Vec<Sample>>(&samples_file(number, errand)).ok())
        .flatten()
        .collect();
    if all.is_empty() {
        all = own;
    }
    all
}

fn samples_file(number: usize, errand: Errand) -> String {
    match errand {
        Errand::Undo => format!("probe-undo-{number}.json"),
        _ => format!("probe-{number}.json"),
    }
}
