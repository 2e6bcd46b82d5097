//! What the nodes of every layout have alike: the way in, and the balancer before them.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::base::{append, link};
use super::spec::{Spec, source};
use super::template::{Values, directory, enable, lay_tree, write};

/// The administrator's uid and gid, as on clouds' images.
pub(crate) const ADMIN: (u32, u32) = (1000, 1000);

/// Lets the operator in: sshd as strict as the ancestor's, one user with a key and with sudo.
pub(crate) fn let_in(spec: &Spec, root: &Path, ssh_public_key: &str) -> Result<()> {
    let admin = &spec.admin;
    lay_tree(&source().join("node"), root, &[("ADMIN", admin.clone())])?;
    append(&root.join("etc/passwd"), &format!("{admin}:x:1000:1000::/home/{admin}:/bin/bash\n"))?;
    append(&root.join("etc/group"), &format!("{admin}:x:1000:\n"))?;
    append(&root.join("etc/shadow"), &format!("{admin}:*:19000:0:99999:7:::\n"))?;
    let home = root.join("home").join(admin);
    directory(&home, 0o755, ADMIN)?;
    directory(&home.join(".ssh"), 0o700, ADMIN)?;
    write(&home.join(".ssh/authorized_keys"), ssh_public_key, 0o600, ADMIN)
}

/// Furnishes the balancer from the layout's tree: API servers answer at `port`, and the first master is the SSH host.
pub(crate) fn balance(spec: &Spec, root: &Path, tree: &str, port: u16) -> Result<()> {
    let backends: Vec<_> = spec.masters().map(|m| format!("  server {} {}:{port}", m.short, m.ip)).collect();
    let first = spec.masters().next().context("no masters")?;
    let values: &Values<'_> = &[
        ("PUBLIC_IP", spec.public_ip.to_string()),
        ("INTERNAL_IP", spec.internal_ip.to_string()),
        ("API_BACKENDS", backends.join("\n")),
        ("SSH_BACKEND", first.ip.to_string()),
    ];
    lay_tree(&source().join(tree), root, values)?;
    // Port 22 of the public address is the balancer's to pass on.
    link("/dev/null", &root.join("etc/systemd/system/ssh.service"))?;
    enable(root, "haproxy.service", "/lib/systemd/system")
}
