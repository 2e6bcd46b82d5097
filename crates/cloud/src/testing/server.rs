//! The server itself.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT_LANGUAGE, AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderName};
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::config::StandInConfig;
use super::jwt::Signer;
use super::reply::{Reply, refusal, with};
use super::{login, resource_manager, tls};

/// Longer bodies are not sent to it by anybody.
const LONGEST_BODY: usize = 1 << 20;

/// Really restarts the node of that name, and says when it has, or why not.
pub type Hook = Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// A call that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The method and the path, `POST /a/b`.
    pub line: String,
    /// The query.
    pub query: BTreeMap<String, String>,
    /// `Accept-Language`.
    pub language: Option<String>,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// 429, and how many seconds to wait.
    Throttled(u32),
    /// Another status, with Azure's code.
    Status(u16, &'static str),
    /// The connection breaks before an answer.
    Broken,
}

/// What goes wrong next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// With calls whose line contains this.
    pub calls: String,
    /// What.
    pub kind: TroubleKind,
    /// How often.
    pub times: u32,
}

pub(super) enum OperationState {
    InProgress,
    Succeeded,
    Failed(String),
}

/// What is asked.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: BTreeMap<String, String>,
    pub(super) authorization: Option<String>,
    pub(super) length: Option<u64>,
}

pub(super) struct State {
    pub(super) config: StandInConfig,
    pub(super) signer: Signer,
    pub(super) hook: Hook,
    pub(super) operations: Mutex<Vec<OperationState>>,
    pub(super) registered: Mutex<BTreeSet<String>>,
    pub(super) issued: AtomicU32,
    pub(super) polls: AtomicU32,
    power: Mutex<BTreeMap<String, String>>,
    calls: Mutex<Vec<Call>>,
    troubles: Mutex<Vec<Trouble>>,
    address: SocketAddr,
}

impl State {
    pub(super) fn resource_manager(&self) -> String {
        self.or_own(&self.config.resource_manager)
    }

    pub(super) fn login(&self) -> String {
        self.or_own(&self.config.login)
    }

    fn or_own(&self, configured: &str) -> String {
        if configured.is_empty() { format!("https://{}/", self.address) } else { configured.to_owned() }
    }

    pub(super) fn power(&self, node: &str) -> String {
        let power = self.power.lock().unwrap_or_else(PoisonError::into_inner);
        power.get(node).cloned().unwrap_or_else(|| "running".to_owned())
    }

    pub(super) fn set_power(&self, node: &str, state: &str) {
        let mut power = self.power.lock().unwrap_or_else(PoisonError::into_inner);
        power.insert(node.to_owned(), state.to_owned());
    }

    fn trouble(&self, line: &str) -> Option<TroubleKind> {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let trouble =
            troubles.iter_mut().find(|trouble| trouble.times > 0 && line.contains(&trouble.calls))?;
        trouble.times -= 1;
        Some(trouble.kind.clone())
    }
}

/// A stand-in that runs until it is dropped.
pub struct StandIn {
    state: Arc<State>,
    root_pem: String,
    root_der: Vec<u8>,
    task: JoinHandle<()>,
}

impl StandIn {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// When it cannot listen there, or a name is none.
    pub async fn start(config: StandInConfig, hook: Hook) -> io::Result<Self> {
        let identity = tls::identity(&config.names)?;
        let listener = TcpListener::bind(config.listen).await?;
        let known = ["Microsoft.Compute", "Microsoft.Network"].map(str::to_owned);
        let state = Arc::new(State {
            signer: Signer::new()?,
            hook,
            operations: Mutex::default(),
            // As the record of the ancestor shows a subscription that is used for the first time.
            registered: Mutex::new(known.into()),
            issued: AtomicU32::new(0),
            polls: AtomicU32::new(0),
            power: Mutex::default(),
            calls: Mutex::default(),
            troubles: Mutex::default(),
            address: listener.local_addr()?,
            config,
        });
        let task = tokio::spawn(serve(listener, TlsAcceptor::from(identity.config), Arc::clone(&state)));
        Ok(Self { state, root_pem: identity.root_pem, root_der: identity.root_der, task })
    }

