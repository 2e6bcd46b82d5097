//! The power of a whole site.

use std::time::Duration;

use anyhow::Result;

use super::Site;
use crate::lab::{down, node};

/// How long a machine may take to boot, with all others booting.
const BOOT_PATIENCE: Duration = Duration::from_secs(300);

/// Cuts the power of all machines at once.
pub(crate) fn off(site: &Site) -> Result<()> {
    down::stop_nodes(&site.target.dir().join("state"))?;
    down::stop_nodes(&site.management.dir().join("state"))
}

/// Starts all machines, and waits until they have booted. What runs on them by then is another question.
pub(crate) fn on(site: &Site) -> Result<()> {
    for (spec, machine) in site.machines() {
        std::fs::remove_file(spec.node_state(machine).join("stop"))?;
        node::boot(spec, machine)?;
    }
    for (spec, machine) in site.machines() {
        node::wait_booted(spec, machine, BOOT_PATIENCE)?;
    }
    Ok(())
}
