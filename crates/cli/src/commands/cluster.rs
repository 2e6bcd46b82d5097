//! A cluster as the command line names it, whichever way.

use std::path::PathBuf;

use kubecert_core::model::ClusterName;
use kubecert_engine::run::Setup;

use super::kubeadm::Kubeadm;
use super::target::{Described, Reach, Wires};
use crate::args::ClusterSource;
use crate::errors::CliError;

/// A cluster that a verb is about.
pub(crate) enum Named {
    /// By its apimodel.
    AksEngine(Box<Described>),
    /// By a cluster file.
    Kubeadm(Box<Kubeadm>),
}

impl Named {
    /// Reads what describes it.
    pub(crate) fn read(source: &ClusterSource) -> Result<Self, CliError> {
        match source {
            ClusterSource::ApiModel(path) => Ok(Self::AksEngine(Box::new(Described::read(path)?))),
            ClusterSource::File(path) => Ok(Self::Kubeadm(Box::new(Kubeadm::read(path)?))),
        }
    }

    /// The name under which runs are recorded.
    pub(crate) fn name(&self) -> ClusterName {
        match self {
            Self::AksEngine(described) => described.name(),
            Self::Kubeadm(kubeadm) => kubeadm.name(),
        }
    }

    /// Refuses, by name and all at once, what cannot be managed yet.
    pub(crate) fn check_supported(&self) -> Result<(), CliError> {
        match self {
            Self::AksEngine(described) => described.check_supported(),
            Self::Kubeadm(_) => Ok(()),
        }
    }

    /// Reads it again: a run that has ended has changed the file that describes it.
    pub(crate) fn again(self) -> Result<Self, CliError> {
        match self {
            Self::AksEngine(described) => {
                let location = described.model.location().map(|location| location.as_str().to_owned());
                let again = Described::read(&described.path)?;
                Ok(Self::AksEngine(Box::new(again.at_location(&location.unwrap_or_default())?)))
            }
            // What has changed is on the nodes, and is read whenever they are connected to.
            kubeadm @ Self::Kubeadm(_) => Ok(kubeadm),
        }
    }

    /// Connects to everything, and gives what a run needs.
    pub(crate) async fn connect(
        &self,
        reach: &Reach,
        state: PathBuf,
        wires: Wires,
    ) -> Result<Setup, CliError> {
        match self {
            Self::AksEngine(described) => described.connect(reach, state, wires).await,
            Self::Kubeadm(kubeadm) => kubeadm.connect(reach, state, wires).await,
        }
    }
}
