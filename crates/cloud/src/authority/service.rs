//! The calls that an authority answers.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response};
use hyper::body::Incoming;
use jiff::{SignedDuration, Timestamp};
use kubecert_pki::{Certificate, Csr, parse_pem_certificates, to_pem_chain};
use prost::Message;
use secrecy::ExposeSecret as _;
use tonic::Status as GrpcStatus;
use tonic::body::Body;
use tonic_prost::ProstCodec;

use super::agent;
use super::assignments;
use super::ca::{Purpose, holder_id};
use super::certificate_agent;
use super::code::{MocCode, Refusal};
use super::document::{Document, Identity as Record};
use super::error::AuthorityError;
use super::live::Live;
use super::login_file::{ClientType, LoginFile};
use super::owner::{Authority, NewIdentity, Status, create, info, monitor, rotate};
use super::rights::{self, Caller, Right};
use super::roles;
use super::wire::{
    AuthenticationRequest, AuthenticationResponse, BoolValue, Certificate as WireCertificate,
    CertificateResponse, Identity, IdentityCertificateRequest, IdentityOperationRequest, IdentityRequest,
    IdentityResponse, ItemStatus, Monitor as WireMonitor, MonitorRequest, MonitorResponse, PrecheckRequest,
    PrecheckResponse, SigningRequest, TRUE, Version, access, certificate_type, method, operation,
};

/// The largest request that is read. A renewal with some intermediates has ten thousand bytes.
const LARGEST: usize = 1 << 20;

/// At which of the two ports somebody knocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Login,
    Main,
}

/// Who calls: what TLS and the request's head say.
#[derive(Clone, Default)]
pub(super) struct Peer {
    pub(super) chain: Arc<[Certificate]>,
    token: Option<Arc<str>>,
}

impl Peer {
    pub(super) fn presenting(chain: Vec<Certificate>) -> Self {
        Self { chain: chain.into(), token: None }
    }
}

/// Answers one call.
pub(super) async fn respond(
    authority: Arc<Authority>,
    door: Door,
    peer: Peer,
    request: Request<Incoming>,
) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let call = Call { authority, peer };
    match (door, path.as_str()) {
        (Door::Login, method::LOGIN) => call.unary(request, login).await,
        (Door::Main, method::IDENTITY_INVOKE) => call.unary(request, identities).await,
        (Door::Main, method::IDENTITY_OPERATE) => call.unary(request, operate).await,
        (Door::Main, method::IDENTITY_CERTIFICATES) => call.unary(request, certificates).await,
        (Door::Main, method::IDENTITY_PRECHECK) => call.unary(request, precheck).await,
        (Door::Main, method::CERTIFICATE_SIGN) => call.unary(request, certificate_agent::sign).await,
        (Door::Main, method::CERTIFICATE_RENEW) => call.unary(request, certificate_agent::renew).await,
        (Door::Main, method::CERTIFICATE_PRECHECK) => call.unary(request, certificate_agent::precheck).await,
        (Door::Main, method::CERTIFICATE_CREATE) => call.unary(request, certificate_agent::create).await,
        (Door::Main, method::CERTIFICATE_GET) => call.unary(request, certificate_agent::get).await,
        (Door::Main, method::CERTIFICATE_DELETE) => call.unary(request, certificate_agent::delete).await,
        (Door::Main, method::ROLE_INVOKE) => call.unary(request, roles::roles).await,
        (Door::Main, method::ASSIGNMENT_INVOKE) => call.unary(request, assignments::assignments).await,
        (Door::Main, method::MONITOR) => call.unary(request, credential_monitor).await,
        (Door::Main, method::HEALTH) => call.unary(request, agent::check_health).await,
        (Door::Main, method::AGENT_INFO) => call.unary(request, agent::agent_info).await,
        (Door::Main, method::VERSION) => call.unary(request, agent::version).await,
        _ => {
            let known = "this authority does not offer that call at this port";
            GrpcStatus::unimplemented(known).into_http()
        }
    }
}

/// What every call needs.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) authority: Arc<Authority>,
    peer: Peer,
}

