//! Azure, as far as a rotation needs it: who may call, which machines there are, whether they run, and their restart.
//!
//! The ancestor asks Azure Resource Manager for very little, and so do we: the tenant of a subscription, the resource
//! providers, virtual machines, scale sets, and their restarts. Tokens come from Microsoft Entra ID or, on Azure Stack
//! Hub, from AD FS; there is no library for the latter, so the four ways to get a token are here, and are small.
//!
//! | question | answer |
//! |---|---|
//! | where are the endpoints? | [`Cloud`], [`discovery`] |
//! | who calls? | [`Credential`], [`IdentitySystem`] |
//! | how is Azure called? | [`Azure`] |
//! | which machines are there, and do they run? | [`Azure`] as [`kubecert_engine::ports::Machines`], [`compare`] |
//! | which subscription, if none is given? | [`subscription`] |
//!
//! Facts about the wire come from a record of the ancestor at work, or from Microsoft's documentation where no record
//! exists; code that follows the latter says "documented".

mod arm;
mod assertion;
mod cli_token;
mod client;
mod cloud;
pub mod compare;
mod compute;
mod credential;
mod device;
pub mod discovery;
mod error;
mod http;
mod operation;
mod providers;
pub mod subscription;
mod tenant;
mod token;
mod token_error;

pub use client::{Azure, AzureConfig};
pub use cloud::{Cloud, CloudError, CloudKind};
pub use compute::Power;
pub use credential::{ClientCertificate, Credential, CredentialError, IdentitySystem};
pub use error::AzureError;
pub use http::{HttpConfig, Pace, Proxies};
pub use providers::Registration;
