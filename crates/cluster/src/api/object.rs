//! The parts of API objects that we read.
//!
//! Structs of our own rather than k8s-openapi's: those are of one Kubernetes version, and this program meets clusters
//! from 1.1x to the newest. What is listed here has kept its meaning all the time. It also keeps what is secret out of
//! our memory: a private key in a Secret has no field here to be put into.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// A page of a list.
#[derive(Deserialize)]
pub(super) struct Page<T> {
    #[serde(default)]
    pub(super) metadata: PageMeta,
    #[serde(
        default = "Vec::new",
        deserialize_with = "null_is_default",
        bound(deserialize = "T: Deserialize<'de>")
    )]
    pub(super) items: Vec<T>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PageMeta {
    pub(super) resource_version: String,
    #[serde(rename = "continue")]
    pub(super) next: String,
}

/// What every object has.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Meta {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) generation: i64,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) owner_references: Vec<Owner>,
    pub(super) deletion_timestamp: Option<String>,
    pub(super) creation_timestamp: Option<String>,
    /// Who changed which fields when; read as it comes, since its shape follows the object's.
    #[serde(deserialize_with = "null_is_default")]
    pub(super) managed_fields: Vec<serde_json::Value>,
}

impl Meta {
    /// The owner that manages this object.
    pub(super) fn controller(&self) -> Option<&Owner> {
        self.owner_references.iter().find(|owner| owner.controller)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Owner {
    pub(super) kind: String,
    pub(super) name: String,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) controller: bool,
}

/// An object of which only the name matters.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Named {
    #[serde(default)]
    pub(super) metadata: Meta,
}

/// A condition of whatever object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) message: String,
}

/// Whether the condition of that type is True.
pub(super) fn holds(conditions: &[Condition], kind: &str) -> bool {
    conditions.iter().any(|condition| condition.kind == kind && condition.status == "True")
}

/// A ConfigMap.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ConfigMap {
    #[serde(default)]
    pub(super) metadata: Meta,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) data: BTreeMap<String, String>,
}

/// Go writes an empty slice or map that has no `omitempty` as `null`.
pub(super) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