impl Call {
    async fn unary<Q, A>(
        mut self,
        request: Request<Incoming>,
        act: fn(&Self, Q) -> Result<A, Refusal>,
    ) -> Response<Body>
    where
        Q: Message + Default + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let path = request.uri().path().to_owned();
        let token = request.headers().get("authorization").and_then(|token| token.to_str().ok());
        self.peer.token = token.map(Arc::from);
        let service = tower::service_fn(move |request: tonic::Request<Q>| {
            let (call, path) = (self.clone(), path.clone());
            // Files are read and written, and signatures made: off the asynchronous threads.
            let done = tokio::task::spawn_blocking(move || {
                let done = act(&call, request.into_inner());
                if let Err(refusal) = &done {
                    tracing::debug!(%path, %refusal, "refused");
                }
                done
            });
            async move {
                match done.await {
                    Ok(Ok(answer)) => Ok(tonic::Response::new(answer)),
                    Ok(Err(refusal)) => Err(refusal.to_status()),
                    Err(_) => Err(GrpcStatus::internal("the call was not finished")),
                }
            }
        });
        let codec = ProstCodec::<A, Q>::default();
        tonic::server::Grpc::new(codec).max_decoding_message_size(LARGEST).unary(service, request).await
    }

    pub(super) fn live(&self) -> Result<Arc<Live>, Refusal> {
        self.authority.live().map_err(|error| unusable(&error))
    }

    /// Who calls: the identity of the client certificate, if it is good now and not revoked.
    pub(super) fn caller(&self, live: &Live, now: Timestamp) -> Result<Caller, Refusal> {
        let id = live.ca(now).holder(&self.peer.chain)?;
        let (name, identity) = live.document.by_id(&id)?;
        Ok(Caller { name: name.to_owned(), rights: rights::of_identity(&live.document, name, identity) })
    }

    /// Changes the document. The caller is judged by the very document that is changed.
    pub(super) fn change<T>(
        &self,
        act: impl FnOnce(&mut Document, &Live, &Caller, Timestamp) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let changed = self.authority.alter(|document, live, now| {
            let caller = self.caller(live, now)?;
            act(document, live, &caller, now)
        });
        changed.map_err(|error| unusable(&error))?
    }
}

/// The authority's own trouble is its owner's to read; clients learn that there is one.
fn unusable(error: &AuthorityError) -> Refusal {
    tracing::error!(%error, "a call cannot be answered");
    Refusal::new(MocCode::Failed, "the authority cannot read or write what it keeps")
}

/// `AuthenticationAgent/Login`: a token for a certificate.
fn login(call: &Call, request: AuthenticationRequest) -> Result<AuthenticationResponse, Refusal> {
    let (live, now) = (call.live()?, call.authority.now());
    let document = &live.document;
    let token = call.peer.token.as_deref().filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| Refusal::token(MocCode::NoAuthenticationInformation, "there is none"))?;
    let claims = live.token_key.check(token, &document.name, now)?;
    let record = document.accepts(&claims.name, &claims.jti)?;
    let identity = request.identity.unwrap_or_default();
    if identity.name != claims.name {
        return Err(Refusal::token(MocCode::InvalidToken, "it is another identity's"));
    }
    let csr = identity.certificates.get("");
    let csr = csr.ok_or_else(|| Refusal::new(MocCode::InvalidInput, "there is no signing request"))?;
    named(csr, &claims.name)?;
    let lasts = SignedDuration::from_secs(document.lifetimes.certificate_s);
    let certificate = live.ca(now).first(csr, Purpose::Client { id: &record.id }, lasts)?;
    Ok(AuthenticationResponse {
        token: STANDARD.encode(certificate.to_pem()),
        result: TRUE,
        error: String::new(),
    })
}

/// Assumed: a client certificate carries its identity's name and no other.
fn named(csr: &str, name: &str) -> Result<(), Refusal> {
    let wrong = |why: String| Refusal::new(MocCode::InvalidInput, why);
    let csr = Csr::from_pem(csr).map_err(|error| wrong(error.to_string()))?;
    if csr.subject().last_common_name().as_deref() == Some(name) {
        return Ok(());
    }
    Err(wrong(format!("the signing request is for {}, and not for {name}", csr.subject())))
}

/// `IdentityAgent/Invoke`: look, create, delete.
fn identities(call: &Call, request: IdentityRequest) -> Result<IdentityResponse, Refusal> {
    let answer = |identities| IdentityResponse { identities, result: TRUE, error: String::new() };
    let named = request.identities.iter().map(|identity| identity.name.clone());
    let names: Vec<String> = named.filter(|name| !name.is_empty()).collect();
    match request.operation {
        operation::GET => {
            let (live, now) = (call.live()?, call.authority.now());
            let caller = call.caller(&live, now)?;
            // Assumed: one may always see oneself.
            if names.is_empty() || names.iter().any(|name| *name != caller.name) {
                caller.needs(Right::ReadIdentities)?;
            }
            let document = &live.document;
            if names.is_empty() {
                let all = document.identities.iter();
                return Ok(answer(all.map(|(name, record)| shown(document, name, record)).collect()));
            }
            let found = names.iter().map(|name| Ok(shown(document, name, document.identity(name)?)));
            found.collect::<Result<_, Refusal>>().map(answer)
        }
        operation::POST => call.change(|document, live, caller, now| {
            caller.needs(Right::WriteIdentities)?;
            let made = request.identities.iter().map(|wanted| {
                let new = new_identity(wanted)?;
                create(document, &new)?;
                outranks(document, caller, &new.name)?;
                let login = rotate(document, live, &new.name, now)?;
                with_token(document, &login)
            });
            made.collect::<Result<_, Refusal>>().map(answer)
        }),
        operation::DELETE => call.change(|document, _, caller, _| {
            caller.needs(Right::WriteIdentities)?;
            for name in &names {
                outranks(document, caller, name)?;
                document.delete(name)?;
            }
            Ok(answer(Vec::new()))
        }),
        operation::UPDATE => {
            Err(Refusal::new(MocCode::NotSupported, "an identity is deleted and created, not updated"))
        }
        other => Err(Refusal::new(MocCode::NotSupported, format!("there is no operation {other} here"))),
    }
}

