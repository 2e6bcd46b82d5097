//! Service-account token Secrets and TLS Secrets.
//!
//! Of a Secret's data only certificates are taken over: private keys have no field to be read into, and tokens are
//! looked at only while one is renewed. What an operator's tool keeps in a Secret is read and replaced entry by entry.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures::try_join;
use kube::Client;
use kubecert_core::inventory::{ObjectRef, TlsSecret, TokenSecret, WorkloadRef};
use kubecert_engine::ports::{Fault, PortError, PortResult};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::client::{Clients, Result};
use super::look::{certificates, fingerprints};
use super::object::{Meta, null_is_default};
use super::request::Collection;
use super::watch::wait;
use super::workload;

/// Marks a token Secret whose token was blanked, with the stamp of the run that did it.
const RENEWED: &str = "kubecert.dev/renewed";

/// Names the service account that a token is for.
const SERVICE_ACCOUNT: &str = "kubernetes.io/service-account.name";

/// How long the controller manager may take to sign a token. It sees the Secret at once when it leads; where none does,
/// a new leader is there within its lease of 15 s, and needs some seconds to fill its caches.
const TOKEN_LIMIT: Duration = Duration::from_secs(60);

const TOKEN_SECRETS: &str = "type=kubernetes.io/service-account-token";
const TLS_SECRETS: &str = "type=kubernetes.io/tls";

