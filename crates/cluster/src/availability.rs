//! One request of the series that measures whether the API answers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, StatusCode};
use kubecert_engine::ports::{Availability, Credentials, Fault, PortError, PortResult};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::fault::{Symptom, one_line};
use crate::http::{AnyError, Connection, within};
use crate::tls::ConfigCache;

/// Where the probe's object is.
const COLLECTION: &str = "/api/v1/namespaces/kube-system/configmaps";

/// What it is called.
const NAME: &str = "kubecert-availability";

/// How long a read and a write together may take, connecting included. What takes longer is a failure for whoever
/// waits for it; the same limit as the probe had with which the ancestor was measured, so that figures compare.
const REQUEST_LIMIT: Duration = Duration::from_secs(2);

/// How long creating and removing the object may take. That is not measured, so it may wait for a busy API server.
const PREPARE_LIMIT: Duration = Duration::from_secs(15);

/// How many times creating and removing is tried, since nothing is promised about a single request.
const PREPARE_ATTEMPTS: usize = 3;

/// The pause before it is tried again.
const PREPARE_PAUSE: Duration = Duration::from_secs(1);

/// The API through its public endpoint, a new connection each time.
pub struct ApiAvailability {
    endpoint: String,
    port: u16,
    configs: ConfigCache,
}

impl ApiAvailability {
    /// Probes the API at this name (without scheme) and port.
    pub fn new(endpoint: impl Into<String>, port: u16) -> Self {
        Self { endpoint: endpoint.into(), port, configs: ConfigCache::default() }
    }

    /// A new TCP connection and a full handshake, as a client has that was just started.
    async fn connect(&self, config: Arc<ClientConfig>) -> Result<Connection, AnyError> {
        let stream = TcpStream::connect((self.endpoint.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(self.endpoint.clone())?;
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        Connection::new(stream, &format!("{}:{}", self.endpoint, self.port)).await
    }

    async fn read_and_write(&self, config: Arc<ClientConfig>, number: u64) -> Result<(), AnyError> {
        let mut connection = self.connect(config).await?;
        let path = format!("{COLLECTION}/{NAME}");
        expect("read", connection.send(Method::GET, &path, None).await?, &[StatusCode::OK])?;
        let patch = json!({ "data": { "n": number.to_string() } }).to_string().into_bytes();
        let written =
            connection.send(Method::PATCH, &path, Some(("application/merge-patch+json", patch))).await?;
        Ok(expect("write", written, &[StatusCode::OK])?)
    }

    /// Sends one request that is not measured, a few times if need be.
    async fn once_or_again(
        &self,
        credentials: &Credentials,
        what: &str,
        request: (Method, &str, Option<Vec<u8>>),
        fine: &[StatusCode],
    ) -> PortResult<()> {
        let config = self.configs.config(credentials)?;
        let (method, path, body) = request;
        let attempt = async || {
            let mut connection = self.connect(config.clone()).await?;
            let body = body.clone().map(|body| ("application/json", body));
            Ok::<_, AnyError>(expect(what, connection.send(method.clone(), path, body).await?, fine)?)
        };
        let mut tried = 1;
        loop {
            let error = match within(PREPARE_LIMIT, attempt()).await {
                Ok(()) => return Ok(()),
                Err(error) => self.port_error(&format!("cannot {what} configmap kube-system/{NAME}"), &error),
            };
            if tried == PREPARE_ATTEMPTS || !error.is_transient() {
                return Err(error);
            }
            tried += 1;
            tokio::time::sleep(PREPARE_PAUSE).await;
        }
    }

    fn port_error(&self, what: &str, error: &AnyError) -> PortError {
        let what = format!("{what} at {}:{}", self.endpoint, self.port);
        let fault = match error.downcast_ref::<Refusal>() {
            Some(refusal) => refusal.fault(),
            None => Symptom::of(error.as_ref()).fault(),
        };
        PortError::new(fault, what, one_line(error.as_ref()))
    }
}

#[async_trait]
impl Availability for ApiAvailability {
    async fn prepare(&self, credentials: &Credentials) -> PortResult<()> {
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": NAME, "namespace": "kube-system", "labels": { "app.kubernetes.io/managed-by": "kubecert" } },
            "data": { "n": "0" },
        });
        let request = (Method::POST, COLLECTION, Some(object.to_string().into_bytes()));
        self.once_or_again(credentials, "create", request, &[StatusCode::CREATED, StatusCode::CONFLICT]).await
    }

    async fn once(&self, credentials: &Credentials, number: u64) -> PortResult<()> {
        let config = self.configs.config(credentials)?;
        let request = within(REQUEST_LIMIT, self.read_and_write(config, number));
        request.await.map_err(|error| self.port_error("cannot use the API", &error))
    }

    async fn clean_up(&self, credentials: &Credentials) -> PortResult<()> {
        let path = format!("{COLLECTION}/{NAME}");
        let request = (Method::DELETE, path.as_str(), None);
        self.once_or_again(credentials, "delete", request, &[StatusCode::OK, StatusCode::NOT_FOUND]).await
    }
}

/// The API answered with a status other than the wanted one.
#[derive(Debug)]
struct Refusal {
    what: String,
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn fault(&self) -> Fault {
        match self.status.as_u16() {
            401 | 403 => Fault::Refused,
            429 | 500..=599 => Fault::Unreachable,
            _ => Fault::Failed,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} answered with {}", self.what, self.status.as_u16())?;
        if self.message.is_empty() { Ok(()) } else { write!(f, ", {}", self.message) }
    }
}

impl std::error::Error for Refusal {}

fn expect(what: &str, answer: (StatusCode, bytes::Bytes), fine: &[StatusCode]) -> Result<(), Refusal> {
    let (status, body) = answer;
    if fine.contains(&status) {
        return Ok(());
    }
    let message = serde_json::from_slice::<serde_json::Value>(&body)
        .ok()
        .and_then(|answer| Some(answer.get("message")?.as_str()?.replace('\n', " ")))
        .unwrap_or_default();
    Err(Refusal { what: what.to_owned(), status, message })
}
