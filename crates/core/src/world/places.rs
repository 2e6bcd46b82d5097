//! Where things are in a world, so that thousands of nodes need no search for each effect.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use crate::model::{Component, Node, NodeName};

use super::process::Process;
use super::source::{Kind, Slot};

/// Positions of nodes and processes. No run changes them: processes end and start, but each stays in its place.
#[derive(Debug)]
pub(super) struct Places {
    nodes: HashMap<NodeName, usize>,
    /// The processes of each node, which stand side by side.
    processes: Vec<Range<usize>>,
    components: BTreeMap<Component, Vec<usize>>,
    /// Processes that use a token of their own. One that does not at the beginning never does.
    token_holders: Vec<usize>,
}

impl Places {
    /// `processes` stand in the order of `nodes`, and `counts` says how many each node has.
    pub(super) fn new(nodes: &[Node], counts: &[usize], processes: &[Process]) -> Self {
        let mut places = Self {
            nodes: HashMap::with_capacity(nodes.len()),
            processes: Vec::with_capacity(nodes.len()),
            components: BTreeMap::new(),
            token_holders: Vec::new(),
        };
        let mut begin = 0;
        for (position, (node, count)) in nodes.iter().zip(counts).enumerate() {
            places.nodes.entry(node.name.clone()).or_insert(position);
            places.processes.push(begin..begin + count);
            begin += count;
        }
        for (at, process) in processes.iter().enumerate() {
            if let Kind::Component(component) = process.who.kind {
                places.components.entry(component).or_default().push(at);
            }
            if process.possible(Slot::Token).is_some() {
                places.token_holders.push(at);
            }
        }
        places
    }

    pub(super) fn node(&self, node: &NodeName) -> Option<usize> {
        self.nodes.get(node).copied()
    }

    /// The processes of a node; none of one that is not known.
    pub(super) fn on(&self, node: &NodeName) -> Range<usize> {
        self.node(node).map_or(0..0, |position| self.processes[position].clone())
    }

    pub(super) fn of(&self, component: Component) -> &[usize] {
        self.components.get(&component).map_or(&[], Vec::as_slice)
    }

    pub(super) fn token_holders(&self) -> &[usize] {
        &self.token_holders
    }
}
