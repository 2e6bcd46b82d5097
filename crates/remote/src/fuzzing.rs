//! Entries to private parsers, for the fuzz targets in `fuzz/` and for nobody else.

use std::path::Path;

use kubecert_core::inventory::NodeFacts;
use kubecert_core::model::Component;
use kubecert_engine::ports::{NodeQuestion, PortResult};

use crate::known_hosts::{self, Kind};
use crate::ops;

/// Reads the text of a `known_hosts` file. Returns for each key whether the host is said to have it (`true`) or nobody
/// may have it (`false`); keys of other hosts are left out.
///
/// # Errors
///
/// Fails if a line revokes a key that cannot be read.
pub fn known_hosts(text: &str, host: &str, port: u16) -> PortResult<Vec<bool>> {
    let name = known_hosts::lookup_name(host, port);
    let keys = known_hosts::parse(Path::new("known_hosts"), text)?;
    Ok(keys.iter().filter_map(|key| key.about(&name)).map(|kind| kind == Kind::Trusted).collect())
}

/// Reads what a node answers to a look.
///
/// # Errors
///
/// Fails if it is not understood.
pub fn look_answer(answer: &str) -> PortResult<NodeFacts> {
    let question = NodeQuestion {
        paths: vec!["/etc/kubernetes/certs/ca.crt".to_owned()],
        texts: vec!["/etc/kubernetes/manifests/kube-apiserver.yaml".to_owned()],
        components: vec![Component::ApiServer, Component::Kubelet],
        ..NodeQuestion::default()
    };
    ops::answered(answer, &question, "cannot look at the node").map(|(facts, _)| facts)
}