/// A Secret without anything that is secret.
#[derive(Deserialize)]
struct PublicSecret {
    #[serde(default)]
    metadata: Meta,
    #[serde(default, deserialize_with = "null_is_default")]
    data: PublicData,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PublicData {
    #[serde(rename = "ca.crt")]
    roots: Option<String>,
    #[serde(rename = "tls.crt")]
    chain: Option<String>,
}

impl PublicSecret {
    fn object(&self) -> ObjectRef {
        ObjectRef { namespace: self.metadata.namespace.clone(), name: self.metadata.name.clone() }
    }
}

/// `ca.crt` of each service-account token Secret.
pub(super) async fn token_roots(client: &Client) -> Result<Vec<(ObjectRef, String)>> {
    let secrets: Vec<PublicSecret> =
        Collection::new("/api/v1/secrets").list(client, Some(TOKEN_SECRETS)).await?;
    Ok(secrets.iter().map(|secret| (secret.object(), decoded(secret.data.roots.as_deref()))).collect())
}

/// The service-account token Secrets.
pub(super) async fn tokens(client: &Client) -> Result<Vec<TokenSecret>> {
    #[derive(Deserialize)]
    struct Account {
        #[serde(default)]
        metadata: Meta,
        #[serde(default, deserialize_with = "null_is_default")]
        secrets: Vec<Listed>,
    }
    #[derive(Deserialize)]
    struct Listed {
        #[serde(default)]
        name: String,
    }
    let (secrets, accounts) =
        (Collection::new("/api/v1/secrets"), Collection::new("/api/v1/serviceaccounts"));
    let (secrets, accounts) = try_join!(
        secrets.list::<PublicSecret>(client, Some(TOKEN_SECRETS)),
        accounts.list::<Account>(client, None),
    )?;
    let listed: BTreeSet<ObjectRef> = accounts
        .into_iter()
        .flat_map(|account| {
            let namespace = account.metadata.namespace;
            account
                .secrets
                .into_iter()
                .map(move |listed| ObjectRef { namespace: namespace.clone(), name: listed.name })
        })
        .collect();
    Ok(secrets
        .into_iter()
        .map(|secret| {
            let object = secret.object();
            TokenSecret {
                listed: listed.contains(&object),
                roots: fingerprints(&object, &decoded(secret.data.roots.as_deref())),
                service_account: secret
                    .metadata
                    .annotations
                    .get(SERVICE_ACCOUNT)
                    .cloned()
                    .unwrap_or_default(),
                object,
            }
        })
        .collect())
}

/// The TLS Secrets, given the workloads that may use them.
pub(super) async fn tls(client: &Client, workloads: &[workload::Found]) -> Result<Vec<TlsSecret>> {
    let secrets: Vec<PublicSecret> =
        Collection::new("/api/v1/secrets").list(client, Some(TLS_SECRETS)).await?;
    let users: Vec<(&WorkloadRef, BTreeSet<String>)> =
        workloads.iter().map(|found| (&found.workload, found.pods.secrets())).collect();
    Ok(secrets
        .into_iter()
        .map(|secret| {
            let object = secret.object();
            let uses = |(workload, names): &&(&WorkloadRef, BTreeSet<String>)| {
                workload.namespace == object.namespace && names.contains(&object.name)
            };
            TlsSecret {
                chain: certificates(&object, decoded(secret.data.chain.as_deref()).as_bytes()),
                roots: certificates(&object, decoded(secret.data.roots.as_deref()).as_bytes()),
                mounted_by: users.iter().filter(uses).map(|(workload, _)| (*workload).clone()).collect(),
                object,
            }
        })
        .collect())
}

/// Replaces certificate and key, and the roots where there are some. A Secret that is gone needs neither.
pub(super) async fn write_tls(
    clients: &Clients,
    what: &str,
    secret: &ObjectRef,
    chain: &str,
    key: &Zeroizing<String>,
    roots: &str,
) -> PortResult<()> {
    let secrets = &Collection::namespaced("api/v1", &secret.namespace, "secrets");
    let key = &Zeroizing::new(STANDARD.encode(key.as_bytes()));
    clients
        .call(what, |client| async move {
            let Some(present) = secrets.get::<PublicSecret>(&client, &secret.name).await? else {
                return Ok(());
            };
            let mut data = json!({ "tls.crt": STANDARD.encode(chain), "tls.key": key.as_str() });
            if present.data.roots.is_some() {
                data["ca.crt"] = json!(STANDARD.encode(roots));
            }
            secrets.merge(&client, &secret.name, &json!({ "data": data })).await.map(drop)
        })
        .await
}

/// The named entries of a Secret as they are, encoded; `None` if it is gone. What comes of this is kept in the run
/// directory, where keys of the cluster lie anyway, until the run has ended.
pub(super) async fn fields(
    client: &Client,
    secret: &ObjectRef,
    names: &[&str],
) -> Result<Option<Vec<(String, Option<String>)>>> {
    let secrets = Collection::namespaced("api/v1", &secret.namespace, "secrets");
    let Some(whole) = secrets.get::<Value>(client, &secret.name).await? else { return Ok(None) };
    let entry = |name: &&str| {
        let value = whole.get("data").and_then(|data| data.get(*name)).and_then(Value::as_str);
        ((*name).to_owned(), value.map(str::to_owned))
    };
    // An entry that is not there is not to be made.
    Ok(Some(names.iter().map(entry).filter(|(_, value)| value.is_some()).collect()))
}

/// The entries of a Secret, decoded; `None` where there is no such Secret.
pub(super) async fn values(
    clients: &Clients,
    what: &str,
    secret: &ObjectRef,
) -> PortResult<Option<BTreeMap<String, Zeroizing<Vec<u8>>>>> {
    let secrets = &Collection::namespaced("api/v1", &secret.namespace, "secrets");
    let read = clients.call(what, |client| async move { secrets.get::<Opaque>(&client, &secret.name).await });
    let Some(present) = read.await? else { return Ok(None) };
    let decode = |(key, encoded): (String, Encoded)| match STANDARD.decode(encoded.0.as_bytes()) {
        Ok(decoded) => Ok((key, Zeroizing::new(decoded))),
        Err(_) => Err(PortError::new(Fault::Unexpected, what, format!("its entry {key} is not in base64"))),
    };
    present.data.into_iter().map(decode).collect::<PortResult<_>>().map(Some)
}

/// One entry of a Secret, decoded; `None` where there is no such Secret, or no such entry in it.
pub(super) async fn value(
    clients: &Clients,
    what: &str,
    secret: &ObjectRef,
    key: &str,
) -> PortResult<Option<Zeroizing<Vec<u8>>>> {
    Ok(values(clients, what, secret).await?.and_then(|mut entries| entries.remove(key)))
}

/// What is to stand in an entry of a Secret. Deliberately without `Debug`.
#[derive(Clone, Copy)]
pub struct EntryChange<'a> {
    /// The entry's name.
    pub key: &'a str,
    /// What stands there; nothing if there is no such entry.
    pub old: &'a [u8],
    /// What is to stand there.
    pub new: &'a [u8],
}