/// `IdentityAgent/Operate`: rotate and revoke. Of what was sent back, only the names count.
fn operate(call: &Call, request: IdentityOperationRequest) -> Result<IdentityResponse, Refusal> {
    if ![access::IDENTITY_ROTATE, access::IDENTITY_REVOKE].contains(&request.operation) {
        return Err(Refusal::new(MocCode::NotSupported, "an identity is rotated (303) or revoked (302)"));
    }
    let identities = call.change(|document, live, caller, now| {
        caller.needs(Right::WriteIdentities)?;
        let done = request.identities.iter().map(|asked| {
            outranks(document, caller, &asked.name)?;
            if request.operation == access::IDENTITY_ROTATE {
                let login = rotate(document, live, &asked.name, now)?;
                return with_token(document, &login);
            }
            document.revoke(&asked.name, now)?;
            Ok(shown(document, &asked.name, document.identity(&asked.name)?))
        });
        done.collect::<Result<Vec<_>, Refusal>>()
    })?;
    Ok(IdentityResponse { identities, result: TRUE, error: String::new() })
}

/// `IdentityAgent/OperateCertificates`: certificates of an identity.
fn certificates(call: &Call, request: IdentityCertificateRequest) -> Result<CertificateResponse, Refusal> {
    let (live, now) = (call.live()?, call.authority.now());
    let caller = call.caller(&live, now)?;
    let document = &live.document;
    // Assumed: one's own certificates need no right, those of others the one to rotate them.
    if request.identity != caller.name {
        caller.needs(Right::WriteIdentities)?;
        outranks(document, &caller, &request.identity)?;
    }
    let record = document.identity(&request.identity)?;
    record.not_revoked(&request.identity)?;
    let sign = |asked: &SigningRequest| match request.operation {
        access::IDENTITY_CERTIFICATE_RENEW => {
            let (new, old) = renewed(&live, now, asked)?;
            // Assumed: a certificate is renewed as the identity that it is of.
            if holder_id(&old).as_ref() != Some(&record.id) {
                let why = format!("the certificate to be renewed is not one of {}", request.identity);
                return Err(Refusal::new(MocCode::AccessDenied, why));
            }
            Ok(on_wire(&asked.name, &new))
        }
        access::IDENTITY_CERTIFICATE_CREATE => {
            named(&asked.csr, &request.identity)?;
            let lasts = SignedDuration::from_secs(document.lifetimes.certificate_s);
            let new = live.ca(now).first(&asked.csr, Purpose::Client { id: &record.id }, lasts)?;
            Ok(on_wire(&asked.name, &new))
        }
        other => Err(Refusal::new(MocCode::NotSupported, format!("there is no operation {other} here"))),
    };
    signed(request.requests.iter().map(sign))
}

pub(super) fn renewed(
    live: &Live,
    now: Timestamp,
    asked: &SigningRequest,
) -> Result<(Certificate, Certificate), Refusal> {
    let wrong = |what: &str| Refusal::new(MocCode::InvalidInput, format!("oldCertificate {what}"));
    let supplied = match asked.old_certificate.trim() {
        "" => None,
        text => {
            let pem = STANDARD.decode(text).map_err(|_| wrong("is not in base64"))?;
            let chain =
                parse_pem_certificates(pem).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
            chain.into_iter().next()
        }
    };
    let revoked = |certificate: &Certificate| {
        let id = holder_id(certificate)?;
        live.document.by_id(&id).err().map(|refusal| refusal.message)
    };
    live.ca(now).renew(&asked.csr, supplied.as_ref(), &revoked)
}

pub(super) fn signed(
    made: impl Iterator<Item = Result<WireCertificate, Refusal>>,
) -> Result<CertificateResponse, Refusal> {
    let certificates = made.collect::<Result<Vec<_>, _>>()?;
    if certificates.is_empty() {
        return Err(Refusal::new(MocCode::InvalidInput, "there is no signing request"));
    }
    Ok(CertificateResponse { certificates, result: TRUE, error: String::new() })
}

