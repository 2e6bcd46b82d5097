//! Reloading a unit, and seeing that it goes on listening.

use kubecert_core::model::NodeName;
use kubecert_engine::ports::{Listening, PortResult};

use super::{MARGIN, QUICK, checked_word, not_understood, text};
use crate::exec::{Exec, Job};

/// Whether the unit is reloaded after looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reload {
    /// It is only looked at.
    No,
    /// It is looked at first.
    First,
}

/// What listens on `port` for `unit`; before a reload, if there is one.
pub(crate) async fn listening(
    exec: &dyn Exec,
    node: &NodeName,
    (unit, port): (&str, u16),
    reload: Reload,
) -> PortResult<Listening> {
    let (what, act) = match reload {
        Reload::No => (format!("cannot see whether {unit} listens on port {port} of {node}"), "look"),
        Reload::First => (format!("cannot reload {unit} on {node}"), "reload"),
    };
    let job = Job::new("reload", &[include_str!("../scripts/reload_unit.sh")], QUICK, &what)
        .arg(checked_word(unit, &what)?)
        .arg(port)
        .arg((QUICK - MARGIN).as_secs())
        .arg(act);
    let output = exec.run(job).await?;
    let answer = text(&output, &what)?;
    understood(answer).ok_or_else(|| not_understood(&what, answer.lines().next().unwrap_or_default()))
}

/// Reads `PID SOCKET…`.
fn understood(answer: &str) -> Option<Listening> {
    let mut words = answer.lines().next()?.split(' ').filter(|word| !word.is_empty());
    let process: u32 = words.next()?.parse().ok()?;
    let sockets: Option<Vec<u64>> = words.map(|word| word.parse().ok()).collect();
    Some(Listening { process, sockets: sockets? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_process_and_its_sockets() {
        let before = understood("12 100 101\n").unwrap();
        assert!(understood("12 101 100 102\n").unwrap().goes_on_from(&before));
        assert!(!understood("12 101 102\n").unwrap().goes_on_from(&before));
        assert!(!understood("13 100 101\n").unwrap().goes_on_from(&before));
        for wrong in ["", "x 1\n", "12 x\n"] {
            assert_eq!(understood(wrong), None, "{wrong}");
        }
    }
}
