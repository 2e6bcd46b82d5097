//! Events as JSON, one object a line.

use std::io::Write;

use kubecert_core::event::Event;

use super::Sink;

/// Writes each event as it is.
pub(super) struct Json<W> {
    out: W,
}

impl<W: Write> Json<W> {
    /// Writes to `out`.
    pub(super) fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write + Send> Sink for Json<W> {
    fn event(&mut self, event: &Event) {
        if let Ok(line) = serde_json::to_string(event) {
            // A run must not end because nobody reads its progress any more.
            let _ = writeln!(self.out, "{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::sample;

    #[test]
    fn every_event_is_one_line_that_reads_back() {
        let mut json = Json::new(Vec::new());
        let events = sample::events();
        events.iter().for_each(|event| json.event(event));
        let text = String::from_utf8(json.out).unwrap();
        let back: Vec<Event> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(back, events);
    }
}