    /// Where Resource Manager is.
    pub fn resource_manager(&self) -> String {
        self.state.resource_manager()
    }

    /// Where tokens are issued.
    pub fn login(&self) -> String {
        self.state.login()
    }

    /// The root that its clients must trust, as PEM.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The same as DER.
    pub fn root_der(&self) -> &[u8] {
        &self.root_der
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.state.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many tokens were given out.
    pub fn tokens_issued(&self) -> u32 {
        self.state.issued.load(Ordering::SeqCst)
    }

    /// A token as the issuer would give it to somebody who is signed in, for as many seconds.
    pub fn token(&self, lasts_s: u64) -> String {
        self.state.signer.sign(&self.state.config.audience, "person", lasts_s)
    }

    /// Whether a resource provider is registered.
    pub fn is_registered(&self, provider: &str) -> bool {
        self.state.registered.lock().unwrap_or_else(PoisonError::into_inner).contains(provider)
    }

    /// Lets something go wrong.
    pub fn trouble(&self, trouble: Trouble) {
        self.state.troubles.lock().unwrap_or_else(PoisonError::into_inner).push(trouble);
    }

    /// Sets how a machine is, in Azure's word: `running`, `deallocated`.
    pub fn set_power(&self, node: &str, state: &str) {
        self.state.set_power(node, state);
    }

    /// Waits for as long as it serves.
    ///
    /// # Errors
    ///
    /// When it has failed.
    pub async fn serve(mut self) -> io::Result<()> {
        (&mut self.task).await.map_err(io::Error::other)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<State>) {
    loop {
        // What cannot be accepted now (too many files open) can be a moment later.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(|request| respond(Arc::clone(&state), request));
            let connection = hyper::server::conn::http1::Builder::new();
            // A client that goes away is its own affair.
            let _gone = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn respond(state: Arc<State>, request: Request<Incoming>) -> io::Result<Reply> {
    let (head, body) = request.into_parts();
    let address = reqwest::Url::parse(&format!("https://stand-in{}", head.uri)).map_err(io::Error::other)?;
    let query: BTreeMap<String, String> =
        address.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
    let asked = Asked {
        method: head.method,
        path: address.path().to_owned(),
        query,
        authorization: text(&head.headers, &AUTHORIZATION),
        length: text(&head.headers, &CONTENT_LENGTH).and_then(|length| length.parse().ok()),
    };
    let line = format!("{} {}", asked.method, asked.path);
    state.calls.lock().unwrap_or_else(PoisonError::into_inner).push(Call {
        line: line.clone(),
        query: asked.query.clone(),
        language: text(&head.headers, &ACCEPT_LANGUAGE),
    });
    match state.trouble(&line) {
        None => {}
        Some(TroubleKind::Broken) => return Err(io::Error::other("broken on purpose")),
        Some(TroubleKind::Throttled(seconds)) => {
            let body = r#"{"error":{"code":"TooManyRequests","message":"The request is being throttled."}}"#;
            return Ok(with(429, &[("retry-after", &seconds.to_string())], body.to_owned()));
        }
        Some(TroubleKind::Status(status, code)) => return Ok(refusal(status, code, "Trouble on purpose.")),
    }
    let body = Limited::new(body, LONGEST_BODY).collect().await.map_err(io::Error::other)?.to_bytes();
    let parts: Vec<&str> = asked.path.split('/').filter(|part| !part.is_empty()).collect();
    Ok(match (&asked.method, &parts[..]) {
        (_, ["subscriptions", ..]) => resource_manager::answer(&state, &asked),
        (&Method::GET, ["metadata", "endpoints"]) => resource_manager::metadata(&state),
        (&Method::POST, [tenant, "oauth2", end]) => login::answer(&state, tenant, end, &body),
        _ => refusal(404, "NotFound", "There is nothing here."),
    })
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}
