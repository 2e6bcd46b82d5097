//! What each node did when.

use askama::Template;
use kubecert_core::report::{Report, StepReport};

use super::{Band, Page, Scale, Tick, bands, phase_class, round};
use crate::human::numbers::cut;
use crate::human::plural::{self, count};
use crate::human::time;

const HEAD: f64 = 34.0;
const ROW: f64 = 15.0;
const BAR: f64 = 12.0;
const BETWEEN: f64 = 9.0;

/// Lanes that are drawn at most. Beyond that a picture says less than the table of steps.
const LANES: usize = 60;

/// Rows that one lane may take; steps that would need more share the last.
const ROWS: usize = 6;

/// The picture.
#[derive(Debug, Template)]
#[template(path = "gantt.svg")]
pub(in crate::render) struct Gantt {
    class: &'static str,
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    label: String,
    bands: Vec<Band>,
    ticks: Vec<Tick>,
    lanes: Vec<Lane>,
    bottom: f64,
    /// How many lanes were left out.
    pub(in crate::render) left_out: usize,
}

#[derive(Debug)]
struct Lane {
    name: String,
    name_x: f64,
    name_y: f64,
    name_class: &'static str,
    line_y: f64,
    bars: Vec<Bar>,
}

#[derive(Debug)]
struct Bar {
    class: &'static str,
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    title: String,
    text: String,
    text_x: f64,
    text_y: f64,
}

impl Gantt {
    /// The picture, or nothing where no step was done.
    pub(in crate::render) fn new(report: &Report, page: Page) -> Option<Self> {
        if report.steps.is_empty() {
            return None;
        }
        let targets = targets(report);
        let longest = targets.iter().map(|target| target.chars().count()).max().unwrap_or(0).min(30);
        let (left, right) = match page {
            Page::Wide => (longest as f64 * 6.6 + 14.0, page.width() - 8.0),
            // Names stand above the lanes there.
            Page::Narrow => (4.0, page.width() - 4.0),
        };
        let scale = Scale::new(report, left, right);
        let (apart, glyph) = if page == Page::Wide { (70.0, 7.0) } else { (56.0, 6.2) };
        let mut lanes = Vec::new();
        let mut y = HEAD;
        for target in targets.iter().take(LANES) {
            let steps: Vec<&StepReport> = report.steps.iter().filter(|step| &step.target == target).collect();
            let (lane, height) = lane(target, &steps, scale, page, y);
            lanes.push(lane);
            y += height + BETWEEN;
        }
        Some(Self {
            class: page.class(),
            width: page.width(),
            height: round(y + 22.0),
            left,
            right,
            label: format!(
                "{} on {} over {}",
                count(report.steps.len(), plural::STEP),
                count(targets.len(), plural::PLACE),
                time::seconds(report.wall_s),
            ),
            bands: bands(report, scale, glyph),
            ticks: scale.ticks(apart),
            lanes,
            bottom: round(y),
            left_out: targets.len().saturating_sub(LANES),
        })
    }
}

/// Where steps were done: nodes in the order in which the plan first names them, then what is not a node.
fn targets(report: &Report) -> Vec<String> {
    let mut targets: Vec<String> = Vec::new();
    let mut steps: Vec<&StepReport> = report.steps.iter().collect();
    steps.sort_by_key(|step| step.id);
    for step in steps {
        if !targets.contains(&step.target) {
            targets.push(step.target.clone());
        }
    }
    let not_a_node = |target: &String| {
        ["API", "etcd", "here"].iter().position(|name| name == target).map_or(0, |at| at + 1)
    };
    targets.sort_by_key(not_a_node);
    targets
}

fn lane(target: &str, steps: &[&StepReport], scale: Scale, page: Page, top: f64) -> (Lane, f64) {
    let mut steps = steps.to_vec();
    steps.sort_by(|one, other| one.start_s.total_cmp(&other.start_s));
    let head = if page == Page::Wide { 0.0 } else { 14.0 };
    // The x at which each row is free again: steps that overlap are put below one another.
    let mut free: Vec<f64> = Vec::new();
    let bars = steps
        .iter()
        .map(|step| {
            let x = scale.x(step.start_s);
            let width = round((scale.x(step.start_s + step.wall_s) - x).max(2.0));
            let row = free.iter().position(|&until| until <= x + 0.5).unwrap_or_else(|| {
                if free.len() < ROWS {
                    free.push(0.0);
                }
                free.len() - 1
            });
            free[row] = x + width;
            bar(step, x, round(top + head + row as f64 * ROW), width, page)
        })
        .collect();
    let height = head + free.len().max(1) as f64 * ROW;
    let lane = match page {
        Page::Wide => Lane {
            name: cut(target, 30),
            name_x: scale.left - 10.0,
            name_y: round(top + (height - (ROW - BAR)) / 2.0 + 4.0),
            name_class: "lane end",
            line_y: round(top + height + BETWEEN / 2.0 - 1.5),
            bars,
        },
        Page::Narrow => Lane {
            name: cut(target, 48),
            name_x: scale.left,
            name_y: round(top + 9.0),
            name_class: "lane",
            line_y: round(top + height + BETWEEN / 2.0 - 1.5),
            bars,
        },
    };
    (lane, height)
}

fn bar(step: &StepReport, x: f64, y: f64, width: f64, page: Page) -> Bar {
    let tries = if step.attempts > 1 {
        format!(", {}", count(step.attempts as usize, plural::TRY))
    } else {
        String::new()
    };
    let glyphs = ((width - 6.0) / 5.6).max(0.0) as usize;
    // Half a title is worse than none, unless it is most of it.
    let text = match page {
        Page::Wide if step.title.chars().count() <= glyphs => step.title.clone(),
        Page::Wide if glyphs >= 12 => cut(&step.title, glyphs),
        _ => String::new(),
    };
    Bar {
        class: phase_class(step.phase),
        x,
        y,
        width,
        height: BAR,
        title: format!(
            "{}: {} ({} from {}{tries})",
            step.target,
            step.title,
            time::seconds(step.wall_s),
            time::seconds(step.start_s),
        ),
        text,
        text_x: round(x + 3.5),
        text_y: round(y + 9.2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    #[test]
    fn nodes_come_first_and_overlapping_steps_do_not_cover_one_another() {
        let gantt = Gantt::new(&sample::report(), Page::Wide).unwrap();
        let names: Vec<&str> = gantt.lanes.iter().map(|lane| lane.name.as_str()).collect();
        assert_eq!(names[5..], ["API", "etcd", "here"]);
        for lane in &gantt.lanes {
            for (index, one) in lane.bars.iter().enumerate() {
                for other in &lane.bars[index + 1..] {
                    let apart = one.x + one.width <= other.x + 0.6 || other.x + other.width <= one.x + 0.6;
                    assert!(one.y != other.y || apart, "{} / {}", one.title, other.title);
                }
            }
        }
    }

    #[test]
    fn hundreds_of_nodes_stay_legible() {
        let mut report = sample::report();
        for index in 0..200 {
            let mut step = report.steps[0].clone();
            step.target = format!("agent-{index}");
            report.steps.push(step);
        }
        let gantt = Gantt::new(&report, Page::Wide).unwrap();
        assert_eq!((gantt.lanes.len(), gantt.left_out), (LANES, 148));
    }
}
