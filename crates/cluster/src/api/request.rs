//! Reading and writing objects over a `kube` client.

use kube::Client;
use kube::api::{DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Request;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use super::client::{CallError, Result, found};
use super::object::{Page, PageMeta};

/// How many objects are asked for at once: what kubectl asks for. Thousands of pods in one answer would be tens of
/// megabytes for the API server to hold.
const PAGE_SIZE: u32 = 500;

/// An API collection, for example `/api/v1/namespaces/kube-system/configmaps`.
pub(super) struct Collection(Request);

impl Collection {
    /// All objects of a kind.
    pub(super) fn new(path: impl Into<String>) -> Self {
        Self(Request::new(path))
    }

    /// The objects of a kind in a namespace; `group` is `api/v1` or `apis/apps/v1`.
    pub(super) fn namespaced(group: &str, namespace: &str, kind: &str) -> Self {
        Self::new(format!("/{group}/namespaces/{namespace}/{kind}"))
    }

    /// Reads one object, if there is one of that name.
    pub(super) async fn get<T: DeserializeOwned>(&self, client: &Client, name: &str) -> Result<Option<T>> {
        found(send(client, self.0.get(name, &GetParams::default())?).await)
    }

    /// Reads all objects, page by page, as they are at one moment: no `resourceVersion` is asked for, so the answer is
    /// consistent and not from a cache.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        client: &Client,
        fields: Option<&str>,
    ) -> Result<Vec<T>> {
        Ok(self.list_with_version(client, fields).await?.0)
    }

    /// The same with the version from which a watch can go on.
    pub(super) async fn list_with_version<T: DeserializeOwned>(
        &self,
        client: &Client,
        fields: Option<&str>,
    ) -> Result<(Vec<T>, String)> {
        let mut items = Vec::new();
        let mut parameters = ListParams::default().limit(PAGE_SIZE);
        parameters.field_selector = fields.map(str::to_owned);
        loop {
            let Page { metadata: PageMeta { resource_version, next }, items: page } =
                send(client, self.0.list(&parameters)?).await?;
            items.extend::<Vec<T>>(page);
            if next.is_empty() {
                return Ok((items, resource_version));
            }
            parameters.continue_token = Some(next);
        }
    }

    /// A merge patch (RFC 7386). An object that is gone is left alone: `None`.
    pub(super) async fn merge(&self, client: &Client, name: &str, patch: &Value) -> Result<Option<Value>> {
        found(send(client, self.0.patch(name, &PatchParams::default(), &Patch::Merge(patch))?).await)
    }

    /// The same as a trial, which changes nothing.
    pub(super) async fn merge_dry(
        &self,
        client: &Client,
        name: &str,
        patch: &Value,
    ) -> Result<Option<Value>> {
        let parameters = PatchParams { dry_run: true, ..PatchParams::default() };
        found(send(client, self.0.patch(name, &parameters, &Patch::Merge(patch))?).await)
    }

    /// A strategic merge patch, which merges lists by their keys. An object that is gone is left alone: `None`.
    pub(super) async fn strategic(
        &self,
        client: &Client,
        name: &str,
        patch: &Value,
    ) -> Result<Option<Value>> {
        found(send(client, self.0.patch(name, &PatchParams::default(), &Patch::Strategic(patch))?).await)
    }

    /// Creates an object; `false` if there is one of that name.
    pub(super) async fn create(&self, client: &Client, object: &Value) -> Result<bool> {
        let body = serde_json::to_vec(object).map_err(|error| CallError::Answer(error.to_string()))?;
        match send::<Value>(client, self.0.create(&PostParams::default(), body)?).await {
            Ok(_) => Ok(true),
            Err(error) if error.status() == Some(409) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Creates a subresource of an object, for example an eviction.
    pub(super) async fn subresource(
        &self,
        client: &Client,
        name: &str,
        kind: &str,
        body: &Value,
    ) -> Result<()> {
        let body = serde_json::to_vec(body).map_err(|error| CallError::Answer(error.to_string()))?;
        let request = self.0.create_subresource(kind, name, &PostParams::default(), body)?;
        send::<Value>(client, request).await.map(drop)
    }

    /// Deletes an object, with its own grace period; only the one with that uid, where one is given. That it, or that
    /// one, is gone is fine.
    pub(super) async fn delete(&self, client: &Client, name: &str, uid: Option<&str>) -> Result<()> {
        let preconditions =
            uid.map(|uid| Preconditions { uid: Some(uid.to_owned()), resource_version: None });
        let parameters = DeleteParams { preconditions, ..DeleteParams::default() };
        match found(send::<Value>(client, self.0.delete(name, &parameters)?).await) {
            Ok(_) => Ok(()),
            Err(error) if uid.is_some() && error.status() == Some(409) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The request itself, for watches.
    pub(super) const fn request(&self) -> &Request {
        &self.0
    }
}

/// Reads something that is no object of a collection.
pub(super) async fn get_path<T: DeserializeOwned>(client: &Client, path: &str) -> Result<T> {
    let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
    send(client, request).await
}

/// Not `Client::request`: that writes an answer that it cannot read into the log, and an answer may hold Secrets.
async fn send<T: DeserializeOwned>(client: &Client, request: http::Request<Vec<u8>>) -> Result<T> {
    let text = Zeroizing::new(client.request_text(request).await?);
    serde_json::from_str(&text).map_err(|error| {
        let place = format!("line {} column {}", error.line(), error.column());
        CallError::Answer(format!(
            "the API's answer cannot be read ({:?} error at {place})",
            error.classify()
        ))
    })
}

/// A client whose API server answers with the text that is found for a path and query.
#[cfg(test)]
pub(super) fn answering(answer: impl Fn(&str) -> &'static str + Clone + Send + 'static) -> Client {
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let target = request.uri().path_and_query().map_or("", |target| target.as_str());
        let body = kube::client::Body::from(answer(target).as_bytes().to_vec());
        async move { Ok::<_, std::convert::Infallible>(http::Response::new(body)) }
    });
    Client::new(service, "default")
}

#[cfg(test)]
mod tests {
    use super::super::object::{Named, Owner};
    use super::*;

    #[tokio::test]
    async fn a_long_list_is_read_to_its_end() {
        let client = answering(|target| match target {
            "/api/v1/pods?&fieldSelector=a%3Db&limit=500" => {
                r#"{"metadata":{"continue":"x=y","resourceVersion":"7"},"items":[{"metadata":{"name":"a"}}]}"#
            }
            "/api/v1/pods?&fieldSelector=a%3Db&limit=500&continue=x%3Dy" => {
                r#"{"metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"b"}}]}"#
            }
            other => panic!("{other}"),
        });
        let pods = Collection::new("/api/v1/pods");
        let (items, version) = pods.list_with_version::<Named>(&client, Some("a=b")).await.unwrap();
        assert_eq!(items.iter().map(|item| item.metadata.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(version, "7");
    }

    #[tokio::test]
    async fn what_go_writes_as_null_is_empty() {
        let client =
            answering(|_| r#"{"kind":"PodList","metadata":{"selfLink":"/api/v1/pods"},"items":null}"#);
        assert!(Collection::new("/api/v1/pods").list::<Named>(&client, None).await.unwrap().is_empty());
        let owner: Owner = serde_json::from_str(r#"{"kind":"Node","controller":null}"#).unwrap();
        assert!(!owner.controller);
    }

    #[tokio::test]
    async fn an_answer_that_cannot_be_read_is_not_quoted() {
        let client = answering(|_| r#"{"items":[{"metadata":"secret"}]}"#);
        let Err(error) = Collection::new("/api/v1/secrets").list::<Named>(&client, None).await else {
            panic!()
        };
        assert!(!format!("{error:?}").contains("secret"));
    }
}
