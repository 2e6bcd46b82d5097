//! A Windows node as far as kubecert can tell, for tests and for the lab: an SSH server that takes the very command line and
//! the very scripts that kubecert sends to one, and plays what they do on a directory.
//!
//! There is no PowerShell here, so the scripts are not run: the endpoint knows them by their whole text, refuses any other, and
//! plays the operation with the parameters that were sent. What it shows is therefore that kubecert sends the right
//! operations with the right parameters in the right order over real SSH with real logins, and that files, services and
//! a kubelet that behave as `docs/windows.md` says they do come to be as they should. That the scripts do on Windows what is
//! played here is for that document to confirm.

mod machine;
mod play;
mod server;

pub use machine::{Kubelet, Machine};
pub use server::{Endpoint, Logins};
