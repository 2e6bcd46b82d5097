//! Who asks the authority: the site's administrator, with its own login file and access file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kubecert_cloud::arc::{Place, Site, Source};
use kubecert_cloud::authority::{
    AccessFile, AccessLock, Address, Client, DEFAULT_LOGIN_PORT, IdentityInfo, LoginFile, MocCode, Reason,
    When, access_due, learn_roots, login, renew,
};
use kubecert_core::assess::Class;
use kubecert_pki::Certificate;

use super::report::{Item, Outcome, Report, What};
use super::{How, told};
use crate::commands::authority::own_names;
use crate::errors::{CliError, Kind};

/// The administrator, connected.
pub(super) struct Administrator<'a> {
    source: &'a Source,
    path: &'a Path,
    access: AccessFile,
    login: Option<LoginFile>,
    /// Why it was logged in again, if it was.
    logged_in: Option<Reason>,
    /// Where the authority is.
    pub(super) address: Address,
    /// The connection.
    pub(super) client: Client,
    /// The CAs that the authority accepts, the one that signs first.
    pub(super) roots: Vec<Certificate>,
    /// Whom the authority knows, by name.
    pub(super) identities: BTreeMap<String, IdentityInfo>,
    _lock: AccessLock,
}

/// Whether the administrator's own certificate is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// Where it is due.
    IfDue,
    /// No more than it takes to get in.
    IfEnded,
}

impl<'a> Administrator<'a> {
    /// Finds the administrator in the site file and connects; logs in where there is no access file yet, or its certificate
    /// has ended. Nothing is written.
    pub(super) async fn open(site: &'a Site, how: &How) -> Result<Self, CliError> {
        let (source, path) = access_file(site)?;
        let of_holder =
            |other: &&Source| other.class == Class::Administrator && other.holder == source.holder;
        let file = site.sources.iter().filter(of_holder).find_map(|other| match &other.place {
            Place::Login(path) => Some(path),
            _ => None,
        });
        let read = file.map(|path| LoginFile::read(path));
        let address = address(site, read.as_ref())?;
        how.tell(|| {
            format!("the authority is {} (ports {} and {})", address.host, address.port, address.login_port)
        });
        let lock = AccessLock::take(path).map_err(told)?;
        let present = match path.exists() {
            true => Some(AccessFile::read(path).map_err(told)?),
            false => None,
        };
        let now = how.clock.now();
        let ended = match &present {
            None => Some(Reason::Absent),
            Some(access) => match access.check_time(&format!("cannot speak as {}", access.identity), now) {
                Ok(()) => None,
                Err(error) if error.code == Some(MocCode::Expired) => {
                    Some(Reason::Ended(access.certificate().not_after()))
                }
                Err(error) => return Err(told(error)),
            },
        };
        let access = match (ended.as_ref(), present) {
            (None, Some(access)) => access,
            (reason, _) => {
                how.tell(|| {
                    format!(
                        "logging in, since of {} {}",
                        path.display(),
                        reason.map_or_else(String::new, ToString::to_string)
                    )
                });
                log_in(read.as_ref(), path, &address, how).await?
            }
        };
        let mut client = Client::connect(&access, &address, &how.clock).await.map_err(told)?;
        let roots = client.monitor().await.map_err(told)?.roots;
        let identities = client.identities().await.map_err(told)?;
        let identities = identities.into_iter().map(|info| (info.name.clone(), info)).collect();
        let login = read.and_then(Result::ok);
        Ok(Self {
            source,
            path,
            access,
            login,
            logged_in: ended,
            address,
            client,
            roots,
            identities,
            _lock: lock,
        })
    }

