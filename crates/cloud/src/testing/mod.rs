//! A server that stands for Azure, for tests of this crate and for the lab. Never part of the program.
//! [`kms`] is a plugin of a cluster's API server.
//!
//! It speaks, over TLS, what [`crate::azure`] calls: tenant discovery, the token endpoints of Microsoft Entra ID and of
//! AD FS, Azure Stack Hub's metadata, resource providers, virtual machines and scale sets with their restarts. It signs
//! the tokens that it gives out and checks those that it gets, and refuses what Azure refuses, with Azure's codes.
//!
//! What a call looks like comes from a record of the ancestor where there is one; error codes, lists, scale sets, AD FS,
//! device codes and asynchronous operations follow Microsoft's documentation. Nothing here was compared with a real
//! Azure.

mod config;
mod jwt;
pub mod kms;
mod login;
mod machines;
mod reply;
mod resource_manager;
mod server;
mod tls;

pub use config::{Client, Operations, Stack, StandInConfig, StandInMachine};
pub use server::{Call, Hook, StandIn, Trouble, TroubleKind};
