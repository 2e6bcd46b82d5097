//! Spans and points of time in a form that a person can read.

use jiff::Timestamp;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// The mean month and year of the Gregorian calendar; whoever needs the day reads the date beside it.
const MONTH: u64 = YEAR / 12;
const YEAR: u64 = 31_556_952;

/// `0.4 s`, `12.3 s`, `1 min 50 s`, `2 h 5 min`.
pub(crate) fn seconds(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    if whole < HOUR {
        format!("{} min {} s", whole / MINUTE, whole % MINUTE)
    } else {
        format!("{} h {} min", whole / HOUR, whole % HOUR / MINUTE)
    }
}

/// `850 ms`, `1.8 s`, `1 min 3 s`.
pub(crate) fn millis(millis: u64) -> String {
    if millis < 1000 { format!("{millis} ms") } else { seconds(millis as f64 / 1000.0) }
}

/// `in 29 years`, `in 12 days`, `3 days ago`, `now`.
pub(crate) fn relative(now: Timestamp, then: Timestamp) -> String {
    let away = then.as_second() - now.as_second();
    let text = rough(away.unsigned_abs());
    match away {
        0 => "now".to_owned(),
        1.. => format!("in {text}"),
        _ => format!("{text} ago"),
    }
}

/// `2026-11-21 21:49 UTC`.
pub(crate) fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// `2026-11-21 21:49:07 UTC`.
pub(crate) fn second(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// `2026-11-21`.
pub(crate) fn date(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// Seconds from `from` to `to`, with fractions; 0 if a clock went backwards.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> f64 {
    ((to.as_millisecond() - from.as_millisecond()).max(0)) as f64 / 1000.0
}

/// One unit, rounded down, so that "in 30 days" never promises more than there is. A unit is used from twice its length
/// on, which keeps the error below a half.
fn rough(seconds: u64) -> String {
    let units =
        [(YEAR, "year"), (MONTH, "month"), (DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (1, "second")];
    // Months begin at three, since "in 75 days" tells more than "in 2 months".
    let fits = |&&(unit, name): &&(u64, &str)| seconds >= unit * if name == "month" { 3 } else { 2 };
    match units.iter().find(fits) {
        Some((unit, name)) => format!("{} {name}s", seconds / unit),
        None => format!("{seconds} second"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (span, text) in [
            (0.04, "0.0 s"),
            (12.34, "12.3 s"),
            (59.96, "1 min 0 s"),
            (110.4, "1 min 50 s"),
            (7512.0, "2 h 5 min"),
            (-1.0, "0.0 s"),
        ] {
            assert_eq!(seconds(span), text);
        }
        assert_eq!(millis(999), "999 ms");
        assert_eq!(millis(1776), "1.8 s");
    }

    #[test]
    fn points() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let at = |away: i64| relative(now, Timestamp::from_second(1_800_000_000 + away).unwrap());
        let day = DAY as i64;
        assert_eq!(at(0), "now");
        assert_eq!(at(1), "in 1 second");
        assert_eq!(at(29 * 366 * day), "in 29 years");
        assert_eq!(at(30 * day), "in 30 days");
        assert_eq!(at(120 * day), "in 3 months");
        assert_eq!(at(-3 * day), "3 days ago");
        assert_eq!(at(-100), "100 seconds ago");
        assert_eq!(at(-5400), "90 minutes ago");
    }
}
