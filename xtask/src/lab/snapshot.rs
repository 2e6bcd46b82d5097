//! A copy of what a rotation may change, taken when a lab stands; [`super::state`] judges by it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::cluster::kubectl;
use super::spec::Spec;
use crate::cmd::{CommandExt as _, cmd};

/// The node files that hold credentials, or that a rotation must leave as they are.
const PATHS: &[&str] = &[
    "etc/kubernetes",
    "etc/default/etcd",
    "etc/default/kubelet",
    "etc/default/health-monitor",
    "etc/environment",
    "etc/systemd/system",
    "var/lib/kubelet/kubeconfig",
    "var/lib/kubelet/config.yaml",
    "var/lib/kubelet/kubeadm-flags.env",
    "var/lib/kubelet/pki",
    "home",
];

/// The kinds of objects that a rotation may change.
pub(crate) const KINDS: [&str; 9] = [
    "secrets",
    "configmaps",
    "apiservices",
    "customresourcedefinitions",
    "validatingwebhookconfigurations",
    "mutatingwebhookconfigurations",
    "deployments",
    "daemonsets",
    "statefulsets",
];

/// Where the state before any rotation lies.
pub(crate) fn before(spec: &Spec) -> PathBuf {
    spec.dir().join("before")
}

/// Copies the PKI, the nodes' files and the cluster's Secrets and ConfigMaps to `to`.
pub(crate) fn take(spec: &Spec, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    cmd("cp", ["-a".as_ref(), spec.output().as_os_str(), to.join("output").as_os_str()]).read()?;
    for node in spec.members() {
        let target = to.join("nodes").join(&node.short);
        fs::create_dir_all(&target)?;
        let root = spec.root(node);
        let present: Vec<_> =
            PATHS.iter().filter(|path| root.join(path).symlink_metadata().is_ok()).collect();
        let mut copy = cmd("cp", ["-a", "--parents", "-t", &target.to_string_lossy()]);
        copy.args(present).current_dir(root).read()?;
    }
    for kind in KINDS {
        fs::write(to.join(format!("{kind}.json")), objects(spec, kind)?)?;
    }
    Ok(())
}

/// Which of these objects are not as the copy shows them, with what is different about each.
pub(crate) fn changed_objects(spec: &Spec, before: &Path) -> Result<Vec<String>> {
    let mut changed = Vec::new();
    for kind in KINDS {
        let was = by_name(&fs::read_to_string(before.join(format!("{kind}.json")))?)?;
        let is = by_name(&objects(spec, kind)?)?;
        let names: BTreeSet<_> = was.keys().chain(is.keys()).collect();
        for name in names {
            match (was.get(name), is.get(name)) {
                (Some(_), None) => changed.push(format!("{kind} {name} is gone")),
                (None, Some(_)) => changed.push(format!("{kind} {name} is new")),
                (Some(was), Some(is)) => {
                    changed.extend(difference(was, is).map(|at| format!("{kind} {name} differs at {at}")));
                }
                (None, None) => {}
            }
        }
    }
    Ok(changed)
}

fn objects(spec: &Spec, kind: &str) -> Result<String> {
    kubectl(spec, &["get", kind, "--all-namespaces", "-o", "json"]).read()
}

/// Objects by namespace and name, without what the API server and controllers count and note by themselves. API servers
/// make some objects anew when these are gone.
fn by_name(list: &str) -> Result<BTreeMap<String, Value>> {
    const COUNTED: [&str; 5] = ["resourceVersion", "generation", "managedFields", "uid", "creationTimestamp"];
    const NOTED: [&str; 2] =
        ["deployment.kubernetes.io/revision", "deprecated.daemonset.template.generation"];
    let list: Value = serde_json::from_str(list)?;
    let items = list["items"].as_array().context("a list of objects has no items")?;
    let mut objects = BTreeMap::new();
    for item in items {
        let mut item = item.clone();
        let name = format!(
            "{}/{}",
            item["metadata"]["namespace"].as_str().unwrap_or_default(),
            item["metadata"]["name"].as_str().unwrap_or_default()
        );
        if let Some(object) = item.as_object_mut() {
            object.remove("status");
        }
        if let Some(metadata) = item["metadata"].as_object_mut() {
            metadata.retain(|key, _| !COUNTED.contains(&key.as_str()));
            if let Some(notes) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                notes.retain(|key, _| !NOTED.contains(&key.as_str()));
            }
        }
        objects.insert(name, item);
    }
    Ok(objects)
}

/// The first place at which two values differ, as a JSON pointer; no value is told, as it may be a secret.
fn difference(was: &Value, is: &Value) -> Option<String> {
    match (was, is) {
        (Value::Object(was), Value::Object(is)) => {
            let keys: BTreeSet<_> = was.keys().chain(is.keys()).collect();
            keys.into_iter().find_map(|key| {
                let inner = match (was.get(key), is.get(key)) {
                    (Some(was), Some(is)) => difference(was, is)?,
                    _ => String::new(),
                };
                Some(format!("/{}{inner}", key.replace('~', "~0").replace('/', "~1")))
            })
        }
        (Value::Array(was), Value::Array(is)) if was.len() == is.len() => was
            .iter()
            .zip(is)
            .enumerate()
            .find_map(|(at, (was, is))| Some(format!("/{at}{}", difference(was, is)?))),
        _ => (was != is).then(String::new),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_server_counts_is_no_difference() {
        let was =
            json!({"items": [{"metadata": {"name": "a", "resourceVersion": "1"}, "data": {"x/y": [1, 2]}}]});
        let is =
            json!({"items": [{"metadata": {"name": "a", "resourceVersion": "2"}, "data": {"x/y": [1, 3]}}]});
        let (was, is) =
            (by_name(&was.to_string()).expect("a list"), by_name(&is.to_string()).expect("a list"));
        assert_eq!(difference(&was["/a"], &is["/a"]).as_deref(), Some("/data/x~1y/1"));
        assert_eq!(difference(&was["/a"], &was["/a"]), None);
    }
}
