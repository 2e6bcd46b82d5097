//! The verdict by what could be read.
//!
//! A credential is hit if and only if it has ended at the moment at which its holder next needs it. That its holder can
//! get a new one by itself, with a token that is still good, is said beside that, and does not make it good.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::credential::pairs;
use super::policy::told;
use super::{Class, Credential, Evidence, Judgement, Material, Pairs, Renewal, Rule, Verdict};

/// By how much a beginning may lie in the future before a clock is taken to be wrong, ours or that of whoever issued it.
/// Kubernetes and the infrastructure's CA date certificates back by five minutes and by nothing.
const CLOCKS: SignedDuration = SignedDuration::from_mins(5);

/// What it takes to have a credential again that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Heals {
    /// Nothing: it is good.
    NotNeeded,
    /// Nothing but that its holder runs and reaches its issuer.
    ByItself,
    /// A new login with a token that is still good.
    Login,
    /// A repair by somebody who has rights.
    Repair,
    /// A repair on the very host of the issuer, since nobody has rights any more.
    OnTheHost,
    /// It cannot be told.
    Unknown,
}

/// What is said of a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it is called.
    pub name: String,
    /// What it is for.
    pub class: Class,
    /// Of which cluster it is, if of one.
    pub cluster: Option<String>,
    /// Who holds it.
    pub holder: String,
    /// Where it was read.
    pub place: String,
    /// What it is made of.
    pub material: Material,
    /// When it ends, if that is known.
    pub not_after: Option<Timestamp>,
    /// How it is renewed when nobody does anything.
    pub renewal: Renewal,
    /// The verdict.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// What it takes to have it again.
    pub heals: Heals,
    /// Whether its holder goes on until it restarts, since it needs what has ended only then.
    pub latent_until_restart: bool,
}

/// Judges credentials at a moment at which their holders need them; one finding each, in the same order.
pub fn measured(credentials: &[Credential], at: Timestamp) -> Vec<Finding> {
    let pairs = pairs(credentials);
    credentials.iter().map(|credential| finding(credential, &pairs, at)).collect()
}

fn finding(credential: &Credential, pairs: &Pairs<'_>, at: Timestamp) -> Finding {
    let same_holder = |material| {
        let all = pairs.get(&credential.key()).into_iter().flatten();
        all.filter(move |other| other.material == material)
    };
    let token_ended = same_holder(Material::Token).filter_map(|token| token.has_ended(at)).max();
    let certificate_good =
        same_holder(Material::Certificate).any(|certificate| certificate.has_ended(at) == Some(false));
    let (judgement, heals) = judge(credential, token_ended, at);
    Finding {
        name: credential.name(),
        class: credential.class,
        cluster: credential.cluster.clone(),
        holder: credential.holder.clone(),
        place: credential.place.clone(),
        material: credential.material,
        not_after: credential.not_after(),
        renewal: credential.class.renewal(credential.material),
        latent_until_restart: judgement.verdict == Verdict::Impacted
            && credential.material == Material::Token
            && certificate_good,
        judgement,
        heals,
    }
}

/// `token_ended` is what is known of the token that its holder could have a certificate again with.
fn judge(credential: &Credential, token_ended: Option<bool>, at: Timestamp) -> (Judgement, Heals) {
    let (not_before, not_after) = match &credential.evidence {
        Evidence::Unreadable { why } => {
            let judgement = Judgement {
                verdict: Verdict::Unknown,
                rule: None,
                why: why.clone(),
                action: "Make it readable, and look again.".to_owned(),
            };
            return (judgement, Heals::Unknown);
        }
        Evidence::Seen { not_before, not_after } => (*not_before, *not_after),
    };
    if not_before.duration_since(at) > CLOCKS {
        let judgement = Judgement {
            verdict: Verdict::Unknown,
            rule: Some(Rule::V14),
            why: format!(
                "it begins only {} from now: this clock is wrong, or the issuer's was",
                told(not_before.duration_since(at))
            ),
            action: "Set the clocks right, and look again.".to_owned(),
        };
        return (judgement, Heals::Unknown);
    }
    if credential.has_ended(at) != Some(true) {
        let judgement = Judgement {
            verdict: Verdict::NotImpacted,
            rule: Some(rule(credential, token_ended)),
            why: format!(
                "it ends {}, in {}",
                not_after.strftime("%F %H:%M UTC"),
                told(not_after.duration_since(at))
            ),
            action: "Nothing.".to_owned(),
        };
        return (judgement, Heals::NotNeeded);
    }
    let (heals, action) = remedy(credential, token_ended);
    let judgement = Judgement {
        verdict: Verdict::Impacted,
        rule: Some(rule(credential, token_ended)),
        why: format!(
            "it ended {}, {} ago",
            not_after.strftime("%F %H:%M UTC"),
            told(at.duration_since(not_after))
        ),
        action: action.to_owned(),
    };
    (judgement, heals)
}

