//! What Windows nodes hold and present. They are played, but by a program that knows nothing of rotations.

use std::fs;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::super::spec::Node;
use super::super::windows::drives;
use super::verdict::{Verdict, ensure};
use super::{Case, servers, verified_by};

pub(super) fn check(case: &Case, verdict: &mut Verdict) {
    let new_ca = case.new.join("ca.crt");
    for node in &case.spec.windows {
        let name = &node.short;
        let c = drives(&case.spec, node).join("c");
        servers::presents(case, node, verdict);
        verdict.check(&format!("{name}: c:\\k\\ca.crt is the new CA"), || {
            let read = |path| fs::read_to_string(path).map(|text| text.replace("\r\n", "\n"));
            ensure(read(c.join("k/ca.crt"))?.trim() == read(new_ca.clone())?.trim(), "it is another one")
        });
        verdict.check(&format!("{name}: its kubeconfig holds the new PKI"), || kubeconfig(case, node));
        verdict.check(&format!("{name}: the kubelet's own client certificate is of the new CA"), || {
            verified_by(&new_ca, &c.join("var/lib/kubelet/pki/kubelet-client-current.pem"))
        });
        verdict.check(&format!("{name}: nothing of ours is left"), || {
            ensure(!c.join("k/kubecert").exists(), "c:\\k\\kubecert is still there")
        });
    }
}

fn kubeconfig(case: &Case, node: &Node) -> Result<()> {
    let text = fs::read_to_string(drives(&case.spec, node).join("c/k/config"))?;
    for file in ["ca.crt", "client.crt", "client.key"] {
        let bytes = fs::read(case.new.join(file)).with_context(|| format!("cannot read the new {file}"))?;
        ensure(text.contains(&BASE64.encode(bytes)), format!("it does not hold the new {file}"))?;
    }
    Ok(())
}
