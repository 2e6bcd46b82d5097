//! `kubecert authority`: the authority of an AKS Arc site's infrastructure layer, and its clients.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use kubecert_cloud::authority::{
    AccessFile, AccessLock, Address, AgentInfo, Authority, AuthorityError, Client, DEFAULT_LOGIN_PORT,
    DEFAULT_PORT, Health, IdentityInfo, Lifetimes, LoginFile, MocCode, Monitor, NewIdentity, RoleAction,
    RoleInfo, Server, ServerConfig, Settings, Status, When, learn_roots, login, renew,
};
use kubecert_engine::ports::Clock;
use kubecert_pki::SubjectAltName;
use serde_json::json;

use super::keeper::{self, Failed, Round};
use crate::args::{
    AuthorityArgs, AuthorityVerb, ClientArgs, GlobalArgs, IdentityVerb, InitArgs, ListRolesArgs, LoginArgs,
    Output, RenewArgs, RoleVerb, RotateCaArgs, ServeArgs, SideArgs,
};
use crate::errors::{CliError, Kind};
use crate::exit::Exit;
use crate::human::paint::Paint;
use crate::human::time::{minute, relative};

/// Does what the command line says.
pub(crate) fn run(global: &GlobalArgs, args: &AuthorityArgs) -> Result<Exit, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::because(Kind::Internal, "cannot start", error))?;
    runtime.block_on(async {
        match &args.verb {
            AuthorityVerb::Init(args) => init(global, args),
            AuthorityVerb::Serve(args) => serve(global, args).await,
            AuthorityVerb::Login(args) => log_in(global, args).await,
            AuthorityVerb::Renew(args) => renewal(global, args).await,
            AuthorityVerb::Identity(args) => identity(global, &args.verb).await,
            AuthorityVerb::Role(args) => match &args.verb {
                RoleVerb::List(args) => roles(global, args).await,
            },
            AuthorityVerb::Rotate(args) => rotate(global, args),
            AuthorityVerb::Status(args) => status(global, &args.side).await,
        }
    })
}

/// The machine's clock.
struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

fn init(global: &GlobalArgs, args: &InitArgs) -> Result<Exit, CliError> {
    let settings = Settings {
        name: args.name.clone(),
        hosts: args.hosts.clone(),
        location: args.location.clone(),
        port: args.ports.port,
        login_port: args.ports.login_port,
        lifetimes: Lifetimes {
            ca_s: args.ca_lasts.as_secs(),
            certificate_s: args.certificates_last.as_secs(),
            token_s: args.tokens_last.as_secs(),
        },
        old_tokens: args.old_tokens,
    };
    let (_, admin) = Authority::init(&args.dir, &settings, clock()).map_err(told)?;
    let file = args.login_file.clone().unwrap_or_else(|| args.dir.join("admin-login.yaml"));
    admin.write(&file).map_err(told)?;
    let text = format!(
        "The authority {} is in {}\nThe login file of its administrator {} is {}\n",
        settings.name,
        args.dir.display(),
        admin.name,
        file.display()
    );
    show(global, &text, &json!({"directory": args.dir, "name": settings.name, "login_file": file}))
}

async fn serve(global: &GlobalArgs, args: &ServeArgs) -> Result<Exit, CliError> {
    let authority = Arc::new(Authority::open(&args.dir, clock()).map_err(told)?);
    let ServeArgs { listen, ports, .. } = args;
    let config = ServerConfig { listen: *listen, port: ports.port, login_port: ports.login_port };
    let server = Server::start(authority, config).await.map_err(told)?;
    let (main, login) = (server.main(), server.login());
    let text = format!("Serving at {main}\nTaking logins at {login}\n");
    show(global, &text, &json!({"listening": main, "listening_for_logins": login}))?;
    let unheard = |error| CliError::because(Kind::Internal, "cannot listen for signals", error);
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(unheard)?;
    tokio::select! {
        () = server.serve() => Err(CliError::new(Kind::Internal, "the authority is served no more")),
        interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| Exit::Done).map_err(unheard),
        _ = terminate.recv() => Ok(Exit::Done),
    }
}

