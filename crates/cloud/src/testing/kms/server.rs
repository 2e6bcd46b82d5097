//! The plugin at its socket.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kubecert_engine::ports::Clock;
use prost::Message;
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::body::Body;
use tonic_prost::ProstCodec;

use super::holder::{Holder, LOGIN_PAUSE};
use super::key::LocalKey;
use super::wire::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, OK, StatusRequest, StatusResponse,
    VERSION, method,
};
use crate::authority::Address;

/// What a plugin needs.
#[derive(Clone, Debug)]
pub struct KmsConfig {
    /// The login file, which is read for each login.
    pub login_file: PathBuf,
    /// Where the authority is; without that, the login file says it.
    pub authority: Option<Address>,
    /// The socket at which API servers find it. One that is left over from another time is removed.
    pub socket: PathBuf,
    /// The file of the key that encrypts; it is made where it is not there.
    pub key: PathBuf,
}

/// A plugin that is being served, until this is dropped. Its certificate goes with it.
pub struct KmsPlugin {
    tasks: JoinSet<()>,
}

impl KmsPlugin {
    /// Opens the socket, and begins to log in.
    ///
    /// # Errors
    ///
    /// When the key cannot be read or made, or the socket not be had. That it cannot log in is told to those who ask for something.
    pub async fn start(config: KmsConfig, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let named = |path: &Path, error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        };
        let key = LocalKey::read_or_make(&config.key).map_err(|error| named(&config.key, error))?;
        remove_stale(&config.socket)
            .and_then(|()| UnixListener::bind(&config.socket))
            .map(|listener| {
                let holder = Holder::new(config.login_file, config.authority, clock);
                let plugin = Arc::new(Plugin { key, holder });
                let mut tasks = JoinSet::new();
                tasks.spawn(serve(listener, Arc::clone(&plugin)));
                tasks.spawn(async move {
                    loop {
                        plugin.holder.keep().await;
                        tokio::time::sleep(LOGIN_PAUSE).await;
                    }
                });
                Self { tasks }
            })
            .map_err(|error| named(&config.socket, error))
    }

    /// Serves for as long as it can, which is for ever.
    pub async fn serve(mut self) {
        self.tasks.join_next().await;
    }
}

/// Removes a socket that nobody listens at any more; nothing else that may lie there.
fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there, and is no socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

async fn serve(listener: UnixListener, plugin: Arc<Plugin>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else { return };
        let plugin = Arc::clone(&plugin);
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let plugin = Arc::clone(&plugin);
                async move { Ok::<_, std::convert::Infallible>(respond(plugin, request).await) }
            });
            let mut server = http2::Builder::new(TokioExecutor::new());
            // Who goes away is its own affair.
            let _ = server.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

struct Plugin {
    key: LocalKey,
    holder: Holder,
}

async fn respond(plugin: Arc<Plugin>, request: Request<Incoming>) -> Response<Body> {
    match request.uri().path() {
        method::STATUS => unary(plugin, request, Plugin::status).await,
        method::ENCRYPT => unary(plugin, request, Plugin::encrypt).await,
        method::DECRYPT => unary(plugin, request, Plugin::decrypt).await,
        _ => Status::unimplemented("this plugin speaks KMS v2 and nothing else").into_http(),
    }
}

/// Answers one call, if the authority accepts the plugin.
async fn unary<Q, A>(
    plugin: Arc<Plugin>,
    request: Request<Incoming>,
    act: fn(&Plugin, Q) -> Result<A, &'static str>,
) -> Response<Body>
where
    Q: Message + Default + Send + Sync + 'static,
    A: Message + Default + Send + Sync + 'static,
{
    let service = tower::service_fn(move |request: tonic::Request<Q>| {
        let plugin = Arc::clone(&plugin);
        async move {
            plugin.holder.accepted().await?;
            act(&plugin, request.into_inner()).map(tonic::Response::new).map_err(Status::invalid_argument)
        }
    });
    tonic::server::Grpc::new(ProstCodec::<A, Q>::default()).unary(service, request).await
}

impl Plugin {
    fn status(&self, _request: StatusRequest) -> Result<StatusResponse, &'static str> {
        let key_id = self.key.id().to_owned();
        Ok(StatusResponse { version: VERSION.to_owned(), healthz: OK.to_owned(), key_id })
    }

    fn encrypt(&self, request: EncryptRequest) -> Result<EncryptResponse, &'static str> {
        let ciphertext = self.key.encrypt(&request.plaintext)?;
        Ok(EncryptResponse { ciphertext, key_id: self.key.id().to_owned() })
    }

    fn decrypt(&self, request: DecryptRequest) -> Result<DecryptResponse, &'static str> {
        let plaintext = self.key.decrypt(&request.ciphertext, &request.key_id)?;
        Ok(DecryptResponse { plaintext })
    }
}
