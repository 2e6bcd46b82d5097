//! What a person or a program sees of a run while it goes on: folds over the engine's events.
//!
//! Everything here goes to standard error; standard output belongs to results. [`lines`] is for logs and pipes,
//! [`bars`] for terminals, [`json`] for programs. [`progress`] is the fold that the first two share.

mod bars;
mod json;
mod lines;
mod progress;
#[cfg(test)]
mod sample;

use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kubecert_core::event::Event;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::MissedTickBehavior;

use crate::args::{GlobalArgs, Output};
use crate::human::paint::Paint;

/// How often moving progress is drawn. Often enough for a spinner to turn, seldom enough for a slow SSH terminal.
const TICK: Duration = Duration::from_millis(120);

/// A front-end: it is told events one after another, and draws what it likes.
pub(crate) trait Sink: Send {
    /// Something happened.
    fn event(&mut self, event: &Event);

    /// A little time has passed; only front-ends that move care.
    fn tick(&mut self) {}

    /// Takes moving progress off the terminal; the next tick puts it back.
    fn clear(&mut self) {}

    /// Nothing more will happen. Leaves the terminal in order; may be called more than once.
    fn close(&mut self) {}
}

/// The front-end that was chosen, with what feeds it.
pub(crate) struct Front {
    screen: Screen,
}

impl Front {
    /// A front-end of the caller's own.
    pub(crate) fn new(sink: Box<dyn Sink>) -> Self {
        Self { screen: Screen { sink: Arc::new(Mutex::new(sink)), suspended: Arc::default() } }
    }

    /// The way to use the terminal beside it.
    pub(crate) fn screen(&self) -> Screen {
        self.screen.clone()
    }

    /// Shows events until their sender is gone.
    pub(crate) async fn run(self, mut events: UnboundedReceiver<Event>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.screen.suspended.load(Ordering::Acquire) {
                // Events wait in their channel. The lock is not asked for: it may be held for as long as a person thinks.
                ticks.tick().await;
                continue;
            }
            tokio::select! {
                // Events first: after a burst the picture should be that of its end.
                biased;
                event = events.recv() => match event {
                    Some(event) => self.screen.sink().event(&event),
                    None => break,
                },
                _ = ticks.tick() => self.screen.sink().tick(),
            }
        }
        self.screen.sink().close();
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.screen.sink().close();
    }
}

/// The terminal, shared between a front-end and whoever has to say or ask something meanwhile.
#[derive(Clone)]
pub(crate) struct Screen {
    sink: Arc<Mutex<Box<dyn Sink>>>,
    suspended: Arc<AtomicBool>,
}

impl Screen {
    /// Does something on the terminal while moving progress is away from it.
    pub(crate) fn suspend<T>(&self, act: impl FnOnce() -> T) -> T {
        self.suspended.store(true, Ordering::Release);
        let mut sink = self.sink();
        sink.clear();
        let result = act();
        drop(sink);
        self.suspended.store(false, Ordering::Release);
        result
    }

    /// A front-end that panicked while it drew has at worst drawn half a picture; the run goes on.
    fn sink(&self) -> MutexGuard<'_, Box<dyn Sink>> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Chooses a front-end for standard error.
pub(crate) fn choose(global: &GlobalArgs) -> Front {
    let terminal = io::stderr().is_terminal();
    // With --debug the log shares the terminal; moving progress would be torn by it.
    let moving = terminal && !global.quiet && !global.debug;
    let paint = Paint::when(global.colours(terminal));
    Front::new(match global.output {
        Output::Json => Box::new(json::Json::new(io::stderr())),
        Output::Text if moving => Box::new(bars::Bars::new(paint)),
        Output::Text if global.quiet => Box::new(lines::Lines::quiet(io::stderr(), paint)),
        Output::Text => Box::new(lines::Lines::new(io::stderr(), paint)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remembers what it was told.
    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<&'static str>>>);

    impl Sink for Told {
        fn event(&mut self, _: &Event) {
            self.0.lock().unwrap().push("event");
        }

        fn clear(&mut self) {
            self.0.lock().unwrap().push("clear");
        }

        fn close(&mut self) {
            self.0.lock().unwrap().push("close");
        }
    }

    #[tokio::test]
    async fn nothing_is_drawn_while_the_terminal_is_used() {
        let told = Told::default();
        let front = Front::new(Box::new(told.clone()));
        let screen = front.screen();
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        let running = tokio::spawn(front.run(receiver));
        let during = tokio::task::spawn_blocking({
            let told = told.clone();
            move || {
                screen.suspend(|| {
                    sender.send(sample::events().remove(0)).unwrap();
                    // That nothing happens has no condition to wait on: ticks pass in which something would.
                    std::thread::sleep(3 * TICK);
                    told.0.lock().unwrap().clone()
                })
            }
        });
        assert_eq!(during.await.unwrap(), ["clear"]);
        running.await.unwrap();
        assert_eq!(told.0.lock().unwrap()[..3], ["clear", "event", "close"]);
    }

    /// Plays the sample on the terminal: `cargo test -- --ignored --nocapture watch_the_sample`.
    #[tokio::test]
    #[ignore = "something to look at"]
    async fn watch_the_sample() {
        let front = Front::new(Box::new(bars::Bars::new(Paint::when(true))));
        let screen = front.screen();
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        let running = tokio::spawn(front.run(receiver));
        for (index, event) in sample::events().into_iter().enumerate() {
            sender.send(event).unwrap();
            // So that somebody can watch.
            tokio::time::sleep(3 * TICK).await;
            if index == 2 {
                screen.suspend(|| eprintln!("A question is asked here."));
            }
        }
        drop(sender);
        running.await.unwrap();
    }
}
