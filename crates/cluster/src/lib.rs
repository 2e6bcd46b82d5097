//! The Kubernetes API, etcd, and TLS probes.
//!
//! Four adapters implement the engine's ports:
//!
//! * [`KubeClient`] asks the Kubernetes API at the cluster's public endpoint;
//! * [`EtcdClient`] asks each etcd member through its own node;
//! * [`TlsProbe`] looks at running servers from outside: what they present, whom they trust;
//! * [`ApiAvailability`] is one request of the series that measures whether the API answers.
//!
//! All of them live through a change of the CA. They present the client certificate always, with the chain that they
//! were given (a server that trusts only the old CA needs the cross certificate in it), keep nothing from one TLS
//! session to the next (a resumed session shows neither the certificate nor the trust of today), and carry several
//! [`Credentials`](kubecert_engine::ports::Credentials) at once, falling over from one to the next where a server does
//! not accept the first.

mod api;
mod availability;
mod etcd;
mod fault;
mod http;
mod probe;
mod tls;

pub use api::{EntryChange, KubeClient};
pub use availability::ApiAvailability;
pub use etcd::EtcdClient;
pub use probe::{TlsProbe, presented, takes_connections};
