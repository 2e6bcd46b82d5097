//! HTTP towards Azure: trust, proxies, patience, and trying again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use kubecert_engine::ports::Fault;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use rustls_pki_types::CertificateDer;
use rustls_platform_verifier::Verifier;

use super::error::AzureError;

/// How long until a connection stands, TLS included: a server behind a slow proxy needs some seconds.
const CONNECT_PATIENCE: Duration = Duration::from_secs(20);
/// How long one answer may take. ARM answers in seconds, or takes an operation on and says so.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);
/// How often one call is tried before it has failed.
const TRIES: usize = 6;
/// The first pause between two tries; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause of our own choice.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The longest `Retry-After` that is honoured: ARM's throttling windows are up to five minutes long ("Understand how
/// Azure Resource Manager throttles requests"). A server that wants more is treated as one that refuses.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);
/// How long until an operation is looked at again, where the server does not say.
const POLL_PAUSE: Duration = Duration::from_secs(5);
/// How long one operation may take: the ancestor waits 20 minutes for a machine.
const OPERATION_PATIENCE: Duration = Duration::from_secs(20 * 60);
/// Answers are read up to here; a page of machines has a few hundred kilobytes.
const LONGEST_ANSWER: usize = 32 << 20;

/// How calls are spaced. The default is what a real cloud wants.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How often one call is tried.
    pub tries: usize,
    /// The first pause between two tries.
    pub first_pause: Duration,
    /// The longest pause between two tries.
    pub longest_pause: Duration,
    /// The pause between two looks at an operation, where the server does not say.
    pub poll_pause: Duration,
    /// How long an operation may take.
    pub operation_patience: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            tries: TRIES,
            first_pause: FIRST_PAUSE,
            longest_pause: LONGEST_PAUSE,
            poll_pause: POLL_PAUSE,
            operation_patience: OPERATION_PATIENCE,
        }
    }
}

/// Proxies as the environment names them. The command line reads it; nothing here does.
#[derive(Clone, Default)]
pub struct Proxies {
    /// For `https://`, which is all that is called (`HTTPS_PROXY`, or `ALL_PROXY`).
    pub https: Option<String>,
    /// Hosts that are called directly (`NO_PROXY`).
    pub except: Option<String>,
}

/// Without the address, which may hold a password.
impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies").field("https", &self.https.is_some()).field("except", &self.except).finish()
    }
}

/// How Azure is called.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Further roots as DER, beside those that the machine trusts: an Azure Stack Hub has a private one.
    pub roots: Vec<Vec<u8>>,
    /// Proxies.
    pub proxies: Proxies,
    /// The language of Azure's messages, as `Accept-Language` has it.
    pub language: String,
    /// How calls are spaced.
    pub pace: Pace,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            roots: Vec::new(),
            proxies: Proxies::default(),
            language: "en-us".to_owned(),
            pace: Pace::default(),
        }
    }
}

/// When a call that failed is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Whenever that may help: the call only looks, or asks for a token.
    Always,
    /// Only when it has certainly not been carried out: no connection, too many calls, or the service is unavailable.
    IfNotDone,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// How long the server wants to be left alone, if it says so in seconds (ARM always does).
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let seconds = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse::<f64>().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// The client.
pub(crate) struct Http {
    pub(crate) client: reqwest::Client,
    pub(crate) pace: Pace,
}

