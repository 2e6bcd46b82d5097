//! What a running server presents and trusts, seen from outside.
//!
//! A file on a node's disk proves nothing about the process that read it, perhaps, weeks ago. A handshake does: the
//! server shows the leaf that it has in memory, and names the CAs whose clients it would accept
//! (RFC 8446 §4.2.4, RFC 5246 §7.4.4). That needs no credential of ours.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use kubecert_core::inventory::Server;
use kubecert_core::model::NodeName;
use kubecert_engine::ports::{Credentials, Fault, Handshake, Nodes, PortError, PortResult, Probe, Stream};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::fault::{Symptom, one_line, port_error};
use crate::http::{AnyError, Connection};
use crate::tls;

/// How long one probe may take, from the first packet to the answer.
///
/// The way is our SSH session and the node's loopback, so an answer takes milliseconds. Five seconds are enough for a
/// node that is busy starting an API server, and short enough to look again before a gate's own limit ends.
const PROBE_LIMIT: Duration = Duration::from_secs(5);

/// TLS probes through the nodes.
pub struct TlsProbe {
    nodes: Arc<dyn Nodes>,
    addresses: BTreeMap<NodeName, IpAddr>,
    api_port: u16,
}

impl TlsProbe {
    /// Probes servers on these nodes. The addresses are those at which other nodes reach them: an etcd member listens
    /// for its peers on that address only.
    pub fn new(nodes: Arc<dyn Nodes>, addresses: BTreeMap<NodeName, IpAddr>, api_port: u16) -> Self {
        Self { nodes, addresses, api_port }
    }

    /// Where the server listens, as seen from its own node.
    fn host(&self, server: &Server) -> PortResult<IpAddr> {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let own = self.addresses.get(server.node()).copied();
        match server {
            Server::ApiServer(_) | Server::EtcdClient(_) => Ok(loopback),
            // It listens on all addresses by default; where it was told a single one, that is the node's own.
            Server::Kubelet(_) => Ok(own.unwrap_or(loopback)),
            Server::EtcdPeer(node) => own.ok_or_else(|| {
                PortError::new(Fault::Failed, format!("cannot probe {server}"), format!("the address of {node} is not known"))
                    .remedy("Make sure that the Kubernetes API or the cluster's description names the node's address.")
            }),
        }
    }

    async fn dial(&self, server: &Server) -> PortResult<Box<dyn Stream>> {
        let host = self.host(server)?.to_string();
        self.nodes.dial(server.node(), &host, server.port(self.api_port)).await
    }

    /// The names under which a server of a node may be certified.
    ///
    /// The stream ends at that very node, so the name adds little to the chain; which of them a certificate carries
    /// depends on the component and its age. etcd's has addresses only, a kubelet's the node's name.
    fn names(&self, server: &Server) -> Vec<ServerName<'static>> {
        let addresses = [Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), self.addresses.get(server.node()).copied()];
        let texts = ["kubernetes", "localhost", server.node().as_str()];
        let names = texts.into_iter().filter_map(|name| ServerName::try_from(name.to_owned()).ok());
        addresses.into_iter().flatten().map(tls::address_name).chain(names).collect()
    }

    async fn connect(
        &self,
        server: &Server,
        config: ClientConfig,
    ) -> Result<TlsStream<Box<dyn Stream>>, Step> {
        let name = match server {
            // A name, so that it is sent as SNI and an API server with several certificates shows the one for clusters'
            // own clients.
            Server::ApiServer(_) => {
                ServerName::try_from("kubernetes").unwrap_or(tls::address_name(Ipv4Addr::LOCALHOST.into()))
            }
            _ => tls::address_name(self.host(server).map_err(Step::Dial)?),
        };
        let stream = self.dial(server).await.map_err(Step::Dial)?;
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .map_err(|error| Step::Handshake(error.into()))
    }
}

/// What a server presents to whoever connects to `address` (`host:port`), and which CAs it names for clients. Sends no
/// credential, and believes nothing.
///
/// # Errors
///
/// Fails where nobody answers in time, or not in TLS.
pub async fn presented(address: &str) -> PortResult<Handshake> {
    let what = || format!("cannot shake hands with {address}");
    let seen = Arc::new(Recorder::default());
    let config = tls::config(tls::provider(), seen.clone(), seen.clone())?;
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).map_err(|error| PortError::new(Fault::Failed, what(), error))?;
    let connect = async {
        let stream = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.map(drop)
    };
    let error = match tokio::time::timeout(PROBE_LIMIT, connect).await {
        Ok(outcome) => outcome.err(),
        Err(_) => return Err(PortError::new(Fault::Timeout, what(), "no answer in time")),
    };
    match (seen.take(), error) {
        (Some(handshake), _) => Ok(handshake),
        (None, Some(error)) => Err(port_error(what(), &error)),
        (None, None) => Err(PortError::new(Fault::Unexpected, what(), "it presented no certificate")),
    }
}

