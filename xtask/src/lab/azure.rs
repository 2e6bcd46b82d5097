//! Azure's side of a lab: a server of ours where the model says that Resource Manager and the issuer of tokens are, whose
//! "restart" really restarts a node.
//!
//! It listens on the operator's side of the switch, under the names of the model's own endpoints, with a certificate of a
//! private root, as an Azure Stack Hub has. The server itself is `kubecert_cloud::testing`; it is a program of its own, so
//! that this one need not be linked with all that it needs.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::cache;
use super::model::Model;
use super::node;
use super::spec::{Spec, write_private};
use super::stand_in::StandIn;
use crate::cmd::{CommandExt as _, cmd};

/// The subscription, the resource group and the service principal of every lab.
pub(crate) const SUBSCRIPTION: &str = "11111111-2222-3333-4444-555555555555";
pub(crate) const RESOURCE_GROUP: &str = "lab";
pub(crate) const CLIENT: &str = "11111111-2222-3333-4444-666666666666";
pub(crate) const SECRET: &str = "lab-secret";
const TENANT: &str = "11111111-2222-3333-4444-777777777777";
/// The operator's own address on the switch.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// Tokens last so long that a run with restarts needs a second one.
const TOKEN_LASTS_S: u64 = 240;
/// How long it may take to serve: it makes two keys.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// How long a node may take to go down, and to come up again.
const REBOOT_PATIENCE: Duration = Duration::from_secs(300);

/// Where a lab's Azure is, as later commands and other programs are told.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Azure {
    /// Resource Manager's address.
    pub(crate) resource_manager: String,
    /// Where tokens are issued, without AD FS's own ending.
    pub(crate) login: String,
    pub(crate) audience: String,
    /// As `--azure-env` has it.
    pub(crate) environment: String,
    /// As `--identity-system` has it.
    pub(crate) identity_system: String,
}

impl Azure {
    /// What the model says, or what is built in where it says nothing.
    pub(crate) fn of(model: &Model) -> Self {
        let custom = |key: &str| model.custom_cloud(key);
        let slash = |url: String| format!("{}/", url.trim_end_matches('/'));
        let own = |key: &str, built_in: &str| {
            custom(&format!("environment/{key}")).unwrap_or_else(|| built_in.to_owned())
        };
        let login = own("activeDirectoryEndpoint", "https://login.microsoftonline.com/");
        let bare = login.trim_end_matches('/');
        Self {
            resource_manager: slash(own("resourceManagerEndpoint", "https://management.azure.com/")),
            login: slash(bare.strip_suffix("/adfs").unwrap_or(bare).to_owned()),
            audience: own("serviceManagementEndpoint", "https://management.core.windows.net/"),
            environment: custom("environment/name").unwrap_or_else(|| "AzurePublicCloud".to_owned()),
            identity_system: custom("identitySystem").unwrap_or_else(|| "azure_ad".to_owned()),
        }
    }

    /// Its names.
    fn hosts(&self) -> Vec<String> {
        let mut hosts: Vec<String> = [&self.resource_manager, &self.login]
            .into_iter()
            .filter_map(|url| url.strip_prefix("https://")?.split(['/', ':']).next().map(str::to_owned))
            .collect();
        hosts.dedup();
        hosts
    }

    /// The line of `/etc/hosts` on the operator's side.
    pub(crate) fn hosts_line(&self) -> String {
        format!("{ADDRESS} {}\n", self.hosts().join(" "))
    }
}

/// The root that clients must trust.
pub(crate) fn root_certificate(spec: &Spec) -> PathBuf {
    directory(&spec.dir()).join("root.pem")
}