async fn log_in(global: &GlobalArgs, args: &LoginArgs) -> Result<Exit, CliError> {
    let file = LoginFile::read(&args.login_file).map_err(told)?;
    let address = address(Some(&file), args.server.as_deref(), None, args.login_port)?;
    let _lock = AccessLock::take(&args.access_file).map_err(told)?;
    let access = login(&file, &address, &own_names(), &clock()).await.map_err(told)?;
    access.write(&args.access_file).map_err(told)?;
    written(global, "Logged in", &args.access_file, &access)
}

async fn renewal(global: &GlobalArgs, args: &RenewArgs) -> Result<Exit, CliError> {
    if !args.watch {
        let (access, what) = renew_once(args).await.map_err(|failed| failed.error)?;
        return written(global, what, &args.client.access_file, &access);
    }
    // What was not due is not told each hour.
    let round = async || {
        let (access, what) = renew_once(args).await?;
        if what != NOT_DUE {
            written(global, what, &args.client.access_file, &access).map_err(Failed::from)?;
        }
        Ok(Round::of(&access))
    };
    let unheard = |error| CliError::because(Kind::Internal, "cannot listen for signals", error);
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(unheard)?;
    let stop = async {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    };
    let paint = Paint::when(global.colours(std::io::IsTerminal::is_terminal(&std::io::stderr())));
    let fail = |error: &CliError| match global.output {
        Output::Text => eprint!("{}", error.text(paint)),
        Output::Json => eprintln!("{}", error.json()),
    };
    keeper::keep(&SystemClock, round, tokio::time::sleep, fail, stop).await?;
    Ok(Exit::Done)
}

/// What is said of an access file that is as it should be.
const NOT_DUE: &str = "Not due";

/// Renews once, and says what was done.
async fn renew_once(args: &RenewArgs) -> Result<(AccessFile, &'static str), Failed> {
    let client = &args.client;
    let file = client.login_file.as_deref().map(LoginFile::read).transpose().map_err(failed)?;
    let address = address(file.as_ref(), client.server.as_deref(), client.port, None)?;
    let _lock = AccessLock::take(&client.access_file).map_err(failed)?;
    let access = AccessFile::read(&client.access_file).map_err(failed)?;
    let when = if args.force { When::Always } else { When::Due };
    let (access, what) = match (renew(&access, &address, when, &clock()).await, &file) {
        (Ok(None), _) => (access, None),
        (Ok(Some(renewed)), _) => (renewed, Some("Renewed")),
        // As public clients do: what has ended cannot be renewed, and the token is there for that.
        (Err(error), Some(file)) if error.code == Some(MocCode::Expired) => {
            let again = login(file, &address, &own_names(), &clock()).await;
            let again = again.map_err(|second| {
                let Failed { error: told, code } = failed(second);
                Failed { error: told.hint(format!("Before that: {error}.")), code }
            });
            (again?, Some("Logged in again"))
        }
        (Err(error), _) => return Err(failed(error)),
    };
    // First of all the new certificate: it is good whatever comes of the rest.
    if what.is_some() {
        access.write(&client.access_file).map_err(failed)?;
    }
    let learned = learn_roots(&access, &address, &clock()).await.map_err(|error| {
        let done = what.map_or("Nothing was due.", |_| "The certificate was renewed all the same.");
        let Failed { error, code } = failed(error);
        Failed { error: error.hint(done), code }
    })?;
    if let Some(learned) = &learned {
        learned.write(&client.access_file).map_err(failed)?;
    }
    let what = match (what, &learned) {
        (Some(what), _) => what,
        (None, Some(_)) => "Learned of a new CA",
        (None, None) => NOT_DUE,
    };
    Ok((learned.unwrap_or(access), what))
}

