//! Why there is no plan, each reason with its remedy.

use std::fmt;
use std::net::IpAddr;

use super::{MAX_CLOCK_OFFSET_MS, MIN_FREE_BYTES, Refusal};
use crate::intent::{Scope, Strategy, Why};
use crate::inventory::Server;
use crate::model::{Component, KubernetesVersion, LeafId, NodeName};

/// One reason why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// A node could not be looked at.
    NodeUnreadable(NodeName, String),
    /// A node's clock differs too much.
    ClockOffset(NodeName, i64),
    /// A node has too little room.
    DiskFull(NodeName, u64),
    /// A node lacks tools.
    MissingTools(NodeName, Vec<String>),
    /// A node is not Ready.
    NodeNotReady(NodeName),
    /// A node that runs something that kubecert does not know.
    UnknownSystem(NodeName, String),
    /// A control plane that runs Windows, which no layout has.
    WindowsControlPlane(NodeName),
    /// A node of the description that the API does not know.
    NodeUnknown(NodeName),
    /// A control plane that is elsewhere than the description says: what that says, and what the API says.
    OtherAddress(NodeName, Option<IpAddr>, IpAddr),
    /// The Kubernetes API could not be asked.
    ApiUnreadable(String),
    /// etcd could not be asked.
    EtcdUnreadable(String),
    /// An etcd member is not healthy: restarting another would lose the quorum.
    EtcdMemberUnhealthy(String),
    /// A component does not run.
    NotRunning(NodeName, Component),
    /// A server's process runs, and no handshake comes about.
    NoAnswer(Server, String),
    /// A node holds another CA than the description: half a rotation, or the wrong description.
    OtherCa(NodeName, String),
    /// A node holds another certificate than the description where the key matters.
    OtherCertificate(NodeName, LeafId),
    /// The description has no CA certificate.
    NoCa,
    /// The CA in force has ended.
    CaEnded(String),
    /// A certificate in use has ended.
    LeafEnded(NodeName, String, String),
    /// The cross-signed plan was asked for and is not possible.
    NoCaKey,
    /// Files are not laid out as expected.
    Layout(String),
    /// Leaves are due, and the CA's key is not known.
    RenewWithoutKey(Vec<String>),
    /// An external signer was asked for where a CA's key is needed for more than leaves.
    ExternalSigner(Why),
    /// A controller manager names a file of the key by which it signs that is not there: the node, the file. It would not
    /// start again.
    SigningKeyGone(NodeName, String),
    /// Leaves are due, and the CA ends so soon that new ones would be due again: when it ends, and within how many days
    /// leaves count as due.
    CaEndsFirst(String, u32),
    /// The front proxy's certificate is due, and nobody has its CA's key: when it ends.
    FrontProxyDue(String),
    /// Certificates have ended, and the CA's key is not known.
    RecoverWithoutKey,
    /// The CA is to get a longer life, and its key is not known.
    ExtendWithoutKey,
    /// The CA is to get a longer life, and is no root.
    NotARoot(String),
    /// The front proxy's CA cannot get a longer life.
    FrontProxyCannotBeExtended,
    /// A scope that the layout does not know apart.
    EtcdSharesTheCa,
    /// What is wanted, in words, is not built for the cluster's layout.
    NotForLayout(String),
    /// The scope is the front proxy, and the cluster has none.
    NoFrontProxy,
    /// The scope is the front proxy, and API servers of this version read its certificate at their start only.
    FrontProxyNeedsRestart(KubernetesVersion),
    /// A strategy that is not one for this.
    StrategyUnfit(Strategy, Why, Scope),
}

