//! A cluster as the command line names it, whichever way.

use std::path::PathBuf;

use kubecert_core::model::ClusterName;
use kubecert_engine::run::Setup;

use super::kubeadm::Kubeadm;
use super::target::{Described, Reach, Wires};
use crate::args::{ClusterSource, SshArgs};
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

    /// Connects to everything, and gives what a run needs.
    pub(crate) async fn connect(
        &self,
        ssh: &SshArgs,
        state: PathBuf,
        wires: Wires,
    ) -> Result<Setup, CliError> {
        match self {
            Self::AksEngine(described) => described.connect(&Reach::try_from(ssh)?, state, wires).await,
            Self::Kubeadm(kubeadm) => kubeadm.connect(ssh, state, wires).await,
        }
    }
}