fn failed(error: AuthorityError) -> Failed {
    Failed { code: error.code, error: told(error) }
}

impl From<CliError> for Failed {
    fn from(error: CliError) -> Self {
        Self { error, code: None }
    }
}

async fn identity(global: &GlobalArgs, verb: &IdentityVerb) -> Result<Exit, CliError> {
    match verb {
        IdentityVerb::Create(args) => {
            let new = NewIdentity {
                name: args.one.name.clone(),
                client_type: args.client_type,
                location: args.location.clone(),
                token_lasts: args.tokens_last,
            };
            let login = match Side::of(&args.one.side).await? {
                Side::Owner(authority) => authority.create_identity(&new),
                Side::Client(mut client) => client.create(&new).await,
            };
            handed_out(global, "Created", &args.one.out, &login.map_err(told)?)
        }
        IdentityVerb::Rotate(args) => {
            let login = match Side::of(&args.side).await? {
                Side::Owner(authority) => authority.rotate_identity(&args.name),
                Side::Client(mut client) => client.rotate(&args.name).await,
            };
            handed_out(global, "Rotated", &args.out, &login.map_err(told)?)
        }
        IdentityVerb::Revoke(args) => {
            let revoked = match Side::of(&args.side).await? {
                Side::Owner(authority) => authority.revoke_identity(&args.name),
                Side::Client(mut client) => client.revoke(&args.name).await,
            };
            revoked.map_err(told)?;
            let text = format!("Revoked identity {}\n", args.name);
            show(global, &text, &json!({"name": args.name, "done": "Revoked"}))
        }
        IdentityVerb::Assign(args) => {
            let assigned = match Side::of(&args.side).await? {
                Side::Owner(authority) => authority.assign_role(&args.name, &args.role),
                Side::Client(mut client) => client.assign_role(&args.name, &args.role).await,
            };
            assigned.map_err(told)?;
            let text = format!("Identity {} has the role {}\n", args.name, args.role);
            show(global, &text, &json!({"name": args.name, "role": args.role, "done": "Assigned"}))
        }
        IdentityVerb::List(side) => {
            let identities = match Side::of(side).await? {
                Side::Owner(authority) => authority.identities(),
                Side::Client(mut client) => client.identities().await,
            };
            let identities = identities.map_err(told)?;
            show(global, &table(&identities), &json!(identities))
        }
    }
}

fn rotate(global: &GlobalArgs, args: &RotateCaArgs) -> Result<Exit, CliError> {
    let authority = Authority::open(&args.dir, clock()).map_err(told)?;
    let monitor = match args.finish {
        true => authority.finish_overlap(),
        false => authority.rotate_ca(args.overlap),
    };
    let monitor = monitor.map_err(told)?;
    show(global, &monitor_text(&monitor, Timestamp::now()), &monitor_json(&monitor))
}

async fn roles(global: &GlobalArgs, args: &ListRolesArgs) -> Result<Exit, CliError> {
    let roles = match Side::of(&args.side).await? {
        Side::Owner(authority) => authority.roles(&args.names),
        Side::Client(mut client) => client.roles(&args.names).await,
    };
    let roles = roles.map_err(told)?;
    let width = roles.iter().map(|role| role.name.len()).max().unwrap_or(0).max(4);
    let words =
        |actions: &[RoleAction]| actions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut text = format!("{:width$}  ALLOWS\n", "NAME");
    for RoleInfo { name, actions, not_actions } in &roles {
        let but = match not_actions.is_empty() {
            true => String::new(),
            false => format!("; but not {}", words(not_actions)),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:width$}  {}{but}", words(actions));
    }
    show(global, &text, &json!(roles))
}

