//! Programs of ours that stand in labs for what cannot be had there. They are no part of the product.

use std::path::PathBuf;

use anyhow::Result;

use crate::cmd::{CommandExt as _, cmd};
use crate::rotation::target;
use crate::rules::root;

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum StandIn {
    /// Resource Manager, and whoever signs people in.
    Azure,
    /// A KMS plugin.
    Kms,
    /// The kubelet's side of a Windows node.
    WindowsNode,
}

impl StandIn {
    pub(crate) const ALL: [Self; 3] = [Self::Azure, Self::Kms, Self::WindowsNode];

    /// What its process is called, in command lines too.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Azure => "azure-stand-in",
            Self::Kms => "kms-stand-in",
            Self::WindowsNode => "windows-node",
        }
    }

    /// Builds it and says where it is. All are built with the same choice of features of the whole workspace and for
    /// development, so that what the tests have compiled serves.
    pub(crate) fn build(self) -> Result<PathBuf> {
        let (kind, below) = match self {
            Self::Azure | Self::Kms => ("--bin", "debug"),
            Self::WindowsNode => ("--example", "debug/examples"),
        };
        let features = "kubecert-cloud/testing,kubecert-remote/testing";
        let words =
            ["build", "--quiet", "--locked", "--workspace", "--features", features, kind, self.name()];
        cmd("cargo", words).current_dir(root()).show()?;
        Ok(target().join(below).join(self.name()))
    }
}