/// Changes entries of a Secret in one request, unless somebody else has changed one of them meanwhile; or tries out whether
/// that would be allowed.
pub(super) async fn replace_values(
    clients: &Clients,
    what: &str,
    secret: &ObjectRef,
    changes: &[EntryChange<'_>],
    act: Act,
) -> PortResult<()> {
    let secrets = &Collection::namespaced("api/v1", &secret.namespace, "secrets");
    let encoded = |change: &EntryChange<'_>| {
        let [old, new] = [change.old, change.new].map(|bytes| Zeroizing::new(STANDARD.encode(bytes)));
        (change.key.to_owned(), old, new)
    };
    let changes: &Vec<_> = &changes.iter().map(encoded).collect();
    let outcome = clients.call(what, |client| async move {
        let Some(present) = secrets.get::<Opaque>(&client, &secret.name).await? else {
            return Ok(Some("there is no such Secret any more"));
        };
        let value = |key: &str| present.data.get(key).map(|value| value.0.as_str()).unwrap_or_default();
        // The first attempt may have come through without its answer.
        if changes.iter().all(|(key, _, new)| value(key) == new.as_str()) {
            return Ok(None);
        }
        if changes.iter().any(|(key, old, _)| value(key) != old.as_str()) {
            return Ok(Some("somebody else has changed it meanwhile"));
        }
        let data: BTreeMap<&str, &str> =
            changes.iter().map(|(key, _, new)| (key.as_str(), new.as_str())).collect();
        // Should it change in between, the API refuses, and the next attempt looks again.
        let version = &present.metadata.resource_version;
        let patch = json!({ "metadata": { "resourceVersion": version }, "data": data });
        let done = match act {
            Act::Try => secrets.merge_dry(&client, &secret.name, &patch).await?,
            Act::Do => secrets.merge(&client, &secret.name, &patch).await?,
        };
        Ok(done.is_none().then_some("there is no such Secret any more"))
    });
    match outcome.await? {
        None => Ok(()),
        Some(cause) => Err(PortError::new(Fault::Failed, what, cause)
            .remedy("See who else writes to it, then run the same command again.")),
    }
}

/// Whether something is done, or only tried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// The API says whether it would be allowed, and keeps nothing.
    Try,
    /// It is done.
    Do,
}

/// Puts entries of a Secret back, and takes a run's mark away. A Secret that is gone needs neither.
pub(super) async fn put_back(
    clients: &Clients,
    what: &str,
    secret: &ObjectRef,
    entries: &Value,
) -> PortResult<()> {
    let secrets = &Collection::namespaced("api/v1", &secret.namespace, "secrets");
    let patch_ = json!({ "metadata": { "annotations": { RENEWED: Value::Null } }, "data": entries });
    patch(clients, what, secrets, secret, &patch_).await
}

