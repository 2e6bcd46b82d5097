//! Who holds a token of the authority, and where: the components of AKS Arc, under names of the documents where there are any.

use std::fs;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use super::{Site, past, write_private};
use crate::cmd::CommandExt as _;
use crate::lab::cluster;
use crate::lab::spec::Spec;

/// Where the KMS plugin's login file is on control planes, by the documents.
pub(super) const KMS_LOGIN: &str = "/opt/wssd/k8s/cloudlogin.yaml";
/// Where the lab's hosts have their node agent's; where the vendor's is comes from the command line there.
pub(super) const HOST_LOGIN: &str = "/etc/wssd/cloudlogin.yaml";

/// An identity, and the places of its login file.
pub(crate) struct Holder {
    /// As the site file has it: `kms-plugin`.
    pub(crate) class: &'static str,
    pub(crate) identity: String,
    pub(crate) places: Vec<Place>,
}

/// Where a login file is.
#[derive(Clone)]
pub(crate) enum Place {
    /// In a file of one of the target lab's machines.
    File { machine: String, path: &'static str },
    /// In a Secret's `value`.
    Secret { cluster: Cluster, namespace: &'static str, name: String },
    /// On the operator's side.
    Operator,
}

/// Which of the two clusters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cluster {
    Management,
    Target,
}

/// All of them but the administrator, who is made with the authority.
pub(crate) fn all(site: &Site) -> Vec<Holder> {
    let cluster = site.cluster();
    let of_host = |machine: &str| Holder {
        class: "node-agent",
        identity: format!("node-agent-{machine}"),
        places: vec![Place::File { machine: machine.to_owned(), path: HOST_LOGIN }],
    };
    let management =
        |name: String| Place::Secret { cluster: Cluster::Management, namespace: "default", name };
    let own = |name: &str| Place::Secret {
        cluster: Cluster::Target,
        namespace: "kube-system",
        name: name.to_owned(),
    };
    let one = |class, identity: String, place| Holder { class, identity, places: vec![place] };
    let mut kms = one(
        "kms-plugin",
        format!("KMSPlugin-{cluster}-moc-kms-plugin"),
        management(format!("{cluster}-moc-kms-plugin")),
    );
    kms.places.extend(
        site.target.masters().map(|node| Place::File { machine: node.short.clone(), path: KMS_LOGIN }),
    );
    vec![
        of_host("h0"),
        of_host("h1"),
        one("infrastructure-provider", "caph".to_owned(), management("caphlogintoken".to_owned())),
        one("cloud-operator", "cloud-operator".to_owned(), management("cloud-operator-login".to_owned())),
        kms,
        one(
            "cloud-provider",
            format!("cloud-provider-{cluster}"),
            management(format!("{cluster}-template-secret-akshci-cc")),
        ),
        one("kube-vip", format!("kube-vip-{cluster}"), management(format!("{cluster}-kube-vip"))),
        one("csi-driver", format!("csi-{cluster}"), own("csi-login")),
        one(
            "certificate-manager",
            format!("certificate-manager-{cluster}"),
            own("certificate-manager-login"),
        ),
    ]
}

/// The one who administers the authority.
pub(crate) fn administrator() -> Holder {
    Holder { class: "administrator", identity: "admin".to_owned(), places: vec![Place::Operator] }
}

impl Holder {
    /// Makes the identity, and puts its login file where it belongs.
    pub(super) fn create(&self, site: &Site) -> Result<()> {
        self.have(site, "create", None)
    }

    /// Gives the identity a new token as if that had been so long ago, and puts its login file where it belongs.
    pub(super) fn rotate(&self, site: &Site, ago: past::Ago) -> Result<()> {
        self.have(site, "rotate", Some(ago))
    }

    fn have(&self, site: &Site, verb: &str, ago: Option<past::Ago>) -> Result<()> {
        let scratch = tempfile::tempdir()?;
        let out = scratch.path().join("login.yaml");
        let (directory, out_name) = (site.authority()?, out.to_string_lossy());
        let directory = directory.to_string_lossy();
        let words =
            ["authority", "identity", verb, &self.identity, "--dir", &*directory, "--out", &*out_name];
        past::at(ago, site.kubecert(&words)).read()?;
        let text = fs::read_to_string(&out)?;
        self.places.iter().try_for_each(|place| place.put(site, &text))
    }

    /// Whether it holds a token of the target cluster's components.
    pub(crate) fn is_of_cluster(&self) -> bool {
        matches!(
            self.class,
            "kms-plugin" | "cloud-provider" | "kube-vip" | "csi-driver" | "certificate-manager"
        )
    }
}

impl Place {
    fn put(&self, site: &Site, text: &str) -> Result<()> {
        match self {
            Self::File { machine, path } => {
                write_private(&site.target.root(site.target.node(machine)?).join(&path[1..]), text)
            }
            Self::Operator => write_private(&site.directory().join("mocLogin.yaml"), text),
            Self::Secret { cluster, namespace, name } => {
                let secret = json!({
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"namespace": namespace, "name": name},
                    "data": {"value": BASE64.encode(text)},
                });
                cluster::apply(cluster.of(site), &secret.to_string())
            }
        }
    }

    /// The login file that is there.
    pub(crate) fn read(&self, site: &Site) -> Result<String> {
        match self {
            Self::File { machine, path } => {
                let path = site.target.root(site.target.node(machine)?).join(&path[1..]);
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
            }
            Self::Operator => Ok(fs::read_to_string(site.directory().join("mocLogin.yaml"))?),
            Self::Secret { cluster, namespace, name } => {
                let words = [
                    "--request-timeout=5s",
                    "-n",
                    *namespace,
                    "get",
                    "secret",
                    &**name,
                    "-o",
                    "jsonpath={.data.value}",
                ];
                let value = cluster::kubectl(cluster.of(site), &words).read()?;
                Ok(String::from_utf8(BASE64.decode(value.trim())?)?)
            }
        }
    }
}

impl Cluster {
    pub(super) fn of(self, site: &Site) -> &Spec {
        match self {
            Self::Management => &site.management,
            Self::Target => &site.target,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { machine, path } => write!(f, "{path} on {machine}"),
            Self::Operator => f.write_str("mocLogin.yaml"),
            Self::Secret { namespace, name, .. } => write!(f, "secret {namespace}/{name}"),
        }
    }
}
