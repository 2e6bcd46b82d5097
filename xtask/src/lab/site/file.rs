//! The site file: what kubecert is told of the site.

use std::fmt::Write as _;
use std::fs;

use anyhow::Result;

use super::holders::{self, Cluster, Place};
use super::{AUTHORITY, Site, balancer};

/// Writes the site file, with the management cluster's kubeconfig beside it; the cluster file gets the operator's kubeconfig, since
/// that is needed after a repair.
pub(super) fn write(site: &Site) -> Result<()> {
    let directory = site.directory();
    super::write_private(
        &directory.join("management.conf"),
        &fs::read_to_string(site.management.kubeconfig())?,
    )?;
    let cluster = site.target.cluster_file();
    let own = fs::read_to_string(&cluster)? + "  kubeconfig: admin.conf\n";
    fs::write(cluster, own)?;
    fs::write(site.file(), text(site)?)?;
    Ok(())
}

fn text(site: &Site) -> Result<String> {
    let (target, cluster) = (&site.target, site.cluster());
    let balancer_ip = target.node("lb")?.ip;
    let server = format!("{}:{}", target.public_ip, balancer::PORT);
    let mut text = format!(
        "name: {name}\nauthority: {authority}\nmanagement: management.conf\n\
         ssh: {{user: {user}, key: {key}, known-hosts: site_known_hosts, through: '{fqdn}:{port}'}}\n\
         clusters:\n  - name: {cluster}\n    kubeconfig: admin.conf\n    cluster-file: cluster.yaml\n    load-balancers:\n      \
         - {{name: lb, ssh: {balancer_ip}, certificate: {certificate}, server: '{server}'}}\n\
         credentials:\n  - {{class: cloud-agent, holder: {AUTHORITY}, server: '{AUTHORITY}:55000'}}\n  \
         - {{class: administrator, holder: mocctl, login: mocLogin.yaml}}\n  \
         - {{class: administrator, holder: mocctl, access: mocctl.json}}\n",
        name = target.name,
        authority = site.authority()?.display(),
        user = target.admin,
        key = target.dir().join("id_rsa").display(),
        fqdn = target.fqdn,
        port = target.ssh_port,
        certificate = balancer::CERTIFICATE,
    );
    let mut add = |class: &str, holder: &str, rest: &str| {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "  - {{class: {class}, holder: {holder}, {rest}}}");
    };
    for holder in holders::all(site) {
        let of = if holder.is_of_cluster() { format!("cluster: {cluster}, ") } else { String::new() };
        for place in &holder.places {
            let (who, place) = match place {
                Place::File { machine, path } => {
                    let node = site.target.node(machine)?;
                    let restart = match holder.class {
                        "kms-plugin" => ", restart: {static-pod: kms-plugin}",
                        _ => ", restart: {unit: node-agent}",
                    };
                    (node.name.clone(), format!("login: {path}, on: {}{restart}", node.ip))
                }
                Place::Secret { cluster, namespace, name } => {
                    let within = if *cluster == Cluster::Target { ", in: cluster" } else { "" };
                    (holder.identity.clone(), format!("secret: {namespace}/{name}{within}"))
                }
                Place::Operator => continue,
            };
            add(holder.class, &who, &format!("{of}identity: {}, {place}", holder.identity));
        }
    }
    for node in target.masters() {
        let there = |what: &str| format!("cluster: {cluster}, {what}, on: {}", node.ip);
        add("control-plane", &node.name, &there("certificates: /etc/kubernetes/pki"));
        let own = "certificates: /var/lib/kubelet/pki/kubelet-client-current.pem";
        add("kubelet-client", &node.name, &there(own));
    }
    add("control-plane", "api", &format!("cluster: {cluster}, server: '{}:6443'", target.fqdn));
    add("load-balancer-agent", "lb", &format!("cluster: {cluster}, server: '{server}'"));
    add("kubeconfig", "operator", &format!("cluster: {cluster}, kubeconfig: admin.conf"));
    Ok(text)
}
