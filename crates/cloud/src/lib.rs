//! What kubecert knows about the cloud side of a cluster.
//!
//! [`apimodel`] reads the description that AKS engine (and its successor for Azure Stack Hub) leaves on the
//! operator's machine, derives every name and address of the cluster from it, and writes the new certificates back
//! into it. [`azure`] asks Azure for the machines, and restarts them where that is wanted. [`arc`] reads the credentials of
//! a site of AKS Arc, [`cluster_file`] a description of one's own, [`cluster_api`] what Cluster API
//! keeps of a cluster; [`authority`] is an authority for one, and a client of it.
//!
//! This crate is an adapter: nothing here reads the environment, the home directory or the terminal.

pub mod apimodel;
pub mod arc;
pub mod authority;
pub mod azure;
pub mod cluster_api;
pub mod cluster_file;
#[cfg(feature = "testing")]
pub mod testing;
