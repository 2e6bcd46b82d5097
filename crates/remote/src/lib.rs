//! Reaching and changing nodes over SSH.
//!
//! [`SshNodes`] implements the engine's port [`Nodes`](kubecert_engine::ports::Nodes): nodes are dialled by name through
//! one bastion, one session a node. What is done there is a shell script per operation (`scripts/`), run as root; what
//! it is told travels on standard input, and what it did stands in the node's `/var/log/azure/rotate-certs.log`. On nodes
//! that run Windows the scripts are PowerShell (`scripts/windows/`), run by an administrator, and the log is
//! `c:\k\rotate-certs.log`; `docs/windows.md` lists what is assumed there.
//!
//! Absent on purpose: agents on nodes, host certificates, SFTP (its rename does not replace a file, and
//! files of root need sudo anyway), and any cleverness on the node that is not in a script one can read there.

mod agent;
mod config;
mod exec;
mod fault;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod hostkeys;
mod known_hosts;
mod nodes;
mod ops;
mod session;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use config::{KeyFile, Password, SshConfig, UserKey, WindowsLogin};
pub use hostkeys::{FirstContact, HostKeys};
pub use nodes::SshNodes;
