//! Calls to an authority, over a connection of one's own.

use std::error::Error;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use kubecert_engine::ports::Clock;
use kubecert_pki::{Certificate, PrivateKey};
use prost::Message;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::code::{MocCode, understand};
use super::error::{AuthorityError, or_the_clock};
use super::tls::{Distrust, Verdict, client_config};

/// How long connecting may take, TLS included. On a network that carries anything it takes milliseconds; a lost packet or two
/// of the handshake are sent again within this.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How long one call may take. The authority answers within milliseconds unless its disk or its lock make it wait, which it does
/// for 20 s at most.
const CALL_LIMIT: Duration = Duration::from_secs(30);

const NEW_LOGIN_FILE: &str =
    "Fetch a new login file from the authority, whose roots it will hold, and log in again.";

/// A connection to one of an authority's two ports.
pub(super) struct Connection {
    place: String,
    clock: Arc<dyn Clock>,
    verdict: Verdict,
    grpc: tonic::client::Grpc<Channel>,
}

/// Whom to call, and how.
pub(super) struct Dial<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) roots: &'a [Certificate],
    pub(super) identity: Option<(&'a [Certificate], &'a PrivateKey)>,
    pub(super) clock: &'a Arc<dyn Clock>,
}

impl Connection {
    pub(super) async fn open(dial: Dial<'_>) -> Result<Self, AuthorityError> {
        let place = match dial.host.contains(':') {
            true => format!("[{}]:{}", dial.host, dial.port),
            false => format!("{}:{}", dial.host, dial.port),
        };
        let what = format!("cannot reach the authority at {place}");
        let failed = |cause: String| AuthorityError::new(what.as_str(), cause);
        let verdict = Verdict::default();
        let config = client_config(dial.roots, dial.identity, dial.clock, &verdict).map_err(failed)?;
        let name = ServerName::try_from(dial.host.to_owned())
            .map_err(|_| failed(format!("{:?} is neither a DNS name nor an address", dial.host)))?;
        let connector = {
            let (host, port) = (dial.host.to_owned(), dial.port);
            tower::service_fn(move |_: Uri| {
                let (tls, name, host) = (TlsConnector::from(config.clone()), name.clone(), host.clone());
                async move {
                    let stream = TcpStream::connect((host.as_str(), port)).await?;
                    let stream = tls.connect(name, stream).await?;
                    std::io::Result::Ok(TokioIo::new(stream))
                }
            })
        };
        // TLS is the connector's business, so the address says "http"; tonic would insist on its own TLS otherwise.
        let endpoint = Endpoint::from_static("http://authority");
        let clock = Arc::clone(dial.clock);
        match tokio::time::timeout(CONNECT_LIMIT, endpoint.connect_with_connector(connector)).await {
            Ok(Ok(channel)) => Ok(Self { place, clock, verdict, grpc: tonic::client::Grpc::new(channel) }),
            Ok(Err(error)) => Err(match taken(&verdict) {
                Some(distrust) => distrusted(&what, distrust, clock.now()),
                None => failed(innermost(&error)).remedy(
                    "Check that the authority is served, and that name and port are the ones it has told.",
                ),
            }),
            Err(_) => {
                Err(failed(format!("no answer within {} s", CONNECT_LIMIT.as_secs())).code(MocCode::Timeout))
            }
        }
    }

    /// One call; `what` is what cannot be done if it fails.
    pub(super) async fn call<Q, A>(
        &mut self,
        what: &str,
        path: &'static str,
        request: Q,
        token: Option<AsciiMetadataValue>,
    ) -> Result<A, AuthorityError>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let what = format!("{what} at {}", self.place);
        let mut request = Request::new(request);
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", token);
        }
        let (grpc, verdict) = (&mut self.grpc, &self.verdict);
        let call = async {
            let ready = grpc.ready().await;
            ready.map_err(|error| Status::unavailable(innermost(&error)))?;
            grpc.unary(request, PathAndQuery::from_static(path), ProstCodec::<Q, A>::default()).await
        };
        match tokio::time::timeout(CALL_LIMIT, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(match taken(verdict) {
                Some(distrust) => distrusted(&what, distrust, self.clock.now()),
                None => refused(&what, &status, self.clock.now()),
            }),
            Err(_) => Err(AuthorityError::new(what, format!("no answer within {} s", CALL_LIMIT.as_secs()))
                .code(MocCode::Timeout)),
        }
    }
}

fn taken(verdict: &Verdict) -> Option<Distrust> {
    verdict.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// What a client says of a server that it does not accept.
fn distrusted(what: &str, distrust: Distrust, now: Timestamp) -> AuthorityError {
    match distrust {
        Distrust::Stranger(why) => {
            AuthorityError::new(what, format!("it is not known by the roots that this client has: {why}"))
                .remedy(NEW_LOGIN_FILE)
        }
        Distrust::Time(why) => {
            AuthorityError::new(what, format!("its certificate does not count now: {why}"))
                .remedy(or_the_clock(now, "The authority's certificate, or its CA, has to be renewed there."))
        }
        Distrust::Other(why) => AuthorityError::new(what, format!("its certificate is refused: {why}"))
            .remedy("Name it as its certificate does."),
    }
}

/// What an answer that is a refusal means, and what to do about it.
fn refused(what: &str, status: &Status, now: Timestamp) -> AuthorityError {
    let (code, text) = understand(status);
    // What has a cause of its own did not come from the other side.
    if let Some(cause) = status.source() {
        return AuthorityError::new(what, format!("the connection broke: {}", innermost(cause))).remedy(
            "Try it again. Should it break again, the authority may hang up on the certificate: look whether the identity was \
             revoked, or the CA replaced; a new login file helps in both cases.",
        );
    }
    let error = AuthorityError::new(what, text).code(code);
    let of_token = status.code() == Code::Unauthenticated && code != MocCode::NoAuthenticationInformation;
    match code {
        MocCode::Expired if of_token => error.remedy(or_the_clock(
            now,
            "Have somebody with rights rotate the identity, and log in with the new login file.",
        )),
        MocCode::Revoked if of_token => {
            error.remedy("Have somebody with rights give out a new login file, or create the identity again.")
        }
        MocCode::InvalidToken => error.remedy(or_the_clock(
            now,
            "Log in with a login file of this authority; this one is another's, or was changed.",
        )),
        MocCode::Expired => {
            error.remedy(or_the_clock(now, "Log in again with a login file whose token is good."))
        }
        MocCode::Revoked => error
            .remedy("Nobody gets in as this identity any more; have somebody with rights create another."),
        MocCode::AccessDenied => error.remedy("Use the access file of an identity that may do this."),
        MocCode::NoAuthenticationInformation => error.remedy("Log in first."),
        _ => error,
    }
}

/// The cause at the end of a chain: what is around it says only that a transport has an error.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