async fn status(global: &GlobalArgs, side: &SideArgs) -> Result<Exit, CliError> {
    let (monitor, info) = match Side::of(side).await? {
        Side::Owner(authority) => (authority.monitor(), authority.info()),
        Side::Client(mut client) => (client.monitor().await, client.info().await),
    };
    let (monitor, info) = (monitor.map_err(told)?, told_info(info)?);
    let now = Timestamp::now();
    let mut json = monitor_json(&monitor);
    json["agent"] = match &info {
        Ok(info) => json!(info),
        Err(why) => json!({"not_told": why}),
    };
    show(global, &format!("{}{}", monitor_text(&monitor, now), info_text(&info)), &json)?;
    let by_itself = info.map_or(Health::Ok, |info| info.health);
    let by_ca = monitor.roots.first().map_or(Health::Critical, |root| Health::of_ca(root, now));
    Ok(if [by_itself, by_ca] == [Health::Ok; 2] { Exit::Done } else { Exit::Findings })
}

/// What an authority says of itself, or why it does not: not everybody may know, and not every authority offers it. The rest
/// of its status is shown all the same.
fn told_info(info: Result<AgentInfo, AuthorityError>) -> Result<Result<AgentInfo, String>, CliError> {
    match info {
        Ok(info) => Ok(Ok(info)),
        Err(error) if matches!(error.code, Some(MocCode::AccessDenied | MocCode::NotSupported)) => {
            Ok(Err(error.cause))
        }
        Err(error) => Err(told(error)),
    }
}

fn info_text(info: &Result<AgentInfo, String>) -> String {
    let AgentInfo { name, deployment_id, version, health } = match info {
        Ok(info) => info,
        Err(why) => return format!("How it is was not told: {why}.\n"),
    };
    let or_none = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    format!(
        "{health}: {}, version {}, deployment {}\n",
        or_none(name),
        or_none(version),
        or_none(deployment_id)
    )
}

/// From which side something is done.
enum Side {
    Owner(Box<Authority>),
    Client(Box<Client>),
}

impl Side {
    async fn of(args: &SideArgs) -> Result<Self, CliError> {
        if let Some(directory) = &args.dir {
            return Authority::open(directory, clock())
                .map(|authority| Self::Owner(Box::new(authority)))
                .map_err(told);
        }
        // clap sees to one of the two.
        let access_file = args.access_file.clone().unwrap_or_default();
        let client = ClientArgs {
            access_file,
            login_file: args.login_file.clone(),
            server: args.server.clone(),
            port: args.port,
        };
        let file = client.login_file.as_deref().map(LoginFile::read).transpose().map_err(told)?;
        let address = address(file.as_ref(), client.server.as_deref(), client.port, None)?;
        let access = AccessFile::read(&client.access_file).map_err(told)?;
        let client = Client::connect(&access, &address, &clock()).await.map_err(told)?;
        Ok(Self::Client(Box::new(client)))
    }
}

/// Where the authority is: what was typed counts more than the login file.
fn address(
    file: Option<&LoginFile>,
    server: Option<&str>,
    port: Option<u16>,
    login_port: Option<u16>,
) -> Result<Address, CliError> {
    let own = file.and_then(|file| file.address.as_ref());
    let host = server.map(str::to_owned).or_else(|| own.map(|address| address.host.clone()));
    let host = host.ok_or_else(|| {
        CliError::new(Kind::Usage, "nothing says where the authority is")
            .hint("Name it with --server, or a login file that holds it with --login-file.")
    })?;
    Ok(Address {
        host,
        port: port.or(own.map(|address| address.port)).unwrap_or(DEFAULT_PORT),
        login_port: login_port.or(own.map(|address| address.login_port)).unwrap_or(DEFAULT_LOGIN_PORT),
    })
}

/// What this machine is called, for the signing request; public clients put in the same.
pub(super) fn own_names() -> Vec<SubjectAltName> {
    let mut names = vec![SubjectAltName::dns("localhost")];
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let own = own.trim();
    if !own.is_empty() && own != "localhost" {
        names.push(SubjectAltName::dns(own));
    }
    names.push(SubjectAltName::ip(IpAddr::from([127, 0, 0, 1])));
    names
}

