//! Who trusts whom at one stage.

use std::cmp::Ordering;

use askama::Template;
use kubecert_core::report::{TrustEdge, TrustStage};

use super::round;

const WIDTH: f64 = 348.0;
const BOX: f64 = 96.0;
const LINE: f64 = 14.0;
const ROW: f64 = 54.0;
const TOP: f64 = 12.0;

/// Characters of a name in a line, and lines.
const GLYPHS: usize = 14;
const LINES: usize = 3;

/// The picture of one stage.
#[derive(Debug, Template)]
#[template(path = "trust.svg")]
pub(in crate::render) struct Trust {
    /// `before`, `during` or `after`.
    pub(in crate::render) stage: String,
    width: f64,
    height: f64,
    label: String,
    boxes: Vec<Box>,
    lines: Vec<Line>,
}

/// A group of components.
#[derive(Debug)]
struct Box {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    middle: f64,
    words: Vec<Word>,
}

#[derive(Debug)]
struct Word {
    y: f64,
    text: String,
}

/// A client that calls a server.
#[derive(Debug)]
struct Line {
    class: &'static str,
    path: String,
    title: String,
}

/// Which PKI a connection depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::render) enum Rests {
    /// Both ends know the old one only.
    Old,
    /// At least one end knows both.
    Both,
    /// Both ends know the new one only.
    New,
    /// One end knows the old one only and the other the new one only: this does not work.
    Broken,
}

impl Rests {
    /// What the connection rests on.
    pub(in crate::render) fn of(edge: &TrustEdge) -> Self {
        let pairs =
            [(&edge.client_trusts, &edge.server_presents), (&edge.server_trusts, &edge.client_presents)];
        let broken = |&&(trusts, presents): &&(&String, &String)| match (trusts.as_str(), presents.as_str()) {
            ("old", presents) => presents == "new",
            ("new", presents) => presents == "old",
            _ => false,
        };
        if pairs.iter().any(|pair| broken(&pair)) {
            return Rests::Broken;
        }
        let all = |generation: &str| {
            pairs
                .iter()
                .flat_map(|&(one, other)| [one, other])
                .all(|text| text.is_empty() || text == generation)
        };
        match (all("old"), all("new")) {
            (true, _) => Rests::Old,
            (_, true) => Rests::New,
            _ => Rests::Both,
        }
    }

    const fn class(self) -> &'static str {
        match self {
            Rests::Old => "t-old",
            Rests::Both => "t-both",
            Rests::New => "t-new",
            Rests::Broken => "t-broken",
        }
    }
}

/// One edge in words.
pub(in crate::render) fn words(edge: &TrustEdge) -> String {
    let to = format!("trusts {}, is shown {}", edge.client_trusts, edge.server_presents);
    if edge.client_presents.is_empty() {
        return to;
    }
    format!("{to}; presents {} to a server that trusts {}", edge.client_presents, edge.server_trusts)
}

impl Trust {
    /// The picture of a stage. All stages of a report place their groups alike if `all` holds the edges of every stage.
    pub(in crate::render) fn new(stage: &TrustStage, all: &[TrustStage]) -> Self {
        let columns = columns(all);
        let rows = columns.iter().map(Vec::len).max().unwrap_or(1).max(1);
        let inner = rows as f64 * ROW;
        let mut boxes = Vec::new();
        let mut places: Vec<(String, Place)> = Vec::new();
        for (column, names) in columns.iter().enumerate() {
            let x = column as f64 * (WIDTH - BOX) / 2.0;
            let gap = inner / names.len().max(1) as f64;
            for (row, name) in names.iter().enumerate() {
                let middle = TOP + gap * (row as f64 + 0.5);
                // The group in the middle is tall, so that its many connections arrive apart from one another.
                let least = if column == 1 { inner * 0.55 } else { 0.0 };
                let group = group(name, x, middle, least);
                places.push((name.clone(), Place { column, x, y: middle, height: group.height }));
                boxes.push(group);
            }
        }
        let place = |name: &String| places.iter().find(|(other, _)| other == name).map(|(_, place)| *place);
        let ends: Vec<Ends> = stage
            .edges
            .iter()
            .filter_map(|edge| {
                Some(Ends { edge, client: place(&edge.client)?, server: place(&edge.server)? })
            })
            .collect();
        let lines = ends.iter().map(|end| line(end, &ends)).collect();
        Self {
            stage: stage.stage.clone(),
            width: WIDTH,
            height: round(inner + 2.0 * TOP),
            label: format!("Who trusts whom {} the run; the table below says the same in words", stage.stage),
            boxes,
            lines,
        }
    }
}

/// Where a group stands.
#[derive(Clone, Copy)]
struct Place {
    column: usize,
    x: f64,
    y: f64,
    height: f64,
}

/// A connection with the places of its ends.
struct Ends<'a> {
    edge: &'a TrustEdge,
    client: Place,
    server: Place,
}

/// A side of a group.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

impl Ends<'_> {
    /// The sides at which the connection leaves the client and arrives at the server; `None` within one column.
    fn sides(&self) -> Option<(Side, Side)> {
        match self.client.column.cmp(&self.server.column) {
            Ordering::Less => Some((Side::Right, Side::Left)),
            Ordering::Greater => Some((Side::Left, Side::Right)),
            Ordering::Equal => None,
        }
    }

    /// For an end at this side of this group: the height of the other end, by which ends are ordered, twice, since a
    /// group may be at both ends.
    fn at<'s>(&'s self, name: &str, side: Side) -> impl Iterator<Item = (f64, bool)> + use<'s> {
        let sides = self.sides();
        let leaves = sides.is_some_and(|(from, _)| from == side) && self.edge.client == name;
        let arrives = sides.is_some_and(|(_, to)| to == side) && self.edge.server == name;
        [leaves.then_some((self.server.y, true)), arrives.then_some((self.client.y, false))]
            .into_iter()
            .flatten()
    }
}

