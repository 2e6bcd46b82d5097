//! Availability of the API under the phases.

use askama::Template;
use kubecert_core::report::{Bucket, Report};

use super::{Band, Page, Scale, Tick, bands, round};
use crate::human::time;

const BARS_TOP: f64 = 36.0;
const BARS: f64 = 84.0;
const LATENCY_TOP: f64 = 146.0;
const LATENCY: f64 = 56.0;
const AXIS: f64 = LATENCY_TOP + LATENCY;

/// Columns are at least this wide; a longer run puts several seconds into one.
const COLUMN: f64 = 3.0;

/// The picture.
#[derive(Debug, Template)]
#[template(path = "timeline.svg")]
pub(in crate::render) struct Timeline {
    class: &'static str,
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    label: String,
    bands: Vec<Band>,
    ticks: Vec<Tick>,
    columns: Vec<Column>,
    most: String,
    latency_line: String,
    latency_area: String,
    slowest: String,
    bars_base: f64,
    axis: f64,
}

/// What one column shows.
#[derive(Debug)]
struct Column {
    x: f64,
    width: f64,
    ok_y: f64,
    ok: f64,
    failed_y: f64,
    failed: f64,
    /// `None`: asked and answered. Otherwise the class of the column's ground.
    ground: Option<&'static str>,
    title: String,
}

impl Timeline {
    /// The picture, or nothing where the API was not probed.
    pub(in crate::render) fn new(report: &Report, page: Page) -> Option<Self> {
        if report.api.timeline.is_empty() {
            return None;
        }
        let (left, right) = match page {
            Page::Wide => (58.0, page.width() - 8.0),
            Page::Narrow => (42.0, page.width() - 4.0),
        };
        let scale = Scale::new(report, left, right);
        let (apart, glyph) = if page == Page::Wide { (70.0, 7.0) } else { (52.0, 6.2) };
        let slots = gather(report, scale);
        let most = slots.iter().filter_map(|slot| slot.seen.as_ref()).map(Seen::rate).fold(0.0, f64::max);
        let slowest =
            slots.iter().filter_map(|slot| slot.seen.as_ref()).map(|seen| seen.slowest_ms).max().unwrap_or(0);
        let lines = latency(&slots, scale, slowest);
        let api = &report.api;
        Some(Self {
            class: page.class(),
            width: page.width(),
            height: AXIS + 24.0,
            left,
            right,
            label: format!(
                "Requests to the API over the run: {} made, {} failed, the longest time between two answers {}",
                api.requests,
                api.failed,
                time::millis(api.longest_gap_ms),
            ),
            bands: bands(report, scale, glyph),
            ticks: scale.ticks(apart),
            columns: slots.iter().map(|slot| column(slot, scale, most)).collect(),
            most: format!("{most:.0}/s"),
            latency_line: lines.0,
            latency_area: lines.1,
            slowest: time::millis(u64::from(slowest)).replace(' ', "\u{a0}"),
            bars_base: BARS_TOP + BARS,
            axis: AXIS,
        })
    }
}

/// One or more seconds.
struct Slot {
    from: u64,
    to: u64,
    seen: Option<Seen>,
}

/// What the probe saw in them.
#[derive(Default)]
struct Seen {
    seconds: u32,
    ok: u32,
    failed: u32,
    slowest_ms: u32,
    /// Seconds in which nothing was answered.
    silent: u32,
}

impl Seen {
    fn add(&mut self, bucket: &Bucket) {
        self.seconds += 1;
        self.ok += bucket.ok;
        self.failed += bucket.failed;
        self.slowest_ms = self.slowest_ms.max(bucket.slowest_ms);
        self.silent += u32::from(bucket.ok == 0);
    }

    fn rate(&self) -> f64 {
        f64::from(self.ok + self.failed) / f64::from(self.seconds.max(1))
    }
}

fn gather(report: &Report, scale: Scale) -> Vec<Slot> {
    let seconds = scale.seconds.ceil() as u64;
    let span = (COLUMN / scale.length(1.0)).ceil().max(1.0) as u64;
    let mut slots: Vec<Slot> = (0..seconds.div_ceil(span))
        .map(|slot| Slot { from: slot * span, to: ((slot + 1) * span).min(seconds), seen: None })
        .collect();
    for bucket in &report.api.timeline {
        if let Some(slot) = slots.get_mut((bucket.second / span) as usize) {
            slot.seen.get_or_insert_default().add(bucket);
        }
    }
    // The last second of a run is hardly ever a whole one; that its tail was not probed is no gap.
    while slots
        .last()
        .is_some_and(|slot| slot.seen.is_none() && slot.from as f64 + 1.0 >= report.wall_s.floor())
    {
        slots.pop();
    }
    slots
}