    /// Renews its own certificate, learns new CAs, and connects anew with what came of it.
    pub(super) async fn renew_itself(
        &mut self,
        own: Own,
        how: &How,
        report: &mut Report,
    ) -> Result<(), CliError> {
        let now = how.clock.now();
        let name = self.name();
        let item = Item::of(self.source, What::Certificate, &name);
        let reason = match (&self.logged_in, own) {
            (Some(reason), _) => Some(reason.clone()),
            (None, Own::IfEnded) => None,
            (None, Own::IfDue) if how.force => Some(Reason::Forced),
            (None, Own::IfDue) => access_due(&self.access, &self.roots, now),
        };
        let Some(reason) = reason else {
            if own == Own::IfDue {
                report.credentials.push(item.not_due(Some(self.access.certificate().not_after())));
            }
            return Ok(());
        };
        if how.what_if {
            let ends = self.logged_in.is_none().then(|| self.access.certificate().not_after());
            report.credentials.push(item.due(Outcome::WouldBeRenewed, &reason, ends));
            return Ok(());
        }
        if self.logged_in.is_none() && reason != Reason::UnknownRoot {
            let renewed = renew(&self.access, &self.address, When::Always, &how.clock).await.map_err(told)?;
            self.access = renewed.unwrap_or_else(|| self.access.clone());
        }
        // First of all the new certificate: it is good whatever comes of the rest.
        self.access.write(self.path).map_err(told)?;
        if let Some(learned) = learn_roots(&self.access, &self.address, &how.clock).await.map_err(told)? {
            learned.write(self.path).map_err(told)?;
            self.access = learned;
        }
        self.client = Client::connect(&self.access, &self.address, &how.clock).await.map_err(told)?;
        let ends = self.access.certificate().not_after();
        report.credentials.push(item.due(Outcome::Renewed, &reason, Some(ends)));
        Ok(())
    }

    /// Its identity's name.
    fn name(&self) -> String {
        let named = Some(self.access.identity.clone()).filter(|name| !name.is_empty());
        named.or_else(|| self.login.as_ref().map(|login| login.name.clone())).unwrap_or_default()
    }

    /// Whether this is its own access file, which is locked and renewed already.
    pub(super) fn is_own(&self, path: &Path) -> bool {
        path == self.path
    }
}

/// Whether the site file names one.
pub(super) fn is_named(site: &Site) -> bool {
    named(site).is_some()
}

fn named(site: &Site) -> Option<(&Source, &PathBuf)> {
    site.sources.iter().find_map(|source| match (&source.place, source.class) {
        (Place::Access(path), Class::Administrator) => Some((source, path)),
        _ => None,
    })
}

/// The administrator's access file, which may not be there yet.
fn access_file(site: &Site) -> Result<(&Source, &PathBuf), CliError> {
    named(site).ok_or_else(|| {
        CliError::new(
            Kind::Input,
            format!("the site file of {} names no access file of an administrator, and nobody else may renew", site.name),
        )
        .hint("Add it: `- {class: administrator, holder: mocctl, access: FILE}`, and its login file likewise. The file is made by logging in.")
    })
}

/// Where the authority is: as the login file says, or else the cloud agent that the site file names.
fn address(
    site: &Site,
    login: Option<&Result<LoginFile, kubecert_cloud::authority::AuthorityError>>,
) -> Result<Address, CliError> {
    if let Some(address) = login.and_then(|login| login.as_ref().ok()?.address.clone()) {
        return Ok(address);
    }
    let agent = site.sources.iter().find_map(|source| match (&source.place, source.class) {
        (Place::Server(address), Class::CloudAgent) => {
            let (host, port) = address.rsplit_once(':')?;
            Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
        }
        _ => None,
    });
    if let Some((host, port)) = agent {
        return Ok(Address { host, port, login_port: DEFAULT_LOGIN_PORT });
    }
    if let Some(Err(error)) = login {
        return Err(told(error.clone()));
    }
    Err(CliError::new(Kind::Input, format!("nothing says where the authority of {} is", site.name)).hint(
        "Name the administrator's login file, which holds it, or `- {class: cloud-agent, server: 'HOST:PORT'}` in the site file.",
    ))
}

async fn log_in(
    file: Option<&Result<LoginFile, kubecert_cloud::authority::AuthorityError>>,
    access: &Path,
    address: &Address,
    how: &How,
) -> Result<AccessFile, CliError> {
    let why = || match access.exists() {
        true => {
            format!("The certificate in access file {} has ended, so it takes a login.", access.display())
        }
        false => format!("There is no access file {} yet, so it takes a login.", access.display()),
    };
    const HELP: &str = "Whoever has the authority's directory can always make a new login file: `kubecert authority identity rotate NAME --dir DIR --out FILE`.";
    let file = match file {
        Some(Ok(file)) => file,
        Some(Err(error)) => return Err(told(error.clone()).hint(why()).hint(HELP)),
        None => {
            return Err(CliError::new(Kind::Input, "the site file names no login file of the administrator")
                .hint(why())
                .hint(HELP));
        }
    };
    let logged_in = login(file, address, &own_names(), &how.clock).await;
    logged_in.map_err(|error| told(error).hint(why()).hint(HELP))
}
