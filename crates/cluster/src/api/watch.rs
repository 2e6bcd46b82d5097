//! Waiting for an object without asking all the time.

use std::time::Duration;

use futures::{TryStreamExt, pin_mut};
use kube::Client;
use kube::api::WatchParams;
use kube::core::WatchEvent;
use kubecert_engine::ports::{Fault, PortError, PortResult};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout_at};

use super::client::{CallError, Clients, Result};
use super::request::Collection;

/// How long one watch goes on before it is made anew, in seconds. A connection that died without a word (its API
/// server's node is gone) is noticed that late.
const WATCH_SECONDS: u32 = 10;

/// How long one attempt of a watch may take: its own time, and an API server's to answer the list before it.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);

/// The pause between two watches: an API server that is being stopped ends them at once.
const PAUSE: Duration = Duration::from_millis(200);

/// Waits until `check` says something about the object of that name, or about there being none, and returns that.
///
/// kube's own `await_condition` ends with the first error and knows one client only; here each look goes through
/// [`Clients::call`], so that a wait survives a restarting API server and changing credentials.
pub(super) async fn wait<T, R>(
    clients: &Clients,
    limit: Duration,
    what: &str,
    collection: &Collection,
    name: &str,
    check: impl Fn(Option<&T>) -> Option<R>,
) -> PortResult<R>
where
    T: Clone + DeserializeOwned,
{
    let deadline = Instant::now() + limit;
    loop {
        let look =
            clients.call_within(ATTEMPT_LIMIT, what, |client| follow(client, collection, name, &check));
        match timeout_at(deadline, look).await {
            Ok(Ok(Some(answer))) => return Ok(answer),
            Ok(Ok(None)) => sleep(PAUSE).await,
            Ok(Err(error)) if error.is_transient() && Instant::now() < deadline => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                return Err(PortError::new(
                    Fault::Timeout,
                    what,
                    format!("not within {} s", limit.as_secs()),
                ));
            }
        }
    }
}

/// Looks once and then follows the changes for a while; `None` when the watch ended without an answer.
async fn follow<T, R>(
    client: Client,
    collection: &Collection,
    name: &str,
    check: &impl Fn(Option<&T>) -> Option<R>,
) -> Result<Option<R>>
where
    T: Clone + DeserializeOwned,
{
    let selector = format!("metadata.name={name}");
    let (items, version) = collection.list_with_version::<T>(&client, Some(&selector)).await?;
    if let Some(answer) = check(items.first()) {
        return Ok(Some(answer));
    }
    let parameters = WatchParams::default().fields(&selector).timeout(WATCH_SECONDS);
    let events = client.request_events::<T>(collection.request().watch(&parameters, &version)?).await?;
    pin_mut!(events);
    while let Some(event) = events.try_next().await? {
        let answer = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => check(Some(&object)),
            WatchEvent::Deleted(_) => check(None),
            WatchEvent::Bookmark(_) => None,
            // Most often 410: the version is too old by now. Then look again.
            WatchEvent::Error(status) => return Err(CallError::Kube(Box::new(kube::Error::Api(status)))),
        };
        if answer.is_some() {
            return Ok(answer);
        }
    }
    Ok(None)
}
