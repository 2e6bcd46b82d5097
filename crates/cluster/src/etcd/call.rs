//! One gRPC call to one member, over a connection of its own.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use kubecert_core::model::NodeName;
use kubecert_engine::ports::{Credentials, Fault, Nodes, PortError, PortResult};
use prost::Message;
use rustls::ClientConfig;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use crate::fault::{Symptom, one_line, port_error};
use crate::tls;

use super::witness::{Verdict, Witness};

/// etcd's client port.
const CLIENT_PORT: u16 = 2379;

/// How long one call to one member may take, its connection included.
///
/// A healthy member answers within milliseconds, and an election takes one to two seconds with etcd's defaults. What
/// takes longer is not healthy, and nobody should wait for it to find that out.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(3);

/// A member that was reached.
///
/// Connections are not kept from one operation to the next: after a member was restarted, that a *new* connection is
/// accepted is exactly what the health gate has to see, and a handshake costs some milliseconds.
pub(super) struct Member {
    node: NodeName,
    /// How TLS ended the connection, if it did.
    verdict: Verdict,
    grpc: tonic::client::Grpc<Channel>,
}

impl Member {
    /// Connects with these credentials.
    pub(super) async fn connect(
        nodes: &Arc<dyn Nodes>,
        node: &NodeName,
        config: Arc<ClientConfig>,
    ) -> PortResult<Self> {
        let what = || format!("cannot reach etcd on {node}");
        let verdict = Verdict::default();
        let connector = {
            let (nodes, node, verdict) = (nodes.clone(), node.clone(), verdict.clone());
            tower::service_fn(move |_: Uri| {
                let (nodes, node, verdict) = (nodes.clone(), node.clone(), verdict.clone());
                let tls = TlsConnector::from(config.clone());
                async move {
                    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
                    let stream = nodes.dial(&node, &loopback.to_string(), CLIENT_PORT).await?;
                    let stream = tls.connect(tls::address_name(loopback), stream).await?;
                    Ok::<_, crate::http::AnyError>(TokioIo::new(Witness::new(stream, verdict)))
                }
            })
        };
        // TLS is the connector's business, so the address says "http"; tonic would insist on its own TLS otherwise.
        let endpoint = Endpoint::from_static("http://127.0.0.1:2379");
        match tokio::time::timeout(CALL_LIMIT, endpoint.connect_with_connector(connector)).await {
            Ok(Ok(channel)) => {
                Ok(Self { node: node.clone(), verdict, grpc: tonic::client::Grpc::new(channel) })
            }
            Ok(Err(error)) => Err(dial_error(&error).unwrap_or_else(|| port_error(what(), &error))),
            Err(_) => Err(PortError::new(Fault::Timeout, what(), "no answer in time")),
        }
    }

    /// One call.
    pub(super) async fn call<Q, A>(&mut self, path: &'static str, request: Q) -> PortResult<A>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let node = &self.node;
        let what = || format!("cannot call {path} of etcd on {node}");
        let grpc = &mut self.grpc;
        let call = async {
            grpc.ready().await.map_err(|error| port_error(what(), &error))?;
            let answer = grpc.unary(
                tonic::Request::new(request),
                PathAndQuery::from_static(path),
                ProstCodec::<Q, A>::default(),
            );
            answer.await.map(tonic::Response::into_inner).map_err(|status| status_error(what(), &status))
        };
        match (tokio::time::timeout(CALL_LIMIT, call).await, self.verdict.get()) {
            (Ok(Err(_)), Some(tls)) => Err(port_error(what(), tls)),
            (Ok(result), _) => result,
            (Err(_), _) => Err(PortError::new(Fault::Timeout, what(), "no answer in time")),
        }
    }
}

/// The configuration for the credentials: etcd speaks HTTP/2 only, and its certificate carries addresses only.
pub(super) fn config(credentials: &Credentials) -> PortResult<Arc<ClientConfig>> {
    let mut config = tls::client_config(credentials, &[])?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// The error of [`Nodes::dial`], which travels through tonic as a cause among others.
fn dial_error(error: &(dyn std::error::Error + 'static)) -> Option<PortError> {
    std::iter::successors(Some(error), |cause| cause.source())
        .find_map(|cause| cause.downcast_ref::<PortError>())
        .cloned()
}

/// What a gRPC status means.
fn status_error(what: String, status: &Status) -> PortError {
    // etcd hangs up on a client certificate that it refuses while our request lies unread in its socket, so that the
    // alert may be lost and only a broken stream seen. That is why the caller tries its other credentials then, too.
    let fault = match status.code() {
        Code::Unavailable | Code::Cancelled | Code::ResourceExhausted => Fault::Unreachable,
        Code::DeadlineExceeded => Fault::Timeout,
        Code::Unauthenticated | Code::PermissionDenied => Fault::Refused,
        _ if Symptom::of(status) == Symptom::Broken => Fault::Unreachable,
        _ => Fault::Failed,
    };
    let cause = if status.message().is_empty() { one_line(status) } else { status.message().to_owned() };
    PortError::new(fault, what, cause)
}
