//! A whole site, layer by layer: what `kubecert recover --site` does.
//!
//! The order follows from what depends on what, and is the documented one. Whoever manages machines and hands out tokens comes
//! first; then each cluster's KMS plugin, without which its API server does not start, and its own PKI, over SSH alone, since its
//! API server is asked for Secrets afterwards; then what its components have at the authority, and its load balancers. Each layer is idempotent, and renews nothing that is not due; so
//! the same command goes on where it was stopped.

use kubecert_cloud::arc::Site;
use kubecert_core::assess::Layer;

use super::cluster::Target;
use super::places::OverThere;
use super::{How, infrastructure, kms, kubelet, of_cluster, of_plugin, run};
use crate::args::GlobalArgs;
use crate::errors::CliError;
use crate::exit::Exit;

/// One step on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage<'a> {
    /// The infrastructure's own credentials.
    Infrastructure,
    /// The KMS plugin of a cluster, without which its API server does not start.
    Plugin(&'a str),
    /// The Kubernetes layer of a cluster.
    Kubernetes(&'a str),
    /// What the components of a cluster have at the authority, with or without its load balancers.
    Cloud { cluster: &'a str, load_balancers: bool },
}

impl Stage<'_> {
    fn title(&self) -> String {
        match self {
            Self::Infrastructure => "the infrastructure".to_owned(),
            Self::Plugin(cluster) => format!("the KMS plugin of cluster {cluster}"),
            Self::Kubernetes(cluster) => format!("the Kubernetes layer of cluster {cluster}"),
            Self::Cloud { cluster, load_balancers: false } => {
                format!("the cloud credentials of cluster {cluster}")
            }
            Self::Cloud { cluster, load_balancers: true } => {
                format!("the cloud credentials and load balancers of cluster {cluster}")
            }
        }
    }
}

/// Brings back and renews all layers of a site, and ends at the first that fails: those after it depend on it.
pub(super) fn recover(global: &GlobalArgs, site: &Site, how: &How) -> Result<Exit, CliError> {
    for stage in stages(site) {
        eprintln!("== {}", stage.title());
        let done = match &stage {
            Stage::Infrastructure => run(async {
                infrastructure(site, how, &OverThere::of(site, how.ssh_key.as_deref()))
                    .await?
                    .end(global, how)
            }),
            Stage::Plugin(cluster) => of_plugin(global, site, how, cluster),
            Stage::Kubernetes(cluster) => kubelet::fix_kubelet_credentials(global, site, how, cluster),
            Stage::Cloud { cluster, load_balancers } => {
                of_cluster(global, site, how, &Target { name: cluster, load_balancers: *load_balancers })
            }
        };
        let again = "The layers before it are done; the same command goes on here.";
        match done {
            Ok(Exit::Done) => {}
            Ok(other) => return Ok(other),
            Err(error) => return Err(error.hint(again)),
        }
    }
    Ok(Exit::Done)
}

/// What there is to do at a site, in order: a layer of which the site file names nothing is none.
fn stages(site: &Site) -> Vec<Stage<'_>> {
    let mut stages = Vec::new();
    let has = |layer, cluster: Option<&str>| {
        site.sources.iter().any(|source| {
            source.class.layer() == layer && (cluster.is_none() || source.cluster.as_deref() == cluster)
        })
    };
    if has(Layer::Infrastructure, None) {
        stages.push(Stage::Infrastructure);
    }
    for cluster in site.cluster_names() {
        let access = site.clusters.get(cluster);
        if kms::are_named(site, cluster) {
            stages.push(Stage::Plugin(cluster));
        }
        if access.is_some_and(|access| access.cluster_file.is_some()) {
            stages.push(Stage::Kubernetes(cluster));
        }
        let load_balancers = access.is_some_and(|access| !access.load_balancers.is_empty());
        if load_balancers || has(Layer::ClusterInfrastructure, Some(cluster)) {
            stages.push(Stage::Cloud { cluster, load_balancers });
        }
    }
    stages
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn layers_come_in_the_order_in_which_they_depend_on_each_other() {
        let site = |text: &str| Site::parse(text, Path::new("/site")).unwrap();
        let whole = site(
            "name: plant-7\nclusters:\n  - {name: a, cluster-file: a.yaml}\n  - name: b\n    load-balancers:\n      - {name: lb, ssh: 10.0.0.9, certificate: /c.pem, server: '10.0.0.9:1'}\ncredentials:\n  - {class: kms-plugin, cluster: a, login: kms.yaml}\n  - {class: node-agent, login: host.yaml}\n",
        );
        assert_eq!(
            stages(&whole),
            [
                Stage::Infrastructure,
                Stage::Plugin("a"),
                Stage::Kubernetes("a"),
                Stage::Cloud { cluster: "a", load_balancers: false },
                Stage::Cloud { cluster: "b", load_balancers: true },
            ]
        );
        assert_eq!(stages(&site("name: empty\ncredentials: []\n")), []);
    }
}
