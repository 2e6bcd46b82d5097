//! Faults of a rehearsal, as they are typed.

use kubecert_sim::campaign::FaultKind;

/// After how many per cent of a run a fault strikes, if it is not said.
const HALF_WAY: u16 = 50;

/// A fault and when it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// What goes wrong.
    pub(crate) kind: FaultKind,
    /// After how many per cent of the run.
    pub(crate) percent: u16,
}

/// Reads `NAME` or `NAME@PERCENT`.
pub(super) fn chosen(typed: &str) -> Result<Chosen, String> {
    let (name, percent) = match typed.split_once('@') {
        Some((name, percent)) => {
            let number = percent.trim_end_matches('%').parse().ok().filter(|percent| *percent <= 100);
            (name, number.ok_or_else(|| format!("{percent} is no number from 0 to 100"))?)
        }
        None => (typed, HALF_WAY),
    };
    let kind = FaultKind::named(name)
        .ok_or_else(|| format!("there is no fault {name}; `kubecert rehearse --list-faults` lists them"))?;
    Ok(Chosen { kind, percent })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_named_with_or_without_a_time() {
        let half_way = Chosen { kind: FaultKind::Reboot, percent: 50 };
        assert_eq!(chosen("reboot"), Ok(half_way));
        assert_eq!(chosen("reboot@80"), Ok(Chosen { percent: 80, ..half_way }));
        assert_eq!(chosen("reboot@80%"), chosen("reboot@80"));
        assert!(chosen("reboot@101").is_err_and(|why| why.contains("0 to 100")));
        assert!(chosen("fire").is_err_and(|why| why.contains("--list-faults")));
    }
}
