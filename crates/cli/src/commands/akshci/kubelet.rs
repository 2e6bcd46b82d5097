//! A cluster's own Kubernetes certificates.

use kubecert_cloud::arc::Site;

use super::report::Report;
use crate::errors::{CliError, Kind};

/// Renews the Kubernetes certificates of a cluster's control plane. The site's infrastructure is good when this is called.
///
/// To be filled in where kubecert knows clusters of this layout; until then it says what to use instead.
pub(super) async fn fix_kubelet_credentials(site: &Site, cluster: &str) -> Result<Report, CliError> {
    let said = format!(
        "the Kubernetes certificates of cluster {cluster} of {} are not renewed by this verb yet",
        site.name
    );
    Err(CliError::new(Kind::Cluster, said)
        .hint("Use `kubecert recover --cluster FILE`, with FILE describing the cluster's machines; it needs SSH and the cluster's CA, and no API.")
        .hint("Nothing was changed. Then go on with -FixCloudCredentials -PatchLoadBalancer."))
}
