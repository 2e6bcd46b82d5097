//! An authority for the infrastructure of AKS Arc, and a client of one.
//!
//! The vendor's agents are closed; what they say to each other is public (`github.com/microsoft/moc`, Apache-2.0: definitions and
//! a client library). Here is a client that does what public clients do, and an authority that speaks the same API to them:
//! login by token, certificates that renew themselves, identities, roles, health, the CA's rotation with an overlap.
//!
//! **It is not the vendor's agent, and conforming with it is not claimed.** What that one does beyond public knowledge is marked
//! "assumed", here and in the names of tests.
//!
//! The client does not repeat what is known to be wrong with the public one: the port is a setting, files are replaced as a whole
//! and readable by their owner alone, errors are never swallowed, and where there is no usable client certificate there is no
//! connection.
//!
//! * `wire.rs`, `code.rs`: messages and codes. `login_file.rs`, `access_file.rs`: the two files that clients have.
//! * `request.rs`, `ca.rs`: what is asked to be signed, and what is signed. `token.rs`: JWTs.
//! * `document.rs`, `live.rs`, `store.rs`, `owner.rs`: what an authority keeps, where, and who changes it.
//! * `call.rs`, `tls.rs`, `client.rs`: the client; `upkeep.rs`: when its files are due. `server.rs`, `service.rs`: the server and
//!   what it is asked about logins and identities; `certificate_agent.rs`, `roles.rs`, `assignments.rs`, `agent.rs`: about the rest.

mod access_file;
mod agent;
mod assignments;
mod ca;
mod call;
#[cfg(test)]
mod calls_tests;
mod certificate_agent;
mod client;
mod code;
mod document;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod live;
mod login_file;
mod owner;
mod request;
mod rights;
mod roles;
mod server;
mod service;
mod store;
mod tls;
mod token;
mod upkeep;
mod wire;

pub use access_file::{AccessFile, AccessLock, RENEW_BELOW_PERCENT, RENEWAL_RETRY_PERCENT};
pub use agent::{AgentInfo, Health};
pub use client::{Client, SignedServer, When, learn_roots, login, renew};
pub use code::{MocCode, Refusal};
pub use document::{Lifetimes, OldTokens};
pub use error::AuthorityError;
pub use login_file::{Address, ClientType, DEFAULT_LOGIN_PORT, DEFAULT_PORT, LoginFile};
pub use owner::{Authority, FIRST_IDENTITY, IdentityInfo, Monitor, NewIdentity, Settings, Status};
pub use roles::{RoleAction, RoleInfo};
pub use server::{Server, ServerConfig};
pub use upkeep::{Reason, access_due, login_due, server_due};
