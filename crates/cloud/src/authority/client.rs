//! What clients of an authority do.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kubecert_core::assess::Evidence;
use kubecert_engine::ports::Clock;
use kubecert_pki::{Certificate, PrivateKey, SubjectAltName, parse_pem_certificates};
use secrecy::{ExposeSecret as _, SecretString};
use tonic::metadata::AsciiMetadataValue;

use super::access_file::AccessFile;
use super::agent::{AgentInfo, Health};
use super::call::{Connection, Dial};
use super::code::MocCode;
use super::error::{AuthorityError, or_the_clock, whole_seconds};
use super::login_file::{Address, ClientType, LoginFile};
use super::owner::{IdentityInfo, Monitor, NewIdentity, Status};
use super::request::{self, Request};
use super::roles::{self, RoleInfo};
use super::wire::{
    AgentInfoResponse, Assignment, AssignmentRequest, AssignmentResponse, AuthenticationRequest,
    AuthenticationResponse, Certificate as WireCertificate, CertificateRequest, CertificateResponse,
    HealthRequest, HealthResponse, Identity, IdentityCertificateRequest, IdentityOperationRequest,
    IdentityRequest, IdentityResponse, MonitorRequest, MonitorResponse, Nothing, PrecheckRequest,
    PrecheckResponse, Role, RoleRequest, RoleResponse, SigningRequest, SigningRequests, VersionResponse,
    access, certificate_type, method, operation,
};
use crate::arc::token::life;

/// Logs in: a new key, and a certificate for it by the login file's token.
///
/// `sans` are the names and addresses of this machine, which public clients put into the request.
///
/// # Errors
///
/// When the token has ended, the authority cannot be reached, is not the one of the login file, or refuses it. Nothing is
/// written, so that an access file that is there stays as it is.
pub async fn login(
    login: &LoginFile,
    address: &Address,
    sans: &[SubjectAltName],
    clock: &Arc<dyn Clock>,
) -> Result<AccessFile, AuthorityError> {
    let what = format!("cannot log in as {}", login.name);
    check_token(login, &what, clock.now())?;
    let token = AsciiMetadataValue::try_from(login.token.expose_secret());
    let mut token = token.map_err(|_| AuthorityError::new(what.as_str(), "its token is no JWT"))?;
    token.set_sensitive(true);
    let failed = |cause: String| AuthorityError::new(what.as_str(), cause);
    let request = make({
        let (name, sans) = (login.name.clone(), sans.to_vec());
        move || request::first(&name, &sans)
    });
    let Request { csr, key } = request.await.map_err(failed)?;
    let mut connection = Connection::open(Dial {
        host: &address.host,
        port: address.login_port,
        roots: &login.roots,
        identity: None,
        clock,
    })
    .await?;
    // The signing request stands under the empty name.
    let certificates = [(String::new(), csr.to_pem())].into();
    let identity = Identity { name: login.name.clone(), certificates, ..Identity::default() };
    let request = AuthenticationRequest { identity: Some(identity) };
    let answer: AuthenticationResponse = connection.call(&what, method::LOGIN, request, Some(token)).await?;
    let pem = STANDARD.decode(answer.token.trim()).map_err(|_| failed(NO_CERTIFICATE.to_owned()))?;
    let chain = parse_pem_certificates(pem).map_err(|_| failed(NO_CERTIFICATE.to_owned()))?;
    AccessFile::new(chain, key, login.roots.clone(), login.name.clone())
        .map_err(|_| failed("the authority has certified another key".to_owned()))
}

const NO_CERTIFICATE: &str = "the authority has not answered with a certificate";

/// When to renew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Whenever asked.
    Always,
    /// Where 30 % of the certificate's life or less is left, as public clients do.
    Due,
}