/// `IdentityAgent/Precheck`: whether these could be created, tried out on a copy.
fn precheck(call: &Call, request: PrecheckRequest) -> Result<PrecheckResponse, Refusal> {
    let (live, now) = (call.live()?, call.authority.now());
    let caller = call.caller(&live, now)?;
    caller.needs(Right::WriteIdentities)?;
    if request.identities.is_empty() {
        return Ok(checked(Err(Refusal::new(MocCode::InvalidInput, "there is no identity to be checked"))));
    }
    let mut copy = live.document.clone();
    let possible = request.identities.iter().try_for_each(|wanted| {
        let new = new_identity(wanted)?;
        create(&mut copy, &new)?;
        outranks(&copy, &caller, &new.name)?;
        copy.rotate(&new.name, String::new(), now).map(drop)
    });
    Ok(checked(possible))
}

/// The answer to who asks beforehand. That it cannot be done is a result, and no refusal of the call.
pub(super) fn checked(possible: Result<(), Refusal>) -> PrecheckResponse {
    let failed = |refusal: Refusal| Refusal::new(MocCode::PreCheckFailed, refusal.to_string()).to_string();
    PrecheckResponse {
        result: Some(BoolValue { value: possible.is_ok() }),
        error: possible.err().map(failed).unwrap_or_default(),
    }
}

/// `CredentialMonitorAgent/Get`. Its meaning is inferred; assumed: PEM, the CA that signs first.
fn credential_monitor(call: &Call, _request: MonitorRequest) -> Result<MonitorResponse, Refusal> {
    let (live, now) = (call.live()?, call.authority.now());
    call.caller(&live, now)?;
    let monitor = monitor(&live, now);
    let status = i32::from(monitor.status != Status::Single);
    let monitor = WireMonitor { certificate: to_pem_chain(&monitor.roots), status };
    Ok(MonitorResponse { monitor: Some(monitor), error: String::new() })
}

/// See [`Caller::needs_all`].
fn outranks(document: &Document, caller: &Caller, name: &str) -> Result<(), Refusal> {
    let target = document.identity(name)?;
    caller.needs_all(&rights::of_identity(document, name, target))
}

fn new_identity(wanted: &Identity) -> Result<NewIdentity, Refusal> {
    let wrong = |what: &str| Refusal::new(MocCode::InvalidInput, what);
    // Promising it and not doing it would leave somebody with a token that ends.
    if wanted.auto_rotate {
        let why =
            "this authority does not rotate tokens by itself; rotate the identity before its token ends";
        return Err(Refusal::new(MocCode::NotSupported, why));
    }
    let client_type = ClientType::from_number(wanted.client_type)
        .ok_or_else(|| wrong("there is no such type of clients"))?;
    /// The older field is in days.
    const DAY_S: i64 = 86_400;
    let seconds = match (wanted.token_expiry_s, wanted.token_expiry_days) {
        (0, 0) => None,
        (0, days) => Some(days.saturating_mul(DAY_S)),
        (seconds, _) => Some(seconds),
    };
    Ok(NewIdentity {
        name: wanted.name.clone(),
        client_type,
        location: wanted.location.clone(),
        token_lasts: seconds.map(SignedDuration::from_secs),
    })
}

fn shown(document: &Document, name: &str, record: &Record) -> Identity {
    let info = info(name, record);
    Identity {
        name: info.name,
        id: info.id,
        location: info.location,
        client_type: info.client_type.number(),
        cloud_fqdn: document.hosts.first().cloned().unwrap_or_default(),
        cloud_port: document.port.into(),
        cloud_auth_port: document.login_port.into(),
        auth_type: 1,
        revoked: info.revoked,
        token_expiry_s: info.token_lasts_s,
        status: version(record.version),
        ..Identity::default()
    }
}

fn with_token(document: &Document, login: &LoginFile) -> Result<Identity, Refusal> {
    let mut identity = shown(document, &login.name, document.identity(&login.name)?);
    identity.token = login.token.expose_secret().to_owned();
    Ok(identity)
}

pub(super) fn on_wire(name: &str, certificate: &Certificate) -> WireCertificate {
    WireCertificate {
        name: name.to_owned(),
        id: certificate.serial_hex(),
        not_before: certificate.not_before().as_second(),
        not_after: certificate.not_after().as_second(),
        certificate: certificate.to_pem(),
        status: version(1),
        certificate_type: certificate_type::SERVER,
    }
}

pub(super) fn version(number: u64) -> Option<ItemStatus> {
    Some(ItemStatus { health: None, version: Some(Version { number: number.to_string() }) })
}
