//! What wrong hands may have had, and may still have.
//!
//! A rotation ends what a stolen credential opens from here on. It undoes nothing that was done with it, and it cannot
//! reach copies; what an operator has to look at besides is told before anything is touched, and again in the report.

use crate::intent::Scope;
use crate::inventory::Inventory;
use crate::model::TrustDomain;

/// The sentences, most urgent first.
pub(super) fn notices(scope: Scope, inventory: &Inventory) -> Vec<String> {
    let mut notices: Vec<&str> = Vec::new();
    if scope.covers(TrustDomain::Cluster) {
        notices.extend([
            "Until the phase \"drop\" is through, whoever has the old CA's key or an administrator's certificate can do everything in the cluster; the run waits for nothing that is not needed, and cannot be held before that phase.",
            "Every Secret may have been read with the old credentials: change passwords, cloud credentials, registry credentials and TLS keys that lie in Secrets or ConfigMaps, and do so after this run.",
            "Service-account tokens are accepted until the phase \"drop\": those of the old key, mounted in pods or stored in token Secrets, are refused from then on, and nothing of what was done with them before is undone.",
            "Token Secrets of the old kind have no end of their own; this run signs each one anew, but a token that was handed out to systems outside of the cluster stops working there and must be handed out again.",
            "Certificates that were signed through CertificateSigningRequests are of the old CA and are refused after the phase \"drop\"; requests vanish after an hour, so that nobody can list who has got one. Look for CertificateSigningRequests, and for approvers, that you do not know.",
            "Whoever was administrator may have made a way back in that no certificate opens: review ClusterRoleBindings and RoleBindings, service accounts, admission webhooks, APIServices, DaemonSets, CronJobs, static pods below /etc/kubernetes/manifests, and users and keys on the nodes.",
            "Kubeconfigs that were handed out stop working at the phase \"drop\"; each person and each pipeline needs a new one, and a copy in a repository or a backup shows where the old ones have been.",
            "Backups and snapshots of etcd hold all Secrets, and images of disks and virtual machines hold the old private keys: destroy them, or keep them as secret as the credentials that are valid now.",
            "Keys for encryption at rest, where there are any, are not changed by this run: change them, then write every Secret anew.",
            "The private keys of the SSH users, of the cloud's service principal and of the load balancer are not part of the cluster's certificates and stay as they are; the api model that holds the CA's key mostly holds those, too.",
            "The api model with its backups (_rotate_certs_backup, run directories) holds the old CA's key: destroy the copies once the new credentials have proven themselves.",
        ]);
    }
    if scope.covers(TrustDomain::FrontProxy) {
        notices.push(
            "Whoever has the front proxy's old key can speak to aggregated API servers as any user until these have forgotten the old CA, which is at the end of this run; one that reads its trust at its start only must be restarted by hand.",
        );
    } else {
        notices.push(
            "The front proxy's CA and key are out of scope and stay; whoever was root on a control plane has them.",
        );
    }
    let mut notices: Vec<String> = notices.into_iter().map(ToOwned::to_owned).collect();
    if !scope.covers(TrustDomain::Cluster) {
        notices.push(
            "The cluster CA and everything under it are out of scope and stay; whoever was root on a control plane has its key.".to_owned(),
        );
    }
    let jobs = inventory.api.seen().map_or(0, |api| api.job_pods.len());
    if jobs > 0 && scope.covers(TrustDomain::Cluster) {
        notices.push(format!(
            "Pods of Jobs are left to finish ({jobs} now); their tokens are refused after the phase \"drop\"."
        ));
    }
    notices
}
