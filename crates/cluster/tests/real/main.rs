//! The adapters against real programs: etcd and kube-apiserver on loopback ports.
//!
//! Each test needs the programs that `lab/build-kubernetes.sh` makes, or an etcd of the machine's own; where there are
//! none it says so and does nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod etcd;
mod kubernetes;
mod support;