fn written(global: &GlobalArgs, what: &str, path: &Path, access: &AccessFile) -> Result<Exit, CliError> {
    let (ends, due) = (access.certificate().not_after(), access.renewal_due());
    let now = Timestamp::now();
    let text = format!(
        "{what}: the certificate of {} in {} ends at {} ({}) and is renewed from {} on.\n",
        access.identity,
        path.display(),
        minute(ends),
        relative(now, ends),
        minute(due)
    );
    let json = json!({
        "done": what, "identity": access.identity, "access_file": path,
        "not_before": access.certificate().not_before(), "not_after": ends, "renewal_due": due,
        "serial": access.certificate().serial_hex(),
    });
    show(global, &text, &json)
}

fn handed_out(global: &GlobalArgs, what: &str, path: &Path, login: &LoginFile) -> Result<Exit, CliError> {
    login.write(path).map_err(|error| {
        told(error).hint(format!(
            "The token is lost; `kubecert authority identity rotate {}` makes another.",
            login.name
        ))
    })?;
    let text = format!("{what} identity {}; its login file is {}\n", login.name, path.display());
    show(global, &text, &json!({"name": login.name, "done": what, "login_file": path}))
}

fn table(identities: &[IdentityInfo]) -> String {
    let width = identities.iter().map(|identity| identity.name.len()).max().unwrap_or(0).max(4);
    let mut text = format!("{:width$}  {:14}  {:8}  TOKEN ENDS\n", "NAME", "TYPE", "STATE");
    for identity in identities {
        let state = if identity.revoked { "revoked" } else { "good" };
        let ends = identity.token_ends.map_or_else(|| "-".to_owned(), minute);
        let kind = identity.client_type.to_string();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:width$}  {kind:14}  {state:8}  {ends}", identity.name);
    }
    text
}

pub(super) fn monitor_text(monitor: &Monitor, now: Timestamp) -> String {
    let mut text = match monitor.status {
        Status::Single => "Single: one CA is accepted.\n".to_owned(),
        Status::Overlap { until: Some(until) } => {
            format!("Overlap: two CAs are accepted, until {} ({}).\n", minute(until), relative(now, until))
        }
        Status::Overlap { until: None } => "Overlap: two CAs are accepted.\n".to_owned(),
    };
    for (place, root) in monitor.roots.iter().enumerate() {
        let signs = if place == 0 { ", signs" } else { "" };
        let ends = root.not_after();
        let _ =
            writeln!(text, "  {} ends at {} ({}){signs}", root.subject(), minute(ends), relative(now, ends));
    }
    text
}

pub(super) fn monitor_json(monitor: &Monitor) -> serde_json::Value {
    let until = match monitor.status {
        Status::Overlap { until } => until,
        Status::Single => None,
    };
    let roots: Vec<_> = monitor.roots.iter().map(|root| {
        json!({"subject": root.subject().to_string(), "not_before": root.not_before(), "not_after": root.not_after(), "sha256": root.fingerprint().to_string()})
    }).collect();
    json!({"status": monitor.status.to_string(), "until": until, "roots": roots})
}

/// Prints a result, as text or as JSON.
fn show(global: &GlobalArgs, text: &str, json: &serde_json::Value) -> Result<Exit, CliError> {
    match global.output {
        Output::Text => super::print(text)?,
        Output::Json => super::print(&format!("{json:#}\n"))?,
    }
    Ok(Exit::Done)
}

pub(super) fn told(error: AuthorityError) -> CliError {
    let remedy = error.remedy.clone();
    let told = CliError::because(Kind::Input, error.what, error.cause);
    match remedy {
        Some(remedy) => told.hint(remedy),
        None => told,
    }
}
