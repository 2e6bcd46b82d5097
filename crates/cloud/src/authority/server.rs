//! The two ports of an authority: one for logins, one for everything else.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use jiff::{SignedDuration, Timestamp};
use kubecert_pki::{
    Certificate, DistinguishedName, ExtendedKeyUsage, Fingerprint, KeyAlgorithm, PrivateKey, Serial,
    Template, Validity, issue,
};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::access_file::due;
use super::error::AuthorityError;
use super::live::Live;
use super::owner::{Authority, sans};
use super::service::{Door, Peer, respond};
use super::tls::{ClientCertificates, certified_key, provider, server_config};

/// How long a handshake may take; who needs longer does not speak TLS.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// How often a silent connection is asked whether its other end is still there. Clients of the public library ask once a
/// minute; half of that finds out first.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How long that answer may take.
const KEEP_ALIVE_LIMIT: Duration = Duration::from_secs(20);

/// How many connections each port has at a time. A site has some tens of clients; more wait, and cost nothing but a socket.
const CONNECTIONS: usize = 512;

/// How long is waited after a connection could not be accepted: what cannot be (too many open files) can be a moment later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where an authority listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// On which address.
    pub listen: IpAddr,
    /// The port for everything but logins; 0 for any that is free.
    pub port: u16,
    /// The port for logins; 0 for any that is free.
    pub login_port: u16,
}

/// An authority that is being served, until this is dropped.
pub struct Server {
    main: SocketAddr,
    login: SocketAddr,
    tasks: JoinSet<()>,
}

impl Server {
    /// Opens both ports. Login files that are made from then on name them.
    ///
    /// # Errors
    ///
    /// When a port cannot be had, or the authority cannot be read or has ended.
    pub async fn start(authority: Arc<Authority>, config: ServerConfig) -> Result<Self, AuthorityError> {
        let what = "cannot serve the authority";
        let failed = |cause: String| AuthorityError::new(what, cause);
        let own = Arc::new(Own { authority: Arc::clone(&authority), kept: Mutex::default() });
        // A CA that has ended signs nothing: better said now than to every client.
        own.present().map_err(|cause| {
            failed(cause)
                .remedy("Should the CA have ended, put a new one in its place: `kubecert authority rotate`.")
        })?;
        let main = listen(config.listen, config.port).await?;
        let login = listen(config.listen, config.login_port).await?;
        let address =
            |listener: &TcpListener| listener.local_addr().map_err(|error| failed(error.to_string()));
        let (main_address, login_address) = (address(&main)?, address(&login)?);
        let tls =
            |clients| server_config(Arc::clone(&own) as Arc<dyn ResolvesServerCert>, clients).map_err(failed);
        let main_tls = TlsAcceptor::from(tls(ClientCertificates::Asked)?);
        let login_tls = TlsAcceptor::from(tls(ClientCertificates::Ignored)?);
        authority.served_at(main_address.port(), login_address.port())?;
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(main, main_tls, Door::Main, Arc::clone(&authority)));
        tasks.spawn(serve(login, login_tls, Door::Login, authority));
        Ok(Self { main: main_address, login: login_address, tasks })
    }

    /// Where it takes everything but logins.
    pub fn main(&self) -> SocketAddr {
        self.main
    }

    /// Where it takes logins.
    pub fn login(&self) -> SocketAddr {
        self.login
    }

    /// Serves for as long as it can, which is for ever.
    pub async fn serve(mut self) {
        self.tasks.join_next().await;
    }
}

async fn listen(address: IpAddr, port: u16) -> Result<TcpListener, AuthorityError> {
    TcpListener::bind((address, port)).await.map_err(|error| {
        AuthorityError::new(format!("cannot listen on {}", SocketAddr::new(address, port)), error)
            .remedy("Name another port with --port or --login-port, or 0 for one that is free.")
    })
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, door: Door, authority: Arc<Authority>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // They end with this task.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // Never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (tls, authority) = (tls.clone(), Arc::clone(&authority));
        connections.spawn(async move {
            // A client that goes away, or does not speak our language, is its own affair.
            if let Err(error) = connection(stream, tls, door, authority).await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(place);
        });
    }
}

async fn connection(
    stream: TcpStream,
    tls: TlsAcceptor,
    door: Door,
    authority: Arc<Authority>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE_LIMIT, tls.accept(stream)).await??;
    let (_, session) = stream.get_ref();
    let chain = session.peer_certificates().unwrap_or_default();
    let chain: Result<Vec<Certificate>, _> = chain.iter().map(|der| Certificate::from_der(der)).collect();
    let peer = Peer::presenting(chain.map_err(io::Error::other)?);
    let service = service_fn(move |request| {
        let answer = respond(Arc::clone(&authority), door, peer.clone(), request);
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_LIMIT)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(io::Error::other)
}

/// The server's own certificate, made anew with each CA and before it ends. It is kept in memory only: nobody pins it, and a
/// key that is not stored cannot be taken.
struct Own {
    authority: Arc<Authority>,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    signer: Fingerprint,
    by_old: Option<Fingerprint>,
    renew_at: Timestamp,
    key: Arc<CertifiedKey>,
}

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Own(..)")
    }
}

impl ResolvesServerCert for Own {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.present().inspect_err(|cause| tracing::error!(%cause, "there is no certificate to present")).ok()
    }
}

impl Own {
    fn present(&self) -> Result<Arc<CertifiedKey>, String> {
        let live = self.authority.live().map_err(|error| error.to_string())?;
        let now = self.authority.now();
        // After an overlap, the proof by the old CA says nothing to anybody.
        let by_old = live.by_old.as_ref().filter(|_| live.document.overlap(now).is_some());
        let which = (live.signer.certificate().fingerprint(), by_old.map(Certificate::fingerprint));
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let good = |kept: &&Kept| (kept.signer, kept.by_old) == which && now < kept.renew_at;
        if let Some(kept) = kept.as_ref().filter(good) {
            return Ok(Arc::clone(&kept.key));
        }
        let (leaf, key) = leaf(&live, now)?;
        let renew_at = due(&leaf);
        let chain: Vec<Certificate> = std::iter::once(leaf).chain(by_old.cloned()).collect();
        let key = certified_key(&chain, &key, &provider())?;
        *kept = Some(Kept { signer: which.0, by_old: which.1, renew_at, key: Arc::clone(&key) });
        Ok(key)
    }
}

fn leaf(live: &Live, now: Timestamp) -> Result<(Certificate, PrivateKey), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let document = &live.document;
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).map_err(|error| text(&error))?;
    let name = DistinguishedName::common_name(&document.name).map_err(|error| text(&error))?;
    let shape = Template::builder(name)
        .extended_key_usage([ExtendedKeyUsage::ServerAuth])
        .sans(sans(&document.hosts))
        .build()
        .map_err(|error| text(&error))?;
    let lasts = SignedDuration::from_secs(document.lifetimes.certificate_s);
    // Clients' clocks may be behind ours.
    let validity = Validity::back_dated(now, lasts).map_err(|error| text(&error))?;
    let serial = Serial::random().map_err(|error| text(&error))?;
    let leaf =
        issue(&shape, key.public_key(), &live.signer, validity, &serial).map_err(|error| text(&error))?;
    Ok((leaf, key))
}