impl Http {
    pub(crate) fn new(config: &HttpConfig) -> Result<Self, AzureError> {
        let cannot =
            |why: &dyn fmt::Display| AzureError::new(Fault::Refused, "cannot set up calls to Azure", why);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let roots = config.roots.iter().map(|der| CertificateDer::from_slice(der).into_owned());
        let verifier = Verifier::new_with_extra_roots(roots, provider.clone()).map_err(|error| {
            cannot(&error).remedy("Check that the given root certificate is a CA's, and that this machine has certificates that it trusts.")
        })?;
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| cannot(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            // A token follows nobody to another server.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_PATIENCE)
            .timeout(ANSWER_PATIENCE)
            .user_agent(concat!("kubecert/", env!("CARGO_PKG_VERSION")))
            .no_proxy();
        if let Some(proxy) = &config.proxies.https {
            // The library's own error would repeat the address, password and all.
            let proxy = reqwest::Proxy::https(proxy).map_err(|_| {
                cannot(&"the proxy's address cannot be understood")
                    .remedy("Correct HTTPS_PROXY: http://host:port is expected.")
            })?;
            let except = config.proxies.except.as_deref().and_then(reqwest::NoProxy::from_string);
            builder = builder.proxy(proxy.no_proxy(except));
        }
        let client = builder.build().map_err(|error| cannot(&error))?;
        Ok(Self { client, pace: config.pace })
    }

    /// Sends a request, again where that may help. An answer of whatever status that is not worth another try is an
    /// answer; who asked knows what to make of it.
    pub(crate) async fn send(
        &self,
        what: &str,
        repeat: Repeat,
        request: impl Fn() -> reqwest::RequestBuilder,
    ) -> Result<Answer, AzureError> {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(self.pace.first_pause)
            .with_max_delay(self.pace.longest_pause)
            .with_max_times(self.pace.tries.saturating_sub(1))
            .with_jitter();
        let attempt = || async {
            let answer = self.once(what, request()).await?;
            let transient = matches!(answer.status, 408 | 429 | 500..=599);
            if !transient {
                return Ok(answer);
            }
            let mut error = super::arm::refusal(what, &answer);
            error.retry_after = answer.retry_after();
            Err(error)
        };
        attempt
            .retry(pauses)
            .when(move |error: &AzureError| {
                let patient = error.retry_after.is_none_or(|pause| pause <= LONGEST_RETRY_AFTER);
                let safe = repeat == Repeat::Always
                    || matches!(error.status, Some(429 | 503))
                    || (error.status.is_none() && error.fault == Fault::Unreachable);
                patient && safe && error.is_transient()
            })
            .adjust(|error, pause| pause.map(|own| error.retry_after.map_or(own, |asked| asked.max(own))))
            .notify(|error, pause| {
                tracing::debug!(what, status = ?error.status, code = ?error.code, ?pause, "tries again");
            })
            .await
    }

    async fn once(&self, what: &str, request: reqwest::RequestBuilder) -> Result<Answer, AzureError> {
        let failed = |error: reqwest::Error| broken(what, &error);
        let mut response = request.send().await.map_err(failed)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(failed)? {
            if body.len() + part.len() > LONGEST_ANSWER {
                return Err(AzureError::new(Fault::Unexpected, what, "the answer is longer than 32 MiB"));
            }
            body.extend_from_slice(&part);
        }
        Ok(Answer { status, headers, body })
    }
}

/// An error of the connection, with the whole chain of its causes and without the address, which may hold a query.
fn broken(what: &str, error: &reqwest::Error) -> AzureError {
    let mut causes = Vec::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let text = cause.to_string();
        if causes.last() != Some(&text) {
            causes.push(text);
        }
        next = cause.source();
    }
    let text = if causes.is_empty() { "the request failed".to_owned() } else { causes.join(": ") };
    let untrusted = text.contains("UnknownIssuer") || text.contains("invalid peer certificate");
    let fault = match () {
        () if untrusted => Fault::Refused,
        () if error.is_connect() => Fault::Unreachable,
        () if error.is_timeout() => Fault::Timeout,
        () if error.is_builder() => Fault::Unexpected,
        // The connection broke after the request was sent; whether it was carried out is not known.
        () => Fault::Timeout,
    };
    let remedy = if untrusted {
        "The endpoint's certificate is not trusted: give the stack's own root with --azure-root-certificate, or add it to what this machine trusts."
    } else {
        "Check that this machine reaches the endpoint, and HTTPS_PROXY and NO_PROXY where there is a proxy."
    };
    AzureError::new(fault, what, text).remedy(remedy)
}
