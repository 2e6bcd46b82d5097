//! Processes, and what they may hold in memory.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::model::{Generation, LeafId, NodeName, Role};

use super::disk::Disk;
use super::source::{Kind, Loaded, Reload, Slot, Source, load};
use super::value::{Value, Values};

/// Which process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Who {
    /// The node it runs on.
    pub node: NodeName,
    /// What kind.
    pub kind: Kind,
    /// What its node is for.
    pub role: Role,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Component(component) => write!(f, "{component} on {}", self.node),
            Kind::Administrator => write!(f, "the administrator on {}", self.node),
        }
    }
}

/// Whether a process serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// It does.
    Serving,
    /// It was started, and nobody has seen it serve yet.
    Unproven,
    /// It has ended.
    Ended,
}

/// What a slot may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Field {
    /// What it holds if nothing restarts but what the plan restarts, and every reload that is due has happened.
    pub(super) expected: Values,
    /// What it may hold, whatever has restarted and however slow the reloads are. Contains `expected`.
    pub(super) possible: Values,
}

impl Field {
    const fn exactly(values: Values) -> Self {
        Self { expected: values, possible: values }
    }
}

/// A process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Which one.
    pub who: Arc<Who>,
    /// Whether it serves.
    pub health: Health,
    /// Where its slots come from.
    sources: Arc<Vec<Source>>,
    pub(super) fields: [Option<Field>; Slot::COUNT],
    /// Whose leaf a slot held when the run began; another one there is a mistake.
    leaves: Arc<Vec<(Slot, LeafId)>>,
    /// Files that changed since the last start that the plan brought about.
    pub(super) changed: Arc<BTreeSet<String>>,
    /// Files that were named from the beginning and are beyond what is modelled.
    foreign: Arc<BTreeSet<String>>,
}

impl Process {
    /// A process that has been running since before the run.
    pub(super) fn new(who: Who, sources: Vec<Source>, disk: &Disk) -> Self {
        let mut foreign = BTreeSet::new();
        let mut leaves = Vec::new();
        let mut fields = [None; Slot::COUNT];
        for source in &sources {
            match load(disk, &source.from) {
                Loaded::Value(value, leaf) => {
                    fields[source.slot as usize] = Some(Field::exactly(Values::one(value)));
                    leaves.extend(leaf.map(|leaf| (source.slot, leaf)));
                }
                Loaded::Torn | Loaded::Broken(_) => {
                    foreign.extend(source.from.paths().into_iter().map(ToOwned::to_owned));
                }
            }
        }
        Self {
            who: Arc::new(who),
            health: Health::Serving,
            sources: Arc::new(sources),
            fields,
            leaves: Arc::new(leaves),
            changed: Arc::default(),
            foreign: Arc::new(foreign),
        }
    }

    /// What a slot may hold; nothing if the process has no such slot.
    pub const fn possible(&self, slot: Slot) -> Option<Values> {
        match self.fields[slot as usize] {
            Some(field) => Some(field.possible),
            None => None,
        }
    }

    /// What a slot holds if nothing happens but what the plan brings about.
    pub fn expected(&self, slot: Slot) -> Option<Values> {
        self.fields[slot as usize].map(|field| field.expected)
    }

    /// What each slot may hold once every reload that is due has happened.
    #[cfg(test)]
    pub(crate) fn settled(&self) -> Vec<Option<Values>> {
        let reloads = |slot: usize| {
            self.sources.iter().any(|source| source.slot as usize == slot && source.reload != Reload::AtStart)
        };
        let settled = |(slot, field): (usize, &Option<Field>)| {
            field.map(|field| if reloads(slot) { field.expected } else { field.possible })
        };
        self.fields.iter().enumerate().map(settled).collect()
    }

    /// What all slots may hold, in a fixed order; those that the process does not have hold nothing.
    pub(crate) fn everything(&self) -> [Values; Slot::COUNT] {
        self.fields.map(|field| field.map_or_else(Values::default, |field| field.possible))
    }

    /// Whose leaf the slot is for.
    pub fn leaf(&self, slot: Slot) -> Option<&LeafId> {
        self.leaves.iter().find(|(of, _)| *of == slot).map(|(_, leaf)| leaf)
    }

    /// Whether a file, or one below a directory, is among those it reads.
    pub(crate) fn reads(&self, disk: &Disk, path: &str) -> bool {
        self.sources.iter().any(|source| source.from.reads(disk, path))
    }

    /// Sets a slot that no file stands behind.
    pub(super) const fn set(&mut self, slot: Slot, values: Values) {
        self.fields[slot as usize] = Some(Field::exactly(values));
    }

    /// Lets a slot be something else, too.
    pub(super) const fn may_also_be(&mut self, slot: Slot, values: Values) {
        if let Some(field) = &mut self.fields[slot as usize] {
            field.possible.join(values);
        }
    }