fn column(slot: &Slot, scale: Scale, most: f64) -> Column {
    let x = scale.x(slot.from as f64);
    let width = round((scale.x(slot.to as f64) - x).max(1.0));
    let base = BARS_TOP + BARS;
    let span = match slot.to - slot.from {
        1 => format!("{} s", slot.from),
        _ => format!("{} to {} s", slot.from, slot.to),
    };
    let empty = |ground, what: &str| Column {
        x,
        width,
        ok_y: base,
        ok: 0.0,
        failed_y: base,
        failed: 0.0,
        ground: Some(ground),
        title: format!("{span}: {what}"),
    };
    let Some(seen) = &slot.seen else {
        return empty("unknown", "not measured");
    };
    let per_second = |requests: u32| f64::from(requests) / f64::from(seen.seconds.max(1));
    let height = |requests: u32| if most > 0.0 { round(BARS * per_second(requests) / most) } else { 0.0 };
    let ok = height(seen.ok);
    // A single failure among hundreds must still be seen.
    let failed = if seen.failed > 0 { height(seen.failed).max(5.0) } else { 0.0 };
    Column {
        x,
        // A hair of ground between columns, where there is room for it.
        width: if width > 4.0 { round(width - 1.0) } else { width },
        ok_y: round(base - ok),
        ok,
        failed_y: round((base - ok - failed).max(BARS_TOP)),
        failed,
        ground: if seen.silent > 0 {
            Some("silent")
        } else if seen.failed > 0 {
            Some("hurt")
        } else {
            None
        },
        title: format!(
            "{span}: {} answered, {} failed, slowest {} ms",
            seen.ok, seen.failed, seen.slowest_ms
        ),
    }
}

/// The line of the slowest answers and the area under it, as paths; broken where nothing was measured or answered.
fn latency(slots: &[Slot], scale: Scale, slowest: u32) -> (String, String) {
    let y = |ms: u32| round(AXIS - LATENCY * f64::from(ms) / f64::from(slowest.max(1)));
    let (mut line, mut area) = (String::new(), String::new());
    let answered = |slot: &Slot| slot.seen.as_ref().is_some_and(|seen| seen.ok > 0);
    for run in slots.chunk_by(|one, other| answered(one) == answered(other)).filter(|run| answered(&run[0])) {
        let points: Vec<(f64, f64)> = run
            .iter()
            .filter_map(|slot| {
                let middle = (slot.from + slot.to) as f64 / 2.0;
                slot.seen.as_ref().map(|seen| (scale.x(middle), y(seen.slowest_ms)))
            })
            .collect();
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x} {y}")).collect();
        line.push_str(&format!("M{}", path.join("L")));
        if let [(first, _), .., (last, _)] = points[..] {
            area.push_str(&format!("M{first} {AXIS}L{}L{last} {AXIS}Z", path.join("L")));
        }
    }
    (line, area)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    fn ground(report: &Report, second: usize) -> Option<&'static str> {
        Timeline::new(report, Page::Wide).unwrap().columns[second].ground
    }

    #[test]
    fn failures_silence_and_ignorance_look_different() {
        let mut report = sample::report();
        report.api.timeline[50].ok = 0;
        report.api.timeline.remove(70);
        assert_eq!(ground(&report, 10), None);
        assert_eq!(ground(&report, 36), Some("hurt"));
        assert_eq!(ground(&report, 50), Some("silent"));
        assert_eq!(ground(&report, 70), Some("unknown"));
    }

    #[test]
    fn a_long_run_gathers_seconds() {
        let mut report = sample::report();
        report.wall_s = 40_000.0;
        report.api.timeline.iter_mut().for_each(|bucket| bucket.second *= 300);
        let timeline = Timeline::new(&report, Page::Narrow).unwrap();
        assert!(timeline.columns.len() < 120, "{}", timeline.columns.len());
        assert!(timeline.ticks.len() < 8, "{:?}", timeline.ticks);
    }
}