/// Whether anything takes a TCP connection at `host` and `port` from this machine; nothing is sent.
///
/// # Errors
///
/// Fails where nothing does within 5 s.
pub async fn takes_connections(host: &str, port: u16) -> PortResult<()> {
    let what = || format!("cannot connect to {host} at port {port}");
    match tokio::time::timeout(PROBE_LIMIT, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(port_error(what(), &error)),
        Err(_) => Err(PortError::new(Fault::Timeout, what(), "no answer in time")),
    }
}

/// Where a probe ended.
enum Step {
    /// The node or the port was not reached; the error says it all.
    Dial(PortError),
    /// The handshake failed.
    Handshake(AnyError),
}

#[async_trait]
impl Probe for TlsProbe {
    async fn handshake(&self, server: &Server) -> PortResult<Handshake> {
        let what = || format!("cannot shake hands with {server}");
        let seen = Arc::new(Recorder::default());
        let config = tls::config(tls::provider(), seen.clone(), seen.clone())?;
        let outcome = match tokio::time::timeout(PROBE_LIMIT, self.connect(server, config)).await {
            Ok(outcome) => outcome,
            Err(_) => return Err(PortError::new(Fault::Timeout, what(), "no answer in time")),
        };
        let error = match outcome {
            Ok(_) => None,
            Err(Step::Dial(error)) => return Err(error),
            // A server that insists on a client certificate ends a TLS 1.2 handshake when none comes. By then it has
            // shown everything that we want to know: both messages come before that point.
            Err(Step::Handshake(error)) => Some(error),
        };
        match (seen.take(), error) {
            (Some(handshake), _) => Ok(handshake),
            (None, Some(error)) => Err(port_error(what(), error.as_ref())),
            (None, None) => Err(PortError::new(Fault::Unexpected, what(), "it presented no certificate")),
        }
    }

    /// What counts as a refusal of the client certificate, and so may become evidence that a CA is no longer trusted:
    /// a TLS alert about the certificate from any server; and, from etcd only, the end of the connection on the first
    /// read. etcd closes with our request unread, so the kernel sends a reset that may overtake the alert. An API
    /// server or a kubelet judges certificates by HTTP status 401, so there an early end only means that it is being
    /// stopped.
    async fn get(&self, server: &Server, credentials: &Credentials, path: &str) -> PortResult<u16> {
        let what = || format!("cannot ask {server} for {path}");
        let config = tls::client_config(credentials, &self.names(server))?;
        let ask = async {
            let stream = self.connect(server, config).await?;
            let authority = format!("kubernetes:{}", server.port(self.api_port));
            let mut connection = Connection::new(stream, &authority).await.map_err(Step::Handshake)?;
            Ok(connection.send(Method::GET, path, None).await)
        };
        let early_end_refuses =
            matches!(server, Server::EtcdClient(_) | Server::EtcdPeer(_)) && credentials.identity.is_some();
        match tokio::time::timeout(PROBE_LIMIT, ask).await {
            Ok(Ok(Ok((status, _)))) => Ok(status.as_u16()),
            Ok(Ok(Err(error))) if early_end_refuses && Symptom::of(error.as_ref()) == Symptom::Broken => {
                Err(PortError::new(
                    Fault::Refused,
                    what(),
                    format!("it hung up on our certificate: {}", one_line(error.as_ref())),
                ))
            }
            Ok(Ok(Err(error)) | Err(Step::Handshake(error))) => Err(refined(what(), &error)),
            Ok(Err(Step::Dial(error))) => Err(error),
            Err(_) => Err(PortError::new(Fault::Timeout, what(), "no answer in time")),
        }
    }
}

/// An error of [`TlsProbe::get`]. That *we* do not trust the server must not look as if it had refused us.
fn refined(what: String, error: &AnyError) -> PortError {
    let mut port_error = port_error(what, error.as_ref());
    if Symptom::of(error.as_ref()) == Symptom::ServerNotTrusted {
        port_error.fault = Fault::Unexpected;
    }
    port_error
}

/// Verifies nothing, presents nothing, remembers everything.
///
/// Only for [`Probe::handshake`], where nothing is sent but the handshake itself, and what is found is compared with
/// what is expected afterwards.
#[derive(Debug, Default)]
struct Recorder {
    chain: Mutex<Vec<Vec<u8>>>,
    names: Mutex<Vec<Vec<u8>>>,
}

impl Recorder {
    fn take(&self) -> Option<Handshake> {
        let take = |list: &Mutex<Vec<Vec<u8>>>| {
            std::mem::take(&mut *list.lock().unwrap_or_else(PoisonError::into_inner))
        };
        let chain = take(&self.chain);
        (!chain.is_empty()).then(|| Handshake { chain, client_ca_names: take(&self.names) })
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = std::iter::once(end_entity).chain(intermediates).map(|der| der.to_vec()).collect();
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = chain;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tls::provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ResolvesClientCert for Recorder {
    fn resolve(
        &self,
        root_hint_subjects: &[&[u8]],
        _sigschemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let names = root_hint_subjects.iter().map(|name| name.to_vec()).collect();
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
