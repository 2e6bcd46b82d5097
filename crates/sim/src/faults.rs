//! What goes wrong, and when: counted in calls of ports.

use std::collections::BTreeMap;

/// What happens at a call of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The call fails before it has done anything.
    FailsBefore,
    /// The call does its work, but the answer is lost.
    AnswerLost,
    /// The caller is cut off before the call has done anything: the call never returns, and
    /// [`crate::SimCluster::cut_off`] does.
    CutOffBefore,
    /// The caller is cut off after the call has done its work.
    CutOffAfter,
}

/// When what happens.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// How many calls there were.
    pub(crate) calls: u64,
    due: BTreeMap<u64, Trouble>,
    /// Whether the caller was cut off: nothing that it does has an effect any more.
    pub(crate) cut_off: bool,
}

impl Faults {
    /// Counts a call, and says what happens to it.
    pub(crate) fn next(&mut self) -> Option<Trouble> {
        self.calls += 1;
        self.due.remove(&self.calls)
    }

    pub(crate) fn plan(&mut self, call: u64, trouble: Trouble) {
        self.due.insert(call, trouble);
    }
}
