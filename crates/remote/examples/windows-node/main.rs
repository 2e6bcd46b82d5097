//! A Windows node for the lab: the endpoint of `kubecert_remote::testing`, with a kubelet that is a real client of the
//! cluster's API. `cargo xtask lab up` starts it in the node's network.
//!
//! The only argument is a file of lines `key=value`; see [`Settings`].

mod kubelet;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use kubecert_remote::testing::{Endpoint, Kubelet as _, Logins, Machine};

use crate::kubelet::LabKubelet;

/// What the node is.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The directory in which `c` stands for drive C.
    pub(crate) root: PathBuf,
    /// Its host name.
    pub(crate) name: String,
    /// Its address.
    pub(crate) address: IpAddr,
    /// The kubectl to speak to the API with.
    pub(crate) kubectl: PathBuf,
    /// The version that it says its kubelet has.
    pub(crate) version: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let path = std::env::args().nth(1).ok_or("the file with the node's settings is missing")?;
    let text = fs::read_to_string(path)?;
    let values: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let value = |key: &str| {
        values.get(key).map(|value| (*value).to_owned()).ok_or(format!("the settings have no {key}"))
    };
    let settings = Settings {
        root: value("root")?.into(),
        name: value("name")?,
        address: value("address")?.parse()?,
        kubectl: value("kubectl")?.into(),
        version: value("version")?,
    };
    let logins = Logins {
        user: value("user")?,
        password: values.get("password").map(|password| (*password).to_owned()),
        keys: value("keys").unwrap_or_default(),
    };
    let kubelet = Arc::new(LabKubelet::new(settings.clone()));
    kubelet.start().await;
    let machine = Machine::new(&settings.root, &settings.name, kubelet);
    let endpoint =
        Endpoint::listen(SocketAddr::new(settings.address, 22), logins, Some(Arc::new(machine))).await?;
    println!("{} listens at {}: {}", settings.name, endpoint.address(), endpoint.host_key());
    std::future::pending::<()>().await;
    Ok(())
}
