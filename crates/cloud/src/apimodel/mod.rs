//! The generated `apimodel.json` of AKS engine.
//!
//! The file is the cluster's only full description outside Azure, and it holds the PKI that kubecert replaces. So it
//! is read with the ancestor's own strictness (an unknown key is an error, because it may mean that we misunderstand
//! the cluster), and it is written by editing one byte range: what we did not mean to change cannot change.
//!
//! Reading ([`ApiModel::parse`]) and managing are different things: a model with, say, Windows pools reads well, and
//! [`ApiModel::unsupported`] then says what stands in the way of a rotation.
//!
//! | question | answer |
//! |---|---|
//! | what are the machines called? | [`ApiModel::master_names`], [`ApiModel::agent_names`] |
//! | where are they? | [`ApiModel::master_ips`], [`ApiModel::fqdn`], [`ApiModel::server_url`] |
//! | what must the API server's certificate say? | [`ApiModel::api_server_sans`] |
//! | is this `--certificate-profile` file fit for the cluster? | [`CertificateProfile::validate`] |
//! | what would a new PKI be? | [`new_certificate_profile`] |
//! | what does the operator's directory look like afterwards? | [`write_artifacts`] |

mod artifacts;
mod custom_cloud;
mod error;
mod generate;
mod keys;
mod kubeconfig;
mod kubernetes;
mod locations;
mod machines;
mod model;
mod names;
mod parameters;
mod profile;
mod reader;
mod rewrite;
mod sans;
#[cfg(test)]
mod testing;
mod text;
mod unsupported;

pub use artifacts::{ArtifactError, write_artifacts, write_private};
pub use custom_cloud::CustomCloud;
pub use error::ApiModelError;
pub use generate::{
    CrossCertificate, Failure, FreshKeys, GenerateError, GeneratedPki, KeySource, Term,
    new_certificate_profile,
};
pub use kubeconfig::KubeconfigError;
pub use kubernetes::{Addon, Component, Flags, Kubernetes};
pub use locations::{Catalogue, Location};
pub use machines::{AadProfile, AgentPool, Availability, LinuxProfile, Masters, Os, WindowsProfile};
pub use model::ApiModel;
pub use names::{ClusterId, PoolNodes, VmName};
pub use parameters::{PARAMETERS_FILE, Parameters, ParametersError, UpdatedParameters};
pub use profile::{
    CertificateProfile, CheckedProfile, Entry, InvalidProfile, PresentPair, ProfileProblem, ProfileReadError,
};
pub use sans::SubjectAltNames;
pub use unsupported::Unsupported;
