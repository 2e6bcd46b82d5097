//! One HTTP/1.1 connection over a TLS stream that somebody else opened.
//!
//! Pools hide what the probes want to see: whether a *new* connection is accepted. So there is none here.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;

/// What we call ourselves in the API server's audit log.
pub(crate) const AGENT: &str = concat!("kubecert/", env!("CARGO_PKG_VERSION"));

/// The most that is read of an answer. The probes ask for a status word or a ConfigMap of ours.
const LONGEST_ANSWER: usize = 1 << 20;

/// An error of whatever library.
pub(crate) type AnyError = Box<dyn Error + Send + Sync>;

/// An open connection. Dropping it closes it.
pub(crate) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    authority: String,
    driver: AbortHandle,
}

impl Connection {
    /// Takes a stream over.
    pub(crate) async fn new<S>(stream: S, authority: &str) -> Result<Self, AnyError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // What ends the connection also ends the request in flight with the same error, so nothing is lost here.
        let driver = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Ok(Self { sender, authority: authority.to_owned(), driver })
    }

    /// Sends one request and reads its whole answer, so that the connection can be used again.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> Result<(StatusCode, Bytes), AnyError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.authority)
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, "application/json");
        let mut bytes = Bytes::new();
        if let Some((kind, content)) = body {
            request = request.header(CONTENT_TYPE, kind);
            bytes = content.into();
        }
        // After an answer the connection needs a moment before it takes the next request; without this wait that request
        // would now and then fail, and count as one that the API failed.
        self.sender.ready().await?;
        let response = self.sender.send_request(request.body(Full::new(bytes))?).await?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await?.to_bytes();
        Ok((status, answer))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Ends work that takes longer than it may, with an error that [`crate::fault::Symptom`] knows.
pub(crate) async fn within<T, E: Into<AnyError>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, AnyError> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => {
            let message = format!("no answer within {} ms", limit.as_millis());
            Err(std::io::Error::new(std::io::ErrorKind::TimedOut, message).into())
        }
    }
}