/// Renews the certificate of an access file, with a new key; `None` where it is not due.
///
/// # Errors
///
/// When it has ended (log in again then), or the authority cannot be reached, is not known, or refuses. The access file that
/// is there is as good as it was.
pub async fn renew(
    access: &AccessFile,
    address: &Address,
    when: When,
    clock: &Arc<dyn Clock>,
) -> Result<Option<AccessFile>, AuthorityError> {
    let what = format!("cannot renew the certificate of {}", access.identity);
    let now = clock.now();
    access.check_time(&what, now)?;
    if when == When::Due && now < access.renewal_due() {
        return Ok(None);
    }
    let failed = |cause: String| AuthorityError::new(what.as_str(), cause);
    let request = make({
        let (chain, key) = (access.chain().to_vec(), access.key().clone());
        move || request::renewal(&chain, &key, now)
    });
    let Request { csr, key } = request.await.map_err(failed)?;
    let old = access.certificate();
    // Older access files do not name the identity; the certificate does.
    let name = old.subject().last_common_name().unwrap_or_default();
    let identity = if access.identity.is_empty() { name.clone() } else { access.identity.clone() };
    let request = IdentityCertificateRequest {
        identity: identity.clone(),
        requests: vec![SigningRequest {
            name,
            csr: csr.to_pem(),
            old_certificate: STANDARD.encode(old.to_pem()),
            ..SigningRequest::default()
        }],
        operation: super::wire::access::IDENTITY_CERTIFICATE_RENEW,
    };
    let mut client = Client::connect(access, address, clock).await?;
    let answer: CertificateResponse =
        client.connection.call(&what, method::IDENTITY_CERTIFICATES, request, None).await?;
    let pem = answer.certificates.first().map(|certificate| certificate.certificate.as_str());
    let chain = parse_pem_certificates(pem.unwrap_or_default());
    let chain = chain.map_err(|_| failed(NO_CERTIFICATE.to_owned()))?;
    // A renewal never brings new roots; see `learn_roots`.
    AccessFile::new(chain, key, access.roots.clone(), identity)
        .map(Some)
        .map_err(|_| failed("the authority has certified another key".to_owned()))
}

/// Asks the authority which CAs there are, and adds those that an access file does not know; `None` where it knows all.
///
/// Public clients learn of a new CA by a new login file only. But an authority that has just proven itself by a CA that the
/// client trusts may as well name the next one, so that nobody is cut off when an overlap ends.
///
/// # Errors
///
/// When the authority cannot be reached, is not known, or refuses.
pub async fn learn_roots(
    access: &AccessFile,
    address: &Address,
    clock: &Arc<dyn Clock>,
) -> Result<Option<AccessFile>, AuthorityError> {
    let mut client = Client::connect(access, address, clock).await?;
    let monitor = client.monitor().await?;
    let news: Vec<Certificate> =
        monitor.roots.into_iter().filter(|root| root.is_ca() && !access.roots.contains(root)).collect();
    if news.is_empty() {
        return Ok(None);
    }
    let mut learned = access.clone();
    learned.roots.splice(0..0, news);
    // What has ended leads to nobody. Others stay: what the vendor's agents say here is not known well enough to distrust by it.
    let now = clock.now();
    learned.roots.retain(|root| now <= root.not_after());
    Ok(Some(learned))
}

/// A server's new certificate.
#[derive(Debug)]
pub struct SignedServer {
    /// The certificate first, then what leads to the CA. There is one at least.
    pub chain: Vec<Certificate>,
    /// Its key.
    pub key: PrivateKey,
}

