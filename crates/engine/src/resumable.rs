//! Whether an interrupted run may be gone on with: journal, plan and vault must be of one run of this cluster, and whole.
//!
//! Everything is read and judged before anything is touched, be it the cluster or the run's own files.

use std::path::{Path, PathBuf};

use kubecert_core::model::{ClusterName, RunId, TrustDomain};
use kubecert_core::plan::Plan;
use kubecert_core::record::{Record, What};

use crate::journal;
use crate::run::{RunError, certificates_digest};
use crate::rundir::{self, RunDir, lost};
use crate::vault::{PkiSet, Vault};

/// What an interrupted run left.
pub(crate) struct Remains {
    pub(crate) plan: Plan,
    pub(crate) vault: Vault,
    pub(crate) records: Vec<Record>,
}

/// Why the records of a run do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// The operator has asked for an undo, which has begun.
    #[error("it is being undone")]
    BeingUndone,
    /// It has not ended, so that nothing else may begin.
    #[error("it has not ended yet")]
    NotEnded,
    /// There is no way back that would be safe.
    #[error("no way back can be planned: {why}")]
    NoWayBack {
        /// Why.
        why: String,
    },
    /// What it has changed in the cluster is known from its records alone, and they are lost.
    #[error("its records are lost, and what objects in the cluster were before it is known from them alone")]
    ObjectsUnknown,
    /// The journal does not begin with what it belongs to.
    #[error("journal {} does not begin with what it belongs to", journal.display())]
    NoBeginning {
        /// The file.
        journal: PathBuf,
    },
    /// It is another cluster's.
    #[error("journal {} belongs to cluster {found}, and not to {wanted}", journal.display())]
    OtherCluster {
        /// The file.
        journal: PathBuf,
        /// Whose it is.
        found: ClusterName,
        /// Which cluster the operator named.
        wanted: ClusterName,
    },
    /// It is another run's.
    #[error("journal {} belongs to run {found}", journal.display())]
    OtherRun {
        /// The file.
        journal: PathBuf,
        /// Whose it is.
        found: RunId,
    },
    /// The plan is not the one that the journal was written for.
    #[error("plan {} was changed after it was agreed to", plan.display())]
    PlanChanged {
        /// The file.
        plan: PathBuf,
    },
    /// The vault's certificates are not those of the run.
    #[error("{} does not hold the certificates that the run's journal names", index.display())]
    OtherVault {
        /// The vault's index.
        index: PathBuf,
    },
    /// The vault lacks something, or holds a key that does not fit its certificate.
    #[error("{} does not hold {what}", index.display())]
    Incomplete {
        /// The vault's index.
        index: PathBuf,
        /// What it lacks.
        what: String,
    },
}

impl Misfit {
    /// What the operator can do.
    pub fn remedy(&self) -> String {
        match self {
            Self::BeingUndone => "`kubecert undo` goes on with that.".to_owned(),
            Self::NotEnded => "`kubecert resume` finishes it, `kubecert undo` takes it back.".to_owned(),
            Self::NoWayBack { .. } => "`kubecert resume` finishes the run.".to_owned(),
            Self::ObjectsUnknown => "The command that began it (`kubecert rotate`, for example) finishes it from what the \
                                     nodes hold; where the new CA's key is lost, too, put the run's directory back below \
                                     the state directory (see --state-dir) and use `kubecert resume`."
                .to_owned(),
            Self::NoBeginning { journal } => lost(journal),
            Self::OtherCluster { journal, found, .. } => format!(
                "Name the description of cluster {found}; or, if {} was put there by mistake, put the right one back.",
                journal.display()
            ),
            Self::OtherRun { journal, found } => format!(
                "If the directory of {} was renamed, name it {found} again: nodes keep the backups under that name. If \
                 the file was put there by mistake, put the right one back.",
                journal.display()
            ),
            Self::PlanChanged { plan } => format!(
                "A plan is not changed while it is carried out: put {} back as it was. To do something else, finish or \
                 undo the run first, then make a new plan.",
                plan.display()
            ),
            Self::OtherVault { index } | Self::Incomplete { index, .. } => lost(index),
        }
    }
}

