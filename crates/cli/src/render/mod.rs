//! Results for people and programs: reports, plans, checks.

pub(crate) mod assess_text;
pub(crate) mod check;
pub(crate) mod check_table;
pub(crate) mod plan_text;
pub(crate) mod prometheus;
pub(crate) mod report_html;
pub(crate) mod report_text;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
pub(crate) mod sample_site;
mod svg;
mod verdict;

use kubecert_core::intent::{Scope, Strategy};
use kubecert_core::model::TrustDomain;
use kubecert_core::plan::PhaseName;
use kubecert_core::report::Report;

/// What a phase does, for people who have not read the manual.
const fn phase_in_words(phase: PhaseName, strategy: Strategy, scope: Scope) -> &'static str {
    match (phase, strategy) {
        (PhaseName::Switch, Strategy::SameCa) => {
            return "New certificates of the CA in force take the place of those that are due; no trust changes.";
        }
        (PhaseName::Switch, Strategy::SameKey) => {
            return "The CA's new certificate takes the place of the former one, in files and in memories.";
        }
        _ => {}
    }
    if !scope.covers(TrustDomain::Cluster) {
        match phase {
            PhaseName::Introduce => {
                return "API servers, and aggregated API servers through them, come to trust both front-proxy CAs.";
            }
            PhaseName::Switch => return "API servers present the new front-proxy certificate.",
            PhaseName::Drop => {
                return "The old front-proxy CA is trusted no more. From here there is no way back.";
            }
            _ => {}
        }
    }
    match phase {
        PhaseName::Return => {
            "Trust, issuing and tokens go back to the old CA; every server still accepts clients of both."
        }
        PhaseName::Retract => "Every server presents and accepts the old certificates alone, as before.",
        PhaseName::Restore => "Staged files and backups are removed.",
        PhaseName::Prepare => {
            "Originals are backed up and new files staged beside them; nothing changes its behaviour."
        }
        PhaseName::Introduce => {
            "Every server comes to present a certificate that holders of either CA accept, and to accept clients of both."
        }
        PhaseName::Switch => "Trust, issuing and tokens move to the new CA; workloads are renewed.",
        PhaseName::Drop => {
            "The old CA and the old token key leave every trust store. From here there is no way back."
        }
        PhaseName::Finish => {
            "Traces of the run are removed, and the operator's files are brought up to date."
        }
    }
}

/// What goes before the first phase.
const BEFORE_IN_WORDS: &str =
    "The cluster is looked at, and new keys and certificates are made. Nothing is touched.";

/// Seconds before the first phase, where they are worth telling: every second is to be accounted for.
fn before_phases(report: &Report) -> Option<f64> {
    report.phases.first().map(|phase| phase.start_s).filter(|&seconds| seconds >= 0.1)
}
