//! What Cluster API keeps of a cluster in Secrets, for one that manages itself: made as its providers make them, and compared with
//! the cluster's own files.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::{ADMIN_CONF, PKI, first};
use crate::cmd::CommandExt as _;
use crate::lab::cluster;
use crate::lab::spec::Spec;

/// The ending of a Secret's name, and the files below the PKI directory that its `tls.crt` and `tls.key` hold.
const PAIRS: [(&str, &str, &str); 4] = [
    ("ca", "ca.crt", "ca.key"),
    ("etcd", "etcd/ca.crt", "etcd/ca.key"),
    ("proxy", "front-proxy-ca.crt", "front-proxy-ca.key"),
    ("sa", "sa.pub", "sa.key"),
];

/// What the cluster file says of them.
const DESCRIBED: &str = "  kubeconfig: admin.conf\n  clusterAPI: {kubeconfig: admin.conf}\n";

/// Makes the Secrets of the lab `name`, and names them in its cluster file.
pub(crate) fn make_secrets(name: &str) -> Result<()> {
    let spec = Spec::load(name)?;
    let mut items = Vec::new();
    for (ending, certificate, key) in PAIRS {
        let data = json!({"tls.crt": file(&spec, certificate)?, "tls.key": file(&spec, key)?});
        items.push(secret(&spec, ending, &data));
    }
    items.push(secret(&spec, "kubeconfig", &json!({"value": BASE64.encode(admin(&spec)?)})));
    cluster::apply(&spec, &json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())?;
    let described = fs::read_to_string(spec.cluster_file())? + DESCRIBED;
    Ok(fs::write(spec.cluster_file(), described)?)
}

/// Removes them again: certificates that the lab lets end are not changed in them.
pub(crate) fn forget_secrets(name: &str) -> Result<()> {
    let spec = Spec::load(name)?;
    let described = fs::read_to_string(spec.cluster_file())?.replace(DESCRIBED, "");
    fs::write(spec.cluster_file(), described)?;
    let label = format!("--selector=cluster.x-k8s.io/cluster-name={}", spec.dns_prefix);
    cluster::kubectl(&spec, &["-n", "default", "delete", "secrets", &*label]).read().map(drop)
}

/// Sees that they hold what the first control plane holds, and that the kubeconfig lets its holder in.
pub(crate) fn check_secrets(name: &str) -> Result<()> {
    let spec = Spec::load(name)?;
    for (ending, certificate, key) in PAIRS {
        for (entry, path) in [("tls.crt", certificate), ("tls.key", key)] {
            let kept = entry_of(&spec, ending, entry)?;
            ensure!(
                same(&kept, &file(&spec, path)?)?,
                "secret {} ({entry}) does not hold what {path} holds",
                name_of(&spec, ending)
            );
        }
    }
    let scratch = tempfile::tempdir()?;
    let kubeconfig = scratch.path().join("kubeconfig");
    fs::write(&kubeconfig, BASE64.decode(entry_of(&spec, "kubeconfig", "value")?)?)?;
    let asked = format!("--kubeconfig={}", kubeconfig.display());
    cluster::kubectl(&spec, &[&*asked, "get", "--raw", "/readyz"]).read().map(drop)
}

/// Whether two PEM texts are alike but for the form of a private key, which openssl tells.
fn same(one: &str, other: &str) -> Result<bool> {
    if one == other {
        return Ok(true);
    }
    let public = |text: &str| -> Result<String> {
        let pem = String::from_utf8(BASE64.decode(text)?)?;
        crate::cmd::cmd("openssl", ["pkey", "-pubout"]).feed(&pem)
    };
    Ok(public(one).ok().is_some_and(|one| public(other).is_ok_and(|other| one == other)))
}

fn file(spec: &Spec, path: &str) -> Result<String> {
    let path = spec.root(first(spec)?).join(PKI).join(path);
    Ok(BASE64.encode(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?))
}

fn admin(spec: &Spec) -> Result<Vec<u8>> {
    Ok(fs::read(spec.root(first(spec)?).join(ADMIN_CONF))?)
}

fn name_of(spec: &Spec, ending: &str) -> String {
    format!("{}-{ending}", spec.dns_prefix)
}

fn secret(spec: &Spec, ending: &str, data: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "cluster.x-k8s.io/secret",
        "metadata": {
            "namespace": "default",
            "name": name_of(spec, ending),
            "labels": {"cluster.x-k8s.io/cluster-name": spec.dns_prefix},
        },
        "data": data,
    })
}

fn entry_of(spec: &Spec, ending: &str, entry: &str) -> Result<String> {
    let path = format!("jsonpath={{.data.{}}}", entry.replace('.', "\\."));
    let name = name_of(spec, ending);
    let words = ["-n", "default", "get", "secret", &*name, "-o", &*path];
    Ok(cluster::kubectl(spec, &words).read()?.trim().to_owned())
}
