//! What every verb that speaks to a cluster has around it: the asynchronous runtime, the front-end, Ctrl-C.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use kubecert_core::event::Event;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::target::Wires;
use crate::args::GlobalArgs;
use crate::errors::{CliError, Kind};
use crate::exit::Exit;
use crate::ui;

/// How long a front-end may take to show what it still has.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A front-end that listens, and the wires that lead to it.
pub(crate) struct Wired {
    events: RefCell<Option<mpsc::UnboundedSender<Event>>>,
    /// Ends what is told to the front-end when it is dropped.
    over: Rc<RefCell<Option<oneshot::Sender<()>>>>,
    cancelled: watch::Receiver<bool>,
    front: Rc<RefCell<Option<JoinHandle<()>>>>,
    screen: ui::Screen,
}

impl Wired {
    /// What a setup needs.
    pub(crate) fn wires(&self) -> Wires {
        let events = self.events.borrow().clone().unwrap_or_else(|| mpsc::unbounded_channel().0);
        Wires { events, cancelled: self.cancelled.clone() }
    }

    /// Does something on the terminal while moving progress keeps still.
    pub(crate) fn pause(&self, act: impl FnOnce()) {
        self.screen.suspend(act);
    }

    /// Lets the front-end show what it still has, and leaves the terminal to the result.
    pub(crate) async fn end(&self) {
        self.events.borrow_mut().take();
        self.over.borrow_mut().take();
        let front = self.front.borrow_mut().take();
        if let Some(front) = front {
            // A front-end that failed has nothing more to show.
            drop(front.await);
        }
    }
}

/// Runs a verb on the runtime, with a front-end for its events and Ctrl-C as the way to stop at a safe point.
pub(crate) fn with<F, W>(global: &GlobalArgs, work: W) -> Result<Exit, CliError>
where
    W: FnOnce(Wired) -> F,
    F: Future<Output = Result<Exit, CliError>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::because(Kind::Internal, "cannot start", error))?;
    runtime.block_on(async {
        let (events, told) = mpsc::unbounded_channel();
        let (over, is_over) = oneshot::channel();
        let receiver = until(told, is_over);
        let over = Rc::new(RefCell::new(Some(over)));
        let (stop, cancelled) = watch::channel(false);
        let chosen = ui::choose(global);
        let screen = chosen.screen();
        let front = Rc::new(RefCell::new(Some(tokio::spawn(chosen.run(receiver)))));
        let signals = tokio::spawn(stop_on_signals(stop));
        let wired = Wired {
            events: RefCell::new(Some(events)),
            over: Rc::clone(&over),
            cancelled,
            front: Rc::clone(&front),
            screen,
        };
        let result = work(wired).await;
        signals.abort();
        // What was told before a verb failed is shown before its error.
        over.borrow_mut().take();
        let front = front.borrow_mut().take();
        if let Some(front) = front {
            drop(tokio::time::timeout(LAST_WORDS, front).await);
        }
        result
    })
}

/// The first Ctrl-C or SIGTERM asks for a safe stop; the second one ends the program, which the journal survives.
async fn stop_on_signals(stop: watch::Sender<bool>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    for again in [false, true] {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if again {
            std::process::exit(i32::from(Exit::Stopped.code()));
        }
        stop.send_replace(true);
    }
}

/// Passes events on until it is over, or until nobody can tell anything any more: connections to machines that were
/// restarted meanwhile may outlive the verb, and with them whoever tells of first contacts.
fn until(
    mut told: mpsc::UnboundedReceiver<Event>,
    is_over: oneshot::Receiver<()>,
) -> mpsc::UnboundedReceiver<Event> {
    let (pass_on, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut is_over = std::pin::pin!(is_over);
        let mut ending = false;
        loop {
            tokio::select! {
                biased;
                event = told.recv() => match event {
                    // A front-end that failed takes nothing more.
                    Some(event) => drop(pass_on.send(event)),
                    None => return,
                },
                _ = &mut is_over, if !ending => {
                    ending = true;
                    told.close();
                }
            }
        }
    });
    receiver
}