    /// Narrows a slot to what was seen, if that is what the process comes to hold by itself.
    pub(super) fn seen(&mut self, slot: Slot, value: Value) -> bool {
        match &mut self.fields[slot as usize] {
            Some(field) if field.expected == Values::one(value) => {
                field.possible = field.expected;
                true
            }
            _ => false,
        }
    }

    /// It has asked for a leaf and come to present it, or is about to; what it has asked with counts until it does. The
    /// files that hold the leaf are its own to write.
    pub(super) fn has_asked(&mut self, slot: Slot, value: Value, own: &[String]) {
        if let Some(field) = &mut self.fields[slot as usize] {
            field.expected = Values::one(value);
            field.possible.join(field.expected);
        }
        Arc::make_mut(&mut self.changed).retain(|path| !own.contains(path));
    }

    /// It was seen to hold a leaf of that generation where it keeps its own.
    pub(super) fn holds(&mut self, slot: Slot, generation: Generation) -> bool {
        let Some(field) = &mut self.fields[slot as usize] else { return false };
        let fits = field.expected.presented().all(|leaf| leaf.generation() == generation);
        if fits && field.expected.presented().next().is_some() {
            field.possible = field.expected;
            return true;
        }
        false
    }

    /// What it re-reads by itself of some files, it has read by now.
    pub(super) fn has_read(&mut self, disk: &Disk, files: &[String]) {
        for source in Arc::clone(&self.sources).iter().filter(|source| source.reload == Reload::Later) {
            let concerned = files.iter().any(|path| source.from.reads(disk, path));
            if let (true, Some(field)) = (concerned, &mut self.fields[source.slot as usize]) {
                field.possible = field.expected;
            }
        }
    }

    /// Whose leaves it presents, with what it comes to present by itself.
    pub(crate) fn presenting(&self) -> impl Iterator<Item = (&LeafId, Values)> {
        self.leaves.iter().filter_map(|(slot, leaf)| Some((leaf, self.fields[*slot as usize]?.expected)))
    }

    /// Its manifest changed.
    pub(super) fn placed(&mut self, path: &str) {
        Arc::make_mut(&mut self.changed).insert(path.to_owned());
    }

    /// A file on its disk changed. A pair that is half replaced is not taken: an API server keeps the pair it has
    /// (`dynamic_serving_content.go`, loadCertKeyPair), an etcd member fails that one handshake, which its clients
    /// repeat, and a process that starts at that moment is started again by kubelet or systemd until the pair fits.
    pub(super) fn notice(&mut self, disk: &Disk, path: &str) {
        Arc::make_mut(&mut self.changed).insert(path.to_owned());
        for source in Arc::clone(&self.sources).iter().filter(|source| source.from.reads(disk, path)) {
            if let Loaded::Value(value, _) = load(disk, &source.from) {
                self.hold(source, value);
            }
        }
    }

    fn hold(&mut self, source: &Source, value: Value) {
        let values = Values::one(value);
        match &mut self.fields[source.slot as usize] {
            Some(field) => match source.reload {
                Reload::AtStart => {
                    field.possible.join(values);
                }
                Reload::Later => {
                    field.possible.join(values);
                    field.expected = values;
                }
                Reload::Always => *field = Field::exactly(values),
            },
            empty => *empty = Some(Field::exactly(values)),
        }
    }

    /// It was seen to end; whatever runs from now on has read what is there now, from where `sources` say if they have
    /// changed.
    pub(super) fn end(&mut self, disk: &Disk, sources: Option<Vec<Source>>) {
        self.health = Health::Ended;
        if let Some(sources) = sources {
            self.sources = Arc::new(sources);
        }
        self.changed = Arc::default();
        let token = self.fields[Slot::Token as usize];
        let mut fields = [None; Slot::COUNT];
        fields[Slot::Token as usize] = token;
        for source in self.sources.iter() {
            fields[source.slot as usize] = match load(disk, &source.from) {
                Loaded::Value(value, _) => Some(Field::exactly(Values::one(value))),
                // Reported by `broken`; what it held before is the best guess at what it will hold.
                Loaded::Torn | Loaded::Broken(_) => self.fields[source.slot as usize],
            };
        }
        self.fields = fields;
    }

    /// Why the process would not come up if it were started now. A pair that is half replaced counts only if nobody is
    /// about to replace the other half.
    pub fn broken(&self, disk: &Disk, settled: bool) -> Vec<String> {
        let mut reasons = Vec::new();
        for source in self.sources.iter() {
            let reason = match load(disk, &source.from) {
                Loaded::Value(_, leaf) => match (leaf, self.leaf(source.slot)) {
                    (Some(leaf), Some(own)) if leaf != *own => {
                        format!("it would present {leaf} instead of {own}")
                    }
                    _ => continue,
                },
                Loaded::Torn if !settled => continue,
                Loaded::Torn => {
                    format!("{} do not belong together", source.from.paths().join(" and "))
                }
                Loaded::Broken(reason) => reason,
            };
            if !source.from.paths().iter().any(|path| self.foreign.contains(*path)) {
                reasons.push(reason);
            }
        }
        reasons
    }
}