/// The height at which an end of a connection meets its group: ends on one side are spread in the order of their other
/// ends, so that they do not cross.
fn port(name: &str, place: Place, side: Side, this: &Ends<'_>, leaving: bool, all: &[Ends<'_>]) -> f64 {
    let other = if leaving { this.server.y } else { this.client.y };
    let mut ends: Vec<(f64, bool)> = all.iter().flat_map(|end| end.at(name, side)).collect();
    // Of two connections between the same groups each keeps its place at both ends.
    let last = |leaving: bool| leaving == (side == Side::Left);
    ends.sort_by(|one, other| one.0.total_cmp(&other.0).then(last(one.1).cmp(&last(other.1))));
    let index = ends.iter().position(|&end| end == (other, leaving)).unwrap_or(0);
    let room = (place.height - 8.0).max(0.0);
    place.y - room / 2.0 + room * (index as f64 + 0.5) / ends.len().max(1) as f64
}

/// Clients left, the group with most connections in the middle, servers right.
fn columns(stages: &[TrustStage]) -> [Vec<String>; 3] {
    let mut names: Vec<String> = Vec::new();
    let edges: Vec<&TrustEdge> = stages.iter().flat_map(|stage| &stage.edges).collect();
    for name in edges.iter().flat_map(|edge| [&edge.client, &edge.server]) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let degree =
        |name: &String| edges.iter().filter(|edge| (&edge.client == name) != (&edge.server == name)).count();
    // Of equals the first, so that the picture does not depend on chance.
    let Some(hub) = names.iter().rev().max_by_key(|name| degree(name)).cloned() else {
        return [Vec::new(), Vec::new(), Vec::new()];
    };
    let serves = |name: &String| edges.iter().any(|edge| &edge.server == name);
    let (right, left) = names.into_iter().filter(|name| *name != hub).partition(serves);
    [left, vec![hub], right]
}

fn group(name: &str, x: f64, middle: f64, least: f64) -> Box {
    let lines = wrap(name);
    let height = (lines.len() as f64 * LINE + 10.0).max(least);
    let first = middle - (lines.len() as f64 - 1.0) * LINE / 2.0 + 4.0;
    let words = lines.into_iter().enumerate();
    Box {
        x: round(x),
        y: round(middle - height / 2.0),
        width: BOX,
        height: round(height),
        middle: round(x + BOX / 2.0),
        words: words.map(|(index, text)| Word { y: round(first + index as f64 * LINE), text }).collect(),
    }
}

fn line(ends: &Ends<'_>, all: &[Ends<'_>]) -> Line {
    let Ends { edge, client, server } = ends;
    let path = match ends.sides() {
        Some((from, to)) => {
            let at = |side, place: &Place| if side == Side::Right { place.x + BOX } else { place.x };
            // Arrowheads need room before the box.
            let head = if to == Side::Right { 3.0 } else { -3.0 };
            let leave = port(&edge.client, *client, from, ends, true, all);
            let arrive = port(&edge.server, *server, to, ends, false, all);
            curve(at(from, client), leave, at(to, server) + head, arrive)
        }
        // Members of one group among themselves: a loop above it.
        None if edge.client == edge.server => {
            let (x, y) = (client.x + BOX / 2.0 - 9.0, client.y - client.height / 2.0);
            format!("M{} {}c-10 -22 28 -22 18 -3", round(x), round(y))
        }
        None => {
            let x = client.x + BOX;
            format!("M{x} {}c18 0 18 {1} 3 {1}", round(client.y), round(server.y - client.y))
        }
    };
    let title = format!("{} to {}: {}", edge.client, edge.server, words(edge));
    Line { class: Rests::of(edge).class(), path, title }
}

fn curve(x1: f64, y1: f64, x2: f64, y2: f64) -> String {
    let bend = (x2 - x1) / 2.0;
    let [x1, y1, x2, y2, c1, c2] = [x1, y1, x2, y2, x1 + bend, x2 - bend].map(round);
    format!("M{x1} {y1}C{c1} {y1} {c2} {y2} {x2} {y2}")
}

/// Breaks a name at spaces into short lines.
fn wrap(name: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in name.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= GLYPHS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.truncate(LINES);
    lines.into_iter().map(|line| crate::human::numbers::cut(&line, GLYPHS + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    #[test]
    fn the_busiest_group_is_in_the_middle() {
        let [left, middle, right] = columns(&sample::report().trust);
        assert_eq!(middle, ["API servers"]);
        assert_eq!(left, ["administrators", "controller managers", "schedulers", "kube-proxies", "pods"]);
        assert_eq!(right, ["kubelets", "etcd", "aggregated APIs"]);
    }

    #[test]
    fn a_mismatch_is_broken_and_a_cross_certificate_is_not() {
        let edge = |trusts: &str, presents: &str| TrustEdge {
            client: "a".to_owned(),
            server: "b".to_owned(),
            client_trusts: trusts.to_owned(),
            server_presents: presents.to_owned(),
            server_trusts: String::new(),
            client_presents: String::new(),
        };
        for (trusts, presents, rests) in [
            ("old", "old", Rests::Old),
            ("old", "new+cross", Rests::Both),
            ("old", "new", Rests::Broken),
            ("old+new", "new", Rests::Both),
            ("new", "new+cross", Rests::Both),
            ("new", "old", Rests::Broken),
            ("new", "new", Rests::New),
        ] {
            assert_eq!(Rests::of(&edge(trusts, presents)), rests, "{trusts} {presents}");
        }
    }
}
