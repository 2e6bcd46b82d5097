//! One SSH session: handshake, authentication, scripts, tunnels. With `agent.rs` and `fault.rs` the only
//! module that speaks russh's protocol types.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use kubecert_core::model::OperatingSystem;
use kubecert_engine::ports::{Fault, PortError, PortResult};
use russh::client::{self, Handle, Handler};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg, ChannelStream, ChannelWriteHalf, Preferred};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::agent;
use crate::config::{Identity, SshConfig, WindowsLogin};
use crate::exec::{Job, Output};
use crate::fault::{protocol_error, tunnel_error};

/// How often a silent server is asked whether it is still there, and how many questions may stay unanswered.
///
/// Fifteen seconds until a dead connection is noticed: less than any step may take, and more than a node under load or
/// a switched network path is silent.
const KEEPALIVE: (Duration, usize) = (Duration::from_secs(5), 3);

/// How many scripts run at once in one session. sshd's `MaxSessions` is 10 by default; two are left to its own view of
/// which of ours have ended.
const SCRIPTS: usize = 8;

/// How many tunnels are open at once in one session. `MaxSessions` does not count them; the limit is against a leak.
const TUNNELS: usize = 64;

/// How long sshd may take to open a channel, and how long to wait for one of ours to end before that.
const CHANNEL: Duration = Duration::from_secs(30);

/// How often the way to a host is measured. The least counts: the first answer is held back until our kernel has
/// acknowledged what sshd says of itself after a login.
const PINGS: usize = 3;

/// How long is waited for a command that only makes things faster.
const HASTEN: Duration = Duration::from_secs(3);

/// How long a session may take to be told that it ends. The message goes to a task of ours, which takes it at once unless
/// the connection is stuck.
const FAREWELL: Duration = Duration::from_secs(1);

/// An authenticated session to the bastion or to a node.
pub(crate) struct Session {
    handle: Handle<Guard>,
    /// The host as messages name it.
    name: String,
    /// Whether scripts need sudo.
    sudo: bool,
    scripts: Semaphore,
    tunnels: Arc<Semaphore>,
    round_trip: Duration,
}

/// A tunnel through a session.
pub(crate) type Tunnel = ChannelStream<client::Msg>;

impl Session {
    /// Greets and authenticates over a stream to `host`. The caller limits the time.
    pub(crate) async fn open(
        config: &Arc<SshConfig>,
        system: OperatingSystem,
        host: &str,
        port: u16,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> PortResult<Self> {
        let what = format!("cannot log in to {host}");
        let settings = client::Config {
            preferred: Preferred { key: config.host_keys.preferred(host, port).into(), ..Preferred::DEFAULT },
            keepalive_interval: Some(KEEPALIVE.0),
            keepalive_max: KEEPALIVE.1,
            nodelay: true,
            ..client::Config::default()
        };
        let guard = Guard { config: Arc::clone(config), host: host.to_owned(), port };
        let mut handle = match client::connect_stream(Arc::new(settings), stream, guard).await {
            Ok(handle) => handle,
            Err(Stop::HostKey(error)) => return Err(*error),
            Err(Stop::Protocol(source)) => return Err(protocol_error(&what, &source)),
        };
        match system {
            OperatingSystem::Linux => authenticate(&mut handle, config, host).await?,
            OperatingSystem::Windows => authenticate_on_windows(&mut handle, config, host).await?,
        }
        let mut round_trip = Duration::MAX;
        for _ in 0..PINGS {
            let asked = Instant::now();
            handle.send_ping().await.map_err(|source| protocol_error(&what, &source))?;
            round_trip = round_trip.min(asked.elapsed());
        }
        tracing::debug!(host, ?round_trip, "opened a session");
        Ok(Self {
            handle,
            name: host.to_owned(),
            sudo: system == OperatingSystem::Linux && config.user != "root",
            scripts: Semaphore::new(SCRIPTS),
            tunnels: Arc::new(Semaphore::new(TUNNELS)),
            round_trip,
        })
    }

    /// Whether the connection has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Whether nothing goes on in it but what keeps it open.
    pub(crate) fn is_idle(&self) -> bool {
        self.scripts.available_permits() == SCRIPTS && self.tunnels.available_permits() == TUNNELS
    }

    /// Takes leave of the host.
    pub(crate) async fn close(&self) {
        // Whoever does not hear it notices that the connection has ended.
        let farewell = self.handle.disconnect(russh::Disconnect::ByApplication, "", "");
        let _ = timeout(FAREWELL, farewell).await;
    }

    /// Makes the host's sshd send small messages at once.
    ///
    /// sshd switches Nagle's algorithm off when a command is run, but not for forwarding alone; then every second small
    /// message of a node waits 40 ms for our kernel's delayed acknowledgement. So a command that does nothing is run. A
    /// bastion that only forwards refuses it, and stays slower.
    pub(crate) async fn hasten(&self) {
        let run = async {
            let mut channel = self.handle.channel_open_session().await?;
            channel.exec(true, ":").await?;
            while channel.wait().await.is_some() {}
            Ok::<(), russh::Error>(())
        };
        if !matches!(timeout(HASTEN, run).await, Ok(Ok(()))) {
            tracing::debug!(host = %self.name, "the SSH host runs no command for us");
        }
    }

    /// Opens a TCP connection from the host to `to:port`.
    pub(crate) async fn tunnel(&self, to: &str, port: u16) -> PortResult<Counted<Tunnel>> {
        let what = format!("cannot reach {to}:{port} from {}", self.name);
        let permit = timeout(CHANNEL, Arc::clone(&self.tunnels).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            let cause = format!("{TUNNELS} connections through this session are open already");
            return Err(PortError::new(Fault::Timeout, what, cause));
        };
        let opening = self.handle.channel_open_direct_tcpip(to, u32::from(port), "127.0.0.1", 0);
        match timeout(CHANNEL, opening).await {
            Ok(Ok(channel)) => Ok(Counted { inner: channel.into_stream(), _permit: permit }),
            Ok(Err(source)) => Err(tunnel_error(&what, &self.name, &source)),
            Err(_) => Err(PortError::new(Fault::Timeout, what, "the connection was not opened in time")),
        }
    }

    /// Waits for a place and starts the shell for a job. Nothing has happened on the node if this fails.
    pub(crate) async fn begin(&self, job: &Job) -> PortResult<Started<'_>> {
        let Ok(Ok(place)) = timeout(job.limit(), self.scripts.acquire()).await else {
            return Err(job.error(Fault::Timeout, format!("{SCRIPTS} scripts run on {} already", self.name)));
        };
        match timeout(CHANNEL, self.handle.channel_open_session()).await {
            Ok(Ok(channel)) => Ok(Started { channel, _place: place }),
            Ok(Err(source)) => Err(protocol_error(job.what(), &source)),
            Err(_) => Err(job.error(Fault::Timeout, format!("{} opens no channel", self.name))),
        }
    }

