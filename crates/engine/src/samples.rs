//! What the availability probe saw, kept over all processes of a run, however they ended.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use crate::availability::Sample;
use crate::run::Errand;
use crate::rundir::RunDir;

/// How many samples are written at once: a second's worth, which is what a process that is killed loses.
const AT_ONCE: usize = 20;

/// Takes the samples of one process.
///
/// That they cannot be written stops nobody: a run whose disk is full has better reasons to stop, and the report of this
/// process has them from memory.
pub(crate) struct Recorder {
    file: Option<File>,
    lines: Vec<u8>,
    held: usize,
}

impl Recorder {
    /// Begins a file of this process's own in the run's directory.
    pub(crate) fn begin(run: &RunDir, errand: Errand) -> Self {
        let mut options = File::options();
        let options = options.create_new(true).append(true).mode(0o600);
        let file = (1..=MOST).find_map(|number| options.open(run.path().join(file(number, errand))).ok());
        Self { file, lines: Vec::new(), held: 0 }
    }

    /// Takes one.
    pub(crate) fn take(&mut self, sample: &Sample) {
        if serde_json::to_writer(&mut self.lines, sample).is_ok() {
            self.lines.push(b'\n');
            self.held += 1;
        }
        if self.held == AT_ONCE {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if let Some(file) = &mut self.file
            && file.write_all(&self.lines).is_err()
        {
            self.file = None;
        }
        self.lines.clear();
        self.held = 0;
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.flush();
    }
}

/// How many processes of one run are told apart.
const MOST: usize = 10_000;

/// What earlier processes of the run have kept and what this one saw, in the order of time.
pub(crate) fn all(run: &RunDir, own: Vec<Sample>, errand: Errand) -> Vec<Sample> {
    let files = (1..=MOST).map_while(|number| run.read(&file(number, errand)).ok());
    let kept = files.flat_map(|bytes| parse(&bytes));
    let mut all: Vec<Sample> = kept.collect();
    // What could not be written is not lost to this process.
    all.extend(own);
    all.sort_by_key(|sample| (sample.end, sample.at));
    all.dedup();
    all
}

/// The samples in a file whose last line may have been cut off.
fn parse(bytes: &[u8]) -> Vec<Sample> {
    bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

fn file(number: usize, errand: Errand) -> String {
    match errand {
        Errand::Undo => format!("probe-undo-{number}.jsonl"),
        _ => format!("probe-{number}.jsonl"),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use kubecert_core::model::RunId;

    use super::*;
    use crate::rundir::State;

    fn sample(ms: i64) -> Sample {
        let time = |ms| Timestamp::from_millisecond(ms).unwrap();
        let client = "old".to_owned();
        Sample { at: time(ms), end: time(ms + 10), client, ok: true, timed_out: false, first_error: None }
    }

    #[test]
    fn samples_of_all_processes_are_told_once_each() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(&directory.path().join("c")).unwrap();
        let run = state.create(RunId::new("01A")).unwrap();
        let mut killed = Recorder::begin(&run, Errand::Rotate);
        (0..25).for_each(|number| killed.take(&sample(number * 50)));
        // A process that is killed does not get to write what it holds.
        killed.lines.clear();
        drop(killed);
        let cut = run.path().join("probe-1.jsonl");
        let mut bytes = std::fs::read(&cut).unwrap();
        bytes.truncate(bytes.len() - 5);
        std::fs::write(&cut, bytes).unwrap();
        let mut second = Recorder::begin(&run, Errand::Rotate);
        let own: Vec<Sample> = (40..50).map(|number| sample(number * 50)).collect();
        own.iter().for_each(|sample| second.take(sample));
        drop(second);
        let all = all(&run, own, Errand::Rotate);
        assert_eq!(all.len(), 19 + 10);
        assert!(all.is_sorted_by_key(|sample| sample.end));
    }
}