/// Starts the server. It outlives us, and [`stop`] ends it.
pub(crate) fn start(spec: &Spec, model: &Model) -> Result<()> {
    let Some(azure) = &spec.azure else { return Ok(()) };
    let program = StandIn::Azure.build()?;
    let dir = directory(&spec.dir());
    fs::create_dir_all(&dir)?;
    let machines: Vec<_> = spec
        .members()
        .map(|member| json!({"node": member.name, "set": model.scale_set_of(member)}))
        .collect();
    let names = [azure.hosts(), vec![ADDRESS.to_string()]].concat();
    let this = std::env::current_exe().context("cannot find this program")?;
    let config = json!({
        "server": {
            "listen": format!("{ADDRESS}:443"),
            "names": names,
            "resource_manager": azure.resource_manager,
            "login": azure.login,
            "audience": azure.audience,
            "subscription": SUBSCRIPTION,
            "tenant": TENANT,
            "resource_group": RESOURCE_GROUP,
            "clients": [{"id": CLIENT, "secret": SECRET}],
            "machines": machines,
            "token_lasts_s": TOKEN_LASTS_S,
            "stack": if azure.environment == "AzureStackCloud" { "hub" } else { "public" },
        },
        "restart": [this, "lab", "reboot", "--name", spec.name],
        "root": root_certificate(spec),
    });
    let path = dir.join("config.json");
    write_private(&path, &config.to_string())?;
    let log = fs::File::create(dir.join("log"))?;
    // Only the network is the operator's: a restart enters nodes as the host does. The process id is the program's own,
    // since both shell and nsenter become it.
    let script = "echo $$ >\"$0\"; exec nsenter --net=\"$1\" \"$2\" \"$3\"";
    cmd("setsid", ["--fork", "bash", "-c", script])
        .arg(dir.join("pid"))
        .arg(format!("/run/netns/{}", spec.switch()))
        .arg(program)
        .arg(path)
        .current_dir("/")
        .stdout(log.try_clone()?)
        .stderr(log)
        .show()?;
    let serves = || root_certificate(spec).exists();
    cache::wait_for(START_PATIENCE, serves)
        .with_context(|| format!("Azure's side does not serve; see {}", dir.join("log").display()))
}

/// Ends the server of the lab that is kept in `lab`.
pub(crate) fn stop(lab: &Path) {
    if let Some(pid) = node::pid_in(&directory(lab).join("pid"), StandIn::Azure.name()) {
        // It may have ended by itself meanwhile.
        let _gone = cmd("kill", ["-KILL", &pid.to_string()]).succeeds();
    }
}

/// Restarts a node as a cloud does, and waits until it has booted.
///
/// It is a power cycle, which is harsher than Azure's own restart.
pub(crate) fn reboot(name: &str, node: &str) -> Result<()> {
    let spec = Spec::load(name)?;
    let node = spec.node(node)?;
    let before = node::leader(&spec, node).with_context(|| format!("{} is off", node.name))?;
    // It is cut off by what it does.
    let _cut_off = node::enter(&spec, node, &["systemctl", "reboot", "--force", "--force"])?.succeeds();
    let again = || node::leader(&spec, node).is_some_and(|leader| leader != before);
    if cache::wait_for(REBOOT_PATIENCE, again).is_err() {
        bail!("{} does not come up again in {} s", node.name, REBOOT_PATIENCE.as_secs());
    }
    node::wait_booted(&spec, node, REBOOT_PATIENCE)
}

fn directory(lab: &Path) -> PathBuf {
    lab.join("azure")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn azure(login: &str) -> Azure {
        Azure {
            resource_manager: "https://management.local.azurestack.external/".to_owned(),
            login: login.to_owned(),
            audience: String::new(),
            environment: String::new(),
            identity_system: String::new(),
        }
    }

    #[test]
    fn the_operator_finds_azure_under_the_models_names() {
        let line = azure("https://login.microsoftonline.com/").hosts_line();
        assert_eq!(line, "203.0.113.1 management.local.azurestack.external login.microsoftonline.com\n");
        let one = azure("https://management.local.azurestack.external/").hosts_line();
        assert_eq!(one, "203.0.113.1 management.local.azurestack.external\n");
    }
}
