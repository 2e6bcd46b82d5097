//! Known troubles of sites of AKS Arc, by what is found of their credentials, and by what their Kubernetes APIs show.
//!
//! What people see (an error text, a hang) seldom names the credential that is behind it. Each trouble here has an id that
//! stays, says what it looks like, whose credential is behind it and where, and how it is repaired. Every finding is
//! looked at by itself, so that no trouble hides another. Sources: the issues of `github.com/Azure/aksArc` that the
//! troubles name, and the known-issues pages of the product.

use std::fmt;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::api::{self, ApiSight};
use super::{Class, Finding, Heals, Material, Rule, Verdict};

/// A trouble that is known. Ids are part of the output's format: none is ever given to another trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The infrastructure's CA has ended.
    RootCaEnded,
    /// An agent presents a certificate that has ended.
    AgentServerEnded,
    /// A client does not know the CA of the agent that it talks to.
    ForeignRoot,
    /// The administrator's certificate has ended, and the token has not.
    AdministratorIdle,
    /// The administrator's token has ended.
    AdministratorLockedOut,
    /// The appliance's certificate has ended.
    ApplianceCertificateEnded,
    /// The appliance's token has ended.
    ApplianceTokenEnded,
    /// A host's agent cannot log in.
    NodeAgentEnded,
    /// The infrastructure provider, or another operator of the management cluster, cannot log in.
    ProviderEnded,
    /// The resource bridge's token has ended.
    ResourceBridgeEnded,
    /// A cluster's own certificates have ended.
    ControlPlaneEnded,
    /// A cluster's own CA has ended.
    ClusterCaEnded,
    /// A cluster's Secrets cannot be decrypted, or will not be after a restart.
    KmsPluginEnded,
    /// Nobody approves what kubelets ask for.
    CertificateManagerEnded,
    /// Nobody has answered what kubelets ask for (see [`Rule::V10`]).
    ServingRequestsPending,
    /// A cluster's storage, load balancers or virtual address cannot be changed.
    ClusterClientEnded,
    /// A load balancer does not learn of new services.
    LoadBalancerAgentEnded,
    /// A service has an address, and nothing answers there.
    ServiceWithoutTraffic,
    /// A kubelet is not let in.
    KubeletClientEnded,
    /// What renews the certificates of a worker ends again and again.
    RenewalWorkerCrashing,
    /// Logs and shells of a node's pods cannot be had.
    KubeletServingEnded,
    /// A webhook presents a certificate that has ended.
    WebhookEnded,
    /// A person's kubeconfig has ended.
    KubeconfigEnded,
    /// A clock is wrong.
    ClockWrong,
    /// A Kubernetes API could not be looked at, so that nothing is known of what only it shows.
    ApiUnreadable,
    /// Something could not be read, so that nothing is known of it.
    Unreadable,
}

impl Trouble {
    /// All of them, in the order in which they are to be repaired.
    pub const ALL: [Trouble; 26] = [
        Trouble::ClockWrong,
        Trouble::RootCaEnded,
        Trouble::AgentServerEnded,
        Trouble::AdministratorLockedOut,
        Trouble::AdministratorIdle,
        Trouble::ForeignRoot,
        Trouble::ApplianceTokenEnded,
        Trouble::ApplianceCertificateEnded,
        Trouble::NodeAgentEnded,
        Trouble::ProviderEnded,
        Trouble::ResourceBridgeEnded,
        Trouble::ClusterCaEnded,
        Trouble::ControlPlaneEnded,
        Trouble::KmsPluginEnded,
        Trouble::CertificateManagerEnded,
        Trouble::ServingRequestsPending,
        Trouble::ClusterClientEnded,
        Trouble::LoadBalancerAgentEnded,
        Trouble::ServiceWithoutTraffic,
        Trouble::KubeletClientEnded,
        Trouble::RenewalWorkerCrashing,
        Trouble::KubeletServingEnded,
        Trouble::WebhookEnded,
        Trouble::KubeconfigEnded,
        Trouble::ApiUnreadable,
        Trouble::Unreadable,
    ];