impl From<RefusalReason> for Refusal {
    fn from(reason: RefusalReason) -> Self {
        Self { reasons: vec![reason] }
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodeUnreadable(node, why) => write!(f, "node {node} cannot be looked at ({why})"),
            Self::ClockOffset(node, ms) => write!(
                f,
                "the clock of node {node} differs from this machine's by {:.1} s; bring it to within {} s (NTP) first",
                *ms as f64 / 1000.0,
                MAX_CLOCK_OFFSET_MS / 1000
            ),
            Self::DiskFull(node, free) => write!(
                f,
                "node {node} has {} MiB free for /etc/kubernetes; make room for at least {} MiB",
                free / 1_048_576,
                MIN_FREE_BYTES / 1_048_576
            ),
            Self::MissingTools(node, tools) => write!(f, "node {node} lacks {}; install it", tools.join(", ")),
            Self::NodeNotReady(node) => {
                write!(f, "node {node} is not Ready; repair it, or remove it from the cluster, first")
            }
            Self::UnknownSystem(node, system) => {
                write!(f, "node {node} runs {system}, and kubecert knows Linux and Windows only; remove it from the cluster first")
            }
            Self::WindowsControlPlane(node) => {
                write!(f, "control plane {node} runs Windows, as no layout has it; see that the api model is this cluster's")
            }
            Self::NodeUnknown(node) => write!(f, "node {node} of the api model is not known to the Kubernetes API"),
            Self::OtherAddress(node, described, told) => write!(
                f,
                "node {node} has the address {told}, and by the api model it has {}; certificates would lack its address: correct the model, or make the machine anew at its own address",
                described.map_or_else(|| "none".to_owned(), |address| address.to_string())
            ),
            Self::ApiUnreadable(why) => write!(f, "the Kubernetes API cannot be asked ({why}); where it does not answer since certificates have ended, `kubecert recover`, or `rotate-certs --force`, brings it back first"),
            Self::EtcdUnreadable(why) => write!(f, "etcd cannot be asked ({why})"),
            Self::EtcdMemberUnhealthy(member) => write!(
                f,
                "etcd member {member} is not healthy; with it away, restarting another could lose the quorum: repair it first"
            ),
            Self::NoAnswer(server, why) => {
                write!(f, "{server} runs and does not answer ({why}); see its log, and mend it first")
            }
            Self::NotRunning(node, component) => write!(f, "{component} does not run on node {node}; start it first"),
            Self::OtherCa(node, fingerprint) => write!(
                f,
                "node {node} holds a CA (sha256 {}…) that is not the api model's; it was rotated with another model, or a rotation was interrupted: use the model, or the run directory, that belongs to it",
                &fingerprint[..fingerprint.len().min(16)]
            ),
            Self::OtherCertificate(node, leaf) => write!(
                f,
                "certificate {leaf} on node {node} is not the api model's, so its key, which also signs service-account tokens, is not known here; use the model that belongs to the cluster"
            ),
            Self::NoCa => f.write_str("the api model holds no CA certificate"),
            Self::CaEnded(when) => {
                write!(f, "the CA has ended on {when}; `kubecert recover`, or `rotate-certs --force`, brings the cluster back first")
            }
            Self::LeafEnded(node, file, when) => write!(
                f,
                "{file} on node {node} has ended on {when}; `kubecert recover`, or `rotate-certs --force`, brings the cluster back first"
            ),
            Self::NoCaKey => f.write_str(
                "the cross-signed plan needs the old CA's private key, and the api model does not hold one that fits; take --strategy bundled",
            ),
            Self::Layout(why) => f.write_str(why),
            Self::RenewWithoutKey(leaves) => write!(
                f,
                "{} due, and only the CA's private key can renew that, which is neither in the api model nor on a control plane (or does not fit); put it there, have requests signed by whoever has it (--why renew --csr-out DIR), or, with AKS engine's layout, use --why replace-ca, which does without",
                listed(leaves)
            ),
            Self::ExternalSigner(why) => write!(
                f,
                "an external signer can sign certificates that are renewed (--why renew) or have ended (`kubecert recover`), and --why {why} needs the CA's private key itself; bring that to the control planes first"
            ),
            Self::SigningKeyGone(node, path) => write!(
                f,
                "kube-controller-manager on node {node} is to sign with {path}, which is not there, so that it would not start again; where the CA's key is kept elsewhere, write --cluster-signing-cert-file= and --cluster-signing-key-file= without a value into its manifest, as kubeadm does"
            ),
            Self::CaEndsFirst(when, days) => write!(
                f,
                "the CA ends on {when}, within the {days} days in which certificates count as due, and no certificate can outlive its CA; use --why extend-ca first, then --why renew"
            ),
            Self::FrontProxyDue(when) => write!(
                f,
                "the front proxy's certificate ends on {when}, and nobody can issue it anew, since the key of its CA was thrown away when it was made; use --why replace-ca --scope front-proxy, which restarts nothing"
            ),
            Self::RecoverWithoutKey => f.write_str(
                "certificates have ended, and only the CA's private key can issue others that the cluster's processes accept, which is not known here (or does not fit); put it into the api model, or onto a control plane of kubeadm's, from a backup; or, unless the CA itself has ended, have requests signed by whoever has it (`kubecert recover --csr-out DIR`)",
            ),
            Self::ExtendWithoutKey => f.write_str(
                "a longer life for the CA needs its private key, and the api model does not hold one that fits; put it there, or use --why replace-ca, which does without",
            ),
            Self::NotARoot(issuer) => write!(
                f,
                "the CA is no root, it was issued by {issuer}, who alone can give it a longer life; ask for that, or use --why replace-ca"
            ),
            Self::FrontProxyCannotBeExtended => f.write_str(
                "the front proxy's CA cannot get a longer life, since its key was thrown away when it was made; use --why replace-ca --scope front-proxy, which restarts nothing",
            ),
            Self::EtcdSharesTheCa => f.write_str(
                "etcd has no CA of its own in AKS engine's layout, its certificates are of the cluster CA, as are those of servers and clients; use --scope cluster-ca",
            ),
            Self::NotForLayout(wanted) => write!(
                f,
                "kubecert cannot do this with kubeadm's layout yet: {wanted}; it replaces all CAs there, cross-signed (--why replace-ca or compromised), and renews leaves (--why renew)",
            ),
            Self::NoFrontProxy => f.write_str(
                "the cluster has no front proxy (no proxy-ca.crt on its control planes); leave --scope away",
            ),
            Self::FrontProxyNeedsRestart(version) => write!(
                f,
                "API servers of Kubernetes {version} read the front proxy's certificate at their start only; leave --scope away, so that it is replaced along with the rest"
            ),
            Self::StrategyUnfit(strategy, why, scope) => write!(
                f,
                "strategy {strategy} is none for --why {why} with scope {scope}; leave --strategy away"
            ),
        }
    }
}

fn listed(names: &[String]) -> String {
    match names {
        [one] => format!("{one} is"),
        [first, second] => format!("{first} and {second} are"),
        [first, second, rest @ ..] => format!("{first}, {second} and {} more are", rest.len()),
        [] => "nothing is".to_owned(),
    }
}
