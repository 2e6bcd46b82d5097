//! The pictures of the report: geometry here, marks in `templates/*.svg`, colours in the page's style sheet.
//!
//! Charts over time are drawn twice, for a wide and for a narrow page, since a picture that is merely scaled down is not
//! legible on a phone; the style sheet shows one of the two.

pub(super) mod gantt;
pub(super) mod timeline;
pub(super) mod trust;

use kubecert_core::plan::PhaseName;
use kubecert_core::report::Report;

use super::before_phases;
use crate::human::time;

/// For which page a picture is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// A desktop's or paper.
    Wide,
    /// A phone's.
    Narrow,
}

impl Page {
    /// The picture's width in units, each about one pixel.
    const fn width(self) -> f64 {
        match self {
            Page::Wide => 960.0,
            Page::Narrow => 344.0,
        }
    }

    /// The class by which the style sheet shows or hides it.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Page::Wide => "wide",
            Page::Narrow => "narrow",
        }
    }
}

/// The style sheet's class for a phase.
pub(super) const fn phase_class(phase: PhaseName) -> &'static str {
    match phase {
        PhaseName::Return => "p-switch",
        PhaseName::Retract => "p-introduce",
        PhaseName::Restore => "p-finish",
        PhaseName::Prepare => "p-prepare",
        PhaseName::Introduce => "p-introduce",
        PhaseName::Switch => "p-switch",
        PhaseName::Drop => "p-drop",
        PhaseName::Finish => "p-finish",
    }
}

/// Maps seconds of the run to the picture.
#[derive(Clone, Copy, Debug)]
struct Scale {
    left: f64,
    width: f64,
    seconds: f64,
}

impl Scale {
    /// The whole run between `left` and `right`.
    fn new(report: &Report, left: f64, right: f64) -> Self {
        let steps = report.steps.iter().map(|step| step.start_s + step.wall_s);
        let phases = report.phases.iter().map(|phase| phase.start_s + phase.wall_s);
        let buckets = report.api.timeline.iter().map(|bucket| bucket.second as f64 + 1.0);
        let seconds = steps.chain(phases).chain(buckets).chain([report.wall_s, 1.0]).fold(1.0, f64::max);
        Self { left, width: (right - left).max(1.0), seconds }
    }

    fn x(self, second: f64) -> f64 {
        round(self.left + self.width * (second / self.seconds).clamp(0.0, 1.0))
    }

    fn length(self, seconds: f64) -> f64 {
        self.width * seconds / self.seconds
    }

    /// Marks on the time axis, at least `apart` units from one another.
    fn ticks(self, apart: f64) -> Vec<Tick> {
        const STEPS: [f64; 13] =
            [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0];
        let step = STEPS.into_iter().find(|&step| self.length(step) >= apart).unwrap_or(self.seconds);
        let marks = (self.seconds / step) as u32;
        (0..=marks)
            .map(|mark| {
                let second = f64::from(mark) * step;
                let label = if step < 60.0 { format!("{second:.0} s") } else { axis_minutes(second) };
                Tick { x: self.x(second), label }
            })
            .collect()
    }
}

fn axis_minutes(second: f64) -> String {
    if second < 3600.0 { format!("{:.0} min", second / 60.0) } else { time::seconds(second) }
}

/// A mark on the time axis.
#[derive(Debug)]
struct Tick {
    x: f64,
    label: String,
}

/// A phase's band.
#[derive(Debug)]
struct Band {
    class: &'static str,
    x: f64,
    width: f64,
    middle: f64,
    /// The name, or its beginning, as far as it fits.
    label: String,
    title: String,
}

/// The phases' bands, with labels of characters `glyph` units wide.
fn bands(report: &Report, scale: Scale, glyph: f64) -> Vec<Band> {
    let before = before_phases(report).map(|until| ("p-before", "before".to_owned(), 0.0, until));
    let phases = report
        .phases
        .iter()
        .map(|phase| (phase_class(phase.name), phase.name.to_string(), phase.start_s, phase.wall_s));
    before
        .into_iter()
        .chain(phases)
        .map(|(class, name, start, wall)| {
            let x = scale.x(start);
            let width = round((scale.x(start + wall) - x).max(1.0));
            let fits = name.len() as f64 * glyph + 6.0 <= width;
            Band {
                class,
                x,
                width,
                middle: round(x + width / 2.0),
                label: if fits { name.clone() } else { String::new() },
                title: format!("{name}: {} from {}", time::seconds(wall), time::seconds(start)),
            }
        })
        .collect()
}

/// Tenths are enough for the eye, and keep the page small.
fn round(units: f64) -> f64 {
    (units * 10.0).round() / 10.0
}
