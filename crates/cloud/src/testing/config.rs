//! What a stand-in stands for.

use std::net::SocketAddr;

use serde::Deserialize;

/// A cloud with one subscription, one resource group, and machines.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandInConfig {
    /// Where it listens; port 0 takes any.
    pub listen: SocketAddr,
    /// The names, and addresses, that its certificate has.
    pub names: Vec<String>,
    /// Where clients find Resource Manager, with a slash at the end. Empty: where it listens.
    #[serde(default)]
    pub resource_manager: String,
    /// Where clients find who issues tokens, likewise.
    #[serde(default)]
    pub login: String,
    /// For whom tokens for Resource Manager are.
    pub audience: String,
    /// The subscription.
    pub subscription: String,
    /// Its tenant in Entra ID.
    pub tenant: String,
    /// The resource group.
    pub resource_group: String,
    /// Who may call.
    pub clients: Vec<Client>,
    /// The machines.
    pub machines: Vec<StandInMachine>,
    /// How long tokens last, in seconds.
    pub token_lasts_s: u64,
    /// Which versions are known.
    pub stack: Stack,
    /// How operations are followed.
    #[serde(default)]
    pub operations: Operations,
    /// How many machines a page of a list has.
    #[serde(default = "page")]
    pub page: usize,
    /// How often a sign-in by device code is asked about before the person has typed it.
    #[serde(default)]
    pub device_polls: u32,
}

const fn page() -> usize {
    2
}

/// A service principal.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Its id.
    pub id: String,
    /// Its secret, which is no secret here.
    #[serde(default)]
    pub secret: Option<String>,
    /// Its certificate in PEM.
    #[serde(default)]
    pub certificate: Option<String>,
}

/// A machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandInMachine {
    /// Its host name.
    pub node: String,
    /// The scale set that it is an instance of, if any.
    #[serde(default)]
    pub set: Option<String>,
}

/// What versions a cloud knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stack {
    /// Azure.
    Public,
    /// An Azure Stack Hub of the living generation's time.
    Hub,
    /// One that is so old that only the older generation's version is known.
    OldHub,
}

impl Stack {
    pub(super) const fn versions(self) -> &'static [&'static str] {
        match self {
            Self::Public => &["2024-07-01", "2020-06-01", "2019-12-01"],
            Self::Hub => &["2020-06-01", "2017-03-30"],
            Self::OldHub => &["2017-03-30", "2016-03-30"],
        }
    }
}

/// How the state of an operation is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operations {
    /// By `Azure-AsyncOperation`, with `Location` beside it.
    #[default]
    ByState,
    /// By `Location` alone.
    ByLocation,
}