/// Has a token signed anew. A Secret that is gone has none.
///
/// Blanked rather than deleted: since 1.24 a deleted Secret does not come back by itself. Mark and blank are one patch,
/// so a marked Secret with a token has a new one.
pub(super) async fn renew_token(clients: &Clients, secret: &ObjectRef, stamp: &str) -> PortResult<()> {
    let what = format!("cannot renew the token in secret {secret}");
    let secrets = &Collection::namespaced("api/v1", &secret.namespace, "secrets");
    let read = clients.call(&what, |client| async move { secrets.get::<Token>(&client, &secret.name).await });
    let Some(present) = read.await? else { return Ok(()) };
    let old = if present.is_marked(stamp) {
        Zeroizing::default()
    } else {
        let blank =
            json!({ "metadata": { "annotations": { RENEWED: stamp } }, "data": { "token": Value::Null } });
        patch(clients, &what, secrets, secret, &blank).await?;
        Zeroizing::new(present.data.token)
    };
    let signed = |token: Option<&Token>| match token {
        None => Some(None),
        Some(token) if token.data.token.is_empty() => None,
        Some(token) => Some(Some(!same_key(&old, &token.data.token))),
    };
    match wait(clients, TOKEN_LIMIT, &what, secrets, &secret.name, signed).await? {
        Some(true) | None => Ok(()),
        Some(false) => {
            // Unmarked, so that the next attempt blanks it again rather than takes it for a new one.
            let unmark = json!({ "metadata": { "annotations": { RENEWED: Value::Null } } });
            patch(clients, &what, secrets, secret, &unmark).await?;
            let cause = "the controller manager has signed it with the same key as before";
            let remedy =
                "Check that the leading controller manager was restarted with the new service-account key.";
            Err(PortError::new(Fault::Failed, what, cause).remedy(remedy))
        }
    }
}

/// Whether two tokens for one Secret (base64 over JWT) are signed by the same key.
///
/// Such a token holds no time, so an RSA key signs the same bytes again. ECDSA does not; there the header tells, which
/// names the key since Kubernetes 1.16 or so.
fn same_key(old: &str, new: &str) -> bool {
    let header = |token: &str| {
        let jwt = Zeroizing::new(STANDARD.decode(token).ok()?);
        URL_SAFE_NO_PAD.decode(jwt.split(|byte| *byte == b'.').next()?).ok()
    };
    let names_key = |header: &[u8]| {
        let header: Option<Value> = serde_json::from_slice(header).ok();
        header.is_some_and(|header| {
            header.get("kid").and_then(Value::as_str).is_some_and(|kid| !kid.is_empty())
        })
    };
    old == new
        || matches!((header(old), header(new)), (Some(old), Some(new)) if old == new && names_key(&old))
}

async fn patch(
    clients: &Clients,
    what: &str,
    secrets: &Collection,
    secret: &ObjectRef,
    patch: &Value,
) -> PortResult<()> {
    clients
        .call(what, |client| async move { secrets.merge(&client, &secret.name, patch).await })
        .await
        .map(drop)
}

/// A token Secret with its token. Deliberately without `Debug`.
#[derive(Clone, Deserialize)]
struct Token {
    #[serde(default)]
    metadata: Meta,
    #[serde(default, deserialize_with = "null_is_default")]
    data: TokenData,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct TokenData {
    token: String,
}

impl Token {
    fn is_marked(&self, stamp: &str) -> bool {
        self.metadata.annotations.get(RENEWED).is_some_and(|mark| mark == stamp)
    }
}

/// A Secret with what is in it, encoded. Deliberately without `Debug`.
#[derive(Deserialize)]
struct Opaque {
    #[serde(default)]
    metadata: Meta,
    #[serde(default, deserialize_with = "null_is_default")]
    data: BTreeMap<String, Encoded>,
}

/// An entry in base64, wiped from memory after use.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Encoded(Zeroizing<String>);

impl From<String> for Encoded {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

/// The text behind base64; empty if there is none.
fn decoded(data: Option<&str>) -> String {
    let bytes = data.and_then(|data| STANDARD.decode(data).ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_one_key_are_told_by_their_header() {
        let token =
            |header: &str, rest: &str| STANDARD.encode(format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header)));
        let (a, b) = (r#"{"alg":"ES256","kid":"a"}"#, r#"{"alg":"ES256","kid":"b"}"#);
        assert!(same_key(&token(a, "1"), &token(a, "2")));
        assert!(!same_key(&token(a, "1"), &token(b, "1")));
        let none = r#"{"alg":"RS256","kid":""}"#;
        assert!(same_key(&token(none, "1"), &token(none, "1")));
        assert!(!same_key(&token(none, "1"), &token(none, "2")));
        assert!(!same_key("", &token(a, "1")));
    }
}