/// A connection with an access file's certificate.
pub struct Client {
    connection: Connection,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    ///
    /// When the access file's certificate has ended, or the authority cannot be reached or is not known.
    pub async fn connect(
        access: &AccessFile,
        address: &Address,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, AuthorityError> {
        access.check_time(&format!("cannot speak as {}", access.identity), clock.now())?;
        let identity = Some((access.chain(), access.key()));
        let dial = Dial { host: &address.host, port: address.port, roots: &access.roots, identity, clock };
        Ok(Self { connection: Connection::open(dial).await? })
    }

    /// All identities, by name.
    ///
    /// # Errors
    ///
    /// When the caller may not see them, or the call fails.
    pub async fn identities(&mut self) -> Result<Vec<IdentityInfo>, AuthorityError> {
        let request = IdentityRequest { identities: Vec::new(), operation: operation::GET };
        let what = "cannot list identities";
        let answer: IdentityResponse =
            self.connection.call(what, method::IDENTITY_INVOKE, request, None).await?;
        answer.identities.iter().map(shown).collect()
    }

    /// Creates an identity, and returns its login file: the only place where its token will ever be.
    ///
    /// # Errors
    ///
    /// When there is one of that name, the caller may not do that, or the call fails.
    pub async fn create(&mut self, new: &NewIdentity) -> Result<LoginFile, AuthorityError> {
        let request = IdentityRequest { identities: vec![wanted(new)], operation: operation::POST };
        let what = format!("cannot create identity {}", new.name);
        let answer: IdentityResponse =
            self.connection.call(&what, method::IDENTITY_INVOKE, request, None).await?;
        self.login_file(&what, answer).await
    }

    /// Gives an identity a new token, and returns its login file.
    ///
    /// # Errors
    ///
    /// When there is no such identity, it was revoked, the caller may not do that, or the call fails.
    pub async fn rotate(&mut self, name: &str) -> Result<LoginFile, AuthorityError> {
        let what = format!("cannot rotate identity {name}");
        let answer = self.operate(&what, name, access::IDENTITY_ROTATE).await?;
        self.login_file(&what, answer).await
    }

    /// Revokes an identity.
    ///
    /// # Errors
    ///
    /// When there is no such identity, the caller may not do that, or the call fails.
    pub async fn revoke(&mut self, name: &str) -> Result<(), AuthorityError> {
        self.operate(&format!("cannot revoke identity {name}"), name, access::IDENTITY_REVOKE).await.map(drop)
    }

    /// Gives an identity a role.
    ///
    /// # Errors
    ///
    /// When there is no such identity or role, it has that role, the caller may not do that, or the call fails.
    pub async fn assign_role(&mut self, name: &str, role: &str) -> Result<(), AuthorityError> {
        let what = format!("cannot give identity {name} the role {role}");
        let (role, identity) = (role.to_owned(), name.to_owned());
        let assignment =
            Assignment { name: format!("{identity}-{role}"), role, identity, ..Assignment::default() };
        let request = AssignmentRequest { assignments: vec![assignment], operation: operation::POST };
        let call = self.connection.call(&what, method::ASSIGNMENT_INVOKE, request, None);
        call.await.map(|_: AssignmentResponse| ())
    }

    /// The roles of those names, or all of them for no name.
    ///
    /// # Errors
    ///
    /// When there is no role of one of those names, the caller may not see them, or the call fails.
    pub async fn roles(&mut self, names: &[String]) -> Result<Vec<RoleInfo>, AuthorityError> {
        let roles = names.iter().map(|name| Role { name: name.clone(), ..Role::default() }).collect();
        let request = RoleRequest { roles, operation: operation::GET };
        let call = self.connection.call("cannot list roles", method::ROLE_INVOKE, request, None);
        let answer: RoleResponse = call.await?;
        Ok(answer.roles.iter().map(roles::shown).collect())
    }

    /// What the authority says of itself.
    ///
    /// # Errors
    ///
    /// When the caller may not know that (it needs a role such as HealthReader), the authority does not offer the calls, or one
    /// fails.
    pub async fn info(&mut self) -> Result<AgentInfo, AuthorityError> {
        let what = "cannot ask how the authority is";
        // Calls have 30 s each; who answers a health check later than half of that is not healthy.
        let request = HealthRequest { timeout_s: 15 };
        let health: HealthResponse = self.connection.call(what, method::HEALTH, request, None).await?;
        let info: AgentInfoResponse =
            self.connection.call(what, method::AGENT_INFO, Nothing {}, None).await?;
        let version: VersionResponse = self.connection.call(what, method::VERSION, Nothing {}, None).await?;
        Ok(AgentInfo {
            name: info.node.unwrap_or_default().name,
            deployment_id: info.deployment_id,
            version: version.version,
            health: Health::from_number(health.state),
        })
    }

    /// Asks whether an identity could be created; nothing is changed.
    ///
    /// # Errors
    ///
    /// Why it could not ([`MocCode::PreCheckFailed`]), or that the caller may not ask, or that the call fails.
    pub async fn check_create(&mut self, new: &NewIdentity) -> Result<(), AuthorityError> {
        let what = format!("identity {} could not be created", new.name);
        let request = PrecheckRequest { identities: vec![wanted(new)] };
        let answer: PrecheckResponse =
            self.connection.call(&what, method::IDENTITY_PRECHECK, request, None).await?;
        possible(&what, answer)
    }

    /// Asks whether a server's certificate of that name could be signed; nothing is changed. The signing request itself is judged
    /// only by [`Client::sign_server`].
    ///
    /// # Errors
    ///
    /// Why it could not ([`MocCode::PreCheckFailed`]), or that the caller may not ask, or that the call fails.
    pub async fn check_sign_server(&mut self, name: &str) -> Result<(), AuthorityError> {
        let what = format!("a certificate for {name} could not be signed");
        let certificate = WireCertificate {
            name: name.to_owned(),
            certificate_type: certificate_type::SERVER,
            ..WireCertificate::default()
        };
        let request = CertificateRequest { certificates: vec![certificate] };
        let answer: PrecheckResponse =
            self.connection.call(&what, method::CERTIFICATE_PRECHECK, request, None).await?;
        possible(&what, answer)
    }

    /// Which CAs the authority accepts.
    ///
    /// # Errors
    ///
    /// When the call fails.
    pub async fn monitor(&mut self) -> Result<Monitor, AuthorityError> {
        let what = "cannot ask for the credential monitor";
        let answer: MonitorResponse =
            self.connection.call(what, method::MONITOR, MonitorRequest { monitor: None }, None).await?;
        let monitor = answer.monitor.unwrap_or_default();
        // Whether it is PEM or base64 of PEM is not public; both are understood.
        let text = monitor.certificate.trim();
        let pem = STANDARD.decode(text).unwrap_or_else(|_| text.as_bytes().to_vec());
        let roots = parse_pem_certificates(pem)
            .map_err(|error| AuthorityError::new(what, format!("its certificates: {error}")))?;
        let status = if monitor.status == 0 { Status::Single } else { Status::Overlap { until: None } };
        Ok(Monitor { roots, status })
    }

    /// Has a server's certificate signed, for a new key: what a load balancer's agent or a host's agent presents. Its name and
    /// alternative names are those of `like`, if there is one.
    ///
    /// That the authority's `Sign` is how such agents come to their certificates is assumed: how the vendor's do is not public.
    ///
    /// # Errors
    ///
    /// When the caller may not do that, or the call fails.
    pub async fn sign_server(
        &mut self,
        name: &str,
        like: Option<&Certificate>,
        sans: &[SubjectAltName],
    ) -> Result<SignedServer, AuthorityError> {
        let what = format!("cannot have a certificate signed for {name}");
        let failed = |cause: String| AuthorityError::new(what.as_str(), cause);
        let common_name = like.and_then(|like| like.subject().last_common_name());
        let common_name = common_name.unwrap_or_else(|| name.to_owned());
        let sans = like.map_or(sans, |like| like.sans()).to_vec();
        let asked = common_name.clone();
        let Request { csr, key } = make(move || request::first(&asked, &sans)).await.map_err(failed)?;
        let asked = SigningRequest { name: common_name, csr: csr.to_pem(), ..SigningRequest::default() };
        let request = SigningRequests { requests: vec![asked] };
        let answer: CertificateResponse =
            self.connection.call(&what, method::CERTIFICATE_SIGN, request, None).await?;
        let pem = answer.certificates.first().map(|certificate| certificate.certificate.as_str());
        let chain = parse_pem_certificates(pem.unwrap_or_default());
        let chain = chain.map_err(|_| failed(NO_CERTIFICATE.to_owned()))?;
        match chain.first() {
            Some(leaf) if key.matches(leaf) => Ok(SignedServer { chain, key }),
            _ => Err(failed("the authority has certified another key".to_owned())),
        }
    }

    /// As public clients do it: the whole identity is fetched, and sent back with what is to be done.
    async fn operate(
        &mut self,
        what: &str,
        name: &str,
        operation: i32,
    ) -> Result<IdentityResponse, AuthorityError> {
        let asked = Identity { name: name.to_owned(), ..Identity::default() };
        let request = IdentityRequest { identities: vec![asked], operation: operation::GET };
        let found: IdentityResponse =
            self.connection.call(what, method::IDENTITY_INVOKE, request, None).await?;
        let mut identities = found.identities;
        for identity in &mut identities {
            // Whoever answers with a token need not get it back.
            identity.token.clear();
        }
        let request = IdentityOperationRequest { identities, operation };
        self.connection.call(what, method::IDENTITY_OPERATE, request, None).await
    }

    async fn login_file(
        &mut self,
        what: &str,
        answer: IdentityResponse,
    ) -> Result<LoginFile, AuthorityError> {
        let failed = |cause: &str| AuthorityError::new(what, cause);
        let identity = answer.identities.into_iter().next();
        let identity = identity.ok_or_else(|| failed("the authority has answered without an identity"))?;
        if identity.token.is_empty() {
            return Err(failed("the authority has answered without a token"));
        }
        let client_type = client_type(&identity)?;
        let port = |number: i32| u16::try_from(number).ok().filter(|port| *port != 0);
        let address = match (port(identity.cloud_port), port(identity.cloud_auth_port)) {
            (Some(port), Some(login_port)) if !identity.cloud_fqdn.is_empty() => {
                Some(Address { host: identity.cloud_fqdn, port, login_port })
            }
            _ => None,
        };
        Ok(LoginFile {
            name: identity.name,
            token: SecretString::from(identity.token),
            roots: self.monitor().await?.roots,
            client_type,
            address,
            location: identity.location,
        })
    }
}

/// Says beforehand what the authority would say of a token that has ended.
fn check_token(login: &LoginFile, what: &str, now: Timestamp) -> Result<(), AuthorityError> {
    let failed = |cause: String| AuthorityError::new(what, cause);
    let life = life(login.token.expose_secret()).map_err(failed)?;
    let Evidence::Seen { not_after, .. } = life else { return Ok(()) };
    if now < not_after {
        return Ok(());
    }
    let now = whole_seconds(now);
    Err(failed(format!("the login file's token ended at {not_after}")).code(MocCode::Expired).remedy(
        or_the_clock(
            now,
            "Have somebody with rights rotate the identity, and log in with the new login file.",
        ),
    ))
}

fn wanted(new: &NewIdentity) -> Identity {
    Identity {
        name: new.name.clone(),
        client_type: new.client_type.number(),
        location: new.location.clone(),
        token_expiry_s: new.token_lasts.map_or(0, |lasts| lasts.as_secs()),
        ..Identity::default()
    }
}

/// An answer that is a result even where it is "no".
fn possible(what: &str, answer: PrecheckResponse) -> Result<(), AuthorityError> {
    if answer.result.is_some_and(|result| result.value) {
        return Ok(());
    }
    let why =
        if answer.error.is_empty() { "the authority does not say why".to_owned() } else { answer.error };
    Err(AuthorityError::new(what, why).code(MocCode::PreCheckFailed))
}

fn shown(identity: &Identity) -> Result<IdentityInfo, AuthorityError> {
    Ok(IdentityInfo {
        name: identity.name.clone(),
        id: identity.id.clone(),
        client_type: client_type(identity)?,
        location: identity.location.clone(),
        revoked: identity.revoked,
        token_lasts_s: identity.token_expiry_s,
        token_ends: None,
    })
}

fn client_type(identity: &Identity) -> Result<ClientType, AuthorityError> {
    ClientType::from_number(identity.client_type).ok_or_else(|| {
        let what = format!("cannot understand identity {}", identity.name);
        AuthorityError::new(what, format!("there is no type {} of clients", identity.client_type))
    })
}

/// Makes a key and a request off the asynchronous threads, since RSA takes its time.
async fn make(work: impl FnOnce() -> Result<Request, String> + Send + 'static) -> Result<Request, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}
