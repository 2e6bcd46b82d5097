//! Calls that survive restarting API servers and changing credentials.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::Client;
use kube::client::middleware::BaseUriLayer;
use kubecert_engine::ports::{Credentials, Fault, PortError, PortResult};
use tower::ServiceBuilder;

use crate::fault::{Symptom, one_line};
use crate::http::AGENT;
use crate::tls;

/// How long connecting may take. The load balancer answers at once; what does not is a node that is gone.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// How long one attempt of an ordinary request may take. An API server that was just started answers its first
/// requests slowly; one that takes longer than this is not the one to wait for.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(15);

/// How long an idle connection is kept. Short, so that a connection made before an API server was stopped is seldom
/// found dead; a handshake costs little.
const IDLE_LIMIT: Duration = Duration::from_secs(10);

/// How many times a request is sent again after a passing failure. With the pauses below that is 12 s plus the
/// attempts' own time: longer than an API server takes to start while the load balancer still sends clients to it.
const RETRIES: usize = 8;

/// The first pause; each further one is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// How many times a request is sent again after all credentials were refused. An API server whose client CA file has
/// just changed, or that has just started, refuses for a moment; after that a refusal is one.
const RETRIES_WHEN_REFUSED: usize = 3;

/// What a call's closure returns.
pub(super) type Result<T> = std::result::Result<T, CallError>;

/// Why a call failed.
#[derive(Debug)]
pub(super) enum CallError {
    /// The API or the way to it.
    Kube(Box<kube::Error>),
    /// The answer is not what was asked for. The cause never quotes the answer, which may be a Secret.
    Answer(String),
}

impl From<kube::Error> for CallError {
    fn from(error: kube::Error) -> Self {
        Self::Kube(Box::new(error))
    }
}

impl From<kube::core::request::Error> for CallError {
    fn from(error: kube::core::request::Error) -> Self {
        Self::Kube(Box::new(kube::Error::BuildRequest(error)))
    }
}

impl CallError {
    /// The HTTP status with which the API declined, if it did.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            CallError::Kube(error) => match error.as_ref() {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            CallError::Answer(_) => None,
        }
    }
}

/// `None` instead of "not found".
pub(super) fn found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.status() == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

/// One client for each of the credentials in use.
pub(super) struct Clients {
    uri: Uri,
    set: RwLock<Arc<Set>>,
}

#[derive(Default)]
struct Set {
    clients: Vec<Client>,
    /// What they were made from.
    credentials: Vec<Credentials>,
    /// The one that was accepted last. API servers are visited one after the other, so this may change with each
    /// request; it is only where to begin.
    accepted: AtomicUsize,
}

impl Clients {
    /// Clients for the API at this address.
    pub(super) fn new(uri: Uri) -> Self {
        Self { uri, set: RwLock::default() }
    }

    /// Sets the credentials for all calls that begin, or are tried again, from now on.
    pub(super) fn use_credentials(&self, credentials: &[Credentials]) -> PortResult<()> {
        let set = Arc::new(self.set(credentials.to_vec(), 0)?);
        *self.set.write().unwrap_or_else(PoisonError::into_inner) = set;
        Ok(())
    }

    fn set(&self, credentials: Vec<Credentials>, accepted: usize) -> PortResult<Set> {
        let clients = credentials
            .iter()
            .map(|credentials| client(&self.uri, credentials))
            .collect::<PortResult<_>>()?;
        Ok(Set { clients, credentials, accepted: AtomicUsize::new(accepted) })
    }