/// The rule that judges a credential of this class.
pub(super) fn rule(credential: &Credential, token_ended: Option<bool>) -> Rule {
    let token = credential.material == Material::Token;
    match credential.class {
        Class::RootCa => Rule::V1,
        Class::CloudAgent | Class::NodeAgentServer => Rule::V2,
        Class::Administrator if token || token_ended == Some(true) => Rule::V4,
        Class::Administrator => Rule::V3,
        Class::KmsPlugin => Rule::V8,
        Class::CertificateManager | Class::KubeletServing => Rule::V10,
        Class::NodeAgent
        | Class::Appliance
        | Class::InfrastructureProvider
        | Class::CloudOperator
        | Class::ResourceBridge
        | Class::Identity
        | Class::CsiDriver
        | Class::CloudProvider
        | Class::KubeVip => {
            if token || token_ended == Some(true) {
                Rule::V6
            } else {
                Rule::V5
            }
        }
        Class::LoadBalancerAgent => Rule::V11,
        Class::ClusterCa | Class::ControlPlane | Class::Webhook => Rule::V7,
        Class::KubeletClient => Rule::V9,
        Class::Kubeconfig => Rule::V12,
    }
}

/// How a credential that has ended is had again.
fn remedy(credential: &Credential, token_ended: Option<bool>) -> (Heals, &'static str) {
    let token = credential.material == Material::Token;
    let by_login = !token && token_ended == Some(false);
    match credential.class {
        Class::RootCa => (
            Heals::OnTheHost,
            "On the cloud agent's host: Invoke-AksHciRotateCACertificate; then every client logs in with the new root.",
        ),
        Class::CloudAgent | Class::NodeAgentServer => {
            (Heals::Repair, "Renew it before any client is touched: until then no client can be renewed.")
        }
        Class::Administrator if by_login => (Heals::Login, "Repair-MocLogin."),
        Class::Administrator => (
            Heals::OnTheHost,
            "On the cloud agent's host: make the administrator's identity anew, then log in with it.",
        ),
        Class::NodeAgent
        | Class::Appliance
        | Class::InfrastructureProvider
        | Class::CloudOperator
        | Class::ResourceBridge
        | Class::Identity
            if by_login =>
        {
            (Heals::ByItself, "Its holder logs in again by itself; if it does not, restart it.")
        }
        Class::NodeAgent
        | Class::Appliance
        | Class::InfrastructureProvider
        | Class::CloudOperator
        | Class::ResourceBridge
        | Class::Identity => (Heals::Repair, "Update-AksHciCertificates."),
        Class::KmsPlugin => (
            Heals::Repair,
            "kubecert Update-AksHciClusterCertificates -fixCloudCredentials -patchLoadBalancer: it puts a new login file on the control planes first, over SSH alone, where the site file names it (`login`, `on`, `restart`), since the API server may not start without it.",
        ),
        Class::CsiDriver | Class::CertificateManager | Class::CloudProvider | Class::KubeVip if by_login => {
            (Heals::ByItself, "Its holder logs in again by itself; if it does not, restart it.")
        }
        Class::CsiDriver
        | Class::CertificateManager
        | Class::CloudProvider
        | Class::KubeVip
        | Class::LoadBalancerAgent => {
            (Heals::Repair, "Update-AksHciClusterCertificates -fixCloudCredentials -patchLoadBalancer.")
        }
        Class::ClusterCa => (
            Heals::Repair,
            "Give the CA another certificate for its key, over SSH, then everything under it.",
        ),
        Class::ControlPlane => {
            (Heals::Repair, "Over SSH: Update-AksHciClusterCertificates -fixKubeletCredentials.")
        }
        Class::Webhook => (
            Heals::ByItself,
            "It is renewed while its issuer runs; restart the webhook if it keeps the old one.",
        ),
        Class::KubeletClient => (Heals::Repair, "Replace the worker, or let its kubelet bootstrap anew."),
        Class::KubeletServing => (
            Heals::Repair,
            "See whether the certificate manager's token is good, then whether its signing request is approved.",
        ),
        Class::Kubeconfig => (Heals::Repair, "Get-AksHciCredential."),
    }
}
