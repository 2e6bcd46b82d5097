//! A KMS v2 plugin whose everything hangs on the authority, as AKS Arc's does; for tests and for the lab.
//!
//! An API server encrypts Secrets with it (`EncryptionConfiguration`, provider `kms`, `apiVersion: v2`). It logs in with a login
//! file, and answers only while it has a client certificate that the authority accepts, which it asks for each request. The
//! certificate is in memory only: as with a pod whose volume is an `emptyDir`, a restart needs a token that is good.
//!
//! Its key is local. What the vendor's plugin does with the cloud agent's keys is not public, and of no importance for who
//! may ask.
//!
//! * `wire.rs`: the messages. `key.rs`: the key. `holder.rs`: login, renewal, and whether the authority accepts us. `server.rs`: the
//!   socket.

mod holder;
mod key;
mod server;
mod wire;

pub use holder::LOGIN_PAUSE;
pub use server::{KmsConfig, KmsPlugin};
pub use wire::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse,
};