    /// Carries a job to its end.
    pub(crate) async fn finish(&self, job: &Job, started: Started<'_>) -> PortResult<Output> {
        match timeout(job.limit(), self.carry(job, started)).await {
            Ok(output) => output,
            Err(_) => Err(job.error(Fault::Timeout, format!("no answer within {} s", job.limit().as_secs()))),
        }
    }

    async fn carry(&self, job: &Job, Started { channel, _place }: Started<'_>) -> PortResult<Output> {
        let (mut answers, questions) = channel.split();
        let questions = Closing(Some(questions));
        let sent = questions.exec(job.command(self.sudo)).await;
        sent.map_err(|source| protocol_error(job.what(), &source))?;
        let mut output = Output {
            status: None,
            stdout: Zeroizing::default(),
            stderr: Vec::new(),
            answered: None,
            round_trip: self.round_trip,
        };
        let stream = job.stream();
        // A script that fails stops reading; that is no failure of the connection, and what it says is what counts.
        let send = async {
            questions.send(&stream).await;
            std::future::pending::<()>().await;
        };
        let receive = async {
            let mut exited = false;
            while let Some(message) = answers.wait().await {
                match message {
                    ChannelMsg::Data { data } => {
                        output.answered.get_or_insert_with(SystemTime::now);
                        output.stdout.extend_from_slice(&data);
                    }
                    ChannelMsg::ExtendedData { data, .. } => output.stderr.extend_from_slice(&data),
                    ChannelMsg::ExitStatus { exit_status } => {
                        output.status = Some(exit_status);
                        exited = true;
                    }
                    ChannelMsg::ExitSignal { .. } => exited = true,
                    ChannelMsg::Failure => {
                        return Err(job.error(Fault::Refused, "sshd refused to run a command").remedy(
                            "Allow the SSH user to run commands on that host (no ForceCommand, a login shell).",
                        ));
                    }
                    _ => {}
                }
            }
            if exited { Ok(()) } else { Err(job.error(Fault::Unreachable, "the connection broke")) }
        };
        tokio::select! {
            () = send => {}
            received = receive => received?,
        }
        Ok(output)
    }
}

/// A channel for one script, and its place among those of the session.
pub(crate) struct Started<'a> {
    channel: Channel<client::Msg>,
    _place: SemaphorePermit<'a>,
}

/// The writing half of a script's channel. If we stop caring before the script has ended, sshd must be told: channels
/// that stay open count against its `MaxSessions`.
struct Closing(Option<ChannelWriteHalf<client::Msg>>);

impl Closing {
    async fn exec(&self, command: String) -> Result<(), russh::Error> {
        match &self.0 {
            Some(half) => half.exec(true, command).await,
            None => Ok(()),
        }
    }