/// Reads what a run left, and judges whether it fits together. Changes nothing.
///
/// # Errors
///
/// Fails where a file cannot be read or used, or does not belong to the others or to this cluster.
pub(crate) fn read(run: &RunDir, cluster: &ClusterName) -> Result<Remains, RunError> {
    let misfit = |why| RunError::NotResumable { run: run.run().clone(), why };
    let records = journal::read(&run.journal())?;
    let digest = check_binding(run, &run.journal(), cluster, &records).map_err(misfit)?;
    if run.plan_digest()? != *digest {
        return Err(misfit(Misfit::PlanChanged { plan: run.plan() }));
    }
    let plan = rundir::read_plan(&run.plan())?;
    let mut vault = run.read_vault()?;
    check_vault(run, &plan, &vault, &records).map_err(misfit)?;
    vault.know_models(&plan);
    Ok(Remains { plan, vault, records })
}

/// Checks what a journal in the run's directory belongs to, and returns the digest of its plan.
pub(crate) fn check_binding<'a>(
    run: &RunDir,
    journal: &Path,
    cluster: &ClusterName,
    records: &'a [Record],
) -> Result<&'a String, Misfit> {
    let journal = journal.to_owned();
    let Some(Record { what: What::Bound { run: bound, cluster: found, plan, .. }, .. }) = records.first()
    else {
        return Err(Misfit::NoBeginning { journal });
    };
    if found != cluster {
        return Err(Misfit::OtherCluster { journal, found: found.clone(), wanted: cluster.clone() });
    }
    if bound != run.run() {
        return Err(Misfit::OtherRun { journal, found: bound.clone() });
    }
    Ok(plan)
}

fn check_vault(run: &RunDir, plan: &Plan, vault: &Vault, records: &[Record]) -> Result<(), Misfit> {
    let index = run.vault_index();
    // On the way back nothing is needed but what servers of the lost run present.
    let reconstructed = records.iter().any(|record| record.what == What::Reconstructed);
    let lacking = if reconstructed { mismatch(plan, &vault.new) } else { lacking(plan, vault) };
    if let Some(what) = lacking {
        return Err(Misfit::Incomplete { index, what });
    }
    let issued = records.iter().find_map(|record| match &record.what {
        What::Issued { certificates } => Some(certificates),
        _ => None,
    });
    if issued != Some(&certificates_digest(vault)) {
        return Err(Misfit::OtherVault { index });
    }
    Ok(())
}

/// The first thing that the plan orders and the vault lacks, or a key that does not fit: found now rather than on a node in
/// the middle of the run.
fn lacking(plan: &Plan, vault: &Vault) -> Option<String> {
    let domain = |domain: &TrustDomain| format!("the new {domain} CA");
    for order in &plan.authorities {
        if !vault.new.authorities.contains_key(&order.domain) {
            return Some(domain(&order.domain));
        }
        if order.cross_signed && !vault.cross.contains_key(&order.domain) {
            return Some(format!("the cross certificate of {}", domain(&order.domain)));
        }
    }
    for order in &plan.leaves {
        if !vault.new.leaves.contains_key(&order.id) {
            return Some(format!("the new certificate {}", order.id));
        }
        if !vault.new.leaf_keys.contains_key(&order.id) {
            return Some(format!("the key of the new certificate {}", order.id));
        }
    }
    for order in &plan.key_pairs {
        if !vault.new.leaf_keys.contains_key(&order.id) {
            return Some(format!("the new key pair {}", order.id));
        }
    }
    mismatch(plan, &vault.new)
}

fn mismatch(plan: &Plan, set: &PkiSet) -> Option<String> {
    let authority = set.authority_keys.iter().find(|(domain, key)| {
        set.authorities.get(domain).is_none_or(|certificate| !key.matches(certificate))
    });
    if let Some((domain, _)) = authority {
        return Some(format!("a key that fits the new {domain} CA"));
    }
    let leaf = set
        .leaf_keys
        .iter()
        .filter(|(leaf, _)| !plan.key_pairs.iter().any(|order| order.id == **leaf))
        .find(|(leaf, key)| set.leaves.get(leaf).is_none_or(|certificate| !key.matches(certificate)));
    leaf.map(|(leaf, _)| format!("a key that fits the new certificate {leaf}"))
}