    /// The id.
    pub const fn id(self) -> &'static str {
        match self {
            Trouble::RootCaEnded => "root-ca-ended",
            Trouble::AgentServerEnded => "agent-server-ended",
            Trouble::ForeignRoot => "foreign-root",
            Trouble::AdministratorIdle => "administrator-idle",
            Trouble::AdministratorLockedOut => "administrator-locked-out",
            Trouble::ApplianceCertificateEnded => "appliance-certificate-ended",
            Trouble::ApplianceTokenEnded => "appliance-token-ended",
            Trouble::NodeAgentEnded => "node-agent-ended",
            Trouble::ProviderEnded => "provider-ended",
            Trouble::ResourceBridgeEnded => "resource-bridge-ended",
            Trouble::ControlPlaneEnded => "control-plane-ended",
            Trouble::ClusterCaEnded => "cluster-ca-ended",
            Trouble::KmsPluginEnded => "kms-plugin-ended",
            Trouble::CertificateManagerEnded => "certificate-manager-ended",
            Trouble::ServingRequestsPending => "serving-requests-pending",
            Trouble::ClusterClientEnded => "cluster-client-ended",
            Trouble::LoadBalancerAgentEnded => "load-balancer-agent-ended",
            Trouble::ServiceWithoutTraffic => "service-without-traffic",
            Trouble::KubeletClientEnded => "kubelet-client-ended",
            Trouble::RenewalWorkerCrashing => "renewal-worker-crashing",
            Trouble::KubeletServingEnded => "kubelet-serving-ended",
            Trouble::WebhookEnded => "webhook-ended",
            Trouble::KubeconfigEnded => "kubeconfig-ended",
            Trouble::ClockWrong => "clock-wrong",
            Trouble::ApiUnreadable => "api-unreadable",
            Trouble::Unreadable => "unreadable",
        }
    }

    /// What people see of it.
    pub const fn looks_like(self) -> &'static str {
        match self {
            Trouble::RootCaEnded => "No client reaches the cloud agent any more, and none can be renewed.",
            Trouble::AgentServerEnded => {
                "Every client reports a certificate that has expired, whatever its own is."
            }
            Trouble::ForeignRoot => {
                "`x509: certificate signed by unknown authority`, often for one user only (aksArc issue 160)."
            }
            Trouble::AdministratorIdle => {
                "`Certificate has expired: Expired` from every cmdlet that asks the cloud agent (aksArc issue 168)."
            }
            Trouble::AdministratorLockedOut => {
                "`Valid Token Required` from every cmdlet, logging in again included; nobody has rights any more."
            }
            Trouble::ApplianceCertificateEnded => {
                "`failed to create azurestackhci session: Certificate has expired` while updating (aksArc issue 146)."
            }
            Trouble::ApplianceTokenEnded => {
                "Nothing yet, until the certificate ends or is lost: then the management cluster cannot be managed (aksArc issue 169)."
            }
            Trouble::NodeAgentEnded => "The host's agent stays at *Starting* and opens ever more ports.",
            Trouble::ProviderEnded => {
                "Updating or scaling hangs; the provider's log says `Valid Token Required` (aksArc issue 107)."
            }
            Trouble::ResourceBridgeEnded => {
                "`PrerequisitesError` with `Valid Token Required`, often behind an error of Entra ID about another secret."
            }
            Trouble::ControlPlaneEnded => {
                "The cluster cannot be reached after some days off: `x509: certificate has expired` (aksArc issue 233)."
            }
            Trouble::ClusterCaEnded => "Nothing in the cluster trusts anything in it.",
            Trouble::KmsPluginEnded => {
                "Secrets give `internal error`, or the API server does not start after a restart (aksArc issue 127)."
            }
            Trouble::CertificateManagerEnded => {
                "`kubectl logs` gives `tls: internal error`, and requests for serving certificates stay pending (aksArc issue 237)."
            }
            Trouble::ServingRequestsPending => {
                "`kubectl logs` and `kubectl exec` give `tls: internal error` (aksArc issue 237)."
            }
            Trouble::ClusterClientEnded => {
                "Volumes stay pending, or services of type LoadBalancer get no address."
            }
            Trouble::LoadBalancerAgentEnded => {
                "New services have an address, and no traffic comes through; scaling fails."
            }
            Trouble::ServiceWithoutTraffic => {
                "The service has its address, and connections to it are refused or time out; scaling may fail, too."
            }
            Trouble::RenewalWorkerCrashing => {
                "A pod of cert-renewal is in CrashLoopBackOff; the node's certificates end some days later."
            }
            Trouble::KubeletClientEnded => "The node is NotReady, and its kubelet is refused with 401.",
            Trouble::KubeletServingEnded => "`kubectl logs` and `kubectl exec` fail for the node's pods.",
            Trouble::WebhookEnded => {
                "Objects cannot be changed: `failed calling webhook`, with an x509 error (aksArc issue 154)."
            }
            Trouble::KubeconfigEnded => "One person's `kubectl` is refused, everybody else's works.",
            Trouble::ClockWrong => {
                "Certificates are `not yet valid`, or nothing that is said of ends can be believed."
            }
            Trouble::ApiUnreadable | Trouble::Unreadable => "Nothing: that is why it is named.",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl Serialize for Trouble {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

/// A trouble at a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// Which one.
    pub id: Trouble,
    /// What people see of it.
    pub looks_like: &'static str,
    /// Whose credential is behind it, where it is, and whether it is a certificate or a token.
    pub credential: String,
    /// What is wrong with it.
    pub why: String,
    /// How it is repaired.
    pub repair: String,
    /// Whether it only shows at the next restart.
    pub latent_until_restart: bool,
}

impl Diagnosis {
    /// One that shows now, whatever restarts.
    pub(super) fn of(id: Trouble, credential: String, why: String, repair: String) -> Self {
        Self { id, looks_like: id.looks_like(), credential, why, repair, latent_until_restart: false }
    }
}

/// A client that trusts none of the CAs of a server that it has to talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// Whose roots they are, and where.
    pub client: String,
    /// Which server.
    pub server: String,
}