    /// Sends everything and says that it was everything.
    async fn send(&self, stream: &[u8]) {
        if let Some(half) = &self.0
            && half.data(stream).await.is_ok()
        {
            let _ = half.eof().await;
        }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        if let (Some(half), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                let _ = half.close().await;
            });
        }
    }
}

/// Something that holds a place in a semaphore for as long as it lives.
pub(crate) struct Counted<T> {
    inner: T,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Judges the host key during the handshake.
pub(crate) struct Guard {
    config: Arc<SshConfig>,
    host: String,
    port: u16,
}

/// Why a handshake ended.
#[derive(Debug)]
pub(crate) enum Stop {
    HostKey(Box<PortError>),
    Protocol(russh::Error),
}

impl From<russh::Error> for Stop {
    fn from(source: russh::Error) -> Self {
        Self::Protocol(source)
    }
}

impl Handler for Guard {
    type Error = Stop;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Stop> {
        // We offer no algorithm for host certificates, so this is a bare key.
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else { return Ok(false) };
        let accepted = self.config.host_keys.accept(&self.host, self.port, key);
        accepted.map(|()| true).map_err(|error| Stop::HostKey(Box::new(error)))
    }
}

async fn authenticate(handle: &mut Handle<Guard>, config: &SshConfig, host: &str) -> PortResult<()> {
    let what = format!("cannot log in to {host} as {}", config.user);
    if with_key(handle, config, &config.user, &what).await? {
        return Ok(());
    }
    Err(PortError::new(Fault::Refused, what, "the key is not accepted").remedy(format!(
        "Give the private key that belongs to the administrator's public key, and see that {} is the administrator's \
         name on that host.",
        config.user
    )))
}

/// The key first, which tells the node nothing that it does not know, then the password, as the ancestor does.
async fn authenticate_on_windows(
    handle: &mut Handle<Guard>,
    config: &SshConfig,
    host: &str,
) -> PortResult<()> {
    let what = format!("cannot log in to {host}, which runs Windows");
    let Some(WindowsLogin { user, password }) = &config.windows else {
        return Err(PortError::new(Fault::Refused, what, "the api model has no windowsProfile with a user").remedy(
            "Restore windowsProfile in the api model from the deployment's output, or remove the node from the cluster.",
        ));
    };
    let what = format!("{what}, as {user}");
    if with_key(handle, config, user, &what).await? {
        return Ok(());
    }
    let Some(password) = password else {
        return Err(PortError::new(
            Fault::Refused,
            what,
            "the key is not accepted, and the api model has no windowsProfile.adminPassword",
        )
        .remedy("Restore the password in the api model, or add the public key to administrators_authorized_keys there."));
    };
    match handle.authenticate_password(user, password.expose()).await {
        Ok(client::AuthResult::Success) => Ok(()),
        Ok(client::AuthResult::Failure { .. }) => {
            Err(PortError::new(Fault::Refused, what, "neither the key nor the password is accepted").remedy(
                "Put the present password into windowsProfile.adminPassword of the api model, or add the public key to \
                 administrators_authorized_keys on the node.",
            ))
        }
        Err(source) => Err(protocol_error(&what, &source)),
    }
}

/// Tries the key; whether it is accepted.
async fn with_key(
    handle: &mut Handle<Guard>,
    config: &SshConfig,
    user: &str,
    what: &str,
) -> PortResult<bool> {
    let key = match config.private_key.identity() {
        Identity::Key(key) => key,
        Identity::Agent(socket) => return agent::authenticate(handle, user, what, socket).await,
    };
    let hash = signature_hash(handle, key.algorithm().is_rsa(), what).await?;
    let signer = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
    match handle.authenticate_publickey(user, signer).await {
        Ok(result) => Ok(result.success()),
        Err(source) => Err(protocol_error(what, &source)),
    }
}

/// With which hash to sign, which matters for RSA alone.
pub(crate) async fn signature_hash(
    handle: &Handle<Guard>,
    is_rsa: bool,
    what: &str,
) -> PortResult<Option<russh::keys::HashAlg>> {
    use russh::keys::HashAlg;
    if !is_rsa {
        return Ok(None);
    }
    match handle.best_supported_rsa_hash().await.map_err(|source| protocol_error(what, &source))? {
        Some(Some(hash)) => Ok(Some(hash)),
        // A server that does not say what it takes is old; every one since OpenSSH 7.2 takes this.
        None => Ok(Some(HashAlg::Sha256)),
        Some(None) => Err(PortError::new(Fault::Refused, what, "its sshd takes RSA keys only with SHA-1").remedy(
            "Allow rsa-sha2-256 in the host's sshd_config (PubkeyAcceptedAlgorithms), or use another kind of key.",
        )),
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("name", &self.name).finish_non_exhaustive()
    }
}
