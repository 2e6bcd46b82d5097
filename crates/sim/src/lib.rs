//! A whole cluster in memory, on a virtual clock, that kubecert rotates as if it were real.
//!
//! [`SimCluster`] lays a cluster out as AKS engine does: real certificates and keys, real manifests, the paths, modes
//! and owners of a node. Its processes have memories apart from their disks and load what the reload matrix
//! says when it says; handshakes are answered from memory. Whether one process accepts another is
//! decided by `kubecert-pki` on the bytes. So the same engine and planner that rotate real clusters run here, and a
//! monitor looks after every change whether an invariant broke ([`SimCluster::violations`]), while workloads count their
//! failed calls ([`SimCluster::workload_log`]).
//!
//! Time is tokio's: with a paused clock a rotation of minutes takes milliseconds; with [`Speed::Factor`] a
//! demonstration runs so many times faster than reality.
//!
//! * `world`: state and events; `process` (what loads what when), `lifecycle` (starts, stops, files), `etcd`,
//!   `controllers`, `kubelet`, `pods`, `routing` (load balancer, diversions), `monitor` (invariants).
//! * `builder`, `pki`, `texts`: the cluster at its beginning.
//! * `ports`: the engine's ports, each call one atomic change of the world, so that a caller may be dropped anywhere.
//! * `campaign`: seeded runs with random faults, and their judgement.
//! * `faults`: calls that fail, answers that are lost, callers that are cut off.

mod builder;
pub mod campaign;
mod certs;
mod chance;
mod cluster;
mod config;
mod controllers;
mod etcd;
mod faults;
mod files;
mod kubelet;
mod lifecycle;
mod monitor;
mod objects;
mod pki;
mod pods;
mod ports;
mod process;
mod routing;
mod texts;
mod time;
mod world;

pub use cluster::{SimCluster, SimError};
pub use config::{SimConfig, Speed, Workloads};
pub use faults::{Disturbance, Trouble};
pub use monitor::Violation;
pub use objects::AutoscalerState;
pub use pods::{FailedCall, WorkloadLog};