/// Names every trouble that is found, in the order of repair; those that are alike in the order of the findings.
pub fn doctor(
    findings: &[Finding],
    strangers: &[Stranger],
    sights: &[ApiSight],
    now: Timestamp,
) -> Vec<Diagnosis> {
    let of_findings = findings.iter().filter_map(|finding| {
        let id = trouble(finding)?;
        Some(Diagnosis {
            id,
            looks_like: id.looks_like(),
            credential: finding.name.clone(),
            why: finding.judgement.why.clone(),
            repair: finding.judgement.action.clone(),
            latent_until_restart: finding.latent_until_restart,
        })
    });
    let of_strangers = strangers.iter().map(|stranger| {
        Diagnosis::of(
            Trouble::ForeignRoot,
            format!("roots of {}", stranger.client),
            format!("none of them has signed what {} presents", stranger.server),
            "Delete the access file (the whole file, on this host only) and log in with a new login file, which holds the present root; during a change of the CA, with one that holds both.".to_owned(),
        )
    });
    let of_apis = api::of_apis(sights, now);
    let mut found: Vec<Diagnosis> = of_findings.chain(of_strangers).chain(of_apis).collect();
    found.sort_by_key(|diagnosis| Trouble::ALL.iter().position(|known| *known == diagnosis.id));
    found
}

/// The trouble that a finding is, if it is one.
fn trouble(finding: &Finding) -> Option<Trouble> {
    if finding.judgement.verdict == Verdict::NotImpacted {
        return None;
    }
    if finding.judgement.verdict == Verdict::Unknown {
        let clock = finding.judgement.rule == Some(Rule::V14);
        return Some(if clock { Trouble::ClockWrong } else { Trouble::Unreadable });
    }
    let token = finding.material == Material::Token;
    Some(match finding.class {
        Class::RootCa => Trouble::RootCaEnded,
        Class::CloudAgent | Class::NodeAgentServer => Trouble::AgentServerEnded,
        Class::Administrator if finding.heals == Heals::Login => Trouble::AdministratorIdle,
        Class::Administrator => Trouble::AdministratorLockedOut,
        Class::Appliance if token => Trouble::ApplianceTokenEnded,
        Class::Appliance => Trouble::ApplianceCertificateEnded,
        Class::NodeAgent => Trouble::NodeAgentEnded,
        Class::InfrastructureProvider | Class::CloudOperator | Class::Identity => Trouble::ProviderEnded,
        Class::ResourceBridge => Trouble::ResourceBridgeEnded,
        Class::ControlPlane => Trouble::ControlPlaneEnded,
        Class::ClusterCa => Trouble::ClusterCaEnded,
        Class::KmsPlugin => Trouble::KmsPluginEnded,
        Class::CertificateManager => Trouble::CertificateManagerEnded,
        Class::CsiDriver | Class::CloudProvider | Class::KubeVip => Trouble::ClusterClientEnded,
        Class::LoadBalancerAgent => Trouble::LoadBalancerAgentEnded,
        Class::KubeletClient => Trouble::KubeletClientEnded,
        Class::KubeletServing => Trouble::KubeletServingEnded,
        Class::Webhook => Trouble::WebhookEnded,
        Class::Kubeconfig => Trouble::KubeconfigEnded,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_there_once_each_and_stay() {
        let ids: BTreeSet<&str> = Trouble::ALL.into_iter().map(Trouble::id).collect();
        assert_eq!(ids.len(), Trouble::ALL.len());
        insta::assert_debug_snapshot!(ids);
    }
}