    /// Leaves all connections of a set behind, if it is still the one in use.
    ///
    /// An API server that is not well, for instance because its etcd member is away, answers late and with errors, and
    /// keeps the connection: every further attempt on it would fare the same, while a new one may lead elsewhere.
    fn connect_anew(&self, failed: &Arc<Set>) {
        let Ok(fresh) = self.set(failed.credentials.clone(), failed.accepted.load(Ordering::Relaxed)) else {
            return;
        };
        let mut set = self.set.write().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&set, failed) {
            *set = Arc::new(fresh);
        }
    }

    /// Makes a call, on the credentials that were accepted last or else the others, again after passing failures.
    ///
    /// The call has to be idempotent: one of which the answer was lost is made again.
    pub(super) async fn call<T, F>(&self, what: &str, call: impl Fn(Client) -> F) -> PortResult<T>
    where
        F: Future<Output = Result<T>>,
    {
        self.call_within(ATTEMPT_LIMIT, what, call).await
    }

    /// The same with a limit of its own for each attempt, for watches and long lists.
    pub(super) async fn call_within<T, F>(
        &self,
        limit: Duration,
        what: &str,
        call: impl Fn(Client) -> F,
    ) -> PortResult<T>
    where
        F: Future<Output = Result<T>>,
    {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_max_times(RETRIES);
        let mut refused = 0;
        let outcome = (|| self.round(limit, what, &call))
            .retry(pauses)
            .when(|failure: &Failure| match failure {
                Failure::AllRefused(_) => {
                    refused += 1;
                    refused <= RETRIES_WHEN_REFUSED
                }
                Failure::Error(error) => error.is_transient(),
            })
            .notify(|failure, pause| tracing::debug!(error = %failure.error(), ?pause, "trying again"));
        outcome.await.map_err(Failure::into_error)
    }

    /// Tries each of the credentials once.
    async fn round<T, F>(
        &self,
        limit: Duration,
        what: &str,
        call: &impl Fn(Client) -> F,
    ) -> std::result::Result<T, Failure>
    where
        F: Future<Output = Result<T>>,
    {
        let set = self.set.read().unwrap_or_else(PoisonError::into_inner).clone();
        let first = set.accepted.load(Ordering::Relaxed);
        let mut refusals: Vec<String> = Vec::new();
        for offset in 0..set.clients.len() {
            let index = (first + offset) % set.clients.len();
            let Ok(result) = tokio::time::timeout(limit, call(set.clients[index].clone())).await else {
                self.connect_anew(&set);
                let cause = format!("no answer within {} s", limit.as_secs());
                return Err(Failure::Error(PortError::new(Fault::Timeout, what, cause)));
            };
            match result.map_err(|error| verdict(what, &error)) {
                Ok(value) => {
                    set.accepted.store(index, Ordering::Relaxed);
                    return Ok(value);
                }
                Err(Verdict::NotAccepted(cause)) if !refusals.contains(&cause) => refusals.push(cause),
                Err(Verdict::NotAccepted(_)) => {}
                Err(Verdict::Error(error)) => {
                    if error.is_transient() {
                        self.connect_anew(&set);
                    }
                    return Err(Failure::Error(error));
                }
            }
        }
        if refusals.is_empty() {
            let cause = "there are no credentials for the Kubernetes API";
            return Err(Failure::Error(PortError::new(Fault::Refused, what, cause)));
        }
        let remedy = "Check that the administrator's certificate has not ended, and that certificate and CA are those \
                      of this cluster.";
        Err(Failure::AllRefused(
            PortError::new(Fault::Refused, what, refusals.join("; or else ")).remedy(remedy),
        ))
    }
}

/// Why a round over all credentials failed.
enum Failure {
    /// None of them was accepted.
    AllRefused(PortError),
    /// Something that does not depend on them.
    Error(PortError),
}

impl Failure {
    const fn error(&self) -> &PortError {
        match self {
            Failure::AllRefused(error) | Failure::Error(error) => error,
        }
    }

    fn into_error(self) -> PortError {
        match self {
            Failure::AllRefused(error) | Failure::Error(error) => error,
        }
    }
}

/// What to do about a failed attempt.
enum Verdict {
    /// Other credentials may be accepted.
    NotAccepted(String),
    /// It does not depend on the credentials.
    Error(PortError),
}

fn verdict(what: &str, error: &CallError) -> Verdict {
    let error = match error {
        CallError::Kube(error) => error.as_ref(),
        CallError::Answer(cause) => return Verdict::Error(PortError::new(Fault::Unexpected, what, cause)),
    };
    let kube::Error::Api(status) = error else {
        let symptom = Symptom::of(error);
        let cause = one_line(error);
        return match symptom {
            Symptom::CertificateRefused | Symptom::ServerNotTrusted => Verdict::NotAccepted(cause),
            _ => Verdict::Error(PortError::new(symptom.fault(), what, cause)),
        };
    };
    let cause = match status.message.as_str() {
        "" => format!("HTTP status {}", status.code),
        message => message.replace(['\n', '\r'], " "),
    };
    let fault = match status.code {
        401 => {
            return Verdict::NotAccepted(format!(
                "the API server does not accept the client certificate ({cause})"
            ));
        }
        403 => Fault::Refused,
        // 500 is what etcd's "leader changed" and "request timed out" come as; 410 is an expired page of a list, 409 a
        // write that met another one.
        408 | 504 => Fault::Timeout,
        409 | 410 | 429 | 500..=599 => Fault::Unreachable,
        _ => Fault::Failed,
    };
    Verdict::Error(PortError::new(fault, what, cause))
}

/// A client for one of the credentials.
///
/// The TLS configuration is ours rather than kube's: kube takes the client certificate as PEM and leaves it to rustls
/// whether a server's list of CAs calls for it.
fn client(uri: &Uri, credentials: &Credentials) -> PortResult<Client> {
    let config = tls::client_config(credentials, &[])?;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_LIMIT));
    // HTTP/1.1: with HTTP/2 all requests share one connection, and a single restart would break them all at once.
    let https = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only()
        .enable_http1()
        .wrap_connector(tcp);
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_LIMIT)
        .build::<_, kube::client::Body>(https);
    let service = ServiceBuilder::new()
        .layer(BaseUriLayer::new(uri.clone()))
        .map_request(|mut request: http::Request<kube::client::Body>| {
            request.headers_mut().insert(http::header::USER_AGENT, http::HeaderValue::from_static(AGENT));
            request
        })
        .service(http);
    Ok(Client::new(service, "default"))
}
