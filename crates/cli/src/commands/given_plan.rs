//! `rotate --plan FILE`: a plan that the operator has looked at, and nothing else, is carried out.
//!
//! What is carried out is always the plan that the program makes from the cluster as it is now; a file only says which one
//! the operator has agreed to. So a file that was edited can do no harm: it differs, and is refused.

use std::path::{Path, PathBuf};

use kubecert_core::intent::{Intent, Signer};
use kubecert_core::model::ClusterName;
use kubecert_core::plan::{Plan, Step};
use kubecert_engine::rundir;

use crate::errors::{CliError, Kind};

/// A plan with the file that it came from.
pub(super) struct GivenPlan {
    file: PathBuf,
    plan: Plan,
}

impl GivenPlan {
    /// Reads a plan for this cluster.
    pub(super) fn read(file: &Path, cluster: &ClusterName) -> Result<Self, CliError> {
        let plan = rundir::read_plan(file).map_err(|error| {
            let about = format!("cannot use plan {}", file.display());
            CliError::because(Kind::Input, about, error).hint(again(file))
        })?;
        if plan.cluster != *cluster {
            let why =
                format!("plan {} is for cluster {}, and not for {cluster}", file.display(), plan.cluster);
            return Err(CliError::new(Kind::Input, why).hint(format!(
                "Give the api model of cluster {}, or a plan for {cluster}; nothing was touched.",
                plan.cluster
            )));
        }
        Ok(Self { file: file.to_owned(), plan })
    }

    /// What the operator wanted when the plan was made.
    pub(super) fn intent(&self) -> Intent {
        Intent {
            why: self.plan.why,
            strategy: Some(self.plan.strategy),
            scope: self.plan.scope,
            limits: self.plan.limits.clone(),
            signer: Signer::Ours,
        }
    }

    /// Why `fresh`, the plan for the cluster as it is, is not the one that was given; `None` if it is.
    pub(super) fn differs_from(&self, fresh: &Plan) -> Option<CliError> {
        let what = difference(&self.plan, fresh)?;
        let file = self.file.display();
        Some(
            CliError::new(
                Kind::Input,
                format!(
                    "plan {file} is not what would be done now: {what}. The file was edited, or made for another \
                     inventory, or the cluster has changed since; nothing was touched"
                ),
            )
            .hint(again(&self.file)),
        )
    }
}

fn again(file: &Path) -> String {
    format!("Make a new plan with `kubecert plan --out {}`, look at it, and give that one.", file.display())
}

/// The first difference between two plans, but for the time stamp in the names of kubelets' certificate files.
fn difference(given: &Plan, fresh: &Plan) -> Option<String> {
    if normal(given) == normal(fresh) {
        return None;
    }
    let steps = |plan: &Plan| -> Vec<(String, Step)> {
        let phases = plan.phases.iter();
        phases
            .flat_map(|phase| phase.steps.iter().map(|step| (phase.name.to_string(), step.clone())))
            .collect()
    };
    let (ours, theirs) = (steps(fresh), steps(given));
    let pairs = ours.iter().zip(&theirs);
    let step =
        pairs.into_iter().find(|(ours, theirs)| normal(ours) != normal(theirs)).map(|(_, theirs)| theirs);
    Some(match step {
        Some((phase, step)) => {
            format!("step {} (phase {phase}, {} on {}) differs", step.id, step.title, step.target)
        }
        None if ours.len() != theirs.len() => {
            format!("it has {} steps, and {} are due", theirs.len(), ours.len())
        }
        None => "what it issues, keeps or waits for differs".to_owned(),
    })
}

/// As JSON, without what depends on the time at which the plan was made.
fn normal(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    let mut normal = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("kubelet-client-2") {
        normal.push_str(before);
        normal.push_str("kubelet-client");
        rest = after.split_once(".pem").map_or("", |(_, rest)| rest);
    }
    normal + rest
}

#[cfg(test)]
mod tests {
    use kubecert_core::planner;
    use kubecert_core::testing::{Shape, naming, replace_ca};

    use super::*;
    use crate::human::paint::Paint;

    fn plan(control_planes: usize, agents: usize) -> Plan {
        let inventory = Shape::sized(control_planes, agents).inventory();
        planner::plan(&inventory, &replace_ca(None), &naming()).unwrap()
    }

    /// What is said of a file with this text, read for the cluster that `fresh` is for; empty if it is agreed to. The file
    /// must be as it was afterwards.
    fn said(text: &str, fresh: &Plan) -> String {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("plan.json");
        std::fs::write(&file, text).unwrap();
        let error = match GivenPlan::read(&file, &fresh.cluster) {
            Ok(given) => given.differs_from(fresh),
            Err(error) => Some(error),
        };
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        let said = error.map(|error| error.text(Paint::when(false))).unwrap_or_default();
        said.replace(&file.display().to_string(), "FILE")
    }

    fn written(plan: &Plan) -> String {
        serde_json::to_string_pretty(plan).unwrap()
    }

    #[test]
    fn the_same_plan_is_agreed_to_whenever_it_was_made() {
        let fresh = plan(3, 2);
        assert_eq!(said(&written(&fresh), &fresh), "");
        let later = planner::Naming { stamp: "2027-01-02-03-04-05".to_owned(), ..naming() };
        let later = planner::plan(&Shape::sized(3, 2).inventory(), &replace_ca(None), &later).unwrap();
        assert_ne!(written(&later), written(&fresh), "file names tell when a plan was made");
        assert_eq!(said(&written(&later), &fresh), "");
    }

    #[test]
    fn a_plan_that_was_edited_is_refused_with_what_differs() {
        let fresh = plan(3, 2);
        let mut edited = fresh.clone();
        let step = edited.phases[1].steps.last_mut().unwrap();
        step.patience.attempts += 1;
        let id = step.id;
        let text = said(&written(&edited), &fresh);
        assert!(
            text.contains("plan FILE is not what would be done now") && text.contains(&format!("step {id} ")),
            "{text}"
        );
        assert!(
            text.contains("`kubecert plan --out FILE`") && text.contains("nothing was touched"),
            "{text}"
        );
        let mut without = fresh.clone();
        without.phases.last_mut().unwrap().steps.pop();
        assert!(
            said(&written(&without), &fresh).contains("steps are due")
                || said(&written(&without), &fresh).contains("are due")
        );
        let mut barrier = fresh.clone();
        barrier.phases[0].barrier.clear();
        assert!(said(&written(&barrier), &fresh).contains("waits for differs"));
    }

    #[test]
    fn a_plan_for_another_inventory_or_cluster_is_refused() {
        let fresh = plan(3, 2);
        let other = said(&written(&plan(3, 1)), &fresh);
        assert!(other.contains("is not what would be done now"), "{other}");
        let mut elsewhere = fresh.clone();
        elsewhere.cluster = "ward-7".into();
        let text = said(&written(&elsewhere), &fresh);
        assert!(text.contains("plan FILE is for cluster ward-7, and not for"), "{text}");
        assert!(text.contains("api model of cluster ward-7"), "{text}");
    }

    #[test]
    fn what_is_no_plan_of_this_format_is_refused() {
        let fresh = plan(1, 0);
        let newer = written(&fresh).replacen("\"schema\": 1", "\"schema\": 4", 1);
        let text = said(&newer, &fresh);
        assert!(text.contains("has format 4") && text.contains("kubecert plan --out FILE"), "{text}");
        for bad in ["", "{}", "null", "[1", &written(&fresh)[..200]] {
            assert!(said(bad, &fresh).contains("cannot use plan FILE"), "{bad}");
        }
    }
}
